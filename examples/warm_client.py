"""A Twisted program that keeps four connections to a server warm, with mutual TLS, and asks on all of them once a
second, five times; no proxy, no configuration.

python examples/warm_client.py HOST PORT NAME CA.pem CLIENT.pem
"""

import sys
from socket import AF_INET
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater, react

from reusedproxy.pool import HTTPConnectionPool, NoAnswer, PoolFactory, PoolLimits, ServerTLS, Target, ask


async def status(pool: HTTPConnectionPool, request: bytes) -> str:
    try:
        answer = await ask(pool, request)
    except NoAnswer as why:
        return str(why)
    return str(answer.head.status)


async def main(reactor: Any, host: str, port: str, name: str, ca_file: str, crt: str) -> None:
    factory = PoolFactory(reactor, announce=print)
    tls = ServerTLS(ca_file=ca_file, crt=crt, sni=name)
    pool = factory.open(name, Target(AF_INET, (host, int(port))), tls, PoolLimits(min_conn=4))
    request = b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % name.encode()
    for _ in range(5):
        await deferLater(reactor, 1)
        asking = [Deferred.fromCoroutine(status(pool, request)) for _ in range(4)]
        print(*await gatherResults(asking), f"({pool.counters.handshakes_on_request_path} handshakes waited for)", pool)
    factory.stop()


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, *sys.argv[1:])))
