"""Writes the statistics as CSV, in HAProxy's form (management manual, section 9.1): a comma after every field, the last
too."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from io import StringIO
from itertools import chain, islice

from reusedproxy.operators.stats.figures import ALL_COLUMNS, AT_ONCE, FRACTIONS, Section, Value

#: An empty row, in the order of the columns.
_BLANK: dict[str, Value] = {name: "-" if name == "-" else "" for name in ALL_COLUMNS}


def pieces_of_csv(sections: Iterable[Section], legends: bool = False) -> Iterator[str]:
    """Returns a line of names, beginning with `# `, and one line for every row, some rows in each piece; with their
    `legends` if they are wanted."""
    text = StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    text.write("# ")
    write([*ALL_COLUMNS, ""])
    rows = chain.from_iterable(section.rows() for section in sections)
    while some := [*islice(rows, AT_ONCE)]:
        for row in some:
            columns = {**_BLANK, **row.columns, **row.legends} if legends else {**_BLANK, **row.columns}
            for name in FRACTIONS:  # a look at each of the 155 columns would be a fifth of all
                if columns[name] != "":
                    columns[name] = f"{columns[name]:.4f}"
            write([*columns.values(), ""])
        yield text.getvalue()
        text.seek(0)
        text.truncate()
    yield text.getvalue()
