"""Looks samples up in the keys of a map, one class for each way of matching (manual, section 7.3.1, `map`).

A class prepares what it needs of the keys and is told of each key that comes and goes, so that a change costs the same
however many keys there are. The map has the values, and decides which keys it takes. It must never open a file.
"""

from __future__ import annotations

import sys
from bisect import insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from typing import Any, TypeVar

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.rules.patterns import DELIMITERS, Range, network, ranges
from reusedproxy.rules.facts import Sample
from reusedproxy.rules.regular import LARGEST_UNBOUNDED, Found, Search, never_unevaluated, searching
from reusedproxy.rules.samples.casts import ipv4_within
from reusedproxy.rules.samples.converters import references

#: Keys that are tried one after the other for each sample: so many, at most, may be added by rules. (Lengths of keys,
#: for `map_beg`.) A look-up then takes up to 0.4 ms more, for a text of 16 KB 5 ms; 0.25 s for the worst keys and text
#: of `map_sub`, in which each byte begins what is almost the key.
MOST_TRIED = 256

Values = Mapping[bytes, bytes]


T = TypeVar("T")


class Full(Wrong):
    """Says that a key is one too many."""


class Method:
    """Looks samples up in `values`, the keys of a map with their values, in the order in which keys were added."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def add(self, key: bytes, what: str) -> None:
        """Takes a key that is among the values now, the last one; `what` begins a message. Raises Wrong if it cannot
        be read, Full if it is one too many, and has not taken it then."""

    def add_trusted(self, key: bytes, what: str) -> None:
        """Takes a key as `add` does, whatever their number is: an operator has chosen it."""
        self.add(key, what)

    def take_room(self) -> None:
        """Takes back, after a key has gone, the room that one of `add_trusted` had made."""

    def loaded(self) -> None:
        """Takes notice that the file has been read: keys that come now are added by rules, and clients may have chosen
        them."""

    def look_in(self, values: Values) -> None:
        """Looks samples up in other values from now on, which have the same keys in the same order."""
        self._values = values

    def change(self, key: bytes) -> None:
        """Takes notice that a key has another value now."""

    def move(self, key: bytes, last: Sequence[bytes]) -> None:
        """Takes notice that a key is at another place: `last` are the last keys now, in their order, and the first of
        them is this one. None of the others has another place among all but this one."""

    def remove(self, key: bytes) -> None:
        """Forgets a key that was added."""

    def find(self, sample: Sample) -> bytes | None:
        """Returns what the map has for this sample; None: nothing."""
        raise NotImplementedError

    def key_for(self, sample: Sample) -> bytes | None:
        """Returns the key for which the map has something for this sample; None: there is none."""
        values = self._values
        self._values = _Themselves(values)
        try:
            return self.find(sample)
        finally:
            self._values = values


class _Themselves(Mapping[bytes, bytes]):
    """Shows keys as their own values."""

    def __init__(self, keys: Values) -> None:
        self._keys = keys

    def __getitem__(self, key: bytes) -> bytes:
        if key not in self._keys:
            raise KeyError(key)
        return key

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _put_last(kept: dict[bytes, T], last: Sequence[bytes]) -> None:
    """Puts what is kept of the last keys behind what is kept of others, in their order."""
    for key in last:
        if key in kept:
            kept[key] = kept.pop(key)


class _Whole(Method):
    def find(self, sample: Sample) -> bytes | None:
        assert isinstance(sample, bytes)
        # As for patterns of ACLs, a text ends at its first NUL.
        return self._values.get(sample if b"\0" not in sample else sample[: sample.index(b"\0")])


class _Beginning(Method):
    """The longest key counts, as in HAProxy."""

    def __init__(self, values: Values) -> None:
        super().__init__(values)
        #: How many keys there are of each length.
        self._counts: dict[int, int] = {}
        #: The lengths, negative: the longest is the first.
        self._lengths: list[int] = []
        self._most = self._least = sys.maxsize

    def loaded(self) -> None:
        self._most = self._least = len(self._lengths) + MOST_TRIED

    def add(self, key: bytes, what: str) -> None:
        length = len(key)
        if length not in self._counts:
            if len(self._lengths) >= self._most:
                raise Full(f"rules have added keys of as many lengths as they may ({MOST_TRIED})")
            insort(self._lengths, -length)
        self._counts[length] = self._counts.get(length, 0) + 1

    def add_trusted(self, key: bytes, what: str) -> None:
        self._most += 1
        self.add(key, what)

    def take_room(self) -> None:
        self._most = max(self._least, self._most - 1)

    def remove(self, key: bytes) -> None:
        length = len(key)
        self._counts[length] -= 1
        if not self._counts[length]:
            del self._counts[length]
            self._lengths.remove(-length)

    def find(self, sample: Sample) -> bytes | None:
        assert isinstance(sample, bytes)
        for negative in self._lengths:
            if -negative <= len(sample):
                value = self._values.get(sample[:-negative])
                if value is not None:
                    return value
        return None


class _Tried(Method):
    """Tries one key after the other; the first that matches counts."""

    def __init__(self, values: Values) -> None:
        super().__init__(values)
        self._most = self._least = sys.maxsize

    def loaded(self) -> None:
        self._most = self._least = len(self._values) + MOST_TRIED

    def add(self, key: bytes, what: str) -> None:
        if len(self._values) > self._most:
            raise Full(f"rules have added as many keys as they may ({MOST_TRIED} where each of them is tried)")

    def add_trusted(self, key: bytes, what: str) -> None:
        self._most += 1
        self.add(key, what)

    def take_room(self) -> None:
        self._most = max(self._least, self._most - 1)


class _End(_Tried):
    def find(self, sample: Sample) -> bytes | None:
        assert isinstance(sample, bytes)
        return next((value for key, value in self._values.items() if sample.endswith(key)), None)


class _Inside(_Tried):
    def find(self, sample: Sample) -> bytes | None:
        assert isinstance(sample, bytes)
        return next((value for key, value in self._values.items() if key in sample), None)


class _Delimited(_Tried):
    """Finds a key between delimiters, or the ends of the text."""

    _delimiters = DELIMITERS["dir"].encode()

    def __init__(self, values: Values) -> None:
        super().__init__(values)
        #: Makes all delimiters the first one.
        self._alike = bytes.maketrans(self._delimiters, self._delimiters[:1] * len(self._delimiters))
        #: By their keys, what is looked for: a word with equal delimiters, and one at either end; and the word itself.
        self._words: dict[bytes, tuple[bytes, bytes]] = {}

    def add(self, key: bytes, what: str) -> None:
        super().add(key, what)
        if word := key.strip(self._delimiters):
            self._words[key] = self._between(word).translate(self._alike), word

    def move(self, key: bytes, last: Sequence[bytes]) -> None:
        _put_last(self._words, last)

    def remove(self, key: bytes) -> None:
        self._words.pop(key, None)

    def find(self, sample: Sample) -> bytes | None:
        assert isinstance(sample, bytes)
        text = self._between(sample)
        # One search by the C library for each key, whatever the text is: where delimiters were looked at around each
        # occurrence of the key, 16 KB of one letter took 2.5 ms for each key of that letter.
        alike = text.translate(self._alike)
        for key, (wanted, word) in self._words.items():
            at = alike.find(wanted)
            while at >= 0:
                if text.startswith(word, at + 1):
                    return self._values[key]
                at = alike.find(wanted, at + 1)
        return None

    def _between(self, text: bytes) -> bytes:
        return self._delimiters[:1] + text + self._delimiters[:1]


class _Domain(_Delimited):
    _delimiters = DELIMITERS["dom"].encode()


class Regular(_Tried):
    """Searches for expressions. Those that rules add are together no larger than one may be."""

    def __init__(self, values: Values, ignore_case: bool = False) -> None:
        super().__init__(values)
        self._ignore_case = ignore_case
        self._searches: dict[bytes, Search] = {}
        self._loaded = False
        #: The instructions of each expression that rules have added, and of all together.
        self._sizes: dict[bytes, int] = {}
        self._size = 0

    def loaded(self) -> None:
        super().loaded()
        self._loaded = True

    def add(self, key: bytes, what: str) -> None:
        super().add(key, what)
        if not self._loaded:
            self._searches[key] = searching(_text(key), self._ignore_case, what)
            return
        # One that is not evaluated would have all requests refused that are looked up.
        search, size = never_unevaluated(_text(key), what, self._ignore_case)
        if self._size + size > LARGEST_UNBOUNDED:
            raise Full(f"rules have added as long expressions as they may ({LARGEST_UNBOUNDED} instructions)")
        self._searches[key] = search
        self._sizes[key] = size
        self._size += size

    def add_trusted(self, key: bytes, what: str) -> None:
        self._loaded = False  # its expression is one of the file's
        try:
            super().add_trusted(key, what)
        finally:
            self._loaded = True

    def move(self, key: bytes, last: Sequence[bytes]) -> None:
        _put_last(self._searches, last)

    def remove(self, key: bytes) -> None:
        del self._searches[key]
        self._size -= self._sizes.pop(key, 0)

    def find(self, sample: Sample) -> bytes | None:
        for key, search in self._searches.items():
            if search(sample) is not None:
                return self._values[key]
        return None


class _Replacing(Regular):
    r"""In the value, \1 is the first group of what the key has matched."""

    def __init__(self, values: Values) -> None:
        super().__init__(values)
        self._replaced: dict[bytes, Callable[[Found], bytes]] = {}

    def add(self, key: bytes, what: str) -> None:
        super().add(key, what)
        self.change(key)

    def change(self, key: bytes) -> None:
        self._replaced[key] = references(self._values[key])

    def remove(self, key: bytes) -> None:
        super().remove(key)
        del self._replaced[key]

    def key_for(self, sample: Sample) -> bytes | None:
        return next((key for key, search in self._searches.items() if search(sample) is not None), None)

    def find(self, sample: Sample) -> bytes | None:
        for key, search in self._searches.items():
            if (found := search(sample)) is not None:
                return self._replaced[key](found)
        return None


class _Spellings:
    """Holds keys by what they mean: the first of those that mean the same counts.

    There is one, as a rule, so that a dictionary is made where there are several. What they mean is a number of 64
    bits, or bytes: larger numbers that have one hash are easily found, and clients may choose them.
    """

    def __init__(self) -> None:
        self._keys: dict[int | bytes, bytes | dict[bytes, None]] = {}

    def first(self, meaning: int | bytes) -> bytes | None:
        """Returns the first key that means this."""
        found = self._keys.get(meaning)
        return next(iter(found)) if isinstance(found, dict) else found

    def add(self, meaning: int | bytes, key: bytes) -> None:
        found = self._keys.setdefault(meaning, key)
        if isinstance(found, dict):
            found[key] = None
        elif found is not key:
            self._keys[meaning] = {found: None, key: None}

    def move(self, meaning: int | bytes, last: Sequence[bytes]) -> None:
        """Puts those of the last keys that mean this behind others, in their order."""
        found = self._keys[meaning]
        if isinstance(found, dict):
            _put_last(found, last)

    def remove(self, meaning: int | bytes, key: bytes) -> None:
        found = self._keys[meaning]
        if not isinstance(found, dict):
            del self._keys[meaning]
            return
        del found[key]
        if len(found) == 1:
            self._keys[meaning] = next(iter(found))


class _Number(Method):
    """The first key counts that matches: a number, or a range."""

    def __init__(self, values: Values) -> None:
        super().__init__(values)
        self._added = 0
        #: The place of each key among all.
        self._order: dict[bytes, int] = {}
        self._numbers = _Spellings()
        self._ranges: dict[bytes, Range] = {}
        self._most = self._least = sys.maxsize

    def loaded(self) -> None:
        self._most = self._least = len(self._ranges) + MOST_TRIED

    def add(self, key: bytes, what: str) -> None:
        low, high = _range(key, what)
        if low is not None and low == high:
            self._numbers.add(low, key)
        else:
            if len(self._ranges) >= self._most:
                raise Full(f"rules have added as many ranges as they may ({MOST_TRIED})")
            self._ranges[key] = low, high
        self._added += 1
        self._order[key] = self._added

    def add_trusted(self, key: bytes, what: str) -> None:
        self._most += 1
        self.add(key, what)

    def take_room(self) -> None:
        self._most = max(self._least, self._most - 1)

    def move(self, key: bytes, last: Sequence[bytes]) -> None:
        for each in last:
            self._added += 1
            self._order[each] = self._added
        if key in self._ranges:
            _put_last(self._ranges, last)
        else:
            low, _ = _range(key, "")
            assert low is not None
            self._numbers.move(low, last)

    def remove(self, key: bytes) -> None:
        if self._ranges.pop(key, None) is None:
            low, _ = _range(key, "")
            assert low is not None
            self._numbers.remove(low, key)
        del self._order[key]

    def find(self, sample: Sample) -> bytes | None:
        assert isinstance(sample, int)
        own = self._numbers.first(sample)
        for key, (low, high) in self._ranges.items():
            if own is not None and self._order[own] < self._order[key]:
                break
            if (low is None or low <= sample) and (high is None or sample <= high):
                return self._values[key]
        return None if own is None else self._values[own]


def _range(key: bytes, what: str) -> Range:
    text = _text(key)
    found = ranges([text], what)
    if not found:
        raise Wrong(f"{what}: '{text}' is no number, nor a range such as 1024:65535")
    return found[0]


class _Address(Method):
    """The smallest network counts, of those of the address's own family before those of the other, as in HAProxy."""

    def __init__(self, values: Values) -> None:
        super().__init__(values)
        #: The prefixes of networks, by whether they are of IPv4, and by the length of their prefix.
        self._networks: dict[tuple[bool, int], _Spellings] = {}
        #: The same, the longest prefix first.
        self._by_size: list[tuple[bool, int, _Spellings]] = []

    def add(self, key: bytes, what: str) -> None:
        kind, first = _network(key, what)
        found = self._networks.get(kind)
        if found is None:
            found = self._networks[kind] = _Spellings()
            self._by_size = [(*each, self._networks[each]) for each in sorted(self._networks, reverse=True)]
        found.add(first, key)

    def move(self, key: bytes, last: Sequence[bytes]) -> None:
        kind, first = _network(key, "")
        self._networks[kind].move(first, last)

    def remove(self, key: bytes) -> None:
        kind, first = _network(key, "")
        self._networks[kind].remove(first, key)

    def find(self, sample: Sample) -> bytes | None:
        assert isinstance(sample, (IPv4Address, IPv6Address))
        if isinstance(sample, IPv4Address):
            key = self._within(sample)
            if key is None:
                key = self._within(IPv6Address(b"\0" * 10 + b"\xff\xff" + sample.packed))
        else:
            key = self._within(sample)
            if key is None and (inner := ipv4_within(sample)) is not None:
                key = self._within(inner)
        return None if key is None else self._values[key]

    def _within(self, address: IPv4Address | IPv6Address) -> bytes | None:
        v4, number, bits = isinstance(address, IPv4Address), int(address), address.max_prefixlen
        for is_v4, length, keys in self._by_size:
            if is_v4 is v4 and (key := keys.first(_prefix(number, bits - length))) is not None:
                return key
        return None


def _network(key: bytes, what: str) -> tuple[tuple[bool, int], bytes]:
    found: Any = network(_text(key), what)
    number, others = int(found.network_address), found.max_prefixlen - found.prefixlen
    return (isinstance(found, IPv4Network), found.prefixlen), _prefix(number, others)


def _prefix(number: int, others: int) -> bytes:
    """Returns an address without the bits that do not belong to its prefix."""
    return (number >> others).to_bytes(16, "big")


def _text(key: bytes) -> str:
    return key.decode("utf-8", "surrogateescape")


METHODS: dict[str, type[Method]] = {
    "str": _Whole,
    "beg": _Beginning,
    "end": _End,
    "sub": _Inside,
    "dir": _Delimited,
    "dom": _Domain,
    "reg": Regular,
    "regm": _Replacing,
    "int": _Number,
    "ip": _Address,
}
