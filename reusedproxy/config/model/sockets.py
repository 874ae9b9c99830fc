"""Defines what is said of TCP sockets on both sides: how the kernel looks whether the other side is still there, and
from where connections to servers come."""

from __future__ import annotations

from attrs import frozen


@frozen
class KeepAlive:
    """Holds how TCP keep-alive probes a silent connection (`clitcpka-*`, `srvtcpka-*`): after `idle` seconds for the
    first time, then every `interval` seconds, and `count` probes without an answer end the connection. 0 is the
    system's value (net.ipv4.tcp_keepalive_*)."""

    count: int = 0
    idle: int = 0
    interval: int = 0


AS_THE_SYSTEM = KeepAlive()


@frozen
class OwnEnd:
    """Holds the own end of connections to a server (`source`): an address, "" for the one that the kernel chooses, a
    port, 0 likewise, and a network interface, "" for any."""

    host: str = ""
    port: int = 0
    interface: str = ""


#: As the kernel chooses.
ANYWHERE = OwnEnd()


@frozen
class ServerSocket:
    """Holds what is said of the sockets of a server's connections. `user_timeout`: seconds for which sent bytes may be
    unacknowledged (`tcp-ut`); 0 is the system's. `congestion` is the algorithm of congestion control (`cc`); "" is the
    system's."""

    keep_alive: KeepAlive = AS_THE_SYSTEM
    user_timeout: float = 0.0
    source: OwnEnd = ANYWHERE
    congestion: str = ""


PLAIN = ServerSocket()
