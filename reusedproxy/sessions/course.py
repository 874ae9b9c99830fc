"""Holds what a line of the log shows of one request, or of one session of `mode tcp`: times, numbers and names
(`reusedproxy.rules.facts.Course`), as far as these are known by now.

A course is made for one line, or for one value that a rule writes, and dropped: an exchange that referred to its own
course would stay in memory until the garbage collector's next run. It must never know how a line is written.
"""

from __future__ import annotations

import os
from itertools import count
from typing import Any

from reusedproxy.pool.named import NameRefused
from reusedproxy.rules.facts import TLS_REFUSED_LATE
from reusedproxy.wire.addresses import ipv6_text

NO_SERVER = "<NOSRV>"


class SessionCourse:
    """Holds what requests and sessions of `mode tcp` have in common. Times are whole milliseconds, -1 for a step that
    has not been reached; where the end has not come they end now.

    What nearly each line shows is computed in the constructors of the derived classes: as properties, it made a line of
    `option httplog` take 11 µs, where it takes 6 now.
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

    #: An `Exchange` or a `Stream`, both of layers above.
    facts: Any

    def _begin(self, facts: Any, ended: float) -> None:
        """Sets what does not depend on the kind of session. `ended` is when it has ended, or now."""
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
        return destination_of(self.facts)

    @property
    def hedged(self) -> int:
        """Returns 0: nothing is sent twice."""
        return 0

    @property
    def server_source(self) -> tuple[str, int] | None:
        noted = self.facts.noted
        return None if noted is None else noted.source

    @property
    def server_error(self) -> int | None:
        noted = self.facts.noted
        error = 0 if noted is None else noted.server_error
        if self.facts.connected and error != TLS_REFUSED_LATE:
            return 0
        return error or None

    @property
    def server_tls_error(self) -> tuple[int, bytes] | None:
        noted = self.facts.noted
        if not self.facts.connected:
            return None if noted is None else noted.server_tls_error
        late = noted is not None and noted.server_error == TLS_REFUSED_LATE
        return None if late or self.facts.server_tls is None else (0, b"")

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
    def host_name(self) -> str:
        return os.uname().nodename

    @property
    def pid(self) -> int:
        return os.getpid()


def number_of(listener: Any, listeners: list[Any]) -> int:
    """Returns the listener's number: its `id`, or the next from 1 on that no other one says; 0 where it is none of
    these. As in HAProxy it stands for the port of a unix socket's client."""
    said: int = listener.bind.id
    if said:
        return said
    taken = {each.bind.id for each in listeners}
    free = (number for number in count(1) if number not in taken)
    others = (each for each in listeners if not each.bind.id)
    return next((number for each, number in zip(others, free, strict=False) if each is listener), 0)


def destination_of(facts: Any) -> tuple[str, int]:
    """Returns the address that a client has come to, as a PROXY protocol header says, if there was one; that of the
    `bind` line if its socket is closed already."""
    destination: tuple[str, int] = facts.destination
    if destination[0]:
        return destination
    listener = facts.client.listener
    return listener.bind.address.host or "0.0.0.0", listener.port
