"""Hands the clients of a frontend that stops over to the one that accepts in its place, as far as that one would treat
them alike (`clients.readmission`), and ends the others.

A client whose idle connection was closed might be sending at that moment, and would not know what became of its
request: so nobody has to go who may stay.
"""

from __future__ import annotations

from typing import Protocol

from reusedproxy.clients.connection import ClientConnection
from reusedproxy.clients.connection_limit import ConnectionLimit
from reusedproxy.clients.owner import Connected, Owner
from reusedproxy.clients.readmission import (
    ASK_AGAIN,
    SHOW_OTHERS,
    Readmitting,
    certificates_at,
    is_admitted_alike,
    is_treated_alike,
)
from reusedproxy.clients.stream import StreamConnection, StreamOwner


class HandingOver(Owner, StreamOwner, Readmitting, Protocol):
    """Defines a frontend that hands its clients over, or takes them."""

    places: ConnectionLimit


def hand_over(connection: Connected, before: HandingOver, successor: HandingOver | None) -> None:
    """Hands over a connection whose frontend `before` has stopped; with nobody to take it, ends it when what is under
    way has ended."""
    if successor is not None and (
        successor.places is not before.places or (before.guide is None and successor.guide is not None)
    ):
        successor = None  # it counts for another process, or takes no requests as they come here
    if not isinstance(connection, ClientConnection):
        if successor is None:
            connection.finish()
        # Else it may complete its handshake, and is judged then.
    elif successor is None or (successor.guide is not None and successor.routing is None):
        connection.finish()
    else:
        _hand_over_client(connection, before, successor)


def _hand_over_client(connection: ClientConnection, before: HandingOver, successor: HandingOver) -> None:
    """Hands a connection over to `successor`, or ends it:

    - now, if its client would not be admitted there;
    - now as well, though a part of its next request may be here, if the client's certificate would be judged by
      another CA or list of revoked certificates, or if the rules there would have noted something else of it (in
      variables of its session, or in tables): the client has to connect again;
    - after its next answer, which tells the client so, if the proxy would show it another certificate.

    While an exchange is under way nothing is done; `Frontend.settle` is called when that has ended.
    """
    if not is_admitted_alike(connection, before, successor):
        connection.turn_away()
        return
    certificates = certificates_at(connection, before, successor)
    if certificates == ASK_AGAIN or not is_treated_alike(connection, before, successor):
        connection.finish(admitted=False)
    else:
        connection.move(successor, once=certificates == SHOW_OTHERS)


def move_stream(connection: StreamConnection, before: HandingOver, successor: HandingOver) -> bool:
    """Moves a client of mode tcp whose stream has not begun. Returns False, and turns it away, if it would not be
    admitted there, or be treated otherwise."""
    if (
        not is_admitted_alike(connection, before, successor)
        or not is_treated_alike(connection, before, successor)
        or certificates_at(connection, before, successor) == ASK_AGAIN
    ):
        connection.turn_away()
        return False
    connection.move(successor)
    return True
