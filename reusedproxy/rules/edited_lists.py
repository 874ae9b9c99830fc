"""Holds the patterns of files that rules change while they are in use (`add-acl`, `del-acl`).

The keys are those of a map, with what bounds and checks a map (`maps`): clients may have chosen what is added. Each way
in which conditions compare with them is prepared once, and edited with each change. Opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

from reusedproxy.config.language.report import Wrong
from reusedproxy.rules.entries import Entries, Entry
from reusedproxy.rules.facts import Sample
from reusedproxy.rules.map_methods import METHODS, Method, Regular, Values
from reusedproxy.rules.maps import Map
from reusedproxy.rules.pattern_files import PatternFile
from reusedproxy.rules.samples.casts import to_address, to_int, to_text

_CASELESS = " -i"
#: Patterns that are taken in one step.
_STEP = 1000


def _length(sample: Sample) -> int | None:
    text = to_text(sample)
    return None if text is None else len(text)


#: What is compared of a sample, by the method, where that is no text.
_CASTS: dict[str, Callable[[Sample], Any]] = {"int": to_int, "len": _length, "ip": to_address}
#: Methods that compare with no pattern at all.
_WITHOUT_PATTERNS = ("found", "bool")


class EditedFile(PatternFile):
    """Holds the patterns of one file, which rules add to and delete from."""

    def __init__(self, lines: Sequence[str] = ()) -> None:
        super().__init__(lines)
        self._keys = _Keys((line, b"") for line in lines)
        self.numbers = self._keys.numbers

    def add(self, key: bytes) -> str:
        """Adds a pattern, unless it is there. Returns why that was not done, "" if it was."""
        return self._keys.set(key, b"")

    def delete(self, key: bytes) -> None:
        """Deletes a pattern, wherever it is in the list."""
        self._keys.delete(key)

    @property
    def entry_count(self) -> int:
        return self._keys.entry_count

    def all_entries(self) -> Iterator[Entry]:
        return self._keys.all_entries()

    def add_text(self, text: bytes, what: str) -> Generator[None, None, None]:
        self._keys.put(text, b"")
        yield from ()

    def delete_text(self, text: bytes, what: str) -> Generator[None, None, bool]:
        yield from ()
        return self._keys.take_out(text)

    def delete_entry(self, number: int, text: bytes, what: str) -> Generator[None, None, bool]:
        yield from ()
        return self._keys.take_out_one(number, text)

    def check(self, text: bytes, value: bytes, what: str) -> Generator[None, None, None]:
        yield from self._keys.check(text, value, what)

    def replace(self, entries: Entries, what: str) -> Generator[None, None, None]:
        yield from self._keys.replace(entries, what)

    @classmethod
    def made_of(cls, lines: Sequence[str]) -> Generator[None, None, EditedFile]:
        """Returns one with these patterns, made in steps: they may be a million."""
        made = cls()
        for number, line in enumerate(lines):
            made._keys.values.setdefault(line.encode("utf-8", "surrogateescape"), b"")
            if number % _STEP == _STEP - 1:
                yield
        return made

    def pattern_for(self, method: str, ignore_case: bool, sample: Sample) -> bytes | None:
        """Returns the pattern that a sample matches by a method for which it is prepared; None: none."""
        value = _CASTS.get(method, to_text)(sample)
        return None if value is None else self._keys.key_for(_name(method, ignore_case), value)

    def prepare(self, method: str, ignore_case: bool, what: str) -> Generator[None, None, None]:
        self.prepared[method, ignore_case] = None
        if method in _WITHOUT_PATTERNS or (method, ignore_case) in self.tests:
            return
        if method not in METHODS and method != "len":
            raise Wrong(f"{what}: rules change them, so they cannot be compared by '-m {method}'")
        name = _name(method, ignore_case)
        yield from self._keys.prepare(name, "str", what)
        keys, cast = self._keys, _CASTS.get(method, to_text)
        self.tests[method, ignore_case] = lambda sample: (
            (value := cast(sample)) is not None and keys.find(name, value) is not None
        )


def _name(method: str, ignore_case: bool) -> str:
    """Returns the name of a way of matching. Case counts in texts only."""
    return method + _CASELESS if ignore_case and method not in _CASTS else method


class _Keys(Map):
    """Holds the patterns as keys. Methods have the names of `-m`, and " -i" behind them where case does not count."""

    word = "-m "

    def method_of(self, name: str, values: dict[bytes, bytes]) -> Method:
        method = name.removesuffix(_CASELESS)
        if method == "len":
            return METHODS["int"](values)
        if name == method:
            return METHODS[method](values)
        return Regular(values, ignore_case=True) if method == "reg" else _Caseless(values, METHODS[method])


class _Caseless(Method):
    """Compares texts in lower case. Several keys may be one then."""

    def __init__(self, values: Values, make: Callable[[Values], Method]) -> None:
        super().__init__(values)
        self._counts: dict[bytes, int] = {}
        self._lower: dict[bytes, bytes] = {}
        self._inner = make(self._lower)

    def loaded(self) -> None:
        self._inner.loaded()

    def add(self, key: bytes, what: str) -> None:
        self._add(key, what, self._inner.add)

    def add_trusted(self, key: bytes, what: str) -> None:
        self._add(key, what, self._inner.add_trusted)

    def take_room(self) -> None:
        self._inner.take_room()

    def _add(self, key: bytes, what: str, add: Callable[[bytes, str], None]) -> None:
        lower = key.lower()
        if lower not in self._counts:
            self._lower[lower] = b""
            try:
                add(lower, what)
            except Wrong:
                del self._lower[lower]
                raise
        self._counts[lower] = self._counts.get(lower, 0) + 1

    def remove(self, key: bytes) -> None:
        lower = key.lower()
        self._counts[lower] -= 1
        if not self._counts[lower]:
            del self._counts[lower], self._lower[lower]
            self._inner.remove(lower)

    def find(self, sample: Sample) -> bytes | None:
        assert isinstance(sample, bytes)
        return self._inner.find(sample.lower())

    def key_for(self, sample: Sample) -> bytes | None:
        assert isinstance(sample, bytes)
        found = self._inner.key_for(sample.lower())
        return None if found is None else next(key for key in self._values if key.lower() == found)
