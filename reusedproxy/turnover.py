"""One proxy in place of another, at a reload: what is new is tried and warmed before anybody is sent to it.

A pool whose description has changed, by a renewed certificate for instance, begins anew. While the old proxy serves on, the
new one's pools open their floors, or one connection where there is none. If a server that takes the old certificates does
not take the new ones, everything stays as it was. It knows lines and pools; it must never know files or signals.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve, frozen
from twisted.internet.interfaces import IReactorTime

from reusedproxy.assembly import Proxy
from reusedproxy.lines import Line
from reusedproxy.servers.pool import HTTPConnectionPool

#: Seconds that a reload waits for the floors of what is new.
PATIENCE = 5.0
TICK = 0.05


@frozen
class Refusal:
    """Why the new one cannot take over: a server, and what it says."""

    name: str
    reason: str


class Turnover:
    """Tries `new` while `old` serves; `over` is called once, with a refusal or None. Nothing of the old one is touched."""

    def __init__(self, old: Proxy, new: Proxy, clock: IReactorTime, over: Callable[[Refusal | None], None]) -> None:
        self.old = old
        self.new = new
        self._clock = clock
        self._over = over
        self._began = clock.seconds()
        kept = [line.pool for line in old.lines.values()]
        #: Those that are new, by backend/server.
        self._lines = {name: line for name, line in new.lines.items() if line.server.serving and line.pool not in kept}
        #: Pools that get one connection for the trial, though they have no floor.
        self._lent: list[HTTPConnectionPool] = []
        #: What those that were asked their checks' request have answered: None: nothing yet; "": well; or why not.
        self._answers: dict[str, str | None] = {}

    def start(self) -> None:
        for name, line in self._lines.items():
            tries = line.pool.knows_name and not line.pool.limits.min_conn
            if tries and name in self.old.lines and line.context is not None:
                line.pool.limits = evolve(line.pool.limits, min_conn=1)
                self._lent.append(line.pool)
            if line.pool.limits.min_conn:
                line.pool.resume(rotation=name in self.old.lines)
        self._look()

    def close(self, reason: str) -> None:
        """The new one is not wanted: its pools and sockets go."""
        for line in self._lines.values():
            line.pool.close(reason)
        for listener in self.new.bound:
            listener.close()
        self.new.logs.close()

    def _look(self) -> None:
        refusal = next(filter(None, (self._refused(name, line) for name, line in self._lines.items())), None)
        late = self._clock.seconds() - self._began >= PATIENCE
        awaited = [name for name, line in self._lines.items() if not self._is_ready(name, line)]
        if refusal is None and not late and awaited:
            self._clock.callLater(TICK, self._look)
            return
        for pool in self._lent:
            pool.limits = evolve(pool.limits, min_conn=0)
        self._over(refusal)

    def _refused(self, name: str, line: Line) -> Refusal | None:
        """A handshake or check that fails now, at a server that the old one has no trouble with, is the new certificates'
        fault."""
        old = self.old.lines.get(name)
        if old is None or old.pool.trouble:
            return None
        if "TLS" in line.pool.trouble:
            return Refusal(name, line.pool.trouble)
        answer = self._answers.get(name)
        return Refusal(name, answer) if answer else None

    def _is_ready(self, name: str, line: Line) -> bool:
        """Its floor stands and has proven itself, or will not stand soon: a server that is away must not hold up a reload."""
        pool = line.pool
        if not pool.limits.min_conn or pool.trouble:
            return True
        now = self._clock.seconds()
        if name not in self._answers:
            if len(pool.idle) < pool.limits.min_conn or any(each.proof_at > now for each in pool.idle):
                return False
            self._ask(name, line)
        return self._answers.get(name) is not None

    def _ask(self, name: str, line: Line) -> None:
        """nginx, for one, takes any client certificate in the handshake, and answers requests with 400 if it does not trust
        it: so where the server passes its HTTP checks, they are asked on one of the new connections, too."""
        old = self.old.lines.get(name)
        before, checker = old.checker if old is not None else None, line.checker
        if before is None or checker is None or not before.last.passed or not checker.asks_as(before):
            self._answers[name] = ""
            return
        connection = line.pool.acquire()
        assert connection is not None, "it was looked for just now"
        self._answers[name] = None

        def told(why: str) -> None:
            self._answers[name] = why

        checker.try_on(connection, told)
