"""Provides the finite-field Diffie-Hellman groups of RFC 7919, for clients that speak DHE and no elliptic curves.

OpenSSL has them built in, but pyOpenSSL has no way to choose one; it reads parameters from a PEM file. (cryptography
could write it, but has deprecated all of finite-field Diffie-Hellman.) The primes are computed by the formula of RFC
7919 appendix A, which is shorter than their digits. It must never know a configuration word.
"""

from __future__ import annotations

from base64 import encodebytes
from functools import cache

#: The number that is added to the leading bits of e, by the group's size in bits (RFC 7919, appendices A.1 to A.5).
_ADDED = {2048: 560316, 3072: 2625351, 4096: 5736041, 6144: 15705020, 8192: 10965728}
SIZES = tuple(_ADDED)


def size_for(bits: int) -> int:
    """Returns the size of the smallest group that has at least `bits` bits, or of the largest group if none has."""
    return next((size for size in SIZES if size >= bits), SIZES[-1])


@cache
def parameters(size: int) -> bytes:
    """Returns the group of this size, one of `SIZES`, as a PEM block "DH PARAMETERS"."""
    middle = _e_times_two_to(size - 130) + _ADDED[size]
    prime = 2**size - 2 ** (size - 64) + middle * 2**64 - 1
    der = _der(0x30, _der(0x02, b"\0" + prime.to_bytes(size // 8, "big")) + _der(0x02, b"\2"))
    return b"-----BEGIN DH PARAMETERS-----\n" + encodebytes(der) + b"-----END DH PARAMETERS-----\n"


def _der(tag: int, content: bytes) -> bytes:
    """Returns one DER value (X.690 section 8.1)."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _e_times_two_to(power: int) -> int:
    """Returns floor(e * 2**power), e being the sum of 1/n!.

    It computes with 64 more bits, so rounding of the terms does no harm.
    """
    term = total = 1 << (power + 64)
    divisor = 1
    while term:
        term //= divisor
        total += term
        divisor += 1
    return total >> 64
