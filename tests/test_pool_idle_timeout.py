"""How long a server waits: what it says, what it does, and what is made of both."""

from __future__ import annotations

from math import inf

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.pool.learning.idle_timeout import LOOK_EVERY, RECENT, SETTLE, IdleTimeoutEstimate, advertised, margin


class PatienceCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.patience = IdleTimeoutEstimate(self.clock.seconds)

    def close(self, *ages: float, within: float = 0.0) -> None:
        """The server closes connections of these ages, one after the other, and it settles."""
        for age in ages:
            self.patience.closed(age)
            self.clock.advance(within)
        self.clock.advance(SETTLE)
        self.patience.settle()

    def known(self) -> tuple[float, str]:
        return self.patience.limit, self.patience.source


class LearningTests(PatienceCase):
    """Two closes that are alike are a time-out."""

    def test_nothing_is_known_at_first(self) -> None:
        """Then nothing leaves ahead of anything."""
        self.assertEqual((self.known(), self.patience.leave_after), ((inf, ""), inf))

    def test_two_alike(self) -> None:
        """At once, or one after the other."""
        self.close(5.02, 5.0)
        self.assertEqual(self.known(), (5.0, "learned"))
        self.patience = IdleTimeoutEstimate(self.clock.seconds)
        self.close(60.3)
        self.assertEqual(self.known(), (inf, ""))
        self.close(59.9)
        self.assertEqual(self.known(), (59.9, "learned"))

    def test_unlike_ones_at_once_are_a_restart(self) -> None:
        """They say nothing, however often it happens."""
        for _ in range(5):
            self.close(3.0, 17.0, 42.0)
        self.assertEqual(self.known(), (inf, ""))

    def test_unlike_ones_one_after_the_other_are_no_time_out(self) -> None:
        """A server that closes when it likes."""
        self.close(3.0)
        self.close(9.0)
        self.close(27.0)
        self.assertEqual(self.known(), (inf, ""))

    def test_a_server_that_then_refuses_has_stopped(self) -> None:
        """Its closes said nothing about its patience, though they were alike."""
        self.patience.closed(8.0)
        self.patience.closed(8.0)
        self.patience.failed()
        self.clock.advance(SETTLE)
        self.patience.settle()
        self.assertEqual(self.known(), (inf, ""))

    def test_closes_that_never_pause_are_judged(self) -> None:
        """A busy pool sees one every moment."""
        for _ in range(20):
            self.patience.closed(2.0)
            self.clock.advance(SETTLE / 5)
        self.assertEqual(self.known(), (2.0, "learned"))

    def test_at_once_is_no_time_out(self) -> None:
        """No server waits less than a second on purpose."""
        self.close(0.1, 0.1)
        self.close(0.5, 0.5)
        self.assertEqual(self.known(), (inf, ""))

    def test_less_patient_than_before(self) -> None:
        """The setting was changed: two closes, and it is known."""
        self.close(60.0, 60.0)
        self.close(10.0)
        self.assertEqual(self.known(), (60.0, "learned"))
        self.close(10.0)
        self.assertEqual(self.known(), (10.0, "learned"))

    def test_old_closes_are_forgotten(self) -> None:
        """Only the last few count."""
        self.close(10.0, 10.0)
        for _ in range(RECENT):
            self.close(30.0)
        self.assertEqual(self.known(), (30.0, "learned"))


class MorePatientTests(PatienceCase):
    """How it is found out that a server waits longer than was learned, at no request's risk."""

    def test_one_that_stands_longer(self) -> None:
        """What is thought grows with it, and closes at that age are believed again."""
        self.close(5.0, 5.0)
        self.patience.stood(4.0)
        self.assertEqual(self.known(), (5.0, "learned"))
        self.patience.stood(7.5)
        self.assertEqual(self.known(), (7.5, "learned"))
        self.patience.stood(19.0)
        self.close(20.0, 20.0)
        self.assertEqual(self.known(), (20.0, "learned"))

    def test_looking_is_seldom(self) -> None:
        """One connection at a time, and not for what the server says itself."""
        self.assertFalse(self.patience.may_look())
        self.close(5.0, 5.0)
        self.assertEqual((self.patience.may_look(), self.patience.may_look()), (True, False))
        self.clock.advance(LOOK_EVERY)
        self.assertTrue(self.patience.may_look())
        self.patience.advertise(5.0)
        self.clock.advance(1000)
        self.assertFalse(self.patience.may_look())


class AdvertisedTests(PatienceCase):
    """What a server says in Keep-Alive."""

    def test_it_is_believed(self) -> None:
        """The shorter of what it says and does counts; what it says last replaces what it said before."""
        self.patience.advertise(5.0)
        self.assertEqual(self.known(), (5.0, "advertised"))
        self.close(3.0, 3.0)
        self.assertEqual(self.known(), (3.0, "learned"))
        self.patience.advertise(2.0)
        self.assertEqual(self.known(), (2.0, "advertised"))
        self.patience.advertise(9.0)
        self.assertEqual(self.known(), (3.0, "learned"))

    def test_what_it_looks_like(self) -> None:
        """Apache's, Node's, and others' spellings (RFC 2068 section 19.7.1.1)."""
        for field, expected in (
            (b"timeout=5, max=100", (5.0, 100)),
            (b"timeout=5", (5.0, None)),
            (b"max=0", (None, 0)),
            (b"Timeout = 15 ; MAX=3", (15.0, 3)),
            (b'timeout="7"', (7.0, None)),
            (b"x-timeout=5", (None, None)),
            (b"300", (None, None)),
            (b"timeout=-1", (None, None)),
            (b"timeout=99999999999999999999", (999999999.0, None)),
            (b"", (None, None)),
        ):
            self.assertEqual(advertised(field), expected, field)


class MarginTests(SynchronousTestCase):
    def test_how_long_before(self) -> None:
        """A second, a tenth of long ones, half of short ones."""
        for limit, expected in ((1.0, 0.5), (2.0, 1.0), (5.0, 1.0), (10.0, 1.0), (60.0, 6.0), (600.0, 60.0)):
            self.assertEqual(margin(limit), expected, limit)
