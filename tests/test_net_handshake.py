"""Clients' handshakes: whole, cut off, too slow, refused; nothing is leaked, and every reason is said once."""

from __future__ import annotations

import gc
import random
import struct
import weakref
from datetime import timedelta
from itertools import count
from unittest import mock

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.demo.certificates import Authority, Credential
from reusedproxy.net.poller import READ, WRITE
from reusedproxy.net.tls.handshake import (
    ABORTED,
    EMPTY,
    REFUSED,
    STEPS_FOR,
    TIMED_OUT,
    Handshake,
)
from reusedproxy.net.tls.hello import ClientHello
from reusedproxy.net.tls.openssl_server import set_groups
from tests.handshakes import Shaker, client_tls, side_of
from tests.test_net_hello import hello, in_records, padded
from tests.wire import Far, Loop, Recorder, certificates

TLS12, TLS13 = SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION
HOUR = timedelta(hours=1)


class HandshakeTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.loop = Loop(self)
        self.loop.poller.again_for = 0.0
        self.addCleanup(self.check_rest)
        self.shaker = Shaker(self, self.loop)

    def check_rest(self) -> None:
        for transport in self.shaker.transports:
            transport.owner = Recorder()
            transport.abort("over")
        self.assertEqual(self.loop.poller.watching(), 0)
        self.assertEqual(self.loop.deadlines.watching(), 0)
        self.assertEqual({each.state for each in self.shaker.handshakes} - {"done"}, set())

    def raw(self, data: bytes = b"", *, tcp: bool = False) -> Far:
        """A client that says what it is told to."""
        near, far = self.loop.pair(tcp=tcp)
        self.shaker.begin(near)
        if data:
            far.send(data)
        self.loop.pump()
        return far

    def failed(self, kind: str, words: str) -> None:
        (failure,) = self.shaker.failures
        self.assertEqual(failure.kind, kind)
        self.assertIn(words, failure.reason)
        self.assertNotIn("\n", failure.reason)
        self.shaker.failures.clear()


class ThroughTests(HandshakeTestCase):
    """What a handshake that is through can tell."""

    def test_version_cipher_and_name(self) -> None:
        """Of TLS 1.2 and 1.3."""
        for version, name in ((TLS12, "TLSv1.2"), (TLS13, "TLSv1.3")):
            far = self.shaker.client(client_tls(version=version), name="Server.Test")
            transport = self.shaker.transport
            self.assertTrue(far.handshaken and transport.secure)
            self.assertEqual((transport.version, transport.server_name), (name, "server.test"))
            self.assertEqual(side_of(transport).cipher, far.tls.get_cipher_name())
            self.assertEqual((transport.resumed, side_of(transport).certificate), (False, None))
            self.assertEqual(
                (side_of(transport).verify_result, transport.crt_fault, transport.ca_fault), (0, None, None)
            )

    def test_lists_of_the_first_message_are_kept_where_that_is_set(self) -> None:
        """As it came, up to the size; OpenSSL knows the names. One that is read by OpenSSL alone has none."""
        self.shaker.client(client_tls())
        self.assertIsNone(side_of(self.shaker.transport).hello_lists)
        self.shaker.offer(capture=300)
        far = self.shaker.client(client_tls(version=TLS12))
        side = side_of(self.shaker.transport)
        lists = side.hello_lists
        assert lists is not None
        self.assertIn(b"\x00\x0a", lists.extensions)
        numbers = struct.unpack(f">{len(lists.suites) // 2}H", lists.suites)
        named = [name for name in side.suite_names(numbers) if not name.endswith("_SCSV")]
        self.assertLess(set(named), {*far.tls.get_cipher_list(), ""})
        self.assertEqual((len(named) > 5, "" in named), (True, False))
        self.assertEqual(side.suite_names((0x0A0A,)), [""])
        self.shaker.offer(capture=7)
        self.shaker.client(client_tls())
        cut = side_of(self.shaker.transport).hello_lists
        assert cut is not None
        self.assertEqual((len(cut.suites), cut.extensions), (7, b""))

    def test_cut_at_every_byte(self) -> None:
        """A first message that comes in two pieces is as good as one, wherever it is cut."""
        whole = hello()
        for size in range(1, len(whole)):
            far = self.raw(whole[:size])
            self.assertEqual(self.shaker.handshakes[-1].state, "waiting")
            far.send(whole[size:])
            self.loop.pump()
            self.assertEqual(self.shaker.handshakes[-1].state, "shaking")
            self.assertEqual(far.received[:1], b"\x16")
            self.shaker.handshakes[-1].abort("over")
        self.assertEqual({failure.kind for failure in self.shaker.failures}, {ABORTED})

    def test_byte_by_byte(self) -> None:
        """Nobody spins, and nothing is lost, however slowly the client's messages come.

        Over TCP: a unix socket's kernel holds back more than some 200 pieces of which none has been read.
        """
        for version in (TLS12, TLS13):
            self.shake_slowly(client_tls(version=version))
        self.assertEqual(len(self.shaker.transports), 2)

    def shake_slowly(self, context: SSL.Context) -> None:
        near, far = self.loop.pair(tcp=True)
        self.shaker.begin(near)
        client = SSL.Connection(context, None)
        client.set_connect_state()
        while self.shaker.handshakes[-1].state != "done":
            try:
                client.do_handshake()
            except SSL.WantReadError:
                pass
            far.split(client.bio_read(65536), 1)
            self.loop.until(lambda: far.received or self.shaker.handshakes[-1].state == "done")
            if data := far.take():
                client.bio_write(data)

    def test_a_first_message_of_any_length_that_openssl_takes_is_answered(self) -> None:
        """A fuzzer's, or one of tomorrow's; in whichever records,
        by the certificate of the name if that comes early enough."""
        for padding, size in ((40000, 1 << 14), (64000, 1 << 14), (64000, 300)):
            far = self.raw(tcp=True)
            far.split(padded(hello("server.test"), padding, size), 10000)
            self.loop.until(lambda far=far: far.received)
            self.assertEqual(far.received[:1], b"\x16")
            self.assertEqual(self.shaker.handshakes[-1]._shown.hello.server_name, "server.test")
            self.shaker.handshakes[-1].abort("over")

    def test_a_name_that_only_openssl_reads_gets_nobody_past_its_terms(self) -> None:
        """It stands beyond our bound, or is read in any other way: rules would be shown that name, of a client without
        the certificate that is demanded for it."""
        names = ("a.test", "b.test")
        issued = [certificates().authority.issue(name, hosts=[name], key="ecdsa") for name in names]
        self.shaker.certificates = self.shaker.load(*issued)
        for strict, said, asked, taken in (
            (False, "b.test", None, False),
            (False, "a.test", None, True),
            (False, "other.test", None, True),
            (False, None, "b.test", False),
            (True, "other.test", "a.test", False),
        ):
            self.shaker.certificates.strict = strict
            with mock.patch("reusedproxy.net.tls.handshake.read_hello", lambda data, asked=asked: ClientHello(asked)):
                far = self.shaker.client(name=said)
            self.assertEqual(len(self.shaker.transports), int(taken), (said, asked))
            if taken:
                transport = self.shaker.transports.pop()
                transport.owner = Recorder()
                transport.abort("over")
            else:
                far.drop()
                self.loop.pump()
                self.failed(REFUSED, f"the client names {said and said.encode()!r} where only OpenSSL reads it")

    def test_a_name_that_changes_when_the_client_is_asked_again_gets_nobody_past_its_terms(self) -> None:
        """Who shares a key that we do not take sends a second hello (RFC 8446 section 4.1.4), which OpenSSL alone
        reads."""
        names = ("a.test", "b.test")
        issued = [certificates().authority.issue(name, hosts=[name], key="ecdsa") for name in names]
        self.shaker.certificates = self.shaker.load(*issued)
        for strict, second in ((False, "a.test"), (False, "b.test"), (True, "b.test"), (True, "other.test")):
            self.shaker.certificates.strict = strict
            context = client_tls(version=TLS13)
            self.assertTrue(set_groups(context, "P-521:X25519"))
            client = SSL.Connection(context, None)
            client.set_connect_state()
            client.set_tlsext_host_name(b"a.test")
            self.assertRaises(SSL.WantReadError, client.do_handshake)
            client.set_tlsext_host_name(second.encode())
            far = self.raw(client.bio_read(65536))
            client.bio_write(far.take())
            self.assertRaises(SSL.WantReadError, client.do_handshake)
            far.send(client.bio_read(65536))
            self.loop.pump()
            client.bio_write(far.take())
            client.do_handshake()
            far.send(client.bio_read(65536))
            self.loop.pump()
            far.drop()
            self.loop.pump()
            if second == "a.test":
                transport = self.shaker.transports.pop()
                transport.owner = Recorder()
                transport.abort("over")
            else:
                self.failed(REFUSED, f"the client names b'{second}' where only OpenSSL reads it")
            self.assertEqual(self.shaker.transports, [])

    def test_one_that_openssl_does_not_take_is_told_so(self) -> None:
        """By an alert that is not lost to a reset, though more has come than was read."""
        for length, content, alert in (
            (0x020800, bytes(3 << 14), 47),  # beyond 128 KiB: illegal parameter
            (0x00C000 - 4, bytes(3 << 14), 50),  # whole, and nothing in it: decode error
        ):
            message = b"\x01" + length.to_bytes(3, "big") + content
            far = self.raw(tcp=True)
            far.split(in_records(b"\x16\x03\x01\0\0" + message, 1 << 14), 10000)
            self.loop.until(lambda far=far: far.received)
            self.assertEqual((far.received[0], far.received[-1]), (21, alert))
            far.drop()
            self.loop.until(lambda: bool(self.shaker.failures))
            self.failed(REFUSED, "alert ")

    def test_what_comes_with_the_last_message_is_not_lost(self) -> None:
        """A client of TLS 1.3 sends its request right behind it."""
        near, far = self.loop.pair()
        self.shaker.begin(near)
        client = SSL.Connection(client_tls(version=TLS13), None)
        client.set_connect_state()
        self.assertRaises(SSL.WantReadError, client.do_handshake)
        far.send(client.bio_read(65536))
        self.loop.pump()
        client.bio_write(far.take())
        client.do_handshake()
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        far.send(client.bio_read(65536))
        self.loop.pump()
        transport, peer = self.shaker.transport, Recorder()
        transport.owner = peer
        transport.resume_reading()
        self.loop.pump()
        self.assertEqual(peer.received, b"GET / HTTP/1.1\r\n\r\n")

    def test_protocols(self) -> None:
        """ALPN: ours are answered in our order; a client that offers only others is not answered, as in HAProxy."""
        for ours, theirs, expected in (
            (("http/1.1",), [b"h2", b"http/1.1"], "http/1.1"),
            (("http/1.1", "http/1.0"), [b"http/1.0", b"http/1.1"], "http/1.1"),
            (("http/1.0",), [b"http/1.1"], ""),
            ((), [b"http/1.1"], ""),
            (("http/1.1",), [b"h2"], ""),
        ):
            self.shaker.offer(alpn=ours)
            far = self.shaker.client(client_tls(alpn=theirs))
            self.assertTrue(far.handshaken)
            self.assertEqual(side_of(self.shaker.transport).alpn.decode(), expected)

    def test_a_connection_outlives_its_certificates(self) -> None:
        """After a reload nothing else holds them, and OpenSSL still calls back: for the alert that ends it, say. The
        garbage collector, which does not look at what a reload has frozen, has nothing to do."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for fields in ({}, {"verify": "optional", "ca_file": certificates().ca_file}):
            self.shaker.offer(**fields)
            far = self.shaker.client(client_tls(version=TLS12))
            transport = self.shaker.transports.pop()
            (context,) = self.shaker.certificates.contexts
            known, called = weakref.ref(context), weakref.ref(context._calls)
            del context
            self.shaker.offer()
            self.shaker.handshakes.clear()
            self.assertIsNone(known())
            self.assertIsNotNone(called())
            transport.owner = Recorder()
            transport.close("over")
            self.loop.pump()
            self.assertEqual(far.end, "close_notify")
            del transport
            self.assertIsNone(called())

    def crowd(self, size: int) -> list[Far]:
        """So many clients, whose first messages have come."""
        whole, fars = hello(), []
        for _ in range(size):
            near, far = self.loop.pair()
            self.shaker.begin(near)
            far.socket.send(whole)
            fars.append(far)
        return fars

    def test_a_crowd_is_dealt_with_a_few_at_a_time(self) -> None:
        """Others are served between; and in the end all of the crowd are."""
        crowd, steps = 20, 3
        fars = self.crowd(crowd)
        reading = count()
        # The clock is read when the first step begins, and before each of the others.
        self.shaker.turns.now = lambda: next(reading) * STEPS_FOR / (steps - 0.5)
        self.loop.poller.doRead()
        answered = [far for far in fars if far._receive(65536)]
        self.assertEqual(len(answered), steps)
        states = [each.state for each in self.shaker.handshakes]
        self.assertEqual(states, ["shaking"] * steps + ["in line"] * (crowd - steps))
        # Only the first of those in line is told again, and brings the next batch.
        told: list[Handshake] = []
        with mock.patch.object(Handshake, "on_ready", lambda handshake, events: told.append(handshake)):
            for each in self.shaker.handshakes:
                self.loop.poller.hand_over(each._fd, each.on_ready)
            self.loop.poller.doRead()
        for each in self.shaker.handshakes:
            self.loop.poller.hand_over(each._fd, each.on_ready)
        self.assertEqual(told, [self.shaker.handshakes[steps]])
        for gone in (steps, steps + 3, -1):
            self.shaker.handshakes[gone].abort("gone")
        self.loop.pump()
        states = [each.state for each in self.shaker.handshakes]
        self.assertEqual((states.count("shaking"), states.count("done")), (crowd - 3, 3))
        for handshake in self.shaker.handshakes:
            handshake.abort("over")

    def test_one_in_line_that_waits_to_write(self) -> None:
        """A client that was slow to read our certificates does not hold the line up when it goes on."""
        chain = tuple(Authority(f"CA {number}").credential.certificate for number in range(40))
        ours = certificates().server
        self.shaker = Shaker(self, self.loop, None, Credential(ours.certificate, ours.key, chain))
        near, far = self.loop.pair(buffers=4096)
        far.stall()
        handshake = self.shaker.begin(near)
        far.send(hello(context=client_tls(version=TLS12)))
        self.loop.pump()
        self.assertEqual((handshake.state, handshake.wants), ("shaking", WRITE))
        self.shaker.turns._batch, self.shaker.turns._until = self.loop.poller.batch + 1, 0.0
        far.read(65536)
        self.loop.poller.doRead()
        self.assertEqual(handshake.state, "in line")
        far.go_on()
        self.loop.pump()
        self.assertEqual((handshake.state, handshake.wants), ("shaking", READ))
        self.assertGreater(len(far.received), 10_000)
        handshake.abort("over")

    def test_one_whose_turn_does_not_come(self) -> None:
        """It is told apart from a client that is slow."""
        self.shaker.turns._batch = self.loop.poller.batch + 1
        near, far = self.loop.pair()
        handshake = self.shaker.begin(near)
        far.socket.send(hello())
        self.loop.poller.doRead()
        self.assertEqual(handshake.state, "in line")
        handshake.deadline_passed()
        self.assertIn("its turn did not come in time", self.shaker.failures.pop().reason)


class EndTests(HandshakeTestCase):
    """Clients that go, and clients that do not come to the point."""

    def test_a_client_that_says_nothing_and_goes(self) -> None:
        """A probe, for instance."""
        self.raw().drop()
        self.loop.pump()
        self.failed(EMPTY, "the client closed without a word")

    def test_a_client_that_goes_in_its_first_message(self) -> None:
        """However much of it has come."""
        whole = hello()
        for size in (1, 5, 6, len(whole) - 1):
            self.raw(whole[:size]).drop()
            self.loop.pump()
            self.failed(EMPTY, f"the client closed after {size} bytes of its first message")

    def test_a_client_that_goes_in_the_middle(self) -> None:
        """After our answer to its first message: by an end, or by a reset."""
        self.raw(hello()).drop()
        self.loop.pump()
        self.failed(EMPTY, "in the middle of the handshake")
        self.raw(hello(), tcp=True).reset()
        self.loop.until(lambda: self.shaker.failures)
        self.assertIn("in the middle of the handshake", self.shaker.failures.pop().reason)

    def test_a_client_that_goes_anywhere_in_its_second_message(self) -> None:
        """TLS 1.2 and 1.3; whatever of it has come."""
        for version in (TLS12, TLS13):
            size = 0
            while True:
                client = SSL.Connection(client_tls(version=version), None)
                client.set_connect_state()
                self.assertRaises(SSL.WantReadError, client.do_handshake)
                far = self.raw(client.bio_read(65536))
                client.bio_write(far.take())
                try:
                    client.do_handshake()
                except SSL.WantReadError:
                    pass
                second = client.bio_read(65536)
                if size >= len(second):
                    break
                far.send(second[:size])
                far.drop()
                self.loop.pump()
                self.failed(EMPTY, "in the middle of the handshake")
                size += 1
            self.assertGreater(size, 50)
            far.drop()
            self.loop.pump()
            self.shaker.failures.clear()

    def test_whatever_is_changed_in_the_first_message(self) -> None:
        """It is refused, or taken for what it still is; nothing is raised and nothing left."""
        whole = hello()
        dice = random.Random(11)
        for _ in range(400):
            changed = bytearray(whole)
            for _ in range(dice.randint(1, 3)):
                changed[dice.randrange(len(changed))] = dice.randrange(256)
            self.raw(bytes(changed)).drop()
            self.loop.pump()
            self.loop.advance(11)
        self.assertEqual(len(self.shaker.failures), 400)
        self.assertNotIn("internal error", {failure.reason for failure in self.shaker.failures})

    def test_a_client_that_resets_before_it_speaks(self) -> None:
        """The kernel's word for it is said."""
        self.raw(tcp=True).reset()
        self.loop.until(lambda: self.shaker.failures)
        self.failed(ABORTED, "Connection reset by peer, before the client's first message")

    def test_a_client_that_stalls(self) -> None:
        """One time for all of it: silence, a half message, no second one."""
        for data in (b"", hello()[:100], hello()):
            self.raw(data)
            self.loop.advance(9.9)
            self.assertEqual(self.shaker.failures, [])
            self.loop.advance(0.2)
            self.failed(TIMED_OUT, "in time")

    def test_dribbling_wins_no_time(self) -> None:
        """Each byte is looked at, and the time goes on."""
        far = self.raw()
        for byte in hello()[:40]:
            far.send(bytes((byte,)))
            self.loop.advance(0.3)
        self.failed(TIMED_OUT, "its first message")

    def test_an_owner_that_stops_leaves_a_moment(self) -> None:
        """A handshake under way may still come to something, for a second."""
        self.raw()
        self.shaker.handshakes[-1].finish()
        self.loop.advance(1.1)
        self.failed(TIMED_OUT, "in time")

    def test_no_tls_at_all(self) -> None:
        """Plain HTTP is closed, and said to be what it is."""
        far = self.raw(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual((far.received, far.end), (b"", "eof"))
        self.failed(REFUSED, "a plain HTTP request came (GET /)")

    def test_an_error_of_ours_costs_one_handshake(self) -> None:
        """It is logged, and the others go on."""
        far = self.raw()
        self.shaker.handshakes[-1]._certificates = None  # type: ignore[assignment]
        far.send(hello())
        self.loop.pump()
        self.failed(ABORTED, "internal error")
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)


class RefusalTests(HandshakeTestCase):
    """What is refused: the client reads an alert, the log says what was expected and what came."""

    def refused(self, far: Far, alert: str, *words: str, kind: str = REFUSED) -> None:
        far.send(b"too early")
        self.loop.pump()
        self.assertIn(alert, far.failure)  # type: ignore[attr-defined]
        for each in words:
            self.assertIn(each, self.shaker.failure)
        self.failed(kind, f"alert {alert} sent")

    def test_a_version_that_is_not_served(self) -> None:
        """Both sides' versions are named."""
        self.shaker.offer(min_version="TLSv1.3")
        far = self.shaker.client(client_tls(version=TLS12))
        self.refused(far, "protocol version", "the client offers TLSv1.2 at most, served is TLSv1.3 (ssl-min-ver")

    def test_no_cipher_in_common(self) -> None:
        """The client's are named."""
        self.shaker.offer(ciphers="ECDHE+AES256", max_version="TLSv1.2")
        far = self.shaker.client(client_tls(version=TLS12, ciphers="ECDHE+AES128"))
        self.refused(far, "handshake failure", "ECDHE-RSA-AES128-GCM-SHA256", "ciphers ECDHE+AES256", "ECDSA")

    def test_a_name_that_is_not_served(self) -> None:
        """With strict-sni only; the alert is that of RFC 6066."""
        self.shaker = Shaker(self, self.loop, strict=True)
        self.refused(self.shaker.client(name="other.test"), "unrecognized name", "asks for 'other.test'", "strict-sni")
        self.refused(self.shaker.client(name=None), "unrecognized name", "sends no name (SNI)")
        self.assertTrue(self.shaker.client(name="server.test").handshaken)

    def test_our_certificate_is_refused(self) -> None:
        """The client says so, and the file is named."""
        context = client_tls()
        context.set_verify(SSL.VERIFY_PEER, lambda *seen: bool(seen[-1]))
        self.shaker.client(context)
        crt = self.shaker.certificates.contexts[0].crt
        self.assertIn(f"the client does not accept our certificate (crt {crt})", self.shaker.failure)
        self.failed(REFUSED, "alert unknown ca received")

    def test_garbage_in_the_middle(self) -> None:
        """OpenSSL's own words, and what they mean."""
        self.raw(hello()).send(b"garbage, garbage, garbage")
        self.loop.pump()
        self.loop.advance(2)
        self.failed(REFUSED, "record layer failure: what the client sent behind its first message cannot be read")

    def test_a_client_that_does_not_go_is_closed(self) -> None:
        """It has a second to read the alert."""
        self.shaker.offer(min_version="TLSv1.3")
        self.raw(hello(context=client_tls(version=TLS12)))
        self.assertEqual(self.shaker.failures, [])
        self.loop.advance(1.1)
        self.failed(REFUSED, "unsupported protocol")
