"""Holds back what a server says first until the rules about it (`tcp-response content`) have decided."""

from __future__ import annotations

from typing import Final, Protocol

from reusedproxy.streams.inspection import CLOSE, DENIALS, SILENT_DROP, ContentRules, Inspectable, Inspection
from reusedproxy.streams.relay import Relay


class Answered(Inspectable, Protocol):
    """Defines the stream as its gate knows it."""

    response_bytes: bytes

    @property
    def most(self) -> int:
        """Returns how many bytes of one side are held while rules look at them."""

    def count_refused_answer(self) -> None:
        """Counts that a rule refuses what the server says."""

    def hide_client(self) -> None:
        """Has the client hear nothing of the end of its connection."""

    def store_server(self) -> None:
        """Stores the server in stick tables."""

    def drop_server(self) -> None:
        """Resets the server's connection."""


# What a server does.
SPEAKS: Final = "speaks"
HAS_ENDED: Final = "has ended"
IS_LOST: Final = "is lost"  # the caller ends its side, or the relay


class AnswerGate:
    """Stands in the way of one server until the rules let it speak (`relay.Gate`). `state` is SPEAKS, HAS_ENDED or
    IS_LOST."""

    def __init__(self, stream: Answered, relay: Relay, rules: ContentRules) -> None:
        self._stream = stream
        self._relay = relay
        self.state = SPEAKS
        self._inspection = Inspection(stream, rules, self._says_no_more, self._over)

    def data_received(self, data: bytes) -> None:
        self._stream.response_bytes += data
        if len(self._stream.response_bytes) >= self._stream.most:
            self._relay.server.transport.pause_reading()
        self._inspection.look()

    def eof_received(self) -> None:
        self.state = HAS_ENDED
        self._inspection.look()

    def decide(self) -> None:
        self.state = IS_LOST
        self._inspection.look()

    def look(self) -> None:
        """Looks before the server has said anything, as HAProxy does."""
        self._inspection.look()

    def leave(self) -> None:
        """Looks no more, because the stream ends."""
        self._inspection.leave()

    def _says_no_more(self) -> bool:
        return self.state != SPEAKS or len(self._stream.response_bytes) >= self._stream.most

    def _over(self, verdict: str) -> None:
        stream, relay = self._stream, self._relay
        if verdict not in DENIALS:
            stream.store_server()
        held, stream.response_bytes = stream.response_bytes, b""
        side = relay.server
        client = side.other.transport
        side.gate = None
        if verdict in DENIALS:
            stream.count_refused_answer()
            if verdict == SILENT_DROP:
                stream.hide_client()
            relay.end("PD", broken=verdict == SILENT_DROP)
            return
        if verdict == CLOSE:
            stream.drop_server()
            relay.end(relay.flags)
            return
        if held:
            relay.deadline = relay.now() + relay.idle
            client.write(held)
        if self.state == HAS_ENDED:
            side.eof_received()
        elif self.state == SPEAKS and not client.full and not side.ended:
            side.transport.resume_reading()
