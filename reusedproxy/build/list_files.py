"""Reads the files of maps and of lists of patterns, one entry a line, in steps: a list may have a million.

It must never know what an entry is: who asks takes the lines apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from errno import ENOENT
from io import TextIOWrapper
from typing import TypeVar

from reusedproxy.config.language.files import ListName
from reusedproxy.net.files import MEBIBYTE, open_bounded
from reusedproxy.net.slices import Steps

T = TypeVar("T")

#: Most bytes of a file: lists of more than a million addresses are in use.
LARGEST_LIST = 64 * MEBIBYTE

#: Entries that are read in one step.
_STEP = 1000


def reading(named: ListName, entries_in: Callable[[Iterable[str]], Iterator[T]]) -> Steps[list[T]]:
    """Returns the entries that `entries_in` finds in the lines of a file; none of a list that has no file, or whose
    file may be missing (`virt@`, `opt@`). Raises OSError, also for one that is too large."""
    found: list[T] = []
    if named.path is None:
        return found
    try:
        file = open_bounded(named.path, LARGEST_LIST)
    except OSError as error:
        if named.optional and error.errno == ENOENT:
            return found
        raise
    with TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
        for entry in entries_in(lines):
            found.append(entry)
            if len(found) % _STEP == 0:
                yield
    return found
