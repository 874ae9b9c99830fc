"""curl in front, Python's http.server behind: what HTTP/1.1 has beyond a plain GET, as real programs speak it."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, Curl, missing, run_curl, temporary_directory

BODY = bytes(range(256)) * 8192  # 2 MB: more than curl sends without asking first


class Origin(BaseHTTPRequestHandler):
    """It says what it was asked; the path says how it answers."""

    protocol_version = "HTTP/1.1"
    #: Request lines, with the wishes that came with them, and bodies.
    seen: ClassVar[list[tuple[str, str | None, bytes]]] = []

    def answer(self, body: bytes = b"ok", *fields: tuple[str, str]) -> None:
        self.send_response(200)
        for field in (*fields, ("Content-Length", str(len(body)))):
            self.send_header(*field)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def note(self) -> None:
        self.seen.append((self.requestline, self.headers["Expect"], self.body()))

    def body(self) -> bytes:
        if self.headers["Transfer-Encoding"] != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"] or 0))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def do_GET(self) -> None:
        self.note()
        if self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Trailer", "X-Sum")
            self.end_headers()
            self.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n")
        elif self.path == "/until-close":
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"until close")
        elif self.path == "/hints":
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
            self.answer()
        else:
            self.answer()

    do_HEAD = do_OPTIONS = do_BREW = do_GET

    def do_PUT(self) -> None:
        self.note()
        self.answer()

    do_POST = do_PUT

    def handle_expect_100(self) -> bool:
        if self.path == "/refuse":
            self.seen.append((self.requestline, self.headers["Expect"], b""))
            self.close_connection = True
            self.send_error(413)
            return False
        return super().handle_expect_100()

    def do_CONNECT(self) -> None:
        """A tunnel to ourselves, as a forward proxy makes one."""
        self.seen.append((self.requestline, None, b""))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class CurlTests(SynchronousTestCase):
    skip = missing("curl") or None

    def setUp(self) -> None:
        Origin.seen.clear()
        self.directory = temporary_directory(self)
        origin = ThreadingHTTPServer((LOOPBACK, 0), Origin)
        origin.daemon_threads = True
        thread = threading.Thread(target=origin.serve_forever)
        thread.start()
        self.addCleanup(thread.join, 10)
        self.addCleanup(origin.server_close)
        self.addCleanup(origin.shutdown)
        self.proxy = Daemon(
            self.directory / "proxy", f"backend servers\n    server one {LOOPBACK}:{origin.server_port}\n"
        )
        self.addCleanup(self.proxy.stop)
        self.proxy.start()

    def curl(self, path: str, *arguments: str) -> Curl:
        # Its own patience with a 100 that does not come is a second.
        return run_curl("--expect100-timeout", "20", *arguments, self.proxy.url + path, seconds=20)

    def upload(self) -> Path:
        file = self.directory / "upload"
        file.write_bytes(BODY)
        return file

    def test_an_upload_that_asks_first(self) -> None:
        """curl waits for 100 before it sends two megabytes, and gets it from the server."""
        done = self.curl("/up", "-T", str(self.upload()))
        self.assertEqual(Origin.seen, [("PUT /up HTTP/1.1", "100-continue", BODY)])
        self.assertTrue(done.head.startswith("HTTP/1.1 100 Continue"))
        self.assertEqual((done.status, done.body), (200, b"ok"))

    def test_an_upload_that_is_refused(self) -> None:
        """The server says 413 instead, and the body is never sent."""
        done = self.curl("/refuse", "-v", "-T", str(self.upload()))
        self.assertEqual((done.exit, done.status), (0, 413))
        self.assertEqual(Origin.seen, [("PUT /refuse HTTP/1.1", "100-continue", b"")])
        self.assertNotIn("100 Continue", done.head)

    def test_an_upload_in_chunks(self) -> None:
        """Of a length that nobody is told."""
        done = self.curl("/up", "-H", "Expect:", "-H", "Transfer-Encoding: chunked", "-T", str(self.upload()))
        self.assertEqual(Origin.seen, [("PUT /up HTTP/1.1", None, BODY)])
        self.assertEqual(done.body, b"ok")

    def test_http10(self) -> None:
        """No chunks, no interim answers; the end of the connection ends the body."""
        for path, body in (("/chunked", b"abcde"), ("/until-close", b"until close"), ("/hints", b"ok")):
            done = self.curl(path, "--http1.0", "--raw")
            self.assertTrue(done.head.startswith("HTTP/1.1 200 "), done.head)
            self.assertNotIn("chunked", done.head)
            self.assertEqual((done.exit, done.body), (0, body))
        self.assertEqual({line.split()[2] for line, _, _ in Origin.seen}, {"HTTP/1.1"})

    def test_chunks_and_trailers(self) -> None:
        """They arrive as they were sent."""
        self.assertEqual(self.curl("/chunked", "--raw").body, b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n")

    def test_until_close_keeps_the_client(self) -> None:
        """Two requests on one connection of curl's, though the server's ends with each."""
        done = self.curl("/until-close", "-o", "/dev/null", self.proxy.url + "/until-close")
        self.assertEqual((done.exit, done.status, done.connections, done.body), (0, 200, 0, b"until close"))

    def test_early_hints(self) -> None:
        """103 comes through before the answer."""
        head = self.curl("/hints").head
        self.assertIn("HTTP/1.1 103 Early Hints\nLink: </style.css>\n\nHTTP/1.1 200 OK", head.replace("\r", ""))

    def test_methods_and_targets(self) -> None:
        """HEAD, an unknown method, OPTIONS *, and a target with scheme and host, as proxies are asked."""
        self.curl("/head", "-I")
        self.curl("/pot", "-X", "BREW")
        self.curl("/", "-X", "OPTIONS", "--request-target", "*")
        self.through("http://origin.test/absolute")
        asked = ["HEAD /head", "BREW /pot", "OPTIONS *", "GET http://origin.test/absolute"]
        self.assertEqual([line for line, _, _ in Origin.seen], [line + " HTTP/1.1" for line in asked])

    def test_connect(self) -> None:
        """A tunnel through us to a server that makes tunnels; inside it curl asks what it likes."""
        self.assertEqual(self.through("http://origin.test:80/inside", "-p").body, b"ok")
        asked = ["CONNECT origin.test:80", "GET /inside"]
        self.assertEqual([line for line, _, _ in Origin.seen], [line + " HTTP/1.1" for line in asked])

    def through(self, url: str, *arguments: str) -> Curl:
        """As curl asks a proxy that it knows for one."""
        return run_curl("--noproxy", "", "-x", self.proxy.url, *arguments, url, seconds=20)
