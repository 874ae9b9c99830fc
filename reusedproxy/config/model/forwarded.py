"""Defines what `option forwarded` says. Values only."""

from __future__ import annotations

from attrs import frozen

from reusedproxy.config.model.values import Expression


@frozen
class Forwarded:
    """Holds which parameters of RFC 7239 servers are told; None: not that one. `seen` is what `for` says: whom the
    proxy has seen."""

    proto: bool = False
    host: Expression | None = None
    by: Expression | None = None
    by_port: Expression | None = None
    seen: Expression | None = None
    seen_port: Expression | None = None
