"""What `bind ... ssl` says: defaults, the global section's part, faults and warnings; and the lines of a `crt-list`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.model import Configuration
from reusedproxy.config.model.tls import BindTLS, CertificateSource, TLSOffer
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from reusedproxy.config.tls import x509_errors
from reusedproxy.config.tls.crt_list import read_crt_list
from reusedproxy.config.tls.words import overridden

HEAD = "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 60s\n"
TAIL = "\n default_backend b\nbackend b\n server a 192.0.2.1:80\n"


def read(line: str, before: str = "") -> Configuration:
    text = f"{HEAD}{before}frontend f\n bind :443 {line}{TAIL}"
    return read_configuration([Source("t.cfg", text)], {})


def tls(line: str, before: str = "") -> BindTLS:
    """What the line comes to; a certificate is named anyhow."""
    (bind,) = read(f"ssl crt /c.pem {line}", before).frontends["f"].binds
    assert bind.tls is not None
    return bind.tls


def offer(line: str, before: str = "") -> TLSOffer:
    return tls(line, before).offer


def faults(line: str, before: str = "") -> list[str]:
    try:
        read(line, before)
    except ConfigurationError as error:
        return [fault.text for fault in error.faults]
    return []


def warnings(line: str, before: str = "") -> list[str]:
    return [notice.text for notice in read(line, before).notices]


class LineTests(SynchronousTestCase):
    """The words of one line."""

    def test_a_certificate_is_enough(self) -> None:
        """TLS 1.2 and 1.3, HTTP/1.1, nobody is asked for a certificate."""
        self.assertEqual(tls(""), BindTLS((CertificateSource("crt", "/c.pem"),), TLSOffer()))
        self.assertEqual(
            (offer("").min_version, offer("").max_version, offer("").verify), ("TLSv1.2", "TLSv1.3", "none")
        )
        self.assertIsNone(read("").frontends["f"].binds[0].tls)

    def test_every_word(self) -> None:
        """Each where it belongs."""
        self.assertEqual(
            offer(
                "verify optional ca-file /ca ca-verify-file /cav crl-file /crl no-ca-names crt-ignore-err 10,23"
                " ca-ignore-err all alpn http/1.0,http/1.1 ciphers A ciphersuites B curves C sigalgs D"
                " client-sigalgs E prefer-client-ciphers no-tls-tickets"
            ),
            TLSOffer(
                verify="optional",
                ca_file="/ca",
                ca_verify_file="/cav",
                crl_file="/crl",
                ca_names=False,
                ignored_crt_errors=frozenset({10, 23}),
                ignored_ca_errors=x509_errors.ALL,
                alpn=("http/1.0", "http/1.1"),
                ciphers="A",
                ciphersuites="B",
                curves="C",
                sigalgs="D",
                client_sigalgs="E",
                client_prefers=True,
                tickets=False,
            ),
        )
        self.assertEqual(offer("no-alpn").alpn, ())
        self.assertEqual((tls("strict-sni").strict_sni, tls("strict-sni no-strict-sni").strict_sni), (True, False))

    def test_certificates_in_the_order_written(self) -> None:
        """Base directories go before relative paths, but not before a list's."""
        made = tls("crt d crt-list l default-crt /e", "global\n crt-base /etc\n ca-base /ca\n")
        self.assertEqual([each.kind for each in made.sources], ["crt", "crt", "crt-list", "default-crt"])
        self.assertEqual([each.path for each in made.sources], ["/c.pem", "/etc/d", "l", "/e"])
        self.assertEqual(offer("verify required ca-file x", "global\n ca-base /ca\n").ca_file, "/ca/x")
        self.assertEqual(offer("verify required ca-file @system-ca", "global\n ca-base /ca\n").ca_file, "@system-ca")

    def test_curves_before_ecdhe(self) -> None:
        """HAProxy: the latter does not count beside the former."""
        self.assertEqual(offer("ecdhe P-256").curves, "P-256")
        self.assertEqual((offer("ecdhe A curves B").curves, offer("curves B ecdhe A").curves), ("B", "B"))

    def test_errors_by_name_and_number(self) -> None:
        """With OpenSSL's prefix and without."""
        self.assertEqual(
            offer("crt-ignore-err X509_V_ERR_CERT_HAS_EXPIRED,cert_revoked,9").ignored_crt_errors, {9, 10, 23}
        )

    def test_the_names_of_openssls_errors(self) -> None:
        """They have OpenSSL's own numbers."""
        from cryptography.hazmat.bindings.openssl.binding import Binding

        library = Binding().lib
        known = {name: getattr(library, name) for name in dir(library) if name.startswith("X509_V_ERR_")}
        self.assertGreater(len(known), 40)
        self.assertEqual({name: x509_errors.NUMBERS.get(name) for name in known}, known)

    def test_versions(self) -> None:
        """The lowest and highest that is left."""
        for line, expected in (
            ("ssl-min-ver TLSv1.3", ("TLSv1.3", "TLSv1.3")),
            ("ssl-max-ver TLSv1.2", ("TLSv1.2", "TLSv1.2")),
            ("ssl-max-ver TLSv1.1", ("TLSv1.1", "TLSv1.1")),
            ("ssl-min-ver TLSv1.0 no-tlsv10", ("TLSv1.1", "TLSv1.3")),
            ("no-sslv3 no-tlsv10 no-tlsv11 no-tlsv12", ("TLSv1.3", "TLSv1.3")),
            ("no-tlsv13", ("TLSv1.2", "TLSv1.2")),
            ("force-tlsv12", ("TLSv1.2", "TLSv1.2")),
        ):
            made = offer(line)
            self.assertEqual((made.min_version, made.max_version), expected, line)

    def test_what_the_global_section_says_for_all(self) -> None:
        """Each line may say otherwise."""
        before = (
            "global\n ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets strict-sni\n"
            " ssl-default-bind-ciphers A\n ssl-default-bind-ciphersuites B\n ssl-default-bind-curves C\n"
            " ssl-default-bind-sigalgs D\n ssl-default-bind-client-sigalgs E\n ssl-dh-param-file /dh\n"
            " tune.ssl.default-dh-param 3072\n tune.ssl.cachesize 0\n tune.ssl.lifetime 60\n"
            " tune.ssl.capture-cipherlist-size 7\n tune.ssl.capture-buffer-size 800\n"
        )
        made = tls("", before)
        self.assertEqual(
            made.offer,
            TLSOffer(
                min_version="TLSv1.3",
                tickets=False,
                ciphers="A",
                ciphersuites="B",
                curves="C",
                sigalgs="D",
                client_sigalgs="E",
                dh_file="/dh",
                dh_size=3072,
                cache=False,
                lifetime=60.0,
                capture=800,
            ),
        )
        self.assertTrue(made.strict_sni)
        other = tls("ssl-min-ver TLSv1.2 tls-tickets no-strict-sni ciphers Z", before)
        self.assertEqual(
            (other.offer.min_version, other.offer.tickets, other.strict_sni, other.offer.ciphers),
            ("TLSv1.2", True, False, "Z"),
        )
        self.assertEqual(offer("", "global\n tune.ssl.lifetime 2m\n").lifetime, 120.0)

    def test_a_global_section_holds_for_the_lines_that_follow(self) -> None:
        """As in HAProxy: several of them add up, and base directories do so, too."""
        head = "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 60s\n"
        servers = " server one h:1 ssl ca-file ca.pem sni str(h)\n"
        text = (
            f"{head}frontend first\n bind :1 ssl crt a.pem\n default_backend early\nbackend early\n{servers}"
            "global\n ssl-default-bind-options ssl-min-ver TLSv1.3\n ssl-default-bind-ciphers A\n crt-base /crts\n"
            " ssl-default-server-ciphers B\n ca-base /cas\n"
            "frontend second\n bind :2 ssl crt a.pem\n default_backend late\n"
            f"global\n ssl-default-server-options ssl-min-ver TLSv1.3\nbackend late\n{servers}"
        )
        configuration = read_configuration([Source("t.cfg", text)], {})
        first, second = (configuration.frontends[name].binds[0].tls for name in ("first", "second"))
        assert first is not None and second is not None
        self.assertEqual((first.offer.min_version, first.offer.ciphers), ("TLSv1.2", None))
        self.assertEqual((second.offer.min_version, second.offer.ciphers), ("TLSv1.3", "A"))
        self.assertEqual((first.sources[0].path, second.sources[0].path), ("a.pem", "/crts/a.pem"))
        early, late = (configuration.backends[name].servers[0].tls for name in ("early", "late"))
        assert early is not None and late is not None
        self.assertEqual((early.min_version, early.ciphers, early.ca_file), ("TLSv1.2", None, "ca.pem"))
        self.assertEqual((late.min_version, late.ciphers, late.ca_file), ("TLSv1.3", "B", "/cas/ca.pem"))

    def test_the_time_of_a_handshake(self) -> None:
        """It is a time-out of its own, and falls back on others elsewhere."""
        self.assertEqual(read("ssl crt /c\n timeout client-hs 3s").frontends["f"].timeouts.client_hs, 3.0)


class ProtocolTests(SynchronousTestCase):
    """What clients are offered by ALPN."""

    def test_those_of_http_2_are_left_out_where_others_are_left(self) -> None:
        self.assertEqual(tls("ssl crt /c alpn h2,http/1.1,http/1.0").offer.alpn, ("http/1.1", "http/1.0"))


class FaultTests(SynchronousTestCase):
    """What cannot be meant, and what is not done."""

    def test_faults_of_a_line(self) -> None:
        """Each with a way out."""
        for line, words in (
            ("ssl", "bind '*:443': 'ssl' needs a certificate: 'crt <file>'"),
            ("ssl crt /c verify required", "'verify required' needs 'ca-file <file>'"),
            ("ssl crt /c verify optional", "'verify optional' needs 'ca-file <file>'"),
            ("ssl crt /c verify maybe", "is one of 'none', 'optional', 'required', not 'maybe'"),
            ("ssl crt /c alpn h2", "does not speak 'h2' yet: write 'alpn http/1.1'"),
            ("ssl crt /c alpn h2,acme-tls/1", "'acme-tls/1' is not spoken here"),
            ("ssl crt /c alpn acme-tls/1", "'acme-tls/1' is not spoken here"),
            ("ssl crt /c ssl-min-ver SSLv3", "OpenSSL has no SSLv3 any more: write 'TLSv1.0'"),
            ("ssl crt /c force-sslv3", "OpenSSL has no SSLv3 any more"),
            ("ssl crt /c ssl-min-ver TLSv1.4", "is one of 'TLSv1.0', 'TLSv1.1'"),
            ("ssl crt /c no-tlsv12 no-tlsv13", "no version of TLS is left to be spoken"),
            ("ssl crt /c ssl-min-ver TLSv1.3 ssl-max-ver TLSv1.2", "no version of TLS is left to be spoken"),
            ("ssl crt /c crt-ignore-err cert_has_expird", "did you mean 'X509_V_ERR_CERT_HAS_EXPIRED'?"),
            ("ssl crt /c crt-ignore-err 0", "'0' is none of OpenSSL's verification errors"),
            ("ssl crt /c crt-ignore-err " + "9" * 5000, "99' is none of OpenSSL's verification errors"),
            ("ssl crt /c crt-ignore-err ²", "'²' is none of OpenSSL's verification errors"),
            (
                "ssl crt /c tls-ticket-keys /k",
                "'tls-ticket-keys' is a HAProxy bind option that reusedproxy does not do yet",
            ),
            ("ssl crt /c ktls on", "'ktls on' is a HAProxy bind option that reusedproxy does not do yet: take it out"),
            ("ssl crt /c ocsp-update maybe", "'ocsp-update' is one of 'on', 'off'"),
            ("ssl crt", "'crt' needs a value after it"),
            ("crt /c strict-sni", "'strict-sni' without 'ssl' would let everybody in"),
            ("verify required ca-file /ca", "'verify required' without 'ssl' would let everybody in"),
        ):
            found = faults(line)
            self.assertEqual(len(found), 1, found)
            self.assertIn(words, found[0])

    def test_faults_of_the_global_section(self) -> None:
        """Words that are for one line only, and words that nobody knows."""
        for line, words in (
            ("ssl-default-bind-options crt /c", "'crt' cannot stand here, on the 'bind' line only"),
            ("ssl-default-bind-options no-tlsv9", "unknown word 'no-tlsv9': did you mean 'no-tlsv"),
            ("ssl-default-bind-ciphers", "needs a list of ciphers"),
            ("ssl-default-bind-client-sigalgs", "needs a list of signature algorithms"),
        ):
            (found,) = faults("ssl crt /c", f"global\n {line}\n")
            self.assertIn(words, found)

    def test_warnings(self) -> None:
        """What does nothing, or not what it seems."""
        for line, words in (
            ("crt /c", "has 'crt' but no 'ssl': clients are served in the clear"),
            ("alpn h2,http/1.1", "has 'alpn' but no 'ssl': clients are served in the clear"),
            ("ssl crt /c ca-file /ca", "'ca-file' does nothing without 'verify required' or 'verify optional'"),
            ("ssl crt /c ssl-min-ver TLSv1.0", "only at its lowest level of security: 'ciphers DEFAULT:@SECLEVEL=0'"),
            (
                "ssl crt /c alpn h2,http/1.1",
                "bind '*:443': 'alpn h2,http/1.1' offers http/1.1 only: HTTP/2 and HTTP/3 are not done yet",
            ),
            ("ssl crt /c npn spdy/2,http/1.1", "without effect in reusedproxy: 'bind … npn'"),
        ):
            (found,) = warnings(line)
            self.assertIn(words, found)
        self.assertEqual(warnings("ssl crt /c ssl-min-ver TLSv1.0 ciphers DEFAULT:@SECLEVEL=0"), [])
        self.assertEqual(warnings("ssl crt-list /c ca-file /ca"), [])
        self.assertEqual(len(warnings("ssl crt /c ssl-max-ver TLSv1.1")), 2)
        self.assertIn("20480", warnings("ssl crt /c", "global\n tune.ssl.cachesize 20000\n")[0])


class CrtListTests(SynchronousTestCase):
    """The files that `crt-list` names."""

    def test_lines(self) -> None:
        """A certificate each, with what is said of it; blank lines and comments are nothing."""
        one, two, three = read_crt_list(
            "# all of ours\n\none.pem\ntwo.pem [verify none alpn http/1.1 ssl-min-ver TLSv1.3]\n"
            "\tthree.pem[ca-file x sigalgs RSA-PSS+SHA256 ocsp-update off]  *.a.test   !b.a.test\r\n"
        )
        self.assertEqual(three.words.said, {"ca_file": "x", "sigalgs": "RSA-PSS+SHA256"})
        self.assertEqual((one.number, one.path, one.names, one.words.said), (3, "one.pem", None, {}))
        self.assertEqual((two.words.said, two.words.minimum), ({"verify": "none", "alpn": ("http/1.1",)}, "TLSv1.3"))
        self.assertEqual((three.path, three.names), ("three.pem", ("*.a.test", "!b.a.test")))

    def test_a_list_that_may_have_been_cut_off_is_refused(self) -> None:
        """As in HAProxy: the demand for a client certificate may be missing."""
        error = self.assertRaises(Wrong, read_crt_list, "a.pem\nb.pem [verify required ca-file x] b.test\nc.pem")
        self.assertIn("line 3: has no end of line, so the file may be cut off", str(error))
        read_crt_list("a.pem\n \t")

    def test_what_a_line_says_counts_before_the_bind_line(self) -> None:
        """The rest is as it is for the others."""
        (line,) = read_crt_list("a.pem [verify required ca-file x ssl-max-ver TLSv1.2]\n")
        made = overridden(BindTLS(offer=TLSOffer(ciphers="A"), ca_base="/ca"), line.words)
        self.assertEqual(made, TLSOffer(verify="required", ca_file="/ca/x", max_version="TLSv1.2", ciphers="A"))

    def test_faults(self) -> None:
        """All at once, by their lines."""
        with self.assertRaises(Wrong) as caught:
            read_crt_list(
                "a.pem [verify none\nb.pem [ktls on]\nc.pem [crt d]\nd.pem [xyzzy]\ne.pem [alpn h2]\n"
                "f.pem [ocsp-update on]\ng.pem [client-sigalgs]\nh.pem [ocsp-update maybe]\n"
            )
        text = str(caught.exception)
        self.assertNotIn("'bind' line only", text.replace("'crt' cannot stand here, on the 'bind' line only", ""))
        for number, words in enumerate(
            (
                "write '<file> [<options>] <names>'",
                "'ktls on' is a HAProxy",
                "'crt' cannot",
                "unknown word",
                "'h2'",
                "'ocsp-update on' is a HAProxy TLS option that reusedproxy does not do yet: take it out, no OCSP",
                "'client-sigalgs' needs",
                "'ocsp-update' is one of",
            ),
            1,
        ):
            self.assertIn(f"line {number}: {words}" if number in (1,) else f"line {number}", text)
            self.assertIn(words, text)
