"""Returns all metrics of a proxy, ready for a collector: those of its servers' pools, and those of its TLS listeners.

The latter are few and defined here; the former are in `pools`, with the data model of both. Labels are names and files
of the configuration, and words of fixed sets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import evolve

from reusedproxy.clients.frontend import Frontend
from reusedproxy.operators.metrics.pools import CERTIFICATES, COUNTER, GAUGE, OPENED, Family, Sample, of_servers
from reusedproxy.operators.proxy import Proxy


def families(proxy: Proxy) -> Iterator[Family]:
    """Returns every family, in the order of the configuration."""
    yield from of_servers([server for backend in proxy.backends for server in backend.servers])
    yield from of_frontends(proxy.frontends)


def of_frontends(frontends: Sequence[Frontend]) -> Iterator[Family]:
    """Returns the families of frontends with TLS listeners."""
    secure = [each for each in frontends if each.handshakes.certificates]
    yield evolve(_HANDSHAKES, samples=tuple(sample for each in secure for sample in _handshakes(each)))
    yield evolve(_ENDS, samples=tuple(sample for each in secure for sample in _ends(each)))


def _handshakes(frontend: Frontend) -> Iterator[Sample]:
    counted = frontend.handshakes
    yield Sample((frontend.name, "completed", "no"), counted.completed - counted.resumed)
    yield Sample((frontend.name, "completed", "yes"), counted.resumed)
    yield Sample((frontend.name, "failed", "no"), counted.failed)


def _ends(frontend: Frontend) -> Iterator[Sample]:
    """Returns one sample for each certificate file, even if several listeners use it."""
    shown = frontend.handshakes.certificates.values()
    leaves = {context.crt: context.leaf for certificates in shown for context in certificates.contexts}
    for file, leaf in leaves.items():
        yield Sample((frontend.name, file), leaf.not_valid_after_utc.timestamp())


_HANDSHAKES = Family(
    "reusedproxy_frontend_tls_handshakes_total",
    COUNTER,
    "TLS handshakes of clients, by how they ended, and whether a session was resumed. failed: also those of clients that"
    " went away or were too slow.",
    ("frontend", "outcome", "resumed"),
    OPENED,
    "TLS handshakes of clients",
)
_ENDS = Family(
    "reusedproxy_frontend_cert_not_after_timestamp_seconds",
    GAUGE,
    "Unix time at which a certificate ends that TLS listeners show, by its file.",
    ("frontend", "file"),
    CERTIFICATES,
    "certificates of listeners end",
)
