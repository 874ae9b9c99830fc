"""Moves servers of one backend to addresses that an operator orders (`set server <b>/<s> addr`).

As where a name moves, connections stand at the new address before requests go there, and those at the old one are
drained (`moving`). An order is known to its server (`Server.ordered`), so that it holds through reloads. It must never
know who gives orders, or how.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from reusedproxy.backends.moving import Departed, Move
from reusedproxy.backends.server import Server
from reusedproxy.net.dial import Target


class Notes(Protocol):
    """Defines what is told the backend."""

    def located(self, server: Server, was: Target | None, by: str) -> None:
        """Notes that a server has another address than before, or another port."""


class OrderedAddresses:
    """Keeps the moves that are under way in one backend. A `backend.Group`."""

    def __init__(self, notes: Notes, clock: IReactorTime, departed: Departed) -> None:
        self._notes = notes
        self._clock = clock
        self.departed = departed
        #: By server: the move, None while it is held back, and who has ordered it.
        self._moves: dict[Server, tuple[Move | None, str]] = {}
        self._held = False

    def order(self, server: Server, target: Target, by: str) -> None:
        """Moves a server to this address, unless it is there."""
        server.ordered = target
        move, _ = self._moves.pop(server, (None, ""))
        if move is not None:
            move.stop()
        if server.target != target:
            self._begin(server, by)

    def _begin(self, server: Server, by: str) -> None:
        assert server.ordered is not None
        move = None
        if not self._held:
            arrived = lambda: self._arrived(server, by)  # noqa: E731
            move = Move(server, server.ordered, server, self._clock, self.departed, arrived)
        self._moves[server] = move, by
        if move is not None:
            move.start()

    def _arrived(self, server: Server, by: str) -> None:
        del self._moves[server]
        self._notes.located(server, server.was_at, by)

    def forget(self, server: Server) -> None:
        """Moves a server no more that is gone."""
        move, _ = self._moves.pop(server, (None, ""))
        if move is not None:
            move.stop()

    def start(self) -> None:
        """Has nothing to ask for."""

    def stop(self) -> None:
        """Gives up what is under way."""
        self.hold()
        self._moves.clear()

    def hold(self) -> None:
        """Has servers stay where they are until `release`."""
        self._held = True
        for server, (move, by) in self._moves.items():
            if move is not None:
                move.stop()
            self._moves[server] = None, by

    def release(self) -> None:
        self._held = False
        for server, (_, by) in [*self._moves.items()]:
            self._begin(server, by)

    def arrive_now(self) -> None:
        """Has servers that are on their way go to their addresses at once, whatever stands there."""
        for move, _ in [*self._moves.values()]:
            if move is not None:
                move.arrive_now()

    @property
    def settled(self) -> bool:
        """Tells whether no server is on its way to another address."""
        return not self._moves

    def look_again(self, server: Server) -> None:
        """Has nobody to ask."""
