"""Chooses the backend by `use_backend` and the server by `use-server`, for requests as for sessions of mode tcp
(HAProxy's "switching rules" and "server rules"). It must never know what is sent to them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from typing import TypeVar

from attrs import frozen

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import Server
from reusedproxy.config.model.rules import Condition, UseBackend
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.samples import CLIENT_BYTES
from reusedproxy.rules.facts import Facts
from reusedproxy.rules.grouping import asked_first, groups
from reusedproxy.rules.index import LOOKED_UP, MOST_KINDS, Find, find_in, told_by
from reusedproxy.rules.matching import Test
from reusedproxy.rules.regular import Interruption, Unevaluated
from reusedproxy.rules.samples.formats import Text, text_of

#: What leads to a backend: a `Route` of requests, or a `Way` of streams.
To = TypeVar("To")


class OtherMode(Interruption):
    """Says that a name that is made for each request is that of a backend in mode tcp, which takes no requests."""


@frozen
class SwitchingRule:
    """Holds one `use_backend` line: its condition (None: it applies to all), and the name of the backend. `fixed` tells
    that the name is the same for all."""

    place: Place
    test: Test | None
    name: Text
    fixed: bool


@frozen
class SwitchingRules:
    """Holds `use_backend` lines that follow one another and ask for the same. `find` returns the numbers of those that
    can apply, in their order; a condition that needs no test then is None."""

    rules: Sequence[SwitchingRule]
    find: Find

    @property
    def place(self) -> Place:
        return self.rules[0].place


#: All lines of a section, in their order.
Switching = Sequence["SwitchingRule | SwitchingRules"]


def switching(
    said: Sequence[UseBackend], where: str, compiled: Callable[[Condition | None], Test | None]
) -> Generator[None, None, list[SwitchingRule | SwitchingRules]]:
    """Returns the rules of these lines, in steps; `compiled` compiles their conditions. Lines that ask for the same are
    looked up together, which takes a request 3.6 µs; one by one it took 3.5 µs for each, of which there are hundreds in
    files of hosting."""
    asked = [asked_first(each.condition, LOOKED_UP) for each in said]
    # What is asked of a stream's bytes may fail, so that nothing may be asked before its turn.
    found = groups(asked, 1 if where == CLIENT_BYTES else MOST_KINDS)
    group = {number: (at, end) for at, end in found for number in range(at, end)}
    made: list[SwitchingRule | SwitchingRules] = []
    members: list[SwitchingRule] = []
    for number, each in enumerate(said):
        at, end = group.get(number, (number, number))
        known = number in group and told_by(each.condition)
        test = None if known else compiled(each.condition)
        rule = SwitchingRule(each.place, test, text_of(each.name, where), each.name.constant is not None)
        if number not in group:
            made.append(rule)
        else:
            members.append(rule)
            if number == end - 1:
                made.append(SwitchingRules(members, find_in(asked[at:end], where)))
                members = []
        yield
    return made


def backend_to_use(
    rules: Switching,
    facts: Facts,
    known: Mapping[str, To],
    disabled: Collection[str],
    default: To | None,
    other_mode: Collection[str] = (),
) -> To | None:
    """Returns what leads to the backend of the first rule whose condition is true, out of `known`, by its name. Returns
    `default` where there is no such rule or, as in HAProxy, a name that is made for each request is that of no backend;
    None if the backend is `disabled`. Raises Unevaluated, with the place of the rule, and OtherMode if the name is one
    of `other_mode`."""
    place = None
    try:
        for each in rules:
            place = each.place
            candidates = (each,) if isinstance(each, SwitchingRule) else [each.rules[at] for at in each.find(facts)]
            for rule in candidates:
                place = rule.place
                if rule.test is None or rule.test(facts):
                    name = rule.name(facts).decode("utf-8", "replace")
                    if rule.fixed or name in known or name in disabled:
                        return known.get(name)
                    if name in other_mode:
                        raise OtherMode
                    return default
    except Interruption:
        raise
    except Exception as error:
        raise Unevaluated.by(error, place) from None
    return default


#: Of each `use-server` line: its condition, the name of the server, and its place.
ServerRules = Sequence[tuple[Test, Text, Place]]


def server_to_use(rules: ServerRules, backend: Backend, facts: Facts, whatever_its_state: bool) -> Server | None:
    """Returns the server of the first `use-server` whose condition is true and whose server is in service, or need not
    be; a name of no server ends the search. Raises Unevaluated, with the place of the rule."""
    place = None
    try:
        for test, name, place in rules:  # noqa: B007 (it is used where one of them raises)
            if test(facts):
                server = backend.named.get(name(facts).decode("utf-8", "replace"))
                if server is None or server.serving or whatever_its_state:
                    return server
    except Interruption:
        raise
    except Exception as error:
        raise Unevaluated.by(error, place) from None
    return None
