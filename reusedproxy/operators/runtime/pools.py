"""Answers `show pool connections`, and does `drain pool` and `rewarm pool`: orders of the runtime API that HAProxy does
not have.

What is done to connections is the pool's own affair (`pool.ordered`); here are the words around it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from reusedproxy.backends.server import Server
from reusedproxy.operators.runtime.proxy import Context, Refusal
from reusedproxy.operators.view.kept import KeptView, kept_connections
from reusedproxy.operators.view.present import servers_in
from reusedproxy.pool.kept import DRAINED
from reusedproxy.pool.pool import HTTPConnectionPool

#: Connections that are looked at in one piece of an answer: each takes 0.1 ms.
CONNECTIONS_AT_ONCE = 10
_DAY = 86400


def show_pool_connections(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Returns `show pool connections [<backend>[/<server>]]`: a line for each connection, a few in one piece.

    @raise Refusal: if there is no such backend or server.
    """
    found = _servers(context, words[0]) if words else []
    backend = found[0].full_name.rpartition("/")[0] if found else ""
    server = found[0].name if found and "/" in words[0] else ""
    if words and not found:  # a backend without servers
        return iter(())
    return _shown(kept_connections(lambda: context.proxy, backend, server))


def _shown(found: Iterator[KeptView]) -> Iterator[str]:
    while some := [*islice(found, CONNECTIONS_AT_ONCE)]:
        yield "".join(map(_line, some))


def _line(kept: KeptView) -> str:
    shown = kept.shown
    words = [
        f"{kept.server}#{'-' if kept.cause else shown.number}: state={kept.state} age={shown.age:.1f}s",
        f"cause={kept.cause}" if kept.cause else "",
        f"idle={shown.idle_for:.1f}s" if shown.idle_for is not None else "",
        "" if kept.cause else f"requests={shown.requests}",
        f"local={kept.local} remote={kept.remote}",
        "" if kept.cause else f"ssl={kept.tls}/{kept.cipher} resumed={int(kept.resumed)}" if kept.tls else "ssl=-",
        f"cert={kept.serial} notafter={_date(kept.ends)}" if kept.ends is not None else "",
        f"rtt={kept.rtt * 1000:.3f}ms" if kept.rtt is not None else "",
        f"sess=0x{kept.session:x}" if kept.session else "",
        "" if kept.cause else f"exp={_end(kept)}",
        "old=1" if kept.former else "",
        f'id="{kept.identity}"' if kept.identity else "",
    ]
    return " ".join(filter(None, words)) + "\n"


def _date(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def _end(kept: KeptView) -> str:
    """Returns when it leaves, in the words of `show sess`, and why."""
    left = kept.leaves_in
    if not kept.why:
        return "<NEVER>"
    if left is None:
        when = "<REPLACED>"
    elif left == 0:
        when = "<PAST>"
    else:
        when = f"{left:.1f}s" if left < _DAY else f"{left / _DAY:.1f}d"
    return f"{when} why={kept.why}"


def drain_pool(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `drain pool <backend>[/<server>]`, one server after the other.

    @raise Refusal: if there is no such backend or server.
    """
    return _each(context, words[0] if words else "", drain)


def rewarm_pool(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `rewarm pool <backend>[/<server>]`, one server after the other.

    @raise Refusal: if there is no such backend or server.
    """
    return _each(context, words[0] if words else "", rewarm)


def _each(context: Context, path: str, order: Callable[[Server], str]) -> Iterator[str]:
    """Gives an order about the server that is called "backend/server", or about each of a backend; after a reload about
    those of it, too, that are new. Raises Refusal, at once."""
    names = {each.full_name for each in _servers(context, path)}
    section = path.partition("/")[0]
    backend = context.backend(section).name

    def orders() -> Iterator[str]:
        for each, server in servers_in(lambda: context.proxy):
            if each.name == backend and ("/" not in path or server.full_name in names):
                yield order(server)

    return orders()


def drain(server: Server) -> str:
    """Drains a server's pool, and returns what becomes of its connections; the log is told, too."""
    pool, name = server.pool, server.full_name
    idle, used = _standing(pool)
    floor = _floor(pool)
    pool.order_drain()
    pool.order.tell("its pool is drained by order")
    closed = "1 idle connection is" if idle == 1 else f"{idle} idle connections are"
    after = "their requests" if pool.carries_requests else "their sessions"
    withheld = f"its floor of {floor} is withheld" if floor else "none is kept"
    return (
        f"{name} is drained: {closed} closed, and {used} in use after {after}; {withheld} until 'rewarm pool {name}'.\n"
    )


def rewarm(server: Server) -> str:
    """Has the connections of a server's pool replaced, or a drained pool filled, and returns what becomes of them; the
    log is told, too."""
    pool, name = server.pool, server.full_name
    idle, used = _standing(pool)
    floor = _floor(pool)
    drained = pool.order.state == DRAINED
    if drained or idle + used:
        pool.order.tell("its pool is filled again by order" if drained else "its connections are replaced by order")
    pool.order_rewarm()
    filled = f"its floor of {floor} is filled" if floor else "it has no floor to be filled"
    if pool.state != "running":
        return f"{name} is {server.state}: {filled} when it serves.\n"
    if drained:
        return f"{name} is not drained any more: {filled}.\n"
    if not idle + used:
        return f"{name} has no connection to be replaced.\n"
    if not pool.carries_requests:
        return f"{name}: {idle} idle connections leave, each as a new one stands; the {used} of sessions stay.\n"
    return f"{name}: {idle} idle connections and {used} in use leave, each as a new one stands.\n"


def _standing(pool: HTTPConnectionPool) -> tuple[int, int]:
    """Returns how many connections are idle, private ones included, and in use, of all names."""
    return pool.held("idle") + pool.held("private"), pool.held("in_use")


def _floor(pool: HTTPConnectionPool) -> int:
    return sum(each.usual_floor for each in pool.family)


def _servers(context: Context, path: str) -> list[Server]:
    """Returns the server that is called "backend/server", or all of a backend. Raises Refusal."""
    if not path:
        raise Refusal("Require 'backend' or 'backend/server'.")
    if "/" in path:
        return [context.server(path)[1]]
    return list(context.backend(path).servers)
