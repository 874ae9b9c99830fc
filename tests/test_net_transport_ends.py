"""How a connection ends: by us, by the other side, by halves; an end that is said once."""

from __future__ import annotations

import gc
import os
import socket
import struct
import weakref
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.transport import (
    CLOSED,
    DRAINING,
    HALF,
    PEER_CLOSED,
    PEER_RESET,
    Transport,
)
from tests.streams import MB, Streams
from tests.wire import Far, Recorder


class _Holder(Recorder):
    """A peer as all in the program are: it holds its transport, and ends it when the other side has."""

    def __init__(self, transport: Transport) -> None:
        Recorder.__init__(self)
        self._transport = transport

    def eof_received(self) -> None:
        self._transport.close("ended")


def packets_in(connected: socket.socket) -> int:
    """How many packets have come on it: tcpi_segs_in of linux/tcp.h."""
    (packets,) = struct.unpack_from("I", connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192), 140)
    return int(packets)


class EndBehaviour(Streams):
    """Ends, and halves of them."""

    # Ends that we make.

    def test_close_with_nothing_unsent_ends_at_once(self) -> None:
        """The reason given is the reason told."""
        transport, far = self.open()
        transport.close("enough")
        self.gone(transport, "enough")
        self.loop.pump()
        self.assertEqual(far.end, self.OUR_END)

    def test_no_garbage_is_left_by_an_end(self) -> None:
        """The peer, which holds its transport, goes at once, and OpenSSL's memory with it:
        nothing waits for the collector."""
        for end in ("close", "abort", "lost"):
            transport, far = self.open()
            peer = transport.owner = _Holder(transport)
            gone = weakref.ref(peer)
            gc.disable()
            try:
                if end == "lost":
                    far.drop()
                    self.loop.pump()
                else:
                    getattr(transport, end)("enough")
                del peer, transport
                self.assertIsNone(gone(), end)
            finally:
                gc.enable()

    def test_close_sends_what_is_unsent_first(self) -> None:
        """Behind a slow reader the end comes after the last byte."""
        transport, far = self.blocked()
        transport.close("done")
        self.loop.pump()
        self.assertIsNone(self.owner.lost)
        far.go_on()
        self.loop.pump()
        self.gone(transport, "done")
        self.assertEqual((len(far.received), far.end), (MB, self.OUR_END))
        self.assertEqual(self.owner.events, ["pause", "lost: done"])

    def test_close_in_a_batch_sends_what_was_written_in_it(self) -> None:
        """An answer and the end, both from within `data_received`."""
        transport, far = self.open()

        def answer() -> None:
            transport.write(b"answer")
            transport.close("answered")

        self.owner.on["data"] = answer
        far.send(b"?")
        self.loop.pump()
        self.gone(transport, "answered")
        self.assertEqual((far.received, far.end), (b"answer", self.OUR_END))

    def in_a_batch(self, what: Callable[[], None]) -> None:
        """Do it while the poller hands out events of another connection, to its end."""
        near, trigger = self.loop.pair()
        owner = Recorder()
        owner.on["data"] = what
        other = Transport(self.loop.poller, near, owner)
        other.resume_reading()
        trigger.send(b"go")
        self.loop.pump()
        other.abort("over")

    def test_the_last_bytes_and_the_end_are_one_packet(self) -> None:
        """Each packet takes the kernel's whole way to the other side, which is woken for it."""
        transport, far = self.open(tcp=True)
        self.loop.pump()  # session tickets
        packets: list[int] = []

        def answer() -> None:
            packets.append(packets_in(far.socket))
            transport.write(b"answer")
            transport.close("answered")

        self.in_a_batch(answer)
        self.assertEqual((far.received, far.end), (b"answer", self.OUR_END))
        self.assertEqual(packets_in(far.socket) - packets[0], 1)

    def test_bytes_that_nobody_reads_do_not_destroy_the_answer(self) -> None:
        """The kernel sends a reset at our close then, but what was written before."""
        transport, far = self.open(tcp=True)
        far.stall()

        def answer() -> None:
            far.send(b"more")
            transport.write(b"answer")
            transport.close("answered")

        self.in_a_batch(answer)
        self.assertIn(b"answer", far.read(1024) or far.read(1024))

    def test_an_answer_survives_the_askers_half_close_in_the_same_batch(self) -> None:
        """A transport closed with its answer queued, whose peer's end comes before it is sent, still sends it."""
        transport, far = self.open()
        other_peer = Recorder()
        near, trigger = self.loop.pair()
        other = Transport(self.loop.poller, near, other_peer)
        other.resume_reading()

        def answer() -> None:
            transport.write(b"answer")
            transport.close("answered")

        other_peer.on["data"] = answer
        trigger.send(b"go")
        far.half_close()
        self.loop.pump()
        self.assertEqual(far.received, b"answer")
        other.abort("over")

    def test_writes_after_close_are_dropped(self) -> None:
        """Once the end has begun nothing is added to it."""
        transport, far = self.blocked()
        transport.close("done")
        transport.write(b"late")
        far.go_on()
        self.loop.pump()
        transport.write(b"later")
        self.gone(transport, "done")
        self.assertTrue(far.received == b"a" * MB)

    def test_closing_again_changes_nothing(self) -> None:
        """The first word counts."""
        transport, far = self.blocked()
        transport.close("first")
        transport.close("second", drain=True)
        far.go_on()
        self.loop.pump()
        transport.close("third")
        transport.abort("fourth")
        self.gone(transport, "first")

    def test_nothing_is_delivered_after_close(self) -> None:
        """What still comes in while the last bytes go out is nobody's."""
        transport, far = self.blocked()
        transport.close("done")
        far.send(b"late")
        self.loop.pump()
        far.go_on()
        self.loop.pump()
        self.assertEqual(self.owner.received, b"")
        self.gone(transport, "done")

    def test_drain_waits_for_the_peers_end(self) -> None:
        """The answer goes out, our end is shut, what still comes is thrown away, and the peer's end is the end."""
        transport, far = self.open()
        transport.write(b"too large")
        transport.close("drained", drain=True)
        self.loop.pump()
        self.assertEqual((far.received, far.end), (b"too large", self.OUR_END))
        self.assertEqual((transport.state, self.owner.events), (DRAINING, []))
        far.send(b"more of the upload")
        self.loop.pump()
        self.assertEqual(self.owner.events, [])
        far.drop()
        self.loop.pump()
        self.gone(transport, "drained")

    def test_drain_works_for_a_transport_that_was_paused(self) -> None:
        """The unread upload of a paused reader is read and thrown away."""
        transport, far = self.open(reading=False)
        far.send(b"u" * 1000)
        transport.close("drained", drain=True)
        self.loop.pump()
        self.assertIsNone(self.owner.lost)
        far.drop()
        self.loop.pump()
        self.gone(transport, "drained")

    def test_drain_reads_on_while_its_last_bytes_wait(self) -> None:
        """A peer that reads only when all of its own is sent: both get through."""
        transport, far = self.blocked()
        transport.close("drained", drain=True)
        far.send(b"u" * MB)
        self.loop.pump()
        self.assertEqual(far.unsent, b"")
        far.go_on()
        self.loop.pump()
        self.assertEqual((len(far.received), far.end), (MB, self.OUR_END))
        far.drop()
        self.loop.pump()
        self.gone(transport, "drained")

    def test_drain_of_a_peer_that_has_ended_already_still_sends_all(self) -> None:
        """The peer's end does not cut off what we still had to say to it."""
        transport, far = self.blocked()
        transport.close("drained", drain=True)
        far.half_close()
        self.loop.pump()
        far.go_on()
        self.loop.pump()
        self.assertEqual((len(far.received), far.end), (MB, self.OUR_END))
        self.gone(transport, "drained")

    def test_a_drain_after_a_half_close(self) -> None:
        """Our end is shut already; what the peer still sends is read, and counted, until it ends."""
        transport, far = self.open()
        transport.end_writing()
        self.loop.pump()
        transport.close("drained", drain=True)
        far.send(b"x" * 1000)
        self.loop.pump()
        self.assertEqual((transport.state, transport.drained, self.owner.received), (DRAINING, 1000, b""))
        far.half_close()
        self.loop.pump()
        self.gone(transport, "drained")

    def test_a_drain_after_both_halves(self) -> None:
        """There is nothing left to wait for."""
        transport, far = self.open()
        transport.end_writing()
        far.half_close()
        self.loop.pump()
        transport.close("drained", drain=True)
        self.gone(transport, "drained")

    def test_a_drain_is_ended_by_abort(self) -> None:
        """The wait for the peer's end is bounded by its owner."""
        transport, _ = self.open()
        transport.close("draining", drain=True)
        transport.abort("waited too long")
        self.gone(transport, "waited too long")

    def test_abort_resets(self) -> None:
        """The peer sees a reset, and nothing of what was unsent."""
        transport, far = self.open(tcp=True)
        transport.abort("no more")
        self.gone(transport, "no more")
        self.loop.until(lambda: far.end)
        self.assertEqual(far.end, "reset")

    def test_abort_in_a_batch_drops_what_was_queued(self) -> None:
        """Bytes written in the same batch do not go out any more."""
        transport, far = self.open()

        def fail() -> None:
            transport.write(b"half an answer")
            transport.abort("failed")

        self.owner.on["data"] = fail
        far.send(b"?")
        self.loop.pump()
        self.gone(transport, "failed")
        self.assertEqual(far.received, b"")

    # Half an end that we make.

    def test_our_half_ends_and_theirs_goes_on(self) -> None:
        """What was written goes out before it, what comes is still delivered, and later words are not sent."""
        transport, far = self.open()
        transport.write(b"question")
        transport.end_writing()
        transport.write(b"never sent")
        self.loop.pump()
        self.assertEqual((far.received, far.end), (b"question", self.OUR_END))
        far.send(b"answer")
        self.loop.pump()
        self.assertEqual((self.owner.received, self.owner.events, transport.state), (b"answer", ["data"], HALF))
        far.send(b", and more")
        far.half_close()
        self.loop.pump()
        self.assertEqual((self.owner.received, self.owner.events), (b"answer, and more", ["data", "eof"]))
        transport.close("both ended")
        self.gone(transport, "both ended")

    def test_our_half_waits_behind_what_is_unsent(self) -> None:
        """A peer that does not take it is not told of the end before."""
        transport, far = self.blocked()
        transport.end_writing()
        far.send(b"meanwhile")
        self.loop.pump()
        self.assertEqual((self.owner.received, far.end), (b"meanwhile", ""))
        far.go_on()
        self.loop.until(lambda: far.end)
        self.assertEqual((len(far.received), far.end), (MB, self.OUR_END))
        transport.close("done")
        self.gone(transport, "done")

    def test_both_halves_with_bytes_unsent(self) -> None:
        """Closed while our half is still on its way: it ends when all has gone."""
        transport, far = self.blocked()
        transport.end_writing()
        far.half_close()
        self.loop.pump()
        transport.close("done")
        self.assertNotEqual(transport.state, CLOSED)
        far.go_on()
        self.loop.until(lambda: self.owner.lost)
        self.assertEqual(len(far.received), MB)
        self.gone(transport, "done")

    def test_a_reset_behind_our_half(self) -> None:
        """It is said as ever."""
        transport, far = self.open(tcp=True)
        transport.end_writing()
        self.loop.pump()
        far.reset()
        self.loop.until(lambda: self.owner.lost)
        self.gone(transport, PEER_RESET)

    def test_our_half_behind_theirs(self) -> None:
        """A peer that ended first is told, too; the transport then waits for its owner."""
        transport, far = self.open()
        far.half_close()
        self.loop.pump()
        transport.end_writing()
        self.loop.pump()
        self.assertEqual((far.end, self.owner.events), (self.OUR_END, ["eof"]))
        transport.close("done")
        self.gone(transport, "done")

    # Ends that the other side makes.

    def test_half_close_leaves_our_side_open(self) -> None:
        """Its end is said once, and we can still write."""
        transport, far = self.open()
        far.send(b"question")
        far.half_close()
        self.loop.pump()
        self.assertEqual((self.owner.received, self.owner.events), (b"question", ["data", "eof"]))
        transport.write(b"answer")
        transport.close("answered")
        self.loop.pump()
        self.assertEqual(far.received, b"answer")
        self.gone(transport, "answered")

    def test_the_peers_end_is_said_once(self) -> None:
        """Reading on after the end finds nothing new."""
        transport, far = self.open()
        far.half_close()
        self.loop.pump()
        transport.pause_reading()
        transport.resume_reading()
        self.loop.pump()
        self.assertEqual(self.owner.events, ["eof"])
        self.assertEqual(self.loop.poller.watching(), 0)

    def test_eof_while_paused_is_noticed_when_resumed(self) -> None:
        """First the bytes, then the end, and neither before reading goes on."""
        transport, far = self.open()
        transport.pause_reading()
        far.send(b"last")
        far.half_close()
        self.loop.pump()
        self.assertEqual(self.owner.events, [])
        transport.resume_reading()
        self.loop.pump()
        self.assertEqual((self.owner.received, self.owner.events), (b"last", ["data", "eof"]))

    def test_bytes_before_the_end_come_before_it(self) -> None:
        """A large body and the end behind it arrive in that order."""
        _, far = self.open(buffers=32768)
        content = os.urandom(MB)
        far.send(content)
        self.loop.pump()
        far.half_close()
        self.loop.pump()
        self.assertTrue(self.owner.received == content)
        self.assertEqual(self.owner.events, ["data", "eof"])

    def test_a_reset_is_told(self) -> None:
        """A peer that resets is not one that closes."""
        transport, far = self.open(tcp=True)
        far.reset()
        self.loop.until(lambda: self.owner.lost)
        self.gone(transport, PEER_RESET)

    def test_a_reset_while_blocked_is_told(self) -> None:
        """Writing finds it out, also while reading is paused."""
        transport, far = self.open(tcp=True, buffers=4096)
        far.stall()
        transport.pause_reading()
        transport.write(b"a" * (8 * MB))
        far.reset()
        self.loop.until(lambda: self.owner.lost)
        self.gone(transport, PEER_RESET)

    def test_an_early_answer_is_heard_before_the_reset(self) -> None:
        """A server that answers and closes with our request unread: its answer is delivered, then the loss."""
        transport, far = self.blocked()
        far.send(b"413 and goodbye")
        far.drop()
        transport.write(b"more of the request")
        self.loop.pump()
        self.assertEqual(self.owner.received, b"413 and goodbye")
        self.assertIsNotNone(self.owner.lost)
        self.gone(transport, str(self.owner.lost))
        self.assertNotEqual(self.owner.lost, PEER_CLOSED)

    def test_bytes_that_the_kernel_never_took_are_lost(self) -> None:
        """However it ends; those it took are not counted, so that their owner knows that they may have arrived."""
        transport, far = self.open()
        transport.write(b"taken")
        self.loop.poller.senders = []
        transport.write(b"not taken")
        transport.abort("enough")
        self.loop.poller.senders = None
        self.assertEqual((transport.lost, transport.unsent), (9, 0))
        self.loop.pump()
        transport, far = self.blocked()
        unsent = transport.unsent
        far.drop()
        self.loop.pump()
        self.assertEqual((transport.lost, transport.unsent), (unsent, 0))

    def test_a_peer_gone_while_we_close_hears_our_word(self) -> None:
        """Who had closed already is told its own reason."""
        transport, far = self.blocked()
        transport.close("done")
        far.drop()
        self.loop.pump()
        self.gone(transport, "done")


class PlainTransportTests(EndBehaviour, SynchronousTestCase):
    """All of it over a plain socket."""

    def connect(self, tcp: bool, buffers: int | None) -> tuple[Transport, Far]:
        near, far = self.loop.pair(tcp=tcp, buffers=buffers)
        return Transport(self.loop.poller, near, self.owner), far
