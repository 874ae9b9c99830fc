"""
A proxy's answer to bytes that no client library would send and no server program would answer: raw requests through a
proxy to a server that records what reaches it, and says what it is told to.

It knows HTTP only as far as to see where a message ends, and neither reusedproxy nor HAProxy: both get the same text
for their configuration, the same bytes, and are asked the same questions. What the answers should be is for the tests.
"""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import h11
from attrs import define, field, frozen

from tests.integration.daemon import Daemon
from tests.integration.peers import find_program, wait_for
from tests.ports import free_ports

PROBE = b"GET /probe HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#: Where lanes and recorders listen: connections to it come from 127.0.0.1, so none of their ports is in the way.
HOST = "127.0.0.2"
#: Seconds until a proxy is given up that neither answers nor closes. Longer than its own time-outs.
PATIENCE = 8.0

Answer = TypeVar("Answer")


class HAProxy(Daemon):
    """HAProxy in the foreground, with the configuration that a L{Daemon} of the same text has."""

    def start(self) -> None:
        # Of several threads, the lines of the log come in any order.
        alone = self.file.with_name("one-thread.cfg")
        alone.write_text("global\n    nbthread 1\n")
        self._start([str(find_program("haproxy")), "-db", "-f", str(alone), "-f", str(self.file)], "HAProxy")


def haproxy_version() -> str:
    """Like C{2.6.12}; empty when there is none."""
    program = find_program("haproxy")
    if program is None:
        return ""
    said = subprocess.run([program, "-v"], check=False, capture_output=True, text=True, timeout=10).stdout
    found = re.search(r"version (\d+\.\d+(?:\.\d+)?)", said)
    return found[1] if found else "unknown"


@frozen
class Outcome:
    """
    What became of one request.

    @ivar statuses: of all answers to it, interim ones included; none when the connection just ended.
    @ivar body: of the final answer, unless it is an error page of the proxy's.
    @ivar end: C{kept} when the connection carries another request; C{closed} after a whole answer; C{cut} inside it.
    @ivar requests: how many whole requests reached the server, without the one that proved the connection kept.
    @ivar reused: whether that one came on the same connection to the server.
    """

    statuses: tuple[int, ...]
    body: bytes
    end: str
    requests: int
    reused: bool

    def __str__(self) -> str:
        said = " ".join(map(str, self.statuses)) or "no answer"
        body = f" {self.body[:40]!r}" if self.body not in (b"", b"ok") else ""
        server = ", server's reused" if self.reused else ""
        return f"{said}{body} {self.end}, {self.requests} to the server{server}"


@define
class Recorder:
    """
    A server that notes every whole request and the connection it came on.

    @ivar answer: what it says to the first request that is no probe; after it closes, if C{closes}.
    @ivar seen: (number of the connection, the request's first line).
    """

    listening: socket.socket = field(init=False)
    answer: bytes = OK
    closes: bool = False
    seen: list[tuple[int, bytes]] = field(factory=list)
    #: The other ends' ports of connections that stand.
    _open: set[int] = field(factory=set)
    _lock: threading.Lock = field(factory=threading.Lock)
    _number: int = 0

    def __attrs_post_init__(self) -> None:
        self.listening = socket.create_server((HOST, 0), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        port: int = self.listening.getsockname()[1]
        return port

    def script(self, answer: bytes, closes: bool) -> None:
        self.answer, self.closes = answer, closes
        self.seen = []

    def wait_for_ends(self) -> None:
        """Wait until the proxy has ended all its connections, also those that are not accepted yet: a later one, of our
        own, is accepted after them."""
        with socket.create_connection((HOST, self.port), timeout=PATIENCE) as ours:
            number = ours.getsockname()[1]
            wait_for(lambda: number in self._open, "the recorder to accept")
        wait_for(lambda: not self._open, "the proxy to end its connections to the server")

    def _accept(self) -> None:
        while True:
            try:
                connection, peer = self.listening.accept()
            except OSError:
                return
            with self._lock:
                self._number += 1
                self._open.add(peer[1])
            threading.Thread(target=self._serve, args=(connection, self._number, peer[1]), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int, port: int) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(60)
        data, ended = b"", False
        try:
            while piece := connection.recv(65536):
                data += piece
                while not ended and (end := request_end(data)) > 0:
                    line = data[: data.find(b"\n")]
                    data = data[end:]
                    self.seen.append((number, line))
                    if line.startswith(b"GET /probe "):
                        connection.sendall(OK)
                    else:
                        connection.sendall(self.answer)
                        if self.closes:
                            connection.shutdown(socket.SHUT_WR)
                            ended = True
        except OSError:
            pass
        finally:
            with self._lock:
                self._open.discard(port)
            connection.close()


def request_end(data: bytes) -> int:
    """Where the first request ends, as the most lenient server would have it; 0 when it has not come whole."""
    head = re.search(rb"\r?\n\r?\n", data)
    if head is None:
        return 0
    fields, at = data[: head.end()].lower(), head.end()
    if re.search(rb"\ntransfer-encoding[^\n]*chunked", fields):
        return _chunks_end(data, at)
    length = re.search(rb"\ncontent-length[ \t]*:[ \t]*(\d+)", fields)
    size = int(length[1]) if length else 0
    return at + size if len(data) >= at + size else 0


def _chunks_end(data: bytes, at: int) -> int:
    while size := re.compile(rb"\r?\n?([0-9A-Fa-f]+)[^\n]*\n").match(data, at):
        at = size.end() + int(size[1], 16)
        if at == size.end():
            trailers = re.compile(rb"(?:[^\r\n]+\r?\n)*\r?\n").match(data, at)
            return trailers.end() if trailers else 0
    return 0


def read_answer(client: socket.socket, method: str, data: bytes) -> tuple[list[int], bytes, str, bytes]:
    """Statuses and body of one answer, how it ended (C{whole}, C{closed} with the connection, or C{cut}), and what
    came behind it."""
    reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=10**6)
    reader.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    reader.send(h11.EndOfMessage())
    statuses: list[int] = []
    body = b""
    if data:
        reader.receive_data(data)
    try:
        while True:
            event = reader.next_event()
            if event is h11.NEED_DATA:
                reader.receive_data(client.recv(65536))
            elif isinstance(event, h11.InformationalResponse | h11.Response):
                statuses.append(event.status_code)
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                closed = reader.their_state in (h11.CLOSED, h11.MUST_CLOSE) or reader.trailing_data[1]
                return statuses, body, "closed" if closed else "whole", reader.trailing_data[0]
            else:
                return statuses, body, "cut", b""
    except h11.RemoteProtocolError:
        return statuses, body, "cut", b""
    except TimeoutError:
        raise AssertionError(f"neither an answer nor an end; so far {statuses} {body!r}") from None
    except OSError:
        return statuses, body, "cut", b""


def ask(port: int, recorder: Recorder, data: bytes, method: str = "GET") -> Outcome:
    """
    Send C{data}, then see whether the connection takes another request. All that a server will ever get of this has
    reached it on return: the proxy must tie server connections to clients' (C{http-reuse never}), so it ends them.
    """
    with socket.create_connection((HOST, port), timeout=PATIENCE) as client:
        try:
            client.sendall(data)
        except OSError:
            pass  # refused before its end
        statuses, body, end, rest = read_answer(client, method, b"")
        if end == "whole":
            end = "closed"
            try:
                client.sendall(PROBE)
            except OSError:
                pass
            again, *_ = read_answer(client, "GET", rest)
            if again:
                end = "kept"
    recorder.wait_for_ends()
    requests = [number for number, line in recorder.seen if not line.startswith(b"GET /probe ")]
    probes = [number for number, line in recorder.seen if line.startswith(b"GET /probe ")]
    reused = bool(probes) and probes[0] in requests
    page = body.startswith(b"<html><body><h1>")
    return Outcome(tuple(statuses), b"" if page else body, end, len(requests), reused)


class Lanes:
    """
    A proxy with several frontends, each with a recorder of its own behind it, so that many requests can be asked at a
    time and none takes another's place in the record.
    """

    def __init__(self, make: Callable[[Path, str], Daemon], directory: Path, count: int, settings: str = "") -> None:
        """@param settings: lines for the C{global} section."""
        self.recorders = [Recorder() for _ in range(count)]
        # After them, or the kernel might give one of these to a recorder.
        ports = free_ports(count, HOST)
        text = ["backend servers\n"]
        for number, (port, recorder) in enumerate(zip(ports, self.recorders, strict=True)):
            text.append(_LANE.format(number=number, host=HOST, port=port, server=recorder.port))
        if settings:
            text.append(f"global\n{settings}")
        self.proxy = make(directory, "".join(text))
        self._free: SimpleQueue[tuple[int, Recorder]] = SimpleQueue()
        for lane in zip(ports, self.recorders, strict=True):
            self._free.put(lane)

    def start(self) -> None:
        self.proxy.start()

    def stop(self) -> None:
        """End all. Safe to call twice."""
        self.proxy.stop()
        for recorder in self.recorders:
            # A thread that waits in accept does not hear of a close.
            try:
                recorder.listening.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            recorder.listening.close()

    def ask(self, data: bytes, *, method: str = "GET", answer: bytes = OK, closes: bool = False) -> Outcome:
        """One request on a lane that nobody uses."""
        lane = self._free.get()
        port, recorder = lane
        try:
            recorder.script(answer, closes)
            return ask(port, recorder, data, method)
        finally:
            self._free.put(lane)

    def ask_all(self, questions: Sequence[Callable[[Lanes], Outcome]]) -> list[Outcome]:
        """Many at a time; the answers are in order."""
        with ThreadPoolExecutor(len(self.recorders)) as threads:
            return list(threads.map(lambda question: question(self), questions))


_LANE = """\
frontend lane{number}
    bind {host}:{port}
    timeout http-request 2s
    timeout client 3s
    default_backend lane{number}
backend lane{number}
    http-reuse never
    timeout server 2s
    server recorder {host}:{server}
"""
