"""Parses `http-check expect` and `tcp-check expect`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from attrs import evolve

from reusedproxy.config.checks.texts import read_check_expression, read_check_format
from reusedproxy.config.language import haproxy_words, units
from reusedproxy.config.language.regular import read_regular
from reusedproxy.config.language.report import Line, Wrong, did_you_mean, not_done, one_of
from reusedproxy.config.model.checks import Expect, Name
from reusedproxy.config.model.rules import Format
from reusedproxy.config.rules.formats import literal

OK = ("L7OK", "L7OKC", "L6OK", "L4OK")
ERROR = ("L7OKC", "L7RSP", "L7STS", "L6RSP", "L4CON")
TOUT = ("L7TOUT", "L6TOUT", "L4TOUT")

_HTTP = ("status", "rstatus", "hdr", "fhdr", "string", "rstring", "string-lf")
_TCP = ("string", "rstring", "string-lf", "binary", "rbinary", "binary-lf")
_HEXADECIMAL = re.compile(r"(?:[0-9A-Fa-f]{2})+\Z")


def read_expect(line: Line, number: int = 0, *, http: bool = True) -> Expect:
    """Parses the words of an `expect` line; `line.words` begins at `expect`. Raises Wrong."""
    what = f"'{'http' if http else 'tcp'}-check expect'"
    expect, words = Expect(number, ""), line.arguments
    while words and words[0] in _OPTIONS:
        word = words[0]
        if len(words) < 2 or not words[1]:
            raise Wrong(f"{what}: '{word}' needs a value")
        field, read = _OPTIONS[word]
        expect = evolve(expect, **{field: read(words[1], f"{what}: '{word}'")})
        words = words[2:]
    if words[:1] == ("!",):
        expect, words = evolve(expect, negated=True), words[1:]
    elif words and words[0].startswith("!"):
        expect, words = evolve(expect, negated=True), (words[0][1:], *words[1:])
    known = haproxy_words.HTTP_CHECK_EXPECT if http else haproxy_words.TCP_CHECK_EXPECT
    if not words:
        example = "http-check expect status 200-399" if http else "tcp-check expect string +PONG"
        raise Wrong(f"{what} needs what to expect: {example}, say")
    if words[0] not in (_HTTP if http else _TCP):
        if words[0] == "custom":
            raise Wrong(f"{what}: {not_done('custom', 'word')}")
        raise Wrong(f"{what}: unknown word '{words[0]}'{did_you_mean(words[0], known)}")
    return _READERS[words[0]](expect, words, what)


def _status_of(allowed: tuple[str, ...]) -> Callable[[str, str], Any]:
    return lambda text, what: one_of(text, allowed, what)


def _message(text: str, what: str) -> Format:
    made, constant = read_check_format(text, what)
    return literal(constant) if made is None else made


def _text(text: str, what: str) -> str:
    return text


def _least(text: str, what: str) -> int:
    return units.integer(text, what, least=-1)


_OPTIONS: dict[str, tuple[str, Callable[[str, str], Any]]] = {
    "min-recv": ("least", _least),
    "comment": ("comment", _text),
    "ok-status": ("ok_status", _status_of(OK)),
    "error-status": ("error_status", _status_of(ERROR)),
    "tout-status": ("tout_status", _status_of(TOUT)),
    "on-success": ("on_success", _message),
    "on-error": ("on_error", _message),
    "status-code": ("status_code", read_check_expression),
}


# What is matched.


def _one(words: tuple[str, ...], what: str, wanted: str) -> str:
    if len(words) != 2 or not words[1]:
        raise Wrong(f"{what}: '{words[0]}' needs {wanted}")
    return words[1]


def _statuses(expect: Expect, words: tuple[str, ...], what: str) -> Expect:
    if len(words) != 2:
        raise Wrong("'http-check expect status' needs one list of codes: 200,204,300-399, say")
    return evolve(expect, what="status", ranges=tuple(_code_range(part) for part in words[1].split(",")))


def _code_range(text: str) -> tuple[int, int]:
    what = "'http-check expect status'"
    first_text, dash, last_text = text.partition("-")
    first = units.integer(first_text, what, least=100, most=999)
    last = units.integer(last_text, what, least=100, most=999) if dash else first
    if last < first:
        raise Wrong(f"{what}: the range '{text}' goes backwards")
    return first, last


def _string(expect: Expect, words: tuple[str, ...], what: str) -> Expect:
    return evolve(expect, what=words[0], pattern=_one(words, what, "a text"))


def _regular(expect: Expect, words: tuple[str, ...], what: str) -> Expect:
    pattern = _one(words, what, "a regular expression")
    read_regular(pattern, f"{what}: '{words[0]}'")
    return evolve(expect, what=words[0], pattern=pattern)


def _binary(expect: Expect, words: tuple[str, ...], what: str) -> Expect:
    return evolve(expect, what="binary", pattern=hexadecimal(_one(words, what, "hexadecimal digits"), what))


def hexadecimal(text: str, what: str) -> str:
    """Checks that a text is pairs of hexadecimal digits. Raises Wrong."""
    if not _HEXADECIMAL.match(text):
        raise Wrong(f"{what}: '{text}' is not pairs of hexadecimal digits")
    return text


def _format(expect: Expect, words: tuple[str, ...], what: str) -> Expect:
    made, constant = read_check_format(_one(words, what, "a log-format string"), f"{what}: '{words[0]}'")
    if made is None and words[0] == "binary-lf":
        hexadecimal(constant, what)
    return evolve(expect, what=words[0], made=made, pattern=constant)


def _header(expect: Expect, words: tuple[str, ...], what: str) -> Expect:
    """Parses `hdr { name | name-lf } [-m <meth>] <name> [{ value | value-lf } [-m <meth>] <value>]`. Raises Wrong."""
    kind, rest = words[0], words[1:]
    what = f"{what}: '{kind}'"
    if rest[:1] not in (("name",), ("name-lf",)):
        raise Wrong(f"{what} needs 'name' or 'name-lf' after it: {kind} name x-ready value -m str yes, say")
    name, rest = _compared(rest, what)
    value = None
    if rest:
        if rest[0] not in ("value", "value-lf"):
            raise Wrong(f"{what}: '{rest[0]}' stands where 'value' or 'value-lf' can")
        value, rest = _compared(rest, what)
    if rest:
        raise Wrong(f"{what}: '{rest[0]}' is too much")
    return evolve(expect, what=kind, name=name, value=value)


def _compared(words: tuple[str, ...], what: str) -> tuple[Name, tuple[str, ...]]:
    """Parses one name or value with its method. Returns the rest of the words, too. Raises Wrong."""
    word, rest, method = words[0], words[1:], "str"
    if rest[:1] == ("-m",):
        if len(rest) < 2:
            raise Wrong(f"{what}: '-m' needs a method")
        method, rest = one_of(rest[1], ("str", "beg", "end", "sub", "reg"), f"{what}: '-m'"), rest[2:]
    if not rest or not rest[0]:
        raise Wrong(f"{what}: '{word}' needs a text")
    if word.endswith("-lf"):
        if method == "reg":
            raise Wrong(f"{what}: '{word}' takes str, beg, end or sub: a regular expression is never made of variables")
        made, constant = read_check_format(rest[0], f"{what}: '{word}'")
        return Name(method, constant, made), rest[1:]
    if method == "reg":
        read_regular(rest[0], what)
    return Name(method, rest[0]), rest[1:]


_READERS: dict[str, Callable[[Expect, tuple[str, ...], str], Expect]] = {
    "status": _statuses,
    "rstatus": _regular,
    "hdr": _header,
    "fhdr": _header,
    "string": _string,
    "rstring": _regular,
    "string-lf": _format,
    "binary": _binary,
    "rbinary": _regular,
    "binary-lf": _format,
}
