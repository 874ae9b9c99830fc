"""Defines the values of rules that have been read: log-format strings, conditions and actions, frozen.

As in `model`, everything is final: names of ACLs are replaced by their criteria, patterns are parsed. Only the files of
`-f` are left to be read, by code that may open files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from reusedproxy.config.model.values import Expression, Place


@frozen
class Hole:
    """Holds `%[expression]` (or an alias such as `%ci`) within a log-format string.

    `escaped` is `%{+E}`, `quoted` is `%{+Q}`, `shown` is `%{+M}`: a dash for an empty value.
    """

    expression: Expression
    escaped: bool = False
    quoted: bool = False
    shown: bool = False


@frozen
class Format:
    """Holds a log-format string: texts and holes, in order."""

    parts: tuple[str | Hole, ...] = ()

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


@frozen
class EditHeader:
    """Holds `set-header`, `add-header`, `del-header`, `replace-header` or `replace-value`.

    `verb` is the part before the hyphen, but the whole word for the two replacing ones. `method` is del-header's `-m`,
    `pattern` the regular expression of the replacing ones.
    """

    verb: str
    name: str
    value: Format = Format()
    method: str = "str"
    pattern: str = ""


@frozen
class EditLine:
    """Changes the request line: `part` is "path", "pathq", "query" or "uri"; with `pattern`
    None the whole part is set."""

    part: str
    value: Format
    pattern: str | None = None


@frozen
class SetStatus:
    """Holds `http-response set-status`; `reason` None: the standard reason."""

    status: int
    reason: str | None = None


@frozen
class SetVariable:
    """Holds `set-var(scope.name)`: to an expression or, with `set-var-fmt`, a format; `unset-var` has neither."""

    name: str
    value: Expression | Format | None = None


@frozen
class Reply:
    """Holds `return` or `deny`: a response of the proxy's own. `content` None: the standard page of `deny`,
    or no body with `return`."""

    status: int
    denies: bool
    content_type: str = ""
    content: Format | None = None
    headers: tuple[tuple[str, Format], ...] = ()


@frozen
class Redirect:
    """Holds `redirect location|prefix|scheme`. `cookie` is the value of Set-Cookie, "" for none."""

    kind: str
    to: Format
    code: int = 302
    drop_query: bool = False
    append_slash: bool = False
    ignore_empty: bool = False
    cookie: str = ""


@frozen
class Allow:
    """Holds `allow`: no further rule of this section is evaluated."""


@frozen
class Receive:
    """Holds the action of `tcp-request connection`: `verb` is "accept", "reject" or "expect-proxy"."""

    verb: str


Action = Receive | EditHeader | EditLine | SetStatus | SetVariable | Reply | Redirect | Allow


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
    `tcp-request connection`. True when there are rules for requests or responses; `connection` does not count.
    """

    request: tuple[Rule, ...] = ()
    redirects: tuple[Rule, ...] = ()
    response: tuple[Rule, ...] = ()
    after: tuple[Rule, ...] = ()
    connection: tuple[Rule, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.request or self.redirects or self.response or self.after)


NO_RULES = Rules()
