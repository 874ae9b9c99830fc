"""What rules see behind one that rewrites: the same whether or not others have looked before. HAProxy reads the message
anew at each look."""

from __future__ import annotations

from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from tests.clientfakes import World
from tests.rulecases import REQUEST
from tests.rulefakes import ruled

USERS = "user alice insecure-password in:clear\n user bob insecure-password x\n group g users alice"
SENT = REQUEST.replace(b"GET /a/b.css", b"POST /A//b.css") + b"Content-Length: 7\r\n\r\nx=1&q=2"
LOOKS = """
 method path pathq url query base baseq base32 url32 base32+src,hex url32+src,hex url_param(x) url_param(x,&,i)
 urlp(y) urlp_val(x) url_ip url_port req.ver req.hdr(host) hdr(host),host_only hdr(host),lower req.hdr(x-list)
 req.hdr(x-list,1) req.fhdr(x-list) req.hdr_cnt(x-list) req.fhdr_cnt(x-list) req.hdr_cnt req.hdr_val(x-number)
 req.hdr_ip(x-ip) req.hdr_ip(x-ip,1) req.hdrs,hex req.hdr_names req.cook(a) req.cook(b) req.cook_cnt(a) cookie(b)
 src src_port http_auth_user http_auth_pass http_auth_type http_auth(L) http_auth_group(L) http_auth_bearer
 http_auth_bearer(X-Token) req.body req.body_len req.body_size req.body_param(x) var(txn.v) var(req.v) var(sess.v)
 capture.req.hdr(0) capture.req.method capture.req.uri capture.req.ver prio_class prio_offset sc0_tracked
 sc0_get_gpc0 sc0_http_req_cnt sc1_tracked src_get_gpc0 path,length fe_name nbsrv(be) http_first_req dst_conn
 cur_client_timeout req.hdr(user-agent) req.fhdr(host)
"""
CONDITIONS = (
    "{ path /A//b.css }", "{ path /n }", "{ path_beg -i /a/ }", "{ path_dir n }", "{ path_end .css }",
    "{ path_reg ^/A }", "{ hdr(host) -i app.example:8443 }", "{ hdr(host) -i n.example }",
    "{ hdr_dom(host) n.example }", "{ method POST }", "{ method PUT }", "{ src 127.0.0.1 }", "{ src 192.0.2.0/24 }",
    "{ url_param(x) 1 }", "{ url_param(x) 9 }", "{ cook(a) 3 }", "{ cook(a) 9 }", "{ hdr_cnt(x-list) 4 }",
    "{ hdr(x-list) two }", "{ hdr(x-list) nine }", "{ http_auth_user alice }", "{ http_auth(L) }",
    "{ http_auth_group(L) g }", "{ base_beg App }", "{ url_beg /n }", "{ hdr_ip(x-ip) 10.0.0.0/8 }",
    "{ hdr_val(x-number) 42 }", "{ query -m sub x=9 }", "{ req.hdr(x-new) -m found }",
)  # fmt: skip
REWRITES = (
    "set-header X-List nine", "add-header X-List nine", "del-header X-List", "del-header ^x- -m reg",
    "del-header Cookie", "replace-header X-List (.*),(.*) \\2,\\1", "replace-value X-List two nine",
    "set-header Cookie a=9", "add-header Cookie b=9", "replace-header Cookie a=1 a=9", "set-header Host n.example",
    "replace-header Host .* n.example", "set-header X-Number 7", "set-header X-Ip 192.0.2.7",
    "replace-value X-Ip .* 192.0.2.7", "set-header X-New 1", "set-path /n", "set-path /n?x=9", "set-pathq /n?x=9",
    "set-query x=9", "set-uri /n?x=9", "set-uri http://n.example/n?x=9", "replace-path (.*) /n\\1",
    "replace-pathq /A(.*) /n\\1", "replace-uri ^/A(.*) http://n.example:81/n\\1", "normalize-uri path-merge-slashes",
    "normalize-uri query-sort-by-name", "set-method PUT", "set-src hdr(x-ip,1)", "set-src-port int(7)",
    "set-var(txn.v) int(7)", "set-var(req.v) path", "set-var(sess.v) path", "unset-var(txn.v)",
    "set-priority-class int(3)", "set-priority-offset int(3)", 'set-header Authorization "Basic Ym9iOng="',
    "del-header Authorization", 'set-header Authorization "Bearer x"', 'set-header X-Token "Bearer x"',
    "replace-header Authorization Basic Bearer", 'add-header Authorization "Basic Ym9iOng="', "capture path id 0",
    "capture hdr(host) id 0", "track-sc1 hdr(host)", "sc-inc-gpc0(0)", "sc-set-gpt0(0) 7", "set-timeout client 7s",
    "set-header User-Agent n", "set-log-level silent", "strict-mode off",
)  # fmt: skip
REFUSED_BEHIND = (
    "set-uri http://n.example/n?x=9", "set-path /n", "del-header ^x- -m reg", "replace-header Cookie a=1 a=9",
    "set-method PUT", "del-header Authorization",
)  # fmt: skip
BEFORE = """
 stick-table type string len 32 size 99 store gpc0,gpt0,http_req_cnt
 declare capture request len 32
 http-request set-var(txn.v) int(1)
 http-request set-var(req.v) int(1)
 http-request track-sc0 str(me)
"""
LOOKS_OF_ANSWERS = """
 status res.hdr(x-list) res.hdr(x-list,1) res.fhdr(x-list) res.hdr_cnt(x-list) res.fhdr_cnt(x-list)
 res.hdr_val(x-number) res.hdr_ip(x-ip) res.hdrs,hex res.hdr_names res.cook(a) res.cook_cnt(a) res.ver res.body
 res.body_len res.body_size res.comp capture.res.hdr(0) capture.res.ver var(txn.v) var(res.v)
"""
REWRITES_OF_ANSWERS = (
    "set-status 503", "set-header X-List nine", "add-header X-List nine", "del-header X-List", "del-header ^x- -m reg",
    "replace-header X-List (.*),(.*) \\2,\\1", "replace-value X-List two nine", "set-header X-Number 7",
    "set-header X-Ip 192.0.2.7", "del-header Set-Cookie", "replace-header Set-Cookie a=1 a=9",
    "add-header Set-Cookie a=9", "set-var(txn.v) int(7)", "set-var(res.v) status", "capture res.hdr(x-list) id 0",
    "set-header Content-Type n",
)  # fmt: skip
ANSWER = (
    b"HTTP/1.1 200 OK\r\nX-List: one, two,three\r\nX-List: four\r\nX-Number: 42\r\nX-Ip: 10.1.2.3\r\n"
    b"Set-Cookie: a=1; path=/\r\nSet-Cookie: b=2\r\nContent-Length: 3\r\n\r\nabc"
)


class RewrittenTests(SynchronousTestCase):
    def world(self, rules: str) -> World:
        return ruled(self, rules, users=USERS, warm=1)

    def sent(self, rules: str) -> bytes:
        """What the server, or the client of a refused request, gets."""
        world = self.world(rules)
        client = world.client()
        client.send(SENT)
        asked = world.server.asked()
        if asked:
            world.server.answer(ANSWER)
            world.check_rest()
        return asked + b"|" + client.take()

    def test_a_request_is_seen_as_it_has_been_rewritten(self) -> None:
        shown = "".join(f" http-request set-header X-{at} %[{look}]\n" for at, look in enumerate(LOOKS.split()))
        shown += "".join(f" http-request add-header X-If {at} if {said}\n" for at, said in enumerate(CONDITIONS))
        looked = "".join(f" http-request set-var(txn.l{at}) {look}\n" for at, look in enumerate(LOOKS.split()))
        looked += "".join(f" http-request set-var(txn.c) int(1) if {said}\n" for said in CONDITIONS)
        unwritten = self.sent(f"{BEFORE}{looked}{shown}")
        self.assertEqual(self.sent(f"{BEFORE}{shown}"), unwritten)
        self.assertIn(b"\r\nX-1: /A//b.css\r\n", unwritten)
        for rewrites in (REWRITES[number::8] for number in range(8)):
            written = "".join(f" http-request {each}\n" for each in rewrites)
            fresh, again = self.sent(f"{BEFORE}{written}{shown}"), self.sent(f"{BEFORE}{looked}{written}{shown}")
            self.assertIn(b"\r\nX-1: ", fresh)
            self.assertEqual(again.split(b"\r\n"), fresh.split(b"\r\n"), rewrites)

    def test_a_request_is_refused_for_what_has_been_written(self) -> None:
        """Rules that ask the same are run together, but for those between which another rewrites."""
        let = "http-request allow if { path /none } or { src 9.9.9.9 }"
        for rewrite, said in product(REFUSED_BEHIND, CONDITIONS):
            deny, looked = f"http-request deny if {said}", f"http-request set-var(txn.c) int(1) if {said}"
            fresh = self.sent(f"{BEFORE} http-request {rewrite}\n {deny}")
            rules = (looked, looked, let, f"http-request {rewrite}", looked, deny, deny)
            again = self.sent(BEFORE + "\n ".join(("", *rules)))
            self.assertEqual(b" 403 " in again, b" 403 " in fresh, (rewrite, said))

    def test_an_answer_is_seen_as_it_has_been_rewritten(self) -> None:
        shown = "".join(
            f" http-response set-header Y-{at} %[{look}]\n" for at, look in enumerate(LOOKS_OF_ANSWERS.split())
        )
        looked = "".join(
            f" http-response set-var(txn.l{at}) {look}\n" for at, look in enumerate(LOOKS_OF_ANSWERS.split())
        )
        before = f"{BEFORE} declare capture response len 32\n"
        for rewrite in REWRITES_OF_ANSWERS:
            fresh = self.sent(f"{before} http-response {rewrite}\n{shown}")
            again = self.sent(f"{before}{looked} http-response {rewrite}\n{shown}")
            self.assertIn(b"\r\nY-0: ", fresh)
            self.assertEqual(again.split(b"\r\n"), fresh.split(b"\r\n"), rewrite)
