"""Failed handshakes with clients in words: what OpenSSL says, what was expected and what came, which file is concerned.

Pure, but for the names of ciphers, which OpenSSL knows. It must never know a socket or a log.
"""

from __future__ import annotations

from reusedproxy.net.openssl_server import suite_names
from reusedproxy.net.tls_files import SYSTEM_CA
from reusedproxy.net.tls_server import ServerContext, Shown

#: The alert for a name that is not served: fatal, 112 (RFC 6066 section 3), for clients of any version.
UNRECOGNIZED_NAME = b"\x15\x03\x01\x00\x02\x02\x70"

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
#: Alerts by which a client says that it does not like our certificate.
_OUR_CERTIFICATE = (42, 43, 44, 45, 46, 48, 51)
#: Errors of verification that are about who issued a certificate.
_ISSUER = (2, 18, 19, 20, 21, 27)


def explain(reason: str, shown: Shown, context: ServerContext) -> str:
    """`reason` in OpenSSL's words, and what it means here; at the end the alert that was sent or received."""
    text = _meaning(reason, shown, context)
    if shown.alert is not None:
        sent, number = shown.alert
        text += f"; alert {ALERTS.get(number, number)} {'sent' if sent else 'received'}"
    return text


def _meaning(reason: str, shown: Shown, context: ServerContext) -> str:
    offer, hello = context.offer, shown.hello
    if shown.refused is not None:
        fault = shown.refused
        by = f"; it was issued by {shown.issuer}" if fault.error in _ISSUER else ""
        return f"client certificate refused: {fault}{by}; {_trusted(context)}"
    if "did not return a certificate" in reason:
        return f"the client showed no certificate, which 'verify required' demands ({_trusted(context)})"
    if "unsupported protocol" in reason or "protocol version" in reason or "version too" in reason:
        served = f"{offer.min_version} to {offer.max_version}"
        if offer.min_version == offer.max_version:
            served = offer.min_version
        return (
            f"{reason}: the client offers {hello.version_name} at most, served is {served} (ssl-min-ver, ssl-max-ver)"
        )
    if "no shared cipher" in reason:
        offered = ", ".join(suite_names(hello.suites)) or "none that OpenSSL knows"
        ours = f"ciphers {offer.ciphers}, " if offer.ciphers else ""
        return f"{reason}: the client offers {offered}; served are {ours}those for crt {context.crt}, a key of {_kind(context)}"
    if "no suitable signature" in reason or "no suitable key share" in reason or "no shared group" in reason:
        return (
            f"{reason} (crt {context.crt}, a key of {_kind(context)}; curves {offer.curves or 'as OpenSSL has them'})"
        )
    if shown.alert is not None and not shown.alert[0] and shown.alert[1] in _OUR_CERTIFICATE:
        return f"{reason}: the client does not accept our certificate (crt {context.crt})"
    return reason


def _kind(context: ServerContext) -> str:
    return {"rsa": "RSA", "ecdsa": "ECDSA"}.get(context.kind, "another kind")


def _trusted(context: ServerContext) -> str:
    offer = context.offer
    files = [f"ca-file {offer.ca_file or SYSTEM_CA}"] if offer.ca_file or not offer.ca_verify_file else []
    files += [f"ca-verify-file {offer.ca_verify_file}"] if offer.ca_verify_file else []
    files += [f"crl-file {offer.crl_file}"] if offer.crl_file else []
    return f"trusted are those of {', '.join(files)}"
