"""`tcp-request connection`: clients that have connected and have said nothing yet."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.rule_sets import RuleSets
from reusedproxy.clients.gate import ACCEPT, EXPECT_PROXY, REJECT, Arrival, Gate
from reusedproxy.config import model
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from reusedproxy.config.rules.samples import ALIASES, FETCHES
from reusedproxy.net.binding import bind_socket
from reusedproxy.net.listener import Listener
from reusedproxy.wire.heads import Limits
from tests.clientfakes import GET, OK, PLACE, World
from tests.rulefakes import DEFAULTS
from tests.wire import Loop

#: Its second element is asked for by a rule that fails.
NOTHING: list[bool] = []
BACKEND = "backend x\n server s 192.0.2.1:1\n"


def frontend(lines: str) -> model.Frontend:
    text = DEFAULTS + f"frontend a\n bind :80 name door\n default_backend x\n{lines}\n{BACKEND}"
    return read_configuration([Source("t.cfg", text)], {}).frontends["a"]


def gate(lines: str) -> Gate:
    made = RuleSets({}).gate(frontend(lines).rules.connection)
    assert made is not None
    return made


class RuleTests(SynchronousTestCase):
    """What rules decide."""

    def verdict(self, lines: str, source: str = "192.0.2.9", port: int = 4711, *, tls: bool = False) -> str:
        accepted: Any = SimpleNamespace(getsockname=lambda: ("198.51.100.1", 443))
        listener: Any = SimpleNamespace(bind=SimpleNamespace(name="door"), certificates={} if tls else None)
        figures = {"fe_conn": 7, "be_conn": 3, "queue": 2, "avg_queue": 1, "srv_is_up": True, "env": b"/root", "pid": 1}
        admitting: Any = SimpleNamespace(
            name="a",
            tables={},
            limits=Limits(),
            maps={},
            variables={},
            usable_servers={"a": None, "x": 1}.get,
            figure=lambda which, name: figures[which] if name in ("a", "x", "x/s", "HOME") else None,
        )
        return gate(lines).judge(Arrival(accepted, (source, port), listener, admitting))

    def test_who_comes_over_tls_is_known_before_the_handshake(self) -> None:
        """By the line on which the client comes."""
        rule = "tcp-request connection reject"
        for condition, verdicts in (("if { ssl_fc }", [ACCEPT, REJECT]), ("unless { ssl_fc }", [REJECT, ACCEPT])):
            self.assertEqual([self.verdict(f"{rule} {condition}", tls=tls) for tls in (False, True)], verdicts)

    def test_the_table(self) -> None:
        """The first that accepts or rejects is the last; a header may be expected on the way there."""
        rule = "tcp-request connection"
        for lines, verdict in (
            (f"{rule} reject if {{ src 192.0.2.0/24 }}", REJECT),
            (f"{rule} reject if {{ src 10.0.0.0/8 }}", ACCEPT),
            (f"{rule} reject unless {{ src 10.0.0.0/8 }}", REJECT),
            (f"{rule} accept if {{ src 192.0.2.9 }}\n{rule} reject", ACCEPT),
            (f"{rule} reject", REJECT),
            (f"{rule} set-src src,ipmask(24)\n{rule} reject if {{ src 192.0.2.0 }}", REJECT),
            (f"{rule} set-src str(10.0.0.1) if {{ src 10.0.0.0/8 }}\n{rule} reject if {{ fc_src 10.0.0.1 }}", ACCEPT),
            (f"{rule} set-dst src\n{rule} reject unless {{ dst 192.0.2.9 }} {{ fc_dst 192.0.2.9 }}", ACCEPT),
            (f"{rule} set-dst-port int(9)\n{rule} reject unless {{ dst_port 9 }} {{ dst 198.51.100.1 }}", ACCEPT),
            (f"{rule} set-src-port int(9)\n{rule} reject if {{ src_port 9 }}", REJECT),
            (f"{rule} set-var(sess.a) src\n{rule} reject if {{ var(sess.a) -m ip 192.0.2.9 }}", REJECT),
            (f"{rule} set-var-fmt(sess.a) %[src]\n{rule} reject if {{ var(sess.a) -m str 192.0.2.9 }}", REJECT),
            (
                f"{rule} set-var(sess.a) src\n{rule} set-var(sess.a,ifnotset) dst\n{rule} set-var(sess.b,ifset) src\n"
                f"{rule} accept if {{ var(sess.b) -m found }}\n{rule} reject if {{ var(sess.a) -m ip 192.0.2.9 }}",
                REJECT,
            ),
            (
                f"{rule} set-var(sess.a) src\n{rule} unset-var(sess.a)\n{rule} reject if {{ var(sess.a) -m found }}",
                ACCEPT,
            ),
            (f"{rule} expect-proxy layer4 if {{ src 192.0.2.9 }}", EXPECT_PROXY),
            (f"{rule} expect-proxy layer4 if {{ src 192.0.2.8 }}", ACCEPT),
            (f"{rule} expect-proxy layer4\n{rule} accept\n{rule} reject", EXPECT_PROXY),
            (f"{rule} expect-proxy layer4\n{rule} reject if {{ dst_port 443 }}", REJECT),
            (f"acl ours src 192.0.2.0/24\n{rule} reject if !ours", ACCEPT),
            (
                f"{rule} reject if {{ so_name door }} {{ fe_name a }} {{ dst 198.51.100.1 }} {{ src_port gt 1024 }}",
                REJECT,
            ),
            (f"{rule} reject if {{ fe_conn gt 7 }} {{ fe_conn(a) lt 9 }} {{ be_conn(x) 3 }} {{ queue(x) 2 }}", REJECT),
            (
                f"{rule} reject if {{ avg_queue(x) gt 0 }} {{ srv_is_up(x/s) }} {{ env(HOME) /root }} {{ pid 1 }}",
                REJECT,
            ),
            (f"{rule} reject if {{ fe_conn gt 8 }}", ACCEPT),
            (f"{rule} reject if {{ nbsrv(x) lt 2 }}", REJECT),
            (f"{rule} reject unless {{ nbsrv(x) ge 1 }}", ACCEPT),
            (f"{rule} reject if {{ rand(1) 0 }} {{ uuid -m len 36 }}", REJECT),
            (f"{rule} reject if {{ ssl_fc }}", ACCEPT),
            (f"{rule} reject if {{ var(txn.x) -m found }}", ACCEPT),
            (f"{rule} reject if HTTP_1.1", ACCEPT),
            (f"{rule} reject if HTTP", ACCEPT),
            (f"{rule} reject unless HTTP", REJECT),
            (f"{rule} reject if {{ http_first_req }}", ACCEPT),
        ):
            self.assertEqual(self.verdict(lines), verdict, lines)

    def test_no_rules_are_no_gate(self) -> None:
        """And no routing comes of such rules."""
        self.assertIsNone(RuleSets({}).gate(frontend("").rules.connection))
        self.assertFalse(frontend("tcp-request connection reject").rules)

    def test_faults(self) -> None:
        """Each with what to write."""
        for line, why in (
            ("tcp-request", "needs 'connection' and an action"),
            ("tcp-request connexion accept", "unknown word 'connexion': did you mean 'connection'?"),
            ("tcp-request session attach-srv b/s", "is a HAProxy rule that reusedproxy does not do yet"),
            ("tcp-request session", "needs an action: accept or reject"),
            ("tcp-request session set-var(txn.x) src", "'txn.x' is not there yet"),
            ("tcp-request connection set-var(txn.x) src", "'txn.x' is not there yet"),
            ("tcp-request connection", "needs an action: accept, reject or 'expect-proxy layer4'"),
            ("tcp-request connection rejct", "unknown action 'rejct': did you mean 'reject'?"),
            ("tcp-request connection silent-drop now", "'silent-drop' is followed by nothing but a condition"),
            ("tcp-request connection expect-proxy", "'expect-proxy' is followed by layer4"),
            ("tcp-request connection reject now", "'reject' is followed by nothing but a condition"),
            ("tcp-request connection reject if nobody", "nobody"),
        ):
            with self.assertRaises(ConfigurationError, msg=line) as raised:
                frontend(line)
            self.assertIn(why, str(raised.exception), line)

    def test_what_is_kept_for_later_must_be_there(self) -> None:
        """Or a rule about the variable keeps nobody out."""
        for line, why in (
            ("session set-var(sess.p) path", "'path' needs a request"),
            ("session set-var(sess.p) req.hdr(x),lower", "'req.hdr(x),lower' needs a request"),
            ("session set-var-fmt(sess.p) a%[path]", "'path' needs a request"),
            ("connection set-var(sess.p) ssl_fc_sni", "'ssl_fc_sni' needs a TLS handshake"),
            ("connection set-src req.hdr(x)", "'req.hdr(x)' needs a request"),
        ):
            with self.assertRaises(ConfigurationError, msg=line) as raised:
                frontend(f" tcp-request {line}")
            self.assertIn(why, str(raised.exception), line)
        for line in (
            "session set-var(sess.p) ssl_fc_sni",
            "connection set-var(sess.p) src",
            "session set-var-fmt(sess.p) %ci",
        ):
            frontend(f" tcp-request {line}")

    def test_what_can_never_be_true_is_said(self) -> None:
        """There is no request yet, nor a TLS handshake. What is known of the connection itself is said nothing of."""
        for criterion, why in (
            ("path /x", "'path' needs a request"),
            ("method GET", "'method' needs a request"),
            ("req.ver 1.1", "'req.ver' needs a request"),
            ("status 200", "'status' needs a response"),
            ("ssl_fc", ""),
            ("ssl_fc_sni a", "'ssl_fc_sni' needs a TLS handshake"),
            ("fc_pp_unique_id a", "'fc_pp_unique_id' needs a PROXY protocol header"),
            ("ssl_c_verify gt 0", "'ssl_c_verify' needs a TLS handshake"),
            ("be_name x", "'be_name' needs a backend"),
            ("src 127.0.0.1", ""),
            ("dst_port 80", ""),
            ("so_name x", ""),
            ("date gt 1", ""),
        ):
            rule = f"tcp-request connection reject if {{ {criterion} }}"
            text = f"{DEFAULTS}frontend a\n bind :80\n default_backend x\n {rule}\n{BACKEND}"
            said = [notice.text for notice in read_configuration([Source("t.cfg", text)], {}).notices]
            found = [text for text in said if "is never true here" in text]
            self.assertEqual([why in each for each in found], [True] if why else [], (criterion, said))


class FrontendTests(SynchronousTestCase):
    """A frontend that obeys."""

    def test_who_is_turned_away_was_never_there(self) -> None:
        """Closed at once, counted as denied and as nothing else; others come in."""
        loop = Loop(self)
        bind = model.Bind(PLACE, model.ListenAddress("tcp", host="127.0.0.1"), maxconn=1)
        world = World(self, frontend={"binds": (bind,)}, warm=1)
        world.frontend._poller = loop.poller
        world.frontend.listeners.clear()
        listener = Listener(loop.poller, world.deadlines, bind, bind_socket(bind, 10), self.fail)
        world.frontend.listen(listener)
        world.frontend.gate = gate("tcp-request connection reject if { src 127.0.0.1 }")
        for count in (1, 2, 3):
            far = loop.connect(("127.0.0.1", listener.port))
            loop.until(lambda far=far: far.end)
            self.assertEqual((world.frontend.denied, listener.connections), (count, 0))
        self.assertEqual((world.frontend.connections_total, world.places.taken), (0, 0))
        world.frontend.gate = gate("tcp-request connection reject if { src 127.0.0.2 }")
        far = loop.connect(("127.0.0.1", listener.port))
        far.send(GET)
        loop.pump()
        world.server.answer()
        loop.until(lambda: far.received)
        self.assertEqual(far.received, OK)
        far.drop()
        loop.until(lambda: not listener.connections)
        world.check_rest()


class FaultTests(SynchronousTestCase):
    """Rules that fail, by a fault of reusedproxy."""

    def setUp(self) -> None:
        self.loop = Loop(self)

    def door(self, mode: str) -> tuple[World, Listener]:
        bind = model.Bind(PLACE, model.ListenAddress("tcp", host="127.0.0.1"))
        world = World(self, frontend={"binds": (bind,)}, warm=1)
        front = world.frontend
        front._poller = self.loop.poller
        front.listeners.clear()
        if mode == "tcp":
            guide: Any = SimpleNamespace(begin=self.fail)
            front.guide = guide
        listener = Listener(self.loop.poller, world.deadlines, bind, bind_socket(bind, 10), self.fail)
        front.listen(listener)
        front.judges_sessions = True
        return world, listener

    def test_nobody_is_let_in(self) -> None:
        """Those behind might have turned the client away: its connection is closed, in either mode, before and after
        its session has begun."""
        for mode in ("http", "tcp"):
            for which in ("gate", "session_gate"):
                world, listener = self.door(mode)
                setattr(world.frontend, which, Gate([(lambda facts: NOTHING[1], REJECT, PLACE)]))
                far = self.loop.connect(("127.0.0.1", listener.port))
                self.loop.until(lambda far=far: far.end)
                self.loop.until(lambda listener=listener: not listener.connections)
                self.assertEqual((world.frontend.clients, world.frontend.traffic.eint), (0, 1), (mode, which))
                level, text = world.announced[-1]
                self.assertEqual(level, "alert")
                self.assertIn("IndexError", text)
                self.assertIn("test_clients_gate.py", text)

    def test_no_sample_that_may_stand_there_fails(self) -> None:
        """Nor an alias of the log; many have no value yet."""
        samples = [f"set-var(sess.a) {name}" for name in FETCHES]
        samples += [f'set-var-fmt(sess.a) "%{name}"' for name in ALIASES]
        world, listener = self.door("http")
        for which, stage in (("gate", "connection"), ("session_gate", "session")):
            arrivals: list[Arrival] = []
            setattr(world.frontend, which, Gate([(lambda facts, kept=arrivals: kept.append(facts), REJECT, PLACE)]))  # type: ignore[misc]
            far = self.loop.connect(("127.0.0.1", listener.port))
            self.loop.until(lambda arrivals=arrivals: arrivals)
            run = 0
            for each in samples:
                try:
                    rules = getattr(frontend(f"tcp-request {stage} {each}").rules, stage)
                except ConfigurationError:
                    continue
                made = RuleSets({}).gate(rules)
                assert made is not None
                self.assertEqual(made.judge(arrivals[0]), ACCEPT, each)
                run += 1
            self.assertGreater(run, 250)
            setattr(world.frontend, which, None)
            far.drop()
            self.loop.until(lambda: not listener.connections)
