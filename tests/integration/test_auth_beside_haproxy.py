"""Who may pass, through reusedproxy and through HAProxy with the same users: the same answers, to the byte."""

from __future__ import annotations

import socket
from base64 import b64encode
from unittest import TestCase

from tests.integration.beside import HAProxy, haproxy_version
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, temporary_directory
from tests.ports import free_port

#: All of "hello".
HASHES = {
    "md5": "$1$abcdefgh$rwnEbRiN0agqVgZBovWNQ/",
    "sha256": "$5$rounds=1000$abcdefgh$okyjw/83AAX.UipXCtjVrkKTDWdqFQkp6Bg/O6/KuPB",
}
TEXT = """
backend servers
    http-request auth if {{ path_beg /backend }}
    http-request return status 200 content-type text/plain lf-string "%[http_auth_group(L)]"
userlist L
    group g1 users alice,bob
    group g2
    user alice insecure-password se:cret
    user bob password {sha256} groups g2
    user old password {md5}
    user zo\xeb insecure-password p\xe4sswort
frontend users
    bind {host}:{port}
    option http-use-proxy-header
    acl ok http_auth(L)
    http-request return status 200 content-type text/plain string g1 if ok {{ http_auth_group(L) g1 }}
    http-request return status 200 content-type text/plain lf-string %[http_auth_group(L)] if ok
    http-request auth realm "Who is it"
"""


def basic(text: bytes, field: bytes = b"Authorization", scheme: bytes = b"Basic ") -> bytes:
    return b"%b: %b%b\r\n" % (field, scheme, b64encode(text))


GOOD = basic(b"alice:se:cret")
REQUESTS = (
    (b"GET / HTTP/1.1", b""),
    (b"HEAD / HTTP/1.1", b""),
    (b"GET / HTTP/1.0", b""),
    (b"POST / HTTP/1.1", b"Content-Length: 0\r\n"),
    (b"OPTIONS * HTTP/1.1", b""),
    (b"GET / HTTP/1.1", GOOD),
    (b"GET / HTTP/1.1", basic(b"alice:se:cre")),
    (b"GET / HTTP/1.1", basic(b"alice:se:cret", scheme=b"bAsIC  ")),
    (b"GET / HTTP/1.1", basic(b"alice:se:cret", scheme=b"Basic\t")),
    (b"GET / HTTP/1.1", basic(b"alice:se:cret", scheme=b"Bearer ")),
    (b"GET / HTTP/1.1", GOOD.rstrip() + b", x\r\n"),
    (b"GET / HTTP/1.1", GOOD.rstrip() + b" x\r\n"),
    (b"GET / HTTP/1.1", GOOD.replace(b"=", b"")),
    (b"GET / HTTP/1.1", basic(b"alice")),
    (b"GET / HTTP/1.1", basic(b":se:cret")),
    (b"GET / HTTP/1.1", basic(b"bob:hello")),
    (b"GET / HTTP/1.1", basic(b"bob:hello")),
    (b"GET / HTTP/1.1", basic(b"bob:hellO")),
    (b"GET / HTTP/1.1", basic(b"bob:" + b"h" * 600)),
    (b"GET / HTTP/1.1", basic(b"old:hello")),
    (b"GET / HTTP/1.1", basic(b"nobody:hello")),
    (b"GET / HTTP/1.1", basic("zo\xeb:p\xe4sswort".encode())),
    (b"GET / HTTP/1.1", basic("zo\xeb:p\xe4sswort".encode("latin-1"))),
    (b"GET / HTTP/1.1", basic(b"alice:se:cret", b"Proxy-Authorization")),
    (b"GET http://a/ HTTP/1.1", b""),
    (b"GET http://a/ HTTP/1.1", GOOD),
    (b"GET http://a/ HTTP/1.1", basic(b"alice:se:cret", b"Proxy-Authorization")),
)


def answer(port: int, line: bytes, fields: bytes) -> bytes:
    """All that is answered on a connection that the client ends."""
    with socket.create_connection((LOOPBACK, port), timeout=10) as client:
        client.sendall(line + b"\r\nHost: a\r\nConnection: close\r\n" + fields + b"\r\n")
        data = b""
        while piece := client.recv(65536):
            data += piece
        return data


class AuthBesideHAProxyTests(TestCase):
    def setUp(self) -> None:
        if not haproxy_version():
            self.skipTest("no haproxy: apt-get install haproxy")

    def test_every_answer_is_the_same(self) -> None:
        """Asked of the frontend's rules, and of the backend's, whose realm is its own name."""
        directory, answers = temporary_directory(self), []
        for name, make in (("ours", Daemon), ("theirs", HAProxy)):
            port = free_port()
            daemon = make(directory / name, TEXT.format(host=LOOPBACK, port=port, **HASHES))
            self.addCleanup(daemon.stop)
            daemon.start()
            said = [answer(port, line, fields) for line, fields in REQUESTS]
            said += [answer(daemon.port, b"GET /backend HTTP/1.1", b""), answer(daemon.port, REQUESTS[0][0], GOOD)]
            answers.append(said)
            daemon.stop()
        ours, theirs = answers
        for request, mine, its in zip([*REQUESTS, "of the backend", "its user"], ours, theirs, strict=True):
            self.assertEqual(mine, its, request)
