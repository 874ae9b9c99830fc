"""Tells servers that operators have added under the names of others, which they had deleted, from these: after a reload
or a replacement, the file has those back. Must never know which of the two it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from reusedproxy.build.servers.line import Line
from reusedproxy.config import model


def address_of(settings: model.Server) -> list[object]:
    """Returns what the line of a server says of its address."""
    return [settings.kind, settings.host, settings.port]


def in_place(lines: Mapping[str, Line], deleted: Collection[str]) -> dict[str, list[object]]:
    """Returns the addresses of servers that were added under the names of `deleted` ones of the file, by
    backend/server."""
    there = ((name, lines[name].server.settings) for name in sorted(deleted) if name in lines)
    return {name: address_of(settings) for name, settings in there if settings.added}


def going_on(
    lines: Mapping[str, Line], deleted: Collection[str], configuration: model.Configuration
) -> Mapping[str, Line]:
    """Returns the lines before a reload that servers of its `configuration` go on with. What was ordered of a server
    under the name of a deleted one, and what was found out about it, is not that one's: it goes on where it is named by
    now."""
    others = in_place(lines, deleted)
    if not others:
        return lines
    named = {
        f"{backend.name}/{each.name}": address_of(each)
        for backend in configuration.backends.values()
        for each in backend.servers
    }
    return {name: line for name, line in lines.items() if name not in others or named.get(name) == others[name]}
