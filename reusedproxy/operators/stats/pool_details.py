"""Renders the folded part of the statistics page: all metrics of each server's pool.

Turns the output of `metrics.groups` into HTML. Names of servers come from the configuration and pass through `escape`;
all other text is this program's.
"""

from __future__ import annotations

from html import escape

from reusedproxy.operators.metrics.groups import SPREAD_HEADINGS, Group, Line, Spread, Value, groups
from reusedproxy.operators.view.values import ServerView

STYLE = """
details{margin:.3em 0}summary{cursor:pointer;font-size:12px}summary small{color:var(--quiet)}
.groups{display:flex;flex-wrap:wrap;gap:.8em;align-items:flex-start;margin:.4em 0 1em 1em}
.groups h3{font-size:12px;margin:0;padding:.2em .5em;background:var(--head);border:1px solid var(--line);
border-bottom:0}.groups div{max-width:100%}.groups table{margin:0 0 -1px;min-width:100%}
.groups th{font-weight:normal;vertical-align:top}
.groups td b{font-weight:600;margin-left:.3em}
"""


def pool_details(server: ServerView, now: float, unfolded: bool) -> str:
    """Returns the folded block, with a summary in its first line; `now` is Unix time."""
    pool = server.pool
    state = f"{pool.idle:,} idle of a floor of {pool.floor:,}, {pool.in_use:,} in use"
    blocks = "".join(map(_group, groups(server, now)))
    return (
        f"<details{' open' if unfolded else ''}><summary>Pool of <b>{escape(server.full_name)}</b> in full"
        f" <small>{state}</small></summary>\n<div class='groups'>\n{blocks}</div></details>\n"
    )


def _group(group: Group) -> str:
    tables = f"<table>{''.join(map(_line, group.lines))}</table>" if group.lines else ""
    if group.spreads:
        head = "".join(f"<th>{each}</th>" for each in SPREAD_HEADINGS)
        tables += f"<table><thead><tr><td></td>{head}</tr></thead>{''.join(map(_spread, group.spreads))}</table>"
    return f"<div><h3>{escape(group.title)}</h3>{tables}</div>\n"


def _line(line: Line) -> str:
    values = "<br>".join(map(_value, line.values)) or "<span class='quiet'>none</span>"
    return f"<tr><th title='{line.name}'>{escape(line.words)}</th><td>{values}</td></tr>\n"


def _value(value: Value) -> str:
    text = f"{escape(value.labels)} <b>{escape(value.text)}</b>"
    return f"<span class='quiet'>{text}</span>" if value.zero else text


def _spread(spread: Spread) -> str:
    cells = "".join(f"<td>{escape(each)}</td>" for each in spread.cells)
    row = " class='quiet'" if spread.zero else ""
    return f"<tr{row}><th title='{spread.name}'>{escape(spread.words)}</th>{cells}</tr>\n"
