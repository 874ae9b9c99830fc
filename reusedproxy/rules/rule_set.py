"""Compiles the rules of one section to a list of steps, which are run in order until one of them ends it."""

from __future__ import annotations

from collections.abc import Iterable

from reusedproxy.config.model.rules import Rule, Rules
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.samples import REQUEST, RESPONSE
from reusedproxy.rules.actions import Act, Answer, act_of
from reusedproxy.rules.facts import Facts
from reusedproxy.rules.matching import ReadPatterns, Test, condition, no_files
from reusedproxy.rules.regular import Unevaluated


class RuleSet:
    """Holds the compiled rules of one section by kind: `request`, `redirects`, `response` and `after`."""

    def __init__(self, rules: Rules, read: ReadPatterns = no_files) -> None:
        self.request = steps(rules.request, REQUEST, read)
        self.redirects = steps(rules.redirects, REQUEST, read)
        self.response = steps(rules.response, RESPONSE, read)
        self.after = steps(rules.after, RESPONSE, read)


Steps = list[tuple[Test | None, Act, Place]]


def steps(rules: Iterable[Rule], where: str, read: ReadPatterns = no_files) -> Steps:
    return [
        (
            None if rule.condition is None else condition(rule.condition, where, read),
            act_of(rule.action, where),
            rule.place,
        )
        for rule in rules
    ]


def run(rules: Steps, facts: Facts) -> Answer | None:
    """Runs the steps. Returns the answer that a rule gives, or None.

    Raises Unusable, and Unevaluated with the rule's place.
    """
    place = None
    try:
        for test, act, place in rules:  # noqa: B007 (it is used where one of them raises)
            if test is None or test(facts):
                verdict = act(facts)
                if verdict is not None:
                    return verdict if isinstance(verdict, Answer) else None
    except Unevaluated as unevaluated:
        unevaluated.place = place
        raise
    return None
