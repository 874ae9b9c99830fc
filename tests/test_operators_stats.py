"""The statistics: CSV that HAProxy's readers understand, and a page for people."""

import re
import socket
import sys
from collections.abc import Iterator
from csv import DictReader
from itertools import pairwise
from random import Random
from time import localtime, strftime
from types import SimpleNamespace
from typing import Any
from weakref import ref

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy import __version__
from reusedproxy.backends.checks.results import Result
from reusedproxy.backends.server import DOWN, DRAIN, MAINT, READY, UP
from reusedproxy.build.assembly import Assembly
from reusedproxy.config.model.tls import ServerTLS
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.exchanges.own_answers import head_of
from reusedproxy.measures.traffic import Traffic
from reusedproxy.net.poller import Poller
from reusedproxy.net.slices import Steps, run_through
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.operators.metrics.groups import duration, groups, number
from reusedproxy.operators.stats import handler
from reusedproxy.operators.stats import moment as moment_module
from reusedproxy.operators.stats import page as statspage
from reusedproxy.operators.stats.csv import pieces_of_csv
from reusedproxy.operators.stats.figures import ALL_COLUMNS, COLUMNS, POOL_COLUMNS, Row, Section, sections_of
from reusedproxy.operators.stats.handler import StatsPage
from reusedproxy.operators.view.reading import server_view
from reusedproxy.operators.view.values import ProxyView
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.wire.heads import Limits, read_request
from tests.fakes import Asks

CONFIGURATION = """
defaults
  mode http
  timeout connect 1s
  timeout client 1s
  timeout server 1s
frontend web
  bind 127.0.0.1:0
  default_backend app
backend app
  server one 127.0.0.1:1 check pool-min-conn 4
  server two 127.0.0.1:2 backup
  server off 127.0.0.1:3 disabled maxconn 7 minconn 2 maxqueue 5
listen status
  bind 127.0.0.1:0
  stats enable
  stats uri /status
  stats refresh 7s
"""


class StatsCase(SynchronousTestCase):
    """A proxy that is assembled but not started."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        poller = Poller(SimpleNamespace(removeReader=lambda reader: None))  # type: ignore[arg-type]
        self.addCleanup(poller.stop)
        configuration = read_configuration([Source("x.cfg", CONFIGURATION)], {})
        self.proxy = Assembly(configuration, self.clock, poller, Random(1), lambda level, text, section="": None).build(
            bind=False
        )
        self.app = next(backend for backend in self.proxy.backends if backend.name == "app")
        self.one, self.two, self.off = self.app.servers
        self.web, self.status = self.proxy.frontends
        page = self.status.pages[0]
        assert isinstance(page, StatsPage)
        self.page = page

    def ask(self, request: bytes = b"GET /status HTTP/1.1") -> tuple[int, str, str]:
        """Status, head, body."""
        head = read_request(request + b"\r\nHost: a\r\n\r\n", Limits())
        made = self.page.answer(head, False)
        body = b"".join(made.pieces)
        said = head_of(made.status, made.content_type, extra=made.extra)
        return made.status, said.decode(), body.decode()

    def csv(self) -> dict[tuple[str, str], dict[str, str]]:
        text = self.ask(b"GET /status;csv HTTP/1.1")[2]
        rows = DictReader(text.removeprefix("# ").splitlines())
        return {(row["pxname"], row["svname"]): row for row in rows}


class RequestTests(StatsCase):
    """What the page answers, and to what."""

    def test_only_the_section_that_enables_it_has_a_page(self) -> None:
        self.assertEqual(self.web.pages, [])
        self.assertEqual(len(self.status.pages), 1)

    def test_the_uri_is_a_prefix_as_in_haproxy(self) -> None:
        for target in (b"/status", b"/status;csv", b"/status?x", b"/statusx", b"http://a/status"):
            self.assertTrue(self.page.wants(target), target)
        for target in (b"/", b"/stat", b"/x/status", b"*", b"http://status"):
            self.assertFalse(self.page.wants(target), target)

    def test_the_page_is_not_to_be_cached(self) -> None:
        status, head, _ = self.ask()
        self.assertEqual(status, 200)
        self.assertIn("cache-control: no-cache", head)
        self.assertIn("content-type: text/html; charset=utf-8", head)

    def test_what_it_does_not_know_is_the_page(self) -> None:
        self.assertTrue(self.ask(b"GET /status;what?ever HTTP/1.1")[2].startswith("<!DOCTYPE html>"))

    def test_orders_are_refused_as_haproxy_does_without_stats_admin(self) -> None:
        status, head, _ = self.ask(b"POST /status HTTP/1.1")
        self.assertEqual(status, 303)
        self.assertIn("location: /status;st=DENY", head)
        self.assertIn("takes no orders", self.ask(b"GET /status;st=DENY HTTP/1.1")[2])

    def test_other_methods_are_not_allowed(self) -> None:
        status, head, _ = self.ask(b"DELETE /status HTTP/1.1")
        self.assertEqual(status, 405)
        self.assertIn("allow: GET, HEAD, POST", head)

    def test_it_reloads_itself_unless_told_not_to(self) -> None:
        self.assertIn('<meta http-equiv="refresh" content="7">', self.ask()[2])
        self.assertNotIn('http-equiv="refresh"', self.ask(b"GET /status;norefresh HTTP/1.1")[2])
        for form in (b"", b";csv", b";typed", b";json"):  # in HAProxy's header, too
            self.assertIn("\r\nrefresh: 7\r\n", self.ask(b"GET /status%b HTTP/1.1" % form)[1], form)
            self.assertNotIn("refresh", self.ask(b"GET /status%b;norefresh HTTP/1.1" % form)[1], form)

    def test_a_reload_does_not_make_it_young(self) -> None:
        """It says when it was."""
        self.assertNotIn("last reload", self.ask()[2])
        self.proxy.began -= 3600
        body = self.ask()[2]
        self.assertIn("up 1h", body)
        self.assertIn("The last reload was 0s ago.", body)

    def test_it_says_its_version_only_if_told_to(self) -> None:
        """As HAProxy 3.4."""
        self.assertNotIn(__version__, self.ask()[2])
        self.page.settings = evolve(self.page.settings, show_version=True)
        self.assertIn(f"version {__version__}", self.ask()[2])

    def test_servers_that_take_no_request_can_be_left_out(self) -> None:
        self.app.server_changed(self.one, DOWN, "test")
        self.app.set_state(self.two, DRAIN)
        names = {
            "": "<tr class='server'><th>(\\w+)",
            ";csv": "(?m)^app,(?!BACKEND)(\\w+),",
            ";json": '"svname"}[^}]*}[^}]*"value":"(?!FRONTEND|BACKEND)(\\w+)"',
        }
        for form, pattern in names.items():
            for words, shown in (("", {"one", "two", "off"}), (";up", {"two"})):
                body = self.ask(f"GET /status{form}{words};norefresh HTTP/1.1".encode())[2]
                self.assertEqual(set(re.findall(pattern, body)), shown, form)
        self.assertIn("<a href='/status;norefresh'>all servers</a>", self.ask(b"GET /status;up;norefresh HTTP/1.1")[2])
        self.assertIn("<a href='/status;up'>only servers", self.ask()[2])

    def test_a_page_that_cannot_be_written_costs_one_answer(self) -> None:
        self.app.servers.append(None)  # type: ignore[arg-type]
        with self.assertRaises(AttributeError):
            self.ask()
        self.app.servers.pop()
        self.assertEqual(self.ask()[0], 200)


class CSVTests(StatsCase):
    """Columns and what stands in them."""

    def test_the_header_is_haproxys_with_ours_at_the_end(self) -> None:
        lines = self.ask(b"GET /status;csv HTTP/1.1")[2].splitlines()
        self.assertEqual(lines[0], "# " + ",".join(ALL_COLUMNS) + ",")
        self.assertTrue(lines[0].startswith("# pxname,svname,qcur,qmax,scur,smax,slim,stot,"))
        commas = len(ALL_COLUMNS)
        self.assertEqual(ALL_COLUMNS[: len(COLUMNS)], COLUMNS)
        self.assertEqual(ALL_COLUMNS[len(COLUMNS) :][: len(POOL_COLUMNS)], POOL_COLUMNS)
        self.assertEqual({line.count(",") for line in lines}, {commas})

    def test_rows_come_in_the_order_of_the_configuration(self) -> None:
        self.assertEqual(
            list(self.csv()),
            [
                ("web", "FRONTEND"),
                *(("app", name) for name in ("one", "two", "off", "BACKEND")),
                ("status", "FRONTEND"),
                ("status", "BACKEND"),
            ],
        )

    def test_listeners_that_are_counted_have_rows(self) -> None:
        bind = evolve(self.web.settings.binds[0], name="door", maxconn=9)
        traffic = Traffic()
        traffic.stot, traffic.denied, traffic.eint = 7, 2, 5
        traffic.ssl_sess, traffic.ssl_reused_sess, traffic.ssl_failed_handshake = 6, 4, 1
        bound = SimpleNamespace(family=socket.AF_INET6)
        listener: Any = SimpleNamespace(
            bind=bind, traffic=traffic, state="listening", shut=False, full=False, connections=3, socket=bound
        )
        self.web.listeners[:] = [listener]
        rows = self.csv()
        self.assertEqual(list(rows)[:2], [("web", "FRONTEND"), ("web", "door")])
        row = rows["web", "door"]
        shown = [row[name] for name in ("type", "sid", "status", "scur", "smax", "slim", "stot", "dcon", "addr")]
        self.assertEqual(shown, ["3", "1", "OPEN", "3", "3", "9", "7", "2", ""])
        shown = [row[name] for name in ("proto", "eint", "ssl_sess", "ssl_reused_sess", "ssl_failed_handshake")]
        self.assertEqual(shown, ["tcpv6", "5", "6", "4", "1"])
        self.assertIn("<tr class='listener'><th>door", self.ask()[2])
        self.assertIn('"objType":"Listener"', self.ask(b"GET /status;json HTTP/1.1")[2])
        listener.full = True
        self.assertEqual(self.csv()["web", "door"]["status"], "FULL")

    def test_bytes_of_a_backend_are_seen_from_its_servers(self) -> None:
        self.one.traffic.bin, self.one.traffic.bout = 70, 900
        row = self.csv()["app", "BACKEND"]
        self.assertEqual((row["h1_bytes_in"], row["h1_bytes_out"]), ("900", "70"))

    def test_states_are_haproxys_words(self) -> None:
        def state(name: str) -> str:
            return self.csv()["app", name]["status"]

        self.assertEqual(
            [state(name) for name in ("one", "two", "off", "BACKEND")], ["UP 1/3", "no check", "MAINT", "UP"]
        )
        checker = self.app.checkers[0]
        checker.judge.health = 4
        self.assertEqual(state("one"), "UP")
        self.one.judge(DOWN, self.clock.seconds())
        checker.judge.health = 0
        self.assertEqual(state("one"), "DOWN")
        checker.judge.health = 1
        self.assertEqual(state("one"), "DOWN 1/2")

    def test_drain_is_shown_with_its_health(self) -> None:
        """HAProxy 2.6: a server in DRAIN that fails its checks is going down, and DOWN in the end."""

        def state(name: str) -> str:
            return self.csv()["app", name]["status"]

        checker = self.app.checkers[0]
        for server in (self.one, self.two):
            self.app.set_state(server, DRAIN)
        self.assertEqual([state(name) for name in ("one", "two", "BACKEND")], ["DRAIN 1/3", "DRAIN", "DOWN"])
        checker.judge.health = 4
        self.assertEqual(state("one"), "DRAIN")
        self.app.server_changed(self.one, DOWN, "test")
        checker.judge.health = 1
        self.assertEqual(state("one"), "DOWN 1/2")
        self.app.set_state(self.one, MAINT)
        self.assertEqual(state("one"), "MAINT")

    def test_queues_are_shown_where_they_stand(self) -> None:
        """Who waits for one server does not wait for any; `qlimit` is `maxqueue`."""
        self.two.maxconn = self.two.served = 1
        bound, others = [Asks(), Asks()], [Asks(), Asks(), Asks()]
        self.app.set_state(self.one, MAINT)
        self.app.set_state(self.two, READY)
        for asks in bound:
            self.app.choose(asks, bound=self.two)
        for asks in others:
            self.app.choose(asks)
        waits = bound[0].queue
        assert waits is not None
        waits.leave(bound[0])
        rows = self.csv()
        self.assertEqual([rows["app", name]["qcur"] for name in ("one", "two", "off", "BACKEND")], ["0", "1", "0", "3"])
        self.assertEqual([rows["app", name]["qmax"] for name in ("one", "two", "off", "BACKEND")], ["0", "2", "0", "3"])
        self.assertEqual([rows["app", name]["qlimit"] for name in ("two", "off", "BACKEND")], ["", "5", ""])

    def test_a_server_that_starts_slowly_shows_how_far_it_is(self) -> None:
        """`weight` is what counts now, rounded up, `uweight` what is configured, `throttle` a percentage."""
        self.one.weight, self.one.throttle = 40, 4
        shown = self.csv()["app", "one"]
        self.assertEqual([shown[name] for name in ("weight", "uweight", "throttle")], ["10", "40", "25"])
        self.one.throttle = 16
        shown = self.csv()["app", "one"]
        self.assertEqual([shown[name] for name in ("weight", "uweight", "throttle")], ["40", "40", ""])

    def test_a_backend_is_down_when_its_servers_are(self) -> None:
        for server in (self.one, self.two):
            self.app.server_changed(server, DOWN, "test")
        self.clock.advance(5)
        row = self.csv()["app", "BACKEND"]
        self.assertEqual(
            (row["status"], row["act"], row["bck"], row["chkdown"], row["downtime"]), ("DOWN", "0", "0", "1", "5")
        )
        self.app.server_changed(self.two, UP, "test")
        row = self.csv()["app", "BACKEND"]
        self.assertEqual((row["status"], row["bck"], row["downtime"]), ("UP", "1", "5"))

    def test_a_backend_without_servers_is_up_as_in_haproxy(self) -> None:
        self.assertEqual(self.csv()["status", "BACKEND"]["status"], "UP")

    def test_the_pool_is_counted(self) -> None:
        pool = self.one.pool
        idle: list[Any] = [SimpleNamespace(safe=True), SimpleNamespace(safe=False), SimpleNamespace(safe=False)]
        used: Any = SimpleNamespace
        pool.idle[:] = idle
        pool.in_use.add(used)
        counters = pool.counters
        counters.dials, counters.dials_failed, counters.handshakes, counters.handshakes_on_request_path = 9, 2, 7, 1
        counters.dials_for_requests, counters.waits_queued, counters.waits_failed = 1, 11, 12
        counters.requests, counters.reuses, counters.races_repeated, counters.races_lost = 8, 6, 5, 4
        pool.closed = {"closed by peer": 1, 'a, "b"': 3}
        row = self.csv()["app", "one"]
        expected = {
            "connect": "9", "reuse": "6", "srv_icur": "3", "idle_conn_cur": "2", "safe_conn_cur": "1",
            "used_conn_cur": "1", "need_conn_est": "4", "src_ilim": "", "pool_floor": "4", "pool_idle": "3",
            "pool_in_use": "1", "pool_connecting": "0", "pool_retiring": "0", "pool_waiting": "0", "pool_dials": "9",
            "pool_dials_failed": "2", "pool_handshakes": "7", "pool_handshakes_request_path": "1", "pool_requests": "8",
            "pool_races_repeated": "5", "pool_races_lost": "4", "pool_dials_request_path": "1", "pool_suspect": "0",
            "pool_waits_queued": "11", "pool_waits_failed": "12", "pool_below_floor": "0.0000",
            "pool_reuse_ratio": "0.7500", "pool_closed": 'a, "b": 3; closed by peer: 1',
        }  # fmt: skip
        self.assertEqual({name: row[name] for name in expected}, expected)
        total = self.csv()["app", "BACKEND"]
        self.assertEqual((total["pool_requests"], total["pool_idle"], total["pool_reuse_ratio"]), ("8", "3", "0.7500"))

    def test_what_has_been_compressed(self) -> None:
        traffic = self.app.traffic
        traffic.comp_in, traffic.comp_out, traffic.comp_rsp = 60000, 684, 1
        total = self.csv()["app", "BACKEND"]
        self.assertEqual(
            [total[name] for name in ("comp_in", "comp_out", "comp_byp", "comp_rsp")], ["60000", "684", "0", "1"]
        )

    def test_what_we_do_not_have_is_empty(self) -> None:
        row = self.csv()["app", "two"]
        empty = ("dses", "qlimit", "throttle", "check_status", "comp_in", "slim", "pool_reuse_ratio", "cache_hits")
        self.assertEqual([row[name] for name in empty], [""] * len(empty))
        self.assertEqual(self.csv()["app", "off"]["slim"], "7")

    def test_the_last_check_is_shown(self) -> None:
        checker = self.app.checkers[0]
        checker.last, checker.judge.failures = Result("L7STS", "Not, found", 404, 0.0125), 3
        row = self.csv()["app", "one"]
        names = (
            "check_status",
            "check_code",
            "check_duration",
            "check_desc",
            "last_chk",
            "chkfail",
            "check_rise",
            "check_fall",
        )
        self.assertEqual(
            [row[name] for name in names], ["L7STS", "404", "12", "Layer7 wrong status", "Not, found", "3", "2", "3"]
        )

    def test_rates_are_those_of_the_last_second(self) -> None:
        rates = self.proxy.rates
        assert rates is not None
        rates.start()
        self.web.connections_total, self.web.traffic.req_tot, self.one.traffic.stot = 5, 20, 10
        self.clock.advance(1.02)
        row = self.csv()["web", "FRONTEND"]
        self.assertEqual([row[name] for name in ("rate", "conn_rate", "req_rate", "rate_max")], ["5", "5", "20", "5"])
        self.assertEqual(self.csv()["app", "one"]["rate"], "10")
        self.clock.advance(1.02)
        row = self.csv()["web", "FRONTEND"]
        self.assertEqual([row[name] for name in ("rate", "rate_max", "req_rate_max")], ["0", "5", "20"])

    def test_when_a_server_was_last_used(self) -> None:
        self.assertEqual(self.csv()["app", "one"]["lastsess"], "-1")
        self.one.last_placed = self.clock.seconds() - 3
        self.assertEqual(self.csv()["app", "one"]["lastsess"], "3")
        self.assertEqual(self.csv()["app", "BACKEND"]["lastsess"], "3")

    def test_what_would_end_a_field_is_quoted(self) -> None:
        for text, field in (("a,b", '"a,b"'), ('a"b', '"a""b"'), ("a\rb\nc", '"a\rb\nc"'), ("a b;'", "a b;'")):
            line = "".join(pieces_of_csv([Section("x", Row({"pxname": text, "svname": "s"}))])).split("\n", 1)[1]
            self.assertTrue(line.startswith(field + ",s,,"), line)

    def test_what_a_server_costs(self) -> None:
        """Nothing else runs while the statistics are made: a call for each of its 148 columns would be most of it."""

        def calls(servers: int) -> int:
            count = 0

            def note(frame: object, event: str, arg: object) -> None:
                nonlocal count
                count += event in ("call", "c_call")

            self.app.servers[:] = [self.two] * servers
            before = sys.getprofile()
            sys.setprofile(note)
            try:
                list(pieces_of_csv(sections_of(self.page._moments.reader.view())))
            finally:
                sys.setprofile(before)
            return count

        self.assertLess((calls(30) - calls(10)) / 20, 320)


class MomentTests(StatsCase):
    """Statistics that take long to make are shown again, as they were: whoever asks without end gets his share only."""

    def setUp(self) -> None:
        super().setUp()
        self.made = 0
        self.took = 0.01
        viewing = self.page._moments.reader.viewing

        def slow(*, measures: bool = False) -> Steps[ProxyView]:
            self.made += 1
            made = yield from viewing(measures=measures)
            self.clock.advance(self.took)
            return made

        self.patch(self.page._moments.reader, "viewing", slow)
        self.patch(self.page, "_wall", lambda: 1e9 + self.clock.seconds())

    def test_what_clients_want_to_see_is_kept_up_to_a_bound(self) -> None:
        """They say which sections that is (`scope=`)."""
        moment = run_through(self.page._moments.awaited())
        made: list[int] = []

        def write() -> Iterator[str]:
            made.append(1)
            yield "text"

        for each in (*range(100), *range(100)):
            texts = [*moment.pieces(f"page {each}", write)]
            self.assertEqual(texts, ["text"])
        self.assertEqual((len(moment._texts), len(made)), (64, 136))

    def test_they_take_a_twentieth_of_the_time(self) -> None:
        for _ in range(1000):
            self.clock.advance(0.001)
            self.ask(b"GET /status;csv HTTP/1.1")
        self.assertLessEqual(self.made, 6)
        self.assertGreaterEqual(self.made, 5)

    def test_none_are_older_than_a_second(self) -> None:
        """Not counting what it takes to make them."""
        self.took = 1.5
        first = self.ask()[2]
        self.clock.advance(0.9)
        self.assertEqual(self.ask()[2], first)
        self.clock.advance(0.15)
        self.assertNotEqual(self.ask()[2], first)
        self.assertEqual(self.made, 2)

    def test_in_whatever_form_they_are_asked_for(self) -> None:
        """Else a client would ask for another one each time."""
        targets = ("", ";norefresh", ";unfold", ";unfold;norefresh", ";st=DENY", ";csv", ";csv?x", "?y")
        pages = {target: self.ask(f"GET /status{target} HTTP/1.1".encode())[2] for target in targets}
        self.assertEqual(self.made, 1)
        self.assertIn("http-equiv", pages[""])
        self.assertNotIn("http-equiv", pages[";norefresh"])
        self.assertEqual(pages[";unfold"].count("<details open>"), 3)
        self.assertIn("takes no orders", pages[";st=DENY"])
        self.assertNotIn("takes no orders", pages["?y"])
        self.assertTrue(pages[";csv?x"].startswith("# pxname"))

    def test_what_is_shown_again_comes_in_pieces_too(self) -> None:
        """Of many servers it is long."""
        moment = run_through(self.page._moments.awaited())
        first = [*moment.pieces("x", lambda: iter(["a", "b"]))]
        self.assertEqual((first, [*moment.pieces("x", lambda: iter(["c"]))]), (["a", "b"], ["a", "b"]))

    def test_old_ones_are_freed_in_steps_before_others_are_made(self) -> None:
        """Those of 1,000 servers take up to 13 ms."""
        self.patch(moment_module, "FREED_AT_ONCE", 1)
        moments = self.page._moments
        rows = [*map(ref, run_through(moments.awaited()).sections[0].rows())]
        self.clock.advance(2)
        steps = moments.awaited()
        alive = [sum(row() is not None for row in rows) for _ in zip(range(20), steps, strict=False)]
        self.assertEqual(alive[0], len(rows))
        self.assertEqual({before - after for before, after in pairwise(alive)}, {0, 1})
        self.assertEqual((alive[-1], self.made), (0, 2))

    def test_what_is_written_of_them_counts(self) -> None:
        """An unfolded page takes longer than its figures."""
        self.took = 0.0
        write = statspage._tables

        def slow(*args: Any) -> Iterator[str]:
            self.clock.advance(0.01)
            yield from write(*args)

        self.patch(statspage, "_tables", slow)
        first = self.ask()[2]
        self.two.pool.counters.handshakes_on_request_path = 7
        self.clock.advance(0.18)
        self.assertEqual(self.ask()[2], first)
        self.clock.advance(0.02)
        self.assertIn("<b>7</b>", self.ask()[2])

    def test_the_page_shows_of_what_time_they_are(self) -> None:
        self.took = 0.1
        page = self.ask()[2]
        self.clock.advance(0.9)
        self.assertIn(strftime("%H:%M:%S", localtime(1e9 + 1000)), page)
        self.assertEqual(self.ask()[2], page)
        self.clock.advance(0.2)
        self.assertIn(strftime("%H:%M:%S", localtime(1e9 + 1001)), self.ask()[2])


class DetailTests(StatsCase):
    """All that is counted of a pool, folded at first."""

    def test_each_server_has_its_own_folded(self) -> None:
        body = self.ask()[2]
        for name in ("app/one", "app/two", "app/off"):
            self.assertIn(f"<details><summary>Pool of <b>{name}</b> in full", body)
        self.assertNotIn("<details open>", body)
        self.assertNotIn("<script", body)

    def test_it_stays_unfolded_over_reloads(self) -> None:
        """Of a page that reloads itself it is its address that says so."""
        body = self.ask(b"GET /status;unfold HTTP/1.1")[2]
        self.assertEqual(body.count("<details open>"), 3)
        for link in ("'/status;norefresh;unfold'>stop", "'/status;unfold'>show again", "'/status'>fold pools"):
            self.assertIn(f"<a href={link}", body)
        body = self.ask(b"GET /status;norefresh HTTP/1.1")[2]
        for link in ("'/status;norefresh'>show again", "'/status;norefresh;unfold'>unfold pools"):
            self.assertIn(f"<a href={link}", body)

    def test_where_there_are_many_servers_it_is_written_only_when_asked_for(self) -> None:
        """It takes time in which nobody is served."""
        self.patch(handler, "DETAILED", 2)
        self.assertNotIn("<details", self.ask()[2])
        self.assertIn("<details open>", self.ask(b"GET /status;unfold HTTP/1.1")[2])

    def test_the_numbers(self) -> None:
        counters = self.one.pool.counters
        counters.connects["recovery", "tls"] = 1234
        counters.warm_up.observe(0.3)
        body = self.ask()[2]
        self.assertIn("recovery tls <b>1,234</b>", body)
        self.assertIn(
            "<th title='reusedproxy_warmup_seconds'>warm-up</th>"
            "<td>1</td><td>500 ms</td><td>500 ms</td><td>500 ms</td><td>300 ms</td>",
            body,
        )

    def test_units(self) -> None:
        seconds = {0: "0 s", 50e-6: "50 µs", 2.5e-3: "2.5 ms", 0.25: "250 ms", 90: "90 s", 300: "5 min", 14400: "4 h"}
        self.assertEqual([duration(each) for each in seconds], list(seconds.values()))
        self.assertEqual([duration(86400 * 30), duration(86400 * 4000.4)], ["30 days", "4,000 days"])
        self.assertEqual(
            [number(each) for each in (0, 7, 1234567, 0.126, 99.96, 123.4)],
            ["0", "7", "1,234,567", "0.126", "100", "123"],
        )

    def test_dates(self) -> None:
        context = SimpleNamespace(ours_end=2e9, theirs_end=1e9, generation=3, settings=SimpleNamespace(crt="a.pem"))
        self.patch(HTTPConnectionPool, "context", context)
        found = groups(server_view(self.one, measures=True), 2e9 - 86400 * 10)
        (certificates,) = (each for each in found if each.title == "Certificates")
        self.assertEqual(
            [line.values[0].text for line in certificates.lines],
            ["2033-05-18 03:33 UTC, in 10 days", "2001-09-09 01:46 UTC, 11,564 days ago", "3", "0"],
        )


class PageTests(StatsCase):
    """The page."""

    def test_every_proxy_and_server_is_there(self) -> None:
        body = self.ask()[2]
        for name in ("<h2 id='web'>", "<h2 id='app'>", "<h2 id='status'>", "<th>one</th>", "<th>BACKEND</th>"):
            self.assertIn(name, body)

    def test_what_comes_from_outside_cannot_be_markup(self) -> None:
        attack = "<script>alert('\"x\"')</script>"
        self.patch(HTTPConnectionPool, "trouble", attack)
        self.two.pool.closed = {attack: 1}
        self.app.checkers[0].last = Result("L7STS", attack, 500)
        body = self.ask()[2]
        self.assertNotIn("<script", body)
        self.assertNotIn("alert('", body)
        self.assertEqual(body.count("&lt;script&gt;"), 3 + 1 + 2)  # three pools' trouble, one reason, a check twice

    def test_states_are_words_and_colours(self) -> None:
        self.app.checkers[0].judge.health = 0
        self.one.judge(DOWN, self.clock.seconds())
        self.app.set_state(self.two, DRAIN)
        body = self.ask()[2]
        for mark in ("<i class='down'>DOWN</i>", "<i class='drain'>DRAIN</i>", "<i class='maint'>MAINT</i>"):
            self.assertIn(mark, body)

    def test_durations_have_two_units_as_in_haproxy(self) -> None:
        for seconds, text in ((0.9, "0s"), (59, "59s"), (260, "4m20s"), (3600, "1h0m"), (97200, "1d3h"), (-1, "0s")):
            self.proxy.began = self.clock.seconds() - seconds
            self.assertIn(f", up {text}<", self.ask()[2])

    def test_the_promise_stands_at_the_top(self) -> None:
        """Handshakes on the request path: green at 0, red from 1 on. Without TLS they are not called that."""
        what = "connections opened on the request path"
        self.assertIn(f"<div class='good'><span>{what}</span><b>0</b>", self.ask()[2])
        self.one.pool.counters.handshakes_on_request_path = 2
        self.assertIn(f"<div class='bad'><span>{what}</span><b>2</b>", self.ask()[2])

    def test_the_promise_is_about_servers_with_tls(self) -> None:
        """Where there are some, connections to the others do not count."""
        self.one.pool.dialer.context = ClientContext(ServerTLS(verify="none"))
        self.one.pool.counters.handshakes_on_request_path = 2
        self.two.pool.counters.handshakes_on_request_path = 5
        body = self.ask()[2]
        self.assertIn("<div class='bad'><span>TLS handshakes on the request path</span><b>2</b>", body)
        self.assertIn("of 0 requests to servers with TLS", body)
