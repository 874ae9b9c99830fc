"""What rules become, and what is wrong with those that become nothing: each with its line and what to write."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.proxies import Configuration
from reusedproxy.config.model.rules import Format, Hole
from reusedproxy.config.model.values import Expression
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from reusedproxy.config.rules.actions import EditHeader, Redirect
from reusedproxy.config.rules.replies import Reply
from tests.rulefakes import DEFAULTS, sections

#: As they stand in articles, manuals and answers about HAProxy.
PUBLISHED = """
    acl is_static path_end .css .js
    acl is_static path_beg /static /images
    acl ours ssl_fc_sni_end .test
    acl theirs ssl_fc_sni_reg ^a
    acl host_www hdr_beg(host) -i www
    acl network_allowed src 20.30.40.50 20.30.40.40
    acl restricted_page path_beg,url_dec -i /admin
    acl is_websocket hdr(Upgrade) -i WebSocket
    acl url_stats path_reg ^/(stats|metrics)$
    acl missing_cl req.hdr_cnt(Content-length) eq 0
    http-request deny if { path_beg /admin } !{ src 10.0.0.0/8 }
    http-request deny if restricted_page !network_allowed
    http-request deny if HTTP_URL_STAR !METH_OPTIONS || METH_POST missing_cl
    http-request deny deny_status 429 if { req.hdr_cnt(x-forwarded-for) gt 10 }
    http-request return status 200 content-type text/plain string ok if { path /health }
    http-request return status 200 content-type "text/plain" lf-string "User-agent: *\\nDisallow: /" \
        if { path /robots.txt }
    http-request set-header X-Forwarded-Proto https if { ssl_fc }
    http-request set-header X-Forwarded-Proto http unless { ssl_fc }
    http-request add-header X-Forwarded-Port %[dst_port]
    http-request set-header X-Real-IP %[src]
    http-request set-header X-SSL                       %[ssl_fc]
    http-request set-header X-SSL-Client-Verify         %[ssl_c_verify]
    http-request set-header X-SSL-Client-SHA1           %{+Q}[ssl_c_sha1,hex]
    http-request set-header X-SSL-Client-DN             %{+Q}[ssl_c_s_dn]
    http-request set-header X-SSL-Client-CN             %{+Q}[ssl_c_s_dn(cn)]
    http-request set-header X-SSL-Issuer                %{+Q}[ssl_c_i_dn]
    http-request set-header X-SSL-Client-Serial         %{+Q}[ssl_c_serial,hex]
    http-request set-header X-SSL-Client-Not-Before     %{+Q}[ssl_c_notbefore]
    http-request set-header X-SSL-Client-Not-After      %{+Q}[ssl_c_notafter]
    http-request set-header X-SSL-Client-Cert           %[ssl_c_der,base64]
    http-request set-path %[path,regsub(^/old/,/new/)]
    http-request replace-path /foo(/.*)? \\1
    http-request replace-header User-Agent curl foo
    http-request set-var(txn.host) req.hdr(host),host_only,lower
    http-request redirect code 301 location https://www.%[hdr(host)]%[capture] if FALSE
    http-request redirect prefix https://www.example.com code 301 if { hdr(host) -i example.com }
    http-response set-header Strict-Transport-Security "max-age=63072000; includeSubDomains; preload"
    http-response del-header Server
    http-response set-header X-Frame-Options SAMEORIGIN
    http-response replace-header Set-Cookie (.*) "\\1; Secure" if { res.hdr(set-cookie) -m found }
    redirect scheme https code 301 if !{ ssl_fc }
    use_backend api if { path_beg /api/ }
    use_backend api if is_static host_www or is_websocket
    use_backend %[req.hdr(host),lower,field(1,.)] if url_stats
""".replace("%[capture]", "%[path]")


def faults(lines: str) -> list[str]:
    """What is wrong, without the places."""
    try:
        sections(lines)
    except ConfigurationError as error:
        return [fault.text for fault in error.faults]
    return []


def notices(lines: str, backend: str = "") -> list[str]:
    configuration = sections(lines, backend)
    return [
        f"{notice.level}: {notice.text}" for notice in configuration.notices if " has no 'timeout " not in notice.text
    ]


class ValueTests(SynchronousTestCase):
    """Lines into values."""

    def read(self, lines: str) -> Configuration:
        return sections(lines, others={"api": ""})

    def test_published_configurations_are_read(self) -> None:
        """As they are, without a fault."""
        frontend = self.read(PUBLISHED).frontends["fe"]
        counted = (frontend.rules.request, frontend.rules.response, frontend.rules.redirects, frontend.use_backends)
        self.assertEqual([len(each) for each in counted], [26, 4, 1, 3])

    def test_a_rule(self) -> None:
        """With what it does and when."""
        rule = self.read("http-request set-header X-A 'a %[src]' unless { path / }").frontends["fe"].rules.request[0]
        self.assertEqual((str(rule.place), rule.words), ("t.cfg:8", "http-request set-header"))
        assert isinstance(rule.action, EditHeader) and rule.condition is not None
        self.assertEqual((rule.action.verb, rule.action.name), ("set", "X-A"))
        text, hole = rule.action.value.parts
        assert isinstance(hole, Hole) and isinstance(hole.expression, Expression)
        self.assertEqual((text, str(hole.expression), rule.condition.unless), ("a ", "src", True))

    def test_all_lines_of_an_acl_count(self) -> None:
        """Also those behind the rule that names it."""
        rule = self.read("acl a path /1\n http-request deny if a\n acl a path /2").frontends["fe"].rules.request[0]
        assert rule.condition is not None
        self.assertEqual([each.patterns for each in rule.condition.alternatives[0][0].criteria], [("/1",), ("/2",)])

    def test_deny_and_redirect_have_their_defaults(self) -> None:
        """403 for a request, 502 for an answer, 302."""
        rules = (
            self.read("http-request deny if FALSE\n http-response deny\n http-request redirect location /")
            .frontends["fe"]
            .rules
        )
        self.assertEqual(rules.request[0].action, Reply(403, True, standard=True))
        self.assertEqual(rules.response[0].action, Reply(502, True, standard=True))
        self.assertEqual(rules.request[1].action, Redirect("location", Format(("/",)), 302))

    def test_named_defaults_are_inherited(self) -> None:
        """Before the section's own; nameless ones may have no rules, as in HAProxy."""
        text = (
            "defaults web\n mode http\n timeout client 1s\n acl admin path_beg /admin\n http-request deny if admin\n"
            "frontend fe from web\n bind :80\n http-request set-header X 1\n http-request return\n"
        )
        rules = read_configuration([Source("t.cfg", text)], {}).frontends["fe"].rules
        words = [rule.words for rule in rules.request]
        self.assertEqual(words, ["http-request deny", "http-request set-header", "http-request return"])
        with self.assertRaises(ConfigurationError) as raised:
            read_configuration([Source("t.cfg", DEFAULTS + " http-request deny\n")], {})
        self.assertIn("cannot stand in a 'defaults' section without a name", str(raised.exception))

    def test_rules_of_defaults_keep_their_acls_to_themselves(self) -> None:
        """Manual, section 4.2, "acl": a section cannot see them, and one of the same name there is another one."""
        text = (
            "defaults web\n mode http\n timeout client 1s\n acl trusted hdr(x-office) yes\n"
            " http-request set-header X 1 if trusted\n"
            "frontend fe from web\n bind :80\n acl trusted hdr(x-key) secret\n http-request deny unless trusted\n"
            "frontend other from web\n bind :81\n http-request return if TRUE\n"
        )
        configuration = read_configuration([Source("t.cfg", text)], {})
        of_defaults, own = configuration.frontends["fe"].rules.request
        conditions = [rule.condition for rule in (of_defaults, own) if rule.condition is not None]
        self.assertEqual(
            [[each.patterns for each in condition.alternatives[0][0].criteria] for condition in conditions],
            [[("yes",)], [("secret",)]],
        )
        with self.assertRaises(ConfigurationError) as raised:
            read_configuration([Source("t.cfg", text.replace("return if TRUE", "return if trusted"))], {})
        self.assertIn("t.cfg:12: 'http-request return': there is no acl 'trusted'", str(raised.exception))

    def test_lines_that_add_to_a_predefined_acl(self) -> None:
        """As in HAProxy: those below its first use add to it, those above have taken its place."""
        below = "http-request deny if METH_GET", "acl METH_GET path_beg /z"
        for lines, count in ((below, 2), (below[::-1], 1)):
            text = (
                DEFAULTS
                + "frontend fe\n bind :80\n"
                + "".join(f" {line}\n" for line in lines)
                + " http-request return\n"
            )
            deny, _ = read_configuration([Source("t.cfg", text)], {}).frontends["fe"].rules.request
            assert deny.condition is not None
            self.assertEqual(len(deny.condition.alternatives[0][0].criteria), count)


class FaultTests(SynchronousTestCase):
    """What cannot be meant."""

    def test_each_wrong_line_says_why(self) -> None:
        for line, why in (
            ("http-request", "'http-request' needs an action after it: http-request set-header X-Name value, say"),
            ("http-request denny", "'http-request': unknown action 'denny': did you mean 'deny'?"),
            (
                "http-request track-sc src",
                "'http-request track-sc': the number of a counter is missing: track-sc0, say",
            ),
            ("http-response set-path /", "'http-response': 'set-path' cannot be done there, only by 'http-request'"),
            ("http-request set-header X", "'http-request set-header' needs its value"),
            (
                "http-request set-header X a b",
                "'http-request set-header': 'b' is too much: 'if' or 'unless' can follow",
            ),
            ("http-request set-header X(Y a", "'http-request set-header': 'X(Y' cannot be the name of a header"),
            (
                "http-request set-header 'X Y' a",
                "name and value of a header are two words: write them apart",
            ),
            ("http-request set-header X-A: a", "'X-A:' cannot be the name of a header: leave out the colon"),
            (
                "http-request set-header Content-Length 3",
                "'Content-Length' says where the message ends, which is not for rules",
            ),
            ("http-request del-header Transfer_Encoding", "'Transfer_Encoding' says where the message ends"),
            ("http-response set-header Connection x", "'Connection' is said by each connection for itself"),
            ("http-response set-header Connection close", "rules cannot set it: 'option httpclose' and"),
            ("http-request set-header Upgrade x", "'Upgrade' is said by each connection for itself"),
            ("http-request set-header Expect x", "'Expect' is between the client and us; rules can only delete it"),
            ("http-request del-header X -m rex", "'-m' is one of str, beg, end, sub and reg, not 'rex'"),
            ("http-request replace-header X ( y", "the regular expression '(' cannot be read: missing )"),
            (
                "http-request set-header X %[res.hdr(a)]",
                "'res.hdr(a)' needs a response, which is not at hand in 'http-request' rules",
            ),
            (
                "http-response set-header X %[path]",
                "'path' needs a request, which is not at hand in 'http-response' rules",
            ),
            (
                "http-request set-header X %[be_name]",
                "'be_name' needs a backend, which is not at hand here",
            ),
            (
                "http-request set-var(txn.x) bc_dst",
                "'bc_dst' needs a connection to a server, which is not at hand here",
            ),
            (
                "tcp-request connection set-var(sess.x) be_name",
                "'be_name' needs a backend, which is not at hand here",
            ),
            ("http-request set-header X %[src", "the ']' is missing in '%[src'"),
            ("http-request set-header X %[src)]", "')]' stands where ',' or ']' should in '%[src)]'"),
            (
                "http-request set-header X %{+cbor}o%(a)ci",
                "'%{+cbor}' is a HAProxy flag that reusedproxy does not do yet: write '%{+json}o'",
            ),
            ("http-request set-header X 100%", "a '%' means something in '100%': write '%%' for the sign itself"),
            ("http-request set-header X %zz", "unknown alias '%zz'"),
            ("http-request set-header X %Ea", "'%Ea' is a HAProxy alias that reusedproxy does not do yet"),
            ("http-request set-header X %{+Z}[src]", "unknown flag '+Z' in '%{+Z}'"),
            ("http-request set-header X %{Z}[src]", "unknown flag 'Z' in '%{Z}'"),
            ("acl a path_begg /x", "unknown sample fetch 'path_begg': did you mean 'path_beg'?"),
            ("acl a hdr_domain(host) x", "unknown sample fetch 'hdr_domain': did you mean 'hdr_dom'?"),
            ("http-request deny if { url_regex x }", "unknown sample fetch 'url_regex': did you mean 'url_reg'?"),
            (
                "acl a sc0_http_req_rat gt 1",
                "unknown sample fetch 'sc0_http_req_rat': did you mean 'sc0_http_req_rate'?",
            ),
            ("acl a pathh /x", "unknown sample fetch 'pathh': did you mean 'path'?"),
            ("acl a path,uper,path_begg x", "unknown converter 'uper': did you mean 'upper'?"),
            (
                "http-request set-header X %[path_beg]",
                "'path_beg' can stand in an 'acl' or a condition only, it is no sample fetch",
            ),
            (
                "http-request deny if METH_GETT",
                "there is no acl 'METH_GETT' before this line: did you mean 'METH_GET'?",
            ),
            ("http-request set-header X %[srcc]", "unknown sample fetch 'srcc': did you mean 'src'?"),
            (
                "http-request set-header X %[ssl_c_der,add(1)]",
                "converter 'add' cannot be applied to 'ssl_c_der': it takes int, not bin",
            ),
            ("http-request set-var(path) path", "'path' is no variable: write proc, sess, txn, req or res, a dot"),
            ("http-request set-var(check.x) path", "variables of the scope 'check' are HAProxy's"),
            ("http-request set-var(txn.x)", "needs one expression after '(txn.x)'"),
            ("http-request deny deny_status 999", "'999' is no status from 200 to 599"),
            ("http-request deny status 418 default-errorfiles", "there is no page for status 418, only for 200, 400"),
            ("http-request return string ok", "a text needs its 'content-type', such as text/plain"),
            ("http-request return status 204 content-type a string x", "an answer with status 204 has no body"),
            ("http-request return content-type a/b file /x string y", "'file' stands already before 'string'"),
            ("http-request return errorfiles none", "there is no section 'http-errors none'"),
            ("http-request return errorfile", "'errorfile' needs a value"),
            ("http-request return hdr Content-Length 3", "'hdr Content-Length' is not for rules to say"),
            ("http-request redirect /x", "unknown word '/x'"),
            ("http-request redirect location /x code 200", "'code' is one of 301, 302, 303, 307, 308, not '200'"),
            ("http-request redirect scheme https:", "'https:' is no scheme such as https"),
            ("http-response redirect prefix /", "only 'location' can be said where the request is gone"),
            ("http-response set-status 304", "a 304 has no body, and what the server answers has one"),
            ("http-request deny if", "a condition is missing after 'if'"),
            ("http-request deny if nope", "there is no acl 'nope' before this line"),
            (
                "http-request deny if path_beg /x",
                "there is no acl 'path_beg' before this line: write it in braces, { path_beg … }",
            ),
            ("http-request deny if {path / }", "a brace stands by itself, with a blank on either side"),
            ("http-request deny if { path /", "a '}' is missing"),
            ("http-request deny if { }", "nothing stands between the braces"),
            ("http-request deny if { TRUE }", "'TRUE' is an acl, which stands without braces"),
            ("acl mine src ::1\n http-request deny if ! { mine }", "'mine' is an acl, which stands without braces"),
            ("http-request deny if or TRUE", "nothing stands before 'or'"),
            ("http-request deny if TRUE or", "nothing stands after the last 'or'"),
            ("http-request deny if !", "nothing stands after '!'"),
            (
                "http-request deny if RDP_COOKIE",
                "'req.rdp_cookie_cnt' needs what a client sends in 'mode tcp', and frontend 'fe' is in mode http",
            ),
            ("http-after-response deny", "'deny' cannot be done there, only by 'http-request' and 'http-response'"),
            ("acl a", "'acl' needs a name and what it tests: acl is_static path_end .css .js, say"),
            ("acl or path /", "'acl': 'or' cannot be a name"),
            ("acl a/b path /", "'acl': the name 'a/b' has a character that cannot stand in a name"),
            ("acl a path -m bag /", "acl 'a': unknown method '-m bag': did you mean 'beg'?"),
            ("acl a ssl_fc, not", "acl 'a': a converter is missing in the expression, in which no blank can stand"),
            ("acl a path -x /", "acl 'a': unknown flag '-x': there are -i, -m, -f, -n and --"),
            ("acl a src 10.0.0.0/33", "acl 'a': '10.0.0.0/33' is no address, nor a network such as 10.0.0.0/8"),
            ("acl a src fe80::1%eth0", "acl 'a': 'fe80::1%eth0' names an interface, which is not compared: write"),
            ("http-request deny unless { src fe80::%1/64 }", "write 'fe80::/64', which is the same address on any"),
            ("acl a src -m len 3", ""),
            ("acl a src -m bool", "'-m bool' cannot be used with 'src', which gives ip"),
            (
                "acl a ssl_c_sha1 00",
                "'ssl_c_sha1' gives bin, which has no usual way to be compared: add -m and a method",
            ),
            ("acl a path_reg [", "the regular expression '[' cannot be read: unterminated character set"),
            ("acl a path_reg [[:vowel:]]", "has an unknown class [:vowel:]"),
            (
                "acl a dst_port http",
                "acl 'a': 'http' is no number, nor a range such as 1024:65535, nor one of eq, ge, gt, le, lt",
            ),
            ("acl a str(x) -m bin 123", "'123' is not made of pairs of hexadecimal digits"),
            ("use_backend nope if TRUE", "there is no backend 'nope'"),
            ("tcp-request connection reject if { be_conn(nope) gt 9 }", "there is no backend 'nope'"),
            ("tcp-request session reject unless { srv_is_up(be/nope) }", "there is no server 'be/nope'"),
            ("acl busy fe_conn(nope) gt 9", "there is no frontend 'nope'"),
            (
                "stats uri /s\n stats http-request deny if { req.len gt 1 }",
                "'req.len' needs what a client sends in 'mode tcp'",
            ),
            ("use_backend be or TRUE", "'use_backend' does not take another argument: 'or'"),
            ("redirect scheme %[src]", "'%[src]' is no scheme such as https"),
        ):
            found = faults(line)
            self.assertEqual(len(found), bool(why), (line, found))
            if why:
                self.assertIn(why, found[0], line)

    def test_a_request_keeps_one_host(self) -> None:
        """It is deleted only where a later rule sets it in any case, and added only where it was deleted."""
        drops, adds, sets = (
            "http-request " + each for each in ("del-header Host", "add-header host b", "set-header Host b")
        )
        for lines, refused in (
            ((drops, sets), ()),
            ((drops, adds), ()),
            ((drops, "http-request set-header X 1", f"{adds} if TRUE", sets), ()),
            ((f"{drops} if {{ path /a }}", drops, adds), ()),
            ((drops, "http-request deny if { path /a }", adds), ()),
            ((drops,), ("del-header",)),
            ((adds,), ("add-header",)),
            ((sets, drops), ("del-header",)),
            ((adds, drops, sets), ("add-header",)),
            ((drops, f"{sets} if {{ path /a }}"), ("del-header",)),
            ((drops, "http-request allow if { path /a }", sets), ("del-header",)),
            ((drops, "http-response set-header Host x"), ("del-header",)),
        ):
            said = "a request has one Host: 'set-header Host NAME' replaces it"
            self.assertEqual(faults("\n ".join(lines)), [f"'http-request {each}': {said}" for each in refused], lines)

    def test_what_lua_would_define_gets_no_hint_at_other_words(self) -> None:
        said = "a Lua script would define it, and none is run here"
        for line in (
            "http-request lua.deny",
            "http-response lua.set",
            "http-request set-header X %[lua.src]",
            "http-request set-header X %[src,lua.lower]",
            "acl a lua.path /",
            "tcp-request connection lua.reject",
        ):
            (found,) = faults(line)
            self.assertTrue(found.endswith(said), found)

    def test_an_acl_that_cannot_be_read_is_reported_once(self) -> None:
        """Rules that name it are not to blame."""
        self.assertEqual(len(faults("acl a path_reg (\n http-request deny if a\n http-request deny unless a")), 1)


class WarningTests(SynchronousTestCase):
    """What does not do what it seems to."""

    def test_each_doubtful_line_says_why(self) -> None:
        for lines, level, why in (
            ("http-request deny\n http-request set-header X 1", "warning",
                "the 'http-request deny' at t.cfg:8 has no condition, so no rule after it counts"),
            ("redirect location /\n http-request deny", "warning",
                "this 'http-request' rule counts before the 'redirect' rules, wherever it stands"),
            ("use_backend be\n http-request deny", "warning",
                "this 'http-request' rule counts before the 'use_backend' rules"),
            ("use_backend be\n redirect location /", "warning",
                "this 'redirect' rule counts before the 'use_backend' rules"),
            ("use_backend be\n use_backend be if TRUE", "warning",
                "the 'use_backend' at t.cfg:8 has no condition, so this one never counts"),
            ("http-request deny if { status 200 }", "warning",
                "what stands in braces is never true here: 'status' needs a response"),
            ("http-request deny if { be_name be }", "warning",
                "what stands in braces is never true here: 'be_name' needs a backend"),
            ("http-request deny if { be_tunnel_timeout gt 0 }", "warning",
                "what stands in braces is never true here: 'be_tunnel_timeout' needs a backend"),
            ("http-request deny if { bc_dst 192.0.2.1 }", "warning",
                "what stands in braces is never true here: 'bc_dst' needs a connection to a server"),
            ("http-request deny if { capture.res.hdr(0) -m found }", "warning",
                "what stands in braces is never true here: 'capture.res.hdr(0)' needs a connection to a server"),
            ("acl a path /\n http-response deny if a", "warning",
                "'http-response deny': acl 'a' is never true here: 'path' needs a request"),
            ("acl a path", "warning",
                "there is nothing to compare 'path' with, so it is never true; '-m found' asks whether it is there"),
            ("acl a path_dir / /a", "warning",
                "'-m dir' looks for what stands between delimiters, and '/' is nothing but delimiters"),
            ("http-request deny if { hdr(host) -m dom . }", "warning", "'.' is nothing but delimiters"),
            ("acl a dst_port eq -- 443", "warning",
                "behind an operator, or a number, '--' means all numbers up to 0, as in HAProxy: take it out"),
            ("http-request set-header X %{Q,+E}[src]", "warning",
                "'%{Q}' does nothing, as in HAProxy: '%{+Q}' switches it on, '%{-Q}' off"),
            ('log /dev/log local0\n log-format "%{json}o %{json}ci"', "warning",
                "'log-format': '%{json}' does nothing, as in HAProxy"),
            ("acl a path_reg (?=x)y\n http-request deny if a", "warning",
                "'http-request deny': the regular expression '(?=x)y' has what RE2 cannot do in linear time"),
            ("http-request set-path '%[path,regsub(\"(?<!/)/\",x)]'", "warning",
                "the regular expression '(?<!/)/' has what RE2 cannot do"),
            ("http-request replace-path (?!a)b c", "warning", "the regular expression '(?!a)b' has what RE2 cannot do"),
            ("use_backend be if { path_reg (?!a)b }", "warning",
                "'use_backend': the regular expression '(?!a)b' has what RE2 cannot do"),
            ("http-request add-header X %[ssl_c_s_dn]", "warning",
                "what the client sent under that name goes on beside it: use 'set-header'"),
            ("http-request set-header X %[ssl_c_s_dn] if { ssl_fc }", "notice",
                "what the client sent under that name is taken out as well"),
            ("http-request del-header Keep-Alive", "warning", "'Keep-Alive' never goes on anyhow"),
            ("http-response set-header Connection Keep-Alive", "warning",
                "'Connection' does nothing: connections are kept alive anyhow"),
            ("http-response add-header Keep-Alive timeout=5", "warning", "as long as 'timeout http-keep-alive' says"),
            ("http-response del-header ^Server:.*", "warning",
                "no header is called '^Server:.*', so nothing is deleted: write its name alone, or put '-m reg'"),
            ("http-request return content-type a/b", "warning",
                "'content-type' does nothing without 'string', 'lf-string', 'file' or 'lf-file'"),
        ):  # fmt: skip
            found = notices(lines)
            self.assertEqual(len(found), 1, (lines, found))
            self.assertTrue(found[0].startswith(f"{level}: "), found)
            self.assertIn(why, found[0], lines)

    def test_what_is_fine_is_passed_over_in_silence(self) -> None:
        for lines in (
            "http-request deny if TRUE\n http-request set-header X 1",
            "acl a path --",
            "http-response set-header X %[status] if { status 200 } { src 10.0.0.1 } { method GET }",
            "http-request set-header X %[ssl_c_s_dn]\n http-request del-header X",
        ):
            self.assertEqual(notices(lines), [], lines)


class BandwidthTests(SynchronousTestCase):
    """`filter bwlim-in`, `bwlim-out`, and the rules that name them."""

    TABLE = "stick-table type ip size 9 store bytes_out_rate(1s)"
    FILTER = "filter bwlim-out f default-limit 1k default-period 1s"
    SHARED = "filter bwlim-out f limit 1k key src"

    def fault(self, *lines: str) -> str:
        try:
            sections("\n".join(f" {line}" for line in lines))
        except ConfigurationError as error:
            (fault,) = error.faults
            return fault.text
        return ""

    def test_what_would_not_limit_is_an_error(self) -> None:
        rule = "http-response set-bandwidth-limit f"
        for said, *lines in (
            ("", self.TABLE, self.SHARED, rule),
            ("there is no bandwidth limit 'f' in frontend 'fe'", rule),
            ("there is no bandwidth limit 'g' in frontend 'fe'", self.FILTER, rule[:-1] + "g"),
            ("frontend 'fe' has no 'stick-table'", self.SHARED),
            ("table 'fe' does not store bytes_in_rate", self.TABLE, self.SHARED.replace("out", "in")),
            ("cannot be a key of table 'fe'", self.TABLE, self.SHARED.replace("src", "method")),
            ("its limit is that of its 'filter' line", self.TABLE, self.SHARED, f"{rule} limit 1k"),
            ("already in frontend 'fe'", self.FILTER, self.FILTER),
            ("a limit of 0", self.FILTER.replace("1k", "0")),
            ("needs 'default-period'", self.FILTER.replace("default-period 1s", "")),
            ("needs 'limit'", self.TABLE, "filter bwlim-out f key src"),
            ("needs a name", "filter bwlim-out"),
            ("unknown filter 'bwlim'", "filter bwlim f"),
            ("filter that reusedproxy does not do yet", "filter spoe engine e"),
            ("is no number", self.FILTER, f"{rule} limit method"),
            ("which is not at hand", self.TABLE.replace("ip ", "string "),
             "filter bwlim-out f limit 1k key res.hdr(x)", rule.replace("response", "request")),
        ):  # fmt: skip
            text = self.fault(*lines)
            self.assertTrue(said in text if said else not text, (lines, text))
