"""Who has connected to a unix socket, and whether he still might."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.peer_credentials import may_connect
from tests.integration.peers import temporary_directory

CLIENT = """
import os, socket, sys
os.setgroups([int(each) for each in sys.argv[4:]])
os.setgid(int(sys.argv[3]))
os.setuid(int(sys.argv[2]))
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
client.recv(1)
"""


class PeerTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = temporary_directory(self)
        directory.chmod(0o755)
        self.path = str(directory / "socket")
        self.server = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.server.close)
        self.server.bind(self.path)
        self.server.listen()

    def test_ourselves(self) -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.path)
            accepted, _ = self.server.accept()
            with accepted:
                self.assertTrue(may_connect(accepted, self.path))
                os.unlink(self.path)
                self.assertFalse(may_connect(accepted, self.path))

    def test_others(self) -> None:
        """By user, by group, by a further group, and by none; as the permissions are by now."""
        if os.geteuid() != 0:
            raise SkipTest("only root can be several users")
        for user, group, further, permitted in (
            (1001, 1, (), 0o200),
            (1002, 3001, (), 0o020),
            (1002, 1, (5, 3001, 7), 0o020),
            (1002, 1, (5,), 0o002),
        ):
            os.chown(self.path, 1001, 3001)
            os.chmod(self.path, 0o666)
            words = [self.path, *map(str, (user, group, *further))]
            client = subprocess.Popen([sys.executable, "-c", CLIENT, *words])
            accepted, _ = self.server.accept()
            with accepted:
                for mode in (0o200, 0o020, 0o002, 0o757, 0):
                    os.chmod(self.path, mode)
                    self.assertEqual(may_connect(accepted, self.path), bool(mode & permitted), (user, group, further))
            self.assertEqual(client.wait(20), 0)
