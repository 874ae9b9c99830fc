"""Implements converters that pass a sample on as it is (manual, section 7.3.1): `when` where the request has come to
something, has failed, was sent to a server, and so on; `debug` always, and writes it on its way."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from reusedproxy.config.rules.outcomes import read_outcome, read_sink
from reusedproxy.rules.facts import Facts, Sample
from reusedproxy.rules.samples.casts import to_text, type_name

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


_UNPRINTABLE = re.compile(rb"[^ -~]")


def _debug(prefix: str = "", *sink: str) -> Convert:
    where = read_sink((prefix, *sink))

    def convert(sample: Sample, facts: Facts) -> Sample:
        text = _UNPRINTABLE.sub(b".", to_text(sample) or b"").decode("ascii")
        facts.tell(where, f"[debug] {prefix}: type={type_name(sample)} <{text}>")
        return sample

    return convert


OUTCOME_CONVERTERS: dict[str, Callable[..., Convert]] = {"when": _when, "debug": _debug}
