"""Makes the stick tables of a configuration, or takes those over that are there already: a reload keeps what is known.

A table of the same name whose keys and values are the same goes on, with another size or time if these have changed.
Otherwise it begins empty, and a notice says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from reusedproxy.config.model.tables import StickTable
from reusedproxy.config.model.values import Notice
from reusedproxy.tables.table import Table


def tables_of(
    said: Mapping[str, StickTable], before: Mapping[str, Table], seconds: Callable[[], float], notices: list[Notice]
) -> dict[str, Table]:
    """Returns the tables, by name. Those of `before` that go on are not changed: `adopt` does it."""
    made: dict[str, Table] = {}
    for name, settings in said.items():
        table = before.get(name)
        if table is None or not settings.fits(table.settings):
            if table is not None and len(table):
                text = f"table '{name}' begins empty, as its keys or what it stores have changed"
                notices.append(Notice("warning", settings.place, text))
            table = Table(settings, seconds)
        made[name] = table
    return made


def adopt(said: Mapping[str, StickTable], tables: Iterable[Table]) -> None:
    """Gives tables the settings of a configuration that counts from now on."""
    for table in tables:
        table.adopt(said[table.name])
