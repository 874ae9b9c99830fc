"""Writes `show info`: what HAProxy says of the process, as far as there is such a thing here."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Sequence

from attrs import evolve

from reusedproxy import __release_date__, __version__
from reusedproxy.operators.runtime.proxy import Context
from reusedproxy.operators.runtime.typed import Fact, Kind, json_facts, typed_facts
from reusedproxy.operators.version import build
from reusedproxy.operators.view.process import figures


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
    handshakes, keys = view.handshakes, view.keys
    stopping = int(context.service.state in ("draining", "stopped"))
    found, began = figures(view, len(context.sockets)), time.time() - view.uptime
    node, description = context.proxy.configuration.global_.node, context.proxy.configuration.global_.description
    pipes = "there are none: nothing is spliced"
    return [
        _fact(0, "Name", "POS:str", context.product, "Product name"),
        _fact(1, "Version", "POS:str", __version__, "Product version"),
        _fact(2, "Release_date", "POS:str", __release_date__, "Date of this version"),
        _fact(3, "Nbthread", "CGS:u32", 1, "Number of threads, always 1"),
        _fact(4, "Nbproc", "CGS:u32", 1, "Number of processes, always 1"),
        _fact(5, "Process_num", "KGP:u32", 1, "Number of this process, always 1"),
        _fact(6, "Pid", "SGP:u32", os.getpid(), "Number of this process for the system"),
        _fact(7, "Uptime", "MDP:str", clock, "Time since the start of this process"),
        _fact(8, "Uptime_sec", "MDP:u32", uptime, "Seconds since the start of this process", view.uptime),
        _fact(9, "Memmax_MB", "CLP:u32", 0, "Most memory of this process in MB, 0: as much as the system gives"),
        _fact(13, "Ulimit-n", "CLP:u32", files, "Most file descriptors of this process"),
        _fact(14, "Maxsock", "CLP:u32", files, "Most sockets of this process"),
        _fact(15, "Maxconn", "CLP:u32", view.maxconn, "Most client connections at once"),
        _fact(16, "Hard_maxconn", "CLP:u32", view.maxconn, "Most client connections at once"),
        _fact(17, "CurrConns", "MGP:u32", view.clients, "Client connections now"),
        _fact(18, "CumConns", "MCP:u32", found.connections, "Client connections since the start"),
        _fact(19, "CumReq", "MCP:u32", found.requests, "Requests since the start"),
        _fact(20, "MaxSslConns", "MMP:u32", view.maxsslconn, "Most clients over TLS at once, 0: as many as clients"),
        _fact(21, "CurrSslConns", "MGP:u32", view.tls_clients, "Clients over TLS now, with those in their handshake"),
        _fact(22, "CumSslConns", "MCP:u32", found.tls, "TLS handshakes of clients"),
        _fact(23, "Maxpipes", "CLP:u32", 0, f"Most pipes; {pipes}"),
        _fact(24, "PipesUsed", "MGP:u32", 0, f"Pipes in use; {pipes}"),
        _fact(25, "PipesFree", "MGP:u32", 0, f"Pipes that are not in use; {pipes}"),
        _fact(26, "ConnRate", "MRP:u32", found.rate, "Client connections in the last second", found.rate),
        _fact(27, "ConnRateLimit", "CLP:u32", found.limit_connections, "Most client connections in a second, 0: any"),
        _fact(28, "MaxConnRate", "MMP:u32", found.most_rate, "Most client connections in a second, of one frontend"),
        _fact(29, "SessRate", "MRP:u32", found.rate, "Client connections in the last second", found.rate),
        _fact(30, "SessRateLimit", "CLP:u32", found.limit_sessions, "Most sessions in a second, 0: any"),
        _fact(31, "MaxSessRate", "MRP:u32", found.most_rate, "Most client connections in a second, of one frontend"),
        _fact(32, "SslRate", "MRP:u32", handshakes.now, "TLS handshakes begun in the last second", handshakes.now),
        _fact(33, "SslRateLimit", "CLP:u32", found.limit_tls, "Most TLS handshakes in a second, 0: any"),
        _fact(34, "MaxSslRate", "MMP:u32", handshakes.most, "Most TLS handshakes begun in a second"),
        _fact(35, "SslFrontendKeyRate", "MGP:u32", keys.now, "Those of them that resumed no session", keys.now),
        _fact(36, "SslFrontendMaxKeyRate", "MMP:u32", keys.most, "Most handshakes in a second that resumed no session"),
        _fact(37, "SslFrontendSessionReuse_pct", "MGP:u32", found.reused, "Percentage of them that resumed a session"),
        _fact(42, "CompressBpsIn", "MRP:u32", view.compressed_in.now, "Bytes before compression in the last second"),
        _fact(43, "CompressBpsOut", "MRP:u32", view.compressed_out.now, "Bytes after compression in the last second"),
        _fact(44, "CompressBpsRateLim", "CLP:u32", 0, "Most bytes after compression in a second, 0: any number"),
        _fact(47, "Tasks", "MGP:u32", context.proxy.deadlines.watching(), "What waits for its time: timeouts, checks"),
        _fact(48, "Run_queue", "MGP:u32", context.proxy.poller.waiting(), "What waits for its turn in the event loop"),
        _fact(49, "Idle_pct", "MaP:u32", found.idle, "Percentage of the last second without computing"),
        _fact(50, "node", "COS:str", node or platform.node(), "Name of this machine (node)"),
        *(
            [_fact(51, "description", "COS:str", description, "Description of this installation")]
            if description
            else ()
        ),
        _fact(52, "Stopping", "MGP:u32", stopping, "1 while the process stops"),
        _fact(53, "Jobs", "MGP:u32", found.jobs, "Client connections and listeners"),
        _fact(54, "Unstoppable Jobs", "MGP:u32", 0, "Jobs that outlive a stop; there are none"),
        _fact(55, "Listeners", "MGP:u32", found.listeners, "Listeners"),
        _fact(56, "ActivePeers", "MGP:u32", 0, "Peers; there are none"),
        _fact(57, "ConnectedPeers", "MGP:u32", 0, "Connected peers; there are none"),
        _fact(58, "DroppedLogs", "MGP:u32", context.proxy.logs.dropped, "Log lines dropped"),
        _fact(59, "BusyPolling", "MGP:u32", 0, "1 where the processor is kept busy to wait; never"),
        _fact(61, "TotalBytesOut", "MGP:u64", found.bytes_out, "Bytes sent to clients"),
        _fact(62, "TotalSplicedBytesOut", "MGP:u64", 0, "Bytes that the kernel has passed on by itself; none"),
        _fact(63, "BytesOutRate", "MRP:u64", view.bytes_out.now, "Bytes sent to clients in the last second"),
        _fact(65, "CumRecvLogs", "MCP:u32", 0, "Log lines received; none are"),
        _fact(66, "Build info", "POS:str", build(), "Product version, and whether it is compiled"),
        _fact(67, "Memmax_bytes", "CLP:u32", 0, "Most memory of this process in bytes, 0: as much as the system gives"),
        _fact(70, "Start_time_sec", "MDP:u32", int(began), "Start of this process (Unix time)", began),
    ]


def _fact(position: int, name: str, kind: str, value: int | str, words: str, exact: float | None = None) -> Fact:
    letters, _, form = kind.partition(":")
    return Fact(position, name, Kind(letters, form), value, words, exact)
