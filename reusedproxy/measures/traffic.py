"""Counts what one frontend, backend or server has carried, under the names of HAProxy's statistics.

It must never know who counts.
"""

from __future__ import annotations


class Traffic:
    """Holds the counters of one frontend, backend or server: plain numbers under the names of HAProxy's statistics.

    scur, smax, stot: sessions now, at most, in all (of a server: requests). bin, bout: bytes of bodies and heads from
    and to clients. hrsp: responses by the first digit of their status, [0] for others. dreq, dresp: refused by a rule.
    comp_in, comp_out: bytes of bodies before and after compression; comp_rsp: answers that were compressed whole.
    eint: refused because a rule could not be evaluated. intercepted: answered by the proxy itself. denied: connections
    of a listener that a rule has refused. ssl_sess, ssl_reused_sess, ssl_failed_handshake: TLS handshakes of a listener
    that were completed, those of them with a resumed session, and those that failed.
    """

    # Not of attrs, which would leave it interpreted where the rest of what a request passes is compiled.
    __slots__ = (
        "bin",
        "bout",
        "cli_abrt",
        "comp_in",
        "comp_out",
        "comp_rsp",
        "denied",
        "dreq",
        "dresp",
        "econ",
        "eint",
        "ereq",
        "eresp",
        "hrsp",
        "intercepted",
        "req_tot",
        "scur",
        "smax",
        "srv_abrt",
        "ssl_failed_handshake",
        "ssl_reused_sess",
        "ssl_sess",
        "stot",
        "wredis",
        "wretr",
    )  # fmt: skip

    def __init__(self) -> None:
        self.scur = self.smax = 0
        self.hrsp = [0] * 6
        self._count_anew()

    def _count_anew(self) -> None:
        self.stot = self.req_tot = self.bin = self.bout = 0
        self.dreq = self.dresp = self.eint = self.ereq = self.intercepted = 0
        self.denied = self.ssl_sess = self.ssl_reused_sess = self.ssl_failed_handshake = 0
        self.comp_in = self.comp_out = self.comp_rsp = 0
        self.econ = self.eresp = self.wretr = self.wredis = self.cli_abrt = self.srv_abrt = 0

    def clear(self, everything: bool) -> None:
        """Forgets the most that there were at once; with `everything` also what was counted, and not what there is
        now."""
        if everything:
            self._count_anew()
            self.hrsp[:] = [0] * len(self.hrsp)
        self.smax = self.scur

    def add(self, what: str) -> None:
        """Adds one to the counter of this name. It is for rare events; what every request counts is added in place."""
        setattr(self, what, getattr(self, what) + 1)
