"""What others make of our log: haproxy-log-analysis (PyPI), which reads HAProxy's."""

from __future__ import annotations

import sys
from typing import Any

from reusedproxy.config.model.logs import Captures, LogSettings, LogTarget, Slot
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.formats import STANDARD, read_format
from reusedproxy.operators.logs.access import FormattedLog, HTTPLog
from reusedproxy.operators.logs.gathering import Gathering
from reusedproxy.operators.logs.targets import Send, SendAll, Target
from reusedproxy.rules.facts import Noted
from tests.test_operators_logs_access import CASES, LogCase
from tests.test_operators_logs_targets import Sink

PLACE = Place("x", 1)


class AnalysisTests(LogCase):
    def setUp(self) -> None:
        if sys.version_info < (3, 11):
            self.skipTest("haproxy-log-analysis needs Python 3.11")
        LogCase.setUp(self)
        self.sink: Any = Sink()
        self.send: Send
        self.send_all: SendAll
        target = Target(LogTarget(PLACE, "unix"), "reusedproxy", self.sink, self.clock.seconds)
        send, send_all = target.sender("info"), target.sender_of_several("info")
        assert send is not None and send_all is not None
        self.send, self.send_all = send, send_all

    def read(self) -> Any:
        """The last line, as that program has it."""
        from haproxy.line import Line  # type: ignore[import-untyped]

        line = Line(self.sink.lines[-1])
        self.assertTrue(line.is_valid, self.sink.lines[-1])
        return line

    def test_each_line_of_httplog(self) -> None:
        """Bad requests have no path for it, as those of HAProxy."""
        log = HTTPLog(self.frontend, self.places, self.send_all, Gathering(), self.clock.seconds)
        for case in CASES:
            if case.request is None:
                continue
            log(self.exchange(case))
            line, method = self.read(), case.request.partition(b" ")[0].decode()
            self.assertEqual((line.client_ip, line.client_port), ("127.0.0.1", 36304), case.name)
            self.assertEqual((line.status_code, line.bytes_read), (str(case.status), str(case.sent)), case.name)
            self.assertEqual((line.frontend_name, line.http_request_method), ("f", method), case.name)
            self.assertEqual(int(line.total_time), case.ended, case.name)

    def test_captured_headers(self) -> None:
        captures = Captures((Slot(PLACE, 9), Slot(PLACE, 9)), (Slot(PLACE, 9),))
        made = read_format(STANDARD["httplog"], "", of_log=True)
        self.frontend.settings = type(self.frontend.settings)(
            "f", PLACE, mode="http", log_format="httplog", log=LogSettings(made), captures=captures
        )
        self.frontend.process_clients = self.frontend.clients = 1
        self.client.since, self.client.handshake, self.client.requests = self.clock.seconds(), 0.0, 1
        self.client.deadlines = self.deadlines
        log = FormattedLog(self.frontend, made, self.send)
        exchange = self.exchange(CASES[0])
        exchange.noted = Noted(captures, [b"a b", b"c"], [b"d"], [None, None])
        log(exchange)
        line = self.read()
        self.assertEqual((line.captured_request_headers, line.captured_response_headers), ("a b|c", "d"))
