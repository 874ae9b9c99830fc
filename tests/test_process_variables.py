"""Variables of the whole process (scope `proc`): what section `global` sets, what rules make of them, what the runtime
API shows and sets, and what a reload leaves."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.clients.gate import ACCEPT, REJECT, Arrival
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from reusedproxy.daemon.forgotten import changed_lists
from reusedproxy.operators.runtime import variables as commands
from reusedproxy.operators.runtime.proxy import OPERATOR, USER
from reusedproxy.rules.facts import Binary, Method, Sample
from reusedproxy.sessions import process
from reusedproxy.wire.faults import Limits
from tests.clientfakes import get
from tests.integration.peers import LOOPBACK
from tests.rulefakes import DEFAULTS, ruled
from tests.services import HEAD, OrdersTestCase
from tests.test_clients_gate import gate
from tests.test_exchanges_rules import head_of


class LineTests(SynchronousTestCase):
    def faults(self, lines: str, section: str = "") -> list[str]:
        text = f"global\n{lines}\n{DEFAULTS}listen l\n bind :80\n{section}\n server s h:1 check\n"
        try:
            read_configuration([Source("t.cfg", text)], {})
        except ConfigurationError as error:
            return [fault.text for fault in error.faults]
        return []

    def test_what_may_be_said(self) -> None:
        """What HAProxy 2.8 takes and refuses: there is neither client nor request."""
        for value in (
            *("int(5)", "str(a),upper", "rand(10)", "env(HOME)", "hostname", "date", "uuid", "var(proc.y)"),
            *("var(proc.y,none)", "always_true", "var(txn.a)", "bin(00ff)", "ipv4(1.2.3.4)", "meth(GET)", "proc"),
            *("nbproc", "thread", "int(5),add(proc.y)", "str(a),set-var(proc.z)", "date_us", "bool(true)", "uptime"),
        ):
            self.assertEqual(self.faults(f" set-var proc.x {value}"), [], value)
        for value in ("src", "fe_conn(l)", "nbsrv(l)", "path", "ssl_fc", "stopping", "be_name", "last_rule_line"):
            (fault,) = self.faults(f" set-var proc.x {value}")
            self.assertIn("has no value there, where there is neither client nor request", fault)

    def test_what_is_refused(self) -> None:
        for line, text in (
            ("set-var proc.x", "'set-var' needs the name of a variable, proc.NAME, and an expression"),
            ("set-var-fmt proc.x a b", "'set-var-fmt' needs the name of a variable, proc.NAME, and a format"),
            ("set-var sess.x int(1)", "only variables of the scope 'proc' are the whole process's"),
            ("set-var txn.x int(1)", "only variables of the scope 'proc' are the whole process's"),
            ("set-var x int(1)", "'x' is no variable: write proc, sess"),
            ("set-var proc.x,ifst int(1)", "unknown condition 'ifst'"),
            ("set-var proc.x it(1)", "unknown sample fetch 'it': did you mean"),
            ('set-var-fmt proc.x "%[src]"', "'src' has no value there"),
            ("set-var-fmt proc.x %ci", "'%ci' has no value there"),
            ("set-var proc.x str(a),map(/none)", "'map' is not done there"),
            ("set-var proc.x str(a),in_table(l)", "'in_table' is not done there"),
            ("set-var proc.x str(a),debug(b)", "'debug' is not done there"),
            ("unset-var proc.x", "unknown keyword 'unset-var'"),
        ):
            found = self.faults(f" {line}")
            self.assertEqual(len(found), 1, line)
            self.assertIn(text, found[0], line)

    def test_rules_of_every_kind_set_them(self) -> None:
        for rule in (
            *("tcp-request connection", "tcp-request session", "tcp-request content", "http-request", "http-response"),
            "http-after-response",
        ):
            for action in ("set-var(proc.x) int(1)", "set-var-fmt(proc.x,ifnotset) a", "unset-var(proc.x)"):
                self.assertEqual(self.faults("", f" {rule} {action}"), [], rule)

    def test_checks_see_and_set_them(self) -> None:
        for line in ("send hdr X %[var(proc.x)]", "set-var(proc.x,ifnotset) int(1)", "unset-var(proc.x)"):
            self.assertEqual(self.faults("", f" option httpchk\n http-check {line}"), [])
        (fault,) = self.faults("", " option httpchk\n http-check set-var(sess.x) int(1)")
        self.assertIn("'sess.x' is no variable that a check sets: write check.NAME or proc.NAME", fault)


class RuleTests(SynchronousTestCase):
    def test_all_clients_have_the_same(self) -> None:
        rules = (
            "http-request set-var(proc.n) var(proc.n,0),add(1)\n"
            " http-request unset-var(proc.n) if { path /forget }\n"
            " http-request set-header X-N %[var(proc.n,none)]%[int(1),add(proc.n)]"
        )
        world = ruled(self, rules, backend="http-response set-var(proc.status) status", warm=1)
        for path, value in (("/a", b"X-N: 12"), ("/a", b"X-N: 23"), ("/forget", b"X-N: none"), ("/a", b"X-N: 12")):
            client = world.client()
            client.send(get(path))
            self.assertTrue(head_of(world.server.asked())[2].startswith(value), path)
            world.server.answer()
        self.assertEqual(world.frontend.variables, {"proc.n": 1, "proc.status": 200})
        world.check_rest()

    def test_one_that_a_rule_names_exists(self) -> None:
        """As in HAProxy, where `ifset` asks whether it has a value."""
        rules = (
            "http-request set-var(proc.a,ifexists) str(a)\n http-request set-var(proc.b,ifnotexists) str(b)\n"
            " http-request set-var(proc.c,ifset) str(c)\n http-request set-var(proc.d,ifnotset) str(d)\n"
            " http-request set-var(txn.r) str(e),set-var(proc.e,ifexists)"
        )
        world = ruled(self, rules, warm=1)
        world.client().send(get("/"))
        self.assertEqual(world.frontend.variables, {"proc.a": b"a", "proc.d": b"d", "proc.e": b"e"})
        world.server.asked()
        world.server.answer()

    def test_rules_for_connections_see_and_set_them(self) -> None:
        """Where a reload judges a client again that it has counted already, only rules behind see what is set."""
        lines = (
            "tcp-request connection set-var(proc.n) var(proc.n,0),add(1)\n"
            "tcp-request connection reject if { var(proc.closed) -m bool }\n"
            "tcp-request connection reject if { int(7),set-var(proc.seen) -m int 7 } { var(proc.seen) -m int 8 }\n"
        )
        values: dict[str, Sample] = {}
        admitting: Any = SimpleNamespace(name="a", tables={}, limits=Limits(), maps={}, variables=values)
        accepted: Any = SimpleNamespace(getsockname=lambda: ("198.51.100.1", 443))
        listener: Any = SimpleNamespace(bind=SimpleNamespace(name="door"), certificates=None)

        def judge() -> str:
            return gate(lines).judge(Arrival(accepted, ("192.0.2.9", 4711), listener, admitting))

        def judge_again(*more: str) -> int:
            arrival = Arrival(accepted, ("192.0.2.9", 4711), listener, admitting, acts=False)
            return len(gate("\n".join((lines, *more))).judge_again(arrival)[1])

        self.assertEqual([judge(), judge()], [ACCEPT, ACCEPT])
        self.assertEqual(values, {"proc.n": 2, "proc.seen": 7})
        values["proc.seen"] = 9
        rule = "tcp-request connection reject if { var(proc.n) -m int 3 }"
        forget = "tcp-request connection unset-var(proc.n)"
        self.assertEqual([judge_again(), judge_again(rule), judge_again(forget, rule)], [0, 1, 0])
        self.assertEqual(values, {"proc.n": 2, "proc.seen": 9})
        values["proc.closed"] = True
        self.assertEqual((judge(), judge_again()), (REJECT, 1))


class ServiceTests(OrdersTestCase):
    """The whole service on a clock."""

    text_of = (
        f"global\n stats socket {{folder}}/admin.sock level admin\n{{more}}{HEAD}"
        f"frontend f\n bind {LOOPBACK}:0\n default_backend b\nbackend b\n server s {LOOPBACK}:1\n"
    )

    def configure(self, more: str) -> str:
        return self.text("proxy.cfg", self.text_of.format(folder=self.folder, more=more))

    def reload(self) -> None:
        before = self.service.proxy
        self.service.reload()
        self.reactor.pump([0.05] * 160)
        self.assertIsNot(self.service.proxy, before)

    def test_the_file_sets_them_in_order(self) -> None:
        self.start_with(
            self.configure(
                " setenv NAME here\n set-var proc.n int(5)\n set-var proc.m int(200),sub(proc.n)\n"
                ' set-var-fmt proc.text "%[var(proc.m)]|%[env(NAME)] %pid"\n'
                " set-var proc.n,ifgt int(9)\n set-var proc.first,ifnotset str(x)\n"
                " set-var proc.first,ifnotset str(y)\n set-var proc.none,ifnotexists str(x)\n"
                " set-var proc.absent env(NO_SUCH)\n set-var proc.long str(x)\n set-var proc.b bin(00)\n"
                " set-var proc.meth meth(GET)\n"
            )
        )
        expected = {
            "proc.n": 5, "proc.m": 195, "proc.text": f"195|here {os.getpid()}".encode(), "proc.first": b"x",
            "proc.long": b"x", "proc.b": Binary(b"\0"), "proc.meth": Method(b"GET"),
        }  # fmt: skip
        self.assertEqual(self.proxy.variables, expected)
        for name, value in expected.items():
            self.assertIs(type(self.proxy.variables[name]), type(value), name)
        self.assertTrue(all(each.variables is self.proxy.variables for each in self.proxy.frontends))

    def test_an_operator_sees_and_sets_them(self) -> None:
        """Whoever is a mere user does not. The texts are HAProxy's."""
        self.start_with(self.configure(" set-var proc.n int(5)\n"))
        for order, answer in (
            ("get var proc.n", "proc.n: type=sint value=<5>\n"),
            ("get var proc.none", "Variable not found."),
            ("get var txn.a", "Variable not found."),
            ("get var", "Missing process-wide variable identifier."),
            ("set var", "Missing process-wide variable identifier."),
            ("set var proc.n", "Missing either 'expr', 'fmt' or expression."),
            ("set var proc.n foo bar", "'set var': arg type must be either 'expr' or 'fmt' but got 'foo'."),
            ("set var txn.a int(1)", "'set var': cannot set variable 'txn.a', only scope 'proc' is permitted here."),
            ("set var proc.n int(7)", ""),
            ("set var proc.n,iflt int(3)", ""),
            ("get var proc.n", "proc.n: type=sint value=<7>\n"),
            ("set var proc.s fmt n=%[var(proc.n)]", ""),
            ("get var proc.s", "proc.s: type=str value=<n=7>\n"),
            ("set var proc.s expr bin(4100ff42)", ""),
            ("get var proc.s", "proc.s: type=bin value=<A>\n"),
            ("set var proc.s ipv6(::1)", ""),
            ("get var proc.s", "proc.s: type=ipv6 value=<::1>\n"),
            ("set var proc.s bool(true)", ""),
            ("get var proc.s", "proc.s: type=bool value=<1>\n"),
            ("set var proc.s str(\xe9)", ""),
            ("get var proc.s", "proc.s: type=str value=<..>\n"),
        ):
            self.assertEqual(self.tell(order).rstrip("\n"), answer.rstrip("\n"), order)
        for order, why in (
            ("set var proc.x src", "'src' has no value there"),
            ("set var x int(1)", "'x' is no variable"),
            ("set var proc.x str(\udcff)", "a text is in UTF-8"),
            ("set var proc.x str(a),map(/none)", "'map' is not done there"),
        ):
            self.assertIn(why, self.tell(order), order)
        for level, said in ((USER, "Permission denied"), (OPERATOR, "")):
            self.context.level = level
            self.assertEqual(self.tell("set var proc.n int(8)").strip()[:17], said)

    def test_an_operator_sets_no_more_than_there_may_be(self) -> None:
        self.start_with(self.configure(" set-var proc.n int(5)\n"))
        self.patch(commands, "MOST", 2)
        for name, said in (("a", ""), ("b", "There are 2 variables already."), ("a", ""), ("n", "")):
            self.assertEqual(self.tell(f"set var proc.{name} int(1)").strip(), said, name)

    def test_what_fails_sets_nothing(self) -> None:
        def fail(facts: object) -> None:
            raise OverflowError("too much")

        self.start_with(self.configure(" set-var proc.n int(5)\n"))
        self.patch(process, "act_of", lambda action, where: fail)
        self.assertIn("OverflowError('too much')", self.tell("set var proc.n int(7)"))
        self.assertEqual(self.proxy.variables, {"proc.n": 5})
        self.configure(" set-var proc.n int(6)\n")
        self.service.reload()
        self.reactor.pump([0.05] * 160)
        self.assertEqual(self.proxy.variables, {"proc.n": 5})
        self.assertTrue(any("proxy.cfg:3" in text and "too much" in text for _, text in self.announced))

    def test_a_value_has_no_more_than_a_buffer_holds(self) -> None:
        self.start_with(self.configure(" tune.bufsize 16384\n set-var proc.n str(x)\n"))
        for _ in range(20):
            self.tell("set var proc.n fmt %[var(proc.n)]%[var(proc.n)]")
        found = self.proxy.variables["proc.n"]
        assert isinstance(found, bytes)
        self.assertEqual(len(found), 16383)

    def test_a_reload_begins_with_what_the_file_says(self) -> None:
        """As HAProxy does, whose new process knows nothing of the old one; and says what an operator had set. Where
        only files of TLS are read again, nothing changes."""
        self.start_with(self.configure(" set-var proc.n int(5)\n set-var proc.old int(1)\n"))
        self.tell("set var proc.n int(7)")
        self.tell("set var proc.api int(8)")
        self.proxy.frontends[0].variables["proc.rule"] = 9
        self.assertEqual(changed_lists(self.proxy, self.proxy), [])
        self.configure(" set-var proc.n int(6)\n")
        self.reload()
        self.assertEqual(self.proxy.variables, {"proc.n": 6})
        (said,) = [text for _, text in self.announced if "is forgotten" in text]
        self.assertIn("proc.api, proc.n", said)
        self.announced.clear()
        self.reload()
        self.assertEqual([text for _, text in self.announced if "is forgotten" in text], [])
