"""Parses the lines about persistence: `cookie`, `dynamic-cookie-key`, `force-persist` and `ignore-persist`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from attrs import evolve

from reusedproxy.config.language import units
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean
from reusedproxy.config.model.persistence import INSERT, PREFIX, REWRITE, Cookie, Persist
from reusedproxy.config.model.rules import Rule
from reusedproxy.config.rules.acls import read_condition, split_condition
from reusedproxy.config.sections.draft import ProxyDraft

_MODES = (INSERT, REWRITE, PREFIX)
_FLAGS = ("indirect", "nocache", "postonly", "preserve", "httponly", "secure", "dynamic")
_NOT_IN_NAMES = re.compile(r"[\0-\x20\x7f=;,\"]")
_NOT_IN_ATTRIBUTES = re.compile(r"[\0-\x1f\x7f;]")
_NOT_IN_DOMAINS = re.compile(r"[^0-9A-Za-z._-]")


def read_cookie(proxy: ProxyDraft, line: Line, report: Report) -> None:
    """Reads `cookie NAME …`; it replaces an inherited one as a whole. Raises Wrong."""
    if not line.arguments or not line.words[1]:
        raise Wrong("'cookie' needs the name of a cookie: cookie SRV insert indirect nocache, say")
    name, *rest = line.arguments
    if found := _NOT_IN_NAMES.search(name):
        raise Wrong(f"'cookie': {found[0]!r} cannot be in the name of a cookie, which is '{name}'")
    cookie = Cookie(name)
    modes: list[str] = []
    while rest:
        word = rest.pop(0)
        if word in _MODES:
            modes.append(word)
            cookie = evolve(cookie, mode=word)
        elif word in _FLAGS:
            flag: dict[str, Any] = {word: True}
            cookie = evolve(cookie, **flag)
        elif word in _WITH_VALUE:
            if not rest or not rest[0]:
                raise Wrong(f"'cookie {name}': '{word}' needs a value after it")
            cookie = _WITH_VALUE[word](cookie, rest.pop(0), line, report)
        else:
            known = (*_MODES, *_FLAGS, *_WITH_VALUE)
            raise Wrong(f"'cookie {name}': unknown word '{word}'{did_you_mean(word, known)}")
    _fits_together(cookie, modes)
    proxy.cookie = cookie


def _fits_together(cookie: Cookie, modes: list[str]) -> None:
    what = f"'cookie {cookie.name}'"
    if len(set(modes)) > 1:
        said = " and ".join(f"'{mode}'" for mode in dict.fromkeys(modes))
        raise Wrong(f"{what}: {said} exclude one another: choose one")
    if cookie.mode == REWRITE and cookie.indirect:
        raise Wrong(f"{what}: 'rewrite' and 'indirect' exclude one another: the server is to see the cookie it sets")
    if cookie.preserve and cookie.mode != INSERT and not cookie.indirect:
        raise Wrong(f"{what}: 'preserve' needs 'insert' or 'indirect': otherwise the servers' cookie stays anyhow")


def _domain(cookie: Cookie, value: str, line: Line, report: Report) -> Cookie:
    if found := _NOT_IN_DOMAINS.search(value):
        raise Wrong(f"'cookie {cookie.name}': {found[0]!r} cannot be in a domain, which is '{value}'")
    if "." not in value:
        text = f"'cookie {cookie.name}': browsers refuse a cookie for a domain without a dot, which is '{value}'"
        report.warn(line.place, text)
    return evolve(cookie, domains=(*cookie.domains, value))


def _attribute(cookie: Cookie, value: str, line: Line, report: Report) -> Cookie:
    if found := _NOT_IN_ATTRIBUTES.search(value):
        raise Wrong(f"'cookie {cookie.name}': {found[0]!r} cannot be in an attribute: one 'attr' for each of them")
    return evolve(cookie, attributes=(*cookie.attributes, value))


def _limit(field: str) -> Callable[[Cookie, str, Line, Report], Cookie]:
    def read(cookie: Cookie, value: str, line: Line, report: Report) -> Cookie:
        limit: dict[str, Any] = {field: units.whole_seconds(value, f"'cookie {cookie.name} {field}'")}
        return evolve(cookie, **limit)

    return read


_WITH_VALUE = {
    "domain": _domain,
    "attr": _attribute,
    "maxidle": _limit("maxidle"),
    "maxlife": _limit("maxlife"),
}


def read_dynamic_cookie_key(proxy: ProxyDraft, line: Line, report: Report) -> None:
    """Reads `dynamic-cookie-key KEY`. Raises Wrong."""
    proxy.dynamic_cookie_key = line.one_argument("a secret key, the same in all proxies before these servers")


def read_persist_rule(proxy: ProxyDraft, line: Line, report: Report) -> None:
    """Reads `force-persist` or `ignore-persist`, each with `if|unless CONDITION`. Raises Wrong."""
    what = f"'{line.keyword}'"
    before, condition = split_condition(line.arguments)
    if before:
        raise Wrong(f"{what} takes nothing but a condition: '{before[0]}' is too much")
    if not condition:
        raise Wrong(
            f"{what} needs 'if' or 'unless' and a condition after it: {line.keyword} if {{ src 192.0.2.1 }}, say"
        )
    verb = line.keyword.removesuffix("-persist")
    made = read_condition(condition, proxy.acls, line.place, what, report)
    proxy.persist_rules.append(Rule(line.place, line.keyword, Persist(verb), made))
