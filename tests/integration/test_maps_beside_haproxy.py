"""Commands about maps and lists of patterns: reusedproxy and HAProxy answer alike, and look up alike afterwards."""

from __future__ import annotations

import re
from pathlib import Path

from tests.integration.beside import HAProxy, haproxy_version
from tests.integration.daemon import Daemon
from tests.integration.test_runtime_beside_haproxy import RuntimeTestCase, ask

TEXT = """
backend servers
    server s1 {host}:1
backend own
    http-request set-header E 1 if {{ path_beg -f {d}/l.acl }} || {{ path -i -f {d}/l.acl }}
    http-request set-header F 1 if {{ src -f {d}/ip.acl }} || {{ path_sub -f {d}/s.acl }}
    http-request set-header A %[path,map({d}/m.map,none)]
    http-request set-header B %[path,map_beg({d}/m.map,none)]
    http-request set-header C %[src,map_ip({d}/ip.map,none)]
    http-request set-header D %[path,map_sub({d}/s.map,none)]
global
    stats socket {d}/admin.sock mode 600 level admin
"""

#: Those whose answer is the same to the byte, but for references, in this order.
MAPS = (
    *("show map {d}/m.map", "show map @0 {d}/m.map", "show map @7 {d}/m.map", "show map @x {d}/m.map", "show map no"),
    *("get map", "get map no", "get map no x", "get map {d}/m.map /a", "get map {d}/m.map /abc"),
    *("get map {d}/ip.map 10.1.2.3", "get map {d}/ip.map 127.0.0.1", "get map {d}/ip.map x", "get map {d}/s.map xsubx"),
    *("add map", "add map no", "add map no x", "add map no x y", "add map {d}/m.map /z"),
    "add map {d}/m.map /c 1",
    "add map {d}/m.map <<\n/d two words\n/e 5\n",
    *("add map {d}/ip.map nonsense 1", "add map {d}/ip.map 192.0.2.0/24 x", "get map {d}/ip.map 192.0.2.5"),
    *("set map", "set map no", "set map no x", "set map no x y", "set map {d}/m.map /no x", "set map {d}/m.map /c 2"),
    *("set map {d}/m.map #0xz x", "set map {d}/m.map #0x10 x", "show map {d}/m.map"),
    *("del map", "del map no", "del map no x", "del map {d}/m.map", "del map {d}/m.map /no", "del map {d}/m.map /c"),
    *("del map {d}/m.map #0x10", "del map {d}/m.map #0xz", "show map {d}/m.map", "get map {d}/m.map /c"),
    *(
        "prepare map",
        "prepare map no",
        "prepare map {d}/m.map",
        "add map @1 {d}/m.map /v 1",
        "add map @7 {d}/m.map a b",
    ),
    *("show map @1 {d}/m.map", "show map {d}/m.map", "get map {d}/m.map /v"),
    *("commit map", "commit map no", "commit map @1", "commit map @1 no", "commit map @9 {d}/m.map"),
    *("commit map @1 {d}/m.map", "show map {d}/m.map", "get map {d}/m.map /v", "get map {d}/m.map /a"),
    *("clear map", "clear map no", "clear map {d}/m.map", "show map {d}/m.map", "get map {d}/m.map /v"),
    *("help clear map", "help commit map", "show map", "show map @1 {d}/m.map"),
)
LISTS = (
    *("show acl {d}/l.acl", "show acl @0 {d}/l.acl", "show acl @7 {d}/l.acl", "show acl no"),
    *(
        "get acl",
        "get acl no",
        "get acl no x",
        "get acl {d}/l.acl /a",
        "get acl {d}/l.acl /abc",
        "get acl {d}/l.acl /B",
    ),
    *("get acl {d}/ip.acl 10.1.2.3", "get acl {d}/ip.acl 127.0.0.1", "get acl {d}/ip.acl x", "get acl {d}/s.acl xsubx"),
    *(
        "add acl",
        "add acl no",
        "add acl no x",
        "add acl {d}/l.acl /new",
        "add acl {d}/l.acl /new",
        "show acl {d}/l.acl",
    ),
    *("add acl {d}/ip.acl nonsense", "add acl {d}/ip.acl 192.0.2.0/24", "get acl {d}/ip.acl 192.0.2.5"),
    *("get acl {d}/l.acl /news", "del acl {d}/l.acl /new", "show acl {d}/l.acl", "get acl {d}/l.acl /news"),
    *("del acl", "del acl no", "del acl {d}/l.acl /no", "del acl {d}/l.acl #0x10", "del acl {d}/l.acl #0xz"),
    *("prepare acl", "prepare acl no", "prepare acl {d}/l.acl", "add acl @1 {d}/l.acl /v", "add acl @7 {d}/l.acl a"),
    *("show acl @1 {d}/l.acl", "show acl {d}/l.acl", "get acl {d}/l.acl /v"),
    *("commit acl", "commit acl no", "commit acl @1", "commit acl @1 no", "commit acl @9 {d}/l.acl"),
    *("commit acl @1 {d}/l.acl", "show acl {d}/l.acl", "get acl {d}/l.acl /v", "get acl {d}/l.acl /a"),
    *("clear acl", "clear acl no", "clear acl {d}/l.acl", "show acl {d}/l.acl", "get acl {d}/l.acl /v", "show acl"),
    *("help clear acl", "help commit acl"),
)
#: Equal entries: "<1>" stands for the reference of the second one that the order before it has shown.
EQUALS = (
    *("add map {d}/m.map /a 3", "add map {d}/m.map /a 5", "show map {d}/m.map", "del map {d}/m.map #<0>"),
    *("set map {d}/m.map #<0> x", "get map {d}/m.map /a", "show map {d}/m.map", "set map {d}/m.map #<2> five"),
    *("show map {d}/m.map", "set map {d}/m.map /a all", "show map {d}/m.map", "del map {d}/m.map /a"),
    *("add map {d}/s.map u first", "add map {d}/s.map sub again", "show map {d}/s.map", "del map {d}/s.map #<0>"),
    *("show map {d}/s.map", "get map {d}/s.map xsubx", "prepare map {d}/m.map", "add map @1 {d}/m.map /v 1"),
    *("add map @1 {d}/m.map /v 2", "add map @1 {d}/m.map /w 3", "show map @1 {d}/m.map", "set map {d}/m.map #<1> two"),
    *("show map @1 {d}/m.map", "commit map @1 {d}/m.map", "del map {d}/m.map #<0>", "get map {d}/m.map /v"),
    *("add acl {d}/ip.acl 12.0.0.0/8", "add acl {d}/ip.acl 12.0.0.0/8", "show acl {d}/ip.acl"),
    *("del acl {d}/ip.acl #<2>", "show acl {d}/ip.acl", "get acl {d}/ip.acl 12.1.1.1", "add acl {d}/ip.acl 12.0.0.0/8"),
    *("del acl {d}/ip.acl 12.0.0.0/8", "show acl {d}/ip.acl", "get acl {d}/ip.acl 12.1.1.1"),
)


#: A line of a version that no look-up can read: it is refused, and the others can be committed, once.
UNREADABLE = (
    *("prepare map {d}/ip.map", "add map @1 {d}/ip.map 192.0.2.1 x", "add map @1 {d}/ip.map nonsense x"),
    *("add map @1 {d}/ip.map <<\n192.0.2.2 y\nnonsense y\n192.0.2.3 y\n", "commit map @1 {d}/ip.map"),
    *("commit map @1 {d}/ip.map", "show map {d}/ip.map", "get map {d}/ip.map 192.0.2.2"),
    *("prepare acl {d}/ip.acl", "add acl @1 {d}/ip.acl 192.0.2.1", "add acl @1 {d}/ip.acl notanip"),
    *("commit acl @1 {d}/ip.acl", "commit acl @1 {d}/ip.acl", "show acl {d}/ip.acl", "get acl {d}/ip.acl 10.1.2.3"),
    *("prepare acl {d}/ip.acl", "commit acl @2 {d}/ip.acl", "show acl {d}/ip.acl", "commit acl @3 {d}/ip.acl"),
)
#: Versions that are cleared, overtaken, or were never prepared.
VERSIONS = (
    *("prepare map {d}/m.map", "prepare map {d}/m.map", "prepare map {d}/m.map", "add map @1 {d}/m.map /one 1"),
    *(
        "add map @2 {d}/m.map /two 2",
        "add map @3 {d}/m.map /three 3",
        "del map @2 {d}/m.map /two",
        "clear map @7 {d}/m.map",
    ),
    *("clear map @1 {d}/m.map", "show map @1 {d}/m.map", "show map {d}/m.map", "commit map @2 {d}/m.map"),
    *("commit map @1 {d}/m.map", "commit map @2 {d}/m.map", "commit map @0 {d}/m.map", "show map @1 {d}/m.map"),
    *("show map @2 {d}/m.map", "show map @3 {d}/m.map", "clear map @0 {d}/m.map", "show map {d}/m.map"),
    *("add map @2 {d}/m.map /more 4", "clear map @3 {d}/m.map", "commit map @3 {d}/m.map", "show map {d}/m.map"),
    *(
        "commit map @4294967296 {d}/m.map",
        "commit map @-1 {d}/m.map",
        "commit map @x {d}/m.map",
        "commit map @4 {d}/m.map",
    ),
    *("prepare map {d}/m.map", "commit map @4 {d}/m.map", "get map {d}/m.map /three", "show map"),
    *("prepare acl {d}/l.acl", "add acl @1 {d}/l.acl /one", "clear acl @1 {d}/l.acl", "commit acl @1 {d}/l.acl"),
    *("show acl {d}/l.acl", "get acl {d}/l.acl /a", "clear acl @1 {d}/l.acl", "commit acl @1 {d}/l.acl", "show acl"),
)


class MapsBesideHAProxyTests(RuntimeTestCase):
    maxDiff = None

    def setUp(self) -> None:
        super().setUp()
        if not haproxy_version():
            self.skipTest("needs haproxy")
        self.both = []
        for kind, name in ((Daemon, "ours"), (HAProxy, "theirs")):
            directory = self.directory / name
            directory.mkdir(exist_ok=True)
            for file, text in (
                ("m.map", "/a 1\n/b two words\n"),
                ("ip.map", "10.0.0.0/8 net\n127.0.0.1 self\n"),
                ("s.map", "sub inside\n"),
                ("l.acl", "/a\n/b\n"),
                ("ip.acl", "10.0.0.0/8\n"),
                ("s.acl", "sub\n"),
            ):
                (directory / file).write_text(text)
            self.both.append(self.proxy(kind, name, TEXT))

    def said_of_equals(self, directory: Path) -> list[tuple[str, str]]:
        shown: list[str] = []
        said = []
        for order in EQUALS:
            text = re.sub(r"<(\d)>", lambda found: shown[int(found[1])], order)  # noqa: B023 (it is called at once)
            said.append((order, self.said(directory, text)))
            if order.startswith("show"):
                shown = re.findall(r"(?m)^0x[0-9a-f]+", ask(directory / "admin.sock", text.format(d=directory)))
        return said

    def said(self, directory: Path, text: str) -> str:
        """An answer without what is of one process: references, numbers of lists, and folders."""
        answer = ask(directory / "admin.sock", text.format(d=directory)).replace(str(directory), "DIR")
        answer = re.sub(r"(?m)^0x[0-9a-f]+", "REF", answer)
        answer = re.sub(r"(?m)^\d+ \(DIR", "N (DIR", answer)
        # (HAProxy 2.6 counts entries that have been deleted, too.)
        answer = re.sub(r"(?m)^\d+ \(\) acl .*\n", "", answer)  # what stands on lines of the configuration
        return re.sub(r"used by .*?\. curr(.*) entry_cnt=\d+", r"used. curr\1", answer)

    def compare(self, orders: tuple[str, ...]) -> None:
        said = [[(text, self.said(each, text)) for text in orders] for each in self.both]
        differ = [(one, two) for one, two in zip(*said, strict=True) if one != two]
        self.assertEqual([one for one, _ in differ], [two for _, two in differ])

    def test_maps(self) -> None:
        self.compare(MAPS)

    def test_lists(self) -> None:
        self.compare(LISTS)

    def test_versions(self) -> None:
        self.compare(VERSIONS)

    def test_what_no_look_up_can_read(self) -> None:
        self.compare(UNREADABLE)

    def test_equal_entries(self) -> None:
        ours, theirs = map(self.said_of_equals, self.both)
        self.assertEqual(ours, theirs)
