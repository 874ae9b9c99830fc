"""Which failed attempts are tried again, how often, where, and how it is counted."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.exchanges.attempt import HELD_MAX
from reusedproxy.exchanges.own_answers import ERRORS, KEEPING
from reusedproxy.sessions.retries import TRIES_AT_ONCE
from reusedproxy.wire.heads import Limits
from tests.clientfakes import GET, OK, POST, Client, FarServer, World, get, response
from tests.fakes import LATE_REFUSAL, FakeContext


def refuse_all(far: FarServer, world: World) -> int:
    """Every dial fails until none is left; how many there were."""
    count = 0
    while True:
        if far.dialer.open:
            far.refuse()
            count += 1
        elif any(each.pool.waiters for each in world.servers):
            world.advance(1.1)
            if not any(each.dialer.open for each in world.servers):
                return count
        else:
            return count


class ReloadTests(SynchronousTestCase):
    """A request that was at a server when a reload put another backend in the place of its own."""

    def replaced(self) -> tuple[World, World]:
        old, new = World(self, warm=1, backend={"retries": 2}), World(self, warm=1, backend={"retries": 2})
        self.client = old.client()
        self.client.send(GET)
        self.assertTrue(old.server.asked())
        for _ in old.backend.handing_over(new.backend):
            pass
        return old, new

    def test_is_repeated_to_what_the_file_says_now(self) -> None:
        """The old server may be one that is not trusted any more, and could have it once more by hanging up."""
        old, new = self.replaced()
        old.server.eof()
        self.assertEqual(old.server.dialer.open, [])
        new.server.connect()
        self.assertEqual(new.server.asked()[:4], b"GET ")
        new.server.answer()
        self.assertEqual((self.client.take(), old.flags()), (OK, [(200, "--")]))
        self.assertEqual((old.server.server.served, new.server.server.served), (0, 0))
        self.client.wire.reset()
        old.check_rest()

    def test_that_waits_for_a_connection_waits_for_one_of_what_the_file_says_now(self) -> None:
        """What was opened for it before is not used: its server may be one that is not trusted any more."""
        old, new = World(self, backend={"retries": 0}), World(self, backend={"retries": 0})
        clients = [old.client(), old.client()]
        for client in clients:
            client.send(GET)
        for _ in old.backend.handing_over(new.backend):
            pass
        for _ in old.server.pool.sending_on():
            pass
        self.assertEqual((len(old.server.pool.waiters), len(new.server.pool.waiters)), (0, 2))
        old.server.connect()
        self.assertEqual(old.server.busy, [])
        for client in clients:
            new.server.connect()
            new.server.answer()
            self.assertEqual(client.take(), OK)
        self.assertEqual((old.server.server.served, new.server.server.served), (0, 0))
        self.assertEqual(old.flags(), [(200, "--")] * 2)

    def test_waits_on_where_no_backend_is_in_the_place_of_its_own(self) -> None:
        world = World(self)
        client = world.client()
        client.send(GET)
        for _ in world.server.pool.sending_on():
            pass
        world.server.connect()
        world.server.answer()
        self.assertEqual(client.take(), OK)
        world.check_rest()

    def test_whether_the_handshake_has_failed_is_told(self) -> None:
        """`bc_err`: that of the last attempt, and nothing where there was no connection at all."""
        for phases, told in (
            (["TLS handshake"], 34),
            (["TCP connect"], None),
            (["TLS handshake", "TCP connect"], None),
            (["TLS handshake", ""], 0),
        ):
            world = World(self, backend={"retries": len(phases) - 1})
            client = world.client()
            client.send(GET)
            for phase in phases:
                if not world.server.dialer.open:
                    world.advance(1)
                if phase:
                    world.server.refuse(phase=phase)
                else:
                    world.server.connect()
                    world.server.answer()
            (exchange,) = world.log
            self.assertEqual(exchange.course.server_error, told, phases)

    def test_stays_where_the_pool_is_the_same(self) -> None:
        """Nothing has changed there."""
        old, new = self.replaced()
        old.server.server.heir, old.server.pool = new.server.server, new.server.pool
        old.server.server.pool = new.server.pool
        place = old.backend.place_of_retries(old.server.server)
        self.assertIs(place, old.backend)


class DialTests(SynchronousTestCase):
    """No connection can be opened: not one byte has gone out, so it may be tried again."""

    def test_retries_more_attempts_then_503(self) -> None:
        """HAProxy's default of three makes four."""
        for retries in (0, 1, 3):
            world = World(self, backend={"retries": retries})
            client = world.client()
            client.send(GET)
            self.assertEqual(refuse_all(world.server, world), retries + 1)
            self.assertEqual(client.take(), KEEPING[503])
            self.assertEqual(world.flags(), [(503, "SC")])
            (line,) = world.log
            self.assertEqual((line.retries, line.redispatched, line.connected), (retries, False, 0.0))
            traffic = world.server.server.traffic
            self.assertEqual((traffic.wretr, traffic.wredis, traffic.econ), (retries, 0, 1))
            self.assertEqual(world.backend.traffic.wretr, retries)
            self.assertEqual(traffic.stot, retries + 1)
            world.check_rest()

    def test_a_redispatch_to_the_only_server_is_a_retry(self) -> None:
        """As HAProxy counts it."""
        world = World(self, backend={"retries": 2, "redispatch": -1})
        world.client().send(GET)
        self.assertEqual(refuse_all(world.server, world), 3)
        traffic = world.server.server.traffic
        self.assertEqual((traffic.wretr, traffic.wredis, traffic.stot), (2, 0, 3))
        world.check_rest()

    def test_what_we_lack_is_not_the_servers_fault(self) -> None:
        """Out of descriptors: RC in the log (HAProxy's manual, 8.5), and no connection error of the server's."""
        world = World(self, backend={"retries": 0})
        client = world.client()
        client.send(GET)
        world.server.refuse(ours=True)
        self.assertEqual((client.take(), world.flags()), (KEEPING[503], [(503, "RC")]))
        self.assertEqual(world.server.server.traffic.econ, 0)
        world.check_rest()

    def test_an_attempt_that_succeeds(self) -> None:
        """The client sees nothing of those before it; a POST is as good as a GET."""
        for request in (GET, POST + b"body"):
            world = World(self)
            client = world.client()
            client.send(request)
            world.server.refuse()
            world.advance(1)
            world.server.connect()
            self.assertEqual(world.server.asked(), request)
            world.server.answer()
            self.assertEqual(client.take(), OK)
            self.assertEqual(world.log[0].retries, 1)
            self.assertEqual(world.flags(), [(200, "--")])
            world.check_rest()

    def test_redispatch(self) -> None:
        """The next attempt goes to another server, and is counted as that instead of as a retry."""
        world = World(self, servers=2, backend={"retries": 2, "redispatch": -1})
        first, second = world.servers
        client = world.client()
        client.send(GET)
        first.refuse()
        second.connect()
        second.answer()
        self.assertEqual(client.take(), OK)
        (line,) = world.log
        self.assertEqual((line.retries, line.redispatched), (1, True))
        self.assertIs(line.server, second.server)
        traffic = first.server.traffic
        self.assertEqual((traffic.wretr, traffic.wredis), (0, 1))
        world.check_rest()

    def test_without_redispatch_it_stays(self) -> None:
        """At the server that was chosen."""
        world = World(self, servers=2, backend={"retries": 2})
        first, second = world.servers
        client = world.client()
        client.send(GET)
        self.assertEqual(refuse_all(first, world), 3)
        self.assertEqual(second.dialer.dials, [])
        self.assertEqual(client.take(), KEEPING[503])
        world.check_rest()

    def test_redispatch_waits_in_the_queue(self) -> None:
        """When the other server is full, and the first place is its."""
        world = World(self, servers=2, maxconn=1, backend={"retries": 1, "redispatch": -1})
        first, second = world.servers
        client, other = world.client(), world.client()
        client.send(GET)
        other.send(GET)
        exchange = client.connection.exchange
        assert exchange is not None and other.connection.exchange is not None
        self.assertIs(other.connection.exchange.server, second.server)
        first.refuse()
        assert exchange.attempt is not None
        self.assertEqual(exchange.attempt.state, "connecting")  # `avoid` is better than nothing
        world.advance(1)
        first.connect()
        second.connect()
        first.answer()
        second.answer()
        self.assertEqual((client.take(), other.take()), (OK, OK))
        world.check_rest()


class RaceTests(SynchronousTestCase):
    """A connection that had been idle ends before any byte of the answer: the server may have closed it just then."""

    def lost(self, request: bytes, how: str = "eof", warm: int = 1, **settings: Any) -> tuple[World, Client]:
        world = World(self, warm=warm, **settings)
        client = world.client()
        client.send(request)
        world.server.asked()
        getattr(world.server, how)()
        return world, client

    def races(self, world: World) -> tuple[int, int]:
        counters = world.server.server.pool.counters
        return counters.races_repeated, counters.races_lost

    def test_get_is_sent_once_more(self) -> None:
        """On a new connection, unnoticed by the client."""
        for how in ("eof", "reset"):
            for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"):
                request = get("/", method=method)
                world, client = self.lost(request, how)
                world.server.connect()
                self.assertEqual(world.server.asked(), request)
                world.server.answer(OK if method != "HEAD" else OK[:-2])
                self.assertTrue(client.take().startswith(b"HTTP/1.1 200 "))
                self.assertEqual(world.flags(), [(200, "--")])
                self.assertEqual(world.log[0].retries, 1)
                self.assertEqual(world.server.server.traffic.wretr, 1)
                self.assertEqual(self.races(world), (1, 0))
                world.check_rest()

    def test_a_small_body_is_sent_once_more(self) -> None:
        """Complete, or as far as it has come, with the rest behind it."""
        put = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
        for before, between, after in ((b"body", b"", b""), (b"bo", b"", b"dy"), (b"b", b"od", b"y")):
            world, client = self.lost(put + before)
            if between:
                client.send(between)
            world.server.connect()
            if after:
                client.send(after)
            self.assertEqual(world.server.asked(), put + b"body")
            world.server.answer()
            self.assertEqual(client.take(), OK)
            world.check_rest()

    def test_a_body_in_pieces_is_sent_once_more(self) -> None:
        """Those that had been written are kept."""
        put = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
        world = World(self, warm=1)
        client = world.client()
        for piece in (put, b"bo", b"dy"):
            client.send(piece)
        world.server.asked()
        world.server.eof()
        world.server.connect()
        self.assertEqual(world.server.asked(), put + b"body")
        world.server.answer()
        self.assertEqual(client.take(), OK)
        world.check_rest()

    def test_a_large_body_is_not(self) -> None:
        """We do not hold it any more."""
        for first in (b"", bytes(HELD_MAX)):
            size = 2 * HELD_MAX
            world = World(self, warm=1)
            client = world.client()
            client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + first)
            client.send(bytes(size - len(first) - 1))
            world.server.eof()
            self.assertEqual(client.take(), ERRORS[502])
            self.assertEqual(world.flags(), [(502, "SH")])
            self.assertEqual(world.server.dialer.open, [])
            client.wire.eof()
            world.check_rest()

    def test_unless_a_buffer_holds_it(self) -> None:
        """As in HAProxy, `tune.bufsize` says how large a request may be that is sent again."""
        size = 2 * HELD_MAX
        world = World(self, warm=1, limits=Limits(buffer=4 * HELD_MAX))
        client = world.client()
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
        client.send(bytes(size))
        asked = world.server.asked()
        world.server.eof()
        world.server.connect()
        self.assertEqual((world.server.asked(), len(asked) > size), (asked, True))
        world.server.answer()
        self.assertEqual(client.take(), OK)
        world.check_rest()

    def test_post_is_not(self) -> None:
        """It may have been carried out."""
        world, client = self.lost(POST + b"body")
        self.assertEqual(client.take(), KEEPING[502])
        self.assertEqual(world.flags(), [(502, "SH")])
        self.assertEqual(world.server.server.traffic.wretr, 0)
        self.assertEqual(self.races(world), (0, 1))
        world.check_rest()

    def test_after_a_byte_of_the_answer_it_is_not(self) -> None:
        """The server was at work on it."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer(b"H")
        world.server.eof()
        self.assertEqual(client.take(), KEEPING[502])
        self.assertEqual(self.races(world), (0, 0))
        world.check_rest()

    def test_once_only(self) -> None:
        """RFC 9110 section 9.2.2: a retry that fails is not retried, though other connections stand idle."""
        world = World(self, warm=3)
        client = world.client()
        client.send(GET)
        world.server.eof()
        world.server.connect()
        world.server.eof()
        self.assertEqual(client.take(), KEEPING[502])
        self.assertEqual(world.flags(), [(502, "SH")])
        world.check_rest()

    def test_not_on_another_that_stands_idle(self) -> None:
        """A server that starts anew ends all of them at once, however lately they were used."""
        for idle in (0, 3):
            world = World(self, warm=3)
            client = world.client()
            world.advance(idle)
            client.send(GET)
            world.server.eof()
            self.assertEqual(len(world.server.dialer.open), 1)
            world.server.connect()
            world.server.answer()
            self.assertEqual(client.take(), OK)
            world.check_rest()

    def test_a_new_connection_that_ends(self) -> None:
        """Its server was stopped, say: as often as `retries` allows, but once; what may not be repeated is not."""
        for request, retries, status in ((GET, 3, 200), (GET, 0, 502), (POST + b"body", 3, 502)):
            world = World(self, warm=0, backend={"retries": retries})
            client = world.client()
            client.send(request)
            world.server.connect()
            world.server.eof()
            if status == 200:
                world.server.connect()
                world.server.answer()
            self.assertEqual(world.flags()[0][0], status, (request, retries))
            self.assertEqual((self.races(world), world.server.dialer.open), ((0, 0), []))
            client.take()
            world.check_rest()

    def test_nor_on_one_that_is_given_back_just_then(self) -> None:
        """Its server may be about to end it as well."""
        world = World(self, warm=2)
        other, client = world.client(), world.client()
        other.send(GET)
        client.send(GET)
        (wire,) = [wire for wire in world.server.busy if wire.owner.exchange.client is client.connection]
        wire.eof()
        world.server.answer()
        self.assertEqual((other.take(), client.take()), (OK, b""))
        world.server.connect()
        world.server.answer()
        self.assertEqual(client.take(), OK)
        world.check_rest()

    def test_what_was_not_written_yet_is_no_race(self) -> None:
        """The server's end comes in the same batch of events as the request: a POST is as good as a GET."""
        for how in ("eof", "reset"):
            world = World(self, warm=1)
            world.server.wires[0].stall()
            client = world.client()
            client.send(POST + b"body")
            getattr(world.server, how)()
            world.server.connect()
            self.assertEqual(world.server.asked(), POST + b"body")
            world.server.answer()
            self.assertEqual(client.take(), OK)
            self.assertEqual((world.log[0].retries, world.server.server.traffic.eresp), (1, 0))
            world.check_rest()

    def test_bytes_before_the_request_are_not_its_answer(self) -> None:
        """Another's answer, or a goodbye, that comes as the request is about to be written."""
        world = World(self, warm=1)
        world.server.wires[0].stall()
        client = world.client()
        client.send(POST + b"body")
        world.server.answer(response(b"another's"))
        world.server.connect()
        world.server.answer()
        self.assertEqual(client.take(), OK)
        self.assertEqual(world.server.pool.closed, {"unasked bytes": 1})
        world.check_rest()

    def test_a_goodbye_that_crosses_the_request(self) -> None:
        """RFC 9110 section 15.5.9: an idle connection's time is over; a client that asked just then need not know."""
        late = response(b"late", "Connection: close", status="408 Request Time-out")
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer(late)
        world.server.connect()
        world.server.answer()
        self.assertEqual(client.take(), OK)
        self.assertEqual(world.server.pool.closed, {"server timed it out": 1})
        world.check_rest()

    def test_a_408_that_is_meant(self) -> None:
        """Of what may not be repeated, on a new connection, on one that goes on, or once more: the client gets it."""
        late = response(b"late", "Connection: close", status="408 Request Time-out")
        for request, warm, answer in (
            (POST + b"body", 1, late),
            (GET, 0, late),
            (GET, 1, response(b"late", status="408 Request Time-out")),
        ):
            world = World(self, warm=warm)
            client = world.client()
            client.send(request)
            if not warm:
                world.server.connect()
            world.server.answer(answer)
            self.assertIn(b"HTTP/1.1 408 ", client.take())
            world.check_rest()

    def test_never_written_is_not_tried_for_ever(self) -> None:
        """Beyond the first, `retries` bounds it as it does dials."""
        world = World(self, warm=1, backend={"retries": 2})
        world.server.stalled = True
        world.server.wires[0].stall()
        client = world.client()
        client.send(GET)
        for _ in range(2):
            world.server.eof()
            world.advance(2)
            world.server.connect()
        world.server.eof()
        self.assertEqual(client.take(), KEEPING[503])
        self.assertEqual(world.flags(), [(503, "SC")])
        world.check_rest()

    def test_a_new_connection_is_not_tried_again(self) -> None:
        """It was not idle, so it is no race."""
        world = World(self)
        client = world.client()
        client.send(GET)
        world.server.connect()
        world.advance(1)
        world.server.answer(b"H")
        world.server.eof()
        self.assertEqual(client.take(), KEEPING[502])
        world.check_rest()


class LateRefusalTests(SynchronousTestCase):
    """In TLS 1.3 a server refuses our certificate after the handshake: it has processed nothing."""

    def test_counts_as_a_dial_that_failed(self) -> None:
        """Tried again up to `retries`, whatever the method; then 503."""
        for request in (GET, POST + b"body"):
            world = World(self, backend={"retries": 1})
            world.server.dialer.context = FakeContext()
            client = world.client()
            client.send(request)
            world.server.connect()
            world.server.busy[0].reset(LATE_REFUSAL)
            world.advance(1)
            world.server.connect()
            self.assertTrue(world.server.asked().endswith(request))
            world.server.busy[0].reset(LATE_REFUSAL)
            self.assertEqual(client.take(), KEEPING[503])
            self.assertEqual(world.flags(), [(503, "SC")])
            self.assertEqual(world.log[0].course.server_error, 43)
            traffic = world.server.server.traffic
            self.assertEqual((traffic.wretr, traffic.econ, traffic.eresp), (1, 1, 0))
            world.check_rest()


class AtOnceTests(SynchronousTestCase):
    """Attempts that fail before they return, as at a server whose pool opens no connection,
    or by a name that is none."""

    def test_very_many(self) -> None:
        """They follow one another, and not one within the other; others have their turn meanwhile."""
        for servers, redispatch in ((1, 0), (2, 1)):
            world = World(self, servers=servers, backend={"retries": 100_000, "redispatch": redispatch})
            for far in world.servers:
                far.pool.suspend("for a while")
            client = world.client()
            client.send(GET)
            assert client.connection.exchange is not None
            self.assertEqual(client.connection.exchange.retries, TRIES_AT_ONCE + 1)
            other = world.client()
            other.send(GET)
            assert other.connection.exchange is not None
            self.assertEqual(other.connection.exchange.retries, TRIES_AT_ONCE + 1)
            other.wire.reset()
            for _ in range(100_000 // TRIES_AT_ONCE + 1):
                world.advance(0)
            self.assertEqual(client.take(), KEEPING[503])
            self.assertEqual(world.flags(), [(-1, "CC"), (503, "SC")])
            self.assertEqual(world.log[-1].retries, 100_000)
            traffic = world.backend.traffic
            self.assertEqual(traffic.wretr + traffic.wredis, 100_000 + TRIES_AT_ONCE + 1)
            world.check_rest()

    def test_one_that_comes_to_something(self) -> None:
        """The server can be reached again when it is the request's turn."""
        world = World(self, backend={"retries": 100_000})
        world.server.pool.suspend("for a while")
        client = world.client()
        client.send(POST)
        client.send(b"body")
        world.server.pool.resume()
        world.advance(0)
        world.server.connect()
        self.assertEqual(world.server.asked(), POST + b"body")
        world.server.answer()
        self.assertEqual((client.take(), world.flags()), (OK, [(200, "--")]))
        world.check_rest()


class GarbageTests(SynchronousTestCase):
    """An exchange and its attempts know each other while they last."""

    def test_no_garbage_is_left_by_an_end(self) -> None:
        """All of a request's memory goes with it at once: nothing waits for the collector."""
        for failing in (0, 1):
            world = World(self, warm=1 + failing)
            world.frontend.log = None
            client = world.client()
            gc.disable()
            try:
                client.send(GET)
                gone = weakref.ref(client.connection.exchange)
                for _ in range(failing):
                    world.server.reset()
                    world.server.connect()
                world.server.answer()
                self.assertEqual(client.take(), OK)
                self.assertIsNone(gone(), failing)
            finally:
                gc.enable()
            world.check_rest()
