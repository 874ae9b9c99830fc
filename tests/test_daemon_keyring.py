"""The kernel's keyring of the caller, which a daemon must not keep."""

from __future__ import annotations

import os
import subprocess
import sys
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

#: Puts a key into a session keyring of root's, as a login has it, does what the test says, and becomes another user.
#: Prints whether the key was there, and what that user finds.
PROGRAM = """
import ctypes, os, sys
from reusedproxy.daemon.starting import keyring
number = keyring._KEYCTL.get(os.uname().machine)
call = ctypes.CDLL(None).syscall
def keyctl(*words):
    return call(ctypes.c_long(number), *words)
def find():
    return keyctl(10, ctypes.c_int(-3), b"user", b"reusedproxy-test", 0)
def read():
    text = ctypes.create_string_buffer(16)
    return text.value.decode() if (key := find()) >= 0 and keyctl(11, key, text, 16) > 0 else "nothing"
if number is None or keyctl(1, None) < 0:
    sys.exit(3)
add_key = number - 2  # on all machines
call(ctypes.c_long(add_key), b"user", b"reusedproxy-test", b"secret", 6, ctypes.c_int(-3))
print(read())
exec(sys.argv[1])
os.setgid(65534)
os.setuid(65534)
print(read())
"""


class KeyringTests(SynchronousTestCase):
    def found(self, program: str) -> list[str]:
        if os.geteuid() != 0:
            raise SkipTest("only root has keys that another user could take over")
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, program], capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode == 3:
            raise SkipTest("there are no keyrings here")
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.split()

    def test_whom_the_daemon_becomes_gets_no_keys_of_roots(self) -> None:
        self.assertEqual(self.found("keyring.leave_keyring()"), ["secret", "nothing"])
        self.assertEqual(self.found(""), ["secret", "secret"])

    def test_a_start_leaves_them_and_a_check_has_no_need_to(self) -> None:
        """What refuses the start comes behind it."""
        program = (
            "from reusedproxy.command import Options, makeService\n"
            "options = Options()\n"
            "options.parseOptions(['--config', '/dev/null', *{}])\n"
            "try:\n    makeService(options)\nexcept SystemExit:\n    pass\n"
        )
        self.assertEqual(self.found(program.format([])), ["secret", "nothing"])
        self.assertEqual(self.found(program.format(["--check"])), ["secret", "secret"])
