"""What a doctor makes of what it has seen, how it says that, and the words that it takes."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config import model
from reusedproxy.config.model.proxies import Spread
from reusedproxy.config.model.values import Place
from reusedproxy.doctor.examination import Bounds, wanted
from reusedproxy.doctor.judge import ADVICE, FINE, SKIPPED, TROUBLE, Finding, Line, findings_of
from reusedproxy.doctor.machine import findings_of_machine
from reusedproxy.doctor.observations import HEAD, OPTIONS, USUAL, Asked, Observed, Opened, Refusal, Stood
from reusedproxy.doctor.options import DoctorOptions
from reusedproxy.doctor.report import Chapter, json_of, text_of
from reusedproxy.net.dial import DialFailure
from tests.wire import scratch

SERVER = model.Server("s", Place("a.cfg", 1), "192.0.2.1", 80)
FIRST = Opened(0.001, 0.0, False)


def asked(role: str, what: str, status: int | None = 200, kept: bool = True, reason: str = "") -> Asked:
    return Asked(role, what, status, kept, reason, 0.01)


def line(check: model.HTTPCheck | None = None, checked: bool = False, **limits: Any) -> Line:
    settings = evolve(SERVER, pool=model.PoolLimits(**limits), check=model.Check() if checked else None)
    return Line(settings, None, check, 100.0)


def seen(**more: Any) -> Observed:
    return Observed("b/s", first=FIRST, complete=True, **more)


class JudgeTests(SynchronousTestCase):
    def of(self, observed: Observed, settings: Line, topic: str) -> Finding:
        return next(each for each in findings_of(observed, settings, 0.0) if each.topic == topic)

    def test_trouble_comes_first(self) -> None:
        observed = seen(requests=[asked(USUAL, "GET /", 503, False, "x")], unused=Stood(1.0, "closed by peer"))
        levels = [each.level for each in findings_of(observed, line(min_conn=4), 0.0)]
        self.assertEqual(levels, sorted(levels, key=(TROUBLE, ADVICE, SKIPPED, FINE).index))
        self.assertEqual({*levels}, {TROUBLE, ADVICE, FINE})

    def test_what_a_failed_dial_means(self) -> None:
        for failure, word in (
            (DialFailure("TCP connect", "", timed_out=True), "whether a firewall drops"),
            (DialFailure("TCP connect", "Connection refused"), "whether the server listens"),
            (DialFailure("TCP connect", "no connection can come from there (source 192.0.2.7): x"), "'source' names"),
            (DialFailure("TCP connect", "Too many open files", ours=True), "ulimit -n"),
        ):
            (found,) = findings_of(Observed("b/s", refusal=Refusal(failure)), line(), 0.0)
            self.assertEqual(found.level, TROUBLE)
            self.assertIn(word, found.remedy)

    def test_an_option_that_ends_each_connection_is_named(self) -> None:
        """Every user who comes from HAProxy's old examples has it, and wonders why nothing is used again."""
        requests = [asked(USUAL, "GET /"), asked(USUAL, "GET /")]
        for option in ("option http-server-close", "option httpclose"):
            for floor, level in ((0, ADVICE), (4, TROUBLE)):
                ended = evolve(line(min_conn=floor), ends_each=option)
                found = self.of(seen(requests=requests), ended, "option")
                self.assertEqual(found.level, level)
                self.assertIn(f"the backend has '{option}': each connection ends with its first answer", found.text)
                self.assertIn("it may stand in 'defaults'", found.remedy)
        topics = {each.topic for each in findings_of(seen(requests=requests), line(), 0.0)}
        self.assertNotIn("option", topics)

    def test_a_floor_that_churns_gets_pings_that_keep_it(self) -> None:
        """By the check's request where there is one, by OPTIONS * where that keeps connections, by a check that does;
        else only the server's time-out helps."""
        unused = Stood(2.0, "closed by peer")
        get = asked(USUAL, "GET /up")
        kept, ended = asked(OPTIONS, "OPTIONS *"), asked(OPTIONS, "OPTIONS *", 400, False, "server asked to close")
        check = model.HTTPCheck(method="GET", uri="/up")
        for requests, settings, words in (
            ([ended, get, get], line(check, min_conn=4), ", say 'idle-ping 1000ms', or say a smaller"),
            ([kept, get, get], line(min_conn=4), ", say 'idle-ping 1000ms', or say a smaller"),
            ([ended, get, get], line(min_conn=4), "'idle-ping 1000ms' with 'option httpchk GET /up', which keeps"),
            ([], line(min_conn=4), "'client_header_timeout'), or say a smaller 'pool-min-conn'"),
        ):
            found = self.of(seen(requests=requests, unused=unused), settings, "floor")
            self.assertEqual(found.level, ADVICE)
            self.assertIn("unused it costs 4 connects a second, since the server closes after 2 s", found.text)
            self.assertIn(words, found.remedy)

    def test_what_a_floor_costs_otherwise(self) -> None:
        """It is pinged; it stands; it is used rarely enough; it is not there."""
        get = [asked(USUAL, "GET /")]
        for observed, settings, words in (
            (seen(requests=get, unused=Stood(2.0, "x")), line(min_conn=4, idle_ping=2.0), "costs 2 pings a second"),
            (seen(unused=Stood(10.0)), line(min_conn=4), "costs less than 0.4 connects a second"),
            (seen(unused=Stood(60.0, "x")), line(min_conn=4), "costs 0.074 connects a second"),
            (seen(), line(), "a floor of 4 (there is none) takes 4 descriptors"),
        ):
            found = self.of(observed, settings, "floor")
            self.assertEqual(found.level, FINE)
            self.assertIn(words, found.text)

    def test_what_a_connect_takes_decides_nothing(self) -> None:
        """It is another time at each look."""
        tcp = {self.of(Observed("b/s", first=Opened(each, 0.0, False)), line(), "floor").level for each in (1e-4, 0.9)}
        self.assertEqual(tcp, {FINE})
        tls = evolve(line(), settings=evolve(SERVER, pool=model.PoolLimits(), tls=model.ServerTLS("ca", "crt")))
        for each in (1e-4, 0.9):
            found = self.of(Observed("b/s", first=Opened(each, each, False)), tls, "floor")
            self.assertEqual(found.level, ADVICE)

    def test_what_is_fine_has_no_remedy(self) -> None:
        found = self.of(seen(), line(), "floor")
        self.assertEqual((found.level, found.remedy), (FINE, ""))
        self.assertIn("; 'pool-min-conn auto' (or 4) would spare a request that finds no connection 1 ms", found.text)

    def test_some_milliseconds_beside_a_limit_decide_nothing(self) -> None:
        for near in (9.997, 10.003):
            observed = seen(used=Stood(near, "closed by peer"))
            topics = [(each.level, each.topic) for each in findings_of(observed, line(idle_timeout=10.0), 0.0)]
            self.assertNotIn((ADVICE, "idle-used"), topics)

    def test_nodes_behind_one_address_are_said(self) -> None:
        """By certificates, or by the header of `pool-spread`; one that is not there is trouble."""
        header, cert = Spread("x-node"), Spread()
        for observed, settings, level, words in (
            (seen(serials=["a", "b", "a"]), line(), ADVICE, "3 connections were shown 2 different certificates"),
            (seen(serials=["a", "b", "a"]), line(spread=cert), FINE, "3 connections came to 2 nodes by certificate"),
            (seen(serials=["a"]), line(spread=cert), FINE, "1 connection came to 1 node by certificate"),
            (seen(named=["a", "b"]), line(spread=header), FINE, "answers came from 2 nodes by header x-node"),
            (seen(named=["a", ""]), line(spread=header), TROUBLE, "an answer has no such header"),
        ):
            found = self.of(observed, settings, "nodes")
            self.assertEqual(found.level, level)
            self.assertIn(words, found.text)
        topics = [each.topic for each in findings_of(seen(serials=["a", "a"]), line(), 0.0)]
        self.assertNotIn("nodes", topics)

    def test_pings_that_would_stop_are_said(self) -> None:
        ended = asked(OPTIONS, "OPTIONS *", 405, False, "server asked to close")
        get = asked(USUAL, "GET /")
        found = self.of(seen(requests=[ended, get, get]), line(idle_ping=2.0), "ping")
        self.assertEqual(found.level, ADVICE)
        self.assertIn("'option httpchk GET /URI'", found.remedy)
        checked = line(model.HTTPCheck(method="GET"), idle_ping=2.0)
        self.assertEqual(self.of(seen(requests=[ended, get, get]), checked, "ping").level, FINE)

    def test_answers_are_judged_as_the_check_does(self) -> None:
        check = model.HTTPCheck(method="GET", expect=((200, 204),))
        for status, settings, level in (
            (200, line(check, checked=True), FINE),
            (301, line(check, checked=True), TROUBLE),
            (301, line(evolve(check, expect_not=True), checked=True), FINE),
            (301, line(check), FINE),
            (404, line(), FINE),
            (503, line(), TROUBLE),
            (None, line(), TROUBLE),
        ):
            found = self.of(seen(requests=[asked(USUAL, "GET /", status)]), settings, "request")
            self.assertEqual(found.level, level, (status, settings))

    def test_methods_that_get_no_answer_are_no_trouble(self) -> None:
        lost = asked(HEAD, "HEAD /", None, False, "none came within 5 s")
        found = self.of(seen(requests=[lost, asked(USUAL, "GET /")]), line(), "ping")
        self.assertEqual((found.level, found.text[:38]), (FINE, "HEAD / gets no answer: none came withi"))

    def test_how_many_it_bears(self) -> None:
        for observed, level, words in (
            (seen(wanted=6, stood=6, served=True), FINE, "bears 6 connections at once"),
            (seen(wanted=6, stood=3, short="Connection refused"), TROUBLE, "'pool-min-conn 2' or less"),
            (seen(wanted=6, stood=6, served=False), TROUBLE, "a 'pool-min-conn' below its workers"),
            (seen(wanted=90, stood=80, short="reset"), ADVICE, "or raise what the server takes"),
        ):
            found = self.of(observed, line(min_conn=6), "connections")
            self.assertEqual(found.level, level)
            self.assertIn(words, f"{found.text} {found.remedy}")

    def test_a_limit_that_is_never_reached(self) -> None:
        found = [
            each
            for each in findings_of(seen(used=Stood(5.0, "closed by peer")), line(idle_timeout=30.0), 0.0)
            if each.level == ADVICE
        ]
        self.assertEqual(
            [each.text for each in found], ["'pool-idle-timeout' 30s is never reached: the server closes before"]
        )

    def test_what_keep_alive_announces(self) -> None:
        observed = seen(requests=[asked(USUAL, "GET /")], advertised=(5.0, 100))
        self.assertIn("timeout=5, max=100", self.of(observed, line(), "advertised").text)

    def test_checks_that_go_elsewhere_are_said(self) -> None:
        settings = evolve(line(), settings=evolve(SERVER, check=model.Check(addr="192.0.2.9", port=81)))
        self.assertIn("(192.0.2.9:81)", self.of(seen(), settings, "check").text)

    def test_how_many_are_tried(self) -> None:
        """The floor, at most 8; or as many as are asked for."""
        self.assertEqual([wanted(Bounds(), floor) for floor in (0, 4, 20)], [0, 4, 8])
        self.assertEqual(wanted(Bounds(connections=20), 4), 20)


class MachineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.proxy: Any = type("Proxy", (), {"maxconn": 10, "pools": []})()
        self.file = scratch(self) / "slow_start"

    def test_a_setting_of_tcp_that_makes_idle_connections_slow(self) -> None:
        for said, level in (("1\n", ADVICE), ("0\n", FINE)):
            self.file.write_text(said)
            found = {each.topic: each for each in findings_of_machine(self.proxy, self.file)}
            self.assertEqual(found["slow-start"].level, level)
        absent = [each.topic for each in findings_of_machine(self.proxy, Path("/nonexistent"))]
        self.assertEqual(absent, ["descriptors"])

    def test_floors_beyond_the_descriptors(self) -> None:
        self.patch(resource, "getrlimit", lambda which: (1000, 1000))
        limits = type("Limits", (), {"min_conn": 2000})()
        self.proxy.pools = [type("Pool", (), {"limits": limits})()]
        (found,) = findings_of_machine(self.proxy, Path("/nonexistent"))
        self.assertEqual(found.level, TROUBLE)
        self.assertIn("pool-min-conn asks for 2000 connections in all, and the limit is 1000", found.text)


class ReportTests(SynchronousTestCase):
    chapters = (
        Chapter("b/well", "192.0.2.1:80", [Finding(FINE, "connect", "connected")]),
        Chapter("b/bad", "192.0.2.2:80", [Finding(TROUBLE, "connect", "refused \x1b[2J", "look " * 30)]),
        Chapter("", "", [Finding(FINE, "descriptors", "enough")]),
    )

    def test_the_troubled_come_first_and_the_machine_last(self) -> None:
        text = text_of(self.chapters, True)
        heads = [each for each in text.splitlines() if each and not each.startswith(" ")]
        self.assertEqual(
            heads,
            [
                "b/bad  192.0.2.2:80  TROUBLE",
                "b/well  192.0.2.1:80  well",
                "this machine  well",
                "1 of 2 servers in trouble",
            ],
        )
        self.assertIn("  !! refused ?[2J\n      -> look look", text)
        self.assertLessEqual(max(map(len, text.splitlines())), 112)

    def test_servers_of_which_the_same_is_said_share_a_block(self) -> None:
        """Those of a template, say."""
        bad = [Chapter(f"b/s{each}", "app.test", [Finding(TROUBLE, "address", "none")]) for each in range(20)]
        self.assertEqual(
            text_of(bad, True).splitlines(),
            ["b/s0 and 19 more  app.test  TROUBLE", "  !! none", "", "20 of 20 servers in trouble"],
        )

    def test_an_early_end_is_said(self) -> None:
        self.assertIn("ended early", text_of(self.chapters, False).splitlines()[-1])
        self.assertIn("none in trouble", text_of(self.chapters[:1], True))
        skipped = Chapter("b/off", "", [Finding(SKIPPED, "skipped", "off")])
        self.assertIn("\n1 server examined, none", text_of([self.chapters[0], skipped], True))

    def test_programs_are_told_the_same(self) -> None:
        said = json.loads(json_of(self.chapters, False))
        self.assertEqual((said["finished"], said["trouble"]), (False, True))
        self.assertEqual([each["verdict"] for each in said["servers"]], ["fine", "trouble"])
        self.assertEqual(said["servers"][0]["findings"][0]["remedy"], None)
        self.assertEqual(said["machine"][0]["topic"], "descriptors")


class OptionsTests(SynchronousTestCase):
    def parse(self, *words: str) -> DoctorOptions:
        options = DoctorOptions()
        options.parseOptions([*words])  # type: ignore[no-untyped-call]
        return options

    def test_servers_and_options_in_any_order(self) -> None:
        options = self.parse("b", "--config", "f", "c/s", "--idle=30s", "--connections", "20", "--json")
        self.assertEqual((options.servers, options["config"]), (["b", "c/s"], ["f"]))
        self.assertEqual((options.idle, options.limit, options.connections), (30.0, 90.0, 20))
        self.assertTrue(options["json"])

    def test_times_are_seconds_unless_they_say_otherwise(self) -> None:
        options = self.parse("-f", "f", "--idle", "3", "--time-limit", "500ms")
        self.assertEqual((options.idle, options.limit), (3.0, 0.5))

    def test_what_is_wrong_is_said(self) -> None:
        for words, said in (
            ((), "no configuration: say --config FILE"),
            (("-f", "f", "--idle", "x"), "--idle: "),
            (("-f", "f", "--idle", "2h"), "--idle: at most 3600s"),
            (("-f", "f", "--connections", "0"), "--connections needs a number from 1 to 1000, not '0'"),
            (("-f", "f", "--connections", "many"), "not 'many'"),
        ):
            self.assertIn(said, str(self.assertRaises(UsageError, self.parse, *words)))
