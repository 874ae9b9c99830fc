"""Gives the servers of one backend the addresses that their name has, as answers come and go.

Each server line with `resolvers` belongs to a `NameGroup`, with the others of the same name (those of a
`server-template`, mostly). A group of a name with addresses gives each server one of them; a group of a name with SRV
records gives each server one service: its port, its weight, and an address that has come with it or is asked for. A
server whose address has gone from the answers takes another one that nobody has, or is in maintenance until there is
one, as in HAProxy. Servers move in `moving`; what a name server says is known from `net.names`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heapreplace
from ipaddress import ip_address, ip_network
from socket import AF_INET, AF_INET6
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from reusedproxy.backends.moving import Departed, Move
from reusedproxy.backends.server import Server
from reusedproxy.config.language.addresses import is_service
from reusedproxy.config.model.names import IPV4, Resolution
from reusedproxy.net.dial import Target
from reusedproxy.net.names.messages import VALID, Service, plain
from reusedproxy.net.names.section import Section
from reusedproxy.net.names.watch import Watch
from reusedproxy.net.names.wire import AAAA, SRV, A
from reusedproxy.net.slices import Slices, Steps

#: HAProxy's words for why a server has no address, though its name could be resolved.
NO_ADDRESS = "No IP for server"
REMOVED = "entry removed from SRV record"
#: HAProxy's words for who has answered, when it was not this server for which was asked.
CACHE = "DNS cache"
ADDITIONAL = "DNS additional record"


class Notes(Protocol):
    """Defines what a group tells its backend."""

    name: str

    def located(self, server: Server, was: Target | None, by: str) -> None:
        """Notes that a server has an address, another one than before (None: none)."""

    def lost_address(self, server: Server, cause: str) -> None:
        """Notes that a server has no address any more, and why."""

    def set_weight(self, server: Server, weight: int) -> None:
        """Changes a server's weight."""

    def unresolved(self, host: str, section: str, cause: str) -> None:
        """Notes that none of the servers of a name has an address, and why."""


class Member:
    """Keeps one server of a group at the address that it is given."""

    def __init__(
        self, server: Server, kin: Sequence[Server], notes: Notes, clock: IReactorTime, departed: Departed
    ) -> None:
        """Takes the servers of the group as `kin`."""
        self.server = server
        self._kin = kin
        #: The address that it has been given from the answers; "" none.
        self.address = ""
        self._notes = notes
        self._clock = clock
        self._departed = departed
        self._move: Move | None = None

    @property
    def moving(self) -> bool:
        return self._move is not None

    def give(self, address: str, port: int, by: str) -> None:
        """Moves the server to this address, unless it is there or on its way."""
        self.address = address
        target = target_of(address, port)
        on_its_way = self._move.target if self._move is not None else self.server.target
        if on_its_way == target:
            return
        self.stop()
        if self.server.target == target:
            return
        serving = (
            self.server if self.server.serving else next((each for each in self._kin if each.serving), self.server)
        )
        move = Move(self.server, target, serving, self._clock, self._departed, lambda: self._arrived(by))
        self._move = move
        move.start()

    def take(self, cause: str) -> None:
        """Takes the server out of use: it has no address."""
        self.address = ""
        self.stop()
        if self.server.target is not None:
            self._notes.lost_address(self.server, cause)

    def stop(self) -> None:
        """Gives up a move under way."""
        if self._move is not None:
            self._move.stop()
            self._move = None

    def _arrived(self, by: str) -> None:
        self._move = None
        self._notes.located(self.server, self.server.was_at, by)


class Changes:
    """Carries out what an answer means for many servers in slices; a newer answer takes the place of one under way."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._slices: Slices | None = None

    def make(self, steps: Steps[None]) -> None:
        """Makes the changes, those of the first slice at once."""
        self.stop()
        self._slices = slices = Slices(self._clock, steps, self._over)
        slices.start()

    def stop(self) -> None:
        slices, self._slices = self._slices, None
        if slices is not None:
            slices.stop()

    @property
    def under_way(self) -> bool:
        return self._slices is not None

    def _over(self, failure: Failure | None) -> None:
        self._slices = None
        if failure is not None:
            self._log.failure("servers could not follow their name", failure)


class Followers:
    """Follows one name for the servers of a backend that have it.

    `hold` has it wait, when a reload takes the servers' states over, until `release` or `stop`.
    """

    section: Section

    def __init__(
        self,
        servers: Sequence[Server],
        find: Callable[[], Section],
        notes: Notes,
        clock: IReactorTime,
        departed: Departed,
    ) -> None:
        """Asks the section that `find` returns when it starts."""
        settings = servers[0].settings
        self.host = plain(servers[0].own_name)
        #: The kind of records that are asked for first.
        self.kind = SRV if is_service(self.host) else A if settings.resolution.prefer == IPV4 else AAAA
        self.members = [Member(server, servers, notes, clock, departed) for server in servers]
        self.held = False
        #: Finds the section that is asked.
        self.find = find
        self._notes = notes
        self._watch: Watch | None = None
        self._changes = Changes(clock)
        #: The watch that was applied last, and its version then.
        self._applied: tuple[Watch | None, int] = None, 0
        #: Once it was valid, or was said not to be, states say the rest.
        self._said = False

    def start(self) -> None:
        """Begins to ask, and uses at once what is known already."""
        self.section = self.find()
        self._watch = watch = self.section.watch(self.host, self.kind)
        self._begin()
        if watch.status:
            self._apply(watch)
        watch.follow(self._apply)

    def stop(self) -> None:
        """Asks no more; the servers stay where they are."""
        if self._watch is not None:
            self._watch.leave(self._apply)
            self._watch = None
        self._stay()

    def hold(self) -> None:
        self.held = True
        self._stay()

    def release(self) -> None:
        self.held = False
        self._applied = None, 0
        if self._watch is not None and self._watch.status:
            self._apply(self._watch)

    @property
    def settled(self) -> bool:
        """Tells whether there was a first answer, and no server is on its way to another address."""
        asked = all(watch.status for watch in self._watches())
        return asked and not self._changes.under_way and not any(each.moving for each in self.members)

    def look_again(self, server: Server) -> None:
        """Asks at once if `server` is one of its own: its address does not answer."""
        if any(each.server is server for each in self.members):
            for watch in self._watches():
                watch.look_again()

    def _watches(self) -> list[Watch]:
        return [] if self._watch is None else [self._watch]

    def _begin(self) -> None:
        """Takes the servers as they are."""
        raise NotImplementedError

    def _following(self, watch: Watch) -> Steps[None]:
        """Makes the changes that follow from what is known now."""
        raise NotImplementedError

    def _stay(self) -> None:
        self._changes.stop()
        for member in self.members:
            member.stop()

    def _apply(self, watch: Watch) -> None:
        if not self._said and (watch.status == VALID or not any(each.server.addressed for each in self.members)):
            self._said = True
            if watch.status != VALID:
                self._notes.unresolved(self.host, self.section.name, watch.cause)
        if self.held or not is_known(watch) or (watch, watch.version) == self._applied:
            return
        self._applied = watch, watch.version
        self._changes.make(self._following(watch))


class NameGroup(Followers):
    """Shares the addresses of one name out among its servers."""

    def _begin(self) -> None:
        for member in self.members:
            target = member.server.target
            member.address = "" if target is None else address_of(target)

    def _following(self, watch: Watch) -> Steps[None]:
        if watch.given_up:
            for member in self.members:
                member.take(watch.cause)
                yield
            return
        users = {str(each): 0 for each in watch.found if self.section.accepts(str(each))}
        for member in self.members:
            if member.address in users and not users[member.address]:
                users[member.address] = 1
            elif member.address in users and member.server.settings.resolution.duplicates:
                users[member.address] += 1
            else:
                member.address = ""
        by = watch.source
        offers: dict[Resolution, Offer] = {}
        # Those that serve come first: they go on at their old addresses until they can at the new ones.
        for member in sorted(self.members, key=lambda each: each.server.target is None):
            settings = member.server.settings
            address = member.address
            if not address:
                offer = offers.get(settings.resolution) or offers.setdefault(
                    settings.resolution, Offer(settings.resolution, users)
                )
                address = offer.take()
            if address:
                member.give(address, settings.port or 0, by)
                by = CACHE
            else:
                member.take(NO_ADDRESS)
            yield


class ServiceGroup(Followers):
    """Shares the services of one name out among its servers."""

    def __init__(
        self,
        servers: Sequence[Server],
        find: Callable[[], Section],
        notes: Notes,
        clock: IReactorTime,
        departed: Departed,
    ) -> None:
        super().__init__(servers, find, notes, clock, departed)
        #: The service of each server that has one, and the watch for its host's addresses, where these are asked for.
        self._services: dict[Member, Service] = {}
        self._hosts: dict[Member, _HostWatch] = {}

    def stop(self) -> None:
        super().stop()
        for host in self._hosts.values():
            host.stop()
        self._hosts.clear()

    def _watches(self) -> list[Watch]:
        return [*super()._watches(), *(host.watch for host in self._hosts.values())]

    def _begin(self) -> None:
        for member in self.members:
            if member.server.service is not None:
                self._services[member] = member.server.service
                target = member.server.target
                member.address = "" if target is None else address_of(target)

    def _following(self, watch: Watch) -> Steps[None]:
        if watch.given_up:
            for member in [*self._services]:
                self._release(member, REMOVED)
                yield
            return
        found = [each for each in watch.found if isinstance(each, Service)]
        taken = {*self._services.values()}
        # Those whose service has gone come first: they serve there until they can elsewhere.
        losing = deque(member for member, service in self._services.items() if service not in watch.found)
        free = deque(member for member in self.members if member not in self._services)
        for service in found:
            if service not in taken and (losing or free):
                self._services[(losing or free).popleft()] = service
        for member in losing:
            self._release(member, REMOVED)
            yield
        for member, service in [*self._services.items()]:
            if service in watch.found:
                self._serve(member, service, watch)
            yield

    def _serve(self, member: Member, service: Service, watch: Watch) -> None:
        """Gives a server its service: the address that has come with it, or one that its host has."""
        seen, server = watch.found[service], member.server
        server.service = service
        resolution = server.settings.resolution
        if not resolution.ignore_weight:
            # HAProxy: 0 to 65535 there are 0 to 256 here, and only 0 is 0.
            weight = (seen.weight + 255) // 256
            if weight != server.weight:
                self._notes.set_weight(server, weight)
        if seen.addresses:
            self._forget_host(member)
            users = dict.fromkeys(seen.addresses, 0)
            address = member.address if member.address in users else Offer(resolution, users).take()
            member.give(address, service.port, ADDITIONAL)
            return
        host = self._hosts.get(member)
        if host is not None and host.service == service:
            host.apply()
            return
        self._forget_host(member)
        self._hosts[member] = _HostWatch(self, member, service)

    def _release(self, member: Member, cause: str) -> None:
        self._services.pop(member, None)
        self._forget_host(member)
        member.take(cause)
        member.server.service = None

    def _forget_host(self, member: Member) -> None:
        host = self._hosts.pop(member, None)
        if host is not None:
            host.stop()


class _HostWatch:
    """Follows the addresses of a service's host for one server."""

    def __init__(self, group: ServiceGroup, member: Member, service: Service) -> None:
        self.service = service
        self._group = group
        self._member = member
        resolution = member.server.settings.resolution
        self.watch = group.section.watch(service.host, A if resolution.prefer == IPV4 else AAAA)
        if self.watch.status:
            self.apply()
        self.watch.follow(self._apply)

    def stop(self) -> None:
        self.watch.leave(self._apply)

    def apply(self) -> None:
        """Uses what is known."""
        if self.watch.status:
            self._apply(self.watch)

    def _apply(self, watch: Watch) -> None:
        member = self._member
        if self._group.held or not is_known(watch):
            return
        if watch.given_up:
            member.take(watch.cause)
            return
        users = {str(each): 0 for each in watch.found if self._group.section.accepts(str(each))}
        resolution = member.server.settings.resolution
        address = member.address if member.address in users else Offer(resolution, users).take()
        if address:
            member.give(address, self.service.port, watch.source)
        else:
            member.take(NO_ADDRESS)


def is_known(watch: Watch) -> bool:
    """Tells whether there is anything to go by: not while only failures came, and not for long enough."""
    return watch.status == VALID or watch.given_up


class Offer:
    """Offers addresses to servers with the same words, the best one first. As in HAProxy, the preferred family counts
    most, then the preferred networks, then that nobody has it."""

    def __init__(self, resolution: Resolution, users: dict[str, int]) -> None:
        """`users` are all addresses, each with the number of servers that have it."""
        self._duplicates = resolution.duplicates
        self._users = users
        networks = [ip_network(each) for each in resolution.networks]
        preferred = 4 if resolution.prefer == IPV4 else 6

        def merit(address: str) -> tuple[bool, bool]:
            if not networks:
                return (":" in address) == (preferred == 4), False
            ip = ip_address(address)
            return ip.version != preferred, not any(ip in each for each in networks)

        self._left = [(merit(address), count, at, address) for at, (address, count) in enumerate(users.items())]
        heapify(self._left)

    def take(self) -> str:
        """Returns the best address, which one server more has from now on; "" if none may be used."""
        left, users = self._left, self._users
        while left:
            merit, count, at, address = left[0]
            if users[address] and not self._duplicates:
                heappop(left)
            elif users[address] != count:
                heapreplace(left, (merit, users[address], at, address))
            else:
                users[address] += 1
                heapreplace(left, (merit, count + 1, at, address))
                return address
        return ""


def target_of(address: str, port: int) -> Target:
    if ":" in address:
        return Target(AF_INET6, (address, port, 0, 0))
    return Target(AF_INET, (address, port))


def address_of(target: Target) -> str:
    """Returns the address in the form in which answers have it."""
    return str(ip_address(str(target.address[0]).partition("%")[0]))
