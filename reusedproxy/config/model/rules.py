"""Defines the values of rules that have been read: log-format strings, conditions and actions, frozen.

As in `model`, everything is final: names of ACLs are replaced by their criteria, patterns are parsed. Only the files of
`-f` are left to be read, by code that may open files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from attrs import frozen

if TYPE_CHECKING:
    from reusedproxy.config.model.values import Expression, Place


@frozen
class Hole:
    """Holds `%[expression]` (or an alias such as `%ci`) within a log-format string.

    `escaped` is `%{+E}`, `quoted` is `%{+Q}`, `shown` is `%{+M}`: a dash for an empty value; `hexadecimal` is `%{+X}`,
    for addresses, ports and some numbers. `name` and `kind` are those of `%(name:type)`; with `json` (`%{+json}`) it is
    written as a value of JSON.
    """

    expression: Expression
    escaped: bool = False
    quoted: bool = False
    shown: bool = False
    hexadecimal: bool = False
    json: bool = False
    name: str = ""
    kind: str = ""


@frozen
class Format:
    """Holds a log-format string: texts and holes, in order. `json`: all of it is one object of JSON, of the holes that
    have names (`%{+json}o`)."""

    parts: tuple[str | Hole, ...] = ()
    json: bool = False

    @property
    def constant(self) -> str | None:
        """Returns the text when it never changes; None when it depends on the exchange."""
        texts = [part for part in self.parts if isinstance(part, str)]
        return "".join(texts) if len(texts) == len(self.parts) else None

    @property
    def expressions(self) -> tuple[Expression, ...]:
        return tuple(part.expression for part in self.parts if isinstance(part, Hole))


@frozen
class Criterion:
    """Holds one `acl` line, or the criterion between braces: a sample, the comparison method, and the patterns.

    `patterns` are texts as written; the patterns in `files`, one a line, are added to them. `method` is HAProxy's word
    for `-m`. `ignore_case` is `-i`, which does not apply to the first `cased_files` of the files, since they precede
    it on the line.
    """

    place: Place
    expression: Expression
    method: str
    patterns: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    ignore_case: bool = False
    cased_files: int = 0


@frozen
class Term:
    """Is true when one of its criteria is; `negated` inverts that. `name` is the ACL's name as written."""

    criteria: tuple[Criterion, ...]
    negated: bool = False
    name: str = ""


@frozen
class Condition:
    """Is true when all terms of one of its `alternatives` are; `unless` inverts that."""

    alternatives: tuple[tuple[Term, ...], ...]
    unless: bool = False


class Action:
    """Says what a rule does; `config.rules.actions` has those of `http-request` and its like.

    Checks of whole sections ask the class: `answers` tells whether the proxy answers the request itself, `ends` whether
    no further rule of the section is run.
    """

    answers: ClassVar[bool] = False
    ends: ClassVar[bool] = False

    @property
    def regular_expressions(self) -> tuple[str, ...]:
        """The regular expressions that it searches with, as written."""
        return ()


@frozen
class Receive(Action):
    """Holds the action of `tcp-request connection` ("accept", "reject", "silent-drop" or "expect-proxy") and `content`
    (the first three, or "switch-mode", that is to http), or `tcp-response content` ("close", too)."""

    verb: str


@frozen
class Fail(Action):
    """Holds the action of `monitor fail`."""


@frozen
class Rule:
    """Holds one line: an action and its condition; `condition` None: always."""

    place: Place
    words: str
    action: Action
    condition: Condition | None = None


@frozen
class UseBackend:
    """Holds `use_backend`: the backend's name, which may depend on the request."""

    place: Place
    name: Format
    condition: Condition | None = None


@frozen
class Rules:
    """Holds all rules of one section, each kind in the order written.

    `redirects` are lines that begin with that word, `after` those of `http-after-response`, `connection` those of
    `tcp-request connection`, `monitor` those of `monitor fail`, `persist` those of `force-persist` and
    `ignore-persist`, `content` and `response_content` those of `tcp-request content` and `tcp-response content`,
    `session` those of `tcp-request session`, `stick` those of that word. True when there are rules for requests or
    responses; those of connections, sessions and monitors, and contents, do not count.
    """

    request: tuple[Rule, ...] = ()
    redirects: tuple[Rule, ...] = ()
    response: tuple[Rule, ...] = ()
    after: tuple[Rule, ...] = ()
    connection: tuple[Rule, ...] = ()
    monitor: tuple[Rule, ...] = ()
    persist: tuple[Rule, ...] = ()
    content: tuple[Rule, ...] = ()
    response_content: tuple[Rule, ...] = ()
    session: tuple[Rule, ...] = ()
    stick: tuple[Rule, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.request or self.redirects or self.response or self.after or self.persist or self.stick)


NO_RULES = Rules()
