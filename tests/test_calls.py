"""What a request costs, in calls of functions: the figure that no busy machine disturbs is held here."""

from __future__ import annotations

import sys

from twisted.trial.unittest import SynchronousTestCase

from benchmarks.calls import CASES, calls_of

#: At most so many calls of Python functions, and of C functions; a change that makes them fewer lowers them.
MOST = {
    "kept alive, clear": (29, 43),
    "kept alive, clear, httplog": (32, 49),
    "kept alive, clear, checks": (29, 43),
    "kept alive, clear, 10 ACLs": (31, 44),
    "kept alive, TLS": (29, 42),
    "kept alive, TLS, httplog": (32, 48),
    "kept alive, TLS, checks": (29, 42),
    "kept alive, TLS, 10 ACLs": (31, 43),
    "kept alive, clear, limit by source": (30, 43),
    "kept alive, TLS, limit by source": (30, 42),
    # Of the calls of C functions one is `shutdown`, which saves two packets.
    "closing, clear, limit by source": (46, 64),
    "closing, TLS, limit by source": (110, 134),
    "closing, clear": (44, 60),
    "closing, clear, httplog": (48, 66),
    "closing, clear, checks": (44, 60),
    "closing, clear, 10 ACLs": (46, 61),
    "closing, TLS": (108, 130),
    "closing, TLS, httplog": (111, 136),
    "closing, TLS, checks": (108, 130),
    "closing, TLS, 10 ACLs": (110, 131),
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
