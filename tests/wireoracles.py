"""What h11 and httptools read in bytes, and whether that is one whole message: the oracles of the wire's tests.

Neither is as strict as we are; what they take whole a peer may act upon.
"""

from __future__ import annotations

from functools import cache
from urllib.parse import urlsplit

import h11
import httptools
from attrs import define, field


@define
class Message:
    """What an oracle saw. `messages` counts heads whose message ended, interim responses included."""

    messages: int = 0
    start: tuple[bytes, ...] = ()
    fields: list[tuple[bytes, bytes]] = field(factory=list)
    body: bytes = b""
    left: bytes = b""


class Listener:
    """What httptools calls."""

    def __init__(self) -> None:
        self.message = Message()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.message.fields.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.message.body += body

    def on_message_complete(self) -> None:
        self.message.messages += 1


def httptools_request(data: bytes) -> Message | None:
    """None: it refuses. It reads as many requests as there are."""
    listener = Listener()
    parser = httptools.HttpRequestParser(listener)
    try:
        parser.feed_data(data)
    except httptools.HttpParserError:
        return None
    listener.message.start = (parser.get_method(),)
    return listener.message


def httptools_response(data: bytes) -> Message | None:
    """None: it refuses. It knows no request, so HEAD is beyond it,
    and nobody can tell it that a connection has ended."""
    listener = Listener()
    parser = httptools.HttpResponseParser(listener)
    try:
        parser.feed_data(data)
    except httptools.HttpParserError:
        return None
    listener.message.start = (b"%d" % parser.get_status_code(),)
    return listener.message


def h11_request(data: bytes) -> Message | None:
    """The first request; `left` is what lies behind it. None: it refuses."""
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=10**6)
    server.receive_data(data)
    return _read(server)


def h11_response(data: bytes, method: bytes) -> Message | None:
    """Interim responses and one final, after which the connection ends; None: it refuses, or that end cuts it off."""
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=10**6)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    if data:
        client.receive_data(data)
    message = _read(client)
    if message is None or client.their_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED):
        return message
    client.receive_data(b"")
    rest = _read(client)
    if rest is not None:
        message.messages += rest.messages
        message.body += rest.body
    return rest and message


def _read(connection: h11.Connection) -> Message | None:
    message = Message()
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                message.start = (event.method, event.target)
                message.fields = list(event.headers)
            elif isinstance(event, h11.InformationalResponse):
                message.messages += 1
            elif isinstance(event, h11.Response):
                message.start = (b"%d" % event.status_code,)
                message.fields = list(event.headers)
            elif isinstance(event, h11.Data):
                message.body += event.data
            else:
                message.messages += isinstance(event, h11.EndOfMessage)
                message.left = connection.trailing_data[0] if message.messages else b""
                return message
    except h11.RemoteProtocolError:
        return None


def normalised(
    method: bytes, target: bytes, fields: list[tuple[bytes, bytes]]
) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """A request's target and fields as RFC 9110 4.2.3 and RFC 9112 3.2.2 and 3.2.4 have a proxy send them on: an
    absolute target with a path and without a needless port, and Host the same. h11 reads both as they were sent."""
    parts = urlsplit(target.decode("latin-1")) if b"://" in target and target[:1] not in b"/*" else None
    default = "" if parts is None or method == b"CONNECT" else {"http": ":80", "https": ":443"}[parts.scheme]

    def without_port(authority: str) -> str:
        return authority.removesuffix(default).removesuffix(":")

    fields = [
        (name, without_port(value.decode("latin-1")).encode("latin-1") if name == b"host" else value)
        for name, value in fields
    ]
    if parts is None or method == b"CONNECT":
        return target, fields
    authority = without_port(parts.netloc)
    if all(name != b"host" for name, _ in fields):
        fields.insert(0, (b"host", authority.encode("latin-1")))
    spelt, _, rest = target.partition(b"://")
    rest = rest[len(parts.netloc) :]
    if not rest and method == b"OPTIONS":
        return b"*", fields
    return spelt + b"://" + authority.encode("latin-1") + (b"" if rest.startswith(b"/") else b"/") + rest, fields


def is_whole_request(data: bytes) -> bool:
    """Whether a server would act upon these bytes."""
    message = h11_request(data)
    return message is not None and message.messages > 0


@cache
def is_whole_response(data: bytes, method: bytes = b"GET") -> bool:
    """Whether a client would take these bytes, and then the end of the connection, for a whole answer."""
    message = h11_response(data, method)
    return message is not None and message.start != () and message.messages > data.count(b"HTTP/1.1 1")
