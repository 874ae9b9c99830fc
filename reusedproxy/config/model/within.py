"""Finds values of one kind within values of the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import attrs

T = TypeVar("T")


def values_in(said: object, kind: type[T]) -> Iterator[T]:
    """Returns the values of this kind within a value of the configuration, at any depth; nothing within one of them."""
    if isinstance(said, kind):
        yield said
    elif isinstance(said, tuple):
        for part in said:
            yield from values_in(part, kind)
    elif attrs.has(own := type(said)):
        for field in attrs.fields(own):
            yield from values_in(getattr(said, field.name), kind)
