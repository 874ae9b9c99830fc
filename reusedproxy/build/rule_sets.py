"""Builds the rules of a configuration: the routing of each frontend, and the backends that it may lead to.

The files of `-f` have been read before (`build.patterns`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

from attrs import Factory, define, evolve

from reusedproxy.backends.backend import Backend
from reusedproxy.build.answers import Answers
from reusedproxy.build.deeds import deeds_of, said_of, set_in_sessions
from reusedproxy.build.patterns import Patterns
from reusedproxy.clients.frontend import Frontend
from reusedproxy.clients.gate import Gate, SeenBehind
from reusedproxy.clients.monitor import Monitor
from reusedproxy.config import model
from reusedproxy.config.language.files import list_name
from reusedproxy.config.model.persistence import Persist
from reusedproxy.config.model.rules import Condition, Receive, Rule, Rules
from reusedproxy.config.model.values import Call, Place
from reusedproxy.config.model.within import values_in
from reusedproxy.config.rules.actions import SetVariable, UseService
from reusedproxy.config.rules.counters import Track
from reusedproxy.config.rules.formats import OF_CONNECTIONS
from reusedproxy.config.rules.samples import CLIENT_BYTES, REQUEST, SERVER_BYTES
from reusedproxy.config.rules.steering import SetAddress
from reusedproxy.config.rules.variables import OF_PROCESS
from reusedproxy.config.validate.modes import SWITCH
from reusedproxy.config.validate.rules import edited, first_arguments, ours_alone
from reusedproxy.exchanges.answer_rules import ServiceRules, page_rules
from reusedproxy.exchanges.egress import Partners
from reusedproxy.exchanges.noting import LogNotes
from reusedproxy.exchanges.route import Route
from reusedproxy.exchanges.routing import BACK_PAGES, BEGIN, CHOICE, MONITOR, PAGES, PERSIST, SERVER, Routing
from reusedproxy.net.slices import Steps
from reusedproxy.rules.actions import act_of
from reusedproxy.rules.facts import Facts
from reusedproxy.rules.matching import Test, condition
from reusedproxy.rules.rule_set import NO_TABLES, RuleSet, compiling, steps
from reusedproxy.rules.rule_set import Steps as PageRules
from reusedproxy.rules.samples.formats import text_of
from reusedproxy.rules.verifying import users_asked, verified_first
from reusedproxy.sessions.sticking import Sticking
from reusedproxy.sessions.switching import switching
from reusedproxy.streams.guide import Guide, RequestWay, Way
from reusedproxy.streams.inspection import ContentRules
from reusedproxy.tables.table import Table


def default_backend(settings: model.Frontend) -> str | None:
    """Returns the backend for requests when no rule comes first: that of a first `use_backend` without condition, else
    of `default_backend`."""
    first = settings.use_backends[0] if settings.use_backends else None
    if first is not None and first.condition is None and first.name.constant is not None:
        return first.name.constant
    return settings.default_backend


def _judges(section: model.Frontend | model.Backend) -> bool:
    """Tells whether a section in mode http does something where its rules are run, besides these."""
    return section.buffers_request or section.restricts_names != "preserve" or bool(section.rules.content)


def _log_notes(settings: model.Frontend) -> LogNotes | None:
    """Returns what notes things for the frontend's log; None where that shows only what an exchange knows anyhow."""
    log = settings.log
    return LogNotes(settings) if settings.captures or log.early or log.notes_connections else None


def asks_for_host(said: object) -> bool:
    """Tells whether a condition, or a rule, looks at the Host of a request."""
    return any(name.lower() == "host" for name in first_arguments(said, ("hdr", "req.hdr", "req.fhdr")))


def asks_for_connection(said: object) -> bool:
    """Tells whether rules look at the connection to the server."""
    return any(call.name.startswith(OF_CONNECTIONS) for call in values_in(said, Call))


def uses_service(section: model.Frontend | model.Backend) -> bool:
    """Tells whether a rule of the section has requests answered by a service."""
    return any(isinstance(rule.action, UseService) for rule in section.rules.request)


@define
class RuleSets:
    """Builds one rule set for each section, once, with the `patterns` of files.

    `disabled` are the names of backends that exist and take no requests. `tables` are the stick tables, by name.
    """

    backends: Mapping[str, Backend]
    disabled: frozenset[str] = frozenset()
    patterns: Patterns = Factory(Patterns)
    answers: Answers = Factory(Answers)
    tables: Mapping[str, Table] = NO_TABLES
    #: The rules that decide are noted (`last_rule_line`).
    notes_last: bool = False
    _made: dict[model.Place, RuleSet] = Factory(dict)
    _ways: dict[model.Place, Way] = Factory(dict)

    def routing(self, frontend: Frontend) -> Steps[Routing | None]:
        """Returns the routing of `frontend`; None when neither it nor any backend that it leads to has rules, or when
        it is in mode tcp and nothing leads to requests.

        Runs in steps: a thousand conditions take 60 ms.
        """
        settings, streams = frontend.settings, frontend.settings.mode == "tcp"
        named = [rule.name.constant for rule in settings.use_backends]
        everywhere = None in named
        names = {*self.backends} if everywhere else {name for name in (*named, settings.default_backend) if name}
        known = {name: each for name, each in self.backends.items() if each.settings.mode == "http"}
        routes = {name: Route(settings, known[name]) for name in sorted(names) if name in known}
        if streams and not routes and not any(each.action == SWITCH for each in settings.rules.content):
            return None
        if frontend.default_route is not None:
            routes[frontend.default_route.backend.name] = frontend.default_route
        choices = settings.use_backends if default_backend(settings) == settings.default_backend else ()
        rules = [settings.rules, *(route.backend.settings.rules for route in routes.values())]
        pages = [page for page in (settings.stats, *(r.backend.settings.stats for r in routes.values())) if page]
        asked = users_asked([*pages, *settings.rules.monitor])
        notes = _log_notes(settings)
        if (
            not streams
            and notes is None
            and not settings.unique_id_header
            and not any(rules)
            and not _judges(settings)
            and not any(_judges(route.backend.settings) or route.tells for route in routes.values())
            and not any(route.backend.settings.rules.response_content for route in routes.values())
            and not choices
            and not any(route.backend.settings.use_servers for route in routes.values())
            and not any(route.backend.settings.egress for route in routes.values())
            and not frontend.authentication.hashing(asked)
        ):
            return None
        sections: list[model.Frontend | model.Backend] = [settings, *(r.backend.settings for r in routes.values())]
        hashed, verified = self._hashed(frontend, sections)
        noted = settings.log.notes_connections or asks_for_connection(settings.rules)
        for route in routes.values():
            own = route.backend.settings
            route.notes_connection = noted or asks_for_connection(own.rules)
            if own.place != settings.place and (own.rules or _judges(own)):
                route.rule_set = yield from self._rule_set(own, hashed)
                yield
        for route in routes.values():
            route.persist_rules = [
                (None if rule.condition is None else condition(rule.condition, read=self.patterns), verb, rule.place)
                for rule in route.backend.settings.rules.persist
                if isinstance(rule.action, Persist)
                for verb in [rule.action.verb]
            ]
            route.response_content = yield from compiling(
                route.backend.settings.rules.response_content, SERVER_BYTES, self.patterns, notes_last=self.notes_last
            )
            if route.backend.settings.egress:
                route.partners = Partners(route.backend, route.backend.report)
            if route.backend.settings.rules.stick:
                route.sticking = Sticking(route.backend, route.backend.settings.rules.stick, self.patterns)
            route.server_rules = [
                (condition(rule.condition, read=self.patterns), text_of(rule.name), rule.place)
                for rule in route.backend.settings.use_servers
            ]
        where = CLIENT_BYTES if streams else REQUEST
        made = yield from switching(choices, where, partial(self._test, where=where))
        rule_set = yield from self._rule_set(settings, hashed)
        return Routing(
            frontend,
            rule_set,
            made,
            routes,
            ours_alone(rules),
            edited(rules),
            self.disabled,
            hashed,
            notes,
            settings.unique_id_header if settings.unique_id is not None else "",
            streams and not names.isdisjoint(self.backends.keys() - known.keys()),
            frozenset(self.backends.keys() - known.keys()) if everywhere else frozenset(),
            verified,
        )

    @staticmethod
    def _hashed(
        frontend: Frontend, sections: Sequence[model.Frontend | model.Backend]
    ) -> tuple[tuple[str, ...], Mapping[int, Sequence[str]]]:
        """Returns which lists of users with hashed passwords are asked about the requests of a frontend, whose section
        is the first of these, with the backends that it leads to; and those in which a password must be known before a
        stage of a request's way."""
        front, backends = frontend.settings, [each for each in sections if isinstance(each, model.Backend)]
        stages: dict[int, list[object]] = {
            PAGES: [front.stats],
            BACK_PAGES: [each.stats for each in backends],
            MONITOR: [*front.rules.monitor],
            CHOICE: [*front.use_backends],
            PERSIST: [rule for each in backends for rule in each.rules.persist],
            SERVER: [rule for each in backends for rule in each.use_servers],
        }
        late: list[object] = [front.unique_id, *(each for one in backends for each in (one.balance, one.forwarded))]
        for each in sections:
            late += [each.rules.stick, each.errors]  # rules for answers ask nothing of requests
        asked = [*late, *(each.rules for each in sections), *(value for values in stages.values() for value in values)]
        hashed = frontend.authentication.hashing(users_asked(asked))
        verified = {stage: verified_first(values, hashed) for stage, values in stages.items()}
        return hashed, {**verified, BEGIN: frontend.authentication.hashing(users_asked(late))}

    def page(
        self, settings: model.StatsPage, content: Iterable[Rule]
    ) -> tuple[PageRules, list[tuple[Test, Place]], ServiceRules | None]:
        """Returns the rules of a statistics page; the conditions of those who may change something with it, each with
        the place of what it asks first; and the rules for its answers, made of the section's for `content`."""
        return (
            steps(self.answers.rules(Rules(settings.rules)).request, REQUEST, self.patterns),
            [
                (condition(each, read=self.patterns), each.alternatives[0][0].criteria[0].place)
                for each in settings.admin
            ],
            page_rules(steps(content, SERVER_BYTES, self.patterns)),
        )

    def guide(self, frontend: Frontend) -> Steps[Guide]:
        """Returns what leads the streams of a frontend in mode tcp, whose `routing` is known."""
        settings = frontend.settings
        rules, read = settings.rules, self.patterns
        front = ContentRules.of(rules.content, settings.inspect_delay, CLIENT_BYTES, read, self.notes_last)
        ways: dict[str, Way | RequestWay] = {}
        for name, backend in self.backends.items():
            if backend.settings.mode == "tcp":
                ways[name] = self._way(settings, backend)
                yield
            elif frontend.routing is not None and name in frontend.routing.routes:
                ways[name] = RequestWay(name)
        choices = settings.use_backends if default_backend(settings) == settings.default_backend else ()
        made = yield from switching(choices, CLIENT_BYTES, partial(self._test, where=CLIENT_BYTES))
        default = default_backend(settings)
        named = [each.name.constant for each in choices]
        reached = None if None in named else {each for each in (default, *named) if each is not None}
        return Guide(front, made, default, ways, self.disabled, reached)

    def _way(self, frontend: model.Frontend, backend: Backend) -> Way:
        settings, read = backend.settings, self.patterns
        rules, own = settings.rules, settings.place == frontend.place
        if settings.place not in self._ways:
            self._ways[settings.place] = Way(
                backend,
                ContentRules.of(rules.content, settings.inspect_delay, CLIENT_BYTES, read, self.notes_last),
                [
                    (condition(rule.condition, CLIENT_BYTES, read), text_of(rule.name, CLIENT_BYTES), rule.place)
                    for rule in settings.use_servers
                ],
                ContentRules.of(rules.response_content, settings.response_delay, SERVER_BYTES, read, self.notes_last),
                Sticking(backend, rules.stick, read) if rules.stick else None,
            )
        way = self._ways[settings.place]
        return evolve(way, rules=None) if own else way

    def gate(self, rules: Sequence[Rule]) -> Gate | None:
        """Returns the check for new connections (`tcp-request connection`), or for those whose handshakes are over
        (`tcp-request session`); None without rules."""
        if not rules:
            return None
        made = [
            (
                condition(rule.condition, read=self.patterns),
                self._deed(rule),
                rule.place,
            )
            for rule in rules
        ]
        tracks = any(isinstance(rule.action, Track) for rule in rules)
        said = said_of(rules, lambda path: self.patterns.files.get(list_name(path).name, ()))
        sets = set_in_sessions(tuple(rules)) or any(isinstance(rule.action, SetAddress) for rule in rules)
        return Gate(made, tracks, sets, deeds_of(rules, said), said)

    @staticmethod
    def _deed(rule: Rule) -> str | Callable[[Facts], object]:
        """Returns what a rule for connections or sessions decides, or the function that does what it says."""
        if isinstance(rule.action, Receive):
            return rule.action.verb
        act, action = act_of(rule.action, REQUEST), rule.action
        of_process = isinstance(action, SetVariable) and action.name.startswith(OF_PROCESS)
        return SeenBehind(act) if of_process or isinstance(action, SetAddress) else act

    def monitor(self, frontend: Frontend) -> Monitor | None:
        """Returns what answers `monitor-uri`; None without one."""
        settings = frontend.settings
        if not settings.monitor_uri:
            return None
        fails = [(condition(rule.condition, read=self.patterns), rule.place) for rule in settings.rules.monitor]
        return Monitor(frontend, settings.monitor_uri, fails)

    def _rule_set(self, section: model.Frontend | model.Backend, hashed: Collection[str]) -> Steps[RuleSet]:
        if section.place not in self._made:
            buffers = section.place if section.buffers_request else None
            made = RuleSet(
                self.answers.rules(section.rules),
                self.patterns,
                buffers,
                section.restricts_names,
                section.place,
                self.tables,
                self.notes_last,
                hashed,
            )
            yield from made.compilation
            self._made[section.place] = made
        return self._made[section.place]

    def _test(self, said: Condition | None, where: str = REQUEST) -> Test | None:
        return None if said is None else condition(said, where, self.patterns)
