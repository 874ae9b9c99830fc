"""Decides whether a client may stay when a reload has put another frontend in the place of its own: whether that one
would have admitted it, and have noted the same of it.

It must never change a connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from socket import socket
from typing import Final, Protocol

from attrs import frozen

from reusedproxy.clients.gate import ACCEPT, EXPECT_PROXY, UNIX_CLIENT, Admitting, Arrival, Gate
from reusedproxy.clients.pending import PendingClients
from reusedproxy.config import model
from reusedproxy.net.listener import Listener
from reusedproxy.net.tls.server_transport import ServerTLSTransport
from reusedproxy.net.unix_sockets import admits_as_many
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.sessions.client import ClientFacts

# What another frontend's certificates mean for a client that has been admitted: nothing; it would be shown another; it
# would have to show another one, or one where it has shown none, or the other way round.
SAME: Final = "same"
SHOW_OTHERS: Final = "show others"
ASK_AGAIN: Final = "ask again"


class Readmitting(Admitting, Protocol):
    """Defines a frontend as far as it decides who may come in, and stay."""

    gate: Gate | None
    session_gate: Gate | None
    notes_in_sessions: bool
    handshakes: PendingClients

    def bind_of(self, listener: Listener) -> model.Bind:
        """Returns this frontend's line for a listener, which may have been made for another one's."""

    def not_evaluated(self, unevaluated: Unevaluated, listener: Listener) -> None:
        """Reports a rule that could not be evaluated."""


@frozen
class Judgement:
    """Holds what a frontend's rules say of a client that was admitted: whether it has to send a PROXY header first, and
    which rules for connections and for sessions would refuse it by now."""

    expects_proxy: bool
    by_connection: Sequence[object] = ()
    by_session: Sequence[object] = ()

    def is_no_stricter_than(self, other: Judgement) -> bool:
        """Tells whether each rule that refuses the client refuses it in the other judgement, too."""
        return all(
            each in theirs
            for ours, theirs in ((self.by_connection, other.by_connection), (self.by_session, other.by_session))
            for each in ours
        )


def certificates_at(connection: ClientFacts, before: Readmitting, now: Readmitting) -> str:
    """Tells what the certificates of the frontend `now` mean for a client: SAME, SHOW_OTHERS or ASK_AGAIN."""
    address = connection.listener.bind.address
    ours, theirs = before.handshakes.certificates.get(address), now.handshakes.certificates.get(address)
    if ours is theirs:
        return SAME
    transport = connection.transport
    if not isinstance(transport, ServerTLSTransport) or theirs is None:
        return ASK_AGAIN
    if transport.is_shown_the_same(theirs):
        return SAME
    return SHOW_OTHERS if transport.is_admitted_alike(theirs) else ASK_AGAIN


def is_admitted_alike(connection: ClientFacts, before: Readmitting, now: Readmitting) -> bool:
    """Tells whether the client would be admitted by the frontend `now`, with a PROXY header before its first request if
    it had to send one `before`.

    A rule that refuses it in both has let it in: only figures have changed since (how often it has connected, what an
    operator has set), and they send nobody away. Any other one that refuses it now does.
    """
    accepted, listener = connection.transport.socket, connection.listener
    if not admits_as_many(now.bind_of(listener), before.bind_of(listener)):
        return False  # a unix socket whose owner or mode may shut it out
    try:
        peer = accepted.getpeername()
    except OSError:
        return True  # it is gone, which is about to be noticed
    address = peer[:2] if isinstance(peer, tuple) else UNIX_CLIENT
    old, new = (_judge_again(each, connection, accepted, address) for each in (before, now))
    return new.expects_proxy == old.expects_proxy and new.is_no_stricter_than(old)


def is_treated_alike(connection: ClientFacts, before: Readmitting, now: Readmitting) -> bool:
    """Tells whether all that rules have noted of this client holds `now`, too: the rules for connections and sessions
    note the same, those for requests have set no variable of its session, and the tables that track it go on."""
    for ours, theirs in ((before.gate, now.gate), (before.session_gate, now.session_gate)):
        if (() if ours is None else ours.deeds) != (() if theirs is None else theirs.deeds):
            return False
    session = connection.session
    if session is not None and session.variables and (before.notes_in_sessions or now.notes_in_sessions):
        return False  # what a request has said may be no more what the rules would say
    counters = None if session is None else session.counters
    return all(now.tables.get(table.name) is table for table, _ in (counters or {}).values())


def _judge_again(
    frontend: Readmitting, connection: ClientFacts, accepted: socket, address: tuple[str, int]
) -> Judgement:
    """Returns what the rules say of a client that has been admitted, without counting it again."""
    session = connection.session
    counters = None if session is None else session.counters
    arrival = Arrival(accepted, address, connection.listener, frontend, counters=counters, acts=False)
    if session is not None:
        arrival.variables = {**session.variables}
    expected, by_connection = _ask_again(frontend, frontend.gate, arrival)
    expects = expected == EXPECT_PROXY or frontend.bind_of(connection.listener).accept_proxy
    if frontend.session_gate is None:
        return Judgement(expects, by_connection)
    arrival.ends = arrival.source, arrival.connection_destination
    arrival.client, arrival.named_destination = connection, arrival.ends[1]
    source, named = connection.address, connection.destination
    if session is not None and session.addresses_before is not None:
        source, named = session.addresses_before  # as rules for sessions see it at first
    if named is not None:  # a PROXY header, which names both, or none
        arrival.source, arrival.named_destination = source, named
    _, by_session = _ask_again(frontend, frontend.session_gate, arrival)
    return Judgement(expects, by_connection, by_session)


def _ask_again(frontend: Readmitting, gate: Gate | None, arrival: Arrival) -> tuple[str, Sequence[object]]:
    """Returns what these rules expect of the client, and which of them refuse it."""
    if gate is None:
        return ACCEPT, ()
    verdict, refusing, failed = gate.judge_again(arrival)
    for each in failed:
        frontend.not_evaluated(each, arrival.listener)
    return verdict, refusing
