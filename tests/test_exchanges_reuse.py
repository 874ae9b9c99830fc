"""Who is given whose connection: HAProxy's table for `http-reuse`, and our own rule where it is unset."""

from __future__ import annotations

from itertools import product
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import reusedproxy.sessions.session
from reusedproxy.exchanges.own_answers import KEEPING
from tests.clientfakes import GET, OK, POST, Client, Wire, World, get


class TableTests(SynchronousTestCase):
    """A connection stands idle. Is it used for this request, or is a new one opened?"""

    def reuses(
        self,
        mode: str | None,
        *,
        first: bool = True,
        reused: bool = False,
        request: bytes = GET,
        idle_for: float = 0.0,
    ) -> bool:
        """`first`: of its client; `reused`: the connection has been, before."""
        world = World(self, warm=1, backend={"http_reuse": mode})
        far = world.server
        client = world.client()
        (connection,) = far.pool.idle
        if not first:
            client.connection.requests = 1
        connection.requests = 1
        connection.safe = reused
        world.advance(idle_for)
        client.send(request)
        used = not far.dialer.open
        if not used:
            far.connect()
        far.answer()
        self.assertEqual(client.take(), OK)
        world.check_rest()
        return used

    def test_haproxys_table(self) -> None:
        """Columns: a client's first request, the same where the connection has been reused, a later request."""
        table = {
            "never": (False, False, False),
            "safe": (False, False, True),
            "aggressive": (False, True, True),
            "always": (True, True, True),
        }
        for mode, expected in table.items():
            seen = (self.reuses(mode), self.reuses(mode, reused=True), self.reuses(mode, first=False))
            self.assertEqual(seen, expected, mode)

    def test_unset_what_may_be_repeated_takes_any(self) -> None:
        """A GET on any idle connection, however long it has stood."""
        self.assertTrue(self.reuses(None))
        self.assertTrue(self.reuses(None, idle_for=3))

    def test_unset_what_may_not_be_repeated_takes_a_fresh_one(self) -> None:
        """A POST on one that was alive a moment ago, else on a new one."""
        self.assertTrue(self.reuses(None, request=POST + b"body"))
        self.assertFalse(self.reuses(None, request=POST + b"body", idle_for=3))

    def test_aggressive_wants_proof(self) -> None:
        """A connection is safe from its second request on, whose client's it may be."""
        world = World(self, warm=1, backend={"http_reuse": "aggressive"})
        first, second = world.client(), world.client()
        first.send(GET)
        world.server.connect()
        world.server.answer()
        self.assertEqual(
            [connection.safe for connection in world.server.pool.idle], [False]
        )  # the unused one is more than needed
        first.send(GET)
        world.server.answer()
        self.assertEqual([connection.safe for connection in world.server.pool.idle], [True])
        second.send(GET)
        self.assertEqual(world.server.dialer.open, [])
        world.server.answer()
        world.check_rest()


class NeverTests(SynchronousTestCase):
    """`http-reuse never`: a server connection belongs to its client's connection."""

    def setUp(self) -> None:
        self.world = World(self, backend={"http_reuse": "never"})

    def ask(self, client: Client) -> Wire:
        """The connection that carries the request."""
        far = self.world.server
        client.send(GET)
        if far.dialer.open:
            far.connect()
        (wire,) = far.busy
        far.answer()
        self.assertEqual(client.take(), OK)
        return wire

    def test_each_client_has_its_own(self) -> None:
        """And keeps it for its next requests."""
        one, other = self.world.client(), self.world.client()
        wires = [self.ask(one), self.ask(other), self.ask(one), self.ask(other), self.ask(one)]
        self.assertEqual([self.world.server.wires.index(wire) for wire in wires], [0, 1, 0, 1, 0])
        self.world.check_rest()

    def test_it_goes_with_its_client_through_a_reload(self) -> None:
        """The client is moved to another frontend: it goes on with what it has, and nobody else gets that."""
        one, other = self.world.client(), self.world.client()
        first = self.ask(one)
        one.connection.move(self.world.frontend, once=False)
        self.assertIsNot(self.ask(other), first)
        self.assertIs(self.ask(one), first)
        assert one.connection.session is not None
        (connection,) = one.connection.session.private
        self.world.server.pool.retire(connection, "reload")
        nothing: Any = None
        connection.pool = nothing  # as when it has been taken apart
        self.assertIsNot(self.ask(one), first)
        self.world.check_rest()

    def test_it_ends_with_its_client(self) -> None:
        """Whether the client leaves or is ended by us, idle or busy."""
        for how in ("eof", "reset"):
            client = self.world.client()
            self.ask(client)
            getattr(client.wire, how)()
            self.assertEqual(self.world.server.pool.idle, [])
        client = self.world.client()
        self.ask(client)
        client.send(GET)
        client.wire.reset()
        self.assertEqual(self.world.server.pool.idle, [])
        self.assertEqual(self.world.server.pool.closed, {"client gone": 3})
        self.world.check_rest()

    def test_one_client_keeps_so_many_and_no_more(self) -> None:
        """What it has not used for the longest time goes."""
        self.patch(reusedproxy.sessions.session, "KEPT", 2)
        self.world = world = World(self, servers=3, backend={"http_reuse": "never"})
        client = world.client()
        for far in world.servers:
            client.send(GET)
            far.connect()
            far.answer()
            self.assertEqual(client.take(), OK)
        self.assertEqual([len(far.pool.private) for far in world.servers], [0, 1, 1])
        self.assertEqual(world.server.pool.closed, {"room for another": 1})
        world.check_rest()

    def test_one_at_each_server(self) -> None:
        """The balance goes on, and the client returns to what it left at each."""
        self.world = world = World(self, servers=2, backend={"http_reuse": "never"})
        client = world.client()
        for _ in range(3):
            for far in world.servers:
                client.send(GET)
                if far.dialer.open:
                    far.connect()
                far.answer()
                self.assertEqual(client.take(), OK)
        self.assertEqual([len(far.wires) for far in world.servers], [1, 1])
        client.wire.eof()
        self.assertEqual([far.pool.idle for far in world.servers], [[], []])
        world.check_rest()

    def test_one_that_died_is_replaced(self) -> None:
        """While idle unnoticed, and as it is used with one more attempt."""
        client = self.world.client()
        first = self.ask(client)
        first.eof()
        second = self.ask(client)
        self.assertIsNot(first, second)
        client.send(GET)
        second.eof()
        self.world.server.connect()
        self.world.server.answer()
        self.assertEqual(client.take(), OK)
        assert client.connection.session is not None
        self.assertEqual(len(client.connection.session.private), 1)
        self.world.check_rest()

    def test_a_post_on_its_own_is_not_repeated(self) -> None:
        """The usual rule."""
        client = self.world.client()
        wire = self.ask(client)
        client.send(POST + b"body")
        wire.eof()
        self.assertEqual(client.take(), KEEPING[502])
        self.world.check_rest()


class BoundTests(SynchronousTestCase):
    """NTLM and Negotiate authenticate the connection: whoever is given it next would be taken for that client."""

    CHALLENGE = b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nWWW-Authenticate: %b\r\nContent-Length: 0\r\n\r\n"

    def test_a_challenge_binds_it_to_its_client(self) -> None:
        """From the 401 on it serves this client alone, whatever `http-reuse` says, and ends with it."""
        for mode, challenge in product(
            (None, "safe", "always"), (b"NTLM", b"Negotiate", b"negotiate abc=", b"ntlm xyz")
        ):
            world = World(self, warm=1, backend={"http_reuse": mode})
            far = world.server
            one, other = world.client(), world.client()
            one.connection.requests = 1  # `safe` gives a first request a new one
            one.send(GET)
            far.answer(self.CHALLENGE % challenge)
            self.assertEqual((far.pool.idle, len(far.pool.private)), ([], 1))
            other.send(GET)
            far.connect()
            far.answer()
            self.assertEqual(other.take(), OK)
            one.take()
            one.send(get("/", "Authorization: NTLM TlRMTVNTUAAB"))
            self.assertEqual([wire.take() != b"" for wire in far.wires], [True, True])
            far.answer()
            self.assertEqual((one.take(), len(far.pool.private)), (OK, 1))
            one.wire.eof()
            self.assertEqual((len(far.pool.idle), far.pool.closed), (1, {"client gone": 1}))
            world.check_rest()

    def test_whatever_becomes_of_the_challenge_it_ends_with_its_client(self) -> None:
        """Otherwise it would stand for nobody, and anybody could have any number of them opened."""
        for challenge in (
            self.CHALLENGE % b"Negotiate",
            b"HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM\r\nContent-Length: 3\r\n\r\na",
        ):
            world = World(self, warm=1)
            far = world.server
            for _ in range(3):
                client = world.client()
                client.send(GET)
                if not far.busy:
                    far.connect()
                exchange = client.connection.exchange
                assert exchange is not None
                exchange.answer_rules = lambda exchange: (403, OK, "PR")
                far.answer(challenge)
                self.assertEqual(client.take(), OK)
                client.wire.eof()
            self.assertEqual((far.pool.private, far.pool.in_use), (set(), set()))
            world.check_rest()

    def test_a_challenge_that_is_not_wanted_binds_nothing(self) -> None:
        """The request goes out once more, and its client will not see it (`retry-on 401`)."""
        world = World(self, warm=1, backend={"retry_on": ("401",), "retries": 1})
        far = world.server
        client = world.client()
        client.send(GET)
        far.answer(self.CHALLENGE % b"NTLM")
        self.assertEqual(far.pool.private, set())
        far.answer(self.CHALLENGE % b"NTLM")
        self.assertEqual((client.take(), len(far.pool.private)), (self.CHALLENGE % b"NTLM", 1))
        client.wire.eof()
        self.assertEqual((far.pool.private, len(far.wires)), (set(), 1))
        world.check_rest()

    def test_credentials_bind_it_before_any_challenge(self) -> None:
        """Kerberos comes with the first request; the connection is that user's from then on."""
        for field in (
            *("Authorization: Negotiate YII", "authorization:ntlm T", "Proxy-Authorization: NEGOTIATE x"),
            *("AuthorizatioN: Negotiate YII", "AUTHorization: NTLM T", "proxy-AUTHORIZATION: NTLM T"),
        ):
            world = World(self, warm=1)
            client = world.client()
            client.send(get("/", field))
            world.server.answer()
            self.assertEqual((world.server.pool.idle, len(world.server.pool.private)), ([], 1), field)
            client.send(GET)
            self.assertEqual(len(world.server.busy), 1)
            world.server.answer()
            client.wire.eof()
            self.assertEqual(world.server.pool.private, set())
            world.check_rest()

    def test_others_do_not(self) -> None:
        """Basic and Bearer go with each request."""
        world = World(self, warm=1)
        client = world.client()
        for field in ("Authorization: Basic Negotiate", "Authorization: Bearer ntlm", "X-Authorization: NTLM x"):
            client.send(get("/", field))
            world.server.answer()
            self.assertEqual(len(world.server.pool.idle), 1, field)
        client.send(GET)
        world.server.answer(self.CHALLENGE % b"Digest")
        self.assertEqual(len(world.server.pool.idle), 1)
        world.check_rest()

    def test_the_next_request_goes_to_the_same_server(self) -> None:
        """The others have no authenticated connection of this client's."""
        world = World(self, servers=2, warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer(self.CHALLENGE % b"NTLM")
        client.take()
        for _ in range(3):
            client.send(GET)
            world.server.answer()
            self.assertEqual(client.take(), OK)
        self.assertEqual([len(far.wires) for far in world.servers], [1, 1])
        self.assertEqual(world.servers[1].server.traffic.stot, 0)
        client.wire.eof()
        world.check_rest()

    def test_one_that_its_server_closes(self) -> None:
        """The client has to begin again, on another."""
        world = World(self, warm=2)
        client = world.client()
        client.send(GET)
        world.server.answer(self.CHALLENGE % b"NTLM")
        (bound,) = world.server.pool.private
        transport: Any = bound.transport
        transport.eof()
        self.assertEqual(world.server.pool.private, set())
        client.take()
        client.send(GET)
        world.server.answer()
        self.assertEqual(client.take(), OK)
        world.check_rest()

    def authenticated(self, **words: Any) -> tuple[World, Client, Client]:
        """A world of two servers with one place each, and two clients that are bound to the first."""
        world = World(self, servers=2, warm=2, maxconn=1, **words)
        clients = [world.client(), world.client()]
        for client in clients:
            client.send(get("/", "Authorization: Negotiate YII"))
            world.server.answer()
            client.take()
            if client is clients[0]:  # the second server's turn is passed
                world.backend._balance.pick()
        self.assertEqual(len(world.server.pool.private), 2)
        world.log.clear()
        return world, clients[0], clients[1]

    def test_when_its_server_is_full_it_waits_there(self) -> None:
        """Another server is free, but it would have to authenticate again; HAProxy's log says where and behind whom."""
        world, one, other = self.authenticated()
        one.send(GET)
        other.send(GET)
        self.assertEqual((len(world.server.server.queue), len(world.servers[1].busy)), (1, 0))
        world.server.answer()
        self.assertEqual((one.take(), other.take()), (OK, b""))
        world.server.answer()
        self.assertEqual(other.take(), OK)
        self.assertEqual([(each.srv_queue, each.backend_queue) for each in world.log], [(0, 0), (1, 0)])
        self.assertEqual(len(world.server.pool.private), 2)
        for client in (one, other):
            client.wire.eof()
        world.check_rest()

    def test_timeout_queue_bounds_that_wait(self) -> None:
        """The log names the server that it has waited for, which counts the failure, too."""
        world, one, other = self.authenticated()
        one.send(GET)
        other.send(GET)
        world.advance(8)
        self.assertEqual(other.take(), KEEPING[503])
        (line,) = world.log
        self.assertEqual((line.flags, line.srv_queue, line.server), ("sQ", 1, None))
        self.assertIs(line.waited_for, world.server.server)
        self.assertEqual((world.server.server.traffic.econ, world.backend.traffic.econ), (1, 1))
        world.server.answer()
        one.wire.eof()
        other.wire.eof()
        world.check_rest()

    def test_a_client_that_leaves_waits_no_more(self) -> None:
        world, one, other = self.authenticated()
        one.send(GET)
        other.send(GET)
        other.wire.reset()
        self.assertEqual(len(world.server.server.queue), 0)
        world.server.answer()
        one.wire.eof()
        self.assertEqual([each.status for each in world.log], [-1, 200])
        world.check_rest()

    def test_in_drain_it_is_served_and_others_are_not(self) -> None:
        """Its connection is there, and stays."""
        world, one, other = self.authenticated()
        world.backend.set_state(world.server.server, "DRAIN")
        one.send(GET)
        world.server.answer()
        self.assertEqual(one.take(), OK)
        world.backend.set_state(world.servers[1].server, "MAINT")
        stranger = world.client()
        stranger.send(GET)
        self.assertEqual(stranger.take(), KEEPING[503])
        for client in (one, other):
            client.wire.eof()
        world.check_rest()

    def test_in_maint_it_begins_again_elsewhere(self) -> None:
        """Those that wait for the server go on at another one at once."""
        world, one, other = self.authenticated()
        one.send(GET)
        other.send(GET)
        world.backend.set_state(world.server.server, "MAINT")
        world.servers[1].answer()
        self.assertEqual(other.take(), OK)
        world.server.answer()
        self.assertEqual(one.take(), OK)
        self.assertEqual([each.redispatched for each in world.log], [True, False])
        for client in (one, other):
            client.wire.eof()
        self.assertEqual(world.server.pool.private, set())
        world.check_rest()
