"""Writes metrics in Prometheus' text format (version 0.0.4). Knows families and samples only.

A family without a sample is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, isnan

from reusedproxy.operators.metrics.pools import Distribution, Family, Sample

CONTENT_TYPE = "text/plain; version=0.0.4"


def title(name: str, kind: str, help: str) -> str:
    """Returns the lines in front of a family's samples."""
    text = help.replace("\\", "\\\\").replace("\n", "\\n")
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def labels(pairs: Iterable[tuple[str, str]]) -> str:
    """Returns labels as they stand between the braces."""
    return ",".join([f'{name}="{_escaped(value)}"' for name, value in pairs])


def line(name: str, within: str, value: float) -> str:
    """Returns the line of one value; `within` is what stands between the braces."""
    return f"{name}{{{within}}} {number(value)}\n" if within else f"{name} {number(value)}\n"


def sample_lines(family: Family, sample: Sample) -> str:
    """Returns the lines of one sample: of a histogram those of all its buckets, its sum and its count."""
    within, value = labels(zip(family.labels, sample.labels, strict=True)), sample.value
    if not isinstance(value, Distribution):
        return line(family.name, within, value)
    comma = "," if within else ""
    made = [f'{family.name}_bucket{{{within}{comma}le="{bound}"}} {count}\n' for bound, count in value.buckets]
    made.append(line(f"{family.name}_sum", within, value.sum))
    made.append(line(f"{family.name}_count", within, value.buckets[-1][1]))
    return "".join(made)


def number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    if isnan(value):
        return "NaN"
    if value in (inf, -inf):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def _escaped(value: str) -> str:
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return value
