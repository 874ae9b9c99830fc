"""The wire beside h11 and httptools: what we accept they accept with the same meaning, and what we send on is to them
exactly one message. Heads are generated, and legal ones corrupted.

Known disagreements, and why they are none of our faults:
- h11 never keeps an HTTP/1.0 connection open; we do when it was asked for (RFC 9112 9.3).
- h11 reads `Connection: close;` as no close; we take an option that is no token for one (closing is always safe).
- h11 waits when Upgrade is proposed or granted (101), and ends the persistence of an until-close response later
  than we.
- httptools knows a fixed list of methods, and refuses `chunked` with a tab behind it: so what goes on is respelled.
- httptools cannot be told that a response answers HEAD, nor that its connection has ended.
- Those of the tables' cases are listed by name, below.
- Both accept much that we refuse (obs-fold, bare LF, a Host that is no host, lists of lengths). Only our acceptance is
  compared, never our refusals.
"""

import re

import h11
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.wire.bodies import ChunkedBody
from reusedproxy.wire.framing import named_fields
from reusedproxy.wire.grammar import NOTABLE, NOTABLES, REQUEST_LINE, STATUS_LINE, TOKEN
from reusedproxy.wire.heads import (
    CHUNKED,
    UNTIL_CLOSE,
    Limits,
    RequestFault,
    RequestHead,
    ResponseFault,
    ResponseHead,
    check_partial,
    check_partial_response,
    find_head_end,
    read_request,
    read_response,
)
from tests.wirecases_requests import LEGAL_REQUESTS
from tests.wirecases_responses import LEGAL_RESPONSES
from tests.wireoracles import h11_request, h11_response, httptools_request, httptools_response, normalised

LIMITS = Limits()
#: What ends at each hop (RFC 9110 7.6.1).
HOP = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade"))
#: Legal requests that an oracle does not take as they come; it does as they go on.
H11_REFUSES = {
    "an empty line first",  # RFC 9112 2.2: SHOULD be ignored
    "empty lines first",
    "request: bad whitespace in a chunk extension",  # 7.1.1: MUST be parsed
}
HTTPTOOLS_REFUSES = {
    "identical lengths",  # 6.3 item 5: may be refused, or taken as one
    "identical lengths in one spelling",
    "chunked with a tab behind",  # 5: OWS is no part of the value
    "a higher minor version",  # RFC 9110 2.5: is the highest that is known
    "request: bad whitespace in a chunk extension",
    "request: forbidden trailers",  # 6.5.1: must not be merged, but are none of the framing
}
#: Legal requests whose method httptools has not heard of, though any token is one (RFC 9110 9.1).
UNKNOWN_METHODS = {"a method of all token characters", "a method in lower case", "a method nobody knows"}
TCHAR = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
VCHAR = bytes(range(0x21, 0x7F))
BODY = b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"


def text(alphabet: bytes, most: int, least: int = 0) -> st.SearchStrategy[bytes]:
    """Bytes of an alphabet; drawing bytes and folding them is ten times as fast as drawing each from it."""
    folded = bytes(alphabet[octet % len(alphabet)] for octet in range(256))
    return st.binary(min_size=least, max_size=most).map(lambda raw: raw.translate(folded))


def any_case(name: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from([name, name.lower(), name.upper(), name.swapcase()])


OWS = st.sampled_from([b"", b" ", b" ", b" ", b"\t", b"  \t"])
OTHER_FIELDS = st.tuples(text(TCHAR, 12, 1), OWS, text(VCHAR + b"  \t\x80\xe9\xff", 20), OWS)
OPTIONS = st.lists(st.sampled_from([b"close", b"keep-alive", b"Upgrade", b"TE", b"x-hop", b"Close", b"", b"Host"]))
NOTABLE_FIELDS = st.one_of(
    st.tuples(any_case(b"Connection"), OWS, OPTIONS.map(b", ".join), OWS),
    st.tuples(any_case(b"Content-Length"), OWS, st.sampled_from([b"5", b"5", b"0", b"05", b"5, 5", b"+5"]), OWS),
    st.tuples(any_case(b"Transfer-Encoding"), OWS, any_case(b"chunked"), OWS),
    st.tuples(any_case(b"Host"), OWS, st.sampled_from([b"a", b"a:80", b"[::1]", b"", b"a b"]), OWS),
    st.tuples(any_case(b"Expect"), OWS, any_case(b"100-continue"), OWS),
    st.tuples(st.sampled_from([b"TE", b"Keep-Alive", b"Upgrade", b"Proxy-Connection", b"X-Hop"]), OWS,
        text(TCHAR, 5), OWS),
)  # fmt: skip
USUAL_FIELDS = st.sampled_from(
    [b"Connection: keep-alive\r\n", b"Connection: close\r\n", b"connection: Keep-Alive\r\n", b"A: b\r\n"]
    + [b"Content-Length: 5\r\n"]
    + [b"content-length: 55\r\n", b"Content-Length: 5x\r\n", b"Content-Length: 9999999999999999999\r\n"]
)  # fmt: skip
VERSIONS = st.sampled_from([b"HTTP/1.1"] * 6 + [b"HTTP/1.0"] * 2 + [b"HTTP/1.2"])
METHODS = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"HEAD", b"PATCH"])


def lines(fields: list[tuple[bytes, bytes, bytes, bytes]]) -> bytes:
    return b"".join(b"%b:%b%b%b\r\n" % field for field in fields)


@st.composite
def request_heads(draw: st.DrawFn) -> bytes:
    method = draw(st.one_of(METHODS, METHODS, text(TCHAR, 8, 1)))
    target = draw(
        st.one_of(
            text(VCHAR, 20).map(lambda path: b"/" + path),
            st.sampled_from([b"*", b"http://a/b", b"http://a", b"HTTP://A:?", b"https://a:443/"]),
        )
    )
    host = draw(st.sampled_from([b"Host: a\r\n"] * 4 + [b""]))
    fields = draw(st.lists(st.one_of(OTHER_FIELDS, OTHER_FIELDS, NOTABLE_FIELDS), max_size=8))
    return b"%b %b %b\r\n%b%b\r\n" % (method, target, draw(VERSIONS), host, lines(fields))


@st.composite
def response_heads(draw: st.DrawFn) -> bytes:
    status = draw(st.one_of(st.sampled_from([200, 204, 304, 404, 100, 103, 426]), st.integers(102, 999)))
    reason = draw(st.sampled_from([b" OK", b" ", b"", b" Not \xe9 here"]))
    fields = draw(st.lists(st.one_of(OTHER_FIELDS, OTHER_FIELDS, NOTABLE_FIELDS), max_size=8))
    return b"%b %d%b\r\n%b\r\n" % (draw(VERSIONS), status, reason, lines(fields))


@st.composite
def corrupted(draw: st.DrawFn, heads: st.SearchStrategy[bytes]) -> bytes:
    head = draw(heads)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(head)))
        junk = draw(
            st.one_of(st.sampled_from([b"", b"\r", b"\n", b"\r\n", b" ", b":", b"\t", b"\x00"]), st.binary(max_size=3))
        )
        head = head[:at] + junk + head[at + draw(st.integers(0, 3)) :]
    return head  # fmt: skip


def accepted_request(data: bytes) -> RequestHead | None:
    try:
        end = find_head_end(data)
        return read_request(data[:end], LIMITS) if end == len(data) else None
    except RequestFault:
        return None


def accepted_response(data: bytes, method: bytes) -> ResponseHead | None:
    try:
        end = find_head_end(data)
        return read_response(data[:end], method, LIMITS) if end == len(data) else None
    except ResponseFault:
        return None


def only_tokens(data: bytes) -> bool:
    """Connection lists nothing that h11 and we read differently."""
    options = b",".join(re.findall(rb"(?i)\r\nconnection:([^\r]*)", data)).split(b",")
    return all(TOKEN.match(option.strip(b" \t") or b"a") for option in options)


def body_of(length: int) -> bytes:
    return ChunkedBody().feed(BODY)[0] if length == CHUNKED else b"x" * max(length, 0)


def events_of(connection: h11.Connection, data: bytes) -> list[h11.Event]:
    """All events that the data gives, until the message ends."""
    connection.receive_data(data)
    events: list[h11.Event] = []
    while True:
        event = connection.next_event()
        if isinstance(event, type) or not event:
            return events
        events.append(event)
        if isinstance(event, h11.EndOfMessage):
            return events


class RequestOracleTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(st.one_of(request_heads(), corrupted(request_heads())))
    def test_h11_reads_what_we_accept_the_same(self, data: bytes) -> None:
        """Method, target, fields, framing and persistence are the same to h11, on what came in,
        once it is normalised."""
        head = accepted_request(data)
        if head is None:
            return
        server = h11.Connection(h11.SERVER)
        request, *_, end = events_of(server, data + body_of(head.length))
        assert isinstance(request, h11.Request)
        target, theirs = normalised(request.method, request.target, list(request.headers))
        self.assertEqual((request.method, target), (head.method, head.target))
        fields = [(name.lower(), value) for name, value in head.fields()]
        options = b",".join(value for name, value in theirs if name == b"connection").lower().split(b",")
        gone = HOP | named_fields(frozenset(option.strip(b" \t") for option in options))
        if not head.minor:
            gone |= {b"expect"}
        self.assert_same_fields(
            [pair for pair in theirs if pair[0] not in gone], [pair for pair in fields if pair[0] not in HOP]
        )
        self.assertIsInstance(end, h11.EndOfMessage)
        self.assertEqual(server.trailing_data, (b"", False))
        # A client that proposes to switch protocols leaves h11 waiting for the answer.
        if head.minor and b"upgrade" not in dict(theirs) and only_tokens(data):
            self.assertEqual(server.their_state is not h11.MUST_CLOSE, head.keep_alive)

    def assert_same_fields(self, theirs: list[tuple[bytes, bytes]], ours: list[tuple[bytes, bytes]]) -> None:
        """h11 joins lengths and lower-cases codings; the rest is equal in order."""
        special = (b"content-length", b"transfer-encoding")
        self.assertEqual(
            [pair for pair in theirs if pair[0] not in special], [pair for pair in ours if pair[0] not in special]
        )

    @settings(max_examples=300, deadline=None)
    @given(st.one_of(request_heads(), corrupted(request_heads())))
    @example(b"GET / HTTP/1.0\r\nConnection: close\r\n\r\n")
    def test_what_goes_on_is_one_message_to_h11(self, data: bytes) -> None:
        """Block and body are one request with nothing before or behind, and no hop-by-hop field in it."""
        head = accepted_request(data)
        if head is None:
            return
        server = h11.Connection(h11.SERVER)
        request, *_, end = events_of(server, head.block + b"\r\n" + body_of(head.length))
        assert isinstance(request, h11.Request)
        self.assertEqual((request.method, request.target), (head.method, head.target))
        self.assertEqual(request.http_version, b"1.0" if head.host is None else b"1.1")
        self.assertIsInstance(end, h11.EndOfMessage)
        self.assertEqual(server.trailing_data, (b"", False))
        names = {name for name, _ in request.headers}
        self.assertEqual(names & HOP, set())

    @settings(max_examples=300, deadline=None)
    @given(st.one_of(request_heads(), corrupted(request_heads())))
    def test_rules_see_what_goes_on(self, data: bytes) -> None:
        """Block and wishes, in the client's version."""
        head = accepted_request(data)
        if head is not None:
            sent = head.block + head.wishes() + b"\r\n"
            self.assertEqual(head.head.partition(b"\r\n")[2], sent.partition(b"\r\n")[2])
            self.assertEqual(head.head.split(b" ")[:2], sent.split(b" ")[:2])

    @settings(max_examples=300, deadline=None)
    @given(st.one_of(request_heads(), corrupted(request_heads())), METHODS)
    def test_what_goes_on_is_one_message_to_httptools(self, data: bytes, method: bytes) -> None:
        """The same with the parser of Node."""
        head = accepted_request(method + b" " + data.partition(b" ")[2])
        if head is None:
            return
        seen = httptools_request(head.block + b"\r\n" + body_of(head.length))
        assert seen is not None
        self.assertEqual((seen.messages, seen.start), (1, (head.method,)))
        self.assertEqual(seen.body, b"hello" if head.length == CHUNKED else body_of(head.length))

    @settings(max_examples=300, deadline=None)
    @given(st.one_of(corrupted(request_heads()), st.binary(max_size=80)), st.integers(0, 200))
    def test_corrupted_heads_raise_only_our_faults(self, data: bytes, searched: int) -> None:
        """Nothing but a RequestFault comes out, and a beginning is never refused of what is accepted whole."""
        try:
            check_partial(data, LIMITS)
        except RequestFault as fault:
            self.assertIn(fault.status, (400, 414, 431, 501, 505))
        head = accepted_request(data)
        if head is not None:
            for end in range(len(data)):
                check_partial(data[:end], LIMITS, min(searched, end))


class ResponseOracleTests(SynchronousTestCase):
    def client(self, method: bytes) -> h11.Connection:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        client.send(h11.EndOfMessage())
        return client

    def assert_one_message(self, head: ResponseHead, method: bytes, data: bytes, version: bytes) -> h11.Connection:
        """h11 reads this as one response with our framing."""
        client = self.client(method)
        response, *rest = events_of(client, data + b"\r\n" + body_of(head.length))
        assert isinstance(response, h11.Response | h11.InformationalResponse)
        self.assertEqual((response.status_code, response.http_version), (head.status, version))
        if isinstance(response, h11.InformationalResponse):
            self.assertEqual(rest, [])
            return client
        if head.length == UNTIL_CLOSE:
            rest = events_of(client, b"")
        self.assertIsInstance(rest[-1], h11.EndOfMessage)
        self.assertEqual(client.trailing_data[0], b"")
        return client

    @settings(max_examples=300, deadline=None)
    @given(st.one_of(response_heads(), corrupted(response_heads())), st.sampled_from([b"GET", b"HEAD", b"POST"]))
    def test_h11_reads_what_we_accept_and_send_on_the_same(self, data: bytes, method: bytes) -> None:
        """Status, framing and persistence are the same to h11, on what came in and on what goes on."""
        head = accepted_response(data, method)
        if head is None:
            return
        said = b"connection: upgrade\r\n" * (head.upgrade is not None)
        self.assertEqual(head.head.partition(b"\r\n")[2], head.block.partition(b"\r\n")[2] + said + b"\r\n")
        if head.status == 101:
            return
        client = self.assert_one_message(head, method, data[:-2], data[5:8])
        if head.minor and head.status >= 200 and head.length != UNTIL_CLOSE and only_tokens(data):
            self.assertEqual(client.their_state is h11.DONE, head.keep_alive)
        self.assert_one_message(head, method, head.block, b"1.1")

    @settings(max_examples=300, deadline=None)
    @given(st.one_of(corrupted(response_heads()), st.binary(max_size=80)), st.integers(0, 200))
    def test_corrupted_heads_raise_only_our_faults(self, data: bytes, searched: int) -> None:
        """Nothing but a ResponseFault comes out, and a beginning is never refused of what is accepted whole."""
        try:
            check_partial_response(data, LIMITS)
        except ResponseFault as fault:
            self.assertEqual(fault.status, 502)
        head = accepted_response(data, b"GET")
        if head is not None:
            for end in range(len(data)):
                check_partial_response(data[:end], LIMITS, min(searched, end))

    @settings(max_examples=300, deadline=None)
    @given(st.one_of(response_heads(), corrupted(response_heads())))
    def test_what_goes_on_is_one_message_to_httptools(self, data: bytes) -> None:
        """The same with the parser of Node, which cannot be told of HEAD, nor of the end of a connection."""
        head = accepted_response(data, b"GET")
        if head is None or head.status == 101:
            return
        seen = httptools_response(head.block + b"\r\n" + body_of(head.length))
        assert seen is not None
        self.assertEqual(seen.start, (b"%d" % head.status,))
        self.assertEqual(seen.messages, int(head.length != UNTIL_CLOSE))
        self.assertEqual(seen.body, b"hello" if head.length == CHUNKED else body_of(head.length))


class TableTests(SynchronousTestCase):
    """Every legal case, as it comes and as it goes on."""

    def test_requests_are_one_message_to_both(self) -> None:
        """Known disagreements aside, each as it came; without any, each as it goes on."""
        refused = {oracle: set[str]() for oracle in ("h11", "httptools")}
        for case in LEGAL_REQUESTS:
            for oracle, read in (("h11", h11_request), ("httptools", httptools_request)):
                came, goes_on = read(case.data), read(case.sent)
                if came is None:
                    refused[oracle].add(case.name)
                else:
                    self.assertEqual((came.messages, came.left), (1, b""), (oracle, case.name))
                if goes_on is None:
                    self.assertIn(case.name, UNKNOWN_METHODS, oracle)
                    continue
                self.assertEqual((goes_on.messages, goes_on.left), (1, b""), (oracle, case.name))
                self.assertEqual(goes_on.body, (came or goes_on).body, (oracle, case.name))
        self.assertEqual(refused, {"h11": H11_REFUSES, "httptools": HTTPTOOLS_REFUSES | UNKNOWN_METHODS})

    def test_responses_are_one_message_to_both(self) -> None:
        """What goes on is the content that the table says, to each that can know the framing."""
        for case in LEGAL_RESPONSES:
            seen = h11_response(case.passed, case.method.encode())
            assert seen is not None, case.name
            self.assertEqual((seen.body, seen.left), (case.content, b""), case.name)
            if case.method == "HEAD":
                continue
            seen = httptools_response(case.passed)
            assert seen is not None, case.name
            self.assertEqual(seen.body, case.content, case.name)
            interim = len(re.findall(rb"(?:\A|\r\n\r\n)HTTP/1.1 1", case.passed))
            self.assertEqual(seen.messages, interim + 1, case.name)


class ExpressionTests(SynchronousTestCase):
    """The fast path's expressions do what the slow path's words say."""

    @settings(max_examples=300, deadline=None)
    @given(st.sampled_from(sorted(NOTABLES)), st.data())
    def test_every_notable_name_is_found_in_any_case(self, name: bytes, data: st.DataObject) -> None:
        """No spelling of a field that frames or ends here slips past the search."""
        spelled = bytes(data.draw(st.sampled_from([octet, ord(chr(octet).swapcase())])) for octet in name)
        self.assertEqual(NOTABLE.findall(b"A: b" + spelled + b" c\r\nD: e"), [spelled + b" c"])
        self.assertIn(spelled.lower(), NOTABLES)

    @settings(max_examples=300, deadline=None)
    @given(text(TCHAR, 12, 1))
    def test_every_other_token_passes(self, name: bytes) -> None:
        """A name that is a token and not notable is no finding."""
        assume(b"\r\n" + name.lower() + b":" not in NOTABLES)
        self.assertEqual(NOTABLE.findall(b"A: b\r\n" + name + b": c\r\nD: e"), [])

    @settings(max_examples=300, deadline=None)
    @given(st.binary(max_size=8))
    def test_every_other_name_is_a_finding(self, name: bytes) -> None:
        """A line whose name is no token is found, and is then no notable one."""
        before = name.partition(b":")[0]
        assume(not before or before.strip(TCHAR))
        found = NOTABLE.findall(b"A: b\r\n" + name + b": c")
        self.assertTrue(found)
        line: bytes = found[0]
        self.assertNotIn(line[: line.find(b":") + 1].lower(), NOTABLES)

    def test_a_name_without_a_colon_is_a_finding(self) -> None:
        """Not even a notable name makes a line without a colon a field."""
        for name in (b"Host", b"A", b"TE", b"Content-Length 5", b""):
            (line,) = NOTABLE.findall(b"A: b\r\n" + name + b"\r\nD: e")
            self.assertNotIn(line[: line.find(b":") + 1].lower(), NOTABLES)

    @settings(max_examples=300, deadline=None)
    @given(st.lists(USUAL_FIELDS, max_size=5).map(b"".join))
    def test_usual_spellings_mean_what_others_mean(self, fields: bytes) -> None:
        """The short way through usual lines and the closer look at other spellings agree in everything."""
        request, response = b"GET / HTTP/1.1\r\nHost: a\r\n", b"HTTP/1.1 200 OK\r\n"
        for start, read in (
            (request, lambda data: read_request(data, LIMITS)),
            (response, lambda data: read_response(data, b"GET", LIMITS)),
        ):
            outcomes: list[tuple[object, ...]] = []
            for spelled in (fields, fields.replace(b"on", b"On"), fields.replace(b"on: ", b"on:  ")):
                try:
                    head = read(start + spelled + b"\r\n")
                    outcomes.append((head.length, head.keep_alive, head.block.lower()))
                except (RequestFault, ResponseFault) as fault:
                    outcomes.append((fault.status, fault.reason))
            self.assertEqual(len(set(outcomes)), 1, (fields, outcomes))

    def test_matching_is_linear(self) -> None:
        """The longest hostile heads are read and refused: with a quadratic expression these would take minutes."""
        size = 2**20
        limits = Limits(max_head=2 * size, max_headers=size)
        head = b"GET / HTTP/1.1\r\nHost: a\r\n"
        for hostile in (
            b"A" * size,
            b"A" * size + b" / HTTP/1.1",
            b"GET /" + b"a" * size,
            b"GET " + b"http://" * (size // 7) + b" HTTP/1.1",
            head + b"A" * size,
            head + b"Connection" * (size // 10),
            head + b"\r" * size,
            head + b"\r\n" * (size // 2),
            head + b"A:\r\n" * (size // 4) + b"A",
            head + b"A: " + b" \t" * (size // 2) + b"\x00",
            b"GET / HTTP/1.1\r\nHost: " + b"a.%20" * (size // 5) + b"/",
            b"GET / HTTP/1.1\r\nHost: [" + b":" * size,
            head + b"Transfer-Encoding: " + b"chunked," * (size // 8),
            head + b"Content-Length: " + b"9" * size,
        ):
            self.assertRaises(RequestFault, read_request, hostile + b"\r\n\r\n", limits)
        options = b",".join([b"a%d" % number for number in range(size // 10)])
        self.assertTrue(read_request(head + b"Connection: " + options + b"\r\n\r\n", limits).keep_alive)
        self.assertIsNone(REQUEST_LINE.match(b"A" * size))
        self.assertIsNone(STATUS_LINE.match(b"HTTP/1.1 200 " + b" " * size))
