"""Holds maps: keys with values, read from files, in which the converters `map…` look texts, numbers and addresses up.

Rules may change a map while it is in use (`set-map`, `del-map`): each way of matching is prepared once, and edited with
each change. Clients may have chosen what is set, so a key or a value that a look-up could not read is not taken: one
client's would break the look-ups of all. It must never open a file.

What takes long is made in steps beside what look-ups see, and put in its place at once: a whole new content
(`replace`), and a way of matching that a reload brings (`prepare`). Requests cannot wait for that. What their rules do
meanwhile counts at once, and is done to what is being made as well (`map_edits`) before that is put in its place: it is
kept as if it had come behind all of that. Orders of operators come one after the other
(`operators.runtime.entries.in_turn`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator
from collections.abc import Set as AbstractSet

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.expressions import is_address
from reusedproxy.rules.entries import Entries, Entry, Numbers
from reusedproxy.rules.facts import Sample
from reusedproxy.rules.map_edits import Edit, Edits
from reusedproxy.rules.map_methods import METHODS, Full, Method
from reusedproxy.rules.versions import Versions

#: Keys of one map, at most, that rules may have added.
MOST_ADDED = 100_000

#: Bytes by which rules may make the keys and values of one map longer.
MOST_GROWN = 32 * 1024 * 1024
_TOO_MUCH = f"rules have added as many bytes as they may ({MOST_GROWN})"

#: Keys that are prepared in one step.
_STEP = 100
_NUMBER = re.compile(rb"[-+]?[0-9]{1,18}\Z")
#: Whether a value can be read as what a converter gives.
_READABLE: dict[str, Callable[[bytes], bool]] = {
    "str": lambda value: True,
    "int": lambda value: _NUMBER.match(value) is not None,
    "ip": lambda value: is_address(value.decode("utf-8", "replace")),
}
_CALLED = {"int": "number", "ip": "address"}


class Map:
    """Holds one map: keys with their values, in the order of the file; the first of several equal keys counts.

    What bounds rules counts the first ones: these add no others.
    """

    #: What stands before the name of a method in messages.
    word = "map_"

    def __init__(self, pairs: Iterable[tuple[str, bytes]]) -> None:
        self.numbers = Numbers()
        self._entries = Entries(self.numbers)
        #: Each key with its first value, which look-ups find.
        self.values = self._entries.first
        for key, value in pairs:
            self._entries.append(key.encode("utf-8", "surrogateescape"), value)
        #: Keys that there may be, at most, with those that an operator has added; and without these.
        self._most = self._least = len(self.values) + MOST_ADDED
        #: Bytes that an operator has added, which are not among those that rules may add.
        self._given = 0
        self._methods: dict[str, Method] = {}
        #: Bytes of keys and values, more than the file has.
        self._grown = 0
        #: What values are read as.
        self._gives: set[str] = set()
        #: The ways of matching that conditions use, with what values are read as there, in the order of the file.
        self.looked_up: list[tuple[str, str]] = []
        #: Where the configuration names it.
        self.uses: list[Place] = []
        self.versions = Versions()
        #: What is done meanwhile, for each that is being made.
        self._edits: list[Edits] = []

    def prepare(self, method: str, gives: str, what: str) -> Generator[None, None, None]:
        """Prepares a way of matching, and that values are read as `gives`, in steps; `what` begins a message. Raises
        Wrong if a key or a value cannot be read."""
        if (method, gives) not in self.looked_up:
            self.looked_up.append((method, gives))
        while method not in self._methods:
            yield from self._prepare_method(method, what)
        if gives not in self._gives:
            self._gives.add(gives)  # what is set meanwhile is checked, too
            try:
                yield from self._check_values(gives, what)
            except BaseException:
                self._gives.discard(gives)
                raise

    def _prepare_method(self, name: str, what: str) -> Generator[None, None, None]:
        """Prepares a way of matching, unless the map is replaced meanwhile."""
        values, keys = self.values, [*self.values]
        known: dict[bytes, bytes] = {}
        edits = self._begin_edits(None)
        try:
            for number, key in enumerate(keys):
                known[key] = values.get(key, b"")  # of one that is no more, the edits know
                if number % _STEP == _STEP - 1:
                    yield
            edits.keys = known
            made = yield from self._loaded(name, known, what)
            while edits:
                for edit in edits.take(_STEP):
                    _edit(made, known, edit, what)
                yield
        finally:
            self._edits.remove(edits)
        if values is self.values:
            made.loaded()
            made.look_in(values)
            self._methods[name] = made

    def _check_values(self, gives: str, what: str) -> Generator[None, None, None]:
        for number, (_, key, value) in enumerate(self._entries if gives != "str" else ()):
            if not _READABLE[gives](value):
                said = value.decode("utf-8", "replace")
                own = key.decode("utf-8", "surrogateescape")
                raise Wrong(f"{what}: '{said}', the value of '{own}', is no {_CALLED[gives]}")
            if number % _STEP == _STEP - 1:
                yield

    def _loaded(self, method: str, values: dict[bytes, bytes], what: str) -> Generator[None, None, Method]:
        """Returns a way of matching with these keys, which nobody changes meanwhile."""
        made = self.method_of(method, values)
        for number, key in enumerate(values):
            made.add(key, what)
            if number % _STEP == _STEP - 1:
                yield
        return made

    def _begin_edits(self, keys: dict[bytes, bytes] | None) -> Edits:
        """Returns what takes notice from now on of what is done to the map, and not yet to what has these keys."""
        edits = Edits(keys)
        self._edits.append(edits)
        return edits

    def method_of(self, name: str, values: dict[bytes, bytes]) -> Method:
        """Returns a way of matching that knows none of the keys of these values so far."""
        return METHODS[name](values)

    def find(self, method: str, sample: Sample) -> bytes | None:
        """Returns what the map has for this sample; None: nothing."""
        found = self._methods.get(method)
        return (self._prepared(method) if found is None else found).find(sample)

    def key_for(self, method: str, sample: Sample) -> bytes | None:
        """Returns the key that a way of matching finds for this sample; None: none."""
        return self._prepared(method).key_for(sample)

    def _prepared(self, name: str) -> Method:
        if name not in self._methods:
            for _ in self.prepare(name, "str", "a map"):
                pass
        return self._methods[name]

    def set(self, key: bytes, value: bytes) -> str:
        """Sets the value of a key, and adds the key if it is not there; key and value end at their first NUL. Returns
        why it was not done: no more keys may be added, or a look-up cannot read the key or the value. "": it was."""
        key, value = _before_nul(key), _before_nul(value)
        why = self._set(key, value)
        if self._edits and not why:
            self._note(key, value)
        return why

    def _note(self, key: bytes, value: bytes | None) -> None:
        """Tells of a value, or, None, that a key is no more, where something is being made of the keys."""
        for each in self._edits:
            if value is None:
                each.delete(key)
            else:
                each.set(key, value)

    def _set(self, key: bytes, value: bytes) -> str:
        before = self.values.get(key)
        has_equals = self._entries.has_equals(key)
        if before == value and not has_equals:
            return ""
        for gives in self._gives:
            if not _READABLE[gives](value):
                return f"a value that is no {_CALLED[gives]} was left out"
        if before is None:
            return self._add(key, value)
        growth = self._growth(key, value) if has_equals else len(value) - len(before)
        if growth > 0 and self._grown + growth > MOST_GROWN + self._given:
            return _TOO_MUCH
        self._grown += growth
        self._change(key, value)
        return ""

    def _growth(self, key: bytes, value: bytes) -> int:
        """Returns by how many bytes another value of all entries of this key makes these longer."""
        return sum(len(value) - len(before) for before in self._entries.values_of(key))

    def _change(self, key: bytes, value: bytes) -> None:
        self._entries.change(key, value)
        for method in self._methods.values():
            method.change(key)

    def _add(self, key: bytes, value: bytes) -> str:
        if len(self.values) >= self._most:
            return f"rules have added as many keys as they may ({MOST_ADDED})"
        if self._grown + len(key) + len(value) > MOST_GROWN + self._given:
            return _TOO_MUCH
        self._entries.append(key, value)
        added: list[Method] = []
        for name, method in self._methods.items():
            try:
                method.add(key, "a map")
            except Wrong as wrong:
                self._entries.delete(key)
                for each in added:
                    each.remove(key)
                return (
                    str(wrong)
                    if isinstance(wrong, Full)
                    else f"a key that '{self.word}{name}' cannot read was left out"
                )
            added.append(method)
        self._grown += len(key) + len(value)
        return ""

    def delete(self, key: bytes) -> None:
        """Deletes all entries of a key, if there are any."""
        key = _before_nul(key)
        if key in self.values:
            self._delete(key)
        self._note(key, None)

    def _delete(self, key: bytes) -> int:
        """Deletes all entries of a key. Returns how many bytes they had."""
        size = sum(len(key) + len(value) for value in self._entries.values_of(key))
        self._grown -= size
        self._entries.delete(key)
        for method in self._methods.values():
            method.remove(key)
        return size

    @property
    def is_being_prepared(self) -> bool:
        return False  # what is done meanwhile is done to what a reload prepares, too

    @property
    def entry_count(self) -> int:
        return len(self._entries)

    def all_entries(self) -> Iterator[Entry]:
        """Returns the entries as they are now, whatever is changed meanwhile; they may be a million."""
        return iter(self._entries)

    # What an operator orders: he is trusted as the file is, and no bound for what clients choose holds for him.

    def put(self, key: bytes, value: bytes) -> None:
        """Adds an entry. Raises Wrong if a look-up cannot read the key or the value."""
        self.check_value(value)
        if key not in self.values:
            self._put_first(key, value)
        else:
            self._entries.append(key, value)
        self._give_room(len(key) + len(value))

    def _put_first(self, key: bytes, value: bytes) -> None:
        self._entries.append(key, value)
        added: list[Method] = []
        try:
            for method in self._methods.values():
                method.add_trusted(key, "a map")
                added.append(method)
        except Wrong:
            for each in added:
                each.remove(key)
            self._entries.delete(key)
            raise
        self._most += 1
        self._note(key, value)

    def put_value(self, key: bytes, value: bytes) -> bool:
        """Gives all entries of a key another value. Returns False if there is none. Raises Wrong if a look-up cannot
        read it."""
        if key not in self.values:
            return False
        self.check_value(value)
        self._give_room(self._growth(key, value))
        self._change(key, value)
        self._note(key, value)
        return True

    def put_value_of(self, number: int, key: bytes, value: bytes) -> bool:
        """Gives one entry another value. Returns False if it is not there. Raises Wrong if a look-up cannot read it."""
        before = self._entries.value_of(number, key)
        if before is None:
            return False
        self.check_value(value)
        self._give_room(len(value) - len(before))
        self._entries.change_one(number, key, value)
        for method in self._methods.values():
            method.change(key)
        self._note(key, self.values[key])
        return True

    def take_out(self, key: bytes) -> bool:
        """Deletes all entries of a key. Returns False if there is none."""
        if key not in self.values:
            return False
        size = self._delete(key)
        self._most = max(self._least, self._most - 1)
        self._given = max(0, self._given - size)
        for method in self._methods.values():
            method.take_room()
        self._note(key, None)
        return True

    def take_out_one(self, number: int, key: bytes) -> bool:
        """Deletes one entry: the next of its equals counts then. Returns False if it is not there."""
        value = self._entries.value_of(number, key)
        if value is None:
            return False
        if not self._entries.has_equals(key):
            return self.take_out(key)
        self._give_room(-len(key) - len(value))
        if last := self._entries.delete_one(number, key):
            for method in self._methods.values():
                method.change(key)
                method.move(key, last)
            for each in last if self._edits else ():
                self._note(each, None)
                self._note(each, self.values[each])
        return True

    def _give_room(self, size: int) -> None:
        """Counts bytes that an operator has added, without taking them from what rules may add."""
        self._grown += size
        self._given = max(0, self._given + size)

    def replace(self, entries: Entries, what: str) -> Generator[None, None, None]:
        """Puts other entries in the place of all, in steps: no look-up sees a part of them. Raises Wrong if a look-up
        cannot read one of them. `entries` itself stays as it is, however this ends.

        What rules do meanwhile is done to the others, too: of what these have no room for, nothing is said.
        """
        new = type(self)(())
        edits = self._begin_edits(entries.first)
        try:
            new._take_entries((yield from entries.copy()))
            edits.keys = new.values
            # Meanwhile a reload may prepare more.
            while True:
                unread = self._gives - new._gives
                missing = [each for each in self._methods if each not in new._methods]
                if unread:
                    yield from new._check_entries(unread)
                elif missing:
                    made = new._methods[missing[0]] = yield from self._loaded(missing[0], new.values, what)
                    made.loaded()
                elif edits:
                    for edit in edits.take(_STEP):
                        if edit.deleted:
                            new.delete(edit.key)
                        if edit.value is not None:
                            new.set(edit.key, edit.value)
                    yield
                else:
                    break
        finally:
            self._edits.remove(edits)
        self._take_entries(new._entries)
        self._methods, self._most, self._grown = new._methods, new._most, new._grown

    def _take_entries(self, entries: Entries) -> None:
        self._entries, self.values = entries, entries.first
        self._most = self._least = len(self.values) + MOST_ADDED
        self._grown = self._given = 0

    def _check_entries(self, gives: AbstractSet[str]) -> Generator[None, None, None]:
        """Has values be read so from now on. Raises Wrong if one cannot be."""
        self._gives |= gives
        for number, (_, _, value) in enumerate(self._entries if gives - {"str"} else ()):
            self.check_value(value)
            if number % _STEP == _STEP - 1:
                yield

    def check(self, key: bytes, value: bytes, what: str) -> Generator[None, None, None]:
        """Checks an entry that is not there. Raises Wrong if a look-up cannot read the key or the value."""
        self.check_value(value)
        for name in self._methods:
            self.method_of(name, {key: value}).add(key, what)
        yield from ()

    def check_value(self, value: bytes) -> None:
        """Raises Wrong if a look-up cannot read a value."""
        for gives in self._gives:
            if not _READABLE[gives](value):
                raise Wrong(f"'{value.decode('utf-8', 'replace')}' is no {_CALLED[gives]}")


def _edit(made: Method, values: dict[bytes, bytes], edit: Edit, what: str) -> None:
    """Does to a way of matching, and to the values that it has, what was done to a map."""
    key = edit.key
    if edit.deleted and key in values:
        del values[key]
        made.remove(key)
    if edit.value is not None:
        is_there = key in values
        values[key] = edit.value
        if is_there:
            made.change(key)
        else:
            made.add(key, what)


def _before_nul(text: bytes) -> bytes:
    return text if b"\0" not in text else text[: text.index(b"\0")]
