"""The statistics page of reusedproxy and of HAProxy with the same lines: who may see it, and what is obeyed."""

from __future__ import annotations

import csv
import io
import re
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import TestCase

import pytest

from reusedproxy.config.language.haproxy_words import words
from tests.integration.beside import HAProxy, haproxy_version
from tests.integration.daemon import Daemon
from tests.integration.peers import (
    LOOPBACK,
    Process,
    accepts_connections,
    find_program,
    temporary_directory,
    wait_for,
)
from tests.integration.test_auth_beside_haproxy import answer, basic
from tests.ports import free_port, free_ports

TEXT = """
backend servers
    server s1 {host}:1 weight 3
    server s2 {host}:2 check inter 60s
    server s3 {host}:3 disabled backup
userlist team
    group admins
    user root insecure-password r00t groups admins
    user guest insecure-password look
frontend closed
    bind {host}:{closed}
    stats uri /st
    stats auth a:b:c
    stats auth x:y
    default_backend servers
frontend ruled
    bind {host}:{ruled}
    stats uri /st
    stats http-request deny if {{ hdr(x-no) -m found }}
    stats http-request auth realm Ops unless {{ http_auth(team) }}
    stats admin if {{ http_auth_group(team) admins }}
    stats scope servers
frontend nameless
    bind {host}:{nameless}
    stats uri /st
    stats http-request auth unless {{ http_auth(team) }}
defaults
    mode http
    timeout connect 1s
    timeout client 1s
    timeout server 1s
    stats auth q:r
    stats realm Inherited
listen inheriting
    bind {host}:{inheriting}
    server s {host}:1
"""
#: Frontend, request line, fields and body; what differs in the page itself is not compared.
ASKED = (
    *((name, line, b"", b"") for name in ("closed", "ruled") for line in (b"GET /st", b"HEAD /st", b"GET /st;csv")),
    *(("closed", b"GET " + target, b"", b"") for target in (b"http://a/st", b"/st?x", b"/status", b"/st;json")),
    ("closed", b"GET /st", basic(b"a:b:c"), b""),
    ("closed", b"GET /st;csv", basic(b"x:y"), b""),
    ("closed", b"GET /st", basic(b"x:z"), b""),
    ("closed", b"POST /st", b"", b"s=s1&b=servers&action=maint"),
    ("closed", b"POST /st", basic(b"x:y"), b"s=s1&b=servers&action=maint"),
    ("ruled", b"GET /st", b"X-No: 1\r\n" + basic(b"root:r00t"), b""),
    ("ruled", b"GET /st", basic(b"guest:look"), b""),
    ("ruled", b"GET /st;csv", basic(b"guest:look"), b""),
    ("ruled", b"POST /st", basic(b"guest:look"), b"s=s1&b=servers&action=maint"),
    ("nameless", b"GET /st", b"", b""),
    ("inheriting", b"GET /haproxy?stats", b"", b""),
    ("inheriting", b"GET /haproxy?stats", basic(b"q:r"), b""),
)
FORMS = (
    "s=s1&b=servers&action=drain",
    "s=s1&s=s3&b=servers&action=ready",
    "s=s1&s=no&b=servers&action=maint",
    "s=no&b=servers&action=maint",
    "s=s1&b=no&action=maint",
    "s=s1&b=closed&action=maint",
    "s=s1&b=servers&action=no",
    "s=s1&b=servers",
    "s=s1&action=ready",
    "b=servers&action=ready",
    "x=y",
    "action=ready&b=servers&s=%731",
    "s=s1&b=servers&action=maint&action=ready",
    "s=s1&b=servers&action=enable",
    "s=s1&b=servers&action=disable",
    "s=s1&b=servers&action=enable",
    "s=s1&b=servers&action=stop",
    "s=s1&b=servers&action=start",
    "s=s1&b=servers&action=hdown",
    "s=s2&b=servers&action=hdown",
    "s=s2&b=servers&action=hrunn",
    "s=s2&b=servers&action=hnolb",
    "s=s2&b=servers&action=dhlth",
    "s=s1&b=servers&action=dhlth",
    "s=s2&b=servers&action=ehlth",
    "s=s2&b=servers&action=dagent",
    "s=s2&b=servers&action=shutdown",
    "s=s3&b=servers&action=maint",
    "s=s1&b=%232&action=drain",
    "s=s1&b=#2&action=ready",
    "s=s1&b=#99&action=drain",
    "s=s1&b=#&action=drain",
)


#: What comes behind the address of a page, to choose sections by their names.
CHOSEN = (
    *("", "?scope=ser", ";csv;scope=SER", "?scope=ed&x", "?scope=no-such", "?scope=%73er", "?scope=ser;up", "?scope="),
    *("?scope=" + 22 * "s", ";up?scope=clo", "?scope=se"),
)


def outcome(said: bytes) -> tuple[bytes, ...]:
    """What decides: the status, whom it asks, where it sends the client; and a page that refuses."""
    head, _, body = said.partition(b"\r\n\r\n")
    fields = re.findall(rb"(?im)^((?:location|www-authenticate|content-type): [^;\r]*)", head)
    return head.split(b"\r\n")[0], *sorted(fields), b"" if b" 200 " in head[:20] else body


#: What is alike to the digit under the same traffic, in the rows where HAProxy has it.
COUNTED = words(
    """
    stot qmax smax dreq dresp ereq econ eresp wretr wredis status weight act bck chkfail chkdown qlimit iid sid type
    rate_lim hrsp_1xx hrsp_2xx hrsp_3xx hrsp_4xx hrsp_5xx hrsp_other req_tot cli_abrt srv_abrt comp_in comp_out
    comp_byp comp_rsp mode conn_tot intercepted dcon dses wrew cache_lookups cache_hits eint uweight
    agg_server_status agg_server_check_status agg_check_status h1_total_streams h1_bytes_in h1_bytes_out
    h1_spliced_bytes_in h1_spliced_bytes_out ssl_sess ssl_reused_sess ssl_failed_handshake
    """
)
TIMES = ("qtime", "ctime", "rtime", "ttime", "qtime_max", "ctime_max", "rtime_max", "ttime_max")
#: Milliseconds by which they may differ: both run on a machine that does other things, too.
TOLERANCE = 100

TRAFFIC = """
backend servers
    server s1 {host}:{slow} maxconn 20
backend queue
    fullconn 10
    server q1 {host}:{slow} maxconn 1 maxqueue 9
backend denied
    http-request deny
    server d1 {host}:{slow}
backend dead
    retries 2
    option redispatch
    server dead {host}:{dead}
frontend ways
    bind {host}:{port} name door maxconn 70
    option socket-stats
    maxconn 77
    rate-limit sessions 500
    use_backend queue if {{ path_beg /queue }}
    use_backend denied if {{ path_beg /denied }}
    use_backend dead if {{ path_beg /dead }}
    default_backend servers
"""


class Slow(BaseHTTPRequestHandler):
    """Answers after three tenths of a second, but for the path /."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path != "/":
            time.sleep(0.3)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def ask_in_a_row(port: int, paths: Sequence[str], pause: float = 0.0) -> None:
    client = HTTPConnection(LOOPBACK, port, timeout=10)
    for path in paths:
        client.request("GET", path)
        client.getresponse().read()
        time.sleep(pause)
    client.close()


def ask_at_once(port: int, paths: Sequence[str]) -> None:
    """By a client each: all requests are sent before an answer is read, as no threads of a busy machine would be."""
    clients = [HTTPConnection(LOOPBACK, port, timeout=10) for _ in paths]
    for client in clients:
        client.connect()
    for client, path in zip(clients, paths, strict=True):
        client.request("GET", path)
    for client in clients:
        client.getresponse().read()
        client.close()


def settled(daemon: Daemon, *sections: str) -> list[dict[str, str]]:
    """The rows of these sections, when nobody is served in any of them any more."""

    def found() -> list[dict[str, str]]:
        rows = [row for row in daemon.statistics() if row["pxname"] in sections]
        return rows if all(row["scur"] in ("", "0") for row in rows) else []

    return wait_for(found, "the last client's end to be noticed")


def cause_traffic(port: int) -> None:
    """Asks each of the backends of TRAFFIC but the dead one, and `queue` three times at once."""
    ask_in_a_row(port, ["/"] * 3, pause=0.2)
    ask_in_a_row(port, ["/slow"])
    ask_at_once(port, [f"/queue{number}" for number in range(3)])
    ask_in_a_row(port, ["/denied"] * 2)


class SlowServer(ThreadingHTTPServer):
    """Answers as `Slow`."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: health checks leave without a word."""


class TrafficCase(TestCase):
    """Has a `SlowServer`, for the same traffic through both proxies (TRAFFIC)."""

    def setUp(self) -> None:
        if not haproxy_version():
            self.skipTest("no haproxy: apt-get install haproxy")
        self.server = SlowServer((LOOPBACK, 0), Slow)
        self.addCleanup(self.server.server_close)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.shutdown)


@pytest.mark.alone
class TrafficBesideHAProxyTests(TrafficCase):
    def rows(self, make: Callable[[Path, str], Daemon], directory: Path) -> dict[tuple[str, str], dict[str, str]]:
        """The statistics after the same traffic."""
        port, dead = free_ports(2)
        text = TRAFFIC.format(host=LOOPBACK, port=port, dead=dead, slow=self.server.server_address[1])
        daemon = make(directory, text)
        self.addCleanup(daemon.stop)
        daemon.start()
        cause_traffic(port)
        ask_in_a_row(port, ["/dead"])
        rows = settled(daemon, *_SHOWN)
        daemon.stop()
        return {(row["pxname"], row["svname"]): row for row in rows}

    def test_the_same_traffic_has_the_same_figures(self) -> None:
        directory = temporary_directory(self)
        ours, theirs = self.rows(Daemon, directory / "ours"), self.rows(HAProxy, directory / "theirs")
        self.assertEqual(ours.keys(), theirs.keys())
        for key, its in theirs.items():
            mine = ours[key]
            wanted = {name: its[name] for name in COUNTED if its.get(name)}
            if its["svname"] == "FRONTEND":
                del wanted["smax"]  # a client that has closed counts until that is noticed
            elif its["type"] == "3":
                del wanted["smax"]
            elif key == ("dead", "BACKEND"):
                del wanted["h1_bytes_in"], wanted["h1_bytes_out"]  # those of `bin` and `bout`, sent or not
            self.assertEqual({name: mine[name] for name in wanted}, wanted, key)
            for name in TIMES:
                if its[name]:
                    self.assertLess(
                        abs(int(mine[name]) - int(its[name])), TOLERANCE, (key, name, mine[name], its[name])
                    )
        self.assertEqual((ours["dead", "dead"]["lbtot"], theirs["dead", "dead"]["lbtot"]), ("1", "1"))
        self.assertGreater(int(ours["queue", "q1"]["qtime_max"]), 500)
        self.assertGreater(int(ours["servers", "s1"]["ttime"]), 100)


STREAMS = """
frontend tin
    mode tcp
    bind {host}:{port}
    timeout client 2s
    tcp-request inspect-delay 2s
    tcp-request content reject if {{ req.payload(0,4) -m str evil }}
    tcp-request content accept if {{ req.len gt 0 }}
    use_backend tdown if {{ req.payload(0,4) -m str down }}
    use_backend tdeny if {{ req.payload(0,4) -m str deny }}
    use_backend tresp if {{ req.payload(0,4) -m str resp }}
    use_backend tnone if {{ req.payload(0,4) -m str none }}
    default_backend tok
backend servers
    server x {host}:{dead}
backend tok
    mode tcp
    timeout server 1s
    server s {host}:{server}
backend tdown
    mode tcp
    retries 1
    option redispatch
    server s {host}:{dead}
backend tdeny
    mode tcp
    tcp-request content reject
    server s {host}:{server}
backend tnone
    mode tcp
    server s {host}:{server} disabled
backend tresp
    mode tcp
    tcp-response inspect-delay 1s
    tcp-response content reject if {{ res.payload(0,4) -m str resp }}
    tcp-response content accept if {{ res.len gt 0 }}
    server s {host}:{server}
"""
#: What clients say, one after the other. A rule refuses it, no server takes it, or the server echoes it; or it resets,
#: closes, resets behind a part of its answer, or says nothing.
SAID = (
    *(b"hello", b"hello!", b"evil12", b"down123", b"deny12345", b"none1234", b"resp12", b"rst!abc", b"shutabc"),
    *(b"partabc", b"hangabc"),
)
COUNTED_OF_STREAMS = COUNTED | {"bin", "bout", "lbtot"}
RESET = struct.pack("ii", 1, 0)


def _echo(listening: socket.socket) -> None:
    """Serves clients one after the other, as SAID tells."""
    while True:
        try:
            client, _ = listening.accept()
        except OSError:
            return
        with client:
            said = client.recv(100)
            if said[:4] in (b"rst!", b"part"):
                client.sendall(b"some" if said[:4] == b"part" else b"")
                time.sleep(0.1)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            elif said[:4] == b"hang":
                client.settimeout(20)
                client.recv(1)
            elif said[:4] != b"shut":
                client.sendall(said)


def _said(port: int, data: bytes) -> None:
    """Says this, and hears all that is answered."""
    with socket.create_connection((LOOPBACK, port), timeout=10) as client:
        client.sendall(data)
        try:
            while client.recv(100):
                pass
        except ConnectionResetError:
            pass


class StreamFiguresTests(TestCase):
    """Rows of mode tcp."""

    def rows(
        self, make: Callable[[Path, str], Daemon], directory: Path, server: int
    ) -> dict[tuple[str, str], dict[str, str]]:
        port, dead = free_ports(2)
        daemon = make(directory, STREAMS.format(host=LOOPBACK, port=port, server=server, dead=dead))
        self.addCleanup(daemon.stop)
        daemon.start()
        for said in SAID:
            _said(port, said)
        # HAProxy counts bytes when it looks at a session, the last time at its end.
        rows = settled(daemon, "tin", "tok", "tdown", "tdeny", "tnone", "tresp")
        daemon.stop()
        return {(row["pxname"], row["svname"]): row for row in rows}

    def test_the_same_sessions_have_the_same_figures(self) -> None:
        if not haproxy_version():
            self.skipTest("no haproxy: apt-get install haproxy")
        listening = socket.create_server((LOOPBACK, 0), backlog=64)
        threading.Thread(target=_echo, args=(listening,), daemon=True).start()
        self.addCleanup(listening.close)
        self.addCleanup(listening.shutdown, socket.SHUT_RDWR)
        directory, server = temporary_directory(self), listening.getsockname()[1]
        ours, theirs = self.rows(Daemon, directory / "ours", server), self.rows(HAProxy, directory / "theirs", server)
        self.assertEqual(ours.keys(), theirs.keys())
        for key, its in theirs.items():
            wanted = {name: its[name] for name in COUNTED_OF_STREAMS if its.get(name)}
            del wanted["smax"]  # who has left counts until that is noticed
            self.assertEqual({name: ours[key][name] for name in wanted}, wanted, key)
        self.assertEqual(theirs["tok", "s"]["eresp"], "2")


class ExporterTests(TestCase):
    """Debian's prometheus-haproxy-exporter, which reads the columns by their places."""

    def metrics(self, program: str, daemon: Daemon, directory: Path) -> str:
        """What it makes of a daemon's CSV."""
        directory.mkdir()
        port, exporter = free_port(), Process(directory)
        uri = f"http://{LOOPBACK}:{daemon.stats_port}/;csv"
        self.addCleanup(exporter.stop)
        exporter.spawn([program, f"--haproxy.scrape-uri={uri}", f"--web.listen-address={LOOPBACK}:{port}"])
        wait_for(lambda: accepts_connections(port), "the exporter to accept")
        client = HTTPConnection(LOOPBACK, port, timeout=10)
        client.request("GET", "/metrics")
        text = client.getresponse().read().decode()
        client.close()
        exporter.stop()
        return text

    def test_it_finds_what_it_finds_in_haproxy(self) -> None:
        """The same families, and the same numbers of what is counted after the same traffic."""
        program = find_program("prometheus-haproxy-exporter")
        if program is None or not haproxy_version():
            self.skipTest("apt-get install haproxy prometheus-haproxy-exporter")
        server = ThreadingHTTPServer((LOOPBACK, 0), Slow)
        self.addCleanup(server.server_close)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.shutdown)
        directory, found = temporary_directory(self), []
        for name, make in (("ours", Daemon), ("theirs", HAProxy)):
            port, dead = free_ports(2)
            text = TRAFFIC.format(host=LOOPBACK, port=port, dead=dead, slow=server.server_address[1])
            daemon = make(directory / name, text)
            self.addCleanup(daemon.stop)
            daemon.start()
            ask_in_a_row(port, ["/"] * 3)
            ask_in_a_row(port, ["/denied"] * 2)
            ask_in_a_row(port, ["/dead"])
            settled(daemon, *_SHOWN)
            found.append(self.metrics(program, daemon, directory / f"{name}-exporter"))
            daemon.stop()
        ours, theirs = found
        families = [set(re.findall(r"(?m)^# TYPE (haproxy_\S+)", text)) for text in (ours, theirs)]
        self.assertGreater(len(families[1]), 70)
        self.assertEqual(families[1] - families[0], set())
        counted = [
            dict(re.findall(r'(?m)^(haproxy_(?!exporter)\S*_total\{.*"(?:servers|denied|dead|ways)".*\}) (\S+)$', text))
            for text in (ours, theirs)
        ]
        alike = {name for name in counted[1] if not re.search("bytes|connection_|loadbalanced", name)}
        self.assertGreater(len(alike), 80)
        self.assertEqual({name: counted[0][name] for name in alike}, {name: counted[1][name] for name in alike})


class ReloadTests(TestCase):
    """A page that a reload closes is closed for those who are connected already."""

    def test_a_client_that_is_kept_alive_has_to_say_who_it_is(self) -> None:
        port = free_port()
        text = (
            f"backend servers\n    server s {LOOPBACK}:1\nlisten page\n    bind {LOOPBACK}:{port}\n    stats uri /st\n"
        )
        daemon = Daemon(temporary_directory(self), text)
        self.addCleanup(daemon.stop)
        daemon.start()
        client = HTTPConnection(LOOPBACK, port, timeout=10)
        self.addCleanup(client.close)

        def status(fields: dict[str, str] | None = None) -> int:
            client.request("GET", "/st;csv", headers=fields or {})
            answer = client.getresponse()
            answer.read()
            return answer.status

        self.assertEqual(status(), 200)
        connected = client.sock
        daemon.write(text + "    stats auth a:b\n")
        daemon.signal(signal.SIGHUP)
        wait_for(lambda: daemon.has_said("reloaded"), "the reload")
        self.assertEqual(status(), 401)
        self.assertEqual(status({"Authorization": "Basic YTpi"}), 200)
        self.assertIs(client.sock, connected)


_SHOWN = ("servers", "queue", "denied", "dead", "ways")


class StatsBesideHAProxyTests(TestCase):
    def setUp(self) -> None:
        if not haproxy_version():
            self.skipTest("no haproxy: apt-get install haproxy")

    def test_who_may_see_and_change_it(self) -> None:
        """The same answers, the same codes for forms, the same states of servers afterwards."""
        directory, seen = temporary_directory(self), []
        for name, make in (("ours", Daemon), ("theirs", HAProxy)):
            ports = dict(zip(("closed", "ruled", "nameless", "inheriting"), free_ports(4), strict=True))
            daemon = make(directory / name, TEXT.format(host=LOOPBACK, **ports))
            self.addCleanup(daemon.stop)
            daemon.start()

            def ask(section: str, line: bytes, fields: bytes, body: bytes, ports: dict[str, int] = ports) -> bytes:
                length = b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
                return answer(ports[section], line + b" HTTP/1.1", fields + length if body else fields)

            said: list[tuple[object, tuple[object, ...]]] = [(asked, outcome(ask(*asked))) for asked in ASKED]
            for form in FORMS:
                got = ask("ruled", b"POST /st", basic(b"root:r00t"), form.encode())
                text = ask("ruled", b"GET /st;csv", basic(b"guest:look"), b"").partition(b"\r\n\r\n")[2]
                # HAProxy's answer is chunked.
                lines = [line for line in text.decode().splitlines() if "," in line]
                rows = csv.DictReader(io.StringIO("\n".join(lines).removeprefix("# ")))
                states = [(row["svname"], row["status"], row["weight"], row["act"]) for row in rows]
                said.append((form, (*outcome(got), *states)))
            for section, user in (("closed", b"a:b:c"), ("ruled", b"root:r00t")):
                for chosen in CHOSEN:
                    target = b"GET /st" + (chosen if "csv" in chosen else f";csv{chosen}").encode()
                    found = ask(section, target, basic(user), b"").partition(b"\r\n\r\n")[2].splitlines()
                    names = {row.partition(b",")[0] for row in found if b"," in row}
                    said.append(((section, chosen), tuple(sorted(names))))
                    moved = ask(section, target.replace(b"GET", b"POST"), basic(user), b"s=no&b=servers&action=maint")
                    said.append(((section, chosen, "form"), outcome(moved)))
            seen.append(said)
            daemon.stop()
        for (asked, mine), (_, its) in zip(*seen, strict=True):
            self.assertEqual(mine, its, asked)
