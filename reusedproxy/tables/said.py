"""Writes keys of stick tables as they are said between processes, and reads what another process says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reusedproxy.config.model.tables import StickTable
from reusedproxy.tables.journal import Key

_BYTES = ("string", "binary")


class NotUnderstood(ValueError):
    """Says that the other process has said what is not understood."""


def demand(holds: bool, what: str) -> None:
    """Raises NotUnderstood unless this holds of what was said."""
    if not holds:
        raise NotUnderstood(what)


def plain_keys(keys: Iterable[Key], kind: str) -> list[Any]:
    """Returns keys of a table of this type as they are said."""
    return [key.decode("latin-1") for key in keys if isinstance(key, bytes)] if kind in _BYTES else list(keys)


def key_said(said: Any, settings: StickTable) -> Key:
    """Returns the key of a table that was said. Raises NotUnderstood."""
    if settings.type in _BYTES:
        demand(isinstance(said, str), "a key")
        return str(said).encode("latin-1")
    demand(type(said) is (int if settings.type == "integer" else str), "a key")
    key: Key = said
    return key


def listed(said: Mapping[str, Any], name: str) -> list[Any]:
    """Returns a list of what was said, empty if it is not there. Raises NotUnderstood."""
    found = said.get(name, [])
    demand(isinstance(found, list), name)
    every: list[Any] = found
    return every
