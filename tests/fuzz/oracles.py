"""How others read the same bytes: whole streams to h11, single messages to httptools, and chunked bodies to the letter
of the RFC.

The first two accept more than we do, so they bound what we may take from a peer, and must take whatever we send on.
Where they are known to differ from us for good reasons, it is bent straight here and nowhere else:

- h11 never keeps an HTTP/1.0 connection open, and stops where a protocol may change: one h11 connection a message.
- h11 takes no empty line before a request; RFC 9112 2.2 lets a server skip them, so they are skipped before it reads.
- h11 refuses the whitespace that RFC 9112 7.1.1 allows before a chunk's `;` (BWS), so its expression is widened.
- h11 refuses a trailer that would frame (Content-Length, Transfer-Encoding) and is malformed; RFC 9110 6.5.1 lets us
  drop any such trailer. So in what a peer sends (`received`) it is overlooked, and in what we send on it is not.
- httptools knows a fixed list of methods; a message with another one is not given to it.
"""

from __future__ import annotations

import re
from typing import Any

import h11
import h11._readers
import httptools
from attrs import frozen

#: More than any input has, so that h11's own limit is never the reason of anything.
_NO_LIMIT = 1 << 20
_HTTPTOOLS_METHODS = frozenset(
    b"DELETE GET HEAD POST PUT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND REBIND UNBIND "
    b"ACL REPORT MKACTIVITY CHECKOUT MERGE NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE MKCALENDAR LINK UNLINK".split()
)
_CHUNK_HEADER = re.compile(rb"(?P<chunk_size>[0-9A-Fa-f]{1,20})(?P<chunk_ext>[ \t]*;.*)?[ \t]*\r\n")
_FRAMING = re.compile("Content-Length|Transfer-Encoding")
_EMPTY_LINES = re.compile(rb"(?:\r\n)*")


@frozen
class Request:
    """A request as h11 reads it; `body` is None when its end has not come. `rest` is what lies beyond its end."""

    method: bytes
    target: bytes
    version: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes | None
    persists: bool
    rest: bytes


@frozen
class Response:
    """A response as h11 reads it, with the statuses of the interim ones before it."""

    interim: list[int]
    status: int
    version: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytes | None
    persists: bool
    rest: bytes


def read_request(data: bytes, received: bool = False) -> Request | None:
    """The request that stands at the beginning, with as much of its body as there is; None: its head is not whole.

    Raises h11.RemoteProtocolError for what h11 refuses.
    """
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=_NO_LIMIT)
    events = _events(server, data, received)
    if not events:
        return None
    head = events[0]
    assert isinstance(head, h11.Request)
    body = _body(events)
    rest = server.trailing_data[0] if body is not None else b""
    fields = list(head.headers)
    return Request(
        head.method, head.target, head.http_version, fields, body, _persists(head.http_version, fields), rest
    )


def upgrade_of(request: Request) -> bytes:
    """The protocols that it proposes to switch to (RFC 9110 7.8: only as an option of Connection), or nothing."""
    options = b",".join(value for name, value in request.fields if name == b"connection").lower().split(b",")
    proposed = b", ".join(value for name, value in request.fields if name == b"upgrade")
    return proposed if b"upgrade" in [option.strip(b" \t") for option in options] else b""


def requests_in(stream: bytes) -> list[Request]:
    """All requests of a client's stream, up to where it stops being HTTP; the last may have no end."""
    found: list[Request] = []
    while True:
        stream = skip_empty_lines(stream)
        try:
            request = read_request(stream, received=True)
        except h11.RemoteProtocolError:
            return found + _begun(stream)
        if request is None:
            return found
        if request.version == b"1.0" and any(name == b"transfer-encoding" for name, _ in request.fields):
            return found  # RFC 9112 6.1: its framing is faulty; h11 takes it
        found.append(request)
        if request.body is None or not request.persists:
            return found
        stream = request.rest


def _begun(stream: bytes) -> list[Request]:
    """The request whose head h11 takes, but not its body."""
    try:
        request = read_request(stream[: stream.index(b"\r\n\r\n") + 4])
    except (h11.RemoteProtocolError, ValueError):
        return []
    return [request] if request is not None and request.body is None else []


def skip_empty_lines(stream: bytes) -> bytes:
    """Without the empty lines that RFC 9112 2.2 lets a server skip before a request."""
    found = _EMPTY_LINES.match(stream)
    return stream[found.end() :] if found else stream


def read_response(
    data: bytes, method: bytes, closed: bool, *, offered: bool = False, received: bool = False
) -> Response | None:
    """The response that stands at the beginning and answers such a request; None: its final head is not whole.

    `closed`: the connection has ended cleanly behind the data; `offered`: the request proposed another protocol.
    Raises h11.RemoteProtocolError for what h11 refuses.
    """
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=_NO_LIMIT)
    proposal = [("Connection", "Upgrade"), ("Upgrade", "websocket")] if offered else []
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a"), *proposal]))
    client.send(h11.EndOfMessage())
    events = _events(client, data, received)
    interim = [event.status_code for event in events if isinstance(event, h11.InformationalResponse)]
    final = events[len(interim) :]
    if not final:
        return None
    head = final[0]
    assert isinstance(head, h11.Response)
    body = _body(final)
    rest = client.trailing_data[0] if body is not None else b""
    fields = list(head.headers)
    persists = _persists(head.http_version, fields)
    if body is None and closed:
        persists = False
        try:
            body = _body(final + _events(client, None, received))
        except h11.RemoteProtocolError:
            pass  # it ended early
    return Response(interim, head.status_code, head.http_version, fields, body, persists, rest)


def _events(connection: h11.Connection, data: bytes | None, received: bool) -> list[Any]:
    """All events that the data gives, until the message ends; None is the connection's end."""
    if data == b"":
        return []
    its_own = h11._readers.chunk_header_re
    h11._readers.chunk_header_re = _CHUNK_HEADER
    events: list[Any] = []
    reader: Any = None
    try:
        connection.receive_data(data or b"")
        while True:
            reader = connection._reader
            event = connection.next_event()
            if isinstance(event, type | h11.ConnectionClosed):
                return events
            events.append(event)
            if isinstance(event, h11.EndOfMessage):
                return events
    except h11.RemoteProtocolError as refusal:
        if received and getattr(reader, "_reading_trailer", False) and _FRAMING.search(str(refusal)):
            return [*events, h11.EndOfMessage()]
        raise
    finally:
        h11._readers.chunk_header_re = its_own


def _body(events: list[Any]) -> bytes | None:
    if not events or not isinstance(events[-1], h11.EndOfMessage):
        return None
    return b"".join(bytes(event.data) for event in events if isinstance(event, h11.Data))


def _persists(version: bytes, fields: list[tuple[bytes, bytes]]) -> bool:
    """RFC 9112 9.3, read anew."""
    options = [
        option.strip(b" \t") for name, value in fields if name == b"connection" for option in value.lower().split(b",")
    ]
    return b"close" not in options and (version > b"1.0" or b"keep-alive" in options)


#: What must not stand in a head, however lenient its reader (RFC 9110 5.5, RFC 9112 2.2 and 5.2).
_ILL_LINES = re.compile(
    rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n)|\r\n[ \t]|\r\n:|\r\n[^:\r]*[^!-~:\r][^:\r]*:"
)


def check_lines(head: bytes) -> None:
    """No control character, bare CR or LF, folded line, or name that is empty or holds a space."""
    found = _ILL_LINES.search(head)
    assert found is None, f"{found[0]!r} in a head" if found else ""


@frozen
class Chunked:
    """A chunked body by RFC 9112 7.1. `modest`: none of our limits is near."""

    payload: bytes
    rest: bytes
    modest: bool


MALFORMED = "malformed"
_CHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_VALUE = rb"(?:" + _CHAR + rb'+|"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*")'
_STRICT_CHUNK = re.compile(
    rb"([0-9A-Fa-f]+)(?:[ \t]*;[ \t]*" + _CHAR + rb"+(?:[ \t]*=[ \t]*" + _VALUE + rb")?)*\r\n",
)
_STRICT_TRAILERS = re.compile(rb"(?:" + _CHAR + rb"+:[\t -~\x80-\xff]*\r\n)*\r\n")


def read_chunked(data: bytes) -> Chunked | str | None:
    """The body that stands at the beginning; MALFORMED: no beginning of one, as far as whole lines tell;
    None: no end."""
    payload = b""
    at, modest = 0, len(data) < 1000
    while True:
        line = _STRICT_CHUNK.match(data, at)
        if line is None:
            return MALFORMED if b"\n" in data[at:] else None
        size = int(line[1], 16)
        modest = modest and len(line[1]) <= 16
        at = line.end()
        if not size:
            break
        payload += data[at : at + size]
        at += size
        if data[at : at + 2] != b"\r\n":
            return MALFORMED if len(data) >= at + 2 else None
        at += 2
    trailers = _STRICT_TRAILERS.match(data, at)
    if trailers is None:
        return MALFORMED if b"\r\n\r\n" in data[at - 2 :] else None
    return Chunked(payload, data[trailers.end() :], modest and trailers[0].count(b"\r\n") <= 20)


class _Listener:
    """What httptools saw."""

    def __init__(self) -> None:
        self.messages = 0
        self.body = b""

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.messages += 1


def check_with_httptools(message: bytes, method: bytes, body: bytes) -> None:
    """The parser of Node reads exactly this request in the message, and no other."""
    if method not in _HTTPTOOLS_METHODS:
        return
    listener = _Listener()
    parser = httptools.HttpRequestParser(listener)
    try:
        parser.feed_data(message)
    except httptools.HttpParserUpgrade as upgrade:
        assert upgrade.args[0] == len(message), "httptools leaves the message before its end"
    assert listener.messages == 1, f"{listener.messages} messages to httptools"
    assert (parser.get_method(), listener.body) == (method, body), "another message to httptools"
