"""Every command of the runtime API, interrupted between its pieces: by a reload, by another process that takes the
place, by another client's order, by a client that reads no more, or leaves, and by the daemon's end.

An order that is answered as done, or told as such by the log, is done in what serves afterwards, or is told as
forgotten; one that is refused has changed nothing; none is lost without a word. An answer that lists something has all
that is there from its beginning to its end, once. Nobody's session hangs, and nothing fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.runtimeworld import EVERY, MANY, ORDER, Case, Client, View, World, made

#: What an interruption does; a client is whom it happens to.
Happens = Callable[[World, Client], object]
#: Words by which the log tells that something is not in force any more.
TOLD = ("is forgotten", "is back", "is gone", "the one of the file again")
#: It was done in part, as HAProxy does it, which the log tells.
IN_PART = "(refused, perhaps after a part of it)"
#: The steps of an order that is done at once: its line is read, it is done, its answer is given.
AT_ONCE = 7
#: The steps after which nothing has been done of it.
BEGUN = 2


class InteractionTestCase(SynchronousTestCase):
    maxDiff = None
    #: How many steps each takes, by its name and number.
    steps: ClassVar[dict[tuple[str, int], int]] = {}

    def setUp(self) -> None:
        if not self.steps:
            with made(World) as world:
                kept = {name: len(each) for name, each in world.cases().items()}
            for name, number in ((name, number) for name, count in kept.items() for number in range(count)):
                with made(World) as world:
                    client = world.client(world.cases()[name][number])
                    self.steps[name, number] = sum(1 for _ in range(MANY) if client.step())
            self.assertEqual(self.flushLoggedErrors(), [])

    def positions(self, steps: int) -> Iterable[int]:
        """The steps after which something happens: the first, and some of the others."""
        return (1, 3) if steps < AT_ONCE else sorted({1, 2, 3, steps // 2, steps - 3})

    def orders(self) -> list[tuple[str, int, int]]:
        """Those that change something, with each position."""
        with made(World) as world:
            changing = {(name, at) for name, each in world.cases().items() for at, one in enumerate(each) if one.holds}
        return [(*key, at) for key, steps in self.steps.items() if key in changing for at in self.positions(steps)]

    def interrupt(self, happens: Happens, *, least: int = 0, served: bool = True) -> None:
        """Plays all orders with more than `least` steps; `served`: by the process that is asked afterwards."""
        wrong = []
        for name, number, at in self.orders():
            if self.steps[name, number] >= least:
                with made(World) as world:
                    case = world.cases()[name][number]
                    wrong += [f"{case.line}, after step {at}: {each}" for each in self.play(world, case, at, happens)]
        self.assertEqual(wrong, [])

    def play(self, world: World, case: Case, at: int, happens: Happens) -> list[str]:
        """Plays one; returns what is wrong."""
        assert case.holds is not None
        client = world.client(case)
        world.announced.clear()
        for _ in range(at):
            client.step()
        ended = client.gone
        happens(world, client)
        has_left = not ended and client.gone and client.wire.end is None
        begun = at > BEGUN + case.payload.count("\n") + (2 if case.payload else 0)
        wrong = self.ended(world, client, case)
        said = [text for _, text in world.announced]
        lines = [each for each in said if each.startswith(ORDER)]
        told = any(word in each for each in said for word in TOLD)
        in_force = case.holds(View(world.service))
        if len(lines) > 1:
            wrong.append(f"the log tells it {len(lines)} times")
        if lines and "(refused" not in lines[0]:
            if not (in_force or told):
                wrong.append(f"the log tells it as done, but it is not in force: {client.said[-200:]!r}")
        elif not lines and (begun if has_left else not ended and not client.said.strip("\n")):
            wrong.append("it is lost without a word")
        return wrong

    def ended(self, world: World, client: Client, case: Case) -> list[str]:
        """Goes on to the end of all that is under way; returns what is wrong with that."""
        wrong = []
        if not client.run(4 * MANY) and not case.endless:
            wrong.append("it hangs")
        if world.service.state == "running":
            world.end_reload()
        world.pass_time(1.5)
        if client.refused or "Internal error" in client.said:
            wrong.append(f"it fails: {client.refused}")
        wrong += [each.getErrorMessage() for each in self.flushLoggedErrors()]
        return wrong


class OrderTests(InteractionTestCase):
    """Orders that change something."""

    def test_each_command_is_here(self) -> None:
        """Whoever adds one says what it changes, or shows."""
        self.assertEqual({name for name, _ in self.steps}, {" ".join(each.words) for each in EVERY})

    def test_a_reload(self) -> None:
        self.interrupt(lambda world, client: world.reload())

    def test_a_reload_that_goes_on_meanwhile(self) -> None:
        self.interrupt(lambda world, client: world.begin_reload())

    def test_a_reload_with_another_file(self) -> None:
        self.interrupt(lambda world, client: world.read_other_file(), least=AT_ONCE)

    def test_another_client_deletes_a_server(self) -> None:
        self.interrupt(lambda world, client: world.delete_server(), least=AT_ONCE)

    def test_a_client_that_leaves(self) -> None:
        self.interrupt(lambda world, client: client.leave())

    def test_a_client_that_reads_no_more(self) -> None:
        self.interrupt(lambda world, client: client.stop_reading(), least=AT_ONCE)

    def test_a_client_that_says_no_more(self) -> None:
        self.interrupt(lambda world, client: client.end_sending(), least=AT_ONCE)

    def test_a_client_whose_socket_a_reload_takes_out(self) -> None:
        self.interrupt(lambda world, client: client.lose_its_line(), least=AT_ONCE)
