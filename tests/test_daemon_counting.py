"""What is counted goes on through reloads, and places that are taken stay taken: of servers, of frontends."""

from __future__ import annotations

import json
import socket
from typing import Any, cast

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.binding import Binding
from reusedproxy.backends.checks.results import Result
from reusedproxy.backends.queue import Queue
from reusedproxy.backends.server import DOWN, MAINT, Server
from reusedproxy.clients.frontend import Frontend
from reusedproxy.daemon.replacing.counts import COUNTED, OTHERS, count_on, counts_of
from reusedproxy.daemon.replacing.standing import stand
from reusedproxy.daemon.replacing.standing import standing as standing_of
from reusedproxy.daemon.service import ProxyService
from reusedproxy.measures.traffic import Traffic
from reusedproxy.net.listener import LISTENING, PAUSED
from reusedproxy.operators.stats.figures import sections_of
from reusedproxy.operators.view.reading import Reader
from reusedproxy.pool.counters import FRESH
from reusedproxy.pool.handed import counted
from tests.integration.peers import LOOPBACK
from tests.services import HEAD
from tests.test_generations import GenerationTestCase

#: Of the present moment, or of what the file says.
_GAUGES = {
    "pid",
    "iid",
    "sid",
    "type",
    "pxname",
    "svname",
    "lastchg",
    "lastsess",
    "downtime",
    "rate",
    "conn_rate",
    "req_rate",
}


#: What goes on in another process.
_SHARED = ["stot", "bin", "bout", "hrsp_2xx", "smax", "req_tot", "econ", "dcon", "ssl_sess", "ttime", "ttime_max"]


class Asks:
    """A request that asks for a server, and keeps its place until it is told to end."""

    def __init__(self) -> None:
        self.queue: Queue[Any, Any] | None = None
        self.srv_queue = self.backend_queue = 0
        self.redispatched = False
        self.binding: Binding | None = None
        self.priority = (0, 0)
        self.server: Server | None = None
        self.backend: Backend | None = None

    def ask(self, backend: Backend) -> Asks:
        self.backend = backend
        backend.choose(self)
        return self

    def placed(self, server: Server) -> None:
        self.server = server

    def go_to(self, backend: Backend) -> None:
        self.ask(backend)

    def unplaceable(self) -> None:
        raise AssertionError

    def crowded_out(self, server: Server) -> None:
        raise AssertionError

    def end(self) -> None:
        assert self.backend is not None and self.server is not None
        self.backend.done(self.server)


class Stays:
    """A client that each reload leaves where it is."""

    def __init__(self, frontend: Frontend) -> None:
        self.frontend = frontend
        self.listener = frontend.listeners[0]
        frontend.connections.add(cast("Any", self))

    def finish(self) -> None:
        pass

    def abort(self, reason: str) -> None:
        self.frontend.connections.discard(cast("Any", self))

    def leave(self) -> None:
        self.frontend.let_go(cast("Any", self))


class CountingTestCase(GenerationTestCase):
    def reload(self) -> None:
        self.service.reload()
        self.reactor.pump([0.05] * 20)

    @property
    def backend(self) -> Backend:
        return next(each for each in self.proxy.backends if each.name == "b")

    def columns(self) -> dict[tuple[str, str], dict[str, Any]]:
        sections = sections_of(Reader(self.proxy, self.proxy.rates).view())
        rows = [row for section in sections for row in section.rows()]
        return {(str(row.columns["pxname"]), str(row.columns["svname"])): dict(row.columns) for row in rows}


class EveryColumnTests(CountingTestCase):
    """All columns of all rows, with a number of its own in each counter."""

    def fill(self) -> None:
        number = iter(range(1000, 100_000, 7))
        frontend, backend = self.proxy.frontends[0], self.backend
        traffics: list[Traffic] = [frontend.traffic, backend.traffic, *(each.traffic for each in backend.servers)]
        for traffic in traffics:
            for name in Traffic.__slots__:
                if name not in ("scur", "hrsp"):
                    setattr(traffic, name, next(number))
            traffic.hrsp[:] = [next(number) for _ in traffic.hrsp]
        frontend.connections_total, frontend.connections_max, frontend.denied = 9999, 99, 9
        counts = frontend.handshakes.counts
        counts.completed, counts.resumed, counts.failed = 77, 66, 55
        backend.queue.most = 17
        backend.downs, backend.downtime = 3, 33.0
        for server in backend.servers:
            server.queue.most, server.downs, server.downtime, server.last_placed = 18, 4, 44.0, 1.0
            times = server.times
            times.count, times.queue, times.connect, times.response, times.total = 2, 0.2, 0.4, 0.6, 0.8
            times.queue_most = times.connect_most = times.response_most = times.total_most = 0.9
            for name in ("dials", "dials_failed", "handshakes", "requests", "reuses", "races_lost", "pings"):
                setattr(server.pool.counters, name, next(number))
        for checker in backend.checkers:
            checker.judge.failures, checker.last = 5, Result("L4OK", "", None, 0.007)
            checker.judge.begin_at(checker.judge.top)
        assert self.proxy.rates is not None
        self.reactor.advance(1.1)
        self.reactor.advance(1.1)

    def compare(self) -> None:
        before = self.columns()
        self.reload()
        after = self.columns()
        self.assertEqual(after.keys(), before.keys())
        differing = {
            (*row, name): (value, after[row].get(name))
            for row, columns in before.items()
            for name, value in columns.items()
            if name not in _GAUGES and after[row].get(name) != value
        }
        self.assertEqual(differing, {})

    def test_they_are_the_same_after_a_reload(self) -> None:
        self.begin("check inter 60s", global_=" stats socket ipv4@127.0.0.1:0\n")
        self.fill()
        self.compare()

    def test_they_are_the_same_when_the_certificate_of_the_server_is_another_one(self) -> None:
        self.begin("check inter 60s", global_=" stats socket ipv4@127.0.0.1:0\n")
        self.fill()
        self.touch(self.client)
        pool = self.backend.servers[0].pool
        self.compare()
        self.assertIsNot(self.backend.servers[0].pool, pool)

    def test_rates_do_not_jump(self) -> None:
        self.begin("", global_=" stats socket ipv4@127.0.0.1:0\n")
        self.fill()
        self.reload()
        self.reactor.advance(1.1)
        rows = self.columns()
        self.assertEqual({row["rate"] for row in rows.values()}, {0})

    def test_clear_counters_clears_what_both_have_counted(self) -> None:
        self.begin("", global_=" stats socket ipv4@127.0.0.1:0\n")
        self.fill()
        self.reload()
        self.backend.clear_counters(True)
        self.proxy.frontends[0].clear_counters(True)
        rows = self.columns()
        self.assertEqual({row["stot"] for row in rows.values()}, {0})
        self.assertEqual({row["bin"] for row in rows.values()}, {0})

    def test_what_comes_back_later_begins_anew(self) -> None:
        self.begin("", global_=" stats socket ipv4@127.0.0.1:0\n")
        self.fill()
        self.text(
            "proxy.cfg",
            f"{HEAD}frontend g\n bind {LOOPBACK}:0\n default_backend c\nbackend c\n server s {LOOPBACK}:1\n",
        )
        self.reload()
        self.configure()
        self.reload()
        self.assertEqual({row["stot"] for row in self.columns().values()}, {0})

    def test_a_check_that_was_due_is_not_put_off(self) -> None:
        """So reloads each second do not keep a server with `inter 30s` from being checked."""
        self.begin("check inter 30s")
        self.reactor.advance(0.1)  # the first one begins
        self.backend.checkers[0].stop()
        self.backend.checkers[0]._check_in(30.0)
        due = self.reactor.seconds() + self.backend.checkers[0].due_in
        for _ in range(3):
            self.reload()
        self.assertAlmostEqual(self.reactor.seconds() + self.backend.checkers[0].due_in, due, places=3)

    def test_a_check_that_is_under_way_is_not_begun_again(self) -> None:
        """A server that does not answer is found DOWN, however often the configuration is read."""
        with socket.create_server((LOOPBACK, 0)) as silent:
            self.begin(f"check port {silent.getsockname()[1]} inter 5s fall 1")
            self.reactor.advance(0.1)
            self.assertIsNotNone(self.backend.checkers[0]._run)
            for _ in range(6):  # the check has a second for its connection
                self.service.reload()
                self.reactor.pump([0.05] * 10)
            self.assertEqual(self.backend.servers[0].state, DOWN)
            self.assertEqual(self.backend.checkers[0].judge.failures, 1)

    def test_how_far_a_server_is_from_falling_goes_on(self) -> None:
        self.begin("check inter 60s fall 5")
        self.backend.checkers[0].judge.begin_at(3)
        self.reload()
        self.assertEqual(self.backend.checkers[0].judge.health, 3)

    def test_they_are_the_same_in_another_process(self) -> None:
        self.begin("", global_=" stats socket ipv4@127.0.0.1:0\n")
        self.fill()
        # They go through a socket.
        counts, columns = json.loads(json.dumps(counts_of(self.proxy))), self.columns()
        self.backend.clear_counters(True)
        self.proxy.frontends[0].clear_counters(True)
        count_on(self.proxy, counts)
        self.reactor.advance(1.1)
        after = self.columns()
        for row, named in columns.items():
            for name in (
                "stot",
                "bin",
                "bout",
                "hrsp_2xx",
                "smax",
                "req_tot",
                "econ",
                "dcon",
                "ssl_sess",
                "ttime",
                "ttime_max",
            ):
                self.assertEqual(after[row].get(name), named.get(name), (*row, name))
        self.assertEqual({row["rate"] for row in after.values()}, {0})

    def test_a_server_that_has_counted_nothing_is_told_of_in_few_bytes(self) -> None:
        """There may be thousands: two kilobytes for each held up the event loop of both processes."""
        self.begin("", global_=" stats socket ipv4@127.0.0.1:0\n")
        servers: Any = counts_of(self.proxy)["servers"]
        self.assertLess(max(len(json.dumps(each)) for each in servers.values()), 300)

    def test_every_column_goes_on_in_another_process(self) -> None:
        self.begin("check inter 60s", global_=" stats socket ipv4@127.0.0.1:0\n")
        self.fill()
        for histogram in (
            self.backend.servers[0].pool.counters.ages,
            self.backend.servers[0].pool.counters.waits[FRESH],
        ):
            histogram.observe(3.0)
        self.backend.servers[0].pool.counters.tls_handshakes["TLSv1.3", True, True] += 5
        self.backend.servers[0].pool.closed["life over"] = 7
        counts, standing = json.loads(json.dumps([counts_of(self.proxy), standing_of(self.proxy)]))
        before, counters = self.columns(), self.backend.servers[0].pool.counters
        self.service.stopService()
        self.reactor.advance(5)
        self.service = ProxyService(self.reactor, [str(self.folder / "proxy.cfg")])
        self.service.assemble(bind=False)
        self.assertEqual([*stand(self.proxy, standing)], [])
        count_on(self.proxy, counts)
        self.service.startService()
        self.reactor.advance(1.1)
        after = self.columns()
        recent = ("qtime", "ctime", "rtime", "ttime")
        checks = ("check_", "last_chk", "chkfail", "hanafail", "status")  # they are in the states of servers
        differing = {
            (*row, name): (value, after[row].get(name))
            for row, columns in before.items()
            for name, value in columns.items()
            if not (name in {*_GAUGES, *recent} or name.startswith(checks) or name.endswith("rate_max"))
            and after[row].get(name) != value
        }
        self.assertEqual(differing, {})
        self.assertEqual(self.backend.servers[0].pool.counters.tls_handshakes, counters.tls_handshakes)
        self.assertEqual(self.backend.servers[0].pool.counters.ages, counters.ages)

    def test_what_was_ordered_and_learnt_goes_on_in_another_process(self) -> None:
        self.begin("maxconn 10 sni str(x) pool-min-conn auto", global_=" stats socket ipv4@127.0.0.1:0\n")
        server = self.backend.servers[0]
        self.backend.set_maxconn(server, 20)
        self.proxy.frontends[0].set_maxconn(55)
        self.proxy.places.set_maxconn(66)
        upkeep = server.pool.upkeep
        upkeep.used.advertise(5.0)
        upkeep.unused.know(0.0, 9.0, [9.0])  # as if its closes had been seen: nobody is there to close anything
        depths = server.pool.depths
        for depth in (4, 7):
            depths._make_room(depth)
            depths.counts[depth] += 1000
        standing = json.loads(json.dumps(standing_of(self.proxy)))
        requests = depths.requests
        self.service.stopService()
        self.reactor.advance(5)
        for text, kept in (("", True), ("maxconn 11", False)):
            self.configure() if not text else self.text(
                "proxy.cfg", (self.folder / "proxy.cfg").read_text().replace("maxconn 10", text)
            )
            self.service = ProxyService(self.reactor, [str(self.folder / "proxy.cfg")])
            self.service.assemble(bind=False)
            said = [text for text, _ in stand(self.proxy, standing)]
            server = self.backend.servers[0]
            words = ["Frontend f keeps maxconn 55", "Server b/s keeps maxconn 20"][: 2 if kept else 1]
            self.assertEqual([each.partition(",")[0] for each in said], words)
            self.assertEqual((server.limit, self.proxy.frontends[0].settings.maxconn), (20 if kept else 11, 55))
            self.assertEqual(self.proxy.places.maxconn, 66)
            upkeep = server.pool.upkeep
            self.assertEqual((upkeep.used.limit, upkeep.used.source), (5.0, "advertised"))
            self.assertEqual((upkeep.unused.limit, upkeep.unused.source), (9.0, "learned"))
            self.assertEqual((server.pool.depths.requests, server.pool.floor), (requests, 7))

    def test_nothing_is_learnt_from_nonsense(self) -> None:
        self.begin("sni str(x) pool-min-conn auto")
        pool = {"used": [1], "unused": ["x", -1, 7], "depths": {"counts": 7, "finished": [7, ["x"]], "left": "x"}}
        nonsense: list[object] = [7, {"servers": []}, {"frontends": {"f": {"maxconn": "7", "said": 0}}}]
        nonsense.append({"servers": {"b/s": {"at": str(self.backend.servers[0].target), "pool": pool, "maxconn": -1}}})
        for each in nonsense:
            self.assertEqual([*stand(self.proxy, each)], [])
        self.assertEqual(self.backend.servers[0].pool.upkeep.used.source, "")
        pool = {"dials": -1, "ages": [[1], 2], "closed": [[[[]], 7], 7], "waits": [["warm", 7]], "ended": 7}
        before = counted(self.backend.servers[0].pool)
        count_on(self.proxy, {"servers": {"b/s": {"pool": pool}}})
        self.assertEqual(counted(self.backend.servers[0].pool), before)

    def test_what_is_nonsense_is_left_out(self) -> None:
        self.begin("")
        nonsense: list[object] = [7, [], {"frontends": 7}, {"frontends": {"f": []}}]
        nonsense.append({"backends": {"b": {"traffic": {"hrsp": [1], "x": 1}}}})
        traffic = {"stot": -1, "scur": 5, "bin": "1", "smax": True, "hrsp": 3}
        nonsense.append({"servers": {"b/s": {"traffic": traffic, "times": 1}}})
        for counts in nonsense:
            count_on(self.proxy, counts)
        counted = self.backend.servers[0].traffic
        self.assertEqual((counted.stot, counted.scur, counted.bin, counted.smax), (0, 0, 0, 0))


class PlaceTests(CountingTestCase):
    """`maxconn 2`, and requests of several generations."""

    def begin_with(self, words: str = "maxconn 2", global_: str = "") -> list[Asks]:
        self.begin(words, global_=global_)
        self.stays = Stays(self.proxy.frontends[0])
        self.addCleanup(self.stays.leave)
        return [Asks().ask(self.backend) for _ in range(2)]

    def test_a_server_has_no_more_than_its_maxconn_of_both_generations(self) -> None:
        first = self.begin_with()
        self.reload()
        waits = Asks().ask(self.backend)
        self.assertIsNone(waits.server)
        self.assertEqual((self.backend.servers[0].served, self.backend.servers[0].traffic.scur), (2, 2))
        first[0].end()
        self.assertIs(waits.server, self.backend.servers[0])
        self.assertEqual((self.backend.servers[0].served, self.backend.servers[0].traffic.scur), (2, 2))
        first[1].end()
        waits.end()
        self.assertEqual((self.backend.servers[0].served, self.backend.servers[0].traffic.scur), (0, 0))

    def test_it_counts_those_of_any_generation_before(self) -> None:
        first = self.begin_with()
        for _ in range(3):
            self.reload()
            self.reactor.pump([1.0] * 3)
            self.assertEqual(self.backend.servers[0].served, 2)
        self.assertEqual(len(self.proxy.before), 1)
        for each in first:
            each.end()
        self.assertEqual(self.backend.servers[0].served, 0)
        self.assertEqual(self.backend.servers[0].served_before, 0)

    def test_who_waits_before_is_placed_at_the_new_one(self) -> None:
        first = self.begin_with()
        waits = Asks().ask(self.backend)
        self.reload()
        self.assertIs(waits.backend, self.backend)
        first[0].end()
        self.assertIs(waits.server, self.backend.servers[0])

    def test_leastconn_counts_them(self) -> None:
        self.server = ""
        self.begin("")
        self.configure_two()
        self.reload()
        stays = Stays(self.proxy.frontends[0])
        self.addCleanup(stays.leave)
        first = [Asks().ask(self.backend) for _ in range(4)]
        first[0].end()
        first[2].end()
        idle = next(each.name for each in self.backend.servers if not each.served)
        self.reload()
        chosen = Asks().ask(self.backend).server
        assert chosen is not None
        self.assertEqual(chosen.name, idle)
        for each in (first[1], first[3]):
            each.end()
        self.assertEqual([each.served for each in self.backend.servers].count(0), 1)

    def configure_two(self) -> None:
        lines = "".join(f" server {name} {LOOPBACK}:1\n" for name in "st")
        text = f"{HEAD}frontend f\n bind {LOOPBACK}:0\n default_backend b\nbackend b\n balance leastconn\n{lines}"
        self.text("proxy.cfg", text)

    def test_a_server_at_another_address_has_all_its_places(self) -> None:
        """The machine is another one; what is counted goes on."""
        first = self.begin_with()
        self.text("proxy.cfg", (self.folder / "proxy.cfg").read_text().replace(f"{LOOPBACK}:1 ", f"{LOOPBACK}:2 "))
        self.reload()
        server = self.backend.servers[0]
        self.assertEqual((server.served, server.traffic.scur, server.traffic.stot), (0, 2, 2))
        for each in first:
            each.end()
        self.assertEqual((server.served, server.traffic.scur), (0, 0))

    def test_a_server_that_a_reload_has_put_down_is_down_since_then(self) -> None:
        self.begin("")
        self.reactor.advance(10)
        self.configure()
        text = (self.folder / "proxy.cfg").read_text()
        self.text("proxy.cfg", text.replace(f"{LOOPBACK}:1 ", f"{LOOPBACK}:1 disabled "))
        now = self.reactor.seconds()
        self.reload()
        self.assertEqual(self.backend.servers[0].state, MAINT)
        self.assertGreaterEqual(self.backend.servers[0].changed_at, now)
        self.assertNotEqual(self.backend.servers[0].state, DOWN)

    def test_a_limit_of_the_process_that_was_ordered_holds_until_the_file_says_another_one(self) -> None:
        self.begin(global_=" maxconn 100\n")
        places, frontend = self.proxy.places, self.proxy.frontends[0]
        places.taken = 5
        places.set_maxconn(5)
        self.assertEqual((frontend.full, frontend.listeners[0].state), (True, PAUSED))
        self.reload()
        self.assertEqual(places.maxconn, 5)
        self.assertIn("The process keeps maxconn 5, as was ordered", self.said)
        places.set_maxconn(6)
        frontend = self.proxy.frontends[0]
        self.assertEqual((frontend.full, frontend.listeners[0].state), (False, LISTENING))
        self.text("proxy.cfg", (self.folder / "proxy.cfg").read_text().replace("maxconn 100", "maxconn 99"))
        self.reload()
        self.assertEqual(places.maxconn, 99)
        places.set_maxconn(7)
        places.set_maxconn(0)
        self.assertEqual(places.maxconn, 99)
        places.taken = 0

    def test_a_frontend_has_no_more_clients_than_its_maxconn_of_both_generations(self) -> None:
        self.begin("")
        stays = [Stays(self.proxy.frontends[0]) for _ in range(2)]
        text = (self.folder / "proxy.cfg").read_text()
        self.text("proxy.cfg", text.replace("default_backend", "maxconn 2\n default_backend"))
        for _ in range(2):
            self.reload()
            frontend = self.proxy.frontends[0]
            self.assertEqual((frontend.clients, frontend.full), (2, True))
            self.assertEqual(frontend.listeners[0].state, PAUSED)
        stays[0].leave()
        self.assertEqual((frontend.clients, frontend.full), (1, False))
        self.assertEqual(frontend.listeners[0].state, LISTENING)
        stays[1].leave()
        self.assertEqual(frontend.clients, 0)

    def test_fullconn_counts_the_load_of_both_generations(self) -> None:
        """With a `minconn`, the limit of a server follows the load."""
        self.begin("minconn 1 maxconn 10")
        stays = Stays(self.proxy.frontends[0])
        self.addCleanup(stays.leave)
        text = (self.folder / "proxy.cfg").read_text()
        self.text("proxy.cfg", text.replace("backend b\n server", "backend b\n fullconn 10\n server"))
        self.reload()
        self.backend.traffic.scur = 5
        self.reload()
        Asks().ask(self.backend)
        self.assertEqual(self.backend.servers[0].maxconn, 5)


class AnswerTimeTests(CountingTestCase):
    """How long answers took, which is a histogram for each backend."""

    def test_it_goes_on_with_the_last_answers_of_before(self) -> None:
        """And what is not there any more is not counted for."""
        self.begin("", global_=" stats socket ipv4@127.0.0.1:0\n")
        before, stays = self.backend, Stays(self.proxy.frontends[0])
        self.addCleanup(stays.leave)
        assert before.answered_after is not None
        before.answered_after[300] = 2
        self.reactor.advance(1.1)
        self.reload()
        before.answered_after[300] += 3
        rates = self.proxy.rates
        assert rates is not None
        self.assertIsNot(self.backend, before)
        self.assertEqual(sum(rates.answer_times(self.backend).counts), 5)


class HandedOnTests(CountingTestCase):
    def test_every_counter_goes_to_the_process_that_takes_the_place(self) -> None:
        self.assertEqual({*COUNTED, *OTHERS}, {*Traffic.__slots__})
