"""Gives sample fetches access to a check: its variables, the names of its server, and the answer's head."""

from __future__ import annotations

from time import time

from reusedproxy.rules.nobody import NobodysFacts


class CheckFacts(NobodysFacts):
    """Holds what a run of a check knows; of clients and requests there is nothing. Its variables end with it, so that
    they need not follow `tune.bufsize`."""

    def __init__(self, full_name: str) -> None:
        NobodysFacts.__init__(self, {})
        self.backend_name, _, self.server_name = full_name.rpartition("/")

    def wall(self) -> float:
        return time()
