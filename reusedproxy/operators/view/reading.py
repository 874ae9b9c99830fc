"""Reads a running proxy, and returns what operators see of it as plain data (`values`).

This is the only place where statistics, metrics, logs of certificates' ends and console look at living objects. It must
never change them, and must never know how its values are shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from math import inf
from operator import attrgetter
from socket import AF_INET, AF_INET6, AF_UNIX

from attrs import fields

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.checks.agent import AgentChecker
from reusedproxy.backends.checks.checker import Checker
from reusedproxy.backends.checks.observe import Observer
from reusedproxy.backends.hedging import RESULTS, WITHHELD
from reusedproxy.backends.server import FULL_WEIGHT, Server
from reusedproxy.clients.frontend import Frontend
from reusedproxy.measures.histogram import Histogram
from reusedproxy.measures.last_errors import LastErrors
from reusedproxy.measures.times import Means
from reusedproxy.measures.traffic import Traffic
from reusedproxy.net.listener import CLOSED, LISTENING
from reusedproxy.net.slices import Steps, run_through
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.tls.server import Certificates
from reusedproxy.operators.view.present import Present, servers_in
from reusedproxy.operators.view.proxy import Proxy
from reusedproxy.operators.view.rates import Rates
from reusedproxy.operators.view.values import (
    SHARE,
    AgentView,
    BackendView,
    BindView,
    CertificateView,
    CheckView,
    ColdView,
    ConnectionView,
    Counted,
    DemandView,
    EndedView,
    Errors,
    FrontendView,
    HandshakesView,
    HedgingView,
    IdleLimit,
    ListenersView,
    ListView,
    NameView,
    NodesView,
    OrderView,
    PoolCounts,
    PoolMeasures,
    PoolTLS,
    PoolView,
    ProxyView,
    Rate,
    ServerView,
    TimesView,
    TrafficCounts,
)
from reusedproxy.pool.cold import Cold
from reusedproxy.pool.connection import IDLE, IN_USE, PRIVATE, RETIRING, WATCHED, ServerConnection
from reusedproxy.pool.constant import ConstantPool
from reusedproxy.pool.learning.idle_timeout import IdleTimeoutEstimate
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.spread import Spread
from reusedproxy.sessions.course import number_of

#: Fields that are copied one by one; an attrgetter for all of them is one call.
_COLD = attrgetter(*(each.name for each in fields(ColdView) if each.name != "ago"))
_COUNTS = attrgetter(*PoolCounts._fields)
_TRAFFIC = attrgetter(*TrafficCounts._fields)

#: Servers that are read in one step.
AT_ONCE = 10
#: Most kinds of trouble that are shown of one server: each of its names may have its own.
TROUBLES = 20
_NOT_MEASURED = Rate()
_NO_MEANS = Means()
#: Results of dials whose TLS handshake has failed.
_NO_HANDSHAKE = ("tls", "verify")
_STATES = {IDLE: "idle", IN_USE: "in use", PRIVATE: "private", WATCHED: "watched", RETIRING: "retiring"}


class Reader:
    """Reads one proxy. What cannot change while this proxy runs, its listeners' certificates, is read once."""

    def __init__(self, proxy: Proxy, rates: Rates | None = None) -> None:
        """Takes `rates`; without them all rates are 0."""
        self._proxy = proxy
        self._rates = rates
        #: By `id`, for which the proxy keeps them alive.
        self._certificates: dict[int, tuple[CertificateView, ...]] = {}

    def now(self) -> float:
        """Returns the time by the proxy's clock, in seconds."""
        return self._proxy.deadlines.now()

    @property
    def servers(self) -> int:
        """The number of servers."""
        return sum(len(backend.servers) for backend in self._proxy.backends)

    def view(self, *, measures: bool = False, backends: bool = True) -> ProxyView:
        """Returns the whole proxy; with `measures` also those of its pools; without `backends` only what is not of
        servers, which takes no time."""
        return run_through(self.viewing(measures=measures, backends=backends))

    def viewing(self, *, measures: bool = False, backends: bool = True) -> Steps[ProxyView]:
        """Reads the whole proxy as `view` does, in steps of a section, or of `AT_ONCE` servers. Its parts are from
        different moments then, all of them after that which the view names, and the proxy must not be taken apart
        meanwhile."""
        proxy = self._proxy
        now = self.now()
        seen, frontends = list[BackendView](), list[FrontendView]()
        for backend in proxy.backends if backends else ():
            seen.append((yield from self._backend(backend, measures)))
            yield
        for frontend in proxy.frontends:
            frontends.append(self._frontend(frontend))
            yield
        rates = self._rates
        return ProxyView(
            at=now,
            uptime=now - proxy.began,
            clients=proxy.places.taken,
            maxconn=proxy.places.maxconn,
            standstills=proxy.standstills.count,
            longest_standstill=proxy.standstills.longest,
            frontends=tuple(frontends),
            backends=tuple(seen),
            history=() if rates is None else tuple(rates.history.samples),
            idle=1.0 if rates is None else rates.idle,
            bytes_out=_NOT_MEASURED if rates is None else rates.rate(rates.bytes_out),
            handshakes=_NOT_MEASURED if rates is None else rates.rate(rates.handshakes),
            resumed=_NOT_MEASURED if rates is None else rates.rate(rates.resumed),
            keys=_NOT_MEASURED if rates is None else rates.rate(rates.keys),
            compressed_in=_NOT_MEASURED if rates is None else rates.rate(rates.compressed_in),
            compressed_out=_NOT_MEASURED if rates is None else rates.rate(rates.compressed_out),
            rate_limits={word: each.limit for word, each in proxy.places.rates.items()},
            tls_clients=proxy.places.over_tls,
            maxsslconn=proxy.places.maxsslconn,
            listeners=sum(len(each.listeners) for each in proxy.frontends),
            lists=tuple(
                ListView(each.url, {**each.counts}, each.last, each.until, bool(each.trouble))
                for each in proxy.list_fetches.values()
            ),
            refused_files=tuple(proxy.refused_files),
        )

    def _frontend(self, frontend: Frontend) -> FrontendView:
        rates = self._rates
        listeners = frontend.listeners
        before = [each for proxy in self._proxy.before for each in proxy.frontends if each.heir is frontend]
        kin = [frontend, *before]
        return FrontendView(
            name=frontend.name,
            place=frontend.settings.place,
            stopped=bool(listeners) and all(listener.state == CLOSED for listener in listeners),
            paused=bool(listeners) and frontend.disabled,
            shut=frontend.shut,
            connections=frontend.clients,
            connections_max=frontend.connections_max,
            connections_total=frontend.connections_total,
            requests_open=sum(map(_requests_open, kin)),
            maxconn=frontend.maxconn,
            session_rate=frontend.settings.session_rate,
            denied=frontend.denied,
            denied_sessions=frontend.denied_sessions,
            traffic=_traffic(frontend.traffic),
            sessions=self._rate(frontend),
            requests=rates.rate(rates.requests[frontend]) if rates is not None else _NOT_MEASURED,
            invalid=_errors(frontend.invalid),
            tls=self._handshakes(frontend) if frontend.handshakes.certificates else None,
            mode=frontend.settings.mode,
            sockets=tuple(_sockets(frontend)),
            description=frontend.settings.description,
            id=frontend.settings.id,
        )

    def _handshakes(self, frontend: Frontend) -> HandshakesView:
        counted = frontend.handshakes
        addresses: dict[int, list[str]] = {}
        for bind in frontend.settings.binds:
            certificates = counted.certificates.get(bind.address)
            if certificates is not None:
                addresses.setdefault(id(certificates), []).append(str(bind.address))
                if id(certificates) not in self._certificates:
                    self._certificates[id(certificates)] = _certificates(certificates)
        return HandshakesView(
            completed=counted.counts.completed,
            resumed=counted.counts.resumed,
            failed=counted.counts.failed,
            under_way=len(counted.under_way),
            listeners=tuple(ListenersView(tuple(at), self._certificates[key]) for key, at in addresses.items()),
        )

    def _backend(self, backend: Backend, measures: bool) -> Steps[BackendView]:
        checkers = {checker.server: checker for checker in backend.checkers}
        agents = {agent.server: agent for agent in backend.agents}
        servers = []
        for number, each in enumerate(list(backend.servers), 1):
            if backend.named.get(each.name) is not each:
                continue  # it was deleted since the last step
            observer = backend.observers.get(each)
            times = _NO_MEANS if self._rates is None else self._rates.times(each)
            servers.append(
                server_view(each, checkers.get(each), self._rate(each), measures, observer, agents.get(each), times)
            )
            if not number % AT_ONCE:
                yield
        return BackendView(
            name=backend.name,
            place=backend.settings.place,
            servers=tuple(servers),
            down=bool(backend.servers) and not backend.usable,
            queue=len(backend.queue),
            queue_max=backend.queue.most,
            changed_at=backend.changed_at,
            downtime=backend.downtime,
            downs=backend.downs,
            traffic=_traffic(backend.traffic),
            sessions=self._rate(backend),
            errors_lately=0 if self._rates is None else self._rates.errors[backend].risen,
            mode=backend.settings.mode,
            ends_each=backend.settings.ending_option,
            algorithm=backend.settings.balance.algorithm,
            allbackups=backend.settings.allbackups,
            times=self._times_of(backend),
            fullconn=backend.fullconn,
            cookie="" if backend.settings.cookie is None else backend.settings.cookie.name,
            description=backend.settings.description,
            id=backend.settings.id,
            answer_times=None if self._rates is None else _histogram(self._rates.answer_times(backend)),
            hedging=hedging_view(backend),
        )

    def _times_of(self, backend: Backend) -> TimesView:
        means = Means() if self._rates is None else self._rates.times_of_backend(backend)
        most = [_most(server) for server in backend.servers]
        return TimesView(means, Means._make(map(max, zip(*most, strict=True))) if most else Means())

    def _rate(self, of: Frontend | Backend | Server) -> Rate:
        return _NOT_MEASURED if self._rates is None else self._rates.rate(self._rates.sessions[of])


def server_view(
    server: Server,
    checker: Checker | None = None,
    sessions: Rate = _NOT_MEASURED,
    measures: bool = False,
    observer: Observer | None = None,
    agent: AgentChecker | None = None,
    means: Means = _NO_MEANS,
) -> ServerView:
    """Returns one server; with `measures` also those of its pool."""
    settings = server.settings
    return ServerView(
        name=server.name,
        full_name=server.full_name,
        place=settings.place,
        state=server.state,
        admin=server.admin,
        addressed=server.addressed,
        host=server.host,
        renamed=bool(server.ordered_name),
        weight=server.weight,
        throttle=server.share,
        id=server.settings.id,
        backup=server.backup,
        served=server.served,
        maxconn=server.limit,
        maxqueue=settings.maxqueue,
        queue=len(server.queue),
        queue_max=server.queue.most,
        last_placed=server.last_placed,
        changed_at=server.changed_at,
        downtime=server.downtime,
        downs=server.downs,
        traffic=_traffic(server.traffic),
        sessions=sessions,
        check=None if checker is None or checker.paused else _check(checker, observer),
        pool=_pool(server, measures),
        tracked="" if server.tracked is None else server.tracked.full_name,
        inherited=server.inherited,
        agent=None if agent is None or agent.paused else AgentView(agent.judge.health, agent.last),
        address="" if server.target is None else str(server.target),
        cookie="" if server.cookie is None else server.cookie.decode(errors="replace"),
        times=TimesView(means, _most(server)),
        warming=server.warmth < FULL_WEIGHT,
        standby=settings.standby,
        new=settings.added and server.risen_at == -inf,
        bound=server.maxconn,
        stands_by=settings.standby is not None and server.pool.floor == settings.standby,
        checked_as=server.check,
        asked_as=server.agent,
    )


def _requests_open(frontend: Frontend) -> int:
    return sum(getattr(each, "exchange", None) is not None for each in frontend.connections)


def _most(server: Server) -> Means:
    times = server.times
    return Means(times.queue_most, times.connect_most, times.response_most, times.total_most)


def servers_of(present: Present, name: str = "") -> Iterator[tuple[str, int, ServerView]]:
    """Returns the servers of the running proxy, or of one backend of this name, one at a time, each with its backend's
    name and its own number (`id`). Reloads may replace the proxy meanwhile (`view.present`)."""
    at: Backend | None = None
    for backend, server in servers_in(present):
        if name not in ("", backend.name):
            continue
        if backend is not at:
            at = backend
            checkers = {checker.server: checker for checker in backend.checkers}
            agents = {agent.server: agent for agent in backend.agents}
            numbers = {each: number for number, each in enumerate(backend.servers, 1)}
        view = server_view(server, checkers.get(server), agent=agents.get(server))
        yield backend.name, view.id or numbers.get(server, 0), view


def connections(server: Server) -> list[ConnectionView]:
    """Returns the connections that stand to a server, under all its names."""
    now = server.pool.deadlines.now()
    pools = server.pool.family
    lists = [(each.idle, each.in_use, each.private, each.watched, each.retiring) for each in pools]
    return [connection_view(connection, now) for each in lists for some in each for connection in some]


def names_of(server: Server) -> list[NameView]:
    """Returns the pools of a server's names and identities, those that were asked for last at the end."""
    pool = server.pool
    return [] if not isinstance(pool, ConstantPool) else [_name(*each) for each in pool.names.shown()]


def _name(name: str, pool: HTTPConnectionPool, lent: int, opened: int) -> NameView:
    return NameView(
        name=name,
        floor=pool.floor,
        idle=len(pool.idle),
        in_use=len(pool.in_use),
        connecting=len(pool.connecting),
        waiting=len(pool.waiters),
        requests=lent,
        opened=opened,
        trouble=pool.trouble,
    )


def ended(server: Server) -> list[EndedView]:
    """Returns the last connections to a server that have ended, the oldest first."""
    pool = server.pool
    now = pool.deadlines.now()
    names = [each.name for each in fields(EndedView) if each.name != "ago"]
    return [EndedView(ago=now - each.at, **{name: getattr(each, name) for name in names}) for each in pool.ended]


# Parts of a server.


def _pool(server: Server, measures: bool) -> PoolView:
    pool = server.pool
    limits, upkeep, context = pool.limits, pool.upkeep, pool.context
    # One pass over the pools instead of one for each number (measured for 400 servers: 1.6 ms instead of 3.5 ms).
    idle = safe = suspect = in_use = connecting = retiring = private = watched = waiting = 0
    troubles: dict[str, None] = {}
    floor = 0
    for each in pool.family:
        floor += each.floor
        if each.idle:
            idle += len(each.idle)
            safe += sum(connection.safe for connection in each.idle)
            suspect += each.holdings.suspect
        in_use += len(each.in_use)
        connecting += len(each.connecting)
        retiring += len(each.retiring)
        private += len(each.private)
        watched += len(each.watched)
        waiting += len(each.waiters)
        if trouble := each.trouble:
            troubles[trouble] = None
    names = pool.names if isinstance(pool, ConstantPool) else None
    most_idle = limits.most_idle
    return PoolView(
        state=pool.state,
        floor=floor,
        floor_min=limits.min_conn,
        demand=_demand(pool) if pool.knows_name else None,
        max_conn=limits.max_conn,
        most_idle=None if most_idle == inf else int(most_idle),
        below_floor=any(each.below_floor for each in pool.family),
        below_floor_seconds=sum(
            each.upkeep.refill.below_floor_seconds for each in pool.family if each is pool or each.state != "closed"
        ),
        idle=idle,
        safe=safe,
        suspect=suspect,
        in_use=in_use,
        connecting=connecting,
        retiring=retiring,
        private=private,
        watched=watched,
        waiting=waiting,
        counts=PoolCounts._make(_COUNTS(pool.counters)),
        closed=dict(pool.closed),
        used=_idle_limit(upkeep.used),
        unused=_idle_limit(upkeep.unused),
        troubles=tuple(islice(troubles, TROUBLES)),
        names=0 if names is None else len(names.others),
        refusals=0 if names is None else names.refusals,
        invalid=_errors(pool.invalid),
        tls=None if context is None else _pool_tls(server, context),
        measures=_measures(pool) if measures else None,
        cold=None if pool.counters.cold is None else _cold(pool.counters.cold, pool.deadlines.now()),
        losses=tuple(pool.counters.losses.counts(pool.deadlines.now()).most_common()) if pool.carries_requests else (),
        nodes=None if upkeep.spread is None else _nodes(pool, upkeep.spread),
        order=_order(pool),
    )


def _order(pool: HTTPConnectionPool) -> OrderView | None:
    """Reads the order that is in force for any of the server's names; the first of those counts for all."""
    orders = [each.order for each in pool.family if each.order.state]
    if not orders:
        return None
    left = [each.left for each in orders]
    return OrderView(
        orders[0].state,
        pool.deadlines.now() - orders[0].given_at,
        sum(each.usual_floor for each in pool.family),
        sum(idle for idle, _ in left),
        sum(used for _, used in left),
        sum(each.opened for each in orders),
    )


def _nodes(pool: HTTPConnectionPool, spread: Spread) -> NodesView:
    counts = spread.nodes.counts(pool.deadlines.now())
    unknown = max(0, len(pool.idle) + len(pool.in_use) - len(spread.nodes))
    return NodesView(spread.by, tuple(counts.items()), unknown, spread.state, spread.dials)


def _cold(cold: Cold, now: float) -> ColdView:
    return ColdView(now - cold.at, *_COLD(cold))


def _demand(pool: HTTPConnectionPool) -> DemandView:
    depths, following, patience = pool.depths, pool.upkeep.following, pool.patience
    depths.settle(pool.deadlines.now())
    return DemandView(
        requests=depths.requests,
        enough=depths.floor_for(SHARE),
        met=depths.met_by(pool.usual_floor),
        deepest=depths.deepest,
        most=None if following is None else following.most,
        bears=None if following is None or following.ceiling == inf else int(following.ceiling),
        hold=patience.hold,
        dial=patience.dial,
    )


def _pool_tls(server: Server, context: ClientContext) -> PoolTLS:
    counters = server.pool.counters
    contexts = [each.context for each in server.pool.family if each.context is not None]
    ends, ours = [each.theirs_end for each in contexts], [each.ours_end for each in contexts]
    standing = [each for each in server.former if each.state != "closed"]
    older = [each for each in standing if each.context is None or each.context.generation < context.generation]
    return PoolTLS(
        crt=context.settings.crt,
        ours_end=min((end for end in ours if end is not None), default=None),
        theirs_end=min((end for end in ends if end is not None), default=None),
        generation=context.generation,
        on_older=sum(each.standing for each in older),
        handshakes=sum(counters.tls_handshakes.values()),
        resumed=sum(count for (_, resumed, _), count in counters.tls_handshakes.items() if resumed),
        failed=sum(count for (_, result), count in counters.connects.items() if result in _NO_HANDSHAKE),
    )


def _measures(pool: HTTPConnectionPool) -> PoolMeasures:
    counters, governor = pool.counters, pool.upkeep.governor
    return PoolMeasures(
        tokens=governor.tokens,
        backoff=governor.backoff,
        connects=dict(counters.connects),
        tls_handshakes=dict(counters.tls_handshakes),
        closed=dict(counters.closed),
        races=dict(counters.races),
        retries=dict(counters.retries),
        acquired={result: _counted(waits) for result, waits in counters.acquired.items()},
        connect_seconds=_counted(counters.connect_seconds),
        handshake_seconds={resumed: _counted(took) for resumed, took in counters.handshake_seconds.items()},
        ages=_counted(counters.ages),
        carried=_counted(counters.carried),
        idle_at_borrow=_counted(counters.idle_at_borrow),
        idle_at_peer_close=_counted(counters.idle_at_peer_close),
        warm_up=_counted(counters.warm_up),
    )


def _idle_limit(estimate: IdleTimeoutEstimate) -> IdleLimit | None:
    return IdleLimit(estimate.limit, estimate.source) if estimate.source else None


def _check(checker: Checker, observer: Observer | None) -> CheckView:
    settings = checker.settings
    reached = None if observer is None else observer.reached
    return CheckView(settings.rise, settings.fall, checker.health, checker.failures, checker.last, reached)


def connection_view(connection: ServerConnection, now: float) -> ConnectionView:
    """Returns what there is to be seen of one connection to a server."""
    return ConnectionView(
        state=_STATES[connection.state],
        number=connection.number,
        age=now - connection.born,
        requests=connection.requests,
        idle_for=now - connection.idle_since if connection.state == IDLE else None,
        idle_last=connection.idle_last,
        idle_longest=connection.idle_longest,
    )


# Copies of what counts on.


def _sockets(frontend: Frontend) -> Iterator[BindView]:
    for listener in frontend.listeners:
        if listener.traffic is not None:
            number = number_of(listener, frontend.listeners)
            yield BindView(
                name=listener.bind.name or f"sock-{number}",
                address=str(listener.bind.address),
                number=number,
                status="FULL" if listener.full else "OPEN" if listener.state == LISTENING else "WAITING",
                connections=listener.connections,
                maxconn=listener.bind.maxconn,
                traffic=_traffic(listener.traffic),
                denied=listener.traffic.denied,
                protocol=_PROTOCOLS.get(listener.socket.family, ""),
                completed=listener.traffic.ssl_sess,
                resumed=listener.traffic.ssl_reused_sess,
                failed=listener.traffic.ssl_failed_handshake,
            )


#: HAProxy's names, by the families of sockets.
_PROTOCOLS = {AF_INET: "tcpv4", AF_INET6: "tcpv6", AF_UNIX: "unix_stream"}


def _traffic(traffic: Traffic) -> TrafficCounts:
    return TrafficCounts._make(_TRAFFIC(traffic))._replace(hrsp=tuple(traffic.hrsp))


def hedging_view(backend: Backend) -> HedgingView | None:
    """Reads what became of a backend's late requests; None without `hedge`."""
    hedging = backend.hedging
    if hedging is None:
        return None
    after = hedging.after
    return HedgingView(
        hedging.requests,
        hedging.started,
        {result: hedging.results[result] for result in RESULTS},
        {why: hedging.withheld[why] for why in WITHHELD},
        None if after == inf else after,
    )


def _counted(histogram: Histogram) -> Counted:
    return histogram.bounds, (*histogram.counts,), histogram.sum


def _histogram(histogram: Histogram) -> Histogram:
    return Histogram(histogram.bounds, histogram.counts[:], histogram.sum)


def _errors(invalid: LastErrors) -> Errors:
    return Errors(invalid.count, invalid.last)


def _certificates(certificates: Certificates) -> tuple[CertificateView, ...]:
    return tuple(
        CertificateView(each.crt, tuple(dict.fromkeys(each.names)), each.leaf.not_valid_after_utc.timestamp())
        for each in certificates.contexts
    )
