"""TLS in front, as real programs see it: curl, `openssl s_client`, and HAProxy beside us with the same files."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from functools import partial
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event
from typing import Any
from unittest import SkipTest

from attrs import field, frozen
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.demo.certificates import Authority
from tests.integration.beside import HAProxy
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, Curl, Nginx, missing, run_curl, temporary_directory, wait_for
from tests.integration.test_beside_haproxy import why_not
from tests.ports import free_port, free_ports

NAME = "server.test"


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was sent."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


class FrontTestCase(SynchronousTestCase):
    """A daemon with TLS listeners in front of an nginx."""

    skip = missing("nginx", "curl", "openssl") or None

    def setUp(self) -> None:
        self.directory = temporary_directory(self)
        self.authority = Authority("test CA")
        self.ca = self.authority.write(self.directory / "ca.pem")
        self.authority.issue("visitor", client=True).write(self.directory / "visitor.pem")
        self.write("server.pem", NAME)
        nginx = Nginx(self.directory / "nginx", self.authority, self.authority.issue(NAME, hosts=[NAME]))
        self.addCleanup(nginx.stop)
        nginx.start()
        files = f"ca-file {self.ca} crt {self.directory}/visitor.pem"
        self.servers = f"backend servers\n    server one {LOOPBACK}:{nginx.port} ssl {files} sni str({NAME})\n"

    def write(self, path: str, *hosts: str, **fields: Any) -> str:
        """A certificate whose common name is the first host."""
        where = self.directory / path
        where.parent.mkdir(exist_ok=True)
        return str(self.authority.issue(hosts[0], hosts=hosts, **fields).write(where))

    def text(self, port: int, words: str) -> str:
        return f"    bind {LOOPBACK}:{port} ssl {words}\n{self.servers}"

    def proxy(self, words: str) -> Daemon:
        """Its TLS listener is at `port`."""
        self.port = free_port()
        self.daemon = daemon = Daemon(self.directory / "daemon", self.text(self.port, words))
        self.addCleanup(daemon.stop)
        daemon.start()
        return daemon

    def curl(self, *arguments: str, path: str = "/") -> Curl:
        url = f"https://{NAME}:{self.port}{path}"
        return run_curl("--cacert", str(self.ca), "--resolve", f"{NAME}:{self.port}:{LOOPBACK}", *arguments, url)

    def s_client(self, *arguments: str, said: str = "") -> str:
        """What it prints, its complaints included; it stays a moment for the answer to what is `said`."""
        command = ["openssl", "s_client", "-connect", f"{LOOPBACK}:{self.port}", "-servername", NAME, *arguments]
        done = subprocess.run(command, input=said, capture_output=True, text=True, timeout=20, check=False)
        return done.stdout + done.stderr

    def reload(self, words: str, expected: str) -> None:
        before = self.daemon.output.count(expected)
        self.daemon.write(self.text(self.port, words))
        self.daemon.signal(signal.SIGHUP)
        wait_for(lambda: self.daemon.output.count(expected) > before, expected)


class CurlTests(FrontTestCase):
    """curl, which verifies us."""

    def test_a_request(self) -> None:
        """By TLS 1.2 and 1.3, and several over one connection; the log marks what came over TLS."""
        self.proxy(f"crt {self.directory}/server.pem")
        for version in ("1.2", "1.3"):
            answer = self.curl("--tlsv" + version, "--tls-max", version)
            self.assertEqual((answer.exit, answer.status), (0, 200), answer.error)
        again = self.curl("-o", "/dev/null", f"https://{NAME}:{self.port}/", "-o", "/dev/null")
        self.assertEqual((again.exit, again.status, again.connections), (0, 200, 0))
        wait_for(lambda: "main~ servers/one" in self.daemon.output, "the line of the log")

    def test_client_certificates(self) -> None:
        """Demanded: with ours it goes on, with none or a stranger's not; the log says why."""
        self.proxy(f"crt {self.directory}/server.pem verify required ca-file {self.ca}")
        ours = self.curl("--cert", f"{self.directory}/visitor.pem")
        self.assertEqual((ours.exit, ours.status), (0, 200), ours.error)
        self.assertNotEqual(self.curl().exit, 0)
        stranger = Authority("unknown CA").issue("stranger", client=True).write(self.directory / "stranger.pem")
        refused = self.curl("--tls-max", "1.2", "--cert", str(stranger))
        self.assertIn("unknown ca", refused.error)
        for words in (
            "the client showed no certificate, which 'verify required' demands",
            f"issued by CN=unknown CA); trusted are those of ca-file {self.ca} (CN=test CA); alert unknown ca sent",
            "main/2: SSL client certificate not trusted",
        ):
            wait_for(partial(self.daemon.has_said, words), words)

    def test_much_both_ways(self) -> None:
        """32 MB up and down again."""
        origin = ThreadingHTTPServer((LOOPBACK, 0), Echo)
        self.addCleanup(origin.server_close)
        self.addCleanup(origin.shutdown)
        threading.Thread(target=origin.serve_forever, daemon=True).start()
        self.servers = f"backend servers\n    server one {LOOPBACK}:{origin.server_port}\n"
        self.proxy(f"crt {self.directory}/server.pem")
        large = self.directory / "large"
        large.write_bytes(os.urandom(1024 * 1024) * 32)
        for version in ("1.2", "1.3"):
            sent = self.curl("--tls-max", version, "-H", "Expect:", "--data-binary", f"@{large}")
            self.assertEqual((sent.exit, sent.status), (0, 200), sent.error)
            self.assertTrue(sent.body == large.read_bytes())

    def test_plain_http_is_closed(self) -> None:
        """And who it was is said."""
        self.proxy(f"crt {self.directory}/server.pem")
        self.assertEqual(run_curl(f"http://{LOOPBACK}:{self.port}/").exit, 52)
        said = f"at bind {LOOPBACK}:{self.port} failed: a plain HTTP request came (GET /)"
        wait_for(lambda: said in self.daemon.output, "the reason")


class OpensslTests(FrontTestCase):
    """`openssl s_client`."""

    def test_sessions_are_resumed(self) -> None:
        """By ticket and, without, by our memory."""
        for words in ("", "no-tls-tickets"):
            self.proxy(f"crt {self.directory}/server.pem {words}")
            for version in ("-tls1_2", "-tls1_3"):
                file = str(self.directory / "session")
                request = f"GET / HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n"
                self.assertIn("New, ", self.s_client(version, "-ign_eof", "-sess_out", file, said=request))
                self.assertIn("Reused, ", self.s_client(version, "-ign_eof", "-sess_in", file, said=request))
            self.daemon.stop()

    def test_a_renegotiation_is_refused(self) -> None:
        """It is asked for by a letter on a line."""
        self.proxy(f"crt {self.directory}/server.pem")
        self.assertIn("no renegotiation", self.s_client("-tls1_2", said="R\n").lower())

    def test_old_versions_only_when_asked_for(self) -> None:
        """And then with OpenSSL's lowest level of security."""
        old = ("-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0")
        self.proxy(f"crt {self.directory}/server.pem")
        self.assertIn("alert protocol version", self.s_client(*old))
        self.daemon.stop()
        self.proxy(f"crt {self.directory}/server.pem ssl-min-ver TLSv1.0 ciphers DEFAULT:@SECLEVEL=0")
        self.assertIn("Protocol  : TLSv1.1", self.s_client(*old))


class ReloadTests(FrontTestCase):
    """SIGHUP with other files."""

    def subject(self) -> str:
        found = [line for line in self.s_client().splitlines() if line.startswith("subject=")]
        return found[0].removeprefix("subject=").replace(" ", "")

    def test_a_new_certificate_under_the_old_name(self) -> None:
        """New handshakes have it, a connection that stands goes on, no request is lost; then a bad one is refused."""
        words = f"crt {self.directory}/server.pem"
        self.proxy(words)
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        standing = SSL.Connection(context, socket.create_connection((LOOPBACK, self.port)))
        self.addCleanup(standing.close)
        standing.set_connect_state()
        standing.do_handshake()
        self.assertEqual(self.subject(), f"CN={NAME}")
        with ThreadPoolExecutor(2) as threads:
            asked = [threads.submit(lambda: [self.curl().status for _ in range(15)]) for _ in range(2)]
            self.write("server.pem", "renewed", NAME)
            self.reload(words, "1 of 1 pools kept as they are")
            self.assertEqual({status for each in asked for status in each.result(60)}, {200})
        self.assertEqual(self.subject(), "CN=renewed")
        standing.send(f"GET / HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode())
        answer = standing.recv(4096)
        self.assertIn(b"200 OK", answer)
        self.assertIn(b"connection: close", answer)  # so that it comes again, and is shown the new one
        (self.directory / "server.pem").write_text("nothing")
        self.reload(words, "reload refused")
        said = f"reload: {self.daemon.file}:17: bind {LOOPBACK}:{self.port}: crt {self.directory}/server.pem: is no PEM"
        self.assertIn(said, self.daemon.output)
        self.assertEqual((self.subject(), self.curl().status), ("CN=renewed", 200))

    def test_certificates_of_both_sides_are_replaced_under_load(self) -> None:
        """No request fails, of clients that stay or come each time; those that come are shown the new one."""
        words = f"crt {self.directory}/server.pem"
        self.proxy(words)
        over = Event()
        context = ssl.create_default_context(cafile=str(self.ca))
        context.check_hostname = False

        def ask(stays: bool) -> tuple[Counter[int], set[object]]:
            statuses: Counter[int] = Counter()
            shown = set()
            while not over.is_set():
                connection = HTTPSConnection(LOOPBACK, self.port, timeout=10, context=context)
                connection.connect()
                certificate = connection.sock.getpeercert()
                assert certificate is not None
                shown.add(certificate["serialNumber"])
                for _ in range(50 if stays else 1):
                    connection.request("GET", "/")
                    response = connection.getresponse()
                    response.read()
                    statuses[response.status] += 1
                    if response.will_close:
                        break
                connection.close()
            return statuses, shown

        with ThreadPoolExecutor(4) as threads:
            clients = [threads.submit(ask, bool(number % 2)) for number in range(4)]
            try:
                for _ in range(4):
                    self.write("server.pem", NAME)
                    self.authority.issue("another visitor", client=True).write(self.directory / "visitor.pem")
                    self.reload(words, "configuration reloaded")
            finally:
                over.set()
            for client in clients:
                statuses, shown = client.result(60)
                self.assertEqual(set(statuses), {200})
                self.assertGreater(len(shown), 1)

    def test_one_that_is_out_of_date_is_said(self) -> None:
        """At the start and at a reload; it is served all the same."""
        past = datetime.now(timezone.utc) - timedelta(hours=1)
        self.write("server.pem", NAME, not_after=past)
        self.proxy(f"crt {self.directory}/server.pem")
        said = f"crt {self.directory}/server.pem: has expired, on"
        wait_for(lambda: said in self.daemon.output, "the warning")
        self.assertIn("certificate has expired", self.curl().error)


@frozen
class Probe:
    """One handshake, by a client that looks at nothing."""

    name: str | None
    versions: str = "1.2 1.3"
    sigalgs: str = ""
    protocols: tuple[bytes, ...] = ()
    credential: str = ""

    def __call__(self, port: int) -> Iterator[str]:
        """The subject and the protocol, or what went wrong."""
        for version in self.versions.split():
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            only = SSL.TLS1_2_VERSION if version == "1.2" else SSL.TLS1_3_VERSION
            context.set_min_proto_version(only)
            context.set_max_proto_version(only)
            if self.protocols:
                context.set_alpn_protos(list(self.protocols))
            if self.sigalgs:
                SSL._lib.SSL_CTX_set1_sigalgs_list(context._context, self.sigalgs.encode())  # type: ignore[attr-defined]
            if self.credential:
                context.use_certificate_chain_file(self.credential)
                context.use_privatekey_file(self.credential)
            connected = socket.create_connection((LOOPBACK, port), timeout=10)
            connected.settimeout(None)
            connection = SSL.Connection(context, connected)
            connection.set_connect_state()
            if self.name is not None:
                connection.set_tlsext_host_name(self.name.encode())
            try:
                connection.do_handshake()
                connection.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                connection.recv(10)
            except SSL.Error as error:
                yield str(error.args[0][-1][-1]) if error.args and isinstance(error.args[0], list) else "closed"
            else:
                certificate = connection.get_peer_certificate(as_cryptography=True)
                assert certificate is not None
                protocol = connection.get_alpn_proto_negotiated().decode()
                yield f"{certificate.subject.rfc4514_string()} {protocol}"
            connected.close()


def _listed(probes: Iterable[Probe]) -> list[Probe]:
    return list(probes)


@frozen
class Line:
    """A `bind` line and who asks at it."""

    words: str
    probes: list[Probe] = field(converter=_listed)


class BesideHAProxyTests(FrontTestCase):
    """Which certificate is served for which name, and who is refused how."""

    def setUp(self) -> None:
        if reason := why_not():
            raise SkipTest(reason)
        super().setUp()

    def lines(self) -> list[Line]:
        d = self.directory
        self.write("first.pem", "first.test")
        self.write("both.rsa", "both.test", "*.wild.test")
        self.write("both.ecdsa", "both.test", "*.wild.test", key="ecdsa")
        self.write("exact.pem", "x.wild.test")
        for name in ("b.pem", "a.txt", "Z.pem"):
            self.write(f"dir/{name}", name.lower())
        (d / "dir" / "a.txt.key").write_bytes(b"")
        (d / "list").write_text(
            f"{d}/first.pem !*\n# comment\n{d}/both.rsa [verify optional ca-file {self.ca}] *.wild.test !no.wild.test\n"
            f"{d}/exact.pem [alpn http/1.1] no.wild.test second.test\n"
        )
        stranger = str(Authority("unknown CA").issue("stranger", client=True).write(d / "stranger.pem"))
        old = datetime.now(timezone.utc) - timedelta(hours=1)
        expired = str(self.authority.issue("late", client=True, not_after=old).write(d / "expired.pem"))
        ours = f"{d}/visitor.pem"
        names = (
            None,
            "first.test",
            "both.test",
            "BOTH.test",
            "x.wild.test",
            "y.wild.test",
            "a.b.wild.test",
            "wild.test",
        )
        lines = [
            Line(
                f"crt {d}/first.pem crt {d}/both crt {d}/exact.pem no-alpn",
                # HAProxy 2.6 holds who offers nothing but TLS 1.3 to take no ECDSA certificate;
                # newer ones, and we, do not.
                [
                    *(Probe(each, "1.2" if each == "x.wild.test" else "1.2 1.3") for each in names),
                    *(Probe(each, sigalgs="RSA-PSS+SHA256:RSA+SHA256") for each in names),
                ],
            ),
            Line(f"crt {d}/first.pem strict-sni", map(Probe, (None, "first.test", "FIRST.TEST", "other"))),
            Line(f"crt {d}/dir", map(Probe, (None, "a.txt", "b.pem", "other"))),
            Line(
                f"crt-list {d}/list",
                map(Probe, ("first.test", "both.test", "q.wild.test", "no.wild.test", "second.test", "third.test")),
            ),
        ]
        for words, shown in (
            ("verify required", ("", ours, stranger, expired)),
            ("verify optional", ("", ours, stranger, expired)),
            ("verify required crt-ignore-err 10", (expired, stranger)),
            ("verify optional crt-ignore-err all", (expired, stranger)),
        ):
            probes = [Probe(None, "1.2", credential=each) for each in shown]
            lines.append(Line(f"crt {d}/first.pem {words} ca-file {self.ca}", probes))
        protocols = ((b"h2",), (b"h2", b"http/1.1"), (b"http/1.0", b"http/1.1"))
        lines.append(Line(f"crt {d}/first.pem alpn http/1.1,http/1.0", [Probe(None, protocols=p) for p in protocols]))
        return lines

    def test_the_same_is_served(self) -> None:
        """With the same files, to the same clients."""
        lines = self.lines()
        seen = []
        for make, name in ((Daemon, "ours"), (HAProxy, "theirs")):
            ports = free_ports(len(lines))
            binds = "".join(
                f"    bind {LOOPBACK}:{port} ssl {line.words}\n" for port, line in zip(ports, lines, strict=True)
            )
            if make is HAProxy:
                binds = binds.replace(" no-alpn", "")  # a newer one's word, for what 2.6 does anyhow
            daemon = make(self.directory / name, binds + self.servers)
            self.addCleanup(daemon.stop)
            daemon.start()
            seen.append([[list(probe(port)) for probe in line.probes] for port, line in zip(ports, lines, strict=True)])
            daemon.stop()
        for line, ours, theirs in zip(lines, *seen, strict=True):
            for probe, one, other in zip(line.probes, ours, theirs, strict=True):
                self.assertEqual(one, other, f"{line.words}: {probe}")
