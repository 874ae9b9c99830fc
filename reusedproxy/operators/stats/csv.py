"""Writes the statistics as CSV, in HAProxy's form (management manual, section 9.1): a comma after every field, the last
too."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from io import StringIO

from reusedproxy.operators.stats.figures import COLUMNS, POOL_COLUMNS, Section, Value

_NAMES = [*COLUMNS, *POOL_COLUMNS]
#: An empty row, in the order of the columns.
_BLANK: dict[str, Value] = {name: "-" if name == "-" else "" for name in _NAMES}


def write_csv(sections: Iterable[Section]) -> str:
    """Returns a line of names, beginning with `# `, and one line for every row."""
    text = StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    text.write("# ")
    write([*_NAMES, ""])
    for section in sections:
        for row in section.rows():
            columns = {**_BLANK, **row.columns}
            write([*[f"{value:.4f}" if type(value) is float else value for value in columns.values()], ""])
    return text.getvalue()
