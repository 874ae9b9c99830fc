"""What this hop says, adds and takes away on either side: hop-by-hop fields, X-Forwarded-For, the closing options."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.compression import Compression
from reusedproxy.config.model.proxies import ForwardFor
from tests.clientfakes import GET, OK, World, get, response
from tests.rulefakes import ruled


class HopByHopTests(SynchronousTestCase):
    """RFC 9110 section 7.6.1: what is meant for this hop stays here, both ways."""

    def test_from_the_client(self) -> None:
        """Connection, what it names, and the other well-known ones."""
        world = World(self, warm=1)
        client = world.client()
        hop = (
            "Connection: keep-alive, X-Mine",
            "X-Mine: 1",
            "Keep-Alive: timeout=5",
            "Proxy-Connection: x",
            "TE: gzip",
        )
        client.send(get("/", *hop, "X-Other: 2"))
        self.assertEqual(world.server.asked(), get("/", "X-Other: 2"))
        world.server.answer()
        world.check_rest()

    def test_from_the_server(self) -> None:
        """Its `Connection: close` ends its connection, not the client's."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer(response(b"ok", "Connection: close, X-Mine", "X-Mine: 1", "Keep-Alive: x"))
        self.assertEqual(client.take(), OK)
        self.assertFalse(client.gone)
        self.assertEqual(world.server.pool.closed, {"server asked to close": 1})
        world.check_rest()

    def test_trailers_are_wished_for(self) -> None:
        """RFC 9110 section 10.1.4: TE is each hop's own. We pass trailers on, so the client's wish is ours;
        no coding is."""
        for fields, wish in (
            (("TE: trailers", "Connection: TE"), ("te: trailers", "connection: te")),
            (("te: deflate;q=0.5 , Trailers",), ("te: trailers", "connection: te")),
            (("TE: gzip, trailersX",), ()),
            (("TE: trailers", "Connection: upgrade, te", "Upgrade: x"),
                ("upgrade: x", "te: trailers", "connection: upgrade, te")),
        ):  # fmt: skip
            world = World(self, warm=1)
            client = world.client()
            client.send(get("/", *fields))
            self.assertEqual(world.server.asked(), get("/", *wish), fields)
            world.server.answer()
            world.check_rest()
        world = World(self, warm=1)
        client = world.client()
        client.send(get("/", "TE: trailers", version="1.0"))
        self.assertNotIn(b"te", world.server.asked())
        world.server.answer()
        world.check_rest()

    def test_a_server_that_speaks_http10(self) -> None:
        """What goes on is HTTP/1.1, framed as it was."""
        world = World(self, warm=1)
        client = world.client()
        client.send(GET)
        world.server.answer(OK.replace(b"/1.1", b"/1.0"))
        self.assertEqual(client.take(), OK)
        self.assertFalse(client.gone)
        self.assertEqual(world.server.pool.closed, {"server asked to close": 1})
        world.check_rest()


class ForwardedForTests(SynchronousTestCase):
    """`option forwardfor`, as HAProxy's manual has it."""

    def sent(
        self,
        front: ForwardFor | None,
        back: ForwardFor | None = None,
        request: bytes = GET,
        address: tuple[str, int] = ("192.0.2.7", 4711),
    ) -> bytes:
        world = World(self, warm=1, frontend={"forwardfor": front}, backend={"forwardfor": back})
        client = world.client(address)
        client.send(request)
        asked = world.server.asked()
        world.server.answer()
        world.check_rest()
        return asked

    def test_unset(self) -> None:
        """Nothing is added, and what the client says goes on."""
        self.assertEqual(self.sent(None), GET)
        claimed = get("/", "X-Forwarded-For: 1.2.3.4")
        self.assertEqual(self.sent(None, request=claimed), claimed)

    def test_in_either_section(self) -> None:
        """The frontend's or the backend's is enough."""
        self.assertEqual(self.sent(ForwardFor()), get("/", "X-Forwarded-For: 192.0.2.7"))
        self.assertEqual(self.sent(None, ForwardFor()), get("/", "X-Forwarded-For: 192.0.2.7"))

    def test_is_added_behind_what_the_client_says(self) -> None:
        """Another line, last, as servers expect it."""
        claimed = get("/", "X-Forwarded-For: 1.2.3.4")
        self.assertEqual(self.sent(ForwardFor(), request=claimed), claimed[:-2] + b"X-Forwarded-For: 192.0.2.7\r\n\r\n")

    def test_header(self) -> None:
        """The name is free; the backend's counts when both have one."""
        self.assertEqual(self.sent(ForwardFor("X-Client")), get("/", "X-Client: 192.0.2.7"))
        self.assertEqual(self.sent(ForwardFor("X-Client"), ForwardFor("X-Ip")), get("/", "X-Ip: 192.0.2.7"))

    def test_none_of_that_name_comes_as_a_trailer(self) -> None:
        """A server may merge trailers with the headers, and take the last, as it does with any other spelling."""
        said = b"1\r\na\r\n0\r\nX-Client: 6.6.6.6\r\nx_client: 6.6.6.6\r\nX-Other: 1\r\n\r\n"
        request = get("/", "Transfer-Encoding: chunked", method="POST") + said
        self.assertEqual(self.sent(None, request=request), request)
        for front, back in ((ForwardFor("X-Client"), None), (None, ForwardFor("x-client"))):
            asked = self.sent(front, back, request)
            self.assertTrue(asked.endswith(b"1\r\na\r\n0\r\nX-Other: 1\r\n\r\n"), asked)
        world = ruled(self, "http-request set-header X-Rule 1", warm=1, frontend={"forwardfor": ForwardFor("X-Client")})
        world.client().send(request.replace(b"X-Other", b"X-Rule: 2\r\nX-Other"))
        self.assertTrue(world.server.asked().endswith(b"0\r\nX-Other: 1\r\n\r\n"))

    def test_no_other_header_of_ours_comes_as_a_trailer(self) -> None:
        """`option originalto` in either section, `unique-id-header`, and `http-send-name-header`; nor one that is kept
        from servers, as `compression offload` does."""
        said = b"1\r\na\r\n0\r\nX-Ours: 6.6.6.6\r\nx.ours: 6.6.6.6\r\nX-Other: 1\r\n\r\n"
        request = get("/", "Transfer-Encoding: chunked", method="POST") + said
        option = ForwardFor("X-Ours")
        for world in (
            World(self, warm=1, frontend={"originalto": option}),
            World(self, warm=1, backend={"originalto": option}),
            ruled(self, "unique-id-format %ci\n unique-id-header X-Ours", warm=1),
        ):
            client = world.client()
            client.connection.destination = ("192.0.2.9", 80)
            client.send(request)
            asked = world.server.asked()
            self.assertIn(b"X-Ours: 192.0.2.", asked)
            self.assertTrue(asked.endswith(b"1\r\na\r\n0\r\nX-Other: 1\r\n\r\n"), asked)
        world = World(self, warm=1, backend={"name_header": "X-Ours"})
        world.client().send(request)
        asked = world.server.asked()
        self.assertIn(b"X-Ours: s", asked)
        self.assertTrue(asked.endswith(b"1\r\na\r\n0\r\nX-Other: 1\r\n\r\n"), asked)
        world = World(self, warm=1, backend={"compression": Compression(algorithms=("gzip",), offload=True)})
        world.client().send(request.replace(b"X-Ours", b"Accept-Encoding"))
        self.assertNotIn(b"Accept", world.server.asked())
        world = World(self, warm=1)
        world.client().send(request.replace(b"X-Ours:", b"X-Original-To:"))
        self.assertNotIn(b"Original", world.server.asked())

    def test_except(self) -> None:
        """Not for clients of that network; either section may name one."""
        spared, other = ForwardFor(except_network="192.0.2.0/24"), ForwardFor(except_network="198.51.100.1")
        self.assertEqual(self.sent(spared), GET)
        self.assertEqual(self.sent(spared, other), GET)
        self.assertEqual(self.sent(other, spared), GET)
        self.assertEqual(self.sent(other), get("/", "X-Forwarded-For: 192.0.2.7"))
        self.assertEqual(self.sent(spared, address=("2001:db8::1", 1)), get("/", "X-Forwarded-For: 2001:db8::1"))

    def test_if_none(self) -> None:
        """Only where the request has no such header, in any case; one it lost on the way does not count."""
        option = ForwardFor(if_none=True)
        self.assertEqual(self.sent(option), get("/", "X-Forwarded-For: 192.0.2.7"))
        claimed = get("/", "x-forwarded-for: 1.2.3.4")
        self.assertEqual(self.sent(option, request=claimed), claimed)
        other = get("/", "Y-X-Forwarded-For: 1.2.3.4")
        self.assertIn(b"192.0.2.7", self.sent(option, request=other))
        named = get("/", "X-Forwarded-For: 1.2.3.4", "Connection: x-forwarded-for")
        self.assertEqual(self.sent(option, request=named), get("/", "X-Forwarded-For: 192.0.2.7"))

    def test_if_none_in_one_section_only(self) -> None:
        """The other section wants it always, and wins."""
        claimed = get("/", "X-Forwarded-For: 1.2.3.4")
        self.assertIn(b"192.0.2.7", self.sent(ForwardFor(if_none=True), ForwardFor(), request=claimed))
        self.assertIn(b"192.0.2.7", self.sent(ForwardFor(), ForwardFor(if_none=True), request=claimed))
        both = ForwardFor(if_none=True)
        self.assertNotIn(b"192.0.2.7", self.sent(both, both, request=claimed))

    def test_a_client_at_a_unix_socket(self) -> None:
        """It has no address to tell."""
        self.assertEqual(self.sent(ForwardFor(), address=("unix", 0)), GET)


class ClosingOptionTests(SynchronousTestCase):
    """`option http-server-close` and `option httpclose`."""

    def test_http_server_close_in_either_section(self) -> None:
        """The server's connection is used once, and told so; the client's goes on."""
        for where in ("frontend", "backend"):
            settings: dict[str, Any] = {where: {"connection_mode": "server-close"}}
            world = World(self, warm=1, **settings)
            client = world.client()
            client.send(GET)
            self.assertEqual(world.server.asked(), get("/", "connection: close"))
            world.server.answer()
            self.assertEqual(client.take(), OK)
            self.assertFalse(client.gone)
            self.assertEqual(world.server.pool.idle, [])
            world.check_rest()

    def test_httpclose_of_the_frontend(self) -> None:
        """The client's connection is used once; the server's is kept."""
        world = World(self, warm=1, frontend={"connection_mode": "close"})
        client = world.client()
        client.send(GET)
        self.assertEqual(world.server.asked(), GET)
        world.server.answer()
        self.assertIn(b"connection: close\r\n", client.take())
        self.assertTrue(client.gone)
        self.assertEqual(len(world.server.pool.idle), 1)
        world.check_rest()

    def test_httpclose_of_the_backend(self) -> None:
        """The server's connection is used once; the client's is kept."""
        world = World(self, warm=1, backend={"connection_mode": "close"})
        client = world.client()
        client.send(GET)
        self.assertEqual(world.server.asked(), get("/", "connection: close"))
        world.server.answer()
        self.assertEqual(client.take(), OK)
        self.assertFalse(client.gone)
        self.assertEqual(world.server.pool.idle, [])
        world.check_rest()
