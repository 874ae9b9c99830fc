"""Keeps HTTP/1.1 connections to servers warm, for a Twisted program of one's own.

A pool keeps connections open whose TCP connect, TLS handshake and verification are complete. It hands them out newest
first, replaces them before their server or their life ends them, and opens others the moment some are missing. A
complete program, which asks one server over four warm connections with mutual TLS:

    from socket import AF_INET

    from twisted.internet.defer import Deferred
    from twisted.internet.task import react

    from reusedproxy.pool import PoolFactory, PoolLimits, ServerTLS, Target, ask

    async def main(reactor):
        factory = PoolFactory(reactor, announce=print)
        tls = ServerTLS(ca_file="ca.pem", crt="client.pem", sni="app.example.com")
        pool = factory.open("app", Target(AF_INET, ("10.0.0.1", 8443)), tls, PoolLimits(min_conn=4))
        answer = await ask(pool, b"GET / HTTP/1.1\\r\\nHost: app.example.com\\r\\n\\r\\n")
        print(answer.head.status, len(answer.body), pool)
        factory.stop()

    react(lambda reactor: Deferred.fromCoroutine(main(reactor)))

`ask` is enough for a request that fits into memory. Whoever streams, or repeats requests, takes connections from the
pool: `HTTPConnectionPool.acquire` returns an idle one at once, or `wait` gives the next one that is ready to a
`Waiter`; then `ServerConnection.send` begins an `Exchange`, and the connection goes back to its pool by itself when
that has ended.

A pool must never know configuration files, requests, balancing or health; `resume` and `suspend` say when it may dial.
"""

from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.config.model.tls import ServerTLS
from reusedproxy.net.dial import Dialer, DialFailure, Target
from reusedproxy.net.tls.files import TLSConfigurationError
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.factory import Answer, NoAnswer, PoolFactory, ask
from reusedproxy.pool.kinds import ANY, FRESH, NEW, SAFE
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.served import Exchange
from reusedproxy.pool.waiters import Waiter
from reusedproxy.wire.heads import Limits

__all__ = [
    "ANY",
    "FRESH",
    "NEW",
    "SAFE",
    "Answer",
    "DialFailure",
    "Dialer",
    "Exchange",
    "HTTPConnectionPool",
    "Limits",
    "NoAnswer",
    "PoolFactory",
    "PoolLimits",
    "ServerConnection",
    "ServerTLS",
    "TLSConfigurationError",
    "Target",
    "Waiter",
    "ask",
]
