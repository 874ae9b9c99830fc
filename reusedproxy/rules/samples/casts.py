"""Casts a sample of one type to another, where a converter, a pattern or a text requires it.

The table of the casts that are allowed is `config.rules.samples.CASTS`; the results are those of HAProxy's
`sample_casts` (src/sample.c). Each cast returns None for what cannot be cast, which ends the expression.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from reusedproxy.rules.facts import Address, Binary, Method, Sample
from reusedproxy.wire.addresses import address_text

MAX, MIN = 2**63 - 1, -(2**63)

_IPV4 = re.compile(rb"0*([0-9]{1,3})\.0*([0-9]{1,3})\.0*([0-9]{1,3})\.0*([0-9]{1,3})(?![0-9.])")
#: The longest IPv6 address, and what one is made of; not all of it is one.
LONGEST_IPV6 = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")
_IPV6 = re.compile(rb"[0-9A-Fa-f:.]+\Z")
_INTEGER = re.compile(rb"([-+]?)0*([0-9]*)")


def to_text(sample: Sample) -> bytes | None:
    if isinstance(sample, Binary):
        return sample.partition(b"\0")[0]  # text ends at the first NUL
    if isinstance(sample, bytes) or sample is None:
        return sample
    if isinstance(sample, int):  # also bool: True becomes 1
        return b"%d" % sample
    return str(sample).encode() if isinstance(sample, IPv4Address) else address_text(sample).encode()


def to_binary(sample: Sample) -> Binary | None:
    if isinstance(sample, Binary) or sample is None:
        return sample
    if isinstance(sample, bytes):
        return Binary(sample)
    if isinstance(sample, int):
        return Binary((sample & 2**64 - 1).to_bytes(8, "big"))
    return Binary(sample.packed)


def to_bytes(sample: Sample) -> bytes | None:
    """Casts to binary for a converter that gives back a part of what it is given: in HAProxy text stays text then, and
    so does not end at a NUL."""
    return sample if isinstance(sample, bytes) else to_binary(sample)


def to_int(sample: Sample) -> int | None:
    if isinstance(sample, (Binary, Method, IPv6Address)) or sample is None:
        return None
    if isinstance(sample, bytes):
        return number_of(sample) if sample else None
    return int(sample)


def type_name(sample: Sample) -> str:
    """Returns HAProxy's name of a sample's type."""
    if isinstance(sample, bool):
        return "bool"
    if isinstance(sample, int):
        return "sint"
    if isinstance(sample, bytes):
        return "bin" if isinstance(sample, Binary) else "meth" if isinstance(sample, Method) else "str"
    return "ipv4" if isinstance(sample, IPv4Address) else "ipv6"


def number_of(text: bytes) -> int:
    """Returns the number that the text begins with, kept within 64 bits; 0 if it begins with none."""
    found = _INTEGER.match(text)
    assert found is not None
    negative, digits = found[1] == b"-", found[2]
    if len(digits) > 19:  # without int(), whose time grows with the square of their number
        return MIN if negative else MAX
    return bounded(-int(digits or b"0") if negative else int(digits or b"0"))


def bounded(number: int) -> int:
    """Returns the number, or the limit of 64 bits with a sign that it exceeds."""
    return MAX if number > MAX else MIN if number < MIN else number


def wrapped(number: int) -> int:
    """Returns the number modulo 2**64 within the limits of 64 bits with a sign, as HAProxy's times wrap around."""
    return (number - MIN) % 2**64 + MIN


def to_bool(sample: Sample) -> bool | None:
    """Casts numbers, and texts that begin with one; None for addresses."""
    number = None if isinstance(sample, IPv4Address) else to_int(sample)
    return None if number is None else number != 0


def to_address(sample: Sample) -> Address | None:
    if isinstance(sample, (Binary, Method, bool)) or sample is None:
        return None
    if isinstance(sample, bytes):
        return address_of(sample)
    return IPv4Address(sample & 2**32 - 1) if isinstance(sample, int) else sample


def address_of(text: bytes) -> Address | None:
    """Returns the address that a text holds, as HAProxy reads it (buf2ip); None if it holds none.

    The parts of an IPv4 address are decimal, also with leading zeros, and a port or anything else may follow it. An
    IPv6 address stands alone and has no zone.
    """
    try:
        if found := _IPV4.match(text):
            return IPv4Address(b".".join(found.groups()).decode())
        if len(text) > LONGEST_IPV6 or b":" not in text or not _IPV6.match(text):
            return None  # to have it refused takes ten times as long
        return IPv6Address(text.decode("latin-1"))
    except ValueError:
        return None


def ipv4_within(address: Address) -> IPv4Address | None:
    """Returns the IPv4 address that an IPv6 address stands for; None if there is none.

    Such an address is IPv4-mapped or IPv4-compatible (RFC 4291 section 2.5.5), or 6to4 (RFC 3056).
    """
    if isinstance(address, IPv4Address):
        return address
    packed = address.packed
    if packed[:8] == bytes(8) and packed[8:12] in (b"\0\0\xff\xff", bytes(4)):
        return IPv4Address(packed[12:])
    return address.sixtofour


CASTS: dict[str, Callable[[Sample], Sample]] = {
    "any": lambda sample: sample,
    "str": to_text,
    "meth": to_text,
    "bin": to_binary,
    "int": to_int,
    "bool": to_bool,
    "ip": to_address,
}
