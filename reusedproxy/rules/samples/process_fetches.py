"""Implements the sample fetches that look at this process, at whole sections, and at chance (manual, section 7.3.2)."""

from __future__ import annotations

from collections.abc import Callable
from random import randrange
from typing import Any
from uuid import uuid4

from reusedproxy.rules.facts import Facts, Sample
from reusedproxy.rules.waiting import unsettle

Fetch = Callable[[Facts], Sample]
Convert = Callable[[Any, Facts], Sample]
#: Of `rand` without a range, as in HAProxy.
_RANGE = 1 << 32


def _figure(which: str) -> Callable[..., Fetch]:
    def make(name: str = "") -> Fetch:
        return lambda facts: facts.figure(which, name)

    return make


def _figure_of_server(which: str) -> Callable[[str], Fetch]:
    def make(name: str) -> Fetch:
        if "/" in name:
            return lambda facts: facts.figure(which, name)
        # Of the section at hand.
        return lambda facts: facts.figure(which, f"{facts.backend_name or facts.frontend_name}/{name}")

    return make


def _constant(value: Sample) -> Callable[[], Fetch]:
    return lambda: lambda facts: value


def _random(text: str = "") -> Fetch:
    most = int(text or 0) % _RANGE or _RANGE  # as HAProxy, which takes a negative number for an unsigned one

    def fetch(facts: Facts) -> Sample:
        unsettle(facts.inspected)
        return randrange(most)

    return fetch


def _uuid(version: str = "4") -> Fetch:
    def fetch(facts: Facts) -> Sample:
        unsettle(facts.inspected)
        return str(uuid4()).encode()

    return fetch


def _usable() -> Convert:
    """Makes the converter `nbsrv`: how many servers of the backend of this name can be chosen; nothing without one."""

    def convert(sample: bytes, facts: Facts) -> Sample:
        name = sample.decode("utf-8", "surrogateescape")
        return None if not name or facts.figure("be_conn", name) is None else facts.usable_servers(name)

    return convert


def _of_server(which: str) -> Callable[[], Convert]:
    """Makes a converter of a server's name, with its backend's before a slash or in the section at hand."""

    def convert(sample: bytes, facts: Facts) -> Sample:
        name = sample.decode("utf-8", "surrogateescape")
        if "/" not in name:
            name = f"{facts.backend_name or facts.frontend_name}/{name}"
        return facts.figure(which, name)

    return lambda: convert


def _exists() -> Convert:
    """Makes `fe_exists`, which tells whether there is a frontend of this name."""

    def convert(sample: bytes, facts: Facts) -> Sample:
        return bool(sample) and facts.figure("fe_conn", sample.decode("utf-8", "surrogateescape")) is not None

    return convert


#: What `Facts.figure` is asked for.
FIGURES = (
    *("be_conn", "be_conn_free", "fe_conn", "queue", "avg_queue", "connslots", "env", "hostname", "pid"),
    *("be_sess_rate", "fe_req_rate", "fe_sess_rate"),
)
#: Where the last rule stands that has decided.
LAST_RULE = ("last_entity", "last_rule_file", "last_rule_line")
#: The same without an argument: of the sections at hand, of the exchange, and of the process.
OWN = (
    *(f"be_{which}_timeout" for which in ("connect", "queue", "server", "tarpit", "tunnel")),
    *(f"cur_{which}_timeout" for which in ("client", "connect", "queue", "server", "tarpit", "tunnel")),
    *("be_max_retries", "cur_max_retries", "fe_client_timeout", "fe_defbe", "fe_tarpit_timeout", "stopping", "uptime"),
    *("be_id", "dst_conn", "fe_id", "srv_id", "bc_nb_streams", "bc_settings_streams_limit", "bc_src", "bc_src_port"),
    *("bc_reused", "src_is_local", "dst_is_local", "fc_src_is_local", "fc_dst_is_local", "res.comp", "res.comp_algo"),
    *LAST_RULE,
    *("fc_fackets", "fc_lost", "fc_reordering", "fc_retrans", "fc_sacked", "fc_unacked"),
)
#: Times that the kernel has measured, with a unit.
MEASURED = ("bc_rtt", "bc_rttvar", "fc_rtt", "fc_rttvar")
OF_SERVERS = (
    *("srv_is_up", "srv_conn", "srv_conn_free", "srv_iweight", "srv_queue", "srv_uweight", "srv_weight"),
    "srv_sess_rate",
)
#: What HAProxy with one process and one thread says of itself, without a cache, and of clients that speak HTTP/1.
_CONSTANT: dict[str, Sample] = {
    **{"nbproc": 1, "proc": 1, "thread": 0, "tgroup": 0, "quic_enabled": False},
    **{"fc_nb_streams": 1, "fc_settings_streams_limit": 1, "res.cache_hit": False, "res.cache_name": None},
}
PROCESS_FETCHES: dict[str, Callable[..., Fetch]] = {
    **{name: _figure(name) for name in (*FIGURES, *OWN, *MEASURED)},
    **{name: _figure_of_server(name) for name in OF_SERVERS},
    **{name: _constant(value) for name, value in _CONSTANT.items()},
    "rand": _random,
    "uuid": _uuid,
}
SECTION_CONVERTERS: dict[str, Callable[..., Convert]] = {
    "nbsrv": _usable,
    "srv_is_up": _of_server("srv_is_up"),
    "srv_queue": _of_server("srv_queue"),
    "fe_exists": _exists,
}
