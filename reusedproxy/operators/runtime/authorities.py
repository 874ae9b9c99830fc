"""Shows the CAs and revocation lists that are in use: `show ssl ca-file`, `show ssl crl-file`. Texts are HAProxy's.

What is shown is what was read at the start or the last reload, whatever has become of the files. It must never know who
trusts whom.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha1
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from reusedproxy.operators.runtime.proxy import Context, Refusal
from reusedproxy.operators.view.reading import files_in_use

T = TypeVar("T")
#: Revoked certificates in one piece of an answer.
AT_ONCE = 100
_KINDS = {x509.DNSName: "DNS", x509.RFC822Name: "email", x509.UniformResourceIdentifier: "URI"}
#: OpenSSL's short names where RFC 4514 has none.
_SHORT = {
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.GIVEN_NAME: "GN",
    NameOID.SURNAME: "SN",
    NameOID.TITLE: "title",
    NameOID.ORGANIZATION_IDENTIFIER: "organizationIdentifier",
}
_BEGINS = b"-----BEGIN X509 CRL-----"


def show_ssl_ca_file(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `show ssl ca-file [<cafile>[:<index>]]`."""
    files = _in_use(context, context.proxy.trusts.authorities, "ca-file", "ca-verify-file")
    if not words:
        yield "# filename\n"
        for name, contents in files.items():
            yield f"{name} - {sum(len(_certificates(content)) for content in contents)} certificate(s)\n"
        return
    name, index = _asked(words[0], "CA")
    if name not in files:
        raise Refusal("Can't display the CA file : Not found!")
    certificates = [each for content in files[name] for each in _certificates(content)]
    if index > len(certificates):
        return
    yield f"Filename: {name}\nStatus: Used\n"
    for number, certificate in enumerate(certificates, 1):
        if index in (0, number):
            yield f" \nCertificate #{number}:\n{described(certificate)}"


def show_ssl_crl_file(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `show ssl crl-file [<crlfile>[:<index>]]`."""
    files = _in_use(context, context.proxy.trusts.revocations, "crl-file")
    if not words:
        yield "# filename\n" + "".join(f"{name}\n" for name in files)
        return
    name, index = _asked(words[0], "CRL")
    if name not in files:
        raise Refusal("Can't display the CRL file : Not found!")
    yield f"Filename: {name}\nStatus: Used\n"
    for number, block in enumerate(files[name].split(_BEGINS)[1:], 1):
        if index in (0, number):
            yield f" \nCertificate Revocation List #{number}:\n"
            yield from _revocations(x509.load_pem_x509_crl(_BEGINS + block))


def _in_use(context: Context, read: Mapping[str, T], *words: str) -> dict[str, T]:
    """Returns what was read of the files that lines name with one of these words."""
    named = dict.fromkeys(each.path for each in files_in_use(context.proxy) if each.word in words)
    return {path: read[path] for path in named if path in read}


def _asked(word: str, what: str) -> tuple[str, int]:
    """Returns the file and the index that a word asks for, 0 where it asks for all. Raises Refusal."""
    name, colon, index = word.rpartition(":")
    if not colon:
        return word, 0
    if not (index.isascii() and index.isdigit() and int(index[:9])):
        raise Refusal(f"wrong {what} index after colons in '{word}'!", "")
    return name, int(index[:9])


def _certificates(content: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:  # cryptography is stricter than OpenSSL, which has taken it
        return []


def described(certificate: x509.Certificate) -> str:
    """Returns the lines that tell of a certificate."""
    return (
        f"Serial: {_serial(certificate.serial_number)}\n"
        f"notBefore: {_date(certificate.not_valid_before_utc)}\n"
        f"notAfter: {_date(certificate.not_valid_after_utc)}\n"
        f"Subject Alternative Name: {_alternatives(certificate)}\n"
        f"Algorithm: {_algorithm(certificate)}\n"
        f"SHA1 FingerPrint: {sha1(certificate.public_bytes(Encoding.DER), usedforsecurity=False).hexdigest().upper()}\n"
        f"Subject: {one_line(certificate.subject)}\n"
        f"Issuer: {one_line(certificate.issuer)}\n"
    )


def _serial(number: int) -> str:
    return number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big").hex().upper()


def _date(moment: datetime) -> str:
    return f"{moment:%b} {moment.day:2d} {moment:%H:%M:%S %Y} GMT"


def _alternatives(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return ""
    shown = []
    for each in names:
        if isinstance(each, x509.IPAddress):
            shown.append(f"IP Address:{each.value}")
        elif type(each) in _KINDS:
            shown.append(f"{_KINDS[type(each)]}:{each.value}")
    return ", ".join(shown)


def _algorithm(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    for kind, word in ((rsa.RSAPublicKey, "RSA"), (ec.EllipticCurvePublicKey, "EC"), (dsa.DSAPublicKey, "DSA")):
        if isinstance(key, kind):
            return f"{word}{key.key_size}"
    return ""


def one_line(name: x509.Name) -> str:
    """Returns a subject or issuer as X509_NAME_oneline(3) writes it."""
    return "".join(
        f"/{_SHORT.get(each.oid, each.rfc4514_attribute_name)}={each.value if isinstance(each.value, str) else '?'}"
        for each in name
    )


def _revocations(found: x509.CertificateRevocationList) -> Iterator[str]:
    yield (
        f"Version 2\nSignature Algorithm: {found.signature_algorithm_oid._name}\nIssuer: {one_line(found.issuer)}\n"
        f"Last Update: {_date(found.last_update_utc)}\n"
        f"Next Update: {'NONE' if found.next_update_utc is None else _date(found.next_update_utc)}\n"
    )
    if not len(found):
        yield "No Revoked Certificates.\n"
        return
    some = ["Revoked Certificates:\n"]
    for each in found:
        some.append(f"    Serial Number: {_serial(each.serial_number)}\n")
        some.append(f"        Revocation Date: {_date(each.revocation_date_utc)}\n")
        if len(some) >= 2 * AT_ONCE:
            yield "".join(some)
            some.clear()
    yield "".join(some)
