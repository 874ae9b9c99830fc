"""Compiles the rules of one section to a list of steps, which are run in order until one of them ends it.

Where a test tells that none of the rules for requests applies, that is their guard (`guards`): a request for which it
is false need not pass them.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Mapping
from itertools import chain, islice
from operator import is_
from types import MappingProxyType

from reusedproxy.config.model.rules import Criterion, Rule, Rules
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.samples import CLIENT_BYTES, REQUEST, RESPONSE
from reusedproxy.rules.actions import Act, Allowed, Answer, act_of
from reusedproxy.rules.editing import Unusable
from reusedproxy.rules.facts import Facts
from reusedproxy.rules.grouping import first_asked, groups, guard
from reusedproxy.rules.guards import AboutTables, guard_of
from reusedproxy.rules.limits import limit
from reusedproxy.rules.lists import finished
from reusedproxy.rules.matching import ReadPatterns, Test, condition, no_files, rest_of
from reusedproxy.rules.names import NAMES
from reusedproxy.rules.regular import Interruption, Unevaluated
from reusedproxy.rules.steering import Dropped, Held, buffer_request
from reusedproxy.rules.verifying import users_asked, verified_first, verifying
from reusedproxy.tables.table import Table

NO_TABLES: Mapping[str, Table] = MappingProxyType({})


class RuleSet:
    """Holds the compiled rules of one section by kind: `content`, `request`, `names` (in this order), `redirects`,
    `response` and `after`. `guard` is false for a request to which none of the first four applies, and is asked once,
    before these; None: only running them tells."""

    def __init__(
        self,
        rules: Rules,
        read: ReadPatterns = no_files,
        buffers_at: Place | None = None,
        names: str = "preserve",
        place: Place | None = None,
        tables: Mapping[str, Table] = NO_TABLES,
        notes_last: bool = False,
        hashed: Collection[str] = (),
    ) -> None:
        """Takes rules; the place that says that they wait for bodies (`option http-buffer-request`; None: they do not);
        what becomes of odd `names` of headers in the section at `place`; the stick tables, by name; whether the rule
        that has decided is noted (`last_rule_line`); and the names of the `userlist` sections that have `hashed`
        passwords. The rules are compiled by the steps of `compilation`."""
        self._notes_last = notes_last
        self._hashed = hashed
        self.names: Steps = [(None, NAMES[names], place)] if names in NAMES and place is not None else []
        self.content: Steps = []
        self.request: Steps = [(None, buffer_request, buffers_at)] if buffers_at is not None else []
        self.redirects: Steps = []
        self.response: Steps = []
        self.after: Steps = []
        self.guard: Test | None = None
        self.compilation = self._compile(rules, read, tables)

    def compiled(self) -> RuleSet:
        """Compiles all rules at once, and returns itself."""
        for _ in self.compilation:
            pass
        return self

    def _compile(self, rules: Rules, read: ReadPatterns, tables: Mapping[str, Table]) -> Generator[None, None, None]:
        for kind, said, where in (
            (self.content, rules.content, CLIENT_BYTES),
            (self.redirects, rules.redirects, REQUEST),
            (self.response, rules.response, RESPONSE),
            (self.after, rules.after, RESPONSE),
        ):
            made = yield from compiling(
                said,
                where,
                read,
                notes_last=self._notes_last and kind is not self.redirects,
                hashed=() if where == RESPONSE else self._hashed,
            )
            kind += made
        others = self.names or self.content or self.request or self.redirects
        made, guarded = yield from _compiled(
            rules.request, REQUEST, read, tables, self._notes_last, self._hashed, (*rules.connection, *rules.session)
        )
        self.request += made
        self.guard = None if others else guarded


Steps = list[tuple[Test | None, Act, Place]]


def steps(
    rules: Iterable[Rule], where: str, read: ReadPatterns = no_files, tables: Mapping[str, Table] = NO_TABLES
) -> Steps:
    """Compiles rules for exchanges. Some may be one step together (`grouping`)."""
    return finished(compiling(rules, where, read, tables))


def compiling(
    rules: Iterable[Rule],
    where: str,
    read: ReadPatterns = no_files,
    tables: Mapping[str, Table] = NO_TABLES,
    notes_last: bool = False,
    hashed: Collection[str] = (),
) -> Generator[None, None, Steps]:
    """Compiles rules as `steps` does, and may pause behind each: a thousand take 0.2 s."""
    made, _ = yield from _compiled(rules, where, read, tables, notes_last, hashed)
    return made


def _compiled(
    rules: Iterable[Rule],
    where: str,
    read: ReadPatterns,
    tables: Mapping[str, Table],
    notes_last: bool,
    hashed: Collection[str] = (),
    before: Iterable[Rule] = (),
) -> Generator[None, None, tuple[Steps, Test | None]]:
    """Compiles rules to steps, and to their guard if there is one. The rules `before` are those for connections. One
    that asks for a password of the `hashed` lists is a step of its own, from which rules can go on (`run`)."""
    made: Steps = []
    #: What each step asks first; and the test that tells that it does not apply, as far as that is known.
    asked: list[tuple[Criterion, ...]] = []
    guards: list[Test | None] = []
    about_tables = AboutTables(tables, before)
    last: Rule | None = None
    for rule in rules:
        both = None
        test = None if rule.condition is None else condition(rule.condition, where, read)
        act = act_of(rule.action, where)
        ahead, behind = about_tables.ahead(rule, act, test) if where == REQUEST else (None, test)
        asks = bool(hashed) and not {*users_asked((rule,))}.isdisjoint(hashed)
        if test is not None and last is not None and not asks:
            first = not any(guards[:-1])
            both = limit(last, rule, tables, made[-1][1], test, rest_of(rule.condition, where, read), first)
            if both is not None:
                made.pop()
                asked.pop()
                guards.pop()
                behind = both.test
        if lists := verified_first((rule,), hashed):
            behind = verifying(lists, behind)
        made.append((behind, _noting(act, rule.place) if notes_last else act, rule.place))
        asked.append(() if both is not None or asks else first_asked(rule))
        guards.append(ahead if both is None else both.guard)
        last = rule
        yield
    for at, end in [*groups(asked)][::-1]:
        made[at:end] = [_together(made[at:end], chain.from_iterable(asked[at:end]), where)]
        guards[at:end] = [made[at][0]]
        asked[at:end] = [()]
    return made, guard_of(guards, asked, where)


def _noting(act: Act, place: Place) -> Act:
    """Returns what does the same, and notes its place where it decides."""

    def does(facts: Facts) -> Answer | Allowed | Dropped | Held | None:
        verdict = act(facts)
        if verdict is not None and type(verdict) is not Held:
            facts.note().last_rule = place
        return verdict

    return does


def _together(members: Steps, asked: Iterable[Criterion], where: str) -> tuple[Test | None, Act, Place]:
    """Returns one step for several, none of which applies unless one of these criteria is true."""
    return guard(asked, where), lambda facts: run(members, facts), members[0][2]


def run(rules: Steps, facts: Facts, at: int = 0) -> Answer | Dropped | Held | None:
    """Runs the steps from that with the number `at` on. Returns what a rule answers or does in place of that; None:
    none does.

    Raises Unusable, and Unevaluated with the rule's place. An Interruption has the number of the step that it breaks
    off.
    """
    test = act = place = None
    try:
        for test, act, place in islice(rules, at, None) if at else rules:  # noqa: B007 (it is used where one raises)
            if test is None or test(facts):
                try:
                    verdict = act(facts)
                except Unusable:
                    if not facts.lenient:
                        raise
                    continue
                if verdict is not None:
                    if type(verdict) is Held:
                        verdict.next = 1 + next(number for number, step in enumerate(rules) if step[1] is act)
                    return None if isinstance(verdict, Allowed) else verdict
    except Interruption as interruption:
        broken_off = (test, act, place)
        interruption.at = next(number for number, step in enumerate(rules) if all(map(is_, step, broken_off)))
        raise
    except Exception as error:
        raise Unevaluated.by(error, place) from None  # of a rule in a group the place is known already
    return None
