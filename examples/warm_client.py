"""A Twisted program that keeps four connections to a server warm, with mutual TLS, and asks on them; no proxy, no file.

python examples/warm_client.py HOST PORT NAME CA.pem CLIENT.pem
"""

import sys
from random import SystemRandom
from socket import AF_INET

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from reusedproxy.config.model import ServerTLS
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.dial import Dialer, Target
from reusedproxy.net.poller import Poller
from reusedproxy.net.tls import ClientContext
from reusedproxy.servers.pool import HTTPConnectionPool, PoolLimits
from reusedproxy.servers.probe import Probe
from reusedproxy.wire.heads import Limits


class Asking(Probe):
    """One GET, over whatever connection is ready first; `answer` fires with its status."""

    def __init__(self, pool: HTTPConnectionPool) -> None:
        super().__init__(b"GET", lambda head, why, slow: self.answer.callback(head.status if head else why))
        self.answer: Deferred[object] = Deferred()
        connection = pool.acquire()
        pool.wait(self) if connection is None else self.connection_ready(connection)

    def connection_ready(self, connection) -> None:
        connection.send(self, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", True, 10.0)

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
        print(await Asking(pool).answer, pool, f"{pool.counters.handshakes_on_request_path} handshakes waited for")
    pool.close("done")


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, *sys.argv[1:])))
