"""Reads the words that follow the address on `bind`, `server` and `default-server` lines.

Knows how many arguments a word takes, and goes on after a wrong argument, so that all faults of a line are found at
once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from reusedproxy.config.language.report import Wrong, did_you_mean

Apply = Callable[[str, str], None]


def read_parameters(words: Sequence[str], arities: Mapping[str, int], apply: Apply, what: str) -> None:
    """Calls `apply(word, argument)` for each word of `words`; raises one `Wrong` with all faults found."""
    texts: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        if word not in arities:
            texts.append(f"{what}: unknown word '{word}'{did_you_mean(word, arities)}")
            break
        takes = arities[word]
        if takes and (at + 1 >= len(words) or not words[at + 1]):
            texts.append(f"{what}: '{word}' needs a value after it")
            break
        try:
            apply(word, words[at + 1] if takes else "")
        except Wrong as wrong:
            texts.extend(wrong.texts)
        at += 1 + takes
    if texts:
        raise Wrong(*texts)
