"""Holds the patterns of a file (`-f`) with the tests that have been compiled of them, and compiles these in steps.

A file may have a hundred thousand patterns, and a reload compiles them while clients are served. Opens nothing: whoever
reads files does (`build.patterns`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence

from reusedproxy.config.language.regular import read_regular, risk_of
from reusedproxy.config.rules.patterns import check_patterns, network
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

Matches = Callable[[Sample], bool]
#: What compiles many texts, by the method.
_TEXTS: dict[str, Callable[[Iterator[bytes]], Generator[None, None, IsIn]]] = {
    "str": one_of,
    "beg": beginning_in_steps,
    "end": ending_in_steps,
    "sub": containing_in_steps,
}


class PatternFile(list[str]):
    """Holds the patterns of one file, one a line. `tests` are those that are ready, by their method and whether they
    ignore case; `warnings` are of its regular expressions."""

    def __init__(self, lines: Sequence[str] = ()) -> None:
        super().__init__(lines)
        self.tests: dict[tuple[str, bool], Matches] = {}
        self.warnings: list[str] = []

    def prepare(self, method: str, ignore_case: bool, what: str) -> Generator[None, None, None]:
        """Checks that the patterns can be parsed for this method and, where compiling them takes long, compiles them,
        in steps; `what` begins a message. Raises Wrong."""
        if (method, ignore_case) in self.tests:
            return
        if method == "reg":
            yield from self._regular(ignore_case, what)
        elif method == "ip":
            yield from self._networks(what)
        elif method in _TEXTS and len(self) > FEW:
            yield from self._texts(method, ignore_case)
        else:
            check_patterns(method, self, what)

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
            found = text.encode("utf-8", "surrogateescape")
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
