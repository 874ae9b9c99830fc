"""Defines the metrics of the pools: name, meaning and current value of each.

The result is families of samples for each server in the model of Prometheus (counter, gauge, histogram with cumulative
buckets), as plain values: the exporter writes them, the statistics page and the manhole show them. Labels are names of
the configuration and words of fixed sets, never data from a client or a server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import inf

from attrs import evolve, frozen

from reusedproxy.backends.server import FULL_WEIGHT
from reusedproxy.measures.histogram import Histogram
from reusedproxy.operators.view.values import Counted, PoolMeasures, PoolTLS, ServerView
from reusedproxy.pool.counters import METHODS, RACES
from reusedproxy.pool.kept import DRAINED
from reusedproxy.pool.reasons import SERVER

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

# The groups in which they are shown to people, in this order.
NOW = "Now"
ASKED = "Who asked for a connection"
OPENED = "Opened"
CLOSED = "Closed, and why"
TIMEOUTS = "The server's time-outs"
RACED = "Races with the server's close, and retries"
CERTIFICATES = "Certificates"
GROUPS = (NOW, ASKED, OPENED, CLOSED, TIMEOUTS, RACED, CERTIFICATES)


@frozen
class Distribution:
    """A histogram's sample: for each upper bound, the last being "+Inf", the number of values up to it; and the sum of
    values."""

    buckets: tuple[tuple[str, int], ...]
    sum: float
    #: The same values as a histogram, for display.
    histogram: Histogram


@frozen
class Sample:
    """Holds one value; `labels` are the values of its family's labels, in their order."""

    labels: tuple[str, ...]
    value: float | Distribution


@frozen
class Family:
    """Holds all samples of one name. `kind` is COUNTER, GAUGE or HISTOGRAM; `words` is the readable name, shown in the
    group `group`."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...]
    group: str
    words: str
    samples: tuple[Sample, ...] = ()


#: Reads one server's view: returns numbers by the values of all labels but the first ones, which name the server.
Read = Callable[[ServerView], Mapping[tuple[str, ...], "float | Counted"]]


def of_servers(servers: Sequence[ServerView]) -> Iterator[Family]:
    """Returns every family, including those without a sample at this moment; the views must have their pools'
    measures."""
    for family, read in FAMILIES:
        yield evolve(family, samples=tuple(samples(family, read, servers)))


def samples(family: Family, read: Read, servers: Iterable[ServerView]) -> Iterator[Sample]:
    """Returns the samples of one family, as they are asked for."""
    named = sum(label in ("pool", "server") for label in family.labels)
    for server in servers:
        for labels, value in read(server).items():
            yield Sample((server.full_name,) * named + labels, sample_of(value))


def sample_of(value: float | Counted) -> float | Distribution:
    """Returns a sample's value: a histogram's buckets become cumulative."""
    return distribution(Histogram(value[0], [*value[1]], value[2])) if isinstance(value, tuple) else value


def distribution(histogram: Histogram) -> Distribution:
    """Returns a histogram as a sample's value."""
    steps = histogram.cumulative()
    buckets = tuple(("+Inf" if bound == inf else repr(float(bound)), count) for bound, count in steps)
    return Distribution(buckets, histogram.sum, histogram)


# Functions that pick the values.


def _one(value: float | Counted | None) -> Mapping[tuple[str, ...], float | Counted]:
    """Returns the only sample; none for None."""
    return {} if value is None else {(): value}


def _measured(server: ServerView) -> PoolMeasures:
    measures = server.pool.measures
    assert measures is not None, f"the view of {server.full_name} was made without measures"
    return measures


def _of_tls(server: ServerView, pick: Callable[[PoolTLS], float | None]) -> Mapping[tuple[str, ...], float | Counted]:
    """Returns the only sample, or none without TLS or when the value is unknown."""
    tls = server.pool.tls
    return {} if tls is None else _one(pick(tls))


def _node_connections(server: ServerView) -> Mapping[tuple[str, ...], float]:
    nodes = server.pool.nodes
    return {} if nodes is None else {(str(number),): count for number, (_, count) in enumerate(nodes.counts, 1)}


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"


def _connections(server: ServerView) -> Mapping[tuple[str, ...], float]:
    pool = server.pool
    return {
        ("idle",): pool.idle - pool.suspect,
        ("active",): pool.in_use,
        ("connecting",): pool.connecting,
        ("retiring",): pool.retiring,
        ("suspect",): pool.suspect,
        ("private",): pool.private,
        ("watched",): pool.watched,
    }


def _requests(server: ServerView) -> Mapping[tuple[str, ...], float]:
    counts = server.pool.counts
    new = counts.handshakes_on_request_path
    unused = counts.requests - counts.reuses - new
    return {("never_used",): unused, ("reused",): counts.reuses, ("new_dial",): new}


def _handshakes(server: ServerView) -> Mapping[tuple[str, ...], float]:
    handshakes = _measured(server).tls_handshakes
    return {(tls, _yes(resumed), _yes(crt)): count for (tls, resumed, crt), count in handshakes.items()}


def _handshake_seconds(server: ServerView) -> Mapping[tuple[str, ...], Counted]:
    if server.pool.tls is None:
        return {}
    return {(_yes(resumed),): took for resumed, took in _measured(server).handshake_seconds.items()}


def _closed(server: ServerView) -> Mapping[tuple[str, ...], float]:
    closed = _measured(server).closed
    return {("peer" if by == SERVER else "proxy", word): count for (by, word), count in closed.items()}


def _timeouts(server: ServerView) -> Mapping[tuple[str, ...], float]:
    phases = {"first_use": server.pool.unused, "keepalive": server.pool.used}
    return {(phase, limit.source): limit.seconds for phase, limit in phases.items() if limit is not None}


def _races(server: ServerView) -> Mapping[tuple[str, ...], float]:
    """Returns all combinations, zeros included: that "lost" is 0 must be visible."""
    races = _measured(server).races
    return {(method, outcome): races.get((method, outcome), 0) for method in METHODS for outcome in RACES}


# The metrics.


def _family(kind: str, name: str, labels: str, group: str, words: str, help: str, read: Read) -> tuple[Family, Read]:
    return Family(f"reusedproxy_{name}", kind, help, tuple(labels.split()), group, words), read


#: All of them, each with what reads it.
FAMILIES: tuple[tuple[Family, Read], ...] = (
    _family(
        GAUGE,
        "pool_connections",
        "pool server state",
        NOW,
        "connections",
        "Connections by state. idle: ready to be used. suspect: idle, but given to nobody until they have"
        " proven that the server has not closed them. private: idle, and kept for the one client that has"
        " authenticated them. watched: left alone to see how long the server waits. active: in use."
        " connecting: not open yet. retiring: being closed.",
        _connections,
    ),
    _family(
        GAUGE,
        "pool_floor",
        "pool server",
        NOW,
        "floor",
        "Idle connections to be kept ready (pool-min-conn); with auto, as many as demand calls for.",
        lambda server: _one(server.pool.floor),
    ),
    _family(
        GAUGE,
        "pool_drained",
        "server",
        NOW,
        "drained by an operator",
        "1 while an operator has the pool drained (drain pool): its floor is withheld, and pool_floor is 0; else 0.",
        lambda server: _one(int(server.pool.order is not None and server.pool.order.state == DRAINED)),
    ),
    _family(
        GAUGE,
        "pool_floor_advised",
        "pool server",
        NOW,
        "floor that would do",
        "Smallest floor that would have met 99.9 % of the last hour's requests without a wait; absent without"
        " requests.",
        lambda server: _one(server.pool.demand.enough if server.pool.demand is not None else None),
    ),
    _family(
        GAUGE,
        "pool_max",
        "pool server",
        NOW,
        "idle at most",
        "Idle connections to be kept at most (pool-max-conn); absent without a limit.",
        lambda server: _one(server.pool.most_idle),
    ),
    _family(
        COUNTER,
        "pool_below_floor_seconds_total",
        "server",
        NOW,
        "below the floor, in all",
        "Seconds in which fewer connections stood, idle or in use, than the floor asks for. Its share of the"
        " time is the time in which the pool was not warm.",
        lambda server: _one(server.pool.below_floor_seconds),
    ),
    _family(
        GAUGE,
        "server_share_ratio",
        "server",
        NOW,
        "share that it takes",
        "Part of its weight that counts: less than 1 while a server has come up and its floor fills, and during"
        " slowstart; 0 while nothing of it is warm and others are ready.",
        lambda server: _one(server.throttle / FULL_WEIGHT),
    ),
    _family(
        GAUGE,
        "pool_nodes",
        "server",
        NOW,
        "nodes behind its address",
        "Nodes that connections have come to lately (pool-spread); absent without that word.",
        lambda server: _one(len(server.pool.nodes.counts) if server.pool.nodes is not None else None),
    ),
    _family(
        GAUGE,
        "pool_node_connections",
        "server node",
        NOW,
        "connections by node",
        "Connections at each of these nodes, numbered as they were seen first.",
        _node_connections,
    ),
    _family(
        COUNTER,
        "pool_spread_dials_total",
        "server",
        NOW,
        "dialled anew for another node",
        "Connections that were replaced because their node had two more than another; absent without pool-spread.",
        lambda server: _one(server.pool.nodes.dials if server.pool.nodes is not None else None),
    ),
    _family(
        GAUGE,
        "pool_waiters",
        "server",
        NOW,
        "waiting",
        "Requests that wait for a connection.",
        lambda server: _one(server.pool.waiting),
    ),
    _family(
        GAUGE,
        "warmup_tokens",
        "server",
        NOW,
        "dials allowed at once",
        "Connections that the rate of dials for the floor (pool-connect-rate) allows at this moment; below 1"
        " the next one waits.",
        lambda server: _one(_measured(server).tokens),
    ),
    _family(
        GAUGE,
        "warmup_backoff_seconds",
        "server",
        NOW,
        "pause between dials",
        "Seconds between two dials while the server refuses connections; 0 while it takes them.",
        lambda server: _one(_measured(server).backoff),
    ),
    _family(
        COUNTER,
        "borrow_overdue_total",
        "server",
        NOW,
        "taken and not used",
        "Connections that were taken and then used by nobody, so that they were ended: a fault of this program.",
        lambda server: _one(server.pool.counts.overdue),
    ),
    _family(
        COUNTER,
        "pool_requests_total",
        "server conn",
        ASKED,
        "requests",
        "Requests by the connection that they were given. never_used: it had been opened before, and they"
        " were its first. reused: it had carried others. new_dial: they had to wait until it was opened.",
        _requests,
    ),
    _family(
        HISTOGRAM,
        "pool_acquire_seconds",
        "server result",
        ASKED,
        "wait for a connection",
        "Seconds from asking the pool for a connection to the end of that. warm: there was one (not timed"
        " unless it took long: counted as 0 s). fresh: one was opened meanwhile. queued: another request gave"
        " its back. timeout, refused: there was none. left: whoever asked went away.",
        lambda server: {(result,): waits for result, waits in _measured(server).acquired.items()},
    ),
    _family(
        HISTOGRAM,
        "idle_age_at_borrow_seconds",
        "server",
        ASKED,
        "idle before use",
        "Seconds that a connection had stood idle when it was taken for a request.",
        lambda server: _one(_measured(server).idle_at_borrow),
    ),
    _family(
        COUNTER,
        "connects_total",
        "server cause result",
        OPENED,
        "connects",
        "Attempts to open a connection that have ended. Causes: floor (one was missing), demand (a request"
        " waited), replace (in place of one whose life is over), recovery (the server had refused, or had been"
        " taken out), rotation (a reload changed its certificates or settings), probe (a health check left its"
        " own). Results: ok, refused (no TCP connection), timeout, tls (no handshake), verify (the server's"
        " certificate is not taken), local (no descriptor left), cancelled. A client certificate that is"
        " refused after a TLS 1.3 handshake shows in closed_total as refused_late.",
        lambda server: _measured(server).connects,
    ),
    _family(
        COUNTER,
        "tls_handshakes_total",
        "server version resumed client_cert",
        OPENED,
        "TLS handshakes",
        "Complete TLS handshakes. client_cert: whether there is a certificate of ours to show.",
        _handshakes,
    ),
    _family(
        COUNTER,
        "tls_handshakes_on_request_path_total",
        "server",
        OPENED,
        "TLS handshakes on the request path",
        "Requests that had to wait for a TLS handshake: what a floor is there to keep at 0. Absent for a"
        " server without TLS.",
        lambda server: _one(server.pool.counts.handshakes_on_request_path) if server.pool.tls else {},
    ),
    _family(
        HISTOGRAM,
        "connect_seconds",
        "server",
        OPENED,
        "TCP connect",
        "Seconds until TCP was up, also when TLS failed then.",
        lambda server: _one(_measured(server).connect_seconds),
    ),
    _family(
        HISTOGRAM,
        "tls_handshake_seconds",
        "server resumed",
        OPENED,
        "TLS handshake",
        "Seconds of complete TLS handshakes, from when TCP was up; of abbreviated ones apart. Absent for a"
        " server without TLS.",
        _handshake_seconds,
    ),
    _family(
        HISTOGRAM,
        "warmup_seconds",
        "server",
        OPENED,
        "warm-up",
        "Seconds from the start, or from when a server took connections again, until the floor stood.",
        lambda server: _one(_measured(server).warm_up),
    ),
    _family(
        COUNTER,
        "closed_total",
        "server by reason",
        CLOSED,
        "closed",
        "Connections that have ended, by whose doing (peer, proxy) and why. idle: stood idle too long."
        " peer_deadline: left ahead of the server's time-out. max_age, max_requests: the end of its life."
        " conn_close: said by the server with its answer. unsolicited_data, early_response, error: unfit, or"
        " lost under a request. refused_late: our certificate was refused after the handshake. ping_fail: a"
        " request of our own failed. client_gone, tunnel: not at its end, or not HTTP any more. overflow: more"
        " than are wanted. spread: its node had more than others. suspect: stood through a standstill. leaked: see"
        " borrow_overdue_total. rewarm: replaced by an operator's order. drain,"
        " reload: its server is not to be used, or not so.",
        _closed,
    ),
    _family(
        HISTOGRAM,
        "connection_age_seconds",
        "server",
        CLOSED,
        "age at the end",
        "Seconds that ended connections had lived.",
        lambda server: _one(_measured(server).ages),
    ),
    _family(
        HISTOGRAM,
        "connection_requests",
        "server",
        CLOSED,
        "requests carried",
        "Requests that ended connections had carried, our own pings and checks among them.",
        lambda server: _one(_measured(server).carried),
    ),
    _family(
        HISTOGRAM,
        "idle_age_at_peer_close_seconds",
        "server",
        CLOSED,
        "idle when the server closed",
        "Seconds that connections had stood idle when their server closed them: its time-out, if they are alike.",
        lambda server: _one(_measured(server).idle_at_peer_close),
    ),
    _family(
        GAUGE,
        "peer_timeout_seconds",
        "server phase source",
        TIMEOUTS,
        "it closes idle connections after",
        "Seconds after which the server closes an idle connection, if that is known; ours leave before."
        " first_use: one that has carried nothing yet. keepalive: one that has. advertised: the server says"
        " so. learned: from when it did.",
        _timeouts,
    ),
    _family(
        COUNTER,
        "idle_close_race_total",
        "server method_class outcome",
        RACED,
        "races",
        "Requests whose connection had stood idle and ended under them before a byte of the answer, or might"
        " have. avoided: given a fresher connection, or a new one, though others stood idle. retried_ok: sent"
        " once more, and answered. lost: the client got an error; must be 0. left: the client went away before"
        " that was known.",
        _races,
    ),
    _family(
        COUNTER,
        "retries_total",
        "server proof result",
        RACED,
        "retries",
        "Attempts at a request after its first, by what allowed them (unsent: no server had seen a byte of"
        " it; idempotent: its method may be repeated; opt_in: retry-on) and what became of them (ok, failed,"
        " left: the client went away). They count at the server of the attempt before.",
        lambda server: _measured(server).retries,
    ),
    _family(
        GAUGE,
        "identities",
        "server",
        ASKED,
        "identities",
        "Names and identities of requests that have connections of their own at this server, besides the one that is"
        " known beforehand.",
        lambda server: _one(server.pool.names),
    ),
    _family(
        COUNTER,
        "identity_refusals_total",
        "server",
        ASKED,
        "requests refused",
        "Requests that got no connection, because they had no name for it, or said no identity that there is.",
        lambda server: _one(server.pool.refusals),
    ),
    _family(
        GAUGE,
        "client_cert_not_after_timestamp_seconds",
        "pool",
        CERTIFICATES,
        "our certificate ends",
        "Unix time at which our certificate for this server ends; absent without one.",
        lambda server: _of_tls(server, lambda tls: tls.ours_end),
    ),
    _family(
        GAUGE,
        "server_cert_not_after_timestamp_seconds",
        "server",
        CERTIFICATES,
        "its certificate ends",
        "Unix time at which the certificate ends that the server showed last; absent before the first"
        " handshake, and with 'verify none', where nobody looks at it.",
        lambda server: _of_tls(server, lambda tls: tls.theirs_end),
    ),
    _family(
        GAUGE,
        "cert_generation",
        "pool",
        CERTIFICATES,
        "generation",
        "How often reloads have brought other certificates or TLS settings for this server, and one; absent"
        " without TLS.",
        lambda server: _of_tls(server, lambda tls: tls.generation),
    ),
    _family(
        GAUGE,
        "connections_on_old_generation",
        "server",
        CERTIFICATES,
        "connections on older ones",
        "Connections that still stand on certificates of an earlier generation, until their request ends;"
        " absent without TLS.",
        lambda server: _of_tls(server, lambda tls: tls.on_older),
    ),
)
