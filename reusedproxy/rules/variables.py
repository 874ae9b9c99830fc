"""Implements the conditions of `set-var` (manual, section 7.3.1): what keeps it from setting its variable.

As in HAProxy (src/vars.c, var_set), all of them have to be met. It must never know where a variable is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reusedproxy.config.rules.variables import OF_PROCESS
from reusedproxy.rules.facts import Method, Sample

#: Tells by the value that a variable has (None: it has none), and by the one it would get, whether it gets that.
Condition = Callable[[Sample, Sample], bool]


def met(conditions: Sequence[str], name: str) -> Condition:
    """Compiles conditions of the variable of this name, of which there is one at least. One of the process exists by
    being named in a rule (src/vars.c, parse_store); whether it has a value is what `ifset` asks."""
    known = _OF_PROCESS if name.startswith(OF_PROCESS) else _CONDITIONS
    tests = [known[each] for each in conditions]
    return lambda before, sample: all(test(before, sample) for test in tests)


def _is_set(before: Sample, sample: Sample) -> bool:
    return before is not None


def _is_not_set(before: Sample, sample: Sample) -> bool:
    return before is None


def _is_empty(before: Sample, sample: Sample) -> bool:
    # A method is no text to HAProxy, and is empty as little as a number.
    return sample == b"" and not isinstance(sample, Method)


def _is_not_empty(before: Sample, sample: Sample) -> bool:
    return not _is_empty(before, sample)


def _was_more(before: Sample, sample: Sample) -> bool:
    """Compares integers; a truth value is none. Where one of the two is something else, the condition is met."""
    return not (type(before) is int and type(sample) is int) or before > sample


def _was_less(before: Sample, sample: Sample) -> bool:
    return not (type(before) is int and type(sample) is int) or before < sample


_CONDITIONS: dict[str, Condition] = {
    "ifexists": _is_set,
    "ifnotexists": _is_not_set,
    "ifset": _is_set,
    "ifnotset": _is_not_set,
    "ifempty": _is_empty,
    "ifnotempty": _is_not_empty,
    "ifgt": _was_more,
    "iflt": _was_less,
}
_OF_PROCESS: dict[str, Condition] = {
    **_CONDITIONS,
    "ifexists": lambda before, sample: True,
    "ifnotexists": lambda before, sample: False,
}
