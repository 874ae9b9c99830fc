"""Finds what is wrong with the proxy at a moment, the worst first: what an operator has to see before all else.

Turns the view into short findings, each with the places that it is about; must never know how they are shown. What an
operator has ordered, a server in MAINT for example, is no trouble as long as others serve.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from reusedproxy.backends.server import DOWN
from reusedproxy.net.tls.svid import SPIFFE
from reusedproxy.operators.logs.expiry import THRESHOLDS, days_left
from reusedproxy.operators.view.history import Share, last
from reusedproxy.operators.view.values import BackendView, ProxyView, ServerView

#: Seconds over which errors and requests are counted: what is so now, and what was so lately.
NOW, LATELY = 10.0, 60.0
#: The share of answers that are errors from which on it is trouble: one in a hundred.
TOO_MANY = 0.01
#: Places that one finding names, at most.
NAMED = 8

# How bad it is.
BAD = "bad"  # requests fail, or are about to
WARN = "warn"  # it will be bad, or makes requests slower


class Place(NamedTuple):
    """Names what a finding is about: a text, and the name of the section where the page shows it."""

    text: str
    section: str


class Trouble(NamedTuple):
    """Holds one finding: how bad it is, what it says, and about which places; `more` are further ones."""

    kind: str
    text: str
    places: tuple[Place, ...] = ()
    more: int = 0


def troubles(view: ProxyView, at: float, dropped: int = 0, scope: Collection[str] = ()) -> list[Trouble]:
    """Returns what is wrong in these sections (all, if none are named), the worst first. `at` is Unix time, `dropped`
    the number of log lines that were."""
    backends = [each for each in view.backends if not scope or each.name in scope]
    servers = [(each.name, server) for each in backends for server in each.servers]
    found = [
        *_without_servers(backends),
        *_down(servers),
        *(() if scope else _errors(view, backends)),
        *_full(view, scope),
        *_ends(view, servers, at, scope),
        *(() if scope else _refused_files(view)),
        *(() if scope else _unfetched(view, at)),
        *_below_floor(servers),
        *_uneven(servers),
        *_waiting(backends),
        *_standstills(view),
        *_dropped(dropped),
    ]
    return [each for kind in (BAD, WARN) for each in found if each.kind == kind]


def shares(view: ProxyView) -> tuple[Share, Share]:
    """Returns rate and share of errors of the last ten seconds, and of the last minute."""
    return last(view.history, NOW), last(view.history, LATELY)


def _trouble(kind: str, text: str, places: Iterable[Place] = ()) -> Trouble:
    places = tuple(places)
    return Trouble(kind, text, places[:NAMED], max(0, len(places) - NAMED))


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _without_servers(backends: Sequence[BackendView]) -> Iterator[Trouble]:
    without = [each.name for each in backends if each.down]
    if without:
        text = f"{_count(len(without), 'backend has', 'backends have')} no server that takes requests"
        yield _trouble(BAD, text, (Place(name, name) for name in without))


def _down(servers: Sequence[tuple[str, ServerView]]) -> Iterator[Trouble]:
    down = [(section, server) for section, server in servers if server.state == DOWN]
    if down:
        text = f"{len(down):,} of {_count(len(servers), 'server is', 'servers are')} DOWN"
        yield _trouble(BAD, text, (Place(server.full_name, section) for section, server in down))


def _errors(view: ProxyView, backends: Sequence[BackendView]) -> Iterator[Trouble]:
    now, lately = shares(view)
    for share, when in ((now, "10 s"), (lately, "minute")):
        if share.errors >= TOO_MANY:
            failing = sorted((each for each in backends if each.errors_lately), key=lambda each: -each.errors_lately)
            where = f", most of {failing[0].name}" if len(failing) > 1 else ""
            text = f"{share.errors:.1%} of all answers in the last {when} were errors (5xx){where}"
            yield _trouble(BAD, text, (Place(each.name, each.name) for each in failing))
            return


def _full(view: ProxyView, scope: Collection[str]) -> Iterator[Trouble]:
    """Frontends that take no more clients, by their own bound or by that of the process."""
    full = [
        each.name
        for each in view.frontends
        if (not scope or each.name in scope) and (each.connections >= each.maxconn or view.clients >= view.maxconn)
    ]
    if full:
        text = _count(len(full), "frontend has", "frontends have") + " as many clients as it may: others wait"
        if len(full) > 1:
            text = text.replace(" it may", " they may")
        yield _trouble(BAD, text, (Place(name, name) for name in full))


def _ends(
    view: ProxyView, servers: Sequence[tuple[str, ServerView]], at: float, scope: Collection[str]
) -> Iterator[Trouble]:
    """Certificates that are over, or soon will be: of listeners, ours towards servers, and those of servers."""
    ends: dict[str, tuple[float, str]] = {}
    for frontend in view.frontends:
        if frontend.tls is not None and (not scope or frontend.name in scope):
            for listeners in frontend.tls.listeners:
                for certificate in listeners.certificates:
                    ends[certificate.file] = (certificate.ends, frontend.name)
    for section, server in servers:
        tls = server.pool.tls
        if tls is not None:
            # An SVID ends within hours, and is renewed: only its end is trouble.
            if tls.ours_end is not None and tls.crt is not None and (tls.crt != SPIFFE or tls.ours_end <= at):
                ends[tls.crt] = (tls.ours_end, section)
            if tls.theirs_end is not None:
                ends[f"that of {server.full_name}"] = (tls.theirs_end, section)
    for kind, longest, shortest, words in (
        (BAD, 0.0, float("-inf"), "has expired"),
        (BAD, THRESHOLDS[1], 0.0, "expires within a week"),
        (WARN, THRESHOLDS[0], THRESHOLDS[1], "expires within a month"),
    ):
        near = sorted((end, name, section) for name, (end, section) in ends.items() if shortest < end - at <= longest)
        if near:
            verb, _, rest = words.partition(" ")
            many = f"certificates {'have' if verb == 'has' else 'expire'} {rest}"
            yield _trouble(
                kind,
                _count(len(near), f"certificate {words}", many),
                (Place(f"{name} ({days_left(end - at)})" if end > at else name, each) for end, name, each in near),
            )


def _refused_files(view: ProxyView) -> Iterator[Trouble]:
    """Files of TLS that were renewed in vain: whoever they were to revoke is still trusted."""
    if view.refused_files:
        files = _count(len(view.refused_files), "file of TLS has", "files of TLS have")
        yield Trouble(BAD, f"{files} changed and cannot be used: what was there before is in use (see the log)")


def _unfetched(view: ProxyView, at: float) -> Iterator[Trouble]:
    """Lists of revoked certificates that cannot be fetched (`crl-url`), and those whose time is over meanwhile."""
    failing = [each for each in view.lists if each.failing]
    over = [each for each in failing if each.until is not None and each.until <= at]
    for kind, lists, words in (
        (BAD, over, "is out of date, so every certificate of its CA is refused"),
        (WARN, [each for each in failing if each not in over], "cannot be fetched (see the log)"),
    ):
        for each in lists[:NAMED]:
            yield Trouble(kind, f"the list of revoked certificates at {each.url} {words}")


def _below_floor(servers: Sequence[tuple[str, ServerView]]) -> Iterator[Trouble]:
    below = [(section, server) for section, server in servers if server.pool.below_floor and server.serving]
    if below:
        text = _count(len(below), "pool is below its floor", "pools are below their floors")
        names = (f"{server.full_name} ({server.pool.idle} of {server.pool.floor})" for _, server in below)
        yield _trouble(WARN, text, map(Place, names, (section for section, _ in below)))


def _uneven(servers: Sequence[tuple[str, ServerView]]) -> Iterator[Trouble]:
    """Servers whose connections are not spread over the nodes behind their address, and cannot be."""
    given_up = [(section, server.full_name) for section, server in servers if _cannot_be_spread(server)]
    if given_up:
        text = f"connections of {_count(len(given_up), 'server', 'servers')} cannot be spread over nodes (see the log)"
        yield _trouble(WARN, text, (Place(name, section) for section, name in given_up))


def _cannot_be_spread(server: ServerView) -> bool:
    return server.pool.nodes is not None and server.pool.nodes.state in ("given up", "blind")


def _waiting(backends: Sequence[BackendView]) -> Iterator[Trouble]:
    """Requests in queues, those of backends and of servers."""
    queues = [(each.name, each.queue + sum(server.queue for server in each.servers)) for each in backends]
    waiting = sum(length for _, length in queues)
    if waiting:
        text = _count(waiting, "request waits for a server with room", "requests wait for a server with room")
        yield _trouble(WARN, text, (Place(f"{name} ({length:,})", name) for name, length in queues if length))


def _standstills(view: ProxyView) -> Iterator[Trouble]:
    if view.standstills:
        times = _count(view.standstills, "time", "times")
        yield Trouble(
            WARN, f"the event loop stood still {times}, for {view.longest_standstill:.1f} s at most (see the log)"
        )


def _dropped(lines: int) -> Iterator[Trouble]:
    if lines:
        yield Trouble(WARN, f"{_count(lines, 'log line was', 'log lines were')} dropped since the start")
