"""Makes DNS questions, and reads answers to them, with the messages of `twisted.names`.

Pure: it knows bytes and values. What an answer means for a server is decided in `backends.names`. Twisted's messages
are loaded where there is a `resolvers` section (`daemon.parts`).
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any

from attrs import field, frozen

# What an answer is, in the words of `hold`; TIMEOUT is said of none.
VALID = "valid"
NX = "nx"
REFUSED = "refused"
TIMEOUT = "timeout"
OTHER = "other"

# Kinds of questions: RFC 1035 section 3.2.2, RFC 3596, RFC 2782.
A = 1
AAAA = 28
SRV = 33

_CNAME = 5
_EDNS = 41  # RFC 6891: its pseudo record
_NX_DOMAIN, _REFUSED = 3, 5
_LONGEST_NAME, _LONGEST_LABEL = 254, 63
#: The name of a host (RFC 1123 section 2.1, and the underscore, which is seen). Another could write lines of its own
#: into the log.
_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?\Z")
#: Most aliases (CNAME) between a name and its addresses.
_MOST_ALIASES = 16


@frozen
class Service:
    """Holds one SRV record. `host` is in lower case, without a final dot. Records that differ in their weight only are
    the same service."""

    host: str
    port: int
    weight: int = field(default=0, eq=False)


@frozen
class Answer:
    """Holds what a name server has said. `status` is VALID, NX, REFUSED or OTHER.

    `addresses` are those of the name in the answer's order, without duplicates, `services` its SRV records;
    `additional` has addresses of services' hosts that came with them. `truncated`: there is more than the
    message could hold.
    """

    status: str
    addresses: tuple[str, ...] = ()
    services: tuple[Service, ...] = ()
    additional: tuple[tuple[str, str], ...] = ()
    truncated: bool = False


def question(number: int, name: str, kind: int, payload: int) -> bytes:
    """Returns a question; `payload` bytes of answer are accepted over UDP (EDNS). Raises ValueError for a name that DNS
    cannot have (RFC 1035, section 2.3.4)."""
    from twisted.names import dns

    labels = name.removesuffix(".").split(".")
    if len(name) > _LONGEST_NAME or not all(0 < len(label) <= _LONGEST_LABEL for label in labels):
        raise ValueError(name)
    message = dns.Message(id=number, recDes=1)
    message.addQuery(name.encode("ascii"), kind)
    size = dns.RRHeader(b"", _EDNS, cls=payload, ttl=0, payload=dns.UnknownRecord(b"", 0))
    message.additional.append(size)
    made: bytes = message.toStr()
    return made


def read_answer(data: bytes, name: str, kind: int) -> Answer | None:
    """Reads the answer to a question of this kind for this name. Returns None for what is no answer to it: whoever has
    made that up may not have seen the question."""
    from twisted.names import dns

    message = dns.Message()
    try:
        message.fromStr(data)
    except Exception:  # whatever a stranger's bytes make of the parser
        return None
    asked = message.queries[0] if len(message.queries) == 1 else None
    if not message.answer or message.opCode or asked is None or (_plain(asked.name), asked.type) != (plain(name), kind):
        return None
    if message.rCode:
        return Answer({_NX_DOMAIN: NX, _REFUSED: REFUSED}.get(message.rCode, OTHER))
    truncated = bool(message.trunc)
    if kind == SRV:
        services = tuple(_services(message.answers, plain(name)))
        additional = tuple(_additional(message.additional, {service.host for service in services}))
        return Answer(VALID if services else OTHER, (), services, additional, truncated)
    addresses = tuple(_addresses(message.answers, plain(name), kind))
    return Answer(VALID if addresses else OTHER, addresses, truncated=truncated)


def plain(name: str) -> str:
    """Returns the form in which names are compared."""
    return name.removesuffix(".").lower()


def _plain(name: Any) -> str:
    return plain(name.name.decode("latin-1"))


def _addresses(records: list[Any], name: str, kind: int) -> list[str]:
    """Returns the addresses of a name, through its aliases."""
    aliases = {_plain(each.name): _plain(each.payload.name) for each in records if each.type == _CNAME}
    for _ in range(_MOST_ALIASES):
        if name not in aliases:
            break
        name = aliases[name]
    found = [_address(each) for each in records if each.type == kind and _plain(each.name) == name]
    return [*dict.fromkeys(found)]


def _address(record: Any) -> str:
    return str(ip_address(record.payload.address))


def _services(records: list[Any], name: str) -> list[Service]:
    """Returns the SRV records; the root as a host means that there is no such service (RFC 2782)."""
    found: dict[tuple[str, int], Service] = {}
    for each in records:
        if each.type != SRV or _plain(each.name) != name:
            continue
        record = each.payload
        host = _plain(record.target)
        if _HOST.match(host):
            found.setdefault((host, record.port), Service(host, record.port, record.weight))
    return [*found.values()]


def _additional(records: list[Any], hosts: set[str]) -> list[tuple[str, str]]:
    named = [(_plain(each.name), each) for each in records if each.type in (A, AAAA)]
    return [(host, _address(record)) for host, record in named if host in hosts]
