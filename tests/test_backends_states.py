"""The states of a server: what its operator orders, what its checks find, and what comes of the two."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends import messages
from reusedproxy.backends.backend import Backend
from reusedproxy.backends.checks.checker import Checker
from reusedproxy.backends.server import DOWN, DRAIN, MAINT, READY, UP, Server
from reusedproxy.config import model
from reusedproxy.config.model.checks import Agent
from reusedproxy.config.model.tls import ServerTLS
from reusedproxy.wire.heads import Limits
from tests.fakes import Asks, PoolBench

PLACE = model.Place("test.cfg", 1)


def server(name: str = "s1", **words: Any) -> Server:
    return Server(
        "be", model.Server(name=name, place=PLACE, host="127.0.0.1", **words), PoolBench(resume=False).pool, 0.0
    )


class MessageTests(SynchronousTestCase):
    def test_a_refused_check_over_tls_leads_to_the_doctor(self) -> None:
        """It is how servers answer a wrong or missing client certificate; HAProxy's line comes first, as it is."""
        refused = 'Layer7 wrong status, code: 400, info: "Bad Request", check duration: 1ms'
        for tls, reason, said in (
            (ServerTLS(verify="none", crt="a.pem"), refused, "it may be for 'crt a.pem'"),
            (ServerTLS(verify="none"), refused, "there is no 'crt'"),
            (ServerTLS(verify="none"), refused.replace("400", "500"), ""),
            (None, refused, ""),
        ):
            one = server(tls=tls)
            one.judge(DOWN, 1.0)
            first, *more = messages.judged(one, reason, "rest")
            self.assertEqual(first, ("alert", f"Server be/s1 is DOWN, reason: {reason}. rest"))
            self.assertEqual([level for level, _ in more], ["notice"] if said else [])
            for _, text in more:
                self.assertIn(said, text)
                self.assertIn("'reusedproxy doctor --config FILE be/s1'", text)


class StateTests(SynchronousTestCase):
    """`state` is made of two facts."""

    def test_every_combination(self) -> None:
        """Orders (rows) and health (columns); without a weight READY is no more than DRAIN."""
        table = [
            (READY, 1, UP, UP), (READY, 1, DOWN, DOWN), (DRAIN, 1, UP, DRAIN), (DRAIN, 1, DOWN, DOWN),
            (READY, 0, UP, DRAIN), (READY, 0, DOWN, DOWN), (MAINT, 1, UP, MAINT), (MAINT, 1, DOWN, MAINT),
        ]  # fmt: skip
        for admin, weight, health, state in table:
            one = server(weight=weight)
            one.administer(admin, 0.0)
            one.judge(health, 0.0)
            self.assertEqual(one.state, state, (admin, weight, health))
            self.assertEqual(one.usable, state == UP)
            self.assertEqual(one.serving, state in (UP, DRAIN))

    def test_in_drain_it_falls_and_rises(self) -> None:
        """It is DOWN, and then in DRAIN again."""
        one = server()
        one.administer(DRAIN, 1.0)
        one.judge(DOWN, 2.0)
        self.assertEqual((one.state, one.downs, one.changed_at), (DOWN, 1, 2.0))
        one.judge(UP, 5.0)
        self.assertEqual((one.state, one.downtime), (DRAIN, 3.0))

    def test_out_of_maint_it_comes_as_up(self) -> None:
        """Whatever was found before: checks have not looked since."""
        one = server()
        one.judge(DOWN, 1.0)
        one.administer(MAINT, 2.0)
        one.administer(DRAIN, 3.0)
        self.assertEqual((one.health, one.state), (UP, DRAIN))

    def test_an_order_does_not_change_what_was_found(self) -> None:
        one = server()
        one.judge(DOWN, 1.0)
        one.administer(DRAIN, 2.0)
        one.administer(READY, 3.0)
        self.assertEqual((one.state, one.changed_at), (DOWN, 1.0))


class SuccessionTests(SynchronousTestCase):
    """After a reload a server goes on as the one before it."""

    CHECK = model.Check()

    def successor(self, previous: Server, **words: Any) -> Server:
        one = server(**words)
        one.succeed(previous)
        return one

    def test_an_order_stands(self) -> None:
        """Also one that the file had contradicted all along."""
        for disabled in (False, True):
            for admin in (READY, DRAIN, MAINT):
                previous = server(disabled=disabled)
                previous.administer(admin, 1.0)
                self.assertEqual(self.successor(previous, disabled=disabled).admin, admin)

    def test_what_an_agent_has_ordered_stands_until_the_agent_has_gone(self) -> None:
        agent = Agent(8080)
        previous = server(agent=agent, weight=8, maxconn=10)
        previous.weigh(4, 1.0)
        previous.limit = previous.most = previous.maxconn = 5
        stays = self.successor(previous, agent=agent, weight=8, maxconn=10)
        self.assertEqual((stays.weight, stays.limit, stays.maxconn), (4, 5, 5))
        left = self.successor(previous, weight=8, maxconn=10)
        self.assertEqual((left.weight, left.limit, left.maxconn), (8, 10, 10))

    def test_until_the_files_own_word_changes(self) -> None:
        """Who writes or removes `disabled` means it."""
        previous = server()
        previous.administer(DRAIN, 1.0)
        self.assertEqual(self.successor(previous, disabled=True).state, MAINT)
        previous = server(disabled=True)
        previous.administer(DRAIN, 1.0)
        self.assertEqual(self.successor(previous).state, UP)

    def test_what_checks_have_found_stands_as_long_as_there_are_checks(self) -> None:
        previous = server(check=self.CHECK)
        previous.judge(DOWN, 1.0)
        self.assertEqual(self.successor(previous, check=self.CHECK).state, DOWN)
        self.assertEqual(self.successor(previous).state, UP)
        previous.administer(DRAIN, 2.0)
        down = self.successor(previous, check=self.CHECK)
        self.assertEqual((down.state, down.admin), (DOWN, DRAIN))

    def test_what_they_found_before_maint_does_not(self) -> None:
        """The file ends the maintenance as an order would: it comes as UP."""
        previous = server(check=self.CHECK, disabled=True)
        previous.health = DOWN
        self.assertEqual(self.successor(previous, check=self.CHECK).state, UP)


class OrderTests(SynchronousTestCase):
    """`Backend.set_state`, and the lines of HAProxy 2.6 about it, word for word and with their levels (captured)."""

    def setUp(self) -> None:
        self.s1, self.s2 = server("s1"), server("s2")
        self.announced: list[tuple[str, str]] = []
        settings = model.Backend(name="be", place=PLACE)
        self.backend = Backend(
            settings, [self.s1, self.s2], lambda: 1000.0, lambda level, text: self.announced.append((level, text))
        )
        self.backend.start()

    def said(self, one: Server, *orders: str) -> list[tuple[str, str]]:
        for admin in orders:
            self.announced.clear()
            self.backend.set_state(one, admin)
        return self.announced

    def placed(self, bound: Server | None = None) -> str:
        asks = Asks()
        return "".join(asks.servers) if self.backend.choose(asks, bound=bound) else "nobody"

    def test_drain_and_ready(self) -> None:
        self.assertEqual(
            self.said(self.s1, DRAIN),
            [("notice", "Server be/s1 enters drain state. 1 active and 0 backup servers online."
                " 0 sessions requeued, 0 total in queue.")],
        )  # fmt: skip
        self.assertEqual(self.said(self.s1, READY), [("notice", "Server be/s1 is UP (leaving forced drain).")])

    def test_maint_and_ready(self) -> None:
        """The alarm is for a server that was UP."""
        text = (
            "Server be/s1 is going DOWN for maintenance. 1 active and 0 backup servers left."
            " 0 sessions active, 0 requeued, 0 remaining in queue."
        )
        self.assertEqual(self.said(self.s1, MAINT), [("alert", text)])
        self.assertEqual(
            self.said(self.s1, READY), [("notice", "Server be/s1 is UP/READY (leaving forced maintenance).")]
        )
        self.assertEqual(self.said(self.s1, DRAIN, MAINT), [("notice", text)])
        self.assertEqual(
            self.said(self.s1, DRAIN),
            [
                ("notice", "Server be/s1 is UP/DRAIN (leaving forced maintenance)."),
                ("notice", "Server be/s1 remains in forced drain mode."),
            ],
        )

    def test_of_a_server_that_is_down(self) -> None:
        self.backend.server_changed(self.s1, DOWN, "x")
        self.assertEqual(
            self.said(self.s1, DRAIN),
            [("notice", "Server be/s1 enters drain state. 1 active and 0 backup servers left."
                " 0 sessions active, 0 requeued, 0 remaining in queue.")],
        )  # fmt: skip
        self.assertEqual(self.said(self.s1, READY), [("notice", "Server be/s1 is DOWN (leaving forced drain).")])
        self.assertEqual(self.said(self.s1, MAINT), [("notice", "Server be/s1 was DOWN and now enters maintenance.")])

    def test_checks_of_a_server_in_drain(self) -> None:
        """DOWN and UP are said of its health, and that nothing else comes of it."""
        self.said(self.s1, DRAIN)
        for health, level in ((DOWN, "alert"), (UP, "notice")):
            self.announced.clear()
            self.backend.server_changed(self.s1, health, "x")
            (first, line), second = self.announced
            self.assertEqual((first, second), (level, ("notice", "Server be/s1 remains in forced drain mode.")))
            self.assertTrue(
                line.startswith(f"Server be/s1 is {health}, reason: x. 1 active and 0 backup servers "), line
            )

    def test_the_last_one(self) -> None:
        """In DRAIN there is none left for new requests either."""
        for admin in (DRAIN, MAINT):
            self.said(self.s1, READY, admin)
            self.assertEqual(self.said(self.s2, READY, admin)[-1], ("emerg", "backend be has no server available!"))

    def test_the_same_order_again_is_none(self) -> None:
        self.assertEqual(self.said(self.s1, DRAIN, DRAIN), [])

    def test_backup_servers_are_called_so(self) -> None:
        self.s2.backup = True
        self.backend.use_usable()
        self.assertEqual(
            self.said(self.s1, DRAIN)[0][1],
            "Server be/s1 enters drain state. 0 active and 1 backup servers online."
            " Running on backup. 0 sessions requeued, 0 total in queue.",
        )
        self.assertTrue(
            self.said(self.s2, MAINT)[0][1].startswith("Backup Server be/s2 is going DOWN for maintenance.")
        )

    def test_in_drain_it_takes_only_what_is_bound_to_it(self) -> None:
        self.backend.set_state(self.s1, DRAIN)
        self.assertEqual([self.placed() for _ in range(3)], ["s2"] * 3)
        self.assertEqual(self.placed(self.s1), "s1")
        self.backend.set_state(self.s2, MAINT)
        self.assertEqual((self.placed(), self.placed(self.s1)), ("nobody", "s1"))

    def test_in_maint_and_when_down_not_even_that(self) -> None:
        self.backend.set_state(self.s1, MAINT)
        self.assertEqual(self.placed(self.s1), "s2")
        self.backend.set_state(self.s1, READY)
        self.backend.server_changed(self.s1, DOWN, "x")
        self.assertEqual(self.placed(self.s1), "s2")

    def test_a_weight_of_0_is_drain(self) -> None:
        """HAProxy 2.6 gives it what is bound to it, too."""
        self.s1.weight = 0
        self.s1.judge(UP, 0.0)
        self.backend.use_usable()
        self.assertEqual((self.s1.state, self.placed(), self.placed(self.s1)), (DRAIN, "s2", "s1"))

    def test_the_pool_stays_in_drain_and_goes_in_maint(self) -> None:
        pools = []
        for admin in (DRAIN, MAINT, DRAIN, READY):
            self.backend.set_state(self.s1, admin)
            pools.append(self.s1.pool.state)
        self.assertEqual(pools, ["running", "suspended", "running", "running"])
        self.backend.set_state(self.s1, DRAIN)
        self.backend.server_changed(self.s1, DOWN, "x")
        self.assertEqual(self.s1.pool.state, "suspended")

    def test_the_floor_is_kept_in_drain(self) -> None:
        """So that `ready` finds it warm; in MAINT idle connections go at once, and those in use when they are done."""
        bench = PoolBench(resume=False, min_conn=2)
        one = Server("be", model.Server(name="s1", place=PLACE, host="127.0.0.1"), bench.pool, 0.0)
        backend = Backend(model.Backend(name="be", place=PLACE), [one], lambda: 0.0, lambda level, text: None)
        backend.start()
        bench.answer_all()
        bench.pass_time(5)
        used = bench.borrow()
        backend.set_state(one, DRAIN)
        bench.answer_all()
        bench.use(used)
        bench.pass_time(5)
        self.assertEqual((len(bench.pool.idle), bench.pool.closed), (2, {}))
        used = bench.borrow()
        backend.set_state(one, MAINT)
        self.assertEqual((len(bench.pool.idle), bench.pool.closed), (0, {"server MAINT": 1}))
        bench.use(used)
        self.assertEqual((bench.pool.in_use, sum(bench.pool.closed.values())), (set(), 2))

    def test_after_maint_one_failed_check_is_enough(self) -> None:
        """As HAProxy: it may not take `fall` of them to find out that it came back too early."""
        bench = PoolBench(resume=False)
        checker = Checker(
            self.s1, model.Check(), None, bench.dialer, bench.clock, Limits(), None, 1.0, self.backend.server_changed  # type: ignore[arg-type]
        )  # fmt: skip
        self.backend.checkers.append(checker)
        checker.start()
        for admin in (MAINT, READY):
            self.backend.set_state(self.s1, admin)
        bench.clock.advance(1.0)
        bench.dialer.open[0].fail()
        self.assertEqual(self.s1.state, DOWN)
        checker.stop()
