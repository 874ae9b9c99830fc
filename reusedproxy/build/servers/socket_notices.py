"""Warns of what a server line, or its section, says of sockets and no connection to that server can have.

Knows the configuration's values and addresses. Must never know what is sent.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

from reusedproxy.build.servers.addresses import NOWHERE
from reusedproxy.config import model
from reusedproxy.config.model.sockets import ServerSocket
from reusedproxy.config.model.values import Notice
from reusedproxy.net.dial import Target
from reusedproxy.net.outgoing import is_known


def socket_notices(name: str, settings: model.Server, said: ServerSocket, target: Target) -> Iterator[Notice]:
    """Returns what is to be told of the sockets of a server, which is at `target` now."""
    source, congestion = said.source.host, settings.congestion
    if target.family == socket.AF_UNIX:
        for word in (*(["source"] if settings.source else []), *(["cc"] if congestion else [])):
            text = f"server {name}: '{word}' does nothing where the server is a unix socket"
            yield Notice("notice", settings.place, text)
        return
    if congestion and not is_known(congestion):
        what = f"server {name}: 'cc {congestion}'"
        text = f"{what}: the kernel has no such algorithm for this user, so its own counts"
        yield Notice("warning", settings.place, text)
    if source and target != NOWHERE and (":" in source) != (target.family == socket.AF_INET6):
        text = (
            f"server {name}: 'source {source}': no connection can come from there to {target}: one address is of IPv4,"
            " the other one of IPv6"
        )
        yield Notice("warning", settings.place, text)
