"""`spiffe-workload-api`: a daemon whose certificate comes from an agent, before an nginx that demands it."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import Event
from urllib.error import HTTPError

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.demo.certificates import Authority
from tests.integration.daemon import ROOT, Daemon, run_once
from tests.integration.peers import LOOPBACK, Nginx, missing, temporary_directory, wait_for
from tests.integration.test_main_job import ask
from tests.ports import free_port
from tests.workload_agent import Agent, answer_with, why_not_grpc

WEB, PROXY = "spiffe://example.org/web", "spiffe://example.org/proxy"
#: Seconds for which an SVID is valid, and after which the next one comes.
LIFE, RENEWED = 20.0, 7.0


class WorkloadAPITests(SynchronousTestCase):
    skip = missing("nginx") or why_not_grpc

    def setUp(self) -> None:
        self.directory = temporary_directory(self)
        self.authority = Authority("example.org")
        self.socket = self.directory / "agent.sock"
        self.agent = self.started()
        nginx = Nginx(self.directory / "nginx", self.authority, self.authority.issue("web", hosts=[WEB]))
        self.addCleanup(nginx.stop)
        nginx.start()
        self.text = (
            f"backend servers\n    default-server ssl crt @spiffe ca-file @spiffe verifyspiffe {WEB}\n"
            f"    server one {LOOPBACK}:{nginx.port} pool-min-conn 2\n"
        )
        self.addCleanup(setattr, Daemon, "HEAD", Daemon.HEAD)
        word = f"global\n    spiffe-workload-api unix:{self.socket}\n"
        Daemon.HEAD = Daemon.HEAD.replace("global\n", word, 1)

    def started(self) -> Agent:
        agent = Agent(self.socket)
        self.addCleanup(agent.stop)
        return agent

    def give(self, life: float = LIFE) -> datetime:
        """A new SVID for the daemon, with its end."""
        now = datetime.now(timezone.utc)
        ours = self.authority.issue(
            "proxy",
            hosts=[PROXY],
            client=True,
            key="ecdsa",
            not_before=now - timedelta(minutes=1),
            not_after=now + timedelta(seconds=life),
        )
        self.agent.give(answer_with(ours, self.authority))
        return ours.certificate.not_valid_after_utc

    def daemon(self) -> Daemon:
        daemon = Daemon(self.directory / "daemon", self.text)
        self.addCleanup(daemon.stop)
        daemon.start()
        return daemon

    @contextmanager
    def load(self, daemon: Daemon) -> Iterator[Counter[int]]:
        """Two clients, one request after the other; counted are the status codes."""
        over, counted = Event(), Counter[int]()

        def asking() -> Counter[int]:
            mine = Counter[int]()
            while not over.is_set():
                try:
                    mine[ask(daemon.port)] += 1
                except HTTPError as error:
                    mine[error.code] += 1
                time.sleep(0.005)
            return mine

        with ThreadPoolExecutor(2) as threads:
            asked = [threads.submit(asking) for _ in range(2)]
            try:
                yield counted
            finally:
                over.set()
            for each in asked:
                counted.update(each.result(60))

    def test_svids_turn_over_under_load(self) -> None:
        """Each ends before the test does; the agent is away for a while, and comes back with a new one."""
        self.give()
        daemon = self.daemon()
        wait_for(lambda: daemon.pool("one", "idle") == [2], "the floor")
        began = time.monotonic()

        def at(seconds: float) -> None:
            wait_for(lambda: time.monotonic() >= began + seconds, "the time", seconds=60)

        def taken_up(count: int) -> None:
            said = "files of TLS (@spiffe) reloaded"
            wait_for(lambda: daemon.output.count(said) >= count, "the new SVID", seconds=20)

        with self.load(daemon) as counted:
            for number in range(1, 4):
                at(number * RENEWED)
                self.give()
                taken_up(number)
            self.agent.stop()
            wait_for(lambda: daemon.has_said("no stream from the agent"), "the warning", seconds=20)
            self.agent = self.started()
            end = self.give()
            wait_for(lambda: daemon.has_said("the agent is back"), "the notice", seconds=40)
            taken_up(4)
            at(LIFE + 2)
        self.assertEqual({*counted}, {200}, counted)
        self.assertGreater(counted[200], 200)
        self.assertEqual(daemon.pool("one", "handshakes_request_path"), [0])
        self.assertTrue(re.search("generation</th><td> <b>5</b>", daemon.page()))
        self.assertIn(f"{end:%Y-%m-%d}", daemon.page())
        said = [line for line in daemon.output.splitlines() if "no stream from the agent" in line]
        self.assertEqual(len(said), 1, said)

    def test_the_process_ends_with_the_daemon_and_is_started_again(self) -> None:
        self.give(3600.0)
        daemon = self.daemon()
        (first,) = self.children(daemon)
        subprocess.run(["kill", "-9", str(first)], check=True)
        wait_for(lambda: daemon.has_said("the agent is back"), "another process", seconds=40)
        (second,) = self.children(daemon)
        self.assertNotEqual(first, second)
        self.assertEqual(ask(daemon.port), 200)
        daemon.stop()
        wait_for(lambda: not Path(f"/proc/{second}").exists(), "its end")

    def children(self, daemon: Daemon) -> list[int]:
        return [int(each) for each in Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()]

    def test_the_doctor_asks_the_agent(self) -> None:
        """It shows the SVID as the daemon would, and does not call an hour too short a life."""
        end = self.give(3600.0)
        file = self.directory / "alone.cfg"
        file.write_text(Daemon.HEAD.format(host=LOOPBACK, port=free_port(), stats_port=free_port()) + self.text)
        command = [sys.executable, "-m", "reusedproxy", "doctor", "--idle", "0", "--config", str(file)]
        done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)
        self.assertIn(
            f"our certificate, crt @spiffe, ends on {end:%d %b %Y %H:%M} UTC, and the agent renews", done.stdout
        )
        self.assertIn(f"verified as {WEB}", done.stdout)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_without_an_agent_there_is_no_start_but_a_check(self) -> None:
        self.agent.stop()
        file = self.directory / "alone.cfg"
        file.write_text(Daemon.HEAD.format(host=LOOPBACK, port=0, stats_port=0) + self.text)
        checked = run_once("--config", str(file), "--check")
        self.assertEqual(checked.returncode, 0, checked.stderr)
        self.assertIn(f"{file}:2: 'spiffe-workload-api': the agent is not asked here", checked.stderr)
        refused = run_once("--config", str(file), seconds=60)
        self.assertEqual(refused.returncode, 1)
        self.assertIn(f"{file}:2: 'spiffe-workload-api': no SVID has come from unix:{self.socket}", refused.stderr)
        self.assertIn("see that the agent runs, that user", refused.stderr)
