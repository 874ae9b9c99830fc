"""Requests that wait for a full server, with priorities by rules, through reusedproxy and through HAProxy: in which
order the server gets them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from random import Random
from unittest import TestCase

import pytest

from tests.integration.beside import HAProxy
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, temporary_directory
from tests.integration.test_beside_haproxy import why_not
from tests.integration.test_cookies_beside_haproxy import Server, ask_whole, asked

#: Seconds between two requests; offsets are far from multiples of it.
APART = 0.05
CLASSES = ("", "", "0", "1", "-1", "-5000", "5000", "3x", "x")
#: Nearer to their bounds HAProxy's times wrap around: a request then stands at the other end of its class.
OFFSETS = ("", "", "0", "-1", "175", "-175", "325", "-400000", "400000")


@pytest.mark.alone
class PrioritiesBesideHAProxyTests(TestCase):
    def setUp(self) -> None:
        if reason := why_not():
            self.skipTest(reason)

    def order(self, make: type[Daemon], name: str, requests: list[bytes]) -> list[bytes]:
        """The first lines of the requests, as the server has seen them."""
        server = Server("s1")
        self.addCleanup(server.listening.close)
        lines = (
            "backend servers\n    http-request set-priority-class req.hdr(X-Class)\n"
            "    http-request set-priority-offset req.hdr(X-Offset)\n"
            f"    timeout queue 10s\n    cookie S insert\n    server s1 {LOOPBACK}:{server.port} maxconn 1 cookie s1\n"
        )
        daemon = make(temporary_directory(self) / name, lines)
        self.addCleanup(daemon.stop)
        daemon.start()
        with ThreadPoolExecutor(len(requests)) as threads:
            for request in requests:
                threads.submit(ask_whole, daemon.port, request)
                time.sleep(APART)
        daemon.stop()
        return server.seen

    def test_the_order_of_those_who_wait(self) -> None:
        """By class, then by time and offset; those who are bound to the server by a cookie stand among the others."""
        random = Random(20261129)
        requests = [asked(0, ("X-Wait: 3",), ())]
        for number in range(1, 31):
            kind, offset = random.choice(CLASSES), random.choice(OFFSETS)
            lines = [f"X-Class: {kind}"] * bool(kind) + [f"X-Offset: {offset}"] * bool(offset)
            lines += ["Cookie: S=s1"] * random.randrange(2)
            requests.append(asked(number, tuple(lines), ()))
        ours, theirs = self.order(Daemon, "ours", requests), self.order(HAProxy, "theirs", requests)
        self.assertEqual(len(ours), len(requests))
        self.assertEqual(ours, theirs)
        self.assertNotEqual(ours, [request.partition(b"\r")[0] for request in requests])
