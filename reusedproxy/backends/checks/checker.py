"""Checks the health of one server, again and again: one check at a time.

A check opens its own connection (and handshake), so that it proves that new ones can be made. Its connection may then
go to the server's pool, where one is missing. A checker knows the compiled steps, a clock and a server's thresholds; it
reports UP, NOLB or DOWN to a callback.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.backends.checks.external import ExternalRun
from reusedproxy.backends.checks.facts import CheckFacts
from reusedproxy.backends.checks.judge import Judge
from reusedproxy.backends.checks.plans import DialerFor, compiled_plan
from reusedproxy.backends.checks.requests import request
from reusedproxy.backends.checks.results import Result
from reusedproxy.backends.checks.run import Done, Plan, Run
from reusedproxy.backends.server import DOWN, MAINT, NOLB, UP, Server
from reusedproxy.config.model.checks import CheckPlan, HTTPCheck
from reusedproxy.config.model.proxies import Check
from reusedproxy.net.deadlines import with_a_slot
from reusedproxy.net.dial import Dial, Dialer, Target
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.transport import Transport
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.pool.probe import Probe
from reusedproxy.rules.facts import Sample
from reusedproxy.wire.heads import Limits, ResponseHead


class Dialers(Protocol):
    """Finds the dialers of steps, for a server that may move."""

    @property
    def of(self) -> DialerFor:
        """Returns the function that returns how to connect for a step."""

    def at(self, usual: Dialer) -> Dialers:
        """Returns those for a server that has moved: `usual` is the dialer of its checks now."""


class Checker:
    """Checks one server, from `start` to `stop`.

    A server begins UP, and the first check may take it down, unless `init-state` says otherwise. One in MAINT is not
    checked.
    """

    def __init__(
        self,
        server: Server,
        settings: Check,
        check: HTTPCheck | CheckPlan | None,
        dialer: Dialer,
        clock: IReactorTime,
        limits: Limits,
        timeout: float | None,
        first_after: float,
        changed: Callable[[Server, str, str], None],
        feeds: bool = False,
        *,
        dialers: Dialers | None = None,
        most: int = 16384,
        spread: Callable[[float], float] | None = None,
        report: Callable[[str], None] | None = None,
        state: Callable[[], str] = str,
        program: Callable[[float, Done], ExternalRun] | None = None,
        variables: dict[str, Sample] | None = None,
    ) -> None:
        """Takes the settings. `timeout` is `timeout check` in seconds; `first_after` seconds pass before the first
        check, so that servers' checks are spread; `feeds` tells that an HTTP check's connection is like those of the
        server's pool, and may be left to it. `dialers` finds those of steps that name another place, `most`
        is the number of bytes of an answer that are looked at, `spread` adds chance to an interval, `report` takes the
        lines of `option log-health-checks`, and `state` makes the text of `http-check send-state`; `program` makes the
        run of an external check, which has so many seconds. `variables` are those of the process."""
        self.server = server
        self.settings = settings
        self.judge = Judge(settings.rise, settings.fall)
        self.last = Result("INI")
        #: An operator has ordered that there be none.
        self.paused = False
        self._http = check if isinstance(check, HTTPCheck) else None
        self._deadlines = dialer.deadlines
        self._clock = clock
        self._timeout = timeout
        self._first_after = first_after
        self._changed = changed
        self._feeds = feeds and self._http is not None
        self._spread = spread
        self._report = report
        self._dialer = dialer
        self._dialers = dialers
        self._compile = partial(
            compiled_plan, check, limits=limits, most=most, serving=lambda: server.health != DOWN, state=state
        )
        self._plan = self._compiled()
        self._donated: ServerConnection | None = None
        self._call: IDelayedCall | None = None
        self._run: Run | ExternalRun | None = None
        self._program = program
        self._variables = {} if variables is None else variables
        #: The last run of that; its program may still be there.
        self._last_run: ExternalRun | None = None
        self._began = 0.0

    def _compiled(self) -> Plan:
        usual, dialers = self._dialer, self._dialers
        return self._compile(dialer_for=dialers.of if dialers is not None else lambda connect: lambda facts: usual)

    def aim(self, settings: Check, target: Target, context: ClientContext | None, *, feeds: bool) -> None:
        """Checks this address from now on, with these settings and this TLS context; `feeds` as at the beginning. A
        check that is under way begins again there: what it finds out about the old address is not true of the new one,
        and its connection must not get into the new one's pool."""
        self.settings = settings
        self._feeds = feeds and self._http is not None
        self._dialer = self._dialer.elsewhere(target, context)
        if self._dialers is not None:
            self._dialers = self._dialers.at(self._dialer)
        self._plan = self._compiled()
        if self._stop_run():
            self._check_in(0.0)

    @property
    def target(self) -> Target:
        """Returns where it checks."""
        return self._dialer.target

    @property
    def context(self) -> ClientContext | None:
        """Returns the TLS context of its connections; None without TLS."""
        return self._dialer.context

    @property
    def health(self) -> int:
        """Returns HAProxy's counter."""
        return self.judge.health

    @property
    def failures(self) -> int:
        return self.judge.failures

    def start(self) -> None:
        if self._run is None:
            self._call = self._clock.callLater(self._first_after, self._check)

    def begin_again(self) -> None:
        """Begins from the server's current state, decided elsewhere: one failure takes it down, if it is UP, as in
        HAProxy after MAINT."""
        self.judge.begin_at(0 if self.server.health == DOWN else self.settings.rise)

    def succeed(self, previous: Checker, *, alike: bool, same: bool) -> None:
        """Goes on after a reload: if the checks are `alike`, with the next one when it is due, and with what was
        counted, which says how far the server is from changing its state; if also the server is the `same`, with the
        check that is under way."""
        self.begin_again()
        self.judge.failures, self.last, self.paused = previous.judge.failures, previous.last, previous.paused
        if not alike:
            return
        if previous.judge.well == self.judge.well:
            self.judge.begin_at(previous.judge.health)
        self._first_after = previous.due_in
        if same and previous._run is not None and previous._donated is None:
            self._run, previous._run = previous._run, None
            self._began = previous._began
            self._run.go_on_for(self._plan, self._ended, self._offer if self._feeds else None)

    @property
    def due_in(self) -> float:
        """Returns the seconds until the next check; 0 while one is under way."""
        return 0.0 if self._call is None else max(0.0, self._call.getTime() - self._clock.seconds())

    def begin(self) -> None:
        """Begins as `init-state` says: by default one failure takes the server down."""
        rise = self.settings.rise
        first = {"fully-up": self.judge.top, "up": rise, "down": rise - 1, "fully-down": 0}
        self.judge.begin_at(first[self.server.settings.init_state])

    def pause(self, paused: bool) -> None:
        """Makes no checks, or goes on with them."""
        self.paused = paused

    def stop(self) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._stop_run()

    def _stop_run(self) -> bool:
        """Stops the check that is under way, and gives up its connection. Returns whether there was one."""
        run, self._run = self._run, None
        if run is not None:
            run.stop()
        self._give_up_donated()
        return run is not None

    def soon(self, act: Callable[[], None]) -> None:
        """Calls this in a later turn, unless the checks have ended by then."""
        self._clock.callLater(0, lambda: act() if self._call is not None or self._run is not None else None)

    def hurry(self, within: float) -> None:
        """Begins the next check within so many seconds."""
        if self._call is not None and self._call.getTime() - self._clock.seconds() > within:
            self._call.cancel()
            self._check_in(within)

    # One check.

    def _check(self) -> None:
        if self.server.state == MAINT or self.paused:
            self._check_in(self.settings.inter)
            return
        self._call = None
        self._began = self._deadlines.now()
        run: Run | ExternalRun
        if self._program is not None:
            if self._last_run is not None and (process := self._last_run.lives):
                text = f"the program of the check before cannot be ended (process {process})"
                self._ended("PROCTOUT", text, 0, False)
                return
            run = self._last_run = self._program(self._timeout or self.settings.inter, self._ended)
        else:
            offers = self._offer if self._feeds else None
            facts = CheckFacts(self.server.full_name, self._variables)
            run = Run(self._plan, self._deadlines, facts, self.settings.inter, self._timeout, self._ended, offers)
        self._run = run
        run.start()

    def _offer(self, run: Run, dial: Dial, transport: Transport) -> bool:
        """Leaves a connection to the pool, if that wants one, and asks the check's question on it."""
        http, pool = self._http, self.server.pool
        assert http is not None
        if not pool.wants_one:
            return False
        dial.keep()
        self._donated = pool.adopt(dial, transport)
        probe = Probe(http.method.encode(), partial(self._probed, run))
        self._donated.send(probe, request(http, keep=True), True, None)
        return True

    def _probed(self, run: Run, head: ResponseHead | None, reason: str, slow: bool) -> None:
        """Ends a check whose connection is its pool's again, or gone."""
        self._donated = None
        if head is None:
            run.finish("L7RSP", reason)
        else:
            run.judge(head)

    def _ended(self, status: str, info: str, code: int | None, ours: bool) -> None:
        self._run = None
        self._give_up_donated()
        if ours:
            # HAProxy counts it as a failure; but a server must not go DOWN because we are out of descriptors.
            self.last = Result(status, info)
            self._check_in(self._interval())
            return
        self._take(Result(status, info, code, self._deadlines.now() - self._began))

    def _give_up_donated(self) -> None:
        donated, self._donated = self._donated, None
        if donated is not None:
            donated.give_up("check timed out")

    def asks_as(self, other: Checker) -> bool:
        """Tells whether both send the same request, and expect the same, on connections like those of their pools."""
        return self._feeds and other._feeds and self._http == other._http

    def try_on(self, connection: ServerConnection, told: Callable[[str], None]) -> None:
        """Sends one check on a connection of the pool, independently of the regular checks. Calls `told` with the
        reason why the answer is not as expected, or ""."""
        http = self._http
        assert http is not None

        def ended(head: ResponseHead | None, reason: str, slow: bool) -> None:
            if head is None:
                told(f"no answer to its check: {reason}")
                return
            well = any(low <= head.status <= high for low, high in http.expect) != http.expect_not
            told("" if well else f"it answers its check with {head.status} {head.reason.decode('latin-1')}".rstrip())

        probe = Probe(http.method.encode(), ended)
        probe.ask(connection, request(http, keep=True), self._timeout or self.settings.inter)

    # Its meaning.

    def _take(self, result: Result) -> None:
        """Draws the conclusions of a check."""
        before, self.last = self.last, result
        judge = self.judge
        counted = judge.passed() if result.passed else judge.failed()
        if self._report is not None and (counted or result.status != before.status):
            self._report(reported("Health", self.server, result, judge))
        if self._call is None:
            self._check_in(self._interval())
        self._settle(result)

    def observed(self, info: str, *, brink: bool, fatal: bool) -> None:
        """Counts a failure that requests have shown (`observe`). `brink` takes the server to the brink first; `fatal`
        takes it down."""
        judge = self.judge
        if fatal:
            judge.health = min(judge.health, judge.rise)
        elif brink:
            judge.brink()
        before, self.last = self.last, Result("HANA", info)
        counted = judge.failed()
        if self._report is not None and (counted or before.status != "HANA"):
            self._report(reported("Health", self.server, self.last, judge))
        self._settle(self.last)

    def _settle(self, result: Result) -> None:
        server, judge = self.server, self.judge
        if server.state == MAINT:
            return
        if not judge.well:
            health = DOWN
        elif not result.passed or server.agent_down:
            return
        else:
            health = NOLB if result.stopping else UP
        if server.health != health:
            # With `option log-health-checks` the reason has just been said.
            self._changed(server, health, str(result) if self._report is None else "")

    def _check_in(self, wait: float) -> None:
        self._call = self._clock.callLater(with_a_slot(self._clock.seconds(), wait), self._check)

    def _interval(self) -> float:
        interval = self.judge.interval(self.settings)
        return interval if self._spread is None else self._spread(interval)


def reported(kind: str, server: Server, result: Result, judge: Judge) -> str:
    """Returns the line of `option log-health-checks`, in HAProxy's words."""
    backup = "backup " if server.backup else ""
    how = "conditionally succeeded" if result.stopping else "succeeded" if result.passed else "failed"
    state = ("UP" if server.weight else "DRAIN") if judge.well else "DOWN"
    name = f"{backup}server {server.full_name}"
    return f"{kind} check for {name} {how}, reason: {result}, status: {judge.progress} {state}."
