"""Parses `clitcpka-cnt`, `srvtcpka-idle` and their like: how the kernel probes silent TCP connections.

Each of the three numbers of a side is bounded by what Linux takes.
"""

from __future__ import annotations

from math import ceil

from attrs import evolve

from reusedproxy.config.language import units
from reusedproxy.config.language.report import Line, Report, Wrong
from reusedproxy.config.sections.draft import ProxyDraft

#: The most that Linux takes: MAX_TCP_KEEPCNT, MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL of its include/net/tcp.h.
MOST_PROBES, MOST_SECONDS = 127, 32767
_FIELDS = {"cnt": "count", "idle": "idle", "intvl": "interval"}
#: The words of each side.
CLIENT_WORDS, SERVER_WORDS = ([f"{side}tcpka-{what}" for what in _FIELDS] for side in ("cli", "srv"))


def read_keep_alive(proxy: ProxyDraft, line: Line, report: Report) -> None:
    """Reads one of these words; times are rounded up to whole seconds, as in HAProxy. Raises Wrong."""
    side, _, what = line.keyword.partition("tcpka-")
    if what == "cnt":
        number = units.integer(line.one_argument("a number of probes"), f"'{line.keyword}'", most=MOST_PROBES)
    else:
        number = ceil(units.seconds(line.one_argument("a time"), f"'{line.keyword}'", default_unit="s"))
        if number > MOST_SECONDS:
            raise Wrong(f"'{line.keyword}': Linux takes {MOST_SECONDS} seconds at most")
    if side == "cli":
        proxy.client_keep_alive = evolve(proxy.client_keep_alive, **{_FIELDS[what]: number})
    else:
        proxy.server_keep_alive = evolve(proxy.server_keep_alive, **{_FIELDS[what]: number})
