"""Requests that wait for a full server, with priorities by rules, through reusedproxy and through HAProxy: in which
order the server gets them."""

from __future__ import annotations

import re
import socket
import time
from datetime import datetime
from itertools import combinations
from random import Random
from unittest import TestCase

import pytest
from attrs import frozen

from tests.integration.beside import HAProxy
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, temporary_directory, wait_for
from tests.integration.test_beside_haproxy import why_not
from tests.integration.test_cookies_beside_haproxy import Server, asked

#: Seconds between two requests, and those for which the server keeps the first one.
APART, KEPT = 0.05, 3
CLASSES = ("", "", "0", "1", "-1", "-5000", "5000", "3x", "x")
#: Milliseconds. Nearer to their bounds HAProxy's times wrap around: a request then stands at the other end of its
#: class.
OFFSETS = ("", "", "0", "-1", "175", "-175", "325", "-400000", "400000")
#: Seconds between two that came, offsets included, from which on it is sure which was the first: logs have
#: milliseconds.
SURE = 0.005


@frozen
class Order:
    """Numbers of requests as the server got them; and when each came, in seconds, with its offset."""

    served: list[int]
    came: dict[int, float]

    def first(self, one: int, other: int) -> int:
        """Which of two the server got first."""
        return min(one, other, key=self.served.index)

    def earlier(self, one: int, other: int) -> int | None:
        """Which of two came first, if that is sure."""
        apart = self.came[one] - self.came[other]
        return None if abs(apart) < SURE else one if apart < 0 else other


@pytest.mark.alone
class PrioritiesBesideHAProxyTests(TestCase):
    def setUp(self) -> None:
        if reason := why_not():
            self.skipTest(reason)

    def order(self, make: type[Daemon], requests: list[bytes], offsets: list[int]) -> Order:
        server = Server("s1")
        self.addCleanup(server.listening.close)
        lines = (
            "backend servers\n    http-request set-priority-class req.hdr(X-Class)\n"
            "    http-request set-priority-offset req.hdr(X-Offset)\n"
            f"    timeout queue 10s\n    cookie S insert\n    server s1 {LOOPBACK}:{server.port} maxconn 1 cookie s1\n"
        )
        daemon = make(temporary_directory(self) / "proxy", lines)
        self.addCleanup(daemon.stop)
        daemon.start()
        clients = [socket.create_connection((LOOPBACK, daemon.port), timeout=20) for _ in requests]
        for client, request in zip(clients, requests, strict=True):
            client.sendall(request)
            time.sleep(APART)
        for client in clients:
            with client:
                while client.recv(65536):
                    pass
        came = wait_for(lambda: times if len(times := _times(daemon.output)) == len(requests) else None, "the log")
        daemon.stop()
        self.assertLess(max(came.values()) - came[0], KEPT, "this machine is too busy: not all came in time to wait")
        served = [int(line.split(b" ")[1][1:]) for line in server.seen]
        return Order(served, {number: at + offsets[number] / 1000 for number, at in came.items()})

    def test_the_order_of_those_who_wait(self) -> None:
        """By class, then by time and offset; those who are bound to the server by a cookie stand among the others. Of
        any two, where both proxies got the same one first."""
        random = Random(20261129)
        requests, offsets = [asked(0, (f"X-Wait: {KEPT}",), ())], [0]
        for number in range(1, 31):
            kind, offset = random.choice(CLASSES), random.choice(OFFSETS)
            lines = [f"X-Class: {kind}"] * bool(kind) + [f"X-Offset: {offset}"] * bool(offset)
            lines += ["Cookie: S=s1"] * random.randrange(2)
            requests.append(asked(number, tuple(lines), ()))
            offsets.append(int(offset or 0))
        ours, theirs = self.order(Daemon, requests, offsets), self.order(HAProxy, requests, offsets)
        self.assertEqual([*map(sorted, (ours.served, theirs.served))], [[*range(len(requests))]] * 2)
        pairs = list(combinations(range(1, len(requests)), 2))
        sure = [pair for pair in pairs if ours.earlier(*pair) == theirs.earlier(*pair) is not None]
        self.assertEqual([pair for pair in sure if ours.first(*pair) != theirs.first(*pair)], [], (ours, theirs))
        self.assertGreater(len(sure), len(pairs) / 2, "too few of which it is sure")
        self.assertNotEqual(ours.served, sorted(ours.served))


def _times(log: str) -> dict[int, float]:
    """When each request came, by its number."""
    lines = re.findall(r"\[(\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d\.\d{3})\] .* \"GET /(\d+) ", log)
    return {int(number): datetime.strptime(at, "%d/%b/%Y:%H:%M:%S.%f").timestamp() for at, number in lines}
