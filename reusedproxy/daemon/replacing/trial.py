"""Tries the servers before this process takes the place of another one (`--replace`), where they are to be shown
another client certificate than that one shows.

As at a reload (`daemon.reloading.trial`): a server that takes the certificate of the old process, and refuses ours, has
this process give up, and the old one go on. Otherwise all servers would be DOWN some seconds after a certificate was
renewed wrongly. What the old process says of its servers is in `standing`. Knows lines and pools; must never know the
channel, nor files.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime

from reusedproxy.backends.server import Server
from reusedproxy.build.assembly import Proxy
from reusedproxy.build.servers.line import Line
from reusedproxy.daemon.reloading.trial import PATIENCE, TICK, Refusal, Trial
from reusedproxy.net.tls.words import ACCEPTED, UNSEEN


def shown_at(server: Server) -> dict[str, object]:
    """Returns what the next process is told of the certificate that this one shows a server: what tells it from others,
    and whether the server takes it. Empty where there is no TLS."""
    context, pool = server.pool.context, server.pool
    if context is None or context.settings.by_request:
        return {}
    taken = pool.counters.handshakes > 0 and not pool.trouble and not context.is_ending(time.time())
    return {"shows": context.shown_digest, "taken": taken, "refused": "TLS" in pool.trouble}


class ReplacementTrial:
    """Tries the servers once; calls `over` with a refusal, or None. Opens no connection where nothing has changed."""

    def __init__(
        self, there: object, proxy: Proxy, clock: IReactorTime, over: Callable[[Refusal | None], None]
    ) -> None:
        """Takes what the old process has said of its servers (`standing`)."""
        self._clock = clock
        self._over = over
        self._until = clock.seconds() + PATIENCE
        self._pace = max(1, int(proxy.configuration.global_.pool_connect_rate * TICK))
        #: The lines that show another certificate, by backend/server; and those whose server has refused the old one.
        self._lines: dict[str, Line] = {}
        self._needing: list[str] = []
        servers = there.get("servers") if isinstance(there, dict) else None
        for name, line in proxy.lines.items():
            said = servers.get(name) if isinstance(servers, dict) else None
            if isinstance(said, dict) and _shows_another(line, said):
                if said.get("taken") is True:
                    self._lines[name] = line
                elif said.get("refused") is True:
                    self._needing.append(name)
                    self._lines[name] = line
        self._trials: dict[str, Trial] = {}
        self._to_try = [name for name, line in self._lines.items() if not line.pool.floor]

    def look(self) -> None:
        """Looks at the servers, now and from time to time until it is over."""
        for name in self._to_try[: self._pace]:
            self._trials[name] = Trial(self._lines[name].pool, self._clock.seconds)
        del self._to_try[: self._pace]
        late = self._clock.seconds() >= self._until
        refused = next(filter(None, map(self._refusal, self._lines)), None)
        awaited = [name for name in self._lines if not self._is_settled(name)]
        # One that refuses the old certificate and takes ours needs it: then no other can refuse that.
        if any(self._stands(name) for name in self._needing):
            refused, awaited = None, []
        elif refused is not None:
            awaited = [name for name in awaited if name in self._needing]
        if awaited and not late:
            self._clock.callLater(TICK, self.look)
            return
        for trial in self._trials.values():
            trial.end()
        self._over(refused)

    def _refusal(self, name: str) -> Refusal | None:
        """Returns the refusal of a server that takes the old certificate, and not ours. It has shown one that we accept
        by then: one that breaks off before that has seen nothing of us."""
        if name in self._needing:
            return None
        pool, trial = self._lines[name].pool, self._trials.get(name)
        trouble = pool.trouble or (trial.trouble if trial is not None else "")
        certificate = pool.certificate or (trial.certificate if trial is not None else UNSEEN)
        return Refusal(name, trouble) if "TLS" in trouble and certificate == ACCEPTED else None

    def _stands(self, name: str) -> bool:
        trial, now = self._trials.get(name), self._clock.seconds()
        if trial is not None:
            return trial.proven
        return any(each.proof_at <= now for each in self._lines[name].pool.idle)

    def _is_settled(self, name: str) -> bool:
        """Tells whether a server has taken our certificate, or will not in the next moment."""
        pool, trial = self._lines[name].pool, self._trials.get(name)
        if name in self._to_try:
            return False
        trouble = pool.trouble or (trial.trouble if trial is not None else "")
        return bool(trouble) or pool.state != "running" or self._stands(name)


def _shows_another(line: Line, said: dict[str, Any]) -> bool:
    """Tells whether a server at the same place is shown another certificate, or one instead of none."""
    context, server = line.context, line.server
    if context is None or context.settings.by_request or not server.serving or not line.pool.knows_name:
        return False
    shows = said.get("shows")
    return isinstance(shows, str) and shows != context.shown_digest and said.get("at") == str(server.target)
