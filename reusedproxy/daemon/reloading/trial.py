"""Tries a new proxy before it replaces the old one at a reload: its connections are opened before any client uses it.

A pool whose description has changed, by a renewed certificate for instance, starts anew. While the old proxy still
serves, the new one's pools open their floors, or one connection where there is no floor. If a server that accepts the
old certificates does not accept the new ones, everything stays as it was, unless its word does not count
(`_refuses_us`). Knows lines and pools; must never know files or signals.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.build.assembly import Proxy
from reusedproxy.build.servers.line import Line
from reusedproxy.daemon.reloading.identity_trial import IdentityTrial
from reusedproxy.net.dial import Dial, DialFailure
from reusedproxy.net.tls.words import ACCEPTED, MISNAMED, UNSEEN
from reusedproxy.net.transport import Transport
from reusedproxy.pool.connection import IN_USE, ServerConnection
from reusedproxy.pool.dialing.governor import PROOF
from reusedproxy.pool.pool import HTTPConnectionPool

#: Seconds that a reload waits for the floors of new pools.
PATIENCE = 5.0
TICK = 0.05
# What a server has to prove of itself, each with all before it.
NOTHING, SPEAKS_TLS, KNOWN_TO_CA, NAME, KEY = range(5)


@frozen
class Refusal:
    """Gives the reason why the new proxy cannot take over: a server, and its error."""

    name: str
    reason: str


class Trial:
    """Opens one connection to a server whose pool has no floor, as the pool would, and holds it until the
    trial is over.

    The pool's limits must not apply to it: with `pool-max-conn 0`, for example, it would be closed at once,
    and opened again.
    """

    def __init__(self, pool: HTTPConnectionPool, now: Callable[[], float]) -> None:
        self.connection: ServerConnection | None = None
        #: The error of the dial, "" without one.
        self.trouble = ""
        #: What was found of the server's certificate before.
        self.certificate = UNSEEN
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
        self.certificate = failure.certificate

    @property
    def proven(self) -> bool:
        """Tells whether the connection has stood long enough that the server will not refuse its handshake any more."""
        return self.connection is not None and self._now() >= self.connection.proof_at

    def take(self) -> ServerConnection | None:
        """Returns the connection to a caller that releases it itself; None when the server has closed it."""
        connection, self.connection = self.connection, None
        return connection if connection is not None and connection.state == IN_USE else None

    def end(self) -> None:
        """Cancels the dial, or releases the connection to the pool."""
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        connection = self.take()
        if connection is not None:
            self._pool.release(connection)


class ReloadTrial:
    """Tries `new` while `old` serves; calls `over` once, with a refusal or None. Must never change the old proxy."""

    def __init__(self, old: Proxy, new: Proxy, clock: IReactorTime, over: Callable[[Refusal | None], None]) -> None:
        self.old = old
        self.new = new
        self._clock = clock
        self._over = over
        self._began = clock.seconds()
        self._call: IDelayedCall | None = None
        kept = {line.pool for line in old.lines.values()}
        #: New lines, by backend/server.
        self._lines = {name: line for name, line in new.lines.items() if line.server.serving and line.pool not in kept}
        #: Trials of pools without a floor, and the names of servers whose trial has not begun.
        self._trials: dict[str, Trial] = {}
        self._to_try: list[str] = []
        #: Servers that are no longer trusted; those that take no connection, and those that do not pass their check on
        #: one, though nothing has changed that they could dislike; and the reasons. They do not prevent the reload.
        self.distrusted: dict[str, str] = {}
        self.failing: dict[str, str] = {}
        self.unwell: dict[str, str] = {}
        self._identities = IdentityTrial(old, new)
        #: A server that refuses what we show takes what we will show: then no other can refuse that.
        self._needed = False
        #: Results of the check requests on new connections: None: pending, "": passed, else the failure.
        self._answers: dict[str, str | None] = {}

    def start(self) -> None:
        for name, line in self._lines.items():
            if line.pool.floor:
                line.pool.resume(rotation=name in self.old.lines)
            elif line.pool.knows_name and name in self.old.lines and line.context is not None:
                line.pool.resume()
                self._to_try.append(name)
        self._identities.start()
        self._look()

    def close(self, reason: str) -> None:
        """Discards the new proxy: closes its pools, and the sockets bound for it."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._end_trials()
        self._identities.give_up(reason)
        for line in self._lines.values():
            line.pool.close(reason)
        for listener in self.new.bound:
            listener.close()
        self.new.logs.close()

    def _look(self) -> None:
        self._call = None
        # At the rate of the floors: a hundred handshakes at the same moment would block the event loop.
        pace = max(1, int(self.new.configuration.global_.pool_connect_rate * TICK))
        for name in self._to_try[:pace]:
            self._trials[name] = Trial(self._lines[name].pool, self._clock.seconds)
        del self._to_try[:pace]
        now = self._clock.seconds()
        late = now - self._began >= PATIENCE
        refusal = self._first_refusal()
        if refusal is not None and not self._needed and (waiting := self._who_need_it()):
            if any(self._stands(name, now) for name in waiting):
                self._needed = True
                refusal = self._first_refusal()
            elif not late and not all(self._is_ready(name, self._lines[name]) for name in waiting):
                self._call = self._clock.callLater(TICK, self._look)
                return
        if refusal is None and (refused := self._identities.refusal()) is not None:
            refusal = Refusal(*refused)
        awaited = [name for name, line in self._lines.items() if not self._is_ready(name, line)]
        if self._identities.awaits(now):
            awaited.append("")
        if refusal is None and not late and awaited:
            self._call = self._clock.callLater(TICK, self._look)
            return
        self._end_trials()
        self._over(refusal)

    def _first_refusal(self) -> Refusal | None:
        return next(filter(None, (self._refused(name, line) for name, line in self._lines.items())), None)

    def _who_need_it(self) -> list[str]:
        """Returns the servers that refuse our certificate as it is: each may take the new one, and needs it then."""
        found = []
        for name in self._lines:
            old = self.old.lines.get(name)
            if old is not None and "TLS" in old.pool.trouble and old.pool.certificate == ACCEPTED:
                found.append(name)
        return found

    def _stands(self, name: str, now: float) -> bool:
        """Tells whether a connection with what is new stands long enough that its server has taken it."""
        trial, pool = self._trials.get(name), self._lines[name].pool
        return trial.proven if trial is not None else any(each.proof_at <= now for each in pool.idle)

    def _end_trials(self) -> None:
        for trial in self._trials.values():
            trial.end()
        self._trials.clear()
        self._to_try.clear()

    def _refused(self, name: str, line: Line) -> Refusal | None:
        """Returns a refusal when a handshake or check fails at a server that the old proxy reaches without trouble.

        The new certificates, or a new name, are then the cause (`_refuses_us`). Otherwise the server is not trusted
        any more, or ill, which does not refuse the reload: to go on as before would mean to trust a server that must
        not be trusted, this one or another.
        """
        old = self.old.lines.get(name)
        if old is None or old.pool.trouble:
            return None
        trial = self._trials.get(name)
        trouble = line.pool.trouble or (trial.trouble if trial is not None else "")
        certificate = line.pool.certificate or (trial.certificate if trial is not None else UNSEEN)
        if "TLS" in trouble:
            if not self._needed and _refuses_us(old, line, certificate):
                return Refusal(name, trouble)
            is_trusted = certificate == ACCEPTED or (certificate == UNSEEN and _demands_the_same(line, old))
            (self.failing if is_trusted else self.distrusted)[name] = trouble
        answer = self._answers.get(name)
        if not answer:
            return None
        if self._needed or not _may_dislike(old, line) or _is_ending(old):
            self.unwell[name] = answer
            return None
        return Refusal(name, answer)

    def _is_ready(self, name: str, line: Line) -> bool:
        """Tells whether the server's floor or trial stands and is proven, or will not stand soon: an absent server must
        not delay a reload."""
        pool, now = line.pool, self._clock.seconds()
        trial = self._trials.get(name)
        if name in self._to_try:
            return False
        if pool.trouble or (not pool.floor and (trial is None or trial.trouble)):
            return True
        if name not in self._answers:
            if trial is not None:
                if not trial.proven:
                    return False
            elif len(pool.idle) < pool.floor or any(each.proof_at > now for each in pool.idle):
                return False
            self._ask(name, line)
        return self._answers.get(name) is not None

    def _ask(self, name: str, line: Line) -> None:
        """Sends the server's HTTP check on one of the new connections, if the server passes its checks.

        nginx, for example, accepts any client certificate in the handshake, and answers requests with 400 if it does
        not trust it.
        """
        old = self.old.lines.get(name)
        before, checker = old.checker if old is not None else None, line.checker
        asks = line.pool.carries_requests
        if not asks or before is None or checker is None or not before.last.passed or not checker.asks_as(before):
            self._answers[name] = ""
            return
        connection = self._trials[name].take() if name in self._trials else line.pool.acquire()
        if connection is None:
            self._answers[name] = ""  # the server closed it, without a complaint about the certificate
            return
        self._answers[name] = None

        def told(why: str) -> None:
            self._answers[name] = why

        checker.try_on(connection, told)


def _refuses_us(old: Line, new: Line, certificate: str) -> bool:
    """Tells whether a server refuses what we show it now, or was given a wrong name; if not, it is the server that is
    refused. `certificate` is what its failed handshake had found.

    It is the server's word, and the server may be the very one on account of which something has changed: one whose
    certificate is revoked may break off each new handshake before it shows it; or it may be in league with that one.
    So it does not count where nothing has changed that it could dislike; and else only if its certificate is accepted,
    or has nothing to prove that it had not to prove before. One that has shown nothing may dislike how we begin. Where
    our certificate ends, the new one is taken: else this server would cut us off from all the others.
    """
    now, before = _proof(new), _proof(old)
    if now > before or not _may_dislike(old, new) or _is_ending(old):
        return False
    if certificate == UNSEEN:
        return now <= SPEAKS_TLS or not _begins_the_same(new, old) or _demands_the_same(new, old)
    return certificate == ACCEPTED or (certificate == MISNAMED and now >= NAME and _name_of(new) != _name_of(old))


def _is_ending(line: Line) -> bool:
    return line.context is not None and line.context.is_ending(time.time())


def _may_dislike(old: Line, new: Line) -> bool:
    """Tells whether something has changed of what a server is shown and asked for, or it is another one."""
    if _where(new) != _where(old):
        return True
    if new.context is None or old.context is None:
        return new.context is not old.context
    shown = new.context.shows_as(old.context) and _begins_the_same(new, old)
    return not shown or _name_of(new) != _name_of(old)


def _demands_the_same(new: Line, old: Line) -> bool:
    return new.context is not None and old.context is not None and new.context.demands_as(old.context)


def _where(line: Line) -> tuple[object, ...]:
    settings = line.server.settings
    return settings.kind, settings.host, settings.port, settings.send_proxy


def _begins_the_same(new: Line, old: Line) -> bool:
    if new.context is None or old.context is None:
        return new.context is old.context
    return new.server.settings.sni == old.server.settings.sni and new.context.begins_as(old.context)


def _proof(line: Line) -> int:
    """Returns how much a server has to prove: NOTHING, that it speaks TLS, that a CA knows it, its NAME, too, or that a
    pinned KEY vouches for it."""
    settings = line.server.settings
    tls = settings.tls
    if tls is None:
        return NOTHING
    if tls.pins:
        return KEY
    if tls.verify != "required":
        return SPEAKS_TLS
    return NAME if settings.known_name or tls.verifyhost or tls.sni or tls.spiffe else KNOWN_TO_CA


def _name_of(line: Line) -> tuple[object, ...]:
    """Returns the settings that determine the name in a server's certificate."""
    settings = line.server.settings
    tls = settings.tls
    return settings.sni, settings.known_name, tls and (tls.sni, tls.verifyhost, tls.spiffe)
