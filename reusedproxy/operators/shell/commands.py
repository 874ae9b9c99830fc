"""Defines what an operator sees in the manhole: the names in a session, and tables in plain text.

Formats the view of the running proxy, and passes on an operator's orders for a server. The names in a session are the
living objects themselves. Changes nothing itself, and must never know SSH.
"""

from __future__ import annotations

import pydoc
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from attrs import evolve

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import DOWN, DRAIN, MAINT, READY, Server
from reusedproxy.clients.frontend import Frontend
from reusedproxy.config.language.printable import printable_lines
from reusedproxy.config.language.report import did_you_mean
from reusedproxy.operators.logs.expiry import days_left
from reusedproxy.operators.logs.orders import Orderer
from reusedproxy.operators.metrics.groups import SPREAD_HEADINGS, groups
from reusedproxy.operators.runtime.commands import run, shown
from reusedproxy.operators.runtime.proxy import ADMIN, BUSY, QUEUED, WAIT, Context, Refusal, Service
from reusedproxy.operators.runtime.words import commands_of
from reusedproxy.operators.shell.tables import POOL_HEADINGS, pool_row, table
from reusedproxy.operators.stats.figures import closed_because
from reusedproxy.operators.stats.shown import few
from reusedproxy.operators.view.cold import cold_sentences
from reusedproxy.operators.view.floors import sentences
from reusedproxy.operators.view.hedged import hedging_sentences
from reusedproxy.operators.view.places import place_sentences
from reusedproxy.operators.view.readiness import readiness
from reusedproxy.operators.view.reading import Reader, connections, ended, hedging_view, server_view
from reusedproxy.operators.view.values import BackendView, ConnectionView, FrontendView, PoolView, ProxyView, ServerView

T = TypeVar("T")

GUIDE = """\
reusedproxy manhole: Python, inside the running daemon.
  pools()          the pool of every server: what it holds, what it has done, why connections ended, what troubles it
  show()           frontends, backends, servers, TLS listeners; show("BACKEND/SERVER") the connections of one server
  explain("B/S")   how the floor of that server's pool stands to the demand of the last hour, and what the last
                   request that found no connection would have needed
  metrics("B/S")   all that is counted of one server's pool: waits, connects, handshakes, ends, races, certificates
  drain("BACKEND/SERVER")  gives that server only requests that are bound to it; its connections and checks go on
  maint("BACKEND/SERVER")  gives it none, lets its idle connections go and checks it no more
  ready("BACKEND/SERVER")  ends both
  run("show stat") prints what the runtime API answers to this; run("help") lists its commands; none may wait
  errors()         the last request of each frontend, and answer of each server, that could not be taken, and why
  help()           this text; help(thing) what Python knows of a thing
  frontends, backends, servers      by name: servers["BACKEND/SERVER"].pool
  service, service.proxy            all of it; proxy is that of when the session began, which a reload replaces
Nothing else runs while a line of yours does: one that does not end stops the whole daemon.
^D or exit() leaves."""

#: Said of an order that goes on when the line has been run.
LOGGED = "It is under way: the log says how it ends.\n"
#: Said of a command that waits for what cannot happen while a line is run.
NO_WAIT = "This has to wait, and the daemon would stand still meanwhile: ask at a socket of the runtime API (socat)."


def namespace(service: Service, who: str) -> dict[str, Any]:
    """Returns the names that a new session starts with; `who` has logged in."""
    overview = Commands(service, Orderer("the manhole", who))
    return {
        "__name__": "__manhole__",
        "service": service,
        "proxy": service.proxy,
        "frontends": ByName(lambda: {each.name: each for each in overview.frontends}),
        "backends": ByName(lambda: {each.name: each for each in overview.backends}),
        "servers": ByName(lambda: {each.full_name: each for each in overview.servers}),
        "pools": overview.print_pools,
        "show": overview.show,
        "explain": overview.explain,
        "metrics": overview.print_metrics,
        "drain": overview.drain,
        "maint": overview.maint,
        "ready": overview.ready,
        "errors": overview.print_errors,
        "run": overview.run,
        "help": _help,
    }


def _nobody_waits() -> None:
    """Does nothing: the command has ended."""


def _say(text: object, end: str = "\n") -> None:
    """Prints a text, in which names and messages may be other people's."""
    print(printable_lines(str(text)), end=end)


def _say_at_once(pieces: Iterable[str], context: Context) -> bool:
    """Prints an answer as far as it can be had now; returns whether its command has ended, or ends by itself.

    Whoever asked again and again for one that is busy would keep what it waits for from happening. So would one that
    others come before. What would follow new lines has shown those that there are, and so has ended.
    """
    left: Any = iter(pieces)
    for piece in left:
        if piece is QUEUED:
            with suppress(Refusal):
                left.throw(Refusal(NO_WAIT))  # if it were closed, it would be done later
            return False
        if piece is WAIT or piece is BUSY:
            goes_on = piece is BUSY and context.changing
            left.close()
            if goes_on:
                _say(LOGGED, end="")
            return goes_on or piece is WAIT
        _say(piece, end="")
    return True


class ByName(Mapping[str, T]):
    """Finds by name what there is at that moment: a session may outlast reloads."""

    def __init__(self, find: Callable[[], dict[str, T]]) -> None:
        self._find = find

    def __getitem__(self, name: str) -> T:
        return self._find()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._find())

    def __len__(self) -> int:
        return len(self._find())

    def __repr__(self) -> str:
        return repr(self._find())


class Commands:
    """The helpers of a session: each prints, and returns nothing.

    A session may outlast reloads: the helpers are about the proxy that runs at that moment.
    """

    def __init__(self, service: Service, orderer: Orderer) -> None:
        self._service = service
        self._orderer = orderer

    @property
    def frontends(self) -> Sequence[Frontend]:
        return self._service.proxy.frontends if self._service.proxy else ()

    @property
    def backends(self) -> Sequence[Backend]:
        return self._service.proxy.backends if self._service.proxy else ()

    @property
    def servers(self) -> list[Server]:
        return [server for backend in self.backends for server in backend.servers]

    def run(self, line: str) -> None:
        """Prints the answers of the runtime API to the commands of this line, each up to where one would have to
        wait: the log tells how a reload ends, and behind a `wait` nothing of the line is done."""
        context = Context(self._service, ADMIN, 0.0, orderer=self._orderer)
        commands = commands_of(line)
        for number, words in enumerate(commands, start=1):
            context = evolve(context, wake=_nobody_waits)  # what goes on is woken by a context of its own
            try:
                answer = run(context, words)
                over = _say_at_once([answer] if isinstance(answer, str) else answer, context)
            except Refusal as refusal:
                _say(refusal)
                continue
            if not over:
                undone = "; ".join(shown(context, each) for each in commands[number:] if each)
                _say(f"{NO_WAIT}{f' Not done: {undone}' if undone else ''}")
                return

    def _view(self) -> ProxyView | None:
        return Reader(self._service.proxy).view() if self._service.proxy else None

    def print_pools(self) -> None:
        """Prints the pool of every server."""
        view = self._view()
        servers = view.servers if view is not None else []
        rows = table([POOL_HEADINGS, *map(pool_row, servers)])
        _say(rows[0])
        for server, row in zip(servers, rows[1:], strict=True):
            _say(row)
            for remark in _remarks(server.pool):
                _say(f"    {remark}")

    def print_errors(self) -> None:
        """Prints what was refused as invalid, as HAProxy's `show errors`: the last one for each frontend and server
        that saw any."""
        view = self._view()
        if view is None:
            return
        seen = [(f"frontend {each.name}", each.invalid) for each in view.frontends]
        seen += [(f"server {each.full_name}", each.pool.invalid) for each in view.servers]
        for name, invalid in seen:
            last = invalid.last
            if last is not None:
                source = f" from {last.source}" if last.source else ""
                _say(f"{name}: {invalid.count} in all; the last{source} {view.at - last.at:.0f} s ago: {last.reason}")
                _say(f"    {last.data!r}")
        if not any(invalid.count for _, invalid in seen):
            _say("none")

    def explain(self, what: Any) -> None:
        """Prints how the floor of one server's pool stands to the demand, and what the last cold request would
        have needed, by name or the server itself."""
        living = self._server(what)
        server, backend = server_view(living), next(each for each in self.backends if living in each.servers)
        late = hedging_sentences(hedging_view(backend))
        waits = place_sentences(server, len(backend.queue))
        option = backend.settings.ending_option
        floor, cold = sentences(server.pool, option), cold_sentences(server.pool, option)
        said = (*waits, *readiness(server), *floor, *cold, *late)
        print("\n".join((_summary(server), *said)))

    def print_metrics(self, what: Any) -> None:
        """Prints all metrics of one server's pool, by name or the server itself; of histograms the mean, and upper
        bounds for shares of all values."""
        server = server_view(self._server(what), measures=True)
        _say(_summary(server))
        for group in groups(server, time.time()):
            _say(f"\n{group.title}")
            for line in group.lines:
                values = ", ".join(f"{each.labels} {each.text}".strip() for each in line.values)
                _say(f"  {line.words:<{WIDTH}}  {values or 'none'}")
            if group.spreads:
                rows = [["", *SPREAD_HEADINGS], *([each.words, *each.cells] for each in group.spreads)]
                rows[0][0] = " " * WIDTH
                _say("\n".join(f"  {row}" for row in table(rows)))

    def _server(self, what: Any) -> Server:
        server = next((each for each in self.servers if what in (each, each.full_name, each.name)), None)
        if server is None:
            raise self._unknown(what)
        return server

    def drain(self, server: str) -> None:
        """Gives the server only requests that are bound to it."""
        self._order("drain", server, DRAIN)

    def maint(self, server: str) -> None:
        """Gives the server no requests."""
        self._order("maint", server, MAINT)

    def ready(self, server: str) -> None:
        """Gives the server requests, as far as its checks and its weight allow."""
        self._order("ready", server, READY)

    def _order(self, word: str, name: str, admin: str) -> None:
        for backend in self.backends:
            for server in backend.servers:
                if server.full_name == name:
                    backend.set_state(server, admin)
                    assert self._service.proxy is not None
                    self._service.proxy.order_log.tell(self._orderer, word, name)
                    _say(_now(server, backend))
                    return
        raise self._unknown(name)

    def _unknown(self, name: object) -> LookupError:
        known = {each.full_name: each.name for each in self.servers}
        alike = [full_name for full_name, short in known.items() if short == name]
        hint = did_you_mean(alike[0], alike) if alike else did_you_mean(str(name), known)
        listed = f"; there are {', '.join(known) or 'none'}"
        return LookupError(f"no server {name!r}{hint or listed}")

    def show(self, what: Any = None) -> None:
        """Prints everything in short; or one server, by name or itself, with its connections."""
        if what is None:
            self._show_all()
            return
        server = self._server(what)
        _say(_summary(server_view(server)))
        _say("\n".join(table([CONNECTION_HEADINGS, *map(_connection_row, connections(server))])))
        for each in ended(server):
            resumed = ", resumed" if each.resumed else ""
            tls = f" {each.tls}{resumed}," if each.tls else ""
            _say(
                f"{each.number} ended {each.ago:.0f} s ago, by the {each.by}: {each.reason};{tls} opened in"
                f" {each.took * 1000:.1f} ms, {each.age:.1f} s old, {each.requests} requests,"
                f" idle {each.idle_last:.1f} s before the last and {each.idle_longest:.1f} s at most"
            )

    def _show_all(self) -> None:
        view = self._view()
        if view is None:
            return
        blocks: list[Sequence[Sequence[object]]] = [
            [FRONTEND_HEADINGS, *map(_frontend_row, view.frontends)],
            [BACKEND_HEADINGS, *map(_backend_row, view.backends)],
            [SERVER_HEADINGS, *map(_server_row, view.servers)],
        ]
        listeners = [row for frontend in view.frontends for row in _listener_rows(frontend)]
        if listeners:
            blocks.append([LISTENER_HEADINGS, *listeners])
        _say("\n\n".join("\n".join(table(block)) for block in blocks))
        if view.standstills:
            _say(
                f"\nThe event loop stood still {view.standstills} times, {view.longest_standstill:.1f} s at most;"
                " the log says where."
            )


# fmt: off
STATUS_HEADINGS = ["2xx", "3xx", "4xx", "5xx"]
FRONTEND_HEADINGS = ["frontend", "clients", "most", "total", "requests", *STATUS_HEADINGS]
BACKEND_HEADINGS = ["backend", "servers-up", "queue", "requests", *STATUS_HEADINGS]
LISTENER_HEADINGS = [
    "TLS listener", "frontend", "certificates", "first-ends", "left", "handshakes", "resumed", "failed"
]
SERVER_HEADINGS = [
    "server", "state", "served", "queue", "requests", "connect-errors", "response-errors", "retries", *STATUS_HEADINGS
]
# fmt: on
#: Width of the column with the names of metrics.
WIDTH = 42
CONNECTION_HEADINGS = ["connection", "number", "age", "requests", "idle-for", "idle-before", "idle-most"]


def _summary(server: ServerView) -> str:
    pool = server.pool
    return (
        f"{server.full_name} is {server.state}; its pool is {pool.state}: floor {pool.floor}, {pool.idle} idle,"
        f" {pool.in_use} in use, {pool.connecting} connecting, {pool.retiring} retiring, {pool.waiting} waiting"
    )


def _remarks(pool: PoolView) -> list[str]:
    remarks = []
    if pool.closed:
        remarks.append(f"closed: {closed_because(pool)}")
    remarks += [f"trouble: {each}" for each in pool.troubles]
    return remarks


def _frontend_row(frontend: FrontendView) -> list[object]:
    return [
        frontend.name,
        frontend.connections,
        frontend.connections_max,
        frontend.connections_total,
        frontend.traffic.req_tot,
        *frontend.traffic.hrsp[2:],
    ]


def _listener_rows(frontend: FrontendView) -> list[list[object]]:
    """Returns a row for each group of listeners; handshakes are counted for the whole frontend."""
    tls = frontend.tls
    rows: list[list[object]] = []
    for listeners in tls.listeners if tls is not None else ():
        assert tls is not None
        end = min(each.ends for each in listeners.certificates)
        date, left = time.strftime("%Y-%m-%d", time.gmtime(end)), end - time.time()
        ends = [len(listeners.certificates), date, days_left(left) if left > 0 else "expired"]
        rows.append([few(listeners.addresses), frontend.name, *ends, tls.completed, tls.resumed, tls.failed])
    return rows


def _backend_row(backend: BackendView) -> list[object]:
    up = sum(server.usable for server in backend.servers)
    traffic = backend.traffic
    return [backend.name, f"{up}/{len(backend.servers)}", backend.queue, traffic.req_tot, *traffic.hrsp[2:]]


def _server_row(server: ServerView) -> list[object]:
    traffic = server.traffic
    return [
        server.full_name,
        server.state,
        server.served,
        server.queue,
        traffic.stot,
        traffic.econ,
        traffic.eresp,
        traffic.wretr,
        *traffic.hrsp[2:],
    ]


def _now(server: Server, backend: Backend) -> str:
    """Returns one line: the server's state after an order, why it differs from the order, and the servers that are
    left."""
    because = ""
    if server.state == DOWN:
        because = f", ordered {server.admin}, but its checks fail"
    elif server.state != server.admin and server.state == DRAIN:
        because = ", for its weight is 0"
    usable = sum(each.usable for each in backend.servers)
    left = f"{usable} of {len(backend.servers)} servers of {backend.name} are UP"
    load = f"{server.served} requests under way, {len(server.queue)} wait for it"
    return f"{server.full_name} is {server.state}{because}; {load}; {left}"


def _connection_row(connection: ConnectionView) -> list[object]:
    return [
        connection.state,
        connection.number,
        f"{connection.age:.1f}s",
        connection.requests,
        "-" if connection.idle_for is None else f"{connection.idle_for:.1f}s",
        f"{connection.idle_last:.1f}s",
        f"{connection.idle_longest:.1f}s",
    ]


def _help(thing: Any = None) -> None:
    """Prints the guide, or Python's documentation of the thing; Python's own help() would read the daemon's standard
    input, and block the daemon."""
    print(GUIDE if thing is None else pydoc.plain(pydoc.render_doc(thing)))
