"""`run()` in the manhole: what the runtime API's commands answer there, where the event loop must not wait for any."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO

from reusedproxy.operators.runtime.commands import COMMANDS
from reusedproxy.operators.runtime.proxy import BUSY, WAIT, Context, Refusal
from reusedproxy.operators.shell import commands
from reusedproxy.operators.shell.commands import LOGGED, NO_WAIT, namespace
from tests.test_operators_runtime import RuntimeTestCase

#: Looks at the clock after which a command is one that never ends.
TOO_MANY = 10_000


class RunTests(RuntimeTestCase):
    def setUp(self) -> None:
        super().setUp()
        looks, seconds = iter(range(TOO_MANY)), self.context.proxy.deadlines.now

        def bounded() -> float:
            next(looks)
            return float(seconds())

        self.patch(self.context.proxy.deadlines, "now", bounded)

    def run_line(self, line: str) -> str:
        with redirect_stdout(StringIO()) as output:
            namespace(self.service, "x")["run"](line)
        return output.getvalue()

    def pieces(self, *pieces: str | Refusal, changing: bool = False) -> list[str]:
        """Has each command answer so, as one that is `changing` something or not; returns what is noted of it."""
        noted: list[str] = []

        def answer(context: Context, words: object) -> Iterator[str]:
            context.changing = changing
            try:
                for piece in pieces:
                    if isinstance(piece, Refusal):
                        raise piece
                    yield piece
                noted.append("to its end")
            finally:
                noted.append("closed")

        self.patch(commands, "run", answer)
        return noted

    def test_wait_does_not_hold_the_event_loop_and_what_follows_is_not_done(self) -> None:
        said = self.run_line("disable server be/s1; wait 1h; set weight be/s1 3; del server be/s1")
        self.assertEqual(said, f"{NO_WAIT} Not done: set weight be/s1 3; del server be/s1\n")
        self.assertEqual(self.server("be/s1").weight, 10)
        self.assertEqual(self.run_line("wait 1h"), f"{NO_WAIT}\n")

    def test_what_need_not_wait_is_done_with_what_follows(self) -> None:
        said = self.run_line("disable server be/s1; wait 1h srv-removable be/s1; set weight be/s1 3")
        self.assertEqual(said, "Done.\n")
        self.assertEqual(self.server("be/s1").weight, 3)

    def test_no_command_is_asked_again_and_again(self) -> None:
        """Whatever it is given; that it would wait longer is seen at once."""
        for each in COMMANDS:
            for arguments in ("", "be/s1", "be", "1h", "lines -w"):
                self.run_line(" ".join((*each.words, arguments)))

    def test_an_order_that_ends_by_itself_says_where_its_end_is_told(self) -> None:
        noted = self.pieces("It begins.\n", BUSY, "never said", changing=True)
        self.assertEqual(self.run_line("reload; reload"), f"It begins.\n{LOGGED}" * 2)
        self.assertEqual(noted, ["closed"] * 2)

    def test_one_that_stays_busy_is_closed(self) -> None:
        noted = self.pieces("It begins.\n", BUSY, BUSY, "never said")
        self.assertEqual(self.run_line("x; y"), f"It begins.\n{NO_WAIT} Not done: y\n")
        self.assertEqual(noted, ["closed"])

    def test_lines_to_come_are_not_waited_for(self) -> None:
        noted = self.pieces("a line\n", WAIT, "never said")
        self.assertEqual(self.run_line("x; y"), "a line\na line\n")
        self.assertEqual(noted, ["closed", "closed"])

    def test_what_was_said_before_a_refusal_is_shown(self) -> None:
        self.pieces("one was done\n", Refusal("The other was not."))
        self.assertEqual(self.run_line("x"), "one was done\nThe other was not.\n")
