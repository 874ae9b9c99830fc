"""Writes what a certificate's extensions say as HAProxy does (`ssl_c_san`, `ssl_c_policies`): in OpenSSL's words.

A name may have a comma in it, and what looks like another name behind that: rules that let somebody in for a name
compare the whole text, or look for a name that their authority does not write into another one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address

from reusedproxy.rules.samples.certificates import Certificate, Part, dotted, name_attributes, parts, spaced

_SUBJECT_ALT_NAME, _POLICIES = "2.5.29.17", "2.5.29.32"
#: What ASN1_STRING_print(3) writes as a dot.
_UNPRINTABLE = re.compile(rb"[^ -~\r\n]")
#: Names of a type of their own (RFC 5280, section 4.2.1.6) that OpenSSL knows.
_OTHER_NAMES = {
    "1.3.6.1.4.1.311.20.2.3": b"UPN",
    "1.3.6.1.5.5.7.8.5": b"XmppAddr",
    "1.3.6.1.5.5.7.8.7": b"SRVName",
    "1.3.6.1.5.5.7.8.8": b"NAIRealm",
    "1.3.6.1.5.5.7.8.9": b"SmtpUTF8Mailbox",
}
_STRINGS = (0x0C, 0x16)


def alternative_names(certificate: Certificate) -> bytes | None:
    """Returns the subject's other names, with ", " between them; None without any. Raises NotThere."""
    value = certificate.extension(_SUBJECT_ALT_NAME)
    if value is None:
        return None
    names = [_WRITTEN.get(part.tag, _unsupported)(part) for part in parts(next(parts(value)).content)]
    return b", ".join(names) or None


def policies(certificate: Certificate, wanted: str = "") -> bytes | None:
    """Returns the policies, as numbers with dots and ", " between them, or the wanted one; None if there is none.
    Raises NotThere."""
    value = certificate.extension(_POLICIES)
    if value is None:
        return None
    found = [dotted(next(parts(part.content)).content) for part in parts(next(parts(value)).content)]
    if wanted:
        found = [wanted] if wanted in found else []
    return ", ".join(found).encode() or None


def _text(before: bytes) -> Callable[[Part], bytes]:
    return lambda part: before + _UNPRINTABLE.sub(b".", part.content)


def _address(part: Part) -> bytes:
    packed = part.content
    if len(packed) == 4:
        return b"IP Address:%b" % str(IPv4Address(packed)).encode()
    if len(packed) == 16:
        groups = (int.from_bytes(packed[at : at + 2], "big") for at in range(0, 16, 2))
        return b"IP Address:" + b":".join(b"%X" % group for group in groups)
    return b"IP Address:<invalid>"


def _directory(part: Part) -> bytes:
    return b"DirName:" + spaced(name_attributes(next(parts(part.content))))


def _registered(part: Part) -> bytes:
    return b"Registered ID:" + dotted(part.content).encode()


def _other(part: Part) -> bytes:
    kind, value = parts(part.content)
    name, inner = _OTHER_NAMES.get(dotted(kind.content)), next(parts(value.content))
    if name is None or inner.tag not in _STRINGS:
        return b"othername:<unsupported>"
    return b"othername:%b:%b" % (name, inner.content)


def _unsupported(part: Part) -> bytes:
    return {0xA3: b"X400Name:<unsupported>", 0xA5: b"EdiPartyName:<unsupported>"}.get(part.tag, b"<unsupported>")


#: By the tags of GeneralName.
_WRITTEN: dict[int, Callable[[Part], bytes]] = {
    **{0x81: _text(b"email:"), 0x82: _text(b"DNS:"), 0x86: _text(b"URI:")},
    **{0x87: _address, 0x88: _registered, 0xA0: _other, 0xA4: _directory},
}
