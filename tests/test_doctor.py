"""`reusedproxy doctor` against servers in memory: it dials as the daemon does, sees what they do, and stays gentle."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random
from typing import Any

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.assembly import Assembly, Proxy
from reusedproxy.daemon.load import load
from reusedproxy.demo.certificates import Authority
from reusedproxy.doctor import examination
from reusedproxy.doctor.doctor import Doctor, Orders, UnknownServer
from reusedproxy.doctor.examination import Bounds
from reusedproxy.doctor.judge import ADVICE, FINE, SKIPPED, TROUBLE
from reusedproxy.doctor.report import Chapter
from reusedproxy.net.names.section import Names
from reusedproxy.net.tls.pins import pin_of
from tests.nameserver import NX, SILENCE, MemoryNameServers, Zone
from tests.test_net_pins import UNKNOWN
from tests.test_net_staples import answer as staple
from tests.wire import Certificates, Loop, Server, certificates, scratch, server_context

STEP = 0.02
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
CLOSES = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"


def answer(request: bytes) -> bytes:
    """As many servers do: HEAD has no body, and OPTIONS * is refused."""
    if request.startswith(b"HEAD"):
        return OK
    return (CLOSES if request.startswith(b"OPTIONS") else OK) + b"ok"


class Far:
    """Servers in memory: each answers requests by `answers`, and closes idle connections after `unused` or `used`
    seconds."""

    def __init__(self, loop: Loop, server: Server) -> None:
        self.loop = loop
        self.server = server
        self.answers: Callable[[bytes], bytes] = answer
        self.unused = self.used = 1e9
        self.requests: list[bytes] = []
        self.greeting = b""
        self._since: dict[Any, tuple[float, bool]] = {}

    @property
    def port(self) -> int:
        port: int = self.server.target.address[1]
        return port

    def act(self) -> None:
        now = self.loop.clock.seconds()
        for far in self.server.accepted:
            if far not in self._since:
                self._since[far] = now, False
                if self.greeting:
                    far.send(self.greeting)
            if b"\r\n\r\n" in far.received:
                request = far.take()
                self.requests.append(request)
                self._since[far] = now, True
                said = self.answers(request)
                far.send(said)
                if b"Connection: close" in said:
                    far.drop()
            since, was_used = self._since[far]
            if now - since >= (self.used if was_used else self.unused) and far.socket.fileno() >= 0:
                far.drop()


class DoctorTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder: Path = scratch(self)
        self.certificates: Certificates = certificates()
        self.begin()

    def begin(self) -> None:
        """Begins anew: a doctor examines once."""
        self.loop = Loop(self)
        self.fars: list[Far] = []
        self.said: list[str] = []
        self.over = False

    def serve(self, tls: SSL.Context | None = None, **more: Any) -> Far:
        far = Far(self.loop, self.loop.server(tls=tls, **more))
        self.fars.append(far)
        self.addCleanup(far.server.stop)
        return far

    @property
    def tls(self) -> str:
        ours = self.certificates
        return f"ssl verify required ca-file {ours.ca_file} crt {ours.crt} sni str(server.test)"

    def assembled(self, backends: str) -> Proxy:
        file = self.folder / "proxy.cfg"
        head = "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
        file.write_text(f"{head}frontend f\n bind unix@{self.folder}/f\n default_backend b\n{backends}")
        reactor: Any = self.loop.reactor
        announce = lambda level, text, section="": self.fail(text)  # noqa: E731
        return Assembly(load([str(file)]), reactor, self.loop.poller, Random(1), announce).build(bind=False)

    def doctor(self, backends: str, **orders: Any) -> Doctor:
        proxy = self.assembled(backends)
        clock: Any = self.loop.reactor
        self.addCleanup(proxy.logs.close)
        bounds = Bounds(orders.pop("idle", 5.0), orders.pop("connections", None))
        return Doctor(proxy, Orders(bounds=bounds, **orders), clock, self.said.append, self._ended)

    def _ended(self) -> None:
        self.over = True

    def run_for(self, seconds: float) -> None:
        until = self.loop.clock.seconds() + seconds
        while self.loop.clock.seconds() < until and not self.over:
            self.loop.pump()
            for far in self.fars:
                far.act()
            self.loop.pump()
            self.loop.clock.advance(STEP)

    def examine(self, backends: str, **orders: Any) -> Doctor:
        doctor = self.doctor(backends, **orders)
        doctor.start()
        self.run_for(100)
        self.assertTrue(self.over, "it has not ended")
        self.assertEqual(doctor.failures, [])
        return doctor

    def of(self, doctor: Doctor, name: str = "b/s") -> Chapter:
        return next(each for each in doctor.chapters if each.name == name)

    def texts(self, chapter: Chapter, level: str) -> str:
        return "\n".join(f"{each.text} -> {each.remedy}" for each in chapter.findings if each.level == level)


class HealthyTests(DoctorTestCase):
    def test_what_a_healthy_server_does_is_said(self) -> None:
        """Handshake, certificates on both sides, resumption, keep-alive, and how long idle connections stand."""
        context = server_context()
        context.add_client_ca(self.certificates.authority.credential.certificate)
        far = self.serve(context)
        far.unused, far.used = 3.0, 2.0
        doctor = self.examine(f"backend b\n option httpchk GET /up\n server s 127.0.0.1:{far.port} {self.tls} check\n")
        chapter = self.of(doctor)
        fine = self.texts(chapter, FINE)
        for text in (
            "TLSv1.3, TLS_AES_256_GCM_SHA384, group ",
            "for server.test, localhost, 127.0.0.1, ::1, issued by CN=test CA; verified for 'server.test'",
            "the server's certificate ends in 8",
            "the CAs that were named include that of crt",
            "sessions resume: ",
            "GET /up was answered with 200",
            "keep-alive holds: 2 answers to GET /up on one connection",
            "HEAD /up keeps the connection, too (200)",
            "OPTIONS * is answered with 400 and ends the connection",
            "has carried requests is closed after 2",
            "has carried nothing is closed after 3",
        ):
            self.assertIn(text, fine)
        self.assertEqual((chapter.verdict, chapter.address), (ADVICE, f"127.0.0.1:{far.port}"))
        self.assertIn("'pool-min-conn auto'", self.texts(chapter, ADVICE))
        self.assertEqual((doctor.status, doctor.finished), (0, True))
        self.assertEqual(far.server.accepted[0].server_name, b"server.test")
        facts = chapter.facts
        self.assertEqual((facts["tls"], facts["client_certificate_asked"], facts["resumed"]), ("TLSv1.3", True, True))
        self.assertEqual((facts["authorities"], facts["keep_alive"]), (["CN=test CA"], True))
        self.assertLess(abs(facts["closes_unused_after"] - 3.0), 0.1)
        self.assertLess(abs(facts["closes_used_after"] - 2.0), 0.1)

    def test_what_a_server_can_be_recognized_by_is_said(self) -> None:
        """Its pin, what of it is pinned, and what its CA says of its certificate."""
        server, authority = self.certificates.server.certificate, self.certificates.authority
        pin, of_ca = pin_of(server), pin_of(authority.credential.certificate)
        unverified = f"ssl verify none no-sni-auto crt {self.certificates.crt}"
        for words, level, text in (
            (self.tls, FINE, f"the server's key can be pinned: pin-sha256 {pin}"),
            (f"{self.tls} pin-sha256 {pin},{UNKNOWN}", FINE, "pinned is the key of CN=server; the server's own is"),
            (f"{self.tls} pin-sha256 {of_ca},{UNKNOWN}", FINE, "pinned is the key of CN=test CA; the server's own is"),
            (
                f"{self.tls} pin-sha256 {pin}",
                ADVICE,
                "there is no other pin -> add the pin of the key that will follow",
            ),
            (unverified, ADVICE, f"or pin its key: 'pin-sha256 {pin}'"),
            (f"{unverified} pin-sha256 {pin},{UNKNOWN}", FINE, "; verified by its key alone"),
            (self.tls, FINE, "no OCSP answer is stapled, and none is demanded"),
        ):
            far = self.serve(server_context())
            chapter = self.of(self.examine(f"backend b\n server s 127.0.0.1:{far.port} {words}\n", idle=0.5))
            self.assertIn(text, self.texts(chapter, level))
            self.assertEqual((chapter.facts["pin_sha256"], chapter.facts["ocsp_until"]), (pin, None))
            self.begin()
        tls = server_context(client_certificate=False)  # its store has no CA that OpenSSL would send
        tls.set_ocsp_server_callback(lambda connection, nothing: staple(server, authority))
        far = self.serve(tls)
        words = f"{self.tls} pin-sha256 {of_ca},{UNKNOWN}"
        chapter = self.of(self.examine(f"backend b\n server s 127.0.0.1:{far.port} {words}\n", idle=0.5))
        self.assertIn("pinned is a CA that it does not send; the server's own is", self.texts(chapter, FINE))
        self.assertIn("the stapled OCSP answer vouches for the certificate until ", self.texts(chapter, FINE))
        self.assertIn("+00:00", chapter.facts["ocsp_until"])

    def test_it_opens_no_more_than_it_has_said(self) -> None:
        far = self.serve()
        self.examine(f"backend b\n server s 127.0.0.1:{far.port} pool-min-conn 4\n")
        self.assertIn("examines 1 server: opens 8 connections to one at most, 8 in all", self.said[0])
        self.assertLessEqual(len(far.server.accepted), 8)
        self.assertEqual({each.split()[0] for each in far.requests}, {b"GET", b"HEAD", b"OPTIONS"})
        self.assertLessEqual(len(far.requests), 8)

    def test_nothing_is_left_open(self) -> None:
        far = self.serve()
        self.examine(f"backend b\n server s 127.0.0.1:{far.port}\n", idle=1.0)
        self.loop.pump()
        self.assertNotIn("", [each.end for each in far.server.accepted if each.socket.fileno() >= 0])

    def test_what_stands_to_the_end_is_said_to_stand(self) -> None:
        far = self.serve()
        fine = self.texts(self.of(self.examine(f"backend b\n server s 127.0.0.1:{far.port}\n", idle=2.0)), FINE)
        self.assertRegex(fine, r"has carried nothing still stands after 2[.0-9]* s \(--idle waits longer\)")

    def test_servers_of_mode_tcp_are_listened_to(self) -> None:
        far = self.serve()
        far.greeting, far.unused = b"220 mail ready\r\n", 2.0
        fine = self.texts(
            self.of(self.examine(f"backend b\nbackend t\n mode tcp\n server s 127.0.0.1:{far.port}\n"), "t/s"), FINE
        )
        self.assertIn("greets: '220 mail ready'", fine)
        self.assertIn("has carried nothing is closed after 2", fine)
        self.assertEqual(far.requests, [])

    def test_unix_sockets_are_dialled_too(self) -> None:
        far = self.serve(path=str(self.folder / "app.sock"))
        doctor = self.examine(f"backend b\n server s unix@{self.folder}/app.sock\n", idle=0.5)
        self.assertEqual((self.of(doctor).address, doctor.status), (f"unix@{self.folder}/app.sock", 0))
        self.assertTrue(far.requests)

    def test_a_proxy_header_comes_first(self) -> None:
        far = self.serve()
        far.answers = lambda request: answer(request.partition(b"\r\n")[2])
        self.examine(f"backend b\n server s 127.0.0.1:{far.port} send-proxy\n", idle=0.5)
        self.assertTrue(far.requests[0].startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 "))


class TroubleTests(DoctorTestCase):
    def refused(self, tls: SSL.Context | None, words: str = "", late: bool = False) -> str:
        far = self.serve(tls)
        doctor = self.examine(f"backend b\n server s 127.0.0.1:{far.port} {words or self.tls}\n", idle=0.5)
        self.assertEqual(doctor.status, 1)
        return self.texts(self.of(doctor), TROUBLE)

    def test_an_expired_certificate_is_to_be_renewed_by_the_server(self) -> None:
        over = datetime.now(timezone.utc) - timedelta(hours=2)
        old = self.certificates.authority.issue("old", hosts=["server.test"], key="ecdsa", not_after=over)
        said = self.refused(server_context(old))
        self.assertIn("certificate has expired (certificate 0 of the chain, CN=old, for server.test", said)
        self.assertIn(f"to {over:%d %b %Y %H:%M} UTC", said)
        self.assertIn("-> renew the server's certificate", said)

    def test_a_wrong_name_is_said_with_the_right_ones(self) -> None:
        other = self.certificates.authority.issue("x", hosts=["other.test", "third.test"], key="ecdsa")
        said = self.refused(server_context(other))
        self.assertIn("the certificate is not for 'server.test', it is for other.test, third.test", said)
        self.assertIn("-> write a name that the certificate has, 'sni str(NAME)'", said)

    def test_an_unknown_authority_is_named_beside_those_of_the_file(self) -> None:
        strange = self.certificates.stranger.issue("x", hosts=["server.test"], key="ecdsa")
        said = self.refused(server_context(strange))
        self.assertIn("issued by CN=unknown CA); trusted are those of ca-file", said)
        self.assertIn(f"add that CA's certificate to 'ca-file {self.certificates.ca_file}'", said)

    def test_a_certificate_that_ends_soon_is_trouble(self) -> None:
        soon = datetime.now(timezone.utc) + timedelta(days=3, hours=1)
        ends = self.certificates.authority.issue("x", hosts=["server.test"], key="ecdsa", not_after=soon)
        self.assertIn("the server's certificate ends in 3 days", self.refused(server_context(ends)))

    def test_a_key_that_is_not_pinned_is_shown_ready_to_be_copied(self) -> None:
        pin = pin_of(self.certificates.server.certificate)
        said = self.refused(server_context(), f"{self.tls} pin-sha256 {UNKNOWN}")
        self.assertIn(f"its own pin-sha256 is {pin} (CN=server, ", said)
        self.assertIn("add that pin to 'pin-sha256' (several are one list, with commas)", said)

    def test_a_server_without_the_id_that_it_has_to_have(self) -> None:
        words = f"ssl ca-file {self.certificates.ca_file} verifyspiffe spiffe://example.org/web"
        said = self.refused(server_context(), words)
        self.assertIn("the certificate is no SPIFFE SVID: it has no URI among its names", said)
        self.assertIn("write the ID that the certificate has, 'verifyspiffe ID'", said)

    def test_a_staple_that_is_missing(self) -> None:
        said = self.refused(server_context(), f"{self.tls} ocsp-verify required")
        self.assertIn("no OCSP answer is stapled, and 'ocsp-verify required' demands one", said)
        self.assertIn("'ocsp-verify none' does without", said)

    def test_a_list_that_is_not_fetched_yet(self) -> None:
        words = f"{self.tls} crl-file {self.folder}/none.crl crl-url http://crl.test/x"
        said = self.refused(server_context(), words)
        self.assertIn(f"revoked are those of crl-file {self.folder}/none.crl, which has not been fetched yet", said)
        self.assertIn("the daemon fetches it ('crl-url'), and its log says why", said)

    def test_a_client_certificate_that_is_refused_is_named(self) -> None:
        """In TLS 1.3 after our handshake, in TLS 1.2 within it; and so is that none is configured."""
        stranger = self.certificates.stranger.issue("x", client=True, key="ecdsa").write(self.folder / "x.pem")
        shown = f"crt {stranger}"
        bare = f"ssl verify required ca-file {self.certificates.ca_file} sni str(server.test)"
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            said = self.refused(server_context(version=version), f"{bare} {shown}")
            self.assertIn("unknown ca: the server refused our client certificate", said)
            self.assertIn(f"the server does not take '{shown}' (CN=x, issued by CN=unknown CA)", said)
            self.begin()
            said = self.refused(server_context(version=version), bare)
            self.assertIn("the server demands a client certificate: say 'crt FILE'", said)
            self.begin()

    def test_authorities_that_lack_ours_are_listed(self) -> None:
        """In TLS 1.2 and in TLS 1.3, which have other messages for that."""
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            self.begin()
            context = server_context(version=version)
            context.add_client_ca(self.certificates.stranger.credential.certificate)
            said = self.refused(context)
            self.assertIn("asks for a client certificate of CN=unknown CA, and 'crt", said)
            self.assertIn("is CN=client, issued by CN=test CA", said)

    def test_an_intermediate_that_is_named_counts(self) -> None:
        """Ours leads to it by the chain in its file."""
        between = Authority("between", issuer=self.certificates.authority)
        ours = between.issue("x", client=True, key="ecdsa").write(self.folder / "x.pem")
        context = server_context()
        context.add_client_ca(self.certificates.authority.credential.certificate)
        far = self.serve(context)
        words = self.tls.replace(self.certificates.crt, str(ours))
        chapter = self.of(self.examine(f"backend b\n server s 127.0.0.1:{far.port} {words}\n", idle=0.5))
        self.assertIn("the CAs that were named include that of crt", self.texts(chapter, FINE))

    def test_a_certificate_that_nobody_asks_for_is_said(self) -> None:
        far = self.serve(server_context(client_certificate=False))
        chapter = self.of(self.examine(f"backend b\n server s 127.0.0.1:{far.port} {self.tls}\n", idle=0.5))
        self.assertIn("did not ask for a client certificate", self.texts(chapter, ADVICE))

    def test_sessions_that_do_not_resume_are_said(self) -> None:
        context = server_context()
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_options(SSL.OP_NO_TICKET)
        far = self.serve(context)
        words = f"{self.tls} force-tlsv12"
        chapter = self.of(self.examine(f"backend b\n server s 127.0.0.1:{far.port} {words}\n", idle=0.5))
        self.assertIn("sessions do not resume", self.texts(chapter, ADVICE))

    def test_a_port_without_tls_and_one_with_it(self) -> None:
        far = self.serve()
        far.answers = lambda request: b""
        far.unused = 0.0
        self.assertIn("TLS handshake failed", self.refused_by(far, self.tls))
        self.begin()
        plain = self.serve()
        body = b"<h1>The plain HTTP request was sent to HTTPS port</h1>"
        plain.answers = lambda request: (
            b"HTTP/1.1 400 No\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
            % (
                len(body),
                b"" if request.startswith(b"HEAD") else body,
            )
        )
        self.assertIn("the port wants TLS -> say 'ssl verify required", self.refused_by(plain, ""))

    def refused_by(self, far: Far, words: str) -> str:
        doctor = self.examine(f"backend b\n server s 127.0.0.1:{far.port} {words}\n", idle=0.5)
        return self.texts(self.of(doctor), TROUBLE)

    def test_nobody_there(self) -> None:
        far = self.serve()
        far.server.stop()
        self.assertIn("TCP connect failed: Connection refused", self.refused_by(far, ""))

    def test_a_server_that_says_nothing_in_the_handshake(self) -> None:
        far = self.serve(server_context(), mute=True)
        self.assertIn("TLS handshake timed out -> TCP stands and TLS does not come", self.refused_by(far, self.tls))

    def test_answers_that_end_the_connection(self) -> None:
        far = self.serve(server_context())
        far.answers = lambda request: (
            OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + (b"" if request.startswith(b"HEAD") else b"ok")
        )
        said = self.refused_by(far, self.tls)
        self.assertIn("does not outlive the answer to GET / (server asked to close)", said)

    def test_sessions_resume_where_each_connection_has_one_answer(self) -> None:
        """Their tickets come with that."""
        far = self.serve(server_context())
        far.answers = lambda request: CLOSES + (b"" if request.startswith(b"HEAD") else b"ok")
        chapter = self.of(self.examine(f"backend b\n server s 127.0.0.1:{far.port} {self.tls}\n", idle=0.5))
        self.assertIn("sessions resume: ", self.texts(chapter, FINE))

    def test_a_server_that_closes_on_what_it_does_not_know_is_examined_on(self) -> None:
        """Without an answer to OPTIONS *, say: the other requests show how it is."""
        far = self.serve(server_context())

        class Strict(Far):
            def act(self) -> None:
                for each in self.server.accepted:
                    if each.received.startswith(b"OPTIONS"):
                        each.drop()
                super().act()

        self.fars[0] = Strict(self.loop, far.server)
        chapter = self.of(self.examine(f"backend b\n server s 127.0.0.1:{far.port} {self.tls}\n", idle=0.5))
        fine = self.texts(chapter, FINE)
        self.assertIn("OPTIONS * gets no answer: closed by peer", fine)
        self.assertIn("keep-alive holds", fine)
        self.assertEqual(self.texts(chapter, TROUBLE), "")

    def test_a_check_that_fails(self) -> None:
        far = self.serve()
        far.answers = lambda request: b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        doctor = self.examine(f"backend b\n option httpchk GET /up\n server s 127.0.0.1:{far.port} check\n", idle=0.5)
        self.assertIn("GET /up was answered with 404", self.texts(self.of(doctor), TROUBLE))

    def test_fewer_connections_than_its_floor(self) -> None:
        far = self.serve()

        class Few(Far):
            def act(self) -> None:
                super().act()
                for each in self.server.accepted[4:]:
                    each.drop()

        self.fars[0] = few = Few(self.loop, far.server)
        said = self.refused_by(few, "pool-min-conn 6")
        self.assertRegex(said, r"[2-4] of 6 connections stood at once")
        self.assertRegex(said, r"say 'pool-min-conn [1-3]' or less")


class PlaceTests(DoctorTestCase):
    """Which servers are dialled, and where."""

    def test_those_that_cannot_or_need_not_be_dialled_are_named(self) -> None:
        far = self.serve()
        tls = f"ssl verify required ca-file {self.certificates.ca_file}"
        backends = (
            f"backend b\n server off 127.0.0.1:{far.port} disabled\n server follows 0.0.0.0:{far.port}\n"
            f" server named 127.0.0.1:{far.port} {tls} sni req.hdr(host)\n"
        )
        doctor = self.examine(backends)
        self.assertEqual({each.verdict for each in doctor.chapters if each.name}, {SKIPPED})
        self.assertIn("'disabled' in the file", self.texts(self.of(doctor, "b/off"), SKIPPED))
        self.assertIn("where each client has connected to", self.texts(self.of(doctor, "b/follows"), SKIPPED))
        self.assertIn("say one with --name NAME", self.texts(self.of(doctor, "b/named"), SKIPPED))
        self.assertEqual((far.server.accepted, doctor.status), ([], 0))

    def test_a_disabled_server_that_is_named_is_examined(self) -> None:
        far = self.serve()
        doctor = self.examine(f"backend b\n server s 127.0.0.1:{far.port} disabled\n", servers=["b/s"], idle=0.5)
        self.assertEqual(self.of(doctor).verdict, FINE)
        self.assertTrue(far.requests)

    def test_a_name_can_be_given(self) -> None:
        """For servers whose names depend on requests; the Host field has it, too."""
        far = self.serve(server_context(client_certificate=False))
        words = f"ssl verify required ca-file {self.certificates.ca_file} sni req.hdr(host)"
        self.examine(f"backend b\n server s 127.0.0.1:{far.port} {words}\n", name="server.test", idle=0.5)
        self.assertEqual(far.server.accepted[0].server_name, b"server.test")
        self.assertIn(b"Host: server.test\r\n", far.requests[0])

    def test_only_those_that_are_asked_for(self) -> None:
        far = self.serve()
        servers = f" server s 127.0.0.1:{far.port}\n server t 127.0.0.1:{far.port}\n"
        backends = f"backend b\n{servers}backend c\n{servers}"
        for wanted, found in (([], 4), (["b"], 2), (["c/t", "b/s"], 2), (["c", "c/s"], 2)):
            names = [each.name for each in self.doctor(backends, servers=wanted).chapters if each.name]
            self.assertEqual(len(names), found, wanted)
        error = self.assertRaises(UnknownServer, self.doctor, backends, servers=["b/ss"])
        self.assertEqual(str(error), "no backend or server 'b/ss': did you mean 'b/s'?")

    def test_a_name_that_resembles_none_is_told_which_there_are(self) -> None:
        servers = "".join(f" server web{number} 127.0.0.1:1\n" for number in range(12))
        backends = f"backend b\n server s 127.0.0.1:1\nbackend app\n{servers}"
        for name, said in (
            ("b/nope", ": did you mean 'b/s'?"),
            ("app/wb7", ": did you mean 'app/web7'?"),
            ("app/nope", "; there are app/web0, app/web1, app/web10, app/web11, app/web2, app/web3, app/web4, app/web5,"
             " app/web6, app/web7 and 2 more"),
            ("nope/s", "; there are app, b"),
            ("nope", "; there are app, b"),
        ):  # fmt: skip
            error = self.assertRaises(UnknownServer, self.doctor, backends, servers=[name])
            self.assertEqual(str(error), f"no backend or server '{name}'{said}")

    def test_without_a_wait_none_is_announced_and_nothing_is_said_of_it(self) -> None:
        far = self.serve()
        doctor = self.examine(f"backend b\n server s 127.0.0.1:{far.port}\n", idle=0.0)
        self.assertIn("; watches no idle ones (--idle 0); ends after", self.said[0])
        self.assertEqual([each.text for each in self.of(doctor).findings if each.topic.startswith("idle")], [])

    def held_back(self, delay_of: Callable[[int], float], waits: bool = True) -> float:
        """What is found of a server whose bodies come so many seconds after their heads, by the number of the request;
        or, where it `waits` for that, as soon as these are acknowledged."""
        far = self.serve()
        quick: list[int] = []
        self.patch(examination, "acknowledge_at_once", lambda connection: quick.append(len(far.requests)))
        later: list[tuple[float, Any, int]] = []

        def act() -> None:
            now = self.loop.clock.seconds()
            for each in [*later]:
                at, accepted, number = each
                if now >= at or (waits and number > min(quick, default=99)):
                    later.remove(each)
                    accepted.send(b"ok")
            for accepted in far.server.accepted:
                if accepted.received.startswith(b"GET") and accepted.received.endswith(b"\r\n\r\n"):
                    far.requests.append(accepted.take())
                    number = len(far.requests)
                    delay = delay_of(number)
                    accepted.send(OK if delay else OK + b"ok")
                    if delay:
                        later.append((now + delay, accepted, number))

        usual = far.act

        def both() -> None:
            act()
            usual()

        self.patch(far, "act", both)
        doctor = self.examine(f"backend b\n server s 127.0.0.1:{far.port}\n", idle=0.0)
        (found,) = [each.facts.get("body_held_back", 0.0) for each in doctor.chapters if each.name]
        told = [each.text for each in self.of(doctor).findings if each.topic == "held-back"]
        self.assertEqual(bool(told), bool(found))
        if told:
            self.assertIn(f"the body of an answer comes {found * 1000:.3g} ms after its head: the server", told[0])
        self.begin()
        return float(found)

    def test_bodies_that_wait_for_acknowledgements_are_found(self) -> None:
        """And others that are late are not taken for such; nor is one that happens to be."""
        self.assertAlmostEqual(self.held_back(lambda number: 0.2), 0.22)  # a turn of the loop later
        self.assertEqual(self.held_back(lambda number: 0.2, waits=False), 0.0)
        self.assertEqual(self.held_back(lambda number: 0.0), 0.0)
        self.assertEqual(self.held_back(lambda number: 0.2 if number == 7 else 0.0), 0.0)
        self.assertEqual(self.held_back(lambda number: 0.6), 0.0)

    def test_servers_at_names_are_dialled_where_the_daemon_would(self) -> None:
        """Each of a template at an address of its own; one for which none is left is spare."""
        far = self.serve()
        dns = MemoryNameServers(self.loop.clock)
        dns.zones["ns1"] = zone = Zone()
        zone.records["app.test"] = [("A", "127.0.0.1")]
        made = Names.__init__
        self.patch(Names, "__init__", lambda names, reactor: made(names, reactor, dns.open))
        template = f" server-template s 2 app.test:{far.port} resolvers dns init-addr none\n"
        doctor = self.examine(f"resolvers dns\n nameserver ns1 192.0.2.53:53\nbackend b\n{template}", idle=0.5)
        self.assertEqual(self.of(doctor, "b/s1").address, f"127.0.0.1:{far.port}")
        self.assertIn("is a spare place: app.test has fewer", self.texts(self.of(doctor, "b/s2"), SKIPPED))
        self.assertEqual(doctor.status, 0)

    def test_services_are_dialled_at_their_own_ports(self) -> None:
        """Of SRV records; a name server that is silent is said to be."""
        far = self.serve()
        dns = MemoryNameServers(self.loop.clock)
        dns.zones["ns1"] = zone = Zone()
        zone.records["_web._tcp.app.test"] = [
            ("SRV", "one.test", str(far.port), "1"),
            ("A", "127.0.0.1", "of", "one.test"),
        ]
        zone.records["mute.test"], zone.records["wrong.test"] = SILENCE, NX
        made = Names.__init__
        self.patch(Names, "__init__", lambda names, reactor: made(names, reactor, dns.open))
        servers = " server s _web._tcp.app.test resolvers dns init-addr none\n"
        servers += " server mute mute.test:80 resolvers dns init-addr none\n"
        servers += " server wrong wrong.test:80 resolvers dns init-addr none\n"
        doctor = self.examine(f"resolvers dns\n nameserver ns1 192.0.2.53:53\nbackend b\n{servers}", idle=0.5)
        self.assertEqual(self.of(doctor).address, f"127.0.0.1:{far.port}")
        self.assertIn(
            "give no address for mute.test (DNS timeout status)", self.texts(self.of(doctor, "b/mute"), TROUBLE)
        )
        self.assertIn("give no address for wrong.test (DNS NX status)", self.texts(self.of(doctor, "b/wrong"), TROUBLE))


class EndTests(DoctorTestCase):
    def test_an_interrupt_leaves_what_was_found(self) -> None:
        far = self.serve()
        doctor = self.doctor(f"backend b\n server s 127.0.0.1:{far.port}\n", idle=60.0)
        doctor.start()
        self.run_for(5)
        doctor.stop()
        self.assertEqual((doctor.finished, doctor.status), (False, 2))
        chapter = self.of(doctor)
        self.assertIn("keep-alive holds", self.texts(chapter, FINE))
        self.assertIn("the examination was ended early", self.texts(chapter, ADVICE))
        doctor.stop()

    def test_an_interrupt_in_the_middle_of_a_request(self) -> None:
        far = self.serve()
        far.answers = lambda request: b""
        doctor = self.doctor(f"backend b\n server s 127.0.0.1:{far.port}\n")
        doctor.start()
        self.run_for(1)
        doctor.stop()
        self.assertEqual((doctor.finished, doctor.failures), (False, []))

    def test_it_ends_at_its_limit(self) -> None:
        far = self.serve()
        doctor = self.doctor(f"backend b\n server s 127.0.0.1:{far.port}\n", idle=60.0, limit=3.0)
        doctor.start()
        self.run_for(5)
        self.assertTrue(self.over)
        self.assertFalse(doctor.finished)
        self.assertIn("ends after 3 s with what was found", self.said[-1])

    def test_it_says_that_it_waits(self) -> None:
        far = self.serve()
        self.examine(f"backend b\n server s 127.0.0.1:{far.port}\n", idle=15.0)
        self.assertEqual(self.said[1], "10 s: 1 of 1 servers are not done yet")
