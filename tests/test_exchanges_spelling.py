"""`h1-case-adjust`: names of headers for clients and servers that tell their spellings apart."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.spelling import spelling_of
from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.proxies import Global
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from tests.clientfakes import World, get
from tests.rulefakes import DEFAULTS, ruled
from tests.wire import scratch

NAMES = {b"content-length": b"Content-LENGTH", b"x-a": b"X-A", b"connection": b"ConNection", b"upgrade": b"UpGrade"}
SWITCH = b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"


def read(words: str, lines: str = "") -> tuple[Global, list[str]]:
    text = f"global\n {words}\n{DEFAULTS}listen l\n bind :1\n {lines}\n server s 192.0.2.1:1\n"
    made = read_configuration([Source("t.cfg", text)], {})
    return made.global_, [each.text for each in made.notices if "h1-case" in each.text]


class SpellingTests(SynchronousTestCase):
    def world(self) -> World:
        world = World(self, warm=2)
        world.frontend.spelling = world.backend.spelling = NAMES
        return world

    def test_all_that_either_side_is_told_is_spelled_so(self) -> None:
        """Whether an answer comes at once, or in parts, or from the proxy itself."""
        world = self.world()
        client = world.client()
        client.send(get("/", "x-a: x-a: connection", "X-b: 1", "Content-length: 0", method="POST"))
        asked = world.server.asked()
        for line in (b"\r\nX-A: x-a: connection\r\n", b"\r\nX-b: 1\r\n", b"\r\nContent-LENGTH: 0\r\n"):
            self.assertIn(line, asked)
        world.server.answer(b"HTTP/1.1 200 OK\r\nx-a: 1\r\ncontent-length: 12\r\n\r\nx-a: 1\r\nx-a:")
        self.assertEqual(client.take(), b"HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-LENGTH: 12\r\n\r\nx-a: 1\r\nx-a:")
        client.send(get("/", "Connection: close"))
        world.server.answer(b"HTTP/1.1 200 OK\r\nx-a: 1\r\ncontent-length: 6\r\n\r\nx-a")
        world.server.answer(b": 1")
        answer = client.take()
        self.assertIn(b"\r\nContent-LENGTH: 6\r\n", answer)
        self.assertIn(b"\r\nConNection: close\r\n", answer)
        self.assertTrue(answer.endswith(b"\r\n\r\nx-a: 1"))
        for request in (get("/", "Host: b"), b"nonsense\r\n\r\n"):
            client = world.client()
            client.send(request)
            self.assertRegex(client.take(), b"\\AHTTP/1.1 400 [^\0]*\r\nContent-LENGTH: [0-9]+\r\n")

    def test_a_refusal_by_a_rule_is_spelled_so(self) -> None:
        world = ruled(self, "http-request deny")
        world.frontend.spelling = NAMES
        client = world.client()
        client.send(get("/"))
        self.assertRegex(client.take(), b"\\AHTTP/1.1 403 [^\0]*\r\nContent-LENGTH: [0-9]+\r\n")

    def test_the_answer_before_a_tunnel_is_spelled_so(self) -> None:
        world = self.world()
        client = world.client()
        client.send(get("/", "Upgrade: x", "Connection: upgrade"))
        self.assertIn(b"\r\nUpGrade: x\r\nConNection: upgrade\r\n", world.server.asked())
        world.server.answer(SWITCH)
        self.assertIn(b"\r\nConNection: upgrade\r\n", client.take())

    def test_without_it_names_stay_as_they_came(self) -> None:
        world = World(self, warm=1)
        client = world.client()
        client.send(get("/", "x-a: 1"))
        self.assertIn(b"\r\nx-a: 1\r\n", world.server.asked())

    def test_names_come_from_lines_and_from_a_file(self) -> None:
        file = scratch(self) / "names"
        file.write_text("# comment\n\n x-b\tX-B \n")
        global_, said = read(
            f"h1-case-adjust x-a X-A\n h1-case-adjust-file {file}", "option h1-case-adjust-bogus-server"
        )
        faults: list[Fault] = []
        self.assertEqual(spelling_of(global_, faults), {b"x-a": b"X-A", b"x-b": b"X-B"})
        self.assertEqual((faults, said), ([], []))
        for text, wanted in (("x-a X-A", "'x-a' has a spelling already"), ("x-c", "line 1 needs the name"), ("", "")):
            file.write_text(text)
            faults.clear()
            spelling_of(global_, faults)
            self.assertEqual([wanted in each.text for each in faults], [True] if wanted else [])
        file.unlink()
        spelling_of(global_, faults)
        self.assertIn("cannot read the names of headers", faults[0].text)
        self.assertIsNone(spelling_of(Global(), []))

    def test_what_says_nothing_is_said(self) -> None:
        self.assertEqual(
            read("h1-case-adjust x-a X-A", "no option h1-case-adjust-bogus-client")[1],
            ["'h1-case-adjust' does nothing without 'h1-case-adjust-bogus-client' or 'h1-case-adjust-bogus-server'"],
        )
        self.assertEqual(
            read("maxconn 9", "option h1-case-adjust-bogus-client")[1],
            ["'option h1-case-adjust-bogus-client' does nothing without 'h1-case-adjust' in section 'global'"],
        )
        for words, wanted in (
            ("x-a", "needs the name of a header in lower case, and its spelling"),
            ("X-a X-A", "'X-a' is no name of a header in lower case"),
            ("x-a X-B", "'X-B' is another name than 'x-a'"),
        ):
            with self.assertRaises(ConfigurationError) as raised:
                read(f"h1-case-adjust {words}")
            self.assertIn(wanted, str(raised.exception))
