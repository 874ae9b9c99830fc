"""Describes the JSON of `show info json` and `show stat json`: `show schema json`, as HAProxy has it.

It differs from HAProxy's in that fractions have a type, that the parts of a field and of its tags stand where draft 4
of JSON Schema looks for them, and that a row's value has the name that it has in rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from reusedproxy.operators.runtime.typed import NATURES, ORIGINS, SCOPES

#: Whole numbers that a double holds exactly.
_EXACT = (1 << 53) - 1
_RANGES = {
    "s32": (-(1 << 31), (1 << 31) - 1),
    "s64": (-_EXACT, _EXACT),
    "u32": (0, (1 << 32) - 1),
    "u64": (0, _EXACT),
}


def _object(properties: Mapping[str, Any], title: str = "") -> dict[str, Any]:
    """Returns the schema of an object with these properties, of which each is required."""
    begin = {"title": title} if title else {}
    return {**begin, "type": "object", "properties": dict(properties), "required": [*properties]}


def _refer(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/definitions/{'typedValue' if name == 'value' else name}"} for name in names}


def _one_of(words: Iterable[str]) -> dict[str, Any]:
    return {"type": "string", "enum": [*words]}


def _integer(least: int, most: int | None = None) -> dict[str, Any]:
    return {"type": "integer", "minimum": least} | ({} if most is None else {"maximum": most})


def _schema() -> dict[str, Any]:
    kinds: dict[str, Any] = {name: _integer(*bounds) for name, bounds in _RANGES.items()}
    kinds |= {"flt": {"type": "number"}, "str": {"type": "string"}}
    item = _object(_refer("field", "processNum", "tags", "value"), "InfoItem")
    of_row = {
        "objType": _one_of(("Frontend", "Backend", "Listener", "Server", "Unknown")),
        "proxyId": _integer(0),
        "id": _integer(0),
    }
    row = _object({**of_row, **_refer("field", "processNum", "tags", "value")}, "StatItem")
    values = {f"{name}Value": _object({"type": _one_of([name]), "value": kind}) for name, kind in kinds.items()}
    tags = {"origin": ORIGINS, "nature": NATURES, "scope": SCOPES}
    return {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "oneOf": [
            {"title": "Info", "type": "array", "items": item},
            {"title": "Stat", "type": "array", "items": {"type": "array", "items": row}},
            _object({"errorStr": {"type": "string"}}, "Error"),
        ],
        "definitions": {
            "field": _object({"pos": _integer(0), "name": {"type": "string"}}),
            "processNum": _integer(1),
            "tags": _object({name: _one_of([*words.values(), "Unknown"]) for name, words in tags.items()}),
            "typedValue": {
                "type": "object",
                "oneOf": [{"$ref": f"#/definitions/typedValue/definitions/{name}"} for name in values],
                "definitions": values,
            },
        },
    }


def schema_json() -> str:
    return json.dumps(_schema(), separators=(",", ":")) + "\n"
