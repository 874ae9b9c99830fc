"""Finds what sample fetches ask of one request, or one session of `mode tcp`, as numbers: the time-outs that apply to
it, and what the kernel has measured of its connections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from reusedproxy.config.model.proxies import Timeouts
from reusedproxy.net.tcp_info import tcp_info
from reusedproxy.rules.facts import Noted

#: What is asked of the kernel, of the client's connection alone, and of the server's as well.
OF_CLIENTS = ("unacked", "sacked", "lost", "retrans", "reordering", "rtt", "rttvar")
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


#: Time-outs that rules may set for a request, and others.
TIMEOUTS = ("client", "connect", "queue", "server", "tarpit", "tunnel")
CLIENT_FIGURES = tuple(f"fc_{what}" for what in OF_CLIENTS)
#: By the names of the sample fetches; each takes a unit of time.
OWN_FIGURES: Mapping[str, Callable[[Any, str], int | None]] = {
    **{which: _of_client(which) for which in CLIENT_FIGURES},
    **{f"bc_{what}": _of_server(what) for what in OF_SERVERS},
    **{
        f"cur_{which}_timeout": _current(which)
        for which in ("client", "connect", "queue", "server", "tarpit", "tunnel")
    },
    "cur_max_retries": _retries,
}
