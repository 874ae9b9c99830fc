"""Implements the sample fetches and converters that ask stick tables (manual, sections 7.3.3 and 7.3.1).

`sc_…` asks the entry that a counter tracks, or another table's entry of the same key; `src_…` that of the client's
address; a converter that of its input. As in HAProxy, a key without an entry has the value 0, and what a table does not
store has none. Some change what they ask for: where rules are asked only what they would say (`Facts.acts`), these
return the present value.
"""

from __future__ import annotations

from collections.abc import Callable

from reusedproxy.config.model.values import Call
from reusedproxy.rules.facts import Facts, Sample
from reusedproxy.rules.samples.keys import key_of, sample_of, source_key
from reusedproxy.tables.table import MASK, Table

Fetch = Callable[[Facts], Sample]
Convert = Callable[[Sample, Facts], Sample]
#: Finds the entry that is asked: its table and its row, 0 where there is none so far. With True it is made then. None:
#: nothing is asked.
Find = Callable[[Facts, bool], "tuple[Table, int] | None"]
#: Returns the value of an entry, None if it is not stored.
Ask = Callable[[Table, int, bool], "int | None"]


# What is asked.


def _tracked(number: int, name: str) -> Find:
    if not name:

        def find(facts: Facts, make: bool) -> tuple[Table, int] | None:
            return facts.tracked(number)

        return find

    def find_elsewhere(facts: Facts, make: bool) -> tuple[Table, int] | None:
        tracked, table = facts.tracked(number), facts.table(name)
        if tracked is None or table is None:
            return None
        of, row = tracked
        return table, table.find(of.key_of(row)) if of.settings.type == table.settings.type else 0

    return find_elsewhere


def _of_source(name: str) -> Find:
    def find(facts: Facts, make: bool) -> tuple[Table, int] | None:
        table = facts.table(name)
        key = None if table is None else source_key(facts, table.settings)
        if table is None or key is None:
            return None
        return table, table.obtain(key) if make else table.find(key)

    return find


def _fetch(find: Find, ask: Ask, makes: bool) -> Fetch:
    if not makes:

        def fetch(facts: Facts) -> Sample:
            found = find(facts, False)
            if found is None:
                return None
            table, row = found
            return ask(table, row, True) if row else 0

        return fetch

    def fetch_and_change(facts: Facts) -> Sample:
        found = find(facts, facts.acts)
        if found is None:
            return None
        table, row = found
        return ask(table, row, facts.acts) if row else 0

    return fetch_and_change


# What is known of an entry.


def _value(*names: str, scale: int = 0) -> Ask:
    """Asks for the first of these values that is stored; `scale` are bits that are left out."""

    def ask(table: Table, row: int, acts: bool) -> int | None:
        for name in names:
            slot = table.slots.get(name)
            if slot is not None:
                return table.value(row, slot) >> scale
        return None

    return ask


def _increment(number: int) -> Ask:
    """Counts one event in a general purpose counter, and returns its number."""

    def ask(table: Table, row: int, acts: bool) -> int | None:
        total, rate = table.slots.get(f"gpc{number}"), table.slots.get(f"gpc{number}_rate")
        if acts:
            table.count(row, table.general(number))
        if total is not None:
            return table.value(row, total)
        return 0 if rate is None else table.events(row, rate)

    return ask


def _clear(number: int) -> Ask:
    """Sets a general purpose counter to 0, and returns what it was."""

    def ask(table: Table, row: int, acts: bool) -> int | None:
        slot = table.slots.get(f"gpc{number}")
        if slot is None:
            return None
        was = table.value(row, slot)
        if acts:
            table.put(row, slot, 0)
        return was

    return ask


def _trackers(table: Table, row: int, acts: bool) -> int | None:
    return table.uses[row]


def _count_connection(table: Table, row: int, acts: bool) -> int | None:
    """Counts a connection (`src_updt_conn_cnt`)."""
    slot = table.slots.get("conn_cnt")
    if slot is None:
        return None
    if acts:
        table.put(row, slot, (table.value(row, slot) + 1) & MASK)
    return table.value(row, slot)


def _own_value(number: int, name: str) -> Fetch:
    """Fetches a value of what a counter tracks, as `_fetch` does, for rules that ask it of each request."""

    def fetch(facts: Facts) -> Sample:
        own = facts.counters
        tracked = own[number] if own is not None and number in own else facts.tracked(number)
        if tracked is None:
            return None
        table, row = tracked
        slot = table.slots.get(name)
        return None if slot is None else table.value(row, slot)

    return fetch


#: What is asked without a number: values as they are stored, and all; and what is asked with one.
_PLAIN = {
    **{
        name: name
        for name in (
            *("conn_cnt", "conn_cur", "conn_rate", "sess_cnt", "sess_rate", "http_req_cnt", "http_req_rate"),
            *("http_err_cnt", "http_err_rate", "http_fail_cnt", "http_fail_rate", "bytes_in_rate", "bytes_out_rate"),
            *("gpc0_rate", "gpc1_rate"),
        )
    },
    "get_gpc0": "gpc0",
    "get_gpc1": "gpc1",
    "get_gpt0": "gpt0",
}
_ASKED: dict[str, Ask] = {
    **{name: _value(stored) for name, stored in _PLAIN.items()},
    "kbytes_in": _value("bytes_in_cnt", scale=10),
    "kbytes_out": _value("bytes_out_cnt", scale=10),
    "inc_gpc0": _increment(0),
    "inc_gpc1": _increment(1),
    "clr_gpc0": _clear(0),
    "clr_gpc1": _clear(1),
    "trackers": _trackers,
}
#: The counter that is asked, by what the names of fetches begin with; that of "sc" is the first argument.
_ASKS = {"sc": -1, "src": -1, **{f"sc{number}": number for number in range(3)}}
_NUMBERED: dict[str, Callable[[int], Ask]] = {
    "get_gpc": lambda number: _value(f"gpc{number}"),
    "get_gpt": lambda number: _value(f"gpt{number}"),
    "gpc_rate": lambda number: _value(f"gpc{number}_rate"),
    "inc_gpc": _increment,
    "clr_gpc": _clear,
}


def _changes(name: str) -> bool:
    return name.startswith(("inc_", "clr_", "updt_"))


# The fetches.


def _of_counter(number: int, table: str, name: str, ask: Ask) -> Fetch:
    if not table and name in _PLAIN:
        return _own_value(number, _PLAIN[name])
    return _fetch(_tracked(number, table), ask, _changes(name))


def asked_of(call: Call) -> tuple[int, str] | None:
    """Returns the counter that a fetch asks (-1: none, but the client's address), and the table that it names ("":
    none); None for a fetch that asks no entry of a table."""
    whose, _, name = call.name.partition("_")
    if whose not in _ASKS or (name not in _ASKED and name not in _NUMBERED):
        return None
    rest = call.arguments[name in _NUMBERED :]
    if whose == "sc":
        return int(rest[0]), rest[1] if len(rest) > 1 else ""
    return _ASKS[whose], rest[0] if rest else ""


def changes(call: Call) -> bool:
    """Tells whether a fetch that asks an entry changes it."""
    return _changes(call.name.partition("_")[2])


def plain_value(call: Call) -> tuple[str, int]:
    """Returns the name of the value that a fetch asks of an entry as it is stored ("": it asks for anything else), and
    the number of the general purpose counter if it counts that before (-1: none)."""
    whose, _, name = call.name.partition("_")
    if whose not in _ASKS:
        return "", -1
    if name in ("inc_gpc0", "inc_gpc1", "inc_gpc"):
        number = int(name[7:] or call.arguments[0])
        return f"gpc{number}", number
    return _PLAIN.get(name, ""), -1


def value_of_counter(call: Call, number: int) -> str:
    """Returns the name of the value that this fetch asks of what the counter of this number tracks, and of no other
    table; "" if it asks for anything else."""
    for prefix, arguments in (("sc_", (str(number),)), (f"sc{number}_", ())):
        if call.name.startswith(prefix) and call.arguments == arguments:
            return _PLAIN.get(call.name.removeprefix(prefix), "")
    return ""


def _by_number(name: str, ask: Ask) -> Callable[..., Fetch]:
    return lambda number, table="": _of_counter(int(number), table, name, ask)


def _by_its_name(number: int, name: str, ask: Ask) -> Callable[..., Fetch]:
    return lambda table="": _of_counter(number, table, name, ask)


def _numbered(name: str, make: Callable[[int], Ask]) -> Callable[..., Fetch]:
    return lambda index, number, table="": _fetch(_tracked(int(number), table), make(int(index)), _changes(name))


def _numbered_by_its_name(number: int, name: str, make: Callable[[int], Ask]) -> Callable[..., Fetch]:
    return lambda index, table="": _fetch(_tracked(number, table), make(int(index)), _changes(name))


def _source(name: str, ask: Ask) -> Callable[..., Fetch]:
    return lambda table="": _fetch(_of_source(table), ask, _changes(name))


def _numbered_source(name: str, make: Callable[[int], Ask]) -> Callable[..., Fetch]:
    return lambda index, table="": _fetch(_of_source(table), make(int(index)), _changes(name))


def _is_tracked(number: str, table: str = "") -> Fetch:
    find = _tracked(int(number), table)
    return lambda facts: find(facts, False) is not None


def _is_tracked_by_its_name(number: int) -> Callable[..., Fetch]:
    return lambda table="": _is_tracked(str(number), table)


def _key(number: str) -> Fetch:
    """Makes a fetch of the key that a counter tracks, as its table has it."""

    def fetch(facts: Facts) -> Sample:
        tracked = facts.tracked(int(number))
        if tracked is None:
            return None
        table, row = tracked
        return sample_of(table.key_of(row), table.settings)

    return fetch


def _key_by_its_name(number: int) -> Callable[[], Fetch]:
    return lambda: _key(str(number))


def _of_table(count: Callable[[Table], int]) -> Callable[..., Fetch]:
    def make(name: str = "") -> Fetch:
        def fetch(facts: Facts) -> Sample:
            table = facts.table(name)
            return None if table is None else count(table)

        return fetch

    return make


TABLE_FETCHES: dict[str, Callable[..., Fetch]] = {
    **{f"sc_{name}": _by_number(name, ask) for name, ask in _ASKED.items()},
    **{f"sc_{name}": _numbered(name, make) for name, make in _NUMBERED.items()},
    **{f"sc{number}_{name}": _by_its_name(number, name, ask) for name, ask in _ASKED.items() for number in range(3)},
    **{
        f"sc{number}_{name}": _numbered_by_its_name(number, name, make)
        for name, make in _NUMBERED.items()
        for number in range(3)
    },
    **{f"src_{name}": _source(name, ask) for name, ask in _ASKED.items() if name != "trackers"},
    **{f"src_{name}": _numbered_source(name, make) for name, make in _NUMBERED.items()},
    "sc_tracked": _is_tracked,
    **{f"sc{number}_tracked": _is_tracked_by_its_name(number) for number in range(3)},
    "sc_key": _key,
    **{f"sc{number}_key": _key_by_its_name(number) for number in range(3)},
    "src_updt_conn_cnt": _source("updt_conn_cnt", _count_connection),
    "table_cnt": _of_table(len),
    "table_avl": _of_table(lambda table: max(0, table.settings.size - len(table))),
}


# The converters.


def _convert(ask: Ask, name: str, makes: bool = False) -> Convert:
    def convert(sample: Sample, facts: Facts) -> Sample:
        table = facts.table(name)
        key = None if table is None else key_of(sample, table.settings)
        if table is None or key is None:
            return None
        row = table.obtain(key) if makes and facts.acts else table.find(key)
        return ask(table, row, facts.acts) if row else 0

    return convert


def _in_table(name: str) -> Convert:
    def convert(sample: Sample, facts: Facts) -> Sample:
        table = facts.table(name)
        key = None if table is None else key_of(sample, table.settings)
        return None if table is None or key is None else table.find(key) > 0

    return convert


def _time(measure: Callable[[Table, int], int]) -> Callable[..., Convert]:
    """Makes `table_idle` or `table_expire`; `otherwise` stands for a key without an entry."""

    def make(name: str, otherwise: str = "") -> Convert:
        def convert(sample: Sample, facts: Facts) -> Sample:
            table = facts.table(name)
            key = None if table is None else key_of(sample, table.settings)
            if table is None or key is None:
                return None
            row = table.find(key)
            if not row:
                return int(otherwise) if otherwise else None
            return measure(table, row)

        return convert

    return make


def _asking(name: str, ask: Ask) -> Callable[[str], Convert]:
    return lambda table: _convert(ask, table, _changes(name))


def _asking_by_number(name: str, make: Callable[[int], Ask]) -> Callable[[str, str], Convert]:
    return lambda index, table: _convert(make(int(index)), table, _changes(name))


def _shown(name: str) -> str:
    return name.removeprefix("get_")


TABLE_CONVERTERS: dict[str, Callable[..., Convert]] = {
    "in_table": _in_table,
    **{f"table_{_shown(name)}": _asking(name, ask) for name, ask in _ASKED.items()},
    **{f"table_{_shown(name)}": _asking_by_number(name, make) for name, make in _NUMBERED.items()},
    "table_server_id": _asking("server_id", _value("server_id")),
    "table_idle": _time(Table.idle),
    "table_expire": _time(Table.remains),
}
