"""`server` and `default-server` lines: TLS, checks, pool, and settings that contradict each other."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model import Configuration, Server
from reusedproxy.config.model.proxies import Check, PoolLimits, RecordBound, Spread
from reusedproxy.config.model.sockets import OwnEnd
from reusedproxy.config.model.tls import ServerTLS
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from reusedproxy.config.sections.server_words import RECORD_MOST

HEAD = "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 60s\nbackend b\n"
MUTUAL = "ssl ca-file /ca crt /c.pem sni str(app.example)"

#: What PROXY headers say that is not about TLS.
OTHERS = ("authority", "crc32c", "unique-id")


def read(lines: str, head: str = HEAD) -> Configuration:
    return read_configuration([Source("t.cfg", head + lines + "\n")], {})


def server(words: str) -> Server:
    """The server whose words are `words`."""
    return read(f" server a 192.0.2.1:443 {words}").backends["b"].servers[0]


def tls_of(made: Server) -> ServerTLS:
    assert made.tls is not None
    return made.tls


def faults(lines: str, head: str = HEAD) -> list[str]:
    """What is wrong with `lines`, without the places."""
    try:
        read(lines, head)
    except ConfigurationError as error:
        return [fault.text for fault in error.faults]
    return []


def notices(lines: str) -> list[tuple[str, str]]:
    return [(notice.level, notice.text) for notice in read(lines).notices]


class ServerTests(SynchronousTestCase):
    """The words of a server line."""

    def test_a_server_where_its_clients_have_connected_to_needs_a_port_for_checks_and_is_never_warm(self) -> None:
        """There is no connection before there is a client."""
        for address in ("h", "h:+5", "*"):
            (fault,) = faults(f" server a {address} check")
            self.assertIn("checks connect before one does: add 'port'", fault)
            for words in ("port 80", "addr 192.0.2.2:80"):
                self.assertEqual(faults(f" server a {address} check {words}"), [])
                steps = f" option tcp-check\n tcp-check connect {words}\n tcp-check send x\n"
                self.assertEqual(faults(f"{steps} server a {address} check"), [])
        for address in ("h", "*:80"):
            (fault,) = faults(f" server a {address} pool-min-conn 1")
            self.assertIn("no connection can be opened before there is a client", fault)
        self.assertIn(
            ("notice", "server 'a' says no port, so it has the one to which the client has connected"),
            notices(" server a h"),
        )

    def test_a_plain_server_has_haproxys_defaults(self) -> None:
        """Weight 1, no limit, no check, no TLS, nothing opened ahead."""
        s = server("")
        self.assertEqual(
            (s.weight, s.maxconn, s.backup, s.disabled, s.check, s.tls, s.pool),
            (1, 0, False, False, None, None, PoolLimits()),
        )

    def test_every_word_is_read(self) -> None:
        """Into the model."""
        s = server(
            "weight 10 maxconn 5 backup disabled check inter 1s"
            " fastinter 500ms downinter 5s rise 1 fall 2 port 81 addr 192.0.2.2"
        )
        self.assertEqual((s.weight, s.maxconn, s.backup, s.disabled), (10, 5, True, True))
        self.assertEqual(s.check, Check(1.0, 0.5, 5.0, 1, 2, 81, "192.0.2.2"))

    def test_places(self) -> None:
        """`minconn` alone is both, as in HAProxy; the cap of `strict-maxconn` is what comes of it."""
        table = {
            "maxconn 9 minconn 3 maxqueue 7": (3, 9, 7, None), "maxconn 9 minconn 20 strict-maxconn": (20, 20, 0, 20),
            "minconn 4": (4, 4, 0, None), "maxconn 5 strict-maxconn": (0, 5, 0, 5),
        }  # fmt: skip
        for words, places in table.items():
            s = server(words)
            self.assertEqual((s.minconn, s.maxconn, s.maxqueue, s.pool.most), places, words)

    def test_pool_words(self) -> None:
        """HAProxy's and ours; -1 is no limit, and a time of 0 is none."""
        s = server(
            "pool-min-conn 4 pool-max-conn 20 pool-low-conn 2 pool-purge-delay 1m max-reuse 100 pool-idle-timeout 50s"
            " pool-max-age 1h pool-connect-rate 5"
        )
        self.assertEqual(s.pool, PoolLimits(4, 20, 2, 60.0, 100, 50.0, 3600.0, 5.0))
        s = server("pool-max-conn -1 max-reuse -1 pool-purge-delay 0 pool-idle-timeout 0 pool-max-age 0")
        self.assertEqual(s.pool, PoolLimits(purge_delay=0.0))

    def test_words_for_coming_up_standing_by_and_nodes(self) -> None:
        s = server("pool-min-conn 4")
        self.assertEqual((s.warm_up, s.standby, s.pool.spread), (10.0, None, None))
        s = server("pool-min-conn 4 pool-warm-up 0 backup pool-standby-conn 1 pool-spread hdr(X-Node)")
        self.assertEqual((s.warm_up, s.standby, s.pool.spread), (0.0, 1, Spread("x-node")))
        self.assertIsNone(server("pool-min-conn 4 pool-spread hdr(a) pool-spread none").pool.spread)
        for words, resumes in (("pool-spread cert", False), ("pool-spread hdr(x)", True), ("", True)):
            s = server(f"{MUTUAL} sni str(a) pool-min-conn 4 {words}")
            assert s.tls is not None
            self.assertEqual(s.tls.resumes, resumes, words)

    def test_a_record_has_a_size_or_a_time(self) -> None:
        """Both bound its memory; `off` takes back what `default-server` says."""
        for words, bound in (
            ("pool-record 64k", RecordBound(65536)),
            ("pool-record 1h", RecordBound(RECORD_MOST, 3600.0)),
            ("pool-record 90s", RecordBound(RECORD_MOST, 90.0)),
            ("pool-record 1h pool-record off", None),
            ("", None),
        ):
            self.assertEqual(server(words).record, bound, words)
        self.assertEqual(server("pool-record 1h").pool, PoolLimits(), "it makes no other pool")

    def test_a_floor_that_follows_demand(self) -> None:
        """From the least to the most; a line's own word is stronger than `default-server`'s."""
        for words, least, most in (
            ("auto", 1, None),
            ("auto 0", 0, None),
            ("auto 3", 3, None),
            ("auto 3 20", 3, 20),
            ("auto 3 20 maxconn 9", 3, 20),
            ("auto 3 pool-max-conn 7", 3, 7),
            ("auto 3 maxconn 9 strict-maxconn pool-max-conn 50", 3, 9),
            ("auto 3 20 pool-purge-delay 0", 3, 20),
        ):
            for pool in (
                server(f"pool-min-conn {words}").pool,
                read(f" default-server pool-min-conn {words}\n server a h:1").backends["b"].servers[0].pool,
            ):
                self.assertEqual((pool.min_conn, pool.adapts, pool.floor_max), (least, True, most), words)
        pool = (
            read(" default-server pool-min-conn auto 2 9\n server a h:1 pool-min-conn 4").backends["b"].servers[0].pool
        )
        self.assertEqual(pool, PoolLimits(4))

    def test_tls_words(self) -> None:
        """`verify required` is the default; a constant `sni` is a plain name."""
        self.assertEqual(server(MUTUAL).tls, ServerTLS("required", "/ca", "/c.pem", "app.example", None))
        self.assertEqual(server("ssl verify none").tls, ServerTLS("none"))
        self.assertEqual(
            server("ssl ca-file @system-ca verifyhost app.example").tls,
            ServerTLS("required", "@system-ca", verifyhost="app.example"),
        )

    def test_tls_parameters(self) -> None:
        """The global section's, `default-server`'s and the line's, each on top of the one before."""
        head = (
            "global\n ca-base /cas\n ssl-default-server-ciphers AES\n ssl-default-server-curves X25519\n"
            " ssl-default-server-options ssl-min-ver TLSv1.3 no-tls-tickets\n" + HEAD
        )
        text = (
            " default-server ssl verify none ciphersuites TLS_AES_128_GCM_SHA256\n server a h:1 crl-file l.pem\n"
            " server b h:1 ssl-min-ver TLSv1.2 ciphers ECDHE no-ssl-reuse tls-tickets alpn http/1.1\n"
            " server c h:1 no-ssl"
        )
        one, two, three = read(text, head).backends["b"].servers
        a, b, c = tls_of(one), tls_of(two), three.tls
        self.assertEqual((a.min_version, a.max_version, a.ciphers, a.curves), ("TLSv1.3", "TLSv1.3", "AES", "X25519"))
        self.assertEqual((a.ciphersuites, a.tickets, a.resumes), ("TLS_AES_128_GCM_SHA256", False, True))
        self.assertEqual((a.crl_file, b.crl_file, c), ("/cas/l.pem", None, None))
        self.assertEqual((b.min_version, b.max_version, b.ciphers, b.curves), ("TLSv1.2", "TLSv1.3", "ECDHE", "X25519"))
        self.assertEqual((b.tickets, b.resumes, b.alpn), (True, False, ("http/1.1",)))

    def test_names_that_share_connections_are_told(self) -> None:
        """Only that of the first request of each is verified."""
        line = " server a h:1 ssl ca-file /ca sni req.hdr(host) pool-conn-name "
        said = [each.text for each in read(f"{line}str(x)").notices]
        self.assertIn("the name in the first request of each is verified", "\n".join(said))
        for other in (f"{line}req.hdr(host)", f"{line}str(x) verify none"):
            said = [each.text for each in read(other).notices]
            self.assertNotIn("first request", "\n".join(said))

    def test_http_2_is_not_offered_to_servers(self) -> None:
        """Nor refused, where something else is there to choose, as on `bind` lines. In mode tcp bytes are the client's
        and the server's affair."""
        lines = " server a h:1 ssl verify none alpn h2,http/1.1\n"
        made = read(lines)
        self.assertEqual(tls_of(made.backends["b"].servers[0]).alpn, ("http/1.1",))
        self.assertIn(
            "'alpn h2,http/1.1' offers http/1.1 only: HTTP/2 and HTTP/3 are not done yet",
            "\n".join(each.text for each in made.notices),
        )
        stream = read(" mode tcp\n" + lines)
        self.assertEqual(tls_of(stream.backends["b"].servers[0]).alpn, ("h2", "http/1.1"))

    def test_checks_over_tls(self) -> None:
        """`check-ssl`, whatever the traffic does."""
        s = server("verify none check check-ssl")
        self.assertEqual((s.tls, s.check_tls), (None, ServerTLS("none")))
        self.assertIsNone(server("ssl verify none check").check_tls)

    def test_the_proxy_protocol(self) -> None:
        """A check speaks it as the traffic does, unless it goes elsewhere or is told to."""
        for words, sent, check in (
            ("", "", ""),
            ("send-proxy", "v1", "v1"),
            ("send-proxy-v2", "v2", "v2"),
            ("send-proxy no-send-proxy", "", ""),
            ("send-proxy-v2 send-proxy", "v2", "v2"),
            ("send-proxy-v2 no-send-proxy", "v2", "v2"),
            ("send-proxy-v2 send-proxy no-send-proxy-v2", "v1", "v1"),
            ("send-proxy-v2-ssl", "v2", "v2"),
            ("send-proxy-v2-ssl no-send-proxy-v2-ssl-cn", "", ""),
            ("send-proxy-v2 port 9", "v2", ""),
            ("send-proxy-v2 port 9 check-send-proxy", "v2", "v2"),
            ("check-send-proxy", "", "v1"),
        ):
            s = server(f"check {words}")
            assert s.check is not None
            self.assertEqual((s.send_proxy, s.check.send_proxy), (sent, check), words)
        said = notices("server a h:1 send-proxy")
        self.assertEqual([level for level, _ in said], ["notice"])
        self.assertIn("so it serves no other, and none can be warm", said[0][1])

    def test_where_connections_come_from(self) -> None:
        """Addresses, with a port perhaps, and the interface behind; every address is any."""
        for words, source in (
            ("", None),
            ("source 192.0.2.7", OwnEnd("192.0.2.7")),
            ("source 192.0.2.7:0", OwnEnd("192.0.2.7")),
            ("source 192.0.2.7:1024", OwnEnd("192.0.2.7", 1024)),
            ("source ipv6@[2001:db8::7]:1024", OwnEnd("2001:db8::7", 1024)),
            ("source 0.0.0.0", OwnEnd()),
            ("source * interface eth0", OwnEnd(interface="eth0")),
            ("source 192.0.2.7 interface eth0", OwnEnd("192.0.2.7", interface="eth0")),
            ("source 192.0.2.7 source 192.0.2.8", OwnEnd("192.0.2.8")),
        ):
            self.assertEqual(server(words).source, source, words)
        self.assertEqual(server("cc bbr").congestion, "bbr")
        made = read(" source 192.0.2.7 interface eth0\n server a h:1 source *\n").backends["b"]
        self.assertEqual((made.source, made.servers[0].source), (OwnEnd("192.0.2.7", interface="eth0"), OwnEnd()))

    def test_what_proxy_headers_say_besides(self) -> None:
        """Options add up; those about certificates stand within that about TLS, as in HAProxy."""
        for words, said in (
            ("send-proxy-v2", set()),
            ("send-proxy-v2-ssl", {"ssl"}),
            ("send-proxy-v2-ssl-cn", {"ssl", "cert-cn"}),
            ("send-proxy-v2 proxy-v2-options authority,crc32c proxy-v2-options unique-id", {*OTHERS}),
            ("send-proxy-v2 proxy-v2-options cert-key", {"ssl", "cert-key"}),
            ("send-proxy-v2-ssl-cn no-send-proxy-v2-ssl send-proxy-v2", {"cert-cn"}),
            ("send-proxy-v2-ssl-cn no-send-proxy-v2-ssl-cn send-proxy-v2", set()),
        ):
            self.assertEqual(server(words).proxy_options, said, words)
        warned = notices("server a h:1 proxy-v2-options ssl")
        self.assertIn("'proxy-v2-options' does nothing without 'send-proxy-v2'", str(warned))

    def test_what_is_added_to_proxy_headers(self) -> None:
        """In the order written, those of `default-server` first; the number counts, however it is written."""
        s = server('send-proxy-v2 set-proxy-v2-tlv-fmt(0xE0) "%[path] a" set-proxy-v2-tlv-fmt(225) b')
        self.assertEqual([kind for kind, _ in s.extensions], [0xE0, 0xE1])
        self.assertEqual([made.constant for _, made in s.extensions], [None, "b"])
        said = notices("server a h:1 send-proxy set-proxy-v2-tlv-fmt(1) b")
        self.assertIn("'set-proxy-v2-tlv-fmt' does nothing without 'send-proxy-v2'", str(said))

    def test_names_of_connections(self) -> None:
        """What depends on the request stays an expression; the last word counts."""
        s = server(
            "ssl verify none sni req.hdr(host),host_only pool-conn-name req.hdr(x-tenant) check check-sni c.test"
        )
        self.assertEqual((str(s.sni), str(s.pool_conn_name)), ("req.hdr(host),host_only", "req.hdr(x-tenant)"))
        assert s.check is not None
        self.assertEqual((tls_of(s).sni, s.known_name, s.check.sni), (None, "c.test", "c.test"))
        s = server("ssl verify none sni req.hdr(host) sni str(a.test) check-sni c.test")
        self.assertEqual((s.sni, tls_of(s).sni, s.known_name), (None, "a.test", None))
        self.assertIsNone(server("sni req.hdr(host)").sni)

    def test_a_server_without_sni_is_named_by_each_requests_host(self) -> None:
        """HAProxy since 3.3 (`sni-auto`); unless a name is said, or that there is none."""
        auto = "req.hdr(host),host_only"
        table = {
            "": auto, "no-sni-auto sni-auto": auto, "check-sni c.test": auto, "no-sni-auto": "None",
            "verifyhost v.test": "None", "verifyhost v.test no-verifyhost": auto, "sni str(a.test)": "None",
            "no-sni-auto sni req.hdr(x)": "req.hdr(x)",
        }  # fmt: skip
        for words, sni in table.items():
            self.assertEqual(str(server(f"ssl ca-file /ca {words}").sni), sni, words)
        self.assertIsNone(server("").sni)
        said = notices("server a h:1 ssl ca-file /ca")
        self.assertEqual([level for level, _ in said], ["notice"])
        self.assertIn("a request's Host is the name that the certificate must carry (sni-auto", said[0][1])
        self.assertEqual(notices("server a h:1 ssl ca-file /ca sni-auto"), [])

    def test_the_name_of_an_http_check_is_known_before_a_request(self) -> None:
        """`check-sni-auto`: its Host, without a port; `check-sni` goes before it,
        and `no-check-sni-auto` is neither."""

        def known(words: str, check: str = "option httpchk GET / HTTP/1.1 c.test:8443") -> str | None:
            return read(f" {check}\n server a h:1 ssl ca-file /ca check {words}").backends["b"].servers[0].known_name

        self.assertEqual(known("pool-min-conn 1"), "c.test")
        self.assertEqual(known("", "option httpchk\n http-check send hdr host d.test"), "d.test")
        self.assertEqual(known("check-sni e.test"), "e.test")
        self.assertIsNone(known("no-check-sni-auto"))
        self.assertIsNone(known("", "option httpchk"))
        self.assertIsNone(known("sni str(a.test)"))

    def test_base_directories_stand_before_relative_paths(self) -> None:
        """Neither before absolute ones nor before @system-ca."""
        head = "global\n ca-base /cas\n crt-base /crts\n" + HEAD
        text = " server a h:1 ssl ca-file ca.pem crt c.pem\n server b h:1 ssl ca-file @system-ca crt /c.pem"
        a, b = read(text, head).backends["b"].servers
        self.assertEqual(
            [(tls_of(s).ca_file, tls_of(s).crt) for s in (a, b)],
            [("/cas/ca.pem", "/crts/c.pem"), ("@system-ca", "/c.pem")],
        )

    def test_ssl_server_verify_changes_the_default(self) -> None:
        """The global word, in whichever order it stands."""
        configuration = read(" server a h:1 ssl\nglobal\n ssl-server-verify none")
        self.assertEqual(tls_of(configuration.backends["b"].servers[0]).verify, "none")

    def test_default_server_is_for_the_lines_after_it(self) -> None:
        """And a server takes back what it does not want by the `no-` words."""
        text = (
            " server a h:1\n default-server check inter 1s ssl verify none backup\n"
            " server b h:1\n server c h:1 no-check no-ssl no-backup inter 3s"
        )
        a, b, c = read(text).backends["b"].servers
        self.assertEqual([s.check for s in (a, b, c)], [None, Check(inter=1.0), None])
        self.assertEqual([s.tls is not None for s in (a, b, c)], [False, True, False])
        self.assertEqual([s.backup for s in (a, b, c)], [False, True, False])

    def test_defaults_may_hold_a_default_server(self) -> None:
        """Each proxy then has a copy of its own."""
        head = HEAD.replace(
            "backend b\n", " default-server weight 7\nbackend c\n default-server weight 9\n server a h:1\nbackend b\n"
        )
        backends = read(" server a h:1", head).backends
        self.assertEqual((backends["b"].servers[0].weight, backends["c"].servers[0].weight), (7, 9))


class ServerFaultTests(SynchronousTestCase):
    """What cannot be read is said, all of it, in words that help."""

    def test_each_wrong_line_says_why(self) -> None:
        """One line, one or more messages."""
        table = [
            ("server", "needs a name and an address"),
            ("server a", "needs a name and an address"),
            ("server a/b h:1", "a name has only letters"),
            ("server a h:1 chekc", "unknown word 'chekc': did you mean 'check'?"),
            ("server a h:1 send-proxy-v2 set-proxy-v2-tlv-fmt %[src]", "needs the type of a TLV in parentheses"),
            ("server a h:1 send-proxy-v2 set-proxy-v2-tlv-fmt(x) %[src]", "needs the type of a TLV in parentheses"),
            ("server a h:1 send-proxy-v2 set-proxy-v2-tlv-fmt(256) %[src]", "256 is no type of a TLV: they are 0 to"),
            ("server a h:1 send-proxy-v2 set-proxy-v2-tlv-fmt(1)", "'set-proxy-v2-tlv-fmt(1)'"),
            ("server a h:1 send-proxy-v2 set-proxy-v2-tlv-fmt(1) %[status]", "'status' needs a response"),
            ("server a h:1 weight", "'weight' needs a value"),
            ("server a h:1 weight 257", "between 0 and 256"),
            ("server a h:1 inter 0", "longer than 0"),
            ("server a h:1 rise 0", "at least 1"),
            ("server a h:1 verify maybe", "'none', 'required'"),
            ("server a h:1 ssl", "needs 'ca-file <file>', or 'ca-file @system-ca'"),
            ("server a h:1 sni app.example", "write 'sni str(app.example)'"),
            ("server a h:1 sni acl(x)", "'acl' is a HAProxy sample fetch that reusedproxy does not do yet"),
            ("server a h:1 sni req.hdr(host", "a ')' is missing"),
            ("server a h:1 sni str()", "'sni' needs a name: sni str(NAME)"),
            ("server a h:1 sni res.hdr(a)", "'res.hdr(a)' needs a response, and a connection is chosen before"),
            ("server a h:1 pool-conn-name status", "'status' needs a response, and a connection is chosen before"),
            ("server a h:1 sni str(' ')", "needs a name"),
            ("server a h:1 check check-ssl", "needs 'ca-file <file>', or 'ca-file @system-ca'"),
            ("server a h:1 ssl verify none no-tlsv12 no-tlsv13", "no version of TLS is left to be spoken"),
            ("server a h:1 ssl verify none alpn h2", "write 'alpn http/1.1'"),
            ("server a h:1 ssl verify none ssl-min-ver TLSv1.4", "'TLSv1.3', not 'TLSv1.4'"),
            ("server a h:1 pool-conn-name app.example", "write 'pool-conn-name str(app.example)'"),
            (
                "server a h:1 ssl ca-file /ca pool-min-conn 1",
                "with no 'sni' (so the Host of each request is its server's name): no connection can be opened before",
            ),
            (
                "server a h:1 ssl verify none sni req.hdr(host) pool-min-conn 1",
                "no connection can be opened before a request says its name;"
                " say 'sni str(NAME)', or add 'check-sni NAME'",
            ),
            ("server a h:1 pool-conn-name req.hdr(x) pool-min-conn 1", "before a request says its name"),
            ("server a h:1 redir /a", "'redir' is a HAProxy server option that reusedproxy does not do yet"),
            ("server a h:1 id 0", "server 'a': 'id'"),
            ("server a h:1 hash-key name", "server 'a': 'hash-key'"),
            ("server a h:1 id 3\n server b h:1 id 3", "id 3 is that of server 'a' already"),
            ("default-server id 3\n server a h:1", "'default-server' takes no 'id': each server has its own"),
            ("server a h:1 send-proxy-v2 proxy-v2-options ssl,cert", "'cert'"),
            ("server a h:1 source a.example", "'a.example' is no IP address"),
            ("server a h:1 source unix@/x", "'unix@' is a HAProxy address prefix"),
            ("server a h:1 source 192.0.2.7:1025-2000", "has a range of ports: leave it out, and the kernel"),
            ("server a h:1 source 192.0.2.7 usesrc clientip", "'usesrc' is a HAProxy server option"),
            ("server a h:1 interface eth0", "stands behind 'source': source * interface eth0"),
            ("server a h:1 source * interface a-name-beyond-15", "needs the name of a network interface"),
            ("source", "'source' needs an address"),
            ("source 192.0.2.7 usesrc client", "'source … usesrc' is a HAProxy"),
            ("source 192.0.2.7 port 1", "behind the address can follow: interface NAME"),
            ("server a h:1 send-proxy-v2-ssl pool-min-conn 2", "none can be warm: take out pool-min-conn 2"),
            ("server a h:1 send-proxy pool-min-conn 2", "none can be warm: take out pool-min-conn 2"),
            ("server a h:1 send-proxy-v2 check check-reuse-pool", "none can be warm: take out check-reuse-pool"),
            ("server a h:1 pool-connect-rate 0", "at least 1"),
            ("server a h:1 pool-record 5m", "'5m' may be megabytes or minutes: write a size such as 1024k"),
            ("server a h:1 pool-record 5", "'5' has no unit: write a size"),
            ("server a h:1 pool-record 63k", "'63k' is out of range: from 64k to 32768k"),
            ("server a h:1 pool-record 1g", "'1g' is out of range"),
            ("server a h:1 pool-record 0s", "has to be longer than 0"),
            ("server a h:1 pool-record long", "needs a time such as"),
            ("server a h:1 pool-min-conn 5 pool-max-conn 4", "pool-min-conn 5 is more than pool-max-conn 4"),
            ("server a h:1 pool-min-conn automatic", "needs a whole number, not 'automatic'"),
            ("server a h:1 pool-min-conn auto x", "unknown word 'x'"),
            ("server a h:1 pool-min-conn auto 5x", "needs a whole number, not '5x'"),
            ("server a h:1 pool-min-conn auto -1", "has to be at least 0"),
            ("server a h:1 pool-min-conn auto 0 0", "has to be at least 1"),
            ("server a h:1 pool-min-conn auto 5 3", "'auto 5 3' is from the least to the most: 'auto 3 5'"),
            ("server a h:1 pool-min-conn auto 1 2 3", "unknown word '3'"),
            ("server a h:1 pool-min-conn auto 5 pool-max-conn 4", "pool-min-conn auto 5 is more than pool-max-conn 4"),
            ("server a h:1 pool-min-conn auto 1 5 pool-max-conn 4", "auto 1 5 is more than pool-max-conn 4"),
            ("server a h:1 pool-min-conn auto 0 pool-max-conn 0", "with pool-max-conn 0: no connection may stand idle"),
            ("server a h:1 pool-min-conn 4 pool-spread node", "is 'cert', 'hdr(NAME)' with the name of a header, or"),
            ("server a h:1 pool-min-conn 4 pool-spread hdr(a", "is 'cert', 'hdr(NAME)' with the name of a header, or"),
            ("server a h:1 pool-min-conn 4 pool-spread cert", "without 'ssl': no certificate is shown"),
            ("mode tcp\n server a h:1 pool-min-conn 4 pool-spread hdr(a)", "in mode tcp, where nothing is known of"),
            ("server a h:1 pool-min-conn 4 pool-standby-conn 4", "has to be less than pool-min-conn 4"),
            ("server a h:1 pool-standby-conn 0", "has to be less than pool-min-conn 0"),
            ("server a h:1 pool-min-conn auto pool-standby-conn 0", "with 'pool-min-conn auto', which falls by itself"),
            ("server a h:1 send-proxy pool-min-conn auto", "none can be warm: take out pool-min-conn auto 1"),
            ("server a h:1 pool-conn-name req.hdr(x) pool-min-conn auto", "before a request says its name"),
            (
                "server a h:1 ssl verify none sni req.hdr(host) pool-min-conn auto 0",
                "pool-min-conn auto 0 with 'sni req.hdr(host)': no connection can be opened before a request says its",
            ),
            ("default-server", "needs words after it"),
            ("default-server 192.0.2.1:80", "takes no name and no address"),
        ]
        for line, why in table:
            texts = faults(line)
            self.assertEqual(len(texts), 1, (line, texts))
            self.assertIn(why, texts[0], line)

    def test_all_faults_of_a_line_are_said(self) -> None:
        """The address, and each word after it."""
        self.assertEqual(len(faults("server a 1.2.3.4.5:80 weight 999 redir x/y cookie a;b")), 4)

    def test_two_servers_of_one_name(self) -> None:
        """The message says where the first one stands."""
        self.assertEqual(
            faults(" server a h:1\n server a h:2"),
            ["server 'a' stands already at t.cfg:7: give each server of a backend its own name"],
        )

    def test_a_faulty_default_server_has_no_followers(self) -> None:
        """The certificates that it was to name are not missed in every server."""
        self.assertEqual(len(faults(" default-server ssl ca-fiel /ca\n server a h:1\n server b h:1")), 1)


class ServerWarningTests(SynchronousTestCase):
    """Settings that may not do what their author thinks."""

    def test_a_server_that_is_to_be_verified_is_not_spoken_to_in_the_clear(self) -> None:
        """Where the line itself says so; what `default-server` says is for those that have `ssl`."""
        (line,) = faults("server a h:1 verify required ca-file /ca")
        self.assertIn("server 'a': 'verify required' without 'ssl' verifies nobody", line)
        for lines in (
            "default-server verify required ca-file /ca\nserver a h:1",
            "server a h:1 verify required ca-file /ca no-ssl",
        ):
            read(lines)

    def test_contradictions_are_said(self) -> None:
        """Each with the words that are concerned."""
        table = [
            (f"server a h:1 {MUTUAL} pool-min-conn 4 maxconn 2", "more than maxconn 2"),
            (f"server a h:1 {MUTUAL} pool-min-conn auto 1 4 maxconn 2", "auto 1 4 is more than maxconn 2"),
            (f"server a h:1 {MUTUAL} pool-min-conn 4 max-reuse 0", "max-reuse 0"),
            (f"server a h:1 {MUTUAL} pool-min-conn auto max-reuse 0", "max-reuse 0"),
            ("server a h:1 check check-sni a.test", "has 'check-sni' but no 'ssl'"),
            ("server a h:1 sni req.hdr(host)", "has 'sni' but no 'ssl'"),
            ("server a h:1 maxqueue 5", "'maxqueue' does nothing without 'maxconn'"),
            ("server a h:1 strict-maxconn", "'strict-maxconn' does nothing without 'maxconn'"),
            ("server a h:1 minconn 9 maxconn 5", "minconn 9 is more than maxconn 5, and taken for both"),
            ("server a h:1 ciphers AES", "has 'ciphers' but no 'ssl'"),
            (f"server a h:1 {MUTUAL} ssl-min-ver TLSv1.0", "only at its lowest level of security"),
            ("server a h:1 crt /c.pem", "no 'ssl': it is spoken to in the clear"),
            ("server a h:1 ssl ca-file /ca no-sni-auto", "add 'verifyhost NAME', or 'sni str(NAME)'"),
            ("server a h:1 ssl verify none", "whoever answers at its address is taken for this server"),
            ("server a h:1 pool-warm-up 5s", "'pool-warm-up' does nothing without 'pool-min-conn'"),
            ("server a h:1 pool-spread hdr(a)", "'pool-spread' does nothing without 'pool-min-conn'"),
            ("http-reuse never\nserver a h:1 pool-min-conn 1", "no request may use the warm connections"),
            ("http-reuse safe\nserver a h:1 pool-min-conn 1", "the first request of a client never uses"),
            ("http-reuse aggressive\nserver a h:1 pool-min-conn 1", "only connections that have been reused before"),
            ("option http-server-close\nserver a h:1 pool-min-conn 1", "closed after one request"),
            ("http-check expect status 200\nserver a h:1", "does nothing without 'option httpchk'"),
            (
                "option httpchk\nhttp-check expect status 200\noption tcp-check\nserver a h:1",
                "'http-check expect' does nothing beside 'option tcp-check' (t.cfg:9), which counts in place of",
            ),
            (
                "option tcp-check\ntcp-check connect\noption smtpchk\nserver a h:1",
                "'tcp-check' does nothing beside 'option smtpchk' (t.cfg:9), which counts in place of",
            ),
            (
                "tcp-check connect\nhttp-reuse always\noption httpchk\nserver a h:1",
                "nothing beside 'option httpchk' (t.cfg:9)",
            ),
            ("server a h:1 weight 20.2%", "server 'a': 'weight 20.2%' is read as 'weight 20', as in HAProxy"),
            ("default-server maxconn 10k\nserver a h:1", "'default-server': 'maxconn 10k' is read as 'maxconn 10'"),
            ("option httpchk GET / HTTP/1.1\nhttp-reuse safe\nserver a h:1", "'option httpchk GET / HTTP/1.1 NAME'"),
            (
                "option httpchk\nhttp-check send meth GET ver HTTP/1.1\nhttp-reuse safe\nserver a h:1",
                "without a Host header is refused by most servers: 'http-check send … hdr Host NAME'",
            ),
        ]
        for lines, why in table:
            said = notices(lines)
            self.assertEqual([level for level, _ in said], ["warning"], (lines, said))
            self.assertIn(why, said[0][1])

    def test_what_is_true_of_many_servers_is_told_once(self) -> None:
        def told(count: int) -> list[str]:
            servers = (f"server s{number} 192.0.2.1:{number} ssl verify none" for number in range(1, count + 1))
            return [text for _, text in notices("\n".join(("http-reuse safe", "balance first", *servers)))]

        self.assertEqual([text.partition(":")[0] for text in told(3)], ["server 's1'", "server 's2'", "server 's3'"])
        (text,) = told(104)
        self.assertEqual(text.partition(":")[0], "server 's1'")
        self.assertTrue(text.endswith(" (the same is true of 's2', 's3' and 101 more)"), text)

    def test_numbers_are_read_as_far_as_haproxy_reads_them(self) -> None:
        """But what begins with none is refused, which HAProxy takes for 0."""
        self.assertEqual(server("weight 20.2% maxconn 9x rise 2.5").weight, 20)
        for words in ("weight x", "weight %", "maxconn .5", "pool-min-conn 5x", "inter 5x", "weight 300%"):
            self.assertEqual(len(faults(f" server a h:1 {words}")), 1, words)

    def test_a_sound_warm_server_gets_no_warning(self) -> None:
        """The configuration that this program is for."""
        self.assertEqual(notices(f"option httpchk\nserver a h:1 {MUTUAL} check pool-min-conn 4"), [])
        self.assertEqual(notices("http-reuse always\nserver a h:1 pool-min-conn 1"), [])
        (said,) = notices("server a h:1 pool-min-conn 2 pool-spread hdr(a)")
        self.assertIn("asks each connection once, with 'OPTIONS *'", str(said))
        self.assertEqual(notices("option httpchk GET /\nserver a h:1 check pool-min-conn 2 pool-spread hdr(a)"), [])
