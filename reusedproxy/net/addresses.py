"""Names of hosts, resolved once for each who asks: what comes after him need not ask the network again."""

from __future__ import annotations

import socket
from typing import Any


class Addresses:
    """What was found, by who asked for it; another may be given another of a name's addresses."""

    def __init__(self) -> None:
        self._found: dict[tuple[object, str, int, int], tuple[int, Any]] = {}

    def find(self, asker: object, host: str, port: int, kind: int) -> tuple[int, Any]:
        """Family and address for a socket of this kind, as HAProxy's `init-addr libc` has them. Raises OSError."""
        key = (asker, host, port, kind)
        if key not in self._found:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=kind)[0]
            self._found[key] = family, address
        return self._found[key]
