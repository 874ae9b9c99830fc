"""Shows the lines that rings keep: `show events`. Texts are HAProxy's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reusedproxy.operators.logs.rings import Ring
from reusedproxy.operators.runtime.proxy import OPERATOR, WAIT, Context, Refusal

#: Lines in one piece of an answer.
AT_ONCE = 20
_TITLE = "Supported events sinks are listed below. Add -w(wait), -n(new). Any key to stop\n"
_WAITS, _NEW, _ZERO = "w", "n", "0"


def show_events(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `show events [<sink>] [-w] [-n] [-0]`."""
    rings = context.proxy.logs.rings
    if not words:
        yield _TITLE
        for ring, dropped in rings.values():
            yield f"    {ring.name:<10} : type=buffer, {dropped} dropped, {ring.description}\n"
        return
    if words[0] not in rings:
        raise Refusal("No such event sink", "")
    context.needs(OPERATOR)
    ring, _ = rings[words[0]]
    letters = ""
    for word in words[1:]:
        if word[:1] != "-" or not word[1:] or word[1:].strip(_WAITS + _NEW + _ZERO):
            raise Refusal("unknown option", "")
        letters += word[1:]
    yield from _lines(context, ring, letters)


def _lines(context: Context, ring: Ring, letters: str) -> Iterator[str]:
    at, end = ring.end if _NEW in letters else ring.begin, "\0" if _ZERO in letters else "\n"
    waits, wake = _WAITS in letters, context.wake
    if waits:
        ring.followers.append(wake)
    try:
        while True:
            for number, line in ring.since(at, AT_ONCE):
                yield line + end
                at = number + 1
            if at < ring.end:
                continue
            if not waits:
                return
            if ring.closed:
                raise Refusal(
                    "A reload has left this ring out, or given it another size: no line of it comes any more."
                )
            yield WAIT
    finally:
        if waits:
            ring.followers.remove(wake)
