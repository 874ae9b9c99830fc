"""Opens the sockets of the runtime API (`stats socket`), accepts their clients, and keeps them through reloads.

A socket whose address stands in the new configuration, too, goes on, with the level, owner and mode that are said
there; sessions that are open keep their level. It must never know commands.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from attrs import Factory, define

from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.proxies import Global, StatsSocket
from reusedproxy.config.model.values import ListenAddress
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.listener import Listener, ListenError, backlog_of, bind_socket, owner_of
from reusedproxy.net.poller import Poller
from reusedproxy.net.transport import Transport
from reusedproxy.operators.runtime.proxy import LEVELS, Context, Service, SocketView, Statistics
from reusedproxy.operators.runtime.session import Session

#: Connections that may wait in the kernel while there are as many as `stats maxconn` allows.
BACKLOG = 128

Announce = Callable[[str, str], None]


@define(eq=False)
class _Socket:
    """Accepts the connections of one socket."""

    settings: StatsSocket
    listener: Listener
    api: RuntimeAPI
    #: Set while there are too many sessions.
    full: bool = False

    def connection_made(self, accepted: socket.socket, address: object, listener: Listener) -> None:
        self.api.accept(self, accepted)


@define
class Prepared:
    """Holds the sockets of a configuration that has yet to take effect: those that go on, and those bound for it."""

    settings: Global
    kept: dict[ListenAddress, StatsSocket] = Factory(dict)
    bound: list[tuple[StatsSocket, Listener]] = Factory(list)
    faults: list[Fault] = Factory(list)

    def give_up(self) -> None:
        """Closes what was bound: the configuration does not take effect."""
        for _, listener in self.bound:
            listener.close()


class RuntimeAPI:
    """Serves the runtime API on all its sockets. `state` is "new", "open" (accepts connections), "leaving" (those that
    are there go on) or "closed"."""

    def __init__(self, service: Service, reactor: Any, poller: Poller, announce: Announce) -> None:
        self.state = "new"
        self.sockets: list[_Socket] = []
        self.sessions: set[Session] = set()
        self._service = service
        self._poller = poller
        self._announce = announce
        self._deadlines = Deadlines(reactor)
        self._statistics = Statistics()
        self._settings = Global()
        self._listeners: dict[Session, Listener] = {}

    def prepare(self, settings: Global, *, bind: bool) -> Prepared:
        """Binds the sockets that do not stand yet, without accepting connections; not `bind` only looks for faults."""
        prepared = Prepared(settings)
        standing = {each.settings.bind.address: each for each in self.sockets if each.listener.stands}
        for said in settings.stats_sockets:
            address = said.bind.address
            if address in prepared.kept or any(each.bind.address == address for each, _ in prepared.bound):
                text = f"'stats socket {address}' stands already before: an address is listened on once"
                prepared.faults.append(Fault(said.bind.place, text))
                continue
            try:
                owner_of(said.bind)
                if address in standing:
                    prepared.kept[address] = said
                elif bind:
                    prepared.bound.append((said, self._bound(said)))
            except (ListenError, OSError) as error:
                why = str(error) if isinstance(error, ListenError) else f"cannot listen on {address}: {error.strerror}"
                fault = Fault(said.bind.place, f"stats socket: {why}{_directory(address)}")
                prepared.faults.append(fault)
        if prepared.faults:
            prepared.give_up()
            prepared.bound = []
        return prepared

    def _bound(self, said: StatsSocket) -> Listener:
        bound = bind_socket(said.bind, backlog_of(said.bind, BACKLOG))
        listener = Listener(self._poller, self._deadlines, said.bind, bound, partial(self._announce, "alert"))
        listener.backlog = backlog_of(said.bind, BACKLOG)
        return listener

    def adopt(self, prepared: Prepared) -> None:
        """Makes these sockets the only ones; with `start` they accept connections."""
        self._settings = prepared.settings
        left = []
        for each in self.sockets:
            said = prepared.kept.get(each.settings.bind.address)
            if said is None:
                each.listener.close()
                self._announce("notice", f"Runtime API listens no more on {each.settings.bind.address}")
                continue
            each.settings = said
            try:
                each.listener.adopt(said.bind, BACKLOG)
            except ListenError as error:
                self._announce("alert", f"Runtime API: {error}")
            left.append(each)
        new = [_Socket(said, listener, self) for said, listener in prepared.bound]
        self.sockets = [*left, *new]
        if self.state == "open":
            self._listen(new)
            self._fill()

    def start(self) -> None:
        """Accepts connections."""
        self.state = "open"
        self._listen(self.sockets)

    def _listen(self, sockets: Iterable[_Socket]) -> None:
        for each in sockets:
            each.listener.listen(each)
            text = f"Runtime API listens on {each.settings.bind.address} (level {each.settings.level})"
            self._announce("notice", text)

    def leave(self) -> None:
        """Accepts no more connections: another daemon may want the sockets."""
        if self.state != "closed":
            self.state = "leaving"
        for each in self.sockets:
            each.listener.close()
        self.sockets = []

    def stop(self) -> None:
        """Ends all sessions now."""
        self.leave()
        self.state = "closed"
        for session in list(self.sessions):
            session.stop()
        self._deadlines.stop()

    # What sockets and sessions call.

    def accept(self, at: _Socket, accepted: socket.socket) -> None:
        """Begins a session; the sockets pause when there are as many as `stats maxconn` says."""
        nobody: Session = None  # type: ignore[assignment]  # it makes itself the owner
        context = Context(
            self._service,
            LEVELS.index(at.settings.level),
            self._settings.stats_timeout,
            sockets=[SocketView(_called(each.settings.bind.address), each.settings.level) for each in self.sockets],
            statistics=self._statistics,
        )
        session = Session(self, Transport(self._poller, accepted, nobody), self._deadlines, context)
        self.sessions.add(session)
        self._listeners[session] = at.listener
        self._fill()

    def session_gone(self, session: Session) -> None:
        self.sessions.discard(session)
        listener = self._listeners.pop(session, None)
        if listener is not None:
            listener.connections -= 1
        self._fill()

    def _fill(self) -> None:
        """Pauses the sockets that may not have another connection, and resumes the others."""
        full = len(self.sessions) >= self._settings.stats_maxconn
        for each in self.sockets:
            each.full = full
            if full or each.listener.full:
                each.listener.pause()
            else:
                each.listener.resume()


def _called(address: ListenAddress) -> str:
    """Returns the address as HAProxy writes it."""
    return f"ipv{6 if address.v6 else 4}@{address}" if address.kind == "tcp" else str(address)


def _directory(address: ListenAddress) -> str:
    """Returns a hint if the directory of a unix socket is not there or not for this user, "" otherwise."""
    directory = os.path.dirname(address.path) if address.kind == "unix" else ""
    if directory and not os.path.isdir(directory):
        return f": its directory {directory} is not there: make it (systemd: RuntimeDirectory=)"
    if directory and not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        return f": the user that starts the daemon (number {os.geteuid()}) may not write into {directory}"
    return ""
