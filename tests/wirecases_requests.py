"""Every request of which we know what must become of it: `LEGAL_REQUESTS` and `REFUSED_REQUESTS`.

Not here, because whole exchanges decide about them: CONNECT, Upgrade, TE and Expect (`test_wire_requests`).
"""

from __future__ import annotations

from tests.wirecases import CHUNKED_FIELD, LEGAL_BODIES, MALFORMED_BODIES, LegalRequest, RefusedRequest

LINE = b"GET / HTTP/1.1\r\n"
HOST = b"Host: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED_POST = POST + CHUNKED_FIELD + b"\r\n"
FIVE = b"\r\nhello"
EMPTY = b"\r\n0\r\n\r\n"

#: What our limits are unless configured (Limits): the bytes of a head and its fields.
MAX_HEAD = 15360
MAX_HEADERS = 100


def get(fields: bytes, target: bytes = b"/", method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    return b"%b %b %b\r\n%b\r\n" % (method, target, version, fields)


def of_size(size: int) -> bytes:
    """A request whose head has so many bytes."""
    return get(HOST + b"A: " + b"b" * (size - 32) + b"\r\n")


LEGAL_REQUESTS: list[LegalRequest] = [
    LegalRequest("a plain request", "9112 3", get(HOST)),
    LegalRequest("an empty line first", "9112 2.2", b"\r\n" + get(HOST), get(HOST)),
    LegalRequest("empty lines first", "9112 2.2", b"\r\n" * 30 + get(HOST), get(HOST)),
    LegalRequest("a method of all token characters", "9110 9.1", get(HOST, method=b"!#$%&'*+-.^_`|~09azAZ")),
    LegalRequest("a method in lower case", "9110 9.1", get(HOST, method=b"get")),
    LegalRequest("an extension method", "9110 16.1", get(HOST, method=b"PROPFIND")),
    LegalRequest("a method nobody knows", "9110 16.1", get(HOST, method=b"X")),
    LegalRequest("a path with a query", "9112 3.2.1", get(HOST, b"/a/b;c=d?e=f&g=/?:@-._~!$'()*+,%20")),
    LegalRequest("a path of two slashes", "9112 3.2.1", get(HOST, b"//b/c")),
    LegalRequest("a path with dots", "9112 3.2.1", get(HOST, b"/../a/./b")),
    LegalRequest("a path with what URIs have no place for", "9112 3.2", get(HOST, b'/"<>\\^`{|}')),
    LegalRequest("a path with a bad percent", "9112 3.2", get(HOST, b"/%zz%")),
    LegalRequest("absolute-form", "9112 3.2.2", get(HOST, b"http://a/b")),
    LegalRequest("absolute-form without a path", "9112 3.2.2", get(HOST, b"http://a"), get(HOST, b"http://a/")),
    LegalRequest("absolute-form with a query alone", "9112 3.2.2", get(HOST, b"http://a?b"), get(HOST, b"http://a/?b")),
    LegalRequest("absolute-form in capitals", "9110 4.2.3", get(HOST, b"HTTP://A/")),
    LegalRequest("absolute-form with the default port", "9110 4.2.3", get(HOST, b"http://a:80/"),
        get(HOST, b"http://a/")),
    LegalRequest("absolute-form with the default port of https", "9110 4.2.3", get(b"Host: a:443\r\n", b"https://a/"),
        get(HOST, b"https://a/")),
    LegalRequest("absolute-form with the other scheme's port", "9110 4.2.3", get(b"Host: a:80\r\n", b"https://a:80/")),
    LegalRequest("absolute-form with an empty port", "3986 6.2.3", get(HOST, b"http://a:/b"), get(HOST, b"http://a/b")),
    LegalRequest("absolute-form and a later Host with the default port", "9110 4.2.3",
        get(b"A: b\r\nhost:\ta:80 \r\n", b"http://a/b"), get(b"A: b\r\nhost: a\r\n", b"http://a/b")),
    LegalRequest("absolute-form of OPTIONS without a path", "9112 3.2.4", get(HOST, b"http://a:80", b"OPTIONS"),
        get(HOST, b"*", b"OPTIONS")),
    LegalRequest("absolute-form of OPTIONS with a query alone", "9112 3.2.4", get(HOST, b"http://a?b", b"OPTIONS"),
        get(HOST, b"http://a/?b", b"OPTIONS")),
    LegalRequest("a Host with an empty port", "3986 6.2.3", get(b"Host: a:\r\n"), get(HOST)),
    LegalRequest("a Host with an empty port, and a target without", "3986 6.2.3", get(b"Host: a:\r\n", b"http://a/"),
        get(HOST, b"http://a/")),
    LegalRequest("a Host with the default port", "9110 7.2", get(b"Host: a:80\r\n")),
    LegalRequest("OPTIONS *", "9112 3.2.4", get(HOST, b"*", b"OPTIONS")),
    LegalRequest("OPTIONS of a path", "9110 9.3.7", get(HOST, b"/", b"OPTIONS")),
    LegalRequest("TRACE", "9110 9.3.8", get(HOST, b"/", b"TRACE")),
    LegalRequest("an empty Host", "9112 3.2", get(b"Host:\r\n")),
    LegalRequest("a Host that is IPv6", "3986 3.2.2", get(b"Host: [2001:db8::1]:8080\r\n")),
    LegalRequest("a Host that is IPvFuture", "3986 3.2.2", get(b"Host: [v1.a:b]\r\n")),
    LegalRequest("a Host with a percent-encoded byte", "3986 3.2.2", get(b"Host: a%20b\r\n")),
    LegalRequest("a Host of sub-delims", "3986 3.2.2", get(b"Host: a!$&'()*+;=b\r\n")),
    LegalRequest("a Host with an underscore", "3986 3.2.2", get(b"Host: a_b\r\n")),
    LegalRequest("a Host that comes later", "9112 5", get(b"Accept: */*\r\nHost: a\r\n")),
    LegalRequest("header names in any case", "9110 5.1", get(b"hOST: a\r\nX-y: Z\r\n")),
    LegalRequest("no space behind the colon", "9112 5", get(b"Host:a\r\nX:y\r\n")),
    LegalRequest("spaces and tabs around values", "9112 5.1", get(b"Host: \t a \t\r\nX: \t y \t\r\n"),
        get(b"Host: \t a\r\nX: \t y\r\n")),
    LegalRequest("a field that begins like one with a blank behind it", "9112 5.1",
        get(HOST + b"X: a b\r\nX: a \r\nExpect: 100-continue \r\nX: a \t\r\nX: a\r\n"),
        get(HOST + b"X: a b\r\nX: a\r\nExpect: 100-continue\r\nX: a\r\nX: a\r\n")),
    LegalRequest("empty values", "9110 5.5", get(HOST + b"X:\r\nY: \r\nZ:\t \r\n"), get(HOST + b"X:\r\nY:\r\nZ:\r\n")),
    LegalRequest("a value beyond ASCII", "9110 5.5", get(HOST + b"X: \x80\xff\r\n")),
    LegalRequest("a value with a tab", "9110 5.5", get(HOST + b"X: a\tb\r\n")),
    LegalRequest("a header name of all token characters", "9110 5.6.2", get(HOST + b"!#$%&'*+-.^_`|~09azAZ: b\r\n")),
    LegalRequest("repeated fields", "9110 5.3", get(HOST + b"B: 1\r\nA: 2\r\nb: 3\r\n")),
    LegalRequest("names that begin like notable ones", "9110 5.1",
        get(HOST + b"Host2: b\r\nTea: c\r\nUpgrade-Insecure-Requests: 1\r\n")),
    LegalRequest("names that notable ones begin with", "9110 5.1",
        get(HOST + b"Hos: b\r\nT: c\r\nContent: d\r\nConn: e\r\n")),
    LegalRequest("a head of the largest size", "6585 5", of_size(MAX_HEAD)),
    LegalRequest("as many fields as there may be", "6585 5", get(HOST + b"A: b\r\n" * (MAX_HEADERS - 1))),
    LegalRequest("a length", "9112 6.2", POST + b"Content-Length: 5\r\n" + FIVE),
    LegalRequest("a length of nothing", "9112 6.2", POST + b"Content-Length: 0\r\n\r\n"),
    LegalRequest("a length on a GET", "9110 9.3.1", get(HOST + b"Content-Length: 5\r\n") + b"hello"),
    LegalRequest("content that looks like a request", "9112 6.2",
        POST + b"Content-Length: 29\r\n\r\n" + LINE + HOST + b"A: b"),
    LegalRequest("a length without a space", "9112 6.2", POST + b"content-LENGTH:5\r\n" + FIVE),
    LegalRequest("a length in odd whitespace", "9112 6.2", POST + b"content-LENGTH:\t5 \r\n" + FIVE,
        POST + b"content-LENGTH: 5\r\n" + FIVE),
    LegalRequest("a length with leading zeros", "9110 8.6", POST + b"Content-Length: 0005\r\n" + FIVE),
    LegalRequest(
        "identical lengths", "9112 6.3",
        POST + b"Content-Length: 5\r\nX: y\r\ncontent-length: 5 \r\nContent-Length:5\r\n" + FIVE,
        POST + b"Content-Length: 5\r\nX: y\r\n" + FIVE,
    ),
    LegalRequest(
        "identical lengths in one spelling", "9112 6.3",
        POST + b"Content-Length: 5 \r\nX: y\r\nContent-Length: 5\r\nContent-Length: 5\r\n" + FIVE,
        POST + b"X: y\r\nContent-Length: 5\r\n" + FIVE,
    ),
    LegalRequest("chunked in odd case", "9112 7", POST + b"TRANSFER-encoding: ChUnKeD\r\n" + EMPTY,
        POST + b"TRANSFER-encoding: chunked\r\n" + EMPTY),
    LegalRequest("chunked with a tab behind", "9112 7", POST + b"Transfer-Encoding:chunked\t\r\n" + EMPTY,
        POST + CHUNKED_FIELD + EMPTY),
    LegalRequest("chunked with a tab before", "9112 7", POST + b"Transfer-Encoding:\tchunked\r\n" + EMPTY,
        POST + CHUNKED_FIELD + EMPTY),
    LegalRequest("chunked without a space", "9112 7", POST + b"Transfer-Encoding:chunked\r\n" + EMPTY),
    LegalRequest("chunked on a GET", "9110 9.3.1", get(HOST + CHUNKED_FIELD) + b"5\r\nhello\r\n0\r\n\r\n"),
    LegalRequest("Trailer", "9110 6.6.2", POST + CHUNKED_FIELD + b"Trailer: X\r\n\r\n0\r\nX: y\r\n\r\n"),
    LegalRequest("a higher minor version", "9110 2.5", get(HOST, version=b"HTTP/1.7"), LINE + HOST + b"\r\n"),
    LegalRequest("HTTP/1.0", "9112 9.3", get(HOST, version=b"HTTP/1.0"), LINE + HOST + b"\r\n", persists=False),
    LegalRequest("HTTP/1.0 that persists", "9112 9.3", get(HOST + b"Connection: Keep-Alive\r\n", version=b"HTTP/1.0"),
        LINE + HOST + b"\r\n"),
    LegalRequest("HTTP/1.0 with a length", "9112 6.2", b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n" + FIVE,
        POST + b"Content-Length: 5\r\n" + FIVE, persists=False),
    LegalRequest(
        "HTTP/1.0 without Host", "9112 3.2",
        get(b"A: b\r\n", version=b"HTTP/1.0"),
        b"GET / HTTP/1.0\r\nA: b\r\nconnection: keep-alive\r\n\r\n", persists=False,
    ),
    LegalRequest(
        "HTTP/1.0 without Host in absolute-form", "9112 3.2.2",
        get(b"A: b\r\n", b"http://a:80/", version=b"HTTP/1.0"),
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n", persists=False,
    ),
    LegalRequest("Connection: keep-alive", "9112 9.3", get(HOST + b"Connection: keep-alive\r\nA: b\r\n"),
        LINE + HOST + b"A: b\r\n\r\n"),
    LegalRequest("Connection: close, first", "9112 9.3", get(b"Connection: close\r\n" + HOST), LINE + HOST + b"\r\n",
        persists=False),
    LegalRequest("Connection: close, last", "9112 9.3", get(HOST + b"A: b\r\nconnection:close\r\n"),
        LINE + HOST + b"A: b\r\n\r\n", persists=False),
    LegalRequest("Connection: close in odd spelling", "9112 9.3", get(HOST + b"connection:\tx,, CLOSE \r\n"),
        LINE + HOST + b"\r\n", persists=False),
    LegalRequest("Connection: close in two fields", "9112 9.3", get(HOST + b"Connection: x\r\nConnection: close\r\n"),
        LINE + HOST + b"\r\n", persists=False),
    LegalRequest("Connection: close beside keep-alive", "9112 9.3", get(HOST + b"Connection: keep-alive, close\r\n"),
        LINE + HOST + b"\r\n", persists=False),
    LegalRequest("an option that only begins with close", "9112 9.3", get(HOST + b"Connection: closed\r\n"),
        LINE + HOST + b"\r\n"),
    LegalRequest("an option that is no token", "9112 9.3", get(HOST + b"Connection: close;q=1\r\n"),
        LINE + HOST + b"\r\n", persists=False),
    LegalRequest("Proxy-Connection and Keep-Alive", "9110 7.6.1",
        get(HOST + b"Keep-Alive: 5\r\nA: b\r\nProxy-Connection: close\r\n"), LINE + HOST + b"A: b\r\n\r\n"),
    LegalRequest(
        "fields that Connection names", "9110 7.6.1",
        get(HOST + b"X-Hop: 1\r\nA: b\r\nx-hop: 2\r\nConnection: x-HOP ,, keep-alive\r\n"),
        LINE + HOST + b"A: b\r\n\r\n",
    ),
    LegalRequest(
        "Connection names what frames and routes", "9110 7.6.1",
        POST + b"Content-Length: 5\r\nConnection: host, content-length, transfer-encoding\r\n" + FIVE,
        POST + b"Content-Length: 5\r\n" + FIVE,
    ),
    LegalRequest(
        "Connection twice, the shorter first", "9110 7.6.1",
        get(HOST + b"Connection: a\r\nConnection: ab\r\nA: 1\r\nAB: 2\r\nABC: 3\r\n"), LINE + HOST + b"ABC: 3\r\n\r\n",
    ),
    LegalRequest(
        "values like hop-by-hop lines", "9110 7.6.1",
        get(HOST + b"X: Connection: close\r\nConnection: keep-alive\r\nConnection-X: close\r\n"),
        LINE + HOST + b"X: Connection: close\r\nConnection-X: close\r\n\r\n",
    ),
    *(LegalRequest(f"request: {body.name}", body.rule, CHUNKED_POST + body.data, CHUNKED_POST + body.goes_on)
        for body in LEGAL_BODIES),
]  # fmt: skip


def _refused(rule: str, *cases: tuple[str, bytes], status: int = 400) -> list[RefusedRequest]:
    return [RefusedRequest(name, rule, data, status) for name, data in cases]


REFUSED_REQUESTS: list[RefusedRequest] = [
    *_refused(
        "9112 3",
        ("HTTP/0.9", b"GET /\r\n"),
        ("HTTP/0.9 with an empty line", b"GET /\r\n\r\n"),
        ("a method alone", b"GET\r\n\r\n"),
        ("two spaces behind the method", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("two spaces behind the target", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a space behind the version", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
        ("a space before the method", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a tab behind the method", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a tab before the version", b"GET /\tHTTP/1.1\r\nHost: a\r\n\r\n"),
        ("words of another protocol", b"SSH-2.0-OpenSSH_9.2p1\r\n"),
        ("bytes of no protocol", b"\xde\xad\xbe\xef\x00\x01\x02\x03"),
        ("a NUL first", b"\x00" + get(HOST)),
        ("a bare LF first", b"\n" + get(HOST)),
        ("a bare CR first", b"\r" + get(HOST)),
    ),
    RefusedRequest("TLS on a plain port", "8446 5.1", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    RefusedRequest("the HTTP/2 preface", "9113 3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    *_refused(
        "9112 3.2",
        ("a space in the target", get(HOST, b"/a b")),
        ("a tab in the target", get(HOST, b"/a\tb")),
        ("a fragment", get(HOST, b"/a#b")),
        ("a target beyond ASCII", get(HOST, b"/\xc3\xa9")),
        ("DEL in the target", get(HOST, b"/\x7f")),
        ("NUL in the target", get(HOST, b"/\x00")),
        ("a control character in the target", get(HOST, b"/\x01")),
        ("a bare CR in the target", get(HOST, b"/\ra")),
        ("a target of no form", get(HOST, b"a")),
        ("a target that is a query", get(HOST, b"?a")),
        ("an absolute target without Host", get(b"", b"http://a/")),
    ),
    *_refused(
        "9112 3.2.4",
        ("* without OPTIONS", get(HOST, b"*")),
        ("more than * with OPTIONS", get(HOST, b"*a", b"OPTIONS")),
        ("* with options", get(HOST, b"*", b"options")),
    ),
    RefusedRequest("authority-form without CONNECT", "9112 3.2.3", get(HOST, b"a:80")),
    RefusedRequest("absolute-form of another scheme", "9112 3.2.2", get(HOST, b"ftp://a/")),
    RefusedRequest("absolute-form without an authority", "9110 4.2.1", get(HOST, b"http:///")),
    RefusedRequest("absolute-form with user info", "9110 4.2.4", get(HOST, b"http://u@a/")),
    RefusedRequest("absolute-form and another Host", "9112 3.2.2", get(HOST, b"http://b/")),
    RefusedRequest("absolute-form and another port", "9112 3.2.2", get(HOST, b"http://a:81/")),
    RefusedRequest("absolute-form and the other scheme's port", "9112 3.2.2", get(b"Host: a:80\r\n", b"https://a/")),
    RefusedRequest("absolute-form and an empty Host", "9112 3.2.2", get(b"Host:\r\n", b"http://a/")),
    RefusedRequest("a method that is no token", "9110 9.1", get(HOST, method=b"G(T")),
    RefusedRequest("a method beyond ASCII", "9110 9.1", get(HOST, method=b"G\xc9T")),
    RefusedRequest("an empty method", "9110 9.1", get(HOST, method=b"")),
    *_refused(
        "9112 2.3",
        ("HTTP/2.0", get(HOST, version=b"HTTP/2.0")),
        ("HTTP/0.9 with a version", get(HOST, version=b"HTTP/0.9")),
        ("HTTP/3.0", get(HOST, version=b"HTTP/3.0")),
        status=505,
    ),
    *_refused(
        "9112 2.3",
        ("HTTP/2 without a minor version", get(HOST, version=b"HTTP/2")),
        ("HTTP/22.0", get(HOST, version=b"HTTP/22.0")),
        ("HTTP/2.0 and a NUL", get(HOST, version=b"HTTP/2.0\x00")),
        ("HTTP/2.0 and a space", get(HOST, version=b"HTTP/2.0 ")),
        ("a version with leading zeros", get(HOST, version=b"HTTP/01.01")),
        ("another major version with leading zeros", get(HOST, version=b"HTTP/02.0")),
        ("a minor version of two digits", get(HOST, version=b"HTTP/1.10")),
        ("a major version of two digits", get(HOST, version=b"HTTP/11.1")),
        ("no minor version", get(HOST, version=b"HTTP/1")),
        ("a version with a sign", get(HOST, version=b"HTTP/1.+1")),
        ("a version in lower case", get(HOST, version=b"http/1.1")),
        ("a version of another protocol", get(HOST, version=b"HTTQ/1.1")),
        ("RTSP", get(HOST, version=b"RTSP/1.0")),
    ),
    *_refused(
        "9112 3.2",
        ("no Host", get(b"A: b\r\n")),
        ("no field at all", LINE + b"\r\n"),
        ("two identical Hosts", get(HOST + HOST)),
        ("two Hosts that differ", get(HOST + b"Host: b\r\n")),
        ("two Hosts apart", get(HOST + b"A: b\r\nHOST: a\r\n")),
        ("two Hosts, neither first", get(b"A: b\r\nHost: a\r\nHost: a\r\n")),
        ("two Hosts on HTTP/1.0", get(HOST + HOST, version=b"HTTP/1.0")),
        ("a list of Hosts", get(b"Host: a, b\r\n")),
        ("a Host with a space", get(b"Host: a b\r\n")),
        ("a Host with a path", get(b"Host: a/b\r\n")),
        ("a Host with a query", get(b"Host: a?b\r\n")),
        ("a Host with a user", get(b"Host: u@a\r\n")),
        ("a Host with a scheme", get(b"Host: http://a\r\n")),
        ("a Host beyond ASCII", get(b"Host: \xe9\r\n")),
        ("a Host that is a port alone", get(b"Host: :80\r\n")),
        ("a Host whose port is no number", get(b"Host: a:b\r\n")),
        ("a Host with two ports", get(b"Host: a:1:2\r\n")),
        ("a Host with a port of six digits", get(b"Host: a:123456\r\n")),
        ("a Host that is half an IPv6", get(b"Host: [::1\r\n")),
        ("a Host that is IPv6 without brackets", get(b"Host: ::1\r\n")),
        ("a Host with a bad percent", get(b"Host: a%2\r\n")),
    ),
    *_refused(
        "9110 7.2",
        ("a Host with a comma", get(b"Host: a,b\r\n")),
        ("an absolute target with a comma in its host", get(b"Host: a,b\r\n", b"http://a,b/")),
    ),
    *_refused(
        "9112 5.1",
        ("a space before a colon", get(HOST + b"A : b\r\n")),
        ("a tab before a colon", get(HOST + b"A\t: b\r\n")),
        ("a space before a length's colon", POST + b"Content-Length : 5\r\n" + FIVE),
        ("a space before a coding's colon", POST + b"Transfer-Encoding : chunked\r\n" + EMPTY),
        ("a space before Host's colon", get(b"Host : a\r\n")),
    ),
    *_refused(
        "9112 5.2",
        ("a folded field", get(HOST + b"A: b\r\n c\r\n")),
        ("a field folded by a tab", get(HOST + b"A: b\r\n\tc\r\n")),
        ("a folded Host", get(b"Host: a\r\n b\r\n")),
        ("a folded length", POST + b"Content-Length:\r\n 5\r\n" + FIVE),
        ("a folded coding", POST + b"Transfer-Encoding:\r\n chunked\r\n" + EMPTY),
        ("a fold that looks like a field", get(HOST + b"A: b\r\n C: d\r\n")),
        ("a fold of nothing", get(HOST + b"A: b\r\n \r\n")),
        ("a space before the first field", get(b" A: b\r\n" + HOST)),
    ),
    *_refused(
        "9110 5.1",
        ("an empty name", get(HOST + b": b\r\n")),
        ("a line without a colon", get(HOST + b"A\r\n")),
        ("a first line without a colon", get(b"A\r\n" + HOST)),
        ("a name with a parenthesis", get(HOST + b"A(: b\r\n")),
        ("a name with a space", get(HOST + b"A B: b\r\n")),
        ("a name in quotes", get(HOST + b'"A": b\r\n')),
        ("a name beyond ASCII", get(HOST + b"\xe9: b\r\n")),
        ("a name that ends beyond ASCII", get(HOST + b"A\xe9: b\r\n")),
        ("a length's name with a control character", POST + b"\x0bContent-Length: 5\r\n" + FIVE),
        *((f"a line that is {name.decode()}", LINE + name + b"\r\n\r\n") for name in (b"Host", b"host a")),
        *(
            (f"a line that is {name.decode()}", POST + name + b"\r\n\r\n")
            for name in (
                b"Content-Length 5", b"Transfer-Encoding", b"CONNECTION", b"te", b"Expect", b"Upgrade", b"Keep-Alive"
            )
        ),
    ),
    *_refused(
        "9110 5.5",
        ("NUL in a value", get(HOST + b"A: b\x00\r\n")),
        ("NUL in a name", get(HOST + b"A\x00: b\r\n")),
        ("NUL in Host", get(b"Host: a\x00\r\n")),
        ("a control character in a value", get(HOST + b"A: \x01\r\n")),
        ("DEL in a value", get(HOST + b"A: \x7f\r\n")),
        ("a form feed in a value", get(HOST + b"A: \x0c\r\n")),
    ),
    *_refused(
        "9112 2.2",
        ("a bare CR in a value", get(HOST + b"A: b\rc\r\n")),
        ("a bare CR instead of CRLF", get(HOST + b"A: b\rC: d\r\n")),
        ("a bare CR, later a bare LF", get(HOST + b"A: b\rx\nC: d\r\n")),
        ("a bare LF instead of CRLF", get(HOST + b"A: b\nC: d\r\n")),
        ("a bare LF in Connection", get(HOST + b"Connection: b\nC: d\r\n")),
        ("a bare LF behind the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
        ("bare LFs alone", b"GET / HTTP/1.1\nHost: a\n\n"),
        ("an empty line of a bare LF", LINE + HOST + b"\n"),
        ("CR CR LF", get(HOST + b"A: b\r\r\n")),
        ("LF CR", get(HOST + b"A: b\n\r\r\n")),
    ),
    *_refused(
        "9112 6.1",
        ("a length and chunked", POST + b"Content-Length: 5\r\n" + CHUNKED_FIELD + EMPTY),
        ("chunked and a length", POST + CHUNKED_FIELD + b"Content-Length: 5\r\n" + EMPTY),
        ("a length and a coding that is none", POST + b"Content-Length: 5\r\nTransfer-Encoding: x\r\n" + FIVE),
        ("a length and an empty coding", POST + b"Content-Length: 5\r\nTransfer-Encoding:\r\n" + FIVE),
        ("chunked on HTTP/1.0", get(HOST + CHUNKED_FIELD, version=b"HTTP/1.0") + b"0\r\n\r\n"),
        *(
            (f"a length and {name.decode()}", POST + b"Content-Length: 5\r\n" + name + b": chunked\r\n" + FIVE)
            for name in (b"Transfer_Encoding", b"transfer.encoding")
        ),
        ("Content_Length alone", get(HOST + b"Content_Length: 5\r\n")),
        ("chunked in two fields", POST + CHUNKED_FIELD + CHUNKED_FIELD + EMPTY),
        ("chunked, then another coding's field", POST + CHUNKED_FIELD + b"Transfer-Encoding: identity\r\n" + EMPTY),
    ),
    *_refused(
        "9112 6.1",
        ("a coding before chunked", POST + b"Transfer-Encoding: gzip, chunked\r\n" + EMPTY),
        ("a coding's field before chunked", POST + b"Transfer-Encoding: gzip\r\n" + CHUNKED_FIELD + EMPTY),
        status=501,
    ),
    *_refused(
        "9112 6.3",
        *(
            (f"Transfer-Encoding: {value!r}"[:60], POST + b"Transfer-Encoding: " + value + b"\r\n" + EMPTY)
            for value in (
                b"", b"gzip", b"identity", b"chunked, chunked", b"chunked, gzip", b"chunked, identity", b"xchunked",
                b"chunkedx",
                b"chunked;q=1", b'"chunked"', b"chunked,", b",chunked", b", chunked", b"chunked\x0b", b"\x0bchunked",
                b"\xa0chunked", b"chun ked", b"chunked chunked", b"gzip;a, chunked", b"chunked\xff", b"\x00chunked",
            )
        ),
    ),
    *_refused(
        "9112 6.3",
        ("lengths that differ", POST + b"Content-Length: 5\r\nContent-Length: 6\r\n" + FIVE),
        ("lengths in different spellings", POST + b"Content-Length: 5\r\nContent-Length: 05\r\n" + FIVE),
        ("three lengths, the last differs",
            POST + b"Content-Length: 5\r\nContent-Length: 5\r\nContent-Length: 6\r\n" + FIVE),
        ("a list of identical lengths", POST + b"Content-Length: 5, 5\r\n" + FIVE),
        ("a list of lengths that differ", POST + b"Content-Length: 5,6\r\n" + FIVE),
        ("a length and an empty one", POST + b"Content-Length: 5\r\nContent-Length:\r\n" + FIVE),
        *(
            (f"Content-Length: {value!r}", POST + b"Content-Length: " + value + b"\r\n" + FIVE)
            for value in (
                b"", b"+5", b"-5", b"5 5", b"0x5", b"0x", b"5_0", b"5.0", b"five", b"\xb2", b"5;", b'"5"', b"1e3",
                b"5,", b",5",
                b"\x0b5", b"5\x0b",
            )
        ),
    ),
    *_refused(
        "9110 8.6",
        ("a length of 2**63", POST + b"Content-Length: 9223372036854775808\r\n" + FIVE),
        ("a length that wraps at 2**64", POST + b"Content-Length: 18446744073709551621\r\n" + FIVE),
        ("a length of 400 digits", POST + b"Content-Length: " + b"9" * 400 + b"\r\n" + FIVE),
        ("a length of 400 zeros", POST + b"Content-Length: " + b"0" * 400 + b"5\r\n" + FIVE),
        status=413,
    ),
    RefusedRequest("too many fields", "6585 5", get(HOST + b"A: b\r\n" * MAX_HEADERS), 431),
    RefusedRequest("a head one byte too large", "6585 5", of_size(MAX_HEAD + 1), 431),
    RefusedRequest("a head without an end", "6585 5", LINE + HOST + b"A: " + b"b" * MAX_HEAD, 431),
    RefusedRequest("a method that is too long", "9112 3", get(HOST, method=b"A" * MAX_HEAD), 501),
    RefusedRequest("a target that is too long", "9110 15.5.15", get(HOST, b"/" + b"a" * MAX_HEAD), 414),
    *(RefusedRequest(f"request: {body.name}", body.rule, CHUNKED_POST + body.data, late=True)
        for body in MALFORMED_BODIES),
]  # fmt: skip
