"""Defines which bytes may stand where in a message head, by character classes and regular expressions.

They are those of RFC 9110 and RFC 9112. This module knows syntax only, never what a field means. Every expression here
is anchored or starts at a literal CR, and neighbouring repetitions never share a character. So matching is linear in
the input whatever a peer sends (Python 3.10 has no possessive quantifiers to force it).
"""

import re
from http import HTTPStatus
from typing import Final

CRLF: Final = b"\r\n"
OWS: Final = b" \t"  # RFC 9110 5.6.3; the characters, for strip()

_TCHAR: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"  # RFC 9110 5.6.2
TOKEN: Final = re.compile(_TCHAR + rb"+\Z")

# All that may stand inside a line: HTAB, SP, VCHAR, obs-text (RFC 9110 5.5). When these are deleted from a head, only
# its line ends may be left.
TEXT: Final = bytes(octet for octet in range(256) if octet == 9 or (octet >= 32 and octet != 127))

_TEXT: Final = rb"[\t -~\x80-\xff]*"  # the same in an expression

# RFC 3986 3.2.2: IP-literal, or reg-name (which an IPv4 address is too); RFC 9110 7.2 adds the port. `%` only as
# pct-encoded. The port is bounded at five digits, which RFC 3986 leaves open. The comma is left out: no host name has
# one, and rules that see the parts of a list would let pass what the server takes as a whole.
HOST: Final = re.compile(
    rb"(?:(?:[A-Za-z0-9\-._~!$&'()*+;=]|%[0-9A-Fa-f]{2})+"
    rb"|\[[0-9A-Fa-f:.]{2,45}\]|\[[vV][0-9A-Fa-f]+\.[\w\-.~!$&'()*+;=:]+\])"
    rb"(?::[0-9]{0,5})?\Z",
    re.ASCII,
)
_PLAIN_HOST: Final = rb"[A-Za-z0-9\-._~]+(?::[0-9]{1,5})?"  # the usual hosts, a subset of HOST

# RFC 9112 3. The target is any visible ASCII but `#` (as HAProxy: `"<>^{|}` and backslash pass, though RFC 3986 has no
# place for them). Host is nearly always the first field: reading it here saves a second search (0.3 us of 1.2).
REQUEST_LINE: Final = re.compile(
    rb"(" + _TCHAR + rb'+) ([!"$-~]+) HTTP/1\.([0-9])'
    rb"(?:\r\n[Hh](?i:ost):[ \t]?(" + _PLAIN_HOST + rb")(?=\r\n)|(?=\r\n))"
)  # fmt: skip

# RFC 9112 4. A server MUST send the space before an empty reason. Many do not, and it is harmless.
STATUS_LINE: Final = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: (" + _TEXT + rb"))?(?=\r\n)")

# Usual status lines, without their CRLF, with what STATUS_LINE finds in them: status and reason. To look one up takes
# 0.1 us, to match the expression and to convert what it has found 0.4.
USUAL_STATUSES: Final = {
    b"HTTP/1.1 %d %b" % (status, status.phrase.encode()): (int(status), status.phrase.encode()) for status in HTTPStatus
}

# The fields that decide framing or end at this hop. From CONNECTION on they are hop-by-hop (RFC 9110 7.6.1) and never
# go further.
CONTENT_LENGTH, TRANSFER_ENCODING, HOST_FIELD, EXPECT = 0, 1, 2, 3
CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, UPGRADE = 4, 5, 6, 7, 8
NOTABLE_COUNT: Final = 9

_NOTABLE_NAMES: Final = {
    b"Host": HOST_FIELD,
    b"Content-Length": CONTENT_LENGTH,
    b"Transfer-Encoding": TRANSFER_ENCODING,
    b"Expect": EXPECT,
    b"Connection": CONNECTION,
    b"Keep-Alive": KEEP_ALIVE,
    b"Proxy-Connection": PROXY_CONNECTION,
    b"TE": TE,
    b"Upgrade": UPGRADE,
}

# By the line's beginning, in the two usual spellings; other spellings are lower-cased and looked up again. The colon is
# part of the key: without one, `Host` is no field line.
NOTABLES: Final = {
    CRLF + spelling + b":": kind for name, kind in _NOTABLE_NAMES.items() for spelling in (name, name.lower())
}

# Usual lines, recognised as a whole: those of Connection, with whether the connection persists, and the beginnings of
# Content-Length.
USUAL_CONNECTIONS: Final = {
    b"\r\nConnection: keep-alive": True,
    b"\r\nConnection: Keep-Alive": True,
    b"\r\nconnection: keep-alive": True,
    b"\r\nConnection: close": False,
    b"\r\nconnection: close": False,
}
USUAL_LENGTHS: Final = frozenset({b"\r\nContent-Length: ", b"\r\ncontent-length: "})

# Finds each line (from the CR before it to the next) that cannot simply be passed on: the notable fields, those with
# blanks behind their value (RFC 9112 5.1: they are no part of it), and what is no field line at all (a CR without LF,
# an obs-fold, an empty or non-token name, no colon, a space before it), which is then not found in NOTABLES, or has a
# control character in its value. A name whose first letter begins no notable name
# is decided at that letter. This and finding whole lines without groups took 1.0 us where an alternation of nine
# captured values took 2.1.
# Content-Length and Transfer-Encoding are found with any separator: a server that makes variables of fields reads
# Transfer_Encoding as Transfer-Encoding. Looking at the values here takes 0.1 us, and proving by another pass over the
# whole head that no control character is in it 0.4.
_SEPARATOR: Final = rb"[!#$%&'*+\-.^_`|~]"
FRAMING_NAME: Final = re.compile(rb"(?i:content" + _SEPARATOR + rb"length|transfer" + _SEPARATOR + rb"encoding)\Z")
_NOTABLE_START: Final = rb"[CEHKPTUcehkptu]"
_OTHER_START: Final = rb"[!#$%&'*+\-.^_`|~0-9ABDFGIJL-OQRSV-Zabdfgijl-oqrsv-z]"  # the rest of tchar
NOTABLE: Final = re.compile(
    rb"\r(?!\n(?:" + _OTHER_START + _TCHAR + rb"*|(?!"
    rb"(?:[Cc](?i:on(?:nection|tent" + _SEPARATOR + rb"length))"
    rb"|[Tt](?i:e|ransfer" + _SEPARATOR + rb"encoding)|[Hh](?i:ost)|[Uu](?i:pgrade)"
    rb"|[Kk](?i:eep-alive)|[Pp](?i:roxy-connection)|[Ee](?i:xpect)):)"
    + _NOTABLE_START + _TCHAR + rb"*):" + _TEXT + rb"(?<![\t ])(?:\r|\Z))[^\r]*"
)  # fmt: skip

# One field line of a trailer section, without its CRLF. RFC 9112 5: no whitespace before the colon.
FIELD_LINE: Final = re.compile(rb"(" + _TCHAR + rb"+):[\t -~\x80-\xff]*\Z")

# RFC 9112 7.1: chunk-size and chunk-ext. 16 digits hold 2**64; BWS is allowed around `;` and `=` (7.1.1), but not
# between the size and the line's end. A chunk-ext is dropped, so its groups are not kept.
_BWS: Final = rb"[ \t]*"
_QUOTED: Final = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
# Most chunk lines have no extension. Between two chunks of content, this expression matches the CRLF after the data and
# the next line.
NEXT_CHUNK: Final = re.compile(rb"\r\n([0-9A-Fa-f]{1,16})\r\n")
CHUNK_LINE: Final = re.compile(
    rb"([0-9A-Fa-f]{1,16})((?:" + _BWS + rb";" + _BWS + _TCHAR + rb"+(?:" + _BWS + rb"=" + _BWS
    + rb"(?:" + _TCHAR + rb"+|" + _QUOTED + rb"))?)*)\r\n"
)  # fmt: skip
