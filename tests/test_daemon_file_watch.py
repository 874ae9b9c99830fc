"""`ssl-watch`: files of TLS that change are taken up by themselves, once they have come to rest; bad ones are not."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from unittest import mock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.certificates import FilesOfTLS, Stamps, server_stamps, serving, stamps_of
from reusedproxy.config.model.proxies import Configuration
from reusedproxy.config.model.tls import BindTLS, ServerTLS
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.daemon.reloading.file_watch import FileWatch
from reusedproxy.net.slices import Steps, run_through
from reusedproxy.net.tls.openssl_server import paths_of_system
from reusedproxy.net.tls.trusts import Trusts
from tests.integration.peers import LOOPBACK
from tests.services import HEAD, FilesTestCase, ServiceTestCase
from tests.test_net_tls_server import revocations


class WatchTests(SynchronousTestCase):
    """When it tells, and of what; a look every 10 s."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.files = {"a": 1, "b": 1}
        self.told: list[list[str]] = []
        self.watch = FileWatch(self.clock, self.told.append)
        self.watch.begin(10.0, self.stamps(), self.look)

    def stamps(self) -> Stamps:
        return tuple((name, time, 0, 0, 0) for name, time in self.files.items())

    def look(self) -> Steps[Stamps]:
        yield
        return self.stamps()

    def looks(self, count: int = 1) -> None:
        self.clock.pump([10.0] * count)

    def test_what_does_not_change_is_not_told_of(self) -> None:
        self.looks(5)
        self.assertEqual(self.told, [])

    def test_a_change_is_told_of_when_it_was_the_same_for_one_more_look(self) -> None:
        """A renewal writes several files, and not all at once."""
        self.files["a"] = 2
        self.looks()
        self.files["b"] = 2
        self.looks()
        self.assertEqual(self.told, [])
        self.looks()
        self.assertEqual(self.told, [["a", "b"]])

    def test_files_that_come_and_go_are_changes(self) -> None:
        del self.files["a"]
        self.files["c"] = 1
        self.looks(2)
        self.assertEqual(self.told, [["a", "c"]])

    def test_a_change_that_is_taken_back_is_none(self) -> None:
        self.files["a"] = 2
        self.looks()
        self.files["a"] = 1
        self.looks(3)
        self.assertEqual(self.told, [])

    def test_it_is_told_again_until_something_is_done_about_it(self) -> None:
        """A reload may be under way, and then there is no time for it."""
        self.files["a"] = 2
        self.looks(3)
        self.assertEqual(len(self.told), 2)
        self.watch.begin(10.0, self.stamps(), self.look)
        self.looks(3)
        self.assertEqual(len(self.told), 2)

    def test_what_was_refused_is_not_told_of_until_it_changes_again(self) -> None:
        self.files["a"] = 2
        self.looks(2)
        self.watch.refuse()
        self.looks(5)
        self.assertEqual(len(self.told), 1)
        self.files["a"] = 3
        self.looks(2)
        self.assertEqual(len(self.told), 2)

    def test_it_looks_only_when_it_is_asked_to(self) -> None:
        """No timer is left by one that has stopped, or was never asked."""
        self.watch.stop()
        self.watch.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.watch.begin(None, (), self.look)
        self.assertEqual(self.clock.getDelayedCalls(), [])


def one_bind(configuration: Configuration) -> BindTLS:
    """What the first bind line serves."""
    tls = configuration.frontends["f"].binds[0].tls
    assert tls is not None
    return tls


class StampTests(FilesTestCase):
    """What is looked at."""

    def configuration(self, bind: str, server: str) -> Configuration:
        sections = (
            f"frontend f\n bind :1 ssl {bind}\nfrontend off\n disabled\n bind :2 ssl crt off.pem\n"
            f"backend b\n server s {LOOPBACK}:1 {server}\n"
        )
        return read_configuration([Source("x.cfg", HEAD + sections)], {})

    def named(self, bind: str, server: str) -> set[str]:
        stamps = FilesOfTLS(self.configuration(bind, server)).stamps()
        return {os.path.relpath(stamp[0], self.folder) for stamp in stamps}

    def test_all_files_of_both_sides_and_what_lies_in_directories(self) -> None:
        d = self.folder
        for path in ("bind.pem", "listed.crt", "listed.key", "client.pem"):
            self.write(path)
        for path in ("bundle.rsa", "bundle.ecdsa.key"):
            self.write(path)
        for directory in ("site", "cas"):
            (d / directory).mkdir()
            self.write(f"{directory}/one.pem")
        self.text("crl", revocations(self.authority).decode())
        self.write("listed-ca.pem")
        self.write("server-ca.pem")
        listed = self.text("list", f"{d}/listed.crt [verify required ca-file {d}/listed-ca.pem]\n{d}/none.pem\n")
        bind = (
            f"crt {d}/bind.pem crt {d}/site crt {d}/bundle crt-list {listed} verify required ca-file {d}/cas"
            f" crl-file {d}/crl"
        )
        server = f"check-ssl check ca-file {d}/server-ca.pem crt {d}/client.pem verifyhost s.test"
        expected = (
            "bind.pem site/one.pem bundle.rsa bundle.ecdsa.key list listed.crt listed.key listed-ca.pem cas/one.pem crl"
            " server-ca.pem client.pem"
        )
        self.assertEqual(self.named(bind, server), set(expected.split()))
        self.write("none.pem")
        self.assertIn("none.pem", self.named(bind, server))

    def test_keys_that_a_store_says(self) -> None:
        """Of a `bind` line, of a list, and of a server."""
        d = self.folder
        for path in ("a.pem", "b.pem", "c.pem", "a.key", "b.key", "c.key"):
            self.write(path)
        store = f"crt-store web\n crt-base {d}\n key-base {d}\n"
        store += "".join(f" load crt {name}.pem key {name}.key alias {name}\n" for name in "abc")
        sections = f"frontend f\n bind :1 ssl crt @web/a crt-list {self.text('list', '@web/b' + chr(10))}\n"
        sections += f"backend b\n server s {LOOPBACK}:1 ssl verify none crt @web/c\n"
        stamps = FilesOfTLS(read_configuration([Source("x.cfg", HEAD + store + sections)], {})).stamps()
        named = {os.path.relpath(stamp[0], d) for stamp in stamps}
        self.assertEqual(named, {"list", *(f"{name}.{end}" for name in "abc" for end in ("pem", "key"))})

    def test_what_a_list_names_is_what_it_names_now(self) -> None:
        """And a certificate may come as a bundle, where there was none."""
        self.write("one.pem")
        path = self.text("list", f"{self.folder}/one.pem\n")
        files = FilesOfTLS(self.configuration(f"crt-list {path}", ""))
        self.assertEqual([os.path.basename(stamp[0]) for stamp in files.stamps()], ["list", "one.pem"])
        self.text("list", f"{self.folder}/one.pem\n{self.folder}/two\n")
        self.write("two.ecdsa")
        self.assertEqual([os.path.basename(stamp[0]) for stamp in files.stamps()], ["list", "one.pem", "two.ecdsa"])

    def test_hidden_files_are_not_looked_at(self) -> None:
        """They are not used, and an editor's come and go."""
        (self.folder / "cas").mkdir()
        self.write("cas/one.pem")
        files = FilesOfTLS(self.configuration(f"crt {self.folder}/cas", ""))
        before = files.stamps()
        self.text("cas/.one.pem.swp", "nonsense")
        self.assertEqual(files.stamps(), before)

    def test_the_systems_authorities_are_files_too(self) -> None:
        """One that is taken out of them must not stay trusted. A thousand lines that trust them look at them once."""
        (self.folder / "dir").mkdir()
        file, inside = self.write("cas.pem"), self.write("dir/0123abcd.0")
        bind, server = f"crt {self.write('b.pem')} verify required ca-file @system-ca", "ssl ca-file @system-ca"
        where = {"SSL_CERT_FILE": file, "SSL_CERT_DIR": f"{self.folder}/none:{self.folder}/dir"}
        with mock.patch.dict(os.environ, where):
            configuration = self.configuration(bind, f"{server} verifyhost s.test")
            files, tls = FilesOfTLS(configuration), ServerTLS(ca_file="@system-ca")
            for path in (file, inside):
                watched, of_server, known = files.stamps(), server_stamps(tls, {}, Trusts()), dict[str, Stamps]()
                self.assertLessEqual({file, inside}, {stamp[0] for stamp in of_server})
                self.assertEqual(tuple(server_stamps(tls, known, Trusts()) for _ in range(2)), (of_server, of_server))
                served = run_through(serving(one_bind(configuration), (), Trusts()))
                self.assertIs(run_through(serving(one_bind(configuration), [served], Trusts())), served)
                self.write(os.path.relpath(path, self.folder))
                self.assertNotEqual(files.stamps(), watched)
                self.assertNotEqual(server_stamps(tls, {}, Trusts()), of_server)
                again = run_through(serving(one_bind(configuration), [served], Trusts()))
                contexts = [each.certificates.contexts[0] for each in (served, again)]
                self.assertNotEqual(*(each.admission for each in contexts))

    def test_the_systems_authorities_are_where_openssl_looks(self) -> None:
        """Or where cryptography's wheels do, which are built elsewhere."""
        with mock.patch.dict(os.environ):
            for each in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
                os.environ.pop(each, None)
            found = paths_of_system()
            self.assertIn("/etc/ssl/certs/ca-certificates.crt", found)
            self.assertIn("/etc/ssl/certs", found)

    def test_a_file_that_is_made_to_look_as_it_was_has_changed(self) -> None:
        """As one out of an archive may look: of the same size, and of the same time."""
        path = self.write("cas.pem")
        before, seen = stamps_of([path]), os.stat(path)
        while os.stat(path).st_ctime_ns == seen.st_ctime_ns:  # the kernel's clock has ticks of 4 ms
            with open(path, "r+b") as file:
                file.write(b"+")
            os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
        self.assertNotEqual(stamps_of([path]), before)

    def test_a_list_that_cannot_be_read_is_looked_at_itself(self) -> None:
        path = self.text("list", "/a.pem [nonsense]\n")
        self.assertEqual(self.named(f"crt-list {path}", ""), {"list"})


class RenewalTests(ServiceTestCase):
    """The whole service on a clock; it looks every second."""

    def setUp(self) -> None:
        super().setUp()
        self.crt, self.client = self.write("front.pem"), self.write("client.pem", client=True)
        ca_file = self.authority.write(self.folder / "ca.pem")
        self.config = self.text(
            "proxy.cfg",
            f"global\n ssl-watch 1s\n{HEAD}frontend f\n bind {LOOPBACK}:0 ssl crt {self.crt}\n default_backend b\n"
            f"backend b\n server s localhost:1 ssl ca-file {ca_file} crt {self.client} sni str(s.test)\n",
        )
        self.start_with(self.config)

    def shown(self) -> list[str]:
        """The common names that clients and servers are shown."""
        (frontend,) = self.proxy.frontends
        (listener,) = frontend.listeners
        assert listener.certificates is not None
        (context,) = listener.certificates.contexts
        return [context.names[0], str(self.proxy.lines["b/s"].pool.context.generation)]  # type: ignore[union-attr]

    def looks(self, count: int) -> None:
        self.reactor.pump([1.0] * count)

    def test_what_was_renewed_is_shown(self) -> None:
        """Of both sides, after two looks; the log names the files."""
        self.write("front.pem", "new")
        self.write("client.pem", "new", client=True)
        self.looks(1)
        self.assertEqual(self.shown(), ["front.pem", "1"])
        self.looks(7)  # the server is not there: then the new pool is not waited for, once that is known
        self.assertEqual(self.shown(), ["new", "2"])
        told = f"files of TLS ({self.client}, {self.crt}) reloaded: 0 of 1 pools kept as they are"
        self.assertIn(("notice", told), self.announced)

    def test_a_secret_that_kubelet_replaces_is_seen(self) -> None:
        """It renames a link to a directory over the one before, `..data`; the links to the files stay as they are."""

        def put(version: str, name: str) -> None:
            (secret / version).mkdir(parents=True)
            self.write(f"secret/{version}/tls.pem", name)
            os.symlink(version, secret / "..data_tmp")
            os.rename(secret / "..data_tmp", secret / "..data")

        secret = self.folder / "secret"
        put("..2026_1", "front.pem")
        os.symlink("..data/tls.pem", secret / "tls.pem")
        Path(self.config).write_text(Path(self.config).read_text().replace(self.crt, f"{secret}/tls.pem"))
        self.service.reload()
        self.looks(8)
        put("..2026_2", "new")
        shutil.rmtree(secret / "..2026_1")
        self.looks(8)
        self.assertEqual(self.shown()[0], "new")
        self.assertIn(f"files of TLS ({secret}/tls.pem) reloaded", "".join(text for _, text in self.announced))

    def test_the_configuration_is_not_read_again(self) -> None:
        """It may be half edited; SIGHUP says when it is whole."""
        Path(self.config).write_text("backend half\n balnce")
        self.write("front.pem", "new")
        self.looks(2)
        self.assertEqual(self.shown(), ["new", "1"])
        self.assertEqual([text for level, text in self.announced if level != "notice"], [])

    def test_the_patterns_of_rules_are_not_read_again(self) -> None:
        """They are the configuration's, and may be half edited, or away, too; SIGHUP reads them."""
        denied = Path(self.text("denied", "/a\n"))
        before = Path(self.config).read_text()
        rule = f" http-request deny if {{ path -f {denied} }}\n default_backend b\n"
        Path(self.config).write_text(before.replace(" default_backend b\n", rule))
        self.service.reload()
        self.looks(8)
        denied.write_text("/b\n")
        self.write("front.pem", "new")
        self.looks(8)
        self.assertEqual((self.shown()[0], self.proxy.patterns), ("new", {str(denied): ["/a"]}))
        denied.unlink()
        self.write("front.pem", "newer")
        self.looks(8)
        self.assertEqual((self.shown()[0], self.proxy.patterns), ("newer", {str(denied): ["/a"]}))
        self.assertEqual([text for level, text in self.announced if level in ("alert", "error")], [])
        denied.write_text("/c\n")
        self.service.reload()
        self.looks(8)
        self.assertEqual(self.proxy.patterns, {str(denied): ["/c"]})

    def test_names_are_not_resolved_again(self) -> None:
        """A name server that is away must not keep a certificate from being renewed."""
        self.write("client.pem", "new", client=True)
        with mock.patch("socket.getaddrinfo", side_effect=socket.gaierror(-3, "try again")):
            self.looks(8)
        self.assertEqual(self.shown(), ["front.pem", "2"])

    def test_a_bad_file_changes_nothing_and_is_said_once(self) -> None:
        """With the line and the reason; again when it is another one. A good one ends it."""
        Path(self.crt).write_text("nothing")
        self.write("client.pem", "new", client=True)
        self.looks(20)
        where = f"{self.config}:9: bind {LOOPBACK}:0: crt {self.crt}"
        self.assertEqual(
            self.announced,
            [
                (
                    "alert",
                    f"ssl-watch: {where}: is no PEM file (it has no line that begins with -----BEGIN);"
                    " all files of TLS stay in use as they were, and are tried again in 30 s",
                )
            ],
        )
        self.assertEqual(self.shown(), ["front.pem", "1"])
        os.unlink(self.crt)
        self.looks(20)
        self.assertEqual([level for level, text in self.announced], ["alert", "alert"])
        self.assertIn("cannot be read: No such file", self.announced[1][1])
        self.write("front.pem", "new")
        self.looks(8)
        self.assertEqual(self.shown(), ["new", "2"])

    def test_several_faults_are_one_line(self) -> None:
        for path in (self.crt, self.client):
            Path(path).write_text("nothing")
        self.looks(5)
        ((_, text),) = self.announced
        self.assertIn(" (and 1 more); all files", text)

    def test_sighup_says_all_that_is_wrong_as_before(self) -> None:
        Path(self.crt).write_text("nothing")
        self.service.reload()
        self.assertEqual([text.partition(":")[0] for _, text in self.announced], ["reload", "reload refused"])

    def test_what_sighup_has_taken_up_is_not_taken_up_again(self) -> None:
        self.write("front.pem", "new")
        self.service.reload()
        self.assertEqual(self.shown()[0], "new")
        self.announced.clear()
        self.looks(5)
        self.assertEqual(self.announced, [])

    def test_another_change_while_one_is_tried_is_taken_up_later(self) -> None:
        """The server does not answer, so that the new pool is waited for."""
        self.write("client.pem", "new", client=True)
        self.looks(2)
        self.write("front.pem", "new")
        self.looks(10)
        self.assertEqual(self.shown(), ["new", "2"])

    def test_it_ends_with_the_service(self) -> None:
        """Also while it drains: nobody new will be shown anything."""
        self.service.stopService()
        self.write("front.pem", "new")
        self.looks(5)
        self.assertEqual((self.service.state, self.announced), ("stopped", []))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
