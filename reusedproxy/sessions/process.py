"""Sets variables of the whole process where there is neither client nor request: what section `global` says of them,
and what an operator does.

They are one dictionary, which all frontends of one configuration have. A sample never changes, and a name is given
another one at once: whoever reads it has the whole value of one who has set it. It must never know where it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import getpid
from socket import gethostname
from time import time
from typing import Any

from attrs import frozen

from reusedproxy.config.model.proxies import Global
from reusedproxy.config.rules.actions import SetVariable
from reusedproxy.config.rules.samples import REQUEST
from reusedproxy.rules import regular
from reusedproxy.rules.actions import act_of
from reusedproxy.rules.facts import Course, Sample
from reusedproxy.rules.nobody import NobodysFacts
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.wire.heads import Limits

#: What sample fetches ask of the process itself, whoever asks.
FIGURES: Mapping[str, Callable[[], Sample]] = {"pid": getpid, "hostname": lambda: gethostname().encode()}


def of_environment(environment: Mapping[str, str], name: str) -> bytes | None:
    """Returns what the fetch `env` does."""
    value = environment.get(name)
    return None if value is None else value.encode("utf-8", "surrogateescape")


def set_for_process(action: SetVariable, variables: dict[str, Sample], settings: Global, uptime: float) -> None:
    """Does what a line says, `uptime` seconds after the process has begun. A value has at most the bytes of a buffer
    less one. Raises Unevaluated."""
    regular.begin()
    try:
        act_of(action, REQUEST)(ProcessFacts(variables, settings, int(uptime)))
    except Exception as error:
        raise Unevaluated.by(error) from None


class ProcessFacts(NobodysFacts):
    """Holds what the process knows of itself: its environment, and the seconds since it has begun."""

    def __init__(self, variables: dict[str, Sample], settings: Global, uptime: int) -> None:
        NobodysFacts.__init__(self, variables)
        self.longest = max(settings.bufsize, Limits().buffer) - 1
        self._environment = dict(settings.environment)
        self._uptime = uptime

    def figure(self, which: str, name: str) -> Sample:
        if which == "env":
            return of_environment(self._environment, name)
        return self._uptime if which == "uptime" else FIGURES[which]()

    @property
    def course(self) -> Course:
        moment: Any = Moment(time(), getpid(), gethostname())
        return moment  # type: ignore[no-any-return]

    def wall(self) -> float:
        return time()


@frozen
class Moment:
    """Holds what those aliases of formats show that need no client (`config.rules.process`)."""

    accepted_at: float
    pid: int
    host_name: str
