"""Watches files for `ssl-watch`, and reports those that have changed and come to rest.

Knows stamps of files and a clock. Must never know what the files contain, nor how they are loaded.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from reusedproxy.build.certificates import Stamps
from reusedproxy.net.slices import Later, Steps


class FileWatch:
    """Looks at files from `begin` to `stop`, and calls `tell(names)` with those that have changed.

    A change is reported only after one more look has found the files the same: a renewal writes several of them, and
    not all at once. It is reported at each further look, until the owner calls `begin` (the files are in use now) or
    `refuse` (they must not be used as long as they stay as they are).
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, tell: Callable[[list[str]], object]) -> None:
        self._tell = tell
        self._every: float | None = None
        self._stamps: Callable[[], Steps[Stamps]] = _nothing
        self._look = Later(clock, self._looking, self._looked)
        self._used: Stamps = ()
        self._seen: Stamps = ()
        #: The last two looks found the same.
        self._rested = False
        self._refused: Stamps | None = None

    def begin(self, every: float | None, used: Stamps, stamps: Callable[[], Steps[Stamps]]) -> None:
        """Starts to look every `every` seconds (None: never); `used` are the stamps from before the
        files in use were read."""
        self.stop()
        self._every = every
        self._used = self._seen = used
        self._stamps = stamps
        self._refused = None
        self._again()

    def follow(self, used: Stamps, stamps: Callable[[], Steps[Stamps]]) -> None:
        """Looks at other files from the next look on, some of which may not have been in use before."""
        self._used = self._seen = used
        self._stamps = stamps
        self._rested = False

    def stop(self) -> None:
        self._look.stop()

    def refuse(self) -> None:
        """Rejects the files reported last; they are not reported again until they change."""
        self._refused = self._seen

    def _again(self) -> None:
        if self._every is not None:
            self._look.plan(self._every)

    def _looking(self) -> Steps[None]:
        """Takes the stamps, in steps: a file system may be slow, and the files many (10 ms for 1000
        certificates on a local disk)."""
        stamps = yield from self._stamps()
        self._rested = stamps == self._seen
        self._seen = stamps

    def _looked(self, failure: Failure | None) -> None:
        self._again()
        if failure is not None:
            self._log.failure("ssl-watch: a look at the files has failed", failure)
        elif self._rested and self._seen not in (self._used, self._refused):
            self._tell(sorted({stamp[0] for stamp in set(self._seen) ^ set(self._used)}))


def _nothing() -> Steps[Stamps]:
    return ()
    yield
