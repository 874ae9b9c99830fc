"""Writes the statistics as CSV, in HAProxy's form (management manual, section 9.1): a comma after every field, the last
too."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from io import StringIO
from itertools import chain, islice

from reusedproxy.operators.stats.figures import AT_ONCE, COLUMNS, FRACTIONS, POOL_COLUMNS, Section, Value

_NAMES = [*COLUMNS, *POOL_COLUMNS]
#: An empty row, in the order of the columns.
_BLANK: dict[str, Value] = {name: "-" if name == "-" else "" for name in _NAMES}


def write_csv(sections: Iterable[Section]) -> str:
    """Returns a line of names, beginning with `# `, and one line for every row."""
    return "".join(pieces_of_csv(sections))


def pieces_of_csv(sections: Iterable[Section]) -> Iterator[str]:
    """Returns the same in pieces of some rows each."""
    text = StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    text.write("# ")
    write([*_NAMES, ""])
    rows = chain.from_iterable(section.rows() for section in sections)
    while some := [*islice(rows, AT_ONCE)]:
        for row in some:
            columns = {**_BLANK, **row.columns}
            for name in FRACTIONS:  # a look at each of the 148 columns would be a fifth of all
                if columns[name] != "":
                    columns[name] = f"{columns[name]:.4f}"
            write([*columns.values(), ""])
        yield text.getvalue()
        text.seek(0)
        text.truncate()
    yield text.getvalue()
