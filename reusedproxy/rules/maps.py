"""Holds maps: keys with values, read from files, in which the converters `map…` look texts, numbers and addresses up.

Rules may change a map while it is in use (`set-map`, `del-map`): each way of matching is prepared once, and edited with
each change. It must never open a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reusedproxy.rules.facts import Sample
from reusedproxy.rules.map_methods import METHODS, Method

#: Keys of one map, at most, that rules may have added.
MOST_ADDED = 100_000

#: Keys that are prepared in one step.
_STEP = 100


class Map:
    """Holds one map: keys with their values, in the order of the file; the first of several equal keys counts."""

    def __init__(self, pairs: Iterable[tuple[str, bytes]]) -> None:
        self.values: dict[bytes, bytes] = {}
        for key, value in pairs:
            self.values.setdefault(key.encode("utf-8", "surrogateescape"), value)
        self._most = len(self.values) + MOST_ADDED
        self._methods: dict[str, Method] = {}

    def prepare(self, method: str, what: str) -> Iterator[None]:
        """Prepares a way of matching, in steps; `what` begins a message. Raises Wrong if it cannot read a key."""
        if method in self._methods:
            return
        made = METHODS[method](self.values)
        for number, key in enumerate(self.values):
            made.add(key, what)
            if number % _STEP == _STEP - 1:
                yield
        self._methods[method] = made

    def find(self, method: str, sample: Sample) -> bytes | None:
        """Returns what the map has for this sample; None: nothing."""
        found = self._methods.get(method)
        if found is None:
            for _ in self.prepare(method, "a map"):
                pass
            found = self._methods[method]
        return found.find(sample)

    def set(self, key: bytes, value: bytes) -> bool:
        """Sets the value of a key, and adds the key if it is not there. Returns False if rules have added as many as
        they may."""
        before = self.values.get(key)
        if before == value:
            return True
        if before is None and len(self.values) >= self._most:
            return False
        self.values[key] = value
        for method in self._methods.values():
            if before is None:
                method.add(key, "a map")
            else:
                method.change(key)
        return True

    def delete(self, key: bytes) -> None:
        """Deletes a key, if it is there."""
        if self.values.pop(key, None) is not None:
            for method in self._methods.values():
                method.remove(key)
