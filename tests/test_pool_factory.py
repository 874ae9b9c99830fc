"""The pool as a library: what a program of somebody else's imports, and one request by it."""

from __future__ import annotations

import socket
import time
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

import reusedproxy.pool
from reusedproxy.pool import HTTPConnectionPool, NoAnswer, PoolFactory, ServerTLS, Target, TLSConfigurationError, ask
from reusedproxy.pool.connection import IDLE
from tests.fakes import PoolBench
from tests.wire import certificates, scratch

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class FrontDoorTests(SynchronousTestCase):
    """What `reusedproxy.pool` offers."""

    def test_all_that_it_names_is_there(self) -> None:
        for name in reusedproxy.pool.__all__:
            self.assertTrue(hasattr(reusedproxy.pool, name), name)

    def test_its_example_is_python(self) -> None:
        """And imports names that are there."""
        text = reusedproxy.pool.__doc__ or ""
        lines = [line[4:] for line in text.splitlines() if line.startswith("    ") or not line]
        source = "\n".join(lines)
        compile(source, "example", "exec")
        exec("\n".join(line for line in lines if line.startswith("from ")), {})


class AskTests(SynchronousTestCase):
    """One request on a pool."""

    def setUp(self) -> None:
        self.bench = PoolBench(min_conn=1)
        self.pool: HTTPConnectionPool = self.bench.pool

    @property
    def transport(self) -> Any:
        return self.bench.dialer.transports[0]

    def test_the_answer_comes_whole(self) -> None:
        """Its chunks are joined, and the connection is free again."""
        self.bench.answer_all()
        asked = ask(self.pool, GET)
        self.transport.receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        self.assertNoResult(asked)
        self.transport.receive(b"2\r\nde\r\n0\r\n\r\n")
        answer = self.successResultOf(asked)
        self.assertEqual((answer.head.status, answer.body), (200, b"abcde"))
        self.assertEqual([each.state for each in self.pool.idle], [IDLE])

    def test_it_waits_for_a_connection(self) -> None:
        asked = ask(self.pool, GET)
        self.assertNoResult(asked)
        self.bench.answer_all()
        self.transport.receive(b"HTTP/1.1 204 No Content\r\n\r\n")
        self.assertEqual(self.successResultOf(asked).head.status, 204)

    def test_there_is_no_connection(self) -> None:
        """And why."""
        asked = ask(self.pool, GET)
        self.bench.dialer.open[0].fail()
        self.assertIn("failed", str(self.failureResultOf(asked, NoAnswer).value))

    def test_no_connection_is_ready_in_time(self) -> None:
        asked = ask(self.pool, GET, timeout=2.0)
        self.bench.pass_time(2.1)
        self.failureResultOf(asked, NoAnswer)
        self.assertEqual(len(self.pool.waiters), 0)

    def test_the_server_says_nothing(self) -> None:
        self.bench.answer_all()
        asked = ask(self.pool, GET, timeout=2.0)
        self.bench.pass_time(2.1)
        self.assertEqual(str(self.failureResultOf(asked, NoAnswer).value), "timeout server")

    def test_nobody_wants_the_answer_any_more(self) -> None:
        """The connection ends, for its answer is still to come."""
        self.bench.answer_all()
        asked = ask(self.pool, GET)
        asked.addErrback(lambda _: None)
        asked.cancel()
        self.assertEqual(self.pool.closed, {"client gone": 1})
        self.assertFalse(self.pool.in_use)

    def test_a_challenge_ends_the_connection(self) -> None:
        """An answer to it would authenticate the connection, for all who are given it."""
        self.bench.answer_all()
        asked = ask(self.pool, GET)
        self.transport.receive(b"HTTP/1.1 401 No\r\nWWW-Authenticate: Negotiate\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.successResultOf(asked).head.status, 401)
        self.assertEqual((self.pool.closed, self.pool.private), ({"one request only": 1}, set()))

    def test_too_long_a_body(self) -> None:
        self.patch(reusedproxy.pool.factory, "MOST", 10)
        self.bench.answer_all()
        asked = ask(self.pool, GET)
        self.transport.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 20)
        self.assertIn("longer", str(self.failureResultOf(asked, NoAnswer).value))
        self.assertFalse(self.pool.in_use)


class FactoryTests(SynchronousTestCase):
    """Pools of a program's own keep what those of the proxy keep."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.ours = certificates()
        folder = scratch(self)
        self.ca_file = str(self.ours.authority.write(folder / "ca.pem"))
        self.crt = str(self.ours.client.write(folder / "client.pem"))
        self.factory = PoolFactory(self.reactor, lambda level, text: None)
        self.addCleanup(self.factory.stop)
        self.target = Target(socket.AF_INET, ("127.0.0.1", 1))

    def test_a_name_is_asked_for(self) -> None:
        """Without one any certificate of the CA would do."""
        with self.assertRaises(TLSConfigurationError) as raised:
            self.factory.open("app", self.target, ServerTLS(ca_file=self.ca_file))
        self.assertIn("app: any certificate of the CA would do: say its name, sni or verifyhost", str(raised.exception))
        pins = ("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",)
        with self.assertRaises(TLSConfigurationError):  # it may be the CA's
            self.factory.open("app", self.target, ServerTLS(ca_file=self.ca_file, pins=pins))
        cases: list[dict[str, Any]] = [{"sni": "s.test"}, {"verifyhost": "s.test"}, {"verify": "none"}]
        for said in cases:
            self.factory.open("app", self.target, ServerTLS(ca_file=self.ca_file, **said))

    def test_connections_end_with_our_certificate(self) -> None:
        tls = ServerTLS(ca_file=self.ca_file, crt=self.crt, sni="s.test")
        left = self.ours.client.certificate.not_valid_after_utc.timestamp() - time.time()
        pool = self.factory.open("app", self.target, tls)
        self.assertLess(abs(pool.expires_at - self.reactor.seconds() - left), 5)
