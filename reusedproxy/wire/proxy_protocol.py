"""Reads and writes the header of the PROXY protocol, versions 1 and 2, by which a proxy tells who the client is.

The protocol is that of haproxy.org's proxy-protocol.txt, whose sections are cited here. A header is read from the bytes
that have come, and one is written for a server. The bytes after the header may be a TLS handshake, which OpenSSL has to
read from the socket itself. So the caller peeks, and a header says how long it is.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from attrs import Factory, frozen

from reusedproxy.wire.addresses import address_text

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
#: The longest line of version 1, CRLF included (section 2.1).
V1_MAX: Final = 107
#: The longest header of version 2 that is accepted: the addresses and as many extensions as anybody sends. The protocol
#: allows 65,551 bytes.
V2_MAX: Final = 16 + 4096

_FAMILIES: Final[dict[str, Callable[[str], IPv4Address | IPv6Address]]] = {"TCP4": IPv4Address, "TCP6": IPv6Address}
#: What an address of either family consists of. A zone (RFC 4007), behind a `%`, is none of it, and could be any bytes.
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f:.]+")
_ADDRESSES: Final = {0x11: "!4s4sHH", 0x21: "!16s16sHH"}
#: Bytes of the addresses of each family.
_SIZES: Final = {0x0: 0, 0x1: 12, 0x2: 36, 0x3: 216}
#: Families and transports that are allowed but of no use here: the connection's own addresses count.
_UNUSED: Final = frozenset(family << 4 | transport for family in range(4) for transport in range(3)) - {0x11, 0x21}

AUTHORITY: Final = 0x02
_CRC32C: Final = 0x03
UNIQUE_ID: Final = 0x05
#: The most bytes of these, as in HAProxy.
MOST_OF: Final = {AUTHORITY: 255, UNIQUE_ID: 128}

Address = tuple[str, int]


class ProxyFault(Exception):
    """Says that the first bytes are not a valid PROXY protocol header; the message says why."""


@frozen
class ProxyHeader:
    """Holds a header of `length` bytes: the client's address and the address that it connected to.

    Both are None where the header names nobody but the peer itself (LOCAL, UNKNOWN). `values` are its extensions, by
    their types: those of one type as they come.
    """

    length: int
    source: Address | None = None
    destination: Address | None = None
    values: Mapping[int, Sequence[bytes]] = Factory(dict)


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """Returns the header that `data` begins with; None if it is incomplete, and all of `data` belongs to it.

    Raises ProxyFault.
    """
    if data.startswith(SIGNATURE):
        return _read_v2(data)
    if data.startswith(b"PROXY "):
        return _read_v1(data)
    if SIGNATURE.startswith(data) or b"PROXY ".startswith(data):
        return None
    raise ProxyFault("it does not begin with a PROXY protocol header")


def _read_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, V1_MAX)
    if end < 0:
        if len(data) >= V1_MAX or b"\n" in data or (b"\r" in data and not data.endswith(b"\r")):
            raise ProxyFault("the line of its PROXY protocol header does not end in time")
        return None
    words = data[:end].split(b" ")
    if words[1:2] == [b"UNKNOWN"]:
        return ProxyHeader(end + 2)
    try:
        kind, source, destination, source_port, destination_port = (word.decode("ascii") for word in words[1:])
        family = _FAMILIES[kind]
        ports = [_port(source_port), _port(destination_port)]
        if not (_ADDRESS.fullmatch(source) and _ADDRESS.fullmatch(destination)):
            raise ValueError(data[:end])
        hosts = [address_text(family(text)) for text in (source, destination)]
        return ProxyHeader(end + 2, (hosts[0], ports[0]), (hosts[1], ports[1]))
    except (ValueError, KeyError):
        raise ProxyFault(f"its PROXY protocol header cannot be understood: {data[:end]!r}") from None


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or (text[0] == "0" and text != "0") or int(text) > 65535:
        raise ValueError(text)
    return int(text)


def _read_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < 16:
        return None
    command, family, length = data[12], data[13], int.from_bytes(data[14:16], "big")
    if command not in (0x20, 0x21):
        raise ProxyFault(f"its PROXY protocol header has the unknown version and command {command:#04x}")
    if 16 + length > V2_MAX:
        raise ProxyFault(f"its PROXY protocol header is too long, {16 + length} bytes")
    if len(data) < 16 + length:
        return None
    if command == 0x20 or family in _UNUSED:
        # There may be addresses, which are ignored (section 2.2), but the extensions behind them count; those of no
        # family have no size, so that these begin at once.
        size = _SIZES.get(family >> 4, length)
        return ProxyHeader(16 + length, values=_extensions(data[: 16 + length], 16 + size))
    if family not in _ADDRESSES:
        raise ProxyFault(f"its PROXY protocol header has the unknown family and transport {family:#04x}")
    form = _ADDRESSES[family]
    if length < struct.calcsize(form):
        raise ProxyFault(f"its PROXY protocol header is too short for its addresses, {length} bytes")
    values = _extensions(data[: 16 + length], 16 + struct.calcsize(form))
    source, destination, source_port, destination_port = struct.unpack_from(form, data, 16)
    hosts = [address_text(ip_address(packed)) for packed in (source, destination)]
    return ProxyHeader(16 + length, (hosts[0], source_port), (hosts[1], destination_port), values)


def _extensions(header: bytes, at: int) -> dict[int, list[bytes]]:
    """Returns the extensions of a version 2 header, which begin at `at`, by their types.
    Raises ProxyFault.

    Checked are their lengths (section 2.2), and the checksum if there is one (section 2.2.3: a receiver must).
    """
    values: dict[int, list[bytes]] = {}
    while at < len(header):
        if at + 3 > len(header):
            raise ProxyFault("its PROXY protocol header ends within an extension")
        kind, size = struct.unpack_from("!BH", header, at)
        value = at + 3
        at = value + size
        if at > len(header):
            raise ProxyFault(f"its PROXY protocol header ends within the extension {kind:#04x} of {size} bytes")
        if kind == _CRC32C:
            if size != 4:
                raise ProxyFault(f"its PROXY protocol header has a checksum of {size} bytes, not 4")
            if crc32c(header[:value] + b"\0\0\0\0" + header[at:]) != int.from_bytes(header[value:at], "big"):
                raise ProxyFault("the checksum of its PROXY protocol header is wrong (PP2_TYPE_CRC32C)")
        if size > MOST_OF.get(kind, size):
            raise ProxyFault(f"its PROXY protocol header has an extension {kind:#04x} of {size} bytes")
        values.setdefault(kind, []).append(header[value:at])
    return values


def _crc32c_step(checksum: int) -> int:
    """Returns the checksum `crc` after eight zero bits."""
    for _ in range(8):
        checksum = checksum >> 1 ^ (0x82F63B78 if checksum & 1 else 0)
    return checksum


_CRC32C_STEPS: Final = tuple(map(_crc32c_step, range(256)))


def crc32c(data: bytes) -> int:
    """Returns the CRC-32C checksum of RFC 4960 appendix B.

    (0.3 ms for the longest header; zlib has another polynomial.)
    """
    checksum = 0xFFFFFFFF
    for octet in data:
        checksum = checksum >> 8 ^ _CRC32C_STEPS[(checksum ^ octet) & 0xFF]
    return checksum ^ 0xFFFFFFFF


def write_v1(source: Address | None, destination: Address | None) -> bytes:
    """Returns the line for a server; without addresses (of a client at a unix socket, for instance) it is UNKNOWN."""
    families = _same_family(source, destination)
    if families is None or source is None or destination is None:
        return b"PROXY UNKNOWN\r\n"
    one, other = families
    hosts = f"{address_text(one)} {address_text(other)}"
    return f"PROXY TCP{one.version} {hosts} {source[1]} {destination[1]}\r\n".encode("ascii")


def write_v2(
    source: Address | None,
    destination: Address | None,
    extensions: Iterable[tuple[int, bytes]] = (),
    *,
    checked: bool = False,
) -> bytes:
    """Returns the binary header for a server; without addresses it says that the connection is the proxy's own (LOCAL).
    `extensions` are types and values of TLVs (section 2.2); `checked` adds the checksum (section 2.2.3), as the last.
    Raises ValueError where they do not fit into a header."""
    families = _same_family(source, destination)
    kinds, addresses = b"\x20\0", b""
    if families is not None and source is not None and destination is not None:
        one, other = families
        kinds = b"\x21\x11" if one.version == 4 else b"\x21\x21"
        addresses = one.packed + other.packed + struct.pack("!HH", source[1], destination[1])
    values = [*extensions]
    if checked:
        values.append((_CRC32C, bytes(4)))
    length = len(addresses) + sum(3 + len(value) for _, value in values)
    if length > 0xFFFF:
        raise ValueError(f"a PROXY protocol header cannot have {length} bytes")
    said = b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in values)
    header = SIGNATURE + kinds + struct.pack("!H", length) + addresses + said
    return header[:-4] + crc32c(header).to_bytes(4, "big") if checked else header


def _same_family(
    source: Address | None, destination: Address | None
) -> tuple[IPv4Address, IPv4Address] | tuple[IPv6Address, IPv6Address] | None:
    """Returns both addresses in one family: an IPv4 address is IPv4-mapped where the other one is IPv6 (section 2.1).

    Returns None where an address is missing or that of a unix socket.
    """
    if source is None or destination is None or "unix" in (source[0], destination[0]):
        return None
    one, other = (_plain(ip_address(each[0].partition("%")[0])) for each in (source, destination))
    if isinstance(one, IPv4Address) and isinstance(other, IPv4Address):
        return one, other
    return _dressed(one), _dressed(other)


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _dressed(address: IPv4Address | IPv6Address) -> IPv6Address:
    return address if isinstance(address, IPv6Address) else IPv6Address(f"::ffff:{address}")
