"""Makes the cookies of servers that have none of their own (`cookie … dynamic`), as HAProxy does: a hash of the
backend's secret key and the server's address and port, so that several proxies give the same server the same cookie.
Pure."""

from __future__ import annotations

import socket
from struct import pack, unpack_from
from typing import Any

_MASK = (1 << 64) - 1
_P1, _P2, _P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
_P4, _P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


def dynamic_cookie(key: str, family: int, address: Any) -> bytes | None:
    """Returns the cookie of a server at this socket address; None without a key, and if that is no IP address."""
    if not key or family not in (socket.AF_INET, socket.AF_INET6):
        return None
    host, port = address[:2]
    packed = socket.inet_pton(family, host.partition("%")[0])
    return b"%016x" % xxh64(key.encode() + packed + pack(">I", port))


def xxh64(data: bytes) -> int:
    """Returns the hash XXH64 of `data`, with a seed of 0 (the xxHash specification, section "XXH64 algorithm")."""
    at, size = 0, len(data)
    if size >= 32:
        lanes = [(_P1 + _P2) & _MASK, _P2, 0, -_P1 & _MASK]
        while at + 32 <= size:
            lanes = [_round(lane, part) for lane, part in zip(lanes, unpack_from("<4Q", data, at), strict=True)]
            at += 32
        value = sum(_rotated(lane, by) for lane, by in zip(lanes, (1, 7, 12, 18), strict=True)) & _MASK
        for lane in lanes:
            value = ((value ^ _round(0, lane)) * _P1 + _P4) & _MASK
    else:
        value = _P5
    value = (value + size) & _MASK
    while at + 8 <= size:
        value = (_rotated(value ^ _round(0, unpack_from("<Q", data, at)[0]), 27) * _P1 + _P4) & _MASK
        at += 8
    if at + 4 <= size:
        value = (_rotated(value ^ (unpack_from("<I", data, at)[0] * _P1 & _MASK), 23) * _P2 + _P3) & _MASK
        at += 4
    for byte in data[at:]:
        value = _rotated(value ^ (byte * _P5 & _MASK), 11) * _P1 & _MASK
    value = (value ^ value >> 33) * _P2 & _MASK
    value = (value ^ value >> 29) * _P3 & _MASK
    return value ^ value >> 32


def _round(lane: int, part: int) -> int:
    return _rotated((lane + part * _P2) & _MASK, 31) * _P1 & _MASK


def _rotated(value: int, by: int) -> int:
    """Returns 64 bits, rotated to the left."""
    return (value << by | value >> 64 - by) & _MASK
