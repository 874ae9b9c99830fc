"""Describes the last request that found no connection ready, of several within a second the deepest, for operators who
ask why. Values only."""

from __future__ import annotations

from attrs import define


@define
class Cold:
    """Holds what a request found when it asked for a connection in vain, at the clock's time `at`.

    `kind` is that of `kinds`. `depth` is the floor that would have met it; 0: none would. Of its pool, `floor` is the
    floor at that moment, `filling` tells that it was not full yet since the start or a failure, and `idle`, `in_use`
    and `connecting` count connections. `named` tells that it needs one with a name for which no floor is kept; `full`,
    that the server had as many connections as it may have; `drained`, that none is kept, by an operator's order.
    `trouble` says why the dial before had failed. `lone`: its connection is for this client alone. `after` is the
    reason for which the connection had ended, under a request, that would have met it; "": there was none such.
    `result` is one of `counters.ACQUIRED`, and "" as long as it waits; `took` are the seconds that it has waited.
    """

    at: float
    kind: int
    depth: int
    floor: int
    filling: bool
    idle: int
    in_use: int
    connecting: int
    named: bool = False
    full: bool = False
    trouble: str = ""
    lone: bool = False
    result: str = ""
    took: float = 0.0
    drained: bool = False
    after: str = ""

    def ended(self, result: str, took: float) -> None:
        """Notes how the wait has ended, after `took` seconds."""
        self.result, self.took = result, took
