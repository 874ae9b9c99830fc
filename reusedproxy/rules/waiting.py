"""Says that a sample cannot be known yet: rules that look at the bytes of a connection may have to wait for more."""

from __future__ import annotations

from reusedproxy.rules.facts import Inspected
from reusedproxy.rules.regular import Interruption


class Incomplete(Interruption):
    """Reports that a sample needs bytes that have not come so far, and may still come."""


def wait_for_more(inspected: Inspected | None) -> None:
    """Raises Incomplete if more may come; else there is no sample."""
    if inspected is not None and not inspected.final:
        raise Incomplete


def unsettle(inspected: Inspected | None) -> None:
    """Notes that a sample may be another one when more comes, or when it is asked for again."""
    if inspected is not None:
        inspected.changes = True


def settle(inspected: Inspected | None) -> None:
    """Notes that a sample stays what it is, whatever else comes: a message has been read to its end."""
    if inspected is not None:
        inspected.changes = False
