"""What may be said in which mode: words of HTTP in mode tcp, rules about bytes in mode http, and both in one way."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.proxies import Configuration
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration

TIMES = " timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
TCP = f"defaults\n mode tcp\n{TIMES}"
HTTP = f"defaults\n mode http\n{TIMES}"
BACKENDS = "backend t\n mode tcp\n server a 192.0.2.1:1\nbackend h\n mode http\n server a 192.0.2.1:1\n"


def read(text: str) -> Configuration:
    return read_configuration([Source("t.cfg", text)], {})


def notices(text: str, level: str = "warning") -> list[str]:
    return [each.text for each in read(text).notices if each.level == level]


class TCPTests(SynchronousTestCase):
    """Sections of mode tcp."""

    def faults(self, text: str) -> list[str]:
        error = self.assertRaises(ConfigurationError, read, text)
        return [fault.text for fault in error.faults]

    def listen(self, *lines: str, server: str = "", head: str = TCP) -> str:
        said = "".join(f" {line}\n" for line in lines)
        return f"{head}listen l\n bind :81\n{said} server a 192.0.2.1:1 {server}\n"

    def test_it_is_the_default_as_in_haproxy(self) -> None:
        """Of sections that say nothing."""
        made = read(f"defaults\n{TIMES}listen l\n bind :81\n server a 192.0.2.1:1\n")
        self.assertEqual((made.frontends["l"].mode, made.backends["l"].mode), ("tcp", "tcp"))
        self.assertEqual(made.notices, ())

    def test_users_are_asked_for_in_mode_http_only(self) -> None:
        """A rule about them would let everybody in, or nobody."""
        users = "userlist L\n user u insecure-password p\n group g\n"
        for line in (
            "tcp-request content reject if { http_auth_user mallory }",
            "tcp-request content accept if { http_auth(L) }",
            "tcp-request content set-var(sess.u) http_auth_user",
            "use_backend l if { http_auth_group(L) g }",
            "use-server a if asks",
        ):
            text = self.listen("acl asks http_auth_type Basic", "tcp-request inspect-delay 1s", line, head=users + TCP)
            (fault,) = self.faults(text)
            self.assertRegex(fault, "'http_auth.*' needs 'mode http', and listen 'l' is in mode tcp")

    def test_words_of_http_are_ignored_with_a_warning(self) -> None:
        """Each once, where it stands in the section itself."""
        for line in (
            "option forwardfor",
            "option httpclose",
            "option http-server-close",
            "option prefer-last-server",
            "cookie SRV insert",
            "http-reuse always",
            "http-request set-header X y",
            "http-response set-header X y",
            "monitor-uri /alive",
            "redirect scheme https",
            "stats enable",
        ):
            word = " ".join(line.split()[: 2 if line.startswith("option") else 1])
            text = self.listen(line)
            (said,) = [each for each in (*notices(text), *notices(text, "notice")) if "needs 'mode http'" in each]
            self.assertIn(f"'{word}' is ignored, as it needs 'mode http': listen 'l' is in mode tcp", said)
        self.assertEqual(notices(self.listen(head=f"{TCP} option forwardfor\n option http-server-close\n")), [])

    def test_rules_that_keep_people_out_are_refused(self) -> None:
        """Nothing would keep them out."""
        for line in ("http-request deny if { src 192.0.2.1 }", "http-response deny", "http-request return status 403"):
            (fault,) = self.faults(self.listen(line))
            self.assertIn("needs 'mode http', and listen 'l' is in mode tcp: nothing would keep anybody out", fault)
        named = f"defaults d\n mode tcp\n{TIMES} http-request deny\n"
        (fault,) = self.faults(f"{named}listen l from d\n bind :81\n server a 192.0.2.1:1\n")
        self.assertIn("'http-request deny' needs 'mode http'", fault)

    def test_what_counts_as_something_else(self) -> None:
        """httplog as tcplog, and algorithms that look at requests as roundrobin: also where defaults say so."""
        log = " log stdout format raw local0\n"
        for text in (
            self.listen("option httplog", "log global"),
            self.listen("log global", head=f"{TCP} option httplog\n"),
        ):
            text = f"global\n{log}{text}"
            self.assertIn("'option httplog' counts as 'option tcplog' there", "".join(notices(text)))
            self.assertEqual(read(text).frontends["l"].log_format, "tcplog")
        for line in ("balance uri", "balance url_param id", "balance hdr(host)"):
            text = self.listen(line)
            self.assertIn("it is 'roundrobin' there", "".join(notices(text)))
            self.assertEqual(read(text).backends["l"].balance.algorithm, "roundrobin")
        for line in ("balance source", "balance hash src", "balance leastconn", "balance first"):
            self.assertEqual(notices(self.listen(line)), [], line)

    def test_no_word_is_said_twice(self) -> None:
        """What a plain section says gives no notice at all."""
        lines = (
            "option tcplog",
            "log stdout format raw local0",
            "option tcpka",
            "option httpchk GET /",
            "retries 2",
            "option redispatch",
        )
        words = "check inter 5s maxconn 10 send-proxy on-marked-down shutdown-sessions"
        self.assertEqual(read(self.listen(*lines, server=words)).notices, ())

    def test_observe_layer7_is_refused(self) -> None:
        """As in HAProxy."""
        (fault,) = self.faults(self.listen(server="check observe layer7"))
        self.assertIn("'observe layer7' needs 'mode http'", fault)
        self.assertEqual(notices(self.listen(server="check observe layer4")), [])

    def test_hedge_is_refused(self) -> None:
        """No request can be sent twice; what `defaults` say is for other sections."""
        (fault,) = self.faults(self.listen("hedge after 1s"))
        self.assertIn("where no request can be sent a second time", fault)

    def test_words_about_reuse_do_nothing(self) -> None:
        """A floor does."""
        said = notices(self.listen(server="max-reuse 3"), "notice")
        self.assertIn("'max-reuse' does nothing in mode tcp, where a connection serves one client", "".join(said))
        self.assertEqual(read(self.listen(server="pool-min-conn 3 pool-max-age 1h pool-connect-rate 5")).notices, ())
        (fault,) = self.faults(self.listen(server="pool-min-conn 3 send-proxy"))
        self.assertIn("take out pool-min-conn 3", fault)

    def test_there_is_no_host_to_verify_by(self) -> None:
        """So a name has to be said, or that any will do, as in mode http."""
        tls = "ssl verify required ca-file ca.pem"
        for words in (tls, tls.replace(" verify required", ""), f"{tls} no-sni-auto sni-auto"):
            (fault,) = self.faults(self.listen(server=words))
            self.assertIn("no name is said, so whoever has a certificate of its CAs could take its place", fault)
        taken = "any certificate of its CAs is taken for this server's"
        for words in (f"{tls} no-sni-auto", "check check-ssl verify required ca-file ca.pem"):
            self.assertIn(taken, "".join(notices(self.listen(server=words))))
        (said,) = notices(self.listen("default-server no-sni-auto", server=tls))
        self.assertIn(taken, said)
        self.assertEqual(notices(self.listen(server=f"{tls} sni str(db.example)")), [])
        self.assertEqual(notices(self.listen(server=f"{tls} verifyhost db.example")), [])
        self.assertIsNone(read(self.listen(server=f"{tls} no-sni-auto")).backends["l"].servers[0].sni)

    def test_any_protocol_may_be_agreed_on(self) -> None:
        """It is theirs who speak through us; without the word none is."""
        text = self.listen(server="ssl verify none alpn h2,postgresql").replace("bind :81", "bind :81 ssl crt /c{}")
        made = read(text.format(" alpn h2,acme-tls/1"))
        (bind,) = made.frontends["l"].binds
        assert bind.tls is not None
        self.assertEqual(bind.tls.offer.alpn, ("h2", "acme-tls/1"))
        (bind,) = read(text.format("")).frontends["l"].binds
        assert bind.tls is not None
        self.assertEqual(bind.tls.offer.alpn, ())

    def test_abortonclose_has_to_be_said(self) -> None:
        """In `defaults`, too; unsaid, mode http gives up requests that no server has."""
        self.assertFalse(read(self.listen()).backends["l"].abortonclose)
        self.assertTrue(read(self.listen("option abortonclose")).backends["l"].abortonclose)
        inherited = self.listen(head=TCP + " option abortonclose\n")
        self.assertTrue(read(inherited).backends["l"].abortonclose)

    def test_no_frontend_in_mode_http_leads_to_mode_tcp(self) -> None:
        """Whichever names the other."""
        for line in ("default_backend t", "use_backend t if TRUE\n default_backend h"):
            (fault,) = self.faults(f"{TCP}frontend f\n mode http\n bind :81\n {line}\n{BACKENDS}")
            self.assertIn("frontend 'f' is in mode http, and backend 't' in mode tcp", fault)

    def led(self, *lines: str) -> str:
        """A frontend in mode tcp that leads to both modes."""
        body = "".join(f" {line}\n" for line in lines)
        return f"{TCP}frontend f\n bind :81\n{body} default_backend h\n{BACKENDS}"

    def test_a_frontend_in_mode_tcp_may_lead_to_requests(self) -> None:
        """Then its rules about them count, and one notice says for whom."""
        self.assertEqual(notices(self.led()), [])
        (said,) = notices(self.led("http-request deny if { path /a }", "option httpclose"), "notice")
        self.assertIn("'http-request' counts there for clients only that are led to a backend in mode http", said)
        (said,) = notices(self.led("monitor-uri /m"))
        self.assertIn("'monitor-uri' is ignored, as it needs 'mode http'", said)
        made = read(self.led("tcp-request content switch-mode http proto h1 if { src 192.0.2.1 }", "http-request deny"))
        self.assertEqual(made.notices, ())
        self.assertEqual(len(made.frontends["f"].rules.request), 1)

    def test_a_backend_by_name_may_be_one_of_requests(self) -> None:
        text = self.led(
            "http-request deny if { path /a }", "tcp-request inspect-delay 1s", "use_backend %[req.ssl_sni]"
        )
        (said,) = notices(text.replace("default_backend h", "default_backend t"), "notice")
        self.assertIn("'http-request' counts there", said)

    def test_what_later_requests_would_get_past_is_said(self) -> None:
        """Bytes are those of the first request alone."""
        delay = "tcp-request inspect-delay 1s"
        (said,) = notices(self.led(delay, "tcp-request content reject if { req.payload(0,3) -m str BAD }"))
        self.assertIn("'req.payload(0,3)' has no value in requests", said)
        for line in (
            "tcp-request content reject if { req.len lt 5 }",
            "tcp-request content reject if { path /a }",
            "tcp-request content accept if { req.ssl_hello_type 1 }",
        ):
            self.assertEqual(notices(self.led(delay, line)), [])

    def test_http_2_is_not_offered_in_silence(self) -> None:
        text = self.led().replace("bind :81", "bind :81 ssl crt /c alpn h2,http/1.1")
        (said,) = notices(text)
        self.assertIn("offers h2 ('alpn')", said)

    def test_switch_mode_leads_somewhere(self) -> None:
        (said,) = notices(self.listen("tcp-request content switch-mode http if { src 192.0.2.1 }"))
        self.assertIn("listen 'l' leads to no backend in mode http, so that no request is answered", said)
        (fault,) = self.faults(self.led() + " tcp-request content switch-mode http\n")
        self.assertIn("'tcp-request content switch-mode' belongs in a frontend, and backend 'h' is none", fault)

    def test_rules_and_their_times(self) -> None:
        """What is written and what is not done."""
        made = read(
            self.listen(
                "tcp-request inspect-delay 5s",
                "tcp-request content accept if { req.ssl_hello_type 1 }",
                "tcp-request content reject",
                "tcp-response inspect-delay 100ms",
                "tcp-response content close if { res.len gt 5 }",
            )
        )
        backend = made.backends["l"]
        self.assertEqual((made.frontends["l"].inspect_delay, backend.response_delay), (5.0, 0.1))
        self.assertEqual([len(backend.rules.content), len(backend.rules.response_content)], [2, 1])
        for line, why in (
            ("tcp-request content", "'tcp-request content' needs an action"),
            ("tcp-request content rejct", "unknown action 'rejct': did you mean 'reject'?"),
            ("tcp-request content reject now", "'now' is too much"),
            ("tcp-request content track-sc0 src", "listen 'l' has no 'stick-table'"),
            ("tcp-request content track-sc0 src table t", "there is no table 't'"),
            ("tcp-request connection track-sc9 src", "there is no counter 9"),
            ("tcp-request content switch-mode", "is followed by http"),
            ("tcp-request content switch-mode tcp", "is followed by http"),
            ("tcp-request content switch-mode http proto h2", "'proto h2' is not spoken with clients"),
            ("tcp-request content switch-mode http now", "'now' is too much"),
            ("tcp-request content close", "unknown action 'close'"),
            ("tcp-request inspect-delay", "needs a time"),
            ("tcp-response reject", "'tcp-response' is followed by 'content'"),
            ("tcp-request content set-var(txn.x) res.len", "'res.len' needs what a server sends in 'mode tcp'"),
        ):
            faults = self.faults(self.listen(line))
            self.assertEqual(len(faults), 1, line)
            self.assertIn(why, faults[0])
        (fault,) = self.faults(f"{TCP}frontend f\n bind :81\n tcp-response content reject\n")
        self.assertIn("it belongs in a 'backend' or 'listen'", fault)

    def test_rules_that_nothing_waits_for(self) -> None:
        """What they find is chance, as HAProxy warns, too."""
        for line in ("tcp-request content reject if { req.len gt 5 }", "use_backend l if { req.ssl_sni -m found }"):
            (said,) = notices(self.listen(line))
            self.assertIn("is asked for what has come by chance when the client has connected", said)
            self.assertEqual(notices(self.listen("tcp-request inspect-delay 5s", line)), [])
        self.assertEqual(notices(self.listen("tcp-request content reject if { src 192.0.2.1 }")), [])
        self.assertEqual(notices(self.listen("no option http-server-close", "no option persist")), [])

    def test_what_can_never_be_true_is_said(self) -> None:
        """Of the other side, and of requests in the rules of connections."""
        for line, needed in (
            ("tcp-request content reject if { res.len gt 5 }", "what a server sends in 'mode tcp'"),
            ("tcp-response content reject if { req.len gt 5 }", "what a client sends in 'mode tcp'"),
            ("tcp-request connection reject if { req.len gt 5 }", "what a client sends in 'mode tcp'"),
        ):
            said = notices(self.listen("tcp-request inspect-delay 5s", line))
            self.assertIn(f"is never true here: '{line.split('{ ')[1].split()[0]}' needs {needed}", "".join(said))

    def test_tls_of_checks_alone(self) -> None:
        """As where TLS is passed through."""
        said = notices(self.listen(server="check check-ssl verify none"))
        self.assertIn("is taken by its checks for this server", "".join(said))
        lines = ("option httpchk", "http-check connect ssl", "http-check send meth GET uri /healthz")
        self.assertEqual(notices(self.listen(*lines, server="check verify none")), [])

    def test_in_mode_http_there_are_no_bytes(self) -> None:
        """Rules about them would be false for ever."""
        for line, why in (
            ("http-request deny if { req.len gt 5 }", "'req.len' needs what a client sends in 'mode tcp'"),
            ("http-request deny if WAIT_END", "'wait_end' needs what is sent in 'mode tcp'"),
            ("use_backend l if { req.ssl_sni a }", "'use_backend': 'req.ssl_sni' needs what a client sends"),
            ("use_backend %[req.ssl_sni]", "'use_backend': 'req.ssl_sni' needs what a client sends"),
            ("use-server a if { req_ssl_sni a }", "'use-server': 'req.ssl_sni' needs what a client sends"),
            ("tcp-response content reject if { res.len gt 5 }", "asks for 'res.len', which has no value in mode http"),
            ("tcp-response content accept if { res.payload(0,4) -m str a }", "asks for 'res.payload(0,4)', which has"),
            ("tcp-response content set-var(txn.a) res.len", "asks for 'res.len', which has no value in mode http"),
            ("tcp-response content close if { res.body -m sub a }", "write 'http-response deny', say, behind"),
            ("tcp-response content accept if { res.body_len gt 9 }", "write 'http-response allow', say, behind"),
        ):
            faults = self.faults(self.listen(line, head=HTTP))
            self.assertEqual(len(faults), 1, line)
            self.assertIn(why, faults[0])

    def test_in_mode_http_rules_for_contents_look_at_heads(self) -> None:
        """What they look for in vain may be what they are to keep out; an `accept` that is never met lets nobody in."""
        for condition, why in (
            ("req.ssl_sni -m str bad", "'req.ssl_sni' has no value in mode http"),
            ("req.payload(0,4) -m str evil", "'req.payload(0,4)' has no value in mode http"),
            ("payload(0,4) -m str evil", "'payload(0,4)' has no value in mode http"),
            ("req.body -m sub evil", "'req.body' is what has come of the body by chance"),
            ("req.body,length gt 5", "'req.body,length' is what has come of the body by chance"),
        ):
            for rule in (f"reject if {{ {condition} }}", f"silent-drop if {{ {condition} }}"):
                (fault,) = self.faults(self.listen(f"tcp-request content {rule}", head=HTTP))
                self.assertIn(why, fault)
        (fault,) = self.faults(self.listen("tcp-request content set-var(txn.a) req.ssl_sni", head=HTTP))
        self.assertIn("'req.ssl_sni' has no value in mode http", fault)
        (said,) = notices(self.listen("tcp-request content accept if { req_ssl_hello_type 1 }", head=HTTP))
        self.assertIn("'req.ssl_hello_type' has no value in mode http", said)
        for line in ("reject if { req.len gt 5 }", "accept if WAIT_END", "reject if { path /a }", "reject unless HTTP"):
            self.assertEqual(notices(self.listen(f"tcp-request content {line}", head=HTTP)), [], line)

    def test_in_mode_tcp_there_is_no_body(self) -> None:
        """A rule that is to keep one out would never be met."""
        for condition in (
            "req.body -m sub evil",
            "req.body_len gt 5",
            "req.body_param(a) -m found",
            "req.body_size gt 5",
        ):
            line = f"tcp-request content reject if {{ {condition} }}"
            (fault,) = self.faults(self.listen("tcp-request inspect-delay 5s", line))
            self.assertIn("has no value in mode tcp", fault)
        line = "tcp-request content accept if { req.body -m sub ok }"
        (said,) = notices(self.listen("tcp-request inspect-delay 5s", line))
        self.assertIn("'req.body' has no value in mode tcp, in which listen 'l' is: 'req.payload(0,0)' is", said)

    def test_rules_for_contents_that_let_in_no_more_than_they_read_are_told_of_only(self) -> None:
        """HAProxy starts with all of them. An `accept` that is met less often leaves more to the rules behind it; one
        that a request without a body meets, or a part of it, lets that in."""
        values = ("req.ssl_sni", "req.payload(0,4)", "req.body")
        lines = [f"capture {value} len 25" for value in values] + ["set-priority-class req.ssl_ver"]
        lines += [f"capture src len 9 if ! {{ {value} -m found }}" for value in values]
        lines += [
            "accept if { req.body_len gt 10 }",
            "accept if { req.body_len ge 3 5: }",
            "accept unless ! { req.body -m sub ok }",
        ]
        lines += ["accept if { src ::1 } { req.body -m beg ok }", "accept if { req.body_param(a) -m found }"]
        lines += ["accept if { req.body -m len ge 3 }"]
        for line in lines:
            (said,) = notices(self.listen(f"tcp-request content {line}", head=HTTP))
            self.assertRegex(said, "has no value in mode http|what has come of the body by chance", line)
        for line in (
            "accept if ! { req.ssl_sni a }",
            "accept unless { req.ssl_sni a }",
            "accept unless { src ::1 } { req.ssl_sni a }",
            "accept if { src ::1 } or ! { req.payload(0,4) -m found }",
            "accept if { req.body_len lt 10 }",
            "accept if { req.body_len 10 }",
            "accept if { req.body_len eq 3 7: }",
            "accept if ! { req.body_len gt 10 }",
            "accept if { req.body -m str ok }",
            "accept if { req.body -m end ok }",
            "accept if { req.body -m reg ^[a-z]*$ }",
            "accept if { req.body,length gt 10 }",
            "accept if { req.body_param(a) -m str ok }",
            "reject unless { req.body_len gt 10 }",
            "set-var(txn.a) req.body",
            "set-src req.body_param(a),lower",
            "track-sc0 req.body table l",
            "set-var(txn.a) src if { req.body -m found }",
        ):
            text = self.listen("stick-table type string size 9", f"tcp-request content {line}", head=HTTP)
            (fault,) = self.faults(text)
            self.assertRegex(fault, "has no value in mode http|what has come of the body by chance", line)

    def test_bodies_for_which_nothing_waits(self) -> None:
        """Whoever sends them a moment after the head is not judged by what is in them, in HAProxy either."""
        deny = "http-request deny if { req.body -m sub evil }"
        (said,) = notices(self.listen(deny, head=HTTP))
        self.assertIn("'req.body' is what has come of the body by chance, since nothing waits for it", said)
        wait = "http-request wait-for-body time 5s"
        self.assertEqual(len(notices(self.listen(deny, wait, head=HTTP))), 1)
        for lines in ((wait, deny), ("option http-buffer-request", deny)):
            self.assertEqual(notices(self.listen(*lines, head=HTTP)), [])
        for line in (
            "use_backend l if { req.body -m sub evil }",
            "use-server a if { req.body -m sub evil }",
            "redirect location / if { req.body -m sub evil }",
            "force-persist if { req.body -m sub evil }",
            "ignore-persist if { req.body -m sub evil }",
            "acl evil req.body_param(a) -m found\n http-request set-header X a if evil",
            "http-request set-header X %[req.body_len]",
            "stick-table type string size 9\n stick on req.body_param(a)",
            "balance hash req.body_param(a)",
        ):
            (said,) = notices(self.listen(line, head=HTTP))
            self.assertIn("by chance, since nothing waits for it: add 'option http-buffer-request', or", said)
            for waits in (wait, "option http-buffer-request"):
                self.assertEqual(notices(self.listen(waits, line, head=HTTP)), [], line)
        for waits in ("", "option http-buffer-request"):
            (said,) = notices(self.listen("monitor-uri /", waits, "monitor fail if { req.body -m found }", head=HTTP))
            self.assertIn(
                "'monitor fail': 'req.body' is what has come of the body by chance, since nothing can wait", said
            )
        of_backend = f"{HTTP}backend b\n {deny}\n balance hash req.body\n server a h:1\nfrontend f\n bind :1\n"
        leads = "use_backend b if { path / }\n"
        for led, count in ((f" default_backend b\n {wait}\n", 0), (f" {leads}", 2), ("", 0)):
            self.assertEqual(sum("by chance" in each for each in notices(f"{of_backend}{led}")), count, led)
        found = notices(
            f"{of_backend} use_backend %[path]\nfrontend g\n bind :2\n {leads} option http-buffer-request\n"
        )
        self.assertEqual(sum("by chance" in each for each in found), 2)
        for line in (
            "stats http-request deny if { req.body_param(a) -m found }",
            "stats admin unless { req.body_len 4 }",
        ):
            (fault,) = self.faults(self.listen(line, head=HTTP))
            self.assertIn("by chance", fault)
            self.assertEqual(notices(self.listen(wait, line, head=HTTP)), [])
            backend = f"{HTTP}backend b\n stats enable\n {line}\n"
            (fault,) = self.faults(backend)
            self.assertIn("by chance", fault)
            read(f"{backend} option http-buffer-request\n")
