"""Gives rules the facts of a stream (`reusedproxy.rules.facts.Facts`): its connections, its variables, and the bytes
that have passed so far.

Nothing here costs anything until a rule asks for it. It must never know how a stream goes on.
"""

from __future__ import annotations

from typing import Final

from reusedproxy.rules.facts import Course, Inspected
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.rules.waiting import Incomplete
from reusedproxy.sessions.facts import ConnectionFacts
from reusedproxy.streams.client import StreamClient
from reusedproxy.streams.course import StreamCourse
from reusedproxy.wire.client_hello import ClientHello, HelloReader
from reusedproxy.wire.heads import RequestHead
from reusedproxy.wire.loose_heads import Ambiguous, NotHTTP, is_whole, read_as_request, read_loose_request

# How a stream's bytes are read once they have been led: as they are, as requests, or one of the two.
AS_BYTES: Final = "bytes"
AS_REQUESTS: Final = "requests"
AS_EITHER: Final = "either"


class StreamFacts(ConnectionFacts[StreamClient]):
    """Holds the facts of a stream; the base of `Stream`."""

    first_request = True
    #: How its bytes will be read.
    read_as: str = AS_BYTES
    #: What requests alone have.
    credentials: None = None
    auth_scheme: bytes | None = None
    asks_as_proxy = False
    #: There are no rules about persistence.
    persist = ""
    line: bytes | None = None
    body: bytes | None = None
    answer_body: bytes | None = None
    #: What the server has said, and rules hold back.
    response_bytes = b""
    #: What the client has sent, and no server has got so far.
    held: bytes
    #: Nothing more is waited for.
    final = True
    waited = False
    changes = False
    _head: RequestHead | None = None
    #: The client's bytes are no head, whatever follows.
    _headless = False
    #: A rule has asked for the head of a request, and none had come by then.
    judged_without_head = False
    _hello: HelloReader | None = None

    def member(self, users: str) -> bytes | None:
        return None

    @property
    def course(self) -> Course:
        return StreamCourse(self)

    @property
    def most(self) -> int:
        return self.client.frontend.limits.buffer

    @property
    def request_bytes(self) -> bytes:
        return self.held

    def client_hello(self) -> ClientHello | None:
        if not self.held:
            return None
        if self._hello is None:
            self._hello = HelloReader()
        return self._hello.read(self.held)

    @property
    def inspected(self) -> Inspected:
        return self

    @property
    def head(self) -> RequestHead | None:
        """Returns the head of a request that the client has sent, as far as it is HTTP, as the server gets it. Raises
        Incomplete, and Unevaluated where servers may read it in several ways."""
        if self._head is None and not self._headless:
            try:
                head = read_loose_request(self.held)
                if head is not None and self.read_as != AS_BYTES:
                    limits, surely = self.client.frontend.limits, self.read_as == AS_REQUESTS
                    head = read_as_request(self.held, head, limits, surely)
                if head is not None and not is_whole(self.held):
                    self.changes = True
                    return head
                self._head = head
            except NotHTTP:
                self._headless = True
            except Ambiguous as ambiguous:
                raise Unevaluated(f"servers may read the request in different ways: {ambiguous}") from None
            else:
                if self._head is None and not self.final:
                    raise Incomplete
        if self._head is None:
            self.judged_without_head = True
        return self._head
