"""Reads the head of a request whose bytes go on as they are, in `mode tcp`, for the rules that look at it.

`heads` is strict, because what it cannot read is refused. Here it would pass, and many servers read it nevertheless. So
what HAProxy takes for a request is read as such, and what nginx, Node.js, Java's own server and others do: lines that
end with LF alone, lines that are continued, blanks in the first line, any version, no Host, and fields about the body
that contradict each other. Where servers may see different things (a path without a version, two hosts, lines that are
no fields, CR alone, more lines than they take) rules can neither let in nor keep out, which is said by an exception. A
method that is no token is none, as in HAProxy, though a few servers take it: nothing would tell other protocols from
requests. Nothing is decided here about the length of a body, or what follows. Pure.
"""

from __future__ import annotations

import re
from typing import Final

from reusedproxy.wire.grammar import CRLF, OWS
from reusedproxy.wire.heads import Limits, RequestFault, RequestHead, find_head_end, read_request, skip_empty_lines

#: Lines of fields: what many rules ask for takes its time with each of them.
MOST_LINES: Final = 100

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_BLANK: Final = rb"[\t\x0b\x0c\r\x1c-\x20\x85\xa0]"
#: A method, a target and a version, whatever words these are.
_WORDS: Final = re.compile(rb"(%b+)[ \t]+([!-~\x80-\xff]+)[ \t]+([!-~\x80-\xff]+)[ \t]*\r?\Z" % _TOKEN)
_OF_HTTP: Final = re.compile(rb"HTTP/([0-9.]+)\Z")
#: What HAProxy takes for a version (HTTP_IS_VER_TOKEN in its include/haproxy/http.h).
_OF_OTHERS: Final = re.compile(rb"[A-Z0-9./]+\Z")
#: What stands for the version of a first line without one (HTTP/0.9), behind which no fields are to come.
_NO_VERSION: Final = b"none"
#: The first line of HTTP/0.9.
_WITHOUT_VERSION: Final = re.compile(rb"GET[ \t]+([!-~\x80-\xff]+)[ \t]*\r?\Z")
#: Two words, and the methods after which a server reads them and fields behind them (Node.js, whose parser is llhttp):
#: without one of these, many another protocol begins so.
_TWO_WORDS: Final = re.compile(rb"%b*(%b+)%b+[!-~\x86-\x9f\xa1-\xff]+%b*\Z" % (_BLANK, _TOKEN, _BLANK, _BLANK))
_KNOWN_METHODS: Final = frozenset(
    b"ACL ANNOUNCE BIND CHECKOUT CONNECT COPY DELETE DESCRIBE FLUSH GET GET_PARAMETER HEAD LINK LOCK M-SEARCH MERGE"
    b" MKACTIVITY MKCALENDAR MKCOL MOVE NOTIFY OPTIONS PATCH PAUSE PLAY POST PRI PROPFIND PROPPATCH PURGE PUT QUERY"
    b" REBIND RECORD REDIRECT REPORT SEARCH SETUP SET_PARAMETER SOURCE SUBSCRIBE TEARDOWN TRACE UNBIND UNLINK UNLOCK"
    b" UNSUBSCRIBE".split()
)
#: What may become such a line.
_BEGINNING: Final = re.compile(rb"%b*(?:[ \t]+(?:[!-~\x80-\xff]+(?:[ \t]+[A-Z0-9./]*[ \t]*)?)?)?\r?\Z" % _TOKEN)
#: A method and a target as requests usually have them: servers may read such a line, whatever else there is but NUL.
_AIMED: Final = re.compile(rb"%b*%b[!-~]*%b+(?:[/*]|[A-Za-z][A-Za-z0-9+.-]*:/)[^\0]*\Z" % (_BLANK, _TOKEN, _BLANK))
_AIMED_BEGINNING: Final = re.compile(
    rb"%b*(?:%b[!-~]*(?:%b+(?:[A-Za-z][A-Za-z0-9+.-]*(?::(?:/[^\0]*)?)?|[/*][^\0]*)?)?)?\Z" % (_BLANK, _TOKEN, _BLANK)
)
_NAME: Final = re.compile(rb"(%b+):" % _TOKEN)
_END: Final = re.compile(rb"\n\r?\n")
_ABSOLUTE: Final = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://(?:[^/?#]*@)?([^/?#]*)")
#: Fields that mean the connection alone (RFC 9110 section 7.6.1), or the coding of the body.
_HOP_BY_HOP: Final = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding"))
_NAMES_TE: Final = re.compile(rb"(?:\r\nconnection:|,) te\r\n\r\n\Z")
_NO_PORT: Final = re.compile(rb":\Z")
_PORTS: Final = {
    b"http": re.compile(rb":(?:80)?\Z"),
    b"https": re.compile(rb":(?:443)?\Z"),
    b"connect": re.compile(rb":(?:80|443)?\Z"),
}


class NotHTTP(Exception):
    """Says that the bytes do not begin with a request, whatever follows."""


class Ambiguous(Exception):
    """Says that they do, and that servers may read it in several ways."""


def read_loose_request(data: bytes) -> RequestHead | None:
    """Returns the head that `data` begins with; None while it is incomplete. That of HTTP/0.9 is its first line, and
    the fields behind that, which some servers read, as soon as all of them are there (`is_whole`). Raises NotHTTP and
    Ambiguous."""
    data = data.lstrip(CRLF)
    end = data.find(b"\n")
    if end < 0:
        if not (_BEGINNING.match(data) or _AIMED_BEGINNING.match(data)):
            raise NotHTTP
        return None
    method, target, version = _first_line(data[:end])
    whole = _END.search(data, end)
    if whole is None and version != _NO_VERSION:
        return None
    minor = 0 if version in (b"1.0", b"0.9", _NO_VERSION) else 1
    return _head(method, target, minor, [] if whole is None else _fields(data[end + 1 : whole.start() + 1]))


def is_whole(data: bytes) -> bool:
    """Tells whether the fields of the head that `data` begins with have come."""
    return _END.search(data.lstrip(CRLF)) is not None


def _first_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    """Returns the method, the target, and the version, which is empty if it is none of HTTP's: some servers take any
    (RTSP/1.0 in Node.js, all in Java's own). Raises NotHTTP, and Ambiguous for a path without a version, behind which
    some servers look for fields, and where only some take a byte for a blank (RFC 9112 section 3)."""
    aimed = _AIMED.match(line)
    if words := _WORDS.match(line):
        method, target, version = words.groups()
        if of_http := _OF_HTTP.match(version):
            version = of_http[1]
        elif aimed or _OF_OTHERS.match(version):
            version = b""
        else:
            raise NotHTTP
    elif aimed and ((two := _TWO_WORDS.match(line)) is None or two[1] in _KNOWN_METHODS):
        raise Ambiguous("a first line that is no method, target and version")
    elif words := _WITHOUT_VERSION.match(line):
        method, target, version = b"GET", words[1], _NO_VERSION
    else:
        raise NotHTTP
    if b"#" in target:
        raise Ambiguous("a fragment in the request target")
    return method, target, version


def read_as_request(data: bytes, loose: RequestHead, limits: Limits, surely: bool) -> RequestHead:
    """Returns the head that rules are to see of bytes that may be read as requests, where `loose` is what
    `read_loose_request` makes of them: what the server then gets, if that is `surely` so. Otherwise raises Ambiguous
    where a server that gets the bytes would see something else; a field that Connection names, for one, does not reach
    a server that gets requests, nor does `Upgrade: h2c`. Of fields that mean the connection alone rules see what each
    server gets, so that none can let anything in by one that is not sent.
    """
    begin = skip_empty_lines(data)
    end = find_head_end(data[begin:])
    try:
        strict = read_request(data[begin : begin + end], limits)
    except RequestFault:
        return loose  # it is refused then
    if surely:
        return strict
    if _seen_of(strict) != _seen_of(loose):
        raise Ambiguous("it may go on as it is, or as one request, which are not the same")
    options = b",".join(loose.values(b"Connection")).lower().split(b",")
    if strict.te_trailers and b"te" not in [option.strip(OWS) for option in options]:
        # That Connection names it is said to a server that gets requests alone.
        strict.head = _NAMES_TE.sub(CRLF + CRLF, strict.head)
    return strict


def _seen_of(head: RequestHead) -> tuple[object, ...]:
    """Returns what rules see of a head, but for the usual fields that end with the connection."""
    fields = [(name.lower(), value) for name, value in head.fields()]
    return head.method, head.target, head.minor, sorted(each for each in fields if each[0] not in _HOP_BY_HOP)


def _fields(block: bytes) -> list[tuple[bytes, bytes]]:
    """Returns names and values; lines that are continued are put together. Raises Ambiguous."""
    fields: list[tuple[bytes, bytes]] = []
    lines = block.split(b"\n")[:-1]
    if len(lines) > MOST_LINES:
        raise Ambiguous(f"more than {MOST_LINES} lines")
    for line in lines:
        line = line.removesuffix(b"\r")
        found = _NAME.match(line)
        if b"\r" in line:
            raise Ambiguous("a CR without LF")
        if line[:1] in (b" ", b"\t") and fields:
            name, value = fields[-1]
            fields[-1] = name, b"%b %b" % (value, line.strip(OWS))
        elif found:
            fields.append((found[1], line[found.end() :].strip(OWS)))
        else:
            raise Ambiguous("a line that is no field")
    return fields


def _head(method: bytes, target: bytes, minor: int, fields: list[tuple[bytes, bytes]]) -> RequestHead:
    """Returns the head in the spelling that rules know. An absolute target names a host, too (RFC 9112 section 3.2.2),
    as that of CONNECT does, and its scheme's own port, or any that CONNECT usually has, is none. Raises Ambiguous."""
    absolute = _ABSOLUTE.match(target)
    port = _PORTS.get(b"connect" if method == b"CONNECT" else absolute[1].lower() if absolute else b"", _NO_PORT)
    fields = [(name, port.sub(b"", value) if name.lower() == b"host" else value) for name, value in fields]
    hosts = [value for name, value in fields if name.lower() == b"host"]
    if method == b"CONNECT" and not hosts:
        hosts.append(port.sub(b"", target))
        fields.insert(0, (b"Host", hosts[0]))
    if absolute:
        named = port.sub(b"", absolute[2])
        if not hosts:
            fields.insert(0, (b"Host", named))
        hosts.append(named)
        rest = target[absolute.end() :]
        target = b"%b://%b%b%b" % (absolute[1], named, b"" if rest[:1] == b"/" else b"/", rest)
    if len({host.lower() for host in hosts}) > 1:
        raise Ambiguous("several hosts")
    lines = [b"%b: %b" % field for field in fields]
    block = CRLF.join([b"%b %b HTTP/1.%d" % (method, target, minor), *lines, b""])
    head = RequestHead()
    head.method, head.target, head.minor, head.keep_alive = method, target, minor, False
    head.host, head.block, head.head = hosts[0] if hosts else None, block, block + CRLF
    return head
