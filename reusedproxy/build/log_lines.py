"""Opens the targets that `log` lines name: for lines about requests, and for messages about the proxy itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from reusedproxy.config import model
from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.values import Notice
from reusedproxy.operators.logs.targets import (
    DESCRIPTORS,
    NO_SOCKET,
    LogTargets,
    UnknownHost,
    trouble_with,
)
from reusedproxy.operators.logs.targets import Target as LogSink


class LogLines:
    """Opens the targets of one configuration, each of them once."""

    def __init__(self, configuration: model.Configuration, logs: LogTargets, faults: list[Fault]) -> None:
        """Adds what it finds to `faults`."""
        self._configuration = configuration
        self._logs = logs
        self._faults = faults

    def targets(self, lines: tuple[model.LogTarget, ...], tag: str = "") -> list[LogSink]:
        """Returns the targets of these lines, opened; a host that is unknown is a fault."""
        targets: dict[LogSink, None] = {}  # a target that is named twice gets each line once
        for line in lines:
            try:
                targets[self._logs.open(line, tag)] = None
            except UnknownHost as error:
                fault = Fault(line.place, f"'log': {error}")
                if fault not in self._faults:  # `log global` repeats it
                    self._faults.append(fault)
        return list(targets)

    def take_events(self, frontends: Iterable[model.Frontend], backends: Iterable[model.Backend]) -> None:
        """Opens the targets of messages about the proxy itself: those of `global`, and of each of these sections."""
        sections = [(f"frontend {each.name}", each.event_logs, each.log.tag) for each in frontends]
        sections += ((f"backend {each.name}", each.event_logs, each.log_tag) for each in backends)
        self._logs.take_events_to(
            self.targets(self._configuration.global_.logs),
            {section: self.targets(lines, tag) for section, lines, tag in sections},
        )

    def unheard(self, bind: bool) -> Iterable[Notice]:
        """Returns warnings about syslog sockets that take no lines now.

        A container has no /dev/log, and the lines would be lost unnoticed. A check, which may run on another machine,
        warns only of paths that cannot be a socket.
        """
        lines = [*log_lines(self._configuration)]
        for path in dict.fromkeys(line.path for line in lines if line.kind == "unix"):
            trouble = trouble_with(path)
            if trouble and (bind or trouble == NO_SOCKET):
                place = next(line.place for line in lines if line.path == path)
                yield Notice(
                    "warning",
                    place,
                    f"'log {path}': {trouble}; until that has changed, 1 MB of its lines waits and the rest is lost",
                )


def unread_outputs(configuration: model.Configuration, is_unread: Callable[[int], bool]) -> Iterable[Notice]:
    """Returns warnings about standard output and error, where `log` lines name them and nobody reads them."""
    for kind, descriptor in DESCRIPTORS.items():
        place = next((line.place for line in log_lines(configuration) if line.kind == kind), None)
        if place is not None and is_unread(descriptor):
            text = (
                f"'log {kind}': nobody reads what this process writes there (/dev/null, as in the background), and its"
                " lines are lost: write 'log' with the address of a syslog server, or start it in the foreground"
            )
            yield Notice("warning", place, text)


def log_lines(configuration: model.Configuration) -> Iterable[model.LogTarget]:
    """Returns all `log` lines, but for those of disabled sections."""
    yield from configuration.global_.logs
    for frontend in configuration.frontends.values():
        if not frontend.disabled:
            yield from (*frontend.logs, *frontend.event_logs)
    for backend in configuration.backends.values():
        if not backend.disabled:
            yield from backend.event_logs
