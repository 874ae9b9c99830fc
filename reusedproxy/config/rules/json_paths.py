"""Parses the paths of `json_query`: `$`, then `.key` and `[number]`, each any number of times.

A dot or a bracket that belongs to a key stands behind a backslash. Must never look into JSON.
"""

from __future__ import annotations

import re

from reusedproxy.config.language.report import Wrong

#: The keys, as they stand in JSON, and the numbers, from 0, that lead to a value.
Path = tuple[bytes | int, ...]

_STEP = re.compile(r"\.((?:[^.\[\\]|\\.)+)|\[([0-9]{1,9})\]", re.DOTALL)


def read_path(text: str) -> Path:
    """Parses a path. Raises Wrong."""
    if not text.startswith("$"):
        raise Wrong(f"'{text}' is no JSON path: one begins with '$', as '$.user.name' or '$.list[0]' do")
    steps: list[bytes | int] = []
    at = 1
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            raise Wrong(
                f"'{text}' is no JSON path: behind '{text[:at]}' follows '.key' or '[number]', not '{text[at:]}'"
            )
        key, number = found.groups()
        steps.append(int(number) if key is None else re.sub(r"\\(.)", r"\1", key).encode("utf-8", "surrogateescape"))
        at = found.end()
    return tuple(steps)
