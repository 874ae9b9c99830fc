"""Has the process end with another status than 0 when all is done.

Twisted's runners end with 0 whenever the reactor stops, or with the signal that has stopped it. So the status is given
to the system by the last of the functions that Python calls at its end. It must never know why.
"""

from __future__ import annotations

import atexit
import os
import sys


class ExitStatus:
    """Holds the status, 0 at first. To be made before anything else asks to be called at the exit: what asked earlier
    is not called where the status is another."""

    def __init__(self) -> None:
        self._status = 0
        atexit.register(self._end)

    def end_with(self, status: int) -> None:
        """Ends with `status` (0 to 255), once the reactor has stopped and all is done."""
        self._status = status

    def _end(self) -> None:
        if not self._status:
            return
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        os._exit(self._status)
