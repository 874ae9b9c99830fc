"""Both ends of a wire in one process: our poller on one side, the test's hands on the other; nobody ever sleeps.

    loop = Loop(self)                        # clock, reactor, poller and deadlines; taken down with the test
    near, far = loop.pair()                  # a socket for our code, and a Far for the test
    transport = Transport(loop.poller, near, peer)
    far.send(b"hello")                       # or split, stall, half_close, drop, reset, send_unasked ...
    loop.pump()                              # everything that can happen now, happens
    loop.advance(5)                          # time passes; then pump

    server = loop.server(tls=server_context())   # listens on loopback; `server.target` is for a Dialer
    client = loop.connect(("127.0.0.1", port))   # a client's end, towards one of our listeners

`pump` never waits: over a socket pair (AF_UNIX) the kernel delivers before `send` returns. Over loopback TCP it nearly
always does; `loop.until(condition)` bears the rest by waiting for the poller's events, and fails the test at last.
Every Far sends and receives by itself while the loop is pumped, until it is told to `stall`.
"""

from __future__ import annotations

import atexit
import select
import shutil
import socket
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from attrs import define
from OpenSSL import SSL, _util, crypto
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.demo.certificates import Authority, Credential
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.dial import Target
from reusedproxy.net.poller import Poller

#: Turns of the loop after which something must be spinning. A 32 MB body in pieces of 4 KB takes 8192.
TURNS = 50_000
#: Seconds of patience with the kernel in `until`, before the test fails.
PATIENCE = 5.0

UNASKED = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


#: Makes a test's end of a connected socket.
Ends = Callable[["Loop", socket.socket], "Far"]


class HandReactor:
    """As much of a reactor as our code asks for; `turn` is one round of it."""

    def __init__(self, clock: Clock) -> None:
        self.readers: list[Any] = []
        self.callLater = clock.callLater
        self.seconds = clock.seconds

    def addReader(self, reader: Any) -> None:
        if reader not in self.readers:
            self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        if reader in self.readers:
            self.readers.remove(reader)

    def turn(self, patience: float = 0) -> bool:
        """Let each ready reader read; whether there was one."""
        ready, _, _ = select.select(self.readers, (), (), patience)
        for reader in ready:
            if reader in self.readers:
                reader.doRead()
        return bool(ready)


class Loop:
    """The world of one test."""

    def __init__(self, test: SynchronousTestCase) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.reactor = HandReactor(self.clock)
        self.poller = Poller(self.reactor)  # type: ignore[arg-type]
        self.deadlines = Deadlines(self.clock)
        self.far: list[Far | Server] = []
        self._test = test
        self.poller.start()
        test.addCleanup(self._end)

    def pump(self) -> None:
        """Go on until nothing is ready at either end."""
        for _ in range(TURNS):
            busy = self.reactor.turn()
            for far in list(self.far):
                busy = far.pump() or busy
            if not busy:
                return
        self._test.fail(f"the loop spins: something was still ready after {TURNS} turns")

    def until(self, condition: Callable[..., object]) -> None:
        """Pump until `condition` holds."""
        for _ in range(100):
            self.pump()
            if condition():
                return
            # Only a kernel that delivers late comes here; it is its event that we wait for.
            everybody = [*self.reactor.readers, *(far for far in self.far if far.waiting())]
            select.select(everybody, (), (), PATIENCE / 100)
        self._test.fail("what should have happened by now did not")

    def advance(self, seconds: float) -> None:
        """Let time pass, then whatever follows from it."""
        self.clock.advance(seconds)
        self.pump()

    def pair(
        self,
        *,
        tcp: bool = False,
        buffers: int | None = None,
        tls: SSL.Context | None = None,
        client: Ends | None = None,
    ) -> tuple[socket.socket, Far]:
        """A connected pair: our end, and the test's. `buffers`: bytes (roughly) that the kernel holds each way."""
        near, other = _tcp_pair() if tcp else socket.socketpair()
        for end in (near, other):
            end.setblocking(False)
            if buffers is not None:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
                end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
        self._test.addCleanup(near.close)
        return near, self.add(other, tls, client)

    def add(self, connected: socket.socket, tls: SSL.Context | None = None, client: Ends | None = None) -> Far:
        """Take a connected socket as a test's end; with `tls`, as the server of TLS on it; or as `client` makes it."""
        connected.setblocking(False)
        if connected.family != socket.AF_UNIX:
            # Otherwise the kernel holds small pieces back for an acknowledgement that takes its time.
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        far: Far
        if client is not None:
            far = client(self, connected)
        else:
            far = Far(self, connected) if tls is None else TLSFar(self, connected, tls)
        self.far.append(far)
        return far

    def connect(self, address: Any, client: Ends | None = None) -> Any:
        """A client of ours: its end of a new connection to `address`, (host, port) or a path."""
        if isinstance(address, str):
            family = socket.AF_UNIX
        else:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        connected = socket.socket(family)
        try:
            connected.connect(address)
        except OSError:
            connected.close()
            raise
        return self.add(connected, client=client)

    def server(
        self, host: str = "127.0.0.1", *, tls: SSL.Context | None = None, path: str | None = None, mute: bool = False
    ) -> Server:
        """A server that our code can dial. `mute`: it accepts and then neither says nor reads anything."""
        server = Server(self, host, tls, path, mute)
        self.far.append(server)
        return server

    def _end(self) -> None:
        for far in self.far:
            far.socket.close()
        self.deadlines.stop()
        self.poller.stop()
        self._test.assertEqual(self.reactor.readers, [])
        self._test.assertEqual([str(call) for call in self.clock.getDelayedCalls()], [], "timers are left")


class Far:
    """The other end of a connection. What comes is in `received`; `end` is how it ended: "", "eof" or "reset"."""

    def __init__(self, loop: Loop, connected: socket.socket) -> None:
        self.loop = loop
        self.socket = connected
        self.received = b""
        self.end = ""
        self.unsent = b""
        self.stalled = False
        self._chunks: list[bytes] = []

    # Verbs.

    def send(self, data: bytes) -> None:
        """Send, as the other side takes it."""
        self.unsent += data
        self.pump()

    def split(self, data: bytes, size: int) -> None:
        """Send in pieces of `size` bytes, each of which arrives alone."""
        for start in range(0, len(data), size):
            self.send(data[start : start + size])
            self.loop.pump()

    def send_unasked(self, data: bytes = UNASKED) -> None:
        """Speak without having been asked, as servers do before they close an idle connection."""
        self.send(data)

    def stall(self) -> None:
        """Read no more (send still works): a slow reader, whose buffers fill up."""
        self.stalled = True

    def go_on(self) -> None:
        """Read again."""
        self.stalled = False
        self.pump()

    def read(self, size: int) -> bytes:
        """Of a stalled end: read at most `size` bytes of what has come."""
        data = self._receive(size) or b""
        self.received += data
        return data

    def half_close(self) -> None:
        """Send nothing more, but read on."""
        self.socket.shutdown(socket.SHUT_WR)

    def drop(self) -> None:
        """Close, as a process does that ends. (With bytes unread, the kernel makes it a reset.)"""
        self.socket.close()

    def reset(self) -> None:
        """Close with a reset. Over a socket pair only if something has come and was not read."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def take(self) -> bytes:
        """What was received since the last time."""
        data, self.received = self.received, b""
        return data

    # What the loop does.

    def fileno(self) -> int:
        return self.socket.fileno()

    def waiting(self) -> bool:
        """Whether it would read if something came."""
        return self.socket.fileno() >= 0 and not self.stalled and not self.end

    def pump(self) -> bool:
        """Send and receive what can be now; whether anything happened."""
        if self.socket.fileno() < 0:
            return False
        busy = self._pump_sending()
        while self.waiting():
            data = self._receive(256 * 1024)
            if data is None:
                break
            busy = True
            self._chunks.append(data)
        if self._chunks:
            self.received += b"".join(self._chunks)
            self._chunks.clear()
        return busy

    def _pump_sending(self) -> bool:
        busy = False
        while self.unsent and self.socket.fileno() >= 0:
            sent = self._transmit(self.unsent[: 256 * 1024])
            if sent is None:
                break
            self.unsent = self.unsent[sent:]
            busy = True
        return busy

    def _transmit(self, data: bytes) -> int | None:
        """Bytes that went out; None: not now, or never."""
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return None
        except OSError:
            self.unsent = b""
            return None

    def _receive(self, size: int) -> bytes | None:
        """Bytes that came in, b"" at the end; None: nothing now."""
        try:
            data = self.socket.recv(size)
        except BlockingIOError:
            return None
        except OSError:
            self.end = "reset"
            return b""
        if not data:
            self.end = "eof"
        return data


class TLSFar(Far):
    """A TLS server's end. `end` may also be "close_notify"; `failure` is what OpenSSL said when it went wrong."""

    def __init__(self, loop: Loop, connected: socket.socket, context: SSL.Context) -> None:
        Far.__init__(self, loop, connected)
        self.failure = ""
        self.handshaken = False
        self.tls = SSL.Connection(context, connected)
        self.tls.set_accept_state()

    @property
    def resumed(self) -> bool:
        """Whether the client came with a session that we took."""
        return bool(_util.lib.SSL_session_reused(self.tls._ssl))

    @property
    def server_name(self) -> bytes | None:
        """The SNI that the client sent."""
        return self.tls.get_servername()

    @property
    def client_name(self) -> str | None:
        """The subject of the client's certificate."""
        certificate = self.tls.get_peer_certificate(as_cryptography=True)
        return None if certificate is None else certificate.subject.rfc4514_string()

    def half_close(self) -> None:
        """Say close_notify and send nothing more; TLS and TCP alike."""
        self.close_notify()
        Far.half_close(self)

    def close_notify(self) -> None:
        """Say the end of TLS alone; the socket stays open."""
        try:
            self.tls.shutdown()
        except SSL.Error:
            pass

    def truncate(self) -> None:
        """End TCP without the end of TLS."""
        Far.half_close(self)

    def drop(self) -> None:
        self.close_notify()
        Far.drop(self)

    def pump(self) -> bool:
        if self.stalled and not self.handshaken:
            return False
        if not self.handshaken and self.waiting():
            before = self.tls.get_state_string()
            try:
                self.tls.do_handshake()
            except (SSL.WantReadError, SSL.WantWriteError):
                return self.tls.get_state_string() != before
            except SSL.Error as error:
                self._fail(error)
                return True
            self.handshaken = True
        return Far.pump(self)

    def _transmit(self, data: bytes) -> int | None:
        if not self.handshaken:
            return None
        try:
            return self.tls.send(data[:16384])
        except (SSL.WantReadError, SSL.WantWriteError):
            return None
        except SSL.Error:
            self.unsent = b""
            return None

    def _receive(self, size: int) -> bytes | None:
        try:
            return self.tls.recv(size)
        except (SSL.WantReadError, SSL.WantWriteError):
            return None
        except SSL.ZeroReturnError:
            self.end = "close_notify"
        except SSL.SysCallError as error:
            self.end = "eof" if error.args[0] == -1 else "reset"
        except SSL.Error as error:
            self._fail(error)
        return b""

    def _fail(self, error: SSL.Error) -> None:
        """As a server does: its alert went out within OpenSSL; what is left is to close, all having been read."""
        if isinstance(error, SSL.SysCallError):
            self.failure = "closed by peer"
        else:
            self.failure = str(error.args[0][-1][-1]) if error.args and error.args[0] else "unknown"
        self.end = "failed"
        self.socket.setblocking(False)
        try:
            while self.socket.recv(65536):
                pass
        except OSError:
            pass
        self.socket.close()


class Server:
    """A listening socket whose connections become Fars, newest last in `accepted`."""

    def __init__(self, loop: Loop, host: str, tls: SSL.Context | None, path: str | None, mute: bool) -> None:
        self.loop = loop
        self.tls = tls
        self.mute = mute
        self.accepted: list[Any] = []
        if path is not None:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.bind(path)
            self.target = Target(socket.AF_UNIX, path)
        else:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self.socket = socket.socket(family)
            self.socket.bind((host, 0))
            self.target = Target(family, self.socket.getsockname()[:2])
        self.socket.listen(128)
        self.socket.setblocking(False)

    @property
    def newest(self) -> Any:
        """The end of the connection accepted last."""
        return self.accepted[-1]

    def stop(self) -> None:
        """Refuse connections from now on."""
        self.socket.close()

    def fileno(self) -> int:
        return self.socket.fileno()

    def waiting(self) -> bool:
        return self.socket.fileno() >= 0

    def pump(self) -> bool:
        if not self.waiting():
            return False
        try:
            accepted, _ = self.socket.accept()
        except BlockingIOError:
            return False
        far = self.loop.add(accepted, self.tls)
        if self.mute:
            far.stall()
        self.accepted.append(far)
        return True


class Recorder:
    """A transport's peer that writes down what it is told, in `events`; bytes also whole in `received`.

    `on` says what to do about an event besides: `peer.on["data"] = lambda: transport.close("enough")`.
    """

    def __init__(self) -> None:
        self.events: list[str] = []
        self.on: dict[str, Callable[[], object]] = {}
        self.chunks: list[bytes] = []
        #: What `connection_lost` was told.
        self.reason: str | None = None

    @property
    def received(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def lost(self) -> str | None:
        """The reason that `connection_lost` gave, None before it."""
        last = self.events[-1] if self.events else ""
        return last.removeprefix("lost: ") if last.startswith("lost: ") else None

    def data_received(self, data: bytes) -> None:
        self.chunks.append(data)
        self._note("data")

    def eof_received(self) -> None:
        self._note("eof")

    def pause_writing(self) -> None:
        self._note("pause")

    def resume_writing(self) -> None:
        self._note("resume")

    def connection_lost(self, reason: str) -> None:
        self.reason = reason
        self._note(f"lost: {reason}")

    def _note(self, event: str) -> None:
        """Data that follows data is one event: how the kernel cuts is nobody's promise."""
        if event != "data" or self.events[-1:] != ["data"]:
            self.events.append(event)
        action = self.on.get(event.partition(":")[0])
        if action is not None:
            action()


def scratch(test: SynchronousTestCase) -> Path:
    """A folder for the test's files, gone with it. (Trial's `mktemp` would leave them beside the sources.)"""
    folder = Path(tempfile.mkdtemp(prefix="reusedproxy-test-"))
    test.addCleanup(shutil.rmtree, folder, ignore_errors=True)
    return folder


@define
class Certificates:
    """Made once for all tests: an authority, what it issued, and files of it in `folder`."""

    folder: Path
    authority: Authority
    stranger: Authority
    server: Credential
    client: Credential

    def file(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    @property
    def ca_file(self) -> str:
        return self.file("ca.pem", self.authority.certificate_pem)

    @property
    def crt(self) -> str:
        """The client's certificate and key."""
        return self.file("client.pem", self.client.pem)


@cache
def certificates() -> Certificates:
    """The server's certificate is for server.test, localhost, 127.0.0.1 and ::1."""
    folder = Path(tempfile.mkdtemp(prefix="reusedproxy-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    authority = Authority("test CA")
    hosts = ["server.test", "localhost", "127.0.0.1", "::1"]
    return Certificates(
        folder=folder,
        authority=authority,
        stranger=Authority("unknown CA"),
        server=authority.issue("server", hosts=hosts, key="ecdsa"),
        client=authority.issue("client", client=True, key="ecdsa"),
    )


def server_context(
    credential: Credential | None = None,
    *,
    trusts: Authority | None = None,
    client_certificate: bool = True,
    version: int | None = None,
) -> SSL.Context:
    """The TLS of a test's server, which demands a client certificate of `trusts` unless told not to.

    `version` (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION) is the only one spoken.
    """
    ours = certificates()
    credential = credential or ours.server
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(credential.certificate)
    context.use_privatekey(credential.key)
    for intermediate in credential.chain:
        context.add_extra_chain_cert(intermediate)
    if client_certificate:
        store = context.get_cert_store()
        assert store is not None
        store.add_cert(crypto.X509.from_cryptography((trusts or ours.authority).credential.certificate))
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *seen: bool(seen[-1]))
    context.set_session_id(b"reusedproxy tests")
    if version is not None:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    return context


def _tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return near, far
