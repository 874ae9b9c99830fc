"""Runs a program as one check of a server (`option external-check`), and says by its exit status what it has found.

The program is given what HAProxy gives it (src/extcheck.c): arguments, and an environment of its own. It can gain no
rights that the daemon has not, unless `insecure-setuid-wanted` says so. It is run without a shell, in a session of its
own, which is killed when its time is over. That it has ended is told by a descriptor (pidfd_open(2)), so that no signal
is needed. It must never know what follows from its result.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from ctypes import CDLL, get_errno
from errno import EACCES, ENOENT, ENOEXEC, ENOTDIR
from functools import cache
from math import inf

from reusedproxy.backends.checks.run import Done, Offers, Plan
from reusedproxy.backends.server import Server
from reusedproxy.config.model.checks import External
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.poller import READ, Poller
from reusedproxy.net.threads import Worker

#: Errors that are the program's own; others are for want of something here.
_OF_THE_PROGRAM = frozenset((EACCES, ENOENT, ENOEXEC, ENOTDIR))
#: The exit status of a program that cannot be run, as in HAProxy.
_NOT_RUN = 255
_NO_NEW_PRIVILEGES = 38
#: Starts the programs that gain no rights. It has none to give, unlike the other threads, which may start the process
#: that takes the place of this one.
_launcher = Worker("external checks")
#: What stands for an address that there is not.
_NOTHING = "NOT_USED"


@cache
def null() -> int:
    """Returns a descriptor of /dev/null, which stays open: whoever is in a chroot may not find it there. Raises
    OSError."""
    return os.open(os.devnull, os.O_RDWR)


def renounce() -> None:
    """Has no program that this thread starts from now on gain rights by a set-user-ID bit or the like (prctl(2),
    PR_SET_NO_NEW_PRIVS), which cannot be taken back. Raises OSError."""
    library = CDLL(None, use_errno=True)
    if library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError(get_errno(), os.strerror(get_errno()))


class ExternalRun:
    """Runs the program once. `done` is called once, unless the run is stopped."""

    def __init__(
        self,
        check: External,
        server: Server,
        poller: Poller,
        deadlines: Deadlines,
        seconds: float,
        done: Done,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """Takes the program, which has so many `seconds`. The `environment` is ours, of which it gets what the check
        says."""
        self.deadline = inf
        self.slot = 0.0
        self._check = check
        self._server = server
        self._poller = poller
        self._deadlines = deadlines
        self._seconds = seconds
        self._done: Done | None = done
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._descriptor = -1

    def start(self) -> None:
        host, port = self._address()
        inherited = dict(self._environment) if self._check.keeps_environment else {}
        try:
            nothing = null()
        except OSError as error:
            self.finish("SOCKERR", f"{os.devnull}: {error.strerror or error}", ours=True)
            return
        arguments = [self._check.command, *(each or _NOTHING for each in (*self._check.proxy, host, port))]
        environment = {**inherited, **self._variables(host, port)}

        def start() -> subprocess.Popen[bytes]:
            if not self._check.gains_rights:
                renounce()
            return subprocess.Popen(
                arguments, env=environment, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
            )

        try:
            self._process = start() if self._check.gains_rights else _launcher.wait_for(start)
            self._descriptor = os.pidfd_open(self._process.pid)
        except OSError as error:
            begun, self._process = self._process, None
            if begun is not None:
                begun.kill()
                begun.wait()
            elif error.errno in _OF_THE_PROGRAM:
                self.finish("PROCERR", error.strerror or str(error), _NOT_RUN)
                return
            self.finish("SOCKERR", error.strerror or str(error), ours=True)
            return
        self._deadlines.watch(self, self._deadlines.now() + self._seconds)
        self._poller.watch(self._descriptor, READ, self._ended)

    def _address(self) -> tuple[str, str]:
        """Returns the server's address, without a port for a unix socket."""
        target = self._server.target
        address = None if target is None else target.address
        if isinstance(address, tuple):
            return address[0], str(address[1])
        return "" if address is None else os.fsdecode(address).strip("\0"), ""  # a name in Linux's abstract namespace

    def _variables(self, host: str, port: str) -> dict[str, str]:
        server, check = self._server, self._check
        settings = server.settings
        return {
            "PATH": check.path,
            "HAPROXY_PROXY_NAME": check.section,
            "HAPROXY_PROXY_ID": str(check.section_id),
            "HAPROXY_PROXY_ADDR": check.proxy[0],
            "HAPROXY_PROXY_PORT": check.proxy[1],
            "HAPROXY_SERVER_NAME": server.name,
            "HAPROXY_SERVER_ID": str(settings.id),
            "HAPROXY_SERVER_ADDR": host,
            "HAPROXY_SERVER_PORT": port,
            "HAPROXY_SERVER_MAXCONN": str(settings.maxconn),
            "HAPROXY_SERVER_CURCONN": str(server.traffic.scur),
            "HAPROXY_SERVER_SSL": "1" if settings.tls is not None else "0",
            "HAPROXY_SERVER_PROTO": check.protocol,
        }

    @property
    def lives(self) -> int:
        """Returns the number of the program's process, if that is still there although the run is over: it has become
        another user, or waits for a disk, and could not be killed. Else 0."""
        return 0 if self._process is None else self._process.pid

    def go_on_for(self, plan: Plan, done: Done, offers: Offers | None = None) -> None:
        """Goes on for another caller, whose check is the same."""
        self._done = done

    def stop(self) -> None:
        """Kills the program without a word."""
        self._done = None
        self._kill()

    def finish(self, status: str, info: str, code: int | None = None, ours: bool = False) -> None:
        """Ends the run with this result."""
        done, self._done = self._done, None
        self._kill()
        if done is not None:
            done(status, info, code, ours)

    def deadline_passed(self) -> None:
        self.finish("PROCTOUT", "", 0)

    def _ended(self, events: int) -> None:
        """Takes note of the end of the program, also of one that was killed."""
        process, self._process = self._process, None
        assert process is not None
        status = process.wait()
        self._poller.forget(self._descriptor)
        os.close(self._descriptor)
        if status == 0:
            self.finish("PROCOK", "", 0)
        else:
            self.finish("PROCERR", "", status if status > 0 else 128 - status)

    def _kill(self) -> None:
        """Kills the program, if it runs, and what it has started."""
        self._deadlines.cancel(self)
        process = self._process
        if process is not None:
            with suppress(PermissionError, ProcessLookupError):  # it has become another user, or has just ended
                os.killpg(process.pid, signal.SIGKILL)
