"""Chooses one of the languages that a client asks for: `language` (manual, section 7.3.1; RFC 9110 section 12.5.4)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from reusedproxy.rules.facts import Facts, Sample

Convert = Callable[[Any, Facts], Sample]

_ASKED = re.compile(rb"\s*([^;,\s]+)\s*(?:\Z|;\s*(?:q\s*(?:=\s*(?:([0-9])(?:\.([0-9]{0,3}))?)?)?)?)")


def _quality(whole: bytes | None, rest: bytes | None) -> int:
    """Returns the weight in thousandths; without one it is the largest."""
    if whole is None:
        return 1000
    return min(1000, int(whole) * 1000 + int((rest or b"").ljust(3, b"0")))


def _language(languages: str, otherwise: str = "") -> Convert:
    """Makes `language`: of the values with the highest weight the first whose language is in the list, by itself or
    without its variant (`fr-CA`, `fr`)."""
    offered = [each.encode("utf-8", "surrogateescape") for each in languages.split(";")]
    default = otherwise.encode("utf-8", "surrogateescape") or None

    def chosen(asked: bytes) -> bytes | None:
        return next((each for each in offered if each and (asked == each or asked.startswith(each + b"-"))), None)

    def convert(sample: bytes, facts: Facts) -> Sample:
        best, most = default, 0
        for part in sample.split(b","):
            found = _ASKED.match(part)
            if found is None:
                continue
            quality, one = _quality(found[2], found[3]), chosen(found[1])
            if one is not None and quality > most:
                best, most = one, quality
        return best

    return convert


LANGUAGE_CONVERTERS: dict[str, Callable[..., Convert]] = {"language": _language}
