"""A manhole in memory, with its files in a directory of the test's, and SSH clients of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh.channel import SSHChannel
from twisted.conch.ssh.connection import SSHConnection
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.transport import SSHClientTransport
from twisted.conch.ssh.userauth import SSHUserAuthClient
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.test.iosim import FakeTransport, IOPump, connect
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config import model
from reusedproxy.operators.shell.keys import ManholeError
from reusedproxy.operators.shell.manhole import Manhole
from reusedproxy.operators.shell.ssh import ADMITTED

PLACE = model.Place("proxy.cfg", 3)


def new_key() -> Key:
    return Key(Ed25519PrivateKey.generate())


class FilesTestCase(SynchronousTestCase):
    """A file of one key, and the path of a host key, as a manhole is told them."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="reusedproxy-")
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.keys = self.directory / "authorized_keys"
        self.host_key = self.directory / "host_key"
        self.key = new_key()
        self.authorize(self.key)

    def authorize(self, *keys: Key) -> None:
        self.write(self.keys, b"".join(key.public().toString("openssh") + b" somebody\n" for key in keys))

    def write(self, path: Path, content: bytes, mode: int = 0o600) -> None:
        path.write_bytes(content)
        path.chmod(mode)

    def settings(self) -> model.Manhole:
        address = model.ListenAddress("unix", path=str(self.directory / "socket"))
        return model.Manhole(PLACE, address, str(self.keys), str(self.host_key))

    def manhole(self) -> Manhole:
        return Manhole(self.settings(), SimpleNamespace(proxy=None), Clock(), mock.Mock(), lambda level, text: None)

    def faults(self) -> list[str]:
        return list(self.assertRaises(ManholeError, self.manhole).texts)


class Client(SSHClientTransport):
    """Somebody who connects, and does `then` once the keys are exchanged."""

    def __init__(self, then: Callable[[Client], object]) -> None:
        self.then = then
        self.lost = False

    def verifyHostKey(self, hostKey: bytes, fingerprint: str) -> Deferred[bool]:
        return succeed(True)

    def connectionSecure(self) -> None:
        self.then(self)

    def connectionLost(self, reason: object = None) -> None:
        self.lost = True


class KeyHolder(SSHUserAuthClient):
    """Logs in, or tries to."""

    def __init__(self, *keys: Key) -> None:
        SSHUserAuthClient.__init__(self, b"me", SSHConnection())
        self.keys = list(keys)

    def getPublicKey(self) -> Key | None:
        if not self.keys:
            return None
        self.key = self.keys.pop(0)
        public: Key = self.key.public()
        return public

    def getPrivateKey(self) -> Deferred[Key]:
        return succeed(self.key)


class SessionChannel(SSHChannel):
    """A channel of a client's, in which nothing is asked for."""

    name = b"session"


class ConnectionTestCase(FilesTestCase):
    """A manhole without a listener, and clients of it in memory."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.said: list[str] = []
        service = SimpleNamespace(proxy=None)
        manhole = Manhole(
            self.settings(),
            service,
            self.clock,
            mock.Mock(),
            lambda level, text: self.said.append(text),
            random=Random(1),
        )
        self.factory = manhole._factory
        self.factory.use(new_key())
        self.factory.doStart()  # type: ignore[no-untyped-call]
        self.manhole_ = manhole
        self.stop = manhole.stop

    def connect(self) -> tuple[Any, StringTransport]:
        """Somebody whose side the test plays."""
        connection, transport = self.factory.buildProtocol(None), StringTransport(peerAddress=UNIXAddress(None))
        connection.makeConnection(transport)
        return connection, transport

    def client(self, then: Callable[[Client], object] = lambda client: None) -> tuple[Any, Client, IOPump]:
        connection, client = self.factory.buildProtocol(None), Client(then)
        pump = connect(
            connection,
            FakeTransport(connection, True, peerAddress=UNIXAddress(None)),
            client,
            FakeTransport(client, False),
        )
        pump.flush()
        return connection, client, pump

    def session(self) -> tuple[Any, Client, IOPump]:
        """Somebody inside."""
        found = self.client(lambda client: client.requestService(KeyHolder(self.key)))
        self.assertEqual(found[0].state, ADMITTED, self.said)
        return found

    def open_channel(self, session: tuple[Any, Client, IOPump]) -> tuple[Any, Client, IOPump]:
        _, client, pump = session
        service: Any = client.service
        service.openChannel(SessionChannel())
        pump.flush()
        return session

    def close_channel(self, session: tuple[Any, Client, IOPump]) -> None:
        _, client, pump = session
        service: Any = client.service
        for channel in list(service.channels.values()):
            channel.loseConnection()
        pump.flush()
