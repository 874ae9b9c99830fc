"""Stops the checks and agents of servers at an order of the runtime API, and has them go on, in HAProxy's words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from attrs import frozen

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.checks.agent import AgentChecker
from reusedproxy.backends.checks.checker import Checker
from reusedproxy.backends.server import Server
from reusedproxy.operators.runtime.proxy import Context, Refusal

C = TypeVar("C", Checker, AgentChecker)


@frozen
class Kind(Generic[C]):
    """Holds a kind of checks: those of a backend, and what is said of a server that has none."""

    of: Callable[[Backend], Sequence[C]]
    absent: str

    def checker_of(self, backend: Backend, server: Server) -> C | None:
        """Returns what checks a server, None if its line asks for no such check."""
        return next((each for each in self.of(backend) if each.server is server), None)


HEALTH = Kind[Checker](
    lambda backend: backend.checkers, "Health check was not configured on this server, cannot enable."
)
AGENT = Kind[AgentChecker](lambda backend: backend.agents, "Agent was not configured on this server, cannot enable.")


def pause(kind: Kind[C], context: Context, words: Sequence[str]) -> str:
    """Does `disable health|agent <backend>/<server>`. Changes nothing, and says nothing, where none is configured, as
    HAProxy does."""
    checker = kind.checker_of(*context.server(words[0] if words else ""))
    if checker is not None:
        checker.paused = True
    return ""


def resume(kind: Kind[C], context: Context, words: Sequence[str]) -> str:
    """Does `enable health|agent <backend>/<server>`.

    @raise Refusal: if the server has none.
    """
    checker = kind.checker_of(*context.server(words[0] if words else ""))
    if checker is None:
        raise Refusal(kind.absent)
    checker.paused = False
    return ""
