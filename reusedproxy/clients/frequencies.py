"""Measures the rates that rules ask for: clients and requests of frontends, sessions of backends and servers, a second
(`fe_sess_rate`, `fe_req_rate`, `be_sess_rate`, `srv_sess_rate`).

Only what a configuration asks for is measured. Counters are read once a second, and when a rule asks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from math import inf

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import Server
from reusedproxy.clients.frontend import Frontend
from reusedproxy.measures.frequency import PERIOD, Frequency
from reusedproxy.net.deadlines import Deadlines


class Frequencies:
    """Holds the rates by the name of the sample fetch and by section, or backend/server."""

    def __init__(
        self, asked: Collection[str], frontends: Iterable[Frontend], backends: Iterable[Backend], deadlines: Deadlines
    ) -> None:
        """Takes the names of the fetches that are asked for. Has the frontends count what nobody counts otherwise."""
        # What `Deadlines` needs.
        self.deadline = inf
        self.slot = 0.0
        self._deadlines = deadlines
        self._of: dict[tuple[str, str], Frequency] = {}
        for frontend in frontends:
            frontend.frequencies = self
            if "fe_sess_rate" in asked:
                self._measure("fe_sess_rate", frontend.name, _clients(frontend))
            if "fe_req_rate" in asked:
                frontend.counts_requests = True
                self._measure("fe_req_rate", frontend.name, _requests(frontend))
        for backend in backends:
            if "be_sess_rate" in asked:
                self._measure("be_sess_rate", backend.name, _sessions(backend))
            for server in backend.servers if "srv_sess_rate" in asked else ():
                self._measure("srv_sess_rate", server.full_name, _sessions(server))

    def _measure(self, which: str, name: str, read: Callable[[], int]) -> None:
        self._of[which, name] = Frequency(read, self._deadlines.now())

    def rate(self, which: str, name: str) -> int | None:
        """Returns a rate, by the name of the sample fetch; None if there is no such section or server."""
        found = self._of.get((which, name))
        return None if found is None else found.rate(self._deadlines.now())

    def start(self) -> None:
        if self._of:
            self._deadlines.watch(self, self._deadlines.now() + PERIOD)

    def stop(self) -> None:
        self._deadlines.cancel(self)

    def deadline_passed(self) -> None:
        now = self._deadlines.now()
        for each in self._of.values():
            each.turn(now)
        self._deadlines.watch(self, now + PERIOD)

    def succeed(self, before: Frequencies | None) -> None:
        """Goes on from what a reload's proxy before has measured; what is new begins at the totals of now."""
        for key, each in self._of.items():
            if before is not None and key in before._of:
                each.follow(before._of[key])
            else:
                each.begin_again()

    def begin_again(self) -> None:
        """Goes on at the totals of now: another process has counted them."""
        self.succeed(None)


def _clients(frontend: Frontend) -> Callable[[], int]:
    return lambda: frontend.connections_total


def _requests(frontend: Frontend) -> Callable[[], int]:
    return lambda: frontend.requests_begun


def _sessions(of: Backend | Server) -> Callable[[], int]:
    return lambda: of.traffic.stot
