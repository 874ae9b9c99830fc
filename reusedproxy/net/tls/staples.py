"""Judges the OCSP answer that a server staples to its handshake: whether its CA vouches for its certificate (RFC 6960;
RFC 6066 section 8).

It is pure: certificates, the answer and the time of day are given to it. Nobody is asked anything: what a server does
not hand over is not there. It must never know connections.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from reusedproxy.net.tls.words import UNREADABLE, name_of

#: Seconds by which the clocks of a responder and of this machine may differ, as for `openssl ocsp`.
SKEW = 300.0
#: Seconds for which an answer holds that does not say until when (RFC 6960 section 4.2.2.1: newer ones are there at any
#: time).
WITHOUT_END = 86400.0
#: The object identifier of the extension TLS Feature (RFC 7633 section 6), 1.3.6.1.5.5.7.1.24, in DER.
_TLS_FEATURE = bytes((6, 8, 0x2B, 6, 1, 5, 5, 7, 1, 24))


@frozen
class Judged:
    """Holds what is known after a handshake: `fault` is why the certificate is refused, in words ("": it is not), and
    `until` the time until which its CA vouches for it (Unix time); None where no answer says so."""

    fault: str = ""
    until: float | None = None


class _Unfit(Exception):
    """Says why an answer does not vouch for the certificate."""


def judge(answer: bytes, chain: Sequence[x509.Certificate], *, demanded: bool, now: float) -> Judged:
    """Judges an answer in DER, b"" for none, at the time `now` (Unix time).

    `chain` is the verified one, the server's own certificate first. What an answer says counts only if it is `good`, in
    time and signed by the issuer or for it. Where the responder had no answer (`tryLater`, which some servers staple by
    themselves) it is as if there was none. That is a fault only where one is demanded, by the configuration or by the
    certificate itself (RFC 7633).
    """
    own, issuer = chain[0], chain[1] if len(chain) > 1 else chain[0]
    try:
        until = _vouched_until(answer, own, issuer, now) if answer else None
    except _Unfit as unfit:
        return Judged(f"the stapled OCSP answer {unfit} ({name_of(own.subject)}, issued by {name_of(issuer.subject)})")
    except (UnsupportedAlgorithm, TypeError, *UNREADABLE):
        return Judged(f"the stapled OCSP answer cannot be read ({name_of(own.subject)})")
    if until is not None:
        return Judged(until=until)
    came = "the stapled OCSP answer says only that the responder has none" if answer else "no OCSP answer is stapled"
    if demanded:
        return Judged(f"{came}, and 'ocsp-verify required' demands one ({name_of(own.subject)})")
    if _must_staple(own):
        return Judged(f"{came}, and the certificate itself demands one (must-staple, RFC 7633; {name_of(own.subject)})")
    return Judged()


def may_demand(certificate: bytes) -> bool:
    """Tells whether a certificate in DER may demand a staple. It does not where the number of the extension is nowhere
    in it, which takes a microsecond to see."""
    return _TLS_FEATURE in certificate


def _vouched_until(answer: bytes, own: x509.Certificate, issuer: x509.Certificate, now: float) -> float | None:
    """Returns the time until which an answer vouches for a certificate; None where it tells that there is none. Raises
    _Unfit, and the errors of what cannot be read."""
    response = ocsp.load_der_ocsp_response(answer)
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        return None
    said = next((each for each in response.responses if _is_about(each, own, issuer)), None)
    if said is None:
        raise _Unfit("is about another certificate")
    if not _is_signed(response, issuer, now):
        raise _Unfit("is signed neither by the issuer of the certificate nor by a responder of that issuer's")
    begin, end = said.this_update_utc, said.next_update_utc
    until = begin.timestamp() + WITHOUT_END if end is None else end.timestamp()
    if begin.timestamp() > now + SKEW:
        raise _Unfit(f"is of a time to come, {_date(begin)}")
    if until < now - SKEW:
        raise _Unfit(f"is out of date since {_date(datetime.fromtimestamp(until, timezone.utc))}")
    if said.certificate_status is ocsp.OCSPCertStatus.REVOKED:
        moment = said.revocation_time_utc
        why = f" ({said.revocation_reason.value})" if said.revocation_reason is not None else ""
        raise _Unfit(f"says that the certificate is revoked{'' if moment is None else f' since {_date(moment)}'}{why}")
    if said.certificate_status is not ocsp.OCSPCertStatus.GOOD:
        raise _Unfit("says that the responder does not know the certificate")
    return until


def _is_about(said: ocsp.OCSPSingleResponse, own: x509.Certificate, issuer: x509.Certificate) -> bool:
    if said.serial_number != own.serial_number:
        return False
    asked = ocsp.OCSPRequestBuilder().add_certificate(own, issuer, said.hash_algorithm).build()
    return (said.issuer_name_hash, said.issuer_key_hash) == (asked.issuer_name_hash, asked.issuer_key_hash)


def _is_signed(response: ocsp.OCSPResponse, issuer: x509.Certificate, now: float) -> bool:
    """Tells whether the issuer has signed an answer, or a responder to which it has given that right."""
    return any(
        _is_responder(response, each)
        and (each == issuer or _may_answer(each, issuer, now))
        and _has_signed(each, response)
        for each in (issuer, *response.certificates)
    )


def _is_responder(response: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    if response.responder_name is not None:
        return response.responder_name == certificate.subject
    # The SHA-1 of the key, as this extension has it, too.
    return response.responder_key_hash == x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest


def _may_answer(responder: x509.Certificate, issuer: x509.Certificate, now: float) -> bool:
    """Tells whether the issuer itself has certified a responder as such (RFC 6960 section 4.2.2.2), for now.

    Whether the responder's certificate is revoked is not looked up: CAs make them for days, and mark them so
    (id-pkix-ocsp-nocheck).
    """
    try:
        responder.verify_directly_issued_by(issuer)
        uses = responder.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (InvalidSignature, x509.ExtensionNotFound, UnsupportedAlgorithm, TypeError, *UNREADABLE):
        return False
    begin, end = responder.not_valid_before_utc.timestamp(), responder.not_valid_after_utc.timestamp()
    return ExtendedKeyUsageOID.OCSP_SIGNING in uses and begin <= now + SKEW and now - SKEW <= end


def _has_signed(signer: x509.Certificate, response: ocsp.OCSPResponse) -> bool:
    key, algorithm = signer.public_key(), response.signature_hash_algorithm
    signature, signed = response.signature, response.tbs_response_bytes
    try:
        if isinstance(key, rsa.RSAPublicKey) and algorithm is not None:
            key.verify(signature, signed, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm is not None:
            key.verify(signature, signed, ec.ECDSA(algorithm))
        elif isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
            key.verify(signature, signed)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _must_staple(certificate: x509.Certificate) -> bool:
    try:
        features = certificate.extensions.get_extension_for_class(x509.TLSFeature).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return False
    return x509.TLSFeatureType.status_request in features


def _date(moment: datetime) -> str:
    return f"{moment:%d %b %Y %H:%M} UTC"
