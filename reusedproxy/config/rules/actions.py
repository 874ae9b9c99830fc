"""Defines the actions of `http-request`, `http-response` and `http-after-response`: the value of each, and its reader.

One table maps each word to the function that parses what follows it; `rules.actions` compiles the values. Checks single
lines only; checks that need other lines are in `validate.rules`. Rules must not change headers that frame a message or
belong to one hop: the message sent would no longer be the one that was parsed.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import frozen

from reusedproxy.config.language.haproxy_words import words
from reusedproxy.config.language.header_names import TOKEN, header_name
from reusedproxy.config.language.regular import read_regular
from reusedproxy.config.language.report import Wrong, did_you_mean
from reusedproxy.config.model.rules import Action, Format
from reusedproxy.config.model.values import Expression
from reusedproxy.config.rules.bandwidth import read_bandwidth_limit
from reusedproxy.config.rules.counters import TABLE_ACTIONS
from reusedproxy.config.rules.expressions import type_of
from reusedproxy.config.rules.log_actions import read_capture_rule, read_log_level
from reusedproxy.config.rules.reading import FRAMING, HOP, Reading, printable
from reusedproxy.config.rules.replies import read_reply
from reusedproxy.config.rules.samples import CASTS, REQUEST, RESPONSE
from reusedproxy.config.rules.steering import EVERYWHERE, STEERING
from reusedproxy.config.rules.variables import variable, variable_conditions

# What they are.

EMPTY = Format()


@frozen
class EditHeader(Action):
    """Holds `set-header`, `add-header`, `del-header`, `replace-header` or `replace-value`.

    `verb` is the part before the hyphen, but the whole word for the two replacing ones. `method` is del-header's `-m`,
    `pattern` the regular expression of the replacing ones.
    """

    verb: str
    name: str
    value: Format = EMPTY
    method: str = "str"
    pattern: str = ""

    @property
    def regular_expressions(self) -> tuple[str, ...]:
        searched = (self.name,) if self.method == "reg" else ()
        return (*searched, self.pattern) if self.pattern else searched


@frozen
class EditLine(Action):
    """Changes the request line: `part` is "path", "pathq", "query" or "uri"; `pattern` None sets the whole part."""

    part: str
    value: Format
    pattern: str | None = None

    @property
    def regular_expressions(self) -> tuple[str, ...]:
        return (self.pattern,) if self.pattern else ()


@frozen
class SetStatus(Action):
    """Holds `http-response set-status`; `reason` None: the standard reason."""

    status: int
    reason: str | None = None


@frozen
class SetVariable(Action):
    """Holds `set-var(scope.name[,condition…])`: to an expression or, with `set-var-fmt`, a format; `unset-var` has
    neither."""

    name: str
    value: Expression | Format | None = None
    conditions: tuple[str, ...] = ()


@frozen
class SetPriority(Action):
    """Holds `set-priority-class` or `set-priority-offset`: `part` is the last word of it."""

    part: str
    value: Expression


@frozen
class Redirect(Action):
    """Holds `redirect location|prefix|scheme`. `cookie` is the value of Set-Cookie, "" for none."""

    answers = True
    ends = True

    kind: str
    to: Format
    code: int = 302
    drop_query: bool = False
    append_slash: bool = False
    ignore_empty: bool = False
    cookie: str = ""


@frozen
class Authenticate(Action):
    """Holds `auth [realm <realm>]`; `realm` "": the section's name."""

    answers = True
    ends = True

    realm: str = ""


@frozen
class Allow(Action):
    """Holds `allow`: no further rule of this section is evaluated."""

    ends = True


@frozen
class UseService(Action):
    """Holds `use-service`: one of SERVICES answers in place of a server."""

    answers = True
    ends = True

    name: str


#: What there is to answer in place of a server.
SERVICES = ("prometheus-exporter",)

# How they are read.

REQUEST_NOT_DONE = words(
    """
    add-headers-bin cache-use del-headers-bin do-log lua send-spoe-group set-bc-mark set-bc-tos set-headers-bin
    """
)
RESPONSE_NOT_DONE = words(
    """
    add-headers-bin cache-store del-headers-bin do-log lua send-spoe-group set-headers-bin
    """
)
CODES = (301, 302, 303, 307, 308)
#: What may stand in quotes.
_QUOTED = re.compile(r'(?:[^"\\]|\\.)+\Z')

#: What may be deleted though each hop says it for itself: it goes on as far as the client wishes it.
_WISHES = frozenset(("connection", "te", "upgrade"))

# Headers.


def _header_name(reading: Reading, name: str, *, deletes: bool = False) -> str:
    header_name(name, reading.what)
    # A rule changes a header in all its spellings, so they are all checked.
    plain = re.sub(r"[^0-9a-z]", "-", name.lower())
    if plain in FRAMING:
        raise Wrong(f"{reading.what}: '{name}' says where the message ends, which is not for rules to change")
    if plain in HOP and not (deletes and plain in _WISHES):
        if not deletes:
            others = "'option httpclose' and 'option http-server-close' end connections, and an upgrade goes on anyhow"
            raise Wrong(
                f"{reading.what}: '{name}' is said by each connection for itself; rules cannot set it: {others}"
            )
        text = f"{reading.what}: '{name}' never goes on anyhow: each connection says it for itself"
        reading.report.warn(reading.line.place, text)
    if reading.where == REQUEST and plain == "expect" and not deletes:
        raise Wrong(f"{reading.what}: 'Expect' is between the client and us; rules can only delete it")
    return name


def _set_header(reading: Reading) -> Action:
    name, value = reading.exactly("the name of a header", "its value")
    if name.lower() == "keep-alive" or (name.lower(), value.lower()) == ("connection", "keep-alive"):
        reading.report.warn(
            reading.line.place,
            f"{reading.what}: '{name}' does nothing: connections are kept alive anyhow, a client's for as long as"
            " 'timeout http-keep-alive' says",
        )
        return EditHeader("del", "keep-alive")  # which no hop passes on
    _header_name(reading, name)
    return EditHeader(reading.action.removesuffix("-header"), name, reading.format(value))


def _del_header(reading: Reading) -> Action:
    rest = list(reading.words)
    method = "str"
    if rest[1:2] == ["-m"]:
        if len(rest) < 3:
            raise Wrong(f"{reading.what}: '-m' needs a method: str, beg, end, sub or reg")
        method = rest[2]
        if method not in ("str", "beg", "end", "sub", "reg"):
            raise Wrong(f"{reading.what}: '-m' is one of str, beg, end, sub and reg, not '{method}'")
        del rest[1:3]
    if len(rest) != 1:
        raise Wrong(f"{reading.what} needs " + ("the name of a header" if not rest else f"no '{rest[1]}'"))
    if method == "reg":
        read_regular(rest[0], reading.what)
    elif method == "str" and not TOKEN.match(rest[0]):
        text = f"{reading.what}: no header is called '{rest[0]}', so nothing is deleted: write its name alone"
        reading.report.warn(reading.line.place, f"{text}, or put '-m reg' and an expression for the name behind it")
        return EditHeader("del", rest[0], method="beg")  # no name begins so
    elif method == "str":
        _header_name(reading, rest[0], deletes=True)
    return EditHeader("del", rest[0], method=method)


def _replace_header(reading: Reading) -> Action:
    name, pattern, value = reading.exactly("the name of a header", "a regular expression", "what to put instead")
    read_regular(pattern, reading.what)
    return EditHeader(reading.action, _header_name(reading, name), reading.format(value), pattern=pattern)


# The start line.


def _set_line(reading: Reading) -> Action:
    (value,) = reading.exactly("a value")
    return EditLine(reading.action.removeprefix("set-"), reading.format(value))


def _replace_line(reading: Reading) -> Action:
    pattern, value = reading.exactly("a regular expression", "what to put instead")
    read_regular(pattern, reading.what)
    return EditLine(reading.action.removeprefix("replace-"), reading.format(value), pattern)


def _set_status(reading: Reading) -> Action:
    rest = reading.words
    if not rest or not re.match(r"[1-9][0-9][0-9]\Z", rest[0]) or not 200 <= int(rest[0]) <= 999:
        raise Wrong(f"{reading.what} needs a status from 200 to 999")
    if int(rest[0]) in (204, 304):
        raise Wrong(f"{reading.what}: a {rest[0]} has no body, and what the server answers has one")
    if rest[1:2] == ("reason",) and len(rest) == 3:
        if not rest[2].isprintable() or not rest[2].isascii():
            raise Wrong(f"{reading.what}: a reason is of printable ASCII")
        return SetStatus(int(rest[0]), rest[2])
    if len(rest) > 1:
        raise Wrong(f"{reading.what}: after the status can follow: reason TEXT (one word, or quoted)")
    return SetStatus(int(rest[0]))


# Variables.


def _variable_name(reading: Reading) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Returns the name in the parentheses, the conditions behind it, and the words behind these. Raises Wrong."""
    rest = reading.words
    if not rest or not rest[0].startswith("(") or not rest[0].endswith(")"):
        raise Wrong(f"{reading.what} needs the name of a variable: {reading.action}(txn.name)")
    name, *conditions = rest[0][1:-1].split(",")
    return variable(name, reading.what), variable_conditions(conditions, reading.what), rest[1:]


def _set_var(reading: Reading) -> Action:
    name, conditions, rest = _variable_name(reading)
    if len(rest) != 1:
        raise Wrong(f"{reading.what} needs one expression after '({name})'")
    if reading.action == "set-var-fmt":
        return SetVariable(name, reading.format(rest[0]), conditions)
    return SetVariable(name, reading.expression(rest[0]), conditions)


def _set_priority(reading: Reading) -> Action:
    (text,) = reading.exactly("an expression")
    value = reading.expression(text)
    if "int" not in CASTS[type_of(value)]:
        raise Wrong(f"{reading.what}: '{text}' is no number and cannot become one")
    return SetPriority(reading.action.rpartition("-")[2], value)


def _unset_var(reading: Reading) -> Action:
    name, conditions, rest = _variable_name(reading)
    if rest or conditions:
        raise Wrong(f"{reading.what}: '{(conditions or rest)[0]}' is too much")
    return SetVariable(name)


# Responses of the proxy's own.


def _allow(reading: Reading) -> Action:
    reading.exactly()
    return Allow()


def _use_service(reading: Reading) -> Action:
    (name,) = reading.exactly("the name of a service")
    if name.startswith("lua."):
        raise Wrong(f"{reading.what}: no Lua is run, so there is no '{name}'")
    if name not in SERVICES:
        begun = next((f": did you mean '{each}'?" for each in SERVICES if each.startswith(name)), "")
        raise Wrong(f"{reading.what}: there is no service '{name}'{begun or did_you_mean(name, SERVICES)}")
    return UseService(name)


def _authenticate(reading: Reading) -> Action:
    if not reading.words:
        return Authenticate()
    if reading.words[0] != "realm":
        raise Wrong(f"{reading.what}: 'realm' and its text can follow, not '{reading.words[0]}'")
    if len(reading.words) != 2:
        raise Wrong(f"{reading.what}: 'realm' needs one text (one word, or quoted)")
    return Authenticate(realm(reading.words[1], reading.what))


def realm(text: str, what: str) -> str:
    """Returns the text, which clients show to those who log in, as it stands within quotes: a backslash takes the
    meaning from the character behind it (RFC 9110 section 5.6.4). Raises Wrong."""
    if not text.isprintable() or not _QUOTED.match(text):
        raise Wrong(
            f"{what}: the realm '{text}' cannot stand in a header: no control character can, and a quote or a backslash"
            " has a backslash before it there"
        )
    return text


def _redirect_rule(reading: Reading) -> Action:
    return read_redirection(reading, reading.format)


def read_redirection(reading: Reading, format_of: Callable[[str], Format]) -> Action:
    rest = list(reading.words)
    if not rest:
        raise Wrong(f"{reading.what} needs 'location', 'prefix' or 'scheme', and where to")
    kind, to = "", Format()
    settings: dict[str, object] = {}
    while rest:
        word = rest.pop(0)
        if word in ("drop-query", "append-slash", "ignore-empty"):
            settings[word.replace("-", "_")] = True
            continue
        if word not in ("location", "prefix", "scheme", "code", "set-cookie", "clear-cookie"):
            known = (
                "location",
                "prefix",
                "scheme",
                "code",
                "set-cookie",
                "clear-cookie",
                "drop-query",
                "append-slash",
                "ignore-empty",
            )
            raise Wrong(f"{reading.what}: unknown word '{word}'{did_you_mean(word, known)}")
        if not rest:
            raise Wrong(f"{reading.what}: '{word}' needs a value")
        value = rest.pop(0)
        if word == "code":
            if value not in map(str, CODES):
                raise Wrong(f"{reading.what}: 'code' is one of {', '.join(map(str, CODES))}, not '{value}'")
            settings["code"] = int(value)
        elif word.endswith("cookie"):
            settings["cookie"] = _cookie(reading, value, clears=word == "clear-cookie")
        else:
            kind, to = word, format_of(value)
    if not kind:
        raise Wrong(f"{reading.what} needs 'location', 'prefix' or 'scheme', and where to")
    if kind == "scheme" and (scheme := to.constant) is not None and not re.match(r"[A-Za-z][A-Za-z0-9+.-]*\Z", scheme):
        raise Wrong(f"{reading.what}: '{scheme}' is no scheme such as https")
    if reading.where == RESPONSE and kind != "location":
        raise Wrong(f"{reading.what}: only 'location' can be said where the request is gone")
    return Redirect(kind, to, **settings)  # type: ignore[arg-type]


def _cookie(reading: Reading, value: str, *, clears: bool) -> str:
    """Returns the Set-Cookie value in HAProxy's form."""
    return f"{printable(reading, value)}; path=/;" + (" Max-Age=0;" if clears else "")


Reader = Callable[[Reading], Action]

_BOTH: dict[str, Reader] = {
    "set-header": _set_header,
    "add-header": _set_header,
    "del-header": _del_header,
    "replace-header": _replace_header,
    "replace-value": _replace_header,
    "set-var": _set_var,
    "set-var-fmt": _set_var,
    "unset-var": _unset_var,
    "allow": _allow,
    "deny": read_reply,
    "return": read_reply,
    "redirect": _redirect_rule,
    "set-log-level": read_log_level,
    "capture": read_capture_rule,
    "set-bandwidth-limit": read_bandwidth_limit,
    **TABLE_ACTIONS,
}
REQUEST_ACTIONS: dict[str, Reader] = {
    **_BOTH,
    **STEERING,
    "auth": _authenticate,
    "tarpit": read_reply,
    "use-service": _use_service,
    **dict.fromkeys(("set-path", "set-pathq", "set-query", "set-uri"), _set_line),
    **dict.fromkeys(("set-priority-class", "set-priority-offset"), _set_priority),
    **dict.fromkeys(("replace-path", "replace-pathq", "replace-uri"), _replace_line),
}
RESPONSE_ACTIONS: dict[str, Reader] = {**_BOTH, **EVERYWHERE, "set-status": _set_status}
#: Without the actions that replace the response: it is too late for them.
AFTER_ACTIONS = {
    word: read
    for word, read in RESPONSE_ACTIONS.items()
    if word not in ("deny", "return", "redirect", "track-sc", "set-bandwidth-limit", *EVERYWHERE)
    or word in ("strict-mode", "set-map", "del-map", "del-acl")
}
