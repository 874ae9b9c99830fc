"""The PROXY protocol: headers read from what comes in pieces, and written for servers."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.wire.proxy_protocol import (
    SIGNATURE,
    V1_MAX,
    V2_MAX,
    ProxyFault,
    ProxyHeader,
    crc32c,
    read_proxy_header,
    write_v1,
    write_v2,
)

ONE, OTHER = ("192.0.2.1", 56324), ("198.51.100.7", 443)
SIX, OTHER_SIX = ("2001:db8::1", 1), ("2001:db8::2", 65535)
BEHIND = b"GET / HTTP/1.1\r\n\r\n"


def v2(command: int, family: int, rest: bytes = b"", length: int | None = None) -> bytes:
    return SIGNATURE + bytes((command, family)) + struct.pack("!H", len(rest) if length is None else length) + rest


def taken(stream: bytes, piece: int | None = None) -> tuple[ProxyHeader, bytes]:
    """Read a header as a socket's reader does, that gets so much at a time; also what is left."""
    for seen in range(0, len(stream) + (piece or len(stream)), piece or len(stream)):
        found = read_proxy_header(stream[:seen])
        if found is not None:
            return found, stream[found.length :]
    raise EOFError


FOUR = b"\xc0\0\2\1\xc6\x33\x64\7" + struct.pack("!HH", 56324, 443)
ALPN = b"\x01\0\2h2"


def summed(extensions: bytes, off: int = 0, command: int = 0x21, family: int = 0x11, addresses: bytes = FOUR) -> bytes:
    """A header whose checksum stands before its other extensions, and is wrong by `off`."""
    blank, at = v2(command, family, addresses + b"\x03\0\4\0\0\0\0" + extensions), 19 + len(addresses)
    return blank[:at] + struct.pack("!I", crc32c(blank) ^ off) + blank[at + 4 :]


#: Headers that name nobody: what stands behind their addresses, if there are any, counts all the same.
NOBODY = (
    *((0x20, 0x00, b""), (0x21, 0x00, b""), (0x20, 0x11, FOUR)),
    *((0x21, 0x12, FOUR), (0x21, 0x31, bytes(216)), (0x20, 0x21, bytes(36))),
)


VALID = [
    (v2(0x21, 0x11, FOUR + b"\x04\0\0" + ALPN + b"\xe0\0\1x"), ONE, OTHER),
    (summed(ALPN), ONE, OTHER),
    (summed(b""), ONE, OTHER),
    (b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", ONE, OTHER),
    (b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", SIX, OTHER_SIX),
    (b"PROXY TCP6 ::FFFF:10.1.1.1 0:0::a02:1 1 2\r\n", ("::ffff:10.1.1.1", 1), ("::10.2.0.1", 2)),
    (
        v2(0x21, 0x21, bytes(10) + b"\xff\xff\x0a\1\1\1" + bytes(15) + b"\1\0\1\0\2"),
        ("::ffff:10.1.1.1", 1),
        ("::1", 2),
    ),
    (b"PROXY UNKNOWN\r\n", None, None),
    (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None, None),
    (v2(0x21, 0x11, b"\xc0\0\2\1\xc6\x33\x64\7" + struct.pack("!HH", 56324, 443)), ONE, OTHER),
    (v2(0x21, 0x11, b"\xc0\0\2\1\xc6\x33\x64\7" + struct.pack("!HH", 56324, 443) + b"\x01\0\2h2"), ONE, OTHER),
    (v2(0x20, 0x00), None, None),
    (v2(0x20, 0xFF, b"anything"), None, None),
    (v2(0x21, 0x00), None, None),
    (v2(0x21, 0x31, bytes(216)), None, None),
    (v2(0x21, 0x12, bytes(12)), None, None),
    *((summed(ALPN, 0, *each), None, None) for each in NOBODY),
    (write_v1(SIX, OTHER_SIX), SIX, OTHER_SIX),
    (write_v2(SIX, OTHER_SIX), SIX, OTHER_SIX),
]

INVALID = [
    v2(0x21, 0x11, FOUR + b"\x01"),
    v2(0x21, 0x11, FOUR + b"\x01\0"),
    v2(0x21, 0x11, FOUR + b"\x01\0\3h2"),
    v2(0x21, 0x11, FOUR + ALPN + b"\x01\xff\xffh2"),
    v2(0x21, 0x11, FOUR + b"\x03\0\3abc"),
    summed(ALPN, off=1),
    *(summed(ALPN, 1, *each) for each in NOBODY),
    v2(0x20, 0x00, b"\x01\0\3h2"),
    v2(0x21, 0x00, b"unspecified"),
    v2(0x20, 0x11, FOUR + b"\x01"),
    summed(b"", off=1 << 31),
    b"GET / HTTP/1.1\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"PROXYTCP4 ",
    b"proxy TCP4 ",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 56324\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443 1\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 65536\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 -1 443\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 0443 443\r\n",
    b"PROXY TCP4 192.0.2.1 2001:db8::2 1 2\r\n",
    b"PROXY TCP4 192.0.2.256 198.51.100.7 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n",
    b"PROXY TCP6 fe80::1 fe80::2%1 1 2\r\n",
    b"PROXY TCP6 ::1%a\nX-User:root\nX: ::2 1 2\r\n",
    b"PROXY TCP6 ::1 ::2%\0 1 2\r\n",
    b"PROXY UDP4 192.0.2.1 198.51.100.7 1 2\r\n",
    b"PROXY  TCP4 192.0.2.1 198.51.100.7 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 1 2\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 1 2\rx",
    b"PROXY UNKNOWN " + b"x" * V1_MAX + b"\r\n",
    v2(0x11, 0x11, bytes(12)),
    v2(0x22, 0x11, bytes(12)),
    v2(0x21, 0x41, bytes(12)),
    v2(0x21, 0x13, bytes(12)),
    v2(0x21, 0x11, bytes(11)),
    v2(0x21, 0x21, bytes(35)),
    v2(0x21, 0x11, b"", length=V2_MAX),
]


class ReadTests(SynchronousTestCase):
    """Who the client is."""

    def test_valid_ones(self) -> None:
        """Whole and byte by byte; what stands behind is not touched."""
        for header, source, destination in VALID:
            for piece in (None, 1, 7):
                found, left = taken(header + BEHIND, piece)
                self.assertEqual((found.source, found.destination), (source, destination), header)
                self.assertEqual((found.length, left), (len(header), BEHIND), header)

    def test_invalid_ones(self) -> None:
        """Each is refused as soon as can be."""
        for stream in INVALID:
            for piece in (None, 1):
                with self.assertRaises(ProxyFault, msg=stream):
                    taken(stream + BEHIND, piece)

    def test_extensions_are_kept_by_their_types(self) -> None:
        """Those of one type as they come; a name or an id that is longer than HAProxy takes is a fault."""

        def header(*extensions: tuple[int, bytes]) -> bytes:
            rest = b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in extensions)
            return v2(0x21, 0x11, struct.pack("!4s4sHH", bytes(4), bytes(4), 1, 2) + rest)

        found = read_proxy_header(header((2, b"a.example"), (5, b"x" * 128), (0xEA, b""), (2, b"b.example")))
        assert found is not None
        self.assertEqual(found.values, {2: [b"a.example", b"b.example"], 5: [b"x" * 128], 0xEA: [b""]})
        for kind, size in ((2, 256), (5, 129)):
            with self.assertRaises(ProxyFault, msg=str(kind)):
                read_proxy_header(header((kind, bytes(size))))

    def test_checksums_are_those_of_rfc_3720(self) -> None:
        """Its examples (appendix B.4), and the usual one."""
        table = {
            bytes(32): 0x8A9136AA,
            b"\xff" * 32: 0x62A8AB43,
            bytes(range(32)): 0x46DD794E,
            b"123456789": 0xE3069283,
        }
        self.assertEqual({data: crc32c(data) for data in table}, table)

    def test_what_is_not_complete_is_waited_for(self) -> None:
        """A header that breaks off is none."""
        for header, *_ in VALID:
            for end in range(len(header)):
                self.assertIsNone(read_proxy_header(header[:end]), header[:end])

    @given(
        st.text(st.characters(max_codepoint=127), max_size=40), st.sampled_from(["::1", "fe80::1%", "::", "1.2.3.4"])
    )
    def test_an_address_is_one_whatever_stands_for_it(self, rest: str, host: str) -> None:
        """Nothing but an address gets from version 1 to headers and logs."""
        for line in (f"PROXY TCP6 {host}{rest} ::2 1 2", f"PROXY TCP6 ::2 {rest}{host} 1 2"):
            try:
                found = read_proxy_header(line.encode() + b"\r\n")
            except ProxyFault:
                continue
            assert found is not None
            for address in (found.source, found.destination):
                if address is not None:
                    self.assertRegex(address[0], "^[0-9a-f:.]+\\Z")

    @given(
        st.binary(max_size=64), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\0"])
    )
    def test_whatever_comes_is_judged(self, rest: bytes, start: bytes) -> None:
        """A header, a fault, or that there is more to come; never anything else."""
        try:
            found = read_proxy_header(start + rest)
        except ProxyFault:
            return
        if found is not None:
            self.assertLessEqual(found.length, len(start + rest))


class WriteTests(SynchronousTestCase):
    """What a server is told."""

    def test_they_can_be_read(self) -> None:
        """In both versions, for both families."""
        for source, destination in ((ONE, OTHER), (SIX, OTHER_SIX)):
            for write in (write_v1, write_v2):
                header = write(source, destination)
                self.assertEqual(read_proxy_header(header), ProxyHeader(len(header), source, destination))

    def test_the_documents_example(self) -> None:
        """Section 2.1."""
        line = write_v1(("192.168.0.1", 56324), ("192.168.0.11", 443))
        self.assertEqual(line, b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n")

    def test_two_families_become_one(self) -> None:
        """IPv4 in IPv6's dress; out of it where both wear it."""
        line = write_v1(ONE, OTHER_SIX)
        self.assertIn(b"PROXY TCP6 ::ffff:192.0.2.1 ", line)
        read = read_proxy_header(line)
        assert read is not None and read.source is not None
        self.assertEqual(IPv6Address(read.source[0]).ipv4_mapped, IPv4Address(ONE[0]))
        line = write_v1(("::ffff:192.0.2.1", 1), ("::ffff:192.0.2.2", 2))
        self.assertEqual(line, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")

    def test_a_zone_is_left_out(self) -> None:
        """It means something on this machine only."""
        self.assertEqual(write_v1(("fe80::1%eth0", 1), OTHER_SIX), b"PROXY TCP6 fe80::1 2001:db8::2 1 65535\r\n")

    def test_a_port_of_0_is_a_port(self) -> None:
        """Other proxies say it where they do not know one: the address counts all the same."""
        source, destination = ("192.0.2.1", 0), ("192.0.2.2", 0)
        self.assertEqual(write_v1(source, destination), b"PROXY TCP4 192.0.2.1 192.0.2.2 0 0\r\n")
        for header in (write_v1(source, destination), write_v2(source, destination)):
            self.assertEqual(read_proxy_header(header), ProxyHeader(len(header), source, destination))

    def test_extensions_are_written(self) -> None:
        """Behind the addresses, or alone; what does not fit is refused."""
        said = [(0xE0, b"a"), (0xE1, b""), (0xE0, b"b")]
        for source in (SIX, None):
            found = read_proxy_header(write_v2(source, OTHER_SIX, said))
            assert found is not None
            self.assertEqual((found.source, found.values), (source, {0xE0: [b"a", b"b"], 0xE1: [b""]}))
        with self.assertRaises(ValueError):
            write_v2(SIX, OTHER_SIX, [(1, bytes(40000)), (2, bytes(40000))])
        self.assertEqual(len(write_v2(None, None, [(1, bytes(0xFFFF - 3))])), 16 + 0xFFFF)

    def test_a_checksum_is_of_the_whole_header(self) -> None:
        """The reader has checked it; one that is wrong by a bit is refused."""
        for source in (SIX, None):
            header = write_v2(source, OTHER_SIX, [(0xE0, b"a")], checked=True)
            found = read_proxy_header(header)
            assert found is not None
            self.assertEqual([*found.values], [0xE0, 3])
            with self.assertRaises(ProxyFault):
                read_proxy_header(header[:-1] + bytes((header[-1] ^ 1,)))

    def test_without_addresses(self) -> None:
        """A client at a unix socket, a health check."""
        for source in (None, ("unix", 0)):
            self.assertEqual(write_v1(source, OTHER), b"PROXY UNKNOWN\r\n")
            self.assertEqual(read_proxy_header(write_v2(source, OTHER)), ProxyHeader(16))
