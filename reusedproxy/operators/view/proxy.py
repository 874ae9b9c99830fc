"""Defines what the operators' modules may read of a running proxy.

`build.assembly` makes the proxy itself; statistics, metrics, certificate expiry and the manhole see no more of it than
this Protocol. They read it; only the manhole's sessions change
it, by what its parts offer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from reusedproxy.backends.backend import Backend
from reusedproxy.clients.connection_limit import ConnectionLimit
from reusedproxy.clients.frontend import Frontend
from reusedproxy.measures.list_fetches import ListFetches
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.watchdog import Standstills


class Trusts(Protocol):
    """Shows what was read last of files of CAs and of revocation lists, from disk or from memory: contents by their
    paths, used or not any more."""

    @property
    def authorities(self) -> Mapping[str, tuple[bytes, ...]]:
        """Returns the contents of a file, or of those of a directory."""

    @property
    def revocations(self) -> Mapping[str, bytes]: ...

    @property
    def spans(self) -> Mapping[str, tuple[tuple[float, float | None], ...]]:
        """Returns from when to when the revocation lists in a file are valid (Unix time); None: one says no end."""


class Proxy(Protocol):
    """A running proxy. `began` is its start, in the clock's seconds."""

    @property
    def frontends(self) -> Sequence[Frontend]: ...

    @property
    def backends(self) -> Sequence[Backend]: ...

    @property
    def before(self) -> Sequence[Proxy]:
        """Those that reloads have replaced and that still have clients, the oldest first."""

    @property
    def places(self) -> ConnectionLimit: ...

    @property
    def trusts(self) -> Trusts: ...

    @property
    def standstills(self) -> Standstills: ...

    @property
    def list_fetches(self) -> Mapping[str, ListFetches]: ...

    @property
    def refused_files(self) -> Sequence[str]:
        """Returns the files of TLS that have changed, and were refused."""

    @property
    def began(self) -> float: ...

    @property
    def deadlines(self) -> Deadlines: ...
