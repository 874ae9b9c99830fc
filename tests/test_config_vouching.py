"""The words by which a server has to prove more: `pin-sha256`, `ocsp-verify`, `crl-url`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.tls import ListURL, Revocations
from tests.test_config_servers import MUTUAL, faults, notices, read, server, tls_of

ONE = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
TWO = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="


class PinTests(SynchronousTestCase):
    def test_one_or_several(self) -> None:
        self.assertEqual(tls_of(server(f"{MUTUAL} pin-sha256 {ONE}")).pins, (ONE,))
        self.assertEqual(tls_of(server(f"{MUTUAL} pin-sha256 {ONE},{TWO},{ONE}")).pins, (ONE, TWO))
        self.assertEqual(tls_of(server(MUTUAL)).pins, ())

    def test_the_lines_own_is_stronger(self) -> None:
        head = f" default-server {MUTUAL} pin-sha256 {ONE}\n"
        for words, pins in (("", (ONE,)), (f"pin-sha256 {TWO}", (TWO,)), ("no-pin-sha256", ())):
            lines = f"{head} server a h:1 {words}\n server-template t 2 h:1 {words}"
            for made in read(lines).backends["b"].servers:
                self.assertEqual(tls_of(made).pins, pins)

    def test_checks_have_them_too(self) -> None:
        made = server(f"check check-ssl verify none pin-sha256 {ONE}")
        assert made.check_tls is not None
        self.assertEqual(made.check_tls.pins, (ONE,))

    def test_what_is_no_pin(self) -> None:
        digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        colons = ":".join(digest[at : at + 2] for at in range(0, 64, 2)).upper()
        for text, why in (
            ("x", "'x' is no pin: it is the base64 of the SHA-256 of a key, 44 characters"),
            (ONE[:-1], "is no pin"),
            (ONE.replace("U=", "V="), "is no pin"),  # bits that count for nothing are set
            (f"{ONE},", "'' is no pin"),
            (f"{ONE};{TWO}", "is no pin"),
            ("QUJD", "is no pin"),
            (f"sha256//{ONE}", f"is written without 'sha256//': {ONE}"),
            (digest, f"is hexadecimal, and a pin is in base64: {ONE}"),
            (colons, f"is hexadecimal, and a pin is in base64: {ONE}"),
        ):
            (fault,) = faults(f" server a h:1 {MUTUAL} pin-sha256 {text}")
            self.assertIn("server 'a': 'pin-sha256': '", fault)
            self.assertIn(why, fault)

    def test_said_twice_none_is_lost(self) -> None:
        for word, value in (("pin-sha256", ONE), ("crl-url", "http://a/")):
            (fault,) = faults(f" server a h:1 {MUTUAL} crl-file /l {word} {value} {word} {value}")
            self.assertIn(f"'{word}' is there twice: write its values as one list, {word} FIRST,SECOND", fault)

    def test_a_pin_is_verification_enough(self) -> None:
        self.assertEqual(notices(f" server a h:1 ssl verify none no-sni-auto pin-sha256 {ONE}"), [])

    def test_a_name_is_asked_for_all_the_same(self) -> None:
        """The pin may be that of a CA, which has certified others."""
        (fault,) = faults(f"mode tcp\nserver a h:1 ssl ca-file /ca pin-sha256 {ONE}")
        self.assertIn("no name is said", fault)


class RestrictionTests(SynchronousTestCase):
    def test_without_tls_nothing_is_verified(self) -> None:
        for words in (f"pin-sha256 {ONE}", "ocsp-verify required"):
            (fault,) = faults(f" server a h:1 {words}")
            self.assertIn(" without 'ssl' verifies nobody", fault)
            self.assertEqual(faults(f" default-server {words}\n server a h:1"), [])
        ((level, text),) = notices(" server a h:1 ocsp-verify none")
        self.assertEqual((level, text[:34]), ("warning", "server 'a' has 'ocsp-verify' but n"))


class StapleTests(SynchronousTestCase):
    def test_three_words(self) -> None:
        self.assertEqual(tls_of(server(MUTUAL)).ocsp, "optional")
        for word in ("none", "optional", "required"):
            self.assertEqual(tls_of(server(f"{MUTUAL} ocsp-verify {word}")).ocsp, word)
        (fault,) = faults(f" server a h:1 {MUTUAL} ocsp-verify must")
        self.assertIn("'ocsp-verify'", fault)

    def test_without_a_ca_there_is_nobody_to_sign(self) -> None:
        (fault,) = faults(f" server a h:1 ssl verify none pin-sha256 {ONE} ocsp-verify required")
        self.assertIn("'ocsp-verify required' needs 'verify required ca-file <file>'", fault)


class SpiffeTests(SynchronousTestCase):
    TLS = "ssl ca-file /ca crt /c.pem"

    def test_ids(self) -> None:
        one, below = "spiffe://example.org/ns/prod/sa/web", "spiffe://a-b_c.example/*"
        made = server(f"{self.TLS} verifyspiffe {one},{below},{one}")
        self.assertEqual(tls_of(made).spiffe, (one, below))
        # It is the identity that is verified: no name is needed, and none is sent.
        self.assertIsNone(made.sni)
        self.assertEqual(notices(f" server a h:1 {self.TLS} verifyspiffe {one}"), [])
        lines = f" default-server {MUTUAL} verifyspiffe {one}\n server a h:1 no-verifyspiffe"
        self.assertEqual(tls_of(read(lines).backends["b"].servers[0]).spiffe, ())

    def test_what_is_no_id(self) -> None:
        for text in (
            *("example.org/web", "spiffe://example.org", "spiffe://example.org/", "spiffe://Example.org/web"),
            *("spiffe:///web", "spiffe://example.org/a//b", "spiffe://example.org/a/", "spiffe://example.org/../a"),
            *("spiffe://example.org:80/a", "spiffe://u@example.org/a", "spiffe://example.org/a*", "spiffe://e/%41"),
            *("https://example.org/web", "spiffe://example.org/*/web", "spiffe://*/web", f"spiffe://e/{'a' * 2048}"),
        ):
            (fault,) = faults(f" server a h:1 {self.TLS} verifyspiffe '{text}'")
            self.assertIn(f"'verifyspiffe': '{text}' is no SPIFFE ID of a workload", fault)

    def test_a_ca_vouches_for_it(self) -> None:
        (fault,) = faults(" server a h:1 ssl verify none no-sni-auto verifyspiffe spiffe://e/a")
        self.assertIn("'verifyspiffe' needs 'verify required ca-file <file>': anybody can write an ID", fault)
        (fault,) = faults(" server a h:1 verifyspiffe spiffe://e/a")
        self.assertIn("'verifyspiffe' without 'ssl' verifies nobody", fault)


class ListTests(SynchronousTestCase):
    def test_urls(self) -> None:
        made = server(f"{MUTUAL} crl-file /l crl-url http://a.test/x?y=1,http://[::1]:81 crl-refresh 10m")
        urls = (
            ListURL("http://a.test/x?y=1", "a.test", 80, "/x?y=1"),
            ListURL("http://[::1]:81", "::1", 81, "/"),
        )
        self.assertEqual(made.revocations, Revocations(urls, 600.0))
        self.assertEqual([each.authority for each in urls], ["a.test", "[::1]:81"])
        self.assertTrue(tls_of(made).crl_fetched)
        made = server(f"{MUTUAL} crl-file /l")
        self.assertEqual((made.revocations, tls_of(made).crl_fetched), (None, False))
        self.assertEqual(
            getattr(server(f"{MUTUAL} crl-file /l crl-url http://a/x").revocations, "refresh", None), 3600.0
        )

    def test_what_is_not_fetched(self) -> None:
        for text, why in (
            ("https://a/x", "it needs 'http://'; a list is signed by its CA, and so needs no TLS"),
            ("ldap://a/x", "it needs 'http://'"),
            ("/x", "it needs 'http://'"),
            ("http:///x", "is no URL of a list"),
            ("http://user@a/x", "is no URL of a list"),
            ("http://a/x\\#y", "is no URL of a list"),
            ("'http://a/x y'", "is no URL of a list"),
            ("http://a:99999/x", "is no URL: "),
            ("http://a/x,", "'' is not fetched"),
        ):
            (fault,) = faults(f" server a h:1 {MUTUAL} crl-file /l crl-url {text}")
            self.assertIn(why, fault)

    def test_what_it_needs(self) -> None:
        (fault,) = faults(f" server a h:1 {MUTUAL} crl-url http://a/x")
        self.assertIn("'crl-url' needs 'crl-file <file>': where the list is kept", fault)
        (fault,) = faults(" server a h:1 ssl ca-file @system-ca sni str(a) crl-file /l crl-url http://a/x")
        self.assertIn("'crl-url' needs 'ca-file <file>' with the CA by which the list is signed", fault)
        (fault,) = faults(f" server a h:1 {MUTUAL} crl-file /l crl-url http://a/x crl-refresh 59s")
        self.assertIn("'59s' would ask too often: at least 60s", fault)
        said = notices(f" server a h:1 {MUTUAL} crl-refresh 1h")
        self.assertIn("'crl-refresh' does nothing without 'crl-url'", said[0][1])
        said = notices(f" server a h:1 ssl verify none pin-sha256 {ONE} crl-file /l crl-url http://a/x no-sni-auto")
        self.assertIn("'crl-url' does nothing with 'verify none'", said[0][1])
