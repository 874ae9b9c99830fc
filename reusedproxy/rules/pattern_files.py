"""Holds the patterns of a file (`-f`) with the tests that have been compiled of them, and compiles these in steps.

A file may have a hundred thousand patterns, and a reload compiles them while clients are served. Opens nothing: whoever
reads files does (`build.patterns`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from reusedproxy.config.language.regular import read_regular, risk_of
from reusedproxy.config.rules.patterns import check_patterns, network
from reusedproxy.rules.facts import Sample
from reusedproxy.rules.lists import STEP, within_networks_in_steps
from reusedproxy.rules.regular import joined
from reusedproxy.rules.samples.casts import to_address, to_text

Matches = Callable[[Sample], bool]


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
        else:
            check_patterns(method, self, what)

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
        read = []
        for number, text in enumerate(self):
            read.append(network(text, what))
            if number % STEP == STEP - 1:
                yield
        is_within = yield from within_networks_in_steps(read)
        test: Matches = lambda sample: (found := to_address(sample)) is not None and is_within(found)  # noqa: E731
        self.tests["ip", False] = self.tests["ip", True] = test
