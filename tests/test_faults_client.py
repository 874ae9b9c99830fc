"""The client fails after every byte of every kind of request, and of every kind of answer.

One table says what follows. The client's exchange stands, by what has passed on the wires, in one of these phases:

    before      nothing of its first request has come
    idle        it has been answered before, and nothing more has come
    head, body  there the request breaks off
    asked       the request is complete; no head of an answer has come
    answering   a head has come, and not all of the answer
    done        all of the answer has come

and what the client sees / what is logged is, with the flags as HAProxy's manual has them in section 8.5 (its 2.6 was
asked, too):

                client ends its side    client closes   reset           silence         nothing passes
    before      400 / 400 CR            - / 400 CR      - / 400 CR      408 / 408 cR    - / 408 cR
    idle        - / no line             - / no line     - / no line     - / no line     - / no line
    head        400 / 400 CR            - / 400 CR      - / 400 CR      408 / 408 cR    - / 408 cR
    body        reset / -1 CD           - / -1 CD       - / -1 CD       408 / 408 cD    - / 408 cD
    asked       answer / --             - / --          - / -1 CH       answer / --     - / --
    answering   answer / --             - / --          - / status CD   answer / --     - / --
    done        answer / --             answer / --     answer / --     answer / --     answer / --

"-": it does not listen any more, or it is closed without a word. One that has closed is found out only by a second
write, so that it is logged as served: a kernel that takes bytes for the dead says nothing.

Where nothing but its head has gone to a queue or to a dial, C or c comes with Q or C.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tests.clientfakes import TIMEOUTS
from tests.faultwire import EARLIER, EARLIER_ANSWER, OTHER, REQUESTS, RESPONSES, FaultWire, Kind, Scene, settle, where

FAULTS = {
    "ends its side": FaultWire.half_close,
    "closes": FaultWire.vanish,
    "reset": FaultWire.break_off,
    "silence": lambda wire: None,
    "nothing passes": FaultWire.fall_silent,
}

LEAVES = ("ends its side", "closes", "reset")

#: What the client sees: ANSWER, the status of an error, or nothing; and the line in the log (0 stands for the answer's
#: own status).
ANSWER = "the answer"
SERVED = (0, "--")
TABLE: dict[str, list[tuple[int | str, tuple[int, str] | None]]] = {
    "before": [(400, (400, "CR")), ("", (400, "CR")), ("", (400, "CR")), (408, (408, "cR")), ("", (408, "cR"))],
    "idle": [("", None)] * 5,
    "head": [(400, (400, "CR")), ("", (400, "CR")), ("", (400, "CR")), (408, (408, "cR")), ("", (408, "cR"))],
    "body": [("", (-1, "CD")), ("", (-1, "CD")), ("", (-1, "CD")), (408, (408, "cD")), ("", (408, "cD"))],
    "asked": [(ANSWER, SERVED), ("", SERVED), ("", (-1, "CH")), (ANSWER, SERVED), ("", SERVED)],
    "answering": [(ANSWER, SERVED), ("", SERVED), ("", (0, "CD")), (ANSWER, SERVED), ("", SERVED)],
    "done": [(ANSWER, SERVED)] * 5,
}  # fmt: skip


def phase(kind: Kind, place: str, asked: int, told: int) -> str:
    """Where the exchange stands when so much has passed on the wires."""
    if not asked:
        return "before" if place in ("warm", "new") else "idle"
    if asked < len(kind.request):
        return "head" if asked < kind.request_head else "body"
    if told == len(kind.said) and not kind.until_close:
        return "done"
    return "asked" if told < kind.said_head else "answering"


class Faults(SynchronousTestCase):
    """What all of these tests look at."""

    def strike(self, kind: Kind, place: str, asked: int, told: int, fault: str) -> Scene:
        """Bring it to the moment, let the fault happen, and all else go well."""
        scene = Scene(self, kind, place)
        scene.ask(asked)
        if told:
            scene.tell(told)
        FAULTS[fault](scene.wire)
        settle(scene.world)
        if scene.server_wire is not None and asked == len(kind.request):
            scene.tell()
            scene.end_answer()
        settle(scene.world)
        if fault in ("silence", "nothing passes"):
            scene.wait()
        return scene

    def check(self, scene: Scene, what: str, fault: str, told: int) -> None:
        """By the table."""
        sees, line = TABLE[what][list(FAULTS).index(fault)]
        kind = scene.kind
        if line is None:
            self.assertEqual(scene.log(), [])
        else:
            status, flags = line
            self.assertEqual(scene.log(), [(status or kind.status, flags)])
            self.check_counters(scene, flags)
        if sees == ANSWER:
            scene.check_whole()
        elif sees:
            scene.check_error(int(sees))
        elif not told:
            self.assertEqual(scene.answers(), [])
        if what == "body" and fault == "ends its side":
            self.assertEqual(scene.wire.far_end, "reset")
        self.assertEqual(scene.reached(), 0 if what in ("before", "idle", "head") else 1)
        if what != "done" or fault != "silence":
            # Whoever ended its side while it was served is closed behind the answer.
            self.assertTrue(scene.client.gone or scene.wire.end is not None)
        scene.finish()

    def check_counters(self, scene: Scene, flags: str) -> None:
        """HAProxy's management guide, 9.1: cli_abrt for transfers that the client aborted, ereq for bad requests."""
        aborted = int(flags[0] in "Cc" and flags[1] != "R")
        traffic = scene.world.backend.traffic
        self.assertEqual(scene.world.frontend.traffic.ereq, int(flags[1] == "R"))
        self.assertEqual((traffic.cli_abrt, traffic.srv_abrt, traffic.eresp, traffic.econ), (aborted, 0, 0, 0))
        self.assertEqual(scene.far.server.traffic.cli_abrt, aborted)

    def each(self, kind: Kind, place: str, asked: int, told: int = 0) -> None:
        for fault in FAULTS:
            with where(kind, place, asked, told, fault):
                scene = self.strike(kind, place, asked, told, fault)
                self.check(scene, phase(kind, place, asked, told), fault, told)


class RequestTests(Faults):
    """The request breaks off."""

    def test_after_every_byte(self) -> None:
        """On connections new and old, on both sides."""
        for kind in REQUESTS:
            for place in ("warm", "kept", "pipelined", "new"):
                for asked in range(len(kind.request) + 1):
                    self.each(kind, place, asked)

    def test_byte_by_byte(self) -> None:
        """As long as the head comes within `timeout http-request`,
        and each byte of the body within `timeout client`."""
        for kind in REQUESTS:
            with where(kind):
                scene = Scene(self, kind, "warm")
                for asked in range(1, len(kind.request) + 1):
                    scene.world.advance(0.01 if asked <= kind.request_head else 29)
                    scene.ask(asked)
                scene.tell()
                scene.check_whole()
                self.assertEqual((scene.log(), scene.reached()), ([(200, "--")], 1))
                scene.finish()

    def test_silence_after_the_whole(self) -> None:
        """`timeout client` is not for a client that has said all, whenever its last byte came."""
        for kind in REQUESTS:
            for asked in range(1, len(kind.request) + 1):
                with where(kind, asked):
                    scene = Scene(self, kind, "warm", timeouts=evolve(TIMEOUTS, client=5.0))
                    scene.ask(asked)
                    scene.ask()
                    scene.world.advance(19)
                    scene.tell()
                    scene.check_whole()
                    self.assertEqual(scene.log(), [(200, "--")])
                    scene.finish()

    def test_behind_another(self) -> None:
        """It comes in pieces while another is under way, which is answered in the middle of it, or after it."""
        for kind in REQUESTS:
            for asked in range(len(kind.request) + 1):
                with where(kind, asked):
                    scene = Scene(self, kind, "warm")
                    scene.earlier = 1
                    scene.client.send(EARLIER)
                    scene.wire.reads = 1
                    scene.client.send(kind.request[:asked])
                    self.assertEqual(scene.reached(), 0)
                    scene.far.answer(EARLIER_ANSWER)
                    scene.client.send(kind.request[asked:])
                    scene.tell()
                    scene.check_whole()
                    self.assertEqual((scene.log(), scene.reached()), ([(200, "--")], 1))
                    scene.finish()


class AnswerTests(Faults):
    """The client fails while it is answered."""

    def test_after_every_byte(self) -> None:
        """That the server says."""
        for kind in RESPONSES:
            for told in range(1, len(kind.said) + 1):
                self.each(kind, "warm", len(kind.request), told)


class WaitingTests(Faults):
    """The client fails while its request waits for a connection, or for a place at a server.

    ends its side, closes or is reset: the exchange ends at once (-1, CC or CQ), and no server hears of it. Silent, but
    with a complete request: it is served. Silent in its body: the wait ends first, by its own time (503, sC or sQ).
    """

    def test_in_a_dial(self) -> None:
        """The connection that comes too late is kept for others."""
        for kind, asked in self.moments():
            for fault in FAULTS:
                with where(kind, asked, fault):
                    scene = Scene(self, kind, "new", backend={"retries": 0})
                    scene.client.send(kind.request[:asked])
                    self.strike_waiting(scene, fault, "C")
                    if fault in LEAVES:
                        scene.connect()
                        self.assertEqual(len(scene.far.pool.idle), 1)
                    elif asked == len(kind.request):
                        scene.connect()
                        self.serve(scene, fault)
                    else:
                        scene.wait()
                        self.assertEqual(scene.log(), [(503, "sC")])
                    scene.finish()

    def test_in_the_queue(self) -> None:
        """Its place in the queue is given up."""
        for kind, asked in self.moments():
            for fault in FAULTS:
                with where(kind, asked, fault):
                    scene = Scene(self, kind, "warm", maxconn=1)
                    other = scene.world.client()
                    other.send(OTHER)
                    scene.client.send(kind.request[:asked])
                    self.assertEqual(len(scene.world.backend.queue), 1)
                    self.strike_waiting(scene, fault, "Q")
                    self.assertEqual(len(scene.world.backend.queue), fault not in LEAVES)
                    if fault in LEAVES or asked == len(kind.request):
                        scene.far.answer(EARLIER_ANSWER)
                        scene.connect()
                    if fault in LEAVES:
                        pass
                    elif asked == len(kind.request):
                        self.serve(scene, fault)
                    else:
                        scene.world.advance(8)
                        self.assertEqual(scene.log(), [(503, "sQ")])
                        scene.far.answer(EARLIER_ANSWER)
                        scene.wait()
                    scene.finish()

    def moments(self) -> Iterator[tuple[Kind, int]]:
        """After the head, in the body, and after all of it."""
        for kind in REQUESTS:
            for asked in range(kind.request_head, len(kind.request) + 1):
                yield kind, asked

    def strike_waiting(self, scene: Scene, fault: str, phase: str) -> None:
        FAULTS[fault](scene.wire)
        settle(scene.world)
        self.assertEqual(scene.reached(), 0)
        if fault in LEAVES:
            self.assertEqual(scene.log(), [(-1, "C" + phase)])
            self.assertEqual(scene.world.backend.traffic.cli_abrt, 1)
        else:
            self.assertEqual(scene.log(), [])

    def serve(self, scene: Scene, fault: str) -> None:
        scene.tell()
        self.assertEqual(scene.log(), [(200, "--")])
        self.assertEqual(scene.reached(), 1)
        if fault == "silence":
            scene.check_whole()
        scene.wait()
