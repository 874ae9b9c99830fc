"""`user`, `group` and `chroot` of the global section: whom root becomes, what is refused,
what a reload will be able to read."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Mapping
from unittest import SkipTest, mock

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.proxies import Global
from reusedproxy.config.model.values import Place
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.daemon.load import Refused
from reusedproxy.daemon.service import ProxyService
from reusedproxy.daemon.starting.account import Account, UnknownAccount, account_of, change_notices, judged
from tests.integration.peers import LOOPBACK, temporary_directory
from tests.services import HEAD, Reactor, keep_signals

NOBODY = pwd.getpwnam("nobody")
#: Somebody else whom every system has.
DAEMON = pwd.getpwnam("daemon")


def said(lines: str) -> Global:
    return read_configuration([Source("x.cfg", f"global\n{lines}\n{HEAD}")], {}).global_


class AccountTests(SynchronousTestCase):
    """Whom the daemon becomes."""

    def account(self, lines: str, **options: object) -> Account | None:
        return account_of(said(lines), options)

    def test_a_user_brings_his_group_and_all_others_that_he_is_in(self) -> None:
        for line in ("user nobody", f"uid {NOBODY.pw_uid}"):
            expected = Account(NOBODY.pw_uid, NOBODY.pw_gid, tuple(os.getgrouplist("nobody", NOBODY.pw_gid)))
            self.assertEqual(self.account(f" {line}"), expected)

    def test_a_group_takes_the_place_of_his_own(self) -> None:
        account = self.account(f" user nobody\n group {grp.getgrgid(DAEMON.pw_gid).gr_name}")
        assert account is not None
        self.assertEqual((account.uid, account.gid), (NOBODY.pw_uid, DAEMON.pw_gid))
        self.assertIn(DAEMON.pw_gid, account.groups)
        self.assertEqual(self.account(" gid 12345"), Account(0, 12345, (12345,)))

    def test_a_number_that_is_nobodys_is_taken_as_it_is(self) -> None:
        self.assertEqual(self.account(" uid 123456\n gid 7"), Account(123456, 7, (7,)))
        self.assertEqual(self.account(" uid 123456"), Account(123456, 123456, (123456,)))

    def test_names_that_nobody_has_are_told_with_their_line(self) -> None:
        for line, text in (
            (" user no-such", "'user': there is no user 'no-such': adduser"),
            (" group no-such", "'group': there is no group"),
        ):
            error = self.assertRaises(UnknownAccount, self.account, line)
            self.assertEqual(str(error.faults[0][0]), "x.cfg:2")
            self.assertIn(text, str(error))
        both = self.assertRaises(UnknownAccount, self.account, " user no-such\n group neither")
        self.assertEqual([str(place) for place, _ in both.faults], ["x.cfg:2", "x.cfg:3"])

    def test_twistds_options_count_more(self) -> None:
        self.assertIsNone(self.account(" user nobody", uid=DAEMON.pw_uid))
        account = self.account(" user nobody", gid=DAEMON.pw_gid)
        assert account is not None
        self.assertEqual((account.uid, account.gid), (NOBODY.pw_uid, DAEMON.pw_gid))
        self.assertIsNone(self.account(""))

    def test_groups_go_before_the_user_who_could_not_change_them(self) -> None:
        done = mock.Mock()
        with (
            mock.patch("os.setgroups", done.groups),
            mock.patch("os.setgid", done.gid),
            mock.patch("os.setuid", done.uid),
        ):
            Account(7, 8, (8, 9)).become()
        self.assertEqual(done.mock_calls, [mock.call.groups((8, 9)), mock.call.gid(8), mock.call.uid(7)])

    def test_files_that_an_account_cannot_read(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can try what others may")
        before = (os.geteuid(), os.getegid(), os.getgroups())
        directory = temporary_directory(self)
        directory.chmod(0o755)
        paths = {name: str(directory / name) for name in ("open", "closed", "his", "none")}
        for name in ("open", "closed", "his"):
            (directory / name).write_text("")
            (directory / name).chmod(0o644 if name == "open" else 0o600)
        os.chown(paths["his"], NOBODY.pw_uid, -1)
        self.assertEqual(Account.of(NOBODY.pw_uid).unreadable([*paths.values(), paths["closed"]]), [paths["closed"]])
        directory.chmod(0o700)
        self.assertEqual(Account.of(NOBODY.pw_uid).unreadable([paths["open"]]), [paths["open"]])
        self.assertEqual((os.geteuid(), os.getegid(), os.getgroups()), before)

    def test_files_that_an_account_can_change(self) -> None:
        """Its own, those in directories of its own, and those that stand where it could put others; in a sticky
        directory only its own."""
        if os.geteuid() != 0:
            raise SkipTest("only root can try what others may")
        directory = temporary_directory(self)
        directory.chmod(0o755)
        paths = [directory / name for name in ("roots", "his", "open", "his-directory/x", "tmp/x", "deep/er/x")]
        for path in paths:
            path.parent.mkdir(0o755, parents=True, exist_ok=True)
            path.write_text("")
            path.chmod(0o666 if path.name == "open" else 0o644)
        for his in ("his", "his-directory", "deep"):
            os.chown(directory / his, NOBODY.pw_uid, -1)
        (directory / "tmp").chmod(0o1777)
        account = Account.of(NOBODY.pw_uid)
        found = account.changeable(map(str, paths))
        self.assertEqual(found, [str(directory / name) for name in ("his", "open", "his-directory/x", "deep/er/x")])
        (directory / "link").symlink_to("his-directory/again")
        (directory / "his-directory/again").symlink_to(directory / "roots")
        (directory / "linked").symlink_to("his-directory")
        (directory / "roots-link").symlink_to("roots")
        links = [str(directory / name) for name in ("link", "linked/again", "roots-link")]
        self.assertEqual(account.changeable(links), links[:2])  # he can lead them elsewhere
        (directory / "tmp").chmod(0o777)
        self.assertEqual(account.changeable([str(directory / "tmp/x")]), [str(directory / "tmp/x")])
        (directory / "tmp").chmod(0o1777)
        self.assertEqual(account.changeable([str(directory / "tmp")]), [str(directory / "tmp")])  # he may add files

    def test_the_script_and_the_directories_of_modules_are_of_the_program(self) -> None:
        """Root runs all of it at the next start."""
        if os.geteuid() != 0:
            raise SkipTest("only root can try what others may")
        directory = temporary_directory(self)
        directory.chmod(0o755)
        script, modules = directory / "twistd", directory / "modules"
        script.write_text("")
        modules.mkdir()
        account = Account.of(NOBODY.pw_uid)
        for path, words, value in ((script, "argv", [str(script)]), (modules, "path", [str(modules), *sys.path])):
            patched = self.patch(sys, words, value)
            for owner, warned in ((0, False), (NOBODY.pw_uid, True)):
                os.chown(path, owner, -1)
                texts = [notice.text for notice in change_notices(account, (), Place("a.cfg", 1))]
                self.assertEqual([str(path) in text for text in texts], [True] if warned else [], path)
            patched.restore()


class JudgementTests(SynchronousTestCase):
    """What is said of the lines."""

    def judged(self, lines: str, root: bool, options: Mapping[str, object] | None = None) -> list[tuple[str, str]]:
        return [(notice.level, notice.text) for notice in judged(said(lines), root, options or {})]

    def test_what_root_obeys_needs_no_word(self) -> None:
        self.assertEqual(self.judged(" user nobody\n group nogroup", root=True), [])

    def test_a_log_file_of_twistds_is_opened_before_the_line_is_read(self) -> None:
        """So it stays root's, unless twistd's option says who the daemon becomes."""
        ((level, text),) = self.judged(" user nobody", root=True, options={"logfile": "/var/log/x.log"})
        self.assertEqual(level, "warning")
        self.assertIn("'user': twistd has opened --logfile /var/log/x.log as root before", text)
        file = {"logfile": "/var/log/x.log"}
        stays = [(lines, file) for lines in ("", " user root", " uid 0", " group nogroup")]
        for lines, options in ((" user nobody", {"logfile": "-"}), *stays):
            self.assertEqual(self.judged(lines, root=True, options=options), [])

    def test_another_user_is_told_that_they_have_no_effect(self) -> None:
        ((level, text),) = self.judged(" user nobody\n gid 7", root=False)
        self.assertEqual(level, "notice")
        self.assertIn("'user', 'gid': without effect, since the daemon is not started by root", text)

    def test_a_user_of_twistds_options_is_named(self) -> None:
        ((level, text),) = self.judged(" user nobody", root=True, options={"uid": DAEMON.pw_uid})
        self.assertEqual(
            (level, text),
            ("notice", "'user nobody': without effect, since twistd's --uid says who the daemon becomes: daemon"),
        )

    def test_chroot_is_never_passed_over_in_silence(self) -> None:
        """Root without `user` would have relied on it alone, and could have left it."""
        for lines, root, options, expected in (
            (" chroot /x", True, {}, "warning"),
            (" chroot /x\n user nobody", True, {}, "warning"),
            (" chroot /x", True, {"uid": NOBODY.pw_uid}, "warning"),
            (" chroot /x", False, {}, "notice"),
        ):
            ((level, text),) = self.judged(lines, root, options)
            self.assertEqual(level, expected, lines)
            self.assertIn("'chroot' cannot be obeyed, because each reload reads", text)
            self.assertIn("remove the line", text)
            self.assertEqual(
                "Without 'user' the daemon stays root" in text, lines == " chroot /x" and root and not options
            )


class ServiceTests(SynchronousTestCase):
    """The daemon, which thinks that root has started it."""

    def setUp(self) -> None:
        self.directory = temporary_directory(self)
        self.reactor = Reactor()
        self.patch(os, "geteuid", lambda: 0)
        self.impediment = self.patch(Account, "impediment", lambda account: "")
        self.patch(Account, "unreadable", lambda account, paths: self.unreadable(list(paths)))
        self.patch(Account, "changeable", lambda account, paths: self.of_program if os.__file__ in paths else self.his)
        self.his: list[str] = []
        self.of_program: list[str] = []
        self.become: list[tuple[int, int]] = []
        self.looked_at: list[str] = []
        self.found: list[str] = []
        self.of_python: list[str] = []
        keep_signals(self)

    def unreadable(self, paths: list[str]) -> list[str]:
        if os.__file__ in paths:
            return self.of_python
        self.looked_at = paths
        return self.found

    def service(self, lines: str, **options: object) -> ProxyService:
        self.file = self.directory / "proxy.cfg"
        self.file.write_text(
            f"global\n{lines}\n{HEAD}frontend f\n bind {LOOPBACK}:0\n"
            f" default_backend b\nbackend b\n server s {LOOPBACK}:1\n"
        )
        service = ProxyService(self.reactor, [str(self.file)], options)
        self.patch(service, "_log", mock.Mock())
        self.patch(service.stalls.watchdog, "_timer", lambda seconds: None)
        return service

    def test_it_becomes_the_user_when_everything_is_bound(self) -> None:
        service = self.service(" user nobody")
        bound: list[bool] = []
        self.patch(
            Account, "become", lambda account: bound.append(service.proxy is not None and bool(service.proxy.listeners))
        )
        service.assemble(bind=True)
        self.assertEqual(bound, [])
        service.startService()
        self.assertEqual(bound, [True])
        service.stopService()
        self.reactor.advance(0.1)

    def test_root_that_may_become_nobody_is_told_so(self) -> None:
        """As in a container without these capabilities; by --check, too, and whoever says whom."""
        denied = mock.Mock(side_effect=PermissionError(1, "Operation not permitted"))
        self.impediment.restore()
        self.patch(os, "setgroups", denied)
        for lines, options, number in ((" user nobody", {}, 2), ("", {"uid": NOBODY.pw_uid}, 1)):
            service = self.service(lines, **options)
            (said,) = self.assertRaises(Refused, service.assemble, bind=False).lines
            self.assertIn(
                f"{self.file}:{number}: cannot become nobody: Operation not permitted: the capabilities", said
            )

    def test_root_that_would_keep_its_capabilities_is_told_so(self) -> None:
        """As a manager may start it: the daemon's user would be root by another name."""
        program = (
            "from reusedproxy.daemon.starting.account import Account\n"
            "print(Account.of(65534).impediment() or 'none', Account(0, 65534, ()).impediment() or 'none', sep='\\n')\n"
        )
        start = [sys.executable, "-c", program]
        for command, first in ((["setpriv", "--securebits", "+no_setuid_fixup"], "cannot become "), ([], "none")):
            if os.getuid() != 0 or not shutil.which("setpriv"):
                raise SkipTest("this needs root, and setpriv of util-linux")
            done = subprocess.run([*command, *start], capture_output=True, text=True, check=False, timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)
            said, of_root = done.stdout.splitlines()
            self.assertTrue(said.startswith(first), said)
            self.assertEqual(of_root, "none")

    def test_a_user_who_does_not_exist_is_refused_with_all_other_faults(self) -> None:
        service = self.service(" user no-such\n chroot /x\n log no-such-host.invalid local0")
        lines = self.assertRaises(Refused, service.assemble, bind=False).lines
        self.assertEqual(
            [line.partition(": ")[0] for line in lines], [f"[ALERT] {self.file}:{number}" for number in (2, 4)]
        )

    def test_what_a_reload_will_not_be_able_to_read_is_one_warning(self) -> None:
        """Also for the user of twistd's option."""
        self.found = ["/a", "/b", "/c", "/d", "/e"]
        cases: list[tuple[str, dict[str, object]]] = [(" user nobody", {}), ("", {"uid": NOBODY.pw_uid})]
        for lines, options in cases:
            (notice,) = self.service(lines, **options).assemble(bind=False).notices
            self.assertEqual(notice.level, "warning")
            self.assertIn("cannot read what a reload reads again: /a, /b, /c, /d and 1 more;", notice.text)
            self.assertIn(str(self.file), self.looked_at)

    def test_a_configuration_that_he_can_change_is_one_warning(self) -> None:
        self.his = ["/a", "/b"]
        (notice,) = self.service(" user nobody").assemble(bind=False).notices
        self.assertEqual((notice.level, notice.place), ("warning", Place(str(self.file), 2)))
        self.assertIn("user nobody, whom the daemon becomes, can change the configuration", notice.text)
        self.assertEqual(self.service("").assemble(bind=False).notices, [])
        self.his, self.of_program = [], ["/venv/bin/python"]
        (notice,) = self.service(" user nobody").assemble(bind=False).notices
        self.assertIn("can change the program, or a directory on the way to it: /venv/bin/python;", notice.text)

    def test_python_that_he_cannot_read_is_one_warning(self) -> None:
        """What is loaded later would be missing, a codec for instance."""
        self.of_python = ["/root/lib/python3/os.py", "/root/reusedproxy/identity.py"]
        (notice,) = self.service(" user nobody").assemble(bind=False).notices
        self.assertIn("user nobody, whom the daemon becomes, cannot read /root/lib/python3/os.py", notice.text)
        self.assertEqual(notice.place, Place(str(self.file), 2))

    def test_root_who_stays_root_reads_everything(self) -> None:
        self.found = ["/a"]
        self.assertEqual(self.service("").assemble(bind=False).notices, [])
