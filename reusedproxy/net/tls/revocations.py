"""Checks lists of revoked certificates that were fetched from a URL, before they take the place of others.

Whoever is on the way of plain HTTP may answer with anything: only a list that a trusted CA has signed counts, that is
in time, and that is not older than the one at hand. Pure; it must never know where a list comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from reusedproxy.net.tls.words import UNREADABLE, name_of

_PEM = b"-----BEGIN X509 CRL-----"
#: Critical extensions of lists that OpenSSL knows, or that are refused by name.
_CRITICAL = (x509.IssuingDistributionPoint.oid, x509.DeltaCRLIndicator.oid, x509.AuthorityKeyIdentifier.oid)
List = x509.CertificateRevocationList


class ListRefused(Exception):
    """Says why a list is not taken."""


def checked_list(content: bytes, authorities: Iterable[x509.Certificate], now: datetime) -> List:
    """Returns the list in DER or PEM (RFC 5280 section 5) that one of these CAs has signed and that is in time `now`.

    Raises ListRefused.
    """
    try:
        found = x509.load_pem_x509_crl(content) if _PEM in content[:4096] else x509.load_der_x509_crl(content)
        begin, end = found.last_update_utc, found.next_update_utc
        partial = any(each.oid == x509.DeltaCRLIndicator.oid for each in found.extensions)
        unknown = [each.oid for each in found.extensions if each.critical and each.oid not in _CRITICAL]
    except UNREADABLE:
        raise ListRefused("it is no list of revoked certificates") from None
    issuers = [each for each in authorities if each.subject == found.issuer]
    if not issuers:
        raise ListRefused(
            f"it is of {name_of(found.issuer)}, whose certificate is not in the 'ca-file': add that there"
        )
    if not any(_has_signed(each, found) for each in issuers):
        raise ListRefused(f"its signature is not that of {name_of(found.issuer)}")
    if partial:
        raise ListRefused("it is a delta list, which says only what has changed")
    if unknown:
        raise ListRefused(f"it has the critical extension {unknown[0].dotted_string}, which is not known here")
    if end is None or end <= now:
        until = "says no time of the next one" if end is None else f"is out of date since {end:%d %b %Y %H:%M} UTC"
        raise ListRefused(f"it {until}")
    if begin > now:
        raise ListRefused(f"it is of a time to come, {begin:%d %b %Y %H:%M} UTC")
    return found


def lists_in(content: bytes) -> list[List]:
    """Returns the lists of a file in PEM; none of one that cannot be read."""
    try:
        return [x509.load_pem_x509_crl(_PEM + block) for block in content.split(_PEM)[1:]]
    except UNREADABLE:
        return []


def joined(present: Sequence[List], fetched: Sequence[List]) -> bytes:
    """Returns a file in PEM with the newest list of each CA, key and scope. Raises ListRefused where one that was
    fetched is older than the one at hand: somebody may have kept it."""
    newest = {_place(each): each for each in present}
    for each in fetched:
        place = _place(each)
        held = newest.get(place)
        if held is not None and each.tbs_certlist_bytes != held.tbs_certlist_bytes:  # it may have been signed anew
            _demand_newer(each, held)
        newest[place] = each
    return b"".join(each.public_bytes(Encoding.PEM) for each in newest.values())


def _demand_newer(fetched: List, held: List) -> None:
    """Raises ListRefused where a list is not newer than the one at hand: by its time, or where that is the same, by its
    number (RFC 5280 section 5.2.3)."""
    if fetched.last_update_utc < held.last_update_utc:
        raise ListRefused(
            f"it is older ({fetched.last_update_utc:%d %b %Y %H:%M} UTC) than the one at hand"
            f" ({held.last_update_utc:%d %b %Y %H:%M} UTC)"
        )
    if fetched.last_update_utc == held.last_update_utc and _number(fetched) <= _number(held):
        raise ListRefused("it is another list of the same time as the one at hand, and its number is no higher")


def _number(each: List) -> int:
    """Returns the CRLNumber of a list, -1 without one."""
    try:
        return each.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (x509.ExtensionNotFound, *UNREADABLE):
        return -1


def _place(each: List) -> tuple[x509.Name, bytes, bytes]:
    """Returns which other lists this one takes the place of: those of the same CA and key, where it says which (a CA
    that has renewed its key goes on with a list for the old one; RFC 5280 section 5.2.1), about the same part of its
    certificates (section 5.2.5)."""
    return (
        each.issuer,
        _extension(each, x509.AuthorityKeyIdentifier),
        _extension(each, x509.IssuingDistributionPoint),
    )


def _extension(each: List, kind: type[x509.AuthorityKeyIdentifier | x509.IssuingDistributionPoint]) -> bytes:
    """Returns the value of an extension of this kind, b"" without one."""
    try:
        return each.extensions.get_extension_for_class(kind).value.public_bytes()
    except (x509.ExtensionNotFound, *UNREADABLE):
        return b""


def _has_signed(issuer: x509.Certificate, found: List) -> bool:
    try:
        return found.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False
