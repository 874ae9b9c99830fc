"""Describes the rules for connections and sessions, and what they do beside deciding (`set-var`, `track-sc0`), so that
two readings of the configuration can be compared: equal descriptions are of rules that would have done the same for a
client. And tells which sections' rules for requests leave something for a client's next ones.

Where a line stands and how an ACL is called make no difference, nor, to what they do beside deciding, which rules only
turn clients away; the contents of files with patterns and maps do. It must never know clients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from errno import ENOENT
from functools import cache
from hashlib import sha256

import attrs
from attrs import evolve

from reusedproxy.build.list_files import LARGEST_LIST
from reusedproxy.clients.gate import DENIED, EXPECT_PROXY
from reusedproxy.config.language.files import list_name
from reusedproxy.config.model.proxies import Backend, Frontend, Server
from reusedproxy.config.model.rules import Criterion, Receive, Rule, Rules, Term
from reusedproxy.config.model.values import Call, Place
from reusedproxy.config.rules.actions import SetVariable
from reusedproxy.config.rules.samples import MAPS
from reusedproxy.net.files import open_bounded

#: How variables of sessions begin; and converters that set a variable.
_OF_SESSIONS = "sess."
_SETTING = ("set-var", "unset-var")
#: Returns the lines of a file with patterns.
Lines = Callable[[str], Iterable[str]]


def said_of(rules: Sequence[Rule], lines: Lines) -> tuple[object, ...]:
    """Returns the description of each rule."""
    digest = cache(lambda path: _digest("\n".join(lines(path)).encode("utf-8", "surrogateescape")))
    return tuple((_said(rule.action, digest), _said(rule.condition, digest)) for rule in rules)


def deeds_of(rules: Sequence[Rule], said: Sequence[object]) -> tuple[object, ...]:
    """Returns those of the descriptions that are of rules that do something, and of those before them that end the
    rules for some. Nothing if no rule does anything but decide."""
    last = max(
        (number for number, each in enumerate(rules) if not isinstance(each.action, Receive) or set_in_sessions(each)),
        default=-1,
    )
    return tuple(
        description
        for rule, description in zip(rules[: last + 1], said, strict=False)
        if set_in_sessions(rule)
        or not (isinstance(rule.action, Receive) and rule.action.verb in (*DENIED, EXPECT_PROXY))
    )


def notes_in_sessions(section: Frontend | Backend) -> bool:
    """Tells whether anything that is evaluated for requests or answers sets variables of a client's session, which
    rules about its next requests find: actions, and converters in any condition, value or format.

    Rules for connections and sessions, whose deeds are compared, do not count.
    """
    settings: list[object] = [getattr(section, field.name) for field in attrs.fields(type(section))]
    return any(
        set_in_sessions(evolve(each, connection=(), session=()) if isinstance(each, Rules) else each)
        for each in settings
    )


def set_in_sessions(value: object) -> bool:
    """Tells whether anything of this part of the model sets a variable of a session when it is evaluated."""
    if isinstance(value, SetVariable) and value.name.startswith(_OF_SESSIONS):
        return True
    if isinstance(value, Call):
        return value.name in _SETTING and value.arguments[0].startswith(_OF_SESSIONS)
    if isinstance(value, tuple):
        return any(map(set_in_sessions, value))
    if isinstance(value, Server):
        # There are thousands, with nothing else that is evaluated.
        return set_in_sessions((value.sni, value.pool_conn_name))
    kind = type(value)
    return attrs.has(kind) and any(set_in_sessions(getattr(value, field.name)) for field in attrs.fields(kind))


def _said(value: object, digest: Callable[[str], bytes]) -> object:
    if isinstance(value, Place):
        return None
    if isinstance(value, Term):
        return value.negated, _said(value.criteria, digest)
    if isinstance(value, Criterion):
        return (
            *(_said(part, digest) for part in (value.expression, value.patterns)),
            *(value.method, value.ignore_case, value.cased_files),
            *map(digest, value.files),
        )
    if isinstance(value, Call) and value.name in MAPS:
        return str(value), _map(value.arguments[0])
    if isinstance(value, tuple):
        return tuple(_said(part, digest) for part in value)
    if attrs.has(kind := type(value)):
        return kind, *(_said(getattr(value, field.name), digest) for field in attrs.fields(kind))
    return value


def _map(path: str) -> object:
    """Returns what stands for the contents of a map's file; of one that cannot be read, what is equal to nothing."""
    named = list_name(path)
    if named.path is None:
        return None
    try:
        with open_bounded(named.path, LARGEST_LIST) as file:
            return _digest(file.read())
    except OSError as error:
        # The file is a fault where the map itself is read, unless it may be missing.
        return None if named.optional and error.errno == ENOENT else object()


def _digest(data: bytes) -> bytes:
    return sha256(data).digest()
