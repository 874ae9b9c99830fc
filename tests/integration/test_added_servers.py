"""A group of servers that grows and shrinks under load, by `add server` and `del server`: mutual TLS, and a floor."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, missing, wait_for
from tests.integration.test_coming_up import Servers
from tests.integration.test_failover import Load
from tests.integration.test_runtime_beside_haproxy import ask

CLIENTS = FLOOR = 8


class ScalingTests(SynchronousTestCase):
    skip = missing("nginx") or None

    def tell(self, line: str) -> str:
        return ask(self.socket, line)

    def wait_for_answers(self, load: Load, name: str) -> None:
        before = load.answers[name]
        wait_for(lambda: load.answers[name] > before + 20, f"answers of {name}", 30)

    def test_a_group_grows_and_shrinks_without_a_lost_request(self) -> None:
        """And none waits for a handshake with a server that is new."""
        servers = Servers(self, ("s0", "s1", "s2"))
        self.socket: Path = servers.directory / "admin.sock"
        words = f"{servers.words} pool-min-conn {FLOOR}"
        first = f"server s0 {LOOPBACK}:{servers.by_name['s0'].port} {words}"
        text = f"global\n    stats socket {self.socket} level admin\nbackend servers\n    option httpchk GET /who\n"
        daemon = Daemon(servers.directory / "daemon", f"{text}    {first}\n")
        self.addCleanup(daemon.stop)
        daemon.start()
        wait_for(lambda: int(daemon.server("s0")["pool_idle"]) >= FLOOR, "the floor of s0", 30)
        load = Load(daemon.port)
        self.addCleanup(load.stop)
        load.start(CLIENTS)
        for _ in range(2):
            for name in ("s1", "s2"):
                address = f"{LOOPBACK}:{servers.by_name[name].port}"
                said = self.tell(f"add server servers/{name} {address} {words} check inter 200ms")
                self.assertEqual(said, "New server registered.\n\n")
                self.assertEqual(self.tell(f"enable health servers/{name};enable server servers/{name}"), "\n\n")
                self.wait_for_answers(load, name)
                self.assertEqual(int(daemon.server(name)["pool_handshakes_request_path"]), 0)
            for name in ("s1", "s2"):
                said = self.tell(
                    f"disable server servers/{name};wait 20s srv-removable servers/{name};del server servers/{name}"
                )
                self.assertEqual(said, "\nDone.\n\nServer deleted.\n")
        load.stop()
        self.assertEqual(load.failed, [])
        self.assertEqual([each.established() for each in servers.by_name.values()][1:], [0, 0])
        self.assertNotIn("servers/s1", self.tell("show servers conn"))
        self.assertNotIn("Traceback", daemon.output)
