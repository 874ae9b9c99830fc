"""Names that move, in reality: a name server whose answers change under load, and web servers that come and go."""

from __future__ import annotations

import http.client
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.demo.certificates import Authority
from tests.integration.daemon import Daemon
from tests.integration.names import NameServerThread, WebServer
from tests.integration.peers import LOOPBACK, missing, temporary_directory, wait_for
from tests.nameserver import NX, REFUSED, SERVFAIL, SILENCE, Data
from tests.ports import free_port

NAME = "app.test"
ROOT = Path(__file__).resolve().parents[2]

RESOLVERS = """\
resolvers dns
    nameserver one {at}
    timeout resolve 200ms
    timeout retry 100ms
    resolve_retries 1
    {more}
"""


class Load:
    """Clients that ask again and again, half of them on connections that they keep, until `stop`."""

    def __init__(self, port: int, clients: int = 4) -> None:
        self.answers: list[tuple[float, int, str]] = []
        self._port = port
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number % 2 == 0,)) for number in range(clients)]
        for thread in self._threads:
            thread.start()

    def _ask(self, keep: bool) -> None:
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=10)
        while not self._over.wait(0.005):
            status, body = 0, ""
            try:
                connection.request("GET", "/")
                response = connection.getresponse()
                status, body = response.status, response.read().decode()
            except OSError as error:
                body = repr(error)
            self.answers.append((time.monotonic(), status, body))
            if not keep or not status:
                connection.close()
        connection.close()

    def since(self, began: float) -> set[str]:
        return {body for at, _, body in self.answers if at >= began}

    def stop(self) -> list[tuple[float, int, str]]:
        """Returns all answers."""
        self._over.set()
        for thread in self._threads:
            thread.join(20)
        return self.answers


def addresses(*numbers: int) -> Data:
    return [("A", f"127.0.0.{number}") for number in numbers]


class NamesTestCase(SynchronousTestCase):
    """A daemon whose servers have a name, and web servers at addresses of this machine."""

    def setUp(self) -> None:
        self.directory = temporary_directory(self)
        self.port = free_port()
        self.webs: dict[int, WebServer] = {}

    def nameserver(self, stream: bool = False) -> NameServerThread:
        server = NameServerThread(stream=stream)
        self.addCleanup(server.stop)
        return server

    def web(self, *numbers: int) -> None:
        """Has web servers stand at these addresses, and at no others."""
        for number in [*self.webs]:
            if number not in numbers:
                self.webs.pop(number).stop()
        for number in numbers:
            if number not in self.webs:
                self.webs[number] = web = WebServer(f"127.0.0.{number}", self.port)
                self.addCleanup(web.stop)

    def daemon(self, text: str) -> Daemon:
        daemon = Daemon(self.directory / "daemon", text)
        self.addCleanup(daemon.stop)
        return daemon

    def resolvers(self, server: NameServerThread, more: str = "", prefix: str = "") -> str:
        return RESOLVERS.format(at=f"{prefix}{LOOPBACK}:{server.port}", more=more)

    def backend(self, words: str = "", count: int = 4, host: str = NAME, balance: str = "roundrobin") -> str:
        port = "" if host.startswith("_") else f":{self.port}"
        line = f"server-template web {count} {host}{port} resolvers dns resolve-prefer ipv4 init-addr none {words}"
        return f"backend servers\n    balance {balance}\n    option redispatch\n    {line}\n"

    def states(self, daemon: Daemon) -> list[str]:
        return [row["status"] for row in daemon.statistics() if row["svname"].startswith("web")]


class LoadTests(NamesTestCase):
    """Answers change while clients ask."""

    def test_no_request_fails_while_one_address_is_good(self) -> None:
        """Addresses come and go, the server behind one that has gone is stopped, names cease to exist, name servers
        fail, refuse and fall silent. No request meets a new address cold."""
        names = self.nameserver()
        names.zone.records[NAME] = addresses(2)
        self.web(2)
        daemon = self.daemon(self.resolvers(names) + self.backend("pool-min-conn 4"))
        daemon.start()
        wait_for(lambda: "no check" in self.states(daemon), "the first address")
        load = Load(daemon.port)
        try:
            now: tuple[int, ...] = (2,)
            steps: list[tuple[int, ...] | str] = [
                (2, 3), (3, 4), NX, (4, 5), SERVFAIL, (5,), (2, 3, 4, 5), SILENCE, (3,), REFUSED, (4, 2), (2,)
            ]  # fmt: skip
            for step in steps:
                if isinstance(step, str):
                    names.zone.records[NAME] = step
                    time.sleep(0.6)
                    self.assertLessEqual(load.since(time.monotonic() - 0.2), {f"127.0.0.{each}" for each in now})
                    continue
                self.web(*{*now, *step})
                names.zone.records[NAME] = addresses(*step)
                expected = {f"127.0.0.{each}" for each in step}
                wait_for(lambda: load.since(time.monotonic() - 0.2) == expected, f"the addresses {step}")  # noqa: B023
                now = step
                self.web(*now)
        finally:
            answers = load.stop()
        self.assertEqual([each for each in answers if each[1] != 200], [])
        self.assertGreater(len(answers), 200)
        columns = [daemon.server(f"web{number}") for number in range(1, 5)]
        self.assertEqual([each["econ"] for each in columns], ["0"] * 4)
        self.assertEqual([each["pool_dials_request_path"] for each in columns], ["0"] * 4)
        for words in (
            "servers/web1 changed its IP from (none) to 127.0.0.2 by dns/one.",
            "('app.test') is UP/READY (resolves again).",
            "is going DOWN for maintenance (No IP for server).",
        ):
            self.assertIn(words, daemon.output)

    def test_one_server_that_moves_loses_nothing(self) -> None:
        """A cloud's load balancer, whose address changes."""
        names = self.nameserver()
        names.zone.records[NAME] = addresses(2)
        self.web(2)
        daemon = self.daemon(self.resolvers(names) + self.backend(count=1))
        daemon.start()
        wait_for(lambda: self.states(daemon) == ["no check"], "the first address")
        load = Load(daemon.port)
        try:
            for before, number in ((2, 3), (3, 4), (4, 2)):
                self.web(before, number)
                names.zone.records[NAME] = addresses(number)
                expected = {f"127.0.0.{number}"}
                wait_for(lambda: load.since(time.monotonic() - 0.2) == expected, f"the address {number}")  # noqa: B023
                self.web(number)
        finally:
            answers = load.stop()
        self.assertEqual([each for each in answers if each[1] != 200], [])

    def test_a_server_that_is_given_another_name_loses_nothing(self) -> None:
        """By `set server … fqdn`; a reload and another process keep the name."""
        names = self.nameserver()
        names.zone.records.update({NAME: addresses(2), "other.test": addresses(3)})
        self.web(2, 3)
        path = self.directory / "admin.sock"
        orders = f"global\n    stats socket {path} level admin expose-fd listeners\n"
        text = self.resolvers(names) + self.backend("pool-min-conn 2", count=1) + orders
        daemon = self.daemon(text)
        daemon.start()
        wait_for(lambda: self.states(daemon) == ["no check"], "the first address")
        load = Load(daemon.port)

        def is_there(seconds: float = 0.2) -> bool:
            return load.since(time.monotonic() - seconds) == {"127.0.0.3"}

        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(b"set server servers/web1 fqdn other.test\n")
                self.assertIn(b"changed its FQDN from app.test to other.test", client.recv(1000))
            wait_for(is_there, "the address of the other name")
            daemon.write(text.replace("balance", "retries 2\n    balance"))
            daemon.signal(signal.SIGHUP)
            wait_for(
                lambda: daemon.has_said("follows the name other.test, as was ordered before the reload"), "a reload"
            )
            new = Daemon(self.directory / "new", text)
            self.addCleanup(new.stop)
            new.port, new.stats_port, new.more = daemon.port, daemon.stats_port, ["--replace"]
            new.write(text)
            new.start()
            wait_for(lambda: new.has_said("has taken the place of process"), "the new process", 40)
            self.assertIn("follows the name other.test, as was ordered in the process before", new.output)
            wait_for(lambda: is_there(0.5), "its requests", 20)
            self.web(3)
            time.sleep(0.5)
        finally:
            answers = load.stop()
        self.assertEqual([each for each in answers if each[1] != 200], [])
        self.assertNotIn("Traceback", daemon.output + new.output)

    def test_no_handshake_is_on_the_way_of_a_request(self) -> None:
        """Mutual TLS, without a floor, and the name that a certificate must carry is the Host of each request. An
        impostor at an address that the name server tells gets no request."""
        authority = Authority("test CA")
        authority.write(self.directory / "ca.pem")
        authority.issue("client", client=True).write(self.directory / "client.pem")

        def context(name: str) -> ssl.SSLContext:
            made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            made.load_cert_chain(authority.issue(name, hosts=[name]).write(self.directory / f"{name}.pem"))
            made.load_verify_locations(self.directory / "ca.pem")
            made.verify_mode = ssl.CERT_REQUIRED
            return made

        for number, name in ((2, LOOPBACK), (3, LOOPBACK), (4, LOOPBACK), (5, "impostor.test")):
            self.webs[number] = web = WebServer(f"127.0.0.{number}", self.port, context(name))
            self.addCleanup(web.stop)
        names = self.nameserver()
        names.zone.records[NAME] = addresses(2)
        tls = f"ssl verify required ca-file {self.directory}/ca.pem crt {self.directory}/client.pem"
        daemon = self.daemon(self.resolvers(names) + self.backend(tls, count=2))
        daemon.start()
        wait_for(lambda: "no check" in self.states(daemon), "the first address")
        load = Load(daemon.port, clients=1)
        try:
            wait_for(lambda: load.since(0) == {"127.0.0.2"}, "answers")
            began = [daemon.pool(f"web{number}", "handshakes_request_path")[0] for number in (1, 2)]
            for numbers in ((2, 3), (3, 4), (2, 4)):
                names.zone.records[NAME] = addresses(*numbers)
                expected = {f"127.0.0.{number}" for number in numbers}
                wait_for(lambda: load.since(time.monotonic() - 0.3) == expected, f"the addresses {numbers}")  # noqa: B023
            ended = [daemon.pool(f"web{number}", "handshakes_request_path")[0] for number in (1, 2)]
            names.zone.records[NAME] = addresses(2, 5)
            time.sleep(1.5)
        finally:
            answers = load.stop()
        self.assertEqual([each for each in answers if each[1] != 200], [])
        self.assertEqual(began, ended)
        self.assertEqual(self.webs[5].served, 0)

    def test_a_reload_keeps_the_addresses(self) -> None:
        """Though the name servers are silent at that moment."""
        names = self.nameserver()
        names.zone.records[NAME] = addresses(2, 3)
        self.web(2, 3)
        text = self.resolvers(names) + self.backend("pool-min-conn 2", count=2)
        daemon = self.daemon(text)
        daemon.start()
        wait_for(lambda: self.states(daemon) == ["no check"] * 2, "both addresses")
        load = Load(daemon.port)
        try:
            names.zone.records[NAME] = SILENCE
            daemon.write(text + f"backend more\n    server one {LOOPBACK}:1\n")
            daemon.signal(signal.SIGHUP)
            wait_for(lambda: daemon.has_said("2 of 3 pools kept as they are"), "the reload")
            time.sleep(0.5)
            self.assertEqual(self.states(daemon), ["no check"] * 2)
            names.zone.records[NAME] = addresses(3, 4)
            self.web(2, 3, 4)
            expected = {"127.0.0.3", "127.0.0.4"}
            wait_for(lambda: load.since(time.monotonic() - 0.2) == expected, "the new address")
        finally:
            answers = load.stop()
        self.assertEqual([each for each in answers if each[1] != 200], [])


class KindTests(NamesTestCase):
    """Other ways to ask, and other answers."""

    def test_name_servers_are_asked_over_tcp(self) -> None:
        """All questions go on one connection."""
        names = self.nameserver(stream=True)
        names.zone.records[NAME] = addresses(2)
        self.web(2)
        daemon = self.daemon(self.resolvers(names, prefix="tcp@") + self.backend(count=1))
        daemon.start()
        wait_for(lambda: self.states(daemon) == ["no check"], "the address")
        asked = len(names.zone.asked)
        wait_for(lambda: len(names.zone.asked) > asked + 3, "more questions")
        self.assertEqual(names.connections, 1)

    def test_many_names(self) -> None:
        """Questions and answers go on side by side, each round from new ports."""
        names = self.nameserver()
        self.web(2)
        lines = ["backend servers"]
        for number in range(150):
            names.zone.records[f"a{number}.test"] = addresses(2)
            lines.append(f"    server web{number} a{number}.test:{self.port} resolvers dns init-addr none")
        daemon = self.daemon(self.resolvers(names) + "\n".join(lines) + "\n")
        daemon.start()
        wait_for(lambda: self.states(daemon) == ["no check"] * 150, "150 servers")
        asked = len(names.zone.asked)
        wait_for(lambda: len(names.zone.asked) > asked + 1000, "1000 more questions")
        self.assertNotIn("Traceback", daemon.output)

    def test_services_have_ports_and_weights(self) -> None:
        """As Consul and Kubernetes answer; a weight of 0 takes no new request."""
        names = self.nameserver()
        self.web(2, 3)
        service = "_http._tcp.app.test"
        names.zone.records[service] = [
            ("SRV", "a.app.test", str(self.port), "256"), ("SRV", "b.app.test", str(self.port), "768"),
            ("A", "127.0.0.2", "of", "a.app.test"),
        ]  # fmt: skip
        names.zone.records["b.app.test"] = addresses(3)
        daemon = self.daemon(self.resolvers(names) + self.backend(host=service, count=3))
        daemon.start()
        wait_for(lambda: self.states(daemon).count("no check") == 2, "two services")
        self.assertIn("MAINT (resolution)", self.states(daemon))
        load = Load(daemon.port)
        wait_for(lambda: len(load.answers) >= 200, "200 answers")
        bodies = [body for _, _, body in load.stop()][:200]
        self.assertApproximates(bodies.count("127.0.0.3") / len(bodies), 0.75, 0.02)


class ExampleTests(SynchronousTestCase):
    """etc/examples/*.cfg"""

    def test_each_passes_a_check(self) -> None:
        """Without the network that it is for, nor the directory of sockets that systemd makes; and no word is idle."""
        examples = sorted((ROOT / "etc" / "examples").glob("*.cfg"))
        self.assertGreaterEqual(len(examples), 4)
        directory = temporary_directory(self)
        for original in examples:
            example = directory / original.name
            example.write_text(original.read_text().replace("/run/reusedproxy", str(directory)))
            command = [sys.executable, "-m", "reusedproxy", "--check", "--config", str(example)]
            ended = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)
            self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
            for level in ("[WARNING]", "[NOTICE]"):
                self.assertNotIn(level, ended.stdout + ended.stderr)

    def test_haproxy_takes_each_too(self) -> None:
        """What it does not know stands between `.if defined(REUSEDPROXY)` and `.endif`."""
        if why := missing("haproxy"):
            raise SkipTest(why)
        for example in sorted((ROOT / "etc" / "examples").glob("*.cfg")):
            command = ["haproxy", "-c", "-f", str(example)]
            ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
            self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
            self.assertNotIn("[WARNING]", ended.stderr)
