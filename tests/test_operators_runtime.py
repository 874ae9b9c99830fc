"""The runtime API: the protocol on a clock and in memory, and what each command says and does."""

from __future__ import annotations

import gc
import json
import os
import re
import weakref
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from itertools import takewhile
from socket import AF_UNIX
from types import SimpleNamespace
from typing import Any

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy import __version__
from reusedproxy.backends.checks.agent import STATIC_WEIGHTS
from reusedproxy.backends.checks.results import Result
from reusedproxy.backends.server import DOWN, DRAIN, MAINT, NOLB, READY, UP
from reusedproxy.config.model.proxies import RecordBound
from reusedproxy.config.model.proxies import Spread as Settings
from reusedproxy.config.model.values import Notice, Place
from reusedproxy.daemon.service import ProxyService
from reusedproxy.doctor.records import Unanswered, answered
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.dial import Target
from reusedproxy.net.slices import Steps
from reusedproxy.operators.runtime import servers, session
from reusedproxy.operators.runtime.commands import COMMANDS, run
from reusedproxy.operators.runtime.proxy import ADMIN, BUSY, NOBODY, OPERATOR, USER, Context, Refusal
from reusedproxy.operators.runtime.session import LONGEST_LINE, PIECES_AT_ONCE, Session
from reusedproxy.operators.runtime.words import commands_of
from reusedproxy.operators.shell.commands import namespace
from reusedproxy.operators.stats.figures import AT_ONCE
from reusedproxy.operators.view.reading import server_view
from reusedproxy.operators.view.values import CheckView, ProxyView
from reusedproxy.pool.cold import Cold
from reusedproxy.pool.kept import DRAINED, NO_ORDER
from reusedproxy.pool.kinds import ANY
from reusedproxy.pool.spread import Spread
from tests.clientfakes import Wire
from tests.integration.peers import LOOPBACK, temporary_directory

TEXT = f"""\
global
 stats socket /a.sock level admin
 setenv COLOUR blue
 log ring@lines format raw local0
 setenv TITLE a\\x1b[2J\\xc2\\x9b\\tb
defaults
 mode http
 timeout connect 1s
 timeout client 1s
 timeout server 1s
frontend fe
 bind {LOOPBACK}:0
 maxconn 100
 default_backend be
backend be
 server s1 {LOOPBACK}:1 weight 10 maxconn 20
 server s2 {LOOPBACK}:2 weight 20 disabled
 server sure {LOOPBACK}:3 maxconn 5 strict-maxconn
backend static
 balance static-rr
 option httpchk
 http-check disable-on-404
 server a {LOOPBACK}:1 weight 10 check addr {LOOPBACK} port 5 agent-check agent-port 6
 server b {LOOPBACK}:1 track static/a
 server c {LOOPBACK}:1 check slowstart 10s
listen both
 bind {LOOPBACK}:0
 server x {LOOPBACK}:4
ring lines
 description what happens
 size 2000
"""


class RuntimeTestCase(SynchronousTestCase):
    """A proxy that does not listen."""

    def setUp(self) -> None:
        self.clock = Clock()
        file = temporary_directory(self) / "proxy.cfg"
        file.write_text(TEXT)
        self.service = ProxyService(self.clock, [str(file)])
        self.service.assemble(bind=False)
        self.context = Context(self.service, ADMIN, 10.0)

    def says(self, line: str, level: int = ADMIN) -> str:
        """What a command answers, or why it does not."""
        self.context.level = level
        try:
            return "".join(run(self.context, commands_of(line)[0]))
        except Refusal as refusal:
            return str(refusal)

    def server(self, name: str) -> Any:
        return self.context.server(name)[1]


class WordsTests(SynchronousTestCase):
    def test_lines_are_cut_as_in_haproxy(self) -> None:
        for line, expected in (
            ("show stat", [["show", "stat"]]),
            ("  show   stat\t;prompt", [["show", "stat"], ["prompt"]]),
            (r"a\;b c\ d", [["a;b", "c d"]]),
            ("", [[]]),
            (";", [[], []]),
            ("a;", [["a"], []]),
            ("a\\", [["a"]]),
        ):
            self.assertEqual(commands_of(line), expected, line)


class CommandTests(RuntimeTestCase):
    def test_each_command_needs_its_level(self) -> None:
        """And those without it are not told of it."""
        for command in COMMANDS:
            for level in (USER, OPERATOR, ADMIN):
                said = self.says(" ".join(command.words), level)
                self.assertEqual(said == "Permission denied", level < command.level, command.words)
                self.assertEqual(f"  {command.usage}" in self.says("help", level), level >= command.level)
        self.assertEqual(self.says("clear counters all", OPERATOR), "Permission denied")

    def test_they_are_listed_in_the_order_of_their_words(self) -> None:
        """As HAProxy's help; what is always there comes last."""
        words = [each.words for each in COMMANDS]
        self.assertEqual(words[:-3], sorted(words[:-3]))
        self.assertEqual(words[-3:], [("help",), ("prompt",), ("quit",)])

    def test_rights_are_given_up_and_never_taken(self) -> None:
        self.assertEqual(self.says("operator"), "")
        self.assertEqual(self.context.level, OPERATOR)
        self.assertEqual("".join(run(self.context, ["user"])), "")
        with self.assertRaisesRegex(Refusal, "Permission denied"):
            run(self.context, ["operator"])

    def test_what_is_unknown_is_answered_with_what_may_be_meant(self) -> None:
        self.assertIn("show servers conn", self.says("show servers"))
        self.assertNotIn("show info", self.says("show servers nosuch"))
        self.assertTrue(self.says("shwo stat").startswith("Unknown command, but maybe one of the following"))
        self.assertTrue(
            self.says("xyzzy").startswith("Unknown command. Please enter one of the following commands only:")
        )

    def test_an_empty_command_has_an_empty_answer(self) -> None:
        """Enter at the prompt, or a semicolon at the end."""
        self.assertEqual(self.says(""), "")

    def test_states_are_ordered(self) -> None:
        server = self.server("be/s1")
        for line, admin in (
            ("set server be/s1 state drain", DRAIN),
            ("set server be/s1 state maint", MAINT),
            ("set server be/s1 state ready", READY),
            ("disable server be/s1", MAINT),
            ("enable server be/s1", READY),
        ):
            self.assertEqual(self.says(line), "", line)
            self.assertEqual(server.admin, admin, line)

    def test_what_cannot_be_ordered_is_refused_in_haproxys_words(self) -> None:
        for line, said in (
            ("set server", "Require 'backend/server'."),
            ("set server be", "Require 'backend/server'."),
            ("set server be/no state ready", "No such server."),
            ("set server no/s1 state ready", "No such backend."),
            (
                "set server be/s1",
                "usage: set server <backend>/<server> addr | agent | agent-addr | agent-port | agent-send | check-addr"
                " | check-port | fqdn | health | ssl | state | weight",
            ),
            ("set server be/s1 state", "'set server <srv> state' expects 'ready', 'drain' and 'maint'."),
            ("set weight be/s1", "Require <weight> or <weight%>."),
            ("set weight be/s1 257", "Absolute weight can only be between 0 and 256 inclusive."),
            ("set weight be/s1 -1", "Absolute weight can only be between 0 and 256 inclusive."),
            ("set weight be/s1 -1%", "Relative weight must be positive."),
            ("set weight be/s1 x", "Empty weight string empty or preceded by garbage"),
            ("set weight be/s1 5x", "Trailing garbage in weight string"),
            ("set weight be/s1 ²", "Empty weight string empty or preceded by garbage"),
            ("set maxconn server be/s1", "Require <maxconn>."),
            ("set maxconn server be/s1 x", "maxconn string empty or preceded by garbage"),
            ("set maxconn server be/s1 5x", "Trailing garbage in maxconn string"),
            (
                "set maxconn server be/sure 5",
                "This server has 'strict-maxconn': its maxconn can be changed by a reload only.",
            ),
            ("set maxconn frontend no 5", "No such frontend."),
            ("set maxconn frontend fe", "Integer value expected."),
            ("set maxconn frontend fe -5", "Value out of range."),
            ("show servers state no", "Can't find backend."),
            ("show stat no -1 -1", "No such proxy."),
            ("set timeout cli ²", "Invalid timeout value."),
            ("set timeout cli " + "9" * 5000, "Invalid timeout value."),
            ("set timeout cli " + "0" * 5000, "Invalid timeout value."),
            ("set maxconn frontend fe ²", "Integer value expected."),
            ("show pool no", "No such backend."),
            ("show pool be/no", "No such server."),
            ("show pool connections no", "No such backend."),
            ("show pool connections be/no", "No such server."),
            ("drain pool", "Require 'backend' or 'backend/server'."),
            ("drain pool no", "No such backend."),
            ("rewarm pool be/no", "No such server."),
            ("explain pool", "Require 'backend/server'."),
            ("explain pool be/no", "No such server."),
            ("show env NO_SUCH", "Variable not found"),
            ("set timeout cli x", "Invalid timeout value."),
            ("set timeout cli", "Invalid timeout value."),
            ("set timeout x 5", "'set timeout' only supports 'cli'."),
        ):
            self.assertEqual(self.says(line), said, line)

    def test_checks_and_agents_pause_and_go_on(self) -> None:
        backend = self.context.backend("static")
        for what, pausing in (("health", backend.checkers[0]), ("agent", backend.agents[0])):
            for word in ("disable", "enable"):
                self.assertEqual(self.says(f"{word} {what} static/a"), "")
                self.assertIs(pausing.paused, word == "disable", (word, what))
            self.assertEqual(self.says(f"disable {what} be/s1"), "")
            self.assertEqual(self.says(f"enable {what}"), "Require 'backend/server'.")
        self.assertEqual(
            self.says("enable health be/s1"), "Health check was not configured on this server, cannot enable."
        )
        self.assertEqual(self.says("enable agent be/s1"), "Agent was not configured on this server, cannot enable.")

    def test_weights_are_set(self) -> None:
        """Absolute, or as a share of the weight in the file; 0 gives only what is bound."""
        for value, weight, state in (
            ("5", 5, UP),
            ("50%", 5, UP),
            ("0", 0, DRAIN),
            ("100%", 10, UP),
            ("9999%", 256, UP),
        ):
            self.assertEqual(self.says(f"set server be/s1 weight {value}"), "")
            self.assertEqual(self.says("get weight be/s1"), f"{weight} (initial 10)\n")
            self.assertEqual(self.server("be/s1").state, state)

    def test_weights_of_static_algorithms_are_none_or_the_configured_one(self) -> None:
        for value, said, weight in (
            ("5", STATIC_WEIGHTS, 10),
            ("50%", STATIC_WEIGHTS, 10),
            ("0", "", 0),
            ("11", STATIC_WEIGHTS, 0),
            ("100%", "", 10),
        ):
            self.assertEqual(self.says(f"set weight static/a {value}"), said)
            self.assertEqual(self.server("static/a").weight, weight)

    def test_limits_are_set(self) -> None:
        self.says("set maxconn server be/s1 7")
        self.assertEqual(self.server("be/s1").maxconn, 7)
        self.says("set maxconn frontend fe 9")
        self.assertEqual(self.context.proxy.frontends[0].maxconn, 9)
        self.assertIn(",,,0,0,9,", self.says("show stat fe 1 0"))

    def test_rates_are_bounded(self) -> None:
        """Until a reload, at which the file's words count again."""
        places = self.context.proxy.places
        for word, kept in (("connections", "maxconnrate"), ("sessions", "maxsessrate"), ("ssl-sessions", "maxsslrate")):
            self.assertEqual(self.says(f"set rate-limit {word} global 1"), "")
            places.count(kept)
            self.assertTrue(places.limited, word)
            self.assertEqual(self.says(f"set rate-limit {word} global 2"), "")
            self.assertFalse(places.limited, word)
            places.count(kept)
            self.assertTrue(places.limited, word)  # what was counted goes on
            self.assertEqual(self.says(f"set rate-limit {word} global x"), "")
            self.assertEqual(places.rates, {})
        self.assertEqual(self.says("set rate-limit sessions global -1"), "Value out of range.")
        self.assertEqual(self.says("set rate-limit sessions global"), "Expects an integer value.")
        for wrong in ("", " sessions", " sessions local 1", " http-compression global 1"):
            self.assertTrue(self.says(f"set rate-limit{wrong}").startswith("'set rate-limit' only supports :\n"), wrong)

    def test_counters_begin_anew(self) -> None:
        backend = self.context.backend("be")
        traffic = backend.traffic
        traffic.stot, traffic.smax, traffic.scur = 9, 5, 2
        traffic.hrsp[2] = 7
        self.says("clear counters")
        self.assertEqual((traffic.stot, traffic.smax, traffic.scur, traffic.hrsp[2]), (9, 2, 2, 7))
        self.says("clear counters all")
        self.assertEqual((traffic.stot, traffic.smax, traffic.scur, traffic.hrsp[2]), (0, 2, 2, 0))

    def test_statistics_are_shown_in_three_forms(self) -> None:
        rows = self.says("show stat").splitlines()
        names = [row.split(",")[:2] for row in rows]
        self.assertEqual(names[0], ["# pxname", "svname"])
        self.assertEqual(names[1:4], [["fe", "FRONTEND"], ["be", "s1"], ["be", "s2"]])
        self.assertIn("S.3.1.18.weight.1:MaP:u32:10\n", self.says("show stat typed"))
        told = json.loads(self.says("show stat json"))
        self.assertEqual(len(told), len(rows) - 1)
        self.assertEqual(told[1][1]["value"], {"type": "str", "value": "s1"})
        self.assertEqual(told[1][0]["tags"], {"origin": "Key", "nature": "Name", "scope": "Service"})

    def test_statistics_are_narrowed(self) -> None:
        def names(line: str) -> list[str]:
            return [",".join(row.split(",")[:2]) for row in self.says(line).splitlines()[1:]]

        self.assertEqual(names("show stat be 4 -1"), ["be,s1", "be,s2", "be,sure"])
        self.assertEqual(names("show stat 3 4 1"), ["be,s1"])
        # The number of HAProxy's runtime API, a number with more behind it, and one of nobody.
        self.assertEqual(
            [names(f"show stat {each} -1 -1") for each in ("1", "3x", "77")], [[], names("show stat be -1 -1"), []]
        )
        self.assertEqual(self.says("show stat 0 -1 -1"), "No such proxy.")
        self.assertEqual(names("show stat -1 1 -1"), ["fe,FRONTEND", "both,FRONTEND"])
        for types in ("²", "٣", "--1", "+-1", "1_0", "9" * 5000, "-" + "0" * 5000, "x", "-"):
            self.assertEqual(names(f"show stat -1 {types} -1"), [], types[:10])
        self.assertEqual(names("show stat be -1 -1 no-maint"), ["be,s1", "be,sure", "be,BACKEND"])
        self.assertEqual(names("show stat be x -1"), [])

    def test_what_was_said_of_the_configuration_is_shown(self) -> None:
        """Once, though both the files and the proxy that was made of them have it."""
        proxy = self.service.proxy
        assert proxy is not None
        first, *rest = self.says("show startup-logs").splitlines()
        self.assertEqual(first, f"[NOTICE]   ({os.getpid()}) : reusedproxy version is {__version__}")
        self.assertEqual(len(rest), len({*proxy.configuration.notices, *proxy.notices}))
        proxy.notices.append(Notice("warning", Place("a.cfg", 7), "something is odd"))
        self.assertEqual(
            self.says("show startup-logs").splitlines()[1:],
            [*rest, f"[WARNING]  ({os.getpid()}) : config : [a.cfg:7] : something is odd"],
        )

    def test_name_servers_are_shown(self) -> None:
        self.assertEqual(self.says("show resolvers"), "No resolvers found\n")
        self.assertEqual(self.says("show resolvers no"), "Can't find that resolvers section")

    def test_the_process_is_shown(self) -> None:
        self.assertIn("\nMaxconn: ", self.says("show info"))
        self.assertRegex(self.says("show info typed"), r"(?m)^15\.Maxconn\.1:CLP:u32:[0-9]+$")
        self.assertIn("Pid: ", self.says("show info desc"))
        self.says("set rate-limit sessions global 70")
        self.assertIn("\nSessRateLimit: 70\n", self.says("show info"))
        self.says("set rate-limit sessions global 0")
        self.assertEqual(json.loads(self.says("show info json"))[0]["value"]["value"], "reusedproxy")
        self.assertEqual(self.says("show env COLOUR"), "COLOUR=blue\n")
        self.assertIn("COLOUR=blue\n", self.says("show env"))

    def test_servers_are_shown(self) -> None:
        self.assertEqual(self.says("show backend"), "# name\nbe\nstatic\nboth\n")
        version, columns, *lines = self.says("show servers state be").splitlines()
        self.assertEqual((version, columns.split()[:3]), ("1", ["#", "be_id", "be_name"]))
        for line in lines:
            self.assertEqual(len(line.split()), len(columns.split()) - 1)
        self.assertRegex(lines[0], rf"^3 be 1 s1 {LOOPBACK} 2 0 10 10 ")
        self.assertRegex(lines[1], rf"^3 be 2 s2 {LOOPBACK} 0 5 20 20 ")
        self.assertIn(f"be/s1 3/1 {LOOPBACK} 1 - 5000 0 0 0 0 0 -1 0 0\n", self.says("show servers conn"))
        self.assertIn("be/s1", self.says("show pool be/s1"))
        self.assertNotIn("be/s2", self.says("show pool be/s1"))

    def test_servers_at_unix_sockets_have_no_address(self) -> None:
        """As in HAProxy: a path, or an abstract name, may have blanks, which would move the columns."""
        _, server = self.context.server("be/s1")
        for address in ("/run/my server", bytes(1) + b"name" + bytes(103)):
            server.stand_at(Target(AF_UNIX, address), None)
            self.assertIn("\n3 be 1 s1 - 2 0 10 10 ", self.says("show servers state be"))
            self.assertIn("be/s1 3/1 - 0 - 5000 0 0 ", self.says("show servers conn"))

    def test_servers_that_come_up_and_nodes_are_shown_with_their_pools(self) -> None:
        _, server = self.context.server("be/s1")
        self.assertNotIn("comes up", self.says("show pool be/s1") + self.says("explain pool be/s1"))
        server.warmth = 4
        pool = server.pool
        pool.upkeep.spread = spread = Spread(
            Settings(), pool, pool.holdings, pool.upkeep.governor, pool.upkeep, pool.deadlines.now, lambda text: None
        )
        for number, node in enumerate(("a1", "a1", "b2")):
            spread.nodes.place(number, node, pool.deadlines.now())
        said = self.says("show pool be/s1")
        self.assertIn("    nodes: 2 nodes by certificate: 2 at a1, 1 at b2; watching\n", said)
        self.assertIn("    comes up: 4/16 of its share\n", said)
        said = self.says("explain pool be/s1")
        self.assertIn("It has come up and takes 4 of 16 parts of its share, while its floor fills: 0 of ", said)
        self.assertIn("Its connections are at 2 nodes by certificate: 2 at a1, 1 at b2.\n", said)
        (row,) = [each for each in self.says("show stat be 4 -1").splitlines() if each.startswith("be,s1,")]
        titles = self.says("show stat be 4 -1").splitlines()[0].removeprefix("# ").split(",")
        shown = dict(zip(titles, row.split(","), strict=False))
        self.assertEqual((shown["weight"], shown["uweight"], shown["throttle"]), ("3", "10", "25"))
        self.assertIn(f"\n3 be 1 s1 {LOOPBACK} 1 ", self.says("show servers state be"))

    def test_explain_pool_tells_of_an_option_that_ends_connections(self) -> None:
        backend, _ = self.context.server("be/s1")
        settings = backend.settings
        self.assertNotIn("ends with its first answer", self.says("explain pool be/s1"))
        for mode, option in (("server-close", "http-server-close"), ("close", "httpclose")):
            backend.settings = evolve(settings, connection_mode=mode)
            said = self.says("explain pool be/s1")
            self.assertIn(f"The backend has 'option {option}': each connection ends with its first answer", said)

    def test_explain_pool(self) -> None:
        """In sentences, a line each."""
        said = self.says("explain pool be/s1")
        self.assertIn("be/s1 is ", said)
        self.assertIn("No request was given a connection in the last hour.", said)
        self.assertNotIn("found no connection", said)
        _, server = self.context.server("be/s1")
        now = server.pool.deadlines.now()
        server.pool.counters.cold = Cold(now, ANY, 3, 2, False, 0, 2, 0)
        said = self.says("explain pool be/s1")
        self.assertIn("with 0 idle, 2 in use, 0 connecting and a floor of 2; it waits for one still.", said)
        self.assertIn("A floor of 3 would have met it", said)

    def test_what_a_check_finds_wrong_stands_beside_the_pool(self) -> None:
        _, server = self.context.server("be/s1")
        failed = Result("L7STS", "Bad Request", 400, 0.001)
        view = server_view(server)
        check = CheckView(2, 3, 0, 1, failed)
        self.patch(servers, "server_view", lambda living: view._replace(check=check))
        self.assertIn("Its last check has failed: Layer7 wrong status, code: 400", self.says("explain pool be/s1"))

    def test_who_waits_for_a_place_is_told_of_beside_the_pool(self) -> None:
        _, server = self.context.server("be/s1")
        view = server_view(server)._replace(maxconn=4, bound=4, served=4, queue=7)
        self.patch(servers, "server_view", lambda living: view)
        said = self.says("explain pool be/s1")
        self.assertIn("It has as many requests as it may (maxconn 4).\n7 requests wait for a place", said)
        self.assertIn("since maxconn 4 is full: 7 in its own, which are bound to it. None of them has", said)

    def test_those_in_the_queue_of_its_backend_are_told_of(self) -> None:
        """They have asked the pool for nothing, so that it counts none who waits."""
        backend, server = self.context.server("be/s1")
        full = "22 requests wait for a place, since maxconn 20 is full: 22 in its backend's queue, for any server"
        self.patch(type(backend.queue), "__len__", lambda queue: 22 if queue is backend.queue else 0)
        for served in (19, 20):
            server.served = served
            output = StringIO()
            with redirect_stdout(output):
                namespace(self.service, "x")["explain"]("be/s1")
            for said in (self.says("explain pool be/s1"), self.says("show pool be"), output.getvalue()):
                self.assertEqual(full in said, served == 20, said)
        server.maxconn = 3  # of 20, by `minconn` or `slowstart`
        self.assertIn("since maxconn 20, of which 3 count now is full", self.says("show pool be/s1"))

    def test_a_pool_that_is_not_recorded_says_how(self) -> None:
        for line in ("show pool record be/s1", "what-if be/s1", "what-if be/s1 floor=3"):
            self.assertIn("say 'pool-record 1h' (or a size) on the server's line", self.says(line), line)

    def test_what_if(self) -> None:
        """A line for what was recorded, for what is in force, and for each set of settings."""
        pool = self.server("be/s1").pool
        pool.record(RecordBound(1 << 20))
        self.clock.advance(60)
        lines = self.says("what-if be/s1 floor=2 floor=auto:2:9,idle=20s").splitlines()
        self.assertIn("be/s1: 0 requests and no handshake in 1 min 0 s", lines[0])
        self.assertEqual(
            [line.partition("  ")[0] for line in lines[1:6]],
            ["settings", "recorded", "in force: floor=0", "floor=2", "floor=auto:2:9,idle=20s"],
        )
        self.assertIn("No handshake was recorded", "".join(lines))
        self.assertIn("'flor=2' is no setting: say floor=…", self.says("what-if be/s1 flor=2"))
        self.assertIn("needs a time such as", self.says("what-if be/s1 idle=soon"))
        self.assertEqual(self.says("what-if be/s1" + " floor=1" * 11), "At most 10 settings at once.")

    def test_a_record_can_be_kept_and_asked_elsewhere(self) -> None:
        """The doctor says the same of it."""
        pool = self.server("be/s1").pool
        pool.record(RecordBound(1 << 20))
        pool.resume()
        self.clock.advance(60)
        saved = temporary_directory(self) / "record"
        saved.write_text(self.says("show pool record be/s1"))
        self.assertIn("state running", saved.read_text())
        elsewhere = answered(str(saved), ["floor=2"], as_json=False)
        self.assertEqual(elsewhere, self.says("what-if be/s1 floor=2").rstrip("\n"))
        values = json.loads(answered(str(saved), ["floor=2"], as_json=True))
        self.assertEqual([each["settings"] for each in values["answers"]][1:], ["in force: floor=0", "floor=2"])
        for path, settings, why in (
            (f"{saved}.not", (), "No such file"),
            (str(saved), ("floor=x",), "needs a whole number"),
            (__file__, (), "does not begin with"),
        ):
            with self.assertRaisesRegex(Unanswered, why):
                answered(path, settings, as_json=False)

    def test_states_of_checked_servers_have_haproxys_numbers(self) -> None:
        """Operational and administrative: stopped 0, starting 1, running 2, stopping 3; inherited orders 2 and 16."""
        backend, a = self.context.server("static/a")
        _, c = self.context.server("static/c")

        def states() -> list[list[str]]:
            lines = self.says("show servers state static").splitlines()[2:]
            return [line.split()[5:7] for line in lines]

        self.assertEqual(states(), [["2", "0"], ["2", "0"], ["2", "0"]])
        line = self.says("show servers state static").splitlines()[2].split()
        self.assertEqual((line[13:15], line[-4:]), (["6", "22"], ["5", LOOPBACK, LOOPBACK, "6"]))
        backend.server_changed(a, NOLB, "test")
        backend.server_changed(c, DOWN, "test")
        self.assertEqual(states(), [["3", "0"], ["3", "0"], ["0", "0"]])
        backend.server_changed(c, UP, "test")
        backend.set_state(a, DRAIN)
        self.assertEqual(states(), [["2", "8"], ["2", "16"], ["1", "0"]])
        backend.set_state(a, MAINT)
        self.assertEqual(states(), [["0", "1"], ["0", "2"], ["1", "0"]])
        for call in self.clock.getDelayedCalls():
            call.cancel()


class ErrorsTests(RuntimeTestCase):
    """`show errors`."""

    def dump(self, line: str) -> str:
        """The answer, without its times."""
        return re.sub(r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d\.\d{3}\]", "[TIME]", self.says(line))

    def note(self) -> None:
        self.context.proxy.frontends[0].invalid.note(
            "192.0.2.7:4711", "a space in a name", b"GET / HTTP/1.1\r\nA b:\x00\\c"
        )
        self.server("be/s2").pool.invalid.note("", "no status", b"x" * 200 + b"\n\te\xff\x1b")

    def test_without_any(self) -> None:
        self.assertEqual(self.dump("show errors"), "Total events captured on [TIME] : 0\n")
        self.assertEqual(self.dump("show errors nosuch"), "No such proxy.")
        self.assertEqual(self.dump("show errors 0"), "No such proxy.")
        self.assertEqual(self.dump("show errors 99"), "Total events captured on [TIME] : 0\n")

    def test_each_is_dumped_as_in_haproxy(self) -> None:
        self.note()
        self.note()
        total = "Total events captured on [TIME] : 4\n"
        request = (
            " \n[TIME] frontend fe (#2): invalid request\n"
            "  backend <NONE> (#-1), server <NONE> (#-1), event #1, src 192.0.2.7:4711\n"
            "  len 23: a space in a name\n  \n"
            "  00000  GET / HTTP/1.1\\r\\n\n  00016  A b:\\x00\\\\c\n"
        )
        response = (
            " \n[TIME] backend be (#3): invalid response\n"
            "  frontend <NONE> (#-1), server s2 (#2), event #1\n"
            "  len 205: no status\n  \n"
            f"  00000  {'x' * 70}\n  00070+ {'x' * 70}\n  00140+ {'x' * 60}\\n\n  00201  \\te\\xFF\\e\n"
        )
        self.assertEqual(self.dump("show errors"), total + request + response)
        self.assertEqual(self.dump("show errors fe"), total + request)
        self.assertEqual(self.dump("show errors 3 any"), total + response)
        self.assertEqual(self.dump("show errors be request"), total)
        self.assertEqual(self.dump("show errors be response"), total + response)


def fits(value: Any, schema: dict[str, Any], whole: dict[str, Any]) -> bool:
    """Whether a value is what a schema says, of the words that ours uses."""
    if "$ref" in schema:
        found: Any = whole
        for word in schema["$ref"].removeprefix("#/").split("/"):
            found = found[word]
        return fits(value, found, whole)
    if "oneOf" in schema and sum(fits(value, each, whole) for each in schema["oneOf"]) != 1:
        return False
    kinds = {"integer": int, "number": (int, float), "string": str, "array": list, "object": dict}
    if "type" in schema and not isinstance(value, kinds[schema["type"]]):  # type: ignore[arg-type]
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if ("minimum" in schema and value < schema["minimum"]) or ("maximum" in schema and value > schema["maximum"]):
        return False
    if "items" in schema and not all(fits(each, schema["items"], whole) for each in value):
        return False
    parts = schema.get("properties", {})
    return all(name in value for name in schema.get("required", ())) and all(
        fits(value[name], part, whole) for name, part in parts.items() if name in value
    )


class SchemaTests(RuntimeTestCase):
    def test_what_json_is_shown_is_what_the_schema_says(self) -> None:
        schema = json.loads(self.says("show schema json"))
        for command in ("show info json", "show stat json"):
            shown = json.loads(self.says(command))
            self.assertTrue(fits(shown, schema, schema), command)
            self.assertFalse(fits([shown], schema, schema))
        self.assertTrue(fits({"errorStr": "x"}, schema, schema))
        self.assertFalse(fits({}, schema, schema))

    def test_its_parts_have_haproxys_names(self) -> None:
        schema = json.loads(self.says("show schema json"))
        self.assertEqual([*schema], ["$schema", "oneOf", "definitions"])
        self.assertEqual([each["title"] for each in schema["oneOf"]], ["Info", "Stat", "Error"])
        self.assertEqual([*schema["definitions"]], ["field", "processNum", "tags", "typedValue"])


class EventTests(RuntimeTestCase):
    def test_in_the_manhole_nothing_is_waited_for(self) -> None:
        """It would hold the event loop."""
        output = StringIO()
        with redirect_stdout(output):
            namespace(self.service, "x")["run"]("show events lines -w;show cli level")
        self.assertEqual(output.getvalue(), "admin\n")

    def test_rings_are_listed(self) -> None:
        title = "Supported events sinks are listed below. Add -w(wait), -n(new). Any key to stop\n"
        self.assertEqual(self.says("show events"), f"{title}    lines      : type=buffer, 0 dropped, what happens\n")

    def test_what_is_refused(self) -> None:
        self.assertEqual(self.says("show events no"), "No such event sink")
        for words in ("lines x", "lines -x", "lines -", "lines -wx"):
            self.assertEqual(self.says(f"show events {words}"), "unknown option")
        self.assertEqual(self.says("show events lines", USER), "Permission denied")


class Owner:
    def __init__(self) -> None:
        self.gone: list[Session] = []

        self.told: list[str] = []

    def session_gone(self, session: Session) -> None:
        self.gone.append(session)

    def hand_over(self, channel: object) -> None:
        raise AssertionError

    def session_refused(self, session: Session, why: str) -> bool:
        self.told.append(why)
        return len(self.told) == 1


class ManyServersTests(SynchronousTestCase):
    """`show stat` of many servers is made in small pieces, between which others have their turns."""

    def setUp(self) -> None:
        self.services = [self._service(f"server-template t {first}-{first + 299} {LOOPBACK}:1") for first in (1, 1001)]
        self.context = Context(self.services[0], ADMIN, 10.0)

    def _service(self, line: str) -> ProxyService:
        file = temporary_directory(self) / "proxy.cfg"
        file.write_text(f"{TEXT}backend many\n {line}\n")
        service = ProxyService(Clock(), [str(file)])
        service.assemble(bind=False)
        return service

    def show(self, line: str) -> Iterator[str]:
        return iter(run(self.context, line.split()))

    def test_no_piece_is_of_more_servers_than_a_few(self) -> None:
        for line in ("show stat", "show stat no-maint", "show stat many 4 -1"):
            pieces = [*self.show(line)]
            self.assertEqual(sum(each.count("many,t") for each in pieces), 300, line)
            self.assertLessEqual(max(each.count("\n") for each in pieces), AT_ONCE + 1, line)

    def test_nothing_is_written_before_all_was_read_in_pieces(self) -> None:
        pieces = [*self.show("show stat")]
        self.assertGreater(len([*takewhile(lambda each: not each, pieces)]), 2 * 300 // AT_ONCE)

    def test_those_who_ask_together_share_the_work(self) -> None:
        statistics = self.context.statistics.of(self.context.proxy)
        viewing, begun = statistics.reader.viewing, []

        def counted(**said: bool) -> Steps[ProxyView]:
            begun.append(said)
            return viewing(**said)

        self.patch(statistics.reader, "viewing", counted)
        one, other = self.show("show stat"), self.show("show stat typed")
        for _ in zip(one, other, strict=False):
            pass
        self.assertEqual(len(begun), 1)

    def test_a_reload_meanwhile_has_the_new_proxy_shown(self) -> None:
        answer = self.show("show stat")
        self.assertEqual([next(answer) for _ in range(5)], [""] * 5)
        self.context.service = self.services[1]
        text = "".join(answer)
        self.assertEqual((text.count("many,t1"), text.count("many,t1001,")), (300, 1))


class SessionTests(RuntimeTestCase):
    """The dialogue with a client."""

    def setUp(self) -> None:
        super().setUp()
        self.owner = Owner()
        self.deadlines = Deadlines(self.clock)
        self.wire = Wire()
        self.context = Context(self.service, ADMIN, 10.0)
        wire: Any = self.wire
        self.session = Session(self.owner, wire, self.deadlines, self.context)

    def tell(self, text: str) -> str:
        self.wire.feed(text.encode())
        while self.wire.turns:
            self.wire.turns.popleft().take_turn()
        return self.taken()

    def taken(self) -> str:
        return self.wire.take().decode()

    def test_without_a_prompt_the_connection_ends_after_the_answer(self) -> None:
        self.assertEqual(self.tell("get weight be/s1\n"), "10 (initial 10)\n\n")
        self.assertEqual(self.wire.end, ("close", "answered"))

    def test_sockets_are_not_handed_over_where_something_follows(self) -> None:
        """It would be lost, as the connection carries no commands any more."""
        self.context.exposes = True
        for text in ("hand over; show version\n", "hand over\nshow version\n", "hand over; ; show version\n"):
            said = self.tell(text)
            self.assertIn("Nothing may follow 'hand over'", said)
            self.assertIn(f"{__version__}\n", said)
            self.setUp()
            self.context.exposes = True
        self.assertFalse(self.context.takes_over)

    def test_a_connection_of_which_there_can_be_no_second_descriptor_is_told_so(self) -> None:
        self.context.exposes = True
        self.service.state = "running"
        self.wire.socket = SimpleNamespace(fileno=lambda: -1)  # type: ignore[attr-defined]
        said = self.tell("hand over\n")
        self.assertIn("The sockets cannot be handed over: Bad file descriptor.\n", said)
        self.assertEqual(self.wire.end, ("close", "no descriptor"))

    def test_whose_sockets_are_not_handed_over_now_is_told_why_and_goes_on(self) -> None:
        self.context.exposes = True
        self.assertEqual(self.tell("prompt\n"), "\n> ")
        self.assertEqual(self.tell("hand over\n"), f"process {os.getpid()} is assembled\n\n> ")
        self.assertEqual(self.tell("operator\n"), "\n> ")
        self.assertEqual(self.tell("hand over\n"), "Permission denied\n\n> ")
        self.assertEqual(self.tell("show cli level\n"), "operator\n\n> ")

    def test_nothing_of_it_is_left_to_the_garbage_collector(self) -> None:
        """Which does not look at what a reload has frozen, and who orders one waits for its end."""
        self.tell("get weight be/s1\n")
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        self.session.connection_lost("closed by peer")
        gone = weakref.ref(self.session)
        self.owner.gone.clear()
        del self.session, self.wire.owner
        self.assertIsNone(gone())

    def log(self, *lines: str) -> None:
        for line in lines:
            self.context.proxy.logs.event("notice", line)

    def test_a_ring_is_shown(self) -> None:
        self.log("one", "two")
        self.assertEqual(self.tell("show events lines\n"), "one\ntwo\n\n")
        self.assertEqual(self.wire.end, ("close", "answered"))

    def test_a_ring_is_followed_until_the_client_says_anything(self) -> None:
        self.log("one")
        self.assertEqual(self.tell("show events lines -w\n"), "one\n")
        ring, _ = self.context.proxy.logs.rings["lines"]
        self.clock.advance(100)  # `stats timeout` is for those who say nothing where they should
        self.log("two", "three")
        self.assertEqual(self.tell(""), "two\nthree\n")
        self.assertEqual(len(ring.followers), 1)
        self.assertEqual(self.tell("x\n"), "\n")
        self.assertEqual((self.wire.end, ring.followers), (("close", "answered"), []))

    def test_with_a_prompt_the_next_command_follows(self) -> None:
        self.tell("prompt\n")
        self.log("old")
        self.assertEqual(self.tell("show events lines -n -w\n"), "")
        self.log("new")
        self.assertEqual(self.tell(""), "new\n")
        self.assertEqual(self.tell("\n"), "\n> ")
        self.assertEqual(self.tell("get weight be/s1\n"), "10 (initial 10)\n\n> ")

    def test_a_follower_that_leaves_is_forgotten(self) -> None:
        self.tell("show events lines -w\n")
        ring, _ = self.context.proxy.logs.rings["lines"]
        self.session.eof_received()
        self.assertEqual((self.wire.end, ring.followers), (("close", "answered"), []))
        self.setUp()
        self.tell("show events lines -w\n")
        ring, _ = self.context.proxy.logs.rings["lines"]
        self.session.connection_lost("reset")
        self.assertEqual(ring.followers, [])

    def test_who_does_not_take_lines_gets_the_latest(self) -> None:
        self.tell("show events lines -w -0\n")
        self.session.pause_writing()
        self.log(*(f"line {number}" for number in range(1000)))
        self.assertEqual(self.tell(""), "")
        self.session.resume_writing()
        self.assertEqual(self.tell("").split("\0")[-3:], ["line 998", "line 999", ""])
        ring, _ = self.context.proxy.logs.rings["lines"]
        self.assertLess(ring.end - ring.begin, 150)

    def test_what_a_terminal_would_obey_is_not_written(self) -> None:
        self.assertEqual(self.tell("show env TITLE\n"), "TITLE=a?[2J?\tb\n\n")

    def reload(self) -> list[Any]:
        """Those who are to be told of the end of a reload."""
        asking: list[Any] = []

        def begin(told: Any) -> bool:
            asking.append(told)
            return True

        self.patch(self.service, "reload_for", begin)
        self.patch(self.service.reloads, "tell_no_more", asking.remove)
        return asking

    def test_the_end_of_a_reload_is_waited_for(self) -> None:
        """Also by who has said all that he has to say; and longer than by who says nothing."""
        asking = self.reload()
        self.assertEqual(self.tell("reload;show cli level\n"), "")
        self.session.eof_received()
        self.clock.advance(60)
        self.assertEqual((self.taken(), self.wire.end), ("", None))
        asking[0](True, [("warning", "odd")])
        self.assertEqual(
            self.tell(""),
            f"Success=1\n--\n[WARNING]  ({os.getpid()}) : odd\n[NOTICE]   ({os.getpid()}) : Loading success.\n\n"
            "admin\n\n",
        )
        self.assertEqual((self.wire.end, asking), (("close", "answered"), []))

    def test_who_leaves_during_a_reload_is_told_nothing_and_the_log_how_it_ends(self) -> None:
        said: list[str] = []
        turns: list[Any] = []
        self.patch(self.service.proxy, "poller", SimpleNamespace(line_up=turns.append))
        self.patch(self.context.proxy.order_log, "_announce", lambda level, text: said.append(text))
        asking = self.reload()
        self.tell("reload\n")
        (told,) = asking
        self.session.connection_lost("gone")
        told(False, [])
        self.assertEqual((len(self.wire.turns), said), (0, []))
        while turns:
            turns.pop().take_turn()
        self.assertEqual((asking, said), ([], [f"Order {NOBODY}: reload"]))

    def test_where_there_can_be_no_reload(self) -> None:
        self.assertEqual(self.tell("reload\n"), "There can be no reload now: the daemon's log tells why.\n\n")

    def test_several_commands_are_answered_in_order(self) -> None:
        said = self.tell("get weight be/s1;set weight be/s1 5;get weight be/s1\nget weight be/s2\n")
        self.assertEqual(said, "10 (initial 10)\n\n\n5 (initial 10)\n\n20 (initial 20)\n\n")

    def test_what_a_browser_is_made_to_send_is_no_command(self) -> None:
        """Whatever stands in the head or the body of its request; nor is it answered."""
        for line in (
            "POST / HTTP/1.1",
            "GET /;set%20weight HTTP/1.1",
            "get weight be/s1;set weight be/s1 9 HTTP/1.1",
            "PRI * HTTP/2.0",
            "host: 127.0.0.1:9999",
        ):
            self.setUp()
            said = self.tell(f"{line}\r\nContent-Type: text/plain\r\n\r\nset weight be/s1 5\n")
            self.assertEqual((said, self.wire.end), ("", ("close", "HTTP")), line)
            self.assertEqual(self.server("be/s1").weight, 10)
            self.assertEqual(self.owner.told, ["a browser or another HTTP client has sent a request to it"])

    def test_what_comes_in_a_tls_handshake_is_no_command(self) -> None:
        """A browser shows a session ticket to the host's name, wherever that leads by now; or to a TURN server a name,
        in a binary message."""
        for first in ("\x16\x03\x01\x02\x00\x01", "\x00\x01\x00\x08!\x12", "\x7f"):
            self.setUp()
            self.assertEqual((self.tell(f"{first}#\nset weight be/s1 5\n"), self.server("be/s1").weight), ("", 10))
            self.assertEqual(self.wire.end, ("close", "control characters"))
            self.assertEqual(len(self.owner.told), 1)

    def test_tabs_and_ends_of_lines_of_all_systems_are_no_control_characters(self) -> None:
        self.assertEqual(self.tell("get\tweight\tbe/s1\r\n"), "10 (initial 10)\n\n")

    def test_a_line_may_come_in_pieces(self) -> None:
        self.assertEqual(self.tell("get wei"), "")
        self.assertEqual(self.tell("ght be/s1\r\n"), "10 (initial 10)\n\n")

    def test_a_prompt_keeps_the_connection(self) -> None:
        self.assertEqual(self.tell("prompt\n"), "\n> ")
        self.assertEqual(self.tell("get weight be/s1\n"), "10 (initial 10)\n\n> ")
        self.assertIsNone(self.wire.end)
        self.assertEqual(self.tell("quit\n"), "")
        self.assertEqual(self.wire.end, ("close", "quit"))

    def test_a_connection_may_be_kept_without_a_prompt(self) -> None:
        """`prompt i`, for programs; `n` ends it after the commands of its line, and `p` gives the prompt back."""
        self.assertEqual(self.tell("prompt i\n"), "\n")
        self.assertEqual(self.tell("get weight be/s1\n"), "10 (initial 10)\n\n")
        self.assertEqual(self.tell("prompt\n"), "\n> ")
        self.assertEqual(self.tell("prompt q\n")[:13], "Usage: prompt")
        self.assertEqual(self.tell("prompt n\n"), "\n")
        self.assertEqual(self.wire.end, ("close", "answered"))

    def test_a_prompt_may_say_how_long_the_process_has_run(self) -> None:
        self.context.proxy.began = self.deadlines.now() - 90061  # type: ignore[misc]
        self.assertEqual(self.tell("prompt timed\n"), "\n[1:01:01:01]> ")
        self.assertEqual(self.tell("prompt timed\n"), "\n> ")

    def test_messages_begin_with_their_severity_if_that_is_asked_for(self) -> None:
        """Not what lists something. HAProxy's Data Plane API says it before each command, and looks for 0 to 3."""
        self.tell("prompt i\n")
        self.tell("set severity-output number\n")
        self.assertEqual(self.tell("get weight be/no\n"), "[3]: No such server.\n\n")
        self.assertEqual(self.tell("get weight be/s1\n"), "10 (initial 10)\n\n")
        self.assertEqual(self.tell("set severity-output string;show cli level\n"), "\n[info]: admin\n\n")
        self.assertEqual(self.tell("set severity-output none;get weight be/no\n"), "\nNo such server.\n\n")

    def test_text_is_printed_between_answers(self) -> None:
        self.assertEqual(self.tell("echo of  s1;get weight be/s1\n"), "of s1\n\n10 (initial 10)\n\n")

    def test_lines_without_a_command_are_read_a_few_at_a_time(self) -> None:
        """And those of a payload: others have their turns between them."""
        for text in ("\n" * 1000, "get weight be/s1 <<\n" + "x\n" * 1000):
            self.setUp()
            self.wire.feed(text.encode())
            turns = 0
            while self.wire.turns:
                self.wire.turns.popleft().take_turn()
                turns += 1
            self.assertGreater(turns, 1000 // (2 * PIECES_AT_ONCE), text[:10])

    def test_a_payload_is_read_to_its_empty_line(self) -> None:
        self.tell("prompt\n")
        self.assertEqual(self.tell("get weight be/s1 <<\nshow stat\n\n"), "+ + 10 (initial 10)\n\n> ")

    def test_a_payload_is_for_the_last_command_of_its_line(self) -> None:
        """Which is done when all of it has come. It ends at the word that the line says, where it says one."""
        self.payloads: list[str | None] = []

        def take(context: Context, words: list[str]) -> str:
            self.payloads.append(context.payload)
            return f"{words}\n"

        self.tell("prompt\n")
        self.patch(session, "run", take)
        self.assertEqual(self.tell("a;b c <<\n1\n 2\r\n"), "+ + + ")
        self.assertEqual(self.tell(" \n"), "+ ", "a line of blanks is one of the payload")
        self.assertEqual(self.tell("3\n\n"), "+ ['a']\n\n> ['b', 'c']\n\n> ")
        self.tell("d <<END\n4\n\n5\nEND\ne\n")
        self.assertEqual(self.payloads, [None, "1\n 2\n \n3\n", "4\n\n5\n", None])

    def test_a_payload_with_a_command_behind_it_in_its_line_ends_the_connection(self) -> None:
        """Before any command of that line, and of the payload, is run: HAProxy runs the second one, or takes it for a
        part of the payload, by version."""
        run: list[list[str]] = []

        def take(context: Context, words: list[str]) -> str:
            run.append(words)
            return ""

        self.patch(session, "run", take)
        for line in (
            "add map x <<; show stat",
            "show info; add map x <<END ;",
            "a <<;b <<",
            "add map x y <<;;",
            "a <<END; <<",
        ):
            self.setUp()
            said = self.tell(f"{line}\nshutdown sessions server be/s1\n\n")
            self.assertIn("'<<' has to stand at the end of its line", said, line)
            self.assertTrue(said.endswith("\n\n"), line)
            self.assertEqual(self.wire.end, ("close", "payload within a line"))
        self.assertEqual(run, [])

    def test_a_word_that_cannot_end_a_payload_ends_the_connection(self) -> None:
        """Its lines are no commands."""
        run: list[list[str]] = []

        def take(context: Context, words: list[str]) -> str:
            run.append(words)
            return ""

        self.patch(session, "run", take)
        for word in ("x" * 65, "a<b", "<", "EOF;"):
            for begin in ("show info; add map x", "add map x"):
                self.setUp()
                said = self.tell(f"{begin} <<{word}\nshutdown sessions server be/s1\n{word}\n")
                self.assertIn("nothing was done", said, word)
                self.assertTrue(said.endswith("\n\n"), word)
                self.assertIsNotNone(self.wire.end, word)
        self.assertEqual(run, [])
        self.setUp()
        self.tell(f"prompt\nadd map x \\<<{'x' * 65}\n")
        self.assertEqual(run[-1], ["add", "map", "x", f"<<{'x' * 65}"], "it is an argument")

    def test_a_line_of_its_own_may_begin_a_payload(self) -> None:
        """Of no command: its lines are none either."""
        run: list[list[str]] = []

        def take(context: Context, words: list[str]) -> str:
            run.append(words)
            return ""

        self.patch(session, "run", take)
        self.tell("<<END\nshutdown sessions server be/s1\nEND\n")
        self.assertEqual(run, [[]])

    def test_a_payload_that_is_too_long_ends_the_connection(self) -> None:
        line = "x" * 1023 + "\n"
        self.tell("prompt\nget weight be/s1 <<\n")
        for _ in range(1024):
            self.tell(line)
        self.assertIsNone(self.wire.end)
        self.tell("x\n")
        self.assertEqual(self.wire.end, ("close", "payload too long"))

    def test_work_that_ends_by_itself_is_waited_for(self) -> None:
        """By a client that has ended its side, too; what it says meanwhile is answered then."""
        over: list[int] = []

        def work(context: Context, words: list[str]) -> Iterator[str]:
            if words == ["work"]:
                yield "begun"
                yield BUSY
                over.append(1)
            yield "done\n"

        self.patch(session, "run", work)
        self.assertEqual(self.tell("work\n"), "begun")
        self.assertEqual((self.tell("next\n"), over), ("", []))
        self.wire.eof()
        self.clock.advance(100.0)
        self.assertIsNone(self.wire.end)
        self.session.context.wake()
        self.assertEqual(self.tell(""), "done\n\ndone\n\n")
        self.assertEqual((self.wire.end, over), (("close", "answered"), [1]))

    def test_a_line_that_is_too_long_ends_the_connection(self) -> None:
        for text in ("a" * (LONGEST_LINE + 1), "a" * (LONGEST_LINE + 1) + "\n"):
            self.setUp()
            self.assertEqual(
                self.tell(text), "The command is too big for the buffer size: a line may have 16384 bytes.\n\n"
            )
            self.assertEqual(self.wire.end, ("close", "line too long"))
            self.assertEqual(self.tell("show version\n"), "")

    def test_an_empty_line_has_an_empty_answer(self) -> None:
        self.assertEqual(self.tell("prompt\n"), "\n> ")
        self.assertEqual(self.tell("\n\n"), "\n> \n> ")
        self.setUp()
        self.assertEqual(self.tell("operator;;\n"), "\n\n\n")

    def test_silence_ends_the_connection(self) -> None:
        """`stats timeout`, or what the session asked for."""
        self.tell("prompt\n")
        self.clock.advance(9.0)
        self.tell("set timeout cli 20\n")
        self.clock.advance(19.0)
        self.assertIsNone(self.wire.end)
        self.clock.advance(2.0)
        self.assertEqual(self.wire.end, ("close", "stats timeout"))

    def test_who_does_not_take_his_answer_is_left(self) -> None:
        self.wire.stalled = True
        self.tell("show stat json\nshow stat json\n")
        self.session.pause_writing()
        self.clock.advance(11.0)
        self.assertEqual(self.wire.end, ("abort", "stats timeout"))

    def test_an_order_is_done_though_its_client_does_not_read(self) -> None:
        """Others may wait for its end. Another order is not begun."""
        write = self.wire.write

        def write_and_block(data: bytes) -> None:
            write(data)
            self.session.pause_writing()

        self.patch(self.wire, "write", write_and_block)
        servers = self.context.backend("be").servers
        self.assertGreater(len(servers), 1)
        self.tell("drain pool be;rewarm pool be\n")
        self.assertEqual({each.pool.order.state for each in servers}, {DRAINED})
        self.session.resume_writing()
        self.assertEqual({each.pool.order.state for each in servers}, {NO_ORDER})

    def test_the_end_of_the_client_ends_it(self) -> None:
        self.tell("prompt\nget weight be/s1\n")
        self.wire.eof()
        self.assertEqual(self.wire.end, ("close", "answered"))

    def test_what_is_cut_off_when_the_client_ends_it_is_not_lost_without_a_word(self) -> None:
        """Whoever forgets the end of a line, or the empty line behind a payload."""
        for text, said in (
            ("get weight be/s1\nset weight be/s1 5", "The last line has no end: nothing was done.\n"),
            ("get weight be/s1\nadd map m <<\nk v\n", "The line that ends the payload has not come"),
            ("get weight be/s1\nadd map m <<\nk v", "The line that ends the payload has not come"),
        ):
            self.setUp()
            before = self.tell(f"prompt\n{text}")
            self.wire.eof()
            self.assertIn("10 (initial 10)\n\n> ", before)
            self.assertTrue(self.taken().startswith(said), text)
            self.assertNotEqual(self.wire.end, ("close", "answered"))

    def test_a_line_that_is_too_long_does_not_end_what_was_said_before(self) -> None:
        said = self.tell("get weight be/s1\n" * (3 * PIECES_AT_ONCE) + "x" * (LONGEST_LINE + 1))
        self.assertEqual(said.count("10 (initial 10)\n"), 3 * PIECES_AT_ONCE)
        self.assertIn("The command is too big for the buffer size", said)

    def test_a_fault_of_ours_ends_one_session(self) -> None:
        self.context.service = None  # type: ignore[assignment]
        self.assertIn("Internal error", self.tell("get weight be/s1\n"))
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.assertEqual(self.wire.end, ("close", "error"))
        wire: Any = Wire()
        Session(self.owner, wire, self.deadlines, self.context)
        wire.feed(b"get weight be/s1\n")
        self.assertEqual((wire.end, self.flushLoggedErrors(AttributeError)), (("close", "error"), []))
