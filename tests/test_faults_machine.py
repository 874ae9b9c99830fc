"""Everything at once: several clients and servers, any kind of exchange, any fault, at any moment, in any order.

Each request bears a number, which its server says again in head and body. Whatever happens: a client sees answers to
its own requests only, in order; no server is asked twice for what may not be repeated; an exchange ends once and leaves
nothing behind; and nothing fails by our own fault.
"""

from __future__ import annotations

import os
import unittest
from typing import Any, cast

import h11
from attrs import define, evolve
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from twisted.logger import ILogObserver, globalLogPublisher

from reusedproxy.net.transport import DRAINING, OPEN, PEER_RESET, PEER_TRUNCATED
from tests.clientfakes import TIMEOUTS, Client, FarServer, World
from tests.faultwire import CUT, WHOLE, FaultWire, answers, settle

INDEX = st.integers(0, 1000)
IDEMPOTENT = ("GET", "HEAD", "PUT", "DELETE")
CLIENT_TROUBLES = ["half_close", "vanish", "break_off", "stall", "go_on", "go_on", 1, 7, 20_000, 1 << 18]
POISON = b"HTTP/1.1 200 OK\r\nX-Id: poison\r\nContent-Length: 6\r\n\r\npoison"
OWN_ERRORS = (400, 408, 502, 503, 504)


RETRY_ON = [
    frozenset({"conn-failure"}),
    frozenset({"none"}),
    frozenset({"503"}),
    frozenset({"response-timeout"}),
    frozenset({"conn-failure", "empty-response", "junk-response", "response-timeout", "503"}),
]


@define(eq=False)
class Asked:
    """One request, by its number, and what has come of it."""

    number: int
    method: str
    minor: int
    #: How often any byte of it has come to a server, and whether anything was answered then.
    reached: int = 0
    answered: bool = False

    @property
    def content(self) -> bytes:
        return b"<%d>" % self.number

    def bytes(self, framing: str, size: int, close: bool) -> bytes:
        lines = [f"{self.method} /{self.number} HTTP/1.{self.minor}", "Host: a"]
        if close or not self.minor:
            lines.append("Connection: " + ("close" if close else "keep-alive"))
        body = b""
        if self.number % 4 == 1 and self.method in ("GET", "DELETE"):
            # No server here ever switches, so that what follows is a request.
            lines.append("Upgrade: x")
            if not any(line.startswith("Connection") for line in lines):
                lines.append("Connection: upgrade")
        if self.number % 3 == 1:
            lines.append("Expect: 100-continue")
        if self.method in ("POST", "PUT"):
            body = self.content * size
            if framing == "chunked" and self.minor:
                lines.append("Transfer-Encoding: chunked")
                body = chunks(body)
            else:
                lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body


def chunks(body: bytes) -> bytes:
    """In two of them, with a trailer."""
    half = len(body) // 2
    pieces = [b"%x;a=b\r\n%b\r\n" % (len(piece), piece) for piece in (body[:half], body[half:]) if piece]
    return b"".join(pieces) + b"0\r\nT: 1\r\n\r\n"


class Speaker:
    """A client: what it still has to say, and what it has asked."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.wire: FaultWire = client.wire
        self.asked: list[Asked] = []
        self.unsaid = b""
        #: It goes on reading and was never cut off by itself.
        self.listens = True


class Listener:
    """One connection at a server: reads requests by h11, and answers them."""

    def __init__(self, machine: FaultMachine, wire: FaultWire) -> None:
        self.machine = machine
        self.wire = wire
        self.received = b""
        self.current: Asked | None = None
        self.complete = False
        self.unsaid: bytes | None = None
        self.ends = False
        #: It has answered before it had the whole request, whose rest is to come before anything else.
        self.over = False
        #: It has asked for the body.
        self.continued = False

    def listen(self) -> None:
        self.received += self.wire.take()
        if self.over:
            self.read()
            if not self.complete:
                return
            self.over, self.complete, self.current = False, False, None
        if self.current is None and b"\r\n" in self.received:
            number = int(self.received.split(b" ")[1][1:])
            self.current = self.machine.asked[number]
            answered = self.current.answered and not self.machine.retry_on & {
                "junk-response",
                "response-timeout",
                "503",
            }
            assert not answered, "asked again though it was answered"
            self.current.reached += 1
            allowed = 2 if self.current.method in IDEMPOTENT else 1
            if self.machine.retry_on != {"conn-failure"}:
                allowed += self.machine.retries
            assert self.current.reached <= allowed, f"{self.current} reached servers too often"
        if self.current is not None and not self.complete:
            self.read()
        elif self.current is not None:
            assert not self.received, "more was sent behind a whole request that is not answered"

    def read(self) -> None:
        assert self.current is not None
        reader = h11.Connection(h11.SERVER)
        reader.receive_data(self.received)
        body = b""
        while (event := reader.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.complete = True
                self.received = reader.trailing_data[0]
                assert self.over or not self.received, "two requests at once"
                break
        content = self.current.content
        assert (content * (len(body) // len(content) + 1)).startswith(body), "a body of another request"

    def say(self, size: int) -> None:
        """Some of the answer."""
        self.listen()
        assert self.unsaid is not None and self.current is not None
        data, self.unsaid = self.unsaid[:size], self.unsaid[size:]
        self.current.answered = True
        if not self.unsaid:
            # Said before it is heard: the proxy may ask the next thing at once.
            ends = self.ends
            self.over = not self.complete
            self.unsaid = None
            if self.over:
                # An answer in place of 100: nobody knows whether the body follows.
                ends = ends or (not self.continued and self.waits_for_continue())
            else:
                self.current, self.complete, self.received = None, False, b""
            self.continued = False
            self.wire.doubtful = self.wire.doubtful or ends
            self.wire.feed(data)
            if self.ends:
                self.wire.half_close()
        else:
            self.wire.feed(data)

    def waits_for_continue(self) -> bool:
        """Whether it was asked so, and nothing of the body has come."""
        head, _, body = self.received.partition(b"\r\n\r\n")
        return b"Expect" in head and not body


class FaultMachine(RuleBasedStateMachine):
    """The world, and what may happen in it."""

    @initialize(
        servers=st.integers(1, 2),
        warm=st.integers(0, 2),
        maxconn=st.sampled_from([0, 0, 1, 2]),
        retries=st.sampled_from([0, 1, 3]),
        redispatch=st.booleans(),
        http_reuse=st.sampled_from([None, None, None, "never", "safe", "aggressive", "always"]),
        mode=st.sampled_from(["keep-alive", "keep-alive", "server-close", "close"]),
        floor=st.sampled_from([0, 0, 2]),
        retry_on=st.sampled_from(RETRY_ON),
    )
    def begin(
        self,
        servers: int,
        warm: int,
        maxconn: int,
        retries: int,
        redispatch: bool,
        http_reuse: str | None,
        mode: str,
        floor: int,
        retry_on: frozenset[str],
    ) -> None:
        self.retry_on, self.retries = retry_on, retries
        self.failures: list[Any] = []
        self.observer = cast(ILogObserver, self.observe)
        globalLogPublisher.addObserver(self.observer)
        self.world = World(
            unittest.TestCase(),  # type: ignore[arg-type]
            servers=servers,
            warm=warm,
            maxconn=maxconn,
            wire=FaultWire,
            timeouts=evolve(TIMEOUTS, queue=12.0),
            backend={"retries": retries, "redispatch": redispatch, "http_reuse": http_reuse, "retry_on": retry_on},
            frontend={"connection_mode": mode},
            pool={"min_conn": floor},
        )
        self.asked: list[Asked] = []
        self.speakers: list[Speaker] = []
        self.listeners: dict[int, Listener] = {}

    def observe(self, event: Any) -> None:
        if "log_failure" in event:
            self.failures.append(event["log_failure"])

    # Clients.

    @rule(address=st.integers(1, 9))
    def somebody_comes(self, address: int) -> None:
        self.come(address)

    def alive(self, index: int) -> Speaker:
        """A client that is still there."""
        alive = [each for each in self.speakers if each.wire.state == OPEN and not each.wire.doubtful]
        if not alive:
            self.come(index % 9)
            alive = self.speakers[-1:]
        return alive[index % len(alive)]

    def come(self, address: int) -> None:
        if len(self.world.frontend.connections) < 8:
            self.speakers.append(Speaker(self.world.client((f"192.0.2.{address}", 4711))))

    @rule(
        index=INDEX,
        method=st.sampled_from(["GET", "GET", "HEAD", "PUT", "POST", "DELETE"]),
        minor=st.sampled_from([1, 1, 1, 0]),
        framing=st.sampled_from(["length", "chunked"]),
        size=st.sampled_from([1, 3, 3, 9000]),
        close=st.sampled_from([False, False, False, True]),
        now=st.sampled_from([True, True, True, False]),
    )
    def ask(self, index: int, method: str, minor: int, framing: str, size: int, close: bool, now: bool) -> None:
        speaker = self.alive(index)
        asked = Asked(len(self.asked), method, minor)
        self.asked.append(asked)
        speaker.asked.append(asked)
        speaker.unsaid += asked.bytes(framing, size, close)
        if now:
            self.say(speaker, 10**9)

    @rule(index=INDEX, size=st.sampled_from([1, 5, 20, 60, 20_000, 10**9]))
    def speak(self, index: int, size: int) -> None:
        self.say(self.alive(index), size)

    def say(self, speaker: Speaker, size: int) -> None:
        data, speaker.unsaid = speaker.unsaid[:size], speaker.unsaid[size:]
        if data and speaker.wire.state in (OPEN, DRAINING) and not speaker.wire.doubtful:
            speaker.wire.feed(data)

    @rule(index=INDEX, what=st.sampled_from(CLIENT_TROUBLES))
    def client_trouble(self, index: int, what: str | int) -> None:
        speaker = self.alive(index)
        wire = speaker.wire
        if what in ("half_close", "vanish", "break_off"):
            if wire.state in (OPEN, DRAINING) and not wire.doubtful:
                speaker.listens = speaker.listens and what == "half_close"
                getattr(wire, str(what))()
        elif what in ("stall", "go_on"):
            getattr(wire, str(what))()
        else:
            wire.reads = int(what)
            wire.pass_some(int(what))

    # Servers.

    def far(self, index: int) -> FarServer:
        return self.world.servers[index % len(self.world.servers)]

    def some(self, index: int, fit: Any) -> Listener | None:
        found = [each for each in self.listeners.values() if each.wire.state == OPEN and fit(each)]
        return found[index % len(found)] if found else None

    @rule(index=INDEX, how=st.sampled_from(["connect", "connect", "connect", "refuse", "time out"]))
    def dial_ends(self, index: int, how: str) -> None:
        far = self.far(index)
        if far.dialer.open:
            if how == "connect":
                far.connect()
            else:
                far.refuse(timed_out=how == "time out")

    @rule(
        index=INDEX,
        kind=st.sampled_from(["length", "length", "chunked", "until close", "last", "old", "204", "304", "503", "503"]),
        interim=st.sampled_from([0, 0, 0, 1, 2]),
        times=st.sampled_from([0, 1, 3, 40_000]),
        size=st.sampled_from([1, 30, 10**9, 10**9, 10**9]),
        early=st.booleans(),
    )
    def answer_one(self, index: int, kind: str, interim: int, times: int, size: int, early: bool) -> None:
        self.answer(index, kind, interim, times, size, early)

    def answer(self, index: int, kind: str, interim: int, times: int, size: int, early: bool) -> None:
        listener = self.some(
            index, lambda each: each.current and not each.over and each.unsaid is None and (early or each.complete)
        )
        if listener is None:
            return
        asked = listener.current
        assert asked is not None
        body = asked.content * times
        lines = [f"HTTP/1.1 {kind if kind in ('204', '304', '503') else '200'} OK", f"X-Id: {asked.number}"]
        if kind == "chunked":
            lines.append("Transfer-Encoding: chunked")
            body = chunks(body)
        elif kind in ("length", "last", "304", "503"):
            lines.append(f"Content-Length: {len(body)}")
            if kind == "last":
                lines.append("Connection: close")
        elif kind == "old":
            lines[0] = "HTTP/1.0 200 OK"
        listener.ends = kind in ("last", "old", "until close")
        if kind in ("204", "304") or asked.method == "HEAD":
            body = b""
        before = b"HTTP/1.1 103 Early Hints\r\nX-Id: %d\r\n\r\n" % asked.number
        if asked.number % 2:
            before = b"HTTP/1.1 100 Continue\r\nX-Id: %d\r\n\r\n" % asked.number
        listener.continued = asked.number % 2 == 1 and interim > 0
        listener.unsaid = before * interim + "\r\n".join([*lines, "", ""]).encode() + body
        listener.say(size)

    @rule(index=INDEX, size=st.sampled_from([1, 10, 30_000, 10**9, 10**9]))
    def go_on_answering(self, index: int, size: int) -> None:
        listener = self.some(index, lambda each: each.unsaid)
        if listener is not None:
            listener.say(size)

    @rule(index=INDEX, fault=st.sampled_from(["vanish", "break_off", "truncate", "lie", "junk"]))
    def server_fails(self, index: int, fault: str) -> None:
        listener = self.some(index, lambda each: not each.wire.doubtful)
        if listener is None:
            return
        wire = listener.wire
        if fault == "lie":
            # What cannot be told from an answer is no fault that anybody could see.
            if listener.current is None:
                wire.doubtful = True
                wire.feed(POISON)
        elif fault == "junk":
            if listener.unsaid is None:
                wire.doubtful = True
                if listener.current:
                    listener.current.answered = True
                wire.feed(b"\x15\x03\x03\x00\x02\x02\x50\r\n\r\n")
        elif fault == "vanish":
            wire.vanish()
        else:
            wire.break_off(PEER_RESET if fault == "break_off" else PEER_TRUNCATED)

    @rule(index=INDEX, what=st.sampled_from(["stall", "go_on", "go_on", 10, 20_000]))
    def server_reads(self, index: int, what: str | int) -> None:
        listener = self.some(index, lambda each: True)
        if listener is not None:
            if isinstance(what, str):
                getattr(listener.wire, what)()
            else:
                listener.wire.pass_some(what)

    # Time.

    @rule(seconds=st.sampled_from([0.02, 0.02, 0.3, 0.3, 0.3, 1.1, 1.1, 4.0, 11.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule(kind=st.sampled_from(["length", "chunked", "until close", "last"]), rounds=st.integers(1, 5))
    def all_goes_well(self, kind: str, rounds: int) -> None:
        """So that there is something to go wrong."""
        for _ in range(rounds):
            for far in self.world.servers:
                while far.dialer.open:
                    far.connect()
            self.nobody_is_confused()
            for listener in list(self.listeners.values()):
                if listener.wire.state == OPEN:
                    listener.wire.go_on()
                    if listener.unsaid:
                        listener.say(10**9)
            self.nobody_is_confused()
            self.answer(0, kind, 0, 2, 10**9, False)
            self.nobody_is_confused()

    @rule(
        index=INDEX,
        method=st.sampled_from(["POST", "PUT"]),
        framing=st.sampled_from(["length", "chunked"]),
        size=st.sampled_from([3, 3, 9000, 40_000]),
        missing=st.sampled_from([1, 4, 7, 20, 1000, 30_000]),
        kind=st.sampled_from(["length", "length", "chunked", "204", "last", "503"]),
        told=st.sampled_from([1, 40, 10**9, 10**9, 10**9]),
        stalls=st.sampled_from([False, False, True]),
        goes_on=st.booleans(),
    )
    def an_upload_is_answered_early(
        self,
        index: int,
        method: str,
        framing: str,
        size: int,
        missing: int,
        kind: str,
        told: int,
        stalls: bool,
        goes_on: bool,
    ) -> None:
        """Its rest comes at once, or at any later time."""
        speaker = self.alive(index)
        if speaker.unsaid or speaker.client.connection.exchange is not None:
            return
        self.ask(index, method, 1, framing, size, False, False)
        self.say(speaker, max(1, len(speaker.unsaid) - missing))
        for far in self.world.servers:
            while far.dialer.open:
                far.connect()
        self.nobody_is_confused()
        listener = self.some(index, lambda each: each.current and not each.over and each.unsaid is None)
        if listener is not None and stalls:
            listener.wire.stall()
        self.answer(index, kind, 0, 2, told, True)
        self.nobody_is_confused()
        if goes_on:
            self.say(speaker, 10**9)
            self.nobody_is_confused()

    # What is true, always and at the end.

    @invariant()
    def nobody_is_confused(self) -> None:
        if not hasattr(self, "listeners"):
            return
        for _ in range(3):
            for far in self.world.servers:
                for wire in far.wires:
                    if id(wire) not in self.listeners:
                        self.listeners[id(wire)] = Listener(self, wire)
                    self.listeners[id(wire)].listen()
            settle(self.world)
        for far in self.world.servers:
            for connection in far.pool.idle:
                listener = self.listeners[id(connection.transport)]
                assert not listener.wire.doubtful, "a doubtful connection is kept"
                assert listener.current is None and not listener.received, "a connection is idle in mid exchange"
        assert not self.failures, self.failures

    def teardown(self) -> None:
        if not hasattr(self, "listeners"):
            return
        globalLogPublisher.removeObserver(self.observer)
        for turn in range(400):  # pipelined requests may each wait for `timeout server`, one after the other
            self.world.advance(7)
            self.nobody_is_confused()
            if turn >= 40 and all(speaker.client.gone for speaker in self.speakers):
                break
        for speaker in self.speakers:
            assert speaker.client.gone, "a client is left"
            self.check_answers(speaker)
        self.world.check_rest()
        assert not self.failures, self.failures

    def check_answers(self, speaker: Speaker) -> None:
        """What a client has seen: own answers, in order, as the log tells them."""
        lines = [each for each in self.world.log if each.client is speaker.client.connection]
        # One whose head has not come whole is answered, if at all, as any request is.
        read = speaker.client.connection.requests
        methods = [asked.method for asked in speaker.asked[:read]]
        found = answers(speaker.wire.written, speaker.wire.far_end, [*methods, "GET"])
        assert len(found) <= len(lines)
        assert len([each for each in lines if each.head is not None]) == read
        for number, answer in enumerate(found):
            name = answer.header(b"x-id")
            if answer.status and name is None:
                assert answer.status in OWN_ERRORS, answer
            elif answer.status:
                asked = speaker.asked[number]
                assert int(name or b"") == asked.number, "another's answer"
                content = asked.content
                assert (content * (len(answer.body) // len(content) + 1)).startswith(answer.body), "another's content"
            if answer.how == CUT:
                assert number == len(found) - 1
            elif number < len(lines):
                assert lines[number].status == answer.status
        for number, line in enumerate(lines):
            if line.flags == "--" and speaker.listens and not speaker.wire.stalled:
                assert found[number].how == WHOLE, "logged as served, but it was not"


class FaultTests(FaultMachine.TestCase):  # type: ignore[misc, valid-type]
    """Any order of events leaves nobody with another's answer, and nothing behind.

    Longer: `FAULT_EXAMPLES=20000 FAULT_STEPS=80 python -m pytest --timeout 0 tests/test_faults_machine.py`.
    """

    settings = settings(
        max_examples=int(os.environ.get("FAULT_EXAMPLES", "60")),
        stateful_step_count=int(os.environ.get("FAULT_STEPS", "40")),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
