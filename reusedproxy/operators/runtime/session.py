"""Serves one connection to the runtime API: lines in, answers out, in HAProxy's one-shot form or with a prompt.

Without a prompt the lines that come together are answered, and the connection ends. Long answers go out as the client
takes them, and a part of them in each turn of the event loop; meanwhile nothing more is read. It must never know what a
command does.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Generator, Iterator
from math import inf
from socket import socket
from typing import Protocol

from twisted.logger import Logger

from reusedproxy.config.language.printable import printable_lines
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.transport import Transport
from reusedproxy.operators.runtime.commands import run
from reusedproxy.operators.runtime.messages import with_severity
from reusedproxy.operators.runtime.proxy import BUSY, QUEUED, WAIT, Context, Refusal
from reusedproxy.operators.runtime.words import commands_of

#: Most bytes of a line, with what follows before it is answered; HAProxy's buffer.
LONGEST_LINE = 16384
#: Pieces of work that are done in one turn: a line is read, a command is begun, or a part of its answer is made, which
#: is a row or some lines; an empty one stands for work that was done.
PIECES_AT_ONCE = 8
#: Seconds after which a turn ends in any case: one piece may have taken long.
TURN = 0.002
#: A line that ends with it is followed by lines for its last command, up to an empty one, or to the word that it says.
_PAYLOAD = re.compile(r"(?:\A|\s|(?<!\\);)<<([^\s<;]{0,64})\Z")
#: HAProxy takes a longer word for an argument, and the lines of the payload for commands.
_NO_PAYLOAD = re.compile(r"(?:\A|\s|(?<!\\);)<<\S*\Z")
_PAYLOAD_WORD = (
    "The word behind '<<', which ends the payload, may have 64 characters, and no '<' or ';': nothing was done, and the"
    " lines behind it are not read."
)
_PAYLOAD_WITHIN = (
    "'<<' has to stand at the end of its line, as the lines behind it are its payload: nothing was done. Write the"
    " command behind ';' on a line of its own, behind the payload."
)
#: HAProxy ends such sessions without a word.
_LINE_CUT = "The last line has no end: nothing was done."
_PAYLOAD_CUT = "The line that ends the payload has not come, which is an empty one or what '<<' says: nothing was done."
#: Most bytes of these lines: the largest certificate that a file may have.
LONGEST_PAYLOAD = 1 << 20
#: How HAProxy says it, without its advice: there is no setting for it.
_LINE_TOO_LONG = f"The command is too big for the buffer size: a line may have {LONGEST_LINE} bytes."
_PAYLOAD_TOO_LONG = f"The payload is too big: it may have {LONGEST_PAYLOAD} bytes."
#: A line of an HTTP request. Any page that an operator looks at can have his browser send one to a port of this
#: machine, with commands in its body; Redis ends such a session at the same lines.
_OF_HTTP = re.compile(r"\S+\s.*\sHTTP/\S*\s*\Z|Host:", re.IGNORECASE)
#: Characters of no command's line. Other protocols of browsers have them in what comes first: in a TLS handshake, the
#: session to be resumed may hold commands, which an attacker's server has put there before the name led here.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

# The states of a session.
OPEN = "open"
#: The last answer goes out.
ENDING = "ending"
GONE = "gone"


def _nobody_waits() -> None:
    """Does nothing: the session is over."""


class Owner(Protocol):
    """Defines the socket as its sessions know it."""

    def session_gone(self, session: Session) -> None:
        """Forgets a session whose connection is closed."""

    def hand_over(self, channel: socket) -> None:
        """Hands the sockets of this process to the one at the other end."""

    def session_refused(self, session: Session, why: str) -> bool:
        """Tells the operator what the session is ended for. Returns False if that was logged lately."""


class Session:
    """Serves one connection; `state` is OPEN, ENDING or GONE."""

    _log = Logger("reusedproxy")

    def __init__(self, owner: Owner, transport: Transport, deadlines: Deadlines, context: Context) -> None:
        self.state = OPEN
        self.deadline = inf
        self.slot = 0.0
        self.context = context
        self._owner = owner
        self._transport = transport
        self._deadlines = deadlines
        self._buffer = b""
        #: Commands of the line that is being answered, and what is left of the present answer.
        self._commands: deque[tuple[list[str], str | None]] = deque()
        self._answer: Iterator[str] | None = None
        #: The present answer goes on when there is more to say, or ends with whatever its client says.
        self._waiting = False
        #: What it waits for ends by itself.
        self._busy = False
        #: Lines that have come for the commands of the line before them; what ends them, and how many bytes they have.
        self._payload: list[str] = []
        self._payload_for: list[list[str]] = []
        self._payload_end = ""
        self._payload_size = 0
        self._in_payload = False
        self._blocked = False
        self._working = False
        self._eof = False
        #: Some line was answered.
        self._answered = False
        #: When its client last said something, or took a part of an answer.
        self.active_at = deadlines.now()
        context.wake = self._wake
        self._give_time()
        transport.owner = self
        transport.resume_reading()

    # What the transport calls.

    def data_received(self, data: bytes) -> None:
        if self._waiting and not self._busy:
            self._stop_waiting()
            data = b""
        self._buffer += data
        if not self._busy:
            self._give_time()
        self._work()
        if self.state == OPEN and len(self._buffer) > LONGEST_LINE:
            self._transport.pause_reading()  # until what was said before is answered

    def eof_received(self) -> None:
        """Answers what has come; a line without its end is none."""
        self._eof = True
        if self._waiting and not self._busy:
            self._stop_waiting()
        self._work()

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        self._give_time()
        self._work()

    def take_turn(self) -> None:
        """Goes on with a long answer, now that others have had their turn."""
        self._work()

    def connection_lost(self, reason: str) -> None:
        self.state = GONE
        self._waiting = self._busy = False
        # Session and context refer to each other. A reload freezes what is alive just then, and the garbage collector
        # would never look at it again.
        if self.context.wake == self._wake:  # else an order goes on without it, and is woken in its place
            self.context.wake = _nobody_waits
        self._give_up_answer()
        self._commands.clear()
        self._deadlines.cancel(self)
        self._owner.session_gone(self)

    def deadline_passed(self) -> None:
        """Ends a session that has said nothing for too long, or does not take its answer (`stats timeout`)."""
        if self.state == OPEN and not self._blocked and self._answer is None:
            self._end("stats timeout")
        else:
            self._transport.abort("stats timeout")

    def stop(self, reason: str = "proxy stopped") -> None:
        """Ends the session now."""
        if self.state != GONE:
            self._transport.abort(reason)

    def end(self, reason: str) -> None:
        """Ends the session without another command, and says what is not done; what is unsent goes out."""
        undone = []
        if self._answer is not None and self.context.changing:
            undone.append("what was ordered goes on, and the log tells how it ends")
        elif self._answer is not None:
            undone.append("this answer is not whole")
        if self._commands or self._in_payload or b"\n" in self._buffer:
            undone.append("what was said and is not answered is not done")
        if undone and self.state == OPEN:
            self._transport.write(f"The session ends, as {reason}: {'; '.join(undone)}.\n\n".encode())
        self._end(reason)

    def _wake(self) -> None:
        """Goes on with an answer that waits, in a later turn: whoever calls is in the middle of something else."""
        if self._waiting:
            self._waiting = self._busy = False
            self._give_time()
            self._transport.line_up(self)

    def _stop_waiting(self) -> None:
        """Ends an answer that would go on for ever."""
        self._waiting = False
        self._give_up_answer()
        self._transport.write(self._end_of_answer().encode())

    def _give_up_answer(self) -> None:
        self._waiting = self._busy = False
        answer, self._answer = self._answer, None
        if isinstance(answer, Generator):
            answer.close()

    # Its work.

    def _give_time(self) -> None:
        self.active_at = self._deadlines.now()
        if not self._waiting:
            self._deadlines.watch(self, self._deadlines.now() + self.context.timeout)

    def _work(self) -> None:
        """Answers what has come, until the client has to take something, or others have their turn."""
        if self._working or self.state != OPEN:
            return
        self._working = True
        try:
            self._answer_all()
        except Exception:
            # Whoever finds one can cause it again and again.
            if self._owner.session_refused(self, "a command ends by our own fault"):
                self._log.failure("a command of the runtime API ends by our own fault")
            self._transport.write(b"Internal error: the daemon's log tells more.\n\n")
            self._end("error")
        finally:
            self._working = False

    def _answer_all(self) -> None:
        now = self._deadlines.now
        pieces, until = 0, now() + TURN
        # An order goes on while its client does not read: others wait for its end.
        while self.state == OPEN and (not self._blocked or self.context.changing) and not self._waiting:
            if pieces >= PIECES_AT_ONCE or (pieces and now() >= until):
                self._transport.line_up(self)
                return
            if self._answer is not None:
                pieces += 1
                self._write_piece(self._answer)
            elif self.context.leaves:
                self._end("quit")
            elif self.context.takes_over:
                self._hand_over()
            elif self._commands:
                pieces += 1
                self._answer = self._begin(*self._commands.popleft())
            elif self._take_line():
                pieces += 1  # of lines without a command, or of a payload, there may be any number
            else:
                break
        if self.state == OPEN and not self._blocked and self._answer is None and not self._commands:
            if self._eof and self._in_payload:
                self._refuse(_PAYLOAD_CUT, "no end of a payload")
            elif len(self._buffer) > LONGEST_LINE:
                self._refuse(_LINE_TOO_LONG, "line too long")
            elif self._eof and self._buffer.strip():
                self._refuse(_LINE_CUT, "no end of a line")
            elif self._eof or (self._answered and not self.context.interactive and not self._in_payload):
                self._end("answered")
            else:
                self._give_time()
                self._transport.resume_reading()

    def _hand_over(self) -> None:
        """Leaves the connection to who hands over the sockets of this process."""
        self.context.takes_over = False
        try:
            channel = socket(fileno=os.dup(self._transport.socket.fileno()))
        except OSError as error:
            self._refuse(f"The sockets cannot be handed over: {error.strerror}.", "no descriptor")
            return
        self.state = ENDING
        self._transport.pause_reading()  # or the poller would go on watching what the other descriptor keeps open
        self._transport.abort("handed over")
        self._owner.hand_over(channel)

    def _take_line(self) -> bool:
        """Takes the next whole line, if there is one."""
        line, end, rest = self._buffer.partition(b"\n")
        if not end:
            return False
        if len(line) > LONGEST_LINE:
            self._refuse(_LINE_TOO_LONG, "line too long")
            return False
        self._buffer = rest
        text = line.decode("utf-8", "replace").strip("\r")
        if _OF_HTTP.match(text):
            self._owner.session_refused(self, "a browser or another HTTP client has sent a request to it")
            self._end("HTTP")
            return False
        if _CONTROL.search(text):
            self._owner.session_refused(self, "a client has sent control characters, of TLS or another protocol")
            self._end("control characters")
            return False
        if self._in_payload:
            self._take_payload(text)
            return True
        found = _PAYLOAD.search(text.rstrip())
        commands = commands_of(text if found is None else text[: found.start()])
        if any(words and words[-1].startswith("<<") for words in commands[:-1]):
            # HAProxy takes the rest of the line for a part of the payload, or for a command, by version. The payload
            # would be taken for commands if the session went on.
            self._refuse(_PAYLOAD_WITHIN, "payload within a line")
            return False
        if found is None and _NO_PAYLOAD.search(text.rstrip()):
            self._refuse(_PAYLOAD_WORD, "no end of a payload")
            return False
        if found is not None:
            self._in_payload, self._payload_end = True, found[1]
            self._payload_for = commands
            self._ask_for_more()
            return True
        self._answered = True
        self._commands.extend((words, None) for words in commands)
        return True

    def _take_payload(self, text: str) -> None:
        """Takes a line of a payload; the last one has the commands done for which it came."""
        if text != self._payload_end:
            self._payload.append(text)
            self._payload_size += len(text) + 1
            if self._payload_size > LONGEST_PAYLOAD:
                self._refuse(_PAYLOAD_TOO_LONG, "payload too long")
                return
            self._ask_for_more()
            return
        payload = "".join(f"{line}\n" for line in self._payload)
        *others, last = self._payload_for
        self._commands.extend((words, None) for words in others)
        self._commands.append((last, payload))
        self._payload, self._payload_for, self._payload_size = [], [], 0
        self._in_payload = False
        self._answered = True

    def _refuse(self, text: str, reason: str) -> None:
        """Ends the session because of what its client has said, which it is told."""
        self._write_piece(iter((Refusal(text).written,)))
        self._transport.write(b"\n")
        self._end(reason)

    def _ask_for_more(self) -> None:
        """Prompts for the next line of a payload."""
        if self.context.prompts:
            self._transport.write(b"+ ")

    def _begin(self, words: list[str], payload: str | None) -> Iterator[str]:
        """Runs a command, and returns its answer with the line that ends it."""
        self.context.payload = payload
        self.context.is_last = not self._commands and not self._buffer.strip()
        try:
            answer = run(self.context, words)
        except Refusal as refusal:
            answer = refusal.written
        return self._whole([answer] if isinstance(answer, str) else answer)

    def _whole(self, answer: object) -> Iterator[str]:
        assert hasattr(answer, "__iter__")
        try:
            yield from answer
        except Refusal as refusal:
            yield refusal.written
        if self.context.leaves:
            return
        yield self._end_of_answer()

    def _end_of_answer(self) -> str:
        """Returns the line that ends an answer, or the prompt."""
        if not self.context.prompts:
            return "\n"
        return f"\n[{self._age()}]> " if self.context.timed else "\n> "

    def _age(self) -> str:
        """Returns how long the process has run, in days, hours, minutes and seconds."""
        proxy = self.context.service.proxy
        seconds = 0 if proxy is None else int(self._deadlines.now() - proxy.began)
        return f"{seconds // 86400}:{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"

    def _write_piece(self, answer: Iterator[str]) -> None:
        piece = next(answer, None)
        if piece is None:
            self._answer = None
        elif piece is WAIT and self._eof:
            self._stop_waiting()
        elif piece is WAIT or piece is BUSY:
            self._waiting, self._busy = True, piece is BUSY
            self._deadlines.cancel(self)  # nothing may be to say for hours
        elif piece is QUEUED:
            pass
        elif piece.endswith("\0"):
            self._transport.write(printable_lines(piece[:-1]).encode() + b"\0")
        elif piece:
            # Names and values in it may be other people's, and its reader is on a terminal mostly.
            self._transport.write(printable_lines(with_severity(piece, self.context.severities)).encode())

    def _end(self, reason: str) -> None:
        """Closes the connection, once what is unsent has gone out."""
        if self.state == OPEN:
            self.state = ENDING
            self._give_up_answer()
            self._give_time()
            self._transport.close(reason)
