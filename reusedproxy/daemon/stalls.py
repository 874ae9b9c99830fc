"""Reports that the event loop, or the whole process, has stood still, and does what is due afterwards.

A blocked loop is logged while it lasts, and ends the process if that was told to stop (`net.watchdog`). After the
process or its machine slept (`net.standstill`), servers may have closed idle connections without being able to tell it:
all of these are replaced. Must never know what has blocked.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from twisted.logger import Logger

from reusedproxy.build.assembly import Proxy
from reusedproxy.net.standstill import Standstill
from reusedproxy.net.watchdog import Standstills, Watchdog


class Stalled(Protocol):
    """The service, as it is seen from here."""

    @property
    def living(self) -> list[Proxy]:
        """Returns all proxies that have clients."""

    def announce(self, level: str, text: str) -> None:
        """Sends a message for the operator to the log."""


class Stalls:
    """Watches from `start` to `stop`."""

    _log = Logger()

    def __init__(self, reactor: Any, service: Stalled, woken: Callable[[], None]) -> None:
        """Calls `woken` after the process has slept."""
        self.watchdog = Watchdog(reactor, self._stands, self._goes_on, self._die)
        self._standstill = Standstill(reactor, self._slept)
        self._service = service
        self._woken = woken

    def start(self, seen: Standstills) -> None:
        """Starts to watch; counts in `seen`."""
        self._standstill.start()
        self.watchdog.seen = seen
        self.watchdog.start()

    def stop(self) -> None:
        self._standstill.stop()
        self.watchdog.stop()

    def _stands(self, text: str) -> None:
        """Logs a blocked event loop. It is called by a signal handler, so it writes only to the log that never blocks:
        any other may be the cause."""
        self._log.warn("{text}", text=text)

    def _goes_on(self, stack: str, seconds: float) -> None:
        where = f"; it stood in {stack}" if stack else ""
        self._service.announce("warning", f"the event loop goes on {seconds:.1f} s late{where}")

    def _die(self, text: str) -> NoReturn:
        self._log.critical("{text}", text=text)
        os._exit(1)

    def _slept(self, seconds: float, why: str) -> None:
        self._service.announce("warning", f"{why} for {seconds:.0f} s: all idle connections to servers are replaced")
        for proxy in self._service.living:
            for pool in [each for first in proxy.pools for each in first.family]:
                pool.upkeep.renew()
        self._woken()
