"""Does what the runtime API orders of the checks and agents of servers: has them stop, go on, and ask elsewhere, and
says in their place what they find. All in HAProxy's words, some of which have no line end of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Generic, TypeVar

from attrs import frozen

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.checks.agent import AgentChecker
from reusedproxy.backends.checks.checker import Checker
from reusedproxy.backends.orders import order_agent, order_agent_at, order_check, order_health, order_question
from reusedproxy.backends.server import DOWN, NOLB, UP, Server
from reusedproxy.operators.runtime.messages import WARNING
from reusedproxy.operators.runtime.proxy import Context, Refusal

_HEALTH = {"up": UP, "stopping": NOLB, "down": DOWN}
_AGENT = {"up": UP, "down": DOWN}
_MOST_PORT = 65535
_ANYWHERE = ("0.0.0.0", "::")

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
        checker.pause(True)
    return ""


def resume(kind: Kind[C], context: Context, words: Sequence[str]) -> str:
    """Does `enable health|agent <backend>/<server>`.

    @raise Refusal: if the server has none.
    """
    checker = kind.checker_of(*context.server(words[0] if words else ""))
    if checker is None:
        raise Refusal(kind.absent)
    checker.pause(False)
    return ""


def set_health(backend: Backend, server: Server, words: Sequence[str]) -> str:
    """Does `set server <backend>/<server> health up|stopping|down`."""
    if server.tracked is not None:
        raise Refusal("cannot change health on a tracking server.")
    health = _HEALTH.get(words[0] if words else "")
    if health is None:
        raise Refusal("'set server <srv> health' expects 'up', 'stopping', or 'down'.")
    order_health(backend, server, health, HEALTH.checker_of(backend, server))
    return ""


def set_agent(backend: Backend, server: Server, words: Sequence[str]) -> str:
    """Does `set server <backend>/<server> agent up|down`."""
    agent = _asked_agent(backend, server)
    health = _AGENT.get(words[0] if words else "")
    if health is None:
        raise Refusal("'set server <srv> agent' expects 'up' or 'down'.")
    order_agent(backend, server, health, agent)
    return ""


def _asked_agent(backend: Backend, server: Server) -> AgentChecker:
    """Returns what asks the agent of a server.

    @raise Refusal: if there is none, or an operator has stopped it.
    """
    agent = AGENT.checker_of(backend, server)
    if agent is None or agent.paused:
        raise Refusal("agent checks are not enabled on this server.")
    return agent


def set_agent_send(backend: Backend, server: Server, words: Sequence[str]) -> str:
    """Does `set server <backend>/<server> agent-send <text>`."""
    _asked_agent(backend, server)
    order_question(server, words[0] if words else "")
    return ""


def set_check_addr(backend: Backend, server: Server, words: Sequence[str]) -> str:
    """Does `set server <backend>/<server> check-addr <address> [port <port>]`."""
    return _set_check(backend, server, *_address_and_port("check-addr", words))


def set_check_port(backend: Backend, server: Server, words: Sequence[str]) -> str:
    """Does `set server <backend>/<server> check-port <port>`; 0 stands for that of the server."""
    return _set_check(backend, server, None, _port("check-port", words))


def _set_check(backend: Backend, server: Server, addr: str | None, port: str | None) -> str:
    checker = HEALTH.checker_of(backend, server)
    if checker is None or checker.paused or server.check is None:
        raise Refusal("health checks are not enabled on this server", "", WARNING)
    said = server.check
    # As in HAProxy, an address that is ordered takes the place of that on the line together with the port there.
    at, addr_port = (said.addr, said.addr_port) if addr is None else (_ip(addr), None)
    order_check(server, at, said.port if port is None else _number(port) or None, addr_port)
    return ""


def set_agent_addr(backend: Backend, server: Server, words: Sequence[str]) -> str:
    """Does `set server <backend>/<server> agent-addr <address> [port <port>]`."""
    return _set_agent_place(backend, server, *_address_and_port("agent-addr", words))


def set_agent_port(backend: Backend, server: Server, words: Sequence[str]) -> str:
    """Does `set server <backend>/<server> agent-port <port>`."""
    return _set_agent_place(backend, server, None, _port("agent-port", words))


def _set_agent_place(backend: Backend, server: Server, addr: str | None, port: str | None) -> str:
    agent, said = AGENT.checker_of(backend, server), server.agent
    if agent is None or agent.paused or said is None:
        raise Refusal("agent checks are not enabled on this server", "", WARNING)
    addr = said.addr if addr is None else _ip(addr)
    number = said.port if port is None else _number(port)
    if not number:
        raise Refusal("provided port is invalid", "", WARNING)
    order_agent_at(server, addr, number)
    return ""


def _address_and_port(word: str, words: Sequence[str]) -> tuple[str, str | None]:
    if not words:
        raise Refusal(f"set server <b>/<s> {word} requires an address and optionally a port.")
    port = None if words[1:2] != ["port"] else words[2] if len(words) > 2 else ""
    return words[0], port


def _port(word: str, words: Sequence[str]) -> str:
    if not words:
        raise Refusal(f"set server <b>/<s> {word} requires a port.")
    return words[0]


def _ip(text: str) -> str | None:
    """Returns an IP address, None for one that stands for the server's own.

    @raise Refusal: for a host name, for which the event loop would wait.
    """
    try:
        address = str(ip_address(text))
    except ValueError:
        raise Refusal(f"invalid addr '{text}'", "", WARNING) from None
    return None if address in _ANYWHERE else address


def _number(text: str) -> int:
    if re.match(r"[+-]?[0-9]{1,9}\Z", text) is None:
        raise Refusal("provided port is not an integer", "", WARNING)
    if not 0 <= int(text) <= _MOST_PORT:
        raise Refusal("provided port is invalid", "", WARNING)
    return int(text)
