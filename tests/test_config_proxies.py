"""What sections become: `global`, `defaults`, `frontend`, `backend` and `listen`,
with everything inherited filled in."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import ConfigurationError
from reusedproxy.config.model import Backend, Configuration, Frontend
from reusedproxy.config.model.balance import Balance, HashType
from reusedproxy.config.model.checks import HTTPCheck
from reusedproxy.config.model.hedging import Hedge
from reusedproxy.config.model.proxies import ForwardFor, StatsPage, Timeouts
from reusedproxy.config.model.sockets import KeepAlive
from reusedproxy.config.model.values import Call, Expression
from reusedproxy.config.reader import Source, read_configuration

ARTICLE = r"""
frontend http_frontend
    bind *:80
    mode http
    default_backend web_servers

backend web_servers
    mode http
    balance roundrobin
    server web1 192.168.1.10:80 check inter 2000ms
    server web2 192.168.1.11:80 check inter 2000ms
    # HAProxy's default is to *not* reuse connections to backends.
    # We need to explicitly tell it to.
    option httpchk GET /health HTTP/1.1\r\nHost:\ www.example.com
"""
DEFAULTS = "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 60s\n"


def read(text: str, **environ: str) -> Configuration:
    """The configuration that `text` says, after defaults in which nothing is missing."""
    return read_configuration([Source("t.cfg", f"{DEFAULTS}{text}\n")], environ)


def backend(text: str) -> Backend:
    """The backend whose lines are `text`."""
    return read("backend b\n server a 192.0.2.1:80\n" + text).backends["b"]


def frontend(text: str) -> Frontend:
    """The frontend whose lines are `text`."""
    return read(
        "frontend f\n bind :80\n" + text + "\n default_backend b\nbackend b\n server a 192.0.2.1:80\n"
    ).frontends["f"]


class ArticleTests(SynchronousTestCase):
    """The file of a widely read article starts as it stands."""

    def setUp(self) -> None:
        self.configuration = read_configuration([Source("article.cfg", ARTICLE)], {})

    def test_numbers_beyond_their_bounds_are_refused(self) -> None:
        """Where the line stands and what is allowed is said; the bounds themselves are taken."""
        for line, least, most in (
            ("tune.bufsize", 1024, 1 << 24),
            ("tune.http.maxhdr", 1, 32767),
            ("tune.maxrewrite", 0, 8000),
            ("tune.comp.maxlevel", 1, 9),
            ("tune.h2.max-frame-size", 16384, 16777215),
            ("tune.h2.header-table-size", 4096, 65536),
            ("tune.idletimer", 0, 65535),
            ("tune.maxaccept", -1, 2147483647),
            ("tune.pool-low-fd-ratio", 0, 100),
            ("spread-checks", 0, 50),
        ):
            for taken in (least, most):
                read(f"global\n {line} {taken}\n")
            for value in (least - 1, 2147483648 if line == "tune.maxrewrite" else most + 1, "abc"):
                with self.assertRaises(ConfigurationError) as caught:
                    read(f"global\n {line} {value}\n")
                self.assertIn(f"'{line}'", str(caught.exception))

    def test_lives_too_short_to_do_anything_else_are_refused(self) -> None:
        """Each idle connection would be asked or replaced all the time."""
        for word in ("idle-ping", "pool-max-age", "pool-idle-timeout"):
            with self.assertRaises(ConfigurationError) as caught:
                backend(f" server b 192.0.2.2:80 {word} 99ms\n")
            self.assertIn("at least 100ms", str(caught.exception))
            backend(f" server b 192.0.2.2:80 {word} 100ms\n")

    def test_its_servers_are_balanced_and_checked(self) -> None:
        """Both addresses, each checked every two seconds."""
        servers = self.configuration.backends["web_servers"].servers
        self.assertEqual(
            [(s.host, s.port, s.check and s.check.inter) for s in servers],
            [("192.168.1.10", 80, 2.0), ("192.168.1.11", 80, 2.0)],
        )

    def test_the_header_behind_the_version_becomes_a_header(self) -> None:
        """The check is what the article's author wanted to send."""
        check = self.configuration.backends["web_servers"].http_check
        self.assertEqual(check, HTTPCheck("GET", "/health", "HTTP/1.1", (("Host", "www.example.com"),)))

    def test_it_gets_the_warnings_that_it_deserves(self) -> None:
        """Missing timeouts, the old way of writing a header, and that httpchk is not what makes connections reused."""
        said = [(notice.level, notice.place.line, notice.text) for notice in self.configuration.notices]
        self.assertEqual(
            [(level, line) for level, line, _ in said],
            [("warning", 2), ("warning", 7), ("warning", 14), ("notice", 14)],
        )
        self.assertIn(
            "write: 'option httpchk GET /health HTTP/1.1' and 'http-check send hdr Host www.example.com'", said[2][2]
        )
        self.assertIn("'option httpchk' does not affect reuse in 'web_servers'", said[3][2])


class ReuseNoticeTests(SynchronousTestCase):
    """What checks do not do for reuse is said once, however many sections have them."""

    def test_one_notice_names_all_backends(self) -> None:
        text = "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
        for name, words in (("a", ""), ("b", ""), ("warm", " pool-min-conn 1")):
            check = "option httpchk GET / HTTP/1.1 www.example.com"
            text += f"backend {name}\n {check}\n server s 192.0.2.1:80 check{words}\n"
        text += "backend plain\n option httpchk GET /up\n server s 192.0.2.1:80 check\n"
        (notice,) = read_configuration([Source("t.cfg", text)], {}).notices
        self.assertEqual(notice.place.line, 7)
        self.assertIn("'option httpchk' does not affect reuse in 'a', 'b'. ", notice.text)


class GlobalTests(SynchronousTestCase):
    """The `global` section."""

    def test_every_word_is_read(self) -> None:
        """Into the model, with times in seconds and sizes in bytes."""
        text = """global
            log stdout format raw local0
            log-tag edge
            maxconn 2000
            hard-stop-after 30s
            tune.bufsize 32k
            tune.maxrewrite 2048
            tune.http.maxhdr 200
            stats socket /run/r.sock mode 600 level admin
            stats timeout 30s
            manhole 127.0.0.1:2222 authorized-keys /etc/reusedproxy/keys
        """
        configuration = read(text)
        g = configuration.global_
        self.assertEqual((g.log_tag, g.maxconn, g.hard_stop_after), ("edge", 2000, 30.0))
        self.assertEqual((g.bufsize, g.maxrewrite, g.maxhdr), (32768, 2048, 200))
        self.assertEqual([str(socket.bind.address) for socket in g.stats_sockets], ["unix@/run/r.sock"])
        assert g.manhole is not None
        self.assertEqual(str(g.manhole.address), "127.0.0.1:2222")
        self.assertEqual(g.manhole.host_key, "/etc/reusedproxy/reusedproxy_host_key")
        self.assertEqual(
            [notice.text for notice in configuration.notices],
            [],
        )

    def test_words_without_effect_are_accepted_with_one_notice(self) -> None:
        """Threads and tuning do not matter in one process."""
        text = (
            "global\n nbthread 4\n cpu-map 1 0\n tune.ssl.maxrecord 1\n"
            " tune.h2.max-concurrent-streams 5\n no busy-polling\n"
        )
        (notice,) = read(text).notices
        self.assertEqual(notice.level, "notice")
        for word in ("nbthread", "cpu-map", "tune.ssl.maxrecord", "tune.h2.max-concurrent-streams", "busy-polling"):
            self.assertIn(f"'{word}'", notice.text)

    def test_what_twistd_does_is_said_with_its_options(self) -> None:
        """One notice for all of them."""
        (notice,) = read("global\n pidfile /run/a.pid\n daemon\n").notices
        self.assertIn("twistd --pidfile /run/a.pid reusedproxy", notice.text)

    def test_whom_the_daemon_becomes_is_read_for_others_to_judge(self) -> None:
        """The first of `user` and `uid`, and of `group` and `gid`, as in HAProxy."""
        configuration = read("global\n uid 7\n user www\n group www\n chroot /var/empty\n")
        said = configuration.global_
        self.assertEqual(
            [each and (each.word, each.value) for each in (said.user, said.group, said.chroot)],
            [("uid", "7"), ("group", "www"), ("chroot", "/var/empty")],
        )
        self.assertEqual(
            [each.text for each in configuration.notices], ["'user' is ignored: 'uid' stands already at t.cfg:7"]
        )

    def test_an_address_that_is_said_twice_with_the_same_words_is_listened_on_once(self) -> None:
        """In one section, where HAProxy listens twice for the same; ports that the kernel picks are others each
        time."""
        said = " bind :80,:81,:80 name a\n bind :81 name a\n bind 127.0.0.1:0\n bind 127.0.0.1:0\n"
        configuration = read(f"frontend f\n{said} default_backend b\nbackend b\n server s h:1\n")
        self.assertEqual([each.address.port for each in configuration.frontends["f"].binds], [80, 81, 0, 0])
        warned = [each.text for each in configuration.notices if "stands already" in each.text]
        (one, other) = warned
        self.assertIn("'bind *:80' stands already at t.cfg:7, with the same words: it is listened on once", one)
        self.assertIn("'bind *:81' stands already", other)

    def test_an_address_may_be_listened_on_in_two_sections(self) -> None:
        """As in HAProxy, with a warning where chance decides who gets a client."""
        binds = ("bind 127.0.0.1:80", "bind 127.0.0.1:80\n bind *:81", "bind 127.0.0.1:81")
        text = "".join(f"frontend f{at}\n {each}\n default_backend b\n" for at, each in enumerate(binds))
        configuration = read(f"{text}backend b\n server s h:1\n")
        warned = [each.text for each in configuration.notices if "stands already" in each.text]
        (one,) = warned
        self.assertIn("'bind 127.0.0.1:80' stands already at t.cfg:7, in frontend 'f0': both listen, and chance", one)

    def test_limits_of_the_process_are_the_service_managers(self) -> None:
        """Not applied, and said with where to give them."""
        (notice,) = read("global\n ulimit-n 1000\n").notices
        self.assertIn("LimitNOFILE=", notice.text)

    def test_a_maxrewrite_that_does_not_fit_is_halved_with_a_warning(self) -> None:
        """HAProxy does it silently."""
        configuration = read("global\n tune.bufsize 4096\n tune.maxrewrite 4096\n")
        self.assertEqual(configuration.global_.maxrewrite, 2048)
        self.assertEqual([notice.level for notice in configuration.notices], ["warning"])

    def test_several_sources_are_one_configuration(self) -> None:
        """Read in order; a section may refer to what another file says."""
        sources = [
            Source("1.cfg", "global\n log stdout format raw local0\n" + DEFAULTS),
            Source("2.cfg", "listen l\n log global\n bind :80\n server a 192.0.2.1:80\n"),
        ]
        configuration = read_configuration(sources, {})
        self.assertEqual(configuration.frontends["l"].logs[0].kind, "stdout")
        self.assertEqual(configuration.frontends["l"].place.file, "2.cfg")

    def test_a_file_with_crlf_line_ends_is_read(self) -> None:
        """The carriage return belongs to no word."""
        text = (DEFAULTS + "listen l\n bind :80\n server a app:80\n").replace("\n", "\r\n")
        self.assertEqual(read_configuration([Source("t.cfg", text)], {}).backends["l"].servers[0].port, 80)

    def test_a_file_that_may_have_been_cut_off_is_refused(self) -> None:
        """As in HAProxy: the condition of a rule may be missing. Blanks at the end are none."""
        text = f"{DEFAULTS}frontend f\n bind :80\n http-request deny unless"
        error = self.assertRaises(ConfigurationError, read_configuration, [Source("t.cfg", f"{text} TRUE")], {})
        self.assertIn("t.cfg:8: the last line has no end of line, so the file may be cut off", str(error))
        read_configuration([Source("t.cfg", f"{text} TRUE\n  ")], {})


class FrontendTests(SynchronousTestCase):
    """What clients see."""

    def test_every_word_is_read(self) -> None:
        """Into the model."""
        f = frontend(
            " maxconn 50\n option httplog\n option dontlognull\n"
            " option forwardfor except 10.0.0.0/8 header X-Real if-none\n"
        )
        self.assertEqual(
            (f.mode, f.maxconn, f.log_format, f.dontlognull, f.default_backend), ("http", 50, "httplog", True, "b")
        )
        self.assertEqual(f.forwardfor, ForwardFor("X-Real", "10.0.0.0/8", True))

    def test_bind_words_go_to_every_address_of_the_line(self) -> None:
        """One `Bind` each."""
        f = frontend(" bind :81-82,/run/x mode 660 user www group www name x maxconn 5 backlog 7")
        self.assertEqual([str(bind.address) for bind in f.binds], ["*:80", "*:81", "*:82", "unix@/run/x"])
        self.assertEqual(
            [(b.mode, b.user, b.group, b.name, b.maxconn, b.backlog) for b in f.binds[1:]],
            [(0o660, "www", "www", "x", 5, 7)] * 3,
        )

    def test_words_about_no_socket_of_their_line_are_told(self) -> None:
        """They are for whole lines: one address that they are about is enough."""
        for line, expected in (
            (
                "/run/x mss 900 tcp-ut 3s tfo transparent",
                "no address of this line is TCP's: mss, tcp-ut, tfo, transparent",
            ),
            ("abns@x tfo", "no address of this line is TCP's: tfo"),
            ("/run/x,:81 mss 900", ""),
            ("fd@3 mss 900 v6only", ""),
            (":81 v6only", "no address of this line is IPv6's: v6only"),
            (":81,:::81 v6only", ""),
        ):
            text = f"frontend f\n bind {line}\n default_backend b\nbackend b\n server a 192.0.2.1:80\n"
            found = [each.text for each in read(text).notices]
            self.assertEqual([each.split("since ")[1] for each in found], [expected] if expected else [], line)

    def test_backlog_is_every_binds_that_has_none_of_its_own(self) -> None:
        """`backlog` of the section and of the line."""
        self.assertEqual([b.backlog for b in frontend(" backlog 9\n bind :81 backlog 3").binds], [9, 3])

    def test_use_backend_keeps_the_order(self) -> None:
        """Names, one after the other."""
        text = (
            "frontend f\n bind :80\n use_backend a\n use_backend b\n"
            "backend a\n server x h:1\nbackend b\n server x h:1\n"
        )
        self.assertEqual([rule.name.constant for rule in read(text).frontends["f"].use_backends], ["a", "b"])

    def test_client_timeouts_fall_back(self) -> None:
        """http-keep-alive on http-request, and that on client."""
        table = [
            ("", Timeouts(client=30.0, http_request=30.0, http_keep_alive=30.0, tarpit=5.0)),
            (" timeout http-request 5s", Timeouts(client=30.0, http_request=5.0, http_keep_alive=5.0, tarpit=5.0)),
            (
                " timeout http-keep-alive 1s\n timeout tarpit 9s",
                Timeouts(client=30.0, http_request=30.0, http_keep_alive=1.0, tarpit=9.0),
            ),
        ]
        for text, expected in table:
            self.assertEqual(frontend(text).timeouts, expected, text)

    def test_any_word_of_stats_enables_the_page(self) -> None:
        """As in HAProxy; a bare refresh time is seconds."""
        self.assertEqual(frontend(" stats enable").stats, StatsPage())
        self.assertEqual(frontend(" stats uri /s\n stats refresh 10").stats, StatsPage("/s", 10.0))
        self.assertTrue(frontend(" option socket-stats").socket_stats)
        self.assertFalse(frontend(" no option socket-stats").socket_stats)
        self.assertEqual(frontend(" stats hide-version").stats, StatsPage())
        self.assertEqual(frontend(" stats show-version").stats, StatsPage(show_version=True))
        self.assertIsNone(frontend("").stats)

    def test_log_lines_add_up_and_no_log_takes_them_away(self) -> None:
        """`log global` stands for the global section's targets."""
        text = (
            "global\n log stderr format raw local0\ndefaults d\n mode http\n log global\n"
            " log stdout format raw local0\nfrontend f from d\n stats enable\n {}\n"
        )
        self.assertEqual([t.kind for t in read(text.format("")).frontends["f"].logs], ["stderr", "stdout"])
        self.assertEqual(read(text.format("no log")).frontends["f"].logs, ())


class BackendTests(SynchronousTestCase):
    """What servers see."""

    def test_every_word_is_read(self) -> None:
        """Into the model."""
        b = backend(
            " balance roundrobin\n http-reuse always\n retries 1\n option redispatch\n option allbackups\n fullconn 9\n"
        )
        self.assertEqual(b.fullconn, 9)
        self.assertEqual(
            (b.balance.algorithm, b.http_reuse, b.retries, b.redispatch, b.allbackups),
            ("roundrobin", "always", 1, -1, True),
        )

    def test_each_algorithm_is_read_with_its_words(self) -> None:
        for text, expected in (
            ("", Balance("roundrobin")),
            ("balance", Balance("roundrobin")),
            ("balance static-rr", Balance("static-rr")),
            ("balance leastconn", Balance("leastconn")),
            ("balance first", Balance("first")),
            ("balance random", Balance("random", draws=2)),
            ("balance random()", Balance("random", draws=2)),
            ("balance random(3)", Balance("random", draws=3)),
            ("balance source", Balance("source")),
            (
                "balance uri len 5 whole depth 2 path-only",
                Balance("uri", length=5, depth=2, whole=True, path_only=True),
            ),
            ("balance url_param id", Balance("url_param", name="id")),
            ("balance hdr(X-Key)", Balance("hdr", name="X-Key")),
            ("balance hdr(host) use_domain_only", Balance("hdr", name="host", domain_only=True)),
            ("balance hash path", Balance("hash", expression=Expression(Call("path")))),
        ):
            self.assertEqual(backend(f" {text}\n").balance, expected, text)

    def test_the_hash_is_read_as_in_haproxy(self) -> None:
        """`consistent` alone mixes the bits, and with a function only where it says so."""
        for text, expected in (
            ("", HashType()),
            ("hash-type map-based", HashType()),
            ("hash-type consistent", HashType(consistent=True, avalanche=True)),
            ("hash-type consistent sdbm", HashType(consistent=True)),
            ("hash-type map-based wt6 avalanche", HashType(function="wt6", avalanche=True)),
            (
                "hash-balance-factor 150\n hash-preserve-affinity maxqueue\n hash-type consistent none",
                HashType(consistent=True, function="none", factor=150, affinity="maxqueue"),
            ),
        ):
            self.assertEqual(backend(f" balance uri\n {text}\n").hash_type, expected, text)

    def test_servers_have_numbers_as_in_haproxy(self) -> None:
        """Their places, unless these are taken."""
        b = backend(" server b h:1 id 4\n server c h:1\n server d h:1\n server e h:1 id 2\n server f h:1\n")
        self.assertEqual([server.id for server in b.servers], [1, 4, 3, 5, 2, 7])

    def test_words_of_hashes_without_a_hash_are_warned_of(self) -> None:
        for line in ("hash-type consistent", "hash-balance-factor 150", "hash-preserve-affinity maxconn"):
            said = read(f"backend b\n balance leastconn\n {line}\n server a h:1\n").notices
            self.assertIn(f"'{line.split()[0]}' does nothing without", said[0].text)

    def test_an_algorithm_that_is_not_said_is_said_once(self) -> None:
        """HAProxy's default has changed; with one server it does not matter."""
        servers = " server a h:1\n server b h:1\n"
        said = read(f"backend b\n{servers}backend c\n{servers}backend d\n balance first\n{servers}").notices
        self.assertEqual(len(said), 1)
        self.assertIn("no 'balance' is said for 'b', 'c', so it is roundrobin", said[0].text)

    def test_options_about_the_choice_are_inherited_and_negated(self) -> None:
        text = "defaults d from base\n option prefer-last-server\n no option pool-prefer-warm\nbackend b from d\n{}"
        base = "defaults base\n mode http\n timeout connect 1s\n timeout server 1s\n"
        for lines, expected in (
            ("", (True, False)),
            (" no option prefer-last-server\n option pool-prefer-warm\n", (False, True)),
        ):
            b = read_configuration([Source("t.cfg", base + text.format(lines))], {}).backends["b"]
            self.assertEqual((b.prefer_last, b.prefer_warm), expected)

    def test_abortonclose_is_on_off_or_unsaid(self) -> None:
        lines = ["", " option abortonclose", " no option abortonclose", " default option abortonclose"]
        lines.append(" no option abortonclose\n default option abortonclose")
        self.assertEqual([backend(line).abortonclose for line in lines], [None, True, False, None, None])

    def test_http_reuse_unset_is_none(self) -> None:
        """Our own safe default applies then, which is none of HAProxy's words."""
        self.assertIsNone(backend("").http_reuse)

    def test_tcp_keep_alive(self) -> None:
        """For clients when it is asked for; `tcpka` asks for both sides, and servers have it always."""
        for said, expected in (
            ("", False),
            (" option clitcpka", True),
            (" option tcpka", True),
            (" option tcpka\n no option clitcpka", False),
        ):
            self.assertEqual(frontend(said).clitcpka, expected, said)
        notices = read("listen l\n mode http\n bind :1\n server s 1.2.3.4:5\n no option srvtcpka\n").notices
        self.assertIn("without effect on servers", str(notices))

    def test_how_tcp_keep_alive_probes(self) -> None:
        """In seconds, rounded up; inherited, and overridden one by one. Towards clients it needs the option."""
        text = (
            "defaults\n mode http\n timeout client 1s\n timeout connect 1s\n timeout server 1s\n option clitcpka\n"
            " clitcpka-cnt 3\n clitcpka-idle 10\n srvtcpka-cnt 4\n srvtcpka-idle 1500ms\n"
            "listen l\n bind :1\n server s 1.2.3.4:5 tcp-ut 2500\n clitcpka-idle 1m\n srvtcpka-intvl 7s\n"
        )
        found = read(text)
        self.assertEqual(found.frontends["l"].keep_alive, KeepAlive(3, 60, 0))
        self.assertEqual(found.backends["l"].keep_alive, KeepAlive(4, 2, 7))
        self.assertEqual(found.backends["l"].servers[0].user_timeout, 2.5)
        self.assertNotIn("clitcpka", str(found.notices))
        self.assertIn(
            "'clitcpka-idle' does nothing without 'option clitcpka'", str(read(text.replace(" option clitcpka\n", "")))
        )
        for side, line, said in (
            (frontend, "clitcpka-cnt 128", "'clitcpka-cnt'"),
            (frontend, "clitcpka-idle 32768", "Linux takes 32767 seconds at most"),
            (backend, "srvtcpka-intvl", "'srvtcpka-intvl' needs a time"),
        ):
            error = self.assertRaises(ConfigurationError, side, f" {line}")
            self.assertIn(said, error.faults[0].text)

    def test_hedge(self) -> None:
        """After a percentile or a time, for a share of requests; it is inherited, and taken back."""
        for text, expected in (
            ("", None),
            (" hedge", Hedge(None, 0.95, 0.05)),
            (" hedge after p99.5", Hedge(None, 0.995, 0.05)),
            (" hedge after 200ms budget 10%", Hedge(0.2, 0.95, 0.1)),
            (" hedge budget 0.5% after p90", Hedge(None, 0.9, 0.005)),
            (" hedge after 1s\n hedge off", None),
        ):
            self.assertEqual(backend(text).hedge, expected, text)
        base = "defaults\n timeout connect 1s\n timeout server 1s\n mode http\n hedge after 1s\n"
        made = read_configuration(
            [Source("t.cfg", base + "backend a\nbackend b\n hedge off\nbackend c\n mode tcp\n")], {}
        ).backends
        self.assertEqual([made[name].hedge for name in "abc"], [Hedge(1.0), None, None])

    def test_hedge_where_no_connection_is_shared(self) -> None:
        said = read("backend b\n http-reuse never\n hedge\n server a h:1\n").notices
        self.assertIn("'hedge' does nothing with 'http-reuse never'", said[0].text)

    def test_retry_on(self) -> None:
        """The words replace the default; all-retryable-errors is written out, as HAProxy's manual lists them."""
        self.assertEqual(backend("").retry_on, {"conn-failure"})
        self.assertEqual(backend(" retry-on 503 empty-response").retry_on, {"503", "empty-response"})
        self.assertEqual(
            backend(" retry-on all-retryable-errors").retry_on,
            {
                "conn-failure",
                "empty-response",
                "junk-response",
                "response-timeout",
                "0rtt-rejected",
                "500",
                "502",
                "503",
                "504",
            },
        )

    def test_server_timeouts_fall_back(self) -> None:
        """queue on connect; tunnel and check have a meaning when unset."""
        self.assertEqual(backend("").timeouts, Timeouts(connect=5.0, server=60.0, queue=5.0, tarpit=5.0))
        self.assertEqual(
            backend(" timeout queue 1s\n timeout check 2s\n timeout tunnel 1h").timeouts,
            Timeouts(connect=5.0, server=60.0, queue=1.0, check=2.0, tunnel=3600.0, tarpit=5.0),
        )

    def test_a_timeout_of_zero_is_no_timeout(self) -> None:
        """As in HAProxy."""
        self.assertIsNone(backend(" timeout server 0").timeouts.server)

    def test_connection_modes_replace_each_other(self) -> None:
        """The last one said counts; `no` takes back only its own."""
        table = [
            ("", "keep-alive"),
            (" option http-server-close", "server-close"),
            (" option httpclose", "close"),
            (" option httpclose\n option http-server-close", "server-close"),
            (" option httpclose\n option http-keep-alive", "keep-alive"),
            (" option httpclose\n no option httpclose", "keep-alive"),
            (" option httpclose\n no option http-server-close", "close"),
            (" option httpclose\n default option httpclose", "keep-alive"),
        ]
        for text, mode in table:
            self.assertEqual(backend(text).connection_mode, mode, text)

    def test_no_before_an_option_that_we_do_not_do_says_what_is_so(self) -> None:
        """Nothing to refuse, nothing to say."""
        self.assertEqual(read("backend b\n server a h:1\n no option persist\n").notices, ())

    def test_a_sections_own_checks_replace_those_of_defaults(self) -> None:
        """As in HAProxy, with its first own line about them: none of the others' rules is left."""
        head = DEFAULTS + " option httpchk GET /d\n http-check send hdr X y\n http-check expect status 204\n"
        inherited = HTTPCheck("GET", "/d", headers=(("X", "y"),), expect=((204, 204),))
        for lines, check in (
            ("", inherited),
            (" option httpchk GET /own", HTTPCheck("GET", "/own")),
            (" option httpchk", HTTPCheck()),
            (" http-check send hdr A b", HTTPCheck(headers=(("A", "b"),))),
            (" http-check expect status 200", HTTPCheck(expect=((200, 200),))),
            (" http-check expect status 200\n option httpchk GET /own", HTTPCheck("GET", "/own", expect=((200, 200),))),
        ):
            text = f"{head}backend b\n server a 192.0.2.1:80\n{lines}\n"
            read = read_configuration([Source("t.cfg", text)], {})
            self.assertEqual(read.backends["b"].http_check, check, lines)

    def test_http_checks(self) -> None:
        """`option httpchk` in all its lengths, and what `http-check` adds."""
        host = (("Host", "x.example"),)
        table = [
            (" option httpchk", HTTPCheck()),
            (" option httpchk /up", HTTPCheck(uri="/up")),
            (" option httpchk GET /up", HTTPCheck("GET", "/up")),
            (" option httpchk GET /up HTTP/1.1 x.example", HTTPCheck("GET", "/up", "HTTP/1.1", host)),
            (
                " option httpchk GET /up HTTP/1.1\\r\\nHost:\\ x.example\\r\\n\\r\\nhi",
                HTTPCheck("GET", "/up", "HTTP/1.1", host, "hi"),
            ),
            (
                " option httpchk\n http-check send meth PUT uri /p ver HTTP/1.1 hdr Host x.example body b",
                HTTPCheck("PUT", "/p", "HTTP/1.1", host, "b"),
            ),
            (
                " option httpchk GET / HTTP/1.1 old\n http-check send hdr host x.example",
                HTTPCheck("GET", "/", "HTTP/1.1", (("host", "x.example"),)),
            ),
            (
                " option httpchk\n http-check expect status 200,204,300-399",
                HTTPCheck(expect=((200, 200), (204, 204), (300, 399))),
            ),
            (" option httpchk\n http-check expect ! status 500-599", HTTPCheck(expect=((500, 599),), expect_not=True)),
            (" option httpchk\n http-check expect !status 503", HTTPCheck(expect=((503, 503),), expect_not=True)),
        ]
        for text, expected in table:
            self.assertEqual(backend(text).http_check, expected, text)
        self.assertIsNone(backend("").http_check)


class InheritanceTests(SynchronousTestCase):
    """`defaults`, named and not, and `listen`."""

    def test_a_listen_is_a_frontend_and_a_backend_of_one_name(self) -> None:
        """The frontend's default backend is its own other half."""
        configuration = read("listen l\n bind :80\n server a h:1\n")
        self.assertEqual(configuration.frontends["l"].default_backend, "l")
        self.assertEqual(configuration.backends["l"].servers[0].name, "a")

    def test_a_section_inherits_from_the_last_defaults_or_from_the_one_it_names(self) -> None:
        """`from` on sections, and on `defaults` themselves."""
        text = (
            "defaults slow\n mode http\n retries 7\ndefaults slower from slow\n"
            " timeout server 9s\ndefaults\n mode http\n retries 1\n"
        )
        text += "backend a\nbackend b from slow\nbackend c from slower\n"
        backends = read(text).backends
        self.assertEqual([backends[name].retries for name in "abc"], [1, 7, 7])
        self.assertEqual(backends["c"].timeouts.server, 9.0)

    def test_a_frontend_and_a_backend_may_share_a_name(self) -> None:
        """They are never asked for in the same place."""
        configuration = read("frontend x\n bind :80\n default_backend x\nbackend x\n server a h:1\n")
        self.assertEqual(configuration.frontends["x"].default_backend, "x")

    def test_no_turns_off_what_defaults_turned_on(self) -> None:
        """`no option` in a section."""
        text = (
            "defaults d\n mode http\n option dontlognull\n option redispatch\nlisten l from d\n"
            " no option dontlognull\n default option redispatch\n stats enable\n"
        )
        configuration = read(text)
        self.assertFalse(configuration.frontends["l"].dontlognull)
        self.assertFalse(configuration.backends["l"].redispatch)

    def test_a_disabled_section_is_disabled(self) -> None:
        """And its mode and timeouts are nobody's business."""
        configuration = read_configuration([Source("t.cfg", "listen l\n disabled\n")], {})
        self.assertTrue(configuration.frontends["l"].disabled)
        self.assertEqual(configuration.notices, ())
