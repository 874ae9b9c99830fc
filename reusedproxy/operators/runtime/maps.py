"""Shows maps to the runtime API, looks texts up in them, and changes them: `show|get|add|set|del|clear|prepare|commit
map`.

Every text is HAProxy's. A generator that changes something is run by a session a step at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from typing import Any

from reusedproxy.config.language.report import Wrong
from reusedproxy.operators.runtime.entries import (
    ENTRIES_AT_ONCE,
    TREES,
    decoded,
    demand_named,
    encoded,
    listed,
    named,
    referred,
    shown,
    unreadable,
    version_of,
)
from reusedproxy.operators.runtime.proxy import Context, Refusal
from reusedproxy.operators.runtime.versions import VersionOrders
from reusedproxy.rules.facts import Sample
from reusedproxy.rules.maps import Map
from reusedproxy.rules.samples.casts import to_address, to_int

UNKNOWN_MAP = "Unknown map identifier. Please use #<id> or <file>."
_CASTS: dict[str, Callable[[Sample], Any]] = {"int": to_int, "ip": to_address}


def show_map(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `show map [[@<ver>] <map>]`."""
    if not words:
        yield from listed("map", enumerate(context.proxy.maps.items(), len(context.proxy.patterns)))
        return
    version, rest = version_of(words)
    yield from shown(_map(context, rest[:1]), version, "{} {}")


def get_map(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `get map <map> <value>`: a line for each way in which the configuration looks something up in it."""
    if len(words) < 2:
        raise Refusal("Missing map identifier and/or key.")
    each = _map(context, words)
    text = encoded(words[1])
    for method, gives in each.looked_up:
        sample = _CASTS[method](text) if method in _CASTS else text
        key = None if sample is None else each.key_for(method, sample)
        said = f"type={method}, case=sensitive, found={'no' if key is None else 'yes'}"
        if key is not None:
            value = decoded(each.values[key])
            said += f', idx={"tree" if method in TREES else "list"}, key="{decoded(key)}", value="{value}"'
            said += f', type="{_type_of(value, gives)}"'
        demand_named(each, context.proxy.maps, "ask again")
        yield f"{said}\n"


def _type_of(value: str, gives: str) -> str:
    if gives == "ip":
        return f"ipv{ip_address(value).version}"
    return "sint" if gives == "int" else "str"


def add_map(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `add map [@<ver>] <map> <key> <value>`, or so with each line of a payload."""
    version, rest = version_of(words)
    if len(rest) < (3 if context.payload is None else 1):
        raise Refusal(
            "'add map' expects three parameters (map identifier, key and value)"
            " or one parameter (map identifier) and a payload"
        )
    each = _map(context, rest)
    pairs = iter([(rest[1], rest[2])]) if context.payload is None else map(_pair, context.payload.split("\n"))
    yield from versions.in_turn(context, each, _add_all(each, version, pairs))


def _add_all(each: Map, version: int | None, pairs: Iterator[tuple[str, str]]) -> Iterator[str]:
    if version is not None and version != each.versions.current:
        versions.check(each, version)
    for number, (key, value) in enumerate(pairs):
        if key:
            yield from _add(each, version, encoded(key), encoded(value))
        if number % ENTRIES_AT_ONCE == ENTRIES_AT_ONCE - 1:
            yield ""


def _pair(line: str) -> tuple[str, str]:
    """Returns key and value of a line of a payload; blanks before either are left out, those behind the value are not.
    Raises Refusal."""
    key, blank, rest = re.fullmatch(r"[ \t]*([^ \t]*)([ \t]?)[ \t]*(.*)", line).groups()  # type: ignore[union-attr]
    if key and not blank:
        raise Refusal(f"Missing value for key '{key}'.")
    return key, rest


def _add(each: Map, version: int | None, key: bytes, value: bytes) -> Iterator[str]:
    if version is not None and version != each.versions.current:
        yield from versions.add(each, version, key, value)
        return
    try:
        each.put(key, value)
    except Wrong as wrong:
        raise unreadable(wrong) from None
    each.versions.ordered = True


def set_map(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `set map <map> [<key>|#<ref>] <value>`."""
    if len(words) < 3:
        raise Refusal("'set map' expects three parameters: map identifier, key and value.")
    each = _map(context, words)
    yield from versions.in_turn(context, each, _set(each, words))


def _set(each: Map, words: Sequence[str]) -> Iterator[str]:
    found, value = (yield from referred(each, words[1], "key or pattern not found.")), encoded(words[2])
    try:
        if isinstance(found, bytes):
            if not each.put_value(found, value):
                raise Refusal("entry not found.")
        elif found.prepared is not None:
            each.check_value(value)
            found.prepared.change_one(found.number, found.key, value)
            return
        elif not each.put_value_of(found.number, found.key, value):
            raise Refusal("key or pattern not found.")
    except Wrong as wrong:
        raise unreadable(wrong) from None
    each.versions.ordered = True


def del_map(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `del map <map> [<key>|#<ref>]`."""
    if len(words) < 2:
        raise Refusal("This command expects two parameters: map identifier and key.")
    each = _map(context, words)
    yield from versions.in_turn(context, each, _del(each, words))


def _del(each: Map, words: Sequence[str]) -> Iterator[str]:
    found = yield from referred(each, words[1], "Key not found.")
    if isinstance(found, bytes):
        done = each.take_out(found)
    elif found.prepared is not None:
        found.prepared.delete_one(found.number, found.key)
        return
    else:
        done = each.take_out_one(found.number, found.key)
    if not done:
        raise Refusal("Key not found.")
    each.versions.ordered = True


def _map(context: Context, words: Sequence[str]) -> Map:
    found = named(words, context.proxy.maps, len(context.proxy.patterns))
    if found is None:
        raise Refusal(UNKNOWN_MAP)
    return found


versions = VersionOrders("map", _map, lambda context: context.proxy.maps)
