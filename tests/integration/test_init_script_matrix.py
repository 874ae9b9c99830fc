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
from concurrent.futures import ThreadPoolExecutor
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
until = time.monotonic() + float(behind("--replace-timeout") or 600)
while replaces and os.path.exists(here + "/hold") and not ended:
    if time.monotonic() > until:
        os._exit(1)
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
#: Other names of some of them.
SYNONYMS = {"condrestart": "try-restart", "force-reload": "reload", "check": "configtest"}
NO_NUMBER = "no number\n"
#: Cells that are tried at once: most of the time each waits for processes.
AT_ONCE = 6


@define
class World:
    """A state of the world: processes and files. `daemon`: the number of the one that serves; `former`: of one whose
    place it has taken, and that still has clients; `others`: those that are not the daemon's, to which nothing may be
    done; `ended`: those of which only the number is left."""

    test: SynchronousTestCase
    directory: Path
    daemon: int | None = None
    former: int | None = None
    others: list[subprocess.Popen[bytes]] = field(factory=list)
    ended: list[subprocess.Popen[bytes]] = field(factory=list)
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
            if self.pidfile.is_file():
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
        for other in (*self.others, *self.ended):
            other.kill()
            other.communicate()
        self.others.clear()


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


def a_daemon_of_another_root(world: World) -> None:
    """It was started there, with the same words; so the interpreter is in there, too."""
    elsewhere(world, f"import os; os.chroot({os.path.dirname(os.path.realpath(sys.executable))!r}); ")


def a_daemon_of_a_container(world: World) -> None:
    other = elsewhere(world, "", "unshare", "--pid", "--fork", "--kill-child")
    world.pidfile.write_text(Path(f"/proc/{other.pid}/task/{other.pid}/children").read_text().split()[0])


def elsewhere(world: World, code: str, *by: str) -> subprocess.Popen[bytes]:
    """A process with the daemon's words, whose number is in the pid file."""
    program = world.directory / "elsewhere"
    program.mkdir()
    (program / "twistd").write_text(code + WAITS)
    other = world.other(*by, sys.executable, str(program / "twistd"), *world.words())
    world.pidfile.write_text(str(other.pid))
    return other


def a_daemon_of_which_only_the_number_is_left(world: World) -> None:
    """Its parent has not asked for its status."""
    other = elsewhere(world, "")
    world.others.remove(other)
    world.ended.append(other)
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)


def is_starting(world: World) -> None:
    world.start()
    world.status.write_text(f'{{"pid": {world.daemon}, "state": "starting", "reloads": 0}}\n')


def reads_another_configuration(world: World) -> None:
    world.start()
    with (world.directory / "settings").open("a") as file:
        file.write(f"CONFIG={world.directory}/b.cfg\n")


def the_former_one_has_clients(world: World) -> None:
    """It has been replaced, and does not end with that."""
    stands_still(world)
    world.former = world.daemon
    status, said = world.run("replace")
    world.test.assertEqual(status, 0, said)
    world.daemon = int(world.pidfile.read_text())


def a_link_to_nothing_in_place_of_the_pid_file(world: World) -> None:
    world.pidfile.symlink_to(world.directory / "nothing")


def another_pid_file_in_the_way(world: World) -> None:
    world.pidfile.write_text(NO_NUMBER)


def a_directory_in_the_way(world: World) -> None:
    world.pidfile.mkdir()


def a_pipe_in_the_way(world: World) -> None:
    os.mkfifo(world.pidfile)


def another_waits_to_take_its_place(world: World) -> None:
    """It has written the pid file; the status file names the one that serves."""
    world.start()
    (world.directory / "hold").touch()
    words = [world.words()[0], "--syslog", "reusedproxy", "--config", str(world.directory / "a.cfg"), "--status-file",
             str(world.status), "--replace"]  # fmt: skip
    subprocess.run([world.program, *words], check=True, timeout=20)
    world.note()


def another_waits_to_take_its_place_and_stands_still(world: World) -> None:
    another_waits_to_take_its_place(world)
    os.kill(int(world.pidfile.read_text()), signal.SIGSTOP)


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
    a_daemon_with_another_pid_file, a_daemon_of_which_only_the_number_is_left, is_starting,
    reads_another_configuration, the_former_one_has_clients, a_link_to_nothing_in_place_of_the_pid_file,
    another_pid_file_in_the_way, a_directory_in_the_way, a_pipe_in_the_way, another_waits_to_take_its_place,
    another_waits_to_take_its_place_and_stands_still, another_waited_and_was_killed, it_was_killed_and_another_waits,
    is_stopping,
]  # fmt: skip
#: Those that only root can bring about.
OF_ROOT: list[Callable[[World], None]] = [a_daemon_of_another_root, a_daemon_of_a_container]

#: Where whoever is to take the place does not get it.
HELD = (
    another_waits_to_take_its_place, another_waits_to_take_its_place_and_stands_still, another_waited_and_was_killed,
    it_was_killed_and_another_waits,
)  # fmt: skip
UNKNOWN = (another_pid_file_in_the_way, a_directory_in_the_way, a_pipe_in_the_way)
#: Where a process does not end when it is told to.
STILL = (stands_still, another_waits_to_take_its_place_and_stands_still)


def can_part_processes() -> bool:
    try:
        return not subprocess.run(["unshare", "--pid", "--fork", "true"], stderr=subprocess.DEVNULL).returncode
    except OSError:
        return False


class MatrixTests(SynchronousTestCase):
    def world(self, state: Callable[[World], None]) -> World:
        """A world whose daemon and whose next one have time enough, unless they are to be waited for in vain."""
        directory = temporary_directory(self)
        program = directory / "twistd"
        program.write_text(PROGRAM.format(python=sys.executable))
        program.chmod(0o755)
        (directory / "a.cfg").touch()
        (directory / "settings").write_text(
            f"CONFIG={directory}/a.cfg\nTWISTD={program}\nPIDFILE={directory}/daemon.pid\nUSER=\nRUNDIR=\n"
            f"STOP_TIMEOUT={1 if state in STILL else 30}\nREPLACE_TIMEOUT={2 if state in HELD else 30}\n"
        )
        world = World(self, directory)
        self.addCleanup(world.end)
        return world

    def test_each_action_in_each_state(self) -> None:
        states = STATES + (OF_ROOT if os.geteuid() == 0 and can_part_processes() else [])
        # What takes longest comes first.
        cells = sorted(product(states, ACTIONS), key=lambda cell: cell[0] not in (*HELD, *STILL))
        cells += product((nothing, runs, another_pid_file_in_the_way), SYNONYMS)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            for tried in [threads.submit(self.check, *cell) for cell in cells]:
                tried.result()

    def test_what_is_no_action_does_nothing(self) -> None:
        world = self.world(runs)
        runs(world)
        for action in ("", "restar", "START"):
            status, said = world.run(action)
            self.assertEqual((status, world.ours(), world.told()), (2, [world.daemon], []), said)
            self.assertIn("Usage: ", said)

    def check(self, state: Callable[[World], None], action: str) -> None:
        world = self.world(state)
        state(world)
        before, told, had_pid_file = world.ours(), len(world.told()), world.pidfile.exists()
        status, said = world.run(action)
        about = f"{action} where {state.__name__}: {status}, {said!r}"
        for each in world.others:
            self.assertIsNone(each.poll(), about)
        after, told_now = sorted(world.ours()), world.told()[told:]
        action = SYNONYMS.get(action, action)
        if action == "configtest":
            self.assertEqual((status, after, told_now), (0, sorted(before), []), about)
        elif state in UNKNOWN:
            self.check_unknown(world, action, (status, said), about)
        elif world.daemon is None:
            self.check_without_daemon(world, action, status, had_pid_file, said, about)
        elif action in ("stop", "restart", "try-restart"):
            kept = [world.former] if world.former else []
            named = [] if action == "stop" else [int(world.pidfile.read_text())]
            self.assertEqual((status, after), (0, sorted(kept + named)), about)
            self.assertFalse({*named} & {*before}, about)
            ended = [number for number in before if number not in kept]
            if state in STILL:
                ended = [number for number in ended if f"TERM {number}" in told_now]
                self.assertLess(len(ended), len(before), about)
            self.assertEqual(sorted(told_now), sorted(f"TERM {number}" for number in ended), about)
            self.assertEqual(world.pidfile.exists(), action != "stop", about)
            self.assertIn("Stopping", said, about)
            if state is stands_still:
                self.assertIn(f"process {world.daemon} had not finished after 1 s and was killed", said, about)
        elif action == "replace":
            self.check_replaced(world, state, before, after, (status, said), about)
        elif action == "reload" and state is reads_another_configuration:
            self.assertEqual((status, after, told_now), (1, sorted(before), []), about)
            self.assertIn(f"not reloaded, process {world.daemon} reads {world.directory}/a.cfg", said, about)
        else:
            hears = [f"HUP {world.daemon}"] if action == "reload" and state is not stands_still else []
            self.assertEqual((status, after), (0, sorted(before)), about)
            wait_for(lambda: world.told()[told:] == hears, f"its signal: {about}")
            if action == "start":
                self.assertIn("runs already", said, about)
            if action == "status":
                self.assertIn(f"process {world.daemon}", said, about)
        if world.former:
            self.assertTrue(world.runs(world.former), about)
            if action in ("stop", "status"):
                self.assertIn(f"process {world.former} still has clients", said, about)
        world.end()

    def check_unknown(self, world: World, action: str, answer: tuple[int, str], about: str) -> None:
        """What is in the pid file's place may be of value to somebody: nothing is done, and nothing said to be."""
        self.assertEqual((answer[0], world.ours()), (4 if action == "status" else 1, []), about)
        self.assertIn("is no pid file, so nobody knows whether it runs", answer[1], about)
        self.assertTrue(not world.pidfile.is_file() or world.pidfile.read_text() == NO_NUMBER, about)

    def check_without_daemon(
        self, world: World, action: str, status: int, had_pid_file: bool, said: str, about: str
    ) -> None:
        if action in ("start", "restart"):
            self.assertEqual((status, world.ours()), (0, [int(world.pidfile.read_text())]), about)
            self.assertIn("Starting", said, about)
            return
        expected = {"stop": 0, "try-restart": 0, "status": 1 if had_pid_file else 3}.get(action, 7)
        self.assertEqual((status, world.ours()), (expected, []), about)
        self.assertIn("does not run", said, about)
        if action == "stop":
            self.assertFalse(world.pidfile.exists(), about)

    def check_replaced(
        self,
        world: World,
        state: Callable[[World], None],
        before: list[int],
        after: list[int],
        answer: tuple[int, str],
        about: str,
    ) -> None:
        """The process that is to take the place has it, or has given up."""
        if state in HELD:
            self.assertEqual((answer[0], after), (1, sorted(before)), about)
            self.assertIn(f"not replaced, process {world.daemon} goes on", answer[1], about)
            self.assertEqual(world.pidfile.read_text(), str(world.daemon), about)
            return
        named = int(world.pidfile.read_text())
        self.assertEqual(answer[0], 0, about)
        self.assertNotIn(named, before, about)
        # One that stands still ends when it goes on.
        stays = {world.daemon} if state is stands_still else {world.former} if world.former else set()
        wait_for(lambda: {*world.ours()} == {named, *stays}, f"all others to end: {about}")
