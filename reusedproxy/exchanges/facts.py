"""What rules can know of an exchange (`reusedproxy.rules.facts.Facts`): its heads, its two connections, its variables.

`Exchange` begins with this, so that whoever has an exchange has the facts; nothing here costs anything until it is asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import Factory, define

from reusedproxy.net.tls.facts import TransportTLS, tls_side
from reusedproxy.rules.facts import Sample
from reusedproxy.wire.heads import RequestHead, ResponseHead

if TYPE_CHECKING:
    from reusedproxy.backends.backend import Backend
    from reusedproxy.backends.server import Server
    from reusedproxy.clients.connection import ClientConnection
    from reusedproxy.pool.connection import ServerConnection


@define
class KnownClient:
    """What has been learnt of one client connection, for all of its exchanges: its TLS, and variables of the scope `sess`."""

    tls: TransportTLS | None
    variables: dict[str, Sample] = Factory(dict)


class Known:
    """`head` is the request's, with what rules have made of it; `line` its first line as it came, if they have; `answer` the
    response's. `answer_rules` look at that, and may give another: status, all of it, and the letters for the log."""

    # Most exchanges never touch these; as class attributes they cost nothing.
    client: ClientConnection
    head: RequestHead | None = None
    answer: ResponseHead | None = None
    line: bytes | None = None
    #: What `http-after-response` makes of an answer of our own.
    own_rules: Callable[..., bytes] | None = None
    answer_rules: Callable[..., tuple[int, bytes, str] | None] | None = None
    #: Answered with a page of the proxy's own, such as the statistics.
    by_page = False
    backend: Backend | None = None
    server: Server | None = None
    connection: ServerConnection | None = None
    _variables: dict[str, Sample] | None = None

    @property
    def source(self) -> tuple[str, int]:
        return self.client.address

    @property
    def destination(self) -> tuple[str, int]:
        """Also by the PROXY protocol's word. The port is 0 of a unix socket, and of one that is closed."""
        if self.client.destination is not None:
            return self.client.destination
        try:
            found = self.client.transport.socket.getsockname()
        except OSError:
            return "", 0
        return (found[0], found[1]) if isinstance(found, tuple) else ("unix", 0)

    @property
    def first_request(self) -> bool:
        return self.client.requests <= 1

    @property
    def frontend_name(self) -> str:
        return self.client.frontend.name

    @property
    def backend_name(self) -> str | None:
        return None if self.backend is None else self.backend.name

    @property
    def server_name(self) -> str | None:
        return None if self.server is None else self.server.name

    @property
    def listener_name(self) -> str:
        return self.client.listener.bind.name

    @property
    def client_tls(self) -> TransportTLS | None:
        return self._known_client().tls

    @property
    def server_tls(self) -> TransportTLS | None:
        return None if self.connection is None else tls_side(self.connection.transport)

    def wall(self) -> float:
        return time.time()

    def variable(self, name: str) -> Sample:
        return self._scope(name).get(name) if self._at_hand(name) else None

    def set_variable(self, name: str, value: Sample) -> None:
        if not self._at_hand(name):
            return
        if value is None:
            self._scope(name).pop(name, None)
        else:
            self._scope(name)[name] = value

    def _at_hand(self, name: str) -> bool:
        """HAProxy drops `req` variables where the rules for responses begin, and has `res` ones from there on."""
        return not name.startswith("req." if self.answer is not None else "res.")

    def _scope(self, name: str) -> dict[str, Sample]:
        """`sess` lives as long as the client's connection; the others at most as long as the exchange."""
        if name.startswith("sess."):
            return self._known_client().variables
        if self._variables is None:
            self._variables = {}
        return self._variables

    def _known_client(self) -> KnownClient:
        known = self.client.known
        if known is None:
            known = self.client.known = KnownClient(tls_side(self.client.transport))
        return known
