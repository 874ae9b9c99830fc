"""`rate-limit sessions`: how many clients a frontend accepts in a second."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.clients.gate import REJECT, Gate
from reusedproxy.clients.session_rate import SessionRate
from reusedproxy.config.language.report import ConfigurationError
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.net.deadlines import Deadlines
from tests import test_clients_frontend
from tests.clientfakes import PLACE
from tests.test_config_proxies import frontend


class RateTests(SynchronousTestCase):
    """The counter, with clients that come as fast as they may."""

    def accepted(self, limit: int, seconds: float, step: float = 0.01, after: float = 0.0) -> list[float]:
        """When each was accepted, in seconds from the first on."""
        clock = Clock()
        clock.advance(1000)
        deadlines = Deadlines(clock)
        rate = SessionRate(limit, deadlines, lambda: None)
        clock.advance(after)
        found, passed = [], 0.0
        while passed < seconds:
            while not rate.limited:
                found.append(passed)
                rate.count()
            clock.advance(step)
            passed += step
        rate.stop()
        self.assertEqual(deadlines.watching(), 0)
        deadlines.stop()
        return found

    def test_as_many_as_may_come_at_once_and_then_the_same_in_each_second(self) -> None:
        """Evenly, as in HAProxy: from the second second on, one after the other."""
        for limit in (1, 3, 10, 100):
            times = self.accepted(limit, 5.0)
            self.assertEqual(times[:limit], [0.0] * limit)
            self.assertGreater(min([*times[limit:], 9.0]), 0.9)
            for second in (1, 2, 3):
                within = [each for each in times if second <= each < second + 1]
                self.assertLessEqual(len(within), limit + 1)
                self.assertGreaterEqual(len(within), limit * 0.8 - 1)

    @given(st.integers(1, 60), st.floats(0.01, 0.7), st.floats(0, 5))
    def test_no_second_has_more_than_twice_the_limit(self, limit: int, step: float, after: float) -> None:
        """However late it is told, and whenever they come; nor does it stop for good."""
        times = self.accepted(limit, 4.0, step, after)
        for begin in times:
            self.assertLessEqual(sum(begin <= each < begin + 1 for each in times), 2 * limit)
        self.assertGreater(len(times), limit)

    def test_a_reload_does_not_begin_the_second_anew(self) -> None:
        clock = Clock()
        old, new = (SessionRate(3, Deadlines(clock), lambda: None) for _ in range(2))
        self.assertEqual([old.count() for _ in range(3)], [False, False, True])
        new.follow(old)
        self.assertTrue(new.count())
        for each in (old, new):
            each.stop()


class FrontendTests(test_clients_frontend.BoundCase):
    """The frontend, over real sockets."""

    def test_more_wait_until_there_is_room(self) -> None:
        """On each of its addresses; those that are there are served."""
        world = self.world(frontend={"session_rate": 3}, binds=(0, 0))
        clients = self.clients(5)
        self.assertEqual(self.held(), [3, 0])
        self.assertEqual({listener.state for listener in self.listeners}, {"paused"})
        world.advance(0.5)
        self.assertEqual(self.held(), [3, 0])
        world.advance(1.0)
        self.assertEqual(self.held(), [5, 0])
        for client in clients:
            client.drop()
        self.loop.pump()
        self.end()

    def test_room_for_more_clients_is_none_for_more_a_second(self) -> None:
        """A client that leaves lets nobody in as long as the rate is reached, nor does time while there is no room."""
        world = self.world(frontend={"session_rate": 2, "maxconn": 2})
        clients = self.clients(4)
        self.assertEqual(self.held(), [2])
        clients[0].drop()
        self.assertEqual(self.held(), [1])
        world.advance(1.6)
        self.assertEqual(self.held(), [2])
        world.advance(3)
        self.assertEqual(self.held(), [2])
        for client in clients[1:]:
            client.drop()
        self.loop.pump()
        world.advance(3)
        self.loop.pump()
        self.end()

    def test_all_frontends_wait_for_the_process(self) -> None:
        """For those that connect (`maxconnrate`), that are let in (`maxsessrate`), that begin a handshake
        (`maxsslrate`): no frontend here has any."""
        for word, held in (("maxconnrate", 2), ("maxsessrate", 2), ("maxsslrate", 5)):
            world = self.world()
            world.places.limit_rates([(word, 2)], world.deadlines)
            clients = self.clients(5)
            self.assertEqual(self.held(), [held], word)
            world.advance(1.5)
            self.loop.pump()
            self.assertGreater(self.held()[0], min(held, 4), word)
            world.places.limit_rates((), world.deadlines)
            self.loop.pump()
            self.assertEqual(self.held(), [5], word)
            for client in clients:
                client.drop()
            self.loop.pump()
            self.end()

    def test_who_is_rejected_is_no_session(self) -> None:
        world = self.world()
        world.places.limit_rates([("maxsessrate", 1)], world.deadlines)
        world.frontend.gate = Gate([(lambda arrival: True, REJECT, PLACE)])
        clients = self.clients(5)
        self.assertEqual((self.held(), world.frontend.denied), ([0], 5))
        for client in clients:
            client.drop()
        world.places.limit_rates((), world.deadlines)
        self.loop.pump()
        self.end()


class WordTests(SynchronousTestCase):
    def test_the_word(self) -> None:
        self.assertEqual(frontend(" rate-limit sessions 40").session_rate, 40)
        text = "global\n maxconnrate 5\n maxsslrate 0\n maxsessrate 7\n"
        global_ = read_configuration([Source("t.cfg", text)], {}).global_
        self.assertEqual(global_.rates, (("maxconnrate", 5), ("maxsessrate", 7)))
        self.assertEqual(read_configuration([Source("t.cfg", "global\n maxsslconn 8\n")], {}).global_.maxsslconn, 8)
        text = "global\n maxsslconn many\n"
        error = self.assertRaises(ConfigurationError, read_configuration, [Source("t.cfg", text)], {})
        self.assertIn("'maxsslconn'", error.faults[0].text)
        for line, said in (
            (" rate-limit", "needs 'sessions' and a number"),
            (" rate-limit requests 4", "needs 'sessions' and a number"),
            (" rate-limit sessions", "'rate-limit sessions' needs a number of clients a second"),
            (" rate-limit sessions x", "'rate-limit sessions'"),
        ):
            error = self.assertRaises(ConfigurationError, frontend, line)
            self.assertIn(said, error.faults[0].text)
