"""Puts TLS events in words for both sides: alerts, faults of certificates, trusted CAs.

It is pure, and careful with names. They come from whoever made the certificate and may hold line ends, pages of text,
or bytes that cannot be decoded. It must never know which side speaks, nor a socket or a log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import crypto

#: The most characters of one name, or of several together, in a message.
LONGEST_NAME = 200
#: How many names of a list are given in a message.
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
# What a handshake that failed had found of the server's certificate: it was not shown, or nothing is asked of it; it
# was accepted; it has other names; its chain, its key or its OCSP answer is not accepted.
UNSEEN, ACCEPTED, MISNAMED, MISTRUSTED = "", "accepted", "misnamed", "mistrusted"
#: X509_V_ERR numbers of errors that are about dates.
_DATES = (9, 10)

_openssl: Any = Binding().lib
_foreign: Any = Binding().ffi


#: Exceptions of cryptography for certificates that OpenSSL accepts.
UNREADABLE = (ValueError, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType)


def alert_words(alert: tuple[bool, int] | None) -> str:
    """Returns the end of a message about a handshake: its alert in words; "" without one.

    `alert` is (whether we sent it, its number).
    """
    if alert is None:
        return ""
    sent, number = alert
    return f"; alert {ALERTS.get(number, number)} {'sent' if sent else 'received'}"


#: OpenSSL's words for a received alert, for instance "tlsv1 alert unknown ca"; some have no "alert" in them.
_RECEIVED = re.compile(rf"(?:alert |tlsv1 )({'|'.join(ALERTS.values())})$")
_NUMBERS = {words: number for number, words in ALERTS.items()}


def received_alert(reason: str) -> int | None:
    """Returns the number of the alert that a reason in OpenSSL's words says was received; None: it says none."""
    received = _RECEIVED.search(reason)
    return None if received is None else _NUMBERS[received[1]]


class CertificateRefused(str):
    """Says why a connection ended: the server refused our certificate after the handshake was complete for us.

    This happens only in TLS 1.3, and only an alert of the server says it (RFC 8446 sections 4.4.2.4 and 6.2): the
    server has read nothing of what was sent. Any other failure is a plain string, and the server may have read
    everything.
    """


@frozen
class VerifyFault:
    """Describes what OpenSSL found wrong with a certificate.

    `error` is the X509_V_ERR number, `depth` the place in the chain (0: the peer's own), `certificate` the certificate
    in words.
    """

    error: int
    depth: int
    certificate: str

    @classmethod
    def of(cls, error: int, depth: int, shown: crypto.X509) -> VerifyFault:
        """Makes the description."""
        return cls(error, depth, words_of(shown, names=not depth, dates=error in _DATES))

    def __str__(self) -> str:
        return f"{verify_words(self.error)} (certificate {self.depth} of the chain, {self.certificate})"


def words_of(shown: crypto.X509, *, names: bool = True, dates: bool = False) -> str:
    """Returns the words of `certificate_words` for a certificate that cryptography may be unable to read, though
    OpenSSL has accepted it."""
    try:
        return certificate_words(shown.to_cryptography(), names=names, dates=dates)
    except UNREADABLE:
        return "which cannot be read"


def certificate_words(certificate: x509.Certificate, *, names: bool = True, dates: bool = False) -> str:
    """Returns subject, alternative names if it carries any, issuer and, with `dates`, the period of validity."""
    text = name_of(certificate.subject)
    if names and (carried := names_in(certificate)):
        text += f", for {carried}"
    text += f", issued by {name_of(certificate.issuer)}"
    if dates:
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        text += f", valid from {begin:%d %b %Y %H:%M} to {end:%d %b %Y %H:%M} UTC"
    return text


def name_of(subject: x509.Name) -> str:
    """Returns a certificate's subject or issuer as printable text."""
    return printable(subject.rfc4514_string()) or "an empty name"


def names_in(certificate: x509.Certificate) -> str:
    """Returns the alternative names that a certificate carries; "" without any."""
    try:
        carried = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    except UNREADABLE:
        return "names that cannot be read"
    return several([str(getattr(each, "value", each)) for each in carried], ", ")


def several(texts: Sequence[str], between: str) -> str:
    """Joins the first NAMES_SAID texts and says how many more there are."""
    more = f" and {len(texts) - NAMES_SAID} more" if len(texts) > NAMES_SAID else ""
    return printable(between.join(texts[:NAMES_SAID])) + more


def printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text[:LONGEST_NAME])


def subjects_of(certificates: Iterable[x509.Certificate]) -> str:
    """Returns the subjects of trusted CAs."""
    return several([name_of(each.subject) for each in certificates], " / ")


def verify_words(error: int) -> str:
    """Returns OpenSSL's words for an X509_V_ERR number."""
    words: bytes = _foreign.string(_openssl.X509_verify_cert_error_string(error))
    return words.decode("ascii", "replace")
