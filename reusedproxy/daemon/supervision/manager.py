"""Talks to systemd, or another manager that has set $NOTIFY_SOCKET (sd_notify(3), `Type=notify` and `WatchdogSec=`).

sd_notify is implemented here because it is one datagram: on PyPI `sdnotify` was last released in 2017 and hides every
error, and `systemd-python` has to be compiled against systemd. Must never know what a reload does.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from reusedproxy.config.language.printable import printable

#: Largest size of the text for `systemctl status`, in characters.
STATUS_LENGTH = 200


class Manager:
    """Talks to systemd, or another manager that set $NOTIFY_SOCKET. Messages that cannot be sent are lost; the
    failure is logged once."""

    _log = Logger()

    def __init__(self, environment: Mapping[str, str], clock: IReactorTime, pid: Callable[[], int] = os.getpid) -> None:
        self._environment = environment
        self.clock = clock
        self._pid = pid
        self._call: IDelayedCall | None = None
        self._failed = False
        path = environment.get("NOTIFY_SOCKET", "")
        # Abstract socket names are written with an @ in place of their first byte, which is 0.
        self._address = "\0" + path[1:] if path.startswith("@") else path

    def tell(self, *words: str) -> None:
        """Sends all words in one message; each is NAME=value."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(words).encode("utf-8", "backslashreplace"), self._address)
        except OSError as error:
            if not self._failed:
                self._log.warn("$NOTIFY_SOCKET cannot be written to: {error}", error=error)
            self._failed = True
        else:
            self._failed = False

    def feed(self) -> None:
        """Begins to report, twice in each $WATCHDOG_USEC, that the event loop runs; a timer of the loop does it."""
        every = self._every()
        if every is not None:
            self.tell("WATCHDOG=1")
            self._call = self.clock.callLater(every, self.feed)

    def stop(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _every(self) -> float | None:
        """Returns the seconds between two signs of life; None when they are not requested from this process
        (sd_watchdog_enabled(3))."""
        words = self._environment
        usec = words.get("WATCHDOG_USEC", "")
        ours = words.get("WATCHDOG_PID", "") in ("", str(self._pid()))
        said = re.fullmatch("[0-9]{1,18}", usec) is not None and int(usec)
        return said / 2e6 if self._address and ours and said else None


def status(text: str) -> str:
    """Returns the word for `Manager.tell` by which `systemctl status` shows this text, in one line."""
    return "STATUS=" + printable(" ".join(text.split())[:STATUS_LENGTH])
