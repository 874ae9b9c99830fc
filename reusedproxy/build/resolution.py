"""Builds who follows the names of servers: whom each `resolvers` section asks, and the groups of servers of one name.

Starts nothing: sections are opened when their groups start, so that an attempt to build leaves nothing behind.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from functools import partial

from reusedproxy.backends.backend import Backend, Group
from reusedproxy.backends.moving import Departed
from reusedproxy.backends.names import NameGroup, ServiceGroup
from reusedproxy.backends.server import Server
from reusedproxy.build.servers.addresses import is_resolved
from reusedproxy.config import model
from reusedproxy.config.language.addresses import is_service
from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.names import DEFAULT
from reusedproxy.config.model.values import Notice
from reusedproxy.net.addresses import Addresses
from reusedproxy.net.names.channels import Place
from reusedproxy.net.names.messages import plain
from reusedproxy.net.names.resolv_conf import PATH, nameservers_in
from reusedproxy.net.names.section import Asked, Names


class Sections:
    """Describes the `resolvers` sections of one reading of the configuration, with the addresses of name servers."""

    def __init__(
        self, configuration: model.Configuration, addresses: Addresses, faults: list[Fault], notices: list[Notice]
    ) -> None:
        """Adds to `faults` and `notices`."""
        self._addresses = addresses
        self._faults = faults
        self._notices = notices
        families = configuration.global_.accepted_families
        self.asked = {
            name: Asked(settings, tuple(self._places(settings)), families)
            for name, settings in configuration.resolvers.items()
        }

    def _places(self, settings: model.Resolvers) -> Iterable[Place]:
        for each in settings.nameservers:
            kind = socket.SOCK_STREAM if each.stream else socket.SOCK_DGRAM
            try:
                _, (host, port, *_) = self._addresses.find("nameserver", each.host, each.port, kind)
            except OSError as error:
                text = f"nameserver '{each.name}': could not resolve address '{each.host}': {error.strerror}"
                self._faults.append(Fault(each.place, text))
                continue
            yield Place(each.name, host, port, each.stream)
        if settings.resolv_conf is not None:
            yield from self._of_this_machine(settings, settings.resolv_conf)

    def _of_this_machine(self, settings: model.Resolvers, place: model.Place) -> Iterable[Place]:
        try:
            found, wrong = nameservers_in()
        except OSError as error:
            text = f"'parse-resolv-conf': {PATH} cannot be read: {error.strerror}"
            if settings.name == DEFAULT and not settings.nameservers:
                self._notices.append(Notice("warning", place, text))
            else:
                self._faults.append(Fault(place, text))
            return
        self._notices += (Notice("warning", place, f"'parse-resolv-conf': {each}") for each in wrong)
        for host, port in found:
            yield Place(host, host, port)


def groups_of(backend: Backend, sections: Sections, names: Names, departed: Departed) -> list[Group]:
    """Returns the groups of servers whose addresses come from name servers: those of one name, and one family of
    addresses to prefer, belong together."""
    together: dict[tuple[str, str, str], list[Server]] = {}
    for server in backend.servers:
        settings = server.settings
        wanted = settings.resolution.resolvers
        if wanted is None or wanted not in sections.asked:
            continue
        if is_resolved(settings) or server.ordered_name:
            host = plain(server.own_name)
            prefer = "" if is_service(host) else settings.resolution.prefer
            together.setdefault((wanted, host, prefer), []).append(server)
    groups: list[Group] = []
    for (wanted, host, _), servers in together.items():
        find = partial(names.section, sections.asked[wanted])
        kind = ServiceGroup if is_service(host) else NameGroup
        groups.append(kind(servers, find, backend, names.clock, departed))
    return groups
