"""Compiles conditions to functions of the facts that tell whether a rule applies (manual, sections 7.1 and 7.2).

Patterns from files are read by a function that the caller gives, because nothing is opened here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from attrs import evolve

from reusedproxy.config.model.rules import Condition, Criterion, Term
from reusedproxy.config.rules.patterns import DELIMITERS, GROUP, block, network, ranges
from reusedproxy.config.rules.samples import REQUEST
from reusedproxy.rules.facts import Binary, Facts, Sample
from reusedproxy.rules.lists import (
    FEW,
    beginning_with,
    containing,
    delimited,
    ending_with,
    within_networks,
    within_ranges,
)
from reusedproxy.rules.many import FEW as SHORT
from reusedproxy.rules.many import look_at
from reusedproxy.rules.pattern_files import Held, Made, Matches, PatternFile
from reusedproxy.rules.regular import matching_one_of
from reusedproxy.rules.samples.casts import MAX, MIN, to_address, to_binary, to_int, to_text
from reusedproxy.rules.samples.compile import Fetch, compiled, compiled_all
from reusedproxy.rules.samples.fetches import FetchAll, path
from reusedproxy.rules.users import is_in_group

Test = Callable[[Facts], bool]
#: Returns the patterns of a file, without its empty lines and comments.
ReadPatterns = Callable[[Criterion, str], Iterable[str]]

#: What separates the parts of a text, by the method that looks for one of them.
BORDERS = {method: each.encode() for method, each in DELIMITERS.items()}


def no_files(criterion: Criterion, path: str) -> Iterable[str]:
    """Raises AssertionError: it reads patterns where no files of patterns are allowed."""
    raise AssertionError(path)


def condition(said: Condition | None, where: str = REQUEST, read: ReadPatterns = no_files) -> Test:
    """Compiles a condition to a function; None becomes one that is always true."""
    if said is None:
        return lambda facts: True
    alternatives = [[_term(term, where, read) for term in terms] for terms in said.alternatives]
    wanted = not said.unless
    if len(alternatives) == 1:
        terms = alternatives[0]
        if len(terms) == 1 and wanted:
            return terms[0]
        if len(terms) == 2:
            one, other = terms
            if wanted:
                return lambda facts: one(facts) and other(facts)  # a fifth of the time of `all`
            return lambda facts: not (one(facts) and other(facts))
        return lambda facts: all(term(facts) for term in terms) is wanted
    return lambda facts: any(all(term(facts) for term in terms) for terms in alternatives) is wanted


def rest_of(said: Condition | None, where: str = REQUEST, read: ReadPatterns = no_files) -> Test | None:
    """Compiles what the only alternative of a condition says behind its first term; None if that is nothing."""
    if said is None or len(said.alternatives[0]) == 1:
        return None
    return condition(evolve(said, alternatives=(said.alternatives[0][1:],)), where, read)


def _term(term: Term, where: str, read: ReadPatterns) -> Test:
    tests = [criterion(each, where, read) for each in term.criteria]
    wanted = not term.negated
    if len(tests) == 1:
        test = tests[0]
        return test if wanted else lambda facts: not test(facts)
    return lambda facts: any(test(facts) for test in tests) is wanted


def criterion(said: Criterion, where: str = REQUEST, read: ReadPatterns = no_files) -> Test:
    """Compiles a criterion: whether one of the samples matches one of the patterns. Without a sample it is false."""
    if said.files:
        return _with_files(said, where, [read(said, name) for name in said.files])
    matches = _METHODS[said.method](said.patterns, said.ignore_case)
    fetch_all = compiled_all(said.expression, where)
    if fetch_all is not None:
        return _of_any(fetch_all, matches)
    fetch = compiled(said.expression, where)
    if said.method == "int" and len(between := ranges(said.patterns, "int")) == 1:
        return _of_number(fetch, *between[0])
    is_one = _is_text(said, ())
    if is_one is not None:
        return _of_path(is_one) if fetch is path else _of_text(fetch, is_one, matches)

    def matches_one(facts: Facts) -> bool:
        sample = fetch(facts)
        return sample is not None and matches(sample)

    return matches_one


def _with_files(said: Criterion, where: str, files: Sequence[Iterable[str]]) -> Test:
    """Compiles a criterion that has patterns in files: these may be changed while it is in use."""
    held = Held(files, lambda files: _made(said, files))
    fetch_all = compiled_all(said.expression, where)
    if fetch_all is not None:
        return _of_any(fetch_all, lambda sample: held.matches(sample))  # it is another after a change
    fetch = compiled(said.expression, where)

    def matches_one(facts: Facts) -> bool:
        sample = fetch(facts)
        return sample is not None and (held.is_one(sample) if type(sample) is bytes else held.matches(sample))

    return matches_one


def _made(said: Criterion, files: Sequence[Iterable[str]]) -> Made:
    """Compiles the patterns of a criterion, with those of its files."""
    (cased, others), ready = _lines_of(said, files)
    make = _METHODS[said.method]
    if not said.ignore_case or not cased:
        matches = make([*said.patterns, *cased, *others], said.ignore_case)
    else:
        matches = _either(make(cased, False), make([*said.patterns, *others], True))
    is_one = _is_text(said, [*cased, *others]) if not ready else None
    if ready and not (said.patterns or cased or others):
        matches = ready.pop()
    for other in ready:
        matches = _either(matches, other)
    return matches, matches if is_one is None else is_one


def _lines_of(said: Criterion, files: Sequence[Iterable[str]]) -> tuple[tuple[list[str], list[str]], list[Matches]]:
    """Returns the patterns of a criterion's files, those that stand before `-i` first, and the tests that are ready of
    files in place of their patterns."""
    cased: list[str] = []
    others: list[str] = []
    ready: list[Matches] = []
    for number, found in enumerate(files):
        before = number < said.cased_files
        test = (
            found.tests.get((said.method, said.ignore_case and not before)) if isinstance(found, PatternFile) else None
        )
        if test is not None:
            ready.append(test)
        else:
            (cased if before else others).extend(found)
    return (cased, others), ready


# Most criteria compare the path, or another text, as it is: one call or two, where `matches_one` makes three.


def _is_text(said: Criterion, lines: Sequence[str]) -> Callable[[bytes], bool] | None:
    """Returns what tells whether a text matches, where nothing needs to be done to the text before."""
    make = _TEXTS.get(said.method)
    return None if make is None or said.ignore_case else make(pattern_texts([*said.patterns, *lines], False))


def _of_path(is_one: Callable[[bytes], bool]) -> Test:
    def matches_path(facts: Facts) -> bool:
        head = facts.head
        if head is None:
            return False
        text = head.path if head.path_of is head.target else path(facts)
        return text is not None and is_one(text)  # type: ignore[arg-type]  # a path is bytes

    return matches_path


def _of_text(fetch: Fetch, is_one: Callable[[bytes], bool], matches: Matches) -> Test:
    def matches_text(facts: Facts) -> bool:
        sample = fetch(facts)
        return is_one(sample) if type(sample) is bytes else sample is not None and matches(sample)

    return matches_text


def _of_any(fetch_all: FetchAll, matches: Matches) -> Test:
    """Tells whether any of several samples matches. Equal ones are tried once: a client may send thousands."""

    def matches_any(facts: Facts) -> bool:
        samples = fetch_all(facts)
        if len(samples) == 1:
            sample = samples[0]
            return sample is not None and matches(sample)
        if len(samples) > SHORT:
            look_at(facts, len(samples))
        return any(sample is not None and matches(sample) for sample in dict.fromkeys(samples))

    return matches_any


def _of_number(fetch: Fetch, low: int | None, high: int | None) -> Test:
    """Compares with one number, or range, as nearly all rules about numbers do, those that limit clients among them."""
    # No infinities: beside these the bounds were floats, and numbers rounded to compare with them, when it is compiled.
    least, most = MIN if low is None else low, MAX if high is None else high

    def matches_number(facts: Facts) -> bool:
        sample = fetch(facts)
        number = sample if type(sample) is int else to_int(sample)
        return number is not None and least <= number <= most

    return matches_number


def _either(one: Matches, other: Matches) -> Matches:
    return lambda sample: one(sample) or other(sample)


# The matching methods. Each is a function that compiles patterns.


def _found(patterns: Sequence[str], ignore_case: bool) -> Matches:
    return lambda sample: True


def _bool(patterns: Sequence[str], ignore_case: bool) -> Matches:
    """Compares numbers with 0, as HAProxy does (PAT_MATCH_BOOL is for integers): of addresses, which only a variable
    brings here, an IPv4 address is one, an IPv6 address none."""
    return lambda sample: bool(to_int(sample))


def _int(patterns: Sequence[str], ignore_case: bool) -> Matches:
    is_within = within_ranges(ranges(patterns, "int"))
    return lambda sample: (number := to_int(sample)) is not None and is_within(number)


def _len(patterns: Sequence[str], ignore_case: bool) -> Matches:
    is_within = within_ranges(ranges(patterns, "len"))
    return lambda sample: (text := to_text(sample)) is not None and is_within(len(text))


def _bin(patterns: Sequence[str], ignore_case: bool) -> Matches:
    blocks = {Binary(block(text, "bin")) for text in patterns}
    return lambda sample: to_binary(sample) in blocks


def _ip(patterns: Sequence[str], ignore_case: bool) -> Matches:
    is_within = within_networks(network(text, "ip") for text in patterns)
    return lambda sample: (found := to_address(sample)) is not None and is_within(found)


def pattern_texts(patterns: Iterable[str], ignore_case: bool) -> tuple[bytes, ...]:
    """Returns patterns as the texts that samples are compared with."""
    found = [text.encode("utf-8", "surrogateescape") for text in patterns]  # as pattern files are read
    return tuple(text.lower() for text in found) if ignore_case else tuple(found)


def _textual(test: Callable[[tuple[bytes, ...]], Callable[[bytes], bool]]) -> Callable[[Sequence[str], bool], Matches]:
    """Returns the method that compares texts by `test`."""

    def make(patterns: Sequence[str], ignore_case: bool) -> Matches:
        is_one = test(pattern_texts(patterns, ignore_case))

        def matches(sample: Sample) -> bool:
            text = sample if type(sample) is bytes else to_text(sample)
            return text is not None and is_one(text)

        def matches_in_any_case(sample: Sample) -> bool:
            text = to_text(sample)
            return text is not None and is_one(text.lower())

        return matches_in_any_case if ignore_case else matches

    return make


def _equal(texts: tuple[bytes, ...]) -> Callable[[bytes], bool]:
    return frozenset(texts).__contains__


def _string(patterns: Sequence[str], ignore_case: bool) -> Matches:
    """Compiles a comparison of whole texts. With its case, a text counts up to its first NUL only.

    So does HAProxy's tree of strings (src/pattern.c, pat_match_str), and a server that is written in C reads no further
    either.
    """
    if ignore_case:
        return _textual(_equal)(patterns, ignore_case)
    among = frozenset(pattern_texts(patterns, ignore_case))

    def matches(sample: Sample) -> bool:
        text = to_text(sample)
        return text is not None and (text if b"\0" not in text else text[: text.index(b"\0")]) in among

    return matches


def _delimited(delimiters: bytes) -> Callable[[tuple[bytes, ...]], Callable[[bytes], bool]]:
    """Returns a test whether a pattern stands in the text with a delimiter, or an end of the text, on either side."""

    def make(texts: tuple[bytes, ...]) -> Callable[[bytes], bool]:
        if len(texts) > FEW:
            return delimited(texts, delimiters)
        words = [each.strip(delimiters) for each in texts]
        border = re.escape(delimiters.decode())
        return matching_one_of(
            [
                rf"(?:\A|[{border}]){re.escape(word.decode('utf-8', 'surrogateescape'))}(?:[{border}]|\z)"
                for word in words
                if word
            ]
        )

    return make


def _regular(patterns: Sequence[str], ignore_case: bool) -> Matches:
    is_one = matching_one_of(patterns, ignore_case)

    def matches(sample: Sample) -> bool:
        text = to_text(sample)
        return text is not None and is_one(text)

    return matches


#: The methods that compare a text as it is.
_TEXTS: dict[str, Callable[[tuple[bytes, ...]], Callable[[bytes], bool]]] = {
    "beg": beginning_with,
    "end": ending_with,
    "sub": containing,
    **{method: _delimited(border) for method, border in BORDERS.items()},
}
_METHODS: dict[str, Callable[[Sequence[str], bool], Matches]] = {
    "found": _found,
    GROUP: is_in_group,
    "bool": _bool,
    "int": _int,
    "len": _len,
    "bin": _bin,
    "ip": _ip,
    "str": _string,
    "beg": _textual(beginning_with),
    "end": _textual(ending_with),
    "sub": _textual(containing),
    **{method: _textual(_delimited(border)) for method, border in BORDERS.items()},
    "reg": _regular,
}
