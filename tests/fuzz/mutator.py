"""Changes messages as those do who attack or break HTTP: line by line and word by word, not bit by bit.

libFuzzer's own mutations find every single byte that matters; whole lines said twice, moved, put into another case or
glued to another message are beyond them. It knows no target, and leaves control bytes to libFuzzer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

_LINES = (
    b"Host: a\r\n Host: b\r\nHost : a\r\n"
    b"Content-Length: 5\r\nContent-Length: 0\r\ncontent-length:5\r\nContent-Length: +5\r\n"
    b"Content-Length: 5, 5\r\nContent-Length:\t5 \r\nTransfer-Encoding: chunked\r\nTransfer-Encoding:chunked\t\r\n"
    b"TRANSFER-ENCODING: Chunked\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: gzip, chunked\r\n"
    b"Transfer-Encoding : chunked\r\nTransfer-Encoding:\x0bchunked\r\nTransfer-Encoding:\r\n chunked\r\n"
    b"Connection: close\r\nConnection: keep-alive\r\n"
    b"Connection: Host, Transfer-Encoding\r\nConnection: x, Content-Length\r\n"
    b"connection:X-Y , close;\r\nX-Y: z\r\n"
    b"TE: trailers\r\nUpgrade: websocket\r\nExpect: 100-continue\r\nKeep-Alive: 5\r\n"
    b"5\r\nhello\r\n0\r\n\r\n5;a=b\r\n5 ;a=\"b\"\r\n00005\r\n0;x\r\nA: b\r\n\r\n"
    b"GET /next HTTP/1.1\r\nPOST /next HTTP/1.0\r\nHTTP/1.1 200 OK\r\nHTTP/1.1 100 Continue\r\nHTTP/1.1 304 No\r\n"
).splitlines(keepends=True)  # fmt: skip
_MESSAGES = (
    b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /next HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /next HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET /next HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n",
)
_ENDS = (b"\n", b"\r", b"\r\r\n", b"\r\n\r\n", b" \r\n", b"\t\r\n", b"\n\r\n", b"\0\r\n", b"")
_NUMBERS = (b"0", b"1", b"4", b"6", b"-1", b"0x5", b"00000000000000000", b"ffffffffffffffff", b"9223372036854775808")
_NUMBER = re.compile(rb"[0-9]+")
_LETTERS = re.compile(rb"[A-Za-z]+")

Change = Callable[[Random, list[bytes]], None]


def mutate(data: bytes, seed: int) -> bytes:
    """One to three changes to a stream of lines."""
    random = Random(seed)
    lines = data.splitlines(keepends=True) if random.random() < 0.1 else re.split(rb"(?<=\r\n)", data)
    for _ in range(random.randint(1, 3)):
        random.choice(_CHANGES)(random, lines)
    return b"".join(lines)


def _insert(random: Random, lines: list[bytes]) -> None:
    lines.insert(random.randint(0, len(lines)), random.choice(_LINES))


def _insert_message(random: Random, lines: list[bytes]) -> None:
    lines.insert(random.choice((len(lines), random.randint(0, len(lines)))), random.choice(_MESSAGES))


def _delete(random: Random, lines: list[bytes]) -> None:
    if lines:
        del lines[random.randrange(len(lines))]


def _repeat(random: Random, lines: list[bytes]) -> None:
    if lines:
        lines.insert(random.randint(0, len(lines)), random.choice(lines))


def _move(random: Random, lines: list[bytes]) -> None:
    if lines:
        lines.insert(random.randrange(len(lines)), lines.pop(random.randrange(len(lines))))


def _change(expression: re.Pattern[bytes], new: Callable[[Random, bytes], bytes]) -> Change:
    def change(random: Random, lines: list[bytes]) -> None:
        at = random.randrange(len(lines)) if lines else -1
        found = list(expression.finditer(lines[at])) if lines else []
        if found:
            place = random.choice(found)
            lines[at] = lines[at][: place.start()] + new(random, place[0]) + lines[at][place.end() :]

    return change


def _end(random: Random, lines: list[bytes]) -> None:
    if lines:
        at = random.randrange(len(lines))
        lines[at] = lines[at].rstrip(b"\r\n") + random.choice(_ENDS)


_CHANGES: tuple[Change, ...] = (
    _insert,
    _insert,
    _insert_message,
    _delete,
    _repeat,
    _move,
    _end,
    _change(_NUMBER, lambda random, number: random.choice(_NUMBERS)),
    _change(_NUMBER, lambda random, number: b"%d" % max(0, int(number[:18]) + random.choice((-1, 1, 16)))),
    _change(_LETTERS, lambda random, word: random.choice((word.lower(), word.upper(), word.title(), b""))),
    _change(
        re.compile(rb"[:;=, \t]"), lambda random, mark: random.choice((mark * 2, b" " + mark, mark + b"\t", b"", b","))
    ),
)  # fmt: skip
