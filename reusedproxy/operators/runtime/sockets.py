"""Opens the sockets of the runtime API (`stats socket`), accepts their clients, and keeps them through reloads.

A socket whose address stands in the new configuration, too, goes on, with the level, owner and mode that are said
there; where they cannot be set, the reload is refused. Nobody gains by a reload: a session keeps its level, and ends if
its line is gone or lets in fewer; a client that waits in the kernel's queue gets the lower of both levels. Where there
are as many sessions as may be, those that are idle or have a lower level give way. Likewise a session is given the
listening sockets of the process (`expose-fd listeners`) where its line has said so from its beginning until now. It
must never know commands.

Sessions, and with them all commands, are loaded where there is a socket (`daemon.parts`).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from attrs import Factory, define, evolve

from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.proxies import Global, StatsSocket
from reusedproxy.config.model.values import ListenAddress
from reusedproxy.measures.log_throttle import LogThrottle
from reusedproxy.net.binding import Given, ListenError, backlog_of, bind_socket, demand_bindable, given_socket
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.listener import Listener
from reusedproxy.net.peer_credentials import may_connect, process_of
from reusedproxy.net.poller import Poller
from reusedproxy.net.transport import Transport
from reusedproxy.net.unix_sockets import admits_as_many
from reusedproxy.operators.logs.orders import Orderer
from reusedproxy.operators.runtime.proxy import LEVELS, PRODUCT, Context, Service, SocketView, Statistics

if TYPE_CHECKING:
    from reusedproxy.operators.runtime.session import Session

#: Connections that may wait in the kernel while there are as many as `stats maxconn` allows.
BACKLOG = 128
#: Seconds that a session has to be idle to give way to another of the same level.
IDLE = 5.0
#: Seconds after a reload for which it is asked again whether clients may come: the kernel has asked microseconds before
#: one stands in its queue, unless the machine has stood still.
LATE = 10.0

Announce = Callable[[str, str], None]


@define(eq=False)
class _Socket:
    """Accepts the connections of one socket."""

    settings: StatsSocket
    listener: Listener
    api: RuntimeAPI
    #: Set while there are too many sessions.
    full: bool = False
    #: Until this time, clients are looked at who may have connected by the line before, which let in more.
    narrowed_until: float = 0.0

    def connection_made(self, accepted: socket.socket, address: object, listener: Listener) -> None:
        if self.api.is_late(self, accepted):
            listener.connections -= 1
            accepted.close()
        else:
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

    def __init__(
        self,
        service: Service,
        reactor: Any,
        poller: Poller,
        announce: Announce,
        hand_over: Callable[[socket.socket], None] | None = None,
    ) -> None:
        """Calls `hand_over` with the connection of a process that takes this one's place."""
        self.state = "new"
        self._hand_over = hand_over
        self.sockets: list[_Socket] = []
        self.sessions: set[Session] = set()
        self._service = service
        self._poller = poller
        self._announce = announce
        self._deadlines = Deadlines(reactor)
        self._statistics = Statistics()
        self._settings = Global()
        self._at: dict[Session, _Socket] = {}
        self._displaced = LogThrottle(reactor.seconds, lambda text: announce("warning", text))
        self._faults = LogThrottle(reactor.seconds, lambda text: announce("warning", text))
        #: When the next session has been idle for long enough to give way.
        self.deadline = inf
        self.slot = 0.0

    def prepare(self, settings: Global, *, bind: bool, given: Given | None = None) -> Prepared:
        """Binds the sockets that do not stand yet and are not `given`, without accepting connections; not `bind` only
        looks for faults."""
        prepared = Prepared(settings)
        standing = {each.settings.bind.address: each for each in self.sockets if each.listener.stands}
        for said in settings.stats_sockets:
            address = said.bind.address
            if address in prepared.kept or any(each.bind.address == address for each, _ in prepared.bound):
                text = f"'stats socket {address}' stands already before: an address is listened on once"
                prepared.faults.append(Fault(said.bind.place, text))
                continue
            try:
                if address in standing:
                    standing[address].listener.may_adopt(said.bind)
                    prepared.kept[address] = said
                else:
                    self._prepare_new(said, prepared, bind, given)
            except ListenError as error:
                prepared.faults.append(Fault(said.bind.place, f"stats socket: {error}"))
        if prepared.faults:
            prepared.give_up()
            prepared.bound = []
        return prepared

    def _prepare_new(self, said: StatsSocket, prepared: Prepared, bind: bool, given: Given | None) -> None:
        """Binds a socket, if it is to `bind`. Raises ListenError."""
        address = said.bind.address
        try:
            demand_bindable(said.bind)
            if bind:
                prepared.bound.append((said, self._bound(said, given)))
        except ListenError as error:
            raise ListenError(f"{error}{_directory(address)}") from None
        except OSError as error:
            raise ListenError(f"cannot listen on {address}: {error.strerror}{_directory(address)}") from None

    def _bound(self, said: StatsSocket, given: Given | None) -> Listener:
        backlog = backlog_of(said.bind, BACKLOG)
        bound = given_socket(given, said.bind, backlog) or bind_socket(said.bind, backlog)
        listener = Listener(self._poller, self._deadlines, said.bind, bound, partial(self._announce, "alert"))
        listener.backlog = backlog_of(said.bind, BACKLOG)
        return listener

    def adopt(self, prepared: Prepared) -> None:
        """Makes these sockets the only ones; with `start` they accept connections."""
        self._settings = prepared.settings
        lines = {**prepared.kept, **{said.bind.address: said for said, _ in prepared.bound}}
        self._end_sessions(lines)
        left = []
        for each in self.sockets:
            said = prepared.kept.get(each.settings.bind.address)
            if said is None:
                each.listener.close()
                self._announce("notice", f"Runtime API listens no more on {each.settings.bind.address}")
                continue
            self._change(each, said)
            left.append(each)
        new = [_Socket(said, listener, self) for said, listener in prepared.bound]
        self.sockets = [*left, *new]
        if self.state == "open":
            self._listen(new)
            self._fill()

    def _end_sessions(self, lines: Mapping[ListenAddress, StatsSocket]) -> None:
        """Ends the sessions that came by a line that is gone, or has a lower level now, or lets in fewer."""
        for session, at in [*self._at.items()]:
            now = lines.get(at.settings.bind.address)
            if now is None:
                session.end("its stats socket is gone")
            elif session.context.level > LEVELS.index(now.level) or not admits_as_many(now.bind, at.listener.bind):
                session.end("its stats socket has changed")

    def _change(self, each: _Socket, said: StatsSocket) -> None:
        """Makes a socket what its new line says. The level changes last, when nobody waits who came before."""
        before = each.settings
        changed, narrowed = before.level != said.level, not admits_as_many(said.bind, each.listener.bind)
        lower = min(before.level, said.level, key=LEVELS.index)
        each.settings = evolve(said, level=lower, exposes=before.exposes and said.exposes)
        for session, at in self._at.items() if not said.exposes else ():
            if at is each:
                session.context.exposes = False
        if narrowed:
            each.narrowed_until = self._deadlines.now() + LATE
        try:
            each.listener.adopt(said.bind, BACKLOG)
            if changed or narrowed or before.exposes != said.exposes:
                self._take_waiting(each, turn_away=narrowed)
        except (ListenError, OSError) as error:
            why = str(error) if isinstance(error, ListenError) else f"who waits cannot be taken: {error.strerror}"
            self._announce("alert", f"Runtime API: {why}; its level is {lower} until a further reload")
        else:
            each.settings = said

    def _take_waiting(self, at: _Socket, turn_away: bool) -> None:
        """Empties the kernel's queue of a socket. Raises OSError."""
        if self.state != "open":
            return
        for accepted in at.listener.waiting():
            if turn_away or at.listener.full or len(self.sessions) >= self._settings.stats_maxconn:
                accepted.close()
            else:
                at.listener.connections += 1
                self.accept(at, accepted)

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

    @property
    def listeners(self) -> list[Listener]:
        return [each.listener for each in self.sockets]

    def hand_over(self, channel: socket.socket) -> None:
        if self._hand_over is None:
            channel.close()
        else:
            self._hand_over(channel)

    def stop(self) -> None:
        """Ends all sessions now."""
        self.leave()
        self.state = "closed"
        for session in list(self.sessions):
            session.stop()
        self._deadlines.stop()

    # What sockets and sessions call.

    def is_late(self, at: _Socket, accepted: socket.socket) -> bool:
        """Tells whether a client may not connect any more: the kernel has let it in by a line of before a reload, and
        it was not in the queue yet when that was emptied."""
        path = at.settings.bind.address.path
        return bool(path) and self._deadlines.now() < at.narrowed_until and not may_connect(accepted, path)

    def accept(self, at: _Socket, accepted: socket.socket) -> None:
        """Begins a session; where there are as many as `stats maxconn` or the line's `maxconn` says, another one gives
        way."""
        from reusedproxy.operators.runtime.session import Session

        level, most = LEVELS.index(at.settings.level), self._settings.stats_maxconn
        if len(self.sessions) >= most:
            self._displace(self._next_to_go(level), f"'stats maxconn {most}'")
        most = at.settings.bind.maxconn
        if 0 < most < at.listener.connections:
            self._displace(self._next_to_go(level, at), f"'maxconn {most}' of a line")
        process, user = _peer_of(accepted)
        nobody: Session = None  # type: ignore[assignment]  # it makes itself the owner
        context = Context(
            self._service,
            level,
            self._settings.stats_timeout,
            sockets=[SocketView(_called(each.settings.bind.address), each.settings.level) for each in self.sockets],
            statistics=self._statistics,
            severities=at.settings.severities,
            product=at.settings.product or PRODUCT,
            orderer=Orderer(_called(at.settings.bind.address), _who(accepted, user), max(0, process)),
        )
        if at.settings.exposes and self._hand_over is not None:
            context.exposes = user in (0, os.geteuid())
        session = Session(self, Transport(self._poller, accepted, nobody), self._deadlines, context)
        self.sessions.add(session)
        self._at[session] = at
        self._fill()

    def session_gone(self, session: Session) -> None:
        self.sessions.discard(session)
        at = self._at.pop(session, None)
        if at is not None:
            at.listener.connections -= 1
        self._fill()

    def session_refused(self, session: Session, why: str) -> bool:
        """Logs what a session is ended for, once in a while. Returns whether it has."""
        at = self._at.get(session)  # one that hands over sockets has gone already
        where = "" if at is None else f" at {at.settings.bind.address}"
        return self._faults.tell(why, f"Runtime API ends a session{where}: {why}", "sessions ended")

    def _displace(self, session: Session | None, bound: str) -> None:
        """Ends the session that gives way to another."""
        if session is not None:
            was = f"level {LEVELS[session.context.level]}, idle for {self._idle(session):.0f} s"
            where = self._at[session].settings.bind.address
            text = f"Runtime API has as many sessions as {bound} allows, and ends one for another: {was}, at {where}"
            self._displaced.tell("full", text, "sessions ended")
            session.stop("displaced")

    def _next_to_go(self, level: int, at: _Socket | None = None) -> Session | None:
        """Returns the session, of one socket or of all, that gives way to one of this level; None if none does.

        Those with a lower level do, and those of the same level that have been idle for `IDLE`; the lowest level first,
        and of one level the longest idle.
        """
        candidates = [
            each
            for each in self.sessions
            if at in (None, self._at.get(each))
            and (each.context.level < level or (each.context.level == level and self._idle(each) >= IDLE))
        ]
        return min(candidates, key=lambda each: (each.context.level, each.active_at), default=None)

    def _idle(self, session: Session) -> float:
        return self._deadlines.now() - session.active_at

    def _fill(self) -> None:
        """Pauses the sockets that may not have another connection, and resumes the others."""
        full = len(self.sessions) >= self._settings.stats_maxconn
        for each in self.sockets:
            level = LEVELS.index(each.settings.level)
            each.full = (full and self._next_to_go(level) is None) or (
                each.listener.full and self._next_to_go(level, each) is None
            )
            if each.full:
                each.listener.pause()
            else:
                each.listener.resume()
        if any(each.full for each in self.sockets):
            soon = [each.active_at + IDLE for each in self.sessions if self._idle(each) < IDLE]
            self._deadlines.watch(self, min(soon, default=inf))
        else:
            self._deadlines.cancel(self)

    def deadline_passed(self) -> None:
        """Looks for sessions that have become idle."""
        self._fill()


def _peer_of(accepted: socket.socket) -> tuple[int, int]:
    """Returns the numbers of the process that has connected, and of its user; -1 for what nobody knows."""
    try:
        return process_of(accepted)
    except OSError:
        return -1, -1


def _who(accepted: socket.socket, user: int) -> str:
    """Returns how the log is told who has connected: the number of a user, or an address."""
    if user >= 0:
        return f"uid {user}"
    try:
        host, port, *_ = accepted.getpeername()
    except (OSError, ValueError):
        return "somebody who has left"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _called(address: ListenAddress) -> str:
    """Returns the address as HAProxy writes it."""
    return f"ipv{6 if address.v6 else 4}@{address}" if address.kind == "tcp" else str(address)


def _directory(address: ListenAddress) -> str:
    """Returns a hint if the directory of a unix socket is not there or not for this user, "" otherwise."""
    directory = os.path.dirname(address.path) if address.kind == "unix" else ""
    if directory and not os.path.isdir(directory):
        return f": its directory {os.path.abspath(directory)} is not there: make it (systemd: RuntimeDirectory=)"
    if directory and not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        return f": the user that starts the daemon (number {os.geteuid()}) may not write into {directory}"
    return ""
