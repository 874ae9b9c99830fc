"""The examples, run as their reader would run them, against a real server that demands a client certificate."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.demo.certificates import Authority
from tests.integration.daemon import ROOT
from tests.integration.peers import LOOPBACK, Nginx, missing, temporary_directory


class WarmClientTests(SynchronousTestCase):
    """A Twisted program with a warm pool of its own."""

    if missing("nginx"):
        skip = missing("nginx")

    def setUp(self) -> None:
        self.directory = temporary_directory(self)
        authority = Authority("CA of the example")
        self.nginx = Nginx(self.directory / "nginx", authority, authority.issue("server.test", hosts=["server.test"]))
        self.nginx.start()
        self.addCleanup(self.nginx.stop)
        authority.issue("somebody", client=True).write(self.directory / "client.pem")

    def run_example(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "examples/warm_client.py", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )

    def test_its_requests_find_warm_connections(self) -> None:
        """Twenty requests, four at a time, over four connections, and none waited for a handshake."""
        ca = self.nginx.directory / "ca.pem"
        done = self.run_example(LOOPBACK, str(self.nginx.port), "server.test", ca, self.directory / "client.pem")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        lines = done.stdout.splitlines()
        self.assertEqual(len(lines), 5, done.stdout)
        for line in lines:
            self.assertTrue(line.startswith("200 200 200 200 (0 handshakes waited for)"), line)
        counts = self.nginx.counts()
        self.assertEqual((counts.accepted, counts.requests), (4, 20))

    def test_it_says_what_is_wrong(self) -> None:
        """Another name than the certificate's: no answer, and why."""
        ca = self.nginx.directory / "ca.pem"
        done = self.run_example(LOOPBACK, str(self.nginx.port), "other.test", ca, self.directory / "client.pem")
        self.assertIn("the certificate is not for 'other.test', it is for server.test", done.stdout)

    def test_without_arguments(self) -> None:
        """It says which it wants."""
        done = self.run_example()
        self.assertEqual(done.returncode, 1)
        self.assertIn("HOST PORT NAME", done.stderr)
