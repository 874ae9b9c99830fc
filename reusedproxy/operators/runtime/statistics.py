"""Writes `show stat` in HAProxy's three forms: CSV, typed lines, JSON."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Sequence
from functools import partial

from attrs import evolve

from reusedproxy.backends.server import MAINT, UP
from reusedproxy.operators.runtime.proxy import OPERATOR, Context, Refusal
from reusedproxy.operators.runtime.typed import json_statistics, typed_statistics
from reusedproxy.operators.stats.csv import pieces_of_csv
from reusedproxy.operators.stats.figures import BACKEND, FRONTEND, Row, Section, Value
from reusedproxy.operators.stats.moment import Moment

#: Bits of the second argument, the types of rows.
_BITS = {FRONTEND: 1, BACKEND: 2}
_SERVERS, _LISTENERS = 4, 8


def show_stat(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Returns `show stat [<proxy> <types> <server>] [typed|json|no-maint|up]`, in pieces of little work each: for 1,000
    servers all of it takes 30 ms and more."""
    moment = yield from _moment(context)
    sections: list[Section] = moment.sections
    filtered = len(words) >= 3
    if filtered:
        sections = [*_within(sections, *words[:3])]
    for word, keeps in (("no-maint", _not_in_maintenance), ("up", _is_up)):
        if word in words:
            filtered = True
            sections = [evolve(each, servers=[*filter(keeps, each.servers)]) for each in sections]
    # As in HAProxy, addresses and cookies are for operators.
    legends = context.level >= OPERATOR
    if "json" in words:
        yield from json_statistics(sections, legends)
    elif "typed" in words:
        yield from typed_statistics(sections, legends)
    elif filtered:
        yield from pieces_of_csv(sections, legends)
    else:
        form = "csv with legends" if legends else "csv"
        yield from moment.pieces(form, partial(pieces_of_csv, sections, legends))


def _moment(context: Context) -> Generator[str, None, Moment]:
    """Returns the figures of the running proxy. If a reload puts another one in its place meanwhile, those of that."""
    while True:
        proxy = context.proxy
        steps = context.statistics.of(proxy).awaited()
        while context.proxy is proxy:
            try:
                next(steps)
            except StopIteration as end:
                moment: Moment = end.value
                return moment
            yield ""


def _within(sections: Iterable[Section], proxy: str, types: str, server: str) -> Iterator[Section]:
    """Returns the sections with what three arguments ask for: the name or number of a proxy, bits of types, the number
    of a server; -1 for any. As in HAProxy, a proxy's number begins the argument, and may be nobody's: so it has one for
    its own runtime API.

    @raise Refusal: for what is no name and no number.
    """
    found = [each for each in sections if proxy == each.name]
    if not found:
        said = re.match(r"\s*[+-]?[0-9]{1,9}", proxy)
        number = 0 if said is None else int(said[0])
        if not number:
            raise Refusal("No such proxy.")
        found = [each for each in sections if number in (-1, _number(each))]
    bits = int(types) if re.fullmatch("-?[0-9]{1,9}", types) else 0
    for each in found:
        servers, listeners = (
            [row for row in rows if server in ("-1", str(row.columns["sid"]))] if bits & bit else []
            for rows, bit in ((each.servers, _SERVERS), (each.listeners, _LISTENERS))
        )
        frontend, backend = (
            row if row is not None and bits & _BITS[int(row.columns["type"])] and server in ("-1", "0") else None
            for row in (each.frontend, each.backend)
        )
        yield evolve(each, frontend=frontend, backend=backend, servers=servers, listeners=listeners)


def _number(section: Section) -> Value:
    row = next(section.rows(), None)
    return row.columns["iid"] if row is not None else ""


def _not_in_maintenance(row: Row) -> bool:
    return row.server is None or row.server.state != MAINT


def _is_up(row: Row) -> bool:
    return row.server is None or row.server.state == UP
