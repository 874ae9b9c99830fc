"""Advises the operator on one server's pool; gives each piece of advice once.

Upkeep reports what it has seen of a server; this module puts it into words, with the setting to change. It must never
know connections.
"""

from __future__ import annotations

from collections.abc import Callable

from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.pool.learning.depth import Depths
from reusedproxy.pool.learning.idle_timeout import IdleTimeoutEstimate

#: Handshakes a second for a floor that nobody uses from which on there is advice.
CHURN = 0.5
#: Requests within the last hour from which on there is advice on the floor; the share of them that a floor should meet,
#: and below which it is too low.
ENOUGH = 1000
MET, TOO_FEW = 0.999, 0.99


class Advice:
    """Advises on one server, for all of its pools."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Calls `say(text)` with each piece of advice, for an operator to read."""
        self._say = say
        self._said: set[str] = set()

    def share(self, other: Advice) -> None:
        """Shares what has been said with another pool of the server, so that neither repeats it."""
        self._said = other._said

    def vain_ping(self, status: int) -> None:
        """Reports that the server answers pings with this status and closes the connection."""
        text = f"the server answers idle-ping's request with {status} and closes the connection: pings stop"
        self._once("ping", f"{text}; say what it takes with 'option httpchk'")

    def hasty(self) -> None:
        """Reports that the server closes used connections within moments of its answers."""
        self._once(
            "hasty",
            "the server closes connections within moments of one answer in a hundred or more: requests that may not be"
            " repeated get connections that have outlived such moments, or new ones, until it does so less",
        )

    def workers(self, idle: int) -> None:
        """Reports that a dial has timed out while `idle` connections stand idle."""
        self._once(
            "workers",
            f"no new connection while {idle} stand idle: a server with one worker a connection (gunicorn's"
            " sync, Apache's prefork) has none left for anybody else: say a pool-min-conn below its workers, or 0",
        )

    def floor(self, limits: PoolLimits, depths: Depths) -> None:
        """Compares a fixed floor with what the last hour's requests needed."""
        if limits.adapts or not limits.min_conn or depths.requests < ENOUGH:
            return
        met, floor = depths.met_by(limits.min_conn), depths.floor_for(MET)
        if met is not None and floor is not None and met < TOO_FEW:
            self._once(
                "floor",
                f"a floor of {floor} would have met {MET:.1%} of the last hour's {depths.requests:,} requests without a"
                f" wait, and pool-min-conn {limits.min_conn} is sure to meet {met:.1%}: say {floor}, or 'auto'",
            )

    def idle_timeouts(
        self, limits: PoolLimits, floor: int, used: IdleTimeoutEstimate, unused: IdleTimeoutEstimate, pings: bool
    ) -> None:
        """Compares the configured limits with the server's idle time-outs. `pings` tells that idle
        connections are pinged."""
        if limits.idle_timeout is not None and used.limit < limits.idle_timeout:
            self._once(
                "idle-timeout",
                f"the server closes idle connections after {used.limit:.3g} s ({used.source}), so pool-idle-timeout"
                f" {limits.idle_timeout:g}s is never reached: raise the server's keep-alive time-out, or say less",
            )
        if floor and not pings and floor / unused.leave_after >= CHURN:
            said = f"pool-min-conn auto, which is {floor} now," if limits.adapts else f"pool-min-conn {floor}"
            self._once(
                "churn",
                f"the server closes connections that have carried no request after {unused.limit:.3g} s"
                f" ({unused.source}), so {said} costs {floor / unused.leave_after:.2g} handshakes a second:"
                " raise its time-out for a first request, say idle-ping with less than that, or a smaller floor",
            )

    def _once(self, key: str, text: str) -> None:
        if key not in self._said:
            self._said.add(key)
            self._say(text)
