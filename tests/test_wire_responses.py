"""What the wire takes from servers, what it cannot frame without doubt, and what of it goes on to clients."""

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.wire.heads import (
    CHUNKED,
    UNTIL_CLOSE,
    Limits,
    ResponseFault,
    ResponseHead,
    check_partial_response,
    read_response,
)

LIMITS = Limits()
OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 5\r\n"
CHUNKED_FIELD = b"Transfer-Encoding: chunked\r\n"


def read(head: bytes, method: bytes = b"GET") -> ResponseHead:
    return read_response(head, method, LIMITS)


# (RFC section, method, head without its empty line, length, may the connection be used again)
FRAMED: list[tuple[str, bytes, bytes, int, bool]] = [
    ("9112 6.3 item 6", b"GET", OK + LENGTH, 5, True),
    ("9112 6.3 item 6, nothing", b"GET", OK + b"Content-Length: 0\r\n", 0, True),
    ("9112 6.3 item 5, identical lengths", b"GET", OK + LENGTH + b"content-length:5 \r\n", 5, True),
    ("9112 6.3 item 4", b"GET", OK + CHUNKED_FIELD, CHUNKED, True),
    ("9112 6.3 item 4, spelled otherwise", b"GET", OK + b"TRANSFER-encoding:CHUNKED\t\r\n", CHUNKED, True),
    ("9112 6.3 item 8", b"GET", OK, UNTIL_CLOSE, False),
    ("9112 6.3 item 8, keep-alive or not", b"GET", OK + b"Connection: keep-alive\r\n", UNTIL_CLOSE, False),
    ("9112 6.3 item 1, HEAD", b"HEAD", OK + LENGTH, 0, True),
    ("9112 6.3 item 1, HEAD chunked", b"HEAD", OK + CHUNKED_FIELD, 0, True),
    ("9112 6.3 item 1, HEAD silent", b"HEAD", OK, 0, True),
    ("9110 9.1, head is no HEAD", b"head", OK + LENGTH, 5, True),
    ("9112 6.3 item 1, 204", b"GET", b"HTTP/1.1 204 No Content\r\n", 0, True),
    ("9112 6.3 item 1, 304", b"GET", b"HTTP/1.1 304 Not Modified\r\n" + LENGTH, 0, True),
    ("9112 6.3 item 1, 304 silent", b"GET", b"HTTP/1.1 304 Not Modified\r\n", 0, True),
    ("9112 6.3 item 1, 205 is no 204", b"GET", b"HTTP/1.1 205 Reset Content\r\n", UNTIL_CLOSE, False),
    ("9112 6.3 item 1, 100", b"POST", b"HTTP/1.1 100 Continue\r\n", 0, True),
    ("8297 2, 103", b"GET", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n", 0, True),
    ("9110 15.2.2, 101 ends HTTP", b"GET", b"HTTP/1.1 101 Switching Protocols\r\n", 0, False),
    ("9112 6.3 item 2, tunnel", b"CONNECT", OK + b"", UNTIL_CLOSE, False),
    ("9112 6.3 item 2, no tunnel", b"CONNECT", b"HTTP/1.1 407 No\r\n" + LENGTH, 5, True),
    ("9112 9.3, close", b"GET", OK + LENGTH + b"Connection: close\r\n", 5, False),
    ("9112 9.3, close in any spelling", b"GET", OK + LENGTH + b"connection:\tx,, CLOSE \r\n", 5, False),
    ("9112 9.3, close in two fields", b"GET", OK + b"Connection: x\r\n" + LENGTH + b"Connection: close\r\n", 5, False),
    ("9112 9.3, not a token", b"GET", OK + LENGTH + b"Connection: close;\r\n", 5, False),
    ("9112 9.3, HTTP/1.0", b"GET", b"HTTP/1.0 200 OK\r\n" + LENGTH, 5, False),
    ("9112 9.3, HTTP/1.0 persistent", b"GET", b"HTTP/1.0 200 OK\r\n" + LENGTH + b"Connection: Keep-Alive\r\n", 5, True),
    ("9112 9.3, HTTP/1.0 until close", b"GET", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", UNTIL_CLOSE, False),
    ("9110 2.5, higher minor version", b"GET", b"HTTP/1.3 200 OK\r\n" + LENGTH, 5, True),
    ("9112 4, no reason", b"GET", b"HTTP/1.1 200 \r\n" + LENGTH, 5, True),
    ("9112 4, no reason and no space", b"GET", b"HTTP/1.1 200\r\n" + LENGTH, 5, True),
    ("9112 4, any reason", b"GET", b"HTTP/1.1 200  \tO \xe9K \r\n" + LENGTH, 5, True),
    ("9110 15, an unknown status is still framed", b"GET", b"HTTP/1.1 999 Denied\r\n" + LENGTH, 5, True),
]  # fmt: skip

# (RFC section, method, head)
REFUSED: list[tuple[str, bytes, bytes]] = [
    ("9112 6.3 item 3", b"GET", OK + LENGTH + CHUNKED_FIELD),
    ("9112 6.3 item 3, HEAD", b"HEAD", OK + CHUNKED_FIELD + LENGTH),
    ("9112 6.3 item 5, lengths differ", b"GET", OK + LENGTH + b"Content-Length: 6\r\n"),
    ("9112 6.3 item 5, list", b"GET", OK + b"Content-Length: 5, 5\r\n"),
    ("9112 6.3 item 5, HEAD too", b"HEAD", OK + b"Content-Length: x\r\n"),
    *[
        ("9110 8.6", b"GET", OK + b"Content-Length: " + value + b"\r\n")
        for value in (b"", b"+5", b"-1", b"0x5", b"5_0", b"5 5", b"9223372036854775808", b"9" * 300)
    ],
    ("9112 6.1, HTTP/1.0", b"GET", b"HTTP/1.0 200 OK\r\n" + CHUNKED_FIELD),
    *[
        ("9112 6.1, coding", b"GET", OK + b"Transfer-Encoding: " + value + b"\r\n")
        for value in (b"", b"gzip", b"gzip, chunked", b"identity", b"chunked, chunked", b"xchunked", b"chunked;a")
    ],
    ("9112 4, status", b"GET", b"HTTP/1.1 099 OK\r\n" + LENGTH),
    ("9112 4, status", b"GET", b"HTTP/1.1 20 OK\r\n" + LENGTH),
    ("9112 4, status", b"GET", b"HTTP/1.1 2000 OK\r\n" + LENGTH),
    ("9112 4, status", b"GET", b"HTTP/1.1 2x0 OK\r\n" + LENGTH),
    ("9112 4, status", b"GET", b"HTTP/1.1 +20 OK\r\n" + LENGTH),
    ("9112 4, status", b"GET", b"HTTP/1.1  200 OK\r\n" + LENGTH),
    ("9112 4, no status", b"GET", b"HTTP/1.1\r\n" + LENGTH),
    ("9112 4, no status", b"GET", b"HTTP/1.1 \r\n" + LENGTH),
    ("9112 4, tab", b"GET", b"HTTP/1.1 200\tOK\r\n" + LENGTH),
    ("9112 2.3, version", b"GET", b"HTTP/2.0 200 OK\r\n" + LENGTH),
    ("9112 2.3, version", b"GET", b"HTTP/1 200 OK\r\n" + LENGTH),
    ("9112 2.3, version", b"GET", b"HTTP/1.10 200 OK\r\n" + LENGTH),
    ("9112 2.3, version", b"GET", b"http/1.1 200 OK\r\n" + LENGTH),
    ("9112 2.3, another protocol", b"GET", b"ICY 200 OK\r\n" + LENGTH),
    ("9112 4, empty line first", b"GET", b"\r\n" + OK + LENGTH),
    ("9112 4, space first", b"GET", b" " + OK + LENGTH),
    ("9110 5.5, NUL in the reason", b"GET", b"HTTP/1.1 200 O\x00K\r\n" + LENGTH),
    ("9112 2.2, bare CR in the reason", b"GET", b"HTTP/1.1 200 O\rK\r\n" + LENGTH),
    ("9112 2.2, bare LF after the status line", b"GET", b"HTTP/1.1 200 OK\nA: b\r\n" + LENGTH),
    ("9112 2.2, bare LF", b"GET", OK + b"A: b\nC: d\r\n" + LENGTH),
    ("9112 2.2, bare CR", b"GET", OK + b"A: b\rC: d\r\n" + LENGTH),
    ("9112 5.2, obs-fold", b"GET", OK + b"A: b\r\n c\r\n" + LENGTH),
    ("9112 5.1, space before the colon", b"GET", OK + b"A : b\r\n" + LENGTH),
    ("9112 5.1, space before a length's colon", b"GET", OK + b"Content-Length : 5\r\n"),
    ("9110 5.1, empty name", b"GET", OK + b": b\r\n" + LENGTH),
    ("9110 5.1, no token", b"GET", OK + b"A/: b\r\n" + LENGTH),
    ("9110 5.1, no colon", b"GET", OK + b"A\r\n" + LENGTH),
    ("9110 5.1, no colon", b"GET", OK + b"Connection\r\n" + LENGTH),
    ("9110 5.1, no colon", b"GET", OK + b"Content-Length\r\n"),
    ("9110 5.5, control", b"GET", OK + b"A: \x1b\r\n" + LENGTH),
    ("too many fields", b"GET", OK + b"A: b\r\n" * 102),
    ("too large", b"GET", OK + b"A: " + b"b" * 15360 + b"\r\n"),
]  # fmt: skip


class FramingTests(SynchronousTestCase):
    def test_lengths_and_persistence(self) -> None:
        """What follows a head depends on its fields, its status and the request's method (RFC 9112 6.3, 9.3)."""
        for rule, method, head, length, keep_alive in FRAMED:
            response = read(head + b"\r\n", method)
            self.assertEqual((response.length, response.keep_alive), (length, keep_alive), (rule, head))

    def test_doubtful_responses_are_refused(self) -> None:
        """What cannot be framed without doubt is a 502, with a reason that says more than that."""
        for rule, method, head in REFUSED:
            fault = self.assertRaises(ResponseFault, read, head + b"\r\n", method)
            self.assertEqual(fault.status, 502)
            self.assertNotEqual(fault.reason, "malformed head", (rule, head))

    def test_no_beginning_of_a_legal_head_is_refused(self) -> None:
        """Cut at every byte, and with every share of it already searched, the beginning passes."""
        for _, _, head, _, _ in FRAMED:
            for end in range(len(head) + 1):
                check_partial_response(head[:end], LIMITS)
                check_partial_response(head[:end], LIMITS, end)

    def test_hopeless_beginnings_are_refused_at_once(self) -> None:
        """What no further byte can mend does not wait for the empty line."""
        for beginning in (
            b"\x15\x03", b"SSH", b"\r", b"\n", b" ", b"HTTP/2", b"HTTP/1.1\r", b"HTTP/1.1  ", b"HTTP/1.1 0",
            b"HTTP/1.1 2000", b"HTTP/1.1 20 ", b"HTTP/1.1 200 O\n", OK + b" ", OK + b":", OK + b"A\r", OK + b"A: b\n",
            OK + b"A: b\x00", b"HTTP/1.1 200 " + b"a" * 15361, OK + b"A: b\r\n" * 102, OK + b"A:" + b"b" * 15361,
        ):  # fmt: skip
            self.assertRaises(ResponseFault, check_partial_response, beginning, LIMITS)


class BlockTests(SynchronousTestCase):
    def assert_block(self, head: bytes, block: bytes, method: bytes = b"GET") -> None:
        self.assertEqual(read(head + b"\r\n", method).block, block)

    def test_an_end_to_end_head_goes_on_as_it_is(self) -> None:
        """Order and spelling are the server's."""
        head = OK + b"sErVeR:x \r\nDate: y\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n" + LENGTH
        self.assert_block(head, head)

    def test_hop_by_hop_fields_stay_here(self) -> None:
        """RFC 9110 7.6.1: Connection, all that it names, and what never passes a hop."""
        self.assert_block(
            OK + b"Connection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nx-hop: 1\r\nProxy-Connection: a\r\n"
            b"Upgrade: h2\r\n" + LENGTH,
            OK + LENGTH,
        )

    def test_the_version_is_ours(self) -> None:
        """RFC 9110 2.5, 7.6: a proxy sends its own version; the reason keeps its space (RFC 9112 4)."""
        self.assert_block(b"HTTP/1.0 200 Fine then\r\n" + LENGTH, b"HTTP/1.1 200 Fine then\r\n" + LENGTH)
        self.assert_block(b"HTTP/1.4 200 \r\n" + LENGTH, b"HTTP/1.1 200 \r\n" + LENGTH)
        self.assert_block(b"HTTP/1.1 200\r\n" + LENGTH, b"HTTP/1.1 200 \r\n" + LENGTH)

    def test_identical_lengths_become_one(self) -> None:
        """RFC 9112 6.3 item 5: and it is spelled so that nobody can misread it, as Transfer-Encoding is."""
        self.assert_block(OK + LENGTH + b"A: b\r\n" + b"content-length:5\r\n", OK + LENGTH + b"A: b\r\n")
        self.assert_block(OK + LENGTH + b"A: b\r\n" + LENGTH, OK + b"A: b\r\n" + LENGTH)
        self.assert_block(OK + b"Transfer-Encoding:\tChunked\r\n", OK + CHUNKED_FIELD)

    def test_lengths_that_must_not_be_sent_stay_here(self) -> None:
        """RFC 9110 8.6, RFC 9112 6.1: no length on 1xx and 204, nor on 2xx to CONNECT; HEAD and 304 keep theirs."""
        for line in (b"HTTP/1.1 100 Continue\r\n", b"HTTP/1.1 204 No Content\r\n"):
            self.assert_block(line + LENGTH + b"A: b\r\n", line + b"A: b\r\n")
            self.assert_block(line + CHUNKED_FIELD + b"A: b\r\n", line + b"A: b\r\n")
        self.assert_block(OK + LENGTH, OK, b"CONNECT")
        self.assert_block(OK + LENGTH, OK + LENGTH, b"HEAD")
        self.assert_block(b"HTTP/1.1 304 Not Modified\r\n" + LENGTH, b"HTTP/1.1 304 Not Modified\r\n" + LENGTH)

    def test_upgrade_goes_on_only_where_it_means_something(self) -> None:
        """RFC 9110 7.8: with 101 and 426; Connection is added by whoever sends it."""
        for line in (b"HTTP/1.1 101 Switching Protocols\r\n", b"HTTP/1.1 426 Upgrade Required\r\n"):
            response = read(line + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            self.assertEqual(response.block, line + b"Upgrade: websocket\r\n")
            self.assertEqual(response.upgrade, b"websocket")
        self.assertIsNone(read(OK + b"Upgrade: h2\r\nConnection: upgrade\r\n\r\n").upgrade)

    def test_a_client_of_http_1_0_gets_no_chunks(self) -> None:
        """RFC 9112 6.1: Transfer-Encoding goes, and Trailer with it."""
        response = read(OK + b"A: b\r\ntransfer-encoding: Chunked\r\nTrailer: X\r\nC: d\r\n\r\n")
        self.assertEqual(response.without_chunked(), OK + b"A: b\r\nC: d\r\n")

    def test_lookups(self) -> None:
        """Status, reason and fields are as they came."""
        response = read(b"HTTP/1.0 404 Not  Here\r\nKeep-Alive: timeout=5, max=9 \r\nVIA: a\r\nVia: b\r\n\r\n")
        self.assertEqual((response.status, response.reason, response.minor), (404, b"Not  Here", 0))
        self.assertEqual(response.keep_alive_timeout, b"timeout=5, max=9")
        self.assertEqual(response.values(b"via"), [b"a", b"b"])
        self.assertEqual(response.fields()[0], (b"Keep-Alive", b"timeout=5, max=9"))
        self.assertEqual(read(b"HTTP/1.1 200\r\n\r\n").reason, b"")
