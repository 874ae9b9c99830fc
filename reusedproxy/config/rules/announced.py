"""Lists the extensions of a PROXY protocol header by HAProxy's names for them (`fc_pp_tlv`). Data and syntax only."""

from __future__ import annotations

import re

from reusedproxy.config.language.report import Wrong, did_you_mean

#: The extension about TLS, which has others within it.
TLS = 0x20
#: PROXY protocol, section 2.2.
TYPES = {
    **{"ALPN": 0x01, "AUTHORITY": 0x02, "CRC32": 0x03, "NOOP": 0x04, "UNIQUE_ID": 0x05, "SSL": TLS, "NETNS": 0x30},
    **{"SSL_VERSION": 0x21, "SSL_CN": 0x22, "SSL_CIPHER": 0x23, "SSL_SIG_ALG": 0x24, "SSL_KEY_ALG": 0x25},
}
SUB_TYPES = range(0x21, 0x26)
_NUMBER = re.compile(r"(?:0[xX][0-9A-Fa-f]{1,2}|[0-9]{1,3})\Z")


def type_number(text: str) -> int:
    """Returns the number of an extension's type. Raises Wrong."""
    number = TYPES.get(text.upper(), -1)
    if _NUMBER.match(text):
        number = int(text, 16 if text[:2].lower() == "0x" else 10)
    if not 0 <= number <= 255:
        raise Wrong(f"unknown extension '{text}'{did_you_mean(text, TYPES)}: a number up to 255, or {', '.join(TYPES)}")
    return number
