"""Parses `peers` sections: tables that belong to no proxy, and the names of those who would share them.

Tables live in this process, and survive its reloads; nothing is sent to other machines. A section that names others is
refused: who is known there as an offender, or sticks to a server there, would be unknown here.
"""

from __future__ import annotations

from attrs import Factory, define

from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean
from reusedproxy.config.model.tables import StickTable
from reusedproxy.config.model.values import Place
from reusedproxy.config.sections.tables import table_of

WORDS = ("peer", "server", "bind", "default-bind", "default-server", "table", "log", "disabled", "enabled", "shards")
#: What only says how peers are connected.
_OF_CONNECTIONS = ("bind", "default-bind", "default-server", "log", "shards")


@define
class PeersDraft:
    """Holds one `peers` section while it is read. `others` are its `peer` lines, by name. `disabled`: nobody would be
    told anything."""

    name: str
    place: Place
    others: dict[str, Place] = Factory(dict)
    tables: dict[str, StickTable] = Factory(dict)
    disabled: bool = False

    def read(self, line: Line, report: Report) -> None:
        """Reads one line of the section. Raises Wrong."""
        word = line.keyword
        if word not in WORDS:
            raise Wrong(f"unknown keyword '{word}' in section 'peers'{did_you_mean(word, WORDS)}")
        if line.prefix:
            raise Wrong(f"'{line.prefix}' cannot stand before '{word}' in section 'peers'")
        if word == "table":
            self._table(line, report)
        elif word in ("disabled", "enabled"):
            line.at_most(0)
            self.disabled = word == "disabled"
        elif word in _OF_CONNECTIONS:
            report.notice(line.place, f"'{word}' in section 'peers' does nothing: no peer is connected to")
        elif not line.arguments:
            raise Wrong(f"'{word}' needs the name of a peer")
        else:
            self.others.setdefault(line.words[1], line.place)

    def _table(self, line: Line, report: Report) -> None:
        if not line.arguments:
            raise Wrong("'table' needs a name: table t1 type ip size 100k store gpc0, say")
        name = f"{self.name}/{line.words[1]}"
        if name in self.tables:
            raise Wrong(f"table '{name}' stands already at {self.tables[name].place}")
        self.tables[name] = table_of(name, line.place, line.words[2:], f"table '{name}'", report, of_peers=True)


def check_peers(draft: PeersDraft, local: str, report: Report) -> None:
    """Refuses the peers that are other machines: all but the one that is called `local`, or the only one."""
    if draft.disabled:
        return
    if not local and len(draft.others) == 1:
        return
    for name, place in draft.others.items():
        if name != local:
            text = (
                f"peer '{name}' is another machine, and tables are not sent to others here: what it knows of a client"
                " would not count. Take the line out, and each machine counts by itself"
            )
            if not local:
                text += "; 'localpeer' in section 'global' says which of them this one is"
            report.fault(place, text)
