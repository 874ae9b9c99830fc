"""Holds the entries of a map or a list of patterns: keys with their values, of which several may be equal.

As in HAProxy, the first of equal keys counts, and those behind it take its place in turn when it is deleted by itself.
An entry and its equals are told apart by numbers. Look-ups need the first ones only: these are in a plain dictionary,
and numbers are stored where they differ from the usual one. It must never know what a key means.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from random import SystemRandom
from typing import TypeVar

from attrs import Factory, define

T = TypeVar("T")

#: Entries that are copied in one step.
_STEP = 1000
#: The number, the key and the value of an entry.
Entry = tuple[int, bytes, bytes]


@define
class Numbers:
    """Gives numbers to the entries of one map or list and of its versions: equal keys never get the same one."""

    last: int = 0
    #: Has what referred to an entry of a file refer to none once that has been read again.
    _salt: int = Factory(lambda: SystemRandom().getrandbits(64))

    def next(self) -> int:
        self.last += 1
        return self.last

    def reference(self, number: int, key: bytes) -> int:
        """Returns what an entry is referred to by, 64 bits, as it is by its address in HAProxy."""
        return hash((self._salt, number, key)) & 0xFFFFFFFFFFFFFFFF


class Entries:
    """Holds entries in the order in which they were added. `first` has the first value of each key.

    The numbers of the keys in `first` never fall from one to the next: a key that was added behind an entry with
    equals has the number of that entry, or a greater one.
    """

    def __init__(self, numbers: Numbers) -> None:
        self.first: dict[bytes, bytes] = {}
        #: Numbers and values of further entries, by their key, which is in `first`.
        self._behind: dict[bytes, list[tuple[int, bytes]]] = {}
        #: The number of a key in `first`, unless it is the usual one.
        self._numbered: dict[bytes, int] = {}
        self._usual = self._newest = numbers.next()
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self.first) + sum(map(len, self._behind.values()))

    def __iter__(self) -> Iterator[Entry]:
        """Returns the entries as they are now, whatever is changed meanwhile."""
        further = sorted(
            ((number, key, value) for key, equals in self._behind.items() for number, value in equals), reverse=True
        )
        return self._in_order([*self.first.items()], dict(self._numbered), further)

    def _in_order(
        self, pairs: list[tuple[bytes, bytes]], numbered: dict[bytes, int], further: list[Entry]
    ) -> Iterator[Entry]:
        for key, value in pairs:
            number = numbered.get(key, self._usual)
            while further and further[-1][0] <= number:
                yield further.pop()
            yield number, key, value
        yield from reversed(further)

    def copy(self) -> Generator[None, None, Entries]:
        """Returns the same entries, with their numbers, to be changed apart, after steps in which these are not
        changed: a copy in one step took 0.6 s for a million of which each has an equal one."""
        made = Entries(self._numbers)
        made._usual, made._newest = self._usual, self._newest
        for pairs in _portions(self.first.items()):
            made.first.update(pairs)
            yield
        for numbered in _portions(self._numbered.items()):
            made._numbered.update(numbered)
            yield
        for behind in _portions(self._behind.items()):
            made._behind.update((key, [*equals]) for key, equals in behind)
            yield
        return made

    def append(self, key: bytes, value: bytes) -> None:
        """Adds an entry behind all others."""
        if key in self.first:
            self._newest = self._numbers.next()
            self._behind.setdefault(key, []).append((self._newest, value))
            return
        self.first[key] = value
        if self._newest != self._usual:
            self._numbered[key] = self._newest

    def values_of(self, key: bytes) -> list[bytes]:
        """Returns the values of all entries with this key, in their order."""
        if key not in self.first:
            return []
        return [self.first[key], *(value for _, value in self._behind.get(key, ()))]

    def has_equals(self, key: bytes) -> bool:
        return key in self._behind

    def value_of(self, number: int, key: bytes) -> bytes | None:
        """Returns the value of one entry; None: it is not there."""
        if key in self.first and self._number(key) == number:
            return self.first[key]
        return next((value for each, value in self._behind.get(key, ()) if each == number), None)

    def change(self, key: bytes, value: bytes) -> None:
        """Gives another value to all entries with this key, of which there is one."""
        self.first[key] = value
        if key in self._behind:
            self._behind[key] = [(number, value) for number, _ in self._behind[key]]

    def change_one(self, number: int, key: bytes, value: bytes) -> None:
        """Gives another value to one entry, which is there."""
        if self._number(key) == number:
            self.first[key] = value
        else:
            self._behind[key] = [(each, value if each == number else old) for each, old in self._behind[key]]

    def delete(self, key: bytes) -> None:
        """Deletes all entries with this key, of which there is one."""
        del self.first[key]
        self._behind.pop(key, None)
        self._numbered.pop(key, None)
        self._newest = self._numbers.next()  # if the key comes again, that is another entry

    def delete_one(self, number: int, key: bytes) -> list[bytes]:
        """Deletes one entry, which is there. If one of its equals counts now, returns this key and all others behind
        it, in their order.

        That takes 1 µs for each of these, 1 s for the worst file of a million lines. Moving them in steps would show
        look-ups another order; not moving them would have another key count, where each is tried.
        """
        equals = self._behind.get(key)
        if equals is None:
            self.delete(key)
            return []
        is_first = self._number(key) == number
        if not is_first:
            equals[:] = [each for each in equals if each[0] != number]
        else:
            del self.first[key]
            self._numbered[key], self.first[key] = equals.pop(0)
        if not equals:
            del self._behind[key]
        return self._put_in_place(key) if is_first else []

    def _put_in_place(self, key: bytes) -> list[bytes]:
        """Moves the last key of `first` to where its number belongs. Returns it, and those behind it."""
        first, number_of, usual = self.first, self._numbered.get, self._usual
        _, own = first.popitem()
        number, keys, values = self._numbered[key], [], []
        while first:
            each, value = first.popitem()
            if number_of(each, usual) < number:
                first[each] = value
                break
            keys.append(each)
            values.append(value)
        keys.append(key)
        values.append(own)
        keys.reverse()
        values.reverse()
        first.update(zip(keys, values, strict=True))
        return keys

    def _number(self, key: bytes) -> int:
        return self._numbered.get(key, self._usual)


def _portions(all_of_them: Iterable[T]) -> Iterator[list[T]]:
    left = iter(all_of_them)
    while some := [*islice(left, _STEP)]:
        yield some
