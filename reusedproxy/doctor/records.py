"""Answers what other settings of a pool would have made of a record that was saved (`show pool record`).

It dials nobody and needs no daemon, so that a whole record can be tried out on another machine.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from reusedproxy.config.language.report import Wrong
from reusedproxy.net.slices import run_through
from reusedproxy.pool.record.history import history_of
from reusedproxy.pool.record.saved import NotARecord, read
from reusedproxy.pool.simulation.report import text_of, values_of
from reusedproxy.pool.simulation.what_if import answers, case_of


class Unanswered(Exception):
    """Reports a record or a setting that cannot be read; the message says which and why."""


def answered(path: str, settings: Sequence[str], *, as_json: bool) -> str:
    """Returns what these settings, each such as `floor=8,idle=20s`, would have made of the record in the file `path`
    ("-": standard input), without any what some floors would have. Raises Unanswered."""
    try:
        if path == "-":
            situation, seconds, events = read(sys.stdin)
        else:
            with open(path, encoding="utf-8") as file:
                situation, seconds, events = read(file)
    except OSError as error:
        raise Unanswered(f"--record {path}: {error.strerror}") from None
    except (NotARecord, UnicodeDecodeError) as error:
        raise Unanswered(f"--record {path}: {error}") from None
    try:
        cases = [case_of(each, situation.limits, raw=situation.raw) for each in settings]
    except Wrong as wrong:
        raise Unanswered("; ".join(wrong.texts)) from None
    history = run_through(history_of(events, 0.0, seconds, situation))
    found = [each for each in answers(history, cases) if each is not None]
    return json.dumps(values_of(history, found), indent=2) if as_json else text_of(history, found).rstrip("\n")
