"""Writes what the runtime API shows of backends and servers: `show backend`, `show servers`, `show pool`, `explain
pool`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice

from reusedproxy.backends.saved_states import (
    AGENT,
    CHECK_STATUS,
    COLUMNS,
    CONFIGURED,
    CONFIGURED_MAINT,
    ENABLED,
    FORCED_DRAIN,
    FORCED_MAINT,
    INHERITED_DRAIN,
    INHERITED_MAINT,
    NO_ADDRESS,
    OTHER_NAME,
    PAUSED,
    RUNNING,
    STARTING,
    STOPPED,
    STOPPING,
    VERSION,
)
from reusedproxy.backends.server import DOWN, DRAIN, FULL_WEIGHT, MAINT, NOLB
from reusedproxy.config import model
from reusedproxy.config.language.addresses import is_service
from reusedproxy.operators.runtime.proxy import Context, Refusal, Running
from reusedproxy.operators.shell.tables import POOL_HEADINGS, pool_row, table
from reusedproxy.operators.view.cold import cold_sentences
from reusedproxy.operators.view.floors import sentences
from reusedproxy.operators.view.hedged import hedging_sentences
from reusedproxy.operators.view.places import full, place_sentences, waiting_at
from reusedproxy.operators.view.readiness import left_of, nodes, readiness
from reusedproxy.operators.view.reading import hedging_view, names_of, server_view, servers_of
from reusedproxy.operators.view.sessions import Endpoint, endpoints
from reusedproxy.operators.view.values import NameView, ServerView
from reusedproxy.pool.kept import DRAINED

_CONNECTION_COLUMNS = (
    "bkname/svname bkid/svid addr port - purge_delay used_cur used_max need_est unsafe_nb safe_nb idle_lim idle_cur"
    " idle_per_thr[1]"
)
#: HAProxy's numbers of results of checks.
_UNKNOWN, _FAILED, _PASSED, _PASSED_STOPPING = 0, 2, 3, 4
#: Servers that are looked at in one piece of an answer.
_AT_ONCE = 10


def show_backend(context: Context, words: Sequence[str]) -> str:
    return "# name\n" + "".join(f"{each.name}\n" for each in context.proxy.backends)


class _Said:
    """Returns what the configuration says of servers, and where they are, "backend/server" each; of the proxy that runs
    when that is asked for: reloads may replace it while an answer is made. `name` is that of one backend, or "".
    """

    def __init__(self, context: Context, words: Sequence[str]) -> None:
        """Raises Refusal if the words name no backend."""
        self.name = words[0] if words else ""
        self._context = context
        self._proxy: Running | None = None
        self._look()
        if words and self.name not in {each.name for each in context.proxy.backends}:
            raise Refusal("Can't find backend.")

    def _look(self) -> None:
        proxy = self._context.proxy
        if proxy is self._proxy:
            return
        self._proxy = proxy
        self._numbers = self._context.numbers
        self._endpoints = endpoints(proxy, self.name)
        backends = proxy.configuration.backends.values()
        self._servers = {f"{each.name}/{server.name}": server for each in backends for server in each.servers}

    def of(self, name: str) -> model.Server | None:
        """Returns the settings of a server; None for one that was added since it was looked at."""
        self._look()
        return self._servers.get(name)

    def number(self, backend: str) -> int:
        return self._numbers[backend]

    def endpoint(self, name: str) -> Endpoint:
        return self._endpoints.get(name, Endpoint("-", 0))

    def lines(self, line: Callable[[str, int, ServerView, model.Server], str]) -> Iterator[str]:
        """Returns what this makes of each server, several at once: each alone would be much work for little."""
        found = servers_of(lambda: self._context.proxy, self.name)
        made = (line(*each, said) for each in found if (said := self.of(each[2].full_name)) is not None)
        while piece := "".join(islice(made, _AT_ONCE)):
            yield piece


def show_servers_state(context: Context, words: Sequence[str]) -> Iterable[str]:
    """Returns `show servers state [<backend>]`, the first version of HAProxy's format."""
    found, now = _Said(context, words), context.proxy.deadlines.now()

    def line(backend: str, at: int, server: ServerView, settings: model.Server) -> str:
        endpoint = found.endpoint(server.full_name)
        asked = 0 if server.agent is None else ENABLED
        agent_state = CONFIGURED | AGENT | asked if settings.agent is not None else 0
        values = (
            *(found.number(backend), backend, at, server.name, endpoint.host, _operational(server)),
            *(_administrative(server, settings.disabled), server.weight, settings.weight),
            *(int(now - server.changed_at), *_check(server, settings.check is not None), agent_state),
            *(0, 0, _name(settings, server.host), endpoint.port, _record(settings), int(server.pool.tls is not None)),
            *_elsewhere(server),
        )
        return " ".join(map(str, values)) + "\n"

    return chain([f"{VERSION}\n# {COLUMNS}\n"], found.lines(line))


def _name(settings: model.Server, host: str) -> str:
    """Returns the name of a server's host, "-" for an address, or if no SRV record has told it yet."""
    named = settings.kind == "tcp" and any(map(str.isalpha, host)) and ":" not in host
    return host if named and not is_service(host) else "-"


def _record(settings: model.Server) -> str:
    """Returns the name of a server's SRV records, "-" if it has none."""
    return settings.host if settings.kind == "tcp" and is_service(settings.host) else "-"


def _elsewhere(server: ServerView) -> tuple[int, str, str, int]:
    """Returns the port and the address of checks, and the address and the port of the agent, where they are said, or
    were ordered."""
    check, agent = server.checked_as, server.asked_as
    return (
        (check.port or 0) if check is not None else 0,
        (check.addr or "-") if check is not None else "-",
        (agent.addr or "-") if agent is not None else "-",
        agent.port if agent is not None else 0,
    )


def _operational(server: ServerView) -> int:
    if server.state in (DOWN, MAINT):
        return STOPPED
    if server.state == NOLB:
        return STOPPING
    return RUNNING if server.throttle == FULL_WEIGHT else STARTING


def _administrative(server: ServerView, disabled: bool) -> int:
    inherited = {MAINT: INHERITED_MAINT, DRAIN: INHERITED_DRAIN}.get(server.inherited, 0)
    said = inherited | (CONFIGURED_MAINT if disabled else 0) | (OTHER_NAME if server.renamed else 0)
    if server.admin == MAINT:
        return said | FORCED_MAINT
    missing = 0 if server.addressed else NO_ADDRESS
    return missing | said | (FORCED_DRAIN if server.admin == DRAIN else 0)


def _check(server: ServerView, configured: bool) -> tuple[int, int, int, int]:
    """Returns status, result, health and state of the checks, which an operator may have stopped."""
    maintained = server.state == MAINT and not server.maintained_by_tracked
    paused = PAUSED if maintained and not server.tracked and not server.new else 0
    if server.check is None:
        down = maintained or (server.state == DOWN and not server.tracked)
        return 1, _UNKNOWN, 0 if down else 2, paused | (CONFIGURED if configured else 0)
    last = server.check.last
    passed = _PASSED_STOPPING if last.stopping else _PASSED
    result = _UNKNOWN if last.status == "INI" else passed if last.passed else _FAILED
    health = 0 if maintained else server.check.health
    return CHECK_STATUS.get(last.status, 1), result, health, CONFIGURED | ENABLED | paused


def show_servers_conn(context: Context, words: Sequence[str]) -> Iterable[str]:
    """Returns `show servers conn [<backend>]`. `used_max` is the most requests that the server had at once."""
    found = _Said(context, words)

    def line(backend: str, at: int, server: ServerView, settings: model.Server) -> str:
        pool, endpoint = server.pool, found.endpoint(server.full_name)
        values = (
            *(server.full_name, f"{found.number(backend)}/{at}", endpoint.host, endpoint.port, "-"),
            *(int(settings.pool.purge_delay * 1000), pool.in_use, server.traffic.smax),
            *(max(pool.floor, pool.in_use + pool.waiting), pool.idle - pool.safe, pool.safe),
            *(-1 if pool.max_conn is None else pool.max_conn, pool.idle, pool.idle),
        )
        return " ".join(map(str, values)) + "\n"

    return chain([f"# {_CONNECTION_COLUMNS}\n"], found.lines(line))


def show_pool(context: Context, words: Sequence[str]) -> Iterable[str]:
    """Returns `show pool [<backend>[/<server>]]`, which HAProxy does not have: connections kept to servers, and what
    troubles them."""
    proxy = context.proxy
    name, _, server = words[0].partition("/") if words else ("", "", "")
    backend = context.backend(name).name if name else ""
    if server:
        server = context.server(words[0])[1].name
    queued = {each.name: len(each.queue) for each in proxy.backends}
    present = servers_of(lambda: context.proxy, backend)
    found = ((view, queued.get(section, 0)) for section, _, view in present)
    shown: Iterator[str] = _pools((view, waiting) for view, waiting in found if server in ("", view.name))
    if not server:
        return shown
    _, living = context.server(words[0])
    return chain(shown, _names(names_of(living)))


def _names(names: Sequence[NameView]) -> Iterator[str]:
    """Returns a table of the names and identities of one server that have connections of their own."""
    if not names:
        return
    rows: list[list[object]] = [[*_NAME_HEADINGS]]
    for each in names:
        numbers = (each.floor, each.idle, each.in_use, each.connecting, each.waiting, each.opened, each.requests)
        rows.append([f"  {each.name or '-'}", *numbers])
    troubles = ["", *(each.trouble for each in names)]
    yield "\n"
    for row, trouble in zip(table(rows), troubles, strict=True):
        yield f"{row}\n" + (f"      trouble: {trouble}\n" if trouble else "")


_NAME_HEADINGS = ["  identity", "floor", "idle", "in-use", "connecting", "waiting", "opened", "requests"]


def explain_pool(context: Context, words: Sequence[str]) -> str:
    """Returns `explain pool <backend>/<server>`, which HAProxy does not have: the state of one pool, and how its floor
    stands to the demand and what the last cold request would have needed, in sentences."""
    backend, living = context.server(words[0] if words else "")
    server = server_view(living)
    pool = server.pool
    state = (
        f"{server.full_name} is {server.state}; its pool is {pool.state}: {pool.idle} idle, {pool.in_use} in use,"
        f" {pool.connecting} connecting, {pool.waiting} waiting."
    )
    troubles = (f"Trouble: {each}" for each in pool.troubles)
    late = hedging_sentences(hedging_view(backend))
    ends = sorted(pool.closed.items(), key=lambda each: -each[1])
    ended = [f"Its connections have ended: {', '.join(f'{count} {reason}' for reason, count in ends)}."] if ends else []
    failure = _failure(server)
    check = [f"Its last check has failed: {failure}."] if failure else []
    waits = place_sentences(server, len(backend.queue))
    option = backend.settings.ending_option
    cold = cold_sentences(pool, option)
    said = (*check, *waits, *readiness(server), *sentences(pool, option), *cold, *late, *ended, *troubles)
    return "".join(f"{line}\n" for line in (state, *said))


def _pools(servers: Iterator[tuple[ServerView, int]]) -> Iterator[str]:
    """Returns the table, whose columns are as wide as the widest of all rows, of servers and of how many wait in the
    queues of their backends."""
    rows: list[list[object]] = [[*POOL_HEADINGS]]
    notes: list[tuple[str, ...]] = [()]
    while some := [*islice(servers, _AT_ONCE)]:
        rows += (pool_row(each) for each, _ in some)
        notes += (tuple(_notes(*each)) for each in some)
        yield ""
    for row, said in zip(table(rows), notes, strict=True):
        yield "".join(f"{line}\n" for line in (row, *(f"    {each}" for each in said)))


def _notes(server: ServerView, queued: int) -> Iterator[str]:
    """Returns the lines below a server's row; `queued` wait in its backend's queue."""
    pool = server.pool
    if full(server) and (waiting := waiting_at(server, queued)):
        yield waiting
    order = pool.order
    if order is not None:
        withheld = f", the floor of {order.floor} withheld" if order.floor and order.state == DRAINED else ""
        yield f"{order.state} by an operator for {order.ago:.0f} s{withheld}; {left_of(order)}"
    if pool.nodes is not None:
        yield f"nodes: {nodes(pool.nodes)}; {pool.nodes.state}"
    if server.warming:
        yield f"comes up: {server.throttle}/{FULL_WEIGHT} of its share"
    if failure := _failure(server):
        yield f"check: {failure}"
    yield from (f"trouble: {each}" for each in pool.troubles)


def _failure(server: ServerView) -> str:
    """Returns what the last check of a server has found wrong, "" if nothing."""
    check = server.check
    return (
        "" if check is None or check.last.status in ("UNK", "INI", "CHECKED") or check.last.passed else str(check.last)
    )
