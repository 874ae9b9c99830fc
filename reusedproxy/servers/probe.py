"""A request of our own over a pooled connection: a check whose connection is to be kept, or a ping. Its answer's body is
read and dropped, so that the connection can carry others after it. It must never know what the answer means.
"""

from __future__ import annotations

from collections.abc import Callable

from reusedproxy.net.transport import BROKEN
from reusedproxy.servers.connection import SERVER_SLOW
from reusedproxy.wire.heads import ResponseHead

#: The answer's head, or None and why there is none; `slow` says that its time was over.
Ended = Callable[[ResponseHead | None, str, bool], None]


class Probe:
    """What a `ServerConnection` serves for ourselves. `ended` is called once, when the connection is free or gone again."""

    framed = True
    expects = False

    def __init__(self, method: bytes, ended: Ended) -> None:
        self.method = method
        self._head: ResponseHead | None = None
        self._ended = ended

    def may_repeat(self) -> bool:
        return False

    def unwanted(self, status: int) -> bool:
        return False

    def answer_unwanted(self, status: int) -> None:
        """Every answer is wanted."""

    def response_interim(self, head: ResponseHead) -> None:
        """The real one follows."""

    def response_switched(self, head: ResponseHead, data: bytes) -> None:
        self._ended(None, "unasked 101", False)

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        self._ended(head, "", False)

    def response_started(self, head: ResponseHead, data: bytes) -> None:
        self._head = head

    def response_data(self, data: bytes) -> None:
        """Nobody reads it."""

    def response_ended(self) -> None:
        self._ended(self._head, "", False)

    def response_early(self, head: ResponseHead | None, body: bytes) -> None:
        self._ended(head or self._head, "", False)

    def request_sent(self) -> None:
        """The connection, which took a little longer, is free."""

    def request_refused(self, whose: str | None) -> None:
        """It is gone. The answer stands."""

    def server_lost(self, whose: str, reason: str, answered: bool) -> None:
        self._ended(None, reason, whose == SERVER_SLOW)

    def break_off(self) -> None:
        self._ended(None, BROKEN, False)

    def pause_request(self) -> None:
        """It is too small for that."""

    def resume_request(self) -> None:
        """See `pause_request`."""
