"""One process is stopped, killed or told to reload while another is about to take its place: who goes on, and what is
left of the sockets that both have."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, temporary_directory, wait_for
from tests.ports import free_port

#: The new process is warming up as long as a floor does not stand, which nobody answers here, and no longer than 10 s.
TEXT = """\
    bind unix@{folder}/clients.sock
    bind abns@{name}
    http-request return status 200 content-type text/plain string ok
backend servers
    server nobody {host}:{port} pool-min-conn 1
global
    stats socket {folder}/admin.sock mode 600 level admin expose-fd listeners
"""
OK = b"\r\n\r\nok"


class BrokenOffTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = temporary_directory(self)
        self.running: list[Daemon] = []
        self.addCleanup(self.stop)
        self.first = self.daemon()
        self.first.start()

    def stop(self) -> None:
        for each in self.running:
            each.stop()

    def daemon(self) -> Daemon:
        daemon = Daemon(self.folder / f"{len(self.running)}", "")
        if self.running:
            daemon.port, daemon.stats_port = self.running[0].port, self.running[0].stats_port
            daemon.more = ["--replace"]
        else:
            self.name, self.port = f"reusedproxy-{os.getpid()}-{daemon.port}", free_port()
        daemon.write(TEXT.format(folder=self.folder, name=self.name, host=LOOPBACK, port=self.port))
        self.running.append(daemon)
        return daemon

    def replacing(self) -> Daemon:
        """Another process, which has taken the sockets, and is not ready."""
        said = self.first.output.count("is about to take the place")
        new = self.daemon()
        new._process.spawn(new.command())
        wait_for(
            lambda: new.ended() or self.first.output.count("is about to take the place") > said, "the new process", 40
        )
        # It looks for the files of its sockets between that and its first connection.
        wait_for(lambda: new.ended() or new.has_said("TCP connect failed"), "it to warm up", 40)
        return new

    def answers(self, seconds: float = 5.0) -> dict[str, bytes]:
        """What a request at each address is answered with."""
        abstract = b"\0" + self.name.encode().ljust(107, b"\0")
        there: dict[str, tuple[int, str | bytes | tuple[str, int]]] = {
            "path": (socket.AF_UNIX, f"{self.folder}/clients.sock"),
            "name": (socket.AF_UNIX, abstract),
            "port": (socket.AF_INET, (LOOPBACK, self.first.port)),
            "orders": (socket.AF_UNIX, f"{self.folder}/admin.sock"),
        }
        found = {}
        for what, (family, address) in there.items():
            with socket.socket(family) as client:
                client.settimeout(seconds)
                asked = (
                    b"show version\n" if what == "orders" else b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
                )
                try:
                    client.connect(address)
                    client.sendall(asked)
                    data = b"".join(iter(lambda: client.recv(65536), b""))
                except OSError as error:
                    data = repr(error).encode()
            found[what] = b"version" if what == "orders" and data[:1].isdigit() else data[-6:]
        return found

    def assert_served(self) -> None:
        served = {"path": OK[-6:], "name": OK[-6:], "port": OK[-6:], "orders": b"version"}
        self.assertEqual(self.answers(), served, [each.output for each in self.running])

    @property
    def files(self) -> list[str]:
        return sorted(each.name for each in Path(self.folder).glob("*.sock"))

    def test_the_old_one_ends(self) -> None:
        """The new one has the sockets with their files, and waits for no floor any more."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(number=number):
                new = self.replacing()
                self.first.signal(number)
                wait_for(self.first.ended, "the old process to end")
                wait_for(lambda new=new: new.has_said("has not said that it has stopped"), "it to serve", 30)  # type: ignore[misc]
                new.says("configuration reloaded")  # the old one may have been told to
                self.assert_served()
                self.assertNotIn("a reload makes it again", new.output)
                self.first = new
        self.first.stop()
        self.assertEqual(self.files, [])
        for each in self.running:
            self.assertNotIn("Traceback", each.output)

    def test_the_new_one_ends(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            new = self.replacing()
            new.signal(number)
            wait_for(new.ended, "the new process to end")
            wait_for(lambda: self.first.has_said("this one goes on"), "the old one to know")
            self.assert_served()
        self.assertEqual(self.files, ["admin.sock", "clients.sock"])

    def test_a_reload_of_either_is_done_by_who_goes_on(self) -> None:
        new = self.replacing()
        self.first.signal(signal.SIGHUP)
        wait_for(lambda: self.first.has_said("reload: waits, since process"), "a word")
        self.assertFalse(self.first.has_said("configuration reloaded"))
        new.signal(signal.SIGKILL)
        wait_for(lambda: self.first.has_said("configuration reloaded"), "the reload")
        new = self.replacing()
        new.signal(signal.SIGHUP)
        self.first.signal(signal.SIGTERM)
        wait_for(lambda: new.has_said("configuration reloaded"), "the reload of the new one", 20)
        self.assert_served()

    def test_a_path_at_which_somebody_else_listens_stays_his(self) -> None:
        new = self.replacing()
        path = f"{self.folder}/clients.sock"
        os.unlink(path)
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(path)
            other.listen()
            identity = os.stat(path).st_ino
            self.first.signal(signal.SIGTERM)
            wait_for(lambda: new.has_said("is not at its path any more"), "it to see that", 20)
            wait_for(lambda: new.has_said("reload refused"), "it to try")
            self.first.stop()
            new.stop()
            self.assertEqual(os.stat(path).st_ino, identity)
            with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(BlockingIOError):
                client.connect(path)
            self.assertEqual(self.files, ["clients.sock"])

    def test_a_file_that_is_removed_is_made_again(self) -> None:
        """As an older version of the program does when it is stopped."""
        new = self.replacing()
        os.unlink(f"{self.folder}/clients.sock")
        os.unlink(f"{self.folder}/admin.sock")
        self.first.signal(signal.SIGTERM)
        wait_for(lambda: new.has_said("configuration reloaded"), "a reload", 20)
        self.assert_served()

    def test_one_that_asks_and_is_silent(self) -> None:
        with socket.socket(socket.AF_UNIX) as silent:
            silent.connect(f"{self.folder}/admin.sock")
            silent.sendall(b"hand over\n")
            wait_for(lambda: self.first.has_said("is about to take the place"), "it to be heard")
            self.first.signal(signal.SIGHUP)
            wait_for(lambda: self.first.has_said("60 s, if it is silent"), "a word")
            late = self.daemon()
            with self.assertRaises(AssertionError):
                late.start_alone()
            self.assertIn("a new process is about to get them", late.output)
        wait_for(lambda: self.first.has_said("configuration reloaded"), "the reload")
        self.assert_served()
