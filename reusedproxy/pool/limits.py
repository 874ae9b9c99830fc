"""What a pool may do: plain numbers, which whoever makes one gives it."""

from __future__ import annotations

from math import inf

from attrs import frozen


@frozen
class PoolLimits:
    """What a pool may do. Times in seconds, None: no limit. The words are HAProxy's without their `pool-`; a connection that
    is taken and used by nobody is given up after `overdue_after`."""

    min_conn: int = 0
    max_conn: int | None = None
    low_conn: int = 0
    purge_delay: float = 5.0
    max_reuse: int | None = None
    idle_timeout: float | None = None
    max_age: float | None = None
    connect_rate: float | None = None
    idle_ping: float | None = None
    keep_checks: bool = False
    most: int | None = None
    overdue_after: float = 60.0

    @property
    def most_idle(self) -> float:
        """How many may stand idle: HAProxy's `pool-max-conn`; a `pool-purge-delay` of 0 keeps none above the floor."""
        if self.purge_delay == 0:
            return self.min_conn
        return inf if self.max_conn is None else max(self.max_conn, self.min_conn)
