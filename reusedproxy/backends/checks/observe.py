"""Watches what requests show of a server's health (`observe`), between its checks.

A server that observes has an `Observer`; a backend without one never asks (see `Backend.observers`).
"""

from __future__ import annotations

from functools import partial
from typing import Protocol

from reusedproxy.backends.checks.checker import Checker
from reusedproxy.backends.server import Server
from reusedproxy.config.model.checks import Observe
from reusedproxy.wire.heads import ResponseHead


class Observed(Protocol):
    """Defines a request that has ended, as far as it tells of its server. `answered` is when the answer's head came, 0:
    it did not; `answer` that head, where rules were to see it; `flags` are the letters of the termination state."""

    server: Server | None
    status: int
    flags: str
    answered: float
    answer: ResponseHead | None


#: What failures are called in HAProxy's lines, by the letters of the termination state.
_FAILURES = {
    "SH": "Close from server (HTTP)",
    "sH": "Read timeout (HTTP)",
    "PH": "Invalid http response (headers)",
    "SD": "Read error (HTTP)",
    "sD": "Read timeout (HTTP)",
    "PD": "Invalid http response",
}
UNCONNECTED = "L4 unsuccessful connection"
WRONG_STATUS = "Wrong http response"


class Observer:
    """Counts one server's failures in a row, and does what `on-error` says when there are `limit`."""

    def __init__(self, settings: Observe, checker: Checker) -> None:
        self.settings = settings
        self.failures = 0
        #: How often the limit was reached (HAProxy's hanafail).
        self.reached = 0
        self._checker = checker
        self._http = settings.layer == "layer7"

    def request_ended(self, ended: Observed) -> None:
        """Takes a request that this server was to answer."""
        letters = ended.flags[:2]
        if letters in ("SC", "sC"):
            self.failed(UNCONNECTED)
            return
        status = ended.status if ended.answered else ended.answer.status if ended.answer is not None else 0
        if not self._http:
            if status or letters in _FAILURES or letters[1] in "-D":
                self.failures = 0  # it could be connected to
        elif status and not (100 <= status < 500 or status in (501, 505)):
            self.failed(WRONG_STATUS)
        elif letters in _FAILURES and (not status or letters[1] == "D"):
            self.failed(_FAILURES[letters])
        elif status:
            self.failures = 0

    def failed(self, what: str) -> None:
        """Counts a failure."""
        self.failures += 1
        checker = self._checker
        if self.failures < self.settings.limit:
            return
        text = f"Detected {self.failures} consecutive errors, last one was: {what}"
        self.failures = 0
        self.reached += 1
        # Not at once: what follows may end the very request that has failed here.
        checker.soon(partial(self._act, text))

    def _act(self, text: str) -> None:
        settings, checker = self.settings, self._checker
        if settings.on_error != "fastinter":
            checker.observed(text, brink=settings.on_error == "sudden-death", fatal=settings.on_error == "mark-down")
        if checker.settings.fastinter is not None:
            checker.hurry(checker.settings.fastinter)
