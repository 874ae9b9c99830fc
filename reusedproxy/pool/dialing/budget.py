"""How fast all servers together may be dialled for their floors, so that a site that comes back does not starve its traffic.

A handshake costs about a millisecond of the one core that also carries every request. Governors ask before each dial for a
floor; who must wait stands in a line, each server in turn. Handshakes for requests that wait are never held up here, and
they are counted up to half of the rate: the other half is the floors' alone, however many requests dial. Connections in the
clear cost a tenth of that: their floors have a bucket of their own, of the same rate, and dials for requests in the clear
are not counted. It must never know pools.
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
    """A bucket of `rate` tokens a second, at most a tenth of a second's worth (or one) at a time, and a fair line.

    `plain` is that of servers in the clear; only the one of handshakes has it.
    """

    def __init__(self, clock: IReactorTime, rate: float = RATE, *, plain: bool = False) -> None:
        self.plain = None if plain else Budget(clock, rate, plain=True)
        self._rate = rate
        #: Who waits, in order, and what to call when it is their turn.
        self.line: dict[object, Callable[[], None]] = {}
        self._clock = clock
        self._now = clock.seconds
        self._tokens = self._most
        self._tokens_at = self._now()
        #: Of those, what requests may take at this moment.
        self._share = max(1.0, REQUESTS * self._most)
        self._share_at = self._tokens_at
        self._turn: object | None = None
        self._call: IDelayedCall | None = None

    @property
    def rate(self) -> float:
        """Tokens a second, of either bucket. A reload may change it."""
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
        """Returns how long `who` has to wait. 0: it may dial now, and must say so with `spend`. inf: it stands in the
        line, and `go_on` is called."""
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
        """Pays for a handshake for a request, which did not have to ask. Beyond the requests' share it costs no floor its
        turn.

        True: it was paid for, and may be given back.
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
        """Gives back what was paid for a dial that never came to a handshake. Else servers that refuse would starve the
        floors of those that do not. `to_requests`: it was paid for from their share."""
        self._tokens = min(self._most, self._filled() + 1)
        if to_requests:
            self._share += 1  # brought within its bounds when it is looked at next

    def leave(self, who: object) -> None:
        """Takes `who` out of the line: it wants no dial any more. No harm if it stands in no line."""
        self.line.pop(who, None)

    def _filled(self) -> float:
        now = self._now()
        self._tokens = min(self._most, self._tokens + (now - self._tokens_at) * self.rate)
        self._tokens_at = now
        return self._tokens

    def _serve(self) -> None:
        """Gives each that waits one turn, as long as there are tokens; who wants more stands behind the others again."""
        self._call = None
        while self.line and self._filled() >= 1:
            who = next(iter(self.line))
            go_on = self.line.pop(who)
            self._turn = who
            go_on()
            self._turn = None
        if self.line and self._call is None:
            self._call = self._clock.callLater(TURN, self._serve)
