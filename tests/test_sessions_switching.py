"""`use_backend` lines that are looked up together lead where they lead one by one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.rules import UseBackend
from reusedproxy.config.model.values import Place
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.config.rules.samples import CLIENT_BYTES, REQUEST
from reusedproxy.rules.matching import condition
from reusedproxy.sessions import switching as module
from reusedproxy.sessions.switching import Switching, SwitchingRules, backend_to_use, switching
from tests.rulefakes import Seen, sections

PATHS = ("/", "/a", "/ab", "/abc", "/b/a.css", "/A/b", "/c.js")
VALUES = ("a", "A", "b.a", "c", "a:80", "B.A, c", "", "x\r\nX-H: b.a", "www.b.a.c")
CRITERIA = (
    "hdr(x-h) -i a", "hdr(x-h) a c", "hdr(x-h) -i b.a", "hdr(x-h) -i x", "hdr(x-h) -i a:80", "hdr(x-h) A",
    "hdr_beg(x-h) -i www.", "hdr_beg(x-h) b x", "hdr_end(x-h) -i .A c", "hdr_dom(x-h) a",
    "hdr_dom(x-h) -i b.a .c.", "hdr_dir(x-h) a", "hdr_sub(x-h) b", "hdr(x-h),lower b.a", "hdr(x-h,1) c",
    "path /ab", "path_beg /a", "path_beg -i /A", "path_end .css .js", "path_dir a", "path_dir b",
    "src 127.0.0.1", "src 10.0.0.0/8", "method GET", "path_reg ^/a",
    "hdr(x-none) -m found", "path -m str -i /AB /C.js",
)  # fmt: skip
CONDITIONS = (
    *(f"if {{ {each} }}" for each in CRITERIA),
    *(f"if {{ {each} }} !{{ path_end b }}" for each in CRITERIA[:9]),
    *(f"if {{ {each} }} || {{ hdr(x-h) -i b.a }}" for each in CRITERIA[:9]),
    "unless { path_beg /a }", "if !{ path_beg /a }", "",
)  # fmt: skip


def read(conditions: Iterable[str], names: Iterable[str] = ()) -> list[UseBackend]:
    """Reads lines that lead to backends of these names, b0, b1 and so on where none are given."""
    named = list(names)
    lines = [f" use_backend {named[at] if named else f'b{at}'} {each}" for at, each in enumerate(conditions)]
    backends = [f"backend b{at}\n server s 192.0.2.1:1" for at in range(len(lines))]
    return [*sections("\n".join([*lines, *backends])).frontends["fe"].use_backends]


def read_tcp(conditions: Iterable[str]) -> list[UseBackend]:
    """Reads lines of a frontend in mode tcp."""
    lines = [f" use_backend be {each}" for each in conditions]
    text = "\n".join(["frontend fe\n bind :80", *lines, "backend be\n server s 192.0.2.1:1", ""])
    source = Source("t.cfg", f"defaults\n timeout client 1s\n timeout server 1s\n timeout connect 1s\n{text}")
    return [*read_configuration([source], {}).frontends["fe"].use_backends]


def made(lines: Sequence[UseBackend], where: str = REQUEST) -> Switching:
    steps = switching(lines, where, lambda said: None if said is None else condition(said, where))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return list(end.value)


def one_by_one(lines: Sequence[UseBackend], where: str = REQUEST) -> Switching:
    with patch.object(module, "groups", return_value=()):
        return made(lines, where)


ALL = read(CONDITIONS)
NAMES = {f"b{number}": f"b{number}" for number in range(len(ALL))}
#: Those that ask for the host, so that any of them can be together.
ALIKE = [each for each in ALL if each.condition is not None and "x-h" in str(each.condition)]


def lines_of(some: list[UseBackend]) -> st.SearchStrategy[list[UseBackend]]:
    line = st.builds(
        lambda number, named, asking: UseBackend(Place("t.cfg", number), named.name, asking.condition),
        st.integers(1, 99),
        st.sampled_from(ALL),
        st.sampled_from(some),
    )
    return st.lists(line, min_size=1, max_size=40)


def led(rules: Switching, path: str, value: str) -> str | None:
    facts = Seen(f"GET {path} HTTP/1.1\r\nHost: a\r\nX-H: {value}\r\n\r\n".encode())
    return backend_to_use(rules, facts, NAMES, (), "default")


class SwitchingTests(SynchronousTestCase):
    @given(lines=st.one_of(lines_of(ALL), lines_of(ALIKE)))
    @settings(max_examples=200, deadline=None)
    def test_they_lead_where_they_lead_one_by_one(self, lines: list[UseBackend]) -> None:
        together, apart = made(lines), one_by_one(lines)
        for path in PATHS:
            for value in VALUES:
                self.assertEqual(led(together, path, value), led(apart, path, value), (path, value))

    def test_two_hundred_hosts_are_one_look_up(self) -> None:
        """Whatever the number of lines, no condition is tested."""
        rules = made(read(f"if {{ hdr(x-h) -i h{number}.example }}" for number in range(200)))
        (rule,) = rules
        assert isinstance(rule, SwitchingRules)
        self.assertEqual({each.test for each in rule.rules}, {None})
        names = {f"b{number}": f"b{number}" for number in range(200)}
        facts = Seen(b"GET / HTTP/1.1\r\nHost: a\r\nX-H: H150.example\r\n\r\n")
        self.assertEqual(backend_to_use(rules, facts, names, (), None), "b150")
        self.assertEqual([*rule.find(facts)], [150])

    def test_what_stands_between_them_keeps_its_turn(self) -> None:
        hosts = [f"if {{ hdr(x-h) -i h{number} }}" for number in range(12)]
        rules = made(read([*hosts[:6], "if { path_reg ^/x }", *hosts[6:]]))
        self.assertEqual([isinstance(each, SwitchingRules) for each in rules], [True, False, True])
        self.assertEqual(led(rules, "/x", "h7"), "b6")
        self.assertEqual(led(rules, "/x", "h3"), "b3")
        self.assertEqual(led(rules, "/", "h7"), "b8")
        self.assertEqual(led(rules, "/", "none"), "default")

    def test_what_else_a_line_asks_is_tested_when_it_is_found(self) -> None:
        conditions = [f"if {{ hdr(x-h) -i a }} {{ path_beg /{number} }}" for number in range(20)]
        rules = made(read(conditions))
        self.assertEqual(len(rules), 1)
        self.assertEqual(led(rules, "/7/x", "a"), "b7")
        self.assertEqual(led(rules, "/7/x", "b"), "default")

    def test_a_few_lines_are_asked_one_by_one(self) -> None:
        self.assertEqual(len(made(read(["if { hdr(x-h) a }", "if { hdr(x-h) b }"]))), 2)

    def test_names_in_tls_are_looked_up_too(self) -> None:
        conditions = [f"if {{ req.ssl_sni -i h{number} }}" for number in range(9)]
        self.assertEqual(len(made(read_tcp(conditions), CLIENT_BYTES)), 1)

    def test_a_stream_is_asked_nothing_before_its_turn(self) -> None:
        """Its bytes may be no request, which is an error where a rule asks for its host."""
        mixed = ["if { src 10.0.0.1 }", "if { hdr(x-h) a }"] * 6
        self.assertEqual(len(made(read_tcp(mixed), CLIENT_BYTES)), 12)
        self.assertEqual(len(made(read(mixed), REQUEST)), 1)
