"""Maps the end of an exchange to HAProxy's words: the status that the client gets and the two letters in the log.

The letters are those of its manual, section 8.5: who ended it (C the client, S the server, P the proxy for what a peer
said, R for want of resources, K an operator, L the proxy with an answer of its own, I by an error of its own; small
letters: whose time was over), and what it was at (R reading the request, Q in the queue, C connecting, H before the
answer's head, D with data passing). Pure tables.
"""

from __future__ import annotations

from reusedproxy.pool.connection import REFUSED_LATE, SERVER_FAULT, SERVER_GONE, SERVER_SLOW, UNTOUCHED

#: Why a client's connection is aborted when the daemon does not wait for it any more: nobody's fault but ours.
STOPPED = "proxy stopped"

QUEUE, CONNECTION, HEAD, DATA = "QCHD"

#: The count for who ended what was not over, by the first letter; as in HAProxy, time-outs are counted like resets.
ABORTS = {"C": "cli_abrt", "c": "cli_abrt", "S": "srv_abrt", "s": "srv_abrt"}

#: The first letters of what no server is to blame for: the client has gone, or an operator ends it all.
GONE = "CcK"

_SERVERS = {
    SERVER_GONE: (502, "S", HEAD),
    SERVER_FAULT: (502, "P", HEAD),
    SERVER_SLOW: (504, "s", HEAD),
    # No server has seen anything: as if there had been no connection.
    REFUSED_LATE: (503, "S", CONNECTION),
    UNTOUCHED: (503, "S", CONNECTION),
}


def server_lost(loss: str, phase: str, request_ended: bool) -> tuple[int, str]:
    """Returns the status and the letters for a server connection lost in this phase of the exchange."""
    status, who, where = _SERVERS[loss]
    if phase == DATA or (loss == SERVER_SLOW and not request_ended):
        where = DATA
    return status, who + where


def client_lost(who: str, phase: str, request_ended: bool) -> str:
    """Returns the letters for a client that is gone (`who` C) or has let its time pass (c)."""
    return who + (DATA if phase == HEAD and not request_ended else phase)
