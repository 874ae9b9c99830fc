"""Defines what operators see of a running proxy: plain data, of one moment.

`reading` makes it from the living objects; page, CSV, metrics and console are made from it alone. It consists of
numbers, texts, and tuples and dicts of these, so it can be kept, compared, sent to another process and added up there.
Names are those of the objects that the values come from. Times are seconds by the proxy's clock, as `ProxyView.at`;
ends of certificates are Unix time.

Those of which there is one for each server are named tuples: they are made in a third of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from attrs import Factory, frozen

from reusedproxy.backends.checks.results import Result
from reusedproxy.backends.server import DOWN, DRAIN, MAINT, NOLB, READY, UP
from reusedproxy.config.model.checks import Agent
from reusedproxy.config.model.proxies import Check
from reusedproxy.config.model.values import Place
from reusedproxy.measures.histogram import Histogram
from reusedproxy.measures.last_errors import LastError
from reusedproxy.measures.times import Means
from reusedproxy.operators.view.history import Sample


@frozen
class Rate:
    """Holds events per second: `now` those of this second and a part of those of the one before, as in HAProxy; `most`
    the highest so far of a second, this one included. 0 where nobody measures."""

    now: int = 0
    most: int = 0


@frozen
class Errors:
    """Counts invalid messages of one frontend or server, and holds the last one."""

    count: int
    last: LastError | None


class TimesView(NamedTuple):
    """Shows the times of requests at one server or backend: averages of the last ones, and the most, in seconds."""

    means: Means = Means()
    most: Means = Means()


NO_TIMES = TimesView()


@frozen
class CertificateView:
    """Describes a certificate that a listener shows: its file, its names, and its end (Unix time)."""

    file: str
    names: tuple[str, ...]
    ends: float


@frozen
class ListenersView:
    """Describes TLS listeners that show the same certificates, as those of a range of ports do."""

    addresses: tuple[str, ...]
    certificates: tuple[CertificateView, ...]


@frozen
class HandshakesView:
    """Counts TLS handshakes of a frontend's clients; `listeners` are those that they came to."""

    completed: int
    resumed: int
    failed: int
    under_way: int
    listeners: tuple[ListenersView, ...]


class TrafficCounts(NamedTuple):
    """Holds what one frontend, backend or server has carried, as `measures.traffic.Traffic` explains it."""

    scur: int = 0
    smax: int = 0
    stot: int = 0
    req_tot: int = 0
    bin: int = 0
    bout: int = 0
    dreq: int = 0
    dresp: int = 0
    eint: int = 0
    ereq: int = 0
    intercepted: int = 0
    comp_in: int = 0
    comp_out: int = 0
    comp_rsp: int = 0
    econ: int = 0
    eresp: int = 0
    wretr: int = 0
    wredis: int = 0
    cli_abrt: int = 0
    srv_abrt: int = 0
    hrsp: tuple[int, ...] = (0, 0, 0, 0, 0, 0)


@frozen
class BindView:
    """Shows a listener that has counters of its own (`option socket-stats`). `name` is that of its line, or "sock-" and
    its number; `status` one of HAProxy's words, and so is `protocol`, "tcpv4" say; `maxconn` 0: no limit. Of its TLS
    handshakes, `completed` include the `resumed` ones."""

    name: str
    address: str
    number: int
    status: str
    connections: int
    maxconn: int
    traffic: TrafficCounts
    denied: int
    protocol: str
    completed: int
    resumed: int
    failed: int


@frozen
class FrontendView:
    """Shows a frontend, or the frontend of a `listen` section. `tls` is None without a TLS listener."""

    name: str
    place: Place
    stopped: bool
    #: Client connections now, at most, in all, and allowed.
    connections: int
    connections_max: int
    connections_total: int
    #: Requests that are under way.
    requests_open: int
    maxconn: int
    #: Clients that may come in a second; 0: any number.
    session_rate: int
    #: Connections that `tcp-request connection` has refused.
    denied: int
    denied_sessions: int
    traffic: TrafficCounts
    sessions: Rate
    requests: Rate
    invalid: Errors
    tls: HandshakesView | None
    #: "http" or "tcp".
    mode: str = "http"
    #: Its listeners, where each has counters of its own.
    sockets: tuple[BindView, ...] = ()
    #: What the configuration says that it is, and the section's number.
    description: str = ""
    id: int = 0
    #: An operator has had it accept nobody for now, or for good.
    paused: bool = False
    shut: bool = False


@frozen
class CheckView:
    """Shows the health checks of a server. `health` is HAProxy's counter, from 0 to rise + fall - 1; UP from `rise`
    on."""

    rise: int
    fall: int
    health: int
    failures: int
    last: Result
    #: How often requests have failed too often in a row; None without `observe`.
    observed: int | None = None


@frozen
class AgentView:
    """Shows what a server's agent said last, and whether that it is down; `health` is 1, or 0 where it is down."""

    health: int
    last: Result

    @property
    def down(self) -> bool:
        return not self.health


@frozen
class IdleLimit:
    """Holds the time, in seconds, after which a server closes an idle connection; `source` says how it is known."""

    seconds: float
    source: str


class PoolCounts(NamedTuple):
    """Holds counters of a pool since the start, as `pool.counters.Counters` explains them."""

    dials: int
    dials_for_requests: int
    dials_failed: int
    handshakes: int
    handshakes_on_request_path: int
    waits_queued: int
    waits_failed: int
    requests: int
    reuses: int
    races_repeated: int
    races_lost: int
    pings: int
    pings_failed: int
    donated: int
    overdue: int


@frozen
class PoolTLS:
    """Shows TLS towards a server.

    `crt` is the file of our certificate, None without one. `theirs_end` is the earliest end of the certificates that
    the server has shown last, one for each of its names. `on_older` counts connections that stand on certificates or
    settings of an earlier generation.
    """

    crt: str | None
    ours_end: float | None
    theirs_end: float | None
    generation: int
    on_older: int
    #: Complete handshakes, those of them that resumed a session, and those that failed.
    handshakes: int = 0
    resumed: int = 0
    failed: int = 0


#: What a histogram had counted: its bounds, its counts and its sum. The garbage collector looks at tuples of numbers
#: twice only. With an object for each, 1,000 servers made 42,000 that it looks at each time, now 11,000.
Counted = tuple[tuple[float, ...], tuple[int, ...], float]


@frozen
class PoolMeasures:
    """Holds what is counted of a pool besides `PoolCounts`: by cause, result or reason, and as histograms.

    It costs more to read than all the rest, so views have it only where it was asked for. `tokens` are the dials that
    the rate for the floor allows at this moment, `backoff` the seconds between two dials.
    """

    tokens: float
    backoff: float
    connects: dict[tuple[str, ...], int]
    tls_handshakes: dict[tuple[str, bool, bool], int]
    closed: dict[tuple[str, str], int]
    races: dict[tuple[str, str], int]
    retries: dict[tuple[str, ...], int]
    acquired: dict[str, Counted]
    connect_seconds: Counted
    handshake_seconds: dict[bool, Counted]
    ages: Counted
    carried: Counted
    idle_at_borrow: Counted
    idle_at_peer_close: Counted
    warm_up: Counted


#: The share of requests for which a floor is advised.
SHARE = 0.999


@frozen
class DemandView:
    """Shows what the last hour's requests have asked of a pool (see `pool.learning.depth`).

    `enough` is the smallest floor that would have met `SHARE` of the `requests`, `met` the share that the present one
    meets for sure; both None without requests. `deepest` is the most that were taken in a moment. `most` is the most
    that the floor rises to; None: it is fixed. `bears` is how many connections the server has shown to bear; None: no
    limit has shown. `hold` and `dial` are the seconds for which requests hold connections and that dials take; 0: not
    known.
    """

    requests: int
    enough: int | None
    met: float | None
    deepest: int
    most: int | None
    bears: int | None
    hold: float
    dial: float


@frozen
class ColdView:
    """Shows the last request that found no connection, `ago` seconds ago, as `pool.cold.Cold` explains it."""

    ago: float
    kind: int
    depth: int
    floor: int
    filling: bool
    idle: int
    in_use: int
    connecting: int
    named: bool
    full: bool
    trouble: str
    lone: bool
    result: str
    took: float
    drained: bool = False
    after: str = ""


@frozen
class NodesView:
    """Shows the nodes behind a server's address (`pool-spread`), told apart `by` the certificate or a header: `counts`
    are the connections at each, `unknown` those of which it is not known. `state` is that of `pool.spread.Spread`,
    `dials` how often a connection was dialled anew for it."""

    by: str
    counts: tuple[tuple[str, int], ...]
    unknown: int
    state: str
    dials: int


@frozen
class NameView:
    """Shows the pool of one name or identity of a server. `requests` counts how often one got a connection of it,
    `opened` the connections."""

    name: str
    floor: int
    idle: int
    in_use: int
    connecting: int
    waiting: int
    requests: int
    opened: int
    trouble: str


class OrderView(NamedTuple):
    """Shows what an operator has ordered of a pool, `ago` seconds ago: `state` is "drained" or "rewarming"
    (`pool.ordered`). `floor` is the one that is kept when no order says otherwise; `idle` and `in_use` count the
    connections of before that are left, `opened` those that are new."""

    state: str
    ago: float
    floor: int
    idle: int
    in_use: int
    opened: int


class PoolView(NamedTuple):
    """Shows the connections of a server, of all its names together, and what the pool has learnt of it.

    `state` is "running", "suspended" or "closed". `idle` includes `suspect`, which are given to nobody for now;
    `safe` of the idle ones have carried a request. `max_conn` is `pool-max-conn`, `most_idle` what follows from it and
    from other limits; each is None without a limit. `troubles` say why the last dial has failed: of each name for
    which it has. `closed` counts ends of connections by their reason. `measures` is None where it was not asked for.
    `floor_min` is the least that the floor falls to. `demand` is None where there can be no floor. `names` counts the
    names and identities that have connections of their own, besides the one that is known beforehand, and `refusals`
    the requests that said none that there is.
    """

    state: str
    floor: int
    floor_min: int
    demand: DemandView | None
    max_conn: int | None
    most_idle: int | None
    below_floor: bool
    below_floor_seconds: float
    idle: int
    safe: int
    suspect: int
    in_use: int
    connecting: int
    retiring: int
    private: int
    watched: int
    waiting: int
    counts: PoolCounts
    closed: dict[str, int]
    #: Of connections that have carried requests, and of those that have carried none; None while unknown.
    used: IdleLimit | None
    unused: IdleLimit | None
    troubles: tuple[str, ...]
    names: int
    refusals: int
    invalid: Errors
    tls: PoolTLS | None
    measures: PoolMeasures | None = None
    #: The last request that found no connection; None: there was none.
    cold: ColdView | None = None
    #: The connections that have ended under a request in the last hour, by their reasons, the most frequent first.
    losses: tuple[tuple[str, int], ...] = ()
    #: The nodes that it is spread over; None: it is not.
    nodes: NodesView | None = None
    #: The order that is in force; None: there is none.
    order: OrderView | None = None

    @property
    def usual_floor(self) -> int:
        """Returns the floor that is called for, whatever is ordered."""
        return self.floor if self.order is None else self.order.floor


class ServerView(NamedTuple):
    """Shows a `server` line. `full_name` is "backend/server"; `check` is None without health checks, or where an
    operator has stopped them; so is `agent`."""

    name: str
    full_name: str
    place: Place
    state: str
    admin: str
    #: False: its name cannot be resolved.
    addressed: bool
    #: The name that its address belongs to, of its SRV record if it has one; and whether it was ordered.
    host: str
    renamed: bool
    weight: int
    #: How much of its weight counts, of 16, by `slowstart` and by its floor; and its number (`id`).
    throttle: int
    id: int
    backup: bool
    #: Requests that it has been given and that have not ended.
    served: int
    #: `maxconn` and `maxqueue` of its line, or as was ordered; 0: none.
    maxconn: int
    maxqueue: int
    queue: int
    queue_max: int
    #: When it was last given a request, 0: never.
    last_placed: float
    changed_at: float
    #: Seconds that it has been DOWN before its present state, and how often.
    downtime: float
    downs: int
    traffic: TrafficCounts
    sessions: Rate
    check: CheckView | None
    pool: PoolView
    #: The server whose state it has ("backend/server"), "" for none; and what that one's operator has ordered.
    tracked: str = ""
    inherited: str = READY
    #: What its agent has said; None without one.
    agent: AgentView | None = None
    #: Where it is reached, "" if its name has no address; and its value of the backend's cookie, "" for none.
    address: str = ""
    cookie: str = ""
    times: TimesView = NO_TIMES
    #: Tells that it has come up, and its floor does not stand yet; the floor while it stands by for others (None: it
    #: never does), and whether it does now.
    warming: bool = False
    #: It was added while the proxy runs, and has never been in service.
    new: bool = False
    standby: int | None = None
    stands_by: bool = False
    #: What its checks and its agent go by, with what was ordered of them; None: its line has none.
    checked_as: Check | None = None
    asked_as: Agent | None = None
    #: What counts of its `maxconn` now (`minconn`, `slowstart`), 0: there is no bound.
    bound: int = 0

    @property
    def maintained_by_tracked(self) -> bool:
        """Tells whether it is in MAINT for the sake of the server that it tracks."""
        return self.inherited == MAINT != self.admin

    @property
    def usable(self) -> bool:
        """Tells whether it may be chosen for any request."""
        return self.state == UP

    @property
    def serving(self) -> bool:
        """Tells whether it may be given requests that are bound to it."""
        return self.state in (UP, DRAIN, NOLB)

    def down_for(self, now: float) -> float:
        """Returns the seconds that it has been DOWN in all, up to `now`."""
        return self.downtime + (now - self.changed_at if self.state == DOWN else 0.0)


@frozen
class HedgingView:
    """Shows requests of a backend that were sent twice (`hedge`): how many `requests` there were, how many were
    `started` a second time, how those that have ended were answered, and why late ones were not sent twice. `after`:
    the seconds without an answer after which they are late; None: that is not known yet."""

    requests: int
    started: int
    results: dict[str, int]
    withheld: dict[str, int]
    after: float | None


@frozen
class BackendView:
    """Shows a backend, or the backend of a `listen` section. `down`: it has servers, and none of them is usable."""

    name: str
    place: Place
    servers: tuple[ServerView, ...]
    down: bool
    queue: int
    queue_max: int
    changed_at: float
    downtime: float
    downs: int
    traffic: TrafficCounts
    sessions: Rate
    #: "http" or "tcp".
    mode: str = "http"
    #: The option that ends each connection to its servers with its first answer; "" without one.
    ends_each: str = ""
    #: How it chooses among its servers, and the name of its persistence cookie, "" for none.
    algorithm: str = ""
    cookie: str = ""
    #: All usable backup servers are used together, where no other is usable; otherwise the first of them.
    allbackups: bool = False
    times: TimesView = NO_TIMES
    #: Requests at which servers with a `minconn` reach their `maxconn`.
    fullconn: int = 0
    #: Answers of the last ten seconds with a status of 5xx.
    errors_lately: int = 0
    #: How long its servers took to answer, in seconds; None where nobody measures.
    answer_times: Histogram | None = None
    #: What the configuration says that it is, and the section's number.
    description: str = ""
    id: int = 0
    #: None: no request is sent twice.
    hedging: HedgingView | None = None

    @property
    def in_turn(self) -> list[ServerView]:
        """The servers among which requests are distributed now."""
        usable = [server for server in self.servers if server.usable]
        active = [server for server in usable if not server.backup]
        return active or (usable if self.allbackups else usable[:1])

    def down_for(self, now: float) -> float:
        """Returns the seconds without a usable server in all, up to `now`."""
        return self.downtime + (now - self.changed_at if self.down else 0.0)


@frozen
class ListView:
    """Shows a list of revoked certificates that is fetched: its URL, how often by what came of it, when the server had
    one that counts last, and until when that counts (Unix time; None before the first). `failing` tells that the newest
    fetch has failed."""

    url: str
    counts: Mapping[str, int]
    last: float | None
    until: float | None
    failing: bool = False


@frozen
class ProxyView:
    """Shows a running proxy at the time `at`, which has run for `uptime` seconds; reloads do not end that."""

    at: float
    uptime: float
    #: Client connections now, and allowed.
    clients: int
    maxconn: int
    #: How often the event loop stood still, and for how many seconds at most.
    standstills: int
    longest_standstill: float
    frontends: tuple[FrontendView, ...]
    backends: tuple[BackendView, ...]
    #: What went through in the last minutes, the oldest first; () where nobody measures.
    history: tuple[Sample, ...] = ()
    #: The share of the last second in which the process did not compute; and, of all frontends together, bytes to
    #: clients, TLS handshakes as they begin, and of those that are completed the ones with a new session and the ones
    #: with a resumed session.
    idle: float = 1.0
    bytes_out: Rate = Rate()
    handshakes: Rate = Rate()
    keys: Rate = Rate()
    resumed: Rate = Rate()
    #: Bytes of answers before and after compression.
    compressed_in: Rate = Rate()
    compressed_out: Rate = Rate()
    #: How many clients may come in a second, by the word of the configuration (`maxconnrate`); not there: any number.
    rate_limits: Mapping[str, int] = Factory(dict)
    #: The clients over TLS, with those whose handshake is under way, and how many there may be; 0: as many as clients.
    tls_clients: int = 0
    maxsslconn: int = 0
    #: Where clients come in.
    listeners: int = 0
    #: The lists of revoked certificates that are fetched (`crl-url`).
    lists: tuple[ListView, ...] = ()
    #: Files of TLS that have changed, and were refused.
    refused_files: tuple[str, ...] = ()

    @property
    def servers(self) -> list[ServerView]:
        """The servers of all backends, in the order of the configuration."""
        return [server for backend in self.backends for server in backend.servers]


@frozen
class ConnectionView:
    """Shows a connection to a server. `idle_for` is None while it is not idle; times are in seconds."""

    state: str
    number: int
    age: float
    requests: int
    idle_for: float | None
    #: How long it had been idle when it was last taken for a request, and at most.
    idle_last: float
    idle_longest: float


@frozen
class EndedView:
    """Shows a connection to a server that has ended `ago` seconds ago, by the "server" or the "proxy", and why.

    `tls` is the protocol, "" without; `took` are the seconds until it was open, `age` those that it lived.
    """

    number: int
    ago: float
    by: str
    reason: str
    tls: str
    resumed: bool
    took: float
    age: float
    requests: int
    idle_last: float
    idle_longest: float
