"""Before a process takes another one's place (`--replace`), the servers are tried that will be shown another
certificate."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.tls import ServerTLS
from reusedproxy.daemon.reloading.trial import PATIENCE, TICK, Refusal
from reusedproxy.daemon.replacing.trial import ReplacementTrial, shown_at
from reusedproxy.daemon.service import ProxyService
from reusedproxy.net.tls.words import ACCEPTED, MISTRUSTED, UNSEEN
from tests.fakes import PoolBench
from tests.services import Reactor

ALERT = "tlsv1 alert unknown ca"
HANDSHAKE = "TLS handshake"
FAILED = f"{HANDSHAKE} failed: {ALERT}"


class World:
    """Servers whose pools are those of benches on one clock; `benches` by name."""

    def __init__(self, **floors: int) -> None:
        self.benches = {name: PoolBench(secure=True, min_conn=floor) for name, floor in floors.items()}
        self.clock = next(iter(self.benches.values())).clock
        self.told: list[Refusal | None] = []
        self.shows = dict.fromkeys(floors, "new")
        self.there: dict[str, Any] = {
            name: {"shows": "old", "taken": True, "refused": False, "at": "192.0.2.1:443"} for name in floors
        }

    def line(self, name: str) -> Any:
        context = SimpleNamespace(settings=ServerTLS(crt="c.pem"), shown_digest=self.shows[name])
        server = SimpleNamespace(serving=True, target="192.0.2.1:443")
        return SimpleNamespace(pool=self.benches[name].pool, context=context, server=server)

    def begin(self, there: object = None) -> None:
        proxy: Any = SimpleNamespace(
            lines={name: self.line(name) for name in self.benches},
            configuration=SimpleNamespace(global_=SimpleNamespace(pool_connect_rate=200.0)),
        )
        said = {"servers": self.there} if there is None else there
        self.trial = ReplacementTrial(said, proxy, self.clock, self.told.append)
        self.trial.look()

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK)):
            for bench in {id(each.clock): each for each in self.benches.values()}.values():
                bench.clock.advance(TICK)

    def dial(self, name: str) -> Any:
        return self.benches[name].dialer.open[0]

    def refuse(self, name: str, certificate: str = ACCEPTED) -> None:
        while self.benches[name].dialer.open:
            self.dial(name).fail(ALERT, HANDSHAKE, certificate=certificate)


class TrialTests(SynchronousTestCase):
    def test_nothing_is_dialled_where_nothing_has_changed(self) -> None:
        """Nor where the old process says nothing of it, as one of an older version."""
        for change in ({"shows": "new"}, {"shows": None}, {"at": "192.0.2.9:443"}, {"taken": False}):
            world = World(a=0)
            world.there["a"].update(change)
            world.begin()
            self.assertEqual((world.told, world.benches["a"].dialer.dials), ([None], []), change)
        nonsense: tuple[object, ...] = ({}, {"servers": []}, [], "x", {"servers": {"a": 7}})
        for there in nonsense:
            world = World(a=0)
            world.begin(there)
            self.assertEqual((world.told, world.benches["a"].dialer.dials), ([None], []))

    def test_a_server_that_refuses_ours_and_takes_the_old_one_is_a_refusal(self) -> None:
        """With a floor or without, at once."""
        for floor in (0, 2):
            world = World(a=floor)
            world.begin()
            self.assertEqual(world.told, [])
            world.refuse("a")
            world.pass_time(TICK)
            self.assertEqual(world.told, [Refusal("a", FAILED)])

    def test_one_that_takes_it_is_none_when_it_has_stood_for_a_moment(self) -> None:
        """In TLS 1.3 a server refuses it behind the handshake."""
        for floor in (0, 1):
            world = World(a=floor)
            world.begin()
            world.dial("a").succeed()
            world.pass_time(0.1)
            self.assertEqual(world.told, [])
            world.pass_time(0.5)
            self.assertEqual(world.told, [None])
            self.assertEqual(world.benches["a"].pool.in_use, set())

    def test_what_is_not_on_account_of_ours_refuses_nothing(self) -> None:
        """A server that we do not accept, or that ends before it has shown anything; or that is not there."""
        for certificate in (MISTRUSTED, UNSEEN):
            world = World(a=0)
            world.begin()
            world.refuse("a", certificate)
            world.pass_time(TICK)
            self.assertEqual(world.told, [None], certificate)
        world = World(a=0)
        world.begin()
        world.dial("a").fail()
        world.pass_time(TICK)
        self.assertEqual(world.told, [None])

    def test_one_that_had_refused_the_old_certificate_has_the_new_one_taken(self) -> None:
        """Whoever else refuses it: that one needs it."""
        for takes in (True, False):
            world = World(a=0, b=0)
            world.there["b"].update(taken=False, refused=True)
            world.begin()
            world.refuse("a")
            world.pass_time(TICK)
            self.assertEqual(world.told, [])
            if takes:
                world.dial("b").succeed()
            else:
                world.refuse("b")
            world.pass_time(1)
            self.assertEqual(world.told, [None if takes else Refusal("a", FAILED)])

    def test_a_server_that_is_silent_is_not_waited_for(self) -> None:
        world = World(a=0)
        world.begin()
        world.pass_time(PATIENCE - TICK)
        self.assertEqual(world.told, [])
        world.pass_time(2 * TICK)
        self.assertEqual((world.told, world.benches["a"].dialer.open), ([None], []))


class SaidTests(SynchronousTestCase):
    """What the old process says."""

    def said(self, *, handshakes: int = 1, trouble: str = "", ending: bool = False, **settings: Any) -> Any:
        context = mock.Mock(shown_digest="d", settings=ServerTLS(crt="c.pem", **settings))
        context.is_ending.return_value = ending
        pool = SimpleNamespace(context=context, trouble=trouble, counters=SimpleNamespace(handshakes=handshakes))
        server: Any = SimpleNamespace(pool=pool)
        return shown_at(server)

    def test_whether_a_server_takes_what_it_is_shown(self) -> None:
        self.assertEqual(self.said(), {"shows": "d", "taken": True, "refused": False})
        self.assertFalse(self.said(handshakes=0)["taken"])
        self.assertFalse(self.said(ending=True)["taken"])
        said = self.said(trouble=FAILED)
        self.assertEqual((said["taken"], said["refused"]), (False, True))
        self.assertEqual(self.said(by_request=("crt",)), {})
        server: Any = SimpleNamespace(pool=SimpleNamespace(context=None))
        self.assertEqual(shown_at(server), {})


class ServiceTests(SynchronousTestCase):
    """What the new process makes of it."""

    def test_a_refusal_leaves_the_place_to_the_other_process(self) -> None:
        service = ProxyService(Reactor(), ["x.cfg"])
        said: list[str] = []
        self.patch(service, "announce", lambda level, text, section="": said.append(text))
        statuses: list[int] = []
        service.end_with = statuses.append
        waited: list[Any] = []
        self.patch(service, "_await_floors", waited.append)
        settings = SimpleNamespace(place="a.cfg:9", tls=ServerTLS(crt="/c.pem"))
        proxy: Any = SimpleNamespace(lines={"b/s": SimpleNamespace(server=SimpleNamespace(settings=settings))})
        service.state = "running"
        service._takeover = takeover = mock.Mock(pid=7, is_alone=False)
        service._tried(proxy, None)
        self.assertEqual((waited, said), ([proxy], []))
        takeover.is_alone = True  # it has died: ours is better than nobody's
        service._tried(proxy, Refusal("b/s", "x"))
        self.assertEqual((waited, said, statuses), ([proxy, proxy], [], []))
        takeover.is_alone = False
        service._tried(proxy, Refusal("b/s", "x"))
        takeover.give_up.assert_called_once()
        self.assertEqual(statuses, [1])
        self.assertEqual(len(waited), 2)
        text = "a.cfg:9: server b/s does not accept what has changed (it is shown the certificate in /c.pem): x"
        self.assertEqual(said, [f"process 7 goes on, and this one ends: {text}"])
