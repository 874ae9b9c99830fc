"""The fuzzer's targets without the fuzzer: all seeds and all past findings keep the promises
(`make fuzz` looks for more)."""

from httptools import HttpParserError
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.exchanges import exchange, retry
from reusedproxy.pool.connection import ServerConnection
from reusedproxy.wire import heads
from tests.clientfakes import POST
from tests.fuzz.clients import DYING, WARM
from tests.fuzz.seeds import FOUND, seeds_of
from tests.fuzz.streams import CONTROL
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


class BrokenPromiseTests(SynchronousTestCase):
    """A target that sees nothing would pass every seed: each kind of promise is broken once by hand."""

    def test_a_request_that_others_frame_otherwise_is_seen(self) -> None:
        """Whoever takes the length where a coding stands, too, hides a request in a body."""
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n"
        body = b"0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
        data = head % len(body) + body
        TARGETS["client"].check(bytes(CONTROL) + data)
        self.patch(heads, "body_length", lambda *_: len(body))
        self.assertRaises(AssertionError, TARGETS["request"].check, data)
        self.assertRaises(HttpParserError, TARGETS["client"].check, bytes(CONTROL) + data)

    def test_a_connection_that_is_reused_too_early_is_seen(self) -> None:
        """Bytes beyond an answer that do not end the connection."""
        data = bytes(CONTROL) + b"HTTP/1.1 204 No\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
        TARGETS["server"].check(data)
        finish = ServerConnection._finish
        self.patch(
            ServerConnection,
            "_finish",
            lambda connection, exchange, keep_alive, more, now: finish(connection, exchange, keep_alive, False, now),
        )
        self.assertRaises(AssertionError, TARGETS["server"].check, data)

    def test_a_request_that_is_repeated_wrongly_is_seen(self) -> None:
        """A POST whose server died after it had read it."""
        data = bytes([DYING | WARM]).ljust(CONTROL, b"\0") + (POST + b"body") * 2
        TARGETS["client"].check(data)
        self.patch(retry, "IDEMPOTENT", retry.IDEMPOTENT | {b"POST"})
        self.assertRaises(AssertionError, TARGETS["client"].check, data)

    def test_a_failure_of_our_own_is_seen(self) -> None:
        """Whatever would stand in the log with a traceback."""
        data = bytes(CONTROL) + b"HTTP/1.1 204 No\r\n\r\n"
        self.patch(exchange.Exchange, "response_whole", lambda *_: 1 / 0)
        self.assertRaises(AssertionError, TARGETS["server"].check, data)
        self.flushLoggedErrors(ZeroDivisionError)
