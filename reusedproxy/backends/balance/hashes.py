"""Defines the hash functions of `hash-type` by its words, and what `hash-key` hashes by."""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

from reusedproxy.rules.hashes import avalanche, djb2, sdbm, wt6
from reusedproxy.rules.samples.casts import number_of

__all__ = ["FUNCTIONS", "avalanche"]


def number(key: bytes) -> int:
    """Returns the number that the key begins with, for `none`: the key is a hash already."""
    return number_of(key) & 0xFFFFFFFF


#: By the words of `hash-type`.
FUNCTIONS: dict[str, Callable[[bytes], int]] = {
    "sdbm": sdbm,
    "djb2": djb2,
    "wt6": wt6,
    "crc32": crc32,
    "none": number,
}
