"""`drain pool`, `rewarm pool` and `show pool connections` as an operator has them: real daemon, mutual TLS, load."""

from __future__ import annotations

import re
import signal
import socket

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, missing, run_curl, wait_for
from tests.integration.test_coming_up import Servers
from tests.integration.test_failover import Load

FLOOR = 20


@pytest.mark.alone
class PoolOrderTests(SynchronousTestCase):
    """One server that demands our certificate, and clients that close."""

    skip = missing("nginx", "curl") or None

    def setUp(self) -> None:
        servers = Servers(self, ("s",))
        self.socket = servers.directory / "s.sock"
        text = f"backend servers\n    server s {LOOPBACK}:{servers.by_name['s'].port} {servers.words}"
        self.daemon = Daemon(servers.directory / "daemon", f"{text} pool-min-conn {FLOOR}\n")
        head = f"global\n    stats socket {self.socket} level admin\n"
        self.daemon.file.write_text(self.daemon.file.read_text().replace("global\n", head, 1))
        self.addCleanup(self.daemon.stop)
        self.daemon.start()
        self.wait_for_idle(FLOOR)

    def wait_for_idle(self, count: int) -> None:
        wait_for(lambda: int(self.daemon.server("s")["pool_idle"]) == count, f"{count} idle connections", 30)

    def says(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(self.socket))
            client.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: client.recv(65536), b"")).decode()

    def numbers(self) -> set[str]:
        """The connections that are listed, but for dials."""
        return set(re.findall(r"(?m)^servers/s#([0-9]+): ", self.says("show pool connections servers/s")))

    def test_all_are_replaced_under_load_and_no_request_waits(self) -> None:
        line = self.says("show pool connections").splitlines()[0]
        self.assertRegex(
            line,
            r"^servers/s#[0-9]+: state=idle age=\S+s idle=\S+s requests=0 local=127\.\S+ remote=127\.\S+"
            r" ssl=TLSv1\.3/TLS_\w+ resumed=[01] cert=[0-9a-f]+ notafter=20\S+Z rtt=[0-9.]+ms exp=",
        )
        before = self.numbers()
        self.assertEqual(len(before), FLOOR)
        load = Load(self.daemon.port)
        self.addCleanup(load.stop)
        load.start(6)
        wait_for(lambda: load.answers["s"] > 100, "requests", 30)
        cold = int(self.daemon.server("s")["pool_handshakes_request_path"])
        self.assertIn("leave, each as a new one stands", self.says("rewarm pool servers/s"))
        wait_for(lambda: self.daemon.has_said("its pool is warm again"), "the end of the order", 30)
        had = load.answers["s"]
        wait_for(lambda: load.answers["s"] > had + 100, "requests", 30)
        load.stop()
        self.assertEqual(load.failed, [])
        row = self.daemon.server("s")
        self.assertEqual((int(row["pool_handshakes_request_path"]), row["pool_waits_failed"]), (cold, "0"))
        self.assertEqual(before & self.numbers(), set())
        self.assertIn("replaced by order: ", row["pool_closed"])

    def test_a_drained_pool_serves_and_stays_empty_until_it_is_rewarmed(self) -> None:
        """A reload leaves it so, and says so."""
        load = Load(self.daemon.port)
        self.addCleanup(load.stop)
        load.start(3)
        wait_for(lambda: load.answers["s"] > 50, "requests", 30)
        self.assertIn(f"its floor of {FLOOR} is withheld", self.says("drain pool servers"))
        had = load.answers["s"]
        wait_for(lambda: load.answers["s"] > had + 50, "requests of a drained pool", 30)
        load.stop()
        self.assertEqual(load.failed, [])
        self.wait_for_idle(0)
        self.daemon.signal(signal.SIGHUP)
        wait_for(lambda: self.daemon.has_said("keeps its pool drained, as was ordered before"), "the reload", 30)
        self.assertEqual(run_curl(f"{self.daemon.url}/who").status, 200)
        self.wait_for_idle(0)
        self.assertIn(
            f"drained by an operator for 0 s, the floor of {FLOOR} withheld", self.says("drain pool servers; show pool")
        )
        self.assertEqual(
            self.says("rewarm pool servers/s"),
            f"servers/s is not drained any more: its floor of {FLOOR} is filled.\n\n",
        )
        self.wait_for_idle(FLOOR)
