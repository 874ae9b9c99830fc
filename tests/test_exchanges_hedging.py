"""`hedge`: a request whose answer is late goes to a second connection that stands ready, and the first answer wins."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.hedging import (
    BOUNDS,
    BUDGET,
    CALM,
    DIALS,
    DOWN_SERVER,
    ENOUGH,
    HALVED,
    LOST,
    NEITHER,
    NO_CONNECTION,
    QUEUED,
    RELOADED,
    RETRIES,
    SAVED_MOST,
    SOONEST,
    WON,
    AnswerTimes,
    Hedging,
)
from reusedproxy.backends.server import DOWN, DRAIN
from reusedproxy.config.model.balance import Balance
from reusedproxy.config.model.hedging import Hedge
from reusedproxy.config.model.persistence import Cookie
from reusedproxy.config.rules.expressions import read_expression
from reusedproxy.daemon.reloading import former
from reusedproxy.daemon.reloading.former import take_apart
from reusedproxy.exchanges.hedging import HEDGE_WON, HEDGED
from reusedproxy.exchanges.losers import MOST_BYTES, MOST_SECONDS
from reusedproxy.net.slices import run_through
from reusedproxy.operators.metrics.families import of_backends
from reusedproxy.operators.view.hedged import hedging_sentences
from reusedproxy.operators.view.reading import Reader
from reusedproxy.operators.view.values import BackendView
from reusedproxy.rules.samples.compile import compiled_text
from tests.clientfakes import GET, OK, POST, World, get

OTHER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"


def backend_view(world: World) -> BackendView:
    proxy: Any = SimpleNamespace(backends=[world.backend], deadlines=world.deadlines)
    return run_through(Reader(proxy)._backend(world.backend, False))


def hedging_world(
    test: SynchronousTestCase, after: float | None = 0.1, budget: float = 0.5, saved: float = 5.0, **words: Any
) -> World:
    """A world whose backend has `hedge`, with some of its budget saved."""
    words = {"servers": 2, "warm": 2, **words}
    world = World(test, **words)
    hedging = Hedging(Hedge(after, budget=budget), world.clock)
    hedging._saved = saved
    world.backend.hedging = hedging
    return world


class HedgingTestCase(SynchronousTestCase):
    def begin(self, **words: Any) -> None:
        self.world = world = hedging_world(self, **words)
        assert world.backend.hedging is not None
        self.hedging = world.backend.hedging
        self.client = world.client()

    def busy(self) -> list[int]:
        """How many connections of each server carry a request."""
        return [len(each.busy) for each in self.world.servers]

    def late(self) -> None:
        """The request becomes late."""
        self.world.clock.advance(0.1)


class SecondCopyTests(HedgingTestCase):
    """When a request is sent twice, and where to."""

    def test_a_late_one_goes_to_another_server(self) -> None:
        """As it went to the first."""
        self.begin()
        self.client.send(get("/a"))
        self.world.clock.advance(0.099)
        self.assertEqual(self.busy(), [1, 0])
        first = self.world.servers[0].asked()
        self.world.clock.advance(0.001)
        self.assertEqual(self.busy(), [1, 1])
        self.assertEqual(self.world.servers[1].asked(), first)
        self.assertEqual([each.server.served for each in self.world.servers], [1, 1])
        self.world.servers[1].answer(OTHER)
        self.assertTrue(self.client.take().endswith(b"other"))
        self.world.servers[0].answer(OK)
        self.assertEqual(self.client.take(), b"")
        self.assertEqual(self.hedging.results, {WON: 1})
        self.world.check_rest()

    def test_one_that_is_answered_in_time_is_not(self) -> None:
        self.begin()
        self.client.send(GET)
        self.world.servers[0].answer(OK)
        self.late()
        self.assertEqual((self.busy(), self.hedging.started), ([0, 0], 0))
        self.world.check_rest()

    def test_a_byte_of_an_answer_is_in_time(self) -> None:
        """Though its head is not complete."""
        self.begin()
        self.client.send(GET)
        self.world.servers[0].answer(OK[:20])
        self.late()
        self.assertEqual(self.busy(), [1, 0])
        self.world.servers[0].answer(OK[20:])
        self.world.check_rest()

    def test_the_same_server_if_no_other_has_room(self) -> None:
        self.begin(servers=1)
        self.client.send(GET)
        self.late()
        self.assertEqual(self.busy(), [2])
        self.world.server.answer()
        self.world.server.answer()
        self.assertEqual(self.client.take(), OK)
        self.world.check_rest()

    def test_it_never_dials(self) -> None:
        self.begin(servers=1, warm=1)
        self.client.send(GET)
        self.late()
        self.assertEqual((self.world.server.dialer.open, self.hedging.withheld), ([], {NO_CONNECTION: 1}))
        self.world.server.answer()
        self.world.check_rest()

    def test_places_of_maxconn_are_kept_to(self) -> None:
        self.begin(servers=1, maxconn=1)
        self.client.send(GET)
        self.late()
        self.assertEqual((self.busy(), self.hedging.withheld), ([1], {NO_CONNECTION: 1}))
        self.world.server.answer()
        self.world.check_rest()

    def test_only_what_is_safe_and_whole(self) -> None:
        """GET, HEAD and OPTIONS without a body; nothing that offers another protocol, or binds its connection."""
        upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
        for request, hedged in (
            (GET, 1),
            (b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", 1),
            (b"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n", 1),
            (POST + b"1234", 0),
            (b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", 0),
            (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1", 0),
            (b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: NTLM x\r\n\r\n", 0),
            (upgrade, 0),
        ):
            self.begin()
            self.client.send(request)
            for each in self.world.servers:
                if each.dialer.open:
                    each.connect()
            self.late()
            self.assertEqual((sum(self.busy()), self.hedging.started), (1 + hedged, hedged), request)
            self.client.wire.reset()
            self.world.check_rest()

    def test_not_what_is_bound_to_a_server(self) -> None:
        """By a hash: the second copy goes to that server."""
        self.begin(backend={"balance": Balance("source")})
        self.client.send(GET)
        self.late()
        self.assertEqual(sorted(self.busy()), [0, 2])
        self.client.wire.reset()
        self.world.check_rest()

    def test_not_what_a_cookie_binds_to_its_server(self) -> None:
        """A client without a cookie gets that of the server whose answer it gets."""
        self.begin(backend={"cookie": Cookie("S", mode="insert", indirect=True)})
        for each in self.world.servers:
            each.server.cookie = each.server.name.encode()
        self.world.backend.learn_cookies()
        self.client.send(get("/", "Cookie: S=s1"))
        self.late()
        self.assertEqual((self.busy(), self.hedging.withheld), ([1, 0], {}))
        self.world.servers[0].answer()
        self.client.take()
        self.client.send(GET)
        self.late()
        self.assertEqual(self.busy(), [1, 1])
        self.world.servers[1].answer()
        self.assertIn(b"set-cookie: S=s2", self.client.take())
        self.client.wire.reset()
        self.hedging.let_losers_go()
        self.world.check_rest()

    def test_connections_with_a_name_of_the_request_are_not_another_servers(self) -> None:
        """`sni req.hdr(host)`: what stands under that name at this server may be used, and nothing else."""
        self.begin(servers=1)
        server = self.world.server.server
        server.naming = lambda request: None  # type: ignore[assignment]
        self.assertEqual([*self.world.backend.seconds(server)], [server])
        server.naming = None
        self.world.check_rest()
        self.begin()
        first, second = (each.server for each in self.world.servers)
        self.assertEqual([*self.world.backend.seconds(first)], [second, first])
        second.naming = lambda request: None  # type: ignore[assignment]
        self.assertEqual([*self.world.backend.seconds(first)], [first])
        second.naming = None
        self.world.check_rest()

    def test_not_on_connections_of_one_client(self) -> None:
        """`http-reuse never`."""
        self.begin(backend={"http_reuse": "never"})
        self.client.send(GET)
        self.world.servers[0].connect()
        self.late()
        self.assertEqual(sum(self.busy()), 1)
        self.world.servers[0].answer()
        self.client.wire.reset()
        self.world.check_rest()

    def test_a_further_try_is_not_hedged(self) -> None:
        self.begin()
        self.client.send(GET)
        self.world.servers[0].eof()
        again = next(each for each in self.world.servers if each.dialer.open)
        again.connect()
        self.late()
        self.assertEqual((sum(self.busy()), self.hedging.started), (1, 0))
        again.answer()
        self.world.check_rest()

    def test_each_server_hears_its_own_name(self) -> None:
        """`http-send-name-header`."""
        self.begin(backend={"name_header": "X-Server"})
        self.client.send(GET)
        self.late()
        for each, name in zip(self.world.servers, (b"s1", b"s2"), strict=True):
            self.assertIn(b"X-Server: " + name, each.asked())
        self.client.wire.reset()
        self.world.check_rest()

    def test_only_servers_that_take_requests(self) -> None:
        """Not one in DRAIN."""
        self.begin()
        self.world.backend.set_state(self.world.servers[1].server, DRAIN)
        self.client.send(GET)
        self.late()
        self.assertEqual(self.busy(), [2, 0])
        self.client.wire.reset()
        self.world.check_rest()


class WithheldTests(HedgingTestCase):
    """When nothing is sent twice, though it is late."""

    def late_is_withheld(self, why: str) -> None:
        self.client.send(GET)
        self.late()
        self.assertEqual((self.hedging.started, self.hedging.withheld), (0, {why: 1}))

    def test_beyond_the_budget(self) -> None:
        """A share of all requests, a few of which may be saved up."""
        self.begin(budget=0.05, saved=0.0)
        self.late_is_withheld(BUDGET)
        self.world.servers[0].answer()
        for _ in range(19):
            self.client.send(POST + b"1234")
            next(each for each in self.world.servers if each.busy).answer()
        self.client.send(GET)
        self.late()
        self.assertEqual(self.hedging.started, 1)
        self.client.wire.reset()
        self.world.check_rest()

    def test_the_budget_is_not_saved_up_for_ever(self) -> None:
        hedging = Hedging(Hedge(budget=0.5), Clock())
        for _ in range(1000):
            hedging.count()
        self.assertEqual(hedging._saved, SAVED_MOST)

    def test_while_requests_wait(self) -> None:
        self.begin(servers=1, maxconn=1)
        waits = self.world.client()
        self.client.send(GET)
        waits.send(GET)
        self.late()
        self.assertEqual(self.hedging.withheld, {QUEUED: 1})
        self.world.server.answer()
        self.world.server.answer()
        self.world.check_rest()

    def test_while_a_server_is_down(self) -> None:
        self.begin(servers=3)
        self.world.backend.server_changed(self.world.servers[2].server, DOWN, "a test")
        self.late_is_withheld(DOWN_SERVER)
        self.client.wire.reset()
        self.world.check_rest()

    def test_after_retries(self) -> None:
        """For a while."""
        self.begin()
        self.world.backend.traffic.wretr += 1
        self.late_is_withheld(RETRIES)
        self.world.clock.advance(CALM)
        self.client.wire.reset()
        self.client = self.world.client()
        self.client.send(GET)
        self.late()
        self.assertEqual(self.hedging.started, 1)
        self.client.wire.reset()
        self.world.check_rest()

    def test_while_dials_fail(self) -> None:
        self.begin(pool={"min_conn": 3})
        self.world.servers[1].refuse()
        self.late_is_withheld(DIALS)
        self.client.wire.reset()
        for each in self.world.servers:
            while each.dialer.open:
                each.connect()
        self.world.check_rest()

    def test_after_a_reload(self) -> None:
        self.begin()
        new = hedging_world(self)
        self.client.send(GET)
        for _ in self.world.backend.handing_over(new.backend):
            pass
        self.late()
        self.assertEqual((self.hedging.started, self.hedging.withheld), (0, {RELOADED: 1}))
        self.client.wire.reset()
        self.world.check_rest()
        new.check_rest()


class FirstAnswerTests(HedgingTestCase):
    """What becomes of two answers."""

    def hedged(self, **words: Any) -> None:
        """A request is on a connection of each server."""
        self.begin(**words)
        self.client.send(GET)
        self.late()
        self.assertEqual(self.busy(), [1, 1])

    def test_the_first_connection_may_win(self) -> None:
        """The other's answer is dropped, and its connection goes on."""
        self.hedged()
        self.world.servers[0].answer()
        self.assertEqual(self.client.take(), OK)
        self.assertEqual([each.server.served for each in self.world.servers], [0, 1], "it is still at work")
        self.world.servers[1].answer(OTHER)
        self.assertEqual((self.client.take(), self.busy()), (b"", [0, 0]))
        self.assertEqual(self.hedging.results, {LOST: 1})
        self.assertEqual(len(self.world.servers[1].pool.idle), 2)
        (exchange,) = self.world.log
        self.assertEqual((exchange.server, exchange.hedged), (self.world.servers[0].server, HEDGED))
        self.world.check_rest()

    def test_what_the_log_says_is_of_the_winner(self) -> None:
        self.hedged()
        self.world.servers[1].answer(OTHER)
        (exchange,) = self.world.log
        self.assertEqual((exchange.server, exchange.hedged), (self.world.servers[1].server, HEDGE_WON))
        self.assertEqual((exchange.status, exchange.flags, exchange.retries), (200, "--", 0))
        self.assertEqual(compiled_text(read_expression("txn.hedged", "here"))(exchange), b"2")
        self.assertEqual([each.server.traffic.hrsp[2] for each in self.world.servers], [0, 1])
        self.world.servers[0].answer()
        self.assertEqual([each.server.traffic.hrsp[2] for each in self.world.servers], [0, 1])
        self.assertEqual([each.server.traffic.eresp for each in self.world.servers], [0, 0])
        self.world.check_rest()

    def test_a_loser_that_takes_long_is_closed(self) -> None:
        """And is no server's error; its place is free then."""
        self.hedged()
        self.world.servers[1].answer()
        self.world.advance(MOST_SECONDS)
        self.assertEqual((self.busy(), self.world.servers[0].server.served), ([0, 0], 0))
        self.assertEqual(self.world.servers[0].pool.closed, {"answered elsewhere first": 1})
        self.assertEqual(self.world.servers[0].server.traffic.eresp, 0)
        self.world.check_rest()

    def test_a_loser_with_a_long_answer_is_closed(self) -> None:
        """As it says so, or as it comes."""
        long = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MOST_BYTES + 1)
        chunk = b"%x\r\n%s\r\n" % (MOST_BYTES // 2 + 1, b"x" * (MOST_BYTES // 2 + 1))
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for pieces in ((long,), (chunked, chunk, chunk)):
            self.hedged()
            self.world.servers[1].answer()
            for piece in pieces:
                self.world.servers[0].answer(piece)
            self.assertEqual(self.world.servers[0].pool.closed, {"answered elsewhere first": 1})
            self.assertEqual(self.client.take(), OK)
            self.world.check_rest()

    def test_an_answer_in_pieces_comes_from_one_connection(self) -> None:
        self.hedged()
        self.world.servers[1].answer(OTHER[:-3])
        (wire,) = self.world.servers[1].busy
        self.assertIs(wire.owner.exchange, self.client.connection.exchange, "they speak to each other as ever")
        self.world.servers[0].answer(OK)
        self.world.servers[1].answer(OTHER[-3:])
        self.assertTrue(self.client.take().endswith(b"\r\n\r\nother"))
        self.world.check_rest()

    def test_an_interim_answer_decides(self) -> None:
        """What follows it in the same read is read, too."""
        self.hedged()
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        self.world.servers[1].answer(hints + OTHER)
        self.world.servers[0].answer()
        taken = self.client.take()
        self.assertTrue(taken.startswith(b"HTTP/1.1 103 ") and taken.endswith(b"other"), taken)
        self.world.check_rest()

    def test_an_interim_answer_decides_though_the_other_is_faster_then(self) -> None:
        self.hedged()
        self.world.servers[1].answer(b"HTTP/1.1 102 Processing\r\n\r\n")
        self.world.servers[0].answer()
        self.assertNotIn(b"ok", self.client.take())
        self.world.servers[1].answer(OTHER[:-2])
        self.world.servers[1].answer(OTHER[-2:])
        self.assertTrue(self.client.take().endswith(b"other"))
        self.world.check_rest()

    def test_a_connection_that_is_lost_leaves_it_to_the_other(self) -> None:
        """Whichever; nothing is tried again."""
        for lost, left in ((0, 1), (1, 0)):
            self.hedged()
            self.world.servers[lost].eof()
            self.assertEqual([each.server.served for each in self.world.servers], [left == 0, left == 1])
            self.world.servers[left].answer()
            self.assertEqual(self.client.take(), OK)
            (exchange,) = self.world.log
            self.assertEqual((exchange.server, exchange.retries), (self.world.servers[left].server, 0))
            self.world.check_rest()

    def test_if_both_are_lost_it_is_tried_again(self) -> None:
        """As without: once, at the server of the last."""
        self.hedged()
        self.world.servers[0].eof()
        self.world.servers[1].eof()
        again = next(each for each in self.world.servers if each.dialer.open)
        again.connect()
        again.answer()
        self.assertEqual((self.client.take(), self.hedging.results), (OK, {NEITHER: 1}))
        (exchange,) = self.world.log
        self.assertEqual(exchange.retries, 1)
        self.world.check_rest()

    def test_a_time_out_of_the_first_leaves_it_to_the_other(self) -> None:
        self.begin(after=15.0)
        self.client.send(GET)
        self.world.clock.advance(15.0)
        self.assertEqual(self.busy(), [1, 1])
        self.world.advance(5.0)
        self.assertEqual(self.busy(), [0, 1])
        self.world.servers[1].answer()
        self.assertEqual((self.client.take(), self.world.flags()), (OK, [(200, "--")]))
        self.assertEqual([each.server.traffic.eresp for each in self.world.servers], [1, 0])
        self.world.check_rest()

    def test_an_unwanted_status_leaves_it_to_the_other(self) -> None:
        """`retry-on 503`."""
        self.hedged(backend={"retry_on": frozenset(("503",))})
        self.world.servers[1].answer(BUSY)
        self.assertEqual(self.client.take(), b"")
        self.world.servers[0].answer()
        self.assertEqual(self.client.take(), OK)
        self.world.check_rest()

    def test_an_error_is_an_answer_otherwise(self) -> None:
        self.hedged()
        self.world.servers[1].answer(BUSY)
        self.assertTrue(self.client.take().startswith(b"HTTP/1.1 503"))
        self.world.servers[0].answer()
        self.world.check_rest()

    def test_a_client_that_leaves_ends_both(self) -> None:
        self.hedged()
        self.client.wire.reset()
        self.assertEqual((self.busy(), self.hedging.results), ([0, 0], {NEITHER: 1}))
        self.world.check_rest()

    def test_the_service_stops(self) -> None:
        """A loser goes with its backend, and no timer is left."""
        self.hedged()
        self.world.servers[1].answer()
        self.client.wire.reset()
        self.world.backend.stop("test over")
        self.assertEqual((self.busy(), self.hedging.losers), ([0, 0], set()))
        self.world.check_rest()

    def test_a_proxy_that_was_replaced_lets_its_losers_go(self) -> None:
        """Before it is taken apart: nobody could give their places back then."""
        self.hedged()
        self.world.servers[1].answer()
        self.client.wire.reset()
        self.assertEqual(len(self.hedging.losers), 1)
        proxy: Any = SimpleNamespace(frontends=[], backends=[self.world.backend], lines={})
        steps = take_apart(proxy)
        self.patch(former, "empty", lambda each: None)
        for _ in steps:
            pass
        self.assertEqual((self.busy(), self.hedging.losers), ([0, 0], set()))
        self.world.check_rest()

    def test_nothing_of_a_request_is_kept_that_was_answered(self) -> None:
        """Though it would be late much later."""
        gc.disable()
        self.addCleanup(gc.enable)
        self.begin(after=50.0)
        self.client.send(GET)
        self.world.servers[0].answer()
        exchange = weakref.ref(self.world.log.pop())
        self.assertIsNone(exchange())
        self.world.check_rest()
        for won in (0, 1):
            self.hedged()
            self.world.servers[won].answer()
            exchange = weakref.ref(self.world.log.pop())
            self.assertIsNone(exchange(), "nor of one that was sent twice")
            self.world.servers[1 - won].answer()
            self.world.check_rest()


class CountedTests(HedgingTestCase):
    """What operators see."""

    def test_metrics_of_a_backend(self) -> None:
        self.begin()
        view = backend_view(self.world)
        assert view.hedging is not None
        self.assertEqual((view.hedging.started, view.hedging.after), (0, 0.1))
        for saved in (5.0, 0.0):
            self.hedging._saved = saved
            self.client.send(GET)
            self.late()
            for each in self.world.servers:
                if each.busy:
                    each.answer()
        found = {each.name: {sample.labels: sample.value for sample in each.samples} for each in of_backends([view])}
        self.assertEqual(found["reusedproxy_hedged_requests_total"][("be", LOST)], 0)
        found = {
            each.name: {sample.labels: sample.value for sample in each.samples}
            for each in of_backends([backend_view(self.world)])
        }
        self.assertEqual(
            found["reusedproxy_hedged_requests_total"], {("be", WON): 0, ("be", LOST): 1, ("be", NEITHER): 0}
        )
        self.assertEqual(found["reusedproxy_hedges_withheld_total"][("be", BUDGET)], 1)
        self.assertEqual(found["reusedproxy_hedge_after_seconds"], {("be",): 0.1})
        self.world.check_rest()

    def test_it_is_said_in_sentences(self) -> None:
        """What `explain pool` adds."""
        self.begin(after=None)
        self.assertEqual([*hedging_sentences(None)], [])
        said = [*hedging_sentences(backend_view(self.world).hedging)]
        self.assertEqual(said[0], "Which requests are late is not known yet: too few answers were seen.")
        self.world.check_rest()
        self.begin(saved=0.5)
        self.client.send(GET)
        self.late()
        self.world.servers[1].answer()
        self.client.send(GET)
        self.late()
        said = [*hedging_sentences(backend_view(self.world).hedging)]
        self.assertEqual(
            said,
            [
                "A request is late after 100 ms, and goes to a second connection then (hedge).",
                "So it was for 1 of 2 requests (50.00%): 1 won, 0 lost, 0 neither.",
                "Late, and not sent twice: budget 1.",
            ],
        )
        self.client.wire.reset()
        self.hedging.let_losers_go()
        self.world.check_rest()

    def test_nothing_is_said_without_the_word(self) -> None:
        world = World(self)
        self.assertIsNone(backend_view(world).hedging)
        self.assertEqual([each.samples for each in of_backends([backend_view(world)])][1:], [()] * 3)
        world.check_rest()

    def test_a_percentile_that_is_not_known_is_not_said(self) -> None:
        self.begin(after=None)
        view = backend_view(self.world)
        assert view.hedging is not None
        self.assertIsNone(view.hedging.after)
        self.world.check_rest()


class AnswerTimesTests(SynchronousTestCase):
    """The percentile after which a request is late."""

    def test_it_is_known_after_some_answers(self) -> None:
        times = AnswerTimes(0.95)
        for number in range(ENOUGH):
            self.assertEqual(times.value > BOUNDS[-1], number < ENOUGH)
            times.observe(0.01 if number % 20 else 0.5)
        self.assertTrue(0.01 <= times.value <= 0.0111, times.value)

    def test_it_is_within_a_tenth(self) -> None:
        for share in (0.5, 0.9, 0.99):
            times = AnswerTimes(share)
            for number in range(1000):
                times.observe((number + 1) / 1000)
            self.assertTrue(share <= times.value * 1.001 and times.value <= share * 1.11, (share, times.value))

    def test_it_follows_what_servers_do_now(self) -> None:
        times = AnswerTimes(0.9)
        for _ in range(3 * HALVED):
            times.observe(0.5)
        for _ in range(6 * HALVED):
            times.observe(0.01)
        self.assertLess(times.value, 0.0111)

    def test_nothing_is_late_before(self) -> None:
        """Nor sooner than a moment."""
        clock = Clock()
        hedging = Hedging(Hedge(), clock)
        hedging.watch(self, 0.0)  # type: ignore[arg-type]
        self.assertEqual(clock.getDelayedCalls(), [])
        for _ in range(ENOUGH):
            hedging.answered(1e-4)
        self.assertEqual(hedging.after, SOONEST)

    def test_a_reload_goes_on_with_what_is_known(self) -> None:
        """Unless another percentile is asked for."""
        before, after, other = (Hedging(Hedge(percentile=share), Clock()) for share in (0.95, 0.95, 0.5))
        for _ in range(ENOUGH):
            before.count()
            before.answered(0.02)
        before.results[WON] += 1
        after.succeed(before)
        other.succeed(before)
        self.assertEqual((after.requests, after.results, after.after), (ENOUGH, {WON: 1}, before.after))
        self.assertEqual(other.after, float("inf"))

    def test_requests_are_late_one_after_the_other(self) -> None:
        """With one timer, and one that is told may end another."""
        clock = Clock()
        hedging = Hedging(Hedge(after=1.0), clock)
        told: list[tuple[str, float]] = []

        class Each:
            def __init__(self, name: str) -> None:
                self.name = name

            def late(self) -> None:
                told.append((self.name, clock.seconds()))

        for name, wait in (("a", 0.25), ("b", 0.0), ("c", 0.5)):
            hedging.watch(Each(name), clock.seconds())
            clock.advance(wait)
            self.assertEqual(len(clock.getDelayedCalls()), 1)
        clock.advance(0.25)
        self.assertEqual(told, [("a", 1.0)])
        clock.advance(0.25)
        self.assertEqual(told[1:], [("b", 1.25), ("c", 1.25)])
        hedging.stop()
        self.assertEqual(clock.getDelayedCalls(), [])


class HedgingMachine(RuleBasedStateMachine):
    """Clients ask, leave and come; servers answer whole or in pieces, or hang up; time passes; a reload comes: each
    client gets exactly one answer to each of its requests, each place is given back once, and nothing is left."""

    def __init__(self) -> None:
        super().__init__()
        self.test = SynchronousTestCase()
        self.world = hedging_world(self.test, servers=3, warm=3, maxconn=3, saved=10.0)
        self.new: World | None = None
        self.clients: list[Any] = []
        self.asked = 0

    @precondition(lambda self: len(self.clients) < 5 and self.new is None)
    @rule()
    def a_client_asks(self) -> None:
        client = self.world.client()
        self.clients.append(client)
        self.asked += 1
        client.send(get("/x"))

    @precondition(lambda self: len(self.clients) < 5 and self.new is None)
    @rule(lost=st.sampled_from(["", "eof", "reset"]), at=st.integers(0, 1))
    def a_request_is_late(self, lost: str, at: int) -> None:
        """And one of its connections may be lost."""
        before = {wire for far in self.world.servers for wire in far.busy}
        self.a_client_asks()
        self.world.clock.advance(0.1)
        wires = [wire for far in self.world.servers for wire in far.busy if wire not in before]
        if lost and wires:
            getattr(wires[at % len(wires)], lost)()

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.3, 1.0]))
    def time_passes(self, seconds: float) -> None:
        for world in filter(None, (self.world, self.new)):
            world.advance(seconds)

    @rule(at=st.integers(0, 8), what=st.sampled_from(["whole", "head", "eof", "reset", "early", "busy"]))
    def a_server_does_something(self, at: int, what: str) -> None:
        wires = [wire for world in filter(None, (self.world, self.new)) for far in world.servers for wire in far.busy]
        if not wires:
            return
        wire = wires[at % len(wires)]
        connection = wire.owner
        if connection._body is not None:
            {"eof": wire.eof, "reset": wire.reset}.get(what, lambda: wire.feed(b"lo"))()
        elif connection._received:
            {"eof": wire.eof, "reset": wire.reset}.get(what, lambda: wire.feed(OK[10:]))()
        elif what == "whole":
            wire.feed(OK)
        elif what == "head":
            wire.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel")
        elif what == "early":
            wire.feed(OK[:10])
        elif what == "busy":
            wire.feed(BUSY)
        elif what == "eof":
            wire.eof()
        else:
            wire.reset()

    @precondition(lambda self: self.clients)
    @rule(at=st.integers(0, 8))
    def a_client_leaves(self, at: int) -> None:
        client = self.clients[at % len(self.clients)]
        if not client.gone:
            client.wire.reset()

    @rule()
    def dials_end(self) -> None:
        for world in filter(None, (self.world, self.new)):
            for far in world.servers:
                while far.dialer.open:
                    far.connect()

    @precondition(lambda self: self.new is None)
    @rule()
    def a_reload(self) -> None:
        self.new = hedging_world(self.test, servers=3, warm=3, maxconn=3)
        assert self.world.backend.hedging is not None
        self.world.backend.hedging.stop()
        for _ in self.world.backend.handing_over(self.new.backend):
            pass

    @invariant()
    def places_are_those_of_requests(self) -> None:
        for world in filter(None, (self.world, self.new)):
            for far in world.servers:
                self.test.assertGreaterEqual(far.server.served, 0)
                self.test.assertLessEqual(far.server.served, 3)
                self.test.assertGreaterEqual(far.server.served, len(far.busy))

    def teardown(self) -> None:
        for _ in range(40):
            for world in filter(None, (self.world, self.new)):
                world.advance(1.0)
                for far in world.servers:
                    while far.dialer.open:
                        far.connect()
                    for wire in far.busy:
                        if wire.state == 0 and wire.owner.exchange is not None:
                            wire.reset() if wire.owner._body or wire.owner._received else wire.feed(OK)
            if not any(client.connection.exchange for client in self.clients):
                break
        for client in self.clients:
            taken = client.take()
            if not client.gone:
                self.test.assertEqual(taken.count(b"HTTP/1.1 "), 1, taken)
        for world in filter(None, (self.world, self.new)):
            world.advance(MOST_SECONDS)
        self.world.check_rest()
        if self.new is not None:
            self.new.check_rest()
        self.test.assertEqual(len(self.world.log) + (len(self.new.log) if self.new else 0), self.asked)


HedgingMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
HedgingMachineTests = HedgingMachine.TestCase
