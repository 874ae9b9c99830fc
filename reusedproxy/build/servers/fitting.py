"""Fits a server into its backend: who follows it when it comes up, checks it, asks its agent and watches its requests.

What is made here belongs to the backend, which lets go of it again when the server is deleted (`Backend.delete`).
"""

from __future__ import annotations

from functools import partial

from twisted.internet.interfaces import IReactorTime

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.checks.observe import Observer
from reusedproxy.backends.coming_up import ComingUp
from reusedproxy.backends.server import Server
from reusedproxy.backends.slow_start import SlowStart, Together
from reusedproxy.build.announce import Announce
from reusedproxy.build.servers.line import Line


class Fitting:
    """Fits servers into the backends of one reading of the configuration."""

    def __init__(self, clock: IReactorTime, announce: Announce) -> None:
        self._clock = clock
        self._announce = announce

    def follow(self, backend: Backend, server: Server) -> None:
        """Has a server take its share by and by when it comes up, as its `slowstart` and `pool-warm-up` say."""
        settings, limits = server.settings, server.pool.limits
        if settings.slowstart:
            backend.slow_starts[server] = SlowStart(server, self._clock, backend.slow_start_advanced)
            if backend.weigh_together is None:
                backend.weigh_together = Together(self._clock, backend.weigh_anew)
        if settings.warm_up and (server.pool.floor or limits.adapts):
            if backend.comings is None:
                announce = partial(self._announce, section=f"backend {backend.name}")
                backend.comings = ComingUp((), self._clock, backend.warmed, announce)
                backend.coming_up = backend.comings.courses
            backend.comings.add(server)

    def check(self, backend: Backend, line: Line) -> None:
        """Has the health of a server checked, its agent asked, and its requests watched (`observe`), by those of its
        line."""
        observe = line.server.settings.observe
        if line.checker is not None:
            backend.checkers.append(line.checker)
            if observe is not None:
                backend.observers[line.server] = Observer(observe, line.checker)
        if line.agent is not None:
            backend.agents.append(line.agent)
