"""
The attacks: small functions that go on until their time is over, from loopback, with a bounded number of connections.
They know ports and protocols and must never know who is attacked or what is measured.
"""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable

from attrs import frozen

from benchmarks.hostile_tls import RawTLS, anybody, hello, hello_in_pieces


@frozen
class Prey:
    """
    Who is attacked.

    @ivar port: plain HTTP; C{tls} and C{preface} are where TLS and the PROXY protocol are spoken.
    @ivar until: the moment (of C{time.monotonic}) at which all is over.
    """

    port: int
    tls: int
    preface: int
    until: float

    @property
    def on(self) -> bool:
        """Whether time is left."""
        return time.monotonic() < self.until


Attack = Callable[[Prey], None]
_HEAD = b"GET /quiet HTTP/1.1\r\nHost: server.test\r\n"
_UPLOAD = b"POST /hostile/sink HTTP/1.1\r\nHost: server.test\r\nTransfer-Encoding: chunked\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)


def connect(port: int) -> socket.socket:
    """A connection; whatever waits on it gives up after a second."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=1.0)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def by(count: int) -> Callable[[Attack], Attack]:
    """So many at the same time, each of which begins again when it is refused or cut."""

    def decorated(attack: Attack) -> Attack:
        def again(prey: Prey) -> None:
            while prey.on:
                try:
                    attack(prey)
                except (OSError, ssl.SSLError):
                    time.sleep(0.005)

        def together(prey: Prey) -> None:
            threads = [threading.Thread(target=again, args=(prey,), daemon=True) for _ in range(count)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(max(0.0, prey.until - time.monotonic()) + 1.5)

        return together

    return decorated


def _send_on(prey: Prey, port: int, first: bytes, more: bytes, *, read: bool = False) -> None:
    with connect(port) as connection:
        connection.sendall(first)
        connection.setblocking(True)
        connection.settimeout(0.25)
        while prey.on:
            connection.sendall(more)
            if read:
                while len(connection.recv(1 << 18)) == 1 << 18:
                    pass


@by(8)
def small_chunks(prey: Prey) -> None:
    """Uploads in chunks of one byte."""
    _send_on(prey, prey.port, _UPLOAD, b"1\r\nx\r\n" * 40_000)


@by(8)
def chunk_extensions(prey: Prey) -> None:
    """Uploads in chunks of one byte, each with an extension."""
    _send_on(prey, prey.port, _UPLOAD, b"1;abc=def;ghi=jkl\r\nx\r\n" * 10_000)


@by(8)
def huge_heads(prey: Prey) -> None:
    """Heads of one field that ends just too late."""
    with connect(prey.port) as connection:
        connection.sendall(_HEAD + b"X-Long: " + b"x" * 60_000 + b"\r\n\r\n")
        connection.recv(65536)


@by(8)
def many_fields(prey: Prey) -> None:
    """As many fields as fit, on kept connections."""
    with connect(prey.port) as connection:
        while prey.on:
            connection.sendall(_HEAD + b"".join(b"x-%d: y\r\n" % n for n in range(95)) + b"\r\n")
            if not connection.recv(65536):
                return


def slow_heads(prey: Prey) -> None:
    """400 clients that send a byte of a head now and then (slowloris)."""
    clients: list[socket.socket] = []
    while prey.on:
        try:
            if len(clients) < 400:
                clients.append(connect(prey.port))
                clients[-1].sendall(_HEAD)
            else:
                time.sleep(0.02)
                for client in clients[:: max(1, len(clients) // 100)]:
                    client.sendall(b"X")
        except OSError:
            clients = [each for each in clients if each.fileno() >= 0][:-1]
    for client in clients:
        client.close()


@by(8)
def connects(prey: Prey) -> None:
    """Connections that are reset at once."""
    connection = connect(prey.port)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.close()


@by(4)
def pipeline(prey: Prey) -> None:
    """Requests without a pause, whose answers are read."""
    _send_on(prey, prey.port, b"", (_HEAD + b"\r\n") * 100, read=True)


@by(4)
def pipeline_returned(prey: Prey) -> None:
    """The same to an answer of the proxy's own."""
    _send_on(prey, prey.port, b"", b"GET /return HTTP/1.1\r\nHost: a\r\n\r\n" * 500, read=True)


@by(4)
def pipeline_unread(prey: Prey) -> None:
    """The same, and nobody reads."""
    _send_on(prey, prey.port, b"", b"GET /return HTTP/1.1\r\nHost: a\r\n\r\n" * 500)


@by(4)
def key_updates(prey: Prey) -> None:
    """KeyUpdates that ask for KeyUpdates, without a pause; answers are not read."""
    connection = RawTLS(prey.tls)
    try:
        refused = 0
        while prey.on and refused < 200:
            refused = 0 if connection.update_key() else refused + 1
            if refused:
                time.sleep(0.01)
    finally:
        connection.close()


@by(4)
def key_updates_shut(prey: Prey) -> None:
    """A large answer that is not read, and behind the request some KeyUpdates that ask for answers."""
    connection = RawTLS(prey.tls)
    try:
        connection.write(b"GET /hostile/big HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(1.5)  # until all buffers on the way are full
        for _ in range(3):
            connection.update_key()
        while prey.on:
            time.sleep(0.05)
    finally:
        connection.close()


@by(8)
def hello_pieces(prey: Prey) -> None:
    """ClientHellos of which each byte is a record."""
    with connect(prey.tls) as connection:
        connection.sendall(hello_in_pieces())
        connection.recv(65536)


@by(8)
def hello_bytes(prey: Prey) -> None:
    """ClientHellos that come byte by byte."""
    with connect(prey.tls) as connection:
        for byte in hello():
            connection.sendall(bytes((byte,)))


@by(8)
def handshakes(prey: Prey) -> None:
    """Whole TLS handshakes, one after the other."""
    with connect(prey.tls) as connection, anybody().wrap_socket(connection):
        pass


@by(8)
def handshakes_aborted(prey: Prey) -> None:
    """Clients that are gone when the server's part has come."""
    connection = connect(prey.tls)
    connection.sendall(hello())
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.close()


@by(4)
def renegotiations(prey: Prey) -> None:
    """TLS 1.2 clients that ask for another handshake."""
    connection = RawTLS(prey.tls, old=True)
    try:
        for _ in range(50):
            if prey.on:
                connection.renegotiate()
                time.sleep(0.002)
    finally:
        connection.close()


@by(40)
def slow_readers(prey: Prey) -> None:
    """Large answers, read 4 KB at a time."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(1.0)
        connection.connect(("127.0.0.1", prey.port))
        connection.sendall(b"GET /hostile/big HTTP/1.1\r\nHost: a\r\n\r\n")
        while prey.on and connection.recv(4096):
            time.sleep(0.05)


@by(4)
def early_answers(prey: Prey) -> None:
    """Uploads of 2 MB that the quiet client's own server answers with 413."""
    with connect(prey.port) as connection:
        connection.sendall(b"POST /same HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n")
        try:
            for _ in range(20):
                connection.sendall(b"x" * 100_000)
        finally:
            connection.recv(65536)


def _asking(path: bytes, count: int) -> Attack:
    @by(count)
    def ask(prey: Prey) -> None:
        with connect(prey.port) as connection:
            connection.sendall(b"GET %s HTTP/1.1\r\nHost: server.test\r\nConnection: close\r\n\r\n" % path)
            while prey.on and connection.recv(1 << 18):
                pass

    return ask


interim_answers = _asking(b"/hostile/interim", 4)
answer_chunks = _asking(b"/hostile/chunks", 4)
answer_bytes = _asking(b"/hostile/bytes", 4)
refused_server = _asking(b"/refused", 8)
regular_path = _asking(b"/" + b"a/" * 1000 + b"x", 2)
regular_name = _asking(b"/" + b"a" * 70 + b"!", 2)


def nothing(prey: Prey) -> None:
    """What stands in the way is done by the proxy's surroundings, not by clients."""
    while prey.on:
        time.sleep(0.05)


@by(40)
def prefaces(prey: Prey) -> None:
    """PROXY headers that come byte by byte."""
    with connect(prey.preface) as connection:
        for byte in b"PROXY TCP4 127.0.0.1 127.0.0.1 1234 80\r\n":
            connection.sendall(bytes((byte,)))
            time.sleep(0.001)
