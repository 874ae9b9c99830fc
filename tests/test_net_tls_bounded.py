"""Handshakes with servers, in steps that end whatever a server sends: real OpenSSL on both sides."""

from __future__ import annotations

from collections.abc import Callable
from socket import socketpair

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.tls import ServerTLS
from reusedproxy.net.tls import bounded as tls_bounded
from reusedproxy.net.tls.bounded import AT_ONCE, MOST_RECORDS, Bounded, Endless, OnSocket, bounded
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.tls.openssl import COMPLETE, WANTS_READ, WANTS_WRITE, receive
from reusedproxy.net.tls.trusts import Trusts
from tests.wire import certificates, server_context

VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)


class End:
    """A server in memory, and the two ends of the connection to it."""

    def __init__(
        self, test: SynchronousTestCase, version: int = SSL.TLS1_3_VERSION, said: bytes = b"", ca_file: str = ""
    ) -> None:
        self.ours, self.theirs = socketpair()
        for end in (self.ours, self.theirs):
            end.setblocking(False)
            test.addCleanup(end.close)
        found = certificates()
        tls = ServerTLS(ca_file=ca_file or found.ca_file, crt=found.crt, sni="server.test")
        context = ClientContext(tls, Trusts())
        self.connection = context.connection(self.ours)
        self.steps = bounded(self.connection, self.ours)
        self.server = SSL.Connection(server_context(version=version), None)
        self.server.set_accept_state()
        #: What the server says as soon as it may.
        self.said = said
        self.complete = False

    def hears(self) -> None:
        """The server takes what has come."""
        try:
            self.server.bio_write(self.theirs.recv(1 << 16))
        except BlockingIOError:
            return
        if not self.complete:
            try:
                self.server.do_handshake()
                self.complete = True
            except SSL.WantReadError:
                pass
        if self.complete and self.said:
            self.server.send(self.said)
            self.said = b""

    def says(self) -> bytes:
        """What the server has to say."""
        try:
            return self.server.bio_read(1 << 16)
        except SSL.WantReadError:
            return b""


class BoundedTests(SynchronousTestCase):
    def test_a_handshake_in_any_pieces(self) -> None:
        """It is complete, and what the server says behind it is not lost, nor is any of its session tickets."""

        @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
        @given(st.sampled_from(VERSIONS), st.lists(st.integers(1, 700), min_size=1, max_size=20))
        def any_pieces(version: int, sizes: list[int]) -> None:
            end = End(self, version, said=b"hello")
            waits_for, turn = end.steps.step(), 0
            pending = b""
            got = b""
            while len(got) < 5:
                self.assertLess(turn, 10_000)
                end.hears()
                pending += end.says()
                size = sizes[turn % len(sizes)]
                turn += 1
                piece, pending = pending[:size], pending[size:]
                end.theirs.sendall(piece)
                if waits_for != COMPLETE:
                    waits_for = end.steps.step()
                    continue
                try:
                    got += receive(end.connection)
                except SSL.WantReadError:
                    pass
            self.assertEqual((got, end.connection.get_peer_certificate() is not None), (b"hello", True))

        any_pieces()

    def test_messages_that_openssl_passes_over_end_each_step_and_the_handshake(self) -> None:
        """HelloRequest is four zero bytes, and nothing of it is verified."""
        for record in (
            b"\x16\x03\x03\x00\x01\x00",
            b"\x16\x03\x03\x00\x04" + bytes(4),
            b"\x16\x03\x03\x40\x00" + bytes(16384),
        ):
            end = End(self)
            self.assertEqual(end.steps.step(), WANTS_READ)
            steps = 0
            with self.assertRaises(Endless) as raised:
                while True:
                    try:
                        while True:
                            end.theirs.send(record)
                    except BlockingIOError:
                        pass
                    self.assertEqual(end.steps.step(), WANTS_READ)
                    steps += 1
            self.assertLessEqual(steps, MOST_RECORDS // AT_ONCE)
            self.assertIn("the server's handshake is longer than", str(raised.exception))

    def test_what_is_no_tls_is_refused_at_once(self) -> None:
        for data in (b"HTTP/1.1 400 Bad Request\r\n", b"SSH-2.0-x", b"\x16\x03\x03\xff\xff", b"\x16\x02\x00\x00\x05"):
            end = End(self)
            end.steps.step()
            end.theirs.send(data)
            with self.assertRaises(SSL.Error) as raised:
                end.steps.step()
            self.assertIs(type(raised.exception), SSL.Error, data)

    def test_a_server_hears_why_it_is_refused(self) -> None:
        stranger = certificates().file("stranger-ca.pem", certificates().stranger.credential.pem)
        end = End(self, ca_file=stranger)
        with self.assertRaises(SSL.Error):
            while True:
                end.steps.step()
                end.hears()
                end.theirs.sendall(end.says())
        with self.assertRaises(SSL.Error) as raised:
            end.hears()
            end.server.recv(1)
        self.assertIn("alert unknown ca", str(raised.exception))

    def test_how_it_ends_with_the_connection(self) -> None:
        def close(end: End) -> None:
            end.theirs.close()

        def cut(end: End) -> None:
            end.theirs.send(b"\x16\x03")
            end.theirs.close()

        ends: tuple[Callable[[End], None], ...] = (close, cut)
        for how in ends:
            end = End(self)
            end.steps.step()
            end.theirs.recv(1 << 16)
            how(end)
            with self.assertRaises(SSL.SysCallError) as raised:
                while end.steps.step() == WANTS_READ:
                    pass
            self.assertEqual(raised.exception.args, (-1, "Unexpected EOF"))

    def test_a_kernel_that_takes_nothing_is_waited_for(self) -> None:
        end = End(self)
        filled = 0
        try:
            while True:
                filled += end.ours.send(bytes(1024))
        except BlockingIOError:
            pass
        self.assertEqual(end.steps.step(), WANTS_WRITE)
        self.assertEqual(end.steps.step(), WANTS_WRITE)
        while filled:
            filled -= len(end.theirs.recv(filled))
        waits_for = end.steps.step()
        while waits_for != COMPLETE:
            end.hears()
            end.theirs.sendall(end.says())
            waits_for = end.steps.step()
        self.assertIsInstance(end.steps, Bounded)

    def test_without_the_names_that_it_needs_it_is_made_on_the_socket(self) -> None:
        def missing() -> object:
            raise AttributeError("BIO_write")

        self.patch(tls_bounded, "_library", missing)
        end = End(self)
        self.assertIsInstance(end.steps, OnSocket)
        while end.steps.step() != COMPLETE:
            end.hears()
            end.theirs.sendall(end.says())
