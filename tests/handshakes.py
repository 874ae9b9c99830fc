"""Clients' handshakes in one process: our `Handshake` on one side, OpenSSL's client on the other.

shaker = Shaker(self, loop, offer)                   # with the test's own certificate, for server.test
far = shaker.client(name="server.test")              # connects, and shakes hands as the loop is pumped
shaker.transport                                     # of the last one that was through
shaker.failures                                      # of those that were not
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model import TLSOffer
from reusedproxy.demo.certificates import Credential
from reusedproxy.net.handshake import Handshake, HandshakeFailure, Turns
from reusedproxy.net.tls_server import Certificate, Certificates, ServerTLSTransport
from tests.wire import Loop, TLSClient, TLSClientFar, certificates, client_tls, scratch

#: What the test's authority signs is let in.
TRUSTING = {"verify": "required"}


def offer(**fields: Any) -> TLSOffer:
    """With `verify` said, the test's authority is trusted."""
    if fields.get("verify", "none") != "none":
        fields = {"ca_file": certificates().ca_file, **fields}
    return TLSOffer(**fields)


class Shaker:
    """A listener's side without a listener. It is the handshakes' owner."""

    def __init__(
        self,
        test: SynchronousTestCase,
        loop: Loop,
        terms: TLSOffer | None = None,
        *credentials: Credential,
        strict: bool = False,
    ) -> None:
        self.loop = loop
        self.folder: Path = scratch(test)
        self.terms = terms or TLSOffer()
        self.strict = strict
        self.certificates = self.load(*credentials)
        self.turns = Turns(loop.poller)
        self.transports: list[ServerTLSTransport] = []
        self.failures: list[HandshakeFailure] = []
        self.handshakes: list[Handshake] = []

    def load(self, *credentials: Credential, terms: TLSOffer | None = None) -> Certificates:
        """Each in a file of its own; none: the test's own."""
        files = [
            each.write(self.folder / f"{number}.pem")
            for number, each in enumerate(credentials or (certificates().server,))
        ]
        chosen = [Certificate(str(path), terms or self.terms, bundle=str(path)) for path in files]
        return Certificates.load(chosen, self.strict)

    def offer(self, **fields: Any) -> None:
        """From now on other terms."""
        self.terms = evolve(self.terms, **fields)
        self.certificates = self.load()

    def begin(self, near: Any, timeout: float = 10.0) -> Handshake:
        handshake = Handshake(
            self.loop.poller, self.loop.deadlines, self.turns, self.certificates, near, self, ("192.0.2.7", 4711), None
        )
        self.handshakes.append(handshake)
        handshake.start(timeout)
        return handshake

    def client(
        self, context: Any = None, name: str | None = "server.test", session: Any = None, **pair: Any
    ) -> TLSClientFar:
        """One more client; all that can happen now has happened when it comes back."""
        near, far = self.loop.pair(client=TLSClient(context or client_tls(), name, session), **pair)
        assert isinstance(far, TLSClientFar)
        self.begin(near)
        self.loop.pump()
        return far

    @property
    def transport(self) -> ServerTLSTransport:
        return self.transports[-1]

    @property
    def failure(self) -> str:
        """Why the last one failed."""
        return self.failures[-1].reason

    def handshake_done(self, handshake: Handshake, transport: ServerTLSTransport) -> None:
        self.transports.append(transport)

    def handshake_failed(self, handshake: Handshake, failure: HandshakeFailure) -> None:
        self.failures.append(failure)
