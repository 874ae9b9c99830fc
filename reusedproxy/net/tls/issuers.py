"""Completes the chains of certificates whose files have none, from the files of a directory (`issuers-chain-path`).

Each of these files has the certificate of an issuer, and perhaps those above it. What completes a chain has signed the
certificate: nothing else is shown with it. It must never know who shows a certificate.
"""

from __future__ import annotations

import os
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

from reusedproxy.net.slices import Steps
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
    """Holds one file: the issuer that comes first, all of the file's certificates in PEM, and a number that tells these
    from others."""

    path: str
    issuer: Certificate
    content: bytes
    digest: int


@frozen
class Issuers:
    """Holds the chains of a directory by the identifiers of their issuers' keys; and, by path, what is wrong with the
    files that are left out because they are `unusable`, or because another one of the same issuer counts."""

    chains: Mapping[bytes, tuple[Chain, ...]] = Factory(dict)
    unusable: Mapping[str, str] = Factory(dict)
    doubles: Mapping[str, str] = Factory(dict)

    @property
    def paths(self) -> set[str]:
        """Returns the files that complete chains."""
        return {chain.path for chains in self.chains.values() for chain in chains}

    @property
    def left_out(self) -> list[str]:
        """Returns what is wrong with the others."""
        return [*self.unusable.values(), *self.doubles.values()]

    def completed(self, certificate: CertificateFile) -> CertificateFile:
        """Returns the certificate with the chain of its issuer, if its own file has none."""
        chain = self.chain_for(certificate.content)
        return certificate if chain is None else evolve(certificate, chain=chain.content)

    def chain_for(self, content: bytes) -> Chain | None:
        """Returns what completes the chain of a certificate whose file has this content; None: nothing does."""
        found = certificates_in(content) if self.chains else []
        if len(found) != 1:
            return None
        (leaf,) = found
        return next((each for each in self.chains.get(_key_above(leaf), ()) if _has_issued(each.issuer, leaf)), None)


NO_ISSUERS = Issuers()
#: What the library says of an extension that is not there, or that it cannot read.
_UNREADABLE = (DuplicateExtension, ExtensionNotFound, UnsupportedGeneralNameType, ValueError)


def reading_issuers(files: Iterable[str]) -> Steps[Issuers]:
    """Reads the files of a directory, in steps. As in HAProxy, the others count where one cannot be used."""
    chains: dict[bytes, tuple[Chain, ...]] = {}
    unusable, doubles = {}, {}
    for path in files:
        yield
        if os.path.isdir(path):
            continue
        try:
            chain, key = _read(path)
        except TLSConfigurationError as error:
            unusable[path] = str(error)
            continue
        others = chains.get(key, ())
        twin = next((each for each in others if each.issuer.subject == chain.issuer.subject), None)
        if twin is None:
            chains[key] = (*others, chain)
        else:
            doubles[path] = f"issuers-chain-path {path}: has the same issuer as {twin.path}, which counts"
    return Issuers(chains, unusable, doubles)


def _read(path: str) -> tuple[Chain, bytes]:
    what = f"issuers-chain-path {path}"
    content = content_of(what, path, LARGEST_CERTIFICATE)
    chain = chain_in(what, content)
    issuer = readable_certificates_in(what, content)[0]
    key = _key_of(issuer)
    if not key:
        raise TLSConfigurationError(f"{what}: the first certificate has no identifier of its key, by which it is found")
    return Chain(path, issuer, chain, int.from_bytes(sha256(chain).digest(), "big")), key


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
