"""Converters, types and casts: each against HAProxy's, on samples of every type."""

from __future__ import annotations

import contextlib
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import Report, Wrong
from reusedproxy.config.model.values import Place
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.config.rules.acls import read_criterion
from reusedproxy.config.rules.expressions import read_expression
from reusedproxy.config.rules.patterns import ranges
from reusedproxy.config.rules.samples import CASTS, CONVERTERS, FETCHES, MAPS
from reusedproxy.rules.facts import Binary, Method, Sample
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.rules.rule_set import RuleSet, run
from reusedproxy.rules.samples.casts import MAX, MIN, address_of, number_of, to_binary, to_int, to_text
from reusedproxy.rules.samples.compile import compiled
from tests.rulefakes import DEFAULTS, Seen
from tests.samplecases import BEFORE, CONVERSIONS, INPUTS, NEWER, REFUSED, asked

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#: The casts that HAProxy does by itself (src/sample.c, sample_casts). It refuses numbers of addresses since 3.0.
SAMPLE_CASTS = {
    "any": "any bool int ip str bin meth",
    "bool": "any bool int str bin",
    "int": "any bool int ip str bin",
    "ip": "any ip int str bin",
    "ipv4": "any ip int str bin",
    "ipv6": "any ip str bin",
    "str": "any bool int ip str bin meth",
    "bin": "any str bin meth",
    "meth": "any str bin meth",
}


def seen_after(rules: str) -> Seen:
    """The facts of a request that these rules have been run on."""
    facts = Seen(HEAD)
    run(request_rules(rules), facts)
    return facts


def request_rules(rules: str) -> Any:
    text = f"{DEFAULTS}frontend fe\n bind :80\n{rules} default_backend be\nbackend be\n server s1 h:1\n"
    return RuleSet(read_configuration([Source("t.cfg", text)], {}).frontends["fe"].rules).compiled().request


class ConverterTests(SynchronousTestCase):
    """The same cells go through a real HAProxy (`tests.integration.test_rules_beside_haproxy`)."""

    def test_every_cell(self) -> None:
        """What each converter makes of a sample of each type."""
        facts, different = seen_after(BEFORE), []
        for call, _, gives, expected in (*CONVERSIONS, *NEWER):
            for sample, value in zip(INPUTS, expected, strict=True):
                text = asked(call, gives, sample)
                try:
                    made = to_text(compiled(read_expression(text, "here"))(facts))
                except Wrong:
                    found: str | None = REFUSED
                else:
                    found = None if made is None else made.decode("latin-1")
                if found != value:
                    different.append((text, found, value))
        self.assertEqual(different, [], "ours | expected")

    def test_every_converter_is_in_the_table_with_its_types(self) -> None:
        """One that is not would be tested by nobody."""
        named = {call.partition("(")[0]: (takes, gives) for call, takes, gives, _ in (*CONVERSIONS, *NEWER)}
        # Maps, and variables that are set on the way, are looked at beside HAProxy only (`test_words_beside_haproxy`);
        # those of stick tables are in tests/test_rules_counters.py.
        # So is a key's file (`test_rules_encrypted_tokens`).
        elsewhere = {
            *MAPS,
            "jwt_decrypt_cert",
            "set-var",
            "unset-var",
            *(name for name in CONVERTERS if "table" in name),
        }
        signatures = {name: (each.takes, each.gives) for name, each in CONVERTERS.items() if name not in elsewhere}
        self.assertEqual(named, signatures)

    def test_the_casts_are_haproxys(self) -> None:
        """Which types may follow each other."""
        self.assertEqual(CASTS, {given: frozenset(to.split()) for given, to in SAMPLE_CASTS.items()})
        self.assertLessEqual({each.gives for each in (*FETCHES.values(), *CONVERTERS.values())}, set(CASTS))

    def test_a_comparison_in_constant_time_looks_at_every_byte(self) -> None:
        """A digest that begins with NUL equals no other, least of all an empty one."""
        facts = Seen(HEAD)
        for held, given_, same in (
            (Binary(b"\0abc"), "bin(00616263)", True),
            (Binary(b"\0abc"), "bin(00616264)", False),
            (Binary(b"\0abc"), "bin(00)", False),
            (Binary(b"\0abc"), "str()", False),
            (b"", "bin(00)", False),
            (b"abc", "bin(616263)", True),
        ):
            facts.variables["txn.held"] = held
            found = compiled(read_expression(f"{given_},secure_memcmp(txn.held)", "here"))(facts)
            self.assertIs(found, same, (held, given_))

    @given(st.binary(max_size=40))
    def test_binary_stays_binary(self, data: bytes) -> None:
        """Through encoders and decoders, whatever its bytes are."""
        facts = Seen(HEAD)
        facts.variables["txn.x"] = Binary(data)
        for calls in ("base64,b64dec", "ub64enc,ub64dec", "bytes(0)"):
            found = compiled(read_expression(f"var(txn.x),{calls}", "here"))(facts)
            self.assertEqual((type(found), found), (Binary, data), calls)
        same = compiled(read_expression("var(txn.x),secure_memcmp(txn.x)", "here"))(facts)
        self.assertIs(same, True)

    @given(st.binary(max_size=60))
    def test_no_text_breaks_a_converter(self, data: bytes) -> None:
        """Whatever a client sends, there is a result or none; `bytes` gives the type that it was given."""
        facts = Seen(HEAD)
        facts.variables["txn.x"] = data.replace(b"\0", b"")
        for call, takes, gives, _ in CONVERSIONS:
            if takes in ("str", "bin"):
                found = compiled(read_expression(f"var(txn.x),{call}", "here"))(facts)
                self.assertTrue(
                    found is None or gives != "bin" or isinstance(found, Binary) or call.startswith("bytes"), call
                )


class BoundTests(SynchronousTestCase):
    """No text grows beyond a buffer (`tune.bufsize`), as in HAProxy: variables outlive requests."""

    def test_no_converter_makes_more_than_a_buffer_holds(self) -> None:
        """Of what comes out again and again, as a variable of a session does; a new converter is tried, too."""
        facts = Seen(HEAD)
        facts.variables |= {"txn.bin": b"b" * 16000, "txn.str": b"s" * 16000, "txn.int": b"7" * 16000}
        calls = {call for call, takes, gives, _ in (*CONVERSIONS, *NEWER) if {takes, gives} <= {"str", "bin", "any"}}
        calls |= {"regsub(a,\\0\\0,g)", "regsub(a*,\\0\\0)", "be2hex(:,1)", "be2dec(:,1)", "le2dec(,1)", "url_enc"}
        for call in sorted(calls):
            convert = compiled(read_expression(f"var(txn.x),{call}", "here"))
            for sign in (b"a", b"\xff", b"\x00"):
                sample: Sample = Binary(sign * 3000)
                for _ in range(6):
                    facts.variables["txn.x"] = sample
                    with contextlib.suppress(Unevaluated):
                        sample = convert(facts)
                    if not isinstance(sample, bytes):
                        break
                    self.assertLessEqual(len(sample), 16384, call)

    def test_what_is_too_long_is_cut_or_is_none_as_in_haproxy(self) -> None:
        """What another program would read otherwise if it were cut is none."""
        facts = Seen(HEAD)
        facts.variables["txn.x"] = b"x" * 9001
        for call, size in (
            ("concat(-,txn.x)", 16383),
            ("concat(-,,-)", 9003),
            ("add_item(-,txn.x)", 16383),
            ("hex", 16383),
            ("base2", 16383),
            ("regsub(x+,\\0\\0)", 16383),
            ("be2hex(:,1)", 16382),
            ("be2dec(:,1)", 16383),
            ("base64", 12004),
            ("base64,base64", 16008),
            ("base64,base64,base64", None),
            ("hex,ub64enc", None),
            ("json", 9001),
            ("hex,json", 16383),
            ("hex,concat(a),json", 16383),
            ("hex,concat(a),bytes(1),regsub(7,/),json", 16383),
            ("hex,concat(a),regsub(7,/),json", None),
        ):
            found = compiled(read_expression(f"var(txn.x),{call}", "here"))(facts)
            self.assertEqual(found if found is None else len(found), size, call)  # type: ignore[arg-type]

    def test_a_code_of_a_byte_is_not_torn(self) -> None:
        """What is left can be decoded."""
        facts = Seen(HEAD)
        for size in range(3):
            facts.variables["txn.x"] = b"x" * size + b"/" * 6000
            found = to_text(compiled(read_expression("var(txn.x),url_enc", "here"))(facts))
            self.assertEqual(found, b"x" * size + b"%2F" * ((16383 - size) // 3))

    def test_a_variable_holds_what_a_buffer_holds(self) -> None:
        """Whichever way it is set."""
        facts = Seen(HEAD.replace(b"Host", b"K: " + b"k" * 9000 + b"\r\nHost"))
        for rule, size in (
            ("set-var-fmt(txn.x) %[var(txn.x)]%[req.hdr(k)]", 16383),
            ("set-var(txn.x) var(txn.x),concat(-,txn.k)", 16383),
            ("set-header X %[req.hdr(k),concat(,txn.x),set-var(txn.x)]", 16383),
            ("set-var(txn.x) unique-id", 16383),
            ("set-header X %[unique-id,set-var(txn.x)]", 16383),
        ):
            rules = request_rules(f"http-request set-var(txn.k) req.hdr(k)\n http-request {rule}\n")
            facts.variables = {"txn.x": b"-"}
            facts.unique_id = b"i" * 20000
            for _ in range(9):
                run(rules, facts)
            found = facts.variables["txn.x"]
            assert isinstance(found, bytes)
            self.assertEqual(len(found), size, rule)


class CastTests(SynchronousTestCase):
    """What a sample is in another type."""

    def test_numbers_stay_within_64_bits(self) -> None:
        """Also those of more digits than Python reads in linear time."""
        for text, number in (
            (b"12x", 12),
            (b"+5", 5),
            (b"-", 0),
            (b"x", 0),
            (b"000000000000000000000000000012", 12),
            (b"9" * 10000, MAX),
            (b"-" + b"9" * 10000, MIN),
            (b"9223372036854775808", MAX),
        ):
            self.assertEqual(number_of(text), number, text[:30])
        self.assertIsNone(to_int(b""))

    def test_times_wrap_at_64_bits(self) -> None:
        """As in HAProxy: nothing that a rule or a client says of a time breaks a request."""
        most = 2**63 - 1
        for text, value in (
            (f"date({most})", 86400 - 2**63 - 1),
            (f"date({-most},us)", 86400500000 - most),
            (f"int({most}),http_date({most})", b"Sun, 13 Jun 1141709097 06:26:06 GMT"),
            ("req.hdr(x),http_date(1)", b"Thu, 01 Jan 1970 00:00:00 GMT"),
        ):
            head = b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"9" * 5000)
            self.assertEqual(compiled(read_expression(text, "here"))(Seen(head)), value, text)

    def test_dates_of_http_are_read(self) -> None:
        """In each of the three forms of RFC 9110 (section 5.6.7)."""
        for text, value in (
            (b"Sun, 06 Nov 1994 08:49:37 GMT", 784111777),
            (b"Mon, 06 Nov 1994 08:49:37 GMT and more", 784111777),
            (b"Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
            (b"Sunday, 06-Nov-1994 08:49:37 GMT", 784111777),
            (b"Sunday, 06-Nov-60 08:49:37 GMT", 2866956577),
            (b"Sunday, 06-Nov-61 08:49:37 GMT", -257267423),
            (b"Sun Nov  6 08:49:37 1994", 784111777),
            (b"Sun Nov 16 08:49:37 1994", 784975777),
            (b"Thu, 31 Feb 2024 00:00:60 GMT", 1709337660),
            (b"sun, 06 Nov 1994 08:49:37 GMT", None),
            (b"Sun, 6 Nov 1994 08:49:37 GMT", None),
            (b"Sun, 06 Nov 1994 08:49:37 UTC", None),
            (b"Sun, 06 Nov 0000 08:49:37 GMT", None),
        ):
            head = b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % text
            self.assertEqual(compiled(read_expression("req.fhdr(x),date", "here"))(Seen(head)), value, text)

    def test_a_method_in_a_variable_is_no_number(self) -> None:
        """HAProxy casts it to texts only."""
        self.assertIsNone(to_int(Method(b"5")))
        self.assertEqual((to_text(Method(b"GET")), to_binary(Method(b"GET"))), (b"GET", b"GET"))
        self.assertIsInstance(seen_after(" http-request set-var(txn.m) method\n").variables["txn.m"], Method)

    def test_addresses(self) -> None:
        """Zeros do not make another address of one, or an access list would miss it."""
        for text, address in (
            (b"10.1.2.3", "10.1.2.3"),
            (b"010.001.2.3", "10.1.2.3"),
            (b"10.1.2.3:99", "10.1.2.3"),
            (b"10.1.2.3 x", "10.1.2.3"),
            (b"10.1.2.3.", None),
            (b" 10.1.2.3", None),
            (b"10.1.2", None),
            (b"10.1.2.256", None),
            (b"10.1.2.3.4", None),
            (b"2001:DB8::1", "2001:db8::1"),
            (b"fe80::1%lo", None),
            (b":" * 300_000 + b"x", None),  # known in one pass, or this takes minutes
            (b"0" * 300_000 + b"10.1.2.3x", "10.1.2.3"),
            (b"", None),
        ):
            found = address_of(text)
            self.assertEqual(None if found is None else str(found), address, text)

    def test_ipv6_as_text(self) -> None:
        """As inet_ntop(3) writes it."""
        for text, shown in (
            ("::ffff:10.1.2.3", b"::ffff:10.1.2.3"),
            ("::10.1.2.3", b"::10.1.2.3"),
            ("::1", b"::1"),
            ("::ffff:0:1", b"::ffff:0.0.0.1"),
            ("2001:db8:0:0:1::", b"2001:db8:0:0:1::"),
        ):
            self.assertEqual(to_text(address_of(text.encode())), shown)


class ArgumentTests(SynchronousTestCase):
    """How the text between parentheses is read (HAProxy's src/arg.c, make_arg_list)."""

    def fetched(self, text: str) -> object:
        return compiled(read_expression(text, "here"))(Seen(HEAD))

    def test_backslashes(self) -> None:
        r"""Those before \\, a blank, a quote, r, n and t say something; any other stands for itself."""
        for text, value in (
            (r"str(a\1\d\.b)", rb"a\1\d\.b"),
            (r"str(a\\b)", rb"a\b"),
            (r"str(a\ b\'\"c)", b"a b'\"c"),
            (r"str(\r\n\t)", b"\r\n\t"),
            (r"str('a\nb')", rb"a\nb"),
            (r'str("a\nb")', b"a\nb"),
            (r"str(a1b22),regsub(\d+,<\0>,g)", b"a<1>b<22>"),
            (r"str(a.b),regsub(\.,-)", b"a-b"),
            (r"str(k=v),regsub('(.)=(.)','\2=\1')", b"v=k"),
            (r"str(ab),regsub(b,\x2d\-)", b"a--"),
            ("str(a/b/c),field(2,/,-1)", b"b/c"),
            ("str(a/b/c),word(-2,/,-1)", b"a/b"),
        ):
            self.assertEqual(self.fetched(text), value, text)
        with self.assertRaises(Wrong):
            read_expression(r"str(a\,b)", "here")  # the comma parts, as in HAProxy

    def test_what_is_empty(self) -> None:
        """Empty parentheses hold an empty text where one must be; an empty number at the end is none, but that of
        `field` and `word`, which is 0."""
        for text, value in (
            ("str()", b""),
            ("str(a),ltrim()", b"a"),
            ("str(a b),field(1,' ',)", b"a b"),
            ("hdr_cnt()", 1),
        ):
            self.assertEqual(self.fetched(text), value, text)

    def test_what_is_refused(self) -> None:
        """As HAProxy refuses it."""
        for text, why in (
            ("str(a),regsub(,x)", "'regsub' needs a regular expression"),
            ("str(a),regsub(a,x\\\\)", "ends with a backslash that nothing follows"),
            ("str(a),field(0,b)", "'field' counts from 1, or from -1 at the end"),
            ("str(a),word(1,'')", "'word' needs the characters that part the text"),
            ("hdr()", "'hdr' needs the name of a header"),
            ("req.hdr(a,-11)", "looks no further than 10 values back"),
            ("str(a),url_enc(path)", "encodes for the query, not for 'path'"),
            ("date(0,h)", "the unit of 'date' is s, ms or us, not 'h'"),
            ("meth(A B)", "'A B' cannot be a method"),
            ("bin()", "'bin' takes pairs of hexadecimal digits"),
            ("ipv6(::1%lo)", "'::1%lo' is no IPv6 address"),
            ("src,ipmask(33)", "takes a number of bits up to 32, or a mask, not '33'"),
            ("src,ipmask(1.2.3)", "the mask '1.2.3' of 'ipmask' is no IPv4 address"),
            ("str(a),digest(shake256)", "unknown algorithm 'shake256'"),
            ("ssl_c_s_dn(CN,,rfc2253)", "takes a number in place 2, not ''"),
            ("var(psess.x)", "variables of the scope 'psess' are HAProxy's"),
            ("ipv6(::1),add(1)", "it takes int, not ipv6"),
            ("src,ipmask(²)", "takes a number of bits up to 32, or a mask, not '²'"),
        ):
            with self.assertRaises(Wrong, msg=text) as raised:
                read_expression(text, "here")
            self.assertIn(why, str(raised.exception), text)

    def test_numbers_that_64_bits_do_not_hold_are_refused(self) -> None:
        """When the file is read, and in a line that can be read."""
        for text in (
            *("int({})", "int(-{})", "hdr(a,{})", "date({})", "ssl_c_s_dn(CN,{})", "str(a),field(1,b,{})"),
            *("int(1),add({})", "int(1),http_date({})", "str(a),bytes(0,{})", "str(a),crc32({})"),
        ):
            for digits in (20, 5000):
                with self.assertRaises(Wrong, msg=text) as raised:
                    read_expression(text.format("9" * digits), "here")
                self.assertRegex(str(raised.exception), r"here: '\w+': '-?9{20,60}…?' is more than 64 bits hold\Z")
            read_expression(text.format("0" * 20 + "1"), "here")
        with self.assertRaisesRegex(Wrong, "takes a number of bits up to 32, or a mask, not '9{60}…'"):
            read_expression(f"src,ipmask({'9' * 5000})", "here")


class FetchTests(SynchronousTestCase):
    """What of requests is read as HAProxy reads it."""

    def fetched(self, text: str, *lines: bytes, target: bytes = b"/") -> bytes | None:
        head = b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (target, b"".join(line + b"\r\n" for line in lines))
        return to_text(compiled(read_expression(text, "here"))(Seen(head)))

    def test_cookies(self) -> None:
        """A comma parts them, too; quotes hold a value together; names with a dollar are none."""
        lines = (b'Cookie: a=1; $b=2; c = x y ; d; e=; q="x;y"; r=1,s=2', b"Cookie: a=3", b"Cookie: z=")
        for name, value in {"a": "3", "$b": None, "b": None, "c": "x y", "d": None, "e": "", "q": '"x;y"'}.items():
            self.assertEqual(self.fetched(f"req.cook({name})", *lines), None if value is None else value.encode(), name)
        self.assertEqual([self.fetched(f"req.cook({name})", *lines) for name in "rsz"], [b"1", b"2", None])
        self.assertEqual(self.fetched("req.cook_cnt", *lines), b"8")

    def test_addresses_in_headers(self) -> None:
        """With a port or without, and nothing beside them."""
        for value, address in (
            (b"10.1.2.3", b"10.1.2.3"),
            (b"10.1.2.3:99", b"10.1.2.3"),
            (b"10.1.2.3:70000", None),
            (b"10.1.2.3:8x", None),
            (b"10.1.2.3:", None),
            (b"010.1.2.3", b"10.1.2.3"),
            (b"[::1]", b"::1"),
            (b"[::1]:80", None),
            (b"[::1]x", None),
            (b"::ffff:10.1.2.3", b"::ffff:10.1.2.3"),
        ):
            self.assertEqual(self.fetched("req.hdr_ip(x)", b"X: " + value), address, value)

    def test_numbers_in_headers(self) -> None:
        """Without a plus, as in HAProxy; larger than 32 bits, which overflow there."""
        for value, number in (
            (b"42abc", b"42"),
            (b"-5", b"-5"),
            (b"+5", b"0"),
            (b"x", b"0"),
            (b"5000000000", b"5000000000"),
        ):
            self.assertEqual(self.fetched("req.hdr_val(x)", b"X: " + value), number, value)

    def test_parameters(self) -> None:
        """The delimiter is one character, and names can be compared without case."""
        for text, value in (
            ("url_param(x)", b"1"),
            ("url_param(X)", b"2"),
            ("url_param(X,?,i)", b"1"),
            ("url_param(p,;)", b"7?x=1"),
            ("query", b"x=1&X=2"),
            ("query(with_qm)", b"?x=1&X=2"),
        ):
            self.assertEqual(self.fetched(text, target=b"/a;p=7?x=1&X=2"), value, text)

    def test_no_name_is_shown_twice(self) -> None:
        """Only the first character parts the names of headers."""
        self.assertEqual(self.fetched("req.hdr_names(:;)", b"X: 1"), b"host:x")
        self.assertEqual(re.findall(rb"[^,]+", self.fetched("req.hdr_names", b"X: 1") or b""), [b"host", b"x"])


class PatternTests(SynchronousTestCase):
    """Patterns that HAProxy refuses, and one that it takes otherwise than it looks."""

    def test_numbers(self) -> None:
        """Ranges that hold nothing, or what no number can be."""
        for patterns, why in (
            (["10:1"], "the range '10:1' ends before it begins"),
            ([":"], "without a beginning and without an end"),
            (["9223372036854775808"], "is more than 64 bits hold"),
            (["1:" + "9" * 5000], f"here: '1:{'9' * 58}…' is more than 64 bits hold"),
            (["gt", "9" * 5000], f"here: '{'9' * 60}…' is more than 64 bits hold"),
            (
                ["-5"],
                "'-5' means all numbers up to 5 to HAProxy, whatever operator it has. For 'eq -5' write '-5:-5'",
            ),
            (["eq", "-5"], "'-5' means all numbers up to 5"),
            (["ge", "-60"], "For 'ge -60' write '-60:' without an operator; for those up to 60 ':60'"),
            (["lt", "-5"], "For 'lt -5' write ':-6' without an operator"),
            (["ne", "5"], "'ne' is no number"),
        ):
            with self.assertRaises(Wrong) as raised:
                ranges(patterns, "here")
            self.assertIn(why, str(raised.exception))
        self.assertEqual(ranges(["1-3", "5-", "eq", "7"], "here"), [(1, 3), (5, None), (7, 7)])
        self.assertEqual(ranges(["lt", "3", "5:6", ":9"], "here"), [(None, 2), (5, 6), (None, 9)])

    def test_a_method_in_a_name_does_not_count_behind_converters(self) -> None:
        """As in HAProxy, which says so since 3.x."""
        report = Report(("t.cfg",))
        said = read_criterion(["hdr_beg(host),lower", "app"], Place("t.cfg", 1), "acl 'a'", report)
        self.assertEqual(said.method, "str")
        (notice,) = report.sorted_notices()
        self.assertIn("behind converters '_beg' does not count", notice.text)
        self.assertIn("unless '-m beg' is written", notice.text)
