"""Says in a sentence or two what becomes of requests whose answer is late (`hedge`).

The runtime API and the manhole show them. Pure: it knows views only.
"""

from __future__ import annotations

from collections.abc import Iterator

from reusedproxy.operators.view.values import HedgingView


def hedging_sentences(hedging: HedgingView | None) -> Iterator[str]:
    """Returns what is to be known of a backend's late requests, a sentence each; nothing without the word."""
    if hedging is None:
        return
    if hedging.after is None:
        yield "Which requests are late is not known yet: too few answers were seen."
    else:
        yield f"A request is late after {hedging.after * 1000:.3g} ms, and goes to a second connection then (hedge)."
    share = hedging.started / hedging.requests if hedging.requests else 0.0
    answered = ", ".join(f"{count:,} {result}" for result, count in hedging.results.items())
    yield f"So it was for {hedging.started:,} of {hedging.requests:,} requests ({share:.2%}): {answered}."
    withheld = ", ".join(f"{why} {count:,}" for why, count in hedging.withheld.items() if count)
    if withheld:
        yield f"Late, and not sent twice: {withheld}."
