"""Holds the patterns of a file (`-f`) with the tests that have been compiled of them, and compiles these in steps.

A file may have a hundred thousand patterns, and a reload compiles them while clients are served. An operator may change
them: what conditions ask is compiled anew beside them, and put in its place at once for all of them. Opens nothing:
whoever reads files does (`build.patterns`).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from weakref import WeakSet

from reusedproxy.config.language.regular import read_regular, risk_of
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.patterns import check_lines, network
from reusedproxy.rules.entries import Entries, Entry, Numbers
from reusedproxy.rules.facts import Sample
from reusedproxy.rules.lists import (
    FEW,
    IsIn,
    beginning_in_steps,
    containing_in_steps,
    ending_in_steps,
    one_of,
    within_networks_in_steps,
)
from reusedproxy.rules.regular import joined
from reusedproxy.rules.samples.casts import to_address, to_text
from reusedproxy.rules.versions import Versions

Matches = Callable[[Sample], bool]
#: What compiles many texts, by the method.
_TEXTS: dict[str, Callable[[Iterator[bytes]], Generator[None, None, IsIn]]] = {
    "str": one_of,
    "beg": beginning_in_steps,
    "end": ending_in_steps,
    "sub": containing_in_steps,
}


class PatternFile(list[str]):
    """Holds the patterns of one file, one a line; several may be equal. `tests` are those that are ready, by their
    method and whether they ignore case; `warnings` are of its regular expressions."""

    def __init__(self, lines: Sequence[str] = ()) -> None:
        super().__init__(lines)
        self.numbers = Numbers(len(lines))
        #: The number of each pattern, which never falls from one to the next.
        self._numbered: Sequence[int] = range(1, len(lines) + 1)
        self.tests: dict[tuple[str, bool], Matches] = {}
        self.warnings: list[str] = []
        #: Where the configuration names it.
        self.uses: dict[Place, None] = {}
        self.versions = Versions()
        #: Methods for which it was checked or compiled, in this order, with whether they ignore case.
        self.prepared: dict[tuple[str, bool], None] = {}
        #: What conditions ask, as long as there are these conditions.
        self.held: WeakSet[Held] = WeakSet()
        #: How many are preparing it at the moment.
        self._preparing = 0

    @property
    def is_being_prepared(self) -> bool:
        return self._preparing > 0

    def prepare(self, method: str, ignore_case: bool, what: str) -> Generator[None, None, None]:
        """Checks that the patterns can be parsed for this method and, where compiling them takes long, compiles them,
        in steps; `what` begins a message. Raises Wrong."""
        if (method, ignore_case) not in self.tests:
            self._preparing += 1
            try:
                yield from self._prepare(method, ignore_case, what)
            finally:
                self._preparing -= 1
        self.prepared[method, ignore_case] = None

    def _prepare(self, method: str, ignore_case: bool, what: str) -> Generator[None, None, None]:
        if method == "reg":
            yield from self._regular(ignore_case, what)
        elif method == "ip":
            yield from self._networks(what)
        elif method in _TEXTS and len(self) > FEW:
            yield from self._texts(method, ignore_case)
        else:
            check_lines(method, self, what)

    # What an operator orders.

    @property
    def entry_count(self) -> int:
        return len(self)

    def all_entries(self) -> Iterator[Entry]:
        """Returns the patterns as they are now, whatever is changed meanwhile; they may be a million."""
        return ((number, _encoded(line), b"") for number, line in zip(self._numbered, [*self], strict=True))

    def check(self, text: bytes, value: bytes, what: str) -> Generator[None, None, None]:
        """Checks a pattern that is not there, in steps. Raises Wrong if a condition cannot compare with it."""
        alone = PatternFile([_decoded(text)])
        for method, ignore_case in [*self.prepared]:
            yield from alone.prepare(method, ignore_case, what)

    def add_text(self, text: bytes, what: str) -> Generator[None, None, None]:
        """Adds a pattern, in steps. Raises Wrong if a condition cannot compare with it."""
        yield from self._change(lambda lines: [*lines, (self.numbers.next(), _decoded(text))], what)

    def delete_text(self, text: bytes, what: str) -> Generator[None, None, bool]:
        """Deletes all patterns that are this text, in steps. Returns False if there is none."""
        own = _decoded(text)
        if own not in self:
            return False
        return (yield from self._change(lambda lines: [each for each in lines if each[1] != own], what))

    def delete_entry(self, number: int, text: bytes, what: str) -> Generator[None, None, bool]:
        """Deletes one pattern, in steps, and leaves its equals. Returns False if it is not there."""
        own = number, _decoded(text)
        return (yield from self._change(lambda lines: [each for each in lines if each != own], what))

    def replace(self, entries: Entries, what: str) -> Generator[None, None, None]:
        """Puts other patterns in the place of all, in steps. Raises Wrong if a condition cannot compare with one."""
        lines = [(number, _decoded(text)) for number, text, _ in entries]
        yield from self._change(lambda _: lines, what)

    def _change(
        self, edit: Callable[[list[tuple[int, str]]], list[tuple[int, str]]], what: str
    ) -> Generator[None, None, bool]:
        """Changes the patterns with their numbers, and what conditions ask, at once, after steps in which it is
        compiled. Returns False if they are as many as before. Raises Wrong. There is one change at a time
        (`operators.runtime.entries.in_turn`)."""
        lines = edit([*zip(self._numbered, self, strict=True)])
        new = PatternFile([line for _, line in lines])
        made: dict[Held, tuple[int, Made]] = {}
        # Meanwhile a reload may prepare more of it, or make conditions; or another of a condition's files changes.
        while True:
            missing = [each for each in self.prepared if each not in new.prepared]
            stale = [each for each in self.held if each not in made or made[each][0] != each.changes]
            if missing:
                yield from new.prepare(*missing[0], what)
            elif stale:
                made[stale[0]] = stale[0].changes, stale[0].with_other(self, new)
            elif not self._preparing:
                break
            yield
        changed = len(self) != len(new)
        self[:], self._numbered = new, array("Q", [number for number, _ in lines])
        self.tests, self.warnings = new.tests, new.warnings
        for held, (_, each) in made.items():
            held.take(each)
        return changed

    def _texts(self, method: str, ignore_case: bool) -> Generator[None, None, None]:
        is_one = yield from _TEXTS[method](self._in_bytes(ignore_case))
        cut = method == "str" and not ignore_case

        def matches(sample: Sample) -> bool:
            text = to_text(sample)
            if text is None:
                return False
            if ignore_case:
                return is_one(text.lower())
            # As for patterns of a line (`matching`), a text ends at its first NUL.
            return is_one(text if not cut or b"\0" not in text else text[: text.index(b"\0")])

        self.tests[method, ignore_case] = matches

    def _in_bytes(self, ignore_case: bool) -> Iterator[bytes]:
        for text in self:
            found = _encoded(text)
            yield found.lower() if ignore_case else found

    def _regular(self, ignore_case: bool, what: str) -> Generator[None, None, None]:
        read = []
        self.warnings.clear()
        for text in self:
            read.append(read_regular(text, what, ignore_case))
            if warning := risk_of(read[-1]):
                self.warnings.append(warning)
            yield
        is_one = yield from joined(read, ignore_case)
        self.tests["reg", ignore_case] = lambda sample: (text := to_text(sample)) is not None and is_one(text)

    def _networks(self, what: str) -> Generator[None, None, None]:
        # None of them is kept: where 100,000 were, a collection of garbage stood for 50 ms.
        is_within = yield from within_networks_in_steps(network(text, what) for text in self)
        test: Matches = lambda sample: (found := to_address(sample)) is not None and is_within(found)  # noqa: E731
        self.tests["ip", False] = self.tests["ip", True] = test


#: What tells whether a sample matches; and whether a text does, for which nothing needs to be done before.
Made = tuple[Matches, Callable[[bytes], bool]]


class Held:
    """Holds what a condition asks of its patterns, some of which are in files: `matches` and `is_one`.

    `changes` counts how often it was made anew.
    """

    def __init__(self, files: Sequence[Iterable[str]], make: Callable[[Sequence[Iterable[str]]], Made]) -> None:
        self.changes = 0
        self._files = files
        self._make = make
        self.matches, self.is_one = make(files)
        for each in files:
            if isinstance(each, PatternFile):
                each.held.add(self)

    def with_other(self, before: PatternFile, new: PatternFile) -> Made:
        """Returns what it would be with other patterns in the place of those of one file."""
        return self._make([new if each is before else each for each in self._files])

    def take(self, made: Made) -> None:
        self.matches, self.is_one = made
        self.changes += 1


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")
