"""Finds rules that stand one behind the other and ask for the same, so that one test tells that none of them applies.

Fifty `http-request deny if { path_beg /… }` are usual, of which nearly always none is true. A group has a guard, a
criterion with the patterns of all its rules; only where that is true are they tried one by one, in their order. The
guard is what has to be true for any of them: what is asked first in each of their conditions. So nothing may be asked
that changes something, or may fail. It must never know exchanges.

Measured, CPU that 50 rules of which none applies add to a request: 19 µs one by one, 7.5 µs as a group, most of which
is what any rule at all takes (HAProxy 2.8 beside it: 4.4 to 7 µs).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from attrs import evolve

from reusedproxy.config.model.rules import Condition, Criterion, Rule
from reusedproxy.config.model.values import Expression
from reusedproxy.config.rules.steering import Pause, Resolve, WaitForBody
from reusedproxy.rules.facts import Facts
from reusedproxy.rules.matching import criterion

#: What has the same value each time it is asked for, changes nothing, and never fails.
_PURE = frozenset(
    ("path", "pathq", "url", "query", "base", "method", "src", "dst", "dst_port")
    + ("hdr", "req.hdr", "fhdr", "req.fhdr", "cook", "req.cook", "url_param", "urlp", "ssl_fc_sni", "req.ssl_sni")
)
_PURE_CONVERTERS = frozenset(("lower", "upper", "field", "word", "host_only", "port_only", "url_dec"))
#: What else keys of stick tables are made of, and converted by, in the same way.
_KEYS = frozenset(("base32", "base32+src", "url32", "url32+src", "fc_src", "hdr_ip", "req.hdr_ip"))
_OF_KEYS = frozenset(("ipmask", "crc32", "djb2", "sdbm", "wt6", "xxh32", "xxh64"))
#: Methods that are true for several patterns if they are for one of them, and take little more time for many.
_METHODS = frozenset(("str", "beg", "end", "sub", "ip"))
#: Groups are of that many rules, at least, for each test of their guard.
LEAST = 3
#: Tests of a guard, at most: by another sample, say, or another method.
MOST_TESTS = 2

Test = Callable[[Facts], bool]
#: What two criteria have in common that one can be made of.
_Kind = tuple[object, str, bool]


def first_asked(rule: Rule) -> tuple[Criterion, ...]:
    """Returns the criteria of which one is true if the rule applies; () where that cannot be said, or the rule cannot
    be in a group."""
    action = rule.action
    if isinstance(action, (WaitForBody, Pause, Resolve)) or (action.ends and not action.answers):
        return ()
    return asked_first(rule.condition)


def asked_first(said: Condition | None, methods: frozenset[str] = _METHODS) -> tuple[Criterion, ...]:
    """Returns the criteria of which one is true if the condition is; () where that cannot be said, or one of them
    compares by none of these methods."""
    if said is None or said.unless:
        return ()
    found: list[Criterion] = []
    for terms in said.alternatives:
        if terms[0].negated or not all(_is_pure(each, methods) for each in terms[0].criteria):
            return ()
        found += terms[0].criteria
    return (*found,)


def groups(asked: Sequence[tuple[Criterion, ...]], most_kinds: int = MOST_TESTS) -> Iterable[tuple[int, int]]:
    """Returns where groups begin and end, given what each rule asks first; each asks for so many kinds of samples."""
    at = 0
    while at < len(asked):
        kinds: set[_Kind] = set()
        end = at
        while end < len(asked) and asked[end] and len(more := kinds.union(map(kind_of, asked[end]))) <= most_kinds:
            kinds = more
            end += 1
        if end - at >= LEAST * max(1, len(kinds)):
            yield at, end
            at = end
        else:
            at += 1


def kind_of(said: Criterion) -> _Kind:
    """Returns what a criterion shares with those that can be tested with it."""
    return said.expression, said.method, said.ignore_case


def guard(asked: Iterable[Criterion], where: str) -> Test:
    """Returns a test that is true if one of these criteria is."""
    patterns: dict[_Kind, tuple[Criterion, dict[str, None]]] = {}
    for each in asked:
        patterns.setdefault(kind_of(each), (each, {}))[1].update(dict.fromkeys(each.patterns))
    tests = [criterion(evolve(first, patterns=(*texts,)), where) for first, texts in patterns.values()]
    if len(tests) == 1:
        return tests[0]
    one, other = tests
    return lambda facts: one(facts) or other(facts)


def is_safe(key: Expression) -> bool:
    """Tells whether a key can be made ahead of all rules: it asks nothing of the body, and cannot fail."""
    return key.fetch.name in _PURE | _KEYS and all(each.name in _PURE_CONVERTERS | _OF_KEYS for each in key.converters)


def asks_alike(said: Criterion, methods: frozenset[str] = _METHODS) -> bool:
    """Tells whether a criterion asks what it can be asked again, and compares it by one of these methods."""
    expression = said.expression
    return (
        said.method in methods
        and expression.fetch.name in _PURE
        and all(each.name in _PURE_CONVERTERS for each in expression.converters)
    )


def _is_pure(said: Criterion, methods: frozenset[str]) -> bool:
    return not said.files and asks_alike(said, methods)
