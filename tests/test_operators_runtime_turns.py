"""Orders about one map or list at a time, with rules that change it and a reload that prepares more of it: each has the
effect that it would have had in the order in which they were given, and its answer says so.

A simple model, a list of entries in which each order is done at once, tells what that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

from attrs import Factory, define
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.operators.runtime import lists, maps
from reusedproxy.operators.runtime.proxy import Refusal
from reusedproxy.rules import entries as rule_entries
from reusedproxy.rules import maps as rule_maps
from reusedproxy.rules.edited_lists import EditedFile
from reusedproxy.rules.maps import Map
from reusedproxy.rules.pattern_files import PatternFile

KEYS = ("a", "ab", "b", "ba", "c")
SAMPLES = (b"a", b"ab", b"ba", b"xc", b"cab")
#: Ways of matching, with what the model tells by a key and a sample.
WAYS: dict[str, Callable[[str, bytes], bool]] = {
    "str": lambda key, sample: key.encode() == sample,
    "reg": lambda key, sample: key.encode() in sample,
    "sub": lambda key, sample: key.encode() in sample,
    "end": lambda key, sample: sample.endswith(key.encode()),
}
Pairs = list[tuple[str, str]]


@define
class Model:
    """Holds what is there, and what rules have done since a commit or `clear` has begun."""

    now: Pairs = Factory(list)
    prepared: dict[int, Pairs] = Factory(dict)
    current: int = 0
    newest: int = 0
    since: list[tuple[str, str | None]] | None = None

    def rule(self, key: str, value: str | None) -> None:
        self.now = self.edited(self.now, key, value)
        if self.since is not None:
            self.since.append((key, value))

    def edited(self, pairs: Pairs, key: str, value: str | None) -> Pairs:
        if value is None:
            return [each for each in pairs if each[0] != key]
        if all(each != key for each, _ in pairs):
            return [*pairs, (key, value)]
        return [(each, value if each == key else old) for each, old in pairs]

    def replace(self, pairs: Pairs) -> None:
        for key, value in self.since or ():
            pairs = self.edited(pairs, key, value)
        self.now = pairs

    def order(self, kind: str, version: int, pairs: Pairs) -> str:
        """Does an order, and returns its answer."""
        if kind == "commit":
            if not self.current < version <= self.newest:
                return "Version number out of range."
            self.replace(self.prepared.get(version, []))
            self.current = version
            self.prepared = {each: left for each, left in self.prepared.items() if each > version}
        elif kind == "clear":
            if version == self.current:
                self.replace([])
            else:
                self.prepared.pop(version, None)
        elif kind == "add":
            if version < self.current:
                return "Version number out of range."
            if version == self.current:
                self.now = [*self.now, *pairs]
            else:
                self.prepared[version] = [*self.prepared.get(version, []), *pairs]
        elif kind == "del":
            if all(key != pairs[0][0] for key, _ in self.now):
                return "Key not found."
            self.now = self.edited(self.now, pairs[0][0], None)
        elif kind == "set":
            if all(key != pairs[0][0] for key, _ in self.now):
                return "entry not found."
            self.now = self.edited(self.now, *pairs[0])
        return ""


class Running:
    """An order that is under way."""

    def __init__(self, kind: str, version: int, pairs: Pairs, work: Iterator[str]) -> None:
        self.kind, self.version, self.pairs = kind, version, pairs
        self.begun = False
        self._work = work

    def step(self) -> str | None:
        """Does a step. Returns the answer at the end."""
        try:
            return None if next(self._work, None) is not None else ""
        except Refusal as refusal:
            return str(refusal)


class TurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(rule_maps, "_STEP", 2)
        self.patch(rule_entries, "_STEP", 2)
        self.patch(maps, "ENTRIES_AT_ONCE", 2)

    def begin(self, random: Random, kind: str) -> None:
        self.random, self.kind = random, kind
        first = [(random.choice(KEYS), "0" if kind == "map" else "") for _ in range(random.randrange(6))]
        self.model = Model(first)
        self.held: Any
        if kind == "map":
            self.held = Map((key, value.encode()) for key, value in first)
        else:
            self.held = (EditedFile if kind == "edited" else PatternFile)([key for key, _ in first])
        self.ways = {"str"}
        self.prepare("str", run=True)
        named = {"it": self.held}
        proxy = SimpleNamespace(maps=named if kind == "map" else {}, patterns={} if kind == "map" else named)
        self.context: Any = SimpleNamespace(proxy=proxy, payload=None)
        self.queue: list[Running] = []
        self.waits: list[Running] = []
        self.reload: Iterator[None] | None = None

    def prepare(self, way: str, *, run: bool = False) -> Iterator[None]:
        work = self.held.prepare(way, "str", "m") if self.kind == "map" else self.held.prepare(way, False, "f")
        if run:
            for _ in work:
                pass
        return iter(work)

    def given(self) -> Running:
        """Gives an order by chance."""
        kinds = ["commit", "commit", "add", "add", "add", "del", "clear", *(["set"] if self.kind == "map" else ())]
        kind = self.random.choice(kinds)
        if self.model.newest == 0 or self.random.random() < 0.3:
            (maps if self.kind == "map" else lists).versions.prepare(self.context, ["it"])
            self.model.newest += 1
        version = self.random.randint(0, self.model.newest)
        many = self.random.randint(1, 6) if kind == "add" and self.kind == "map" else 1
        pairs = [(self.random.choice(KEYS), self.value()) for _ in range(many)]
        key, value = pairs[0]
        module: Any = maps if self.kind == "map" else lists
        words = [f"@{version}", "it"]
        self.context.payload = None
        if kind in ("commit", "clear"):
            work = getattr(module.versions, kind)(self.context, words)
        elif self.kind == "map" and kind == "add":
            self.context.payload = "".join(f"{key} {value}\n" for key, value in pairs)
            work = maps.add_map(self.context, words)
        elif self.kind == "map":
            work = (maps.set_map if kind == "set" else maps.del_map)(self.context, ["it", key, value])
        else:
            work = (
                lists.add_acl(self.context, [*words, key])
                if kind == "add"
                else lists.del_acl(self.context, ["it", key])
            )
        return Running(kind, version, pairs, iter(work))

    def value(self) -> str:
        return str(self.random.randrange(1, 100)) if self.kind == "map" else ""

    def step(self, order: Running) -> None:
        """Does a step of an order, and what it has then done to the model."""
        if order not in self.queue:
            self.queue.append(order)
        if order is self.queue[0] and not order.begun:
            order.begun = True
            if order.kind == "commit" or (order.kind == "clear" and order.version == self.model.current):
                self.model.since = []
        answer = order.step()
        if answer is not None:
            self.assertIs(order, self.queue.pop(0), "they end in the order in which they were given")
            self.waits.remove(order)
            self.assertEqual(answer, self.model.order(order.kind, order.version, order.pairs), order.kind)
            self.model.since = None

    def in_parts(self) -> bool:
        """Tells whether some of the lines of a payload have been added."""
        return any(each.kind == "add" and each.begun for each in self.waits)

    def rule(self) -> None:
        key = self.random.choice(KEYS)
        value = None if self.random.random() < 0.5 else self.value()
        self.model.rule(key, value)
        if value is None:
            self.held.delete(key.encode())
        elif self.kind == "map":
            self.assertEqual(self.held.set(key.encode(), value.encode()), "")
        else:
            self.assertEqual(self.held.add(key.encode()), "")

    def play(self, seed: int, kind: str) -> None:
        self.begin(Random(seed), kind)
        for _ in range(60):
            chance = self.random.random()
            if chance < 0.2 and len(self.waits) < 4:
                self.waits.append(self.given())
                self.step(self.waits[-1])
            elif chance < 0.45 and kind != "list" and not self.in_parts():
                self.rule()
            elif chance < 0.55 and len(self.ways) < len(WAYS) and self.reload is None:
                way = self.random.choice([each for each in WAYS if each not in self.ways])
                self.ways.add(way)
                self.reload = self.prepare(way)
            elif chance < 0.7 and self.reload is not None:
                if next(self.reload, self) is self:
                    self.reload = None
            elif self.waits:
                self.step(self.random.choice(self.waits))
            if not self.in_parts():
                self.compare()
        for _ in self.reload or ():
            pass
        self.reload = None
        while self.waits:
            self.step(self.random.choice(self.waits))
        self.compare()
        self.assertEqual(self.held.versions.orders, [])
        inner = self.held if kind == "map" else getattr(self.held, "_keys", None)
        self.assertEqual([] if inner is None else inner._edits, [])

    def compare(self) -> None:
        shown = [(key.decode(), value.decode()) for _, key, value in self.held.all_entries()]
        self.assertEqual(shown, self.model.now)
        for version in range(self.model.current + 1, self.model.newest + 1):
            left = [(key.decode(), value.decode()) for _, key, value in self.held.versions.prepared.get(version, ())]
            self.assertEqual(left, self.model.prepared.get(version, []))
        for way in self.ways if self.reload is None else {"str"}:
            for sample in SAMPLES:
                found = [value for key, value in self.model.now if WAYS[way](key, sample)]
                if self.kind == "map":
                    value = self.held.find(way, sample)
                    self.assertEqual(None if value is None else value.decode(), found[0] if found else None, way)
                elif (way, False) in self.held.tests:
                    self.assertEqual(self.held.tests[way, False](sample), bool(found), way)

    def test_a_map(self) -> None:
        for seed in range(150):
            self.play(seed, "map")

    def test_a_list_that_rules_edit(self) -> None:
        for seed in range(150):
            self.play(seed, "edited")

    def test_a_list_that_no_rule_edits(self) -> None:
        for seed in range(150):
            self.play(seed, "list")
