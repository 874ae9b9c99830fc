"""Runs the steps of one check: connects, sends, waits for what is expected, and says what it has found.

A run knows its steps, which were compiled when the server was built, and the connection that it has at the moment. It
must never know servers, nor what follows from its result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from attrs import frozen

from reusedproxy.backends.checks.expects import Look, Verdict
from reusedproxy.backends.checks.facts import CheckFacts
from reusedproxy.backends.checks.requests import Answer, Request
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.dial import Dial, Dialer, DialFailure
from reusedproxy.net.transport import CLOSED, PEER_RESET, Transport
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.rules.samples.compile import Fetch
from reusedproxy.rules.variables import Condition
from reusedproxy.wire.heads import Limits, ResponseHead

#: The statuses with which HAProxy shows a code, 0 where there is none.
_CODED = frozenset(("L7OK", "L7OKC", "L7STS"))

#: Tells status, info and code of a check, and whether its failure was this process's own.
Done = Callable[[str, str, int | None, bool], None]


@frozen
class Connecting:
    """Opens a connection, and closes the one before it. `dialer` may depend on variables (`port`); None then means that
    there is no such port. `hint` is what a fault of this step says of it."""

    dialer: Callable[[CheckFacts], Dialer | None]
    hint: str = ""
    linger: bool = False


@frozen
class Sending:
    """Sends what `make` returns. With `method` that is a request, and what comes is read as its answer."""

    make: Request
    method: bytes | None = None
    hint: str = ""


@frozen
class Expecting:
    """Waits until `look` knows whether what has come is as expected. `tout` is the status of a wait in vain."""

    look: Look
    tout: str = "L7TOUT"
    hint: str = ""
    #: The status of a connection that has ended without a byte, and the number of this step for its text.
    empty: str = "L7RSP"
    number: int = 0


@frozen
class Setting:
    """Sets a variable, where `allows` has nothing against it; removes it without a `fetch`."""

    name: str
    fetch: Fetch | None
    allows: Condition | None = None

    def do(self, facts: CheckFacts) -> None:
        """Does the step. As in rules, a variable keeps its value where there is nothing to fetch."""
        if self.fetch is None:
            facts.set_variable(self.name, None)
            return
        sample = self.fetch(facts)
        if sample is not None and (self.allows is None or self.allows(facts.variable(self.name), sample)):
            facts.set_variable(self.name, sample)


CompiledStep = Connecting | Sending | Expecting | Setting


@frozen
class Plan:
    """Holds the compiled steps of a server's checks, and the bounds that they have in common.

    `most`: bytes of an answer that are looked at.
    """

    steps: Sequence[CompiledStep]
    limits: Limits
    most: int


#: Takes a connection off a run's hands, to send its request otherwise and to call `judge` or `finish`. Returns whether
#: it has.
Offers = Callable[["Run", Dial, Transport], bool]


class Run:
    """Runs a plan once. `done` is called once, unless the run is stopped."""

    def __init__(
        self,
        plan: Plan,
        deadlines: Deadlines,
        facts: CheckFacts,
        inter: float,
        read_timeout: float | None,
        done: Done,
        offers: Offers | None = None,
    ) -> None:
        """Takes the plan and its times in seconds: without `read_timeout`, which counts from each connection on, the
        whole run has `inter`. `offers` may take over the first connection."""
        self.facts = facts
        self.data = b""
        self.over = False
        self.answer: Answer | None = None
        self.deadline = inf
        self.slot = 0.0
        self._plan = plan
        self._deadlines = deadlines
        self._until = deadlines.now() + inter
        self._read_timeout = read_timeout
        self._done: Done | None = done
        self._offers = offers
        self._at = 0
        self._linger = False
        self._dial: Dial | None = None
        self._transport: Transport | None = None
        self._verdict: Verdict | None = None

    def start(self) -> None:
        self._go_on()

    def go_on_for(self, plan: Plan, done: Done, offers: Offers | None = None) -> None:
        """Goes on for another caller, whose plan is the same."""
        self._plan, self._done, self._offers = plan, done, offers

    def stop(self) -> None:
        """Ends the run without a word."""
        self._done = None
        self._let_go()

    def _go_on(self) -> None:
        """Goes on as far as what has come leads. Where a step cannot be evaluated, the check fails."""
        try:
            self._take_steps()
        except Exception as error:
            if self._done is None:
                raise  # it is over, and somebody else has failed
            self.finish("L7RSP", f"step {self._at + 1} could not be evaluated: {Unevaluated.by(error)}")

    def _take_steps(self) -> None:
        steps = self._plan.steps
        while self._done is not None:
            if self._at == len(steps):
                self._succeed()
                return
            step = steps[self._at]
            if isinstance(step, Expecting):
                if not self.data and self.answer is None:
                    if not self.over:
                        return
                    self.finish(step.empty, f"TCPCHK got an empty response at step {step.number}")
                    return
                verdict = step.look(self)
                if verdict is None:
                    return
                if not verdict.met:
                    self.finish(verdict.status, verdict.info, verdict.code)
                    return
                self._verdict = verdict
            elif isinstance(step, Sending):
                self._send(step)
            elif isinstance(step, Setting):
                step.do(self.facts)
            else:
                self._connect(step)
                return
            self._at += 1

    def _connect(self, step: Connecting) -> None:
        self._drop()
        dialer = step.dialer(self.facts)
        if dialer is None:
            self.finish("SOCKERR", "no port to connect to")
            return
        self._linger = step.linger
        self._deadlines.cancel(self)  # a dial has its own time
        self._dial = dialer.dial(self)

    def _send(self, step: Sending) -> None:
        transport = self._transport
        assert transport is not None
        self.data, self.over = b"", False
        self.answer = None
        if step.method is not None:
            self.answer = Answer(step.method, self._plan.limits, self._plan.most)
        transport.resume_reading()
        transport.write(step.make(self.facts))
        if self._at + 1 == len(self._plan.steps) or isinstance(self._plan.steps[self._at + 1], Connecting):
            transport.send_now()  # the connection ends next, and what waits for the end of the batch would be lost

    def _succeed(self) -> None:
        verdict = self._verdict
        if verdict is not None and isinstance(self._plan.steps[-1], Expecting):
            self.finish(verdict.status, verdict.info, verdict.code)
        elif any(isinstance(step, Sending | Expecting) for step in self._plan.steps):
            self.finish("L7OK", "(tcp-check)")
        else:
            transport = self._transport
            secure = transport is not None and transport.secure
            self.finish("L6OK" if secure else "L4OK", "(tcp-check)" if self.hint else "")

    def finish(self, status: str, info: str, code: int | None = None, ours: bool = False) -> None:
        """Ends the run with this result."""
        done, self._done = self._done, None
        self._let_go()
        code = code or 0 if status in _CODED else None
        if done is not None:
            done(status, info, code, ours)

    @property
    def hint(self) -> str:
        """Says at which step the run is, where its protocol has that said."""
        steps = self._plan.steps
        step = steps[min(self._at, len(steps) - 1)]
        return "" if isinstance(step, Setting) else step.hint

    # What its dial and its connection call.

    def dial_failed(self, dial: Dial, failure: DialFailure) -> None:
        self._dial = None
        layer = "L6" if "TLS" in failure.phase else "L4"
        if failure.ours:
            self.finish("SOCKERR", failure.reason, ours=True)
        elif failure.timed_out:
            self.finish(f"{layer}TOUT", self.hint)
        else:
            self.finish("L6RSP" if layer == "L6" else "L4CON", failure.reason + self.hint)

    def dial_ready(self, dial: Dial, transport: Transport) -> None:
        self._dial = None
        self._transport = transport
        transport.owner = self
        self.data, self.over, self.answer = b"", False, None
        if self._at + 1 == len(self._plan.steps):
            self._at += 1
            self._succeed()
            return
        if self._read_timeout is not None:
            # HAProxy: "additional read timeout, but only after a connection has been already established".
            self._deadlines.watch(self, self._deadlines.now() + self._read_timeout)
        else:
            self._deadlines.watch(self, self._until)
        self._at += 1
        offers, self._offers = self._offers, None
        if offers is not None:
            self._transport = None
            if offers(self, dial, transport):
                return
            self._transport = transport
        transport.resume_reading()
        self._go_on()

    def judge(self, head: ResponseHead) -> None:
        """Goes on at the expectation, with the answer to a request that somebody else has sent."""
        self.answer = Answer(b"", self._plan.limits, 0)
        self.answer.head, self.answer.complete = head, True
        while not isinstance(self._plan.steps[self._at], Expecting):
            self._at += 1
        self._go_on()

    def data_received(self, data: bytes) -> None:
        if self.answer is not None:
            self.answer.feed(data)
        elif len(self.data) < self._plan.most:
            self.data += data[: self._plan.most - len(self.data)]
        self._go_on()

    def eof_received(self) -> None:
        self.over = True
        self._go_on()
        if self._done is not None and self._transport is not None:
            self.finish("L7RSP", "")

    def connection_lost(self, reason: str) -> None:
        if self._transport is None or self._done is None:
            return
        self.over = True
        if self.data or (self.answer is not None and self.answer.head is not None):
            self._go_on()
        if self._done is not None:
            if reason == PEER_RESET:
                self.finish("SOCKERR", f"Connection {PEER_RESET}{self.hint}")
            else:
                self.finish("L7RSP", f"{reason}{self.hint}")

    def pause_writing(self) -> None:
        """Does nothing: what a check sends is too small to be paused."""

    def resume_writing(self) -> None:
        """Does nothing; see `pause_writing`."""

    def deadline_passed(self) -> None:
        step = self._plan.steps[min(self._at, len(self._plan.steps) - 1)]
        self.finish(step.tout if isinstance(step, Expecting) else "L7TOUT", self.hint)

    def _let_go(self) -> None:
        self._deadlines.cancel(self)
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        self._drop()

    def _drop(self) -> None:
        transport, self._transport = self._transport, None
        if transport is None or transport.state == CLOSED:
            return
        if self._linger:
            transport.close("check done")
        else:
            # As HAProxy does: a reset leaves nothing behind in TIME_WAIT on either side.
            transport.abort("check done")
