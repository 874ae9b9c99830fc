"""A world (`tests.clientfakes`) whose rules are read from lines of configuration, as they are written.

    world = ruled(self, "http-request deny if { path_beg /admin }", backend="http-request set-header X 1", warm=1)

`Seen` are facts without an exchange. More backends come as `others={"api": "http-request …"}`;
each is a world of its own in `world.others`, with a server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.answers import Answers
from reusedproxy.build.rule_sets import RuleSets
from reusedproxy.build.tables import judged_from, tables_of
from reusedproxy.config import model
from reusedproxy.config.model.logs import Captures, Slot
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.exchanges.authentication import Authentication
from reusedproxy.net.passwords import Passwords
from reusedproxy.net.slices import run_through
from reusedproxy.rules.facts import NO_MAPS, Map, Noted, Sample
from reusedproxy.rules.samples.formats import text_of_items
from reusedproxy.tables.table import Table
from reusedproxy.tables.tracking import Counters, Tracked
from reusedproxy.wire.credentials import Credentials, auth_scheme, basic_credentials
from reusedproxy.wire.heads import Limits, read_request, read_response
from tests.clientfakes import PLACE, World
from tests.tlsfakes import Side


class Seen:
    """`reusedproxy.rules.facts.Facts` of a request from 127.0.0.1, and perhaps of the answer to it."""

    inspected: Any = None
    source = connection_source = ("127.0.0.1", 4711)
    destination = connection_destination = ("127.0.0.1", 80)
    announced: Mapping[int, Sequence[bytes]] | None = None
    first_request = True
    frontend_name = "main"
    backend_name: str | None = None
    server_name: str | None = None
    listener_name = "front"
    line: bytes | None = None
    body = b""
    answer_body: bytes | None = b""
    longest = Limits().buffer - 1
    priority = 0, 0
    asks_as_proxy = lenient = False
    maps: Mapping[str, Map] = NO_MAPS
    counters: Counters | None = None
    compared = 0
    counted: tuple[int, ...] = ()
    awaits_tls = False
    passed = found = 0
    acts = True
    tables: Mapping[str, Table] = MappingProxyType({})
    noted: Any = None
    told: Sequence[tuple[str, str]] = ()
    unique_id = b"id"
    # Of `reusedproxy.rules.facts.Course`.
    accepted_at = 86400.5
    server_label = "<NOSRV>"
    client_host, client_port = source
    host_name, pid = "machine", 4242
    status = 200

    def __init__(
        self, head: bytes, answer: bytes = b"", tls: Side | None = None, server_tls: Side | None = None
    ) -> None:
        self.head = read_request(head, Limits())
        self.answer = read_response(answer, b"GET", Limits()) if answer else None
        self.client_tls, self.server_tls = tls, server_tls
        self.variables: dict[str, Sample] = {}

    @property
    def course(self) -> Any:
        return self

    @property
    def facts(self) -> Seen:
        return self

    @property
    def frontend_label(self) -> str:
        return self.frontend_name + ("~" if self.client_tls is not None else "")

    @property
    def backend_label(self) -> str:
        return self.backend_name or self.frontend_name

    def note(self) -> Noted:
        if self.noted is None:
            self.noted = Noted.of(Captures((Slot(PLACE, 4), Slot(PLACE, 9)), (Slot(PLACE, 4),)))
        return self.noted  # type: ignore[no-any-return]

    def usable_servers(self, backend: str) -> int | None:
        return {"": 2, "other": 0}.get(backend)

    def figure(self, which: str, name: str) -> Sample:
        return len(which) if not name else None

    def tell(self, sink: str, line: str) -> None:
        self.told = [*self.told, (sink, line)]

    def not_done(self, text: str) -> None:
        self.told = [*self.told, ("", text)]

    def table(self, name: str) -> Table | None:
        return self.tables.get(name)

    def tracked(self, number: int) -> Tracked | None:
        return None if self.counters is None else self.counters.get(number)

    @property
    def credentials(self) -> Credentials | None:
        return basic_credentials(self.head.values(b"Authorization"))

    @property
    def auth_scheme(self) -> bytes | None:
        return auth_scheme(self.head.values(b"Authorization"))

    def member(self, users: str) -> bytes | None:
        return None

    def wall(self) -> float:
        return 86400.5

    def set_priority(self, priority: tuple[int, int]) -> None:
        self.priority = priority

    def variable(self, name: str) -> Sample:
        return self.variables.get(name)

    def set_variable(self, name: str, value: Sample) -> None:
        self.variables[name] = value


DEFAULTS = "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 60s\n"


def sections(
    frontend: str, backend: str = "", others: dict[str, str] | None = None, users: str = "", global_: str = ""
) -> model.Configuration:
    """A frontend `fe`, its backend `be`, and `others`; `users` are the lines of a `userlist` with the name L, `global_`
    those of the section `global`."""
    text = f"global\n{global_}\n" if global_ else ""
    text += f"userlist L\n{users}\n" if users else ""
    text += (
        f"{DEFAULTS}frontend fe\n bind :80\n{frontend}\n default_backend be\nbackend be\n{backend}\n server s1 h:1\n"
    )
    for name, lines in (others or {}).items():
        text += f"backend {name}\n{lines}\n server s1 h:1\n"
    return read_configuration([Source("t.cfg", text)], {})


def ruled(
    test: SynchronousTestCase,
    lines: str,
    backend: str = "",
    others: dict[str, str] | None = None,
    files: dict[str, bytes] | None = None,
    users: str = "",
    passwords: Passwords | None = None,
    global_: str = "",
    **world: Any,
) -> World:
    """The world whose frontend has these lines, which may name `files` and the userlist L of `users`, whose hashes
    `passwords` checks; `global_` are lines of the section `global`; further keywords go to it."""
    said = sections(lines, backend, others, users, global_)
    made = World(test, **world)
    backends = {"be": made.backend}
    for name in others or {}:
        other = made.others[name] = World(test, warm=1)
        other.backend.name = name
        backends[name] = other.backend
    for name, each in backends.items():
        settings = said.backends[name]
        each.settings = evolve(each.settings, place=settings.place, rules=settings.rules)
    own = said.frontends["fe"]
    made.frontend.settings = evolve(
        made.frontend.settings,
        place=own.place,
        rules=own.rules,
        use_backends=own.use_backends,
        default_backend="be",
        log=own.log,
        captures=own.captures,
        unique_id=own.unique_id,
        unique_id_header=own.unique_id_header,
        errors=own.errors,
    )
    if own.unique_id is not None:
        made.frontend.unique_id = text_of_items(own.unique_id)
    if users:
        made.frontend.authentication = Authentication(said.user_lists, passwords or Passwords(None))
    made.frontend.judged_from = judged_from(said.tables.values())
    made.frontend.tables = tables_of(said.tables, {}, made.clock.seconds, [])
    rule_sets = RuleSets(backends, answers=Answers(files={**(files or {})}), tables=made.frontend.tables)
    made.frontend.errors = rule_sets.answers.pages(own.errors)
    run_through(rule_sets.patterns.load([own, *said.backends.values()]))
    made.frontend.lists = rule_sets.patterns.edited
    made.frontend.routing = run_through(rule_sets.routing(made.frontend))
    made.frontend.backends = backends
    made.frontend.settings = evolve(made.frontend.settings, monitor_uri=own.monitor_uri)
    monitor = rule_sets.monitor(made.frontend)
    if monitor is not None:
        monitor.stand_in()
    made.frontend.set_guard()
    test.assertEqual(rule_sets.patterns.faults + rule_sets.answers.faults, [])
    return made
