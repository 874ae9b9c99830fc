"""Listening sockets: their addresses and options, and those that are given."""

from __future__ import annotations

import gc
import os
import select
import socket

from attrs import evolve

from reusedproxy.config.model.proxies import SocketOptions
from reusedproxy.config.model.sockets import KeepAlive
from reusedproxy.config.model.values import ListenAddress
from reusedproxy.net.binding import ListenError, bind_socket
from reusedproxy.net.listener import Listener
from reusedproxy.net.named_sockets import Unnamed, descriptor_named
from tests.listeners import LOOPBACK, ListenerCase


class AddressTests(ListenerCase):
    def test_a_port_in_use(self) -> None:
        """The message names the address and the reason."""
        taken = self.bind(LOOPBACK).getsockname()[1]
        expected = f"cannot listen on 127.0.0.1:{taken}: Address already in use"
        self.assertEqual(self.refused(ListenAddress("tcp", "127.0.0.1", taken)), expected)

    def test_an_address_that_is_not_ours(self) -> None:
        """192.0.2.1 belongs to nobody (RFC 5737)."""
        expected = "cannot listen on 192.0.2.1:8080: Cannot assign requested address"
        self.assertEqual(self.refused(ListenAddress("tcp", "192.0.2.1", 8080)), expected)

    def test_ipv6(self) -> None:
        """A wildcard takes clients of both kinds."""
        listener = self.listener(ListenAddress("tcp", "", 0, v6=True))
        self.loop.connect(("::1", listener.port))
        self.loop.connect(("127.0.0.1", listener.port))
        self.taken(2)

    def test_ipv6_beside_ipv4_on_the_same_port(self) -> None:
        """A wildcard that was told so leaves IPv4 to another socket."""
        v4 = self.bind(ListenAddress("tcp", "", 0))
        address = ListenAddress("tcp", "", v4.getsockname()[1], v6=True)
        self.addCleanup(bind_socket(self.line(address), 128, v6_only=True).close)
        self.assertEqual(str(address), f":::{v4.getsockname()[1]}")

    def test_shared_addresses(self) -> None:
        """Who names the address gets its clients; others are refused unless all of them share."""
        every = bind_socket(self.line(ListenAddress("tcp", "", 0)), 5, shared=True)
        port = every.getsockname()[1]
        one, other = (bind_socket(self.line(ListenAddress("tcp", "127.0.0.1", port)), 5, shared=True) for _ in "ab")
        for each in (every, one, other):
            self.addCleanup(each.close)
        for address, of in (("127.0.0.1", {one, other}), ("127.0.0.2", {every})):
            for _ in range(5):
                with socket.create_connection((address, port)):
                    ready, _, _ = select.select([every, one, other], [], [], 5)
                    self.assertTrue(ready and of >= {*ready}, address)
                    ready[0].accept()[0].close()
        self.assertIn("Address already in use", self.refused(ListenAddress("tcp", "127.0.0.1", port)))

    def test_an_inherited_descriptor(self) -> None:
        """fd@ takes a listening socket from whoever started us; closing ours leaves theirs alone."""
        theirs = self.bind(LOOPBACK)
        listener = self.listener(ListenAddress("fd", fd=theirs.fileno()))
        self.client(listener)
        self.taken(1)
        listener.close()
        self.assertEqual(theirs.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN), 1)

    def test_a_name_of_a_descriptor(self) -> None:
        """As sd_listen_fds_with_names(3) has it."""
        told = {"LISTEN_PID": "7", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "web:two:two"}
        self.assertEqual(descriptor_named("web", told, 7), 3)
        for name, environment, pid, why in (
            ("two", told, 7, "2 sockets are called 'two': fd@4, fd@5 say which"),
            ("other", told, 7, "nobody has handed over a socket called 'other'"),
            ("web", told, 8, "nobody has handed over"),
            ("web", {**told, "LISTEN_FDS": "x"}, 7, "nobody has handed over"),
            ("two", {**told, "LISTEN_FDS": "1"}, 7, "nobody has handed over"),
            ("web", {}, 7, "nobody has handed over"),
        ):
            with self.assertRaises(Unnamed) as raised:
                descriptor_named(name, environment, pid)
            self.assertIn(why, str(raised.exception))
        self.assertIn("cannot listen on fd@nobody: nobody has", self.refused(ListenAddress("fd", path="nobody")))

    def test_descriptors_that_are_no_listening_sockets(self) -> None:
        """Closed, a file, a datagram socket."""
        descriptor = os.open(os.devnull, os.O_RDONLY)
        expected = f"cannot listen on fd@{descriptor}: Socket operation on non-socket"
        self.assertEqual(self.refused(ListenAddress("fd", fd=descriptor)), expected)
        os.close(descriptor)
        expected = f"cannot listen on fd@{descriptor}: Bad file descriptor"
        self.assertEqual(self.refused(ListenAddress("fd", fd=descriptor)), expected)
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            self.assertIn("Operation not supported", self.refused(ListenAddress("fd", fd=datagrams.fileno())))

    def test_failures_leave_no_descriptor(self) -> None:
        """What was opened for a bind that failed is closed again."""
        taken = self.bind(LOOPBACK).getsockname()[1]
        gc.collect()  # what earlier tests left to it must not go just now
        before = sorted(os.listdir("/proc/self/fd"))
        self.refused(ListenAddress("tcp", "127.0.0.1", taken))
        self.refused(ListenAddress("unix", path="/does/not/exist"))
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            self.refused(ListenAddress("fd", fd=datagrams.fileno()))
        self.assertEqual(sorted(os.listdir("/proc/self/fd")), before)

    def test_its_socket_has_the_options_of_its_line(self) -> None:
        """At a reload those of the new line; but another interface needs another socket."""
        said = SocketOptions(mss=900, user_timeout=2.5, fast_open=True)
        listener = self.listener(options=said)
        sock = listener.socket
        level = socket.IPPROTO_TCP
        self.assertEqual(sock.getsockopt(level, socket.TCP_USER_TIMEOUT), 2500)
        self.assertEqual(sock.getsockopt(level, socket.TCP_MAXSEG), 900)
        self.assertGreater(sock.getsockopt(level, socket.TCP_FASTOPEN), 0)
        listener.adopt(evolve(listener.bind, options=SocketOptions(user_timeout=1)), 0)
        self.assertEqual(sock.getsockopt(level, socket.TCP_USER_TIMEOUT), 1000)
        self.assertEqual(sock.getsockopt(level, socket.TCP_FASTOPEN), 0)
        listener.adopt(evolve(listener.bind, options=SocketOptions()), 0)
        self.assertEqual(sock.getsockopt(level, socket.TCP_USER_TIMEOUT), 0)
        other = evolve(listener.bind, options=SocketOptions(interface="lo"))
        self.assertIn("'interface'", str(self.assertRaises(ListenError, listener.may_adopt, other)))

    def test_clients_are_probed_as_the_section_says(self) -> None:
        """From the moment they are accepted; what a later file does not say is the system's again."""
        listener = self.listener()
        options = (socket.TCP_KEEPCNT, socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL)

        def accepted() -> list[int]:
            with socket.create_connection(("127.0.0.1", listener.port)):
                client, _ = self.until_accepted(listener)
                with client:
                    on = client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                    return [on, *(client.getsockopt(socket.IPPROTO_TCP, each) for each in options)]

        with socket.socket() as fresh:
            usual = [fresh.getsockopt(socket.IPPROTO_TCP, each) for each in options]
        listener.keep_alive(True, KeepAlive(3, 61, 7))
        self.assertEqual(accepted(), [1, 3, 61, 7])
        listener.keep_alive(True, KeepAlive(count=4))
        self.assertEqual(accepted(), [1, 4, *usual[1:]])
        listener.keep_alive(False)
        self.assertEqual(accepted(), [0, *usual])

    def until_accepted(self, listener: Listener) -> tuple[socket.socket, object]:
        listener.socket.setblocking(True)
        listener.socket.settimeout(5)
        return listener.socket.accept()

    def test_an_option_that_cannot_be_set_is_named(self) -> None:
        said = SocketOptions(interface="no-such-one")
        self.assertIn("'interface': No such device", self.refused(LOOPBACK, options=said))

    def test_v6only_leaves_ipv4_to_others(self) -> None:
        bound = bind_socket(self.line(ListenAddress("tcp", v6=True)), 8, v6_only=True)
        self.addCleanup(bound.close)
        self.assertTrue(bound.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))

    def test_a_name_in_the_abstract_namespace_has_no_file_and_is_filled_up_with_zeros(self) -> None:
        """So HAProxy has it."""
        name = f"reusedproxy-test-{os.getpid()}"
        listener = self.listener(ListenAddress("abns", path=name))
        self.assertTrue(listener.stands)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect((b"\0" + name.encode()).ljust(108, b"\0"))
            self.taken(1)
