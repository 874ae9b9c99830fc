"""What is said of floors, in sentences."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.operators.stats.page import _floor
from reusedproxy.operators.view.floors import advice, sentences
from reusedproxy.operators.view.values import DemandView, PoolView


def pool(floor: int = 4, demand: DemandView | None = None, **more: Any) -> PoolView:
    fields: dict[str, Any] = dict.fromkeys(PoolView._fields)
    return PoolView(**{**fields, "floor": floor, "floor_min": 1, "demand": demand, **more})


def demand(**more: Any) -> DemandView:
    fields: dict[str, Any] = {
        "requests": 12000, "enough": 7, "met": 0.97258, "deepest": 11,
        "most": None, "bears": None, "hold": 0.0, "dial": 0.0,
    }  # fmt: skip
    return DemandView(**{**fields, **more})


class FloorSentenceTests(SynchronousTestCase):
    """What an operator reads."""

    def test_which_floor_would_have_done(self) -> None:
        """And how far the present one does."""
        said = advice(pool(4, demand()))
        self.assertEqual(
            said,
            "A floor of 7 would have met 99.9 % of the last hour's 12,000 requests without a wait; one of 4 meets"
            " 97.2 % for sure. The most that were taken in a moment is 11.",
        )
        self.assertNotIn("for sure", advice(pool(7, demand())))

    def test_beside_an_option_that_ends_each_connection_no_floor_is_advised(self) -> None:
        option, *others = sentences(pool(4, demand()), "option httpclose")
        self.assertTrue(option.startswith("The backend has 'option httpclose': each connection ends with its first"))
        self.assertEqual([each for each in others if "would have met" in each], [])

    def test_without_requests_nothing_is_advised(self) -> None:
        """Nor where no floor is possible."""
        self.assertEqual(advice(pool(4, demand(requests=0, enough=None, met=None))), "")
        self.assertIn("No request was given a connection in the last hour.", [*sentences(pool(4, demand(enough=None)))])
        (said,) = sentences(pool(0, None))
        self.assertIn("the names of its connections depend on requests", said)

    def test_requests_that_took_their_connections_along(self) -> None:
        """No floor cures that."""
        told = [*sentences(pool(4, demand(), losses=(("timeout server", 1200), ("client gone", 3))))]
        self.assertIn(
            "In the last hour 1,203 requests ended with their connections: 1,200 by 'timeout server' (504), 3 client"
            " gone. Who comes behind such a request finds one connection less: no floor cures that; look why the"
            " server takes so long, or raise 'timeout server'.",
            told,
        )
        (one,) = [each for each in sentences(pool(4, demand(), losses=(("client gone", 1),))) if "ended with" in each]
        self.assertTrue(one.startswith("In the last hour 1 request ended with its connection: 1 client gone."), one)
        self.assertTrue(one.endswith("no floor cures that."), one)

    def test_what_kind_of_floor_it_is(self) -> None:
        """Fixed, none, or one that follows demand."""
        for floor, more, words in (
            (4, {}, "The floor is 4."),
            (0, {}, "There is no floor."),
            (9, {"most": 20}, "The floor follows demand, between 1 and 20; it is 9 now."),
        ):
            self.assertEqual(next(sentences(pool(floor, demand(**more)))), words)

    def test_the_page_shows_another_floor_that_would_do(self) -> None:
        """Beside the present one, and the sentence in its title."""
        for floor, more, cell in (
            (4, {}, ">4<br><small>7 advised</small></td>"),
            (7, {}, "'>7</td>"),
            (7, {"most": 20}, "'>7<br><small>auto</small></td>"),
            (0, {"enough": None}, "<td title=''>0</td>"),
        ):
            self.assertIn(cell, _floor(pool(floor, demand(**more))))
        self.assertIn("title='A floor of 7 would have met", _floor(pool(4, demand())))

    def test_what_the_server_bears_and_how_long_things_take(self) -> None:
        """Where it is known."""
        said = " ".join(sentences(pool(4, demand(bears=12, hold=0.0123456, dial=0.1))))
        self.assertIn("The server has refused others while 12 stood", said)
        self.assertIn("for at most 12.3 ms, and opening one takes 100 ms", said)
        self.assertNotIn("refused", " ".join(sentences(pool(4, demand()))))
