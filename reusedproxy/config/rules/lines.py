"""Parses the lines `http-request`, `http-response`, `http-after-response`, `redirect` and `use_backend`.

One table maps each action to the function that parses the rest. Checks single lines only; checks that need other lines
are in `validate_rules`. Rules must not change headers that frame a message or belong to one hop: the message sent would
no longer be the one that was parsed.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import frozen

from reusedproxy.config.language.haproxy_words import words
from reusedproxy.config.language.regular import read_regular
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean, not_done
from reusedproxy.config.model.rules import (
    Action,
    Allow,
    EditHeader,
    EditLine,
    Format,
    Redirect,
    Reply,
    Rule,
    SetStatus,
    SetVariable,
    UseBackend,
)
from reusedproxy.config.model.values import Expression
from reusedproxy.config.rules.acls import Acls, read_condition, split_condition
from reusedproxy.config.rules.expressions import read_expression, variable, where_of
from reusedproxy.config.rules.formats import literal, read_format
from reusedproxy.config.rules.samples import REQUEST, RESPONSE

REQUEST_NOT_DONE = words(
    """
    add-acl auth cache-use capture del-acl del-map disable-l7-retry do-resolve early-hint lua normalize-uri reject
    sc-add-gpc sc-inc-gpc sc-inc-gpc0 sc-inc-gpc1 sc-set-gpt sc-set-gpt0 send-spoe-group set-bandwidth-limit set-bc-mark
    set-bc-tos set-dst set-dst-port set-fc-mark set-fc-tos set-log-level set-map set-mark set-method set-nice
    set-priority-class set-priority-offset set-retries set-src set-src-port set-timeout set-tos silent-drop strict-mode
    tarpit track-sc0 track-sc1 track-sc2 track-sc use-service wait-for-body wait-for-handshake pause do-log
    """
)
RESPONSE_NOT_DONE = words(
    """
    add-acl cache-store capture del-acl del-map do-log lua pause sc-add-gpc sc-inc-gpc sc-inc-gpc0 sc-inc-gpc1
    sc-set-gpt sc-set-gpt0 send-spoe-group set-bandwidth-limit set-fc-mark set-fc-tos set-log-level set-map set-mark
    set-nice set-timeout set-tos silent-drop strict-mode track-sc0 track-sc1 track-sc2 track-sc wait-for-body
    """
)
#: Statuses with a standard page in HAProxy.
DENY_STATUSES = (200, 400, 401, 403, 404, 405, 407, 408, 410, 413, 421, 422, 425, 429, 500, 501, 502, 503, 504)
CODES = (301, 302, 303, 307, 308)

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
#: Headers that frame a message: another value would make its end ambiguous.
_FRAMING = words("content-length transfer-encoding trailer")
#: Hop-by-hop headers: those received are removed, and the proxy's own are added after all rules.
_HOP = words("connection keep-alive proxy-connection te upgrade")


@frozen
class Reading:
    """Holds the words of one rule between its action and its condition; `what` begins each message."""

    words: tuple[str, ...]
    what: str
    where: str
    action: str
    place_words: str
    line: Line
    report: Report

    def exactly(self, *names: str) -> tuple[str, ...]:
        """Returns the words when there are as many as `names`. Raises Wrong for a missing or an extra word."""
        if len(self.words) < len(names):
            raise Wrong(f"{self.what} needs {names[len(self.words)]}")
        if len(self.words) > len(names):
            raise Wrong(f"{self.what}: '{self.words[len(names)]}' is too much: 'if' or 'unless' can follow")
        return self.words

    def format(self, text: str) -> Format:
        made = read_format(text, self.what)
        for expression in made.expressions:
            self.has_something_to_say(expression)
        return made

    def expression(self, text: str) -> Expression:
        return self.has_something_to_say(read_expression(text, self.what))

    def has_something_to_say(self, expression: Expression) -> Expression:
        where = where_of(expression)
        if where and where != self.where:
            head = "a response" if where == RESPONSE else "a request"
            raise Wrong(f"{self.what}: '{expression}' needs {head}, which is not at hand in {self.place_words}")
        return expression


def read_request_rule(line: Line, acls: Acls, report: Report) -> Rule:
    """Parses `http-request ACTION … [if|unless CONDITION]`. Raises Wrong."""
    return _read(line, REQUEST, _REQUEST, REQUEST_NOT_DONE, acls, report)


def read_response_rule(line: Line, acls: Acls, report: Report) -> Rule:
    """Parses `http-response ACTION … [if|unless CONDITION]`. Raises Wrong."""
    return _read(line, RESPONSE, _RESPONSE, RESPONSE_NOT_DONE, acls, report)


def read_after_rule(line: Line, acls: Acls, report: Report) -> Rule:
    """Parses `http-after-response ACTION … [if|unless CONDITION]`, for every response, the proxy's own
    included. Raises Wrong."""
    return _read(line, RESPONSE, _AFTER, RESPONSE_NOT_DONE, acls, report)


def read_redirect(line: Line, acls: Acls, report: Report) -> Rule:
    """Parses `redirect …`, HAProxy's older keyword; as there, `%` has no meaning in it. Raises Wrong."""
    before, condition = split_condition(line.arguments)
    reading = Reading(tuple(before), "'redirect'", REQUEST, "redirect", "'redirect' rules", line, report)
    action = _redirect(reading, literal)
    return Rule(line.place, "redirect", action, read_condition(condition, acls, line.place, "'redirect'", report))


def read_use_backend(line: Line, acls: Acls, report: Report) -> UseBackend:
    """Parses `use_backend NAME [if|unless CONDITION]`. Raises Wrong."""
    before, condition = split_condition(line.arguments)
    name = Line(line.place, (line.keyword, *before)).one_argument("the name of a backend")
    reading = Reading((), "'use_backend'", REQUEST, "", "'use_backend' rules", line, report)
    made = reading.format(name) if "%" in name else literal(name)
    return UseBackend(line.place, made, read_condition(condition, acls, line.place, "'use_backend'", report))


def _read(
    line: Line, where: str, actions: dict[str, Reader], others: frozenset[str], acls: Acls, report: Report
) -> Rule:
    keyword = line.keyword
    if not line.arguments:
        raise Wrong(f"'{keyword}' needs an action after it: {keyword} set-header X-Name value, say")
    before, condition = split_condition(line.arguments)
    if not before:
        raise Wrong(f"'{keyword}': an action is missing before '{condition[0]}'")
    # `set-var(txn.name)` has its argument within the word.
    word, parenthesis, argument = before[0].partition("(")
    what = f"'{keyword} {word}'"
    if word not in actions:
        if word in others:
            raise Wrong(not_done(f"{keyword} {word}", "rule"))
        if word in _REQUEST | _RESPONSE:
            raise Wrong(f"'{keyword}': '{word}' cannot be done there, only by {_elsewhere(word)}")
        known = {*actions, *others}
        raise Wrong(f"'{keyword}': unknown action '{word}'{did_you_mean(word, actions) or did_you_mean(word, known)}")
    rest = (f"({argument}", *before[1:]) if parenthesis else tuple(before[1:])
    reading = Reading(rest, what, where, word, f"'{keyword}' rules", line, report)
    action = actions[word](reading)
    return Rule(line.place, f"{keyword} {word}", action, read_condition(condition, acls, line.place, what, report))


def _elsewhere(word: str) -> str:
    keywords = {"http-request": _REQUEST, "http-response": _RESPONSE}
    return " and ".join(f"'{keyword}'" for keyword, actions in keywords.items() if word in actions)


# Headers.


def _header_name(reading: Reading, name: str, *, deletes: bool = False) -> str:
    if not _TOKEN.match(name):
        raise Wrong(f"{reading.what}: '{name}' cannot be the name of a header")
    # A rule changes a header in all its spellings, so they are all checked.
    plain = re.sub(r"[^0-9a-z]", "-", name.lower())
    if plain in _FRAMING:
        raise Wrong(f"{reading.what}: '{name}' says where the message ends, which is not for rules to change")
    if plain in _HOP and not (deletes and plain == "upgrade"):
        if not deletes:
            raise Wrong(f"{reading.what}: '{name}' is said by each connection for itself; rules cannot set it")
        text = f"{reading.what}: '{name}' never goes on anyhow: each connection says it for itself"
        reading.report.warn(reading.line.place, text)
    if reading.where == REQUEST and plain == "expect" and not deletes:
        raise Wrong(f"{reading.what}: 'Expect' is between the client and us; rules can only delete it")
    if reading.where == REQUEST and plain == "host" and (deletes or reading.action == "add-header"):
        raise Wrong(f"{reading.what}: a request has one Host: 'set-header Host NAME' replaces it")
    return name


def _set_header(reading: Reading) -> Action:
    name, value = reading.exactly("the name of a header", "its value")
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


def _variable_name(reading: Reading) -> tuple[str, tuple[str, ...]]:
    rest = reading.words
    if not rest or not rest[0].startswith("(") or not rest[0].endswith(")"):
        raise Wrong(f"{reading.what} needs the name of a variable: {reading.action}(txn.name)")
    return variable(rest[0][1:-1], reading.what), rest[1:]


def _set_var(reading: Reading) -> Action:
    name, rest = _variable_name(reading)
    if len(rest) != 1:
        raise Wrong(f"{reading.what} needs one expression after '({name})'")
    if reading.action == "set-var-fmt":
        return SetVariable(name, reading.format(rest[0]))
    return SetVariable(name, reading.expression(rest[0]))


def _unset_var(reading: Reading) -> Action:
    name, rest = _variable_name(reading)
    if rest:
        raise Wrong(f"{reading.what}: '{rest[0]}' is too much")
    return SetVariable(name)


# Responses of the proxy's own.


def _allow(reading: Reading) -> Action:
    reading.exactly()
    return Allow()


def _reply(reading: Reading) -> Action:
    """Parses `return` and `deny` with their arguments, which are the same in HAProxy. Raises Wrong."""
    denies = reading.action == "deny"
    status = (502 if reading.where == RESPONSE else 403) if denies else 200
    content: Format | None = None
    content_type = ""
    headers: list[tuple[str, Format]] = []
    rest = list(reading.words)
    while rest:
        word = rest.pop(0)
        if word in ("errorfile", "errorfiles", "default-errorfiles", "file", "lf-file"):
            raise Wrong(not_done(f"{reading.what[1:-1]} … {word}", "argument"))
        if word not in ("status", "deny_status", "content-type", "string", "lf-string", "hdr"):
            known = ("status", "deny_status", "content-type", "string", "lf-string", "hdr")
            raise Wrong(f"{reading.what}: unknown word '{word}'{did_you_mean(word, known)}")
        if len(rest) < 1 + (word == "hdr"):
            raise Wrong(f"{reading.what}: '{word}' needs {'a name and a value' if word == 'hdr' else 'a value'}")
        value = rest.pop(0)
        if word in ("status", "deny_status"):
            status = _status(reading, value, denies)
        elif word == "content-type":
            content_type = _plain(reading, value)
        elif word == "string":
            content = literal(value)
        elif word == "lf-string":
            content = reading.format(value)
        else:
            headers.append((_reply_header(reading, value), reading.format(rest.pop(0))))
    if content is not None and not content_type:
        raise Wrong(f"{reading.what}: a text needs its 'content-type', such as text/plain")
    if content is None and content_type:
        reading.report.warn(
            reading.line.place, f"{reading.what}: 'content-type' does nothing without 'string' or 'lf-string'"
        )
    if content is not None and status in (204, 304):
        raise Wrong(f"{reading.what}: an answer with status {status} has no body")
    return Reply(status, denies, content_type, content, tuple(headers))


def _status(reading: Reading, value: str, denies: bool) -> int:
    if not re.match(r"[2-9][0-9][0-9]\Z", value) or int(value) > 599:
        raise Wrong(f"{reading.what}: '{value}' is no status from 200 to 599")
    if (
        denies
        and int(value) not in DENY_STATUSES
        and "string" not in reading.words
        and "lf-string" not in reading.words
    ):
        raise Wrong(
            f"{reading.what}: there is no page for status {value}, only for {', '.join(map(str, DENY_STATUSES))}"
        )
    return int(value)


def _reply_header(reading: Reading, name: str) -> str:
    if not _TOKEN.match(name):
        raise Wrong(f"{reading.what}: '{name}' cannot be the name of a header")
    if name.lower() in _FRAMING | _HOP or name.lower() in ("content-type", "date"):
        raise Wrong(f"{reading.what}: 'hdr {name}' is not for rules to say")
    return name


def _plain(reading: Reading, value: str) -> str:
    if not value.isprintable() or not value.isascii():
        raise Wrong(f"{reading.what}: '{value}' has a character that cannot stand in a header")
    return value


def _redirect_rule(reading: Reading) -> Action:
    return _redirect(reading, reading.format)


def _redirect(reading: Reading, format_of: Callable[[str], Format]) -> Action:
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
    return f"{_plain(reading, value)}; path=/;" + (" Max-Age=0;" if clears else "")


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
    "deny": _reply,
    "return": _reply,
    "redirect": _redirect_rule,
}
_REQUEST: dict[str, Reader] = {
    **_BOTH,
    **dict.fromkeys(("set-path", "set-pathq", "set-query", "set-uri"), _set_line),
    **dict.fromkeys(("replace-path", "replace-pathq", "replace-uri"), _replace_line),
}
_RESPONSE: dict[str, Reader] = {**_BOTH, "set-status": _set_status}
#: Without the actions that replace the response: it is too late for them.
_AFTER = {word: read for word, read in _RESPONSE.items() if word not in ("deny", "return", "redirect")}
