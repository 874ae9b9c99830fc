"""Reads and writes what the header Forwarded is made of (RFC 7239 sections 4 and 6): the converters `rfc7239_…`.

Parameters are spelt as in the RFC, each at most once, and `proto` is http or https, as in HAProxy; extensions are
refused, because a server must not take a client's word for what no proxy understands.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from reusedproxy.rules.facts import Address, Facts, Sample
from reusedproxy.rules.samples.casts import to_text
from reusedproxy.wire.addresses import address_text

Convert = Callable[[Any, Facts], Sample]

_PARAMETER = re.compile(rb'(for|by|host|proto)=(?:"([^"\\]*)"|([^";]+))(?:;(?=[a-z])|\Z)')
_NODE = re.compile(rb"(_[A-Za-z0-9._-]+|unknown|\[[0-9A-Fa-f:.]+\]|[0-9.]+)(?::([0-9]{1,5}|_[A-Za-z0-9._-]+))?\Z")
_OBFUSCATED = re.compile(rb"[A-Za-z0-9._-]+\Z")
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?\Z")


def _address(text: bytes) -> Address | None:
    try:
        return ip_address(text.decode().strip("[]"))
    except ValueError:
        return None


def _node(text: bytes) -> tuple[Sample, Sample] | None:
    """Returns name and port of a node, None for a port that is not said; None if it is no node."""
    found = _NODE.match(text)
    if found is None:
        return None
    name, port = found.groups()
    number: Sample = port
    if port is not None and not port.startswith(b"_"):
        number = int(port)
        if number > 65535:
            return None
    if name == b"unknown" or name.startswith(b"_"):
        return name, number
    address = _address(name)
    if address is None or (address.version == 6) != name.startswith(b"["):
        return None
    return address, number


def _is_host(text: bytes) -> bool:
    found = _HOST.match(text)
    if found is None or (found[2] and int(found[2]) > 65535):
        return False
    return not text.startswith(b"[") or isinstance(_address(found[1]), IPv6Address)


def parameters(text: bytes) -> dict[bytes, bytes] | None:
    """Returns the parameters of a header with one element; None if it is not valid."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(text):
        part = _PARAMETER.match(text, at)
        if part is None or part[1] in found:
            return None
        name, quoted, plain = part.groups()
        value = plain if quoted is None else quoted
        # What has a colon or a bracket has to be in quotes.
        if quoted is None and (b":" in value or b"[" in value):
            return None
        if name == b"proto":
            if quoted is not None or value not in (b"http", b"https"):
                return None
        elif not (_is_host(value) if name == b"host" else _node(value) is not None):
            return None
        found[name] = value
        at = part.end()
    return found or None


def _is_valid() -> Convert:
    return lambda sample, facts: parameters(sample) is not None


def _field(name: str) -> Convert:
    wanted = name.encode()

    def convert(sample: bytes, facts: Facts) -> Sample:
        found = parameters(sample)
        return None if found is None else found.get(wanted)

    return convert


def _of_node(number: int) -> Callable[[], Convert]:
    def convert(sample: bytes, facts: Facts) -> Sample:
        found = _node(sample)
        return None if found is None else found[number]

    return lambda: convert


def _node_name() -> Convert:
    """Makes `rfc7239_nn`: an address as a node's name, or a text as an obfuscated one; "unknown" of an empty one."""

    def convert(sample: Sample, facts: Facts) -> Sample:
        if isinstance(sample, IPv4Address):
            return to_text(sample)
        if isinstance(sample, IPv6Address):
            return b"[%b]" % address_text(sample).encode()
        text = to_text(sample)
        if text == b"":
            return b"unknown"
        return b"_" + text if text is not None and _OBFUSCATED.match(text) else None

    return convert


def _node_port() -> Convert:
    """Makes `rfc7239_np`: a number as a node's port, or a text as an obfuscated one."""

    def convert(sample: Sample, facts: Facts) -> Sample:
        if isinstance(sample, int) and not isinstance(sample, bool):
            return b"%d" % (sample & 2**32 - 1)
        text = to_text(sample)
        return b"_" + text if text is not None and _OBFUSCATED.match(text) else None

    return convert


FORWARDED_CONVERTERS: dict[str, Callable[..., Convert]] = {
    "rfc7239_is_valid": _is_valid,
    "rfc7239_field": _field,
    "rfc7239_n2nn": _of_node(0),
    "rfc7239_n2np": _of_node(1),
    "rfc7239_nn": _node_name,
    "rfc7239_np": _node_port,
}
