"""Rules that cannot be evaluated by a fault of reusedproxy, at every stage at which a rule is run: what they guard is
refused, the client is rid of, the log says in one line which rule it was, and everybody else is served.

The rows are all stages; `Outcome` says what becomes of the client. What only tells something goes on: a line of the
log without the value, a key of `balance hash`, an error page that is the proxy's own instead, a binding that is not
stored. Rules for connections and sessions are in tests/test_clients_gate.py, those of the statistics page in
tests/test_operators_stats_access.py, checks in tests/test_backends_checks_steps.py.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.answers import Answers
from reusedproxy.build.rule_sets import RuleSets
from reusedproxy.build.servers.announcing import announces_client
from reusedproxy.build.servers.connections import name_of
from reusedproxy.clients.connection import ClientConnection
from reusedproxy.config.model.values import Place
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.config.rules.expressions import read_expression
from reusedproxy.config.rules.formats import read_format
from reusedproxy.pool.named import NameRefused
from reusedproxy.rules.samples.formats import text_of_items
from reusedproxy.rules.samples.lines import line_of
from tests.clientfakes import OK, Wire, get
from tests.rulefakes import Seen
from tests.streamfakes import HEAD, StreamWorld

FAULT = "please report it: RuntimeError('a bug')"
#: Raises wherever it is asked, and is no constant.
FAILS = "uuid"
REQUEST = get("/x?a=1", "X-A: 1")

#: What becomes of a client whose request meets the rule.
REFUSED = "500"
CLOSED = "closed"  # without an answer
UNHEALTHY = "503"  # what asks for the proxy's health is told that there is none
GOES_ON = "goes on"

#: Lines of a frontend, each with what becomes of a request.
OF_FRONTENDS = (
    ("tcp-request content reject if { uuid -m str x }", REFUSED),
    ("tcp-request content set-var(txn.a) uuid", REFUSED),
    ("http-request deny if { uuid -m str x }", REFUSED),
    ("http-request deny unless { uuid -m found }", REFUSED),
    ("http-request deny if { path /other } or { uuid -m str x }", REFUSED),
    ("http-request deny if { uuid,lower,length gt 99 }", REFUSED),
    ("http-request allow if { uuid -m str x }", REFUSED),
    ("http-request tarpit if { uuid -m str x }", REFUSED),
    ("http-request silent-drop if { uuid -m str x }", REFUSED),
    ("http-request auth unless { uuid -m str x }", REFUSED),
    ("http-request set-header X %[uuid]", REFUSED),
    ("http-request set-path /%[uuid]", REFUSED),
    ("http-request set-var(txn.a) uuid", REFUSED),
    ("http-request del-header X-A if { uuid -m str x }", REFUSED),
    ("http-request redirect location /%[uuid]", REFUSED),
    ("http-request return status 200 content-type text/plain lf-string %[uuid]", REFUSED),
    ("http-request track-sc0 uuid table counts", REFUSED),
    ("http-request capture uuid len 9", REFUSED),
    ("http-request wait-for-body time 1s if { uuid -m str x }", REFUSED),
    ("http-request use-service prometheus-exporter if { uuid -m str x }", REFUSED),
    ("http-request early-hint Link %[uuid]", REFUSED),
    ("http-request normalize-uri path-merge-slashes if { uuid -m str x }", REFUSED),
    ("redirect location / if { uuid -m str x }", REFUSED),
    ("use_backend other if { uuid -m str x }", REFUSED),
    ("use_backend %[uuid]", REFUSED),
    ("monitor fail if { uuid -m str x }", UNHEALTHY),
    ("unique-id-format %[uuid]", REFUSED),
    ("http-response deny if { uuid -m str x }", REFUSED),
    ("http-response del-header Secret unless { uuid -m found }", REFUSED),
    ("http-response set-header X %[uuid]", REFUSED),
    ("http-response return status 200 content-type text/plain lf-string %[uuid]", REFUSED),
    ("http-after-response del-header Secret unless { uuid -m found }", REFUSED),
)
#: Lines of a backend.
OF_BACKENDS = (
    ("tcp-request content reject if { uuid -m str x }", REFUSED),
    ("http-request deny if { uuid -m str x }", REFUSED),
    ("redirect location / if { uuid -m str x }", REFUSED),
    ("use-server s if { uuid -m str x }", REFUSED),
    ("use-server %[uuid] if TRUE", REFUSED),
    ("force-persist if { uuid -m str x }", REFUSED),
    ("ignore-persist if { uuid -m str x }", REFUSED),
    ("stick on uuid", REFUSED),
    ("stick match src if { uuid -m str x }", REFUSED),
    ("stick store-request src if { uuid -m str x }", REFUSED),
    ("option forwarded host-expr uuid", REFUSED),
    ("http-response deny if { uuid -m str x }", REFUSED),
    ("http-after-response del-header Secret unless { uuid -m found }", REFUSED),
    ("stick store-response src if { uuid -m str x }", GOES_ON),
    ("stick store-response uuid", GOES_ON),
    ("balance hash uuid", GOES_ON),
)
#: Lines of a frontend in mode tcp, and of its backend.
OF_STREAMS = (
    ("tcp-request content reject if { uuid -m str x }", "", CLOSED),
    ("tcp-request content silent-drop if { uuid -m str x }", "", CLOSED),
    ("tcp-request content accept if { uuid -m str x }", "", CLOSED),
    ("tcp-request content set-var(txn.a) uuid", "", CLOSED),
    ("tcp-request content track-sc0 uuid table counts", "", CLOSED),
    ("tcp-request content reject if WAIT_END { uuid -m str x }", "", CLOSED),
    ("tcp-request content switch-mode http if { uuid -m str x }", "", CLOSED),
    ("use_backend other if { uuid -m str x }", "", CLOSED),
    ("use_backend %[uuid]", "", CLOSED),
    ("", "tcp-request content reject if { uuid -m str x }", CLOSED),
    ("", "use-server s if { uuid -m str x }", CLOSED),
    ("", "stick on uuid", CLOSED),
    ("", "tcp-response content reject if { uuid -m str x }", CLOSED),
    ("", "stick store-response uuid", GOES_ON),
    ("", "balance hash uuid", GOES_ON),
)
#: What a guard asks ahead of the rules, and where more than one asks alike.
GUARDED = (
    "http-request deny if { path_beg /y }",
    "http-request deny if { path_beg /y }\n http-request deny if { method PUT }",
    "\n".join(f" http-request deny if {{ path_beg /{name} }}" for name in "qrstu"),
    "http-request track-sc0 src table counts\n http-request deny if { path_beg /y }",
)


def broken() -> Any:
    return patch("reusedproxy.rules.samples.process_fetches.uuid4", side_effect=RuntimeError("a bug"))


class World(StreamWorld):
    """Clients of a frontend in either mode."""

    def __init__(self, test: SynchronousTestCase, text: str) -> None:
        super().__init__(test, text)
        frontend, settings = self.frontend, self.frontend.settings
        if settings.mode == "http":
            frontend.guide = None
            frontend.errors = Answers(files={}).pages(settings.errors)
            if settings.unique_id is not None:
                frontend.unique_id = text_of_items(settings.unique_id)
            monitor = RuleSets(self.backends).monitor(frontend)
            if monitor is not None:
                monitor.stand_in()
            frontend.set_guard()

    def client(self, address: tuple[str, int] = ("192.0.2.7", 4711)) -> Wire:
        if self.frontend.settings.mode == "tcp":
            return super().client(address)
        wire: Any = Wire()
        self.listener.connections += 1
        self.places.taken += 1
        listener: Any = self.listener
        self.frontend.connections.add(ClientConnection(self.frontend, wire, address, listener))
        return wire  # type: ignore[no-any-return]

    def told(self) -> list[str]:
        return [text for _, text in self.announced if FAULT in text]


def text_of(front: str, back: str, mode: str) -> str:
    """A configuration with these lines."""
    table = " stick-table type string len 40 size 10 store server_key\n" if "stick " in back else ""
    return (
        f"frontend f\n mode {mode}\n bind :1\n monitor-uri /x?a=1\n" * ("monitor" in front)
        + f"frontend f\n mode {mode}\n bind :1\n" * ("monitor" not in front)
        + (" unique-id-header X-Id\n" if "unique-id" in front else "")
        + (" tcp-request inspect-delay 2s\n" if mode == "tcp" else "")
        + f" {front}\n default_backend b\nbackend b\n mode {mode}\n{table} {back}\n server s 192.0.2.1:1\n"
        + f"backend other\n mode {mode}\n server o 192.0.2.2:1\n"
        + "backend counts\n stick-table type string size 10 store http_req_cnt\n"
    )


#: Words that are said once in a section, whose place is told.
ONCE = {"unique-id-format": "frontend f", "option forwarded": "backend b"}


def place_of(text: str, what: str = FAILS) -> str:
    """Where the rule stands that fails: the first line with these words, behind those of the world's own."""
    sought = next((f"\n{head}" for word, head in ONCE.items() if word in text), what)
    text = HEAD + text
    return f"t.cfg:{text.count(chr(10), 0, text.index(sought) + 1) + 1}: "


class FailingTests(SynchronousTestCase):
    """Each stage, for each of its clients; then the daemon serves the next one."""

    def meets(self, world: World) -> tuple[Wire, Wire | None]:
        """A client whose request, or bytes, meet the rule, and the server that has got them, if one has."""
        with broken():
            client, server = world.client(), None
            client.feed(REQUEST)
            if world.frontend.settings.mode == "tcp":
                world.advance(2)
            if world.dialled("s"):
                server = world.connect("s")
                if server.take():
                    server.feed(OK.replace(b"\r\n\r\n", b"\r\nSecret: 1\r\n\r\n"))
        return client, server

    def check(self, world: World, text: str, outcome: str) -> None:
        client, server = self.meets(world)
        answer = client.take()
        if outcome == GOES_ON:
            self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), (text, answer))
        elif outcome == CLOSED:
            self.assertEqual((answer, client.end is not None), (b"", True), text)
        else:
            self.assertTrue(answer.startswith(f"HTTP/1.1 {outcome} ".encode()), (text, answer))
            self.assertNotIn(b"secret", answer.lower(), text)
        self.assertEqual(len(world.told()), 1, (text, world.announced))
        if "balance" not in text:
            self.assertIn(place_of(text), world.told()[0], text)
            # Rules for all answers are run for the one that says so, too.
            self.assertEqual(world.frontend.traffic.eint, 2 if "after-response" in text else 1, text)
        if client.end is None:
            client.eof()
        if server is not None and server.end is None:
            server.eof()

    def goes_on(self, world: World, text: str) -> None:
        """The next client is treated as the rule says."""
        with patch("reusedproxy.rules.samples.process_fetches.uuid4", return_value="x"):
            client = world.client()
            client.feed(REQUEST)
            if world.frontend.settings.mode == "tcp":
                world.advance(2)
            server = next((world.connect(name) for name in ("s", "o") if world.dialled(name)), None)
            if server is not None:
                server.feed(OK)
        self.assertEqual(len(world.told()), 1, text)
        if client.end is None:
            client.reset()

    def test_of_requests(self) -> None:
        """Whatever the rule would have done."""
        rows = [(front, "", outcome) for front, outcome in OF_FRONTENDS]
        rows += [("", back, outcome) for back, outcome in OF_BACKENDS]
        for front, back, outcome in rows:
            text = text_of(front, back, "http")
            world = World(self, text)
            self.check(world, text, outcome)
            if "use-service" not in front:  # there is none in this world
                self.goes_on(world, text)
            world.advance(3600)
            world.check_rest()

    def test_of_sessions_of_mode_tcp(self) -> None:
        """Rules for contents as they wait, too."""
        for front, back, outcome in OF_STREAMS:
            text = text_of(front, back, "tcp")
            world = World(self, text)
            self.check(world, text, outcome)
            self.goes_on(world, text)
            world.advance(3600)
            world.check_rest()

    def test_where_a_guard_asks_ahead_of_the_rules(self) -> None:
        """The rules themselves say which of them it is, and who need not pass them does not get past them."""

        def fails(texts: object) -> Any:
            def test(text: bytes) -> bool:
                raise RuntimeError("a bug")

            return test

        for front in GUARDED:
            text = text_of(front, "", "http")
            with patch.dict("reusedproxy.rules.matching._TEXTS", beg=fails):
                world = World(self, text)
                self.assertIsNotNone(world.frontend.guard, text)
                client = world.client()
                client.feed(REQUEST)
            self.assertTrue(client.take().startswith(b"HTTP/1.1 500 "), text)
            ((_, told),) = world.announced
            self.assertIn(place_of(text, "path_beg"), told)
            self.assertIn(FAULT, told)
            client.eof()
            world.check_rest()

    def test_an_error_page_that_fails_is_the_proxys_own(self) -> None:
        """It says nothing of the request, and the connection goes on as it would have."""
        rules = " http-error status 403 content-type text/plain lf-string %[uuid]\n http-request deny if { path /x }\n"
        rules += " http-error status 500 content-type text/plain lf-string %[uuid]\n http-request set-header X %[uuid]"
        world = World(self, text_of(rules, "", "http"))
        with broken():
            client = world.client()
            client.feed(REQUEST)
            answer = client.take()
            self.assertTrue(answer.startswith(b"HTTP/1.1 403 Forbidden\r\n"), answer)
            self.assertIn(b"Request forbidden by administrative rules.", answer)
            self.assertIsNone(client.end)
            client.feed(get("/y"))
            self.assertTrue(client.take().startswith(b"HTTP/1.1 500 "))
        self.assertIn("the error page for 403 could not be made", world.told()[0])
        client.eof()
        world.advance(3600)
        world.check_rest()

    def test_a_rule_for_all_answers_leaves_our_own_as_it_is(self) -> None:
        """There are but our own words in it."""
        rule = "http-after-response set-header X %[uuid]\n http-request deny if { path /x }"
        world = World(self, text_of(rule, "", "http"))
        with broken():
            client = world.client()
            client.feed(REQUEST)
        self.assertTrue(client.take().startswith(b"HTTP/1.1 403 "))
        self.assertEqual(len(world.told()), 1)
        client.eof()
        world.check_rest()

    def test_a_line_of_the_log_is_written_without_the_value(self) -> None:
        """The request is over: nothing is left to be refused."""
        facts: Any = Seen(REQUEST)
        expressions = "%[uuid] %[src] %[uuid,hmac(sha256,UzNDUkVUS0VZ)]"
        made = line_of(read_format(f'a {expressions} "b"', "here", of_log=True))
        with broken():
            line = made(facts)
        self.assertEqual((line.split()[0], "127.0.0.1" in line, line.split()[-1]), ("a", True, '"b"'))
        self.assertEqual([FAULT in text for _, text in facts.told], [True, True])
        self.assertIn("'%[uuid,hmac(sha256,…)]' of a log line is empty", facts.told[1][1])

    def test_a_connection_without_its_name_is_not_opened(self) -> None:
        """`sni`, `pool-conn-name`, and what is added to a PROXY header."""
        place = Place("t.cfg", 7)
        name = name_of(read_expression("uuid", "here"), place)
        facts: Any = Seen(REQUEST)
        text = "defaults\n mode http\nbackend b\n server s h:1 send-proxy-v2 set-proxy-v2-tlv-fmt(0xe1) %[uuid]\n"
        (server,) = read_configuration([Source("t.cfg", text)], {}).backends["b"].servers
        header = announces_client(server)
        assert header is not None
        for make, where in ((name, "t.cfg:7: "), (header, "t.cfg:4: ")):
            with broken(), self.assertRaises(NameRefused) as raised:
                make(facts)
            self.assertIn(FAULT, str(raised.exception))
            self.assertTrue(str(raised.exception).startswith(where), raised.exception)
