"""Names the table of a section wherever its rules mean it and do not say so."""

from __future__ import annotations

from typing import TypeVar

import attrs

from reusedproxy.config.model.bandwidth import Bandwidth
from reusedproxy.config.model.persistence import Stick
from reusedproxy.config.model.values import Call
from reusedproxy.config.rules.counters import Track
from reusedproxy.config.rules.samples import FETCHES

T = TypeVar("T")


def with_table(said: T, name: str) -> T:
    """Returns a value of the configuration, at any depth, with this table where none is named."""
    made: object = said
    if isinstance(said, tuple):
        parts = tuple(with_table(part, name) for part in said)
        if any(part is not before for part, before in zip(parts, said, strict=True)):
            made = parts
    elif isinstance(said, Call):
        signature = FETCHES.get(said.name)
        if signature is not None and signature.needs_table:
            arguments = said.arguments[: signature.table]
            if not said.arguments[signature.table :] or not said.arguments[signature.table]:
                made = Call(said.name, (*arguments, name))
    elif attrs.has(kind := type(said)):
        changed = {}
        for field in attrs.fields(kind):
            before = getattr(said, field.name)
            after = with_table(before, name)
            if after is not before:
                changed[field.name] = after
        if isinstance(said, (Track, Stick, Bandwidth)) and not said.table:
            changed["table"] = name
        if changed:
            made = attrs.evolve(said, **changed)  # type: ignore[misc]
    return made  # type: ignore[return-value]
