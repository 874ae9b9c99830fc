"""Renders the statistics as one HTML document: a table for each proxy in HAProxy's style, and one for its servers'
pools.

Turns figures into text; must never know requests. All external text (names, reasons, servers' responses) passes through
`escape`. The document is self-contained: no script, no font, no picture.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape

from attrs import frozen

from reusedproxy import __version__
from reusedproxy.backends.server import DOWN, DRAIN, MAINT, NOLB
from reusedproxy.operators.stats import pool_details as pooldetails
from reusedproxy.operators.stats import tls_details as tlsdetails
from reusedproxy.operators.stats.figures import BACKEND, FRONTEND, SERVER, Columns, Row, Section, within
from reusedproxy.operators.stats.moment import Moment
from reusedproxy.operators.stats.pool_details import pool_details
from reusedproxy.operators.view.values import PoolView, ProxyView


@frozen
class Look:
    """Settings of a page besides the figures. `refresh` is in seconds; None: the page does not reload itself.

    `detailed`: the page has the pool details, so the view must have the pools' measures. `unfolded`: they are open; a
    page that reloads itself would otherwise fold them again.
    """

    uri: str
    pid: int
    #: Seconds for which traffic has been counted: since the start or the last reload.
    counted: float
    at: float
    log_lines_dropped: int = 0
    refresh: float | None = None
    #: HAProxy's code for what became of a form.
    outcome: str = ""
    #: Who looks may change something.
    admin: bool = False
    #: The sections that are shown; () for all.
    scope: tuple[str, ...] = ()
    legends: bool = False
    node: str | None = None
    description: str | None = None
    detailed: bool = False
    unfolded: bool = False
    hide_version: bool = False

    def link(self, words: str, *, refresh: bool | None = None, unfolded: bool | None = None) -> str:
        """Returns a link to this page, with the given settings changed."""
        stays = self.refresh is not None if refresh is None else refresh
        open_ = self.unfolded if unfolded is None else unfolded
        return f"<a href='{escape(self.uri)}{'' if stays else ';norefresh'}{';unfold' if open_ else ''}'>{words}</a>"


#: What the form offers, in HAProxy's words and order.
ACTIONS = {
    "ready": "Set state to READY",
    "drain": "Set state to DRAIN",
    "maint": "Set state to MAINT",
    "dhlth": "Health: disable checks",
    "ehlth": "Health: enable checks",
    "hrunn": "Health: force UP",
    "hnolb": "Health: force NOLB",
    "hdown": "Health: force DOWN",
    "dagent": "Agent: disable checks",
    "eagent": "Agent: enable checks",
    "arunn": "Agent: force UP",
    "adown": "Agent: force DOWN",
    "shutdown": "Kill sessions",
}


def write_page(moment: Moment, look: Look) -> str:
    """Returns the whole document. The part that differs between two views is short; the tables are written once for a
    moment."""
    refresh = f'<meta http-equiv="refresh" content="{look.refresh:.0f}">\n' if look.refresh else ""
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
        f'{refresh}<meta name="viewport" content="width=device-width">\n<link rel="icon" href="data:,">\n',
        "<title>reusedproxy statistics</title>\n",
        f"<style>{_STYLE}{pooldetails.STYLE}{tlsdetails.STYLE}</style>\n</head>\n<body>\n",
        _header(moment, look),
        moment.text(
            " ".join(["tables", *(name for name in _KINDS if getattr(look, name)), *look.scope]),
            lambda: _tables(within(moment.sections, look.scope), look),
        ),
        _LEGEND,
        "</body>\n</html>\n",
    ]
    return "".join(parts)


#: What makes other tables of the same figures.
_KINDS = ("unfolded", "detailed", "admin", "legends")
DENIED = "DENY"
#: What became of a form, by HAProxy's code.
_OUTCOMES = {
    "DONE": ("fine", "Done."),
    "NONE": ("quiet", "Nothing has changed."),
    "PART": ("trouble", "Done for some of the servers only."),
    "ERRP": ("trouble", "Nothing was changed: there is no such backend, server or action."),
    "EXCD": ("trouble", "Nothing was changed: the form was too long. Choose fewer servers at a time."),
    DENIED: ("trouble", "Nothing was changed: this page takes no orders from you."),
}


def _outcome(look: Look) -> str:
    if look.outcome not in _OUTCOMES:
        return ""
    kind, text = _OUTCOMES[look.outcome]
    return f"<p class='{kind}'>{text} <a href='{escape(look.uri)}'>(close)</a></p>\n"


# The part above the tables.


def _header(moment: Moment, look: Look) -> str:
    uptime = moment.view.uptime
    uri = escape(look.uri)
    again = "does not reload itself"
    if look.refresh:
        again = f"reloads every {look.refresh:.0f} s ({look.link('stop', refresh=False)})"
    now = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(look.at))
    since = ""
    if uptime - look.counted >= 1:
        since = (
            f"<p>The last reload was {_duration(look.counted)} ago. Traffic of frontends, backends and servers is"
            " counted since then; pools, and what is said of them here, since the start.</p>\n"
        )
    facts = moment.text(
        " ".join(["facts", *look.scope]), lambda: _facts(moment.view, within(moment.sections, look.scope))
    )
    version = "" if look.hide_version else f"version {escape(__version__)}, "
    node = f" on {escape(look.node)}" if look.node else ""
    described = f"<p>{escape(look.description)}</p>\n" if look.description else ""
    return (
        f"<h1>reusedproxy{node} <small>{version}pid {look.pid}, up {_duration(uptime)}</small></h1>\n{described}"
        f"<p class='menu'>{now} · {again} · {look.link('reload')}"
        f" · {look.link('fold pools' if look.unfolded else 'unfold pools', unfolded=not look.unfolded)}"
        f" · <a href='{uri};csv'>CSV</a></p>\n"
        + _outcome(look)
        + f"<div class='facts'>{facts}{_lost_lines(look)}</div>\n"
        + since
    )


def _facts(view: ProxyView, sections: Sequence[Section]) -> str:
    """Returns the figures to be seen first: handshakes on the request path and lost requests, which should be 0, then
    the state of the proxy."""

    def total(name: str) -> int:
        return sum(int(row.columns[f"pool_{name}"]) for section in sections for row in section.servers)

    on_path = total("handshakes_request_path")
    lost = total("races_lost")
    facts = [
        _fact(
            "TLS handshakes on the request path",
            f"{on_path:,}",
            f"of {total('requests'):,} requests",
            "bad" if on_path else "good",
        ),
        _fact(
            "requests lost to idle ends",
            f"{lost:,}",
            f"{total('races_repeated'):,} repeated",
            "bad" if lost else "good",
        ),
        _fact("connections to servers", f"{total('idle'):,} idle", f"{total('in_use'):,} in use"),
        _fact("handshakes in all", f"{total('handshakes'):,}", f"{total('dials_failed'):,} dials failed"),
        _fact("client connections", f"{view.clients:,}", f"of {view.maxconn:,} at most"),
    ]
    if view.standstills:
        facts.append(
            _fact(
                "event loop stood still",
                f"{view.standstills:,}",
                f"times, {view.longest_standstill:.1f} s at most (see the log)",
                "bad",
            )
        )
    return "".join(facts)


def _lost_lines(look: Look) -> str:
    return _fact("log lines dropped", f"{look.log_lines_dropped:,}", "", "bad") if look.log_lines_dropped else ""


def _fact(name: str, value: str, more: str, kind: str = "") -> str:
    return f"<div class='{kind}'><span>{name}</span><b>{value}</b> {more}</div>"


# The tables of a proxy.


def _tables(sections: Sequence[Section], look: Look) -> str:
    return "".join(_section(section, look) for section in sections)


def _section(section: Section, look: Look) -> str:
    orders = look.admin and section.backend is not None and bool(section.servers)
    rows = "".join(_traffic_row(row, look, orders and row.server is not None) for row in section.rows())
    name = escape(section.name)
    table = f"<table>\n{_TRAFFIC_HEAD}{rows}</table>\n"
    if orders:
        choices = "".join(f"<option value='{word}'>{text}</option>" for word, text in ACTIONS.items())
        table = (
            f"<form method='post' action='{escape(look.uri)}'>{table}<p>The servers that are ticked:"
            f" <select name='action'><option value=''></option>{choices}</select>"
            f" <input type='hidden' name='b' value='{name}'> <input type='submit' value='Apply'></p></form>\n"
        )
    tables = f"<section>\n<h2 id='{name}'>{name}</h2>\n{table}"
    if section.frontend is not None and section.frontend.frontend is not None:
        tables += tlsdetails.listeners(section.frontend.frontend, look.at)
    if section.servers:
        tables += f"<table class='pools'>\n{_POOL_HEAD}{''.join(map(_pool_rows, section.servers))}</table>\n"
        servers = [row.server for row in section.servers if row.server is not None]
        tables += tlsdetails.servers(servers, look.at)
        tables += "".join(pool_details(server, look.at, look.unfolded) for server in servers if look.detailed)
    return tables + "</section>\n"


def _traffic_row(row: Row, look: Look, chosen: bool) -> str:
    columns = row.columns
    name = escape(str(columns["svname"]))
    if chosen:
        name = f"<label><input type='checkbox' name='s' value='{name}'> {name}</label>"
    if look.legends and row.legends:
        more = " ".join(f"{word} {value}" for word, value in row.legends.items() if value)
        name += f" <small>{escape(more)}</small>"
    last, down = columns.get("lastsess", -1), columns.get("downtime")
    cells = [
        f"<th>{name}</th>",
        *map(_number, map(columns.get, _TRAFFIC_NUMBERS)),
        f"<td>{_duration(float(last)) + ' ago' if float(last) >= 0 else ''}</td>",
        f"<td>{_amount(int(columns['bin']))}</td><td>{_amount(int(columns['bout']))}</td>",
        *map(_number, map(columns.get, _TRAFFIC_TROUBLE)),
        f"<td class='left'><i class='{_colour(row)}'>{escape(str(columns['status']))}</i>{_since(columns)}</td>",
        f"<td class='left'>{_last_check(columns)}</td>",
        _number(columns.get("weight")),
        f"<td>{_active(columns)}</td>",
        *map(_number, (columns.get("chkfail"), columns.get("chkdown"))),
        f"<td>{_duration(float(down)) if down else ''}</td>",
    ]
    return f"<tr class='{_ROW_CLASSES[int(columns['type'])]}'>{''.join(cells)}</tr>\n"


def _pool_rows(row: Row) -> str:
    columns, server = row.columns, row.server
    assert server is not None
    on_path = columns["pool_handshakes_request_path"]
    ratio = columns.get("pool_reuse_ratio")
    cells = [
        f"<th>{escape(server.name)}</th>",
        _number(columns["pool_floor"]),
        f"<td>{_duration(float(columns['pool_below_floor']))}</td>",
        f"<td class='{'warn' if server.pool.below_floor else ''}'>{columns['pool_idle']:,}</td>",
        *map(_number, map(columns.get, _POOL_NUMBERS)),
        f"<td class='{'warn' if columns['pool_dials_failed'] else ''}'>{columns['pool_dials_failed']:,}</td>",
        _number(columns["pool_handshakes"]),
        f"<td class='{'warn' if on_path else 'fine'}'>{on_path:,}</td>",
        _number(columns["pool_requests"]),
        _number(columns["pool_waits_queued"]),
        _number(columns["pool_races_repeated"]),
        f"<td class='{'warn' if columns['pool_races_lost'] else 'fine'}'>{columns['pool_races_lost']:,}</td>",
        f"<td>{f'{float(ratio):.1%}' if ratio is not None else ''}</td>",
        *(_limit(columns, name) for name in ("used", "unused")),
        f"<td class='left wide'>{escape(str(columns['pool_closed'])).replace('; ', '<br>')}</td>",
        f"<td class='left wide'>{_trouble(server.pool)}</td>",
    ]
    return f"<tr>{''.join(cells)}</tr>\n"


def _limit(columns: Columns, name: str) -> str:
    source = columns.get(f"pool_limit_{name}_from")
    return f"<td>{columns[f'pool_limit_{name}']} s<br><small>{source}</small></td>" if source else "<td></td>"


def _trouble(pool: PoolView) -> str:
    if pool.troubles:
        return f"<span class='trouble'>{escape(pool.troubles[0])}</span>"
    if pool.state != "running":
        return f"<span class='quiet'>{escape(pool.state)}</span>"
    return ""


# Cells.


def _number(value: str | int | float | None) -> str:
    """Returns a cell with a count; 0 is shown less prominently than other numbers."""
    if value is None:
        return "<td></td>"
    return f"<td>{value:,}</td>" if value else "<td class='quiet'>0</td>"


def _colour(row: Row) -> str:
    """Returns the CSS class of a state, with HAProxy's colours.

    Green is up, yellow going down, orange going up, red down, blue drained, grey not checked.
    """
    status = str(row.columns["status"])
    if status.startswith((MAINT, "STOP")):
        return "maint"
    if status == "no check":
        return "unchecked"
    if status.startswith((DRAIN, NOLB)):
        return "drain"
    going = "/" in status
    if status.startswith(DOWN):
        return "rising" if going else "down"
    return "falling" if going else "up"


def _since(columns: Columns) -> str:
    return f" {_duration(float(columns['lastchg']))}" if "lastchg" in columns else ""


def _last_check(columns: Columns) -> str:
    if "check_status" not in columns:
        return ""
    code = f"/{columns['check_code']}" if "check_code" in columns else ""
    text = f"{columns['check_status']}{code} in {columns['check_duration']} ms"
    if columns["check_status"] == "INI":
        text = "none yet"
    info = str(columns["last_chk"])
    about = f"{columns['check_desc']}{': ' if info else ''}{info}"
    shown = f" <small>{escape(info)}</small>" if info and not str(columns["check_status"]).endswith("OK") else ""
    return f"<span title='{escape(about)}'>{escape(text)}</span>{shown}"


def _active(columns: Columns) -> str:
    if columns["type"] == FRONTEND:
        return ""
    if columns["type"] == BACKEND:
        return f"{columns['act']}/{columns['bck']}"
    return "backup" if columns["bck"] else "active"


def _duration(seconds: float) -> str:
    """Formats a duration in its two largest units, as HAProxy does: 1d3h, 4m20s."""
    left = max(0, int(seconds))
    for size, unit, smaller, rest in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if left >= size:
            return f"{left // size}{unit}{left % size // smaller}{rest}"
    return f"{left}s"


def _amount(size: int) -> str:
    """Formats a number of bytes for people; the exact number is in the CSV."""
    if size < 1024:
        return str(size)
    amount, unit = float(size), ""
    for unit in ("", " K", " M", " G", " T"):
        if amount < 1024 or unit == " T":
            break
        amount /= 1024
    return f"{amount:.1f}{unit}"


_ROW_CLASSES = {FRONTEND: "frontend", BACKEND: "backend", SERVER: "server"}
_TRAFFIC_NUMBERS = ("qcur", "qmax", "rate", "rate_max", "scur", "smax", "slim", "stot")
_POOL_NUMBERS = ("pool_in_use", "pool_connecting", "pool_retiring", "pool_waiting", "pool_dials")
_TRAFFIC_TROUBLE = ("hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "ereq", "econ", "eresp", "wretr", "wredis")

_TRAFFIC_HEAD = """<thead>
<tr><td></td><th colspan=2>Queue</th><th colspan=2>Session rate</th><th colspan=5>Sessions</th><th colspan=2>Bytes</th>
<th colspan=4>Responses</th><th colspan=3>Errors</th><th colspan=2>Warnings</th><th colspan=7>Server</th></tr>
<tr><td></td><th>cur</th><th>max</th><th>cur</th><th>max</th><th>cur</th><th>max</th><th>limit</th><th>total</th><th>last</th>
<th>in</th><th>out</th><th>2xx</th><th>3xx</th><th>4xx</th><th>5xx</th><th>req</th><th>conn</th><th>resp</th><th>retr</th>
<th>redis</th><th>status</th><th>last check</th><th>weight</th><th>act/bck</th><th>failed</th><th>downs</th>
<th>downtime</th></tr>
</thead>
"""

_POOL_HEAD = """<thead>
<tr><td></td><th colspan=7>Pool: connections now</th><th colspan=2>Dials</th><th colspan=2>Handshakes</th>
<th colspan=5>Requests</th><th colspan=2>Idle limit</th><th rowspan=2>Closed because</th><th rowspan=2>Trouble</th></tr>
<tr><td></td><th>floor</th><th>below it</th><th>idle</th><th>in use</th><th>connecting</th><th>retiring</th>
<th>waiting</th><th>all</th><th>failed</th><th>all</th><th>on request path</th><th>all</th><th>queued</th>
<th>repeated</th><th>lost</th><th>reused</th><th>used</th><th>unused</th></tr>
</thead>
"""

_LEGEND = """<p class="legend"><i class="up">UP</i> <i class="falling">UP, going down</i>
<i class="rising">DOWN, going up</i> <i class="down">DOWN</i> <i class="drain">DRAIN</i> <i class="maint">MAINT</i>
<i class="unchecked">no check</i>
· DRAIN, NOLB: takes only requests that are bound to it · MAINT: takes none, and is not checked
· floor: connections kept ready, handshaken and verified · below it: for how long fewer stood, in all
· waiting: requests without a connection · queued: those that got one that came back
· handshakes on request path: connections that a request had to wait for; the aim is 0
· repeated, lost: requests whose idle connection ended under them; the aim is 0 lost
· reused: the share of requests on a connection that had carried one before
· idle limit: after how long the server closes a connection that has carried requests, or none yet; ours leave before
· p50, p90, p99: upper bounds of so many percent of all</p>
"""

_STYLE = """
:root{color-scheme:light dark;--line:#ccd;--head:#eef;--text:#223;--quiet:#99a;--back:#fff;--front:#f4f6ff;
--sum:#f0f0f4}
@media(prefers-color-scheme:dark){:root{--line:#445;--head:#223;--text:#dde;--quiet:#778;--back:#14161c;--front:#1b2030;--sum:#22252e}}
body{font:13px/1.4 system-ui,sans-serif;margin:1.2em 1.6em;color:var(--text);background:var(--back)}
h1{font-size:22px;margin:0}h1 small{font-size:13px;font-weight:normal;color:var(--quiet)}
h2{font-size:16px;margin:1.6em 0 .4em}.menu{margin:.2em 0 1em;color:var(--quiet)}
.facts{display:flex;flex-wrap:wrap;gap:.8em}.facts div{border:1px solid var(--line);border-radius:6px;padding:.5em 1em}
.facts span{display:block;color:var(--quiet);font-size:12px}.facts b{font-size:20px}
.facts .good b{color:#178a3c}.facts .bad b{color:#d0481c}
section{overflow-x:auto}table{border-collapse:collapse;margin:0 0 .5em;font-variant-numeric:tabular-nums;font-size:12px}
td,th{border:1px solid var(--line);padding:.15em .5em;text-align:right;white-space:nowrap}
th{text-align:left}thead th{background:var(--head);text-align:center;font-weight:600}thead td{border:0}
.left{text-align:left}.wide{white-space:normal;min-width:14em;max-width:34em}.quiet{color:var(--quiet)}
.frontend{background:var(--front)}.backend{background:var(--sum);font-weight:600}
td i,.legend i{font-style:normal;border-radius:3px;padding:0 .45em;color:#fff}
i.up{background:#1f9d4b}i.falling{background:#e6c229;color:#332}i.rising{background:#e8862e}i.down{background:#d32f2f}
i.drain{background:#1f7fd1}i.maint{background:#8a6d4b}i.unchecked{background:#9aa0ad}
.warn{background:#e8862e44}.fine{color:#178a3c}.trouble{color:#d32f2f}.legend{color:var(--quiet);font-size:12px;margin-top:2em}
"""
