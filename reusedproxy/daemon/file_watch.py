"""`ssl-watch`: files that change while they are in use are looked at every so often, and told of once they have come to rest.

It knows stamps of files and a clock; it must never know what is in the files, nor how they are taken up.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from reusedproxy.build.certificates import Stamps
from reusedproxy.net.slices import Later, Steps


class FileWatch:
    """Looks from `begin` to `stop`. `tell(names)` hears of files that have changed, and were then the same for one more look:
    a renewal writes several, and not all at once.

    It hears of them at each look from then on, until it calls `begin` (they are in use now) or `refuse` (they are not to be
    used, as long as they stay as they are).
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, tell: Callable[[list[str]], None]) -> None:
        self._tell = tell
        self._every: float | None = None
        self._stamps: Callable[[], Steps[Stamps]] = _nothing
        self._look = Later(clock, self._looking, self._looked)
        self._used: Stamps = ()
        self._seen: Stamps = ()
        #: Whether the last look found what the one before had found.
        self._rested = False
        self._refused: Stamps | None = None

    def begin(self, every: float | None, used: Stamps, stamps: Callable[[], Steps[Stamps]]) -> None:
        """Look `every` so many seconds (None: never); `used` is what `stamps` said before the files in use were read."""
        self.stop()
        self._every = every
        self._used = self._seen = used
        self._stamps = stamps
        self._refused = None
        self._again()

    def stop(self) -> None:
        self._look.stop()

    def refuse(self) -> None:
        """What was told of last is bad: hear no more of it."""
        self._refused = self._seen

    def _again(self) -> None:
        if self._every is not None:
            self._look.plan(self._every)

    def _looking(self) -> Steps[None]:
        """A file system may be slow, and the files many: 10 ms for 1000 certificates on a local disk."""
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
