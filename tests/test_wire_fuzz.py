"""The fuzzer's targets without the fuzzer: all seeds and all past findings keep the promises (`make fuzz` looks for more)."""

from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.seeds import FOUND, seeds_of
from tests.fuzz.targets import TARGETS


class SeedTests(SynchronousTestCase):
    def replay(self, name: str) -> None:
        """Run all seeds of one target; the first that breaks a promise is told."""
        seeds = seeds_of(name)
        self.assertGreater(len(seeds), 20)
        for seed in seeds:
            try:
                TARGETS[name].check(seed)
            except Exception as broken:
                raise AssertionError(f"{name}: {seed!r}") from broken

    def test_requests_keep_all_promises(self) -> None:
        """Heads of requests."""
        self.replay("request")

    def test_responses_keep_all_promises(self) -> None:
        """Heads of responses."""
        self.replay("response")

    def test_chunked_bodies_keep_all_promises(self) -> None:
        """Chunked bodies in any pieces."""
        self.replay("chunked")

    def test_client_streams_keep_all_promises(self) -> None:
        """Whole streams of clients through the proxy."""
        self.replay("client")

    def test_server_streams_keep_all_promises(self) -> None:
        """Whole streams of servers through the proxy, before a second client's request."""
        self.replay("server")

    def test_every_finding_is_some_targets(self) -> None:
        """A misnamed file would never be run again."""
        for path in FOUND.iterdir():
            self.assertIn(path.name.partition("-")[0], TARGETS, path)
