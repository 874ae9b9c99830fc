"""Checks what rules say of stick tables: that these exist, take such keys, and store what is asked of them.

Adds faults and warnings to the report; must never change a draft. In HAProxy a condition that asks for what a table
does not store is never true, and says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import attrs

from reusedproxy.config.language.report import Report, did_you_mean
from reusedproxy.config.model.bandwidth import Bandwidth
from reusedproxy.config.model.persistence import Stick
from reusedproxy.config.model.tables import StickTable
from reusedproxy.config.model.values import Call, Place
from reusedproxy.config.rules.counters import CountGeneral, SetTag, Track
from reusedproxy.config.rules.expressions import type_of
from reusedproxy.config.rules.samples import CASTS, CONVERTERS, FETCHES, Signature
from reusedproxy.config.sections.draft import ProxyDraft
from reusedproxy.config.validate.users import asking

#: The type of a sample that becomes a key of each type of table.
_TAKES = {"ip": "ip", "ipv6": "ip", "integer": "int", "string": "str", "binary": "bin"}
#: Fetches of a counter by its number, which is their last argument before the table.
_BY_NUMBER = "sc_"


def validate_tables(
    drafts: Iterable[ProxyDraft],
    tables: Mapping[str, StickTable],
    peers: Mapping[str, Place],
    counters: int,
    report: Report,
) -> None:
    """Checks all proxies. `peers` are the sections of that kind; `counters` is the number of counters of a
    connection."""
    drafts = [draft for draft in drafts if not draft.head_faulty]
    for table in tables.values():
        if table.peers and table.peers not in peers:
            hint = did_you_mean(table.peers, peers)
            report.fault(table.place, f"'stick-table': there is no section 'peers {table.peers}'{hint}")
    tracked = _tracked(drafts)
    said: set[tuple[Place, str]] = set()
    for draft in drafts:
        for place, each in asking(draft):
            for text, level in _found(each, draft, tables, tracked, counters):
                if (place, text) not in said:  # defaults are checked once for each section that inherits them
                    said.add((place, text))
                    (report.fault if level == "fault" else report.warn)(place, text)


def _tracked(drafts: Iterable[ProxyDraft]) -> dict[int, set[str]]:
    """Returns the tables that each counter tracks anything in."""
    found: dict[int, set[str]] = {}
    for draft in drafts:
        for _, each in asking(draft):
            for part in _parts(each):
                if isinstance(part, Track):
                    found.setdefault(part.counter, set()).add(part.table or draft.name)
    return found


def _parts(said: object) -> Iterator[object]:
    """Returns all values of a value, at any depth, and itself."""
    if isinstance(said, tuple):
        for part in said:
            yield from _parts(part)
    elif attrs.has(kind := type(said)):
        yield said
        for field in attrs.fields(kind):
            yield from _parts(getattr(said, field.name))


def _found(
    said: object,
    draft: ProxyDraft,
    tables: Mapping[str, StickTable],
    tracked: Mapping[int, set[str]],
    counters: int,
) -> Iterator[tuple[str, str]]:
    """Returns the faults and warnings about one line."""
    for part in _parts(said):
        if isinstance(part, (Track, CountGeneral, SetTag)) and part.counter >= counters:
            yield _too_many(part.counter, counters), "fault"
        elif isinstance(part, (Track, Stick)):
            yield from _keys(part, draft, tables)
        elif isinstance(part, Bandwidth) and part.key is not None:
            yield from _shared(part, draft, tables)
        elif isinstance(part, (CountGeneral, SetTag)) and part.counter not in tracked:
            yield f"nothing is tracked by 'track-sc{part.counter}', in which this could count", "warning"
        if isinstance(part, Call):
            yield from _call(part, draft, tables, tracked, counters)


def _too_many(counter: int, counters: int) -> str:
    return f"there is no counter {counter}: they are 0 to {counters - 1} ('tune.stick-counters' says how many)"


def _shared(limit: Bandwidth, draft: ProxyDraft, tables: Mapping[str, StickTable]) -> Iterator[tuple[str, str]]:
    yield from _keys(limit, draft, tables)
    table = tables.get(limit.table or draft.name)
    if table is not None and not _stores(table, (limit.counted,)):
        yield f"bandwidth limit '{limit.name}': table '{table.name}' does not store {limit.counted}", "fault"


def _keys(
    action: Track | Stick | Bandwidth, draft: ProxyDraft, tables: Mapping[str, StickTable]
) -> Iterator[tuple[str, str]]:
    name = action.table or draft.name
    table = tables.get(name)
    assert action.key is not None
    if table is None:
        yield _no_table(name, action.table, draft, tables), "fault"
    elif _TAKES[table.type] not in CASTS[(given := type_of(action.key))]:
        yield f"'{action.key}' gives {given}, which cannot be a key of table '{name}' (type {table.type})", "fault"


def _no_table(name: str, said: str, draft: ProxyDraft, tables: Mapping[str, StickTable]) -> str:
    if said:
        return f"there is no table '{name}'{did_you_mean(name, tables)}"
    return f"{draft.title} has no 'stick-table': write one, or name another section's"


def _call(
    call: Call,
    draft: ProxyDraft,
    tables: Mapping[str, StickTable],
    tracked: Mapping[int, set[str]],
    counters: int,
) -> Iterator[tuple[str, str]]:
    signature: Signature | None = FETCHES.get(call.name) or CONVERTERS.get(call.name)
    if signature is None or signature.table < 0:
        return
    at = signature.table
    said = call.arguments[at] if at < len(call.arguments) else ""
    if said or signature.needs_table:
        name = said or draft.name
        if name not in tables:
            yield f"'{call}': {_no_table(name, said, draft, tables)}", "fault"
            return
        asked = {name}
    else:
        asked = set()
    if call.name.startswith("sc"):
        number = int(call.arguments[at - 1]) if call.name.startswith(_BY_NUMBER) else int(call.name[2])
        if number >= counters or number < 0:
            yield f"'{call}': {_too_many(number, counters)}", "fault"
            return
        if number not in tracked:
            yield f"'{call}' has no value, since no rule has 'track-sc{number}'", "warning"
            return
        asked = asked or {name for name in tracked[number] if name in tables}
    wanted = _wanted(call)
    if wanted and asked and not any(_stores(tables[name], wanted) for name in asked):
        names = " and ".join(f"'{name}'" for name in sorted(asked))
        text = f"'{call}' has no value: table {names} does not store {' or '.join(wanted)}"
        yield text, "warning"
    elif wanted and asked and wanted[0] in _ARRAYS and call.arguments[0].isdigit():
        index = int(call.arguments[0])
        if not any(_has_element(tables[name], wanted, index) for name in asked):
            names = " and ".join(f"'{name}'" for name in sorted(asked))
            yield f"'{call}' has no value: table {names} has no {wanted[0]} with the number {index}", "warning"


#: What a table stores several of, by numbers from 0 on.
_ARRAYS = ("gpc", "gpt", "gpc_rate")


def _has_element(table: StickTable, wanted: Iterable[str], index: int) -> bool:
    """Tells whether a table has an element of this number, which may be one that is stored by a word of its own
    (gpc0)."""
    own = re.compile(r"[a-z]+([01])")
    for each in table.stored:
        if each.type in wanted:
            alone = own.match(each.type)
            if index == int(alone[1]) if alone else index < each.count:
                return True
    return False


def _stores(table: StickTable, wanted: Iterable[str]) -> bool:
    return any(each.type in wanted for each in table.stored)


def _wanted(call: Call) -> tuple[str, ...]:
    """Returns what a table must store, one of these, for the call to have a value; () for any table."""
    name = call.name.partition("_")[2]
    for verb in ("get_", "inc_", "clr_", "updt_"):
        name = name.removeprefix(verb)
    if name in ("kbytes_in", "kbytes_out"):
        return (f"{name[1:]}_cnt",)
    if name in ("gpc0", "gpc1", "gpt0", "gpc0_rate", "gpc1_rate"):
        return (name, name.replace("0", "").replace("1", ""))
    if name in ("gpc", "gpt", "gpc_rate"):
        return (name, name.replace("gpc", "gpc0").replace("gpt", "gpt0"), name.replace("gpc", "gpc1"))
    if name in ("tracked", "trackers", "table", "expire", "idle", "cnt", "avl", "server_id"):
        return ()
    return (name,)
