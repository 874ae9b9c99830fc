"""Rules that are tried together do what they do one by one, in their order."""

from __future__ import annotations

from collections.abc import Iterable
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.rules import Rule
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.samples import REQUEST
from reusedproxy.rules import rule_set
from reusedproxy.rules.editing import Unusable
from reusedproxy.rules.grouping import first_asked, groups, kind_of
from reusedproxy.rules.rule_set import Steps, run, steps
from tests.rulefakes import Seen, sections

PATHS = ("/", "/a", "/ab", "/abc", "/b/a.css", "/c.js")
HOSTS = ("a", "A", "b.a", "c")
#: Read once: rules of them are put together.
CRITERIA = (
    "path_beg /a", "path_beg /b /c", "path_end .css .js", "path /ab /c.js", "path_sub b", "path,lower -m beg /A",
    "path_beg -i /A", "path_reg ^/a", "hdr(host) -i a", "hdr_beg(host) b", "hdr(host) -i c b.a", "hdr(x-set) b",
    "src 127.0.0.1", "method GET",
)  # fmt: skip
CONDITIONS = (
    *(f"if {{ {each} }}" for each in CRITERIA),
    *(f"if {{ {each} }} !{{ path_end b }}" for each in CRITERIA[:6]),
    *(f"if {{ {each} }} || {{ path_beg /b }}" for each in CRITERIA[:3]),
    "unless { path_beg /a }", "if !{ path_beg /a }", "if { path_beg /a } !{ hdr(x-set) -m found } or { path_beg /c }",
)  # fmt: skip
ACTIONS = (
    "deny", "deny deny_status 404", "return status 200 content-type text/plain string x", "allow", "reject",
    "set-header X-Set b", "set-path /ab", "set-path /c.js", "set-path %[hdr(x-none)]", "strict-mode off",
    "set-var(txn.a) path", "set-header Host b.a", "redirect location /x", "set-header X-Set %[path]",
)  # fmt: skip


def read(lines: Iterable[str]) -> list[Rule]:
    text = "\n".join(f" http-request {line}" for line in lines)
    return [*sections(text).frontends["fe"].rules.request]


CONDITIONAL = read(f"deny {condition}" for condition in CONDITIONS)
PATH_KINDS = {kind_of(one) for asking in (CONDITIONAL[0], CONDITIONAL[2]) for one in first_asked(asking)}
ACTING = read(f"{action} if FALSE" for action in ACTIONS)
#: Those that ask for the path, mostly for its beginning: any of them can be a group.
ALIKE = [each for each in CONDITIONAL if (kinds := {kind_of(one) for one in first_asked(each)}) and kinds <= PATH_KINDS]


def rules_of(conditional: list[Rule]) -> st.SearchStrategy[list[Rule]]:
    rule = st.builds(
        lambda number, acting, asking: Rule(Place("t.cfg", number), "", acting.action, asking.condition),
        st.integers(1, 99),
        st.sampled_from(ACTING),
        st.sampled_from(conditional),
    )
    return st.lists(rule, min_size=1, max_size=12)


def outcome(made: Steps, path: str, host: str) -> tuple[object, ...]:
    facts = Seen(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    try:
        verdict: object = run(made, facts)
    except Unusable as unusable:
        verdict = str(unusable)
    head = facts.head
    assert head is not None
    return verdict, head.target, head.block, facts.variables, facts.lenient


def one_by_one(rules: Iterable[Rule]) -> Steps:
    with patch.object(rule_set, "groups", return_value=()):
        return steps(rules, REQUEST)


class GroupingTests(SynchronousTestCase):
    @given(rules=st.one_of(rules_of(CONDITIONAL), rules_of(ALIKE)))
    @settings(max_examples=300, deadline=None)
    def test_the_outcome_is_that_of_the_rules_one_by_one(self, rules: list[Rule]) -> None:
        """Whatever they do, and whatever a rule among them changes that a later one asks for."""
        together, apart = steps(rules, REQUEST), one_by_one(rules)
        for path in PATHS:
            for host in HOSTS:
                self.assertEqual(outcome(together, path, host), outcome(apart, path, host))

    def test_groups_are_among_those_that_are_compared(self) -> None:
        self.assertGreater(len(ALIKE), 7)
        self.assertEqual([*groups([*map(first_asked, ALIKE)])], [(0, len(ALIKE))])

    def made(self, *lines: str) -> Steps:
        return steps(sections("\n".join(lines)).frontends["fe"].rules.request, REQUEST)

    def test_rules_that_ask_for_the_same_are_one_step(self) -> None:
        deny = [f" http-request deny if {{ path_beg /no{number} }}" for number in range(50)]
        self.assertEqual(len(self.made(*deny)), 1)
        self.assertEqual(len(self.made(*deny[:10], " http-request set-header X-A b", *deny[10:])), 3)
        acls = [f" acl a{number} path_end .a{number} .b{number}" for number in range(9)]
        self.assertEqual(len(self.made(*acls, *(f" http-request deny if a{number} !a1" for number in range(9)))), 1)

    def test_what_could_change_something_or_fail_is_asked_as_ever(self) -> None:
        for condition in ("rand(10) -m str x", "path_reg ^/x", "hdr(x) -m found", "date -m str 1"):
            self.assertEqual(len(self.made(*[f" http-request deny if {{ {condition} }}"] * 5)), 5, condition)
        for line in ("allow if { path /x }", "wait-for-body time 1s if { path /x }", "deny if !{ path /x }",
                     "deny unless { path /x }", "pause 1s if { path /x }"):  # fmt: skip
            self.assertEqual(len(self.made(*[f" http-request {line}"] * 5)), 5, line)
