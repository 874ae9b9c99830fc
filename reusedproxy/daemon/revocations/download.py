"""Downloads one small thing over plain HTTP, within bounds of time and size, with the pool's own client.

Nothing is followed: an answer that leads elsewhere is a failure, so only what the configuration names is asked. It must
never know what is in an answer.
"""

from __future__ import annotations

from random import SystemRandom
from socket import SOCK_STREAM
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.defer import Deferred

from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.config.model.tls import ListURL
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.dial import Dialer, Target
from reusedproxy.net.poller import Poller
from reusedproxy.net.resolver import Answers, Query
from reusedproxy.pool.factory import Answer, NoAnswer, ask
from reusedproxy.pool.kinds import NEW
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.wire.heads import Limits

#: Seconds for TCP, and for a whole answer, of which `pool.factory` takes 16 MiB at most.
CONNECT = 10.0
ANSWER = 60.0
#: How many of a name's addresses are tried.
ADDRESSES = 3
AGENT = "reusedproxy"
#: Bytes of a validator that is sent back.
LONGEST_VALIDATOR = 256


class NotFetched(Exception):
    """Says why there is no answer, or none that can be used."""


class Resolving(Protocol):
    def resolve(self, queries: set[Query]) -> Deferred[Answers]:
        """Resolves names; an answer may be an OSError."""


@frozen
class Fetched:
    """Holds the body of an answer, None if it is the one of last time; `etag` and `modified` tell the server which that
    is (RFC 9110 section 13.1)."""

    body: bytes | None = None
    etag: bytes = b""
    modified: bytes = b""


@frozen
class Downloads:
    """Downloads from servers, one connection for each."""

    reactor: Any
    poller: Poller
    deadlines: Deadlines
    resolver: Resolving

    async def get(self, url: ListURL, before: Fetched) -> Fetched:
        """Returns the answer for a URL, of which there was one `before`. Raises NotFetched."""
        failure = NotFetched("the name has no address")
        for target in (await self._targets(url))[:ADDRESSES]:
            try:
                return _taken(await self._ask(target, _request(url, before)), before)
            except NoAnswer as error:
                failure = NotFetched(str(error))
        raise failure

    async def _targets(self, url: ListURL) -> list[Target]:
        query = Query(url.host, SOCK_STREAM)
        found = (await self.resolver.resolve({query}))[query]
        if isinstance(found, OSError):
            raise NotFetched(f"the name '{url.host}' cannot be resolved: {found.strerror or found}")
        return [Target(family, (address[0], url.port, *address[2:])) for family, address in found]

    async def _ask(self, target: Target, request: bytes) -> Answer:
        """Asks at one address. Raises NoAnswer."""
        dialer = Dialer(self.poller, self.deadlines, target, None, CONNECT)
        pool = HTTPConnectionPool(
            str(target), dialer, PoolLimits(), self.reactor, SystemRandom(), lambda level, text: None, Limits()
        )
        pool.resume()
        try:
            return await ask(pool, request, ANSWER, NEW)
        finally:
            pool.close("downloaded")


def _request(url: ListURL, before: Fetched) -> bytes:
    lines = [f"GET {url.target} HTTP/1.1", f"Host: {url.authority}", f"User-Agent: {AGENT}", "Connection: close"]
    head = "\r\n".join(lines).encode("ascii")
    if before.etag:
        head += b"\r\nIf-None-Match: " + before.etag
    elif before.modified:
        head += b"\r\nIf-Modified-Since: " + before.modified
    return head + b"\r\n\r\n"


def _taken(answer: Answer, before: Fetched) -> Fetched:
    """Returns what an answer brings. Raises NotFetched."""
    head = answer.head
    if head.status == 304 and (before.etag or before.modified):
        return Fetched(None, before.etag, before.modified)
    if head.status != 200:
        elsewhere = ", which is not followed" if 300 <= head.status < 400 else ""
        raise NotFetched(f"the server answered {head.status}{elsewhere}")
    if head.values(b"Content-Encoding"):
        raise NotFetched("the answer is encoded (Content-Encoding), and nobody asked for that")
    return Fetched(answer.body, _first(head.values(b"ETag")), _first(head.values(b"Last-Modified")))


def _first(values: list[bytes]) -> bytes:
    return values[0] if values and len(values[0]) <= LONGEST_VALIDATOR else b""
