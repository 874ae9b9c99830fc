"""Parses the lines `http-request`, `http-response`, `http-after-response`, `redirect` and `use_backend`.

Each has an action, or the name of a backend, and a condition. What may follow the word of an action is known to
`actions`.
"""

from __future__ import annotations

from reusedproxy.config.language import haproxy_words
from reusedproxy.config.language.alternatives import HINTS
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean, not_done
from reusedproxy.config.model.rules import Fail, Rule, UseBackend
from reusedproxy.config.rules.acls import Acls, read_condition, split_condition
from reusedproxy.config.rules.actions import (
    AFTER_ACTIONS,
    REQUEST_ACTIONS,
    REQUEST_NOT_DONE,
    RESPONSE_ACTIONS,
    RESPONSE_NOT_DONE,
    Reader,
    read_redirection,
)
from reusedproxy.config.rules.formats import literal
from reusedproxy.config.rules.reading import Reading
from reusedproxy.config.rules.samples import CLIENT_BYTES, REQUEST, RESPONSE


def read_request_rule(line: Line, acls: Acls, report: Report) -> Rule:
    """Parses `http-request ACTION … [if|unless CONDITION]`. Raises Wrong."""
    return _read(line, REQUEST, REQUEST_ACTIONS, REQUEST_NOT_DONE, acls, report)


def read_response_rule(line: Line, acls: Acls, report: Report) -> Rule:
    """Parses `http-response ACTION … [if|unless CONDITION]`. Raises Wrong."""
    return _read(line, RESPONSE, RESPONSE_ACTIONS, RESPONSE_NOT_DONE, acls, report)


def read_after_rule(line: Line, acls: Acls, report: Report) -> Rule:
    """Parses `http-after-response ACTION … [if|unless CONDITION]`, for every response, the proxy's own
    included. Raises Wrong."""
    return _read(line, RESPONSE, AFTER_ACTIONS, RESPONSE_NOT_DONE, acls, report)


def read_redirect(line: Line, acls: Acls, report: Report) -> Rule:
    """Parses `redirect …`, HAProxy's older keyword; as there, `%` has no meaning in it. Raises Wrong."""
    before, condition = split_condition(line.arguments)
    reading = Reading(tuple(before), "'redirect'", REQUEST, "redirect", "'redirect' rules", line, report)
    action = read_redirection(reading, literal)
    return Rule(line.place, "redirect", action, read_condition(condition, acls, line.place, "'redirect'", report))


def read_monitor_fail(line: Line, acls: Acls, report: Report) -> Rule:
    """Parses `monitor fail if|unless CONDITION`. Raises Wrong."""
    before, condition = split_condition(line.arguments)
    if before != ["fail"]:
        raise Wrong("'monitor' is followed by 'fail' and a condition: monitor fail if { nbsrv(web) lt 1 }")
    if not condition:
        raise Wrong("'monitor fail' needs a condition: monitor fail if { nbsrv(web) lt 1 }, say")
    what = "'monitor fail'"
    return Rule(line.place, "monitor fail", Fail(), read_condition(condition, acls, line.place, what, report))


def read_use_backend(line: Line, acls: Acls, report: Report) -> UseBackend:
    """Parses `use_backend NAME [if|unless CONDITION]`. Raises Wrong."""
    before, condition = split_condition(line.arguments)
    name = Line(line.place, (line.keyword, *before)).one_argument("the name of a backend")
    # In mode http the bytes of a connection are not at hand; the mode may be said after this line.
    reading = Reading((), "'use_backend'", CLIENT_BYTES, "", "'use_backend' rules", line, report)
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
    reader = actions.get(haproxy_words.without_number(word))
    if reader is None:
        if haproxy_words.without_number(word) in others:
            hint = HINTS.get(word, "")
            raise Wrong(not_done(f"{keyword} {word}", "rule", hint))
        plain = haproxy_words.without_number(word)
        if plain in REQUEST_ACTIONS | RESPONSE_ACTIONS:
            raise Wrong(f"'{keyword}': '{word}' cannot be done there, only by {_elsewhere(plain)}")
        known = {*actions, *others}
        raise Wrong(f"'{keyword}': unknown action '{word}'{did_you_mean(word, actions) or did_you_mean(word, known)}")
    rest = (f"({argument}", *before[1:]) if parenthesis else tuple(before[1:])
    reading = Reading(rest, what, where, word, f"'{keyword}' rules", line, report)
    action = reader(reading)
    return Rule(line.place, f"{keyword} {word}", action, read_condition(condition, acls, line.place, what, report))


def _elsewhere(word: str) -> str:
    keywords = {"http-request": REQUEST_ACTIONS, "http-response": RESPONSE_ACTIONS}
    return " and ".join(f"'{keyword}'" for keyword, actions in keywords.items() if word in actions)
