"""What connection a request may be given: HAProxy's table for `http-reuse`, and our own rule where that is unset. Pure."""

from __future__ import annotations

from collections.abc import Set

from reusedproxy.config.model import SAFE_TO_REUSE
from reusedproxy.servers.retry import IDEMPOTENT

# From anything to nothing that has been used before; the smaller ones may be given what the larger ones may.
ANY = 0
FRESH = 1  # one so lately known alive that it will hardly die under the request, or a new one
SAFE = 2  # one that has carried a request which was not its client's first, or a new one
NEW = 3  # one that has never stood idle


def kind_of_connection(mode: str | None, retry_on: Set[str], method: bytes, *, first: bool, raced: bool) -> int:
    """`mode` is the word of `http-reuse` (None: unset), `first` says that it is the client connection's first request,
    `raced` that a connection ended under it already: then whatever has stood idle may have ended with that, as after a
    restart."""
    if raced or mode == "never":
        return NEW
    if mode is None:
        return ANY if method in IDEMPOTENT else FRESH
    if mode == "always" or not first or retry_on >= SAFE_TO_REUSE:
        return ANY
    return SAFE if mode == "aggressive" else NEW
