"""Implements the converters that look a sample up in a map (manual, section 7.3.1, `map`).

The maps themselves are facts: whoever carries a request knows them by the names of their files.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from reusedproxy.config.language.files import list_name
from reusedproxy.config.rules.samples import MAPS
from reusedproxy.rules.facts import Facts, Sample
from reusedproxy.rules.regular import Unevaluated

Convert = Callable[[Any, Facts], Sample]

#: What a value is read as.
_VALUES: dict[str, Callable[[bytes], Sample]] = {
    "str": lambda value: value,
    "int": int,
    "ip": lambda value: ip_address(value.decode()),
}


def _converter(method: str, gives: str) -> Callable[..., Convert]:
    read = _VALUES[gives]

    def make(path: str, default: str | None = None) -> Convert:
        name = list_name(path).name
        otherwise = None if default is None else read(default.encode())

        def convert(sample: Any, facts: Facts) -> Sample:
            chosen = facts.maps.get(name)
            if chosen is None:
                # Nothing found would let in whom a list of the blocked is for.
                raise Unevaluated(f"there is no map {path} here")
            value = chosen.find(method, sample)
            return otherwise if value is None else read(value)

        return convert

    return make


MAP_CONVERTERS: dict[str, Callable[..., Convert]] = {
    name: _converter(method, gives) for name, (method, gives) in MAPS.items()
}
