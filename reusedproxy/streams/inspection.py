"""Runs the rules of one section over what a client, or a server, sends first, again and again until they decide.

What they look at is held by who asks; an inspection knows when nothing more is to be waited for: the delay is over
(`inspect-delay`), as much as is held has come, or that side has ended. It must never know where a stream leads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Protocol

from attrs import frozen

from reusedproxy.config.model.rules import Receive, Rule
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.steering import Resolve
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.rules import regular
from reusedproxy.rules.actions import Act, act_of
from reusedproxy.rules.changing import counters_of, done_once, may_change, waited_for
from reusedproxy.rules.facts import Facts
from reusedproxy.rules.inspected import TRUE, UNKNOWN, Outlook, outlook
from reusedproxy.rules.matching import ReadPatterns, no_files
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.rules.samples.fetches import Fetch
from reusedproxy.rules.steering import Held
from reusedproxy.rules.waiting import Incomplete

# What rules decide.
ACCEPT = "accept"
REJECT = "reject"
SILENT_DROP = "silent-drop"  # rejected, and the client is not told so
CLOSE = "close"
TIMED_OUT = "timed out"  # silent for its time-out, and no rule has refused it
SWITCH = "switch-mode"  # let pass, and the bytes are requests
DENIALS = (REJECT, SILENT_DROP)
#: Not yet.
WAIT = "wait"


@frozen
class Step:
    """Holds one rule: a test, and a verdict or something that it does, `once` or whenever more comes. A rule that
    `looks_up` a name has not done so while there is none, and one that `counts_in` what counters track not before these
    track something. `kept`: the key that it tracks, which is waited for as long as it may change."""

    test: Outlook
    does: str | Act
    place: Place
    once: bool = False
    looks_up: bool = False
    counts_in: Sequence[int] = ()
    kept: Fetch | None = None


@frozen
class ContentRules:
    """Holds the rules of one section. `delay`: seconds that they may wait; None: they do not."""

    steps: Sequence[Step]
    delay: float | None
    #: The rule that has decided is noted (`last_rule_line`).
    notes_last: bool = False

    @classmethod
    def of(
        cls,
        rules: Iterable[Rule],
        delay: float | None,
        where: str,
        read: ReadPatterns = no_files,
        notes_last: bool = False,
    ) -> ContentRules | None:
        """Compiles rules; None if there are none."""
        said = [*rules]
        steps = [
            Step(
                outlook(rule.condition, where, read),
                rule.action.verb if isinstance(rule.action, Receive) else act_of(rule.action, where),
                rule.place,
                done_once(rule, said),
                isinstance(rule.action, Resolve),
                counters_of(rule),
                waited_for(rule, where),
            )
            for rule in said
        ]
        return cls(steps, delay, notes_last) if steps else None

    def judge(self, facts: Facts, begin: int = 0, done: int = 0) -> tuple[str | Held, int, int]:
        """Runs the rules from the one with the number `begin` on. Returns ACCEPT, REJECT, SILENT_DROP, CLOSE, SWITCH or
        WAIT, or what they are held for; the number with which they go on; and, as `done`, a bit for each rule that has
        done what it does once, and is left out from then on. Raises Unevaluated, with the rule's place in the
        configuration."""
        regular.begin()
        place = None
        try:
            for number in range(begin, len(self.steps)):
                step, bit = self.steps[number], 1 << number
                if done & bit:
                    continue
                does, place = step.does, step.place
                found = step.test(facts)
                if found == UNKNOWN:
                    return WAIT, 0, done
                if found == TRUE and isinstance(does, str):
                    if self.notes_last:
                        facts.note().last_rule = place
                    return does, 0, done
                if found != TRUE or isinstance(does, str):
                    continue
                if step.kept is not None and may_change(step.kept, facts):
                    return WAIT, 0, done
                held = does(facts)
                if isinstance(held, Held):
                    return held, number + 1, done | bit
                counted = all(facts.tracked(each) is not None for each in step.counts_in)
                if step.once and counted and not step.looks_up:
                    done |= bit
        except Incomplete:
            return WAIT, 0, done
        except Exception as error:
            raise Unevaluated.by(error, place) from None
        return ACCEPT, 0, done


class Inspectable(Facts, Protocol):
    """Defines the stream as its inspection knows it, which sets `final`. `heard`: when its client sent something."""

    final: bool
    heard: float

    @property
    def deadlines(self) -> Deadlines: ...

    def not_evaluated(self, unevaluated: Unevaluated) -> None:
        """Reports a rule that could not be evaluated."""


class Inspection:
    """Waits for what a section's rules decide about one stream. `over` is called once, with ACCEPT, REJECT,
    SILENT_DROP, CLOSE, SWITCH or TIMED_OUT, and may be called before `look` returns."""

    __slots__ = (
        "_begin",
        "_done",
        "_ended",
        "_expires",
        "_over",
        "_patience",
        "_rules",
        "_stop",
        "_stream",
        "deadline",
        "slot",
    )

    def __init__(
        self,
        stream: Inspectable,
        rules: ContentRules,
        ended: Callable[[], bool],
        over: Callable[[str], None],
        patience: float | None = None,
    ) -> None:
        """Asks `ended` whether nothing more can come; `patience` are the seconds of silence after which the client has
        timed out (None: it is not the one that is waited for)."""
        self.deadline = inf
        self.slot = 0.0
        self._stream = stream
        self._rules = rules
        #: The number of the rule with which they go on, and the bits of those that have done what they do once.
        self._begin = self._done = 0
        self._ended = ended
        self._over: Callable[[str], None] | None = over
        self._patience = inf if patience is None else patience
        #: When the delay is over; 0: it has not begun.
        self._expires = 0.0
        #: Stops what the rules are held for, such as a name that is looked up; None: they are not held.
        self._stop: Callable[[], None] | None = None

    def look(self, expired: bool = False) -> None:
        """Looks at what has come by now."""
        over = self._over
        if over is None:
            return
        verdict = self.verdict(expired)
        now = self._stream.deadlines.now()
        if not self._expires:
            self._expires = now + (self._rules.delay or 0.0)
        if self._stop is not None:
            self._stream.deadlines.cancel(self)  # what is looked up has a time of its own
        elif verdict == WAIT:
            self._stream.deadlines.watch(self, min(self._expires, self._stream.heard + self._patience))
        else:
            self.leave()
            over(verdict)

    def verdict(self, expired: bool) -> str:
        """Returns what the rules say now; `expired`: nothing more is waited for."""
        stream = self._stream
        if self._stop is not None:
            return WAIT
        stream.final = expired or self._rules.delay is None or self._ended()
        try:
            while True:
                verdict, self._begin, self._done = self._rules.judge(stream, self._begin, self._done)
                if not isinstance(verdict, Held):
                    return verdict
                if self._holds(verdict):
                    return WAIT
        except Exception as error:
            stream.not_evaluated(Unevaluated.by(error))
            return REJECT
        finally:
            stream.final = True

    def _holds(self, held: Held) -> bool:
        """Begins what the rules are held for. Returns False if it is over already."""
        assert held.begin is not None
        over = False

        def go_on() -> None:
            nonlocal over
            over = True
            if self._stop is not None:
                self._stop = None
                self.look()

        stop = held.begin(go_on)
        if not over:
            self._stop = stop
        return not over

    def leave(self) -> None:
        """Waits no more."""
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()
        self._over = None
        self._ended = _over  # what it was asked of refers to the inspection
        self._stream.deadlines.cancel(self)

    def deadline_passed(self) -> None:
        over = self._over
        if over is None or self._expires < self._stream.heard + self._patience:
            self.look(expired=True)
            return
        verdict = self.verdict(expired=True)
        self.leave()
        over(verdict if verdict in DENIALS else TIMED_OUT)


def _over() -> bool:
    """Tells that nothing more is waited for."""
    return True
