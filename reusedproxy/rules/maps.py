"""Holds maps: keys with values, read from files, in which the converters `map…` look texts, numbers and addresses up.

Rules may change a map while it is in use (`set-map`, `del-map`). A way of matching is prepared when it is first asked
for, and again after a change. It must never open a file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from reusedproxy.config.rules.patterns import network, ranges
from reusedproxy.rules.facts import Sample
from reusedproxy.rules.regular import searching
from reusedproxy.rules.samples.casts import ipv4_within
from reusedproxy.rules.samples.converters import references

#: Keys of one map, at most, that rules may have added.
MOST_ADDED = 100_000

Pairs = Sequence[tuple[str, bytes]]
LookUp = Callable[[Sample], bytes | None]


class Map:
    """Holds one map: pairs of key and value, in the order of the file."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = list(pairs)
        self._keys = {key for key, _ in self.pairs}
        self._added = 0
        self._look_ups: dict[str, LookUp] = {}

    def find(self, method: str, sample: Sample) -> bytes | None:
        """Returns what the map has for this sample; None: nothing."""
        look_up = self._look_ups.get(method)
        if look_up is None:
            look_up = self._look_ups[method] = _METHODS[method](self.pairs)
        return look_up(sample)

    def set(self, key: bytes, value: bytes) -> bool:
        """Sets the value of a key, and adds the key if it is not there. Returns False if rules have added as many as
        they may."""
        text = key.decode("utf-8", "surrogateescape")
        if text in self._keys:
            self.pairs = [(own, value if own == text else said) for own, said in self.pairs]
        else:
            if self._added >= MOST_ADDED:
                return False
            self._added += 1
            self._keys.add(text)
            self.pairs.append((text, value))
        self._look_ups.clear()
        return True

    def delete(self, key: bytes) -> None:
        """Deletes a key, if it is there."""
        text = key.decode("utf-8", "surrogateescape")
        if text in self._keys:
            self._keys.discard(text)
            self._added = max(0, self._added - 1)
            self.pairs = [(own, said) for own, said in self.pairs if own != text]
            self._look_ups.clear()


def _texts(pairs: Pairs) -> list[tuple[bytes, bytes]]:
    return [(key.encode("utf-8", "surrogateescape"), value) for key, value in pairs]


def _whole(pairs: Pairs) -> LookUp:
    values = dict(reversed(_texts(pairs)))  # the first of several counts

    def look_up(sample: Sample) -> bytes | None:
        assert isinstance(sample, bytes)
        # As for patterns of ACLs, a text ends at its first NUL.
        return values.get(sample if b"\0" not in sample else sample[: sample.index(b"\0")])

    return look_up


def _beginning(pairs: Pairs) -> LookUp:
    """The longest key counts, as in HAProxy."""
    values = dict(reversed(_texts(pairs)))
    lengths = sorted({len(key) for key in values}, reverse=True)

    def look_up(sample: Sample) -> bytes | None:
        assert isinstance(sample, bytes)
        for length in lengths:
            value = values.get(sample[:length])
            if value is not None and length <= len(sample):
                return value
        return None

    return look_up


def _first(is_one: Callable[[bytes, bytes], bool]) -> Callable[[Pairs], LookUp]:
    """Returns the method with which the first key counts that matches."""

    def make(pairs: Pairs) -> LookUp:
        texts = _texts(pairs)

        def look_up(sample: Sample) -> bytes | None:
            assert isinstance(sample, bytes)
            return next((value for key, value in texts if is_one(sample, key)), None)

        return look_up

    return make


def _delimited(delimiters: bytes) -> Callable[[bytes, bytes], bool]:
    """Returns a test whether a key stands in a text between delimiters, or the ends of the text."""

    def is_one(text: bytes, key: bytes) -> bool:
        word = key.strip(delimiters)
        at = text.find(word) if word else -1
        while at >= 0:
            end = at + len(word)
            if (not at or text[at - 1] in delimiters) and (end == len(text) or text[end] in delimiters):
                return True
            at = text.find(word, at + 1)
        return False

    return is_one


def _regular(pairs: Pairs) -> LookUp:
    searches = [(searching(key), value) for key, value in pairs]
    return lambda sample: next((value for search, value in searches if search(sample) is not None), None)


def _replacing(pairs: Pairs) -> LookUp:
    r"""In the value, \1 is the first group of what the key has matched."""
    searches = [(searching(key), references(value)) for key, value in pairs]

    def look_up(sample: Sample) -> bytes | None:
        for search, replaced in searches:
            if (found := search(sample)) is not None:
                return replaced(found)
        return None

    return look_up


def _number(pairs: Pairs) -> LookUp:
    between = [(ranges([key], "a map"), value) for key, value in pairs]

    def look_up(sample: Sample) -> bytes | None:
        assert isinstance(sample, int)
        for found, value in between:
            if any((low is None or low <= sample) and (high is None or sample <= high) for low, high in found):
                return value
        return None

    return look_up


def _address(pairs: Pairs) -> LookUp:
    """The smallest network counts, as in HAProxy."""
    networks: dict[tuple[bool, int], dict[int, bytes]] = {}
    for key, value in pairs:
        found = network(key, "a map")
        kind = isinstance(found, IPv4Network), found.prefixlen
        networks.setdefault(kind, {}).setdefault(int(found.network_address), value)
    by_size = sorted(networks.items(), reverse=True)

    def within(address: IPv4Address | IPv6Address) -> bytes | None:
        v4, number, bits = isinstance(address, IPv4Address), int(address), address.max_prefixlen
        for (is_v4, length), values in by_size:
            if is_v4 is v4 and (value := values.get(number >> bits - length << bits - length)) is not None:
                return value
        return None

    def look_up(sample: Sample) -> bytes | None:
        assert isinstance(sample, (IPv4Address, IPv6Address))
        if isinstance(sample, IPv4Address):
            value = within(sample)
            return value if value is not None else within(IPv6Address(b"\0" * 10 + b"\xff\xff" + sample.packed))
        inner = ipv4_within(sample)
        value = within(inner) if inner is not None else None
        return value if value is not None else within(sample)

    return look_up


_METHODS: dict[str, Callable[[Pairs], LookUp]] = {
    "str": _whole,
    "beg": _beginning,
    "end": _first(bytes.endswith),
    "sub": _first(lambda text, key: key in text),
    "dir": _first(_delimited(b"/?")),
    "dom": _first(_delimited(b"/?.:")),
    "reg": _regular,
    "regm": _replacing,
    "int": _number,
    "ip": _address,
}
