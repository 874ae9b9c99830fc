"""Gives sample fetches access to a check: its variables, the names of its server, and the answer's head."""

from __future__ import annotations

from collections.abc import Mapping
from time import time

from reusedproxy.rules.facts import NO_MAPS, Course, Map, Noted, Sample, TLSSide
from reusedproxy.tables.table import Table
from reusedproxy.tables.tracking import Counters, Tracked
from reusedproxy.wire.heads import Limits, RequestHead, ResponseHead

_NOWHERE = ("unix", 0)


class CheckFacts:
    """Holds what a run of a check knows. Of clients and requests there is nothing: configurations that ask for it are
    refused."""

    head: RequestHead | None = None
    inspected = None
    line: bytes | None = None
    body: bytes | None = None
    #: What holds the variables of a check, which end with it, need not follow `tune.bufsize`.
    longest = Limits().buffer - 1
    answer_body: bytes | None = None
    source = destination = connection_source = connection_destination = _NOWHERE
    first_request = True
    frontend_name = listener_name = ""
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

    def __init__(self, full_name: str) -> None:
        backend, _, server = full_name.rpartition("/")
        self.backend_name: str | None = backend
        self.server_name: str | None = server
        self.answer: ResponseHead | None = None
        self._variables: dict[str, Sample] = {}

    def usable_servers(self, backend: str) -> int | None:
        return None

    def figure(self, which: str, name: str) -> Sample:
        return None

    def tell(self, sink: str, line: str) -> None:
        raise NotImplementedError("no check has a line for it")

    def not_done(self, text: str) -> None:
        raise NotImplementedError("what a check cannot do makes it fail")

    def table(self, name: str) -> Table | None:
        return None

    def tracked(self, number: int) -> Tracked | None:
        return None

    def member(self, users: str) -> bytes | None:
        return None

    def note(self) -> Noted:
        raise NotImplementedError("a check has no log of its own")

    @property
    def course(self) -> Course:
        raise NotImplementedError("a check has no log of its own")

    def set_priority(self, priority: tuple[int, int]) -> None:
        raise NotImplementedError("no check sets one")

    def wall(self) -> float:
        return time()

    def variable(self, name: str) -> Sample:
        return self._variables.get(name)

    def set_variable(self, name: str, value: Sample) -> None:
        if value is None:
            self._variables.pop(name, None)
        else:
            self._variables[name] = value
