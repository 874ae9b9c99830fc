"""Limits the clients of the whole process: how many there are (`maxconn`), how many of them over TLS (`maxsslconn`),
and how many come in a second. It must never know who they are."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from typing import Final, Protocol

from reusedproxy.clients.session_rate import SessionRate
from reusedproxy.net.deadlines import Deadlines

#: What bounds the clients of the whole process in a second: those that connect, those that rules for connections let
#: in, and those that begin a TLS handshake.
CONNECTIONS: Final = "maxconnrate"
ACCEPTED: Final = "maxsessrate"
HANDSHAKES: Final = "maxsslrate"


class Limited(Protocol):
    """Defines a frontend that listens, as far as the limit concerns it; `full` tells that its listeners pause."""

    name: str
    full: bool

    @property
    def connections(self) -> Sized:
        """Returns its clients."""

    @property
    def clients(self) -> int:
        """Returns their number, with those that the frontend before a reload still has."""

    def fill(self) -> None:
        """Pauses its listeners, because it or the process has as many clients as allowed."""

    def pause(self) -> None:
        """Pauses its listeners until `make_room`."""

    def make_room(self) -> None:
        """Has its listeners accept again, unless a limit or a rate is still reached."""

    def crowd(self, crowded: bool) -> None:
        """Has its listeners with TLS pause, or accept again, as the process has, or no longer has, as many clients over
        TLS as allowed."""


class ConnectionLimit:
    """Limits the client connections of the whole process (`maxconn`); listening frontends are told when there is room.

    There is one for the process's life: after a reload the clients that are still there count on, against
    the new bound.
    """

    def __init__(self, maxconn: int) -> None:
        self.maxconn = maxconn
        #: That of the file; `maxconn` may have been ordered since.
        self.maxconn_said = maxconn
        self.taken = 0
        #: Most clients over TLS at once; 0: as many as clients.
        self.maxsslconn = 0
        #: The clients over TLS, from the moment they have connected.
        self.over_tls = 0
        #: Numbers that requests have been given for logs and `unique-id-format`.
        self.numbered = 0
        self.frontends: list[Limited] = []
        #: What bounds how many come in a second, by the word of the configuration.
        self.rates: dict[str, SessionRate] = {}

    @property
    def full(self) -> bool:
        return self.taken >= self.maxconn

    def allow(self, said: int) -> bool:
        """Takes the limit of a file. One that was ordered holds until the file says another word; returns whether one
        does."""
        if said != self.maxconn_said or self.maxconn == self.maxconn_said:
            self.maxconn = said
        self.maxconn_said = said
        return self.maxconn != said

    def set_maxconn(self, most: int) -> None:
        """Sets the most clients at once (0: what the file says), as `set maxconn global` of HAProxy. Those beyond it
        stay."""
        self.maxconn = most or self.maxconn_said
        for frontend in self.frontends:
            if self.full:
                frontend.fill()
            else:
                frontend.make_room()

    @property
    def crowded(self) -> bool:
        """Tells whether there are as many clients over TLS as allowed."""
        return 0 < self.maxsslconn <= self.over_tls

    def limit_tls(self, most: int) -> None:
        """Sets the most clients over TLS at once (0: as many as clients). Those beyond it stay."""
        self.maxsslconn = most
        self.crowd()

    def crowd(self) -> None:
        """Has all listeners with TLS pause if there are as many clients over TLS as allowed, or else accept again.
        Where `maxsslconn` is set, whoever counts these clients calls it."""
        crowded = self.crowded
        for frontend in self.frontends:
            frontend.crowd(crowded)

    def limit_rates(self, said: Iterable[tuple[str, int]], deadlines: Deadlines) -> None:
        """Bounds how many clients come in a second, in place of what bounded them before, whose count goes on."""
        before, self.rates = self.rates, {}
        for word, most in said:
            self.rates[word] = rate = SessionRate(most, deadlines, self._go_on)
            if word in before:
                rate.follow(before[word])
        for old in before.values():
            old.stop()
        self._go_on()

    def limit_rate(self, word: str, most: int, deadlines: Deadlines) -> None:
        """Bounds how many clients come in a second (0: nothing does), as `set rate-limit` of HAProxy, until the next
        reload. What was counted goes on."""
        before = self.rates.pop(word, None)
        if most:
            self.rates[word] = rate = SessionRate(most, deadlines, self._go_on)
            if before is not None:
                rate.follow(before)
        if before is not None:
            before.stop()
        self._go_on()

    @property
    def limited(self) -> bool:
        """Tells whether nobody may come in for the moment, as so many have come within a second."""
        return any(rate.limited for rate in self.rates.values())

    def count(self, word: str) -> None:
        """Counts a client, and pauses all listeners if it was the last for the moment."""
        rate = self.rates.get(word)
        if rate is not None and rate.count():
            for frontend in self.frontends:
                if not frontend.full:
                    frontend.pause()

    def _go_on(self) -> None:
        for frontend in self.frontends:
            frontend.make_room()
