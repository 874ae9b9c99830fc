"""Parses `tcp-request connection` lines: rules for a new client connection, before any byte of it is read."""

from __future__ import annotations

from reusedproxy.config.language.haproxy_words import without_number, words
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean, not_done
from reusedproxy.config.model.rules import Receive, Rule
from reusedproxy.config.rules.acls import Acls, read_condition, split_condition

_OTHER_STAGES = words("content inspect-delay session")
_NOT_DONE = words(
    """
    capture expect-netscaler-cip sc-add-gpc sc-inc-gpc sc-inc-gpc0 sc-inc-gpc1 sc-set-gpt sc-set-gpt0 set-dst
    set-dst-port set-fc-mark set-fc-tos set-mark set-src set-src-port set-tos set-var set-var-fmt
    track-sc unset-var lua
    """
)
#: The words that must follow each action.
_DONE = {"accept": (), "reject": (), "silent-drop": (), "expect-proxy": ("layer4",)}


def read_connection_rule(line: Line, acls: Acls, report: Report) -> Rule:
    """Parses `tcp-request connection accept|reject|expect-proxy layer4 [if|unless CONDITION]` (manual,
    section 4.2). Raises Wrong."""
    if not line.arguments:
        raise Wrong("'tcp-request' needs 'connection' and an action after it: tcp-request connection reject if …, say")
    stage, *rest = line.arguments
    if stage != "connection":
        if stage == "session":
            raise Wrong(not_done("tcp-request session", "rule", "write 'tcp-request connection' or 'content'"))
        raise Wrong(f"'tcp-request': unknown word '{stage}'{did_you_mean(stage, {'connection', *_OTHER_STAGES})}")
    what = "'tcp-request connection'"
    before, condition = split_condition(rest)
    verb = before[0].partition("(")[0] if before else ""
    if verb not in _DONE:
        if without_number(verb) in _NOT_DONE:
            raise Wrong(not_done(f"tcp-request connection {verb}", "rule"))
        if not verb:
            raise Wrong(f"{what} needs an action: accept, reject or 'expect-proxy layer4'")
        raise Wrong(f"{what}: unknown action '{verb}'{did_you_mean(verb, {*_DONE, *_NOT_DONE})}")
    if tuple(before[1:]) != _DONE[verb]:
        takes = " ".join(_DONE[verb]) or "nothing but a condition"
        raise Wrong(f"{what}: '{verb}' is followed by {takes}")
    said = f"tcp-request connection {verb}"
    return Rule(line.place, said, Receive(verb), read_condition(condition, acls, line.place, what, report))
