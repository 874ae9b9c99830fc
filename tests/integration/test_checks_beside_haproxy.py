"""Health checks beside HAProxy: the same dialogues with the same servers, the bytes that are sent, and the lines of
`option log-health-checks`, which name the status, the code and the information of a result."""

from __future__ import annotations

import re
import socket
import struct
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import SkipTest, TestCase

from tests.integration.beside import HAProxy, haproxy_version
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, temporary_directory, wait_for

# What a server does, besides sending the bytes that stand there.
HEAR, CLOSE, RESET, HOLD = "hear", "close", "reset", "hold"

NO_CONTENT = b"HTTP/1.1 204 None\r\n\r\n"

#: A name, the lines of a backend, and what its server does on each connection.
CASES: list[tuple[str, str, list[Any]]] = [
    ("http-ok", " option httpchk GET /h", [HEAR, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", CLOSE]),
    ("http-404", " option httpchk GET /h", [HEAR, b"HTTP/1.1 404 Nope Here\r\nContent-Length: 0\r\n\r\n", CLOSE]),
    (
        "http-string",
        (" option httpchk GET /h\n http-check expect string good"),
        [HEAR, b"HTTP/1.1 500 X\r\nContent-Length: 9\r\n\r\nall good!", CLOSE],
    ),
    (
        "http-string-not",
        (" option httpchk GET /h\n http-check expect string bad"),
        [HEAR, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall good!", CLOSE],
    ),
    (
        "http-string-neg",
        (" option httpchk GET /h\n http-check expect comment wow ! string good"),
        [HEAR, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall good!", CLOSE],
    ),
    (
        "http-string-wordy",
        (" option httpchk GET /h\n http-check expect ! string good comment wow on-error no error-status L7STS"),
        [HEAR, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall good!", CLOSE],
    ),
    ("port-then-addr", " option httpchk GET /h", [HEAR, NO_CONTENT, CLOSE]),
    ("addr-then-port", " option httpchk GET /h", [HEAR, NO_CONTENT, CLOSE]),
    ("addr-with-port", " option httpchk GET /h", [HEAR, NO_CONTENT, CLOSE]),
    (
        "http-connect-addr",
        (f" option httpchk\n http-check connect addr {LOOPBACK}:{{port}}\n http-check send meth GET uri /a"),
        [HEAR, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", CLOSE],
    ),
    (
        "tcp-connect-addr",
        (f" option tcp-check\n tcp-check connect addr {LOOPBACK}\n tcp-check send x\n tcp-check expect string y"),
        [HEAR, b"y", CLOSE],
    ),
    (
        "http-rstring",
        (" option httpchk GET /h\n http-check expect rstring go+d"),
        [HEAR, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nall \r\n5\r\ngood!\r\n0\r\n\r\n", CLOSE],
    ),
    (
        "http-nobody",
        (" option httpchk GET /h\n http-check expect string x"),
        [HEAR, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", CLOSE],
    ),
    (
        "http-rstatus",
        (" option httpchk GET /h\n http-check expect rstatus ^4"),
        [HEAR, b"HTTP/1.1 404 Nope\r\nContent-Length: 0\r\n\r\n", CLOSE],
    ),
    (
        "http-rstatus-not",
        (" option httpchk GET /h\n http-check expect ! rstatus ^4"),
        [HEAR, b"HTTP/1.1 404 Nope\r\nContent-Length: 0\r\n\r\n", CLOSE],
    ),
    (
        "http-hdr",
        (" option httpchk GET /h\n http-check expect hdr name x-ready value yes"),
        [HEAR, b"HTTP/1.1 200 OK\r\nX-Ready: no, yes\r\nContent-Length: 0\r\n\r\n", CLOSE],
    ),
    (
        "http-hdr-no2",
        (" option httpchk GET /h\n http-check expect comment mine hdr name x-ready value -m beg no"),
        [HEAR, b"HTTP/1.1 200 OK\r\nX-Ready: yes\r\nContent-Length: 0\r\n\r\n", CLOSE],
    ),
    (
        "http-fhdr",
        (" option httpchk GET /h\n http-check expect fhdr name -m sub rea value -m end YES"),
        [HEAR, b"HTTP/1.1 200 OK\r\nX-Ready: no, YES\r\nContent-Length: 0\r\n\r\n", CLOSE],
    ),
    (
        "http-two",
        (
            " option httpchk\n"
            " http-check connect\n"
            " http-check send meth GET uri /a ver HTTP/1.1 hdr Host x.example\n"
            " http-check expect status 200\n"
            " http-check connect\n"
            " http-check send meth GET uri /b ver HTTP/1.1 hdr Host x.example\n"
            " http-check expect status 200\n"
            " http-check expect string ok"
        ),
        [HEAR, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", CLOSE],
    ),
    (
        "http-two-bad",
        (
            " option httpchk\n"
            " http-check connect\n"
            " http-check send meth GET uri /a ver HTTP/1.1 hdr Host x.example\n"
            " http-check expect status 200\n"
            " http-check connect\n"
            " http-check send meth GET uri /b ver HTTP/1.1 hdr Host x.example\n"
            " http-check expect status 201"
        ),
        [HEAR, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", CLOSE],
    ),
    (
        "http-opts",
        (
            " option httpchk GET /o HTTP/1.1\n"
            " http-check send hdr Host y.example body hello\n"
            " http-check expect error-status L7RSP on-error bad%[status]x status-code int(77) status "
            "201"
        ),
        [HEAR, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", CLOSE],
    ),
    (
        "http-okst",
        (" option httpchk GET /o\n http-check expect ok-status L6OK on-success fine%[status] status 200"),
        [HEAR, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", CLOSE],
    ),
    (
        "http-okc",
        (" option httpchk GET /o\n http-check expect ok-status L7OKC status 200"),
        [HEAR, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", CLOSE],
    ),
    (
        "http-404d",
        (" option httpchk GET /o\n http-check disable-on-404"),
        [HEAR, b"HTTP/1.1 404 Gone fishing\r\nContent-Length: 2\r\n\r\nok", CLOSE],
    ),
    (
        "http-var",
        (
            " option httpchk GET /o\n"
            " http-check set-var(check.u) str(/x/y)\n"
            " http-check send meth PUT uri-lf %[var(check.u)] ver HTTP/1.1 hdr Host z hdr X-V "
            "%[var(check.u)]a%[be_name] body-lf b=%[var(check.u)]"
        ),
        [HEAR, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", CLOSE],
    ),
    (
        "http-var-proc",
        (
            " option httpchk GET /o\n"
            " http-check set-var(proc.u) str(/p/q)\n"
            " http-check set-var(proc.v,ifnotexists) int(1)\n"
            " http-check set-var(check.w) int(1),add(proc.n)\n"
            " http-check send meth GET uri-lf %[var(proc.u)] ver HTTP/1.1 hdr Host z hdr X-V "
            "%[var(proc.v,none)]a%[var(check.w)]"
        ),
        [HEAR, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", CLOSE],
    ),
    ("http-eof", " option httpchk GET /h", [HEAR, CLOSE]),
    ("http-partial", " option httpchk GET /h", [HEAR, b"HTTP/1.1 200 OK\r\nConte", CLOSE]),
    ("http-reset", " option httpchk GET /h", [HEAR, RESET]),
    ("http-junk", " option httpchk GET /h", [HEAR, b"220 hello\r\n\r\n", CLOSE]),
    ("http-tout", " option httpchk GET /h", [HEAR, HOLD]),
    (
        "http-body-tout",
        (" option httpchk GET /h\n http-check expect tout-status L4TOUT string x"),
        [HEAR, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", HOLD],
    ),
    (
        "tcp-send",
        (" option tcp-check\n tcp-check send PING\\r\\n"),
        [HEAR, HOLD],
    ),
    (
        "tcp-ping",
        (
            " option tcp-check\n"
            " tcp-check send PING\\r\\n\n"
            " tcp-check expect string +PONG\n"
            " tcp-check send info\\ replication\\r\\n\n"
            " tcp-check expect string role:master\n"
            " tcp-check send QUIT\\r\\n\n"
            " tcp-check expect string +OK"
        ),
        [HEAR, b"+PONG\r\n", HEAR, b"$12\r\nrole:master\r\n", HEAR, b"+OK\r\n", CLOSE],
    ),
    (
        "tcp-ping-bad",
        (
            " option tcp-check\n"
            " tcp-check send PING\\r\\n\n"
            " tcp-check expect string +PONG\n"
            " tcp-check send info\\ replication\\r\\n\n"
            " tcp-check expect string role:master\n"
            " tcp-check send QUIT\\r\\n\n"
            " tcp-check expect string +OK"
        ),
        [HEAR, b"+PONG\r\n", HEAR, b"$12\r\nrole:slave\r\n", CLOSE],
    ),
    (
        "tcp-tout",
        (" option tcp-check\n tcp-check send PING\\r\\n\n tcp-check expect comment hm string +PONG"),
        [HEAR, HOLD],
    ),
    (
        "tcp-tout2",
        (" option tcp-check\n tcp-check connect\n tcp-check comment later\n tcp-check expect rstring x"),
        [HOLD],
    ),
    (
        "tcp-eof",
        (" option tcp-check\n tcp-check send PING\\r\\n\n tcp-check expect string +PONG"),
        [HEAR, CLOSE],
    ),
    (
        "tcp-reset",
        (" option tcp-check\n tcp-check send PING\\r\\n\n tcp-check expect string +PONG"),
        [HEAR, RESET],
    ),
    (
        "tcp-neg",
        (" option tcp-check\n tcp-check expect ! string ERR"),
        [b"all ERR today", HOLD],
    ),
    (
        "tcp-neg-ok",
        (" option tcp-check\n tcp-check expect ! string ERR"),
        [b"all well", CLOSE],
    ),
    (
        "tcp-neg0",
        (" option tcp-check\n tcp-check expect min-recv 0 ! string ERR"),
        [b"all well", HOLD],
    ),
    (
        "tcp-min",
        (" option tcp-check\n tcp-check expect min-recv 4 rstring ^ab"),
        [b"abc", HOLD],
    ),
    (
        "tcp-rstring-bad",
        (
            " option tcp-check\n"
            " tcp-check comment c1\n"
            " tcp-check connect\n"
            " tcp-check comment c2\n"
            " tcp-check expect rstring ^zz"
        ),
        [b"abc", CLOSE],
    ),
    (
        "tcp-bin",
        (" option tcp-check\n tcp-check send-binary 50494e470d0a\n tcp-check expect binary 2b50"),
        [HEAR, b"+PONG", HOLD],
    ),
    (
        "tcp-bin-tout",
        (" option tcp-check\n tcp-check expect binary 2b51 "),
        [b"+P", HOLD],
    ),
    (
        "tcp-bin-bad",
        (" option tcp-check\n tcp-check send-binary 50494e470d0a\n tcp-check expect binary 2b51 "),
        [HEAR, b"+PONG", CLOSE],
    ),
    (
        "tcp-rbin",
        (" option tcp-check\n tcp-check expect rbinary ^2B.0"),
        [b"+PONG", HOLD],
    ),
    (
        "tcp-lf",
        (
            " option tcp-check\n"
            " tcp-check set-var(check.a) str(hello)\n"
            " tcp-check set-var-fmt(check.b) %[var(check.a)]/%[be_name]\n"
            " tcp-check send-lf %[var(check.b)]\\r\\n\n"
            " tcp-check send-binary-lf 41%[var(check.a),hex]\n"
            " tcp-check unset-var(check.a)\n"
            " tcp-check send-lf x%[var(check.a)]y\n"
            " tcp-check expect string-lf o%[var(check.b)]"
        ),
        [HEAR, b"ohello/tcp-lf", HOLD],
    ),
    (
        "tcp-lf-bad",
        (
            " option tcp-check\n"
            " tcp-check set-var(check.a) str(hello)\n"
            " tcp-check expect on-error oh-%[var(check.a)] string-lf o%[var(check.a)]"
        ),
        [b"zzz", CLOSE],
    ),
    (
        "tcp-lf-bad2",
        (
            " option tcp-check\n"
            " tcp-check set-var(check.a) str(hello)\n"
            " tcp-check expect error-status L6RSP status-code int(5) string-lf o%[var(check.a)]"
        ),
        [b"zzz", CLOSE],
    ),
    (
        "tcp-okmsg",
        (" option tcp-check\n tcp-check expect ok-status L4OK on-success great status-code int(6) string zz"),
        [b"zzz", HOLD],
    ),
    ("redis", " option redis-check", [HEAR, b"+PONG\r\n", HOLD]),
    ("redis-auth", " option redis-check", [HEAR, b"-NOAUTH Authentication required.\r\n", HOLD]),
    ("redis-auth-c", " option redis-check", [HEAR, b"-NOAUTH Authentication required.\r\n", CLOSE]),
    ("redis-eof", " option redis-check", [HEAR, CLOSE]),
    ("redis-tout", " option redis-check", [HEAR, HOLD]),
    ("smtp", " option smtpchk", [b"220 mx ready\r\n", HEAR, b"250 hi there\r\n", HEAR, b"221 bye\r\n", HOLD]),
    (
        "smtp-ehlo",
        " option smtpchk EHLO a.example",
        [b"220 mx ready\r\n", HEAR, b"250-hi there\r\n250 OK\r\n", HEAR, b"221 bye\r\n", HOLD],
    ),
    ("smtp-bad", " option smtpchk", [b"554 go away\r\n", HOLD]),
    ("smtp-bad2", " option smtpchk", [b"hello\r\n", HOLD]),
    ("smtp-bad4", " option smtpchk", [b"220 mx ready\r\n", HEAR, b"501 no\r\n", CLOSE]),
    (
        "mysql-eof",
        " option mysql-check user x",
        [b"J\x00\x00\x00\n5.5.5-10.6\x00xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", CLOSE],
    ),
    ("pgsql-eof", " option pgsql-check user x", [HEAR, CLOSE]),
    ("ldap-eof", " option ldap-check", [HEAR, CLOSE]),
    ("smtp-eof", " option smtpchk", [CLOSE]),
    ("ssl-hello-eof", " option ssl-hello-chk", [HEAR, CLOSE]),
    ("smtp-bad3", " option smtpchk", [b"220 mx ready\r\n", HEAR, b"501 no\r\n", HOLD]),
    ("ldap", " option ldap-check", [HEAR, b"0\x0c\x02\x01\x01a\x07\n\x01\x00\x04\x00\x04\x00", HOLD]),
    (
        "ldap-long",
        " option ldap-check",
        [HEAR, b"0\x84\x00\x00\x00\x10\x02\x01\x01a\x84\x00\x00\x00\x07\n\x01\x00\x04\x00\x04\x00", HOLD],
    ),
    ("ldap-err", " option ldap-check", [HEAR, b"0\x0c\x02\x01\x01a\x07\n\x011\x04\x00\x04\x00", HOLD]),
    ("ldap-no", " option ldap-check", [HEAR, b"HTTP/1.1 400 Bad Request\r\n\r\n", HOLD]),
    ("ldap-no2", " option ldap-check", [HEAR, b"0TTP/1.1 400 Bad Request\r\n\r\n", HOLD]),
    ("pgsql", " option pgsql-check user joe", [HEAR, b"R\x00\x00\x00\x0c\x00\x00\x00\x05\xa1\xb2\xc3\xd4", HOLD]),
    (
        "pgsql-sasl",
        " option pgsql-check user joe",
        [HEAR, b"R\x00\x00\x00\x17\x00\x00\x00\nSCRAM-SHA-256\x00\x00", HOLD],
    ),
    ("pgsql-err", " option pgsql-check user joe", [HEAR, b"E\x00\x00\x00 SFATAL\x00C28000\x00Mno way\x00\x00", HOLD]),
    ("pgsql-odd", " option pgsql-check user joe", [HEAR, b"hello world, this", HOLD]),
    (
        "mysql",
        " option mysql-check",
        [b"J\x00\x00\x00\n5.5.5-10.6\x00xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", HOLD],
    ),
    ("mysql-block", " option mysql-check", [b"\x10\x00\x00\x00\xffj\x04Host 'blocksz", HOLD]),
    (
        "mysql-user",
        " option mysql-check user joe",
        [
            b"J\x00\x00\x00\n5.5.5-10.6\x00xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            HEAR,
            b"\x07\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00",
            HOLD,
        ],
    ),
    (
        "mysql-user-pre",
        " option mysql-check user joe pre-41",
        [
            b"J\x00\x00\x00\n5.5.5-10.6\x00xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            HEAR,
            b"\x07\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00",
            HOLD,
        ],
    ),
    (
        "mysql-user-post",
        " option mysql-check user joe post-41",
        [
            b"J\x00\x00\x00\n5.5.5-10.6\x00xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            HEAR,
            b"\x07\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00",
            HOLD,
        ],
    ),
    (
        "mysql-denied",
        " option mysql-check user joe",
        [
            b"J\x00\x00\x00\n5.5.5-10.6\x00xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            HEAR,
            b"\x16\x00\x00\x02\xff\x15\x04#28000Access denied",
            HOLD,
        ],
    ),
    ("mysql-junk", " option mysql-check", [b"hello", CLOSE]),
    ("ssl-hello", " option ssl-hello-chk", [HEAR, b"\x16\x03\x00\x00*hello", HOLD]),
    ("ssl-hello-alert", " option ssl-hello-chk", [HEAR, b"\x15\x03\x00\x00\x02\x02(", HOLD]),
    ("ssl-hello-no", " option ssl-hello-chk", [HEAR, b"HTTP/1.0 400 Bad", HOLD]),
]

#: Where reusedproxy says more than HAProxy, which says nothing: of what is no answer, and why.
WORDIER = {"http-eof", "http-partial", "http-junk"}
#: The random bytes of a TLS hello are each one's own.
RANDOM = slice(11, 43)


#: More words of the server's line; its own address is one where nobody listens. {port} is where the script is run.
ELSEWHERE = {
    "port-then-addr": f"port {{port}} addr {LOOPBACK}:1",
    "addr-then-port": f"addr {LOOPBACK}:1 port {{port}}",
    "addr-with-port": f"addr {LOOPBACK}:{{port}}",
    "http-connect-addr": f"addr {LOOPBACK}:1",
    "tcp-connect-addr": f"addr {LOOPBACK}:1 port {{port}}",
}


class Scripted:
    """A server that does the same on each connection, and keeps what it has heard on the first."""

    def __init__(self, script: list[Any]) -> None:
        self.script = script
        self.heard: list[list[bytes]] = []
        self._first: threading.Thread | None = None
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def all_heard(self) -> list[bytes]:
        """What it has heard on the first connection, which is over."""
        assert self._first is not None
        self._first.join(20)
        return self.heard[0]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            heard: list[bytes] = []
            self.heard.append(heard)
            serving = threading.Thread(target=self._serve, args=(connection, heard), daemon=True)
            serving.start()
            self._first = self._first or serving

    def _serve(self, connection: socket.socket, heard: list[bytes]) -> None:
        with connection, suppress(OSError):
            connection.settimeout(15)
            for step in self.script:
                if step == HEAR:
                    heard.append(connection.recv(4096))
                elif step == RESET:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                elif step == HOLD:
                    while data := connection.recv(4096):
                        heard.append(data)
                elif step != CLOSE:
                    connection.sendall(step)


class Lines:
    """A syslog target: the first line about the checks of each backend."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LOOPBACK, 0))
        self.port = self._socket.getsockname()[1]
        self.first: dict[str, str] = {}
        threading.Thread(target=self._receive, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _receive(self) -> None:
        while True:
            try:
                line = self._socket.recv(65536).decode("utf-8", "replace")
            except OSError:
                return
            if found := re.search(r"Health check for server ([^/]*)/s .*", line.strip()):
                text = re.sub(r"duration: \d+ms", "duration", found[0])
                self.first.setdefault(found[1], text)


class CheckTests(TestCase):
    def setUp(self) -> None:
        if not haproxy_version().startswith("2.6"):
            raise SkipTest("HAProxy 2.6 is not here")

    def seen(self, kind: type[Daemon], directory: Path) -> dict[str, tuple[str, list[bytes]]]:
        """The first line and the first connection's bytes of each case."""
        servers = {name: Scripted(script) for name, _, script in CASES}
        lines = Lines()
        for closed in (*servers.values(), lines):
            self.addCleanup(closed.close)  # type: ignore[attr-defined]
        text = f"    log {LOOPBACK}:{lines.port} local0\n    timeout check 1s\n"
        text = (
            f"defaults checked\n mode http\n timeout connect 1s\n timeout client 2s\n timeout server 2s\n{text}"
            " option log-health-checks\nbackend servers\n mode http\n server one 127.0.0.1:1\n"
        )
        for name, said, _ in CASES:
            port, words = servers[name].port, ELSEWHERE.get(name, "")
            own = 1 if words else port
            lines_of = f"{said}\n server s {LOOPBACK}:{own} check inter 3s fall 1 rise 1 {words}\n"
            text += f"backend {name} from checked\n{lines_of.replace('{port}', str(port))}"
        daemon = kind(directory, text)
        self.addCleanup(daemon.stop)
        daemon.start()
        wait_for(lambda: len(lines.first) == len(CASES), "a result of each check", 30.0)
        daemon.stop()
        return {name: (lines.first[name], servers[name].all_heard()) for name in servers}

    def test_each_case_beside_haproxy(self) -> None:
        directory = temporary_directory(self)
        theirs = self.seen(HAProxy, directory / "haproxy")
        ours = self.seen(Daemon, directory / "ours")
        for name, _, _ in CASES:
            with self.subTest(name):
                (line, heard), (our_line, our_heard) = theirs[name], ours[name]
                if name in WORDIER:
                    our_line = re.sub(r', info: "[^"]*"', "", our_line)
                said, our_said = b"".join(heard), b"".join(our_heard)
                if name.startswith("ssl-hello"):
                    said, our_said = (each[: RANDOM.start] + each[RANDOM.stop :] for each in (said, our_said))
                self.assertEqual((our_line, our_said), (line, said))
