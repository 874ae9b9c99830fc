"""`crt-store` sections, and who asks for what they have: `bind` and `server` lines, crt-lists."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import ConfigurationError
from reusedproxy.config.model.proxies import Configuration
from reusedproxy.config.model.tls import CertificateSource, StoredCertificate
from reusedproxy.config.reader import Source, read_configuration
from tests.rulefakes import DEFAULTS


def read(stores: str, crt: str = "/none.pem", server: str = "") -> Configuration:
    proxies = (
        f"{DEFAULTS}frontend fe\n bind :443 ssl crt {crt}\n default_backend be\n"
        f"backend be\n server s 192.0.2.1:1 ssl verify none {server}\n"
    )
    return read_configuration([Source("t.cfg", f"{stores}\n{proxies}")], {})


def source(stores: str, crt: str) -> tuple[str, str | None]:
    """The files that `crt` means on a `bind` line."""
    tls = read(stores, crt).frontends["fe"].binds[0].tls
    assert tls is not None
    return tls.sources[0].path, tls.sources[0].key


def faults(stores: str, crt: str = "/none.pem", server: str = "") -> list[str]:
    try:
        read(stores, crt, server)
    except ConfigurationError as error:
        return [str(fault) for fault in error.faults]
    return []


WEB = (
    "crt-store web\n crt-base /certs\n key-base /keys\n load crt a.pem key a.key alias one\n"
    " load crt b.pem key /k/b.key\n"
)


class CrtStoreTests(SynchronousTestCase):
    def test_certificates_are_asked_for_by_store_and_alias(self) -> None:
        for crt, files in (
            ("@web/one", ("/certs/a.pem", "/keys/a.key")),
            ("@web/b.pem", ("/certs/b.pem", "/k/b.key")),
            ("/other.pem", ("/other.pem", None)),
        ):
            self.assertEqual(source(WEB, crt), files)

    def test_a_store_without_a_name_has_the_names_of_files_too(self) -> None:
        """As in HAProxy, those behind the `crt-base` of `global`, wherever the store has its own."""
        store = (
            "crt-store\n load crt a.pem key a.key alias one\n load crt b.pem key b.key\n load crt /c.pem key c.key\n"
        )
        bases = "global\n crt-base /certs\n key-base /keys\n"
        for crt, files in (
            ("@/one", ("/certs/a.pem", "/keys/a.key")),
            ("b.pem", ("/certs/b.pem", "/keys/b.key")),
            ("/certs/b.pem", ("/certs/b.pem", "/keys/b.key")),
            ("/c.pem", ("/c.pem", "/keys/c.key")),
            ("a.pem", ("/certs/a.pem", None)),
        ):
            self.assertEqual(source(bases + store, crt), files, crt)
        own = store.replace("crt-store\n", "crt-store\n crt-base /own\n key-base /own/keys\n")
        self.assertEqual(source(bases + own, "b.pem"), ("/own/b.pem", "/own/keys/b.key"))
        self.assertEqual(source(store, "b.pem"), ("b.pem", "b.key"))

    def test_relative_files_begin_where_default_path_says(self) -> None:
        bases = "global\n default-path origin /etc/proxy\n"
        self.assertEqual(
            source(f"{bases}crt-store web\n crt-base certs\n load crt a.pem key a.key\n", "@web/a.pem"),
            ("/etc/proxy/certs/a.pem", "/etc/proxy/a.key"),
        )

    def test_servers_are_shown_what_is_stored(self) -> None:
        tls = read(WEB, server="crt @web/one").backends["be"].servers[0].tls
        assert tls is not None
        self.assertEqual((tls.crt, tls.key), ("/certs/a.pem", "/keys/a.key"))

    def test_a_list_may_name_what_is_stored(self) -> None:
        text = f"{WEB}{DEFAULTS}listen l\n bind :443 ssl crt-list /list\n server s 192.0.2.1:1\n"
        tls = read_configuration([Source("t.cfg", text)], {}).frontends["l"].binds[0].tls
        assert tls is not None
        self.assertEqual(tls.sources, (CertificateSource("crt-list", "/list"),))
        self.assertIn(StoredCertificate("@web/one", "/certs/a.pem", "/keys/a.key"), tls.stored)

    def test_what_is_stored_nowhere_is_a_fault(self) -> None:
        """Or only further down, as in HAProxy."""
        said = "no 'crt-store' above has the certificate"
        self.assertEqual(
            faults(WEB, "@web/on"), [f"t.cfg:13: bind '*:443': {said} '@web/on': did you mean '@web/one'?"]
        )
        self.assertEqual(len(faults(WEB, server="crt @web/none")), 1)
        below = f"{DEFAULTS}listen l\n bind :443 ssl crt @web/one\n server s 192.0.2.1:1\n{WEB}"
        with self.assertRaisesRegex(ConfigurationError, f"{said} '@web/one'"):
            read_configuration([Source("t.cfg", below)], {})

    def test_what_is_not_done_is_refused_or_warned_of(self) -> None:
        for words, text in (
            ("acme le", "'acme' is a HAProxy parameter that reusedproxy does not do yet: no certificate is asked for"),
            ("domains a,b", "'domains' is a HAProxy parameter"),
            ("ocsp-update on", "'ocsp-update on' is a HAProxy parameter that reusedproxy does not do yet: take it out"),
            ("jwt on", "'jwt on' is a HAProxy parameter"),
            ("generate-dummy on", "'generate-dummy on' is a HAProxy parameter"),
            ("bits 2048", "no certificate is made"),
        ):
            (fault,) = faults(f"crt-store\n load crt a.pem {words}\n")
            self.assertIn("t.cfg:2: 'load': ", fault)
            self.assertIn(text, fault)
        notices = read(
            "crt-store\n load crt a.pem ocsp a.ocsp sctl a.sctl issuer a.issuer ocsp-update off jwt off"
        ).notices
        texts = [each.text for each in notices if each.place.line == 2]
        self.assertIn("'load': a.ocsp is not used, no OCSP responses are sent to clients yet", texts)
        self.assertIn("'load': a.sctl is not used, no certificate timestamps are sent to clients yet", texts)

    def test_faults_have_their_line(self) -> None:
        for lines, text in (
            (" load key a.key", "'load' needs 'crt' and a file: load crt site.pem alias site, say"),
            (" load crt", "'load': 'crt' needs a value"),
            (" load crt a.pem alais b", "'load': unknown word 'alais': did you mean 'alias'?"),
            (
                " load crt a.pem alias /b",
                "'load': the alias '/b' cannot begin with a slash: '@store/alias' asks for it",
            ),
            (" load crt a.pem ocsp-update maybe", "'load': 'ocsp-update' is one of 'on', 'off', not 'maybe'"),
            (" crt-base", "'crt-base' needs a directory"),
            (" lode crt a.pem", "unknown keyword 'lode' in section 'crt-store': did you mean 'load'?"),
        ):
            self.assertEqual(faults(f"crt-store web\n{lines}\n"), [f"t.cfg:2: {text}"])
        self.assertEqual(
            faults("crt-store web\n load crt a.pem\n key-base /keys\n"),
            ["t.cfg:3: 'key-base' stands behind a 'load', for which it does not count: move it before the first one"],
        )
        self.assertEqual(
            faults("crt-store web\n load crt a.pem alias x\n load crt b.pem alias x\n"),
            ["t.cfg:3: 'load': there is another '@web/x' already, of a.pem: give it an 'alias' of its own"],
        )
        self.assertEqual(faults("crt-store a b\n"), ["t.cfg:1: 'crt-store' does not take another argument: 'b'"])

    def test_a_line_that_cannot_be_split_leaves_the_section_begun(self) -> None:
        self.assertEqual(len(faults('crt-store "web\n load crt a.pem\n')), 1)
