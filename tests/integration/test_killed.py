"""A daemon that is killed, and started again by who supervises it, as systemd does: what its clients see.

`REUSEDPROXY_KILLS` in the environment says how often (1).
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.integration.daemon import ROOT
from tests.integration.peers import LOOPBACK, temporary_directory, wait_for
from tests.ports import free_port

TIMES = int(os.environ.get("REUSEDPROXY_KILLS", "1"))
#: Seconds until it is started again (`RestartSec=` of the unit).
RESTART = 1.0
#: Seconds within which a client has to be served again, the start of the program among them.
SOON = 15.0
TEXT = """
defaults
    mode http
    timeout connect 2s
    timeout client 10s
    timeout server 10s
frontend main
    bind {bind}
    http-request return status 200 content-type text/plain string ok
"""


class Supervisor:
    """Starts the daemon again when it has died. With `listening` it holds the socket, which the daemon gets as its
    descriptor 3, and under a name (systemd's socket units, `FileDescriptorName=`)."""

    def __init__(self, command: list[str], output: str, listening: socket.socket | None) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self._command = command
        self._output = output
        self._listening = listening
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            with open(self._output, "ab") as output:
                command, given = self._command, list[int]()
                if self._listening is not None:
                    number = self._listening.fileno()
                    # Not by a shell, some of which know no descriptor above 9.
                    code = "import os, sys; os.dup2(int(sys.argv[1]), 3); "
                    code += "os.environ.update(LISTEN_FDS='1', LISTEN_FDNAMES='web', LISTEN_PID=str(os.getpid())); "
                    code += "os.execvp(sys.argv[2], sys.argv[2:])"
                    command = [sys.executable, "-c", code, str(number), *command]
                    given = [number]
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=given
                )
            self.starts += 1
            self.process.wait()
            self._stopping.wait(RESTART)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)

    def stop(self) -> None:
        self._stopping.set()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
        self._thread.join(20)


@pytest.mark.alone
class KilledTests(SynchronousTestCase):
    def begin(self, listening: socket.socket | None) -> Supervisor:
        directory = temporary_directory(self)
        config = directory / "a.cfg"
        self.port = free_port() if listening is None else listening.getsockname()[1]
        config.write_text(TEXT.format(bind="fd@web" if listening is not None else f"{LOOPBACK}:{self.port}"))
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv[0] = 'twist'\n"
        code += "from twisted.application.twist._twist import Twist; Twist.main()\n"
        command = [sys.executable, "-c", code, "--log-format=text", "reusedproxy", "--config", str(config)]
        supervisor = Supervisor(command, str(directory / "output"), listening)
        self.addCleanup(supervisor.stop)
        wait_for(lambda: self.ask() == "", "the daemon to serve", SOON)
        return supervisor

    def ask(self) -> str:
        """Asks once; returns the fault, or nothing."""
        try:
            client = http.client.HTTPConnection(LOOPBACK, self.port, timeout=SOON)
            client.request("GET", "/")
            status = client.getresponse().status
            client.close()
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__
        return "" if status == 200 else str(status)

    def killed(self, supervisor: Supervisor) -> tuple[list[str], float]:
        """Kills it, and asks until it is well again. Returns the faults, and the seconds of it."""
        # One that is connected, and asks nothing at that moment. Who has come after it is answered, so it is accepted.
        idle = socket.create_connection((LOOPBACK, self.port), timeout=20)
        self.addCleanup(idle.close)
        self.assertEqual(self.ask(), "")
        supervisor.kill()
        began, faults = time.monotonic(), []
        self.assertEqual(idle.recv(1), b"")  # it sees the end at once
        while (fault := self.ask()) and time.monotonic() - began < SOON:
            faults.append(fault)
            time.sleep(0.02)
        self.assertEqual(fault, "")
        return faults, time.monotonic() - began

    def test_without_a_socket_unit_connections_are_refused_meanwhile(self) -> None:
        supervisor = self.begin(None)
        for _ in range(TIMES):
            faults, seconds = self.killed(supervisor)
            self.assertEqual({*faults} - {"ConnectionResetError", "RemoteDisconnected"}, {"ConnectionRefusedError"})
            self.assertGreater(seconds, RESTART)
            print(f"killed: {len(faults)} refused within {seconds:.2f} s")

    def test_with_a_socket_unit_they_wait(self) -> None:
        listening = socket.create_server((LOOPBACK, 0), backlog=100)
        self.addCleanup(listening.close)
        supervisor = self.begin(listening)
        for _ in range(TIMES):
            faults, seconds = self.killed(supervisor)
            # One that had been accepted at that very moment is lost.
            self.assertLessEqual(len(faults), 1, faults)
            self.assertNotIn("ConnectionRefusedError", faults)
            print(f"killed: none refused, the first one was answered after {seconds:.2f} s")
