"""Measures rates per second, and how long answers take, by reading plain counters once a second, and when
somebody asks, so that counting stays cheap.

Knows frontends, backends and servers by their totals only.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from math import inf

from attrs import Factory, define

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import Server
from reusedproxy.clients.frontend import Frontend
from reusedproxy.measures.frequency import frequency
from reusedproxy.measures.histogram import ANSWERS, Histogram
from reusedproxy.measures.times import Averages, Means, Sums, Times
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.operators.view.history import History
from reusedproxy.operators.view.values import Rate

EVERY = 1.0
#: Looks of which errors are shown by the backend that they come from.
LATELY = 10
_NOTHING = Sums()


@define
class Meter:
    """The rate of one counter: `before` over the second that ended with the last look, `most` the highest so far."""

    read: Callable[[], int]
    before: int = 0
    most: int = 0
    last: int = 0

    def look(self, seconds: float) -> None:
        self.before = self._come(seconds)
        self.last = self.read()
        self.most = max(self.most, self.before)

    def rate(self, seconds: float) -> Rate:
        """Returns the rate so many `seconds` after the last look, as HAProxy has it, and the highest so far, which may
        be what has come since."""
        come = self._come(seconds)
        self.most = max(self.most, come)
        return Rate(frequency(self.before, come, seconds), self.most)

    def _come(self, seconds: float) -> int:
        """Returns as a rate what has come in these `seconds`; of less than a whole second it is what that has at the
        least."""
        return max(0, round((self.read() - self.last) / max(EVERY, seconds)))

    def go_on(self, before: Meter) -> None:
        """Goes on from what `before` has seen of the same counter, whose place this one takes at a reload."""
        self.before, self.most, self.last = before.before, before.most, before.last

    def clear(self) -> None:
        """Forgets the highest rate; the counter may have begun again."""
        self.most, self.last = self.before, min(self.last, self.read())


@define
class Lately:
    """How much one counter has risen in the last seconds (`LATELY` looks)."""

    read: Callable[[], int]
    last: int = 0
    steps: deque[int] = Factory(lambda: deque(maxlen=LATELY))

    def look(self) -> None:
        total = self.read()
        self.steps.append(max(0, total - self.last))
        self.last = total

    @property
    def risen(self) -> int:
        return sum(self.steps)


@define
class ServerTimes:
    """The average times of one server, and the sums up to which they have been made."""

    averages: Averages = Factory(Averages)
    before: Sums = _NOTHING

    def look(self, times: Times) -> Sums:
        """Takes in what was added to the sums, and returns it."""
        if times.count == self.before.number:
            return _NOTHING
        now = Sums.of(times)
        added, self.before = now.since(self.before), now
        if now.number < added.number:
            self.averages.clear()
        self.averages.add(added)
        return added


class Rates:
    """The meters of a proxy: `sessions` of each frontend, backend and server, `requests` of each frontend; of all
    together `bytes_out`, bytes `compressed_in` and `compressed_out`, clients' TLS `handshakes` as they begin, and of
    those that are completed the `keys`, whose session is new, and the `resumed` ones; the `errors` (5xx) of each
    backend; and the `history` of all together, which may be that of the proxy before.

    `idle` is the share of the last second in which the process did not compute.
    """

    def __init__(
        self,
        frontends: Sequence[Frontend],
        backends: Sequence[Backend],
        deadlines: Deadlines,
        history: History | None = None,
        processor_time: Callable[[], float] = time.process_time,
    ) -> None:
        self.history = history or History()
        self.idle = 1.0
        self._processor_time = processor_time
        self._computed = 0.0
        self._answered = [0] * (len(ANSWERS) + 1)
        self._frontends = frontends
        self.sessions: dict[Frontend | Backend | Server, Meter] = {}
        self.requests: dict[Frontend, Meter] = {}
        self.deadline = inf
        self.slot = 0.0
        self._deadlines = deadlines
        self._looked = 0.0
        for frontend in frontends:
            self.sessions[frontend] = Meter(_connections(frontend))
            self.requests[frontend] = Meter(_requests(frontend))
        self._backends = backends
        self.bytes_out = Meter(lambda: sum(each.traffic.bout for each in frontends))
        self.compressed_in = Meter(lambda: sum(each.traffic.comp_in for each in frontends))
        self.compressed_out = Meter(lambda: sum(each.traffic.comp_out for each in frontends))
        self.handshakes = Meter(lambda: sum(each.handshakes.counts.begun for each in frontends))
        self.resumed = Meter(lambda: sum(each.handshakes.counts.resumed for each in frontends))
        self.keys = Meter(
            lambda: sum(each.handshakes.counts.completed - each.handshakes.counts.resumed for each in frontends)
        )
        self._answer_times = {backend: Histogram(ANSWERS) for backend in backends}
        #: What backends count their answers in, those of before a reload, too, whose last requests end.
        self._after: dict[Backend, dict[float, int]] = {backend: defaultdict(int) for backend in backends}
        self._handed_on: set[Backend] = set()
        self._times: dict[Server, ServerTimes] = {}
        self._backend_times: dict[Backend, Averages] = {}
        self.errors: dict[Backend, Lately] = {}
        for backend in backends:
            self.sessions[backend] = Meter(_sessions(backend))
            for server in backend.servers:
                self.add(server)
            self._backend_times[backend] = Averages()
            self.errors[backend] = Lately(_errors(backend))

    def add(self, server: Server) -> None:
        """Measures a server, which may be new."""
        self.sessions[server] = Meter(_sessions(server))
        self._times[server] = ServerTimes()

    def forget(self, server: Server) -> None:
        """Measures a server no more that is gone."""
        del self.sessions[server], self._times[server]

    def succeed(self, before: Rates | None) -> None:
        """Goes on from what a reload's proxy before has measured, and at the totals that the counters have."""
        for meter in self._meters():
            meter.last = meter.read()
        for errors in self.errors.values():
            errors.last = errors.read()
        for server, times in self._times.items():
            times.before = Sums.of(server.times)
        if before is not None:
            self._looked = before._looked
            for mine, theirs in ((self.sessions, before.sessions), (self.requests, before.requests)):
                meters = {_key(each): meter for each, meter in theirs.items()}
                for each, meter in mine.items():
                    if (key := _key(each)) in meters:
                        meter.go_on(meters[key])
            for meter, found in zip(self._of_all(), before._of_all(), strict=True):
                meter.go_on(found)
            kept = {server.full_name: times for server, times in before._times.items()}
            self._times.update({each: kept[each.full_name] for each in self._times if each.full_name in kept})
            averages = {backend.name: each for backend, each in before._backend_times.items()}
            self._backend_times.update({each: averages[each.name] for each in self._backends if each.name in averages})
            failed = {backend.name: each for backend, each in before.errors.items()}
            for backend, errors in self.errors.items():
                if backend.name in failed:
                    errors.steps = failed[backend.name].steps
            answering = {backend.name: backend for backend in before._backends}
            for backend in self._backends:
                previous = answering.get(backend.name)
                if previous is not None:
                    self._answer_times[backend] = before._answer_times[previous]
                    self._after[backend] = before._after[previous]
                    before._handed_on.add(previous)

    def begin_again(self) -> None:
        """Goes on at the totals that the counters have now: another process has counted them."""
        self.succeed(None)
        self.history.begin(*self._totals())

    def start(self) -> None:
        """Begins to measure; the rates of the proxy before must have stopped."""
        if not self._looked:
            self._looked = self._deadlines.now()
            self.history.begin(*self._totals())
        for backend in self._backends:
            backend.answered_after = self._after[backend]
        self._computed = self._processor_time()
        self._deadlines.watch(self, self._looked + EVERY)

    def _look_later(self) -> None:
        self._looked = self._deadlines.now()
        self._deadlines.watch(self, self._looked + EVERY)

    def rate(self, meter: Meter) -> Rate:
        """Returns the rate of a meter at this moment, and the highest so far."""
        return meter.rate(self._deadlines.now() - self._looked)

    def times(self, server: Server) -> Means:
        """Returns the average times of the server's last requests, those of this moment among them."""
        kept = self._times[server]
        return kept.averages.with_(Sums.of(server.times).since(kept.before))

    def times_of_backend(self, backend: Backend) -> Means:
        """Returns the average times of the last requests at all servers of the backend."""
        kept = self._times
        since = [(each.times, kept[each].before) for each in backend.servers]
        added = [Sums.of(times).since(before) for times, before in since if times.count != before.number]
        return self._backend_times[backend].with_(_all(added))

    def answer_times(self, backend: Backend) -> Histogram:
        """Returns how long the backend's servers took to answer, in seconds from a request's head to the answer's."""
        histogram, after = self._answer_times[backend], self._after[backend]
        if after:
            for tenths, count in after.items():
                seconds = (tenths + 0.5) / 10000
                number = bisect_left(ANSWERS, seconds)
                histogram.counts[number] += count
                histogram.sum += seconds * count
                self._answered[number] += count
            after.clear()
        return histogram

    def stop(self) -> None:
        self._deadlines.cancel(self)
        for backend in self._backends:
            if backend not in self._handed_on:
                backend.answered_after = None

    def clear(self) -> None:
        """Forgets the highest rates."""
        for meter in self._meters():
            meter.clear()
        for errors in self.errors.values():
            errors.last = min(errors.last, errors.read())

    def _meters(self) -> Iterable[Meter]:
        return (*self.sessions.values(), *self.requests.values(), *self._of_all())

    def _of_all(self) -> Sequence[Meter]:
        return self.bytes_out, self.compressed_in, self.compressed_out, self.handshakes, self.keys, self.resumed

    def deadline_passed(self) -> None:
        now = self._deadlines.now()
        if now > self._looked:
            for meter in self._meters():
                meter.look(now - self._looked)
            for errors in self.errors.values():
                errors.look()
            for backend, averages in self._backend_times.items():
                averages.add(_all(self._times[server].look(server.times) for server in backend.servers))
                self.answer_times(backend)
            answered = tuple(self._answered) if any(self._answered) else ()
            self._answered = [0] * len(self._answered)
            self.history.note(now - self._looked, *self._totals(), answered)
            computed, self._computed = self._computed, self._processor_time()
            self.idle = max(0.0, 1.0 - (self._computed - computed) / (now - self._looked))
        self._look_later()

    def _totals(self) -> tuple[int, int]:
        """Returns the requests that have ended, and the errors among their answers."""
        requests = errors = 0
        for frontend in self._frontends:
            requests += frontend.traffic.req_tot
            errors += frontend.traffic.hrsp[5]
        return requests, errors


def _key(of: Frontend | Backend | Server) -> tuple[str, str]:
    """Returns what names one of these through reloads."""
    return type(of).__name__, of.full_name if isinstance(of, Server) else of.name


def _all(sums: Iterable[Sums]) -> Sums:
    """Adds up."""
    return Sums._make(map(sum, zip(Sums(), *sums, strict=True)))


def _connections(frontend: Frontend) -> Callable[[], int]:
    return lambda: frontend.connections_total


def _requests(frontend: Frontend) -> Callable[[], int]:
    return lambda: frontend.traffic.req_tot


def _sessions(of: Backend | Server) -> Callable[[], int]:
    return lambda: of.traffic.stot


def _errors(backend: Backend) -> Callable[[], int]:
    return lambda: backend.traffic.hrsp[5]
