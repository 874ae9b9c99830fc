"""Formats IP addresses as inet_ntop(3) does, which HAProxy uses: the same way for rules, for logs and for servers."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address


def address_text(address: IPv4Address | IPv6Address) -> str:
    """Returns an IP address as text.

    An IPv6 address that is IPv4-mapped or IPv4-compatible (RFC 4291 section 2.5.5) ends in a dotted IPv4 address, where
    Python writes it in hexadecimal.
    """
    if isinstance(address, IPv6Address):
        packed = address.packed
        if packed[:12] == bytes(10) + b"\xff\xff":
            return f"::ffff:{IPv4Address(packed[12:])}"
        if packed[:12] == bytes(12) and packed[12:14] != bytes(2):
            return f"::{IPv4Address(packed[12:])}"
    return str(address)
