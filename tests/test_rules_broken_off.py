"""Rules that are broken off until a password has been checked: what they do and decide is what they would with one that
needs no check, whatever they count, set and look up before, behind and while they ask for it."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.rules import Receive
from reusedproxy.config.rules.actions import Allow, Authenticate, Redirect, SetStatus, UseService
from reusedproxy.config.rules.replies import Reply
from reusedproxy.config.rules.steering import Drop, MarkPackets, Nothing, Pause, Resolve, WaitForBody
from reusedproxy.net.passwords import Passwords
from reusedproxy.net.slices import run_through
from reusedproxy.net.transport import OPEN
from reusedproxy.rules.actions import _COMPILED_BY, LoadedReply
from reusedproxy.rules.maps import Map
from tests.clientfakes import OK, get
from tests.rulefakes import ruled, sections
from tests.test_exchanges_authentication import login
from tests.test_net_passwords import Loop, same

HASHED = "user bob password right groups g\n user eve password other\n group g\n group h"
CLEAR = HASHED.replace(" password", " insecure-password")
FILTERS = """
 filter bwlim-in up default-limit 1k default-period 1s
 filter bwlim-out down default-limit 1k default-period 1s
"""
BEFORE = f"""
 declare capture request len 9
 timeout tarpit 1500ms
{FILTERS} stick-table type ip size 9 store http_req_cnt,http_req_rate(9s),conn_cur,gpc0,gpc1,gpt0
"""
#: Rules with each action that does something and lets the request go on.
ACTIONS = """
 set-bandwidth-limit up
 set-bandwidth-limit down
 track-sc0 src table fe
 track-sc1 src table fe
 sc-inc-gpc0(0)
 sc-add-gpc(1,0) 2
 sc-set-gpt0(0) sc_inc_gpc0(0)
 add-header X-Counted %[sc_get_gpc0(0)]-%[sc_inc_gpc1(0)]
 add-header X-Found %[src,table_gpc0(fe)]-%[src,in_table(fe)]-%[src,map_ip(m,none)]-%[src_inc_gpc0(fe)]
 add-header X-Path %[path]
 set-path /a%[path]
 set-header X-Path %[path] if { path -f virt@l }
 del-header X-Path
 set-var(txn.n) var(txn.n,0),add(1)
 set-var(sess.n) var(sess.n,0),add(1)
 set-var(proc.n) var(proc.n,0),add(1)
 set-var(txn.u) http_auth_group(L)
 set-map(m) %[src] seen
 set-map(m) %[src] %[http_auth_group(L)]
 del-map(m) %[src]
 add-acl(virt@l) %[path]
 add-acl(virt@l) %[http_auth_group(L)]
 del-acl(virt@l) %[path]
 set-priority-class int(3)
 set-log-level silent
 capture var(txn.n) id 0
 set-method OPTIONS
 set-src-port src_port,add(1)
 set-src hdr(x-src)
 set-dst str(192.0.2.9)
 set-timeout client 7s
 set-retries 9
 disable-l7-retry
 normalize-uri query-sort-by-name
 early-hint Link %[var(txn.n)]
 early-hint User %[http_auth_group(L)]
 strict-mode off
 set-header X-Unique %[unique-id]
 allow if { src -f virt@l }
 allow if { src,map_ip(m) seen }
 deny if { sc_inc_gpc0(0) gt 3 }
 deny deny_status 429 if { sc0_http_req_cnt gt 2 }
 deny deny_status 410 if { http_auth(L) } { src_inc_gpc0(fe) gt 2 }
 deny deny_status 411 if { src_inc_gpc0(fe) gt 4 } { http_auth(L) }
 deny deny_status 412 if { path,set-var(txn.p) -m found } { sc_clr_gpc0(0) gt 5 } !{ http_auth(L) }
 deny deny_status 413 if { path_beg /x } !{ http_auth(L) }
 deny deny_status 414 if { path_beg /y }
 add-header X-Beg 1 if { path_beg / }
 add-header X-Beg 2 if { path_beg / }
 auth unless { http_auth(L) }
 auth unless { http_auth_group(L) g }
 redirect location /%[http_auth_group(L)] if { sc_inc_gpc1(0) gt 2 }
 wait-for-body time 5s
 wait-for-body time 1s
 wait-for-body time 5s at-least 2
 pause 500
 set-header X-Body %[req.body]-%[req.body_len] if { http_auth(L) }
 tarpit deny_status 430 if { path_beg /y } { sc_inc_gpc1(0) gt 1 } !{ http_auth(L) }
 return status 200 content-type a/b lf-string %[sc_inc_gpc1(0)]%[http_auth_group(L)] if { path_beg /a/a/a }
""".strip().splitlines()
#: Those of other words, for either section or the frontend alone.
WORDS = """
 tcp-request content track-sc0 src table fe
 tcp-request content track-sc2 src table fe
 tcp-request content sc-inc-gpc0(0)
 tcp-request content set-var(txn.n) var(txn.n,0),add(1)
 tcp-request content set-var(txn.u) http_auth_group(L)
 tcp-request content reject if { src_inc_gpc0(fe) gt 1 } !{ http_auth(L) }
 tcp-request content sc-add-gpc(0,0) sc_get_gpc0(0),add(1) if { http_auth(L) }
 http-after-response add-header X-After %[var(txn.n)]
 http-after-response add-header X-After %[src_inc_gpc0(fe)]
 redirect location /r%[http_auth_group(L)] if { sc_inc_gpc1(0) gt 5 } { http_auth(L) }
 http-error status 401 content-type a/b lf-string %[http_auth_group(L)]
""".strip().splitlines()
OF_FRONTENDS = """
 use_backend other if { src_inc_gpc0(fe) gt 3 } !{ http_auth(L) }
 use_backend other if { src,in_table(fe) } { http_auth(L) }
 use_backend %[http_auth_group(L)]
 monitor-uri /m
 monitor fail if { src_inc_gpc0(fe) gt 1 } !{ http_auth(L) }
 unique-id-format %[src_inc_gpc1(fe)]-%[http_auth_group(L)]
 option http-buffer-request
""".strip().splitlines()
#: Actions that end the rules or wait, or whose effect is on the socket.
OTHERS = {
    Allow, Authenticate, Drop, LoadedReply, MarkPackets, Nothing, Pause, Receive, Redirect, Reply, Resolve,
    SetStatus, UseService, WaitForBody,
}  # fmt: skip
RULES = [f" http-request {line.strip()}" for line in ACTIONS]
EITHER = [f" {line.strip()}" for line in WORDS]
FRONT = [f" {line.strip()}" for line in OF_FRONTENDS]
PASSWORDS = (None, "bob:right", "bob:wrong", "eve:other", "nobody:x")


def seen(test: SynchronousTestCase, users: str, front: str, back: str, asks: list[tuple[str, str | None]]) -> list[Any]:
    """What clients, servers and operators see of these requests: paths, each with a name and a password."""
    loop = Loop()
    passwords = Passwords(loop, same)
    world = ruled(test, BEFORE + front, FILTERS + back, {"other": ""}, users=users, passwords=passwords, warm=1)
    frontend = world.frontend
    map_ = Map([])
    run_through(map_.prepare("ip", "str", "a map"))
    frontend.maps = {"m": map_}
    found: list[Any] = []

    def checked() -> None:
        while passwords.waiting:
            loop.run()

    client = world.client()
    client.connection.destination = ("192.0.2.1", 80)
    for path, password in asks:
        if client.wire.state != OPEN:
            client = world.client()
            client.connection.destination = ("192.0.2.1", 80)
        fields = ("X-Src: 192.0.2.77", "Via: x") if password is None else ("X-Src: 192.0.2.77", login(password))
        head = get(path, *fields, "Content-Length: 4").replace(b"GET", b"POST", 1)
        for rest in (head + b"f", b"or", b"", b"m", b""):
            if client.wire.state == OPEN:
                client.send(rest)
            checked()
            world.advance(1)
            checked()
            for each in (world, *world.others.values()):
                if each.server.dialer.open:
                    each.server.connect()
        sent = [(name, each.server.asked()) for name, each in (("be", world), *world.others.items())]
        for name, each in (("be", world), *world.others.items()):
            if dict(sent)[name]:
                each.server.answer(OK)
        tables = [
            (table.key_of(row), slot, table.value(row, at), table.uses[row])
            for table in frontend.tables.values()
            for row in table.each()
            for slot, at in table.slots.items()
        ]
        counted = [(each.stot, each.req_tot, each.scur, each.dreq, each.ereq, each.intercepted) for each in (
            frontend.traffic, world.backend.traffic, *(other.backend.traffic for other in world.others.values())
        )]  # fmt: skip
        logged = [(each.status, each.flags, each.noted and each.noted.request) for each in world.log]
        found.append(
            (client.take(), sent, tables, counted, logged, dict(frontend.variables), dict(map_.values),
             {name: [*each] for name, each in frontend.lists.items()})
        )  # fmt: skip
    return found


class BrokenOffTests(SynchronousTestCase):
    def check(self, front: str, back: str, asks: list[tuple[str, str | None]]) -> None:
        clear, hashed = (seen(self, users, front, back, asks) for users in (CLEAR, HASHED))
        for number, (one, other) in enumerate(zip(clear, hashed, strict=True)):
            self.assertEqual(one, other, (number, asks, front, back))

    def test_each_action_is_among_these(self) -> None:
        covered = {
            type(rule.action) for rule in sections(BEFORE + "\n".join(RULES), users=CLEAR).frontends["fe"].rules.request
        }
        self.assertEqual({*_COMPILED_BY} - covered - OTHERS, set(), "an action is neither among these nor those")

    def test_each_rule_before_one_that_asks(self) -> None:
        """And behind another that asks; in either section, of which the other asks, too."""
        track, auth = " http-request track-sc0 src table fe\n", "\n http-request auth unless { http_auth(L) }"
        asks = [("/a", each) for each in ("bob:wrong", "bob:right", "bob:wrong", "eve:other", None)]
        for line in [*RULES, *EITHER]:
            self.check(track + line + auth, "", asks)
            self.check(track, line + auth, asks)
            self.check(line + auth, line, asks)
        for line in FRONT:
            self.check(track + line + auth, "", asks)
            self.check(line, auth, asks)
        self.check(
            "".join(FRONT[3:5]).replace("monitor fail", "\n monitor fail"), "", [("/m", each) for each in PASSWORDS] * 2
        )

    @settings(deadline=None, max_examples=150)
    @given(
        front=st.lists(st.sampled_from([*RULES, *EITHER, *FRONT]), max_size=7),
        back=st.lists(st.sampled_from([*RULES, *EITHER]), max_size=5),
        asks=st.lists(st.tuples(st.sampled_from(("/", "/x", "/y", "/m")), st.sampled_from(PASSWORDS)), min_size=1,
                      max_size=5),
    )  # fmt: skip
    def test_any_rules(self, front: list[str], back: list[str], asks: list[tuple[str, str | None]]) -> None:
        once = ("monitor-uri", "unique-id-format")
        front = [line for at, line in enumerate(front) if line.split()[0] not in once or line not in front[:at]]
        self.check("\n".join(front), "\n".join(back), asks)
