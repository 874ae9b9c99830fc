"""Formats IP addresses as inet_ntop(3) does, which HAProxy uses: the same way for rules, for logs and for servers; and
says which of them are one client's."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address


def address_text(address: IPv4Address | IPv6Address) -> str:
    """Returns an IP address as text, without its zone, which means something on one machine only.

    An IPv6 address that is IPv4-mapped or IPv4-compatible (RFC 4291 section 2.5.5) ends in a dotted IPv4 address, where
    Python writes it in hexadecimal.
    """
    if isinstance(address, IPv6Address):
        packed = address.packed
        if packed[:12] == bytes(10) + b"\xff\xff":
            return f"::ffff:{IPv4Address(packed[12:])}"
        if packed[:12] == bytes(12) and packed[12:14] != bytes(2):
            return f"::{IPv4Address(packed[12:])}"
        return str(address).partition("%")[0]
    return str(address)


def ipv6_text(host: str) -> str:
    """Returns the text of an IPv6 address in the same form, without its zone."""
    return address_text(ip_address(host.partition("%")[0]))


def of_one_client(host: str) -> str:
    """Returns by what a client is known that may have many addresses: an IPv4 address, or the first half of an IPv6
    one, behind which all are one site's (RFC 6177). What is no address is returned as it is."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv4Address) or address.ipv4_mapped is not None:
        return host
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


def of_one_network(host: str) -> str:
    """Returns the network of an address that one holder may well have whole: 24 bits of IPv4, 48 of IPv6 (RFC 6177).
    What is no address is returned as it is."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    address = address if isinstance(address, IPv4Address) else address.ipv4_mapped or address
    if isinstance(address, IPv4Address):
        return f"{IPv4Address(int(address) >> 8 << 8)}/24"
    return f"{IPv6Address(int(address) >> 80 << 80)}/48"
