"""Opens warm pools for a Twisted program of one's own, without the proxy, and sends single requests on them.

The factory wires the parts that the proxy wires from its configuration: the event poller, the deadlines, the dialer
with its TLS. It must never know configuration files, clients or backends.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from random import Random, SystemRandom
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred

from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.config.model.tls import ServerTLS
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.dial import Dialer, DialFailure, Target
from reusedproxy.net.poller import Poller
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.tls.files import TLSConfigurationError
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.dialing.budget import Budget
from reusedproxy.pool.kinds import ANY
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.probe import Probe
from reusedproxy.wire.heads import Limits, ResponseHead

#: Bytes of a body that `ask` collects; an answer with more is an error.
MOST = 16 << 20


class NoAnswer(Exception):
    """Reports that the server has not answered the request, or not completely; the message says why."""


@frozen
class Answer:
    """Holds a complete response. `body` is decoded from chunked coding."""

    head: ResponseHead
    body: bytes


class PoolFactory:
    """Opens pools that share one event poller, one set of deadlines and one budget of handshakes."""

    def __init__(
        self,
        reactor: Any,
        announce: Callable[[str, str], None] = lambda level, text: None,
        random: Random | None = None,
        wire_limits: Limits | None = None,
    ) -> None:
        """Starts a poller of its own. `announce(level, text)` takes messages for the operator, such as that a server
        refuses connections."""
        self._reactor = reactor
        self._announce = announce
        self._random = random or SystemRandom()
        self._wire_limits = wire_limits or Limits()
        self._poller = Poller(reactor)
        self._deadlines = Deadlines(reactor)
        self._budget = Budget(reactor)
        self._pools: list[HTTPConnectionPool] = []
        self._poller.start()

    def open(
        self,
        name: str,
        target: Target,
        tls: ServerTLS | None = None,
        limits: PoolLimits | None = None,
        connect_timeout: float = 10.0,
    ) -> HTTPConnectionPool:
        """Opens the pool of one server, which begins to dial for its floor. `name` begins each message about it.

        Without `tls` it speaks plain HTTP. Raises TLSConfigurationError if a certificate or key cannot be used, and if
        nothing says which name the server's certificate must carry.
        """
        context = None if tls is None else ClientContext(tls)
        if context is not None and context.refuses_nameless and context.name is None:
            raise TLSConfigurationError(f"{name}: any certificate of the CA would do: say its name, sni or verifyhost")
        dialer = Dialer(self._poller, self._deadlines, target, context, connect_timeout)
        pool = HTTPConnectionPool(
            name,
            dialer,
            limits or PoolLimits(),
            self._reactor,
            self._random,
            self._announce,
            self._wire_limits,
            self._budget,
        )
        self._pools.append(pool)
        pool.resume()
        return pool

    def stop(self) -> None:
        """Closes all of its pools; leaves no timer and no descriptor of its own. Requests under way get no answer."""
        for pool in self._pools:
            pool.close("proxy stopped")
        self._deadlines.stop()
        self._poller.stop()


def ask(pool: HTTPConnectionPool, request: bytes, timeout: float = 30.0, kind: int = ANY) -> Deferred[Answer]:
    """Sends one whole request, head and body, on the first connection that is ready. Fails with NoAnswer.

    `timeout` bounds the wait for a connection, and again that for the whole answer. `kind` is one of `pool.kinds`: a
    request that must not be repeated is safest with FRESH or NEW, because a server may close an idle connection just as
    it is used. Cancelling the Deferred gives the connection up.
    """
    return _Request(pool, request, timeout, kind).answer


class _Request(Probe):
    """Sends one request, and collects its answer in memory."""

    framed = False

    def __init__(self, pool: HTTPConnectionPool, request: bytes, timeout: float, kind: int) -> None:
        super().__init__(request.split(b" ", 1)[0], self._answered)
        self.answer: Deferred[Answer] = Deferred(lambda _: self._abandon("client gone"))
        self._pool = pool
        self._request = request
        self._timeout = timeout
        self._kind = kind
        self._pieces: list[bytes] = []
        self._size = 0
        connection = pool.acquire(kind)
        if connection is not None:
            self.connection_ready(connection)
            return
        pool.deadlines.watch(self, pool.deadlines.now() + timeout)
        pool.wait(self, kind)

    # What the pool says.

    def connection_ready(self, connection: ServerConnection) -> None:
        self.ask(connection, self._request, self._timeout)

    def connection_failed(self, failure: DialFailure) -> None:
        self._pool.deadlines.cancel(self)
        self.answer.errback(NoAnswer(str(failure)))

    def pool_replaced(self) -> None:
        self._pool.wait(self, self._kind)

    # What the connection says.

    def challenged(self) -> bool:
        """Has the connection end with this answer: with credentials, a request would authenticate it for all others."""
        assert self._connection is not None
        self._connection.retire_at = -inf
        return False

    def response_whole(self, head: ResponseHead, body: bytes, now: float) -> None:
        self._pieces.append(body)
        super().response_whole(head, body, now)

    def response_started(self, head: ResponseHead, data: bytes) -> None:
        super().response_started(head, data)
        self.response_data(data)

    def response_data(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > MOST:
            self._abandon("answer not wanted")
            self.answer.errback(NoAnswer(f"the body is longer than {MOST} bytes"))

    def response_early(self, head: ResponseHead | None, body: bytes) -> None:
        self._pieces.append(body)
        super().response_early(head, body)

    def deadline_passed(self) -> None:
        if self._connection is not None:
            super().deadline_passed()
        else:
            self._pool.leave(self, timed_out=True)
            self.answer.errback(NoAnswer("no connection was ready in time"))

    # Its end.

    def _answered(self, head: ResponseHead | None, reason: str, slow: bool) -> None:
        if head is None:
            self.answer.errback(NoAnswer(reason))
        else:
            self.answer.callback(Answer(head, b"".join(self._pieces)))

    def _abandon(self, reason: str) -> None:
        """Gives up the connection or the wait for it: the answer is not wanted any more."""
        self._pool.deadlines.cancel(self)
        self._pool.leave(self)
        connection, self._connection = self._connection, None
        self._ended = None
        if connection is not None:
            connection.give_up(reason)
