"""Sample fetches of the lists in a client's hello, from which operators make fingerprints such as JA3."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.rules.expressions import read_expression
from reusedproxy.config.rules.samples import FETCHES
from reusedproxy.rules.samples.compile import compiled, compiled_text
from reusedproxy.rules.samples.hello_fetches import HELLO_FETCHES
from reusedproxy.wire.hello_lists import HelloLists
from tests.rulefakes import Seen
from tests.tlsfakes import Side

LISTS = HelloLists(
    0x0303,
    b"\x1a\x1a\x13\x01\xff\xfe",
    0xFFFFFFFFFFFFFFFE,
    extensions=b"\x2a\x2a\x00\x0a\x00\x17",
    groups=b"\x3a\x3a\x00\x1d",
    formats=b"\x00\x01",
    versions=b"\x4a\x4a\x03\x04",
    signatures=b"\x04\x03\x5a\x5a",
)
TEXTS = (
    ("ssl_fc_protocol_hello_id", "771"),
    ("ssl_fc_cipherlist_bin,hex", "1A1A1301FFFE"),
    ("ssl_fc_cipherlist_bin(0),hex", "1A1A1301FFFE"),
    ("ssl_fc_cipherlist_bin(1),hex", "1301FFFE"),
    ("ssl_fc_cipherlist_hex", "1A1A1301FFFE"),
    ("ssl_fc_cipherlist_hex(1)", "1301FFFE"),
    ("ssl_fc_cipherlist_str", "UNKNOWN(1a1a),name of 1301,UNKNOWN(fffe)"),
    ("ssl_fc_cipherlist_str(1)", "name of 1301,UNKNOWN(fffe)"),
    ("ssl_fc_cipherlist_xxh", "-2"),
    ("ssl_fc_extlist_bin,be2dec(-,2)", "10794-10-23"),
    ("ssl_fc_extlist_bin(1),be2dec(-,2)", "10-23"),
    ("ssl_fc_eclist_bin(1),be2dec(-,2)", "29"),
    ("ssl_fc_ecformats_bin,be2dec(-,1)", "0-1"),
    ("ssl_fc_supported_versions_bin,hex", "4A4A0304"),
    ("ssl_fc_supported_versions_bin(1),hex", "0304"),
    ("ssl_fc_sigalgs_bin,hex", "04035A5A"),
    ("ssl_fc_sigalgs_bin(1),hex", "0403"),
)


class HelloFetchesTests(SynchronousTestCase):
    def test_each(self) -> None:
        """With the values that clients invent, and without."""
        facts = Seen(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", tls=Side(hello_lists=LISTS))
        for text, expected in TEXTS:
            found = compiled_text(read_expression(text, "here"))(facts)
            self.assertEqual((found or b"").decode(), expected, text)
        self.assertEqual({text.partition("(")[0].partition(",")[0] for text, _ in TEXTS}, set(HELLO_FETCHES))

    def test_half_a_suite_has_no_name(self) -> None:
        """Where the buffer has had no room for it."""
        cut = evolve(LISTS, suites=b"\x13\x01\x13")
        facts = Seen(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", tls=Side(hello_lists=cut))
        found = compiled(read_expression("ssl_fc_cipherlist_str", "here"))(facts)
        self.assertEqual(found, b"name of 1301")

    def test_without_a_value(self) -> None:
        """Without TLS, and where nothing is captured; an empty list is one."""
        head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        for name in HELLO_FETCHES:
            fetch = compiled(read_expression(name, "here"))
            self.assertEqual((fetch(Seen(head)), fetch(Seen(head, tls=Side()))), (None, None), name)
            bare = Seen(head, tls=Side(hello_lists=HelloLists(0x0300, b"", 0)))
            self.assertIsNotNone(fetch(bare), name)

    def test_arguments(self) -> None:
        """A number, or none."""
        for name in HELLO_FETCHES:
            most = FETCHES[name].most
            wrong = f"{name}(1,1)" if most else f"{name}(1)"
            with self.assertRaises(Wrong, msg=wrong):
                read_expression(wrong, "here")
            if most:
                with self.assertRaises(Wrong):
                    read_expression(f"{name}(yes)", "here")
