"""The command `reusedproxy`, which is `twist reusedproxy` for people who do not know Twisted."""

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy import __version__
from reusedproxy.operators.version import build
from reusedproxy.wire import heads

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "reusedproxy", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


class CommandTests(SynchronousTestCase):
    def test_it_takes_the_same_options(self) -> None:
        for option in ("--version", "-v"):
            self.assertEqual(run(option).stdout, f"reusedproxy {build()}\n")
        self.assertIn("or reusedproxy [options]", run("--help").stdout)
        checked = run("--check", "--config", str(ROOT / "etc" / "reusedproxy.cfg"))
        valid, summary = checked.stdout.splitlines()
        self.assertEqual((checked.returncode, valid), (0, "Configuration file is valid"))
        self.assertRegex(summary, r"^[0-9]+ words done, 0 without effect here, 0 refused$")

    def test_a_compiled_build_says_so(self) -> None:
        """For somebody who asks why two machines differ."""
        self.patch(heads, "__file__", "reusedproxy/wire/heads.py")
        self.assertEqual(build(), __version__)
        self.patch(heads, "__file__", "reusedproxy/wire/heads.cpython-311-x86_64-linux-gnu.so")
        self.assertEqual(build(), f"{__version__} (compiled)")

    def test_what_is_wrong_ends_it(self) -> None:
        """With a status that says so."""
        wrong = run("--nonsense")
        self.assertNotEqual(wrong.returncode, 0)
        self.assertIn("option --nonsense not recognized", wrong.stdout + wrong.stderr)
        missing = run("--check", "--config", "/nonexistent")
        self.assertEqual(
            (missing.returncode, missing.stderr),
            (1, "[ALERT] /nonexistent: cannot be read: No such file or directory\n"),
        )
