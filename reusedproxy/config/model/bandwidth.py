"""Defines what a `filter bwlim-in` or `filter bwlim-out` line says. Values only."""

from __future__ import annotations

from attrs import frozen

from reusedproxy.config.model.values import Expression, Place


@frozen
class Bandwidth:
    """Holds one filter: `limit` bytes in `period` seconds for each transfer, or with `key` in the period of the rate
    that its `table` counts ("": the section's own) for all that have a key in common. `incoming`: it limits what
    clients send, not what they are sent. `least` bytes are sent at once, unless they are the last."""

    name: str
    place: Place
    incoming: bool
    limit: int
    period: float = 0.0
    key: Expression | None = None
    table: str = ""
    least: int = 0

    @property
    def counted(self) -> str:
        """Returns what its table must store."""
        return "bytes_in_rate" if self.incoming else "bytes_out_rate"
