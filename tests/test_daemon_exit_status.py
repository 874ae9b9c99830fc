"""The status with which the process ends, in a process."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

PROGRAM = """\
import atexit
import sys

from reusedproxy.daemon.exit_status import ExitStatus

status = ExitStatus()
atexit.register(print, "the pid file is removed")
if len(sys.argv) > 1:
    status.end_with(int(sys.argv[1]))
print("the reactor has stopped")
"""


class ExitStatusTests(SynchronousTestCase):
    def test_it_is_the_processs_when_all_is_done(self) -> None:
        """What is to be done at the exit is done, and what was said comes out."""
        for arguments, status in (((), 0), (("0",), 0), (("1",), 1)):
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False
            )
            self.assertEqual((done.returncode, done.stderr), (status, ""))
            self.assertEqual(done.stdout, "the reactor has stopped\nthe pid file is removed\n")
