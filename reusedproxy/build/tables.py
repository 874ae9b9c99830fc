"""Makes the stick tables of a configuration, or takes those over that are there already: a reload keeps what is known.

A table of the same name whose keys and values are the same goes on, with another size or time if these have changed.
Otherwise it begins empty, and a notice says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import inf

from reusedproxy.config.model.rules import Rules
from reusedproxy.config.model.tables import Judged, StickTable
from reusedproxy.config.model.values import Notice
from reusedproxy.config.rules.counters import Track
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.tables.table import Table

#: Seconds between two looks at what is out of time; entries of one table that are looked at in one turn, and seconds to
#: the next turn where there are more.
EVERY = 1.0
AT_ONCE = 500
SOON = 0.05


def counts_requests(rules: Rules, tables: Mapping[str, Table]) -> bool:
    """Tells whether a table that rules for connections or sessions track something in counts requests, or anything that
    comes of them."""
    actions = (rule.action for rule in (*rules.connection, *rules.session))
    tracked = [tables[action.table] for action in actions if isinstance(action, Track)]
    return any(table.requests is not None or table.counts_exchanges for table in tracked)


def judged_from(said: Iterable[StickTable]) -> int:
    """Returns the least status that one of these tables counts as an error, or as a failure."""
    return min((each.judged.least for each in said), default=Judged().least)


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


class Sweep:
    """Removes from tables what is out of time, so that it takes no memory; nobody would be given it in any case."""

    def __init__(self, tables: Mapping[str, Table], deadlines: Deadlines) -> None:
        self.deadline = inf
        self.slot = 0.0
        self._tables = tables
        self._deadlines = deadlines

    def start(self) -> None:
        if self._tables:
            self._deadlines.watch(self, self._deadlines.now() + EVERY)

    def stop(self) -> None:
        self._deadlines.cancel(self)

    def deadline_passed(self) -> None:
        looked = [table.purge(AT_ONCE) for table in self._tables.values()]
        more = AT_ONCE in looked
        self._deadlines.watch(self, self._deadlines.now() + (SOON if more else EVERY))
