"""Sessions of mode tcp under any order of events: nothing is lost, said twice, given to two, or left behind."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.transport import CLOSED, OPEN
from tests.clientfakes import Wire
from tests.streamfakes import StreamWorld

TEXT = """listen l
 bind :1
 {rules}
 retries 2
 option redispatch
 timeout client-fin 3s
 server s1 192.0.2.1:1 maxconn 2 {floor}
 server s2 192.0.2.2:1 {floor}
"""
RULES = (
    "retries 1",
    "tcp-request inspect-delay 2s\n tcp-request content reject if { req.payload(0,1) -m str z }",
    "tcp-response inspect-delay 2s\n tcp-response content reject if { res.payload(0,1) -m str z }",
    "tcp-response inspect-delay 2s\n tcp-response content close if { res.payload(0,1) -m str z }",
    # Longer than its time-out: it is judged when that is over.
    "tcp-response inspect-delay 25s\n tcp-response content reject if { res.payload(0,2) -m str zB }",
    "option abortonclose\n tcp-request content reject if { req.len gt 9 }",
)

NUMBERS = st.integers(0, 7)
DEEDS = ("eof", "reset", "stall", "go_on")


class Streams(RuleBasedStateMachine):
    """Clients and servers that do whatever they like. `said` and `heard` are by the number of a client."""

    @initialize(rules=st.sampled_from(RULES), floor=st.sampled_from(("", "pool-min-conn 1", "pool-min-conn 3")))
    def begin(self, rules: str, floor: str) -> None:
        self.world = StreamWorld(SynchronousTestCase(), TEXT.format(rules=rules, floor=floor))
        self.clients: list[Wire] = []
        self.servers: list[Wire] = []

    def teardown(self) -> None:
        if hasattr(self, "world"):
            for wire in self.clients:
                wire.go_on()
                wire.reset()
            self.world.advance(31)  # a server that reads nothing is not waited for any longer
            self.world.check_rest()

    # What clients do. What is drawn depends on nothing that has happened: of things that come at the same moment, now
    # one and now another is first.

    @rule()
    def come(self) -> None:
        if len(self.clients) < 8:
            self.clients.append(self.world.client())

    @rule(number=NUMBERS, text=st.sampled_from((b"a", b"zb", b"hello world")))
    def say(self, number: int, text: bytes) -> None:
        self._say(self.clients, number, text)

    @rule(number=NUMBERS, how=st.sampled_from(DEEDS))
    def client_does(self, number: int, how: str) -> None:
        self._do(self.clients, number, how)

    # What servers do.

    @rule(name=st.sampled_from(("s1", "s2")), takes=st.booleans())
    def answer_dial(self, name: str, takes: bool) -> None:
        if not self.world.dialled(name):
            return
        if takes:
            self.servers.append(self.world.connect(name))
        else:
            self.world.refuse(name)

    @rule(number=NUMBERS, text=st.sampled_from((b"A", b"zB", b"welcome")))
    def greet(self, number: int, text: bytes) -> None:
        self._say(self.servers, number, text)

    @rule(number=NUMBERS, how=st.sampled_from(DEEDS))
    def server_does(self, number: int, how: str) -> None:
        self._do(self.servers, number, how)

    @rule(seconds=st.sampled_from((0.0, 0.3, 2.5, 31.0)))
    def wait(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule(letter=st.sampled_from("KD"))
    def order(self, letter: str) -> None:
        self.world.frontend.end_sessions(self.world.servers["s1"], letter)

    @staticmethod
    def _say(wires: list[Wire], number: int, text: bytes) -> None:
        if wires:
            wire = wires[-1 - number % len(wires)]
            if not wire._ended and wire.state <= OPEN + 1:
                wire.feed(text)

    @staticmethod
    def _do(wires: list[Wire], number: int, how: str) -> None:
        if not wires:
            return
        wire = wires[-1 - number % len(wires)]
        if wire.state == CLOSED or (how == "eof" and wire._ended):
            return
        if how == "reset" and wire.end is None:
            wire.reset()
        elif how != "reset":
            getattr(wire, how)()

    # What holds whatever happens.

    @invariant()
    def nobody_is_forgotten(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        backend = world.backends["l"]
        connections: Any = world.frontend.connections
        streams = [connection.stream for connection in connections if connection.state == "busy"]
        assert len({id(each) for each in world.log}) == len(world.log), "a session ended twice"
        assert world.places.taken == len(connections)
        assert backend.traffic.scur == sum(stream.backend is not None for stream in streams)
        for server in backend.servers:
            held = [stream for stream in streams if stream.server is server]
            assert server.served == server.traffic.scur == len(held)
            lent = [stream.connection for stream in held if stream.connection is not None]
            assert server.pool.in_use == set(lent), "a connection is lent to nobody, or to two"
            assert len(lent) == len({id(each) for each in lent})
        for stream in streams:
            assert (stream.state == "relaying") == (stream.connection is not None) == (stream.relay is not None)


StreamsTest = Streams.TestCase
StreamsTest.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
