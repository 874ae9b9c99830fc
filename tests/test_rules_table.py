"""Fetches, converters, methods of matching and conditions: each against HAProxy's manual, on one request."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import Report
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.acls import read_condition, read_criterion, with_acls
from reusedproxy.config.rules.expressions import read_expression
from reusedproxy.config.rules.formats import read_format
from reusedproxy.config.rules.samples import CONVERTERS, FETCHES, MAPS, REQUEST, RESPONSE, SAME
from reusedproxy.rules.facts import Binary, Method, Sample
from reusedproxy.rules.matching import condition, criterion
from reusedproxy.rules.samples.body_fetches import BODY_FETCHES
from reusedproxy.rules.samples.byte_fetches import BYTE_FETCHES
from reusedproxy.rules.samples.certificates import Certificate, one_line, rfc2253
from reusedproxy.rules.samples.compile import compiled, compiled_all, compiled_text
from reusedproxy.rules.samples.course_fetches import COURSE_FETCHES
from reusedproxy.rules.samples.formats import text_of, text_of_body
from reusedproxy.rules.samples.hello_fetches import HELLO_FETCHES
from reusedproxy.rules.samples.process_fetches import PROCESS_FETCHES
from tests.rulecases import CRITERIA, EXPRESSIONS, LINE_CRITERIA, LINE_DIFFERENCES, LINE_EXPRESSIONS
from tests.rulecases import REQUEST as ASKED
from tests.rulefakes import Seen
from tests.samplecases import CONVERSIONS, NEWER
from tests.tlsfakes import Side, certificate

PLACE = Place("t.cfg", 1)
#: The identifiers of two extensions, and policies.
SAN, POLICIES, OIDS = b"\6\3\x55\x1d\x11", b"\6\3\x55\x1d\x20", ("0.4.0.1862.1.4", "2.23.140.1.2.1")
HEAD = ASKED + b"X-Case: 1\r\n\r\n"
ANSWER = (
    b"HTTP/1.1 201 Made\r\nContent-Length: 2\r\nSet-Cookie: s=1; path=/\r\nSet-Cookie: t=2\r\nX-List: a, b\r\n"
    b"X-Ip: 10.0.0.1\r\n\r\n"
)
#: What is asked of an answer, by its rules.
ANSWERED = (
    ("status", "201"),
    ("res.ver", "1.1"),
    ("hdr(x-list)", "b"),
    ("cookie(s)", "1"),
    ("res.hdr(x-list,1)", "a"),
    ("res.fhdr(x-list)", "a, b"),
    ("shdr_cnt(x-list)", "2"),
    ("res.fhdr_cnt(x-list)", "1"),
    ("res.hdr_val(content-length)", "2"),
    ("res.hdr_ip(x-ip)", "10.0.0.1"),
    ("res.hdr_names", "content-length,set-cookie,set-cookie,x-list,x-ip"),
    ("res.hdrs", ANSWER.partition(b"\r\n")[2].decode().lower()),
    ("scook(t)", "2"),
    ("res.cook_cnt(s)", "1"),
    ("res.cook_val(t)", "2"),
    ("method", "GET"),
    ("req.ver", "1.1"),
    ("http_first_req", "1"),
    ("req.proto_http", "1"),
    ("path", ""),
    ("srv_name", "s1"),
    ("ssl_bc", "1"),
    ("ssl_bc_protocol", "TLSv1.2"),
    ("ssl_bc_cipher", "TLS_AES_256_GCM_SHA384"),
    ("ssl_bc_is_resumed", "1"),
    ("ssl_bc_alpn", "http/1.1"),
    ("ssl_bc_alg_keysize", "256"),
    ("ssl_bc_use_keysize", "256"),
    ("ssl_s_s_dn(cn)", "server"),
    ("ssl_s_version", "3"),
    ("ssl_bc_curve", "X25519"),
    ("ssl_bc_session_id,hex", "0102"),
    ("ssl_bc_unique_id", "f"),
    ("ssl_bc_session_key", "m"),
    ("ssl_bc_client_random", "c"),
    ("ssl_bc_server_random", "s"),
    ("ssl_bc_npn", ""),
    ("ssl_bc_sni", "a.test"),
)
#: What is told of the client's TLS.
SHOWN = (
    ("ssl_fc", "1"),
    ("ssl_fc_protocol", "TLSv1.3"),
    ("ssl_fc_cipher", "TLS_AES_256_GCM_SHA384"),
    ("ssl_fc_sni", "a.test"),
    ("ssl_fc_has_sni", "1"),
    ("ssl_fc_has_crt", "1"),
    ("ssl_fc_is_resumed", "0"),
    ("ssl_fc_alpn", "http/1.1"),
    ("ssl_fc_alg_keysize", "256"),
    ("ssl_fc_use_keysize", "256"),
    ("ssl_c_used", "1"),
    ("ssl_c_verify", "10"),
    ("ssl_c_err", "10"),
    ("ssl_c_ca_err", "20"),
    ("ssl_c_ca_err_depth", "1"),
    ("ssl_c_s_dn", "/CN=one/CN=two"),
    ("ssl_c_s_dn(cn)", "one"),
    ("ssl_c_s_dn(CN,2)", "two"),
    ("ssl_c_s_dn(CN,-1)", "two"),
    ("ssl_c_s_dn(CN,3)", ""),
    ("ssl_c_s_dn(CN,0)", ""),
    ("ssl_c_s_dn(O)", ""),
    ("ssl_c_s_dn(,0,rfc2253)", "CN=two,CN=one"),
    ("ssl_c_i_dn", ""),
    ("ssl_c_serial,hex", "07"),
    ("ssl_c_notbefore", "200102030405Z"),
    ("ssl_c_notafter", "490102030405Z"),
    ("ssl_c_version", "3"),
    ("ssl_c_sig_alg", "ecdsa-with-SHA256"),
    ("ssl_c_key_alg", "id-ecPublicKey"),
    ("ssl_c_sha1,hex,length", "40"),
    ("ssl_c_der,base64,b64dec,length", "0"),
    ("ssl_c_chain_der", "above"),
    ("ssl_fc_curve", "X25519"),
    ("ssl_fc_session_id,hex", "0102"),
    ("ssl_fc_unique_id", "f"),
    ("ssl_fc_session_key", "m"),
    ("ssl_fc_client_random", "c"),
    ("ssl_fc_server_random", "s"),
    ("ssl_fc_npn", ""),
    ("ssl_fc_has_early", "0"),
    ("ssl_fc_early_rcvd", "0"),
    ("ssl_fc_err", "0"),
    ("ssl_fc_err_str", ""),
    ("ssl_f_s_dn", "/CN=ours"),
    ("ssl_f_s_dn(CN)", "ours"),
    ("ssl_f_serial,hex", "07"),
    ("ssl_f_version", "3"),
    ("ssl_c_r_dn", "/CN=root"),
    ("ssl_c_r_dn(,0,rfc2253)", "CN=root"),
    ("ssl_fc_crtname", "/tls/a.pem"),
)


class TableTests(SynchronousTestCase):
    """The same tables go through a real HAProxy (`tests.integration.test_rules_beside_haproxy`)."""

    def test_samples_and_converters(self) -> None:
        """As text."""
        for text, value in EXPRESSIONS:
            found = compiled_text(read_expression(text, "here"))(Seen(HEAD))
            self.assertEqual((found or b"").decode(), value, text)

    def test_criteria(self) -> None:
        """With every method."""
        report = Report(("t.cfg",))
        for text, true in CRITERIA:
            said = read_criterion(text.split(), PLACE, "here", report)
            self.assertIs(criterion(said)(Seen(HEAD)), true, text)

    def test_a_variable_is_true_as_the_number_that_it_is(self) -> None:
        """As in HAProxy 2.6 and 2.8: of addresses those of IPv4, but for 0.0.0.0."""
        said = criterion(read_criterion(["var(txn.x)", "-m", "bool"], PLACE, "here", Report(("t.cfg",))))
        truths: tuple[tuple[Sample, bool], ...] = (
            (ip_address("192.0.2.1"), True), (ip_address("0.0.0.0"), False), (ip_address("fe80::1"), False),
            (b"1", True), (b"0", False), (b"abc", False), (Binary(b"1"), False), (Method(b"GET"), False), (7, True),
        )  # fmt: skip
        for sample, true in truths:
            facts = Seen(HEAD)
            facts.set_variable("txn.x", sample)
            self.assertIs(said(facts), true, sample)

    def test_single_lines(self) -> None:
        """Lists and cookies with quotes and empty members, words at the ends, and values that cannot be converted."""
        head = "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n"
        for line, text, value in (*LINE_EXPRESSIONS, *(each[:3] for each in LINE_DIFFERENCES)):
            found = compiled_text(read_expression(text, "here"))(Seen(head.format(line).encode()))
            self.assertEqual((found or b"").decode(), value, (line, text))
        report = Report(("t.cfg",))
        for line, text, true in LINE_CRITERIA:
            said = criterion(read_criterion(text.split(), PLACE, "here", report))
            self.assertIs(said(Seen(head.format(line).encode())), true, (line, text))

    def test_answers(self) -> None:
        """`hdr` is the answer's; what is the request's is not at hand."""
        tls = Side(certificate([("CN", "server")]), "TLSv1.2", resumed=True)
        facts = Seen(HEAD, ANSWER, server_tls=tls)
        facts.server_name = "s1"
        for text, value in ANSWERED:
            found = compiled_text(read_expression(text, "here"), RESPONSE)(facts)
            self.assertEqual((found or b"").decode(), value, text)

    def test_build_certificates(self) -> None:
        """What TLS has shown of the client."""
        shown = Side(
            certificate([("CN", "one"), ("CN", "two")]),
            verify_result=10,
            certificate_error=10,
            authority_error=(20, 1),
            above=(b"ab", b"ove"),
            own_certificate=certificate([("CN", "ours")]),
            root=certificate([("CN", "root")]),
        )
        for text, value in SHOWN:
            found = compiled_text(read_expression(text, "here"))(Seen(HEAD, tls=shown))
            if value != "0" or "length" not in text:
                self.assertEqual((found or b"").decode(), value, text)
            else:
                self.assertIsNotNone(found, text)

    def test_a_chain_without_anything_above_the_certificate_is_none(self) -> None:
        """Of a client; a server's begins with its own certificate."""
        side = Side(certificate([("CN", "x")]))
        facts = Seen(HEAD, ANSWER, tls=side, server_tls=side)
        for text, where, value in (
            ("ssl_c_chain_der", REQUEST, None),
            ("ssl_s_chain_der", RESPONSE, side.certificate),
        ):
            self.assertEqual(compiled(read_expression(text, "here"), where)(facts), value, text)

    def test_other_names_and_policies(self) -> None:
        """As OpenSSL's GENERAL_NAME_print(3) writes them, which HAProxy calls."""
        names = x509.SubjectAlternativeName(
            [
                x509.DNSName("a.test"),
                x509.RFC822Name("me@a.test"),
                x509.UniformResourceIdentifier("spiffe://a/b"),
                x509.IPAddress(ip_address("192.0.2.1")),
                x509.IPAddress(ip_address("2001:db8::a")),
                x509.RegisteredID(x509.ObjectIdentifier("1.2.3.4")),
                x509.DirectoryName(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x,y")])),
                x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\3u@a"),
                x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x0c\1x"),
            ]
        )
        policies = x509.CertificatePolicies(
            [x509.PolicyInformation(x509.ObjectIdentifier(each), None) for each in OIDS]
        )
        der = certificate([("CN", "x")], {SAN: names.public_bytes(), POLICIES: policies.public_bytes()})
        written = (
            "DNS:a.test, email:me@a.test, URI:spiffe://a/b, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:A,"
            ' Registered ID:1.2.3.4, DirName:CN = "x,y", othername:UPN:u@a, othername:<unsupported>'
        )
        for text, value in (
            ("ssl_c_san", written.encode()),
            ("ssl_c_policies", ", ".join(OIDS).encode()),
            (f"ssl_c_policies({OIDS[1]})", OIDS[1].encode()),
            ("ssl_c_policies(1.2)", None),
        ):
            self.assertEqual(compiled(read_expression(text, "here"))(Seen(HEAD, tls=Side(der))), value, text)
        for plain in (
            certificate([]),
            certificate([], {}),
            certificate([], {SAN: b"", POLICIES: b"\x30\0"}),
            b"\x30\0",
        ):
            for text in ("ssl_c_san", "ssl_c_policies"):
                self.assertIsNone(compiled(read_expression(text, "here"))(Seen(HEAD, tls=Side(plain))), plain)
        control = certificate([], {SAN: b"\x30\x05\x82\3a\0b"})
        self.assertEqual(compiled(read_expression("ssl_c_san", "here"))(Seen(HEAD, tls=Side(control))), b"DNS:a.b")

    def test_what_is_not_there_is_not_fetched(self) -> None:
        """Of a client without a certificate; of a certificate that is none."""
        for side in (Side(None), Side(b"\x30\x05nope"), Side(b"")):
            for text, _ in SHOWN[15:30]:
                found = compiled_text(read_expression(text.removesuffix(",length"), "here"))(Seen(HEAD, tls=side))
                if text != "ssl_c_sha1,hex,length":
                    self.assertIsNone(found, (side.certificate, text))

    def test_a_session_without_an_id(self) -> None:
        """It has no value, as a handshake without secrets has none."""
        nameless = bytes.fromhex("300e020101020203030402130204000400")
        side = Side(session=nameless, master_key=None, first_finished=None, group="")
        for name in ("session_id", "session_key", "unique_id", "curve"):
            self.assertIsNone(compiled(read_expression(f"ssl_fc_{name}", "here"))(Seen(HEAD, tls=side)), name)
        none = compiled(read_expression("ssl_fc_session_id", "here"))(Seen(HEAD, tls=Side(session=None)))
        self.assertIsNone(none)

    def test_every_fetch_and_converter_is_in_a_table(self) -> None:
        """One that is not would be tested by nobody."""
        tables = [text for table in (EXPRESSIONS, CRITERIA, ANSWERED, SHOWN) for text, _ in table]
        asked = {
            SAME.get(name, name)
            for text in tables
            for name in re.findall(r"[a-zA-Z0-9_.+]+", text)
            if name in FETCHES | SAME
        }
        asked |= {"hdr_" + name for name in ("cnt", "val", "ip") if any(f"hdr_{name}(" in text for text in tables)}
        certificates = {name for name in FETCHES if name.startswith(("ssl_s_", "ssl_c_", "ssl_f_"))}
        # In tests/test_rules_counters.py.
        counted = {name for name in FETCHES if re.match(r"sc[0-2]?_|src_(?!port)|table_", name)}
        counted |= {name for name in CONVERTERS if name.startswith(("table_", "in_table"))}
        elsewhere = {
            *(f"capture.{name}" for name in ("req.hdr", "req.method", "req.uri", "req.ver", "res.hdr", "res.ver")),
            *("date_us", "fc_err_name", "fc_pp_tlv", "fc_rcvd_proxy", "fc_pp_authority", "fc_pp_unique_id"),
            *("fc_err", "fc_err_str", "hostname", "pid", "ssl_fc_err", "txn.hedged", "txn.status", "unique-id"),
            *counted,
            # In tests/test_rules_course_fetches.py.
            *COURSE_FETCHES,
            *("bc_http_major", "http_auth_bearer", "req.cook_names", "res.cook_names", "url_ip", "url_port"),
            "date",
            "http_auth",
            "http_auth_group",
            "nbsrv",
            "var",
            "so_name",
            "be_name",
            "dst_port",
            "fc_src",
            "fc_dst",
            "fc_src_port",
            "fc_dst_port",
            *BYTE_FETCHES,
            *BODY_FETCHES,
            *HELLO_FETCHES,
            *PROCESS_FETCHES,
            "payload",
            "payload_lv",
        }
        rest = set(FETCHES) - asked - certificates - elsewhere
        self.assertEqual(rest, {"req.cook_val", "req.hdrs", "req.hdrs_bin", "res.hdrs_bin"})
        converted = {name for text in tables for name in re.findall(r",([a-z0-9_]+)", text)}
        converted |= {call.partition("(")[0] for call, *_ in (*CONVERSIONS, *NEWER)}
        # These want variables, or files.
        self.assertEqual(set(CONVERTERS) - converted - counted, {"jwt_decrypt_cert", "set-var", "unset-var", *MAPS})

    def test_fields_in_binary(self) -> None:
        """Each text behind its length, of which HAProxy has an encoding of its own; two empty ones are the last."""
        for size, length in ((0, "00"), (239, "ef"), (240, "f000"), (300, "fc03"), (2287, "ff7f"), (2288, "f08000")):
            value = b"v" * size
            head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + value + b"\r\n\r\n"
            expected = b"\x04host\x01a\x06x-long" + bytes.fromhex(length) + value + b"\0\0"
            self.assertEqual(compiled(read_expression("req.hdrs_bin", "here"))(Seen(head)), expected, size)
        facts = Seen(HEAD, b"HTTP/1.1 200 OK\r\nX: 1\r\n\r\n")
        self.assertEqual(compiled(read_expression("res.hdrs_bin", "here"), RESPONSE)(facts), b"\x01x\x011\0\0")

    def test_what_is_captured(self) -> None:
        """Up to the slot's length, for the log and for rules; a slot that is not there takes nothing."""
        facts = Seen(HEAD)
        for text, value in (
            ("capture.req.hdr(0)", None),
            ("str(abcdef),capture-req(0)", b"abcdef"),
            ("capture.req.hdr(0)", b"abcd"),
            ("str(xyz),capture-req(2)", None),
            ("capture.req.hdr(2)", None),
            ("capture.req.hdr(-1)", None),
            ("capture.req.hdr(-5)", None),
            ("str(uvwxyz),capture-res(0),length", b"6"),
            ("capture.res.hdr(0)", b"uvwx"),
            ("capture.req.method", b"GET"),
            ("capture.req.uri", b"/a/b.css?x=1&y=two%20words&x=3;z=+4&e="),
            ("capture.req.ver", b"HTTP/1.1"),
            ("unique-id", b"id"),
            ("txn.status", b"200"),
            ("fc_err", b"0"),
            ("fc_err_name", b""),
            ("ssl_fc_err", None),
        ):
            self.assertEqual(compiled_text(read_expression(text, "here"))(facts), value, text)

    def test_what_another_proxy_has_announced(self) -> None:
        """The client's own connection has announced nothing."""
        facts = Seen(HEAD)
        tables: tuple[tuple[Mapping[int, Sequence[bytes]] | None, Sequence[int | bytes | None]], ...] = (
            (None, (b"0", None, None)),
            ({}, (b"1", None, None)),
            ({2: [b"x", b"a"], 5: [b"b"]}, b"1ab"),
        )
        for announced, values in tables:
            facts.announced = announced
            asked = ("fc_rcvd_proxy", "fc_pp_authority", "fc_pp_unique_id")
            found = [compiled_text(read_expression(text, "here"))(facts) for text in asked]
            self.assertEqual(found, [bytes([each]) if isinstance(each, int) else each for each in values])

    def test_samples_are_written_on_their_way(self) -> None:
        """As HAProxy writes them, and passed on."""
        facts = Seen(HEAD)
        for text, value, line in (
            ("src,debug(track-sc)", b"127.0.0.1", ("buf0", "[debug] track-sc: type=ipv4 <127.0.0.1>")),
            ("str(a),debug,upper", b"A", ("buf0", "[debug] : type=str <a>")),
            ("bin(610a62),debug(b,stdout)", b"a\nb", ("stdout", "[debug] b: type=bin <a.b>")),
            ("str(%c3%a9),url_dec,debug(,stderr),length", b"2", ("stderr", "[debug] : type=str <..>")),
            ("int(3),debug", b"3", ("buf0", "[debug] : type=sint <3>")),
            ("always_true,debug", b"1", ("buf0", "[debug] : type=bool <1>")),
            ("ipv6(::1),debug", b"::1", ("buf0", "[debug] : type=ipv6 <::1>")),
        ):
            self.assertEqual(compiled_text(read_expression(text, "here"))(facts), value, text)
            self.assertEqual(facts.told[-1], line)
        compiled_text(read_expression("req.hdr(none),debug", "here"))(facts)
        self.assertEqual(len(facts.told), 7)

    def test_extensions_that_another_proxy_has_announced(self) -> None:
        """By number or name; those about TLS are within one."""
        facts = Seen(HEAD)
        inner = b"\x21\0\7TLSv1.3" + b"\x22\0\2me"
        about_tls = [b"\1\0\0\0\0" + inner, b"\1\0\0\0\0\x22\0\3you"]
        facts.announced = {2: [b"a", b"b"], 5: [b""], 0x20: about_tls, 0x30: [b"ns"]}
        facts.announced = {**facts.announced, 0xE0: [b"own"], 0xE1: [b"x" * 1025]}
        for name, value in (
            *(("AUTHORITY", b"a"), ("0x02", b"a"), ("unique_id", b""), ("NETNS", b"ns"), ("224", b"own")),
            *(("SSL_VERSION", b"TLSv1.3"), ("SSL_CN", b"me"), ("SSL_CIPHER", None), ("ALPN", None), ("225", None)),
        ):
            self.assertEqual(compiled(read_expression(f"fc_pp_tlv({name})", "here"))(facts), value, name)
        for name, values in (("AUTHORITY", [b"a", b"b"]), ("SSL_CN", [b"me", b"you"]), ("ALPN", []), ("225", [])):
            every = compiled_all(read_expression(f"fc_pp_tlv({name})", "here"))
            assert every is not None
            self.assertEqual([*every(facts)], values, name)
        self.assertEqual(compiled(read_expression("fc_pp_authority", "here"))(facts), b"b")
        for cut in range(len(inner) - 1):
            facts.announced = {0x20: [b"\1\0\0\0\0" + inner[:cut]]}
            self.assertIsNone(compiled(read_expression("fc_pp_tlv(SSL_CN)", "here"))(facts), cut)
        facts.announced = None
        self.assertIsNone(compiled(read_expression("fc_pp_tlv(2)", "here"))(facts))

    def test_a_unix_socket_has_no_port(self) -> None:
        facts = Seen(HEAD)
        facts.source = facts.destination = facts.connection_source = facts.connection_destination = ("unix", 0)
        for name in ("src_port", "dst_port", "fc_src_port", "fc_dst_port"):
            self.assertIsNone(compiled(read_expression(name, "here"))(facts), name)

    def test_the_rest(self) -> None:
        """What cannot be compared with another program's so simply."""
        facts = Seen(HEAD)
        facts.variables = {
            "txn.s": b"abc",
            "txn.n": 3,
            "txn.b": True,
            "txn.a": ip_address("10.0.0.1"),
            "txn.x": Binary(b"\1\2"),
        }
        for text, value in (
            ("date", b"86400"),
            ("date(-86400000,ms)", b"500"),
            ("date,http_date", b"Fri, 02 Jan 1970 00:00:00 GMT"),
            ("date_us", b"500000"),
            ("so_name", b"front"),
            ("be_name", None),
            ("dst_port", b"80"),
            ("fc_src_port", b"4711"),
            ("src_port", b"4711"),
            ("fc_dst", b"127.0.0.1"),
            ("req.cook_val(a)", b"3"),
            ("var(txn.s)", b"abc"),
            ("var(txn.b)", b"1"),
            ("var(txn.a),ipmask(8)", b"10.0.0.0"),
            ("var(txn.x),hex", b"0102"),
            ("var(txn.none,x)", b"x"),
            ("int(2),add(txn.n)", b"5"),
            ("int(2),add(txn.s)", b"2"),  # a text without a number is 0
            ("int(2),add(txn.none)", None),
            ("str(abd),strcmp(txn.s)", b"1"),
            ("str(abc),strcmp(txn.s)", b"0"),
            ("str(abc),secure_memcmp(txn.s)", b"1"),
            ("str(abc),strcmp(txn.n)", b"46"),
            ("str(abc),strcmp(txn.none)", None),
            ("str(<),concat(,txn.n,>)", b"<3>"),
            ("str(abcdef),bytes(txn.n)", b"def"),
        ):
            self.assertEqual(compiled_text(read_expression(text, "here"))(facts), value, text)
        self.assertTrue(
            (compiled_text(read_expression("req.hdrs", "here"))(facts) or b"").endswith(b"x-case: 1\r\n\r\n")
        )


class ConditionTests(SynchronousTestCase):
    """Tests together."""

    def is_true(self, text: str, *acls: str) -> bool:
        report = Report(("t.cfg",))
        known: dict[str, list[object]] = {}
        for line in acls:
            name, *words = line.split()
            known.setdefault(name, []).append(read_criterion(words, PLACE, "here", report))
        said = read_condition(text.split(), known, PLACE, "here", report)  # type: ignore[arg-type]
        assert said is not None
        return condition(with_acls(said, known))(Seen(HEAD))  # type: ignore[arg-type]

    def test_the_table(self) -> None:
        """Manual, section 7.2."""
        acls = ("yes always_true", "no always_false", "either path /other", "either path_beg /a")
        for text, true in (
            ("if yes", True),
            ("if no", False),
            ("unless no", True),
            ("unless yes", False),
            ("if !no", True),
            ("if ! no", True),
            ("if !!no", False),
            ("if yes no", False),
            ("if yes or no", True),
            ("if no || yes yes", True),
            ("if no OR yes", True),
            ("if no Or no yes", False),
            ("if no yes || no", False),
            ("unless yes or no", False),
            ("unless no yes", True),
            ("if either", True),
            ("if !either", False),
            ("if { path_beg /a }", True),
            ("if !{ path_beg /a }", False),
            ("if yes { path_beg /a } !{ src 10.0.0.0/8 }", True),
            ("if { path_beg /x } or { hdr(host) -m found } !no", True),
            ("if TRUE", True),
            ("if FALSE", False),
            ("if METH_GET HTTP_1.1 HTTP HTTP_URL_SLASH LOCALHOST", True),
            ("if METH_POST || HTTP_1.0 || HTTP_URL_ABS || HTTP_URL_STAR || HTTP_CONTENT || HTTP_2.0", False),
        ):
            self.assertIs(self.is_true(text, *acls), true, text)


class FormatTests(SynchronousTestCase):
    """Log-format strings."""

    def test_the_table(self) -> None:
        """Texts, holes, aliases and flags."""
        for text, value in (
            ("plain", b"plain"),
            ("100%%", b"100%"),
            ("%[path]", b"/a/b.css"),
            ("<%[path]|%[src]>", b"</a/b.css|127.0.0.1>"),
            ("%ci:%cp %fi:%fp %f %ft", b"127.0.0.1:4711 127.0.0.1:80 main main"),
            ("%b %s %T", b"main <NOSRV> 02/Jan/1970:00:00:00 +0000"),
            ('%{+Q}HM %{+Q}b "%{+M}sslv"', b'"GET" "main" "-"'),
            ("%{+Q,+M}o%sslv %HM%{-Q}o %HM %{-M}sslv", b'"" "GET" GET '),
            ("%HM %HP %HQ %HV", b"GET /a/b.css ?x=1&y=two%20words&x=3;z=+4&e= HTTP/1.1"),
            ("%{+Q}[path] %{+Q}[req.hdr(none)]", b'"/a/b.css" ""'),
            ("%{+M}[path] %{+M}[req.hdr(none)]", b"/a/b.css -"),
            ("%{+Q,+E}[req.hdr(x-quoted,1)]", b'"\\"a, b\\""'),
            ("%{+E}o%[req.hdr(x-quoted,1)]", b'\\"a, b\\"'),
            ("%[req.hdr(none)]", b""),
            ("%[str(a]b)]", b"a]b"),
            ("%[str(a%0d%0ab),url_dec]", b"a%0D%0Ab"),
            ("a\r\nb\x00\tc", b"a%0D%0Ab%00\tc"),
        ):
            self.assertEqual(text_of(read_format(text, "here"))(Seen(HEAD)), value, text)

    def test_the_first_line_is_the_clients_own(self) -> None:
        """Whatever rules have made of the request, as HAProxy keeps it for its log;
        a quote and what is no ASCII are escaped."""
        for line, value in (
            (b"GET /a?x HTTP/1.1", "GET|/a?x|/a|/a|?x|HTTP/1.1|GET /a?x HTTP/1.1"),
            (b"GET /a? HTTP/1.0", "GET|/a?|/a|/a|?|HTTP/1.0|GET /a? HTTP/1.0"),
            (b"GET http://h/a?b HTTP/1.1", "GET|http://h/a?b|http://h/a|/a|?b|HTTP/1.1|GET http://h/a?b HTTP/1.1"),
            (b"OPTIONS * HTTP/1.1", "OPTIONS|*|*|||HTTP/1.1|OPTIONS * HTTP/1.1"),
            (b'GET /"#\xff HTTP/1.1', "GET|/#22#23#FF|/#22#23#FF|/#22#23#FF||HTTP/1.1|GET /#22#23#FF HTTP/1.1"),
        ):
            facts = Seen(HEAD)
            facts.line = line
            found = text_of(read_format("%HM|%HU|%HP|%HPO|%HQ|%HV|%r", "here"))(facts)
            self.assertEqual(found.decode(), value)

    def test_in_a_body_the_files_own_text_stays_as_it_is(self) -> None:
        """What a sample holds does not, as in HAProxy 2.x; and nothing does in a header."""
        made = read_format("a\r\n\tb\x01|%[str(c%0ad),url_dec]", "here")
        self.assertEqual(text_of_body(made)(Seen(HEAD)), b"a\r\n\tb\x01|c%0Ad")
        self.assertEqual(text_of(made)(Seen(HEAD)), b"a%0D%0A\tb%01|c%0Ad")


class CertificateTests(SynchronousTestCase):
    """Names as OpenSSL and HAProxy write them."""

    def test_rfc2253_escapes(self) -> None:
        """As HAProxy 2.6 with OpenSSL 3 wrote these."""
        for name, line, escaped in (
            ("Zoë €", "/CN=Zoë €", r"CN=Zo\C3\AB \E2\82\AC"),
            ("#x /CN=admin ", "/CN=#x /CN=admin ", r"CN=\#x /CN=admin\ "),
            (" lead", "/CN= lead", r"CN=\ lead"),
            ('a+b="c"<>;,\\', '/CN=a+b="c"<>;,\\', r"CN=a\+b=\"c\"\<\>\;\,\\"),
            ("a\r\n\x00\x7f", "/CN=a\r\n\x00\x7f", r"CN=a\0D\0A\00\7F"),
        ):
            subject = Certificate(certificate([("CN", name)])).subject()
            self.assertEqual((one_line(subject).decode(), rfc2253(subject).decode()), (line, escaped))
