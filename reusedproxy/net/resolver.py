"""Resolves host names in threads, so that a name server that does not answer delays nothing else.

`getaddrinfo` waits 5 seconds and more for each try. So up to `AT_ONCE` names are asked for at the same time, and all of
them together have one time limit. It knows names; it must never know who asks.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, ip_address
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

#: Names asked for at the same time.
AT_ONCE = 32
#: Seconds that the loop waits for all names together: three tries of the C library's, at its default of 5 s each.
PATIENCE = 15.0

#: Families and addresses for sockets, as `getaddrinfo` orders them.
Found = list[tuple[int, Any]]


@frozen(order=True)
class Query:
    """Names a host to resolve, for sockets of this kind and family (0: any)."""

    host: str
    kind: int
    family: int = 0


Answers = dict[Query, "Found | OSError"]


def look_up(query: Query) -> Found:
    """Resolves a name with the C library; blocks until it answers. Raises OSError."""
    found = socket.getaddrinfo(query.host, 0, family=query.family, type=query.kind)
    return [(family, address) for family, _, _, _, address in found]


def literal(query: Query) -> Found | None:
    """Returns the address of a host that is written as an IP address, without a look-up; None
    if it has to be resolved."""
    try:
        address = ip_address(query.host)
    except ValueError:
        return None
    if isinstance(address, IPv4Address):
        return [(socket.AF_INET, (query.host, 0))] if query.family != socket.AF_INET6 else None
    if query.family == socket.AF_INET:
        return None
    scope = address.scope_id
    try:
        digits = scope is not None and re.fullmatch("[0-9]{1,9}", scope)
        number = 0 if scope is None else int(scope) if digits else socket.if_nametoindex(scope)
    except OSError:
        return None  # the look-up that follows reports the error
    return [(socket.AF_INET6, (str(address), 0, 0, number))]


def resolve(queries: Iterable[Query]) -> Answers:
    """Resolves all queries at the same time; blocks until the last has been answered."""
    wanted = set(queries)
    told: SimpleQueue[tuple[Query, Found | OSError]] = SimpleQueue()
    _ask(wanted, lambda query, answer: told.put((query, answer)))
    return dict(told.get() for _ in wanted)


class Resolver:
    """Resolves names while the event loop goes on.

    `reactor` gives the clock and takes the calls from threads (callFromThread).
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def resolve(self, queries: Iterable[Query]) -> Deferred[Answers]:
        """Returns a Deferred that fires when all queries have been answered, or after PATIENCE seconds.

        Queries without an answer by then have a TimeoutError as theirs.
        """
        wanted = set(queries)
        answers: Answers = {}
        all_told: Deferred[Answers] = Deferred(lambda _: finish())
        limit: IDelayedCall | None = None

        def finish() -> None:
            if limit is not None and limit.active():
                limit.cancel()

        def told(query: Query, answer: Found | OSError) -> None:
            answers[query] = answer
            if len(answers) == len(wanted) and not all_told.called:
                finish()
                all_told.callback(answers)

        def too_late() -> None:
            late = TimeoutError(0, f"no answer from the resolver within {PATIENCE:g} s")
            all_told.callback(dict.fromkeys(wanted, late) | answers)

        if not wanted:
            all_told.callback(answers)
            return all_told
        limit = self._reactor.callLater(PATIENCE, too_late)
        _ask(wanted, lambda query, answer: self._reactor.callFromThread(told, query, answer))
        return all_told


def _ask(wanted: Iterable[Query], tell: Callable[[Query, Found | OSError], object]) -> None:
    """Looks up each query in a thread and calls `tell` there with the answer.

    The threads are daemons: the process must not wait at its exit for a name that nobody needs any more.
    """
    queries: SimpleQueue[Query] = SimpleQueue()
    count = 0
    for query in sorted(wanted):
        queries.put(query)
        count += 1

    def work() -> None:
        while True:
            try:
                query = queries.get_nowait()
            except Empty:
                return
            answer: Found | OSError
            try:
                answer = look_up(query)
            except OSError as error:
                answer = error
            except UnicodeError as error:  # a name that no name server could know
                answer = socket.gaierror(socket.EAI_NONAME, str(error))
            tell(query, answer)

    for _ in range(min(count, AT_ONCE)):
        Thread(target=work, name="resolver", daemon=True).start()
