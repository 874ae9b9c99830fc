"""Lets a process finish what it has after another one has taken its place: the state "leaving" of the service.

Its clients may send further requests for a while, then those that are idle are closed, and connections to servers that
nobody will use. It is over when the last client has gone, of this process and of one before it of which only this one
can tell the next, or `hard-stop-after` is. Must never know who has taken the place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from reusedproxy.build.assembly import Proxy
from reusedproxy.daemon.reloading.succession import pools_of
from reusedproxy.net.slices import Slices, Steps

#: Seconds for which idle clients may still send a request, before they are closed.
KEPT_IDLE = 10.0
#: Seconds between two looks whether the last client has gone.
LOOK = 0.05


def clients_of(proxies: Iterable[Proxy]) -> int:
    """Returns how many clients are connected."""
    return sum(len(frontend.connections) for proxy in proxies for frontend in proxy.frontends)


class Departure:
    """Waits from `start` to `stop`. `is_late`: `hard-stop-after` was over before the last client had gone."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        living: Callable[[], list[Proxy]],
        is_between: Callable[[], bool],
        over: Callable[[], None],
    ) -> None:
        """Takes functions that return the proxies that have clients, and whether this process tells the next what one
        before it still tracks; calls `over` when the process may end."""
        self.is_late = False
        self._clock = clock
        self._living = living
        self._is_between = is_between
        self._over = over
        self._calls: dict[str, IDelayedCall] = {}
        self._releasing: Slices | None = None

    def start(self, limit: float | None) -> None:
        """Begins to wait, for `limit` seconds at most (None: without a bound)."""
        if limit is not None:
            self._calls["limit"] = self._clock.callLater(limit, self._late)
        self._calls["idle"] = self._clock.callLater(KEPT_IDLE, self._let_idle_go)
        # Not at once: operators whose order waits are answered in a later turn.
        self._calls["look"] = self._clock.callLater(LOOK, self._look)

    def stop(self) -> None:
        for call in self._calls.values():
            if call.active():
                call.cancel()
        if self._releasing is not None:
            self._releasing.stop()
            self._releasing = None

    def _look(self) -> None:
        if clients_of(self._living()) or self._is_between():
            self._calls["look"] = self._clock.callLater(LOOK, self._look)
        else:
            self._over()

    def _late(self) -> None:
        self.is_late = True
        self._over()

    def _let_idle_go(self) -> None:
        """Closes idle clients, and connections to servers that nobody will use."""
        for proxy in self._living():
            for frontend in proxy.frontends:
                frontend.finish_idle()
        self._releasing = Slices(self._clock, self._release_pools(), self._released)
        self._releasing.start()

    def _release_pools(self) -> Steps[None]:
        for pool in {pool: None for proxy in self._living() for pool in pools_of(proxy)}:
            yield from pool.draining("another process goes on")

    def _released(self, failure: Failure | None) -> None:
        self._releasing = None
        if failure is not None:
            self._log.failure("connections of a process that leaves could not be closed", failure)
