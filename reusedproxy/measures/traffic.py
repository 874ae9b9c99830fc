"""Counts what one frontend, backend or server has carried, under the names of HAProxy's statistics.

It must never know who counts.
"""

from __future__ import annotations

from attrs import define, field, fields


@define
class Traffic:
    """Holds the counters of one frontend, backend or server: plain numbers under the names of HAProxy's statistics.

    scur, smax, stot: sessions now, at most, in all (of a server: requests). bin, bout: bytes of bodies and heads from
    and to clients. hrsp: responses by the first digit of their status, [0] for others. dreq, dresp: refused by a rule.
    eint: refused because a rule could not be evaluated. intercepted: answered by the proxy itself.
    """

    scur: int = 0
    smax: int = 0
    stot: int = 0
    bin: int = 0
    bout: int = 0
    dreq: int = 0
    dresp: int = 0
    eint: int = 0
    ereq: int = 0
    econ: int = 0
    eresp: int = 0
    wretr: int = 0
    wredis: int = 0
    cli_abrt: int = 0
    srv_abrt: int = 0
    req_tot: int = 0
    intercepted: int = 0
    hrsp: list[int] = field(factory=lambda: [0] * 6)

    def clear(self, everything: bool) -> None:
        """Forgets the most that there were at once; with `everything` also what was counted, and not what there is
        now."""
        if everything:
            for each in fields(Traffic):
                if each.name not in ("scur", "hrsp"):
                    setattr(self, each.name, 0)
            self.hrsp[:] = [0] * len(self.hrsp)
        self.smax = self.scur

    def add(self, what: str) -> None:
        """Adds one to the counter of this name. It is for rare events; what every request counts is added in place."""
        setattr(self, what, getattr(self, what) + 1)
