"""Completes the chains of certificates whose files have none, from the files of a directory (`issuers-chain-path`).

Each of these files has the certificate of an issuer, and perhaps those above it. What completes a chain has signed the
certificate: nothing else is shown with it. It must never know who shows a certificate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256

from attrs import Factory, evolve, frozen
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509 import (
    AuthorityKeyIdentifier,
    Certificate,
    DuplicateExtension,
    ExtensionNotFound,
    SubjectKeyIdentifier,
    UnsupportedGeneralNameType,
)

from reusedproxy.net.tls.files import (
    LARGEST_CERTIFICATE,
    CertificateFile,
    TLSConfigurationError,
    certificates_in,
    chain_in,
    content_of,
    readable_certificates_in,
)


@frozen
class Chain:
    """Holds one file: the issuer that comes first, and all of the file's certificates in PEM."""

    path: str
    issuer: Certificate
    content: bytes


@frozen
class Issuers:
    """Holds the chains of a directory by the identifiers of their issuers' keys, and what tells one content of it from
    another, in the shape of a file's stamp."""

    chains: Mapping[bytes, tuple[Chain, ...]] = Factory(dict)
    stamps: tuple[tuple[str, int, int, int, int], ...] = ()

    def completed(self, certificate: CertificateFile) -> CertificateFile:
        """Returns the certificate with the chain of its issuer, if its own file has none."""
        if self.chains and len(certificates_in(certificate.content)) == 1:
            for chain in self.chains.get(_key_above(certificate.leaf), ()):
                if _has_issued(chain.issuer, certificate.leaf):
                    return evolve(certificate, chain=chain.content)
        return certificate


NO_ISSUERS = Issuers()
#: What the library says of an extension that is not there, or that it cannot read.
_UNREADABLE = (DuplicateExtension, ExtensionNotFound, UnsupportedGeneralNameType, ValueError)


def read_issuers(directory: str, files: Iterable[str], faults: list[str]) -> Issuers:
    """Reads the files of a directory. Adds to `faults` what is wrong with those that are left out; as in HAProxy the
    others count."""
    found: dict[bytes, tuple[Chain, ...]] = {}
    digest, size = sha256(), 0
    for path in files:
        try:
            chain, key = _read(path)
        except TLSConfigurationError as error:
            faults += error.args
            continue
        others = found.get(key, ())
        twin = next((each for each in others if each.issuer.subject == chain.issuer.subject), None)
        if twin is not None:
            faults.append(f"issuers-chain-path {path}: has the same issuer as {twin.path}, which counts")
            continue
        found[key] = (*others, chain)
        digest.update(chain.content)
        size += len(chain.content)
    return Issuers(found, ((directory, int.from_bytes(digest.digest(), "big"), 0, size, 0),))


def _read(path: str) -> tuple[Chain, bytes]:
    what = f"issuers-chain-path {path}"
    content = content_of(what, path, LARGEST_CERTIFICATE)
    issuer = readable_certificates_in(what, content)[0]
    key = _key_of(issuer)
    if not key:
        raise TLSConfigurationError(f"{what}: the first certificate has no identifier of its key, by which it is found")
    return Chain(path, issuer, chain_in(what, content)), key


def _key_of(issuer: Certificate) -> bytes:
    try:
        return issuer.extensions.get_extension_for_class(SubjectKeyIdentifier).value.digest
    except _UNREADABLE:
        return b""


def _key_above(leaf: Certificate) -> bytes:
    """Returns the identifier of the key that has signed a certificate, as that says; b"" where it does not."""
    try:
        return leaf.extensions.get_extension_for_class(AuthorityKeyIdentifier).value.key_identifier or b""
    except _UNREADABLE:
        return b""


def _has_issued(issuer: Certificate, leaf: Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
