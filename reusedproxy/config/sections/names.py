"""Parses what a `server` line says about its host name, and the head of a `server-template` line.

Must never resolve a name. What a `resolvers` section says is read in `resolvers`.
"""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network

from attrs import evolve

from reusedproxy.config.language.report import Wrong, did_you_mean, one_of
from reusedproxy.config.model.names import IPV4, IPV6, Resolution

#: HAProxy's own bounds for the lists of `init-addr` and `resolve-net`.
_MOST_METHODS = 10
_MOST_NETWORKS = 5
#: A server costs memory even without an address; more than these are taken for a typing error.
_MOST_SERVERS = 10000
_METHODS = ("last", "libc", "none")
_OPTIONS = ("allow-dup-ip", "ignore-weight", "prevent-dup-ip")
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?\Z")


def init_addr(text: str, what: str) -> tuple[str, ...]:
    """Parses `init-addr`: what is tried in turn for a server's first address. Raises Wrong."""
    methods = tuple(text.split(","))
    for method in methods:
        if method in _METHODS or _is_address(method):
            continue
        if not method:
            raise Wrong(f"{what}: a word is missing in '{text}'")
        raise Wrong(f"{what} takes 'last', 'libc', 'none' and an IP address, not '{method}'{_nearest(method)}")
    addresses = [method for method in methods if method not in _METHODS]
    if len(addresses) > 1:
        raise Wrong(f"{what}: there is one address at most: '{addresses[0]}' stands before '{addresses[1]}'")
    if len(methods) > _MOST_METHODS:
        raise Wrong(f"{what}: {_MOST_METHODS} words at most, '{text}' has {len(methods)}")
    return methods


def _nearest(method: str) -> str:
    return did_you_mean(method, _METHODS)


def _is_address(text: str) -> bool:
    try:
        return ip_address(text) is not None
    except ValueError:
        return False


def prefer(text: str, what: str) -> str:
    return one_of(text, (IPV4, IPV6), what)


def families(text: str, what: str) -> tuple[str, ...]:
    """Parses `dns-accept-family`. Raises Wrong."""
    return tuple(one_of(each, (IPV4, IPV6, "auto"), what) for each in text.split(","))


def networks(text: str, what: str) -> tuple[str, ...]:
    """Parses `resolve-net`: networks whose addresses are preferred. Raises Wrong."""
    found = []
    for each in text.split(","):
        try:
            if "%" in each:  # Python takes the name of an interface there
                raise ValueError
            found.append(str(ip_network(each, strict=False)))
        except ValueError:
            raise Wrong(f"{what} takes networks such as 10.0.0.0/8 or 2001:db8::/32, not '{each}'") from None
    if len(found) > _MOST_NETWORKS:
        raise Wrong(f"{what}: {_MOST_NETWORKS} networks at most, '{text}' has {len(found)}")
    return tuple(found)


def with_options(before: Resolution, text: str, what: str) -> Resolution:
    """Parses `resolve-opts`. Raises Wrong."""
    for each in text.split(","):
        one_of(each, _OPTIONS, what)
        if each == "ignore-weight":
            before = evolve(before, ignore_weight=True)
        else:
            before = evolve(before, duplicates=each == "allow-dup-ip")
    return before


def template_names(prefix: str, count: str) -> list[str]:
    """Returns the names of a template's servers: its prefix with each number of `count`, which is a number or a range.
    Raises Wrong."""
    found = _RANGE.match(count)
    first, last = (int(found[1]), int(found[2])) if found and found[2] else (1, int(found[1]) if found else 0)
    if not found or last < first or not last:
        what = "a number from 1, or a range such as 1-10"
        raise Wrong(f"'server-template {prefix}': '{count}' is not the number of its servers: write {what}")
    if last - first >= _MOST_SERVERS:
        raise Wrong(f"'server-template {prefix}': '{count}' are more than {_MOST_SERVERS} servers")
    return [f"{prefix}{number}" for number in range(first, last + 1)]
