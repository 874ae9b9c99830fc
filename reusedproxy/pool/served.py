"""What a server connection serves: whoever asks something of a server, a client's request, a check or a ping. Names only."""

from __future__ import annotations

from typing import Protocol

from reusedproxy.wire.heads import ResponseHead


class Exchange(Protocol):
    """One request and its answer, as the connection that carries them sees it. After `response_whole`, `response_ended`
    or `server_lost` it is not used any more; after `response_early`, until `request_sent` or `request_refused`."""

    method: bytes
    #: Whether the client takes chunked coding; if not, it gets the bare payload.
    framed: bool
    #: The client sends its body only when the server says 100, or after a while without.
    expects: bool

    def may_repeat(self) -> bool:
        """Tells whether it would be sent once more if the connection, which had stood idle, were lost without an answer."""

    def response_interim(self, head: ResponseHead) -> None:
        """Takes a 1xx head; the real one follows."""

    def response_switched(self, head: ResponseHead, data: bytes) -> None:
        """Takes over the connection: from here on the server speaks another protocol, or for another (101, 2xx to
        CONNECT); `data` is of that."""

    def unwanted(self, status: int) -> bool:
        """Tells whether an answer with this status is as good as none, and the request will be sent once more."""

    def answer_unwanted(self, status: int) -> None:
        """Hears that such an answer has come. The connection is free again already, or gone."""

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        """Takes head and all of the body at once. The connection is free again already."""

    def response_started(self, head: ResponseHead, data: bytes) -> None:
        """Takes the head and the first of the body; more follows."""

    def response_data(self, data: bytes) -> None:
        """Takes more of the body."""

    def response_ended(self) -> None:
        """Hears that the body is complete. The connection is free again already."""

    def response_early(self, head: ResponseHead | None, body: bytes) -> None:
        """Takes head and all of the body at once (None: the head has been told of, and the body is complete), before the
        request had gone out whole. The connection takes the rest of the request, and nothing else until that has ended."""

    def request_sent(self) -> None:
        """After `response_early`: the server has been sent all of the request. The connection is free again already."""

    def request_refused(self, whose: str | None) -> None:
        """After `response_early`: the connection is no more, and the rest of the request has nowhere to go. None: nobody did
        wrong, since the server had said that it would close."""

    def server_lost(self, whose: str, reason: str, answered: bool) -> None:
        """Hears that the connection is no more. `answered`: some byte of a response had come on it for this request."""

    def break_off(self) -> None:
        """Ends, because one of these calls has failed by our own fault; the connection has nothing to do with it any more."""

    def pause_request(self) -> None:
        """Sends no more for now: the server does not take it."""

    def resume_request(self) -> None:
        """Sends on."""
