"""Counts what becomes of requests in the stick tables that track them, or their connections.

What a request does not track itself, its connection's counters of other numbers count. It must never know how requests
are carried.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from reusedproxy.exchanges.withheld import Verdict
from reusedproxy.sessions.client import ClientFacts
from reusedproxy.tables.tracking import ERRORS, FAILURES, REQUESTS, Counters, count, count_bytes, count_status


class Counted(Protocol):
    """Defines the exchange as its counting knows it; `answered` is when a server's answer came, 0 without one."""

    counters: Counters | None
    answer_rules: Callable[..., Verdict] | None
    status: int
    answered: float
    bytes_in: int
    bytes_out: int

    @property
    def client(self) -> ClientFacts: ...


def _shared(exchange: Counted) -> Counters | None:
    session = exchange.client.session
    return None if session is None else session.counters


def count_request(exchange: Counted) -> None:
    """Counts a request that begins in what its client's connection tracks, and gives it counters of its own if more of
    it is to be counted there."""
    session = exchange.client.session
    if session is not None and session.counters:
        for table, row in session.counters.values():
            if table.requests is not None:
                table.count(row, table.requests)
            if table.counts_exchanges:
                exchange.counters = {}


def count_inspected(exchange: Counted) -> None:
    """Counts a request in all that tracks it, once rules for contents have let it pass, which see what came before it
    (HAProxy counts at the analyser behind them)."""
    own, shared = exchange.counters, _shared(exchange)
    count(own, shared, REQUESTS)
    if own is None and shared and any(table.counts_exchanges for table, _ in shared.values()):
        exchange.counters = {}


def count_tracked(exchange: Counted, before: Counters | None) -> None:
    """Counts a request in what it tracks beyond what it tracked `before` the rules for contents of its backend."""
    for number, (table, row) in (exchange.counters or {}).items():
        if before is None or number not in before:
            table.count(row, table.requests)


def count_error(exchange: Counted) -> None:
    """Counts a request that should not have been sent."""
    if exchange.counters is not None:
        count(exchange.counters, _shared(exchange), ERRORS)


def count_failure(exchange: Counted) -> None:
    """Counts a server that has not answered."""
    count(exchange.counters, _shared(exchange), FAILURES)


def count_answer(exchange: Counted, status: int) -> None:
    """Counts an answer with this status, which may be an error, before rules see it."""
    count_status(exchange.counters, _shared(exchange), status)


def end_counting(exchange: Counted, counters: Counters, left: int, judged: bool) -> None:
    """Counts what remains to be counted of a request in what tracks it, which ends; the log may still ask it. `left`
    are bytes of the answer that are still to be sent; `judged` tells that its status may be an error."""
    shared = _shared(exchange) if exchange.client.session is not None else None
    if judged and exchange.answered and exchange.answer_rules is None:
        count_status(counters, shared, exchange.status)
    if shared and (counters or any(table.counts_bytes for table, _ in shared.values())):
        count_bytes(counters, shared, exchange.bytes_in, exchange.bytes_out + left)
    for table, row in counters.values():
        if table.counts_ends or table.journals:
            if not shared and table.bytes_in is not None:
                table.count(row, table.bytes_in, exchange.bytes_in)
            if not shared and table.bytes_out is not None:
                table.count(row, table.bytes_out, exchange.bytes_out + left)
            table.leave(row)
        else:
            table.uses[row] -= 1  # `leave`, without a call for each request
