"""Balances in turns: `balance roundrobin`, HAProxy's usual algorithm."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush

from attrs import define

from reusedproxy.backends.server import Server

#: One round in virtual time, in which each server has as many turns as its weight says. An integer, so that sums stay
#: exact however long they grow; so large that rounding a turn's length moves no share by more than a part in 10^9.
_ROUND = 1 << 40
#: Servers at which one with an idle connection is looked for.
_LOOKS = 8


@define(eq=False)
class _Turn:
    """Holds a server's next turn. `begins` is the virtual time from which it may be given; `length` is its
    share of a round. `standing` is None while the server takes part; otherwise how many turns it was ahead of
    the others when it left."""

    server: Server
    place: int
    weight: int = 0
    length: int = 0
    begins: int = 0
    standing: float | None = 0.0


class RoundRobin:
    """Implements HAProxy's `balance roundrobin`: each server in turn, as often as its weight says, its turns
    spread evenly.

    The algorithm is earliest eligible virtual deadline first (Stoica and Abdel-Wahab 1995): the n-th turn of a server
    of weight w may be given from n/w of a round on, and is due at (n+1)/w; of those that may be given, the one due
    first is next. So a server is at every moment less than one turn away from its share. The current virtual time is
    the weighted mean of all beginnings, so that all leads and lags add up to 0.

    A server's lead or lag is kept while it is full or out of use, and no other turn moves then: neither a server that
    flaps nor one that has just come back gets more than its share, or costs others theirs. Full servers are found when
    their turn comes, and are in no heap from then on until one of their places is free.

    `prefers_warm`: if the next one has no idle connection, and another one whose turn is due at the same time has, the
    two change places. Neither gets a turn more or less by that, since no turn of the next round begins before.
    """

    dynamic = True

    def __init__(self, prefers_warm: bool = False) -> None:
        self._prefers_warm = prefers_warm
        #: All that were ever used; a backend's servers are the same as long as it lives.
        self._turns: dict[Server, _Turn] = {}
        self._used: set[Server] = set()
        #: A backend of one server, as many are, needs no turns.
        self._only: Server | None = None
        #: Those whose turn may be given, by when it is due; and those whose turn has not begun, by when it does.
        self._due: list[tuple[int, int, _Turn]] = []
        self._later: list[tuple[int, int, _Turn]] = []
        #: Of those in the heaps: the weights, and the weighted beginnings. Now is one by the other.
        self._weight = 0
        self._sum = 0
        self._stopped_at = 0

    def use(self, servers: Sequence[Server]) -> None:
        used = set(servers)
        turns = [entry[2] for entry in self._due + self._later]
        for turn in turns:
            if turn.server not in used or turn.weight != turn.server.eweight:
                self._leave(turn)
        self._used = used
        self._only = servers[0] if len(servers) == 1 else None
        self._due = []
        self._later = [(turn.begins, turn.place, turn) for turn in turns if turn.standing is None]
        for server in servers:
            turn = self._turns.get(server) or self._turns.setdefault(server, _Turn(server, len(self._turns)))
            if turn.standing is not None and not server.full:
                self._enter(turn)
                self._later.append((turn.begins, turn.place, turn))
        heapify(self._later)

    def pick(self, avoid: Server | None = None) -> Server | None:
        only = self._only
        if only is not None:
            return None if only.maxconn and only.full else only
        due, later = self._due, self._later
        avoided = None
        while True:
            now = self._sum
            while later and later[0][0] * self._weight <= now:
                turn = heappop(later)[2]
                heappush(due, (turn.begins + turn.length, turn.place, turn))
            if not due:
                # Only `avoid` has room, and its turn has begun; or it has the only one, that has not.
                if not later:
                    break
                turn = heappop(later)[2]
                heappush(due, (turn.begins + turn.length, turn.place, turn))
            turn = due[0][2]
            server = turn.server
            if server.maxconn and server.served >= server.maxconn:
                heappop(due)
                self._leave(turn)
            elif server is avoid:
                avoided = heappop(due)
            else:
                break
        if not due:
            if avoided is None:
                return None
            turn = avoided[2]
        else:
            entry = heappop(due)
            if self._prefers_warm and not server.pool.idle:
                entry = self._warmer(entry)
                turn = entry[2]
            if avoided is not None:
                heappush(due, avoided)
        turn.begins += turn.length
        self._sum += turn.weight * turn.length
        heappush(later, (turn.begins, turn.place, turn))
        return turn.server

    def _warmer(self, cold: tuple[int, int, _Turn]) -> tuple[int, int, _Turn]:
        """Returns the turn of a server with an idle connection that is due at the same time as that of `cold`, or
        `cold`; the caller has taken that out of its heap."""
        due, found = self._due, cold
        looked_at: list[tuple[int, int, _Turn]] = []
        while due and due[0][0] == cold[0] and len(looked_at) < _LOOKS:
            entry = heappop(due)
            server = entry[2].server
            if server.pool.idle and not (server.maxconn and server.served >= server.maxconn):
                found = entry
                looked_at.append(cold)
                break
            looked_at.append(entry)
        for entry in looked_at:
            heappush(due, entry)
        return found

    def freed(self, server: Server) -> None:
        if server in self._used:
            turn = self._turns[server]
            if turn.standing is not None:
                self._enter(turn)
                heappush(self._later, (turn.begins, turn.place, turn))

    def _now(self) -> int:
        return self._sum // self._weight if self._weight else self._stopped_at

    def _leave(self, turn: _Turn) -> None:
        """Removes a server from the turns; the caller removes it from its heap."""
        now = self._now()
        turn.standing = (turn.begins - now) / turn.length
        self._weight -= turn.weight
        self._sum -= turn.weight * turn.begins
        if not self._weight:
            self._stopped_at = now

    def _enter(self, turn: _Turn) -> None:
        """Returns a server to the turns, with its lead or lag; the caller puts it into a heap."""
        assert turn.standing is not None
        turn.weight = turn.server.eweight
        turn.length = _ROUND // turn.weight
        ahead = int(min(1.0, max(-1.0, turn.standing)) * turn.length)
        if self._weight:
            # It moves the mean that it is measured by.
            ahead += ahead * turn.weight // self._weight
        turn.standing = None
        turn.begins = self._now() + ahead
        self._weight += turn.weight
        self._sum += turn.weight * turn.begins
