"""A backend: it finds a server for each request, and a place in the queue when all are full. It must never know clients."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from reusedproxy.config import model
from reusedproxy.servers.balance import RoundRobin
from reusedproxy.servers.checks import Checker
from reusedproxy.servers.server import DOWN, Server, Traffic


class Placed(Protocol):
    """Who asks for a server."""

    def placed(self, server: Server) -> None:
        """This server has a place for it, which it holds until it is given back with `Backend.done`."""

    def unplaceable(self) -> None:
        """No server is left, and it waits no more."""


class Ended(Protocol):
    """A request that has ended, with an answer or without; `status` is not above 0 when none was sent."""

    server: Server | None
    status: int
    bytes_in: int
    bytes_out: int


class Backend:
    """A `backend` section come to life: servers, the algorithm among them, and one queue, first come first served.

    Backup servers are used when no other is left: the first of them, or all with `option allbackups`.
    """

    def __init__(
        self,
        settings: model.Backend,
        servers: list[Server],
        now: Callable[[], float],
        announce: Callable[[str, str], None],
    ) -> None:
        """`announce(level, text)` takes what an operator should read."""
        self.settings = settings
        self.name = settings.name
        self.servers = servers
        self.queue: deque[Placed] = deque()
        self.queue_max = 0
        self.traffic = Traffic()
        self.checkers: list[Checker] = []
        self.now = now
        self.changed_at = now()
        #: How often no server was left, and the seconds of it that are over.
        self.downs = 0
        self.downtime = 0.0
        self._announce = announce
        self._balance = RoundRobin()
        self._active: list[Server] = []
        self._placing = False
        self.use_usable()

    def start(self) -> None:
        """Fill the pools and begin to check."""
        for server in self.servers:
            server.keep_pool()
        for checker in self.checkers:
            checker.start()

    def stop(self, reason: str) -> None:
        for checker in self.checkers:
            checker.stop()
        for server in self.servers:
            server.pool.close(reason)

    @property
    def usable(self) -> bool:
        """Whether any server can be chosen at all."""
        return bool(self._active)

    def choose(self, asks: Placed, avoid: Server | None = None, bound: Server | None = None) -> bool:
        """Place it at once, or queue it. False: there is no server at all, and nothing was done.

        `bound`: where it goes if that server can take it at all, whoever's turn it is.
        """
        if bound is not None and bound.usable and not bound.full and bound is not avoid:
            server: Server | None = bound
        else:
            server = self._balance.pick(avoid)
        if server is not None:
            self._take(server)
            asks.placed(server)
            return True
        if not self._active:
            return False
        self.queue.append(asks)
        self.queue_max = max(self.queue_max, len(self.queue))
        return True

    def redispatches(self, retry: int) -> bool:
        """Whether this retry (the first is 1) goes to another server.

        As HAProxy (its src/backend.c): where the algorithm cares for no particular server, as roundrobin, and another is up,
        each retry does, whatever interval `option redispatch` says.
        """
        return self.settings.redispatch != 0 and (len(self._active) > 1 or self.settings.redispatches(retry))

    def leave(self, asks: Placed) -> None:
        """This one waits no more in the queue."""
        self.queue.remove(asks)

    def count(self, ended: Ended) -> None:
        """A request that was begun here has ended; the place it had is free again."""
        traffic, server = self.traffic, ended.server
        traffic.scur -= 1
        traffic.bin += ended.bytes_in
        traffic.bout += ended.bytes_out
        status = ended.status
        if status > 0:
            traffic.hrsp[status // 100 if status < 600 else 0] += 1
        if server is not None:
            server.traffic.bin += ended.bytes_in
            server.traffic.bout += ended.bytes_out
            self.done(server)

    def done(self, server: Server) -> None:
        """A place at `server` is free again; the first in the queue gets it."""
        server.served -= 1
        server.traffic.scur -= 1
        if self.queue:
            self._place_queued()

    def server_changed(self, server: Server, state: str, reason: str) -> None:
        """Its checks have found `server` UP or DOWN."""
        had_any = self.usable
        server.move(state, self.now())
        self.use_usable()
        self._announce_change(server, reason)
        if had_any and not self._active:
            self._announce("emerg", f"backend {self.name} has no server available!")
        server.keep_pool()
        self._place_queued()

    def server_left(self, server: Server, state: str) -> None:
        """`server` takes no more requests, by its operator's word: those that wait go to others, in silence."""
        server.move(state, self.now())
        self.use_usable()
        server.keep_pool()
        self._place_queued()
        if not self._active:
            for asks in [*self.queue]:
                self.leave(asks)
                asks.unplaceable()

    def _place_queued(self) -> None:
        """Those in the queue get what is free, in order.

        One that is placed may end at once, when the server's pool opens no connections any more, and give its place
        back before this returns: the next follows here and not within that, or a long queue would be too deep a call.
        """
        if self._placing:
            return
        self._placing = True
        try:
            while self.queue and (server := self._balance.pick()) is not None:
                asks = self.queue.popleft()
                self._take(server)
                asks.placed(server)
        finally:
            self._placing = False

    def _announce_change(self, server: Server, reason: str) -> None:
        """HAProxy's own lines, word for word, because people grep for them."""
        active = sum(each.usable and not each.backup for each in self.servers)
        backup = sum(each.usable and each.backup for each in self.servers)
        what = f"{'Backup ' if server.backup else ''}Server {server.full_name} is {server.state}, reason: {reason}."
        queued = len(self.queue)
        if server.state == DOWN:
            running = " Running on backup." if backup and not active else ""
            text = f"{active} active and {backup} backup servers left.{running}"
            text += f" {server.served} sessions active, 0 requeued, {queued} remaining in queue."
        else:
            text = f"{active} active and {backup} backup servers online. 0 sessions requeued, {queued} total in queue."
        self._announce("alert" if server.state == DOWN else "notice", f"{what} {text}")

    def use_usable(self) -> None:
        """Choose from now on among those that are UP."""
        active = [server for server in self.servers if server.usable and not server.backup]
        if not active:
            active = [server for server in self.servers if server.usable]
            if not self.settings.allbackups:
                del active[1:]
        if bool(active) != bool(self._active):
            now = self.now()
            if active:
                self.downtime += now - self.changed_at
            else:
                self.downs += 1
            self.changed_at = now
        self._active = active
        self._balance.use(active)

    def _take(self, server: Server) -> None:
        server.served += 1
        traffic = server.traffic
        traffic.stot += 1
        traffic.scur += 1
        if traffic.scur > traffic.smax:
            traffic.smax = traffic.scur
