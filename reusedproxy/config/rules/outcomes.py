"""Reads the condition of `when`: what must have become of a request for a sample to pass. Data and syntax only."""

from __future__ import annotations

from reusedproxy.config.language.report import Wrong, not_done, one_of

#: HAProxy's words; "normal" is the opposite of "error", and "processed" is either of "forwarded" and "toapplet".
OUTCOMES = ("error", "forwarded", "normal", "processed", "stopping", "toapplet")


def read_outcome(arguments: tuple[str, ...]) -> tuple[str, bool]:
    """Returns one of `OUTCOMES`, and whether it is negated by a '!'. Raises Wrong."""
    word, negated = arguments[0].removeprefix("!"), arguments[0].startswith("!")
    if word == "acl":
        raise Wrong(not_done("acl", "condition of 'when'", "write the condition behind the rule, with 'if'"))
    if len(arguments) > 1:
        raise Wrong(f"the condition '{word}' takes no argument")
    return one_of(word, OUTCOMES, "the condition"), negated
