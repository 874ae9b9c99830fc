"""Writes the statistics as CSV, in HAProxy's form (management manual, section 9.1): a comma after every field, the last
too."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from io import StringIO

from reusedproxy.operators.stats.figures import ALL_COLUMNS, FRACTIONS, Section, Value

#: An empty row, in the order of the columns.
_BLANK: dict[str, Value] = {name: "-" if name == "-" else "" for name in ALL_COLUMNS}


def write_csv(sections: Iterable[Section], legends: bool = False) -> str:
    """Returns a line of names, beginning with `# `, and one line for every row; with its `legends` if they are
    wanted."""
    text = StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    text.write("# ")
    write([*ALL_COLUMNS, ""])
    for section in sections:
        for row in section.rows():
            columns = {**_BLANK, **row.columns, **row.legends} if legends else {**_BLANK, **row.columns}
            for name in FRACTIONS:  # a look at each of the 155 columns would be a fifth of all
                if columns[name] != "":
                    columns[name] = f"{columns[name]:.4f}"
            write([*columns.values(), ""])
    return text.getvalue()
