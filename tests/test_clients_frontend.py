"""A frontend bounds how many clients there are, and lets them go when the proxy stops."""

from __future__ import annotations

import errno
import socket
from typing import Any
from unittest.mock import Mock

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.clients.connection import BUSY, ClientConnection
from reusedproxy.clients.connection_limit import ConnectionLimit
from reusedproxy.clients.frontend import Frontend
from reusedproxy.config import model
from reusedproxy.exchanges.own_answers import answer
from reusedproxy.exchanges.serving import Made
from reusedproxy.measures.traffic import Traffic
from reusedproxy.net.binding import bind_socket
from reusedproxy.net.listener import PAUSED, Listener
from reusedproxy.rules.rule_set import Steps
from reusedproxy.wire.heads import RequestHead
from tests.clientfakes import GET, OK, PLACE, World
from tests.ports import free_port
from tests.test_clients_gate import gate
from tests.wire import Far, Loop, scratch


class BoundCase(SynchronousTestCase):
    """A frontend over real sockets."""

    #: That of its listeners; 0: one that the kernel chooses.
    port = 0

    def world(self, *, binds: tuple[int, ...] = (0,), **settings: Any) -> World:
        self.loop = loop = Loop(self)
        addresses = [
            model.ListenAddress("tcp", host=f"127.0.0.{number + 1}", port=self.port) for number in range(len(binds))
        ]
        made = tuple(model.Bind(PLACE, *each) for each in zip(addresses, ("",) * 9, binds, strict=False))
        self.made = world = World(self, frontend={"binds": made, **settings.pop("frontend", {})}, **settings)
        world.frontend._poller = loop.poller
        world.frontend.listeners.clear()
        self.listeners: list[Listener] = []
        for bind in made:
            listener = Listener(loop.poller, world.deadlines, bind, bind_socket(bind, 10), self.fail)
            self.listeners.append(listener)
            world.frontend.listen(listener)
        return world

    def clients(self, count: int, listener: int = 0) -> list[Far]:
        made = [self.loop.connect((f"127.0.0.{listener + 1}", self.listeners[listener].port)) for _ in range(count)]
        self.loop.pump()
        return made

    def succeed(self, maxconn: int) -> Frontend:
        """What a reload does: another frontend takes the listener over, the process's bound may be another."""
        world, old = self.made, self.made.frontend
        world.frontend = successor = Frontend(
            old.settings, world.backend, self.loop.poller, world.deadlines, world.places, old.limits, world._announce
        )
        old.stop(dict.fromkeys(self.listeners, successor))
        world.places.maxconn = maxconn
        for listener in self.listeners:
            successor.listen(listener)
        return successor

    def half_answered(self) -> Far:
        """Returns a client that has got the head of its answer, and half of the body: b"12" of b"1234"."""
        (client,) = self.clients(1)
        client.send(GET)
        self.loop.pump()
        self.made.server.connect()
        self.made.server.busy[0].feed(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n12")
        self.loop.pump()
        return client

    def held(self) -> list[int]:
        self.loop.pump()
        return [listener.connections for listener in self.listeners]

    def end(self) -> None:
        self.made.frontend.stop()
        self.made.advance(1)
        self.loop.pump()
        self.assertEqual([listener.connections for listener in self.listeners], [0] * len(self.listeners))
        self.made.check_rest()

    def alerts(self) -> list[str]:
        return [text for level, text in self.made.announced if level == "alert"]


class SwitchTests(BoundCase):
    """Orders of the runtime API: to accept nobody for now, or for good."""

    def setUp(self) -> None:
        super().setUp()
        self.port = free_port()

    def refused(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.listeners[0].port)) == errno.ECONNREFUSED

    def test_a_disabled_one_refuses_clients_until_it_is_enabled(self) -> None:
        """Those who are there are served on, and their end opens nothing."""
        frontend = self.world(frontend={"maxconn": 2}).frontend
        clients = self.clients(2)
        self.assertTrue(frontend.full)
        self.assertTrue(frontend.disable())
        self.assertTrue(self.refused())
        clients.pop().drop()
        self.assertEqual(self.held(), [1])
        self.assertTrue(frontend.disabled)
        self.assertTrue(self.refused())
        self.assertTrue(frontend.enable())
        self.clients(1)
        self.assertEqual(self.held(), [2])
        self.assertEqual(self.listeners[0].state, PAUSED)
        said = [text for level, text in self.made.announced if level == "warning"]
        self.assertEqual(said, ["Paused frontend fe.", "Resumed frontend fe."])
        self.end()

    def test_one_that_is_full_stays_so_when_it_is_enabled(self) -> None:
        frontend = self.world(frontend={"maxconn": 1}).frontend
        self.clients(1)
        frontend.disable()
        frontend.enable()
        self.assertEqual(self.listeners[0].state, PAUSED)
        self.assertFalse(self.refused())  # it waits
        self.end()

    def test_a_reload_enables_it(self) -> None:
        old = self.world().frontend
        old.disable()
        successor = self.succeed(9)
        self.assertTrue(old.stopped)
        self.clients(1)
        self.assertEqual(self.held(), [1])
        self.assertFalse(successor.disabled)
        self.end()

    def test_one_whose_port_was_lost_keeps_the_limits_when_it_is_enabled(self) -> None:
        """Another program has got it before the reload."""
        self.world().frontend.disable()
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", self.listeners[0].port))
            other.listen()
            self.assertRaises(OSError, self.succeed, 9)
            self.assertFalse(self.made.frontend.enable())
            self.assertTrue(self.made.frontend.disabled)
        self.assertTrue(self.made.frontend.enable())
        for frontend in self.made.places.frontends:  # the clients of others are as many as the process may have
            frontend.fill()
        self.assertEqual(self.listeners[0].state, PAUSED)
        self.end()

    def test_one_that_is_shut_down_lets_its_clients_finish(self) -> None:
        frontend = self.world().frontend
        client = self.half_answered()
        frontend.shut_down()
        self.assertTrue(self.refused())
        self.made.server.busy[0].feed(b"34")
        self.loop.pump()
        self.assertTrue(client.received.endswith(b"1234"))
        self.assertEqual((self.held(), frontend.listeners), ([0], []))


class BoundTests(BoundCase):
    """`maxconn` of the frontend, of a bind and of the process."""

    def test_the_frontends(self) -> None:
        """So many are served; the others wait in the kernel, and come in one by one as room is made."""
        self.world(frontend={"maxconn": 3})
        clients = self.clients(5)
        self.assertEqual(self.held(), [3])
        self.assertEqual(self.listeners[0].state, "paused")
        clients[0].drop()
        self.loop.until(lambda: self.made.frontend.connections_total == 4)
        self.assertEqual(self.held(), [3])
        for client in clients[1:4]:
            client.drop()
        self.loop.until(lambda: self.held() == [1])
        self.assertEqual(self.listeners[0].state, "listening")
        self.end()

    def test_said_once(self) -> None:
        """However often it is reached again, until a minute has passed."""
        world = self.world(frontend={"maxconn": 1})
        for _ in range(3):
            (client,) = self.clients(1)
            client.drop()
            self.loop.until(lambda: self.held() == [0])
        self.assertEqual(self.alerts(), ["Proxy fe reached its connection limit (maxconn 1)"])
        world.advance(60)
        self.clients(1)
        self.assertEqual(len(self.alerts()), 2)
        self.end()

    def test_a_binds(self) -> None:
        """Only that listener pauses."""
        self.world(binds=(2, 0))
        clients = self.clients(3, 0) + self.clients(3, 1)
        self.assertEqual(self.held(), [2, 3])
        self.assertEqual([listener.state for listener in self.listeners], ["paused", "listening"])
        clients[0].drop()
        self.loop.until(lambda: self.made.frontend.connections_total == 6)
        self.assertEqual(self.held(), [2, 3])
        self.assertEqual(self.alerts(), ["Proxy fe reached the connection limit of its bind 127.0.0.1:0 (maxconn 2)"])
        self.end()

    def test_the_processs(self) -> None:
        """Full is full for all listeners, and room is room for all."""
        self.world(binds=(0, 0), places=4)
        clients = self.clients(2, 0) + self.clients(3, 1)
        self.assertEqual(self.held(), [2, 2])
        self.assertEqual([listener.state for listener in self.listeners], ["paused", "paused"])
        self.assertEqual(self.alerts(), ["Proxy fe reached its connection limit (the process's maxconn 4)"])
        clients[0].drop()
        self.loop.until(lambda: self.held() == [1, 3])
        clients[1].drop()
        self.loop.until(lambda: self.held() == [0, 3])
        self.assertEqual([listener.state for listener in self.listeners], ["listening", "listening"])
        self.end()

    def test_idle_clients_go_on_in_the_successor(self) -> None:
        """Nobody who asks at the moment of a reload is turned away; who is being served goes over after the answer."""
        self.world(places=9)
        old = self.made.frontend
        idle, asked, busy = self.clients(3)
        asked.send(GET)
        self.loop.pump()
        self.made.server.connect()
        self.made.server.answer()
        self.loop.pump()
        busy.send(GET)
        self.loop.pump()
        successor = self.succeed(9)
        self.assertEqual((len(old.connections), len(successor.connections)), (1, 2))
        for client in (idle, asked):
            self.assertEqual(client.end, "")
            client.send(GET)
        self.loop.pump()
        states = [connection.state for connection in successor.connections if isinstance(connection, ClientConnection)]
        self.assertEqual(states, [BUSY, BUSY])
        while self.made.server.dialer.open:
            self.made.server.connect()
        while self.made.server.busy:
            self.made.server.busy[0].feed(OK)
        self.loop.pump()
        self.assertEqual((len(old.connections), len(successor.connections)), (0, 3))
        self.assertNotIn(b"close", busy.received)
        self.end()

    def test_a_client_whose_answer_has_begun_asks_again_behind_it(self) -> None:
        """Its head, which has gone out, told that the connection stays; the next request may be on its way."""
        self.world(places=9)
        old = self.made.frontend
        client = self.half_answered()
        successor = self.succeed(9)
        self.made.server.busy[0].feed(b"34")
        client.send(GET)
        self.loop.pump()
        self.assertEqual((client.end, len(old.connections), len(successor.connections)), ("", 0, 1))
        self.made.server.answer()
        self.loop.pump()
        self.assertEqual(client.received.count(b"HTTP/1.1 200"), 2)
        self.end()

    def test_an_answer_is_not_destroyed_because_its_client_may_not_come_again(self) -> None:
        """It had begun before the reload but one."""
        self.world(places=9)
        client = self.half_answered()
        self.succeed(9)
        successor = self.succeed(9)
        successor.gate = gate("tcp-request connection reject")
        self.made.server.busy[0].feed(b"34")
        self.loop.until(lambda: client.end)
        self.assertEqual((client.end, client.received[-4:]), ("eof", b"1234"))
        self.end()

    def test_an_answer_that_outlives_the_frontend_that_came_next(self) -> None:
        """Which is no more, so that nobody takes the client; its connection ends behind the answer."""
        self.world(places=9)
        old = self.made.frontend
        client = self.half_answered()
        successor = self.succeed(9)
        successor.stop()
        vars(successor).clear()  # `daemon.reloading.former.take_apart`
        self.made.server.busy[0].feed(b"34")
        self.loop.until(lambda: client.end)
        self.assertEqual((client.end, client.received[-4:], old.connections), ("eof", b"1234", set()))
        self.made.frontend = old
        self.end()

    def test_a_client_that_does_not_take_its_answer_goes_over(self) -> None:
        """What it was sent waits in the kernel; its next request is answered there."""
        world = self.world(places=9)
        (client,) = self.clients(1)
        (connection,) = world.frontend.connections
        assert isinstance(connection, ClientConnection)
        connection.pause_writing()
        successor = self.succeed(9)
        self.assertEqual(set(successor.connections), {connection})
        connection.resume_writing()
        client.send(GET)
        self.loop.pump()
        world.server.connect()
        world.server.answer()
        self.loop.pump()
        self.assertEqual(client.received.count(b"HTTP/1.1 200"), 1)
        self.end()

    def test_a_unix_socket_that_lets_in_fewer_lets_go_of_those_who_are_there(self) -> None:
        """By their mode they could not come again; nor do those come in who have waited."""
        for mode, stay in ((0o600, False), (0o666, True)):
            path = str(scratch(self) / "socket")
            address = model.ListenAddress("unix", path=path)
            self.world(binds=(), places=9)
            old = self.made.frontend
            bind = model.Bind(PLACE, address, mode=0o660)
            old.settings = evolve(old.settings, binds=(bind,))
            listener = Listener(self.loop.poller, self.made.deadlines, bind, bind_socket(bind, 10), self.fail)
            self.listeners = [listener]
            old.listen(listener)
            inside = self.loop.connect(path)
            self.loop.pump()
            listener.pause()
            waiting = self.loop.connect(path)
            self.loop.pump()
            successor = Frontend(
                evolve(old.settings, binds=(evolve(bind, mode=mode),)),
                self.made.backend,
                self.loop.poller,
                self.made.deadlines,
                self.made.places,
                old.limits,
                self.made._announce,
            )
            steps = old.stopping({listener: successor})
            next(steps)
            successor.listen(listener)
            for _ in steps:
                pass
            self.loop.pump()
            self.assertEqual([client.end == "" for client in (inside, waiting)], [stay, stay], mode)
            self.assertEqual(listener.connections, 2 if stay else 0)
            self.made.frontend = successor
            self.end()

    def test_clients_from_before_a_reload_count_on(self) -> None:
        """Together with the new ones they may not be more than the bound."""
        self.world(places=3)
        old = self.clients(2)
        for client in old:
            client.send(GET)
        self.loop.pump()
        successor = self.succeed(3)
        self.clients(2)
        self.assertEqual((self.held(), successor.connections_total), ([3], 1))
        self.assertEqual(self.alerts(), ["Proxy fe reached its connection limit (the process's maxconn 3)"])
        old[0].drop()
        self.loop.until(lambda: successor.connections_total == 2)
        self.assertEqual((self.held(), self.made.places.taken), ([3], 3))
        old[1].drop()
        self.loop.until(lambda: self.held() == [2])
        self.assertEqual(self.listeners[0].state, "listening")
        self.end()

    def test_a_reload_that_lowers_the_bound_below_what_is_there(self) -> None:
        """Nobody is sent away, and nobody new comes in until enough have left; all listeners are held to it."""
        self.world(binds=(0, 0), places=9)
        old = self.clients(4)
        for client in old:
            client.send(GET)
        self.loop.pump()
        self.succeed(3)
        self.assertEqual([listener.state for listener in self.listeners], ["paused", "paused"])
        self.clients(1)
        old[0].drop()
        self.loop.until(lambda: self.held() == [3, 0])
        self.assertEqual([listener.state for listener in self.listeners], ["paused", "paused"])
        old[1].drop()
        self.loop.until(lambda: self.made.frontend.connections_total == 1)
        self.assertEqual(self.held(), [3, 0])
        for client in old[2:]:
            client.drop()
        self.loop.until(lambda: self.held() == [1, 0])
        self.end()

    def test_a_reload_that_raises_the_bound(self) -> None:
        """Who waited in the kernel comes in."""
        self.world(places=1)
        (old, _) = self.clients(2)
        old.send(GET)
        self.loop.pump()
        self.assertEqual(self.listeners[0].state, "paused")
        successor = self.succeed(3)
        self.loop.until(lambda: successor.connections_total == 1)
        self.assertEqual((self.held(), successor.maxconn), ([2], 3))
        old.drop()
        self.loop.until(lambda: self.held() == [1])
        self.end()

    def test_a_full_frontend_that_took_over_a_bind(self) -> None:
        """After a reload, a client of the old one makes no room in the new one."""
        world = self.world(binds=(3,))
        old = world.frontend
        (client,) = self.clients(1)
        (listener,) = self.listeners
        world.frontend = successor = Frontend(
            evolve(old.settings, maxconn=1),
            world.backend,
            self.loop.poller,
            world.deadlines,
            ConnectionLimit(1000),
            old.limits,
            world._announce,
        )
        old.stop({listener: successor})
        world.advance(1)
        self.loop.pump()
        self.assertEqual(listener.connections, 0)
        listener.connections += 1
        successor.listen(listener)
        successor.fill()
        world.places.taken += 1
        nobody: Any = Mock(over_tls=False)
        old.connection_gone(nobody, listener)
        self.assertEqual(listener.state, "paused")
        self.assertEqual(client.end, "eof")
        self.end()

    def test_a_full_bind_that_was_taken_over(self) -> None:
        """It stays full over a reload, and its old clients make room in it, also those of a frontend that was full."""
        world = self.world(binds=(2,), frontend={"maxconn": 2})
        old = world.frontend
        clients = self.clients(2)
        clients[0].send(GET)
        clients[1].send(GET)
        self.assertEqual(self.held(), [2])
        (listener,) = self.listeners
        world.frontend = successor = Frontend(
            evolve(old.settings, maxconn=0),
            world.backend,
            self.loop.poller,
            world.deadlines,
            ConnectionLimit(1000),
            old.limits,
            world._announce,
        )
        old.stop({listener: successor})
        successor.listen(listener)
        self.assertEqual(listener.state, "paused")
        clients[0].drop()
        self.loop.until(lambda: listener.connections == 1)
        self.assertEqual(listener.state, "listening")
        clients[1].drop()
        self.loop.until(lambda: listener.connections == 0)
        self.end()

    def test_room_in_the_process_does_not_open_a_full_bind(self) -> None:
        """Each bound is kept by itself."""
        self.world(binds=(1, 0), places=3)
        clients = self.clients(2, 0) + self.clients(3, 1)
        self.assertEqual(self.held(), [1, 2])
        clients[2].drop()
        self.loop.until(lambda: self.made.frontend.connections_total == 4)
        self.assertEqual(self.held(), [1, 2])
        clients[3].drop()
        self.loop.until(lambda: self.held() == [1, 1])
        self.assertEqual([listener.state for listener in self.listeners], ["paused", "listening"])
        self.end()


class StopTests(SynchronousTestCase):
    """The proxy stops: nobody new, and those who are there end well."""

    def test_idle_ones_end_now(self) -> None:
        """Without a word."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer()
        client.take()
        world.frontend.stop()
        self.assertEqual(world.listener.events, ["close"])
        self.assertEqual((client.gone, client.take()), (True, b""))
        world.check_rest()

    def test_those_that_have_just_connected_may_ask_once(self) -> None:
        """Their request is probably on its way; those that say nothing end a second later, without a word."""
        world = World(self, warm=1)
        asks, silent = world.client(), world.client()
        world.frontend.stop()
        asks.send(GET)
        world.server.answer()
        self.assertIn(b"connection: close\r\n", asks.take())
        self.assertTrue(asks.gone)
        world.advance(1)
        self.assertEqual((silent.gone, silent.take()), (True, b""))
        self.assertEqual(world.flags(), [(200, "--")])
        world.check_rest()

    def test_busy_ones_end_after_their_answer(self) -> None:
        """Which says `connection: close`."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET + GET)
        world.frontend.stop()
        world.server.answer()
        self.assertIn(b"connection: close\r\n", client.take())
        client.wire.eof()
        self.assertTrue(client.gone)
        self.assertEqual(len(world.log), 1)
        world.check_rest()

    def test_an_answer_that_has_begun_is_completed(self) -> None:
        """It was not announced, but the connection ends all the same."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        world.frontend.stop()
        world.server.answer(b"cd")
        self.assertTrue(client.take().endswith(b"abcd"))
        self.assertTrue(client.gone)
        world.check_rest()

    def test_a_head_that_is_coming_is_waited_for(self) -> None:
        """It was sent in good faith; `timeout http-request` bounds the wait."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET[:9])
        world.frontend.stop()
        client.send(GET[9:])
        world.server.answer()
        self.assertIn(b"connection: close\r\n", client.take())
        self.assertTrue(client.gone)
        world.check_rest()

    def test_a_head_of_one_who_is_not_admitted_any_more_is_not(self) -> None:
        """Its certificate may be revoked, and such a head prepared: it could be a tunnel without end."""
        for before in (b"", GET):
            world = World(self, warm=1)
            client = world.client()
            if before:
                client.send(before)
                world.server.answer()
                client.take()
            client.send(GET[:9])
            client.connection.finish(admitted=False)
            self.assertTrue(client.take().startswith(b"HTTP/1.1 408 "))
            client.send(GET[9:])
            self.assertEqual(world.server.busy, [])
            client.wire.eof()
            self.assertEqual((client.gone, world.flags()[-1]), (True, (408, "KR")))
            world.check_rest()

    def test_what_is_unsent_to_a_slow_reader_still_goes_out(self) -> None:
        """An idle connection may have an answer on its way."""
        world = World(self, warm=1)
        client = world.client()
        client.wire.stall()
        client.send(GET)
        world.server.answer()
        world.frontend.stop()
        self.assertFalse(client.gone)
        client.wire.go_on()
        self.assertTrue(client.gone)
        world.check_rest()


class ListenerTests(SynchronousTestCase):
    """With `option socket-stats` each listener counts what comes there."""

    def test_it_counts_what_its_frontend_counts(self) -> None:
        world = World(self, warm=1)
        world.listener.traffic = counted = Traffic()
        client = world.client()
        client.send(GET)
        world.server.answer()
        client.send(b"nonsense\r\n\r\n")
        whole = world.frontend.traffic
        self.assertGreater(counted.bin, 0)
        self.assertEqual((counted.bin, counted.bout, counted.ereq), (whole.bin, whole.bout, 1))
        client.wire.eof()
        world.check_rest()

    def test_connections_are_counted_where_they_come_in(self) -> None:
        loop = Loop(self)
        world = World(self)
        world.frontend._poller = loop.poller
        listener: Any = world.listener
        world.listener.traffic = counted = Traffic()
        for _ in range(2):
            near, far = loop.pair()
            listener.connections += 1
            world.frontend.connection_made(near, ("192.0.2.7", 1), listener)
            far.drop()
            loop.pump()
        self.assertEqual((counted.stot, counted.smax, listener.connections), (2, 1, 0))


class PageTests(SynchronousTestCase):
    """What the proxy answers itself."""

    def test_a_page(self) -> None:
        """It needs no server, and is logged as HAProxy logs its own."""
        world = World(self)
        world.frontend.pages.append(Page())
        client = world.client()
        client.send(GET + GET)
        world.advance(0)
        self.assertEqual(client.take(), PAGE * 2)
        self.assertEqual(world.flags(), [(200, "LR")] * 2)
        self.assertEqual(world.server.dialer.dials, [])
        world.check_rest()

    def test_many_at_once(self) -> None:
        """A client that asks for hundreds in one breath gets them all, one a turn; the others' come in between."""
        world = World(self)
        world.frontend.pages.append(Page())
        greedy, other = world.client(), world.client()
        greedy.send(GET * 200 + GET[:9])
        self.assertEqual(greedy.take(), PAGE)
        other.send(GET)
        self.assertEqual(other.take(), PAGE)
        greedy.send(GET[9:])
        for _ in range(2, 201):
            world.advance(0)
            self.assertEqual(greedy.take(), PAGE)
        world.advance(0)
        greedy.wire.pump()
        self.assertEqual(greedy.take(), PAGE)
        world.advance(15)
        self.assertTrue(greedy.gone)
        world.check_rest()

    def test_a_page_that_closes(self) -> None:
        """For a client that wishes it, and when a body is still coming."""
        for request in (
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            b"GET / HTTP/1.0\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123",
        ):
            world = World(self)
            world.frontend.pages.append(Page())
            client = world.client()
            client.send(request)
            self.assertEqual(client.take(), PAGE.replace(b"plain\r\n", b"plain\r\nconnection: close\r\n"))
            client.wire.eof()
            self.assertTrue(client.gone)
            world.check_rest()


PAGE = answer(200, b"page", "text/plain", close=False)


class Page:
    """Has one word to say."""

    rules: Steps = []
    admin = ()
    answer_rules = None
    users = ()

    def wants(self, target: bytes) -> bool:
        return True

    def answer(self, head: RequestHead, admin: bool) -> Made:
        return Made(200, "text/plain", iter([b"page"]))

    def obey(self, head: RequestHead, form: bytes | None, close: bool, proven: bool, sender: str) -> tuple[int, bytes]:
        raise NotImplementedError


class LeaveTests(SynchronousTestCase):
    """Another process goes on at its listeners: each client is told by an answer, and none loses a request."""

    def test_the_next_answer_says_so(self) -> None:
        world = World(self, warm=1)
        idle, busy = world.client(), world.client()
        busy.send(GET)
        world.frontend.leave(10)
        world.server.answer()
        idle.send(GET)
        world.server.answer()
        for client in (busy, idle):
            self.assertIn(b"connection: close\r\n", client.take())
            self.assertTrue(client.gone)
        world.check_rest()

    def test_one_whose_answer_has_begun_may_ask_again(self) -> None:
        """It could not be told by that answer, and would lose its next request."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        world.frontend.leave(10)
        world.frontend.finish_idle()
        world.server.answer(b"cd")
        self.assertNotIn(b"connection", client.take())
        world.advance(9)
        client.send(GET)
        world.server.answer()
        self.assertIn(b"connection: close\r\n", client.take())
        self.assertTrue(client.gone)
        world.check_rest()

    def test_it_has_some_seconds_for_that(self) -> None:
        """Also if `timeout http-keep-alive` is longer."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        world.frontend.leave(10)
        world.advance(15)
        world.server.answer(b"cd")
        client.take()
        world.advance(9)
        self.assertFalse(client.gone)
        world.advance(2)
        self.assertEqual((client.gone, client.take()), (True, b""))
        world.check_rest()

    def test_requests_behind_an_answer_that_has_begun_are_answered(self) -> None:
        """The first of them with the word that there is no other."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        client.send(GET + GET)
        world.frontend.leave(10)
        world.server.answer(b"cd")
        world.server.answer()
        self.assertEqual(client.take().count(b"connection: close\r\n"), 1)
        client.wire.eof()
        self.assertTrue(client.gone)
        self.assertEqual(len(world.log), 2)
        world.check_rest()

    def test_idle_ones_are_closed_in_the_end(self) -> None:
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer()
        client.take()
        world.frontend.leave(10)
        world.advance(10)
        self.assertFalse(client.gone)
        world.frontend.finish_idle()
        self.assertTrue(client.gone)
        world.check_rest()
