"""Finds what an order about maps or lists of patterns means: one of them, a version of it, an entry; and does what such
orders have in common.

A text is bytes in what is held, and characters in what a session reads and says. Every text is HAProxy's.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.model.values import Place
from reusedproxy.operators.runtime.proxy import Refusal
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

    @property
    def uses(self) -> Iterable[Place]: ...

    def replace(self, entries: dict[bytes, bytes], what: str, /) -> Generator[None, None, None]:
        """Puts other entries in the place of all, in steps. Raises Wrong."""


def listed(kind: str, counted: Iterable[tuple[int, str, Contents, Collection[object]]]) -> Iterator[str]:
    """Returns a line for each map, or list of patterns: of each its number, its name, itself, and its entries."""
    yield "# id (file) description\n"
    for number, name, each, entries in counted:
        places = [f"by {kind} at file '{place.file}' line {place.line}" for place in each.uses]
        versions = each.versions
        yield (
            f"{number} ({name}) pattern loaded from file '{name}' used {', '.join(places)}."
            f" curr_ver={versions.current} next_ver={versions.newest} entry_cnt={len(entries) + versions.count}\n"
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


def reference(key: bytes) -> int:
    """Returns what an entry is referred to by, as HAProxy does by its address."""
    return hash(key) & 0xFFFFFFFFFFFFFFFF


def referred(word: str, entries: Iterable[str | bytes], unknown: str) -> Generator[str, None, bytes]:
    """Returns the key that a word is or refers to, after steps. Raises Refusal, with `unknown` if it refers to none."""
    if not word.startswith("#0x"):
        return encoded(word)
    found = _REFERENCE.match(word)
    if found is None:
        raise Refusal(_MALFORMED)
    wanted = int(found[2], 16)
    for number, entry in enumerate([*entries]):
        key = encoded(entry)
        if reference(key) == wanted:
            return key
        if number % ENTRIES_AT_ONCE == ENTRIES_AT_ONCE - 1:
            yield ""
    raise Refusal(unknown)


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
