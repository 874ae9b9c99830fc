"""Checks lists of revoked certificates that were fetched from a URL, before they take the place of others.

Whoever is on the way of plain HTTP may answer with anything: only a list that a trusted CA has signed counts, that is
in time, and that is not older than the one at hand. All of it may be done in a thread: what is long is done in pieces,
or by libraries that let the interpreter go on. Must never know where a list comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from hashlib import new as new_hash

from attrs import evolve, field, frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from reusedproxy.net.threads import in_turns
from reusedproxy.net.tls.crl import (
    BEGINS,
    Parts,
    blocks_of_lists,
    counts_of_entries,
    decoded,
    encoded_block,
    whole_parts_in,
    without_entries,
)
from reusedproxy.net.tls.words import UNREADABLE, name_of

#: Critical extensions of lists that OpenSSL knows, or that are refused by name.
_CRITICAL = (x509.IssuingDistributionPoint.oid, x509.DeltaCRLIndicator.oid, x509.AuthorityKeyIdentifier.oid)
#: Most bytes of a list without its entries, which are decoded at once.
_LARGEST_BARE = 1 << 16


class ListRefused(Exception):
    """Says why a list is not taken."""


@frozen
class List:
    """Holds a list in DER (RFC 5280 section 5), of which nobody has decoded the entries, and its `block` in the PEM
    file where it was found; b"": it was fetched. `bare` is the list without the entries: of that everything is right
    but the signature. `revoked` is how many entries there are, of a list that was checked."""

    der: bytes
    block: bytes | memoryview = field(eq=False)
    parts: Parts = field(eq=False)
    bare: x509.CertificateRevocationList = field(eq=False)
    revoked: int = field(default=0, eq=False)

    def digest(self, algorithm: str) -> bytes:
        """Returns the digest of what is signed, for which hashlib lets the interpreter go on: some 10 to 50 ms for 15
        MB."""
        return new_hash(algorithm, memoryview(self.der)[self.parts.signed.start : self.parts.signed.end]).digest()


def checked_list(content: bytes, authorities: Iterable[x509.Certificate], now: datetime) -> List:
    """Returns the list in DER or PEM (RFC 5280 section 5) that one of these CAs has signed and that is in time `now`.

    Raises ListRefused.
    """
    try:
        found = _list_in(_first_in_pem(content) if BEGINS in content[:4096] else content)
        begin, end = found.bare.last_update_utc, found.bare.next_update_utc
        extensions, issuer = found.bare.extensions, found.bare.issuer
    except UNREADABLE:
        raise ListRefused("it is no list of revoked certificates") from None
    issuers = [each for each in authorities if each.subject == issuer]
    if not issuers:
        raise ListRefused(f"it is of {name_of(issuer)}, whose certificate is not in the 'ca-file': add that there")
    if not _is_signed_by(found, issuers):
        raise ListRefused(f"its signature is not that of {name_of(issuer)}")
    if any(each.oid == x509.DeltaCRLIndicator.oid for each in extensions):
        raise ListRefused("it is a delta list, which says only what has changed")
    unknown = [each.oid for each in extensions if each.critical and each.oid not in _CRITICAL]
    if unknown:
        raise ListRefused(f"it has the critical extension {unknown[0].dotted_string}, which is not known here")
    if end is None or end <= now:
        until = "says no time of the next one" if end is None else f"is out of date since {end:%d %b %Y %H:%M} UTC"
        raise ListRefused(f"it {until}")
    if begin > now:
        raise ListRefused(f"it is of a time to come, {begin:%d %b %Y %H:%M} UTC")
    try:
        return evolve(found, revoked=sum(in_turns(counts_of_entries(found.der, found.parts))))
    except ValueError:
        raise ListRefused("its entries cannot be read") from None


def lists_in(content: bytes) -> list[List]:
    """Returns the lists of a file in PEM; none of one that cannot be read."""
    try:
        return [
            _list_in(_decoded(content, (start, end)), memoryview(content)[start:end])
            for start, end in blocks_of_lists(content)
        ]
    except UNREADABLE:
        return []


def joined(present: Sequence[List], fetched: Sequence[List]) -> bytes:
    """Returns a file in PEM with the newest list of each CA, key and scope. Raises ListRefused where one that was
    fetched is older than the one at hand: somebody may have kept it."""
    newest = {_place(each): each for each in present}
    for each in fetched:
        place = _place(each)
        held = newest.get(place)
        if held is not None and each.digest("sha256") != held.digest("sha256"):  # it may have been signed anew
            _demand_newer(each, held)
        newest[place] = each
    pieces: list[bytes | memoryview] = []
    for each in newest.values():
        pieces += (each.block,) if each.block else in_turns(encoded_block(each.der))
        pieces.append(b"\n")
    return b"".join(pieces)


def _first_in_pem(content: bytes) -> bytes:
    """Returns the first list in PEM as DER. Raises ValueError."""
    for block in blocks_of_lists(content):
        return _decoded(content, block)
    raise ValueError("a list is cut off")


def _decoded(content: bytes, block: tuple[int, int]) -> bytes:
    return b"".join(in_turns(decoded(content, block)))


def _list_in(der: bytes, block: bytes | memoryview = b"") -> List:
    """Takes a list apart. Raises UNREADABLE."""
    parts = whole_parts_in(der)
    bare = without_entries(der, parts)
    if len(bare) > _LARGEST_BARE:
        raise ValueError("there is too much but entries")
    return List(der, block, parts, x509.load_der_x509_crl(bare))


def _demand_newer(fetched: List, held: List) -> None:
    """Raises ListRefused where a list is not newer than the one at hand: by its time, or where that is the same, by its
    number (RFC 5280 section 5.2.3)."""
    if fetched.bare.last_update_utc < held.bare.last_update_utc:
        raise ListRefused(
            f"it is older ({fetched.bare.last_update_utc:%d %b %Y %H:%M} UTC) than the one at hand"
            f" ({held.bare.last_update_utc:%d %b %Y %H:%M} UTC)"
        )
    if fetched.bare.last_update_utc == held.bare.last_update_utc and _number(fetched) <= _number(held):
        raise ListRefused("it is another list of the same time as the one at hand, and its number is no higher")


def _number(each: List) -> int:
    """Returns the CRLNumber of a list, -1 without one."""
    try:
        return each.bare.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (x509.ExtensionNotFound, *UNREADABLE):
        return -1


def _place(each: List) -> tuple[x509.Name, bytes, bytes]:
    """Returns which other lists this one takes the place of: those of the same CA and key, where it says which (a CA
    that has renewed its key goes on with a list for the old one; RFC 5280 section 5.2.1), about the same part of its
    certificates (section 5.2.5)."""
    return (
        each.bare.issuer,
        _extension(each, x509.AuthorityKeyIdentifier),
        _extension(each, x509.IssuingDistributionPoint),
    )


def _extension(each: List, kind: type[x509.AuthorityKeyIdentifier | x509.IssuingDistributionPoint]) -> bytes:
    """Returns the value of an extension of this kind, b"" without one."""
    try:
        return each.bare.extensions.get_extension_for_class(kind).value.public_bytes()
    except (x509.ExtensionNotFound, *UNREADABLE):
        return b""


def _is_signed_by(found: List, issuers: Iterable[x509.Certificate]) -> bool:
    """Tells whether a list was signed with the key of one of these CAs."""
    try:
        algorithm = found.bare.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return False
    digest = b"" if algorithm is None else found.digest(algorithm.name.replace("-", "_"))
    return any(_has_signed(each, found, digest) for each in issuers)


def _has_signed(issuer: x509.Certificate, found: List, digest: bytes) -> bool:
    """Tells whether the CA has signed a list, of which the signed part has this digest.

    cryptography verifies the signature of keys that sign no digest, such as those of EdDSA, with the interpreter held:
    for 15 MB that takes 0.2 s.
    """
    bare = found.bare
    try:
        key, scheme, algorithm = issuer.public_key(), bare.signature_algorithm_parameters, bare.signature_hash_algorithm
        if isinstance(key, rsa.RSAPublicKey):
            if algorithm is None or not isinstance(scheme, (PKCS1v15, PSS)):
                return False
            key.verify(bare.signature, digest, scheme, Prehashed(algorithm))
        elif isinstance(key, ec.EllipticCurvePublicKey):
            if algorithm is None or not isinstance(scheme, ec.ECDSA):
                return False
            key.verify(bare.signature, digest, ec.ECDSA(Prehashed(algorithm)))
        else:
            return x509.load_der_x509_crl(found.der).is_signature_valid(key)  # type: ignore[arg-type]
    except (InvalidSignature, TypeError, ValueError, UnsupportedAlgorithm):
        return False
    return True
