"""Knows the process that is about to take the place of this one, from the order to its end.

This process may start it (`spawned`), or it comes by itself (`--replace`). It gets the listening sockets by a
`handover`, and what was ordered and learnt here. Must never know what this process does when it leaves.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from reusedproxy.build.assembly import Proxy
from reusedproxy.daemon.replacing.handover import Handover
from reusedproxy.daemon.replacing.since import Orders, differences, orders_of
from reusedproxy.daemon.replacing.spawned import Spawned
from reusedproxy.daemon.replacing.standing import standing, states_as_said
from reusedproxy.daemon.wording import listed
from reusedproxy.net.listener import Listener
from reusedproxy.net.poller import Poller


class Replaceable(Protocol):
    """The service whose place is taken."""

    state: str
    proxy: Proxy | None

    def announce(self, level: str, text: str) -> None:
        """Sends a message for the operator to the log."""


class Successor:
    """Has at most one process that was started, and one that has been given the sockets."""

    def __init__(
        self,
        reactor: Any,
        poller: Poller,
        service: Replaceable,
        options: Mapping[str, object],
        taken: Callable[[set[str], int], None],
        failed: Callable[[], None],
    ) -> None:
        """Calls `taken(keys, pid)` when a process accepts on these sockets, and `failed` when one that has been given
        them does not. `options` are twistd's."""
        self._reactor = reactor
        self._poller = poller
        self._service = service
        self._options = options
        self._taken = taken
        self._failed = failed
        self._spawned: Spawned | None = None
        self._handover: Handover | None = None
        #: What that process has been told is ordered.
        self._orders: Orders = {}

    @property
    def is_coming(self) -> bool:
        """Tells whether a process has been given the sockets, and does not serve yet."""
        return self._handover is not None and self._handover.state in ("waiting", "holding")

    @property
    def pid(self) -> int:
        """Returns the number of the process that has been given the sockets last, 0 before it has said it."""
        assert self._handover is not None
        return self._handover.pid

    @property
    def called(self) -> str:
        """Returns what the process is called that has been given the sockets last: one that goes into the background
        has not said its number before that."""
        return f"process {self.pid}" if self.pid else "a new process"

    @property
    def left(self) -> float:
        """Returns the seconds until that process is given up, if it says nothing."""
        assert self._handover is not None
        return self._handover.left

    def spawn(self) -> None:
        """Starts a new process with the command line of this one; announces why if it cannot."""
        announce = self._service.announce
        if os.getpid() == 1:
            announce("alert", "not replaced: this is process 1, with which all others end: start another container")
        elif self._options.get("nodaemon") is False:
            text = "not replaced: this daemon is in the background: start another one as this one was, with --replace"
            announce("alert", text)
        elif self._spawned is None:
            try:
                self._spawned = Spawned(self._poller, self._spawned_ended)
            except OSError as error:
                announce("alert", f"not replaced: no process can be started: {error.strerror}")

    def _spawned_ended(self) -> None:
        self._spawned = None
        if self._service.state == "running":
            text = "not replaced: the new process has ended before it served; this one goes on"
            self._service.announce("alert", text)

    def hand_over(self, channel: socket.socket, proxy: Proxy, listeners: list[Listener], states: str) -> None:
        """Gives the sockets to the process at the other end of `channel`, and what `show servers state` says."""
        said, stands = states_as_said(states, proxy), standing(proxy, states)
        self._handover = Handover(
            channel, self._poller, self._reactor, listeners, self._taken, self._not_taken, proxy.tables, self._since
        )
        text = f"{self.called} is about to take the place of this one, and gets {len(listeners)} sockets"
        self._service.announce("notice", text)
        self._handover.give(said, stands)
        self._orders = orders_of(proxy)

    def _not_taken(self, why: str) -> None:
        text = f"{self.called} does not take the place of this one: {why}; this one goes on"
        self._service.announce("alert", text)
        self._failed()

    def _since(self) -> dict[str, list[dict[str, object]]]:
        """Returns what was ordered since the last call, or since the sockets were given."""
        assert self._service.proxy is not None
        before, self._orders = self._orders, orders_of(self._service.proxy)
        return differences(before, self._orders)

    def released(self, counts: Mapping[str, object]) -> None:
        """Tells the other process that this one has let go of everything, what it has counted, and what was ordered in
        the last moment."""
        assert self._handover is not None
        ordered = self._since()
        self._handover.released({**counts, "ordered": ordered})
        if ordered and not self._handover.takes_orders:
            text = f"what was ordered since {self.called} has come is not known to it, an older version"
            self._service.announce("warning", f"{text}: {listed([*ordered])}")

    def drain(self) -> None:
        """Gives nobody anything any more: this process is to end."""
        if self._handover is not None:
            self._handover.drain()

    def stop(self) -> None:
        """Parts from the other process: this one ends."""
        if self._handover is not None:
            self._handover.stop()
