"""Defines the words for why connections end, as metrics use them: few, and not more with every server and fault.

A pool and its connections give a reason in a sentence's words, as people read it on the page and in the manhole; some
of these quote a peer. `word_for` maps each to one of a fixed set. Pure.
"""

from __future__ import annotations

from reusedproxy.net.tls.words import CertificateRefused

# Who has ended a connection.
SERVER = "server"
PROXY = "proxy"

#: A reason: it ended just behind an answer that promised more.
LEFT_BEHIND = "closed by peer behind its answer"
#: A reason: the answer came before the end of the request, and the rest could not go on to the server.
EARLY = "response before the end of the request"
#: A reason: its request was answered on another connection (`hedge`).
NOT_AWAITED = "answered elsewhere first"
#: A reason: its server has another address now (DNS).
MOVED = "server has moved"
#: A reason: its node has more than its share (`pool-spread`).
SPREAD_OUT = "its node has more than others"
#: Reasons: the certificate, key or authorities of its identity were changed; it has another kind of floor now.
OTHER_FILES, OTHER_FLOOR = "other files", "another floor"
#: Reasons: an operator has ordered that the pool be drained, or that its connections be replaced (`pool.ordered`).
ORDERED_DRAIN, ORDERED_REPLACEMENT = "drained by order", "replaced by order"
#: A reason: as many stand idle as may.
FULL = "pool full"
#: A reason: more stand than the floor and recent use call for.
SURPLUS = "more than are needed"

IDLE = "idle"  # it had stood idle too long: by its server's time-out, or by `pool-idle-timeout`
PEER_DEADLINE = "peer_deadline"  # ahead of its server's time-out
MAX_AGE = "max_age"  # `pool-max-age`, or the end of our certificate
MAX_REQUESTS = "max_requests"  # `max-reuse`, or the server or the configuration allows one request only
CONN_CLOSE = "conn_close"  # the server has said so with its answer, or closed right behind it
UNSOLICITED_DATA = "unsolicited_data"
EARLY_RESPONSE = "early_response"  # the answer came before the end of the request, of which the rest may follow
ERROR = "error"  # it was lost, or broke the protocol, or was too slow, under a request
REFUSED_LATE = "refused_late"  # TLS 1.3: the server refused our certificate when the handshake was complete for us
PING_FAIL = "ping_fail"
CLIENT_GONE = "client_gone"  # in the middle of its request
TUNNEL = "tunnel"  # another protocol, or a session of mode tcp, has ended
HEDGED = "hedged"  # its request was answered on another connection
OVERFLOW = "overflow"  # more than are wanted: pool-max-conn, pool-purge-delay, what is needed, strict-maxconn
SPREAD = "spread"  # its node had more connections than others
SUSPECT = "suspect"  # it had stood through a standstill of the process or the machine
LEAKED = "leaked"  # in use by nobody
DRAIN = "drain"  # its server is not to be used, its pool was drained by an operator, or the proxy stops
REWARM = "rewarm"  # an operator has ordered that all be replaced
RELOAD = "reload"  # its server is gone from the configuration, or reached in another way
WORDS = frozenset(
    (
        *(
            IDLE,
            PEER_DEADLINE,
            MAX_AGE,
            MAX_REQUESTS,
            CONN_CLOSE,
            UNSOLICITED_DATA,
            EARLY_RESPONSE,
            ERROR,
            REFUSED_LATE,
        ),
        *(PING_FAIL, CLIENT_GONE, TUNNEL, HEDGED, OVERFLOW, SPREAD, SUSPECT, LEAKED, DRAIN, REWARM, RELOAD),
    )
)

#: Reasons that mean the same whoever closes, and whatever the connection was at.
_ALWAYS = {
    "idle too long": IDLE,
    "server timed it out": IDLE,
    "server timed it out unused": IDLE,
    "ahead of the server's time-out": PEER_DEADLINE,
    "seen enough": PEER_DEADLINE,
    "life over": MAX_AGE,
    "max-reuse": MAX_REQUESTS,
    "one request only": MAX_REQUESTS,
    "server asked to close": CONN_CLOSE,
    LEFT_BEHIND: CONN_CLOSE,
    "unasked bytes": UNSOLICITED_DATA,
    "not silent when taken": UNSOLICITED_DATA,
    "bytes beyond the response": UNSOLICITED_DATA,
    EARLY: EARLY_RESPONSE,
    "client gone": CLIENT_GONE,
    NOT_AWAITED: HEDGED,
    "tunnel over": TUNNEL,
    "session over": TUNNEL,
    "closed by a rule": TUNNEL,
    "greeting too long": UNSOLICITED_DATA,
    FULL: OVERFLOW,
    "purged": OVERFLOW,
    SURPLUS: OVERFLOW,
    SPREAD_OUT: SPREAD,
    "makes room": OVERFLOW,
    "room for another": OVERFLOW,
    "too many names": OVERFLOW,
    "no more asked for": OVERFLOW,
    "stood through a standstill": SUSPECT,
    "leaked": LEAKED,
    "pool suspended": DRAIN,
    "pool closed": DRAIN,
    "proxy stopped": DRAIN,
    "downloaded": DRAIN,
    MOVED: DRAIN,
    ORDERED_DRAIN: DRAIN,
    ORDERED_REPLACEMENT: REWARM,
    "reload": RELOAD,
    OTHER_FILES: RELOAD,
    OTHER_FLOOR: RELOAD,
    "reload refused": RELOAD,
    "answer not wanted": ERROR,
    "exchange failed": ERROR,
    "unasked 101": ERROR,
    "check timed out": PING_FAIL,
}


def word_for(reason: str, by: str, *, idle: bool, pinged: bool) -> str:
    """Returns the word of WORDS for a reason. `idle` tells that nobody used the connection; `pinged`,
    that it carried a ping."""
    always = _ALWAYS.get(reason)
    if always is not None:
        return always
    if reason.startswith("server "):  # and its state: DOWN, MAINT
        return DRAIN
    if by == SERVER:
        if isinstance(reason, CertificateRefused):
            return REFUSED_LATE
        if idle:
            return IDLE
    return PING_FAIL if pinged else ERROR
