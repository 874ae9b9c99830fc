"""Asks a server's agent how the server is (`agent-check`), and does what it says.

An agent is a small program beside the server, which answers each connection with a line of words: a weight, a limit of
connections, an order, a state. An `AgentChecker` speaks to the backend through the Protocol `Obeys`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from attrs import frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.backends.checks.checker import Checker, reported
from reusedproxy.backends.checks.expects import Received, Verdict
from reusedproxy.backends.checks.facts import CheckFacts
from reusedproxy.backends.checks.judge import Judge
from reusedproxy.backends.checks.results import Result
from reusedproxy.backends.checks.run import CompiledStep, Connecting, Expecting, Plan, Run, Sending
from reusedproxy.backends.server import DOWN, DRAIN, MAINT, READY, UP, Server
from reusedproxy.config.model.checks import Agent
from reusedproxy.net.deadlines import with_a_slot
from reusedproxy.net.dial import Dialer, Target
from reusedproxy.wire.heads import Limits

#: Bytes of an agent's line: as many as HAProxy takes (`tune.bufsize`); a longer one is ignored.
LONGEST_LINE = 16 * 1024
#: The largest weight of a server.
HEAVIEST = 256
#: What is said to who orders another weight where the `balance` algorithm goes by those of the file.
STATIC_WEIGHTS = "Backend is using a static LB algorithm and only accepts weights '0%' and '100%'."
_ORDERS = {"ready": READY, "drain": DRAIN, "maint": MAINT}
_STATES = {"up": UP, "down": DOWN, "stopped": DOWN, "fail": DOWN}
_SEPARATORS = " \t,"


@frozen
class Said:
    """Holds what an agent's line says; None and "" where it is silent. `weight` is in percent of the configured one.
    `word` is that of the state, as written; `wrong` the first word that means nothing, `warning` what is wrong with
    one that does."""

    weight: int | None = None
    maxconn: int | None = None
    order: str | None = None
    health: str | None = None
    word: str = ""
    description: str = ""
    wrong: str = ""
    warning: str = ""


def understood(line: str) -> Said:
    """Reads an agent's line, as HAProxy does: words in any order, of each kind the last one counts, and what follows a
    `#` at the beginning of a word is a description."""
    weight = maxconn = order = health = None
    word = description = wrong = warning = ""
    rest = line.strip(_SEPARATORS)
    while rest:
        if rest.startswith("#"):
            description = rest[1:].lstrip(" \t")
            break
        found = re.match(r"[^ \t,]+", rest)
        assert found is not None
        each, rest = found[0], rest[found.end() :].lstrip(_SEPARATORS)
        lower = each.lower()
        if lower in _STATES:
            health, word = _STATES[lower], each
        elif lower in _ORDERS:
            order = _ORDERS[lower]
        elif percent := re.match(r"([0-9]{1,9})%\Z", each):
            weight = int(percent[1])
        elif lower.startswith("maxconn:"):
            number = each[len("maxconn:") :]
            if re.match(r"[0-9]{1,9}\Z", number):
                maxconn = int(number)
            else:
                warning = warning or "maxconn string empty or preceded by garbage"
        else:
            wrong = wrong or each
    return Said(weight, maxconn, order, health, word, description, wrong, warning)


class Obeys(Protocol):
    """Does what agents say of servers."""

    def takes_weight(self, server: Server, weight: int) -> bool:
        """Tells whether a server may be given this weight."""

    def set_weight(self, server: Server, weight: int) -> None:
        """Sets a server's weight."""

    def set_maxconn(self, server: Server, maxconn: int) -> None:
        """Sets a server's limit of requests."""

    def set_state(self, server: Server, admin: str) -> None:
        """Sets what is ordered of a server: READY, DRAIN or MAINT."""

    def server_changed(self, server: Server, health: str, reason: str) -> None:
        """Notes that a server is UP or DOWN."""


class AgentChecker:
    """Asks one server's agent, from `start` to `stop`, in maintenance, too. That it cannot be reached means nothing."""

    def __init__(
        self,
        server: Server,
        settings: Agent,
        dialer: Dialer,
        clock: IReactorTime,
        timeout: float | None,
        first_after: float,
        obeys: Obeys,
        checker: Checker | None,
        spread: Callable[[float], float] | None = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        """Takes the settings, and the `checker` of the server, which has a say of its own in whether it is UP."""
        self.server = server
        self.settings = settings
        self.judge = Judge(1, 1)
        self.last = Result("INI")
        #: An operator has ordered that it be not asked.
        self.paused = False
        self._dialer = dialer
        self._deadlines = dialer.deadlines
        self._clock = clock
        self._timeout = timeout
        self._first_after = first_after
        self._obeys = obeys
        self._checker = checker
        self._spread = spread
        self._report = report
        self._plan = self._compiled()
        self._line = ""
        self._call: IDelayedCall | None = None
        self._run: Run | None = None
        self._began = 0.0

    def _compiled(self) -> Plan:
        steps: list[CompiledStep] = [Connecting(lambda facts: self._dialer)]
        if self.settings.send:
            said = self.settings.send.encode()
            steps.append(Sending(lambda facts: said))
        steps.append(Expecting(_line, number=2))
        return Plan(steps, Limits(), LONGEST_LINE)

    @property
    def target(self) -> Target:
        """Returns where it asks."""
        return self._dialer.target

    def aim(self, settings: Agent, target: Target) -> None:
        """Asks at this address from now on, what these settings say; again, if the one before has not answered yet."""
        self.settings = settings
        self._plan = self._compiled()
        self._dialer = self._dialer.elsewhere(target, None)
        if self._stop_run():
            self._call = self._clock.callLater(with_a_slot(self._clock.seconds(), 0.0), self._ask)

    def pause(self, paused: bool) -> None:
        """Stops asking, or goes on. An agent that is not asked has no say in whether its server is UP."""
        self.paused = paused
        self.server.agent_down = not paused and not self.judge.well

    def begin_again(self) -> None:
        """Begins from what an agent has said before a reload."""
        self.judge.begin_at(0 if self.server.agent_down else 1)

    def succeed(self, previous: AgentChecker) -> None:
        """Goes on after a reload, with the question that is under way, or with the next one when it is due."""
        self.begin_again()
        self.last, self.paused = previous.last, previous.paused
        if self.settings != previous.settings:
            return
        call = previous._call
        self._first_after = 0.0 if call is None else max(0.0, call.getTime() - self._clock.seconds())
        if previous._run is not None:
            self._run, previous._run = previous._run, None
            self._began = previous._began
            self._run.go_on_for(self._plan, self._ended)

    def start(self) -> None:
        if self._run is None:
            self._call = self._clock.callLater(self._first_after, self._ask)

    def stop(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._stop_run()

    def _stop_run(self) -> bool:
        """Stops asking, if that is under way. Returns whether it was."""
        run, self._run = self._run, None
        if run is not None:
            run.stop()
        return run is not None

    def _ask(self) -> None:
        if self.paused:
            self._call = self._clock.callLater(self.settings.inter, self._ask)
            return
        self._call = None
        self._began = self._deadlines.now()
        facts = CheckFacts(self.server.full_name, {})
        self._run = run = Run(self._plan, self._deadlines, facts, self.settings.inter, self._timeout, self._ended)
        run.start()

    def _ended(self, status: str, info: str, code: int | None, ours: bool) -> None:
        self._run = None
        if self.paused:  # since it was asked
            status, info = "CHECKED", ""
        interval = self.settings.inter if self._spread is None else self._spread(self.settings.inter)
        self._call = self._clock.callLater(with_a_slot(self._clock.seconds(), interval), self._ask)
        duration = self._deadlines.now() - self._began
        if status != "L7OK":
            self.last = Result(status, info, code, duration)
        else:
            self._obey(understood(info), duration)

    def _obey(self, said: Said, duration: float) -> None:
        """Does what the agent says, in HAProxy's order."""
        server, obeys, warning = self.server, self._obeys, said.warning
        if said.order is not None:
            obeys.set_state(server, said.order)
        if said.weight is not None:
            weight = min(HEAVIEST, server.settings.weight * said.weight // 100)
            if not obeys.takes_weight(server, weight):
                warning = STATIC_WEIGHTS
            elif weight != server.weight:
                obeys.set_weight(server, weight)
        if said.maxconn is not None:
            obeys.set_maxconn(server, said.maxconn)
        before, counted = self.last.status, False
        odd = said.wrong or warning
        if said.health is None:
            text = f"agent reports an error : {said.wrong}" if said.wrong else f"agent warns : {odd}" if odd else ""
            self.last = Result("CHECKED", text, None, duration)
            return
        more = odd if said.health == UP and odd else said.description or odd
        info = f"via agent : {said.word}" + (f" ({more})" if more else "")
        self.last = result = Result("L7OK" if said.health == UP else "L7STS", info, 0, duration)
        counted = self.judge.passed() if said.health == UP else self.judge.failed()
        server.agent_down = said.health == DOWN
        if self._report is not None and (counted or before != result.status):
            self._report(reported("Agent", server, result, self.judge))
        self._settle(result)

    def _settle(self, result: Result) -> None:
        server = self.server
        if server.state == MAINT:
            return
        if not self.judge.well:
            health = DOWN
        elif self._checker is not None and not self._checker.judge.well and not self._checker.paused:
            return
        else:
            health = UP
        if (server.health == DOWN) != (health == DOWN):
            self._obeys.server_changed(server, health, str(result) if self._report is None else "")


def _line(got: Received) -> Verdict | None:
    """Waits for the end of the agent's line."""
    found = re.search(rb"[\r\n]", got.data)
    if found is not None:
        return Verdict(True, "L7OK", got.data[: found.start()].decode("utf-8", "replace"))
    if got.over or len(got.data) >= LONGEST_LINE:
        return Verdict(False, "CHECKED", "Ignoring incomplete line from agent")
    return None
