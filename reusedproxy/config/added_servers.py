"""Reads the words of a server that is added while the daemon runs (`add server`), as those of a `server` line.

The server is the only one of a section that says the same to it as its backend: it is read, checked and finished by
what does that for the configuration's files. Must never know the servers of the backend, nor how one is built.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import count

from attrs import evolve, frozen

from reusedproxy.config.language import haproxy_words
from reusedproxy.config.language.files import with_base
from reusedproxy.config.language.report import Line, Report, Wrong, nearest
from reusedproxy.config.model.proxies import Configuration, Server
from reusedproxy.config.model.values import Notice, Place
from reusedproxy.config.sections import finish
from reusedproxy.config.sections.draft import Ground
from reusedproxy.config.sections.globals import GlobalDraft
from reusedproxy.config.sections.proxies import read_proxy_line
from reusedproxy.config.sections.server_words import ARITIES, NOTHING_TO_DO, SETTERS, joined
from reusedproxy.config.tls.words import ON_SERVERS
from reusedproxy.config.validate.names import validate_names
from reusedproxy.config.validate.proxies import validate

#: The most servers that may be there at a time which were added: each takes memory, and nobody else counts them.
MOST_ADDED = 4096
#: Words that a server from a file may have, and one that is added may not, as in HAProxy (src/server.c, src/check.c,
#: src/ssl_sock.c): those that only take back what a `default-server` has said, and what is about names.
NOT_ADDED = haproxy_words.words(
    """
    cc check-sni-auto enabled init-addr log-bufsize log-proto max-reuse namespace no-agent-check no-check
    no-check-reuse-pool no-check-send-proxy no-check-ssl no-send-proxy-v2-ssl no-send-proxy-v2-ssl-cn no-ssl
    non-stick redir resolve-net resolve-opts resolve-prefer resolvers sni-auto socks4 ssl-reuse stick
    """
)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.:-]")
#: The words that it may have, and that do something here.
ADDED = tuple(sorted((SETTERS.keys() | ON_SERVERS | NOTHING_TO_DO) - NOT_ADDED))


@frozen
class AddedServers:
    """Reads servers for the backends of one configuration: `grounds` have what these say to their servers, `global_`
    what the sections `global` have said in all."""

    grounds: Mapping[str, Ground]
    global_: GlobalDraft

    def read(
        self, configuration: Configuration, backend: str, name: str, words: Sequence[str]
    ) -> tuple[Server, tuple[Notice, ...]]:
        """Returns a server of this name and these words, the first of which is its address, and what is to be said of
        it. Raises Wrong, with HAProxy's texts where it has one."""
        place = Place(f"add server {backend}/{name}", 0)
        if not words:
            raise Wrong("'server' expects <name> and <addr>[:<port>] as arguments.")
        if found := _NOT_IN_NAMES.search(name):
            raise Wrong(f"character '{found[0]}' is not permitted in server name '{name}'.")
        _known(words[1:])
        said = ("server", name, *words)
        line = Line(place, with_base(said, self.global_.tls.files) if self.global_.tls.files else said)
        report = Report((place.file,), names_in_doubt=True)  # which others there are is for others to judge
        section = self.grounds[backend].section()
        read_proxy_line(section, line, report)
        section.settle()
        for _ in validate([section], self.global_, report):
            pass
        validate_names([section], (), report)
        if wrong := [fault.text for fault in report.faults if fault.place == place]:
            raise Wrong(*wrong)
        made = finish.backend(section, self.global_, {}).servers[0]
        server = evolve(made, id=section.servers[0].words.id, added=True)
        return _among(server, configuration, backend), tuple(each for each in report.notices if each.place == place)


def _among(server: Server, configuration: Configuration, backend: str) -> Server:
    """Returns the server with a number that no other of its backend has. Raises Wrong if it cannot be there."""
    servers = {
        f"{section.name}/{each.name}": each for section in configuration.backends.values() for each in section.servers
    }
    others = configuration.backends[backend].servers
    if any(each.name == server.name for each in others):
        raise Wrong("Already exists a server with the same name in backend.")
    if sum(each.added for each in servers.values()) >= MOST_ADDED:
        raise Wrong(f"{MOST_ADDED} servers have been added: no more may be, delete some, or name them in the file.")
    numbers = {each.id: each for each in others}
    if server.id in numbers:
        twin = numbers[server.id]
        raise Wrong(f"'id' : custom id {server.id} already used at {twin.place} ('server {twin.name}').")
    if server.track:
        _trackable(server.track, configuration, servers)
    if configuration.backends[backend].egress:
        taken = next((each for each in others if (each.host, each.port) == (server.host, server.port)), None)
        if taken is not None:
            raise Wrong(f"requests for {server.host}:{server.port} go to server '{taken.name}' already")
    return server if server.id else evolve(server, id=next(each for each in count(1) if each not in numbers))


def _trackable(track: str, configuration: Configuration, servers: Mapping[str, Server]) -> None:
    """Raises Wrong if the state of this server ("backend/server") cannot be followed."""
    section, _, name = track.rpartition("/")
    if section not in configuration.backends or configuration.backends[section].disabled:
        raise Wrong(f"unable to find required proxy '{section}' for tracking.")
    if track not in servers:
        raise Wrong(f"unable to find required server '{name}' for tracking.")
    if servers[track].added:
        raise Wrong(f"unable to use {track} for tracking as it is a dynamic server.")
    if servers[track].check is None and servers[track].agent is None and not servers[track].track:
        raise Wrong(f"unable to use {track} for tracking as it does not have any check nor agent enabled.")


def _known(words: Sequence[str]) -> None:
    """Raises Wrong for the first word that is unknown, or not for servers that are added."""
    rest = joined(words)
    while rest:
        word = rest[0]
        if word not in ARITIES:
            meant = nearest(word, ADDED)
            raise Wrong(f"unknown keyword '{word}'{f'; did you mean {meant!r} maybe ?' if meant else '.'}")
        if word in NOT_ADDED:
            raise Wrong(f"'{word}' option is not accepted for dynamic server")
        del rest[: 1 + ARITIES[word]]
