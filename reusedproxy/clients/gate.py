"""Admits clients by `tcp-request connection` rules, when a client has connected and has sent nothing yet, and by
`tcp-request session` rules, when its handshakes are over.

At first only the source and the destination of the connection are known, then its TLS, too. It must never read from the
client.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from socket import socket
from typing import TYPE_CHECKING, Protocol

from attrs import define, frozen

from reusedproxy.clients.arrival_course import ArrivalCourse
from reusedproxy.config.model.logs import NO_CAPTURES
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.variables import OF_PROCESS
from reusedproxy.net.local_addresses import is_local
from reusedproxy.net.marks import mark_packets
from reusedproxy.net.tls.facts import TransportTLS
from reusedproxy.rules.facts import Course, Facts, Map, Noted, Sample
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.sessions.client import ClientFacts, session_of
from reusedproxy.sessions.figures import CLIENT_FIGURES, LOCAL_ADDRESSES, of_client
from reusedproxy.tables.table import Table
from reusedproxy.tables.tracking import Counters, Tracked
from reusedproxy.wire.faults import Limits

if TYPE_CHECKING:
    from reusedproxy.net.listener import Listener

# What becomes of a client.
ACCEPT = "accept"
REJECT = "reject"
SILENT_DROP = "silent-drop"  # rejected, and not told so
DENIED = (REJECT, SILENT_DROP)
EXPECT_PROXY = "expect-proxy"  # it is another proxy, and says for whom it comes
#: The address of all clients at unix sockets.
UNIX_CLIENT = ("unix", 0)


class Admitting(Protocol):
    """Defines what the rules look at of the frontend that admits a client."""

    @property
    def name(self) -> str: ...

    @property
    def tables(self) -> Mapping[str, Table]: ...

    @property
    def maps(self) -> Mapping[str, Map]: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def variables(self) -> dict[str, Sample]:
        """Returns those of the process."""

    @property
    def sinks(self) -> Mapping[str, Callable[[str], None]]: ...

    def usable_servers(self, backend: str) -> int | None: ...

    def figure(self, which: str, name: str) -> Sample: ...

    def not_done(self, text: str) -> None:
        """Reports what a rule could not do."""


@frozen
class ArrivalNotes:
    """Holds what rules for connections have noted of a client, until its handshakes are over and it has a session:
    what tracks it, variables, and what is in the place of the connection's destination."""

    counters: Counters | None
    variables: dict[str, Sample] | None
    destination: tuple[str, int] | None


@define
class Arrival:
    """Holds the facts of a client that has just connected (`reusedproxy.rules.facts.Facts`): no request yet. Once its
    handshakes are over it has a `client`, and with it TLS and variables of the session. `acts` is False where a client
    that was admitted before is judged again. `counters` are those of its connection; `variables` are for the session
    that it has no `client` for yet; where it is judged again, all that the rules see beside those of the process. Its
    `ends` are then the addresses of the connection itself, as the rules for connections say now."""

    accepted: socket
    source: tuple[str, int]
    listener: Listener
    frontend: Admitting
    client: ClientFacts | None = None
    counters: Counters | None = None
    acts: bool = True
    compared: int = 0
    counted: tuple[int, ...] = ()
    variables: dict[str, Sample] | None = None
    #: What a rule has put in the place of the address that the client has connected to; None: nothing.
    named_destination: tuple[str, int] | None = None
    ends: tuple[tuple[str, int], tuple[str, int]] | None = None

    inspected = head = body = answer_body = line = answer = server_tls = backend_name = server_name = credentials = None
    auth_scheme = noted = None
    unique_id = b""
    asks_as_proxy = lenient = False
    first_request = True
    priority = 0, 0

    @property
    def longest(self) -> int:
        return self.frontend.limits.buffer - 1

    @property
    def own_source(self) -> None:
        """Returns nothing: what a rule puts in the place of the client's address (`set-src`) is its address from then
        on; but not the connection's, once the handshakes are over."""

    @own_source.setter
    def own_source(self, address: tuple[str, int]) -> None:
        self.source = address
        if self.client is not None and self.acts:
            self._keep_addresses(self.client)
            self.client.stand_for(address)

    @property
    def own_destination(self) -> None:
        """Returns nothing, likewise (`set-dst`)."""

    @own_destination.setter
    def own_destination(self, address: tuple[str, int]) -> None:
        self.named_destination = address
        if self.client is not None and self.acts:
            self._keep_addresses(self.client)
            self.client.destination = address  # type: ignore[misc]  # as `session_of`

    @staticmethod
    def _keep_addresses(client: ClientFacts) -> None:
        session = session_of(client)
        if session.addresses_before is None:
            session.addresses_before = client.address, client.destination

    @property
    def destination(self) -> tuple[str, int]:
        if self.named_destination is not None:
            return self.named_destination
        if self.client is not None and self.client.destination is not None:
            return self.client.destination
        return self.connection_destination

    @property
    def announced(self) -> Mapping[int, Sequence[bytes]] | None:
        return None if self.client is None else self.client.announced

    @property
    def connection_source(self) -> tuple[str, int]:
        if self.ends is not None:
            return self.ends[0]
        if self.client is None:
            return self.source
        return self.client.address if self.client.peer is None else self.client.peer

    @property
    def connection_destination(self) -> tuple[str, int]:
        if self.ends is not None:
            return self.ends[1]
        named = self.named_destination
        if self.client is not None:
            named = None if self.client.session is None else self.client.session.connection_destination
        if named is not None:
            return named
        found = self.accepted.getsockname()
        return (found[0], found[1]) if isinstance(found, tuple) else ("unix", 0)

    @property
    def frontend_name(self) -> str:
        return self.frontend.name

    @property
    def maps(self) -> Mapping[str, Map]:
        return self.frontend.maps

    def usable_servers(self, backend: str) -> int | None:
        return self.frontend.usable_servers(backend or self.frontend.name)

    def figure(self, which: str, name: str) -> Sample:
        if which in CLIENT_FIGURES:
            return of_client(which, name, self.accepted)
        if which == "dst_conn":
            return self.listener.connections
        if which in LOCAL_ADDRESSES:
            return is_local(getattr(self, LOCAL_ADDRESSES[which])[0], self.accepted)
        own = self.frontend.name
        found = self.frontend.figure(which, name or own)
        if which == "fe_conn" and name in ("", own) and self.client is None and self.acts and isinstance(found, int):
            found += 1  # this client, which is not among the frontend's before it is admitted
        return found

    def member(self, users: str) -> bytes | None:
        return None

    @property
    def awaits_tls(self) -> bool:
        return self.client is None and self.listener.certificates is not None

    @property
    def client_tls(self) -> TransportTLS | None:
        return None if self.client is None else session_of(self.client).tls

    def tell(self, sink: str, line: str) -> None:
        self.frontend.sinks[sink](line)

    def not_done(self, text: str) -> None:
        self.frontend.not_done(text)

    def table(self, name: str) -> Table | None:
        return self.frontend.tables.get(name)

    def tracked(self, number: int) -> Tracked | None:
        return None if self.counters is None else self.counters.get(number)

    @property
    def listener_name(self) -> str:
        return self.listener.bind.name

    def wall(self) -> float:
        return time.time()

    @property
    def notes(self) -> ArrivalNotes | None:
        """Returns what has been noted of the client; None: nothing."""
        if self.counters is None and self.variables is None and self.named_destination is None:
            return None
        return ArrivalNotes(self.counters, self.variables, self.named_destination)

    def variable(self, name: str) -> Sample:
        if not self.acts and self.variables is not None and name in self.variables:
            return self.variables[name]
        if name.startswith(OF_PROCESS):
            return self.frontend.variables.get(name)
        if self.client is not None and self.acts:
            return session_of(self.client).variables.get(name)
        return None if self.variables is None else self.variables.get(name)

    def set_variable(self, name: str, value: Sample) -> None:
        """Sets a variable of the session or of the process: there is no other yet. Where a client is judged again, only
        the rules behind see it."""
        of_process = name.startswith(OF_PROCESS)
        if not of_process and not name.startswith("sess."):
            return
        if not self.acts:
            self.variables = {**(self.variables or {}), name: value}
            return
        if of_process:
            variables = self.frontend.variables
        elif self.client is not None:
            variables = session_of(self.client).variables
        elif self.variables is None:
            variables = self.variables = {}
        else:
            variables = self.variables
        if value is None:
            variables.pop(name, None)
        else:
            variables[name] = value

    def mark_packets(self, what: str, value: int) -> None:
        """Sets the mark ("mark") or the type of service ("tos") of packets to the client."""
        if why := mark_packets(self.accepted, what, value):
            self.frontend.not_done(why)

    def note(self) -> Noted:
        """Returns notes without captures, which are made of requests."""
        return Noted.of(NO_CAPTURES)

    @property
    def course(self) -> Course:
        return ArrivalCourse(self)

    def set_priority(self, priority: tuple[int, int]) -> None:
        raise NotImplementedError("no connection rule sets one")


@frozen
class SeenBehind:
    """Does what decides about the rules behind: puts another address in the place of one of the client's, or sets a
    variable of the process. It is done where a client is judged again, too, for these rules alone."""

    act: Callable[[Facts], object]

    def __call__(self, facts: Facts) -> None:
        self.act(facts)


@frozen
class Gate:
    """Holds a frontend's rules for connections, or for sessions, in order: each a test, a decision or something that it
    does, and its place. The first that accepts or rejects is the last. `tracks`: one of them tracks something. `sets`:
    one of them sets a variable of the session, or the connection's destination. `said` describes each rule, and `deeds`
    what they do beside deciding: equal descriptions in two gates are of rules that do the same for every client."""

    rules: Sequence[tuple[Callable[[Facts], bool], str | Callable[[Facts], object], Place]]
    tracks: bool = False
    sets: bool = False
    deeds: tuple[object, ...] = ()
    said: Sequence[object] = ()

    def judge(self, arrival: Arrival) -> str:
        """Runs the rules. Returns ACCEPT, REJECT, SILENT_DROP or EXPECT_PROXY. Raises Unevaluated, with the rule's
        place."""
        verdict, place = ACCEPT, None
        try:
            for test, does, place in self.rules:  # noqa: B007 (it is used where one of them raises)
                if not test(arrival):
                    continue
                if not isinstance(does, str):
                    does(arrival)
                elif does == EXPECT_PROXY:
                    verdict = EXPECT_PROXY
                elif does in DENIED:
                    return does
                else:
                    break
        except Exception as error:
            raise Unevaluated.by(error, place) from None
        return verdict

    def judge_again(self, arrival: Arrival) -> tuple[str, list[object], list[Unevaluated]]:
        """Asks the rules about a client that was admitted before, as if those that refuse it now were not there: what
        has changed since must not hide the rules behind. Returns ACCEPT or EXPECT_PROXY, descriptions of the rules that
        refuse the client, and what could not be evaluated, which refuses it as well."""
        verdict = ACCEPT
        refusing: list[object] = []
        failed: list[Unevaluated] = []
        for (test, does, place), said in zip(self.rules, self.said or self.rules, strict=True):
            try:
                if not test(arrival):
                    continue
                if isinstance(does, SeenBehind):
                    does(arrival)
            except Exception as error:
                failed.append(Unevaluated.by(error, place))
                refusing.append((said, "failed"))
                continue
            if does in DENIED:
                refusing.append(said)
            elif does == EXPECT_PROXY:
                verdict = EXPECT_PROXY
            elif does == ACCEPT:
                break
        return verdict, refusing, failed
