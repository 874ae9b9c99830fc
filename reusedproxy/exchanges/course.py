"""Says what the log says of one exchange, or one session of `mode tcp`, as far as it has come: times, numbers, names
(`reusedproxy.rules.facts.Course`).

A course is made for one line, or for one value that a rule writes, and forgotten: an exchange that held its own would
be left to the garbage collector. It must never know how a line is written.
"""

from __future__ import annotations

import os
from typing import Any

from reusedproxy.config.model.persistence import NO_COOKIES
from reusedproxy.pool.named import NameRefused
from reusedproxy.wire.addresses import ipv6_text

NO_SERVER = "<NOSRV>"


class ExchangeCourse:
    """Says it of an exchange. Until that has ended, its times end now.

    What nearly each line shows is found at once: with a property for each, a line of `option httplog` took 11 µs, and
    so it takes 6.
    """

    __slots__ = (
        "_accepted",
        "active_time",
        "backend_label",
        "backend_queue",
        "backend_requests",
        "bytes_in",
        "bytes_out",
        "client_host",
        "client_port",
        "connect_time",
        "data_time",
        "facts",
        "flags",
        "frontend_clients",
        "frontend_label",
        "frontend_name",
        "handshake_time",
        "idle_time",
        "moved",
        "plus",
        "process_clients",
        "queue_time",
        "request_time",
        "response_time",
        "retries",
        "server_label",
        "server_requests",
        "srv_queue",
        "status",
        "total_time",
        "user_time",
        "whole_request_time",
    )

    #: An `Exchange` or `Stream`, which know this class.
    facts: Any

    def __init__(self, facts: Any) -> None:
        began, read, placed = facts.began, facts.read, facts.placed_at
        connected, answered = facts.connected, facts.answered
        ended = facts.ended or answered or facts.client.deadlines.now()
        self._begin(facts, ended)
        since = facts.client.since
        self.idle_time = idle = int((began - since) * 1000)
        if facts.head is None:
            self.request_time = self.whole_request_time = -1
        else:
            self.request_time = int((read - began) * 1000)
            self.whole_request_time = int((read - self._accepted) * 1000)
        self.queue_time = int((placed - read) * 1000) if placed else -1
        self.connect_time = int((connected - placed) * 1000) if connected else -1
        self.response_time = int((answered - connected) * 1000) if answered else -1
        self.data_time = int((ended - answered) * 1000) if answered else -1
        if facts.applet:
            self.server_label = facts.applet
            self.queue_time = self.connect_time = self.response_time = self.data_time = 0
        elif not placed and self.flags[1] == "Q":
            self.queue_time = int((ended - read) * 1000)
        self.active_time = int((ended - began) * 1000)
        self.user_time = self.total_time - idle
        # As in HAProxy it is -1 as long as there is no answer.
        self.status = facts.status or (-1 if facts.answer is None else facts.answer.status)
        self.bytes_in, self.bytes_out = facts.bytes_in, facts.bytes_out

    def _begin(self, facts: Any, ended: float) -> None:
        """Finds what exchanges and sessions have in common."""
        client, backend, server = facts.client, facts.backend, facts.server or facts.waited_for
        frontend = client.frontend
        self.facts = facts
        handshake = client.handshake if client.requests <= 1 else 0.0
        accepted: float = client.since - handshake
        self._accepted = accepted
        own_source: tuple[str, int] | None = facts.own_source
        host, port = client.address if own_source is None else own_source
        self.client_host = host if ":" not in host else ipv6_text(host)
        self.client_port = port if host != "unix" else number_of(client.listener, frontend.listeners)
        self.frontend_name = name = frontend.name
        self.frontend_label = f"{name}~" if client.transport.secure else name
        self.backend_label = name if backend is None else backend.name
        self.backend_requests = 0 if backend is None else backend.traffic.scur
        self.server_label = NO_SERVER if server is None else server.name
        self.server_requests = 0 if server is None else server.served
        self.handshake_time = int(handshake * 1000)
        self.total_time = int((ended - accepted) * 1000)
        flags: str = facts.flags
        self.flags = flags
        self.process_clients, self.frontend_clients = frontend.process_clients, frontend.clients
        self.retries = facts.retries
        self.moved = "+" if facts.redispatched else ""
        self.srv_queue, self.backend_queue = facts.srv_queue, facts.backend_queue
        #: Stands before what is larger in the end, in a line that comes early.
        self.plus = "+" if frontend.settings.log.early else ""

    # What few lines show.

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
        if not isinstance(address, tuple):
            return "unix", 0
        if server.place is None:
            return address[0], address[1]
        try:
            host, port = server.place(self)
        except NameRefused:
            return None
        return host or address[0], port

    @property
    def listener_number(self) -> int:
        client = self.facts.client
        return number_of(client.listener, client.frontend.listeners)

    @property
    def accepted_at(self) -> float:
        return self._accepted + self._offset

    @property
    def requested_at(self) -> float:
        began: float = self.facts.began
        return began + self._offset

    @property
    def _offset(self) -> float:
        """Returns by how much the time of day is ahead of the clock."""
        facts = self.facts
        offset: float = facts.wall() - facts.client.deadlines.now()
        return offset

    @property
    def termination(self) -> str:
        """Returns the four letters of the termination state."""
        facts = self.facts
        letters: str
        if facts.cookie is not None:
            letters = facts.cookie.letters(facts.binding, facts.server)
        elif facts.backend is not None:
            letters = facts.backend.cookie_letters
        else:
            letters = NO_COOKIES if facts.head is None else facts.client.frontend.cookie_letters
        return self.flags + letters

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

    def __init__(self, facts: Any) -> None:
        began, placed, connected = facts.began, facts.placed_at, facts.connected
        ended = facts.ended or connected or facts.client.deadlines.now()
        self._begin(facts, ended)
        self.idle_time = self.request_time = 0
        self.whole_request_time = self.handshake_time
        self.queue_time = int((placed - began) * 1000) if placed else -1
        if not placed and self.flags[1] == "Q":
            self.queue_time = int((ended - began) * 1000)
        self.connect_time = int((connected - placed) * 1000) if connected else -1
        self.response_time = -1
        self.data_time = int((ended - connected) * 1000) if connected else -1
        self.active_time = int((ended - began) * 1000)
        self.user_time = self.total_time
        self.status = 0
        self.bytes_in, self.bytes_out = facts.received, facts.sent

    @property
    def termination(self) -> str:
        return self.flags + NO_COOKIES

    @property
    def origin(self) -> str:
        return "txn_close" if self.facts.ended else "txn_connect"


def number_of(listener: object, listeners: list[Any]) -> int:
    """Returns the listener's number, counted from 1; as in HAProxy it stands for the port of a unix socket's client."""
    return next((number for number, each in enumerate(listeners, 1) if each is listener), 0)
