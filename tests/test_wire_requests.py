"""What the wire takes from clients, what it refuses and with which status, and what of it goes on."""

from twisted.trial.unittest import SynchronousTestCase

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

LIMITS = Limits()
LINE = b"GET / HTTP/1.1\r\n"
HOST = b"Host: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED_FIELD = b"Transfer-Encoding: chunked\r\n"


def get(fields: bytes, target: bytes = b"/", method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    return b"%b %b %b\r\n%b\r\n" % (method, target, version, fields)


# (RFC section, head, what goes on; None: all of it)
ACCEPTED: list[tuple[str, bytes, bytes | None]] = [
    ("9112 3", get(HOST), None),
    ("9110 9.1 any token is a method", get(HOST, method=b"!#$%&'*+-.^_`|~09azAZ"), None),
    ("9110 9.1 methods are case-sensitive", get(HOST, method=b"get"), None),
    ("9112 3.2.1 origin-form", get(HOST, b"/a/b;c=d?e=f&g=/?:@-._~!$'()*+,%20"), None),
    ("HAProxy: all visible ASCII but #", get(HOST, b'/"<>\\^`{|}'), None),
    ("9112 3.2.2 absolute-form", get(HOST, b"http://a/b"), None),
    ("9112 3.2.2 no path", get(HOST, b"http://a"), None),
    ("9112 3.2.2 query without path", get(HOST, b"http://a?b"), None),
    ("9110 4.2.3 host in any case", get(HOST, b"HTTP://A/"), None),
    ("9110 4.2.3 default port", get(HOST, b"http://a:80/"), None),
    ("9110 4.2.3 default port of https", get(b"Host: a:443\r\n", b"https://a/"), None),
    ("3986 3.2.3 empty port", get(b"Host: a:\r\n", b"http://a/"), None),
    ("9112 3.2.4 asterisk-form", get(HOST, b"*", b"OPTIONS"), None),
    ("9112 3.2 empty Host", get(b"Host:\r\n"), None),
    ("3986 3.2.2 IPv6", get(b"Host: [2001:db8::1]:8080\r\n"), None),
    ("3986 3.2.2 IPvFuture", get(b"Host: [v1.a:b]\r\n"), None),
    ("3986 3.2.2 percent-encoded", get(b"Host: a%20b\r\n"), None),
    ("3986 3.2.2 sub-delims", get(b"Host: a!$&'()*+,;=b\r\n"), None),
    ("9112 5 Host may come later", get(b"Accept: */*\r\nHost: a\r\n"), None),
    ("9110 5.1 names in any case", get(b"hOST: a\r\n"), None),
    ("9112 5 no space after the colon", get(b"Host:a\r\nX:y\r\n"), None),
    ("9112 5.1 space and tab around values", get(b"Host: \t a \t\r\nX: \t y \t\r\n"), None),
    ("9110 5.5 empty value", get(HOST + b"X:\r\nY: \r\n"), None),
    ("9110 5.5 obs-text", get(HOST + b"X: \x80\xff\r\n"), None),
    ("9110 5.5 tab inside", get(HOST + b"X: a\tb\r\n"), None),
    ("9110 5.6.2 every token character", get(HOST + b"!#$%&'*+-.^_`|~09azAZ: b\r\n"), None),
    ("9110 5.3 repeated fields keep their order", get(HOST + b"B: 1\r\nA: 2\r\nb: 3\r\n"), None),
    ("9112 6.2", POST + b"Content-Length: 5\r\n\r\n", None),
    ("9112 6.2 without a space", POST + b"content-LENGTH:5\r\n\r\n", None),
    ("9112 6.2 for the next hop's eyes", POST + b"content-LENGTH:\t5 \r\n\r\n", POST + b"content-LENGTH: 5\r\n"),
    ("9110 8.6 leading zeros", POST + b"Content-Length: 0005\r\n\r\n", None),
    ("9112 6.2 the largest", POST + b"Content-Length: 9223372036854775807\r\n\r\n", None),
    (
        "9112 6.3 identical lengths",
        POST + b"Content-Length: 5\r\nX: y\r\ncontent-length: 5 \r\nContent-Length:5\r\n\r\n",
        POST + b"Content-Length: 5\r\nX: y\r\n",
    ),
    (
        "9112 6.3 identical lengths, one spelling",
        POST + b"Content-Length: 5 \r\nX: y\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        POST + b"X: y\r\nContent-Length: 5\r\n",
    ),
    ("9112 7", POST + CHUNKED_FIELD + b"\r\n", None),
    ("9112 7 in any case", POST + b"TRANSFER-encoding: ChUnKeD\r\n\r\n", POST + b"TRANSFER-encoding: chunked\r\n"),
    ("9112 7 whitespace", POST + b"Transfer-Encoding:chunked\t\r\n\r\n", POST + CHUNKED_FIELD),
    ("9112 7 no whitespace", POST + b"Transfer-Encoding:chunked\r\n\r\n", None),
    ("9110 6.6.2 Trailer goes on", POST + CHUNKED_FIELD + b"Trailer: X\r\n\r\n", None),
    ("9110 10.1.1", POST + b"Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n", None),
    ("9110 2.5 higher minor versions are 1.1", get(HOST, version=b"HTTP/1.7"), LINE + HOST),
    ("9112 9.3 HTTP/1.0", get(HOST, version=b"HTTP/1.0"), LINE + HOST),
    ("9112 3.2 HTTP/1.0 without Host", get(b"A: b\r\n", version=b"HTTP/1.0"), b"GET / HTTP/1.0\r\nA: b\r\n"),
    (
        "9112 3.2.2 a proxy gives Host",
        get(b"A: b\r\n", b"http://a:80/", version=b"HTTP/1.0"),
        b"GET http://a:80/ HTTP/1.1\r\nHost: a:80\r\nA: b\r\n",
    ),
    (
        "9110 10.1.1 HTTP/1.0 expects nothing",
        get(HOST + b"Expect: 100-continue\r\nContent-Length: 3\r\n", version=b"HTTP/1.0"),
        LINE + HOST + b"Content-Length: 3\r\n",
    ),
    ("9110 7.6.1 Connection", get(HOST + b"Connection: keep-alive\r\nA: b\r\n"), LINE + HOST + b"A: b\r\n"),
    ("9110 7.6.1 first", get(b"Connection: close\r\n" + HOST), LINE + HOST),
    ("9110 7.6.1 last", get(HOST + b"A: b\r\nconnection:close\r\n"), LINE + HOST + b"A: b\r\n"),
    (
        "9110 7.6.1 all that end here",
        get(HOST + b"Keep-Alive: 5\r\nTE: gzip\r\nA: b\r\nProxy-Connection: x\r\nUpgrade: h2c\r\n"),
        LINE + HOST + b"A: b\r\n",
    ),
    (
        "9110 7.6.1 named by Connection",
        get(HOST + b"X-Hop: 1\r\nA: b\r\nx-hop: 2\r\nConnection: x-HOP ,, close\r\n"),
        LINE + HOST + b"A: b\r\n",
    ),
    (
        "9110 7.6.1 never what frames or routes",
        POST + b"Content-Length: 5\r\nExpect: 100-continue\r\nConnection: host, content-length, Expect\r\n\r\n",
        POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n",
    ),
    (
        "9110 7.6.1 twice, the shorter first",
        get(HOST + b"Connection: a\r\nConnection: ab\r\nA: 1\r\nAB: 2\r\nABC: 3\r\n"),
        LINE + HOST + b"ABC: 3\r\n",
    ),
    (
        "a text like a hop-by-hop line stays",
        get(HOST + b"X: Connection: close\r\nConnection: close\r\nConnection-X: close\r\n"),
        LINE + HOST + b"X: Connection: close\r\nConnection-X: close\r\n",
    ),
    ("names that only begin alike", get(HOST + b"Host2: b\r\nTea: c\r\nUpgrade-Insecure-Requests: 1\r\n"), None),
    ("names that only begin alike, shorter", get(HOST + b"Hos: b\r\nT: c\r\nContent: d\r\nConn: e\r\n"), None),
]  # fmt: skip

# (RFC section, head, status)
REFUSED: list[tuple[str, bytes, int]] = [
    ("9112 3 HTTP/0.9", b"GET /\r\n\r\n", 400),
    ("9112 3 only a method", b"GET\r\n\r\n", 400),
    ("9112 3 nothing", b"\r\n\r\n", 400),
    ("9112 3 two spaces", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("9112 3 two spaces later", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("9112 3 trailing space", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    ("9112 3 leading space", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("9112 3 tab", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("9112 3.2 space in the target", get(HOST, b"/a b"), 400),
    ("9112 3.2 tab in the target", get(HOST, b"/a\tb"), 400),
    ("9112 3.2 fragment", get(HOST, b"/a#b"), 400),
    ("9112 3.2 beyond ASCII", get(HOST, b"/\xc3\xa9"), 400),
    ("9112 3.2 DEL", get(HOST, b"/\x7f"), 400),
    ("9112 3.2 NUL", get(HOST, b"/\x00"), 400),
    ("9112 3.2 no form", get(HOST, b"a"), 400),
    ("9112 3.2.4 * is for OPTIONS", get(HOST, b"*"), 400),
    ("9112 3.2.4 more than *", get(HOST, b"*a", b"OPTIONS"), 400),
    ("9112 3.2.3 authority-form is for CONNECT", get(HOST, b"a:80"), 400),
    ("9112 3.2.2 other scheme", get(HOST, b"ftp://a/"), 400),
    ("9110 4.2.1 no authority", get(HOST, b"http:///"), 400),
    ("9110 4.2.4 user info", get(HOST, b"http://u@a/"), 400),
    ("9112 3.2.2 Host disagrees", get(HOST, b"http://b/"), 400),
    ("9112 3.2.2 port disagrees", get(HOST, b"http://a:81/"), 400),
    ("9112 3.2.2 default port of the other scheme", get(b"Host: a:80\r\n", b"https://a/"), 400),
    ("9112 3.2 absolute-form, no Host on 1.1", get(b"", b"http://a/"), 400),
    ("9110 9.3.6 CONNECT with another Host", get(b"Host: b:443\r\n", b"a:443", b"CONNECT"), 400),
    ("9110 9.3.6 CONNECT without a port", get(b"Host: a\r\n", b"a", b"CONNECT"), 400),
    ("9110 9.3.6 CONNECT with an empty port", get(b"Host: a:\r\n", b"a:", b"CONNECT"), 400),
    ("9110 9.3.6 CONNECT with a body", get(b"Host: a:443\r\nContent-Length: 1\r\n", b"a:443", b"CONNECT"), 400),
    ("9110 9.3.6 CONNECT chunked", get(b"Host: a:443\r\nTransfer-Encoding: chunked\r\n", b"a:443", b"CONNECT"), 400),
    ("9112 3.2.3 CONNECT with a path", get(HOST, b"/", b"CONNECT"), 400),
    ("9110 9.1 method", get(HOST, method=b"G(T"), 400),
    ("9110 9.1 method beyond ASCII", get(HOST, method=b"G\xc9T"), 400),
    ("9112 2.3 major 2", get(HOST, version=b"HTTP/2.0"), 505),
    ("9112 2.3 major 0", get(HOST, version=b"HTTP/0.9"), 505),
    ("9112 2.3 major 3", get(HOST, version=b"HTTP/3.0"), 505),
    ("9112 2.3 two digits", get(HOST, version=b"HTTP/1.10"), 400),
    ("9112 2.3 two digits before", get(HOST, version=b"HTTP/11.1"), 400),
    ("9112 2.3 no minor", get(HOST, version=b"HTTP/1"), 400),
    ("9112 2.3 lower case", get(HOST, version=b"http/1.1"), 400),
    ("9112 2.3 another name", get(HOST, version=b"HTTQ/1.1"), 400),
    ("9113 3.4 HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("8446 5.1 TLS", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    ("9112 3.2 no Host", get(b"A: b\r\n"), 400),
    ("9112 3.2 two Hosts", get(HOST + HOST), 400),
    ("9112 3.2 two Hosts apart", get(HOST + b"A: b\r\nHOST: a\r\n"), 400),
    ("9112 3.2 two Hosts, neither first", get(b"A: b\r\nHost: a\r\nHost: a\r\n"), 400),
    ("9112 3.2 two Hosts on HTTP/1.0", get(HOST + HOST, version=b"HTTP/1.0"), 400),
    ("9112 3.2 Host with a space", get(b"Host: a b\r\n"), 400),
    ("9112 3.2 Host with a path", get(b"Host: a/b\r\n"), 400),
    ("9112 3.2 Host with a user", get(b"Host: u@a\r\n"), 400),
    ("9112 3.2 Host beyond ASCII", get(b"Host: \xe9\r\n"), 400),
    ("9112 3.2 Host, port alone", get(b"Host: :80\r\n"), 400),
    ("9112 3.2 Host, port no number", get(b"Host: a:b\r\n"), 400),
    ("9112 3.2 Host, two ports", get(b"Host: a:1:2\r\n"), 400),
    ("9112 3.2 Host, port too long", get(b"Host: a:123456\r\n"), 400),
    ("9112 3.2 Host, half an IPv6", get(b"Host: [::1\r\n"), 400),
    ("9112 3.2 Host, bad percent", get(b"Host: a%2\r\n"), 400),
    ("9112 5.1 space before the colon", get(HOST + b"A : b\r\n"), 400),
    ("9112 5.1 space before the colon of a length", POST + b"Content-Length : 5\r\n\r\n", 400),
    ("9112 5.1 tab before the colon", get(HOST + b"A\t: b\r\n"), 400),
    ("9112 5.1 before Host's colon", get(b"Host : a\r\n"), 400),
    ("9112 5.2 obs-fold", get(HOST + b"A: b\r\n c\r\n"), 400),
    ("9112 5.2 obs-fold by tab", get(HOST + b"A: b\r\n\tc\r\n"), 400),
    ("9112 5.2 obs-fold of Host", get(b"Host: a\r\n b\r\n"), 400),
    ("9112 5.2 obs-fold of a length", POST + b"Content-Length:\r\n 5\r\n\r\n", 400),
    ("9112 2.2 space before the first field", get(b" A: b\r\n" + HOST), 400),
    ("9110 5.1 empty name", get(HOST + b": b\r\n"), 400),
    ("9110 5.1 no colon", get(HOST + b"A\r\n"), 400),
    ("9110 5.1 no colon, first", get(b"A\r\n" + HOST), 400),
    *[
        ("9110 5.1 a name that matters, without its colon", b"GET / HTTP/1.1\r\n" + name + b"\r\n\r\n", 400)
        for name in (b"Host", b"host a", b"Content-Length", b"Connection", b"TE", b"Expect", b"Upgrade", b"Keep-Alive")
    ],
    *[
        ("9110 5.1 a name that matters, without its colon", POST + name + b"\r\n\r\n", 400)
        for name in (b"Host", b"Content-Length 5", b"Transfer-Encoding", b"CONNECTION", b"te", b"Expect", b"Upgrade")
    ],
    ("9110 5.1 no token", get(HOST + b"A(: b\r\n"), 400),
    ("9110 5.1 space in a name", get(HOST + b"A B: b\r\n"), 400),
    ("9110 5.1 beyond ASCII", get(HOST + b"\xe9: b\r\n"), 400),
    ("9110 5.1 beyond ASCII inside", get(HOST + b"A\xe9: b\r\n"), 400),
    ("9110 5.5 NUL", get(HOST + b"A: b\x00\r\n"), 400),
    ("9110 5.5 NUL in a name", get(HOST + b"A\x00: b\r\n"), 400),
    ("9110 5.5 control", get(HOST + b"A: \x01\r\n"), 400),
    ("9110 5.5 DEL", get(HOST + b"A: \x7f\r\n"), 400),
    ("9110 5.5 form feed", get(HOST + b"A: \x0c\r\n"), 400),
    ("9112 2.2 bare CR in a value", get(HOST + b"A: b\rc\r\n"), 400),
    ("9112 2.2 bare CR then a field", get(HOST + b"A: b\rC: d\r\n"), 400),
    ("9112 2.2 bare CR, bare LF in turn", get(HOST + b"A: b\rx\nC: d\r\n"), 400),
    ("9112 2.2 bare LF in a value", get(HOST + b"A: b\nC: d\r\n"), 400),
    ("9112 2.2 bare LF in Connection", get(HOST + b"Connection: b\nC: d\r\n"), 400),
    ("9112 2.2 bare LF after the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    ("9112 2.2 CR CR LF", get(HOST + b"A: b\r\r\n"), 400),
    ("9112 2.2 LF CR", get(HOST + b"A: b\n\r\r\n"), 400),
    ("9112 6.1 length and chunked", POST + b"Content-Length: 5\r\n" + CHUNKED_FIELD + b"\r\n", 400),
    ("9112 6.1 chunked and length", POST + CHUNKED_FIELD + b"Content-Length: 5\r\n\r\n", 400),
    ("9112 6.3 lengths differ", POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
    ("9112 6.3 lengths are spelled otherwise", POST + b"Content-Length: 5\r\nContent-Length: 05\r\n\r\n", 400),
    ("9112 6.3 three lengths", POST + b"Content-Length: 5\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
    ("9112 6.3 list of lengths", POST + b"Content-Length: 5, 5\r\n\r\n", 400),
    ("9112 6.3 list of differing lengths", POST + b"Content-Length: 5,6\r\n\r\n", 400),
    *[
        ("9110 8.6 no number", POST + b"Content-Length: " + value + b"\r\n\r\n", 400)
        for value in (b"", b"+5", b"-5", b"5 5", b"0x5", b"5_0", b"5.0", b"five", b"\xb2", b"5;", b'"5"', b"1e3")
    ],
    ("9110 8.6 overflow", POST + b"Content-Length: 9223372036854775808\r\n\r\n", 413),
    ("9110 8.6 overflow by far", POST + b"Content-Length: " + b"9" * 400 + b"\r\n\r\n", 413),
    ("9112 6.1 on HTTP/1.0", get(HOST + CHUNKED_FIELD, version=b"HTTP/1.0"), 400),
    ("9112 6.1 unknown coding", POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    ("9112 6.1 unknown coding in two fields", POST + b"Transfer-Encoding: gzip\r\n" + CHUNKED_FIELD + b"\r\n", 501),
    ("9112 6.1 chunked twice", POST + CHUNKED_FIELD + CHUNKED_FIELD + b"\r\n", 400),
    *[
        ("9112 6.3 not one final chunked", POST + b"Transfer-Encoding: " + value + b"\r\n\r\n", 400)
        for value in (
            b"", b"gzip", b"identity", b"chunked, chunked", b"chunked, gzip", b"xchunked", b"chunkedx", b"chunked;q=1",
            b'"chunked"', b"chunked,", b",chunked", b", chunked", b"chunked\x0b", b"chun ked", b"gzip;a, chunked",
        )
    ],
    ("9110 10.1.1 unknown expectation", POST + b"Expect: 200-ok\r\n\r\n", 417),
    ("9110 10.1.1 one more expectation", POST + b"Expect: 100-continue, x\r\n\r\n", 417),
    ("6585 5 too many fields", get(HOST + b"A: b\r\n" * 101), 431),
    ("6585 5 too large", get(HOST + b"A: " + b"b" * 15360 + b"\r\n"), 431),
    ("9110 15.5.15 target too long", get(HOST, b"/" + b"a" * 15360), 414),
]  # fmt: skip


def read(head: bytes) -> RequestHead:
    return read_request(head, LIMITS)


def fault_of(head: bytes) -> RequestFault | None:
    try:
        read(head[: find_head_end(head)])
    except RequestFault as fault:
        return fault
    return None


class AcceptedRequestTests(SynchronousTestCase):
    def test_legal_heads_are_read_and_their_end_to_end_part_goes_on(self) -> None:
        """Every legal head is taken, and its block is what the table says."""
        for rule, head, block in ACCEPTED:
            self.assertEqual(read(head).block, head[:-2] if block is None else block, rule)

    def test_what_goes_on_is_read_the_same_again(self) -> None:
        """The next hop sees the same method, target, host and length, and nothing left to remove."""
        for rule, head, _ in ACCEPTED:
            first = read(head)
            again = read(first.block + b"\r\n")
            self.assertEqual(
                (again.method, again.target, again.host, again.length, again.block),
                (first.method, first.target, first.host, first.length, first.block),
                rule,
            )

    def test_no_beginning_of_a_legal_head_is_refused(self) -> None:
        """Cut at every byte, and with every share of it already searched, the beginning passes."""
        for _, head, _ in ACCEPTED:
            for end in range(len(head)):
                self.assertEqual(find_head_end(head[:end]), -1)
                check_partial(head[:end], LIMITS)
                check_partial(head[:end], LIMITS, max(0, end - 1))
                check_partial(head[:end], LIMITS, end)

    def test_nothing_is_cut_when_nothing_must_be(self) -> None:
        """A head without hop-by-hop fields goes on as one slice, spelled as it came."""
        head = b"GET /x HTTP/1.1\r\nhOsT:  a \r\naCCept:\t*/* \r\n\r\n"
        self.assertEqual(read(head).block, head[:-2])


class RefusedRequestTests(SynchronousTestCase):
    def test_illegal_heads_are_refused_with_their_status(self) -> None:
        """Every illegal head raises the fault with the status to answer."""
        for rule, head, status in REFUSED:
            fault = fault_of(head)
            self.assertIsNotNone(fault, (rule, head[:200]))
            assert fault is not None
            self.assertEqual(fault.status, status, (rule, head[:200], fault.reason))
            self.assertNotEqual(fault.reason, "malformed head", (rule, head[:200]))

    def test_a_beginning_that_is_refused_is_refused_whole(self) -> None:
        """Cut at every byte: when a beginning raises, the whole raises the same status."""
        for rule, head, status in REFUSED:
            for end in (*range(min(len(head), 300)), len(head) - 5):
                try:
                    check_partial(head[: max(end, 0)], LIMITS)
                except RequestFault as fault:
                    self.assertEqual(fault.status, status, (rule, head[:end], fault.reason))

    def test_hopeless_beginnings_are_refused_at_once(self) -> None:
        """What no further byte can mend does not wait for the empty line."""
        for beginning, status in [
            (b"\x16", 400),
            (b"\x80\x2e", 400),
            (b"\x00", 400),
            (b" ", 400),
            (b"\n", 400),
            (b"GET /\r", 400),
            (b"GET / HTTP/2", 505),
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
            (b"G" * 15361, 414),
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
        """No request with a body (as HAProxy), and never h2c, by which others' rules are passed (RFC 9113 3.1)."""
        asks = HOST + b"Connection: upgrade\r\nUpgrade: %b\r\n"
        for offer, expected in (
            (b"h2c", None),
            (b"H2C, websocket", b"websocket"),
            (b" ,foo/2 ,, h2c", b"foo/2"),
            (b"", None),
        ):
            self.assertEqual(read(get(asks % offer)).upgrade, expected, offer)
        self.assertIsNone(read(get(asks % b"websocket" + b"Content-Length: 1\r\n")).upgrade)

    def test_fields_are_found_as_they_came(self) -> None:
        """Lookups see all that the client sent, hop-by-hop fields too, in any case and in order."""
        head = read(get(b"Accept: a \r\nHost: h\r\nACCEPT:b\r\nConnection: close\r\n"))
        self.assertEqual(head.values(b"accept"), [b"a", b"b"])
        self.assertEqual(head.values(b"Connection"), [b"close"])
        self.assertEqual(head.values(b"nothing"), [])
        self.assertEqual(head.fields()[0:2], [(b"Accept", b"a"), (b"Host", b"h")])


class FindingTheHeadTests(SynchronousTestCase):
    def test_the_end_is_found_however_it_was_cut(self) -> None:
        """Searching on from any place that was searched before finds the same end."""
        head = get(HOST)
        data = head + b"rest\r\n\r\n"
        for searched in range(len(head)):
            self.assertEqual(find_head_end(data, searched), len(head))
        self.assertEqual(find_head_end(data), len(head))

    def test_empty_lines_before_a_request_are_skipped(self) -> None:
        """RFC 9112 2.2; half of one waits, and their number is bounded over all pieces."""
        self.assertEqual(skip_empty_lines(b""), 0)
        self.assertEqual(skip_empty_lines(b"GET"), 0)
        self.assertEqual(skip_empty_lines(b"\r\nGET"), 2)
        self.assertEqual(skip_empty_lines(b"\r\n\r\nGET"), 4)
        self.assertEqual(skip_empty_lines(b"\r\n\r"), 2)
        self.assertEqual(skip_empty_lines(b"\rG"), 0)
        self.assertEqual(skip_empty_lines(b"\n"), 0)
        check_partial(b"\r", LIMITS)
        self.assertRaises(RequestFault, check_partial, b"\rG", LIMITS)
        self.assertRaises(RequestFault, skip_empty_lines, b"\r\n" * 100)
        self.assertRaises(RequestFault, skip_empty_lines, b"\r\n", 16)
