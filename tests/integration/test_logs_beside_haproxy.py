"""Lines of the access log beside HAProxy: the same configuration, and the same requests, to a syslog target.

Times of the clock, ports and numbers of bytes are not compared, only that they are there; all else is.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from pathlib import Path
from unittest import TestCase

from attrs import frozen

from tests.integration.beside import HAProxy
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, temporary_directory
from tests.integration.test_beside_haproxy import why_not
from tests.ports import free_ports

GET = b'GET /a/b?x=1 HTTP/1.1\r\nHost: example.org\r\nUser-Agent: M|o {z} "x"\r\nCookie: a=b; SID=xyz12345\r\n\r\n'
BAD = b"GET / bad\r\n\r\n"


def get(path: str, version: str = "1.1") -> bytes:
    return f"GET {path} HTTP/{version}\r\nHost: a\r\n\r\n".encode()


@frozen
class Case:
    """A frontend with these lines, and one client for each of the requests. `lines`: how many of them are logged."""

    name: str
    config: str
    requests: tuple[bytes, ...] = (GET, BAD)
    lines: int = 2
    #: What both put before each line.
    header: str = r"<134>\w{3} [ \d]\d [\d:]{8} NAME\[\d+\]: "
    log: str = "local0"
    tcp: bool = False


CASES = [
    Case("httplog", "option httplog", (GET, BAD, get("/500"), get('/"x'), get("/", "1.0"), get("/r")), 6),
    Case("clf", "option httplog clf\n capture cookie SI len 8\n capture request header Host len 5\n"
         " capture request header X-None len 9\n capture response header Server len 20"),
    Case("httpslog", "option httpslog"),
    Case("captures", "option httplog\n capture request header User-Agent len 9\n capture response header X-Two len 20\n"
         " http-request capture path len 3\n declare capture request len 4\n http-request capture str(qwertz) id 2\n"
         " declare capture response len 9\n http-response capture res.hdr(x-two,1) id 1"),
    Case("names", 'log-format "  %f %{+Q}ft %b %{+Q}s  %si %bi %ci %fi %{+X}ci %{+X}fi %H %hr %hs %sslv %{+Q}sslc |"'),
    Case("requests", 'log-format "%r|%{+Q}r|%HM|%HU|%HP|%HPO|%HQ|%HV|%[method]|%[capture.req.uri]|%[capture.req.ver]"',
         (GET, BAD, get("http://a/p?q"), get('/"x{}'), b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), 5),
    Case("states", 'log-format "%ST %ts %tsc %CC %{+Q}CS %rc %sq/%bq %ac/%fc/%bc/%sc %lc %{+X}lc"', (GET, GET, BAD), 3),
    Case("times", 'log-format "t:%Th t:%Ti t:%TR t:%Tq t:%Tw t:%Tc t:%Tr t:%Td t:%Ta t:%Tt t:%Tu"',
         (GET, BAD, get("/r")), 3),
    Case("dates", 'log-format "%t|%tr|%T|%Tl|%trg|%trl|%Ts|%ms|%{+X}Ts|%{+X}ms"'),
    Case("expressions", "http-request set-var(txn.p) path\n"
         ' log-format "%[src] %[var(txn.p)] %[var(txn.none)] %{+Q}[var(txn.none)] %{+Q}[var(txn.p),length]'
         " %{-M}[src_port,mul(0)]"
         ' %{+Q,+E}o %[fe_name] %f"'),
    Case("escapes", "log-format %{+Q,+E}o%[str('a]\\\"b')]\\ %b\\ %{-Q}b\\ %ST"),
    Case("ids", "unique-id-format %{+X}o\\ %ci-%fi\\ \\ x\n unique-id-header X-Id\n"
         ' log-format "%ID %{+Q}[unique-id]"'),
    Case("early", "option httplog\n option logasap", (get("/long"), BAD)),
    Case("errors", 'option httplog\n error-log-format "E %ST %ts %TR %r %[fc_err] %[fc_err_str] %tsc %s %b %hr"\n'
         " capture request header Host len 9"),
    Case("separate", "option httplog\n option log-separate-errors", (get("/500"),), 1, r"<131>.*?: "),
    Case("refused", "option httplog\n option log-separate-errors", (BAD,), 1, r"<131>.*?: "),
    Case("normal", "option httplog\n option dontlog-normal", (GET, get("/500"), BAD)),
    Case("levels", "option httplog\n http-request set-log-level silent if { path_beg /a }\n"
         " http-response set-log-level alert if { status 500 }", (GET, get("/500")), 1, r"<129>.*?: "),
    Case("short", "option httplog", header="<6>", log="format short local0 info"),
    Case("priority", "option httplog", header="<190>", log="format priority local7"),
    Case("timed", "option httplog", header=r"<6>[\dT:.+-]{32} ", log="format timed local0"),
    Case("iso", "option httplog", header=r"[\dT:.+-]{32} ", log="format iso local0"),
    Case("rfc3164", "option httplog", header=r"<134>\w{3} [ \d]\d [\d:]{8} localhost NAME\[\d+\]: ",
         log="format rfc3164 local0"),
    Case("rfc5424", 'option httplog\n log-format-sd "%{+Q,+E}o[id@1 path=%HU st=%ST]"', (GET,), 1,
         r'<134>1 [\dT:.+-]{32} - NAME \d+ - \[id@1 path="/a/b\?x=1" st=200\] ', log="format rfc5424 local0"),
    Case("cap", "option httplog\n option log-separate-errors", (get("/500"),), 1, "<4>",
         log="len 120 format short local0 info warning"),
    Case("tcplog", "option tcplog", (GET,), 1, tcp=True),
    Case("tcpearly", 'option logasap\n log-format "%ci %ft %b/%s t:%Th t:%Tw t:%Tc t:%Td +%Tt %B %U %ts %rc %fi %si'
         ' %[src] %ST %tsc %hr"', (GET,), 1, tcp=True),
    Case("tcpcapture", 'log-format "%b/%s t:%Tw %ts %hr %{+Q}hr %hrl %[capture.req.hdr(0)]"\n'
         " declare capture request len 9\n"
         " tcp-request content capture src len 5", (GET,), 1, tcp=True),
]  # fmt: skip
#: What only we do, by name: the manual's JSON of 3.x.
OURS = [
    Case("json", 'log-format "%{+json}o %(host)ci %(status)ST %(path)HPO %(bad)[var(txn.none)] %(n)[int(7)]"'),
]


def serve(listening: socket.socket) -> None:
    """Answers requests, by what is in their head."""

    def talk(connection: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError), connection:
            while True:
                while b"\r\n\r\n" not in data:
                    piece = connection.recv(65536)
                    if not piece:
                        return
                    data += piece
                head, _, data = data.partition(b"\r\n\r\n")
                status = b"500 Bad" if b"/500" in head else b"200 OK"
                fields = b"Server: test {1}\r\nX-Two: 1\r\nX-Two: 2|3\r\nSet-Cookie: SID=abcdefghij; path=/\r\n"
                connection.sendall(b"HTTP/1.1 %b\r\nContent-Length: 4\r\n%b\r\nok" % (status, fields))
                time.sleep(0.2 if b"/long" in head else 0)
                connection.sendall(b"ok")

    with contextlib.suppress(OSError):
        while True:
            accepted, _ = listening.accept()
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=talk, args=(accepted,), daemon=True).start()


def plain(line: str) -> str:
    """A line without what no two runs have in common."""
    line = re.sub(r"\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d(\.\d{3})?", lambda found: "D.ms" if found[1] else "D", line)
    line = re.sub(r"127\.0\.0\.1:\d+ \[", "127.0.0.1:P [", line)
    line = re.sub(r"(-?\d+)/(-?\d+)/(-?\d+)/(-?\d+)/(\+?)(\d+) (-?\d+) (\+?)\d+ - ", _timers, line)
    line = re.sub(r" \d+/\d+/\d+ (\+?)\d+ (..) ", r" W/C/T \1B \2 ", line)
    line = re.sub(r"([t+]):?\+?\d+", r"\1N", line)
    line = re.sub(r'" (\d{3}) \d+ "" "" \d+ \d+ ', r'" \1 B "" "" P ms ', line)
    line = re.sub(
        r'("<NOSRV>"|"s")((?: (?:-1|\d+)){5}) ',
        lambda found: found[1] + re.sub(r"\d+(?<!-1)", "N", found[2]) + " ",
        line,
    )
    return re.sub(r"\|\d{10}\|\d{3}\|[0-9A-F]{8}\|[0-9A-F]+", "|Ts|ms|X|X", line)


def _timers(found: re.Match[str]) -> str:
    times = "/".join(each if each == "-1" else "N" for each in found.groups()[:4])
    return f"{times}/{found[5]}N {found[7]} {found[8]}B - "


class LogTests(TestCase):
    def setUp(self) -> None:
        if reason := why_not():
            self.skipTest(reason)

    def lines(self, kind: type[Daemon], directory: Path, cases: list[Case]) -> dict[str, list[str]]:
        """What each case's frontend has logged, with its headers checked and taken off."""
        server = socket.create_server((LOOPBACK, 0))
        self.addCleanup(server.close)
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        sinks = []
        text = ""
        ports = free_ports(len(cases))
        for case, port in zip(cases, ports, strict=True):
            sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.addCleanup(sink.close)
            sink.bind((LOOPBACK, 0))
            sink.settimeout(20)
            sinks.append(sink)
            mode, backend = ("tcp", "t") if case.tcp else ("http", "b")
            text += (
                f"frontend {case.name}\n mode {mode}\n bind {LOOPBACK}:{port}\n no log\n"
                f" log {LOOPBACK}:{sink.getsockname()[1]} {case.log}\n log-tag {case.name}\n {case.config}\n"
                f" default_backend {backend}\n"
            )
            if not case.tcp:
                text += " http-request redirect location /x if { path /r }\n" if "/r" in str(case.requests) else ""
        port = server.getsockname()[1]
        text += (
            f"backend b\n mode http\n server s {LOOPBACK}:{port}\nbackend t\n mode tcp\n server s {LOOPBACK}:{port}\n"
        )
        daemon = kind(directory, text + f"backend servers\n server s {LOOPBACK}:{port}\n")
        self.addCleanup(daemon.stop)
        daemon.start()
        found: dict[str, list[str]] = {}
        for case, port, sink in zip(cases, ports, sinks, strict=True):
            for request in case.requests:
                self.ask(port, request)
            header = re.compile(case.header.replace("NAME", case.name))
            lines: list[str] = []
            found[case.name] = lines
            while len(lines) < case.lines:
                line = sink.recv(65536).decode()
                if "Proxy " in line:
                    continue  # what happens to the frontend itself
                match = header.match(line)
                self.assertTrue(match, f"{kind.__name__} {case.name}: {line}")
                assert match is not None
                lines.append(plain(line[match.end() :].rstrip("\n")))
        daemon.stop()
        return found

    def ask(self, port: int, request: bytes) -> None:
        with socket.create_connection((LOOPBACK, port), timeout=20) as client:
            client.sendall(request)
            data = b""
            while b"\r\n\r\n" not in data or (b"Content-Length: 4" in data and not data.endswith(b"okok")):
                piece = client.recv(65536)
                if not piece:
                    break
                data += piece
            client.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                while client.recv(65536):
                    pass

    def test_lines(self) -> None:
        directory = temporary_directory(self)
        theirs = self.lines(HAProxy, directory / "haproxy", CASES)
        ours = self.lines(Daemon, directory / "ours", CASES)
        for case in CASES:
            self.assertEqual(ours[case.name], theirs[case.name], case.name)

    def test_json(self) -> None:
        """Which HAProxy has since 3.0."""
        found = self.lines(Daemon, temporary_directory(self) / "ours", OURS)["json"]
        said = [json.loads(line) for line in found]
        self.assertEqual(said[0], {"host": "127.0.0.1", "status": 200, "path": "/a/b", "bad": "", "n": 7})
        self.assertEqual((said[1]["status"], said[1]["path"]), (400, "<BADREQ>"))
