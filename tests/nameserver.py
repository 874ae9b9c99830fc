"""A DNS server made of twisted.names: its answers change while it runs. In memory, or on a port of its own process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.names import dns
from twisted.names.error import DomainError
from twisted.names.server import DNSServerFactory

from reusedproxy.net.names.channels import Place

#: What a name may have instead of records.
NX, SERVFAIL, REFUSED, SILENCE = "nx", "servfail", "refused", "silence"
Data = str | Sequence[tuple[str, ...]]

_KINDS = {"A": dns.A, "AAAA": dns.AAAA, "SRV": dns.SRV, "CNAME": dns.CNAME}


class Refused(Exception):
    """The server has no mind to answer."""


class Failed(Exception):
    """The server cannot answer."""


class Zone:
    """The names: `records` of each, such as ("A", "192.0.2.1") and ("SRV", "host", "80", "weight"), or a word. A record
    may have the name that it belongs to as its last word, after "of". `asked` are all questions so far."""

    def __init__(self) -> None:
        self.records: dict[str, Data] = {}
        self.asked: list[tuple[str, int]] = []

    def query(self, query: dns.Query, timeout: object = None) -> Deferred[Any]:
        name = query.name.name.decode().lower()
        self.asked.append((name, query.type))
        data = self.records.get(name, NX)
        if data == SILENCE:
            return Deferred()
        if isinstance(data, str):
            return fail({NX: DomainError(), REFUSED: Refused()}.get(data, Failed()))
        answers, additional = [], []
        for kind, *words in data:
            owner = words.pop() if len(words) > 1 and words[-2] == "of" else name
            record = dns.RRHeader(owner, _KINDS[kind], ttl=1, payload=_payload(kind, words))
            if owner != name and kind != "CNAME" and query.type == dns.SRV:
                additional.append(record)
            elif record.type in (query.type, dns.CNAME):
                answers.append(record)
        return succeed((answers, [], additional))


def _payload(kind: str, words: list[str]) -> Any:
    if kind == "A":
        return dns.Record_A(words[0])
    if kind == "AAAA":
        return dns.Record_AAAA(words[0])
    if kind == "CNAME":
        return dns.Record_CNAME(words[0])
    host, port, weight = (*words, "1")[:3]
    return dns.Record_SRV(0, int(weight), int(port), host)


class NameServer(DNSServerFactory):
    """Answers from a zone."""

    def __init__(self, zone: Zone) -> None:
        super().__init__(clients=[zone])  # type: ignore[no-untyped-call]

    def gotResolverError(self, failure: Any, protocol: Any, message: Any, address: Any) -> None:
        if failure.check(Refused, Failed):
            code = dns.EREFUSED if failure.check(Refused) else dns.ESERVER
            self.sendReply(protocol, self._responseFromMessage(message, rCode=code), address)
        else:
            super().gotResolverError(failure, protocol, message, address)  # type: ignore[no-untyped-call]


class MemoryChannel:
    """Brings messages to a name server in memory, and its answers back a moment later; `lost`: nowhere."""

    def __init__(self, clock: Clock, zone: Zone, answered: Callable[[bytes], None]) -> None:
        self.sent: list[bytes] = []
        self.rests = 0
        self.lost = False
        self._clock = clock
        self._answered = answered
        self._server = dns.DNSDatagramProtocol(NameServer(zone))
        self._server.transport = self  # type: ignore[assignment]
        self._server.startProtocol()

    def send(self, message: bytes) -> None:
        self.sent.append(message)
        if not self.lost:
            self._server.datagramReceived(message, ("192.0.2.99", 99))

    def write(self, data: bytes, address: object = None) -> None:
        """Takes what the server writes."""
        self._clock.callLater(0, self._answered, data)

    def rest(self) -> None:
        self.rests += 1

    def close(self) -> None:
        self.lost = True


class MemoryNameServers:
    """The name servers of a test, each with a zone of its own, by their names in the configuration."""

    def __init__(self, clock: Clock) -> None:
        self.zones: dict[str, Zone] = {}
        self.channels: dict[str, MemoryChannel] = {}
        self._clock = clock

    def open(self, place: Place, answered: Callable[[bytes], None]) -> MemoryChannel:
        zone = self.zones.setdefault(place.name, Zone())
        made = MemoryChannel(self._clock, zone, answered)
        self.channels[place.name + ("/tcp" if place.stream else "")] = made
        return made
