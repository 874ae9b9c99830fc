"""Writes values with their kind, as HAProxy's `typed` and `json` forms do (management manual, section 9.2): who says
it, what it measures, whom it is about, and its type.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from attrs import frozen

from reusedproxy.operators.stats.figures import (
    ALL_COLUMNS,
    BACKEND,
    FRACTIONS,
    FRONTEND,
    LISTENER,
    Row,
    Section,
    Value,
)

ORIGINS = {"M": "Metric", "S": "Status", "K": "Key", "C": "Config", "P": "Product"}
NATURES = {
    "A": "Age", "a": "Avg", "C": "Counter", "D": "Duration", "G": "Gauge", "L": "Limit", "M": "Max", "m": "Min",
    "N": "Name", "O": "Output", "R": "Rate", "T": "Time",
}  # fmt: skip
SCOPES = {"C": "Cluster", "P": "Process", "S": "Service", "s": "System"}


@frozen
class Kind:
    """Holds the three letters and the type of a value."""

    letters: str
    type: str

    def tags(self) -> dict[str, str]:
        letters = self.letters
        return {"origin": ORIGINS[letters[0]], "nature": NATURES[letters[1]], "scope": SCOPES[letters[2]]}


def _kinds(text: str) -> dict[str, Kind]:
    """Parses lines of `letters:type name …`."""
    found = {}
    for line in text.strip().splitlines():
        kind, *names = line.split()
        letters, _, form = kind.partition(":")
        found.update(dict.fromkeys(names, Kind(letters, form)))
    return found


#: HAProxy's kinds of the columns of the statistics; those of the pool are numbers of the process.
_COLUMNS = _kinds(
    """
    KNS:str pxname svname
    MGP:u32 scur qcur srv_icur idle_conn_cur safe_conn_cur used_conn_cur need_conn_est priv_idle_cur
    SGP:u32 act bck
    MMP:u32 smax rate_max req_rate_max conn_rate_max qmax
    CLP:u32 slim rate_lim src_ilim
    SGP:str status
    KGP:u32 pid
    KGS:u32 iid sid
    CGS:u32 type qlimit check_rise check_fall check_health agent_rise agent_fall agent_health
    CNS:str tracked
    MRP:u32 rate req_rate conn_rate
    CGS:str mode addr algo proto
    MaP:u32 weight uweight throttle qtime ctime rtime ttime
    MMP:u32 qtime_max ctime_max rtime_max ttime_max
    MGP:u64 h1_open_connections h1_open_streams
    MAP:u32 lastchg
    MCP:u32 downtime
    MOP:str check_status last_chk check_desc pool_closed pool_limit_used_from pool_limit_unused_from
    MOP:str agent_status last_agt agent_desc
    MOP:u32 check_code agent_code
    MDP:u64 check_duration agent_duration
    MAP:s32 lastsess
    MGP:u64 pool_floor pool_floor_advised pool_idle pool_suspect pool_in_use pool_connecting pool_retiring pool_waiting
    MDP:flt pool_below_floor pool_limit_used pool_limit_unused
    MaP:flt pool_reuse_ratio
    """
)
_COUNTED = Kind("MCP", "u64")
#: Where HAProxy has another kind in the rows of backends.
_OF_BACKENDS = dict.fromkeys(("rate", "rate_max", "act", "bck"), Kind("MGP", "u32"))
_POSITIONS = {name: number for number, name in enumerate(ALL_COLUMNS)}
_LETTERS = {FRONTEND: "F", BACKEND: "B", LISTENER: "L"}
_NAMES = {FRONTEND: "Frontend", BACKEND: "Backend", LISTENER: "Listener"}


def _values(row: Row, legends: bool) -> Iterator[tuple[int, str, Kind, Value]]:
    others = _OF_BACKENDS if row.columns["type"] == BACKEND else {}
    for name, value in {**row.columns, **(row.legends if legends else {})}.items():
        if value != "":
            yield _POSITIONS[name], name, others.get(name) or _COLUMNS.get(name, _COUNTED), value


def _shown(name: str, value: Value) -> str:
    return f"{value:.4f}" if name in FRACTIONS and value != "" else str(value)


def typed_statistics(sections: Iterable[Section], legends: bool = False) -> Iterator[str]:
    """Returns one line for each value, row by row; with `legends` those of each row, too."""
    for section in sections:
        for row in section.rows():
            columns = row.columns
            start = f"{_LETTERS.get(int(columns['type']), 'S')}.{columns['iid']}.{columns['sid']}"
            yield "".join(
                f"{start}.{position}.{name}.1:{kind.letters}:{kind.type}:{_shown(name, value)}\n"
                for position, name, kind, value in sorted(_values(row, legends))
            )


def json_statistics(sections: Iterable[Section], legends: bool = False) -> Iterator[str]:
    """Returns a list of rows, each a list of values, as one JSON text in pieces."""
    separator = "["
    for section in sections:
        for row in section.rows():
            columns = row.columns
            values = [
                {
                    "objType": _NAMES.get(int(columns["type"]), "Server"),
                    "proxyId": columns["iid"],
                    "id": columns["sid"],
                    **_field(position, name, kind, value),
                }
                for position, name, kind, value in sorted(_values(row, legends))
            ]
            yield separator + json.dumps(values, separators=(",", ":"))
            separator = ","
    yield "]\n" if separator == "," else "[]\n"


def _field(position: int, name: str, kind: Kind, value: Value) -> dict[str, object]:
    return {
        "field": {"pos": position, "name": name},
        "processNum": 1,
        "tags": kind.tags(),
        "value": {"type": kind.type, "value": value},
    }


@frozen
class Fact:
    """Holds one value of `show info`: its place in HAProxy's list, its name, its kind and what it is. `exact` is its
    value for `float`; None: the same."""

    position: int
    name: str
    kind: Kind
    value: int | float | str
    words: str
    exact: float | None = None


def typed_facts(facts: Iterable[Fact]) -> str:
    return "".join(
        f"{each.position}.{each.name}.1:{each.kind.letters}:{each.kind.type}:{each.value}\n" for each in facts
    )


def json_facts(facts: Iterable[Fact]) -> str:
    fields = [_field(each.position, each.name, each.kind, each.value) for each in facts]
    return json.dumps(fields, separators=(",", ":")) + "\n"
