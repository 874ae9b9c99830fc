"""Parses `http-check expect` and `tcp-check expect`."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
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
_VALUES = ("value", "value-lf")
_HEXADECIMAL = re.compile(r"(?:[0-9A-Fa-f]{2})+\Z")


def read_expect(line: Line, number: int = 0, *, http: bool = True) -> Expect:
    """Parses the words of an `expect` line; `line.words` begins at `expect`. As in HAProxy, options stand before or
    behind what is expected. Raises Wrong."""
    what = f"'{'http' if http else 'tcp'}-check expect'"
    expect, words = Expect(number, ""), line.arguments
    while words:
        marks, words = _negation(words)
        expect = evolve(expect, negated=expect.negated != (marks % 2 == 1))
        word = words[0] if words else ""
        if marks and (word in _OPTIONS or not word):
            raise Wrong(f"{what}: '!' stands before what is not to come, such as '!string'")
        if word in _OPTIONS:
            expect, words = _optional(expect, words, what), words[2:]
        elif word not in (_HTTP if http else _TCP):
            known = haproxy_words.HTTP_CHECK_EXPECT if http else haproxy_words.TCP_CHECK_EXPECT
            raise Wrong(f"{what}: {_unknown(word, expect, known)}")
        elif expect.what:
            raise Wrong(f"{what}: '{word}' is too much: one line expects one thing, and '{expect.what}' is before it")
        else:
            expect, words = _READERS[word](expect, words, what)
    if not expect.what:
        example = "http-check expect status 200-399" if http else "tcp-check expect string +PONG"
        raise Wrong(f"{what} needs what to expect: {example}, say")
    return expect


def _negation(words: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """Counts the `!` at the beginning, which may stand by themselves. Returns the words without them, too."""
    marks = 0
    while words and words[0].startswith("!"):
        rest = words[0].lstrip("!")
        marks += len(words[0]) - len(rest)
        words = (rest, *words[1:]) if rest else words[1:]
    return marks, words


def _optional(expect: Expect, words: tuple[str, ...], what: str) -> Expect:
    word = words[0]
    if len(words) < 2 or not words[1]:
        raise Wrong(f"{what}: '{word}' needs a value")
    field, read = _OPTIONS[word]
    return evolve(expect, **{field: read(words[1], f"{what}: '{word}'")})


def _unknown(word: str, expect: Expect, known: Collection[str]) -> str:
    """Says what is wrong with a word that means nothing here."""
    if word == "custom":
        return not_done("custom", "word")
    if not expect.what:
        return f"unknown word '{word}'{did_you_mean(word, known)}"
    hint = {
        "status": "codes are one list: 200,204,300-399, say",
        "hdr": "'value' or 'value-lf' can stand behind a name",
        "fhdr": "'value' or 'value-lf' can stand behind a name",
    }.get(expect.what, "quote a text that has blanks")
    return f"unknown word '{word}' behind '{expect.what}'{did_you_mean(word, {*known, *_VALUES}) or f': {hint}'}"


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


#: An `expect` line that has been parsed so far, and the words that follow.
_Parsed = tuple[Expect, tuple[str, ...]]


def _one(words: tuple[str, ...], what: str, wanted: str) -> str:
    if len(words) < 2 or not words[1]:
        raise Wrong(f"{what}: '{words[0]}' needs {wanted}")
    return words[1]


def _statuses(expect: Expect, words: tuple[str, ...], what: str) -> _Parsed:
    codes = _one(words, what, "a list of codes: 200,204,300-399, say")
    return evolve(expect, what="status", ranges=tuple(_code_range(part) for part in codes.split(","))), words[2:]


def _code_range(text: str) -> tuple[int, int]:
    what = "'http-check expect status'"
    first_text, dash, last_text = text.partition("-")
    first = units.integer(first_text, what, least=100, most=999)
    last = units.integer(last_text, what, least=100, most=999) if dash else first
    if last < first:
        raise Wrong(f"{what}: the range '{text}' goes backwards")
    return first, last


def _string(expect: Expect, words: tuple[str, ...], what: str) -> _Parsed:
    return evolve(expect, what=words[0], pattern=_one(words, what, "a text")), words[2:]


def _regular(expect: Expect, words: tuple[str, ...], what: str) -> _Parsed:
    pattern = _one(words, what, "a regular expression")
    read_regular(pattern, f"{what}: '{words[0]}'")
    return evolve(expect, what=words[0], pattern=pattern), words[2:]


def _binary(expect: Expect, words: tuple[str, ...], what: str) -> _Parsed:
    digits = hexadecimal(_one(words, what, "hexadecimal digits"), what)
    return evolve(expect, what="binary", pattern=digits), words[2:]


def hexadecimal(text: str, what: str) -> str:
    """Checks that a text is pairs of hexadecimal digits. Raises Wrong."""
    if not _HEXADECIMAL.match(text):
        raise Wrong(f"{what}: '{text}' is not pairs of hexadecimal digits")
    return text


def _format(expect: Expect, words: tuple[str, ...], what: str) -> _Parsed:
    made, constant = read_check_format(_one(words, what, "a log-format string"), f"{what}: '{words[0]}'")
    if made is None and words[0] == "binary-lf":
        hexadecimal(constant, what)
    return evolve(expect, what=words[0], made=made, pattern=constant), words[2:]


def _header(expect: Expect, words: tuple[str, ...], what: str) -> _Parsed:
    """Parses `hdr { name | name-lf } [-m <meth>] <name> [{ value | value-lf } [-m <meth>] <value>]`. Raises Wrong."""
    kind, rest = words[0], words[1:]
    what = f"{what}: '{kind}'"
    if rest[:1] not in (("name",), ("name-lf",)):
        raise Wrong(f"{what} needs 'name' or 'name-lf' after it: {kind} name x-ready value -m str yes, say")
    name, rest = _compared(rest, what)
    value = None
    if rest[:1] in (("value",), ("value-lf",)):
        value, rest = _compared(rest, what)
    return evolve(expect, what=kind, name=name, value=value), rest


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


_READERS: dict[str, Callable[[Expect, tuple[str, ...], str], _Parsed]] = {
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
