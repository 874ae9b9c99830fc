"""Tells what operators have ordered of the running proxy that ends with it, when a reload or another process replaces
it: as in HAProxy, the files count then. Must never know which of the two it is, nor who is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from reusedproxy.build.assembly import Proxy
from reusedproxy.build.in_place import address_of, in_place
from reusedproxy.daemon.wording import listed
from reusedproxy.net.listener import SUSPENDED
from reusedproxy.operators.runtime.proxy import Transaction
from reusedproxy.rules.maps import Map
from reusedproxy.rules.pattern_files import PatternFile

#: A level, a text, and the section that it is about, "" for none.
Said: TypeAlias = tuple[str, str, str]


def forgotten(old: Proxy, new: Proxy | None, begun: Iterable[Transaction] = ()) -> Iterator[Said]:
    """Tells what ends with `old`, and of the transactions that were `begun`. Whoever comes after it is `new`, or, with
    None, is in another process, to which none of it goes."""
    present = None if new is None else new.configuration.global_
    ours = [each.name for each in begun if each.configuration.global_ is old.configuration.global_ is not present]
    if ours:
        yield "warning", f"what was set of {listed(sorted(ours))} and not committed is forgotten; the files count", ""
    kept = [] if new is None else new.trusts.in_memory.names
    if gone := [each for each in old.trusts.in_memory.names if each not in kept]:
        yield "warning", f"what the runtime API has put in memory for {listed(gone)} is forgotten; the files count", ""
    if changed := changed_lists(old, new):
        yield "warning", f"what the runtime API has changed in {listed(changed)} is forgotten; the files count", ""
    if prepared := prepared_lists(old, new):
        yield "warning", f"what was prepared for {listed(prepared)} and not committed is forgotten", ""
    said = dict(old.configuration.global_.rates)
    now = {word: rate.limit for word, rate in old.places.rates.items()}
    if others := [word for word in sorted({*said, *now}) if said.get(word) != now.get(word)]:
        text = f"what 'set rate-limit' has set in place of {', '.join(others)} is forgotten; the file counts"
        yield "warning", text, ""
    for frontend in old.frontends if new is None or not new.keeps_closed else ():
        if frontend.shut or any(each.state == SUSPENDED for each in frontend.listeners):
            text = f"the order by which frontend {frontend.name} accepts nobody is forgotten"
            yield "warning", text, f"frontend {frontend.name}"
    for backend in old.backends:
        cookie = backend.settings.cookie
        by_file = (cookie is not None and cookie.dynamic, backend.settings.dynamic_cookie_key)
        if (backend.makes_cookies, backend.cookie_key) != by_file:
            text = f"what was ordered of dynamic cookies in backend {backend.name} is forgotten; the file counts"
            yield "warning", text, f"backend {backend.name}"
    if new is not None:  # another process tells of them itself: only it knows whether its files name them
        yield from back_again(deleted(old), new, in_place(old.lines, old.deleted))
        for name, line in old.lines.items():
            if line.server.settings.added and name not in new.lines and name not in old.deleted:
                text = f"server {name} was added, and no file names it: it is gone by this reload"
                yield "notice", text, f"backend {name.rpartition('/')[0]}"


def changed_lists(old: Proxy, new: Proxy | None) -> list[str]:
    """Returns the lists of patterns, the maps and the variables of the process that operators have changed, and that
    are read again: these changes are gone."""
    variables = old.ordered_variables if new is None or old.variables is not new.variables else ()
    return sorted(variables) + sorted(name for name, each in _ending_lists(old, new) if each.versions.ordered)


def prepared_lists(old: Proxy, new: Proxy | None) -> list[str]:
    """Returns the lists of patterns and the maps that are read again, and of which operators have prepared versions."""
    ending = _ending_lists(old, new)
    return sorted(name for name, each in ending if each.versions.newest > each.versions.current)


def _ending_lists(old: Proxy, new: Proxy | None) -> list[tuple[str, PatternFile | Map]]:
    before: list[tuple[str, PatternFile | Map]] = [*old.patterns.items(), *old.maps.items()]
    kept = [] if new is None else [*new.patterns.values(), *new.maps.values()]
    going = {id(each) for each in kept}
    return [(name, each) for name, each in before if id(each) not in going]


def deleted(old: Proxy) -> list[str]:
    """Returns the servers of the file that operators have deleted, as backend/server, also where another has been added
    under the name of one."""
    lines = old.lines
    return sorted(name for name in old.deleted if name not in lines or lines[name].server.settings.added)


def is_named(name: str, address: object, new: Proxy) -> bool:
    """Tells whether the files name a server that was added under the name of a deleted one (`in_place`)."""
    return name in new.lines and address_of(new.lines[name].server.settings) == address


def back_again(gone: object, new: Proxy, others: object = None) -> Iterator[Said]:
    """Tells which servers that were deleted (`deleted`, here or in another process) the files have back, and requests
    go there again; and which of those that were added under their names (`in_place`) are gone."""
    back: dict[str, list[str]] = {}
    there: Mapping[str, object] = others if isinstance(others, dict) else {}
    for name in gone if isinstance(gone, list) else ():
        if not isinstance(name, str) or (name in there and is_named(name, there[name], new)):
            continue
        backend = name.rpartition("/")[0]
        if name in new.lines and name in there:
            text = (
                f"server {name} is the one of the file again, at {new.lines[name].server.target}: it was deleted, and"
            )
            yield (
                "warning",
                f"{text} the one that was added under its name is gone; the file counts",
                f"backend {backend}",
            )
        elif name in new.lines:
            back.setdefault(backend, []).append(name)
        elif name in there:
            yield "notice", f"server {name} was added, and no file names it any more: it is gone", f"backend {backend}"
    for backend, names in back.items():
        text = f"what 'del server' has taken out of backend {backend} is back: {listed(names)}; the file counts"
        yield "warning", text, f"backend {backend}"


def as_told(said: object) -> Iterator[Said]:
    """Returns what another process has said of itself (`forgotten`), as far as it can be read."""
    for each in said if isinstance(said, list) else ():
        match each:
            case ["warning" | "notice" as level, str(text), str(section)]:
                yield level, text, section
