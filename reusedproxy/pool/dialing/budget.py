"""Limits how fast all servers together are dialled for their floors, so that a site that comes back does not
starve its traffic.

A handshake costs about a millisecond of the one core that also carries every request. Governors ask before each dial
for a floor; those that must wait stand in a line, and each gets its turn. Handshakes for requests that wait are never
held up here, but are counted up to half of the rate: the other half is the floors' alone, however many requests dial.
Connections without TLS cost a tenth of that: their floors have a bucket of their own, of the same rate, and dials
without TLS for requests are not counted. A budget must never know pools.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: Handshakes a second for the floors of all servers, when nothing is configured: about a fifth of a core.
RATE = 200.0
#: Share of the rate that requests may take from the floors.
REQUESTS = 0.5
#: Seconds between two looks at the line.
TURN = 1 / 64


class Budget:
    """Holds a bucket of `rate` tokens a second, at most a tenth of a second's worth (or one) at a time,
    and a fair line.

    `plain` is the bucket of servers without TLS; only the bucket of handshakes has it.
    """

    def __init__(self, clock: IReactorTime, rate: float = RATE, *, plain: bool = False) -> None:
        self.plain = None if plain else Budget(clock, rate, plain=True)
        self._rate = rate
        #: Who waits, in order, and the function to call at the turn of each.
        self.line: dict[object, Callable[[], None]] = {}
        self._clock = clock
        self._now = clock.seconds
        self._tokens = self._most
        self._tokens_at = self._now()
        #: Tokens that requests may take now.
        self._share = max(1.0, REQUESTS * self._most)
        self._share_at = self._tokens_at
        self._turn: object | None = None
        self._call: IDelayedCall | None = None

    @property
    def rate(self) -> float:
        """Returns the tokens a second, of either bucket. A reload may change it."""
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        self._rate = rate
        if self.plain is not None:
            self.plain.rate = rate

    @property
    def _most(self) -> float:
        return max(1.0, self.rate / 10)

    def wait(self, who: object, go_on: Callable[[], None]) -> float:
        """Returns how many seconds `who` has to wait. 0: it may dial now, and must call `spend`. inf: it stands in the
        line, and `go_on` will be called."""
        if self._turn is who or (not self.line and self._filled() >= 1):
            self._turn = None
            return 0.0
        self.line.setdefault(who, go_on)
        if self._call is None:
            self._call = self._clock.callLater(TURN, self._serve)
        return inf

    def spend(self) -> None:
        """Pays for a dial for a floor."""
        self._tokens = self._filled() - 1

    def spend_on_request(self) -> bool:
        """Pays for a handshake for a request, which need not ask first. Beyond the requests' share it costs the
        floors nothing.

        Returns True if it was paid for, so that it may be given back.
        """
        now = self._now()
        most = max(1.0, REQUESTS * self._most)
        self._share = min(most, self._share + (now - self._share_at) * REQUESTS * self.rate)
        self._share_at = now
        if self._share < 1:
            return False
        self._share -= 1
        self.spend()
        return True

    def give_back(self, to_requests: bool) -> None:
        """Gives back the token of a dial that never came to a handshake. Otherwise servers that refuse would starve the
        floors of those that do not. `to_requests` tells that the requests' share had paid for it."""
        self._tokens = min(self._most, self._filled() + 1)
        if to_requests:
            self._share += 1  # brought within its bounds when it is looked at next

    def leave(self, who: object) -> None:
        """Removes `who` from the line, because it wants no dial any more. Does nothing if it is not in the line."""
        self.line.pop(who, None)

    def _filled(self) -> float:
        now = self._now()
        self._tokens = min(self._most, self._tokens + (now - self._tokens_at) * self.rate)
        self._tokens_at = now
        return self._tokens

    def _serve(self) -> None:
        """Gives each in the line one turn, as long as there are tokens; who wants more stands
        behind the others again."""
        self._call = None
        while self.line and self._filled() >= 1:
            who = next(iter(self.line))
            go_on = self.line.pop(who)
            self._turn = who
            go_on()
            self._turn = None
        if self.line and self._call is None:
            self._call = self._clock.callLater(TURN, self._serve)
