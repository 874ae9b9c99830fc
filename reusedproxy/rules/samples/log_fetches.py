"""Implements log-format aliases that no sample fetch stands for (manual, section 8.2.6).

They show the request's first line as the client wrote it, whatever rules have changed since, and names that are never
missing. They have names that no expression can have: the fetch of `%HU` is called `%HU`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timezone

from reusedproxy.rules.facts import Facts, Sample

Fetch = Callable[[Facts], Sample]

#: HAProxy's `url_encode_map` (src/log.c).
_NOT_IN_LINES = re.compile(rb'[\x00-\x1f"#\x7f-\xff]')
AUTHORITY = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def first_line(facts: Facts) -> bytes:
    """Returns the request's first line as it came; b"" if there is no request."""
    if facts.line is not None:
        return facts.line
    return b"" if facts.head is None else facts.head.head[: facts.head.head.find(b"\r")]


def _encoded(text: bytes) -> bytes:
    return _NOT_IN_LINES.sub(lambda found: b"#%02X" % found[0][0], text)


def _of_line(read: Callable[[bytes], bytes]) -> Callable[[], Fetch]:
    return lambda: lambda facts: _encoded(read(first_line(facts)))


def _target(line: bytes) -> bytes:
    return line.partition(b" ")[2].rpartition(b" ")[0]


def _path_only(line: bytes) -> bytes:
    target = _target(line)
    found = AUTHORITY.match(target)
    path = target[found.end() :] if found else target if target.startswith(b"/") else b""
    return path.partition(b"?")[0]


def _query(line: bytes) -> bytes:
    """Returns the query with its question mark."""
    _, mark, query = _target(line).partition(b"?")
    return mark + query


def _date(facts: Facts) -> Sample:
    at = datetime.fromtimestamp(facts.wall(), timezone.utc)
    return f"{at:%d}/{_MONTHS[at.month - 1]}/{at:%Y:%H:%M:%S} +0000".encode()


LOG_FETCHES: dict[str, Callable[[], Fetch]] = {
    "%r": _of_line(lambda line: line),
    "%HM": _of_line(lambda line: line.partition(b" ")[0]),
    "%HU": _of_line(_target),
    "%HP": _of_line(lambda line: _target(line).partition(b"?")[0]),
    "%HPO": _of_line(_path_only),
    "%HQ": _of_line(_query),
    "%HV": _of_line(lambda line: line.rpartition(b" ")[2]),
    "%T": lambda: _date,
    "%ft": lambda: lambda facts: facts.frontend_name.encode() + (b"~" if facts.client_tls is not None else b""),
    "%b": lambda: lambda facts: (facts.backend_name or facts.frontend_name).encode(),
    "%s": lambda: lambda facts: (facts.server_name or "<NOSRV>").encode(),
}
