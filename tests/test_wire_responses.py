"""What the wire takes from servers, what it cannot frame without doubt, and what of it goes on to clients."""

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.wire.heads import (
    CHUNKED,
    UNTIL_CLOSE,
    Limits,
    ResponseFault,
    ResponseHead,
    check_partial_response,
    find_head_end,
    read_response,
)
from tests.wirecases import CHUNKED_FIELD
from tests.wirecases_responses import LEGAL_RESPONSES, LENGTH, OK, REFUSED_RESPONSES

LIMITS = Limits()


def read(head: bytes, method: bytes = b"GET") -> ResponseHead:
    return read_response(head, method, LIMITS)


# What the shared tables leave out, since whole exchanges decide about it; and how a head is read that could go on as
# another. (RFC section, method, head without its empty line, length, may the connection be used again)
FRAMED: list[tuple[str, bytes, bytes, int, bool]] = [
    ("9110 9.1, head is no HEAD", b"head", OK + LENGTH, 5, True),
    ("9112 6.3 item 1, 100", b"POST", b"HTTP/1.1 100 Continue\r\n", 0, True),
    ("9110 15.2.2, 101 ends HTTP", b"GET", b"HTTP/1.1 101 Switching Protocols\r\n", 0, False),
    ("9112 6.3 item 2, tunnel", b"CONNECT", OK + b"", UNTIL_CLOSE, False),
    ("9112 6.3 item 2, no tunnel", b"CONNECT", b"HTTP/1.1 407 No\r\n" + LENGTH, 5, True),
    ("9112 6.3 item 8", b"GET", OK, UNTIL_CLOSE, False),
    ("9112 6.3 item 4", b"GET", OK + CHUNKED_FIELD, CHUNKED, True),
]

# Each case's first head.
LEGAL_HEADS = [case.data[: find_head_end(case.data)] for case in LEGAL_RESPONSES]
REFUSED_HEADS = [case for case in REFUSED_RESPONSES if not case.late and not case.closes]


class FramingTests(SynchronousTestCase):
    def test_lengths_and_persistence(self) -> None:
        """What follows a head depends on its fields, its status and the request's method (RFC 9112 6.3, 9.3)."""
        for rule, method, head, length, keep_alive in FRAMED:
            response = read(head + b"\r\n", method)
            self.assertEqual((response.length, response.keep_alive), (length, keep_alive), (rule, head))

    def test_every_fault_is_a_502_and_says_what_is_wrong(self) -> None:
        """The operator reads the reason in the log."""
        for case in REFUSED_HEADS:
            fault = self.assertRaises(ResponseFault, self.take, case.data, case.method.encode())
            self.assertEqual(fault.status, 502)
            self.assertNotEqual(fault.reason, "malformed head", case.name)

    def take(self, data: bytes, method: bytes) -> None:
        """As a connection does; after 1xx comes the next head."""
        while (end := find_head_end(data)) >= 0:
            if read(data[:end], method).status >= 200:
                return
            data = data[end:]
        check_partial_response(data, LIMITS)

    def test_no_beginning_of_a_legal_head_is_refused(self) -> None:
        """Cut at every byte, and with every share of it already searched, the beginning passes."""
        for head in LEGAL_HEADS:
            for end in range(len(head) if len(head) < 600 else 100):
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
        head = OK + b"sErVeR:x\r\nDate: y\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n" + LENGTH
        self.assert_block(head, head)

    def test_hop_by_hop_fields_stay_here(self) -> None:
        """RFC 9110 7.6.1: Connection, all that it names, and what never passes a hop."""
        self.assert_block(
            OK + b"Connection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nx-hop: 1\r\nProxy-Connection: a\r\n"
            b"Upgrade: h2\r\n" + LENGTH,
            OK + LENGTH,
        )

    def test_lookups_see_nothing_that_connection_names(self) -> None:
        """Rules see what the client gets; what must not be lost (RFC 9110 11.6.1, 15.5.2) is in both."""
        answer = (
            b"HTTP/1.1 401 No\r\nConnection: x-hop, Date, WWW-Authenticate, Content-Length\r\nX-Hop: 1\r\nDate: y\r\n"
            b"WWW-Authenticate: NTLM\r\n" + LENGTH
        )
        response = read(answer + b"\r\n")
        self.assertEqual(response.block, b"HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM\r\n" + LENGTH)
        self.assertEqual([name for name, _ in response.fields()], [b"WWW-Authenticate", b"Content-Length"])
        self.assertTrue(response.binds_connection)

    def test_a_challenge_binds_the_connection_wherever_it_stands(self) -> None:
        """RFC 9110 11.6.1: in a list of challenges with parameters, and when in doubt."""
        for value, binds in (
            (b"NTLM", True),
            (b"ntlm abc=", True),
            (b'Basic realm="x", NTLM', True),
            (b'Basic realm="a,b" , Negotiate', True),
            (b", NTLM", True),
            (b",, negotiate", True),
            (b"Basic,NTLM", True),
            (b"Basic\t,\tNTLM", True),
            (b'Digest qop="auth\\"", nonce=1, Negotiate abc==', True),
            (b'Basic realm="x, NTLM', True),  # nobody knows where it ends
            (b'Basic realm="' + b'\\"' * 4000 + b", NTLM", True),  # at once
            (b"Basic realm=x NTLM", True),  # no list at all
            (b'Basic realm="x"NTLM', True),
            (b"Basic", False),
            (b'Basic realm="NTLM", charset="UTF-8"', False),
            (b'Basic realm="a, Negotiate"', False),
            (b'Basic realm="\\", NTLM"', False),
            (b"Bearer error=xntlm", False),
            (b"", False),
        ):
            for status, name in ((b"401", b"WWW-Authenticate"), (b"407", b"proxy-authenticate")):
                head = b"HTTP/1.1 %b No\r\n%b:%b\r\nContent-Length: 0\r\n\r\n" % (status, name, value)
                self.assertIs(read(head).binds_connection, binds, value)

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
            # Found by fuzzing: what goes on is put as we put it, however often it passes.
            self.assertEqual(read(line + b"Upgrade:\r\nUpgrade:\r\n\r\n").block, line + b"Upgrade: ,\r\n")
            self.assertEqual(response.upgrade, b"websocket")
        self.assertIsNone(read(OK + b"Upgrade: h2\r\nConnection: upgrade\r\n\r\n").upgrade)

    def test_a_client_of_http_1_0_gets_no_chunks(self) -> None:
        """RFC 9112 6.1: Transfer-Encoding goes, and Trailer with it."""
        response = read(OK + b"A: b\r\ntransfer-encoding: Chunked\r\nTrailer: X\r\nC: d\r\n\r\n")
        response.drop_chunked()
        self.assertEqual((response.block, response.head), (OK + b"A: b\r\nC: d\r\n", OK + b"A: b\r\nC: d\r\n\r\n"))

    def test_lookups(self) -> None:
        """Status, reason and fields are as they came, but for those of the connection."""
        response = read(b"HTTP/1.0 404 Not  Here\r\nKeep-Alive: timeout=5, max=9 \r\nVIA: a\r\nVia: b\r\n\r\n")
        self.assertEqual((response.status, response.reason, response.minor), (404, b"Not  Here", 0))
        self.assertEqual(response.keep_alive_timeout, b"timeout=5, max=9")
        self.assertEqual(response.values(b"via"), [b"a", b"b"])
        self.assertEqual(response.fields()[0], (b"VIA", b"a"))
        self.assertEqual(read(b"HTTP/1.1 200\r\n\r\n").reason, b"")
