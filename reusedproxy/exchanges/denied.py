"""Counts what rules refuse, of requests and of answers, where the statistics have it. It must never know why."""

from __future__ import annotations

from reusedproxy.exchanges.exchange import Exchange


def count_denied(exchange: Exchange) -> None:
    """Counts a request that is refused here, at its frontend, its listener, and the backend that it has entered."""
    client = exchange.client
    for counted in (client.frontend, exchange.backend, client.listener):
        if counted is not None and counted.traffic is not None:
            counted.traffic.dreq += 1


def count_denied_answer(exchange: Exchange) -> None:
    """Counts an answer that is refused here, at its frontend, its listener, its backend and its server."""
    client = exchange.client
    for counted in (client.frontend, exchange.backend, exchange.server, client.listener):
        if counted is not None and counted.traffic is not None:
            counted.traffic.dresp += 1
