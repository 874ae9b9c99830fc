"""A daemon that stands still, one whose log nobody reads, and how either ends, in processes of their own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from functools import partial
from unittest import TestCase

import pytest

from tests.integration.daemon import START, Daemon
from tests.integration.peers import LOOPBACK, accepts_connections, run_curl, temporary_directory, wait_for
from tests.ports import free_port

RULES = (
    "    http-request return status 200 content-type text/plain string ok\n"
    "backend servers\n    server none {host}:{port}\n"
)
#: What Python's engine tries for years.
HARD = "    http-request deny if { path_reg ^/(?!x)(a+)+$ }\n"
#: Its bound is taken away, and the one for a stuck process is short.
UNBOUNDED = (
    "import reusedproxy.rules.regular, reusedproxy.daemon.service\n"
    "reusedproxy.rules.regular.BACKTRACKING_SECONDS = 1e6\nreusedproxy.daemon.service.STUCK = 2.0\n"
)


class ProcessTestCase(TestCase):
    def daemon(self, changes: str = "", rules: str = "") -> Daemon:
        text = RULES.format(host=LOOPBACK, port=free_port())
        daemon = Daemon(temporary_directory(self) / "daemon", rules + text)
        daemon.changes = changes
        daemon.start()
        self.addCleanup(self.kill, daemon)
        return daemon

    def kill(self, daemon: Daemon) -> None:
        if daemon._process.running is not None and not daemon.ended():
            daemon.signal(signal.SIGKILL)
            self.status(daemon)

    def status(self, daemon: Daemon, seconds: float = START) -> int:
        running = daemon._process.running
        assert running is not None
        return running.wait(seconds)


@pytest.mark.alone
class StuckTests(ProcessTestCase):
    def stuck(self) -> tuple[Daemon, socket.socket]:
        daemon = self.daemon(UNBOUNDED, HARD)
        client = socket.create_connection((LOOPBACK, daemon.port), timeout=20)
        self.addCleanup(client.close)
        client.sendall(b"GET /%b! HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 60))
        wait_for(lambda: "has stood still for" in daemon.output, "the line about it")
        return daemon, client

    def test_a_stuck_loop_is_told_of_with_its_stack_and_ends_when_told_to(self) -> None:
        """While it stands in one call of the regular expressions' engine, which gives nobody else the interpreter."""
        daemon, _ = self.stuck()
        self.assertIn("rules/regular.py:", daemon.output)
        self.assertIn(" search < ", daemon.output)
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        self.assertEqual(self.status(daemon), 1)
        self.assertGreater(time.monotonic() - began, 1.0)
        self.assertIn("told to stop, and the event loop does not turn", daemon.output)

    def test_one_that_goes_on_is_counted(self) -> None:
        """On the page, and in the log."""
        daemon = self.daemon(
            "import time\nimport reusedproxy.rules.regular as regular\n"
            "made = regular.searching\n"
            "regular.searching = lambda *said: lambda *text: time.sleep(2.2) or made(*said)(*text)\n",
            "    http-request replace-path ^/(.*) /\\1\n",
        )
        self.assertEqual(run_curl(daemon.url).status, 200)
        wait_for(lambda: "the event loop goes on" in daemon.output, "the line about its end")
        self.assertTrue("the event loop stood still 1 time, for " in daemon.page(), "what the page says of it")

    def test_told_twice_it_ends_at_once(self) -> None:
        """Whoever asks twice means it."""
        daemon, _ = self.stuck()
        daemon.signal(signal.SIGTERM)
        time.sleep(0.3)
        daemon.signal(signal.SIGTERM)
        self.assertEqual(self.status(daemon, 1.5), 1)

    def test_a_stopped_process_has_not_stood(self) -> None:
        """SIGSTOP and SIGCONT: no line that it stands, and traffic goes on."""
        daemon = self.daemon()
        daemon.signal(signal.SIGSTOP)
        time.sleep(3)
        daemon.signal(signal.SIGCONT)
        self.assertEqual(run_curl(daemon.url).status, 200)
        self.assertNotIn("has stood still", daemon.output)

    def test_the_bound_answers_500(self) -> None:
        """The same request, as the daemon comes."""
        daemon = self.daemon("", HARD)
        self.assertEqual(run_curl(f"{daemon.url}/{'a' * 60}!").status, 500)
        self.assertEqual(run_curl(f"{daemon.url}/b").status, 200)
        wait_for(lambda: "could not be evaluated" in daemon.output, "the line about it")
        self.assertRegex(daemon.output, r"reusedproxy.cfg:\d+: a rule could not be evaluated")


class ExitTests(ProcessTestCase):
    def test_whoever_is_told_to_stop_and_has_ends_with_0(self) -> None:
        """Whatever told it."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            daemon = self.daemon()
            wait_for(partial(daemon.has_said, "Proxy main listens on"), "the daemon to serve")
            daemon.signal(number)
            self.assertEqual(self.status(daemon), 0, number)
            self.assertIn(f"stopping: {number.name}", daemon.output)
            self.assertIn("Main loop terminated", daemon.output)

    def test_however_often_it_is_told(self) -> None:
        """To the last moment, in which Python has ended and the process has not."""
        daemon = self.daemon()
        wait_for(partial(daemon.has_said, "Proxy main listens on"), "the daemon to serve")

        def ended() -> bool:
            if not daemon.ended():
                daemon.signal(signal.SIGTERM)
            return daemon.ended()

        wait_for(ended, "its end", every=0.001)
        self.assertEqual(self.status(daemon), 0)


class OtherSignalTests(ProcessTestCase):
    def test_what_reloads_haproxy_reloads_and_what_it_bears_is_borne(self) -> None:
        """A unit or a script that was made for HAProxy must not end it."""
        daemon = self.daemon()
        daemon.signal(signal.SIGUSR2)
        wait_for(lambda: "configuration reloaded" in daemon.output, "the reload")
        daemon.signal(signal.SIGQUIT)
        wait_for(lambda: "SIGQUIT is ignored" in daemon.output, "the line about it")
        self.assertEqual(run_curl(daemon.url).status, 200)


class EarlySignalTests(ProcessTestCase):
    """A signal that comes while the daemon starts: here, when its ports are bound and nothing serves them."""

    #: Signals come behind one step of the start, the first time that it is taken.
    SIGNALLED = (
        "import os, signal\nimport reusedproxy.command as command\n"
        "from reusedproxy.daemon.service import ProxyService\n"
        "step = {owner}.{step}\n"
        "names = {names!r}\n"
        "def stop():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "def signalled(*said, **more):\n"
        "    from twisted.internet import reactor\n"
        "    {before}\n"
        "    made = step(*said, **more)\n"
        "    while names:\n"
        "        os.kill(os.getpid(), getattr(signal, names.pop(0)))\n"
        "    return made\n"
        "{owner}.{step} = signalled\n"
    )
    #: What makeService calls when everything is bound and the handlers for a stop are there.
    BOUND = ("command", "_status_file")

    def test_one_to_reload_waits_until_it_runs(self) -> None:
        """As from a script that starts the daemon and then renews a certificate."""
        daemon = self.daemon(self.SIGNALLED.format(names=["SIGHUP"], owner="ProxyService", step="assemble", before=""))
        self.assertEqual(run_curl(daemon.url).status, 200)
        wait_for(lambda: "reloaded" in daemon.output, "the reload")

    def test_one_to_stop_ends_it_with_a_word(self) -> None:
        """It ends as the signal ends programs, so that nobody takes it for a daemon that has served."""
        for name in ("SIGTERM", "SIGINT", "SIGUSR1"):
            daemon = self.signalled([name], "ProxyService", "_assemble_manhole")
            self.assertEqual(self.status(daemon), -signal.Signals[name])
            self.assertIn(f"[NOTICE] stopped by {name} before it served", daemon.output)

    def test_one_to_stop_that_comes_when_it_listens(self) -> None:
        """Clients may have connected, so it stops in order, and says with its status that it was told to."""
        for name in ("SIGTERM", "SIGINT", "SIGUSR1"):
            daemon = self.signalled([name], *self.BOUND)
            self.assertEqual(self.status(daemon), 0)
            self.assertEqual(daemon.output.count(f" info: stopping: {name}"), 1)

    def test_one_to_stop_that_comes_while_the_reactor_starts(self) -> None:
        """Which installs handlers of its own, for a death by the signal."""
        daemon = self.signalled([], *self.BOUND, before="reactor.addSystemEventTrigger('during', 'startup', stop)")
        self.assertEqual(self.status(daemon), 0)
        self.assertEqual(daemon.output.count(" info: stopping: SIGTERM"), 1)

    def test_two_of_them(self) -> None:
        """Before it serves, and while it begins to: the second one means what it means later, to wait for nobody."""
        for owner, step in (self.BOUND, ("ProxyService", "_listen")):
            daemon = self.signalled(["SIGTERM", "SIGTERM"], owner, step)
            self.assertEqual(self.status(daemon), 0, daemon.output)
            self.assertEqual(daemon.output.count(" info: stopping: "), 1, daemon.output)
            for trouble in ("Traceback", "stood still", "CRITICAL"):
                self.assertNotIn(trouble, daemon.output)

    def signalled(self, names: list[str], owner: str, step: str, *, before: str = "") -> Daemon:
        daemon = Daemon(temporary_directory(self) / "daemon", RULES.format(host=LOOPBACK, port=free_port()))
        daemon.changes = self.SIGNALLED.format(names=names, owner=owner, step=step, before=before)
        self.addCleanup(self.kill, daemon)
        daemon._process.spawn(daemon.command())
        return daemon


class UnreadTests(ProcessTestCase):
    """Standard output and error are a pipe that nobody reads."""

    def unread(self) -> tuple[subprocess.Popen[bytes], int, Daemon]:
        daemon = self.daemon()
        daemon.stop()
        # A process of the same command, but for its output.
        command = [*daemon.command(), "--status-file", str(daemon.file.parent / "status")]
        read, write = os.pipe()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=write, stderr=write)
        os.close(write)
        self.addCleanup(os.close, read)

        def end() -> None:
            if process.poll() is None:
                process.kill()
            process.wait()

        self.addCleanup(end)
        wait_for(lambda: accepts_connections(daemon.port), "the daemon to accept", START)
        return process, read, daemon

    def test_traffic_goes_on_and_the_loss_is_said(self) -> None:
        """Events are written until the pipe and what is kept are full; then it stops as if somebody read."""
        process, read, daemon = self.unread()
        # A reload that is refused for so much, in lines of the log, fills all there is.
        daemon.file.write_text("global\n" + "".join(f"    log 127.0.0.1 {'x' * 1000}-{n}\n" for n in range(3000)))
        process.send_signal(signal.SIGHUP)
        status = daemon.file.parent / "status"
        wait_for(lambda: status.exists() and "refused" in status.read_text(), "the reload to be refused", 60)
        self.assertEqual(run_curl(daemon.url).status, 200)
        # Somebody reads again.
        text = b""
        os.set_blocking(read, False)
        deadline = time.monotonic() + 10
        while b"lines of this log were lost" not in text and time.monotonic() < deadline:
            try:
                text += os.read(read, 65536)
            except BlockingIOError:
                time.sleep(0.02)
        self.assertRegex(text, rb"\d+ lines of this log were lost since [-0-9]+ [0-9:]+: nobody read them in time")
        self.assertIn(b"Proxy main listens on", text)

    def test_it_ends_when_told_to(self) -> None:
        """And the pipe has what came before."""
        process, read, daemon = self.unread()
        daemon.file.write_text("global\n" + "".join(f"    log 127.0.0.1 {'x' * 1000}-{n}\n" for n in range(100)))
        process.send_signal(signal.SIGHUP)
        status = daemon.file.parent / "status"
        wait_for(lambda: status.exists() and "refused" in status.read_text(), "the reload to be refused")
        self.assertEqual(run_curl(daemon.url).status, 200)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(20), 0)
        self.assertIn(b"Proxy main listens on", os.read(read, 65536))
