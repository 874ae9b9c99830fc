"""Files of TLS: which are served of a directory, a bundle or a list, what is taken over at a reload,
what is not valid yet."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random
from typing import Any
from unittest import SkipTest, mock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.assembly import Assembly, Proxy
from reusedproxy.build.certificates import Served, serving
from reusedproxy.config.model.tls import BindTLS, CertificateSource, StoredCertificate, TLSOffer
from reusedproxy.daemon.load import Refused
from reusedproxy.daemon.service import ProxyService
from reusedproxy.demo.certificates import Credential
from reusedproxy.net.acting import NOBODY
from reusedproxy.net.files import LARGEST_TEXT, MEBIBYTE
from reusedproxy.net.slices import run_through
from reusedproxy.net.tls.crl import blocks_of_lists
from reusedproxy.net.tls.crl_files import LARGEST_REVOCATIONS
from reusedproxy.net.tls.files import LARGEST_AUTHORITIES, LARGEST_CERTIFICATE, TLSConfigurationError
from reusedproxy.net.tls.hello import ClientHello
from reusedproxy.net.tls.trusts import Trusts
from tests.handshakes import offer
from tests.integration.peers import LOOPBACK, temporary_directory
from tests.test_net_tls_server import revocations
from tests.wire import certificates, scratch

DAY = timedelta(days=1)


def serve(tls: BindTLS, previous: Iterable[Served] = ()) -> Served:
    """What a line serves, in one step."""
    return run_through(serving(tls, previous, Trusts()))


class FilesTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = scratch(self)
        self.authority = certificates().authority

    def write(self, path: str, credential: Credential | None = None, **fields: object) -> str:
        """A certificate whose common name is the file's."""
        where = self.folder / path
        where.parent.mkdir(exist_ok=True)
        made = credential or self.authority.issue(path, **{"key": "ecdsa", **fields})  # type: ignore[arg-type]
        return str(made.write(where))

    def text(self, path: str, *lines: str) -> str:
        (self.folder / path).write_text("".join(line + "\n" for line in lines))
        return str(self.folder / path)

    def tls(self, *sources: str, terms: TLSOffer | None = None, **fields: object) -> BindTLS:
        """Each source is "kind path", or the path of a `crt`."""
        made = [source.split() if " " in source else ["crt", source] for source in sources]
        return BindTLS(tuple(CertificateSource(*each) for each in made), terms or TLSOffer(), **fields)  # type: ignore[arg-type]

    def names(self, *sources: str, **fields: object) -> list[str]:
        """What is served, in order."""
        served = serve(self.tls(*sources, **fields))  # type: ignore[arg-type]
        return [os.path.relpath(each.crt, self.folder) for each in served.certificates.contexts]

    def fault(self, *sources: str, **fields: object) -> str:
        with self.assertRaises(TLSConfigurationError) as caught:
            serve(self.tls(*sources, **fields))  # type: ignore[arg-type]
        return str(caught.exception)


class FoundTests(FilesTestCase):
    """What a word comes to."""

    def test_a_directory_in_the_order_of_names(self) -> None:
        """By bytes, capitals first; what belongs to another file, and what begins with a dot, is no certificate."""
        for name in ("b.pem", "a.txt", "Z.pem", ".hidden"):
            self.write(f"d/{name}")
        for name in ("b.pem.key", "b.pem.issuer", "b.pem.ocsp", "b.pem.sctl"):
            self.text(f"d/{name}", "no certificate")
        (self.folder / "d" / "inside").mkdir()
        self.assertEqual(self.names(f"{self.folder}/d"), ["d/Z.pem", "d/a.txt", "d/b.pem"])

    def test_faults_of_a_directory(self) -> None:
        """Empty, or closed to us."""
        (self.folder / "e").mkdir()
        self.assertIn("there is no certificate in this directory", self.fault(f"{self.folder}/e"))
        with mock.patch("os.listdir", side_effect=PermissionError(13, "Permission denied")):
            self.assertIn("e: cannot be read: Permission denied", self.fault(f"{self.folder}/e"))

    def test_a_certificate_whose_key_is_said(self) -> None:
        """It counts in place of the one in the file; and a list may name what a `crt-store` has."""
        made = self.authority.issue("a.pem", key="ecdsa")
        other = self.authority.issue("b.pem", key="ecdsa")
        certificate, key = self.text("a.pem", made.certificate_pem.decode()), self.text("a.txt", made.key_pem.decode())
        both = self.text("both.pem", made.certificate_pem.decode() + other.key_pem.decode())
        for path in (certificate, both):
            serve(BindTLS((CertificateSource("crt", path, key),)))
            self.assertRaises(TLSConfigurationError, serve, BindTLS((CertificateSource("crt", path),)))
        stored = (StoredCertificate("@web/one", certificate, key),)
        served = serve(self.tls(f"crt-list {self.text('list', '@web/one one.test')}", stored=stored))
        (context,) = served.certificates.contexts
        self.assertEqual(context.crt, certificate)
        self.assertIn("no 'crt-store' above has '@web/on'", self.fault(f"crt-list {self.text('list', '@web/on')}"))

    def test_a_bundle(self) -> None:
        """The file itself, if there is one; else those of its name, and both are for whoever asks for nothing."""
        self.write("one.rsa", key="rsa")
        self.write("one.ecdsa")
        self.assertEqual(self.names(f"{self.folder}/one"), ["one.ecdsa", "one.rsa"])
        made = serve(self.tls(f"{self.folder}/one")).certificates
        for ecdsa, expected in ((True, "ecdsa"), (False, "rsa")):
            context = made.choose(ClientHello("other.test", ecdsa=ecdsa))
            assert context is not None
            self.assertEqual(context.kind, expected)
        self.write("one")
        self.assertEqual(self.names(f"{self.folder}/one"), ["one"])

    def test_a_file_that_is_not_there(self) -> None:
        """Is complained of by its own name."""
        self.assertEqual(self.fault("/none.pem"), "crt /none.pem: cannot be read: No such file or directory")

    def test_a_pipe_is_not_waited_for(self) -> None:
        """By all who are served meanwhile; wherever a file is named."""
        pipe, crt = str(self.folder / "pipe"), self.write("a.pem")
        os.mkfifo(pipe)
        for sources, terms in (
            ((pipe,), None),
            ((f"crt-list {pipe}",), None),
            ((crt,), TLSOffer(dh_file=pipe)),
            ((crt,), TLSOffer(verify="required", ca_file=pipe)),
            ((crt,), TLSOffer(verify="required", ca_file=certificates().ca_file, crl_file=pipe)),
        ):
            self.assertIn("it is a pipe, and a reload needs a file", self.fault(*sources, terms=terms))

    def test_a_file_without_end_is_not_read_to_its_end(self) -> None:
        """It would fill the memory, wherever it is named; so would a list of revocations with beginnings only, which
        is looked at once."""
        endless, crt = self.write("endless.pem"), self.write("a.pem")
        for size, sources, terms in (
            (LARGEST_CERTIFICATE, (endless,), None),
            (LARGEST_TEXT, (f"crt-list {endless}",), None),
            (LARGEST_CERTIFICATE, (crt,), TLSOffer(dh_file=endless)),
            (LARGEST_AUTHORITIES, (crt,), TLSOffer(verify="required", ca_file=endless)),
            (
                LARGEST_REVOCATIONS,
                (crt,),
                TLSOffer(verify="required", ca_file=certificates().ca_file, crl_file=endless),
            ),
        ):
            os.truncate(endless, size + 1)
            said = f"cannot be read: it has {size + 1} bytes, more than the {size // MEBIBYTE} MiB that are read of"
            self.assertIn(said, self.fault(*sources, terms=terms))

    def test_a_list_of_revocations_is_looked_at_once(self) -> None:
        """Not from each beginning to an end that is nowhere, which would take hours."""
        begin, end = b"-----BEGIN X509 CRL-----\n", b"-----END X509 CRL-----"
        content = b"a" + begin + b"b" + end + b"c" + begin * 2 + end + begin
        start, last = next(blocks_of_lists(content))
        self.assertEqual(content[start:last], begin + b"b" + end)
        self.assertEqual(len([*blocks_of_lists((begin + end) * 3 + begin * 200_000)]), 3)

    def test_a_list(self) -> None:
        """Names and terms of each line; base directories go before relative paths."""
        for name in ("a.pem", "b.pem"):
            self.write(name)
        path = self.text("list", "a.pem !*", "b.pem [verify required ca-file ca.pem] *.b.test")
        certificates().authority.write(self.folder / "ca.pem")
        tls = self.tls(f"crt-list {path}", crt_base=str(self.folder), ca_base=str(self.folder))
        made = serve(tls).certificates
        chosen = {name: made.choose(ClientHello(name)) for name in ("a.pem", "x.b.test")}
        self.assertEqual([each and each.offer.verify for each in chosen.values()], ["none", "required"])
        self.assertEqual(made.contexts[1].offer.ca_file, f"{self.folder}/ca.pem")

    def test_faults_of_a_list(self) -> None:
        """With its name and line."""
        crt = self.write("a.pem")
        for lines, words in (
            ((), "names no certificate"),
            ((f"{crt} [verify required]",), "line 1: 'verify required' needs 'ca-file <file>'"),
            (("# x", f"{crt} [alpn h2]"), "line 2: 'alpn'"),
            ((f"{crt} [ssl-min-ver TLSv1.3 ssl-max-ver TLSv1.2]",), "line 1: TLSv1.3 is above TLSv1.2"),
            ((str(self.folder),), "is a directory: name its files"),
            (("none.pem",), "crt none.pem: cannot be read"),
        ):
            path = self.text("list", *lines)
            fault = self.fault(f"crt-list {path}")
            self.assertIn(words, fault)
            if "none.pem" not in words:
                self.assertIn(f"crt-list {path}: ", fault)
        self.assertIn("crt-list /none: cannot be read", self.fault("crt-list /none"))
        (self.folder / "binary").write_bytes(b"\xff\xfe")
        self.assertIn("is not a text file in UTF-8 (byte 0)", self.fault(f"crt-list {self.folder}/binary"))


class StampTests(FilesTestCase):
    """What has not changed is the same object, with the sessions that clients may resume."""

    def test_root_reads_for_a_list_what_may_be_read_by_who_can_change_it(self) -> None:
        """The daemon's user could name anybody's key there."""
        if os.geteuid() != 0:
            raise SkipTest("only root reads for others")
        folder = self.folder = temporary_directory(self)
        folder.chmod(0o755)
        crt, roots = self.write("open.pem"), self.write("roots.pem")
        listed = self.text("list", crt)
        secret = self.text("secret", f"{crt} [verify optional ca-file {roots}]", roots)
        beside = self.text("beside", crt)
        # A list of root's for something else, to which the user's link leads.
        linked = str(folder / "linked")
        os.symlink(self.text("others", roots), linked)
        os.chown(linked, NOBODY, NOBODY, follow_symlinks=False)
        os.chmod(crt, 0o644)
        os.chmod(roots, 0o600)
        for path, owner, mode, refused in (
            (listed, NOBODY, 0o644, ""),
            (secret, 0, 0o644, ""),
            (secret, NOBODY, 0o644, roots),
            (secret, 0, 0o664, roots),
            (secret, 0, 0o646, roots),
            (linked, None, 0o644, roots),
            (beside, NOBODY, 0o644, f"{crt}.key"),
        ):
            if path == beside:
                self.write("open.pem.key")
                os.chmod(f"{crt}.key", 0o600)
            if owner is not None:
                os.chown(path, owner, owner)
            os.chmod(path, mode)
            if refused:
                text = (
                    f"line 1: who can change this list cannot read {refused} (Permission denied), so root does not"
                    " either: chown root"
                )
                self.assertIn(text, self.fault(f"crt-list {path}"))
            else:
                serve(self.tls(f"crt-list {path}"))

    def test_root_reads_for_a_list_what_all_who_can_change_it_may_read(self) -> None:
        """Its owner, and members of its group, who may be others than he; but for a group that is his alone."""
        if os.geteuid() != 0:
            raise SkipTest("only root reads for others")
        folder = self.folder = temporary_directory(self)
        folder.chmod(0o755)
        daemon = pwd.getpwnam("daemon")
        others = next(each.gr_gid for each in grp.getgrall() if each.gr_gid not in (0, daemon.pw_gid, NOBODY))
        crt, owners, groups = self.write("open.pem"), self.write("owners.pem"), self.write("groups.pem")
        os.chmod(crt, 0o644)
        os.chown(owners, daemon.pw_uid, 0)
        os.chown(groups, 0, others)
        os.chmod(owners, 0o600)
        os.chmod(groups, 0o640)
        for named, gid, mode, taken in (
            (owners, others, 0o644, True),
            (owners, others, 0o664, False),
            (owners, daemon.pw_gid, 0o664, True),
            (owners, daemon.pw_gid, 0o646, False),
            (groups, others, 0o664, False),
            (crt, others, 0o666, True),
        ):
            path = self.text("list", named)
            os.chown(path, daemon.pw_uid, gid)
            os.chmod(path, mode)
            if taken:
                serve(self.tls(f"crt-list {path}"))
            else:
                self.assertIn(f"cannot read {named} (Permission denied)", self.fault(f"crt-list {path}"))

    def test_nobody_learns_by_a_list_what_there_is_where_he_cannot_look(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root reads for others")
        folder = self.folder = temporary_directory(self)
        folder.chmod(0o755)
        self.write("hidden/there.pem")
        self.write("hidden/bundle.rsa")
        self.write("hidden/there/file.pem")
        (folder / "hidden").chmod(0o700)
        said = set()
        for name in ("there.pem", "none.pem", "there", "bundle"):
            path = self.text("list", f"{folder}/hidden/{name}")
            os.chown(path, NOBODY, NOBODY)
            said.add(self.fault(f"crt-list {path}").replace(name, "NAME"))
        (one,) = said
        self.assertIn("cannot read", one)
        path = self.text("list", f"{folder}/none.pem")
        os.chown(path, NOBODY, NOBODY)
        self.assertIn("none.pem (No such file or directory), so root does not", self.fault(f"crt-list {path}"))

    def test_any_file_that_changes_makes_it_new(self) -> None:
        """Certificate, key, authorities, revocations, list; and one more in a directory."""
        self.write("d/a.pem")
        crt = self.write("two.crt")
        (self.folder / "two.key").write_bytes(b"")
        listed = self.text("list", crt)
        ca_file = str(self.authority.write(self.folder / "ca.pem"))
        crl_file = self.text("crl", revocations(self.authority).decode())
        tls = self.tls(
            f"{self.folder}/d", f"crt-list {listed}", terms=offer(verify="optional", ca_file=ca_file, crl_file=crl_file)
        )
        was = serve(tls)
        self.assertIs(serve(tls, [was]), was)
        for path in ("d/a.pem", "two.crt", "two.key", "list", "ca.pem", "crl"):
            os.utime(self.folder / path, (1, 1))
            now = serve(tls, [was])
            self.assertIsNot(now, was, path)
            was = now
        self.write("d/b.pem")
        self.assertIsNot(serve(tls, [was]), was)
        self.assertIsNot(serve(self.tls(f"{self.folder}/d"), [was]), was)

    def test_a_list_that_offers_more_than_is_spoken(self) -> None:
        """HTTP/2 beside HTTP/1.1 is left out, with a warning that names the line."""
        served = serve(self.tls(f"crt-list {self.text('list', self.write('a.pem') + ' [alpn h2,http/1.1]')}"))
        (said,) = served.warnings
        self.assertRegex(said, "crt-list .*/list: line 1: 'alpn h2,http/1.1' offers http/1.1 only")
        (context,) = served.certificates.contexts
        self.assertEqual(context.offer.alpn, ("http/1.1",))

    def test_words_of_a_list_that_do_nothing_are_said(self) -> None:
        """As on a bind line: nobody is asked for a certificate."""
        crt, ca = self.write("a.pem"), certificates().ca_file
        for words, said in ((f"ca-file {ca}", 1), (f"verify required ca-file {ca}", 0), ("alpn http/1.1", 0)):
            served = serve(self.tls(f"crt-list {self.text('list', f'{crt} [{words}]')}"))
            found = [text for text in served.warnings if "line 1: 'ca-file' does nothing without 'verify" in text]
            self.assertEqual(len(found), said, words)

    def test_files_of_authorities_must_be_there_although_nobody_is_verified(self) -> None:
        """As in HAProxy, on a bind line and in a list."""
        crt = self.write("a.pem")
        missing, garbage = f"{self.folder}/missing", self.text("garbage", "no certificate")
        for word in ("ca-file", "ca-verify-file", "crl-file"):
            for path in (missing, garbage):
                listed = self.tls(f"crt-list {self.text('list', f'{crt} [{word} {path}]')}")
                said = self.tls(crt, terms=offer(**{word.replace("-", "_"): path}))
                for tls in (listed, said):
                    error = self.assertRaises(TLSConfigurationError, serve, tls)
                    self.assertIn(f"{word} {path}: ", str(error))
        (self.folder / "empty").mkdir()
        for word in ("ca_file", "ca_verify_file"):
            serve(self.tls(crt, terms=offer(**{word: f"{self.folder}/empty"})))
        os.mkfifo(self.folder / "pipe")  # which nobody writes to: it is not waited for
        pipe = self.tls(crt, terms=offer(crl_file=f"{self.folder}/pipe"))
        self.assertRaises(TLSConfigurationError, serve, pipe)
        for path in (f"{self.folder}/empty", certificates().ca_file):
            serve(self.tls(crt, terms=offer(crl_file=str(path))))

    def test_algorithms_of_signatures_are_those_of_the_line(self) -> None:
        """As in HAProxy 2.8; the other certificates of the listener have those of the bind line."""
        a, b = self.write("a.pem"), self.write("b.pem")
        tls = self.tls(f"crt-list {self.text('list', f'{a} [sigalgs RSA-PSS+SHA384]', b)}")
        served = serve(tls)
        self.assertEqual([each.offer.sigalgs for each in served.certificates.contexts], ["RSA-PSS+SHA384", None])
        bad = self.tls(f"crt-list {self.text('list', f'{a} [sigalgs xyzzy]')}")
        self.assertIn("sigalgs xyzzy", str(self.assertRaises(TLSConfigurationError, serve, bad)))

    def test_a_word_without_effect_is_told(self) -> None:
        """No early data is taken, which a line may allow."""
        crt = self.write("a.pem")
        served = serve(self.tls(f"crt-list {self.text('list', f'{crt} [allow-0rtt]')}"))
        (said,) = served.warnings
        self.assertTrue(said.endswith("list: line 1: 'allow-0rtt' is without effect in reusedproxy"), said)

    def test_each_certificate_knows_whom_it_admits(self) -> None:
        """By what a client has to show; a list that only gives the same words to another name is another one."""
        ca = certificates().ca_file
        a, b = self.write("a.pem"), self.write("b.pem")

        def admissions(*lines: str) -> list[object]:
            served = serve(self.tls(f"crt-list {self.text('list', *lines)}"))
            return [each.admission for each in served.certificates.contexts]

        asks = f"[verify required ca-file {ca}]"
        free, bound = admissions(f"{a}", f"{b} {asks}")
        self.assertNotEqual(free, bound)
        self.assertEqual(admissions(f"{a} {asks}", f"{b}"), [bound, free])
        self.assertEqual(admissions(f"{a} {asks}", f"{b} {asks} b.test"), [bound, bound])
        nameless, modern = admissions(f"{a} [ssl-min-ver TLSv1.3]")
        self.assertNotEqual(modern, free)
        self.assertEqual(nameless, free)

    def test_a_file_of_a_ca_that_is_named_for_its_list_too_admits_others(self) -> None:
        """Who was let in before may have a certificate that the list revokes."""
        authority = certificates().authority
        both = self.text("both.pem", f"{Path(certificates().ca_file).read_text()}{revocations(authority).decode()}")
        asks = f"{self.write('a.pem')} [verify required ca-file {both}{{}}]"

        def admission(more: str) -> object:
            (context,) = serve(self.tls(f"crt-list {self.text('list', asks.format(more))}")).certificates.contexts
            return context.admission

        self.assertNotEqual(admission(""), admission(f" crl-file {both}"))

    def test_who_asks_for_no_name_of_ours_has_the_versions_of_the_bind_line(self) -> None:
        """As in HAProxy, whatever the first line of a list says for its own names."""
        a, b = self.write("a.pem"), self.write("b.pem")

        def versions(line: str, terms: TLSOffer, name: str, **more: Any) -> tuple[str, str] | None:
            source = f"crt-list {self.text('list', f'{a} {line} a.test', f'{b} b.test')}"
            served = serve(self.tls(source, terms=terms, **more))
            chosen = served.certificates.choose(ClientHello(server_name=name))
            return None if chosen is None else (chosen.offer.min_version, chosen.offer.max_version)

        strict, open_ = TLSOffer(min_version="TLSv1.3"), TLSOffer()
        own = "[ssl-min-ver TLSv1.2]"
        usual = (open_.min_version, open_.max_version)
        self.assertEqual(versions(own, strict, "a.test"), ("TLSv1.2", "TLSv1.3"))
        self.assertEqual(versions(own, strict, "zz.test"), ("TLSv1.3", "TLSv1.3"))
        self.assertEqual(versions("", strict, "zz.test"), ("TLSv1.3", "TLSv1.3"))
        self.assertEqual(versions("[ssl-min-ver TLSv1.3]", open_, "zz.test"), usual)
        self.assertIsNone(versions(own, strict, "zz.test", strict_sni=True))

    def test_a_line_for_any_name_does_not_take_the_place_of_the_first(self) -> None:
        """Whose words hold for clients without a name of ours: who must show a certificate. The versions do not."""
        a, b, ca = self.write("a.pem"), self.write("b.pem"), certificates().ca_file
        for first in ("a.test", "*"):
            for more in ("", " ssl-min-ver TLSv1.3"):
                lines = f"{a} [verify required ca-file {ca}{more}] {first}", f"{b} *"
                served = serve(self.tls(f"crt-list {self.text('list', *lines)}"))
                for name in (None, "zz.test"):
                    chosen = served.certificates.choose(ClientHello(server_name=name, ecdsa=True))
                    assert chosen is not None
                    self.assertEqual((chosen.crt, chosen.offer.verify), (a, "required"), (first, more, name))
                    self.assertEqual(chosen.offer.min_version, TLSOffer().min_version)

    def test_a_line_for_any_name_with_another_type_of_key_does_not_take_the_place_of_the_first(self) -> None:
        """A client says which types of key it accepts, and may do so to be let in without a certificate."""
        a, b, ca = self.write("a.pem", key="rsa"), self.write("b.pem"), certificates().ca_file
        for more in ("", " ssl-min-ver TLSv1.3"):
            lines = f"{a} [verify required ca-file {ca}{more}] a.test", f"{b} *"
            served = serve(self.tls(f"crt-list {self.text('list', *lines)}"))
            for name in (None, "zz.test"):
                for hello in (ClientHello(server_name=name, ecdsa=True), ClientHello(name, rsa=False, ecdsa=True)):
                    chosen = served.certificates.choose(hello)
                    assert chosen is not None
                    self.assertEqual((chosen.crt, chosen.offer.verify), (a, "required"), (more, hello))

    def test_lines_that_say_the_same_share_it(self) -> None:
        """A certificate for several addresses is read once."""
        crt = self.write("a.pem")
        was = serve(self.tls(crt))
        self.assertIs(serve(self.tls(crt), [was]), was)


class DateTests(FilesTestCase):
    """What cannot work today is said; it is served all the same."""

    def test_our_certificate(self) -> None:
        """One that has ended is `operators.expiry`'s matter, from the start on."""
        now = datetime.now(timezone.utc)
        old, new = self.write("old.pem", not_after=now - DAY), self.write("new.pem", not_before=now + DAY)
        (said,) = serve(self.tls(old, new, self.write("good.pem"))).warnings
        self.assertIn(f"crt {new}: is not valid yet, before", said)

    def test_files_that_haproxy_would_use(self) -> None:
        """They are not silently left out."""
        crt = self.write("a.pem")
        self.text("a.pem.ocsp", "")
        self.text("a.pem.sctl", "")
        first, second = serve(self.tls(crt)).warnings
        self.assertIn("a.pem.ocsp: is not used, no OCSP responses are sent to clients yet", first)
        self.assertIn("a.pem.sctl: is not used", second)


HEAD = "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"


class AssemblyTests(FilesTestCase):
    """From the configuration's text to a listener's certificates."""

    def assemble(self, *binds: str, previous: Proxy | None = None) -> Proxy:
        lines = "".join(f" bind {LOOPBACK}:{number} {bind}\n" for number, bind in enumerate(binds, 20000))
        path = self.text("proxy.cfg", f"{HEAD}frontend f\n stats enable\n{lines}")
        service = ProxyService(Clock(), [path])
        service.proxy = previous
        return service.assemble(bind=False)

    def test_each_line_has_its_own(self) -> None:
        """And those in the clear have none; the same is read once."""
        crt = self.write("a.pem")
        proxy = self.assemble("", f"ssl crt {crt}", f"ssl crt {crt}", f"ssl crt {crt} strict-sni")
        (frontend,) = proxy.frontends
        clear, one, two, strict = (
            frontend.handshakes.certificates.get(bind.address) for bind in frontend.settings.binds
        )
        self.assertIsNone(clear)
        self.assertIs(one, two)
        assert strict is not None and one is not None
        self.assertEqual((strict.strict, one.strict), (True, False))

    def test_a_fault_names_line_address_and_file(self) -> None:
        """All of them at once."""
        with self.assertRaises(Refused) as caught:
            self.assemble("ssl crt /none.pem", "ssl crt /none.too")
        first, second = str(caught.exception).splitlines()
        self.assertIn("proxy.cfg:8: bind 127.0.0.1:20000: crt /none.pem: cannot be read: No such file", first)
        self.assertIn("proxy.cfg:9: bind 127.0.0.1:20001: crt /none.too: ", second)

    def test_what_is_unchanged_is_taken_over(self) -> None:
        """What has changed is not, and its warnings are said again."""
        old = self.write("a.pem", not_before=datetime.now(timezone.utc) + DAY)
        good = self.write("b.pem")
        was = self.assemble(f"ssl crt {old}", f"ssl crt {good}")
        self.assertEqual([notice.text.partition("a.pem")[2][:18] for notice in was.notices], [": is not valid yet"])
        os.utime(good, (1, 1))
        now = self.assemble(f"ssl crt {old}", f"ssl crt {good}", previous=was)
        self.assertEqual(now.notices, [])
        same = [now.served[address] is was.served[address] for address in was.served]
        self.assertEqual(same, [True, False])

    def test_a_renewal_of_files_says_what_is_new_of_them(self) -> None:
        """A list that has not changed would fill the log with each certificate that is renewed."""
        crt = self.write("a.pem")
        listed = self.text("list", f"{crt} [ca-file {certificates().ca_file}]")
        was = self.assemble(f"ssl crt-list {listed}")
        self.assertIn("list: line 1: 'ca-file' does nothing", *(notice.text for notice in was.notices))

        def renewed() -> list[str]:
            clock = Clock()
            assembly = Assembly(
                was.configuration, clock, was.poller, Random(1), lambda level, text, section="": None, was
            )
            return [notice.text for notice in assembly.build(bind=False).notices]

        os.utime(crt, (1, 1))
        self.assertEqual(renewed(), [])
        self.text("a.pem.sctl", "")
        self.assertIn("a.pem.sctl: is not used", *renewed())
