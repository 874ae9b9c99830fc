"""Cases of the wire that both directions share: what a case is, and chunked bodies, legal and malformed.

The tables (here, in `wirecases_requests` and in `wirecases_responses`) are the one list of what we take, what we
refuse, and what of it goes on; the unit tests, the oracles and the comparison with HAProxy all walk them. A case's name
is its key, so it is said once; `rule` is the section of the RFC (9110, 9112 or another) that decides it.
"""

from __future__ import annotations

from attrs import frozen

CHUNKED_FIELD = b"Transfer-Encoding: chunked\r\n"


@frozen
class LegalRequest:
    """One whole request. `goes_on` is all that reaches the server, None: the same bytes."""

    name: str
    rule: str
    data: bytes
    goes_on: bytes | None = None
    #: Whether the client may ask again on its connection.
    persists: bool = True

    @property
    def sent(self) -> bytes:
        return self.data if self.goes_on is None else self.goes_on


@frozen
class RefusedRequest:
    """Bytes that are answered with `status` as soon as they have come, and of which nothing reaches a server.

    `late`: the fault stands in the body. Cut before it, the head has gone on already; then no whole request has.
    """

    name: str
    rule: str
    data: bytes
    status: int = 400
    late: bool = False


@frozen
class LegalResponse:
    """All that a server says to a request of `method`, after which it closes if `closes`.

    `goes_on` is what a client of HTTP/1.1 gets (None: the same bytes), `payload` the content it finds there (None: all
    after the last head). `reusable`: the server's connection may carry another request, `persists`: the client's may.
    """

    name: str
    rule: str
    data: bytes
    goes_on: bytes | None = None
    payload: bytes | None = None
    method: str = "GET"
    reusable: bool = True
    persists: bool = True
    closes: bool = False

    @property
    def passed(self) -> bytes:
        return self.data if self.goes_on is None else self.goes_on

    @property
    def content(self) -> bytes:
        return self.passed.rpartition(b"\r\n\r\n")[2] if self.payload is None else self.payload


@frozen
class RefusedResponse:
    """What a server says that becomes a 502, or breaks the client's answer off when its head has gone out (`late`)."""

    name: str
    rule: str
    data: bytes
    method: str = "GET"
    late: bool = False
    closes: bool = False


@frozen
class LegalBody:
    """A chunked body: as it comes, as it goes on, and its content."""

    name: str
    rule: str
    data: bytes
    goes_on: bytes
    payload: bytes


@frozen
class MalformedBody:
    name: str
    rule: str
    data: bytes


HELLO = b"5\r\nhello\r\n0\r\n\r\n"

LEGAL_BODIES: list[LegalBody] = [
    LegalBody("an empty chunked body", "9112 7.1", b"0\r\n\r\n", b"0\r\n\r\n", b""),
    LegalBody("one chunk", "9112 7.1", HELLO, HELLO, b"hello"),
    LegalBody(
        "chunk sizes in either case", "9112 7.1",
        b"a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n",
        b"a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n",
        b"01234567890123456789a",
    ),
    LegalBody("chunk sizes with leading zeros", "9112 7.1", b"0005\r\nhello\r\n000\r\n\r\n",
        b"0005\r\nhello\r\n000\r\n\r\n", b"hello"),
    LegalBody("a chunk size of sixteen digits", "9112 7.1", b"0000000000000005\r\nhello\r\n0\r\n\r\n",
        b"0000000000000005\r\nhello\r\n0\r\n\r\n", b"hello"),
    LegalBody("content that looks like framing", "9112 7.1", b"7\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n",
        b"7\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n\r\n"),
    LegalBody("chunk extensions", "9112 7.1.1", b"5;a\r\nhello\r\n0;b=c\r\n\r\n", HELLO, b"hello"),
    LegalBody("a quoted chunk extension", "9112 7.1.1", b'5;a="\\"; \xe9 ";b\r\nhello\r\n0\r\n\r\n', HELLO, b"hello"),
    LegalBody("bad whitespace in a chunk extension", "9112 7.1.1", b"5 ; a\t= b ;c\r\nhello\r\n0\r\n\r\n", HELLO,
        b"hello"),
    LegalBody("a chunk extension as long as it may be", "9112 7.1.1", b"5;" + b"a" * 1020 + b"\r\nhello\r\n0\r\n\r\n",
        HELLO, b"hello"),
    LegalBody("trailers", "9112 7.1.2", b"0\r\nA: b\r\nC:\r\n\r\n", b"0\r\nA: b\r\nC:\r\n\r\n", b""),
    LegalBody("blanks behind trailers", "9112 5.1", b"0\r\nA: b \t\r\nC: \r\nD: e\r\n\r\n",
        b"0\r\nA: b\r\nC:\r\nD: e\r\n\r\n", b""),
    LegalBody(
        "forbidden trailers", "9110 6.5.1",
        b"1\r\nx\r\n0\r\nHost: b\r\nA: b\r\ncontent-LENGTH:5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\nx\r\n0\r\nA: b\r\n\r\n", b"x",
    ),
    LegalBody("as many trailers as there may be", "9112 7.1.2", b"0\r\n" + b"A: b\r\n" * 100 + b"\r\n",
        b"0\r\n" + b"A: b\r\n" * 100 + b"\r\n", b""),
]  # fmt: skip

MALFORMED_BODIES: list[MalformedBody] = [
    MalformedBody(name, rule, data)
    for name, rule, data in (
        ("a chunk size with a plus", "9112 7.1", b"+5\r\nhello\r\n0\r\n\r\n"),
        ("a chunk size with a minus", "9112 7.1", b"-5\r\nhello\r\n0\r\n\r\n"),
        ("a chunk size with 0x", "9112 7.1", b"0x5\r\nhello\r\n0\r\n\r\n"),
        ("a chunk size with an underscore", "9112 7.1", b"0_5\r\nhello\r\n0\r\n\r\n"),
        ("a space before a chunk size", "9112 7.1", b" 5\r\nhello\r\n0\r\n\r\n"),
        ("a space behind a chunk size", "9112 7.1", b"5 \r\nhello\r\n0\r\n\r\n"),
        ("a tab behind a chunk size", "9112 7.1", b"5\t\r\nhello\r\n0\r\n\r\n"),
        ("a space inside a chunk size", "9112 7.1", b"0 5\r\nhello\r\n0\r\n\r\n"),
        ("no chunk size", "9112 7.1", b"\r\nhello\r\n0\r\n\r\n"),
        ("a chunk extension without a size", "9112 7.1", b";a\r\nhello\r\n0\r\n\r\n"),
        ("a chunk size that is no hex", "9112 7.1", b"g\r\nhello\r\n0\r\n\r\n"),
        ("a chunk size with junk behind it", "9112 7.1", b"5x\r\nhello\r\n0\r\n\r\n"),
        ("a chunk size in quotes", "9112 7.1", b'"5"\r\nhello\r\n0\r\n\r\n'),
        ("a chunk size with a comma", "9112 7.1", b"5,5\r\nhello\r\n0\r\n\r\n"),
        ("a NUL behind a chunk size", "9112 7.1", b"5\x00\r\nhello\r\n0\r\n\r\n"),
        ("a chunk size of seventeen digits", "9112 7.1", b"00000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("a chunk size that wraps at 2**64", "9112 7.1", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("a chunk size that is negative in 64 bits", "9112 7.1", b"8000000000000000\r\nhello\r\n0\r\n\r\n"),
        ("the largest chunk size of 64 bits", "9112 7.1", b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ("a bare LF behind a chunk size", "9112 2.2", b"5\nhello\r\n0\r\n\r\n"),
        ("a bare CR behind a chunk size", "9112 2.2", b"5\rhello\r\n0\r\n\r\n"),
        ("CR CR LF behind a chunk size", "9112 2.2", b"5\r\r\nhello\r\n0\r\n\r\n"),
        ("LF CR behind a chunk size", "9112 2.2", b"5\n\rhello\r\n0\r\n\r\n"),
        ("a chunk shorter than its size", "9112 7.1", b"5\r\nhell\r\n0\r\n\r\n"),
        ("a chunk longer than its size", "9112 7.1", b"5\r\nhello!\r\n0\r\n\r\n"),
        ("a bare LF behind a chunk", "9112 7.1", b"5\r\nhello\n0\r\n\r\n"),
        ("two letters instead of CRLF behind a chunk", "9112 7.1", b"5\r\nhelloXX0\r\n\r\n"),
        ("CR CR behind a chunk", "9112 7.1", b"5\r\nhello\r\r0\r\n\r\n"),
        ("nothing behind a chunk", "9112 7.1", b"5\r\nhello0\r\n\r\n"),
        ("a space before the CRLF behind a chunk", "9112 7.1", b"5\r\nhello \r\n0\r\n\r\n"),
        ("a chunk extension without a name", "9112 7.1.1", b"5;\r\nhello\r\n0\r\n\r\n"),
        ("a chunk extension that is no token", "9112 7.1.1", b"5;a b\r\nhello\r\n0\r\n\r\n"),
        ("a chunk extension with two values", "9112 7.1.1", b"5;a=b=c\r\nhello\r\n0\r\n\r\n"),
        ("a chunk extension whose quote stays open", "9112 7.1.1", b'5;a="b\r\nhello\r\n0\r\n\r\n'),
        ("a chunk extension with junk behind its quote", "9112 7.1.1", b'5;a="b"c\r\nhello\r\n0\r\n\r\n'),
        ("a bare LF in a chunk extension", "9112 2.2", b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("a bare LF that ends a chunk extension", "9112 2.2", b"5;a\nhello\r\n0\r\n\r\n"),
        ("a bare CR in a chunk extension", "9112 2.2", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
        ("an LF in a quoted chunk extension", "9112 7.1.1", b'5;a="b\nc"\r\nhello\r\n0\r\n\r\n'),
        ("a CRLF in a quoted chunk extension", "9112 7.1.1", b'5;a="b\r\nc"\r\nhello\r\n0\r\n\r\n'),
        ("a NUL in a quoted chunk extension", "9112 7.1.1", b'5;a="\x00"\r\nhello\r\n0\r\n\r\n'),
        ("a chunk extension that is too long", "9112 7.1.1", b"5;" + b"a" * 1021 + b"\r\nhello\r\n0\r\n\r\n"),
        ("a chunk extension without an end", "9112 7.1.1", b"5;" + b"a" * 3000),
        ("a trailer without a colon", "9112 5", b"0\r\nA\r\n\r\n"),
        ("a trailer without a name", "9112 5", b"0\r\n: b\r\n\r\n"),
        ("a space before a trailer's colon", "9112 5.1", b"0\r\nA : b\r\n\r\n"),
        ("a folded trailer", "9112 5.2", b"0\r\nA: b\r\n c\r\n\r\n"),
        ("a space before the first trailer", "9112 5.2", b"0\r\n A: b\r\n\r\n"),
        ("a NUL in a trailer", "9110 5.5", b"0\r\nA: \x00\r\n\r\n"),
        ("a bare LF between trailers", "9112 2.2", b"0\r\nA: b\nC: d\r\n\r\n"),
        ("a bare LF behind the trailers", "9112 2.2", b"0\r\nA: b\r\n\n"),
        ("a bare LF at the end of a chunked body", "9112 2.2", b"0\r\n\n"),
        ("a bare CR between trailers", "9112 2.2", b"0\r\nA: b\rC: d\r\n\r\n"),
        ("a request where the trailers should end", "9112 7.1.2", b"0\r\nGET / HTTP/1.1\r\n\r\n"),
        ("too many trailers", "9110 6.5", b"0\r\n" + b"A: b\r\n" * 101 + b"\r\n"),
        ("trailers that are too large", "9110 6.5", b"0\r\n" + (b"A: " + b"b" * 1000 + b"\r\n") * 16 + b"\r\n"),
        ("a trailer without an end", "9110 6.5", b"0\r\nA: " + b"b" * 16000),
    )
]


def cuts(data: bytes, begin: int = 1, every: int = 600) -> list[list[bytes]]:
    """Whole, in two at every byte from `begin` on, and one byte at a time. Beyond `every` bytes: near the ends, and in
    between at some."""
    size = len(data)
    if size <= every:
        places = list(range(begin, size))
        step = 1
    else:
        places = [*range(begin, 80), *range(80, size - 80, size // 20), *range(size - 80, size)]
        step = size // 300
    return [
        [data],
        *[[data[:at], data[at:]] for at in places],
        [data[at : at + step] for at in range(0, size, step)],
    ]
