"""Makes keys of stick tables from samples: each type of a table has its own form (`tables.table.Key`).

As in HAProxy (src/stick_table.c, smp_to_stkey), a sample is cast to the table's type; texts and blocks are cut to its
length, texts at their first NUL, and blocks filled up with zeros.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

from reusedproxy.config.model.tables import StickTable
from reusedproxy.rules.facts import Binary, Facts, Sample
from reusedproxy.rules.samples.casts import to_address, to_binary, to_int, to_text
from reusedproxy.tables.table import MASK, Key
from reusedproxy.wire.addresses import address_text

#: The host of a client at a unix socket.
UNIX = "unix"
_NUMBER = re.compile(r"[0-9]{1,20}\Z")
_PART = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#: An IPv4 address without anything before or behind it, or any other zeros.
_WRITTEN = re.compile(rb"%b(?:\.%b){3}\Z" % (_PART, _PART))


def key_of(sample: Sample, table: StickTable) -> Key | None:
    """Returns the key for a sample; None if it cannot be one of this table."""
    return _KEYS[table.type](sample, table.length)


def cast_for(table: StickTable) -> Callable[[Sample, int], Key | None]:
    """Returns what makes keys for this table, of samples and the length that it has for keys."""
    return _KEYS[table.type]


def sample_of(key: Key, table: StickTable) -> Sample:
    """Returns a key of the table as a sample of its type."""
    if isinstance(key, str):
        return ip_address(key)
    return Binary(key) if table.type == "binary" and isinstance(key, bytes) else key


def source_key(facts: Facts, table: StickTable) -> Key | None:
    """Returns the key for the client's address; None if it has none. An IPv4 address is its own key: it is the text
    that the kernel's would be, and nothing is to be done for most requests."""
    host = facts.source[0]
    if host == UNIX:
        return None
    if table.type == "ip" and ":" not in host:
        return host
    try:
        return key_of(ip_address(host.partition("%")[0]), table)
    except ValueError:
        return None


def written_key(text: str, table: StickTable) -> Key | None:
    """Returns the key that an operator has written; None if it is none of this type. An address is nothing else: what a
    sample may have behind it would be a network, say, of which one address is not what is meant."""
    if table.type == "integer":
        found = _NUMBER.match(text)
        return int(text) if found and int(text) <= MASK else None
    if table.type == "ip":
        return text if _WRITTEN.match(text.encode("utf-8", "surrogateescape")) else None
    return key_of(text.encode("utf-8", "surrogateescape"), table)


def _ip(sample: Sample, length: int) -> Key | None:
    """Returns an IPv4 address, which may be written as an IPv4-mapped one. An IPv4-compatible or 6to4 address is
    somebody else's: whoever has one must not share what is counted of, and allowed to, the IPv4 address in it."""
    # What is written as the key is, as nearly always: a quarter of the time of an address that is made and written.
    if type(sample) is bytes and _WRITTEN.match(sample):
        return sample.decode()
    found = to_address(sample)
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped
    return None if found is None else str(found)


def _ipv6(sample: Sample, length: int) -> Key | None:
    found = to_address(sample)
    if isinstance(found, IPv4Address):
        if isinstance(sample, bytes):
            return None  # a text has to be an IPv6 address
        found = IPv6Address(0xFFFF << 32 | int(found))
    return None if found is None else address_text(found)


def _integer(sample: Sample, length: int) -> Key | None:
    number = to_int(sample)
    return None if number is None else number & MASK


def _string(sample: Sample, length: int) -> Key | None:
    text = sample if type(sample) is bytes else to_text(sample)
    return None if text is None else bytes(text[:length].partition(b"\0")[0])


def _binary(sample: Sample, length: int) -> Key | None:
    block = to_binary(sample)
    return None if block is None else bytes(block[:length]).ljust(length, b"\0")


_KEYS: dict[str, Callable[[Sample, int], Key | None]] = {
    "ip": _ip,
    "ipv6": _ipv6,
    "integer": _integer,
    "string": _string,
    "binary": _binary,
}
