"""Where fuzzing begins: the cases that the wire's tests have in their tables, and all that was ever found.

A finding is kept in `found/TARGET-word`, as it was or made smaller;
the tables are the rest, so no seed is written twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.fuzz.messages import METHODS
from tests.fuzz.streams import CONTROL
from tests.wirecases import LEGAL_BODIES, MALFORMED_BODIES
from tests.wirecases_requests import LEGAL_REQUESTS, REFUSED_REQUESTS
from tests.wirecases_responses import LEGAL_RESPONSES, REFUSED_RESPONSES

FOUND = Path(__file__).with_name("found")

#: What is longer is there for limits, which are smaller here.
LONGEST = 1024
#: Flags and cuts of the seeds of streams: all at once, and in pieces, with the servers in several moods.
_CONTROLS = (
    bytes(CONTROL),
    b"\x10\0\x05\0\x30\1\0",
    b"\x37\0\x01\x01\x00\7\2",
    b"\x2b\0\x09\0\x11\0\1",
    b"\xd0\0\x21\0\x41\0\3",
)


def seeds_of(name: str) -> list[bytes]:
    """All inputs of a target to begin with."""
    return [*dict.fromkeys(_FROM_TABLES[name]()), *(path.read_bytes() for path in sorted(FOUND.glob(f"{name}-*")))]


def _data_of(*tables: Iterable[Any]) -> list[bytes]:
    return [case.data for table in tables for case in table if len(case.data) <= LONGEST]


def _requests() -> list[bytes]:
    return _data_of(LEGAL_REQUESTS, REFUSED_REQUESTS)


def _responses() -> list[bytes]:
    return _data_of(LEGAL_RESPONSES, REFUSED_RESPONSES)


def _bodies() -> list[bytes]:
    return _data_of(LEGAL_BODIES, MALFORMED_BODIES)


def _client_streams() -> Iterator[bytes]:
    chunked = b"POST /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    after = b"GET /after HTTP/1.1\r\nHost: a\r\n\r\n"
    for number, request in enumerate(_requests()):
        yield _CONTROLS[number % 5] + request + after
    connect = b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n"
    upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c, websocket\r\n"
    option = b"Connection: Upgrade\r\n"
    for control in (*_CONTROLS, b"\x40\0\0\0\0\0\1", b"\x00\0\x60\0\x70\1\1"):
        for head in (connect, connect + b"Content-Length: 3\r\n", upgrade + b"Connection: x\r\n", upgrade + option):
            yield control + head + b"\r\n" + after
            yield control + after + head + b"\r\nraw"
        yield control + upgrade + option + b"Content-Length: 3\r\n\r\nraw" + after
        yield control + upgrade + option + b"Transfer-Encoding: chunked\r\n\r\n3\r\nraw\r\n0\r\n\r\n" + after
    for number, body in enumerate(_bodies()):
        yield _CONTROLS[number % 5] + chunked % number + body + after


def _server_streams() -> Iterator[bytes]:
    ok = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for number, response in enumerate(_responses()):
        yield _CONTROLS[number % 5] + response
        yield _CONTROLS[(number + 1) % 5] + response
    for number, body in enumerate(_bodies()):
        yield _CONTROLS[number % 5] + ok + body
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    for control in (*_CONTROLS, b"\x40\0\0\0\0\0\0", b"\x60\0\0\0\0\0\1"):
        yield control + b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nraw"
        yield control + b"HTTP/1.1 200 OK\r\n\r\nraw"
    yield _CONTROLS[0] + early + ok + b"5\r\nhello\r\n0\r\n\r\n"


_FROM_TABLES = {
    "request": _requests,
    "response": lambda: (bytes([n % len(METHODS)]) + head for n, head in enumerate(_responses())),
    "chunked": lambda: (bytes([n]) + body for n, body in enumerate(_bodies())),
    "client": _client_streams,
    "server": _server_streams,
}
