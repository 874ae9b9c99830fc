"""`compression`: what goes on of each piece, and which answers are left as they are."""

from __future__ import annotations

import zlib

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.compression import Compression
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from reusedproxy.exchanges.compression import Encoder, compressor
from reusedproxy.exchanges.route import Route
from reusedproxy.wire.bodies import ChunkedBody, payload
from tests.clientfakes import World, get, response
from tests.rulefakes import DEFAULTS, ruled

ACCEPTS = get("/", "Accept-Encoding: gzip")
GZIP = Compression(("gzip",))


def payload_of(data: bytes) -> bytes:
    return payload(ChunkedBody(framed=False), data)


class CompressionTests(SynchronousTestCase):
    def world(self, said: Compression = GZIP) -> World:
        world = World(self, warm=1)
        world.backend.settings = evolve(world.backend.settings, compression=said)
        world.frontend.default_route = Route(world.frontend.settings, world.backend)
        return world

    def test_each_piece_goes_on_at_once(self) -> None:
        """A client that waits for a line must not wait for the end of the answer."""
        world = self.world()
        client = world.client()
        client.send(ACCEPTS)
        self.assertTrue(world.server.asked())
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello")
        head, _, first = client.take().partition(b"\r\n\r\n")
        self.assertIn(b"transfer-encoding: chunked", head)
        self.assertNotIn(b"Content-Length", head)
        expanding = zlib.decompressobj(31)
        self.assertEqual(expanding.decompress(payload_of(first)), b"hello")
        world.server.answer(b" world")
        self.assertEqual(expanding.decompress(payload_of(client.take())), b" world")
        self.assertTrue(expanding.eof)
        client.send(ACCEPTS)  # the connection goes on
        self.assertTrue(world.server.asked())
        world.server.answer(response())
        self.assertIn(b"content-encoding: gzip", client.take())
        world.check_rest()

    def test_no_rule_takes_out_what_says_how_the_body_is_encoded(self) -> None:
        """As in HAProxy it is said behind all of them; a cache is told by Vary who may have it."""
        for rule in (
            "http-response del-header Content-Encoding",
            "http-response del-header ^content- -m reg",
            "http-after-response del-header Content-Encoding",
            "http-response set-header Vary X",
            "http-response replace-header Content-Encoding .* x",
            "http-response deny if { res.hdr(content-encoding) gzip }",
        ):
            world = ruled(self, rule, warm=1)
            assert world.frontend.routing is not None
            for route in (*world.frontend.routing.routes.values(), world.frontend.default_route):
                assert route is not None
                route.compressor = compressor(GZIP, None)
            client = world.client()
            client.send(ACCEPTS)
            world.server.answer(response(b"hello", 'ETag: "a"'))
            head, _, body = client.take().partition(b"\r\n\r\n")
            self.assertEqual(zlib.decompress(payload_of(body), 31), b"hello")
            for line in (b"content-encoding: gzip", b"vary: Accept-Encoding", b'ETag: W/"a"'):
                self.assertIn(line, head.split(b"\r\n"), rule)
            self.assertNotIn(b"Content-Length", head)

    def test_bytes_before_and_after_are_counted(self) -> None:
        """As in HAProxy: by the frontend and the backend, as they go, and the answer when all of it has gone."""
        world = self.world()
        client = world.client()
        client.send(ACCEPTS)
        self.assertTrue(world.server.asked())
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + bytes(1000))
        body = payload_of(client.take().partition(b"\r\n\r\n")[2])
        counted = (world.frontend.traffic, world.backend.traffic)
        for each in counted:
            self.assertEqual((each.comp_in, each.comp_out, each.comp_rsp), (1000, len(body), 0))
        world.server.answer(bytes(2000))
        body += payload_of(client.take())
        for each in counted:
            self.assertEqual((each.comp_in, each.comp_out, each.comp_rsp), (3000, len(body), 1))
        client.send(get("/"))
        self.assertTrue(world.server.asked())
        world.server.answer(response(b"x" * 99))
        self.assertEqual(world.frontend.traffic.comp_in, 3000)
        world.check_rest()

    def test_an_answer_that_is_broken_off_has_no_end(self) -> None:
        world = self.world()
        client = world.client()
        client.send(ACCEPTS)
        self.assertTrue(world.server.asked())
        world.server.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello")
        world.server.eof()
        self.assertFalse(client.take().endswith(b"0\r\n\r\n"))
        self.assertTrue(client.gone)
        world.check_rest()

    def test_a_client_of_http_1_0_gets_it_as_it_is(self) -> None:
        world = self.world()
        client = world.client()
        client.send(get("/", "Accept-Encoding: gzip", version="1.0"))
        self.assertTrue(world.server.asked())
        world.server.answer(response(b"x" * 99))
        self.assertTrue(client.take().endswith(b"x" * 99))
        world.check_rest()

    def test_what_is_too_small_is_left_as_it_is(self) -> None:
        world = self.world(Compression(("gzip",), least=100))
        client = world.client()
        for size, coded in ((99, False), (100, True)):
            client.send(ACCEPTS)
            self.assertTrue(world.server.asked())
            world.server.answer(response(b"x" * size))
            self.assertEqual(b"content-encoding: gzip" in client.take(), coded)
        world.check_rest()

    def test_what_says_something_of_the_bytes_is_left_true(self) -> None:
        world = self.world()
        client = world.client()
        for line in ("Content-MD5: x", "Digest: x", "Content-Digest: x", "Repr-Digest: x"):
            client.send(ACCEPTS)
            self.assertTrue(world.server.asked())
            world.server.answer(response(b"x" * 99, line))
            self.assertNotIn(b"content-encoding", client.take(), line)
        world.check_rest()

    def test_a_coding_that_is_refused_by_name_is_not_meant_by_a_star(self) -> None:
        world = self.world(Compression(("gzip", "deflate")))
        client = world.client()
        client.send(get("/", "Accept-Encoding: gzip;q=0, *"))
        self.assertTrue(world.server.asked())
        world.server.answer(response(b"x" * 99))
        self.assertIn(b"content-encoding: deflate", client.take())
        world.check_rest()

    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.binary(max_size=3000), max_size=8), st.sampled_from(["gzip", "deflate", "raw-deflate"]))
    def test_what_was_sent_comes_out_again(self, pieces: list[bytes], algorithm: str) -> None:
        encoder = Encoder(algorithm, False)
        data = b"".join([*map(encoder.add, pieces), encoder.finish()])
        windows = {"gzip": 31, "deflate": 15, "raw-deflate": -15}
        self.assertEqual(zlib.decompress(payload_of(data), windows[algorithm]), b"".join(pieces))

    def test_the_backend_counts_before_the_frontend(self) -> None:
        self.assertIsNone(compressor(None, None))
        self.assertIsNone(compressor(Compression(("identity",)), None))
        self.assertIsNone(compressor(Compression(offload=True), None))
        self.assertIsNotNone(compressor(GZIP, Compression(types=("text/",))))


class LineTests(SynchronousTestCase):
    def test_each_wrong_line_says_why(self) -> None:
        for line, why in (
            ("compression", "unknown word ''"),
            ("compression algo", "needs a value"),
            ("compression algo gzipp", "did you mean 'gzip'?"),
            ("compression typ text/html", "did you mean 'type'?"),
            ("compression offload now", "takes nothing after it"),
            ("compression direction both", "requests go on as their clients send them"),
            ("compression algo-req gzip", "requests go on as their clients send them"),
            ("compression minsize-res x", "needs a size"),
        ):
            text = f"{DEFAULTS}listen l\n bind :80\n {line}\n server s h:1\n"
            error = self.assertRaises(ConfigurationError, read_configuration, [Source("t.cfg", text)], {})
            self.assertIn(why, error.faults[0].text, line)

    def test_sections_add_to_their_defaults(self) -> None:
        text = (
            f"{DEFAULTS} compression algo gzip\nlisten l\n bind :80\n compression algo-res deflate\n"
            " compression type text/html\n compression offload\n compression direction response\n server s h:1\n"
        )
        made = read_configuration([Source("t.cfg", text)], {}).backends["l"].compression
        self.assertEqual(made, Compression(("gzip", "deflate"), ("text/html",), offload=True))
