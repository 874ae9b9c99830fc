"""The poller: every event to its callback, in batches, whatever callbacks do to each other."""

from __future__ import annotations

import socket
from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.poller import (
    AGAIN_AFTER,
    AGAIN_FOR,
    BATCH,
    COSTLY_AT_ONCE,
    FAILED,
    HUNG_UP,
    READ,
    SLICE,
    WRITE,
    Sender,
    Taker,
)
from tests.wire import Loop


class Now:
    """A time that passes when somebody works."""

    seconds = 5.0

    def __call__(self) -> float:
        return self.seconds


class PollerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.loop = Loop(self)
        self.poller = self.loop.poller
        self.poller._now = self.now = Now()
        self.poller.again_for = 0.0
        self.events: list[object] = []

    def pair(self) -> tuple[socket.socket, socket.socket]:
        ends = socket.socketpair()
        for end in ends:
            end.setblocking(False)
            self.addCleanup(end.close)
        return ends

    def ready(self) -> socket.socket:
        """A socket with a byte to read."""
        near, far = self.pair()
        far.send(b"x")
        return near

    def test_nothing_is_told_when_nothing_happens(self) -> None:
        """A descriptor that is not ready has no turn."""
        near, _ = self.pair()
        self.poller.watch(near.fileno(), READ, self.events.append)
        self.loop.pump()
        self.assertEqual((self.events, self.poller.watching()), ([], 1))

    def test_the_events_seen_are_told(self) -> None:
        """A callback hears which of READ, WRITE and FAILED were seen, and of READ and WRITE only what it asked for."""
        near, far = self.pair()
        self.poller.watch(near.fileno(), WRITE, self.events.append)
        far.send(b"x")
        self.poller.doRead()
        self.poller.change(near.fileno(), READ)
        self.poller.doRead()
        far.close()
        self.poller.doRead()
        write, read, end = (int(str(seen)) for seen in self.events)
        self.assertEqual((write, read & READ, read & (WRITE | FAILED | HUNG_UP)), (WRITE, read, 0))
        self.assertTrue(end & FAILED and end & HUNG_UP)

    def test_steps_that_are_costly_are_few_in_one_batch(self) -> None:
        """Those that were not taken are ready in the next one:
        hundreds of handshakes must not hold up everybody else."""
        taken: list[int] = []

        def step(near: socket.socket, number: int, _: int) -> None:
            if self.poller.take_costly():
                near.recv(1)
                taken.append(number)

        sockets = [self.ready() for _ in range(2 * COSTLY_AT_ONCE + 1)]
        for number, near in enumerate(sockets):
            self.poller.watch(near.fileno(), READ, partial(step, near, number))
        counts = []
        for _ in range(3):
            self.poller.doRead()
            counts.append(len(taken))
        self.assertEqual(counts, [COSTLY_AT_ONCE, 2 * COSTLY_AT_ONCE, 2 * COSTLY_AT_ONCE + 1])

    def test_a_costly_step_is_the_batchs_work_in_bulk(self) -> None:
        """It spends the slice, so what comes behind it lines up."""
        near, seen = self.ready(), []

        def step(_: int) -> None:
            seen.append(self.poller.take_costly())
            self.now.seconds += 2 * SLICE
            seen.append(self.poller.take_bulk())
            self.poller.forget(near.fileno())
            for _ in range(2):
                self.poller.line_up(self.slow_taker(0))

        self.poller.watch(near.fileno(), READ, step)
        self.poller.doRead()
        self.assertEqual((seen, self.events), ([True, False], []))
        self.poller.doRead()
        self.assertEqual(self.events, ["turn"] * 2)

    def test_forgotten_descriptors_are_silent(self) -> None:
        """After forget nothing is told."""
        near = self.ready()
        self.poller.watch(near.fileno(), READ, self.events.append)
        self.poller.forget(near.fileno())
        self.loop.pump()
        self.assertEqual((self.events, self.poller.watching()), ([], 0))

    def test_a_batch_has_an_end(self) -> None:
        """One call hands out at most a batch, so that timers get their turn; the rest follows in the next call."""
        sockets = [self.ready() for _ in range(BATCH + 10)]
        for number, near in enumerate(sockets):

            def read(events: int, number: int = number, near: socket.socket = near) -> None:
                near.recv(10)
                self.events.append(number)

            self.poller.watch(near.fileno(), READ, read)
        self.poller.doRead()
        self.assertEqual(len(self.events), BATCH)
        self.poller.doRead()
        self.assertEqual(sorted(map(int, map(str, self.events))), list(range(BATCH + 10)))

    def flood(self, count: int, took: float) -> None:
        """So many sockets that are always ready, and whose callbacks take so long."""

        def work(_: int) -> None:
            self.events.append("work")
            self.now.seconds += took

        for _ in range(count):
            self.poller.watch(self.ready().fileno(), READ, work)

    def test_batches_with_much_follow_one_another_for_a_while(self) -> None:
        """Each turn of the reactor's loop costs; but its timers have to wait."""
        self.poller.again_for = AGAIN_FOR
        self.flood(AGAIN_AFTER, AGAIN_FOR / AGAIN_AFTER / 2.5)
        self.poller.doRead()
        self.assertEqual(len(self.events), 3 * AGAIN_AFTER)

    def test_a_batch_that_takes_long_is_followed_by_none(self) -> None:
        """However much is ready."""
        self.poller.again_for = AGAIN_FOR
        self.flood(AGAIN_AFTER, AGAIN_FOR)
        self.poller.doRead()
        self.assertEqual(len(self.events), AGAIN_AFTER)

    def test_a_batch_with_little_is_followed_by_one_that_was_called_for(self) -> None:
        """The caller knows that something is ready; otherwise the reactor waits for more."""
        self.poller.again_for = AGAIN_FOR
        near = self.ready()

        def once_more(_: int) -> None:
            self.events.append("event")
            if len(self.events) == 1:
                self.poller.call_again(near.fileno(), READ)

        self.poller.watch(near.fileno(), READ, once_more)
        self.poller.doRead()
        self.assertEqual(len(self.events), 2)

    def test_a_callback_may_close_anothers_descriptor(self) -> None:
        """An event of a descriptor that was forgotten meanwhile, in the same batch, goes to nobody."""
        one, other = self.ready(), self.ready()

        def close(mine: socket.socket, its: socket.socket) -> None:
            self.events.append("called")
            mine.recv(10)
            self.poller.forget(its.fileno())
            its.close()

        self.poller.watch(one.fileno(), READ, lambda _: close(one, other))
        self.poller.watch(other.fileno(), READ, lambda _: close(other, one))
        self.loop.pump()
        self.assertEqual((self.events, self.poller.watching()), (["called"], 1))

    def test_a_callback_that_raises_is_logged_and_forgotten(self) -> None:
        """Its failure costs nobody else a turn, and it is not called again."""
        bad, good = self.ready(), self.ready()
        self.poller.watch(bad.fileno(), READ, lambda _: 1 // 0)  # type: ignore[arg-type]
        self.poller.watch(good.fileno(), READ, lambda _: self.events.append(good.recv(10)))
        self.loop.pump()
        self.assertEqual(self.events, [b"x"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.poller.watching(), 1)

    def test_one_that_forgets_itself_and_raises(self) -> None:
        """A callback that had ended its watch before it failed is not forgotten twice."""
        bad = self.ready()

        def fail(_: int) -> None:
            self.poller.forget(bad.fileno())
            raise ZeroDivisionError

        self.poller.watch(bad.fileno(), READ, fail)
        self.loop.pump()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def slow_taker(self, takes: float, again: int = 0) -> Taker:
        """One whose turn takes so many seconds, and that lines up anew so many times."""
        poller, events, now = self.poller, self.events, self.now

        class SlowTaker:
            left = again

            def take_turn(self) -> None:
                events.append("turn")
                now.seconds += takes
                if self.left:
                    self.left -= 1
                    poller.line_up(self)

        return SlowTaker()

    def test_turns_are_given_in_the_next_batch(self) -> None:
        """Who lines up has one turn a batch, as many as its slice of time allows; nobody left, nothing is ready."""
        for _ in range(7):
            self.poller.line_up(self.slow_taker(SLICE * 0.6))
        seen = []
        for _ in range(4):
            self.poller.doRead()
            seen.append(len(self.events))
        self.assertEqual(seen, [2, 4, 6, 7])
        self.assertEqual(self.loop.reactor.turn(), False)
        self.poller.line_up(self.slow_taker(0, again=2))
        for _ in range(3):
            self.poller.doRead()
        self.assertEqual((len(self.events), self.loop.reactor.turn()), (10, False))

    def test_one_turn_at_least(self) -> None:
        """However long it takes, each batch gets one of them on."""
        for _ in range(3):
            self.poller.line_up(self.slow_taker(10 * SLICE))
        self.poller.doRead()
        self.poller.doRead()
        self.assertEqual(len(self.events), 2)

    def test_work_in_bulk_has_a_slice_of_each_batch(self) -> None:
        """Within it whoever comes may; then, and while somebody waits in the line, it lines up behind."""
        poller, allowed = self.poller, []

        def come(near: socket.socket) -> None:
            allowed.append(poller.take_bulk())
            self.now.seconds += SLICE * 0.6
            if not allowed[-1]:
                poller.forget(near.fileno())
                poller.line_up(self.slow_taker(SLICE))

        for near in [self.ready() for _ in range(4)]:
            poller.watch(near.fileno(), READ, lambda _, near=near: come(near))  # type: ignore[misc]
        poller.doRead()
        self.assertEqual((allowed, self.events), ([True, True, False, False], []))
        poller.doRead()
        self.assertEqual(allowed[4:], [False, False])

    def test_senders_send_when_the_batch_is_over(self) -> None:
        """Who has something to send gets its turn after all events of the batch, and sends at once outside of one."""

        class Sends(Sender):
            def send_now(_) -> None:
                self.events.append("sent")
                self.assertIsNone(self.poller.senders)

        def read(near: socket.socket) -> None:
            near.recv(10)
            self.events.append("event")
            assert self.poller.senders is not None
            self.poller.senders.append(Sends())

        self.assertIsNone(self.poller.senders)
        for near in (self.ready(), self.ready()):
            self.poller.watch(near.fileno(), READ, lambda _, near=near: read(near))  # type: ignore[misc]
        self.poller.doRead()
        self.assertEqual(self.events, ["event", "event", "sent", "sent"])

    def test_who_is_late_sends_when_all_others_have(self) -> None:
        """Once; whoever comes later waits for the end of the next batch."""

        class Says(Sender):
            def __init__(self, said: str, events: list[object]) -> None:
                self.said, self.events = said, events

            def send_now(self) -> None:
                self.events.append(self.said)

        def read(near: socket.socket) -> None:
            near.recv(10)
            assert self.poller.senders is not None
            self.poller.late.append(Says("late", self.events))
            self.poller.senders.append(Says("sent", self.events))

        for near in (self.ready(), self.ready()):
            self.poller.watch(near.fileno(), READ, lambda _, near=near: read(near))  # type: ignore[misc]
        self.poller.doRead()
        self.poller.doRead()
        self.assertEqual(self.events, ["sent", "sent", "late", "late"])

    def test_a_sender_that_raises_does_not_stop_the_others(self) -> None:
        """Nothing escapes to the reactor, which would give up the poller and all traffic with it."""

        class Bad(Sender):
            def send_now(_) -> None:
                raise ZeroDivisionError

        class Good(Sender):
            def send_now(_) -> None:
                self.events.append("sent")

        near = self.ready()

        def read(_: int) -> None:
            near.recv(10)
            assert self.poller.senders is not None
            self.poller.senders += [Bad(), Good()]

        self.poller.watch(near.fileno(), READ, read)
        self.poller.doRead()
        self.assertEqual(self.events, ["sent"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_stop_leaves_nothing(self) -> None:
        """The reactor loses its one descriptor, which is closed; no callback is kept."""
        loop = Loop(self)
        near, _ = self.pair()
        loop.poller.watch(near.fileno(), READ, self.events.append)
        self.assertEqual(loop.reactor.readers, [loop.poller])
        loop.poller.stop()
        self.assertEqual((loop.reactor.readers, loop.poller.watching()), ([], 0))
        self.assertRaises(ValueError, loop.poller.fileno)
