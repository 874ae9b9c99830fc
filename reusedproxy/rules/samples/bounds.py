"""Bounds the texts that converters make of shorter ones by a buffer (`Facts.longest`), as HAProxy does.

A variable of a session outlives its request. Were what is put into it not bounded, a client could have it doubled by
each request, and all others would wait while it is copied. What a converter only takes from its sample needs no
bound: fetches give no more than a buffer holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from reusedproxy.rules.facts import Facts, Sample

Convert = Callable[[Any, Facts], Sample]
#: Returns what is left of a text that is longer than this; None: the expression has no value.
_Fit = Callable[[bytes, int], "bytes | None"]

_CODE_CUT = re.compile(rb"%.?\Z", re.DOTALL)


def in_bounds(name: str, convert: Convert) -> Convert:
    """Returns the converter of this name so that no text which it makes is longer than `Facts.longest`."""
    fit = _FITS.get(name)
    if fit is None:
        return convert

    def convert_in_bounds(sample: Any, facts: Facts) -> Sample:
        made = convert(sample, facts)
        if isinstance(made, bytes) and len(made) > facts.longest:
            return fit(made, facts.longest)
        return made

    return convert_in_bounds


def to_keep(sample: Sample, facts: Facts) -> Sample:
    """Returns a sample for a variable: no fetch or converter makes it longer than a buffer, but one that is made of a
    format might (`unique-id`)."""
    if isinstance(sample, bytes) and len(sample) > facts.longest:
        return type(sample)(sample[: facts.longest])
    return sample


def joined(pieces: Iterable[bytes], between: bytes, most: int) -> bytes:
    """Joins pieces as long as the next one leaves the whole within `most` bytes."""
    taken: list[bytes] = []
    size = -len(between)
    for piece in pieces:
        size += len(between) + len(piece)
        if size > most:
            break
        taken.append(piece)
    return between.join(taken)


def _cut(made: bytes, most: int) -> bytes:
    return made[:most]


def _by_codes(made: bytes, most: int) -> bytes:
    """Cuts a text of which %XX is not to be torn."""
    return _CODE_CUT.sub(b"", made[:most])


def _nothing(made: bytes, most: int) -> None:
    """Gives up a text that means another one if it is cut."""


#: What becomes of too long a text, by the converter (HAProxy's src/sample.c, src/http_conv.c, src/map.c). Those of
#: numbers (`be2hex`, …) leave out whole numbers, see `joined`.
_FITS: dict[str, _Fit] = {
    **dict.fromkeys(("concat", "add_item", "hex", "base2", "regsub"), _cut),
    **dict.fromkeys(("json", "base64", "ub64enc", "map_regm", "aes_cbc_enc"), _nothing),
    "url_enc": _by_codes,
}
