"""Holds the facts of what has neither client nor request (`rules.facts.Facts`): there are none. What a health check
knows, and what the process does, is added by those who make one of these. It must never know where rules stand."""

from __future__ import annotations

from collections.abc import Mapping

from reusedproxy.rules.facts import NO_MAPS, Course, Map, Noted, Sample, TLSSide
from reusedproxy.tables.table import Table
from reusedproxy.tables.tracking import Counters, Tracked
from reusedproxy.wire.heads import Limits, RequestHead, ResponseHead

_NOWHERE = ("unix", 0)


class NobodysFacts:
    """Holds no facts but variables: of these, none to begin with. Configurations that ask for more are refused."""

    head: RequestHead | None = None
    inspected = None
    line: bytes | None = None
    body: bytes | None = None
    longest = Limits().buffer - 1
    answer: ResponseHead | None = None
    answer_body: bytes | None = None
    source = destination = connection_source = connection_destination = _NOWHERE
    first_request = True
    frontend_name = listener_name = ""
    backend_name: str | None = None
    server_name: str | None = None
    client_tls: TLSSide | None = None
    server_tls: TLSSide | None = None
    priority = 0, 0
    credentials = auth_scheme = announced = None
    noted: Noted | None = None
    unique_id = b""
    asks_as_proxy = lenient = False
    compared = 0
    counted: tuple[int, ...] = ()
    awaits_tls = False
    maps: Mapping[str, Map] = NO_MAPS
    counters: Counters | None = None
    acts = True

    def __init__(self, variables: dict[str, Sample]) -> None:
        self._variables = variables

    def usable_servers(self, backend: str) -> int | None:
        return None

    def figure(self, which: str, name: str) -> Sample:
        return None

    def tell(self, sink: str, line: str) -> None:
        raise NotImplementedError("there is no line for it")

    def not_done(self, text: str) -> None:
        raise NotImplementedError("it is refused, or fails")

    def table(self, name: str) -> Table | None:
        return None

    def tracked(self, number: int) -> Tracked | None:
        return None

    def member(self, users: str) -> bytes | None:
        return None

    def note(self) -> Noted:
        raise NotImplementedError("it has no log of its own")

    @property
    def course(self) -> Course:
        raise NotImplementedError("it has no log of its own")

    def set_priority(self, priority: tuple[int, int]) -> None:
        raise NotImplementedError("nothing sets one")

    def wall(self) -> float:
        raise NotImplementedError("whoever makes it has a clock")

    def variable(self, name: str) -> Sample:
        return self._variables.get(name)

    def set_variable(self, name: str, value: Sample) -> None:
        if value is None:
            self._variables.pop(name, None)
        else:
            self._variables[name] = value
