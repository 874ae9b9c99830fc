"""Matches regular expressions with what clients and servers send: found, not found, or not evaluated within the bounds.

`config.language.regular` translates HAProxy's PCRE; here the result is run. `re2` needs no bound except for very large
expressions. Python's engine, for expressions that RE2 does not support, has a bound of length and one of processor
time. Replacements (`regsub`) are what costs most: there is a bound for their number, and for the time of all of one
request's; those of simple expressions are made by Python's engine, which is much faster at it. A match that exceeds a
bound has no result, and that is not the same as no match: a rule that refuses clients when it matches must not admit
one that made the match take long. So `Unevaluated` is raised, and the request is refused.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Generator, Sequence
from time import thread_time
from traceback import extract_tb
from typing import Any, Protocol

from attrs import define

from reusedproxy.config.language.regular import (
    BACKTRACKING_BYTES,
    BACKTRACKING_SECONDS,
    LONGEST_PROGRAM,
    Regular,
    linear_alternative,
    read_regular,
    shortened,
)
from reusedproxy.config.language.report import Wrong
from reusedproxy.config.model.values import Place
from reusedproxy.rules.lists import finished

#: The largest product of instructions and bytes. RE2 takes this many steps at worst, when its automaton grows beyond
#: its memory (measured: 3 ns for each). An expression of 4096 instructions may look at 16 KB, the largest head with
#: HAProxy's defaults.
LARGEST_WORK = LONGEST_PROGRAM // 4 * 16 * 1024
#: Instructions of the largest expression that searches texts of any length.
LARGEST_UNBOUNDED = LONGEST_PROGRAM // 4
#: Instructions of expressions that are joined to one; a join has hardly more than they have.
LONGEST_JOINED = LONGEST_PROGRAM // 4 - 512
#: The most replacements of one `regsub(…,g)`; the second number is for expressions where each is a search of its own,
#: from the end of the last one on, at 5 µs.
MOST_REPLACEMENTS = 4096
MOST_SEARCHED = 2048
#: Expressions that both engines read alike and that Python's matches in linear time, because nothing in them can be
#: repeated in two ways: a sequence of characters and classes, or one of them repeated. Python's engine replaces 40
#: times as fast (0.13 µs each).
_ATOM = r"(?:[A-Za-z0-9_ /:;,@#%&~\"'<>=!-]|\\[^A-Za-z0-9\x00-\x1f\x7f-\U0010ffff]|\[\^?[A-Za-z0-9_/:;,.@ ]+\])"
_SIMPLE = re.compile(rf"(?:{_ATOM}+|{_ATOM}\+)\Z")


class Interruption(Exception):
    """Breaks off the run of rules on purpose, for who has them run: not a failure, as any other exception is. `at` is
    the number of the step that was broken off, among those that were run together."""

    at = 0


class Unevaluated(Exception):
    """Says that an expression could not be matched within its bounds; the message says which one, and which bound.

    `place` is the place of the rule in the configuration, as far as it is known.
    """

    place: Place | None = None

    @classmethod
    def by(cls, error: Exception, place: Place | None = None) -> Unevaluated:
        """Returns what says that evaluating the rule at this place has failed with this error, by a fault in the
        program: whatever the rule keeps out must not get in. One that says so already is returned as it is, with the
        place if it had none."""
        found = error
        if not isinstance(found, Unevaluated):
            at = extract_tb(error.__traceback__)[-1]
            found = cls(f"an error in reusedproxy, please report it: {error!r} at {at.filename}:{at.lineno}")
        if found.place is None:
            found.place = place
        return found


class Found(Protocol):
    """Describes a match of either engine.

    A group that took no part is None; a group beyond the last one raises IndexError.
    """

    def __getitem__(self, group: int) -> bytes | None: ...

    def start(self) -> int: ...

    def end(self) -> int: ...


#: Returns the first match from a position on, which is 0 unless it is given; None if there is none.
Search = Callable[..., Any]


def searching(text: str, ignore_case: bool = False, what: str = "regular expression") -> Search:
    """Compiles an expression to a search function, each call of which raises Unevaluated when it exceeds a bound;
    `what` begins the message of Wrong."""
    return _search(read_regular(text, what, ignore_case))


def never_unevaluated(text: str, what: str, ignore_case: bool = False) -> tuple[Search, int]:
    """Compiles an expression to a search function that never raises Unevaluated: for an expression that a client has
    chosen, and that other clients' texts are matched with. Raises Wrong where that cannot be said.

    Returns the number of its instructions, too.
    """
    regular = read_regular(text, what, ignore_case)
    if regular.linear is None or regular.linear.programsize > LARGEST_UNBOUNDED:
        raise Wrong(f"{what}: the regular expression '{shortened(text)}' might exceed the bounds of its evaluation")
    return _search(regular), regular.linear.programsize


def matching_one_of(texts: Sequence[str], ignore_case: bool = False) -> Callable[[bytes], bool]:
    """Compiles expressions to a function that tells whether one of them is found in a text.

    Those that RE2 supports are joined to few, so that a thousand cost little more than one does.
    """
    return finished(joined([read_regular(text, "regular expression", ignore_case) for text in texts], ignore_case))


def joined(read: Sequence[Regular], ignore_case: bool) -> Generator[None, None, Callable[[bytes], bool]]:
    """Joins expressions that have been read as `matching_one_of` does, in steps of a few milliseconds."""
    plain = [each for each in read if each.linear is not None and not each.before_newline]
    ending = [each for each in read if each.linear is not None and each.before_newline]
    searches: list[Search] = []
    for search in (yield from _together(plain, ignore_case)):
        searches.append(_bounded(search))
    for search in (yield from _together(ending, ignore_case)):
        searches.append(_also_before_newline(_bounded(search)))
    searches += [_search(each) for each in read if each.linear is None]
    if len(searches) == 1:
        (only,) = searches
        return lambda text: only(text) is not None
    return lambda text: any(search(text) is not None for search in searches)


def replacing(
    text: str, make: Callable[[Found], bytes], ignore_case: bool, all_of_them: bool, constant: bytes | None = None
) -> Callable[[bytes], bytes]:
    """Returns a function that replaces each match, or the first one, by what `make` returns. It raises Unevaluated.

    `constant` is what `make` always returns, if it does and holds no backslash.
    """
    if not _SIMPLE.match(text):
        return _Searched(searching(text, ignore_case), make, all_of_them).replace
    read_regular(text, "regular expression", ignore_case)
    substitute = re.compile(text.encode("latin-1"), re.IGNORECASE if ignore_case else 0).subn
    most = MOST_REPLACEMENTS if all_of_them else 1

    def replace(subject: bytes) -> bytes:
        made, count = substitute(make if constant is None else constant, subject, most)
        if count == MOST_REPLACEMENTS:
            raise Unevaluated(f"there are {MOST_REPLACEMENTS} replacements and more in {len(subject)} bytes")
        return made

    return replace


def replaced(search: Search, make: Callable[[Found], bytes], text: bytes, all_of_them: bool) -> bytes:
    """Returns `text` with each match, or the first one, replaced by what `make` returns. Raises Unevaluated."""
    parts: list[bytes] = []
    at = begin = count = 0  # position of the next search, position of the first byte not copied yet
    while at <= len(text) and (found := search(text, at)) is not None:
        start, end = found.start(), found.end()
        parts += (text[begin:start], make(found))
        begin = end
        if not all_of_them:
            break
        at = end + (start == end)  # after an empty match the search goes on one character further
        count += 1
        if count == MOST_SEARCHED:
            raise Unevaluated(f"there are {MOST_SEARCHED} replacements and more in {len(text)} bytes")
    # The result is text even if the sample was `bin` and nothing was found, as in HAProxy.
    return b"".join((*parts, text[begin:])) if parts else bytes(text)


def _search(regular: Regular) -> Search:
    if regular.linear is None:
        assert regular.backtracking is not None
        return _Backtracking(regular.text, regular.backtracking).search
    search = _bounded(regular.linear)
    return _also_before_newline(search) if regular.before_newline else search


def _together(read: Sequence[Regular], ignore_case: bool) -> Generator[None, None, list[Any]]:
    """Joins the expressions to as few as RE2 accepts. Their sizes are known, so that none is compiled in vain: 2,000
    took 0.5 s where one too large was halved again and again."""
    made: list[Any] = []
    some: list[Regular] = []
    size = 0
    for each in read:
        assert each.linear is not None
        if some and size + each.linear.programsize > LONGEST_JOINED:
            made += _joined(some, ignore_case)
            some, size = [], 0
            yield
        some.append(each)
        size += each.linear.programsize
    return made + _joined(some, ignore_case)


def _joined(read: Sequence[Regular], ignore_case: bool) -> list[Any]:
    if len(read) <= 1:
        return [each.linear for each in read]
    made = linear_alternative([each.text for each in read], ignore_case)
    if made is not None:
        return [made]
    half = len(read) // 2
    return _joined(read[:half], ignore_case) + _joined(read[half:], ignore_case)


def _bounded(linear: Any) -> Search:
    """Returns RE2's search; a very large expression searches short texts only, and raises Unevaluated for others."""
    search: Search = linear.search
    longest = LARGEST_WORK // linear.programsize
    if linear.programsize <= LARGEST_UNBOUNDED:
        return search

    def search_short(text: bytes, at: int = 0) -> Any:
        if len(text) > longest:
            raise Unevaluated(f"a regular expression of this size looks at {longest} bytes at most, not {len(text)}")
        return search(text, at)

    return search_short


def _also_before_newline(search: Search) -> Search:
    """Extends a search so that `$` matches as in PCRE: at the end, and before a newline that is the last byte.

    RE2's `$` matches at the end only. A decoded %0A must not hide a path from the rule that is meant for it.
    """

    def search_twice(text: bytes, at: int = 0) -> Any:
        found = search(text, at)
        return search(text[:-1], at) if found is None and text[-1:] == b"\n" else found

    return search_twice


class _OutOfTime(Exception):
    pass


@define
class _Spent:
    """Sums up the processor time that Python's engine has taken.

    `seconds` is the sum for the present request; `at` is the thread's processor time when it was last added to.
    """

    seconds: float = 0.0
    at: float = 0.0

    def by(self, now: float) -> float:
        """Returns the seconds at `now`. Where `begin` is not called (`use_backend`, `sni`), time spent on
        other work reduces them."""
        return max(0.0, self.seconds - (now - self.at))

    def add(self, spent: float, began: float) -> None:
        """Notes that work has gone on since `began`, when `spent` seconds had been taken."""
        self.at = thread_time()
        self.seconds = spent + self.at - began


#: One sum for all expressions, because there is one thread and one timer. While each match had a bound of its own, a
#: header of 700 values, each of which takes 28 ms, took 20 s.
_SPENT = _Spent()


def begin() -> None:
    """Starts a new sum of processor time: all matches for one request, or for one response, share one bound."""
    _SPENT.seconds = 0.0


class _Searched:
    """Replaces what searches find, one after the other, within the processor time that one request has
    for all of its matches."""

    def __init__(self, search: Search, make: Callable[[Found], bytes], all_of_them: bool) -> None:
        self._search = search
        self._make = make
        self._all = all_of_them

    def replace(self, subject: bytes) -> bytes:
        """Returns `subject` with its replacements. Raises Unevaluated."""
        if not self._all:
            return replaced(self._search, self._make, subject, False)
        began = thread_time()
        spent = _SPENT.by(began)
        if spent >= BACKTRACKING_SECONDS:
            raise Unevaluated(f"replacements took more than {BACKTRACKING_SECONDS * 1000:.0f} ms for one request")
        try:
            return replaced(self._search, self._make, subject, True)
        finally:
            _SPENT.add(spent, began)


class _Backtracking:
    """Runs Python's engine with a bound of processor time: a timer's signal handler ends a match by raising.

    This works because the engine checks for signals while it matches. The timer counts the processor time of this
    process (ITIMER_VIRTUAL), so a busy or suspended machine does not make an expression seem hard. Nothing else here
    uses its signal, SIGVTALRM.
    """

    def __init__(self, text: str, pattern: re.Pattern[bytes]) -> None:
        self._text = text
        self._pattern = pattern
        self._running = False

    def search(self, text: bytes, at: int = 0) -> re.Match[bytes] | None:
        if len(text) > BACKTRACKING_BYTES:
            raise Unevaluated(
                f"the regular expression '{self._text}' looks at {BACKTRACKING_BYTES} bytes at most, not {len(text)}"
            )
        began = thread_time()
        spent = _SPENT.by(began)
        if spent >= BACKTRACKING_SECONDS:
            raise Unevaluated(
                f"matching '{self._text}' and its like took more than"
                f" {BACKTRACKING_SECONDS * 1000:.0f} ms for one request"
            )
        # The handler is never removed: without one, a signal that comes late would end the process.
        signal.signal(signal.SIGVTALRM, self._out_of_time)
        try:
            self._running = True
            signal.setitimer(signal.ITIMER_VIRTUAL, BACKTRACKING_SECONDS - spent)
            try:
                return self._pattern.search(text, at)
            finally:
                self._running = False
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                _SPENT.add(spent, began)
        except _OutOfTime:
            raise Unevaluated(
                f"the regular expression '{self._text}' took more than {BACKTRACKING_SECONDS * 1000:.0f} ms for"
                f" {len(text)} bytes"
            ) from None

    def _out_of_time(self, *_: object) -> None:
        if self._running:
            raise _OutOfTime
