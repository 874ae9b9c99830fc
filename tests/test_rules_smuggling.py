"""What rules set, no client can say in their place: not by another spelling, not twice, not behind the body,
not in a value.

The server is the kind that is fooled the easiest: it makes one variable of all names that differ in anything but
letters and digits, and takes whatever comes.
"""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.rules.samples.formats import clean
from reusedproxy.sessions.session import Session
from reusedproxy.wire.heads import CHUNKED, Limits, find_head_end, read_request
from tests.clientfakes import World
from tests.rulefakes import ruled
from tests.tlsfakes import Side, certificate

RULES = """
 http-request set-header X-SSL-CN %[ssl_c_s_dn(cn)]
 http-request set-header X-SSL-Verified %[ssl_c_verify] if { ssl_c_used } { path /never }
 http-request del-header X-Internal
 http-request del-header x-secret- -m beg
 http-request replace-header X-Role .* none
 http-request set-header Host %[req.hdr(host),lower] if { path /never }
"""
NAMES = (b"X-SSL-CN", b"X-SSL-Verified", b"X-Internal", b"X-Secret-Key", b"X-Role")
SEPARATORS = b"-_.!#$%&'*+^`|~"


def variables(asked: bytes) -> dict[bytes, list[bytes]]:
    """What a CGI or WSGI server makes of the fields of one request, trailers among them."""
    end = find_head_end(asked)
    lines = asked[: end - 4].split(b"\r\n")[1:]
    if read_request(asked[:end], Limits(max_head=99999)).length == CHUNKED:
        lines += trailers(asked[end:])
    found: dict[bytes, list[bytes]] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        assert colon, line
        found.setdefault(re.sub(rb"[^0-9A-Za-z]", b"_", name).upper(), []).append(value.strip(b" \t"))
    return found


def trailers(body: bytes) -> list[bytes]:
    at = 0
    while (end := body.find(b"\r\n", at)) >= 0:
        size = int(body[at:end].partition(b";")[0], 16)
        at = end + 2
        if not size:
            return [line for line in body[at:].split(b"\r\n") if line]
        at += size + 2
    return []


@st.composite
def spelled(draw: st.DrawFn) -> bytes:
    """One of the names in any case, with anything where its hyphens are."""
    name = draw(st.sampled_from(NAMES))
    letters = [
        draw(st.sampled_from(SEPARATORS))
        if octet == 0x2D
        else draw(st.sampled_from(bytes([octet]).lower() + bytes([octet]).upper()))
        for octet in name
    ]
    return bytes(letters)


values = st.sampled_from((b"evil", b"", b"a, b", b'"quoted"', b"x:y", b"\xff\xfe", b"CN=ours"))
lines = st.one_of(
    st.tuples(spelled(), values).map(lambda pair: b"%b: %b" % pair),
    st.tuples(spelled(), values).map(lambda pair: b"%b:%b\t" % pair),
    st.lists(spelled(), max_size=3).map(lambda names: b"Connection: " + b", ".join([*names, b"close"])),
    st.sampled_from((b"TE: trailers", b"Trailer: X-SSL-CN", b"Upgrade: x", b"X-Other: 1", b"Expect: 100-continue")),
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request that tries, perhaps damaged a little."""
    fields = draw(st.lists(lines, max_size=6))
    chunked = draw(st.booleans())
    body = b""
    if chunked:
        fields.append(b"Transfer-Encoding: chunked")
        behind = draw(st.lists(st.tuples(spelled(), values).map(lambda pair: b"%b: %b\r\n" % pair), max_size=3))
        body = b"4\r\nabcd\r\n0\r\n" + b"".join(behind) + b"\r\n"
    version = draw(st.sampled_from((b"1.1", b"1.1", b"1.0")))
    head = b"\r\n".join((b"POST /x HTTP/" + version, b"Host: a", *fields, b"", b""))
    request = head + body
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(request)))
        cut = draw(st.integers(0, 2))
        request = (
            request[:at]
            + draw(st.sampled_from((b"", b"\r\n", b"\n", b" ", b":", b"\x00", b"-", b"_")))
            + request[at + cut :]
        )
    return request


class SmugglingTests(SynchronousTestCase):
    """Over everything that a client may send."""

    def asked(self, request: bytes, cuts: list[int], tls: Side | None = None) -> bytes:
        """What reaches the server."""
        world: World = ruled(self, RULES, warm=1)
        client = world.client()
        client.connection.session = Session(tls)  # type: ignore[arg-type]
        at = 0
        for cut in sorted(cuts):
            if at < cut < len(request) and client.wire.state == 0:
                client.send(request[at:cut])
                at = cut
        if client.wire.state == 0:
            client.send(request[at:])
        return world.server.asked()

    @settings(max_examples=400, deadline=None)
    @given(requests(), st.lists(st.integers(0, 300), max_size=3))
    def test_no_request_sets_what_rules_set(self, request: bytes, cuts: list[int]) -> None:
        """In the clear nothing is known of the client, and the server hears just that."""
        asked = self.asked(request, cuts)
        if asked and find_head_end(asked) > 0:
            found = variables(asked)
            self.assertEqual(found.get(b"X_SSL_CN"), [b""], asked)
            self.assertNotIn(b"X_SSL_VERIFIED", found, asked)
            self.assertNotIn(b"X_INTERNAL", found, asked)
            self.assertNotIn(b"X_SECRET_KEY", found, asked)
            self.assertLessEqual(set(found.get(b"X_ROLE", [])), {b"none"}, asked)
            self.assertLessEqual(len(found.get(b"HOST", [])), 1, asked)  # HTTP/1.0 may have none

    @settings(max_examples=100, deadline=None)
    @given(requests(), st.text(max_size=40))
    def test_no_certificate_says_more_than_its_value(self, request: bytes, name: str) -> None:
        """Whatever stands in a subject, it is one value on one line, beside nothing of the client's."""
        subject = [("CN", name)] if name else []
        asked = self.asked(request, [], Side(certificate(subject)))
        if asked and find_head_end(asked) > 0:
            found = variables(asked)
            self.assertEqual(found[b"X_SSL_CN"], [clean(name.encode("utf-8", "surrogatepass")).strip(b" \t")], asked)

    @settings(max_examples=300, deadline=None)
    @given(st.binary(max_size=60))
    def test_no_value_has_a_control_character(self, value: bytes) -> None:
        """But for the tab, which is harmless; and what was clean stays as it was."""
        made = clean(value)
        self.assertIsNone(re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", made))
        if re.search(rb"[\x00-\x08\x0a-\x1f\x7f]", value) is None:
            self.assertEqual(made, value)

    def test_what_it_is_about(self) -> None:
        """The plain cases, one by one."""
        for line in (
            b"X-SSL-CN: evil",
            b"x-ssl-cn: evil",
            b"X_SSL_CN: evil",
            b"X.SSL-CN: evil",
            b"X-SSL-Verified: 0",
            b"X_Internal: 1",
            b"X_Secret-Key: 1",
            b"Connection: X-SSL-CN\r\nX-SSL-CN: evil",
            b"Connection: close, Host, x_ssl_cn",
        ):
            side = Side(certificate([("CN", "ours")]))
            asked = self.asked(b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n", [], side)
            self.assertEqual(variables(asked), {b"HOST": [b"a"], b"X_SSL_CN": [b"ours"]}, line)
        chunked = (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
            b"X_ssl-CN: evil\r\nX-Secret_a: 1\r\nX-Role: root\r\nX-Fine: 1\r\n\r\n"
        )
        self.assertTrue(self.asked(chunked, []).endswith(b"\r\n\r\n0\r\nX-Fine: 1\r\n\r\n"))
