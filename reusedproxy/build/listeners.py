"""Makes the listeners of a configuration's `bind` lines, or takes over those of the previous proxy.

What a listener is bound to is not changed here, since the attempt to build a proxy may fail; what a new line would have
to change of it is only checked.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from reusedproxy.build.announce import Announce
from reusedproxy.clients.frontend import Frontend
from reusedproxy.config import model
from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.values import Notice
from reusedproxy.net import descriptors
from reusedproxy.net.addresses import Addresses
from reusedproxy.net.binding import Given, ListenError, backlog_of, bind_socket, demand_bindable, given_socket
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.listener import Listener
from reusedproxy.net.poller import Poller
from reusedproxy.net.resolver import Query
from reusedproxy.net.slices import Steps


class Listeners:
    """Finds a listener for each `bind` line: the previous proxy's, one of a socket that another process gives, or a new
    one."""

    def __init__(
        self,
        configuration: model.Configuration,
        poller: Poller,
        deadlines: Deadlines,
        addresses: Addresses,
        announce: Announce,
        given: Given | None,
        previous: Sequence[tuple[Frontend, Listener]],
        listeners: list[tuple[Frontend, Listener]],
        bound: list[Listener],
        faults: list[Fault],
        notices: list[Notice],
        *,
        opens: bool,
    ) -> None:
        """Adds all to `listeners`, those that are not of the `previous` proxy to `bound`, too, and what it finds to
        `faults` and `notices`. `opens`: listeners that operators have closed are to accept again."""
        self._opens = opens
        self._configuration = configuration
        self._poller = poller
        self._deadlines = deadlines
        self._addresses = addresses
        self._announce = announce
        self._given = given
        self._previous = previous
        self._listeners = listeners
        self._bound = bound
        self._faults = faults
        self._notices = notices

    def bind(self, frontend: Frontend) -> Steps[None]:
        """Finds or binds a listener for each `bind` line of a frontend, one a step."""
        clients = frontend.settings.maxconn
        for bind in frontend.settings.binds:
            yield
            try:
                at = self._resolved(bind.address)
                v6_only = bind.options.v6_only or self._v4_stands_beside(bind)
                listener = self._taken_over(bind, at)
                if listener is None:
                    backlog = backlog_of(bind, clients)
                    given = given_socket(self._given, bind, backlog, at)
                    bound = given or bind_socket(bind, backlog, v6_only, at, shared=self._share(bind))
                else:
                    listener.may_adopt(bind, opens=self._opens)
                    bound = listener.socket
                self._notices += _fixed(bind, bound, v6_only)
            except ListenError as error:
                self._faults.append(Fault(bind.place, f"{error}{self._in_the_way(bind)}"))
                continue
            except OSError as error:
                self._faults.append(Fault(bind.place, f"cannot listen on {bind.address}: {error.strerror}"))
                continue
            if listener is None:
                # A listener outlives this attempt, so it must hold no reference to it.
                announce = partial(self._announce, section=f"frontend {frontend.settings.name}")
                listener = Listener(
                    self._poller,
                    self._deadlines,
                    bind,
                    bound,
                    lambda text, announce=announce: announce("alert", text),  # type: ignore[misc]
                    descriptors.last_for_clients(),
                )
                listener.backlog = backlog_of(bind, clients)
                self._bound.append(listener)
            self._listeners.append((frontend, listener))

    def _in_the_way(self, bind: model.Bind) -> str:
        """Returns a hint when this daemon itself listens at another address of the same port, "" otherwise.

        That listener stays open until the reload has succeeded.
        """
        for _, listener in self._previous:
            address = listener.bind.address
            ours = listener.port == bind.address.port != 0 and not listener.shut
            if address.kind == bind.address.kind == "tcp" and ours:
                what = "what is listened on beside that needs a restart, or a reload that ends it before"
                return f" (we listen on {address}: {what})"
        return ""

    def _resolved(self, address: model.ListenAddress) -> Any:
        """Returns the address to listen on, for the socket; None for every address or no IP address. Raises OSError."""
        if not address.host:
            return None
        query = query_of(address)
        return self._addresses.find("bind", address.host, address.port, query.kind, query.family)[1]

    def look_up(self, binds: Iterable[model.Bind]) -> None:
        """Collects those faults of `bind` that can be found without opening a port: names that cannot be resolved,
        users and groups that do not exist, paths where no socket can be. (Descriptors are given to the daemon, and not
        to who checks.)"""
        for bind in binds:
            try:
                self._resolved(bind.address)
                demand_bindable(bind)
            except OSError as error:
                self._faults.append(Fault(bind.place, f"cannot listen on {bind.address}: {error.strerror}"))

    def _v4_stands_beside(self, bind: model.Bind) -> bool:
        """Tells whether another listener has an IPv4 address with the same port; an IPv6 wildcard must then leave IPv4
        free."""
        others = [each.address for frontend in self._configuration.frontends.values() for each in frontend.binds]
        return any(each.kind == "tcp" and not each.v6 and each.port == bind.address.port for each in others)

    def _share(self, bind: model.Bind) -> bool:
        """Tells whether another line listens at the same port of this address, too: at the same address, or one of
        them at every address. The kernel gives a client to that which names its address, else to any.

        Sockets of the previous proxy let it listen beside them from now on, as if they had been made together. They
        do so, too, if this attempt fails: it concerns only sockets of the same user.
        """
        shared = any(
            other is not bind and _overlap(other.address, bind.address)
            for frontend in self._configuration.frontends.values()
            if not frontend.disabled
            for other in frontend.binds
        )
        if shared:
            for _, listener in self._previous:
                if listener.stands and _overlap(listener.bind.address, bind.address):
                    listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        return shared

    def _taken_over(self, bind: model.Bind, at: Any) -> Listener | None:
        """Returns the previous proxy's open listener at this address, unless it is taken or its name now resolves to
        another address."""
        taken = [listener for _, listener in self._listeners]
        for _, listener in self._previous:
            same = listener.bind.address == bind.address and listener not in taken and listener.stands
            if same and (at is None or listener.socket.getsockname()[0] == at[0]):
                return listener
        return None


def _overlap(one: model.ListenAddress, other: model.ListenAddress) -> bool:
    """Tells whether a client may come in at either address."""
    same_port = (one.kind, one.port, one.v6) == (other.kind, other.port, other.v6)
    return same_port and one.port != 0 and (one.host == other.host or not one.host or not other.host)


def query_of(address: model.ListenAddress) -> Query:
    """Returns what the C library is asked for the host of an address to listen on."""
    return Query(address.host, socket.SOCK_STREAM, socket.AF_INET6 if address.v6 else socket.AF_INET)


def _fixed(bind: model.Bind, bound: socket.socket, v6_only: bool) -> Iterable[Notice]:
    """Returns notices about settings that a socket has from the line before it, and that cannot be changed now that it
    is bound (ipv6(7))."""
    address = bind.address
    if address.kind == "tcp" and address.v6:
        is_only = bool(bound.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
        if is_only and not v6_only and not address.host:
            text = "takes no IPv4 clients, as when an IPv4 address of this port stood beside it, until the next start"
            yield Notice("warning", bind.place, f"bind {address}: {text}")
