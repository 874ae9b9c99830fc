"""`option forwarded`: what servers are told by RFC 7239. The values are those that HAProxy 2.8 was seen to send."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.rule_sets import RuleSets
from reusedproxy.config.model.proxies import Configuration
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from reusedproxy.net.slices import run_through
from reusedproxy.rules.forwarded import forwarded
from reusedproxy.rules.regular import Unevaluated
from tests.clientfakes import World, get
from tests.rulefakes import DEFAULTS, Seen
from tests.tlsfakes import Side

#: The option's words, what X has (None: it is not there), and the header.
SAID = (
    ("", None, "proto=http;for=192.0.2.7"),
    ("proto", None, "proto=http"),
    ("for for_port by by_port host proto", None,
     'proto=http;host="a.example:80";by="192.0.2.1:80";for="192.0.2.7:4711"'),
    ("for-expr req.hdr(x)", b"10.0.0.1", "for=10.0.0.1"),
    ("for-expr req.hdr(x)", b"256.1.1.1", "for=_256.1.1.1"),
    ("for-expr req.hdr(x)", b'a b"c\\', "for=unknown"),
    ("for-expr req.hdr(x)", b"_hid.x-y", "for=_hid.x-y"),
    ("for-expr req.hdr(x)", b"_", "for=__"),
    ("for-expr req.hdr(x)", b"::2", "for=unknown"),
    ("for-expr req.hdr(x)", b"unknown", "for=unknown"),
    ("for-expr req.hdr(x)", None, "for=unknown"),
    ("for-expr req.hdr(x) for_port", b"b", 'for="_b:4711"'),
    ("by-expr ipv6(2001:db8::1)", None, 'by="[2001:db8::1]"'),
    ("by-expr ipv6(::1) by_port-expr int(70000)", None, 'by="[::1]:_70000"'),
    ("by by_port-expr req.hdr(x)", b"99", 'by="192.0.2.1:99"'),
    ("by by_port-expr req.hdr(x)", b"007", 'by="192.0.2.1:007"'),
    ("by by_port-expr req.hdr(x)", b"_p", 'by="192.0.2.1:_p"'),
    ("by by_port-expr req.hdr(x)", b"0", 'by="192.0.2.1:_0"'),
    ("by by_port-expr req.hdr(x)", b"a!", 'by="192.0.2.1"'),
    ("by-expr int(5)", None, "by=_5"),
    ("by-expr bin(7f000001)", None, "by=unknown"),
    ("host-expr req.hdr(x)", b"10.0.0.1", 'host="10.0.0.1"'),
    ("host-expr req.hdr(x)", b"[::1]:8", 'host="[::1]:8"'),
    ("host-expr req.hdr(x)", b"::2", 'host=""'),
    ("host-expr req.hdr(x)", b"_a", 'host=""'),
    ("host-expr req.hdr(x)", None, 'host=""'),
)  # fmt: skip


def read(words: str, kind: str = "backend b") -> Configuration:
    text = f"{DEFAULTS}{kind}\n {words}\n server s 192.0.2.1:1\n"
    return read_configuration([Source("t.cfg", text)], {})


class ForwardedTests(SynchronousTestCase):
    def value(self, words: str, x: bytes | None = None, **facts: Any) -> str:
        option = read(f"option forwarded {words}").backends["b"].forwarded
        assert option is not None
        line = b"" if x is None else b"X: %b\r\n" % x
        seen = Seen(b"GET / HTTP/1.1\r\nHost: a.example:80\r\n%b\r\n" % line)
        seen.source, seen.destination = ("192.0.2.7", 4711), ("192.0.2.1", 80)
        for name, value in facts.items():
            setattr(seen, name, value)
        return forwarded(option)(seen).decode()

    def test_each_word_says_its_part(self) -> None:
        for words, x, value in SAID:
            self.assertEqual(self.value(words, x), value, (words, x))

    def test_clients_by_tls_by_ipv6_and_at_unix_sockets(self) -> None:
        six, unix = ("2001:db8::7", 9), ("unix", 0)
        self.assertEqual(self.value("", source=six, client_tls=Side(None)), 'proto=https;for="[2001:db8::7]"')
        self.assertEqual(self.value("for for_port", source=six), 'for="[2001:db8::7]:9"')
        words = "by by_port for"
        self.assertEqual(self.value(words, source=unix, destination=unix), 'by="unknown";for=unknown')

    def test_it_stands_behind_what_the_client_has_sent(self) -> None:
        """And none comes as a trailer."""
        option = read("option forwarded").backends["b"].forwarded
        world = World(self, warm=1, backend={"forwarded": option})
        world.frontend.routing = run_through(RuleSets({"be": world.backend}).routing(world.frontend))
        said = b"1\r\na\r\n0\r\nForwarded: for=me\r\nX-Other: 1\r\n\r\n"
        world.client().send(get("/", "Forwarded: for=me", "Transfer-Encoding: chunked", method="POST") + said)
        asked = world.server.asked()
        self.assertIn(b"\r\nForwarded: for=me\r\n", asked)
        self.assertIn(b"\r\nforwarded: proto=http;for=192.0.2.7\r\n", asked)
        self.assertTrue(asked.endswith(b"0\r\nX-Other: 1\r\n\r\n"), asked)

    def test_what_cannot_be_evaluated_is_not_sent_on(self) -> None:
        """For servers may let in whom they take for another."""

        def unevaluated(facts: object) -> bytes:
            raise Unevaluated("it takes too long")

        world = World(self, warm=1, backend={"forwarded": read("option forwarded").backends["b"].forwarded})
        world.frontend.routing = run_through(RuleSets({"be": world.backend}).routing(world.frontend))
        assert world.frontend.default_route is not None
        world.frontend.default_route.tells = unevaluated
        client = world.client()
        client.send(get("/"))
        self.assertTrue(client.wire.take().startswith(b"HTTP/1.1 500 "))
        self.assertEqual(world.server.asked(), b"")

    def test_what_is_refused_and_what_is_taken_back(self) -> None:
        for words, wanted in (
            ("x", "unknown word 'x'"),
            ("by by-expr src", "stands beside another one of the same"),
            ("for-expr", "'for-expr' needs an expression"),
            ("for-expr res.hdr(x)", "'res.hdr(x)' needs a response"),
            ("for_port", "'for_port' is a part of 'for': write 'for', or 'for-expr', too"),
        ):
            with self.assertRaises(ConfigurationError) as raised:
                read(f"option forwarded {words}")
            self.assertIn(wanted, str(raised.exception))
        self.assertIsNone(read("option forwarded\n no option forwarded").backends["b"].forwarded)
