"""A transport over a plain socket: bytes in, bytes out, and who may call whom. How it ends: test_net_transport_ends."""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.poller import Poller
from reusedproxy.net.transport import (
    BROKEN,
    BULK_READ_SIZE,
    HIGH_WATER,
    LOW_WATER,
    OPEN,
    PEER_RESET,
    READ_SIZE,
    Transport,
)
from tests.streams import MB, Streams
from tests.wire import Far, Recorder


class Slow:
    """Somebody whose turn has to come first, and takes the slices of two batches."""

    def __init__(self, poller: Poller) -> None:
        self.poller = poller
        self.left = 2

    def take_turn(self) -> None:
        self.left -= 1
        if self.left:
            self.poller.line_up(self)


class Allowing:
    """A pace that a test sets: so many bytes may pass."""

    moved_at = 0.0

    def __init__(self, allowed: int = 0) -> None:
        self.allowed = allowed
        self.left = False
        self.rests = 0

    def take(self, wanted: int) -> int:
        size = min(wanted, self.allowed)
        self.allowed -= size
        return size

    def rest(self) -> None:
        self.rests += 1

    def leave(self) -> None:
        self.left = True


class PassingBehaviour(Streams):
    """Bytes in and out."""

    # A pace.

    def test_no_more_is_sent_than_the_pace_allows_and_no_time_is_the_reader_s(self) -> None:
        """What was written before is free, and so is what is said to be."""
        transport, far = self.open()
        pace = Allowing(10)
        transport.set_pace(pace, 4)
        for _ in range(2):
            transport.write(b"headbody and more")
            self.loop.pump()
        self.assertEqual((far.take(), transport.unsent, transport.waits_for_pace), (b"headbody and m", 20, True))
        pace.allowed = 25
        transport.send_on()
        self.loop.pump()
        self.assertEqual((far.take(), transport.unsent, transport.waits_for_pace), (b"oreheadbody and more", 0, False))
        transport.write(b"123456789")
        self.loop.pump()
        self.assertEqual(far.take(), b"12345")
        transport.end_pace()
        pace.allowed = 4
        transport.send_on()
        self.assertEqual((transport.pace, pace.left), (None, True))
        transport.write(b"free")
        self.loop.pump()
        self.assertEqual(far.take(), b"6789free")

    def test_a_pace_pauses_the_producer_as_a_slow_reader_does(self) -> None:
        transport, far = self.open()
        pace = Allowing()
        transport.set_pace(pace, 0)
        transport.write(bytes(HIGH_WATER + 1))
        self.assertEqual(self.owner.events, ["pause"])
        for size in (HIGH_WATER - LOW_WATER, 1):
            self.assertEqual(self.owner.events, ["pause"])
            pace.allowed = size
            transport.send_on()
            self.loop.pump()
        self.assertEqual(self.owner.events, ["pause", "resume"])
        far.send(b"heard meanwhile")
        self.loop.pump()
        self.assertEqual(self.owner.received, b"heard meanwhile")

    def test_the_end_comes_behind_the_last_paced_byte(self) -> None:
        transport, far = self.open()
        pace = Allowing(50_000)
        transport.set_pace(pace, 0)
        content = os.urandom(100_000)
        transport.write(content)
        transport.close("done")
        self.loop.pump()
        got = far.take()
        self.assertEqual((len(got), pace.left), (50_000, False))
        pace.allowed = 50_000
        transport.send_on()
        self.loop.pump()
        self.assertEqual((got + far.take() == content, pace.left), (True, True))
        self.gone(transport, "done")

    def test_what_the_kernel_has_refused_is_not_asked_for_again(self) -> None:
        """OpenSSL must be given as much again as it was given."""
        transport, far = self.open(buffers=4096)
        pace = Allowing(300_000)
        transport.set_pace(pace, 0)
        content = os.urandom(400_000)
        far.stall()
        transport.write(content)
        self.loop.pump()
        self.assertFalse(transport.waits_for_pace)
        self.assertGreater(pace.rests, 0)  # it holds nothing back from others that it cannot use
        far.go_on()
        self.loop.until(lambda: transport.waits_for_pace)
        pace.allowed = 100_000
        transport.send_on()
        self.loop.until(lambda: not transport.unsent)
        self.loop.pump()
        self.assertEqual(far.take(), content)
        rests = pace.rests
        transport.write(b"more than the pace allows")
        self.assertEqual((transport.waits_for_pace, pace.rests), (True, rests))

    def test_a_reset_ends_the_pace(self) -> None:
        transport, far = self.open(tcp=True)
        pace = Allowing()
        transport.set_pace(pace, 0)
        transport.write(b"never")
        far.reset()
        self.loop.until(lambda: self.owner.lost)
        self.assertEqual((pace.left, transport.pace, transport.waits_for_pace), (True, None, False))

    # Reading.

    def test_a_transport_starts_without_reading(self) -> None:
        """What comes before `resume_reading` stays in the kernel, and comes after it."""
        transport, far = self.open(reading=False)
        far.send(b"early")
        self.loop.pump()
        self.assertEqual(self.owner.events, [])
        transport.resume_reading()
        self.loop.pump()
        self.assertEqual(self.owner.received, b"early")

    def test_bytes_arrive_however_they_are_cut(self) -> None:
        """Pieces of any size are passed on in order."""
        _, far = self.open()
        content = os.urandom(1000)
        for size in (1, 7, 400, 5000):
            far.split(content, size)
        self.assertEqual(self.owner.received, content * 4)

    def test_paused_means_nothing_is_delivered(self) -> None:
        """A paused transport leaves everything to the kernel and delivers it when resumed; pausing twice is one."""
        transport, far = self.open()
        transport.pause_reading()
        transport.pause_reading()
        far.send(b"later")
        self.loop.pump()
        self.assertEqual(self.owner.events, [])
        transport.resume_reading()
        transport.resume_reading()
        self.loop.pump()
        self.assertEqual(self.owner.received, b"later")

    def test_paused_by_another_in_the_same_batch(self) -> None:
        """An event that was seen before the pause delivers nothing after it."""
        first, far = self.open()
        first_owner, self.owner = self.owner, Recorder()
        second, other_far = self.open()
        first_owner.on["data"] = second.pause_reading
        self.owner.on["data"] = first.pause_reading
        far.send(b"x")
        other_far.send(b"x")
        self.loop.pump()
        self.assertEqual(first_owner.received + self.owner.received, b"x")

    def test_pausing_while_data_is_delivered(self) -> None:
        """Pausing from within `data_received` holds from then on."""
        transport, far = self.open()
        self.owner.on["data"] = transport.pause_reading
        far.split(b"12", 1)
        self.assertEqual(self.owner.received, b"1")
        transport.resume_reading()
        self.loop.pump()
        self.assertEqual(self.owner.received, b"12")

    # Taking turns.

    def test_who_reads_much_waits_for_its_turn(self) -> None:
        """When the batch has had its slice of work in bulk, a long read is left for the next one;
        little is read at once."""
        transport, far = self.open()
        much, self.owner = self.owner, Recorder()
        _, other_far = self.open()
        self.loop.pump()  # session tickets
        content = os.urandom(140_000)
        far.send(content)
        self.loop.poller.doRead()
        self.loop.poller.take_bulk = lambda: False  # type: ignore[method-assign]
        had = len(much.received)
        self.assertGreaterEqual(had, READ_SIZE)
        other_far.send(b"little")
        self.loop.poller.doRead()
        self.assertEqual((len(much.received), self.owner.received), (had, b"little"))
        self.assertTrue(transport.lined_up)
        self.loop.poller.doRead()
        self.assertTrue(much.received == content)
        self.assertFalse(transport.lined_up)

    def test_in_line_it_is_not_watched(self) -> None:
        """What stands unread brings no events before its turn."""
        transport, far = self.full_reader()
        for _ in range(3):
            self.loop.poller.line_up(Slow(self.loop.poller))
        far.send(b"more")
        self.loop.poller.doRead()
        self.assertEqual(self.loop.poller.watching(), 0)
        self.loop.pump()
        self.assertEqual((self.owner.received[-4:], self.loop.poller.watching()), (b"more", 1))
        transport.abort("done")

    def test_paused_while_it_waits_for_its_turn(self) -> None:
        """A pause holds through the turn, and what was waited for comes when it is over; so does an end."""
        for ends in (False, True):
            self.owner = Recorder()
            transport, far = self.full_reader()
            self.loop.poller.line_up(Slow(self.loop.poller))
            far.send(b"more")
            if ends:
                far.half_close()
            self.loop.poller.doRead()
            transport.pause_reading()
            self.loop.pump()
            self.assertNotEqual(self.owner.received[-4:], b"more")
            transport.resume_reading()
            self.loop.pump()
            self.assertEqual((self.owner.received[-4:], "eof" in self.owner.events), (b"more", ends))

    def test_closed_while_it_waits_for_its_turn(self) -> None:
        """The turn comes to nobody."""
        transport, far = self.full_reader()
        self.loop.poller.line_up(Slow(self.loop.poller))
        far.send(b"more")
        self.loop.poller.doRead()
        transport.abort("done")
        self.loop.pump()
        self.assertEqual((self.owner.events[-1], self.loop.poller.watching()), ("lost: done", 0))

    def test_an_owner_has_a_turn_of_its_own(self) -> None:
        """In the next batch, with nothing to read."""
        transport, _ = self.open()
        owner = Slow(self.loop.poller)
        transport.line_up(owner)
        self.loop.poller.doRead()
        self.assertEqual(owner.left, 1)

    def full_reader(self) -> tuple[Transport, Far]:
        """One that has just read all that it asked for, so that more is expected."""
        transport, far = self.open()
        far.send(bytes(READ_SIZE))
        self.loop.pump()
        return transport, far

    # Giving back.

    def test_what_is_given_back_comes_again_in_the_next_turn(self) -> None:
        """Before anything else, one turn for each; what comes meanwhile comes behind it, and so does the end."""
        transport, far = self.open()
        content, took = os.urandom(1000), []

        def take() -> None:
            data = self.owner.chunks.pop()
            took.append(data[:100])
            if data[100:]:
                transport.give_back(data[100:])

        self.owner.on["data"] = take
        far.send(content)
        self.loop.poller.doRead()
        far.half_close()
        while not took:
            self.loop.poller.doRead()
        self.assertEqual(len(took), 1)
        self.loop.pump()
        self.assertTrue(b"".join(took) == content)
        self.assertEqual(self.owner.events[-1], "eof")
        self.assertEqual(self.owner.events.count("eof"), 1)

    def test_what_is_given_back_waits_while_reading_is_paused(self) -> None:
        """A pause holds for it as for the rest; a transport with something held is not silent."""
        transport, far = self.open()

        def give_back() -> None:
            del self.owner.on["data"]
            transport.give_back(self.owner.chunks.pop())
            transport.pause_reading()

        self.owner.on["data"] = give_back
        far.send(b"held")
        self.loop.pump()
        far.send(b" and more")
        self.loop.pump()
        self.assertEqual(self.owner.received, b"")
        self.assertFalse(transport.silent())
        transport.resume_reading()
        self.loop.pump()
        self.assertEqual(self.owner.received, b"held and more")

    def test_given_back_behind_the_end(self) -> None:
        """An owner that has heard of the end already hears of it again, behind what it gave back."""
        transport, far = self.open()

        def give_back() -> None:
            self.owner.on.clear()
            transport.give_back(b"again")

        self.owner.on["eof"] = give_back
        far.half_close()
        self.loop.pump()
        self.assertEqual((self.owner.received, self.owner.events), (b"again", ["eof", "data", "eof"]))

    def test_closed_with_something_held(self) -> None:
        """It is dropped with all the rest."""
        transport, far = self.open()

        def give_back_and_close() -> None:
            transport.give_back(self.owner.chunks.pop())
            transport.close("enough")

        self.owner.on["data"] = give_back_and_close
        far.send(b"held")
        self.loop.pump()
        self.assertEqual((self.owner.received, self.owner.lost), (b"", "enough"))

    # Writing.

    def test_a_write_outside_a_batch_goes_out_at_once(self) -> None:
        """Nobody has to wait for the next event."""
        transport, far = self.open()
        transport.write(b"now")
        far.pump()
        self.assertEqual((far.received, transport.unsent), (b"now", 0))

    def test_writes_in_a_batch_go_out_at_its_end(self) -> None:
        """What is written in pieces while events are handed out is sent as one when they all have been."""
        transport, far = self.open()
        self.loop.pump()  # session tickets

        def answer() -> None:
            transport.write(b"one ")
            transport.write(b"two")
            far.pump()
            self.assertEqual(far.received, b"")

        self.owner.on["data"] = answer
        far.send(b"?")
        self.loop.poller.doRead()
        far.pump()
        self.assertEqual(far.received, b"one two")

    def test_writing_no_bytes_does_nothing(self) -> None:
        """An empty write is no end and no failure."""
        transport, far = self.open()
        transport.write(b"")
        transport.write(b"x")
        transport.write(b"")
        self.loop.pump()
        self.assertEqual((far.received, self.owner.events, transport.state), (b"x", [], OPEN))

    def test_what_the_kernel_does_not_take_follows(self) -> None:
        """A body larger than all buffers arrives whole, in order, behind a far end that stops and goes on."""
        transport, far = self.open(buffers=4096)
        content = os.urandom(MB)
        far.stall()
        for start in range(0, MB, 100_000):
            transport.write(content[start : start + 100_000])
        self.loop.pump()
        self.assertGreater(transport.unsent, 0)
        far.go_on()
        self.loop.pump()
        self.assertEqual(transport.unsent, 0)
        self.assertTrue(far.received == content)

    def test_big_bodies_both_ways_at_once(self) -> None:
        """Megabytes in both directions at the same time arrive whole."""
        transport, far = self.open(buffers=32768)
        up, down = os.urandom(3 * MB), os.urandom(5 * MB)
        transport.write(up)
        far.send(down)
        self.loop.pump()
        self.assertTrue(far.received == up)
        self.assertTrue(self.owner.received == down)

    def test_a_proxy_of_two_moves_a_body_in_bounded_memory(self) -> None:
        """Reading from one and writing to the other, each pausing the other by the water marks:
        whole, and never much."""
        source, sender = self.open(buffers=32768)
        source_owner, self.owner = self.owner, Recorder()
        sink, receiver = self.open(buffers=4096)
        content = os.urandom(4 * MB)
        most = 0

        def pass_on() -> None:
            nonlocal most
            sink.write(source_owner.chunks.pop())
            most = max(most, sink.unsent)

        source_owner.on["data"] = pass_on
        self.owner.on["pause"] = source.pause_reading
        self.owner.on["resume"] = source.resume_reading
        receiver.stall()
        sender.send(content)
        taken = []
        for _ in range(5000):
            self.loop.pump()
            piece = receiver.read(4000)
            if not piece:
                break
            taken.append(piece)
        receiver.go_on()
        self.loop.pump()
        self.assertTrue(receiver.received == content)
        self.assertLessEqual(most, HIGH_WATER + BULK_READ_SIZE)

    def test_so_much_is_read_at_a_time(self) -> None:
        """It may stand in memory for as long as whoever takes it sleeps."""
        _, far = self.open()
        far.send(bytes(4 * MB))
        self.loop.until(lambda: sum(map(len, self.owner.chunks)) == 4 * MB)
        self.assertLessEqual(max(map(len, self.owner.chunks)), BULK_READ_SIZE)

    def test_what_is_read_into_a_pause_stays_with_the_kernel(self) -> None:
        transport, far = self.open()
        far.send(bytes(MB))
        self.loop.pump()
        self.owner.chunks.clear()
        self.owner.on["data"] = transport.pause_reading
        far.send(bytes(MB))
        self.loop.pump()
        self.assertLessEqual(len(self.owner.received), BULK_READ_SIZE)

    def test_the_end_of_a_peer_that_is_not_read(self) -> None:
        """It goes unnoticed; or a reset ends the connection, and its own end is told of once,
        with what stands unread before it."""
        for heeded in (False, True):
            self.owner = Recorder()
            transport, far = self.open()
            told: list[int] = []
            transport.pause_reading(told.append if heeded else None)
            far.send(b"x" * 1000)
            far.half_close()
            self.loop.pump()
            self.assertEqual((len(told), self.owner.events, self.loop.poller.watching()), (int(heeded), [], 0))
            self.assertGreaterEqual(sum(told), 1000 * heeded)
            transport.resume_reading()
            self.loop.pump()
            self.assertEqual(self.owner.received, b"x" * 1000)
            self.assertEqual(self.owner.events[-1], "eof")
            transport.abort("over")

    def test_the_end_of_a_peer_behind_our_own(self) -> None:
        """Of a transport that still has something to send when its owner has said all:
        the peer's end does not keep the loop busy."""
        transport, far = self.open(buffers=4096)
        far.stall()
        transport.pause_reading(self.fail)
        transport.write(bytes(MB))
        transport.end_writing()
        far.half_close()
        self.loop.pump()
        batches = [self.loop.poller._epoll.poll(0) for _ in range(2)]
        self.assertEqual([events for batch in batches for _, events in batch], [])
        far.go_on()
        self.loop.pump()
        self.assertEqual(len(far.received), MB)

    def test_what_comes_before_a_pause_is_no_end(self) -> None:
        """Whoever pauses when he is given something is told nothing of the peer's end."""
        transport, far = self.open()
        told: list[int] = []
        self.owner.on["data"] = lambda: transport.pause_reading(told.append)
        for _ in range(3):
            far.send(bytes(400_000))
            self.loop.pump()
            transport.resume_reading()
        self.assertEqual((told, "eof" in self.owner.events), ([], False))

    def test_a_reset_while_nothing_is_read(self) -> None:
        """Over a socket pair the kernel makes one of a close with bytes unread."""
        transport, far = self.open()
        far.stall()
        transport.write(b"unread")
        self.loop.pump()
        transport.pause_reading(lambda unread: None)
        far.drop()
        self.loop.pump()
        self.assertEqual((self.owner.events, self.loop.poller.watching()), (["lost: reset by peer"], 0))

    def test_what_is_unsent_holds_at_most_twice_its_size_in_memory(self) -> None:
        """A view of its last byte would hold all that was sent before it."""
        transport, far = self.open(buffers=4096)
        far.stall()
        transport.write(bytes(4 * BULK_READ_SIZE))
        sizes = []
        while transport.unsent:
            (left,) = transport._unsent
            sizes.append((len(left), memoryview(left.obj).nbytes if isinstance(left, memoryview) else len(left)))
            far.read(20_000)
            self.loop.pump()
        self.assertGreater(len(sizes), 5)
        for size, held in sizes:
            self.assertLessEqual(held, 2 * size)

    def test_high_and_low_water_are_said_once_each(self) -> None:
        """Pause comes above HIGH_WATER and not again; resume at LOW_WATER, not before, and not again."""
        transport, far = self.open(buffers=4096)
        far.stall()
        while not transport.unsent:
            transport.write(b"a" * 1000)
        transport.write(b"a" * (HIGH_WATER - transport.unsent))
        self.assertEqual(self.owner.events, [])
        transport.write(b"a")
        transport.write(b"a" * HIGH_WATER)
        self.assertEqual(self.owner.events, ["pause"])
        while transport.unsent > LOW_WATER:
            self.assertEqual(self.owner.events, ["pause"])
            far.read(2000)
            self.loop.pump()
        self.assertEqual(self.owner.events, ["pause", "resume"])
        far.go_on()
        self.loop.pump()
        self.assertEqual(self.owner.events, ["pause", "resume"])
        far.stall()
        transport.write(b"a" * MB)
        self.assertEqual(self.owner.events, ["pause", "resume", "pause"])

    def test_writing_from_within_resume_writing(self) -> None:
        """A producer that goes on at once is paused and resumed again, and nothing is lost."""
        transport, far = self.blocked()
        rounds = iter([b"b" * MB, b"c" * 10])
        self.owner.on["resume"] = lambda: transport.write(next(rounds))
        far.go_on()
        self.loop.pump()
        self.assertEqual(self.owner.events, ["pause", "resume", "pause", "resume"])
        self.assertTrue(far.received == b"a" * MB + b"b" * MB + b"c" * 10)

    # Whoever is called may call back.

    def reenter(self, event: str, make: Callable[[Transport, Far], object], act: Callable[[Transport], object]) -> None:
        """At `event`, brought about by `make`, the peer does `act`; the connection ends well with that word."""
        self.owner = Recorder()
        transport, far = self.open(buffers=4096)
        self.owner.on[event] = lambda: act(transport)
        make(transport, far)
        self.loop.pump()
        if far.stalled:
            far.go_on()
            self.loop.pump()
        self.gone(transport, "mine")

    def test_ending_from_within_any_call(self) -> None:
        """Close, drain and abort are allowed in every call a peer gets."""

        def fill(transport: Transport, far: Far) -> None:
            far.stall()
            transport.write(b"a" * MB)

        def say_goodbye(transport: Transport) -> None:
            transport.write(b"bye")
            transport.close("mine")

        def end_while_paused(transport: Transport) -> None:
            transport.pause_reading()
            transport.abort("mine")
            transport.resume_reading()

        makes: dict[str, Callable[[Transport, Far], object]] = {
            "data": lambda _, far: far.send(b"x" * 50_000),
            "eof": lambda _, far: far.half_close(),
            "pause": fill,
            "resume": fill,
        }
        acts: list[Callable[[Transport], object]] = [
            lambda transport: transport.close("mine"),
            lambda transport: transport.abort("mine"),
            say_goodbye,
            end_while_paused,
        ]
        for event, make in makes.items():
            for act in acts:
                self.reenter(event, make, act)

    def test_calls_from_within_connection_lost_do_nothing(self) -> None:
        """It is over: nothing can be written, closed or read any more."""
        transport, _ = self.open()

        def everything() -> None:
            transport.write(b"x")
            transport.close("again")
            transport.abort("again")
            transport.resume_reading()
            transport.pause_reading()

        self.owner.on["lost"] = everything
        transport.abort("over")
        self.loop.pump()
        self.gone(transport, "over")

    def test_a_peer_that_raises_costs_its_connection(self) -> None:
        """It is logged and aborted; others go on."""
        transport, far = self.open()
        self.owner.on["data"] = lambda: 1 // 0
        far.send(b"x")
        self.loop.pump()
        self.gone(transport, BROKEN)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.owner = Recorder()
        _, far = self.open()
        far.send(b"x")
        self.loop.pump()
        self.assertEqual(self.owner.received, b"x")

    def test_a_peer_that_raises_at_the_end_of_a_batch(self) -> None:
        """Also what it is told while sending may fail, and even the last word may: nobody else is touched."""
        transport, far = self.open(buffers=4096)
        far.stall()
        self.owner.on["data"] = lambda: transport.write(b"a" * MB)
        self.owner.on["pause"] = lambda: 1 // 0
        self.owner.on["lost"] = lambda: 1 // 0
        far.send(b"?")
        self.loop.pump()
        self.gone(transport, BROKEN)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual(self.loop.reactor.readers, [self.loop.poller])

    def test_says_when_all_is_sent(self) -> None:
        """Not when there is room again, as for a producer: when nothing is left. The next pause is as ever."""
        transport, far = self.blocked()
        transport.tell_when_sent()
        self.owner.events.clear()
        left = []
        self.owner.on["resume"] = lambda: left.append(transport.unsent)
        far.go_on()
        self.loop.pump()
        self.assertEqual((self.owner.events, left), (["resume"], [0]))
        far.stall()
        transport.write(bytes(4 * MB))
        far.go_on()
        self.loop.pump()
        self.assertEqual(self.owner.events, ["resume", "pause", "resume"])
        self.assertEqual(transport._resume_at, LOW_WATER)


class PlainTransportTests(PassingBehaviour, SynchronousTestCase):
    """All of it over a plain socket."""

    def connect(self, tcp: bool, buffers: int | None) -> tuple[Transport, Far]:
        near, far = self.loop.pair(tcp=tcp, buffers=buffers)
        return Transport(self.loop.poller, near, self.owner), far

    def test_is_not_secure(self) -> None:
        """What passes is not encrypted, and says so."""
        transport, _ = self.open()
        self.assertFalse(transport.secure)

    def test_an_early_answer_though_a_write_finds_the_reset_first(self) -> None:
        """When a timer's writes find it out: the answer is delivered all the same, and never from within `write`."""
        transport, far = self.open(tcp=True)
        far.stall()
        transport.write(b"request")
        self.loop.pump()
        far.send(b"413 and goodbye")
        far.drop()
        for _ in range(3):
            transport.write(b"more of the request")
            self.assertEqual(self.owner.events, [])
        self.loop.until(lambda: self.owner.lost)
        self.assertEqual(self.owner.received, b"413 and goodbye")
        self.gone(transport, PEER_RESET)

    def test_an_end_behind_bytes_is_known_while_they_are_delivered(self) -> None:
        """The kernel tells of both at once: whoever is done after these bytes need not think the peer still there."""
        transport, far = self.open(tcp=True)
        known: list[bool] = []
        self.owner.on["data"] = lambda: known.append(transport.hung_up)
        far.send(b"first")
        self.loop.pump()
        transport.pause_reading()
        far.send(b"last")
        far.drop()
        self.loop.pump()
        transport.resume_reading()
        self.loop.pump()
        self.assertEqual((self.owner.received, known), (b"firstlast", [False, True]))
        transport.abort("over")

    def test_a_watched_transport_watches_only_what_it_waits_for(self) -> None:
        """Idle and paused it costs the poller nothing."""
        transport, _ = self.open(reading=False)
        self.assertEqual(self.loop.poller.watching(), 0)
        transport.resume_reading()
        self.assertEqual(self.loop.poller.watching(), 1)
        transport.pause_reading()
        self.assertEqual(self.loop.poller.watching(), 0)
