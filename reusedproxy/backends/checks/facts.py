"""Gives sample fetches access to a check: its variables, the names of its server, and the answer's head."""

from __future__ import annotations

from time import time

from reusedproxy.config.rules.variables import OF_PROCESS
from reusedproxy.rules.facts import Sample
from reusedproxy.rules.nobody import NobodysFacts
from reusedproxy.rules.samples.bounds import to_keep


class CheckFacts(NobodysFacts):
    """Holds what a run of a check knows; of clients and requests there is nothing. Its own variables end with it, so
    that they need not follow `tune.bufsize`; those of the process do not."""

    def __init__(self, full_name: str, of_process: dict[str, Sample]) -> None:
        NobodysFacts.__init__(self, {})
        self.backend_name, _, self.server_name = full_name.rpartition("/")
        self._of_process = of_process

    def wall(self) -> float:
        return time()

    def variable(self, name: str) -> Sample:
        return self._of_process.get(name) if name.startswith(OF_PROCESS) else super().variable(name)

    def set_variable(self, name: str, value: Sample) -> None:
        if not name.startswith(OF_PROCESS):
            super().set_variable(name, value)
        elif value is None:
            self._of_process.pop(name, None)
        else:
            self._of_process[name] = to_keep(value, self)
