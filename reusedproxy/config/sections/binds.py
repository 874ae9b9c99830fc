"""Parses `bind` lines: addresses written out, one `Bind` each, with the words that follow them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from attrs import Factory, define, evolve, frozen

from reusedproxy.config.language import haproxy_words, units
from reusedproxy.config.language.addresses import listen_addresses, unix_path
from reusedproxy.config.language.alternatives import HINTS
from reusedproxy.config.language.parameters import read_parameters
from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean, not_done
from reusedproxy.config.model.proxies import Bind, SocketOptions
from reusedproxy.config.model.values import ListenAddress
from reusedproxy.config.tls.words import SWITCHES, TLSDefaults, TLSWords, demand_off, finished_tls, offered_protocols


@define
class BindDraft:
    """Holds one address of a `bind` line. `ssl` tells whether `tls` is in use; `defaults` are the TLS
    defaults in force at the line."""

    bind: Bind
    defaults: TLSDefaults
    ssl: bool = False
    tls: TLSWords = Factory(TLSWords)

    def says_the_same(self, other: BindDraft) -> bool:
        """Tells whether the other one has the same address and words, wherever it stands."""
        return self == evolve(other, bind=evolve(other.bind, place=self.bind.place))


@frozen
class UnixDefaults:
    """Holds what `unix-bind` says of the unix sockets of later `bind` lines: what stands before their paths, and who
    may connect where the line does not say."""

    prefix: str = ""
    mode: int | None = None
    user: str | None = None
    group: str | None = None

    def applied(self, bind: Bind) -> Bind:
        if bind.address.kind != "unix":
            return bind
        return evolve(
            bind,
            address=evolve(bind.address, path=self.prefix + bind.address.path),
            mode=self.mode if bind.mode is None else bind.mode,
            user=self.user if bind.user is None else bind.user,
            group=self.group if bind.group is None else bind.group,
        )


def read_unix_bind(line: Line) -> UnixDefaults:
    """Parses the `unix-bind` line of the global section. Raises Wrong."""
    said: dict[str, Any] = {}
    rest = list(line.arguments)
    while rest:
        word = rest.pop(0)
        if word not in _UNIX_WORDS:
            raise Wrong(f"'unix-bind': unknown word '{word}'{did_you_mean(word, _UNIX_WORDS)}")
        if not rest:
            raise Wrong(f"'unix-bind': '{word}' needs a value")
        value = rest.pop(0)
        said.update([("prefix", value) if word == "prefix" else socket_word(word, value, "'unix-bind'")])
    return UnixDefaults(**said)


_UNIX_WORDS = ("prefix", "mode", "user", "uid", "group", "gid")


def read_bind(line: Line, defaults: TLSDefaults, report: Report, unix: UnixDefaults | None = None) -> list[BindDraft]:
    """Parses the line and returns one draft for each of its addresses; `unix` is what `unix-bind` has said before.
    Raises Wrong."""
    if not line.arguments or not line.arguments[0]:
        raise Wrong("'bind' needs an address: bind *:80, say")
    if line.words[1] in haproxy_words.BIND:
        raise Wrong(f"'bind': the address is missing: 'bind ADDRESS:PORT {line.words[1]} …'")
    what = f"'bind {line.words[1]}'"
    texts: list[str] = []
    addresses: tuple[ListenAddress, ...] = ()
    draft = BindDraft(Bind(line.place, ListenAddress("tcp")), defaults)
    try:
        addresses = listen_addresses(line.words[1])
    except Wrong as wrong:
        texts.extend(wrong.texts)
    try:
        _read_words(line.words[2:], draft, what, report)
    except Wrong as wrong:
        texts.extend(wrong.texts)
    if addresses:
        texts += shut_out(addresses, draft.bind, what)
        if draft.bind.id and len(addresses) > 1:
            texts.append(f"{what}: 'id' is the number of one listener, and this line has {len(addresses)}")
    if texts:
        raise Wrong(*texts)
    for text in _idle_words(addresses, draft.bind.options):
        report.notice(line.place, f"{what}: {text}")
    unix = unix or UnixDefaults()
    binds = [unix.applied(evolve(draft.bind, address=address)) for address in addresses]
    for bind in binds:
        if bind.address.kind == "unix":
            unix_path(bind.address.path, what)  # with the prefix it may be too long
    return [evolve(draft, bind=bind) for bind in binds]


def finished_bind(draft: BindDraft, backlog: int, *, http: bool = True) -> Bind:
    """Returns the model's `Bind`; `backlog` applies to lines without that word. Without `http`, protocols are offered
    (ALPN) only if the line says which."""
    tls = finished_tls(draft.tls, draft.defaults) if draft.ssl else None
    if tls is not None and http:
        tls = evolve(tls, offer=evolve(tls.offer, alpn=offered_protocols(tls.offer.alpn, "alpn")))
    elif tls is not None and "alpn" not in draft.tls.said:
        tls = evolve(tls, offer=evolve(tls.offer, alpn=()))
    return evolve(draft.bind, backlog=draft.bind.backlog or backlog, tls=tls)


def _read_words(arguments: tuple[str, ...], draft: BindDraft, what: str, report: Report) -> None:
    settings: dict[str, Any] = {}
    options: dict[str, Any] = {}

    def apply(word: str, argument: str) -> None:
        if word in haproxy_words.BIND_WITHOUT_EFFECT:
            report.without_effect(f"bind … {word}", draft.bind.place)
        elif word in SOCKET_WORDS:
            settings.update((socket_word(word, argument, what),))
        elif word in _OPTIONS:
            options.update((_OPTIONS[word](argument, f"{what}: '{word}'"),))
        elif word == "proto" and argument != "h1":
            raise Wrong(f"{what}: {not_done(f'proto {argument}', 'bind option', 'clients speak HTTP/1 only')}")
        elif word in SWITCHES:
            demand_off(word, argument, what, "bind option")
        elif word == "ssl":
            draft.ssl = True
        elif word == "accept-proxy":
            settings["accept_proxy"] = True
        elif draft.tls.read(word, argument, what):
            if word == "npn":
                report.without_effect("bind … npn", draft.bind.place)
        elif word not in ("proto", "v4v6"):
            raise Wrong(f"{what}: {not_done(word, 'bind option', HINTS.get(f'bind {word}', ''))}")

    read_parameters(arguments, haproxy_words.BIND, apply, what)
    draft.bind = evolve(draft.bind, **settings, options=SocketOptions(**options))


#: Smallest and largest TCP_MAXSEG that Linux takes (TCP_MIN_MSS and MAX_TCP_WINDOW, net/tcp.h).
_SEGMENTS = (88, 32767)


def _interface(argument: str, what: str) -> tuple[str, Any]:
    # Longer names are none (if_nametoindex(3), IFNAMSIZ).
    if not 0 < len(argument.encode()) <= 15:
        raise Wrong(f"{what} needs the name of a network interface, such as eth0")
    return "interface", argument


def _segment(argument: str, what: str) -> tuple[str, Any]:
    value = units.integer(argument, what, -units.LARGEST_INTEGER)
    if value < 0:
        # HAProxy lowers TCP_MAXSEG of each connection that it has accepted, which Linux 6.18 takes and does not obey.
        raise Wrong(
            f"{what}: {argument} would take so many bytes off the segments of connections that stand, which Linux does"
            f" not do: write the size itself, such as {max(_SEGMENTS[0], 1460 + value)} (over IPv4, 1460 is usual)"
        )
    least, most = _SEGMENTS
    if not least <= value <= most:
        raise Wrong(f"{what}: {argument} is out of range: Linux takes {least} to {most}")
    return "mss", value


def _user_timeout(argument: str, what: str) -> tuple[str, Any]:
    return "user_timeout", units.seconds(argument, what)


#: Words of a TCP socket: the field of `SocketOptions` that each sets, and its value.
_OPTIONS: dict[str, Callable[[str, str], tuple[str, Any]]] = {
    "cc": lambda argument, what: ("congestion", argument),
    "interface": _interface,
    "mss": _segment,
    "tcp-ut": _user_timeout,
    "tfo": lambda argument, what: ("fast_open", True),
    "transparent": lambda argument, what: ("transparent", True),
    "v6only": lambda argument, what: ("v6_only", True),
}
#: Words of any listening socket.
SOCKET_WORDS = ("id", "name", "user", "group", "uid", "gid", "maxconn", "backlog", "mode")


def socket_word(word: str, argument: str, what: str) -> tuple[str, Any]:
    """Returns the field of `Bind` that one of these words sets, and its value. Raises Wrong."""
    if word in ("uid", "gid"):
        return "user" if word == "uid" else "group", str(units.integer(argument, f"{what}: '{word}'"))
    if word == "id":
        return "id", units.integer(argument, f"{what}: 'id'", least=1)
    if word in ("maxconn", "backlog"):
        return word, units.integer(argument, f"{what}: '{word}'")
    return word, _permissions(argument, what) if word == "mode" else argument


def shut_out(addresses: Sequence[ListenAddress], said: Bind, what: str) -> Iterator[str]:
    """Returns a fault if a line says who may connect, and has no address at which that can be obeyed."""
    if (said.mode, said.user, said.group) != (None, None, None) and all(each.kind != "unix" for each in addresses):
        yield (
            f"{what}: 'mode', 'user' and 'group' say who may connect to a unix socket, and there is none on this line:"
            " whoever reaches it comes in, so take them out"
        )
    if said.options.interface and any(each.kind != "tcp" for each in addresses):
        yield f"{what}: 'interface' says from where clients of a TCP socket come: this line has another one"


def _idle_words(addresses: Sequence[ListenAddress], said: SocketOptions) -> Iterator[str]:
    """Returns what is to be said of words that are about no socket of their line; one that is inherited may be any."""
    kinds = {each.kind for each in addresses}
    tcp = {"cc": said.congestion, "mss": said.mss, "tcp-ut": said.user_timeout}
    tcp |= {"tfo": said.fast_open, "transparent": said.transparent}
    if any(tcp.values()) and kinds <= {"unix", "abns"}:
        yield f"without effect, since no address of this line is TCP's: {', '.join(word for word in tcp if tcp[word])}"
    if said.v6_only and "fd" not in kinds and not any(each.v6 for each in addresses):
        yield "without effect, since no address of this line is IPv6's: v6only"


def _permissions(argument: str, what: str) -> int:
    if not re.match(r"[0-7]{1,4}\Z", argument):
        raise Wrong(f"{what}: 'mode' needs the permissions of a socket in octal, such as 660, not '{argument}'")
    return int(argument, 8)
