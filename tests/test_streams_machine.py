"""Sessions of mode tcp under any order of events: nothing is lost, said twice, given to two, or left behind."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
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
    "option abortonclose\n tcp-request content reject if { req.len gt 9 }",
)


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
            self.world.check_rest()

    # What clients do.

    @precondition(lambda self: len(self.clients) < 8)
    @rule()
    def come(self) -> None:
        self.clients.append(self.world.client())

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), text=st.sampled_from((b"a", b"zb", b"hello world")))
    def say(self, data: Any, text: bytes) -> None:
        wire = data.draw(st.sampled_from(self.clients))
        if not wire._ended and wire.state <= OPEN + 1:
            wire.feed(text)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), how=st.sampled_from(("eof", "reset", "stall", "go_on")))
    def client_does(self, data: Any, how: str) -> None:
        self._do(data.draw(st.sampled_from(self.clients)), how)

    # What servers do.

    @precondition(lambda self: any(self.world.dialled(name) for name in ("s1", "s2")))
    @rule(data=st.data(), takes=st.booleans())
    def answer_dial(self, data: Any, takes: bool) -> None:
        name = data.draw(st.sampled_from([name for name in ("s1", "s2") if self.world.dialled(name)]))
        if takes:
            self.servers.append(self.world.connect(name))
        else:
            self.world.refuse(name)

    @precondition(lambda self: self.servers)
    @rule(data=st.data(), text=st.sampled_from((b"A", b"zB", b"welcome")))
    def greet(self, data: Any, text: bytes) -> None:
        wire = data.draw(st.sampled_from(self.servers))
        if not wire._ended and wire.state <= OPEN + 1:
            wire.feed(text)

    @precondition(lambda self: self.servers)
    @rule(data=st.data(), how=st.sampled_from(("eof", "reset", "stall", "go_on")))
    def server_does(self, data: Any, how: str) -> None:
        self._do(data.draw(st.sampled_from(self.servers)), how)

    @rule(seconds=st.sampled_from((0.0, 0.3, 2.5, 31.0)))
    def wait(self, seconds: float) -> None:
        self.world.advance(seconds)

    @precondition(lambda self: self.clients)
    @rule(letter=st.sampled_from("KD"))
    def order(self, letter: str) -> None:
        self.world.frontend.end_sessions(self.world.servers["s1"], letter)

    @staticmethod
    def _do(wire: Wire, how: str) -> None:
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
StreamsTest.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
