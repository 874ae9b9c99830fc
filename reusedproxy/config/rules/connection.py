"""Parses `tcp-request connection` and `tcp-request session` lines: rules for a new client connection, before any byte
of it is read, and behind its handshakes."""

from __future__ import annotations

from reusedproxy.config.language.alternatives import HINTS
from reusedproxy.config.language.haproxy_words import without_number, words
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean, not_done
from reusedproxy.config.model.rules import Action, Receive, Rule
from reusedproxy.config.rules.acls import Acls, read_condition, split_condition
from reusedproxy.config.rules.actions import REQUEST_ACTIONS, Reader, SetVariable
from reusedproxy.config.rules.counters import TABLE_ACTIONS
from reusedproxy.config.rules.reading import Reading
from reusedproxy.config.rules.samples import REQUEST
from reusedproxy.config.rules.variables import OF_PROCESS

CONNECTION, SESSION = "connection", "session"
_OTHER_STAGES = words("content inspect-delay")
_NOT_DONE = words(
    """
    attach-srv capture do-log expect-netscaler-cip lua
    """
)
#: The words that must follow each decision.
_DECISIONS: dict[str, dict[str, tuple[str, ...]]] = {
    CONNECTION: {"accept": (), "reject": (), "silent-drop": (), "expect-proxy": ("layer4",)},
    SESSION: {"accept": (), "reject": (), "silent-drop": ()},
}
#: What else can be done.
_ACTIONS: dict[str, Reader] = {
    **TABLE_ACTIONS,
    **{word: REQUEST_ACTIONS[word] for word in ("set-fc-mark", "set-fc-tos", "set-mark", "set-tos")},
    # For connections they change what the connection is known by, for sessions only what rules see, as in HAProxy.
    **{word: REQUEST_ACTIONS[word] for word in ("set-dst", "set-dst-port", "set-src", "set-src-port")},
    **{word: REQUEST_ACTIONS[word] for word in ("set-var", "set-var-fmt", "unset-var")},
}


def read_connection_rule(line: Line, acls: Acls, report: Report) -> Rule:
    """Parses `tcp-request connection ACTION [if|unless CONDITION]`, or that of a session (manual, section 4.2). Raises
    Wrong."""
    if not line.arguments:
        raise Wrong("'tcp-request' needs 'connection' and an action after it: tcp-request connection reject if …, say")
    stage, *rest = line.arguments
    if stage not in _DECISIONS:
        known = {*_DECISIONS, *_OTHER_STAGES}
        raise Wrong(f"'tcp-request': unknown word '{stage}'{did_you_mean(stage, known)}")
    before, condition = split_condition(rest)
    word, parenthesis, argument = before[0].partition("(") if before else ("", "", "")
    said = f"tcp-request {stage}"
    decisions = _DECISIONS[stage]
    action: Action
    if word in decisions:
        action = _decision(f"'{said}'", word, tuple(before[1:]), decisions[word])
    else:
        reader = _ACTIONS.get(without_number(word))
        if reader is None:
            raise Wrong(_unknown(said, word, {*decisions, *_ACTIONS}))
        rest_of_it = (f"({argument}", *before[1:]) if parenthesis else tuple(before[1:])
        what = f"'{said} {word}'"
        action = reader(Reading(rest_of_it, what, REQUEST, word, f"'{said}' rules", line, report))
        if isinstance(action, SetVariable) and not action.name.startswith(("sess.", OF_PROCESS)):
            raise Wrong(f"{what}: '{action.name}' is not there yet: only variables of the scopes 'sess' and 'proc' are")
    what = f"'{said}'"
    return Rule(line.place, f"{said} {word}", action, read_condition(condition, acls, line.place, what, report))


def _decision(what: str, verb: str, rest: tuple[str, ...], needed: tuple[str, ...]) -> Action:
    if rest != needed:
        takes = " ".join(needed) or "nothing but a condition"
        raise Wrong(f"{what}: '{verb}' is followed by {takes}")
    return Receive(verb)


def _unknown(said: str, word: str, known: set[str]) -> str:
    if without_number(word) in _NOT_DONE:
        plain = without_number(word)
        return not_done(f"{said} {word}", "rule", HINTS.get(f"{said} {plain}", "") or HINTS.get(plain, ""))
    if not word:
        proxy = ", reject or 'expect-proxy layer4'" if said.endswith(CONNECTION) else " or reject"
        return f"'{said}' needs an action: accept{proxy}"
    return f"'{said}': unknown action '{word}'{did_you_mean(word, {*known, *_NOT_DONE})}"
