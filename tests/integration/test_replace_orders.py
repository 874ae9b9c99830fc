"""What operators have ordered when another process takes the place: it holds there, whenever it was ordered, or the log
says that it is forgotten."""

from __future__ import annotations

import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, temporary_directory, wait_for
from tests.ports import free_port

TEXT = """\
    acl banned path -f {folder}/banned
    http-request deny if banned
    http-request return status 200 content-type text/plain lf-string %[path,map({folder}/names,none)] if !{{ path /s }}
    default_backend b
frontend other
    bind unix@{folder}/other.sock
    maxconn 50
    default_backend b
backend b
    cookie S insert dynamic
    dynamic-cookie-key one
    server t {host}:{port} weight 10
    server u {host}:{port} weight 10 check inter 1h
    server floor {host}:{port} pool-min-conn 1
global
    pool-warm-start {warm}
    maxconn 500
    stats socket {folder}/admin.sock mode 600 level admin expose-fd listeners
"""


class OrderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(temporary_directory(self))
        (self.folder / "banned").write_text("/a\n")
        (self.folder / "names").write_text("/x one\n")
        self.port = free_port()  # nobody listens there, so that the floor never stands
        self.running: list[Daemon] = []
        self.addCleanup(self.stop)
        self.old = self.daemon()
        self.old.start()
        wait_for(lambda: self.old.has_said("Proxy other listens on"), "it to listen")

    def stop(self) -> None:
        for each in self.running:
            each.stop()

    def daemon(self) -> Daemon:
        daemon, warm = Daemon(self.folder / f"{len(self.running)}", ""), "100ms"
        if self.running:
            daemon.port, daemon.stats_port = self.running[0].port, self.running[0].stats_port
            daemon.more, warm = ["--replace"], "3s"
        daemon.write(TEXT.format(folder=self.folder, host=LOOPBACK, port=self.port, warm=warm))
        self.running.append(daemon)
        return daemon

    def ask(self, *orders: str) -> list[str]:
        """What each of these is answered."""
        return [self._ask(order) for order in orders]

    def _ask(self, order: str) -> str:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(str(self.folder / "admin.sock"))
            client.sendall(f"{order}\n".encode())
            return b"".join(iter(lambda: client.recv(65536), b"")).decode()

    def coming(self) -> Daemon:
        """A process that has got the sockets, and waits for a floor."""
        new = self.daemon()
        new._process.spawn(new.command())
        wait_for(lambda: self.old.has_said("is about to take the place"), "the new process", 40)
        return new

    def served(self, new: Daemon) -> None:
        wait_for(lambda: new.has_said("has taken the place of process"), "the new process to serve", 40)

    def test_both_logs_tell_what_is_forgotten(self) -> None:
        """Whether it was ordered before the new process came, or since."""
        banned, names = self.folder / "banned", self.folder / "names"
        before = self.ask(f"add acl {banned} /b", "set rate-limit sessions global 100", "disable frontend other")
        new = self.coming()
        since = self.ask(f"set map {names} /x two", "set dynamic-cookie-key backend b two")
        self.assertEqual({*before, *since}, {"\n"})
        self.served(new)
        for text in (
            f"what the runtime API has changed in {banned}, {names} is forgotten; the files count",
            "what 'set rate-limit' has set in place of maxsessrate is forgotten; the file counts",
            "the order by which frontend other accepts nobody is forgotten",
            "what was ordered of dynamic cookies in backend b is forgotten; the file counts",
        ):
            self.assertTrue(self.old.has_said(text) and new.has_said(text), text)
        self.assertNotIn("/b", self._ask(f"show acl {banned}"))
