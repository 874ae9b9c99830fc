"""What a request costs, in calls of functions: the figure that no busy machine disturbs is held here."""

from __future__ import annotations

import sys

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.calls import CASES, calls_of

#: At most so many calls of Python functions, and of C functions; a change that makes them fewer lowers them.
MOST = {
    "kept alive, clear": (75, 73),
    "kept alive, clear, httplog": (80, 80),
    "kept alive, clear, checks": (75, 73),
    "kept alive, clear, 10 ACLs": (111, 84),
    "kept alive, TLS": (77, 77),
    "kept alive, TLS, httplog": (82, 84),
    "kept alive, TLS, checks": (77, 77),
    "kept alive, TLS, 10 ACLs": (113, 88),
    "closing, clear": (109, 92),
    "closing, clear, httplog": (114, 99),
    "closing, clear, checks": (109, 92),
    "closing, clear, 10 ACLs": (145, 103),
    "closing, TLS": (256, 238),
    "closing, TLS, httplog": (260, 245),
    "closing, TLS, checks": (256, 238),
    "closing, TLS, 10 ACLs": (292, 249),
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
