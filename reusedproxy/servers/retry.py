"""Whether a failed attempt may be tried again: one pure function, so that it can be read as a table and tested as one."""

from __future__ import annotations

from reusedproxy.servers.connection import REFUSED_LATE, SERVER_GONE, UNTOUCHED

#: No connection could be opened: not one byte of the request has left us.
DIAL_FAILED = "dial"

#: After these no server can have seen anything of the request.
UNSEEN = frozenset((DIAL_FAILED, REFUSED_LATE, UNTOUCHED))

#: RFC 9110 section 9.2.2. Everything else may have been carried out by a server that died before it answered.
IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))


def may_retry(failure: str, *, method: bytes, was_idle: bool, answered: bool, held: bool, retried: bool) -> bool:
    """Whether a request whose attempt ended in `failure` may be sent once more.

    `was_idle`: the connection had stood idle, so the server may have closed it just as we wrote (RFC 9112 section 9.3.1:
    the idle-close race); `answered`: a byte of the response had come; `held`: we still hold all of the request that was
    written; `retried`: an attempt was lost to that race before (RFC 9110 section 9.2.2: an automatic retry that fails
    is not retried). How often a request that nobody has seen may be sent is `retries`' affair, and not asked here.
    """
    if answered or not held:
        return False
    if failure in UNSEEN:
        return True
    return failure == SERVER_GONE and was_idle and not retried and method in IDEMPOTENT
