"""Parses whole HTTP answers that an operator has written into a file (`errorfile`), and writes them to clients. Pure.

What such a file says of its connection and of its length is judged once, when it is read: it is then sent to clients of
HTTP/1.0 and HTTP/1.1 alike, with a Connection field of our own.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from reusedproxy.wire.grammar import CRLF, TEXT, TOKEN

_END: Final = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: (.*))?\Z")
#: Hop-by-hop fields beside Connection: each connection says them for itself.
_HOP: Final = frozenset((b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"))
_EXAMPLE: Final = "it begins with a line such as 'HTTP/1.1 503 Service Unavailable', then header lines, an empty line"


class AnswerFault(Exception):
    """Says why a text is no HTTP answer that can be sent; the message names no file."""


@frozen
class WholeAnswer:
    """Holds an answer as it is sent. `head` is its first line and its fields, each with its CRLF, without Connection.

    With `ends` the connection ends after it: it says so, or has no length. `old` tells that it is of HTTP/1.0, where it
    is said only of a connection that goes on. An answer without a `head` is none: the connection is closed without it.
    """

    status: int = 0
    head: bytes = b""
    body: bytes = b""
    ends: bool = True
    old: bool = False

    def written(self, method: bytes, *, close: bool) -> bytes:
        """Returns the answer to a request of this method; to HEAD without its body (RFC 9110 section 9.3.2)."""
        if not self.head:
            return b""
        last = b""
        if close is not self.old:
            last = b"connection: keep-alive\r\n" if self.old else b"connection: close\r\n"
        return b"".join((self.head, last, CRLF, b"" if method == b"HEAD" else self.body))


#: What an empty file says.
NOTHING: Final = WholeAnswer()


def read_whole_answer(data: bytes) -> WholeAnswer:
    """Parses the content of a file; lines may end with LF alone. Raises AnswerFault."""
    if not data:
        return NOTHING
    data = data.lstrip(b"\r\n")
    found = _END.search(data)
    if found is None:
        raise AnswerFault(f"it has no complete head: {_EXAMPLE}, and the body")
    first, *lines = re.split(rb"\r?\n", data[: found.start()])
    body = data[found.end() :]
    status, old = _read_status_line(first)
    fields: list[bytes] = []
    ends, length = False, -1
    for line in lines:
        name, value = _read_field(line)
        if name == b"connection":
            ends = ends or b"close" in value.lower()
        elif name == b"transfer-encoding":
            raise AnswerFault("chunk-encoded payload not supported: take 'Transfer-Encoding' out")
        elif name == b"content-length":
            if length >= 0:
                raise AnswerFault("it has two Content-Length lines")
            length = _read_length(value)
            if status != 204:
                fields.append(b"content-length: %b\r\n" % value)
        elif name not in _HOP:
            fields.append(b"%b: %b\r\n" % (name, value))
    if status in (204, 304):
        if body:
            raise AnswerFault(f"message payload not expected: an answer with status {status} has no body")
    elif length < 0:
        ends = True
    elif length != len(body):
        raise AnswerFault(
            f"payload size does not match the announced content-length ({len(body)} != {length}): correct the line, or"
            " take it out"
        )
    return WholeAnswer(status, b"".join((first.rstrip(), CRLF, *fields)), body, ends, old)


def _read_status_line(line: bytes) -> tuple[int, bool]:
    """Returns the status, and whether the answer is of HTTP/1.0. Raises AnswerFault."""
    found = _STATUS_LINE.match(line)
    if found is None:
        if line.startswith(b"HTTP/") and not line.startswith(b"HTTP/1."):
            version = line.split(b" ")[0].decode("latin-1")
            raise AnswerFault(f"invalid http version ({version}): write HTTP/1.0 or HTTP/1.1")
        raise AnswerFault(f"it has no head: {_EXAMPLE}, and the body")
    if line.translate(None, TEXT):
        raise AnswerFault("a control character in its first line")
    status = int(found[2])
    if status < 200:
        raise AnswerFault(f"invalid http status code for an error message ({status}): 200 to 599 are possible")
    return status, found[1] == b"0"


def _read_field(line: bytes) -> tuple[bytes, bytes]:
    """Returns the name in lower case, as HAProxy writes it, and the value. Raises AnswerFault."""
    shown = line[:60].decode("utf-8", "replace")
    if line[:1] in (b" ", b"\t"):
        raise AnswerFault(f"the folded header line '{shown.strip()}': write it behind the line before")
    name, colon, value = line.partition(b":")
    if not colon or not TOKEN.match(name):
        raise AnswerFault(f"'{shown}' is no header line such as 'Content-Type: text/html'")
    if value.translate(None, TEXT):
        raise AnswerFault(f"a control character in the header line '{shown}'")
    return name.lower(), value.strip(b" \t")


def _read_length(value: bytes) -> int:
    if not re.match(rb"[0-9]{1,18}\Z", value):
        raise AnswerFault(f"its Content-Length '{value.decode('latin-1')}' is no number")
    return int(value)
