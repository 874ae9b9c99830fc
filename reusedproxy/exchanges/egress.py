"""Leads each request to the partner that it names, in a backend of `option egress`: to the server whose address has
this host and this port, and to no other.

A request is compared with what the configuration lists, and is refused where nothing there is the same. Nothing of it
is ever resolved or dialled. It is given the partner's own spelling of its name before rules look at it, too, so that
they see what the partner will read. It must never know how a request is sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv6Address
from typing import Final

from attrs import evolve, frozen

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.binding import Binding
from reusedproxy.backends.server import Server
from reusedproxy.config.model.proxies import Server as Settings
from reusedproxy.exchanges.denied import count_denied
from reusedproxy.exchanges.exchange import Exchange
from reusedproxy.exchanges.route import Chooser
from reusedproxy.measures.log_throttle import LogThrottle
from reusedproxy.rules import editing
from reusedproxy.wire.heads import RequestHead

_AUTHORITY: Final = re.compile(rb"(\[[^\]]*\]|[^:]*)(?::([0-9]{1,5}))?\Z")
_CREDENTIALS: Final = editing.spellings("Proxy-Authorization")
#: Characters of a name that are shown in the log.
_SHOWN: Final = 100

#: A host as `_plain` returns it, and a port.
Place = tuple[bytes, int]


@frozen(eq=False)
class ToPartner(Binding):
    """Ties a request to its partner: it goes there or nowhere. One that waits when its partner falls waits on."""

    def at(self, servers: Iterable[Server]) -> Binding | None:
        """Returns the same binding to the server of the same host and port among `servers`, whatever its name is."""
        place = place_of(self.server.settings)
        return next((evolve(self, server=each) for each in servers if place_of(each.settings) == place), None)

    @property
    def dials(self) -> bool:
        return False


class Partners:
    """Knows the partners of one backend, and refuses requests for anybody else."""

    def __init__(self, backend: Backend, say: Callable[[str], None]) -> None:
        """Calls `say(text)` with messages for the log, not too many of them."""
        self._by_place: dict[Place, Server] = {}
        #: Servers of requests without a port.
        self._by_host: dict[bytes, Server] = {}
        #: Those are the backend's servers when it had this `roll`.
        self._roll = -1
        self._backend = backend
        self._name = backend.name
        self._throttle = LogThrottle(backend.now, say)

    def refuses(self, exchange: Exchange) -> bool:
        """Ties the request to its partner, whose name it is given in every place. Returns True if there is none: then
        it has been answered."""
        head = exchange.head
        assert head is not None
        if head.method == b"CONNECT":
            return self._refuse(exchange, 405, "CONNECT is not done: ask for http://…, and TLS is spoken from here on")
        if head.host is None:
            return self._refuse(exchange, 400, "it names no host")
        server = self._named(head)
        if server is None:
            name = head.host[:_SHOWN].decode("latin-1")
            return self._refuse(exchange, 403, f"{name!r} is none of its servers")
        if exchange.line is None:
            exchange.line = head.head[: head.head.find(b"\r")]  # the log is to say what the client said
        editing.remove(head, _CREDENTIALS)  # they were for this proxy
        editing.set_origin(head, self._authority(server))
        exchange.binding = ToPartner(server, forced=False, leaves=False, waits=True)
        return False

    def authority(self, head: RequestHead) -> bytes | None:
        """Returns the Host of requests for the partner that this one names; None if there is none."""
        server = None if head.host is None or head.method == b"CONNECT" else self._named(head)
        return None if server is None else self._authority(server)

    def _authority(self, server: Server) -> bytes:
        """Returns the name of a partner, with its port where the name alone would not lead to it."""
        host, port = place_of(server.settings)
        written = b"[%b]" % host if b":" in host else host
        is_usual = has_usual_port(server.settings) and place_of(self._by_host[host].settings) == (host, port)
        return written if is_usual else b"%b:%d" % (written, port)

    def _learn(self) -> None:
        """Notes where the servers are, of which one has been added or taken out."""
        self._roll = self._backend.roll
        self._by_place, self._by_host = {}, {}
        for server in sorted(self._backend.servers, key=lambda each: not has_usual_port(each.settings)):
            host, port = place_of(server.settings)
            self._by_place.setdefault((host, port), server)
            self._by_host.setdefault(host, server)

    def _named(self, head: RequestHead) -> Server | None:
        """Returns the server of the host and port that the request names; without a port, the first of the host's that
        has the usual one of its scheme, or else the first."""
        assert head.host is not None
        if self._roll != self._backend.roll:
            self._learn()
        found = _AUTHORITY.match(head.host)
        if found is None:
            return None
        host, port = _plain(found[1]), found[2]
        if port is None:
            return self._by_host.get(host)
        exact = self._by_place.get((host, int(port)))
        # Of an absolute target, the wire layer has taken off the scheme's own port.
        return (
            self._by_host.get(host) if exact is None and int(port) == 80 and head.target[:1] in (b"/", b"*") else exact
        )

    def _refuse(self, exchange: Exchange, status: int, why: str) -> bool:
        self._throttle.tell(why, f"backend {self._name}: a request is refused: {why}", "requests refused")
        count_denied(exchange)
        exchange.fail(status, "PR")
        return True


def place_of(settings: Settings) -> Place:
    return _plain(settings.host.encode()), settings.port or 0


def _plain(host: bytes) -> bytes:
    """Returns a host as it is compared: in lower case, without a final dot; an IPv6 address without brackets, however
    it is written."""
    if host[:1] == b"[" and host[-1:] == b"]":
        host = host[1:-1]
    try:
        return str(IPv6Address(host.decode("latin-1"))).encode() if b":" in host else host.removesuffix(b".").lower()
    except ValueError:
        return host


def has_usual_port(settings: Settings) -> bool:
    """Tells whether the port of a server is that of its scheme: 443 of https, 80 of http."""
    return place_of(settings)[1] == (80 if settings.tls is None else 443)


def spell(exchange: Exchange, known: Sequence[Chooser]) -> None:
    """Gives a request the Host, and the form of its target, that the partner will get which it names. Where a host
    means different partners to the backends `known`, it stays as it is until one of them is chosen."""
    head = exchange.head
    assert head is not None
    (found, *others) = {each.authority(head) for each in known} - {None} or {None}
    if found is not None and not others:
        editing.set_origin(head, found)
