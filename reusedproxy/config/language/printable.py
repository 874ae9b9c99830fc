"""Makes text that others have chosen fit for an operator's terminal and log."""

from __future__ import annotations


def printable(line: str) -> str:
    """Returns a line without what a terminal would obey, or show in another order: each such character becomes "?"."""
    return line if line.isprintable() else "".join(each if each.isprintable() else "?" for each in line)


def printable_lines(text: str) -> str:
    """Returns a text of several lines in this form; the ends of its lines, and tabs, stay."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))
