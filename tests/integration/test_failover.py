"""Servers that are killed and come back, one after the other, while clients that close go on asking.

`REUSEDPROXY_FAILOVERS` in the environment says how often (3).
"""

from __future__ import annotations

import http.client
import os
import threading
import time
from collections import Counter

import pytest
from attrs import Factory, define
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.demo.certificates import Authority
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, Nginx, missing, temporary_directory, wait_for

NAME = "server.test"
SERVERS = ("s0", "s1", "s2")
TIMES = int(os.environ.get("REUSEDPROXY_FAILOVERS", "3"))
FLOOR = 4


@define
class Load:
    """Clients, each of which connects, asks and closes, and then the next one. `answers` are by server, `failed` says
    what else came. With `cookies` a client brings what it was given, as long as it lives."""

    port: int
    cookies: bool = False
    answers: Counter[str] = Factory(Counter)
    failed: list[str] = Factory(list)
    #: A client's server, where that changed though the one before was there: from, to.
    moved: list[tuple[str, str]] = Factory(list)
    #: Servers that are out of service now.
    away: set[str] = Factory(set)
    _stopping: threading.Event = Factory(threading.Event)
    _threads: list[threading.Thread] = Factory(list)

    def start(self, clients: int) -> None:
        for _ in range(clients):
            thread = threading.Thread(target=self._run)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self) -> None:
        cookie, served = "", ""
        while not self._stopping.is_set():
            try:
                headers = {"Connection": "close"} | ({"Cookie": cookie} if cookie else {})
                client = http.client.HTTPConnection(LOOPBACK, self.port, timeout=20)
                client.request("GET", "/who", headers=headers)
                answer = client.getresponse()
                server = answer.read().decode()
                client.close()
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
                continue
            if answer.status != 200:
                self.failed.append(f"{answer.status} {server[:60]!r}")
                continue
            self.answers[server] += 1
            if self.cookies:
                given = answer.getheader("Set-Cookie")
                if served and server != served and served not in self.away:
                    self.moved.append((served, server))
                cookie, served = (given.split(";")[0] if given else cookie), server
            time.sleep(0.02)


@pytest.mark.alone
class FailoverTests(SynchronousTestCase):
    """Three servers over mutual TLS, with a floor and checks."""

    skip = missing("nginx") or None

    def setUp(self) -> None:
        directory = temporary_directory(self)
        authority = Authority("test CA")
        ca = authority.write(directory / "ca.pem")
        ours = authority.issue("proxy", client=True).write(directory / "proxy.pem")
        self.servers: dict[str, Nginx] = {}
        for name in SERVERS:
            who = f"location = /who {{ return 200 {name}; }}"
            certificate = authority.issue(NAME, hosts=[NAME])
            server = Nginx(directory / name, authority, certificate, extra_server=who)
            self.addCleanup(server.stop)
            server.start()
            self.servers[name] = server
        self.words = (
            f"ssl ca-file {ca} crt {ours} sni str({NAME}) check inter 1s fastinter 200ms downinter 200ms fall 2 rise 2"
            f" pool-min-conn {FLOOR}"
        )
        self.directory = directory

    def proxy(self, lines: str) -> Daemon:
        text = f"backend servers\n    balance roundrobin\n    option httpchk GET /who\n    option redispatch\n{lines}"
        for name, server in self.servers.items():
            text += f"    server {name} {LOOPBACK}:{server.port} {self.words} cookie {name}\n"
        self.daemon = daemon = Daemon(self.directory / "daemon", text)
        self.addCleanup(daemon.stop)
        daemon.start()
        for name in SERVERS:
            self.comes(name)
        return daemon

    def comes(self, name: str) -> None:
        """It is UP, and its floor stands."""

        def stands() -> bool:
            row = self.daemon.server(name)
            return row["status"].startswith("UP") and int(row["pool_idle"]) + int(row["pool_in_use"]) >= FLOOR

        wait_for(stands, f"{name} to be UP with its floor", 30)

    def cold(self) -> int:
        """Handshakes on the request path so far."""
        return sum(int(self.daemon.server(name)["pool_handshakes_request_path"]) for name in SERVERS)

    def goes_and_comes(self, load: Load, name: str) -> None:
        load.away.add(name)
        self.servers[name].stop()
        wait_for(lambda: self.daemon.server(name)["status"].startswith("DOWN"), f"{name} to be DOWN", 30)
        self.servers[name].start()
        self.comes(name)

    def load(self, daemon: Daemon, cookies: bool = False) -> Load:
        load = Load(daemon.port, cookies)
        self.addCleanup(load.stop)
        load.start(4)
        return load

    def settles(self, load: Load, name: str) -> None:
        """After its return no request waits for a handshake, and each server has its share."""
        cold, before = self.cold(), load.answers.copy()
        wait_for(lambda: sum(load.answers.values()) - sum(before.values()) >= 120, f"requests after {name} is back", 60)
        shares = load.answers - before
        self.assertEqual(self.cold() - cold, 0, name)
        self.assertLessEqual(max(shares.values()) - min(shares[each] for each in SERVERS), 12, (name, shares))

    def test_no_request_is_lost_when_one_is_killed_and_comes_back(self) -> None:
        """Nor does any wait for a handshake once it is back; all have their shares again."""
        load = self.load(self.proxy(""))
        for number in range(TIMES):
            name = SERVERS[number % 3]
            self.goes_and_comes(load, name)
            load.away.discard(name)
            self.settles(load, name)
        load.stop()
        self.assertEqual(load.failed, [])
        self.assertGreater(sum(load.answers.values()), 100 * TIMES)

    def test_clients_stay_at_the_server_of_their_cookie(self) -> None:
        """Through a rolling restart; only those whose server is away go to another, and none gets an error."""
        load = self.load(self.proxy("    cookie S insert indirect nocache\n"), cookies=True)
        for number in range(TIMES):
            name = SERVERS[number % 3]
            self.goes_and_comes(load, name)
            seen = sum(load.answers.values())
            wait_for(lambda seen=seen: sum(load.answers.values()) - seen > 60, "requests", 60)  # type: ignore[misc]
            load.away.discard(name)
        load.stop()
        self.assertEqual((load.failed, load.moved), ([], []))
