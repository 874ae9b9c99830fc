"""Decides to which addresses connections may be opened: to public ones, or to those of some networks.

It is asked at each dial, with the literal address that is about to be dialled, so it does not matter when a name was
resolved, by whom, and to what. Pure; it must never know names.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from reusedproxy.config.model.values import PUBLIC

#: What is not public of IPv4: IANA's special-purpose registry (RFC 6890 and later), and multicast.
_NOT_PUBLIC_4 = tuple(
    IPv4Network(each)
    for each in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    )
)
#: All of IPv6 that is given out, and what is not public of it: protocols' own addresses, those of Teredo and 6to4 among
#: them, which stand for addresses of IPv4, and those of documentation.
_GIVEN_OUT_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = tuple(IPv6Network(each) for each in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))


class Reach:
    """Holds the networks to which connections may be opened."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Takes networks, and PUBLIC for all public addresses."""
        said = [*networks]
        self._public = PUBLIC in said
        self._networks = [ip_network(each) for each in said if each != PUBLIC]
        self._words = " or ".join(("public" if each == PUBLIC else f"of {each}") for each in said)

    def why_not(self, host: object) -> str:
        """Returns why no connection may be opened to this address, a literal one; "" if one may. What is no address of
        IP, such as the path of a socket, is none that may be reached."""
        try:
            address = ip_address(str(host))
        except ValueError:
            return f"{host} is not {self._words} (egress-net)"
        if any(address in network for network in self._networks) or (self._public and _is_public(address)):
            return ""
        return f"{address} is not {self._words} (egress-net)"


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    return address in _GIVEN_OUT_6 and not any(address in network for network in _NOT_PUBLIC_6)
