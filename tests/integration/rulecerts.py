"""Client certificates whose names mislead those who show them carelessly."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID, ObjectIdentifier

CN = NameOID.COMMON_NAME
#: A subject each: RDNs of attributes.
NAMES: dict[str, list[list[tuple[ObjectIdentifier, str]]]] = {
    "plain": [[(NameOID.COUNTRY_NAME, "FR")], [(NameOID.ORGANIZATION_NAME, "x")], [(CN, "y")]],
    "utf8": [[(CN, "Zoë Müller €")]],
    "odd": [[(NameOID.ORGANIZATION_NAME, 'a/b, c+d="e"<>;\\ #')], [(CN, "#x /CN=admin ")], [(CN, " lead")]],
    "several": [
        [(CN, "one")],
        [(CN, "two")],
        [(NameOID.ORGANIZATIONAL_UNIT_NAME, "u1"), (CN, "three")],
        [(NameOID.EMAIL_ADDRESS, "a@b")],
        [(NameOID.SERIAL_NUMBER, "77")],
        [(NameOID.USER_ID, "uid")],
        [(NameOID.DOMAIN_COMPONENT, "dc")],
    ],
    "empty": [],
    "control": [[(CN, "a\r\nX-Evil: 1\x00b\x7f")]],
    "unknown": [
        [(ObjectIdentifier("1.2.3.4.5"), "val")],
        [(CN, "k")],
        [(NameOID.SURNAME, "s")],
        [(NameOID.TITLE, "t")],
    ],
    "bmp": [[(CN, "Zoë")]],
}
SERIALS = {"plain": 1, "utf8": 0x80FF, "odd": 2**150 + 5}


@frozen
class Files:
    """PEM files: the CA, a server's certificate with its key, and one client's for each name."""

    ca: Path
    server: Path
    clients: dict[str, Path]


def make(directory: Path) -> Files:
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Test, Ltd"), x509.NameAttribute(CN, "CA é")])

    def issue(name: x509.Name, serial: int, year: int, ca: bool = False) -> bytes:
        key = ca_key if ca else ec.generate_private_key(ec.SECP256R1())
        begin, end = (datetime(each, 1, 2, 3, 4, 5, tzinfo=timezone.utc) for each in (2020, year))
        builder = x509.CertificateBuilder(ca_name, name, key.public_key(), serial, begin, end)
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
        made = builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM)
        return made if ca else made + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def write(name: str, data: bytes) -> Path:
        path = directory / f"{name}.pem"
        path.write_bytes(data)
        return path

    ca = write("ca", issue(ca_name, 99, 2049, ca=True))
    server = write("server", issue(x509.Name([x509.NameAttribute(CN, "server")]), 5, 2049))
    clients = {}
    for name, rdns in NAMES.items():
        kind = _ASN1Type.BMPString if name == "bmp" else None
        subject = x509.Name(
            [x509.RelativeDistinguishedName([x509.NameAttribute(oid, text, kind) for oid, text in rdn]) for rdn in rdns]
        )
        clients[name] = write(name, issue(subject, SERIALS.get(name, 1234567), 2050 if name == "empty" else 2049))
    return Files(ca, server, clients)
