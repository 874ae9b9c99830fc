"""Finds the addresses of servers that follow a name (`resolvers`), as the daemon gives them out, without moving any.

The groups of `backends.names` do the work; only what they would do with a server is written down here instead.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.interfaces import IReactorTime

from reusedproxy.backends.backend import Group
from reusedproxy.backends.moving import Departed
from reusedproxy.backends.names import Followers, Member, target_of
from reusedproxy.backends.server import Server
from reusedproxy.net.dial import Target
from reusedproxy.net.names.messages import plain


class Located(Member):
    """Writes down the address that a server of a group is given. `target` is None as long as it has none, and `cause`
    says why."""

    target: Target | None = None
    cause = ""

    @property
    def moving(self) -> bool:
        return False

    def give(self, address: str, port: int, by: str) -> None:
        self.address = address
        self.target = target_of(address, port)

    def take(self, cause: str) -> None:
        self.address = ""
        self.target, self.cause = None, cause

    def stop(self) -> None:
        """Does nothing: nobody moves."""


class _Notes:
    """Takes what a group tells its backend, which nobody is to hear of; `causes` has the names of which an answer said
    that they have no address."""

    name = ""

    def __init__(self) -> None:
        self.causes: dict[str, str] = {}

    def located(self, server: Server, was: Target | None, by: str) -> None:
        """Does nothing."""

    def lost_address(self, server: Server, cause: str) -> None:
        """Does nothing."""

    def set_weight(self, server: Server, weight: int) -> None:
        """Does nothing."""

    def unresolved(self, host: str, section: str, cause: str) -> None:
        self.causes[host] = cause


class Addresses:
    """Asks the name servers for the servers of all groups that follow names, from `start` to `stop`."""

    def __init__(self, groups: Iterable[Group], clock: IReactorTime, departed: Departed) -> None:
        self._members: dict[Server, Located] = {}
        self._groups: list[Followers] = []
        self._notes = notes = _Notes()
        for group in groups:
            if not isinstance(group, Followers):
                continue  # it moves servers as an operator orders
            servers = [member.server for member in group.members]
            asks = type(group)(servers, group.find, notes, clock, departed)
            members = [Located(server, servers, notes, clock, departed) for server in servers]
            asks.members = [*members]
            self._members.update((member.server, member) for member in members)
            self._groups.append(asks)

    def start(self) -> None:
        for group in self._groups:
            group.start()

    def stop(self) -> None:
        for group in self._groups:
            group.stop()

    @property
    def settled(self) -> bool:
        """Tells whether there was a first answer for each name."""
        return all(group.settled for group in self._groups)

    def of(self, server: Server) -> tuple[Target | None, str]:
        """Returns where a server is, or None and why it has no address."""
        member = self._members.get(server)
        if member is None:
            return server.target, "" if server.target is not None else "its name was not resolved (init-addr)"
        if member.target is not None:
            return member.target, ""
        if server.target is not None and not member.cause:
            return server.target, ""
        settings = server.settings
        cause = member.cause or self._notes.causes.get(plain(settings.host), "")
        because = f"({cause})" if cause else "in time"
        section = f"'resolvers {settings.resolution.resolvers}'"
        return None, f"the name servers of {section} give no address for {settings.host} {because}"

    def is_spare(self, server: Server) -> bool:
        """Tells whether a server has no address because its name has fewer than there are servers for it."""
        group = next((each for each in self._groups if any(one.server is server for one in each.members)), None)
        return group is not None and any(self.of(each.server)[0] is not None for each in group.members)
