"""Tells the process that takes this one's place what operators have ordered since `standing` was sent: the new one
opens its connections for seconds, and the old one obeys meanwhile.

The old process compares what is ordered at two moments. What differs it sends before the new one accepts, and
again when it has left, for the milliseconds between. The new one does with each difference what the order did, unless
its file has another word than the old one's. What ends with every proxy is in `daemon.forgotten`. Must never know how
it is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

from attrs import frozen

from reusedproxy.backends.at_once import at_once
from reusedproxy.backends.backend import Backend
from reusedproxy.backends.names import target_of
from reusedproxy.backends.orders import order_agent_at, order_check, order_clear, order_health, order_question
from reusedproxy.backends.server import DOWN, DRAIN, MAINT, NOLB, READY, UP, Server
from reusedproxy.build.assembly import Proxy
from reusedproxy.build.in_place import in_place
from reusedproxy.build.servers.line import Line
from reusedproxy.clients.frontend import Frontend
from reusedproxy.config.language.addresses import is_host_name
from reusedproxy.daemon.forgotten import Said, is_named
from reusedproxy.daemon.replacing.standing import (
    BY,
    ask_elsewhere,
    ordered_name_of,
    ordered_of,
    ordered_target_of,
)

#: What is ordered of the process, of frontends and of servers at a moment, by their names.
Orders: TypeAlias = dict[str, dict[str, object]]

Change: TypeAlias = Mapping[str, Any]

_ANY = range(1 << 31)
_ORDERED = "as was ordered in the process before"
_NOT_THERE = "does not get what was ordered in the process before"
_PLACE = ("address", "name", "instead")


def orders_of(proxy: Proxy) -> Orders:
    """Returns what is ordered now, and the words of the file to which that belongs."""
    orders: Orders = {"process": {"maxconn": [proxy.places.maxconn, proxy.places.maxconn_said]}}
    for each in proxy.frontends:
        orders[f"frontend {each.name}"] = {"maxconn": [each.settings.maxconn, each.maxconn_said]}
    others = in_place(proxy.lines, proxy.deleted)
    for name, line in proxy.lines.items():
        if name in others:
            orders[f"added {name}"] = {**_orders_of(line), "is": others[name]}
        else:
            orders[f"server {name}"] = _orders_of(line)
    return orders


def _orders_of(line: Line) -> dict[str, object]:
    server = line.server
    said = server.settings
    checks = [each for each in (line.checker, line.agent) if each is not None]
    orders = {
        **ordered_of(server),
        "maxconn": [server.limit, said.maxconn],
        "state": [server.admin, said.disabled],
        "weight": [server.weight, said.weight] if server.service is None else None,  # else name servers tell it
        "paused": [each is not None and each.paused for each in (line.checker, line.agent)],
        # What checks find out they find out there, too.
        "health": None if server.tracked is not None or not all(each.paused for each in checks) else server.health,
    }
    orders.pop("said", None)
    return orders


def differences(before: Orders, now: Orders) -> dict[str, list[dict[str, object]]]:
    """Returns what is ordered otherwise than before: what was, and what is."""
    return {name: [before.get(name, {}), orders] for name, orders in now.items() if before.get(name) != orders}


def obey(proxy: Proxy, said: object) -> list[Said]:
    """Has the differences be in force here, as far as the file allows. Returns what is to be said of it."""
    here = _Here(proxy, {each.name: each for each in proxy.frontends}, {each.name: each for each in proxy.backends})
    told: list[Said] = []
    with at_once(proxy.backends):
        for name, (was, now) in said.items() if isinstance(said, dict) else ():
            kind, _, called = name.partition(" ")
            if kind == "added":  # in place of one of the file
                if not is_named(called, now.get("is"), proxy):
                    continue  # which is told when the process before has left (`daemon.forgotten`)
                kind, name = "server", f"server {called}"
            section = f"backend {called.rpartition('/')[0]}" if kind == "server" else name if called else ""
            for level, text in _obey(here, kind, called, was, now):
                told.append((level, f"{name[0].upper()}{name[1:]} {text}", section))
    return told


@frozen
class _Here:
    """Holds the proxy here, and its frontends and backends by their names: there may be thousands of orders."""

    proxy: Proxy
    frontends: Mapping[str, Frontend]
    backends: Mapping[str, Backend]


def _obey(here: _Here, kind: str, called: str, was: Change, now: Change) -> Iterator[tuple[str, str]]:
    changed = {key: now.get(key) for key in {**was, **now} if was.get(key) != now.get(key)}
    proxy, line, frontend = here.proxy, here.proxy.lines.get(called), here.frontends.get(called)
    if kind == "process":
        places = proxy.places
        yield from _obey_word("maxconn", changed, proxy.maxconn, range(1, proxy.maxconn + 1), places.set_maxconn)
    elif kind == "frontend" and frontend is not None:
        yield from _obey_word("maxconn", changed, frontend.maxconn_said, _ANY, frontend.set_maxconn)
    elif kind == "server" and line is not None:
        yield from _obey_of_server(here.backends[called.rpartition("/")[0]], line, changed, was, now)
    elif "added" not in now:
        yield "warning", f"{_NOT_THERE}, as no file names it any more"
    elif "added" not in was:
        yield "notice", "was added in the process before, and no file names it: it is gone"


def _obey_of_server(
    backend: Backend, line: Line, changed: Change, was: Change, now: Change
) -> Iterator[tuple[str, str]]:
    server, said = line.server, line.server.settings
    limits = _ANY if said.pool.most is None else ()  # that of `strict-maxconn` is the pool's
    yield from _obey_word("state", changed, said.disabled, (READY, DRAIN, MAINT), partial(backend.set_state, server))
    yield from _obey_word(
        "weight", changed, said.weight, backend.weights_for(server), partial(backend.set_weight, server)
    )
    yield from _obey_word("maxconn", changed, said.maxconn, limits, partial(backend.set_maxconn, server))
    yield from _obey_of_checks(backend, line, changed, now)
    if "clear" in changed and said.tls is not None:
        order_clear(backend, server, now.get("clear") is True)
        yield "notice", f"is reached {'without' if server.clear else 'with'} TLS, {_ORDERED}"
    if "drained" in changed:
        drained = now.get("drained") is True
        (server.pool.order_drain if drained else server.pool.order_rewarm)()
        yield "notice", f"has its pool {'drained' if drained else 'filled again'}, {_ORDERED}"
    if not changed.keys().isdisjoint(_PLACE):
        yield _obey_place(backend, server, now)


def _obey_word(
    key: str, changed: Change, word: object, may_be: Container[object], act: Callable[[Any], object]
) -> Iterator[tuple[str, str]]:
    """Does what a value was ordered to be in place of this `word` of the file."""
    if changed.get(key) is None:
        return
    value, said = changed[key]
    if said == word and type(value) in (int, str) and value in may_be:
        act(value)
        yield "notice", f"has {key} {value}, {_ORDERED}"
    else:
        yield "warning", f"{_NOT_THERE}: {key} {value}, as the file has another word for it"


def _obey_of_checks(backend: Backend, line: Line, changed: Change, now: Change) -> Iterator[tuple[str, str]]:
    server = line.server
    if "paused" in changed:
        for each, what, paused in zip(
            (line.checker, line.agent), ("health checks", "agent"), now["paused"], strict=True
        ):
            if each is not None and each.paused != paused:
                each.pause(paused is True)
                yield "notice", f"has its {what} {'paused' if each.paused else 'going on'}, {_ORDERED}"
    unchecked = all(each is None or each.paused for each in (line.checker, line.agent)) and server.tracked is None
    health = changed.get("health")
    if health in (UP, NOLB, DOWN) and health != server.health:
        if unchecked:
            order_health(backend, server, health, line.checker)
            yield "notice", f"is {server.health}, {_ORDERED}"
        else:
            yield "warning", f"{_NOT_THERE}: {health}, as checks find that out here, or a server that it tracks"
    check, agent = server.settings.check, server.settings.agent
    if "check" in changed and "check" not in now and check is not None:
        order_check(server, check.addr, check.port, check.addr_port)
        yield "notice", f"is checked where its line says, {_ORDERED}"
    if "agent" in changed and "agent" not in now and agent is not None:
        order_agent_at(server, agent.addr, agent.port)
        order_question(server, agent.send)
        yield "notice", f"has its agent asked where its line says, {_ORDERED}"
    elsewhere = {key: now[key] for key in ("check", "agent") if key in changed and key in now}
    done = [*ask_elsewhere(server, elsewhere)]
    for what in done:
        yield "notice", f"{what}, {_ORDERED}"
    if len(done) < len(elsewhere):
        yield "warning", f"{_NOT_THERE}: where its checks or its agent are, as the file has other words for it"


def _obey_place(backend: Backend, server: Server, now: Change) -> tuple[str, str]:
    host, port = server.settings.host, server.settings.port or 0
    name, target = ordered_name_of(server, now), ordered_target_of(server, now)
    if not name and target is None and "instead" not in now:
        if server.ordered_name:
            backend.order_name(server, host, BY)
            return "notice", f"follows the name of its line, {_ORDERED}"
        target = None if server.ordered is None or is_host_name(host) else target_of(host, port)
    if name:
        backend.order_name(server, name, BY)
        return "notice", f"follows the name {name}, {_ORDERED}"
    if target is not None:
        backend.order_address(server, target, BY)
        return "notice", f"goes to {target}, {_ORDERED}"
    return "warning", f"{_NOT_THERE}: its address, as the file has another one"
