"""What a request costs, in calls of functions: the figure that no busy machine disturbs is held here."""

from __future__ import annotations

import sys

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.calls import CASES, calls_of

#: At most so many calls of Python functions, and of C functions; a change that makes them fewer lowers them.
MOST = {
    "kept alive, clear": (80, 74),
    "kept alive, clear, httplog": (85, 81),
    "kept alive, clear, checks": (80, 74),
    "kept alive, clear, 10 ACLs": (116, 85),
    "kept alive, TLS": (82, 78),
    "kept alive, TLS, httplog": (87, 85),
    "kept alive, TLS, checks": (82, 78),
    "kept alive, TLS, 10 ACLs": (118, 89),
    "closing, clear": (115, 93),
    "closing, clear, httplog": (120, 100),
    "closing, clear, checks": (115, 93),
    "closing, clear, 10 ACLs": (151, 104),
    "closing, TLS": (262, 239),
    "closing, TLS, httplog": (266, 246),
    "closing, TLS, checks": (262, 239),
    "closing, TLS, 10 ACLs": (298, 250),
}


class CallTests(SynchronousTestCase):
    def test_no_request_takes_more_than_it_did(self) -> None:
        """benchmarks/calls.py CASE shows which they are."""
        if sys.version_info[:2] != (3, 11):
            self.skipTest("other Pythons have other calls in the same lines")
        for case in CASES:
            calls, _ = calls_of(self, case)
            python, c = MOST[case.name]
            self.assertLessEqual(calls.python, python + 0.5, case.name)
            self.assertLessEqual(calls.c, c + 0.5, case.name)
