"""Stand-ins for what touches the network, driven by hand: dials that a test answers, transports that record.

They keep the promises of `reusedproxy.net` (an owner hears of its dial later, never within the call; a connection's end
is said once and last), and refuse what the real ones would never do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from types import SimpleNamespace
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.binding import Binding
from reusedproxy.backends.queue import Queue
from reusedproxy.backends.server import Server
from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.config.model.tls import ServerTLS
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.dial import DialFailure
from reusedproxy.net.tls.transport import TLS_FAILED
from reusedproxy.net.tls.words import CertificateRefused
from reusedproxy.net.transport import CLOSED, CLOSING, OPEN, PEER_CLOSED
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.counters import CANCELLED, LOST, OK, PROBE, QUEUED, TIMEOUT, WARM
from reusedproxy.pool.counters import FRESH as NEW
from reusedproxy.pool.counters import REFUSED as NO_CONNECTION
from reusedproxy.pool.kinds import ANY
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.pool.reasons import WORDS
from reusedproxy.wire.heads import Limits

REFUSED = "Connection refused"
LATE_REFUSAL = CertificateRefused(TLS_FAILED + "tlsv1 alert unknown ca")


class FakeTransport:
    """A connected transport without a network: `written` is what went out, `end` how and why it was closed."""

    hung_up = False
    lost = 0
    resumed = False
    full = False
    lined_up = False
    pace = None
    waits_for_pace = False
    #: All that happens, happens at once, in one batch.
    poller = SimpleNamespace(batch=0)

    def __init__(self, secure: bool = False) -> None:
        self.owner: Any = None
        self.secure = secure
        self.version = "TLSv1.3" if secure else ""
        self.state = OPEN
        self.reading = False
        self.written = b""
        self.end: tuple[str, str] | None = None
        #: Bytes that the network does not take; while there are any, `close` waits.
        self.stuck = 0
        #: What its owner has given back, to be delivered again.
        self.held = b""

    # What the owner calls.

    def give_back(self, data: bytes) -> None:
        self.held = data + self.held

    def resume_reading(self) -> None:
        if self.state == OPEN:
            self.reading = True

    def pause_reading(self) -> None:
        self.reading = False

    def write(self, data: bytes) -> None:
        if self.state == OPEN:
            self.written += data

    @property
    def unsent(self) -> int:
        return self.stuck

    def silent(self) -> bool:
        return True

    def send_now(self) -> None:
        """What is stuck stays so."""

    def tell_when_sent(self) -> None:
        """See `take_stuck`."""

    def take_stuck(self) -> None:
        """The network takes all."""
        self.stuck = 0
        self.owner.resume_writing()

    def close(self, reason: str, *, drain: bool = False) -> None:
        if self.state != OPEN:
            return
        self.state = CLOSING
        self.end = ("close", reason)
        if not self.stuck:
            self._lost(reason)

    def abort(self, reason: str) -> None:
        if self.state == CLOSED:
            return
        self.end = ("abort", reason)
        self._lost(reason)

    # What the server does.

    def receive(self, data: bytes) -> None:
        """Bytes come in; only to one that reads."""
        assert self.reading and self.state == OPEN, "nobody reads"
        self.owner.data_received(data)
        while self.held and self.reading and self.state == OPEN:
            data, self.held = self.held, b""
            self.owner.data_received(data)

    def peer_ends(self, reason: str = PEER_CLOSED) -> None:
        """The server ends the connection, cleanly or otherwise."""
        assert self.reading and self.state == OPEN, "nobody reads"
        if reason == PEER_CLOSED:
            self.reading = False
            self.owner.eof_received()
        else:
            self._lost(reason)

    def take_written(self) -> bytes:
        written, self.written = self.written, b""
        return written

    def _lost(self, reason: str) -> None:
        self.state = CLOSED
        self.reading = False
        self.owner.connection_lost(reason)


class FakeDial:
    """One attempt; a test says how it ends."""

    tcp_took = 0.0004
    took = 0.001

    def __init__(self, dialer: FakeDialer, owner: Any) -> None:
        self.dialer = dialer
        self.owner = owner
        self.begun = self.born = dialer.deadlines.now()
        self.cancelled = self.kept = False
        self.call: IDelayedCall | None = None

    def keep(self) -> None:
        self.kept = True

    def cancel(self) -> None:
        self._end()
        self.cancelled = True

    def succeed(self) -> FakeTransport:
        self._end()
        transport = FakeTransport(secure=self.dialer.context is not None)
        self.dialer.transports.append(transport)
        self.owner.dial_ready(self, transport)
        assert transport.owner is not None, "nobody took the transport"
        return transport

    def fail(self, reason: str = REFUSED, phase: str = "TCP connect", **more: Any) -> None:
        self._end()
        self.owner.dial_failed(self, DialFailure(phase, reason, **more))

    def time_out(self, phase: str = "TCP connect") -> None:
        self._end()
        self.owner.dial_failed(self, DialFailure(phase, "", timed_out=True))

    def _end(self) -> None:
        assert self in self.dialer.open, "this dial has ended already"
        self.dialer.open.remove(self)
        if self.call is not None and self.call.active():
            self.call.cancel()


class FakeContext:
    """What a pool asks of a TLS context."""

    settings = ServerTLS(crt="client.pem")
    ours_end = theirs_end = None
    generation = 1

    def meaning(self, reason: str) -> str:
        return f"{reason}: the server refused our client certificate"


class FakeDialer:
    """Opens nothing. `dials` are all attempts, `open` those without an answer yet.

    `answer` is called a little later (`after` seconds) with each dial that is still open; None: by hand.
    """

    def __init__(self, clock: Clock, secure: bool = False, timeout: float | None = None) -> None:
        self.clock = clock
        self.timeout = timeout
        self.deadlines = Deadlines(clock)
        self.context = FakeContext() if secure else None
        self.dials: list[FakeDial] = []
        self.open: list[FakeDial] = []
        self.transports: list[FakeTransport] = []
        self.most_open = 0
        self.after = 0.005
        self._answer: Callable[[FakeDial], None] | None = None
        #: The one for the address to which its server has moved.
        self.moved: FakeDialer | None = None

    def elsewhere(self, target: Any, context: Any) -> FakeDialer:
        self.moved = FakeDialer(self.clock)
        return self.moved

    @property
    def answer(self) -> Callable[[FakeDial], None] | None:
        return self._answer

    @answer.setter
    def answer(self, answer: Callable[[FakeDial], None] | None) -> None:
        waiting = self._answer is None
        self._answer = answer
        if waiting:
            for dial in self.open:
                dial.call = self.clock.callLater(self.after, self._end_dial, dial)

    def dial(self, owner: Any) -> FakeDial:
        dial = FakeDial(self, owner)
        self.dials.append(dial)
        self.open.append(dial)
        self.most_open = max(self.most_open, len(self.open))
        if self.answer is not None:
            dial.call = self.clock.callLater(self.after, self._end_dial, dial)
        return dial

    def _end_dial(self, dial: FakeDial) -> None:
        if self.answer is not None:
            self.answer(dial)

    # Servers, to be given as `answer`.

    def accept(self, dial: FakeDial) -> None:
        dial.succeed()

    def refuse(self, dial: FakeDial) -> None:
        dial.fail()

    def refuse_late(self, dial: FakeDial) -> None:
        """As in TLS 1.3: the handshake is complete, and a moment later the certificate refused."""
        transport = dial.succeed()
        self.clock.callLater(0.01, self._end, transport, LATE_REFUSAL)

    @staticmethod
    def _end(transport: FakeTransport, reason: str) -> None:
        if transport.state == OPEN:
            transport.peer_ends(reason)


class Asker:
    """Who waits for a connection, and what it was told."""

    def __init__(self) -> None:
        self.connections: list[ServerConnection] = []
        self.failures: list[str] = []
        #: Called at the end of a wait, as an exchange goes on then.
        self.then: Callable[..., object] = lambda: None

    @property
    def told(self) -> int:
        return len(self.connections) + len(self.failures)

    def connection_ready(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        self.then()

    def connection_failed(self, failure: DialFailure) -> None:
        self.failures.append(str(failure))
        self.then()

    def pool_replaced(self) -> None:
        raise AssertionError("nothing takes its place here")


class Asks:
    """Who asks for a server: the names of those it was given, and how often it heard that there is none."""

    def __init__(self) -> None:
        self.servers: list[str] = []
        self.refused = 0
        self.queue: Queue[Any, Any] | None = None
        self.srv_queue = self.backend_queue = 0
        self.redispatched = False
        self.binding: Binding | None = None
        self.priority = (0, 0)
        #: Servers at which it could neither wait, nor leave them.
        self.crowded: list[str] = []
        #: Called when it is placed, as an exchange goes on then.
        self.then: Callable[..., object] = lambda: None

    def placed(self, server: Server) -> None:
        self.servers.append(server.name)
        self.then()

    def unplaceable(self) -> None:
        self.refused += 1

    def crowded_out(self, server: Server) -> None:
        self.crowded.append(server.name)

    def go_to(self, backend: Backend) -> None:
        if not backend.choose(self):
            backend.wait(self)


class RecordingExchange:
    """An exchange that writes down what it is told."""

    def __init__(self, method: bytes = b"GET", framed: bool = True) -> None:
        self.method = method
        self.framed = framed
        self.events: list[tuple[Any, ...]] = []
        self.body = b""
        self.expects = False
        #: Statuses that are as good as no answer.
        self.unwanted_statuses: set[int] = set()
        #: A connection that its server authenticates is kept for its client.
        self.bound = True
        #: What to do when the event of this name comes.
        self.on: dict[str, Callable[..., object]] = {}

    @property
    def names(self) -> list[str]:
        return [event[0] for event in self.events]

    def may_repeat(self) -> bool:
        return False

    def response_interim(self, head: Any) -> None:
        self._note("interim", head.status)

    def response_switched(self, head: Any, data: bytes) -> None:
        self._note("switched", head.status, data)

    def unwanted(self, status: int) -> bool:
        return status in self.unwanted_statuses

    def answer_unwanted(self, status: int) -> None:
        self._note("unwanted", status)

    def challenged(self) -> bool:
        self._note("challenged")
        return self.bound

    def response_whole(self, head: Any, body: bytes, now: float) -> None:
        self.body += body
        self._note("whole", head.status, body)

    def response_started(self, head: Any, data: bytes) -> None:
        self.body += data
        self._note("started", head.status)

    def response_data(self, data: bytes) -> None:
        self.body += data
        self._note("data")

    def response_ended(self) -> None:
        self._note("ended")

    def response_early(self, head: Any, body: bytes) -> None:
        self.body += body
        self._note("early", body)

    def request_sent(self) -> None:
        self._note("sent")

    def request_refused(self, whose: str | None) -> None:
        self._note("refused", whose)

    def server_lost(self, whose: str, reason: str, answered: bool) -> None:
        self._note("lost", whose, reason, answered)

    def break_off(self) -> None:
        assert "broken off" in self.on, "a call of this exchange has failed"
        self._note("broken off")

    def pause_request(self) -> None:
        self._note("pause")

    def resume_request(self) -> None:
        self._note("resume")

    def _note(self, name: str, *more: Any) -> None:
        self.events.append((name, *more))
        self.on.get(name, lambda: None)()


def check_sums(pool: HTTPConnectionPool) -> None:
    """What a pool has counted adds up, at every moment, whatever has happened."""
    counters = pool.counters
    connects, closed = counters.connects, sum(counters.closed.values())
    standing = len(pool.idle) + len(pool.in_use) + len(pool.private) + len(pool.watched)
    assert counters.handshakes == standing + closed == sum(n for (_, result), n in connects.items() if result == OK)
    assert closed == sum(pool.closed.values()) == counters.ages.count == counters.carried.count
    assert all(word in WORDS for _, word in counters.closed)
    by_others = sum(n for (cause, _), n in connects.items() if cause == PROBE)
    assert by_others == counters.donated
    assert counters.dials == connects.total() - by_others + len(pool.connecting)
    not_opened = sum(n for (_, result), n in connects.items() if result not in (OK, CANCELLED))
    assert not_opened <= counters.dials_failed  # some are refused when they are opened already
    assert counters.connect_seconds.count <= counters.handshakes + not_opened
    assert counters.tls_handshakes.total() == sum(each.count for each in counters.handshake_seconds.values())

    acquired = {result: each.count for result, each in counters.acquired.items()}
    assert acquired[WARM] == counters.idle_at_borrow.count
    assert acquired[NEW] == counters.handshakes_on_request_path
    assert acquired[QUEUED] == counters.waits_queued
    assert acquired[WARM] + acquired[NEW] + acquired[QUEUED] == counters.requests
    assert acquired[TIMEOUT] + acquired[NO_CONNECTION] >= counters.waits_failed
    assert acquired[NO_CONNECTION] <= counters.waits_failed
    assert counters.races_lost == sum(n for (_, outcome), n in counters.races.items() if outcome == LOST)


class PoolBench:
    """A pool on a clock, with a dialer to answer by hand and a list of what it announced."""

    def __init__(
        self,
        *,
        secure: bool = False,
        seed: int = 1,
        resume: bool = True,
        timeout: float | None = None,
        **limits: Any,
    ) -> None:
        """`timeout` is that of dials, as the pool knows it."""
        self.clock = Clock()
        self.clock.advance(1000)
        self.dialer = FakeDialer(self.clock, secure, timeout)
        self.announced: list[tuple[str, str]] = []
        self.pool = HTTPConnectionPool(
            "Server be/s1",
            self.dialer,  # type: ignore[arg-type]
            PoolLimits(**limits),
            self.clock,
            Random(seed),
            lambda level, text: self.announced.append((level, text)),
            Limits(),
        )
        if resume:
            self.pool.resume()

    def answer_all(self) -> None:
        """Every dial succeeds, also those that begin because others have."""
        while self.dialer.open:
            self.dialer.open[0].succeed()

    def pass_time(self, seconds: float, step: float = 0.02) -> None:
        whole = int(seconds / step)
        self.clock.pump([step] * whole + [seconds - whole * step])

    def use(self, connection: ServerConnection, close: bool = False) -> None:
        """One whole exchange on a borrowed connection."""
        transport: Any = connection.transport
        connection.send(RecordingExchange(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True, None)
        last = b"Connection: close\r\n" if close else b""
        transport.receive(b"HTTP/1.1 204 No Content\r\n" + last + b"\r\n")

    def borrow(self, kind: int = ANY) -> ServerConnection:
        """A connection that the pool has ready."""
        connection = self.pool.acquire(kind)
        assert connection is not None, "no idle connection"
        return connection

    def timers_left(self) -> Sequence[IDelayedCall]:
        """After a close: what still wants the clock, besides deadlines, which their owner stops."""
        self.dialer.deadlines.stop()
        return self.clock.getDelayedCalls()
