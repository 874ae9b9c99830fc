"""Runs cases of the configuration's words through reusedproxy and HAProxy: sections of a few lines, requests as bytes,
and what the client and the server have got of them, in a form that does not depend on order or framing."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attrs import define, field, frozen

from tests.integration.beside import HOST, HAProxy, request_end
from tests.integration.daemon import Daemon
from tests.integration.peers import accept_each, end_accepting
from tests.ports import free_ports

#: Seconds for which a client waits for an answer, or for the end.
PATIENCE = 6.0
#: Seconds between two pieces: more than a loaded machine takes to pass the first one on.
GAP = 0.5
#: What each connection says for itself, and what the framing says, which is judged by the body.
_UNCOMPARED = re.compile(
    rb"(?im)^(?:connection|keep-alive|date|transfer-encoding|content-length|forwarded-by)[ \t]*:.*\r\n"
)


@frozen
class Case:
    """One section with these `lines`, what its server answers, and the requests of one client connection; `sent` are
    pieces, with pauses of `GAP` between them. `whole` compares Content-Length and Transfer-Encoding, too. With
    `either_end` it is one whether the connection ends or is reset."""

    name: str
    lines: str
    sent: Sequence[bytes]
    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    whole: bool = False
    either_end: bool = False


@frozen
class Seen:
    """What a client got (each answer: first line, sorted fields, body), how it ended, and the requests that the server
    got, likewise."""

    answers: tuple[tuple[bytes, ...], ...]
    end: str
    requests: tuple[tuple[bytes, ...], ...]


@define
class Server:
    """Answers each whole request alike, and notes it."""

    answer: bytes
    requests: list[bytes] = field(factory=list)
    listening: socket.socket = field(factory=lambda: socket.create_server((HOST, 0), backlog=16))

    @property
    def port(self) -> int:
        port: int = self.listening.getsockname()[1]
        return port

    def start(self) -> None:
        accept_each(self.listening, self._serve)

    def _serve(self, connection: socket.socket) -> None:
        data = b""
        with connection:
            connection.settimeout(20)
            try:
                while piece := connection.recv(65536):
                    data += piece
                    while (end := request_end(data)) > 0:
                        self.requests.append(data[:end])
                        data = data[end:]
                        connection.sendall(self.answer)
            except OSError:
                pass

    def stop(self) -> None:
        end_accepting(self.listening)


def run(make: type[Daemon], directory: Path, cases: Sequence[Case], settings: str = "") -> list[Seen]:
    """Returns what became of each case, in order, with one proxy for all; `settings` are further sections."""
    servers = [Server(case.answer) for case in cases]
    for server in servers:
        server.start()
    ports = free_ports(len(cases), HOST)
    text = ["backend servers\n", settings]
    for number, (case, server, port) in enumerate(zip(cases, servers, ports, strict=True)):
        text.append(f"listen case{number}\n bind {HOST}:{port}\n {case.lines}\n server s {HOST}:{server.port}\n")
    daemon = make(directory, "".join(text))
    try:
        daemon.start()
        with ThreadPoolExecutor(16) as threads:
            return [*threads.map(_play, cases, servers, ports)]
    finally:
        daemon.stop()
        for server in servers:
            server.stop()


def both(directory: Path, cases: Sequence[Case], settings: str = "") -> list[tuple[str, Seen, Seen]]:
    """Returns the name of each case, what became of it here, and at HAProxy. Both have most of their time to wait."""
    with ThreadPoolExecutor(2) as threads:
        running = [
            threads.submit(run, make, directory / name, cases, settings)
            for name, make in (("ours", Daemon), ("theirs", HAProxy))
        ]
        ours, theirs = (each.result() for each in running)
    return [(case.name, one, other) for case, one, other in zip(cases, ours, theirs, strict=True)]


def _play(case: Case, server: Server, port: int) -> Seen:
    data, end, ended = b"", "open", "closed"
    try:
        connected = socket.create_connection((HOST, port), timeout=PATIENCE)
    except ConnectionResetError:  # turned away before it knew that it was connected
        return Seen((), _end(case, "reset"), ())
    with connected as client:
        for number, piece in enumerate(case.sent):
            if number:
                time.sleep(GAP)
            try:
                client.sendall(piece)
            except ConnectionResetError:
                ended = "reset"  # told once: what reads then is told of an end
                break
            except OSError:
                break
        client.settimeout(0.7)
        until = time.monotonic() + PATIENCE
        try:
            while time.monotonic() < until:
                try:
                    piece = client.recv(65536)
                except TimeoutError:
                    if data:
                        break
                    continue
                if not piece:
                    end = ended
                    break
                data += piece
        except OSError:
            end = "reset"
    return Seen(
        tuple(_messages(data, case.whole)),
        _end(case, end),
        tuple(each for raw in server.requests for each in _messages(raw, False)),
    )


def _end(case: Case, end: str) -> str:
    return "over" if case.either_end and end != "open" else end


def _messages(data: bytes, whole: bool) -> Iterable[tuple[bytes, ...]]:
    while data:
        head, found, rest = data.partition(b"\r\n\r\n")
        if not found:
            yield (data,)
            return
        first, _, fields = (head + b"\r\n").partition(b"\r\n")
        body, data = _body(first, fields, rest)
        kept = fields if whole else _UNCOMPARED.sub(b"", fields)
        lines = [_line(line) for line in kept.split(b"\r\n") if line]
        yield (first, *sorted(lines), body)


def _line(line: bytes) -> bytes:
    name, colon, value = line.partition(b":")
    return name.lower() + colon + b" " + value.strip()


def _body(first: bytes, fields: bytes, rest: bytes) -> tuple[bytes, bytes]:
    """Returns the body, without its framing, and what follows it."""
    status = first.split(b" ")[1] if first.startswith(b"HTTP/") else b""
    if status.startswith(b"1") or status in (b"204", b"304"):
        return b"", rest
    if re.search(rb"(?im)^transfer-encoding[ \t]*:.*chunked", fields):
        body = b""
        while found := re.match(rb"([0-9A-Fa-f]+)[^\r]*\r\n", rest):
            size = int(found[1], 16)
            body += rest[found.end() : found.end() + size]
            rest = rest[found.end() + size + 2 :]
            if not size:
                return body, rest
        return body + b"<cut>", b""
    length = re.search(rb"(?im)^content-length[ \t]*:[ \t]*(\d+)", fields)
    if length:
        return rest[: int(length[1])], rest[int(length[1]) :]
    return (rest, b"") if first.startswith(b"HTTP/") else (b"", rest)
