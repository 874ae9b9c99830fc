"""Words of the configuration through reusedproxy and through HAProxy: the same lines, requests and servers, and the
same answers, ends and requests at the server."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from unittest import TestCase

from tests.integration.beside import HOST, HAProxy
from tests.integration.daemon import Daemon
from tests.integration.peers import temporary_directory, wait_for
from tests.integration.test_beside_haproxy import why_not
from tests.integration.wordcases import Case, Server, both
from tests.ports import free_port

GET = b"GET /a HTTP/1.1\r\nHost: a.example\r\n\r\n"


class WordsTestCase(TestCase):
    def setUp(self) -> None:
        if reason := why_not():
            self.skipTest(reason)

    def same(self, cases: list[Case], settings: str = "") -> None:
        outcomes = both(temporary_directory(self), cases, settings)
        self.assertEqual([], [each for each in outcomes if each[1] != each[2]], "ours | HAProxy's")

    def daemons(self, directory: Path, text: str) -> list[Daemon]:
        made = [make(directory / name, text) for name, make in (("ours", Daemon), ("theirs", HAProxy))]
        for daemon in made:
            self.addCleanup(daemon.stop)
        return made


class SocketTests(WordsTestCase):
    """What `bind` and `server` lines say of sockets."""

    def test_unix_bind_says_where_unix_sockets_are_and_who_may_connect(self) -> None:
        directory = temporary_directory(self)
        for daemon in self.daemons(directory, ""):
            at = daemon.file.parent
            daemon.write(
                f"backend servers\n http-request return status 200 content-type text/plain string x\n"
                f"global\n unix-bind prefix {at}/ mode 640 gid {os.getgid()}\n"
                "listen own\n bind unix@one.sock\n bind unix@two.sock mode 606\n default_backend servers\n"
            )
            daemon.start()
            wait_for((at / "two.sock").exists, "the sockets")
            modes = [oct((at / name).stat().st_mode & 0o777) for name in ("one.sock", "two.sock")]
            self.assertEqual(["0o640", "0o606"], modes)
            daemon.stop()

    def test_either_reaches_the_other_by_a_name_in_the_abstract_namespace(self) -> None:
        directory = temporary_directory(self)
        name = f"reusedproxy-{free_port()}"
        text = "backend servers\n server s abns@{}\n"
        own = "backend own\n http-request return status 200 content-type text/plain string {}\n"
        listens = own + "frontend named\n bind abns@{}\n default_backend own\n"
        for listening, asking in ((Daemon, HAProxy), (HAProxy, Daemon)):
            here = directory / listening.__name__
            one = listening(here / "one", text.format("nobody") + listens.format(listening.__name__, name))
            other = asking(here / "other", text.format(name))
            for daemon in (one, other):
                self.addCleanup(daemon.stop)
                daemon.start()
            with socket.create_connection(("127.0.0.1", other.port), timeout=5) as client:
                client.sendall(GET)
                self.assertTrue(client.recv(4096).endswith(listening.__name__.encode()))
            other.stop()
            one.stop()

    def test_a_server_without_a_port_has_that_of_the_client_and_one_with_a_sign_is_beside_it(self) -> None:
        """In both modes; an address that is everybody's is that to which the client has connected."""
        servers = [Server(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % number) for number in range(2)]
        for server in servers:
            self.addCleanup(server.stop)
            server.start()
        one, two = (server.port for server in servers)
        # What is said, the address and port of the proxy (the servers are at HOST), and whose answer comes.
        free = free_port()
        cases = [
            (HOST, "127.0.0.3", one, b"0"),
            (f"{HOST}:{two - one:+d}", "127.0.0.3", one, b"1"),
            (f"*:{two}", HOST, free, b"1"),
            (f"0.0.0.0:{one - free:+d}", HOST, free, b"0"),
        ]
        for mode in ("http", "tcp"):
            for address, host, port, expected in cases:
                text = f"backend servers\nlisten l\n mode {mode}\n bind {host}:{port}\n server s {address}\n"
                answers = []
                for daemon in self.daemons(temporary_directory(self), text):
                    daemon.start()
                    with socket.create_connection((host, port), timeout=5) as client:
                        client.sendall(GET)
                        answers.append(client.recv(4096)[-1:])
                    daemon.stop()
                self.assertEqual([expected, expected], answers, (mode, address))
