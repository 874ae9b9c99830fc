"""Changes to heads: the lines of one name, and the parts of a request's first line.

A head is held twice, as it was received, which conditions look at, and as what goes on; both are changed alike, as bytes,
because one search for the lines of a name costs less than taking a head apart. The wire layer has proved that every CR is
followed by LF and every line has its colon, so that a pattern finds whole lines or nothing. What frames the message, and
what each hop says for itself, is not in what goes on or is never given to these functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from reusedproxy.rules.samples.fetches import path_and_query
from reusedproxy.wire.grammar import HOST
from reusedproxy.wire.heads import RequestHead, ResponseHead

Head = RequestHead | ResponseHead

_ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*://)([^/?#]*)")
_NOT_IN_TARGET = re.compile(rb"[^!\"$-~]")
_PORT = re.compile(rb":[0-9]+\Z")
_HOST_LINE = re.compile(rb"\r\n(?i:host):[^\r]*")
#: Lines that no pattern of several names takes out.
_KEPT = frozenset(b"host content-length transfer-encoding trailer connection te upgrade expect".split())


class Unusable(Exception):
    """A rule has made of this request something that cannot be sent; the message says what."""


# Lines.


def spellings(name: str, *, exactly: bool = False) -> re.Pattern[bytes]:
    """The lines of this name. Unless `exactly`, with all that a CGI or WSGI server makes the same variable of: X_Name and
    X.Name are HTTP_X_NAME to one or another of them, as X-Name is."""
    parts = (name,) if exactly else re.split(r"[^0-9A-Za-z]", name)
    inner = rb"[^0-9A-Za-z:\r]".join(re.escape(part.encode()) for part in parts)
    return re.compile(rb"\r\n(?i:" + inner + rb"):[^\r]*")


def remove(head: Head, lines: re.Pattern[bytes]) -> None:
    head.block = lines.sub(b"", head.block)
    head.head = lines.sub(b"", head.head)


def remove_matching(head: Head, wanted: Callable[[bytes], bool]) -> None:
    """All lines whose name is wanted, but for what must stay."""

    def kept(block: bytes) -> bytes:
        first, *lines = block.split(b"\r\n")
        names = ((line, line.partition(b":")[0]) for line in lines)
        return b"\r\n".join(
            [first, *(line for line, name in names if not name or name.lower() in _KEPT or not wanted(name))]
        )

    head.block, head.head = kept(head.block), kept(head.head)


def append(head: Head, name: bytes, value: bytes) -> None:
    line = b"%b: %b\r\n" % (name, value)
    head.block += line
    head.head = head.head[:-2] + line + b"\r\n"


def replace_values(head: Head, lines: re.Pattern[bytes], change: Callable[[bytes], bytes]) -> None:
    """Each line's value becomes what `change` makes of it."""

    def changed(found: re.Match[bytes]) -> bytes:
        name, _, value = found[0].partition(b":")
        plain = value.strip(b" \t")
        made = change(plain)
        return found[0] if made == plain else b"%b: %b" % (name, made)

    head.block = lines.sub(changed, head.block)
    head.head = lines.sub(changed, head.head)


def set_host(head: RequestHead, value: bytes) -> None:
    """There is one Host, and an absolute target says the same (RFC 9112 section 3.2.2), as does the authority of CONNECT, which keeps its
    port where the new one has none (section 3.2.3)."""
    host = value.strip(b" \t")
    if head.method == b"CONNECT":
        host = host.removesuffix(b":")  # an empty port is none
    if not host or not HOST.match(host):
        raise Unusable("Host would be malformed")
    authority = host
    if head.method == b"CONNECT" and not _PORT.search(host):
        port = head.target[head.target.rindex(b":") :]
        authority += port
        if port not in (b":80", b":443"):
            host = authority
    if _HOST_LINE.search(head.block):
        head.block = _HOST_LINE.sub(lambda found: b"\r\nHost: " + host, head.block)
        head.head = _HOST_LINE.sub(lambda found: b"\r\nHost: " + host, head.head)
    else:
        append(head, b"Host", host)
    if head.host is not None:
        head.host = host
    found = _ABSOLUTE.match(head.target)
    if head.method == b"CONNECT":
        _set_target(head, authority)
    elif found:
        _set_target(head, found[1] + host + head.target[found.end() :])


def drop_wish(head: RequestHead, name: str) -> None:
    """What stands in the head and is also a wish that the wire layer has read out of it."""
    if name.lower() == "expect":
        head.expect_continue = False
    elif name.lower() == "upgrade":
        head.upgrade = None


# The first line.


def set_path(head: RequestHead, path: bytes) -> None:
    if head.target == b"*":
        _set_path_and_query(head, path.replace(b"?", b"%3F"))
        return
    whole = path_and_query(head.target)
    if whole is not None:
        _, mark, query = whole.partition(b"?")
        _set_path_and_query(head, path.replace(b"?", b"%3F") + mark + query)


def set_pathq(head: RequestHead, value: bytes) -> None:
    _set_path_and_query(head, value)


def set_query(head: RequestHead, query: bytes) -> None:
    """Nothing takes the question mark out, too."""
    whole = path_and_query(head.target)
    if whole is not None:
        _set_path_and_query(head, whole.partition(b"?")[0] + (b"?" + query if query else b""))


def set_uri(head: RequestHead, value: bytes) -> None:
    """All of the target; where it names a host, that is the Host from then on."""
    if head.method == b"CONNECT":
        return
    if value == b"*" and head.method == b"OPTIONS":
        _set_target(head, value)
        return
    found = _ABSOLUTE.match(value)
    if found is None:
        if not value.startswith(b"/"):
            raise Unusable("a request target must begin with a slash, or with a scheme and a host")
        _set_target(head, value)
        return
    if found[1].lower() not in (b"http://", b"https://"):
        raise Unusable("a request target of another scheme than http and https")
    _set_target(head, value)
    set_host(head, found[2])


def _set_path_and_query(head: RequestHead, value: bytes) -> None:
    """A CONNECT's target, which has no path, stays as it is; a path in place of `*` asks for something else, as in HAProxy."""
    if head.method == b"CONNECT" or (path_and_query(head.target) is None and head.target != b"*"):
        return
    if not value.startswith(b"/"):
        raise Unusable("a path must begin with a slash")
    found = _ABSOLUTE.match(head.target)
    _set_target(head, (found[0] if found else b"") + value)


def _set_target(head: RequestHead, target: bytes) -> None:
    """Whatever cannot stand in a target (RFC 9112 section 3.2) is written as %XX."""
    target = _NOT_IN_TARGET.sub(lambda found: b"%%%02X" % found[0][0], target)
    head.block = _with_target(head.block, target)
    head.head = _with_target(head.head, target)
    head.target = target


def _with_target(block: bytes, target: bytes) -> bytes:
    method, _, version = block.split(b" ", 2)
    return b"%b %b %b" % (method, target, version)


def set_status(head: ResponseHead, status: int, reason: bytes) -> None:
    """Not of what has no body, whatever it says of one: what follows would not be what the new status says."""
    if head.status in (204, 304) or head.status < 200:
        return
    head.status, head.reason = status, reason
    head.block = b"HTTP/1.1 %d %b%b" % (status, reason, head.block[head.block.index(b"\r\n") :])
