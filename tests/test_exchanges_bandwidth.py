"""Bandwidth limits of requests and answers (`filter bwlim-in`, `bwlim-out`, `set-bandwidth-limit`): how many bytes have
gone on at which time, and what goes on around them."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.transport import CLOSED
from tests.clientfakes import OK, World, get, response
from tests.rulefakes import ruled

LIMIT = "filter bwlim-out f default-limit 1000 default-period 1s\n http-response set-bandwidth-limit f"
UPLOAD = "filter bwlim-in f default-limit 1000 default-period 1s\n http-request set-bandwidth-limit f"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6000\r\n\r\n"


def lapse(world: World, seconds: float) -> None:
    """Time passes as it does: what is unused for long is lost."""
    for _ in range(round(seconds * 20)):
        world.clock.advance(0.05)


def body_of(data: bytes) -> bytes:
    return data.partition(b"\r\n\r\n")[2]


class AnswerTests(SynchronousTestCase):
    def asked(self, rules: str = LIMIT, request: bytes = b"") -> World:
        world = ruled(self, rules, warm=1)
        client = world.client()
        client.send(request or get("/"))
        self.assertTrue(world.server.asked())
        self.client = client
        return world

    def test_an_answer_comes_at_its_pace_behind_a_head_that_is_free(self) -> None:
        """The first bytes at once, as many as the limit has for a period; then evenly."""
        world = self.asked()
        world.server.answer(response(bytes(6000)))
        self.assertEqual(len(body_of(self.client.take())), 1000)
        came = 1000
        for tenth in range(1, 51):
            lapse(world, 0.1)
            came += len(self.client.take())
            # A deadline may be told a slot late.
            self.assertTrue(0 <= 1000 + 100 * tenth - came <= 1000 / 32, (tenth, came))
        self.assertEqual(came, 6000)
        world.check_rest()

    def test_the_next_request_waits_for_the_end_of_the_answer_and_has_its_own_pace(self) -> None:
        world = self.asked()
        world.server.answer(response(bytes(3000)))
        self.client.send(get("/next"))
        self.assertEqual(world.server.asked(), b"")
        lapse(world, 1)
        self.assertEqual(world.server.asked(), b"")
        lapse(world, 1.1)
        self.assertIn(b"/next", world.server.asked())
        self.assertEqual(len(body_of(self.client.take())), 3000)
        world.server.answer(response(bytes(1500)))
        self.assertEqual(len(body_of(self.client.take())), 1000)
        lapse(world, 0.6)
        self.assertEqual(len(self.client.take()), 500)
        world.check_rest()

    def test_no_time_out_ends_an_answer_that_waits_for_its_pace(self) -> None:
        """`timeout client` is 30 s, and each piece waits for 100 s."""
        rules = "filter bwlim-out f default-limit 1000 default-period 100s min-size 1000\n"
        world = self.asked(rules + " http-request set-bandwidth-limit f")
        world.server.answer(response(bytes(40_000)))
        for _ in range(4200):
            lapse(world, 1)
        self.assertEqual(len(body_of(self.client.take())), 40_000)
        self.assertEqual(world.flags(), [(200, "--")])
        world.check_rest()

    def test_a_client_that_takes_nothing_is_let_go_all_the_same(self) -> None:
        world = self.asked()
        self.client.wire.stall()
        world.server.answer(response(bytes(40_000)))
        for _ in range(130):
            lapse(world, 1)
        self.assertTrue(self.client.gone)
        world.check_rest()

    def test_a_server_that_is_read_no_further_is_not_slow(self) -> None:
        """It answers more than is held: it is paused, and has its time again when it is read on."""
        world = self.asked(
            "filter bwlim-out f default-limit 1000 default-period 1s\n http-request set-bandwidth-limit f"
        )
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 150000\r\n\r\n" + bytes(100_000))
        (server,) = world.server.busy
        self.assertFalse(server.reading)
        lapse(world, 90)
        lapse(world, 7)
        server.feed(bytes(50_000))
        lapse(world, 54)
        self.assertEqual(len(body_of(self.client.take())), 150_000)
        self.assertEqual(world.flags(), [(200, "--")])
        world.check_rest()

    def test_what_has_no_body_is_not_paced(self) -> None:
        for request, answer in (
            (get("/", method="HEAD"), b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n"),
            (get("/"), b"HTTP/1.1 204 No Content\r\n\r\n"),
        ):
            world = self.asked(request=request)
            world.server.answer(answer)
            self.assertTrue(self.client.take().endswith(b"\r\n\r\n"))
            self.assertIsNone(self.client.wire.pace)
            world.check_rest()

    def test_the_last_answer_is_sent_at_its_pace_before_the_connection_is_closed(self) -> None:
        world = self.asked(request=get("/", "Connection: close"))
        world.server.answer(response(bytes(3000)))
        self.assertEqual(len(body_of(self.client.take())), 1000)
        self.assertFalse(self.client.gone)
        lapse(world, 2.1)
        self.assertEqual(len(self.client.take()), 2000)
        self.assertTrue(self.client.gone)
        world.check_rest()

    def test_a_client_that_leaves_meanwhile_leaves_nothing_behind(self) -> None:
        world = self.asked()
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 150000\r\n\r\n" + bytes(100_000))
        self.client.wire.reset()
        self.assertEqual([flags for _, flags in world.flags()], ["CD"])
        world.check_rest()

    def test_the_last_rule_for_a_filter_counts(self) -> None:
        """A default, and another limit for some; expressions are bytes and milliseconds."""
        rules = f"{LIMIT}\n http-response set-bandwidth-limit f limit int(500) period int(2000)"
        world = self.asked(rules)
        world.server.answer(response(bytes(1000)))
        self.assertEqual(len(body_of(self.client.take())), 500)
        lapse(world, 1)
        self.assertLessEqual(abs(len(self.client.take()) - 250), 8)
        lapse(world, 1.1)
        self.client.take()
        world.check_rest()

    def test_several_limits_hold_at_once(self) -> None:
        rules = (
            f"{LIMIT}\n filter bwlim-out g default-limit 200 default-period 1s\n http-response set-bandwidth-limit g"
        )
        world = self.asked(rules)
        world.server.answer(response(bytes(1200)))
        self.assertEqual(len(body_of(self.client.take())), 200)
        lapse(world, 1)
        self.assertLessEqual(abs(len(self.client.take()) - 200), 8)
        lapse(world, 4.1)
        self.assertLessEqual(abs(len(self.client.take()) - 800), 8)
        world.check_rest()

    def test_answers_to_all_requests_of_a_client_share_a_limit(self) -> None:
        """Also one after the other: the table remembers."""
        table = "stick-table type ip size 100 expire 1m store bytes_out_rate(1s)\n"
        rules = f"{table} filter bwlim-out f limit 1000 key src\n http-response set-bandwidth-limit f"
        world = ruled(self, rules, warm=2)
        clients = [world.client(), world.client()]
        for client in clients:
            client.send(get("/"))
        for server in list(world.server.busy):
            server.feed(response(bytes(3000)))
        self.assertEqual(sorted(len(body_of(client.take())) for client in clients), [0, 1000])
        for _ in range(100):
            world.clock.advance(0.01)
        came = [len(client.take()) for client in clients]
        self.assertLessEqual(abs(sum(came) - 1000), 32)
        self.assertLessEqual(abs(came[0] - came[1]), 32)
        for _ in range(420):
            world.clock.advance(0.01)
        self.assertEqual(sum(map(len, (client.take() for client in clients))) + sum(came), 5000)
        clients[0].send(get("/"))
        self.assertTrue(world.server.asked())
        world.server.answer(response(bytes(1000)))
        self.assertLess(len(body_of(clients[0].take())), 300)
        lapse(world, 3)
        world.check_rest()
        table_ = world.frontend.tables["fe"]
        self.assertEqual((table_.lent, list(table_.uses)[1:]), ({}, [0]))


class RequestTests(SynchronousTestCase):
    def test_an_upload_goes_on_at_its_pace(self) -> None:
        world = ruled(self, UPLOAD, warm=1)
        client = world.client()
        client.send(POST + bytes(6000))
        came = len(body_of(world.server.asked()))
        self.assertEqual(came, 1000)
        for tenth in range(1, 51):
            lapse(world, 0.1)
            came += len(world.server.asked())
            self.assertTrue(0 <= 1000 + 100 * tenth - came <= 1000 / 32, (tenth, came))
        self.assertEqual(came, 6000)
        world.server.answer(OK)
        self.assertEqual(client.take(), OK)
        client.send(get("/"))  # without a body there is nothing to pace
        self.assertTrue(world.server.asked())
        world.server.answer(OK)
        world.check_rest()

    def test_a_client_is_not_read_while_too_much_waits_and_no_time_out_runs(self) -> None:
        world = ruled(self, UPLOAD, warm=1)
        client = world.client()
        client.send(POST.replace(b"6000", b"100000"))
        world.server.asked()
        client.send(bytes(40_000))
        self.assertFalse(client.wire.reading)
        for _ in range(60):
            lapse(world, 1)
        self.assertFalse(client.gone)
        client.send(bytes(60_000))
        for _ in range(60):
            lapse(world, 1)
        self.assertEqual(len(world.server.asked()), 100_000)
        world.server.answer(OK)
        self.assertEqual(client.take(), OK)
        world.check_rest()

    def test_a_server_has_its_time_from_the_last_byte_on(self) -> None:
        """`timeout server` is 20 s; the request takes 99 s."""
        world = ruled(self, UPLOAD, warm=1)
        client = world.client()
        client.send(POST.replace(b"6000", b"100000") + bytes(100_000))
        lapse(world, 99 + 19)
        self.assertEqual(world.flags(), [])
        for _ in range(3):
            lapse(world, 1)
        self.assertEqual(world.flags(), [(504, "sH")])
        lapse(world, 10)
        world.check_rest()

    def test_a_client_that_asks_before_it_sends_is_told_to(self) -> None:
        world = ruled(self, UPLOAD, warm=1)
        client = world.client()
        client.send(POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
        self.assertTrue(world.server.asked().endswith(b"\r\n\r\n"))
        world.server.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertIn(b"100 Continue", client.take())
        client.send(bytes(6000))
        self.assertEqual(len(world.server.asked()), 1000)
        lapse(world, 5.1)
        self.assertEqual(len(world.server.asked()), 5000)
        world.server.answer(OK)
        world.check_rest()

    def test_an_early_answer_ends_the_upload_as_ever(self) -> None:
        world = ruled(self, UPLOAD, warm=1)
        client = world.client()
        client.send(POST + bytes(6000))
        world.server.answer(response(b"no", "Connection: close", status="413 Too Large"))
        self.assertIn(b"413", client.take())
        lapse(world, 10)
        world.check_rest()

    def test_a_request_that_is_sent_again_keeps_its_pace(self) -> None:
        world = ruled(self, UPLOAD.replace("1000", "4k"), warm=2)
        world.backend.settings = evolve(world.backend.settings, retry_on=frozenset(["empty-response"]), retries=1)
        client = world.client()
        client.send(POST.replace(b"POST", b"PUT") + bytes(6000))
        self.assertEqual(len(body_of(world.server.asked())), 4096)
        world.server.eof()
        world.server.connect()
        self.assertEqual(body_of(world.server.asked()), b"")
        lapse(world, 0.5)
        self.assertLessEqual(abs(len(world.server.asked()) - 2048), 64)
        lapse(world, 2)
        self.assertLessEqual(abs(len(world.server.asked()) - 3952), 64)
        world.server.answer(OK)
        self.assertEqual(client.take(), OK)
        world.check_rest()


class TunnelTests(SynchronousTestCase):
    def test_both_ways_of_a_tunnel_have_their_pace_and_no_time_out(self) -> None:
        rules = (
            f"{UPLOAD}\n filter bwlim-out g default-limit 1000 default-period 1s\n http-request set-bandwidth-limit g"
        )
        world = ruled(self, rules, warm=1)
        client = world.client()
        client.send(get("/", "Connection: Upgrade", "Upgrade: chat"))
        self.assertTrue(world.server.asked())
        world.server.answer(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
        self.assertTrue(client.take().endswith(b"\r\n\r\n"))
        server = world.server.wires[-1]
        client.send(bytes(3000))
        server.feed(bytes(50_000))
        self.assertEqual((len(client.take()), len(server.take())), (1000, 1000))
        came = 1000
        for _ in range(49):
            lapse(world, 1)
            came += len(client.take())
        self.assertEqual((came, len(server.take())), (50_000, 2000))
        self.assertFalse(client.gone)
        server.feed(bytes(5000))
        server.eof()
        client.wire.eof()
        lapse(world, 5.1)
        self.assertEqual(len(client.take()), 5000)
        self.assertEqual(client.wire.state, CLOSED)
        lapse(world, 10)
        world.check_rest()
