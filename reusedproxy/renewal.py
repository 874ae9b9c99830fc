"""`ssl-watch`: files that change while they are in use are looked at every so often, and told of once they have come to rest.

It knows stamps of files and a clock; it must never know what is in the files, nor how they are taken up.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from reusedproxy.certificates import Stamps
from reusedproxy.net.slices import Slices, Steps


class FileWatch:
    """Looks from `begin` to `stop`. `tell(names)` hears of files that have changed, and were then the same for one more look:
    a renewal writes several, and not all at once.

    It hears of them at each look from then on, until it calls `begin` (they are in use now) or `refuse` (they are not to be
    used, as long as they stay as they are).
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, tell: Callable[[list[str]], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._every: float | None = None
        self._stamps: Callable[[], Steps[Stamps]] = _nothing
        self._slices: Slices | None = None
        self._call: IDelayedCall | None = None
        self._used: Stamps = ()
        self._seen: Stamps = ()
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
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._slices is not None:
            self._slices.stop()
            self._slices = None

    def refuse(self) -> None:
        """What was told of last is bad: hear no more of it."""
        self._refused = self._seen

    def _again(self) -> None:
        if self._every is not None:
            self._call = self._clock.callLater(self._every, self._look)

    def _look(self) -> None:
        self._call = None
        self._slices = Slices(self._clock, self._looking(), self._looked)
        self._slices.start()

    def _looking(self) -> Steps[None]:
        """A file system may be slow, and the files many: 10 ms for 1000 certificates on a local disk."""
        stamps = yield from self._stamps()
        self._slices = None
        self._again()
        rested = stamps == self._seen
        self._seen = stamps
        if rested and stamps not in (self._used, self._refused):
            self._tell(sorted({stamp[0] for stamp in set(stamps) ^ set(self._used)}))

    def _looked(self, failure: Failure | None) -> None:
        if failure is not None:
            self._log.failure("ssl-watch: a look at the files has failed", failure)
            self._again()


def _nothing() -> Steps[Stamps]:
    return ()
    yield
