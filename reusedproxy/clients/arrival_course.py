"""Holds what a rule for connections or sessions can say of a client in the words of the log (`sessions.course`): whence
and where it has come, and when. It has sent no request, and there is no server.

It must never know how a line is written.
"""

from __future__ import annotations

from typing import Any

from reusedproxy.config.model.persistence import NO_COOKIES
from reusedproxy.sessions.course import NO_SERVER, SessionCourse, number_of
from reusedproxy.wire.addresses import ipv6_text

#: The first two letters of the termination state: nothing has ended.
_NOTHING_ENDED = "--"


class ArrivalCourse(SessionCourse):
    """Holds it of an `Arrival`. The time of the handshakes is 0 until they are over."""

    __slots__ = ()

    def __init__(self, arrival: Any) -> None:
        client, frontend, listener = arrival.client, arrival.frontend, arrival.listener
        now: float = frontend.deadlines.now()
        handshake = 0.0 if client is None else client.handshake
        self.facts = arrival
        self._accepted = now if client is None else client.since - handshake
        host, port = arrival.source
        self.client_host = host if ":" not in host else ipv6_text(host)
        self.client_port = port if host != "unix" else number_of(listener, frontend.listeners)
        self.frontend_name = self.backend_label = name = frontend.name
        self.frontend_label = f"{name}~" if listener.bind.tls is not None else name
        self.server_label = NO_SERVER
        self.backend_requests = self.server_requests = self.retries = self.srv_queue = self.backend_queue = 0
        self.process_clients, self.frontend_clients = frontend.process_clients, frontend.clients
        self.handshake_time = int(handshake * 1000)
        self.total_time = self.active_time = self.user_time = int((now - self._accepted) * 1000)
        self.idle_time = self.request_time = self.whole_request_time = self.queue_time = self.connect_time = -1
        self.response_time = self.data_time = self.status = -1
        self.bytes_in = self.bytes_out = 0
        self.flags, self.moved, self.plus = _NOTHING_ENDED, "", ""

    @property
    def destination(self) -> tuple[str, int]:
        destination: tuple[str, int] = self.facts.destination
        return destination

    @property
    def termination(self) -> str:
        return self.flags + NO_COOKIES

    @property
    def origin(self) -> str:
        return "sess_error"

    @property
    def server_error(self) -> None:
        return None

    @property
    def server_tls_error(self) -> None:
        return None

    @property
    def server_address(self) -> None:
        return None

    @property
    def listener_number(self) -> int:
        return number_of(self.facts.listener, self.facts.frontend.listeners)

    @property
    def requested_at(self) -> float:
        return self.accepted_at

    @property
    def _offset(self) -> float:
        arrival = self.facts
        offset: float = arrival.wall() - arrival.frontend.deadlines.now()
        return offset

    @property
    def number(self) -> int:
        """Returns the next number of a request, as HAProxy does where there is none yet."""
        number: int = self.facts.frontend.next_number()
        return number

    @property
    def lines(self) -> int:
        lines: int = self.facts.frontend.lines
        return lines
