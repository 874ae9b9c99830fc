"""
The wire's cases through reusedproxy and through HAProxy with the same configuration: what differs is known and has a
reason, and nothing that is known to differ does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from unittest import TestCase

from attrs import frozen

from tests.integration.beside import HAProxy, Lanes, Outcome, haproxy_version
from tests.integration.daemon import Daemon
from tests.integration.haproxy_differences import REQUESTS, RESPONSES, Difference
from tests.integration.peers import missing, temporary_directory
from tests.wirecases_requests import LEGAL_REQUESTS, REFUSED_REQUESTS
from tests.wirecases_responses import LEGAL_RESPONSES, REFUSED_RESPONSES

#: Whose behaviour the table of differences holds.
VERSION = "2.6"
#: Requests asked at a time. Some cases wait for a time-out.
LANES = 12

ASKED = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"

Question = Callable[[Lanes], Outcome]


def why_not() -> str:
    """Why these tests cannot run; empty when they can."""
    found = haproxy_version()
    if not found:
        return missing("haproxy")
    return "" if found.startswith(VERSION + ".") else f"differences are known for HAProxy {VERSION}, this is {found}"


@frozen
class Request:
    """One case as a question."""

    case: Any

    def __call__(self, lanes: Lanes) -> Outcome:
        return lanes.ask(self.case.data)


@frozen
class Response:
    case: Any

    def __call__(self, lanes: Lanes) -> Outcome:
        case = self.case
        asked = f"{case.method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        return lanes.ask(asked, method=case.method, answer=case.data, closes=case.closes)


class BesideHAProxyTests(TestCase):
    def setUp(self) -> None:
        if reason := why_not():
            self.skipTest(reason)

    def both(
        self, questions: Sequence[Question], count: int = LANES, settings: str = ""
    ) -> list[tuple[Outcome, Outcome]]:
        directory = temporary_directory(self)
        outcomes = []
        for name, make in (("ours", Daemon), ("theirs", HAProxy)):
            lanes = Lanes(make, directory / name, count, settings)
            self.addCleanup(lanes.stop)
            lanes.start()
            outcomes.append(lanes.ask_all(questions))
            lanes.stop()
        return list(zip(*outcomes, strict=True))

    def compare(
        self, questions: Sequence[Request | Response], known: list[Difference]
    ) -> list[tuple[Outcome, Outcome]]:
        by_name = {name: each for each in known for name in each.names}
        rules = {(each.ours, each.theirs): each for each in known if not each.names}
        outcomes = self.both(questions)
        unknown, seen = [], set()
        for question, (ours, theirs) in zip(questions, outcomes, strict=True):
            if ours == theirs:
                continue
            name, pair = question.case.name, (str(ours), str(theirs))
            listed = by_name.get(name)
            if listed is not None and pair == (listed.ours, listed.theirs):
                seen.add(name)
            elif pair in rules:
                seen.add(pair)
            else:
                unknown.append(f"{name}: {pair[0]} | {pair[1]}")
        self.assertEqual(unknown, [], "differences that are not in haproxy_differences")
        steady = {name for name, each in by_name.items() if each.steady}
        self.assertEqual((steady | rules.keys()) - seen, set(), "known differences that did not occur")
        return outcomes

    def test_requests(self) -> None:
        """Status, number of requests that reach the server, and whether the connection is kept."""
        questions = [Request(case) for case in (*LEGAL_REQUESTS, *REFUSED_REQUESTS)]
        outcomes = self.compare(questions, REQUESTS)
        for question, (ours, _) in zip(questions, outcomes, strict=True):
            case = question.case
            if case in REFUSED_REQUESTS:
                expected = (case.status,), "closed", 0
            else:
                expected = (200,), "kept" if case.persists else "closed", 1
            self.assertEqual((ours.statuses, ours.end, ours.requests), expected, case.name)

    def test_responses(self) -> None:
        """What the client gets of what a server says, and whether both connections are kept."""
        questions = [Response(case) for case in (*LEGAL_RESPONSES, *REFUSED_RESPONSES)]
        outcomes = self.compare(questions, RESPONSES)
        for question, (ours, _) in zip(questions, outcomes, strict=True):
            case = question.case
            if case in LEGAL_RESPONSES:
                self.assertEqual(
                    (ours.body, ours.end), (case.content, "kept" if case.persists else "closed"), case.name
                )
                self.assertEqual(ours.reused, case.reusable, case.name)
            elif ours.statuses[-1:] != (502,):
                self.assertEqual((case.late, ours.end), (True, "cut"), case.name)

    def test_limits(self) -> None:
        """The largest head and the last field that HAProxy takes of its configuration, we take, too; and our own limits
        are exact: bufsize - maxrewrite bytes, and maxhdr lines with the first."""
        settings = "    tune.bufsize 8192\n    tune.maxrewrite 2048\n    tune.http.maxhdr 20\n"
        names, questions = [], []
        for size in (6057, 6058, 6144, 6145):
            for make in (_request_of_size, _response_of_size):
                names.append(f"{size} bytes")
                questions.append(make(size))
        for count in (19, 20):
            for make_of in (_request_of_fields, _response_of_fields):
                names.append(f"{count} fields")
                questions.append(make_of(count))
        said = [
            f"{name}: {ours.statuses[0]} {theirs.statuses[0]}"
            for name, (ours, theirs) in zip(names, self.both(questions, 2, settings), strict=True)
        ]
        self.assertEqual(
            said,
            [
                "6057 bytes: 200 200",
                "6057 bytes: 200 200",
                # HAProxy's copy of this head needs 87 bytes more than the head.
                "6058 bytes: 200 400",
                "6058 bytes: 200 502",
                "6144 bytes: 200 400",
                "6144 bytes: 200 502",
                "6145 bytes: 431 400",
                "6145 bytes: 502 502",
                "19 fields: 200 200",
                "19 fields: 200 200",
                "20 fields: 431 400",
                "20 fields: 502 502",
            ],
        )


def _padded(start: bytes, size: int) -> bytes:
    return start + b"A: " + b"b" * (size - len(start) - 7) + b"\r\n\r\n"


def _request_of_size(size: int) -> Question:
    return lambda lanes: lanes.ask(_padded(b"GET / HTTP/1.1\r\nHost: a\r\n", size))


def _response_of_size(size: int) -> Question:
    return lambda lanes: lanes.ask(ASKED, answer=_padded(EMPTY, size))


def _request_of_fields(count: int) -> Question:
    return lambda lanes: lanes.ask(ASKED[:-2] + b"A: b\r\n" * (count - 1) + b"\r\n")


def _response_of_fields(count: int) -> Question:
    return lambda lanes: lanes.ask(ASKED, answer=EMPTY + b"A: b\r\n" * (count - 1) + b"\r\n")
