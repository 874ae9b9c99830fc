"""Readiness that lasts: no descriptor is told of again and again while nothing can be done about it.

The poller is level-triggered, so whoever watches for what stays ready takes a whole core. Each test brings something
into such a position and asks for the next batches: there must be none.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from reusedproxy.config.model.tls import ServerTLS, TLSOffer
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.tls.client_transport import ClientTLSTransport
from reusedproxy.net.tls.hello import ClientHello
from reusedproxy.net.tls.openssl import COMPLETE, RECORD, shake
from reusedproxy.net.tls.server import Certificate, ServerContext, Shown
from reusedproxy.net.tls.transport import LARGEST_RECORD, TICKETS, TLSTransport
from reusedproxy.net.tls.trusts import Trusts
from reusedproxy.net.transport import CLOSED, HIGH_WATER, OPEN, Transport
from tests.keyupdates import Updater, library
from tests.tlsfakes import call_methods
from tests.wire import Loop, Recorder, certificates

#: Batches that may follow by right: what is under way when the test lets go.
SETTLED = 12


def batches(loop: Loop, most: int = 200) -> int:
    """Turns of the loop until nothing is ready any more, with nobody at the other end; `most`: it spins."""
    for count in range(most):
        if not loop.reactor.turn():
            return count
    return most


class Scripted:
    """Stands for a connection of pyOpenSSL: what reading and writing say, in turn; with nothing there, WANT_READ."""

    def __init__(self) -> None:
        self.reads: list[object] = []
        self.writes: list[object] = []
        self.calls: list[str] = []
        #: The most bytes of a record.
        self.record = 16 * 1024
        self.sent = b""

    def recv(self, _size: int) -> bytes:
        self.calls.append("read")
        return self._say(self.reads, SSL.WantReadError())

    def send(self, data: bytes) -> int:
        self.calls.append("write")
        self._say(self.writes, b"")
        self.sent += bytes(data[: self.record])
        return min(len(data), self.record)

    @staticmethod
    def _say(words: list[object], last: object) -> bytes:
        word = words.pop(0) if words else last
        if isinstance(word, Exception):
            raise word
        assert isinstance(word, bytes)
        return word


class CrossedDirectionsTests(SynchronousTestCase):
    """OpenSSL may have to write before it can read, and to read before it can write (SSL_get_error(3))."""

    def setUp(self) -> None:
        self.loop = Loop(self)
        self.owner = Recorder()
        self.near, self.far = socket.socketpair()
        for end in (self.near, self.far):
            end.setblocking(False)
            self.addCleanup(end.close)
        self.script = Scripted()
        call_methods(self)
        self.transport = TLSTransport(self.loop.poller, self.near, self.owner, self.script)  # type: ignore[arg-type]
        self.transport.resume_reading()

    def fill(self) -> None:
        """Nothing more can be written to our socket."""
        try:
            while True:
                self.near.send(bytes(4096))
        except BlockingIOError:
            pass

    def test_reading_that_has_to_write_first_waits_for_room(self) -> None:
        """Unread bytes are not told of again until the socket takes bytes; then reading goes on."""
        self.fill()
        self.far.send(b"KeyUpdate")
        self.script.reads = [SSL.WantWriteError()]
        self.assertLess(batches(self.loop), SETTLED)
        self.assertEqual(self.script.calls, ["read"])
        self.script.reads = [b"data"]
        self.far.recv(1 << 20)
        self.near.recv(100)
        batches(self.loop, 3)
        self.assertEqual(self.owner.received, b"data")
        self.far.send(b"more")
        self.script.reads = [b"more"]
        self.near.recv(100)
        self.far.send(b"x")
        self.loop.reactor.turn()
        self.assertEqual(self.owner.received, b"datamore")

    def test_writing_that_has_to_read_first_waits_for_bytes(self) -> None:
        """A socket that takes bytes is not told of again until some have come; then writing goes on."""
        self.script.writes = [SSL.WantReadError()]
        self.transport.write(b"answer")
        self.assertLess(batches(self.loop), SETTLED)
        self.assertEqual((self.script.calls, self.transport.unsent), (["write"], 6))
        self.far.send(b"the rest")
        self.loop.reactor.turn()
        self.assertEqual(self.transport.unsent, 0)

    def test_a_peer_that_takes_small_records_gets_all(self) -> None:
        """A write ends with its first record (max_fragment_length, RFC 6066 section 4)."""
        self.script.record = 512
        content = os.urandom(3000)
        self.loop.poller.senders = []
        self.transport.write(content)
        self.transport.send_now()
        self.assertEqual((self.script.sent, self.transport.unsent), (content, 0))

    def test_nothing_is_written_without_harm(self) -> None:
        self.loop.poller.senders = []
        self.transport.write(b"")
        self.transport.send_now()
        self.assertEqual((self.script.calls, self.transport.state), ([], OPEN))

    def test_writing_that_has_to_read_first_though_nothing_is_to_be_read(self) -> None:
        """The same while its owner has paused reading: OpenSSL reads for itself, and nothing is delivered."""
        self.transport.pause_reading()
        self.script.writes = [SSL.WantReadError()]
        self.transport.write(b"answer")
        self.assertLess(batches(self.loop), SETTLED)
        self.far.send(b"the rest")
        self.loop.reactor.turn()
        self.assertEqual((self.transport.unsent, self.owner.received), (0, b""))

    def test_paused_while_it_waits_for_room(self) -> None:
        """Paused, it waits for nothing; resumed, for the same as before."""
        self.fill()
        self.far.send(b"KeyUpdate")
        self.script.reads = [SSL.WantWriteError()]
        batches(self.loop)
        self.transport.pause_reading()
        self.assertEqual(self.loop.poller.watching(), 0)
        self.transport.resume_reading()
        self.assertLess(batches(self.loop), SETTLED)
        self.assertEqual(self.script.calls, ["read"])

    def test_its_end_is_noticed(self) -> None:
        """A connection that is lost while a direction is crossed ends."""
        self.fill()
        self.far.send(b"KeyUpdate")
        self.script.reads = [SSL.WantWriteError(), SSL.SysCallError(104, "ECONNRESET")]
        batches(self.loop)
        self.far.close()
        batches(self.loop)
        self.assertEqual(self.transport.state, CLOSED)


class KeyUpdateTests(SynchronousTestCase):
    """RFC 8446 section 4.6.3: a client asks for new keys as often as it likes, and each time is owed an answer."""

    def setUp(self) -> None:
        openssl = library()
        if openssl is None:
            raise SkipTest("the system has no OpenSSL 3")
        self.loop = Loop(self)
        self.owner = Recorder()
        near, other = socket.socketpair()
        near.setblocking(False)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.addCleanup(near.close)
        self.client = Updater(openssl, other)
        self.addCleanup(self.client.close)
        context = ServerContext(Certificate(certificates().crt, TLSOffer()), Trusts())
        shown = Shown(ClientHello())
        connection = context.connection(near)
        ready = False
        while not (self.client.handshake() and ready):
            ready = context.step(connection, shown) == COMPLETE
        self.transport = TLSTransport(self.loop.poller, near, self.owner, connection)
        self.transport.resume_reading()
        batches(self.loop)

    def test_a_client_that_asks_and_does_not_read(self) -> None:
        """When no further answer of ours can go out, its questions wait, and so do we; it reads on, and all goes on."""
        for _ in range(60):  # a tenth of them fills our socket
            self.assertTrue(self.client.ask_for_new_keys())
            batches(self.loop, 1)
        self.assertLess(batches(self.loop), SETTLED)
        self.client.read()
        self.assertTrue(self.client.write(b"still here"))
        for _ in range(60):
            self.client.read()
            batches(self.loop)
        self.assertEqual(self.owner.received, b"still here")

    def test_a_client_that_asks_in_the_middle_of_a_download(self) -> None:
        """One that takes nothing of what it is sent may ask a few times; later it gets all, with the new keys."""
        content = os.urandom(200_000)
        self.transport.write(content)
        batches(self.loop)
        self.assertGreater(self.transport.unsent, 0)
        for _ in range(3):
            self.client.ask_for_new_keys()
        self.assertLess(batches(self.loop), SETTLED)
        got = []
        for _ in range(2000):
            got.append(self.client.read())
            batches(self.loop)
            if sum(map(len, got)) >= len(content):
                break
        self.assertTrue(b"".join(got) == content)
        self.assertLess(batches(self.loop), SETTLED)

    def test_many_questions_take_many_turns(self) -> None:
        """A read ends after a record without data, so that a flood of questions leaves others their turns."""
        for _ in range(5):
            self.client.ask_for_new_keys()
        self.assertGreaterEqual(batches(self.loop), 5)


class KeyUpdatesOfServersTests(SynchronousTestCase):
    """A server may ask as often, and session tickets are records without data, too."""

    def setUp(self) -> None:
        openssl = library()
        if openssl is None:
            raise SkipTest("the system has no OpenSSL 3")
        self.loop = Loop(self)
        self.owner = Recorder()
        near, other = socket.socketpair()
        near.setblocking(False)
        self.addCleanup(near.close)
        self.server = Updater(openssl, other, certificates().crt)
        self.addCleanup(self.server.close)
        context = ClientContext(ServerTLS(verify="none"), Trusts())
        connection = context.connection(near)
        while not (shake(connection) == COMPLETE and self.server.handshake()):
            self.server.handshake()
        self.transport = ClientTLSTransport(self.loop.poller, near, self.owner, connection, context)
        self.transport.resume_reading()
        batches(self.loop)

    def test_many_questions_take_many_turns(self) -> None:
        for _ in range(5):
            self.server.ask_for_new_keys()
        self.server.write(b"answer")
        self.assertGreaterEqual(batches(self.loop), 6)
        self.assertEqual(self.owner.received, b"answer")

    def test_some_records_before_a_request_do_no_harm(self) -> None:
        """Nothing has come that would be an answer; but a crowd of records is no silence."""
        for _ in range(TICKETS // 4):  # each takes two reads: one to hear it, one to answer
            self.server.ask_for_new_keys()
        self.assertTrue(self.transport.silent())
        for _ in range(TICKETS + 1):
            self.server.ask_for_new_keys()
        self.assertFalse(self.transport.silent())


class RecordsWithoutDataTests(SynchronousTestCase):
    """How long a peer may send what holds no data."""

    def setUp(self) -> None:
        self.loop = Loop(self)
        self.owner = Recorder()
        near, self.far = socket.socketpair()
        for end in (near, self.far):
            end.setblocking(False)
            self.addCleanup(end.close)
        self.script = Scripted()
        call_methods(self)
        self.transport = TLSTransport(self.loop.poller, near, self.owner, self.script)  # type: ignore[arg-type]
        self.transport.resume_reading()
        self.far.send(b"more to come")

    def test_a_record_may_come_byte_by_byte(self) -> None:
        batches(self.loop, LARGEST_RECORD)
        self.assertEqual(self.transport.state, OPEN)

    def test_but_what_never_comes_to_data_ends(self) -> None:
        batches(self.loop, LARGEST_RECORD + 1)
        self.assertEqual((self.transport.state, self.owner.reason), (CLOSED, "TLS: nothing but records without data"))

    def test_data_in_between_is_a_new_beginning(self) -> None:
        batches(self.loop, LARGEST_RECORD)
        self.script.reads = [b"data"]
        batches(self.loop, LARGEST_RECORD)
        self.assertEqual((self.transport.state, self.owner.received), (OPEN, b"data"))

    def test_nor_after_much_data_at_once(self) -> None:
        """The reads that begin large ones are others, and count as much."""
        self.script.reads = [bytes(RECORD), SSL.WantReadError()]
        batches(self.loop, 2)
        batches(self.loop, LARGEST_RECORD + 1)
        self.assertEqual(self.transport.state, CLOSED)


STEPS = st.sampled_from(
    [
        "pause",
        "resume",
        "write",
        "much",
        "end",
        "close",
        "drain",
        "far says",
        "far ends",
        "far reads",
        "far drops",
        "turn",
    ]
)


class AnyStateTests(SynchronousTestCase):
    """Whatever its owner and its peer do: a plain transport that can do nothing is told nothing."""

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(st.booleans(), st.lists(STEPS, max_size=14))
    def test_nothing_is_told_without_end(self, tcp: bool, steps: list[str]) -> None:
        loop, peer = Loop(self), Recorder()
        near, far = loop.pair(tcp=tcp, buffers=4096)
        loop.far.clear()  # nobody reads or writes there by itself
        transport = Transport(loop.poller, near, peer)
        try:
            for step in steps:
                self.take(step, transport, far.socket, loop)
                self.assertLess(batches(loop), 100, steps)
        finally:
            if transport.state != CLOSED:
                transport.abort("test over")
            far.socket.close()

    @staticmethod
    def take(step: str, transport: Transport, far: socket.socket, loop: Loop) -> None:
        ours: dict[str, Callable[[], object]] = {
            "pause": transport.pause_reading,
            "resume": transport.resume_reading,
            "write": lambda: transport.write(b"some"),
            "much": lambda: transport.write(bytes(HIGH_WATER + 1)),
            "end": transport.end_writing,
            "close": lambda: transport.close("enough"),
            "drain": lambda: transport.close("enough", drain=True),
            "turn": loop.reactor.turn,
        }
        if step in ours:
            ours[step]()
            return
        try:
            if step == "far says":
                far.send(b"something")
            elif step == "far ends":
                far.shutdown(socket.SHUT_WR)
            elif step == "far reads":
                far.recv(5000)
            elif step == "far drops":
                far.close()
        except OSError:
            pass  # it has ended already
