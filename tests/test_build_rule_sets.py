"""From rules that were read to frontends that obey them: files of patterns, who needs a routing, whose rules count."""

from __future__ import annotations

import os
from random import Random
from tempfile import TemporaryDirectory
from types import SimpleNamespace

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build import list_files
from reusedproxy.build.assembly import Assembly, AssemblyError, Proxy
from reusedproxy.build.patterns import patterns_in
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.exchanges.routing import Routing
from reusedproxy.net.poller import Poller
from reusedproxy.rules.matching import Test
from reusedproxy.sessions.switching import OtherMode, SwitchingRule, backend_to_use
from tests.rulefakes import DEFAULTS, Seen

HEAD = b"GET /a/b HTTP/1.1\r\nHost: a\r\n\r\n"


def first_test(routing: Routing) -> Test:
    """Returns the condition of the first `use_backend`."""
    rule = routing.choices[0]
    assert isinstance(rule, SwitchingRule) and rule.test is not None
    return rule.test


class RuleBookTests(SynchronousTestCase):
    """Through the whole assembly."""

    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = f"{directory.name}/patterns"

    def assembled(self, text: str) -> Proxy:
        poller = Poller(SimpleNamespace(removeReader=lambda reader: None))  # type: ignore[arg-type]
        self.addCleanup(poller.stop)
        configuration = read_configuration([Source("t.cfg", DEFAULTS + text)], {})
        return Assembly(configuration, Clock(), poller, Random(1), lambda level, text, section="": None).build(
            bind=False
        )

    def write(self, text: str) -> None:
        with open(self.path, "w") as file:
            file.write(text)

    def test_without_rules_there_is_no_routing(self) -> None:
        """A first `use_backend` without a condition is a plain default."""
        proxy = self.assembled(
            "frontend a\n bind :80\n use_backend x\n use_backend y\n default_backend z\n"
            "backend x\n server s 192.0.2.1:1\nbackend y\n server s 192.0.2.1:1\nbackend z\n server s 192.0.2.1:1\n"
        )
        (frontend,) = proxy.frontends
        assert frontend.default_route is not None
        self.assertEqual((frontend.routing, frontend.default_route.backend.name), (None, "x"))

    def test_rules_of_backends_need_one(self) -> None:
        """Whichever way leads there; of a dynamic name all do."""
        backends = "backend x\n server s 192.0.2.1:1\nbackend y\n http-request deny\n server s 192.0.2.1:1\n"
        for rule, routes in (
            ("default_backend y", {"y"}),
            ("use_backend y if TRUE\n default_backend x", {"x", "y"}),
            ("use_backend %[path]", {"x", "y"}),
        ):
            routing = self.assembled(f"frontend a\n bind :80\n {rule}\n{backends}").frontends[0].routing
            assert routing is not None
            self.assertEqual(set(routing.routes), routes)
            self.assertEqual([name for name, route in routing.routes.items() if route.rule_set is not None], ["y"])
        self.assertIsNone(self.assembled(f"frontend a\n bind :80\n default_backend x\n{backends}").frontends[0].routing)

    def test_one_test_tells_which_requests_need_not_pass_the_rules(self) -> None:
        """Where there is nothing else that may have a say, in the frontend, in its backend, or in a page."""
        front, back = "http-request deny if { path /x }", "balance roundrobin"
        guarded = (
            (front, back),
            (f"{front}\n http-request redirect location / if {{ method POST }} OR {{ path_beg /y }}", back),
            (f"{front}\n http-response set-header A b\n http-after-response set-header A b", back),
            (front, "http-response set-header A b\n cookie C insert"),
            (
                "stick-table type ip size 9 store http_req_rate(1s)\n http-request track-sc0 src\n"
                " http-request deny if { sc_http_req_rate(0) gt 9 }\n http-request deny if { path /x }",
                back,
            ),
        )
        table = "stick-table type ip size 9 store conn_cur,gpc0,http_req_rate(1s)\n"
        about_tables = (
            (f"{table} tcp-request connection track-sc0 src\n {front}", back),
            (f"{table} tcp-request connection track-sc0 src", back),
            (f"{table} http-request track-sc0 src\n http-request deny if {{ sc0_conn_cur gt 9 }}", back),
            (f"{table} http-request track-sc0 src if !{{ src 10.0.0.0/8 }}\n {front}", back),
            (f"{table} http-request deny if {{ src_http_req_rate gt 9 }} !{{ path /x }}", back),
            (f"{table} http-request track-sc1 src\n http-request track-sc2 dst table y", back),
            (f"{table} http-request deny if {{ sc0_conn_cur gt 9 }}\n http-request track-sc0 src table y", back),
            (f"{table} http-request deny if {{ src_conn_cur gt 9 }}\n http-request track-sc0 src", back),
            (f"{table} http-request track-sc0 src\n http-request deny if {{ sc0_inc_gpc0 gt 9 }}", back),
            (f"{table} http-request track-sc0 src\n http-request sc-inc-gpc0(0)", back),
        )
        by_keys = tuple(
            (f"{table} http-request track-sc0 {key} table z", back)
            for key in (
                "hdr(a)",
                "hdr_ip(x-forwarded-for,-1)",
                "src,ipmask(24)",
                "url32+src",
                "base32",
                "path,lower,crc32",
            )
        )
        not_guarded = (
            (f"{table} http-request track-sc0 path,regsub(a,b) table z", back),
            (f"{table} http-request track-sc0 req.body_param(a) table z", back),
            (f"{table} http-request track-sc0 var(txn.a) table z", back),
            (f"{table} http-request track-sc0 src if {{ path_reg x }}", back),
            (f"{table} http-request track-sc0 src\n http-request sc-add-gpc(0,0) req.body_len", back),
            (f"{table} http-request deny if {{ src_inc_gpc0 gt 9 }} {{ path_reg x }}", back),
            ("http-request set-header A b", back),
            (f"{front}\n http-request deny if {{ path_reg x }}", back),
            (f"{front}\n http-request deny unless {{ path /x }}", back),
            (f"{front}\n http-request deny if {{ path /x }} OR {{ method A }} OR {{ hdr(b) c }}", back),
            (f"{front}\n http-request wait-for-body time 1s if {{ path /y }}", back),
            (f"{front}\n tcp-request content reject if {{ path /y }}", back),
            (f"{front}\n redirect location / if {{ path /y }}", back),
            (f"{front}\n use_backend y if {{ path /y }}", back),
            (f"{front}\n option http-buffer-request", back),
            (f"{front}\n option http-restrict-req-hdr-names reject", back),
            (f"{front}\n stats uri /s", back),
            (f"{front}\n monitor-uri /m", back),
            (f"{front}\n unique-id-format a\n unique-id-header b", back),
            (f"{front}\n capture request header a len 9", back),
            (front, "http-request deny if { path /y }"),
            (front, "tcp-request content reject if { path /y }"),
            (front, "use-server s if { path /y }"),
            (front, "force-persist if { path /y }"),
            (front, "stats uri /s"),
            (front, "option forwarded"),
            (front, "option egress\n default-server egress-net 192.0.2.0/24"),
        )
        for expected, cases in ((True, guarded), (True, about_tables), (True, by_keys), (False, not_guarded)):
            for frontend, backend in cases:
                text = f"frontend f\n bind :80\n {frontend}\n default_backend x\nbackend x\n {backend}\n"
                other = "backend z\n stick-table type string len 9 size 9 store gpc0\n server s 192.0.2.1:1\n"
                other += "backend y\n stick-table type ip size 9 store gpc0\n server s 192.0.2.1:1\n"
                proxy = self.assembled(f"{text} server s 192.0.2.1:1\n{other}")
                self.assertIs(proxy.frontends[0].guard is not None, expected, text)

    def test_requests_are_counted_where_what_tracks_their_connections_counts_them(self) -> None:
        for stored, track, counts in (
            ("conn_cur,conn_rate(9s),gpc0", "tcp-request connection track-sc0 src", False),
            ("conn_cur,http_req_rate(9s)", "tcp-request connection track-sc0 src", True),
            ("http_err_cnt", "tcp-request session track-sc0 src", True),
            ("bytes_out_rate(9s)", "tcp-request connection track-sc0 src table f if { src 10.0.0.0/8 }", True),
            ("http_req_cnt", "http-request track-sc0 src", False),
        ):
            text = f"frontend f\n bind :80\n stick-table type ip size 9 store {stored}\n {track}\n default_backend x\n"
            (frontend,) = self.assembled(f"{text}backend x\n server s 192.0.2.1:1\n").frontends
            self.assertEqual((frontend.counts_requests, frontend.tracks), (counts, track.startswith("tcp")), stored)

    def test_a_listen_sections_rules_count_once(self) -> None:
        """But they are a backend's where another frontend leads to it."""
        proxy = self.assembled(
            "listen l\n bind :80\n http-request set-header X 1\n server s 192.0.2.1:1\n"
            "frontend f\n bind :81\n default_backend l\n"
        )
        own, other = (frontend.routing for frontend in proxy.frontends)
        assert own is not None and other is not None
        self.assertEqual((own.routes["l"].rule_set, other.routes["l"].rule_set is None), (None, False))

    def test_patterns_come_out_of_files(self) -> None:
        """Without comments and empty lines; with those of the line."""
        self.write("# ours\n\n  /a\n/b\n")
        proxy = self.assembled(
            f"frontend f\n bind :80\n use_backend x if {{ path_beg -f {self.path} /c }}\n default_backend y\n"
            "backend x\n server s 192.0.2.1:1\nbackend y\n server s 192.0.2.1:1\n"
        )
        routing = proxy.frontends[0].routing
        assert routing is not None
        test = first_test(routing)
        for path, true in ((b"/a/b", True), (b"/b", True), (b"/c", True), (b"/d", False)):
            self.assertIs(test(Seen(HEAD.replace(b"/a/b", path))), true)

    def test_a_flag_counts_for_what_stands_behind_it(self) -> None:
        """As in HAProxy: `-i` not for files that were named before it; nor `-m`, which is refused there."""
        self.write("/A\n")
        for flags, expected in (
            ("-f {} -i /C", (False, True)),
            ("-i -f {} /C", (True, True)),
            ("-f {} -i -f {} /C", (True, True)),
            ("-f {} /C", (False, False)),
        ):
            proxy = self.assembled(
                "frontend f\n bind :80\n"
                f" use_backend x if {{ path {flags.replace('{}', str(self.path))} }}\n default_backend x\n"
                "backend x\n server s 192.0.2.1:1\n"
            )
            routing = proxy.frontends[0].routing
            assert routing is not None
            test = first_test(routing)
            found = tuple(test(Seen(HEAD.replace(b"/a/b", path))) for path in (b"/a", b"/c"))
            self.assertEqual(found, expected, flags)
            self.assertTrue(test(Seen(HEAD.replace(b"/a/b", b"/A"))))

    def test_a_pattern_is_all_of_its_line_but_for_the_blanks_before_it(self) -> None:
        """As in HAProxy, which ends it at a CR and at a NUL, too; a # begins a comment in the first column only."""
        lines = ["/a \n", "\t /b\n", "# c\n", " # d\n", "/e\r\n", "/f\r/g\n", "\n", " \t\n", "/h\0/i\n", "/j\t"]
        self.assertEqual([*patterns_in(lines)], ["/a ", "/b", "# d", "/e", "/f", "/h", "/j\t"])
        self.write("/a \n/b\r/c\n")
        proxy = self.assembled(
            f"frontend f\n bind :80\n use_backend x if {{ path,url_dec -f {self.path} }}\n default_backend x\n"
            "backend x\n server s 192.0.2.1:1\n"
        )
        routing = proxy.frontends[0].routing
        assert routing is not None
        test = first_test(routing)
        for path, true in ((b"/a", False), (b"/a%20", True), (b"/b", True), (b"/c", False)):
            self.assertIs(test(Seen(HEAD.replace(b"/a/b", path))), true)

    def test_a_disabled_backend_is_not_replaced_by_the_default(self) -> None:
        """Whether it is named in the file or by the request."""
        (frontend,) = self.assembled(
            "frontend f\n bind :80\n use_backend off if { path /off }\n"
            " use_backend %[path,field(2,/)]\n default_backend x\n"
            "backend x\n server s 192.0.2.1:1\nbackend off\n disabled\n server s 192.0.2.1:1\n"
        ).frontends
        routing = frontend.routing
        assert routing is not None
        for path, name in ((b"/off", None), (b"/off/a", None), (b"/x", "x"), (b"/nowhere", "x")):
            facts = Seen(HEAD.replace(b"/a/b", path))
            way = backend_to_use(routing.choices, facts, routing.routes, routing._disabled, frontend.default_route)
            self.assertEqual(None if way is None else way.backend.name, name, path)

    def test_a_name_made_of_a_request_that_is_of_a_backend_in_mode_tcp_is_none(self) -> None:
        """As in HAProxy: the request ends, and does not go to the default backend."""
        (frontend,) = self.assembled(
            "frontend f\n bind :80\n use_backend %[path,field(2,/)]\n default_backend x\n"
            "backend x\n server s 192.0.2.1:1\nbackend raw\n mode tcp\n server s 192.0.2.1:1\n"
        ).frontends
        routing = frontend.routing
        assert routing is not None
        asked = routing.choices, Seen(HEAD.replace(b"/a/b", b"/raw")), routing.routes, routing._disabled
        with self.assertRaises(OtherMode):
            backend_to_use(*asked, frontend.default_route, routing._other_mode)

    def test_a_pipe_is_waited_for_by_nobody(self) -> None:
        os.mkfifo(self.path)
        with self.assertRaises(AssemblyError) as raised:
            self.assembled(f"frontend f\n bind :80\n http-request deny if {{ src -f {self.path} }}\n")
        self.assertIn("it is a pipe, and a reload needs a file that can be read again", str(raised.exception))

    def test_a_file_without_end_is_read_up_to_a_bound(self) -> None:
        self.patch(list_files, "LARGEST_LIST", 100)
        for content, said in (("/a\n" * 40, "it has 120 bytes, more than the 100 bytes"), ("/a\n" * 30, None)):
            self.write(content)
            text = f"frontend f\n bind :80\n http-request deny if {{ path -f {self.path} }}\n"
            if said is None:
                self.assembled(text)
            else:
                with self.assertRaises(AssemblyError) as raised:
                    self.assembled(text)
                self.assertIn(f"cannot read the patterns in {self.path}: {said}", str(raised.exception))

    def test_a_file_that_cannot_be_used_is_a_fault(self) -> None:
        """With the line that names it."""
        text = (
            f"frontend f\n bind :80\n acl a src -f {self.path}\n http-request deny if a\n default_backend y\n"
            "backend y\n server s 192.0.2.1:1\n"
        )
        with self.assertRaises(AssemblyError) as raised:
            self.assembled(text)
        self.assertEqual(
            str(raised.exception), f"t.cfg:8: cannot read the patterns in {self.path}: No such file or directory"
        )
        self.write("10.0.0.0/8\nnonsense\n")
        with self.assertRaises(AssemblyError) as raised:
            self.assembled(text)
        self.assertIn(f"t.cfg:8: the patterns in {self.path}: 'nonsense' is no address", str(raised.exception))

    def test_statistics_stand_behind_the_rules(self) -> None:
        """The frontend's and the backend's, each at its place; a `listen` has its page once."""
        proxy = self.assembled(
            "frontend f\n bind :80\n stats uri /f\n http-request deny if FALSE\n default_backend y\n"
            "backend y\n stats uri /y\n server s 192.0.2.1:1\n"
            "listen l\n bind :81\n stats uri /l\n http-request deny if FALSE\n"
        )
        front, listen = proxy.frontends
        assert front.routing is not None and listen.routing is not None
        self.assertEqual([len(front.pages), len(front.routing.routes["y"].pages)], [1, 1])
        self.assertEqual([len(listen.pages), len(listen.routing.routes["l"].pages)], [1, 0])
