"""Parses how names of headers are spelled (`h1-case-adjust`)."""

from __future__ import annotations

from collections.abc import Sequence

from reusedproxy.config.language.header_names import TOKEN
from reusedproxy.config.language.report import Wrong


def respelled(words: Sequence[str], found: dict[str, str], what: str) -> None:
    """Adds a name in lower case, and its spelling, to those found so far. Raises Wrong."""
    if len(words) != 2:
        raise Wrong(f"{what} needs the name of a header in lower case, and its spelling")
    name, other = words
    if not TOKEN.match(name) or name != name.lower():
        raise Wrong(f"{what}: '{name}' is no name of a header in lower case")
    if other.lower() != name:
        raise Wrong(f"{what}: '{other}' is another name than '{name}', and may differ in its case only")
    if name in found:
        raise Wrong(f"{what}: '{name}' has a spelling already: '{found[name]}'")
    found[name] = other
