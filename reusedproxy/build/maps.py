"""Reads the maps that a configuration names (`map…` converters, `set-map`): each file once, with every fault.

A line has a key and, behind blanks, its value. As in HAProxy, empty lines and those that begin with # are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import attrs
from attrs import Factory, define

from reusedproxy.build.list_files import reading
from reusedproxy.config.language.files import ListName, list_name
from reusedproxy.config.language.report import Fault, Wrong
from reusedproxy.config.model.values import Call, Place
from reusedproxy.config.rules.samples import KEY, MAPS
from reusedproxy.config.rules.steering import EditMap
from reusedproxy.net.files import why_unread
from reusedproxy.net.slices import Steps
from reusedproxy.rules.maps import Map

_LINE = re.compile(r"([^ \t]+)[ \t]*([^\r\n\0]*)")


@define
class Maps:
    """Holds the maps by the names of their files; `faults` are those of the files.

    `read` has the maps of an earlier reading of the same configuration, which are not read again.
    """

    read: dict[str, Map] = Factory(dict)
    faults: list[Fault] = Factory(list)
    found: dict[str, Map] = Factory(dict)

    def load(self, sections: Iterable[object]) -> Steps[None]:
        """Reads the maps that these sections name, in steps: a map may have many lines."""
        for section in sections:
            for place, call in _calls(section, None):
                method, gives = MAPS[call.name]
                named = list_name(call.arguments[0])
                if named.name not in self.found:
                    chosen = self.read.get(named.name)
                    self.found[named.name] = (yield from self._map(named, place)) if chosen is None else chosen
                    self.found[named.name].uses = []
                    yield
                self.found[named.name].uses.append(place)
                try:
                    read_as = "str" if gives == KEY else gives
                    yield from self.found[named.name].prepare(method, read_as, f"the map {named.name}")
                except Wrong as wrong:
                    self._fault(place, str(wrong))
            yield

    def _map(self, named: ListName, place: Place) -> Steps[Map]:
        try:
            return Map((yield from reading(named, pairs_in)))
        except OSError as error:
            self._fault(place, f"cannot read the map {named.name}: {why_unread(named.name, error)}")
            return Map(())

    def _fault(self, place: Place, text: str) -> None:
        fault = Fault(place, text)
        if fault not in self.faults:
            self.faults.append(fault)


def pairs_in(lines: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Returns keys and values, one pair a line; blanks around either are left out."""
    for line in lines:
        found = _LINE.match(line.strip(" \t\r\n"))
        if found is not None and not line.startswith("#"):
            yield found[1], found[2].encode("utf-8", "surrogateescape")


def _calls(said: object, place: Place | None) -> Iterator[tuple[Place, Call]]:
    """Returns the converters that look something up in a map, with the place of the line, at any depth; `map` stands
    for rules that change one."""
    if isinstance(said, EditMap):
        assert place is not None
        yield place, Call("map", (said.path,))
    if isinstance(said, Call):
        if said.name in MAPS:
            assert place is not None
            yield place, said
    elif isinstance(said, tuple):
        for part in said:
            yield from _calls(part, place)
    elif attrs.has(kind := type(said)):
        own = getattr(said, "place", None)
        inner = own if isinstance(own, Place) else place
        for field in attrs.fields(kind):
            yield from _calls(getattr(said, field.name), inner)
