"""The manhole of a running daemon, as its operator meets it: through OpenSSH's client."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.operators.shell.ssh import CONNECTIONS
from tests.integration.daemon import Daemon, run_once
from tests.integration.peers import LOOPBACK, missing, temporary_directory, wait_for
from tests.ports import free_ports

CONFIGURATION = """\
backend servers
    server quiet 127.0.0.1:{server} pool-min-conn 3
global
    manhole {address} authorized-keys {directory}/authorized_keys host-key {directory}/host_key
"""


def make_key(path: Path, kind: str = "ed25519") -> str:
    """A key pair at `path`; returns the public key's fingerprint."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True, stdin=subprocess.DEVNULL)
    said = subprocess.run(["ssh-keygen", "-l", "-f", path], check=True, capture_output=True, text=True)
    return said.stdout.split()[1]


class ManholeTests(SynchronousTestCase):
    skip = missing("ssh") or None

    def setUp(self) -> None:
        self.directory = temporary_directory(self)
        self.manhole, self.server = free_ports(2)
        self.known = make_key(self.directory / "known")
        self.stranger = make_key(self.directory / "stranger")
        self.authorize("known")
        self.daemon = Daemon(self.directory, self.configuration(f"{LOOPBACK}:{self.manhole}"))
        self.addCleanup(self.daemon.stop)

    def authorize(self, name: str) -> None:
        path = self.directory / "authorized_keys"
        path.write_text(f"# who may come in\n\n{(self.directory / name).with_suffix('.pub').read_text()}")
        path.chmod(0o600)

    def configuration(self, address: str) -> str:
        return CONFIGURATION.format(address=address, directory=self.directory, server=self.server)

    def logged(self) -> list[str]:
        """What the daemon said, one thing on each line."""
        return self.daemon.output.splitlines()

    def ssh(self, *arguments: str, key: str = "known", script: str = "") -> subprocess.CompletedProcess[str]:
        options = [
            f"IdentityFile={self.directory / key}",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            f"UserKnownHostsFile={self.directory}/known_hosts",
            "StrictHostKeyChecking=accept-new",
            "NumberOfPasswordPrompts=0",
            "LogLevel=ERROR",
        ]
        command = ["ssh", "-F", "none", "-p", str(self.manhole)]
        for option in options:
            command += ["-o", option]
        return subprocess.run(
            [*command, *arguments], check=False, capture_output=True, text=True, input=script, timeout=20
        )

    def test_the_right_key_prints_the_pools_of_the_running_daemon(self) -> None:
        self.daemon.start()
        done = self.ssh("manhole@127.0.0.1", "pools()")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        headings, row, *remarks = done.stdout.splitlines()
        self.assertIn("on-request-path", headings)
        self.assertEqual(row.split()[:4], ["servers/quiet", "UP", "3", "0"])
        self.assertIn("Connection refused", "".join(remarks))
        self.assertTrue(
            [line for line in self.logged() if "Manhole admitted user 'manhole'" in line and self.known in line]
        )

    def test_keys_of_all_kinds_may_come_in(self) -> None:
        """Whatever the host key's: conch would have told OpenSSH that only that is taken."""
        for kind in ("rsa", "ecdsa"):
            make_key(self.directory / kind, kind)
        texts = [(self.directory / f"{name}.pub").read_text() for name in ("known", "rsa", "ecdsa")]
        (self.directory / "authorized_keys").write_text("".join(texts))
        self.daemon.start()
        for name in ("known", "rsa", "ecdsa"):
            done = self.ssh("manhole@127.0.0.1", "6 * 7", key=name)
            self.assertEqual((done.stdout, done.stderr), ("42\n", ""), name)

    def test_an_ordinary_session_is_no_error_in_the_log_and_no_flood(self) -> None:
        """conch calls each goodbye an error, and tells how it got on."""
        self.daemon.start()
        self.assertEqual(self.ssh("manhole@127.0.0.1", "6 * 7").stdout, "42\n")
        wait_for(
            lambda: "Manhole has ended the session of user 'manhole'" in self.daemon.output, "the end of the session"
        )
        said = [line for line in self.logged() if "manhole" in line or "conch" in line]
        self.assertEqual([line for line in said if " error: " in line or " debug: " in line], [])

    def test_another_key_is_refused_and_logged_with_its_fingerprint_and_where_it_came_from(self) -> None:
        self.daemon.start()
        done = self.ssh("manhole@127.0.0.1", "pools()", key="stranger")
        self.assertEqual((done.returncode, done.stdout), (255, ""))
        self.assertIn("Permission denied (publickey)", done.stderr)
        line = next(line for line in self.logged() if "Manhole refused" in line)
        self.assertIn(self.stranger, line)
        self.assertRegex(line, r"from 127\.0\.0\.1:\d+ ")
        self.assertNotIn("Manhole admitted", self.daemon.output)

    def test_strangers_that_say_nothing_or_no_ssh_keep_nobody_out_and_leave_a_line_in_the_log(self) -> None:
        self.daemon.start()
        for said in [b""] * 2 * CONNECTIONS + [
            b"GET / HTTP/1.1\r\n\r\n",
            b"SSH-2.0-x\r\n\0\0\0\x0c\x0a" + b"\x1e" * 11,
        ] * 3:
            stranger = socket.create_connection((LOOPBACK, self.manhole), 10)
            self.addCleanup(stranger.close)
            stranger.sendall(said)
        self.assertEqual(self.ssh("manhole@127.0.0.1", "6 * 7").stdout, "42\n")
        closed = [line for line in self.logged() if " warn: Manhole closed the connection from 127.0.0.1:" in line]
        self.assertIn("before its login: there were too many, and another one came", closed[0])
        self.assertLessEqual(len(closed), 3, closed)
        self.assertNotIn("Traceback", self.daemon.output)
        self.assertNotIn("Unhandled", self.daemon.output)

    def test_a_key_that_was_taken_out_of_the_file_is_refused_from_then_on(self) -> None:
        self.daemon.start()
        self.assertEqual(self.ssh("manhole@127.0.0.1", "1").stdout, "1\n")
        self.authorize("stranger")
        self.assertEqual(self.ssh("manhole@127.0.0.1", "1").returncode, 255)
        self.assertEqual(self.ssh("manhole@127.0.0.1", "1", key="stranger").stdout, "1\n")

    def test_the_host_key_is_made_once_and_is_for_its_owner_only(self) -> None:
        self.daemon.start()
        self.ssh("manhole@127.0.0.1", "None")
        path = self.directory / "host_key"
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        self.daemon.stop()
        self.daemon.start()
        # The client would refuse another host key than the one it has seen.
        self.assertEqual(self.ssh("manhole@127.0.0.1", "None").returncode, 0)
        said = subprocess.run(["ssh-keygen", "-l", "-f", path], check=True, capture_output=True, text=True)
        self.assertIn(said.stdout.split()[1], "".join(self.logged()))

    def test_an_exception_is_shown_to_its_user_and_gives_exit_status_1(self) -> None:
        self.daemon.start()
        done = self.ssh("manhole@127.0.0.1", "print('before'); 1/0")
        self.assertEqual((done.returncode, done.stdout), (1, "before\n"))
        self.assertIn("ZeroDivisionError", done.stderr)
        self.assertNotIn("session.py", done.stderr)
        self.assertNotIn("ZeroDivisionError", self.daemon.output)
        self.assertEqual(self.ssh("manhole@127.0.0.1", "import sys; sys.exit(3)").returncode, 3)
        self.assertEqual(self.ssh("manhole@127.0.0.1", "sorted(servers)").stdout, "['servers/quiet']\n")

    def test_an_order_is_carried_out_and_outlives_reloads(self) -> None:
        self.daemon.start()
        done = self.ssh("manhole@127.0.0.1", 'drain("servers/quiet")')
        rest = "0 requests under way, 0 wait for it; 0 of 1 servers of servers are UP\n"
        self.assertEqual((done.stdout, done.returncode), (f"servers/quiet is DRAIN; {rest}", 0), done.stderr)
        self.assertIn("Server servers/quiet enters drain state.", self.daemon.output)
        self.daemon.signal(signal.SIGHUP)
        wait_for(lambda: "configuration reloaded" in self.daemon.output, "the reload")
        self.assertIn("Server servers/quiet stays DRAIN, as was ordered before the reload", self.daemon.output)
        self.assertEqual(self.daemon.server("quiet")["status"], "DRAIN")
        done = self.ssh("manhole@127.0.0.1", 'ready("server/quiet")')
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("no server 'server/quiet': did you mean 'servers/quiet'?", done.stderr)
        self.ssh("manhole@127.0.0.1", 'ready("servers/quiet")')
        self.assertEqual(self.daemon.server("quiet")["status"], "no check")

    def test_a_script_on_standard_input_is_run_as_a_whole(self) -> None:
        self.daemon.start()
        done = self.ssh(
            "-T", "manhole@127.0.0.1", script="for name in frontends:\n    print(name)\nproxy.places.taken\n"
        )
        self.assertEqual((done.returncode, done.stdout), (0, "statistics\nmain\n0\n"))

    def test_a_terminal_gets_a_banner_and_a_prompt_and_exit_ends_the_session_only(self) -> None:
        self.daemon.start()
        done = self.ssh("-tt", "manhole@127.0.0.1", script="1 / 0\rservers['servers/quiet'].state\rpools()\rexit()\r")
        self.assertEqual(done.returncode, 0, done.stderr)
        for expected in (
            "reusedproxy manhole",
            "stops the whole daemon",
            "ZeroDivisionError",
            "'UP'",
            "on-request-path",
        ):
            self.assertIn(expected, done.stdout)
        self.assertFalse(self.daemon.ended())
        self.assertNotIn("Traceback", self.daemon.output)

    def test_a_unix_socket_is_for_its_owner_only_and_goes_with_the_daemon(self) -> None:
        path = self.directory / "manhole.sock"
        self.daemon.write(self.configuration(str(path)))
        self.daemon.start()
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        # OpenSSH connects to no path by itself: two ends of Python carry it there.
        carry = (
            "import socket,sys,threading,os;s=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1]);"
            "t=threading.Thread(target=lambda:[s.sendall(d) for d in iter(lambda:os.read(0,9999),b'')],daemon=True);"
            "t.start();[os.write(1,d) for d in iter(lambda:s.recv(9999),b'')]"
        )
        (self.directory / "carry.py").write_text(carry)
        proxy = f"ProxyCommand={sys.executable} {self.directory}/carry.py {path}"
        done = self.ssh("-o", proxy, "manhole@localhost", "6 * 7")
        self.assertEqual((done.stdout, done.returncode), ("42\n", 0), done.stderr)
        self.assertTrue([line for line in self.logged() if "from a unix socket with key" in line])
        self.daemon.stop()
        self.assertFalse(path.exists())

    def test_a_session_does_not_delay_the_stop(self) -> None:
        self.daemon.start()
        with subprocess.Popen(
            [
                *("ssh", "-F", "none", "-tt", "-p", str(self.manhole), "-i", str(self.directory / "known")),
                *("-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no", "-o", "IdentityAgent=none"),
                *("-o", f"UserKnownHostsFile={self.directory}/known_hosts", "manhole@127.0.0.1"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as session:
            assert session.stdin is not None and session.stdout is not None
            self.addCleanup(session.kill)  # nothing when it has ended
            seen = b""
            while b">>> " not in seen:
                part = os.read(session.stdout.fileno(), 4096)
                self.assertTrue(part, seen)
                seen += part
            self.daemon.stop()
            self.assertNotEqual(session.wait(30), 0)

    def test_what_is_wrong_with_it_is_said_at_start_with_file_and_line(self) -> None:
        (self.directory / "authorized_keys").unlink()
        (self.directory / "host_key").write_text("x")
        (self.directory / "host_key").chmod(0o644)
        done = run_once("--config", str(self.daemon.file))
        line = self.daemon.file.read_text().count("\n")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(
            [line for line in done.stderr.splitlines() if line.startswith("[ALERT]")],
            [
                f"[ALERT] {self.daemon.file}:{line}: manhole: authorized-keys {self.directory}/authorized_keys:"
                " cannot be read: No such file or directory",
                f"[ALERT] {self.daemon.file}:{line}: manhole: host-key {self.directory}/host_key:"
                " must be for its owner only (chmod 600); its mode is 0644",
            ],
        )
