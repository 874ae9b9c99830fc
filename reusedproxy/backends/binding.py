"""Ties a request to a server, whatever the `balance` algorithm says: for its cookie's sake, say. A value, which knows
neither who asks nor why."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve, frozen

from reusedproxy.backends.server import Server
from reusedproxy.config import model


@frozen(eq=False)
class Binding:
    """Ties a request to `server`.

    `forced`: it goes there even if the server is out of service. `leaves`: it goes to another server where this one
    cannot take it, or fails (`option redispatch`). `waits`: in the server's queue it waits on when the server falls.
    """

    server: Server
    forced: bool
    leaves: bool
    waits: bool

    @classmethod
    def of(cls, server: Server, settings: model.Backend, *, forced: bool = False) -> Binding:
        """Binds a request by the settings of the server's backend; `forced` by a rule (`force-persist`), which also
        rules out any other server."""
        leaves = settings.redispatch != 0 and not forced
        return cls(server, forced or settings.persist, leaves, settings.persist or not leaves)

    def at(self, servers: Iterable[Server]) -> Binding | None:
        """Returns the same binding to the server of this name among `servers`, which a reload has put in the place of
        those before; None if there is none."""
        return next((evolve(self, server=each) for each in servers if each.name == self.server.name), None)

    @property
    def dials(self) -> bool:
        """Tells whether a connection is tried though the server's pool gives none, because the server is out of
        service."""
        return self.forced or not self.leaves
