"""Renders what a doctor has found: as text for people, and as JSON for programs. Pure."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from attrs import Factory, frozen

from reusedproxy.config.language.printable import printable
from reusedproxy.doctor.judge import ADVICE, FINE, SKIPPED, TROUBLE, Finding

#: The letters before findings, and the width of the text.
_MARKS = {TROUBLE: "!!", ADVICE: " *", SKIPPED: "--", FINE: "ok"}
_WIDTH = 112
#: What is said of a server as a whole.
_VERDICTS = {TROUBLE: "TROUBLE", ADVICE: "works, see *", SKIPPED: "not examined", FINE: "well"}


@frozen
class Chapter:
    """Holds the findings about one server ("backend/server") at an `address`, or about the machine (""), the worst
    first."""

    name: str
    address: str
    findings: Sequence[Finding]
    #: What was measured, by words for programs.
    facts: Mapping[str, Any] = Factory(dict)

    @property
    def verdict(self) -> str:
        """Returns the worst level among the findings."""
        levels = {each.level for each in self.findings}
        return next((level for level in (TROUBLE, ADVICE, SKIPPED) if level in levels), FINE)


def text_of(chapters: Sequence[Chapter], finished: bool) -> str:
    """Returns the report: a block for each server, those in trouble first; then the machine; then the sum."""
    ordered = sorted(chapters, key=lambda each: (not each.name, each.verdict != TROUBLE))
    lines = []
    for _, alike in groupby(ordered, lambda each: (each.address, each.findings)):
        first, *others = alike
        lines += [*_block(first, len(others)), ""]
    servers = [each for each in chapters if each.name and each.verdict != SKIPPED]
    bad = sum(each.verdict == TROUBLE for each in servers)
    count = "1 server" if len(servers) == 1 else f"{len(servers)} servers"
    some = f"{bad} of {count} in trouble" if bad else f"{count} examined, none in trouble"
    lines.append(some if finished else f"{some}; ended early, so there may be more to find")
    return "\n".join(lines)


def _block(chapter: Chapter, alike: int) -> Iterator[str]:
    """Returns the lines of a chapter, which are those of so many others, too."""
    more = f" and {alike} more" if alike else ""
    head = f"{chapter.name}{more}  {chapter.address}".rstrip() if chapter.name else "this machine"
    yield f"{printable(head)}  {_VERDICTS[chapter.verdict]}"
    for each in chapter.findings:
        yield from _wrapped(f"  {_MARKS[each.level]} ", each.text)
        if each.remedy:
            yield from _wrapped("      -> ", each.remedy)


def _wrapped(first: str, text: str) -> list[str]:
    return textwrap.wrap(
        printable(text),
        _WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )


def json_of(chapters: Sequence[Chapter], finished: bool, faults: Sequence[Mapping[str, object]] = ()) -> str:
    """Returns the same for programs; and the `faults` that have kept the doctor from its work, if there are any."""
    said = {
        "finished": finished,
        "faults": [*faults],
        "trouble": any(each.verdict == TROUBLE for each in chapters),
        "machine": [_finding(each) for chapter in chapters if not chapter.name for each in chapter.findings],
        "servers": [
            {
                "server": chapter.name,
                "address": chapter.address or None,
                "verdict": chapter.verdict,
                "measured": {**chapter.facts},
                "findings": [_finding(each) for each in chapter.findings],
            }
            for chapter in chapters
            if chapter.name
        ],
    }
    return json.dumps(said, indent=2)


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "level": finding.level,
        "topic": finding.topic,
        "text": printable(finding.text),
        "remedy": printable(finding.remedy) or None,
    }
