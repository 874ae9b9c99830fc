"""Names that move beside HAProxy: the same answers of a name server make the same states and lines in the log."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.daemon.load import Refused
from reusedproxy.daemon.service import ProxyService
from tests.integration.beside import HAProxy
from tests.integration.daemon import Daemon
from tests.integration.names import NameServerThread, WebServer
from tests.integration.peers import LOOPBACK, missing, temporary_directory, wait_for
from tests.nameserver import NX, REFUSED, SERVFAIL, SILENCE, Data
from tests.ports import free_port

NAME = "app.test"
SERVICE = "_http._tcp.app.test"
SECTION = """\
resolvers dns
    nameserver one {at}
    timeout resolve 300ms
    timeout retry 200ms
    resolve_retries 1
    hold nx 1s
    hold other 1s
    hold refused 1s
    hold timeout 1s
"""
#: Lines about servers, from their beginning to the words that follow from counters.
_LINE = re.compile(r"((?:Server \S+/\S+|\S+/\S+ changed its IP) .*?)(?: \d+ active and .*)?\.?$", re.M)


class Both:
    """Both proxies with the same configuration and the same name server."""

    def __init__(self, test: SynchronousTestCase, zone: dict[str, Data], text: Callable[[str], str]) -> None:
        directory = temporary_directory(test)
        self.proxies: list[Daemon] = []
        self.names: list[NameServerThread] = []
        for kind in (Daemon, HAProxy):
            server = NameServerThread()
            server.zone.records.update(zone)
            test.addCleanup(server.stop)
            proxy = kind(directory / kind.__name__, text(f"{LOOPBACK}:{server.port}"))
            test.addCleanup(proxy.stop)
            self.names.append(server)
            self.proxies.append(proxy)
            proxy.start()

    def answer(self, name: str, data: Data) -> None:
        for server in self.names:
            server.zone.records[name] = data

    def states(self, proxy: Daemon) -> list[tuple[str, str, str]]:
        rows = [row for row in proxy.statistics() if row["svname"].startswith("web")]
        return [(row["svname"], row["status"], row["weight"]) for row in rows]

    def settle(self, words: str, *, counts: Callable[[list[tuple[str, str, str]]], bool]) -> None:
        """Waits until both are as they should be."""
        for proxy in self.proxies:
            wait_for(lambda: counts(self.states(proxy)), f"{words} at {type(proxy).__name__}")  # noqa: B023

    def said(self, proxy: Daemon) -> list[str]:
        """Lines about servers, each once where it goes to several places."""
        lines: list[str] = []
        for line in proxy.output.splitlines():
            found = _LINE.search(line)
            if found and found[1] not in lines[-3:]:
                lines.append(found[1])
        return lines


def up(*numbers: int) -> Callable[[list[tuple[str, str, str]]], bool]:
    """Tells whether these servers are up, and the others in maintenance for their name."""

    def are(states: list[tuple[str, str, str]]) -> bool:
        return all(
            status == ("no check" if int(name.removeprefix("web")) in numbers else "MAINT (resolution)")
            for name, status, _ in states
        )

    return are


def addresses(*numbers: int) -> Data:
    return [("A", f"127.0.0.{number}") for number in numbers]


_DEFAULTS = "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
#: A section's lines, and whether both take them; and those where they differ: ours is the second word.
SECTIONS: list[tuple[str, str]] = [
    ("nameserver x 127.0.0.1:53", "both"),
    ("nameserver x [::1]:53", "both"),
    ("nameserver x ::1:53", "both"),
    ("nameserver x udp@127.0.0.1:53", "both"),
    ("nameserver x udp4@127.0.0.1:53", "both"),
    ("nameserver x tcp@127.0.0.1:53", "both"),
    ("nameserver x localhost:53", "both"),
    ("parse-resolv-conf", "both"),
    ("hold nx 1s\n hold other 1\n hold refused 1m\n hold timeout 0\n hold valid 10s\n hold obsolete 1h", "both"),
    ("timeout resolve 1s\n timeout retry 100ms\n resolve_retries 0\n accepted_payload_size 512", "both"),
    ("nameserver x", "neither"),
    ("nameserver x 127.0.0.1", "neither"),
    ("nameserver x tcp@127.0.0.1", "neither"),
    ("nameserver x nosuch.invalid:53", "neither"),
    ("nameserver x unix@/tmp/a", "neither"),
    ("nameserver x 127.0.0.1:53-55", "neither"),
    ("nameserver x/y 127.0.0.1:53", "neither"),
    ("nameserver x 127.0.0.1:53\n nameserver x 127.0.0.2:53", "neither"),
    ("hold", "neither"),
    ("hold nx", "neither"),
    ("hold nx abc", "neither"),
    ("hold foo 1s", "neither"),
    ("timeout", "neither"),
    ("timeout foo 1s", "neither"),
    ("timeout retry", "neither"),
    ("timeout resolve abc", "neither"),
    ("resolve_retries", "neither"),
    ("accepted_payload_size", "neither"),
    ("accepted_payload_size 11", "neither"),
    ("accepted_payload_size 65536", "neither"),
    ("accepted_payload_size abc", "neither"),
    ("no parse-resolv-conf", "neither"),
    ("foo bar", "neither"),
    # What is cut off, or means nothing, is refused here.
    ("nameserver x *:53", "theirs"),
    ("nameserver x 127.0.0.1:53 maxconn 1", "theirs"),
    ("nameserver x tcp@127.0.0.1:53 maxconn 1", "theirs"),
    ("hold nx 1s extra", "theirs"),
    ("timeout retry 0", "theirs"),
    ("timeout resolve 1s extra", "theirs"),
    ("resolve_retries abc", "theirs"),
]
#: Lines of a backend.
LINES: list[tuple[str, str]] = [
    ("server s foo.invalid:80 resolvers a", "both"),
    ("server s foo.invalid:80 resolvers default", "both"),
    ("server s foo.invalid:80 init-addr none", "both"),
    ("server s foo.invalid:80 init-addr last,libc,none", "both"),
    ("server s foo.invalid:80 init-addr last,libc,192.0.2.1", "both"),
    ("server s 192.0.2.1:80 init-addr none resolve-prefer ipv4 resolve-net 10.0.0.0/8,::1/64", "both"),
    ("server s 192.0.2.1:80 resolve-opts allow-dup-ip,ignore-weight,prevent-dup-ip", "both"),
    ("server s _http._tcp.foo.invalid resolvers a", "both"),
    ("server-template x 3 _http._tcp.foo.invalid:80 resolvers a init-addr none check", "both"),
    ("server-template x 3 192.0.2.1:80", "both"),
    ("server-template x 7-9 foo.invalid:80 init-addr none", "both"),
    ("server s foo.invalid:80", "neither"),
    ("server s foo.invalid:80 init-addr last", "neither"),
    ("server s foo.invalid:80 resolvers nosuch", "neither"),
    ("server s foo.invalid:80 init-addr 192.0.2.1,192.0.2.2", "neither"),
    ("server s foo.invalid:80 init-addr foo", "neither"),
    ("server s foo.invalid:80 init-addr " + ",".join(["none"] * 11), "neither"),
    ("server s foo.invalid:80 init-addr none resolve-prefer ipv5", "neither"),
    ("server s foo.invalid:80 init-addr none resolve-opts foo", "neither"),
    ("server s foo.invalid:80 init-addr none resolve-net foo", "neither"),
    ("server s foo.invalid:80 init-addr none resolve-net " + ",".join(["10.0.0.1"] * 6), "neither"),
    ("server s _http._tcp.foo.invalid", "neither"),
    ("server-template x", "neither"),
    ("server-template x 3", "neither"),
    *(
        (f"server-template x {count} foo.invalid:80 init-addr none", "neither")
        for count in ("0", "3-1", "abc", "-1", "1-")
    ),
    ("server-template s/ 3 foo.invalid:80 init-addr none", "neither"),
    ("server x1 192.0.2.1:80\n server-template x 3 foo.invalid:80 init-addr none", "neither"),
    ("server-template z 1-2-3 foo.invalid:80 init-addr none", "theirs"),
    ("server s foo.invalid init-addr none", "both"),
]


class SyntaxTests(SynchronousTestCase):
    """What each takes, and refuses."""

    skip = missing("haproxy") or None

    def setUp(self) -> None:
        self.file = temporary_directory(self) / "names.cfg"

    def judged(self, text: str) -> str:
        """Returns who takes it."""
        self.file.write_text(text)
        command = ["haproxy", "-c", "-f", str(self.file)]
        theirs = subprocess.run(command, check=False, capture_output=True, timeout=60).returncode == 0
        try:
            ProxyService(Clock(), [str(self.file)]).assemble(bind=False)
            ours = True
        except Refused:
            ours = False
        return {(True, True): "both", (False, False): "neither", (True, False): "theirs"}.get((theirs, ours), "ours")

    def test_lines_of_a_section(self) -> None:
        frontend = f"{_DEFAULTS}frontend f\n bind 127.0.0.1:{free_port()}\n default_backend b\nbackend b\n"
        for lines, expected in SECTIONS:
            text = f"resolvers a\n {lines}\n{frontend} server s foo.invalid:1 resolvers a init-addr none\n"
            self.assertEqual(self.judged(text), expected, lines)

    def test_lines_of_a_backend(self) -> None:
        head = f"resolvers a\n nameserver x 127.0.0.1:53\n{_DEFAULTS}frontend f\n bind 127.0.0.1:{free_port()}\n"
        for lines, expected in LINES:
            self.assertEqual(self.judged(f"{head} default_backend b\nbackend b\n {lines}\n"), expected, lines)

    def test_heads_of_sections(self) -> None:
        rest = f"{_DEFAULTS}frontend f\n bind 127.0.0.1:{free_port()}\n default_backend b\nbackend b\n"
        rest += " server s 192.0.2.1:1\n"
        for head, expected in (("resolvers a", "both"), ("resolvers", "neither"), ("resolvers a/b", "neither")):
            self.assertEqual(self.judged(f"{head}\n{rest}"), expected, head)
        self.assertEqual(self.judged(f"resolvers a\nresolvers a\n{rest}"), "neither")


class NamesBesideTests(SynchronousTestCase):
    skip = missing("haproxy") or None

    def setUp(self) -> None:
        self.port = free_port()
        for number in range(2, 6):
            self.addCleanup(WebServer(f"127.0.0.{number}", self.port).stop)

    def config(self, line: str) -> Callable[[str], str]:
        return lambda at: f"{SECTION.format(at=at)}backend servers\n    balance roundrobin\n    {line}\n"

    def test_one_server_whose_name_comes_and_goes(self) -> None:
        """Word for word the same, in the same order."""
        line = f"server web1 {NAME}:{self.port} resolvers dns resolve-prefer ipv4 init-addr none"
        both = Both(self, {NAME: NX}, self.config(line))
        both.settle("no name", counts=up())
        for data in (
            addresses(2),
            NX,
            addresses(3),
            SERVFAIL,
            addresses(3),
            REFUSED,
            addresses(4),
            SILENCE,
            addresses(2),
        ):
            both.answer(NAME, data)
            both.settle(str(data), counts=up() if isinstance(data, str) else up(1))
            time.sleep(0.5)
        ours, theirs = map(both.said, both.proxies)
        self.assertEqual(ours, theirs)
        self.assertGreater(len(theirs), 15)

    def test_servers_of_a_template(self) -> None:
        """As many are up, and in maintenance, after each answer; which of them has which address may differ."""
        line = f"server-template web 3 {NAME}:{self.port} resolvers dns resolve-prefer ipv4 init-addr none"
        both = Both(self, {NAME: addresses(2, 3)}, self.config(line))
        for numbers in ((2, 3), (2, 3, 4), (3, 4), (4,), (5,), (2, 3, 4, 5)):
            both.answer(NAME, addresses(*numbers))
            want = min(3, len(numbers))
            both.settle(str(numbers), counts=lambda states: sum(each[1] == "no check" for each in states) == want)  # noqa: B023
            time.sleep(0.7)
            ours, theirs = map(both.states, both.proxies)
            self.assertEqual(sorted(each[1] for each in ours), sorted(each[1] for each in theirs))

    def test_services(self) -> None:
        """SRV records, with the addresses of their hosts or without: states and weights."""
        line = f"server-template web 3 {SERVICE} resolvers dns resolve-prefer ipv4 init-addr none"
        zone = {"a.test": addresses(2), "b.test": addresses(3), SERVICE: NX}
        both = Both(self, zone, self.config(line))

        def records(*services: tuple[str, str]) -> Data:
            return [("SRV", host, str(self.port), weight) for host, weight in services]

        for services in ((("a.test", "1"),), (("a.test", "512"), ("b.test", "65535")), (("b.test", "256"),)):
            both.answer(SERVICE, records(*services))
            weights = sorted(str((int(weight) + 255) // 256) for _, weight in services)

            def right(states: list[tuple[str, str, str]]) -> bool:
                return sorted(each[2] for each in states if each[1] == "no check") == weights  # noqa: B023

            both.settle(str(services), counts=right)
        both.answer(SERVICE, NX)
        both.settle("no service", counts=up())
