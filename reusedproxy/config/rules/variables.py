"""Reads the names of variables, and the conditions of `set-var` behind them. It must never know where these stand."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reusedproxy.config.language.haproxy_words import words
from reusedproxy.config.language.report import Wrong, did_you_mean

_NAME = re.compile(r"(proc|sess|txn|req|res)\.([A-Za-z0-9_.]+)\Z")
#: How variables of the whole process begin.
OF_PROCESS = "proc."
#: What may keep `set-var` from setting its variable (manual, section 7.3.1).
_CONDITIONS = words("ifexists ifnotexists ifempty ifnotempty ifset ifnotset ifgt iflt")


def is_variable(name: str) -> bool:
    """Tells whether this may be the name of a variable, with its scope."""
    return _NAME.match(name) is not None


def variable(name: str, what: str) -> str:
    """Checks the name of a variable, with its scope, and returns it. Raises Wrong."""
    scope = name.partition(".")[0]
    if scope in ("check", "psess", "ptxn", "preq", "pres") and "." in name:
        raise Wrong(f"{what}: variables of the scope '{scope}' are HAProxy's; reusedproxy does not do them yet")
    if not is_variable(name):
        raise Wrong(
            f"{what}: '{name}' is no variable: write proc, sess, txn, req or res, a dot, and a name of letters, digits,"
            " _ and ."
        )
    return name


def variable_conditions(said: Sequence[str], what: str) -> tuple[str, ...]:
    """Checks the conditions behind the name of a variable, and returns them. Raises Wrong."""
    for word in said:
        if word not in _CONDITIONS:
            near = did_you_mean(word, _CONDITIONS) or f": there are {', '.join(sorted(_CONDITIONS))}"
            raise Wrong(f"{what}: unknown condition '{word}'{near}")
    return tuple(said)
