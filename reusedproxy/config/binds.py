"""`bind` lines: addresses written out, one `Bind` each, with the words that follow them."""

from __future__ import annotations

import re
from typing import Any

from attrs import evolve

from reusedproxy.config import haproxy_words, units
from reusedproxy.config.addresses import listen_addresses
from reusedproxy.config.model import Bind, ListenAddress
from reusedproxy.config.parameters import read_parameters
from reusedproxy.config.report import Line, Report, Wrong, not_done


def read_bind(line: Line, report: Report) -> list[Bind]:
    """One `Bind` for every address of the line."""
    if not line.arguments or not line.arguments[0]:
        raise Wrong("'bind' needs an address: bind *:80, say")
    what = f"'bind {line.words[1]}'"
    texts: list[str] = []
    addresses: tuple[ListenAddress, ...] = ()
    bind = Bind(line.place, ListenAddress("tcp"))
    try:
        addresses = listen_addresses(line.words[1])
    except Wrong as wrong:
        texts.extend(wrong.texts)
    try:
        bind = _read_words(line.words[2:], bind, what, report)
    except Wrong as wrong:
        texts.extend(wrong.texts)
    if texts:
        raise Wrong(*texts)
    return [evolve(bind, address=address) for address in addresses]


def _read_words(arguments: tuple[str, ...], bind: Bind, what: str, report: Report) -> Bind:
    settings: dict[str, Any] = {}
    over_tls = "ssl" in arguments

    def apply(word: str, argument: str) -> None:
        if word in haproxy_words.BIND_WITHOUT_EFFECT:
            report.without_effect(f"bind … {word}", bind.place)
        elif word in ("name", "user", "group"):
            settings[word] = argument
        elif word in ("uid", "gid"):
            settings["user" if word == "uid" else "group"] = str(units.integer(argument, f"{what}: '{word}'"))
        elif word in ("maxconn", "backlog"):
            settings[word] = units.integer(argument, f"{what}: '{word}'")
        elif word == "mode":
            settings["mode"] = _permissions(argument, what)
        elif word == "proto" and argument != "h1":
            raise Wrong(f"{what}: {not_done(f'proto {argument}', 'bind option', 'clients speak HTTP/1 only')}")
        elif word == "ssl":
            raise Wrong(f"{what}: {not_done('ssl', 'bind option', 'clients are served in the clear only')}")
        elif word not in ("proto", "v4v6") and not (over_tls and word in haproxy_words.BIND_TLS):
            raise Wrong(f"{what}: {not_done(word, 'bind option')}")

    read_parameters(arguments, haproxy_words.BIND, apply, what)
    return evolve(bind, **settings)


def _permissions(argument: str, what: str) -> int:
    if not re.match(r"[0-7]{1,4}\Z", argument):
        raise Wrong(f"{what}: 'mode' needs the permissions of a socket in octal, such as 660, not '{argument}'")
    return int(argument, 8)
