"""Commands about maps: what they show, change and refuse, and that no look-up sees a part of a change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.daemon.service import ProxyService
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.operators.runtime import maps as commands
from reusedproxy.operators.runtime import session as sessions
from reusedproxy.operators.runtime.commands import run
from reusedproxy.operators.runtime.proxy import ADMIN, OPERATOR, Context, Refusal
from reusedproxy.operators.runtime.session import Session
from reusedproxy.operators.runtime.words import commands_of
from reusedproxy.operators.shell.commands import NO_WAIT, namespace
from reusedproxy.rules.map_methods import MOST_TRIED
from reusedproxy.rules.maps import Map
from tests.clientfakes import Wire
from tests.integration.peers import LOOPBACK, temporary_directory
from tests.test_operators_runtime import Owner

TEXT = """\
defaults
 mode http
 timeout connect 1s
 timeout client 1s
 timeout server 1s
frontend fe
 bind {host}:0
 http-request set-header A %[path,map({d}/m.map,none)]
 http-request set-header B %[path,map_beg({d}/m.map,none)]
 http-request set-header C %[src,map_ip_int({d}/ip.map,0)]
 http-request set-header D %[path,map_reg(virt@reg,none)]
"""


class MapsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = temporary_directory(self)
        (self.directory / "m.map").write_text("/a 1\n/b two words\n")
        (self.directory / "ip.map").write_text("10.0.0.0/8 8\n127.0.0.1 1\n")
        self.clock = Clock()
        self.read_files()

    def read_files(self) -> None:
        file = self.directory / "proxy.cfg"
        file.write_text(TEXT.format(host=LOOPBACK, d=self.directory))
        self.service = ProxyService(self.clock, [str(file)])
        self.service.assemble(bind=False)
        self.context = Context(self.service, ADMIN, 10.0)
        self.name = f"{self.directory}/m.map"

    def says(self, line: str, payload: str | None = None, level: int = ADMIN) -> str:
        self.context.level, self.context.payload = level, payload
        try:
            return "".join(run(self.context, commands_of(line)[0]))
        except Refusal as refusal:
            return str(refusal)

    def entries(self, name: str = "", version: str = "") -> list[str]:
        """Entries of a map as `show map` has them, without their references."""
        shown = self.says(f"show map {version} {name or self.name}")
        return [line.split(" ", 1)[1] for line in shown.splitlines()]

    def map(self) -> Map:
        return self.context.proxy.maps[self.name]


class MapTests(MapsTestCase):
    def test_maps_are_listed_with_their_places(self) -> None:
        lines = self.says("show map").splitlines()
        file, name = self.directory / "proxy.cfg", self.name
        self.assertEqual(
            lines[:2],
            [
                "# id (file) description",
                f"0 ({name}) pattern loaded from file '{name}' used by map at file '{file}' line 8,"
                f" by map at file '{file}' line 9. curr_ver=0 next_ver=0 entry_cnt=2",
            ],
        )
        self.assertEqual(len(lines), 4)

    def test_a_map_is_named_by_its_number_or_its_file(self) -> None:
        self.assertEqual(self.says("show map #0"), self.says(f"show map {self.name}"))
        for name in ("#9", "#", "#x", "no", ""):
            for line in (f"show map @0 {name}", f"prepare map {name}"):
                self.assertEqual(self.says(line), commands.UNKNOWN_MAP, line)

    def test_entries_are_added_changed_and_deleted(self) -> None:
        self.assertEqual(self.entries(), ["/a 1", "/b two words"])
        self.assertEqual(self.says(f"add map {self.name} /c 5"), "")
        self.assertEqual(self.says(f"set map {self.name} /b 7"), "")
        self.assertEqual(self.entries(), ["/a 1", "/b 7", "/c 5"])
        self.assertEqual(self.map().find("beg", b"/cd"), b"5")
        self.assertEqual(self.says(f"del map {self.name} /a"), "")
        self.assertEqual(self.says(f"del map {self.name} /a"), "Key not found.")
        self.assertEqual(self.says(f"set map {self.name} /a 1"), "entry not found.")
        self.assertEqual((self.map().find("str", b"/a"), self.map().find("beg", b"/ab")), (None, None))
        self.assertEqual(self.says(f"clear map {self.name}"), "")
        self.assertEqual((self.entries(), self.map().find("str", b"/b")), ([], None))

    def test_an_entry_is_referred_to(self) -> None:
        reference = self.says(f"show map {self.name}").split()[0]
        self.assertEqual(self.says(f"set map {self.name} #{reference} x"), "")
        self.assertEqual(self.entries()[0], "/a x")
        self.assertEqual(self.says(f"del map {self.name} #{reference}"), "")
        self.assertEqual(self.entries(), ["/b two words"])
        self.assertEqual(self.says(f"del map {self.name} #{reference}"), "Key not found.")
        self.assertEqual(self.says(f"set map {self.name} #0x1 y"), "key or pattern not found.")
        self.assertEqual(self.says(f"set map {self.name} #0xyz y"), "Malformed identifier. Please use #<id> or <file>.")

    def test_equal_keys_are_entries_of_their_own(self) -> None:
        """The first counts, and each has a reference until it is deleted."""
        self.assertEqual(self.says(f"add map {self.name} /a 2"), "")
        self.assertEqual(self.says(f"add map {self.name} /a 3"), "")
        self.assertEqual(self.entries(), ["/a 1", "/b two words", "/a 2", "/a 3"])
        self.assertIn("entry_cnt=4\n", self.says("show map"))
        one, _, two, three = [line.split()[0] for line in self.says(f"show map {self.name}").splitlines()]
        self.assertEqual(self.map().find("str", b"/a"), b"1")
        self.assertEqual(self.says(f"del map {self.name} #{one}"), "")
        self.assertEqual(self.says(f"del map {self.name} #{one}"), "Key not found.")
        self.assertEqual(self.says(f"set map {self.name} #{one} x"), "key or pattern not found.")
        self.assertEqual(self.map().find("str", b"/a"), b"2")
        self.assertEqual(self.says(f"set map {self.name} #{three} THREE"), "")
        self.assertEqual(self.entries(), ["/b two words", "/a 2", "/a THREE"])
        self.assertEqual(self.says(f"set map {self.name} /a all"), "")
        self.assertEqual(self.entries(), ["/b two words", "/a all", "/a all"])
        self.assertEqual(self.says(f"del map {self.name} #{two}"), "")
        self.says(f"add map {self.name} /a again")
        self.assertEqual(self.says(f"del map {self.name} #{two}"), "Key not found.")
        self.assertEqual(self.says(f"del map {self.name} /a"), "")
        self.assertEqual((self.entries(), self.map().find("beg", b"/ab")), (["/b two words"], None))
        self.says(f"add map {self.name} /a anew")
        self.assertEqual(self.says(f"del map {self.name} #{three}"), "Key not found.")

    def test_equal_keys_of_a_file_are_kept(self) -> None:
        (self.directory / "m.map").write_text("/a 1\n/b 2\n/a 3\n/c 4\n/a 5\n")
        self.read_files()
        self.assertEqual(self.entries(), ["/a 1", "/b 2", "/a 3", "/c 4", "/a 5"])
        reference = self.says(f"show map {self.name}").split()[0]
        self.says(f"del map {self.name} #{reference}")
        self.assertEqual(self.entries(), ["/b 2", "/a 3", "/c 4", "/a 5"])
        self.read_files()
        self.assertEqual(self.says(f"del map {self.name} #{reference}"), "Key not found.", "it has been read again")

    def test_only_blanks_part_key_and_value_in_a_payload(self) -> None:
        """And those behind a value are its own, as in HAProxy; other spaces are characters like any."""
        self.assertEqual(self.says(f"add map {self.name}", " k\u00a0x \t one two \t\ny \n"), "")
        self.assertEqual(self.entries()[2:], ["k\u00a0x one two \t", "y "])

    def test_a_payload_has_an_entry_a_line(self) -> None:
        self.assertEqual(self.says(f"add map {self.name}", "/c 1\n  /d   two words\n"), "")
        self.assertEqual(self.entries()[2:], ["/c 1", "/d two words"])
        self.assertEqual(self.says(f"add map {self.name}", "/e\n/f 1\n"), "Missing value for key '/e'.")
        self.assertEqual(len(self.entries()), 4)

    def test_what_a_look_up_could_not_read_is_refused(self) -> None:
        name = f"{self.directory}/ip.map"
        said = "'nonsense' is not a valid IPv4 or IPv6 address."
        self.assertEqual(self.says(f"add map {name} nonsense 5"), said)
        self.assertEqual(self.says(f"add map {name} 10.0.0.1 x"), "'x' is no number.")
        self.assertNotEqual(self.says(f"set map {name} 127.0.0.1 x"), "")

    def test_get_map_shows_what_each_look_up_finds(self) -> None:
        self.assertEqual(
            self.says(f"get map {self.name} /a"),
            'type=str, case=sensitive, found=yes, idx=tree, key="/a", value="1", type="str"\n'
            'type=beg, case=sensitive, found=yes, idx=tree, key="/a", value="1", type="str"\n',
        )
        self.assertEqual(self.says(f"get map {self.name} /ax").splitlines()[0], "type=str, case=sensitive, found=no")
        shown = 'type=ip, case=sensitive, found=yes, idx=tree, key="10.0.0.0/8", value="8", type="sint"\n'
        self.assertEqual(self.says(f"get map {self.directory}/ip.map 10.1.2.3"), shown)
        self.assertEqual(self.says(f"get map {self.directory}/ip.map x"), "type=ip, case=sensitive, found=no\n")

    def test_what_is_refused(self) -> None:
        expects = "'add map' expects three parameters (map identifier, key and value) or one parameter (map identifier)"
        for line, said in (
            ("get map x", "Missing map identifier and/or key."),
            ("add map x y", f"{expects} and a payload"),
            ("set map x y", "'set map' expects three parameters: map identifier, key and value."),
            ("del map x", "This command expects two parameters: map identifier and key."),
            ("clear map", "Missing map identifier."),
            ("commit map", "Missing version number."),
            ("commit map @1", "Missing map identifier."),
            (f"commit map @1 {self.name}", "Version number out of range."),
            (f"add map @1 {self.name} a b", "Version number in the future, please use 'prepare map' before."),
        ):
            self.assertEqual(self.says(line), said, line)
            self.assertEqual(self.says(line, level=OPERATOR), "Permission denied")

    def test_operators_are_not_bounded_as_rules_are(self) -> None:
        """And what they add leaves rules as much room as before, not more."""
        lines = "".join(f"^/{number}$ x\n" for number in range(2 * MOST_TRIED))
        self.assertEqual(self.says("add map virt@reg", lines), "")
        found = self.context.proxy.maps["virt@reg"]
        self.assertEqual(found.find("reg", b"/511"), b"x")
        for _ in range(3):
            self.says("add map virt@reg once 1")
            self.says("del map virt@reg once")
        refused = [found.set(b"r%d" % number, b"1") for number in range(MOST_TRIED + 1)]
        self.assertEqual([bool(each) for each in refused], [False] * MOST_TRIED + [True])


class VersionTests(MapsTestCase):
    def test_a_version_takes_the_place_of_all_at_once(self) -> None:
        self.assertEqual(self.says(f"prepare map {self.name}"), "New version created: 1\n")
        self.says(f"add map @1 {self.name}", "".join(f"/{number} v\n" for number in range(1000)))
        self.assertIn("curr_ver=0 next_ver=1 entry_cnt=1002\n", self.says("show map"))
        self.assertEqual((len(self.entries(version="@1")), len(self.entries())), (1000, 2))
        steps = run(self.context, ["commit", "map", "@1", self.name])
        assert isinstance(steps, Iterator)
        looks = {(self.map().find("str", b"/a"), self.map().find("beg", b"/999x")) for _ in steps}
        self.assertEqual(looks, {(b"1", None)})
        self.assertEqual((self.map().find("str", b"/a"), self.map().find("beg", b"/999x")), (None, b"v"))
        self.assertIn("curr_ver=1 next_ver=1 entry_cnt=1000\n", self.says("show map"))
        self.assertEqual(self.says(f"commit map @1 {self.name}"), "Version number out of range.")

    def test_equal_keys_and_their_references_outlive_a_commit(self) -> None:
        self.says(f"prepare map {self.name}")
        self.says(f"add map @1 {self.name}", "/x 1\n/y 2\n/x 3\n/x 4\n")
        self.assertEqual(self.entries(version="@1"), ["/x 1", "/y 2", "/x 3", "/x 4"])
        self.assertIn("entry_cnt=6\n", self.says("show map"))
        one, _, three, four = [line.split()[0] for line in self.says(f"show map @1 {self.name}").splitlines()]
        self.assertEqual(self.says(f"set map {self.name} #{three} THREE"), "")
        self.assertEqual(self.says(f"del map {self.name} #{four}"), "")
        self.assertEqual(self.entries(version="@1"), ["/x 1", "/y 2", "/x THREE"])
        self.assertEqual(self.says(f"commit map @1 {self.name}"), "")
        self.assertEqual(self.says(f"del map {self.name} #{one}"), "")
        self.assertEqual((self.entries(), self.map().find("str", b"/x")), (["/y 2", "/x THREE"], b"THREE"))

    def test_one_that_was_cleared_is_empty(self) -> None:
        self.says(f"prepare map {self.name}")
        self.says(f"add map @1 {self.name} /x y")
        self.assertEqual(self.says(f"clear map @1 {self.name}"), "")
        self.assertEqual((self.entries(version="@1"), len(self.entries())), ([], 2))

    def test_what_a_look_up_could_not_read_is_refused_when_it_is_added(self) -> None:
        """What was added before, and the rest, can be committed, once."""
        name = f"{self.directory}/ip.map"
        said = "'nonsense' is not a valid IPv4 or IPv6 address."
        self.assertEqual(self.says(f"prepare map {name}"), "New version created: 1\n")
        self.assertEqual(self.says(f"add map @1 {name} 192.0.2.1 1"), "")
        self.assertEqual(self.says(f"add map @1 {name} nonsense 5"), said)
        self.assertEqual(self.says(f"add map @1 {name} 10.0.0.1 x"), "'x' is no number.")
        self.assertEqual(self.says(f"add map @1 {name}", "192.0.2.2 2\nnonsense 3\n192.0.2.4 4\n"), said)
        reference = self.says(f"show map @1 {name}").split()[0]
        self.assertEqual(self.says(f"set map {name} #{reference} x"), "'x' is no number.")
        self.assertEqual(self.says(f"commit map @1 {name}"), "")
        self.assertEqual(self.entries(name), ["192.0.2.1 1", "192.0.2.2 2"])
        self.assertEqual(self.says(f"commit map @1 {name}"), "Version number out of range.")
        self.assertEqual(self.entries(name), ["192.0.2.1 1", "192.0.2.2 2"])

    def test_a_commit_that_fails_changes_nothing(self) -> None:
        """A reload has brought a look-up since that cannot read what was added before."""
        self.says(f"prepare map {self.name}")
        self.says(f"add map @1 {self.name} /x word")
        self.says(f"del map {self.name} /b")
        for _ in self.map().prepare("str", "int", "m"):
            pass
        for _ in range(2):
            self.assertEqual(self.says(f"commit map @1 {self.name}"), "'word' is no number.")
            self.assertEqual((self.entries(), self.entries(version="@1")), (["/a 1"], ["/x word"]))
        reference = self.says(f"show map @1 {self.name}").split()[0]
        self.says(f"set map {self.name} #{reference} 5")
        self.assertEqual(self.says(f"commit map @1 {self.name}"), "")
        self.assertEqual(self.entries(), ["/x 5"])

    def test_one_to_which_nothing_was_added_is_empty(self) -> None:
        """As in HAProxy, where whoever was given its number can commit it."""
        self.says(f"prepare map {self.name}")
        self.assertEqual(self.says(f"commit map @1 {self.name}"), "")
        self.assertEqual(self.entries(), [])

    def prepare_many(self) -> None:
        self.says(f"prepare map {self.name}")
        self.says(f"add map @1 {self.name}", "".join(f"/big{number} x\n" for number in range(2000)))

    def begun(self, line: str) -> Iterator[str]:
        """Returns an order whose first step has been done."""
        self.context.payload = None
        work = run(self.context, commands_of(line)[0])
        assert isinstance(work, Iterator)
        next(work)
        return work

    def said_in_turns(self, *works: Iterator[str]) -> list[str]:
        """Returns what orders answer of which each does a step in turn."""
        said = ["" for _ in works]
        left = dict(enumerate(works))
        while left:
            for number, work in [*left.items()]:
                try:
                    next(work)
                except StopIteration:
                    del left[number]
                except Refusal as refusal:
                    said[number] = str(refusal)
                    del left[number]
        return said

    def test_orders_during_a_commit_are_done_behind_it(self) -> None:
        self.prepare_many()
        self.says(f"add map @1 {self.name} /a 1")
        lines = (
            f"commit map @1 {self.name}",
            f"add map {self.name} /ban 1",
            f"add map @1 {self.name} /late 2",
            f"del map {self.name} /a",
            f"del map {self.name} /b",
            f"set map {self.name} /big7 y",
        )
        works = [self.begun(line) for line in lines]
        self.assertEqual(self.map().find("str", b"/a"), b"1")
        self.assertEqual(self.said_in_turns(*works), ["", "", "", "", "Key not found.", ""])
        found = [self.map().find("str", key) for key in (b"/ban", b"/late", b"/a", b"/b", b"/big7", b"/big8")]
        self.assertEqual(found, [b"1", b"2", None, None, b"y", b"x"])

    def test_of_two_commits_at_once_the_newer_version_counts(self) -> None:
        for first, second, answers in ((1, 2, ["", ""]), (2, 1, ["", "Version number out of range."])):
            self.read_files()
            self.prepare_many()
            self.says(f"prepare map {self.name}")
            self.says(f"add map @2 {self.name} /ban 1")
            works = [self.begun(f"commit map @{version} {self.name}") for version in (first, second)]
            self.assertEqual(self.said_in_turns(*works), answers)
            self.assertIn("curr_ver=2 next_ver=2 entry_cnt=1\n", self.says("show map"))
            self.assertEqual(self.map().find("str", b"/ban"), b"1")

    def test_what_rules_do_during_a_commit_counts_at_once_and_behind_it(self) -> None:
        self.prepare_many()
        work = self.begun(f"commit map @1 {self.name}")
        self.map().set(b"/ban", b"1")
        self.map().delete(b"/big7")
        self.assertEqual([self.map().find("str", key) for key in (b"/ban", b"/big8")], [b"1", None])
        self.assertEqual(self.said_in_turns(work), [""])
        found = [self.map().find("str", key) for key in (b"/ban", b"/big7", b"/big8")]
        self.assertEqual(found, [b"1", None, b"x"])

    def test_a_commit_that_a_reload_overtakes_is_refused(self) -> None:
        """And so is what waits for it: the map has been read from its file again."""
        self.prepare_many()
        works = [self.begun(f"commit map @1 {self.name}"), self.begun(f"add map {self.name} /ban 1")]
        for _ in range(3):
            next(works[0])
        context = self.context
        self.read_files()
        context.service = self.service
        said = "A reload has put it back to its file meanwhile, or left it out: what was ordered is not in there."
        self.assertEqual(self.said_in_turns(*works), [said, said])
        self.assertEqual(self.entries(), ["/a 1", "/b two words"])
        self.assertEqual(self.says(f"commit map @1 {self.name}"), "Version number out of range.")

    def test_few_are_prepared_at_a_time(self) -> None:
        for number in range(1, 18):
            self.says(f"prepare map {self.name}")
            said = self.says(f"add map @{number} {self.name} a b")
        self.assertEqual(said, "No more than 16 versions can be prepared at a time.")


class PayloadTests(MapsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.wire = Wire()
        self.session = Session(Owner(), self.wire, Deadlines(self.clock), self.context)  # type: ignore[arg-type]

    def tell(self, text: str) -> str:
        self.wire.feed(text.encode())
        while self.wire.turns:
            self.wire.turns.popleft().take_turn()
        return self.wire.take().decode()

    def test_lines_up_to_an_empty_one_are_the_last_commands(self) -> None:
        self.assertEqual(self.tell(f"set map {self.name} /a 5;add map {self.name} <<\n/x 1\n/y 2\n"), "")
        self.assertEqual(self.tell("/z 3\n\n"), "\n\n")
        self.assertEqual(self.entries(), ["/a 5", "/b two words", "/x 1", "/y 2", "/z 3"])
        self.assertEqual(self.wire.end, ("close", "answered"))

    def test_one_that_is_too_long_ends_the_session(self) -> None:
        self.patch(sessions, "LONGEST_PAYLOAD", 100)
        said = self.tell(f"add map {self.name} <<\n" + "/x 1\n" * 30)
        self.assertEqual(said, "The payload is too big: it may have 1048576 bytes.\n\n")
        self.assertEqual(self.wire.end, ("close", "payload too long"))
        self.assertEqual(len(self.entries()), 2)

    def test_behind_a_semicolon_no_blank_is_needed(self) -> None:
        """Or the lines would be run as commands."""
        said = self.tell(f"show version;<<\nclear map {self.name}\n\n")
        self.assertNotIn("clear", said)
        self.assertEqual(self.entries(), ["/a 1", "/b two words"])

    def test_an_empty_one_for_a_version_that_there_is_not_is_refused(self) -> None:
        said = self.says(f"add map @9 {self.name}", payload="")
        self.assertIn("Version number in the future", said)


class ManholeTests(MapsTestCase):
    def test_an_order_behind_another_is_refused_there(self) -> None:
        """The other goes on only when the line has ended, so that the daemon would stand still for ever."""
        self.says(f"prepare map {self.name}")
        self.says(f"add map @1 {self.name} /x 1")
        committing = iter(run(self.context, commands_of(f"commit map @1 {self.name}")[0]))
        next(committing)
        with redirect_stdout(StringIO()) as output:
            namespace(self.service, "x")["run"](f"add map {self.name} /ban 1")
        self.assertIn(NO_WAIT, output.getvalue())
        self.assertEqual("".join(committing), "")
        self.assertEqual(self.entries(), ["/x 1"])
        with redirect_stdout(StringIO()) as output:
            namespace(self.service, "x")["run"](f"add map {self.name} /ban 1")
        self.assertEqual(output.getvalue(), "")
        self.assertEqual(self.entries(), ["/x 1", "/ban 1"])
