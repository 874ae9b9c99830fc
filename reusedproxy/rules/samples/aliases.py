"""Implements the aliases of log-format strings (manual, section 8.2.6): what each shows, and how its flags change that.

The request's line is shown as the client wrote it, whatever rules have changed since. `formats` and `lines` put the
texts together; this module must never know for what.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from ipaddress import ip_address
from operator import attrgetter
from typing import Any

from reusedproxy.config.model.rules import Hole
from reusedproxy.rules.facts import Course, Facts
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.wire.addresses import ipv6_text

#: Returns the text of an item, which has no control character.
Show = Callable[[Course], str]

BAD_REQUEST = "<BADREQ>"
#: HAProxy's `url_encode_map` and `hdr_encode_map` (src/log.c), for texts of which each character is a byte.
_UNPRINTABLE = {code: f"#{code:02X}" for code in (*range(32), *range(127, 256))}
_IN_LINES = {**_UNPRINTABLE, ord('"'): "#22", ord("#"): "#23"}
_IN_HEADERS = {**_IN_LINES, **{ord(sign): f"#{ord(sign):02X}" for sign in "{|}"}}
_ESCAPED = str.maketrans({sign: f"\\{sign}" for sign in '"]\\'})
_JSON = str.maketrans({sign: f"\\{sign}" for sign in '"\\'})
_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
# Not strftime's %b, which depends on the locale.
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
#: Number of seconds whose dates are kept: exchanges do not end in the order in which they began.
_DATES = 64


def plain(name: str, hole: Hole) -> tuple[str, tuple[str, ...]] | None:
    """Returns a %-template and the attributes of a course that fill it, if that is all that it takes to show the alias
    `name` (without its percent sign) with the flags of `hole`; None if it takes `show`."""
    if hole.json:
        return _plain_json(name, hole.kind)
    if name in _UNFINISHED:
        return "%s%s", ("plus", _UNFINISHED[name])
    if name == "rc":
        return "%s%s", ("moved", "retries")
    if name in _NUMBERS and not (hole.hexadecimal and name in _HEXADECIMAL):
        return "%s", (_NUMBERS[name],)
    if name in _CLIENT and not hole.hexadecimal:
        return '"%s"' if hole.quoted and name == "ci" else "%s", (_CLIENT[name],)
    if name in _BARE:
        return "%s", (_NAMES[name],)
    if name in _NAMES and not hole.escaped:
        return '"%s"' if hole.quoted else "%s", (_NAMES[name],)
    return None


def _plain_json(name: str, kind: str) -> tuple[str, tuple[str, ...]] | None:
    """Returns the same of an alias as a value of JSON. No name and no address has a sign that is escaped there."""
    number = _NUMBERS.get(name) or _UNFINISHED.get(name)
    if number is not None:
        return None if kind == "bool" else ('"%s"' if kind == "str" else "%s", (number,))
    text = "client_host" if name == "ci" else _NAMES.get(name)
    return None if text is None else ('"%s"', (text,))


def show(name: str, hole: Hole) -> Show:
    """Returns the function that shows an alias."""
    simple = plain(name, hole)
    if simple is not None:
        template, attributes = simple
        get = attrgetter(*attributes)
        return lambda course: template % get(course)
    if name in _LINES:
        return _line(_LINES[name], hole)
    if name in _DATES_OF:
        return _date(*_DATES_OF[name], hole)
    if name in _LISTS:
        return _list(_LISTS[name], name, hole)
    if name in _ADDRESSES:
        return _address(_ADDRESSES[name], hole)
    if name in _PORTS:
        return _port(_PORTS[name], hole)
    if name in _OF_SECONDS:
        return _number(_OF_SECONDS[name], "%03d" if name == "ms" else "%d", _HEXADECIMAL[name], hole)
    if name in _NUMBERS or name in _UNFINISHED:
        return _number(attrgetter({**_NUMBERS, **_UNFINISHED}[name]), "%d", _HEXADECIMAL.get(name, "%d"), hole)
    return _text(attrgetter(_NAMES[name]) if name in _NAMES else _TEXTS[name], hole)


def nothing(name: str, hole: Hole) -> str | None:
    """Returns what an alias for captures shows where nothing is ever captured; None for other aliases. Lists vanish as
    a whole, braces and quotes included."""
    if name in _LISTS:
        return "null" if hole.json else ""
    return enclosed("", hole) if name in ("CC", "CS") else None


def printed(value: bytes) -> str:
    """Returns bytes as text: UTF-8, what is no UTF-8 as "\\xXX", and each byte of a character that cannot be printed as
    "#XX". Such characters, those of U+0080 to U+009F too, order terminals about, end lines, or turn their direction."""
    text = value.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(character: str) -> str:
    return character if character.isprintable() else "".join(f"#{byte:02X}" for byte in character.encode())


def enclosed(text: str, hole: Hole) -> str:
    """Applies the flags to a text."""
    if hole.json:
        return f'"{text.translate(_JSON)}"'
    if hole.escaped:
        text = text.translate(_ESCAPED)
    if hole.quoted:
        return f'"{text}"'
    return text or ("-" if hole.shown else "")


def json_number(value: int, hole: Hole) -> str:
    if hole.kind == "bool":
        return "true" if value else "false"
    return f'"{value}"' if hole.kind == "str" else str(value)


# The request's line.


def first_line(facts: Facts) -> str | None:
    """Returns the request's first line as it came, each byte a character; None if there is no request."""
    if facts.line is not None:
        return facts.line.decode("latin-1")
    head = facts.head
    return None if head is None else head.head[: head.head.find(b"\r")].decode("latin-1")


def _target(line: str) -> str:
    return line.partition(" ")[2].rpartition(" ")[0]


def _path_only(line: str) -> str:
    target = _target(line)
    found = _AUTHORITY.match(target)
    path = target[found.end() :] if found else target if target.startswith("/") else ""
    return path.partition("?")[0]


def _query(line: str) -> str:
    """Returns the query with its question mark."""
    _, mark, query = _target(line).partition("?")
    return mark + query


_LINES: dict[str, Callable[[str], str]] = {
    "r": lambda line: line,
    "HM": lambda line: line.partition(" ")[0],
    "HU": _target,
    "HP": lambda line: _target(line).partition("?")[0],
    "HPO": _path_only,
    "HQ": _query,
    "HV": lambda line: line.rpartition(" ")[2],
}


def _line(read: Callable[[str], str], hole: Hole) -> Show:
    quote = '"' if hole.quoted or hole.json else ""
    escape = _JSON if hole.json else _ESCAPED if hole.escaped else None

    def text(course: Course) -> str:
        line = first_line(course.facts)
        said = BAD_REQUEST if line is None else read(line)
        if '"' in said or "#" in said or not (said.isascii() and said.isprintable()):
            said = said.translate(_IN_LINES)
        return f"{quote}{said if escape is None else said.translate(escape)}{quote}"

    return text


# Dates.


def with_milliseconds(second: int) -> str:
    """Formats a date of the log up to the dot before its milliseconds."""
    return f"{_day_and_time(datetime.fromtimestamp(second))}."


def _gmt(second: int) -> str:
    return f"{_day_and_time(datetime.fromtimestamp(second, timezone.utc))} +0000"


def _local(second: int) -> str:
    at = datetime.fromtimestamp(second).astimezone()
    return f"{_day_and_time(at)} {at:%z}"


def _day_and_time(at: datetime) -> str:
    return f"{at.day:02d}/{MONTHS[at.month - 1]}/{at.year}:{at.hour:02d}:{at.minute:02d}:{at.second:02d}"


_DATES_OF: dict[str, tuple[Callable[[Course], float], Callable[[int], str], bool]] = {
    "t": (lambda course: course.accepted_at, with_milliseconds, True),
    "tr": (lambda course: course.requested_at, with_milliseconds, True),
    "T": (lambda course: course.accepted_at, _gmt, False),
    "trg": (lambda course: course.requested_at, _gmt, False),
    "Tl": (lambda course: course.accepted_at, _local, False),
    "trl": (lambda course: course.requested_at, _local, False),
}


def _date(of: Callable[[Course], float], write: Callable[[int], str], finely: bool, hole: Hole) -> Show:
    known: dict[int, str] = {}
    quote = '"' if hole.json else ""

    def text(course: Course) -> str:
        at = of(course)
        second = int(at)
        said = known.get(second)
        if said is None:
            if len(known) >= _DATES:
                known.clear()
            said = known[second] = write(second)
        return f"{quote}{said}{int((at - second) * 1000):03d}{quote}" if finely else f"{quote}{said}{quote}"

    return text


# Numbers.


#: Those that are attributes of a course.
_NUMBERS = {
    "Th": "handshake_time",
    "Ti": "idle_time",
    "TR": "request_time",
    "Tq": "whole_request_time",
    "Tw": "queue_time",
    "Tc": "connect_time",
    "Tr": "response_time",
    "Td": "data_time",
    "ST": "status",
    "U": "bytes_in",
    "ac": "process_clients",
    "fc": "frontend_clients",
    "bc": "backend_requests",
    "sc": "server_requests",
    "sq": "srv_queue",
    "bq": "backend_queue",
    "rc": "retries",
    "rt": "number",
    "lc": "lines",
    "pid": "pid",
}
#: Those that are larger in the end where a line is written early (`option logasap`).
_UNFINISHED = {"Ta": "active_time", "Tt": "total_time", "Tu": "user_time", "B": "bytes_out"}
_OF_SECONDS: dict[str, Callable[[Course], int]] = {
    "Ts": lambda course: int(course.accepted_at),
    "ms": lambda course: int(course.accepted_at % 1 * 1000),
}
_HEXADECIMAL = {"Ts": "%04X", "ms": "%02X", "rt": "%04X", "lc": "%04X", "pid": "%04X"}


def _number(read: Callable[[Course], int], template: str, hexadecimal: str, hole: Hole) -> Show:
    if hole.json:
        return lambda course: json_number(read(course), hole)
    written = hexadecimal if hole.hexadecimal else template
    return lambda course: written % read(course)


# Addresses.


_CLIENT = {"ci": "client_host", "cp": "client_port"}
_ADDRESSES: dict[str, Callable[[Course], tuple[str, int] | None]] = {
    "ci": lambda course: (course.client_host, course.client_port),
    "fi": lambda course: course.destination,
    "bi": lambda course: course.server_source,
    "si": lambda course: course.server_address,
}
_PORTS = {"cp": _ADDRESSES["ci"], "fp": _ADDRESSES["fi"], "bp": _ADDRESSES["bi"], "sp": _ADDRESSES["si"]}


def _address(of: Callable[[Course], tuple[str, int] | None], hole: Hole) -> Show:
    def text(course: Course) -> str:
        address = of(course)
        host = "" if address is None else address[0]
        if hole.hexadecimal and host and host != "unix":
            said = ip_address(host.partition("%")[0]).packed.hex().upper()
            return f'"{said}"' if hole.json else said
        if ":" in host:
            host = ipv6_text(host)
        return enclosed(host, hole)

    return text


def _port(of: Callable[[Course], tuple[str, int] | None], hole: Hole) -> Show:
    """Shows a port. As in HAProxy the listener's number stands for that of a client at a unix socket."""

    def text(course: Course) -> str:
        address = of(course)
        if address is None or not address[0]:
            return enclosed("", hole)
        port = address[1]
        if address[0] == "unix":
            port = course.listener_number
        elif hole.hexadecimal and not hole.json:
            return f"{port:04X}"
        return json_number(port, hole) if hole.json else str(port)

    return text


# Texts.


def _cookie_of(which: int) -> Callable[[Course], str]:
    def read(course: Course) -> str:
        noted = course.facts.noted
        found = None if noted is None else noted.cookies[which]
        return "" if found is None else printed(found)

    return read


def _of_tls(read: Callable[[Any], str]) -> Callable[[Course], str]:
    def text(course: Course) -> str:
        side = course.facts.client_tls
        return "" if side is None else read(side)

    return text


#: Those that are attributes of a course and never empty, so that no dash stands for them.
_NAMES = {
    "f": "frontend_name",
    "ft": "frontend_label",
    "b": "backend_label",
    "s": "server_label",
    "ts": "flags",
    "tsc": "termination",
    "H": "host_name",
    "OG": "origin",
}
#: To which no flag but `json` applies in HAProxy.
_BARE = frozenset(("ts", "tsc"))


def _unique_id(course: Course) -> str:
    """Shows the id; nothing where it cannot be evaluated: no line is lost."""
    facts = course.facts
    try:
        return printed(facts.unique_id)
    except Exception as error:
        facts.not_done(f"'%ID' of a log line is empty: {Unevaluated.by(error)}")
        return ""


_TEXTS: dict[str, Callable[[Course], str]] = {
    "CC": _cookie_of(0),
    "CS": _cookie_of(1),
    "ID": _unique_id,
    "sslc": _of_tls(lambda side: side.cipher),
    "sslv": _of_tls(lambda side: side.version),
}


def _text(read: Callable[[Course], str], hole: Hole) -> Show:
    return lambda course: enclosed(read(course), hole)


# What has been captured of headers.


_LISTS: dict[str, Callable[[Course], Sequence[bytes | None]]] = {
    "hr": lambda course: course.facts.note().request,
    "hs": lambda course: course.facts.note().response,
}
_LISTS["hrl"], _LISTS["hsl"] = _LISTS["hr"], _LISTS["hs"]


def _list(of: Callable[[Course], Sequence[bytes | None]], name: str, hole: Hole) -> Show:
    one = _each if name.endswith("l") else _braces

    def text(course: Course) -> str:
        values = of(course)
        if not values:
            return "null" if hole.json else ""
        return one([None if value is None else _captured(value, hole) for value in values], hole)

    return text


def _captured(value: bytes, hole: Hole) -> str:
    text = value.decode("latin-1").translate(_IN_HEADERS)
    return text.translate(_JSON) if hole.json else text.translate(_ESCAPED) if hole.escaped else text


def _braces(values: list[str | None], hole: Hole) -> str:
    quote = '"' if hole.quoted or hole.json else ""
    return f"{quote}{{{'|'.join([value or '' for value in values])}}}{quote}"


def _each(values: list[str | None], hole: Hole) -> str:
    if hole.json:
        return f"[{', '.join(_quoted(values))}]"
    if hole.quoted:
        return " ".join(_quoted(values))
    return " ".join(["-" if value is None else value for value in values])


def _quoted(values: list[str | None]) -> list[str]:
    return [f'"{value or ""}"' for value in values]
