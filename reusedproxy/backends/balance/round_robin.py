"""Balances in turns: `balance roundrobin`, HAProxy's usual algorithm."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from itertools import islice
from operator import attrgetter

from reusedproxy.backends.server import Server

#: One round in virtual time, in which each server has as many turns as its weight says. An integer, so that sums stay
#: exact however long they grow; so large that rounding a turn's length moves no share by more than a part in 10^9.
_ROUND = 1 << 40
#: Servers at which one with an idle connection is looked for.
_LOOKS = 8


class _Turn:
    """Holds a server's next turn. `begins` is the virtual time from which it may be given; `length` is its
    share of a round. `standing` is None while the server takes part; otherwise how many turns it was ahead of
    the others when it left."""

    # No class of attrs, which a compiled `pick` would ask through the interpreter.
    __slots__ = ("begins", "length", "place", "server", "standing", "weight")

    def __init__(self, server: Server, place: int) -> None:
        self.server = server
        self.place = place
        self.weight = self.length = self.begins = 0
        self.standing: float | None = 0.0

    def before(self, other: _Turn) -> bool:
        return self.begins < other.begins or (self.begins == other.begins and self.place < other.place)


#: Sorts turns as `before` does.
_IN_ORDER = attrgetter("begins", "place")


class _Equals:
    """Holds the turns of servers of one weight. `queue` has them in order, but for the first ones: so many are `shown`
    in the heaps, at least one as long as there is any."""

    __slots__ = ("queue", "shown")

    def __init__(self) -> None:
        self.queue: deque[_Turn] = deque()
        self.shown = 0


class RoundRobin:
    """Implements HAProxy's `balance roundrobin`: each server in turn, as often as its weight says, its turns
    spread evenly.

    The algorithm is earliest eligible virtual deadline first (Stoica and Abdel-Wahab 1995): the n-th turn of a server
    of weight w may be given from n/w of a round on, and is due at (n+1)/w; of those that may be given, the one due
    first is next. So a server is at every moment less than one turn away from its share. The current virtual time goes
    on with each turn that is given, and by nothing else. As long as the same servers take part it is the weighted mean
    of all beginnings: their leads and lags add up to 0.

    Turns of equal weight are of equal length: the first to begin is the first to be due, and a server that has had its
    turn goes to the end, which makes a queue for each weight. Only the first of each queue stands in a heap. A pick
    among 1,000 servers of 10 weights takes 0.7 µs so, and 1.1 µs with all of them in heaps.

    A server's lead or lag is kept while it is full or out of use, and neither other turns nor the virtual time move
    then: a server that flaps, or one that has just come back, gets no more than its share and costs nobody theirs. With
    the mean for the virtual time, leads would be forgotten whenever servers left while others were away. Full servers
    are found when their turn comes, and are in no heap from then on until one of their places is free.

    `prefers_warm`: if the next one has no idle connection, and another one of its weight whose turn is due at the same
    time has, the two change places. Neither gets a turn more or less by that, since no turn of the next round begins
    before.
    """

    dynamic = True
    weighs = True

    def __init__(self, prefers_warm: bool = False) -> None:
        self._prefers_warm = prefers_warm
        #: All that were ever used, until they are forgotten; and the place of the next one.
        self._turns: dict[Server, _Turn] = {}
        self._next_place = 0
        self._used: set[Server] = set()
        #: A backend of one server, as many are, needs no turns.
        self._only: Server | None = None
        self._equals: dict[int, _Equals] = {}
        #: Of the shown: those whose turn may be given, by when it is due; and those whose turn has not begun, by when
        #: that is.
        self._due: list[tuple[int, int, _Turn]] = []
        self._later: list[tuple[int, int, _Turn]] = []
        #: The weights of all of them, and that many times the present virtual time.
        self._weight = 0
        self._sum = 0
        self._stopped_at = 0

    def use(self, servers: Sequence[Server]) -> None:
        used = set(servers)
        turns = [turn for turn in self._turns.values() if turn.standing is None]
        for turn in turns:
            if turn.server not in used or turn.weight != turn.server.eweight:
                self._leave(turn)
        staying = [turn for turn in turns if turn.standing is None]
        self._used = used
        self._only = servers[0] if len(servers) == 1 else None
        for server in servers:
            turn = self._turns.get(server) or self._new(server)
            if turn.standing is not None and not server.full:
                self._enter(turn)
                staying.append(turn)
        staying.sort(key=_IN_ORDER)
        self._due, self._later, self._equals = [], [], {}
        for turn in staying:
            equals = self._equals.get(turn.weight) or self._equals.setdefault(turn.weight, _Equals())
            equals.queue.append(turn)
        for equals in self._equals.values():
            self._show(equals)

    def _new(self, server: Server) -> _Turn:
        self._turns[server] = turn = _Turn(server, self._next_place)
        self._next_place += 1
        return turn

    def forget(self, server: Server) -> None:
        self._turns.pop(server, None)

    def succeed(self, previous: RoundRobin, heirs: Mapping[Server, Server]) -> None:
        for turn in self._turns.values():
            if turn.standing is None:
                self._leave(turn)
        self._stopped_at = now = previous._now()
        for before, server in heirs.items():
            theirs = previous._turns.get(before)
            if theirs is None:
                continue
            turn = self._turns.get(server) or self._new(server)
            standing = theirs.standing
            if standing is None and server in self._used and server.eweight == theirs.weight:
                # Exactly where it was, since many turns begin, or are due, at the same time.
                turn.weight, turn.length, turn.begins, turn.standing = theirs.weight, theirs.length, theirs.begins, None
                self._weight += turn.weight
            else:
                turn.standing = (theirs.begins - now) / theirs.length if standing is None else standing
        self._sum = previous._sum if self._weight == previous._weight else self._weight * now

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
                # Only `avoid` has room, and its turn has begun; or no turn has, since one who is owed some is away.
                if not later:
                    break
                turn = heappop(later)[2]
                heappush(due, (turn.begins + turn.length, turn.place, turn))
            turn = due[0][2]
            server = turn.server
            if server.maxconn and server.served >= server.maxconn:
                heappop(due)
                self._leave(turn)
                self._hide(turn.weight)
            elif server is avoid:
                avoided = heappop(due)
                self._show(self._equals[turn.weight])
            else:
                break
        if not due:
            if avoided is None:
                return None
            turn = avoided[2]
            server = turn.server
            equals = self._equals[turn.weight]
        else:
            equals = self._equals[turn.weight]
            if self._prefers_warm and not server.pool.idle and equals.queue:
                turn = self._warmer(turn, equals.queue)
                server = turn.server
            if turn is due[0][2]:
                heappop(due)
            else:
                equals.shown += 1  # it was not shown
            if avoided is not None:
                heappush(due, avoided)
        length = turn.length
        turn.begins = begins = turn.begins + length
        self._sum += turn.weight * length
        queue = equals.queue
        if queue and ((last := queue[-1]).begins > begins or (last.begins == begins and last.place > turn.place)):
            _insert(queue, turn)
        else:
            queue.append(turn)
        if equals.shown > 1:
            equals.shown -= 1
        else:
            # `_show`, without a call for each request.
            turn = queue.popleft()
            begins = turn.begins
            if begins * self._weight <= self._sum:
                heappush(due, (begins + length, turn.place, turn))
            else:
                heappush(later, (begins, turn.place, turn))
        return server

    @staticmethod
    def _warmer(cold: _Turn, queue: deque[_Turn]) -> _Turn:
        """Returns the turn of a server with an idle connection that is due at the same time as that of `cold`, taken
        out of their queue; or `cold`."""
        begins = cold.begins
        for turn in islice(queue, _LOOKS):
            if turn.begins != begins:
                break
            server = turn.server
            if server.pool.idle and not (server.maxconn and server.served >= server.maxconn):
                queue.remove(turn)
                return turn
        return cold

    def freed(self, server: Server) -> None:
        if server in self._used:
            turn = self._turns[server]
            if turn.standing is not None:
                self._enter(turn)
                equals = self._equals.get(turn.weight) or self._equals.setdefault(turn.weight, _Equals())
                if equals.queue and turn.before(equals.queue[0]):
                    # It may be before those that are shown.
                    equals.shown += 1
                    heappush(self._later, (turn.begins, turn.place, turn))
                    return
                _insert(equals.queue, turn)
                if not equals.shown:
                    self._show(equals)

    def _show(self, equals: _Equals) -> None:
        """Puts the next one of the queue, if there is one, into a heap."""
        if equals.queue:
            turn = equals.queue.popleft()
            equals.shown += 1
            if turn.begins * self._weight <= self._sum:
                heappush(self._due, (turn.begins + turn.length, turn.place, turn))
            else:
                heappush(self._later, (turn.begins, turn.place, turn))

    def _hide(self, weight: int) -> None:
        """Notes that a shown one of this weight has left the heaps, and shows the next one in its place."""
        equals = self._equals[weight]
        equals.shown -= 1
        if not equals.shown:
            self._show(equals)

    def _now(self) -> int:
        return self._sum // self._weight if self._weight else self._stopped_at

    def _leave(self, turn: _Turn) -> None:
        """Removes a server from the turns; the caller removes it from its heap."""
        now = self._now()
        turn.standing = (turn.begins - now) / turn.length
        self._weight -= turn.weight
        self._sum -= turn.weight * now
        if not self._weight:
            self._stopped_at = now
            self._sum = 0

    def _enter(self, turn: _Turn) -> None:
        """Returns a server to the turns, with its lead or lag; the caller puts it into a heap."""
        assert turn.standing is not None
        turn.weight = turn.server.eweight
        turn.length = _ROUND // turn.weight
        now = self._now()
        turn.begins = now + int(min(1.0, max(-1.0, turn.standing)) * turn.length)
        turn.standing = None
        self._weight += turn.weight
        self._sum += turn.weight * now


def _insert(queue: deque[_Turn], turn: _Turn) -> None:
    """Puts a turn into its place in the queue, which is near the end mostly."""
    after: list[_Turn] = []
    while queue and turn.before(queue[-1]):
        after.append(queue.pop())
    queue.append(turn)
    queue.extend(reversed(after))
