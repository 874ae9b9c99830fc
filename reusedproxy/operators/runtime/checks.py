"""Stops the checks and agents of servers at an order of the runtime API, and has them go on, in HAProxy's words."""

from __future__ import annotations

from collections.abc import Sequence

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.checks.agent import AgentChecker
from reusedproxy.backends.checks.checker import Checker
from reusedproxy.backends.server import Server
from reusedproxy.operators.runtime.proxy import Context, Refusal


def checker_of(backend: Backend, server: Server) -> Checker | None:
    """Returns what checks the health of this server, None if its line has no `check`."""
    return next((each for each in backend.checkers if each.server is server), None)


def agent_of(backend: Backend, server: Server) -> AgentChecker | None:
    """Returns what asks the agent of this server, None if its line has no `agent-check`."""
    return next((each for each in backend.agents if each.server is server), None)


def disable_health(context: Context, words: Sequence[str]) -> str:
    """Does `disable health <backend>/<server>`. Changes nothing, and says nothing, where no checks are configured, as
    HAProxy does."""
    checker = checker_of(*context.server(words[0] if words else ""))
    if checker is not None:
        checker.paused = True
    return ""


def enable_health(context: Context, words: Sequence[str]) -> str:
    """Does `enable health <backend>/<server>`.

    @raise Refusal: if the server has no checks.
    """
    checker = checker_of(*context.server(words[0] if words else ""))
    if checker is None:
        raise Refusal("Health check was not configured on this server, cannot enable.")
    checker.paused = False
    return ""


def disable_agent(context: Context, words: Sequence[str]) -> str:
    """Does `disable agent <backend>/<server>`. Changes nothing, and says nothing, where no agent is configured, as
    HAProxy does."""
    agent = agent_of(*context.server(words[0] if words else ""))
    if agent is not None:
        agent.paused = True
    return ""


def enable_agent(context: Context, words: Sequence[str]) -> str:
    """Does `enable agent <backend>/<server>`.

    @raise Refusal: if the server has no agent.
    """
    agent = agent_of(*context.server(words[0] if words else ""))
    if agent is None:
        raise Refusal("Agent was not configured on this server, cannot enable.")
    agent.paused = False
    return ""
