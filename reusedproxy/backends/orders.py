"""Does what operators order of a server beside its state and its limits: its health, and where its checks and its agent
are. Must never know who gives orders, or how.
"""

from __future__ import annotations

from attrs import evolve

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.checks.agent import AgentChecker
from reusedproxy.backends.checks.checker import Checker
from reusedproxy.backends.messages import ORDERED
from reusedproxy.backends.server import DOWN, MAINT, Server


def order_health(backend: Backend, server: Server, health: str, checker: Checker | None) -> None:
    """Has a server be UP, NOLB or DOWN until its checks find something else, for which they count from the top, or from
    0: HAProxy's `set server <backend>/<server> health`. One in MAINT leaves that as ever."""
    if checker is not None:
        checker.judge.begin_at(0 if health == DOWN else checker.judge.top)
    _force(backend, server, health)


def order_agent(backend: Backend, server: Server, health: str, agent: AgentChecker) -> None:
    """Has a server be UP or DOWN as if its agent had said so: HAProxy's `set server <backend>/<server> agent`."""
    agent.judge.begin_at(0 if health == DOWN else agent.judge.top)
    server.agent_down = health == DOWN
    _force(backend, server, health)


def _force(backend: Backend, server: Server, health: str) -> None:
    if server.state != MAINT and server.health != health:
        backend.server_changed(server, health, ORDERED)


def order_check(server: Server, addr: str | None, port: int | None, addr_port: int | None = None) -> None:
    """Has the checks of a server that has some go to this IP address and port from now on; None: as without the word on
    its line. `addr_port` is that which stands with the address there."""
    if server.check is not None and server.links is not None:
        server.check = evolve(server.check, addr=addr, port=port, addr_port=addr_port)
        server.links.aim_checks()


def order_agent_at(server: Server, addr: str | None, port: int) -> None:
    """Has the agent of a server that has one be asked at this IP address and port; `addr` None: at the server's."""
    if server.agent is not None and server.links is not None:
        server.agent = evolve(server.agent, addr=addr, port=port)
        server.links.aim_agent()


def order_question(server: Server, send: str) -> None:
    """Has the agent of a server that has one be sent this first, "": nothing."""
    if server.agent is not None and server.links is not None:
        server.agent = evolve(server.agent, send=send)
        server.links.aim_agent()


def order_clear(backend: Backend, server: Server, clear: bool) -> None:
    """Has a server's connections be without TLS from now on, or with that of its line again: HAProxy's `set server
    <backend>/<server> ssl`.

    No request gets one of the other kind any more; those that carry one finish it, and the floor is opened anew.
    """
    if server.links is None or backend.addresses is None or server.clear == clear:
        return
    server.clear = clear
    before = backend.take_pool(server, server.links.pool_of_kind())
    server.links.turned()
    backend.addresses.departed.add(before)


def checks_place(server: Server) -> str:
    """Says where the checks of a server go that was ordered."""
    check = server.check
    assert check is not None
    return f"is checked at address {check.addr or 'of its own'}, port {check.own_port or 'of its own'}"


def agents_place(server: Server) -> str:
    """Says where the agent of a server is asked, and whether it is sent something, which may be a password."""
    agent = server.agent
    assert agent is not None
    sent = ", and sent a text" if agent.send else ""
    return f"has its agent asked at address {agent.addr or 'of its own'}, port {agent.port}{sent}"
