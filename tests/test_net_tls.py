"""TLS towards servers: the promises of every transport kept over TLS 1.2 and 1.3, and what only TLS has.

Both ends are real OpenSSL; the server demands a client certificate.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import weakref
from base64 import encodebytes
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from random import Random
from time import time
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL, _util, crypto
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.tls import ServerTLS
from reusedproxy.demo.certificates import Authority
from reusedproxy.net.tls import openssl
from reusedproxy.net.tls import transport as tls
from reusedproxy.net.tls.client import ClientContext, Seen
from reusedproxy.net.tls.client_transport import ClientTLSTransport
from reusedproxy.net.tls.files import TLSConfigurationError, certificates_of
from reusedproxy.net.tls.openssl import RECORD, RECORDS
from reusedproxy.net.tls.trusts import SYSTEM_CA, Trusts
from reusedproxy.net.tls.words import ALERTS, CertificateRefused, VerifyFault, name_of
from reusedproxy.net.transport import PEER_CLOSED, PEER_TRUNCATED, Transport
from tests.test_net_transport import PassingBehaviour
from tests.test_net_transport_ends import EndBehaviour
from tests.tlsfakes import call_methods
from tests.wire import Far, Recorder, certificates, scratch, server_context

TLS12 = SSL.TLS1_2_VERSION
TLS13 = SSL.TLS1_3_VERSION


def client_context(**settings: Any) -> ClientContext:
    """A context that trusts the test's authority and shows its client certificate."""
    ours = certificates()
    return ClientContext(ServerTLS(**{"ca_file": ours.ca_file, "crt": ours.crt, "sni": "server.test", **settings}))


def pem_of(der: bytes) -> bytes:
    """A certificate that no library would write."""
    return b"-----BEGIN CERTIFICATE-----\n%b-----END CERTIFICATE-----\n" % encodebytes(der)


class TLSBehaviour(PassingBehaviour, EndBehaviour):
    """Every promise of a transport, and those of TLS."""

    OUR_END = "close_notify"
    VERSION = 0
    NAME = ""

    def setUp(self) -> None:
        super().setUp()
        self.context = client_context()
        self.servers = server_context(version=self.VERSION)

    def connect(self, tcp: bool, buffers: int | None) -> tuple[Transport, Far]:
        near, far = self.loop.pair(tcp=tcp, buffers=buffers, tls=self.servers)
        tls = self.context.connection(near)

        def shaken() -> bool:
            try:
                tls.do_handshake()
            except SSL.WantReadError:
                return False
            return True

        while not shaken():
            self.loop.pump()
        self.assertIsNone(self.context.verify(tls))
        return ClientTLSTransport(self.loop.poller, near, self.owner, tls, self.context), far

    def test_says_what_is_spoken(self) -> None:
        """The transport is secure and knows its protocol."""
        transport, far = self.open()
        self.assertTrue(transport.secure)
        assert isinstance(transport, ClientTLSTransport)
        self.assertEqual(transport.version, self.NAME)
        self.assertEqual((far.client_name, far.server_name), ("CN=client", b"server.test"))  # type: ignore[attr-defined]

    def test_records_are_joined_when_many_come(self) -> None:
        """Full records that wait together are delivered together, but no more than a bound at once."""
        transport, far = self.open(reading=False)
        content = os.urandom(RECORD * (RECORDS + 3))
        far.send(content)
        self.loop.pump()
        transport.resume_reading()
        self.loop.pump()
        self.assertTrue(self.owner.received == content)
        self.assertLessEqual(max(map(len, self.owner.chunks)), RECORD * RECORDS)
        self.assertGreater(max(map(len, self.owner.chunks)), RECORD)

    def test_record_sizes_around_the_edge(self) -> None:
        """Bodies that fill records to the byte, and one more or less, arrive whole without another event to help."""
        _, far = self.open()
        content = b""
        for size in (1, RECORD - 1, RECORD, RECORD + 1, 2 * RECORD, RECORD * RECORDS, 1):
            piece = os.urandom(size)
            content += piece
            far.send(piece)
            self.loop.pump()
            self.assertTrue(self.owner.received == content)

    def test_pausing_between_records_loses_nothing(self) -> None:
        """Whatever OpenSSL has taken from the socket is delivered; a pause after each delivery costs only time."""
        transport, far = self.open()
        content = os.urandom(RECORD * 40 + 77)
        self.owner.on["data"] = transport.pause_reading
        far.send(content)
        for _ in range(500):
            self.loop.pump()
            transport.resume_reading()
            if len(self.owner.received) >= len(content):
                break
        self.assertTrue(self.owner.received == content)

    def test_a_partly_sent_record_is_finished_when_more_is_written(self) -> None:
        """OpenSSL wants the same bytes again for a record that the kernel took half; what is added comes behind."""
        transport, far = self.open(buffers=4096)
        far.stall()
        content = b""
        for number in range(200):
            piece = os.urandom(100 + 37 * number)
            content += piece
            transport.write(piece)
        far.go_on()
        self.loop.pump()
        self.assertTrue(far.received == content)

    def test_records_before_a_failure_count_as_sent(self) -> None:
        """They have left; only what was never taken may be sent once more to another server."""
        transport, _ = self.open()
        self.loop.pump()
        gone: Iterator[int | Exception] = iter([RECORD, SSL.SysCallError(-1, "Unexpected EOF")])

        def one_record(connection: SSL.Connection, data: object) -> int:
            step = next(gone)
            if isinstance(step, int):
                return step
            raise step

        with mock.patch.object(tls, "send", one_record):
            self.assertEqual(transport._send(bytes(2 * RECORD)), RECORD)
        with mock.patch.object(tls, "send", mock.Mock(side_effect=SSL.SysCallError(-1, "Unexpected EOF"))):
            self.assertRaises(ConnectionResetError, transport._send, b"x")
        transport.abort("over")

    def test_what_a_peer_says_before_it_resets_is_heard(self) -> None:
        """It has answered an upload early, and closed with bytes unread: the next write fails,
        and OpenSSL reads no more."""
        transport, far = self.open(tcp=True)
        far.stall()
        transport.write(bytes(40_000))
        far.tls.send(b"too large")  # type: ignore[attr-defined]
        socket.close(far.socket.detach())
        transport.write(bytes(40_000))
        transport.write(bytes(40_000))
        self.loop.until(lambda: self.owner.lost)
        self.assertEqual(self.owner.received, b"too large")

    def test_a_peer_that_ends_while_it_is_heard(self) -> None:
        """Whoever hears it may close or abort then, in the middle of the write."""
        for end in ("close", "abort", "write"):
            self.owner = Recorder()
            transport, far = self.open(tcp=True)
            far.stall()
            far.tls.send(b"no")  # type: ignore[attr-defined]
            self.owner.on["data"] = {
                "close": lambda: transport.close("enough"),  # noqa: B023
                "abort": lambda: transport.abort("enough"),  # noqa: B023
                "write": lambda: transport.write(bytes(50_000)),  # noqa: B023
            }[end]
            transport.write(bytes(40_000))
            far.go_on()
            self.loop.pump()
            self.assertEqual(self.owner.received, b"no")
            self.assertEqual(len(far.received), {"close": 40_000, "abort": 0, "write": 90_000}[end])
            transport.abort("done")

    def test_close_notify_is_an_orderly_end(self) -> None:
        """The end of TLS is told as the peer's end even while TCP stays open."""
        _, far = self.open()
        far.close_notify()  # type: ignore[attr-defined]
        self.loop.pump()
        self.assertEqual(self.owner.events, ["eof"])

    def test_data_and_close_notify_together_while_pausing(self) -> None:
        """An end that came in with the last bytes is told though these made us pause: no event would bring it later."""
        transport, far = self.open(reading=False)
        far.send(b"x" * RECORD)
        far.close_notify()  # type: ignore[attr-defined]
        self.owner.on["data"] = transport.pause_reading
        transport.resume_reading()
        self.loop.pump()
        self.assertEqual(self.owner.events, ["data", "eof"])

    def test_what_came_is_read_before_much_is_sent(self) -> None:
        """A server refuses an upload and resets: after a write that failed for that,
        OpenSSL would read no answer any more."""
        transport, far = self.open()
        self.loop.pump()
        far.send(b"413")
        far.pump()
        far.drop()
        transport.write(bytes(1 << 20))
        self.loop.pump()
        self.assertEqual(self.owner.received, b"413")

    def test_an_end_without_close_notify_is_a_truncation(self) -> None:
        """An attacker can end TCP: what came is delivered, and the loss has its own word."""
        transport, far = self.open()
        far.send(b"half")
        far.truncate()  # type: ignore[attr-defined]
        self.loop.pump()
        self.assertEqual(self.owner.received, b"half")
        self.gone(transport, PEER_TRUNCATED)
        self.assertNotEqual(PEER_TRUNCATED, PEER_CLOSED)

    def test_full_records_before_a_truncation_are_delivered(self) -> None:
        """What was read in the same go as the bad end is not lost."""
        transport, far = self.open(reading=False)
        far.send(b"x" * (2 * RECORD))
        far.truncate()  # type: ignore[attr-defined]
        transport.resume_reading()
        self.loop.pump()
        self.assertEqual(len(self.owner.received), 2 * RECORD)
        self.gone(transport, PEER_TRUNCATED)

    def test_garbage_is_a_tls_error(self) -> None:
        """Bytes that are no TLS end the connection with OpenSSL's words."""
        transport, far = self.open()
        far.socket.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.loop.pump()
        self.assertTrue(str(self.owner.lost).startswith("TLS: "), self.owner.lost)
        self.gone(transport, str(self.owner.lost))

    def test_nothing_else_is_a_refusal_of_our_certificate(self) -> None:
        """What cannot be read, ours or theirs (their alert says so): whoever sends it may have read the request."""
        for whose in ("theirs", "ours"):
            self.owner = Recorder()
            transport, far = self.open()
            unreadable = b"\x17\x03\x03\x00\x20" + bytes(32)
            (far.socket if whose == "theirs" else transport.socket).send(unreadable)
            self.loop.until(lambda: self.owner.lost)
            self.assertTrue(str(self.owner.reason).startswith("TLS: "), self.owner.reason)
            self.assertNotIsInstance(self.owner.reason, CertificateRefused)

    def test_an_error_of_one_connection_is_not_anothers(self) -> None:
        """OpenSSL's queue of errors belongs to the whole thread; a failure leaves nothing there."""
        _, good = self.open()
        good_owner, self.owner = self.owner, Recorder()
        for _ in range(3):
            self.owner = Recorder()
            _, bad = self.open()
            bad.socket.send(b"garbage garbage garbage")
            good.send(b"x")
            self.loop.pump()
            self.assertIn("TLS: ", str(self.owner.lost))
        self.assertEqual((good_owner.received, good_owner.lost), (b"xxx", None))

    def test_a_reset_of_one_connection_is_not_anothers(self) -> None:
        """Nor does what the system said about one socket: a healthy connection with nothing to read lives on."""
        good, far = self.open()
        assert isinstance(good, ClientTLSTransport)
        good_owner = self.owner
        for find_out in ("write", "read", "close"):
            self.owner = Recorder()
            bad, gone = self.open(tcp=True)
            gone.reset()
            if find_out == "write":
                for _ in range(100):
                    bad.write(b"x")
            elif find_out == "read":
                self.loop.until(lambda: self.owner.lost)
            else:
                bad.close("over")
            good._read()
            self.assertEqual(good_owner.events, [], f"after a {find_out}")
            self.assertEqual(_util.lib.ERR_peek_error(), 0, f"after a {find_out}")  # what OpenSSL < 4 would trip over
            bad.abort("over")
        far.send(b"still here")
        self.loop.pump()
        self.assertEqual(good_owner.received, b"still here")

    def test_a_session_is_resumed(self) -> None:
        """What a connection leaves behind spares the next one the certificates; the server says so."""
        first, far = self.open()
        assert isinstance(first, ClientTLSTransport)
        self.assertFalse(far.resumed)  # type: ignore[attr-defined]
        far.send(b"first answer")
        self.loop.pump()
        first.remember_session()
        first.close("done")
        self.owner = Recorder()
        second, far = self.open()
        assert isinstance(second, ClientTLSTransport)
        self.assertTrue(far.resumed)  # type: ignore[attr-defined]
        self.assertIsNone(self.context.verify(second._tls))
        self.assertEqual(far.client_name, "CN=client")  # type: ignore[attr-defined]

    def test_a_session_is_the_contexts_own(self) -> None:
        """Another server line, with another name or certificate, never offers it."""
        first, far = self.open()
        assert isinstance(first, ClientTLSTransport)
        far.send(b"x")
        self.loop.pump()
        first.remember_session()
        self.context = client_context()
        self.owner = Recorder()
        _, far = self.open()
        self.assertFalse(far.resumed)  # type: ignore[attr-defined]

    def test_a_server_is_verified_again_after_a_while(self) -> None:
        """Not only as long as it resumes its sessions: they may outlive the authority that vouches for it."""
        now, client = time(), sys.modules[ClientContext.__module__]
        for brief in (False, True):
            self.context, lasts = client_context(), 3600
            self.servers = server_context(version=self.VERSION)
            if brief:
                soon = datetime.now(timezone.utc) + timedelta(seconds=600)
                between = Authority("between", issuer=certificates().authority, not_after=soon)
                credential, lasts = between.issue("server", hosts=["server.test"], key="ecdsa"), 600
                self.servers = server_context(version=self.VERSION, credential=credential)
            for at, expected in ((0, False), (0.5, True), (0.95, True), (1.05, False), (1.1, True)):
                self.patch(client, "time", lambda: now + at * lasts)  # noqa: B023
                self.owner = Recorder()
                transport, far = self.open()
                self.assertEqual(far.resumed, expected, (brief, at))  # type: ignore[attr-defined]
                far.send(b"an answer, with which the ticket is read")
                self.loop.pump()
                assert isinstance(transport, ClientTLSTransport)
                self.assertIsNone(self.context.verify(transport._tls))
                transport.remember_session()
                transport.close("over")
            self.patch(client, "time", time)

    def test_a_session_that_the_server_forgot_is_no_failure(self) -> None:
        """After a restart of the server the handshake is simply a full one."""
        first, far = self.open()
        assert isinstance(first, ClientTLSTransport)
        far.send(b"x")
        self.loop.pump()
        first.remember_session()
        self.servers = server_context(version=self.VERSION)
        self.owner = Recorder()
        _, far = self.open()
        self.assertFalse(far.resumed)  # type: ignore[attr-defined]
        far.send(b"well")
        self.loop.pump()
        self.assertEqual(self.owner.received, b"well")


class TLS12TransportTests(TLSBehaviour, SynchronousTestCase):
    """Over TLS 1.2."""

    VERSION = TLS12
    NAME = "TLSv1.2"


class TLS13TransportTests(TLSBehaviour, SynchronousTestCase):
    """Over TLS 1.3, where a server may refuse our certificate when the handshake looks complete to us."""

    VERSION = TLS13
    NAME = "TLSv1.3"

    def refuse(self, expected: str, servers: SSL.Context, **settings: Any) -> None:
        self.context = client_context(**settings)
        self.servers = servers
        self.owner = Recorder()
        transport, far = self.open()
        self.loop.pump()
        self.assertFalse(far.handshaken)  # type: ignore[attr-defined]
        self.gone(transport, f"TLS: {expected}")
        self.assertIsInstance(self.owner.reason, CertificateRefused)

    def test_a_client_certificate_is_refused_late(self) -> None:
        """The reason is the server's alert, and means our certificate file."""
        stranger = certificates().stranger.issue("intruder", client=True, key="ecdsa")
        crt = certificates().file("stranger.pem", stranger.pem)
        self.refuse("tlsv1 alert unknown ca", server_context(version=TLS13), crt=crt)
        self.assertEqual(
            self.context.meaning("tlsv1 alert unknown ca"),
            f"tlsv1 alert unknown ca: the server refused our client certificate (crt {crt}); alert unknown ca received",
        )

    def test_all_kinds_of_refusal(self) -> None:
        """No certificate, one that has expired or is for servers, one of an authority that nobody knows."""
        ours = certificates()
        past = datetime.now(timezone.utc) - timedelta(days=9)
        expired = ours.authority.issue(
            "late", client=True, key="ecdsa", not_before=past, not_after=past + timedelta(days=1)
        )
        for crt, words in (
            (None, "certificate required"),
            (ours.file("expired.pem", expired.pem), "certificate expired"),
            (ours.file("for-servers.pem", ours.server.pem), "unsupported certificate"),
        ):
            self.context = client_context(crt=crt)
            self.owner = Recorder()
            self.open()
            self.loop.until(lambda: self.owner.lost)
            self.assertTrue(str(self.owner.reason).endswith(words), self.owner.reason)
            self.assertIsInstance(self.owner.reason, CertificateRefused)

    def test_which_alerts_refuse_our_certificate(self) -> None:
        """RFC 8446 section 6.2, those that came; when the handshake was complete,
        and nothing has shown that it was taken."""
        words = "bad certificate|unsupported certificate|certificate revoked|certificate expired|certificate unknown"
        refusals = {*words.split("|"), "unknown ca", "access denied", "certificate required", "decrypt error"}
        for number, name in ALERTS.items():
            for sent in (False, True):
                for complete in (False, True):
                    for accepted in (False, True):
                        seen = Seen(self.context, alert=(sent, number), complete=complete, accepted=accepted)
                        expected = name in refusals and not sent and complete and not accepted
                        self.assertEqual(seen.refused, expected, (name, sent, complete, accepted))
        self.assertFalse(Seen(self.context, complete=True).refused)

    def test_a_ticket_proves_that_the_server_has_taken_our_certificate(self) -> None:
        """It comes behind our end of the handshake (RFC 8446 section 4.6.1)."""
        transport, _ = self.open()
        assert isinstance(transport, ClientTLSTransport)
        self.loop.pump()
        self.assertTrue(transport._tls.get_app_data().accepted)

    def test_the_refusal_is_heard_though_a_long_request_was_written(self) -> None:
        """The server reads none of it: its reset follows the alert, and meets our writes."""
        stranger = certificates().stranger.issue("intruder", client=True, key="ecdsa")
        self.context = client_context(crt=certificates().file("stranger.pem", stranger.pem))
        transport, far = self.open(tcp=True)
        transport.write(bytes(50_000))
        while not far.end:
            far.pump()
        transport.write(bytes(50_000))
        self.loop.until(lambda: self.owner.lost)
        self.gone(transport, "TLS: tlsv1 alert unknown ca")
        self.assertIsInstance(self.owner.reason, CertificateRefused)

    def test_the_refusal_is_heard_though_a_request_was_written(self) -> None:
        """The alert stands unread before the reset that our write meets: the alert is the reason."""
        stranger = certificates().stranger.issue("intruder", client=True, key="ecdsa")
        self.context = client_context(crt=certificates().file("stranger.pem", stranger.pem))
        transport, _ = self.open(tcp=True, reading=False)
        transport.write(b"GET / HTTP/1.1\r\n\r\n")
        transport.resume_reading()
        self.loop.until(lambda: self.owner.lost)
        self.gone(transport, "TLS: tlsv1 alert unknown ca")
        self.assertIsInstance(self.owner.reason, CertificateRefused)


class PlainMethodsTests(TLSBehaviour, SynchronousTestCase):
    """The same where pyOpenSSL has other insides than those that are called directly."""

    VERSION = TLS13
    NAME = "TLSv1.3"

    def setUp(self) -> None:
        super().setUp()
        call_methods(self)

    def test_the_installed_pyopenssl_is_called_directly(self) -> None:
        """A release with other insides would only cost speed, and should be noticed here."""
        self.assertIsNotNone(openssl.direct_calls())


class ComparisonTests(SynchronousTestCase):
    """What has changed between two readings of a server line, and whose word counts then."""

    def test_what_is_shown_offered_and_demanded(self) -> None:
        ours, trusts = certificates(), Trusts()

        def context(**settings: Any) -> ClientContext:
            said = {"ca_file": ours.ca_file, "crt": ours.crt, "sni": "server.test", **settings}
            return ClientContext(ServerTLS(**said), trusts)

        base = context()
        other = ours.file("renewed.pem", ours.authority.issue("renewed", client=True, key="ecdsa").pem)
        for settings, shows, begins, demands in (
            ({}, True, True, True),
            ({"crt": other}, False, True, True),
            ({"crt": None}, False, True, True),
            ({"sni": "other.test"}, True, False, False),
            ({"verifyhost": "other.test"}, True, True, True),  # it does not count beside sni
            ({"min_version": "TLSv1.3"}, True, False, True),
            ({"curves": "P-256"}, True, False, True),
            ({"verify": "none"}, True, True, False),
            ({"pins": ("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",)}, True, True, False),
            ({"ocsp": "required"}, True, True, False),
            ({"ca_file": other}, True, True, False),
        ):
            made = context(**settings)
            found = made.shows_as(base), made.begins_as(base), made.demands_as(base)
            self.assertEqual(found, (shows, begins, demands), settings)

    def test_nothing_of_it_is_left_to_the_garbage_collector(self) -> None:
        """Which does not look at what a reload has frozen."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for settings in ({}, {"verify": "none", "pins": ("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",)}):
            context: Any = client_context(**settings)
            helpers = [weakref.ref(context._context._verify_helper)]
            helpers += [weakref.ref(context._context._ocsp_helper)] if context._context._ocsp_helper else []
            del context
            self.assertEqual([each() for each in helpers], [None] * len(helpers))

    def test_ours_is_ending_in_its_last_hour_or_quarter(self) -> None:
        ours, now = certificates(), datetime.now(timezone.utc).replace(microsecond=0)
        for life, ends in ((timedelta(days=90), 3600), (timedelta(minutes=8), 120)):
            made = ours.authority.issue("short", client=True, key="ecdsa", not_before=now - life, not_after=now)
            context = client_context(crt=ours.file("short.pem", made.pem))
            found = [context.is_ending(now.timestamp() - ends + more) for more in (-1, 0, ends, ends + 1)]
            self.assertEqual(found, [False, True, True, True])
        self.assertFalse(client_context(crt=None).is_ending(now.timestamp()))


class ConfigurationTests(SynchronousTestCase):
    """Files and names that cannot be used are named before any connection is made."""

    def setUp(self) -> None:
        self.folder = scratch(self)
        self.ours = certificates()

    def file(self, name: str, content: bytes) -> str:
        (self.folder / name).write_bytes(content)
        return str(self.folder / name)

    def fault(self, **settings: str) -> str:
        said: dict[str, Any] = {"ca_file": self.ours.ca_file, **settings}
        with self.assertRaises(TLSConfigurationError) as caught:
            ClientContext(ServerTLS(**said))
        return str(caught.exception)

    def assertFault(self, fault: str, path: object, words: str) -> None:
        self.assertIn(str(path), fault)
        self.assertIn(words, fault)
        self.assertNotIn("\n", fault)

    def test_a_certificate_file_that_is_missing(self) -> None:
        """Named, with the system's words."""
        path = str(self.folder / "none.pem")
        self.assertFault(self.fault(crt=path), f"crt {path}", "cannot be read: No such file or directory")

    def test_a_certificate_file_that_is_a_directory(self) -> None:
        """A directory is no certificate."""
        self.assertFault(self.fault(crt=str(self.folder)), f"crt {self.folder}", "cannot be read: Is a directory")

    def test_files_that_may_not_be_read(self) -> None:
        """The system's word for it, whoever runs the tests: root may read anything, so the refusal is a stand-in."""
        crt, ca = self.file("c.pem", self.ours.client.pem), self.file("ca.pem", b"")
        denied = PermissionError(13, "Permission denied")
        with mock.patch("reusedproxy.net.tls.files.read_file", side_effect=denied):
            self.assertFault(self.fault(crt=crt), f"crt {crt}", "cannot be read: Permission denied")
            self.assertFault(self.fault(ca_file=ca), f"ca-file {ca}", "cannot be read: Permission denied")

    def test_a_file_with_a_key_and_no_certificate(self) -> None:
        """Half of what `crt` needs is not enough."""
        path = self.file("key-only.pem", self.ours.client.key_pem)
        self.assertFault(self.fault(crt=path), f"crt {path}", "no usable certificate: there is none in it")

    def test_a_file_that_is_no_pem(self) -> None:
        """Empty, binary, text, or cut off; each is told from the others, whatever the file is for."""
        for content, words in (
            (b"\n", "is empty"),
            (b"\x30\x82\x03\x00", "is no PEM file but a binary one, DER or PKCS #12"),
            (b"certificate\n", "is no PEM file (it has no line"),
            (b"\xef\xbb\xbf" + self.ours.client.pem, "begins with a byte order mark"),
            (self.ours.client.pem[:300], "is cut off: a line -----BEGIN has no -----END"),
        ):
            path = self.file("other.pem", content)
            self.assertFault(self.fault(crt=path), f"crt {path}", words)
            self.assertFault(self.fault(ca_file=path), f"ca-file {path}", words)
            self.assertFault(self.fault(ca_file=self.ours.ca_file, crl_file=path), f"crl-file {path}", words)
        self.file("parts.pem", self.ours.client.certificate_pem)
        key = self.file("parts.pem.key", b"\x30\x82\x03\x00")
        self.assertFault(self.fault(crt=str(self.folder / "parts.pem")), f"crt {key}", "a binary one")

    def test_a_certificate_whose_key_cannot_be_read(self) -> None:
        """OpenSSL looks at it later than we have to; a CA in such a state is not ours to judge."""
        der = self.ours.client.certificate.public_bytes(serialization.Encoding.DER)
        curve, point = bytes.fromhex("2a8648ce3d030107"), b"\x03\x42\0\x04"
        self.assertEqual((der.count(curve), der.count(point)), (1, 1))
        for before, after in ((curve, curve[:-1] + b"\x63"), (point, b"\x03\x42\0\x09")):
            content = pem_of(der.replace(before, after)) + self.ours.client.key_pem
            path = self.file("damaged.pem", content)
            words = "no usable certificate: the public key of the first one, which is CN=client, cannot be read ("
            self.assertFault(self.fault(crt=path), f"crt {path}", words)

    def test_a_certificate_with_an_extension_twice(self) -> None:
        """RFC 5280 section 4.2 forbids it, and nobody could say which of them counts."""
        der = self.ours.client.certificate.public_bytes(serialization.Encoding.DER)
        key_usage, basic_constraints = bytes.fromhex("0603551d0f"), bytes.fromhex("0603551d13")
        self.assertEqual((der.count(key_usage), der.count(basic_constraints)), (1, 1))
        content = pem_of(der.replace(key_usage, basic_constraints)) + self.ours.client.key_pem
        path = self.file("twice.pem", content)
        self.assertFault(self.fault(crt=path), f"crt {path}", "no usable certificate: Duplicate")

    def test_a_peer_that_shows_an_extension_twice(self) -> None:
        """OpenSSL asks what we think of it, and nobody can read its names."""
        der = self.ours.client.certificate.public_bytes(serialization.Encoding.DER)
        twice = der.replace(bytes.fromhex("0603551d0f"), bytes.fromhex("0603551d13"))
        fault = VerifyFault.of(18, 0, crypto.load_certificate(crypto.FILETYPE_ASN1, twice))
        self.assertIn("CN=client, for names that cannot be read, issued by", fault.certificate)

    def test_a_certificate_that_is_damaged_anywhere(self) -> None:
        """It is refused with the file's name, or it is taken; both files are read by the table of certificates, too."""
        der, random = self.ours.client.certificate.public_bytes(serialization.Encoding.DER), Random(1)
        for _ in range(300):
            damaged = bytearray(der)
            for _ in range(random.randrange(1, 4)):
                damaged[random.randrange(len(damaged))] = random.randrange(256)
            path = self.file("damaged.pem", pem_of(bytes(damaged)) + self.ours.client.key_pem)
            for settings in ({"crt": path}, {"ca_file": path}):
                said: dict[str, Any] = {"ca_file": self.ours.ca_file, **settings}
                try:
                    ClientContext(ServerTLS(**said))
                except TLSConfigurationError as error:
                    self.assertIn(path, str(error))
            for each in certificates_of(path):
                name_of(each.subject)

    def test_a_file_with_a_certificate_and_no_key(self) -> None:
        """The message says where the key was looked for."""
        path = self.file("cert-only.pem", self.ours.client.certificate_pem)
        self.assertFault(self.fault(crt=path), f"crt {path}", f"holds no private key, and there is no {path}.key")

    def test_a_key_beside_its_certificate(self) -> None:
        """HAProxy's other way: NAME and NAME.key."""
        path = self.file("cert.pem", self.ours.client.certificate_pem)
        self.file("cert.pem.key", self.ours.client.key_pem)
        ClientContext(ServerTLS(ca_file=self.ours.ca_file, crt=path))

    def test_a_key_before_its_certificate(self) -> None:
        """The order within the file does not matter."""
        path = self.file("both.pem", self.ours.client.key_pem + self.ours.client.certificate_pem)
        ClientContext(ServerTLS(ca_file=self.ours.ca_file, crt=path))

    def test_a_key_of_another_certificate(self) -> None:
        """Whether they belong together is asked at start, not at the first handshake."""
        expected = "no usable private key: it does not belong to the first certificate, which is CN=client"
        path = self.file("mixed.pem", self.ours.client.certificate_pem + self.ours.server.key_pem)
        self.assertFault(self.fault(crt=path), f"crt {path}", expected)
        other = self.ours.authority.issue("other", key="rsa").key_pem
        path = self.file("mixed-kinds.pem", self.ours.client.certificate_pem + other)
        self.assertFault(self.fault(crt=path), f"crt {path}", expected)
        path = self.file("chain-first.pem", self.ours.authority.certificate_pem + self.ours.client.pem)
        self.assertFault(self.fault(crt=path), f"crt {path}", expected.replace("CN=client", "CN=test CA"))

    def test_a_key_with_a_passphrase(self) -> None:
        """A daemon cannot be asked, and does not ask."""
        key = self.ours.client.key
        for name, form in (
            ("pkcs8", serialization.PrivateFormat.PKCS8),
            ("old", serialization.PrivateFormat.TraditionalOpenSSL),
        ):
            locked = key.private_bytes(
                serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(b"secret")
            )
            path = self.file(f"{name}.pem", self.ours.client.certificate_pem + locked)
            self.assertFault(self.fault(crt=path), f"crt {path}", "protected by a passphrase")

    def test_a_key_in_the_form_of_openssh(self) -> None:
        """It is a PEM file, too, and of no use."""
        form = serialization.PrivateFormat.OpenSSH
        key = self.ours.client.key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        path = self.file("ssh.pem", self.ours.client.certificate_pem + key)
        self.assertFault(self.fault(crt=path), f"crt {path}", "it has OpenSSH's format (ssh-keygen -p -m PEM changes")

    def test_a_key_that_is_garbage(self) -> None:
        """PEM around nonsense."""
        key = b"-----BEGIN PRIVATE KEY-----\nbm9uc2Vuc2U=\n-----END PRIVATE KEY-----\n"
        path = self.file("garbage.pem", self.ours.client.certificate_pem + key)
        self.assertFault(self.fault(crt=path), f"crt {path}", "no usable private key: it cannot be decoded")

    def test_a_ca_file_that_is_missing(self) -> None:
        """Named, with the system's words."""
        path = str(self.folder / "none.pem")
        self.assertFault(self.fault(ca_file=path), f"ca-file {path}", "cannot be read: No such file or directory")

    def test_a_ca_file_without_a_certificate(self) -> None:
        """A lone key trusts nobody."""
        path = self.file("key.pem", self.ours.client.key_pem)
        self.assertFault(self.fault(ca_file=path), f"ca-file {path}", "no usable CA certificate: there is none in it")

    def test_a_ca_directory_without_certificates(self) -> None:
        """A directory in which nothing looks like a certificate file."""
        self.file("README", b"nothing here")
        fault = self.fault(ca_file=str(self.folder))
        self.assertFault(fault, f"ca-file {self.folder}", "there is no .pem, .crt or .cer file in this directory")

    def test_a_ca_directory_with_one_bad_file(self) -> None:
        """The file concerned is named, not only its directory."""
        self.file("a.pem", self.ours.authority.certificate_pem)
        path = self.file("b.crt", b"hello")
        self.assertFault(self.fault(ca_file=str(self.folder)), f"ca-file {path}", "is no PEM file")

    def test_a_ca_directory_with_several(self) -> None:
        """All of them are trusted, but those that a dot has put out of use, as in HAProxy; a directory is no file."""
        self.file("a.pem", self.ours.stranger.certificate_pem)
        self.file("b.cer", self.ours.authority.certificate_pem)
        self.file(".c.pem", Authority("hidden").certificate_pem)
        self.file(".#a.pem", b"no PEM at all")
        (self.folder / "d.pem").mkdir()
        context = ClientContext(ServerTLS(ca_file=str(self.folder)))
        self.assertEqual(
            context._trusted.words, f"trusted are those of ca-file {self.folder} (CN=unknown CA / CN=test CA)"
        )

    def test_the_systems_authorities(self) -> None:
        """@system-ca, and no word at all, trust what OpenSSL is built to trust."""
        with mock.patch.object(SSL.Context, "set_default_verify_paths") as trusted:
            ClientContext(ServerTLS(ca_file=SYSTEM_CA))
            ClientContext(ServerTLS(ca_file=None))
        self.assertEqual(trusted.call_count, 2)

    def test_with_verify_none_authorities_are_read_and_count_for_nothing(self) -> None:
        """As in HAProxy: who says `verify required` later relies on them. The system's need not be there."""
        for said in ({"ca_file": "/none"}, {"crl_file": "/none"}):
            self.assertIn("-file /none: cannot be read", self.fault(verify="none", **said))
        with mock.patch.object(SSL.Context, "set_default_verify_paths") as trusted:
            ClientContext(ServerTLS(verify="none"))
        self.assertEqual(trusted.call_count, 0)

    def test_names_that_no_certificate_can_carry(self) -> None:
        """They are faults of the configuration, not of each handshake."""
        for name in ("a b", "a..b", "x" * 70, "*.example"):
            self.assertIn(f"{name!r} is not a host name", self.fault(sni=name))
            self.assertIn(f"{name!r} is not a host name", self.fault(verifyhost=name))

    def test_sni_counts_before_verifyhost(self) -> None:
        """As in HAProxy, `verifyhost` is for servers without `sni`."""
        context = ClientContext(ServerTLS(verify="none", sni="a.test", verifyhost="b.test"))
        self.assertEqual(context.name, "a.test")
        context = ClientContext(ServerTLS(verify="none", verifyhost="b.test"))
        self.assertEqual(context.name, "b.test")
