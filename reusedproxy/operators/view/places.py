"""Says in sentences who waits for a place at a server that has as many requests as it may (`maxconn`).

Such requests ask its pool for nothing yet, so that they are in none of its numbers. The runtime API and the manhole
show them. Pure: it knows views only.
"""

from __future__ import annotations

from collections.abc import Iterator

from reusedproxy.operators.view.values import ServerView


def place_sentences(server: ServerView, queued: int) -> Iterator[str]:
    """Returns what is to be known of a server that is full; nothing of one that is not. `queued` wait in the queue of
    its backend."""
    if not full(server):
        return
    yield f"It has as many requests as it may ({_bound(server)})."
    if waiting := waiting_at(server, queued):
        yield (
            f"{waiting}. None of them has asked for a connection yet, and no floor helps them: raise 'maxconn' if the"
            " server bears more."
        )


def full(server: ServerView) -> bool:
    return 0 < server.bound <= server.served


def waiting_at(server: ServerView, queued: int) -> str:
    """Returns how many wait in which queue, "" if nobody does."""
    own, all_ = server.queue, server.queue + queued
    if not all_:
        return ""
    where = [f"{queued} in its backend's queue, for any server"] if queued else []
    where += [f"{own} in its own, which are bound to it"] if own else []
    return f"{_counted(all_)} for a place, since {_bound(server)} is full: {' and '.join(where)}"


def _counted(number: int) -> str:
    return "1 request waits" if number == 1 else f"{number:,} requests wait"


def _bound(server: ServerView) -> str:
    said = f"maxconn {server.maxconn}"
    return said if server.bound == server.maxconn else f"{said}, of which {server.bound} count now"
