"""Speaks SSH with the clients of the manhole: what one may send before its login, the login, and its channels.

Twisted's conch does the protocol. It trusts clients, and bounds little; what is added here bounds what anybody may send
who reaches the address, and reports to the operator who comes, is refused or goes. Who may log in is decided by
`key_checker`; what a session does is the task of `session`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from twisted.conch.avatar import ConchUser
from twisted.conch.error import IgnoreAuthentication
from twisted.conch.interfaces import IConchUser, ISession
from twisted.conch.ssh.common import NS, getNS
from twisted.conch.ssh.connection import (
    MSG_CHANNEL_OPEN_FAILURE,
    OPEN_ADMINISTRATIVELY_PROHIBITED,
    OPEN_UNKNOWN_CHANNEL_TYPE,
    SSHConnection,
)
from twisted.conch.ssh.factory import SSHFactory
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.transport import DISCONNECT_BY_APPLICATION, MSG_SERVICE_REQUEST, SSHServerTransport
from twisted.conch.ssh.userauth import SSHUserAuthServer
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import fail
from twisted.python.failure import Failure
from zope.interface import implementer

from reusedproxy.config import model
from reusedproxy.measures.log_throttle import LogThrottle
from reusedproxy.operators.runtime.proxy import Service
from reusedproxy.operators.shell import conch_logs
from reusedproxy.operators.shell.commands import namespace
from reusedproxy.operators.shell.key_checker import KeyChecker, shown
from reusedproxy.operators.shell.keys import SIGNATURES, fingerprint
from reusedproxy.operators.shell.session import Channel, Session

Announce = Callable[[str, str], None]

#: Connections at once. A further one replaces one that has not logged in, by chance, so that the holder of a key has
#: his in a flood (as with the random early drop of sshd's MaxStartups); else the one that has been without a channel
#: for longest, at least UNUSED seconds (`ssh -N`, a ControlMaster); else it is refused.
CONNECTIONS = 16
UNUSED = 60.0
#: The smallest "maximum packet size" of a channel (RFC 4254 section 5.1): each packet is encrypted by itself. Clients
#: have 16384 or more.
LEAST_PACKET = 256
#: Seconds to log in. conch allows ten hours, counted only from the end of the key exchange.
LOGIN_TIMEOUT = 60.0
#: Seconds that the client of a connection which is to end has to take what is left for it.
LAST_WORDS = 5.0
#: Seconds between two looks at the file of keys while somebody is logged in.
LOOK_EVERY = 5.0
#: Keys that one connection may offer. An agent with many keys needs several; OpenSSH's server takes 6.
ATTEMPTS = 6
#: Most messages of a connection before its login; OpenSSH sends 5, and 1 or 2 for each key.
MESSAGES = 50
#: Most bytes of such a message: everybody must accept as many (RFC 4253, section 6.1); conch accepts a megabyte.
LONGEST_MESSAGE = 35000
#: Messages that occur once in a login: SSH_MSG_SERVICE_REQUEST, and all of the key exchange (RFC 4250, section 4.1.2).
#: conch would exchange keys as often as it is asked to, and count offered keys anew after each request for the service.
ONCE = frozenset((5, *range(20, 50)))
#: Those among them that a client may have sent after a wrong guess, to be ignored (RFC 4253, section 7).
GUESSED = range(30, 50)
#: What is offered, in this order, of what conch has: what OpenSSH's server offers since 9.0 without being told, and no
#: SHA-1. conch offers 3DES, CBC, MD5 and SHA-1, too, to whoever asks for them first.
CIPHERS = (b"aes128-ctr", b"aes192-ctr", b"aes256-ctr")
MACS = (b"hmac-sha2-256", b"hmac-sha2-512")
KEY_EXCHANGES = (
    b"mlkem768x25519-sha256",
    b"curve25519-sha256",
    b"curve25519-sha256@libssh.org",
    b"ecdh-sha2-nistp256",
    b"ecdh-sha2-nistp384",
    b"ecdh-sha2-nistp521",
)
#: Requests of a channel that start something (RFC 4254, section 6.5).
STARTING = (b"shell", b"exec", b"subsystem")
#: The first message number beyond transport and key exchange.
BEYOND_TRANSPORT = 50


def _offered(wanted: Sequence[bytes], there_are: Sequence[bytes]) -> list[bytes]:
    return [each for each in wanted if each in there_are]


# The states of a connection.
NEW = "new"
ADMITTED = "admitted"
ENDED = "ended"


class _Login(SSHUserAuthServer):
    """conch's login, with its result reported to the operator."""

    _log = conch_logs.NOTHING
    attemptsBeforeDisconnect = ATTEMPTS
    transport: Any
    user: bytes

    def auth_publickey(self, packet: bytes) -> Any:
        blob = getNS(packet[1:], 2)[1]
        try:
            # conch would read the key before it asks our checker.
            self.transport.factory.checker.known(blob)
        except UnauthorizedLogin:
            return fail(self._refused(Failure(), blob))
        return SSHUserAuthServer.auth_publickey(self, packet).addCallbacks(
            self._admitted, self._refused, callbackArgs=(blob,), errbackArgs=(blob,)
        )

    def _admitted(self, result: Any, blob: bytes) -> Any:
        self.transport.factory.announce("notice", self._told("admitted", blob))
        self.transport.admitted(self._who, blob)
        return result

    def _refused(self, failure: Failure, blob: bytes) -> Failure:
        if not failure.check(IgnoreAuthentication):  # conch's exception for a key that has yet to be signed with
            why = failure.getErrorMessage() if failure.check(UnauthorizedLogin) else type(failure.value).__name__
            text = f"{self._told('refused', blob)}: {shown(why)}"
            self.transport.factory.refusals.tell(fingerprint(blob), text, "keys refused")
        return failure

    @property
    def _who(self) -> str:
        return f"user {shown(self.user)!r} from {self.transport.peer}"

    def _told(self, verdict: str, blob: bytes) -> str:
        return f"Manhole {verdict} {self._who} with key {fingerprint(blob)}"


class _Connection(SSHServerTransport):
    """Serves one connection; `state` is NEW (not logged in), ADMITTED, or ENDED (it may still have data to send).

    As long as it is NEW, everything that it may send is limited, since anybody who reaches the address may send it. Any
    error then is the client's fault, and logged in one line at most.
    """

    _log = conch_logs.NOTHING
    #: A compressed message of 1 KB may expand to a megabyte, even before a login.
    supportedCompressions = [b"none"]
    supportedCiphers = _offered(CIPHERS, SSHServerTransport.supportedCiphers)
    supportedMACs = _offered(MACS, SSHServerTransport.supportedMACs)
    supportedKeyExchanges = _offered(KEY_EXCHANGES, SSHServerTransport.supportedKeyExchanges)
    factory: ManholeFactory
    transport: Any

    def connectionMade(self) -> None:
        factory = self.factory
        self.state = NEW
        #: The user that has logged in, and the key.
        self._who = ""
        self._key = b""
        #: The time since when it has been without a channel.
        self.unused_since = 0.0
        self._messages = 0
        self._sent_once: set[int] = set()
        factory.connections[self] = None
        address = self.transport.getPeer()
        self.peer = f"{address.host}:{address.port}" if hasattr(address, "port") else "a unix socket"
        late = f"it did not log in within {LOGIN_TIMEOUT:g} s"
        self._deadline = factory.reactor.callLater(LOGIN_TIMEOUT, self.abort, late)
        SSHServerTransport.connectionMade(self)

    def dataReceived(self, data: bytes) -> None:
        if self.state == ENDED:
            return
        try:
            SSHServerTransport.dataReceived(self, data)
        except Exception as error:
            if self.state == ADMITTED:
                raise
            # conch trusts its input, and raises one exception or another for invalid data.
            self.abort("it sent what is no SSH", f" ({type(error).__name__})")
        if self.state == NEW and len(self.buf) > LONGEST_MESSAGE:
            self.abort("it sent a message that is too long")

    def getPacket(self) -> Any:
        return None if self.state == ENDED else SSHServerTransport.getPacket(self)

    def dispatchMessage(self, messageNum: int, payload: bytes) -> None:
        fault = self._fault(messageNum) if self.state == NEW else ""
        if fault:
            self.abort(fault)
        else:
            SSHServerTransport.dispatchMessage(self, messageNum, payload)

    def _fault(self, number: int) -> str:
        """Returns the fault of a message with this number before the login, "" if it is allowed."""
        self._messages += 1
        if self._messages > MESSAGES:
            return "it sent too many messages"
        if number in ONCE and not (number in GUESSED and self.ignoreNextPacket):
            if number in self._sent_once:
                return "it sent a message twice that a login has once"
            self._sent_once.add(number)
        if not self.isEncrypted("in") and (number >= BEYOND_TRANSPORT or number == MSG_SERVICE_REQUEST):
            return "it asked for a login before keys were exchanged"
        return ""

    def sendExtInfo(self, extensions: Sequence[tuple[bytes, bytes]]) -> None:
        """Names the algorithms by which clients may sign (RFC 8308, section 3.1).

        conch names those of the host key alone, whereupon OpenSSH does not even offer an RSA key.
        """
        known = [(name, b",".join(SIGNATURES) if name == b"server-sig-algs" else value) for name, value in extensions]
        SSHServerTransport.sendExtInfo(self, known)

    def sendDisconnect(self, reason: int, desc: bytes) -> None:
        """Ends the connection with a message to the client; conch calls it for most faults."""
        self._end(f"SSH's reason {reason}", f": {shown(desc)}")
        SSHServerTransport.sendDisconnect(self, reason, desc)

    def abort(self, why: str, detail: str = "") -> None:
        """Closes the connection at once, without sending pending data."""
        self._end(why, detail)
        self.factory.connections.pop(self, None)
        self.transport.abortConnection()

    def stop(self) -> None:
        """Ends the connection because the manhole is closed, which is no fault of the client."""
        if self.state == ADMITTED:
            self.sendDisconnect(DISCONNECT_BY_APPLICATION, b"reusedproxy stops")
        else:
            self.state = ENDED
            self.transport.abortConnection()

    def _end(self, why: str, detail: str) -> None:
        was, self.state = self.state, ENDED
        if not self._deadline.active():
            # What is still to be sent may wait for a client that reads nothing.
            self._deadline = self.factory.reactor.callLater(LAST_WORDS, self.transport.abortConnection)
        if was == NEW:
            text = f"Manhole closed the connection from {self.peer} before its login: {why}{detail}"
            self.factory.faults.tell(why, text, "connections closed")

    def receiveError(self, reasonCode: int, description: bytes) -> None:
        """Logs a disconnect with an error. Every ssh ends with DISCONNECT_BY_APPLICATION, which conch would call an
        error."""
        if self.state == ADMITTED and reasonCode != DISCONNECT_BY_APPLICATION:
            said = f"SSH's reason {reasonCode}: {shown(description)}"
            self.factory.announce("notice", f"Manhole was left by {self._who} for {said}")

    @property
    def orderer(self) -> str:
        """Returns how the log is told who gives an order."""
        return f"{self._who} with key {fingerprint(self._key)}"

    def admitted(self, who: str, key: bytes) -> None:
        """Ends the time limit for the login."""
        self.factory.watch_keys()
        self._who = who
        self._key = key
        self.unused_since = self.factory.reactor.seconds()
        if self._deadline.active():
            self._deadline.cancel()
        self.state = ADMITTED  # last: should one of these raise, the login is refused

    def look_again(self) -> None:
        """Ends the connection if it has logged in with a key that has been taken out of the file since. Never raises:
        a key that nothing is known of, for whatever reason, keeps nobody inside."""
        if self.state != ADMITTED:
            return
        try:
            self.factory.checker.known(self._key)
        except Exception as refusal:
            self._expel(refusal)

    def _expel(self, refusal: Exception) -> None:
        """Ends the session before anything else, which may fail: then the client or the log is told less."""
        self.state = ENDED
        try:
            text = f"Manhole ends the session of {self.orderer}: {shown(str(refusal))}"
            self.sendDisconnect(DISCONNECT_BY_APPLICATION, b"this key is not authorized any more")
            self.factory.announce("notice", text)
        except Exception:
            self.transport.abortConnection()
            conch_logs.WARNINGS.failure("a session of the manhole was ended without a word")

    def is_unused(self, now: float) -> bool:
        """Tells whether it has logged in, and has been without a channel for so long that it has to give its place."""
        return (
            self.state == ADMITTED and not getattr(self.service, "channels", None) and now >= self.unused_since + UNUSED
        )

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.factory.connections.pop(self, None)
        self.state = ENDED
        if self._deadline.active():
            self._deadline.cancel()
        SSHServerTransport.connectionLost(self, reason)
        # They refer back to it: a connection that a reload has met would never be freed.
        self.service = None
        if hasattr(self, "avatar"):
            del self.avatar, self.logoutFunction
        if self._who:
            self.factory.announce("notice", f"Manhole has ended the session of {self._who}")


class _Channels(SSHConnection):
    """The channels of a connection after the login."""

    _log = conch_logs.WARNINGS
    transport: Any

    def ssh_CHANNEL_OPEN(self, packet: bytes) -> None:
        """Opens a channel for a session; no other kind, such as a forwarded port, and none when the key has been
        withdrawn since the login: a connection may last for months."""
        if not self._is_authorized():
            return
        kind, rest = getNS(packet)
        if kind != b"session":  # Conch would refuse it, too, with a traceback in the log
            self._refuse_channel(rest, OPEN_UNKNOWN_CHANNEL_TYPE, b"only sessions are opened here")
        elif int.from_bytes(rest[8:12], "big") < LEAST_PACKET:  # at 0, conch would loop for ever
            why = b"a channel takes packets of at least %d bytes here" % LEAST_PACKET
            self._refuse_channel(rest, OPEN_ADMINISTRATIVELY_PROHIBITED, why)
        else:
            SSHConnection.ssh_CHANNEL_OPEN(self, packet)

    def _refuse_channel(self, rest: bytes, code: int, why: bytes) -> None:
        """Refuses a channel; `rest` begins with the client's number of it (RFC 4254 section 5.1)."""
        self.transport.sendPacket(MSG_CHANNEL_OPEN_FAILURE, rest[:4] + struct.pack(">L", code) + NS(why) + NS(b""))

    def ssh_CHANNEL_REQUEST(self, packet: bytes) -> Any:
        """Starts something in a channel, which may have been open for months, too, unless the key is withdrawn."""
        if getNS(packet[4:])[0] not in STARTING or self._is_authorized():
            return SSHConnection.ssh_CHANNEL_REQUEST(self, packet)
        return None

    def ssh_CHANNEL_DATA(self, packet: bytes) -> None:
        """Passes on what is typed, unless the key is withdrawn. The file is looked at for each key that is pressed, and
        read when it has changed."""
        self.transport.factory.look_at_keys()
        if self.transport.state == ADMITTED:
            SSHConnection.ssh_CHANNEL_DATA(self, packet)

    def ssh_CHANNEL_EOF(self, packet: bytes) -> None:
        """Runs a script whose input is complete, unless the key is withdrawn."""
        if self._is_authorized():
            SSHConnection.ssh_CHANNEL_EOF(self, packet)

    def _is_authorized(self) -> bool:
        self.transport.look_again()
        return bool(self.transport.state == ADMITTED)

    def channelClosed(self, channel: Any) -> None:
        SSHConnection.channelClosed(self, channel)
        self.transport.unused_since = self.transport.factory.reactor.seconds()


class ManholeFactory(SSHFactory):
    """State that all connections share."""

    noisy = False
    _log = conch_logs.NOTHING
    protocol = _Connection
    services = {b"ssh-userauth": _Login, b"ssh-connection": _Channels}

    def __init__(
        self, settings: model.Manhole, service: Service, reactor: Any, announce: Announce, random: Random
    ) -> None:
        self.reactor = reactor
        self._random = random
        self.announce = announce
        #: Connections, the oldest first.
        self.connections: dict[_Connection, None] = {}
        self.faults = LogThrottle(reactor.seconds, lambda text: announce("warning", text))
        self.refusals = LogThrottle(reactor.seconds, lambda text: announce("warning", text))
        self.fingerprint = ""
        self.checker = KeyChecker(settings.authorized_keys, reactor.seconds)
        self._look: Any = None
        # This list is exhaustive: there is no checker for passwords.
        self.portal = Portal(_Realm(service, reactor), [self.checker])

    def watch_keys(self) -> None:
        """Begins to look at the file of keys, for as long as somebody is logged in."""
        if self._look is None:
            self._look = self.reactor.callLater(LOOK_EVERY, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        try:
            self.look_at_keys()
        finally:
            if any(each.state == ADMITTED for each in self.connections):
                self.watch_keys()

    def look_at_keys(self) -> None:
        """Ends the connections whose key the file does not list any more, if it has changed, or if that cannot be
        found out."""
        try:
            if not self.checker.has_changed():
                return
        except Exception:
            conch_logs.WARNINGS.failure("the manhole cannot see whether its file of keys has changed")
        self.judge()
        self.checker.judged()

    def judge(self) -> None:
        """Ends the connections whose key the file does not list any more."""
        for each in list(self.connections):
            each.look_again()

    def stopFactory(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None
        SSHFactory.stopFactory(self)

    def use(self, key: Key) -> None:
        """Sets the host key."""
        public = key.public()
        self.privateKeys = {key.sshType(): key}
        self.publicKeys = {key.sshType(): public}
        self.fingerprint = fingerprint(public.blob())

    def buildProtocol(self, addr: Any) -> Any:
        if len(self.connections) >= CONNECTIONS:
            gives_way = self._stranger() or self._unused()
            if gives_way is None:
                text = f"Manhole has {CONNECTIONS} sessions already and refused another connection"
                self.faults.tell("full", text, "connections closed")
                return None
            gives_way.abort("there were too many, and another one came")
        built: Any = SSHFactory.buildProtocol(self, addr)
        # Of the host key's ways to sign those that clients' keys may be used with.
        built.supportedPublicKeys = _offered(built.supportedPublicKeys, SIGNATURES)
        return built

    def _stranger(self) -> _Connection | None:
        """Returns one that has not logged in: any of the older half of those that have not exchanged keys, if there are
        such, since to exchange keys costs whoever floods as much as us."""
        strangers = [each for each in self.connections if each.state != ADMITTED]
        strangers = [each for each in strangers if each.service is None] or strangers
        return self._random.choice(strangers[: (len(strangers) + 1) // 2]) if strangers else None

    def _unused(self) -> _Connection | None:
        """Returns the connection that has been without a channel for longest, if that is long enough."""
        now = self.reactor.seconds()
        unused = [each for each in self.connections if each.is_unused(now)]
        return min(unused, key=lambda each: each.unused_since, default=None)


@implementer(IRealm)
class _Realm:
    def __init__(self, service: Service, reactor: Any) -> None:
        self._service = service
        self._reactor = reactor

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        return IConchUser, _User(self._service, self._reactor), lambda: None


class _User(ConchUser):
    """A logged-in user: may open sessions, but has no forwarding, no file transfer, no agent."""

    def __init__(self, service: Service, reactor: Any) -> None:
        ConchUser.__init__(self)
        self.channelLookup[b"session"] = Channel
        self._service = service
        self._reactor = reactor

    def __conform__(self, interface: Any) -> Any:
        """Returns a new session for each channel, also when several share a connection (ControlMaster)."""
        if interface is not ISession:
            return None
        return Session(namespace(self._service, self.conn.transport.orderer), self._reactor)
