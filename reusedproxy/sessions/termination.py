"""Names the letters of HAProxy's termination state (its manual, section 8.5, "Session state at disconnection").

The first letter says who ended the session, or the request: C the client, S the server, P the proxy for what a peer
said, R for want of resources, K an operator, L the proxy with an answer of its own, I by an error of its own; a small
letter says whose time was over. The second says what it was at: R reading the request, Q in the queue, C connecting, H
before the answer's head, D with data passing.
"""

from __future__ import annotations

from typing import Protocol

#: Why a client's connection is aborted when the daemon does not wait for it any more: nobody's fault but ours.
STOPPED = "proxy stopped"

QUEUE, CONNECTION, HEAD, DATA = "QCHD"

#: The counter of what was cut short, by the first letter. As in HAProxy, time-outs are counted like resets.
ABORTS = {"C": "cli_abrt", "c": "cli_abrt", "S": "srv_abrt", "s": "srv_abrt"}

#: First letters where nothing went wrong.
_ALL_WELL = "-L"

#: The first letters of what no server is to blame for: the client has gone, or an operator ends it all.
GONE = "CcK"


class Outcome(Protocol):
    """Defines what tells how a request, or a session of `mode tcp`, has gone so far. The `status` of one without an
    answer is 0."""

    @property
    def flags(self) -> str: ...

    @property
    def redispatched(self) -> bool: ...

    @property
    def retries(self) -> int: ...

    @property
    def status(self) -> int: ...


def went_wrong(outcome: Outcome) -> bool:
    """Tells whether it was anything but a success: an error, a time-out, a retry, or a status from 500 on (`option
    dontlog-normal`, `when(error)`)."""
    first = outcome.flags[0]
    return (
        first not in _ALL_WELL
        or outcome.redispatched
        or (first == "-" and outcome.retries > 0)
        or outcome.status >= 500
    )
