"""Starts a new process of the program, with this one's command line, that takes this one's place (SIGUSR2).

The new process is no child of this one, which will end first: a supervisor, such as systemd, becomes its parent. It
inherits nothing but a pipe, whose end tells this process that the new one has ended. Must never know what the new
process does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from reusedproxy.net.poller import READ, Poller

#: Variables of systemd's that are about the process that it has started (sd_listen_fds(3), sd_watchdog_enabled(3)).
_ABOUT_ONE = frozenset(("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"))
REPLACE = "--replace"


def command_line(words: Sequence[str]) -> list[str]:
    """Returns the command line of the new process, made of that of this one."""
    return [*words, *(() if REPLACE in words else (REPLACE,))]


class Spawned:
    """Knows one process that it has started."""

    def __init__(
        self,
        poller: Poller,
        ended: Callable[[], None],
        words: Sequence[str] | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """Starts it; calls `ended` once, when it has ended. Raises OSError."""
        self._poller = poller
        self._ended = ended
        self._line, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        left = {name: value for name, value in environment.items() if name not in _ABOUT_ONE}
        program = command_line([sys.executable, *sys.orig_argv[1:]] if words is None else words)
        try:
            # The shell leaves it running in the background, and ends.
            subprocess.run(
                ["/bin/sh", "-c", '"$@" &', "sh", *program], check=True, env=left, pass_fds=(theirs,), timeout=5
            )
        except subprocess.SubprocessError as error:
            os.close(self._line)
            raise OSError(0, str(error)) from None
        except OSError:
            os.close(self._line)
            raise
        finally:
            os.close(theirs)
        poller.watch(self._line, READ, self._on_ready)

    def _on_ready(self, events: int) -> None:
        self.forget()
        self._ended()

    def forget(self) -> None:
        """Does not look at it any more."""
        self._poller.forget(self._line)
        os.close(self._line)
