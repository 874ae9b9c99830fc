"""Reads answers of name servers.

Pure: it knows bytes and values. What an answer means for a server is decided in `backends.names`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from attrs import field, frozen

from reusedproxy.net.names.wire import AAAA, CNAME, SRV, A, Malformed, Record, read_message

# What an answer is, in the words of `hold`; TIMEOUT is said of none.
VALID = "valid"
NX = "nx"
REFUSED = "refused"
TIMEOUT = "timeout"
OTHER = "other"

_NX_DOMAIN, _REFUSED = 3, 5
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


def read_answer(data: bytes, name: str, kind: int) -> Answer | None:
    """Reads the answer to a question of this kind for this name. Returns None for what is no answer to it: whoever has
    made that up may not have seen the question."""
    try:
        message = read_message(data)
    except Malformed:
        return None
    if not message.is_answer or message.opcode or len(message.questions) != 1:
        return None
    asked, asked_kind = message.questions[0]
    if (plain(asked), asked_kind) != (plain(name), kind):
        return None
    if message.code:
        return Answer({_NX_DOMAIN: NX, _REFUSED: REFUSED}.get(message.code, OTHER))
    if kind == SRV:
        services = tuple(_services(message.answers, plain(name)))
        additional = tuple(_additional(message.additional, {service.host for service in services}))
        return Answer(VALID if services else OTHER, (), services, additional, message.truncated)
    addresses = tuple(_addresses(message.answers, plain(name), kind))
    return Answer(VALID if addresses else OTHER, addresses, truncated=message.truncated)


def plain(name: str) -> str:
    """Returns the form in which names are compared."""
    return name.removesuffix(".").lower()


def _addresses(records: Iterable[Record], name: str, kind: int) -> list[str]:
    """Returns the addresses of a name, through its aliases."""
    aliases = {plain(each.name): plain(each.text) for each in records if each.kind == CNAME}
    for _ in range(_MOST_ALIASES):
        if name not in aliases:
            break
        name = aliases[name]
    found = [each.text for each in records if each.kind == kind and plain(each.name) == name]
    return [*dict.fromkeys(found)]


def _services(records: Iterable[Record], name: str) -> list[Service]:
    """Returns the SRV records; the root as a host means that there is no such service (RFC 2782), and nobody listens at
    port 0."""
    found: dict[tuple[str, int], Service] = {}
    for each in records:
        if each.kind != SRV or plain(each.name) != name:
            continue
        host = plain(each.text)
        if _HOST.match(host) and each.port:
            found.setdefault((host, each.port), Service(host, each.port, each.weight))
    return [*found.values()]


def _additional(records: Iterable[Record], hosts: set[str]) -> list[tuple[str, str]]:
    named = [(plain(each.name), each) for each in records if each.kind in (A, AAAA)]
    return [(host, record.text) for host, record in named if host in hosts]
