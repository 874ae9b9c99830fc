"""Serves the manhole: Python inside the running daemon, over SSH, for holders of an authorized key.

Listens where the configuration says (loopback or a unix socket, nowhere else), accepts public keys and no other
authentication, and gives each holder full access: a session can read and change everything in the daemon. There is no
sandbox, and nothing else runs while a line of a session does: an endless loop typed here stops the whole proxy.

    ssh -p 2222 manhole@127.0.0.1               a prompt
    ssh -p 2222 manhole@127.0.0.1 'pools()'     one command, its output and an exit status; or a script on its input

This module listens. `ssh` speaks the protocol, `key_checker` decides who may log in, `keys` reads the files, `session`
runs what is typed. Imported only when a manhole is configured, because Twisted's SSH needs packages that nothing else
does.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from ipaddress import ip_address
from random import Random, SystemRandom
from typing import Any, Protocol

from reusedproxy.config import model
from reusedproxy.net.binding import Given, ListenError, bind_socket, demand_bindable, given_socket
from reusedproxy.net.deadlines import Deadlines
from reusedproxy.net.listener import Listener
from reusedproxy.net.poller import Poller
from reusedproxy.operators.runtime.proxy import Service
from reusedproxy.operators.shell.keys import KeyFile, ManholeError, host_key, make_host_key
from reusedproxy.operators.shell.ssh import Announce, ManholeFactory

#: Connections that may wait in the kernel. Without room there, TCP retries after a second, and then at longer
#: intervals.
BACKLOG = 128


class Account(Protocol):
    """The user that the daemon becomes."""

    @property
    def uid(self) -> int: ...

    def acting(self) -> AbstractContextManager[None]:
        """Opens files as this user within the context. Raises OSError."""


class Manhole:
    """The running form of one `manhole` line. `state` is "new", "bound", "open" (accepts logins) or "closed"."""

    #: Never full: a further connection is accepted, or closed at once; none is left waiting.
    full = False

    def __init__(
        self,
        settings: model.Manhole,
        service: Service,
        reactor: Any,
        poller: Poller,
        announce: Announce,
        account: Account | None = None,
        random: Random | None = None,
    ) -> None:
        """Checks the files. `account` is the one that the daemon will have (`twistd --uid`); None: its present one.
        `random` None is the system's.

        Raises ManholeError.
        """
        self.state = "new"
        self.settings = settings
        self._reactor = reactor
        self._poller = poller
        self._deadlines = Deadlines(reactor)
        self._announce = announce
        self._user = os.geteuid() if account is None else account.uid
        # Root could be led by links of that user's to a file of anybody's.
        self._acting = nullcontext if account is None else account.acting
        self._factory = ManholeFactory(settings, service, reactor, announce, random or SystemRandom())
        self._listener: Listener | None = None
        faults: list[str] = []
        looks: tuple[Callable[[], object], ...] = (
            lambda: self._factory.checker.file.keys(self._user),
            lambda: host_key(settings.host_key, self._user),
        )
        for look in looks:
            try:
                with self._acting():
                    look()
            except ManholeError as error:
                faults += error.texts
        # Only its owner may connect to a unix socket; on a port, the keys alone decide.
        self._bind = model.Bind(settings.place, settings.address, mode=0o600)
        try:
            demand_bindable(self._bind)
        except OSError as error:
            faults.append(f"manhole: cannot listen on {settings.address}: {error.strerror}")
        if faults:
            raise ManholeError(*faults)

    @property
    def listener(self) -> Listener | None:
        return self._listener

    def bind(self, given: Given | None = None) -> None:
        """Listens without accepting connections yet, at a socket that is `given` if there is one; creates the host key
        if there is none. Raises ManholeError."""
        path = self.settings.host_key
        with self._acting():
            key = host_key(path, self._user)
        self._factory.use(key or make_host_key(path, self._user))
        try:
            bound = given_socket(given, self._bind, BACKLOG) or bind_socket(self._bind, BACKLOG)
        except ListenError as error:
            raise ManholeError(f"manhole: {error}") from None
        if bound.family != socket.AF_UNIX and not ip_address(bound.getsockname()[0]).is_loopback:
            bound.close()
            raise ManholeError(
                f"manhole: {self.settings.address} is not a loopback address, and others must not reach it"
            )
        # Not Twisted's listener: it would open a unix socket to everybody when it takes it over, and would unlink it in
        # the next turn of an event loop that has none left when the daemon stops.
        self._listener = Listener(
            self._poller, self._deadlines, self._bind, bound, lambda text: self._announce("alert", text)
        )
        if bound.family != socket.AF_UNIX:
            # A client whose machine is gone would have its place for ever.
            self._listener.keep_alive(True)
        self.state = "bound"

    def start(self) -> None:
        """Accepts connections."""
        listener = self._listener
        assert listener is not None
        name = listener.socket.getsockname()
        where = f"port {name[1]} of {name[0]}" if isinstance(name, tuple) else listener.bind.address.path or name
        self._factory.doStart()
        listener.listen(self)
        self.state = "open"
        self._announce("notice", f"Manhole listens on {where}, its host key is {self._factory.fingerprint}")

    def connection_made(self, accepted: socket.socket, address: object, listener: Listener) -> None:
        """Hands an accepted connection to Twisted; the listener calls it."""
        listener.connections -= 1
        try:
            self._reactor.adoptStreamConnection(accepted.fileno(), accepted.family, self._factory)
        except OSError:
            pass  # the client has gone already
        finally:
            accepted.close()  # the reactor has duplicated the descriptor

    def faults_of_keys(self, path: str) -> tuple[str, ...]:
        """Returns why this file of authorized keys cannot take the place of the present one; none if it is that."""
        if path == self._factory.checker.file.path:
            return ()
        try:
            KeyFile(path).keys(os.geteuid())
        except ManholeError as error:
            return error.texts
        return ()

    def take_keys(self, path: str) -> None:
        """Lets in the keys of this file from now on, and ends the connections whose key is not there."""
        if path != self._factory.checker.file.path:
            self._factory.checker.take(path)
            self._announce("notice", f"Manhole lets in the keys of {path} from now on")
            self.look_again()

    def look_again(self) -> None:
        """Ends the connections whose key is not among the authorized ones any more; a reload calls it."""
        self._factory.judge()

    def stop(self) -> None:
        """Stops accepting, and ends all sessions. Nothing has to wait for it."""
        was, self.state = self.state, "closed"
        if self._listener is not None:
            self._listener.close()
            self._deadlines.stop()
        if was == "open":
            self._factory.doStop()
        for connection in list(self._factory.connections):
            connection.stop()
