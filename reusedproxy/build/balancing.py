"""Builds what the algorithms that hash need: the function that finds the hash of a request, and the places of servers
on the ring of `hash-type consistent`.

The backends know neither requests nor addresses; they are given these.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from xxhash import xxh32_intdigest

from reusedproxy.backends.balance.algorithm import Hash
from reusedproxy.backends.balance.hashes import FUNCTIONS, avalanche
from reusedproxy.config import model
from reusedproxy.config.model.balance import HASHES, Balance
from reusedproxy.config.rules.samples import CLIENT_BYTES
from reusedproxy.exchanges.attempt import Attempt
from reusedproxy.exchanges.exchange import Exchange
from reusedproxy.net.dial import Target
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.rules.samples.casts import to_binary, to_text
from reusedproxy.rules.samples.compile import compiled_alone
from reusedproxy.rules.samples.fetches import FETCHES, path_and_query

Key = Callable[[Exchange], bytes | None]


def hash_of(settings: model.Backend) -> Hash | None:
    """Returns the function that finds the hash of an attempt's request; None if the algorithm needs none."""
    balance, kind = settings.balance, settings.hash_type
    if balance.algorithm not in HASHES:
        return None
    mix = avalanche if kind.avalanche else _unmixed
    if balance.algorithm == "source":
        return lambda attempt: _hash_of_source(attempt, mix)
    key = _KEYS[balance.algorithm](balance, kind)
    function = FUNCTIONS[kind.function]

    def found(attempt: Attempt) -> int | None:
        value = key(attempt.request)  # type: ignore[arg-type]  # an exchange
        return None if value is None else mix(function(value))

    return found


def node_seed(settings: model.Server, target: Target) -> int:
    """Returns where the server's nodes begin on the ring (`hash-key`), as HAProxy computes it (src/lb_chash.c). A
    server without an address has those of its `id`."""
    kind = settings.hash_key
    if kind == "id32":
        return avalanche(int.from_bytes(settings.id.to_bytes(4, "big"), "little"))
    if kind == "guid" and settings.guid:
        return xxh32_intdigest(settings.guid.encode())
    if kind.startswith("addr") and target.family in (socket.AF_INET, socket.AF_INET6):
        host, port = target.address[:2]
        seed = avalanche(port) if kind == "addr-port" else 0
        packed = socket.inet_pton(target.family, host.partition("%")[0])
        if target.family == socket.AF_INET6:
            return xxh32_intdigest(packed, seed)
        return avalanche((seed + int.from_bytes(packed, "little")) & 0xFFFFFFFF)
    return settings.id * 4096


def _unmixed(value: int) -> int:
    return value


def _hash_of_source(attempt: Attempt, mix: Callable[[int], int]) -> int | None:
    """Returns the hash of the client's address: its words of 32 bits, combined; `hash-type`'s function is not used, as
    in HAProxy."""
    host = attempt.request.source[0]
    try:
        if ":" not in host:
            return mix(int.from_bytes(socket.inet_pton(socket.AF_INET, host), "big"))
        packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except OSError:
        return None  # a unix socket
    value = 0
    for at in range(0, 16, 4):
        value ^= int.from_bytes(packed[at : at + 4], "big")
    return mix(value)


def _uri(balance: Balance, kind: model.HashType) -> Key:
    def key(exchange: Exchange) -> bytes:
        assert exchange.head is not None
        target = exchange.head.target
        if balance.path_only:
            target = path_and_query(target) or b""
        if balance.length:
            target = target[: balance.length]
        if not balance.whole:
            target = target.partition(b"?")[0]
        if balance.depth:
            target = b"/".join(target.split(b"/")[: balance.depth + 1])
        return target

    return key


def _url_param(balance: Balance, kind: model.HashType) -> Key:
    """Returns the function that finds the value of the first parameter of this name in the query."""
    begin = balance.name.encode() + b"="

    def key(exchange: Exchange) -> bytes | None:
        assert exchange.head is not None
        query = exchange.head.target.partition(b"?")[2]
        if query.startswith(begin):
            at = len(begin)
        elif (found := query.find(b"&" + begin)) >= 0:
            at = found + 1 + len(begin)
        else:
            return None
        return query[at:].partition(b"&")[0]

    return key


def _hdr(balance: Balance, kind: model.HashType) -> Key:
    fetch = FETCHES["req.hdr"](balance.name, "1")

    def key(exchange: Exchange) -> bytes | None:
        value = fetch(exchange)
        if not isinstance(value, bytes) or not value:
            return None
        return _domain(value) if balance.domain_only else value

    return key


def _domain(name: bytes) -> bytes:
    """Returns the label before the last dot: of haproxy.example.com it is example."""
    rest, _, _ = name.rpartition(b".")
    if not rest:
        return name
    # HAProxy looks for the dot before a label of at least one character.
    at = rest[:-1].rfind(b".")
    return rest[at + 1 :]


def _expression(balance: Balance, kind: model.HashType) -> Key:
    assert balance.expression is not None
    fetch = compiled_alone(balance.expression, CLIENT_BYTES)  # which are none where there are requests
    cast = to_text if kind.function == "none" else to_binary

    def key(exchange: Exchange) -> bytes | None:
        try:
            return cast(fetch(exchange))
        except Exception as error:  # which server it is keeps nobody out
            exchange.not_done(f"the key of 'balance hash' could not be made: {Unevaluated.by(error)}")
            return None

    return key


_KEYS: dict[str, Callable[[Balance, model.HashType], Key]] = {
    "uri": _uri,
    "url_param": _url_param,
    "hdr": _hdr,
    "hash": _expression,
}
