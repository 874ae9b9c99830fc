"""Writes `show info`: what HAProxy says of the process, as far as there is such a thing here."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Sequence

from attrs import evolve

from reusedproxy import __version__
from reusedproxy.operators.runtime.proxy import Context
from reusedproxy.operators.runtime.typed import Fact, Kind, json_facts, typed_facts
from reusedproxy.operators.version import build
from reusedproxy.operators.view.values import ProxyView


def show_info(context: Context, words: Sequence[str]) -> str:
    """Returns `show info [typed|json|desc|float]*`. A word that is none of these is ignored, as in HAProxy."""
    facts = _facts(context)
    if "float" in words:
        facts = [*map(_exact, facts)]
    if "json" in words:
        return json_facts(facts)
    if "typed" in words:
        return typed_facts(facts)
    described = "desc" in words
    return "".join(f"{each.name}: {each.value}{f':{_quoted(each.words)}' if described else ''}\n" for each in facts)


def _exact(fact: Fact) -> Fact:
    """Returns a fact with the places behind the point that `float` asks for, as many as HAProxy's."""
    if fact.exact is None:
        return fact
    value = int(fact.exact) if fact.exact == int(fact.exact) else round(fact.exact, 6)
    return evolve(fact, value=value, kind=Kind(fact.kind.letters, "flt"))


def _quoted(words: str) -> str:
    return f'"{words}"'


def _facts(context: Context) -> list[Fact]:
    view = context.statistics.of(context.proxy).reader.view(backends=False)
    uptime = int(view.uptime)
    days, seconds = divmod(uptime, 86400)
    clock = f"{days}d {seconds // 3600}h{seconds // 60 % 60:02}m{seconds % 60:02}s"
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    stopping = int(context.service.state in ("draining", "stopped"))
    listeners = sum(len(each.listeners) for each in context.proxy.frontends) + len(context.sockets)
    frontends = view.frontends
    began = time.time() - view.uptime
    rate = sum(each.sessions.now for each in frontends)
    most = max((each.sessions.most for each in frontends), default=0)
    handshakes = [each.tls for each in frontends if each.tls is not None]
    return [
        _fact(0, "Name", "POS:str", "reusedproxy", "Product name"),
        _fact(1, "Version", "POS:str", __version__, "Product version"),
        _fact(3, "Nbthread", "CGS:u32", 1, "Number of threads, always 1"),
        _fact(4, "Nbproc", "CGS:u32", 1, "Number of processes, always 1"),
        _fact(5, "Process_num", "KGP:u32", 1, "Number of this process, always 1"),
        _fact(6, "Pid", "SGP:u32", os.getpid(), "Number of this process for the system"),
        _fact(7, "Uptime", "MDP:str", clock, "Time since the start of this process"),
        _fact(8, "Uptime_sec", "MDP:u32", uptime, "Seconds since the start of this process", view.uptime),
        _fact(13, "Ulimit-n", "CLP:u32", files, "Most file descriptors of this process"),
        _fact(14, "Maxsock", "CLP:u32", files, "Most sockets of this process"),
        _fact(15, "Maxconn", "CLP:u32", view.maxconn, "Most client connections at once"),
        _fact(16, "Hard_maxconn", "CLP:u32", view.maxconn, "Most client connections at once"),
        _fact(17, "CurrConns", "MGP:u32", view.clients, "Client connections now"),
        _fact(18, "CumConns", "MCP:u32", _sum(view, "connections_total"), "Client connections since the start"),
        _fact(19, "CumReq", "MCP:u32", sum(each.traffic.req_tot for each in frontends), "Requests since the start"),
        _fact(22, "CumSslConns", "MCP:u32", sum(each.completed for each in handshakes), "TLS handshakes of clients"),
        _fact(26, "ConnRate", "MRP:u32", rate, "Client connections in the last second", rate),
        _fact(28, "MaxConnRate", "MMP:u32", most, "Most client connections in a second, of one frontend"),
        _fact(29, "SessRate", "MRP:u32", rate, "Client connections in the last second", rate),
        _fact(31, "MaxSessRate", "MRP:u32", most, "Most client connections in a second, of one frontend"),
        _fact(50, "node", "COS:str", platform.node(), "Name of this machine"),
        _fact(52, "Stopping", "MGP:u32", stopping, "1 while the process stops"),
        _fact(53, "Jobs", "MGP:u32", view.clients + listeners, "Client connections and listeners"),
        _fact(55, "Listeners", "MGP:u32", listeners, "Listeners"),
        _fact(61, "TotalBytesOut", "MGP:u64", sum(each.traffic.bout for each in frontends), "Bytes sent to clients"),
        _fact(66, "Build info", "POS:str", build(), "Product version, and whether it is compiled"),
        _fact(70, "Start_time_sec", "MDP:u32", int(began), "Start of this process (Unix time)", began),
    ]


def _fact(position: int, name: str, kind: str, value: int | str, words: str, exact: float | None = None) -> Fact:
    letters, _, form = kind.partition(":")
    return Fact(position, name, Kind(letters, form), value, words, exact)


def _sum(view: ProxyView, name: str) -> int:
    return sum(getattr(each, name) for each in view.frontends)
