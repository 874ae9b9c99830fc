"""Each action of the init script in each state of the world: what it does to whom, and what it says by its status.

In place of twistd stands a small program that does for the script what the daemon does: it writes the pid file and the
status file, takes another one's place, and ends when it is told to. So only the script is tried, and quickly. What is
true in every state is stated once, below; only what differs is said with the state.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.initscript import SCRIPT

from .peers import temporary_directory, wait_for

#: Does what the script asks of twistd. `told`: a file with a line for each signal that it was sent.
PROGRAM = """#!{python} -SE
import os, signal, sys, time
def option(name):
    return next((word.partition("=")[2] for word in sys.argv if word.startswith(name + "=")), None)
def behind(name):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else None
here = os.path.dirname(os.path.abspath(sys.argv[0]))
def tell(text):
    with open(here + "/told", "a") as told:
        told.write(text + "\\n")
if "--check" in sys.argv:
    sys.exit(os.path.exists(here + "/wrong"))
if "--reload" in sys.argv:
    number = int(behind("--reload"))
    os.kill(number, signal.SIGHUP)
    sys.exit(0)
pidfile, status = option("--pidfile"), behind("--status-file")
def write(path, text):
    with open(path + ".new", "w") as file:
        file.write(text)
    os.replace(path + ".new", path)
def say(number, state):
    write(status, '{{"pid": %d, "state": "%s", "reloads": 0}}\\n' % (number, state))
replaces = "--replace" in sys.argv
if os.path.exists(here + "/fails"):
    print("fails")
    sys.exit(1)
def others():
    for number in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % number, "rb") as file:
                words = file.read().split(b"\\0")
        except OSError:
            continue
        if int(number) != os.getpid() and os.fsencode(sys.argv[0]) in words[1:3]:
            yield int(number)
former = [*others()] if replaces else []
ready, done = os.pipe()
if os.fork():
    os.close(done)
    sys.exit(0 if os.read(ready, 1) else 1)
os.setsid()
for number in (0, 1, 2):
    os.dup2(os.open("/dev/null", os.O_RDWR), number)
me = os.getpid()
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
signal.signal(signal.SIGHUP, lambda *_: tell("HUP %d" % me))
write(pidfile, "%d" % me)
if not replaces:
    say(me, "running")
os.write(done, b"x")
os.close(done)
while replaces and os.path.exists(here + "/hold") and not ended:
    time.sleep(0.01)
if replaces and not ended:
    say(me, "running")
    for number in former:
        os.kill(number, signal.SIGUSR1)
signal.signal(signal.SIGUSR1, lambda *_: ended.append(2))
while not ended:
    time.sleep(0.01)
if ended == [1]:
    tell("TERM %d" % me)
    with open(pidfile) as file:
        ours = file.read() == "%d" % me
    if ours:
        os.unlink(pidfile)
"""
WAITS = "import sys, time; print('waits', flush=True); time.sleep(600)"
ACTIONS = ("start", "stop", "restart", "try-restart", "reload", "replace", "status", "configtest")
NO_NUMBER = "no number\n"


@define
class World:
    """A state of the world: processes and files. `daemon`: the number of the one that serves; `others`: those that
    are not the daemon's, to which nothing may be done."""

    test: SynchronousTestCase
    directory: Path
    daemon: int | None = None
    others: list[subprocess.Popen[bytes]] = field(factory=list)
    #: Those that were started here, and are to be ended.
    started: set[int] = field(factory=set)

    @property
    def pidfile(self) -> Path:
        return self.directory / "daemon.pid"

    @property
    def born(self) -> Path:
        return self.directory / "daemon.born"

    @property
    def status(self) -> Path:
        return self.directory / "daemon.status"

    @property
    def program(self) -> str:
        return str(self.directory / "twistd")

    def words(self) -> list[str]:
        return [f"--pidfile={self.pidfile}", "--syslog", "reusedproxy", "--config", str(self.directory / "a.cfg"),
                "--status-file", str(self.status)]  # fmt: skip

    def run(self, action: str) -> tuple[int, str]:
        environment = {**os.environ, "REUSEDPROXY_DEFAULTS": str(self.directory / "settings")}
        done = subprocess.run(
            ["/bin/sh", str(SCRIPT), action], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=environment, text=True, timeout=60,
        )  # fmt: skip
        self.note()
        return done.returncode, done.stdout

    def note(self) -> None:
        """Notes whom the pid file names, to be ended with the test."""
        with contextlib.suppress(OSError, ValueError):
            self.started.add(int(self.pidfile.read_text()))

    def start(self) -> None:
        status, said = self.run("start")
        self.test.assertEqual(status, 0, said)
        self.daemon = int(self.pidfile.read_text())

    def other(self, *command: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=self.directory)
        assert process.stdout is not None
        self.test.assertEqual(process.stdout.readline(), b"waits\n")
        self.others.append(process)
        return process

    def runs(self, number: int) -> bool:
        try:
            stat = Path(f"/proc/{number}/stat").read_text()
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] not in "ZX"

    def ours(self) -> list[int]:
        """Numbers of all processes of the daemon's program that run."""
        found = []
        for each in Path("/proc").iterdir():
            if each.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (each / "cmdline").read_bytes().split(b"\0")
                    known = {str(one.pid) for one in self.others}
                    if self.program.encode() in words[:3] and each.name not in known and self.runs(int(each.name)):
                        found.append(int(each.name))
        return found

    def told(self) -> list[str]:
        with contextlib.suppress(OSError):
            return (self.directory / "told").read_text().splitlines()
        return []

    def end(self) -> None:
        for number in {*self.started, *self.ours()}:
            with contextlib.suppress(OSError):
                if self.program.encode() in Path(f"/proc/{number}/cmdline").read_bytes():
                    os.kill(number, signal.SIGKILL)
        while self.others:
            other = self.others.pop()
            other.kill()
            other.communicate()


def nothing(world: World) -> None:
    pass


def runs(world: World) -> None:
    world.start()


def runs_without_its_pid_file(world: World) -> None:
    world.start()
    world.pidfile.unlink()


def runs_with_an_empty_pid_file(world: World) -> None:
    world.start()
    world.pidfile.write_text("")


def runs_without_its_note(world: World) -> None:
    world.start()
    world.born.unlink()


def runs_without_a_status_file(world: World) -> None:
    world.start()
    world.status.unlink()


def runs_with_anything_in_its_status_file(world: World) -> None:
    world.start()
    world.status.write_bytes(b'{"pid": 1, "state": "running"\n' + b"\0\xff" * 5000)


def runs_and_its_status_file_names_another(world: World) -> None:
    world.start()
    world.status.write_text(f'{{"pid": {a_stranger(world).pid}, "state": "running"}}\n')


def a_stranger(world: World) -> subprocess.Popen[bytes]:
    return world.other(sys.executable, "-c", WAITS)


def stands_still(world: World) -> None:
    world.start()
    assert world.daemon is not None
    os.kill(world.daemon, signal.SIGSTOP)


def was_killed(world: World) -> None:
    """And has left its files."""
    world.start()
    assert world.daemon is not None
    os.kill(world.daemon, signal.SIGKILL)
    number = world.daemon
    wait_for(lambda: not world.runs(number), "its end")
    world.daemon = None


def was_killed_and_its_number_is_a_stranger_s(world: World) -> None:
    was_killed(world)
    world.pidfile.write_text(str(a_stranger(world).pid))


def was_killed_and_its_number_is_that_of_one_with_its_words(world: World) -> None:
    was_killed(world)
    world.pidfile.write_text(str(world.other(sys.executable, "-c", WAITS, world.program, *world.words()).pid))


def the_pid_file_and_the_note_name_one_with_its_words(world: World) -> None:
    number = world.other("/bin/sh", "-c", "echo waits; read x", world.program, *world.words()).pid
    world.pidfile.write_text(str(number))
    world.born.write_text(f"{number} 1 2\n")


def a_daemon_with_another_pid_file(world: World) -> None:
    """Of the same program, whose number stands in ours."""
    program = world.directory / "elsewhere"
    program.mkdir()
    (program / "twistd").write_text(WAITS)
    words = [f"--pidfile={world.pidfile}2", *world.words()[1:]]
    world.pidfile.write_text(str(world.other(sys.executable, str(program / "twistd"), *words).pid))


def another_pid_file_in_the_way(world: World) -> None:
    world.pidfile.write_text(NO_NUMBER)


def another_waits_to_take_its_place(world: World) -> None:
    """It has written the pid file; the status file names the one that serves."""
    world.start()
    (world.directory / "hold").touch()
    words = [world.words()[0], "--syslog", "reusedproxy", "--config", str(world.directory / "a.cfg"), "--status-file",
             str(world.status), "--replace"]  # fmt: skip
    subprocess.run([world.program, *words], check=True, timeout=20)
    world.note()


def another_waited_and_was_killed(world: World) -> None:
    another_waits_to_take_its_place(world)
    number = int(world.pidfile.read_text())
    os.kill(number, signal.SIGKILL)
    wait_for(lambda: not world.runs(number), "its end")


def it_was_killed_and_another_waits(world: World) -> None:
    another_waits_to_take_its_place(world)
    assert world.daemon is not None
    number = world.daemon
    os.kill(number, signal.SIGKILL)
    wait_for(lambda: not world.runs(number), "its end")
    world.daemon = int(world.pidfile.read_text())


def is_stopping(world: World) -> None:
    """It was told to, and has clients still, for a moment."""
    world.start()
    assert world.daemon is not None
    number = world.daemon
    world.status.write_text(f'{{"pid": {number}, "state": "stopping", "reloads": 0}}\n')
    os.kill(number, signal.SIGTERM)
    wait_for(lambda: not world.runs(number), "its end")
    world.daemon = None


STATES: list[Callable[[World], None]] = [
    nothing, runs, runs_without_its_pid_file, runs_with_an_empty_pid_file, runs_without_its_note,
    runs_without_a_status_file, runs_with_anything_in_its_status_file, runs_and_its_status_file_names_another,
    stands_still, was_killed, was_killed_and_its_number_is_a_stranger_s,
    was_killed_and_its_number_is_that_of_one_with_its_words, the_pid_file_and_the_note_name_one_with_its_words,
    a_daemon_with_another_pid_file, another_pid_file_in_the_way, another_waits_to_take_its_place,
    another_waited_and_was_killed, it_was_killed_and_another_waits, is_stopping,
]  # fmt: skip

HELD = (another_waits_to_take_its_place, another_waited_and_was_killed, it_was_killed_and_another_waits)


class MatrixTests(SynchronousTestCase):
    def world(self) -> World:
        directory = temporary_directory(self)
        program = directory / "twistd"
        program.write_text(PROGRAM.format(python=sys.executable))
        program.chmod(0o755)
        (directory / "a.cfg").touch()
        (directory / "settings").write_text(
            f"CONFIG={directory}/a.cfg\nTWISTD={program}\nPIDFILE={directory}/daemon.pid\nUSER=\nRUNDIR=\n"
            "STOP_TIMEOUT=1\nREPLACE_TIMEOUT=2\n"
        )
        world = World(self, directory)
        self.addCleanup(world.end)
        return world

    def test_each_action_in_each_state(self) -> None:
        for state, action in product(STATES, ACTIONS):
            if action == "replace" and state in HELD:
                continue  # as none gets the place here, each is waited for until it gives up
            world = self.world()
            state(world)
            about = f"{action} where {state.__name__}: "
            if state is another_pid_file_in_the_way:
                self.check_unknown(world, action, about)
            else:
                self.check(world, action, about)
            world.end()

    def check_unknown(self, world: World, action: str, about: str) -> None:
        """What is in the pid file may be of value to somebody: nothing is done, and nothing said to be."""
        status, said = world.run(action)
        expected = {"configtest": 0, "status": 4}.get(action, 1)
        self.assertEqual((status, world.ours(), world.pidfile.read_text()), (expected, [], NO_NUMBER), about + said)

    def check(self, world: World, action: str, about: str) -> None:
        before, at_first, told = world.daemon, world.ours(), len(world.told())
        had_pid_file = world.pidfile.exists()
        status, said = world.run(action)
        about += f"{status}, {said!r}"
        for each in world.others:
            self.assertIsNone(each.poll(), about)
        after, told_now = world.ours(), world.told()[told:]
        if action == "configtest":
            self.assertEqual((status, after, told_now), (0, at_first, []), about)
        elif action == "status":
            expected = 0 if before else 1 if had_pid_file else 3
            self.assertEqual((status, after, told_now), (expected, at_first, []), about)
            self.assertIn(f"process {before}" if before else "does not run", said, about)
        elif action == "stop":
            self.assertEqual((status, after, world.pidfile.exists()), (0, [], False), about)
        elif action in ("reload", "replace") and not before:
            self.assertEqual((status, after, told_now), (7, [], []), about)
        elif action == "try-restart" and not before:
            self.assertEqual((status, after), (0, []), about)
        elif action == "reload":
            self.assertEqual((status, after), (0, at_first), about)
            if stands_still.__name__ not in about:
                self.assertEqual(told_now, [f"HUP {before}"], about)
        elif action == "start" and before:
            self.assertEqual((status, after, told_now), (0, at_first, []), about)
        else:
            self.assertTrue(world.pidfile.exists(), about)
            named = int(world.pidfile.read_text())
            self.assertEqual(status, 0, about)
            self.assertNotIn(named, at_first, about)
            if action == "replace" and stands_still.__name__ in about:
                self.assertEqual({*after}, {named, before}, about)  # which ends when it goes on
            else:
                wait_for(lambda: world.ours() == [named], f"all others to end: {about}")
