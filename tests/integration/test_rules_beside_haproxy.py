"""Rules through reusedproxy and through HAProxy with the same lines: samples, converters, tests, and answers."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from unittest import TestCase

from tests.integration.beside import HAProxy, read_answer
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, temporary_directory
from tests.integration.test_beside_haproxy import why_not
from tests.rulecases import CRITERIA, EXPRESSIONS, REQUEST

EMPTY_BACKEND = "backend servers\n    http-request return status 200 content-type text/plain string no\n"


class RulesBesideHAProxyTests(TestCase):
    def setUp(self) -> None:
        if reason := why_not():
            self.skipTest(reason)

    def both(self, text: str, requests: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        """The bodies of the answers to these requests."""
        directory = temporary_directory(self)
        answers = []
        for name, make in (("ours", Daemon), ("theirs", HAProxy)):
            daemon = make(directory / name, text)
            self.addCleanup(daemon.stop)
            daemon.start()
            answers.append([self.body(daemon.port, request) for request in requests])
            daemon.stop()
        return list(zip(*answers, strict=True))

    def body(self, port: int, request: bytes) -> bytes:
        with socket.create_connection((LOOPBACK, port), timeout=10) as client:
            client.sendall(request)
            return read_answer(client, "GET", b"")[1]

    def test_samples_and_converters(self) -> None:
        """Each gives what the manual says, and what HAProxy makes of it."""
        rules = "".join(
            f'    http-request return status 200 content-type text/plain lf-string "<%[{expression}]>"'
            f" if {{ req.hdr(x-case) {number} }}\n"
            for number, (expression, _) in enumerate(EXPRESSIONS)
        )
        requests = [REQUEST + b"X-Case: %d\r\n\r\n" % number for number in range(len(EXPRESSIONS))]
        outcomes = self.both(rules + EMPTY_BACKEND, requests)
        found = [(text, *pair) for (text, _), pair in zip(EXPRESSIONS, outcomes, strict=True)]
        self.assertEqual([], [each for each in found if each[1] != each[2]], "ours | HAProxy's")
        expected = [(text, b"<%b>" % value.encode()) for text, value in EXPRESSIONS]
        self.assertEqual(expected, [(text, ours) for text, ours, _ in found])

    def test_methods_of_matching(self) -> None:
        """Whether each criterion is true."""
        rules = "".join(
            "    http-request return status 200 content-type text/plain string yes"
            f" if {{ req.hdr(x-case) {number} }} {{ {criterion} }}\n"
            for number, (criterion, _) in enumerate(CRITERIA)
        )
        requests = [REQUEST + b"X-Case: %d\r\n\r\n" % number for number in range(len(CRITERIA))]
        outcomes = self.both(rules + EMPTY_BACKEND, requests)
        found = [(text, *pair) for (text, _), pair in zip(CRITERIA, outcomes, strict=True)]
        self.assertEqual([], [each for each in found if each[1] != each[2]], "ours | HAProxy's")
        expected = [(text, b"yes" if true else b"no") for text, true in CRITERIA]
        self.assertEqual(expected, [(text, ours) for text, ours, _ in found])
