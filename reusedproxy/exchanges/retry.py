"""Decides whether a failed attempt may be repeated: one pure function, so that it can be read as a
table and tested as one."""

from __future__ import annotations

from collections.abc import Collection

from reusedproxy.pool.connection import REFUSED_LATE, SERVER_FAULT, SERVER_GONE, SERVER_SLOW, UNTOUCHED
from reusedproxy.sessions.retries import NONE

#: No connection could be opened: not one byte of the request has left us.
DIAL_FAILED = "dial"

#: After these no server can have seen anything of the request.
UNSEEN = frozenset((DIAL_FAILED, REFUSED_LATE, UNTOUCHED))

#: RFC 9110 section 9.2.2. Everything else may have been carried out by a server that died before it answered.
IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))

# HAProxy's words for `retry-on`, besides `sessions.retries.NONE`.
CONN_FAILURE = "conn-failure"
EMPTY_RESPONSE = "empty-response"
JUNK_RESPONSE = "junk-response"
RESPONSE_TIMEOUT = "response-timeout"


def may_retry(
    failure: str,
    *,
    retry_on: Collection[str],
    method: bytes,
    answered: bool,
    held: bool,
    retried: bool,
    interims: bool = False,
) -> bool:
    """Tells whether a request whose attempt ended in `failure` (or in an answer: its status in digits) may be
    sent once more.

    `retry_on` has HAProxy's words, which apply to any method. Whatever they are except `none`, an idempotent request
    whose connection ended without an answer is repeated once: most such ends are servers that closed an idle connection
    just as the proxy wrote, or that were stopped (RFC 9110 section 9.2.2, RFC 9112 section 9.3.1). `answered` tells
    that a byte of the response had come; `interims`, that an answer of 1xx had: an end behind one is `empty-response`,
    as in HAProxy; `held`, that all of the request that was written is still in memory;
    `retried`, that the request was repeated for such an end before (section 9.2.2: an automatic retry that fails is not
    retried). The number of tries is not checked here; `retries` bounds it elsewhere.
    """
    if not held or NONE in retry_on:
        return False
    if failure in UNSEEN:
        return not answered and CONN_FAILURE in retry_on
    if failure == SERVER_GONE and not answered:
        return EMPTY_RESPONSE in retry_on or (not retried and method in IDEMPOTENT)
    if failure == SERVER_GONE and interims:
        return EMPTY_RESPONSE in retry_on
    if failure in (SERVER_GONE, SERVER_FAULT):
        return JUNK_RESPONSE in retry_on
    return (RESPONSE_TIMEOUT if failure == SERVER_SLOW else failure) in retry_on
