"""What the wire takes from clients, what it refuses and with which status, and what of it goes on."""

from itertools import product
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.assembly import limits_of
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from reusedproxy.wire.heads import (
    CHUNKED,
    Limits,
    RequestFault,
    RequestHead,
    check_partial,
    find_head_end,
    read_request,
    skip_empty_lines,
)
from tests.wirecases import CHUNKED_FIELD
from tests.wirecases_requests import HOST, LEGAL_REQUESTS, LINE, POST, REFUSED_REQUESTS, get

LIMITS = Limits()
CONTENT = b"Content-Length: 1\r\n"

# What the shared tables leave out: whole exchanges decide about these.
# (RFC section, head, what goes on; None: all of it)
ACCEPTED: list[tuple[str, bytes, bytes | None]] = [
    ("9110 10.1.1", POST + b"Expect: 100-Continue\r\n" + CONTENT + b"\r\n", None),
    (
        "9110 10.1.1 HTTP/1.0 expects nothing",
        b"POST / HTTP/1.0\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n",
    ),
    ("9110 7.6.1 all that end here", get(HOST + b"TE: gzip\r\nA: b\r\nUpgrade: h2c\r\n"), LINE + HOST + b"A: b\r\n"),
    (
        "9110 7.6.1 Connection names no expectation",
        POST + CONTENT + b"Expect: 100-continue\r\nConnection: Expect\r\n\r\n",
        POST + CONTENT + b"Expect: 100-continue\r\n",
    ),
]  # fmt: skip

# (RFC section, head, status)
REFUSED: list[tuple[str, bytes, int]] = [
    ("9110 9.3.6 CONNECT with another Host", get(b"Host: b:443\r\n", b"a:443", b"CONNECT"), 400),
    ("9110 9.3.6 CONNECT with a Host that hides the port", get(b"Host: a\r\n", b"a:8080", b"CONNECT"), 400),
    ("9110 9.3.6 CONNECT without a port", get(b"Host: a\r\n", b"a", b"CONNECT"), 400),
    ("9110 9.3.6 CONNECT with an empty port", get(b"Host: a:\r\n", b"a:", b"CONNECT"), 400),
    ("9110 9.3.6 CONNECT with a body", get(b"Host: a:443\r\nContent-Length: 1\r\n", b"a:443", b"CONNECT"), 400),
    ("9110 9.3.6 CONNECT chunked", get(b"Host: a:443\r\nTransfer-Encoding: chunked\r\n", b"a:443", b"CONNECT"), 400),
    ("9112 3.2.3 CONNECT with a path", get(HOST, b"/", b"CONNECT"), 400),
    *(
        (
            f"9110 9.3.1 {method} with a body on HTTP/1.0",
            f"{method} / HTTP/1.0\r\nHost: a\r\nContent-Length: 3\r\n\r\n".encode(),
            413,
        )
        for method in ("GET", "HEAD", "DELETE")
    ),
    ("9110 10.1.1 unknown expectation", POST + b"Expect: 200-ok\r\n\r\n", 417),
    ("9110 10.1.1 one more expectation", POST + b"Expect: 100-continue, x\r\n\r\n", 417),
]


def head_of(data: bytes) -> bytes:
    data = data.lstrip(b"\r\n")
    return data[: find_head_end(data)]


LEGAL_HEADS = [(case.name, head_of(case.data)) for case in LEGAL_REQUESTS] + [case[:2] for case in ACCEPTED]
REFUSED_HEADS = [(case.name, case.data, case.status) for case in REFUSED_REQUESTS if not case.late] + REFUSED


def read(head: bytes) -> RequestHead:
    return read_request(head, LIMITS)


class AcceptedRequestTests(SynchronousTestCase):
    """Beside `test_wire_proxy`, which takes the shared tables through the whole proxy."""

    def test_wishes_are_read_and_their_end_to_end_part_goes_on(self) -> None:
        """What is not in the shared tables."""
        for rule, head, block in ACCEPTED:
            self.assertEqual(read(head).block, head[:-2] if block is None else block, rule)

    def test_rules_are_shown_the_target_and_the_fields_that_go_on(self) -> None:
        """But for what ends at this hop, and for the version: nothing reaches a server that no rule could see."""
        for name, data in LEGAL_HEADS:
            head = read(data)
            shown, sent = head.head.split(b"\r\n"), head.block.split(b"\r\n")
            self.assertEqual(shown[0].rpartition(b" ")[0], sent[0].rpartition(b" ")[0], name)
            self.assertEqual(head.target, shown[0].split(b" ")[1], name)
            unseen = [line for line in sent[1:] if line not in shown[1:]]
            framing = (b"content-length", b"transfer-encoding")
            self.assertEqual([line for line in unseen if line.partition(b":")[0].lower() not in framing], [], name)
            if head.host is not None and head.method != b"CONNECT":
                self.assertEqual(head.values(b"Host"), [head.host], name)

    def test_what_goes_on_is_read_the_same_again(self) -> None:
        """The next hop sees the same method, target, host and length, and nothing left to remove."""
        for name, head in LEGAL_HEADS:
            first = read(head)
            again = read(first.block + b"\r\n")
            self.assertEqual(
                (again.method, again.target, again.host, again.length, again.block),
                (first.method, first.target, first.host, first.length, first.block),
                name,
            )

    def test_no_beginning_of_a_legal_head_is_refused(self) -> None:
        """Cut at every byte, and with every share of it already searched, the beginning passes."""
        for _, head in LEGAL_HEADS:
            for end in range(len(head) if len(head) < 600 else 100):
                self.assertEqual(find_head_end(head[:end]), -1)
                check_partial(head[:end], LIMITS)
                check_partial(head[:end], LIMITS, max(0, end - 1))
                check_partial(head[:end], LIMITS, end)

    def test_nothing_is_cut_when_nothing_must_be(self) -> None:
        """A head without hop-by-hop fields goes on as one slice, spelled as it came."""
        head = b"GET /x HTTP/1.1\r\nhOsT:  a\r\naCCept:\t*/*\r\n\r\n"
        self.assertEqual(read(head).block, head[:-2])


class RefusedRequestTests(SynchronousTestCase):
    def test_every_fault_has_its_status_and_says_what_is_wrong(self) -> None:
        """The operator reads the reason in the log."""
        for name, data, status in REFUSED_HEADS:
            fault = self.assertRaises(RequestFault, self.take, data)
            self.assertEqual(fault.status, status, (name, fault.reason))
            self.assertNotEqual(fault.reason, "malformed head", name)

    def take(self, data: bytes) -> None:
        """As a connection does."""
        end = find_head_end(data)
        if end < 0:
            check_partial(data, LIMITS)
        else:
            read(data[:end])

    def test_any_method_of_1_0_may_have_a_body_where_the_configuration_says_so(self) -> None:
        """Of a length that is known: chunks, and a body of CONNECT, stay what they are."""
        said = "global\n h1-accept-payload-with-any-method\ndefaults\n mode http\n"
        limits = limits_of(read_configuration([Source("t.cfg", said)], {}))
        for method in (b"GET", b"HEAD", b"DELETE"):
            head = method + b" / HTTP/1.0\r\nHost: a\r\nContent-Length: 3\r\n\r\n"
            self.assertEqual(self.assertRaises(RequestFault, read_request, head, LIMITS).status, 413)
            request = read_request(head, limits)
            self.assertEqual((request.length, request.block.startswith(method + b" / HTTP/1.1\r\n")), (3, True))
            self.assertIn(b"Content-Length: 3\r\n", request.block)
            chunked = head.replace(b"Content-Length: 3", b"Transfer-Encoding: chunked")
            self.assertEqual(self.assertRaises(RequestFault, read_request, chunked, limits).status, 400)
        with self.assertRaises(ConfigurationError):
            read_configuration([Source("t.cfg", said.replace("method\n", "method on\n"))], {})

    def test_hopeless_beginnings_are_refused_at_once(self) -> None:
        """What no further byte can mend does not wait for the empty line."""
        for beginning, status in [
            (b"\x16", 400),
            (b"\x80\x2e", 400),
            (b"\x00", 400),
            (b" ", 400),
            (b"\n", 400),
            (b"GET /\r", 400),
            (b"GET / HTTP/2.0\r\n", 505),
            (b"GET / HTTP/22", 400),
            (b"GET / HTTP/01", 400),
            (b"PRI * HTTP/2.0\r\n", 505),
            (b"GET / HTTX", 400),
            (b"GET / HTTP/1.1\n", 400),
            (b"GET / HTTP/1.1 ", 400),
            (b"GET  ", 400),
            (b"GET /\xff", 400),
            (b"GET /#", 400),
            (b"GET /\t", 400),
            (b"G(", 400),
            (LINE + b" ", 400),
            (LINE + b":", 400),
            (LINE + b"A :", 400),
            (LINE + b"A\r", 400),
            (LINE + b"A(", 400),
            (LINE + b"A: \x00", 400),
            (LINE + b"A: b\rc", 400),
            (LINE + b"A: b\r\n\t", 400),
            (b"G" * 15361, 501),
            (b"GET /" + b"a" * 15361, 414),
            (LINE + b"A: " + b"b" * 15361, 431),
            (LINE + b"A: b\r\n" * 102, 431),
        ]:
            fault = self.assertRaises(RequestFault, check_partial, beginning, LIMITS)
            self.assertEqual(fault.status, status, (beginning[:60], fault.reason))
            fault = self.assertRaises(RequestFault, check_partial, beginning, LIMITS, len(beginning) - 1)
            self.assertEqual(fault.status, status, (beginning[:60], fault.reason))

    def test_a_head_without_its_empty_line_is_refused(self) -> None:
        """A caller's mistake becomes a fault, never half a request."""
        for head in (b"", LINE, LINE + HOST, LINE + HOST + b"\r", LINE + b"\r\n" + HOST):
            self.assertRaises(RequestFault, read, head)

    def test_limits_are_exact(self) -> None:
        """The largest head and the last field pass; one more is refused."""
        limits = Limits(max_head=100, max_headers=3)
        fits = LINE + HOST + b"A: " + b"b" * (100 - 16 - 9 - 3 - 4) + b"\r\n\r\n"
        self.assertEqual(len(fits), 100)
        read_request(fits, limits)
        larger = fits[:-4] + b"b\r\n\r\n"
        self.assertEqual(self.assertRaises(RequestFault, read_request, larger, limits).status, 431)
        read_request(get(HOST + b"A: b\r\nC: d\r\n"), limits)
        check_partial(LINE + HOST + b"A: b\r\nC: d\r\n", limits)
        many = get(HOST + b"A: b\r\nC: d\r\nE: f\r\n")
        self.assertEqual(self.assertRaises(RequestFault, read_request, many, limits).status, 431)


class FramingTests(SynchronousTestCase):
    def test_lengths(self) -> None:
        """A length is a number, CHUNKED, or nothing at all (RFC 9112 6.3)."""
        self.assertEqual(read(get(HOST)).length, 0)
        self.assertEqual(read(POST + b"\r\n").length, 0)
        self.assertEqual(read(POST + b"Content-Length: 17\r\n\r\n").length, 17)
        self.assertEqual(read(POST + b"CONTENT-LENGTH:017\t\r\n\r\n").length, 17)
        self.assertEqual(read(POST + CHUNKED_FIELD + b"\r\n").length, CHUNKED)
        self.assertEqual(read(get(HOST + b"Content-Length: 3\r\n")).length, 3)

    def test_the_client_decides_whether_its_connection_persists(self) -> None:
        """RFC 9112 9.3: by version and Connection, in any spelling and place; Proxy-Connection has no say."""
        for version, fields, keep_alive in [
            (b"HTTP/1.1", b"", True),
            (b"HTTP/1.1", b"Connection: close\r\n", False),
            (b"HTTP/1.1", b"connection:CLOSE\t\r\n", False),
            (b"HTTP/1.1", b"Connection: a ,close\r\n", False),
            (b"HTTP/1.1", b"Connection: a\r\nConnection: close\r\n", False),
            (b"HTTP/1.1", b"Connection: keep-alive, close\r\n", False),
            (b"HTTP/1.1", b"Connection: close;q=1\r\n", False),
            (b"HTTP/1.1", b"Connection: closed\r\n", True),
            (b"HTTP/1.1", b"Connection:\r\n", True),
            (b"HTTP/1.1", b"Proxy-Connection: close\r\n", True),
            (b"HTTP/1.7", b"", True),
            (b"HTTP/1.0", b"", False),
            (b"HTTP/1.0", b"Connection: Keep-Alive\r\n", True),
            (b"HTTP/1.0", b"Connection: a, KEEP-alive\r\n", True),
            (b"HTTP/1.0", b"Connection: a\r\n", False),
            (b"HTTP/1.0", b"Connection: keep-alive, close\r\n", False),
            (b"HTTP/1.0", b"Proxy-Connection: keep-alive\r\n", False),
        ]:
            head = get(HOST + fields, version=version)
            self.assertIs(read(head).keep_alive, keep_alive, head)

    def test_minor_and_host(self) -> None:
        """Host is what was asked for; it is missing only when what goes on is HTTP/1.0."""
        self.assertEqual((read(get(HOST)).minor, read(get(HOST)).host), (1, b"a"))
        old = read(get(b"", version=b"HTTP/1.0"))
        self.assertEqual((old.minor, old.host), (0, None))
        self.assertEqual(read(get(b"A: b\r\nhost: C:80 \r\n")).host, b"C:80")
        self.assertEqual(read(get(b"", b"http://d:81/", version=b"HTTP/1.0")).host, b"d:81")

    def test_wishes(self) -> None:
        """100-continue, trailers and upgrades are told apart from their fields."""
        wants = read(POST + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        self.assertTrue(wants.expect_continue)
        self.assertFalse(read(POST + b"Expect: 100-continue\r\n\r\n").expect_continue, "no content (RFC 9110 10.1.1)")
        self.assertFalse(read(POST + b"Content-Length: 1\r\n\r\n").expect_continue)
        self.assertTrue(read(get(HOST + b"TE: gzip, Trailers\r\nConnection: TE\r\n")).te_trailers)
        self.assertFalse(read(get(HOST + b"TE: gzip\r\n")).te_trailers)

    def test_upgrade_counts_only_when_connection_names_it(self) -> None:
        """RFC 9110 7.8; never on HTTP/1.0."""
        field = b"Upgrade: websocket \r\n"
        self.assertEqual(read(get(HOST + field + b"Connection: keep-alive, Upgrade\r\n")).upgrade, b"websocket")
        self.assertIsNone(read(get(HOST + field)).upgrade)
        self.assertIsNone(read(get(HOST + b"Connection: upgrade\r\n")).upgrade)
        self.assertIsNone(read(get(HOST + field + b"Connection: upgrade\r\n", version=b"HTTP/1.0")).upgrade)

    def test_what_cannot_be_switched_is_not_offered(self) -> None:
        """Never h2c, by which others' rules are passed (RFC 9113 3.1); with a body only where that is wished."""
        asks = HOST + b"Connection: upgrade\r\nUpgrade: %b\r\n"
        for offer, expected in (
            (b"h2c", None),
            (b"H2C, websocket", b"websocket"),
            (b" ,foo/2 ,, h2c", b"foo/2"),
            (b'h2c/1, h2c;q=1, "h2c", h2c (x), foo', b"foo"),
            (b"h2c-like", b"h2c-like"),
            (b"", None),
        ):
            self.assertEqual(read(get(asks % offer)).upgrade, expected, offer)
        with_body = get(asks % b"websocket" + b"Content-Length: 1\r\n")
        self.assertIsNone(read(with_body).upgrade)
        self.assertEqual(read_request(with_body, Limits(upgrade_with_body=True)).upgrade, b"websocket")
        self.assertIsNone(read(get(asks % b"h2c" + b"Content-Length: 1\r\n")).upgrade)

    def test_rules_see_the_upgrade_that_goes_on(self) -> None:
        """Or a client would say "websocket" to be spared a rule, and the server would get a plain request."""
        for connection, offer, version, body, limits in product(
            (b"", b"Connection: upgrade\r\n", b"Connection: close\r\n", b"Connection: Upgrade, HTTP2-Settings\r\n"),
            (b"websocket", b"h2c", b"h2c, foo", b"foo ,bar"),
            (b"HTTP/1.1", b"HTTP/1.0"),
            (b"", b"Content-Length: 1\r\n", b"Transfer-Encoding: chunked\r\n"),
            (LIMITS, Limits(upgrade_with_body=True)),
        ):
            if body and version == b"HTTP/1.0":
                continue  # refused of a GET
            sent = get(HOST + connection + b"Upgrade: " + offer + b"\r\nA: b\r\n" + body, version=version)
            head = read_request(sent, limits)
            self.assertEqual(head.values(b"upgrade"), [] if head.upgrade is None else [head.upgrade], sent)
            self.assertEqual((head.values(b"a"), head.head[-4:]), ([b"b"], b"\r\n\r\n"))

    def test_fields_are_found_as_the_server_gets_them(self) -> None:
        """In any case and in order; not Connection, nor what it names (RFC 9110 7.6.1)."""
        head = read(get(b"Accept: a \r\nHost: h\r\nACCEPT:b\r\nX-Hop: 1\r\nConnection: close\r\nConnection: X-hop\r\n"))
        self.assertEqual(head.values(b"x-hop"), [])
        self.assertNotIn(b"X-Hop", head.block)
        self.assertEqual(head.values(b"accept"), [b"a", b"b"])
        self.assertEqual(head.values(b"Connection"), [])
        self.assertEqual(head.values(b"nothing"), [])
        self.assertEqual(head.fields()[0:2], [(b"Accept", b"a"), (b"Host", b"h")])

    def test_a_head_is_taken_apart_only_for_what_connection_names(self) -> None:
        """Not for the usual options, nor for those of a WebSocket or of gRPC."""
        with mock.patch("reusedproxy.wire.heads._without", side_effect=lambda block, names: block) as taken_apart:
            for fields, times in (
                (b"", 0),
                (b"Connection: keep-alive\r\n", 0),
                (b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n", 0),
                (b"Connection: close, TE\r\nTE: trailers\r\n", 0),
                (b"Connection: X-Hop\r\n", 1),
            ):
                read(get(HOST + fields))
                self.assertEqual(taken_apart.call_count, times, fields)


class FindingTheHeadTests(SynchronousTestCase):
    def test_the_end_is_found_however_it_was_cut(self) -> None:
        """Searching on from any place that was searched before finds the same end."""
        head = get(HOST)
        data = head + b"rest\r\n\r\n"
        for searched in range(len(head)):
            self.assertEqual(find_head_end(data, searched), len(head))
        self.assertEqual(find_head_end(data), len(head))

    def test_empty_lines_before_a_request_are_skipped(self) -> None:
        """RFC 9112 2.2; half of one waits."""
        self.assertEqual(skip_empty_lines(b""), 0)
        self.assertEqual(skip_empty_lines(b"GET"), 0)
        self.assertEqual(skip_empty_lines(b"\r\nGET"), 2)
        self.assertEqual(skip_empty_lines(b"\r\n\r\nGET"), 4)
        self.assertEqual(skip_empty_lines(b"\r\n\r"), 2)
        self.assertEqual(skip_empty_lines(b"\rG"), 0)
        self.assertEqual(skip_empty_lines(b"\n"), 0)
        check_partial(b"\r", LIMITS)
        self.assertRaises(RequestFault, check_partial, b"\rG", LIMITS)
        self.assertEqual(skip_empty_lines(b"\r\n" * 100), 200)
