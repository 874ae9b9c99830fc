"""Shows the CAs and revocation lists of listeners and servers, and replaces them in memory: `show|new|set|add|commit|
abort|del ssl ca-file`, and the same of `crl-file`. Texts are HAProxy's.

What is shown is what was read at the start or the last reload, or put in its place since, whatever has become of the
files. What is common to all files of TLS is in `transactions`. It must never know who trusts whom.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha1
from typing import Any, ClassVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from reusedproxy.net.tls.crl import blocks_of_lists, decoded, entries_in, whole_parts_in, without_entries
from reusedproxy.net.tls.crl_files import revoked_in
from reusedproxy.net.tls.files import TLSConfigurationError, certificates_in
from reusedproxy.net.tls.in_memory import FilesInMemory
from reusedproxy.net.tls.trusts import Trust
from reusedproxy.operators.runtime.proxy import Context, Refusal
from reusedproxy.operators.runtime.transactions import Kind, Known
from reusedproxy.operators.view.files import chosen_files, files_in_use

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


class _Bytes(Kind[bytes]):
    """Does the orders about files whose content is used as it is."""

    #: Words of the configuration that name such a file.
    words: ClassVar[tuple[str, ...]]

    def known(self, context: Context) -> Mapping[str, Known[bytes]]:
        uses: dict[str, int] = {}
        named = [(each.word, each.path) for each in files_in_use(context.proxy)]
        for word, path in (*named, *chosen_files(context.proxy)):
            if word in self.words:
                uses[path] = uses.get(path, 0) + 1
        read, held = self.read(context), self.held(context.proxy.trusts.in_memory)
        names = {*held, *(name for name in uses if name in read)}
        return {
            name: Known(name, name, read[name] if name in uses else held[name], uses.get(name, 0))
            for name in sorted(names)
        }

    @abstractmethod
    def read(self, context: Context) -> Mapping[str, bytes]:
        """Returns what was read last, by name."""

    @abstractmethod
    def held(self, files: FilesInMemory) -> Mapping[str, bytes]:
        """Returns what is in memory, by name."""

    def added(self, name: str) -> Known[bytes]:
        return Known(name, name, b"")


class _Authorities(_Bytes):
    """Does the orders about CAs."""

    word, noun, payload = "ca-file", "CA file", "CAs"
    created, changed = "New CA file created '{}'!\n", "transaction {} for CA {}!\n"
    words = ("ca-file", "ca-verify-file")

    def read(self, context: Context) -> Mapping[str, bytes]:
        return {path: b"\n".join(contents) for path, contents in context.proxy.trusts.authorities.items()}

    def held(self, files: FilesInMemory) -> Mapping[str, bytes]:
        return files.authorities

    def put(self, files: FilesInMemory, key: Any, content: bytes | None) -> FilesInMemory:
        return files.with_authorities(key, content)

    def loaded(self, said: str, payload: bytes, before: bytes, adds: bool) -> bytes:
        try:
            Trust([("ca-file", ((said, payload),))], None)
        except TLSConfigurationError:
            raise Refusal("Invalid payload") from None
        return b"\n".join((before, payload)) if adds and before else payload


class _Revocations(_Bytes):
    """Does the orders about lists of revoked certificates."""

    word, noun, payload = "crl-file", "CRL file", "CRLs"
    created, changed = "New CRL file created '{}'!\n", "transaction {} for CRL {}!\n"
    words = ("crl-file",)

    def read(self, context: Context) -> Mapping[str, bytes]:
        return context.proxy.trusts.revocations

    def held(self, files: FilesInMemory) -> Mapping[str, bytes]:
        return files.revocations

    def put(self, files: FilesInMemory, key: Any, content: bytes | None) -> FilesInMemory:
        return files.with_revocations(key, content)

    def loaded(self, said: str, payload: bytes, before: bytes, adds: bool) -> bytes:
        try:
            revoked_in(said, payload)
        except TLSConfigurationError:
            raise Refusal("Invalid payload") from None
        return payload


AUTHORITIES = _Authorities()
REVOCATIONS = _Revocations()


def show_ssl_ca_file(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `show ssl ca-file [[*]<cafile>[:<index>]]`."""
    if not words:
        ongoing = AUTHORITIES.ongoing(context)
        if ongoing is not None:
            yield f"# transaction\n*{ongoing.name} - {len(_certificates(ongoing.content))} certificate(s)\n"
        yield "# filename\n"
        for each in AUTHORITIES.known(context).values():
            yield f"{each.name} - {len(_certificates(each.content))} certificate(s)\n"
        return
    asked, index = _asked(words[0], "CA")
    title, content = _details(AUTHORITIES, context, asked, "Can't display the CA file : Not found!")
    certificates = _certificates(content)
    if index > len(certificates):
        return
    yield title
    for number, certificate in enumerate(certificates, 1):
        if index in (0, number):
            yield f" \nCertificate #{number}:\n{described(certificate)}"


def show_ssl_crl_file(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `show ssl crl-file [[*]<crlfile>[:<index>]]`."""
    if not words:
        ongoing = REVOCATIONS.ongoing(context)
        if ongoing is not None:
            yield f"# transaction\n*{ongoing.name}\n"
        yield "# filename\n" + "".join(f"{name}\n" for name in REVOCATIONS.known(context))
        return
    asked, index = _asked(words[0], "CRL")
    title, content = _details(REVOCATIONS, context, asked, "Can't display the CRL file : Not found!")
    yield title
    for number, block in enumerate(blocks_of_lists(content), 1):
        if index in (0, number):
            yield f" \nCertificate Revocation List #{number}:\n"
            pieces: list[bytes] = []
            for piece in decoded(content, block):
                pieces.append(piece)
                yield ""  # a list may have megabytes
            try:
                yield from _revocations(b"".join(pieces))
            except ValueError as error:  # OpenSSL takes lists by which it will trust nobody
                yield f"It cannot be shown: {error}\n"


def _details(kind: Kind[bytes], context: Context, asked: str, unknown: str) -> tuple[str, bytes]:
    """Returns the first lines about a file, or one that is not committed, and its content. Raises Refusal."""
    name, is_set = unescaped(asked)
    ongoing, known = kind.ongoing(context), kind.known(context).get(name)
    if is_set and ongoing is not None and ongoing.name == name:
        return f"Filename: *{name}\nStatus: {'Uncommitted' if ongoing.content else 'Empty'}\n", ongoing.content
    if is_set or known is None:
        raise Refusal(unknown)
    return f"Filename: {name}\nStatus: {known.status}\n", known.content


def unescaped(asked: str) -> tuple[str, bool]:
    """Returns the name that was asked for, and whether it is that of a transaction: behind a "*", unless a backslash
    stands before that."""
    name = asked.removeprefix("*")
    return name.removeprefix("\\"), name != asked


def _asked(word: str, what: str) -> tuple[str, int]:
    """Returns the file and the index that a word asks for, 0 where it asks for all. Raises Refusal."""
    name, colon, index = word.rpartition(":")
    if not colon:
        return word, 0
    if not (index.isascii() and index.isdigit() and int(index[:9])):
        raise Refusal(f"wrong {what} index after colons in '{word}'!", "")
    return name, int(index[:9])


def _certificates(content: bytes) -> list[x509.Certificate]:
    """Returns the certificates, each once, as OpenSSL trusts them."""
    return [*dict.fromkeys(certificates_in(content))]


def described(certificate: x509.Certificate) -> str:
    """Returns the lines that tell of a certificate, as far as they can be read."""
    try:
        return _described(certificate)
    except ValueError as error:
        return f"It cannot be shown: {error}\n"


def _described(certificate: x509.Certificate) -> str:
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
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return ""
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


def _revocations(der: bytes) -> Iterator[str]:
    parts = whole_parts_in(der)
    found = x509.load_der_x509_crl(without_entries(der, parts))
    yield (
        f"Version 2\nSignature Algorithm: {found.signature_algorithm_oid._name}\nIssuer: {one_line(found.issuer)}\n"
        f"Last Update: {_date(found.last_update_utc)}\n"
        f"Next Update: {'NONE' if found.next_update_utc is None else _date(found.next_update_utc)}\n"
    )
    some, is_empty = ["Revoked Certificates:\n"], True
    for serial, since in entries_in(der, parts):
        some.append(f"    Serial Number: {_serial(serial)}\n        Revocation Date: {_date(since)}\n")
        is_empty = False
        if len(some) >= AT_ONCE:
            yield "".join(some)
            some.clear()
    yield "No Revoked Certificates.\n" if is_empty else "".join(some)
