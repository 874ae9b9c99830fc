"""Finds sockets that a supervisor has opened by the names that it has given them: `fd@NAME`.

They are told by sd_listen_fds_with_names(3): descriptors from 3 on, as many as LISTEN_FDS says, for the process
LISTEN_PID, with the names in LISTEN_FDNAMES. It knows an environment; it must never know what the sockets are for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

#: The number of the first descriptor.
FIRST = 3


class Unnamed(Exception):
    """Says why no socket has a name."""


def descriptor_named(name: str, environment: Mapping[str, str] = os.environ, pid: int | None = None) -> int:
    """Returns the number of the descriptor of this name. Raises Unnamed."""
    numbers = [FIRST + at for at, each in enumerate(_names(environment, pid)) if each == name]
    if len(numbers) > 1:
        listed = ", ".join(f"fd@{number}" for number in numbers)
        raise Unnamed(f"{len(numbers)} sockets are called '{name}': {listed} say which")
    if not numbers:
        raise Unnamed(f"nobody has handed over a socket called '{name}' (systemd: FileDescriptorName=)")
    return numbers[0]


def _names(environment: Mapping[str, str], pid: int | None) -> list[str]:
    told, count = environment.get("LISTEN_PID", ""), environment.get("LISTEN_FDS", "")
    if told != str(os.getpid() if pid is None else pid) or not count.isascii() or not count.isdigit():
        return []
    return environment.get("LISTEN_FDNAMES", "").split(":")[: int(count)]
