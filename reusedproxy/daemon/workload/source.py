"""Gets SVIDs from a SPIFFE agent while the daemon runs (`spiffe-workload-api`), and has each new one taken up as a file
that has changed on disk.

A process of its own speaks to the agent (`client`), as the daemon's user: that is whom the agent sees. Its pipe is read
here. Without the agent, or without that process, the SVID at hand stays in use; it is tried again at growing intervals.
Must never know who shows an SVID, nor to whom.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, Protocol

from cryptography.x509 import load_pem_x509_certificates
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from zope.interface import implementer

from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.proxies import Said
from reusedproxy.daemon.starting.account import Account
from reusedproxy.net.tls.svid import NOT_ASKED, SPIFFE, SVID
from reusedproxy.net.tls.words import UNREADABLE

WORD = "spiffe-workload-api"
#: Seconds for which a start waits for the first SVID.
FIRST = 10.0
#: Seconds until the process that has ended is started again, and at most; each start doubles them, until there is an
#: SVID.
AFTER_END = 1.0
MOST_AFTER_END = 60.0
#: Seconds after which it is asked again whether an SVID can be taken up, while a reload is under way.
BUSY = 1.0
#: Most bytes of one line of the process: an SVID has some thousands.
LONGEST = 16 << 20
AT_ONCE = 1 << 16

_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    " from reusedproxy.daemon.workload.client import main; main(sys.argv[2])"
)


class Process(Protocol):
    """The process that speaks to the agent: `output` is a descriptor of what it prints."""

    output: int

    def end(self) -> None:
        """Ends it, and closes the descriptor."""


#: Starts such a process for the address of an agent; None: as the user that the daemon is already.
Spawn = Callable[[str, Account | None], Process]


class Client:
    """Runs `client` as a process, which ends with this one."""

    def __init__(self, address: str, account: Account | None) -> None:
        """Raises OSError."""
        who: dict[str, Any] = {}
        if account is not None and os.geteuid() == 0:
            who = {"user": account.uid, "group": account.gid, "extra_groups": account.groups}
        # In a session of its own: Ctrl-C is for the daemon, which goes on until its clients have gone.
        self._running = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps([os.path.abspath(each) for each in sys.path]), address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **who,
        )
        assert self._running.stdout is not None
        self.output = self._running.stdout.fileno()

    def end(self) -> None:
        with self._running, suppress(OSError):
            self._running.kill()


@implementer(IReadDescriptor)
class WorkloadAPI:
    """Holds the newest SVID, as `svid`: None without `spiffe-workload-api`.

    `open` waits for the first, `begin` has the reactor read on, `stop` ends it.
    """

    def __init__(
        self,
        reactor: Any,
        announce: Callable[[str, str], None],
        take_up: Callable[[list[str]], bool],
        spawn: Spawn = Client,
    ) -> None:
        """Takes who begins to read "files" again, and tells whether that could be."""
        self.svid: SVID | None = None
        self.spawn = spawn
        self._reactor = reactor
        self._announce = announce
        self._take_up = take_up
        self._address = ""
        self._process: Process | None = None
        self._unread = b""
        #: Why there is no stream at present; "": there is one, or the first try is under way.
        self._fault = ""
        self._pause = AFTER_END
        self._starting: IDelayedCall | None = None
        self._telling: IDelayedCall | None = None

    def open(self, said: Said | None, account: Account | None, *, ask: bool) -> list[Fault]:
        """Starts the process and waits for the first SVID, FIRST seconds at most; returns faults. Unless it is to
        `ask`, NOT_ASKED stands for the SVID."""
        if said is None:
            return []
        self.svid = NOT_ASKED
        if find_spec("grpc") is None:
            text = f"'{WORD}' needs gRPC, which is not installed: pip install \"reusedproxy[spiffe]\""
            return [Fault(said.place, text)]
        if not ask:
            return []
        self._address = said.value
        try:
            self._process = self.spawn(self._address, account)
        except OSError as error:
            text = f"'{WORD}': {sys.executable} cannot be started as {_user(account)}: {error.strerror}"
            return [Fault(said.place, text)]
        if self._waited():
            return []
        why = self._fault or "the agent does not answer"
        text = (
            f"'{WORD}': no SVID has come from {self._address} within {FIRST:g} s: {why}; see that the agent runs,"
            f" that {_user(account)} may connect to its socket, and that an entry is registered for a workload of this"
            " user"
        )
        self.stop()
        return [Fault(said.place, text)]

    def begin(self) -> None:
        """Has the reactor read on."""
        if self._process is not None:
            os.set_blocking(self._process.output, False)
            self._reactor.addReader(self)

    def stop(self) -> None:
        """Ends the process; the SVID at hand stays."""
        self._drop()
        for call in (self._starting, self._telling):
            if call is not None and call.active():
                call.cancel()

    # What the reactor calls.

    def fileno(self) -> int:
        return -1 if self._process is None else self._process.output

    def logPrefix(self) -> str:
        return WORD

    def doRead(self) -> None:
        process = self._process
        if process is None:
            return
        try:
            content = os.read(process.output, AT_ONCE)
        except BlockingIOError:
            return
        if not self._feed(content):
            self._ended()

    def connectionLost(self, reason: object) -> None:
        """Is called instead of `doRead` where the pipe has ended and nothing is left in it."""
        if self._process is not None:
            self._ended()

    # What comes from the process.

    def _waited(self) -> bool:
        """Waits for the first SVID, FIRST seconds at most; tells whether it has come."""
        assert self._process is not None
        until = time.monotonic() + FIRST
        while (left := until - time.monotonic()) > 0 and select.select([self._process.output], [], [], left)[0]:
            if not self._feed(os.read(self._process.output, AT_ONCE)):
                return False
            if self.svid is not NOT_ASKED:
                return True
        return False

    def _feed(self, content: bytes) -> bool:
        """Takes what was read. Returns False if the process has ended, or prints without end."""
        *lines, self._unread = (self._unread + content).split(b"\n")
        for line in lines:
            self._take(json.loads(line))
        return bool(content) and len(self._unread) <= LONGEST

    def _take(self, said: dict[str, str]) -> None:
        if "fault" in said:
            self._away(said["fault"])
            return
        before, self._pause = self.svid, AFTER_END
        chain, key, bundle = (said[each].encode("ascii") for each in ("chain", "key", "bundle"))
        was_away, self._fault = self._fault, ""
        if was_away and before is not None and before is not NOT_ASKED:
            self._announce("notice", f"{WORD} {self._address}: the agent is back")
        if before is not None and (before.chain, before.key, before.bundle) == (chain, key, bundle):
            return
        self.svid = SVID(said["id"], chain, key, bundle, 1 if before is None else before.number + 1)
        if before is not None and before is not NOT_ASKED:
            self._tell()

    def _away(self, why: str) -> None:
        """Announces, once, that there is no stream."""
        said, self._fault = self._fault, why
        if not said and self.svid is not None and self.svid is not NOT_ASKED:
            text = f"no stream from the agent: {why}; the SVID at hand stays in use{_until(self.svid)}; tried again"
            self._announce("warning", f"{WORD} {self._address}: {text}")

    def _tell(self) -> None:
        if self._telling is not None and self._telling.active():
            self._telling.cancel()
        if not self._take_up([SPIFFE]):
            self._telling = self._reactor.callLater(BUSY, self._tell)

    def _ended(self) -> None:
        self._drop()
        self._away("the process that speaks to it has ended")
        self._starting = self._reactor.callLater(self._pause, self._start)
        self._pause = min(2 * self._pause, MOST_AFTER_END)

    def _start(self) -> None:
        try:
            self._process = self.spawn(self._address, None)
        except OSError as error:
            self._away(f"{sys.executable} cannot be started: {error.strerror}")
            self._starting = self._reactor.callLater(MOST_AFTER_END, self._start)
            return
        self.begin()

    def _drop(self) -> None:
        process, self._unread = self._process, b""
        if process is not None:
            self._reactor.removeReader(self)
            self._process = None
            process.end()


def _user(account: Account | None) -> str:
    return f"user {os.geteuid()}" if account is None else f"user {account.name}"


def _until(svid: SVID) -> str:
    """Returns until when an SVID is valid, in words; "" if it cannot be read."""
    try:
        return f" until {load_pem_x509_certificates(svid.chain)[0].not_valid_after_utc:%d %b %Y %H:%M:%S} UTC"
    except UNREADABLE:
        return ""
