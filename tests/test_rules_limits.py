"""The usual limit on requests, made of two rules at once, does what the two do one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.tables import tables_of
from reusedproxy.config.model.proxies import Configuration
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.rules.rule_set import RuleSet, run
from reusedproxy.tables.table import Table
from tests.rulefakes import DEFAULTS, Seen

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
TEXT = (
    "frontend f\n bind :1\n default_backend b\n stick-table type {type} size {size} expire {expire} store {stored}\n"
    " http-request track-sc0 {key}\n http-request deny if {{ {condition} }}\n{more}backend b\n"
    " stick-table type ip size 5 expire 20s store http_req_rate(10s)\n server s 192.0.2.1:1\n"
)
USUAL = {
    "type": "ip",
    "size": "5",
    "expire": "20s",
    "stored": "http_req_rate(10s)",
    "key": "src",
    "condition": "sc_http_req_rate(0) gt 2",
    "more": "",
}
#: A second limit, by the same counter or another one.
SECOND = " http-request track-sc{0} src table {1}\n http-request deny if {{ sc_http_req_rate({0}) gt 3 }}\n"
HOSTS = ("192.0.2.1", "192.0.2.2", "2001:db8::1", "::ffff:192.0.2.1", "unix")


class Asked(Seen):
    """A request from this host."""

    own_source: Any = None

    def __init__(self, client: SimpleNamespace, tables: Mapping[str, Table], now: float) -> None:
        Seen.__init__(self, HEAD)
        self.tables = tables
        self.client = client
        self.read = now

    @property
    def source(self) -> Any:  # type: ignore[override]
        return self.own_source or self.client.address


class Side:
    """The rules with the tables that they are for at hand, or without; and with their guard asked before, or not."""

    def __init__(self, configuration: Configuration, clock: Clock, *, at_hand: bool, guarded: bool = False) -> None:
        self.tables = tables_of(configuration.tables, {}, clock.seconds, [])
        rules = configuration.frontends["f"].rules
        self.rule_set = (RuleSet(rules, tables=self.tables) if at_hand else RuleSet(rules)).compiled()
        self.guard = self.rule_set.guard if guarded else None
        self.spared = 0
        self.clock = clock
        self.under_way: list[Asked] = []
        self.clients: dict[tuple[str, int], SimpleNamespace] = {}

    def ask(self, host: str, which: int, own: str | None) -> object:
        """A request on a connection from this host: on one of those that there are, or (`which` 0) the only one."""
        client = SimpleNamespace(address=(host, 4711), known_entry=None, last=not which, session=None)
        if which:
            client = self.clients.setdefault((host, which), client)
        request = Asked(client, self.tables, self.clock.seconds())
        request.own_source = None if own is None else (own, 1)
        self.under_way.append(request)
        # A guard is asked before rules can have said where a request comes from.
        passes = own is None and self.guard is not None and not self.guard(request)
        self.spared += passes
        return None if passes else run(self.rule_set.request, request, request.passed), [
            (number, row) for number, (_, row) in (request.counters or {}).items()
        ]

    def end(self, which: int) -> None:
        for table, row in (self.under_way.pop(which).counters or {}).values():
            table.leave(row)

    def known(self) -> object:
        return [
            (
                table.key_of(row),
                table.uses[row],
                table.idle(row),
                [table.value(row, each) for each in table.slots.values()],
            )
            for table in self.tables.values()
            for row in table.each()
        ]


class LimitTests(SynchronousTestCase):
    def sides(self, clock: Clock, **words: str) -> list[Side]:
        text = DEFAULTS + TEXT.format(**{**USUAL, **words})
        configuration = read_configuration([Source("t.cfg", text)], {})
        return [
            Side(configuration, clock, at_hand=at_hand, guarded=guarded)
            for at_hand, guarded in ((True, False), (False, False), (True, True))
        ]

    def test_who_is_behind_another_proxy_is_not_the_proxy(self) -> None:
        """`fc_src` is where the connection comes from, and `src` whom a header has named."""
        for key, tracked in (("src", "192.0.2.1"), ("fc_src", "127.0.0.1")):
            for side in self.sides(Clock(), key=key):
                side.ask("192.0.2.1", 0, None)
                table = side.tables["f"]
                self.assertEqual([table.key_of(row) for row in table.each()], [tracked])

    def test_it_does_what_two_rules_do(self) -> None:
        """Whoever asks, whatever is stored and asked, in whichever order requests begin and end."""
        for words in (
            {},
            {"size": "100k"},
            {"expire": "4s"},
            {"expire": "10s"},
            {"condition": "sc_http_req_rate(0) gt 6"},
            {"condition": "sc0_http_req_rate lt 2"},
            {"condition": "sc_http_req_rate(0) 2:3"},
            {"condition": "sc_http_req_rate(0) gt 2 } { src 192.0.2.2"},
            {"condition": "sc_http_req_rate(0) gt 2 } !{ src 192.0.2.2"},
            {"condition": "sc_http_req_rate(1) gt 1"},
            {"condition": "sc_http_req_rate(0),add(1) gt 2"},
            {"stored": "http_req_rate(10s),http_err_rate(5s),gpc0"},
            {"stored": "http_req_rate(10s),http_req_cnt,conn_cur"},
            {"stored": "http_req_rate(10s),gpc0", "condition": "sc_get_gpc0(0) gt 1"},
            {"stored": "gpc0", "condition": "sc_inc_gpc0(0) gt 2"},
            {"stored": "http_req_rate(10s),gpc0,conn_cur", "condition": "sc_inc_gpc0(0) gt 2"},
            {"type": "ipv6"},
            {"more": SECOND.format(1, "b")},
            {"more": SECOND.format(1, "f")},
            {"more": SECOND.format(0, "b")},
            {"more": SECOND.format(1, "b") + SECOND.format(2, "f")},
            {"key": "hdr(host)", "type": "string len 9"},
            {"key": "src if { path / }", "stored": "http_req_cnt,http_req_rate(10s),gpc0"},
            {"key": "src if !{ src 192.0.2.2 }"},
            {"condition": "src_http_req_rate(f) gt 2"},
            {"condition": "sc0_tracked(b)"},
            {"condition": "sc_http_req_rate(0,b) gt 2"},
            {"condition": "sc_inc_gpc0(0) gt 2", "stored": "gpc0,http_req_rate(10s)"},
            {"condition": "path /x } || { sc_http_req_rate(0) gt 3"},
            {"condition": "sc_http_req_rate(0) gt 3 } || { sc0_get_gpc0 gt 0", "stored": "gpc0,http_req_rate(10s)"},
            {"condition": "path_reg ^/$ } { sc_http_req_rate(0) gt 3"},
            {"more": " http-request deny if { sc_http_req_rate(0) lt 2 } !{ path /x }\n"},
            {"condition": "sc_inc_gpc0(0) gt 2", "stored": "gpc0", "more": " http-request deny if { src 192.0.2.2 }\n"},
            {"condition": "sc_inc_gpc0(0) gt 1 } { src 192.0.2.1", "stored": "gpc0,http_req_rate(10s)"},
            {"condition": "sc_clr_gpc0(0) gt 1", "stored": "gpc0", "more": " http-request sc-inc-gpc0(0)\n"},
            {
                "stored": "gpc0,gpt0,http_req_rate(10s)",
                "more": " http-request sc-inc-gpc0(0)\n http-request sc-set-gpt0(0) 3 if { src_get_gpc0(f) gt 2 }\n"
                " http-request deny if { sc0_get_gpt0 3 }\n http-request deny if { src 192.0.2.2 }\n",
            },
            {
                "more": " http-request deny if { src_http_req_rate(f) gt 3 }\n http-request track-sc1 src table f\n"
                " http-request deny if { src 192.0.2.2 }\n"
            },
            {
                "more": " http-request track-sc1 src table f if { src 192.0.2.1 }\n"
                " http-request deny if { sc1_tracked }\n"
            },
            {"more": " http-request track-sc1 src table f\n http-request deny if { src 192.0.2.2 }\n"},
            {"more": " http-request track-sc1 src table b\n http-request deny if { src_http_req_rate(b) gt 1 }\n"},
            {
                "more": " http-request sc-inc-gpc0(0) if { sc_http_req_rate(0) gt 1 }\n",
                "stored": "http_req_rate(10s),gpc0",
            },
        ):
            chance, clock = Random(7), Clock()
            clock.advance(1000)
            sides = self.sides(clock, **words)
            for step in range(600):
                if chance.random() < 0.55 and sides[0].under_way:
                    which = chance.randrange(len(sides[0].under_way))
                    for side in sides:
                        side.end(which)
                else:
                    host, own = chance.choice(HOSTS), chance.choice((*[None] * 9, *HOSTS))
                    which = chance.randrange(4)
                    one, other, guarded = (side.ask(host, which, own) for side in sides)
                    self.assertEqual(one, other, (words, step))
                    self.assertEqual(one, guarded, (words, step))
                self.assertEqual(sides[0].known(), sides[1].known(), (words, step))
                self.assertEqual(sides[0].known(), sides[2].known(), (words, step))
                clock.advance(chance.choice((0, 0, 0, 0, 0.01, 0.5, 1, 2, 5) if step % 50 else (25,)))
            self.assertEqual(sides[2].spared > 0, sides[0].rule_set.guard is not None, words)

    def test_the_usual_one_is_one_step(self) -> None:
        one, other, _ = self.sides(Clock())
        self.assertEqual((len(one.rule_set.request), len(other.rule_set.request)), (1, 2))
        one, _, _ = self.sides(Clock(), key="src if { path / }")
        self.assertEqual(len(one.rule_set.request), 2)
