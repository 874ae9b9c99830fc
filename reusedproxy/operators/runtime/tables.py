"""Shows stick tables to the runtime API, and changes what is in them: `show table`, `set table`, `clear table`.

Every text is HAProxy's, but for the order of a table's rows: they are shown as they came, where HAProxy sorts them by
their keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from operator import eq, ge, gt, le, lt, ne

from reusedproxy.config.model.tables import ARRAYS, DATA_TYPES
from reusedproxy.operators.runtime.proxy import OPERATOR, Context, Refusal
from reusedproxy.rules.samples.keys import written_key
from reusedproxy.tables.layout import Slot
from reusedproxy.tables.table import MASK, Table

#: Rows that are looked at in one piece of an answer.
ROWS_AT_ONCE = 200
#: Conditions of one command.
_CONDITIONS = 4
_OPERATORS: dict[str, Callable[[int, int], bool]] = {"eq": eq, "ne": ne, "le": le, "ge": ge, "lt": lt, "gt": gt}
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}\Z")
#: Keys can be written in tables of these types.
_WRITTEN = ("ip", "ipv6", "string", "integer")
_DOING = {"show": "Showing keys from", "clear": "Removing keys from", "set": "Inserting keys into"}
_USAGE = {
    "show": 'Optional argument only supports "data.<store_data_type>" <operator> <value> and key <key>',
    "clear": 'Required arguments: <table> "data.<store_data_type>" <operator> <value> or <table> key <key>',
    "set": "Required arguments: <table> key <key> [data.<store_data_type> <value>]*",
}


def show_table(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `show table [<table> [data.<type> <operator> <value>]* | [key <key>]]`."""
    if not words:
        for table in context.proxy.tables.values():
            yield _head(table)
        return
    table = _table(context, words[0])
    if words[1:2] == ["key"]:
        row = _row(context, table, "show", words[2:])
        if row:
            yield _head(table) + _line(table, row)
        return
    wanted = _conditions(table, words[1:], "show")
    yield _head(table)
    if context.level < OPERATOR:
        yield "# contents not dumped due to insufficient privileges\n"
        return
    for piece in _pieces(table, wanted):
        yield "".join(_line(table, row) for row in piece)


def clear_table(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `clear table <table> [data.<type> <operator> <value>]* | [key <key>]`."""
    if not words:
        raise Refusal(_USAGE["clear"])
    table = _table(context, words[0])
    if words[1:2] == ["key"]:
        row = _row(context, table, "clear", words[2:])
        if row and not table.remove(row):
            raise Refusal("Entry currently in use, cannot remove")
        return
    wanted = _conditions(table, words[1:], "clear")
    for piece in _pieces(table, wanted):
        for row in piece:
            table.remove(row)
        yield ""


def set_table(context: Context, words: Sequence[str]) -> str:
    """Does `set table <table> key <key> [data.<type> <value>]*`."""
    if not words:
        raise Refusal(_USAGE["set"])
    table = _table(context, words[0])
    if words[1:2] != ["key"]:
        if words[1:] and words[1].startswith("data."):
            raise Refusal('content-based lookup is only supported with the "show" and "clear" actions')
        raise Refusal(_USAGE["set"])
    row = _row(context, table, "set", words[2:], make=True)
    table.touch(row, table.now())
    rest = list(words[3:])
    while rest:
        name = rest.pop(0)
        if not name.startswith("data."):
            raise Refusal('"data.<type>" followed by a value expected')
        slot = _slot(table, name, "")
        value = rest.pop(0) if rest else ""
        if not _NUMBER.match(value):
            raise Refusal("Require a valid integer value to store")
        if not slot.names:
            table.put(row, slot, _bounded(name.removeprefix("data."), int(value)))
    return ""


def _bounded(name: str, value: int) -> int:
    """Returns a value as it is stored: of 32 bits, those that count bytes of 64."""
    return value & (0xFFFFFFFFFFFFFFFF if name in ("bytes_in_cnt", "bytes_out_cnt") else MASK)


def _table(context: Context, name: str) -> Table:
    table = context.proxy.tables.get(name)
    if table is None:
        raise Refusal("No such table")
    return table


def _row(context: Context, table: Table, verb: str, words: Sequence[str], *, make: bool = False) -> int:
    """Returns the row of the key that these words begin with; 0 if there is none."""
    if not words:
        raise Refusal("Key value expected")
    if context.level < OPERATOR:  # whoever asks for keys, one after the other, learns which are there
        raise Refusal("Permission denied")
    if table.settings.type not in _WRITTEN:
        kinds = "ip, ipv6, string and integer"
        raise Refusal(f"{_DOING[verb]} tables of type other than {kinds} is not supported")
    key = written_key(words[0], table.settings)
    if key is None:
        raise Refusal("Invalid key")
    if not make:
        return table.find(key)
    row = table.obtain(key)
    if not row:
        raise Refusal("Unable to allocate a new entry")
    return row


def _slot(table: Table, word: str, before: str) -> Slot:
    """Returns where the value of this name is; of an array the first."""
    name = word.removeprefix("data.")
    name = "server_key" if name == "server_name" else name
    if name not in DATA_TYPES:
        raise Refusal(f"{before}Unknown data type")
    if name in ARRAYS:
        first, line, last = name.partition("_")
        name = f"{first}0{line}{last}" if any(each.type == name for each in table.settings.stored) else ""
    elif all(each.type != name for each in table.settings.stored):
        name = ""
    if not name:
        raise Refusal(f"{before}Data type not stored in this table")
    return table.slots[name]


Condition = tuple[Slot, Callable[[int, int], bool], int]


def _conditions(table: Table, words: Sequence[str], verb: str) -> list[Condition]:
    rest = list(words)
    if rest and not rest[0].startswith("data."):
        raise Refusal(_USAGE[verb])
    found: list[Condition] = []
    while rest and len(found) < _CONDITIONS:
        before = f"Filter entry #{len(found) + 1}: "
        slot = _slot(table, rest[0], before)
        word = rest[1] if len(rest) > 1 else ""
        if word not in _OPERATORS:
            raise Refusal(f'{before}Require and operator among "eq", "ne", "le", "ge", "lt", "gt"')
        value = rest[2] if len(rest) > 2 else ""
        if not _NUMBER.match(value):
            raise Refusal(f"{before}Require a valid integer value to compare against")
        found.append((slot, _OPERATORS[word], int(value)))
        del rest[:3]
    if rest:
        at = 3 + 3 * len(found)
        before = words[3 * len(found) - 1]
        raise Refusal(f"Detected extra data in filter, {at + 1}th word of input, after '{before}'")
    return found


def _pieces(table: Table, wanted: Sequence[Condition]) -> Iterator[list[int]]:
    """Returns the rows for which all these conditions are true, some at once."""
    looked, found = 0, []
    for row in table.each():
        looked += 1
        if all(compare(table.value(row, slot), value) for slot, compare, value in wanted):
            found.append(row)
        if looked >= ROWS_AT_ONCE:
            yield found
            looked, found = 0, []
    yield found


def _head(table: Table) -> str:
    settings = table.settings
    return f"# table: {table.name}, type: {settings.type}, size:{settings.size}, used:{len(table)}\n"


def _line(table: Table, row: int) -> str:
    values = []
    for name, slot in table.slots.items():
        period = f"({slot.period})" if slot.period else ""
        value: object = (table.name_in(row, slot) or "-") if slot.names else table.value(row, slot)
        values.append(f" {name}{period}={value}")
    key = _key(table, row)
    return f"0x{row:x}: key={key} use={table.uses[row]} exp={table.remains(row)}{''.join(values)}\n"


def _key(table: Table, row: int) -> str:
    key = table.key_of(row)
    if not isinstance(key, bytes):
        return str(key)
    if table.settings.type == "binary":
        return key.hex().upper()
    return "".join(map(_shown, key))


def _shown(byte: int) -> str:
    """Returns a byte of a text as HAProxy shows it (dump_text)."""
    sign = chr(byte)
    if sign in " \\=":
        return "\\" + sign
    escapes = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\x1b": "\\e"}
    if sign in escapes:
        return escapes[sign]
    return sign if 32 < byte < 127 else f"\\x{byte:02X}"
