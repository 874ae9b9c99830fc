"""Implements converters that pass a sample on as it is (manual, section 7.3.1): `when` where the request has come to
something, has failed, was sent to a server, and so on; `debug` always, and writes it on its way."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any

from reusedproxy.config.rules.outcomes import read_outcome, read_sink
from reusedproxy.rules.facts import Binary, Facts, Method, Sample
from reusedproxy.rules.samples.casts import to_text

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
        facts.tell(where, f"[debug] {prefix}: type={_type_of(sample)} <{text}>")
        return sample

    return convert


def _type_of(sample: Sample) -> str:
    """Returns HAProxy's name of a sample's type."""
    if isinstance(sample, bool):
        return "bool"
    if isinstance(sample, int):
        return "sint"
    if isinstance(sample, bytes):
        return "bin" if isinstance(sample, Binary) else "meth" if isinstance(sample, Method) else "str"
    return "ipv4" if isinstance(sample, IPv4Address) else "ipv6"


OUTCOME_CONVERTERS: dict[str, Callable[..., Convert]] = {"when": _when, "debug": _debug}
