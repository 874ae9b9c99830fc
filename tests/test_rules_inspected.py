"""Conditions over bytes that are still coming: true, false, or not known yet, as HAProxy combines them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import Report
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.acls import Acls, read_condition, with_acls
from reusedproxy.config.rules.expressions import read_expression
from reusedproxy.config.rules.samples import CLIENT_BYTES, SERVER_BYTES
from reusedproxy.rules.inspected import FALSE, TRUE, UNKNOWN, outlook
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.rules.samples.compile import compiled_text
from reusedproxy.rules.waiting import Incomplete
from reusedproxy.wire.client_hello import read_client_hello
from tests.test_wire_client_hello import HELLO, hello_with

PLACE = Place("t.cfg", 1)


def facts(data: bytes, *, final: bool = False, said: bytes = b"") -> Any:
    """Of a client that has sent this."""
    inspected = SimpleNamespace(
        request_bytes=data, response_bytes=said, final=final, waited=False, changes=False, most=16384
    )
    inspected.client_hello = lambda: read_client_hello(data)
    return SimpleNamespace(inspected=inspected, source=("192.0.2.1", 1), wall=lambda: 1e9, head=None, longest=16383)


def look(condition: str, data: bytes, *, final: bool = False) -> int:
    """What is known of it."""
    acls: Acls = {}
    read = read_condition(condition.split(), acls, PLACE, "here", Report(("t.cfg",)))
    assert read is not None
    return outlook(with_acls(read, acls), CLIENT_BYTES)(facts(data, final=final))


class OutlookTests(SynchronousTestCase):
    """Each condition with what has come."""

    def test_what_is_known(self) -> None:
        """And when nothing more comes."""
        table = [
            ("if { req.len gt 3 }", b"abc", UNKNOWN, FALSE),
            ("if { req.len gt 3 }", b"abcd", TRUE, TRUE),
            ("if { req.len lt 3 }", b"abcd", UNKNOWN, FALSE),
            ("unless { req.len gt 3 }", b"abc", UNKNOWN, TRUE),
            ("unless { req.len gt 3 }", b"abcd", FALSE, FALSE),
            ("if !{ req.len gt 3 }", b"abc", UNKNOWN, TRUE),
            ("if { req.len gt 3 } { src 10.0.0.1 }", b"", UNKNOWN, FALSE),
            ("if WAIT_END { src 10.0.0.1 }", b"", UNKNOWN, FALSE),
            ("if { src 10.0.0.1 } { req.len gt 3 }", b"", FALSE, FALSE),
            ("if { req.len gt 3 } or { src 192.0.2.1 }", b"", TRUE, TRUE),
            ("if { req.len gt 3 } or { src 10.0.0.1 }", b"", UNKNOWN, FALSE),
            ("if { req.len gt 3 } { src 192.0.2.1 }", b"", UNKNOWN, FALSE),
            ("if WAIT_END", b"abc", UNKNOWN, TRUE),
            ("if REQ_CONTENT", b"", UNKNOWN, FALSE),
            ("if REQ_CONTENT", b"x", TRUE, TRUE),
            ("if { req.payload(0,2) -m str ab }", b"a", UNKNOWN, FALSE),
            ("if { req.payload(0,2) -m str ab }", b"ac", FALSE, FALSE),
            ("if { req.payload(0,2) -m str ab }", b"abc", TRUE, TRUE),
            ("if { req.payload(0,0) -m sub ab }", b"xx", UNKNOWN, FALSE),
            ("if { req.payload(0,0) -m sub ab }", b"xab", TRUE, TRUE),
            ("if { req.payload(0,99999) -m found }", b"x", FALSE, FALSE),
            ("if { req.ssl_hello_type 1 }", HELLO, TRUE, TRUE),
            ("if { req.ssl_hello_type 1 }", b"GET /", FALSE, FALSE),
            ("if { req.ssl_sni -i APP.example }", HELLO, TRUE, TRUE),
            ("if { req.ssl_hello_type 1 }", b"\x16\x03\x01\0\0" + HELLO, TRUE, TRUE),
            ("if { req.ssl_hello_type 2 }", b"\x16\x03\x01\0\4\2\0\0\0"[1:], FALSE, FALSE),
            ("if { req.ssl_ver 3.3 }", HELLO, TRUE, TRUE),
            ("if { req.ssl_ver gt 3.2 }", HELLO, TRUE, TRUE),
            ("if { req.ssl_ver 3.0:3.2 }", HELLO, FALSE, FALSE),
            ("if { req.ssl_alpn h2 }", HELLO, TRUE, TRUE),
            ("if { req.ssl_alpn http/1.1 }", HELLO, TRUE, TRUE),
            ("if { req.ssl_alpn,upper HTTP/1.1 }", HELLO, TRUE, TRUE),
            ("if { req.ssl_alpn acme-tls/1 }", HELLO, FALSE, FALSE),
            ("if { req.ssl_alpn -m found }", hello_with(b""), FALSE, FALSE),
            ("if { req.ssl_cipherlist,be2hex(:,2) -m sub 1302 }", HELLO, TRUE, TRUE),
            ("if { req.ssl_sigalgs,be2hex(:,2) -m sub 0403 }", HELLO, TRUE, TRUE),
            ("if { req.ssl_supported_groups,be2hex(:,2) -m sub 001D }", HELLO, TRUE, TRUE),
            ("if { req.ssl_keyshare_groups,be2hex(:,2) -m sub 001D }", HELLO, TRUE, TRUE),
            ("if { req.ssl_ec_ext }", HELLO, TRUE, TRUE),
            ("if { req.ssl_st_ext 1 }", HELLO, TRUE, TRUE),
            ("if { req.ssl_st_ext 0 }", hello_with(b""), TRUE, TRUE),
            ("if { req.ssl_ec_ext -m found }", hello_with(b""), FALSE, FALSE),
            ("if { req.ssl_sigalgs -m found }", hello_with(b""), FALSE, FALSE),
            ("if { rand(1) 1 }", b"", UNKNOWN, FALSE),
            ("if { rand(1) 0 }", b"", TRUE, TRUE),
            ("if { date lt 5 }", b"", UNKNOWN, FALSE),
            ("if { date_us lt 0 }", b"", UNKNOWN, FALSE),
            ("if { date,ltime(%Y) gt 3000 }", b"", UNKNOWN, FALSE),
            ("if { uuid -m beg x }", b"", UNKNOWN, FALSE),
        ]
        for condition, data, now, at_last in table:
            self.assertEqual((look(condition, data), look(condition, data, final=True)), (now, at_last), condition)

    def test_a_hello_that_only_servers_may_read_gets_nobody_past_a_rule(self) -> None:
        """Broken somewhere, longer than what is held, or not here as a whole in time; until then it is waited for. The
        version that a record says is no matter: servers take any."""
        broken = HELLO[:-30] + b"\xff" * 30
        long = b"\x16\x03\x01\x40\0\1\0\x80\0" + bytes(16 * 1024)
        for condition in (
            "{ req.ssl_sni a }",
            "!{ req.ssl_alpn h2 }",
            "{ req.ssl_ver 3.3 }",
            "{ req.ssl_hello_type 1 }",
            "{ req.ssl_cipherlist -m found }",
        ):
            for data in (broken, long[: 16 * 1024], HELLO[:1], HELLO[:8], HELLO[:-1]):
                self.assertRaises(Unevaluated, look, f"if {condition}", data, final=True)
            self.assertRaises(Unevaluated, look, f"if {condition}", broken)
            for data in (long[:-30], HELLO[:1], HELLO[:8], HELLO[:-1]):
                self.assertEqual(look(f"if {condition}", data), UNKNOWN)
        for version in (b"\0\0", b"\2\xff", b"\4\0", b"\xff\3"):
            found = look("if { req.ssl_sni app.example }", HELLO[:1] + version + HELLO[3:])
            self.assertEqual(found, TRUE, version)
        for before in (b"\x15\3\1\0\2\1\x5a", b"\x14\4\0\0\1\1"):  # some servers drop these records
            self.assertRaises(Unevaluated, look, "if { req.ssl_sni a }", before + HELLO)
            self.assertRaises(Unevaluated, look, "if { req.ssl_sni a }", before, final=True)
            for size in range(1, len(before) + 1):
                self.assertEqual(look("if { req.ssl_sni a }", before[:size]), UNKNOWN, size)
        self.assertEqual(look("if { req.ssl_sni a }", b"\x15\3\1\0\3\1\x5a"), FALSE)

    def test_other_protocols_that_begin_with_the_byte_of_a_hello_have_none(self) -> None:
        """As the length that comes first in many: Minecraft for a name of 15 letters, MongoDB's messages, PIM; also
        where they are short."""
        for data in (
            b"\x16\0\xfb\x05\x0fmc.example.test\x63\xdd\2",
            b"\x16\1\0\0\1\0\0\0\0\0\0\0\xdd\x07\0\0",
            b"\x16\1\0\0\7\1\0\0\0\0\0\0\xdd\x07\0\0",  # its number looks like a hello of no bytes
            b"\x14\1\0\0\1\0\0\0\0\0\0\0\xdd\x07\0\0",
            b"\x14\1\0\0\1\1\0\0\0\0\0\0\xdd\x07\0\0",
            b"\x15\1\0\0\2\1\0\0\0\0\0\0\xdd\x07\0\0",
            b"\x16\3\1\0\4\0\0\0\0",  # another message of a handshake
        ):
            for condition in ("{ req.ssl_sni a }", "{ req.ssl_hello_type 1 }", "{ req.ssl_alpn h2 }"):
                for final in (False, True):
                    self.assertEqual(look(f"if {condition}", data, final=final), FALSE, data)

    def test_a_hello_in_the_form_of_sslv2_has_a_version(self) -> None:
        """And no name, nor anything else that TLS has added: its server gets none either. A server may answer it with
        TLS 1.2 at most."""
        old = b"\x80\x1c\1\3\1\0\3\0\0\0\x10" + b"\0\0\x2f" + bytes(16)
        padded = b"\0\x1c\2" + old[2:] + b"xx"
        for data in (old, padded):
            self.assertEqual(look("if { req.ssl_ver 3.1 }", data), TRUE)
            self.assertEqual(look("if { req.ssl_ver lt 3.3 }", data), TRUE)
            self.assertEqual(look("if { req.ssl_ver 3.1 }", data[:-1]), UNKNOWN)
            self.assertEqual(look("if { req.ssl_sni -m found }", data), FALSE)
            self.assertEqual(look("if { req.ssl_hello_type 1 }", data), FALSE)
        for size in (3, 11, len(old) - 1):
            self.assertRaises(Unevaluated, look, "if { req.ssl_ver 3.1 }", old[:size], final=True)
        others = (
            b"\x80\x1c\2" + old[3:],
            old[:6] + b"\4" + old[7:],
            b"\x80\x1d" + old[2:],
            b"\x80\x2d" + old[2:10] + b"\x21" + old[11:],
            b"\x80\0\1\x2c\0\0\0\7\0\0\0\0\0\0\0\2",  # a call of ONC RPC
            b"GET / HTTP/1.1",
        )
        for data in others:
            self.assertEqual(look("if { req.ssl_ver -m found }", data), FALSE, data)

    def test_other_messages_of_tls_have_a_version(self) -> None:
        """Where HAProxy finds it, which reads no type there."""
        message = b"\x16\3\3\0\6\2\0\0\2\3\3"
        self.assertEqual(look("if { req.ssl_ver 3.3 }", message), TRUE)
        self.assertEqual(look("if { req.ssl_ver 3.3 }", message[:-1]), UNKNOWN)
        for data in (b"\x17\2\3" + message[3:], b"\x17\3\3\0\5" + message[5:]):
            self.assertEqual(look("if { req.ssl_ver -m found }", data), FALSE)

    def test_without_a_condition_it_is_true(self) -> None:
        """As any rule."""
        self.assertEqual(outlook(None, CLIENT_BYTES)(facts(b"")), TRUE)


class PayloadTests(SynchronousTestCase):
    """What is taken out of the bytes."""

    def test_lengths_and_values(self) -> None:
        """payload_lv: a length at an offset, and what it counts."""
        for text, data, value in (
            ("req.payload_lv(0,1)", b"\x03abcdef", b"abc"),
            ("req.payload_lv(1,2)", b"x\x00\x02abc", b"ab"),
            ("req.payload_lv(0,1,+2)", b"\x02xxabc", b"ab"),
            ("req.payload_lv(0,1,4)", b"\x02xxxab", b"ab"),
            ("req.payload_lv(0,1,-1)", b"\x02ab", b"\x02a"),
            ("req.payload_lv(0,1)", b"\x00", None),
            ("req.payload(1,3),hex", b"xABCD", b"414243"),
        ):
            fetch = compiled_text(read_expression(text, "here"), CLIENT_BYTES)
            self.assertEqual(fetch(facts(data)), value, text)
            for size in range(len(data) - (0 if value is None else 3)):
                self.assertRaises(Incomplete, fetch, facts(data[:size]))
                self.assertIsNone(fetch(facts(data[:size], final=True)))

    def test_each_side_has_its_own(self) -> None:
        """The server's is not the client's."""
        fetch = compiled_text(read_expression("res.payload(0,2)", "here"), SERVER_BYTES)
        self.assertEqual(fetch(facts(b"xx", said=b"yy")), b"yy")
        fetch = compiled_text(read_expression("res.len", "here"), SERVER_BYTES)
        self.assertEqual(fetch(facts(b"xx", said=b"yyy")), b"3")
