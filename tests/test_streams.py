"""One client's session of mode tcp, in memory: who gets which connection, what passes, how it ends."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.transport import HIGH_WATER, PEER_TRUNCATED
from reusedproxy.pool.raw import GREETING_MAX
from reusedproxy.sessions.termination import STOPPED
from reusedproxy.wire import client_hello as wire_client_hello
from reusedproxy.wire.heads import Limits
from tests.clientfakes import Wire
from tests.fakes import LATE_REFUSAL
from tests.streamfakes import StreamWorld

#: Bytes that are held of one side, unless `tune.bufsize` says more.
HELD = Limits().buffer

PLAIN = "listen l\n bind :1\n server s1 192.0.2.1:1\n"
WARM = "listen l\n bind :1\n server s1 192.0.2.1:1 pool-min-conn {}\n"


LIMITS = "filter bwlim-in up {0}\n filter bwlim-out down {0}".format("default-limit 1000 default-period 1s")
LIMITED = f"listen l\n bind :1\n {LIMITS}\n tcp-request content set-bandwidth-limit up\n {{}}\n server s1 192.0.2.1:1\n"


class BandwidthTests(SynchronousTestCase):
    """Limits of what passes."""

    def test_both_ways_have_their_pace_and_no_time_out_ends_them(self) -> None:
        for rule in ("tcp-request content set-bandwidth-limit down", "tcp-response content set-bandwidth-limit down"):
            world = StreamWorld(self, LIMITED.format(rule))
            client = world.client()
            client.feed(bytes(100_000))
            server = world.connect("s1")
            server.feed(bytes(100_000))
            sent, came = len(server.take()), len(client.take())
            self.assertEqual((sent, came), (1000, 1000))
            for second in range(1, 100):
                for _ in range(20):
                    world.clock.advance(0.05)
                    client.pump()
                    server.pump()
                sent, came = sent + len(server.take()), came + len(client.take())
                self.assertLessEqual(abs(1000 + 1000 * second - came), 40)
                self.assertLessEqual(abs(1000 + 1000 * second - sent), 40)
            self.assertEqual((sent, came, world.flags()), (100_000, 100_000, []))
            world.clock.advance(5)  # the last bytes have gone by now, and nobody was silent for long
            client.eof()
            server.eof()
            self.assertEqual(world.flags(), ["s1 --"])
            world.check_rest()

    def test_what_is_left_at_the_end_goes_out_at_its_pace(self) -> None:
        world = StreamWorld(self, LIMITED.format("tcp-request content set-bandwidth-limit down"))
        client = world.client()
        client.feed(bytes(5000))
        server = world.connect("s1")
        server.feed(bytes(15_000))
        client.eof()
        server.eof()
        for _ in range(15 * 20):
            world.clock.advance(0.05)
        self.assertEqual((len(server.take()), len(client.take())), (5000, 15_000))
        self.assertEqual((server.end, client.end), (("close", "session over"), ("close", "session over")))
        world.check_rest()


class RelayTests(SynchronousTestCase):
    """Bytes both ways, and ends."""

    def test_what_is_said_before_there_is_a_connection_is_not_lost(self) -> None:
        """And from then on all passes as it comes."""
        world = StreamWorld(self, PLAIN)
        client = world.client()
        client.feed(b"one ")
        client.feed(b"two")
        server = world.connect("s1")
        self.assertEqual(server.take(), b"one two")
        server.feed(b"three")
        client.feed(b"four")
        self.assertEqual((client.take(), server.take()), (b"three", b"four"))
        client.eof()
        self.assertTrue(server.half_closed)
        self.assertEqual(world.log, [])
        server.feed(b"five")
        server.eof()
        self.assertEqual((client.take(), client.end), (b"five", ("close", "session over")))
        (stream,) = world.log
        self.assertEqual((stream.flags, stream.received, stream.sent), ("--", 11, 9))
        for traffic in (world.frontend.traffic, world.backends["l"].traffic, world.servers["s1"].traffic):
            self.assertEqual((traffic.bin, traffic.bout), (11, 9))
        world.check_rest()

    def test_no_more_is_held_than_a_buffer(self) -> None:
        """The rest stays in the kernel until a server takes it."""
        world = StreamWorld(self, PLAIN)
        client = world.client()
        client.reads = 4096
        client.feed(b"x" * (3 * HELD))
        self.assertEqual((client.reading, len(client.incoming)), (False, 2 * HELD))
        server = world.connect("s1")
        client.pump()
        self.assertEqual(len(server.take()), 3 * HELD)
        client.reset()
        world.check_rest()

    def test_a_slow_side_pauses_the_other(self) -> None:
        """And lets it go on."""
        world = StreamWorld(self, PLAIN)
        client = world.client()
        server = world.connect("s1")
        for one, other in ((client, server), (server, client)):
            other.stall()
            one.feed(b"x" * (HIGH_WATER + 1))
            self.assertFalse(one.reading)
            one.feed(b"rest")
            other.go_on()
            self.assertTrue(one.reading)
            self.assertEqual(other.take()[-4:], b"xxxx" if one.incoming else b"rest")
            one.pump()
            self.assertEqual(one.incoming, b"")
        client.reset()
        self.assertEqual(world.flags(), ["s1 CD"])
        world.check_rest()

    def test_a_reset_of_the_client_is_passed_on(self) -> None:
        """The server is to know that this is no end."""
        world = StreamWorld(self, PLAIN)
        client = world.client()
        server = world.connect("s1")
        client.reset()
        self.assertEqual((server.end, world.flags()), (("abort", "session over"), ["s1 CD"]))
        self.assertEqual(world.backends["l"].traffic.cli_abrt, 1)
        world.check_rest()

    def test_a_reset_of_the_server_destroys_nothing(self) -> None:
        """What it had said still goes to the client."""
        world = StreamWorld(self, PLAIN)
        client = world.client()
        client.stall()
        server = world.connect("s1")
        server.feed(b"all of it")
        server.reset()
        client.go_on()
        self.assertEqual((client.take(), client.end), (b"all of it", ("close", "session over")))
        self.assertEqual((world.flags(), world.servers["s1"].traffic.srv_abrt), (["s1 SD"], 1))
        self.assertEqual([each.traffic.eresp for each in (world.servers["s1"], world.backends["l"])], [1, 1])
        world.check_rest()

    def test_an_end_without_close_notify_is_an_end(self) -> None:
        """Many end TLS so."""
        world = StreamWorld(self, PLAIN)
        client = world.client()
        server = world.connect("s1")
        server.feed(b"x")
        server.reset(PEER_TRUNCATED)
        self.assertEqual((world.flags(), client.end), (["s1 --"], ("close", "session over")))
        world.check_rest()


class TimeTests(SynchronousTestCase):
    """Silence, as HAProxy counts it."""

    def relaying(self, words: str) -> tuple[StreamWorld, object, object]:
        world = StreamWorld(self, f"listen l\n bind :1\n {words}\n server s1 192.0.2.1:1\n")
        client = world.client()
        return world, client, world.connect("s1")

    def test_each_byte_renews_the_time_of_both(self) -> None:
        """Either way."""
        world, client, server = self.relaying("timeout client 10s\n timeout server 10s")
        for wire in (client, server, client, server):
            world.advance(8)
            wire.feed(b"x")  # type: ignore[attr-defined]
        world.advance(8)
        self.assertEqual(world.log, [])
        world.advance(3)
        self.assertEqual(world.flags(), ["s1 cD"])
        world.check_rest()

    def test_a_silent_side_has_ended_and_the_other_goes_on(self) -> None:
        """With its own time."""
        for words, ended, going_on, letters in (
            ("timeout client 5s\n timeout server 10s", 1, 0, "s1 cD"),
            ("timeout client 10s\n timeout server 5s", 0, 1, "s1 sD"),
        ):
            world, *wires = self.relaying(words)
            told, silent = wires[ended], wires[going_on]
            world.advance(5)
            self.assertTrue(told.half_closed, words)  # type: ignore[attr-defined]
            told.feed(b"late")  # type: ignore[attr-defined]
            self.assertEqual(silent.take(), b"late")  # type: ignore[attr-defined]
            world.advance(8)
            self.assertEqual(world.log, [])
            world.advance(3)
            self.assertEqual(world.flags(), [letters])
            world.check_rest()

    def test_tunnel_counts_for_both(self) -> None:
        """In place of the two others."""
        world, *_ = self.relaying("timeout client 1s\n timeout server 1s\n timeout tunnel 1h")
        world.advance(3500)
        self.assertEqual(world.log, [])
        world.advance(101)
        self.assertEqual(world.flags(), ["s1 cD"])
        world.check_rest()

    def test_who_was_told_the_end_of_the_other_has_a_time_of_its_own(self) -> None:
        """client-fin and server-fin, from that moment."""
        for words, first, letters in (("timeout client-fin 2s", 1, "s1 cD"), ("timeout server-fin 2s", 0, "s1 sD")):
            world, *wires = self.relaying(words)
            world.advance(15)
            wires[first].eof()  # type: ignore[attr-defined]
            world.advance(1.5)
            self.assertEqual(world.log, [])
            world.advance(0.5)
            self.assertEqual(world.flags(), [letters])
            world.check_rest()

    def test_who_takes_nothing_is_given_up(self) -> None:
        """But not while it takes something, however slowly."""
        world, client, server = self.relaying("timeout client 10s\n timeout server 10s")
        client.stall()  # type: ignore[attr-defined]
        server.feed(b"x" * 40_000)  # type: ignore[attr-defined]
        for _ in range(5):
            client.pass_some(1000)  # type: ignore[attr-defined]
            world.advance(10)
            self.assertEqual(world.log, [])
        world.advance(10)
        world.advance(10)
        self.assertEqual((world.flags(), client.end), (["s1 cD"], ("abort", "session over")))  # type: ignore[attr-defined]
        world.check_rest()

    def test_a_client_that_does_not_take_the_rest_is_given_up(self) -> None:
        """When all else is over."""
        world, client, server = self.relaying("timeout client 10s\n timeout server 10s")
        client.stall()  # type: ignore[attr-defined]
        server.feed(b"rest")  # type: ignore[attr-defined]
        client.eof()  # type: ignore[attr-defined]
        server.eof()  # type: ignore[attr-defined]
        self.assertEqual((world.flags(), len(world.frontend.connections)), (["s1 --"], 1))
        world.advance(10)
        self.assertEqual(client.end, ("abort", "client does not take the end"))  # type: ignore[attr-defined]
        world.check_rest()


class FloorTests(SynchronousTestCase):
    """Connections that stand ready."""

    def test_a_client_gets_one_that_stands_ready_and_another_is_opened(self) -> None:
        """At once, not when somebody comes."""
        world = StreamWorld(self, WARM.format(2))
        wires = [world.connect("s1"), world.connect("s1")]
        self.assertEqual(world.dialled("s1"), 0)
        client = world.client()
        client.feed(b"hello")
        self.assertEqual([wire.take() for wire in wires], [b"", b"hello"])
        self.assertEqual((world.dialled("s1"), len(world.servers["s1"].pool.idle)), (1, 1))
        self.assertEqual(world.log, [])
        client.eof()
        wires[1].eof()
        (stream,) = world.log
        self.assertEqual((stream.connected, stream.flags), (stream.began, "--"))
        self.assertEqual(wires[1].end, ("close", "session over"))
        world.check_rest()

    def test_a_connection_serves_one_client(self) -> None:
        """Whoever comes next gets another, or waits."""
        world = StreamWorld(self, WARM.format(1))
        first = world.connect("s1")
        one = world.client()
        other = world.client()
        other.feed(b"other")
        one.eof()
        first.eof()
        self.assertEqual(first.take(), b"")
        second = world.connect("s1")
        self.assertEqual(second.take(), b"other")
        other.reset()
        world.check_rest()

    def test_a_greeting_is_kept_for_the_client(self) -> None:
        """Of a server that speaks first."""
        world = StreamWorld(self, WARM.format(1))
        server = world.connect("s1")
        server.feed(b"220 mail")
        server.feed(b".example\r\n")
        world.advance(3)
        client = world.client()
        self.assertEqual(client.take(), b"220 mail.example\r\n")
        client.feed(b"QUIT\r\n")
        self.assertEqual(server.take(), b"QUIT\r\n")
        client.reset()
        world.check_rest()

    def test_a_greeting_without_end_is_no_greeting(self) -> None:
        """What is kept has a bound."""
        world = StreamWorld(self, WARM.format(1))
        server = world.connect("s1")
        server.feed(b"x" * GREETING_MAX)
        self.assertIsNone(server.end)
        server.feed(b"x")
        self.assertEqual(server.end, ("abort", "greeting too long"))
        world.check_rest()

    def test_one_that_its_server_has_ended_a_moment_ago_is_given_to_nobody(self) -> None:
        """Though the poller has not told so far."""
        world = StreamWorld(self, WARM.format(2))
        alive, dead = world.connect("s1"), world.connect("s1")
        dead.reading, dead._ended = True, True  # it is in the kernel
        client = world.client()
        client.feed(b"hello")
        self.assertEqual((alive.take(), dead.take()), (b"hello", b""))
        client.reset()
        world.check_rest()

    def test_one_that_ends_before_anything_was_said_is_replaced(self) -> None:
        """The client hears nothing of it, and it is no try."""
        world = StreamWorld(self, WARM.format(2))
        other, first = world.connect("s1"), world.connect("s1")
        client = world.client()
        first.eof()
        self.assertIsNone(client.end)
        client.feed(b"hello")
        self.assertEqual(other.take(), b"hello")
        client.eof()
        other.eof()
        (stream,) = world.log
        self.assertEqual((stream.flags, stream.retries), ("--", 0))
        world.check_rest()

    def test_one_that_takes_nothing_of_what_was_said_is_replaced(self) -> None:
        """Not a byte has left us."""
        world = StreamWorld(self, WARM.format(2))
        other, first = world.connect("s1"), world.connect("s1")
        first.stall()
        client = world.client()
        client.feed(b"hello")
        first.reset()
        self.assertEqual(other.take(), b"hello")
        self.assertEqual(world.servers["s1"].traffic.bin, 5)
        client.reset()
        world.check_rest()

    def test_what_has_left_us_counts_as_read(self) -> None:
        """Nobody knows what the server has done with it, so no other gets it."""
        world = StreamWorld(self, WARM.format(2))
        other, first = world.connect("s1"), world.connect("s1")
        client = world.client()
        client.feed(b"INSERT")
        first.eof()
        self.assertEqual((first.take(), other.take(), client.half_closed), (b"INSERT", b"", True))
        client.eof()
        self.assertEqual(world.flags(), ["s1 --"])
        world.check_rest()

    def test_a_fresh_connection_that_ends_without_a_word_is_the_servers_answer(self) -> None:
        """It is not tried again and again."""
        world = StreamWorld(self, PLAIN)
        client = world.client()
        server = world.connect("s1")
        server.eof()
        self.assertEqual((client.half_closed, world.dialled("s1")), (True, 0))
        client.eof()
        world.check_rest()

    def test_a_late_refusal_of_our_certificate_is_a_failed_try(self) -> None:
        """In TLS 1.3 it comes after the handshake; the server has seen nothing of what was said."""
        world = StreamWorld(self, "listen l\n bind :1\n retries 1\n server s1 192.0.2.1:1\n", secure=True)
        client = world.client()
        client.feed(b"hello")
        server = world.connect("s1")
        self.assertEqual(server.take(), b"hello")
        server.reset(LATE_REFUSAL)
        self.assertIsNone(client.end)
        world.advance(1)
        again = world.connect("s1")
        self.assertEqual(again.take(), b"hello")
        again.reset(LATE_REFUSAL)
        self.assertEqual(world.flags(), ["s1 SC"])
        self.assertEqual(world.log[0].course.server_error, 43)
        world.check_rest()

    def test_a_server_that_closes_unused_connections_is_found_out(self) -> None:
        """Then they are replaced before that age, and said nothing of to clients."""
        world = StreamWorld(self, WARM.format(1))
        for _ in range(3):
            server = world.connect("s1")
            world.advance(10)
            server.eof()
        limit = world.servers["s1"].pool.upkeep.unused.limit
        self.assertTrue(9 < limit < 11, limit)
        server = world.connect("s1")
        for _ in range(95):
            world.advance(0.1)
            if world.dialled("s1"):
                world.connect("s1")
        self.assertIsNotNone(server.end)
        self.assertEqual(len(world.servers["s1"].pool.idle), 1)
        world.check_rest()

    def test_the_floor_stands_beside_long_sessions(self) -> None:
        """Whatever their number, and for as long as they last."""
        world = StreamWorld(self, WARM.format(2))
        world.connect("s1")
        world.connect("s1")
        clients = []
        for _ in range(20):
            clients.append(world.client())
            world.advance(1)
            world.connect("s1")
        pool = world.servers["s1"].pool
        for _ in range(60):
            world.advance(5)
            for client in clients:
                client.feed(b"x")
            while world.dialled("s1"):
                world.connect("s1")
            self.assertEqual((len(pool.idle), len(pool.in_use)), (2, 20))
        for client in clients:
            client.reset()
        world.advance(60)
        self.assertEqual(len(pool.idle), 2)
        world.check_rest()

    def test_a_silent_session_is_no_leak(self) -> None:
        """However long it lasts, within its time-outs."""
        world = StreamWorld(self, "listen l\n bind :1\n timeout tunnel 1d\n server s1 192.0.2.1:1 pool-min-conn 1\n")
        server = world.connect("s1")
        client = world.client()
        world.advance(3600)
        client.feed(b"still here")
        self.assertEqual(server.take(), b"still here")
        client.reset()
        world.check_rest()


class TryTests(SynchronousTestCase):
    """Servers that do not take the client."""

    def test_each_outcome_has_haproxys_letters(self) -> None:
        """Of tries that fail."""
        tries: list[tuple[dict[str, Any], str]] = [
            ({}, "s1 SC"),
            ({"timed_out": True}, "s1 sC"),
            ({"ours": True}, "s1 RC"),
        ]
        for ends, letters in tries:
            world = StreamWorld(self, "listen l\n bind :1\n retries 0\n server s1 192.0.2.1:1\n")
            client = world.client()
            world.refuse("s1", **ends)
            self.assertEqual((world.flags(), client.end), ([letters], ("close", "session over")))
            world.check_rest()

    def test_whether_the_handshake_has_failed_is_told(self) -> None:
        """`bc_err`: nothing where there was no connection at all."""
        for phase, told in (("TLS handshake", 34), ("TCP connect", None)):
            world = StreamWorld(self, "listen l\n bind :1\n retries 0\n server s1 192.0.2.1:1\n")
            world.client()
            world.refuse("s1", phase=phase)
            (stream,) = world.log
            self.assertEqual(stream.course.server_error, told)
            world.check_rest()

    def test_another_server_is_tried(self) -> None:
        """With option redispatch."""
        world = StreamWorld(
            self,
            "listen l\n bind :1\n option redispatch 1\n server s1 192.0.2.1:1\n server s2 192.0.2.2:1\n",
        )
        client = world.client()
        client.feed(b"hello")
        world.refuse("s1")
        self.assertEqual(world.connect("s2").take(), b"hello")
        client.reset()
        (stream,) = world.log
        self.assertEqual((stream.retries, stream.redispatched, world.flags()), (1, True, ["s2 CD"]))
        world.check_rest()

    def test_a_server_that_answers_again_is_trusted_again(self) -> None:
        """Though each session is over in a moment: else one failed dial would leave one dial at a time for ever."""
        world = StreamWorld(self, PLAIN)
        client = world.client()
        world.refuse("s1")
        world.advance(1)
        server = world.connect("s1")
        server.feed(b"welcome")
        client.eof()
        server.eof()
        pool = world.servers["s1"].pool
        self.assertEqual((pool.trouble, pool.paused), ("", False))
        clients = [world.client() for _ in range(3)]
        self.assertEqual(world.dialled("s1"), 3)
        for each in clients:
            each.reset()
        world.check_rest()

    def test_a_client_that_has_ended_before_the_rules_decide_wants_nothing(self) -> None:
        """As one that ends later."""
        world = StreamWorld(
            self,
            "listen l\n bind :1\n tcp-request inspect-delay 5s\n tcp-request content accept if WAIT_END\n"
            " server s1 192.0.2.1:1\n",
        )
        world.client().eof()
        self.assertEqual(world.flags(), ["s1 CC"])
        world.check_rest()

    def test_without_a_server_there_is_none(self) -> None:
        """At once."""
        world = StreamWorld(self, "listen l\n bind :1\n server s1 192.0.2.1:1 disabled\n")
        client = world.client()
        self.assertEqual((world.flags(), client.end), (["- SC"], ("close", "session over")))
        world.check_rest()

    def test_who_finds_no_place_waits_for_one(self) -> None:
        """Until timeout queue."""
        world = StreamWorld(self, "listen l\n bind :1\n server s1 192.0.2.1:1 maxconn 1\n")
        first, second, third = world.client(), world.client(), world.client()
        server = world.connect("s1")
        self.assertEqual(len(world.backends["l"].queue), 2)
        second.feed(b"second")
        server.feed(b"x")
        first.eof()
        server.eof()
        self.assertEqual(world.connect("s1").take(), b"second")
        world.advance(8)
        self.assertEqual(world.flags(), ["s1 --", "- sQ"])
        self.assertIsNotNone(third.end)
        second.reset()
        world.check_rest()

    def test_a_client_that_leaves_waits_no_more(self) -> None:
        """By a reset, or by an end without a word."""
        for leaves in ("reset", "eof"):
            world = StreamWorld(self, "listen l\n bind :1\n server s1 192.0.2.1:1 maxconn 1\n")
            first, second, third = world.client(), world.client(), world.client()
            getattr(third, leaves)()
            getattr(first, leaves)()
            self.assertEqual(world.flags(), ["- CQ", "s1 CC"])
            world.connect("s1")
            second.reset()
            world.check_rest()

    def test_a_client_that_has_said_all_may_end_its_side(self) -> None:
        """Unless option abortonclose says that it has left."""
        world = StreamWorld(self, PLAIN)
        client = world.client()
        client.feed(b"all")
        client.eof()
        server = world.connect("s1")
        self.assertEqual((server.take(), server.half_closed), (b"all", True))
        server.feed(b"answer")
        server.eof()
        self.assertEqual((client.take(), world.flags()), (b"answer", ["s1 --"]))
        world.check_rest()
        world = StreamWorld(self, "listen l\n bind :1\n option abortonclose\n server s1 192.0.2.1:1\n")
        client = world.client()
        client.feed(b"all")
        client.eof()
        self.assertEqual(world.flags(), ["s1 CC"])
        world.check_rest()

    def test_an_operator_ends_a_session(self) -> None:
        """Wherever it stands."""
        world = StreamWorld(self, PLAIN)
        client = world.client()
        (connection,) = world.frontend.connections
        world.frontend.end_session(connection, "K")
        self.assertEqual((world.flags(), client.end), (["s1 KC"], ("close", "session over")))
        client = world.client()
        world.connect("s1")
        world.frontend.end_sessions(world.servers["s1"], "D")
        self.assertEqual(world.flags()[1:], ["s1 D-"])
        world.check_rest()


class ReloadTests(SynchronousTestCase):
    """Sessions of a proxy that another has replaced."""

    def test_who_waits_for_a_place_goes_to_the_new_server(self) -> None:
        """And who has one stays."""
        text = "listen l\n bind :1\n server s1 192.0.2.1:1 maxconn 1\n"
        world = StreamWorld(self, text)
        first, second = world.client(), world.client()
        server = world.connect("s1")
        second.feed(b"second")
        new = world.reload(text)
        self.assertEqual(new.connect("s1").take(), b"second")
        first.feed(b"first")
        self.assertEqual(server.take(), b"first")
        first.reset()
        second.reset()
        for each in (new, world):
            each.deadlines = Deadlines(Clock())  # they share one
            each.clock = Clock()
            each.check_rest()

    def test_who_is_looked_at_goes_there_too(self) -> None:
        """When the rules of the old one have decided."""
        text = "listen l\n bind :1\n tcp-request inspect-delay 5s\n tcp-request content accept if { req.len gt 3 }\n"
        world = StreamWorld(self, f"{text} server s1 192.0.2.1:1\n")
        client = world.client()
        new = world.reload(f"{text} server s1 192.0.2.1:1\n")
        client.feed(b"hello")
        self.assertEqual((world.dialled("s1"), new.connect("s1").take()), (0, b"hello"))
        client.reset()
        self.assertEqual(world.flags(), ["s1 CD"])

    def test_who_tries_again_does_so_where_the_file_says_now(self) -> None:
        """The old server may be one that is not trusted any more."""
        text = "listen l\n bind :1\n retries 2\n server s1 192.0.2.1:1 pool-min-conn 1\n"
        for ready in (True, False):
            with self.subTest(ready=ready):
                world = StreamWorld(self, text)
                warm = world.connect("s1") if ready else None
                client = world.client()
                new = world.reload(text)
                if warm is None:
                    world.refuse("s1")
                else:
                    warm.eof()
                client.feed(b"hello")
                self.assertEqual(len(world.servers["s1"].pool.waiters), 0)
                connections = [new.connect("s1") for _ in range(new.dialled("s1"))]
                self.assertIn(b"hello", [each.take() for each in connections])
                client.reset()
                self.assertEqual(world.flags(), ["s1 CD"])

    def test_who_waits_for_a_connection_gets_one_of_what_the_file_says_now(self) -> None:
        """The server that was chosen may be one that is not trusted any more."""
        world = StreamWorld(self, PLAIN)
        client = world.client()
        client.feed(b"hello")
        new = world.reload(PLAIN)
        self.assertEqual(world.connect("s1").take(), b"")
        self.assertEqual(new.connect("s1").take(), b"hello")
        client.reset()
        self.assertEqual(world.flags(), ["s1 CD"])


class RuleTests(SynchronousTestCase):
    """Rules about what comes first."""

    def test_rules_wait_for_what_decides(self) -> None:
        """And no longer."""
        world = StreamWorld(
            self,
            "listen l\n bind :1\n tcp-request inspect-delay 5s\n tcp-request content accept if { req.len ge 4 }\n"
            " tcp-request content reject\n server s1 192.0.2.1:1\n",
        )
        client = world.client()
        client.feed(b"ab")
        self.assertEqual(world.dialled("s1"), 0)
        client.feed(b"cd")
        self.assertEqual(world.connect("s1").take(), b"abcd")
        client.reset()
        for ends, letters in (
            (lambda late: world.advance(5), "- PR"),
            (lambda late: late.eof(), "- PR"),
            (lambda late: late.reset(), "- PR"),
        ):
            late = world.client()
            late.feed(b"ab")
            ends(late)
            self.assertEqual(world.flags()[-1], letters)
        self.assertEqual((world.frontend.traffic.dreq, world.backends["l"].traffic.stot), (3, 1))
        # What has reached no server is counted where it has come to.
        self.assertEqual([each.traffic.bin for each in (world.frontend, world.servers["s1"])], [4 + 3 * 2, 4])
        world.check_rest()

    def test_a_variable_of_what_has_come_is_set_again_when_more_comes(self) -> None:
        """Or who sends late, or in pieces, would get past a rule that asks for it. It is asked for when the delay is
        over, as the rule says, whatever it was before."""
        rule = "tcp-request content "
        for sets, asks in (
            ("set-var(sess.a) req.payload(0,0)", "var(sess.a) -m sub evil"),
            ("set-var(sess.a) req.len", "var(sess.a) -m int gt 3"),
            ("set-var-fmt(sess.a) %[req.len]", "var(sess.a) -m int gt 3"),
            (f"set-var(sess.b) req.len\n {rule}set-var(sess.a) var(sess.b),mul(2)", "var(sess.a) -m int gt 7"),
            (f"set-var(sess.a) req.len\n {rule}reject if {{ var(sess.a) -m int gt 3 }}", "always_false"),
            (f"track-sc0 src\n {rule}sc-set-gpt0(0) req.len", "sc0_get_gpt0 gt 3"),
            (
                f"set-var(sess.a) req.len\n {rule}track-sc1 src if {{ var(sess.a) -m int gt 3 }}\n"
                f" {rule}sc-inc-gpc0(1)",
                "sc1_get_gpc0 ge 1",
            ),
            (
                f"set-var(sess.a) req.len\n {rule}reject if {{ var(sess.a) -m int gt 3 }} {{ src_inc_gpc0(l) gt 0 }}",
                "always_false",
            ),
            (f"set-var(sess.a) req.len\n {rule}set-src-port var(sess.a)", "src_port 4:9"),
        ):
            lines = "stick-table type ip size 9 store gpt0,gpc0\n tcp-request inspect-delay 5s\n"
            lines += f" {rule}{sets}\n {rule}reject if WAIT_END {{ {asks} }}\n"
            world = StreamWorld(self, f"listen l\n bind :1\n {lines} server s1 192.0.2.1:1\n")
            for pieces, refused in (
                (("evil",), True),
                (("", "evil"), True),
                (("e", "v", "il"), True),
                (("ok",), False),
            ):
                client = world.client()
                for piece in pieces:
                    client.feed(piece.encode()) if piece else world.advance(1)
                world.advance(5)
                if refused:
                    self.assertEqual(world.flags()[-1], "- PR", (sets, pieces))
                else:
                    self.assertEqual(world.connect("s1").take(), b"ok")
                    client.reset()
            world.check_rest()

    def test_a_variable_that_counts_does_so_as_soon_as_something_is_tracked(self) -> None:
        """Once for each session, however many pieces come."""
        rule = "tcp-request content "
        for sets in (
            "set-var(sess.n) sc1_inc_gpc0",
            "set-var(sess.n) sc_inc_gpc0(1)",
            "set-var-fmt(sess.n) %[sc1_inc_gpc0]",
        ):
            world = StreamWorld(
                self,
                "listen l\n bind :1\n tcp-request inspect-delay 5s\n stick-table type string size 9 store gpc0\n"
                f" {rule}{sets}\n {rule}track-sc1 req.payload(0,3)\n"
                f" {rule}reject if {{ var(sess.n) -m int gt 1 }}\n {rule}accept if {{ req.len gt 10 }}\n"
                " server s1 192.0.2.1:1\n",
            )
            for passes in (True, False, False):
                client = world.client()
                for piece in (b"abc", b"defghi", b"jk"):
                    client.feed(piece)
                if passes:
                    self.assertEqual(world.connect("s1").take(), b"abcdefghijk", sets)
                    client.reset()
                else:
                    self.assertEqual(world.flags()[-1], "- PR", sets)
            world.check_rest()

    def test_a_line_of_http_0_9_is_a_request(self) -> None:
        """Some servers answer it, and wait for no more. What fields may follow is waited for."""
        rule = "listen l\n bind :1\n tcp-request inspect-delay 5s\n tcp-request content reject if {}\n"
        rule += " server s1 192.0.2.1:1\n"
        for said in ("HTTP", "METH_GET", "{ method GET }", "{ url_sub adm }"):
            for line in (b"GET adm\r\n", b"GET ./adm\n", b"GET ?adm\r\n", b"\r\nGET a/adm\r\nfoo: bar\r\n"):
                world = StreamWorld(self, rule.format(said))
                world.client().feed(line)
                self.assertEqual((world.flags(), world.dialled("s1")), (["- PR"], 0), (said, line))
                world.check_rest()
        world = StreamWorld(self, rule.format("{ req.hdr(host) b }"))
        client = world.client()
        client.feed(b"GET adm\r\n")
        client.feed(b"Host: b\r\n\r\n")
        self.assertEqual((world.flags(), world.dialled("s1")), (["- PR"], 0))

    def test_a_client_that_times_out_while_rules_wait_gets_no_server(self) -> None:
        """As in HAProxy, where `timeout client` is no longer than the delay; a rule that refuses it then is named."""
        for rules, flags in (
            ("reject if { req.payload(0,4) -m str evil }", "- cR"),
            ("accept if { req.len gt 10 }", "- cR"),
            ("reject if WAIT_END", "- PR"),
            ("accept if { req.len gt 10 }\n tcp-request content reject", "- PR"),
        ):
            for text in (
                "listen l\n bind :1\n timeout client 2s\n tcp-request inspect-delay 5s\n tcp-request content {}\n",
                "listen l\n bind :1\n timeout client 2s\n tcp-request inspect-delay 2s\n tcp-request content {}\n",
                "frontend l\n bind :1\n timeout client 2s\n default_backend b\n"
                "backend b\n tcp-request inspect-delay 5s\n tcp-request content {}\n",
            ):
                world = StreamWorld(self, f"{text.format(rules)} server s1 192.0.2.1:1\n")
                client = world.client()
                client.feed(b"evi")
                world.advance(1.9)
                self.assertEqual(world.flags(), [])
                world.advance(0.2)
                self.assertEqual([each.rpartition(" ")[2] for each in world.flags()], [flags[2:]], (rules, text))
                self.assertEqual(world.dialled("s1"), 0)
                world.check_rest()

    def test_a_client_has_its_time_once_for_the_rules_of_both_sections(self) -> None:
        """It counts from what was heard of it last."""
        for pieces, waits in (((), 1.0), ((b"evi",), 1.6)):
            world = StreamWorld(
                self,
                "frontend l\n bind :1\n timeout client 1s\n tcp-request inspect-delay 700ms\n"
                " tcp-request content accept if WAIT_END\n default_backend b\n"
                "backend b\n tcp-request inspect-delay 1s\n"
                " tcp-request content reject if { req.payload(0,4) -m str evil }\n server s1 192.0.2.1:1\n",
            )
            client = world.client()
            world.advance(0.6)
            for piece in pieces:
                client.feed(piece)
            world.advance(waits - 0.7)
            self.assertEqual(world.flags(), [])
            world.advance(0.2)
            self.assertEqual(([each[-2:] for each in world.flags()], world.dialled("s1")), (["cR"], 0))
            world.check_rest()

    def test_a_client_that_was_waited_for_in_vain_has_no_payload(self) -> None:
        """Not even an empty one, as in HAProxy, which finds that at its first look only."""
        found = "{ req.payload(0,0) -m found }"
        delay = "tcp-request inspect-delay 2s\n tcp-request content "
        for rules, passes in (
            (f"tcp-request content accept if {found}\n tcp-request content reject", True),
            (f"{delay}accept if {found}\n tcp-request content reject", True),
            (f"{delay}accept if WAIT_END {found}\n tcp-request content reject", False),
            (f"{delay}accept if {{ req.payload(0,0) -m str x }} or {found}\n tcp-request content reject", True),
            (f"{delay}reject if WAIT_END {found}", True),
        ):
            world = StreamWorld(self, f"listen l\n bind :1\n {rules}\n server s1 192.0.2.1:1\n")
            world.client()
            world.advance(3)
            self.assertEqual((world.dialled("s1"), [*world.flags()]), (1, []) if passes else (0, ["- PR"]), rules)
        world = StreamWorld(
            self, f"listen l\n bind :1\n {delay}accept if WAIT_END {found}\n tcp-request content reject\n"
        )
        world.client().eof()
        self.assertEqual(world.flags(), ["- PR"])

    def test_a_variable_that_is_overwritten_stays_so(self) -> None:
        """When more comes, too; and an address that was looked up."""
        rule = "tcp-request content "
        for then in ("set-var(sess.a) str(clean)", "unset-var(sess.a)"):
            world = StreamWorld(
                self,
                f"listen l\n bind :1\n tcp-request inspect-delay 5s\n {rule}set-var(sess.a) req.payload(0,0)\n"
                f" {rule}{then}\n {rule}accept if WAIT_END {{ var(sess.a) -m sub evil }}\n {rule}reject\n"
                " server s1 192.0.2.1:1\n",
            )
            client = world.client()
            client.feed(b"e")
            client.feed(b"vil")
            world.advance(5)
            self.assertEqual(world.flags()[-1], "- PR", then)
            world.check_rest()

    def test_what_counts_counts_once_however_much_comes(self) -> None:
        """And what is kept for good, the key of an entry, is waited for as long as it may change."""
        world = StreamWorld(
            self,
            "listen l\n bind :1\n stick-table type string size 9 store gpc0,conn_cnt\n tcp-request inspect-delay 5s\n"
            " tcp-request content track-sc0 req.payload(0,0)\n tcp-request content sc-inc-gpc0(0)\n"
            " tcp-request content set-var(sess.a) src_inc_gpc0(l)\n tcp-request content reject if { req.len 99 }\n"
            " server s1 192.0.2.1:1\n",
        )
        client = world.client()
        for piece in (b"a", b"b", b"c"):
            client.feed(piece)
        world.advance(5)
        self.assertEqual(world.connect("s1").take(), b"abc")
        table = world.frontend.tables["l"]
        rows = [row for row in range(1, table.rows) if table.holds(row)]
        self.assertEqual([table.key_of(row) for row in rows], [b"abc", b"192.0.2.7"])
        self.assertEqual([table.value(row, table.slots["gpc0"]) for row in rows], [1, 1])
        client.reset()
        world.check_rest()

    def test_a_name_in_a_hello_leads_to_a_backend(self) -> None:
        """Without a rule that waits for it, it is not there yet."""
        hello = client_hello("b.example")
        text = "frontend f\n bind :1\n {}default_backend a\n use_backend b if {{ req.ssl_sni -i b.example }}\n"
        text += "backend a\n server s1 192.0.2.1:1\nbackend b\n server s2 192.0.2.2:1\n"
        waits = "tcp-request inspect-delay 5s\n tcp-request content accept if { req.ssl_hello_type 1 }\n "
        for words, server in (("", "s1"), (waits, "s2")):
            world = StreamWorld(self, text.format(words))
            client = world.client()
            client.feed(hello[:20])
            client.feed(hello[20:])
            self.assertEqual(world.connect(server).take(), hello, server)
            client.reset()
            world.check_rest()

    def test_a_hello_is_read_once_whatever_many_rules_ask(self) -> None:
        """A long one takes a while, in which nobody else is served."""
        text = "frontend f\n bind :1\n tcp-request inspect-delay 5s\n"
        text += " tcp-request content accept if { req.ssl_sni c.example }\n default_backend a\n"
        text += " use_backend a if { req.ssl_sni d.example }\n" * 20 + "backend a\n server s1 192.0.2.1:1\n"
        world = StreamWorld(self, text)
        client = world.client()
        with patch.object(wire_client_hello, "_client_hello", side_effect=wire_client_hello._client_hello) as read:
            hello = client_hello("b.example") + b"more"
            for at in range(0, len(hello), 100):
                client.feed(hello[at : at + 100])
            world.advance(5)
            world.connect("s1")
        self.assertEqual(read.call_count, 1)
        client.reset()
        world.check_rest()

    def test_rules_see_as_much_as_a_buffer_holds(self) -> None:
        """What they look for stands behind the first 16 KiB, or in a head that is longer; `tune.bufsize` is 64k."""
        padding = b"x" * 20_000
        asked = b"GET /secret HTTP/1.1\r\nX-Pad: " + padding + b"\r\nX-Role: admin\r\n\r\n"
        message = b"\x01\x00\xff\xfc\x03\x03" + bytes(4 * HELD - 6)
        hello = b"".join(b"\x16\x03\x01\x40\x00" + message[at : at + HELD] for at in range(0, 4 * HELD, HELD))
        for condition, data in (
            ("path /secret", asked),
            ("hdr(x-role) admin", asked),
            ("req.payload(20000,3) -m str bad", padding + b"bad"),
            ("req.payload_lv(20000,2) -m str bad", padding + b"\x00\x03bad"),
            ("req.len gt 20002", padding + b"bad"),
            # As nobody can tell what is asked for there, nobody is let in; not before that much has come.
            ("req.ssl_sni -m str secret.test", hello[: 4 * HELD]),
        ):
            world = StreamWorld(
                self,
                "listen l\n bind :1\n tcp-request inspect-delay 2s\n"
                f" tcp-request content reject if {{ {condition} }}\n server s1 192.0.2.1:1\n",
                limits=Limits(buffer=4 * HELD),
            )
            client = world.client()
            client.feed(data[:-1])
            self.assertEqual(world.log, [], condition)
            client.feed(data[-1:])
            self.assertEqual([stream.flags for stream in world.log], ["PR"], condition)
            world.check_rest()

    def test_and_as_much_of_what_a_server_says(self) -> None:
        world = StreamWorld(
            self,
            "listen l\n bind :1\n tcp-response inspect-delay 2s\n"
            " tcp-response content reject if { res.payload(20000,3) -m str bad }\n server s1 192.0.2.1:1\n",
            limits=Limits(buffer=4 * HELD),
        )
        client = world.client()
        server = world.connect("s1")
        server.feed(b"x" * 20_000)
        server.feed(b"bad")
        self.assertEqual(([stream.flags for stream in world.log], client.take()), (["PD"], b""))
        world.check_rest()

    def test_a_rule_that_fails_by_our_fault_refuses_the_client(self) -> None:
        """At whichever stage of its session, and also as its delay ends: what stands behind that rule might have."""
        front, back = "frontend f\n bind :1\n {} default_backend b\nbackend b\n", " server s1 192.0.2.1:1\n"
        at_once, in_time = "tcp-request content reject if { uuid -m str x }\n", "tcp-request inspect-delay 2s\n "
        tables = "stick-table type string size 10\n"
        for text in (
            front.format(at_once) + back,
            front.format(f"{in_time}tcp-request content accept if WAIT_END {{ uuid -m str x }}\n") + back,
            front.format("use_backend b if { uuid -m str x }\n") + back,
            front.format("") + f" {at_once}" + back,
            front.format("")
            + f" {in_time}tcp-request content reject if {{ req.len gt 9 }} {{ uuid -m str x }}\n"
            + back,
            front.format("") + " use-server s1 if { uuid -m str x }\n" + back,
            front.format("") + f" {tables} stick on uuid\n" + back,
        ):
            with patch("reusedproxy.rules.samples.process_fetches.uuid4", side_effect=ValueError("no numbers left")):
                world = StreamWorld(self, text)
                client = world.client()
                client.feed(b"0123456789")
                world.advance(2)
            self.assertEqual([stream.flags for stream in world.log], ["PR"], text)
            told = [line for _, line in world.announced if "please report it: ValueError('no numbers left')" in line]
            self.assertEqual(len(told), 1, text)
            self.assertNotEqual(client.end, None, text)
            self.assertEqual(world.frontend.traffic.eint, 1)
            world.check_rest()

    def test_nor_does_such_a_fault_keep_the_place_of_a_client_that_has_left(self) -> None:
        rule = "tcp-request content reject if WAIT_END { uuid -m found }"
        world = StreamWorld(
            self, f"listen l\n bind :1\n tcp-request inspect-delay 2s\n {rule}\n server s1 192.0.2.1:1\n"
        )
        client = world.client()
        with patch("reusedproxy.rules.samples.process_fetches.uuid4", side_effect=ValueError("no numbers left")):
            client.reset()
        self.assertEqual(len(world.log), 1)
        world.check_rest()

    def test_what_a_server_says_is_refused_by_such_a_fault_too(self) -> None:
        world = StreamWorld(
            self,
            "listen l\n bind :1\n tcp-response content reject if { uuid -m str x }\n server s1 192.0.2.1:1\n",
        )
        client = world.client()
        with patch("reusedproxy.rules.samples.process_fetches.uuid4", side_effect=ValueError("no numbers left")):
            world.connect("s1").feed(b"220 ready")
        self.assertEqual(([stream.flags for stream in world.log], client.take()), (["PD"], b""))
        world.check_rest()

    def test_rules_of_the_backend_come_after_its_choice(self) -> None:
        """With their own delay."""
        world = StreamWorld(
            self,
            "frontend f\n bind :1\n default_backend b\nbackend b\n tcp-request inspect-delay 2s\n"
            " tcp-request content reject unless { req.payload(0,3) -m str yes }\n server s1 192.0.2.1:1\n",
        )
        good, bad = world.client(), world.client()
        good.feed(b"yes, please")
        bad.feed(b"no")
        self.assertEqual(world.connect("s1").take(), b"yes, please")
        world.advance(2)
        (refused,) = world.log
        self.assertEqual((refused.flags, refused.backend and refused.backend.name), ("PR", "b"))
        good.reset()
        world.check_rest()

    def test_a_client_hears_nothing_of_a_silent_drop(self) -> None:
        """By the frontend's rules, the backend's, and those about what a server says."""
        drop = "silent-drop if { req.len ge 2 }\n server s1 192.0.2.1:1\n"
        of_server = "silent-drop if { res.len ge 2 }\n server s1 192.0.2.1:1\n"
        for text, flags in (
            (f"listen l\n bind :1\n tcp-request inspect-delay 2s\n tcp-request content {drop}", "- PR"),
            (
                "frontend f\n bind :1\n default_backend b\nbackend b\n tcp-request inspect-delay 2s\n"
                f" tcp-request content {drop}",
                "- PR",
            ),
            (f"listen l\n bind :1\n tcp-response inspect-delay 2s\n tcp-response content {of_server}", "s1 PD"),
        ):
            world = StreamWorld(self, text)
            client = world.client()
            client.feed(b"ab")
            if flags != "- PR":
                world.connect("s1").feed(b"xy")
            self.assertTrue(client.hidden, text)
            self.assertEqual((client.take(), client.end and client.end[0], world.flags()), (b"", "abort", [flags]))
            world.check_rest()

    def test_a_server_speaks_when_the_rules_have_heard_it(self) -> None:
        """Or not at all."""
        world = StreamWorld(
            self,
            "listen l\n bind :1\n tcp-response inspect-delay 2s\n"
            " tcp-response content reject if { res.payload(0,3) -m str bad }\n server s1 192.0.2.1:1\n",
        )
        client = world.client()
        server = world.connect("s1")
        server.feed(b"ba")
        self.assertEqual(client.take(), b"")
        server.feed(b"nana")
        server.feed(b"!")
        self.assertEqual(client.take(), b"banana!")
        client.reset()
        client = world.client()
        world.connect("s1").feed(b"bad")
        self.assertEqual((client.take(), world.flags()[1:]), (b"", ["s1 PD"]))
        client = world.client()
        server = world.connect("s1")
        server.feed(b"ba")
        server.eof()
        self.assertEqual((client.take(), client.half_closed), (b"ba", True))
        client.eof()
        world.check_rest()

    def test_a_server_that_says_nothing_the_rules_accept_is_rejected_when_the_delay_is_over(self) -> None:
        """`wait_end` is known of what a server says, too."""
        world = StreamWorld(
            self,
            "listen l\n bind :1\n tcp-response inspect-delay 2s\n"
            " tcp-response content accept if { res.payload(0,3) -m str 220 }\n"
            " tcp-response content reject if WAIT_END\n server s1 192.0.2.1:1\n",
        )
        client = world.client()
        world.connect("s1").feed(b"HTTP/1.1 200 OK")
        world.advance(1.9)
        self.assertEqual((client.take(), world.flags()), (b"", []))
        world.advance(0.2)
        self.assertEqual((client.take(), world.flags()), (b"", ["s1 PD"]))
        world.check_rest()

    def test_a_rule_closes_the_servers_connection(self) -> None:
        """The client gets nothing of what the rules have held back, as in HAProxy; that is no refusal."""
        for rule, ends in (("close if { res.len gt 2 }", None), ("close if { res.len gt 0 } WAIT_END", Wire.reset)):
            world = StreamWorld(
                self,
                "listen l\n bind :1\n tcp-response inspect-delay 5s\n"
                f" tcp-response content {rule}\n server s1 192.0.2.1:1\n",
            )
            client = world.client()
            server = world.connect("s1")
            server.feed(b"a ")
            self.assertEqual(world.log, [])
            if ends is None:
                server.feed(b"secret")
                self.assertEqual(server.end, ("abort", "closed by a rule"))
            else:
                ends(server)
            self.assertEqual((client.take(), client.end), (b"", ("close", "session over")), rule)
            self.assertEqual((world.flags(), world.frontend.traffic.dresp), (["s1 --"], 0))
            world.check_rest()

    def test_rules_decide_at_last_about_a_server_that_says_no_more(self) -> None:
        """It resets its connection, or its time is over, while they wait: the client gets what they let pass."""
        waits = (
            "listen l\n bind :1\n {}tcp-response inspect-delay 30s\n tcp-response content {}\n server s1 192.0.2.1:1\n"
        )
        accepts, both = "accept if { res.payload(0,20) -m found }", " timeout client 20s\n "
        for more, rule, end, said, flags in (
            ("", accepts, Wire.reset, b"220", "s1 SD"),
            ("", f"{accepts}\n tcp-response content reject", Wire.reset, b"", "s1 PD"),
            ("", accepts, None, b"220", "s1 sD"),
            ("", f"{accepts}\n tcp-response content reject", None, b"", "s1 PD"),
            (both, accepts, None, b"220", "s1 cD"),
            (both, f"{accepts}\n tcp-response content reject", None, b"", "s1 PD"),
        ):
            world = StreamWorld(self, waits.format(more, rule))
            client = world.client()
            server = world.connect("s1")
            server.feed(b"220")
            self.assertEqual(client.take(), b"")
            if end is None:
                world.advance(20)
            else:
                end(server)
            if not world.log:
                self.assertEqual((client.take(), client.half_closed), (said, True))
                client.eof()
                said = b""
            self.assertEqual((client.take(), world.flags()), (said, [flags]), (more, rule, end))
            self.assertEqual(world.frontend.traffic.dresp, flags == "s1 PD")
            if client.end is not None:
                self.assertNotEqual(client.end[0], "abort")
            world.check_rest()

    def test_what_was_held_back_is_activity_when_it_is_given(self) -> None:
        """A client is not taken for silent that has just been answered."""
        world = StreamWorld(
            self,
            "listen l\n bind :1\n timeout client 3s\n timeout server 30s\n tcp-response inspect-delay 2s\n"
            " tcp-response content accept if WAIT_END\n server s1 192.0.2.1:1\n",
        )
        client = world.client()
        client.feed(b"x")
        server = world.connect("s1")
        server.feed(b"220")
        world.advance(2.1)
        self.assertEqual(client.take(), b"220")
        world.advance(2)
        self.assertFalse(server.half_closed)
        world.advance(1.5)
        self.assertTrue(server.half_closed)

    def test_what_a_silent_server_has_not_said_is_judged_too(self) -> None:
        """As in HAProxy: a rule that accepts nothing but a greeting refuses a server that resets without one."""
        world = StreamWorld(
            self,
            "listen l\n bind :1\n tcp-response inspect-delay 5s\n"
            " tcp-response content accept if { res.payload(0,3) -m str 220 }\n tcp-response content reject\n"
            " server s1 192.0.2.1:1\n",
        )
        world.client().feed(b"x")
        world.connect("s1").reset()
        self.assertEqual((world.flags(), world.frontend.traffic.dresp), (["s1 PD"], 1))
        world.check_rest()

    def test_rules_are_not_asked_what_an_operator_ends(self) -> None:
        world = StreamWorld(
            self,
            "listen l\n bind :1\n tcp-response inspect-delay 5s\n"
            " tcp-response content accept if { res.payload(0,20) -m found }\n server s1 192.0.2.1:1\n",
        )
        client = world.client()
        server = world.connect("s1")
        server.feed(b"220")
        server.abort(STOPPED)
        self.assertEqual((client.take(), world.flags()), (b"", ["s1 KD"]))
        world.check_rest()

    def test_a_warm_greeting_is_heard_by_the_rules_too(self) -> None:
        """It came before anybody asked."""
        world = StreamWorld(
            self,
            "listen l\n bind :1\n tcp-response content reject if { res.payload(0,3) -m str 554 }\n"
            " tcp-response inspect-delay 1s\n server s1 192.0.2.1:1 pool-min-conn 1\n",
        )
        world.connect("s1").feed(b"554 go away")
        client = world.client()
        self.assertEqual((client.take(), world.flags()), (b"", ["s1 PD"]))
        world.check_rest()

    def test_the_rules_hear_the_server_that_took_the_place_of_another_for_as_long(self) -> None:
        """The delay of the first one, which was lost without a word, lets nothing of the second pass."""
        for end in (Wire.reset, Wire.eof):
            world = StreamWorld(
                self,
                "listen l\n bind :1\n tcp-response inspect-delay 4s\n"
                " tcp-response content reject if { res.payload(0,3) -m str bad }\n"
                " server s1 192.0.2.1:1 pool-min-conn 2\n",
            )
            other, first = world.connect("s1"), world.connect("s1")
            client = world.client()
            world.advance(2)
            end(first)
            other.feed(b"ba")
            world.advance(2.5)
            self.assertEqual(client.take(), b"")
            other.feed(b"d")
            self.assertEqual((client.take(), world.flags()), (b"", ["s1 PD"]))
            world.check_rest()

    def test_variables_and_servers(self) -> None:
        """set-var in content, and use-server by it."""
        world = StreamWorld(
            self,
            "listen l\n bind :1\n tcp-request inspect-delay 1s\n"
            " tcp-request content set-var(sess.first) req.payload(0,1)\n"
            " use-server s2 if { var(sess.first) -m str b }\n server s1 192.0.2.1:1\n server s2 192.0.2.2:1\n",
        )
        client = world.client()
        self.assertEqual((world.dialled("s1"), world.dialled("s2")), (0, 0))
        client.feed(b"b")
        self.assertEqual(world.connect("s2").take(), b"b")
        client.reset()
        world.check_rest()

    def test_http_can_be_told_from_other_things(self) -> None:
        """By its head, as soon as that is clear."""
        text = "listen l\n bind :1\n tcp-request inspect-delay 2s\n tcp-request content reject if !HTTP\n"
        world = StreamWorld(self, f"{text} server s1 192.0.2.1:1\n")
        client, other = world.client(), world.client()
        other.feed(b"\x16\x03\x01")
        self.assertEqual(world.flags(), ["- PR"])
        client.feed(b"GET / HTTP/1.1\r\n")
        client.feed(b"Host: a\r\n\r\n")
        self.assertEqual(world.connect("s1").take(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        client.reset()
        world.check_rest()

    def test_no_spelling_of_a_request_passes_the_rules(self) -> None:
        """The server gets it as it came, and may read what mode http would refuse."""
        text = "listen l\n bind :1\n tcp-request inspect-delay 2s\n tcp-request content reject if { path_beg /a }\n"
        text += " tcp-request content reject if { hdr(host) -i evil }\n tcp-request content accept if HTTP\n"
        world = StreamWorld(self, f"{text} server s1 192.0.2.1:1\n")
        for sent in (
            b"GET /a HTTP/1.1\n\n",
            b"GET /a HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: evil\r\nX: 1\r\n 2\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: good\r\nHost: other\r\n\r\n",
        ):
            client = world.client()
            client.feed(sent)
            self.assertEqual((world.flags()[-1:], world.dialled("s1")), (["- PR"], 0), sent)
        world.check_rest()

    def test_a_client_stays_at_its_server(self) -> None:
        """balance source."""
        servers = "".join(f" server s{n} 192.0.2.{n}:1\n" for n in (1, 2, 3))
        world = StreamWorld(self, f"listen l\n bind :1\n balance source\n{servers}")
        for last in range(1, 5):
            chosen = set()
            for _ in range(3):
                client = world.client((f"198.51.100.{last}", 1))
                (name,) = [name for name in world.servers if world.dialled(name)]
                chosen.add(name)
                world.connect(name)
                client.reset()
            self.assertEqual(len(chosen), 1)
        world.check_rest()


def client_hello(name: str) -> bytes:
    """What OpenSSL says first to this server."""
    from OpenSSL import SSL

    connection = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
    connection.set_connect_state()
    connection.set_tlsext_host_name(name.encode())
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        pass
    said: bytes = connection.bio_read(65536)
    return said
