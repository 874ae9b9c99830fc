"""Reads the files with patterns that a configuration names (`-f`): each once, with every fault, in steps.

A line is a pattern, but for empty lines and those that begin with #. It must never know what a pattern is compared
with.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import attrs
from attrs import Factory, define

from reusedproxy.build.list_files import reading
from reusedproxy.config import model
from reusedproxy.config.language.files import list_name
from reusedproxy.config.language.report import Fault, Wrong, did_you_mean
from reusedproxy.config.model.rules import Criterion
from reusedproxy.config.model.users import UserList
from reusedproxy.config.model.values import Notice, Place
from reusedproxy.config.rules.patterns import GROUP
from reusedproxy.config.rules.steering import EditList
from reusedproxy.net.files import why_unread
from reusedproxy.net.slices import Steps, run_through
from reusedproxy.rules.edited_lists import EditedFile
from reusedproxy.rules.pattern_files import PatternFile

#: A character that ends a pattern; the rest of the line is ignored.
_LINE_END = re.compile(r"[\n\r\0]")
_WITHOUT_CONDITIONS = (model.Server, model.Bind)


def patterns_in(lines: Iterable[str]) -> Iterator[str]:
    """Returns the patterns, one a line, without empty lines and lines that begin with #.

    As in HAProxy (src/pattern.c, pat_ref_read_from_file), blanks before a pattern are ignored, those after it are not.
    """
    for line in lines:
        text = _LINE_END.split(line.lstrip(" \t"), maxsplit=1)[0]
        if text and not line.startswith("#"):
            yield text


@define
class Patterns:
    """Holds the patterns by the names of their files; `faults` and `notices` are those of the files.

    `files` that are given are not read again. `lists` are the `userlist` sections, whose groups some patterns name.
    """

    files: dict[str, PatternFile] = Factory(dict)
    lists: Mapping[str, UserList] = Factory(dict)
    faults: list[Fault] = Factory(list)
    notices: list[Notice] = Factory(list)
    #: Why a file, or its patterns for a method, cannot be used, by the file, the method and whether case is ignored;
    #: "": they can.
    _found: dict[tuple[str, str, bool], str] = Factory(dict)
    #: The files whose patterns rules change (`add-acl`), with the place of the first of these.
    _edits: dict[str, Place] = Factory(dict)

    def load(self, sections: Iterable[object]) -> Steps[None]:
        """Reads the files that these sections name, and compiles what takes long, in steps."""
        criteria: list[Criterion] = []
        for section in sections:
            for place, said in _naming(section, None):
                if isinstance(said, Criterion):
                    criteria.append(said)
                else:
                    self._edits.setdefault(said.path, place)
            yield
        for criterion in criteria:
            for number, path in enumerate(criterion.files):
                file = yield from self._load(criterion, path, criterion.ignore_case and number >= criterion.cased_files)
                file.uses[criterion.place] = None
        for path, place in self._edits.items():
            if path not in {list_name(each).name for criterion in criteria for each in criterion.files}:
                text = f"rules change the patterns in {path}, with which no condition compares: -f {path} is missing"
                self.notices.append(Notice("warning", place, text))

    @property
    def edited(self) -> dict[str, EditedFile]:
        """Returns the files whose patterns rules change, by their names."""
        return {path: file for path, file in self.files.items() if isinstance(file, EditedFile)}

    def __call__(self, criterion: Criterion, path: str) -> PatternFile:
        """Returns the patterns of a file for a criterion; none where they are a fault."""
        ignore_case = criterion.ignore_case and path in criterion.files[criterion.cased_files :]
        return run_through(self._load(criterion, path, ignore_case))

    def _load(self, criterion: Criterion, path: str, ignore_case: bool) -> Steps[PatternFile]:
        named = list_name(path)
        path = named.name
        if path not in self.files:
            try:
                lines = yield from reading(named, patterns_in)
            except OSError as error:
                return self._fault(criterion, f"cannot read the patterns in {path}: {why_unread(path, error)}")
            self.files[path] = EditedFile(lines) if path in self._edits else PatternFile(lines)
        file, asked = self.files[path], (path, criterion.method, ignore_case)
        if asked not in self._found:
            self._found[asked] = ""
            try:
                yield from file.prepare(criterion.method, ignore_case, f"the patterns in {path}")
            except Wrong as wrong:
                self._found[asked] = str(wrong)
        if self._found[asked]:
            return self._fault(criterion, self._found[asked])
        if criterion.method == GROUP and (unknown := self._unknown_group(criterion, file)) is not None:
            return self._fault(criterion, f"the patterns in {path}: {unknown}")
        if criterion.method == "reg":
            for warning in file.warnings:
                notice = Notice("warning", criterion.place, f"the patterns in {path}: {warning}")
                if notice not in self.notices:
                    self.notices.append(notice)
        return file

    def _unknown_group(self, criterion: Criterion, file: PatternFile) -> str | None:
        """Says which group of a file its `userlist` does not have; None: it has all."""
        asked = self.lists.get(criterion.expression.fetch.arguments[0])
        if asked is None:
            return None
        unknown = next((each for each in file if each not in asked.groups), None)
        if unknown is None:
            return None
        return f"userlist '{asked.name}' has no group '{unknown}'{did_you_mean(unknown, asked.groups)}"

    def _fault(self, criterion: Criterion, text: str) -> PatternFile:
        fault = Fault(criterion.place, text)
        if fault not in self.faults:
            self.faults.append(fault)
        return PatternFile()


def _naming(said: object, place: Place | None) -> Iterator[tuple[Place, Criterion | EditList]]:
    """Returns what names files of patterns, at any depth, with the place of its line."""
    if isinstance(said, Criterion):
        if said.files:
            yield said.place, said
    elif isinstance(said, EditList):
        assert place is not None
        yield place, said
    elif isinstance(said, tuple):
        for part in said:
            yield from _naming(part, place)
    elif attrs.has(kind := type(said)) and kind not in _WITHOUT_CONDITIONS:
        own = getattr(said, "place", None)
        inner = own if isinstance(own, Place) else place
        for field in attrs.fields(kind):
            yield from _naming(getattr(said, field.name), inner)
