"""Describes failed handshakes with clients in words.

A description has OpenSSL's reason, what was expected and what came, and the file concerned. It is pure, but for the
names of ciphers, which OpenSSL knows. It must never know a socket or a log.
"""

from __future__ import annotations

from reusedproxy.net.tls.openssl_server import suite_names
from reusedproxy.net.tls.server import ServerContext, Shown
from reusedproxy.net.tls.words import alert_words, received_alert, several

#: A fatal alert unrecognized_name (112, RFC 6066 section 3) as a record that clients of any version understand.
UNRECOGNIZED_NAME = b"\x15\x03\x01\x00\x02\x02\x70"

#: Alerts by which a client says that it does not accept our certificate.
_OUR_CERTIFICATE = (42, 43, 44, 45, 46, 48, 51)


def explain(reason: str, shown: Shown, context: ServerContext) -> str:
    """Returns `reason`, which is in OpenSSL's words, with what it means here, and the alert
    that was sent or received."""
    if shown.alert is None and (received := received_alert(reason)) is not None:
        shown.alert = False, received
    return _meaning(reason, shown, context) + alert_words(shown.alert)


def _meaning(reason: str, shown: Shown, context: ServerContext) -> str:
    hello = shown.hello
    if shown.over:
        return f"the client's certificate has expired since the session began that it resumes: {shown.refused}"
    if shown.refused is not None:
        return f"client certificate refused: {shown.refused}; {context.trusted}"
    if "did not return a certificate" in reason:
        return f"the client showed no certificate, which 'verify required' demands ({context.trusted})"
    if "unsupported protocol" in reason or "protocol version" in reason or "version too" in reason:
        return f"{reason}: the client offers {_versions(shown, context)} (ssl-min-ver, ssl-max-ver)"
    if "no shared cipher" in reason:
        offered = several(suite_names(hello.suites), ", ") or "none that OpenSSL knows"
        return f"{reason}: the client offers {offered}; served are {_served(context)}{_other_key(shown, context)}"
    if "no suitable signature" in reason or "no suitable key share" in reason or "no shared group" in reason:
        return f"{reason}: served are {_served(context)}{_other_key(shown, context)}"
    if "record layer failure" in reason:
        return f"{reason}: what the client sent behind its first message cannot be read"
    if shown.alert is not None and not shown.alert[0] and shown.alert[1] in _OUR_CERTIFICATE:
        return f"{reason}: the client does not accept our certificate (crt {context.crt})"
    return reason


def _versions(shown: Shown, context: ServerContext) -> str:
    offer, highest = context.offer, shown.hello.version_name
    served = " to ".join(dict.fromkeys((offer.min_version, offer.max_version)))
    if highest > offer.max_version:
        return f"{highest}, but not what is served: {served}"
    return f"{highest} at most, served is {served}"


def _served(context: ServerContext) -> str:
    """Returns in words what is served: ciphers and curves, of the configuration or by default, and the certificate."""
    offer = context.offer
    said = (("ciphers", offer.ciphers), ("ciphersuites", offer.ciphersuites), ("curves", offer.curves))
    words = [f"{word} {value}" for word, value in (*said, ("sigalgs", offer.sigalgs)) if value is not None]
    return f"{', '.join(words) or 'the default ciphers and curves'}, for crt {context.crt}, a key of {_kind(context)}"


def _other_key(shown: Shown, context: ServerContext) -> str:
    takes = {"rsa": shown.hello.rsa, "ecdsa": shown.hello.ecdsa}.get(context.kind, True)
    return "" if takes else ", which the client does not take"


def _kind(context: ServerContext) -> str:
    return {"rsa": "RSA", "ecdsa": "ECDSA"}.get(context.kind, "another kind")
