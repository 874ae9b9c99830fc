"""Finds what an order about maps or lists of patterns means: one of them, a version of it, an entry; and does what such
orders have in common.

A text is bytes in what is held, and characters in what a session reads and says. Every text is HAProxy's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol, TypeVar

from attrs import frozen

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.model.values import Place
from reusedproxy.operators.runtime.proxy import QUEUED, Refusal
from reusedproxy.rules.entries import Entries, Entry, Numbers
from reusedproxy.rules.versions import Versions

T = TypeVar("T")

#: Entries that are looked at in one piece of an answer.
ENTRIES_AT_ONCE = 200
#: What messages about keys begin with.
WHAT = "a map"
#: Ways of matching that HAProxy has a tree for.
TREES = ("str", "beg", "ip")
_NO_ADDRESS = re.compile(r"('.*') is no address, nor a network")
#: How an entry is named by its reference, which `show` has before it.
_REFERENCE = re.compile(r"#(0x)?([0-9a-fA-F]+)\Z")
_MALFORMED = "Malformed identifier. Please use #<id> or <file>."


class Contents(Protocol):
    """Defines what a map and a list of patterns have in common: `uses` are the lines of the configuration that name
    its file."""

    versions: Versions
    numbers: Numbers

    @property
    def entry_count(self) -> int: ...

    @property
    def is_being_prepared(self) -> bool:
        """Whether a change would have to wait for a reload that reads it."""

    @property
    def uses(self) -> Iterable[Place]: ...

    def all_entries(self) -> Iterator[Entry]: ...

    def check(self, key: bytes, value: bytes, what: str, /) -> Generator[None, None, None]:
        """Checks an entry that is not there, in steps. Raises Wrong if it could not be looked up, or compared with."""

    def replace(self, entries: Entries, what: str, /) -> Generator[None, None, None]:
        """Puts other entries in the place of all, in steps. Raises Wrong."""


def listed(kind: str, counted: Iterable[tuple[int, tuple[str, Contents]]]) -> Iterator[str]:
    """Returns a line for each map, or list of patterns: of each its number, its name, and itself."""
    yield "# id (file) description\n"
    for number, (name, each) in counted:
        places = [f"by {kind} at file '{place.file}' line {place.line}" for place in each.uses]
        versions = each.versions
        yield (
            f"{number} ({name}) pattern loaded from file '{name}' used {', '.join(places)}."
            f" curr_ver={versions.current} next_ver={versions.newest} entry_cnt={each.entry_count + versions.count}\n"
        )


def named(words: Sequence[str], among: Mapping[str, T], first: int = 0) -> T | None:
    """Returns what words begin with the name or the number of; `first` is the number of the first of these."""
    name = words[0] if words else ""
    if re.match("#[0-9]{1,9}\\Z", name):
        at = int(name[1:]) - first
        return [*among.values()][at] if 0 <= at < len(among) else None
    return among.get(name)


def version_of(words: Sequence[str]) -> tuple[int | None, Sequence[str]]:
    """Returns the version that words begin with, None if they begin with none, and the rest. As in HAProxy, what is no
    number is 0."""
    if not words or not words[0].startswith("@"):
        return None, words
    found = re.match("[0-9]{1,10}", words[0][1:])
    return int(found[0]) if found else 0, words[1:]


def shown(each: Contents, version: int | None, line: str) -> Iterator[str]:
    """Returns a line for each entry of a version, some at once, behind what it can be referred to by; None is the
    current version. `line` has places for the key and the value."""
    entries = each.all_entries()
    if version is not None and version != each.versions.current:
        entries = iter(each.versions.prepared.get(version, ()))
    while some := [*islice(entries, ENTRIES_AT_ONCE)]:
        yield "".join(
            f"0x{each.numbers.reference(number, key):x} {line.format(decoded(key), decoded(value))}\n"
            for number, key, value in some
        )


def in_turn(each: Contents, among: Callable[[], Mapping[str, Contents]], order: Iterator[str]) -> Iterator[str]:
    """Does an order that changes a map or a list, a step at a time, when all that were given before have ended: a
    commit may take a second, and what others were told to be done meanwhile would be undone by it. Raises Refusal, also
    if a reload reads the map or list again until then: `among` returns those that the configuration names.

    Rules do not wait: what they do to a map, or to a list that they edit, while it is being replaced counts at once,
    and in what takes its place (`rules.maps`). Who asks for what is there is shown it as it is before the order.
    """
    orders, own = each.versions.orders, object()
    orders.append(own)
    try:
        while orders[0] is not own or each.is_being_prepared:
            yield QUEUED
        demand_named(each, among(), "what was ordered is not in there")
        yield from order
        demand_named(each, among(), "what was ordered is not in there")
    finally:
        orders.remove(own)


def demand_named(each: Contents, among: Mapping[str, Contents], so: str) -> None:
    """Raises Refusal, that says `so`, where a reload has read a map or list again that was worked on."""
    if not any(found is each for found in among.values()):
        raise Refusal(f"A reload has put it back to its file meanwhile, or left it out: {so}.")


@frozen
class Referred:
    """Names one entry, with the version it is being prepared in; None: it is in the current one."""

    number: int
    key: bytes
    prepared: Entries | None = None


def referred(each: Contents, word: str, unknown: str) -> Generator[str, None, bytes | Referred]:
    """Returns the key that a word is, or the entry that it refers to, after steps. Raises Refusal, with `unknown` if it
    refers to none."""
    if not word.startswith("#0x"):
        return encoded(word)
    found = _REFERENCE.match(word)
    if found is None:
        raise Refusal(_MALFORMED)
    wanted, reference = int(found[2], 16), each.numbers.reference
    for prepared in (None, *each.versions.prepared.values()):
        entries = each.all_entries() if prepared is None else iter(prepared)
        while some := [*islice(entries, ENTRIES_AT_ONCE)]:
            for number, key, _ in some:
                if reference(number, key) == wanted and (prepared is None or _is_there(each, prepared, number, key)):
                    return Referred(number, key, prepared)
            yield ""
    raise Refusal(unknown)


def _is_there(each: Contents, prepared: Entries, number: int, key: bytes) -> bool:
    """Tells whether an entry of a version is still there, and the version has not been committed meanwhile."""
    versions = each.versions.prepared.values()
    return any(prepared is version for version in versions) and prepared.value_of(number, key) is not None


def encoded(text: str | bytes) -> bytes:
    """Returns a word or a pattern as keys and values are held."""
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def decoded(text: bytes) -> str:
    """Returns a key or a value as it is shown."""
    return text.decode("utf-8", "replace")


def in_steps(work: Generator[None, None, T]) -> Generator[str, None, T]:
    """Does work that a session runs a step at a time, and returns what it returns. Raises Refusal."""
    try:
        while True:
            next(work)
            yield ""
    except StopIteration as end:
        done: T = end.value
        return done
    except Wrong as wrong:
        raise unreadable(wrong) from None
    finally:
        work.close()


def unreadable(wrong: Wrong) -> Refusal:
    """Returns how it is said that a look-up cannot read a key or a value."""
    text = str(wrong).removeprefix(f"{WHAT}: ")
    if found := _NO_ADDRESS.match(text):
        return Refusal(f"{found[1]} is not a valid IPv4 or IPv6 address.")
    return Refusal(f"{text}.")
