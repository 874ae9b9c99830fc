"""The demonstration, as somebody sees it who follows what it prints."""

from __future__ import annotations

import csv
import io
import re
import shlex
import signal
import stat
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.daemon import COMMAND, ROOT, START, run_once
from tests.integration.peers import LOOPBACK, missing, temporary_directory, wait_for


class Demo:
    """One demonstration, started when made, and ready when it has said all that it says at the start."""

    def __init__(self, test: SynchronousTestCase) -> None:
        self._printed = temporary_directory(test) / "printed"
        with open(self._printed, "wb") as file:
            self._process = subprocess.Popen([*COMMAND, "--demo"], cwd=ROOT, stdout=file)
        test.addCleanup(self._end)
        wait_for(self._ready, "the demonstration to be ready", START)

    def _ready(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(f"the demonstration ended: {self.output}")
        return "Ctrl-C ends it" in self.output

    def _end(self) -> None:
        """In the end of the test; gently, so that the directory of a failed test goes, too."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    @property
    def output(self) -> str:
        return self._printed.read_text()

    def found(self, pattern: str) -> str:
        """The first group of `pattern`, in what it has printed."""
        match = re.search(pattern, self.output, re.M)
        assert match is not None, self.output
        return match[1]

    @property
    def commands(self) -> list[list[str]]:
        return [shlex.split(line) for line in self.output.splitlines() if line.strip().startswith("curl ")]

    @property
    def port(self) -> str:
        return self.found(r"curl http://127\.0\.0\.1:(\d+)/")

    @property
    def configuration(self) -> Path:
        return Path(self.found(r"^ +The configuration, with comments: (.+)$"))

    def finish(self, how: int) -> str:
        """What it prints after this signal."""
        self._process.send_signal(how)
        self._process.wait(10)
        return self.output[self.output.index("What the demonstration did") :]


class DemoTests(SynchronousTestCase):
    skip = missing("curl") or None

    def setUp(self) -> None:
        self.demo = Demo(self)

    def curl(self, command: list[str]) -> str:
        """Run a line that was printed, without this user's own settings and proxies."""
        program, *arguments = command
        done = subprocess.run(
            [program, "-q", "--silent", "--show-error", "--noproxy", "*", "--max-time", "10", *arguments],
            check=False,
            capture_output=True,
            text=True,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_both_curl_lines_work_and_the_end_says_what_was_done(self) -> None:
        ask, statistics = self.demo.commands
        for number in ("1 request", "2 requests", "3 requests"):
            self.assertEqual(
                self.curl(ask).splitlines(),
                [
                    "GET /hello",
                    "asked by: reusedproxy demonstration (the name in the client certificate)",
                    f"this TLS connection has carried {number}",
                ],
            )
        rows = csv.DictReader(io.StringIO(self.curl(statistics).removeprefix("# ")))
        (server,) = [row for row in rows if (row["pxname"], row["svname"]) == ("servers", "embedded")]
        self.assertEqual(server["stot"], "3")
        summary = self.demo.finish(signal.SIGINT)
        self.assertRegex(summary, r"requests carried to the server: +3\n")
        self.assertRegex(summary, r"TLS handshakes on the request path: +0\n")
        self.assertRegex(summary, r"connections opened to the server: +4\n")
        self.assertRegex(summary, r"requests on a used connection: +2 \(reuse ratio 67 %\)\n")

    def test_its_directory_is_for_its_user_only_and_goes_at_the_end(self) -> None:
        directory = self.demo.configuration.parent
        self.assertEqual(stat.S_IMODE(directory.stat().st_mode), 0o700)
        self.assertIn("client.pem", {path.name for path in directory.iterdir()})
        summary = self.demo.finish(signal.SIGTERM)
        self.assertIn(f"Removed: {directory}\n", summary)
        self.assertFalse(directory.exists())

    def test_the_file_it_names_is_what_it_runs_on_and_valid_by_itself(self) -> None:
        checked = run_once("--config", str(self.demo.configuration), "--check")
        self.assertEqual((checked.returncode, checked.stderr), (0, ""), checked.stdout)
        self.assertIn(f"bind {LOOPBACK}:{self.demo.port}\n", self.demo.configuration.read_text())

    def test_its_server_turns_away_who_shows_no_certificate(self) -> None:
        port = self.demo.found(r"^ +A server on port (\d+)")
        done = subprocess.run(
            ["curl", "-q", "-k", "--silent", "--noproxy", "*", "--max-time", "10", f"https://{LOOPBACK}:{port}/"],
            check=False,
            capture_output=True,
        )
        self.assertEqual(done.stdout, b"")
        self.assertIn(done.returncode, (35, 56))  # OpenSSL tells it during the handshake, or right after (TLS 1.3)

    def test_it_takes_another_port_when_8080_is_taken(self) -> None:
        # By the demonstration of this test, if by nobody else.
        other = Demo(self)
        self.assertNotIn(other.port, ("8080", self.demo.port))
        self.assertIn("has carried 1 request\n", self.curl(other.commands[0]))
