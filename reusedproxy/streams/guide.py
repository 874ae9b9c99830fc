"""Leads the streams of one frontend: its rules look at the first bytes, then one of its backends is chosen, whose rules
look, too. Where that backend is in mode http, or a rule says so (`switch-mode http`), the bytes are read as requests.

A guide is made with the configuration and never changes. It must never know how a connection is found.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Protocol

from attrs import define

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.binding import Binding
from reusedproxy.rules import regular
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.sessions.sticking import Sticking, Sticks, Stores
from reusedproxy.sessions.switching import ServerRules, Switching, backend_to_use, server_to_use
from reusedproxy.streams.facts import AS_BYTES, AS_EITHER, AS_REQUESTS
from reusedproxy.streams.inspection import DENIALS, SILENT_DROP, SWITCH, TIMED_OUT, ContentRules


@define
class Way:
    """Leads to one backend. `rules` are its own, None for a `listen`, whose rules have looked already; `servers` those
    of `use-server`; `answers` those about what the server says."""

    backend: Backend
    rules: ContentRules | None = None
    servers: ServerRules = ()
    answers: ContentRules | None = None
    #: Runs its `stick` rules; None without any.
    sticking: Sticking | None = None


@define
class RequestWay:
    """Leads to the backend of this name, which is in mode http."""

    name: str


class Guided(Sticks, Protocol):
    """Defines the stream as its guide knows it."""

    def switch(self, backend: str | None) -> None:
        """Has the client's bytes read as requests from now on, the first of them for this `backend`; None: what the
        frontend says of requests chooses one."""

    def go(self, way: Way, binding: Binding | None, stores: Stores | None) -> None:
        """Seeks a server of this backend. `stores`: keys under which it is stored then."""

    def enter(self, backend: Backend) -> None:
        """Enters a backend."""

    def inspect(self, rules: ContentRules, then: Callable[[str], None]) -> None:
        """Has these rules look at what the client sends, and calls `then` with what they decide."""

    def refuse(self, flags: str = "PR", *, denied: bool = False, silently: bool = False) -> None:
        """Ends the stream. `denied` tells that a rule says so."""

    def client_gone(self, who: str) -> None:
        """Ends the stream, because its client is gone, or ("c") has timed out."""

    def not_evaluated(self, unevaluated: Unevaluated) -> None:
        """Reports a rule that could not be evaluated."""


class Guide:
    """Leads streams to `ways`, by the names of the backends; `default` is the one where no choice leads to another.
    `disabled` are the names of backends that take nobody."""

    def __init__(
        self,
        rules: ContentRules | None,
        choices: Switching,
        default: str | None,
        ways: Mapping[str, Way | RequestWay],
        disabled: frozenset[str] = frozenset(),
        reached: Collection[str] | None = None,
    ) -> None:
        """Takes the names of the backends that can be `reached`; None: each can."""
        self._rules = rules
        self._choices = choices
        self._default = None if default is None else ways.get(default)
        self.ways = ways
        self._disabled = disabled
        kinds = {type(way) for name, way in ways.items() if reached is None or name in reached}
        if rules is not None and any(step.does == SWITCH for step in rules.steps):
            kinds.add(RequestWay)
        #: How the bytes of its streams are read.
        self.read_as = AS_BYTES if RequestWay not in kinds else AS_EITHER if Way in kinds else AS_REQUESTS

    @property
    def looks(self) -> bool:
        """Tells whether what a client sends may decide where it is led."""
        return self._rules is not None or bool(self._choices)

    def lead(self, stream: Guided) -> None:
        """Leads a stream from its beginning."""
        if self._rules is not None:
            stream.inspect(self._rules, partial(self._inspected, stream))
        else:
            self._choose(stream)

    def _inspected(self, stream: Guided, verdict: str) -> None:
        if verdict in DENIALS:
            stream.refuse(denied=True, silently=verdict == SILENT_DROP)
        elif verdict == TIMED_OUT:
            stream.client_gone("c")
        elif verdict == SWITCH:
            stream.switch(None)
        else:
            self._choose(stream)

    def _choose(self, stream: Guided) -> None:
        try:
            regular.begin()
            way = backend_to_use(self._choices, stream, self.ways, self._disabled, self._default)
        except Exception as error:
            stream.not_evaluated(Unevaluated.by(error))
            stream.refuse()
            return
        if way is None:
            stream.refuse("SC")
        elif isinstance(way, RequestWay):
            stream.switch(way.name)
        elif way.rules is not None:
            stream.enter(way.backend)
            stream.inspect(way.rules, partial(self._inspected_there, stream, way))
        else:
            self._go(stream, way)

    def _inspected_there(self, stream: Guided, way: Way, verdict: str) -> None:
        if verdict in DENIALS:
            stream.refuse(denied=True, silently=verdict == SILENT_DROP)
        elif verdict == TIMED_OUT:
            stream.client_gone("c")
        else:
            self._go(stream, way)

    def _go(self, stream: Guided, way: Way) -> None:
        binding, stores = None, None
        try:
            if way.servers:
                binding = _binding(stream, way)
            if way.sticking is not None:
                binding, stores = way.sticking.receive(stream, binding)
        except Exception as error:
            stream.not_evaluated(Unevaluated.by(error))
            stream.refuse()
            return
        stream.go(way, binding, stores)


def _binding(stream: Guided, way: Way) -> Binding | None:
    """Returns the binding to the server that a `use-server` names. Raises Unevaluated."""
    settings = way.backend.settings
    regular.begin()
    server = server_to_use(way.servers, way.backend, stream, settings.persist)
    return None if server is None else Binding.of(server, settings)
