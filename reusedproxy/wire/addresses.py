"""How IP addresses are written, the same for rules, for logs and for servers: as inet_ntop(3) does, which HAProxy uses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address


def address_text(address: IPv4Address | IPv6Address) -> str:
    """With an IPv4 address at the end of an IPv6 one that is mapped or compatible (RFC 4291 section 2.5.5), which Python writes
    in hexadecimal."""
    if isinstance(address, IPv6Address):
        packed = address.packed
        if packed[:12] == bytes(10) + b"\xff\xff":
            return f"::ffff:{IPv4Address(packed[12:])}"
        if packed[:12] == bytes(12) and packed[12:14] != bytes(2):
            return f"::{IPv4Address(packed[12:])}"
    return str(address)
