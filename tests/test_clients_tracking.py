"""Clients that are tracked from their connection on, and rules for sessions, whose handshakes are over."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.deeds import notes_in_sessions
from reusedproxy.build.maps import Maps
from reusedproxy.build.rule_sets import RuleSets
from reusedproxy.build.tables import tables_of
from reusedproxy.clients import frontend as clients_frontend
from reusedproxy.clients.connection import ClientConnection
from reusedproxy.clients.frontend import Frontend
from reusedproxy.config import model
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.net.binding import bind_socket
from reusedproxy.net.listener import Listener
from reusedproxy.net.slices import run_through
from reusedproxy.rules.facts import Sample
from reusedproxy.rules.maps import Map
from reusedproxy.sessions.client import session_of
from tests.clientfakes import GET, OK, PLACE, World
from tests.rulefakes import DEFAULTS
from tests.wire import Far, Loop, scratch

TABLE = "stick-table type ip size 10 store conn_cnt,conn_cur,sess_cnt,http_req_cnt,http_err_cnt,gpc0,gpt0\n"
NAMES = ("conn_cnt", "conn_cur", "sess_cnt", "http_req_cnt", "http_err_cnt", "gpc0", "gpt0")


class TrackingTests(SynchronousTestCase):
    """With real sockets."""

    def world(self, lines: str) -> World:
        self.loop = Loop(self)
        world = World(self, warm=1)
        world.frontend._poller = self.loop.poller
        world.frontend.handshakes._poller = self.loop.poller
        self.rule(world, world.frontend, lines)
        bind = model.Bind(PLACE, model.ListenAddress("tcp", host="127.0.0.1"))
        self.listener = Listener(self.loop.poller, world.deadlines, bind, bind_socket(bind, 10), self.fail)
        world.frontend.listen(self.listener)
        return world

    def reload(
        self, world: World, lines: str, table: str = TABLE, variables: dict[str, Sample] | None = None
    ) -> Frontend:
        """Another frontend takes over, with these rules and variables of the process."""
        old = world.frontend
        world.frontend = successor = Frontend(
            old.settings, world.backend, self.loop.poller, world.deadlines, world.places, old.limits, world._announce
        )
        self.rule(world, successor, lines, old.tables, table)
        successor.variables = variables or {}
        successor.log = world.log.append
        old.stop({self.listener: successor})
        successor.listen(self.listener)
        return successor

    def rule(self, world: World, frontend: Frontend, lines: str, tables: Any = None, table: str = TABLE) -> None:
        text = f"{DEFAULTS}frontend a\n bind :80\n {table} default_backend x\n{lines}\nbackend x\n server s h:1\n"
        said = read_configuration([Source("t.cfg", text)], {})
        rules = said.frontends["a"].rules
        frontend.maps = {path: Map([]) for path in re.findall(r"\((/[^)]*)\)", lines)}
        frontend.tables = tables_of(said.tables, tables or {}, world.clock.seconds, [])
        frontend.gate = RuleSets({}).gate(rules.connection)
        frontend.session_gate = RuleSets({}).gate(rules.session)
        frontend.tracks = any(gate is not None and gate.tracks for gate in (frontend.gate, frontend.session_gate))
        frontend.counts_requests = frontend.tracks
        read = Maps({}, [])
        run_through(read.load([said.frontends["a"]]))
        frontend.maps = {**read.found, "m": Map([("127.0.0.1", b"1")]), "none": Map([])}
        frontend.notes_in_sessions = notes_in_sessions(said.frontends["a"])
        sets = frontend.gate is not None and frontend.gate.sets
        frontend.judges_sessions = frontend.tracks or sets or frontend.session_gate is not None
        frontend.set_guard()

    def values(self, world: World, key: str = "127.0.0.1") -> dict[str, int]:
        table = world.frontend.tables["a"]
        row = table.find(key)
        return {name: table.value(row, table.slots[name]) for name in NAMES} | {"uses": table.uses[row]} if row else {}

    def connect(self) -> Far:
        far: Far = self.loop.connect(("127.0.0.1", self.listener.port))
        return far

    def ask(self, world: World, far: Far, request: bytes = GET, answer: bytes = OK) -> bytes:
        before = len(far.received)
        far.send(request)
        self.loop.until(lambda: bool(world.server.busy) or len(far.received) > before)
        if world.server.busy:
            world.server.answer(answer)
        self.loop.until(lambda: len(far.received) > before)
        return far.received[before:]

    def end_one(self, far: Far) -> None:
        far.drop()
        self.loop.until(lambda: not self.listener.connections)

    def end(self, world: World, *clients: Far) -> None:
        for far in clients:
            far.drop()
        self.loop.until(lambda: not self.listener.connections)
        self.assertEqual(self.values(world).get("uses", 0), 0)
        self.assertEqual(self.values(world).get("conn_cur", 0), 0)
        world.check_rest()
        self.listener.close()

    def test_a_rule_says_where_a_client_comes_from(self) -> None:
        """For all that it asks, and for the rules behind it."""
        world = self.world("tcp-request connection set-src str(192.0.2.9)\n tcp-request connection track-sc0 src")
        far = self.connect()
        self.ask(world, far)
        (connection,) = world.frontend.connections
        assert isinstance(connection, ClientConnection)
        self.assertEqual(connection.address[0], "192.0.2.9")
        self.assertEqual(self.values(world, "192.0.2.9")["conn_cnt"], 1)
        self.end(world, far)

    def test_a_rule_says_what_a_client_has_come_to(self) -> None:
        """For connections it is the connection's, for sessions only what is asked for on it, as in HAProxy."""
        named = "set-dst ipv4(192.0.2.1)\n tcp-request {0} set-dst-port int(80)"
        for stage, lines, seen in (
            ("connection", named, b"192.0.2.1:80-192.0.2.1:80-127.0.0.1-127.0.0.1"),
            ("session", named, b"192.0.2.1:80-127.0.0.1:%d-127.0.0.1-127.0.0.1"),
            ("session", "set-src ipv4(192.0.2.9)", b"127.0.0.1:%d-127.0.0.1:%d-192.0.2.9-127.0.0.1"),
        ):
            world = self.world(f"tcp-request {stage} {lines.format(stage)}")
            far = self.connect()
            far.send(GET)
            self.loop.until(lambda world=world: bool(world.server.busy))
            (connection,) = world.frontend.connections
            assert isinstance(connection, ClientConnection) and connection.exchange is not None
            facts = connection.exchange
            found = "{}:{}-{}:{}-{}-{}".format(
                *facts.destination, *facts.connection_destination, facts.source[0], facts.connection_source[0]
            )
            self.assertEqual(found.encode(), seen.replace(b"%d", b"%d" % self.listener.port), (stage, lines))
            world.server.answer(OK)
            self.loop.until(lambda far=far: bool(far.received))
            self.end(world, far)

    def test_a_client_is_judged_again_by_where_it_came_from(self) -> None:
        """Before the rules that say otherwise, and behind them by what they say: nobody stays whom a rule would keep
        out."""
        for stage in ("connection", "session"):
            lines = "".join(
                f"tcp-request {stage} {each}\n" for each in ("set-src ipv4(192.0.2.9)", "set-dst ipv4(192.0.2.1)")
            )
            for before, condition, stays in (
                (True, "{ src 127.0.0.1 } { dst 127.0.0.1 }", False),
                (True, "{ src 192.0.2.9 } or { dst 192.0.2.1 }", True),
                (False, "{ src 192.0.2.9 } { dst 192.0.2.1 }", False),
                (False, "{ src 127.0.0.1 } or { dst 127.0.0.1 }", True),
            ):
                world = self.world(lines)
                far = self.connect()
                self.ask(world, far)
                rule = f"tcp-request {stage} reject if {condition}\n"
                self.reload(world, rule + lines if before else lines + rule)
                world.advance(1)
                self.loop.pump()
                self.assertEqual(bool(far.end), not stays, (stage, before, condition))
                self.end(world, far)

    def test_a_connection_is_counted_while_it_lasts(self) -> None:
        """With all its requests, and those that could not be read."""
        world = self.world("tcp-request connection track-sc0 src")
        one, two = self.connect(), self.connect()
        self.ask(world, one)
        self.ask(world, one, answer=b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n")
        self.assertIn(b" 400 ", self.ask(world, two, b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"))
        self.assertEqual(
            self.values(world),
            {"conn_cnt": 2, "conn_cur": 2, "sess_cnt": 2, "http_req_cnt": 3, "http_err_cnt": 2, "gpc0": 0, "gpt0": 0}
            | {"uses": self.values(world)["uses"]},
        )
        self.end(world, one, two)

    def test_what_a_rule_for_connections_sets_is_the_sessions(self) -> None:
        """For the rules behind it, and for whatever the client asks; a converter in a condition may set it, too."""
        for rule in ("set-var(sess.a) src", "accept if { src,set-var(sess.a) -m ip 127.0.0.1 }"):
            world = self.world(f"tcp-request connection {rule}")
            far = self.connect()
            self.ask(world, far)
            (connection,) = world.frontend.connections
            assert isinstance(connection, ClientConnection) and connection.session is not None
            self.assertEqual([*connection.session.variables], ["sess.a"])
            self.end(world, far)
        world = self.world(
            "tcp-request connection set-var(sess.a) src\n tcp-request session reject if { var(sess.a) -m ip 127.0.0.1 }"
        )
        far = self.connect()
        self.loop.until(lambda: bool(far.end))
        self.assertEqual(world.frontend.denied_sessions, 1)
        self.end(world)

    def test_a_client_is_judged_again_with_its_variables(self) -> None:
        """A reload that shuts it out by one of them does so, and so does one that would have set another."""
        sets = "tcp-request connection set-var(sess.a) src"
        for lines, stays in (
            (f"{sets}\n tcp-request connection reject if {{ var(sess.a) -m ip 192.0.2.1 }}", True),
            (f"{sets}\n tcp-request connection reject if {{ var(sess.a) -m ip 127.0.0.1 }}", False),
            ("tcp-request connection set-var(sess.b) src", False),
            ("tcp-request connection accept", False),
        ):
            world = self.world(sets if "accept" not in lines else f"{lines} if {{ src,set-var(sess.a) -m found }}")
            far = self.connect()
            self.ask(world, far)
            self.reload(world, lines)
            world.advance(1)
            self.loop.pump()
            self.assertEqual(bool(far.end), not stays, lines)
            self.end(world, far)

    def check_stays(
        self, before: str, now: str, stays: bool, was: Any = None, becomes: Any = None, said: Any = None, more: int = 0
    ) -> None:
        """A reload while a client is idle. `proc.x` was one value when it came, becomes another, and is a third by the
        file that is read then; and `more` clients have come since."""
        world = self.world(before)
        world.frontend.variables["proc.x"] = was
        far = self.connect()
        self.assertEqual(self.ask(world, far), OK)
        world.frontend.variables["proc.x"] = becomes
        for late in [self.connect() for _ in range(more)]:
            late.drop()
        self.loop.until(lambda: self.listener.connections == 1 and (not more or self.values(world)["conn_cnt"] > more))
        self.reload(world, now, variables={"proc.x": said})
        world.advance(1)
        self.loop.pump()
        self.assertEqual(not far.end, stays, (before, now))
        self.end(world, far)

    def test_a_rule_that_refuses_a_client_by_now_hides_no_other_one(self) -> None:
        """Who is refused by a rule that has let it in before stays where that is all; not where another one refuses it,
        in front or behind, in place of that rule or for sessions."""
        for stage in ("connection", "session"):
            switch = f"tcp-request {stage} reject if {{ var(proc.x) -m bool }}\n"
            new = "tcp-request {} reject if {{ src 127.0.0.1 }}\n"
            other = new.replace("127", "10")
            for now, stays in (
                (switch, True),
                (f"# a line\nacl closed var(proc.x) -m bool\ntcp-request {stage} reject if closed\n", True),
                (other.format(stage) + switch + other.format("session"), True),
                (switch.replace(" if ", " if { src 127.0.0.0/8 } "), False),
                (switch.replace("reject", "silent-drop"), False),
                (new.format(stage), False),
                (new.format(stage) + switch, False),
                (switch + new.format(stage), False),
                (switch + new.format("session"), False),
                (new.format("connection") + switch, False),
            ):
                self.check_stays(switch, now, stays, False, True, True)
            accepted = f"tcp-request {stage} accept if {{ src 127.0.0.1 }}\n"
            self.check_stays(accepted + switch, switch, False, False, True, True)
            last = new.format(stage)
            self.check_stays(switch + accepted + last, switch + last, False, False, True, True)
            self.check_stays(switch, switch, False, False, False, True)

    def test_a_limit_that_a_client_has_passed_hides_no_other_rule(self) -> None:
        track = "tcp-request connection track-sc0 src\n"
        limit = track + "tcp-request connection reject if { sc0_conn_cnt gt 2 }\n"
        new = "tcp-request connection reject if { src 127.0.0.1 }\n"
        for now, stays in ((limit, True), (new + limit, False), (limit + new, False), (track + new, False)):
            self.check_stays(limit, now, stays, more=4)

    def test_a_rule_that_fails_by_now_hides_no_other_one(self) -> None:
        """Though it refuses all who come since, before and after the reload."""
        fails = "tcp-request connection reject if { src,map_ip(gone) -m found }\n"
        for now, stays in ((fails, True), (fails + "tcp-request connection reject if { src 127.0.0.1 }\n", False)):
            world = self.world(fails)
            before = world.frontend.maps
            world.frontend.maps = {**before, "gone": Map([])}
            far = self.connect()
            self.assertEqual(self.ask(world, far), OK)
            world.frontend.maps = before
            self.reload(world, now)
            world.advance(1)
            self.loop.pump()
            self.assertEqual(not far.end, stays, now)
            self.end(world, far)

    def test_a_list_that_has_changed_makes_a_rule_another_one(self) -> None:
        """Who had passed the limit of a rule, and whom its list has come to name, goes."""
        path = scratch(self) / "blocked.lst"
        lines = f"tcp-request connection reject if {{ var(proc.x) -m bool }} or {{ src -f {path} }}\n"
        for text, stays in (("10.0.0.1", True), ("127.0.0.1", False)):
            path.write_text("10.0.0.1\n")
            world = self.world(lines)
            far = self.connect()
            self.assertEqual(self.ask(world, far), OK)
            world.frontend.variables["proc.x"] = True
            path.write_text(f"{text}\n")
            self.reload(world, lines, variables={"proc.x": True})
            world.advance(1)
            self.loop.pump()
            self.assertEqual(not far.end, stays, text)
            self.end(world, far)

    def test_a_client_is_judged_again_by_the_addresses_that_rules_name_anew(self) -> None:
        """Rules for sessions, too, where only a variable that names them has changed."""
        one, other = ip_address("192.0.2.8"), ip_address("192.0.2.9")
        for word, fetches in (("set-src", ("src", "fc_src")), ("set-dst", ("dst", "fc_dst"))):
            for fetch in fetches:
                lines = (
                    f"tcp-request connection {word} var(proc.x)\n"
                    f"tcp-request session reject if {{ {fetch} 192.0.2.9 }}\n"
                )
                self.check_stays(lines, lines, True, one, one, one)
                self.check_stays(lines, lines, True, one, other, one)
                self.check_stays(lines, lines, False, one, one, other)

    def test_a_client_is_judged_again_by_what_rules_set_of_the_process(self) -> None:
        """By rules behind, for connections and for sessions; what is set is kept only where a client comes."""
        for stage, behind in (("connection", "connection"), ("connection", "session"), ("session", "session")):
            sets = f"tcp-request {stage} set-var(proc.n) int(1)\n"
            rule = f"tcp-request {behind} reject if {{ var(proc.n) -m int %d }}\n"
            self.check_stays(sets, sets + rule % 1, False)
            self.check_stays(sets, sets + rule % 2, True)

    def test_judging_a_client_again_sets_nothing_of_its_session(self) -> None:
        lines = "tcp-request session accept if { sc0_conn_cnt,set-var(sess.n) -m found }\n"
        world = self.world("tcp-request connection track-sc0 src\n" + lines)
        far, other = self.connect(), self.connect()
        self.assertEqual((self.ask(world, far), self.ask(world, other)), (OK, OK))
        noted = [dict(session_of(each).variables) for each in world.frontend.connections]  # type: ignore[arg-type]
        self.reload(world, "tcp-request connection track-sc0 src\n" + lines)
        self.assertEqual(len(world.frontend.connections), 2)
        for each in world.frontend.connections:
            self.assertIn(session_of(each).variables, noted)  # type: ignore[arg-type]
        self.assertNotEqual(*noted)
        self.end(world, far, other)

    def test_rules_for_connections_and_sessions_look_maps_up(self) -> None:
        """Without the map nobody is let in: it may be a list of the blocked."""
        for stage in ("connection", "session"):
            for rule in ("reject if { src,map_ip(m) -m found }", "reject if { src,map_ip_int(m,0) eq 1 }"):
                world = self.world(f"tcp-request {stage} {rule}")
                for maps, lets_in in (({"m": Map([])}, True), ({"m": Map([("127.0.0.1", b"1")])}, False), ({}, False)):
                    world.frontend.maps = maps
                    far = self.connect()
                    if lets_in:
                        self.assertIn(b" 200 ", self.ask(world, far))
                        self.end_one(far)
                    else:
                        self.loop.until(lambda far=far: far.end != "")
                self.assertEqual(len(world.announced), 1)  # of the last one
                self.listener.close()

    def test_those_who_are_too_many_are_turned_away(self) -> None:
        """They count as connections, and not as sessions, and are tracked no more."""
        world = self.world(
            "tcp-request connection track-sc0 src\ntcp-request connection reject if { sc0_conn_cur gt 1 }"
        )
        one = self.connect()
        self.loop.until(lambda: bool(self.values(world)))
        two = self.connect()
        self.loop.until(lambda: two.end != "")
        found = self.values(world)
        self.assertEqual([found[name] for name in ("conn_cnt", "conn_cur", "sess_cnt", "uses")], [2, 1, 1, 1])
        self.assertEqual((world.frontend.denied, world.frontend.denied_sessions), (1, 0))
        self.end(world, one)

    def test_one_whose_preface_never_comes_is_tracked_no_more(self) -> None:
        world = self.world("tcp-request connection track-sc0 src\ntcp-request connection expect-proxy layer4")
        far = self.connect()
        self.loop.until(lambda: bool(self.values(world)))
        self.assertEqual(self.values(world)["conn_cur"], 1)
        far.send(b"GET / HTTP/1.1\r\n\r\n")
        self.loop.until(lambda: far.end != "")
        self.assertEqual([self.values(world)[name] for name in ("conn_cnt", "conn_cur", "sess_cnt")], [1, 0, 0])
        self.end(world)

    def test_a_session_has_the_address_of_its_preface(self) -> None:
        """Which rules for connections cannot know."""
        world = self.world(
            "tcp-request connection expect-proxy layer4\ntcp-request session track-sc0 src\n"
            "tcp-request session sc-inc-gpc0(0)\ntcp-request session set-var(sess.from) src"
        )
        far = self.connect()
        answer = self.ask(world, far, b"PROXY TCP4 192.0.2.9 192.0.2.1 5 80\r\n" + GET)
        self.assertEqual(answer, OK)
        self.assertEqual(self.values(world), {})
        found = self.values(world, "192.0.2.9")
        self.assertEqual([found[name] for name in ("conn_cnt", "sess_cnt", "http_req_cnt", "gpc0")], [1, 1, 1, 1])
        (connection,) = world.frontend.connections
        self.assertEqual(str(connection.session.variables["sess.from"]), "192.0.2.9")  # type: ignore[attr-defined]
        self.end(world, far)

    def test_a_preface_does_not_say_where_the_connection_comes_from(self) -> None:
        """Who may write one is whoever connects: rules tell other proxies from clients by `fc_src`."""
        forged = b"PROXY TCP4 10.9.9.9 192.0.2.1 5 80\r\n"
        for keeps in (
            "reject unless { fc_src 10.0.0.0/8 }",
            "reject unless { fc_src_port 5 }",
            "reject unless { fc_dst 192.0.2.1 }",
            "reject unless { fc_dst_port 80 }",
            "reject if { fc_src_is_local }",
            "reject if { fc_dst_is_local }",
        ):
            world = self.world(f"tcp-request connection expect-proxy layer4\ntcp-request session {keeps}")
            far = self.connect()
            far.send(forged + GET)
            self.loop.until(lambda far=far: far.end != "")
            self.assertEqual(world.frontend.denied_sessions, 1, keeps)
            self.end(world)
        world = self.world(
            "tcp-request connection expect-proxy layer4\n"
            "tcp-request session reject unless { fc_src 127.0.0.1 } { src 10.9.9.9 } { dst 192.0.2.1 }"
        )
        far = self.connect()
        self.assertEqual(self.ask(world, far, forged + GET), OK)
        (connection,) = world.frontend.connections
        assert isinstance(connection, ClientConnection) and connection.peer is not None
        self.assertEqual((connection.peer[0], connection.address), ("127.0.0.1", ("10.9.9.9", 5)))
        self.end(world, far)

    def test_a_rule_for_connections_says_where_the_connection_comes_from(self) -> None:
        """Before a preface has come, which says for whom it comes."""
        world = self.world(
            "tcp-request connection set-src ipv4(192.0.2.7)\ntcp-request connection expect-proxy layer4\n"
            "tcp-request session track-sc0 fc_src\ntcp-request session reject unless { src 10.9.9.9 }"
        )
        far = self.connect()
        self.assertEqual(self.ask(world, far, b"PROXY TCP4 10.9.9.9 192.0.2.1 5 80\r\n" + GET), OK)
        self.assertEqual([self.values(world, "10.9.9.9"), self.values(world)], [{}, {}])
        self.assertEqual(self.values(world, "192.0.2.7")["http_req_cnt"], 1)
        self.end(world, far)

    def test_a_session_is_turned_away(self) -> None:
        world = self.world("tcp-request session track-sc0 src\ntcp-request session reject if { sc0_sess_cnt gt 0 }")
        one = self.connect()
        self.assertEqual(self.ask(world, one), OK)
        two = self.connect()
        self.loop.until(lambda: two.end != "")
        self.assertEqual((world.frontend.denied, world.frontend.denied_sessions), (0, 1))
        self.assertEqual(self.values(world)["conn_cur"], 1)
        self.end(world, one)

    def test_a_session_is_dropped_silently(self) -> None:
        """The client's kernel hears nothing: from where it stands, the connection goes on."""
        hidden: list[object] = []
        self.patch(clients_frontend, "hide", hidden.append)
        world = self.world("tcp-request session silent-drop")
        self.connect()
        self.loop.until(lambda: bool(world.frontend.denied_sessions))
        self.assertEqual((len(hidden), len(world.frontend.connections)), (1, 0))

    def test_a_reload_counts_nobody_twice(self) -> None:
        """Who is idle goes on as it is, by rules that are asked what they would say; or is turned away by a new one."""
        for more, stays in (
            ("", True),
            ("tcp-request connection reject if { src_inc_gpc0 gt 5 }\n", True),
            ("tcp-request session reject if { sc0_conn_cur gt 0 }\n", False),
            ("tcp-request connection reject if { src,map_ip(none) -m found }\n", True),
            ("tcp-request connection reject if { src,map_ip(m) -m found }\n", False),
            ("tcp-request session reject if { src,map_ip(m) -m found }\n", False),
        ):
            lines = "tcp-request connection track-sc0 src\n"
            world = self.world(lines)
            far = self.connect()
            self.assertEqual(self.ask(world, far), OK)
            old, before = world.frontend, self.values(world)
            successor = self.reload(world, lines + more)
            self.assertIs(successor.tables["a"], old.tables["a"])
            if stays:
                self.assertEqual(self.values(world), before, more)
                self.assertEqual(self.ask(world, far), OK)
                self.assertEqual(self.values(world)["http_req_cnt"], 2)
                self.end(world, far)
            else:
                self.loop.until(lambda far=far: far.end != "")
                self.end(world)

    def test_a_reload_whose_rules_would_have_said_something_else_ends_those_who_are_there(self) -> None:
        """As HAProxy does: who is idle at once, who is being answered with the answer. What other rules have said of
        them would count, or they would escape what the rules say now."""
        trusting = "acl trusted src 127.0.0.1\ntcp-request session set-var(sess.trusted) bool(true) if trusted\n"
        track, other = "tcp-request connection track-sc0 src\n", "tcp-request session track-sc1 src\n"
        for before, after, table in (
            (trusting, trusting.replace("127.0.0.1", "10.9.9.9"), TABLE),
            (trusting, "", TABLE),
            (trusting, trusting.replace("if", "unless"), TABLE),
            (trusting, "tcp-request session accept if { src 127.0.0.1 }\n" + trusting, TABLE),
            ("", track, TABLE),
            (track, track + other, TABLE),
            (track, track, TABLE.replace("gpt0", "gpt0,gpc1")),
        ):
            world = self.world(before)
            idle, busy = self.connect(), self.connect()
            self.assertEqual((self.ask(world, idle), self.ask(world, busy)), (OK, OK))
            busy.send(GET)
            self.loop.until(lambda world=world: bool(world.server.busy))
            self.reload(world, after, table)
            self.loop.until(lambda idle=idle: idle.end != "")
            world.server.answer(OK)
            self.loop.until(lambda busy=busy: busy.end != "")
            self.assertIn(b"\r\nconnection: close\r\n", busy.received.lower(), (before, after))
            self.assertEqual((idle.received, busy.received.count(b"HTTP/1.1 200")), (OK, 2))
            self.end(world)

    def test_a_reload_whose_rules_say_the_same_ends_nobody(self) -> None:
        """Wherever they stand, whatever their ACLs are called, and whom else they turn away."""
        rules = (
            "tcp-request connection track-sc0 src\nacl x src 127.0.0.1\ntcp-request session set-var(sess.x) src if x\n"
        )
        for after in (
            "# a line\n" + rules,
            rules.replace(" x", " y"),
            "tcp-request connection reject if { src 10.0.0.1 }\n" + rules + "tcp-request session accept\n",
        ):
            world = self.world(rules)
            far = self.connect()
            self.assertEqual(self.ask(world, far), OK)
            self.reload(world, after)
            self.assertEqual(self.ask(world, far), OK)
            self.assertEqual(self.values(world)["http_req_cnt"], 2)
            self.end(world, far)

    def test_what_a_request_has_noted_of_a_client_does_not_outlive_a_reload(self) -> None:
        """Such as who has logged in: the list of users may be another one, which nobody asks again on a connection."""
        for lines, noted, stays in (
            ("http-request set-var(sess.ok) bool(true)\n", True, False),
            ("http-response set-header X %[str(1),set-var(sess.ok)]\n", True, False),
            ("use_backend x if { bool(true),set-var(sess.ok) -m bool }\n", True, False),
            ("redirect location /a if { path,set-var(sess.ok) -m str /b }\n", True, False),
            ("unique-id-format %[rand,set-var(sess.ok)]\n", True, False),
            ("monitor-uri /up\nmonitor fail if { path,set-var(sess.ok) -m str /b }\n", True, False),
            ("stats uri /s\nstats admin if { path,set-var(sess.ok) -m str /b }\n", True, False),
            ("http-request set-var(sess.ok) bool(true)\n", False, True),
            ("http-request set-var(txn.ok) bool(true)\n", True, True),
        ):
            world = self.world(lines)
            far = self.connect()
            self.assertEqual(self.ask(world, far), OK)
            (connection,) = world.frontend.connections
            if noted:
                session_of(connection).variables["sess.ok"] = True  # type: ignore[arg-type]
            self.reload(world, lines)
            if stays:
                self.assertEqual(self.ask(world, far), OK)
                self.end(world, far)
            else:
                self.loop.until(lambda far=far: far.end != "")
                self.end(world)

    def test_what_rules_read_of_files_counts_as_what_they_say(self) -> None:
        folder = scratch(self)
        path, addresses = folder / "levels.map", folder / "addresses.lst"
        lines = (
            f"tcp-request session set-var(sess.level) src,map_ip({path}) if {{ src -f {addresses} }}\n"
            "tcp-request session reject if { src 10.9.9.9 }\n"
        )
        for name, text, stays in (
            (path, "127.0.0.1 high", True), (path, "127.0.0.1 low", False), (addresses, "10.0.0.0/8", False),
        ):  # fmt: skip
            for file, said in ((path, "127.0.0.1 high"), (addresses, "127.0.0.0/8")):
                file.write_text(f"{said}\n")
            world = self.world(lines)
            far = self.connect()
            self.assertEqual(self.ask(world, far), OK)
            name.write_text(f"{text}\n")
            self.reload(world, lines)
            if stays:
                self.assertEqual(self.ask(world, far), OK)
                self.end(world, far)
            else:
                self.loop.until(lambda far=far: far.end != "")
                self.end(world)
