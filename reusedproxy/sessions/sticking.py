"""Sends clients to the servers that stick tables name for them, and stores there which server has answered (`stick`).

A backend with `stick` rules has a `Sticking`, in either mode. Its rules are run after `use-server` and the persistence
cookie; what they store waits in `Stores` until a server has answered. `exchanges.sticking` runs them for requests,
`streams.guide` and `streams.stream` for sessions of mode tcp. It must never know how requests are sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from attrs import Factory, define, frozen

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.binding import Binding
from reusedproxy.backends.server import Server
from reusedproxy.config.model.persistence import MATCH, STORE_REQUEST, STORE_RESPONSE, Stick
from reusedproxy.config.model.rules import Rule
from reusedproxy.config.model.tables import BY_ADDRESS
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.samples import CLIENT_BYTES, REQUEST, RESPONSE, SERVER_BYTES
from reusedproxy.rules import regular
from reusedproxy.rules.counters import MakeKey, key_for
from reusedproxy.rules.facts import Facts
from reusedproxy.rules.matching import ReadPatterns, Test, condition, no_files
from reusedproxy.rules.regular import Interruption, Unevaluated
from reusedproxy.tables.table import Key, Table

#: Keys that are stored for one request, at most, as in HAProxy.
MOST = 8


class Sticks(Facts, Protocol):
    """Defines what `Sticking` asks of an exchange or a stream: where it goes, and what a rule says of persistence."""

    server: Server | None

    @property
    def persist(self) -> str: ...


@define
class Stores:
    """Holds what is stored when a server has answered."""

    found: list[tuple[Table, Key]] = Factory(list)

    def add(self, table: Table, key: Key) -> None:
        if len(self.found) < MOST:
            self.found.append((table, key))

    def has(self, table: Table, since: int = 0) -> bool:
        """Tells whether a rule has found a key for this table; of those that come first one counts."""
        return any(each is table for each, _ in self.found[since:])


@frozen
class StickRule:
    """Holds one compiled rule."""

    test: Test | None
    action: Stick
    key: MakeKey
    place: Place


class Sticking:
    """Runs the `stick` rules of one backend."""

    def __init__(self, backend: Backend, rules: Iterable[Rule], read: ReadPatterns = no_files) -> None:
        self._backend = backend
        tcp = backend.settings.mode == "tcp"
        self._requests = _compiled(rules, False, CLIENT_BYTES if tcp else REQUEST, read)
        self._responses = _compiled(rules, True, SERVER_BYTES if tcp else RESPONSE, read)
        #: The servers by their numbers, and the backend's `roll` of then.
        self._by_id: dict[int, Server] = {}
        self._roll = -1

    def receive(self, facts: Sticks, binding: Binding | None) -> tuple[Binding | None, Stores]:
        """Runs the rules for a request. Returns its binding, found in a table if there was none, and what is stored
        when it is answered. As in HAProxy, a rule that stores is left out as a whole once there is a key for its table.
        Raises Unevaluated, with the rule's place."""
        stores = Stores()
        regular.begin()
        for rule in self._requests:
            kind, table = rule.action.kind, facts.table(rule.action.table)
            if table is None or (kind != MATCH and stores.has(table)):
                continue
            key = _key(rule, facts, table)
            if key is None:
                continue
            if kind != STORE_REQUEST and (row := table.find(key)):
                if binding is None:
                    binding = self._found(facts, table, row)
                table.touch(row, table.now())
            if kind != MATCH:
                stores.add(table, key)
        return binding, stores

    def _found(self, facts: Sticks, table: Table, row: int) -> Binding | None:
        """Returns the binding to the server of an entry, if that is in service, or need not be."""
        settings, forced = self._backend.settings, facts.persist == "force"
        server = self._server(table, row)
        if server is None or not (server.serving or forced or settings.persist):
            return None
        return Binding.of(server, settings, forced=forced)

    def _server(self, table: Table, row: int) -> Server | None:
        """Returns the server that an entry names: by its name, or its address, or else its number."""
        key, number = table.slots.get("server_key"), table.slots.get("server_id")
        name = "" if key is None else table.name_in(row, key)
        if name and table.settings.server_key == BY_ADDRESS:
            found = next((each for each in self._backend.servers if _address(each) == name), None)
        else:
            found = self._backend.named.get(name) if name else None
        if found is None and number is not None:
            if self._roll != self._backend.roll:
                self._roll = self._backend.roll
                self._by_id = {server.settings.id: server for server in self._backend.servers}
            found = self._by_id.get(table.value(row, number))
        return found

    def store(self, facts: Sticks, stores: Stores) -> None:
        """Runs the rules for an answer, and stores which server has sent it. Raises Unevaluated."""
        regular.begin()
        since = len(stores.found)
        for rule in self._responses:
            table = facts.table(rule.action.table)
            if table is None or stores.has(table, since):
                continue
            if (key := _key(rule, facts, table)) is not None:
                stores.add(table, key)
        server = facts.server
        if server is not None and not server.settings.non_stick:
            for table, key in stores.found:
                if row := table.obtain(key):
                    _note(table, row, server)
        stores.found.clear()


def _key(rule: StickRule, facts: Facts, table: Table) -> Key | None:
    """Returns the key that a rule makes; None if there is none, or its condition is not true. Raises Unevaluated, with
    the rule's place."""
    try:
        return rule.key(facts, table) if rule.test is None or rule.test(facts) else None
    except Interruption:
        raise
    except Exception as error:
        raise Unevaluated.by(error, rule.place) from None


def _note(table: Table, row: int, server: Server) -> None:
    number, key = table.slots.get("server_id"), table.slots.get("server_key")
    if key is not None:
        by_address = table.settings.server_key == BY_ADDRESS
        table.put_name(row, key, _address(server) if by_address else server.name)
    if number is not None:
        table.put(row, number, server.settings.id)


def _address(server: Server) -> str:
    """Returns the address by which a server is known with `srvkey addr`; "" if it has none."""
    return "" if server.target is None else str(server.target)


def _compiled(rules: Iterable[Rule], answers: bool, where: str, read: ReadPatterns) -> list[StickRule]:
    made = []
    for rule in rules:
        action = rule.action
        if isinstance(action, Stick) and (action.kind == STORE_RESPONSE) is answers:
            test = None if rule.condition is None else condition(rule.condition, where, read)
            made.append(StickRule(test, action, key_for(action.key, where), rule.place))
    return made
