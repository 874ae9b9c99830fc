"""Chooses no server, because each request names its own (`option egress`): one that is tied to none gets none."""

from __future__ import annotations

from collections.abc import Sequence

from reusedproxy.backends.server import Server


class Named:
    """Gives no request a server; see `Algorithm`, and `ByHash`, by which nobody prefers one either."""

    dynamic = True
    weighs = False

    def use(self, servers: Sequence[Server]) -> None:
        """Does nothing: it chooses among none."""

    def pick(self, avoid: Server | None = None) -> Server | None:
        return None

    def freed(self, server: Server) -> None:
        """Does nothing: whoever waits, waits for the server that it is tied to."""

    def bound(self, asks: object, avoid: Server | None = None) -> Server | None:
        return None
