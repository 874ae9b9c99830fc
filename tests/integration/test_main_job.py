"""The main job, end to end: clients that connect, ask once and leave, and servers that demand a client certificate."""

from __future__ import annotations

import http.client
import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.demo.certificates import Authority
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, Nginx, OpensslServer, missing, run_curl, temporary_directory, wait_for
from tests.ports import free_port

NAME = "server.test"


def ask(port: int, path: str = "/") -> int:
    """One request by a client that closes; its status."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=20)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


class MainJobTestCase(SynchronousTestCase):
    """A certificate authority, and what is made with it."""

    skip = missing("nginx", "curl") or None

    def setUp(self) -> None:
        self.directory = temporary_directory(self)
        self.authority = Authority("test CA")
        self.authority.write(self.directory / "ca.pem")
        self.client_pem = self.authority.issue("test client", client=True).write(self.directory / "client.pem")

    def nginx(self, **options: Any) -> Nginx:
        credential = self.authority.issue(NAME, hosts=[NAME])
        nginx = Nginx(self.directory / "nginx", self.authority, credential, **options)
        self.addCleanup(nginx.stop)
        return nginx

    def daemon(self, text: str, name: str = "daemon", *, descriptors: int | None = None) -> Daemon:
        daemon = Daemon(self.directory / name, text, descriptors)
        self.addCleanup(daemon.stop)
        return daemon

    def server_line(self, port: int, more: str = "", *, ca: str = "ca.pem", crt: str = "client.pem") -> str:
        files = f"ca-file {self.directory}/{ca} crt {self.directory}/{crt}"
        return f"    server one {LOOPBACK}:{port} ssl verify required {files} sni str({NAME}) {more}\n"


class WarmPoolTests(MainJobTestCase):
    """`pool-min-conn 4`, with nginx behind."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.nginx(keepalive_requests=100_000)
        self.server.start()
        self.proxy = self.daemon("backend servers\n" + self.server_line(self.server.port, "pool-min-conn 4"))
        self.proxy.start()
        self.stands()

    def stands(self) -> None:
        """All four are established, and their handshakes done."""
        wait_for(lambda: self.proxy.pool("one", "idle") == [4], "four idle connections")
        self.assertEqual(self.server.established(), 4)

    def test_floor_stands_before_anybody_asks(self) -> None:
        """Four connections are established and verified, and nginx has seen no request."""
        self.assertEqual(self.server.counts().accepted, 4)
        self.assertEqual(self.server.counts().requests, 0)
        self.assertEqual(list(self.proxy.pool("one", "idle", "in_use", "handshakes")), [4, 0, 4])

    def test_clients_that_close_open_no_connection_to_the_server(self) -> None:
        """1,000 requests, each on a connection of its own, all travel over the four that stood before."""
        for _ in range(1000):
            self.assertEqual(ask(self.proxy.port), 200)
        self.assertEqual(self.server.counts().accepted, 4)
        self.assertEqual(self.server.counts().requests, 1000)
        self.assertEqual(list(self.proxy.pool("one", "requests", "handshakes_request_path")), [1000, 0])
        logged = wait_for(lambda: len(log := self.server.access_log()) == 1000 and log, "nginx's log")
        self.assertEqual({line.verified for line in logged}, {"SUCCESS"})

    def test_clients_at_once_are_all_answered(self) -> None:
        """More clients at once than the floor holds: further connections are opened for them, and none fails."""
        with ThreadPoolExecutor(16) as threads:
            statuses = list(threads.map(lambda _: ask(self.proxy.port), range(400)))
        self.assertEqual(set(statuses), {200})

    def test_floor_is_back_after_the_server_was_away(self) -> None:
        """A server that is restarted finds its four connections back soon, after a bounded number of attempts."""
        self.server.stop()
        wait_for(lambda: self.proxy.pool("one", "idle") == [0], "the pool to notice")
        wait_for(lambda: "TCP connect failed: Connection refused" in self.proxy.output, "an attempt in vain")
        failed = self.proxy.pool("one", "dials_failed")[0]
        self.server.start()
        self.stands()
        self.assertLess(self.proxy.pool("one", "dials_failed")[0] - failed, 5)
        self.assertEqual(self.server.counts().accepted, 4)
        self.assertEqual(ask(self.proxy.port), 200)
        wait_for(lambda: "connections succeed again" in self.proxy.output, "the end of the trouble to be logged")

    def test_requests_while_the_server_is_away_get_503(self) -> None:
        """After its retries a request is answered with 503, within seconds."""
        self.server.stop()
        self.assertEqual(ask(self.proxy.port), 503)
        line = r'servers/one \S+ 503 .* SC-- .* "GET / HTTP/1.1"'
        wait_for(lambda: re.search(line, self.proxy.output), "the access log")

    def test_an_access_log_line_tells_the_request(self) -> None:
        """One line a request, in HAProxy's httplog format."""
        ask(self.proxy.port, "/some/path?x=1")
        line = wait_for(
            lambda: re.search(r"^127\.0\.0\.1:\d+ .*some/path.*$", self.proxy.output, re.M), "the access log"
        )
        self.assertRegex(
            line[0],
            r"^127\.0\.0\.1:\d+ \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d\.\d{3}\] main servers/one \d+/\d+/\d+/\d+/\d+ "
            r'200 \d+ - - ---- \d+/\d+/\d+/\d+/0 0/0 "GET /some/path\?x=1 HTTP/1\.1"$',
        )

    def test_large_bodies_go_both_ways(self) -> None:
        """Eight megabytes up and down arrive as they were sent."""
        body = bytes(range(256)) * 32 * 1024
        (self.server.documents / "large").write_bytes(body)
        down = run_curl(f"{self.proxy.url}/files/large")
        self.assertEqual((down.status, down.body == body), (200, True))
        (self.directory / "up").write_bytes(body)
        up = run_curl("-T", str(self.directory / "up"), f"{self.proxy.url}/files/up")
        self.assertIn(up.status, (201, 204, 405))


class EarlyAnswerTests(MainJobTestCase):
    """A server that answers an upload before it has read it, and keeps its connection: any refusal of nginx's."""

    def test_refused_uploads_open_no_connection_to_the_server(self) -> None:
        """40 of each kind, by clients that send everything before they read, travel over the four that stood before."""
        (self.directory / "users").write_text("nobody:{PLAIN}nothing\n")
        server = self.nginx(
            extra_server=f"""
            location = /returned {{ return 200 "no\\n"; }}
            location = /unauthorized {{ auth_basic "x"; auth_basic_user_file {self.directory}/users; }}"""
        )
        server.start()
        proxy = self.daemon(
            "backend servers\n    http-reuse always\n" + self.server_line(server.port, "pool-min-conn 4")
        )
        proxy.start()
        wait_for(lambda: proxy.pool("one", "idle") == [4], "the floor")
        for path, status in (("/returned", 200), ("/unauthorized", 401)):
            for chunked in (False, True):
                connection = http.client.HTTPConnection(LOOPBACK, proxy.port, timeout=20)
                self.addCleanup(connection.close)
                connection.connect()
                ours = connection.sock
                for _ in range(20):
                    body = bytes(200_000)
                    connection.request("POST", path, iter((body,)) if chunked else body, encode_chunked=chunked)
                    response = connection.getresponse()
                    response.read()
                    self.assertEqual(response.status, status)
                self.assertIs(connection.sock, ours, "the client had to connect again")
        self.assertEqual(server.counts().accepted, 4)
        self.assertEqual(list(proxy.pool("one", "requests", "handshakes", "handshakes_request_path")), [80, 4, 0])


class GracefulStopTests(MainJobTestCase):
    """SIGTERM and SIGUSR1 finish what runs."""

    def slow_server(self) -> socket.socket:
        """A plain server that accepts and waits for the test to answer."""
        listening = socket.create_server((LOOPBACK, 0))
        listening.settimeout(10)
        self.addCleanup(listening.close)
        return listening

    def check(self, number: int) -> None:
        listening = self.slow_server()
        proxy = self.daemon(f"backend servers\n    server one {LOOPBACK}:{listening.getsockname()[1]}\n")
        proxy.start()
        with ThreadPoolExecutor(1) as threads:
            asked = threads.submit(ask, proxy.port)
            server, _ = listening.accept()
            self.addCleanup(server.close)
            server.settimeout(10)
            self.assertIn(b"\r\n\r\n", server.recv(4096))
            proxy.signal(number)
            wait_for(lambda: not _accepts(proxy.port), "the listener to close")
            self.assertFalse(proxy.ended())
            server.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            self.assertEqual(asked.result(10), 200)
        wait_for(proxy.ended, "the daemon to end")

    def test_sigterm_lets_a_running_request_finish(self) -> None:
        """The listener closes at once, the request is answered, then the daemon ends."""
        self.check(signal.SIGTERM)

    def test_sigusr1_lets_a_running_request_finish(self) -> None:
        """The same by HAProxy's signal."""
        self.check(signal.SIGUSR1)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=1).close()
    except OSError:
        return False
    return True


class WrongCertificateTests(MainJobTestCase):
    """Nothing reaches a server over a connection that is not verified, and the log says what is wrong."""

    def check(self, text: str, expected: str, dials: int = 20) -> None:
        """A request gets 503, the log says C{expected}, and meanwhile the server saw few dials."""
        proxy = self.daemon("backend servers\n" + text)
        proxy.start()
        self.assertEqual(ask(proxy.port), 503)
        wait_for(lambda: re.search(expected, proxy.output), f"{expected!r} in the log")
        self.assertLess(proxy.pool("one", "dials")[0], dials)

    def test_an_untrusted_ca(self) -> None:
        """A server whose certificate another CA has signed is refused."""
        server = self.nginx()
        server.start()
        Authority("another CA").write(self.directory / "other.pem")
        line = self.server_line(server.port, "pool-min-conn 4", ca="other.pem")
        self.check(line, r"servers/one: TLS handshake failed: certificate verify failed: .*ca-file .*other\.pem")
        self.assertEqual(server.counts().requests, 0)

    def test_a_wrong_name(self) -> None:
        """A certificate of the right CA for another name is refused."""
        server = self.nginx()
        server.start()
        line = self.server_line(server.port, "pool-min-conn 4").replace(f"str({NAME})", "str(other.test)")
        self.check(line, r"servers/one: .*certificate is not for 'other\.test', it is for server\.test")
        self.assertEqual(server.counts().requests, 0)

    def test_an_expired_certificate(self) -> None:
        """A certificate past its end is refused."""
        from datetime import datetime, timedelta, timezone

        now = datetime.now(timezone.utc)
        credential = self.authority.issue(
            NAME, hosts=[NAME], not_before=now - timedelta(days=9), not_after=now - timedelta(days=1)
        )
        server = Nginx(self.directory / "nginx", self.authority, credential)
        self.addCleanup(server.stop)
        server.start()
        self.check(self.server_line(server.port, "pool-min-conn 4"), r"servers/one: .*certificate has expired")
        self.assertEqual(server.counts().requests, 0)

    def test_a_client_certificate_that_the_server_refuses(self) -> None:
        """The server's alert is told with the file that it is about, though TLS 1.3 sends it after the handshake."""
        for version in ("-tls1_2", "-tls1_3"):
            with self.subTest(version):
                credential = self.authority.issue(NAME, hosts=[NAME])
                server = OpensslServer(self.directory / f"openssl{version}", self.authority, credential, version)
                self.addCleanup(server.stop)
                server.start()
                Authority("another CA").issue("stranger", client=True).write(self.directory / "stranger.pem")
                line = self.server_line(server.port, "pool-min-conn 2", crt="stranger.pem")
                self.check(line, r"servers/one: .*refused our client certificate \(crt .*stranger\.pem\)")


class BalanceTests(MainJobTestCase):
    """The file of a widely read article starts as it stands."""

    ARTICLE = """\
frontend http_frontend
    bind {host}:{port}
    mode http
    default_backend web_servers

backend web_servers
    mode http
    balance roundrobin
    server web1 {host}:{one} check inter 2000ms
    server web2 {host}:{two} check inter 2000ms
    # HAProxy's default is to *not* reuse connections to backends.
    # We need to explicitly tell it to.
    option httpchk GET /health HTTP/1.1\\r\\nHost:\\ www.example.com
"""

    def test_the_article_balances_and_checks(self) -> None:
        """Its servers take turns, and each is asked for /health with the host it names."""
        import threading
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        seen: list[tuple[int, str, str | None]] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                port: int = self.connection.getsockname()[1]
                seen.append((port, self.path, self.headers["Host"]))
                body = str(port).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        servers = [ThreadingHTTPServer((LOOPBACK, 0), Handler) for _ in range(2)]
        for each in servers:
            threading.Thread(target=each.serve_forever, daemon=True).start()
            self.addCleanup(each.server_close)
            self.addCleanup(each.shutdown)
        one, two = (each.server_address[1] for each in servers)
        proxy = self.daemon("")
        proxy.file.write_text(self.ARTICLE.format(host=LOOPBACK, port=proxy.port, one=one, two=two))
        proxy.start()
        bodies = [run_curl(proxy.url + "/").body.decode() for _ in range(6)]
        self.assertEqual(sorted(bodies), sorted([str(one), str(two)] * 3))
        self.assertNotEqual(bodies[0], bodies[1])
        for port in (one, two):
            wait_for(partial(seen.count, (port, "/health", "www.example.com")), "a check")
        self.assertIn("HAProxy >= 2.7 refuses headers behind the version", proxy.output)
        servers[0].shutdown()
        servers[0].server_close()
        wait_for(lambda: "Server web_servers/web1 is DOWN" in proxy.output, "the checks to notice", seconds=30)
        self.assertEqual({run_curl(proxy.url + "/").body.decode() for _ in range(4)}, {str(two)})


class CommandLineTests(SynchronousTestCase):
    """What a user is told who gets something wrong: one line each, status 1, no traceback."""

    def setUp(self) -> None:
        self.directory = temporary_directory(self)

    def check(self, text: str, *expected: str, check: bool = True) -> str:
        from tests.integration.daemon import run_once

        file = Path(self.directory, "test.cfg")
        file.write_text(text)
        done = run_once("--config", str(file), *(["--check"] if check else []))
        output = done.stdout + done.stderr
        self.assertEqual(done.returncode, 1 if expected else 0, output)
        self.assertNotIn("Traceback", output)
        for words in expected:
            self.assertIn(words, output)
        return output

    PLAIN = "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"

    def test_a_valid_file_is_said_to_be_valid(self) -> None:
        """--check opens no port and ends with 0."""
        text = self.PLAIN + "frontend f\n bind 127.0.0.1:1\n default_backend b\nbackend b\n server s 127.0.0.1:2\n"
        self.assertIn("valid", self.check(text))

    def test_a_misspelt_word_is_shown_with_the_nearest(self) -> None:
        """Line, word and the word that was probably meant."""
        text = (
            self.PLAIN
            + "frontend f\n bind :1\n default_backend b\nbackend b\n balnce roundrobin\n server s 127.0.0.1:2\n"
        )
        self.check(text, "test.cfg:10: ", "'balnce'", "'balance'")

    def test_missing_files_are_told_with_their_line(self) -> None:
        """All certificates that cannot be read are told at once."""
        text = self.PLAIN + "backend b\n server s 127.0.0.1:2 ssl ca-file /none/ca.pem\n"
        text += " server t 127.0.0.1:2 ssl verify none crt /none/crt.pem\n"
        self.check(text, "test.cfg:7: ", "/none/ca.pem", "No such file", "test.cfg:8: ", "/none/crt.pem")

    def test_a_port_that_is_taken_is_told(self) -> None:
        """Nothing is served when one listener cannot be."""
        taken = socket.create_server((LOOPBACK, 0))
        self.addCleanup(taken.close)
        port = taken.getsockname()[1]
        text = (
            self.PLAIN + f"frontend f\n bind 127.0.0.1:{port}\n default_backend b\nbackend b\n server s 127.0.0.1:2\n"
        )
        self.check(text, "test.cfg:7: ", f"127.0.0.1:{port}", "Address already in use", check=False)

    def test_all_that_is_wrong_is_told_at_once_at_the_start(self) -> None:
        """Ports are tried even if something else is wrong, so that nothing is left for the next attempt."""
        taken = socket.create_server((LOOPBACK, 0))
        self.addCleanup(taken.close)
        text = self.PLAIN + f"frontend f\n bind 127.0.0.1:{taken.getsockname()[1]}\n default_backend b\n"
        text += "backend b\n server s 127.0.0.1:2 ssl verify none crt /none/crt.pem\n"
        self.check(text, "test.cfg:7: ", "Address already in use", "test.cfg:10: ", "/none/crt.pem", check=False)

    def test_a_name_to_listen_on_that_nobody_knows_is_told(self) -> None:
        """It costs no port to find that, so --check does."""
        text = self.PLAIN + "frontend f\n bind nobody.invalid:1\n default_backend b\nbackend b\n server s 127.0.0.1:2\n"
        self.check(text, "test.cfg:7: cannot listen on nobody.invalid:1: ")

    def test_a_file_without_a_bind_is_refused(self) -> None:
        """An empty one, for instance: a daemon that serves nothing is no daemon."""
        self.check("", "test.cfg:1: nothing to serve")
        self.check("", "test.cfg:1: nothing to serve", check=False)

    def test_certificates_that_are_out_of_date_are_warned_of(self) -> None:
        """They may be loaded, and nothing says so until the first handshake fails."""
        directory, an_hour_ago = self.directory, datetime.now(timezone.utc) - timedelta(hours=1)
        authority = Authority("new")
        authority.write(directory / "ca.pem")
        authority.issue("new", client=True).write(directory / "client.pem")
        authority.issue("old", client=True, not_after=an_hour_ago).write(directory / "old.pem")
        Authority("old", not_after=an_hour_ago).write(directory / "old-ca.pem")
        line = f"server s 127.0.0.1:2 ssl ca-file {directory}/%s crt {directory}/%s verifyhost s.test\n"
        text = self.PLAIN + "frontend f\n bind 127.0.0.1:1\n default_backend b\nbackend b\n"
        output = self.check(text + line % ("old-ca.pem", "old.pem"))
        self.assertIn(
            f"[WARNING] {directory}/test.cfg:10: server b/s: crt {directory}/old.pem: has expired, on ", output
        )
        self.assertIn("old-ca.pem: every CA in it has expired, the last on ", output)
        self.assertNotIn("WARNING", self.check(text + line % ("ca.pem", "client.pem")))

    def test_a_file_that_is_not_there_is_told(self) -> None:
        """The name and the reason."""
        from tests.integration.daemon import run_once

        done = run_once("--config", "/none/test.cfg")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/none/test.cfg: cannot be read: No such file or directory", done.stderr)

    def test_the_article_s_mistakes_are_refused_with_a_hint(self) -> None:
        """Words that no HAProxy has, and what was probably meant."""
        text = self.PLAIN + "backend b\n http-server-close 10\n keepalive-timeout 10\n server s 127.0.0.1:2\n"
        self.check(text, "test.cfg:7: ", "option http-server-close", "test.cfg:8: ", "timeout http-keep-alive")


class WarmStartTests(MainJobTestCase):
    """`pool-warm-start`: clients are served when all floors stand, or when the time is over."""

    def proxied(self, port: int, patience: str) -> Daemon:
        daemon = self.daemon("backend servers\n" + self.server_line(port, "pool-min-conn 4"))
        daemon.file.write_text(
            daemon.file.read_text().replace("global\n", f"global\n    pool-warm-start {patience}\n", 1)
        )
        return daemon

    def test_all_floors_stand_before_the_first_client(self) -> None:
        """Whoever is served finds a connection ready."""
        server = self.nginx()
        server.start()
        daemon = self.proxied(server.port, "10s")
        daemon.start()
        self.assertEqual(ask(daemon.port), 200)
        said = daemon.output
        self.assertLess(said.index("all floors stand after"), said.index("Proxy main listens on"))
        self.assertEqual(list(daemon.pool("one", "handshakes", "handshakes_request_path")), [4, 0])

    def test_a_server_that_is_not_there(self) -> None:
        """Then it says which floors do not stand, and serves."""
        daemon = self.proxied(free_port(), "300ms")
        daemon.start()
        self.assertEqual(ask(daemon.port), 503)
        self.assertIn("some floors do not stand: Server servers/one (0 of 4)", daemon.output)
