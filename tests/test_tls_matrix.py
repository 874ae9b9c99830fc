"""Fault by fault, on either side, by TLS 1.2 and 1.3: who refuses, with which alert,
and what the one line in the log says.

Real OpenSSL on both ends, in one process. Each case is a whole proxy: a client asks, and nothing of what it asks may
reach a server, neither over a connection that is not verified nor from a client that should not be let in.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

from attrs import frozen
from OpenSSL import SSL

from reusedproxy.config import model
from reusedproxy.demo.certificates import CLIENT_AUTH, SERVER_AUTH, key_usage
from reusedproxy.measures.log_throttle import TELL_AT_MOST
from reusedproxy.net.dial import Dialer
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.tls.openssl_server import set_groups, set_signature_algorithms
from reusedproxy.net.tls.words import ALERTS
from tests.clientfakes import GET, OK, World
from tests.handshakes import TLSClient, offer
from tests.test_clients_pending import TLSListenerTestCase
from tests.test_net_hello import hello
from tests.test_net_tls_server import revocations
from tests.wire import Loop, certificates, server_context
from tests.wrongcertificates import (
    HOUR,
    Maker,
    alone,
    below,
    below_two,
    context_of,
    leaf,
    names_of,
    signed_with,
    swapped,
    unreadable_names,
    without_intermediate,
)

VERSIONS = {"TLS 1.2": SSL.TLS1_2_VERSION, "TLS 1.3": SSL.TLS1_3_VERSION}


def now() -> datetime:
    return datetime.now(timezone.utc)


@frozen
class Wrong:
    """A certificate that is refused, on whichever side it is shown."""

    name: str
    make: Maker
    #: OpenSSL's words for it, and what came: subject, names, issuer.
    reason: str
    #: What we send.
    alert: str
    #: The revocation list that is configured, in PEM.
    crl: Callable[[Any], bytes] | None = None
    #: Which of the chain is meant, and by whom it is signed.
    came: str = "certificate 0 of the chain, CN=the {side}{names}, issued by CN=test CA"
    sides: tuple[str, ...] = ("client", "server")


MIDDLE = "certificate 0 of the chain, CN=the {side}{names}, issued by CN=middle"

WRONG = [
    Wrong("expired", lambda s: leaf(s, not_after=now() - HOUR), "certificate has expired", "certificate expired"),
    Wrong("not yet valid", lambda s: leaf(s, not_before=now() + HOUR), "is not yet valid", "bad certificate"),
    Wrong("of the wrong usage", swapped, "unsuitable certificate purpose", "unsupported certificate"),
    Wrong("that may not sign", lambda s: leaf(s, key="rsa", usage=key_usage("content_commitment")),
        "unsuitable certificate purpose", "unsupported certificate"),
    Wrong("of an unknown CA", lambda s: leaf(s, certificates().stranger), "unable to get local issuer certificate",
        "unknown ca", came="CN=the {side}{names}, issued by CN=unknown CA"),
    Wrong("self-signed", alone, "self-signed certificate", "unknown ca",
        came="CN=the {side}{names}, issued by CN=the {side}"),
    Wrong("without its intermediate", without_intermediate, "unable to get local issuer certificate", "unknown ca",
        came=MIDDLE),
    Wrong("of an intermediate that is no CA", below(authority=False), "invalid CA certificate", "unknown ca",
        came="certificate 1 of the chain, CN=middle, issued by CN=test CA"),
    Wrong("of an intermediate too many", below_two, "path length constraint exceeded", "unknown ca",
        came="certificate 2 of the chain, CN=first, issued by CN=test CA"),
    Wrong("of an intermediate for other names", below(permitted=["other.test"]), "permitted subtree violation",
        "certificate unknown", came=MIDDLE, sides=("server",)),
    Wrong("of an expired intermediate", below(not_after=now() - HOUR), "certificate has expired", "certificate expired",
        came="certificate 1 of the chain, CN=middle, issued by CN=test CA"),
    Wrong("revoked", leaf, "certificate revoked", "certificate revoked",
        crl=lambda c: revocations(certificates().authority, c)),
    Wrong("of a CA without a list", leaf, "unable to get certificate CRL", "unknown ca",
        crl=lambda c: revocations(certificates().stranger)),
    Wrong("of a CA whose list is old", leaf, "CRL has expired", "certificate expired",
        crl=lambda c: revocations(certificates().authority, until=-HOUR)),
    Wrong("with a weak key", lambda s: leaf(s, key="weak"), "EE certificate key too weak", "bad certificate"),
    Wrong("signed with SHA-1", signed_with(5), "CA signature digest algorithm too weak", "bad certificate",
        came="CN=the {side}{names}, issued by CN=RSA middle"),
    Wrong("signed with MD5", signed_with(4), "CA signature digest algorithm too weak", "bad certificate",
        came="CN=the {side}{names}, issued by CN=RSA middle"),
    Wrong("for another name", lambda s: leaf(s, hosts=["a.test", "b.test"]),
        "the certificate is not for 'server.test', it is for a.test, b.test (", "bad certificate",
        came="CN=the server, issued by CN=test CA", sides=("server",)),
    Wrong("for no name", lambda s: leaf(s, hosts=[]),
        "the certificate is not for 'server.test', it is for no name at all", "bad certificate",
        came="CN=the server, issued by CN=test CA", sides=("server",)),
    Wrong("with unreadable names", unreadable_names,
        "the certificate is not for 'server.test', it is for names that cannot be read", "bad certificate",
        came="CN=the server, issued by CN=test CA", sides=("server",)),
]  # fmt: skip


class MatrixTestCase(TLSListenerTestCase):
    """A client of ours that asks, a server that answers, TLS on either side."""

    @contextmanager
    def case(self, *what: object) -> Any:
        """Failures say which case they are of."""
        try:
            yield
        except AssertionError as error:
            raise AssertionError(f"{', '.join(map(str, what))}: {error}") from error

    def lines(self) -> list[str]:
        return [text for _, text in self.made.announced if "Server " in text or "TLS" in text]

    def one_line(self, *words: str) -> str:
        """There is exactly one, and it has all of them."""
        self.assertEqual(len(self.lines()), 1, self.lines())
        (line,) = self.lines()
        for each in words:
            self.assertIn(each, line)
        self.assertNotIn("\n", line)
        return line

    # A client that comes to us.

    def visit(self, context: SSL.Context, **terms: Any) -> Any:
        """It asks as soon as it thinks that it may; what its end has seen."""
        self.world(terms=offer(**terms))
        far = self.loop.connect(("127.0.0.1", self.listener.port), TLSClient(context, "server.test"))
        far.send(GET)
        self.loop.until(lambda: far.end and not self.under_way)
        return far

    def kept_out(self, *words: str) -> None:
        """Whoever it was has not been let in, and nothing of what it asked has gone anywhere."""
        world = self.made
        self.assertEqual(world.server.asked(), b"")
        self.assertEqual((world.frontend.handshakes.counts.completed, world.frontend.handshakes.counts.failed), (0, 1))
        self.assertEqual((len(world.frontend.connections), world.log), (0, []))
        line = self.one_line("Proxy fe: TLS handshake with 127.0.0.1:", " at bind 127.0.0.1:0 failed: ", *words)
        self.assertLess(len(line), 700)
        self.end()

    # A server that we come to.

    def ask(
        self,
        speaks: SSL.Context | None,
        *,
        acts: Callable[[Any], object] = lambda far: None,
        ssl: bool = True,
        **settings: Any,
    ) -> Any:
        """A client asks once, of one server, each of whose connections `acts` once something has come; the server."""
        self.loop = Loop(self)
        self.made = world = World(self)
        server = self.loop.server(tls=speaks)
        ours = certificates()
        said = {"ca_file": ours.ca_file, "crt": ours.crt, "sni": "server.test", **settings}
        context = ClientContext(model.ServerTLS(**said)) if ssl else None
        dialer = Dialer(self.loop.poller, world.deadlines, server.target, context, 5.0)
        world.server.pool._dialer = dialer
        client = world.client()
        client.send(GET)
        acted: set[int] = set()
        for _ in range(40):
            self.loop.pump()
            for number, far in enumerate(server.accepted):
                if number not in acted and (far.received or far.stalled):
                    acted.add(number)
                    acts(far)
            self.loop.pump()
            if world.log:
                break
            world.advance(0.5)
        self.answer = client.take()
        return server

    def nothing_sent(self, server: Any, *words: str) -> None:
        """The client has an error, no server has a byte of what it asked, and each try has been refused."""
        self.assertTrue(self.answer.startswith(b"HTTP/1.1 503 "), self.answer)
        self.assertEqual({far.received for far in server.accepted}, {b""})
        self.assertGreater(len(server.accepted), 1)
        line = self.one_line("Server be/s1: TLS handshake failed: ", *words)
        self.assertLess(len(line), 700)
        self.rest()

    def rest(self) -> None:
        self.made.server.pool.close("test over")
        self.loop.pump()
        self.made.check_rest()


class CertificateTests(MatrixTestCase):
    """Each wrong certificate, shown by a client and by a server."""

    def test_each_is_refused(self) -> None:
        """By us, with an alert; the line has OpenSSL's reason, our files, whom we trust, what came, and the alert."""
        for wrong in WRONG:
            for side in wrong.sides:
                for version in VERSIONS:
                    with self.case(wrong.name, f"shown by a {side}", version):
                        self.refuse(wrong, side, VERSIONS[version])

    def refuse(self, wrong: Wrong, side: str, version: int) -> None:
        ours = certificates()
        credential = wrong.make(side)
        names = ", for server.test" if side == "server" and "server.test" in names_of(credential) else ""
        expected = [wrong.reason, wrong.came.format(side=side, names=names)]
        settings: dict[str, Any] = {}
        if wrong.crl is not None:
            settings["crl_file"] = ours.file("wrong-crl.pem", wrong.crl(credential))
            expected.append(f"crl-file {settings['crl_file']}")
        if "not for" not in wrong.reason:
            expected.append(f"trusted are those of ca-file {ours.ca_file} (CN=test CA)")
        expected.append(f"; alert {wrong.alert} sent")
        context = context_of(credential, side, version)
        if side == "client":
            far = self.visit(context, verify="required", **settings)
            self.kept_out("client certificate refused: ", *expected)
            self.assertIn(wrong.alert, far.failure)
        else:
            server = self.ask(context, **settings)
            self.nothing_sent(server, *expected)
            self.assertEqual({wrong.alert in far.failure for far in server.accepted}, {True})


@frozen
class Visit:
    """A client that is refused, or refuses us, and not by reason of its certificate."""

    name: str
    #: Its TLS, for a version.
    context: Callable[[int], SSL.Context]
    terms: dict[str, Any]
    words: tuple[str, ...]
    #: What the client's end hears or, if it is the one that refuses, what we do.
    alert: str
    version: str = ""


@frozen
class Call:
    """A server with which there is no handshake, and not by reason of its certificate."""

    name: str
    speaks: Callable[[int], SSL.Context]
    settings: dict[str, Any]
    words: tuple[str, ...]
    alert: str
    version: str = ""


def client(version: int, **how: Any) -> SSL.Context:
    return shaped(context_of(None, "client", version), **how)


def server(version: int, **how: Any) -> SSL.Context:
    trusts = how.pop("trusts", None)
    return shaped(server_context(version=version, trusts=trusts), **how)


def shaped(context: SSL.Context, ciphers: str = "", suites: str = "", groups: str = "", signs: str = "") -> SSL.Context:
    """Narrowed to what is said."""
    if ciphers:
        context.set_cipher_list(ciphers.encode())
    if suites:
        context.set_tls13_ciphersuites(suites.encode())
    assert not groups or set_groups(context, groups)
    assert not signs or set_signature_algorithms(context, signs)
    return context


def choosy(version: int) -> SSL.Context:
    """A server that ends the handshake if no protocol is agreed on (RFC 7301 section 3.2)."""

    def choose(connection: SSL.Connection, offered: list[bytes]) -> bytes:
        raise SSL.Error([("", "", "no application protocol")])

    context = server(version)
    context.set_alpn_select_callback(choose)
    return context


def mistrusting(version: int) -> SSL.Context:
    """A client that trusts nobody."""
    context = client(version)
    context.set_verify(SSL.VERIFY_PEER, lambda *seen: bool(seen[-1]))
    return context


ONE, OTHER = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"
SUITE, OTHER_SUITE = "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"
DEMAND = {"verify": "required"}

VISITS = [
    Visit("no certificate", client, DEMAND,
        ("the client showed no certificate, which 'verify required' demands", "(CN=test CA)"), "handshake failure",
        version="TLS 1.2"),
    Visit("no certificate", client, DEMAND,
        ("the client showed no certificate, which 'verify required' demands", "(CN=test CA)"), "certificate required",
        version="TLS 1.3"),
    Visit("an old version", client, {"min_version": "TLSv1.3"},
        ("unsupported protocol", "offers TLSv1.2 at most, served is TLSv1.3"), "protocol version", version="TLS 1.2"),
    Visit("a new version", client, {"max_version": "TLSv1.2"},
        ("unsupported protocol", "offers TLSv1.3, but not what is served: TLSv1.2"), "protocol version",
        version="TLS 1.3"),
    Visit("other ciphers", lambda v: client(v, ciphers=OTHER), {"ciphers": ONE},
        (f"no shared cipher: the client offers {OTHER}; served are ciphers {ONE}, for crt ", "a key of ECDSA"),
        "handshake failure", version="TLS 1.2"),
    Visit("other ciphers", lambda v: client(v, suites=OTHER_SUITE), {"ciphersuites": SUITE},
        (f"no shared cipher: the client offers {OTHER_SUITE}; served are ciphersuites {SUITE}, for crt ",),
        "handshake failure", version="TLS 1.3"),
    Visit("other curves", lambda v: client(v, groups="X25519"), {"curves": "P-384"},
        ("no shared cipher", "and 23 more; served are curves P-384, for crt "), "handshake failure", version="TLS 1.2"),
    Visit("other curves", lambda v: client(v, groups="X25519"), {"curves": "P-384"},
        ("no suitable key share: served are curves P-384, for crt ",), "handshake failure", version="TLS 1.3"),
    Visit("RSA only", lambda v: client(v, signs="RSA+SHA256"), {},
        ("no shared cipher", "a key of ECDSA, which the client does not take"), "handshake failure", version="TLS 1.2"),
    Visit("RSA only", lambda v: client(v, signs="RSA-PSS+SHA256"), {},
        ("no suitable signature algorithm", "a key of ECDSA, which the client does not take"), "handshake failure",
        version="TLS 1.3"),
    Visit("no trust in us", mistrusting, {},
        ("tlsv1 alert unknown ca: the client does not accept our certificate (crt /",), "unknown ca"),
]  # fmt: skip

CALLS = [
    Call("an old version", server, {"min_version": "TLSv1.3"},
        ("tlsv1 alert protocol version: offered are TLSv1.3 (ssl-min-ver",), "protocol version", version="TLS 1.2"),
    Call("a new version", server, {"max_version": "TLSv1.2"},
        ("tlsv1 alert protocol version: offered are TLSv1.2 (ssl-min-ver",), "protocol version", version="TLS 1.3"),
    Call("other ciphers", lambda v: server(v, ciphers=OTHER), {"ciphers": ONE},
        ("nothing in common with", f"ciphers {ONE}"), "handshake failure", version="TLS 1.2"),
    Call("other ciphers", lambda v: server(v, suites=OTHER_SUITE), {"ciphersuites": SUITE},
        ("nothing in common with", f"ciphersuites {SUITE}"), "handshake failure", version="TLS 1.3"),
    Call("other curves", lambda v: server(v, groups="X25519"), {"curves": "P-384"},
        ("nothing in common with TLSv1.2 to TLSv1.3, curves P-384",), "handshake failure"),
    Call("other protocols", choosy, {"alpn": ("h2", "http/1.1")}, ("offered by alpn are h2, http/1.1",),
        "no application protocol"),
    # By TLS 1.3 it is refused when the handshake looks complete to us, and the request has left.
    Call("no trust in us", lambda v: server(v, trusts=certificates().stranger), {},
        ("tlsv1 alert unknown ca: the server refused our client certificate (crt /", "client.pem)"), "unknown ca"),
    Call("a certificate demanded", server, {"crt": None},
        ("it may demand a client certificate, and no crt is configured",), "handshake failure", version="TLS 1.2"),
    Call("a certificate demanded", server, {"crt": None}, ("alert certificate required", "(and no crt is configured)"),
        "certificate required", version="TLS 1.3"),
]  # fmt: skip


class AgreementTests(MatrixTestCase):
    """Both speak TLS, and cannot come to terms."""

    def test_each_client(self) -> None:
        """The line has what is offered and what is served, and the alert."""
        for visit in VISITS:
            for version in [visit.version] if visit.version else VERSIONS:
                with self.case(visit.name, version):
                    far = self.visit(visit.context(VERSIONS[version]), **visit.terms)
                    heard = far.failure.startswith("certificate verify failed")
                    self.kept_out(*visit.words, f"; alert {visit.alert} {'received' if heard else 'sent'}")
                    self.assertTrue(heard or visit.alert in far.failure, far.failure)

    def test_each_server(self) -> None:
        """The same of servers, which all refuse us."""
        for call in CALLS:
            for version in [call.version] if call.version else VERSIONS:
                with self.case(call.name, version):
                    server = self.ask(call.speaks(VERSIONS[version]), **call.settings)
                    self.nothing_sent(server, *call.words, f"; alert {call.alert} received")


class NoTLSTests(MatrixTestCase):
    """One side does not speak TLS, or no longer."""

    def test_each_client(self) -> None:
        """Plain HTTP, silence, an end or a reset: one line says which."""
        whole = hello()
        for name, data, end, words in (
            ("plain HTTP", GET, "", "a plain HTTP request came (GET /): the client must say https:// for this port"),
            ("other bytes", b"\0\1\2\3", "", r"no TLS came, but bytes that begin with b'\x00\x01\x02\x03'"),
            ("cut before", b"", "drop", "the client closed without a word"),
            ("cut in the first message", whole[:90], "drop", "the client closed after 90 bytes of its first message"),
            ("reset before", b"", "reset", "Connection reset by peer, before the client's first message"),
            ("reset in the middle", whole, "reset", "in the middle of the handshake"),
            ("stalled before", b"", "stall", "the client did not send its first message in time"),
            ("stalled in the middle", whole, "stall", "the client did not send its next message in time"),
        ):
            with self.case(name):
                world = self.world(timeouts=model.Timeouts(client=30.0, client_hs=5.0))
                far = self.raw()
                if data:
                    far.send(data)
                    self.loop.until(lambda far=far, data=data: far.received or len(data) < len(whole))
                    self.loop.pump()
                if end == "stall":
                    world.advance(5)
                elif end:
                    getattr(far, end)()
                self.loop.until(lambda: not self.under_way)
                self.assertNotIn("alert", self.lines()[0])
                self.kept_out(words)

    def test_each_server(self) -> None:
        """One that speaks plain HTTP, ends, resets or stalls."""
        plain = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
        for name, acts, words in (
            ("plain HTTP", lambda far: (far.send(plain), far.drop()), "the server does not speak TLS on this port"),
            ("cut", lambda far: far.drop(), "closed by peer"),
            ("reset", lambda far: far.reset(), "Connection reset by peer"),
        ):
            with self.case(name):
                server = self.ask(None, acts=acts)
                self.assertTrue(self.answer.startswith(b"HTTP/1.1 503 "))
                # Our first message, and nothing of what the client asked.
                self.assertEqual(
                    {(far.received[:2], GET[:9] in far.received) for far in server.accepted}, {(b"\x16\x03", False)}
                )
                self.one_line("Server be/s1: TLS handshake failed: ", words)
                self.rest()

    def test_a_server_that_stalls(self) -> None:
        """The time-out says in which phase; tries in vain are counted."""
        self.ask(None)
        self.made.advance(40)
        self.assertTrue(self.lines()[0].endswith("Server be/s1: TLS handshake timed out"), self.lines())
        self.assertLess(len(self.lines()), 4)

    def test_tls_at_a_plain_port_of_ours(self) -> None:
        """It is told from other bytes; no server hears of it."""
        self.made = world = World(self)
        client = world.client()
        client.send(hello())
        self.assertTrue(client.take().startswith(b"HTTP/1.1 400 "))
        self.assertIn(
            "invalid request from 192.0.2.7:4711: TLS on a port that speaks plain HTTP", world.announced[0][1]
        )
        self.assertEqual((world.server.asked(), [flags for _, flags in world.flags()]), (b"", ["PR"]))

    def test_a_server_that_wants_tls_and_gets_none(self) -> None:
        """`ssl` was forgotten: whoever asked has an error, and the request was nobody's."""
        server = self.ask(server_context(), ssl=False)
        self.assertTrue(self.answer.startswith(b"HTTP/1.1 502 "))
        self.assertEqual({far.received for far in server.accepted}, {b""})


class LetInTests(MatrixTestCase):
    """What is unusual and in order: the table above must not be met by refusing everybody."""

    RIGHT: tuple[tuple[str, Maker], ...] = (
        ("plain", leaf),
        ("RSA", lambda side: leaf(side, key="rsa")),
        ("without extended key usage", lambda side: leaf(side, extended_usage=[])),
        ("for both usages", lambda side: leaf(side, extended_usage=[SERVER_AUTH, CLIENT_AUTH])),
        ("of an intermediate", below()),
        ("of an intermediate that may have none below", below(path_length=0)),
        ("of an intermediate for its name", below(permitted=["server.test"])),
    )

    def test_each_is_let_in(self) -> None:
        """And what it asks arrives, once."""
        for name, make in self.RIGHT:
            for version in VERSIONS:
                with self.case(name, version):
                    self.world(terms=offer(verify="required"))
                    far = self.connect(context_of(make("client"), "client", VERSIONS[version]))
                    far.send(GET)
                    self.loop.until(lambda: self.made.server.busy)
                    self.assertEqual(self.made.server.asked().count(b"GET / "), 1)
                    self.made.server.answer()
                    self.loop.until(lambda far=far: far.received)
                    far.drop()
                    self.loop.until(lambda: not self.made.frontend.connections)
                    self.assertEqual(self.lines(), [])
                    self.end()
                    answers = lambda far: far.send(OK)  # noqa: E731
                    server = self.ask(context_of(make("server"), "server", VERSIONS[version]), acts=answers)
                    self.assertTrue(self.answer.startswith(b"HTTP/1.1 200 "), self.answer)
                    self.assertEqual([far.received.count(b"GET / ") for far in server.accepted], [1])
                    self.assertEqual(self.lines(), [])
                    self.rest()

    def test_a_server_that_closes_after_each_answer(self) -> None:
        """Its sessions are resumed: none needs that more."""
        answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
        for version in VERSIONS:
            with self.case(version):
                server = self.ask(server_context(version=VERSIONS[version]), acts=lambda far: far.send(answer))
                self.made.client().send(GET)
                self.loop.until(lambda server=server: len(server.accepted) == 2 and server.newest.received)
                self.assertTrue(server.newest.resumed)
                server.newest.send(OK)
                self.loop.pump()
                self.assertEqual([status for status, _ in self.made.flags()], [200, 200])
                self.rest()

    def test_a_protocol_that_is_not_served_is_not_answered(self) -> None:
        """As HAProxy does: the client decides whether it goes on without."""
        for version in VERSIONS.values():
            self.world(terms=offer(alpn=("http/1.1",)))
            context = client(version)
            context.set_alpn_protos([b"h2"])
            far = self.connect(context)
            self.assertEqual((far.handshaken, far.tls.get_alpn_proto_negotiated()), (True, b""))
            far.drop()
            self.loop.until(lambda: not self.made.frontend.connections)
            self.end()


class ManyTests(MatrixTestCase):
    """However many there are, and of however many kinds."""

    def test_so_many_lines_a_second(self) -> None:
        """The rest is counted: clients can make any number of kinds of trouble."""
        world = self.world()
        kinds = [number for number in ALERTS if number]
        for number in kinds:
            far = self.raw()
            far.send(hello())
            self.loop.until(lambda far=far: far.received)
            far.send(b"\x15\x03\x03\x00\x02\x02" + bytes((number,)))
            self.loop.pump()
            far.drop()
            self.loop.until(lambda: not self.under_way)
        self.assertEqual((len(self.lines()), world.frontend.handshakes.counts.failed), (TELL_AT_MOST, len(kinds)))
        world.advance(11)
        self.raw().drop()
        self.loop.until(lambda: not self.under_way)
        self.assertIn(f"({len(kinds) - TELL_AT_MOST + 1} failed handshakes since the last line)", self.lines()[-1])
        self.end()
