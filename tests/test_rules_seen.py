"""What rules see is what goes on: requests as the server gets them, answers as the client does.

Rules copy what they see into headers, so that it can be compared with the head in which it comes. Messages are drawn,
and so are the rules that change them first. What may differ, `without_own` and its callers take out, and say why.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import ClassVar

from attrs import evolve, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.clients.stream import StreamConnection
from reusedproxy.config.model.proxies import ForwardFor
from reusedproxy.exchanges.serving import CHUNK, Made
from reusedproxy.net.transport import CLOSED, OPEN
from reusedproxy.rules.rule_set import Steps
from reusedproxy.wire.heads import RequestHead
from reusedproxy.wire.whole_answers import WholeAnswer
from tests.clientfakes import Client, Wire, World, get
from tests.rulefakes import ruled
from tests.streamfakes import StreamWorld

#: Names that are asked for one by one.
NAMES = [
    "host",
    "connection",
    "te",
    "upgrade",
    "keep-alive",
    "proxy-connection",
    "expect",
    "content-length",
    "transfer-encoding",
    "trailer",
    "x-a",
]
KINDS = ("hdr", "fhdr", "hdr_cnt", "fhdr_cnt")
#: What is asked of the first line, and of all names.
OF_REQUESTS = ("method", "path", "pathq", "url", "base", "query", "req.ver", "req.hdr_names", "req.hdr_cnt")
OF_ANSWERS = ("status", "res.hdr_names", "res.hdr_cnt")


def fetches(side: str) -> dict[str, str]:
    """All that is copied, by the names under which it is shown."""
    found = {"all": f"{side}.hdrs"}
    found |= {f"{kind}-{name}": f"{side}.{kind}({name})" for kind in KINDS for name in NAMES}
    return found | {each.replace(".", "-"): each for each in (OF_REQUESTS if side == "req" else OF_ANSWERS)}


def is_number(name: str) -> bool:
    return "cnt" in name or name == "status"


def noting(section: str, side: str, mark: str) -> str:
    """Rules that note what they see of a head."""
    return "\n ".join(
        f"{section} set-var(txn.{mark}.{name.replace('-', '_')}) {fetch}" for name, fetch in fetches(side).items()
    )


def showing(section: str, side: str, mark: str) -> str:
    """Rules that show in headers what was noted; numbers as they are, all else in hexadecimal."""
    lines = []
    for name in fetches(side):
        variable = f"var(txn.{mark}.{name.replace('-', '_')})"
        lines.append(f"{section} set-header {mark}-{name} %[{variable if is_number(name) else f'{variable},hex'}]")
    return "\n ".join(lines)


@frozen
class Head:
    """A head as it was got, and what rules show in it of what they have seen, by their mark and its name."""

    first: bytes
    fields: list[tuple[bytes, bytes]]
    shown: dict[str, dict[str, bytes]]

    @staticmethod
    def of(data: bytes) -> Head:
        first, *lines = data.partition(b"\r\n\r\n")[0].split(b"\r\n")
        fields: list[tuple[bytes, bytes]] = []
        shown: dict[str, dict[str, bytes]] = {}
        for line in filter(None, lines):
            name, _, value = line.partition(b":")
            value = value.strip(b" \t")
            mark, _, what = name.decode().partition("-")
            if mark.startswith("seen"):
                shown.setdefault(mark, {})[what] = value if is_number(what) else bytes.fromhex(value.decode())
            else:
                fields.append((name.lower(), value))
        return Head(first, fields, shown)

    def values(self, name: bytes) -> list[bytes]:
        return [value for known, value in self.fields if known == name]


def without_own(head: Head, own: Iterable[bytes] = ()) -> Head:
    """The head without what the proxy says in its own name: that its connection ends or goes on, which has nothing to
    do with the other side's (RFC 9112 section 9.3), and the fields `own`."""
    kept = []
    for name, value in head.fields:
        if name == b"connection":
            options = [option.strip(b" ") for option in value.split(b",")]
            value = b", ".join(option for option in options if option not in (b"close", b"keep-alive"))
            if not value:
                continue
        if name not in own:
            kept.append((name, value))
    return Head(head.first, kept, head.shown)


def by_name(fields: Iterable[tuple[bytes, bytes]]) -> dict[bytes, list[bytes]]:
    """The order of fields with different names means nothing (RFC 9110 section 5.3)."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        found.setdefault(name, []).append(value)
    return found


def first_line(head: Head) -> dict[str, bytes]:
    """What rules are to see of a request's first line; not its version, of which each connection has its own (RFC 9110
    section 2.5): rules see the client's."""
    method, target, _ = head.first.split(b" ")
    found = None if method == b"CONNECT" else re.match(rb"(?:[A-Za-z]+://[^/?]*)?(/.*)\Z", target)
    pathq = found[1] if found else b""
    path, _, query = pathq.partition(b"?")
    host = (head.values(b"host") or [b""])[0]
    return {"method": method, "url": target, "pathq": pathq, "path": path, "query": query, "base": host + path}


class SeenTests(SynchronousTestCase):
    """The base of those below."""

    def check(self, got: Head, shown: Mapping[str, bytes], expected: Mapping[str, bytes]) -> None:
        """What is shown of fields, and of what is `expected`, is what was got."""
        fields = by_name(got.fields)
        self.assertEqual(by_name(Head.of(b"\r\n" + shown["all"]).fields), fields)
        for name in NAMES:
            values = fields.get(name.encode(), [])
            parts = [part.strip(b" \t") for value in values for part in value.split(b",")]
            due = ((parts or [b""])[-1], (values or [b""])[-1], b"%d" % len(parts), b"%d" % len(values))
            self.assertEqual(tuple(shown[f"{kind}-{name}"] for kind in KINDS), due, name)
        side = "req" if "req-hdr_names" in shown else "res"
        names = b",".join(sorted(name for name, _ in got.fields))
        self.assertEqual(b",".join(sorted(shown[f"{side}-hdr_names"].split(b","))), names)
        count = sum(1 + value.count(b",") for _, value in got.fields)
        self.assertEqual(shown[f"{side}-hdr_cnt"], b"%d" % count)
        self.assertEqual({what: shown[what] for what in expected}, expected)


#: What is drawn of rules, by their numbers.
SETS_DO = "http-request set-var(txn.do) req.hdr(do)"

# Requests.

#: Rules that change a request before it is looked at; which of them are run is drawn.
EDITS = (
    "set-header X-A new",
    "add-header X-A more",
    "del-header X-A",
    "replace-header X-A (.*) \\1z",
    "replace-value X-A b c",
    "set-header Host other",
    "set-header Connection keep-alive",
    "del-header Upgrade",
    "del-header Expect",
    "del-header TE",
    "del-header Connection",
    "del-header ^(te|upgrade)$ -m reg",
    "del-header ect -m sub",
    "del-header e -m end",
    "set-method PATCH",
    "set-path /p%[path]",
    "set-pathq /q?z",
    "set-query k=v",
    "set-uri /u",
    "set-uri http://u:80",
    "replace-path (.*) /r\\1",
    "replace-pathq /a /b",
    "replace-uri .* /%[url]",
    "normalize-uri path-merge-slashes",
    "normalize-uri path-strip-dot",
    "normalize-uri path-strip-dotdot full",
    "normalize-uri percent-to-uppercase",
    "normalize-uri query-sort-by-name",
    "wait-for-body time 1s",
)
DRAWN = "\n ".join(f"http-request {rule} if {{ var(txn.do) -m sub ,{number}, }}" for number, rule in enumerate(EDITS))
#: What `forwardfor` and `unique-id-header` add.
ADDED = (b"x-forwarded-for", b"our-id")
#: They are run in the frontend, and looked at in the backend.
RULES = f"{SETS_DO}\n http-request del-header do\n {DRAWN}"
SEES = noting("http-request", "req", "seen") + "\n " + showing("http-request", "req", "seen")

values = st.sampled_from((b"", b"a", b"a, b", b",b", b"/b", b"\xff\tx", b"keep-alive", b"close"))
any_case = st.sampled_from((bytes.lower, bytes.upper, bytes.title))
OPTIONS = (b"close", b"keep-alive", b"Upgrade", b"TE", b"x-a", b"http2-settings", b"Host", b"Expect", b"")
FIELDS: tuple[tuple[bytes, st.SearchStrategy[bytes]], ...] = (
    (b"Connection", st.lists(st.sampled_from(OPTIONS)).map(b", ".join)),
    (b"TE", st.sampled_from((b"trailers", b"gzip", b"Trailers ;q=1, gzip", b"gzip, trailers", b""))),
    (b"Upgrade", st.sampled_from((b"websocket", b"h2c", b"h2c, foo", b"foo,bar", b"", b","))),
    (b"Keep-Alive", values),
    (b"Proxy-Connection", values),
    (b"HTTP2-Settings", values),
    (b"Expect", st.sampled_from((b"100-continue", b"100-Continue", b""))),
    (b"Trailer", st.just(b"X-T")),
    (b"X-A", values),
    (b"x_a", values),
    (b"Cookie", values),
)  # fmt: skip
field = st.one_of(
    *(st.tuples(any_case.map(lambda case, name=name: case(name)), value) for name, value in FIELDS)  # type: ignore[misc]
).map(lambda pair: b"%b: %b\r\n" % pair)
PATHS = (b"/", b"/a?b", b"//a/./b/../c?z=1&a=2", b"/%2f%e9", b"http://a", b"HTTP://A:80?q", b"https://a:443/x")
#: By methods: those that have others.
TARGETS = {b"CONNECT": (b"a:80", b"a:443", b"A:8080"), b"OPTIONS": (b"*", *PATHS)}


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from((b"GET", b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"DELETE")))
    target = draw(st.sampled_from(TARGETS.get(method, PATHS)))
    version = draw(st.sampled_from((b"1.1", b"1.1", b"1.1", b"1.0", b"1.2")))
    fields = draw(st.lists(field, max_size=6))
    host = target if method == b"CONNECT" else b"a"
    fields += draw(st.sampled_from(([b"Host: %b\r\n" % host],) * 6 + ([b"Host: a:80\r\n"], [b"host:A: \r\n"], [])))
    kind = "" if method == b"CONNECT" else draw(st.sampled_from(("", "", "length", "lengths", "chunked")))
    body = b""
    if kind.startswith("length"):
        fields += [b"Content-Length: 2\r\n"] * (1 if kind == "length" else 2)
        body = b"ab"
    elif kind:
        fields.append(draw(st.sampled_from((b"Transfer-Encoding: chunked\r\n", b"transfer-encoding:\tChunked\r\n"))))
        body = b"2\r\nab\r\n0\r\nX-T: 1\r\nTE: x\r\n\r\n"
    do = b",".join(b"%d" % each for each in draw(st.lists(st.integers(0, len(EDITS) - 1), max_size=4)))
    fields.append(b"Do: ;,%b,\r\n" % do.replace(b",", b",,"))
    draw(st.randoms()).shuffle(fields)
    return b"%b %b HTTP/%b\r\n%b\r\n%b" % (method, target, version, b"".join(fields), body)


#: A frontend in mode tcp, whose bytes are always read as requests, or where the path says so.
SURELY = (
    "frontend f\n bind :1\n tcp-request inspect-delay 5s\n {noting}\n tcp-request content accept if HTTP\n"
    " use_backend raw if {{ path /a }}\n default_backend web\n"
    "backend web\n mode http\n {sees}\n {showing}\n server w 192.0.2.1:1\n"
).format(
    noting=noting("tcp-request content", "req", "seen0"), showing=showing("http-request", "req", "seen0"), sees=SEES
)
EITHER = SURELY + "backend raw\n server r 192.0.2.2:1\n"
SURELY = SURELY.replace(" use_backend raw if { path /a }\n", "")
#: What means the connection, or frames the body: servers that get the bytes may get more of it than rules see.
OF_CONNECTIONS = {b"connection", b"te", b"keep-alive", b"proxy-connection", b"transfer-encoding"}


def parts(value: bytes) -> list[bytes]:
    return [part.strip(b" \t").lower() for part in value.split(b",")]


class RequestTests(SeenTests):
    """Of clients that speak HTTP, and of those whose bytes are read as requests from some point on."""

    def ask(self, world: World, client: Client, request: bytes) -> bytes:
        """What the server gets of one request, to which it then answers."""
        client.send(request)
        if world.server.dialer.open:
            world.server.connect()
        asked = world.server.asked()
        if asked:
            world.server.answer(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
        return asked

    def check_request(self, asked: bytes, version: bytes, mark: str = "seen", own: Sequence[bytes] = ()) -> None:
        got = Head.of(asked)
        self.assertLessEqual({*own}, {name for name, _ in got.fields})
        plain = without_own(got, own)
        self.check(plain, got.shown[mark], first_line(plain))
        self.assertEqual(got.shown[mark]["req-ver"], b"1.0" if version == b"1.0" else b"1.1")

    @settings(max_examples=150, deadline=None)
    @given(st.lists(requests(), min_size=1, max_size=2), st.booleans())
    def test_a_server_gets_what_rules_see_of_a_request(self, sent: list[bytes], adds: bool) -> None:
        """Whatever rules have made of it before, and of the requests that follow on the connection, too. What other
        words of the configuration add in the proxy's own name comes behind all rules."""
        world = self.world(adds)
        client = world.client()
        for request in sent:
            if client.wire.state != OPEN:
                break
            asked = self.ask(world, client, request)
            if asked:
                self.check_request(asked, request.partition(b"\r\n")[0][-3:], own=ADDED if adds else ())
        client.wire.reset()

    @settings(max_examples=75, deadline=None)
    @given(st.lists(requests(), min_size=1, max_size=2), st.booleans())
    def test_rules_for_contents_see_what_a_server_gets(self, sent: list[bytes], either: bool) -> None:
        """Of each request, if the bytes are read as requests; of the first, if they go on as they are. Where both may
        be, rules cannot see that Connection names TE if it is the proxy that says so, to one of the two servers."""
        world = self.stream_world(EITHER if either else SURELY)
        if either:
            sent = [re.sub(rb"(?i)\r\n(?=te:.*trailers)", rb"\r\nConnection: TE\r\n", request) for request in sent]
        client = world.client()
        try:
            for request in sent:
                if client.state == OPEN:
                    self.send(world, client, request)
        finally:
            if client.state != CLOSED:
                client.reset()

    def send(self, world: StreamWorld, client: Wire, request: bytes) -> None:
        """Compares what rules and servers see of a request."""
        client.feed(request)
        if world.dialled("w"):
            self.servers.append(world.connect("w"))
        if "r" in world.dialers and world.dialled("r"):
            (connection,) = world.frontend.connections
            assert isinstance(connection, StreamConnection)
            seen = connection.stream.variable("txn.seen0.all")
            assert isinstance(seen, bytes)
            self.check_bytes(world.connect("r").take(), Head.of(b"\r\n" + seen))
            client.reset()
        for server in self.servers:
            if asked := server.take():
                for mark in ("seen0", "seen"):
                    self.check_request(asked, request.partition(b"\r\n")[0][-3:], mark)
                server.feed(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")

    def check_bytes(self, got: bytes, seen: Head) -> None:
        """Fields that are seen are there, with each part of their values, and others than those of the connection the
        other way round, too. Rules see Host without a needless port."""
        there, shown = (
            {(name, part) for name, value in head.fields if name != b"host" for part in parts(value)}
            for head in (Head.of(got), seen)
        )
        self.assertLessEqual(shown, there)
        self.assertLessEqual({name for name, _ in there - shown}, OF_CONNECTIONS)

    def stream_world(self, text: str) -> StreamWorld:
        if text not in self.stream_worlds:
            self.stream_worlds[text] = StreamWorld(self, text)
        return self.stream_worlds[text]

    def setUp(self) -> None:
        self.worlds: dict[bool, World] = {}
        self.stream_worlds: dict[str, StreamWorld] = {}
        self.servers: list[Wire] = []

    def world(self, adds: bool) -> World:
        """One for all examples of a test, since it takes some time to make."""
        if adds not in self.worlds:
            lines = " unique-id-format %rt\n unique-id-header Our-Id\n" if adds else ""
            settings = {"connection_mode": "server-close", "forwardfor": ForwardFor()} if adds else {}
            self.worlds[adds] = ruled(self, f"{lines} {RULES}", backend=SEES, frontend=settings)
        return self.worlds[adds]


# Answers.

#: Rules that change an answer before it is looked at.
EDITS_OF_ANSWERS = (
    "set-header X-A new",
    "add-header X-A more",
    "del-header X-A",
    "del-header Upgrade",
    "del-header Connection",
    "del-header a -m sub",
    "replace-value X-A b c",
    "set-status 298",
    "wait-for-body time 1s",
)
DRAWN_OF_ANSWERS = "\n ".join(
    f"http-response {rule} if {{ var(txn.do) -m sub ,{number}, }}" for number, rule in enumerate(EDITS_OF_ANSWERS)
)
SEES_ANSWERS = "\n ".join(
    (
        noting("http-response", "res", "seen1"),
        noting("http-after-response", "res", "seen2"),
        showing("http-after-response", "res", "seen1"),
        showing("http-after-response", "res", "seen2"),
    )
)
FIELDS_OF_ANSWERS = tuple(pair for pair in FIELDS if pair[0] not in (b"x_a", b"Cookie"))
field_of_answers = st.one_of(
    *(
        st.tuples(any_case.map(lambda case, name=name: case(name)), value)  # type: ignore[misc]
        for name, value in FIELDS_OF_ANSWERS
    )
).map(lambda pair: b"%b: %b\r\n" % pair)
STATUSES = (200, 200, 200, 204, 304, 404, 426, 500, 101)


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, bytes, bool]:
    """A request, an answer to it, and whether the server's connection ends behind it."""
    method = draw(st.sampled_from((b"GET", b"GET", b"HEAD", b"CONNECT")))
    status = draw(st.sampled_from(STATUSES))
    fields = draw(st.lists(field_of_answers, max_size=5))
    if status == 101:
        fields.append(b"Upgrade: websocket\r\n")
    kind = draw(st.sampled_from(("length", "lengths", "chunked", "until close")))
    body = b"ab"
    if kind.startswith("length"):
        fields += [b"Content-Length: 2\r\n"] * (1 if kind == "length" else 2)
    elif kind == "chunked":
        fields.append(draw(st.sampled_from((b"Transfer-Encoding: chunked\r\n", b"transfer-encoding:\tChunked\r\n"))))
        body = b"2\r\nab\r\n0\r\nX-T: 1\r\n\r\n"
    if method == b"HEAD" or status in (101, 204, 304):
        body = b""
    draw(st.randoms()).shuffle(fields)
    minor = draw(st.sampled_from((1, 1, 1, 0)))
    answer = b"HTTP/1.%d %d Some\r\n%b\r\n%b" % (minor, status, b"".join(fields), body)
    do = b",,".join(b"%d" % each for each in draw(st.lists(st.integers(0, len(EDITS_OF_ANSWERS) - 1), max_size=3)))
    wishes = draw(
        st.sampled_from((b"", b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: foo, websocket\r\n"))
    )
    version = draw(st.sampled_from((b"1.1", b"1.1", b"1.0")))
    target = b"a:80" if method == b"CONNECT" else b"/"
    request = b"%b %b HTTP/%b\r\nHost: a\r\nDo: ;,%b,\r\n%b\r\n" % (method, target, version, do, wishes)
    return request, answer, kind == "until close"


class AnswerTests(SeenTests):
    """Answers of servers, and of the proxy's own."""

    def setUp(self) -> None:
        self.world: World | None = None

    def check_answer(self, data: bytes, own: Iterable[bytes] = ()) -> bool:
        """Returns whether `http-response` has seen it, as it has not where the answer is the proxy's own."""
        got = Head.of(data)
        status = {"status": got.first[9:12]}
        seen = bool(got.shown["seen1"]["all"])
        for mark in ("seen1", "seen2") if seen else ("seen2",):
            self.check(without_own(got, own), got.shown[mark], status)
        return seen

    @settings(max_examples=150, deadline=None)
    @given(answers())
    def test_a_client_gets_what_rules_see_of_an_answer(self, drawn: tuple[bytes, bytes, bool]) -> None:
        """Whatever rules have made of it before. How a body without a length is framed is between the proxy and its
        client (RFC 9112 section 7)."""
        request, answer, until_close = drawn
        self.world = self.world or ruled(self, f" {SETS_DO}\n {SEES_ANSWERS}", backend=DRAWN_OF_ANSWERS)
        client, server = self.world.client(), self.world.server
        try:
            client.send(request)
            if server.dialer.open:
                server.connect()
            wires = server.busy
            server.answer(answer)
            if until_close and wires[0].state == OPEN:
                wires[0].eof()
            data = client.take()
            if data and b"\r\nseen" in data:
                self.check_answer(data, own=(b"transfer-encoding",) if until_close else ())
        finally:
            if client.wire.state != CLOSED:
                client.wire.reset()

    def test_a_client_gets_what_rules_see_of_an_answer_of_ours(self) -> None:
        """Every kind of them, but that to what cannot be read, which no rule sees."""
        world = ruled(self, f" {OWN_RULES}\n {SEES_ANSWERS}", users=" user u insecure-password p")
        world.frontend.timeouts = evolve(world.frontend.timeouts, tarpit=5.0)
        world.frontend.errors = {410: ELSEWHERE, 429: OLD}
        world.frontend.pages.append(Served())
        world.frontend.services = {"prometheus-exporter": Served()}
        for (path, status), version, method in product(OWN_ANSWERS.items(), ("1.1", "1.0"), ("GET", "HEAD")):
            Served.clock = world.clock
            for field in ("Connection: close", "Connection: keep-alive"):
                client = world.client()
                if path == "/408":
                    client.send(get(path, field, "Content-Length: 9", method="POST", version=version))
                else:
                    client.send(get(path, field, method=method, version=version))
                self.happens(path, world)
                data = client.take()
                self.assertEqual(data[9:12], b"%d" % status, path)
                self.assertIs(self.check_answer(data), path.startswith("/service"), path)
                if client.wire.state != CLOSED:
                    client.wire.reset()

    def happens(self, path: str, world: World) -> None:
        """What has the proxy answer, where the request alone does not."""
        server = world.server
        if path == "/503":
            while server.dialer.open:
                server.refuse()
                world.advance(1)
        elif server.dialer.open:
            server.connect()
        if path == "/502":
            server.answer(b"junk\r\n")
        elif path.startswith("/response"):
            server.answer()
        elif path == "/504":
            world.advance(25)
        else:
            world.advance(5)


#: Statuses by paths.
OWN_ANSWERS = {
    "/deny": 403,
    "/errorloc": 303,
    "/errorfile": 429,
    "/return": 200,
    "/empty": 204,
    "/redirect": 302,
    "/auth": 401,
    "/tarpit": 500,
    "/408": 408,
    "/monitor": 200,
    "/page": 200,
    "/page/slow": 200,
    "/service": 200,
    "/service/slow": 200,
    "/response/deny": 502,
    "/response/return": 200,
    "/502": 502,
    "/504": 504,
    "/503": 503,
}
OWN_RULES = "\n ".join(
    (
        "monitor-uri /monitor",
        "http-request set-var(txn.path) path",
        "http-request deny if { path /deny }",
        "http-request deny deny_status 410 if { path /errorloc }",
        "http-request deny deny_status 429 if { path /errorfile }",
        "http-request return status 200 content-type text/plain string hi hdr X-A a if { path /return }",
        "http-request return status 204 hdr X-A a if { path /empty }",
        "http-request redirect location /x if { path /redirect }",
        "http-request auth realm r if { path /auth }",
        "http-request tarpit deny_status 500 if { path /tarpit }",
        "http-request wait-for-body time 1s if { path /408 }",
        "http-request use-service prometheus-exporter if { path_beg /service }",
        "http-response deny if { var(txn.path) -m str /response/deny }",
        "http-response return status 200 content-type a/b string hi if { var(txn.path) -m str /response/return }",
    )
)
#: As `errorloc303` makes it, and one of a file that ends the connection.
ELSEWHERE = WholeAnswer(303, b"HTTP/1.1 303 See Other\r\ncontent-length: 0\r\nlocation: /l\r\n", b"", ends=False)
OLD = WholeAnswer(429, b"HTTP/1.0 429 Own\r\ncontent-type: a/b\r\n", b"slow", ends=True, old=True)


class Served:
    """A page and a service, which answer at once, or in turns."""

    clock: ClassVar[Clock]
    log_name = "<ONE>"
    rules: Steps = []
    admin = ()
    answer_rules = None
    users: Sequence[str] = ()

    def wants(self, target: bytes) -> bool:
        return target.startswith(b"/page")

    def answer(self, head: RequestHead, admin: bool = False) -> Made:
        return Made(200, "text/plain", self.pieces(head.target.endswith(b"slow")), b"x-a: 1\r\n")

    def pieces(self, slowly: bool) -> Iterator[bytes]:
        yield b"a" * (CHUNK if slowly else 1)
        self.clock.advance(0.01 * slowly)
        yield b"b"

    def obey(self, head: RequestHead, form: bytes | None, close: bool, proven: bool, sender: str) -> tuple[int, bytes]:
        raise NotImplementedError
