"""
A TCP relay that adds a round trip between a proxy and its server, so that a handshake costs on loopback what it costs
on a network.

It knows bytes and times; it must know nothing of TLS or HTTP. What is emulated, with RTT the round trip:

* every byte is delivered RTT/2 after it was read, in both directions, and so is the end of a stream;
* connection set-up takes one RTT. The kernel accepts on loopback at once, so that a client believes to be connected
  one RTT too early; what it sends before that RTT is over is treated as if it had been sent at its end. So a request
  on a new connection costs RTT (set-up) + RTT (TLS 1.3 handshake; two for TLS 1.2) + RTT (request and response),
  exactly as on a network, and one on an open connection costs RTT;
* not emulated: loss, bandwidth, slow start, a reset (it becomes an end of stream).

With `--idle` it also ends each connection, used or not, on which nothing has been said for so long, as many servers do.

Plain epoll and not asyncio or Twisted, because the relay shares its core with the load: 50 clients at once have to
come through in much less than a round trip, and an asyncio transport and timer for every piece cost several times
what this loop costs.

    python relay.py --round-trip 0.02 --status PORT [--idle 2] LISTEN:SERVER [LISTEN:SERVER ...]

The status port tells whoever connects, one line for each relay, the listening port, the connections accepted, and how
many of these are open.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import select
import socket
import time
from collections import deque

HOST = "127.0.0.1"
PIECE = 65536
#: Seconds between two looks for silent connections.
LOOKS = 0.05


class Way:
    """One direction of a relayed connection: read from C{source}, deliver to C{target} later."""

    def __init__(self, source: socket.socket, target: socket.socket, not_before: float, port: int) -> None:
        self.source = source
        self.target = target
        self.port = port
        #: Nothing counts as sent before this time; it then grows, so that bytes never overtake each other.
        self.not_before = not_before
        #: What is due but did not fit into the target's socket buffer; b"" is the end of the stream.
        self.waiting: deque[bytes] = deque()
        self.over = False
        #: When bytes last came this way.
        self.heard = time.monotonic()


class Relay:
    """All relayed connections, and the loop that moves them."""

    def __init__(self, round_trip: float, ports: dict[int, int], status_port: int, idle: float = 0.0) -> None:
        self.round_trip = round_trip
        self.ports = ports
        #: Seconds of silence after which a connection is ended; 0: never.
        self.idle = idle
        self.accepted = dict.fromkeys(ports, 0)
        self.open = dict.fromkeys(ports, 0)
        self._epoll = select.epoll()
        self._ways: dict[int, tuple[Way, Way]] = {}
        self._due: list[tuple[float, int, Way, bytes]] = []
        self._order = itertools.count()
        self._listeners = {s.fileno(): (s, port) for port in ports for s in [self._listen(port)]}
        self._status = self._listen(status_port)

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server((HOST, port), backlog=4096)
        self._epoll.register(listener.fileno(), select.EPOLLIN)
        return listener

    def run(self) -> None:
        """For ever. select() around epoll, because epoll's own time-out has whole milliseconds, select's has µs."""
        looks = time.monotonic() + LOOKS
        while True:
            wait = None if not self._due else max(0.0, self._due[0][0] - time.monotonic())
            if self.idle:
                wait = LOOKS if wait is None else min(wait, LOOKS)
                if time.monotonic() >= looks:
                    looks = time.monotonic() + LOOKS
                    self._end_idle(looks - self.idle)
            ready, _, _ = select.select([self._epoll], [], [], wait)
            if ready:
                for descriptor, events in self._epoll.poll(0):
                    self._happened(descriptor, events)
            self._deliver_due(time.monotonic())

    def _happened(self, descriptor: int, events: int) -> None:
        if descriptor in self._listeners:
            self._accept(*self._listeners[descriptor])
        elif descriptor == self._status.fileno():
            self._tell()
        elif descriptor in self._ways:
            reads, writes = self._ways[descriptor]
            if events & select.EPOLLOUT:
                self._watch(writes, select.EPOLLIN)
                self._flush(writes)
            if descriptor in self._ways and events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._read(reads)

    def _accept(self, listener: socket.socket, port: int) -> None:
        client, _ = listener.accept()
        self.accepted[port] += 1
        try:
            server = socket.create_connection((HOST, self.ports[port]), timeout=5.0)
        except OSError:
            client.close()
            return
        self.open[port] += 1
        now = time.monotonic()
        up, down = Way(client, server, now + self.round_trip, port), Way(server, client, now, port)
        for end, ways in ((client, (up, down)), (server, (down, up))):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._ways[end.fileno()] = ways
            self._epoll.register(end.fileno(), select.EPOLLIN)

    def _read(self, way: Way) -> None:
        try:
            piece = way.source.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            # No longer watched at all: a hang-up would be reported again and again until its end is due.
            way.over = True
            self._epoll.unregister(way.source.fileno())
        way.heard = time.monotonic()
        way.not_before = max(way.heard, way.not_before)
        heapq.heappush(self._due, (way.not_before + self.round_trip / 2, next(self._order), way, piece))

    def _deliver_due(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            _, _, way, piece = heapq.heappop(self._due)
            way.waiting.append(piece)
            if len(way.waiting) == 1:
                self._flush(way)

    def _flush(self, way: Way) -> None:
        """Hand over what is due, as far as the kernel takes it."""
        while way.waiting:
            piece = way.waiting[0]
            if not piece:
                self._end(way)
                return
            try:
                sent = way.target.send(piece)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._end(way)
                return
            if sent < len(piece):
                way.waiting[0] = piece[sent:]
                self._watch(way, select.EPOLLIN | select.EPOLLOUT)
                return
            way.waiting.popleft()

    def _watch(self, way: Way, events: int) -> None:
        """Look at the target of a way for these events. One that has hung up stays unwatched: its end comes soon."""
        descriptor = way.target.fileno()
        if not self._ways[descriptor][0].over:
            self._epoll.modify(descriptor, events)

    def _end(self, way: Way) -> None:
        """Both ways end with the first that ends: neither HTTP nor TLS, as proxies use them, needs half of one."""
        way.waiting.clear()
        if way.source.fileno() in self._ways:
            self.open[way.port] -= 1
        for end in (way.source, way.target):
            ways = self._ways.pop(end.fileno(), None)
            if ways is not None:
                if not ways[0].over:
                    self._epoll.unregister(end.fileno())
                end.close()

    def _end_idle(self, before: float) -> None:
        """End the connections on which nothing has come either way since."""
        silent = {ways[0].source.fileno(): ways[0] for ways in self._ways.values() if _heard(ways) < before}
        for descriptor, way in silent.items():
            if descriptor in self._ways:
                self._end(way)

    def _tell(self) -> None:
        asker, _ = self._status.accept()
        lines = (f"{port} {count} {self.open[port]}\n" for port, count in self.accepted.items())
        asker.sendall("".join(lines).encode())
        asker.close()


def _heard(ways: tuple[Way, Way]) -> float:
    return max(way.heard for way in ways)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Relay TCP on loopback with a delay.")
    parser.add_argument("--round-trip", type=float, required=True, metavar="SECONDS")
    parser.add_argument("--status", type=int, required=True, metavar="PORT")
    parser.add_argument("--idle", type=float, default=0.0, metavar="SECONDS", help="end silent connections (never)")
    parser.add_argument("ports", nargs="+", metavar="LISTEN:SERVER")
    options = parser.parse_args()
    ports = {int(listen): int(server) for listen, _, server in (each.partition(":") for each in options.ports)}
    Relay(options.round_trip, ports, options.status, options.idle).run()


if __name__ == "__main__":
    main()
