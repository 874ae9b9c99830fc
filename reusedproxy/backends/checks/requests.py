"""Writes the requests of HTTP checks, and reads the answers."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve

from reusedproxy.backends.checks.facts import CheckFacts
from reusedproxy.config.model.checks import HTTPCheck, SendRequest
from reusedproxy.config.rules.samples import RESPONSE
from reusedproxy.rules.samples.formats import text_of, text_of_body
from reusedproxy.wire.bodies import BodyFault, ChunkedBody, LengthBody, UntilCloseBody
from reusedproxy.wire.framing import CHUNKED, UNTIL_CLOSE
from reusedproxy.wire.heads import Limits, ResponseFault, ResponseHead, find_head_end, read_response

Request = Callable[[CheckFacts], bytes]


def request(http: HTTPCheck, *, keep: bool = False) -> bytes:
    """Returns the bytes of a check's request, as HAProxy 2.6 sends them.

    In HTTP/1.1 the connection ends after it, unless a header says otherwise or it is to be kept (`keep`). The length is
    the body's, whatever was configured.
    """
    return _written(http, http.body.encode(), keep=keep)


def _written(http: HTTPCheck, body: bytes, *, keep: bool = False) -> bytes:
    headers = [(name.lower(), value) for name, value in http.headers if name.lower() != "content-length"]
    if body:
        headers.append(("content-length", str(len(body))))
    if not any(name == "connection" for name, _ in headers):
        if http.version == "HTTP/1.1" and not keep:
            headers.append(("connection", "close"))
        elif http.version == "HTTP/1.0" and keep:
            headers.append(("connection", "keep-alive"))
    lines = [f"{http.method} {http.uri} {http.version}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


def compiled_request(step: SendRequest, state: Callable[[], str] | None) -> Request:
    """Compiles a request to a function of the check. `state` returns the value of X-Haproxy-Server-State."""
    constant = step.uri is None and step.body is None and not any(step.values)
    if constant and state is None:
        whole = request(step.request)
        return lambda facts: whole
    uri = None if step.uri is None else text_of(step.uri, RESPONSE)
    values = [None if made is None else text_of(made, RESPONSE) for made in step.values]
    body = None if step.body is None else text_of_body(step.body, RESPONSE)

    def make(facts: CheckFacts) -> bytes:
        http = step.request
        headers = [
            (name, value if made is None else _decoded(made(facts)))
            for (name, value), made in zip(http.headers, values or [None] * len(http.headers), strict=True)
        ]
        if state is not None:
            headers.append(("x-haproxy-server-state", state()))
        target = http.uri if uri is None else _decoded(uri(facts)).replace(" ", "%20")
        return _written(
            evolve(http, uri=target, headers=tuple(headers)), http.body.encode() if body is None else body(facts)
        )

    return make


def _decoded(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


class Answer:
    """Reads the answer to a request: `head`, then `body` up to a bound. `fault` says what is wrong with it, "" as long
    as nothing is; `complete` that no more of it is to come."""

    def __init__(self, method: bytes, limits: Limits, most: int) -> None:
        self.head: ResponseHead | None = None
        self.body = b""
        self.fault = ""
        self.complete = False
        self._method = method
        self._limits = limits
        self._most = most
        self._received = b""
        self._reader: LengthBody | ChunkedBody | UntilCloseBody | None = None

    def feed(self, data: bytes) -> None:
        if self.complete or self.fault:
            return
        if self.head is None:
            self._received += data
            end = find_head_end(self._received)
            if end < 0:
                if len(self._received) > self._limits.max_head:
                    self.fault = "response head too long"
                return
            try:
                self.head = head = read_response(self._received[:end], self._method, self._limits)
            except ResponseFault as fault:
                self.fault = str(fault)
                return
            data, self._received = self._received[end:], b""
            if head.length == CHUNKED:
                self._reader = ChunkedBody(self._limits, framed=False)
            elif head.length == UNTIL_CLOSE:
                self._reader = UntilCloseBody(framed=False)
            else:
                self._reader = LengthBody(head.length)
                self.complete = self._reader.complete
        if data:
            self._read(data)

    def _read(self, data: bytes) -> None:
        reader = self._reader
        assert reader is not None
        try:
            while data:
                self.body += reader.feed(data)[0]
                data = reader.held
                if isinstance(reader, ChunkedBody):
                    reader.held = b""
        except BodyFault as fault:
            self.fault = fault.reason
        self.complete = reader.complete or len(self.body) >= self._most
        self.body = self.body[: self._most]
