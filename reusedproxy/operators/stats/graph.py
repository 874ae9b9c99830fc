"""Draws the last minutes as paths of SVG: requests, and the errors among them. Knows numbers only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from reusedproxy.operators.view.history import KEPT, Sample

#: Seconds that one step of the picture stands for.
STEP = 5
WIDTH = KEPT // STEP
HEIGHT = 100


class Graph(NamedTuple):
    """Holds two paths within a box of `width` by 100, and the `most` requests per second that a step has."""

    width: int
    requests: str
    errors: str
    most: float


def graph(samples: Sequence[Sample]) -> Graph:
    """Draws samples, the oldest first; the newest are at the right edge."""
    requests, errors = [0.0] * WIDTH, [0.0] * WIDTH
    for number in range(WIDTH):
        end = len(samples) - number * STEP
        taken = samples[max(0, end - STEP) : max(0, end)]
        spent = sum(each.seconds for each in taken)
        if spent:
            requests[-1 - number] = sum(each.requests for each in taken) / spent
            errors[-1 - number] = sum(each.errors for each in taken) / spent
    most = max(requests)
    return Graph(WIDTH, _steps(requests, most), _steps(errors, most), most)


def _steps(values: Sequence[float], most: float) -> str:
    """Returns an area below steps of these heights, where `most` is all of the height."""
    if not most:
        return ""
    tops = (f"V{HEIGHT - min(value, most) / most * HEIGHT:.4g}H{number}" for number, value in enumerate(values, 1))
    return f"M0 {HEIGHT}{''.join(tops)}V{HEIGHT}Z"
