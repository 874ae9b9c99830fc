"""The pool before servers as users run them, each of which closes idle connections in its own way and time."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

from reusedproxy.pool.upkeep import AHEAD
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, Nginx, missing, run_curl, wait_for
from tests.integration.test_main_job import NAME, MainJobTestCase
from tests.integration.workers import Application, missing_gunicorn, missing_node

FLOOR = 4
#: Pauses, in seconds, between two bursts of requests before servers that wait for two seconds.
AROUND_TWO = (1.99, 2.0, 2.0, 2.005, 2.01)


def client_hello() -> bytes:
    """What a TLS client says first."""
    sent = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname=NAME)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return sent.read()


def ask(port: int, method: str, seconds: float = 20.0) -> int:
    """One request by a client that closes; its status."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=seconds)
    try:
        connection.request(method, "/", "body" if method == "POST" else None, {"Connection": "close"})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def closed(row: dict[str, str], reason: str) -> int:
    """How many connections have left for this reason."""
    found = re.search(rf"(?:^|; ){re.escape(reason)}(?: without close_notify)?: (\d+)", row["pool_closed"])
    return int(found[1]) if found else 0


class NamesTests(MainJobTestCase):
    """`sni req.hdr(host)`, before an nginx with several names."""

    def setUp(self) -> None:
        super().setUp()
        credential = self.authority.issue(NAME, hosts=[NAME, "a.test", "b.test"])
        self.server = Nginx(self.directory / "nginx", self.authority, credential)
        self.addCleanup(self.server.stop)
        self.server.start()

    def proxy(self, more: str) -> Daemon:
        line = self.server_line(self.server.port, more).replace(f"sni str({NAME})", "sni req.hdr(host)")
        proxy = self.daemon("backend servers\n" + line)
        proxy.start()
        return proxy

    def ask(self, proxy: Daemon, host: str) -> int:
        return run_curl("-H", f"Host: {host}", proxy.url).status

    def test_each_name_has_its_own_connections(self) -> None:
        """They are reused for the same name only, and are verified for it; the known one is warm. One of a name that
        was asked for once is the first to go where few are used at once (b.test's)."""
        proxy = self.proxy(f"pool-min-conn 2 check-sni {NAME}")
        wait_for(lambda: proxy.pool("one", "idle") == [2], "the floor")
        for _ in range(3):
            for host in (NAME, "a.test:80", "B.TEST", "a.test"):
                self.assertEqual(self.ask(proxy, host), 200, host)
        self.assertEqual(self.server.counts().accepted, 5)
        self.assertEqual(list(proxy.pool("one", "requests", "handshakes_request_path", "idle")), [12, 3, 4])

    def test_a_name_that_the_server_does_not_have(self) -> None:
        """Its certificate is not for it: 503, why is said, and others are served on."""
        proxy = self.proxy("")
        self.assertEqual(self.ask(proxy, "a.test"), 200)
        self.assertEqual(self.ask(proxy, "evil.test"), 503)
        self.assertEqual(self.ask(proxy, "a.test"), 200)
        wait_for(lambda: "the certificate is not for 'evil.test'" in proxy.output, "the reason")
        self.assertEqual(self.server.counts().requests, 2)


class CheckTests(MainJobTestCase):
    """`check-ssl`."""

    def test_checks_speak_tls_where_requests_do_not(self) -> None:
        """To nginx's TLS port beside a plain one; without it, on that port the check is a TCP connection only."""
        server = self.nginx()
        server.start()
        files = f"ca-file {self.directory}/ca.pem crt {self.directory}/client.pem verifyhost {NAME}"
        line = f"    server %s {LOOPBACK}:1 check inter 1s port {server.port} %s\n"
        wrong = f"ca-file {self.directory}/ca.pem verifyhost other.test"
        proxy = self.daemon(
            "backend servers\n    option httpchk GET /\n"
            + line % ("tls", f"check-ssl {files}")
            + line % ("plain", "")
            + line % ("wrong", f"check-ssl {wrong}")
        )
        proxy.start()
        wait_for(lambda: proxy.server("tls")["check_status"] == "L7OK", "a check over TLS")
        wait_for(lambda: proxy.server("plain")["check_status"] == "L7STS", "nginx's 400 to plain HTTP on that port")
        wait_for(
            lambda: proxy.server("wrong")["check_status"] == "L6RSP", "the refusal of a certificate for another name"
        )
        self.assertIn("the certificate is not for 'other.test'", proxy.server("wrong")["last_chk"])


class PoolPeersTestCase(MainJobTestCase):
    """A floor before some server."""

    def application(self) -> Application:
        application = Application(
            self.directory / "application", self.authority, self.authority.issue(NAME, hosts=[NAME])
        )
        self.addCleanup(application.stop)
        return application

    def pool_before(self, port: int, floor: int = FLOOR, more: str = "") -> Daemon:
        proxy = self.daemon(f"backend servers\n{more}" + self.server_line(port, f"pool-min-conn {floor}"))
        proxy.start()
        return proxy

    def stands(self, proxy: Daemon, floor: int = FLOOR) -> None:
        wait_for(lambda: proxy.pool("one", "idle")[0] >= floor, "the floor to stand")

    def ask_around(self, proxy: Daemon, pauses: tuple[float, ...], clients: int = 8) -> None:
        """Bursts of GET and POST with these pauses between them: all are answered, and none was lost to the race."""
        methods = ["GET", "POST"] * (clients // 2)
        with ThreadPoolExecutor(clients) as threads:
            for pause in pauses:
                statuses = list(threads.map(lambda method: ask(proxy.port, method), methods))
                self.assertEqual(set(statuses), {200}, f"before a pause of {pause} s: {proxy.server('one')}")
                time.sleep(pause)  # the one thing that cannot be waited for: that nothing happens
        self.assertEqual(proxy.pool("one", "races_lost"), [0])


class NginxTests(PoolPeersTestCase):
    """nginx with `keepalive_timeout 2s`, or a short time-out for first requests."""

    skip = missing("nginx") or None

    def test_a_used_connections_time_out_is_learned_and_kept_ahead_of(self) -> None:
        """After the first closes the limit is known; from then on connections leave first, and no request is lost."""
        nginx = self.nginx(keepalive_timeout="2s")
        nginx.start()
        proxy = self.pool_before(nginx.port)
        self.stands(proxy)
        self.ask_around(proxy, AROUND_TWO[:3])
        row = wait_for(
            lambda: (row := proxy.server("one"))["pool_limit_used_from"] == "learned" and row, "the limit to be learned"
        )
        self.assertApproximates(float(row["pool_limit_used"]), 2.0, 0.2)
        before = closed(row, "closed by peer"), closed(row, AHEAD)
        self.ask_around(proxy, AROUND_TWO[3:])
        row = proxy.server("one")
        # At most one is left standing to see whether the limit has grown, once a minute.
        self.assertLessEqual(closed(row, "closed by peer"), before[0] + 1, row["pool_closed"])
        self.assertGreater(closed(row, AHEAD), before[1])
        self.stands(proxy)

    def test_a_first_requests_time_out_is_learned_apart(self) -> None:
        """Connections that never carry a request leave ahead of that one; such a floor is filled with care, and may be
        short: there is advice."""
        nginx = self.nginx(first_request_timeout="2s")
        nginx.start()
        proxy = self.pool_before(nginx.port)
        row = wait_for(
            lambda: (row := proxy.server("one"))["pool_limit_unused_from"] == "learned" and row, "it to be learned"
        )
        self.assertApproximates(float(row["pool_limit_unused"]), 2.0, 0.2)
        self.assertEqual(row["pool_limit_used"], "")
        left, ahead = closed(row, "closed by peer"), closed(row, AHEAD)
        row = wait_for(
            lambda: closed(row := proxy.server("one"), AHEAD) >= ahead + FLOOR and row, "some to leave ahead"
        )
        # At most two more: what was about to be closed when it was learned, and the one left standing to see.
        self.assertLessEqual(closed(row, "closed by peer"), left + 2, row["pool_closed"])
        self.assertIn("closes connections that have carried no request after", proxy.output)

    def test_pings_let_a_floor_stand_in_spite_of_it(self) -> None:
        """As the advice says: pinged connections are used ones, and no more handshakes are needed."""
        nginx = self.nginx(first_request_timeout="2s")
        nginx.start()
        proxy = self.pool_before(nginx.port, more="    option httpchk GET /\n    default-server idle-ping 1s\n")
        self.stands(proxy)
        wait_for(lambda: proxy.pool("one", "pings")[0] > 3 * FLOOR, "three rounds of pings")
        self.assertEqual(proxy.pool("one", "handshakes", "pings_failed"), [FLOOR, 0])
        self.stands(proxy)


class GunicornTests(PoolPeersTestCase):
    """gunicorn's sync and gthread workers; `--keep-alive` is 2 s unless said otherwise."""

    skip = missing_gunicorn() or None

    def test_gthread_workers_keep_alive_is_kept_ahead_of(self) -> None:
        """Learned, and no request is lost around it."""
        server = self.application()
        server.gunicorn("--worker-class", "gthread", "--threads", "16")
        proxy = self.pool_before(server.port)
        self.stands(proxy)
        self.ask_around(proxy, AROUND_TWO)
        row = wait_for(
            lambda: row if (row := proxy.server("one"))["pool_limit_used"] else None, "the limit to be learned"
        )
        self.assertGreater(float(row["pool_limit_used"]), 1.5)
        self.assertLess(float(row["pool_limit_used"]), 4.5)  # it looks for those that are over once a second or so
        self.stands(proxy)

    def test_sync_workers_close_after_each_answer_and_no_request_is_lost(self) -> None:
        """Without a floor each request has a connection of its own."""
        server = self.application()
        server.gunicorn("--workers", "2")
        proxy = self.pool_before(server.port, floor=0)
        self.ask_around(proxy, (0.0,) * 10, clients=4)
        self.assertEqual(
            set(re.findall(r"(?:^|; )(.*?):", proxy.server("one")["pool_closed"])), {"server asked to close"}
        )

    def test_a_floor_below_the_number_of_sync_workers_leaves_the_rest_to_others(self) -> None:
        """Each connection of the floor keeps one worker waiting; requests use it first, and none waits for another."""
        server = self.application()
        server.gunicorn("--workers", "3")
        proxy = self.pool_before(server.port, floor=1)
        self.stands(proxy, 1)
        self.ask_around(proxy, (0.0,) * 5, clients=4)
        self.stands(proxy, 1)
        self.assertEqual(proxy.pool("one", "dials_failed"), [0])

    def test_a_floor_of_all_sync_workers_keeps_them_from_everybody_else(self) -> None:
        """Who asks the server directly waits; a POST through the proxy waits for a connection of the floor
        to make room."""
        server = self.application()
        server.gunicorn("--workers", "2")
        proxy = self.pool_before(server.port, floor=2)
        self.stands(proxy, 2)
        with socket.create_connection((LOOPBACK, server.port), timeout=1) as waiting:
            waiting.sendall(client_hello())
            self.assertRaises(TimeoutError, waiting.recv, 1)
        self.assertEqual(ask(proxy.port, "POST"), 200)
        self.assertGreater(closed(proxy.server("one"), "makes room"), 0)
        self.assertIn("say a pool-min-conn below its workers", proxy.output)


class NodeTests(PoolPeersTestCase):
    """Node's https server, which says `Keep-Alive: timeout=5`."""

    skip = missing_node() or None

    def test_the_advertised_time_out_is_kept_ahead_of(self) -> None:
        """It counts from the first answer on, and nobody has to be lost to learn it."""
        server = self.application()
        server.node()
        proxy = self.pool_before(server.port)
        self.stands(proxy)
        self.ask_around(proxy, (0.0, 4.99, 5.0))
        row = proxy.server("one")
        self.assertEqual((float(row["pool_limit_used"]), row["pool_limit_used_from"]), (5.0, "advertised"))
        self.assertEqual(closed(row, "closed by peer"), 0, row["pool_closed"])
        self.assertGreater(closed(row, AHEAD), 0)
        self.stands(proxy)
