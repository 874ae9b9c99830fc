"""Says in sentences what was ordered of a server's pool, how the server comes up or stands by, and over which nodes its
connections are spread.

The statistics page, the runtime API and the manhole show them. Pure: it knows views only.
"""

from __future__ import annotations

from collections.abc import Iterator

from reusedproxy.backends.server import FULL_WEIGHT
from reusedproxy.operators.view.cold import ago
from reusedproxy.operators.view.values import NodesView, OrderView, ServerView
from reusedproxy.pool.kept import DRAINED

#: Nodes that are named, at most.
NAMED = 16
_MORE = {
    "watching": "",
    "moving": " One is being dialled anew.",
    "given up": " New ones did not come to where few are: nothing is tried for a while.",
    "blind": " They cannot be told apart (see the log): nothing is spread.",
}


def readiness(server: ServerView) -> Iterator[str]:
    """Returns what is to be known, a sentence each; nothing of a server that is warm, in use and at one node."""
    pool = server.pool
    yield from order_sentences(server)
    if server.warming:
        yield (
            f"It has come up and takes {server.throttle} of {FULL_WEIGHT} parts of its share, while its floor fills:"
            f" {pool.idle} of {pool.floor} stand idle."
        )
    if server.standby is not None and server.stands_by:
        yield (
            f"It stands by with a floor of {pool.usual_floor}, which is {pool.floor_min} from when the first server"
            " goes that it stands by for."
        )
    elif server.standby is not None:
        yield (
            f"Its floor is {pool.usual_floor} and not {server.standby}, since a server that it stands by for is away,"
            " or has just come back."
        )
    if pool.nodes is not None:
        yield f"Its connections are at {nodes(pool.nodes)}.{_MORE[pool.nodes.state]}"


def order_sentences(server: ServerView) -> Iterator[str]:
    """Returns what an operator has ordered of its pool, and how far that is."""
    order = server.pool.order
    if order is None:
        return
    left = left_of(order)
    if order.state == DRAINED:
        floor = f"its floor of {order.floor} is withheld" if order.floor else "none is kept"
        yield (
            f"An operator has drained its pool {ago(order.ago)} ago: {floor}, and requests have to wait for new"
            f" connections, until 'rewarm pool {server.full_name}'; {left}."
        )
    else:
        yield (
            f"An operator has ordered {ago(order.ago)} ago that its connections be replaced: {order.opened} are new,"
            f" {left}."
        )


def left_of(order: OrderView) -> str:
    """Returns how many connections are left that were there before an order."""
    if not order.idle + order.in_use:
        return "none is left of those before"
    return f"{order.idle} idle and {order.in_use} in use are left of those before"


def nodes(view: NodesView) -> str:
    """Returns how many connections are at which node."""
    count = len(view.counts)
    if not count:
        return f"nodes of which none is known yet by {view.by}"
    at = ", ".join(f"{number} at {name}" for name, number in view.counts[:NAMED])
    more = f" and {count - NAMED} others" if count > NAMED else ""
    unknown = f", and {view.unknown} at none that is known" if view.unknown else ""
    listed = f": {at}{more}" if at else ""
    return f"{count} {'node' if count == 1 else 'nodes'} by {view.by}{listed}{unknown}"
