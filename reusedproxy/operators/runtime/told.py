"""Tells the log of commands that have changed something: which of their words it may have, and whether they did. An
order whose client has left is done to its end here.

A command may hold secrets: keys of certificates, passwords, and whatever clients are known by in maps, lists and
tables. So of its words those are told that name what it is about; and the answer to one that is refused does not quote
the others, as programs write such answers into their own logs. It must never know what a command does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Sequence

from reusedproxy.net.poller import Poller
from reusedproxy.operators.runtime.messages import ERROR, WARNING, Failure, Message
from reusedproxy.operators.runtime.proxy import BUSY, Context, Refusal

#: Stands for the words of a command that are not told.
LEFT_OUT = "..."
#: Returns the words behind those of the command itself that are told; None: it changes nothing.
Shown = Callable[[Context, Sequence[str]], Sequence[str] | None]
#: What may be a secret in a text, whole or in part: a shorter word is none, and would be found everywhere.
_WORD, _PART = re.compile(r"[^\s'\"(),%\[\]]{4,}"), re.compile(r"\w{4,}")


def whole(context: Context, words: Sequence[str]) -> Sequence[str]:
    return words


def name(context: Context, words: Sequence[str]) -> Sequence[str]:
    """Returns the first word; the others may be secret."""
    return _first(words, 1)


def name_of_entry(context: Context, words: Sequence[str]) -> Sequence[str]:
    """Returns `[@<ver>] <name>` of a map or list, without the entry: the key may be what a client proves itself by."""
    return _first(words, 2 if words and words[0].startswith("@") else 1)


def table(context: Context, words: Sequence[str]) -> Sequence[str]:
    """Returns all but the key of a table's row, which may be a client's cookie."""
    return [*words[:2], LEFT_OUT, *words[3:]] if words[1:2] == ["key"] else words


def server(context: Context, words: Sequence[str]) -> Sequence[str] | None:
    """Returns the words about a server, but for what is sent to its agent, which may be a password; None for
    `add server help`."""
    if words[:1] == ["help"]:
        return None
    if words[1:2] == ["agent-send"]:
        return _first(words, 2)  # blanks in a password may not have been escaped
    return [LEFT_OUT if before == "agent-send" else word for before, word in zip(("", *words), words, strict=False)]


def _first(words: Sequence[str], count: int) -> Sequence[str]:
    return words if len(words) <= count else [*words[:count], LEFT_OUT]


def without(message: str, said: str, known: Container[str] = ()) -> str:
    """Returns a message that may quote what was said, or words of it, with these left out; but for those that are
    `known` to everybody."""
    if said not in known:
        message = message.replace(f"'{said}'", f"'{LEFT_OUT}'")
    words = {word for word in _WORD.findall(said) if word not in known}
    parts = {part for word in words for part in _PART.findall(word) if part not in known}
    for word in sorted(words | parts, key=len, reverse=True):
        message = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", LEFT_OUT, message)
    return message


def told(
    context: Context, command: Sequence[str], shown: Sequence[str], answer: str | Iterable[str]
) -> str | Iterable[str]:
    """Returns the answer to a command, and tells the log of it when it is done; `shown` are its words that may be
    told."""
    log, kind = context.proxy.order_log, " ".join(command)
    payload = "" if context.payload is None else f" << ({context.payload.count(chr(10))} lines)"

    def tell(how: str = "") -> None:
        log.tell(context.orderer, kind, f"{' '.join(shown)}{payload}{how}")

    if not isinstance(answer, str):
        order = _Order(answer, tell, in_parts=bool(payload))
        return order.answered(context)
    if _failed(answer):
        return answer
    tell()
    return (answer, *_caveats(context)) if log.caveat else answer


def _caveats(context: Context) -> list[Message]:
    """Returns what the client of an order that is done does not expect: its session may have begun when the process
    still had its place."""
    text = context.proxy.order_log.caveat
    return [Message(f"{text[0].upper()}{text[1:]}.\n", WARNING)] if text else []


def _failed(piece: str) -> bool:
    return isinstance(piece, Failure) or (isinstance(piece, Message) and piece.severity == ERROR)


def _nobody_waits() -> None:
    """Does nothing: the order is over."""


class _Order:
    """Follows the answer to an order, and tells the log of it at its end, be its client there or not. One that is
    refused has changed nothing, unless it is done `in_parts`."""

    def __init__(self, answer: Iterable[str], tell: Callable[..., None], *, in_parts: bool) -> None:
        self._answer = answer
        self._left = iter(answer)
        self._tell = tell
        self._in_parts = in_parts
        self._refused = False
        #: Those by which it goes on when its client has left.
        self._poller: Poller | None = None
        self._context: Context | None = None
        self._busy = False

    def answered(self, context: Context) -> Iterator[str]:
        """Returns the answer piece by piece, and what there is to be said behind it."""
        yield from self.pieces(context)
        if not self._refused:
            yield from _caveats(context)

    def pieces(self, context: Context) -> Iterator[str]:
        """Returns the answer piece by piece. When its client leaves, the rest of the order is done without him, one
        piece in each turn of the poller; one that is busy goes on when it is woken."""
        piece, poller = "", context.proxy.poller
        context.changing = True
        try:
            while (found := self._next()) is not None:
                piece = found
                yield piece
        except GeneratorExit:
            self._poller, self._context, self._busy = poller, context, piece is BUSY
            context.wake = self._wake
            if not self._busy:
                poller.line_up(self)
            raise
        except Refusal:
            self._close()  # whoever runs it may have refused to wait
            raise
        finally:
            context.changing = False

    def take_turn(self) -> None:
        """Does the next piece of an order whose client has left; whoever is busy with it calls `_wake`."""
        assert self._poller is not None
        try:
            piece = self._next()
        except Refusal:
            return
        self._busy = piece is BUSY
        if piece is not None and not self._busy:
            self._poller.line_up(self)

    def _wake(self) -> None:
        if self._busy and self._poller is not None:
            self._busy = False
            self._poller.line_up(self)

    def _next(self) -> str | None:
        """Returns the next piece, None at the end. Raises Refusal."""
        try:
            piece = next(self._left, None)
        except Refusal:
            self._refused = True
            self._end()
            raise
        except Exception:
            self._tell(" (ended by our own fault, perhaps after a part of it)")
            self._close()
            raise
        if piece is None:
            self._end()
        else:
            self._refused = self._refused or _failed(piece)
        return piece

    def _end(self) -> None:
        if self._in_parts and self._refused:
            self._tell(" (refused, perhaps after a part of it)")
        elif not self._refused:
            self._tell()
        elif self._poller is not None:
            self._tell(" (refused, when its client had left)")
        self._close()

    def _close(self) -> None:
        if self._context is not None:
            self._context.wake = _nobody_waits  # they refer to each other
        if hasattr(self._answer, "close"):
            self._answer.close()
