"""The cookie of an RDP client: what is read, and what is waited for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.rules.expressions import read_expression
from reusedproxy.rules.samples.compile import compiled
from reusedproxy.rules.waiting import Incomplete
from reusedproxy.wire.rdp import NoCookie, rdp_cookie
from tests.rulefakes import Seen
from tests.test_rules_messages import Coming

HEADS = b"\x03\0\0\x2a\x25\xe0\0\0\0\0\0"
ASKED = HEADS + b"Cookie: mstshash=alice\r\n\x01\0\x08\0\0\0\0\0"


class CookieTests(SynchronousTestCase):
    def test_it_is_found_by_its_name(self) -> None:
        for data, name, value in (
            (ASKED, b"mstshash", b"alice"),
            (ASKED, b"MSTShash", b"alice"),
            (ASKED, b"", b"alice"),
            (HEADS + b"cookie:a=\r\n", b"a", b""),
            (HEADS + b"Cookie: a=b=c\r\n", b"a", b"b=c"),
        ):
            self.assertEqual(rdp_cookie(data, name), value, data)

    def test_it_may_still_come(self) -> None:
        for end in range(ASKED.index(b"\r\n") + 2):
            self.assertIsNone(rdp_cookie(ASKED[:end], b"mstshash"), end)

    def test_what_is_none(self) -> None:
        for data, name in (
            (ASKED, b"msts"),
            (HEADS + b"GET / HTTP/1.1\r\n", b""),
            (HEADS + b"Cookie: alice\r\n", b""),
            (HEADS + b"Cookie: ali\nce=1\r\n", b""),
            (HEADS + b"Cookie: other", b"mstshash"),
            (HEADS + b"Cookie: a=1\rx", b"a"),
        ):
            self.assertRaises(NoCookie, rdp_cookie, data, name)

    @given(st.binary(max_size=60))
    def test_no_bytes_break_it(self, data: bytes) -> None:
        for whole in (data, HEADS + b"Cookie: " + data):
            try:
                rdp_cookie(whole, b"a")
            except NoCookie:
                continue

    def test_the_fetches(self) -> None:
        facts = Seen(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        for data, final, values in (
            (ASKED, False, (b"alice", 1)),
            (ASKED[:20], True, (None, None)),
            (b"x" * 20, False, (None, 0)),
        ):
            facts.inspected = Coming(final)
            facts.inspected.request_bytes = data
            asked = ("rdp_cookie(mstshash)", "req.rdp_cookie_cnt")
            found = tuple(compiled(read_expression(text, "here"), "client's bytes")(facts) for text in asked)
            self.assertEqual(found, values, data)
        facts.inspected = Coming()
        facts.inspected.request_bytes = ASKED[:20]
        with self.assertRaises(Incomplete):
            compiled(read_expression("rdp_cookie", "here"), "client's bytes")(facts)
