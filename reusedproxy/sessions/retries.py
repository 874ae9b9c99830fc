"""Counts one more try after a failure, and decides whether it goes to another server (`option redispatch`); for
requests as for sessions of mode tcp, whose bounds are here, too.

Whether there may be another try at all is decided elsewhere: for requests in `exchanges.failures`. It must never know
what is sent.
"""

from __future__ import annotations

from typing import Final, Protocol

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.binding import Binding
from reusedproxy.backends.server import Server

#: HAProxy's word of `retry-on` for no retries at all.
NONE = "none"
#: Tries of one request, or session, that fail at once before others get their turn.
TRIES_AT_ONCE: Final = 50
#: Seconds beyond `timeout connect` that a wait for a connection may last, so that a dial's own failure is heard first.
CONNECT_SLACK: Final = 0.5


class Retried(Protocol):
    """Defines the request, or the search of a stream, as its retries know it."""

    #: The server where the last try failed; None: another is to be chosen.
    server: Server | None
    #: The server to which it is bound; None: to none.
    binding: Binding | None
    #: The tries after the first; and whether one of them went to another server on purpose.
    retries: int
    redispatched: bool


def count_retry(retried: Retried, backend: Backend, server: Server) -> Server | None:
    """Counts one more try after a failure at `server`. If it goes to another one, takes server and binding from
    `retried` and gives the place at `server` back. Returns the server to avoid; None: there is none to avoid."""
    retried.retries += 1
    elsewhere = backend.redispatches(retried.retries, retried.binding)
    backend.count_retry(server, elsewhere)
    retried.redispatched = retried.redispatched or elsewhere
    avoided = server if retried.redispatched else None
    if elsewhere or (not server.usable and retried.binding is None):
        retried.server = retried.binding = None
        backend.done(server)
    return avoided
