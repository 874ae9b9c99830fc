"""Computes the figures of the statistics for frontends, backends and servers: HAProxy's columns, and reusedproxy's.

Turns the view of a proxy into named values; CSV and page are two ways to show the result. A column without a value is
left out: empty, not 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from operator import itemgetter

from attrs import define, evolve, field

from reusedproxy.backends.checks.results import WORDS
from reusedproxy.backends.server import DOWN, DRAIN, FULL_WEIGHT, MAINT, UP
from reusedproxy.config.model.values import Place
from reusedproxy.net.slices import Steps, run_through
from reusedproxy.operators.view.values import (
    BackendView,
    BindView,
    CheckView,
    FrontendView,
    PoolView,
    ProxyView,
    Rate,
    ServerView,
    TimesView,
    TrafficCounts,
)

Value = str | int | float
Columns = dict[str, Value]


def _names(text: str) -> list[str]:
    return text.split()


#: HAProxy 3.2's columns, in its order; "-" ends the fixed ones. Users' scripts access them by position.
COLUMNS = _names(
    """
    pxname svname qcur qmax scur smax slim stot bin bout dreq dresp ereq econ eresp wretr wredis status weight act bck
    chkfail chkdown lastchg downtime qlimit pid iid sid throttle lbtot tracked type rate rate_lim rate_max check_status
    check_code check_duration hrsp_1xx hrsp_2xx hrsp_3xx hrsp_4xx hrsp_5xx hrsp_other hanafail req_rate req_rate_max
    req_tot cli_abrt srv_abrt comp_in comp_out comp_byp comp_rsp lastsess last_chk last_agt qtime ctime rtime ttime
    agent_status agent_code agent_duration check_desc agent_desc check_rise check_fall check_health agent_rise
    agent_fall agent_health addr cookie mode algo conn_rate conn_rate_max conn_tot intercepted dcon dses wrew connect
    reuse cache_lookups cache_hits srv_icur src_ilim qtime_max ctime_max rtime_max ttime_max eint idle_conn_cur
    safe_conn_cur used_conn_cur need_conn_est uweight agg_server_status agg_server_check_status agg_check_status srid
    sess_other h1sess h2sess h3sess req_other h1req h2req h3req proto priv_idle_cur reqbin reqbout resbin resbout
    cache_hint_hits -
    """
)

#: reusedproxy's columns, after HAProxy's. The first group adds up over the servers of a backend.
POOL_COUNTS = _names(
    """
    pool_floor pool_idle pool_suspect pool_in_use pool_connecting pool_retiring pool_waiting pool_dials
    pool_dials_request_path pool_dials_failed pool_handshakes pool_handshakes_request_path
    pool_waits_queued pool_waits_failed pool_requests
    pool_races_repeated pool_races_lost pool_pings pool_pings_failed pool_donated pool_overdue
    """
)
POOL_TIMES = _names(
    """
    pool_floor_advised pool_below_floor pool_limit_used pool_limit_used_from pool_limit_unused pool_limit_unused_from
    """
)
POOL_COLUMNS = [*POOL_COUNTS, *POOL_TIMES, "pool_reuse_ratio", "pool_closed"]
#: HAProxy's of its modules, which stand after "-" in its CSV, too; those of HTTP/2 are left out.
MODULE_COLUMNS = _names(
    """
    ssl_sess ssl_reused_sess ssl_failed_handshake h1_open_connections h1_open_streams h1_total_connections
    h1_total_streams h1_bytes_in h1_bytes_out h1_spliced_bytes_in h1_spliced_bytes_out
    """
)
#: All of them, in their order.
ALL_COLUMNS = [*COLUMNS, *POOL_COLUMNS, *MODULE_COLUMNS]
#: Those that are not whole numbers, but seconds or a ratio.
FRACTIONS = _names("pool_below_floor pool_limit_used pool_limit_unused pool_reuse_ratio")
#: Those of a backend that are the sum over its servers.
_TLS = ("ssl_sess", "ssl_reused_sess", "ssl_failed_handshake")
_SUMS = ("connect", "reuse", "lbtot", *_TLS, *POOL_COUNTS)
_summed = itemgetter(*_SUMS)

#: Columns by the first digit of the status; the first is for all others.
_RESPONSES = _names("hrsp_other hrsp_1xx hrsp_2xx hrsp_3xx hrsp_4xx hrsp_5xx")

#: Servers whose figures are computed in one step.
AT_ONCE = 10
#: Connections and requests of versions of HTTP that clients do not get here.
_VERSIONS = _names("sess_other h2sess h3sess req_other h2req h3req")
#: Columns that have no value in mode tcp.
_OF_REQUESTS = (*_RESPONSES, "intercepted", "cache_lookups", "cache_hits")
#: Those that are 0 there.
_NOUGHT = ("h1_total_connections", "h1_total_streams", "h1_bytes_in", "h1_bytes_out")

# Values of the column `type`.
FRONTEND, BACKEND, SERVER, LISTENER = 0, 1, 2, 3


@define
class Row:
    """Holds one line of the statistics; `columns` by HAProxy's names. `server` is set in a server's row, `frontend` in
    a frontend's. `legends` are further columns, which not everybody is shown (`stats show-legends`)."""

    columns: Columns
    server: ServerView | None = None
    frontend: FrontendView | None = None
    legends: Columns = field(factory=dict)


@define
class Section:
    """A `frontend`, a `backend`, or a `listen`, which is both."""

    name: str
    frontend: Row | None = None
    backend: Row | None = None
    servers: list[Row] = field(factory=list)
    listeners: list[Row] = field(factory=list)
    #: What the configuration says that it is.
    description: str = ""
    #: The option that ends each connection to its servers with its first answer; "" without one.
    ends_each: str = ""

    def rows(self) -> Iterator[Row]:
        if self.frontend is not None:
            yield self.frontend
        yield from self.listeners
        yield from self.servers
        if self.backend is not None:
            yield self.backend


def names_in_order(places: dict[str, Place]) -> list[str]:
    """Returns the names of sections in the order of their places, by which they are numbered from 1."""
    files = list(dict.fromkeys(place.file for place in places.values()))
    return sorted(places, key=lambda name: (files.index(places[name].file), places[name].line))


def sections_of(view: ProxyView) -> list[Section]:
    """Returns all sections, in the order of the configuration."""
    return run_through(figuring(view))


def figuring(view: ProxyView) -> Steps[list[Section]]:
    """Computes all sections, in the order of the configuration, in steps of a section, or of `AT_ONCE` servers."""
    proxies: list[FrontendView | BackendView] = [*view.frontends, *view.backends]
    said = {each.name: each.description for each in proxies}
    places = {each.name: each.place for each in proxies}
    sections = {name: Section(name, description=said[name]) for name in names_in_order(places)}
    for frontend in view.frontends:
        yield
        sections[frontend.name].frontend = Row(_frontend(frontend), frontend=frontend)
        sections[frontend.name].listeners = [
            Row(_listener(each), legends={"addr": each.address}) for each in frontend.sockets
        ]
    for backend in view.backends:
        section = sections[backend.name]
        section.ends_each = backend.ends_each
        for number, server in enumerate(backend.servers, 1):
            legends: Columns = {"addr": server.address, "cookie": server.cookie}
            section.servers.append(Row(_server(server, number, view.at), server, legends=legends))
            if not number % AT_ONCE:
                yield
        yield
        legends = {"algo": backend.algorithm, "cookie": backend.cookie}
        section.backend = Row(_backend(backend, section.servers, view.at), legends=legends)
    modes = {each.name: each.mode for each in proxies}
    numbers = {each.name: each.id for each in proxies}
    for section in sections.values():
        mode, number = modes[section.name], numbers[section.name]
        yield
        for place, row in enumerate(section.rows(), 1):
            if not place % (10 * AT_ONCE):
                yield
            # HAProxy numbers processes from 1 here; the process id is in `show info`.
            row.columns.update(pxname=section.name, pid=1, iid=number, mode=mode)
            if mode == "tcp":
                for name in _OF_REQUESTS:
                    row.columns.pop(name, None)
                if row.columns["type"] in (FRONTEND, BACKEND):
                    row.columns.update(dict.fromkeys(_NOUGHT, 0))
                if row.frontend is None:
                    row.columns.pop("req_tot", None)
                else:
                    row.columns.update(sess_other=row.columns["stot"], h1sess=0, h1req=0)
                if row.columns.get("src_ilim") == 0:  # without a floor nothing is kept, whatever is said
                    del row.columns["src_ilim"]
    return list(sections.values())


def within(sections: Sequence[Section], scope: Sequence[str]) -> Sequence[Section]:
    """Returns the sections with these names (`stats scope`); all, if there are no names."""
    return [each for each in sections if each.name in scope] if scope else sections


def named_like(sections: Sequence[Section], text: str) -> Sequence[Section]:
    """Returns the sections whose names contain this text, in letters of either case, as in HAProxy (`scope=`); all, if
    it is empty."""
    wanted = text.lower()
    return [each for each in sections if wanted in each.name.lower()] if text else sections


def only_up(sections: Sequence[Section]) -> Sequence[Section]:
    """Returns the sections without those servers that take no request, as in HAProxy (`;up`)."""
    return [
        evolve(each, servers=[row for row in each.servers if row.server is None or row.server.serving])
        for each in sections
    ]


def _frontend(frontend: FrontendView) -> Columns:
    rate, requests = frontend.sessions, frontend.requests
    traffic = frontend.traffic
    return {
        "svname": "FRONTEND",
        "type": FRONTEND,
        "sid": 0,
        "status": "STOP" if frontend.stopped or frontend.shut else "PAUSED" if frontend.paused else "OPEN",
        "scur": frontend.connections,
        "smax": frontend.connections_max,
        "slim": frontend.maxconn,
        "rate_lim": frontend.session_rate,
        "stot": frontend.connections_total,
        "conn_tot": frontend.connections_total,
        **dict.fromkeys(_VERSIONS, 0),
        "h1sess": frontend.connections_total,
        "h1req": traffic.req_tot,
        "h1_open_connections": frontend.connections,
        "h1_open_streams": frontend.requests_open,
        "h1_total_connections": frontend.connections_total,
        "h1_total_streams": traffic.req_tot + frontend.requests_open,
        "ssl_sess": 0 if frontend.tls is None else frontend.tls.completed,
        "ssl_reused_sess": 0 if frontend.tls is None else frontend.tls.resumed,
        "ssl_failed_handshake": 0 if frontend.tls is None else frontend.tls.failed,
        "h1_bytes_in": traffic.bin,
        "h1_bytes_out": traffic.bout,
        **_NOT_SPLICED,
        **_compressed(traffic),
        **_NOT_DONE,
        "dses": frontend.denied_sessions,
        "dreq": traffic.dreq,
        "dresp": traffic.dresp,
        "dcon": frontend.denied,
        "eint": traffic.eint,
        "ereq": traffic.ereq,
        "req_tot": traffic.req_tot,
        "intercepted": traffic.intercepted,
        "rate": rate.now,
        "rate_max": rate.most,
        "conn_rate": rate.now,
        "conn_rate_max": rate.most,
        "req_rate": requests.now,
        "req_rate_max": requests.most,
        **_bytes_and_responses(traffic),
    }


def _listener(socket: BindView) -> Columns:
    traffic = socket.traffic
    return {
        "svname": socket.name,
        "type": LISTENER,
        "sid": socket.number,
        "status": socket.status,
        "scur": socket.connections,
        "smax": max(traffic.smax, socket.connections),
        "slim": socket.maxconn,
        "stot": traffic.stot,
        "bin": traffic.bin,
        "bout": traffic.bout,
        "dreq": traffic.dreq,
        "dresp": traffic.dresp,
        "ereq": traffic.ereq,
        "dcon": socket.denied,
        "dses": 0,
        "wrew": 0,
        "eint": traffic.eint,
        "proto": socket.protocol,
        "ssl_sess": socket.completed,
        "ssl_reused_sess": socket.resumed,
        "ssl_failed_handshake": socket.failed,
    }


def _backend(backend: BackendView, servers: list[Row], now: float) -> Columns:
    usable = [server for server in backend.servers if server.usable]
    in_turn = backend.in_turn
    columns: Columns = {
        "svname": "BACKEND",
        "type": BACKEND,
        "sid": 0,
        "status": DOWN if backend.down else UP,
        "qcur": backend.queue,
        "qmax": backend.queue_max,
        "slim": backend.fullconn,
        "dreq": backend.traffic.dreq,
        "req_tot": backend.traffic.req_tot,
        **_compressed(backend.traffic),
        **_NOT_DONE,
        # Gauges that HAProxy makes for Prometheus alone; its CSV has 0 for all of them.
        **dict.fromkeys(("agg_server_status", "agg_server_check_status", "agg_check_status", "eint"), 0),
        **_times(backend.times),
        "weight": sum(map(_effective, in_turn)),
        "uweight": sum(server.weight for server in in_turn),
        "act": sum(not server.backup for server in usable),
        "bck": sum(server.backup for server in usable),
        "chkdown": backend.downs,
        "lastchg": int(now - backend.changed_at),
        "downtime": int(backend.down_for(now)),
        **_carried(backend.traffic, backend.sessions),
        **_last_session(now, [server.last_placed for server in backend.servers]),
    }
    totals = map(sum, zip(*(_summed(row.columns) for row in servers), strict=True)) if servers else repeat(0)
    columns.update(zip(_SUMS, totals, strict=False))
    columns["h1_open_connections"] = sum(each.pool.idle + each.pool.in_use for each in backend.servers)
    columns["h1_open_streams"] = sum(each.pool.in_use for each in backend.servers)
    columns["h1_total_connections"] = columns["connect"]
    columns["h1_total_streams"] = sum(each.traffic.stot for each in backend.servers)
    # Seen from the servers' side: what they have answered comes in.
    columns["h1_bytes_in"] = sum(each.traffic.bout for each in backend.servers)
    columns["h1_bytes_out"] = sum(each.traffic.bin for each in backend.servers)
    columns.update(_NOT_SPLICED)
    columns.update(_ratio([server.pool for server in backend.servers]))
    return columns


def _server(server: ServerView, number: int, now: float) -> Columns:
    columns = pool_columns(server.pool)
    columns |= _carried(server.traffic, server.sessions)
    columns |= {
        "svname": server.name,
        "type": SERVER,
        "status": status(server),
        "qcur": server.queue,
        "qmax": server.queue_max,
        "weight": _effective(server),
        "uweight": server.weight,
        "act": int(not server.backup),
        "bck": int(server.backup),
        "lastchg": int(now - server.changed_at),
        "req_tot": sum(server.traffic.hrsp),
        "wrew": 0,
        "eint": 0,
        **_times(server.times),
        "sid": server.id or number,
        # HAProxy's count of the servers that had this number before: one from a file is the first.
        **({"srid": 0} if server.place.line else {}),
        **_last_session(now, [server.last_placed]),
    }
    tls = server.pool.tls
    columns.update(zip(_TLS, (0, 0, 0) if tls is None else (tls.handshakes, tls.resumed, tls.failed), strict=True))
    if server.throttle < FULL_WEIGHT:
        columns["throttle"] = -(-100 * server.throttle // FULL_WEIGHT)
    if server.maxconn:
        columns["slim"] = server.maxconn
    if server.pool.max_conn is not None:
        columns["src_ilim"] = server.pool.max_conn
    if server.maxqueue:
        columns["qlimit"] = server.maxqueue
    if server.check is not None:
        columns["chkdown"] = server.downs
        columns["downtime"] = int(server.down_for(now))
        columns.update(_checked(server.check))
    if server.tracked:
        columns["tracked"] = server.tracked
    if server.agent is not None:
        said = server.agent.last
        columns.update(
            {
                "agent_status": said.status,
                "agent_desc": WORDS[said.status],
                "agent_duration": int(said.duration * 1000),
                "last_agt": said.info,
                "agent_rise": 1,
                "agent_fall": 1,
                "agent_health": server.agent.health,
            }
        )
        if said.code is not None:
            columns["agent_code"] = said.code
    return columns


#: What HAProxy counts of what is not done here: its cache, headers that cannot be written, and answers that are not
#: compressed for want of processor time.
_NOT_DONE: Columns = dict.fromkeys(("comp_byp", "cache_lookups", "cache_hits", "wrew"), 0)


def _compressed(traffic: TrafficCounts) -> Columns:
    return {"comp_in": traffic.comp_in, "comp_out": traffic.comp_out, "comp_rsp": traffic.comp_rsp}


_NOT_SPLICED: Columns = {"h1_spliced_bytes_in": 0, "h1_spliced_bytes_out": 0}


def _times(times: TimesView) -> Columns:
    """Returns the average and the longest times, in milliseconds."""
    return {
        **{name: round(value * 1000) for name, value in zip(_AVERAGES, times.means, strict=True)},
        **{name: int(value * 1000) for name, value in zip(_LONGEST, times.most, strict=True)},
    }


_AVERAGES = _names("qtime ctime rtime ttime")
_LONGEST = _names("qtime_max ctime_max rtime_max ttime_max")


def _effective(server: ServerView) -> int:
    """Returns the weight that counts now, rounded up: less than the configured one during `slowstart`."""
    return -(-server.weight * server.throttle // FULL_WEIGHT)


def status(server: ServerView) -> str:
    """Returns the server's state in HAProxy's words, with its progress towards the other state."""
    check = server.check
    if not server.addressed:
        return f"{MAINT} (resolution)"
    if server.agent is not None and server.agent.down and server.state == DOWN:
        return "DOWN (agent)"
    if server.agent is not None and check is None and server.state == DRAIN and server.weight:
        return "DRAIN (agent)"
    if server.maintained_by_tracked:
        return f"{server.state} (via {server.tracked})"
    if server.state == MAINT or check is None:
        return "no check" if server.state == UP and not server.tracked else server.state
    rise, fall, health = check.rise, check.fall, check.health
    if server.serving and health < rise + fall - 1:
        return f"{server.state} {health - rise + 1}/{fall}"
    if server.state == DOWN and health:
        return f"DOWN {health}/{rise}"
    return server.state


def pool_columns(pool: PoolView) -> Columns:
    """Returns the columns of a server's pool: reusedproxy's, and HAProxy's about idle connections and reuse."""
    counts = pool.counts
    columns: Columns = {
        "connect": counts.dials,
        "reuse": counts.reuses,
        "srv_icur": pool.idle,
        "idle_conn_cur": pool.idle - pool.safe,
        "safe_conn_cur": pool.safe,
        "used_conn_cur": pool.in_use,
        "priv_idle_cur": pool.private,
        # HAProxy estimates the number to keep. Here it is the floor or, if larger, the connections in use plus the
        # waiting requests.
        "need_conn_est": max(pool.floor, pool.in_use + pool.waiting),
        "pool_floor": pool.floor,
        "pool_idle": pool.idle,
        "pool_suspect": pool.suspect,
        "pool_in_use": pool.in_use,
        "pool_connecting": pool.connecting,
        "pool_retiring": pool.retiring,
        "pool_waiting": pool.waiting,
        "pool_dials": counts.dials,
        "pool_dials_request_path": counts.dials_for_requests,
        "pool_dials_failed": counts.dials_failed,
        "pool_handshakes": counts.handshakes,
        "pool_handshakes_request_path": counts.handshakes_on_request_path,
        "pool_waits_queued": counts.waits_queued,
        "pool_waits_failed": counts.waits_failed,
        "pool_requests": counts.requests,
        "pool_races_repeated": counts.races_repeated,
        "pool_races_lost": counts.races_lost,
        "pool_pings": counts.pings,
        "pool_pings_failed": counts.pings_failed,
        "pool_donated": counts.donated,
        "pool_overdue": counts.overdue,
        "pool_below_floor": round(pool.below_floor_seconds, 2),
        **({} if pool.demand is None or pool.demand.enough is None else {"pool_floor_advised": pool.demand.enough}),
        **_limits(pool),
        "pool_closed": closed_because(pool),
        **_ratio([pool]),
    }
    if pool.max_conn is not None:
        columns["src_ilim"] = pool.max_conn
    return columns


def _limits(pool: PoolView) -> Columns:
    """Returns the server's time limits for idle connections, in seconds, and their sources; none for unknown ones."""
    columns: Columns = {}
    for name, limit in (("used", pool.used), ("unused", pool.unused)):
        if limit is not None:
            columns[f"pool_limit_{name}"] = round(limit.seconds, 2)
            columns[f"pool_limit_{name}_from"] = limit.source
    return columns


def closed_because(pool: PoolView) -> str:
    """Returns the reasons why connections were closed, with their numbers, the most frequent first."""
    return "; ".join(f"{reason}: {count}" for reason, count in sorted(pool.closed.items(), key=lambda item: -item[1]))


def _ratio(pools: Sequence[PoolView]) -> Columns:
    """Returns the share of requests on a connection that had carried one before; nothing without requests."""
    requests = sum(pool.counts.requests for pool in pools)
    return {"pool_reuse_ratio": sum(pool.counts.reuses for pool in pools) / requests} if requests else {}


def _carried(traffic: TrafficCounts, rate: Rate) -> Columns:
    """Returns the columns that backends and servers have in common."""
    return {
        "scur": traffic.scur,
        "smax": traffic.smax,
        "stot": traffic.stot,
        "lbtot": traffic.stot - traffic.wretr,  # a further try at the same server is not a choice
        "dresp": traffic.dresp,
        "rate": rate.now,
        "rate_max": rate.most,
        "econ": traffic.econ,
        "eresp": traffic.eresp,
        "wretr": traffic.wretr,
        "wredis": traffic.wredis,
        "cli_abrt": traffic.cli_abrt,
        "srv_abrt": traffic.srv_abrt,
        **_bytes_and_responses(traffic),
    }


def _bytes_and_responses(traffic: TrafficCounts) -> Columns:
    columns: Columns = {"bin": traffic.bin, "bout": traffic.bout}
    columns.update(zip(_RESPONSES, traffic.hrsp, strict=True))
    return columns


def _last_session(now: float, placed: list[float]) -> Columns:
    last = max(placed, default=0.0)
    return {"lastsess": int(now - last) if last else -1}


def _checked(check: CheckView) -> Columns:
    last = check.last
    columns: Columns = {
        "chkfail": check.failures,
        "check_status": last.status,
        "check_desc": WORDS[last.status],
        "check_duration": int(last.duration * 1000),
        "check_rise": check.rise,
        "check_fall": check.fall,
        "check_health": check.health,
        "last_chk": last.info,
    }
    if check.observed is not None:
        columns["hanafail"] = check.observed
    if last.code is not None:
        columns["check_code"] = last.code
    return columns
