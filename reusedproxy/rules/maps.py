"""Holds maps: keys with values, read from files, in which the converters `map…` look texts, numbers and addresses up.

Rules may change a map while it is in use (`set-map`, `del-map`): each way of matching is prepared once, and edited with
each change. Clients may have chosen what is set, so a key or a value that a look-up could not read is not taken: one
client's would break the look-ups of all. It must never open a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.rules.expressions import is_address
from reusedproxy.rules.facts import Sample
from reusedproxy.rules.map_methods import METHODS, Full, Method

#: Keys of one map, at most, that rules may have added.
MOST_ADDED = 100_000

#: Bytes by which rules may make the keys and values of one map longer.
MOST_GROWN = 32 * 1024 * 1024
_TOO_MUCH = f"rules have added as many bytes as they may ({MOST_GROWN})"

#: Keys that are prepared in one step.
_STEP = 100
_NUMBER = re.compile(rb"[-+]?[0-9]{1,18}\Z")
#: Whether a value can be read as what a converter gives.
_READABLE: dict[str, Callable[[bytes], bool]] = {
    "str": lambda value: True,
    "int": lambda value: _NUMBER.match(value) is not None,
    "ip": lambda value: is_address(value.decode("utf-8", "replace")),
}
_CALLED = {"int": "number", "ip": "address"}


class Map:
    """Holds one map: keys with their values, in the order of the file; the first of several equal keys counts."""

    #: What stands before the name of a method in messages.
    word = "map_"

    def __init__(self, pairs: Iterable[tuple[str, bytes]]) -> None:
        self.values: dict[bytes, bytes] = {}
        for key, value in pairs:
            self.values.setdefault(key.encode("utf-8", "surrogateescape"), value)
        self._most = len(self.values) + MOST_ADDED
        self._methods: dict[str, Method] = {}
        #: Bytes of keys and values, more than the file has.
        self._grown = 0
        #: What values are read as.
        self._gives: set[str] = set()

    def prepare(self, method: str, gives: str, what: str) -> Generator[None, None, None]:
        """Prepares a way of matching, and that values are read as `gives`, in steps; `what` begins a message. Raises
        Wrong if a key or a value cannot be read."""
        if method not in self._methods:
            made = self.method_of(method)
            for number, key in enumerate(self.values):
                made.add(key, what)
                if number % _STEP == _STEP - 1:
                    yield
            made.loaded()
            self._methods[method] = made
        if gives not in self._gives:
            for number, (key, value) in enumerate(self.values.items()):
                if not _READABLE[gives](value):
                    said = value.decode("utf-8", "replace")
                    own = key.decode("utf-8", "surrogateescape")
                    raise Wrong(f"{what}: '{said}', the value of '{own}', is no {_CALLED[gives]}")
                if number % _STEP == _STEP - 1:
                    yield
            self._gives.add(gives)

    def method_of(self, name: str) -> Method:
        """Returns a way of matching that knows no key so far."""
        return METHODS[name](self.values)

    def find(self, method: str, sample: Sample) -> bytes | None:
        """Returns what the map has for this sample; None: nothing."""
        found = self._methods.get(method)
        if found is None:
            for _ in self.prepare(method, "str", "a map"):
                pass
            found = self._methods[method]
        return found.find(sample)

    def set(self, key: bytes, value: bytes) -> str:
        """Sets the value of a key, and adds the key if it is not there; key and value end at their first NUL. Returns
        why it was not done: no more keys may be added, or a look-up cannot read the key or the value. "": it was."""
        key, value = _before_nul(key), _before_nul(value)
        before = self.values.get(key)
        if before == value:
            return ""
        for gives in self._gives:
            if not _READABLE[gives](value):
                return f"a value that is no {_CALLED[gives]} was left out"
        if before is None:
            return self._add(key, value)
        growth = len(value) - len(before)
        if growth > 0 and self._grown + growth > MOST_GROWN:
            return _TOO_MUCH
        self._grown += growth
        self.values[key] = value
        for method in self._methods.values():
            method.change(key)
        return ""

    def _add(self, key: bytes, value: bytes) -> str:
        if len(self.values) >= self._most:
            return f"rules have added as many keys as they may ({MOST_ADDED})"
        if self._grown + len(key) + len(value) > MOST_GROWN:
            return _TOO_MUCH
        self.values[key] = value
        added: list[Method] = []
        for name, method in self._methods.items():
            try:
                method.add(key, "a map")
            except Wrong as wrong:
                del self.values[key]
                for each in added:
                    each.remove(key)
                return (
                    str(wrong)
                    if isinstance(wrong, Full)
                    else f"a key that '{self.word}{name}' cannot read was left out"
                )
            added.append(method)
        self._grown += len(key) + len(value)
        return ""

    def delete(self, key: bytes) -> None:
        """Deletes a key, if it is there."""
        key = _before_nul(key)
        value = self.values.pop(key, None)
        if value is not None:
            self._grown -= len(key) + len(value)
            for method in self._methods.values():
                method.remove(key)


def _before_nul(text: bytes) -> bytes:
    return text if b"\0" not in text else text[: text.index(b"\0")]
