"""Ends the process that has started a daemon where the daemon ends before it could say whether it serves.

twistd forks twice, and its first process waits for what the daemon says, at a pipe whose other end it holds itself: for
a daemon that is killed meanwhile, by the kernel for want of memory for instance, it would wait for ever, and whoever
has started it, too. It must never end a process that serves.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Final

#: Seconds in which what the daemon has said before its end is heard.
GRACE: Final = 2.0
_SAID = "the daemon has ended before it could say whether it serves: it was killed, or it crashed; see its log"


class ForkedDaemon:
    """Watches the daemon that is forked off from this process, from `watch` on until `started`."""

    def __init__(self, name: str) -> None:
        """Takes the program's name, which begins the message."""
        self._name = name
        self._ends: tuple[int, int] | None = None
        #: There is no fork to come that matters.
        self._over = False

    def watch(self) -> None:
        """Watches the process that is forked off next, and what that forks off in its place."""
        os.register_at_fork(before=self._before, after_in_parent=self._in_parent, after_in_child=self._in_child)

    def started(self) -> None:
        """Ends the watch, in whichever of the processes."""
        self._over = True
        if self._ends is not None:
            for end in self._ends:
                os.close(end)
            self._ends = None

    def _before(self) -> None:
        if not self._over and self._ends is None:
            self._ends = os.pipe()  # which no program that is run inherits

    def _in_parent(self) -> None:
        if not self._over and self._ends is not None:
            self._over = True
            (near, far), self._ends = self._ends, None
            os.close(far)
            threading.Thread(target=self._wait, args=(near,), daemon=True).start()

    def _in_child(self) -> None:
        self._over = True  # it holds the pipe's ends until it has started, or ends

    def _wait(self, near: int) -> None:
        os.read(near, 1)
        time.sleep(GRACE)
        if sys.__stderr__ is not None:
            sys.__stderr__.write(f"{self._name}: {_SAID}\n")
            sys.__stderr__.flush()
        os._exit(1)
