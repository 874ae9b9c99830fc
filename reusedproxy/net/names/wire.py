"""Writes and reads DNS messages (RFC 1035 section 4), as far as hosts and services are asked for.

A name server may be anybody's, and so may who is on the way to it: what is read of one message is bounded, whatever it
says. Names are texts of labels with dots between, the root is the empty text.
"""

from __future__ import annotations

from ipaddress import ip_address
from struct import Struct, error
from typing import Final

from attrs import frozen

# Kinds of records: RFC 1035 section 3.2.2, RFC 3596, RFC 2782.
A: Final = 1
CNAME: Final = 5
AAAA: Final = 28
SRV: Final = 33
#: RFC 6891: the pseudo record of EDNS.
OPT: Final = 41

_INTERNET = 1
_RECURSION_DESIRED = 0x0100
_POINTER = 0xC0
#: RFC 1035 section 2.3.4; a name's root is counted, too.
LONGEST_NAME, LONGEST_LABEL = 255, 63
#: The most labels and pointers that are looked at in one message. One of 64 KiB full of services has a third of that.
_MOST_STEPS = 32_768

_HEADER = Struct("!6H")
_QUESTION = Struct("!2H")
_RECORD = Struct("!2HIH")
_SERVICE = Struct("!3H")


class Malformed(ValueError):
    """Says that bytes are no DNS message."""


@frozen
class Record:
    """Holds one record. `text` is an address (A, AAAA) or the name that it leads to (CNAME, SRV); `port` and `weight`
    are those of a service."""

    name: str
    kind: int
    text: str
    port: int = 0
    weight: int = 0


@frozen
class Message:
    """Holds what a message says. `code` is its RCODE; `questions` are names and kinds; of records those that were not
    asked for are left out."""

    number: int
    is_answer: bool
    opcode: int
    truncated: bool
    code: int
    questions: tuple[tuple[str, int], ...]
    answers: tuple[Record, ...]
    additional: tuple[Record, ...]


def write_question(number: int, name: str, kind: int, payload: int) -> bytes:
    """Returns a question that wants recursion; `payload` bytes of answer are accepted over UDP (EDNS).

    Raises ValueError for a name that DNS cannot have, or that is not ASCII.
    """
    labels = name.removesuffix(".").encode("ascii").split(b".")
    if not all(0 < len(label) <= LONGEST_LABEL for label in labels):
        raise ValueError(name)
    written = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    if len(written) > LONGEST_NAME:
        raise ValueError(name)
    header = _HEADER.pack(number, _RECURSION_DESIRED, 1, 0, 0, 1)
    return header + written + _QUESTION.pack(kind, _INTERNET) + b"\0" + _RECORD.pack(OPT, payload, 0, 0)


def read_message(data: bytes) -> Message:
    """Reads a message. Of one that says it is truncated, what has come is read. Raises Malformed."""
    return _Reader(data).message()


class _Reader:
    """Reads one message."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._steps = _MOST_STEPS

    def message(self) -> Message:
        number, flags, asked, answered, authorities, added = self._unpack(_HEADER)
        questions = tuple(self._question() for _ in range(asked))
        truncated = bool(flags & 0x0200)
        answers: list[Record] = []
        additional: list[Record] = []
        try:
            self._records(answered, answers)
            self._records(authorities, [])
            self._records(added, additional)
        except Malformed:
            if not truncated:
                raise
        return Message(
            number,
            bool(flags & 0x8000),
            flags >> 11 & 0xF,
            truncated,
            flags & 0xF,
            questions,
            tuple(answers),
            tuple(additional),
        )

    def _question(self) -> tuple[str, int]:
        name = self._name()
        kind, family = self._unpack(_QUESTION)
        if family != _INTERNET:
            raise Malformed("a question of another class")
        return name, kind

    def _records(self, number: int, found: list[Record]) -> None:
        for _ in range(number):
            name = self._name()
            kind, family, _, size = self._unpack(_RECORD)
            begin = self._at
            end = begin + size
            if end > len(self._data):
                raise Malformed("a record is cut off")
            if family == _INTERNET and kind in (A, AAAA, CNAME, SRV):
                found.append(self._record(name, kind, end))
                if self._at != end:
                    raise Malformed("a record of the wrong length")
            self._at = end

    def _record(self, name: str, kind: int, end: int) -> Record:
        if kind == CNAME:
            return Record(name, kind, self._name())
        if kind == SRV:
            _, weight, port = self._unpack(_SERVICE)
            return Record(name, kind, self._name(), port, weight)
        packed, self._at = self._data[self._at : end], end
        if len(packed) != (4 if kind == A else 16):
            raise Malformed("an address of the wrong length")
        return Record(name, kind, str(ip_address(packed)))

    def _name(self) -> str:
        """Reads a name. A pointer leads to what stands before the name (section 4.1.4), so that it comes to an end."""
        data, at, first = self._data, self._at, self._at
        labels: list[bytes] = []
        size, end = 1, 0
        while True:
            self._steps -= 1
            if self._steps < 0 or at >= len(data):
                raise Malformed("a name is cut off, or there are too many")
            length = data[at]
            if length >= _POINTER:
                if at + 1 >= len(data):
                    raise Malformed("a pointer is cut off")
                end = end or at + 2
                at = (length - _POINTER) << 8 | data[at + 1]
                if at >= first:
                    raise Malformed("a pointer leads forward")
                first = at
                continue
            size += length + 1 if length else 0
            if length > LONGEST_LABEL or size > LONGEST_NAME:
                raise Malformed("a name is too long")
            at += 1 + length
            if not length:
                self._at = end or at
                return b".".join(labels).decode("latin-1")
            label = data[at - length : at]
            # A dot within a label is none between two.
            labels.append(label.replace(b".", b"\\.") if b"." in label else label)

    def _unpack(self, fields: Struct) -> tuple[int, ...]:
        try:
            found: tuple[int, ...] = fields.unpack_from(self._data, self._at)
        except error:
            raise Malformed("the message is cut off") from None
        self._at += fields.size
        return found
