"""Sends the counters of a process to the one that takes its place: plain values, by names of sections and servers.

Left out are counters that the other process does not have (another version, other sections), and what the old process
counts after it has sent them. Must never know how they are sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import Server
from reusedproxy.build.assembly import Proxy
from reusedproxy.measures.traffic import Traffic
from reusedproxy.pool import handed

#: What is counted in all, by its name in `Traffic` (whose slots have no names when it is compiled); and what there is
#: now, or is no plain number.
COUNTED = (
    *("bin", "bout", "cli_abrt", "comp_in", "comp_out", "comp_rsp", "denied", "dreq", "dresp", "econ", "eint"),
    *("ereq", "eresp", "intercepted", "req_tot", "srv_abrt", "stot", "wredis", "wretr"),
    *("ssl_failed_handshake", "ssl_reused_sess", "ssl_sess"),
)
OTHERS = ("scur", "smax", "hrsp")
_HANDSHAKES = ("completed", "resumed", "failed")
_TIMES = ("count", "queue", "connect", "response", "total")
_ADDED = frozenset((*COUNTED, *_HANDSHAKES, *_TIMES))
_LONGEST = ("queue_most", "connect_most", "response_most", "total_most")

Counts = Mapping[str, Any]


def counts_of(proxy: Proxy) -> Counts:
    """Returns all counts, but for most of those that are 0."""
    return {
        "frontends": {
            each.name: {
                "traffic": _traffic(each.traffic),
                "total": each.connections_total,
                "most": each.connections_max,
                "denied": each.denied,
                "handshakes": _values(each.handshakes.counts, _HANDSHAKES),
            }
            for each in proxy.frontends
        },
        "backends": {each.name: {"traffic": _traffic(each.traffic), **_troubles(each)} for each in proxy.backends},
        "servers": {
            each.full_name: {
                "traffic": _traffic(each.traffic),
                **_troubles(each),
                "times": _values(each.times, _TIMES),
                "longest": _values(each.times, _LONGEST),
                "pool": handed.counted(each.pool),
            }
            for backend in proxy.backends
            for each in backend.servers
        },
    }


def count_on(proxy: Proxy, counts: object) -> None:
    """Adds counts to those of `proxy`."""
    for frontend in proxy.frontends:
        said = _part(counts, "frontends", frontend.name)
        _add_traffic(frontend.traffic, said)
        _add(frontend.handshakes.counts, said.get("handshakes"))
        frontend.connections_total += _number(said.get("total"))
        frontend.connections_max = max(frontend.connections_max, _number(said.get("most")))
        frontend.denied += _number(said.get("denied"))
    for backend in proxy.backends:
        _add_traffic(backend.traffic, _part(counts, "backends", backend.name))
        _add_troubles(backend, _part(counts, "backends", backend.name))
        for server in backend.servers:
            said = _part(counts, "servers", server.full_name)
            _add_traffic(server.traffic, said)
            _add_troubles(server, said)
            _add(server.times, said.get("times"))
            if isinstance(pool := said.get("pool"), dict):
                handed.count_on(server.pool, pool)
            for name, value in _items(said.get("longest")):
                if name in _LONGEST:
                    setattr(server.times, name, max(getattr(server.times, name), value))
    if proxy.rates is not None:
        proxy.rates.begin_again()
    if proxy.frequencies is not None:
        proxy.frequencies.begin_again()


def _traffic(traffic: Traffic) -> Counts:
    return {**_values(traffic, COUNTED), "smax": traffic.smax, "hrsp": [*traffic.hrsp]}


def _troubles(of: Backend | Server) -> Counts:
    return {"downs": of.downs, "downtime": of.downtime, "queue_most": of.queue.most}


def _add_troubles(to: Backend | Server, said: Counts) -> None:
    to.downs += _number(said.get("downs"))
    to.downtime += sum(value for name, value in _items(said) if name == "downtime")
    to.queue.most = max(to.queue.most, _number(said.get("queue_most")))


def _values(of: object, names: tuple[str, ...]) -> Counts:
    return {name: value for name in names if (value := getattr(of, name))}


def _add_traffic(traffic: Traffic, said: Counts) -> None:
    counted = said.get("traffic")
    _add(traffic, counted)
    if isinstance(counted, dict):
        traffic.smax = max(traffic.smax, _number(counted.get("smax")))
        statuses = counted.get("hrsp")
        if isinstance(statuses, list) and len(statuses) == len(traffic.hrsp):
            traffic.hrsp[:] = [ours + _number(theirs) for ours, theirs in zip(traffic.hrsp, statuses, strict=True)]


def _add(to: object, said: object) -> None:
    for name, value in _items(said):
        if name in _ADDED and hasattr(to, name):
            setattr(to, name, getattr(to, name) + value)


def _items(said: object) -> list[tuple[str, Any]]:
    """Returns the numbers among these."""
    return [] if not isinstance(said, dict) else [(n, v) for n, v in said.items() if type(v) in (int, float) and v >= 0]


def _number(said: object) -> int:
    return said if type(said) is int and said >= 0 else 0


def _part(counts: object, *names: str) -> Counts:
    for name in names:
        counts = counts.get(name) if isinstance(counts, dict) else None
    return counts if isinstance(counts, dict) else {}
