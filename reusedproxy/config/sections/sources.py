"""Parses `source`, of a section and on server lines: from where connections to servers come."""

from __future__ import annotations

from attrs import evolve

from reusedproxy.config.language.addresses import source_address
from reusedproxy.config.language.alternatives import HINTS
from reusedproxy.config.language.report import Line, Wrong, not_done
from reusedproxy.config.model.sockets import OwnEnd

#: Longest name of a network interface (linux/if.h, IFNAMSIZ).
_LONGEST = 15


def own_end(argument: str, what: str) -> OwnEnd:
    """Parses the address of `source`. Raises Wrong."""
    return OwnEnd(*source_address(argument, what))


def through(source: OwnEnd, argument: str, what: str) -> OwnEnd:
    """Returns the source with the network interface that stands behind it. Raises Wrong."""
    if not 0 < len(argument.encode()) <= _LONGEST:
        raise Wrong(f"{what} needs the name of a network interface, such as eth0")
    return evolve(source, interface=argument)


def read_source(line: Line) -> OwnEnd:
    """Parses `source ADDRESS[:PORT] [interface NAME]`. Raises Wrong."""
    what = "'source'"
    if not line.arguments:
        raise Wrong(f"{what} needs an address: source 192.0.2.1, say")
    address, *rest = line.arguments
    source = own_end(address, what)
    if rest[:1] == ["usesrc"]:
        raise Wrong(not_done("source … usesrc", hint=HINTS["server usesrc"]))
    if rest and (rest[0] != "interface" or len(rest) != 2):
        raise Wrong(f"{what}: behind the address can follow: interface NAME")
    return through(source, rest[1], "'source': 'interface'") if rest else source
