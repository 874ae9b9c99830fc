"""Parses log-format strings (manual, section 8.2.4): texts with `%[expression]`, and those aliases whose value is
available.

Must never know what a string is used for; `reusedproxy.rules` evaluates it to bytes.
"""

from __future__ import annotations

import re

from reusedproxy.config.language.haproxy_words import words
from reusedproxy.config.language.report import Wrong, did_you_mean, not_done
from reusedproxy.config.model.rules import Format, Hole
from reusedproxy.config.model.values import Call, Expression
from reusedproxy.config.rules.expressions import expression_at, read_expression

#: The fetch behind each alias; those that begin with a percent sign have no equivalent fetch.
ALIASES = {
    "ci": "src",
    "cp": "src_port",
    "fi": "dst",
    "fp": "dst_port",
    "f": "fe_name",
    "ST": "status",
    "Ts": "date",
    "sslv": "ssl_fc_protocol",
    "sslc": "ssl_fc_cipher",
    **{name: f"%{name}" for name in ("r", "HM", "HU", "HP", "HPO", "HQ", "HV", "T", "ft", "b", "s")},
}
HAPROXY_ALIASES = words(
    """
    B CC CS H HM HP HPO HQ HU HV ID ST T Ta Tc Td Th Ti Tl TR Tq Tr Ts Tt Tu Tw U ac b bc bi bp bq ci cp f fc fi fp
    ft hr hrl hs hsl lc ms o pid r rc rt s sc si sp sq sslc sslv t tr trg trl ts tsc Ea OG
    """
)
_FLAGS = re.compile(r"\{([^}]*)\}")
_ALIAS = re.compile(r"[A-Za-z]+")


def read_format(text: str, what: str) -> Format:
    """Parses a log-format string; `what` begins each message. Raises Wrong."""
    parts: list[str | Hole] = []
    at, usual = 0, frozenset[str]()
    while (percent := text.find("%", at)) >= 0:
        _add(parts, text[at:percent])
        at = percent + 1
        if text[at : at + 1] == "%":
            _add(parts, "%")
            at += 1
            continue
        flags = usual
        if found := _FLAGS.match(text, at):
            flags = _flags(found[1], flags, what)
            at = found.end()
        if text[at : at + 1] == "[":
            expression, at = expression_at(text, at + 1, f"{what}: in '%[…]'")
            if text[at : at + 1] != "]":
                wrong = f"'{text[at:]}' stands where ',' or ']' should" if at < len(text) else "the ']' is missing"
                raise Wrong(f"{what}: {wrong} in '{text}'")
            at += 1
            parts.append(_hole(expression, flags))
        elif text[at : at + 1] == "(":
            raise Wrong(f"{what}: {not_done('%(name)', 'name of a part of a format')}")
        elif alias := _ALIAS.match(text, at):
            at = alias.end()
            if alias[0] == "o":
                usual = flags
            else:
                parts.append(_hole(_alias(alias[0], what), flags))
        else:
            raise Wrong(f"{what}: a '%' means something in '{text}': write '%%' for the sign itself")
    _add(parts, text[at:])
    return Format(tuple(parts))


def literal(text: str) -> Format:
    """Returns a format of plain text, in which `%` has no meaning."""
    return Format((text,) if text else ())


def _add(parts: list[str | Hole], text: str) -> None:
    if text and parts and isinstance(parts[-1], str):
        parts[-1] += text
    elif text:
        parts.append(text)


def _flags(text: str, usual: frozenset[str], what: str) -> frozenset[str]:
    """Applies the flags of `%{…}` to the usual ones. Raises Wrong.

    E escapes `"`, `]` and backslash, Q puts quotes around the value, M shows a dash for an empty value. HAProxy 2.x
    applies the last two to aliases only, 3.x to expressions as well.
    """
    for flag in text.replace(" ", "").split(","):
        if flag[1:] == "X":
            raise Wrong(f"{what}: {not_done(f'%{{{flag}}}', 'flag')}")
        if flag[:1] not in ("+", "-") or flag[1:] not in ("Q", "M", "E"):
            raise Wrong(
                f"{what}: unknown flag '{flag}' in '%{{{text}}}': there are +E, +M and +Q, and their contraries"
            )
        usual = usual | {flag[1]} if flag[0] == "+" else usual - {flag[1]}
    return usual


def _hole(expression: Expression, flags: frozenset[str]) -> Hole:
    return Hole(expression, "E" in flags, "Q" in flags, "M" in flags)


def _alias(name: str, what: str) -> Expression:
    if (fetch := ALIASES.get(name)) is not None:
        return Expression(Call(fetch)) if fetch.startswith("%") else read_expression(fetch, what)
    if name in HAPROXY_ALIASES:
        raise Wrong(f"{what}: {not_done(f'%{name}', 'alias')}")
    raise Wrong(f"{what}: unknown alias '%{name}'{did_you_mean(name, HAPROXY_ALIASES)}; write '%%' for a plain '%'")
