"""Says what the log says of one exchange, or one session of `mode tcp`, as far as it has come: times, numbers, names
(`reusedproxy.rules.facts.Course`).

A course is made for one line, or for one value that a rule writes, and forgotten: an exchange that held its own would
be left to the garbage collector. It must never know how a line is written.
"""

from __future__ import annotations

import os
from typing import Any

from reusedproxy.config.model.persistence import NO_COOKIES

NO_SERVER, STATISTICS = "<NOSRV>", "<STATS>"


class ExchangeCourse:
    """Says it of an exchange. Until that has ended, its times end now."""

    __slots__ = ("_accepted", "_ended", "_wall", "facts")

    #: An `Exchange` or `Stream`, which know this class.
    facts: Any

    def __init__(self, facts: Any) -> None:
        self.facts = facts
        deadlines = facts.client.deadlines
        self._ended: float = facts.ended or self._early_end() or deadlines.now()
        self._wall: float = facts.wall() - deadlines.now()
        self._accepted: float = facts.client.since - self._handshake

    def _early_end(self) -> float:
        """Returns when the head of the answer had come, which ends what is logged then."""
        answered: float = self.facts.answered
        return answered

    @property
    def _handshake(self) -> float:
        client = self.facts.client
        took: float = client.handshake if client.requests <= 1 else 0.0
        return took

    # Names and addresses.

    @property
    def frontend_name(self) -> str:
        name: str = self.facts.client.frontend.name
        return name

    @property
    def backend_label(self) -> str:
        return self.facts.backend_name or self.frontend_name

    @property
    def server_label(self) -> str:
        facts = self.facts
        if facts.by_page:
            return STATISTICS
        server = facts.server or facts.waited_for
        return NO_SERVER if server is None else server.name

    @property
    def source(self) -> tuple[str, int]:
        source: tuple[str, int] = self.facts.source
        return source

    @property
    def destination(self) -> tuple[str, int]:
        """Returns the address that the client has come to; that of the `bind` line if its socket is closed already."""
        destination: tuple[str, int] = self.facts.destination
        if destination[0]:
            return destination
        listener = self.facts.client.listener
        return listener.bind.address.host or "0.0.0.0", listener.port

    @property
    def server_source(self) -> tuple[str, int] | None:
        noted = self.facts.noted
        return None if noted is None else noted.source

    @property
    def server_address(self) -> tuple[str, int] | None:
        server = self.facts.server
        if server is None or server.target is None or not self.facts.connected:
            return None
        address = server.target.address
        return (address[0], address[1]) if isinstance(address, tuple) else ("unix", 0)

    @property
    def listener_number(self) -> int:
        client = self.facts.client
        return number_of(client.listener, client.frontend.listeners)

    @property
    def secure(self) -> bool:
        secure: bool = self.facts.client.transport.secure
        return secure

    # Times.

    @property
    def accepted_at(self) -> float:
        return self._accepted + self._wall

    @property
    def requested_at(self) -> float:
        began: float = self.facts.began
        return began + self._wall

    @property
    def handshake_time(self) -> int:
        return int(self._handshake * 1000)

    @property
    def idle_time(self) -> int:
        return _milliseconds(self.facts.client.since, self.facts.began)

    @property
    def request_time(self) -> int:
        return -1 if self.facts.head is None else _milliseconds(self.facts.began, self.facts.read)

    @property
    def whole_request_time(self) -> int:
        return -1 if self.facts.head is None else _milliseconds(self._accepted, self.facts.read)

    @property
    def queue_time(self) -> int:
        facts = self.facts
        if facts.by_page:
            return 0
        if facts.placed_at:
            return _milliseconds(facts.read, facts.placed_at)
        return _milliseconds(facts.read, self._ended) if facts.flags[1] == "Q" else -1

    @property
    def connect_time(self) -> int:
        facts = self.facts
        if facts.by_page:
            return 0
        return _milliseconds(facts.placed_at, facts.connected) if facts.connected else -1

    @property
    def response_time(self) -> int:
        facts = self.facts
        if facts.by_page:
            return 0
        return _milliseconds(facts.connected, facts.answered) if facts.answered else -1

    @property
    def data_time(self) -> int:
        facts = self.facts
        if facts.by_page:
            return 0
        return _milliseconds(facts.answered, self._ended) if facts.answered else -1

    @property
    def active_time(self) -> int:
        return _milliseconds(self.facts.began, self._ended)

    @property
    def total_time(self) -> int:
        return _milliseconds(self._accepted, self._ended)

    @property
    def user_time(self) -> int:
        return self.total_time - self.idle_time

    # Numbers and states.

    @property
    def logs_early(self) -> bool:
        early: bool = self.facts.client.frontend.settings.log.early
        return early

    @property
    def status(self) -> int:
        """Returns the status of the answer; as in HAProxy it is -1 as long as there is none."""
        facts = self.facts
        status: int = facts.status or (-1 if facts.answer is None else facts.answer.status)
        return status

    @property
    def flags(self) -> str:
        flags: str = self.facts.flags
        return flags

    @property
    def cookie_letters(self) -> str:
        facts = self.facts
        if facts.cookie is not None:
            letters: str = facts.cookie.letters(facts.binding, facts.server)
            return letters
        if facts.backend is not None:
            letters = facts.backend.cookie_letters
            return letters
        if facts.head is None:
            return NO_COOKIES
        letters = facts.client.frontend.cookie_letters
        return letters

    @property
    def bytes_in(self) -> int:
        size: int = self.facts.bytes_in
        return size

    @property
    def bytes_out(self) -> int:
        size: int = self.facts.bytes_out
        return size

    @property
    def process_clients(self) -> int:
        number: int = self.facts.client.frontend.process_clients
        return number

    @property
    def frontend_clients(self) -> int:
        number: int = self.facts.client.frontend.clients
        return number

    @property
    def backend_requests(self) -> int:
        backend = self.facts.backend
        return 0 if backend is None else backend.traffic.scur

    @property
    def server_requests(self) -> int:
        server = self.facts.server or self.facts.waited_for
        return 0 if server is None else server.served

    @property
    def retries(self) -> int:
        retries: int = self.facts.retries
        return retries

    @property
    def redispatched(self) -> bool:
        redispatched: bool = self.facts.redispatched
        return redispatched

    @property
    def srv_queue(self) -> int:
        position: int = self.facts.srv_queue
        return position

    @property
    def backend_queue(self) -> int:
        position: int = self.facts.backend_queue
        return position

    @property
    def number(self) -> int:
        noted = self.facts.note()
        if noted.number < 0:
            noted.number = self.facts.client.frontend.next_number()
        number: int = noted.number
        return number

    @property
    def lines(self) -> int:
        lines: int = self.facts.client.frontend.lines
        return lines

    @property
    def origin(self) -> str:
        if self.facts.head is None:
            return "sess_error"
        return "txn_close" if self.facts.ended else "txn_response"

    @property
    def host_name(self) -> str:
        return os.uname().nodename

    @property
    def pid(self) -> int:
        return os.getpid()


class StreamCourse(ExchangeCourse):
    """Says it of a session of `mode tcp`, whose data follow the connection to its server."""

    __slots__ = ()

    def _early_end(self) -> float:
        connected: float = self.facts.connected
        return connected

    @property
    def server_label(self) -> str:
        server = self.facts.server or self.facts.waited_for
        return NO_SERVER if server is None else server.name

    @property
    def idle_time(self) -> int:
        return 0

    @property
    def queue_time(self) -> int:
        facts = self.facts
        if facts.placed_at:
            return _milliseconds(facts.began, facts.placed_at)
        return _milliseconds(facts.began, self._ended) if facts.flags[1] == "Q" else -1

    @property
    def connect_time(self) -> int:
        facts = self.facts
        return _milliseconds(facts.placed_at, facts.connected) if facts.connected else -1

    @property
    def data_time(self) -> int:
        return _milliseconds(self.facts.connected, self._ended) if self.facts.connected else -1

    @property
    def status(self) -> int:
        return 0

    @property
    def cookie_letters(self) -> str:
        return NO_COOKIES

    @property
    def bytes_in(self) -> int:
        size: int = self.facts.received
        return size

    @property
    def bytes_out(self) -> int:
        size: int = self.facts.sent
        return size

    @property
    def origin(self) -> str:
        return "txn_close" if self.facts.ended else "txn_connect"


def number_of(listener: object, listeners: list[Any]) -> int:
    """Returns the listener's number, counted from 1; as in HAProxy it stands for the port of a unix socket's client."""
    return next((number for number, each in enumerate(listeners, 1) if each is listener), 0)


def _milliseconds(begin: float, end: float) -> int:
    return int((end - begin) * 1000)
