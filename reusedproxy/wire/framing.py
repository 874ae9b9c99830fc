"""Interprets the few notable fields: the body's length, whether the connection persists, and which host is asked for.

It reads field values and never lines; it knows no transport and no policy. Each function raises the fault class that it
is given, because most rules are the same for requests and responses.
"""

import re
from typing import Final

from reusedproxy.wire.faults import Fault, RequestFault
from reusedproxy.wire.grammar import CONTENT_LENGTH, HOST, HOST_FIELD, OWS, TOKEN, TRANSFER_ENCODING

CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2

Notables = list[bytes | None]

_MAX_LENGTH: Final = 2**63 - 1
_ABSOLUTE: Final = re.compile(rb"([Hh][Tt][Tt][Pp][Ss]?)://([^/?]*)")
_PORT: Final = re.compile(rb":[0-9]+\Z")
_WELL_KNOWN_PORT: Final = re.compile(rb":(?:80|443)\Z")
_DEFAULT_PORTS: Final = {b"http": b":80", b"https": b":443"}

# The usual values of Connection, and whether the connection persists with each.
_USUAL_CONNECTION: Final[dict[bytes, bool]] = {
    b"keep-alive": True,
    b"Keep-Alive": True,
    b"Keep-alive": True,
    b"close": False,
    b"Close": False,
}

_BINDING_CREDENTIALS: Final = re.compile(rb'[, \t"]*(?i:ntlm|nego)')
_BINDING_CHALLENGE: Final = re.compile(rb'(?:\A|[, \t"])(?i:ntlm|nego)')
#: With a version, parameters, or in quotes, too, as which a lenient server may read it.
_H2C: Final = re.compile(rb'[" \t]*(?i:h2c)(?![!#$%&\'*+\-.^_`|~0-9A-Za-z])')
_QUOTED: Final = re.compile(rb'"(?:\\.|[^"\\])*("?)')

_NO_OPTIONS: Final[frozenset[bytes]] = frozenset()

# RFC 9110 7.6.1: an option is never "intended for all recipients of the content". Without these fields the message
# would be framed, routed or read in another way than its sender wrote it (and a 401 or 407 must have its challenge), so
# naming them in Connection has no effect. Those of the last line end at every hop, named or not, and rules may look at
# them.
_NEVER_NAMED: Final = frozenset(
    b"host content-length transfer-encoding trailer expect cache-control content-type content-encoding content-range"
    b" www-authenticate proxy-authenticate"
    b" close connection keep-alive proxy-connection te upgrade".split()
)


def repeated(kind: int, earlier: bytes, value: bytes, fault: Fault) -> bytes:
    """Returns the value that a notable field that occurs twice has as one. Raises `fault` if that is not allowed."""
    if kind == HOST_FIELD and fault is RequestFault:
        raise fault("two Host headers")  # RFC 9112 3.2
    if kind == CONTENT_LENGTH:
        # RFC 9112 6.3 item 5: identical values may be taken as one. Only single numbers are accepted here, never a
        # list.
        if earlier != value:
            raise fault("two Content-Lengths that differ")
        return value
    return (earlier + b", " + value).strip(OWS)  # RFC 9110 5.3; either may be empty


def framing_value(kind: int, value: bytes, raw: bytes, earlier: bytes | None) -> bytes:
    """Returns what is sent on after the colon of a framing field: the `raw` object itself if no parser can misread it.

    Some parsers read `chunked` with a tab after it, or in capitals, as another coding (llhttp refuses it). A second
    Content-Length is removed, because one is enough.
    """
    if kind == CONTENT_LENGTH and earlier is not None:
        return b""
    plain = value if kind == CONTENT_LENGTH else value.lower()
    return raw if raw == b" " + plain or raw == plain else b" " + plain


def body_length(notables: Notables, minor: int, fault: Fault) -> int | None:
    """Returns the length that the fields give (RFC 9112 6.3), CHUNKED, or None if they give none.

    This alone decides framing.
    """
    length, codings = notables[CONTENT_LENGTH], notables[TRANSFER_ENCODING]
    if codings is not None:
        if length is not None:
            raise fault("both Content-Length and Transfer-Encoding")  # RFC 9112 6.3 item 3: smuggling
        if minor == 0:
            raise fault("Transfer-Encoding in an HTTP/1.0 message")  # RFC 9112 6.1: faulty framing
        if codings != b"chunked":
            _check_codings(codings, fault)
        return CHUNKED
    if length is None:
        return None
    if not length.isdigit():  # bytes.isdigit: ASCII only, no sign, no space, no underscore
        raise fault("a Content-Length that is not a number")
    if len(length) > 19 or (number := int(length)) > _MAX_LENGTH:
        raise fault("a Content-Length that is too large", 413)
    return number


def _check_codings(codings: bytes, fault: Fault) -> None:
    """Checks that chunked is there once and last (RFC 9112 6.1). Other codings before it are not known here: 501."""
    *others, last = codings.lower().split(b",")
    if last.strip(OWS) != b"chunked":
        raise fault("a Transfer-Encoding that does not end in chunked")
    for coding in others:
        coding = coding.strip(OWS)
        if coding == b"chunked" or not TOKEN.match(coding):
            raise fault("a malformed Transfer-Encoding")
    if others:
        raise fault("a transfer coding that is not known here", 501)


def connection_options(value: bytes | None, minor: int) -> tuple[bool, frozenset[bytes]]:
    """Returns whether the connection persists (RFC 9112 9.3), and the options in lower case.

    For the usual values of Connection no options are returned.
    """
    if value is None:
        return minor > 0, _NO_OPTIONS
    usual = _USUAL_CONNECTION.get(value)
    if usual is not None:
        return usual, _NO_OPTIONS
    options = frozenset(option.strip(OWS) for option in value.lower().split(b",")) - {b""}
    if not all(map(TOKEN.match, options)):
        return False, options  # it may mean close, and closing does no harm
    return b"close" not in options and (minor > 0 or b"keep-alive" in options), options


def named_fields(options: frozenset[bytes]) -> frozenset[bytes]:
    """Returns the fields that Connection names and that therefore end here: neither rules nor the next hop see them."""
    return options - _NEVER_NAMED


def check_host(host: bytes) -> bytes:
    """Returns the value of Host (RFC 9112 3.2, RFC 9110 7.2) without an empty port (RFC 3986 6.2.3).

    It may be empty.

    Raises RequestFault.
    """
    if host and not HOST.match(host):
        raise RequestFault("a malformed Host")
    return host.removesuffix(b":")


def check_target(method: bytes, target: bytes, host: bytes | None) -> tuple[bytes, bytes | None]:
    """Checks a target that may be of any form (RFC 9112 3.2) against Host, and returns both as they are sent on.

    An absolute target is normalised as RFC 9110 4.2.3 says, and Host with it: without the scheme's own port or an empty
    one, and with a path. So rules compare what the server will read, however the client has spelt it. Raises
    RequestFault.
    """
    if method == b"CONNECT":
        return target, _authority(target, host)
    if target[:1] == b"/":
        return target, host
    if target == b"*" and method == b"OPTIONS":
        return target, host
    found = _ABSOLUTE.match(target)
    if not found:
        raise RequestFault("a request target of no known form")
    scheme, authority = found[1].lower(), found[2]
    if not HOST.match(authority):  # also user@host: RFC 9110 4.2.4
        raise RequestFault("a malformed authority in the request target")
    authority = _without_default_port(authority, scheme)
    host = authority if host is None else _without_default_port(host, scheme)
    if host.lower() != authority.lower():
        raise RequestFault("Host and request target disagree")  # RFC 9112 3.2.2 lets the target win; HAProxy refuses
    rest = target[found.end() :]
    if not rest and method == b"OPTIONS":
        return b"*", host  # RFC 9112 3.2.4
    return b"%b://%b%b%b" % (found[1], authority, b"" if rest[:1] == b"/" else b"/", rest), host


def _authority(target: bytes, host: bytes | None) -> bytes:
    """Checks that CONNECT's target is a host and a port and nothing else (RFC 9110 9.3.6), and that Host is the same.

    Returns Host without the ports 80 and 443, which HAProxy allows it to leave out: otherwise rules on Host would not
    recognise the host. Raises RequestFault.
    """
    if not HOST.match(target) or not _PORT.search(target):
        raise RequestFault("CONNECT wants host:port")
    plain = _WELL_KNOWN_PORT.sub(b"", target)
    if host is not None and host.lower() not in (target.lower(), plain.lower()):
        raise RequestFault("Host and request target disagree")
    return plain if host is None else _WELL_KNOWN_PORT.sub(b"", host)


def _without_default_port(authority: bytes, scheme: bytes) -> bytes:
    """Removes the scheme's own port or an empty one, which mean the same as none (RFC 9110 4.2.3, RFC 3986 6.2.3)."""
    return authority.removesuffix(_DEFAULT_PORTS[scheme]).removesuffix(b":")


def expects_continue(value: bytes) -> bool:
    """Tells whether Expect says 100-continue (RFC 9110 10.1.1).

    Raises RequestFault with 417 for any other expectation.
    """
    wishes = {wish.strip(OWS) for wish in value.lower().split(b",")} - {b""}
    if wishes - {b"100-continue"}:
        raise RequestFault("an expectation that is not known here", 417)
    return bool(wishes)


def offered_protocols(value: bytes) -> bytes | None:
    """Returns the protocols that Upgrade offers (RFC 9110 7.8), without h2c; None if nothing is left.

    h2c is obsolete (RFC 9113 3.1), and a client that gets it past a proxy can ask for whatever the proxy would refuse.
    """
    protocols = [protocol.strip(OWS) for protocol in value.split(b",")]
    return b", ".join(each for each in protocols if each and not _H2C.match(each)) or None


def credentials_bind(credentials: bytes) -> bool:
    """Tells whether credentials are of a scheme that authenticates the connection and not the request.

    These schemes are NTLM, and Negotiate (RFC 4559 section 6), against the intention of RFC 9110 section 11.7. A
    connection that is authenticated in this way serves one client only.
    """
    return _BINDING_CREDENTIALS.match(credentials) is not None


def challenges_bind(challenges: bytes) -> bool:
    """Tells whether one of the challenges in a value, which is a list (RFC 9110 section 11.6.1), is of such a scheme.

    In doubt it returns True, for instance after a quote that stays open, or after a blank. That costs the reuse of a
    connection and nothing else.
    """
    found = _BINDING_CHALLENGE.search(challenges)
    if found is None or b'"' not in challenges:
        return found is not None
    outside = _QUOTED.sub(lambda found: b'""' if found[1] else found[0], challenges)
    return _BINDING_CHALLENGE.search(outside) is not None


def wants_trailers(value: bytes) -> bool:
    """Tells whether TE lists `trailers` (RFC 9110 10.1.4)."""
    return b"trailers" in [member.strip(OWS) for member in value.lower().split(b",")]
