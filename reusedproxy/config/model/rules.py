"""What rules say, once they have been read: frozen values for log-format strings, conditions and actions.

As in `model`, everything is final: names of ACLs are replaced by what they test, patterns are read, and nothing is left
to be looked up but the files of `-f`, which only whoever may open files can read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from reusedproxy.config.model.values import Expression, Place


@frozen
class Hole:
    """`%[expression]` (or an alias such as `%ci`) within a log-format string; `escaped`: `%{+E}`, `quoted`: `%{+Q}`,
    `shown`: `%{+M}`, a dash for nothing."""

    expression: Expression
    escaped: bool = False
    quoted: bool = False
    shown: bool = False


@frozen
class Format:
    """A log-format string: texts and holes, in order."""

    parts: tuple[str | Hole, ...] = ()

    @property
    def constant(self) -> str | None:
        """What it always is; None: it depends on the exchange."""
        texts = [part for part in self.parts if isinstance(part, str)]
        return "".join(texts) if len(texts) == len(self.parts) else None

    @property
    def expressions(self) -> tuple[Expression, ...]:
        return tuple(part.expression for part in self.parts if isinstance(part, Hole))


@frozen
class Criterion:
    """One `acl` line, or what stands between braces: a sample, how it is compared, and with what.

    `patterns` are texts as written; those of `files`, one a line, come besides. `method` is HAProxy's word for `-m`. `ignore_case`
    is `-i`, which does not count for the first `cased_files` of the files, since they are named before it.
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
    """True when one of its criteria is; `negated` turns that round. `name` is how it was written."""

    criteria: tuple[Criterion, ...]
    negated: bool = False
    name: str = ""


@frozen
class Condition:
    """True when all terms of one of its `alternatives` are; `unless` turns that round."""

    alternatives: tuple[tuple[Term, ...], ...]
    unless: bool = False


@frozen
class EditHeader:
    """`set-header`, `add-header`, `del-header`, `replace-header` and `replace-value`: `verb` without what follows the hyphen
    but for the latter two. `method` is del-header's (`-m`), `pattern` the expression of the replacing ones."""

    verb: str
    name: str
    value: Format = Format()
    method: str = "str"
    pattern: str = ""


@frozen
class EditLine:
    """What changes the request line: `part` is "path", "pathq", "query" or "uri"; `pattern` None: all of it is set."""

    part: str
    value: Format
    pattern: str | None = None


@frozen
class SetStatus:
    """`http-response set-status`; `reason` None: the usual one."""

    status: int
    reason: str | None = None


@frozen
class SetVariable:
    """`set-var(scope.name)`: to an expression or, with `set-var-fmt`, a format; `unset-var` has neither."""

    name: str
    value: Expression | Format | None = None


@frozen
class Reply:
    """`return` and `deny`: an answer of our own. `content` None: `deny`'s own page, or no body at all with `return`."""

    status: int
    denies: bool
    content_type: str = ""
    content: Format | None = None
    headers: tuple[tuple[str, Format], ...] = ()


@frozen
class Redirect:
    """`redirect location|prefix|scheme`. `cookie` is the value of Set-Cookie, "" for none."""

    kind: str
    to: Format
    code: int = 302
    drop_query: bool = False
    append_slash: bool = False
    ignore_empty: bool = False
    cookie: str = ""


@frozen
class Allow:
    """No further rule of this section counts."""


@frozen
class Receive:
    """`tcp-request connection`: `verb` is "accept", "reject" or "expect-proxy"."""

    verb: str


Action = Receive | EditHeader | EditLine | SetStatus | SetVariable | Reply | Redirect | Allow


@frozen
class Rule:
    """One line: what is done, and when; `condition` None: always."""

    place: Place
    words: str
    action: Action
    condition: Condition | None = None


@frozen
class UseBackend:
    """`use_backend`: a name, which may depend on the request."""

    place: Place
    name: Format
    condition: Condition | None = None


@frozen
class Rules:
    """All rules of one section, each kind in the order written. `redirects` are lines that begin with that word, `after`
    those of `http-after-response`, `connection` those of `tcp-request connection`. It is true when there are any for requests
    or answers."""

    request: tuple[Rule, ...] = ()
    redirects: tuple[Rule, ...] = ()
    response: tuple[Rule, ...] = ()
    after: tuple[Rule, ...] = ()
    connection: tuple[Rule, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.request or self.redirects or self.response or self.after)


NO_RULES = Rules()
