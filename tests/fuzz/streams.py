"""What the two targets with a whole proxy share:
how an input is cut into what a peer sends when, and failures of our own.

The proxy runs in memory (tests/clientfakes.py). The side that is not hostile is well behaved and suspicious: it reads
with h11 alone.

The first CONTROL bytes of an input are flags, two places to cut at (two bytes each), the size of the pieces between,
and a kind of scene; what they mean is said where they are used.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import implementer

from reusedproxy.exchanges.own_answers import ERRORS, KEEPING, error_answer

CONTROL = 7
#: Seconds; longer than any time-out.
LONG = 100.0


@implementer(ILogObserver)
class Failures:
    """What the proxy logs as a failure of its own; there must be none."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, event: Any) -> None:
        if "log_failure" in event:
            self.seen.append(event["log_failure"].getTraceback())

    def __enter__(self) -> Failures:
        globalLogPublisher.addObserver(self)
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        globalLogPublisher.removeObserver(self)
        if kind is None:
            assert not self.seen, "\n".join(self.seen)


def pieces_of(data: bytes) -> tuple[int, int, list[bytes]]:
    """The flags of an input, its kind, and its stream in pieces."""
    control, stream = data[:CONTROL].ljust(CONTROL, b"\0"), data[CONTROL:]
    flags, size = control[0], control[5]
    first, second = sorted(int.from_bytes(control[at : at + 2], "big") % (len(stream) + 1) for at in (1, 3))
    middle = stream[first:second]
    size = size or len(middle) or 1
    between = [middle[at : at + size] for at in range(0, len(middle), size)]
    return flags, control[6], [piece for piece in (stream[:first], *between, stream[second:]) if piece]


@cache
def errors_of_ours(method: bytes) -> tuple[bytes, ...]:
    """All answers of the proxy's own to a request of this method."""
    return tuple(error_answer(status, method, close=pages is ERRORS) for pages in (ERRORS, KEEPING) for status in pages)
