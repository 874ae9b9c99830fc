"""Turns signals into orders: to stop, to reload, or nothing.

From the program's first lines on the kernel holds back those that need a handler, until there is one. During the start
there is a handler of its own for a stop, until clients may have connected. A handler may run while the event loop is
blocked, so it only schedules. Must never know how an order is carried out.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Protocol

#: Signals that stop the daemon. The one that reloads it, and the one that has a new process of the program take its
#: place: at either, HAProxy's master process begins anew. The signal at which HAProxy reports its memory pools; it must
#: not end the daemon.
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
RELOADING = signal.SIGHUP
REPLACING = signal.SIGUSR2
IGNORED = signal.SIGQUIT

#: Those that are held back while there is no handler yet: they would end the process, without a word.
HELD = (RELOADING, REPLACING, IGNORED, signal.SIGUSR1)

Handler = Callable[[int, object], None]


def hold_back() -> None:
    """Has the kernel keep the signals in `HELD` until `let_come`, as HAProxy does. Loading takes half a second."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)


def let_come() -> None:
    """Ends `hold_back`: what has come in the meantime is handled now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


class Ordered(Protocol):
    """What takes the orders. All but `told_to_stop` are called by the event loop."""

    def announce(self, level: str, text: str) -> None:
        """Sends a message for the operator to the log."""

    def reload(self) -> None:
        """Reads the configuration again."""

    def replace(self) -> None:
        """Starts a new process of the program, which takes the place of this one."""

    def told_to_stop(self) -> None:
        """Notes that a signal to stop has come; its handler calls it."""

    def stop_by(self, number: signal.Signals) -> None:
        """Stops, because of this signal."""


class SignalHandlers:
    """Installs the handlers of a process."""

    def __init__(self, reactor: Any, ordered: Ordered) -> None:
        self._reactor = reactor
        self._ordered = ordered
        #: Signals whose handler runs at this moment.
        self._handled: set[int] = set()

    def take_early(self) -> None:
        """Installs the handlers for signals during the start.

        A signal to reload is kept until the daemon runs, since the files may have been read before they changed. A
        signal to stop ends the process at once, which may be waiting for a name server. Once everything is bound
        `take_stops` is due: clients may have connected, so a stop is a stop like any other then.
        """
        self.take_others()
        for number in STOPPING:
            signal.signal(number, self._stop_early)
        let_come()

    def take_others(self) -> None:
        """Installs the handlers for signals that do not stop."""
        signal.signal(RELOADING, self._one_at_a_time(self._reload))
        signal.signal(REPLACING, self._one_at_a_time(self._replace))
        signal.signal(IGNORED, self._one_at_a_time(self._ignore))

    def take_stops(self) -> None:
        """Installs the handlers for signals to stop: the stop begins when the reactor runs."""
        stop = self._one_at_a_time(self._stop)
        for number in STOPPING:
            signal.signal(number, stop)
        # When it begins to run, Twisted installs this one of its own, by which an ordered stop is a death by signal.
        self._reactor.sigTerm = stop

    def wake_silently(self) -> None:
        """Has Python say nothing when the pipe that wakes the event loop is full, as it is in a flood of signals.

        Within the handler, the warning takes a lock that the interrupted code may hold: the process would stand still
        for good. Twisted sets the pipe when its reactor begins to run.
        """
        pipe = signal.set_wakeup_fd(-1)
        if pipe >= 0:
            signal.set_wakeup_fd(pipe, warn_on_full_buffer=False)

    def ignore_stops(self) -> None:
        """Ignores further signals to stop: while Python ends, they would end the process by themselves."""
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)

    def _one_at_a_time(self, handler: Handler) -> Handler:
        """Returns a handler that passes over a signal which comes while the same one is handled. Python would handle it
        in between, and at the thousandth of a flood there is no stack left. The order of the first is still to come."""

        def handle(number: int, frame: object) -> None:
            if number not in self._handled:
                self._handled.add(number)
                try:
                    handler(number, frame)
                finally:
                    self._handled.discard(number)

        return handle

    def _stop_early(self, number: int, frame: object) -> None:
        print(f"[NOTICE] stopped by {signal.Signals(number).name} before it served", file=sys.stderr, flush=True)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _stop(self, number: int, frame: object) -> None:
        self._ordered.told_to_stop()
        self._reactor.callFromThread(self._ordered.stop_by, signal.Signals(number))

    def _reload(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self._ordered.reload)

    def _replace(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self._ordered.replace)

    def _ignore(self, number: int, frame: object) -> None:
        text = f"{signal.Signals(number).name} is ignored: SIGHUP and SIGUSR2 reload, SIGTERM and SIGUSR1 stop"
        self._reactor.callFromThread(self._ordered.announce, "notice", text)
