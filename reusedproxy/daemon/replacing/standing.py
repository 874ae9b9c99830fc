"""Sends what operators have ordered and pools have learnt to the process that takes this one's place: plain values, by
names of sections and servers.

They are sent before the new process opens its connections. As after a reload, an ordered limit or address stays in
force as long as the file has the same value as before. Servers' states and weights are sent as a state file is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from reusedproxy.backends.at_once import at_once
from reusedproxy.backends.names import target_of
from reusedproxy.backends.orders import (
    agents_place,
    checks_place,
    order_agent_at,
    order_check,
    order_clear,
    order_question,
)
from reusedproxy.backends.saved_states import COLUMNS, OTHER_NAME, may_follow_name
from reusedproxy.backends.server import Server
from reusedproxy.build.assembly import Proxy
from reusedproxy.build.servers.line import Line
from reusedproxy.config.language.addresses import is_host_name
from reusedproxy.config.model.proxies import Check
from reusedproxy.daemon.forgotten import deleted
from reusedproxy.daemon.replacing.trial import shown_at
from reusedproxy.net.dial import Target
from reusedproxy.pool import handed
from reusedproxy.pool.kept import DRAINED

#: The columns of a saved state that have the administrative state, the name and the port.
_ADMIN, _NAME, _PORT = map(COLUMNS.split().index, ("srv_admin_state", "srv_fqdn", "srv_port"))
#: Those of where checks and agent are, and what they have where nothing is said.
_ELSEWHERE = COLUMNS.split().index("srv_check_port")
_NOWHERE = ["0", "-", "-", "0"]
#: Who is said to have moved a server.
BY = "the process before"


def standing(proxy: Proxy) -> dict[str, object]:
    """Returns what was ordered and learnt, but for servers that were added in place of those of the file."""
    others = {*deleted(proxy)}
    return {
        "process": {"maxconn": proxy.places.maxconn, "said": proxy.places.maxconn_said},
        "frontends": {
            each.name: {"maxconn": each.settings.maxconn, "said": each.maxconn_said}
            for each in proxy.frontends
            if each.settings.maxconn != each.maxconn_said
        },
        "servers": {
            each.full_name: {
                **ordered_of(each),
                **_asked_of(proxy.lines[each.full_name]),
                **shown_at(each),
                "at": str(each.target),
                "pool": handed.learnt(each.pool),
            }
            for backend in proxy.backends
            for each in backend.servers
            if each.full_name not in others
        },
    }


def states_as_said(states: str, proxy: Proxy) -> str:
    """Returns saved states of servers (`show servers state`) in which ports, names and the places of checks are those
    of the file: what is saved counts, whatever the new file says, and what was ordered is not to. So there are none of
    servers that were added in place of those of the file."""
    others = {*deleted(proxy)}
    ordered = {
        (backend.name, server.name): server
        for backend in proxy.backends
        for server in backend.servers
        if server.ordered is not None or server.ordered_name
    }
    lines = []
    for line in states.split("\n"):
        words = line.split(" ")
        if len(words) > _PORT and f"{words[1]}/{words[3]}" in others:
            continue
        if len(words) > _PORT and (server := ordered.get((words[1], words[3]))) is not None:
            if server.ordered is not None:
                words[_PORT] = str(server.settings.port or 0)
            if server.ordered_name:
                words[_ADMIN], words[_NAME] = str(int(words[_ADMIN]) & ~OTHER_NAME), server.settings.host
        if not line.startswith("#") and len(words) > _ELSEWHERE:
            words[_ELSEWHERE:] = _NOWHERE
        lines.append(" ".join(words))
    return "\n".join(lines)


def ordered_of(server: Server) -> dict[str, object]:
    said = server.settings.maxconn
    limit: dict[str, object] = {} if server.limit == said else {"maxconn": server.limit, "said": said}
    if server.settings.added:
        limit["added"] = True
    if server.clear:
        limit["clear"] = True
    if server.pool.order.state == DRAINED:
        limit["drained"] = True
    check, checks = server.check, server.settings.check
    if check is not None and checks is not None and check != checks:
        limit["check"] = [*checked_at(check), *checked_at(checks)]
    agent, asks = server.agent, server.settings.agent
    if agent is not None and asks is not None and agent != asks:
        limit["agent"] = [agent.addr, agent.port, agent.send, asks.addr, asks.port, asks.send]
    if server.ordered_name:
        return {**limit, "name": server.ordered_name, "instead": _address(server)}
    if server.ordered is None:
        return limit
    host, port = server.ordered.address[:2]
    return {**limit, "address": [str(host), port], "instead": _address(server)}


def _asked_of(line: Line) -> dict[str, object]:
    """Returns that an agent is not to be asked, which the states do not say."""
    return {"agent_paused": True} if line.agent is not None and line.agent.paused else {}


def _address(server: Server) -> list[object]:
    settings = server.settings
    return [settings.kind, settings.host, settings.port]


def stand(proxy: Proxy, said: object) -> list[tuple[str, str]]:
    """Puts it in force, as far as the file allows. Returns what is to be said of it, with the section."""
    with at_once(proxy.backends):
        return [*_stand(proxy, said)]


def _stand(proxy: Proxy, said: object) -> Iterator[tuple[str, str]]:
    most = _kept(part(said, "process"), proxy.maxconn)
    if most is not None:
        proxy.places.set_maxconn(most)
    for frontend in proxy.frontends:
        most = _kept(part(said, "frontends", frontend.name), frontend.maxconn_said)
        if most is not None:
            frontend.set_maxconn(most)
            text = f"Frontend {frontend.name} keeps maxconn {most}, as was ordered in the process before"
            yield text, f"frontend {frontend.name}"
    for name, there in part(said, "servers").items():
        if isinstance(there, dict) and there.get("added") is True and name not in proxy.lines:
            text = f"server {name} was added in the process before, and no file names it: it is gone"
            yield text, f"backend {name.rpartition('/')[0]}"
    for backend in proxy.backends:
        for server in backend.servers:
            there = part(said, "servers", server.full_name)
            most = _kept(there, server.settings.maxconn)
            if most is not None and server.settings.pool.most is None:
                backend.set_maxconn(server, most)
                text = f"Server {server.full_name} keeps maxconn {most}, as was ordered in the process before"
                yield text, f"backend {backend.name}"
            target = ordered_target_of(server, there)
            if target is not None:
                backend.order_address(server, target, BY)
                text = f"Server {server.full_name} goes to {target}, as was ordered in the process before"
                yield text, f"backend {backend.name}"
            if name := ordered_name_of(server, there):
                backend.order_name(server, name, BY)
                text = f"Server {server.full_name} follows the name {name}, as was ordered in the process before"
                yield text, f"backend {backend.name}"
            if there.get("clear") is True and server.settings.tls is not None:
                order_clear(backend, server, True)
                text = f"Server {server.full_name} is reached without TLS, as was ordered in the process before"
                yield text, f"backend {backend.name}"
            if there.get("drained") is True:
                server.pool.order_drain()
                text = f"Server {server.full_name} keeps its pool drained, as was ordered in the process before"
                yield text, f"backend {backend.name}"
            for what in ask_elsewhere(server, there):
                text = f"Server {server.full_name} {what}, as was ordered in the process before"
                yield text, f"backend {backend.name}"
            agent = proxy.lines[server.full_name].agent
            if agent is not None and there.get("agent_paused") is True:
                agent.pause(True)
                text = f"Server {server.full_name} keeps its agent paused, as was ordered in the process before"
                yield text, f"backend {backend.name}"
            pool = there.get("pool")
            if isinstance(pool, dict) and there.get("at") == str(server.target):
                handed.learn(server.pool, pool)


def _kept(there: Mapping[str, Any], said: int) -> int | None:
    """Returns the limit that stays in force; None if none was ordered, or the file says another word."""
    most = there.get("maxconn")
    return most if type(most) is int and most >= 0 and there.get("said") == said and most != said else None


def ask_elsewhere(server: Server, there: Mapping[str, Any]) -> Iterator[str]:
    """Has checks and agent go where was ordered. Returns what is to be said of it."""
    check, agent = server.settings.check, server.settings.agent
    addr, port, addr_port, *said = there.get("check") or [None, None, None]
    same = check is not None and said == checked_at(check)
    if same and _is_place(addr, port) and _is_place(addr, addr_port):
        order_check(server, addr, port, addr_port)
        yield checks_place(server)
    addr, port, send, *said = there.get("agent") or [None, None, None]
    same = agent is not None and said == [agent.addr, agent.port, agent.send]
    if same and _is_place(addr, port) and port and isinstance(send, str):
        order_agent_at(server, addr, port)
        order_question(server, send)
        yield agents_place(server)


def checked_at(check: Check) -> list[object]:
    return [check.addr, check.port, check.addr_port]


def _is_place(addr: object, port: object) -> bool:
    try:
        return (addr is None or bool(ip_address(str(addr)))) and (port is None or port in range(1, 1 << 16))
    except ValueError:
        return False


def ordered_name_of(server: Server, there: Mapping[str, Any]) -> str:
    name = there.get("name")
    may_be = may_follow_name(server.settings) and there.get("instead") == _address(server)
    return name if may_be and isinstance(name, str) and is_host_name(name) else ""


def ordered_target_of(server: Server, there: Mapping[str, Any]) -> Target | None:
    address = there.get("address")
    if server.relocation is None or there.get("instead") != _address(server) or not isinstance(address, list):
        return None
    try:
        host, port = address
        return target_of(str(ip_address(host)), port) if type(port) is int and 0 < port < 1 << 16 else None
    except ValueError:
        return None


def part(said: object, *names: str) -> Mapping[str, Any]:
    for name in names:
        said = said.get(name) if isinstance(said, dict) else None
    return said if isinstance(said, dict) else {}
