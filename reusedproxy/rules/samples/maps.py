"""Implements the converters that look a sample up in a map (manual, section 7.3.1, `map`).

The maps themselves are facts: whoever carries a request knows them by the names of their files.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from reusedproxy.config.language.files import list_name
from reusedproxy.config.rules.samples import KEY, MAPS
from reusedproxy.rules.facts import Facts, Map, Sample
from reusedproxy.rules.regular import Unevaluated

Convert = Callable[[Any, Facts], Sample]

#: What a value is read as.
_VALUES: dict[str, Callable[[bytes], Sample]] = {
    "str": lambda value: value,
    "int": int,
    "ip": lambda value: ip_address(value.decode()),
}


def _map(path: str) -> Callable[[Facts], Map]:
    name = list_name(path).name

    def chosen(facts: Facts) -> Map:
        found = facts.maps.get(name)
        if found is None:
            # Nothing found would let in whom a list of the blocked is for.
            raise Unevaluated(f"there is no map {path} here")
        return found

    return chosen


def _converter(method: str, gives: str) -> Callable[..., Convert]:
    read = _VALUES[gives]

    def make(path: str, default: str | None = None) -> Convert:
        chosen = _map(path)
        otherwise = None if default is None else read(default.encode())

        def convert(sample: Any, facts: Facts) -> Sample:
            value = chosen(facts).find(method, sample)
            return otherwise if value is None else read(value)

        return convert

    return make


def _key_converter(method: str) -> Callable[[str], Convert]:
    """Makes a converter that gives the key that matches, as the file has it."""

    def make(path: str) -> Convert:
        chosen = _map(path)
        return lambda sample, facts: chosen(facts).key_for(method, sample)

    return make


MAP_CONVERTERS: dict[str, Callable[..., Convert]] = {
    name: _key_converter(method) if gives == KEY else _converter(method, gives)
    for name, (method, gives) in MAPS.items()
}
