"""Says what has become of a server, in HAProxy's own words, because people grep for them.

A message is a level and a text. `rest` is what `left` says of the servers that are still there. It must never change
anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from socket import gethostname

from reusedproxy.backends.server import DOWN, DRAIN, MAINT, NOLB, UP, Server

Message = tuple[str, str]

#: The reason of a change of health that an operator has ordered.
ORDERED = "changed from CLI"

#: How servers answer whose client has no certificate, or another than they want: nginx with 400, Apache with 403.
_REFUSING = re.compile("Layer7 wrong status, code: 40[03]")


def called(server: Server) -> str:
    """Returns the name that begins a message about a server."""
    return f"{'Backup ' if server.backup else ''}Server {server.full_name}"


def left(active: int, backup: int, server: Server, requeued: int) -> str:
    """Says how many of a backend's servers are left, or online, after a change of one, and what became of requests."""
    running = " Running on backup." if backup and not active else ""
    queued = len(server.queue)
    if server.serving:
        return (
            f"{active} active and {backup} backup servers online.{running}"
            f" {requeued} sessions requeued, {queued} total in queue."
        )
    return (
        f"{active} active and {backup} backup servers left.{running}"
        f" {server.served} sessions active, {requeued} requeued, {queued} remaining in queue."
    )


def judged(server: Server, reason: str, rest: str) -> Iterator[Message]:
    """Says that checks have found a server UP, NOLB or DOWN, or that an operator has `ORDERED` it."""
    why = f", {reason}" if reason == ORDERED else f", reason: {reason}" if reason else ""
    yield _health(server, why, rest)
    if server.health == DOWN and _REFUSING.match(reason) and (tls := server.settings.tls) is not None:
        shown = f"it may be for 'crt {tls.crt}'" if tls.crt else "it may want a client certificate: there is no 'crt'"
        text = f"{shown}: 'reusedproxy doctor --config FILE {server.full_name}' asks the server"
        yield "notice", f"{called(server)} speaks TLS and refuses the check: {text}."
    if server.admin == DRAIN:
        yield "notice", f"{called(server)} remains in forced drain mode."


def _health(server: Server, why: str, rest: str) -> Message:
    level = "alert" if server.health == DOWN else "notice"
    return level, f"{called(server)} is {'stopping' if server.health == NOLB else server.health}{why}. {rest}"


def ordered(server: Server, was: str, stood: str, rest: str) -> Iterator[Message]:
    """Says what an order has made of a server, which was ordered to be `was`, and whose state was `stood`."""
    name, order = called(server), server.admin
    if not server.addressed:
        if was == MAINT:
            yield "notice", f"{name} is leaving forced maintenance but remains in maintenance."
    elif order == MAINT:
        yield _maintained(server, stood, "", rest)
    elif was == MAINT:
        yield "notice", f"{name} is {server.health}/{order} (leaving forced maintenance)."
        if order == DRAIN:
            yield "notice", f"{name} remains in forced drain mode."
    elif order == DRAIN:
        yield "notice", f"{name} enters drain state. {rest}"
    else:
        yield "notice", f"{name} is {server.health} (leaving forced drain)."


def followed(server: Server, was: str, health: str, stood: str, rest: str) -> Iterator[Message]:
    """Says what has become of a server that has followed the one that it tracks: before, the order in force was `was`,
    its health `health`, its state `stood`."""
    assert server.tracked is not None
    name, via, order = called(server), f" via {server.tracked.full_name}", server.order
    if order == was:
        if server.health != health and order != MAINT:
            yield _health(server, via, rest)
    elif order == MAINT:
        yield _maintained(server, stood, via, rest)
    elif was == MAINT:
        yield "notice", f"{name} is UP/{order} (leaving maintenance)."
        if order == DRAIN:
            yield "notice", f"{name} remains in drain mode{via}."
    elif order == DRAIN:
        yield "notice", f"{name} enters drain state{via}. {rest}"
    else:
        yield "notice", f"{name} is {server.health} (leaving forced drain)."


def addressless(server: Server, stood: str, cause: str, rest: str) -> Iterator[Message]:
    """Says that a server, whose state was `stood`, has no address any more, and why."""
    if stood != MAINT:
        yield _maintained(server, stood, f" ({cause})", rest)


def _maintained(server: Server, stood: str, why: str, rest: str) -> Message:
    if stood == DOWN:
        return "notice", f"{called(server)} was DOWN and now enters maintenance{why}."
    level = "alert" if stood == UP else "notice"
    return level, f"{called(server)} is going DOWN for maintenance{why}. {rest}"


def resolved(server: Server) -> Iterator[Message]:
    """Says that a server has an address again."""
    name = f"{called(server)} ('{server.host}')"
    if server.admin == MAINT:
        yield "notice", f"{name} resolves again but remains in maintenance."
    else:
        yield "notice", f"{name} is {server.health}/{server.admin} (resolves again)."
        yield "notice", f"Server {server.full_name} administratively READY thanks to valid DNS answer."


def state_text(server: Server, progress: str, active: Sequence[Server], current: int) -> str:
    """Returns what `http-check send-state` tells a server of itself. `progress` is that to another state, "" for none;
    `active` has the servers that are chosen from, `current` the requests of all."""
    settings = server.settings
    address, port = ("unix", "unix") if settings.kind != "tcp" else (settings.host, str(settings.port or 0))
    state = server.state if server.state in (UP, NOLB) else DOWN if server.health == DOWN else server.state
    return (
        f"{state}{progress and f' {progress}'}; address={address}; port={port}; name={server.full_name};"
        f" node={gethostname()}; weight={server.weight}/{sum(each.weight for each in active)};"
        f" scur={server.traffic.scur}/{current}; qcur={len(server.queue)}"
    )
