"""Defines the metrics of HAProxy's exporter: their names, types, labels and values, as its dashboards and alerts have
them.

Those of proxies and servers are columns of the statistics; times are seconds here, and a state is one sample for each
state there is. What HAProxy measures of itself only (its memory pools, its tasks) is left out. Knows nothing of texts
and requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import nan

from attrs import frozen

from reusedproxy.backends.server import DOWN, DRAIN, MAINT, NOLB, UP
from reusedproxy.operators.metrics.pools import COUNTER, GAUGE
from reusedproxy.operators.stats.figures import LISTENER, Columns, Row, Section, Value

#: Values by the further labels that tell samples of one row from one another.
Values = Iterable[tuple[tuple[tuple[str, str], ...], float]]
Read = Callable[[Row, Section], Values]


@frozen
class Metric:
    """Describes one metric of rows of the statistics; `name` is what follows "haproxy_", a word for the kind of row and
    "_". `kinds` are letters of those kinds that have it."""

    name: str
    kind: str
    kinds: str
    help: str
    read: Read


#: The words of kinds of rows in names, by their letters in the table.
KINDS = {"F": "frontend", "L": "listener", "B": "backend", "S": "server"}
#: States of servers, and results of health checks, in HAProxy's order.
_STATES = (DOWN, UP, MAINT, DRAIN, NOLB)
_LISTENING = ("WAITING", "OPEN", "FULL")
_CHECKS = (
    *("HANA", "SOCKERR", "L4OK", "L4TOUT", "L4CON", "L6OK", "L6TOUT", "L6RSP", "L7TOUT", "L7RSP", "L7OK", "L7OKC"),
    *("L7STS", "PROCERR", "PROCTOUT", "PROCOK"),
)
_CODES = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")


def _number(value: Value | None) -> float:
    """Returns the value of a column; NaN for one that is empty, as in HAProxy."""
    return value if isinstance(value, int | float) else nan


def _column(name: str) -> Read:
    return lambda row, section: (((), _number(row.columns.get(name))),)


def _column_of_http(name: str) -> Read:
    """Returns what reads a column that only rows of mode http have."""

    def read(row: Row, section: Section) -> Values:
        return () if row.columns["mode"] == "tcp" else (((), _number(row.columns.get(name))),)

    return read


def _milliseconds(name: str) -> Read:
    return lambda row, section: (((), _number(row.columns.get(name)) / 1000),)


def _checked(name: str, scale: float = 1) -> Read:
    """Returns what reads a column that only servers with health checks have."""

    def read(row: Row, section: Section) -> Values:
        checked = row.server is not None and row.server.check is not None
        return (((), _number(row.columns.get(name, 0)) * scale),) if checked else ()

    return read


def _responses(row: Row, section: Section) -> Values:
    if row.columns["mode"] == "tcp":
        return
    for code in _CODES:
        yield (("code", code),), _number(row.columns.get(f"hrsp_{code}"))


def _one_of(states: Sequence[str], state: str) -> Values:
    return [((("state", each),), int(each == state)) for each in states]


def _status(row: Row, section: Section) -> Values:
    if row.server is not None:
        return _one_of(_STATES, row.server.state)
    if row.columns["type"] == LISTENER:
        return _one_of(_LISTENING, str(row.columns["status"]))
    return _one_of((DOWN, UP), UP if row.columns["status"] in ("OPEN", UP) else DOWN)


def _check_status(row: Row, section: Section) -> Values:
    check = row.columns.get("check_status")
    return () if check is None else _one_of(_CHECKS, str(check))


def _servers_by_state(row: Row, section: Section) -> Values:
    states = [each.server.state for each in section.servers if each.server is not None]
    return [((("state", each),), states.count(each)) for each in _STATES]


def _servers_by_check(row: Row, section: Section) -> Values:
    found = [each.columns.get("check_status") for each in section.servers]
    return [((("state", each),), found.count(each)) for each in _CHECKS]


def _metric(name: str, kinds: str, help: str, read: Read) -> Metric:
    kind = COUNTER if name.endswith("_total") else GAUGE
    return Metric(name, kind, kinds, help, read)


def _same(table: str, read: Callable[[str], Read]) -> Iterator[Metric]:
    """Parses lines of `name column kinds help`, all of them read alike."""
    for line in table.strip().splitlines():
        name, column, kinds, help = line.split(maxsplit=3)
        yield _metric(name, kinds, help, read(column))


#: All of them, in HAProxy's order.
METRICS: tuple[Metric, ...] = (
    *_same(
        """
        current_queue qcur BS Requests that wait.
        max_queue qmax BS The most requests that have waited at once.
        current_sessions scur FLBS Sessions now.
        max_sessions smax FLBS The most sessions at once.
        limit_sessions slim FLBS Sessions that there may be at once.
        sessions_total stot FLBS Sessions.
        bytes_in_total bin FLBS Bytes of requests.
        bytes_out_total bout FLBS Bytes of answers.
        requests_denied_total dreq FLB Requests that rules have refused.
        responses_denied_total dresp FLBS Answers that rules have refused.
        request_errors_total ereq FL Requests that could not be read.
        connection_errors_total econ BS Requests that have failed because no connection could be opened.
        response_errors_total eresp BS Requests whose answer was invalid or broke off.
        retry_warnings_total wretr BS Attempts at requests after their first.
        redispatch_warnings_total wredis BS Requests that went to another server after a failure.
        """,
        _column,
    ),
    _metric("status", "FLBS", "1 for the present state, 0 for the others.", _status),
    *_same(
        """
        weight weight BS The weight that counts now.
        active_servers act B Servers that are in use and no backups.
        backup_servers bck B Backup servers that could be used.
        active act S 1 for a server that is no backup.
        backup bck S 1 for a backup server.
        check_failures_total chkfail S Health checks that have failed.
        check_up_down_total chkdown BS Times that it went down.
        check_last_change_seconds lastchg BS Seconds since the state has changed.
        downtime_seconds_total downtime BS Seconds in which it was down.
        queue_limit qlimit S Requests that may wait (maxqueue).
        current_throttle throttle S Percentage of the weight that counts during slowstart.
        loadbalanced_total lbtot BS Times that a server was chosen.
        limit_session_rate rate_lim F Sessions that may begin in a second.
        max_session_rate rate_max FBS The most sessions that have begun in a second.
        """,
        _column,
    ),
    _metric("check_status", "S", "1 for the result of the last health check, 0 for the others.", _check_status),
    _metric("check_code", "S", "Status or code of the last health check.", _checked("check_code")),
    _metric(
        "check_duration_seconds", "S", "Seconds that the last health check took.", _checked("check_duration", 0.001)
    ),
    _metric("http_responses_total", "FBS", "Answers, by the first digit of their status.", _responses),
    *_same(
        """
        http_requests_rate_max req_rate_max F The most requests in a second.
        http_requests_total req_tot FB Requests.
        """,
        _column_of_http,
    ),
    *_same(
        """
        client_aborts_total cli_abrt BS Requests and answers that the client has broken off.
        server_aborts_total srv_abrt BS Answers that the server has broken off.
        """,
        _column,
    ),
    *_same(
        """
        http_comp_bytes_in_total comp_in FB Bytes before compression.
        http_comp_bytes_out_total comp_out FB Bytes after compression.
        http_comp_bytes_bypassed_total comp_byp FB Bytes that were not compressed for want of processor time.
        http_comp_responses_total comp_rsp FB Answers that were compressed.
        """,
        _column_of_http,
    ),
    *_same("last_session_seconds lastsess BS Seconds since a server was last chosen; -1 for never.", _column),
    *_same(
        """
        queue_time_average_seconds qtime BS Seconds in queues, on average of about the last 1024 requests.
        connect_time_average_seconds ctime BS Seconds until there was a connection, on average.
        response_time_average_seconds rtime BS Seconds until the answer came, on average.
        total_time_average_seconds ttime BS Seconds of whole requests, on average.
        """,
        _milliseconds,
    ),
    *_same(
        """
        connections_rate_max conn_rate_max F The most connections in a second.
        connections_total conn_tot F Connections.
        """,
        _column,
    ),
    *_same("intercepted_requests_total intercepted F Requests that the proxy has answered itself.", _column_of_http),
    *_same(
        """
        denied_connections_total dcon FL Connections that 'tcp-request connection' has refused.
        denied_sessions_total dses FL Sessions that 'tcp-request session' has refused.
        failed_header_rewriting_total wrew FLBS Header fields that could not be written.
        connection_attempts_total connect BS Connections that were dialled.
        connection_reuses_total reuse BS Requests on a connection that had carried one before.
        """,
        _column,
    ),
    *_same(
        """
        http_cache_lookups_total cache_lookups FB Lookups in the cache.
        http_cache_hits_total cache_hits FB Answers from the cache.
        """,
        _column_of_http,
    ),
    *_same(
        """
        idle_connections_current srv_icur S Idle connections.
        idle_connections_limit src_ilim S Idle connections that there may be.
        """,
        _column,
    ),
    *_same(
        """
        max_queue_time_seconds qtime_max BS The most seconds in queues.
        max_connect_time_seconds ctime_max BS The most seconds until there was a connection.
        max_response_time_seconds rtime_max BS The most seconds until the answer came.
        max_total_time_seconds ttime_max BS The most seconds of a whole request.
        """,
        _milliseconds,
    ),
    *_same(
        """
        internal_errors_total eint FLBS Requests and answers that were refused for a fault of the proxy.
        unsafe_idle_connections_current idle_conn_cur S Idle connections that have carried no request yet.
        safe_idle_connections_current safe_conn_cur S Idle connections that have carried requests.
        used_connections_current used_conn_cur S Connections in use.
        need_connections_current need_conn_est S Connections that are thought to be needed.
        uweight uweight BS The weight as it was configured or ordered.
        """,
        _column,
    ),
    _metric("agg_server_status", "B", "Servers, by their state.", _servers_by_state),
    _metric("agg_server_check_status", "B", "Servers, by their state (the old name of it).", _servers_by_state),
    _metric("agg_check_status", "B", "Servers, by the result of their last health check.", _servers_by_check),
)


def labels_of(row: Row, kind: str, description: str = "") -> list[tuple[str, str]]:
    """Returns the labels that name what the row is about; with a `description` that, too."""
    columns: Columns = row.columns
    found = [("proxy", str(columns["pxname"]))]
    if description:
        found.append(("desc", description))
    if kind not in "FB":
        found.append((KINDS[kind], str(columns["svname"])))
    return found


def rows_of(section: Section, kind: str) -> Sequence[Row]:
    """Returns the rows of this kind in a section."""
    if kind == "S":
        return section.servers
    if kind == "L":
        return section.listeners
    row = section.frontend if kind == "F" else section.backend if kind == "B" else None
    return () if row is None else (row,)
