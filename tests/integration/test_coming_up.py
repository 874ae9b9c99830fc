"""A real server that is stopped and comes back under load, and real nodes behind a balancer of level 4."""

from __future__ import annotations

import re
import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from itertools import cycle

import pytest
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.demo.certificates import Authority
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, Nginx, accept_each, missing, temporary_directory, wait_for
from tests.integration.test_failover import Load
from tests.ports import free_port

NAME = "server.test"
FLOOR = 6


class Servers:
    """Servers of nginx that demand our certificate, and the words of a line for one of them."""

    def __init__(self, test: SynchronousTestCase, names: tuple[str, ...]) -> None:
        self.directory = directory = temporary_directory(test)
        authority = Authority("test CA")
        ca = authority.write(directory / "ca.pem")
        ours = authority.issue("proxy", client=True).write(directory / "proxy.pem")
        self.by_name: dict[str, Nginx] = {}
        for name in names:
            who = f"location = /who {{ add_header X-Node {name}; return 200 {name}; }}"
            server = Nginx(directory / name, authority, authority.issue(NAME, hosts=[NAME]), extra_server=who)
            test.addCleanup(server.stop)
            server.start()
            self.by_name[name] = server
        self.words = f"ssl ca-file {ca} crt {ours} sni str({NAME})"


@pytest.mark.alone
class ReturnTests(SynchronousTestCase):
    """Two servers; one goes and comes back, while clients that close go on asking."""

    skip = missing("nginx") or None

    def returns(self, word: str) -> tuple[int, list[int]]:
        """Returns how many requests have waited for a handshake at the server in the three seconds of its return, and
        what it was given in each of these."""
        servers = Servers(self, ("s0", "s1"))
        words = f"{servers.words} check inter 500ms fastinter 200ms downinter 200ms fall 2 rise 2 pool-min-conn {FLOOR}"
        text = "backend servers\n    balance roundrobin\n    option httpchk GET /who\n    option redispatch\n"
        for name, server in servers.by_name.items():
            text += f"    server {name} {LOOPBACK}:{server.port} {words} {word}\n"
        daemon = Daemon(servers.directory / "daemon", text)
        self.addCleanup(daemon.stop)
        daemon.start()
        wait_for(lambda: int(daemon.server("s0")["pool_idle"]) >= FLOOR, "the floor of s0", 30)
        load = Load(daemon.port)
        self.addCleanup(load.stop)
        load.start(12)
        servers.by_name["s0"].stop()
        wait_for(lambda: daemon.server("s0")["status"].startswith("DOWN"), "s0 to be DOWN", 30)
        before = load.answers["s1"]
        wait_for(lambda: load.answers["s1"] - before > 200, "requests while s0 is away", 30)
        cold = int(daemon.server("s0")["pool_handshakes_request_path"])
        servers.by_name["s0"].start()
        wait_for(lambda: daemon.server("s0")["status"].startswith("UP"), "s0 to be UP", 30, every=0.005)
        began, given = time.monotonic(), []
        had = load.answers["s0"]
        for second in range(1, 4):
            wait_for(lambda due=began + second: time.monotonic() >= due, "a second to pass", 30)  # type: ignore[misc]
            given.append(load.answers["s0"] - had)
            had = load.answers["s0"]
        waited = int(daemon.server("s0")["pool_handshakes_request_path"]) - cold
        wait_for(
            lambda: "throttle" not in daemon.server("s0") or not daemon.server("s0")["throttle"], "its full share", 30
        )
        load.stop()
        self.assertEqual(load.failed, [])
        daemon.stop()
        for server in servers.by_name.values():
            server.stop()
        return waited, given

    def test_no_request_waits_for_a_handshake_at_its_return(self) -> None:
        """It has its share all the same."""
        waited, given = self.returns("")
        at_once, given_at_once = self.returns("pool-warm-up 0")
        print(
            f"handshakes on the request path at a return: {waited}, at once {at_once}; given {given}, {given_at_once}"
        )
        self.assertEqual(waited, 0, given)
        self.assertGreater(given[0], 0)
        self.assertGreater(given[2], given_at_once[2] / 3)


class Balancer:
    """Forwards each connection to one of the nodes, `choose` says to which, and knows nothing of what is said."""

    def __init__(self, ports: list[int], choose: Callable[[], int]) -> None:
        self.ports, self.choose = ports, choose
        self.listening = socket.create_server((LOOPBACK, 0))
        self.port = self.listening.getsockname()[1]
        accept_each(self.listening, self._forward)

    def _forward(self, client: socket.socket) -> None:
        node = socket.create_connection((LOOPBACK, self.ports[self.choose()]))
        threading.Thread(target=self._pump, args=(node, client), daemon=True).start()
        self._pump(client, node)

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            target.close()

    def close(self) -> None:
        self.listening.close()


class SpreadTests(SynchronousTestCase):
    """Three nodes behind one address."""

    skip = missing("nginx") or None

    def node_connections(self) -> list[float]:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.metrics}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return [float(each) for each in re.findall(r"(?m)^reusedproxy_pool_node_connections\{.*\} (\S+)", text)]

    def spread(self, word: str) -> tuple[Daemon, Balancer]:
        servers = Servers(self, ("n0", "n1", "n2"))
        balancer = Balancer([each.port for each in servers.by_name.values()], lambda: 0)
        self.addCleanup(balancer.close)
        text = f"backend servers\n    option httpchk GET /who\n    http-check send hdr Host {NAME}\n"
        text += f"    server s {LOOPBACK}:{balancer.port} {servers.words} pool-min-conn {FLOOR} pool-spread {word}\n"
        self.metrics = free_port()
        text += (
            f"frontend metrics\n    bind {LOOPBACK}:{self.metrics}\n    http-request use-service prometheus-exporter\n"
        )
        daemon = Daemon(servers.directory / "daemon", text)
        self.addCleanup(daemon.stop)
        daemon.start()
        wait_for(lambda: int(daemon.server("s")["pool_idle"]) == FLOOR, "the floor", 30)
        return daemon, balancer

    def test_a_floor_at_one_node_comes_to_be_at_all(self) -> None:
        """Told by the certificate, and by a header; it stands all the time."""
        for word in ("cert", "hdr(X-Node)"):
            daemon, balancer = self.spread(word)
            # In vain now and then; by chance it would be so for minutes in one run of fifty.
            balancer.choose = partial(next, cycle((1, 0, 2, 1, 2, 0)))
            least = FLOOR

            def spread(daemon: Daemon = daemon) -> bool:
                nonlocal least
                row = daemon.server("s")
                least = min(least, int(row["pool_idle"]) + int(row["pool_in_use"]))
                return self.node_connections() == [2.0, 2.0, 2.0]

            wait_for(spread, f"two connections at each node, by {word}", 90, every=0.2)
            self.assertEqual(least, FLOOR)
            self.assertIn("its node has more than others", daemon.server("s")["pool_closed"])
            daemon.stop()
