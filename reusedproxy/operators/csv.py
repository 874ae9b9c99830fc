"""The statistics as CSV, in HAProxy's form (management manual, section 9.1): a comma after every field, the last too."""

from __future__ import annotations

from collections.abc import Iterable

from reusedproxy.operators.figures import COLUMNS, POOL_COLUMNS, Section, Value


def write_csv(sections: Iterable[Section]) -> str:
    """A line of names, beginning with `# `, and one for every row."""
    names = [*COLUMNS, *POOL_COLUMNS]
    lines = ["# " + _line(names)]
    for section in sections:
        for row in section.rows():
            values = {**row.columns, "-": "-"}
            lines.append(_line([_field(values.get(name, "")) for name in names]))
    return "\n".join(lines) + "\n"


def _line(fields: list[str]) -> str:
    return ",".join(fields) + ","


def _field(value: Value) -> str:
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\r\n') else text
