"""Identities by rule: what server lines and files of identities may say, and what is said of those that may not."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.rules.identities import around_map, folder_of, read_choice
from reusedproxy.config.tls.identities import ListedIdentity, read_identities
from tests.test_config_servers import faults, server

TLS = "ssl verify required ca-file /ca verifyhost a.example"
TENANT = "crt %[var(txn.t),map(/tenants.map)]"


class LineTests(SynchronousTestCase):
    def test_words_with_an_expression_depend_on_the_request_and_others_stay(self) -> None:
        made = server(f"{TLS} {TENANT} ca-file cas/%[src].pem pool-identities list")
        rule, tls = made.identities, made.tls
        assert rule is not None and tls is not None
        self.assertEqual([*rule.formats], ["crt", "ca-file"])
        self.assertEqual((tls.crt, tls.ca_file, tls.verifyhost), (None, None, "a.example"))
        self.assertEqual(tls.by_request, ("crt", "ca-file"))
        self.assertEqual(rule.listed, "list")

    def test_the_last_word_counts(self) -> None:
        """So a line takes back what `default-server` says, in either direction."""
        for words, crt in (
            (f"{TENANT} crt /own.pem", "/own.pem"),
            (f"crt /own.pem {TENANT}", None),
        ):
            made = server(f"{TLS} {words}")
            assert made.tls is not None
            self.assertEqual(made.tls.crt, crt, words)
            self.assertEqual(made.identities is None, crt is not None, words)
        self.assertIsNone(server(f"{TLS} verifyhost %[src] no-verifyhost sni str(b.example)").identities)

    def test_a_verified_name_by_rule_needs_no_sni(self) -> None:
        made = server("ssl verify required ca-file /ca verifyhost %[req.hdr(x),map(/names)]")
        self.assertIsNone(made.sni)

    def test_what_cannot_be_is_said(self) -> None:
        for words, said in (
            (
                f"{TLS} crt %[req.hdr(x)]",
                "'crt': nothing says which files requests may choose among: end the expression",
            ),
            (f"{TLS} crt %[req.hdr(x),map_regm(/m)]", "nothing says which files"),
            (f"{TLS} crt a/%ci-%[src]", "only texts and '%[expression]' can stand here"),
            (f"{TLS} crt a/%[res.hdr(x)]", "'res.hdr(x)' needs a response"),
            (f"{TLS} crt a/%[req.hdr(x)", "is missing"),
            (f"{TLS} {TENANT} check", "checks begin before a request says who the proxy is ('crt' by an expression)"),
            (f"{TLS} pool-identities /list", "there is one identity"),
            ("crt a/%[req.hdr(x)]", "without 'ssl'"),
            ("ssl verify none ca-file a/%[req.hdr(x)]", "verifies nobody with 'verify none'"),
            ("ssl verify none verifyhost %[req.hdr(x)]", "verifies nobody with 'verify none'"),
            (
                f"ssl verify required ca-file /ca sni req.hdr(host) {TENANT} pool-min-conn 1",
                "pool-min-conn where clients choose the names",
            ),
            (
                f"{TLS} {TENANT} pool-identities /list pool-conn-name src",
                "gives connections a name that no line of the file can say",
            ),
        ):
            self.assertTrue(any(said in text for text in faults(f" server a 192.0.2.1:443 {words}")), (words, said))

    def test_what_is_known_beforehand_may_be_warm_and_checked(self) -> None:
        for words in (
            f"{TLS} {TENANT} pool-min-conn 2",
            f"{TLS} {TENANT} pool-min-conn auto",
            f"{TLS} {TENANT} pool-identities /list check",
            f"{TLS} {TENANT} check port 80",
            "ssl verify required ca-file /ca sni req.hdr(host) pool-identities /list pool-min-conn 1",
        ):
            self.assertEqual(faults(f" server a 192.0.2.1:443 {words}"), [], words)

    def test_mode_tcp_has_none(self) -> None:
        head = "backend b\n mode tcp\n timeout connect 5s\n timeout server 60s\n"
        said = faults(f" server a 192.0.2.1:443 {TLS} {TENANT}", head)
        self.assertIn("server 'a': 'crt' by an expression is for 'mode http' only", said)


class ChoiceTests(SynchronousTestCase):
    def test_where_its_values_are(self) -> None:
        for text, mapped, folder in (
            ("%[src,map_ip(/m)]", ("/m", "", "", None), None),
            ("a/%[src,map_ip(/m,none)].pem", ("/m", "a/", ".pem", "none"), "a"),
            ("/a/b-%[src].pem", None, "/a"),
            ("/%[src]", None, "/"),
            ("%[src]/x.pem", None, None),
            ("%[src,map_ip(/m)]%[src]", None, None),
        ):
            made = read_choice(text, "")
            self.assertEqual((around_map(made), folder_of(made)), (mapped, folder), text)


class FileTests(SynchronousTestCase):
    """What `pool-identities` names."""

    def test_one_identity_a_line(self) -> None:
        text = "# who\n\ncrt a.pem sni A.example # a\n  crt b.pem sni b.example pool-min-conn 3\n"
        self.assertEqual(
            read_identities(text, frozenset({"crt", "sni"})),
            [
                ListedIdentity(3, crt="a.pem", sni="A.example"),
                ListedIdentity(4, crt="b.pem", sni="b.example", floor=3),
            ],
        )

    def test_what_is_wrong_is_said_with_its_line(self) -> None:
        for text, said in (
            ("crt a.pem", "line 1: has no end of line"),
            ("crt a.pem\n", "line 1: 'sni' is missing"),
            ("sni a crt b verifyhost c\n", "the server line says one 'verifyhost' for all identities, or none"),
            ("\nsni a crt\n", "line 2: 'crt' needs a value"),
            ("sni a crt b weight 3\n", "line 1: unknown word 'weight'"),
            ("sni a crt b pool-min-conn x\n", "needs a whole number"),
            ("sni a crt b\nsni A crt b\n", "line 2: is the identity of line 1"),
        ):
            wrong = self.assertRaises(Wrong, read_identities, text, frozenset({"crt", "sni"}))
            self.assertIn(said, str(wrong), text)
