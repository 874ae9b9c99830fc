"""The manhole where something that it relies on fails: whatever raises, nobody comes in or stays by it."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any
from unittest import mock

from twisted.conch.ssh.common import NS
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.transport import SSHServerTransport
from twisted.cred.portal import Portal
from twisted.python.failure import Failure
from twisted.test.iosim import IOPump

from reusedproxy.operators.shell import key_checker, keys, ssh
from reusedproxy.operators.shell.key_checker import RESTED, KeyChecker
from reusedproxy.operators.shell.keys import KeyFile
from reusedproxy.operators.shell.ssh import ADMITTED, ENDED, LOOK_EVERY, ManholeFactory
from tests.manholes import Client, ConnectionTestCase, KeyHolder, SessionChannel, new_key

#: Whatever reads or parses, or is called on the way to a decision.
RELIED_ON: tuple[tuple[Any, str], ...] = (
    (keys, "open"),
    (keys, "b64decode"),
    (keys, "b64encode"),
    (keys, "getNS"),
    (keys, "_parsed"),
    (keys, "_key_in"),
    (keys, "_check_directories"),
    (os, "geteuid"),
    (os, "fstat"),
    (os, "lstat"),
    (os, "stat"),
    (Key, "fromString"),
    (Key, "blob"),
    (Key, "type"),
    (Key, "verify"),
    (KeyFile, "keys"),
    (KeyChecker, "known"),
    (KeyChecker, "has_changed"),
    (KeyChecker, "requestAvatarId"),
    (key_checker, "getNS"),
    (Portal, "login"),
    (ManholeFactory, "watch_keys"),
    (ssh, "fingerprint"),
    (ssh, "shown"),
    (ssh, "getNS"),
)
#: What need not end a session that may stay: it serves the login alone, or tells somebody of it; or tells whether the
#: file has changed, which is read where that is not known.
SPARED = {"fingerprint", "shown", "verify", "login", "requestAvatarId", "watch_keys", "stat", "has_changed"}
EXCEPTIONS = (
    OSError(5, "Input/output error"),
    NotImplementedError("that kind of key"),
    MemoryError(),
    RecursionError(),
    struct.error("unpack"),
    KeyError(b"key"),
)


class RefusalTests(ConnectionTestCase):
    def fails(self, owner: Any, name: str, error: Exception) -> tuple[Any, list[str]]:
        """A context in which `name` of `owner` raises, and its name as often as it has."""
        real: Any = getattr(owner, name, open)

        def raises(*args: object, **options: object) -> object:
            if owner is os and not self.is_ours(args):
                return real(*args, **options)
            called.append(name)
            raise error

        called: list[str] = []
        context = mock.patch.object(owner, name, raises, create=name == "open")
        return context, called

    def is_ours(self, args: tuple[object, ...]) -> bool:
        """Tells whether a call of the system is one for the file of keys, and not for a traceback."""
        return not args or isinstance(args[0], int) or str(self.keys).startswith(str(args[0]))

    def as_in_the_reactor(self, connection: Any) -> None:
        """Has an exception end the connection, as the reactor does."""
        receive = connection.dataReceived

        def received(data: bytes) -> None:
            try:
                receive(data)
            except Exception:
                connection.connectionLost(Failure())

        connection.dataReceived = received

    def wait(self) -> None:
        """Lets the time pass until the file is looked at; the reactor would log an exception."""
        with contextlib.suppress(Exception):
            self.clock.advance(LOOK_EVERY)

    def inside(self) -> tuple[Any, Client, IOPump, Any, list[bytes]]:
        """A session with an open channel, which may stay; its file has changed since, and has come to rest."""
        self.authorize(self.key)
        connection, client, pump = self.session()
        self.as_in_the_reactor(connection)
        service: Any = client.service
        channel = SessionChannel()
        service.openChannel(channel)
        pump.flush()
        (theirs,) = connection.service.channels.values()
        typed: list[bytes] = []
        theirs.dataReceived = typed.append
        theirs.requestReceived = lambda kind, data: typed.append(kind)
        theirs.eofReceived = lambda: typed.append(b"end")
        self.authorize(self.key, new_key())
        self.factory.look_at_keys()
        self.clock.advance(RESTED)
        return connection, client, pump, channel, typed

    def ways(self) -> Iterator[tuple[str, Callable[[Any, Any, IOPump], None]]]:
        """What makes the manhole judge a session again."""

        def sends(does: Callable[[Any, Any], object]) -> Callable[[Any, Any, IOPump], None]:
            def way(service: Any, channel: Any, pump: IOPump) -> None:
                does(service, channel)
                pump.flush()

            return way

        yield "a channel is opened", sends(lambda service, channel: service.openChannel(SessionChannel()))
        yield "a command is sent", sends(lambda service, channel: service.sendRequest(channel, b"exec", NS(b"1")))
        yield "something is typed", sends(lambda service, channel: channel.write(b"1"))
        yield "a script ends", sends(lambda service, channel: service.sendEOF(channel))
        yield "it is time", lambda service, channel, pump: self.wait()
        yield "a reload", lambda service, channel, pump: self.manhole_.look_again()

    def test_nobody_comes_in(self) -> None:
        errors, raised = cycle(EXCEPTIONS), set()
        for owner, name in RELIED_ON:
            self.authorize(self.key, new_key())  # another content than before
            connection, client, pump = self.client()
            self.as_in_the_reactor(connection)
            context, called = self.fails(owner, name, error := next(errors))
            with context:
                client.requestService(KeyHolder(self.key))
                pump.flush()
            if called:
                raised.add(name)
                self.assertNotEqual(connection.state, ADMITTED, (name, error))
                self.assertIsNone(getattr(connection, "avatar", None), (name, error))
            connection.abort("the test is over")
            self.flushLoggedErrors()
        # A login does not ask whether the file has changed.
        self.assertEqual({name for _, name in RELIED_ON} - raised, {"has_changed", "stat"})

    def test_nobody_stays(self) -> None:
        errors, raised = cycle(EXCEPTIONS), set()
        for owner, name in RELIED_ON:
            for what, way in self.ways():
                connection, client, pump, channel, typed = self.inside()
                context, called = self.fails(owner, name, error := next(errors))
                with context:
                    way(client.service, channel, pump)
                if called and name not in SPARED:
                    raised.add(name)
                    self.assertEqual((connection.state, typed), (ENDED, []), (name, what, error))
                connection.abort("the test is over")
                self.flushLoggedErrors()
        self.assertEqual({name for _, name in RELIED_ON} - raised, SPARED)

    def test_a_key_that_is_withdrawn_ends_all_of_its_sessions_though_nobody_can_be_told(self) -> None:

        def cannot_tell(level: str, text: str) -> None:
            if "ends the session" in text:
                raise OSError(28, "No space left on device")

        for what, way in self.ways():
            sessions = [self.inside() for _ in range(3)]
            self.authorize(new_key())
            self.factory.look_at_keys()
            self.clock.advance(RESTED)
            with (
                mock.patch.object(SSHServerTransport, "sendDisconnect", side_effect=OSError(32, "Broken pipe")),
                mock.patch.object(self.factory, "announce", cannot_tell),
            ):
                way(sessions[0][1].service, sessions[0][3], sessions[0][2])
            self.assertEqual(sessions[0][0].state, ENDED, what)
            self.clock.advance(LOOK_EVERY)
            for connection, *_, typed in sessions:
                self.assertEqual((connection.state, typed), (ENDED, []), what)
            self.flushLoggedErrors()
