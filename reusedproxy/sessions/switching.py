"""Chooses the backend by `use_backend` and the server by `use-server`, for requests as for sessions of mode tcp
(HAProxy's "switching rules" and "server rules"). It must never know what is sent to them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from attrs import frozen

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import Server
from reusedproxy.config.model.values import Place
from reusedproxy.rules.facts import Facts
from reusedproxy.rules.matching import Test
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.rules.samples.formats import Text

#: What leads to a backend: a `Route` of requests, or a `Way` of streams.
To = TypeVar("To")


@frozen
class SwitchingRule:
    """Holds one `use_backend` line: its condition (None: it applies to all), and the name of the backend. `fixed` tells
    that the name is the same for all."""

    place: Place
    test: Test | None
    name: Text
    fixed: bool


def backend_to_use(
    rules: Sequence[SwitchingRule], facts: Facts, known: Mapping[str, To], disabled: Collection[str], default: To | None
) -> To | None:
    """Returns what leads to the backend of the first rule whose condition is true, out of `known`, by its name. Returns
    `default` where there is no such rule or, as in HAProxy, a name that is made for each request is that of no backend;
    None if the backend is `disabled`. Raises Unevaluated, with the place of the rule."""
    place = None
    try:
        for rule in rules:
            place = rule.place
            if rule.test is None or rule.test(facts):
                name = rule.name(facts).decode("utf-8", "replace")
                if rule.fixed or name in known or name in disabled:
                    return known.get(name)
                break
    except Unevaluated as unevaluated:
        unevaluated.place = place
        raise
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
    except Unevaluated as unevaluated:
        unevaluated.place = place
        raise
    return None
