"""Counts the versions of a map or a list of patterns, and holds those that are being prepared for it (HAProxy's manual,
`prepare map`): what is added to one counts for nothing until it is committed in the place of all that is there."""

from __future__ import annotations

from attrs import Factory, define

from reusedproxy.rules.entries import Entries

#: Versions of one map or list that may have something in them at a time.
MOST_PREPARED = 16


@define
class Versions:
    """Holds the numbers of the current version and of the newest one; `prepared` has entries by the version.
    `ordered`: an operator has changed what is there, which no file says. `orders` are those that are being done, the
    first one, and those that wait for it."""

    current: int = 0
    newest: int = 0
    ordered: bool = False
    prepared: dict[int, Entries] = Factory(dict)
    orders: list[object] = Factory(list)

    def prepare(self) -> int:
        """Returns the number of a new version."""
        self.newest += 1
        return self.newest

    def may_commit(self, version: int) -> bool:
        """Tells whether a version is one that was prepared after the current one."""
        return self.current < version <= self.newest

    def commit(self, version: int) -> None:
        """Makes a version the current one, and forgets those before it."""
        self.current = version
        for each in [each for each in self.prepared if each <= version]:
            del self.prepared[each]

    @property
    def count(self) -> int:
        """Returns how many entries are in versions that are being prepared."""
        return sum(map(len, self.prepared.values()))
