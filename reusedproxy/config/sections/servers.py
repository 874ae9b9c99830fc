"""Parses `server`, `server-template` and `default-server` lines.

What their words set is in `server_words`, and the model's servers are made by `finished_servers`. Must never know
proxies: the caller copies the settings of `default-server`.
"""

from __future__ import annotations

import re

from attrs import define, evolve

from reusedproxy.config.language.addresses import ServerAddress, is_server_address, server_address
from reusedproxy.config.language.report import Line, Wrong
from reusedproxy.config.model.values import Place
from reusedproxy.config.sections import names
from reusedproxy.config.sections.server_words import ARITIES, ServerWords, read_words
from reusedproxy.config.tls.words import TLSDefaults

NAME = re.compile(r"[A-Za-z0-9_.:-]+\Z")


@define
class ServerDraft:
    """Holds one `server` line, or a server of a `server-template` line. `title` is what messages call it: "server
    'web1'", or by its line where that is a template. `defaults` are the TLS defaults in force there, `own` the words of
    the line itself."""

    name: str
    #: The prefix of the template that it is of, "" for none.
    template: str
    title: str
    place: Place
    address: ServerAddress
    words: ServerWords
    defaults: TLSDefaults
    own: frozenset[str]


def read_default_server(line: Line, words: ServerWords) -> None:
    if not line.arguments:
        raise Wrong("'default-server' needs words after it: default-server check inter 2s, say")
    first = line.arguments[0]
    if first not in ARITIES and re.match(r"[\[0-9*/:]", first):
        raise Wrong(f"'default-server' takes no name and no address: '{first}'")
    for word in ("id", "guid"):
        if word in line.arguments:
            raise Wrong(f"'default-server' takes no '{word}': each server has its own")
    read_words(line.arguments, words, "'default-server'")


def read_server(line: Line, defaults: ServerWords, tls: TLSDefaults) -> ServerDraft:
    """Parses a `server` line, on top of the preceding `default-server` settings. Raises Wrong."""
    if len(line.words) == 2 and is_server_address(line.words[1]):
        raise Wrong(f"the name is missing: 'server NAME {line.words[1]}'")
    if len(line.words) < 3 or not line.words[1]:
        raise Wrong("'server' needs a name and an address: server web1 192.0.2.10:80, say")
    name = line.words[1]
    _nothing_forgotten(name, line.words[2], f"server '{name}'", f"server {name}")
    return _read(name, "", line, line.words[2:], defaults, tls)


def _read(
    name: str, template: str, line: Line, said: tuple[str, ...], defaults: ServerWords, tls: TLSDefaults
) -> ServerDraft:
    """Reads what is `said` behind the name: the address, and the words. Raises Wrong."""
    what = f"server-template '{template}'" if template else f"server '{name}'"
    texts: list[str] = []
    if not NAME.match(name):
        texts.append(f"{what}: a name has only letters, digits and - _ . : in it")
    address, words = ServerAddress("tcp", "", None), defaults.copy()
    try:
        address = server_address(said[0], what, of_client=True)
    except Wrong as wrong:
        texts.extend(wrong.texts)
    try:
        read_words(said[1:], words, what)
    except Wrong as wrong:
        texts.extend(wrong.texts)
    if texts:
        raise Wrong(*texts)
    return ServerDraft(name, template, what, line.place, address, words, tls, frozenset(said[1:]))


def read_template(line: Line, defaults: ServerWords, tls: TLSDefaults) -> list[ServerDraft]:
    """Parses a `server-template` line, and returns its servers, which differ in their names only. Raises Wrong."""
    if len(line.words) < 4:
        example = "server-template web 1-10 app.example.com:80"
        raise Wrong(f"'server-template' needs a prefix, a number of servers and an address: {example}, say")
    prefix, number, *said = line.words[1:]
    made = names.template_names(prefix, number)
    _nothing_forgotten(prefix, said[0], f"server-template '{prefix}'", f"server-template {prefix} {number}")
    first = _read(made[0], prefix, line, (*said,), defaults, tls)
    return [first, *(evolve(first, name=name, words=first.words.copy()) for name in made[1:])]


def _nothing_forgotten(name: str, address: str, what: str, begins: str) -> None:
    """Raises Wrong when a server option stands in the place of the address: the name or the address is missing. The
    line `begins` so, up to the address."""
    if address not in ARITIES:
        return
    if is_server_address(name):
        raise Wrong(f"the name is missing: 'server NAME {name} {address} …'")
    raise Wrong(f"{what}: the address is missing: '{begins} ADDRESS:PORT {address} …'")
