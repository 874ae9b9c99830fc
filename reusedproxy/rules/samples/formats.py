"""Compiles log-format strings. What they produce is always valid in a header.

No control character of a sample gets out: control characters are written as %XX, as HAProxy writes them in headers. So
neither a request nor the subject of a certificate can begin a header line of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from reusedproxy.config.model.rules import Format, Hole
from reusedproxy.config.rules.samples import REQUEST
from reusedproxy.rules.facts import Facts
from reusedproxy.rules.samples.aliases import show
from reusedproxy.rules.samples.compile import compiled, to_text

Text = Callable[[Facts], bytes]

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_ESCAPED = re.compile(rb'["\\\]]')
_BLANKS = re.compile(rb" +")


def text_of(made: Format, where: str = REQUEST) -> Text:
    """Compiles a format to a function that returns its text."""
    constant = made.constant
    if constant is not None:
        value = clean(constant.encode())
        return lambda facts: value
    texts = [_part(part, where) for part in made.parts]
    if len(texts) == 1:
        return texts[0]
    return lambda facts: b"".join([text(facts) for text in texts])


def text_to_keep(made: Format, where: str = REQUEST) -> Text:
    """Compiles a format for what outlives the request (a variable, the value of a map): the text has at most the bytes
    of a buffer less one, as HAProxy's."""
    text = text_of(made, where)
    return lambda facts: text(facts)[: facts.longest]


def text_of_items(made: Format, where: str = REQUEST) -> Text:
    """Compiles a format whose blanks separate items: several of them are one (`unique-id-format`)."""
    text = text_of(made, where)
    return lambda facts: _BLANKS.sub(b" ", text(facts)).lstrip(b" ")


def text_of_body(made: Format, where: str = REQUEST) -> Text:
    """Compiles a format for a body. The configuration's own text keeps its control characters, line ends among them."""
    texts: list[Text] = []
    for part in made.parts:
        texts.append(_own(part) if isinstance(part, str) else _part(part, where))
    return lambda facts: b"".join([text(facts) for text in texts])


def text_of_path(made: Format, where: str = REQUEST) -> Text:
    """Compiles a format for a path. Only a `?` of the configuration's own text begins a query: in what a sample gives
    it is written as %3F."""
    texts = [_part(part, where) for part in made.parts]
    texts = [
        text if isinstance(part, str) else _without_query(text) for part, text in zip(made.parts, texts, strict=True)
    ]
    return lambda facts: b"".join([text(facts) for text in texts])


def _without_query(text: Text) -> Text:
    return lambda facts: text(facts).replace(b"?", b"%3F")


def _own(part: str) -> Text:
    value = part.encode()
    return lambda facts: value


def clean(value: bytes) -> bytes:
    """Writes control characters as %XX, except tabs."""
    return _CONTROL.sub(lambda found: b"%%%02X" % found[0][0], value) if _CONTROL.search(value) else value


def _part(part: str | Hole, where: str) -> Text:
    if isinstance(part, str):
        value = clean(part.encode())
        return lambda facts: value
    name = part.expression.fetch.name
    if name.startswith("%"):
        shown = show(name[1:], part)
        return lambda facts: clean(shown(facts.course).encode())
    fetch = compiled(part.expression, where)
    if not (part.escaped or part.quoted or part.shown):
        return lambda facts: clean(to_text(fetch(facts)) or b"")
    nothing = b"-" if part.shown and not part.quoted else b""

    def text(facts: Facts) -> bytes:
        value = clean(to_text(fetch(facts)) or b"") or nothing
        if part.escaped:
            value = _ESCAPED.sub(lambda found: b"\\" + found[0], value)
        return b'"%b"' % value if part.quoted else value

    return text
