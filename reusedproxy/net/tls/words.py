"""What TLS says, in words that both sides share: alerts, what is wrong with a certificate, whom we trust.

Pure, and careful: names come from whoever made the certificate, who may have put line ends into them, or pages of text, or
what cannot be decoded. It must never know which side speaks, nor a socket or a log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import crypto

#: Characters of a name, or of several, that a message has at most.
LONGEST_NAME = 200
#: Names that are said of several.
NAMES_SAID = 4

#: RFC 8446 section 6 and RFC 5246 section 7.2.
ALERTS = {
    0: "close notify",
    10: "unexpected message",
    20: "bad record mac",
    22: "record overflow",
    40: "handshake failure",
    42: "bad certificate",
    43: "unsupported certificate",
    44: "certificate revoked",
    45: "certificate expired",
    46: "certificate unknown",
    47: "illegal parameter",
    48: "unknown ca",
    49: "access denied",
    50: "decode error",
    51: "decrypt error",
    70: "protocol version",
    71: "insufficient security",
    80: "internal error",
    86: "inappropriate fallback",
    90: "user canceled",
    100: "no renegotiation",
    109: "missing extension",
    110: "unsupported extension",
    112: "unrecognized name",
    113: "bad certificate status response",
    115: "unknown psk identity",
    116: "certificate required",
    120: "no application protocol",
}
#: Errors of verification that are about dates.
_DATES = (9, 10)

_openssl: Any = Binding().lib
_foreign: Any = Binding().ffi


#: What cryptography raises of certificates that OpenSSL reads.
UNREADABLE = (ValueError, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType)


def alert_words(alert: tuple[bool, int] | None) -> str:
    """What ends a message about a handshake: the alert, as (whether we sent it, its number), if there was one."""
    if alert is None:
        return ""
    sent, number = alert
    return f"; alert {ALERTS.get(number, number)} {'sent' if sent else 'received'}"


@frozen
class VerifyFault:
    """What OpenSSL disliked about a certificate: X509_V_ERR number, place in the chain (0: the peer's own), what it is."""

    error: int
    depth: int
    certificate: str

    @classmethod
    def of(cls, error: int, depth: int, shown: crypto.X509) -> VerifyFault:
        """OpenSSL takes certificates that cryptography cannot read: then that is what is said of it."""
        try:
            certificate = shown.to_cryptography()
            return cls(error, depth, certificate_words(certificate, names=not depth, dates=error in _DATES))
        except UNREADABLE:
            return cls(error, depth, "which cannot be read")

    def __str__(self) -> str:
        return f"{verify_words(self.error)} (certificate {self.depth} of the chain, {self.certificate})"


def certificate_words(certificate: x509.Certificate, *, names: bool = True, dates: bool = False) -> str:
    """Subject, names if it carries any, issuer and, if they matter, its dates."""
    text = name_of(certificate.subject)
    if names and (carried := names_in(certificate)):
        text += f", for {carried}"
    text += f", issued by {name_of(certificate.issuer)}"
    if dates:
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        text += f", valid from {begin:%d %b %Y %H:%M} to {end:%d %b %Y %H:%M} UTC"
    return text


def name_of(subject: x509.Name) -> str:
    """A certificate's subject or issuer."""
    return printable(subject.rfc4514_string()) or "an empty name"


def names_in(certificate: x509.Certificate) -> str:
    """The alternative names that a certificate carries, "" without any."""
    try:
        carried = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    except UNREADABLE:
        return "names that cannot be read"
    return several([str(getattr(each, "value", each)) for each in carried], ", ")


def several(texts: Sequence[str], between: str) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(texts) - NAMES_SAID} more" if len(texts) > NAMES_SAID else ""
    return printable(between.join(texts[:NAMES_SAID])) + more


def printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text[:LONGEST_NAME])


def subjects_of(certificates: Iterable[x509.Certificate]) -> str:
    """Of CAs that are trusted."""
    return several([name_of(each.subject) for each in certificates], " / ")


def verify_words(error: int) -> str:
    """OpenSSL's words for an X509_V_ERR number."""
    words: bytes = _foreign.string(_openssl.X509_verify_cert_error_string(error))
    return words.decode("ascii", "replace")
