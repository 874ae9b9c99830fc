"""Returns all metrics of a proxy that HAProxy does not have: those of its servers' pools, of its TLS listeners, and of
how long its servers take to answer.

The last two are few and defined here; the first are in `pools`, with the data model of all. Labels are names and files
of the configuration, and words of fixed sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import evolve

from reusedproxy.operators.metrics.pools import (
    CERTIFICATES,
    COUNTER,
    GAUGE,
    HISTOGRAM,
    NOW,
    OPENED,
    Family,
    Sample,
    distribution,
    of_servers,
)
from reusedproxy.operators.view.values import BackendView, FrontendView, HandshakesView, ListView, ProxyView


def families(view: ProxyView) -> Iterator[Family]:
    """Returns every family, in the order of the configuration; the view must have the pools' measures."""
    yield from of_servers(view.servers)
    yield from of_frontends(view.frontends)
    yield from of_backends(view.backends)
    yield from of_lists(view.lists)


def of_lists(lists: Sequence[ListView]) -> Iterator[Family]:
    """Returns the families of revocation lists that are fetched."""
    counted = [Sample((each.url, result), count) for each in lists for result, count in each.counts.items()]
    yield evolve(_FETCHES, samples=tuple(counted))
    yield evolve(_FETCHED, samples=tuple(Sample((each.url,), each.last) for each in lists if each.last is not None))
    yield evolve(_DUE, samples=tuple(Sample((each.url,), each.until) for each in lists if each.until is not None))


#: Families, each with its samples as they are asked for.
Parts = Iterator[tuple[Family, Iterator[Sample]]]


def of_backends(backends: Sequence[BackendView]) -> Iterator[Family]:
    """Returns the families of backends."""
    return _whole(parts_of_backends(backends))


def of_frontends(frontends: Sequence[FrontendView]) -> Iterator[Family]:
    """Returns the families of frontends with TLS listeners."""
    return _whole(parts_of_frontends(frontends))


def parts_of_backends(backends: Sequence[BackendView]) -> Parts:
    """Returns the same of backends in parts."""
    timed = [(each.name, each.answer_times) for each in backends if each.mode == "http"]
    yield _ANSWERS, (Sample((name,), distribution(times)) for name, times in timed if times is not None)
    hedged = [(each.name, each.hedging) for each in backends if each.hedging is not None]
    yield _HEDGED, (Sample((name, result), count) for name, said in hedged for result, count in said.results.items())
    yield _WITHHELD, (Sample((name, why), count) for name, said in hedged for why, count in said.withheld.items())
    yield _HEDGED_AFTER, (Sample((name,), said.after) for name, said in hedged if said.after is not None)


def parts_of_frontends(frontends: Sequence[FrontendView]) -> Parts:
    """Returns the same of frontends in parts."""
    secure = [(each.name, each.tls) for each in frontends if each.tls is not None]
    yield _HANDSHAKES, (sample for name, tls in secure for sample in _handshakes(name, tls))
    yield _ENDS, (sample for name, tls in secure for sample in _ends(name, tls))


def _whole(parts: Parts) -> Iterator[Family]:
    return (evolve(family, samples=tuple(samples)) for family, samples in parts)


def _handshakes(frontend: str, counted: HandshakesView) -> Iterator[Sample]:
    yield Sample((frontend, "completed", "no"), counted.completed - counted.resumed)
    yield Sample((frontend, "completed", "yes"), counted.resumed)
    yield Sample((frontend, "failed", "no"), counted.failed)


def _ends(frontend: str, tls: HandshakesView) -> Iterator[Sample]:
    """Returns one sample for each certificate file, even if several listeners use it."""
    ends = {each.file: each.ends for listeners in tls.listeners for each in listeners.certificates}
    for file, end in ends.items():
        yield Sample((frontend, file), end)


_HANDSHAKES = Family(
    "reusedproxy_frontend_tls_handshakes_total",
    COUNTER,
    "TLS handshakes of clients, by how they ended, and whether a session was resumed. failed: also those of clients"
    " that went away or were too slow.",
    ("frontend", "outcome", "resumed"),
    OPENED,
    "TLS handshakes of clients",
)
_ANSWERS = Family(
    "reusedproxy_backend_response_seconds",
    HISTOGRAM,
    "Seconds from the end of a request's head to the answer's head: what it waits in queues and for a connection, and"
    " what the server takes; to the end of those that a server has been given and has not answered (5xx).",
    ("backend",),
    NOW,
    "time to the answer",
)
_FETCHES = Family(
    "reusedproxy_crl_fetches_total",
    COUNTER,
    "Fetches of a list of revoked certificates (crl-url), by what came of them. changed: another list than the one at"
    " hand. failed: the server had none, or none that counts; the log says why.",
    ("url", "result"),
    CERTIFICATES,
    "fetches of revocation lists",
)
_FETCHED = Family(
    "reusedproxy_crl_fetched_timestamp_seconds",
    GAUGE,
    "Unix time at which a list of revoked certificates was fetched last, or found unchanged; absent before the first.",
    ("url",),
    CERTIFICATES,
    "revocation lists were fetched",
)
_DUE = Family(
    "reusedproxy_crl_next_update_timestamp_seconds",
    GAUGE,
    "Unix time at which the next list of revoked certificates is due. From then on every certificate of its CA is"
    " refused.",
    ("url",),
    CERTIFICATES,
    "revocation lists end",
)
_HEDGED = Family(
    "reusedproxy_hedged_requests_total",
    COUNTER,
    "Requests that were sent to a second connection because their answer was late (hedge), by what answered them. won:"
    " the second connection. lost: the first. neither: the client left, or both failed.",
    ("backend", "result"),
    NOW,
    "requests sent twice",
)
_WITHHELD = Family(
    "reusedproxy_hedges_withheld_total",
    COUNTER,
    "Requests whose answer was late and that were not sent to a second connection, by why: the budget, requests in a"
    " queue, a server that is down, retries of late, dials that fail or are waited for, a reload, no connection.",
    ("backend", "reason"),
    NOW,
    "late requests not sent twice",
)
_HEDGED_AFTER = Family(
    "reusedproxy_hedge_after_seconds",
    GAUGE,
    "Seconds without an answer after which a request is late (hedge); absent while too few answers were seen.",
    ("backend",),
    NOW,
    "late after",
)
_ENDS = Family(
    "reusedproxy_frontend_cert_not_after_timestamp_seconds",
    GAUGE,
    "Unix time at which a certificate ends that TLS listeners show, by its file.",
    ("frontend", "file"),
    CERTIFICATES,
    "certificates of listeners end",
)
