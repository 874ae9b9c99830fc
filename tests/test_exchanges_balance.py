"""Which server a client's requests go to: by a hash of theirs, and where the last one went."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.balance import Balance, HashType
from tests.clientfakes import GET, POST, World, get


class HashTests(SynchronousTestCase):
    def asked(self, world: World) -> list[int]:
        """How many requests each server has, all of which are answered."""
        had = [len(each.busy) for each in world.servers]
        for each in world.servers:
            while each.busy:
                each.answer()
        return had

    def test_requests_with_the_same_key_go_to_the_same_server(self) -> None:
        world = World(self, servers=3, warm=1, backend={"balance": Balance("uri")})
        client, found = world.client(), []
        for path in ("/a", "/b", "/c") * 2:
            client.send(get(path))
            found.append(self.asked(world))
            client.take()
        self.assertEqual(found[:3], found[3:])
        self.assertEqual([sum(each) for each in zip(*found, strict=True)], [2, 2, 2])
        world.check_rest()

    def test_the_clients_address_decides_whoever_sends_what(self) -> None:
        world = World(self, servers=4, warm=1, backend={"balance": Balance("source")})
        for last in range(8):
            client = world.client((f"192.0.2.{last}", 1000 + last))
            client.send(get(f"/{last}"))
            self.assertEqual(self.asked(world)[last % 4], 1)
            client.take()
        world.check_rest()

    def test_one_whose_server_refuses_waits_for_it_and_leaves_it_at_the_last_retry(self) -> None:
        world = World(self, servers=2, backend={"balance": Balance("source"), "redispatch": -1, "retries": 2})
        client = world.client(("192.0.2.0", 1))
        client.send(GET)
        world.servers[0].refuse()
        world.advance(2)
        world.servers[0].refuse()
        world.advance(2)
        world.servers[1].connect()
        world.servers[1].answer()
        self.assertIn(b"200 OK", client.take())
        self.assertEqual((world.log[0].retries, world.log[0].redispatched), (2, True))
        world.check_rest()


class LoadTests(SynchronousTestCase):
    """Each request that begins or ends at a server is told to an algorithm that goes by the load."""

    def test_the_least_loaded_is_next_however_requests_end(self) -> None:
        """By an answer, a lost client, a lost server, or at once when a place is free."""
        for maxconn in (0, 3):
            backend = {"balance": Balance("leastconn"), "hash_type": HashType()}
            world = World(self, servers=3, warm=3, maxconn=maxconn, backend=backend)
            clients = [world.client() for _ in range(9)]
            for client in clients:
                client.send(GET)
            self.assertEqual([each.server.served for each in world.servers], [3, 3, 3])
            world.servers[1].answer()
            clients[2].wire.reset()
            world.servers[0].reset()
            served = [each.server.served for each in world.servers]
            more = [world.client() for _ in range(9 - sum(served))]
            self.assertTrue(more)
            for client in more:
                low = min(served)
                client.send(GET)
                after = [each.server.served for each in world.servers]
                (chosen,) = [number for number, count in enumerate(after) if count > served[number]]
                self.assertEqual(served[chosen], low)
                served = after
            for each in world.servers:
                while each.dialer.open:
                    each.connect()  # for what is sent once more
                while each.busy:
                    each.answer()
            world.check_rest()

    def test_the_load_of_a_bounded_ring_is_that_of_its_servers(self) -> None:
        kind = HashType(consistent=True, factor=150)
        world = World(self, servers=3, warm=9, backend={"balance": Balance("uri"), "hash_type": kind})
        clients = [world.client() for _ in range(9)]
        for client in clients:
            client.send(GET)
        self.assertLessEqual(max(each.server.served for each in world.servers), 5)
        for each in world.servers:
            while each.busy:
                each.answer()
        balance: Any = world.backend._balance
        self.assertEqual(balance._limits._load, 0)
        world.check_rest()


class LastServerTests(SynchronousTestCase):
    def asked(self, world: World, count: int, request: bytes = GET) -> list[str]:
        client, found = world.client(), []
        for _ in range(count):
            client.send(request)
            (each,) = [each for each in world.servers if each.busy]
            found.append(each.server.name)
            each.answer()
            client.take()
        return found

    def test_requests_of_a_client_stay_there_only_with_the_option(self) -> None:
        for prefer, expected in ((True, ["s1"] * 4), (False, ["s1", "s2", "s1", "s2"])):
            world = World(self, servers=2, warm=1, backend={"prefer_last": prefer})
            self.assertEqual(self.asked(world, 4), expected)
            world.check_rest()

    def test_another_client_is_not_concerned(self) -> None:
        world = World(self, servers=2, warm=1, backend={"prefer_last": True})
        self.assertEqual([self.asked(world, 2) for _ in range(2)], [["s1", "s1"], ["s2", "s2"]])
        world.check_rest()

    def test_connections_of_its_own_count(self) -> None:
        """`http-reuse never`: each client has its own."""
        world = World(self, servers=2, backend={"prefer_last": True, "http_reuse": "never"})
        client, names = world.client(), []
        for number in range(3):
            client.send(POST + b"body")
            each = next(each for each in world.servers if each.server.served)
            if not number:
                each.connect()
            names.append(each.server.name)
            each.answer()
            client.take()
        self.assertEqual(names, ["s1"] * 3)
        world.check_rest()

    def waiting(self, most: int) -> list[int]:
        """Returns how many wait for their own full server after each of two clients that have been there has asked
        again, while another server is free."""
        settings = {"prefer_last": True, "http_reuse": "never", "max_keep_alive_queue": most}
        world = World(self, servers=2, maxconn=1, backend=settings)
        first, second = world.servers
        clients = [world.client() for _ in range(5)]
        for client, each in zip(clients, (first, second) * 2, strict=False):
            client.send(GET)
            each.connect()
            each.answer()
            client.take()
        clients[4].send(GET)  # fills the first server
        first.connect()
        found = []
        for client in (clients[0], clients[2]):
            client.send(GET)
            found.append(len(first.server.queue))
        while second.busy:
            second.answer()
        while first.busy:
            first.answer()
        for client in clients:
            client.wire.eof()
        world.check_rest()
        return found

    def test_it_is_waited_for_as_long_as_fewer_wait_than_max_keep_alive_queue(self) -> None:
        """As in HAProxy, where -1, any number, is the default."""
        self.assertEqual([self.waiting(most) for most in (-1, 2, 1, 0)], [[1, 2], [1, 2], [1, 1], [0, 0]])

    def test_one_that_is_full_is_not_waited_for_where_connections_are_shared(self) -> None:
        world = World(self, servers=2, warm=2, maxconn=1, backend={"prefer_last": True})
        first, second = world.servers
        client, other = world.client(), world.client()
        client.send(GET)
        first.answer()
        other.send(GET)
        second.answer()
        world.client().send(GET)
        client.send(GET)
        self.assertEqual((len(first.busy), len(second.busy)), (1, 1))
        first.answer()
        second.answer()
        world.check_rest()

    def test_without_a_connection_there_it_is_the_next_ones_turn(self) -> None:
        world = World(self, servers=2, warm=1, backend={"prefer_last": True})
        client = world.client()
        client.send(GET)
        world.servers[0].answer()
        for connection in [*world.servers[0].pool.idle]:
            connection.transport.eof()  # type: ignore[attr-defined]
        client.take()
        client.send(GET)
        self.assertEqual(len(world.servers[1].busy), 1)
        world.servers[1].answer()
        client.take()
        world.check_rest()

    def test_a_hash_decides_before_it(self) -> None:
        world = World(self, servers=2, warm=1, backend={"prefer_last": True, "balance": Balance("uri")})
        client = world.client()
        seen = set()
        for number in range(8):
            client.send(get(f"/{number}"))
            (each,) = [each for each in world.servers if each.busy]
            seen.add(each.server.name)
            each.answer()
            client.take()
        self.assertEqual(seen, {"s1", "s2"})
        world.check_rest()
