"""What servers have to prove besides a name and a CA, with real peers: pins, stapled OCSP answers, fetched lists."""

from __future__ import annotations

import re
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from reusedproxy.net.tls.pins import pin_of
from tests.integration.peers import LOOPBACK, OpensslServer, missing, run_curl, wait_for
from tests.integration.test_main_job import NAME, MainJobTestCase, ask
from tests.test_net_pins import UNKNOWN
from tests.test_net_revocations import list_of
from tests.test_net_staples import REVOKED, answer


class StapleTests(MainJobTestCase):
    """`openssl s_server -status_file`."""

    skip = missing("nginx", "curl", "openssl") or None

    def serve(self, path: str, word: str, staple: bytes | None, version: str) -> str:
        """Starts a server that staples this, and returns its backend, to which requests for `path` go."""
        folder = self.directory / path
        folder.mkdir()
        arguments = [version]
        if staple is not None:
            (folder / "staple.der").write_bytes(staple)
            arguments += ["-status_file", str(folder / "staple.der")]
        server = OpensslServer(folder / "s_server", self.authority, self.credential, *arguments)
        self.addCleanup(server.stop)
        server.start()
        return f"backend {path}\n" + self.server_line(server.port, f"ocsp-verify {word}")

    def test_what_is_stapled_decides(self) -> None:
        self.credential = self.authority.issue(NAME, hosts=[NAME])
        good = answer(self.credential.certificate, self.authority)
        revoked = answer(self.credential.certificate, self.authority, REVOKED)
        cases: tuple[tuple[str, str, bytes | None, int], ...] = (
            ("good", "required", good, 200),
            ("revoked", "optional", revoked, 503),
            ("unasked", "none", revoked, 200),
            ("bare", "required", None, 503),
        )
        backends, rules = "", ""
        for version in ("-tls1_2", "-tls1_3"):
            for path, word, staple, _ in cases:
                backends += self.serve(path + version, word, staple, version)
                rules += f"    use_backend {path}{version} if {{ path /{path}{version} }}\n"
        proxy = self.daemon(f"{rules}backend servers\n{backends}")
        proxy.start()
        for version in ("-tls1_2", "-tls1_3"):
            for path, _, _, expected in cases:
                self.assertEqual(ask(proxy.port, f"/{path}{version}"), expected, path + version)
            for path, words in (
                ("revoked", "the stapled OCSP answer says that the certificate is revoked since"),
                ("bare", "no OCSP answer is stapled, and 'ocsp-verify required' demands one"),
            ):
                said = re.search(rf"Server {path}{version}/one: TLS handshake failed: [^\n]*", proxy.output)
                assert said is not None
                self.assertIn(words, said[0])
                self.assertIn("; alert bad certificate status response sent", said[0])


class PinTests(MainJobTestCase):
    """nginx, whose key is pinned."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.nginx(keepalive_requests=100_000)
        self.server.start()
        pem = (self.directory / "nginx" / "server.pem").read_bytes()
        self.pin = pin_of(load_pem_x509_certificate(pem))

    def line(self, pins: str) -> str:
        return "backend servers\n" + self.server_line(self.server.port, f"pool-min-conn 2 pin-sha256 {pins}")

    def test_pins_that_change_under_load(self) -> None:
        """A key that stays pinned serves on without an error; one that is not pinned any more serves nobody."""
        proxy = self.daemon(self.line(self.pin))
        proxy.start()
        wait_for(lambda: proxy.pool("one", "idle") == [2], "two verified connections")
        with ThreadPoolExecutor(1) as threads:
            statuses = threads.submit(lambda: [ask(proxy.port) for _ in range(150)])
            proxy.write(self.line(f"{UNKNOWN},{self.pin}"))
            proxy.signal(signal.SIGHUP)
            wait_for(lambda: "0 of 1 pools kept as they are" in proxy.output, "the reload")
            self.assertEqual({*statuses.result(60)}, {200})
        self.assertEqual(proxy.pool("one", "handshakes_request_path"), [0])
        proxy.write(self.line(UNKNOWN))
        proxy.signal(signal.SIGHUP)
        wait_for(lambda: "server servers/one is not trusted any more" in proxy.output, "what is said of it")
        self.assertIn(f"no key in its chain is pinned; its own pin-sha256 is {self.pin}", proxy.output)
        wait_for(lambda: proxy.output.count("configuration reloaded") >= 2, "the second reload")
        self.assertEqual(ask(proxy.port), 503)
        self.assertEqual(proxy.pool("one", "idle"), [0])


class Lists(BaseHTTPRequestHandler):
    """Serves one list."""

    content = b""
    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class ListTests(MainJobTestCase):
    """`crl-url`, from a server of the test's, for nginx."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.nginx(keepalive_requests=100_000)
        self.server.start()
        self.crl = self.directory / "fetched.crl"
        handler: Any = type("Handler", (Lists,), {"asked": []})
        self.handler = handler
        self.handler.content = list_of(self.authority, 7).public_bytes(Encoding.DER)
        self.lists = ThreadingHTTPServer((LOOPBACK, 0), self.handler)
        Thread(target=self.lists.serve_forever, daemon=True).start()
        self.addCleanup(self.lists.server_close)
        self.addCleanup(self.lists.shutdown)

    @property
    def text(self) -> str:
        url = f"http://{LOOPBACK}:{self.lists.server_port}/ca.crl"
        more = f"crl-file {self.crl} crl-url {url} crl-refresh 1m pool-min-conn 2"
        page = "    http-request use-service prometheus-exporter if { path /metrics }\n"
        return page + "backend servers\n" + self.server_line(self.server.port, more)

    def test_the_first_list_makes_the_pool_and_a_restart_has_it(self) -> None:
        proxy = self.daemon(self.text)
        proxy.start()
        wait_for(lambda: proxy.pool("one", "idle") == [2], "two verified connections")
        self.assertEqual((ask(proxy.port), self.handler.asked), (200, ["/ca.crl"]))
        self.assertIn("the list is fetched, 1 revoked; the next one is due", proxy.output)
        metrics = run_curl(f"{proxy.url}/metrics").body.decode()
        self.assertRegex(metrics, r'reusedproxy_crl_fetches_total\{url="http://[^"]*",result="changed"\} 1\b')
        self.assertRegex(metrics, r"reusedproxy_crl_next_update_timestamp_seconds\{[^}]*\} \d{10}")
        proxy.stop()
        self.lists.shutdown()
        self.lists.server_close()
        again = self.daemon(self.text, "again")
        again.start()
        wait_for(lambda: again.pool("one", "idle") == [2], "two connections by the list of before")
        wait_for(lambda: "no list was fetched" in again.output, "what is said of the server that is away", seconds=90)

    def test_who_is_revoked_meanwhile_is_out(self) -> None:
        """A reload asks again where it asks for something else."""
        proxy = self.daemon(self.text)
        proxy.start()
        wait_for(lambda: proxy.pool("one", "idle") == [2], "two verified connections")
        shown = load_pem_x509_certificate((self.directory / "nginx" / "server.pem").read_bytes())
        newer = list_of(self.authority, 7, shown.serial_number, crl_number=2)
        self.handler.content = newer.public_bytes(Encoding.DER)
        proxy.write(self.text.replace("crl-refresh 1m", "crl-refresh 2m"))
        proxy.signal(signal.SIGHUP)
        wait_for(lambda: "is not trusted any more" in proxy.output, "what is said of it")
        line = re.search(r"server servers/one is not trusted any more[^\n]*", proxy.output)
        assert line is not None
        self.assertIn("certificate revoked", line[0])
        wait_for(partial(self.refused, proxy.port), "503")

    def refused(self, port: int) -> bool:
        return ask(port) == 503
