"""Maps the loss of a connection in the course of an exchange to the status that the client gets and the two letters of
the termination state (`sessions.termination`). Pure tables.
"""

from __future__ import annotations

from reusedproxy.pool.connection import REFUSED_LATE, SERVER_FAULT, SERVER_GONE, SERVER_SLOW, UNTOUCHED
from reusedproxy.sessions.termination import CONNECTION, DATA, HEAD

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
