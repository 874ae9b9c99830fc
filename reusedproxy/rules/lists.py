"""Compiles long lists of patterns to tests whose time hardly grows with the length of the list.

A list of a few thousand networks or words is usual, and a client may send thousands of values in one header. So no
pattern is tried by itself: networks and ranges become sorted intervals, beginnings and ends become sets by their
length, and words that are looked for anywhere become expressions of RE2.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator
from heapq import merge
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from itertools import chain
from math import inf
from operator import methodcaller
from typing import Any, TypeVar

from reusedproxy.config.rules.patterns import Network, Range
from reusedproxy.rules.facts import Address
from reusedproxy.rules.samples.casts import ipv4_within

#: So many texts are compared one after the other in less time than a look-up by length or an expression takes.
FEW = 16
#: Bytes of the words in one expression. The automaton that RE2 builds of plain words has one state for each byte at
#: most, of 2 KiB at most; all of them fit into the third of `MEMORY` that it may use for them, so that no text can
#: make it fall back on its slower engine.
LARGEST = 8 * 1024
MEMORY = 64 * 1024 * 1024

#: Networks that are compiled, and intervals that are sorted, in one step: less than a millisecond.
STEP = 100
SORTED_AT_ONCE = 2000

IsIn = Callable[[bytes], bool]
T = TypeVar("T")


def finished(steps: Generator[None, None, T]) -> T:
    """Takes all steps at once, and returns their result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def within_ranges(ranges: Iterable[Range]) -> Callable[[float], bool]:
    """Compiles ranges of numbers, whose ends belong to them; None: without an end on that side."""
    return _within_intervals((-inf if low is None else low, inf if high is None else high) for low, high in ranges)


def within_networks(networks: Iterable[Network]) -> Callable[[Address], bool]:
    """Compiles networks to a test of addresses.

    An IPv4 address may be in an IPv6 network and the other way round, where one can be written as the other (HAProxy's
    manual, section 7.1.6).
    """
    return finished(within_networks_in_steps(networks))


def within_networks_in_steps(networks: Iterable[Network]) -> Generator[None, None, Callable[[Address], bool]]:
    """Compiles networks as `within_networks` does, in steps."""
    of_ipv4: list[tuple[float, float]] = []
    of_ipv6: list[tuple[float, float]] = []
    for number, each in enumerate(networks):
        (of_ipv4 if isinstance(each, IPv4Network) else of_ipv6).append(_interval(each))
        if number % STEP == STEP - 1:
            yield
    in_ipv4 = yield from _within_intervals_in_steps(of_ipv4)
    in_ipv6 = yield from _within_intervals_in_steps(of_ipv6)

    def is_in(address: Address) -> bool:
        number = int(address)
        if isinstance(address, IPv4Address):
            return in_ipv4(number) or in_ipv6(0xFFFF << 32 | number)
        if in_ipv6(number):
            return True
        inner = ipv4_within(address)
        return inner is not None and in_ipv4(int(inner))

    return is_in


def _interval(among: IPv4Network | IPv6Network) -> tuple[int, int]:
    first = int(among.network_address)
    # `broadcast_address` makes an object for each, which takes six times as long (60 ms for 20,000).
    return first, first | (1 << among.max_prefixlen - among.prefixlen) - 1


def _within_intervals(intervals: Iterable[tuple[float, float]]) -> Callable[[float], bool]:
    return finished(_within_intervals_in_steps([*intervals]))


def _within_intervals_in_steps(
    intervals: list[tuple[float, float]],
) -> Generator[None, None, Callable[[float], bool]]:
    firsts: list[float] = []
    lasts: list[float] = []
    portions = []
    for at in range(0, len(intervals), SORTED_AT_ONCE):
        portions.append(sorted(intervals[at : at + SORTED_AT_ONCE]))
        yield
    for number, (first, last) in enumerate(merge(*portions) if len(portions) > 1 else chain(*portions)):
        if lasts and first <= lasts[-1]:
            lasts[-1] = max(lasts[-1], last)
        else:
            firsts.append(first)
            lasts.append(last)
        if number % STEP == STEP - 1:
            yield

    def is_in(number: float) -> bool:
        place = bisect_right(firsts, number)
        return place > 0 and number <= lasts[place - 1]

    return is_in


def one_of(texts: Iterable[bytes]) -> Generator[None, None, IsIn]:
    """Compiles whole texts, in steps."""
    among: set[bytes] = set()
    for number, text in enumerate(texts):
        among.add(text)
        if number % STEP == STEP - 1:
            yield
    return among.__contains__


def beginning_with(texts: tuple[bytes, ...]) -> IsIn:
    """Compiles the beginnings of texts."""
    if len(texts) <= FEW:
        return methodcaller("startswith", texts)  # one call where a lambda would be two
    return finished(beginning_in_steps(texts))


def beginning_in_steps(texts: Iterable[bytes]) -> Generator[None, None, IsIn]:
    """Compiles many beginnings of texts, in steps."""
    by_length = yield from _by_length(texts)

    def begins(text: bytes) -> bool:
        for length, among in by_length:  # noqa: SIM110 (half the time of `any`)
            if text[:length] in among:
                return True
        return False

    return begins


def ending_with(texts: tuple[bytes, ...]) -> IsIn:
    """Compiles the ends of texts."""
    if len(texts) <= FEW:
        return methodcaller("endswith", texts)
    return finished(ending_in_steps(texts))


def ending_in_steps(texts: Iterable[bytes]) -> Generator[None, None, IsIn]:
    """Compiles many ends of texts, in steps."""
    by_length = yield from _by_length(texts)

    def ends(text: bytes) -> bool:
        for length, among in by_length:  # noqa: SIM110 (see above)
            if length <= len(text) and text[len(text) - length :] in among:
                return True
        return False

    return ends


def _by_length(texts: Iterable[bytes]) -> Generator[None, None, list[tuple[int, set[bytes]]]]:
    found: dict[int, set[bytes]] = {}
    for number, text in enumerate(texts):
        found.setdefault(len(text), set()).add(text)
        if number % STEP == STEP - 1:
            yield
    return sorted(found.items())


def containing(texts: tuple[bytes, ...]) -> IsIn:
    """Compiles texts that may stand anywhere in another."""
    if len(texts) <= FEW:
        return lambda text: any(each in text for each in texts)
    return finished(containing_in_steps(texts))


def containing_in_steps(texts: Iterable[bytes]) -> Generator[None, None, IsIn]:
    """Compiles many texts that may stand anywhere in another, in steps of a few milliseconds."""
    among = sorted(set(texts))
    shortest = min(map(len, among))
    searches = []
    for some in _portions(among):
        searches.append(_search(some))
        yield
    return lambda text: len(text) >= shortest and any(search(text) is not None for search in searches)


def delimited(texts: tuple[bytes, ...], delimiters: bytes) -> IsIn:
    """Compiles texts that stand in another with a delimiter, or an end of the other, on either side. Delimiters at
    their own ends do not count; one of nothing else is nowhere."""
    words = frozenset(word for text in texts if (word := text.strip(delimiters)))
    parts = parts_between(words, delimiters)
    return lambda text: any(part in words for part in parts(text))


def parts_between(words: Iterable[bytes], delimiters: bytes) -> Callable[[bytes], Iterator[bytes]]:
    """Returns what finds the parts of a text between delimiters, or its ends, that may be one of these words: those
    that have as many delimiters within them as any of the words."""
    border = re.compile(rb"[%b]" % re.escape(delimiters))
    #: How many parts there are between delimiters in each of the words, themselves as they are.
    widths = sorted({len(border.split(word)) for word in words})

    def parts(text: bytes) -> Iterator[bytes]:
        ends = [found.start() for found in border.finditer(text)]
        ends.append(len(text))
        starts = [0, *[end + 1 for end in ends]]
        for width in widths:
            for start, end in zip(starts, ends[width - 1 :], strict=False):
                yield text[start:end]

    return parts


def _portions(texts: Iterable[bytes]) -> Iterable[list[bytes]]:
    """Yields the texts, few enough at a time for one expression."""
    some: list[bytes] = []
    size = 0
    for text in texts:
        if some and size + len(text) > LARGEST:
            yield some
            some, size = [], 0
        some.append(text)
        size += len(text)
    yield some


def _search(texts: list[bytes]) -> Callable[[bytes], Any]:
    if len(texts) == 1:  # it may be longer than RE2 takes
        text = texts[0]
        return lambda within: True if text in within else None
    import re2  # see config.language.regular

    options = re2.Options()
    options.encoding = options.Encoding.LATIN1
    options.max_mem = MEMORY
    search: Callable[[bytes], Any] = re2.compile(b"|".join(map(re.escape, texts)), options).search
    return search
