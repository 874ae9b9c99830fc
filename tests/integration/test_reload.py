"""SIGHUP: the configuration is read again, and what is unchanged goes on, warm."""

from __future__ import annotations

import re
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event

from reusedproxy.daemon.reloading.former import EVERY
from reusedproxy.demo.certificates import Authority
from tests.integration.peers import LOOPBACK, Nginx, OpensslServer, missing, wait_for
from tests.integration.test_main_job import NAME, MainJobTestCase, ask
from tests.ports import free_port
from tests.test_net_revoked import large
from tests.test_net_tls_server import revocations

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class ReloadTests(MainJobTestCase):
    """A daemon with a floor of two at nginx, whose configuration changes."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.nginx(keepalive_requests=100_000)
        self.server.start()
        self.line = self.server_line(self.server.port, "pool-min-conn 2")
        self.proxy = self.daemon("backend servers\n" + self.line)
        self.proxy.start()
        wait_for(lambda: self.proxy.pool("one", "idle") == [2], "two connections, and their handshakes")

    def reload(self, text: str, expected: str) -> None:
        before = self.said(expected)
        self.proxy.write(text)
        self.proxy.signal(signal.SIGHUP)
        wait_for(lambda: self.said(expected) > before, expected)

    def said(self, text: str) -> int:
        """How often, in the daemon's own log; its `log stdout` says the same once more."""
        return sum(text in line and " reusedproxy[" in line for line in self.proxy.output.splitlines())

    def test_an_unchanged_server_keeps_its_connections(self) -> None:
        """Another backend comes, the first one's two connections stay, and nobody dials it again."""
        text = "backend servers\n" + self.line + f"backend other\n    server two {LOOPBACK}:1\n"
        self.reload(text, "1 of 2 pools kept as they are")
        self.assertEqual([ask(self.proxy.port) for _ in range(20)], [200] * 20)
        self.assertEqual(self.server.counts().accepted, 2)

    def test_a_certificate_that_was_replaced_is_used_by_new_connections(self) -> None:
        """The same file name with another certificate in it makes the server a new one; the old connections go."""
        self.authority.issue("other client", client=True).write(self.client_pem)
        self.reload("backend servers\n" + self.line, "0 of 1 pools kept as they are")
        wait_for(lambda: self.server.counts().accepted == 4 and self.server.established() == 2, "two new connections")
        self.assertEqual(ask(self.proxy.port), 200)
        page = self.proxy.page()
        self.assertIn("rotation ok <b>2</b>", page)
        self.assertRegex(page, "generation</th><td> <b>2</b>")

    def test_a_certificate_is_replaced_under_load(self) -> None:
        """No request waits for a handshake: the new connections stand before the first one is given to anybody."""
        with ThreadPoolExecutor(2) as threads:
            statuses = [threads.submit(lambda: [ask(self.proxy.port) for _ in range(200)]) for _ in range(2)]
            for number in range(3):
                self.authority.issue(f"client {number}", client=True).write(self.client_pem)
                self.reload("backend servers\n" + self.line, "0 of 1 pools kept as they are")
            self.assertEqual({status for each in statuses for status in each.result(60)}, {200})
        self.assertEqual(self.proxy.pool("one", "handshakes_request_path"), [0])

    def test_who_may_not_connect_any_more_is_heard_no_more(self) -> None:
        """Though he has been connected since before, and may have sent the half of a request. Others stay."""
        backend = "backend servers\n" + self.line
        for rule, stays in (
            ("    tcp-request connection reject if { src 192.0.2.1 }\n", True),
            ("    tcp-request connection reject\n", False),
            ("    tcp-request connection expect-proxy layer4\n", False),
        ):
            self.reload(backend, "pools kept as they are")
            with self.connected() as idle, self.connected() as half, self.connected() as fresh:
                self.assertIn(b"200 OK", self.asked(idle))
                half.sendall(GET[:20])
                self.reload(rule + backend, "pools kept as they are")
                answers = [self.asked(idle), self.asked(half, GET[20:]), self.asked(fresh)]
                self.assertEqual([b"200 OK" in answer for answer in answers], [stays] * 3, rule)

    def test_who_was_limited_and_is_shut_out_is_heard_no_more(self) -> None:
        """That the rules from before would refuse him by now, too, keeps him in only where these alone do."""
        limit = (
            "    stick-table type ip size 1k expire 1m store conn_cnt\n    tcp-request connection track-sc0 src\n"
            "    tcp-request connection reject if { sc0_conn_cnt gt 2 }\n"
        )
        backend = "backend servers\n" + self.line
        self.reload(limit + backend, "pools kept as they are")
        with self.connected() as client:
            self.assertIn(b"200 OK", self.asked(client))
            for answered in (True, False, False):
                self.assertEqual(b"200 OK" in self.asked_anew(), answered)
            self.reload("# a line\n" + limit + backend, "pools kept as they are")
            self.assertIn(b"200 OK", self.asked(client))
            self.reload(
                "    tcp-request connection reject if { src 127.0.0.1 }\n" + limit + backend, "pools kept as they are"
            )
            self.assertEqual(self.asked(client), b"")

    def test_a_head_that_is_half_sent_is_judged_by_the_new_rules(self) -> None:
        with self.connected() as client:
            client.sendall(GET[:20])
            self.reload("    http-request deny\nbackend servers\n" + self.line, "pools kept as they are")
            self.assertIn(b"403 Forbidden", self.asked(client, GET[20:]))

    def connected(self) -> socket.socket:
        return socket.create_connection((LOOPBACK, self.proxy.port), timeout=20)

    def asked_anew(self) -> bytes:
        """The answer to a client that connects; nothing if it is refused, which it may learn while it connects."""
        try:
            with self.connected() as client:
                return self.asked(client)
        except ConnectionError:
            return b""

    def asked(self, client: socket.socket, request: bytes | None = None) -> bytes:
        """The answer; nothing if the connection is ended instead."""
        try:
            client.sendall(GET if request is None else request)
            return client.recv(65536)
        except ConnectionError:
            return b""

    def test_a_new_server_that_is_not_there_holds_nothing_up(self) -> None:
        """A floor that cannot stand is no reason to keep the old file."""
        more = f"    server gone {LOOPBACK}:{free_port()} pool-min-conn 3\n"
        self.reload("backend servers\n" + self.line + more, "1 of 2 pools kept as they are")
        self.assertEqual(self.server.counts().accepted, 2)

    def test_a_broken_file_changes_nothing(self) -> None:
        """Each fault is logged with its line, and requests go on as before."""
        self.reload("backend servers\n    balnce roundrobin\n" + self.line, "reload refused")
        self.assertIn("did you mean 'balance'?", self.proxy.output)
        self.assertNotIn("[ALERT]", self.proxy.output)
        self.assertEqual(ask(self.proxy.port), 200)
        self.assertEqual(self.server.counts().accepted, 2)

    def test_what_is_only_a_notice_does_not_raise_the_alarm_when_a_file_is_refused(self) -> None:
        """Each line has the level that it would have at a start."""
        self.reload("backend servers\n    option http-no-delay\n    balnce roundrobin\n" + self.line, "reload refused")
        lines = [line for line in self.proxy.output.splitlines() if "http-no-delay" in line]
        self.assertTrue(any(" info: " in line for line in lines), lines)
        self.assertFalse(any(" error: " in line or "NOTICE" in line for line in lines), lines)

    def test_an_emptied_file_takes_no_listener_away(self) -> None:
        """As an editor leaves it for a moment, for instance: it is refused as a whole."""
        self.proxy.file.write_text("")
        self.proxy.signal(signal.SIGHUP)
        wait_for(lambda: "nothing to serve" in self.proxy.output, "the refusal")
        self.assertEqual(ask(self.proxy.port), 200)

    def test_a_running_request_outlives_a_reload_that_removes_its_server(self) -> None:
        """Its answer comes from the server that it was sent to; new requests go to the new one."""
        listening = socket.create_server((LOOPBACK, 0))
        self.addCleanup(listening.close)
        listening.settimeout(10)
        self.reload(f"backend servers\n    server slow {LOOPBACK}:{listening.getsockname()[1]}\n", "0 of 1 pools kept")
        with ThreadPoolExecutor(1) as threads:
            asked = threads.submit(ask, self.proxy.port)
            server, _ = listening.accept()
            self.addCleanup(server.close)
            server.settimeout(10)
            self.assertIn(b"\r\n\r\n", server.recv(4096))
            self.reload("backend servers\n" + self.line, "0 of 1 pools kept as they are")
            self.assertEqual(ask(self.proxy.port), 200)
            server.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            self.assertEqual(asked.result(10), 204)

    def replaced_are_freed(self) -> None:
        """Time for what replaced proxies have left behind to be closed."""
        until = time.monotonic() + 2.5 * EVERY
        wait_for(lambda: time.monotonic() > until, "the replaced proxies to be looked at")

    def test_a_request_that_waited_at_one_reload_outlives_the_next(self) -> None:
        """It is handed to the second proxy, which has no client of its own, and is at its server when a third comes."""
        listening = socket.create_server((LOOPBACK, 0))
        self.addCleanup(listening.close)
        listening.settimeout(10)
        slow = f"server slow {LOOPBACK}:{listening.getsockname()[1]} maxconn 1\n"
        self.reload(f"backend servers\n    {slow}", "0 of 1 pools kept")
        servers = []

        def reaches() -> None:
            servers.append(listening.accept()[0])
            self.addCleanup(servers[-1].close)
            servers[-1].settimeout(10)
            self.assertIn(b"\r\n\r\n", servers[-1].recv(4096))

        with ThreadPoolExecutor(2) as threads:
            asked = [threads.submit(ask, self.proxy.port)]
            reaches()
            asked.append(threads.submit(ask, self.proxy.port))
            wait_for(lambda: any(row["qcur"] == "1" for row in self.proxy.statistics()), "the second to wait")
            self.reload(f"backend servers\n    http-request set-header x y\n    {slow}", "1 of 1 pools kept")
            # The place is taken by the first one, which the proxy before has.
            self.assertTrue(any(row["qcur"] == "1" for row in self.proxy.statistics()))
            more = slow.replace("maxconn 1", "maxconn 2")
            self.reload(f"backend servers\n    http-request set-header x y\n    {more}", "1 of 1 pools kept")
            reaches()
            self.reload(f"backend servers\n    http-request set-header x z\n    {slow}", "1 of 1 pools kept")
            self.replaced_are_freed()
            for server in servers:
                server.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            self.assertEqual([each.result(10) for each in asked], [204, 204])
        self.assertNotIn("Traceback", self.proxy.output)

    def test_a_client_with_a_server_of_its_own_choice_outlives_a_reload(self) -> None:
        """`option prefer-last-server`: its last server was one of the proxy that is gone."""
        text = "backend servers\n    option prefer-last-server\n" + self.line
        self.reload(text, "1 of 1 pools kept")
        with socket.create_connection((LOOPBACK, self.proxy.port), timeout=10) as client:
            for number in range(2):
                client.sendall(GET)
                self.assertTrue(client.recv(4096).startswith(b"HTTP/1.1 200"), number)
                self.reload(f"{text}    http-request set-header x y{number}\n", "1 of 1 pools kept")
                self.replaced_are_freed()
            client.sendall(GET)
            self.assertTrue(client.recv(4096).startswith(b"HTTP/1.1 200"))
        self.assertNotIn("Traceback", self.proxy.output)

    def test_old_and_new_clients_together_keep_to_maxconn(self) -> None:
        """One bound counts through all reloads, with the value of the last one read."""
        listening = socket.create_server((LOOPBACK, 0))
        self.addCleanup(listening.close)
        listening.setblocking(False)
        asked: list[socket.socket] = []

        def requests() -> int:
            """How many have reached the server, which answers none."""
            try:
                while True:
                    asked.append(listening.accept()[0])
                    self.addCleanup(asked[-1].close)
            except BlockingIOError:
                return len(asked)

        def client() -> socket.socket:
            made = socket.create_connection((LOOPBACK, self.proxy.port), timeout=10)
            self.addCleanup(made.close)
            made.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            return made

        line = f"backend servers\n    server slow {LOOPBACK}:{listening.getsockname()[1]}\nglobal\n    maxconn %d\n"
        self.reload(line % 3, "0 of 1 pools kept")
        full = "reached its connection limit (the process's maxconn %d)"
        old = [client(), client()]
        wait_for(lambda: requests() == 2, "two requests at the server")
        self.reload(line % 3, "1 of 1 pools kept")
        client()
        wait_for(lambda: requests() == 3, "the third request")
        wait_for(lambda: full % 3 in self.proxy.output, "the bound to be logged")
        client()
        self.reload(line % 4, "1 of 1 pools kept")
        wait_for(lambda: requests() == 4, "the fourth request, by the higher bound")
        wait_for(lambda: full % 4 in self.proxy.output, "the higher bound to be logged")
        client()
        old[0].close()
        wait_for(lambda: requests() == 5, "the fifth request, in an old client's place")
        self.assertNotIn("Traceback", self.proxy.output)

    def test_no_request_is_lost_in_many_reloads(self) -> None:
        """Clients that close after each response notice nothing, however often the file is read."""
        with ThreadPoolExecutor(4) as threads:
            statuses = [threads.submit(lambda: [ask(self.proxy.port) for _ in range(100)]) for _ in range(4)]
            for number in range(8):
                self.reload("backend servers\n" + self.line + "    # changed\n" * number, "1 of 1 pools kept")
            self.assertEqual({status for each in statuses for status in each.result(60)}, {200})
        self.assertLess(self.server.counts().accepted, 12)

    def test_no_request_is_lost_while_certificates_rotate(self) -> None:
        """Ten new client certificates, each with new pools, under clients that ask all the time."""
        times: list[float] = []
        over = Event()

        def clients() -> set[int]:
            statuses = set()
            while not over.is_set():
                began = time.monotonic()
                statuses.add(ask(self.proxy.port))
                times.append(time.monotonic() - began)
            return statuses

        with ThreadPoolExecutor(4) as threads:
            statuses = [threads.submit(clients) for _ in range(4)]
            try:
                for number in range(10):
                    self.authority.issue(f"client {number}", client=True).write(self.client_pem)
                    self.reload("backend servers\n" + self.line, "0 of 1 pools kept")
            finally:
                over.set()
            self.assertEqual(set().union(*(each.result(60) for each in statuses)), {200})
        print(
            f"p99 while ten certificates rotate: {sorted(times)[len(times) * 99 // 100] * 1e3:.1f} ms", file=sys.stderr
        )


class CheckedReloadTests(MainJobTestCase):
    """nginx takes any client certificate in the handshake, and answers 400 to one that it does not trust."""

    def test_a_certificate_whose_requests_are_refused_changes_nothing(self) -> None:
        """Its check says so on one of the new connections, before anybody is sent there."""
        server = self.nginx()
        server.start()
        text = "backend servers\n    option httpchk GET /\n" + self.server_line(
            server.port, "check inter 1s pool-min-conn 2"
        )
        proxy = self.daemon(text)
        proxy.start()
        wait_for(lambda: proxy.server("one")["check_status"] == "L7OK", "the first check")
        Authority("another CA").issue("stranger", client=True).write(self.client_pem)
        proxy.signal(signal.SIGHUP)
        wait_for(lambda: "it answers its check with 400 Bad Request" in proxy.output, "the refusal", seconds=30)
        self.assertEqual([ask(proxy.port) for _ in range(10)], [200] * 10)
        self.assertEqual(proxy.server("one")["status"], "UP")
        self.authority.issue("second client", client=True).write(self.client_pem)
        proxy.signal(signal.SIGHUP)
        wait_for(lambda: "0 of 1 pools kept" in proxy.output, "the reload")
        self.assertEqual([ask(proxy.port) for _ in range(10)], [200] * 10)


class DistrustTests(MainJobTestCase):
    """What the proxy trusts becomes less."""

    skip = missing("nginx") or None

    def test_a_server_whose_certificate_is_revoked_gets_no_more_requests(self) -> None:
        """Though its connections were warm; the reload is not held up by it, and so the list counts for everybody."""
        credential = self.authority.issue(NAME, hosts=[NAME])
        server = Nginx(self.directory / "nginx", self.authority, credential)
        self.addCleanup(server.stop)
        server.start()
        crl = self.directory / "crl.pem"
        crl.write_bytes(revocations(self.authority))
        for watch in ("", "    ssl-watch 1s\n"):
            proxy = self.daemon(
                "backend servers\n" + self.server_line(server.port, f"crl-file {crl} pool-min-conn 2"),
                name=f"daemon{len(watch)}",
            )
            proxy.file.write_text(proxy.file.read_text().replace("global\n", f"global\n{watch}", 1))
            proxy.start()
            self.assertEqual(ask(proxy.port), 200)
            if watch:
                crl.write_bytes(revocations(self.authority, credential))
            else:
                crl.write_bytes(large(self.authority, credential.certificate.serial_number))  # by a thread
                proxy.signal(signal.SIGHUP)
            wait_for(partial(proxy.has_said, "0 of 1 pools kept as they are"), "the reload", seconds=30)
            self.assertIn("server servers/one is not trusted any more, and gets no more requests", proxy.output)
            self.assertEqual(ask(proxy.port), 503)
            crl.write_bytes(revocations(self.authority))


class RefusedReloadTests(MainJobTestCase):
    """A server that breaks the handshake of a client whose certificate it does not trust, as nginx does not."""

    skip = missing("openssl") or None

    def test_a_certificate_that_its_server_does_not_accept_changes_nothing(self) -> None:
        """It is tried while the old one serves on; the reason is said, and nobody notices."""
        for version in ("-tls1_2", "-tls1_3"):
            credential = self.authority.issue(NAME, hosts=[NAME])
            server = OpensslServer(
                self.directory / f"openssl{version}", self.authority, credential, version, "-naccept", "99"
            )
            self.addCleanup(server.stop)
            server.start()
            self.authority.issue("test client", client=True).write(self.client_pem)
            proxy = self.daemon("backend servers\n" + self.server_line(server.port), name=f"daemon{version}")
            proxy.start()
            self.assertEqual(ask(proxy.port), 200)
            Authority("another CA").issue("a stranger", client=True).write(self.client_pem)
            proxy.signal(signal.SIGHUP)
            wait_for(partial(proxy.has_said, "reload refused: everything stays as it was"), "the refusal")
            said = "does not accept what has changed (it is shown the certificate in {}): TLS handshake failed"
            line = f"server servers/one {said}"
            self.assertRegex(proxy.output, r"reload: .*\.cfg:\d+: " + re.escape(line.format(self.client_pem)))
            self.assertEqual(ask(proxy.port), 200)
            self.authority.issue("renewed client", client=True).write(self.client_pem)
            proxy.signal(signal.SIGHUP)
            wait_for(partial(proxy.has_said, "0 of 1 pools kept as they are"), "the reload")
            self.assertEqual(ask(proxy.port), 200)
