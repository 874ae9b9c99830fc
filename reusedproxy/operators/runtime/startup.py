"""Has the configuration read again (`reload`), and shows what was said of it then (`show startup-logs`), in HAProxy's
form."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from reusedproxy import __version__
from reusedproxy.operators.runtime.proxy import BUSY, Context, Refusal


def show_startup_logs(context: Context, words: Sequence[str]) -> str:
    """Returns what was to be said of the configuration in use when it was read."""
    proxy = context.proxy
    # When files of TLS are read again, what is said of the others is not repeated.
    notices = dict.fromkeys((*proxy.configuration.notices, *proxy.notices))
    said = [(each.level, f"config : [{each.place}] : {each.text}") for each in notices]
    return _lines([("notice", f"reusedproxy version is {__version__}"), *said])


def reload(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `reload`, and returns what became of it when it is over, as HAProxy's master process does."""
    told: list[str] = []

    def over(taken: bool, said: Sequence[tuple[str, str]]) -> None:
        end = ("notice", "Loading success.") if taken else ("warning", "Loading failure!")
        told.append(f"Success={int(taken)}\n--\n{_lines([*said, end])}")
        context.wake()

    if not context.service.reload_for(over):
        raise Refusal("There can be no reload now: the daemon's log tells why.")
    try:
        while not told:
            yield BUSY
    finally:
        context.service.reloads.tell_no_more(over)
    yield told[0]


def _lines(said: Iterable[tuple[str, str]]) -> str:
    return "".join(f"{f'[{level.upper()}]':<10} ({os.getpid()}) : {text}\n" for level, text in said)
