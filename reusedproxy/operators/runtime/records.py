"""Answers `show pool record` and `what-if` of the runtime API, which HAProxy does not have.

Both are done in small steps, between which others have their turn.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence

from reusedproxy.backends.server import Server
from reusedproxy.config.language.report import Wrong
from reusedproxy.net.slices import Steps
from reusedproxy.operators.runtime.proxy import Context, Refusal
from reusedproxy.pool.record.history import History
from reusedproxy.pool.simulation.asking import NotRecorded, history_now, written_now
from reusedproxy.pool.simulation.report import text_of
from reusedproxy.pool.simulation.what_if import Answer, Case, answers, case_of

#: Blocks of the record, of 4,096 events each, and seconds that are simulated inside the daemon: each setting takes some
#: tenths of a second of its processor for them. `reusedproxy doctor --record` takes all of a record.
BLOCKS, SECONDS = 12, 3 * 3600.0
#: Settings that are tried at once.
CASES = 10


def show_pool_record(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Returns `show pool record <backend>/<server>`: all that was recorded of one pool, for `reusedproxy doctor`."""
    server = _server(context, words)
    try:
        return written_now(server.full_name, server.pool, time.time())
    except NotRecorded as error:
        raise Refusal(str(error)) from None


def what_if(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Returns `what-if <backend>/<server> [<setting>=<value>[,…]]…`: what was recorded, and what other settings of the
    pool would have made of it; without settings, what a few floors would have."""
    server = _server(context, words)
    pool = server.pool
    try:
        cases = [case_of(each, pool.limits, raw=not pool.carries_requests) for each in words[1:]]
    except Wrong as wrong:
        raise Refusal("\n".join(wrong.texts)) from None
    if len(cases) > CASES:
        raise Refusal(f"At most {CASES} settings at once.")
    try:
        reading = history_now(server.full_name, pool, time.time(), BLOCKS, SECONDS)
    except NotRecorded as error:
        raise Refusal(str(error)) from None
    return _answered(reading, cases)


def _answered(reading: Steps[History], cases: Sequence[Case]) -> Iterator[str]:
    """Returns the table when all is done; an empty piece stands for a step."""
    history = yield from _in_pieces(reading)
    found: list[Answer] = []
    for answer in answers(history, cases):
        if answer is not None:
            found.append(answer)
        yield ""
    yield text_of(history, found)


def _in_pieces(steps: Steps[History]) -> Generator[str, None, History]:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            history: History = end.value
            return history
        yield ""


def _server(context: Context, words: Sequence[str]) -> Server:
    _, server = context.server(words[0] if words else "")
    return server
