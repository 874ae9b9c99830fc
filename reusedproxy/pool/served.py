"""Defines what a server connection serves: a client's request, a health check or a ping. Names only."""

from __future__ import annotations

from typing import Protocol

from reusedproxy.wire.heads import ResponseHead


class Exchange(Protocol):
    """Defines one request and its answer as the connection that carries them sees it. The connection does not use it
    any more after `response_whole`, `response_ended` or `server_lost`; after `response_early`, not after `request_sent`
    or `request_refused`."""

    method: bytes
    #: Whether the client takes chunked coding; if not, it gets the bare payload.
    framed: bool
    #: The client sends its body only when the server says 100, or after a while without.
    expects: bool

    def may_repeat(self) -> bool:
        """Tells whether the request would be repeated if the connection, which had stood idle, were lost
        without an answer."""

    def response_interim(self, head: ResponseHead) -> None:
        """Takes a 1xx head; the final one follows."""

    def response_switched(self, head: ResponseHead, data: bytes) -> None:
        """Takes over the connection, on which the server now speaks another protocol, or passes on another server's
        bytes (101, 2xx to CONNECT); `data` is the first of it."""

    def unwanted(self, status: int) -> bool:
        """Tells whether an answer with this status counts as a failure, so that the request is sent once more."""

    def answer_unwanted(self, status: int) -> None:
        """Notes that such an answer has come. The connection is free again already, or gone."""

    def challenged(self) -> bool:
        """Notes that the server asks for credentials which would authenticate the connection, and no single request.
        Returns whether the connection is to serve nobody but the client of this request from now on: who says so has to
        end it with the client. The answer follows."""

    def response_whole(self, head: ResponseHead, body: bytes, now: float) -> None:
        """Takes head and all of the body at once, which came at the clock's time `now`. The connection is free again
        already."""

    def response_started(self, head: ResponseHead, data: bytes) -> None:
        """Takes the head and the first of the body; more follows."""

    def response_data(self, data: bytes) -> None:
        """Takes more of the body."""

    def response_ended(self) -> None:
        """Notes that the body is complete. The connection is free again already."""

    def response_early(self, head: ResponseHead | None, body: bytes) -> None:
        """Takes head and all of the body at once, before the request had been sent to its end. None: the head was
        passed on before, and the body is complete. The connection sends the rest of the request, and serves nobody else
        until that has ended."""

    def request_sent(self) -> None:
        """Notes, after `response_early`, that the server has been sent all of the request. The
        connection is free again already."""

    def request_refused(self, whose: str | None) -> None:
        """Notes, after `response_early`, that the connection is gone, so that the rest of the request cannot be sent.
        None: nobody is to blame, since the server had said that it would close."""

    def server_lost(self, whose: str, reason: str, answered: bool) -> None:
        """Notes that the connection is gone. `answered` tells that some byte of a response had come
        on it for this request."""

    def break_off(self) -> None:
        """Ends the exchange, because one of these calls has failed by an error of the proxy; the connection
        has dropped it already."""

    def pause_request(self) -> None:
        """Stops sending for now: the server does not take it."""

    def resume_request(self) -> None:
        """Sends on."""
