"""Reports the daemon's state to its supervisors: ready, result of a reload, stopping, and that its event loop still
runs.

There are two receivers, and each may be absent: systemd (`manager`), and the status file of an init script
(`status_file`). Must never know what a reload does.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from reusedproxy.daemon.supervision.manager import Manager, status
from reusedproxy.daemon.supervision.status_file import (
    REFUSED,
    RELOADED,
    RELOADING,
    RUNNING,
    STARTING,
    STOPPING,
    StatusFile,
)


class Supervision:
    """Reports the daemon's life to both receivers. Reloads are counted from 1."""

    def __init__(self, manager: Manager, file: StatusFile | None = None) -> None:
        self._manager = manager
        self._file = file
        self._reloads = 0
        #: The daemon has served: a reload is not part of its start.
        self._served = False
        self._write(STARTING)

    def begin(self) -> None:
        """Starts reporting: the event loop will run from now on, in the process that stays, after
        twistd has become a daemon."""
        self._write(STARTING)
        self._manager.feed()

    def starting(self, seconds: float) -> None:
        """Asks the manager not to give up the start for so many seconds."""
        self._manager.tell(f"EXTEND_TIMEOUT_USEC={int((seconds + 30) * 1e6)}")

    def ready(self, text: str) -> None:
        """Reports that the daemon serves."""
        self._served = True
        self._manager.tell("READY=1", status(text))
        self._write(RUNNING)

    def reloading(self) -> None:
        self._reloads += 1
        self._write(RELOADING)
        if self._served:
            # From this time systemd's `Type=notify-reload` knows which signal this answers.
            self._manager.tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def reloaded(self, text: str, lost: Sequence[str] = (), warnings: Sequence[str] = ()) -> None:
        """Reports that the daemon serves with the new configuration: what it has `lost` by that, servers and listeners,
        and what it warns of."""
        self._served = True
        self._manager.tell("READY=1", status("; ".join((text, *lost))))
        self._write(RELOADED, [text, *lost, *warnings])

    def refused(self, lines: Sequence[str]) -> None:
        """Reports that the reload has changed nothing, and the reasons."""
        words = ["READY=1"] if self._served else []
        self._manager.tell(*words, status(f"reload refused, all stays as it was: {lines[0] if lines else ''}"))
        self._write(REFUSED, lines)

    def takes_over(self) -> None:
        """Notes that the daemon whose place this one takes has let go of the file."""
        if self._file is not None:
            self._file.take()

    def hand_over(self, pid: int) -> None:
        """Reports that process `pid` has taken the place of this one, which reports nothing any more."""
        self._manager.tell(f"MAINPID={pid}")
        self._manager.stop()
        self._manager = Manager({}, self._manager.clock)
        self._close()

    def stopping(self, text: str) -> None:
        self._manager.tell("STOPPING=1", status(text))
        self._write(STOPPING)
        self._close()  # the file is free for a daemon that is started meanwhile

    def stopped(self) -> None:
        """Ends all reports."""
        self._manager.stop()
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, state: str, lines: Sequence[str] = ()) -> None:
        if self._file is not None:
            self._file.write(state, self._reloads, lines)
