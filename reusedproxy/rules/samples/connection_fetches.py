"""Implements sample fetches about a client's connection, and what another proxy has announced of it (manual, section
7.3.3). Those that ask the kernel, or the connection to a server, are figures (`process_fetches`)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence

from reusedproxy.config.rules.announced import SUB_TYPES, TLS, type_number
from reusedproxy.rules.facts import Facts, Sample

Fetch = Callable[[Facts], Sample]
FetchAll = Callable[[Facts], Sequence[Sample]]

#: Bytes of a value, at most, as in HAProxy.
_LARGEST = 1024
#: Bytes of an extension about TLS before those within it (PROXY protocol, section 2.2.6).
_BEFORE = 5
#: HAProxy's names of the faults that end a connection before its first request (`fc_err`).
_ERRORS = {
    **{11: "PRX_EMPTY", 12: "PRX_ABORT", 13: "PRX_TIMEOUT", 14: "PRX_TRUNCATED", 15: "PRX_NOT_HDR"},
    **{24: "SSL_EMPTY", 25: "SSL_ABORT", 26: "SSL_TIMEOUT", 30: "SSL_CA_FAIL", 31: "SSL_CRT_FAIL"},
    34: "SSL_HANDSHAKE",
}


def _all_announced(name: str) -> FetchAll:
    """Makes what returns all extensions of a type in the PROXY protocol header, or in those within it about TLS."""
    kind = type_number(name)

    def fetch(facts: Facts) -> list[Sample]:
        announced = facts.announced
        if announced is None:
            return []
        found = announced.get(kind, ())
        if not found and kind in SUB_TYPES:
            found = [value for data in announced.get(TLS, ()) for value in _within(data, kind)]
        return [value for value in found if len(value) <= _LARGEST]

    return fetch


def _announced(name: str) -> Fetch:
    """Makes `fc_pp_tlv`, which is the first of them."""
    every = _all_announced(name)
    return lambda facts: next(iter(every(facts)), None)


def _within(data: bytes, wanted: int) -> Iterator[bytes]:
    at = _BEFORE
    while at + 3 <= len(data):
        kind, size = struct.unpack_from("!BH", data, at)
        at += 3 + size
        if at > len(data):
            return
        if kind == wanted:
            yield data[at - size : at]


def _error_name() -> Fetch:
    def fetch(facts: Facts) -> Sample:
        noted = facts.noted
        return b"" if noted is None or not noted.error else _ERRORS[noted.error].encode()

    return fetch


CONNECTION_FETCHES: dict[str, Callable[..., Fetch]] = {"fc_pp_tlv": _announced, "fc_err_name": _error_name}

ALL_OF_CONNECTIONS: dict[str, Callable[..., FetchAll]] = {"fc_pp_tlv": _all_announced}
