"""Decides which kind of connection a request may be given: by HAProxy's table for `http-reuse`, and by a rule of
reusedproxy's where that is unset. Pure."""

from __future__ import annotations

from collections.abc import Set

from reusedproxy.config.model.proxies import SAFE_TO_REUSE
from reusedproxy.exchanges.retry import IDEMPOTENT
from reusedproxy.pool.kinds import ANY, FRESH, NEW, SAFE


def kind_of_connection(mode: str | None, retry_on: Set[str], method: bytes, *, first: bool, raced: bool) -> int:
    """Returns the kind of connection for a request. `mode` is the word of `http-reuse` (None: unset); `first` tells
    that the request is the first of its client connection; `raced`, that a connection ended under it already: then, as
    after a restart, all that have stood idle may have ended with that one."""
    if raced or mode == "never":
        return NEW
    if mode is None:
        return ANY if method in IDEMPOTENT else FRESH
    if mode == "always" or not first or retry_on >= SAFE_TO_REUSE:
        return ANY
    return SAFE if mode == "aggressive" else NEW
