"""Parses the `stats socket` lines of the global section: an address, and the words that follow it."""

from __future__ import annotations

import ipaddress
from typing import Any

from reusedproxy.config.language import haproxy_words
from reusedproxy.config.language.addresses import listen_addresses
from reusedproxy.config.language.parameters import read_parameters
from reusedproxy.config.language.report import Line, Report, Wrong, not_done, one_of
from reusedproxy.config.model.proxies import Bind, StatsSocket
from reusedproxy.config.model.values import ListenAddress
from reusedproxy.config.sections.binds import SOCKET_WORDS, shut_out, socket_word

LEVELS = ("user", "operator", "admin")
SEVERITIES = ("none", "number", "string")


def read_stats_socket(line: Line, report: Report) -> StatsSocket:
    """Parses `stats socket <address> [<word> …]`. Raises Wrong."""
    what = "'stats socket'"
    address = one_address(line.words[2], what)
    settings: dict[str, Any] = {}
    level = "operator"
    exposes = False
    severities, product = "none", ""

    def apply(word: str, argument: str) -> None:
        nonlocal level, exposes, severities, product
        if word == "level":
            level = one_of(argument, LEVELS, f"{what}: 'level'")
        elif word in SOCKET_WORDS:
            settings.update((socket_word(word, argument, what),))
        elif word == "expose-fd":
            one_of(argument, ("listeners",), f"{what}: 'expose-fd'")
            exposes = True
        elif word == "severity-output":
            severities = one_of(argument, SEVERITIES, f"{what}: 'severity-output'")
        elif word == "product-name":
            product = argument
        elif word in haproxy_words.BIND_WITHOUT_EFFECT:
            report.without_effect(f"stats socket … {word}", line.place)
        else:
            raise Wrong(f"{what}: {not_done(word, 'word of a socket')}")

    read_parameters(line.words[3:], {**haproxy_words.BIND, "product-name": 1}, apply, what)
    if address.kind == "tcp" and not is_loopback(address.host) and level != LEVELS[0]:
        text = (
            f"{what}: whoever reaches {address} may do what level {level} may, and is not asked who he is: let it"
            " listen on 127.0.0.1, [::1] or a unix socket's path"
        )
        report.warn(line.place, text)
    bind = Bind(line.place, address, **settings)
    if texts := [*shut_out([address], bind, what)]:
        raise Wrong(*texts)
    if exposes and (address.kind != "unix" or level != "admin"):
        report.warn(line.place, f"{what}: 'expose-fd listeners' needs a unix socket and 'level admin'")
        exposes = False
    return StatsSocket(bind, level, exposes, severities, product)


def one_address(text: str, what: str) -> ListenAddress:
    """Returns the only address that `text` is. Raises Wrong."""
    addresses = listen_addresses(text, what)
    if len(addresses) != 1:
        raise Wrong(f"{what} takes one address, not '{text}'")
    return addresses[0]


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
