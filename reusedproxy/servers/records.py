"""What is remembered of a connection when it has ended, so that somebody can be told why it did. Values only."""

from __future__ import annotations

from attrs import frozen

#: Ends that each pool remembers.
REMEMBERED = 50


@frozen
class Ended:
    """One connection's life. Times in seconds: `at` (the clock's) it ended, `age` it had, `took` its TCP connect and handshake.

    `tls` is the protocol, "" without; `resumed`: its handshake was an abbreviated one; `by`: "server" or "proxy", which
    closed it, for `reason`.
    """

    number: int
    at: float
    age: float
    took: float
    tls: str
    resumed: bool
    requests: int
    by: str
    reason: str
