"""What is counted of a pool, and what is remembered of a connection when it has ended, so that somebody can be told why it
did. Values only.
"""

from __future__ import annotations

from attrs import define, frozen

#: Ends that each pool remembers.
REMEMBERED = 50


@define
class Counters:
    """What has happened, since the start. A handshake is a connection made ready, with or without TLS.

    A race is a request whose connection had stood idle and ended under it before a byte of the answer came: repeated on
    another connection, or lost (RFC 9112 section 9.3.1). A ping is a request of our own; `donated` connections came from
    health checks; `overdue` ones were in use by nobody. `dials_for_requests` began because somebody waited; of all waits,
    some ended with a new connection (`handshakes_on_request_path`), some with one that came back, some in vain.
    """

    dials: int = 0
    dials_for_requests: int = 0
    dials_failed: int = 0
    handshakes: int = 0
    handshakes_on_request_path: int = 0
    waits_queued: int = 0
    waits_failed: int = 0
    requests: int = 0
    reuses: int = 0
    races_repeated: int = 0
    races_lost: int = 0
    pings: int = 0
    pings_failed: int = 0
    donated: int = 0
    overdue: int = 0
    used_max: int = 0


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
