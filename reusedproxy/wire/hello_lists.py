"""Reads the lists in a TLS client's first message by which clients are told apart: cipher suites, extensions, groups
and more (RFC 8446 section 4.1.2). JA3 and its like are made of them.

It takes the message that `wire.client_hello` has read, and is as pure. A list that cannot be read is taken as empty.
"""

from __future__ import annotations

from typing import Final

import xxhash
from attrs import evolve, frozen

_GROUPS: Final = 10
_POINT_FORMATS: Final = 11
_SIGNATURE_ALGORITHMS: Final = 13
_SESSION_TICKET: Final = 35
_SUPPORTED_VERSIONS: Final = 43
_KEY_SHARE: Final = 51
#: The bytes of the length before the list in each of these extensions.
_LISTS: Final = {
    _GROUPS: 2,
    _POINT_FORMATS: 1,
    _SIGNATURE_ALGORITHMS: 2,
    _SUPPORTED_VERSIONS: 1,
    _KEY_SHARE: 2,
}
#: Values that clients invent to test whether servers ignore them (RFC 8701).
GREASE: Final = frozenset(bytes((0x10 * high + 0x0A,)) * 2 for high in range(16))


@frozen
class HelloLists:
    """Holds the lists as they came, in network byte order: numbers of two bytes, in `formats` of one.

    `version` is the one in the message (0x0303 from TLS 1.2 on). `extensions` are the types of all extensions, in their
    order. `suites_digest` is the XXH64 of all cipher suites, unsigned. `has_groups` tells whether the extension
    of the groups is there. `tickets`: 0 without the extension for session tickets, 1 where it is empty, 2 with a ticket
    in it.
    """

    version: int
    suites: bytes
    suites_digest: int
    extensions: bytes = b""
    groups: bytes = b""
    formats: bytes = b""
    versions: bytes = b""
    signatures: bytes = b""
    key_shares: bytes = b""
    has_groups: bool = False
    tickets: int = 0

    def cut(self, size: int) -> HelloLists:
        """Returns the same in at most so many bytes: what comes first has room, in the order in which HAProxy fills
        its buffer. Key shares, which nobody asks for there, are left out."""
        kept = {}
        for name in ("suites", "extensions", "groups", "formats", "versions", "signatures"):
            kept[name] = getattr(self, name)[:size]
            size -= len(kept[name])
        return evolve(self, **kept, key_shares=b"")


def read_lists(message: bytes) -> HelloLists:
    """Reads the message of a `wire.client_hello.ClientHello`, whose lengths have been found to agree."""
    at = 35 + message[34]
    begin, at = at + 2, at + 2 + int.from_bytes(message[at : at + 2], "big")
    suites = message[begin:at]
    at += 1 + message[at]
    end = at + 2 + int.from_bytes(message[at : at + 2], "big")
    at += 2
    types, found = [], dict.fromkeys(_LISTS, b"")
    tickets = 0
    while at < end:
        kind, size = int.from_bytes(message[at : at + 2], "big"), int.from_bytes(message[at + 2 : at + 4], "big")
        types.append(message[at : at + 2])
        content = message[at + 4 : at + 4 + size]
        at += 4 + size
        if kind in _LISTS:
            found[kind] = _list(content, _LISTS[kind])
        elif kind == _SESSION_TICKET:
            tickets = 2 if content else 1
    return HelloLists(
        int.from_bytes(message[:2], "big"),
        suites,
        xxhash.xxh64_intdigest(suites),
        b"".join(types),
        found[_GROUPS],
        found[_POINT_FORMATS],
        found[_SUPPORTED_VERSIONS],
        found[_SIGNATURE_ALGORITHMS],
        _groups_of(found[_KEY_SHARE]),
        _GROUPS.to_bytes(2, "big") in types,
        tickets,
    )


def without_grease(numbers: bytes) -> bytes:
    """Leaves out the values that RFC 8701 reserves, of a list of numbers of two bytes."""
    pairs = (numbers[at : at + 2] for at in range(0, len(numbers), 2))
    return b"".join(pair for pair in pairs if pair not in GREASE)


def _list(content: bytes, size: int) -> bytes:
    """Returns what follows a length of so many bytes; b"" where that is more than there is."""
    length = int.from_bytes(content[:size], "big")
    return content[size : size + length] if size + length <= len(content) else b""


def _groups_of(shares: bytes) -> bytes:
    """Returns the groups for which there are keys (RFC 8446 section 4.2.8)."""
    found, at = [], 0
    while at + 4 <= len(shares):
        found.append(shares[at : at + 2])
        at += 4 + int.from_bytes(shares[at + 2 : at + 4], "big")
    return b"".join(found)
