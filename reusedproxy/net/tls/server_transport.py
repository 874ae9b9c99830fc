"""Implements the transport to a client over TLS: what it adds to `TLSTransport` is what the handshake has shown."""

from __future__ import annotations

from socket import socket

from OpenSSL import SSL

from reusedproxy.net.poller import Poller
from reusedproxy.net.tls.server import Certificates, Shown
from reusedproxy.net.tls.transport import TLSTransport
from reusedproxy.net.transport import TransportOwner


class ServerTLSTransport(TLSTransport):
    """Carries a client's connection whose handshake is complete, and keeps what the handshake has shown."""

    __slots__ = ("_admission", "_hello", "_token", "ca_fault", "crt_fault", "hello_lists", "server_name")

    serves = True

    def __init__(
        self,
        poller: Poller,
        accepted: socket,
        owner: TransportOwner,
        tls: SSL.Connection,
        shown: Shown,
        admission: object = None,
        token: object = None,
    ) -> None:
        """Takes `admission` and `token` of the context that was chosen for the client, and outlives it."""
        TLSTransport.__init__(self, poller, accepted, owner, tls)
        #: What the choice of a certificate depends on.
        self._hello = shown.hello
        self._admission = admission
        self._token = token
        #: The name that the client asked for (SNI), in lower case.
        self.server_name = shown.hello.server_name
        #: The first faults that were found in this handshake and let pass: of the client's certificate, and of those
        #: above it.
        self.crt_fault = shown.crt_fault
        self.ca_fault = shown.ca_fault
        #: What was captured of the client's hello.
        self.hello_lists = shown.lists

    def is_shown_the_same(self, certificates: Certificates) -> bool:
        """Tells whether what was chosen for the client would be chosen again, if it came to these certificates now."""
        context = certificates.choose(self._hello)
        return context is not None and context.token is self._token

    def is_admitted_alike(self, certificates: Certificates) -> bool:
        """Tells whether the client would have to show the same as it has, if it came to these certificates now."""
        context = certificates.choose(self._hello)
        return context is not None and context.admission == self._admission
