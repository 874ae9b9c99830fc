"""Changes heads: the lines of one name, and the parts of a request's first line.

A head is held twice: as it was received, which conditions look at, and as it is sent on. Both are changed alike, as
bytes, because one search for the lines of a name costs less than taking a head apart. The wire layer has proved that
every CR is followed by LF and that every line has its colon, so a pattern finds whole lines or nothing. Fields that
frame the message, or that each hop sets for itself, are not in the head that is sent on, or are never given to these
functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from reusedproxy.rules.regular import Interruption
from reusedproxy.rules.samples.fetches import path_and_query
from reusedproxy.wire.framing import check_target
from reusedproxy.wire.grammar import HOST
from reusedproxy.wire.heads import RequestFault, RequestHead, ResponseHead

Head = RequestHead | ResponseHead

_ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*://)([^/?#]*)")
_NOT_IN_TARGET = re.compile(rb"[^!\"$-~]")
_PORT = re.compile(rb":[0-9]+\Z")
_HOST_LINE = re.compile(rb"\r\n(?i:host):[^\r]*")
#: What a client may ask for besides an answer; the wire layer has noted it.
_WISHES = ("expect", "upgrade", "te", "connection")
#: Names of lines that a pattern for several names never removes; of responses, the wishes as well.
_KEPT = frozenset(b"host content-length transfer-encoding trailer".split())
_KEPT_OF_RESPONSES = _KEPT | {each.encode() for each in _WISHES}


class Unusable(Interruption):
    """Says that a rule has turned the request into something that cannot be sent; the message says what."""


# Lines.


def spellings(name: str, *, exactly: bool = False) -> re.Pattern[bytes]:
    """Returns a pattern that finds the lines of this name.

    Unless `exactly`, it also finds all names of which a CGI or WSGI server makes the same variable: X_Name and X.Name
    are HTTP_X_NAME to one or another of them, as X-Name is.
    """
    parts = (name,) if exactly else re.split(r"[^0-9A-Za-z]", name)
    inner = rb"[^0-9A-Za-z:\r]".join(re.escape(part.encode()) for part in parts)
    return re.compile(rb"\r\n(?i:" + inner + rb"):[^\r]*")


def remove(head: Head, lines: re.Pattern[bytes]) -> None:
    head.block = lines.sub(b"", head.block)
    head.head = lines.sub(b"", head.head)


def remove_matching(head: Head, wanted: Callable[[bytes], bool]) -> None:
    """Removes all lines whose name is wanted, except those that are kept, and the wish that a line of a request is."""
    always = _KEPT_OF_RESPONSES
    if isinstance(head, RequestHead):
        always = _KEPT
        for name in _WISHES:
            if wanted(name.encode()):
                drop_wish(head, name)

    def kept(block: bytes) -> bytes:
        first, *lines = block.split(b"\r\n")
        names = ((line, line.partition(b":")[0]) for line in lines)
        return b"\r\n".join(
            [first, *(line for line, name in names if not name or name.lower() in always or not wanted(name))]
        )

    head.block, head.head = kept(head.block), kept(head.head)


def append(head: Head, name: bytes, value: bytes) -> None:
    line = b"%b: %b\r\n" % (name, value)
    head.block += line
    head.head = head.head[:-2] + line + b"\r\n"


def replace_values(head: Head, lines: re.Pattern[bytes], change: Callable[[bytes], bytes]) -> None:
    """Replaces each line's value by what `change` returns for it."""
    #: By the line before: each is in the block and in the head.
    known: dict[bytes, bytes] = {}

    def changed(found: re.Match[bytes]) -> bytes:
        line = found[0]
        if line in known:
            return known[line]
        name, _, value = line.partition(b":")
        plain = value.strip(b" \t")
        made = change(plain)
        known[line] = becomes = line if made == plain else b"%b: %b" % (name, made)
        return becomes

    head.block = lines.sub(changed, head.block)
    head.head = lines.sub(changed, head.head)


def set_host(head: RequestHead, value: bytes) -> None:
    """Sets Host, and the same host in the target. Raises Unusable.

    The target changes where it is absolute (RFC 9112 section 3.2.2). It also changes with CONNECT (section 3.2.3),
    which keeps its port where the new value has none.
    """
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


def set_origin(head: RequestHead, host: bytes) -> None:
    """Gives a request the form for the server of this host: its path, without a scheme and a name, and this Host."""
    if _ABSOLUTE.match(head.target):
        _set_target(head, path_and_query(head.target) or b"/")
    set_host(head, host)


def drop_wish(head: RequestHead, name: str) -> None:
    """Clears the field of `head` in which the wire layer has noted this header: a rule has removed its line. What only
    Connection makes a wish goes with it."""
    name = name.lower()
    if name == "expect":
        head.expect_continue = False
    elif name in _WISHES:
        if name != "te":
            head.upgrade = None
        if name != "upgrade":
            head.te_trailers = False
        head.show_wishes()


# The first line.


def set_method(head: RequestHead, method: bytes) -> None:
    """Sets the method, whose form the caller has checked."""
    head.block = method + head.block[head.block.index(b" ") :]
    head.head = method + head.head[head.head.index(b" ") :]
    head.method = method


def set_path(head: RequestHead, path: bytes) -> None:
    """Sets the path, and keeps the query. A `?` in `path` begins the query, to which the old one is then appended with
    its question mark, as in HAProxy."""
    _, mark, query = (path_and_query(head.target) or b"").partition(b"?")
    _set_path_and_query(head, path + mark + query)


def set_pathq(head: RequestHead, value: bytes) -> None:
    _set_path_and_query(head, value)


def set_query(head: RequestHead, query: bytes) -> None:
    """Sets the query. A question mark is added where a query needs it, and never removed, as HAProxy's manual says."""
    whole = path_and_query(head.target)
    if whole is not None:
        path, mark, _ = whole.partition(b"?")
        _set_path_and_query(head, path + (mark or b"?" if query else mark) + query)


def set_uri(head: RequestHead, value: bytes) -> None:
    """Sets the whole target. If it names a host, Host is set to that.

    An absolute target gets the form in which the wire layer gives those of clients, for the rules that follow.
    CONNECT's target is not changed. Raises Unusable.
    """
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
    try:
        target, host = check_target(head.method, value, None)
    except RequestFault as fault:
        raise Unusable(str(fault)) from None
    _set_target(head, target)
    set_host(head, host or b"")


def _set_path_and_query(head: RequestHead, value: bytes) -> None:
    """Sets path and query. Raises Unusable.

    A path may replace `*`, which asks for another resource, as in HAProxy. One that is empty is sent as `/` (RFC 9112
    section 3.2.1). CONNECT's target, which has no path, is not changed.
    """
    if head.method == b"CONNECT" or (path_and_query(head.target) is None and head.target != b"*"):
        return
    if not value or value.startswith(b"?"):
        value = b"/" + value
    if not value.startswith(b"/"):
        raise Unusable("a path must begin with a slash")
    found = _ABSOLUTE.match(head.target)
    _set_target(head, (found[0] if found else b"") + value)


def _set_target(head: RequestHead, target: bytes) -> None:
    """Sets the target; bytes that cannot occur in one (RFC 9112 section 3.2) are written as %XX."""
    target = _NOT_IN_TARGET.sub(lambda found: b"%%%02X" % found[0][0], target)
    head.block = _with_target(head.block, target)
    head.head = _with_target(head.head, target)
    head.target = target


def _with_target(block: bytes, target: bytes) -> bytes:
    method, _, version = block.split(b" ", 2)
    return b"%b %b %b" % (method, target, version)


def set_status(head: ResponseHead, status: int, reason: bytes) -> None:
    """Sets status and reason, except of a response that has no body because of its status (1xx, 204, 304).

    What follows such a head on the wire would not match the new status.
    """
    if head.status in (204, 304) or head.status < 200:
        return
    head.status, head.reason = status, reason
    head.block = b"HTTP/1.1 %d %b%b" % (status, reason, head.block[head.block.index(b"\r\n") :])
