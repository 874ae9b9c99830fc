"""Puts what is found wrong with a configuration in order, and renders it: as lines for people, or as JSON for programs.

Pure. It must never know how anything was found.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from attrs import frozen

from reusedproxy.config.language.foreign import without_keys
from reusedproxy.config.language.printable import printable
from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.values import Notice

#: The severity of what keeps the daemon from starting.
ALERT = "alert"


@frozen
class FileFault:
    """Describes what is wrong with a whole file, or with its name."""

    file: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}: {self.text}"


@frozen
class Finding:
    """Holds one fault or notice. `severity` is "alert", "warning" or "notice"; `line` is None where it is about a whole
    file, and `file` where it is about none."""

    severity: str
    file: str | None
    line: int | None
    text: str

    @classmethod
    def of(cls, found: object) -> Finding:
        """Makes the finding of a fault or a notice; of anything else it takes the text."""
        if isinstance(found, Notice):
            return cls(found.level, found.place.file, found.place.line, without_keys(found.text))
        if isinstance(found, Fault):
            return cls(ALERT, found.place.file, found.place.line, without_keys(found.text))
        if isinstance(found, FileFault):
            return cls(ALERT, found.file, None, without_keys(found.text))
        return cls(ALERT, None, None, without_keys(str(found)))

    def __str__(self) -> str:
        where = "" if self.file is None else f"{self.file}: " if self.line is None else f"{self.file}:{self.line}: "
        return printable(f"[{self.severity.upper()}] {where}{self.text}")

    def in_json(self) -> dict[str, object]:
        file = None if self.file is None else printable(self.file)
        return {"file": file, "line": self.line, "severity": self.severity, "text": printable(self.text)}


def in_order(faults: Iterable[object], notices: Iterable[Notice], files: Iterable[str]) -> list[Finding]:
    """Returns all findings, sorted by file and line; `files` are names in their order.

    At the same line, notices come before faults. What is about no line comes first.
    """
    found = [*map(Finding.of, notices), *map(Finding.of, faults)]
    named = [*files, *(each.file for each in found if each.file is not None)]
    order = {name: number for number, name in reversed([*enumerate(named)])}
    found.sort(key=lambda each: (-1, 0) if each.file is None or each.line is None else (order[each.file], each.line))
    return found


def report_in_json(findings: Sequence[Finding], summary: str) -> str:
    """Returns what `--check --json` prints: whether the configuration can be used, all that is wrong with it, and the
    count of its words."""
    said = {
        "valid": not any(each.severity == ALERT for each in findings),
        "faults": [each.in_json() for each in findings],
        "summary": summary,
    }
    return json.dumps(said, indent=2)
