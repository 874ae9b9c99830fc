"""Every command of the runtime API, interrupted between its pieces: by a reload, by another process that takes the
place, by another client's order, by a client that reads no more, or leaves, and by the daemon's end.

An order that is answered as done, or told as such by the log, is done in what serves afterwards, or is told as
forgotten; one that is refused has changed nothing; none is lost without a word. An answer that lists something has all
that is there from its beginning to its end, once. Nobody's session hangs, and nothing fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar, cast

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.server import READY
from reusedproxy.operators.runtime.form import NOTHING, obey
from reusedproxy.operators.shell.commands import LOGGED, namespace
from tests.runtimeworld import EVERY, MANY, ORDER, PID, Case, Client, Heir, View, World, made

#: What an interruption does; a client is whom it happens to.
Happens = Callable[[World, Client], object]
#: Words by which the log tells that something is not in force any more.
TOLD = ("is forgotten", "is back", "is gone", "the one of the file again", "does not know of it")
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

    def orders(self, *, before: bool) -> list[tuple[str, int, int]]:
        """Those that change something, with the steps after which something happens: of an order that is done at once
        that is `before` it or afterwards, of others some of their pieces."""
        with made(World) as world:
            changing = {(name, at) for name, each in world.cases().items() for at, one in enumerate(each) if one.holds}
        played: list[tuple[str, int, int]] = []
        for key, steps in self.steps.items():
            some = {BEGUN, BEGUN + 1, steps // 2, steps - 3} if steps >= AT_ONCE else {BEGUN - before}
            played += ((*key, at) for at in sorted(some) if key in changing)
        return played

    def interrupt(self, happens: Happens, *, before: bool = False, least: int = 0, undone: bool = False) -> None:
        """Plays all orders with at least so many steps; `undone`: others may have undone them."""
        wrong = []
        for name, number, at in self.orders(before=before):
            if self.steps[name, number] >= least:
                with made(World) as world:
                    case = world.cases()[name][number]
                    found = self.play(world, case, at, happens, undone)
                    wrong += [f"{case.line}, after step {at}: {each}" for each in found]
        self.assertEqual(wrong, [])

    def play(self, world: World, case: Case, at: int, happens: Happens, undone: bool) -> list[str]:
        """Plays one; returns what is wrong."""
        assert case.holds is not None
        client = world.client(case)
        world.announced.clear()
        for _ in range(at):
            client.step()
        ended = client.gone
        heir = happens(world, client)
        has_left = not ended and client.gone and client.wire.end is None
        begun = at > BEGUN + case.payload.count("\n") + (2 if case.payload else 0)
        if isinstance(heir, Heir) and world.service.state == "running":
            client.run()
            heir.take_place()
        wrong = self.ended(world, client, case)
        world.pass_time(1.5)
        others = [*heir.told] if isinstance(heir, Heir) else []
        said = [text for _, text in world.announced] + others
        lines = [each for each in said if each.startswith(ORDER)]
        told = undone or any(word in each for each in said for word in TOLD)
        in_force = case.holds(View(heir.service if isinstance(heir, Heir) else world.service)) or (
            case.shared and isinstance(heir, Heir)
        )
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
        self.interrupt(lambda world, client: world.begin_reload(), before=True)

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

    def test_other_clients_orders_about_the_same(self) -> None:
        self.interrupt(lambda world, client: world.give_other_orders(client), least=AT_ONCE, undone=True)

    def test_another_process_that_takes_the_place(self) -> None:
        def happens(world: World, client: Client) -> Heir | None:
            heir = self.coming(world, client)
            if heir is not None:
                heir.take_place()
            return heir

        self.interrupt(happens, least=AT_ONCE)

    def test_a_client_that_has_stayed_with_a_process_that_leaves_is_told_so(self) -> None:
        """Its orders are for the clients that are left there."""
        text = f"It is for the clients that are left here: process {PID} does not know of it.\n"
        with made(World) as world:
            orders = (
                f"add acl {world.acl} /new",
                "set weight b/s0 3",
                "shutdown sessions server b/s0",
                "drain pool b/s0",
            )
            clients = [Client(world, f"set severity-output number;{each}\n") for each in orders]
            refused, asking = (Client(world, f"{line}\n") for line in ("set weight b/none 3", "get weight b/s0"))
            Heir(world).take_place()
            for each in (*clients, refused, asking):
                self.assertTrue(each.run())
            for order, each in zip(orders, clients, strict=True):
                self.assertTrue(each.said.rstrip("\n").endswith(f"[4]: {text}".rstrip("\n")), (order, each.said))
            self.assertEqual((refused.said, asking.said), ("No such server.\n\n", "3 (initial 10)\n\n"))
            proxy = cast(Any, world.service.proxy)
            self.assertEqual(obey(proxy, "f", b"s=s0&b=b&action=maint", (), "somebody"), NOTHING)
            self.assertEqual(View(world.service).server().admin, READY)

    def test_another_process_that_is_about_to_take_the_place(self) -> None:
        self.interrupt(self.coming, before=True)

    def coming(self, world: World, client: Client) -> Heir | None:
        """A process that has the sockets; None: there can be none now."""
        return None if world.service.why_not_handed_over else Heir(world)

    def test_the_end_of_the_daemon(self) -> None:
        self.interrupt(lambda world, client: world.stop_process(), least=AT_ONCE)

    def test_orders_in_the_manhole_that_go_on_are_told_at_their_ends(self) -> None:
        """Each of several on a line, of which the second waits for the first."""
        with made(World) as world:
            lines = ("reload", f"add server b/new {world.server.target}", "add server b/new 127.0.0.1:1")
            with redirect_stdout(StringIO()) as output:
                namespace(world.service, "somebody")["run"]("; ".join(lines))
            self.assertEqual(output.getvalue(), LOGGED * 3)
            self.assertNotIn("Order", f"{world.announced}")
            world.end_reload()
            world.pass_time(1.0)
            begin = "Order at the manhole by somebody: "
            told = [text.removeprefix(begin) for _, text in world.announced if text.startswith(begin)]
            self.assertEqual(told, [*lines[:2], f"{lines[2]} (refused, when its client had left)"])


class AnswerTests(InteractionTestCase):
    """Answers that show something, all of them at once."""

    def list_all(self, happens: Happens, *, once: bool = True) -> None:
        """Has it happen `once`, or to each client."""
        wrong = []
        for at in (1, 2, 3, 4, 5, 7, 9, 12):
            with made(World) as world:
                cases = [each for some in world.cases().values() for each in some if each.holds is None]
                clients = [(each, world.client(each)) for each in cases]
                before = [self.rows(each, world.tell(each.line)) for each in cases]
                for _, client in clients:
                    for _ in range(at):
                        client.step()
                for _, client in clients[: 1 if once else None]:
                    happens(world, client)
                for _ in range(4 * MANY):
                    if not [client for _, client in clients if client.step()]:
                        break
                for (case, client), rows in zip(clients, before, strict=True):
                    what = f"{case.line}, after step {at}"
                    wrong += [f"{what}: {each}" for each in self.ended(world, client, case)]
                    shown = self.rows(case, client.said)
                    left = [each for each in rows if each in self.rows(case, world.tell(case.line))]
                    if once and (len(shown) != len({*shown}) or not {*left} <= {*shown}):
                        wrong.append(f"{what}: {shown} are shown, of {left}")
        self.assertEqual(wrong, [])

    def rows(self, case: Case, answer: str) -> list[str]:
        return re.findall(case.rows, answer, re.M) if case.rows else []

    def test_a_reload(self) -> None:
        self.list_all(lambda world, client: world.reload())

    def test_a_reload_that_goes_on_meanwhile(self) -> None:
        self.list_all(lambda world, client: world.begin_reload())

    def test_a_reload_with_another_file(self) -> None:
        self.list_all(lambda world, client: world.read_other_file())

    def test_another_client_deletes_a_server(self) -> None:
        self.list_all(lambda world, client: world.delete_server())

    def test_other_clients_orders(self) -> None:
        self.list_all(lambda world, client: world.give_other_orders(client))

    def test_clients_that_leave(self) -> None:
        self.list_all(lambda world, client: client.leave(), once=False)

    def test_clients_that_read_no_more(self) -> None:
        self.list_all(lambda world, client: client.wire.stall(), once=False)

    def test_clients_that_say_no_more(self) -> None:
        self.list_all(lambda world, client: client.end_sending(), once=False)

    def test_clients_whose_socket_a_reload_takes_out(self) -> None:
        self.list_all(lambda world, client: client.lose_its_line(), once=False)

    def test_what_a_reload_has_taken_out_is_not_found_any_more(self) -> None:
        """Whoever had asked for it before that asks again."""
        for kind, at in ((kind, at) for kind in ("acl", "map") for at in range(1, 12)):
            with made(World) as world:
                path = {"acl": world.acl, "map": world.map}[kind]
                client = Client(world, f"get {kind} {path} /3\n")
                for _ in range(at):
                    client.step()
                found = '="/3"' in client.said
                Path(path).write_text("/4 4\n")
                world.reload()
                self.assertTrue(client.run())
                self.assertEqual('="/3"' in client.said, found, (kind, at))
                self.assertTrue(found or "ask again" in client.said or "=no" in client.said, client.said)

    def test_who_follows_a_ring_that_a_reload_leaves_out_is_told(self) -> None:
        with made(World) as world:
            client = Client(world, "show events lines -w\n")
            client.run()
            self.assertFalse(client.gone)
            world.read_other_file()
            self.assertTrue(client.run())
            self.assertIn("A reload has left this ring out", client.said)
