"""Keeps what is done to a map while something is being made of its keys in steps, to be done to that as well.

It knows the last thing that was done to each key, so that it never grows beyond the keys that there are, whatever
clients have rules set and delete. It must never know what is being made.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Iterator

from attrs import frozen


@frozen
class Edit:
    """Says what is done to a key: it is `deleted`, where that is so, and then has a `value`, unless that is None."""

    key: bytes
    deleted: bool
    value: bytes | None


class Edits:
    """Holds what is still to be done to something that has these `keys`, in the order in which it was done to the
    map. None: which keys it has is not known yet."""

    def __init__(self, keys: Container[bytes] | None) -> None:
        self.keys = keys
        self._left: OrderedDict[bytes, tuple[bool, bytes | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._left)

    def set(self, key: bytes, value: bytes) -> None:
        """Takes notice that a key has this value now; one that is not there comes behind all others."""
        deleted, before = self._left.get(key, (False, None))
        if before is None:
            self._left.pop(key, None)
        self._left[key] = deleted, value

    def delete(self, key: bytes) -> None:
        """Takes notice that a key has been deleted."""
        self._left.pop(key, None)
        if self.keys is None or key in self.keys:
            self._left[key] = True, None

    def take(self, most: int) -> Iterator[Edit]:
        """Returns the next of those that are left."""
        for _ in range(min(most, len(self._left))):
            key, (deleted, value) = self._left.popitem(last=False)
            yield Edit(key, deleted, value)
