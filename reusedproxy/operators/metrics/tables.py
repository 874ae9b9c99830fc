"""Makes HAProxy's metrics of stick tables: how many entries each may have, and how many it has. Must never know how
they are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reusedproxy.operators.metrics.pools import GAUGE, NOW, Family, Sample
from reusedproxy.tables.table import Table

_LABELS = ("name", "type")


def of_tables(tables: Iterable[Table]) -> Iterator[Family]:
    """Returns the families, with a sample for each table."""
    found = list(tables)
    for name, help, values in (
        ("size", "Entries that the stick table may have.", [each.settings.size for each in found]),
        ("used", "Entries of the stick table.", [len(each) for each in found]),
    ):
        samples = (Sample((each.name, each.settings.type), value) for each, value in zip(found, values, strict=True))
        yield Family(f"haproxy_sticktable_{name}", GAUGE, help, _LABELS, NOW, help, tuple(samples))
