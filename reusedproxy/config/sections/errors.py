"""Parses the lines about error pages: `errorfile`, `errorloc`, `errorfiles` and `http-error`, and the section
`http-errors`.

Later lines count before earlier ones, those of a section before those of its `defaults`. Files are named here and read
later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from attrs import Factory, define, evolve, frozen

from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean
from reusedproxy.config.model.errors import ERROR_STATUSES, AnswerFile, ErrorLocation, ErrorPage
from reusedproxy.config.model.rules import Rule
from reusedproxy.config.model.values import Place
from reusedproxy.config.rules.reading import Reading
from reusedproxy.config.rules.replies import Reply, read_reply
from reusedproxy.config.rules.samples import REQUEST


@define
class ErrorGroup:
    """Holds an `http-errors` section: its files, by status."""

    name: str
    place: Place
    files: dict[int, AnswerFile] = Factory(dict)

    def read(self, line: Line) -> None:
        """Reads one line of the section. Raises Wrong."""
        if line.prefix:
            raise Wrong(f"'{line.prefix}' cannot stand before '{line.keyword}' in section 'http-errors'")
        if line.keyword != "errorfile":
            hint = did_you_mean(line.keyword, ("errorfile",))
            text = hint or ": it has lines 'errorfile <status> <file>' only"
            raise Wrong(f"unknown keyword '{line.keyword}' in section 'http-errors'{text}")
        status, file = _status_and(line, "a file")
        self.files[status] = AnswerFile(line.place, file)


@frozen
class GroupUse:
    """Holds `errorfiles <name> [<status> …]`; no `statuses`: all that the group has."""

    place: Place
    group: str
    statuses: tuple[int, ...]


#: A line about error pages: of one status, or of those of a group.
ErrorLine = ErrorPage | GroupUse

Groups = Mapping[str, ErrorGroup]


def check_group(line: Line, groups: Groups) -> None:
    """Checks the head of an `http-errors` section. Raises Wrong."""
    name = line.one_argument("a name")
    if not re.match(r"[A-Za-z0-9_.:-]+\Z", name):
        raise Wrong(f"the name '{name}' has a character that cannot stand in a name: letters, digits, - _ . : can")
    if name in groups:
        raise Wrong(f"'http-errors {name}' stands already at {groups[name].place}")


def read_errorfile(line: Line) -> ErrorLine:
    """Parses `errorfile <status> <file>`. Raises Wrong."""
    status, file = _status_and(line, "a file")
    return ErrorPage(line.place, status, AnswerFile(line.place, file))


def read_errorloc(line: Line) -> ErrorLine:
    """Parses `errorloc <status> <url>` and its like: 302, where the word does not say 303. Raises Wrong."""
    status, url = _status_and(line, "a URL")
    if not url.isprintable() or not url.isascii() or " " in url:
        raise Wrong(f"'{line.keyword}': '{url}' has a character that cannot stand in a URL: write it as %XX")
    code = 303 if line.keyword.endswith("303") else 302
    return ErrorPage(line.place, status, ErrorLocation(code, url))


def read_errorfiles(line: Line) -> ErrorLine:
    """Parses `errorfiles <name> [<status> …]`. Raises Wrong."""
    if not line.arguments:
        raise Wrong("'errorfiles' needs the name of an 'http-errors' section")
    return GroupUse(line.place, line.words[1], tuple(_status(line, word) for word in line.words[2:]))


def read_http_error(line: Line, report: Report) -> ErrorLine:
    """Parses `http-error status <status> …`. Raises Wrong."""
    reading = Reading(line.arguments, "'http-error'", REQUEST, "http-error", "'http-error' lines", line, report)
    reply = read_reply(reading)
    return ErrorPage(line.place, reply.status, reply)


def _status_and(line: Line, what: str) -> tuple[int, str]:
    if len(line.words) != 3:
        missing = "a status" if len(line.words) < 2 else what
        given = f"does not take another argument: '{line.words[3]}'" if len(line.words) > 3 else f"needs {missing}"
        raise Wrong(f"'{line.keyword}' {given}: write '{line.keyword} <status> <{what.split()[-1].lower()}>'")
    return _status(line, line.words[1]), line.words[2]


def _status(line: Line, word: str) -> int:
    if word not in map(str, ERROR_STATUSES):
        raise Wrong(f"'{line.keyword}': there is no page for status '{word}', only for {_listed(ERROR_STATUSES)}")
    return int(word)


def _listed(statuses: Iterable[int]) -> str:
    return ", ".join(map(str, statuses))


# What the sections make of them.


def check_errors(lines: Iterable[ErrorLine], rules: Iterable[Rule], groups: Groups, report: Report) -> None:
    """Checks the names of groups in a section's lines and rules."""
    for line in lines:
        if isinstance(line, GroupUse):
            _check_use(line.place, line.group, line.statuses, groups, report)
        elif isinstance(line.source, Reply) and line.source.group:
            _check_use(line.place, line.source.group, (line.status,), groups, report)
    for rule in rules:
        if isinstance(rule.action, Reply) and rule.action.group:
            _check_use(rule.place, rule.action.group, (rule.action.status,), groups, report)


def _check_use(place: Place, name: str, statuses: tuple[int, ...], groups: Groups, report: Report) -> None:
    group = groups.get(name)
    if group is None:
        report.fault(place, f"there is no section 'http-errors {name}'{did_you_mean(name, groups)}")
        return
    for status in statuses:
        if status not in group.files:
            known = f"it has {_listed(sorted(group.files))}" if group.files else "it has no file at all"
            text = f"'http-errors {name}' has no file for status {status}, so it counts for nothing here: {known}"
            report.warn(place, text)


def error_pages(lines: Iterable[ErrorLine], groups: Groups) -> tuple[ErrorPage, ...]:
    """Returns the pages of a section, by status."""
    pages: dict[int, ErrorPage] = {}
    for line in lines:
        if isinstance(line, GroupUse):
            files = groups[line.group].files
            for status in line.statuses or files:
                if status in files:
                    pages[status] = ErrorPage(files[status].place, status, files[status])
        elif isinstance(line.source, Reply) and line.source.group:
            file = groups[line.source.group].files.get(line.status)
            if file is not None:  # else the page stays as it is, as the warning says
                pages[line.status] = evolve(line, source=file)
        else:
            pages[line.status] = line
    return tuple(pages[status] for status in sorted(pages))


def with_file(rule: Rule, groups: Groups) -> Rule:
    """Returns the rule with the file that the group it names has for its status, if there is one."""
    action = rule.action
    if not isinstance(action, Reply) or not action.group:
        return rule
    return evolve(rule, action=evolve(action, whole=groups[action.group].files.get(action.status), group=""))
