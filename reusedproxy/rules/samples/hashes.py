"""Computes the hashes of sample fetches and converters (manual, section 7.3.1): HAProxy's own, within 32 bits."""

from __future__ import annotations

_WHOLE = 2**32 - 1


def djb2(data: bytes, *, avalanche: bool) -> int:
    number = 5381
    for byte in data:
        number = (number << 5) + number + byte & _WHOLE
    return mixed(number) if avalanche else number


def sdbm(data: bytes, *, avalanche: bool) -> int:
    number = 0
    for byte in data:
        number = byte + (number << 6) + (number << 16) - number & _WHOLE
    return mixed(number) if avalanche else number


def mixed(number: int) -> int:
    """Returns HAProxy's `full_hash`: one of Bob Jenkins' integer hashes, within 32 bits."""
    whole = _WHOLE
    number = (number + 0x7ED55D16 + (number << 12)) & whole
    number = number ^ 0xC761C23C ^ number >> 19
    number = (number + 0x165667B1 + (number << 5)) & whole
    number = (number + 0xD3A2646C & whole) ^ (number << 9 & whole)
    number = (number + 0xFD7046C5 + (number << 3)) & whole
    number = number ^ 0xB55A4F09 ^ number >> 16
    return number * 3221225473 & whole
