"""Patterns that rules add and delete are compared as those of a file that has them."""

from __future__ import annotations

from ipaddress import ip_address
from random import Random
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.assembly import Assembly, Proxy
from reusedproxy.config.language.report import Wrong
from reusedproxy.config.model.rules import Criterion
from reusedproxy.config.model.values import Call, Expression, Place
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.net.poller import Poller
from reusedproxy.rules.edited_lists import EditedFile
from reusedproxy.rules.facts import Sample
from reusedproxy.rules.lists import finished
from reusedproxy.rules.maps import MOST_ADDED
from reusedproxy.rules.matching import criterion
from tests.clientfakes import World
from tests.rulefakes import DEFAULTS, Seen

PLACE = Place("t.cfg", 1)
TEXTS = ("a", "A", "ab", "b.a", "a/b", "x.b.A", "c")
METHODS: dict[str, tuple[tuple[str, ...], tuple[Sample, ...]]] = {
    **{
        method: (TEXTS, tuple(each.encode() for each in TEXTS)) for method in ("str", "beg", "end", "sub", "dir", "dom")
    },
    "reg": (("^a", "B$", "[a-b]+c", "x\\."), tuple(each.encode() for each in (*TEXTS, "abc"))),
    "int": (("1", "5:9", "12"), (0, 1, 7, 9, 12, b"5")),
    "len": (("1", "3:4"), (b"a", b"abc", b"abcd", b"abcde")),
    "ip": (
        ("192.0.2.1", "10.0.0.0/8", "2001:db8::/32"),
        tuple(ip_address(each) for each in ("192.0.2.1", "10.1.2.3", "2001:db8::5", "192.0.2.2")),
    ),
}


def said(method: str, patterns: tuple[str, ...], ignore_case: bool, files: tuple[str, ...] = ()) -> Criterion:
    return Criterion(PLACE, Expression(Call("var", ("txn.a",))), method, patterns, files, ignore_case)


def matches(test: Any, sample: Sample) -> bool:
    facts = Seen(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    facts.set_variable("txn.a", sample)
    return bool(test(facts))


class EditedFileTests(SynchronousTestCase):
    @given(
        method=st.sampled_from(sorted(METHODS)),
        ignore_case=st.booleans(),
        at_first=st.sets(st.integers(0, 6)),
        edits=st.lists(st.tuples(st.booleans(), st.integers(0, 6)), max_size=8),
    )
    @settings(max_examples=200, deadline=None)
    def test_they_are_compared_as_a_file_with_them_is(
        self, method: str, ignore_case: bool, at_first: set[int], edits: list[tuple[bool, int]]
    ) -> None:
        patterns, samples = METHODS[method]
        known = {patterns[number % len(patterns)] for number in at_first}
        file = EditedFile(sorted(known))
        finished(file.prepare(method, ignore_case, "f"))
        test = criterion(said(method, (), ignore_case, ("f",)), read=lambda criterion, path: file)
        for adds, number in edits:
            pattern = patterns[number % len(patterns)]
            if adds:
                self.assertEqual(file.add(pattern.encode()), "")
                known.add(pattern)
            else:
                file.delete(pattern.encode())
                known.discard(pattern)
        fresh = criterion(said(method, tuple(sorted(known)), ignore_case))
        for sample in samples:
            self.assertEqual(matches(test, sample), bool(known) and matches(fresh, sample), (sample, known))

    def test_what_no_condition_could_read_is_left_out(self) -> None:
        file = EditedFile(["192.0.2.1"])
        finished(file.prepare("ip", False, "f"))
        self.assertEqual(file.add(b"no address"), "a key that '-m ip' cannot read was left out")
        self.assertEqual(file.add(b"192.0.2.2"), "")

    def test_there_are_no_more_than_may_be(self) -> None:
        file = EditedFile()
        finished(file.prepare("str", True, "f"))
        for number in range(MOST_ADDED):
            file.add(b"%d" % number)
        self.assertIn(str(MOST_ADDED), file.add(b"one more"))
        file.delete(b"7")
        self.assertEqual(file.add(b"one more"), "")

    def test_bytes_are_not_compared_with_what_rules_change(self) -> None:
        with self.assertRaisesRegex(Wrong, "rules change them, so they cannot be compared by '-m bin'"):
            finished(EditedFile().prepare("bin", False, "f"))


class RuleTests(SynchronousTestCase):
    """Through the whole assembly."""

    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = f"{directory.name}/blocked"
        with open(self.path, "w") as file:
            file.write("# none so far\n")

    def assembled(self, lines: str) -> Proxy:
        poller = Poller(SimpleNamespace(removeReader=lambda reader: None))  # type: ignore[arg-type]
        self.addCleanup(poller.stop)
        text = f"frontend fe\n bind :80\n{lines}\n default_backend be\nbackend be\n server s1 192.0.2.1:1\n"
        configuration = read_configuration([Source("t.cfg", DEFAULTS + text)], {})
        assembly = Assembly(configuration, Clock(), poller, Random(1), lambda level, text, section="": None)
        return assembly.build(bind=False)

    def world(self, lines: str) -> World:
        world = World(self, warm=1)
        frontend = self.assembled(lines).frontends[0]
        world.frontend.routing, world.frontend.lists = frontend.routing, frontend.lists
        assert world.frontend.routing is not None
        for route in world.frontend.routing.routes.values():
            route.backend = world.backend
        return world

    def asked(self, world: World, path: str, value: str = "") -> bytes:
        client = world.client()
        client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nX: {value}\r\n\r\n".encode())
        return client.take()[9:12]

    def test_a_request_is_judged_by_what_others_have_added(self) -> None:
        world = self.world(
            f" http-request add-acl({self.path}) %[req.hdr(x)] if {{ path /add }}\n"
            f" http-request del-acl({self.path}) %[req.hdr(x)] if {{ path /del }}\n"
            f" http-request return status 200 if {{ path /add /del }}\n"
            f" http-request deny if {{ req.hdr(x) -i -f {self.path} }}\n"
            " http-request return status 204"
        )
        self.assertEqual(self.asked(world, "/", "bad"), b"204")
        self.assertEqual(self.asked(world, "/add", "Bad"), b"200")
        self.assertEqual(self.asked(world, "/", "bad"), b"403")
        self.assertEqual(self.asked(world, "/", "good"), b"204")
        self.asked(world, "/del", "bad")  # another pattern than "Bad", as in HAProxy
        self.assertEqual(self.asked(world, "/", "bad"), b"403")
        self.asked(world, "/del", "Bad")
        self.assertEqual(self.asked(world, "/", "bad"), b"204")

    def test_patterns_that_nothing_compares_with_are_warned_of(self) -> None:
        notices = self.assembled(f" http-request add-acl({self.path}) %[src]").notices
        self.assertIn("with which no condition compares", "".join(each.text for each in notices))
