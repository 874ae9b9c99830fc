"""Parses `tcp-request content` and `tcp-response content` lines: rules for what passes first on a connection in
`mode tcp`, before it is known where it leads, or as the server begins to speak."""

from __future__ import annotations

from reusedproxy.config.language.alternatives import HINTS
from reusedproxy.config.language.haproxy_words import without_number, words
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean, not_done
from reusedproxy.config.model.rules import Action, Receive, Rule
from reusedproxy.config.rules.acls import Acls, read_condition, split_condition
from reusedproxy.config.rules.actions import REQUEST_ACTIONS, Reader
from reusedproxy.config.rules.counters import COUNTING, TABLE_ACTIONS
from reusedproxy.config.rules.reading import Reading
from reusedproxy.config.rules.samples import CLIENT_BYTES, SERVER_BYTES

NOT_DONE = words(
    """
    do-log lua send-spoe-group
    set-bc-mark set-bc-tos
    use-service
    """
)


def _verdict(reading: Reading) -> Action:
    reading.exactly()
    return Receive(reading.action)


def _switch_mode(reading: Reading) -> Action:
    """Reads `switch-mode http [proto NAME]`."""
    words = reading.words
    if words[:1] != ("http",):
        raise Wrong(f"{reading.what} is followed by http, the only mode to which a connection can change")
    if words[1:2] == ("proto",) and len(words) == 3:
        if words[2] != "h1":
            raise Wrong(f"{reading.what}: 'proto {words[2]}' is not spoken with clients: write 'proto h1', or nothing")
    elif len(words) > 1:
        raise Wrong(f"{reading.what}: '{words[1]}' is too much; 'http' and 'proto h1' can stand there")
    return Receive(reading.action)


_SAME_EVERYWHERE = ("set-bandwidth-limit", "set-log-level", "set-var", "set-var-fmt", "unset-var")
_BOTH = {
    **dict.fromkeys(("accept", "reject", "silent-drop"), _verdict),
    **{word: REQUEST_ACTIONS[word] for word in _SAME_EVERYWHERE},
}
#: About the client and its connection, and its place in queues.
_OF_CLIENTS = words(
    """
    set-dst set-dst-port set-fc-mark set-fc-tos set-mark set-nice set-priority-class set-priority-offset set-src
    set-src-port set-tos
    """
)
_ACTIONS: dict[str, dict[str, Reader]] = {
    CLIENT_BYTES: {
        **_BOTH,
        **{word: REQUEST_ACTIONS[word] for word in ("capture", "do-resolve", "set-retries", *_OF_CLIENTS)},
        "switch-mode": _switch_mode,
        **TABLE_ACTIONS,
    },
    SERVER_BYTES: {
        **_BOTH,
        **{word: REQUEST_ACTIONS[word] for word in ("set-fc-mark", "set-fc-tos", "set-mark", "set-nice", "set-tos")},
        "close": _verdict,
        **COUNTING,
    },
}


def read_content_rule(line: Line, where: str, acls: Acls, report: Report) -> Rule:
    """Parses `tcp-request content ACTION … [if|unless CONDITION]`, or that of a response. Raises Wrong."""
    said = f"{line.keyword} content"
    actions = _ACTIONS[where]
    before, condition = split_condition(line.arguments[1:])
    if not before:
        raise Wrong(f"'{said}' needs an action: accept or reject, say")
    word, parenthesis, argument = before[0].partition("(")
    what = f"'{said} {word}'"
    reader = actions.get(without_number(word))
    if reader is None:
        if without_number(word) in NOT_DONE:
            raise Wrong(not_done(f"{said} {word}", "rule", HINTS.get(word, "")))
        raise Wrong(f"'{said}': unknown action '{word}'{did_you_mean(word, {*actions, *NOT_DONE})}")
    rest = (f"({argument}", *before[1:]) if parenthesis else tuple(before[1:])
    action = reader(Reading(rest, what, where, word, f"'{said}' rules", line, report))
    return Rule(line.place, f"{said} {word}", action, read_condition(condition, acls, line.place, what, report))
