"""Dials: a transport that is warm, or the words of what went wrong; told once, and never from within `dial`."""

from __future__ import annotations

import errno
import os
import socket
from datetime import datetime, timedelta, timezone
from unittest import mock

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.sockets import KeepAlive, OwnEnd, ServerSocket
from reusedproxy.config.model.tls import ServerTLS
from reusedproxy.demo.certificates import Authority
from reusedproxy.net import dial as dial_module
from reusedproxy.net.dial import CONNECTING, DONE, HANDSHAKING, Dial, Dialer, DialFailure, Target
from reusedproxy.net.outgoing import USUAL, is_known, options_of
from reusedproxy.net.poller import FAILED, READ, WRITE
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.tls.client_transport import ClientTLSTransport
from reusedproxy.net.tls.words import ACCEPTED, MISNAMED, MISTRUSTED, UNSEEN, verify_words
from reusedproxy.net.transport import BROKEN, Transport
from tests.wire import Loop, Recorder, Server, certificates, scratch, server_context

HOUR = timedelta(hours=1)


class Owner:
    """Who dials: notes what it is told."""

    def __init__(self) -> None:
        self.transports: list[Transport] = []
        self.failures: list[DialFailure] = []

    def dial_ready(self, dial: Dial, transport: Transport) -> None:
        assert dial.state == DONE
        self.transports.append(transport)

    def dial_failed(self, dial: Dial, failure: DialFailure) -> None:
        assert dial.state == DONE
        self.failures.append(failure)


class DialCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.loop = Loop(self)
        self.owner = Owner()

    def dial(self, target: Target, context: ClientContext | None = None, timeout: float | None = 5) -> Dial:
        self.dialer = Dialer(self.loop.poller, self.loop.deadlines, target, context, timeout)
        return self.dialer.dial(self.owner)

    def told(self) -> bool:
        return bool(self.owner.transports or self.owner.failures)

    def nothing_left(self) -> None:
        self.assertEqual((self.loop.poller.watching(), self.loop.deadlines.watching()), (0, 0))

    def ready(self, dial: Dial) -> Transport:
        """It succeeds, and hands over a transport that works."""
        self.loop.until(self.told)
        self.assertEqual([str(failure) for failure in self.owner.failures], [])
        (transport,) = self.owner.transports
        self.nothing_left()
        peer = transport.owner = Recorder()
        transport.resume_reading()
        transport.write(b"hello")
        self.loop.pump()
        self.assertIsNone(peer.lost)
        self.assertEqual(dial.state, DONE)
        return transport

    def failed(self, dial: Dial) -> str:
        """It fails: in words, once, and nothing is left of it."""
        self.loop.until(self.told)
        self.loop.advance(60)
        self.assertEqual(self.owner.transports, [])
        (failure,) = self.owner.failures
        self.nothing_left()
        if dial.socket is not None:
            self.assertEqual(dial.socket.fileno(), -1)
        return str(failure)


class ConnectTests(DialCase):
    """TCP and unix sockets."""

    def refusing(self) -> Target:
        server = self.loop.server()
        server.stop()
        return server.target

    def test_plain_success(self) -> None:
        """Without TLS a connection is ready when TCP is; small writes will not wait, and keep-alive is on."""
        server = self.loop.server()
        transport = self.ready(self.dial(server.target))
        self.assertFalse(transport.secure)
        self.assertEqual(server.newest.received, b"hello")
        self.assertTrue(transport.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        self.assertTrue(transport.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        self.assertEqual((transport.version, transport.resumed), ("", False))
        transport.abort("over")

    def test_a_brief_one_is_prepared_for_a_longer_life_when_that_begins(self) -> None:
        target = self.loop.server().target
        self.dialer = Dialer(self.loop.poller, self.loop.deadlines, target, None, 5, brief=True)
        dial = self.dialer.dial(self.owner)
        transport = self.ready(dial)
        options = ((socket.IPPROTO_TCP, socket.TCP_NODELAY), (socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        self.assertEqual([transport.socket.getsockopt(*each) for each in options], [0, 0])
        self.assertFalse(transport.socket.getblocking())
        dial.keep()
        self.assertTrue(all(transport.socket.getsockopt(*each) for each in options))
        transport.abort("over")

    def test_its_socket_has_the_options_of_its_server(self) -> None:
        """Also where the dialer is one made of another, for a second address, say; a check is spared them, until its
        connection begins a longer life."""
        server = self.loop.server()
        options = options_of(ServerSocket(KeepAlive(3, 61, 7), user_timeout=2.5))
        wanted = {
            socket.TCP_KEEPCNT: 3,
            socket.TCP_KEEPIDLE: 61,
            socket.TCP_KEEPINTVL: 7,
            socket.TCP_USER_TIMEOUT: 2500,
        }
        base = (self.loop.poller, self.loop.deadlines, server.target, None, 5)
        usual = Dialer(*base, options=options)
        for dialer in (usual, usual.elsewhere(server.target, None), usual.saying(b"x"), Dialer(*base, brief=True)):
            self.owner = Owner()
            transport = self.ready(dialer.dial(self.owner))
            found = {each: transport.socket.getsockopt(socket.IPPROTO_TCP, each) for each in wanted}
            if dialer.brief:
                self.assertNotEqual(found[socket.TCP_KEEPCNT], 3)
            else:
                self.assertEqual(found, wanted)
            transport.abort("over")
        self.assertIs(options_of(ServerSocket()), USUAL)

    def test_it_comes_from_where_is_said(self) -> None:
        """A check, too; several at once from one address, whose ports the kernel chooses. What cannot be is told."""
        server = self.loop.server()
        base = (self.loop.poller, self.loop.deadlines, server.target, None, 5)
        options = options_of(ServerSocket(source=OwnEnd("127.0.0.7"), congestion="reno"))
        opened = []
        for brief in (False, True, False):
            self.owner = Owner()
            transport = self.ready(Dialer(*base, brief=brief, options=options).dial(self.owner))
            transport.pause_reading()
            opened.append(transport)
            self.assertEqual(transport.socket.getsockname()[0], "127.0.0.7")
            found = transport.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
            self.assertEqual(found.rstrip(b"\0"), b"reno")
        for transport in opened:
            transport.abort("over")
        with socket.socket() as free:
            free.bind(("127.0.0.7", 0))
            port = free.getsockname()[1]
        self.owner = Owner()
        transport = self.ready(
            Dialer(*base, options=options_of(ServerSocket(source=OwnEnd("127.0.0.7", port)))).dial(self.owner)
        )
        self.assertEqual(transport.socket.getsockname(), ("127.0.0.7", port))
        transport.abort("over")
        for source, words in (
            (OwnEnd("192.0.2.7"), "no connection can come from there (source 192.0.2.7): Cannot assign"),
            (OwnEnd("::1"), "no connection can come from there (source ::1): "),
            (OwnEnd(interface="nowhere0"), "no connection can come from there (interface nowhere0): "),
        ):
            self.owner = Owner()
            dial = Dialer(*base, options=options_of(ServerSocket(source=source))).dial(self.owner)
            self.loop.advance(0.1)
            failure = self.failed(dial)
            self.assertIn(words, failure)
            self.assertFalse(self.owner.failures[0].ours)

    def test_no_port_left_says_nothing_of_the_server(self) -> None:
        """The same error as that of an address that this machine does not have."""

        class Full(socket.socket):
            def connect_ex(self, address: object) -> int:
                return errno.EADDRNOTAVAIL

        server = self.loop.server()
        for source in (OwnEnd(), OwnEnd("127.0.0.7")):
            self.owner = Owner()
            options = options_of(ServerSocket(source=source))
            base = self.loop.poller, self.loop.deadlines, server.target, None, 5.0
            with mock.patch.object(dial_module, "socket", Full):
                dial = Dialer(*base, options=options).dial(self.owner)
            self.loop.advance(0.1)
            self.assertEqual(self.failed(dial), "TCP connect failed: Cannot assign requested address")
            self.assertTrue(self.owner.failures[0].ours)

    def test_an_algorithm_that_the_kernel_has_not_leaves_its_own(self) -> None:
        """As in HAProxy; who builds the server is told."""
        server = self.loop.server()
        options = options_of(ServerSocket(congestion="nonsense"))
        base = (self.loop.poller, self.loop.deadlines, server.target, None, 5)
        self.owner = Owner()
        self.ready(Dialer(*base, options=options).dial(self.owner)).abort("over")
        self.assertEqual([is_known(each) for each in ("reno", "nonsense")], [True, False])

    def test_the_time_of_tcp_and_that_of_tls_are_told_apart(self) -> None:
        """In the clear there is only one of them; who never came up has none."""
        dial = self.dial(self.loop.server().target)
        self.loop.clock.rightNow += 0.5
        self.ready(dial).abort("over")
        self.assertEqual((dial.tcp_took, dial.took), (0.5, 0.5))
        self.owner = Owner()
        dial = self.dial(self.refusing())
        self.failed(dial)
        self.assertEqual(dial.tcp_took, 0)

    def test_ipv6(self) -> None:
        """An IPv6 address is dialled as any other."""
        server = self.loop.server("::1")
        transport = self.ready(self.dial(server.target))
        self.assertEqual(transport.socket.getsockname()[0], "::1")
        self.assertEqual(str(server.target), f"[::1]:{server.target.address[1]}")
        transport.abort("over")

    def test_unix(self) -> None:
        """So is a path."""
        path = str(scratch(self) / "socket")
        server = self.loop.server(path=path)
        transport = self.ready(self.dial(server.target))
        self.assertEqual(str(server.target), f"unix@{path}")
        transport.abort("over")

    def test_refused(self) -> None:
        """Nobody listens there."""
        dial = self.dial(self.refusing())
        self.assertEqual(self.failed(dial), "TCP connect failed: Connection refused")

    def test_the_owner_is_never_told_within_dial(self) -> None:
        """However fast the failure: these are known before the call returns, and told in a later turn."""
        full = str(scratch(self) / "full")
        self.loop.server(path=full).socket.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.setblocking(False)
            first.connect(full)
            for path, words in (
                ("/does/not/exist", "No such file or directory"),
                (full, "Resource temporarily unavailable"),
                ("x" * 200, "AF_UNIX path too long"),
            ):
                self.owner = Owner()
                dial = self.dial(Target(socket.AF_UNIX, path))
                self.assertFalse(self.told())
                self.loop.clock.advance(0.1)
                self.assertEqual(self.failed(dial), f"TCP connect failed: {words}")

    def test_out_of_descriptors(self) -> None:
        """A socket that cannot be had is a failure like any other, not an exception for whoever wanted to dial."""
        server = self.loop.server()
        with mock.patch.object(dial_module, "socket", side_effect=OSError(errno.EMFILE, os.strerror(errno.EMFILE))):
            dial = self.dial(server.target)
        self.assertFalse(self.told())
        self.loop.clock.advance(0.1)
        self.assertEqual(self.failed(dial), "TCP connect failed: Too many open files")
        self.assertTrue(self.owner.failures[0].ours)

    def test_the_last_descriptors_are_not_for_servers(self) -> None:
        """It fails as if there were none, and gives back the one that it got; nobody was asked."""
        server = self.loop.server()
        dialer = Dialer(self.loop.poller, self.loop.deadlines, server.target, None, 5.0, last=3)
        before = os.listdir("/proc/self/fd")
        dial = dialer.dial(self.owner)
        self.loop.clock.advance(0.1)
        self.assertEqual(self.failed(dial), "TCP connect failed: Too many open files")
        self.assertTrue(self.owner.failures[0].ours)
        self.assertEqual(len(os.listdir("/proc/self/fd")), len(before))

    def full(self) -> Target:
        """A port whose queue is full, so that the kernel answers nothing."""
        listening = socket.socket()
        self.addCleanup(listening.close)
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        for _ in range(3):
            waiting = socket.socket()
            self.addCleanup(waiting.close)
            waiting.setblocking(False)
            waiting.connect_ex(address)
        return Target(socket.AF_INET, address)

    def test_timed_out_in_tcp(self) -> None:
        """A server that does not answer ends with the deadline, not before."""
        dial = self.dial(self.full(), timeout=3)
        self.loop.advance(2.9)
        self.assertEqual((self.told(), dial.state), (False, CONNECTING))
        self.loop.advance(0.2)
        self.assertEqual(self.failed(dial), "TCP connect timed out")
        self.assertTrue(self.owner.failures[0].timed_out)

    def test_an_event_meant_for_another_is_no_success(self) -> None:
        """A dial gets the number of a descriptor that was closed in this batch, and with it the other's event."""
        dial = self.dial(self.full())
        for events in (READ, WRITE, READ | WRITE | FAILED):
            dial.on_ready(events)
            self.assertEqual((self.told(), dial.state), (False, CONNECTING))
        dial.cancel()

    def test_no_timeout_waits(self) -> None:
        """Without one the kernel decides."""
        dial = self.dial(self.full(), timeout=None)
        self.loop.advance(10_000)
        self.assertFalse(self.told())
        dial.cancel()
        self.nothing_left()

    def test_cancelled(self) -> None:
        """A dial that was given up tells nobody anything; cancelling again does no harm."""
        dials = [
            self.dial(self.full()),
            self.dial(self.refusing()),
            self.dial(Target(socket.AF_UNIX, "/does/not/exist")),
        ]
        for dial in dials * 2:
            dial.cancel()
        self.loop.advance(60)
        self.assertFalse(self.told())
        self.assertEqual({dial.state for dial in dials}, {DONE})
        self.nothing_left()

    def test_how_long_it_took(self) -> None:
        """Measured from its birth to the moment it is ready."""
        server = self.loop.server()
        dial = self.dial(server.target)
        self.loop.clock.advance(0.25)
        self.ready(dial).abort("over")
        self.assertEqual((dial.took, dial.born), (0.25, 1000))


class HandshakeTests(DialCase):
    """TLS, and the name."""

    def context(self, **settings: str | None) -> ClientContext:
        ours = certificates()
        return ClientContext(
            ServerTLS(**{"ca_file": ours.ca_file, "crt": ours.crt, "sni": "server.test", **settings})  # type: ignore[arg-type]
        )

    def tried(self, server: Server, found: str = MISTRUSTED, **settings: str | None) -> str:
        """The failure in words; `found` is what has become of the server's certificate."""
        self.owner = Owner()
        words = self.failed(self.dial(server.target, self.context(**settings)))
        self.assertEqual(self.owner.failures[0].certificate, found, words)
        return words

    def issued(self, authority: Authority | None = None, **how: object) -> Server:
        """A server with a certificate of its own."""
        issuer = authority or certificates().authority
        credential = issuer.issue("server", **{"hosts": ["server.test"], "key": "ecdsa", **how})  # type: ignore[arg-type]
        return self.loop.server(tls=server_context(credential))

    def test_mutual_tls(self) -> None:
        """Ready means: handshake complete, name verified, both certificates shown."""
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            self.owner = Owner()
            server = self.loop.server(tls=server_context(version=version))
            context = self.context()
            transport = self.ready(self.dial(server.target, context))
            self.assertIsInstance(transport, ClientTLSTransport)
            self.assertEqual(context.theirs_end, certificates().server.certificate.not_valid_after_utc.timestamp())
            far = server.newest
            self.assertEqual((far.client_name, far.server_name), ("CN=client", b"server.test"))
            self.assertEqual(far.received, b"hello")
            transport.abort("over")

    def test_the_handshake_takes_its_own_time(self) -> None:
        """Its begin is when TCP was up."""
        server = self.loop.server(tls=server_context())
        dial = self.dial(server.target, self.context())
        self.loop.clock.rightNow += 0.5
        while dial.state == CONNECTING:
            self.loop.reactor.turn()  # ours only: the server has not seen it yet
        self.loop.clock.rightNow += 1
        self.ready(dial).abort("over")
        self.assertEqual((dial.tcp_took, dial.took), (0.5, 1.5))

    def test_the_name_may_be_an_address(self) -> None:
        """Verified against the addresses of the certificate."""
        server = self.loop.server("::1", tls=server_context())
        for name in ("127.0.0.1", "::1"):
            self.owner = Owner()
            self.ready(self.dial(server.target, self.context(sni=None, verifyhost=name))).abort("over")
        self.assertEqual(
            self.tried(server, MISNAMED, sni=None, verifyhost="127.0.0.2"),
            "TLS handshake failed: the certificate is not for '127.0.0.2', "
            "it is for server.test, localhost, 127.0.0.1, ::1"
            " (CN=server, issued by CN=test CA); alert bad certificate sent",
        )

    def test_wrong_name(self) -> None:
        """The name asked for and those found are both said."""
        server = self.loop.server(tls=server_context())
        expected = "the certificate is not for 'other.test', it is for server.test, localhost, 127.0.0.1, ::1"
        expected += " (CN=server, issued by CN=test CA); alert bad certificate sent"
        self.assertEqual(self.tried(server, MISNAMED, sni="other.test"), f"TLS handshake failed: {expected}")
        self.assertEqual(
            self.tried(server, MISNAMED, sni=None, verifyhost="other.test"), f"TLS handshake failed: {expected}"
        )

    def test_a_certificate_without_names(self) -> None:
        """The common name does not count (RFC 9110 section 4.3.4)."""
        said = self.tried(self.issued(hosts=[]), MISNAMED)
        self.assertIn("the certificate is not for 'server.test', it is for no name at all (", said)
        self.assertIn("; a common name does not count (RFC 9525): it needs a subjectAltName", said)

    def test_a_wildcard_stands_for_an_internationalised_label(self) -> None:
        """As a whole, below the same domain; RFC 9525 section 6.3 rules out no more."""
        server = self.issued(hosts=["*.w.test"])
        self.ready(self.dial(server.target, self.context(sni="xn--bcher-kva.w.test"))).abort("over")
        for name in ("xn--bcher-kva.test", "a.xn--bcher-kva.w.test", "xn--bcher-kva.other.test"):
            self.owner = Owner()
            self.assertIn(f"the certificate is not for '{name}'", self.tried(server, MISNAMED, sni=name))

    def test_names_that_look_right_and_do_not_count(self) -> None:
        """HAProxy takes them; whoever comes from there needs to read why they are refused."""
        for host in ("*.test", "s*.test", "*.*.test"):
            said = self.tried(self.issued(hosts=[host]), MISNAMED)
            self.assertIn("; a wildcard counts as the whole first label above two others or more", said, host)
        self.owner = Owner()
        self.ready(self.dial(self.issued(hosts=["*.a.test"]).target, self.context(sni="b.a.test"))).abort("over")

    def test_no_name_to_verify(self) -> None:
        """Without `sni` and `verifyhost` any certificate of a trusted CA will do, as in HAProxy."""
        self.ready(self.dial(self.issued(hosts=["x.test"]).target, self.context(sni=None))).abort("over")

    def test_wrong_certificates(self) -> None:
        """Each with its reason; tests/test_tls_matrix.py has all of them."""
        past, future = datetime.now(timezone.utc) - HOUR, datetime.now(timezone.utc) + HOUR
        for words, server in (
            ("certificate has expired", self.issued(not_after=past)),
            (verify_words(9), self.issued(not_before=future)),  # OpenSSL 4.0 says some more
            ("unable to get local issuer certificate", self.issued(certificates().stranger)),
            ("self-signed certificate", self.loop.server(tls=server_context(Authority("alone").credential))),
        ):
            found = self.tried(server)
            self.assertIn(
                f"TLS handshake failed: certificate verify failed: {words} (certificate 0 of the chain", found
            )
            self.assertIn(f"trusted are those of ca-file {certificates().ca_file} (CN=test CA); alert ", found)
            self.assertEqual(
                self.owner.failures[0].openssl,
                (0x0A000086, b"error:0A000086:SSL routines::certificate verify failed"),
            )

    def test_the_system_does_not_trust_it(self) -> None:
        """The words name @system-ca when that is what is trusted."""
        server = self.loop.server(tls=server_context())
        for ca_file in ("@system-ca", None):
            self.assertIn("trusted are those of ca-file @system-ca", self.tried(server, ca_file=ca_file))

    def test_verify_none_takes_any(self) -> None:
        """Neither chain nor name nor dates are looked at."""
        past = datetime.now(timezone.utc) - HOUR
        server = self.issued(certificates().stranger, not_after=past, hosts=["x.test"])
        self.ready(self.dial(server.target, self.context(verify="none", ca_file=None))).abort("over")

    def test_an_expired_certificate_of_a_resumed_session(self) -> None:
        """A resumed session shows no certificate anew; its dates are looked at all the same."""
        server = self.loop.server(tls=server_context())
        context = self.context()
        transport = self.ready(self.dial(server.target, context))
        assert isinstance(transport, ClientTLSTransport)
        server.newest.send(b"x")
        self.loop.pump()
        transport.remember_session()
        transport.abort("over")
        self.owner = Owner()
        with mock.patch("reusedproxy.net.tls.client.datetime") as clock:
            clock.now.return_value = datetime.now(timezone.utc) + timedelta(days=365)
            failure = self.failed(self.dial(server.target, context))
        expected = (
            "TLS handshake failed: the certificate has expired since the session began that is resumed (CN=server, "
        )
        self.assertTrue(failure.startswith(expected), failure)
        self.assertTrue(server.newest.resumed)

    def test_our_certificate_is_refused_in_tls_1_2(self) -> None:
        """There the handshake itself fails, and names our file."""
        ours = certificates()
        crt = ours.file("intruder.pem", ours.stranger.issue("intruder", client=True, key="ecdsa").pem)
        server = self.loop.server(tls=server_context(version=SSL.TLS1_2_VERSION))
        self.assertEqual(
            self.tried(server, crt=crt, found=ACCEPTED),
            f"TLS handshake failed: tlsv1 alert unknown ca: the server refused our client certificate (crt {crt})"
            "; alert unknown ca received",
        )

    def test_our_certificate_is_missing_in_tls_1_2(self) -> None:
        """The server demands what is not configured."""
        server = self.loop.server(tls=server_context(version=SSL.TLS1_2_VERSION))
        self.assertIn("no crt is configured", self.tried(server, crt=None, found=ACCEPTED))

    def test_a_server_without_tls(self) -> None:
        """Plain HTTP answers a ClientHello with a 400."""
        server = self.loop.server()
        dial = self.dial(server.target, self.context())
        self.loop.until(lambda: server.accepted and server.newest.received)
        server.newest.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        failure = self.failed(dial)
        self.assertTrue(failure.startswith("TLS handshake failed: "), failure)
        self.assertTrue(failure.endswith(": the server does not speak TLS on this port"), failure)
        self.assertEqual(self.owner.failures[0].certificate, UNSEEN)

    def test_a_server_that_closes(self) -> None:
        """During the handshake, orderly or by a reset."""
        server = self.loop.server()
        dial = self.dial(server.target, self.context())
        self.loop.until(lambda: server.accepted and server.newest.received)
        server.newest.drop()
        self.assertEqual(self.failed(dial), "TLS handshake failed: closed by peer")
        self.assertIsNone(self.owner.failures[0].openssl)
        self.owner = Owner()
        dial = self.dial(server.target, self.context())
        self.loop.until(lambda: len(server.accepted) == 2 and server.newest.received)
        server.newest.reset()
        self.assertEqual(self.failed(dial), "TLS handshake failed: Connection reset by peer")

    def test_timed_out_in_the_handshake(self) -> None:
        """A server that accepts and says nothing; the deadline counts from the first step."""
        server = self.loop.server(mute=True)
        dial = self.dial(server.target, self.context(), timeout=3)
        self.loop.until(lambda: dial.state == HANDSHAKING)
        self.loop.advance(2.9)
        self.assertFalse(self.told())
        self.loop.advance(0.2)
        self.assertEqual(self.failed(dial), "TLS handshake timed out")

    def test_cancelled_in_the_handshake(self) -> None:
        """Nobody is told, nothing is left."""
        server = self.loop.server(mute=True)
        dial = self.dial(server.target, self.context())
        self.loop.until(lambda: dial.state == HANDSHAKING)
        dial.cancel()
        self.loop.advance(60)
        self.assertFalse(self.told())
        self.nothing_left()

    def test_an_event_meant_for_another_does_no_harm_in_the_handshake(self) -> None:
        """Nothing has come: nothing happens."""
        server = self.loop.server(mute=True)
        dial = self.dial(server.target, self.context())
        self.loop.until(lambda: dial.state == HANDSHAKING)
        dial.on_ready(READ | WRITE | FAILED)
        self.assertFalse(self.told())
        dial.cancel()

    def test_our_own_fault_ends_the_dial(self) -> None:
        """Whatever goes wrong in us, the owner is told and the failure logged."""
        server = self.loop.server(tls=server_context())
        context = self.context()
        with mock.patch.object(ClientContext, "verify", side_effect=ZeroDivisionError):
            self.assertEqual(self.failed(self.dial(server.target, context)), f"TLS handshake failed: {BROKEN}")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_answers_that_came_with_the_handshake_are_not_lost(self) -> None:
        """A server that speaks first: its bytes wait for the transport to be started."""
        server = self.loop.server(tls=server_context())
        dial = self.dial(server.target, self.context())
        self.loop.until(lambda: server.accepted)
        server.newest.send_unasked(b"hello first")
        self.loop.until(self.told)
        (transport,) = self.owner.transports
        peer = transport.owner = Recorder()
        self.loop.pump()
        transport.resume_reading()
        self.loop.until(lambda: peer.received)
        self.assertEqual((peer.received, dial.state), (b"hello first", DONE))
        transport.abort("over")
