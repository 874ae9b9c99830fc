"""The server fails after every byte of every kind of answer, and while it takes every kind of request.

One table says what follows. The server has said nothing, something of the head, something of the body, or all; what the
client sees / what is logged is (flags by HAProxy's manual, section 8.5; its 2.6 was asked, too):

                closes          reset, or TLS truncated     silence
    nothing     502 / SH        502 / SH                    504 / sH
    head        502 / SH        502 / SH                    504 / sH
    body        cut / SD        cut / SD                    cut / sD
    until close answer / --     cut / SD                    cut / sD
    all         answer / --     answer / --                 answer / --

"cut" is an answer that its reader can tell from a complete one; an answer until close to one who cannot be told in any
other way ends in a reset (here alone: `Scene.check_cut`). There is one exception, the retry of the idle-close race:
nothing had been said on a connection that had stood idle, the method is idempotent (RFC 9110 section 9.2.2) and the
connection ended: then the request is sent once more on a new connection, and only then it reaches a server twice.

A server that fails while the client is still sending fails by the same table, except that its silence before an answer
is the client's (408 / cD): it is not the server's turn.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.transport import OPEN, PEER_TRUNCATED
from tests.faultwire import REQUESTS, RESPONSES, FaultWire, Kind, Scene, settle, where

FAULTS = {
    "closes": FaultWire.vanish,
    "reset": FaultWire.break_off,
    "truncated": lambda wire: wire.break_off(PEER_TRUNCATED),
    "silence": lambda wire: None,
    "nothing passes": FaultWire.fall_silent,
}
SILENCES = ("silence", "nothing passes")
PLACES = ("warm", "kept", "pipelined", "new")

ANSWER, CUT = "the answer", "cut"
TABLE: dict[str, tuple[tuple[int | str, str], ...]] = {
    #          closes                reset                 silence
    "nothing": ((502, "SH"), (502, "SH"), (504, "sH")),
    "head": ((502, "SH"), (502, "SH"), (504, "sH")),
    "body": ((CUT, "SD"), (CUT, "SD"), (CUT, "sD")),
    "until close": ((ANSWER, "--"), (CUT, "SD"), (CUT, "sD")),
    "all": ((ANSWER, "--"), (ANSWER, "--"), (ANSWER, "--")),
}


def phase(kind: Kind, told: int) -> str:
    """What the server has said."""
    if not told:
        return "nothing"
    if told < kind.said_head:
        return "head"
    if kind.until_close:
        return "until close"
    return "body" if told < len(kind.said) else "all"


def expected(kind: Kind, told: int, fault: str) -> tuple[int | str, str]:
    """By the table."""
    column = 2 if fault in SILENCES else 0 if fault == "closes" else 1
    return TABLE[phase(kind, told)][column]


class Faults(SynchronousTestCase):
    """What all of these tests look at."""

    def strike(self, scene: Scene, fault: str) -> None:
        wire = scene.server_wire or scene.far.wires[-1]
        wire.doubtful = wire.owner.exchange is not None
        FAULTS[fault](wire)
        settle(scene.world)

    def check(self, scene: Scene, sees: int | str, flags: str, reached: int = 1) -> None:
        kind = scene.kind
        if sees == ANSWER:
            scene.check_whole()
        elif sees == CUT:
            scene.check_cut()
        else:
            scene.check_error(int(sees))
        status = sees if isinstance(sees, int) else kind.status
        self.assertEqual(scene.log(), [(status, flags)])
        self.assertEqual(scene.reached(), reached)
        self.check_counters(scene, flags)
        scene.finish()

    def check_counters(self, scene: Scene, flags: str) -> None:
        """HAProxy's management guide, 9.1: eresp for bad answers, srv_abrt (included in it) for broken transfers."""
        for traffic in (scene.world.backend.traffic, scene.far.server.traffic):
            failed = int(flags[0] in "SsP")
            aborted = int(flags in ("SD", "sD", "PD"))
            counted = (traffic.eresp, traffic.srv_abrt, traffic.cli_abrt, traffic.econ)
            self.assertEqual(counted, (failed, aborted, int(flags[0] in "Cc"), 0))


class AnswerTests(Faults):
    """The answer breaks off."""

    def test_after_every_byte(self) -> None:
        """On connections new and old, on both sides."""
        for kind in RESPONSES:
            for place in PLACES:
                for told in range(len(kind.said) + 1):
                    for fault in FAULTS:
                        if phase(kind, told) == "all" and fault == "nothing passes":
                            continue  # nobody can know before the next request
                        with where(kind, place, told, fault):
                            self.break_off(kind, place, told, fault)

    def break_off(self, kind: Kind, place: str, told: int, fault: str) -> None:
        scene = Scene(self, kind, place)
        scene.ask()
        if told:
            scene.tell(told)
        self.strike(scene, fault)
        sees, flags = expected(kind, told, fault)
        if told or fault in SILENCES or not kind.idempotent:
            scene.wait_for_server()
            if sees == ANSWER and kind.until_close:
                scene.kind = evolve(kind, content=kind.said[kind.said_head : told])  # for all that anybody can know
            self.check(scene, sees, flags)
            return
        self.assertEqual(scene.log(), [])
        scene.connect()
        scene.tell()
        scene.end_answer()
        traffic = scene.far.server.traffic
        self.assertEqual((traffic.wretr, traffic.eresp, scene.world.log[-1].retries), (1, 1, 1))
        traffic.eresp = scene.world.backend.traffic.eresp = 0  # each attempt that fails is counted
        self.check(scene, ANSWER, "--", reached=2)

    def test_a_second_time(self) -> None:
        """The one retry fails as the first attempt did: there is no other."""
        for kind in RESPONSES:
            if not kind.idempotent:
                continue
            for fault in ("closes", "reset", "truncated"):
                with where(kind, fault):
                    scene = Scene(self, kind, "warm")
                    scene.ask()
                    self.strike(scene, fault)
                    scene.connect()
                    self.strike(scene, fault)
                    self.assertEqual(scene.far.dialer.open, [])
                    scene.check_error(502)
                    self.assertEqual((scene.log(), scene.reached()), ([(502, "SH")], 2))
                    scene.finish()

    def test_in_two_pieces(self) -> None:
        """A cut is no fault: the answer is the same, and the connection is kept if it can be."""
        for kind in RESPONSES:
            for place in PLACES:
                for told in range(1, len(kind.said)):
                    with where(kind, place, told):
                        scene = Scene(self, kind, place)
                        scene.ask()
                        wire = scene.server_wire
                        assert wire is not None
                        scene.tell(told)
                        scene.tell()
                        scene.end_answer()
                        self.assertEqual(wire.state == OPEN, not kind.until_close)
                        self.check(scene, ANSWER, "--")

    def test_byte_by_byte(self) -> None:
        """As long as the head comes within `timeout server`, and each byte of the body, there is no fault, however
        long it lasts."""
        for kind in RESPONSES:
            with where(kind):
                scene = Scene(self, kind, "warm")
                scene.ask()
                for told in range(1, len(kind.said) + 1):
                    scene.world.advance(19 if told > kind.said_head else 15 / kind.said_head)
                    scene.tell(told)
                scene.end_answer()
                self.check(scene, ANSWER, "--")


class UploadTests(Faults):
    """The server fails while the client is still sending."""

    def moments(self) -> Iterator[tuple[Kind, int]]:
        for kind in REQUESTS:
            for asked in range(kind.request_head, len(kind.request)):
                yield kind, asked

    def test_before_it_answers(self) -> None:
        """What may be repeated is sent again, with what comes behind; its silence is not its own."""
        for kind, asked in self.moments():
            for place in ("warm", "new"):
                for fault in FAULTS:
                    with where(kind, asked, place, fault):
                        scene = Scene(self, kind, place)
                        scene.ask(asked)
                        self.strike(scene, fault)
                        if fault in SILENCES:
                            scene.wait()
                            self.check(scene, 408, "cD")
                        elif kind.idempotent:
                            scene.connect()
                            scene.ask()
                            scene.tell()
                            scene.check_whole()
                            self.assertEqual((scene.log(), scene.reached()), ([(200, "--")], 2))
                            scene.finish()
                        else:
                            self.check(scene, 502, "SH")

    def test_in_an_early_answer(self) -> None:
        """It has begun to answer, and breaks off before the request is complete."""
        for kind, asked in self.moments():
            for told in range(1, len(kind.said)):
                for fault in FAULTS:
                    with where(kind, asked, told, fault):
                        scene = Scene(self, kind, "warm")
                        scene.ask(asked)
                        scene.tell(told)
                        self.strike(scene, fault)
                        sees, flags = expected(kind, told, fault)
                        if fault in SILENCES and told < kind.said_head:
                            scene.wait()
                            sees, flags = 408, "cD"
                        scene.wait_for_server()
                        self.check(scene, sees, flags)

    def test_after_an_early_answer(self) -> None:
        """It is the client's, whole, and both connections carry other requests
        when the rest of this one has gone on."""
        for kind, asked in self.moments():
            with where(kind, asked):
                scene = Scene(self, kind, "warm")
                scene.ask(asked)
                scene.tell()
                (answer,) = scene.answers()
                self.assertEqual(answer.header(b"connection"), None)
                self.assertEqual(scene.far.pool.idle, [])
                scene.ask()
                self.assertEqual(len(scene.far.pool.idle), 1)
                self.check(scene, ANSWER, "--")

    def test_in_what_follows_an_early_answer(self) -> None:
        """The answer stands, whatever becomes of the rest of the request; a client that is silent then is late."""
        for kind, asked in self.moments():
            for fault in FAULTS:
                with where(kind, asked, fault):
                    scene = Scene(self, kind, "warm")
                    scene.ask(asked)
                    scene.tell()
                    wire = scene.far.wires[0]
                    FAULTS[fault](wire)
                    settle(scene.world)
                    scene.wait()
                    flags = "cD" if fault in SILENCES else "SD"
                    wire.doubtful = True
                    self.check(scene, ANSWER, flags)


class UnaskedTests(Faults):
    """The server says what it was not asked for."""

    def test_beyond_every_answer(self) -> None:
        """The answer is right, what follows it is nobody's, and the connection is not used again."""
        for kind in RESPONSES:
            if kind.until_close:
                continue
            for place in PLACES:
                for told in range(len(kind.said) + 1):
                    with where(kind, place, told):
                        scene = Scene(self, evolve(kind, response=kind.response + b"HTTP/1.1 200 OK\r\n\r\n"), place)
                        scene.ask()
                        (wire,) = scene.far.busy
                        assert isinstance(wire, FaultWire)
                        wire.doubtful = True
                        wire.feed(kind.said[:told])
                        if told < len(kind.said):
                            wire.feed(scene.kind.said[told:])
                        else:
                            wire.feed(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
                        self.check(scene, ANSWER, "--")

    def test_a_byte_that_does_not_belong(self) -> None:
        """In a head: 502, PH. In chunks: PD, and the client can tell, or 502 while it has seen nothing."""
        for kind in RESPONSES:
            for told in range(len(kind.said)):
                chunked = b"chunked" in kind.response and told >= kind.said_head
                if not chunked and told >= kind.said_head:
                    continue  # it cannot be told from content
                for apart in (False, True):
                    with where(kind, told, apart):
                        scene = Scene(self, kind, "warm")
                        scene.ask()
                        (wire,) = scene.far.busy
                        assert isinstance(wire, FaultWire)
                        wire.doubtful = True
                        if apart:
                            wire.feed(kind.said[: max(told, 1)])
                            wire.feed(b"\0" + kind.said[max(told, 1) :])
                        else:
                            wire.feed(kind.said[:told] + b"\0" + kind.said[told:])
                        if chunked and apart:
                            self.assertEqual(scene.log(), [(200, "PD")])
                            self.assertEqual(scene.reached(), 1)
                            (answer,) = scene.answers()
                            self.assertEqual(answer.how, "cut off")
                            self.check_counters(scene, "PD")
                            scene.finish()
                        else:
                            self.check(scene, 502, "PH")


class DialTests(Faults):
    """No connection can be opened: nothing has left us, so that any request may be tried again,
    and reaches a server once."""

    def test_after_some_that_failed(self) -> None:
        """Any kind is served by the first that succeeds."""
        for kind in REQUESTS:
            for asked in range(kind.request_head, len(kind.request) + 1):
                for timed_out in (False, True):
                    for failures in (1, 3):
                        with where(kind, asked, timed_out, failures):
                            scene = Scene(self, kind, "new")
                            scene.client.send(kind.request[:asked])
                            self.refuse(scene, failures, timed_out)
                            scene.client.send(kind.request[asked:])
                            scene.connect()
                            scene.tell()
                            self.assertEqual(scene.world.log[0].retries, failures)
                            self.check(scene, ANSWER, "--")

    def test_after_all_have_failed(self) -> None:
        """503, and S or s by what the last dial came to."""
        for kind in REQUESTS:
            for asked in range(kind.request_head, len(kind.request) + 1):
                for timed_out, flags in ((False, "SC"), (True, "sC")):
                    with where(kind, asked, timed_out):
                        scene = Scene(self, kind, "new")
                        scene.client.send(kind.request[:asked])
                        scene.asked = asked
                        self.refuse(scene, 4, timed_out)
                        scene.check_error(503)
                        self.assertEqual((scene.log(), scene.reached()), ([(503, flags)], 0))
                        for traffic in (scene.world.backend.traffic, scene.far.server.traffic):
                            self.assertEqual((traffic.econ, traffic.eresp, traffic.wretr), (1, 0, 3))
                        scene.finish()

    def refuse(self, scene: Scene, times: int, timed_out: bool) -> None:
        for _ in range(times):
            scene.far.refuse(timed_out=timed_out)
            scene.world.advance(1.1)
