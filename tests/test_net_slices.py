"""Long work in slices, and names that are resolved in threads."""

from __future__ import annotations

import socket
from collections.abc import Callable
from threading import Event
from typing import Any
from unittest import mock

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.addresses import Addresses
from reusedproxy.net.resolver import PATIENCE, Answers, Query, Resolver, literal, resolve
from reusedproxy.net.slices import PAUSE, SLICE, Later, Slices, Steps, in_slices, run_through

STREAM = socket.SOCK_STREAM


class SliceTests(SynchronousTestCase):
    """Work whose each step takes a millisecond."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.done: list[int] = []
        self.ends: list[Failure | None] = []

    def work(self, steps: int, fails: bool = False) -> Steps[None]:
        try:
            for number in range(steps):
                self.clock.rightNow += 0.001
                self.done.append(number)
                yield
            if fails:
                raise ValueError
        except GeneratorExit:
            self.done.append(-1)
            raise

    def slices(self, steps: Steps[None]) -> Slices:
        made = Slices(self.clock, steps, self.ends.append)
        made.start()
        return made

    def test_a_slice_ends_when_its_time_is_over(self) -> None:
        """And the loop has a while to itself."""
        made = self.slices(self.work(10))
        self.assertEqual(len(self.done), round(SLICE / 0.001))
        self.clock.advance(PAUSE / 2)
        self.assertEqual(len(self.done), 2)
        for _ in range(9):
            self.clock.advance(PAUSE)
        self.assertEqual((len(self.done), self.ends), (10, [None]))
        self.assertLess(made.longest, 2 * SLICE)

    def test_it_waits_for_a_deferred_and_is_given_its_result(self) -> None:
        awaited: Deferred[int] = Deferred()

        def work() -> Steps[None]:
            self.done.append((yield awaited))

        self.slices(work())
        self.assertEqual((self.done, self.ends), ([], []))
        awaited.callback(5)
        self.assertEqual((self.done, self.ends), ([5], [None]))

    def test_a_failure_is_told(self) -> None:
        self.slices(self.work(1, fails=True))
        (failure,) = self.ends
        assert failure is not None
        self.assertIsInstance(failure.value, ValueError)

    def test_when_stopped_it_cleans_up_and_is_silent(self) -> None:
        made = self.slices(self.work(10))
        made.stop()
        self.assertEqual((self.done[-1], self.ends, self.clock.getDelayedCalls()), (-1, [], []))

    def test_when_stopped_it_gives_up_what_it_waits_for(self) -> None:
        cancelled: list[Any] = []
        awaited: Deferred[None] = Deferred(cancelled.append)

        def work() -> Steps[None]:
            yield awaited

        self.slices(work()).stop()
        self.assertEqual((cancelled, self.ends), ([awaited], []))

    def test_at_the_start_all_is_done_at_once(self) -> None:
        def work() -> Steps[int]:
            yield
            return 7

        self.assertEqual(run_through(work()), 7)


class InSlicesTests(SynchronousTestCase):
    def test_it_returns_the_result(self) -> None:
        clock, ready = Clock(), Deferred[int]()

        def steps() -> Steps[int]:
            number: int = yield ready
            return number + 1

        done = in_slices(clock, steps())
        self.assertNoResult(done)
        ready.callback(7)
        self.assertEqual(self.successResultOf(done), 8)

    def test_it_returns_the_failure(self) -> None:
        def steps() -> Steps[int]:
            yield
            raise ValueError

        self.failureResultOf(in_slices(Clock(), steps()), ValueError)

    def test_cancelled_it_ends_where_it_is(self) -> None:
        clock, ready, ended = Clock(), Deferred[int](), list[str]()

        def steps() -> Steps[int]:
            try:
                number: int = yield ready
                return number
            finally:
                ended.append("cleaned up")

        done = in_slices(clock, steps())
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertTrue(ready.called)
        self.assertEqual((ended, clock.getDelayedCalls()), (["cleaned up"], []))


class LaterTests(SynchronousTestCase):
    """Work that is planned."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.begun = 0
        self.ends: list[Failure | None] = []
        self.later = Later(self.clock, self.work, self.ends.append)

    def work(self) -> Steps[None]:
        self.begun += 1
        yield self.awaited

    awaited: Deferred[None] | None = None

    def test_it_begins_when_planned_and_once(self) -> None:
        self.later.plan(2.0)
        self.later.plan(1.0)
        self.clock.advance(1.9)
        self.assertEqual(self.begun, 0)
        self.clock.advance(0.2)
        self.assertEqual((self.begun, self.ends), (1, [None]))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_none_is_planned_while_it_is_under_way(self) -> None:
        self.awaited = Deferred()
        self.later.plan(1.0)
        self.clock.advance(1.0)
        self.later.plan(1.0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.awaited.callback(None)
        self.later.plan(1.0)
        self.clock.advance(1.0)
        self.assertEqual(self.begun, 2)

    def test_whoever_hears_of_the_end_may_plan_the_next(self) -> None:
        self.later = Later(self.clock, self.work, lambda failure: self.later.plan(1.0))
        self.later.plan(1.0)
        for _ in range(3):
            self.clock.advance(1.0)
        self.assertEqual(self.begun, 3)

    def test_a_failure_is_told(self) -> None:
        self.awaited = fail(ValueError())
        self.later.plan(0.0)
        self.clock.advance(0.0)
        (failure,) = self.ends
        assert failure is not None
        failure.trap(ValueError)

    def test_stopped_it_does_not_begin_or_go_on(self) -> None:
        self.later.stop()
        self.later.plan(1.0)
        self.later.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.awaited = Deferred()
        self.later.plan(0.0)
        self.clock.advance(0.0)
        self.later.stop()
        self.assertEqual((self.begun, self.ends, self.clock.getDelayedCalls()), (1, [], []))


class Threads(Clock):
    """A clock that takes calls from threads, and makes them when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.called = Event()
        self.made = 0
        self._calls: list[tuple[Callable[..., None], tuple[Any, ...]]] = []

    def callFromThread(self, call: Callable[..., None], *arguments: Any) -> None:
        self._calls.append((call, arguments))
        self.called.set()

    def until(self, done: Callable[[], bool]) -> None:
        while not done():
            self.called.wait(5)
            self.called.clear()
            while self._calls:
                call, arguments = self._calls.pop()
                call(*arguments)
                self.made += 1


class ResolverTests(SynchronousTestCase):
    """A name server of our own."""

    def setUp(self) -> None:
        self.reactor = Threads()
        self.silent = Event()
        self.addCleanup(self.silent.set)
        self.asked: list[str] = []
        patched = mock.patch("socket.getaddrinfo", self.getaddrinfo)
        patched.start()
        self.addCleanup(patched.stop)

    def getaddrinfo(self, host: str, port: int, family: int = 0, type: int = 0) -> list[Any]:
        self.asked.append(host)
        if host == "silent.test":
            self.silent.wait(30)
        if host == "none.test":
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, type, 6, "", (f"192.0.2.{number}", port)) for number in (1, 2)]

    def told(self, *hosts: str) -> list[Answers]:
        answers: list[Answers] = []
        Resolver(self.reactor).resolve(Query(host, STREAM) for host in hosts).addCallback(answers.append)
        return answers

    def test_all_are_told_of_together(self) -> None:
        answers = self.told("a.test", "none.test", "a.test")
        self.reactor.until(lambda: bool(answers))
        found = {query.host: str(answer) for query, answer in answers[0].items()}
        addresses = [(socket.AF_INET, ("192.0.2.1", 0)), (socket.AF_INET, ("192.0.2.2", 0))]
        self.assertEqual(found, {"a.test": str(addresses), "none.test": "[Errno -2] Name or service not known"})
        self.assertEqual(sorted(self.asked), ["a.test", "none.test"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_one_that_is_not_answered_in_time_has_failed(self) -> None:
        """The others count all the same."""
        answers = self.told("a.test", "silent.test")
        self.reactor.until(lambda: self.reactor.made == 1)
        self.reactor.advance(PATIENCE)
        late = answers[0][Query("silent.test", STREAM)]
        assert isinstance(late, OSError)
        self.assertEqual(late.strerror, "no answer from the resolver within 15 s")

    def test_nothing_to_ask(self) -> None:
        self.assertEqual(self.told(), [{}])

    def test_a_reload_that_is_given_up_leaves_no_timer(self) -> None:
        given_up = Resolver(self.reactor).resolve([Query("silent.test", STREAM)])
        given_up.addErrback(lambda failure: None)
        given_up.cancel()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_many_names_are_asked_for_side_by_side(self) -> None:
        """Twenty that each wait for all others."""
        meeting = iter(range(1, 21))

        def meet(query: Query) -> Any:
            if next(meeting) == 20:
                self.silent.set()
            self.assertTrue(self.silent.wait(10))
            return []

        with mock.patch("reusedproxy.net.resolver.look_up", meet):
            self.assertEqual(len(resolve(Query(f"{number}.test", STREAM) for number in range(20))), 20)

    def test_literal_addresses_are_asked_for_nobody(self) -> None:
        for host, address in (
            ("192.0.2.9", (socket.AF_INET, ("192.0.2.9", 0))),
            ("2001:db8::9", (socket.AF_INET6, ("2001:db8::9", 0, 0, 0))),
        ):
            self.assertEqual(literal(Query(host, STREAM)), [address])
        self.assertIsNone(literal(Query("192.0.2.9", STREAM, socket.AF_INET6)))
        self.assertIsNone(literal(Query("a.test", STREAM)))
        self.assertEqual(self.asked, [])


class AddressTests(SynchronousTestCase):
    """Who is given which of a name's addresses."""

    def found(self, addresses: Addresses, *numbers: int) -> str:
        query = Query("a.test", STREAM)
        addresses.learn({query: [(socket.AF_INET, (f"192.0.2.{number}", 0)) for number in numbers]})
        return str(addresses.find("b/s", "a.test", 80, STREAM)[1][0])

    def test_the_first_as_long_as_it_is_there(self) -> None:
        """Else each answer in another order would make the server's pool a new one."""
        first = Addresses()
        self.assertEqual(self.found(first, 1, 2), "192.0.2.1")
        second = Addresses(first)
        self.assertEqual(self.found(second, 2, 1), "192.0.2.1")
        third = Addresses(second)
        self.assertEqual(self.found(third, 2, 3), "192.0.2.2")

    def test_the_port_is_whose_asks(self) -> None:
        addresses = Addresses()
        self.found(addresses, 1)
        self.assertEqual(addresses.find("b/t", "a.test", 81, STREAM), (socket.AF_INET, ("192.0.2.1", 81)))
        self.assertEqual(addresses.find("b/t", "::1", 81, STREAM), (socket.AF_INET6, ("::1", 81, 0, 0)))

    def test_a_name_that_is_known_or_no_name_needs_no_question(self) -> None:
        addresses = Addresses()
        self.found(addresses, 1)
        asked = [Query(host, STREAM) for host in ("a.test", "127.0.0.1", "::1", "b.test")]
        self.assertEqual(addresses.unknown(asked), {Query("b.test", STREAM)})

    def test_why_a_name_has_none(self) -> None:
        addresses = Addresses()
        addresses.learn({Query("a.test", STREAM): socket.gaierror(-2, "not known")})
        self.assertRaises(socket.gaierror, addresses.find, "b/s", "a.test", 80, STREAM)
