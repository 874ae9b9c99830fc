"""
Where reusedproxy and Debian's HAProxy 2.6 treat the same bytes otherwise, who is right, and why.

The cases are those of C{tests/wirecases*}. A difference that is not here fails C{test_beside_haproxy}, and so does one
that is here and does not occur: this file is what is known, no more and no less. Outcomes are as L{beside.Outcome}
prints them.
"""

from __future__ import annotations

from attrs import frozen

US, THEM, BOTH = "reusedproxy", "HAProxy", "both"

PASSED = "200 kept, 1 to the server, server's reused"
BAD = "400 closed, 0 to the server"
VERSION = "505 closed, 0 to the server"
TOO_LONG = "413 closed, 0 to the server"
TOO_LARGE = "431 closed, 0 to the server"
UNKNOWN = "501 closed, 0 to the server"
HELLO = "200 b'hello' kept, 1 to the server, server's reused"
GATEWAY = "502 kept, 1 to the server"
UNANSWERED = "no answer cut, 1 to the server"


@frozen
class Difference:
    """
    @ivar ours: what becomes of these cases with reusedproxy.
    @ivar theirs: and with HAProxy.
    @ivar right: US, THEM or BOTH, by the RFC.
    @ivar names: of the cases; none: every case with these two outcomes, of which there must be at least one.
    @ivar steady: False where HAProxy's outcome is now this, now the same as ours.
    """

    ours: str
    theirs: str
    right: str
    why: str
    names: tuple[str, ...] = ()
    steady: bool = True


# Chunked bodies, which both directions share.
_LENIENT_SIZES = ("a space behind a chunk size", "a tab behind a chunk size", "a chunk size of seventeen digits")
_LENIENT_EXTENSIONS = (
    "a chunk extension without a name", "a chunk extension that is no token", "a chunk extension with two values",
    "a chunk extension whose quote stays open", "a chunk extension with junk behind its quote",
    "a NUL in a quoted chunk extension",
)  # fmt: skip
_LENIENT_LINE_ENDS = (
    "a bare LF behind a chunk size",
    "a bare LF behind a chunk",
    "a bare LF that ends a chunk extension",
)
_LENIENT_TRAILER_ENDS = (
    "a bare LF between trailers", "a bare LF behind the trailers", "a bare LF at the end of a chunked body",
)  # fmt: skip
_BAD_TRAILERS = ("a space before a trailer's colon", "a space before the first trailer", "a NUL in a trailer")
_IN_TRAILERS = "9112 5.1, 5.2, 9110 5.5: it passes, in most of its runs, what it refuses in a head"

_SIZES = "9112 7.1: chunk-size is hex digits, then an extension or CRLF; it takes blanks, and any number of digits"
_EXTENSIONS = "9112 7.1.1: it skips extensions unread, so a quote that others see as open hides line ends"
_CHUNK_LF = "9112 2.2 lets a bare LF end a line of the head, never of chunked coding; it takes it everywhere"
_TRAILER_FOLD = "9112 5.2: it unfolds trailers; a proxy may, or refuse"
_EXTENSION_BOUND = "9112 7.1.1: a recipient ought to limit extensions; ours is 1 KB a line, its is the buffer"
_WAITS = "a bound of ours that its buffer has not; it waits for the end until its time-out"


def _request(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"request: {name}" for name in names)


def _response(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"response: {name}" for name in names)


REQUESTS = [
    Difference(
        PASSED, BAD, US, "9112 3.2.2, 9110 4.2.1: an absolute URI may have a query and no path",
        ("absolute-form with a query alone", "absolute-form of OPTIONS with a query alone"),
    ),
    Difference(
        PASSED, BAD, BOTH,
        "its copy of a head needs some 80 bytes and 4 more a field, of bufsize - maxrewrite; what it takes, we take",
        ("a head of the largest size",),
    ),
    Difference(
        "200 closed, 1 to the server", PASSED, BOTH,
        "9112 9.3: an option that is no token could mean close; closing is always safe",
        ("an option that is no token",),
    ),
    Difference(
        BAD, PASSED, US,
        "9112 3: one space between the parts; a lenient parser (3, last paragraph) may split otherwise than "
        "the next one",
        (
            "two spaces behind the method", "two spaces behind the target", "a tab behind the method",
            "a tab before the version",
        ),
    ),
    Difference(
        BAD, PASSED, US,
        "9112 2.2: a line ends with CRLF; a bare LF may be taken for one, but not by a proxy whose server does not",
        (
            "a bare LF first", "a bare LF instead of CRLF", "a bare LF in Connection",
            "a bare LF behind the request line", "bare LFs alone", "an empty line of a bare LF",
        ),
    ),
    Difference(
        BAD, PASSED, US, "9112 3.2: the target has one of four forms, and * is for OPTIONS alone (3.2.4)",
        ("a target of no form", "* without OPTIONS", "more than * with OPTIONS", "* with options"),
    ),
    Difference(
        BAD, PASSED, US,
        "9110 4.2.1, 4.2.4: http without a host is invalid, user info an error, "
        "and no other scheme is for HTTP servers",
        ("absolute-form of another scheme", "absolute-form without an authority", "absolute-form with user info"),
    ),
    Difference(
        BAD, PASSED, US, "9112 3.2: a server MUST answer 400 to an HTTP/1.1 request without Host",
        ("no Host", "no field at all", "an absolute target without Host"),
    ),
    Difference(
        BAD, PASSED, US,
        "9112 3.2: a server MUST answer 400 to several Host lines; it drops all but one when they are alike",
        ("two identical Hosts", "two Hosts apart", "two Hosts, neither first"),
    ),
    Difference(BAD, "200 closed, 1 to the server", US, "9112 3.2: the same on HTTP/1.0", ("two Hosts on HTTP/1.0",)),
    Difference(
        BAD, PASSED, US, "9112 3.2: a server MUST answer 400 to an invalid Host; it passes any value",
        (
            "a list of Hosts", "a Host with a space", "a Host with a path", "a Host with a query", "a Host with a user",
            "a Host with a scheme", "a Host beyond ASCII", "a Host that is a port alone",
            "a Host whose port is no number", "a Host with two ports", "a Host with a port of six digits",
            "a Host that is half an IPv6", "a Host that is IPv6 without brackets", "a Host with a bad percent",
        ),
    ),
    Difference(
        BAD, PASSED, BOTH,
        "3986 3.2.2 allows a comma, but no host name has one: rules would see the parts of a list (`req.hdr(host)`), "
        "and the server the whole",
        ("a Host with a comma", "an absolute target with a comma in its host"),
    ),
    Difference(
        BAD, PASSED, US, "9112 5.2: a server MUST refuse or unfold; it unfolds. We refuse, as all modern servers do",
        (
            "a folded field", "a field folded by a tab", "a folded Host", "a folded length", "a folded coding",
            "a fold that looks like a field", "a fold of nothing",
        ),
    ),
    Difference(
        BAD, PASSED, US,
        "9110 5.5: NUL MUST be refused or replaced; other control characters are invalid, and dangerous in logs",
        ("NUL in a value", "NUL in Host", "a control character in a value", "DEL in a value", "a form feed in a value"),
    ),
    Difference(
        VERSION, "no answer cut, 0 to the server", BOTH, "9113 3.4: it speaks HTTP/2 to this client, which we do not",
        ("the HTTP/2 preface",),
    ),
    Difference(
        VERSION, PASSED, US, "9112 2.3, 9110 15.6.6: another major version is another protocol",
        ("HTTP/2.0", "HTTP/3.0"),
    ),
    Difference(VERSION, "200 closed, 1 to the server", US, "9112 2.3: the same", ("HTTP/0.9 with a version",)),
    Difference(
        BAD, "200 closed, 1 to the server", US,
        "9112 6.1, 6.3: a request with both may be refused or read as chunked; it reads and closes",
        ("a length and chunked", "chunked and a length"),
    ),
    Difference(
        BAD, PASSED, US,
        "9112 11.2: a server that makes variables of fields, as CGI does, takes `_` for `-`, and may frame otherwise",
        ("a length and Transfer_Encoding", "a length and transfer.encoding", "Content_Length alone"),
    ),
    Difference(
        BAD, "413 closed, 0 to the server", US, "9112 6.1: faulty framing is a 400; nothing is too large",
        ("chunked on HTTP/1.0",),
    ),
    Difference(
        UNKNOWN, "422 closed, 0 to the server", US, "9112 6.1: an unknown coding SHOULD be answered with 501",
        ("a coding before chunked", "a coding's field before chunked"),
    ),
    Difference(
        BAD, "422 closed, 0 to the server", US,
        "9112 6.3: malformed codings are a 400; 422 is about content that was understood",
        ("Transfer-Encoding: b',chunked'", "Transfer-Encoding: b', chunked'", "Transfer-Encoding: b'gzip;a, chunked'"),
    ),
    Difference(
        BAD, PASSED, BOTH, "9110 5.6.1 allows a recipient to skip empty members; we want exactly `chunked`",
        ("Transfer-Encoding: b'chunked,'",),
    ),
    Difference(
        BAD, PASSED, BOTH,
        "9110 8.6: a list of identical lengths may be refused or taken; so may two spellings of one number",
        ("lengths in different spellings", "a list of identical lengths"),
    ),
    Difference(
        TOO_LONG, BAD, BOTH, "9110 8.6: an overflow has to be noticed; the status is free, and 413 says what is wrong",
        ("a length of 2**63", "a length that wraps at 2**64", "a length of 400 digits"),
    ),
    Difference(TOO_LONG, PASSED, BOTH, "9110 8.6 has no limit for zeros; we have", ("a length of 400 zeros",)),
    Difference(
        TOO_LARGE, BAD, BOTH, "6585 5: 431 says what is wrong",
        ("too many fields", "a head one byte too large"),
    ),
    Difference(
        TOO_LARGE, "408 closed, 0 to the server", US, "it stops reading at its limit, and answers only at its time-out",
        ("a head without an end",),
    ),
    Difference(
        "501 closed, 0 to the server", BAD, BOTH, "9112 3: 501 says what is wrong",
        ("a method that is too long",),
    ),
    Difference(
        "414 closed, 0 to the server", BAD, BOTH, "9110 15.5.15: 414 says what is wrong",
        ("a target that is too long",),
    ),
    Difference(BAD, PASSED, US, _SIZES, _request(_LENIENT_SIZES)),
    Difference(BAD, PASSED, US, _EXTENSIONS, _request(_LENIENT_EXTENSIONS)),
    Difference(BAD, PASSED, US, _CHUNK_LF, _request((*_LENIENT_LINE_ENDS, *_LENIENT_TRAILER_ENDS))),
    Difference(
        BAD, PASSED, US, "9112 7.1: it takes `hell CR` for the five bytes, and the LF behind them for a line end",
        ("request: a chunk shorter than its size",),
    ),
    Difference(BAD, PASSED, BOTH, _EXTENSION_BOUND, ("request: a chunk extension that is too long",)),
    Difference(BAD, PASSED, BOTH, _TRAILER_FOLD, ("request: a folded trailer",)),
    Difference(BAD, PASSED, US, _IN_TRAILERS, _request(_BAD_TRAILERS), steady=False),
    Difference(
        BAD, "504 closed, 0 to the server", US, _WAITS,
        ("request: a chunk extension without an end", "request: a trailer without an end"),
    ),
]  # fmt: skip

RESPONSES = [
    Difference(
        HELLO.removesuffix(", server's reused"), "200 b'hello' closed, 1 to the server", US,
        "9112 8: it goes on until close, so a truncation looks like the end; we frame it, and the client stays",
        ("until close", "until close in spite of keep-alive", "HTTP/1.0 until close"),
    ),
    Difference(
        "200 kept, 1 to the server", "200 closed, 1 to the server", US, "9112 8: the same",
        ("nothing until close",),
    ),
    Difference(
        "205 b'hello' kept, 1 to the server", "205 b'hello' closed, 1 to the server", US, "9112 8: the same",
        ("205 with a body until close",),
    ),
    Difference(
        "200 b'hello' kept, 1 to the server", HELLO, BOTH,
        "9112 9.3: an option that is no token could mean close; closing is always safe",
        ("an option that is no token",),
    ),
    Difference(
        "200 b'hello' kept, 1 to the server", "200 b'hello' closed, 1 to the server", US,
        "9110 7.6.1: the server's connection says nothing about the client's; it closes both after HTTP/1.0",
        ("HTTP/1.0",),
    ),
    Difference(
        HELLO, "200 b'hello' closed, 1 to the server", US, "9112 9.3: HTTP/1.0 persists when both sides say so",
        ("HTTP/1.0 that persists",),
    ),
    Difference(
        HELLO, GATEWAY, BOTH,
        "its copy of a head needs some 80 bytes and 4 more a field, of bufsize - maxrewrite; what it takes, we take",
        ("a response head of the largest size",),
    ),
    Difference(
        GATEWAY, "200 kept, 1 to the server", US,
        "9112 6.3 item 3: it ought to be handled as an error; it trusts Transfer-Encoding",
        ("a length and chunked", "chunked and a length", "HEAD with a length and chunked"),
    ),
    Difference(
        GATEWAY, "200 closed, 1 to the server", US, "9112 6.1: the framing of such a message MUST be taken for faulty",
        ("chunked on HTTP/1.0",),
    ),
    Difference(
        GATEWAY, UNANSWERED, US,
        "9112 6.3: not chunked, so until close; it waits for that, though a length stands there as well",
        ("a length and an empty coding", "Transfer-Encoding: b''"),
    ),
    Difference(
        GATEWAY, UNANSWERED, US,
        "9112 4, 9110 5.5: it finds out only when it has to write it, and hangs up without an answer",
        (
            "a status that begins with 0", "a status of two digits", "a status of four digits", "NUL in the reason",
            "NUL in a value",
        ),
    ),
    Difference(
        GATEWAY, HELLO, BOTH,
        "9110 8.6: a list of identical lengths may be refused or taken; so may two spellings of one number",
        ("lengths in different spellings", "a list of identical lengths"),
    ),
    Difference(
        GATEWAY, HELLO, US, "9112 4: one space between the parts, and nothing before them",
        ("two spaces before the status", "a tab behind the status", "an empty line before the status line"),
    ),
    Difference(GATEWAY, HELLO, US, "9112 2.3: another major version is another protocol", ("HTTP/2.0",)),
    Difference(
        GATEWAY, "103 200 b'hello' kept, 1 to the server, server's reused", US, "9112 2.3: the same",
        ("103 of another version",),
    ),
    Difference(
        GATEWAY, HELLO, US, "9112 2.2: a line ends with CRLF; a bare LF may be taken for one, but a client may not",
        ("a bare LF behind the status line", "bare LFs alone", "a bare LF instead of CRLF"),
    ),
    Difference(
        GATEWAY, HELLO, BOTH, "9112 5.2: a proxy MUST answer 502 or unfold; it unfolds",
        ("a folded field", "a folded length"),
    ),
    Difference(
        GATEWAY, HELLO, US,
        "9110 5.5: control characters are invalid", ("a control character in a value", "DEL in a value"),
    ),
    Difference(
        GATEWAY, "504 kept, 1 to the server", US, "it stops reading at its limit, and answers only at its time-out",
        ("a response head without an end",),
    ),
    Difference(GATEWAY, HELLO, US, _SIZES, _response(_LENIENT_SIZES)),
    Difference(GATEWAY, HELLO, US, _EXTENSIONS, _response(_LENIENT_EXTENSIONS)),
    Difference(GATEWAY, HELLO, US, _CHUNK_LF, _response(_LENIENT_LINE_ENDS)),
    Difference(GATEWAY, "200 kept, 1 to the server, server's reused", US, _CHUNK_LF, _response(_LENIENT_TRAILER_ENDS)),
    Difference(
        GATEWAY, "200 b'hell\\r' kept, 1 to the server, server's reused", US,
        "9112 7.1: it takes `hell CR` for the five bytes, and the LF behind them for a line end",
        ("response: a chunk shorter than its size",),
    ),
    Difference(GATEWAY, HELLO, BOTH, _EXTENSION_BOUND, ("response: a chunk extension that is too long",)),
    Difference(
        GATEWAY, "200 kept, 1 to the server, server's reused", BOTH, _TRAILER_FOLD,
        ("response: a folded trailer",),
    ),
    Difference(
        GATEWAY, "200 kept, 1 to the server, server's reused", BOTH, "its limit for trailers is the buffer's",
        ("response: trailers that are too large",),
    ),
    Difference(
        GATEWAY, "200 cut, 1 to the server", US, _IN_TRAILERS, _response(_BAD_TRAILERS), steady=False,
    ),
    Difference(
        GATEWAY, "200 cut, 1 to the server", US, _WAITS,
        ("response: a chunk extension without an end", "response: a trailer without an end"),
    ),
]  # fmt: skip
