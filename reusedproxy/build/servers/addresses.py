"""Finds the address at which a server begins: a literal one, the C library's, or what `init-addr` says; at a reload the
one at which it is.

What name servers tell later moves a server, see `backends.names`. Must never know how a server is connected to.
"""

from __future__ import annotations

import socket

from attrs import evolve

from reusedproxy.backends.names import target_of
from reusedproxy.backends.saved_states import SavedState, ordered_name, saved_service
from reusedproxy.backends.server import keeps_name, says_same_address
from reusedproxy.build.servers.connections import follows_client
from reusedproxy.build.servers.line import Line
from reusedproxy.build.step_dialers import with_port
from reusedproxy.config import model
from reusedproxy.config.language.addresses import is_service
from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.values import Notice
from reusedproxy.net.addresses import Addresses, abstract
from reusedproxy.net.dial import Target
from reusedproxy.net.resolver import Query, literal

#: Where the pool of a server is that has no address: it is never dialled.
NOWHERE = Target(socket.AF_INET, ("0.0.0.0", 0))


class FirstAddresses:
    """Finds the addresses of servers for one reading of the configuration."""

    def __init__(self, addresses: Addresses, faults: list[Fault], notices: list[Notice]) -> None:
        """Takes what host names were resolved to; adds to `faults` and `notices`."""
        self._addresses = addresses
        self._faults = faults
        self._notices = notices

    def first(
        self, name: str, settings: model.Server, previous: Line | None, saved: SavedState | None
    ) -> Target | None:
        """Returns the address at which a server begins, by its `init-addr`; None: it has none yet. At a reload it goes
        on where it is, if name servers have told its address, or none of them could. Its port is the one that was
        `saved`, as in HAProxy."""
        if saved is not None and saved.port and settings.kind == "tcp" and settings.port:
            settings = evolve(settings, port=saved.port)
        ordered = None if previous is None else previous.server.ordered
        if (
            previous is not None
            and ordered is not None
            and may_be_ordered(settings)
            and (says_same_address(settings, previous.server.settings))
        ):
            return ordered
        if previous is not None and keeps_name(settings, previous.server):
            return previous.server.target  # name servers tell it
        if not is_resolved(settings):
            by_name = settings.kind == "tcp" and literal(Query(settings.host, socket.SOCK_STREAM)) is None
            if by_name and (last := _last(settings, saved)) is not None:
                return last
            return self.target(name, settings, settings.host, settings.port)
        if previous is not None and previous.server.settings is settings:
            return previous.server.target  # only files of TLS are read again
        if previous is not None and goes_on(settings, previous):
            at = previous.server.target
            return at if at is None or previous.server.service is not None else with_port(at, settings.port)
        return self._by_methods(name, settings, saved)

    def _by_methods(self, name: str, settings: model.Server, saved: SavedState | None) -> Target | None:
        if saved is not None and ordered_name(settings, saved):
            # Name servers tell where that is: nobody waits for the C library here.
            return _last(settings, saved) if "last" in settings.resolution.methods else None
        failed = False
        for method in settings.resolution.methods:
            if method == "last" and (last := _last(settings, saved)) is not None:
                return last
            if method == "libc" and not is_service(settings.host):
                try:
                    return self._found(name, settings.host, settings.port)
                except OSError:
                    failed = True
            elif method == "none":
                self._tell_unresolved(failed, settings, "disabling server")
                return None
            elif method not in ("last", "libc") and is_service(settings.host) and not settings.port:
                text = f"'init-addr {method}' has no port, which only SRV records tell: '{settings.host}' is waited for"
                self._notices.append(Notice("warning", settings.place, text))
                return None
            elif method not in ("last", "libc"):
                self._tell_unresolved(failed, settings, "falling back to configured address")
                return target_of(method, settings.port or 0)
        what = "could not resolve address" if failed else "no method found to resolve address"
        self._faults.append(
            Fault(settings.place, f"{settings.called(name.partition('/')[0])}: {what} '{settings.host}'")
        )
        return NOWHERE

    def _tell_unresolved(self, failed: bool, settings: model.Server, so: str) -> None:
        notice = Notice("warning", settings.place, f"could not resolve address '{settings.host}', {so}")
        if failed and notice not in self._notices:
            self._notices.append(notice)

    def _found(self, name: str, host: str, port: int | None) -> Target:
        return Target(*self._addresses.find(name, host, port or 0, socket.SOCK_STREAM))

    def target(self, name: str, settings: model.Server, host: str, port: int | None) -> Target:
        """Returns the address of the server `name`."""
        if settings.kind == "unix":
            return Target(socket.AF_UNIX, host)
        if settings.kind == "abns":
            return Target(socket.AF_UNIX, abstract(host))
        return self.of_checks(name, settings, host, port)

    def of_checks(self, name: str, settings: model.Server, host: str, port: int | None) -> Target:
        """Returns an IP address of the checks or the agent of the server `name`, which may itself be at a path."""
        try:
            return self._found(name, host, port)
        except OSError as error:
            self._faults.append(Fault(settings.place, f"could not resolve address '{host}': {error.strerror}"))
            return NOWHERE


def _last(settings: model.Server, saved: SavedState | None) -> Target | None:
    """Returns the address that a server had when its state was saved (`init-addr last`); None: it is not known. That of
    a server of SRV records has their port, and is known with its service only."""
    if saved is None or literal(Query(saved.address, socket.SOCK_STREAM)) is None:
        return None
    if not is_service(settings.host):
        return target_of(saved.address, settings.port or 0)
    service = saved_service(settings, saved)
    return None if service is None else target_of(saved.address, service.port)


def may_be_ordered(settings: model.Server) -> bool:
    """Tells whether an operator may order the address of a server: it has one of its own, and no name server tells
    another."""
    return settings.kind == "tcp" and not follows_client(settings) and not is_resolved(settings)


def is_resolved(settings: model.Server) -> bool:
    """Tells whether a server's address is that of a name, and is found as `init-addr` and `resolvers` say."""
    return (
        settings.kind == "tcp"
        and literal(Query(settings.host, socket.SOCK_STREAM)) is None
        and (settings.resolution.resolvers is not None or bool(settings.resolution.init))
    )


def goes_on(settings: model.Server, previous: Line) -> bool:
    """Tells whether a server keeps at a reload what name servers have told about it."""
    before = previous.server.settings
    same = settings.host in (before.host, previous.server.own_name)
    followed = is_resolved(before) or bool(previous.server.ordered_name)
    return settings.resolution.resolvers is not None and same and followed


def asks_libc(settings: model.Server, previous: Line | None) -> bool:
    """Tells whether the C library has to be asked for the address at which a server begins."""
    if settings.kind != "tcp" or is_service(settings.host):
        return False
    if not is_resolved(settings):
        return True
    return "libc" in settings.resolution.methods and (previous is None or not goes_on(settings, previous))
