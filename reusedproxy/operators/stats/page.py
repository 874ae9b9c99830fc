"""Renders the statistics as one HTML document: what is wrong, then a table for each proxy in HAProxy's style, and one
for its servers' pools; trouble first.

Turns figures into values for the templates, which escape all of them; must never know requests. The document is
self-contained: no script, no font, no picture from elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

from attrs import evolve, frozen
from markupsafe import Markup

from reusedproxy import __version__
from reusedproxy.backends.server import DOWN, DRAIN, MAINT, NOLB
from reusedproxy.operators.metrics.groups import SPREAD_HEADINGS, groups
from reusedproxy.operators.metrics.groups import duration as duration_of
from reusedproxy.operators.stats import shown
from reusedproxy.operators.stats.figures import (
    BACKEND,
    FRONTEND,
    LISTENER,
    SERVER,
    Columns,
    Row,
    Section,
    named_like,
    only_up,
    within,
)
from reusedproxy.operators.stats.graph import graph
from reusedproxy.operators.stats.moment import Moment
from reusedproxy.operators.stats.rendering import duration, pieces, render
from reusedproxy.operators.stats.troubles import LATELY, TOO_MANY, Trouble, shares, troubles
from reusedproxy.operators.view.cold import cold_sentences
from reusedproxy.operators.view.floors import advice, sentences
from reusedproxy.operators.view.history import Sample, answers
from reusedproxy.operators.view.readiness import readiness
from reusedproxy.operators.view.values import PoolView


@frozen
class Look:
    """Settings of a page besides the figures. `refresh` is in seconds; None: the page does not reload itself.

    `detailed`: the page has the pool details, so the view must have the pools' measures. `unfolded`: they are open; a
    page that reloads itself would otherwise fold them again.
    """

    uri: str
    pid: int
    #: Seconds since the start or the last reload.
    since_reload: float
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
    show_version: bool = False
    #: Servers that are DOWN or in MAINT are left out.
    up: bool = False
    #: The tables are those of sections whose names contain this; "" for all.
    wanted: str = ""

    def address(self, *, refresh: bool | None = None, unfolded: bool | None = None, up: bool | None = None) -> str:
        """Returns the address of this page, with the given settings changed."""
        stays = self.refresh is not None if refresh is None else refresh
        open_ = self.unfolded if unfolded is None else unfolded
        words = (("norefresh", not stays), ("unfold", open_), ("up", self.up if up is None else up))
        return self.uri + "".join(f";{word}" for word, said in words if said) + query_of(self.wanted)

    @property
    def everything(self) -> str:
        """Returns what leads from here to the page with all tables: "" if this is it."""
        return evolve(self, wanted="").address() if self.wanted else ""

    def figures(self, form: str) -> str:
        """Returns the address of the figures for programs in this form."""
        return f"{self.uri};{form}{query_of(self.wanted)}"

    @property
    def search(self) -> tuple[str, Sequence[tuple[str, str]]] | None:
        """Returns the address to which a form of the page's own sends what is `wanted`, and the fields that it has to
        send before, since its fields take the place of the query that the page's address has. None: that query cannot
        be made of fields."""
        path, asks, query = evolve(self, wanted="").address().partition("?")
        if not asks:
            return path, ()
        path, _, query = self.uri.partition("?")
        fields = parse_qsl(query, keep_blank_values=True)
        return (path, fields) if urlencode(fields).startswith(query) else None


def query_of(wanted: str) -> str:
    """Returns what an address ends with where only some sections are `wanted`, as in HAProxy."""
    return f"?scope={wanted}" if wanted else ""


#: The longest text by which sections are chosen.
LONGEST_WANTED = 20
#: What the form offers, in HAProxy's words and order, and of our own at the end.
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
    "dpool": "Pool: drain",
    "rpool": "Pool: rewarm",
}
DENIED = "DENY"
#: What became of a form, by HAProxy's code: how it is shown, and in which words.
_OUTCOMES = {
    "DONE": ("fine", "Done."),
    "NONE": ("", "Nothing has changed."),
    "PART": ("trouble", "Done for some of the servers only."),
    "ERRP": ("trouble", "Nothing was changed: there is no such backend, server or action."),
    "EXCD": ("trouble", "Nothing was changed: the form was too long. Choose fewer servers at a time."),
    DENIED: ("trouble", "Nothing was changed: this page takes no orders from you here."),
}
#: What makes other tables of the same figures, besides the scope, and the address where there are forms.
_KINDS = ("unfolded", "detailed", "admin", "legends", "up")


def pieces_of_page(moment: Moment, look: Look) -> Iterator[str]:
    """Returns the document, in pieces of little work each. The part that differs between two views is short; the tables
    are written once for a moment."""
    view = moment.view
    sections = within(moment.sections, look.scope)
    found = troubles(view, look.at, look.log_lines_dropped, look.scope)
    # Names of sections may be words of ours, too, so each thing has its place.
    kinds = [name for name in _KINDS if getattr(look, name)]
    key = repr((kinds, look.scope, look.wanted, look.address() if look.admin else ""))
    return pieces(
        "page.html",
        at_once=1,  # one of its parts is a piece of a section
        look=look,
        view=view,
        version=__version__,
        longest_wanted=LONGEST_WANTED,
        now=time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(look.at)),
        outcome=_OUTCOMES.get(look.outcome),
        troubles=found,
        headline=_headline(sections, found),
        reloaded=view.uptime - look.since_reload >= 1,
        facts=map(Markup, moment.pieces(f"facts {look.scope!r}", lambda: iter([_facts(moment, sections, look)]))),
        tables=map(Markup, moment.pieces(f"tables {key}", lambda: _tables(_shown(sections, look), look))),
    )


def _headline(sections: Sequence[Section], found: Sequence[Trouble]) -> str:
    if found:
        return found[0].text if len(found) == 1 else f"{len(found)} things are wrong"
    count = sum(row.server is not None and row.server.serving for section in sections for row in section.servers)
    return f"All is well: {count:,} server{'' if count == 1 else 's'} in service" if count else "All is well"


def _facts(moment: Moment, sections: Sequence[Section], look: Look) -> str:
    """Returns the figures to be seen first: what goes through and fails, then handshakes on the request path and lost
    requests, which should be 0, then the state of the proxy."""
    names = (
        *("handshakes_request_path", "requests", "races_lost", "races_repeated"),
        *("idle", "in_use", "handshakes", "dials_failed"),
    )
    total = {
        name: sum(int(row.columns[f"pool_{name}"]) for section in sections for row in section.servers) for name in names
    }
    encrypted = [
        row.columns
        for section in sections
        for row in section.servers
        if row.server is not None and row.server.pool.tls is not None
    ]
    tls = {name: sum(int(each[f"pool_{name}"]) for each in encrypted) for name in names[:2]} if encrypted else None
    # What goes through is known of all sections together only.
    history = () if look.scope else moment.view.history
    now, lately = shares(moment.view)
    return render(
        "facts.html",
        view=moment.view,
        total=total,
        tls=tls,
        history=history,
        now=now,
        lately=lately,
        answers=_answer_times(history),
        too_many=TOO_MANY,
        graph=graph(history) if history else None,
    )


def _answer_times(history: Sequence[Sample]) -> tuple[str, str] | None:
    """Returns in which time half of the last minute's answers came, and 99 percent; None if there were none."""
    times = answers(history, LATELY)
    half, most = times.estimate(0.5), times.estimate(0.99)
    return None if half is None or most is None else (duration_of(half), duration_of(most))


# The tables of a proxy.


def _shown(sections: Sequence[Section], look: Look) -> Sequence[Section]:
    """Returns the sections that have tables. What is wrong, and the figures to be seen first, are of all."""
    sections = named_like(sections, look.wanted)
    return only_up(sections) if look.up else sections


def _tables(sections: Sequence[Section], look: Look) -> Iterator[str]:
    return chain.from_iterable(_section(section, look) for section in sorted(sections, key=_gravity))


def _gravity(section: Section) -> int:
    """Returns how much a section has to be looked at: 0 is the most."""
    if section.backend is not None and section.servers and section.backend.columns["status"] == DOWN:
        return 0
    return min(map(_gravity_of_server, section.servers), default=3)


def _gravity_of_server(row: Row) -> int:
    server = row.server
    assert server is not None
    if server.state == DOWN:
        return 1
    going = "/" in str(row.columns["status"])
    return 2 if going or (server.serving and (server.pool.troubles or server.pool.below_floor)) else 3


def _section(section: Section, look: Look) -> Iterator[str]:
    servers = sorted(section.servers, key=_gravity_of_server)
    rows = [row for row in (section.frontend, *section.listeners, *servers, section.backend) if row is not None]
    views = [row.server for row in servers if row.server is not None]
    frontend = section.frontend.frontend if section.frontend is not None else None
    return pieces(
        "section.html",
        look=look,
        section=section,
        orders=look.admin and bool(servers),
        actions=ACTIONS,
        rows=map(_row, rows),
        listeners=shown.listeners(frontend, look.at) if frontend is not None else None,
        has_servers=bool(servers),
        pools=map(_pool, servers),
        has_tls=any(each.pool.tls is not None for each in views),
        tls=shown.servers(views, look.at),
        headings=SPREAD_HEADINGS,
        details=(
            {
                "name": each.full_name,
                "pool": each.pool,
                "sentences": [
                    *readiness(each),
                    *sentences(each.pool, section.ends_each),
                    *cold_sentences(each.pool, section.ends_each),
                ],
                "groups": groups(each, look.at),
            }
            for each in (views if look.detailed else ())
        ),
    )


class TrafficRow(NamedTuple):
    """Holds what the table of traffic shows of a frontend, server or backend; `cells` are those with numbers."""

    kind: str
    name: str
    server: bool
    legends: str
    colour: str
    status: str
    since: str
    check: LastCheck | None
    cells: Markup


class LastCheck(NamedTuple):
    """Holds what is said of a health check: at once, in its title, and of its failure."""

    text: str
    about: str
    info: str


class PoolRow(NamedTuple):
    """Holds what the table of pools shows of a server."""

    name: str
    trouble: str
    state: str
    cells: Markup
    closed: list[str]


def _row(row: Row) -> TrafficRow:
    columns = row.columns
    last, down = columns.get("lastsess", -1), columns.get("downtime")
    cells = [
        *map(_number, map(columns.get, _SESSIONS)),
        f"<td>{duration(float(last)) + ' ago' if float(last) >= 0 else ''}</td>",
        *map(_number, map(columns.get, _NUMBERS)),
        *(_time(columns, name) for name in ("qtime", "ctime", "rtime", "ttime")),
        f"<td>{_amount(int(columns['bin']))}</td><td>{_amount(int(columns['bout']))}</td>",
        _number(columns.get("weight")),
        f"<td>{_active(columns)}</td>",
        *map(_number, (columns.get("chkfail"), columns.get("chkdown"))),
        f"<td>{duration(float(down)) if down else ''}</td>",
    ]
    return TrafficRow(
        kind=_ROW_CLASSES[int(columns["type"])],
        name=str(columns["svname"]),
        server=row.server is not None,
        legends=" ".join(f"{word} {value}" for word, value in row.legends.items() if value),
        colour=_colour(row),
        status=str(columns["status"]),
        since=duration(float(columns["lastchg"])) if "lastchg" in columns else "",
        check=_last_check(columns),
        cells=Markup("".join(cells)),  # numbers alone
    )


def _pool(row: Row) -> PoolRow:
    columns, server = row.columns, row.server
    assert server is not None
    pool = server.pool
    on_path = columns["pool_handshakes_request_path"]
    ratio = columns.get("pool_reuse_ratio")
    cells = [
        _floor(pool),
        f"<td>{duration(float(columns['pool_below_floor']))}</td>",
        f"<td class='{'warn' if pool.below_floor else ''}'>{columns['pool_idle']:,}</td>",
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
    ]
    return PoolRow(
        name=server.name,
        trouble=pool.troubles[0] if pool.troubles else "",
        state=", ".join(_states(pool)),
        cells=Markup("".join(cells)),  # numbers, and words of ours
        closed=str(columns["pool_closed"]).split("; ") if columns["pool_closed"] else [],
    )


def _states(pool: PoolView) -> Iterator[str]:
    if pool.state != "running":
        yield pool.state
    if pool.order is not None:
        yield pool.order.state


def _floor(pool: PoolView) -> str:
    """Returns the cell of the floor, with what is advised where that is another."""
    demand, texts = pool.demand, list[str]()
    if pool.usual_floor > pool.floor:
        texts.append(f"{pool.usual_floor:,} withheld")
    if demand is not None:
        if demand.most is not None:
            texts.append("auto")
        if demand.enough is not None and demand.enough != pool.usual_floor:
            texts.append(f"{demand.enough} advised")
    small = "".join(f"<br><small>{text}</small>" for text in texts)
    return Markup("<td title='{}'>{}{}</td>").format(advice(pool), f"{pool.floor:,}", Markup(small))


def _limit(columns: Columns, name: str) -> str:
    source = columns.get(f"pool_limit_{name}_from")
    return (
        Markup("<td>{} s<br><small>{}</small></td>").format(columns[f"pool_limit_{name}"], source)
        if source
        else ("<td></td>")
    )


# Cells.


def _number(value: str | int | float | None) -> str:
    """Returns a cell with a count; 0 is shown less prominently than other numbers."""
    if value is None or value == "":
        return "<td></td>"
    return f"<td>{value:,}</td>" if value else "<td class='quiet'>0</td>"


def _time(columns: Columns, name: str) -> str:
    """Returns a cell with an average time, and the largest in its title."""
    if name not in columns:
        return "<td></td>"
    return f"<td title='at most {int(columns[f'{name}_max']):,} ms'>{columns[name]:,}</td>"


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


def _last_check(columns: Columns) -> LastCheck | None:
    if "check_status" not in columns:
        return None
    code = f"/{columns['check_code']}" if "check_code" in columns else ""
    text = f"{columns['check_status']}{code} in {columns['check_duration']} ms"
    if columns["check_status"] == "INI":
        text = "none yet"
    info = str(columns["last_chk"])
    failure = info if not str(columns["check_status"]).endswith("OK") else ""
    return LastCheck(text, f"{columns['check_desc']}{': ' if info else ''}{info}", failure)


def _active(columns: Columns) -> str:
    if columns["type"] in (FRONTEND, LISTENER):
        return ""
    if columns["type"] == BACKEND:
        return f"{columns['act']}/{columns['bck']}"
    return "backup" if columns["bck"] else "active"


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


_ROW_CLASSES = {FRONTEND: "frontend", BACKEND: "backend", SERVER: "server", LISTENER: "listener"}
_SESSIONS = ("scur", "smax", "slim", "stot")
_NUMBERS = (
    *("rate", "rate_max", "qcur", "qmax"),
    *("hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "ereq", "econ", "eresp", "wretr", "wredis"),
)
_POOL_NUMBERS = ("pool_in_use", "pool_connecting", "pool_retiring", "pool_waiting", "pool_dials")
