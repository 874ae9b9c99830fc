"""One proxy in place of another, at a reload: what is new is tried and warmed before anybody is sent to it.

A pool whose description has changed, by a renewed certificate for instance, begins anew. While the old proxy serves on, the
new one's pools open their floors, or one connection where there is none. If a server that takes the old certificates does
not take the new ones, everything stays as it was. It knows lines and pools; it must never know files or signals.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.build.assembly import Proxy
from reusedproxy.build.server_lines import Line
from reusedproxy.net.dial import Dial, DialFailure
from reusedproxy.net.transport import Transport
from reusedproxy.pool.connection import IN_USE, ServerConnection
from reusedproxy.pool.dialing.governor import PROOF
from reusedproxy.pool.pool import HTTPConnectionPool

#: Seconds that a reload waits for the floors of what is new.
PATIENCE = 5.0
TICK = 0.05


@frozen
class Refusal:
    """Why the new one cannot take over: a server, and what it says."""

    name: str
    reason: str


class Trial:
    """One connection to a server whose pool has no floor: opened as the pool would, and held until the turnover is over.

    The pool's limits must not decide about it: under `pool-max-conn 0`, say, it would be let go at once, and opened again.
    """

    def __init__(self, pool: HTTPConnectionPool, now: Callable[[], float]) -> None:
        self.connection: ServerConnection | None = None
        #: Why there is none, "" while that is not known.
        self.trouble = ""
        self.unverified = False
        self._pool = pool
        self._now = now
        self._dial: Dial | None = pool.dial_for(self)

    def dial_ready(self, dial: Dial, transport: Transport) -> None:
        self._dial = None
        self.connection = connection = self._pool.adopt(dial, transport)
        connection.proof_at = self._now() + max(PROOF, 2 * dial.took)

    def dial_failed(self, dial: Dial, failure: DialFailure) -> None:
        self._dial = None
        self.trouble = str(failure)
        self.unverified = failure.unverified

    @property
    def proven(self) -> bool:
        """It has stood long enough for its handshake not to be refused any more."""
        return self.connection is not None and self._now() >= self.connection.proof_at

    def take(self) -> ServerConnection | None:
        """The connection, for something that gives it back itself; None: its server has ended it."""
        connection, self.connection = self.connection, None
        return connection if connection is not None and connection.state == IN_USE else None

    def end(self) -> None:
        """It is the pool's, like any other, or goes."""
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        connection = self.take()
        if connection is not None:
            self._pool.release(connection)


class Turnover:
    """Tries `new` while `old` serves; `over` is called once, with a refusal or None. Nothing of the old one is touched."""

    def __init__(self, old: Proxy, new: Proxy, clock: IReactorTime, over: Callable[[Refusal | None], None]) -> None:
        self.old = old
        self.new = new
        self._clock = clock
        self._over = over
        self._began = clock.seconds()
        self._call: IDelayedCall | None = None
        kept = {line.pool for line in old.lines.values()}
        #: Those that are new, by backend/server.
        self._lines = {name: line for name, line in new.lines.items() if line.server.serving and line.pool not in kept}
        #: Of pools without a floor; those that have not begun wait for their turn.
        self._trials: dict[str, Trial] = {}
        self._to_try: list[str] = []
        #: Servers that are not trusted any more, and why: what has changed is taken up all the same.
        self.distrusted: dict[str, str] = {}
        #: What those that were asked their checks' request have answered: None: nothing yet; "": well; or why not.
        self._answers: dict[str, str | None] = {}

    def start(self) -> None:
        for name, line in self._lines.items():
            if line.pool.limits.min_conn:
                line.pool.resume(rotation=name in self.old.lines)
            elif line.pool.knows_name and name in self.old.lines and line.context is not None:
                line.pool.resume()
                self._to_try.append(name)
        self._look()

    def close(self, reason: str) -> None:
        """The new one is not wanted: its pools and sockets go."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._end_trials()
        for line in self._lines.values():
            line.pool.close(reason)
        for listener in self.new.bound:
            listener.close()
        self.new.logs.close()

    def _look(self) -> None:
        self._call = None
        # At the pace of the floors: a hundred handshakes at the same moment would hold up everybody.
        pace = max(1, int(self.new.configuration.global_.pool_connect_rate * TICK))
        for name in self._to_try[:pace]:
            self._trials[name] = Trial(self._lines[name].pool, self._clock.seconds)
        del self._to_try[:pace]
        refusal = next(filter(None, (self._refused(name, line) for name, line in self._lines.items())), None)
        late = self._clock.seconds() - self._began >= PATIENCE
        awaited = [name for name, line in self._lines.items() if not self._is_ready(name, line)]
        if refusal is None and not late and awaited:
            self._call = self._clock.callLater(TICK, self._look)
            return
        self._end_trials()
        self._over(refusal)

    def _end_trials(self) -> None:
        for trial in self._trials.values():
            trial.end()
        self._trials.clear()
        self._to_try.clear()

    def _refused(self, name: str, line: Line) -> Refusal | None:
        """A handshake or check that fails now, at a server that the old one has no trouble with, is the new certificates'
        fault; or a new name's. But where it is we who do not take the server's certificate any more, since other CAs or lists of
        revoked certificates count now, to go on as before would be to trust whom nobody trusts."""
        old = self.old.lines.get(name)
        if old is None or old.pool.trouble:
            return None
        trial = self._trials.get(name)
        trouble = line.pool.trouble or (trial.trouble if trial is not None else "")
        unverified = line.pool.unverified or (trial is not None and trial.unverified)
        if unverified and _name_of(line) == _name_of(old):
            self.distrusted[name] = trouble
        elif "TLS" in trouble:
            return Refusal(name, trouble)
        answer = self._answers.get(name)
        return Refusal(name, answer) if answer else None

    def _is_ready(self, name: str, line: Line) -> bool:
        """Its floor, or its trial, stands and has proven itself, or will not stand soon: a server that is away must not hold up
        a reload."""
        pool, now = line.pool, self._clock.seconds()
        trial = self._trials.get(name)
        if name in self._to_try:
            return False
        if pool.trouble or (not pool.limits.min_conn and (trial is None or trial.trouble)):
            return True
        if name not in self._answers:
            if trial is not None:
                if not trial.proven:
                    return False
            elif len(pool.idle) < pool.limits.min_conn or any(each.proof_at > now for each in pool.idle):
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
        connection = self._trials[name].take() if name in self._trials else line.pool.acquire()
        if connection is None:
            self._answers[name] = ""  # its server ended it, with no word about our certificate
            return
        self._answers[name] = None

        def told(why: str) -> None:
            self._answers[name] = why

        checker.try_on(connection, told)


def _name_of(line: Line) -> tuple[object, ...]:
    """The name that a server's certificate must have, as the configuration says it."""
    settings = line.server.settings
    tls = settings.tls
    return settings.sni, settings.known_name, tls and tls.sni, tls and tls.verifyhost
