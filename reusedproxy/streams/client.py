"""Defines what a stream may ask of its client connection, and of that connection's frontend.

Streams call downward, to backends and pools; upward they call nothing but these Protocols. `clients` implements them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from reusedproxy.backends.backend import Backend
from reusedproxy.config.model.proxies import Timeouts
from reusedproxy.measures.traffic import Traffic
from reusedproxy.net.listener import Listener
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.sessions.client import ClientFacts, FactsFrontend
from reusedproxy.wire.faults import Limits


class StreamFrontend(FactsFrontend, Protocol):
    """Defines the frontend as a stream knows it."""

    timeouts: Timeouts
    limits: Limits
    traffic: Traffic
    backends: Mapping[str, Backend]

    def not_evaluated(self, unevaluated: Unevaluated, listener: Listener) -> None:
        """Reports a rule that could not be evaluated; the client concerned has been refused."""


class StreamClient(ClientFacts, Protocol):
    """Defines the client connection as its stream knows it."""

    @property
    def frontend(self) -> StreamFrontend: ...

    def log_stream(self) -> None:
        """Writes the stream's line of the log, before it has ended (`option logasap`)."""

    def stream_switched(self, backend: str | None) -> None:
        """Reads what the stream holds, and all that comes from now on, as requests, the first of them for this
        `backend` (None: its rules choose)."""

    def transport_back(self) -> None:
        """Takes the transport back from a relay."""

    def stream_ended(self, reason: str, broken: bool) -> None:
        """Writes the stream's line of the log, and closes the connection: with a reset if it is `broken`, else when the
        client has taken all that is left."""
