"""A backend and its queues under any order of events: nobody is forgotten, served twice,
or kept waiting beside a free place.

The servers' pools are no part of it: what is placed is given back by a rule, or at once, within `placed`, as by a
request whose pool opens no connections. The model beside it is no more than who was told what; what has to be true is
said in the invariants.
"""

from __future__ import annotations

import unittest
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import DOWN, DRAIN, MAINT, READY, UP, Server
from reusedproxy.config import model
from tests.fakes import Asks, PoolBench

PLACE = model.Place("test.cfg", 1)
INDEX = st.integers(0, 1000)
NAMES = ("s1", "s2", "s3")


class Request(Asks):
    """Who asks, and what has become of it: "asks", "waits", "served", "ended", "left" or "refused"."""

    def __init__(self, machine: QueueMachine, number: int, bound: Server | None, gives_back: bool) -> None:
        super().__init__()
        self.machine = machine
        self.number = number
        self.bound = bound
        self.gives_back = gives_back
        self.became = "asks"
        self.rank: Any = None

    def placed(self, server: Server) -> None:
        assert self.became in ("asks", "waits"), f"placed, though it {self.became}"
        assert self.queue is None
        assert server.serving, f"placed at a server that is {server.state}"
        assert server.usable or server is self.bound
        assert not server.settings.maxconn or server.served <= server.settings.maxconn
        self.machine.nobody_older_wanted_it(self, server)
        super().placed(server)
        self.server = server
        self.became = "served"
        if self.gives_back:
            self.end()

    def end(self) -> None:
        self.became = "ended"
        self.machine.backend.traffic.scur -= 1
        self.machine.backend.done(self.server)

    def unplaceable(self) -> None:
        assert self.became == "waits"
        super().unplaceable()
        self.became = "refused"
        self.machine.backend.traffic.scur -= 1


class QueueMachine(RuleBasedStateMachine):
    """Three servers, and requests of which some are bound to one of them."""

    @initialize(
        words=st.lists(
            st.fixed_dictionaries(
                {
                    "maxconn": st.sampled_from([1, 1, 2, 3, 0]),
                    "maxqueue": st.sampled_from([0, 0, 1, 2]),
                    "backup": st.sampled_from([False, False, False, True]),
                    "weight": st.sampled_from([1, 1, 1, 2, 0]),
                    "disabled": st.sampled_from([False, False, False, True]),
                }
            ),
            min_size=3,
            max_size=3,
        ),
        ramp=st.booleans(),
        allbackups=st.booleans(),
    )
    def begin(self, words: list[dict[str, Any]], ramp: bool, allbackups: bool) -> None:
        self.ramp = ramp
        self.servers = []
        for name, said in zip(NAMES, words, strict=True):
            line = model.Server(name=name, place=PLACE, host="127.0.0.1", minconn=int(ramp), **said)
            self.servers.append(Server("be", line, PoolBench(resume=False).pool, 0.0))
        self.said: list[str] = []
        self.backend = Backend(
            model.Backend(name="be", place=PLACE, allbackups=allbackups, fullconn=6),
            self.servers,
            lambda: 0.0,
            lambda level, text: self.said.append(text),
        )
        self.requests: list[Request] = []
        #: A reload has replaced it: its servers follow others, and come back no more.
        self.replaced = False

    # What clients do.

    @rule(
        bound=st.lists(st.sampled_from([None, None, *range(3)]), min_size=1, max_size=6),
        gives_back=st.booleans(),
        priority=st.tuples(st.sampled_from([0, 0, -1, 1]), st.sampled_from([0, 0, -5, 5])),
    )
    def choose(self, bound: list[int | None], gives_back: bool, priority: tuple[int, int]) -> None:
        for number in bound:
            self.ask(None if number is None else self.servers[number], gives_back, priority)

    def ask(self, bound: Server | None, gives_back: bool, priority: tuple[int, int] = (0, 0)) -> None:
        request = Request(self, len(self.requests), bound, gives_back)
        request.priority = priority
        self.requests.append(request)
        self.backend.traffic.scur += 1
        waiting = len(bound.queue) if bound is not None else 0
        taken = self.backend.choose(request, bound=bound)
        if request.queue is not None:
            request.rank = request.queue.waiting[request].rank
        if request.became == "asks":
            request.became = "waits" if taken else "refused"
            if not taken:
                self.backend.traffic.scur -= 1
                assert not any(self.chosen())
        if bound is not None and bound.serving and request.queue is self.backend.queue:
            assert 0 < bound.settings.maxqueue <= waiting, "not in its server's queue, though that had room"

    @precondition(lambda self: self.having("waits"))
    @rule(index=INDEX)
    def leave(self, index: int) -> None:
        request = self.one("waits", index)
        assert request.queue is not None
        request.queue.leave(request)
        request.became = "left"
        self.backend.traffic.scur -= 1

    @precondition(lambda self: self.having("served"))
    @rule(indices=st.lists(INDEX, min_size=1, max_size=4))
    def done(self, indices: list[int]) -> None:
        for index in indices:
            if self.having("served"):
                self.one("served", index).end()

    # What becomes of servers.

    @precondition(lambda self: not self.replaced)
    @rule(number=st.integers(0, 2), health=st.sampled_from([UP, DOWN]))
    def check(self, number: int, health: str) -> None:
        server = self.servers[number]
        if server.state == MAINT or server.health == health:
            return  # as its checker
        waiting, shared, self.said = len(server.queue), len(self.backend.queue), []
        before: list[Request] = [*self.backend.queue.waiting]  # type: ignore[list-item]
        self.backend.server_changed(server, health, "x")
        if health == DOWN:
            assert f" {waiting} requeued, 0 remaining in queue." in self.said[0], self.said
        elif not self.ramp and not any(each.gives_back for each in before):
            taken = shared - len(self.backend.queue)
            assert f" {taken} sessions requeued, {waiting} total in queue." in self.said[0], (self.said, taken)

    @precondition(lambda self: not self.replaced)
    @rule(number=st.integers(0, 2), admin=st.sampled_from([READY, READY, DRAIN, MAINT]))
    def order(self, number: int, admin: str) -> None:
        self.backend.set_state(self.servers[number], admin)

    @rule(number=st.integers(0, 2), admin=st.sampled_from([DRAIN, MAINT]), asked=st.booleans())
    def reload(self, number: int, admin: str, asked: bool) -> None:
        self.replaced = True
        server = self.servers[number]
        successor = Server("be", server.settings, server.pool, 0.0)
        successor.administer(admin, 0.0)
        self.backend.follow(server, successor)
        if asked:
            self.ask(None, False)
        self.backend.server_replaced(server)

    # What is true at every moment.

    @invariant()
    def each_waiter_is_in_one_queue_and_knows_which(self) -> None:
        if not hasattr(self, "backend"):
            return
        queues = [self.backend.queue, *(server.queue for server in self.servers)]
        held = [asks for queue in queues for asks in queue.waiting]
        assert len(held) == len(set(held))
        assert set(held) == set(self.having("waits"))
        for queue in queues:
            assert all(asks.queue is queue for asks in queue.waiting)
            ranks = [wait.rank for wait in queue.waiting.values()]
            assert not ranks or queue.first == min(ranks)
            assert ranks == [asks.rank for asks in queue.waiting], "a place in the queue is kept"
        for request in self.requests:
            assert request.became == "waits" or request.queue is None
            assert len(request.servers) + request.refused <= 1

    @invariant()
    def only_those_who_are_bound_wait_at_a_server_that_may_serve_them(self) -> None:
        if not hasattr(self, "backend"):
            return
        for server in self.servers:
            assert not server.queue.waiting or server.serving
            assert all(asks.bound is server for asks in server.queue.waiting)
            assert not server.settings.maxqueue or len(server.queue) <= server.settings.maxqueue

    @invariant()
    def no_server_has_more_than_it_may(self) -> None:
        if not hasattr(self, "backend"):
            return
        for server in self.servers:
            assert server.served == server.traffic.scur == sum(each.server is server for each in self.having("served"))
            assert not server.settings.maxconn or server.served <= server.settings.maxconn
        assert self.backend.traffic.scur == len(self.having("waits")) + len(self.having("served"))

    @invariant()
    def nobody_waits_beside_a_free_place(self) -> None:
        if not hasattr(self, "backend"):
            return
        if self.ramp:
            self.backend._set_limits()
        for server in self.servers:
            assert not server.queue.waiting or server.full
        if self.backend.queue.waiting:
            assert all(server.full for server in self.chosen())
            assert self.chosen() or not self.replaced, "it waits for a server that cannot come"

    def teardown(self) -> None:
        """All servers come back, all requests end: nobody is left, and each has been told once."""
        if not hasattr(self, "backend"):
            return
        if not self.replaced:
            for server in self.servers:
                self.backend.set_state(server, READY)
                if server.health == DOWN:
                    self.backend.server_changed(server, UP, "x")
        while served := self.having("served"):
            served[0].end()
        if any(self.chosen()):
            assert not self.having("waits")
        for request in self.requests:
            ends = {"ended": (1, 0), "left": (0, 0), "waits": (0, 0)}
            assert request.became == "refused" or (len(request.servers), request.refused) == ends[request.became]
        assert all(server.served == 0 for server in self.servers)

    # Helpers.

    def nobody_older_wanted_it(self, request: Request, server: Server) -> None:
        """Of those who waited and could have had this place; and none of a better class, nor one that counts as
        older."""
        if request.became != "waits":
            return
        older = [*server.queue.waiting]
        if server in self.chosen():
            older += self.backend.queue.waiting
        assert all(asks.rank > request.rank for asks in older), "somebody has waited longer"
        ranked = [asks for asks in older if asks.priority == request.priority]
        assert all(asks.number > request.number for asks in ranked)

    def chosen(self) -> list[Server]:
        """Those that are chosen among."""
        return self.backend._active

    def having(self, became: str) -> list[Request]:
        return [request for request in self.requests if request.became == became]

    def one(self, became: str, index: int) -> Request:
        found = self.having(became)
        return found[index % len(found)]


class QueueMachineTests(QueueMachine.TestCase):  # type: ignore[misc, valid-type]
    """Hypothesis looks for an order of events that breaks a promise."""

    settings = settings(
        max_examples=300,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


assert issubclass(QueueMachineTests, unittest.TestCase)
