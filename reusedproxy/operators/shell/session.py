"""Runs a session in the manhole: a prompt, one command, or a script from standard input.

Knows Python and the channel that conch has opened. Must never know who may log in (`key_checker` decides that before)
or what can be seen (`commands`). Errors in a session are shown to its user and to nobody else.
"""

from __future__ import annotations

import ast
import sys
import traceback
from collections.abc import Callable, Sequence
from io import StringIO
from typing import Any

from attrs import frozen
from twisted.conch.insults.insults import ServerProtocol, modes
from twisted.conch.interfaces import ISession
from twisted.conch.manhole import FileWrapper, Manhole, ManholeInterpreter
from twisted.conch.ssh.session import SSHSession
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.python.failure import Failure
from twisted.python.monkey import MonkeyPatcher
from zope.interface import implementer

from reusedproxy.operators.shell import conch_logs
from reusedproxy.operators.shell.commands import GUIDE

#: Most bytes of a script on standard input.
LONGEST_SCRIPT = 64 * 1024


class Channel(SSHSession):
    """A channel of conch's for one session; a request in it that makes no sense is refused as one that is not known."""

    _log = conch_logs.WARNINGS

    def requestReceived(self, requestType: bytes, data: bytes) -> Any:
        try:
            return SSHSession.requestReceived(self, requestType, data)
        except Exception as error:  # of a client that wants no reply, conch would log a traceback for each
            self._log.debug("request {kind!r} cannot be read: {error!r}", kind=requestType, error=error)
            return 0

    def closed(self) -> None:
        """Ends the session, whose parts refer to one another: a session that a reload has met would never be freed."""
        SSHSession.closed(self)
        client, self.client = self.client, None
        if client is not None:
            client.transport = None


@implementer(ISession)
class Session:
    """Serves one channel: a prompt on a terminal, one command, or a script on standard input."""

    def __init__(self, names: dict[str, Any], reactor: Any) -> None:
        self._names = names
        self._reactor = reactor
        self._size: tuple[int, int] | None = None
        self._shell: Any = None
        self._process: Any = None
        self._script = b""

    def getPty(self, term: bytes, windowSize: Sequence[int], modes: Any) -> None:
        self._size = windowSize[1], windowSize[0]

    def windowChanged(self, newWindowSize: Sequence[int]) -> None:
        if self._shell is not None:
            self._shell.width, self._shell.height = newWindowSize[1], newWindowSize[0]

    def openShell(self, proto: Any) -> None:
        if self._size is None:
            self._process = proto
            proto.makeConnection(_Input(self._script_received))
            return
        terminal = _Terminal(_Shell, self._names)
        terminal.makeConnection(proto)
        self._shell = terminal.terminalProtocol
        self._shell.terminalSize(*self._size)
        proto.makeConnection(_Input(terminal.dataReceived))

    def execCommand(self, proto: Any, command: bytes) -> None:
        proto.makeConnection(_Input(lambda data: None))
        # Not at once: the client has to be told first that its request was accepted.
        self._reactor.callLater(0, self._run, proto, command)

    def eofReceived(self) -> None:
        """Runs the script when its input is complete. A terminal ends by ^D, a command by itself."""
        process, self._process = self._process, None
        if process is not None:
            self._reactor.callLater(0, self._run, process, self._script)

    def closed(self) -> None:
        shell, self._process, self._shell = self._shell, None, None
        if shell is not None:
            shell.let_go()

    def _script_received(self, data: bytes) -> None:
        self._script += data
        if len(self._script) > LONGEST_SCRIPT and self._process is not None:
            process, self._process = self._process, None
            process.errReceived(b"the script is too long\n")
            process.processEnded(Failure(ProcessTerminated(exitCode=1)))

    def _run(self, process: Any, source: bytes) -> None:
        try:
            ran = run(source.decode("utf-8", "replace"), self._names)
        except Exception:  # the source has taken apart what collects its output, for instance
            ran = Ran("", traceback.format_exc(), 1)
        newline = "\n" if self._size is None else "\r\n"
        process.outReceived(ran.output.replace("\n", newline).encode("utf-8", "replace"))
        if ran.errors:
            process.errReceived(ran.errors.replace("\n", newline).encode("utf-8", "replace"))
        process.processEnded(Failure(ProcessTerminated(exitCode=ran.status) if ran.status else ProcessDone(None)))


@frozen
class _Input:
    """Receives what the client types, from conch."""

    write: Callable[[bytes], None]

    def loseConnection(self) -> None:
        """Does nothing when the channel is gone; `Session.closed` is called, too."""


@frozen
class Ran:
    """The result of a command: its output, its errors, and an exit status."""

    output: str
    errors: str
    status: int


class _Collected(StringIO):
    """Collects output, also of a command that closes its standard output in the middle."""

    def close(self) -> None:
        """Does nothing: what was written is still to be sent."""


def run(source: str, names: dict[str, Any]) -> Ran:
    """Runs the source as if each of its statements were typed at a prompt: the values of expressions are printed."""
    output, errors, status = _Collected(), _Collected(), 0
    patches = MonkeyPatcher(
        (sys, "stdout", output),
        (sys, "stderr", errors),
        (sys, "stdin", StringIO()),  # input() would block on the daemon's own terminal
        (sys, "displayhook", lambda value: None if value is None else print(repr(value))),
    )
    with patches:
        try:
            statements = ast.Interactive(ast.parse(source.strip(), "<manhole>").body)
            exec(compile(statements, "<manhole>", "single"), names)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                errors.write(end.code + "\n")
        except BaseException as error:  # KeyboardInterrupt included: any exception concerns the session's user only
            status = 1
            trace = error.__traceback__
            # Without the frames of this module; a SyntaxError has no others.
            theirs = None if trace is None or isinstance(error, SyntaxError) else trace.tb_next
            errors.write("".join(traceback.format_exception(type(error), error, theirs)))
    return Ran(output.getvalue(), errors.getvalue(), status & 0xFF)


class _Shell(Manhole):
    """The prompt: conch's plain one. The coloured one tokenizes at each key, and fails on an incomplete character."""

    _log = conch_logs.NOTHING

    def connectionMade(self) -> None:
        Manhole.connectionMade(self)
        _drop_hooks(self.interpreter)
        self.interpreter = _Interpreter(self, self.namespace)

    def let_go(self) -> None:
        """Drops what refers back to it, when its channel is closed."""
        self.keyHandlers.clear()
        self.terminal.terminalProtocol = None
        _drop_hooks(self.interpreter)
        del self.interpreter

    def initializeScreen(self) -> None:
        """Writes the guide without clearing the screen; conch would clear it here, and again in terminalSize."""
        self.setInsertMode()
        self.terminal.write(GUIDE + "\n")

    def terminalSize(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.drawInputLine()

    def lineReceived(self, line: bytes) -> None:
        try:
            Manhole.lineReceived(self, line)
        except Exception:  # a line that the compiler fails on, or that is not UTF-8, must not end the session
            self.interpreter.resetBuffer()
            self.addOutput(traceback.format_exc(limit=0))
            self.pn = 0
            self.drawInputLine()


class _Interpreter(ManholeInterpreter):
    """Shows every exception to the session's user; exit() ends the session, not the daemon."""

    def __init__(self, handler: _Shell, names: dict[str, Any] | None) -> None:
        ManholeInterpreter.__init__(self, handler, names, "<manhole>")
        self.monkeyPatcher.addPatch(sys, "stderr", FileWrapper(handler))
        self.monkeyPatcher.addPatch(sys, "stdin", StringIO())

    def runcode(self, *arguments: Any, **options: Any) -> None:
        try:
            ManholeInterpreter.runcode(self, *arguments, **options)
        except SystemExit:
            self.handler.handle_QUIT()


def _drop_hooks(interpreter: ManholeInterpreter) -> None:
    """Drops what an interpreter puts in the place of `sys.stdout` and others while it runs: that refers back to it."""
    interpreter.monkeyPatcher = MonkeyPatcher()


class _Terminal(ServerProtocol):
    transport: Any

    def loseConnection(self) -> None:
        """Ends the session without resetting the terminal: conch would clear what its user has just read."""
        self.resetModes([modes.IRM])
        self.transport.processEnded(Failure(ProcessDone(None)))
