"""Parses what of a server line depends on the request (`crt`, `ca-file`, `verifyhost`), and says which of its values
are known before there is one.

Opens no file: the values of a map, and the files of a folder, are found where they are read.
"""

from __future__ import annotations

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.model.rules import Format, Hole
from reusedproxy.config.model.values import Expression
from reusedproxy.config.rules.expressions import where_of
from reusedproxy.config.rules.formats import read_format
from reusedproxy.config.rules.samples import KEY, MAPS, RESPONSE, SERVER_BYTES


def read_choice(text: str, what: str) -> Format:
    """Parses a word with `%[expression]` in it; `what` begins each message. Raises Wrong."""
    made = read_format(text, what)
    for part in made.parts:
        if not isinstance(part, Hole):
            continue
        if part.expression.fetch.name.startswith("%") or part.escaped or part.quoted or part.shown or part.name:
            raise Wrong(f"{what}: only texts and '%[expression]' can stand here, without flags: '{text}'")
        if where_of(part.expression) in (RESPONSE, SERVER_BYTES):
            text = f"'{part.expression}' needs a response, and a connection is chosen before there is one"
            raise Wrong(f"{what}: {text}")
    return made


def map_of(expression: Expression) -> str | None:
    """Returns the file of the map whose values are all that the expression can give; None: it is no map's."""
    last = expression.converters[-1] if expression.converters else None
    if last is None or last.name not in MAPS or MAPS[last.name][0] == "regm" or MAPS[last.name][1] == KEY:
        return None
    return last.arguments[0]


def around_map(made: Format) -> tuple[str, str, str, str | None] | None:
    """Returns the file of the map that has all values of a format, the texts before and after them, and what stands for
    keys that it has not (None: nothing); None where there is no such map."""
    holes = [part for part in made.parts if isinstance(part, Hole)]
    if len(holes) != 1 or (path := map_of(holes[0].expression)) is None:
        return None
    at = made.parts.index(holes[0])
    before, after = made.parts[:at], made.parts[at + 1 :]
    default = holes[0].expression.converters[-1].arguments[1:]
    return path, "".join(map(str, before)), "".join(map(str, after)), default[0] if default else None


def are_bounded(sni: Expression | None, pool_conn_name: Expression | None, verifyhost: Format | None) -> bool:
    """Tells whether no client can invent any number of identities, so that one may have a floor from its first request
    on. (Certificates and authorities are always those that there are.)"""
    if pool_conn_name is not None and pool_conn_name.fetch.name != "str":
        return False
    return (sni is None or map_of(sni) is not None) and (verifyhost is None or around_map(verifyhost) is not None)


def folder_of(made: Format) -> str | None:
    """Returns the folder that the format writes out before its first expression; None where it writes none."""
    first = made.parts[0] if made.parts else ""
    if not isinstance(first, str) or "/" not in first:
        return None
    return first.rpartition("/")[0] or "/"
