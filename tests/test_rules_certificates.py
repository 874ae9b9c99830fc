"""Names of certificates as HAProxy shows them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.rules.samples.certificates import Attribute, entry, name_attributes, one_line, parts, rfc2253

#: DER of the tags that names are made of.
SEQUENCE, SET, OID = 0x30, 0x31, 0x06


def der(tag: int, content: bytes) -> bytes:
    return bytes((tag, len(content))) + content


def attributes(*each: tuple[str, int, bytes]) -> list[Attribute]:
    """A name of these attributes, of one RDN each: the identifier in hexadecimal, the tag and the value."""
    rdns = [der(SET, der(SEQUENCE, der(OID, bytes.fromhex(oid)) + der(tag, value))) for oid, tag, value in each]
    return name_attributes(next(parts(der(SEQUENCE, b"".join(rdns)))))


class NameTests(SynchronousTestCase):
    def test_attributes_have_the_names_that_openssl_knows(self) -> None:
        """Not only the usual ones: a rule that asks for another would never be true."""
        expected = {
            "550414": "telephoneNumber",
            "550433": "houseIdentifier",
            "550436": "dmdName",
            "0992268993f22c64012c": "uid",
            "2a850303818f010101": "1.2.643.3.18305.1.1",
            "2a85030381030101": "INN",
            "2a864886f70d010914": "friendlyName",
            "5504832a": "2.5.4.426",
        }
        for oid, name in expected.items():
            found = attributes((oid, 0x0C, b"x"))
            self.assertEqual(one_line(found), b"/%b=x" % name.encode())
            self.assertEqual(entry(found, name.upper(), 1), b"x")

    def test_text_of_each_type_is_shown_as_text(self) -> None:
        for tag in (0x0C, 0x12, 0x13, 0x14, 0x16, 0x17, 0x18, 0x1A):
            self.assertEqual(rfc2253(attributes(("550403", tag, b"123"))), b"CN=123", hex(tag))
        self.assertEqual(rfc2253(attributes(("550403", 0x04, b"123"))), b"CN=#0403313233")

    def test_what_openssl_does_not_know_is_shown_as_its_der(self) -> None:
        self.assertEqual(rfc2253(attributes(("5504832a", 0x0C, b"123"))), b"2.5.4.426=#0C03313233")

    def test_a_bit_string_is_its_bits(self) -> None:
        """Without the number of those that are unused."""
        found = attributes(("55042d", 0x03, b"\0\x81\x82"))
        self.assertEqual(one_line(found), b"/x500UniqueIdentifier=\x81\x82")
