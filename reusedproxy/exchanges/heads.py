"""Builds the heads that this hop sends on: what was received, and the few lines that the proxy adds in its own
name. Pure bytes.

`wire` has removed the fields that end here (RFC 9110 section 7.6.1). What replaces them depends on this connection and
the next one, never on content.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from reusedproxy.wire.heads import CHUNKED, UNTIL_CLOSE, RequestHead, ResponseHead

CRLF: Final = b"\r\n"
#: The end of a head after which the connection ends.
LAST: Final = b"connection: close\r\n\r\n"


def request_head(head: RequestHead, forwarded: bytes, closes: bool, body: bytes) -> bytes:
    """Returns the head for the server, with the first of the body. `forwarded` is the line of `option forwardfor`;
    `closes` tells that the server connection ends."""
    if closes or head.te_trailers or head.upgrade is not None or (head.minor == 0 and head.host is None):
        return b"".join((head.block, forwarded, _wishes(head, closes), CRLF, body))
    return b"".join((head.block, forwarded, CRLF, body))


def naming_server(request: bytes, header: str, server: str) -> bytes:
    """Returns the request with this header in place of all of its name: it tells the server its name, which each try
    may send to another one."""
    end = request.index(b"\r\n\r\n")
    name = header.encode()
    first, *lines = request[:end].split(b"\r\n")
    kept = [line for line in lines if line.partition(b":")[0].lower() != name.lower()]
    return b"\r\n".join([first, *kept, b"%b: %b" % (name, server.encode())]) + request[end:]


def respelled(message: bytes, names: Mapping[bytes, bytes]) -> bytes:
    """Returns a message with the names of its head's fields as `names` has them, by names in lower case
    (`h1-case-adjust`)."""
    end = message.find(b"\r\n\r\n")
    if end < 0:  # a page of the operator's that ends otherwise
        return message
    first, *lines = message[:end].split(b"\r\n")
    made = [first]
    for line in lines:
        name, colon, value = line.partition(b":")
        made.append(names.get(name.lower(), name) + colon + value)
    return b"\r\n".join(made) + message[end:]


def _wishes(head: RequestHead, closes: bool) -> bytes:
    """Returns the Connection field and what it names: these go on only as the proxy's own wish (RFC 9110 sections
    7.6.1, 7.8 and 10.1.4)."""
    own = b""
    if head.upgrade is not None:
        pass  # `close` would contradict it; a server that does not switch has its connection ended by us
    elif closes:
        own = b"close"
    elif head.minor == 0 and head.host is None:
        own = b"keep-alive"  # it goes on as HTTP/1.0
    return head.wishes(own)


def response_head(head: ResponseHead, framed: bool, last: bool) -> bytes:
    """Returns the head for the client. `framed` tells that it understands chunked coding; `last`, that its connection
    ends after this answer."""
    # Of answers that need none of this, `Exchange.response_whole` writes the end itself.
    if not framed:
        if head.length <= 0 and head.values(b"Transfer-Encoding"):
            # Also in an answer to HEAD and in a 304: never to an HTTP/1.0 client (RFC 9112 section 6.1).
            head.drop_chunked()
        named = b"upgrade, " if head.upgrade is not None else b""
        return b"%bconnection: %b%b\r\n\r\n" % (head.block, named, b"close" if last else b"keep-alive")
    block = head.block
    if head.length == UNTIL_CLOSE:
        # So that the client can tell the end from a truncation, and its own connection stays.
        block += b"transfer-encoding: chunked\r\n"
    if head.upgrade is not None:
        return block + (b"connection: upgrade, close\r\n\r\n" if last else b"connection: upgrade\r\n\r\n")
    return block + (LAST if last else CRLF)


def ends_with_connection(head: ResponseHead, framed: bool) -> bool:
    """Tells whether only the end of the client's connection can mark the end of this answer."""
    return not framed and head.length in (CHUNKED, UNTIL_CLOSE)


def switch_head(head: ResponseHead) -> bytes:
    """Returns the head after which a tunnel begins: 101, or 2xx to CONNECT."""
    return head.block + (b"connection: upgrade\r\n\r\n" if head.status == 101 else CRLF)


def switches_as_asked(head: ResponseHead, request: RequestHead) -> bool:
    """Tells whether the client has named the protocol to which the server switches; it must have
    (RFC 9110 section 7.8)."""
    asked, switched = _protocols(request.upgrade), _protocols(head.upgrade)
    return bool(switched) and switched <= asked


def _protocols(field: bytes | None) -> set[bytes]:
    return {each.strip(b" \t").lower() for each in (field or b"").split(b",")} - {b""}
