"""Where relative names of files begin (`default-path`)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.files import with_base
from reusedproxy.config.model.errors import AnswerFile
from reusedproxy.config.model.proxies import Configuration
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from tests.rulefakes import DEFAULTS

#: Lines with a mark before each relative name of a file.
LINES = (
    "errorfile 503 <>a.http",
    "errorfile 503 /a.http",
    "acl x src -i -f <>a -f /b -f <>c",
    "http-request deny if { path -f <>a } !{ src -f <>b }",
    "acl x src -f opt@<>a -f virt@v -f file@<>b -f opt@/c",
    "http-request add-acl(opt@<>a) k if { src,map(virt@m) -m found }",
    "http-request return status 200 content-type file file <>a",
    "http-request return string file hdr lf-file file",
    "http-request deny deny_status 400 errorfile <>a if x",
    "http-request return lf-file <>a hdr file -f",
    "http-error status 404 content-type text/x file <>a",
    "http-request set-map(<>a.map) k %[src,map_ip(<>b.map,x)]",
    "http-request set-header X %[path,lower,map('<>a b')]:%[src,map(/c)]",
    "use_backend %[path,map_beg(<>a)] if TRUE",
    "server file a:1",
    "http-request set-path /map(a)",
)
TEXT = (
    "frontend f\n bind :1 ssl crt a.pem ca-file ca.pem crl-file /crl verify required\n bind :2 ssl crt-list l\n"
    " errorfile 503 e.http\n default_backend b\nbackend b\n server s 192.0.2.1:1 ssl crt c.pem ca-file @system-ca\n"
)


def read(*sources: tuple[str, str]) -> Configuration:
    return read_configuration([Source(name, text) for name, text in sources], {})


def files_of(configuration: Configuration) -> list[str | None]:
    found: list[str | None] = []
    for bind in configuration.frontends["f"].binds:
        assert bind.tls is not None
        found += [each.path for each in bind.tls.sources]
        found += [bind.tls.offer.ca_file, bind.tls.offer.crl_file, bind.tls.crt_base]
    tls = configuration.backends["b"].servers[0].tls
    assert tls is not None
    return [*found, tls.crt, tls.ca_file]


class FileTests(SynchronousTestCase):
    def test_files_are_found_among_the_words(self) -> None:
        for line in LINES:
            words = tuple(line.replace("<>", "").split(" "))
            self.assertEqual(" ".join(with_base(words, "d")), line.replace("<>", "d/"))

    def test_files_of_tls_have_their_own_bases_or_that(self) -> None:
        text = DEFAULTS + TEXT
        bare = ["a.pem", "ca.pem", "/crl", "", "l", None, None, "", "c.pem", "@system-ca"]
        for path in ("", "global\n default-path current\n"):
            self.assertEqual(files_of(read(("/etc/x/a.cfg", path + text))), bare)
        all_there = ["/etc/x/a.pem", "/etc/x/ca.pem", "/crl", "/etc/x", "/etc/x/l", None, None, "/etc/x"]
        all_there += ["/etc/x/c.pem", "@system-ca"]
        for path in ("config", "origin /etc/x"):
            self.assertEqual(files_of(read(("/etc/x/a.cfg", f"global\n default-path {path}\n" + text))), all_there)
        based = read(("/etc/x/y/a.cfg", "global\n default-path parent\n crt-base c\n ca-base /ca\n" + text))
        at = "/etc/x/y/.."
        wanted = [f"{at}/c/a.pem", "/ca/ca.pem", "/crl", f"{at}/c", f"{at}/l", None, None, f"{at}/c"]
        self.assertEqual(files_of(based), [*wanted, f"{at}/c/c.pem", "@system-ca"])

    def test_each_file_of_the_configuration_has_its_own_directory(self) -> None:
        """Lines before the word have that of the daemon."""
        made = read(
            ("/a/1.cfg", DEFAULTS + " errorfile 500 e\nglobal\n default-path config\n"),
            ("/b/2.cfg", TEXT.replace("default_backend", "errorfile 404 e\n default_backend")),
        )
        files = {
            each.status: each.source.path for each in made.frontends["f"].errors if isinstance(each.source, AnswerFile)
        }
        self.assertEqual(files, {500: "e", 503: "/b/e.http", 404: "/b/e"})

    def test_what_it_cannot_say(self) -> None:
        for words, wanted in (
            ("", "'default-path'"),
            ("here", "'default-path'"),
            ("origin", "'default-path origin' needs one directory"),
            ("config x", "'x'"),
        ):
            with self.assertRaises(ConfigurationError) as raised:
                read(("a.cfg", f"global\n default-path {words}\n"))
            self.assertIn(wanted, str(raised.exception))
