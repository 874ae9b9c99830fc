"""Parses log-format strings (manual, section 8.2.6): texts with `%[expression]`, and aliases such as `%ci`.

Must never know what a string is used for; `reusedproxy.rules` evaluates it, to bytes or to a line of the log.
"""

from __future__ import annotations

import re

from attrs import evolve, frozen

from reusedproxy.config.language.haproxy_words import words
from reusedproxy.config.language.report import Report, Wrong, did_you_mean, not_done
from reusedproxy.config.model.rules import Format, Hole
from reusedproxy.config.model.values import Call, Expression, Place
from reusedproxy.config.rules.expressions import expression_at
from reusedproxy.config.rules.samples import ALIASES

#: Aliases of HAProxy's without an equivalent here.
NOT_DONE = words("Ea")
#: The strings that options stand for (manual, sections 8.2.2 to 8.2.4).
HTTP = "%ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq %hr %hs %{+Q}r"
STANDARD = {
    "httplog": HTTP,
    "httpslog": HTTP + " %[fc_err]/%[ssl_fc_err,hex]/%[ssl_c_err]/%[ssl_c_ca_err]/%[ssl_fc_is_resumed]"
    " %[ssl_fc_sni]/%sslv/%sslc",
    "httplog clf": '%{+Q}o %{-Q}ci - - [%trg] %r %ST %B "" "" %cp %ms %ft %b %s %TR %Tw %Tc %Tr %Ta %tsc %ac %fc %bc'
    " %sc %rc %sq %bq %CC %CS %hrl %hsl",
    "tcplog clf": '%{+Q}o %{-Q}ci - - [%T] "TCP " 000 %B "" "" %cp %ms %ft %b %s %Th %Tw %Tc %Tt %U %ts-- %ac %fc %bc'
    ' %sc %rc %sq %bq "" "" ',
    "tcplog": "%ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq",
}
_NAMED = re.compile(r"\(([^():]*)(?::([^():]*))?\)")
_FLAGS = re.compile(r"\{([^}]*)\}")
_ALIAS = re.compile(r"[A-Za-z]+")
_NAME = re.compile(r"[A-Za-z0-9_.-]*\Z")
#: How the names of fetches and aliases begin that tell of the connection to the server.
OF_CONNECTIONS = ("%bi", "%bp", "bc_reused", "bc_rtt", "bc_src", "ssl_bc", "ssl_s_")
#: The types that a named item can have; of `raw` the manual says nothing.
KINDS = ("str", "sint", "bool")
#: What `+` switches on, and `-` off.
FLAGS = ("Q", "M", "E", "X", "json")


@frozen
class _Flags:
    """Holds the flags that count for an item."""

    letters: frozenset[str] = frozenset()
    json: bool = False


def read_format_of_line(text: str, what: str, place: Place, report: Report, *, of_log: bool = False) -> Format:
    """Parses a log-format string, and warns of flags without a sign, which do nothing, as in HAProxy. Raises Wrong."""
    unsigned: list[str] = []
    made = read_format(text, what, of_log=of_log, unsigned=unsigned)
    for flag in dict.fromkeys(unsigned):
        report.warn(
            place,
            f"{what}: '%{{{flag}}}' does nothing, as in HAProxy: '%{{+{flag}}}' switches it on, '%{{-{flag}}}' off",
        )
    return made


def read_format(text: str, what: str, *, of_log: bool = False, unsigned: list[str] | None = None) -> Format:
    """Parses a log-format string; `what` begins each message. In one `of_log` a dash stands for an empty value, as
    `%{+M}` has it elsewhere. Flags without a sign are added to `unsigned`, and refused without such a list. Raises
    Wrong."""
    parts: list[str | Hole] = []
    at, usual = 0, _Flags(frozenset("M") if of_log else frozenset())
    while (percent := text.find("%", at)) >= 0:
        _add(parts, text[at:percent])
        at = percent + 1
        if text[at : at + 1] == "%":
            _add(parts, "%")
            at += 1
            continue
        name, kind = "", ""
        if text[at : at + 1] == "(":
            name, kind, at = _name_at(text, at, what)
        flags = usual
        if found := _FLAGS.match(text, at):
            flags = _flags(found[1], flags, what, unsigned)
            at = found.end()
        if text[at : at + 1] == "[":
            expression, at = expression_at(text, at + 1, f"{what}: in '%[…]'")
            if text[at : at + 1] != "]":
                wrong = f"'{text[at:]}' stands where ',' or ']' should" if at < len(text) else "the ']' is missing"
                raise Wrong(f"{what}: {wrong} in '{text}'")
            at += 1
            parts.append(_hole(expression, flags, name, kind))
        elif alias := _ALIAS.match(text, at):
            at = alias.end()
            if alias[0] == "o":
                usual = flags
            else:
                parts.append(_hole(_alias(alias[0], what), flags, name, kind))
        else:
            raise Wrong(f"{what}: a '%' means something in '{text}': write '%%' for the sign itself")
    _add(parts, text[at:])
    return _whole(parts, usual.json, what)


def _whole(parts: list[str | Hole], json: bool, what: str) -> Format:
    """Returns the format. One object of JSON has the named items only, as in HAProxy; there must be one. Raises
    Wrong."""
    if not json:
        return Format(tuple(parts))
    items = [evolve(part, json=True) for part in parts if isinstance(part, Hole) and part.name]
    if not items:
        raise Wrong(f"{what}: '%{{+json}}o' writes items that have a name: %(bytes)B, say, and there is none")
    return Format(tuple(items), json=True)


def literal(text: str) -> Format:
    """Returns a format of plain text, in which `%` has no meaning."""
    return Format((text,) if text else ())


def _add(parts: list[str | Hole], text: str) -> None:
    if text and parts and isinstance(parts[-1], str):
        parts[-1] += text
    elif text:
        parts.append(text)


def _name_at(text: str, at: int, what: str) -> tuple[str, str, int]:
    """Parses `(name:type)` at this place; returns both and its end. Raises Wrong."""
    found = _NAMED.match(text, at)
    if found is None or not _NAME.match(found[1]):
        raise Wrong(f"{what}: '%(' begins a name of letters, digits, '_', '.' and '-', and a ')' after it, in '{text}'")
    kind = found[2] or ""
    if kind and kind not in KINDS:
        raise Wrong(f"{what}: the type of '{found[1]}' is one of {', '.join(KINDS)}, not '{kind}'")
    return found[1], kind, found.end()


def _flags(text: str, usual: _Flags, what: str, unsigned: list[str] | None) -> _Flags:
    """Applies the flags of `%{…}` to the usual ones; those without a sign are added to `unsigned`. Raises Wrong.

    E escapes `"`, `]` and backslash, Q puts quotes around the value, M shows a dash for an empty value, X writes
    addresses and some numbers to the base of 16. In a header, HAProxy 2.x applies Q and M to aliases only, 3.x to
    expressions as well.
    """
    letters, json = usual.letters, usual.json
    for flag in text.replace(" ", "").split(","):
        if flag[1:] in ("cbor", "bin"):
            hint = "write '%{+json}o'" if flag[1:] == "cbor" else "lines of the log are text"
            raise Wrong(f"{what}: {not_done(f'%{{{flag}}}', 'flag', hint)}")
        if flag in FLAGS and unsigned is not None:
            unsigned.append(flag)
            continue
        if flag[:1] not in ("+", "-") or flag[1:] not in FLAGS:
            raise Wrong(
                f"{what}: unknown flag '{flag}' in '%{{{text}}}': there are +E, +M, +Q, +X and +json, and their"
                " contraries"
            )
        if flag[1:] == "json":
            json = flag[0] == "+"
        else:
            letters = letters | {flag[1]} if flag[0] == "+" else letters - {flag[1]}
    return _Flags(letters, json)


def _hole(expression: Expression, flags: _Flags, name: str, kind: str) -> Hole:
    has = flags.letters
    return Hole(expression, "E" in has, "Q" in has, "M" in has, "X" in has, flags.json, name, kind)


def _alias(name: str, what: str) -> Expression:
    if name in ALIASES:
        return Expression(Call(f"%{name}"))
    if name in NOT_DONE:
        raise Wrong(f"{what}: {not_done(f'%{name}', 'alias')}")
    raise Wrong(f"{what}: unknown alias '%{name}'{did_you_mean(name, ALIASES)}; write '%%' for a plain '%'")


def needs_http(made: Format) -> str:
    """Returns the first alias that has a value in `mode http` only; "" if there is none."""
    names = (expression.fetch.name.removeprefix("%") for expression in made.expressions)
    return next((f"%{name}" for name in names if ALIASES.get(name) == "http"), "")


def needs_answer(made: Format) -> bool:
    """Tells whether the format shows what is known only while there is a connection to a server, or an answer."""
    return any(
        expression.fetch.name == "capture.res.ver" or expression.fetch.name.startswith(OF_CONNECTIONS)
        for expression in made.expressions
    )
