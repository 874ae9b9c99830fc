"""What a pool may do: plain numbers, which whoever makes one gives it."""

from __future__ import annotations

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
