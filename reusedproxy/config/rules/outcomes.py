"""Reads the arguments of `when`, what must have become of a request for a sample to pass, and of `debug`, where samples
are written. Data and syntax only."""

from __future__ import annotations

from reusedproxy.config.language.report import Wrong, not_done, one_of

#: HAProxy's words; "normal" is the opposite of "error", and "processed" is either of "forwarded" and "toapplet".
OUTCOMES = ("error", "forwarded", "normal", "processed", "stopping", "toapplet")


#: Where `debug` writes; the first is the usual one, a ring.
SINKS = ("buf0", "stdout", "stderr")


def read_sink(arguments: tuple[str, ...]) -> str:
    """Returns one of `SINKS`: the second argument, or the usual one. Raises Wrong."""
    return one_of(arguments[1], SINKS, "where it writes") if len(arguments) > 1 else SINKS[0]


def read_outcome(arguments: tuple[str, ...]) -> tuple[str, bool]:
    """Returns one of `OUTCOMES`, and whether it is negated by a '!'. Raises Wrong."""
    word, negated = arguments[0].removeprefix("!"), arguments[0].startswith("!")
    if word == "acl":
        raise Wrong(not_done("acl", "condition of 'when'", "write the condition behind the rule, with 'if'"))
    if len(arguments) > 1:
        raise Wrong(f"the condition '{word}' takes no argument")
    return one_of(word, OUTCOMES, "the condition"), negated
