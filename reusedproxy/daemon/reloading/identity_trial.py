"""Tries, at a reload, the identities that are new or changed in pools that it keeps: their floors are opened while the
old proxy serves, under its old identities.

So nobody waits for a handshake because a certificate was renewed, and a renewed one that the server refuses has the
reload refused. Knows lines and pools; must never know files.
"""

from __future__ import annotations

import time

from attrs import define

from reusedproxy.build.assembly import Proxy
from reusedproxy.net.tls.words import ACCEPTED, UNSEEN
from reusedproxy.pool.constant import ConstantPool
from reusedproxy.pool.named import Name, NamedPools
from reusedproxy.pool.pool import HTTPConnectionPool


@define
class _Tried:
    """Holds what is tried at one server, and the pools of the identities that have the same words so far."""

    server: str
    names: NamedPools
    fresh: list[tuple[Name, int | None]]
    before: dict[str, HTTPConnectionPool]


class IdentityTrial:
    """Tries what `new` lists and `old` does not, in the pools that both have."""

    def __init__(self, old: Proxy, new: Proxy) -> None:
        self._tried: list[_Tried] = []
        for server, line in new.lines.items():
            before, pool = old.lines.get(server), line.pool
            if before is None or before.pool is not pool or line.identities is None or not line.server.serving:
                continue
            if not isinstance(pool, ConstantPool) or pool.state != "running":
                continue
            fresh = [each for each in line.identities.listed if not pool.names.lists(each[0])]
            if fresh:
                self._tried.append(
                    _Tried(server, pool.names, fresh, {name: each for name, each, *_ in pool.names.shown()})
                )

    def start(self) -> None:
        for each in self._tried:
            each.names.try_out(each.fresh)

    def refusal(self) -> tuple[str, str] | None:
        """Returns the first server that accepts an identity as it was, and not with its new files, and why."""
        for each in self._tried:
            for name, pool in each.names.tried():
                before = each.before.get(str(name))
                if pool is None or before is None or before.trouble:
                    continue
                if "TLS" in pool.trouble and _refuses_us(before, pool):
                    return each.server, f"{name}: {pool.trouble}"
        return None

    def awaits(self, now: float) -> bool:
        """Tells whether some floor does not stand yet, and may soon."""
        return any(pool is None or _is_opening(pool, now) for each in self._tried for _, pool in each.names.tried())

    def give_up(self, reason: str) -> None:
        """Ends what was opened: all stays as it was."""
        for each in self._tried:
            each.names.give_up(reason)


def _refuses_us(before: HTTPConnectionPool, now: HTTPConnectionPool) -> bool:
    """Tells whether the server refuses our certificate; if not, it is the server that is refused, or one that may be
    (`trial`)."""
    if before.context is None or now.context is None or now.context.shows_as(before.context):
        return False
    if before.context.is_ending(time.time()):
        return False
    return now.certificate == ACCEPTED or (now.certificate == UNSEEN and now.context.demands_as(before.context))


def _is_opening(pool: HTTPConnectionPool, now: float) -> bool:
    if pool.trouble:
        return False
    return len(pool.idle) < pool.floor or any(each.proof_at > now for each in pool.idle)
