"""Defines how the parts of a proxy that are built here send a message to the operator."""

from __future__ import annotations

from typing import Protocol


class Announce(Protocol):
    """Takes a message for the operator. `section`, such as "backend web", selects the `log` lines that get it; ""
    selects the global ones."""

    def __call__(self, level: str, text: str, section: str = "") -> None: ...
