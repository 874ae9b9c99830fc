"""The rules of a configuration come to life: for each frontend what it does with them, and which backends they lead to.

Here the files of `-f` are opened, and what is wrong with one is a fault like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from attrs import Factory, define

from reusedproxy.backends.backend import Backend
from reusedproxy.clients.frontend import Frontend
from reusedproxy.clients.gate import Gate
from reusedproxy.config import model
from reusedproxy.config.language.regular import risk
from reusedproxy.config.language.report import Fault, Wrong
from reusedproxy.config.model.rules import Criterion, Receive
from reusedproxy.config.rules.patterns import check_patterns
from reusedproxy.config.validate.rules import edited, ours_alone
from reusedproxy.exchanges.route import Route
from reusedproxy.exchanges.routing import Choice, Routing
from reusedproxy.net.files import unless_pipe
from reusedproxy.net.slices import Steps
from reusedproxy.rules.matching import condition
from reusedproxy.rules.rule_set import Book
from reusedproxy.rules.samples.formats import text_of

#: What ends a line, and hides what follows it.
_LINE_END = re.compile(r"[\n\r\0]")


def default_backend(settings: model.Frontend) -> str | None:
    """Where requests go without a look at them, if no rule comes before: the first `use_backend`, if it has no condition."""
    first = settings.use_backends[0] if settings.use_backends else None
    if first is not None and first.condition is None and first.name.constant is not None:
        return first.name.constant
    return settings.default_backend


def patterns_in(lines: Iterable[str]) -> Iterator[str]:
    """One a line; empty lines and those that begin with # are none. As HAProxy reads it (src/pattern.c, pat_ref_read_from_file): blanks before a pattern do not count,
    those behind it do."""
    for line in lines:
        text = _LINE_END.split(line.lstrip(" \t"), maxsplit=1)[0]
        if text and not line.startswith("#"):
            yield text


@define
class RuleBooks:
    """One book for each section, made once; `faults` and `notices` are those of the files that conditions name. `disabled` are
    the names of backends that are there, but take nothing."""

    backends: Mapping[str, Backend]
    disabled: frozenset[str] = frozenset()
    faults: list[Fault] = Factory(list)
    notices: list[model.Notice] = Factory(list)
    _books: dict[model.Place, Book] = Factory(dict)
    _files: dict[str, list[str]] = Factory(dict)

    def routing(self, frontend: Frontend) -> Steps[Routing | None]:
        """What `frontend` does with rules; None: it has none, and none are where it leads to. In steps: a thousand conditions
        take 60 ms."""
        settings = frontend.settings
        named = [rule.name.constant for rule in settings.use_backends]
        everywhere = None in named
        names = {*self.backends} if everywhere else {name for name in (*named, settings.default_backend) if name}
        routes = {name: Route(settings, self.backends[name]) for name in sorted(names) if name in self.backends}
        if frontend.default_route is not None:
            routes[frontend.default_route.backend.name] = frontend.default_route
        choices = settings.use_backends if default_backend(settings) == settings.default_backend else ()
        rules = [settings.rules, *(route.backend.settings.rules for route in routes.values())]
        if not any(rules) and not choices:
            return None
        for route in routes.values():
            if route.backend.settings.place != settings.place and route.backend.settings.rules:
                route.book = self._book(route.backend.settings)
                yield
        made = []
        for choice in choices:
            made.append(self._choice(choice))
            yield
        return Routing(frontend, self._book(settings), made, routes, ours_alone(rules), edited(rules), self.disabled)

    def gate(self, settings: model.Frontend) -> Gate | None:
        """What decides who may come in there; None: everybody may."""
        rules = settings.rules.connection
        made = [(condition(rule.condition, read=self._patterns), rule.action) for rule in rules]
        return Gate([(test, action) for test, action in made if isinstance(action, Receive)]) if made else None

    def _book(self, section: model.Frontend | model.Backend) -> Book:
        if section.place not in self._books:
            self._books[section.place] = Book(section.rules, self._patterns)
        return self._books[section.place]

    def _choice(self, rule: model.UseBackend) -> Choice:
        test = None if rule.condition is None else condition(rule.condition, read=self._patterns)
        return Choice(rule.place, test, text_of(rule.name), rule.name.constant is not None)

    def _patterns(self, criterion: Criterion, path: str) -> Iterable[str]:
        if path not in self._files:
            try:
                with open(path, encoding="utf-8", errors="surrogateescape", newline="\n", opener=unless_pipe) as file:
                    self._files[path] = [*patterns_in(file)]
            except OSError as error:
                return self._fault(criterion, f"cannot read the patterns in {path}: {error.strerror}")
        try:
            check_patterns(criterion.method, self._files[path], f"the patterns in {path}")
        except Wrong as wrong:
            return self._fault(criterion, str(wrong))
        if criterion.method == "reg":
            for text in self._files[path]:
                if said := risk(text):
                    notice = model.Notice("warning", criterion.place, f"the patterns in {path}: {said}")
                    if notice not in self.notices:
                        self.notices.append(notice)
        return self._files[path]

    def _fault(self, criterion: Criterion, text: str) -> Iterable[str]:
        fault = Fault(criterion.place, text)
        if fault not in self.faults:
            self.faults.append(fault)
        return ()
