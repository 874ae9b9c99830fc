"""Finds what sample fetches ask of one request, or one session of `mode tcp`, as numbers: the time-outs that apply to
it, and what the kernel has measured of its connections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, Protocol

from reusedproxy.config.model.proxies import Timeouts
from reusedproxy.config.model.values import Place
from reusedproxy.net.local_addresses import is_local
from reusedproxy.net.tcp_info import tcp_info
from reusedproxy.rules.facts import Address, Noted, Sample
from reusedproxy.sessions.termination import went_wrong

#: What is asked of the kernel, of the client's connection alone, and of the server's as well.
OF_CLIENTS = ("fackets", "unacked", "sacked", "lost", "retrans", "reordering", "rtt", "rttvar")
OF_SERVERS = ("rtt", "rttvar")
#: Microseconds in the units of times.
UNITS = {"": 1000, "ms": 1000, "us": 1}


class Carried(Protocol):
    """Defines what is known of the request or session. `own_timeouts` and `most_retries` are what rules have set."""

    client: Any
    backend: Any
    connection: Any
    noted: Noted | None
    own_timeouts: dict[str, float] | None
    most_retries: int | None
    connected: float
    applet: str


def milliseconds(seconds: float | None) -> int:
    """Returns a time-out as HAProxy's fetches do: 0 where there is none."""
    return 0 if seconds is None else round(seconds * 1000)


def of_client(which: str, unit: str, connection: Any) -> int | None:
    """Returns what the kernel has measured of the client's connection; `which` is one of `CLIENT_FIGURES`."""
    found = tcp_info(connection, which[3:])
    return found if found is None or not which.startswith("fc_rtt") else found // UNITS[unit]


def _of_client(which: str) -> Callable[[Carried, str], int | None]:
    return lambda carried, unit: of_client(which, unit, carried.client.transport.socket)


def _of_server(what: str) -> Callable[[Carried, str], int | None]:
    def find(carried: Carried, unit: str) -> int | None:
        if carried.connection is not None:
            connection = carried.connection.transport.socket
        else:
            connection = None if carried.noted is None else carried.noted.server_socket
        found = None if connection is None else tcp_info(connection, what)
        if found is None and carried.noted is not None and carried.noted.server_times is not None:
            found = carried.noted.server_times[what]
        return None if found is None else found // UNITS[unit]

    return find


def _current(which: str) -> Callable[[Carried, str], int | None]:
    """Finds a time-out as it applies now."""

    def find(carried: Carried, unit: str) -> int | None:
        section = carried.client.frontend if which == "client" else carried.backend
        if section is None:
            return None
        timeouts: Timeouts = section.settings.timeouts
        own = carried.own_timeouts
        return milliseconds(getattr(timeouts, which) if own is None or which not in own else own[which])

    return find


def _retries(carried: Carried, unit: str) -> int | None:
    if carried.backend is None:
        return None
    retries: int = carried.backend.settings.retries
    return retries if carried.most_retries is None else carried.most_retries


def _own_end(carried: Carried) -> tuple[str, int] | None:
    """Returns our own address of the connection to the server, or, if it has ended, as noted; None without one."""
    noted = None if carried.noted is None else carried.noted.source
    if carried.connection is None:
        return noted
    try:
        found = carried.connection.transport.socket.getsockname()
    except OSError:
        return noted
    return (found[0], found[1]) if isinstance(found, tuple) else ("unix", 0)


def _of_ip(found: tuple[str, int] | None) -> Address | None:
    return None if found is None or found[0] == "unix" else ip_address(found[0].partition("%")[0])


def _is_local(attribute: str) -> Callable[[Any, str], bool | None]:
    return lambda carried, unit: is_local(getattr(carried, attribute)[0], carried.client.transport.socket)


def _last_rule(read: Callable[[Place], Sample]) -> Callable[[Carried, str], Sample]:
    def find(carried: Carried, unit: str) -> Sample:
        noted = carried.noted
        return None if noted is None or noted.last_rule is None else read(noted.last_rule)

    return find


#: Time-outs that rules may set for a request, and others.
TIMEOUTS = ("client", "connect", "queue", "server", "tarpit", "tunnel")
#: Which address of the client's connection each asks for.
LOCAL_ADDRESSES = {
    "src_is_local": "source",
    "dst_is_local": "destination",
    "fc_src_is_local": "connection_source",
    "fc_dst_is_local": "connection_destination",
}
CLIENT_FIGURES = tuple(f"fc_{what}" for what in OF_CLIENTS)
#: By the names of the sample fetches; each takes a unit of time.
OWN_FIGURES: Mapping[str, Callable[[Any, str], Sample]] = {
    **{which: _of_client(which) for which in CLIENT_FIGURES},
    **{f"bc_{what}": _of_server(what) for what in OF_SERVERS},
    **{
        f"cur_{which}_timeout": _current(which)
        for which in ("client", "connect", "queue", "server", "tarpit", "tunnel")
    },
    "cur_max_retries": _retries,
    "be_id": lambda carried, unit: (carried.backend or carried.client.frontend).settings.id,
    "srv_id": lambda carried, unit: None if carried.server is None else carried.server.settings.id,
    "dst_conn": lambda carried, unit: carried.client.listener.connections,
    "bc_nb_streams": lambda carried, unit: 1 if carried.connected else None,
    "bc_settings_streams_limit": lambda carried, unit: 1 if carried.connected else None,
    "bc_reused": lambda carried, unit: carried.noted is not None and carried.noted.reused,
    "bc_src": lambda carried, unit: _of_ip(_own_end(carried)),
    "bc_src_port": lambda carried, unit: None if (found := _own_end(carried)) is None else found[1] or None,
    **{which: _is_local(attribute) for which, attribute in LOCAL_ADDRESSES.items()},
    "res.comp": lambda carried, unit: carried.noted is not None and bool(carried.noted.compression),
    "res.comp_algo": lambda carried, unit: (carried.noted.compression.encode() or None) if carried.noted else None,
    "last_rule_file": _last_rule(lambda place: place.file.encode("utf-8", "surrogateescape")),
    "last_rule_line": _last_rule(lambda place: place.line),
    "last_entity": _last_rule(lambda place: str(place).encode("utf-8", "surrogateescape")),
    # What has become of it so far (`when`).
    "error": lambda carried, unit: went_wrong(carried),
    "forwarded": lambda carried, unit: carried.connected > 0,
    "toapplet": lambda carried, unit: bool(carried.applet),
}
