"""One server: its state, its numbers, and the pool that belongs to it. It must never know backends or clients."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from reusedproxy.config import model
from reusedproxy.net.dial import DialFailure
from reusedproxy.servers.names import ConstantPool, NameRefused, Naming
from reusedproxy.servers.pool import HTTPConnectionPool

# The states of a server, in HAProxy's words.
UP = "UP"
DOWN = "DOWN"
MAINT = "MAINT"


@define
class Traffic:
    """What one frontend, backend or server has carried: plain numbers under the names of HAProxy's statistics.

    scur, smax, stot: sessions now, at most, in all (of a server: requests). bin, bout: bytes of bodies and heads from and
    to clients. hrsp: responses by the first digit of their status, [0] for others. intercepted: answered by
    the proxy itself. Times of the last 1024 exchanges are not kept; qtime and its like are left for a later version.
    """

    scur: int = 0
    smax: int = 0
    stot: int = 0
    bin: int = 0
    bout: int = 0
    ereq: int = 0
    econ: int = 0
    eresp: int = 0
    wretr: int = 0
    wredis: int = 0
    cli_abrt: int = 0
    srv_abrt: int = 0
    req_tot: int = 0
    intercepted: int = 0
    hrsp: list[int] = field(factory=lambda: [0] * 6)

    def add(self, what: str) -> None:
        """One more of a rare kind; what every request counts is added in place."""
        setattr(self, what, getattr(self, what) + 1)


class Server:
    """A `server` line come to life. `state` is UP, DOWN (by its checks) or MAINT (`disabled`).

    `served` counts the requests that it has been given and that have not ended; `maxconn` (0: none) bounds them.
    """

    def __init__(self, backend: str, settings: model.Server, pool: HTTPConnectionPool, now: float) -> None:
        self.settings = settings
        self.name = settings.name
        self.full_name = f"{backend}/{settings.name}"
        self.pool = pool
        #: What says which of its pools a request belongs to; None: there is just the one.
        self.naming: Naming | None = None
        #: Pools that reloads have put this one in place of, while clients still use them.
        self.former: list[HTTPConnectionPool] = []
        self.weight = settings.weight
        self.backup = settings.backup
        self.maxconn = settings.maxconn
        self.served = 0
        #: When it was last given a request, 0: never.
        self.last_placed = 0.0
        self.traffic = Traffic()
        self.state = MAINT if settings.disabled else UP
        self.changed_at = now
        self.downtime = 0.0
        self.downs = 0

    @property
    def usable(self) -> bool:
        """Whether it may be given requests: UP, and as in HAProxy none for a weight of 0."""
        return self.state == UP and self.weight > 0

    def pool_for(self, request: Any) -> HTTPConnectionPool | DialFailure:
        """The pool of the name that this request's connection must have (`sni`, `pool-conn-name`)."""
        assert self.naming is not None and isinstance(self.pool, ConstantPool)
        name, sni = self.naming(request)
        try:
            return self.pool.named(name, sni)
        except NameRefused as refused:
            return DialFailure("TLS handshake", str(refused))

    @property
    def full(self) -> bool:
        return bool(self.maxconn) and self.served >= self.maxconn

    def move(self, state: str, now: float) -> None:
        """Change the state. `keep_pool` comes next, when everybody knows: those who wait for a connection are told by it."""
        if state == self.state:
            return
        if self.state == DOWN:
            self.downtime += now - self.changed_at
        if state == DOWN:
            self.downs += 1
        self.state = state
        self.changed_at = now

    def keep_pool(self) -> None:
        """Fill the pool, or empty it, as the state says."""
        if self.state == UP:
            self.pool.resume()
        else:
            self.pool.suspend(f"server {self.state}")
