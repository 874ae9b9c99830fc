"""Implements the converters that hash (manual, section 7.3.1): within 32 bits as HAProxy does, and by xxHash."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zlib import crc32

import xxhash

from reusedproxy.rules.facts import Facts, Sample
from reusedproxy.rules.hashes import avalanche, crc32c, djb2, sdbm, signed, wt6

Convert = Callable[[Any, Facts], Sample]


def _mixing(of: Callable[[bytes], int]) -> Callable[..., Convert]:
    """Makes a converter whose result is mixed once more if its argument is 1."""

    def make(mixed: str = "0") -> Convert:
        if int(mixed):
            return lambda sample, facts: avalanche(of(sample))
        return lambda sample, facts: of(sample)

    return make


def _seeded(of: Callable[[bytes, int], int], bits: int) -> Callable[..., Convert]:
    def make(text: str = "0") -> Convert:
        seed = int(text) % 2**bits
        return lambda sample, facts: signed(of(sample, seed))

    return make


HASH_CONVERTERS: dict[str, Callable[..., Convert]] = {
    "crc32": _mixing(crc32),
    "crc32c": _mixing(crc32c),
    "djb2": _mixing(djb2),
    "sdbm": _mixing(sdbm),
    "wt6": _mixing(wt6),
    "xxh32": _seeded(xxhash.xxh32_intdigest, 32),
    "xxh64": _seeded(xxhash.xxh64_intdigest, 64),
    "xxh3": _seeded(xxhash.xxh3_64_intdigest, 64),
}
