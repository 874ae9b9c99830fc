"""Parses the lines about stick tables: `stick-table`, the `table` of a `peers` section, and `stick`."""

from __future__ import annotations

import re

from reusedproxy.config.language import units
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean, not_done, one_of
from reusedproxy.config.model.persistence import MATCH, ON, STORE_REQUEST, STORE_RESPONSE, Stick
from reusedproxy.config.model.rules import Rule
from reusedproxy.config.model.tables import ARRAYS, BY_ADDRESS, BY_NAME, DATA_TYPES, MOST, RATE, StickTable, Stored
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.acls import read_condition, split_condition
from reusedproxy.config.rules.reading import Reading
from reusedproxy.config.rules.samples import CLIENT_BYTES, SERVER_BYTES
from reusedproxy.config.sections.draft import ProxyDraft

TYPES = ("ip", "ipv6", "integer", "string", "binary")
_WORDS = ("type", "size", "expire", "nopurge", "peers", "srvkey", "store", "write-to", "brates-factor", "recv-only")
#: Not done: they concern what is sent to other machines, and how bytes are counted in large numbers.
_NOT_DONE = ("write-to", "brates-factor", "recv-only")
_STORED_NOT_DONE = ("glitch_cnt", "glitch_rate")
_STORED = re.compile(r"([a-z0-9_]+)(?:\(([^()]*)\))?(?:,|\Z)")
#: The most bytes of a key.
_LONGEST = 1 << 14
#: Without `len`, HAProxy's texts have a byte less than its blocks, for the zero at their end.
_LENGTHS = {"string": 31, "binary": 32}
_STICKING = (ON, MATCH, STORE_REQUEST, STORE_RESPONSE)


def read_stick_table(proxy: ProxyDraft, line: Line, report: Report) -> None:
    """Reads `stick-table type … size …` of a section. Raises Wrong."""
    before = proxy.stick_table
    if before is not None:
        raise Wrong(f"'stick-table' stands already at {before.place}: a section has one, another takes one more")
    proxy.stick_table = table_of(proxy.name, line.place, line.arguments, "'stick-table'", report)


def table_of(
    name: str, place: Place, arguments: tuple[str, ...], what: str, report: Report, *, of_peers: bool = False
) -> StickTable:
    """Parses the words of a table. Raises Wrong."""
    said: dict[str, object] = {}
    stored: dict[str, Stored] = {}
    rest = list(arguments)
    known = tuple(word for word in _WORDS if not (of_peers and word == "peers"))
    while rest:
        word = rest.pop(0)
        if word not in known:
            raise Wrong(f"{what}: unknown word '{word}'{did_you_mean(word, known)}")
        if word in _NOT_DONE:
            raise Wrong(f"{what}: {not_done(word, 'word', 'nothing of a table is sent to another machine')}")
        if word == "nopurge":
            said["nopurge"] = True
            continue
        if not rest:
            raise Wrong(f"{what}: '{word}' needs a value after it")
        value = rest.pop(0)
        if word == "type":
            said["type"] = one_of(value, TYPES, f"{what}: 'type'")
            if rest[:1] == ["len"]:
                if value not in _LENGTHS:
                    raise Wrong(f"{what}: keys of 'type {value}' have a length of their own: take 'len' out")
                if len(rest) < 2:
                    raise Wrong(f"{what}: 'len' needs a number of bytes")
                said["length"] = units.integer(rest[1], f"{what}: 'len'", least=1, most=_LONGEST)
                del rest[:2]
        elif word == "size":
            said["size"] = units.size(value, f"{what}: 'size'")
        elif word == "expire":
            said["expire"] = int(units.seconds(value, f"{what}: 'expire'") * 1000)
        elif word == "peers":
            said["peers"] = value
        elif word == "srvkey":
            said["server_key"] = one_of(value, (BY_NAME, BY_ADDRESS), f"{what}: 'srvkey'")
        else:
            _read_stored(value, stored, place, what, report)
    for word in ("type", "size"):
        if not said.get(word):
            raise Wrong(
                f"{what} needs '{word}': stick-table type ip size 100k expire 10m store http_req_rate(10s), say"
            )
    _exclude_one_another(stored, what)
    if said.get("nopurge") and not said.get("expire"):
        text = f"{what}: with 'nopurge' and without 'expire' a full table takes nobody any more, until the next start"
        report.warn(place, text)
    said.setdefault("length", _LENGTHS.get(str(said["type"]), 0))
    return StickTable(name, place, stored=tuple(stored.values()), **said)  # type: ignore[arg-type]


def _read_stored(text: str, stored: dict[str, Stored], place: Place, what: str, report: Report) -> None:
    at = 0
    while at < len(text):
        found = _STORED.match(text, at)
        if found is None:
            raise Wrong(f"{what}: 'store {text}': write names with commas between them: gpc0,http_req_rate(10s)")
        at = found.end()
        name = "server_key" if found[1] == "server_name" else found[1]
        if name in _STORED_NOT_DONE:
            raise Wrong(f"{what}: {not_done(name, 'data type')}")
        one_of(name, tuple(DATA_TYPES), f"{what}: 'store'")
        if name in stored:
            report.warn(place, f"{what}: '{name}' is stored once, however often it is said")
            continue
        stored[name] = _stored(name, found[2], what)


def _stored(name: str, text: str | None, what: str) -> Stored:
    arguments = [] if text is None else [part.strip() for part in text.split(",")]
    period, count = 0, 1
    wanted = ["a number"] * (name in ARRAYS) + ["a period"] * (DATA_TYPES[name] == RATE)
    if len(arguments) != len(wanted):
        needs = " and ".join(wanted) or "nothing"
        raise Wrong(f"{what}: 'store {name}' takes {needs} between its parentheses: http_req_rate(10s), gpc(2), say")
    if name in ARRAYS:
        count = units.integer(arguments.pop(0), f"{what}: 'store {name}'", least=1, most=MOST)
    if arguments:
        period = int(units.positive_seconds(arguments[0], f"{what}: 'store {name}'") * 1000)
    return Stored(name, period, count)


def _exclude_one_another(stored: dict[str, Stored], what: str) -> None:
    for array, single in (
        ("gpt", "gpt0"),
        ("gpc", "gpc0"),
        ("gpc", "gpc1"),
        ("gpc_rate", "gpc0_rate"),
        ("gpc_rate", "gpc1_rate"),
    ):
        if array in stored and single in stored:
            raise Wrong(f"{what}: '{single}' is the first or second of '{array}' already: store one of them")


def read_stick(proxy: ProxyDraft, line: Line, report: Report) -> None:
    """Reads `stick on|match|store-request|store-response <key> [table <table>] [if|unless CONDITION]`. Raises Wrong."""
    if not line.arguments:
        raise Wrong("'stick' needs a word and a key: stick on src, say")
    verb = one_of(line.words[1], _STICKING, "'stick'")
    what = f"'stick {verb}'"
    before, condition = split_condition(line.words[2:])
    if not before:
        raise Wrong(f"{what} needs what clients are known by: stick {verb} src, say")
    where = SERVER_BYTES if verb == STORE_RESPONSE else CLIENT_BYTES
    # In mode http the bytes of a connection are not at hand; the mode may be said after this line.
    reading = Reading(tuple(before), what, where, "stick", f"{what} rules", line, report)
    key, table = reading.expression(before[0]), ""
    if before[1:]:
        if before[1] != "table" or len(before) != 3:
            raise Wrong(f"{what}: after the key can follow: table NAME, and a condition")
        table = before[2]
    said = read_condition(condition, proxy.acls, line.place, what, report)
    proxy.stick_rules.append(Rule(line.place, f"stick {verb}", Stick(verb, key, table), said))
