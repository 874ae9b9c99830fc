"""Parses what a backend says about the choice of its servers: `balance`, `hash-type` and its like."""

from __future__ import annotations

import re
from collections.abc import Callable

from attrs import evolve

from reusedproxy.config.language import haproxy_words, units
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean, not_done, one_of
from reusedproxy.config.model.balance import BALANCE, Balance, HashType, UseServer
from reusedproxy.config.rules.acls import read_condition, split_condition
from reusedproxy.config.rules.expressions import read_expression, where_of
from reusedproxy.config.rules.formats import literal
from reusedproxy.config.rules.reading import Reading
from reusedproxy.config.rules.samples import CLIENT_BYTES, RESPONSE, SERVER_BYTES
from reusedproxy.config.sections.draft import ProxyDraft

FUNCTIONS = ("sdbm", "djb2", "wt6", "crc32", "none")
_HINTS = {
    "rdp-cookie": "write 'balance hash rdp_cookie(mstshash)', or 'stick on rdp_cookie(mstshash)'",
    "log-hash": "it is for mode log: write 'balance hash EXPRESSION'",
    "sticky": "it is for mode log: write 'balance first', with a 'maxconn' on each server",
}
_WITH_ARGUMENT = re.compile(r"([a-z_-]+)\((.*)\)\Z", re.DOTALL)


def read_balance(proxy: ProxyDraft, line: Line, report: Report) -> None:
    """Reads `balance ALGORITHM …`. Raises Wrong."""
    # `balance` alone is as without the line.
    word, *rest = line.arguments or (BALANCE[0],)
    found = _WITH_ARGUMENT.match(word)
    name, argument = (found[1], found[2]) if found else (word, None)
    if name not in BALANCE:
        name = word.partition("(")[0]
        if name in BALANCE:
            raise Wrong(f"'balance {name}': the ')' is missing in '{word}'")
        if name in haproxy_words.BALANCE:
            raise Wrong(not_done(f"balance {name}", hint=_HINTS[name]))
        raise Wrong(f"unknown balance algorithm '{word}'{did_you_mean(name, BALANCE)}")
    if argument is not None and name not in ("random", "hdr"):
        raise Wrong(f"'balance {name}' takes nothing in parentheses: '{word}'")
    made = Balance(name)
    if name == "random" and argument:
        made = evolve(made, draws=units.integer(argument, "'balance random': the number of draws", least=1))
    elif name == "hdr":
        if not argument:
            raise Wrong("'balance hdr' needs the name of a header: balance hdr(host), say")
        made = evolve(made, name=argument)
    if name in _READERS:
        made = _READERS[name](made, rest)
    elif rest:
        raise Wrong(f"'balance {name}' takes nothing after it: '{rest[0]}'")
    proxy.balance = made


def _uri(made: Balance, words: list[str]) -> Balance:
    while words:
        word, *words = words
        if word == "whole":
            made = evolve(made, whole=True)
        elif word == "path-only":
            made = evolve(made, path_only=True)
        elif word in ("len", "depth"):
            if not words:
                raise Wrong(f"'balance uri {word}' needs a number")
            number = units.integer(words.pop(0), f"'balance uri {word}'", least=1)
            made = evolve(made, length=number) if word == "len" else evolve(made, depth=number)
        else:
            known = ("len", "depth", "whole", "path-only")
            raise Wrong(f"'balance uri': unknown word '{word}'{did_you_mean(word, known)}")
    return made


def _url_param(made: Balance, words: list[str]) -> Balance:
    if not words or not words[0]:
        raise Wrong("'balance url_param' needs the name of a parameter: balance url_param userid, say")
    if words[1:] and words[1] == "check_post":
        raise Wrong(
            not_done("balance url_param … check_post", hint="without it the parameter is looked for in the query only")
        )
    if words[1:]:
        raise Wrong(f"'balance url_param' takes one name: '{words[1]}' is too much")
    return evolve(made, name=words[0])


def _hdr(made: Balance, words: list[str]) -> Balance:
    if words and words != ["use_domain_only"]:
        raise Wrong(f"'balance hdr({made.name})' takes 'use_domain_only' or nothing, not '{' '.join(words)}'")
    return evolve(made, domain_only=bool(words))


def _hash(made: Balance, words: list[str]) -> Balance:
    if not words:
        raise Wrong("'balance hash' needs an expression: balance hash req.cookie(id), say")
    if words[1:]:
        raise Wrong(f"'balance hash' takes one expression: '{words[1]}' is too much")
    expression = read_expression(words[0], "'balance hash'")
    if where_of(expression) in (RESPONSE, SERVER_BYTES):
        raise Wrong(f"'balance hash': '{expression}' needs a response, and a server is chosen before there is one")
    return evolve(made, expression=expression)


_READERS: dict[str, Callable[[Balance, list[str]], Balance]] = {
    "uri": _uri,
    "url_param": _url_param,
    "hdr": _hdr,
    "hash": _hash,
}


def read_hash_type(proxy: ProxyDraft, line: Line, report: Report) -> None:
    """Reads `hash-type METHOD [FUNCTION [avalanche]]`. Raises Wrong."""
    if not line.arguments:
        raise Wrong("'hash-type' needs a method: hash-type consistent, say")
    line.at_most(3)
    method, *rest = line.arguments
    if method == "avalanche":
        raise Wrong("'hash-type avalanche' is gone: write 'hash-type map-based sdbm avalanche'")
    consistent = one_of(method, ("map-based", "consistent"), "'hash-type'") == "consistent"
    function, avalanche = "sdbm", consistent
    if rest:
        function = one_of(rest[0], FUNCTIONS, "'hash-type': the function")
        avalanche = rest[1:] != []
        if avalanche:
            one_of(rest[1], ("avalanche",), "'hash-type': the modifier")
    made = HashType(consistent, function, avalanche)
    proxy.hash_type = evolve(made, factor=proxy.hash_type.factor, affinity=proxy.hash_type.affinity)


def read_hash_balance_factor(proxy: ProxyDraft, line: Line, report: Report) -> None:
    """Reads `hash-balance-factor PERCENT`. Raises Wrong."""
    factor = units.integer(line.one_argument("a percentage above 100, or 0"), "'hash-balance-factor'")
    if 0 < factor <= 100:
        raise Wrong(f"'hash-balance-factor' is a percentage of the mean load, above 100: write 150, say, not {factor}")
    proxy.hash_type = evolve(proxy.hash_type, factor=factor)


def read_hash_preserve_affinity(proxy: ProxyDraft, line: Line, report: Report) -> None:
    """Reads `hash-preserve-affinity always|maxconn|maxqueue`. Raises Wrong."""
    known = ("always", "maxconn", "maxqueue")
    word = one_of(line.one_argument("always, maxconn or maxqueue"), known, "'hash-preserve-affinity'")
    proxy.hash_type = evolve(proxy.hash_type, affinity=word)


def read_use_server(proxy: ProxyDraft, line: Line, report: Report) -> None:
    """Reads `use-server NAME if|unless CONDITION`. Raises Wrong."""
    before, condition = split_condition(line.arguments)
    name = Line(line.place, (line.keyword, *before)).one_argument("the name of a server")
    if not condition:
        raise Wrong(f"'use-server {name}' needs 'if' or 'unless' and a condition")
    reading = Reading((), "'use-server'", CLIENT_BYTES, "", "'use-server' rules", line, report)
    made = reading.format(name) if "%" in name else literal(name)
    read = read_condition(condition, proxy.acls, line.place, "'use-server'", report)
    assert read is not None
    proxy.use_servers.append(UseServer(line.place, made, read))
