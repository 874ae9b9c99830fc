"""Error pages through reusedproxy and through HAProxy with the same configuration: the same bytes, and the same end."""

from __future__ import annotations

import re
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from unittest import TestCase

from reusedproxy.config.model.errors import ERROR_STATUSES
from tests.integration.beside import HAProxy, haproxy_version
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, temporary_directory
from tests.ports import free_port

#: Files of whole answers, by name.
FILES = {
    "old": b"HTTP/1.0 503 Service Unavailable\r\nCache-Control: no-cache\r\nConnection: close\r\n\r\n<h1>no</h1>\n",
    "old-length": b"HTTP/1.0 503 Old\r\nContent-Length: 2\r\n\r\nab",
    "kept": b"HTTP/1.1 403 Own\r\nConnection: keep-alive\r\nContent-Length: 5\r\nX-My:  1 \r\n\r\nhello",
    "closing": b"HTTP/1.1 503 Own\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab",
    "other-status": b"HTTP/1.1 200 Fine\r\nContent-Length: 3\r\n\r\nodd",
    "no-length": b"HTTP/1.1 401 Own\r\nWWW-Authenticate: x\r\n\r\nwho?",
    "line-feeds": b"HTTP/1.1 404 Own\nX-A: 1\nx-a: 2\n\nnot here\n",
    "not-modified": b"HTTP/1.1 304 Own\r\nETag: x\r\nContent-Length: 7\r\n\r\n",
    "nothing": b"",
}
CODES = [status for status in ERROR_STATUSES if status not in (414, 431)]  # these came after 2.6

PAGES = """
{denials}backend servers
    server none {host}:1 disabled
http-errors site
    errorfile 403 {d}/kept
    errorfile 503 {d}/old
defaults errors
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
    errorfile 503 {d}/closing
    errorfile 502 /dev/null
    errorloc 504 /from-defaults
    retries 0
frontend pages from errors
    bind {host}:{port}
    errorfile 403 {d}/kept
    errorfile 401 {d}/no-length
    errorfile 404 {d}/line-feeds
    errorfile 413 {d}/not-modified
    errorfile 500 {d}/other-status
    errorfile 503 {d}/old-length
    errorloc303 405 http://x/%20y?z
    errorloc 410 /first
    errorfile 410 {d}/kept
    http-error status 425 content-type text/plain lf-string "sorry %[path]\\n" hdr X-From "%[src]" hdr X-No "%[query]"
    http-error status 429 errorfile {d}/kept
    http-error status 501 content-type text/plain file {d}/kept
    http-error status 407
    http-error status 408 hdr X-A b
    {first}
    http-request return errorfile {d}/old if {{ path /r1 }}
    http-request return status 403 errorfiles site if {{ path /r2 }}
    http-request return status 404 errorfiles site if {{ path /r3 }}
    http-request return status 503 default-errorfiles if {{ path /r4 }}
    http-request return status 400 default-errorfiles if {{ path /r5 }}
    http-request return status 200 content-type a/b file {d}/kept hdr X-B "%[path]" if {{ path /r6 }}
    http-request return status 201 content-type a/b lf-file {d}/format hdr X-B "%[path]" if {{ path /r7 }}
    http-request return errorfile /dev/null if {{ path /r8 }}
    http-request return status 200 file /dev/null if {{ path /r9 }}
    http-request return status 204 hdr A b if {{ path /r10 }}
    http-request deny errorfile {d}/old-length if {{ path /d1 }}
    http-request deny status 503 errorfiles site if {{ path /d2 }}
    http-request deny status 418 if {{ path /d3 }}
    http-request deny status 429 hdr X-A b if {{ path /d4 }}
    http-request deny status 504 default-errorfiles if {{ path /d5 }}
    http-request deny status 422 content-type a/b string text if {{ path /d6 }}
{denials}
    use_backend own if {{ path_beg /own }}
    use_backend inherits if {{ path_beg /inherits }}
    use_backend group if {{ path_beg /group }}
    default_backend inherits
backend inherits from errors
    http-request deny deny_status 403 if {{ path /inherits403 }}
    http-request deny deny_status 504 if {{ path /inherits504 }}
    server none {host}:1 disabled
backend own from errors
    errorfile 503 {d}/other-status
    http-error status 404 content-type text/plain string own
    http-request deny deny_status 404 if {{ path /own404 }}
    http-request deny deny_status 401 if {{ path /own401 }}
    server none {host}:1 disabled
backend group from errors
    errorfiles site 503
    http-request deny deny_status 403 if {{ path /group403 }}
    server none {host}:1 disabled
"""
PATHS = [
    *(f"/{status}" for status in CODES),
    *(f"/r{number}" for number in range(1, 11)),
    *(f"/d{number}" for number in range(1, 7)),
    "/inherits",
    "/inherits403",
    "/inherits504",
    "/own",
    "/own401",
    "/own404",
    "/group",
    "/group403",
]


#: Sent when an answer has come: only a connection that goes on answers this, too.
PROBE = b"GET /probe HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def answers(port: int, sent: bytes) -> bytes:
    """Returns all bytes of one connection: what is answered, and to the probe if the connection goes on.

    HAProxy writes the names of headers in lower case, and we as they are written in the configuration, so all are made
    lower case.
    """
    with socket.create_connection((LOOPBACK, port), timeout=10) as connection:
        connection.sendall(sent)
        data = b""
        with suppress(ConnectionError):
            data = piece = connection.recv(65536)
            if data:
                connection.sendall(PROBE)
            while piece:
                piece = connection.recv(65536)
                data += piece
    return re.sub(rb"\r\n[A-Za-z-]+:", lambda found: found[0].lower(), data)


class ErrorsBesideHAProxyTests(TestCase):
    """Each page for clients of either version, for GET and HEAD, and twice on one connection."""

    def setUp(self) -> None:
        if not haproxy_version():
            self.skipTest("needs haproxy")

    def proxies(self, at_connection: str = "") -> list[tuple[Daemon, int]]:
        directory = temporary_directory(self)
        for name, data in {**FILES, "format": b"%[path] and\n%%\n"}.items():
            (directory / name).write_bytes(data)
        made = []
        for kind, name in ((Daemon, "ours"), (HAProxy, "theirs")):
            proxy = kind(directory / name, "")
            port = free_port()
            proxy.write(PAGES.format(d=directory, host=LOOPBACK, port=port, denials=_denials(), first=at_connection))
            proxy.start()
            self.addCleanup(proxy.stop)
            made.append((proxy, port))
        return made

    def compare(self, cases: list[tuple[list[int], bytes]]) -> None:
        """Sends each of these bytes to both, at the ports beside."""

        def both(case: tuple[list[int], bytes]) -> list[bytes]:
            return [answers(port, case[1]) for port in case[0]]

        with ThreadPoolExecutor(8) as threads:
            for (_, sent), (ours, theirs) in zip(cases, threads.map(both, cases), strict=True):
                self.assertEqual(ours, theirs, sent)

    def test_each_page(self) -> None:
        """Those of HAProxy itself, and those of files, texts and addresses."""
        proxies = self.proxies()
        ports = [port for _, port in proxies]
        cases = []
        for path in PATHS:
            for version, method in (("1.0", "GET"), ("1.1", "GET"), ("1.0", "HEAD"), ("1.1", "HEAD")):
                cases.append((ports, f"{method} {path} HTTP/{version}\r\nHost: a\r\n\r\n".encode()))
            cases.append((ports, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode() * 2))
            kept = f"GET {path} HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n".encode()
            cases += [(ports, kept), (ports, kept * 2)]
        self.compare(cases)

    def test_the_pages_of_haproxy_itself(self) -> None:
        """Byte for byte, where nothing is configured."""
        ports = [proxy.port for proxy, _ in self.proxies()]
        self.compare(
            [
                (ports, f"GET /{status} HTTP/{version}\r\nHost: a\r\n\r\n".encode())
                for status in CODES
                for version in ("1.0", "1.1")
            ]
        )

    def test_empty_files_keep_what_cannot_be_read_without_an_answer(self) -> None:
        """As those who write `errorfile 408 /dev/null` want it."""
        ports = [
            port
            for _, port in self.proxies(
                at_connection="timeout http-request 100ms\n    errorfile 400 /dev/null\n    errorfile 408 /dev/null"
            )
        ]
        self.compare([(ports, b"GET / HTTP/1.1\r\nno header\r\n\r\n"), (ports, b"GET / HTTP/1.1\r\nHost:")])


def _denials() -> str:
    return "".join(f"    http-request deny deny_status {status} if {{ path /{status} }}\n" for status in CODES)
