"""Commands about lists of patterns: what they show, change and refuse.

All conditions see the whole of a change at once, and none keeps an old list.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.build.assembly import Assembly, Proxy
from reusedproxy.config.reader import Source, read_configuration
from reusedproxy.daemon.forgotten import changed_lists
from reusedproxy.net.poller import Poller
from reusedproxy.operators.runtime.commands import run
from reusedproxy.operators.runtime.proxy import ADMIN, OPERATOR, Context, Refusal
from reusedproxy.operators.runtime.words import commands_of
from reusedproxy.rules.lists import FEW
from reusedproxy.rules.pattern_files import PatternFile
from tests.clientfakes import World
from tests.integration.peers import temporary_directory
from tests.rulefakes import DEFAULTS


class ListsTestCase(SynchronousTestCase):
    """Through the whole assembly."""

    def setUp(self) -> None:
        self.directory = temporary_directory(self)
        self.path = str(self.directory / "l.acl")
        self.other = str(self.directory / "o.acl")
        self.write(self.path, ["/bad", "/worse"])
        self.write(self.other, [])

    def write(self, path: str, patterns: list[str]) -> None:
        with open(path, "w") as file:
            file.write("".join(f"{each}\n" for each in patterns))

    def configuration(self, lines: str) -> Any:
        text = (
            "global\n stats socket /a.sock level admin\n" + DEFAULTS + f"frontend fe\n bind :80\n{lines}\n"
            " default_backend be\nbackend be\n server s1 192.0.2.1:1\n"
        )
        return read_configuration([Source("t.cfg", text)], {})

    def assembly(self, configuration: Any, previous: Proxy | None = None) -> Assembly:
        poller = Poller(SimpleNamespace(removeReader=lambda reader: None))  # type: ignore[arg-type]
        self.addCleanup(poller.stop)
        return Assembly(
            configuration, Clock(), poller, Random(1), lambda level, text, section="": None, previous=previous
        )

    def begin(self, lines: str) -> None:
        self.proxy = self.assembly(self.configuration(lines)).build(bind=False)
        self.take(self.proxy)

    def take(self, proxy: Proxy) -> None:
        service: Any = SimpleNamespace(proxy=proxy)
        self.context = Context(service, ADMIN, 10.0)
        self.world = self.world_of(proxy)

    def world_of(self, proxy: Proxy) -> World:
        world = World(self, warm=1)
        frontend = proxy.frontends[0]
        frontend.set_guard()
        world.frontend.routing, world.frontend.lists = frontend.routing, frontend.lists
        world.frontend.set_guard()
        assert world.frontend.routing is not None
        for route in world.frontend.routing.routes.values():
            route.backend = world.backend
        return world

    def asked(self, path: str, world: World | None = None, more: str = "", method: str = "GET") -> bytes:
        client = (world or self.world).client()
        client.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\n{more}\r\n".encode())
        return client.take()[9:12]

    def steps(self, line: str) -> Iterator[str]:
        found = run(self.context, commands_of(line)[0])
        assert isinstance(found, Iterator)
        return found

    def says(self, line: str, level: int = ADMIN) -> str:
        self.context.level = level
        try:
            return "".join(run(self.context, commands_of(line)[0]))
        except Refusal as refusal:
            return str(refusal)

    def patterns(self, path: str = "", version: str = "") -> list[str]:
        shown = self.says(f"show acl {version} {path or self.path}").splitlines()
        return [line.split(" ", 1)[1] for line in shown]


OK = " http-request return status 204"


class RequestTests(ListsTestCase):
    def test_each_way_of_comparing_follows_the_list(self) -> None:
        """Short lists and long ones, that are compiled otherwise, and those that become one or the other."""
        for method in ("str", "beg", "end", "sub", "dir", "dom", "reg", "str -i", "beg -i"):
            for size in (0, 3, 2 * FEW):
                self.write(self.path, [f"/old{number}x" for number in range(size)])
                word = method.split()
                flags = f"{' '.join(word[1:])} -m {word[0]}"
                self.begin(f" http-request deny if {{ path {flags} -f {self.path} }}\n{OK}")
                self.assertEqual(self.asked("/new"), b"204", (method, size))
                self.assertEqual(self.says(f"add acl {self.path} /new"), "")
                self.assertEqual(self.asked("/new"), b"403", (method, size))
                for number in range(size):
                    self.assertEqual(self.asked(f"/old{number}x"), b"403", (method, size, number))
                self.says(f"prepare acl {self.path}")
                for number in range(FEW + 1):
                    self.says(f"add acl @1 {self.path} /many{number}x")
                self.assertEqual(self.says(f"commit acl @1 {self.path}"), "")
                self.assertEqual([self.asked(each) for each in ("/new", "/many7x")], [b"204", b"403"], (method, size))
                self.assertEqual(self.says(f"del acl {self.path} /many7x"), "")
                self.assertEqual([self.asked(each) for each in ("/many7x", "/many8x")], [b"204", b"403"])
                self.assertEqual(self.says(f"clear acl {self.path}"), "")
                self.assertEqual(self.asked("/many8x"), b"204", (method, size))

    def test_whatever_is_compared_follows_the_list(self) -> None:
        """Also what a request may say several times; by several files, or files and words."""
        samples = (
            *("req.hdr(k)", "hdr(k)", "req.fhdr(k)", "req.cook(k)", "cook(k)", "url_param(k)", "urlp(k)"),
            *("req.hdr(k),lower", "req.cook(k),lower", "urlp(k),lower", "query,field(2,=)"),
        )
        more = "K: {0}\r\nCookie: k={0}\r\n{0}: x\r\n"
        for sample in samples:
            for flags in ("", "-i", "-m beg", "-m sub -i", "-m reg", "-m len"):
                one, two, far = ("3", "5", "8") if "len" in flags else ("one", "two", "far")
                says = {"3": "abc", "5": "abcde", "8": "abcdefgh"}
                self.write(self.path, [one])
                self.begin(f" http-request deny if {{ {sample} {flags} -f {self.path} {far} }}\n{OK}")

                def answer(word: str) -> bytes:
                    text = says.get(word, word)  # noqa: B023 (it is called in this round)
                    return self.asked(f"/?k={text}", more=more.format(text))

                where = f"{sample} {flags}"
                self.assertEqual([answer(each) for each in (one, two, far)], [b"403", b"204", b"403"], where)
                self.says(f"add acl {self.path} {two}")
                self.assertEqual([answer(each) for each in (one, two, far)], [b"403", b"403", b"403"], where)
                self.says(f"del acl {self.path} {one}")
                self.assertEqual([answer(each) for each in (one, two, far)], [b"204", b"403", b"403"], where)
                self.says(f"prepare acl {self.path}")
                self.says(f"add acl @1 {self.path} {one}")
                self.says(f"commit acl @1 {self.path}")
                self.assertEqual([answer(each) for each in (one, two, far)], [b"403", b"204", b"403"], where)
                self.says(f"clear acl {self.path}")
                self.assertEqual([answer(each) for each in (one, two, far)], [b"204", b"204", b"403"], where)

    def test_addresses_and_lengths_follow_too(self) -> None:
        for sample, method, new in (("src", "ip", "192.0.2.0/24"), ("path", "len", "4"), ("path_len", "int", "1:9")):
            self.write(self.path, ["10.0.0.0/8" if method == "ip" else "77"])
            sample = "path,length" if method == "int" else sample
            self.begin(f" http-request deny if {{ {sample} -m {method} -f {self.path} }}\n{OK}")
            self.assertEqual(self.asked("/new"), b"204", method)
            self.assertEqual(self.says(f"add acl {self.path} {new}"), "")
            self.assertEqual(self.asked("/new"), b"403", method)

    def test_groups_guards_and_choices_of_backends_keep_no_old_list(self) -> None:
        rules = "".join(f" http-request deny if {{ path /no{number} }}\n" for number in range(10))
        self.begin(
            f"{rules} http-request deny if {{ path -f {self.path} }} {{ method GET }}\n"
            f" http-request deny unless !{{ path -f {self.path} }} or {{ path /x }}\n{rules}"
        )
        self.says(f"add acl {self.path} /new")
        self.assertEqual([self.asked(each) for each in ("/new", "/bad", "/no3")], [b"403"] * 3)
        self.says(f"del acl {self.path} /bad")
        self.assertNotEqual(self.asked("/bad"), b"403")

    def test_no_request_sees_a_part(self) -> None:
        """One that two conditions judge, by two methods, is judged by the old list or by the new one."""
        self.write(self.path, [f"/old{number}" for number in range(400)])
        self.begin(
            f" http-request return status 200 if {{ path -f {self.path} }} {{ path -m end -f {self.path} }}\n"
            f" http-request return status 202 if {{ path -f {self.path} }} or {{ path -m end -f {self.path} }}\n{OK}"
        )
        seen = [(self.asked("/old7"), self.asked("/new")) for _ in self.steps(f"add acl {self.path} /new")]
        self.assertGreater(len(seen), 3)
        self.assertEqual({*seen}, {(b"200", b"204")})
        self.assertEqual((self.asked("/old7"), self.asked("/new")), (b"200", b"200"))

    def test_changes_at_the_same_time_lose_nothing(self) -> None:
        """Of one list, and of two lists of one condition."""
        self.begin(f" http-request deny if {{ path -f {self.path} -f {self.other} }}\n{OK}")
        lines = [f"add acl {self.path} /a", f"add acl {self.other} /b", f"add acl {self.path} /c"]
        running = [self.steps(line) for line in lines]
        while running:
            running = [each for each in running if next(each, None) is not None]
        for path in ("/bad", "/worse", "/a", "/b", "/c"):
            self.assertEqual(self.asked(path), b"403", path)

    def test_a_change_that_another_overtakes_loses_nothing(self) -> None:
        for pause in range(1, 8):
            self.write(self.path, ["/bad"])
            self.begin(f" http-request deny if {{ path -f {self.path} -f {self.other} }}\n{OK}")
            slow = self.steps(f"add acl {self.path} /a")
            for _ in range(pause):
                next(slow, None)
            self.assertEqual(self.says(f"add acl {self.other} /b"), "")
            self.assertEqual("".join(slow), "")
            self.assertEqual([self.asked(each) for each in ("/bad", "/a", "/b")], [b"403"] * 3, pause)

    def test_what_is_compiled_meanwhile_is_of_the_new_list(self) -> None:
        """A condition of the same list, by another method, in a configuration that is being built."""
        patterns = [f"^/{number}$" for number in range(5)]
        whole = len([*PatternFile(patterns).prepare("reg", False, "f")])
        for pause in range(whole + 1):
            file = PatternFile(patterns)
            compiling, changing = file.prepare("reg", False, "f"), file.delete_text(b"^/0$", "f")
            both: list[Iterator[None]] = [compiling, changing]
            for _ in range(pause):
                next(compiling, None)
            while both:
                both = [each for each in both if next(each, self) is not self]
            is_one = file.tests["reg", False]
            self.assertEqual([is_one(b"/%d" % number) for number in range(5)], [False, *[True] * 4], pause)

    def test_one_whose_client_leaves_is_done_to_its_end(self) -> None:
        """In turns; until then nothing has changed."""
        self.begin(f" http-request deny if {{ path -f {self.path} }}\n{OK}")
        turns: list[Any] = []
        self.patch(self.context.proxy, "poller", SimpleNamespace(line_up=turns.append))
        steps = self.steps(f"add acl {self.path} /a")
        next(steps)
        steps.close()  # type: ignore[attr-defined]
        self.assertEqual((self.asked("/a"), self.patterns()), (b"204", ["/bad", "/worse"]))
        while turns:
            turns.pop().take_turn()
        self.assertEqual((self.asked("/a"), self.patterns()), (b"403", ["/bad", "/worse", "/a"]))
        self.assertEqual(self.says(f"add acl {self.path} /b"), "")
        self.assertEqual(self.asked("/b"), b"403")

    def test_what_is_built_meanwhile_has_the_change_and_the_next_ones(self) -> None:
        """Files of TLS are read again (`ssl-watch`): the lists are kept."""
        self.write(self.path, [f"^/old{number}$" for number in range(50)])
        configuration = self.configuration(f" http-request deny if {{ path -m reg -f {self.path} }}\n{OK}")
        self.proxy = self.assembly(configuration).build(bind=False)
        self.take(self.proxy)
        before = self.world
        for pause in range(12):
            changing = self.steps(f"add acl {self.path} ^/new{pause}$")
            building = self.assembly(configuration, self.proxy).building(bind=False)
            number = 0
            try:
                while True:
                    next(building)
                    number += 1
                    if number >= pause:
                        next(changing, None)
            except StopIteration as end:
                again = end.value
            self.assertEqual("".join(changing), "")
            self.take(again)
            self.assertEqual((self.asked(f"/new{pause}"), self.asked("/old7")), (b"403", b"403"), pause)
            self.assertEqual(self.asked(f"/new{pause}", before), b"403")

    def test_a_reload_reads_the_file(self) -> None:
        lines = f" http-request deny if {{ path -f {self.path} }}\n{OK}"
        self.begin(lines)
        self.says(f"add acl {self.path} /new")
        self.take(self.assembly(self.configuration(lines), self.proxy).build(bind=False))
        self.assertEqual((self.asked("/new"), self.asked("/bad")), (b"204", b"403"))

    def test_lists_whose_changes_a_reload_forgets_are_known(self) -> None:
        """Whatever the order was; not those that were asked for, or changed in a version that nobody has committed."""
        lines = f" http-request deny if {{ path -f {self.path} }}\n{OK}"
        for orders, changed in (
            (("show acl {0}", "get acl {0} /bad", "prepare acl {0}", "add acl @1 {0} /x", "del acl {0} /none"), False),
            (("add acl {0} /new",), True),
            (("del acl {0} /bad",), True),
            (("clear acl {0}",), True),
            (("prepare acl {0}", "commit acl @1 {0}"), True),
        ):
            self.begin(lines)
            for order in orders:
                self.says(order.format(self.path))
            again = self.assembly(self.configuration(lines), self.proxy).build(bind=False)
            self.assertEqual(changed_lists(self.proxy, again), [self.path] if changed else [], orders)
            self.assertEqual(changed_lists(self.proxy, self.proxy), [])

    def test_lists_that_rules_edit_are_the_same(self) -> None:
        self.begin(
            f" http-request add-acl({self.path}) %[path] if {{ path_beg /add }}\n"
            f" http-request deny if {{ path -f {self.path} }}\n{OK}"
        )
        self.assertEqual(self.says(f"add acl {self.path} /new"), "")
        self.asked("/add1")
        self.assertEqual(self.patterns(), ["/bad", "/worse", "/new", "/add1"])
        self.assertEqual((self.asked("/new"), self.asked("/add1")), (b"403", b"403"))
        self.assertEqual(self.says(f"del acl {self.path} /new"), "")
        self.assertEqual(self.says(f"del acl {self.path} /new"), "Key not found.")
        self.assertEqual(self.asked("/new"), b"204")
        self.says(f"clear acl {self.path}")
        self.assertEqual((self.patterns(), self.asked("/bad")), ([], b"204"))

    def test_one_of_equal_patterns_is_deleted_by_its_reference(self) -> None:
        """Two who ban one address have an entry each. By the text all go."""
        denied = f" http-request deny if {{ path -f {self.path} }}\n{OK}"
        for edited in ("", f" http-request del-acl({self.path}) %[path] if {{ path_beg /del }}\n"):
            for which in (0, 1):
                self.begin(edited + denied)
                for _ in range(2):
                    self.assertEqual(self.says(f"add acl {self.path} /two"), "")
                self.assertEqual(self.patterns(), ["/bad", "/worse", "/two", "/two"])
                references = [line.split()[0] for line in self.says(f"show acl {self.path}").splitlines()][2:]
                self.assertEqual(self.says(f"del acl {self.path} #{references[which]}"), "", edited)
                self.assertEqual(self.says(f"del acl {self.path} #{references[which]}"), "Key not found.", edited)
                self.assertEqual((self.patterns(), self.asked("/two")), (["/bad", "/worse", "/two"], b"403"), edited)
                self.says(f"add acl {self.path} /two")
                self.assertIn("entry_cnt=4\n", self.says("show acl"))
                self.assertEqual(self.says(f"del acl {self.path} #{references[1 - which]}"), "", edited)
                self.assertEqual((self.patterns(), self.asked("/two")), (["/bad", "/worse", "/two"], b"403"), edited)
                self.says(f"add acl {self.path} /two")
                self.assertEqual(self.says(f"del acl {self.path} /two"), "")
                self.assertEqual((self.patterns(), self.asked("/two")), (["/bad", "/worse"], b"204"), edited)

    def test_rules_add_no_equal_pattern_and_delete_all(self) -> None:
        self.begin(
            f" http-request add-acl({self.path}) %[path] if {{ path_beg /new }} {{ method PUT }}\n"
            f" http-request del-acl({self.path}) %[path] if {{ path_beg /new }} {{ method DELETE }}\n"
            f" http-request deny if {{ path -f {self.path} }}\n{OK}"
        )
        for _ in range(2):
            self.says(f"add acl {self.path} /new")
        self.asked("/new", method="PUT")
        self.assertEqual(self.patterns(), ["/bad", "/worse", "/new", "/new"])
        self.assertEqual((self.asked("/new", method="DELETE"), self.patterns()), (b"204", ["/bad", "/worse"]))

    def test_equal_patterns_of_a_version_are_kept(self) -> None:
        for edited in ("", f" http-request del-acl({self.path}) %[path] if {{ path_beg /del }}\n"):
            self.begin(f"{edited} http-request deny if {{ path -f {self.path} }}\n{OK}")
            self.says(f"prepare acl {self.path}")
            for text in ("/x", "/y", "/x", "/x"):
                self.says(f"add acl @1 {self.path} {text}")
            one, _, two, _ = [line.split()[0] for line in self.says(f"show acl @1 {self.path}").splitlines()]
            self.assertEqual(self.says(f"del acl {self.path} #{two}"), "")
            self.assertEqual(self.patterns(version="@1"), ["/x", "/y", "/x"])
            self.says(f"commit acl @1 {self.path}")
            self.assertEqual(self.says(f"del acl {self.path} #{two}"), "Key not found.")
            self.assertEqual(self.says(f"del acl {self.path} #{one}"), "")
            self.assertEqual((self.patterns(), self.asked("/x")), (["/y", "/x"], b"403"), edited)

    def test_what_no_condition_could_compare_with_is_refused_when_it_is_added(self) -> None:
        """What was added before can be committed; no retry empties the list."""
        for edited in ("", f" http-request del-acl({self.path}) %[path] if {{ path_beg /del }}\n"):
            self.write(self.path, ["192.0.2.1"])
            self.begin(f"{edited} http-request deny if {{ src -f {self.path} }}\n{OK}")
            self.says(f"prepare acl {self.path}")
            self.assertEqual(self.says(f"add acl @1 {self.path} 10.1.1.1"), "")
            said = "'notanip' is not a valid IPv4 or IPv6 address."
            self.assertEqual(self.says(f"add acl @1 {self.path} notanip"), said, edited)
            self.assertEqual(self.says(f"commit acl @1 {self.path}"), "", edited)
            self.assertEqual(self.says(f"commit acl @1 {self.path}"), "Version number out of range.", edited)
            self.assertEqual(self.patterns(), ["10.1.1.1"], edited)

    def test_a_commit_that_fails_changes_nothing(self) -> None:
        """A reload has brought a condition since that cannot compare with what was added before."""
        self.write(self.path, ["1"])
        self.begin(f" http-request deny if {{ path -f {self.path} }}\n{OK}")
        self.says(f"prepare acl {self.path}")
        self.says(f"add acl @1 {self.path} word")
        for _ in self.proxy.patterns[self.path].prepare("int", False, "f"):
            pass
        for _ in range(2):
            self.assertIn("word", self.says(f"commit acl @1 {self.path}"))
            self.assertEqual((self.patterns(), self.patterns(version="@1")), (["1"], ["word"]))

    def test_conditions_that_are_no_more_are_not_compiled(self) -> None:
        self.begin(f" http-request deny if {{ path -f {self.path} }}\n{OK}")
        file = self.proxy.patterns[self.path]
        del self.proxy, self.context, self.world
        self.doCleanups()
        gc.collect()
        self.assertIsInstance(file, PatternFile)
        self.assertEqual(len(file.held), 0)


class CommandTests(ListsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.begin(
            f" http-request deny if {{ path_beg -f {self.path} }} || {{ path -i -f {self.path} }}\n"
            f" http-request deny if {{ src -f {self.other} }}\n{OK}"
        )

    def test_lists_are_shown(self) -> None:
        self.assertEqual(
            self.says("show acl"),
            "# id (file) description\n"
            f"0 ({self.path}) pattern loaded from file '{self.path}' used by acl at file 't.cfg' line 10."
            " curr_ver=0 next_ver=0 entry_cnt=2\n"
            f"1 ({self.other}) pattern loaded from file '{self.other}' used by acl at file 't.cfg' line 11."
            " curr_ver=0 next_ver=0 entry_cnt=0\n",
        )
        self.assertEqual(self.says("show acl #0"), self.says(f"show acl {self.path}"))
        self.assertEqual(self.says("show acl #2"), "Unknown ACL identifier. Please use #<id> or <file>.")

    def test_get_acl_tells_which_pattern_it_is(self) -> None:
        self.assertEqual(
            self.says(f"get acl {self.path} /BAD"),
            'type=beg, case=sensitive, match=no\ntype=str, case=insensitive, match=yes, idx=list, pattern="/bad"\n',
        )
        self.says(f"add acl {self.other} 192.0.2.0/24")
        shown = 'type=ip, case=sensitive, match=yes, idx=tree, pattern="192.0.2.0/24"\n'
        self.assertEqual(self.says(f"get acl {self.other} 192.0.2.7"), shown)

    def test_what_is_refused(self) -> None:
        for line, said in (
            ("get acl x", "Missing ACL identifier and/or key."),
            ("add acl x", "'add acl' expects two parameters: ACL identifier and pattern."),
            ("del acl x", "This command expects two parameters: ACL identifier and key."),
            ("clear acl", "Missing ACL identifier."),
            ("commit acl", "Missing version number."),
            ("commit acl @1", "Missing ACL identifier."),
            (f"commit acl @1 {self.path}", "Version number out of range."),
            (f"add acl @1 {self.path} a", "Version number in the future, please use 'prepare acl' before."),
            (f"add acl {self.other} nonsense", "'nonsense' is not a valid IPv4 or IPv6 address."),
        ):
            self.assertEqual(self.says(line), said, line)
            self.assertEqual(self.says(line, level=OPERATOR), "Permission denied")
        self.assertEqual(self.patterns(self.other), [])
