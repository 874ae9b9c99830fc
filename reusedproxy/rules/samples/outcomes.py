"""Implements `when`, a converter that passes a sample on as it is where the request has come to something: where it has
failed, was sent to a server, and so on (manual, section 7.3.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reusedproxy.config.rules.outcomes import read_outcome
from reusedproxy.rules.facts import Facts, Sample

Convert = Callable[[Any, Facts], Sample]

#: What `Facts.figure` is asked, any of which has to be true; and whether the answer is turned round.
_ASKED = {
    "error": (("error",), False),
    "normal": (("error",), True),
    "forwarded": (("forwarded",), False),
    "toapplet": (("toapplet",), False),
    "processed": (("forwarded", "toapplet"), False),
    "stopping": (("stopping",), False),
}


def _when(*arguments: str) -> Convert:
    word, negated = read_outcome(arguments)
    asked, turned = _ASKED[word]
    passes = negated == turned

    def convert(sample: Sample, facts: Facts) -> Sample:
        return sample if any(facts.figure(each, "") for each in asked) is passes else None

    return convert


OUTCOME_CONVERTERS: dict[str, Callable[..., Convert]] = {"when": _when}
