"""PROXY protocol headers: what they say of clients by `proxy-v2-options`, and of what nobody has verified."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.servers.announcing import announces_client, announces_itself
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.pool.named import NameRefused
from reusedproxy.wire.proxy_protocol import read_proxy_header
from tests.rulefakes import Seen
from tests.tlsfakes import Side, certificate

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
CLIENT = certificate([("CN", "client"), ("CN", "other")])
TLS, CN, ALL = 0x20, 0x22, "ssl,cert-cn,cert-key,cert-sig,ssl-cipher,authority,crc32c,unique-id"


def said(words: str, facts: Seen) -> Mapping[int, Sequence[bytes]]:
    text = f"defaults\n mode http\nbackend b\n server s h:1 {words}\n"
    (server,) = read_configuration([Source("t.cfg", text)], {}).backends["b"].servers
    write = announces_client(server)
    assert write is not None
    exchange: Any = facts
    found = read_proxy_header(write(exchange))
    assert found is not None
    return found.values


def about_tls(words: str, side: Side | None) -> tuple[int, int, dict[int, bytes]]:
    """The flags, what came of verifying, and what is said within."""
    (value,) = said(words, Seen(HEAD, tls=side))[TLS]
    client, verified = struct.unpack_from("!BI", value)
    at, within = 5, {}
    while at < len(value):
        kind, size = struct.unpack_from("!BH", value, at)
        within[kind] = value[at + 3 : at + 3 + size]
        at += 3 + size
    return client, verified, within


class AnnouncingTests(SynchronousTestCase):
    def test_of_a_client_in_the_clear_nothing_is_said_but_that(self) -> None:
        values = said(f"send-proxy-v2 proxy-v2-options {ALL}", Seen(HEAD))
        self.assertEqual({*values}, {3, 5, TLS})
        self.assertEqual((values[5], values[TLS]), ([b"id"], [b"\0\0\0\0\1"]))

    def test_no_certificate_is_verified_that_was_not_shown(self) -> None:
        """0 is said of a verified certificate alone."""
        for side, flags, verified in (
            (Side(), 1, 1),
            (Side(CLIENT), 7, 0),
            (Side(CLIENT, resumed=True), 5, 0),
            (Side(CLIENT, verify_result=10), 7, 10),
            (Side(CLIENT, certificate_error=10), 7, 10),
            (Side(CLIENT, authority_error=(20, 1)), 7, 20),
        ):
            self.assertEqual(about_tls("send-proxy-v2-ssl", side)[:2], (flags, verified), side)

    def test_names_are_those_of_its_certificate(self) -> None:
        """The first one, whatever a request says; none where there is none."""
        for side, name in ((Side(CLIENT), b"client"), (Side(certificate([])), None), (Side(b"\x30"), None)):
            self.assertEqual(about_tls("send-proxy-v2-ssl-cn", side)[2].get(CN), name)
        self.assertNotIn(CN, about_tls("send-proxy-v2-ssl", Side(CLIENT))[2])

    def test_key_and_signature_are_those_of_the_certificate_that_was_shown_to_it(self) -> None:
        side = Side(CLIENT, own_certificate=certificate([("CN", "us")]))
        within = about_tls("send-proxy-v2 proxy-v2-options cert-key,cert-sig,ssl-cipher", side)[2]
        self.assertEqual(
            within, {0x21: b"TLSv1.3", 0x23: side.cipher.encode(), 0x24: b"ecdsa-with-SHA256", 0x25: b"EC256"}
        )
        for broken in (b"", b"\x30\x80", CLIENT[:60]):
            side = Side(CLIENT, own_certificate=broken)
            within = about_tls("send-proxy-v2 proxy-v2-options cert-key,cert-sig", side)[2]
            self.assertEqual({*within}, {0x21}, broken)

    def test_what_the_client_speaks_is_said_unasked(self) -> None:
        """As HAProxy does, in version 2."""
        self.assertEqual(said("send-proxy-v2", Seen(HEAD, tls=Side())), {1: [b"http/1.1"]})
        self.assertEqual(said("send-proxy-v2", Seen(HEAD, tls=Side(alpn=b""))), {})

    def test_the_authority_is_that_of_the_proxy_before_or_the_name_that_tls_asks_for(self) -> None:
        for announced, side, name in (
            (None, Side(alpn=b""), [b"a.test"]),
            ({2: [b"b.test", b"c.test"]}, Side(alpn=b""), [b"b.test"]),
            ({}, None, None),
            (None, Side(sni=None, alpn=b""), None),
        ):
            facts = Seen(HEAD, tls=side)
            facts.announced = announced
            self.assertEqual(said("send-proxy-v2 proxy-v2-options authority", facts).get(2), name)

    def test_a_unique_id_is_said_whole_or_not_at_all(self) -> None:
        """None is not said; one that no receiver takes is refused, and so is the connection."""
        facts = Seen(HEAD)
        facts.unique_id = b""
        self.assertEqual(said("send-proxy-v2 proxy-v2-options unique-id", facts), {})
        facts.unique_id = b"x" * 128
        self.assertEqual(said("send-proxy-v2 proxy-v2-options unique-id", facts), {5: [facts.unique_id]})
        facts.unique_id = b"x" * 129
        with self.assertRaises(NameRefused):
            said("send-proxy-v2 proxy-v2-options unique-id", facts)

    def test_checks_say_that_they_are_the_proxys_own(self) -> None:
        """With the checksum, where clients' headers have one."""
        for options, kinds in ((frozenset[str](), []), (frozenset(("crc32c", "ssl", "authority")), [3])):
            write, connection = announces_itself("v2", options), Any
            assert write is not None
            found = read_proxy_header(write(connection))  # type: ignore[arg-type]
            assert found is not None
            self.assertEqual((found.source, [*found.values]), (None, kinds))
