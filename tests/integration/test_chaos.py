"""A short first phase of the chaos run (benchmarks/chaos.py): servers that close what was idle for two seconds."""

from __future__ import annotations

import random

import pytest
from twisted.trial.unittest import SynchronousTestCase

from benchmarks import chaos
from tests.integration.peers import temporary_directory


@pytest.mark.alone
class ConstantTimeoutTests(SynchronousTestCase):
    """Clients that close, in bursts with pauses that end about when the server's time-out does."""

    def test_no_request_is_lost_and_none_is_carried_out_twice(self) -> None:
        """GET or POST, also before the time-out has been learned."""
        random.seed(4)
        directory = temporary_directory(self)
        chaos.prepare(directory)
        result = chaos.run("ours", directory, 8.0, sites=4, phases=1)
        self.assertEqual(chaos.judge(result), [], chaos.table([result]))
        self.assertGreater(result.phases[0].requests, 500)
        self.assertIn("ahead of the server's time-out", result.closed)
