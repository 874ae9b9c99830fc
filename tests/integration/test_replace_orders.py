"""What operators have ordered when another process takes the place: it holds there, whenever it was ordered, or the log
says that it is forgotten."""

from __future__ import annotations

import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.daemon import Daemon
from tests.integration.peers import (
    LOOPBACK,
    accept_each,
    accepts_connections,
    end_accepting,
    temporary_directory,
    wait_for,
)
from tests.ports import free_port

TEXT = """\
    acl banned path -f {folder}/banned
    http-request deny if banned
    http-request return status 200 content-type text/plain lf-string %[path,map({folder}/names,none)] if !{{ path /s }}
    default_backend b
frontend other
    bind unix@{folder}/other.sock
    maxconn 50
    default_backend b
backend b
    cookie S insert dynamic
    dynamic-cookie-key one
    server t {host}:{port} weight 10
    server u {host}:{port} weight 10 check inter 1h
    server v {host}:{port}
    server w {host}:{port} agent-check agent-port {port} agent-inter 1h check inter 1h
    server tls {host}:{port} ssl verify none
    server floor {host}:{port} pool-min-conn 1
backend counted
    stick-table type string size 10 expire 1h store gpc0
global
    pool-warm-start {warm}
    maxconn 500
    stats socket {folder}/admin.sock mode 600 level admin expose-fd listeners
"""


class OrderTestCase(SynchronousTestCase):
    """A process with this `text`, whose place others take."""

    text: str
    port: int

    def setUp(self) -> None:
        self.folder = Path(temporary_directory(self))
        self.running: list[Daemon] = []
        self.addCleanup(self.stop)

    def stop(self) -> None:
        for each in self.running:
            each.stop()

    def daemon(self) -> Daemon:
        daemon, warm = Daemon(self.folder / f"{len(self.running)}", ""), "100ms"
        if self.running:
            daemon.port, daemon.stats_port = self.running[0].port, self.running[0].stats_port
            daemon.more, warm = ["--replace"], "3s"
        daemon.write(self.text.format(folder=self.folder, host=LOOPBACK, port=self.port, warm=warm))
        self.running.append(daemon)
        return daemon

    def ask(self, *orders: str) -> list[str]:
        """What each of these is answered."""
        return [self._ask(order) for order in orders]

    def _ask(self, order: str) -> str:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(self.folder / "admin.sock"))
            client.sendall(f"{order}\n".encode())
            return b"".join(iter(lambda: client.recv(65536), b"")).decode()

    def served(self, new: Daemon) -> None:
        wait_for(lambda: new.has_said("has taken the place of process"), "the new process to serve", 40)


class OrderTests(OrderTestCase):
    text = TEXT

    def setUp(self) -> None:
        super().setUp()
        (self.folder / "banned").write_text("/a\n")
        (self.folder / "names").write_text("/x one\n")
        self.port = free_port()  # nobody listens there, so that the floor never stands
        self.old = self.daemon()
        self.old.start()
        wait_for(lambda: self.old.has_said("Proxy other listens on"), "it to listen")

    def coming(self) -> Daemon:
        """A process that has got the sockets, and waits for a floor."""
        new = self.daemon()
        new._process.spawn(new.command())
        wait_for(lambda: self.old.has_said("is about to take the place"), "the new process", 40)
        wait_for(lambda: new.has_said("TCP connect failed"), "it to open its floors", 40)
        return new

    def test_both_logs_tell_what_is_forgotten(self) -> None:
        """Whether it was ordered before the new process came, or since."""
        banned, names = self.folder / "banned", self.folder / "names"
        before = self.ask(f"add acl {banned} /b", "set rate-limit sessions global 100", "disable frontend other")
        new = self.coming()
        since = self.ask(f"set map {names} /x two", "set dynamic-cookie-key backend b two", "set var proc.z fmt x")
        self.assertEqual({*before, *since}, {"\n"})
        self.assertIn("Server deleted.", self._ask("disable server b/u; del server b/u"))
        self.served(new)
        for text in (
            f"what the runtime API has changed in proc.z, {banned}, {names} is forgotten; the files count",
            "what 'set rate-limit' has set in place of maxsessrate is forgotten; the file counts",
            "the order by which frontend other accepts nobody is forgotten",
            "what was ordered of dynamic cookies in backend b is forgotten; the file counts",
        ):
            self.old.says(text)
            new.says(text)
        back = "what 'del server' has taken out of backend b is back: b/u; the file counts"
        new.says(back)
        self.assertNotIn("/b", self._ask(f"show acl {banned}"))

    def state(self, server: str) -> list[str]:
        """The columns of a server's saved state."""
        (line,) = [line for line in self._ask("show servers state b").splitlines() if f" {server} " in line]
        return line.split()

    def test_what_is_ordered_while_the_new_process_waits_for_its_floors_holds(self) -> None:
        """And what is taken back meanwhile does not."""
        before = (
            "set weight b/v 3",
            "disable server b/u",
            "drain pool b/v",
            "set maxconn frontend main 7",
            "disable agent b/w",
        )
        self.assertEqual([each for each in self.ask(*before) if each != "\n" and "is drained" not in each], [])
        new = self.coming()
        orders = (
            ("disable server b/t", "set weight b/t 77", "set maxconn server b/t 5", "set server b/v health down"),
            ("set maxconn frontend main 9", "set maxconn global 400", "enable server b/u", "set weight b/v 100%"),
            ("rewarm pool b/v", "drain pool b/t", "set server b/t addr 127.0.0.9 port 81", "disable health b/w"),
            (
                "set server b/u check-port 82",
                "enable agent b/w",
                "set server b/w agent-send x",
                "set server b/tls ssl off",
            ),
            ("add server b/added 127.0.0.1:9", "set maxconn frontend other 0"),
        )
        for order in (order for some in orders for order in some):
            self.assertNotRegex(self._ask(order), "Unknown|No such|cannot|Permission", order)
        self.served(new)
        t, u, v, w = map(self.state, "tuvw")
        self.assertEqual((t[6], t[7], t[4], t[18]), ("1", "77", "127.0.0.9", "81"))
        self.assertEqual((u[6], u[21]), ("0", "82"))
        self.assertEqual((v[5], v[7]), ("0", "1"))
        self.assertEqual((w[13], w[14]), ("2", "22"))
        info = self._ask("show info")
        self.assertIn("Maxconn: 400\n", info)
        self.assertEqual(self.state("tls")[20], "0")
        stat = self._ask("show stat").splitlines()
        slim = {tuple(line.split(",")[:2]): line.split(",")[6] for line in stat if line}
        self.assertEqual((slim["main", "FRONTEND"], slim["b", "t"]), ("9", "5"))
        for text in (
            "Server b/t has state MAINT, as was ordered in the process before",
            "Server b/v has its pool filled again, as was ordered in the process before",
            "Server b/w has its agent asked at address of its own",
            "Server b/added was added in the process before, and no file names it: it is gone",
        ):
            new.says(text)
        self.assertFalse(new.has_said("Traceback") or self.old.has_said("Traceback"))

    def test_a_port_that_is_closed_meanwhile_is_opened_by_the_new_process(self) -> None:
        """The order ends with the old one, as the log says; the socket that it has closed for clients is the same."""
        new = self.coming()
        self.assertEqual(self.ask("disable frontend main", "shutdown frontend other"), ["\n", "\n"])
        self.served(new)
        with socket.create_connection((LOOPBACK, new.port), 5) as client:
            client.settimeout(5)
            client.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            self.assertTrue(b"".join(iter(lambda: client.recv(65536), b"")).endswith(b"one"))
        for name in ("main", "other"):
            new.says(f"the order by which frontend {name} accepts nobody is forgotten")

    def test_a_port_that_somebody_has_got_meanwhile_keeps_no_other_from_being_served(self) -> None:
        """Or two processes would serve, one of which hears no order."""
        new = self.coming()
        self.assertEqual(self.ask("disable frontend main"), ["\n"])
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind((LOOPBACK, new.port))
            other.listen()
            self.served(new)
            new.says(f"Nobody listens on {LOOPBACK}:{new.port}: Address already in use")
            self.assertEqual(
                self.ask("enable frontend main"),
                ["Failed to resume frontend, check logs for precise cause (port conflict?).\n\n"],
            )
            self.assertRegex(
                self._ask("reload"), f"Success=0\n--\n[\\s\\S]*cannot listen on {LOOPBACK}:{new.port} again: Address"
            )
            self.assertEqual(self.ask("set weight b/t 77"), ["\n"])
            self.assertIn(f"Pid: {new.pid}", self._ask("show info"))
        wait_for(self.old.ended, "the old process to end", 10)
        self.assertEqual(self.ask("enable frontend main"), ["\n"])
        self.assertTrue(accepts_connections(new.port), new.output)
        self.assertIn("Success=1", self._ask("reload"))
        self.assertTrue(accepts_connections(new.port), new.output)

    def test_orders_about_tables_hold_whenever_they_were_given(self) -> None:
        self.ask("set table counted key a data.gpc0 5", "set table counted key b data.gpc0 5")
        new = self.coming()
        self.ask(
            "clear table counted key b", "set table counted key c data.gpc0 7", "set table counted key a data.gpc0 1"
        )
        self.served(new)
        rows = sorted(line.split()[1:] for line in self._ask("show table counted").splitlines() if "key=" in line)
        self.assertEqual([(row[0], row[-1]) for row in rows], [("key=a", "gpc0=1"), ("key=c", "gpc0=7")])

    def test_a_reload_that_is_ordered_meanwhile_is_answered(self) -> None:
        new = self.coming()
        answer = self._ask("reload")
        self.served(new)
        self.assertRegex(
            answer, r"^Success=0\n--\n.*process \d+ has taken the place of this one, and is told to reload\n"
        )
        wait_for(lambda: new.has_said("configuration reloaded"), "the reload")

    def test_an_order_to_the_process_that_has_been_replaced_has_a_warning(self) -> None:
        """In a session that it had before, as long as it has clients."""
        with socket.create_connection((LOOPBACK, self.old.port), 5), socket.socket(socket.AF_UNIX) as session:
            session.settimeout(5)
            session.connect(str(self.folder / "admin.sock"))
            session.sendall(b"prompt\n")
            session.recv(100)
            new = self.coming()
            self.served(new)
            session.sendall(b"disable server b/t\n")
            session.recv(100)
            known = (
                f"disable server b/t (it is for the clients that are left here: process {new.pid} does not know of it)"
            )
            self.old.says(known)


class Peer:
    """A server that answers each request with its own port."""

    def __init__(self) -> None:
        self.listening = socket.create_server((LOOPBACK, 0))
        self.port: int = self.listening.getsockname()[1]
        accept_each(self.listening, self._serve)

    def _serve(self, connection: socket.socket) -> None:
        text = str(self.port).encode()
        while connection.recv(65536):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))


class MovedTests(OrderTestCase):
    """A server that is ordered to be elsewhere while the new process waits for its floors."""

    text = """\
    http-response set-header Who %pid
    default_backend b
backend b
    server s {host}:{port} pool-min-conn 20 pool-connect-rate 10
backend counted
    stick-table type string size 10 expire 1h store gpc0
global
    pool-warm-start {warm}
    stats socket {folder}/admin.sock mode 600 level admin expose-fd listeners
"""

    def setUp(self) -> None:
        super().setUp()
        self.before, self.after = Peer(), Peer()
        for each in (self.before, self.after):
            self.addCleanup(end_accepting, each.listening)
        self.port = self.before.port

    def get(self, port: int) -> tuple[int, int]:
        """Which process has answered, and which server."""
        with socket.create_connection((LOOPBACK, port), 5) as client:
            client.settimeout(5)
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(65536), b"")).decode()
        head, _, body = answer.partition("\r\n\r\n")
        return int(head.lower().partition("\r\nwho: ")[2].split()[0]), int(body)

    def test_no_request_of_the_new_process_goes_to_where_it_was(self) -> None:
        """Its floor takes two seconds at either address."""
        old = self.daemon()
        old.start()
        new = self.daemon()
        new._process.spawn(new.command())
        wait_for(lambda: old.has_said("is about to take the place"), "the new process", 40)
        self.assertIn("changed", self._ask(f"set server b/s addr {LOOPBACK} port {self.after.port}"))
        answers: list[tuple[int, int]] = []

        def is_served() -> bool:
            answers.append(self.get(old.port))
            return answers[-1][0] == new.pid

        wait_for(is_served, "the new process to serve", 40)
        answers += [self.get(old.port) for _ in range(20)]
        servers = [server for pid, server in answers if pid == new.pid]
        self.assertEqual(servers, [self.after.port] * len(servers))
        self.assertGreater(len(servers), 20)
