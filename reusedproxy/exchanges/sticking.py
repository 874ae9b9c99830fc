"""Runs a backend's `stick` rules (`sessions.sticking`) for one request: before a server is chosen, and when one has
answered. It must never know how requests are sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from reusedproxy.backends.binding import Binding
from reusedproxy.exchanges.withheld import Verdict
from reusedproxy.net.listener import Listener
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.sessions.sticking import Sticking, Sticks, Stores

#: What runs the rules for an answer (`exchanges.facts`).
AnswerRules = Callable[..., Verdict]


class Frontend(Protocol):
    """Defines the frontend as far as a rule that fails concerns it."""

    def not_evaluated(self, unevaluated: Unevaluated, listener: Listener) -> None:
        """Reports a rule that could not be evaluated; the request or response concerned has been refused."""


class Client(Protocol):
    """Defines the client connection of an exchange."""

    @property
    def frontend(self) -> Frontend: ...

    @property
    def listener(self) -> Listener: ...


class Stuck(Sticks, Protocol):
    """Defines the exchange that sticks, or is stored."""

    @property
    def client(self) -> Client: ...

    binding: Binding | None
    answer_rules: AnswerRules | None

    def fail(self, status: int, flags: str) -> None:
        """Ends the exchange with an error response of the proxy's own."""


def fails_to_stick(exchange: Stuck, sticking: Sticking) -> bool:
    """Binds a request to the server that a stick table names for it, and has the one that answers stored. Returns True
    if that could not be found out, and the request has been refused."""
    try:
        exchange.binding, stores = sticking.receive(exchange, exchange.binding)
    except Unevaluated as unevaluated:
        exchange.client.frontend.not_evaluated(unevaluated, exchange.client.listener)
        exchange.fail(500, "PR")
        return True
    exchange.answer_rules = _Storing(sticking, stores, exchange.answer_rules)
    return False


class _Storing:
    """Stands for an exchange's rules about its answer: stores the server that has sent it, and runs those rules."""

    def __init__(self, sticking: Sticking, stores: Stores, rules: AnswerRules | None) -> None:
        self._sticking = sticking
        self._stores = stores
        self._rules = rules

    def __call__(self, exchange: Stuck) -> Verdict:
        try:
            self._sticking.store(exchange, self._stores)
        except Unevaluated as unevaluated:
            exchange.client.frontend.not_evaluated(unevaluated, exchange.client.listener)
        return None if self._rules is None else self._rules(exchange)
