"""The runtime API of reusedproxy and of HAProxy with the same configuration: the same answers; and what only the
running daemon shows: reloads, hostile clients, and Debian's own configuration."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import time
from pathlib import Path
from unittest import TestCase

from reusedproxy.operators.runtime.commands import COMMANDS, UNLISTED
from tests.integration.beside import HAProxy, haproxy_version
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, temporary_directory, wait_for

STOCK = Path("/etc/haproxy/haproxy.cfg")

TEXT = """
backend servers
    server s1 {host}:1 weight 10 maxconn 20
    server s2 {host}:2 weight 20 disabled
    server s3 {host}:3 backup check inter 60s fall 1
backend static
    balance static-rr
    server s1 {host}:1 weight 10
    server t3 {host}:2 track servers/s3
backend named
    server n1 foo.invalid:1 resolvers dns init-addr none
    server n2 _http._tcp.foo.invalid resolvers dns init-addr none
    server n3 {host}:1
    server n4 {host}:4 resolvers dns
backend asked
    server s4 {host}:4 agent-check agent-port 5 agent-inter 60s
frontend other
    bind {d}/other.client.sock
    default_backend static
resolvers dns
    nameserver ns {host}:9
ring lines
    size 32768
global
    log ring@lines format raw daemon emerg
    stats socket {d}/admin.sock mode 600 level admin
    stats socket {d}/operator.sock mode 660
    stats socket {d}/user.sock mode 666 level user
    stats timeout 1s
    stats maxconn 4
    set-var proc.n int(200),sub(proc.none)
    set-var-fmt proc.bootid "%[var(proc.n)]|%H"
"""

#: Variables, each with what shows it; the end of the line differs between HAProxy's versions.
VARIABLES = (
    "int(-5)",
    "str(a)",
    "str()",
    "bin(4100ff42)",
    "ipv4(10.0.0.1)",
    "ipv6(::1)",
    "meth(GET)",
    "bool(true)",
    "var(proc.bootid)",
    "str(a),length",
    "str(é)",
    "fmt a\\ b%[var(proc.n)]",
    "expr str(a),upper",
)

#: Those whose answer is the same to the byte, in this order.
ORDERS = (
    "get weight servers/s1",
    "set weight servers/s1 50%",
    "get weight servers/s1",
    "set weight servers/s1 0",
    "get weight servers/s1",
    "set server servers/s1 weight 300%",
    "get weight servers/s1",
    "set weight servers/s1 100%",
    "set weight servers/s1 257",
    "set weight servers/s1 -1",
    "set weight servers/s1 -1%",
    "set weight servers/s1 x",
    "set weight servers/s1 5x",
    "set weight servers/s1 5%x",
    "set weight servers/s1",
    "set weight static/s1 5",
    "set weight static/s1 50%",
    "set server static/s1 weight 11",
    "get weight static/s1",
    "set weight static/s1 0",
    "get weight static/s1",
    "set weight static/s1 100%",
    "set weight servers/no 5",
    "set weight servers",
    "set weight",
    "set server",
    "set server servers/s1 state",
    "set server servers/s1 state no",
    "set server servers/no state ready",
    "set server no/s1 state ready",
    "set server servers/s2 state ready",
    "set server servers/s1",
    "set server servers/s1 health",
    "set server static/t3 health up",
    "set server servers/s3 health stopping",
    "set server servers/s3 health up",
    "set server servers/s1 agent up",
    "set server servers/s1 agent-send x",
    "set server servers/s1 agent-port 5",
    "set server asked/s4 agent",
    "set server asked/s4 agent up",
    "set server asked/s4 agent-addr",
    "set server asked/s4 agent-addr 127.0.0.2 port x",
    "set server asked/s4 agent-addr 127.0.0.2 port 5",
    "set server asked/s4 agent-port",
    "set server asked/s4 agent-port 70000",
    "set server asked/s4 agent-send hello",
    "set server servers/s1 check-port 5",
    "set server servers/s3 check-addr",
    "set server servers/s3 check-addr no.invalid",
    "set server servers/s3 check-port",
    "set server servers/s3 check-port x",
    "set server servers/s3 check-addr 127.0.0.2 port 5",
    "set server servers/s3 check-port -1",
    "set server servers/s3 check-port 0",
    "set server servers/s1 ssl on",
    "show sess 0x12",
    "set server servers/s1 state drain",
    "set server servers/s1 state maint",
    "set server servers/s1 state ready",
    "disable server servers/s1",
    "enable server servers/s1",
    "disable server",
    "enable server no/s1",
    "disable health",
    "disable health servers/s1",
    "enable health servers/s1",
    "enable health servers/no",
    "disable health servers/s3",
    "enable health servers/s3",
    "disable agent",
    "disable agent servers/s1",
    "enable agent servers/s1",
    "disable agent asked/s4",
    "enable agent asked/s4",
    "user;enable health servers/s3",
    "disable frontend",
    "disable frontend no",
    "disable frontend static",
    "user;disable frontend main",
    "enable frontend",
    "enable frontend main",
    "disable frontend main",
    "disable frontend main",
    "enable frontend main",
    "enable frontend main",
    "show resolvers no",
    "enable dynamic-cookie backend",
    "enable dynamic-cookie backend no",
    "enable dynamic-cookie backend asked",
    "user;enable dynamic-cookie backend asked",
    "disable dynamic-cookie backend asked",
    "set dynamic-cookie-key backend",
    "set dynamic-cookie-key backend no k",
    "set dynamic-cookie-key backend asked",
    "set dynamic-cookie-key backend asked k",
    "user;set rate-limit connections global 5",
    "set rate-limit connections global",
    "set rate-limit connections global 0",
    "set rate-limit sessions global 10000",
    "set rate-limit sessions global -5",
    "set rate-limit ssl-sessions global x",
    "set rate-limit sessions global 0",
    "shutdown frontend",
    "shutdown frontend other",
    "shutdown frontend other",
    "disable frontend other",
    "enable frontend other",
    "set maxconn server servers/s1 5",
    "set maxconn server servers/s1",
    "set maxconn server servers/s1 x",
    "set maxconn server servers/no 5",
    "set maxconn frontend main 50",
    "set maxconn frontend main",
    "set maxconn frontend no 5",
    "set maxconn frontend main -5",
    "set maxconn global",
    "set maxconn global x",
    "set maxconn global 100000000",
    "set maxconn global 5",
    "operator;set maxconn global 5",
    "set maxconn global 0",
    "shutdown session",
    "shutdown session 0x123",
    "shutdown session nothing",
    "shutdown sessions server",
    "shutdown sessions server servers/no",
    "shutdown sessions server servers/s1",
    "clear counters",
    "clear counters all",
    "show backend",
    "show env NO_SUCH_VARIABLE",
    "show env HOME",
    "show servers state no",
    "show stat no -1 -1",
    "set server servers/s3 addr",
    "set server servers/s3 addr nonsense",
    "set server servers/s3 addr 127.0.0.9 port x",
    "set server servers/s3 addr 127.0.0.9 port +1",
    "set server servers/s3 addr 127.0.0.9",
    "set server servers/s3 addr ::1",
    "set server servers/s3 addr 127.0.0.9 port 7",
    "set server servers/s3 addr 127.0.0.9 port 7",
    "set server named/n1 fqdn",
    "set server named/n1 fqdn bar.invalid",
    "set server named/n1 fqdn bar.invalid",
    "set server named/n1 fqdn a/b",
    "set server named/n1 fqdn " + "a.b" * 100,
    "set server named/n1 fqdn foo.invalid",
    "set server named/n2 fqdn bar.invalid",
    "set server named/n3 fqdn bar.invalid",
    "set server named/n4 addr 127.0.0.1",
    "set server named/n4 fqdn a/b",
    "set server named/n4 fqdn bar.invalid",
    "set server named/n4 fqdn foo.invalid",
    "set server servers/s1 fqdn bar.invalid",
    "set server named/no fqdn bar.invalid",
    "user;set server named/n1 fqdn bar.invalid",
    "add server",
    "add server servers",
    "add server servers/",
    "add server no/x 127.0.0.1:9",
    "add server static/x 127.0.0.1:9",
    "add server servers/x",
    "add server servers/s1 127.0.0.1:9",
    "add server servers/x@y 127.0.0.1:9",
    "add server servers/x 127.0.0.1:9 init-addr none",
    "add server servers/x 127.0.0.1:9 weight 7 resolvers dns",
    "add server servers/x 127.0.0.1:9 wieght 7",
    "add server servers/x 127.0.0.1:9 qzqzqz",
    "add server servers/x 127.0.0.1:9 track servers/s1",
    "add server servers/x 127.0.0.1:9 track servers/no",
    "add server servers/x 127.0.0.1:9 track no/s3",
    "user;add server servers/x 127.0.0.1:9",
    "add server servers/x 127.0.0.1:9 weight 7 maxconn 5",
    "add server servers/x 127.0.0.1:9 weight 7 maxconn 5",
    "add server servers/y 127.0.0.1:9 track servers/x",
    "add server servers/y 127.0.0.1:9 track servers/s3",
    "get weight servers/x",
    "enable health servers/x",
    "enable server servers/x",
    "del server servers/x",
    "disable server servers/x;del server servers/x",
    "del server servers/x",
    "disable server servers/s3;del server servers/s3",
    "disable server servers/y;del server servers/y",
    "enable server servers/s3",
    "del server",
    "del server servers",
    "del server no/s1",
    "user;del server servers/s2",
    "get var",
    "get var proc.none",
    "get var txn.a",
    "user;get var proc.n",
    "experimental-mode on;set var",
    "experimental-mode on;set var proc.n",
    "experimental-mode on;set var proc.n int(7)",
    "experimental-mode on;set var proc.n,ifnotset int(8)",
    "experimental-mode on;set var proc.n,ifnotexists int(8)",
    "experimental-mode on;set var proc.n expr var(proc.n),add(1)",
    "experimental-mode on;set var proc.s fmt n\\ is\\ %[var(proc.n)]",
    "show events no",
    "show events lines -x",
    "show events lines nothing",
    "user;show events lines",
    "show cli level",
    "operator;show cli level;set weight servers/s1 5;clear counters all",
    "user;show cli level;show sess;show env HOME;clear counters",
    "show cli level;user;operator",
    "  show   cli\tlevel  ",
    "set timeout cli 10s",
    "prompt\nshow cli level;get weight servers/s1\nprompt",
    "prompt\nshow cli level\nquit\nshow cli level",
    "set severity-output",
    "set severity-output no",
    "experimental-mode",
    "experimental-mode on;experimental-mode;expert-mode;experimental-mode off;experimental-mode",
    "user;experimental-mode on",
    "operator;expert-mode",
    "prompt\nget weight servers/s1 <<\none\ntwo\n\nquit",
    "show cli level\nget weight servers/s1",
    "show cli level\r",
    "quit",
)


def ask(path: Path, text: str, *, ended: bool = True) -> str:
    """All that is answered to these lines; with `ended` up to the end of the connection."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20.0)
        connection.connect(str(path))
        connection.sendall(f"{text}\n".encode())
        if not ended:
            connection.shutdown(socket.SHUT_WR)
        said = b""
        while data := connection.recv(65536):
            said += data
        return said.decode()


class RuntimeTestCase(TestCase):
    def setUp(self) -> None:
        self.directory = temporary_directory(self)

    def proxy(self, kind: type[Daemon], name: str, text: str = TEXT) -> Path:
        directory = self.directory / name
        proxy = kind(directory, "")
        proxy.write(text.format(host=LOOPBACK, d=directory))
        proxy.start()
        self.addCleanup(proxy.stop)
        self.running = proxy
        return directory


class RuntimeBesideHAProxyTests(RuntimeTestCase):
    def setUp(self) -> None:
        super().setUp()
        if not haproxy_version():
            self.skipTest("needs haproxy")
        self.ours = self.proxy(Daemon, "ours")
        self.ports = [self.running.port]
        self.theirs = self.proxy(HAProxy, "theirs")
        self.ports.append(self.running.port)

    def test_orders_and_refusals_are_answered_alike(self) -> None:
        for text in ORDERS:
            ours, theirs = (
                ask(each / "admin.sock", text, ended="prompt" not in text) for each in (self.ours, self.theirs)
            )
            self.assertEqual(ours, theirs, text)

    def test_variables_of_the_process_are_shown_alike(self) -> None:
        for value in VARIABLES:
            said = [
                ask(each / "admin.sock", f"experimental-mode on;set var proc.v {value};get var proc.v").strip()
                for each in (self.ours, self.theirs)
            ]
            self.assertEqual(said[0], said[1], value)
            self.assertIn("proc.v: type=", said[0])

    def test_messages_have_the_same_severity(self) -> None:
        """Of all orders anew; the first command of a prompt is shown before the severities are asked for."""
        for form, texts in (("number", ORDERS), ("string", ORDERS[:20]), ("none", ORDERS[:5])):
            for text in (f"set severity-output {form};{each}" for each in texts):
                ours, theirs = (
                    ask(each / "admin.sock", text, ended="prompt" not in text) for each in (self.ours, self.theirs)
                )
                self.assertEqual(ours, theirs, text)

    def test_frontends_that_accept_nobody_are_shown_alike(self) -> None:
        for line in ("disable frontend main", "enable frontend main", "shutdown frontend other"):
            shown: list[list[tuple[str, ...]]] = []
            for each in (self.ours, self.theirs):
                ask(each / "admin.sock", line)
                rows = [row.split(",") for row in ask(each / "admin.sock", "show stat").splitlines()]
                shown.append([(row[0], row[17]) for row in rows if row[0] in ("main", "other")])
            self.assertEqual(shown[0], shown[1], line)

    def test_name_servers_are_counted_alike(self) -> None:
        """The same lines, of the section that both have."""
        ours, theirs = (
            re.sub(r"[0-9]+$", "", ask(each / "admin.sock", "show resolvers dns"), flags=re.MULTILINE)
            for each in (self.ours, self.theirs)
        )
        self.assertEqual(ours, theirs)

    def test_invalid_requests_are_dumped_alike(self) -> None:
        """But for what is said of buffer and parser, and times, ports and numbers of sections."""
        shown = []
        for each, port in zip((self.ours, self.theirs), self.ports, strict=True):
            with socket.create_connection((LOOPBACK, port), timeout=20) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHo st: " + b"x" * 200 + b"\r\n\x01\\\x1b\t\xff\r\n\r\n")
                while client.recv(4096):
                    pass
            said = ask(each / "admin.sock", "show errors main request").splitlines()
            kept = [row for row in said if not re.match("  (buffer|len|H1) ", row)]
            shown.append([re.sub(r"\[.*?\]|\(#\d+\)|:\d+$", "", row) for row in kept])
        self.assertEqual(*shown)
        self.assertEqual(len(shown[0]), 13)

    def test_rights_are_alike(self) -> None:
        for name in ("user", "operator"):
            for text in (
                "show env HOME",
                "set weight servers/s1 5",
                "clear counters",
                "clear counters all",
                "show backend",
                "user;show startup-logs",
                "get weight servers/s1",
                "disable server servers/s1",
                "disable agent servers/s1",
                "enable agent servers/s1",
                "disable health servers/s1",
                "enable frontend main",
                "shutdown frontend main",
                "set maxconn frontend main 9",
            ):
                ours, theirs = (ask(each / f"{name}.sock", text) for each in (self.ours, self.theirs))
                self.assertEqual(ours, theirs, (name, text))

    def test_nobody_may_more_than_in_haproxy(self) -> None:
        """Of all commands, those that HAProxy refuses at a level are refused at it here."""
        refused = []
        for name in ("user", "operator"):
            for words in (" ".join(each.words) for each in (*COMMANDS, *UNLISTED)):
                if words not in ("prompt", "quit", "help"):
                    ours, theirs = (ask(each / f"{name}.sock", words) for each in (self.ours, self.theirs))
                    if theirs.startswith("Permission denied"):
                        refused.append(words)
                        self.assertEqual(ours, "Permission denied\n\n", (name, words))
        self.assertIn("show sess", refused)
        self.assertIn("set weight", refused)

    def test_servers_are_shown_alike(self) -> None:
        """But for the numbers of sections, of which HAProxy's first is that of the sockets, and seconds."""
        orders = (
            *("set server servers/s1 state drain", "set weight servers/s2 5", "disable server servers/s3"),
            *("", "set server servers/s3 state drain", "disable server static/t3"),
            "set server servers/s3 check-addr 127.0.0.9 port 99",
            "set server servers/s1 state ready;set server servers/s1 health down",
        )
        for line in orders:
            shown = []
            for each in (self.ours, self.theirs):
                ask(each / "admin.sock", line)
                state = ask(each / "admin.sock", "show servers state servers;show servers state static")
                shown.append([_without(row, 0, 9) for row in state.splitlines()])
            self.assertEqual(*shown)
        ours, theirs = (
            ask(each / "admin.sock", "show servers conn servers").splitlines() for each in (self.ours, self.theirs)
        )
        self.assertEqual(ours[0].rpartition(" ")[0], theirs[0].rpartition(" ")[0])
        self.assertEqual([row.split()[0] for row in ours[1:4]], [row.split()[0] for row in theirs[1:4]])

    def test_servers_that_are_added_are_shown_alike(self) -> None:
        """With all others; but for numbers of sections and seconds, as above, and whether an `id` is the file's. (The
        weight in statistics of one that was never in service is 1 in HAProxy 2.6.)"""
        new = "servers/new"
        for line in (
            f"add server {new} {LOOPBACK}:9 weight 7 check inter 60s",
            f"add server servers/other {LOOPBACK}:9 backup id 9",
            f"enable health {new}",
            f"enable server {new}",
            f"set server {new} state drain",
            f"disable server {new};del server {new}",
            f"add server {new} {LOOPBACK}:8",
        ):
            shown: list[list[list[str]]] = []
            rows: list[list[list[str]]] = []
            for each in (self.ours, self.theirs):
                ask(each / "admin.sock", line)
                state = ask(each / "admin.sock", "show servers state servers")
                shown.append([_without(row, 0, 9, 16) for row in state.splitlines()])
                found = [row.split(",") for row in ask(each / "admin.sock", "show stat servers -1 -1").splitlines()]
                rows.append([[row[at] for at in (0, 1, 17, 19, 20, 28)] for row in found if row[0] == "servers"])
            self.assertEqual(shown[0], shown[1], line)
            self.assertEqual(rows[0], rows[1], line)

    def test_names_that_are_ordered_are_shown_alike(self) -> None:
        """Address, operational state, name and port. (That a name was ordered HAProxy shows with its next change.)"""
        orders = ("", "set server named/n1 fqdn bar.invalid", "set server named/n1 state maint")
        for line in (*orders, "set server named/n1 state ready", "set server named/n1 fqdn foo.invalid"):
            shown: list[list[list[str]]] = []
            for each in (self.ours, self.theirs):
                ask(each / "admin.sock", line)
                rows = ask(each / "admin.sock", "show servers state named").splitlines()
                shown.append([[row.split()[at] for at in (4, 5, 17, 18)] for row in rows if " named " in row])
            self.assertEqual(shown[0], shown[1], line)

    def test_statistics_have_the_same_places_and_kinds(self) -> None:
        """Of all that both show: a program that reads HAProxy's reads ours."""
        ours, theirs = (_kinds(ask(each / "admin.sock", "show stat typed")) for each in (self.ours, self.theirs))
        both = [key for key in ours if key in theirs and int(key[1]) < 100]
        self.assertGreater(len(both), 60)
        self.assertEqual({key: ours[key] for key in both}, {key: theirs[key] for key in both})
        ours, theirs = (
            # HAProxy 2.6 misspells one.
            _kinds(ask(each / "admin.sock", "show info typed").replace("Splicded", "Spliced"))
            for each in (self.ours, self.theirs)
        )
        self.assertEqual(ours, {key: theirs.get(key) for key in ours})
        first = [ask(each / "admin.sock", "show stat").split(",")[:100] for each in (self.ours, self.theirs)]
        self.assertEqual(*(each[:93] for each in first))


def _without(row: str, *places: int) -> list[str]:
    return [each for at, each in enumerate(row.split()) if at not in places] if row[:1].isdigit() else [row]


def _kinds(text: str) -> dict[tuple[str, str, str], str]:
    """Letters and types of typed lines, by the kind of row, place and name."""
    found = {}
    for line in text.splitlines():
        if ":" in line:
            key, letters, form = line.split(":")[:3]
            *row, place, name, _ = key.split(".")
            found[row[0] if row else "", place, name] = f"{letters}:{form}"
    return found


class RunningTests(RuntimeTestCase):
    def test_a_reload_keeps_socket_and_session(self) -> None:
        """And its commands are about the new proxy."""
        directory = self.proxy(Daemon, "one")
        inode = os.stat(directory / "admin.sock").st_ino
        self.assertEqual(stat.S_IMODE(os.stat(directory / "operator.sock").st_mode), 0o660)
        with socket.socket(socket.AF_UNIX) as session:
            session.settimeout(20.0)
            session.connect(str(directory / "admin.sock"))
            session.sendall(b"prompt\nset timeout cli 60s\nset weight servers/s1 7\n")
            text = (
                TEXT.replace("{d}/user.sock", "{d}/other.sock")
                .replace("server s3", "server new")
                .replace("/s3", "/new")
            )
            self.running.write(text.format(host=LOOPBACK, d=directory))
            self.running.signal(signal.SIGHUP)
            wait_for(lambda: (directory / "other.sock").exists(), "the new socket")
            wait_for(lambda: "servers/new" in ask(directory / "admin.sock", "show servers conn"), "the new server")
            session.sendall(b"show servers conn\nquit\n")
            said = b""
            while data := session.recv(65536):
                said += data
        self.assertIn(b"servers/new", said)
        self.assertEqual(os.stat(directory / "admin.sock").st_ino, inode)
        self.assertFalse((directory / "user.sock").exists())
        self.assertEqual(ask(directory / "admin.sock", "get weight servers/s1"), "7 (initial 10)\n\n")
        self.running.stop()
        self.assertEqual([*directory.glob("*.sock")], [])

    def test_who_orders_a_reload_learns_what_became_of_it(self) -> None:
        directory = self.proxy(Daemon, "one")
        before = self.running.file.read_text()
        for text, first, last in ((f"{before}\nnonsense\n", "0", "failure!"), (before, "1", "success.")):
            self.running.file.write_text(text)
            for ended in (True, False):
                said = ask(directory / "admin.sock", "reload", ended=ended)
                self.assertTrue(said.startswith(f"Success={first}\n--\n["), said)
                self.assertTrue(said.endswith(f"Loading {last}\n\n"), said)
                self.assertEqual("nonsense" in said, first == "0", said)
        self.assertEqual(ask(directory / "operator.sock", "reload"), "Permission denied\n\n")

    def test_hostile_clients_hold_nobody_for_long(self) -> None:
        """Silent ones leave after `stats timeout`; long lines end the connection; more than `stats maxconn` wait."""
        directory = self.proxy(Daemon, "one")
        path = str(directory / "admin.sock")
        silent = []
        for _ in range(20):
            connection = socket.socket(socket.AF_UNIX)
            connection.setblocking(False)
            connection.connect(path)
            silent.append(connection)
            self.addCleanup(connection.close)
        for connection in silent[:4]:
            connection.send(b"prompt\nshow st")
        for connection in silent[4:]:
            connection.close()
        began = time.monotonic()
        self.assertIn("servers", ask(directory / "admin.sock", "show backend"))
        self.assertLess(time.monotonic() - began, 8.0)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20.0)
            connection.connect(path)
            connection.sendall(b"a" * 16385)
            self.assertIn(b"The command is too big for the buffer size", connection.recv(100))
            self.assertEqual(connection.recv(100), b"")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20.0)
            connection.connect(path)
            connection.sendall(b"show stat json;" * 1000 + b"\n")  # whose answer nobody takes
            self.assertIn("servers", ask(directory / "admin.sock", "show backend"))
        self.assertNotIn("Traceback", self.running.output)


class StockTests(TestCase):
    """Debian's /etc/haproxy/haproxy.cfg, as it stands, but for directories that tests may not write to."""

    def test_it_starts(self) -> None:
        if not STOCK.exists():
            self.skipTest("needs Debian's haproxy package")
        directory = temporary_directory(self)
        text = STOCK.read_text().replace("/run/haproxy/", f"{directory}/")
        if os.geteuid() != 0 or "/root/" in os.__file__:
            # The account that the file names could not read this Python.
            text = re.sub(r"(?m)^\s*(user|group|chroot) .*\n", "", text)
        daemon = Daemon(directory / "proxy", "")
        daemon.write("backend servers\n")
        shown = f"{text}\nfrontend main\n bind {LOOPBACK}:{daemon.port}\n"
        daemon.file.write_text(shown)
        daemon.start()
        self.addCleanup(daemon.stop)
        self.assertEqual(ask(directory / "admin.sock", "show backend"), "# name\n\n")
        self.assertEqual(stat.S_IMODE(os.stat(directory / "admin.sock").st_mode), 0o660)
        with socket.create_connection((LOOPBACK, daemon.port), timeout=20) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = b""
            while data := connection.recv(65536):
                answer += data
        page = Path("/etc/haproxy/errors/503.http").read_bytes()
        self.assertEqual(answer.split(b"\r\n\r\n")[1], page.split(b"\r\n\r\n")[1])
        self.assertTrue(answer.startswith(b"HTTP/1.0 503 Service Unavailable\r\ncache-control: no-cache\r\n"))
