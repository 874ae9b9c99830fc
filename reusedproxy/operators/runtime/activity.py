"""Writes `show activity`: what HAProxy counts of its event loop, as far as there is such a thing in one process with
one loop. What there is not, or would be counted otherwise, is left out."""

from __future__ import annotations

import time
from collections.abc import Sequence

from reusedproxy.operators.runtime.proxy import Context


def show_activity(context: Context, words: Sequence[str]) -> str:
    """Returns `show activity`, HAProxy's form for one thread.

    `loops` are rounds of the poller, `poll_io` those that have found something to do.
    """
    proxy = context.proxy
    view = context.statistics.of(proxy).reader.view(backends=False)
    wall = time.time()
    lines = (
        ("thread_id", "1 (1..1)"),
        ("date_now", f"{wall:.6f}"),
        ("uptime_now", f"{view.uptime:.6f}"),
        ("loops", proxy.poller.loops),
        ("poll_io", proxy.poller.busy_loops),
        ("avg_cpu_pct", 100 - int(100 * view.idle)),
        ("accepted", sum(each.connections_total for each in view.frontends)),
    )
    return "".join(f"{name}: {value}\n" for name, value in lines)
