"""Every response of which we know what must become of it: `LEGAL_RESPONSES` and `REFUSED_RESPONSES`.

Not here, because whole exchanges decide about them: answers to CONNECT, 101, 100 when it was asked for, Upgrade. What a
body until close becomes stands once, in `until_close`.
"""

from __future__ import annotations

from reusedproxy.wire.bodies import ChunkedBody
from tests.wirecases import CHUNKED_FIELD, LEGAL_BODIES, MALFORMED_BODIES, LegalResponse, RefusedResponse

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"Content-Length: 5\r\n"
FIVE = b"\r\nhello"
CHUNKED_OK = OK + CHUNKED_FIELD + b"\r\n"
NEXT = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad"


#: Not as any case spells it.
FRAMED_BY_US = b"transfer-encoding: chunked\r\n\r\n"


def until_close(head: bytes, body: bytes) -> bytes:
    """What goes on of a body that only the connection's end completes, to a client of HTTP/1.1."""
    return head + FRAMED_BY_US + (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"


def in_one_chunk(answer: bytes) -> bytes:
    """An answer that we have framed in chunks as its pieces came, as if it had come at once; any other as it is."""
    head, ours, body = answer.partition(FRAMED_BY_US)
    if not ours or not body.endswith(b"0\r\n\r\n"):
        return answer
    reader = ChunkedBody(framed=False)
    return until_close(head, reader.feed(body)[0])


def _status(line: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\n" % line


LEGAL_RESPONSES: list[LegalResponse] = [
    LegalResponse("a length", "9112 6.3 item 6", OK + LENGTH + FIVE),
    LegalResponse("a length of nothing", "9112 6.3 item 6", OK + b"Content-Length: 0\r\n\r\n"),
    LegalResponse("content that looks like a response", "9112 6.3 item 6",
        OK + b"Content-Length: 19\r\n\r\n" + OK + b"\r\n", payload=OK + b"\r\n"),
    LegalResponse("a length without a space", "9112 6.2", OK + b"content-length:5\r\n" + FIVE),
    LegalResponse("a length in odd whitespace", "9112 6.2", OK + b"content-length: 5\t\r\n" + FIVE,
        OK + b"content-length: 5\r\n" + FIVE),
    LegalResponse("identical lengths", "9112 6.3 item 5", OK + LENGTH + b"A: b\r\ncontent-length:5 \r\n" + FIVE,
        OK + LENGTH + b"A: b\r\n" + FIVE),
    LegalResponse("chunked in odd spelling", "9112 6.3 item 4",
        OK + b"TRANSFER-encoding:CHUNKED\t\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        OK + b"TRANSFER-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"hello"),
    LegalResponse("until close", "9112 6.3 item 8", OK + FIVE, until_close(OK, b"hello"), payload=b"hello",
        reusable=False, closes=True),
    LegalResponse("nothing until close", "9112 6.3 item 8", OK + b"\r\n", until_close(OK, b""), payload=b"",
        reusable=False, closes=True),
    LegalResponse("until close in spite of keep-alive", "9112 6.3 item 8", OK + b"Connection: keep-alive\r\n" + FIVE,
        until_close(OK, b"hello"), payload=b"hello", reusable=False, closes=True),
    LegalResponse("205 with a body until close", "9112 6.3 item 8", _status(b"205 Reset Content") + FIVE,
        until_close(_status(b"205 Reset Content"), b"hello"), payload=b"hello", reusable=False, closes=True),
    LegalResponse("205 with a length of nothing", "9110 15.3.6",
        _status(b"205 Reset Content") + b"Content-Length: 0\r\n\r\n"),
    LegalResponse("205 with a length", "9110 15.3.6", _status(b"205 Reset Content") + LENGTH + FIVE),
    LegalResponse("HEAD with a length", "9112 6.3 item 1", OK + LENGTH + b"\r\n", method="HEAD"),
    LegalResponse("HEAD with chunked", "9112 6.3 item 1", CHUNKED_OK, method="HEAD"),
    LegalResponse("HEAD without any length", "9112 6.3 item 1", OK + b"A: b\r\n\r\n", method="HEAD"),
    LegalResponse("204", "9112 6.3 item 1", _status(b"204 No Content") + b"A: b\r\n\r\n"),
    LegalResponse("204 with a length of nothing", "9110 8.6", _status(b"204 No Content") + b"Content-Length: 0\r\n\r\n",
        _status(b"204 No Content") + b"\r\n"),
    LegalResponse("204 with a length", "9110 8.6", _status(b"204 No Content") + LENGTH + b"A: b\r\n\r\n",
        _status(b"204 No Content") + b"A: b\r\n\r\n"),
    LegalResponse("204 with chunked", "9112 6.1", _status(b"204 No Content") + CHUNKED_FIELD + b"\r\n",
        _status(b"204 No Content") + b"\r\n"),
    LegalResponse("304", "9112 6.3 item 1", _status(b"304 Not Modified") + b"ETag: x\r\n\r\n"),
    LegalResponse("304 with a length", "9112 6.3 item 1", _status(b"304 Not Modified") + LENGTH + b"\r\n"),
    LegalResponse("304 with chunked", "9112 6.1", _status(b"304 Not Modified") + CHUNKED_FIELD + b"\r\n"),
    LegalResponse("103 before the answer", "8297 2",
        _status(b"103 Early Hints") + b"Link: </a>\r\n\r\n" + OK + LENGTH + FIVE),
    LegalResponse("103 with a length", "9110 8.6", _status(b"103 Early Hints") + LENGTH + b"\r\n" + OK + LENGTH + FIVE,
        _status(b"103 Early Hints") + b"\r\n" + OK + LENGTH + FIVE),
    LegalResponse("1xx of several kinds", "9110 15.2",
        _status(b"102 Processing") + b"\r\n" + _status(b"103 Early Hints") + b"Link: </a>\r\n\r\n"
        + _status(b"103 Early Hints") + b"Link: </b>\r\n\r\n" + _status(b"199 ") + b"\r\n" + OK + LENGTH + FIVE),
    LegalResponse("Connection: close", "9112 9.3", OK + LENGTH + b"Connection: close\r\n" + FIVE, OK + LENGTH + FIVE,
        reusable=False),
    LegalResponse("Connection: close in odd spelling", "9112 9.3", OK + LENGTH + b"connection:\tx,, CLOSE \r\n" + FIVE,
        OK + LENGTH + FIVE, reusable=False),
    LegalResponse("Connection: close in two fields", "9112 9.3",
        OK + b"Connection: x\r\n" + LENGTH + b"Connection: close\r\n" + FIVE, OK + LENGTH + FIVE, reusable=False),
    LegalResponse("Connection: close beside keep-alive", "9112 9.3",
        OK + LENGTH + b"Connection: keep-alive, close\r\n" + FIVE, OK + LENGTH + FIVE, reusable=False),
    LegalResponse("an option that is no token", "9112 9.3", OK + LENGTH + b"Connection: close;\r\n" + FIVE,
        OK + LENGTH + FIVE, reusable=False),
    LegalResponse("an option that only begins with close", "9112 9.3", OK + LENGTH + b"Connection: closed\r\n" + FIVE,
        OK + LENGTH + FIVE),
    LegalResponse("HTTP/1.0", "9112 9.3", b"HTTP/1.0 200 OK\r\n" + LENGTH + FIVE, OK + LENGTH + FIVE, reusable=False),
    LegalResponse("HTTP/1.0 that persists", "9112 9.3",
        b"HTTP/1.0 200 OK\r\n" + LENGTH + b"Connection: Keep-Alive\r\n" + FIVE, OK + LENGTH + FIVE),
    LegalResponse("HTTP/1.0 until close", "9112 9.3", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + FIVE,
        until_close(OK, b"hello"), payload=b"hello", reusable=False, closes=True),
    LegalResponse("a higher minor version", "9110 2.5", b"HTTP/1.3 200 OK\r\n" + LENGTH + FIVE, OK + LENGTH + FIVE),
    LegalResponse("an empty reason", "9112 4", _status(b"200 ") + LENGTH + FIVE),
    LegalResponse("no reason and no space", "9112 4", _status(b"200") + LENGTH + FIVE,
        _status(b"200 ") + LENGTH + FIVE),
    LegalResponse("an odd reason", "9112 4", _status(b"200  \tO \xe9K ") + LENGTH + FIVE),
    LegalResponse("a status that nobody knows", "9110 15", _status(b"299 Fine") + LENGTH + FIVE),
    LegalResponse("a status beyond 599", "9110 15", _status(b"999 Denied") + LENGTH + FIVE),
    LegalResponse("hop-by-hop fields", "9110 7.6.1",
        OK + b"Connection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nx-hop: 1\r\nProxy-Connection: a\r\n"
        + LENGTH + FIVE, OK + LENGTH + FIVE),
    LegalResponse("header order and spelling", "9110 5.3",
        OK + b"sErVeR:x\r\nDate: y\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n" + LENGTH + FIVE),
    LegalResponse("blanks behind values", "9112 5.1",
        OK + b"X: a b\r\nX: a \r\nContent_Length: 1 \r\nY:\t\r\n" + LENGTH + FIVE,
        OK + b"X: a b\r\nX: a\r\nContent_Length: 1\r\nY:\r\n" + LENGTH + FIVE),
    LegalResponse("a second Host field", "9110 7.2", OK + b"Host: a\r\nHost: b\r\n" + LENGTH + FIVE),
    LegalResponse("a response head of the largest size", "9112 3",
        OK + LENGTH + b"A: " + b"b" * (15360 - 17 - 19 - 7) + b"\r\n" + FIVE),
    LegalResponse("as many response fields as there may be", "9112 3", OK + LENGTH + b"A: b\r\n" * 99 + FIVE),
    LegalResponse("bytes beyond a length", "9112 9.3", OK + LENGTH + FIVE + NEXT, OK + LENGTH + FIVE, reusable=False),
    LegalResponse("bytes beyond the last chunk", "9112 9.3", CHUNKED_OK + b"0\r\n\r\n" + NEXT,
        CHUNKED_OK + b"0\r\n\r\n", b"", reusable=False),
    LegalResponse("content after HEAD", "9112 6.3 item 1", OK + LENGTH + FIVE, OK + LENGTH + b"\r\n", method="HEAD",
        reusable=False),
    LegalResponse("content after 204", "9112 6.3 item 1", _status(b"204 No Content") + FIVE,
        _status(b"204 No Content") + b"\r\n", reusable=False),
    LegalResponse("content after 304", "9112 6.3 item 1", _status(b"304 Not Modified") + LENGTH + FIVE,
        _status(b"304 Not Modified") + LENGTH + b"\r\n", reusable=False),
    *(LegalResponse(
        f"response: {body.name}", body.rule, CHUNKED_OK + body.data, CHUNKED_OK + body.goes_on, body.payload
    ) for body in LEGAL_BODIES),
]  # fmt: skip


def _refused(rule: str, *cases: tuple[str, bytes], method: str = "GET") -> list[RefusedResponse]:
    return [RefusedResponse(name, rule, data, method) for name, data in cases]


REFUSED_RESPONSES: list[RefusedResponse] = [
    *_refused(
        "9112 6.3 item 3",
        ("a length and chunked", OK + LENGTH + CHUNKED_FIELD + b"\r\n0\r\n\r\n"),
        ("chunked and a length", OK + CHUNKED_FIELD + LENGTH + b"\r\n0\r\n\r\n"),
        ("a length and a coding that is none", OK + LENGTH + b"Transfer-Encoding: x\r\n" + FIVE),
        ("a length and an empty coding", OK + LENGTH + b"Transfer-Encoding:\r\n" + FIVE),
    ),
    *_refused("9112 6.3 item 3", ("HEAD with a length and chunked", OK + CHUNKED_FIELD + LENGTH + b"\r\n"),
        method="HEAD"),
    *_refused("9112 6.3 item 5", ("HEAD with a length that is no number", OK + b"Content-Length: x\r\n\r\n"),
        method="HEAD"),
    *_refused(
        "9112 6.3 item 5",
        ("lengths that differ", OK + LENGTH + b"Content-Length: 6\r\n" + FIVE),
        ("lengths in different spellings", OK + LENGTH + b"Content-Length: 05\r\n" + FIVE),
        ("a list of identical lengths", OK + b"Content-Length: 5, 5\r\n" + FIVE),
        ("a list of lengths that differ", OK + b"Content-Length: 5, 6\r\n" + FIVE),
        ("103 with two lengths",
            _status(b"103 Early Hints") + LENGTH + b"Content-Length: 6\r\n\r\n" + OK + LENGTH + FIVE),
        *(
            (f"Content-Length: {value!r}", OK + b"Content-Length: " + value + b"\r\n" + FIVE)
            for value in (b"", b"+5", b"-1", b"0x5", b"5_0", b"5 5", b"5;", b"\xb2", b"\x0b5")
        ),
    ),
    *_refused(
        "9110 8.6",
        ("a length of 2**63", OK + b"Content-Length: 9223372036854775808\r\n" + FIVE),
        ("a length that wraps at 2**64", OK + b"Content-Length: 18446744073709551621\r\n" + FIVE),
        ("a length of 300 digits", OK + b"Content-Length: " + b"9" * 300 + b"\r\n" + FIVE),
    ),
    *_refused(
        "9112 6.1",
        ("chunked on HTTP/1.0", b"HTTP/1.0 200 OK\r\n" + CHUNKED_FIELD + b"\r\n0\r\n\r\n"),
        ("chunked in two fields", OK + CHUNKED_FIELD + CHUNKED_FIELD + b"\r\n0\r\n\r\n"),
        *(
            (f"Transfer-Encoding: {value!r}", OK + b"Transfer-Encoding: " + value + b"\r\n\r\n0\r\n\r\n")
            for value in (
                b"", b"gzip", b"gzip, chunked", b"identity", b"chunked, chunked", b"chunked, identity", b"xchunked",
                b"chunked;a",
                b"\x0bchunked", b"chun ked", b'"chunked"', b",chunked",
            )
        ),
    ),
    *_refused(
        "9112 4",
        ("a status that begins with 0", _status(b"099 OK") + LENGTH + FIVE),
        ("a status of two digits", _status(b"20 OK") + LENGTH + FIVE),
        ("a status of four digits", _status(b"2000 OK") + LENGTH + FIVE),
        ("a status that is no number", _status(b"2x0 OK") + LENGTH + FIVE),
        ("a status with a sign", _status(b"+20 OK") + LENGTH + FIVE),
        ("two spaces before the status", _status(b" 200 OK") + LENGTH + FIVE),
        ("a tab behind the status", _status(b"200\tOK") + LENGTH + FIVE),
        ("no status", b"HTTP/1.1\r\n" + LENGTH + FIVE),
        ("an empty status", b"HTTP/1.1 \r\n" + LENGTH + FIVE),
        ("an empty line before the status line", b"\r\n" + OK + LENGTH + FIVE),
        ("a space before the status line", b" " + OK + LENGTH + FIVE),
        ("HTTP/0.9", b"hello"),
        ("HTTP/0.9 with lines", b"<html>\r\n\r\n</html>\r\n"),
        ("words of another protocol", b"SSH-2.0-OpenSSH_9.2p1\r\n"),
        ("TLS from a plain server", b"\x15\x03\x01\x00\x02\x02\x16"),
        ("a request for an answer", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ),
    *_refused(
        "9112 2.3",
        ("HTTP/2.0", b"HTTP/2.0 200 OK\r\n" + LENGTH + FIVE),
        ("no minor version", b"HTTP/1 200 OK\r\n" + LENGTH + FIVE),
        ("a minor version of two digits", b"HTTP/1.10 200 OK\r\n" + LENGTH + FIVE),
        ("a version in lower case", b"http/1.1 200 OK\r\n" + LENGTH + FIVE),
        ("a version of another protocol", b"ICY 200 OK\r\n" + LENGTH + FIVE),
        ("103 of another version", b"HTTP/2.0 103 Early Hints\r\n\r\n" + OK + LENGTH + FIVE),
    ),
    *_refused(
        "9112 2.2",
        ("a bare CR in the reason", _status(b"200 O\rK") + LENGTH + FIVE),
        ("a bare LF behind the status line", b"HTTP/1.1 200 OK\nA: b\r\n" + LENGTH + FIVE),
        ("bare LFs alone", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
        ("a bare LF instead of CRLF", OK + b"A: b\nC: d\r\n" + LENGTH + FIVE),
        ("a bare CR instead of CRLF", OK + b"A: b\rC: d\r\n" + LENGTH + FIVE),
        ("CR CR LF", OK + b"A: b\r\r\n" + LENGTH + FIVE),
    ),
    *_refused(
        "9112 5",
        ("a folded field", OK + b"A: b\r\n c\r\n" + LENGTH + FIVE),
        ("a folded length", OK + b"Content-Length:\r\n 5\r\n" + FIVE),
        ("a space before the first field", OK + b" A: b\r\n" + LENGTH + FIVE),
        ("a space before a colon", OK + b"A : b\r\n" + LENGTH + FIVE),
        ("a space before a length's colon", OK + b"Content-Length : 5\r\n" + FIVE),
        ("an empty name", OK + b": b\r\n" + LENGTH + FIVE),
        ("a name with a slash", OK + b"A/: b\r\n" + LENGTH + FIVE),
        ("a name beyond ASCII", OK + b"\xe9: b\r\n" + LENGTH + FIVE),
        ("a line without a colon", OK + b"A\r\n" + LENGTH + FIVE),
        ("a line that is Connection", OK + b"Connection\r\n" + LENGTH + FIVE),
        ("a line that is Content-Length", OK + b"Content-Length\r\n" + FIVE),
    ),
    *_refused(
        "9110 5.5",
        ("NUL in the reason", _status(b"200 O\x00K") + LENGTH + FIVE),
        ("NUL in a value", OK + b"A: b\x00\r\n" + LENGTH + FIVE),
        ("a control character in a value", OK + b"A: \x1b\r\n" + LENGTH + FIVE),
        ("DEL in a value", OK + b"A: \x7f\r\n" + LENGTH + FIVE),
    ),
    *_refused(
        "9112 3",
        ("too many response fields", OK + b"A: b\r\n" * 100 + LENGTH + FIVE),
        ("a response head one byte too large", OK + LENGTH + b"A: " + b"b" * (15360 - 17 - 19 - 6) + b"\r\n" + FIVE),
        ("a response head without an end", OK + b"A: " + b"b" * 15360),
    ),
    RefusedResponse("a length that is not reached", "9112 8", OK + b"Content-Length: 6\r\n" + FIVE, late=True,
        closes=True),
    RefusedResponse("chunks without a last one", "9112 8", CHUNKED_OK + b"5\r\nhello\r\n", late=True, closes=True),
    RefusedResponse("a chunk cut short", "9112 8", CHUNKED_OK + b"5\r\nhel", late=True, closes=True),
    RefusedResponse("trailers without an end", "9112 8", CHUNKED_OK + b"5\r\nhello\r\n0\r\nA: b\r\n", late=True,
        closes=True),
    RefusedResponse("half a head", "9112 8", OK + LENGTH, closes=True),
    RefusedResponse("1xx without an answer", "9110 15.2", _status(b"103 Early Hints") + b"\r\n", closes=True),
    *(RefusedResponse(f"response: {body.name}", body.rule, CHUNKED_OK + body.data, late=True)
        for body in MALFORMED_BODIES),
]  # fmt: skip
