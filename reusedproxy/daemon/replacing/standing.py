"""Sends what operators have ordered and pools have learnt to the process that takes this one's place: plain values, by
names of sections and servers.

They are sent before the new process opens its connections. As after a reload, an ordered limit or address stays in
force as long as the file has the same value as before. Servers' states and weights are sent as a state file is. What is
said of a server that was added under the name of a deleted one of the file counts only where the new file names it.
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
from reusedproxy.backends.saved_states import COLUMNS, OTHER_NAME, VERSION, Unreadable, may_follow_name, rows
from reusedproxy.backends.server import Server
from reusedproxy.build.assembly import Proxy
from reusedproxy.build.in_place import address_of, in_place
from reusedproxy.build.servers.line import Line
from reusedproxy.config.language.addresses import is_host_name
from reusedproxy.config.model.proxies import Check, Configuration
from reusedproxy.daemon.forgotten import is_named
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


def standing(proxy: Proxy, states: str = "") -> dict[str, object]:
    """Returns what was ordered and learnt; apart from the others, that of servers that were added in place of those of
    the file, with their states out of all saved ones."""
    others = in_place(proxy.lines, proxy.deleted)
    lines = _as_said(states, proxy) if others else {}
    return {
        "process": {"maxconn": proxy.places.maxconn, "said": proxy.places.maxconn_said},
        "frontends": {
            each.name: {"maxconn": each.settings.maxconn, "said": each.maxconn_said}
            for each in proxy.frontends
            if each.settings.maxconn != each.maxconn_said
        },
        "servers": {
            each.full_name: _standing_of(proxy, each)
            for backend in proxy.backends
            for each in backend.servers
            if each.full_name not in others
        },
        "in_place": {
            name: {**_standing_of(proxy, proxy.lines[name].server), "is": address, "state": lines.get(name, "")}
            for name, address in others.items()
        },
    }


def _standing_of(proxy: Proxy, server: Server) -> dict[str, object]:
    return {
        **ordered_of(server),
        **_asked_of(proxy.lines[server.full_name]),
        **shown_at(server),
        "at": str(server.target),
        "pool": handed.learnt(server.pool),
    }


def states_as_said(states: str, proxy: Proxy) -> str:
    """Returns saved states of servers (`show servers state`) in which ports, names and the places of checks are those
    of the file: what is saved counts, whatever the new file says, and what was ordered is not to. So there are none of
    servers that were added in place of those of the file."""
    others = in_place(proxy.lines, proxy.deleted)
    return "\n".join(line for name, line in _lines_as_said(states, proxy) if name not in others)


def states_in_place(said: object, configuration: Configuration) -> str:
    """Returns the lines of saved states of those servers that were added in place of others and that the file names
    now."""
    lines = ""
    for name, there in part(said, "in_place").items():
        if not isinstance(there, dict):
            continue
        line, (section, _, called) = there.get("state"), name.rpartition("/")
        servers = configuration.backends[section].servers if section in configuration.backends else ()
        named = [each for each in servers if each.name == called and address_of(each) == there.get("is")]
        if named and isinstance(line, str) and _is_row(line, section, called):
            lines += f"{line}\n"
    return lines


def _is_row(line: str, section: str, called: str) -> bool:
    try:
        return [(words[1], words[3]) for words in rows(f"{VERSION}\n{line}\n")] == [(section, called)]
    except Unreadable:
        return False


def _as_said(states: str, proxy: Proxy) -> dict[str, str]:
    return {name: line for name, line in _lines_as_said(states, proxy) if name}


def _lines_as_said(states: str, proxy: Proxy) -> Iterator[tuple[str, str]]:
    """Returns each line of saved states as it is sent, with the name of its server, "" if it has none."""
    ordered = {
        (backend.name, server.name): server
        for backend in proxy.backends
        for server in backend.servers
        if server.ordered is not None or server.ordered_name
    }
    for line in states.split("\n"):
        words = line.split(" ")
        name = f"{words[1]}/{words[3]}" if len(words) > _PORT and not line.startswith("#") else ""
        if len(words) > _PORT and (server := ordered.get((words[1], words[3]))) is not None:
            if server.ordered is not None:
                words[_PORT] = str(server.settings.port or 0)
            if server.ordered_name:
                words[_ADMIN], words[_NAME] = str(int(words[_ADMIN]) & ~OTHER_NAME), server.settings.host
        if not line.startswith("#") and len(words) > _ELSEWHERE:
            words[_ELSEWHERE:] = _NOWHERE
        yield name, " ".join(words)


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
        return {**limit, "name": server.ordered_name, "instead": address_of(server.settings)}
    if server.ordered is None:
        return limit
    host, port = server.ordered.address[:2]
    return {**limit, "address": [str(host), port], "instead": address_of(server.settings)}


def _asked_of(line: Line) -> dict[str, object]:
    """Returns that an agent is not to be asked, which the states do not say."""
    return {"agent_paused": True} if line.agent is not None and line.agent.paused else {}


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
            added = part(said, "in_place", server.full_name)
            if added and is_named(server.full_name, added.get("is"), proxy):
                there = added
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
    may_be = may_follow_name(server.settings) and there.get("instead") == address_of(server.settings)
    return name if may_be and isinstance(name, str) and is_host_name(name) else ""


def ordered_target_of(server: Server, there: Mapping[str, Any]) -> Target | None:
    address = there.get("address")
    if (
        server.relocation is None
        or there.get("instead") != address_of(server.settings)
        or not isinstance(address, list)
    ):
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
