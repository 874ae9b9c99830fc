"""Options of listening sockets: each is what the line says, whichever way the socket has come to its listener."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from attrs import evolve, frozen

from reusedproxy.config.model.proxies import Bind, SocketOptions
from reusedproxy.config.model.sockets import AS_THE_SYSTEM, KeepAlive
from reusedproxy.config.model.values import ListenAddress
from reusedproxy.daemon.replacing.handover import key_of
from reusedproxy.daemon.replacing.takeover import Takeover, _Given
from reusedproxy.net import named_sockets
from reusedproxy.net.binding import ListenError, bind_socket, given_socket
from reusedproxy.net.listener import Listener
from reusedproxy.net.listening_options import probe, set_options
from tests.listeners import LOOPBACK, ListenerCase

_TCP, _IP_TRANSPARENT = socket.IPPROTO_TCP, 19
_NONE = SocketOptions()
_PROBING = (socket.TCP_KEEPCNT, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL)


@frozen
class Words:
    """Holds all that a file says of a TCP socket: of its line, and `clitcpka-*` of its section."""

    options: SocketOptions = _NONE
    backlog: int = 0
    probes: bool = False
    keep_alive: KeepAlive = AS_THE_SYSTEM


NOTHING = Words()
ALL = Words(SocketOptions(mss=900, user_timeout=7, congestion="reno", fast_open=True), 9, True, KeepAlive(3, 33, 11))
OTHERS = Words(SocketOptions(mss=1200, user_timeout=2.5), 7, True, KeepAlive(idle=44))
#: What a line says where it says nothing of it.
BACKLOG = 5


def congestion(of: socket.socket) -> str:
    return of.getsockopt(_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()


def system_congestion() -> str:
    with socket.socket() as fresh:
        return congestion(fresh)


def usual() -> list[int]:
    with socket.socket() as fresh:
        return [fresh.getsockopt(_TCP, each) for each in (socket.TCP_MAXSEG, *_PROBING)]


def expected(words: Words) -> dict[str, object]:
    mss, *probing = usual()
    said = (words.keep_alive.count, words.keep_alive.idle, words.keep_alive.interval)
    return {
        "TCP_NODELAY": 1,
        "cc": words.options.congestion or system_congestion(),
        "mss": words.options.mss or mss,
        "tcp-ut": words.options.user_timeout * 1000,
        "tfo": words.options.fast_open,
        "transparent": words.options.transparent,
        "backlog": words.backlog or BACKLOG,
        "clitcpka": words.probes,
        "clitcpka-*": [one or other for one, other in zip(said, probing, strict=True)],
    }


def found(of: socket.socket) -> dict[str, object]:
    return {
        "TCP_NODELAY": of.getsockopt(_TCP, socket.TCP_NODELAY),
        "cc": congestion(of),
        "mss": of.getsockopt(_TCP, socket.TCP_MAXSEG),
        "tcp-ut": of.getsockopt(_TCP, socket.TCP_USER_TIMEOUT),
        "tfo": of.getsockopt(_TCP, socket.TCP_FASTOPEN) > 0,
        "transparent": bool(of.getsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT)),
        # Of a socket that listens tcpi_sacked is the length of its queue (tcp_get_info in net/ipv4/tcp.c).
        "backlog": struct.unpack_from("8B6I", of.getsockopt(_TCP, socket.TCP_INFO, 104))[13],
        "clitcpka": bool(of.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)),
        "clitcpka-*": [of.getsockopt(_TCP, each) for each in _PROBING],
    }


class WayTestCase(ListenerCase):
    """Each way takes what was said before, and what is said now, and returns the socket that clients come to."""

    def said(self, words: Words, address: ListenAddress = LOOPBACK) -> Bind:
        return self.line(address, options=words.options, backlog=words.backlog)

    def serving(self, words: Words, bound: socket.socket, address: ListenAddress = LOOPBACK) -> Listener:
        """Has a listener begin, as a frontend does."""
        bind = self.said(words, address)
        listener = Listener(self.loop.poller, self.loop.deadlines, bind, bound, self.warnings.append)
        listener.backlog = bind.backlog or BACKLOG
        self.addCleanup(listener.close)
        listener.keep_alive(words.probes, words.keep_alive)
        listener.listen(self.taker)
        return listener

    def before(self, words: Words, address: ListenAddress = LOOPBACK) -> Listener:
        return self.serving(words, bind_socket(self.said(words, address), BACKLOG), address)

    def parent(self) -> socket.socket:
        """Returns a socket as some other program makes it."""
        theirs = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(theirs.close)
        return theirs

    def bound(self, before: Words, now: Words) -> socket.socket:
        return self.before(now).socket

    def shared(self, before: Words, now: Words) -> socket.socket:
        """Two sections listen at one address: each has its own words."""
        one = bind_socket(self.said(before), BACKLOG, shared=True)
        self.serving(before, one)
        at = evolve(LOOPBACK, port=one.getsockname()[1])
        other = bind_socket(self.said(now, at), BACKLOG, shared=True)
        return self.serving(now, other, at).socket

    def inherited(self, before: Words, now: Words) -> socket.socket:
        """The daemon before, which was killed, has left its words on the socket."""
        address = ListenAddress("fd", fd=self.parent().fileno())
        self.before(before, address).close()
        return self.before(now, address).socket

    def named(self, before: Words, now: Words) -> socket.socket:
        """systemd has opened it."""
        theirs = self.parent()
        self.patch(named_sockets, "FIRST", theirs.fileno())
        told = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"}
        for name, value in told.items():
            self.addCleanup(os.environ.pop, name, None)
            os.environ[name] = value
        return self.before(now, ListenAddress("fd", path="web")).socket

    def given(self, before: Words, now: Words, address: ListenAddress = LOOPBACK) -> socket.socket:
        """The process before hands it over (`--replace`), and has its own words on it until this one serves."""
        old = self.before(before, address)
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        takeover = Takeover(1, "", ours, {key_of(address): [_Given(old.socket.dup(), None)]})
        self.addCleanup(takeover.give_up)
        bound = given_socket(takeover, self.said(now, address), BACKLOG)
        assert bound is not None
        words = ("mss", "tcp-ut", "tfo")
        self.assertEqual([found(bound)[word] for word in words], [expected(before)[word] for word in words])
        if now.options.transparent:  # what needs privileges cannot wait
            self.assertTrue(found(bound)["transparent"])
        listener = self.serving(now, bound, address)
        listener.adopt(listener.bind, BACKLOG)
        return listener.socket

    def given_inherited(self, before: Words, now: Words) -> socket.socket:
        return self.given(before, now, ListenAddress("fd", fd=self.parent().fileno()))

    def reloaded(self, before: Words, now: Words, address: ListenAddress = LOOPBACK) -> socket.socket:
        listener = self.before(before, address)
        bind = self.said(now, address)
        listener.may_adopt(bind)
        listener.adopt(bind, BACKLOG)
        listener.keep_alive(now.probes, now.keep_alive)
        return listener.socket

    def reloaded_inherited(self, before: Words, now: Words) -> socket.socket:
        return self.reloaded(before, now, ListenAddress("fd", fd=self.parent().fileno()))

    def restored(self, before: Words, now: Words) -> socket.socket:
        """An operator has disabled the frontend and enabled it again."""
        listener = self.before(now)
        listener.bind = evolve(listener.bind, address=evolve(LOOPBACK, port=listener.port))
        listener.suspend()
        listener.restore()
        return listener.socket

    @property
    def ways(self) -> tuple[Callable[[Words, Words], socket.socket], ...]:
        return (
            *(self.bound, self.shared, self.inherited, self.named, self.given, self.given_inherited),
            *(self.reloaded, self.reloaded_inherited, self.restored),
        )


class OptionTests(WayTestCase):
    def test_each_option_is_what_the_line_says_however_the_socket_has_come(self) -> None:
        for way in self.ways:
            for before, now in ((NOTHING, NOTHING), (NOTHING, ALL), (ALL, NOTHING), (ALL, OTHERS), (OTHERS, ALL)):
                bound = way(before, now)
                self.assertEqual(found(bound), expected(now), way.__name__)

    def test_accepted_sockets_have_them(self) -> None:
        for way in self.ways:
            if way == self.shared:
                continue  # chance decides which of the two a client gets
            bound = way(NOTHING, ALL)
            self.taker.taken.clear()
            with socket.create_connection(bound.getsockname()):
                self.taken(1)
                (accepted,) = self.taker.taken
                all_found, all_expected = found(accepted), expected(ALL)
                for word in ("TCP_NODELAY", "tcp-ut", "clitcpka", "clitcpka-*"):
                    self.assertEqual(all_found[word], all_expected[word], (way.__name__, word))
                self.assertLessEqual(accepted.getsockopt(_TCP, socket.TCP_MAXSEG), 900, way.__name__)
                accepted.close()

    def test_transparent(self) -> None:
        """A socket that was inherited stays transparent where its line does not say so: whoever made it said it."""
        said = Words(SocketOptions(transparent=True))
        with socket.socket() as one:
            try:
                one.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
            except PermissionError:
                self.skipTest("needs CAP_NET_ADMIN")
        for way in self.ways:
            for before, now in ((NOTHING, said), (said, said)):
                self.assertTrue(found(way(before, now))["transparent"], way.__name__)
            stays = way in (self.inherited, self.given_inherited, self.reloaded_inherited)
            self.assertEqual(found(way(said, NOTHING))["transparent"], stays, way.__name__)

    def test_what_needs_privileges_is_not_set_again(self) -> None:
        """A reload comes when they are gone."""
        said = SocketOptions(interface="lo", transparent=True, mss=900)
        bound = _Unprivileged(socket.AF_INET, socket.SOCK_STREAM)
        self.addCleanup(bound.close)
        set_options(bound, self.line(LOOPBACK, options=said))
        self.assertEqual(bound.done, [socket.TCP_NODELAY, socket.TCP_MAXSEG, socket.TCP_USER_TIMEOUT])


class _Unprivileged(socket.socket):
    """Pretends to have interface and transparency, and notes what is set."""

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.done: list[int] = []

    def getsockopt(self, level: int, option: int, *size: int) -> Any:
        if level == socket.IPPROTO_IP:
            return 1
        return b"lo\0" if option == socket.SO_BINDTODEVICE else super().getsockopt(level, option, *size)

    def setsockopt(self, level: int, option: int, *value: Any) -> None:
        self.done.append(option)
        super().setsockopt(level, option, *value)


class WhereTests(WayTestCase):
    """What cannot be changed of a socket that is bound."""

    def test_an_inherited_socket_that_takes_ipv4_clients_is_refused_by_v6only(self) -> None:
        for only in (True, False):
            theirs = socket.socket(socket.AF_INET6)
            self.addCleanup(theirs.close)
            theirs.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
            theirs.bind(("::", 0))
            address = ListenAddress("fd", fd=theirs.fileno())
            if only:
                self.bind(address, options=SocketOptions(v6_only=True))
            else:
                text = self.refused(address, options=SocketOptions(v6_only=True))
                self.assertIn("'v6only': the socket takes IPv4 clients, too; whoever opens it has to say so", text)

    def test_a_reload_is_refused_whose_line_shuts_ipv4_clients_out(self) -> None:
        listener = self.listener(ListenAddress("tcp", v6=True))
        bind = evolve(listener.bind, options=SocketOptions(v6_only=True))
        refused = self.assertRaises(ListenError, listener.may_adopt, bind)
        self.assertIn("takes IPv4 clients, too; a restart makes another one", str(refused))

    def test_a_socket_of_another_interface_is_not_taken_from_the_process_before(self) -> None:
        """In either direction: one that says none would go on with that of the old line."""
        for before, now in (("lo", ""), ("", "lo")):
            with self.assertRaises(AssertionError):
                self.given(Words(SocketOptions(interface=before)), Words(SocketOptions(interface=now)))
        lo = Words(SocketOptions(interface="lo"))
        self.assertEqual(self.given(lo, lo).getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16), b"lo\0")


class OtherSocketTests(WayTestCase):
    def test_an_option_that_a_socket_does_not_have_is_an_error_only_if_it_was_asked_for(self) -> None:
        """MPTCP, with which systemd opens sockets for SocketProtocol=mptcp, has no `tcp-ut`."""
        bound = _WithoutTimeout(socket.AF_INET, socket.SOCK_STREAM)
        self.addCleanup(bound.close)
        set_options(bound, self.line(LOOPBACK))
        line = self.line(LOOPBACK, options=SocketOptions(user_timeout=3))
        self.assertIn("'tcp-ut': Protocol not available", str(self.assertRaises(OSError, set_options, bound, line)))
        probe(bound, AS_THE_SYSTEM)

    def test_a_unix_socket_has_none(self) -> None:
        one, other = socket.socketpair()
        with one, other:
            line = self.line(ListenAddress("fd", fd=one.fileno()), options=ALL.options)
            set_options(one, line)
            probe(one, ALL.keep_alive)


class _WithoutTimeout(socket.socket):
    def getsockopt(self, level: int, option: int, *size: int) -> Any:
        if option in (socket.TCP_USER_TIMEOUT, *_PROBING):
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return super().getsockopt(level, option, *size)

    def setsockopt(self, level: int, option: int, *value: Any) -> None:
        if option in (socket.TCP_USER_TIMEOUT, *_PROBING):
            raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))
        super().setsockopt(level, option, *value)
