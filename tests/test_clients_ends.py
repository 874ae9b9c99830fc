"""Either side may end at any moment: one line in the log each time, the right flags, and nothing leaked."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.clients.connection import ANSWERS_AT_ONCE, GONE, ClientConnection
from reusedproxy.exchanges.attempt import HELD_MAX, Attempt
from reusedproxy.exchanges.exchange import Exchange
from reusedproxy.exchanges.failures import Failures
from reusedproxy.exchanges.own_answers import ERRORS, KEEPING
from reusedproxy.net.transport import HIGH_WATER, Transport
from reusedproxy.sessions.termination import STOPPED
from tests.clientfakes import GET, OK, POST, Client, FarServer, World
from tests.wire import Loop

BEGUN = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"


class Moment:
    """A world brought to one moment of a request's life."""

    def __init__(self, test: SynchronousTestCase, name: str, backend: dict[str, Any] | None = None) -> None:
        full = name in ("in the queue", "in the queue with half a body")
        waits = name in ("waiting for a connection", "waiting for a connection with half a body")
        self.world = world = World(test, warm=0 if waits else 1, maxconn=1 if full else 0, backend=backend)
        self.other = world.client() if full else None
        if self.other:
            self.other.send(GET)
        self.client = world.client()
        getattr(self, "_" + name.replace(" ", "_"))()

    def _before_anything(self) -> None:
        pass

    def _mid_head(self) -> None:
        self.client.send(GET[:9])

    def _in_the_queue(self) -> None:
        self.client.send(GET)

    def _in_the_queue_with_half_a_body(self) -> None:
        self.client.send(POST + b"bo")

    def _waiting_for_a_connection(self) -> None:
        self.client.send(GET)

    def _waiting_for_a_connection_with_half_a_body(self) -> None:
        self.client.send(POST + b"bo")

    def _mid_body(self) -> None:
        self.client.send(POST + b"bo")

    def _sent(self) -> None:
        self.client.send(GET)

    def _sent_with_another_waiting(self) -> None:
        self.client.send(GET + GET)

    def _mid_response_head(self) -> None:
        self.client.send(GET)
        self.world.server.answer(BEGUN[:12])

    def _mid_response(self) -> None:
        self.client.send(GET)
        self.world.server.answer(BEGUN)

    def _mid_response_while_it_takes_nothing(self) -> None:
        self.client.send(GET)
        self.client.wire.stall()
        self.world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + bytes(HIGH_WATER + 1))

    def _after(self) -> None:
        self.client.send(GET)
        self.world.server.answer()
        self.client.take()

    def _after_with_half_a_head(self) -> None:
        self._after()
        self.client.send(GET[:9])

    def finish(self) -> None:
        """Whoever else was there gets an answer, on a connection old or new."""
        if self.other:
            if not self.world.server.busy:
                self.world.server.connect()
            self.world.server.answer()
        self.world.check_rest()


#: At each moment: what the log says when the client is reset, and when it only ends its side.
CLIENT_ENDS = {
    "before anything": ([(400, "CR")], [(400, "CR")]),
    "mid head": ([(400, "CR")], [(400, "CR")]),
    "in the queue": ([(-1, "CQ")], [(-1, "CQ")]),
    "in the queue with half a body": ([(-1, "CD")], [(-1, "CD")]),
    "waiting for a connection": ([(-1, "CC")], [(-1, "CC")]),
    "waiting for a connection with half a body": ([(-1, "CD")], [(-1, "CD")]),
    "mid body": ([(-1, "CD")], [(-1, "CD")]),
    "sent": ([(-1, "CH")], [(400, "CH")]),
    "sent with another waiting": ([(-1, "CH")], [(400, "CH")]),
    "mid response head": ([(-1, "CH")], [(400, "CH")]),
    "mid response": ([(200, "CD")], [(200, "CD")]),
    "mid response while it takes nothing": ([(200, "CD")], [(200, "CD")]),
    "after": ([(200, "--")], [(200, "--")]),
    "after with half a head": ([(200, "--"), (400, "CR")], [(200, "--"), (400, "CR")]),
}


#: What completes the answer to a request that a server has.
RESTS = {
    "sent": OK,
    "sent with another waiting": OK,
    "mid response head": BEGUN[12:] + b"defghi",
    "mid response": b"defghi",
    "mid response while it takes nothing": bytes(900_000 - HIGH_WATER - 1),
}


class ClientEndTests(SynchronousTestCase):
    """The client goes, at every moment."""

    def test_reset(self) -> None:
        """Its exchange ends at once, and the server's connection with it."""
        for name, (expected, _) in CLIENT_ENDS.items():
            if "half a body" in name and "mid" not in name:
                expected = [(-1, "CQ" if "queue" in name else "CC")]
            moment = Moment(self, name)
            moment.client.wire.reset()
            self.assertEqual(moment.world.flags(), expected, name)
            self.assertTrue(moment.client.gone, name)
            moment.finish()

    def test_end_of_its_side(self) -> None:
        """With `option abortonclose` its exchange ends at once, too, and the server's connection with it."""
        for name, (_, expected) in CLIENT_ENDS.items():
            if "half a body" in name and "mid" not in name:
                expected = [(-1, "CQ" if "queue" in name else "CC")]
            moment = Moment(self, name, {"abortonclose": True})
            moment.client.wire.eof()
            self.assertEqual(moment.world.flags(), expected, name)
            self.assertTrue(moment.client.gone, name)
            moment.finish()

    def test_its_place_is_given_to_the_next(self) -> None:
        world = World(self, warm=1, maxconn=1, backend={"abortonclose": True})
        client, other = world.client(), world.client()
        client.send(GET)
        other.send(GET)
        client.wire.eof()
        self.assertTrue(client.take().startswith(b"HTTP/1.1 400 "))
        world.server.connect()
        world.server.answer()
        self.assertTrue(other.take().endswith(b"ok"))
        world.check_rest()

    def test_end_of_its_side_without_abortonclose(self) -> None:
        """HAProxy's manual: `no option abortonclose` serves it, because it may have closed its output only."""
        for full in (True, False):
            world = World(self, warm=full, maxconn=full, backend={"abortonclose": False})
            other = world.client()
            if full:
                other.send(GET)
            client = world.client()
            client.send(GET)
            client.wire.eof()
            self.assertFalse(client.gone)
            world.server.answer() if full else world.server.connect()
            world.server.answer()
            self.assertTrue(client.take().endswith(b"ok"))
            self.assertTrue(client.gone)
            self.assertEqual(set(world.flags()), {(200, "--")})
            world.check_rest()

    def test_what_a_server_has_goes_on_unless_abortonclose_is_written(self) -> None:
        for abortonclose, (name, rest) in product((None, False), RESTS.items()):
            moment = Moment(self, name, {"abortonclose": abortonclose})
            moment.client.wire.eof()
            moment.client.wire.go_on()
            for _ in range(10):
                if moment.world.server.busy:
                    moment.world.server.answer(rest)
            self.assertEqual(set(moment.world.flags()), {(200, "--")}, name)
            self.assertTrue(moment.client.gone, name)
            moment.finish()

    def test_what_waits_is_dropped_unless_abortonclose_is_negated(self) -> None:
        for name in ("in the queue", "waiting for a connection"):
            moment = Moment(self, name)
            moment.client.wire.eof()
            self.assertEqual(moment.world.flags(), CLIENT_ENDS[name][1], name)
            moment.finish()

    def test_end_in_a_body_without_abortonclose(self) -> None:
        """What can never be complete is no request."""
        world = World(self, backend={"abortonclose": False})
        client = world.client()
        client.send(POST + b"bo")
        client.wire.eof()
        self.assertEqual((world.flags(), client.gone), ([(-1, "CC")], True))
        world.server.connect()
        world.check_rest()

    def test_a_dial_that_succeeds_too_late_is_not_wasted(self) -> None:
        """The connection that the client wanted becomes idle."""
        world = World(self)
        client = world.client()
        client.send(GET)
        client.wire.reset()
        world.server.connect()
        self.assertEqual(len(world.server.pool.idle), 1)
        world.check_rest()

    def test_the_client_goes_with_the_last_bytes(self) -> None:
        """Writing them fails at once: still one end, and nobody else is given that connection."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer(BEGUN)
        wire = client.wire
        wire.write = lambda data: wire.reset()
        world.server.answer(b"defghi")
        self.assertEqual(world.flags(), [(200, "CD")])
        self.assertEqual(world.server.pool.idle, [])
        world.check_rest()

    def test_a_log_that_fails_costs_nobody_an_answer(self) -> None:
        """A full disk is not the client's affair."""

        def full(exchange: Exchange) -> None:
            raise OSError("disk full")

        world = World(self, warm=1)
        world.frontend.log = full
        client = world.client()
        for _ in range(2):
            client.send(GET)
            world.server.answer()
            self.assertEqual(client.take(), OK)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 2)
        world.check_rest()

    def test_the_daemon_does_not_wait_any_more(self) -> None:
        """Neither side's fault: K in the log (HAProxy's manual, 8.5), and nobody's abort."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        client.wire.abort(STOPPED)
        self.assertEqual(world.flags(), [(-1, "KH")])
        self.assertEqual((world.backend.traffic.cli_abrt, world.backend.traffic.srv_abrt), (0, 0))
        world.check_rest()

    def test_aborts_are_counted(self) -> None:
        """At the backend and, once one was chosen, at the server."""
        for name, (of_backend, of_server) in {"sent": (1, 1), "in the queue": (1, 0), "after": (0, 0)}.items():
            moment = Moment(self, name)
            moment.client.wire.reset()
            world = moment.world
            self.assertEqual(world.backend.traffic.cli_abrt, of_backend, name)
            self.assertEqual(world.server.server.traffic.cli_abrt, of_server, name)
            moment.finish()


#: At each moment at which a request is on a connection: what the server's end leads to. The first attempt was not on a
#: connection that had been idle, so that nothing is tried again.
SERVER_ENDS = {
    "mid body": (502, "SH"),
    "sent": (502, "SH"),
    "sent with another waiting": (502, "SH"),
    "mid response head": (502, "SH"),
    "mid response": (200, "SD"),
    "mid response while it takes nothing": (200, "SD"),
}


class ServerEndTests(SynchronousTestCase):
    """The server goes, at every moment."""

    def test_reset_or_closed(self) -> None:
        """502 while no answer has begun, the end of the client's connection when one has."""
        for how in ("reset", "eof"):
            for name, (status, flags) in SERVER_ENDS.items():
                moment = Moment(self, name)
                world, client = moment.world, moment.client
                world.log.clear()
                exchange = client.connection.exchange
                assert exchange is not None
                exchange.failures = Failures(exchange)
                exchange.failures.repeated = True
                (wire,) = world.server.busy
                wire.reading = True
                getattr(wire, how)()
                self.assertEqual(world.flags(), [(status, flags)], (name, how))
                client.wire.go_on()
                if status == 502:
                    self.assertIn((ERRORS if name == "mid body" else KEEPING)[502], client.take(), name)
                client.wire.eof()
                self.assertTrue(client.gone, name)
                moment.finish()

    def test_while_nobody_asks(self) -> None:
        """Its connection leaves the pool, and no client notices."""
        for how in ("reset", "eof"):
            moment = Moment(self, "after")
            world = moment.world
            getattr(world.server.wires[0], how)()
            self.assertEqual(world.server.pool.idle, [])
            self.assertFalse(moment.client.gone)
            moment.client.send(GET)
            world.server.connect()
            world.server.answer()
            self.assertEqual(world.flags(), [(200, "--")] * 2)
            moment.finish()

    def test_losses_are_counted(self) -> None:
        """eresp for an answer that did not come, srv_abrt for one that broke off."""
        moment = Moment(self, "mid response")
        moment.world.server.eof()
        traffic = moment.world.server.server.traffic
        self.assertEqual((traffic.eresp, traffic.srv_abrt), (1, 1))
        moment.finish()


class ServerDownTests(SynchronousTestCase):
    """The server is marked DOWN while it is asked."""

    def test_what_waits_for_its_connection_goes_elsewhere(self) -> None:
        """Another server is chosen for it."""
        world = World(self, servers=2)
        client = world.client()
        client.send(GET)
        first, second = world.servers
        world.backend.server_changed(first.server, *self.down(first))
        second.connect()
        second.answer()
        self.assertEqual(client.take(), OK)
        self.assertIs(world.log[0].server, second.server)
        world.check_rest()

    def test_without_another_server(self) -> None:
        """503 to those who wait for it."""
        world = World(self)
        client = world.client()
        client.send(GET)
        world.backend.server_changed(world.server.server, *self.down(world.server))
        self.assertEqual(client.take(), KEEPING[503])
        self.assertEqual(world.flags(), [(503, "SC")])
        world.check_rest()

    def test_a_long_queue_does_not_recurse(self) -> None:
        """A thousand wait for a place at a server that goes DOWN, and for its return."""
        world = World(self, maxconn=1, places=2000)
        clients = [world.client() for _ in range(1001)]
        for client in clients:
            client.send(GET)
        world.backend.server_changed(world.server.server, *self.down(world.server))
        world.advance(9)
        self.assertEqual(len(world.log), 1001)
        self.assertEqual({exchange.status for exchange in world.log}, {503})
        world.check_rest()

    def test_disabled_by_a_reload(self) -> None:
        """What waits in the old one's queue goes to the other server, or is told at once that there is none."""
        for servers in (2, 1):
            world = World(self, servers=servers, maxconn=1, warm=1)
            clients = [world.client() for _ in range(servers + 2)]
            for client in clients:
                client.send(GET)
            first = world.server
            successor: Any = SimpleNamespace(order="MAINT", health="UP", weight=1, throttle=16, addressed=True)
            world.backend.follow(first.server, successor)
            world.backend.server_replaced(first.server)
            first.answer()
            if servers == 2:
                for _ in range(3):
                    world.servers[1].answer()
            self.assertEqual(
                sorted(world.flags()), [(200, "--")] * 4 if servers == 2 else [(200, "--"), (503, "SC"), (503, "SC")]
            )
            self.assertEqual([line.server is first.server for line in world.log].count(True), 1)
            world.check_rest()

    def test_nor_when_a_reload_has_disabled_it(self) -> None:
        """Its pool opens nothing more, though the queue is of the time before: each is told so in turn."""
        world = World(self, maxconn=1, warm=1, places=2000)
        clients = [world.client() for _ in range(1001)]
        for client in clients:
            client.send(GET)
        world.server.pool.suspend("server MAINT")
        world.server.answer()
        self.assertEqual(clients[0].take(), OK)
        self.assertEqual(sorted(exchange.status for exchange in world.log), [200] + [503] * 1000)
        world.check_rest()

    @staticmethod
    def down(far: FarServer) -> tuple[str, str]:
        return "DOWN", "Layer4 timeout"


class HeldTests(SynchronousTestCase):
    """Many small pieces of a body that wait for a connection cost no more than their bytes."""

    def test_one_byte_at_a_time(self) -> None:
        """All of it goes out at once, when there is a connection."""
        world = World(self)
        client = world.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % HELD_MAX)
        client.wire.reads = 1
        client.send(b"x" * HELD_MAX)
        world.server.connect()
        client.wire.pump()
        self.assertTrue(world.server.asked().endswith(b"\r\n\r\n" + b"x" * HELD_MAX))
        world.server.answer()
        self.assertEqual(client.take(), OK)
        world.check_rest()


class EarlyAnswerTests(SynchronousTestCase):
    """A server that refuses an upload answers and closes at once, with what we sent unread:
    the kernel makes it a reset."""

    def test_the_answer_is_read_before_the_reset(self) -> None:
        """While our own bytes wait for the kernel, as they do in every fast upload; over real sockets."""
        loop = Loop(self)
        near, far = loop.pair(tcp=True, buffers=4096)
        far.stall()
        world = World(self)
        client = world.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n")
        dial = world.server.dialer.open[0]
        dial._end()
        nobody_yet: Any = None
        dial.owner.dial_ready(dial, Transport(loop.poller, near, nobody_yet))
        while client.wire.reading:
            client.send(bytes(100_000))
            loop.pump()
        far.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
        far.drop()
        loop.until(lambda: world.log)
        self.assertEqual(world.flags(), [(413, "--")])
        client.wire.eof()
        world.check_rest()


class EndBehindManyTests(SynchronousTestCase):
    """A client sends many requests and then its end, which TLS may deliver in one go."""

    def test_all_are_answered(self) -> None:
        """Those that wait for their turn, too; then the connection ends."""
        for count in (1, ANSWERS_AT_ONCE, 3 * ANSWERS_AT_ONCE + 1):
            world = World(self, without_backend=True)
            client = world.client()
            client.connection.data_received(GET * count)
            client.connection.eof_received()
            for _ in range(count // ANSWERS_AT_ONCE + 1):
                world.advance(0)
            self.assertEqual(client.take().count(b"HTTP/1.1 503 "), count)
            self.assertTrue(client.gone)
            world.check_rest()

    def test_the_last_one_was_cut(self) -> None:
        """It is no request, and the others are answered."""
        world = World(self, without_backend=True)
        client = world.client()
        client.connection.data_received(GET * 10 + GET[:9])
        client.connection.eof_received()
        world.advance(0)
        self.assertEqual(len(world.log), 11)
        self.assertEqual(world.flags()[-1], (400, "CR"))
        client.wire.eof()
        self.assertTrue(client.gone)

    def test_while_the_client_takes_nothing(self) -> None:
        """They wait until it does."""
        world = World(self, without_backend=True)
        client = world.client()
        client.wire.stall()
        client.connection.data_received(GET * 2000)
        client.connection.eof_received()
        for _ in range(400):
            client.wire.pass_some(10_000)
            world.advance(0)
        client.wire.go_on()
        self.assertEqual(client.take().count(b"HTTP/1.1 503 "), 2000)
        self.assertTrue(client.gone)


class OwnFaultTests(SynchronousTestCase):
    """A programming error in one exchange is that exchange's end: its client does not wait for ever."""

    def broken(self, what: Callable[..., object], received: bytes = OK) -> tuple[World, Client]:
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        world.server.asked()

        def fails(*_args: Any, **_words: Any) -> None:
            raise ZeroDivisionError("a bug")

        what(self, world, client, fails)
        world.server.answer(received)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        return world, client

    def test_before_the_answer_has_begun(self) -> None:
        """The client gets 500."""
        world, client = self.broken(lambda test, world, client, fails: test.patch(Exchange, "response_whole", fails))
        self.assertEqual(client.take(), ERRORS[500])
        self.assertEqual(world.flags(), [(500, "IH")])
        self.assertEqual(world.server.server.served, 0)

    def test_while_another_is_given_its_place(self) -> None:
        """The client whose exchange is over has nothing to do with that, and gets its answer."""
        world = World(self, warm=1, maxconn=1, backend={"abortonclose": True})
        client, other = world.client(), world.client()
        client.send(GET)
        other.send(GET)

        def fails(*_args: Any) -> None:
            raise ZeroDivisionError("a bug")

        self.patch(Attempt, "placed", fails)
        world.server.answer()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((client.take(), client.gone, world.flags()), (OK, False, [(200, "--")]))

    def test_when_not_even_that_can_be_sent(self) -> None:
        """The client's connection is reset."""
        world, client = self.broken(
            lambda test, world, client, fails: test.patch(ClientConnection, "exchange_ended", fails)
        )
        self.assertEqual(client.connection.state, GONE)
        self.assertEqual(world.server.server.served, 0)
