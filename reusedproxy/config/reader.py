"""Reads the configuration: texts in, one frozen `Configuration` out, or every fault with its file and line.

Lines are split into words, `.if` blocks choose among them, section keywords choose who reads the lines that follow, and
at the end everything is checked together. Must never open a file or resolve a name; the environment is passed in as a
mapping.
"""

from __future__ import annotations

import re
from collections.abc import Container, Generator, Iterator, Mapping, Sequence

from attrs import Factory, define, frozen

from reusedproxy.config.added_servers import AddedServers
from reusedproxy.config.language import haproxy_words, hints
from reusedproxy.config.language.addresses import expanded, is_everywhere
from reusedproxy.config.language.alternatives import HINTS
from reusedproxy.config.language.conditions import VERSION, Conditionals
from reusedproxy.config.language.files import with_base
from reusedproxy.config.language.foreign import key_at, what_it_is
from reusedproxy.config.language.report import (
    ConfigurationError,
    Fault,
    Line,
    Report,
    Wrong,
    did_you_mean,
    nearest,
    not_done,
)
from reusedproxy.config.language.secrets import is_secret
from reusedproxy.config.language.words import split_words, unset_variables
from reusedproxy.config.model.names import Resolvers
from reusedproxy.config.model.proxies import Configuration
from reusedproxy.config.model.values import Place
from reusedproxy.config.sections import finish
from reusedproxy.config.sections.crt_stores import CrtStoreDraft, with_stored
from reusedproxy.config.sections.draft import ProxyDraft
from reusedproxy.config.sections.errors import ErrorGroup, check_errors, check_group
from reusedproxy.config.sections.globals import GlobalDraft
from reusedproxy.config.sections.peers import PeersDraft, check_peers
from reusedproxy.config.sections.proxies import lose_proxy_line, read_proxy_line
from reusedproxy.config.sections.resolvers import ResolversDraft
from reusedproxy.config.sections.rings import RingDraft, with_ring
from reusedproxy.config.sections.stats import stats_users
from reusedproxy.config.sections.userlists import UserListDraft, check_user_lists, finished_user_lists
from reusedproxy.config.validate.names import validate_names
from reusedproxy.config.validate.proxies import validate
from reusedproxy.config.validate.tables import validate_tables
from reusedproxy.config.validate.users import validate_users

__all__ = ["ConfigurationError", "Fault", "Source", "read_configuration", "reading"]

#: What HAProxy makes of an empty argument (src/cfgparse.c).
_EMPTY = "(HAProxy drops the rest of the line, and refuses it since 3.3)"
_NAME = re.compile(r"[A-Za-z0-9_.:-]+\Z")
#: Index of the word that is an address, by keyword; the next line names those with a further address after `addr`.
_ADDRESSES = {"bind": 1, "log": 1, "manhole": 1, "server": 2, "nameserver": 2, "server-template": 3}
_CHECKED_ADDRESSES = ("server", "server-template", "default-server")


@frozen
class Source:
    """Holds one configuration text and its name in messages."""

    name: str
    text: str


def read_configuration(sources: Sequence[Source], environ: Mapping[str, str], ssllib: str = "") -> Configuration:
    """Reads all `sources` in order, as one configuration. Raises `ConfigurationError` with all faults.

    `ssllib` is the name and version of the TLS library, for `.if`.
    """
    steps = reading(sources, environ, ssllib)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            configuration: Configuration = end.value
            return configuration


def reading(
    sources: Sequence[Source], environ: Mapping[str, str], ssllib: str = "", done: Container[str] = ()
) -> Generator[None, None, Configuration]:
    """Reads the configuration like `read_configuration`, in steps, one for each line and section: 5,000
    lines take 0.3 s in all. Of `done`, words of section `global` that twistd does already, nothing is said."""
    environment = {
        **environ,
        "REUSEDPROXY": "1",
        "HAPROXY_CFGFILES": ";".join(source.name for source in sources),
        "HAPROXY_STARTUP_VERSION": VERSION,
        "HAPROXY_BRANCH": VERSION.rpartition(".")[0],
    }
    report = Report(tuple(source.name for source in sources), done_by_twistd=done)
    reader = _Reading(report, environment, ssllib, GlobalDraft(report, environment))
    for source in sources:
        yield from reader.read_source(source)
    return (yield from reader.configuration())


#: What reads the next line of the configuration.
Section = (
    GlobalDraft
    | ProxyDraft
    | ResolversDraft
    | UserListDraft
    | PeersDraft
    | RingDraft
    | CrtStoreDraft
    | ErrorGroup
    | str
    | None
)


@define
class _Reading:
    """Reads the sources once.

    `section` is the reader of the next line: the global draft, a proxy's draft, a group of error files, a list of
    users, None before the first section, or "skipped" after the head of a section that is not implemented, whose lines
    are ignored.
    """

    report: Report
    environment: dict[str, str]
    ssllib: str
    global_: GlobalDraft
    section: Section = None
    proxies: list[ProxyDraft] = Factory(list)
    defaults: list[ProxyDraft] = Factory(list)
    resolvers: list[ResolversDraft] = Factory(list)
    groups: dict[str, ErrorGroup] = Factory(dict)
    user_lists: dict[str, UserListDraft] = Factory(dict)
    rings: dict[str, RingDraft] = Factory(dict)
    peers: dict[str, PeersDraft] = Factory(dict)
    # Names of `defaults` sections used by `from`; such a section must not be inherited implicitly as well.
    taken_by_name: set[str] = Factory(set)
    place: Place = Factory(lambda: Place("", 0))
    #: How many sections stood before the first line about the runtime API; None: there is none.
    runtime_api_at: int | None = None

    # -- lines ---------------------------------------------------------------------------------------------------------

    def read_source(self, source: Source) -> Iterator[None]:
        unverified = lambda: self.global_.server_verify == "none"  # noqa: E731
        conditionals = Conditionals(self.report, self.environment, self.ssllib, unverified)
        lines = source.text.split("\n")
        self.global_.enter_file(source.name)
        self.section = None  # which files there are, and in what order, may change
        if foreign := what_it_is(source.text):
            self.report.names_in_doubt = True
            self.report.fault(Place(source.name, 1), f"{foreign}, no configuration")
            return
        if lines[-1].strip():
            # What is cut off may be the condition of a rule that lets others in.
            text = "the last line has no end of line, so the file may be cut off: end it with one"
            self.report.fault(Place(source.name, len(lines)), text)
        behind_key = 0
        for number, text in enumerate(lines, 1):
            if number <= behind_key:
                continue
            self.place = Place(source.name, number)
            key, behind_key = key_at(lines, number - 1)
            if key:
                where = f"down to line {behind_key}, " if behind_key > number else ""
                self.report.fault(
                    self.place, f"{key} stands here, {where}which is no configuration: a file of its own has it"
                )
                continue
            text = text.removeprefix("\ufeff") if number == 1 else text
            try:
                self.read_line(text.removesuffix("\r"), conditionals)
            except Wrong as wrong:
                self.report.wrong(self.place, wrong)
            yield
        conditionals.finish()

    def read_line(self, text: str, conditionals: Conditionals) -> None:
        directive = text.lstrip(" \t").startswith(".")
        if not conditionals.active and not directive:
            conditionals.leave_out(text, self.place)
            return
        try:
            words = split_words(text, self.variable)
        except Wrong:
            self.lost_line(text.split())
            self.hide_secrets(text.split())
            raise
        self.hide_secrets(words)
        if not words:
            return
        if directive:
            conditionals.directive(Line(self.place, words))
            return
        if "" in words:
            self.lost_line(list(words))
            number = words.index("")
            what = f"argument {number} of '{words[0]}'" if number else "the first word"
            unset = [name for at, name in unset_variables(text, self.variable) if at == number]
            raise Wrong(f"{what} is empty{f': {_not_set(unset)}' if unset else ''} {_EMPTY}")
        words = self.with_addresses(words, text)
        if self.global_.tls.files:
            words = with_base(words, self.global_.tls.files)
        prefix = words[0] if words[0] in ("no", "default") and len(words) > 1 else ""
        line = Line(self.place, words[1:] if prefix else words, prefix)
        try:
            self.read_words(line, text)
        except Wrong:
            self.report.refused.add(line.word)
            raise
        if self.section != "skipped":
            self.report.done.add(line.word)

    def hide_secrets(self, words: Sequence[str]) -> None:
        """Has no message quote what may be a secret in the current line. The one with which the next section begins is
        none of a userlist."""
        begins = bool(words) and words[0] in haproxy_words.SECTIONS
        self.report.secrets.look(self.place, words, isinstance(self.section, UserListDraft) and not begins)

    def lost_line(self, rough_words: list[str]) -> None:
        """Notes that a line could not be split: it may have defined a name, or have been the head of a section."""
        self.report.names_in_doubt = True
        if len(rough_words) > 1 and rough_words[0] in ("no", "default"):
            rough_words = rough_words[1:]
        word = rough_words[0] if rough_words else ""
        if word == "global":
            self.section = self.global_
        elif word == "resolvers":
            self.section = ResolversDraft(Resolvers("", self.place))
        elif word == "http-errors":
            self.section = ErrorGroup("", self.place)
        elif word == "peers":
            self.section = PeersDraft("", self.place)
        elif word == "userlist":
            self.section = UserListDraft("", self.place)
        elif word == "ring":
            self.section = RingDraft("", self.place)
        elif word == "crt-store":
            self.section = CrtStoreDraft("", self.place, self.global_.tls)
        elif word in haproxy_words.SECTIONS:
            self.section = ProxyDraft(word, "", self.place)
        elif word in haproxy_words.SECTIONS_NOT_DONE:
            self.section = "skipped"
        elif word and isinstance(self.section, ProxyDraft):
            lose_proxy_line(self.section, Line(self.place, tuple(rough_words)))
        elif isinstance(self.section, GlobalDraft):
            self.section.unreadable.add(word)
        elif isinstance(self.section, (ResolversDraft, UserListDraft, RingDraft)):
            self.section.unreadable = True

    def with_addresses(self, words: tuple[str, ...], text: str) -> tuple[str, ...]:
        """Returns the words with variables expanded in addresses outside of double quotes, too.
        `text` is the whole line."""
        if "$" not in text:
            return words
        places = {_ADDRESSES.get(words[0], 0)}
        if words[0] in _CHECKED_ADDRESSES:
            places |= {number + 1 for number, word in enumerate(words) if word == "addr"}
        return tuple(
            self.address(words, number, text) if number and number in places else word
            for number, word in enumerate(words)
        )

    def address(self, words: tuple[str, ...], number: int, text: str) -> str:
        """Returns one of the words with its variables expanded.

        Warns of variables that are not set: HAProxy says nothing, and listens on every address.
        """
        unset = [name for at, name in unset_variables(text, self.variable) if at == number]

        def variable(name: str) -> str | None:
            value = self.variable(name)
            if value is None:
                unset.append(name)
            return value

        word = expanded(words[number], variable)
        if unset:
            everywhere = words[0] == "bind" and is_everywhere(word)
            comes_of_it = ", so that every address of this machine is listened on" if everywhere else ""
            self.report.warn(self.place, f"{_not_set(unset)}: '{words[0]}' has '{word}' for its address{comes_of_it}")
        return word

    def variable(self, name: str) -> str | None:
        """Returns a variable's value; names that begin with a dot give the current file, line and section."""
        if name == ".FILE":
            return self.place.file
        if name == ".LINE":
            return str(self.place.line)
        if name == ".SECTION":
            if isinstance(self.section, ProxyDraft):
                return self.section.name or self.section.kind
            if isinstance(
                self.section, (ResolversDraft, UserListDraft, PeersDraft, RingDraft, CrtStoreDraft, ErrorGroup)
            ):
                return self.section.name
            return "global" if isinstance(self.section, GlobalDraft) else ""
        value = self.environment.get(name)
        if value is not None and is_secret(name):
            self.report.secrets.hide(self.place, [value, *value.split()])
        return value

    def read_words(self, line: Line, text: str) -> None:
        if not line.prefix and line.keyword in haproxy_words.SECTIONS | haproxy_words.SECTIONS_NOT_DONE:
            self.begin_section(line)
        elif self._looks_like_section(line, text):
            # Read as the section that was meant, so that its lines do not cause further faults.
            meant = nearest(line.keyword, haproxy_words.SECTIONS)
            assert meant is not None
            self.report.fault(line.place, f"unknown section '{line.keyword}': did you mean '{meant}'?")
            self.begin_section(Line(line.place, (meant, *line.arguments)))
        elif self.section is None:
            hint = hints.before_sections(line)
            raise Wrong(f"'{line.keyword}' stands before the first section{hint}")
        elif isinstance(self.section, (GlobalDraft, ErrorGroup)):
            self.section.read(line)
            if self.global_.has_runtime_api and self.runtime_api_at is None:
                self.runtime_api_at = len(self.proxies)
        elif isinstance(self.section, (ResolversDraft, UserListDraft, PeersDraft, RingDraft)):
            self.section.read(line, self.report)
        elif isinstance(self.section, CrtStoreDraft):
            self.section.tls = self.global_.tls
            stored = self.section.read(line, self.report)
            if stored is not None:
                self.global_.tls = with_stored(self.global_.tls, stored)
        elif isinstance(self.section, ProxyDraft):
            self.section.tls, self.section.unix = self.global_.tls, self.global_.unix
            read_proxy_line(self.section, line, self.report)

    def _looks_like_section(self, line: Line, text: str) -> bool:
        """Tells whether the line is a mistyped section keyword: at the left margin, no known keyword, and
        closest to a section's."""
        if text[:1] in (" ", "\t") or line.prefix or line.keyword in haproxy_words.PROXY | haproxy_words.GLOBAL:
            return False
        known = haproxy_words.SECTIONS | haproxy_words.PROXY
        return len(line.arguments) <= 3 and nearest(line.keyword, known) in haproxy_words.SECTIONS

    # -- sections ------------------------------------------------------------------------------------------------------

    def begin_section(self, line: Line) -> None:
        """Begins a section. The lines that follow are read as its own, even if its head is faulty. Raises Wrong."""
        if line.keyword in haproxy_words.SECTIONS_NOT_DONE:
            self.section = "skipped"
            raise Wrong(not_done(line.keyword, "section", HINTS.get(line.keyword, "")))
        if line.keyword == "global":
            self.section = self.global_
            line.at_most(0)
            return
        if line.keyword == "resolvers":
            self.begin_resolvers(line)
            return
        if line.keyword == "userlist":
            self.begin_user_list(line)
            return
        if line.keyword == "ring":
            self.begin_ring(line)
            return
        if line.keyword == "peers":
            self.begin_peers(line)
            return
        if line.keyword == "crt-store":
            self.section = CrtStoreDraft("".join(line.arguments[:1]), line.place, self.global_.tls)
            line.at_most(1)
            return
        if line.keyword == "http-errors":
            self.section = group = ErrorGroup(line.words[1] if line.arguments else "", line.place)
            try:
                check_group(line, self.groups)
            except Wrong:
                self.report.names_in_doubt = True
                raise
            self.groups[group.name] = group
            return
        # Stays in use when the head has no name: a draft that is in no list, whose lines are read and dropped.
        self.section = ProxyDraft(line.keyword, "", line.place)
        try:
            self.begin_proxy(line)
        except Wrong:
            self.report.names_in_doubt = True
            raise

    def begin_resolvers(self, line: Line) -> None:
        # In no list yet, so that the lines of a section with a faulty head are read and dropped.
        self.section = section = ResolversDraft(Resolvers("", line.place))
        try:
            name = line.one_argument("a name")
            if not _NAME.match(name):
                raise Wrong(
                    f"the name '{name}' has a character that cannot stand in a name: letters, digits, - _ . : can"
                )
            twin = next((each for each in self.resolvers if each.name == name), None)
            if twin is not None:
                raise Wrong(f"resolvers '{name}' stands already at {twin.place}")
        except Wrong:
            self.report.names_in_doubt = True
            raise
        section.settings = Resolvers(name, line.place)
        self.resolvers.append(section)

    def begin_user_list(self, line: Line) -> None:
        # In no list yet, as in `begin_resolvers`.
        self.section = UserListDraft("", line.place)
        name = self.name_of_section(line, self.user_lists)
        self.section = self.user_lists[name] = UserListDraft(name, line.place)

    def begin_ring(self, line: Line) -> None:
        self.section = RingDraft("", line.place)
        name = self.name_of_section(line, self.rings)
        self.section = self.rings[name] = RingDraft(name, line.place)

    def name_of_section(self, line: Line, others: Mapping[str, UserListDraft | RingDraft]) -> str:
        """Returns the name in the head of a section, which none of the others has. Raises Wrong."""
        try:
            name = line.one_argument("a name")
            if not _NAME.match(name):
                raise Wrong(
                    f"the name '{name}' has a character that cannot stand in a name: letters, digits, - _ . : can"
                )
            if name in others:
                raise Wrong(f"{line.keyword} '{name}' stands already at {others[name].place}")
        except Wrong:
            self.report.names_in_doubt = True
            raise
        return name

    def begin_peers(self, line: Line) -> None:
        # In no list yet, as in `begin_resolvers`.
        self.section = PeersDraft("", line.place)
        try:
            name = line.one_argument("a name")
            if not _NAME.match(name):
                raise Wrong(
                    f"the name '{name}' has a character that cannot stand in a name: letters, digits, - _ . : can"
                )
        except Wrong:
            self.report.names_in_doubt = True
            raise
        self.section = self.peers.setdefault(name, PeersDraft(name, line.place))  # several of a name add up

    def begin_proxy(self, line: Line) -> None:
        words = line.arguments
        name = words[0] if words and (line.keyword != "defaults" or words[0] != "from" or len(words) == 1) else ""
        rest = words[1:] if name else words
        if not name and line.keyword != "defaults":
            raise Wrong(f"'{line.keyword}' needs a name")
        parent, wrong = self.parent(line, name, rest)
        self.section = section = parent.heir(line.keyword, name, line.place)
        section.head_faulty = bool(wrong)
        if line.keyword == "defaults":
            self.defaults.append(section)
        else:
            self._name_is_free(section)
            self.proxies.append(section)
        if name and not _NAME.match(name):
            raise Wrong(f"the name '{name}' has a character that cannot stand in a name: letters, digits, - _ . : can")
        if wrong:
            raise Wrong(wrong)

    def parent(self, line: Line, name: str, rest: tuple[str, ...]) -> tuple[ProxyDraft, str]:
        """Returns the `defaults` section that a section inherits, and the fault of the words
        that name it ("": none)."""
        nothing = ProxyDraft("defaults", "", line.place)
        last = self.defaults[-1] if self.defaults and line.keyword != "defaults" else nothing
        if not rest:
            if last.name and last.name in self.taken_by_name:
                text = (
                    f"'defaults {last.name}' ({last.place}) is used by 'from' elsewhere: write 'from {last.name}' here"
                    " too"
                )
                return last, f"{line.keyword} '{name}': {text}"
            return last, ""
        if rest[0] != "from":
            return last, f"{line.keyword} '{name}': '{rest[0]}' is too much ({_where_it_belongs(rest)})"
        if len(rest) < 2:
            return last, f"{line.keyword} '{name}': 'from' needs the name of a 'defaults' section"
        if len(rest) > 2:
            return last, f"{line.keyword} '{name}': '{rest[2]}' is too much"
        return self.named_defaults(rest[1], last)

    def named_defaults(self, name: str, otherwise: ProxyDraft) -> tuple[ProxyDraft, str]:
        found = [section for section in self.defaults if section.name == name]
        if not found:
            known = [section.name for section in self.defaults if section.name]
            return otherwise, f"there is no 'defaults {name}' before this line{did_you_mean(name, known)}"
        self.taken_by_name.add(name)
        if len(found) > 1:
            return found[
                -1
            ], f"'defaults {name}' stands at {found[0].place} and at {found[1].place}: which one is meant?"
        return found[0], ""

    def _name_is_free(self, section: ProxyDraft) -> None:
        for other in self.proxies:
            if other.name == section.name and set(other.sides) & set(section.sides):
                text = f"{section.title} has the same name as {other.title} at {other.place}"
                self.report.fault(section.place, text)
                return

    # -- the end -------------------------------------------------------------------------------------------------------

    def configuration(self) -> Generator[None, None, Configuration]:
        for draft in self.proxies:
            draft.settle()
        finish.number(self.proxies, self.runtime_api_at, self.report)
        for logs in (self.global_.logs, *(draft.logs for draft in self.proxies)):
            logs[:] = [with_ring(target, self.rings, self.report) for target in logs]
        named_servers = yield from validate(self.proxies, self.global_, self.report)
        validate_names(self.proxies, self.resolvers, self.report)
        check_user_lists(self.user_lists, self.report)
        validate_users([*self.proxies, *self.defaults], self.user_lists, self.report)
        tables = finish.tables([*self.proxies, *self.peers.values()], self.global_.judged)
        for section in self.peers.values():
            check_peers(section, self.global_.local_peer, self.report)
        if not self.report.names_in_doubt and not any("stick-table" in each.unreadable for each in self.proxies):
            places = {section.name: section.place for section in self.peers.values()}
            validate_tables(self.proxies, tables, places, self.global_.stick_counters, self.report)
        if not self.report.names_in_doubt:
            for draft in self.proxies:
                rules = (*draft.request_rules, *draft.response_rules)
                check_errors(draft.errors, rules, self.groups, self.report)
        global_ = self.global_.finished()
        self.report.gather()
        self.report.raise_faults()
        frontends, backends, grounds = {}, {}, {}
        may_add = any(each.level == "admin" for each in self.global_.stats_sockets)
        for draft in self.proxies:
            if "F" in draft.sides:
                frontends[draft.name] = finish.frontend(draft, self.global_, self.groups)
            if "B" in draft.sides:
                backends[draft.name] = finish.backend(draft, self.global_, self.groups)
                if may_add:
                    grounds[draft.name] = draft.ground()
            yield
        return Configuration(
            global_=global_,
            frontends=frontends,
            backends=backends,
            resolvers=finish.resolvers(self.resolvers, backends.values()),
            user_lists=finished_user_lists(self.user_lists.values())
            | {users.name: users for draft in self.proxies if (users := stats_users(draft)) is not None},
            tables=finish.with_servers(tables, backends.values()),
            notices=self.report.sorted_notices(),
            summary=self.report.summary,
            named_servers=named_servers,
            added_servers=AddedServers(grounds, self.global_) if may_add else None,
        )


def _where_it_belongs(words: Sequence[str]) -> str:
    """Says what to do with words behind the name of a section: settings of old, and addresses of older still."""
    if words[0] in haproxy_words.PROXY:
        return f"write '{' '.join(words)}' on a line of its own"
    return "write an address on a 'bind' line"


def _not_set(names: Sequence[str]) -> str:
    """Returns the message that these variables are not set."""
    listed = " and ".join(f"'{name}'" for name in dict.fromkeys(names))
    return f"the variable {listed} is not set" if len({*names}) == 1 else f"the variables {listed} are not set"
