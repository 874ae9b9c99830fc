"""Files of patterns are read and compiled in steps, and once."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from unittest import mock

import re2
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.maps import Maps
from reusedproxy.build.patterns import Patterns
from reusedproxy.config.language.regular import read_regular
from reusedproxy.config.language.report import Wrong
from reusedproxy.config.model.rules import Criterion
from reusedproxy.config.model.users import UserList
from reusedproxy.config.model.values import Call, Expression, Place
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.config.rules.patterns import GROUP
from reusedproxy.net.slices import run_through
from reusedproxy.rules.facts import Sample
from reusedproxy.rules.lists import FEW, STEP, finished
from reusedproxy.rules.matching import criterion
from reusedproxy.rules.pattern_files import PatternFile
from reusedproxy.rules.regular import LARGEST_UNBOUNDED, joined
from tests.rulefakes import DEFAULTS, Seen

WORDS = tuple(f"{first}{second}" for first in ("a", "B", "/b", "c.d") for second in ("", "1", "/x", ".Y", "zz", "é"))


def asking(method: str, *files: str, ignore_case: bool = False, patterns: tuple[str, ...] = ()) -> Criterion:
    return Criterion(Place("t.cfg", 3), Expression(Call("var", ("txn.a",))), method, patterns, files, ignore_case)


def matches(said: Criterion, patterns: Patterns | None, sample: Sample) -> bool:
    facts = Seen(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    facts.set_variable("txn.a", sample)
    return bool(criterion(said)(facts) if patterns is None else criterion(said, read=patterns)(facts))


class PatternsTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = f"{directory.name}/patterns"

    def write(self, lines: list[str]) -> None:
        with open(self.path, "w") as file:
            file.write("".join(f"{line}\n" for line in lines))

    def test_groups_of_a_file_must_exist(self) -> None:
        """A group that nobody can be in may be one that was to be kept out."""
        self.write(["admins", "admin"])
        place = Place("t.cfg", 3)
        said = Criterion(place, Expression(Call("http_auth_group", ("L",))), GROUP, (), (self.path,))
        patterns = Patterns({}, {"L": UserList("L", place, {}, frozenset(("admins",)))})
        finished(patterns.load([said]))
        text = f"the patterns in {self.path}: userlist 'L' has no group 'admin': did you mean 'admins'?"
        self.assertEqual([each.text for each in patterns.faults], [text])
        patterns = Patterns({}, {"L": UserList("L", place, {}, frozenset(("admins", "admin")))})
        finished(patterns.load([said]))
        self.assertEqual(patterns.faults, [])

    def test_an_address_with_an_interface_is_no_pattern(self) -> None:
        """It would match the address on any interface."""
        self.write(["fe80::1", "fe80::2%eth0"])
        patterns = Patterns()
        finished(patterns.load([said := asking("ip", self.path)]))
        (fault,) = patterns.faults
        self.assertIn("'fe80::2%eth0' names an interface", fault.text)
        self.assertEqual(fault.place, said.place)

    def test_each_expression_is_compiled_once_and_all_of_them_in_few_that_are_small(self) -> None:
        self.write([f"^/area{number}/[a-z]+\\.(php|asp)$" for number in range(600)])
        patterns, said = Patterns(), asking("reg", self.path)
        with mock.patch("re2.compile", side_effect=re2.compile) as compiled:
            steps = sum(1 for _ in patterns.load([(said, said)]))
        self.assertLess(compiled.call_count, 600 + 20)
        self.assertGreater(steps, 600)
        with mock.patch("re2.compile", side_effect=re2.compile) as compiled:
            self.assertTrue(matches(said, patterns, b"/area599/x.php"))
            self.assertFalse(matches(said, patterns, b"/area600/x.php"))
        self.assertEqual(compiled.call_count, 0)

    def test_joined_expressions_look_at_texts_of_any_length(self) -> None:
        read = [read_regular(f"x{number}[a-z]{{20}}y", "") for number in range(400)]
        with mock.patch("re2.compile", side_effect=re2.compile) as compiled:
            is_one = finished(joined(read, False))
        for call in compiled.mock_calls:
            self.assertLess(re2.compile(*call.args).programsize, LARGEST_UNBOUNDED)
        self.assertTrue(is_one(b"." * 100_000 + b"x399" + b"a" * 20 + b"y"))

    def test_long_lists_take_many_steps(self) -> None:
        for method, line in (("ip", "10.{}.{}.0/24"), ("str", "{}.{}"), ("beg", "{}/{}"), ("end", "{}/{}")):
            self.write([line.format(number // 256, number % 256) for number in range(20 * STEP)])
            self.assertGreater(sum(1 for _ in Patterns().load([asking(method, self.path)])), 20, method)

    @given(
        method=st.sampled_from(("str", "beg", "end", "sub")),
        ignore_case=st.booleans(),
        lines=st.lists(st.sampled_from(WORDS), min_size=FEW + 1, max_size=40),
        text=st.sampled_from((*WORDS, "xa1", "A", "b", "a1\0b", "no", "")),
    )
    @settings(max_examples=300, deadline=None)
    def test_what_is_ready_matches_as_patterns_of_a_line_do(
        self, method: str, ignore_case: bool, lines: list[str], text: str
    ) -> None:
        file = PatternFile(lines)
        finished(file.prepare(method, ignore_case, "f"))
        self.assertIn((method, ignore_case), file.tests)
        ready = criterion(asking(method, "f", ignore_case=ignore_case), read=lambda said, path: file)
        facts = Seen(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        facts.set_variable("txn.a", text.encode())
        of_line = asking(method, ignore_case=ignore_case, patterns=tuple(lines))
        self.assertEqual(ready(facts), matches(of_line, None, text.encode()))

    def test_an_operator_is_no_pattern_of_a_file(self) -> None:
        """It would be one of the next line, whatever that is, and an operator might add one alone."""
        for method in ("int", "len"):
            self.write(["5", "gt", "7:9"])
            patterns = Patterns()
            run_through(patterns.load([asking(method, self.path)]))
            (fault,) = patterns.faults
            self.assertTrue(str(fault).endswith("'gt' is no number, nor a range such as 1024:65535"), str(fault))
            file = PatternFile(["5", "7:9"])
            finished(file.prepare(method, False, "f"))
            self.assertRaises(Wrong, finished, file.add_text(b"gt", "f"))
            self.assertEqual(file, ["5", "7:9"])

    def test_a_fault_stands_at_each_line_that_names_the_file(self) -> None:
        self.write(["192.0.2.1", "nonsense"])
        patterns = Patterns()
        run_through(patterns.load([(asking("ip", self.path), asking("str", self.path))]))
        (fault,) = patterns.faults
        self.assertIn(f"the patterns in {self.path}: 'nonsense' is no address", str(fault))
        self.assertFalse(matches(asking("ip", self.path), patterns, b"192.0.2.1"))
        self.assertTrue(matches(asking("str", self.path), patterns, b"nonsense"))

    def test_a_list_may_have_no_file(self) -> None:
        """As in HAProxy 3: `virt@` names none, that of `opt@` may be missing, and a prefix makes no other list."""
        patterns = Patterns()
        run_through(patterns.load([asking("str", "virt@v", f"opt@{self.path}"), asking("beg", "virt@v")]))
        self.assertEqual((patterns.faults, patterns.files), ([], {"virt@v": [], self.path: []}))
        self.write(["a"])
        patterns = Patterns()
        for prefix in ("opt@", "file@", ""):
            self.assertTrue(matches(asking("str", prefix + self.path), patterns, b"a"))
        self.assertEqual([*patterns.files], [self.path])

    def test_rules_edit_what_has_no_file(self) -> None:
        text = (
            "frontend f\n bind :80\n http-request add-acl(virt@v) %[src]\n http-request set-map(virt@m) a b\n"
            " http-request deny if { src -f virt@v }\n http-request set-header X %[str(a),map(virt@m,none)]\n"
        )
        frontend = read_configuration([Source("t.cfg", DEFAULTS + text)], {}).frontends["f"]
        patterns, maps = Patterns(), Maps()
        run_through(patterns.load([frontend]))
        run_through(maps.load([frontend]))
        self.assertEqual(
            (patterns.faults, maps.faults, [*patterns.edited], [*maps.found]), ([], [], ["virt@v"], ["virt@m"])
        )

    def test_what_is_kept_is_not_compiled_again(self) -> None:
        """Where only files of TLS are read anew (`ssl-watch`)."""
        self.write(["^/a", "^/b"])
        first, said = Patterns(), asking("reg", self.path)
        run_through(first.load([said]))
        self.write(["^/c"])
        with mock.patch("re2.compile", side_effect=re2.compile) as compiled:
            again = Patterns({**first.files})
            run_through(again.load([said]))
        self.assertEqual(compiled.call_count, 0)
        self.assertTrue(matches(said, again, b"/b"))
