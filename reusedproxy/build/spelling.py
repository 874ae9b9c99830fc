"""Reads how names of headers are spelled for clients and servers that tell upper case from lower case
(`h1-case-adjust`, `h1-case-adjust-file`)."""

from __future__ import annotations

from collections.abc import Mapping
from io import TextIOWrapper

from reusedproxy.config.language.report import Fault, Wrong
from reusedproxy.config.model.proxies import Global
from reusedproxy.config.sections.spelling import respelled
from reusedproxy.net.files import MEBIBYTE, open_bounded, why_unread

#: By names in lower case.
Spelling = Mapping[bytes, bytes]


def spelling_of(settings: Global, faults: list[Fault]) -> Spelling | None:
    """Returns the spelling of names that have one; None: no name has. Adds to `faults`."""
    found = dict(settings.spelling)
    said = settings.spelling_file
    if said is not None:
        try:
            with TextIOWrapper(open_bounded(said.value, MEBIBYTE), encoding="utf-8", errors="replace") as lines:
                for number, line in enumerate(lines, 1):
                    words = line.split()
                    if words and not line.lstrip().startswith("#"):
                        respelled(words, found, f"{said.value}, line {number}")
        except OSError as error:
            faults.append(
                Fault(said.place, f"cannot read the names of headers in {said.value}: {why_unread(said.value, error)}")
            )
        except Wrong as wrong:
            faults.append(Fault(said.place, str(wrong)))
    return {name.encode(): other.encode() for name, other in found.items()} or None
