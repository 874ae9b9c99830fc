"""Combines the settings of a frontend and one of its backends into a route, and defines the pages that the proxy
shows instead.

A route is made with the configuration and never changes; requests only read it. It must never know exchanges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from typing import Any, Protocol

from reusedproxy.backends.backend import Backend
from reusedproxy.config import model
from reusedproxy.config.model.values import Place
from reusedproxy.exchanges.compression import compressor
from reusedproxy.exchanges.persistence import persistence_of
from reusedproxy.exchanges.serving import Made
from reusedproxy.rules.forwarded import forwarded
from reusedproxy.rules.matching import Test
from reusedproxy.rules.rule_set import RuleSet, Steps
from reusedproxy.rules.samples.formats import Text
from reusedproxy.sessions.sticking import Sticking
from reusedproxy.sessions.switching import ServerRules
from reusedproxy.wire.bodies import plain_name
from reusedproxy.wire.heads import RequestHead


class Page(Protocol):
    """Defines a page that the proxy serves itself, such as its statistics."""

    @property
    def rules(self) -> Steps:
        """Returns the rules that decide who may see it."""

    @property
    def admin(self) -> Sequence[tuple[Test, Place]]:
        """Returns conditions, one of which must be true for whoever may change something with it, each with its
        place."""

    @property
    def answer_rules(self) -> Callable[..., tuple[int, bytes, bool]] | None:
        """Returns what runs the rules for its answers; None if there are none."""

    @property
    def users(self) -> Sequence[str]:
        """Returns the names of the lists of users that its rules and conditions ask."""

    def wants(self, target: bytes) -> bool:
        """Tells whether a request target is the page's."""

    def answer(self, head: RequestHead, admin: bool) -> Made:
        """Describes the response; `admin` tells that the client may change something."""

    def obey(self, head: RequestHead, form: bytes | None, close: bool, proven: bool, sender: str) -> tuple[int, bytes]:
        """Does what a `form` orders that such a client has sent by POST; None: it is too long. `proven` tells that it
        has shown a password, or that it knows by TLS whom it speaks to; `sender` is its address, and the name that it
        has shown a password for."""


class Service(Protocol):
    """Defines what answers requests in place of a server (`http-request use-service`)."""

    #: Its name in the log, in place of a server's.
    log_name: str

    def answer(self, head: RequestHead) -> Made:
        """Describes the response; as in HAProxy one of status 400 where it cannot tell what is wanted."""


class Chooser(Protocol):
    """Defines who ties a request to the server that it names."""

    def authority(self, head: RequestHead) -> bytes | None:
        """Returns the Host of requests for the server that this one names; None if there is none."""

    def refuses(self, exchange: Any) -> bool:
        """Ties the request to its server. Returns True if there is none: then it has been answered."""


class Route:
    """Combines what a frontend and one of its backends say about the requests that take this route.

    `server_closes` tells that each exchange is its server connection's last (option http-server-close; httpclose
    of the backend). `notes_connection`: log or rules say something of the server's connection, which may end with the
    answer.
    """

    notes_connection = False

    def __init__(self, frontend: model.Frontend, backend: Backend) -> None:
        self.backend = backend
        self.server_closes = (
            frontend.connection_mode == "server-close" or backend.settings.connection_mode != "keep-alive"
        )
        # HAProxy's manual, `option forwardfor`: the backend's header counts, either's `except`, and `if-none` of both.
        asked = [option for option in (frontend.forwardfor, backend.settings.forwardfor) if option is not None]
        self._forward = asked[-1].header if asked else None
        #: Tells that servers hear that their connection ends.
        self.announces_close = self.server_closes and not backend.settings.pretends_keepalive
        asked_to = [each for each in (frontend.originalto, backend.settings.originalto) if each is not None]
        #: Tells that servers hear to which address clients have connected (`option originalto`), by this header.
        self.original_to = f"{asked_to[-1].header}: " if asked_to else ""
        self._original_but = [ip_network(each.except_network, strict=False) for each in asked_to if each.except_network]
        #: Tells that some clients' addresses are told to the server.
        self.forwards = self._forward is not None
        #: The names of the headers that say to servers who clients are and where they have connected, and of what else
        #: settings of either section, beside rules, have to say or keep from servers, as `plain_name` writes them.
        self.own_names = frozenset(plain_name(each[-1].header.encode("latin-1")) for each in (asked, asked_to) if each)
        #: Writes what servers are told by RFC 7239 (`option forwarded`); None: nothing.
        self.tells: Text | None = None
        if backend.settings.forwarded is not None:
            self.own_names |= {b"forwarded"}
            self.tells = forwarded(backend.settings.forwarded)
        if backend.settings.name_header:
            self.own_names |= {plain_name(backend.settings.name_header.encode("latin-1"))}
        self._spared = [ip_network(option.except_network, strict=False) for option in asked if option.except_network]
        #: How the header line begins (lower case) beside which none of ours goes; nothing: ours always goes.
        self.forward_unless = b""
        if asked and all(option.if_none for option in asked):
            self.forward_unless = f"\r\n{self._forward}:".lower().encode("latin-1")
        #: Its backend's rules and pages; of a `listen` they are the frontend's already.
        self.rule_set: RuleSet | None = None
        #: Its rules of `tcp-response content`, those of a `listen` section, too.
        self.response_content: Steps = []
        self.pages: list[Page] = []
        #: None: the backend has no persistence cookie.
        self.persistence = persistence_of(backend)
        #: None: answers go on as servers send them.
        self.compressor = compressor(frontend.compression, backend.settings.compression)
        if self.compressor is not None and self.compressor.offload:
            self.own_names |= {b"accept-encoding"}
        #: None: the backend has no `stick` rules.
        self.sticking: Sticking | None = None
        #: The conditions of `force-persist` and `ignore-persist`, each with "force" or "ignore".
        self.persist_rules: Sequence[tuple[Test | None, str, Place]] = ()
        #: Of `use-server`: a condition, and the name of a server.
        self.server_rules: ServerRules = ()
        #: None: the backend has no `option egress`.
        self.partners: Chooser | None = None

    def forwarded(self, address: tuple[str, int]) -> bytes:
        """Writes the header line of `option forwardfor` for a client at `address`, without a zone (RFC 4007); empty
        for one at a unix socket."""
        if self._forward is None or address[0] == "unix":
            return b""
        name = address[0]
        if "%" in name:
            name = name.partition("%")[0]  # a zone means something on this machine only
        if self._spared:
            host = ip_address(name)
            if any(host in network for network in self._spared):
                return b""
        return f"{self._forward}: {name}\r\n".encode("latin-1")

    def destined(self, address: tuple[str, int]) -> bytes:
        """Writes the header line of `option originalto` for a client that has connected to `address`; empty for a unix
        socket. As of `forwarded`, without a zone."""
        name = address[0].partition("%")[0]
        if not address[1] or (
            self._original_but and any(ip_address(name) in network for network in self._original_but)
        ):
            return b""
        return f"{self.original_to}{name}\r\n".encode("latin-1")

    def forwards_already(self, head: RequestHead) -> bool:
        """Tells whether the request already has the header of `if-none`. Called only where that is configured."""
        return head.block.lower().find(self.forward_unless) >= 0  # `in` takes three times as long
