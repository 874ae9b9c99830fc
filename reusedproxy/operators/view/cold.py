"""Says in sentences what the last request of a server found that got no connection at once (the deepest of a second's),
and which floor or setting would have met it.

The statistics page, the runtime API and the manhole show them. Pure: it knows views only.
"""

from __future__ import annotations

from collections.abc import Iterator

from reusedproxy.operators.view.floors import TIMED_OUT
from reusedproxy.operators.view.values import ColdView, PoolView
from reusedproxy.pool.kinds import ANY, FRESH, NEW

#: What became of its wait, by `pool.counters`.
_RESULTS = {
    "fresh": "got a new connection after {took}",
    "queued": "got one that came back after {took}",
    "timeout": "gave up after {took} without one",
    "refused": "was refused after {took}",
    "left": "had its client leave after {took}",
    "": "waits for one still",
}


def cold_sentences(pool: PoolView, ends_each: str = "") -> Iterator[str]:
    """Returns what is to be known of the last cold request; nothing where there was none. `ends_each` is the option
    that ends each connection with its first answer, "" without one."""
    cold = pool.cold
    if cold is None:
        return
    took = f"{cold.took * 1000:.3g} ms" if cold.took < 0.9995 else f"{cold.took:.3g} s"
    yield (
        f"The last request that found no connection came {ago(cold.ago)} ago, with {cold.idle} idle, {cold.in_use} in"
        f" use, {cold.connecting} connecting and a floor of {cold.floor}; it {_RESULTS[cold.result].format(took=took)}."
    )
    yield _remedy(cold, pool, ends_each)


def _remedy(cold: ColdView, pool: PoolView, ends_each: str) -> str:
    if cold.lone:
        return "No floor meets such a one: its connection is opened for it alone (a PROXY header, or maintenance)."
    if cold.drained:
        return "None is kept while its pool is drained: 'rewarm pool <bk>/<srv>' ends that."
    if cold.trouble:
        return f"No floor would have met it: the server had refused connections then ({cold.trouble})."
    if cold.after:
        return _bereft(cold)
    if cold.full:
        return "The server had as many connections as it may have (strict-maxconn): a larger 'maxconn' meets it."
    if cold.kind == NEW:
        return (
            "No floor would have met it, since it was to have one that never stood idle: 'http-reuse' says so (leave it"
            " out, or say 'always'), or it was sent again after its connection had ended."
        )
    if cold.named and pool.names and pool.floor:
        return (
            "A floor of its name or identity meets it: 'pool-identities' names those that are warm beforehand, and"
            " 'show pool <bk>/<srv>' lists what each has."
        )
    if cold.named:
        return (
            "No floor meets it: it needed a connection of a name for which none is kept. The floor has the name of"
            " 'check-sni'; 'pool-conn-name str(all)' lets all names share connections, if the server takes that."
        )
    if cold.idle and cold.kind != ANY:
        return _unfit(cold)
    if ends_each:
        return (
            f"With '{ends_each}' a floor only has the next connection opened beforehand, one for each request: take"
            " that option out first, and see what is cold then."
        )
    if cold.depth <= cold.floor:
        return _short(cold)
    return _deeper(cold, pool)


def _bereft(cold: ColdView) -> str:
    by = "'timeout server'" if cold.after == TIMED_OUT else cold.after
    return (
        f"The connection that was there had just ended under the request before it ({by}): no floor cures that; it"
        " would only have another one dialled meanwhile."
    )


def _unfit(cold: ColdView) -> str:
    if cold.kind == FRESH:
        return (
            "Those that stood idle were not lately known to be alive, and it could not have been repeated: 'idle-ping'"
            " keeps them so, or a longer keep-alive time-out of the server."
        )
    return "Those that stood idle had not been reused before, as 'http-reuse aggressive' demands; 'always' gives them."


def _short(cold: ColdView) -> str:
    if cold.filling:
        return (
            f"The floor of {cold.floor} would have met it, but was being filled: at a start 'pool-warm-start' waits for"
            " that, and 'pool-connect-rate' sets the pace."
        )
    return (
        f"The floor of {cold.floor} would have met it, but its connections were being replaced: look why they end (show"
        " pool, and the manhole's show()); 'idle-ping' or a longer time-out of the server keeps unused ones."
    )


def _deeper(cold: ColdView, pool: PoolView) -> str:
    most = None if pool.demand is None else pool.demand.most
    if most is not None and cold.depth > most:
        return f"A floor of {cold.depth} would have met it; 'pool-min-conn auto' rises to {most} at most here."
    if most is not None:
        return (
            f"A floor of {cold.depth} would have met it; 'pool-min-conn auto' has learnt that, and is {pool.floor} now."
        )
    return f"A floor of {cold.depth} would have met it: say 'pool-min-conn {cold.depth}', or 'auto'."


def ago(seconds: float) -> str:
    """Formats seconds that have passed."""
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.0f} min"
