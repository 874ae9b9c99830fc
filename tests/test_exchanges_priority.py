"""`set-priority-class` and `set-priority-offset`: what rules make of a request's place in queues."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import ConfigurationError
from tests.clientfakes import get
from tests.rulefakes import ruled, sections


class PriorityRuleTests(SynchronousTestCase):
    def priority(self, lines: str, *fields: str) -> tuple[int, int]:
        world = ruled(self, lines, warm=1)
        client = world.client()
        client.send(get("/", *fields))
        world.server.answer()
        (exchange,) = world.log
        world.check_rest()
        return exchange.priority

    def test_what_rules_say(self) -> None:
        """Numbers, and texts that begin with one; the last rule counts; bounds are kept, as in HAProxy."""
        cases = (
            ("", (), (0, 0)),
            ("http-request set-priority-class int(7)", (), (7, 0)),
            ("http-request set-priority-offset int(-5000)", (), (0, -5000)),
            ("http-request set-priority-class req.hdr(x-class)", ("X-Class: 3x",), (3, 0)),
            ("http-request set-priority-class req.hdr(x-class)", ("X-Class: x",), (0, 0)),
            ("http-request set-priority-class int(4)\nhttp-request set-priority-class req.hdr(x-class)", (), (4, 0)),
            (
                "http-request set-priority-class int(9999)\nhttp-request set-priority-offset int(-9999999)",
                (),
                (2047, -524287),
            ),
            ("http-request set-priority-class int(-9999) if { path / }", (), (-2047, 0)),
            ("http-request set-priority-class int(1) unless { path / }", (), (0, 0)),
        )
        for lines, fields, priority in cases:
            self.assertEqual(self.priority(lines, *fields), priority, lines)

    def test_its_class_can_be_asked_for(self) -> None:
        lines = "http-request set-priority-class int(3)\nhttp-request set-priority-offset int(20)\n"
        lines += "http-request set-header X-Seen %[prio_class]/%[prio_offset]"
        world = ruled(self, lines, warm=1)
        client = world.client()
        client.send(get("/"))
        self.assertIn(b"X-Seen: 3/20\r\n", world.server.asked())
        world.server.answer()
        world.check_rest()

    def test_who_is_more_important_overtakes_those_who_wait(self) -> None:
        world = ruled(self, "http-request set-priority-class int(-1) if { path /now }", warm=1, maxconn=1)
        clients = [world.client() for _ in range(3)]
        for client, path in zip(clients, ("/first", "/later", "/now"), strict=True):
            client.send(get(path))
        asked = []
        for _ in clients:
            asked.append(world.server.asked().split(b" ")[1])
            world.server.answer()
        self.assertEqual(asked, [b"/first", b"/now", b"/later"])
        world.check_rest()

    def test_what_is_refused(self) -> None:
        for line, said in (
            ("http-request set-priority-class", "needs an expression"),
            ("http-request set-priority-class int(1) int(2)", "'int(2)' is too much"),
            ("http-request set-priority-class bin(41)", "is no number and cannot become one"),
            ("http-request set-priority-offset status", "needs a response"),
            ("http-response set-priority-class int(1)", "cannot be done there, only by 'http-request'"),
        ):
            error = self.assertRaises(ConfigurationError, sections, line)
            self.assertIn(said, error.faults[0].text)
