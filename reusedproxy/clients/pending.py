"""Keeps a frontend's pending clients: connected, but with their PROXY protocol header or TLS handshake still
to be completed.

They count as the frontend's connections from the first moment, as in HAProxy; each becomes a client connection or a
line in the log. It must never know what is asked after the handshake.
"""

from __future__ import annotations

from collections.abc import Callable
from socket import socket
from typing import Final, Protocol

from reusedproxy.clients.connection import ClientConnection
from reusedproxy.clients.connection_limit import ConnectionLimit
from reusedproxy.clients.gate import ArrivalNotes
from reusedproxy.clients.owner import Owner
from reusedproxy.clients.stream import StreamConnection, StreamOwner
from reusedproxy.config.model.values import ListenAddress
from reusedproxy.measures.log_throttle import LogThrottle
from reusedproxy.net.listener import Listener
from reusedproxy.net.poller import Poller
from reusedproxy.net.preface import Preface
from reusedproxy.net.tls.handshake import Handshake, HandshakeFailure, HandshakeQueue
from reusedproxy.net.tls.server import Certificates
from reusedproxy.net.tls.server_transport import ServerTLSTransport
from reusedproxy.tables.tracking import leave
from reusedproxy.wire.proxy_protocol import ProxyHeader

#: Seconds for a handshake when no time-out says.
TIMEOUT: Final = 30.0

PendingClient = Handshake | Preface


class HandshakeCounts:
    """Counts the handshakes that were begun, those that were completed, those of them with a resumed session, and what
    failed."""

    def __init__(self) -> None:
        self.begun = self.completed = self.resumed = self.failed = 0

    def clear(self) -> None:
        self.begun = self.completed = self.resumed = self.failed = 0


class Announcement:
    """Holds by what another proxy has announced a client: its header, and of the connection on which that came its
    other end and the time of its beginning."""

    def __init__(self, header: ProxyHeader, preface: Preface) -> None:
        self.header = header
        self.peer = preface.address
        self.began = preface.began

    def note(self, connection: ClientConnection | StreamConnection) -> None:
        """Sets what the client's connection keeps of it."""
        header = self.header
        connection.destination, connection.announced, connection.peer = header.destination, header.values, self.peer


#: Takes a client whose handshake has failed, and by what another proxy has announced it (None: by nothing).
HandshakeLog = Callable[[PendingClient, HandshakeFailure, Announcement | None], None]


class Admitting(Owner, StreamOwner, Protocol):
    """Defines the frontend as its pending clients know it."""

    announce: Callable[[str, str], None]
    #: The limits of the process, which count clients over TLS.
    places: ConnectionLimit
    #: Tells that `stays` has something to do.
    judges_sessions: bool

    @property
    def maxconn(self) -> int: ...

    def stays(self, connection: ClientConnection | StreamConnection, notes: ArrivalNotes | None) -> bool:
        """Runs the rules for clients whose handshakes are over. Returns False if it has been turned away."""

    def admit(
        self, accepted: socket, address: tuple[str, int], listener: Listener, notes: ArrivalNotes | None
    ) -> ClientConnection | StreamConnection | PendingClient:
        """Makes the client connection, or begins the handshake that comes before it."""


class PendingClients:
    """Keeps the clients of a frontend that have connected but not completed their handshake; counts and bounds them,
    and reports failures.

    At most half of the frontend's places, or of those of clients over TLS, may be taken by pending clients: beyond that
    the oldest, which is hardly a genuine one, makes room.
    """

    def __init__(self, frontend: Admitting, poller: Poller) -> None:
        self.under_way: dict[PendingClient, None] = {}
        self._announced: dict[PendingClient, Announcement] = {}
        #: What rules for connections have noted.
        self._notes: dict[PendingClient, ArrivalNotes] = {}
        self.log: HandshakeLog | None = None
        #: The certificates shown to clients, by the address of the `bind` line; at other addresses there is no TLS.
        self.certificates: dict[ListenAddress, Certificates] = {}
        self.counts = HandshakeCounts()
        self._frontend = frontend
        self._poller = poller
        self._turns = HandshakeQueue(poller, frontend.deadlines.now)
        timeouts = frontend.timeouts
        waits = [each for each in (timeouts.client, timeouts.http_request) if each is not None]
        self._timeout = timeouts.client_hs or min(waits, default=TIMEOUT)
        self._throttle = LogThrottle(frontend.deadlines.now, lambda text: frontend.announce("warning", text))

    def begin(
        self,
        accepted: socket,
        address: tuple[str, int],
        listener: Listener,
        certificates: Certificates,
        notes: ArrivalNotes | None = None,
    ) -> Handshake:
        """Begins the TLS handshake of a client that has connected, of which rules have taken `notes`."""
        frontend = self._frontend
        self.counts.begun += 1
        handshake = Handshake(
            self._poller, frontend.deadlines, self._turns, certificates, accepted, self, address, listener
        )
        places = frontend.places
        places.over_tls += 1
        if places.maxsslconn:
            places.crowd()
        self._begin(handshake, notes)
        return handshake

    def expect_preface(
        self, accepted: socket, address: tuple[str, int], listener: Listener, notes: ArrivalNotes | None = None
    ) -> Preface:
        """Waits for the PROXY protocol header of another proxy that has connected (`accept-proxy`)."""
        preface = Preface(self._poller, self._frontend.deadlines, accepted, self, address, listener)
        if listener.certificates is not None:
            preface.over_tls = True
            places = self._frontend.places
            places.over_tls += 1
            if places.maxsslconn:
                places.crowd()
        self._begin(preface, notes)
        return preface

    def _begin(self, pending: PendingClient, notes: ArrivalNotes | None) -> None:
        self.under_way[pending] = None
        if notes is not None:
            self._notes[pending] = notes
        places = self._frontend.maxconn
        if (over_tls := self._frontend.places.maxsslconn) and pending.listener.certificates is not None:
            places = min(places, over_tls)
        if len(self.under_way) > max(1, places // 2):
            next(iter(self.under_way)).abort("too many handshakes are under way, and it was the oldest")
        pending.start(self._timeout)

    def preface_read(self, preface: Preface, header: ProxyHeader) -> None:
        """Goes on with the client that the header has announced, in the same place."""
        frontend = self._frontend
        del self.under_way[preface]
        frontend.connections.discard(preface)
        notes = self._notes.pop(preface, None)
        places = frontend.places
        places.over_tls -= preface.over_tls  # a handshake counts anew
        connection = frontend.admit(preface.socket, header.source or preface.address, preface.listener, notes)
        if places.maxsslconn:
            places.crowd()
        frontend.connections.add(connection)
        announcement = Announcement(header, preface)
        if isinstance(connection, (Handshake, Preface)):
            self._announced[connection] = announcement
            return
        announcement.note(connection)
        connection.handshake = connection.since - preface.began
        if not frontend.judges_sessions or frontend.stays(connection, notes):
            self._begun(connection)

    def preface_failed(self, preface: Preface, failure: HandshakeFailure) -> None:
        self._failed(preface, failure, "connection of")

    def handshake_done(self, handshake: Handshake, transport: ServerTLSTransport) -> None:
        """Makes a client connection of the handshake, in the same place."""
        frontend = self._frontend
        del self.under_way[handshake]
        self.counts.completed += 1
        self.counts.resumed += transport.resumed
        if (counted := handshake.listener.traffic) is not None:
            counted.ssl_sess += 1
            counted.ssl_reused_sess += transport.resumed
        frontend.connections.discard(handshake)
        connection: ClientConnection | StreamConnection
        if frontend.guide is None:
            connection = ClientConnection(frontend, transport, handshake.address, handshake.listener)
        else:
            connection = StreamConnection(frontend, transport, handshake.address, handshake.listener)
        announcement = self._announced.pop(handshake, None)
        if announcement is not None:
            announcement.note(connection)
        connection.handshake = connection.since - (handshake.began if announcement is None else announcement.began)
        frontend.connections.add(connection)
        connection.over_tls = True
        if frontend.judges_sessions and not frontend.stays(connection, self._notes.pop(handshake, None)):
            return
        if frontend.stopped or frontend.guide is not None:
            self._begun(connection)

    def _begun(self, connection: ClientConnection | StreamConnection) -> None:
        """Begins the stream of a connection that has one, or hands it over."""
        if self._frontend.stopped:
            self._frontend.settle(connection)
        elif isinstance(connection, StreamConnection):
            connection.begin()

    def handshake_failed(self, handshake: Handshake, failure: HandshakeFailure) -> None:
        self._failed(handshake, failure, "TLS handshake with")

    def _failed(self, pending: PendingClient, failure: HandshakeFailure, what: str) -> None:
        frontend, listener = self._frontend, pending.listener
        del self.under_way[pending]
        announcement = self._announced.pop(pending, None)
        notes = self._notes.pop(pending, None)
        if notes is not None and notes.counters is not None:
            leave(notes.counters)
        self.counts.failed += 1
        if listener.traffic is not None:
            listener.traffic.ssl_failed_handshake += 1
        frontend.connection_gone(pending, listener)
        if self.log is not None:
            self.log(pending, failure, announcement)
        host, port = pending.address
        who = f"{host}:{port}" if port else host
        text = f"Proxy {frontend.name}: {what} {who} at bind {listener.bind.address} failed: {failure.reason}"
        self._throttle.tell(failure.trouble, text, "failed handshakes")
