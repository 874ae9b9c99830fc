"""Says in sentences how a server's floor stands to the demand of the last hour.

The statistics page, the runtime API and the manhole show them. Pure: it knows views only.
"""

from __future__ import annotations

from collections.abc import Iterator

from reusedproxy.operators.view.values import SHARE, PoolView


def sentences(pool: PoolView, ends_each: str = "") -> Iterator[str]:
    """Returns what is to be known of the pool's floor, a sentence each. `ends_each` is the option of its backend that
    ends each connection with its first answer, "" without one: no floor is advised beside it."""
    demand = pool.demand
    if ends_each:
        yield (
            f"The backend has '{ends_each}': each connection ends with its first answer, whatever the floor."
            " Without that option (it may stand in 'defaults') they would be used again."
        )
    if pool.names or pool.refusals:
        have = f"{pool.names} have connections of their own now, with floors of {pool.usual_floor} in all"
        yield f"Its connections have names or identities, of which {have} ('show pool <bk>/<srv>' lists them)."
        if pool.refusals:
            refused = "1 request was" if pool.refusals == 1 else f"{pool.refusals:,} requests were"
            yield f"{refused} refused: no name, or no identity that there is, was said."
        return
    if demand is None:
        yield "It has no floor: the names of its connections depend on requests, so that none can be opened before."
        return
    if demand.most is not None:
        yield f"The floor follows demand, between {pool.floor_min} and {demand.most}; it is {pool.usual_floor} now."
    else:
        yield f"The floor is {pool.usual_floor}." if pool.usual_floor else "There is no floor."
    if not ends_each:
        yield advice(pool) or "No request was given a connection in the last hour."
    yield from _losses(pool)
    if demand.bears is not None:
        yield f"The server has refused others while {demand.bears} stood: no more are opened for the floor."
    if demand.hold and demand.dial:
        yield (
            f"Most requests hold their connection for at most {_milliseconds(demand.hold)}, and opening one takes"
            f" {_milliseconds(demand.dial)}: who finds none waits for what comes first."
        )


def _losses(pool: PoolView) -> Iterator[str]:
    """Returns how many requests of the last hour ended with their connections, which no floor changes."""
    if not pool.losses:
        return
    count = sum(number for _, number in pool.losses)
    requests = (
        "1 request ended with its connection" if count == 1 else f"{count:,} requests ended with their connections"
    )
    reasons = ", ".join(f"{number:,} {_NAMED.get(reason, reason)}" for reason, number in pool.losses)
    yield (
        f"In the last hour {requests}: {reasons}. Who comes behind such a request finds one connection less: no floor"
        f" cures that{_SLOW if any(reason == TIMED_OUT for reason, _ in pool.losses) else ''}."
    )


#: The reason of connections whose server was too slow, and what is said where there are such.
TIMED_OUT = "timeout server"
_NAMED = {TIMED_OUT: "by 'timeout server' (504)"}
_SLOW = "; look why the server takes so long, or raise 'timeout server'"


def advice(pool: PoolView) -> str:
    """Returns which floor would have done in the last hour, and how far the present one does; "" without requests."""
    demand = pool.demand
    if demand is None or demand.enough is None or demand.met is None:
        return ""
    requests = "request" if demand.requests == 1 else "requests"
    floor = pool.usual_floor
    met = "" if demand.enough == floor else f"; one of {floor} meets {_percent(demand.met)} for sure"
    return (
        f"A floor of {demand.enough} would have met {_percent(SHARE)} of the last hour's {demand.requests:,} {requests}"
        f" without a wait{met}. The most that were taken in a moment is {demand.deepest}."
    )


def _percent(share: float) -> str:
    """Formats a share, which is not rounded up to all."""
    return f"{int(share * 1000) / 10:g} %"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else f"{seconds:.3g} s"
