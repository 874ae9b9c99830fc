"""A Twisted program that keeps four connections to a server warm, with mutual TLS, and asks on all of them once a second, five
times; no proxy, no configuration.

python examples/warm_client.py HOST PORT NAME CA.pem CLIENT.pem
"""

import sys
from random import SystemRandom
from socket import AF_INET

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from reusedproxy.config.model.tls import ServerTLS
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.dial import Dialer, Target
from reusedproxy.net.poller import Poller
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.pool.limits import PoolLimits
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.probe import Probe
from reusedproxy.wire.heads import Limits


class Asking(Probe):
    """One GET, over whatever connection is ready first; `answer` fires with its status, or why there is none."""

    def __init__(self, pool: HTTPConnectionPool) -> None:
        self.request = b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % pool.name.encode()
        super().__init__(b"GET", lambda head, why, slow: self.answer.callback(str(head.status) if head else why))
        self.answer: Deferred[str] = Deferred()
        connection = pool.acquire()
        pool.wait(self) if connection is None else self.connection_ready(connection)

    def connection_ready(self, connection) -> None:
        connection.send(self, self.request, True, 10.0)

    def connection_failed(self, failure) -> None:
        self.answer.callback(str(failure))


async def main(reactor, host: str, port: str, name: str, ca_file: str, crt: str) -> None:
    poller = Poller(reactor)
    poller.start()
    context = ClientContext(ServerTLS(ca_file=ca_file, crt=crt, sni=name))
    dialer = Dialer(poller, Deadlines(reactor), Target(AF_INET, (host, int(port))), context, 5.0)
    pool = HTTPConnectionPool(name, dialer, PoolLimits(min_conn=4), reactor, SystemRandom(), print, Limits())
    pool.resume()
    for _ in range(5):
        second = Deferred()
        reactor.callLater(1, second.callback, None)
        await second
        answers = await gatherResults([Asking(pool).answer for _ in range(4)])
        print(*answers, f"({pool.counters.handshakes_on_request_path} handshakes waited for)", pool)
    pool.close("done")


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, *sys.argv[1:])))
