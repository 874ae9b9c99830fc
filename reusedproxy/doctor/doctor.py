"""Examines the servers of a proxy that serves nobody, a few at a time, and says what it has found.

The proxy is built as the daemon's is, so that connections are made by the same objects: addresses, TLS contexts, names,
PROXY headers. Nothing of it is started: no floor is opened, no check runs, nobody listens. Must never know clients or
frontends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from time import time

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredLock, DeferredSemaphore
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import Server
from reusedproxy.build.assembly import Proxy
from reusedproxy.build.servers.announcing import announces_itself
from reusedproxy.build.servers.connections import constant_name, follows_client
from reusedproxy.config import model
from reusedproxy.config.language.report import did_you_mean, nearest
from reusedproxy.doctor.addresses import Addresses
from reusedproxy.doctor.examination import Bounds, Examination, Subject, most_connections
from reusedproxy.doctor.judge import TROUBLE, Line, findings_of
from reusedproxy.doctor.machine import findings_of_machine
from reusedproxy.doctor.observations import Observed
from reusedproxy.doctor.report import Chapter
from reusedproxy.net.dial import Dialer, Target
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.tls.files import TLSConfigurationError
from reusedproxy.net.tls.observed import ObservedContext
from reusedproxy.pool.constant import ConstantPool
from reusedproxy.pool.named import Name, NameRefused
from reusedproxy.pool.pool import HTTPConnectionPool

#: Servers that are examined at the same time, but for the wait at the end.
LANES = 8
#: Seconds that name servers have for their first answers, and between two looks.
ANSWERS, TICK = 5.0, 0.1
#: Backends or servers that are named to somebody who has named none that there is.
NAMED = 10
#: Seconds between two words on what is waited for.
SAY_EVERY = 10.0


USUAL_BOUNDS = Bounds()


class UnknownServer(Exception):
    """Reports that the configuration has no such server."""


@frozen
class Orders:
    """Holds what the doctor is asked for. `servers` are backends or backend/server, none: all; `name` is for servers
    whose names depend on requests; `limit` are the seconds after which it ends in any case."""

    servers: Sequence[str] = ()
    bounds: Bounds = USUAL_BOUNDS
    name: str = ""
    limit: float = 70.0


@frozen
class Patient:
    """Holds one server that is to be examined, with its backend. `named`: it was asked for by its name."""

    backend: Backend
    server: Server
    named: bool


class Doctor:
    """Examines servers, once. `state` is "new", "running" or "over"; `finished` tells that all examinations have come
    to their end."""

    def __init__(
        self,
        proxy: Proxy,
        orders: Orders,
        clock: IReactorTime,
        say: Callable[[str], None],
        over: Callable[[], None],
        wall: Callable[[], float] = time,
    ) -> None:
        """Says with `say(text)` what it does and waits for, and calls `over` when it has ended.

        Raises UnknownServer.
        """
        self.state = "new"
        self.finished = False
        #: Errors of our own.
        self.failures: list[Failure] = []
        self._proxy = proxy
        self._orders = orders
        self._clock = clock
        self._say = say
        self._over = over
        self._wall = wall
        self._patients = [*_patients(proxy.backends, orders.servers)]
        self._seen = {each.server: Observed(each.server.full_name) for each in self._patients}
        self._lines: dict[Server, Line] = {each.server: self._line(each, None) for each in self._patients}
        backends = {each.backend.name: each.backend for each in self._patients}.values()
        groups = [group for backend in backends for group in backend.groups]
        self._addresses = Addresses(groups, clock, proxy.departed)
        self._lanes = DeferredSemaphore(LANES)
        self._alone: dict[str, DeferredLock] = {}
        #: The whole run, and each of its examinations.
        self._running: Deferred[None] | None = None
        self._each: list[Deferred[None]] = []
        self._examinations: list[Examination] = []
        self._calls: list[IDelayedCall] = []
        self._began = 0.0

    @property
    def chapters(self) -> list[Chapter]:
        """Returns what was found so far, of each server and of this machine."""
        found = []
        for each in self._patients:
            seen = self._seen[each.server]
            where = seen.address or each.server.settings.host
            findings = findings_of(seen, self._lines[each.server], self._wall())
            found.append(Chapter(seen.name, where, findings, seen.facts))
        return [*found, Chapter("", "", [*findings_of_machine(self._proxy)])]

    @property
    def status(self) -> int:
        """Returns the exit status: 0 all is well, 1 there is trouble, 2 it did not come to its end."""
        if self.failures:
            return 2
        if any(each.verdict == TROUBLE for each in self.chapters):
            return 1
        return 0 if self.finished else 2

    def start(self) -> None:
        self.state = "running"
        self._began = self._clock.seconds()
        self._proxy.poller.start()
        self._announce()
        self._calls.append(self._clock.callLater(self._orders.limit, self._too_late))
        self._say_later()
        self._running = run = Deferred.fromCoroutine(self._run())
        run.addErrback(self._failed)
        run.addCallback(self._ended)

    def stop(self) -> None:
        """Ends all examinations; what they have seen so far stays. Leaves no timer and no connection."""
        if self.state != "running":
            return
        self.state = "over"
        for running in (*self._each, self._running):
            if running is not None:
                running.cancel()
        for call in self._calls:
            if call.active():
                call.cancel()
        for examination in self._examinations:
            examination.close()
        self._addresses.stop()
        self._proxy.names.stop()
        self._proxy.departed.stop()
        self._proxy.deadlines.stop()
        self._proxy.poller.stop()

    # The run.

    async def _run(self) -> None:
        self._addresses.start()
        until = self._clock.seconds() + ANSWERS
        while not self._addresses.settled and self._clock.seconds() < until:
            await self._pause(TICK)
        for patient in self._patients:
            one = Deferred.fromCoroutine(self._examine(patient))
            one.addErrback(self._failed)
            self._each.append(one)
        await DeferredList(self._each)

    async def _examine(self, patient: Patient) -> None:
        seen = self._seen[patient.server]
        subject = self._subject(patient, seen)
        if subject is None:
            seen.complete = True
            return
        floor = patient.server.settings.pool.min_conn
        examination = Examination(subject, seen, floor, self._orders.bounds, self._clock)
        self._examinations.append(examination)
        # One server with several lines is examined for one at a time: it may have few workers.
        alone = self._alone.setdefault(seen.address, DeferredLock())
        await alone.acquire()
        try:
            await self._lanes.acquire()
            try:
                used, unused = await examination.look()
            finally:
                self._lanes.release()
        finally:
            alone.release()
        await examination.watch(used, unused)
        seen.complete = True
        examination.close()

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self.failures.append(failure)

    def _ended(self, _: object) -> None:
        if self.state == "running":
            self.finished = not self.failures
            self.stop()
            self._over()

    def _too_late(self) -> None:
        self._say(f"ends after {self._orders.limit:g} s with what was found (--time-limit)")
        self.stop()
        self._over()

    def _pause(self, seconds: float) -> Deferred[None]:
        passed: Deferred[None] = Deferred(lambda _: call.cancel())
        call = self._clock.callLater(seconds, passed.callback, None)
        return passed

    # Words for who waits.

    def _announce(self) -> None:
        bounds = self._orders.bounds
        most = []
        for each in self._patients:
            if not self._skipped(each):
                subject = self._described(each, each.server.pool.dialer)
                most.append(most_connections(subject, bounds, each.server.settings.pool.min_conn))
        servers = "1 server" if len(most) == 1 else f"{len(most)} servers"
        watched = f"watches idle ones for {bounds.idle:g} s" if bounds.idle else "watches no idle ones (--idle 0)"
        self._say(
            f"examines {servers}: opens {max(most, default=0)} connections to one at most, {sum(most)} in all; asks for"
            f" the check's URI or /, by GET, HEAD and OPTIONS; {watched}; ends after {self._orders.limit:g} s at the"
            " latest"
        )

    def _say_later(self) -> None:
        self._calls.append(self._clock.callLater(SAY_EVERY, self._say_on))

    def _say_on(self) -> None:
        left = sum(not each.complete for each in self._seen.values())
        self._say(f"{self._clock.seconds() - self._began:.0f} s: {left} of {len(self._seen)} servers are not done yet")
        self._say_later()

    # What is examined.

    def _skipped(self, patient: Patient) -> str:
        """Returns why a server is not dialled, "" if it is."""
        server, orders = patient.server, self._orders
        settings, context = server.settings, server.pool.context
        if settings.disabled and not patient.named:
            return f"is 'disabled' in the file, so it was not dialled; name it to have it examined: {server.full_name}"
        if follows_client(settings):
            return "is where each client has connected to, so there is nothing to dial without one"
        if context is not None and context.settings.by_request and not _listed(server.pool):
            said = " and ".join(f"'{word}'" for word in context.settings.by_request)
            return f"its identity depends on requests ({said}): name one in a file of 'pool-identities'"
        unnamed = settings.sni is not None and not settings.known_name
        if unnamed and not orders.name and context is not None and context.refuses_nameless:
            said = f"'sni {settings.sni}'"
            return f"its connections have names that depend on requests ({said}): say one with --name NAME"
        return ""

    def _subject(self, patient: Patient, seen: Observed) -> Subject | None:
        """Returns what is examined; None where the server cannot be dialled, which is noted."""
        seen.skipped = self._skipped(patient)
        if seen.skipped:
            return None
        target, cause = self._addresses.of(patient.server)
        if target is None and self._addresses.is_spare(patient.server):
            seen.skipped = f"is a spare place: {patient.server.settings.host} has fewer addresses than servers here"
            return None
        if target is None:
            seen.unaddressed = cause
            return None
        seen.address = str(target)
        try:
            dialer = self._dialer(patient, target)
        except TLSConfigurationError as error:
            seen.unaddressed = str(error)
            return None
        context = dialer.context
        self._lines[patient.server] = self._line(patient, context if isinstance(context, ObservedContext) else None)
        return self._described(patient, dialer)

    def _dialer(self, patient: Patient, target: Target) -> Dialer:
        """Returns what opens connections as the server's pool does, and keeps what handshakes show."""
        usual, settings = patient.server.pool.dialer, patient.server.settings
        listed = _first_listed(patient.server.pool)
        if listed is not None:
            usual = listed
        context: ClientContext | None = usual.context
        if context is not None:
            if self._orders.name and settings.sni is not None:
                context = context.named(self._orders.name)
            context = ObservedContext(context, self._proxy.trusts)
        preface = announces_itself(settings.send_proxy, settings.proxy_options)
        return Dialer(
            *(usual.poller, usual.deadlines, target, context, usual.timeout, usual.last, preface),
            reach=usual.reach,
            options=usual.options,
        )

    def _described(self, patient: Patient, dialer: Dialer) -> Subject:
        pool, settings = patient.server.pool, patient.server.settings
        named = settings.host if settings.kind == "tcp" else ""
        own = self._orders.name if settings.sni is not None else ""
        return Subject(
            patient.server.full_name,
            dialer,
            pool.connections,
            pool.wire_limits,
            pool.carries_requests,
            _check(patient.backend.settings),
            own or constant_name(settings) or named or "localhost",
            settings.pool.spread.header if settings.pool.spread is not None else "",
        )

    def _line(self, patient: Patient, context: ObservedContext | None) -> Line:
        settings = patient.server.settings
        rates = (settings.pool.connect_rate, self._proxy.configuration.global_.pool_connect_rate)
        rate = min(float(each) for each in rates if each is not None)
        backend = patient.backend.settings
        return Line(settings, context, _check(backend), rate, backend.ending_option)


def _listed(pool: HTTPConnectionPool) -> list[Name]:
    return [name for name, _ in pool.names.listed.values()] if isinstance(pool, ConstantPool) else []


def _first_listed(pool: HTTPConnectionPool) -> Dialer | None:
    """Returns the dialer of the first identity that the server's line lists; None where it lists none. Raises
    TLSConfigurationError."""
    names = _listed(pool)
    if not names:
        return None
    assert isinstance(pool, ConstantPool)
    try:
        return pool.names.dialer_for(names[0])
    except NameRefused as refused:
        raise TLSConfigurationError(str(refused)) from None


def _check(backend: model.Backend) -> model.HTTPCheck | None:
    """Returns the request of a backend's checks, with what it expects where that is a status."""
    if backend.check_plan is None:
        return backend.http_check
    first = backend.check_plan.first_request
    return None if first is None else evolve(first, expect=((100, 499),), expect_not=False)


def _hint(name: str, known: Iterable[str]) -> str:
    """Returns the end of the message that nothing is called `name`: the nearest name, or else those of the servers of
    its backend, or of the backends."""
    backend, _, server = name.partition("/")
    servers = [each for each in known if each.startswith(f"{backend}/")]
    names = [each.partition("/")[2] for each in servers]
    meant = names[0] if len(names) == 1 else nearest(server, names)
    if hint := did_you_mean(f"{backend}/{meant}", servers) if meant else did_you_mean(name, () if servers else known):
        return hint
    found = sorted(servers or (each for each in known if "/" not in each))
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"; there are {', '.join(found[:NAMED])}{more}" if found else "; the configuration has none"


def _patients(backends: Sequence[Backend], wanted: Sequence[str]) -> Iterator[Patient]:
    """Returns the servers that are asked for, each once, in the order of the file. Raises UnknownServer."""
    all_servers = [(backend, server) for backend in backends for server in backend.servers]
    known = {backend.name for backend in backends} | {server.full_name for _, server in all_servers}
    for name in wanted:
        if name not in known:
            raise UnknownServer(f"no backend or server '{name}'{_hint(name, known)}")
    for backend, server in all_servers:
        if not wanted or backend.name in wanted or server.full_name in wanted:
            yield Patient(backend, server, server.full_name in wanted)
