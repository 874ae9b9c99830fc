"""Checks by a program (`option external-check`): real programs, on a poller and a clock of the test's."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from socket import AF_INET, AF_UNIX
from tempfile import TemporaryDirectory
from time import monotonic
from types import SimpleNamespace
from typing import Any

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.checks import external as external_module
from reusedproxy.backends.checks.checker import Checker
from reusedproxy.backends.checks.external import ExternalRun
from reusedproxy.backends.checks.results import Result
from reusedproxy.backends.server import DOWN, Server
from reusedproxy.config import model
from reusedproxy.config.model.checks import External
from reusedproxy.config.model.proxies import Check
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from reusedproxy.net.dial import Target
from reusedproxy.wire.heads import Limits
from tests.fakes import FakeDialer, PoolBench
from tests.rulefakes import DEFAULTS
from tests.wire import Loop

GLOBAL = "global\n external-check\n"
SECTION = "listen l\n bind 127.0.0.1:80\n option external-check\n external-check command /bin/true\n"


class RunTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.loop = Loop(self)
        self.found: list[tuple[str, str, int | None, bool]] = []
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name).resolve()
        target = Target(AF_INET, ("192.0.2.1", 8080))
        settings = SimpleNamespace(id=3, maxconn=7, tls=None)
        self.server: Any = SimpleNamespace(
            name="s", settings=settings, target=target, traffic=SimpleNamespace(scur=2), full_name="l/s"
        )

    def run_of(self, script: str, **said: Any) -> ExternalRun:
        """A check by this script has begun."""
        program = self.directory / "check"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        external = External(str(program), "/usr/bin:/bin", False, "l", 2, ("127.0.0.1", "80"), "h1")
        run = ExternalRun(
            evolve(external, **said),
            self.server,
            self.loop.poller,
            self.loop.deadlines,
            5.0,
            lambda *found: self.found.append(found),
            {"OURS": "kept", "PATH": "/ours"},
        )
        run.start()
        return run

    def result(self, script: str, **said: Any) -> tuple[str, int | None]:
        """What such a check finds."""
        self.found.clear()
        self.run_of(script, **said)
        self.loop.until(lambda: self.found)
        ((status, _, code, ours),) = self.found
        self.assertFalse(ours)
        self.assertEqual(self.loop.poller.watching(), 0)
        self.assertEqual(self.loop.deadlines.watching(), 0)
        return status, code

    def told(self, **said: Any) -> tuple[list[str], dict[str, str]]:
        """Arguments and environment of the program."""
        path = self.directory / "told"
        self.assertEqual(self.result(f'echo "$@" > {path}; env >> {path}', **said), ("PROCOK", 0))
        arguments, *lines = path.read_text().splitlines()
        variables = dict(line.split("=", 1) for line in lines)
        return arguments.split(), {name: variables[name] for name in variables.keys() - {"PWD", "_", "SHLVL"}}

    def test_the_exit_status_is_the_result(self) -> None:
        self.assertEqual(self.result("exit 0"), ("PROCOK", 0))
        self.assertEqual(self.result("exit 3"), ("PROCERR", 3))
        self.assertEqual(self.result("kill -9 $$"), ("PROCERR", 137))
        passed = [Result(status).passed for status in ("PROCOK", "PROCERR", "PROCTOUT")]
        self.assertEqual(passed, [True, False, False])
        self.assertEqual(str(Result("PROCERR", "", 3)), "External check error, code: 3, check duration: 0ms")

    def test_it_is_told_what_haproxy_tells(self) -> None:
        arguments, variables = self.told()
        self.assertEqual(arguments, ["127.0.0.1", "80", "192.0.2.1", "8080"])
        self.assertEqual(
            variables,
            {
                "PATH": "/usr/bin:/bin", "HAPROXY_PROXY_NAME": "l", "HAPROXY_PROXY_ID": "2",
                "HAPROXY_PROXY_ADDR": "127.0.0.1", "HAPROXY_PROXY_PORT": "80", "HAPROXY_SERVER_NAME": "s",
                "HAPROXY_SERVER_ID": "3", "HAPROXY_SERVER_ADDR": "192.0.2.1", "HAPROXY_SERVER_PORT": "8080",
                "HAPROXY_SERVER_MAXCONN": "7", "HAPROXY_SERVER_CURCONN": "2", "HAPROXY_SERVER_SSL": "0",
                "HAPROXY_SERVER_PROTO": "h1",
            },
        )  # fmt: skip

    def test_what_there_is_not_has_a_word(self) -> None:
        self.server.target = Target(AF_UNIX, b"\0name")
        self.assertEqual(self.told()[0][2:], ["name", "NOT_USED"])
        self.server.target = Target(AF_UNIX, "/run/s")
        arguments, variables = self.told(proxy=("", ""))
        self.assertEqual(arguments, ["NOT_USED", "NOT_USED", "/run/s", "NOT_USED"])
        self.assertEqual((variables["HAPROXY_PROXY_PORT"], variables["HAPROXY_SERVER_PORT"]), ("", ""))

    def test_our_environment_is_kept_only_where_that_is_said(self) -> None:
        self.assertNotIn("OURS", self.told()[1])
        _, variables = self.told(keeps_environment=True)
        self.assertEqual((variables["OURS"], variables["PATH"]), ("kept", "/usr/bin:/bin"))

    def test_a_program_that_cannot_be_run_has_failed(self) -> None:
        self.assertEqual(self.result("", command="/nowhere/check"), ("PROCERR", 255))
        self.assertEqual(self.found[0][1], "No such file or directory")

    def test_our_own_want_is_no_failure_of_the_server(self) -> None:
        def fails(*given: Any, **said: Any) -> None:
            raise OSError(24, "Too many open files")

        self.patch(os, "pidfd_open", fails)
        self.run_of("exit 0")
        self.assertEqual(self.found, [("SOCKERR", "Too many open files", None, True)])

    def test_a_program_that_takes_too_long_is_killed_with_what_it_has_started(self) -> None:
        for ends, found in ((lambda run: self.loop.advance(5), ["PROCTOUT"]), (ExternalRun.stop, [])):
            self.found.clear()
            path = self.directory / "pid"
            path.unlink(missing_ok=True)
            run = self.run_of(f"sleep 60 & echo $! > {path}.new; mv {path}.new {path}; wait")
            self.eventually(path.exists)
            child = int(path.read_text())
            ends(run)
            self.loop.until(lambda: not self.loop.poller.watching())
            self.assertEqual([each[0] for each in self.found], found)
            self.eventually(lambda child=child: not self.runs(child))  # a signal takes its moment
            self.assertEqual(self.loop.deadlines.watching(), 0)

    def test_one_that_cannot_be_killed_is_known_until_it_has_ended(self) -> None:
        def refuses(group: int, number: int) -> None:
            raise PermissionError(1, "Operation not permitted")

        self.patch(os, "killpg", refuses)
        run = self.run_of("exec sleep 60")
        self.loop.advance(5)
        self.assertEqual([each[0] for each in self.found], ["PROCTOUT"])
        self.assertTrue(self.runs(run.lives))
        os.kill(run.lives, signal.SIGKILL)
        self.loop.until(lambda: not self.loop.poller.watching())
        self.assertEqual((run.lives, len(self.found)), (0, 1))

    def test_a_program_gains_no_rights_unless_that_is_said(self) -> None:
        """Nor does that hold for whatever else this process starts: a later file may say it."""
        shown = "grep -q 'NoNewPrivs:.*1' /proc/self/status"
        for gains_rights, found in ((False, ("PROCOK", 0)), (True, ("PROCERR", 1)), (False, ("PROCOK", 0))):
            self.assertEqual(self.result(shown, gains_rights=gains_rights), found)
        self.assertEqual(self.result("exit 3", gains_rights=False), ("PROCERR", 3))

    def test_it_needs_no_dev_null_once_that_has_been_opened(self) -> None:
        external_module.null()
        self.patch(os, "devnull", "/nowhere/null")
        self.assertEqual(self.result("cat && echo out && echo err >&2"), ("PROCOK", 0))

    def eventually(self, condition: Callable[..., bool]) -> None:
        """Another process does this within 10 s."""
        until = monotonic() + 10
        while not condition():
            self.assertLess(monotonic(), until)
            os.sched_yield()

    def runs(self, pid: int) -> bool:
        """Whether this process runs, and is not one that its parent has yet to ask for."""
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except FileNotFoundError:
            return False


class CheckerTests(SynchronousTestCase):
    def test_no_other_program_is_started_before_the_last_has_ended(self) -> None:
        """Each check meanwhile is a failure, so that the server goes DOWN as by any other."""
        clock = Clock()
        settings = model.Server(name="s", place=model.Place("t.cfg", 1), host="127.0.0.1")
        server = Server("be", settings, PoolBench(resume=False).pool, 0.0)
        runs: list[SimpleNamespace] = []

        def program(seconds: float, done: Callable[..., None]) -> Any:
            runs.append(SimpleNamespace(lives=4711, done=done, start=lambda: None))
            return runs[-1]

        checker = Checker(
            server,
            Check(inter=2.0, fall=3),
            None,
            FakeDialer(clock, False),  # type: ignore[arg-type]
            clock,
            Limits(),
            None,
            0.0,
            lambda server, state, reason: server.judge(state, clock.seconds()),
            program=program,
        )
        checker.start()
        clock.advance(0)
        runs[0].done("PROCOK", "", 0, False)
        clock.pump([2.0, 2.0, 2.0])
        self.assertEqual((len(runs), server.health), (1, DOWN))
        self.assertIn("cannot be ended (process 4711)", str(checker.last))
        runs[0].lives = 0
        clock.pump([2.0])
        self.assertEqual(len(runs), 2)


class WordTests(SynchronousTestCase):
    def faults(self, text: str) -> str:
        error = self.assertRaises(ConfigurationError, read_configuration, [Source("t.cfg", text)], {})
        return str(error)

    def test_what_is_said(self) -> None:
        defaults = DEFAULTS + " external-check path /bin\n"
        text = f"global\n external-check preserve-env\n{defaults}{SECTION} server s 192.0.2.1:1 check\n"
        plan = read_configuration([Source("t.cfg", text)], {}).backends["l"].check_plan
        assert plan is not None
        self.assertEqual(plan.external, External("/bin/true", "/bin", True, "l", 1, ("127.0.0.1", "80"), "h1"))
        text = text.replace("global\n", "global\n insecure-setuid-wanted\n")
        plan = read_configuration([Source("t.cfg", text)], {}).backends["l"].check_plan
        self.assertTrue(plan is not None and plan.external is not None and plan.external.gains_rights)

    def test_what_is_missing_is_said(self) -> None:
        server = " server s 192.0.2.1:1 check\n"
        self.assertIn("needs 'external-check' in section 'global'", self.faults(DEFAULTS + SECTION + server))
        text = GLOBAL + DEFAULTS + SECTION + server
        without = text.replace(" external-check command /bin/true\n", "")
        self.assertIn("needs 'external-check command <program>'", self.faults(without))
        self.assertIn("is followed by 'command' and a program", self.faults(text.replace("check command", "check run")))
        wrong = text.replace("external-check\n", "external-check x\n", 1)
        self.assertIn("takes nothing, or 'preserve-env'", self.faults(wrong))
        made = read_configuration([Source("t.cfg", text.replace("/bin/true", "true"))], {})
        self.assertIn("'external-check command true' is looked for nowhere", str(made.notices))
