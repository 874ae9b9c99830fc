"""Rules about stick tables: what they ask, what they count, and what of it ends with a request or a connection."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.tables import tables_of
from reusedproxy.config.model.tables import StickTable
from reusedproxy.config.model.values import Place
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from reusedproxy.config.rules.expressions import read_expression
from reusedproxy.config.rules.samples import CONVERTERS, FETCHES
from reusedproxy.rules.facts import Binary
from reusedproxy.rules.matching import condition
from reusedproxy.rules.samples.compile import Sample, compiled
from reusedproxy.rules.samples.keys import key_of
from reusedproxy.sessions.client import session_of
from reusedproxy.tables.table import Table
from tests.clientfakes import GET, OK
from tests.rulefakes import DEFAULTS, Seen, ruled

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\nX-Key: abc\r\n\r\n"
EVERYTHING = (
    "server_id gpt(2) gpc(3) gpc_rate(3,10s) conn_cnt conn_rate(10s) conn_cur sess_cnt sess_rate(10s) http_req_cnt"
    " http_req_rate(10s) http_err_cnt http_err_rate(10s) http_fail_cnt http_fail_rate(10s) bytes_in_cnt"
    " bytes_in_rate(10s) bytes_out_cnt bytes_out_rate(10s)"
).replace(" ", ",")
TABLES = (
    f"backend all\n stick-table type ip size 10 expire 1m store {EVERYTHING}\n"
    "backend few\n stick-table type ip size 10 store gpc0,gpc0_rate(10s),gpt0\n"
    "backend names\n stick-table type string len 3 size 10 store gpc0\n"
)
#: What is asked where each number in the client's row is another: 101 of the first in the table, and so on.
ASKED = {
    "get_gpt0": "gpt0",
    "get_gpt(1,": "gpt1",
    "get_gpc0": "gpc0",
    "get_gpc1": "gpc1",
    "get_gpc(2,": "gpc2",
    "gpc0_rate": "gpc0_rate",
    "gpc1_rate": "gpc1_rate",
    "gpc_rate(2,": "gpc2_rate",
    "conn_cnt": "conn_cnt",
    "conn_rate": "conn_rate",
    "conn_cur": "conn_cur",
    "sess_cnt": "sess_cnt",
    "sess_rate": "sess_rate",
    "http_req_cnt": "http_req_cnt",
    "http_req_rate": "http_req_rate",
    "http_err_cnt": "http_err_cnt",
    "http_err_rate": "http_err_rate",
    "http_fail_cnt": "http_fail_cnt",
    "http_fail_rate": "http_fail_rate",
    "bytes_in_rate": "bytes_in_rate",
    "bytes_out_rate": "bytes_out_rate",
    "kbytes_in": "bytes_in_cnt",
    "kbytes_out": "bytes_out_cnt",
    "trackers": "",
}


def tables(clock: Clock) -> dict[str, Table]:
    said = read_configuration([Source("t.cfg", DEFAULTS + TABLES)], {}).tables
    return tables_of(said, {}, clock.seconds, [])


class SampleTests(SynchronousTestCase):
    """What a table is asked."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.facts = Seen(HEAD)
        self.facts.tables = self.tables = tables(self.clock)
        self.all = self.tables["all"]
        row = self.all.track("127.0.0.1")
        for number, slot in enumerate(self.all.slots.values(), 101):
            self.all.put(row, slot, number * 1024 if slot.at in self.bytes_at else number)
        self.facts.counters = {1: (self.all, row)}

    @property
    def bytes_at(self) -> set[int]:
        return {self.all.slots[name].at for name in ("bytes_in_cnt", "bytes_out_cnt")}

    def ask(self, text: str) -> Sample:
        return compiled(read_expression(text, "here"))(self.facts)

    def test_each_value_by_counter_source_and_key(self) -> None:
        """All that there are, in all their spellings."""
        asked = set()
        for name, stored in ASKED.items():
            plain, _, number = name.partition("(")
            expected = 1 if not stored else 101 + [*self.all.slots].index(stored)
            shown = plain.removeprefix("get_")
            texts = [f"sc_{plain}({number}1)", f"sc1_{plain}({number[:-1]})", f"127.0.0.1,table_{shown}({number}all)"]
            if stored:
                texts.append(f"src_{plain}({number}all)")
            for text in texts:
                text = f"str({text}".replace(",table", "),table", 1) if text.startswith("127") else text
                self.assertEqual(self.ask(text.replace("()", "")), expected, text)
            asked |= {f"sc{n}_{plain}" for n in ("", 0, 1, 2)} | {f"src_{plain}", f"table_{shown}"}
        changing = {f"{where}_{verb}_gpc{n}" for verb in ("inc", "clr") for n in ("", 0, 1)
                    for where in ("sc", "sc0", "sc1", "sc2", "src", "table")}  # fmt: skip
        rest = {name for name in (*FETCHES, *CONVERTERS) if name.startswith(("sc_", "sc0_", "sc1_", "sc2_", "table_"))}
        rest |= {name for name in FETCHES if name.startswith("src_") and name not in ("src_port", "src_is_local")}
        others = {f"sc{n}_tracked" for n in ("", 0, 1, 2)} | {"src_updt_conn_cnt", "table_cnt", "table_avl"}
        others |= {f"sc{n}_key" for n in ("", 0, 1, 2)}
        others |= {"table_server_id", "table_expire", "table_idle"}
        self.assertEqual(rest - asked - changing - others, set())

    def test_keys_that_are_tracked(self) -> None:
        """Of the type of their table; none where nothing is tracked."""
        types = {"ip": "", "ipv6": "", "integer": "", "string": "", "binary": " len 3"}
        lines = (f"backend {each}\n stick-table type {each}{more} size 9 store gpc0\n" for each, more in types.items())
        said = read_configuration([Source("t.cfg", DEFAULTS + "".join(lines))], {})
        made = tables_of(said.tables, {}, self.clock.seconds, [])
        for name, sample in (
            ("ip", IPv4Address("192.0.2.1")),
            ("ipv6", IPv6Address("2001:db8::1")),
            ("integer", 7),
            ("string", b"a"),
            ("binary", Binary(b"a\0b")),
        ):
            table = made[name]
            key = key_of(sample, table.settings)
            assert key is not None
            self.facts.counters = {2: (table, table.track(key))}
            for text in ("sc_key(2)", "sc2_key"):
                self.assertEqual((self.ask(text), type(self.ask(text))), (sample, type(sample)), text)
        self.assertEqual((self.ask("sc_key(1)"), self.ask("sc0_key")), (None, None))

    def test_an_ipv6_address_has_the_key_of_an_ipv4_one_only_where_it_is_that(self) -> None:
        """Not of one that it holds: a stranger would be allowed, or limited, together with its owner."""
        table = StickTable("t", Place("t.cfg", 1), "ip", 9)
        for address, key in (
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::192.0.2.1", None),
            ("2002:c000:201::1", None),
            ("2001:db8::1", None),
            ("::1", None),
        ):
            self.assertEqual(key_of(ip_address(address), table), key, address)
            self.assertEqual(key_of(address.encode(), table), key, address)

    def test_others(self) -> None:
        for text, value in (
            ("sc_tracked(1)", True),
            ("sc1_tracked", True),
            ("sc0_tracked", False),
            ("sc_tracked(0)", False),
            ("sc1_tracked(few)", True),
            ("sc0_conn_cnt", None),
            ("sc1_get_gpc0(few)", 0),
            ("sc1_conn_cnt(few)", 0),
            ("sc1_get_gpc0(names)", 0),
            ("src_get_gpc0(few)", 0),
            ("src_get_gpc0(names)", 0),
            ("str(10.0.0.1),table_conn_cnt(all)", 0),
            ("str(no),table_conn_cnt(all)", None),
            ("src,in_table(all)", True),
            ("src,in_table(few)", False),
            ("str(no),in_table(all)", None),
            ("src,table_server_id(all)", 101),
            ("src,table_expire(all)", 60000),
            ("src,table_idle(all)", 0),
            ("str(9.9.9.9),table_idle(all,-1)", -1),
            ("str(9.9.9.9),table_expire(all)", None),
            ("table_cnt(all)", 1),
            ("table_avl(all)", 9),
            ("table_cnt(few)", 0),
        ):
            self.assertEqual(self.ask(text), value, text)
        self.facts.tables["few"].obtain("127.0.0.1")
        self.assertIsNone(self.ask("sc1_conn_cnt(few)"), "what is not stored has no value")

    def test_all_members_of_a_field_are_looked_up(self) -> None:
        """As HAProxy's manual has it; HAProxy itself looks at the first only (docs/differences.md)."""
        self.assertEqual(self.ask("str(ab),table_inc_gpc0(names)"), 1)
        rules = "".join(
            f" http-request deny if {{ req.hdr(x-key),{test} }}\n"
            for test in ("in_table(names)", "table_gpc0(names) gt 0", "lower,in_table(names),bool")
        )
        text = f"{DEFAULTS}{TABLES}frontend fe\n bind :80\n{rules} default_backend few\n"
        said = read_configuration([Source("t.cfg", text)], {}).frontends["fe"].rules.request
        for keys, expected in (("ab, x", True), ("x, ab", True), ("x\r\nX-Key: ab", True), ("x, y", False)):
            facts = Seen(f"GET / HTTP/1.1\r\nHost: a\r\nX-Key: {keys}\r\n\r\n".encode())
            facts.tables = self.tables
            self.assertEqual([condition(rule.condition)(facts) for rule in said], [expected] * 3, keys)

    def test_some_change_what_they_ask_for(self) -> None:
        """Unless rules are only asked what they would say."""
        for text, value in (
            ("src_inc_gpc0(few)", 1),
            ("src_inc_gpc0(few)", 2),
            ("src_gpc0_rate(few)", 2),
            ("src_clr_gpc0(few)", 2),
            ("src_get_gpc0(few)", 0),
            ("sc1_inc_gpc(2,few)", 0),
            ("sc_inc_gpc(2,1)", 107),
            ("sc_clr_gpc(2,1)", 107),
            ("sc_get_gpc(2,1)", 0),
            ("src_updt_conn_cnt(all)", 112),
            ("str(abcd),table_inc_gpc0(names)", 1),
            ("str(abcx),table_inc_gpc0(names)", 2),
            ("str(abc),table_clr_gpc0(names)", 2),
        ):
            if text == "sc_inc_gpc(2,1)":
                value = 102 + [*self.all.slots].index("gpc2")
                kept = value
            elif text == "sc_clr_gpc(2,1)":
                value = kept
            elif text.startswith("src_updt"):
                value = 102 + [*self.all.slots].index("conn_cnt")
            self.assertEqual(self.ask(text), value, text)
        self.facts.acts = False
        for text in ("src_inc_gpc0(few)", "src_clr_gpc0(few)", "sc_inc_gpc0(1)"):
            before = self.ask(text)
            self.assertEqual(self.ask(text), before, text)
        self.assertEqual(self.ask("str(new),table_inc_gpc0(names)"), 0)
        self.assertEqual(self.tables["names"].find(b"new"), 0)

    def test_keys(self) -> None:
        """Each type has its own, into which samples are cast."""
        said = "".join(
            f"backend {kind}\n stick-table type {kind} size 9 store gpc0\n" for kind in ("ip", "ipv6", "integer")
        )
        said += "backend text\n stick-table type string len 4 size 9 store gpc0\n"
        said += "backend block\n stick-table type binary len 4 size 9 store gpc0\n"
        made = read_configuration([Source("t.cfg", DEFAULTS + said)], {}).tables
        self.facts.tables = found = tables_of(made, {}, self.clock.seconds, [])
        for text, key in (
            ("str(10.0.0.1),table_inc_gpc0(ip)", "10.0.0.1"),
            ("ipv6(::ffff:10.0.0.2),table_inc_gpc0(ip)", "10.0.0.2"),
            ("int(167772163),table_inc_gpc0(ip)", "10.0.0.3"),
            ("str(255.249.199.9),table_inc_gpc0(ip)", "255.249.199.9"),
            ("str(010.0.0.4),table_inc_gpc0(ip)", "10.0.0.4"),
            ("str(10.0.0.5:80),table_inc_gpc0(ip)", "10.0.0.5"),
            ("str(256.0.0.1),table_inc_gpc0(ip)", None),
            ("ipv6(2001:db8:0::1),table_inc_gpc0(ip)", None),
            ("src,table_inc_gpc0(ip)", "127.0.0.1"),
            ("ipv6(2001:db8:0::1),table_inc_gpc0(ipv6)", "2001:db8::1"),
            ("src,table_inc_gpc0(ipv6)", "::ffff:127.0.0.1"),
            ("src_inc_gpc0(ipv6)", "::ffff:127.0.0.1"),
            ("int(-1),table_inc_gpc0(integer)", 4294967295),
            ("str(12x),table_inc_gpc0(integer)", 12),
            ("src,table_inc_gpc0(integer)", 2130706433),
            ("str(abcdef),table_inc_gpc0(text)", b"abcd"),
            ("int(5),table_inc_gpc0(text)", b"5"),
            ("str(u%00v),url_dec,table_inc_gpc0(text)", b"u"),
            ("str(u%00w%00),url_dec,table_inc_gpc0(text)", b"u"),
            ("str(%00u),url_dec,table_inc_gpc0(text)", b""),
            ("bin(6d006e),table_inc_gpc0(text)", b"m"),
            ("str(%00%01%00%02),url_dec,table_inc_gpc0(block)", b"\0\1\0\2"),
            ("str(ab),table_inc_gpc0(block)", b"ab\0\0"),
            ("bin(0102030405),table_inc_gpc0(block)", b"\1\2\3\4"),
        ):
            name = text.rpartition("(")[2][:-1]
            before = {*map(found[name].key_of, found[name].each())}
            self.ask(text)
            after = {*map(found[name].key_of, found[name].each())}
            self.assertIn(after - before, ({key} if key is not None else set(), set()), text)
            self.assertEqual(key is None or key in after, True, text)

    def test_a_client_without_an_address_has_no_key(self) -> None:
        self.facts.source = ("unix", 0)
        self.assertIsNone(self.ask("src_get_gpc0(few)"))


LIMIT = (
    "stick-table type ip size 10 expire 1m store http_req_rate(10s),http_err_cnt,http_fail_cnt,conn_cur,bytes_out_cnt\n"
    " http-request track-sc0 src\n http-request deny deny_status 429 if { sc_http_req_rate(0) gt 2 }"
)

#: A limit that is counted by the short way.
SHORT = (
    "stick-table type ip size 10 expire 1m store http_req_rate(10s),http_err_cnt\n http-request track-sc0 src\n"
    " http-request deny deny_status 429 if { sc_http_req_rate(0) gt 3 }"
)


class RequestTests(SynchronousTestCase):
    """What is tracked by rules for requests and answers."""

    def values(self, world: Any, name: str = "fe", key: object = "192.0.2.7") -> dict[str, int]:
        table = world.frontend.tables[name]
        row = table.find(key)
        return {name: table.value(row, slot) for name, slot in table.slots.items()} if row else {}

    def test_a_client_has_so_many_requests_in_a_while(self) -> None:
        """Beyond that it is denied, until the rate has fallen; others are not concerned."""
        world = ruled(self, LIMIT, warm=1)
        client, other = world.client(), world.client(("192.0.2.8", 1))
        for _ in range(2):
            client.send(GET)
            self.assertEqual(self.values(world)["conn_cur"], 1)
            world.server.answer()
            client.take()
        client.send(GET)
        self.assertIn(b"429", client.take())
        other.send(GET)
        world.server.answer()
        self.assertEqual(other.take(), OK)
        self.assertEqual(
            [self.values(world)[name] for name in ("http_req_rate", "http_err_cnt", "conn_cur")], [3, 1, 0]
        )
        world.advance(20)
        client = world.client()
        client.send(GET)
        world.server.answer()
        self.assertEqual(client.take(), OK)

    def test_what_the_connection_tracks_is_the_first(self) -> None:
        """As in HAProxy, whether a limit follows or not: a request tracks nothing else by the same counter."""
        for rules in (LIMIT, LIMIT.replace("track-sc0 src\n", "track-sc0 src if { path / }\n")):
            world = ruled(self, rules, warm=1)
            client = world.client()
            world.frontend.tracks = world.frontend.counts_requests = True
            world.frontend.set_guard()
            (connection,) = world.frontend.connections
            table = world.frontend.tables["fe"]
            session_of(connection).counters = {0: (table, table.track("192.0.2.9"))}  # type: ignore[arg-type]
            for _ in range(2):
                client.send(GET)
                world.server.answer()
                self.assertEqual(client.take(), OK)
            client.send(GET)
            self.assertIn(b"429", client.take())
            self.assertEqual((self.values(world), self.values(world, key="192.0.2.9")["http_req_rate"]), ({}, 3))

    def test_rules_for_contents_see_what_came_before(self) -> None:
        """As in HAProxy, a request is counted behind them, whatever has begun to track it; those of its backend see it
        counted, unless they are the first to track it."""
        table = "stick-table type ip size 10 store http_req_cnt,http_err_cnt"
        track, note = "tcp-request content track-sc0 src", "tcp-request content set-var(txn.seen) sc0_http_req_cnt(fe)"
        for front, tracked, back, seen in (
            (f"{track}\n {note}", False, "", [b"0/1", b"1/2", b"2/3"]),
            (f"{note}\n {track}", False, "", [b"/1", b"/2", b"/3"]),
            (note, True, "", [b"0/1", b"1/2", b"2/3"]),
            (f"{track}\n {note}", True, "", [b"0/1", b"1/2", b"2/3"]),
            ("tcp-request content accept", True, note, [b"1/1", b"2/2", b"3/3"]),
            (track, False, note, [b"1/1", b"2/2", b"3/3"]),
            (track, False, f"{track} table fe\n {note}", [b"1/1", b"2/2", b"3/3"]),
            ("http-request track-sc0 src", False, note, [b"1/1", b"2/2", b"3/3"]),
            ("", False, f"{track} table fe\n {note}", [b"0/1", b"1/2", b"2/3"]),
        ):
            end = "http-request set-header X-Seen %[var(txn.seen)]/%[sc0_http_req_cnt(fe)]"
            with self.subTest(front=front, tracked=tracked, back=back):
                world = ruled(self, f"{table}\n {front}", f"{back}\n {end}", warm=1)
                client = world.client()
                world.frontend.tracks = world.frontend.counts_requests = tracked
                world.frontend.set_guard()
                if tracked:
                    fe = world.frontend.tables["fe"]
                    (connection,) = world.frontend.connections
                    session_of(connection).counters = {0: (fe, fe.track("192.0.2.7"))}  # type: ignore[arg-type]
                told = []
                for _ in seen:
                    client.send(GET)
                    told.append(world.server.asked().split(b"X-Seen: ")[1].split(b"\r")[0])
                    world.server.answer(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n")
                    client.take()
                self.assertEqual((told, self.values(world)["http_err_cnt"]), (seen, 3))

    def test_the_monitor_counts_what_it_answers(self) -> None:
        """Also where rules for contents would see it first."""
        for rule in ("", "tcp-request content accept"):
            world = ruled(self, f"stick-table type ip size 10 store http_req_cnt\n monitor-uri /up\n {rule}", warm=1)
            client, table = world.client(), world.frontend.tables["fe"]
            world.frontend.counts_requests = True
            world.frontend.set_guard()
            (connection,) = world.frontend.connections
            session_of(connection).counters = {0: (table, table.track("192.0.2.7"))}  # type: ignore[arg-type]
            client.send(b"GET /up HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertIn(b"200", client.take())
            self.assertEqual(self.values(world), {"http_req_cnt": 1})

    def test_answers_are_judged(self) -> None:
        """4xx is the client's error, 5xx and silence the server's failure, but for 501 and 505."""
        world = ruled(self, LIMIT.replace("gt 2", "gt 99"), warm=1, servers=1)
        client = world.client()
        for status, errors, failures in ((404, 1, 0), (200, 1, 0), (500, 1, 1), (501, 1, 1), (505, 1, 1), (503, 1, 2)):
            client.send(GET)
            world.server.answer(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)
            client.take()
            found = self.values(world)
            self.assertEqual((found["http_err_cnt"], found["http_fail_cnt"]), (errors, failures), status)
        self.assertGreater(self.values(world)["bytes_out_cnt"], 6 * 19)

    def test_answers_are_judged_as_is_said(self) -> None:
        """Of any status, in both ways of counting, and with rules for answers."""
        said = "http-err-codes 400-499 -404 +302\n http-fail-codes 302,503"
        for lines in (LIMIT.replace("gt 2", "gt 99"), SHORT.replace("gt 3", "gt 99")):
            for rules in ("", "\n http-response set-header X 1"):
                world = ruled(self, lines + rules, warm=1, servers=1, global_=said)
                client, counts = world.client(), []
                for status in (200, 302, 404, 403, 500, 503):
                    client.send(GET)
                    world.server.answer(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)
                    client.take()
                    found = self.values(world)
                    counts.append((found["http_err_cnt"], found.get("http_fail_cnt", 0)))
                errors, failures = (0, 1, 1, 2, 2, 2), (0, 1, 1, 1, 1, 2) if "http_fail_cnt" in lines else (0,) * 6
                self.assertEqual(counts, [*zip(errors, failures, strict=True)], (lines, rules))

    def test_a_connection_that_is_kept_alive_is_counted_in_the_entry_that_there_is(self) -> None:
        """It looks for it once, as long as that is its own: one that is removed, and one whose place another client's
        entry has taken, are made anew."""
        world = ruled(self, SHORT, warm=1)
        client, other, table = world.client(), world.client(("192.0.2.8", 1)), world.frontend.tables["fe"]

        def ask(client: Any, status: int = 200) -> tuple[int, ...]:
            """Returns the rate and the errors of the only client that has an entry."""
            client.send(GET)
            (row,) = (row for row in table.each() if table.uses[row])
            world.server.answer(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)
            self.assertTrue(client.take().startswith(b"HTTP/1.1 %d" % status))
            self.assertEqual({*table.uses}, {0})
            return (*(table.value(row, table.slots[name]) for name in ("http_req_rate", "http_err_cnt")),)

        self.assertEqual([ask(client), ask(client), ask(client, 404)], [(1, 0), (2, 0), (3, 1)])
        row = table.find("192.0.2.7")
        self.assertTrue(table.remove(row))
        self.assertEqual([ask(client), ask(client)], [(1, 0), (2, 0)])
        self.assertTrue(table.remove(table.find("192.0.2.7")))
        self.assertEqual([ask(other), table.find("192.0.2.8")], [(1, 0), row])
        self.assertEqual([ask(client), ask(other), ask(client), ask(client)], [(1, 0), (2, 0), (2, 0), (3, 0)])
        client.send(GET)
        self.assertIn(b" 429 ", client.take())
        self.assertEqual(self.values(world, key="192.0.2.8")["http_req_rate"], 2)

    def test_what_changes_as_it_is_asked_is_asked_once(self) -> None:
        """Whichever rule applies in the end."""
        world = ruled(
            self,
            "stick-table type ip size 10 store gpc0,gpt0\n http-request track-sc0 src\n http-request sc-set-gpt0(0) 5\n"
            " http-request deny deny_status 429 if { sc_inc_gpc0(0) gt 3 }\n http-request deny if { path /no }",
            warm=1,
        )
        assert world.frontend.guard is not None
        client = world.client()
        for count, path, status in ((1, "/", 200), (2, "/no", 403), (3, "/", 200), (4, "/", 429), (5, "/no", 429)):
            client.send(GET.replace(b"/ ", path.encode() + b" ", 1))
            if status == 200:
                world.server.answer()
            self.assertIn(b" %d " % status, client.take())
            self.assertEqual(self.values(world), {"gpt0": 5, "gpc0": count})
            if world.frontend.connections == set():
                client = world.client()

    def test_what_is_tracked_besides_ends_with_its_request(self) -> None:
        more = " http-response track-sc1 src table t if { status 203 }"
        world = ruled(self, f"{SHORT}\n{more}", others={"t": "stick-table type ip size 10 store http_req_cnt"}, warm=1)
        client, tracked = world.client(), world.frontend.tables["t"]
        for count, status in ((0, 200), (1, 203), (1, 200)):
            client.send(GET)
            world.server.answer(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)
            client.take()
            row = tracked.find("192.0.2.7")
            self.assertEqual(tracked.value(row, tracked.slots["http_req_cnt"]) if row else 0, count)
            self.assertEqual([{*table.uses} for table in world.frontend.tables.values()], [{0}, {0}])

    def test_a_client_that_leaves_is_tracked_no_more(self) -> None:
        world = ruled(self, LIMIT, warm=1)
        client = world.client()
        client.send(GET)
        self.assertEqual(self.values(world)["conn_cur"], 1)
        client.wire.reset()
        self.assertEqual(self.values(world)["conn_cur"], 0)
        world.check_rest()

    def test_counts_and_tags_of_what_is_tracked(self) -> None:
        """In rules for answers, too; nothing is counted where nothing is tracked."""
        world = ruled(
            self,
            "stick-table type string len 8 size 10 store gpc(2),gpt(2)\n"
            " http-request sc-inc-gpc0(1)\n http-request track-sc1 path\n http-request sc-inc-gpc(1,1)\n"
            " http-request sc-add-gpc(0,1) int(40),add(2)\n http-request sc-set-gpt0(1) 7\n"
            " http-response sc-set-gpt(1,1) status",
            warm=1,
        )
        client = world.client()
        client.send(GET)
        world.server.answer()
        client.take()
        self.assertEqual(self.values(world, key=b"/"), {"gpt0": 7, "gpt1": 200, "gpc0": 42, "gpc1": 1})

    def test_requests_under_way_are_counted_up_and_down(self) -> None:
        """An amount below 0 takes away, whether it stands in the rule or comes from the client."""
        world = ruled(
            self,
            "stick-table type string len 8 size 10 store gpc(2),gpc_rate(2,10s)\n http-request track-sc1 path\n"
            " http-request sc-add-gpc(0,1) 1\n http-request sc-add-gpc(1,1) req.hdr(k)\n"
            " http-request deny if { sc_get_gpc(0,1) gt 1 }\n http-response sc-add-gpc(0,1) int(-1)",
            warm=1,
        )
        client = world.client()
        for amount, left in ((b"1", 1), (b"-1", 0), (b"-1", 2**32 - 1), (b"4294967296", 2**32 - 1), (b"3", 2)):
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nK: %b\r\n\r\n" % amount)
            world.server.answer()
            self.assertIn(b" 200 ", client.take())
            expected = {"gpc0": 0, "gpc1": left, "gpc0_rate": 0, "gpc1_rate": left}
            self.assertEqual(self.values(world, key=b"/"), expected)

    def test_rules_about_contents_come_before_those_about_requests(self) -> None:
        """In mode http they may track and count, as many configurations have it."""
        world = ruled(
            self,
            "stick-table type ip size 10 store http_req_cnt,gpc0\n"
            " http-request deny if { sc0_get_gpc0 ge 2 }\n"
            " tcp-request content track-sc0 src\n tcp-request content sc-inc-gpc0(0)",
            warm=1,
        )
        client = world.client()
        client.send(GET)
        world.server.answer()
        self.assertEqual(client.take(), OK)
        client.send(GET)
        self.assertIn(b"403", client.take())
        self.assertEqual(self.values(world), {"gpc0": 2, "http_req_cnt": 2})

    def test_an_answer_tracked_late_counts_as_it_is(self) -> None:
        world = ruled(
            self,
            "stick-table type integer size 10 store http_req_cnt,http_err_cnt,http_fail_cnt\n"
            " http-response track-sc0 status",
            warm=1,
        )
        client = world.client()
        for status in (404, 500, 200):
            client.send(GET)
            world.server.answer(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)
            client.take()
        found = {status: [*self.values(world, key=status).values()] for status in (404, 500, 200)}
        self.assertEqual(found, {404: [1, 1, 0], 500: [1, 0, 1], 200: [1, 0, 0]})


class ReadTests(SynchronousTestCase):
    """What is refused, and what has a warning."""

    def faults(self, lines: str, table: str = "type ip size 10 store gpc0") -> tuple[list[str], list[str]]:
        text = (
            f"{DEFAULTS}frontend f\n bind :80\n stick-table {table}\n {lines}\n default_backend b\n"
            "backend b\n server s h:1\n"
        )
        try:
            return [], [each.text for each in read_configuration([Source("t.cfg", text)], {}).notices]
        except ConfigurationError as error:
            return [fault.text for fault in error.faults], []

    def test_each_wrong_line_says_why(self) -> None:
        for lines, why in (
            ("http-request track-sc0", "needs what is counted"),
            ("http-request track-sc0 src table", "'table' needs one name"),
            ("http-request track-sc0 src tables x", "'table' and a name can follow"),
            ("http-request track-sc0 src table no", "there is no table 'no'"),
            ("http-request track-sc3 src", "there is no counter 3: they are 0 to 2"),
            ("http-request track-sc0 bin(01)", "'bin(01)' gives bin, which cannot be a key of table 'f' (type ip)"),
            ("http-request sc-inc-gpc(1)", "write sc-inc-gpc(<number>,<counter>)"),
            ("http-request sc-inc-gpc0(1,2)", "write sc-inc-gpc0(<counter>)"),
            ("http-request sc-inc-gpc(100,0)", "at most 100 of them"),
            ("http-request sc-inc-gpc0(0) 5", "'5' is too much"),
            ("http-request sc-set-gpt0(0)", "needs one number or expression"),
            ("http-request sc-set-gpt0(0) bin(01)", "is no number and cannot become one"),
            ("http-request deny if { src_get_gpc0(no) gt 0 }", "there is no table 'no'"),
            ("log-format %[src_get_gpc0(no)]", "there is no table 'no'"),
            ("unique-id-format %[sc_get_gpc0(7)]", "there is no counter 7"),
            ("http-request deny if { src,table_gpc0(no) gt 0 }", "there is no table 'no'"),
            ("http-request deny if { sc_get_gpc0(7) gt 0 }", "there is no counter 7"),
            (
                "http-after-response track-sc0 src",
                "'track-sc0' cannot be done there, only by 'http-request' and 'http-response'",
            ),
            ("tcp-request connection track-sc0 hdr(x)", "needs a request, which is not at hand"),
            ("tcp-request connection track-sc0 ssl_c_s_dn", "needs a TLS handshake, which is not at hand"),
        ):
            found, _ = self.faults(lines)
            self.assertTrue(any(why in each for each in found), (lines, found))

    def test_each_wrong_table_says_why(self) -> None:
        for line, why in (
            ("type ip", "needs 'size'"),
            ("size 10", "needs 'type'"),
            ("type url size 10", "'type' is one of"),
            ("type ip len 5 size 10", "take 'len' out"),
            ("type string len 0 size 10", "'len'"),
            ("type ip size 10 store gpc9", "'store'"),
            ("type ip size 10 store http_req_rate", "takes a period"),
            ("type ip size 10 store gpc0(5)", "takes nothing"),
            ("type ip size 10 store gpc(101)", "between 1 and 100"),
            ("type ip size 10 store gpc(2),gpc0", "'gpc0' is the first or second of 'gpc'"),
            ("type ip size 10 store gpc0,,gpc1", "with commas between them"),
            ("type ip size 10 peers none", "there is no section 'peers none'"),
            ("type ip size 10 write-to x", "does not do yet"),
            ("type ip size 10 expire", "'expire' needs a value"),
            ("type ip size 10 srvkey id", "'srvkey' is one of"),
            ("type ip size 10\n stick-table type ip size 5", "stands already"),
        ):
            found, _ = self.faults("", line)
            self.assertTrue(any(why in each for each in found), (line, found))

    def test_what_has_no_value_has_a_warning(self) -> None:
        """In HAProxy such a rule never holds, and lets all pass in silence."""
        for lines, why in (
            ("http-request deny if { src_http_req_rate gt 5 }", "table 'f' does not store http_req_rate"),
            ("http-request deny if { src,table_conn_cnt(f) gt 5 }", "table 'f' does not store conn_cnt"),
            ("http-request deny if { sc0_get_gpc0 gt 5 }", "no rule has 'track-sc0'"),
            ("http-request sc-inc-gpc0(1)", "nothing is tracked by 'track-sc1'"),
            (
                "http-request track-sc0 src\n http-request deny if { sc0_conn_cur gt 5 }",
                "table 'f' does not store conn_cur",
            ),
        ):
            found, notices = self.faults(lines)
            self.assertEqual(found, [])
            self.assertTrue(any(why in each for each in notices), (lines, notices))
        for lines in (
            "http-request track-sc0 src\n http-request deny if { sc0_inc_gpc0 gt 5 }",
            "http-request deny if { src_clr_gpc0 gt 5 } { src,table_gpc(0,f) gt 1 }",
            "tcp-request content track-sc0 src\n http-request deny if { sc_get_gpc0(0) gt 5 }",
        ):
            self.assertEqual(self.faults(lines), ([], []), lines)

    def test_what_an_array_does_not_have_has_a_warning(self) -> None:
        table = "type ip size 10 expire 5s store gpc(2),gpt(3)"
        for asked, number in (("src_get_gpc(2,f)", 2), ("src,table_gpt(3,f)", 3), ("sc_get_gpc(5,0)", 5)):
            rules = f"http-request track-sc0 src\n http-request deny if {{ {asked} gt 0 }}"
            found, notices = self.faults(rules, table)
            self.assertEqual(found, [])
            self.assertTrue(any(f"with the number {number}" in each for each in notices), (asked, notices))
        for asked in ("src_get_gpc(1,f)", "src,table_gpt(2,f)", "sc_get_gpc(0,0)"):
            rules = f"http-request track-sc0 src\n http-request deny if {{ {asked} gt 0 }}"
            self.assertEqual(self.faults(rules, table), ([], []))

    def test_the_table_of_the_section_is_meant_wherever_none_is_named(self) -> None:
        """In rules, conditions, what is hashed, and names of servers; also where rules come from `defaults`."""
        text = (f"{DEFAULTS}defaults d from\n mode http\n http-request deny if {{ src_get_gpc0 gt 0 }}\n").replace(
            "defaults d from", "defaults d"
        )
        text += (
            " timeout connect 5s\n timeout client 30s\n timeout server 60s\n"
            "listen l from d\n bind :80\n stick-table type ip size 10 store gpc0\n balance hash src_get_gpc0\n"
            " http-request track-sc0 src\n acl bad src_get_gpc0 gt 1\n use-server s if bad\n stick on src\n"
            " server s h:1 ssl verify none sni src_get_gpc0\n"
        )
        said = read_configuration([Source("t.cfg", text)], {})
        found = repr((said.frontends["l"], said.backends["l"]))
        self.assertEqual(found.count("'src_get_gpc0', arguments=('l',)"), found.count("'src_get_gpc0'"))
        self.assertGreater(found.count("'src_get_gpc0'"), 4)
        self.assertNotIn("table=''", found)

    def test_other_machines_are_refused(self) -> None:
        """Who is kept out there would not be here. One that is alone is this one."""
        for text, faults in (
            ("peers p\n peer me 192.0.2.1:1024\n", 0),
            ("peers p\n peer me 192.0.2.1:1024\n peer other 192.0.2.2:1024\n", 2),
            ("global\n localpeer me\npeers p\n peer me 192.0.2.1:1024\n peer other 192.0.2.2:1024\n", 1),
            ("peers p\n disabled\n peer me 192.0.2.1:1024\n peer other 192.0.2.2:1024\n", 0),
        ):
            try:
                read_configuration([Source("t.cfg", DEFAULTS + text)], {})
                found = []
            except ConfigurationError as error:
                found = [fault.text for fault in error.faults]
            self.assertEqual(len(found), faults, text)
            self.assertTrue(all("is another machine" in each for each in found), found)
