"""What is logged in one batch is written at its end, together."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.operators.logs.gathering import AT_ONCE, GatheredLines, Gathering


class Poller:
    """Its batches, by hand."""

    def __init__(self) -> None:
        self.senders: list[Any] | None = None
        self.late: list[Any] = []

    def begin(self) -> None:
        self.senders = []

    def end(self) -> None:
        self.senders = None
        late, self.late = self.late, []
        for each in late:
            each.send_now()


class GatheringTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.poller = Poller()
        self.gathering = Gathering(self.poller)
        self.written: list[Any] = []
        self.gathered = GatheredLines(self.gathering, self.written.append)

    def test_a_batch_is_written_at_its_end(self) -> None:
        for _ in range(2):
            self.poller.begin()
            self.gathered(1)
            self.gathered(2)
            self.assertEqual(self.written, [])
            self.poller.end()
            self.assertEqual(self.written, [[1, 2]])
            self.written.clear()

    def test_outside_of_batches_nothing_waits(self) -> None:
        """Nor where there is no poller."""
        self.gathered(1)
        GatheredLines(Gathering(), self.written.append)(2)
        self.assertEqual((self.written, self.poller.late), ([[1], [2]], []))

    def test_many_are_not_kept_waiting(self) -> None:
        self.poller.begin()
        for number in range(2 * AT_ONCE + 1):
            self.gathered(number)
        self.assertEqual(self.written, [[*range(AT_ONCE)], [*range(AT_ONCE, 2 * AT_ONCE)]])
        self.poller.end()
        self.assertEqual(self.written[2:], [[2 * AT_ONCE]])

    def test_what_comes_while_the_batch_ends_is_written(self) -> None:
        """A transport that sends at its end may find its peer gone, and end an exchange."""
        self.poller.begin()
        self.gathered(1)
        self.poller.senders = None
        self.gathered(2)
        self.poller.end()
        self.gathered(3)
        self.assertEqual(self.written, [[1, 2], [3]])

    def test_several_are_written_in_the_order_in_which_they_began(self) -> None:
        """Also before the end, where somebody cannot wait."""
        other = GatheredLines(self.gathering, self.written.append)
        self.poller.begin()
        other(1)
        self.gathered(2)
        other(3)
        self.gathering.send_now()
        self.assertEqual(self.written, [[1, 3], [2]])
        self.gathered(4)
        self.poller.end()
        self.assertEqual(self.written[2:], [[4]])
