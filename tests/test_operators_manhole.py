"""The manhole without a network: its files, who may come in, and what a session finds and prints."""

from __future__ import annotations

import builtins
import gc
import io
import os
import socket
import stat
import struct
import sys
from base64 import b64decode, b64encode
from contextlib import redirect_stdout
from hashlib import sha256
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, SECP521R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_elliptic_curve_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from twisted.conch.error import ValidPublicKey
from twisted.conch.ssh.common import MP, NS
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.session import packRequest_pty_req
from twisted.cred.credentials import IUsernamePassword, SSHPrivateKey
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.server import DOWN, UP, Server
from reusedproxy.config import model
from reusedproxy.config.model.proxies import PoolLimits
from reusedproxy.daemon.load import Refused
from reusedproxy.daemon.service import ProxyService
from reusedproxy.daemon.starting.account import Account
from reusedproxy.measures.last_errors import LastErrors
from reusedproxy.measures.log_throttle import TELL_AT_MOST, TELL_EVERY
from reusedproxy.measures.traffic import Traffic
from reusedproxy.net.watchdog import Standstills
from reusedproxy.operators.logs.orders import OrderLog
from reusedproxy.operators.shell.commands import GUIDE, namespace
from reusedproxy.operators.shell.key_checker import RESTED, KeyChecker
from reusedproxy.operators.shell.keys import LONGEST_FILE, KeyFile, ManholeError, fingerprint, host_key, make_host_key
from reusedproxy.operators.shell.manhole import Manhole
from reusedproxy.operators.shell.session import Session, run
from reusedproxy.operators.shell.ssh import (
    ADMITTED,
    ATTEMPTS,
    CONNECTIONS,
    LAST_WORDS,
    LEAST_PACKET,
    LOGIN_TIMEOUT,
    LONGEST_MESSAGE,
    LOOK_EVERY,
    MESSAGES,
    UNUSED,
)
from reusedproxy.operators.shell.tables import table
from reusedproxy.pool.pool import HTTPConnectionPool
from reusedproxy.wire.heads import Limits
from tests.fakes import FakeDialer
from tests.garbage import garbage
from tests.integration.peers import temporary_directory
from tests.manholes import (
    PLACE,
    Client,
    ConnectionTestCase,
    FilesTestCase,
    KeyHolder,
    SessionChannel,
    new_key,
)


def authorized_keys(path: str, user: int) -> list[Key]:
    return list(KeyFile(path).keys(user).values())


#: A key of ECDSA whose point is written in another way than SSH knows (RFC 5656 section 3.1).
COMPRESSED = b"ecdsa-sha2-nistp256 " + b64encode(
    NS(b"ecdsa-sha2-nistp256")
    + NS(b"nistp256")
    + NS(
        generate_elliptic_curve_key(SECP256R1()).public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    )
)


class AuthorizedKeysTests(FilesTestCase):
    def test_comments_and_empty_lines_are_passed_over(self) -> None:
        self.write(self.keys, b"# people\n\n   \n" + self.key.public().toString("openssh"))
        self.assertEqual(authorized_keys(str(self.keys), os.geteuid()), [self.key.public()])

    def test_a_missing_file_is_a_fault(self) -> None:
        self.keys.unlink()
        (fault,) = self.faults()
        self.assertEqual(fault, f"manhole: authorized-keys {self.keys}: cannot be read: No such file or directory")

    def test_a_file_without_a_key_is_a_fault(self) -> None:
        self.write(self.keys, b"# nobody yet\n")
        (fault,) = self.faults()
        self.assertIn("holds no key, so nobody could come in", fault)

    def test_a_file_that_others_can_write_is_a_fault(self) -> None:
        self.keys.chmod(0o620)
        (fault,) = self.faults()
        self.assertIn("can be written by others; its mode is 0620", fault)

    def test_whom_an_access_control_list_lets_write_is_others_too(self) -> None:
        """The bits of the group show what a list allows at most (acl(5)); with them shut, it allows nothing."""
        anybody = 0xFFFFFFFF
        entries = ((0x01, 6, anybody), (0x02, 6, 12345), (0x04, 0, anybody), (0x10, 6, anybody), (0x20, 0, anybody))
        content = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
        try:
            os.setxattr(self.keys, "system.posix_acl_access", content)
        except OSError as error:
            self.skipTest(f"no such lists here: {error.strerror}")
        self.assertIn("can be written by others; its mode is 0660", self.faults()[0])
        self.keys.chmod(0o600)
        self.assertEqual(authorized_keys(str(self.keys), os.geteuid()), [self.key.public()])

    def test_a_file_of_another_user_is_a_fault(self) -> None:
        """As for sshd's StrictModes; root's will do, and that of the user whom the daemon becomes."""
        with self.owned_by(12345):
            self.assertIn("belongs to another user (12345), who could change it", self.faults()[0])
            authorized_keys(str(self.keys), 12345)
        with self.owned_by(0):
            self.keys.chmod(0o644)
            authorized_keys(str(self.keys), 12345)
            self.keys.chmod(0o600)
            fault = self.assertRaises(ManholeError, authorized_keys, str(self.keys), 12345).texts[0]
            self.assertIn("cannot be read by user 12345, whom the daemon becomes: chown 12345", fault)

    def test_a_directory_above_that_others_can_change_is_a_fault(self) -> None:
        """They could put another file in its place; not so in one that is sticky."""
        inner = self.directory / "one" / "two"
        inner.mkdir(parents=True)
        path = inner / "keys"
        self.write(path, self.keys.read_bytes())
        user = os.geteuid()
        authorized_keys(str(path), user)
        (self.directory / "one").chmod(0o775)
        fault = self.assertRaises(ManholeError, authorized_keys, str(path), user).texts[0]
        self.assertIn(f"the directory {self.directory / 'one'} can be written by others; its mode is 0775", fault)
        link = self.directory / "link"
        link.symlink_to(path)
        self.assertRaises(ManholeError, authorized_keys, str(link), user)
        (self.directory / "one").chmod(0o1777)
        authorized_keys(str(path), user)

    def test_what_leads_to_it_by_links_is_judged_too(self) -> None:
        """Who may change a link, or what it leads through, says which file counts."""
        user = os.geteuid()
        open_, safe = self.directory / "open", self.directory / "safe"
        for each in (open_, safe):
            each.mkdir()
        (safe / "keys").symlink_to(self.keys)
        (open_ / "keys").symlink_to(self.keys)
        (safe / "through").symlink_to("../open/keys")
        for path in (safe / "keys", open_ / "keys", safe / "through"):
            authorized_keys(str(path), user)
        open_.chmod(0o777)
        authorized_keys(str(safe / "keys"), user)
        for path in (open_ / "keys", safe / "through"):
            fault = self.assertRaises(ManholeError, authorized_keys, str(path), user).texts[0]
            self.assertIn(f"the directory {open_} can be written by others; its mode is 0777", fault)

    def test_two_dots_behind_a_link_lead_out_of_what_it_leads_to(self) -> None:
        """As for the kernel, and not by the path's text."""
        user = os.geteuid()
        inner = self.directory / "open" / "inner"
        inner.mkdir(parents=True)
        (self.directory / "current").symlink_to(inner)
        self.write(self.directory / "open" / "keys", self.keys.read_bytes())
        path = f"{self.directory}/current/../keys"
        authorized_keys(path, user)
        inner.parent.chmod(0o777)
        fault = self.assertRaises(ManholeError, authorized_keys, path, user).texts[0]
        self.assertIn(f"the directory {inner.parent} can be written by others", fault)

    def test_a_link_of_another_user_is_a_fault(self) -> None:
        """Also in a directory that is sticky, where he can change nothing but that."""
        if os.geteuid():
            self.skipTest("only root can give a link away")
        link = self.directory / "link"
        link.symlink_to(self.keys)
        os.lchown(link, 12345, -1)
        fault = self.assertRaises(ManholeError, authorized_keys, str(link), 0).texts[0]
        self.assertIn(f"the link {link} belongs to another user (12345)", fault)

    def test_links_that_lead_in_a_circle(self) -> None:
        link = self.directory / "link"
        link.symlink_to("link")
        fault = self.assertRaises(ManholeError, authorized_keys, str(link), os.geteuid()).texts[0]
        self.assertIn("Too many levels of symbolic links", fault)

    def owned_by(self, user: int) -> Any:
        """A file's owner is another one, as far as fstat tells: only root could give files away."""
        real = os.fstat

        def other(fd: int) -> os.stat_result:
            fields = list(real(fd))
            fields[4] = user
            return os.stat_result(fields)

        return mock.patch("os.fstat", other)

    def test_what_is_no_regular_file_is_a_fault_and_is_not_waited_for(self) -> None:
        """A FIFO that nobody writes to would have stopped the whole daemon, at the start or at the next login."""
        for path in (self.keys, self.host_key):
            path.unlink(missing_ok=True)
            os.mkfifo(path, 0o600)
        self.assertEqual(
            self.faults(),
            [
                f"manhole: authorized-keys {self.keys}: is no regular file",
                f"manhole: host-key {self.host_key}: is no regular file",
            ],
        )
        self.assertIn("is no regular file", self.fault_of(Path("/dev/null")))
        self.assertIn("cannot be read: Is a directory", self.fault_of(self.directory))

    def fault_of(self, path: Path) -> str:
        error: ManholeError = self.assertRaises(ManholeError, authorized_keys, str(path), os.geteuid())
        return error.texts[0]

    def test_a_file_that_became_a_fifo_lets_nobody_in(self) -> None:
        self.keys.unlink()
        os.mkfifo(self.keys, 0o600)
        credentials = SSHPrivateKey(b"root", self.key.sshType(), self.key.public().blob(), b"", None)
        checker = KeyChecker(str(self.keys))
        refused = self.assertRaises(UnauthorizedLogin, checker.requestAvatarId, credentials)
        self.assertIn("is no regular file", str(refused))

    def test_a_file_without_end_is_a_fault(self) -> None:
        os.truncate(self.keys, LONGEST_FILE + 1)
        (fault,) = self.faults()
        self.assertIn("is longer than 131072 bytes", fault)

    def test_a_carriage_return_ends_no_line(self) -> None:
        """As in OpenSSH: what stands behind it in a comment is a part of the comment."""
        good, other = (key.public().toString("openssh") for key in (self.key, new_key()))
        self.write(self.keys, good + b"\r\n#" + good + b" alice\r" + other + b"\n")
        self.assertEqual(authorized_keys(str(self.keys), os.geteuid()), [self.key.public()])
        self.write(self.keys, good + b" alice\r" + other + b"\n")
        (fault,) = self.faults()
        self.assertIn("authorized_keys, line 1: not a public key as OpenSSH writes it", fault)

    def test_a_key_that_can_be_forged_is_a_fault(self) -> None:
        """As in sshd, which takes no DSA, and no RSA of less than 1024 bits."""
        for bits, ok in ((512, False), (768, False), (1024, True), (2048, True)):
            with mock.patch.object(Key, "size", lambda key, bits=bits: bits):
                self.authorize(self.key, Key(generate_private_key(65537, 1024)))
                if ok:
                    self.assertEqual(len(authorized_keys(str(self.keys), os.geteuid())), 2)
                else:
                    self.assertIn(
                        "line 2: a key of DSA, or of RSA with less than 1024 bits, can be forged", self.faults()[0]
                    )
        with mock.patch.object(Key, "type", lambda key: "DSA"):
            self.assertIn("line 1: a key of DSA", self.faults()[0])

    def test_each_line_that_is_no_key_is_a_fault_with_its_number(self) -> None:
        good = self.key.public().toString("openssh")
        padded = Key(generate_elliptic_curve_key(SECP256R1())).public().toString("openssh")
        self.assertRegex(padded, b"[^=]=$")
        for bad in (
            b'from="10.0.0.1" ' + good,  # a limit that we would not keep
            b"ssh-ed25519",
            b"ssh-rsa !!!!",
            b"ssh-rsa AAAA",
            b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA",
            b"ecdsa-sha2-nistp256 AAAA",
            b"sk-ssh-ed25519@openssh.com AAAA",
            b"ssh-rsa AAAAB3NzaC1yc2EAAAABAAAAAAEB",
            b"\xff\xfe",
            b"-----BEGIN OPENSSH PRIVATE KEY-----",
            # What sshd does not take, either, and conch would: who spoils a line takes its key out of use.
            good.replace(b"ssh-ed25519 ", b"ssh-disabled "),
            good.replace(b"ssh-ed25519 ", b"ssh-rsa "),
            good.replace(b"ssh-ed25519 ", b"ssh-ed25519-cert-v01@openssh.com "),
            good.replace(b"ssh-ed25519 ", b"ssh-ed25519 #"),
            good.replace(b"ssh-ed25519 ", b"ssh-ed25519 !"),
            good.replace(b"ssh-ed25519 ", b"ssh-ed25519\v"),
            b"ssh-ed25519 " + b64encode(b64decode(good.split()[1]) + b"more"),
            good + b"=",
            good + b"====",
            padded.rstrip(b"="),
            padded + b"=",
            padded[:-2] + bytes([padded[-2] + 1]) + b"=",  # a bit that belongs to no byte
            COMPRESSED,
        ):
            self.write(self.keys, good + b"\n" + bad + b"\n" + bad + b"\n")
            faults = self.faults()
            self.assertEqual(len(faults), 2, bad)
            self.assertIn("authorized_keys, line 2: not a public key", faults[0])
            self.assertIn("authorized_keys, line 3: not a public key", faults[1])


class HostKeyTests(FilesTestCase):
    def test_it_is_made_at_the_first_start_and_is_for_its_owner_only_whatever_the_umask(self) -> None:
        self.addCleanup(os.umask, os.umask(0))
        manhole = self.manhole()
        self.assertFalse(self.host_key.exists())
        manhole.bind()
        self.addCleanup(manhole.stop)
        self.assertEqual(stat.S_IMODE(self.host_key.stat().st_mode), 0o600)
        self.assertEqual(Key.fromFile(str(self.host_key)).sshType(), b"ssh-ed25519")
        self.assertEqual({path.name for path in self.directory.iterdir()}, {"authorized_keys", "host_key", "socket"})

    def test_a_host_key_that_no_client_takes_is_refused(self) -> None:
        """A start would fail by it, or a manhole listen at which nobody can log in."""
        for made in (ec.generate_private_key(ec.SECP256K1()), dsa.generate_private_key(1024)):
            pem = made.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
            self.host_key.write_bytes(pem)
            self.host_key.chmod(0o600)
            error: ManholeError = self.assertRaises(ManholeError, host_key, str(self.host_key), os.getuid())
            self.assertIn("no client takes a key of this kind", error.texts[0])
        for good in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)):
            pem = good.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
            self.host_key.write_bytes(pem)
            self.assertIsNotNone(host_key(str(self.host_key), os.getuid()))

    def test_where_no_host_key_can_be_made_is_known_before_the_start(self) -> None:
        """A restart that is checked first would stop in vain."""
        error: ManholeError = self.assertRaises(ManholeError, host_key, str(self.directory / ("k" * 255)), os.getuid())
        self.assertIn("cannot be made: its name is too long", error.texts[0])
        kernels = os.statvfs_result((1,) * 8 + (os.ST_RDONLY, 255))
        self.patch(os, "statvfs", lambda path: kernels)
        error = self.assertRaises(ManholeError, host_key, str(self.directory / "key"), os.getuid())
        self.assertIn(f"{self.directory} is on a read-only file system", error.texts[0])

    def test_no_link_of_the_daemons_user_leads_root_to_another_directory(self) -> None:
        """Who would own a file there, such as /etc/cron.daily."""
        if os.geteuid():
            self.skipTest("only root can become another user")
        precious, theirs = self.directory / "precious", self.directory / "theirs"
        precious.mkdir()
        theirs.mkdir()
        (theirs / "ssh").symlink_to(precious)
        for each in (theirs, theirs / "ssh"):
            os.chown(each, 12345, 12345, follow_symlinks=False)
        error: ManholeError = self.assertRaises(ManholeError, make_host_key, str(theirs / "ssh" / "key"), 12345)
        self.assertIn("'ssh' is a link that another user can change, which root does not follow", error.texts[0])
        self.assertEqual(list(precious.iterdir()), [])
        make_host_key(str(theirs / "key"), 12345)
        self.assertEqual(((theirs / "key").stat().st_uid, os.listdir(theirs)), (12345, ["ssh", "key"]))

    def test_files_are_read_as_the_user_whom_the_daemon_becomes(self) -> None:
        """Whose link could lead root anywhere."""
        if os.geteuid():
            self.skipTest("only root can become another user")
        self.directory.chmod(0o755)
        for mode, reason in (
            (0o600, f"cannot be read by user 12345, whom the daemon becomes: chown 12345 {self.keys}"),
            (0o644, ""),
        ):
            self.keys.chmod(mode)
            try:
                Manhole(
                    self.settings(), mock.Mock(), Clock(), mock.Mock(), mock.Mock(), Account(12345, 12345, (12345,))
                )
                said = ""
            except ManholeError as error:
                said = error.texts[0]
            self.assertEqual(said.partition(f"{self.keys}: ")[2], reason)

    def test_one_that_is_there_is_kept(self) -> None:
        content = new_key().toString("openssh")
        self.write(self.host_key, content)
        manhole = self.manhole()
        manhole.bind()
        manhole.stop()
        self.assertEqual(self.host_key.read_bytes(), content)
        self.assertFalse((self.directory / "socket").exists())

    def test_one_that_others_can_read_is_a_fault(self) -> None:
        self.write(self.host_key, new_key().toString("openssh"), 0o640)
        self.assertEqual(
            self.faults(),
            [f"manhole: host-key {self.host_key}: must be for its owner only (chmod 600); its mode is 0640"],
        )

    def test_what_is_not_a_private_key_is_a_fault(self) -> None:
        for content, words in (
            (b"", "is not a private key"),
            (b"hello", "is not a private key"),
            (new_key().public().toString("openssh"), "is a public key"),
            (new_key().toString("openssh", passphrase=b"secret"), "is protected by a passphrase"),
        ):
            self.write(self.host_key, content)
            (fault,) = self.faults()
            self.assertIn(words, fault)

    def test_no_directory_to_make_it_in_is_a_fault(self) -> None:
        self.host_key = self.directory / "nowhere" / "host_key"
        (fault,) = self.faults()
        self.assertIn(f"there is no directory {self.directory}/nowhere", fault)

    def test_none_is_made_where_it_would_not_be_taken_the_next_time(self) -> None:
        """Whoever may write to the directory could put his own in its place."""
        shared = self.directory / "shared"
        shared.mkdir()
        shared.chmod(0o777)
        self.host_key = shared / "host_key"
        (fault,) = self.faults()
        self.assertIn(f"the directory {shared} can be written by others; its mode is 0777", fault)
        shared.chmod(0o755)
        manhole = self.manhole()
        shared.chmod(0o777)
        self.assertRaises(ManholeError, manhole.bind)
        self.assertEqual(list(shared.iterdir()), [])

    def test_an_rsa_key_as_older_programs_write_it_will_do(self) -> None:
        private = generate_private_key(public_exponent=65537, key_size=2048)
        self.write(self.host_key, private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
        manhole = self.manhole()
        manhole.bind()
        manhole.stop()
        self.assertEqual(list(manhole._factory.privateKeys), [b"ssh-rsa"])


class LoginTests(FilesTestCase):
    def ask(self, key: Key, signer: Key | None = None) -> bytes:
        """Offer `key`, signed for by `signer`."""
        data = b"what a session signs"
        signature = signer.sign(data) if signer is not None else None
        credentials = SSHPrivateKey(b"root", key.sshType(), key.public().blob(), data, signature)
        user: bytes = KeyChecker(str(self.keys)).requestAvatarId(credentials)
        return user

    def test_a_known_key_is_asked_to_prove_itself_and_then_admitted(self) -> None:
        self.assertRaises(ValidPublicKey, self.ask, self.key)
        self.assertEqual(self.ask(self.key, self.key), b"root")

    def test_a_known_key_with_another_signature_is_refused(self) -> None:
        self.assertRaises(UnauthorizedLogin, self.ask, self.key, new_key())

    def test_an_unknown_key_is_refused_when_it_is_offered(self) -> None:
        stranger = new_key()
        self.assertRaises(UnauthorizedLogin, self.ask, stranger)
        self.assertRaises(UnauthorizedLogin, self.ask, stranger, stranger)

    def test_a_signature_that_makes_no_sense_is_refused(self) -> None:
        blob = self.key.public().blob()
        credentials = SSHPrivateKey(b"root", b"ssh-ed25519", blob, b"data", b"\0\0\0\xffrubbish")
        self.assertRaises(UnauthorizedLogin, KeyChecker(str(self.keys)).requestAvatarId, credentials)

    def test_a_signature_with_an_algorithm_that_was_not_announced_is_refused(self) -> None:
        """An RSA key may sign with SHA-1, and the signature itself says so: RFC 8332 section 2."""
        secret, data = generate_private_key(public_exponent=65537, key_size=2048), b"what a session signs"
        self.authorize(Key(secret))

        def admitted(algorithm: bytes, digest: HashAlgorithm, asked: bytes) -> bytes:
            signature = NS(algorithm) + NS(secret.sign(data, PKCS1v15(), digest))
            credentials = SSHPrivateKey(b"root", asked, Key(secret).public().blob(), data, signature)
            user: bytes = KeyChecker(str(self.keys)).requestAvatarId(credentials)
            return user

        self.assertEqual(admitted(b"rsa-sha2-256", SHA256(), b"rsa-sha2-256"), b"root")
        self.assertEqual(admitted(b"rsa-sha2-512", SHA512(), b"rsa-sha2-512"), b"root")
        for asked in (b"ssh-rsa", b"rsa-sha2-512"):
            refused = self.assertRaises(UnauthorizedLogin, admitted, b"ssh-rsa", SHA1(), asked)
            self.assertEqual(str(refused), "its signature is of the kind ssh-rsa, which is not accepted")

    def test_each_kind_of_key_signs_with_an_algorithm_that_was_announced(self) -> None:
        for curve in (SECP256R1(), SECP384R1(), SECP521R1()):
            key = Key(generate_elliptic_curve_key(curve))
            self.authorize(key)
            self.assertEqual(self.ask(key, key), b"root")

    def test_a_security_key_must_have_been_touched(self) -> None:
        """As sshd demands where no option says otherwise (OpenSSH's PROTOCOL.u2f)."""
        secret, kind = Ed25519PrivateKey.generate(), b"sk-ssh-ed25519@openssh.com"
        blob = NS(kind) + NS(secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)) + NS(b"ssh:")
        self.keys.write_bytes(kind + b" " + b64encode(blob) + b"\n")

        def admitted(flags: bytes) -> bytes:
            beside = flags + struct.pack(">I", 7)
            data = sha256(b"ssh:").digest() + beside + sha256(b"what a session signs").digest()
            credentials = SSHPrivateKey(b"root", kind, blob, data, NS(kind) + NS(secret.sign(data)) + beside)
            user: bytes = KeyChecker(str(self.keys)).requestAvatarId(credentials)
            return user

        self.assertEqual([admitted(flags) for flags in (b"\x01", b"\x05")], [b"root", b"root"])
        for flags in (b"\x00", b"\x04"):
            refused = self.assertRaises(UnauthorizedLogin, admitted, flags)
            self.assertEqual(str(refused), "its security key was not touched")

    def test_the_file_is_read_again_at_each_login(self) -> None:
        other = new_key()
        self.authorize(other)
        self.assertRaises(UnauthorizedLogin, self.ask, self.key, self.key)
        self.assertEqual(self.ask(other, other), b"root")
        self.keys.unlink()
        refused = self.assertRaises(UnauthorizedLogin, self.ask, other, other)
        self.assertIn("cannot be read", str(refused))

    def test_what_the_file_says_is_parsed_once(self) -> None:
        """Offers cost strangers little: parsed each time, a long file would hold the event loop for each of theirs."""
        self.authorize(self.key, *(new_key() for _ in range(20)))
        checker, stranger = KeyChecker(str(self.keys)), new_key().public().blob()
        with mock.patch.object(Key, "fromString", side_effect=Key.fromString) as parsed:
            for _ in range(10):
                self.assertRaises(UnauthorizedLogin, checker.known, stranger)
                self.assertEqual(checker.known(self.key.public().blob()), self.key.public())
            self.assertEqual(parsed.call_count, 21)
            # Of the same size, written within the same tick of the file system's clock.
            before = self.keys.stat()
            self.authorize(new_key(), *(new_key() for _ in range(20)))
            os.utime(self.keys, ns=(before.st_atime_ns, before.st_mtime_ns))
            self.assertRaises(UnauthorizedLogin, checker.known, self.key.public().blob())
            self.assertEqual(parsed.call_count, 42)
            self.write(self.keys, b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA\n")
            for _ in range(10):
                self.assertRaises(UnauthorizedLogin, checker.known, stranger)
            self.assertEqual(parsed.call_count, 43)

    def test_a_file_that_cannot_be_parsed_leaves_nobody_of_before(self) -> None:
        checker, blob = KeyChecker(str(self.keys)), self.key.public().blob()
        checker.known(blob)
        content = self.keys.read_bytes()
        for raised in (NotImplementedError, MemoryError):
            with mock.patch("reusedproxy.operators.shell.keys._parsed", side_effect=raised):
                self.write(self.keys, content + b"\n")
                self.assertRaises(UnauthorizedLogin, checker.known, blob)
                self.write(self.keys, content)
                self.assertRaises(UnauthorizedLogin, checker.known, blob)
            checker.known(blob)

    def test_there_is_no_way_in_with_a_password(self) -> None:
        portal = self.manhole()._factory.portal
        self.assertNotIn(IUsernamePassword, portal.listCredentialsInterfaces())


def packet(number: int, content: bytes = b"") -> bytes:
    """A message before keys are exchanged."""
    padding = 8 - (6 + len(content)) % 8 + 8
    return struct.pack("!LBB", 2 + len(content) + padding, padding, number) + content + bytes(padding)


VERSION = b"SSH-2.0-x\r\n"
KEXINIT, NEWKEYS, KEX_INIT, SERVICE_REQUEST, AUTH_REQUEST, IGNORE, DEBUG, EXT_INFO = 20, 21, 30, 5, 50, 2, 4, 7
CLOSED = "Manhole closed the connection from a unix socket before its login: "


class ConnectionTests(ConnectionTestCase):
    def closed_for(self, *messages: bytes) -> str:
        """The only line about somebody who sends these."""
        self.said.clear()
        self.clock.advance(TELL_EVERY)
        connection, transport = self.connect()
        for message in messages:
            connection.dataReceived(message)
        self.assertTrue(transport.disconnecting or transport.disconnected, messages)
        connection.connectionLost(Failure(ConnectionDone()))
        (line,) = self.said
        self.assertTrue(line.startswith(CLOSED), line)
        return line.removeprefix(CLOSED)

    def test_what_is_no_ssh_ends_the_connection_with_one_line(self) -> None:
        """conch stumbles over much of it."""
        for messages, reason in (
            ([b"GET / HTTP/1.1\r\n\r\n"], "SSH's reason 2: bad packet length 1195725856"),
            ([b"x" * 5000], "SSH's reason 10: Peer version string longer than 4KB"),
            ([b"SSH-1.0-\x1b[2J\n"], "SSH's reason 8: bad version 1.0"),
            ([packet(KEXINIT) + b"\n"], "it sent what is no SSH"),
            (
                [VERSION, packet(KEXINIT, b"short")],
                "it sent what is no SSH (error)",
            ),
            ([VERSION, packet(KEXINIT, bytes(61))], "SSH's reason 3: couldn't match all kex parts"),
            ([VERSION, packet(KEX_INIT, b"\xff" * 11)], "it sent what is no SSH (AttributeError)"),
            ([VERSION, packet(NEWKEYS)], "it sent what is no SSH (AttributeError)"),
            ([VERSION, packet(DEBUG)], "it sent what is no SSH (TypeError)"),
            ([VERSION, packet(EXT_INFO, b"\xff" * 4)], "it sent what is no SSH (error)"),
            ([VERSION, b"\0\0\0\x0d" + bytes(20)], "SSH's reason 2: bad packet mod"),
            (
                [VERSION, packet(SERVICE_REQUEST, NS(b"ssh-userauth"))],
                "it asked for a login before keys were exchanged",
            ),
            ([VERSION, packet(AUTH_REQUEST)], "it asked for a login before keys were exchanged"),
        ):
            self.assertEqual(self.closed_for(*messages)[: len(reason)], reason)

    def test_garbage_of_any_kind_is_never_more_than_a_line(self) -> None:
        random = Random(1)
        connection, transport = self.connect()
        connection.connectionLost(Failure(ConnectionDone()))
        version, kexinit = transport.value().split(b"\r\n", 1)
        for _ in range(300):
            said = bytearray(kexinit + packet(KEX_INIT, NS(random.randbytes(32))) + packet(NEWKEYS))
            for _ in range(random.randint(0, 4)):
                said[random.randrange(len(said))] = random.randrange(256)
            self.said.clear()
            self.clock.advance(TELL_EVERY)
            connection, _ = self.connect()
            connection.dataReceived(version + b"\r\n")
            connection.dataReceived(bytes(said) + random.randbytes(100))
            connection.connectionLost(Failure(ConnectionDone()))
            self.assertLessEqual(len(self.said), 1, said)

    def test_what_follows_a_fault_is_not_read(self) -> None:
        connection, transport = self.connect()
        connection.dataReceived(VERSION + packet(AUTH_REQUEST) + packet(KEXINIT, bytes(61)))
        sent = transport.value()
        connection.dataReceived(packet(KEXINIT, bytes(61)))
        self.assertEqual((len(self.said), transport.value()), (1, sent))

    def test_nothing_is_unpacked_before_the_login(self) -> None:
        """A kilobyte would become a megabyte."""
        _, transport = self.connect()
        self.assertIn(NS(b"none") * 2, transport.value())
        self.assertNotIn(b"zlib", transport.value())

    def test_a_message_is_not_collected_beyond_what_everybody_must_take(self) -> None:
        length = struct.pack("!L", LONGEST_MESSAGE + 4)
        self.assertEqual(self.closed_for(VERSION, length, bytes(LONGEST_MESSAGE)), "it sent a message that is too long")
        connection, transport = self.connect()
        connection.dataReceived(VERSION)
        connection.dataReceived(packet(IGNORE, bytes(32768)))
        self.assertFalse(transport.disconnecting)

    def test_messages_before_the_login_are_counted(self) -> None:
        self.assertEqual(self.closed_for(VERSION, packet(IGNORE) * (MESSAGES + 1)), "it sent too many messages")

    def test_a_login_exchanges_keys_once_and_asks_for_its_service_once(self) -> None:
        """Each costs time, and a new service would count the keys that are offered from the start."""
        for again in (
            Client.sendKexInit,
            lambda client: [client.requestService(KeyHolder()) for _ in range(2)],
        ):
            self.said.clear()
            self.clock.advance(TELL_EVERY)
            _, client, _ = self.client(again)
            self.assertTrue(client.lost)
            self.assertEqual(self.said, [CLOSED + "it sent a message twice that a login has once"])

    def test_a_session_may_exchange_keys_again_and_send_what_it_likes(self) -> None:
        connection, client, pump = self.session()
        client.sendKexInit()
        pump.flush()
        for _ in range(2 * MESSAGES):
            client.sendPacket(IGNORE, NS(bytes(2 * LONGEST_MESSAGE)))
        pump.flush()
        self.assertEqual((connection.state, client.lost), (ADMITTED, False))
        assert client.transport is not None
        client.transport.loseConnection()
        pump.flush()
        self.assertEqual(self.said[-1], "Manhole has ended the session of user 'me' from a unix socket")

    def test_keys_that_are_refused_are_a_bounded_number_of_lines_and_tries(self) -> None:
        for _ in range(5):
            strangers = [new_key() for _ in range(2 * ATTEMPTS)]

            def offer(client: Client, keys: list[Key] = strangers) -> None:
                client.requestService(KeyHolder(*keys))

            _, client, _ = self.client(offer)
            self.assertTrue(client.lost)
        refused = [line for line in self.said if line.startswith("Manhole refused user 'me' from a unix socket")]
        self.assertEqual(len(refused), TELL_AT_MOST)
        self.assertIn("it is not among the authorized keys", refused[0])
        self.assertEqual(
            [line for line in self.said if line not in refused], [CLOSED + "SSH's reason 14: too many bad auths"]
        )

    def test_what_a_stranger_offers_is_not_read_as_a_key(self) -> None:
        """conch takes private keys there, too, and tests whether their primes are primes: for minutes, if they are
        large."""
        p, q, e = 2**521 - 1, 2**127 - 1, 65537
        numbers = (e, pow(e, -1, (p - 1) * (q - 1)), p * q, 0, p, q)
        offered = NS(b"ssh-rsa") + b"".join(MP(each) for each in numbers)
        self.assertEqual(Key.fromString(offered).type(), "RSA")

        def offer(client: Client) -> None:
            client.requestService(KeyHolder())
            for signed in (b"", NS(NS(b"rsa-sha2-256") + NS(b"x"))):
                what = NS(b"me") + NS(b"ssh-connection") + NS(b"publickey") + bytes([bool(signed)])
                client.sendPacket(AUTH_REQUEST, what + NS(b"rsa-sha2-256") + NS(offered) + signed)

        with mock.patch.object(Key, "fromString", side_effect=Key.fromString) as read:
            self.client(offer)
            self.assertNotIn(offered, [call.args[0] for call in read.call_args_list])
        self.assertEqual([line.rpartition(": ")[2] for line in self.said], ["it is not among the authorized keys"])
        self.session()

    def test_what_a_stranger_writes_is_one_line_of_the_log_and_not_long(self) -> None:
        def log_in(client: Client) -> None:
            login = KeyHolder()
            client.requestService(login)
            name, kind = b"me\n" * 100, b"ssh-\nManhole admitted\x1b[2J" * 100
            what = NS(name) + NS(b"ssh-connection") + NS(b"publickey") + b"\0" + NS(kind) + NS(b"no key")
            client.sendPacket(AUTH_REQUEST, what)

        self.client(log_in)
        (line,) = self.said
        self.assertTrue(line.startswith("Manhole refused user 'me?me?"), line)
        self.assertTrue(line.isprintable())
        self.assertLess(len(line), 600)

    def test_one_that_has_not_logged_in_makes_room_for_the_next(self) -> None:
        """Any of the older half: a flood does not push out all that were there before, as it would by their age, nor
        a gentle one whoever has just begun."""
        waiting = [self.connect() for _ in range(CONNECTIONS)]
        for _ in range(3):
            waiting.append(self.connect())
            self.assertFalse(any(transport.disconnected for _, transport in waiting[-CONNECTIONS // 2 :]))
        ended = [number for number, (_, transport) in enumerate(waiting) if transport.disconnected]
        self.assertEqual(len(ended), 3)
        self.assertNotEqual(ended, [0, 1, 2])
        self.assertEqual(self.said, [CLOSED + "there were too many, and another one came"])
        self.clock.advance(TELL_EVERY)
        self.connect()
        self.assertIn("(3 connections closed since the last line)", self.said[1])

    def test_who_has_exchanged_keys_stays_as_long_as_others_have_not(self) -> None:
        protocol, transport = self.connect()
        protocol.service = mock.Mock()
        for _ in range(10 * CONNECTIONS):
            self.connect()
        self.assertFalse(transport.disconnected)
        for each in self.factory.connections:
            each.service = mock.Mock()
        for _ in range(CONNECTIONS // 2):
            self.connect()[0].service = mock.Mock()
        self.assertEqual(len(self.factory.connections), CONNECTIONS)

    def test_no_algorithm_is_offered_that_openssh_has_given_up(self) -> None:
        """Whatever the host key is."""
        for kind in ("ed25519", "rsa"):
            self.factory.use(new_key() if kind == "ed25519" else Key(generate_private_key(65537, 2048)))
            built = self.factory.buildProtocol(None)
            offered = (
                *(built.supportedCiphers, built.supportedMACs),
                *(built.supportedKeyExchanges, built.supportedPublicKeys),
            )
            for each in offered:
                self.assertTrue(each)
                for word in (b"3des", b"cbc", b"md5", b"sha1", b"ssh-rsa", b"ssh-dss", b"none", b"group"):
                    self.assertFalse([name for name in each if word in name], word)

    def test_a_session_is_never_pushed_out(self) -> None:
        sessions = [self.session()]
        for _ in range(2 * CONNECTIONS):
            self.connect()
        self.assertFalse(sessions[0][1].lost)
        while len(sessions) < CONNECTIONS:
            sessions.append(self.session())
        self.said.clear()
        self.clock.advance(TELL_EVERY)
        for _ in range(3):
            self.assertIsNone(self.factory.buildProtocol(None))
        self.assertFalse(any(client.lost for _, client, _ in sessions))
        told = f"Manhole has {CONNECTIONS} sessions already and refused another connection"
        self.assertEqual([line.partition(" (")[0] for line in self.said], [told])

    def test_a_session_that_is_not_used_gives_its_place(self) -> None:
        """The one that has been without a channel for longest; not one that somebody works in, or has used just now."""
        working = self.open_channel(self.session())
        idle = [self.session() for _ in range(CONNECTIONS - 1)]
        self.assertIsNone(self.factory.buildProtocol(None))
        self.clock.advance(UNUSED)
        used = self.open_channel(idle[0])
        self.close_channel(used)
        self.assertIsNotNone(self.factory.buildProtocol(None))
        idle[1][2].flush()
        self.assertEqual([client.lost for _, client, _ in idle[:3]], [False, True, False])
        for _ in range(3 * CONNECTIONS):
            self.assertIsNotNone(self.factory.buildProtocol(None))
        self.assertFalse(working[1].lost)

    def test_only_sessions_are_opened(self) -> None:
        """No port is forwarded, and no agent; who asks for it is told, and the log has no traceback."""
        connection, client, pump = self.session()
        service: Any = client.service
        refused: list[str] = []
        for kind in (b"direct-tcpip", b"forwarded-tcpip", b"x11", b"auth-agent@openssh.com", b""):
            channel = SessionChannel()
            channel.name = kind
            channel.openFailed = lambda reason: refused.append(reason.args[0])  # type: ignore[method-assign]
            service.openChannel(channel, NS(b"127.0.0.1") + bytes(4) + NS(b"127.0.0.1") + bytes(4))
            pump.flush()
        self.assertEqual(refused, [b"only sessions are opened here"] * 5)
        self.assertEqual((connection.service.channels, client.lost), ({}, False))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_client_that_reads_nothing_is_let_go_all_the_same(self) -> None:
        """Once its key is withdrawn: what it has yet to take would keep its place for ever."""
        connection, _, _ = self.open_channel(self.session())
        self.authorize(new_key())
        aborted: list[None] = []
        self.patch(connection.transport, "loseConnection", lambda: None)
        self.patch(connection.transport, "abortConnection", lambda: aborted.append(None))
        connection.look_again()
        self.clock.advance(LAST_WORDS - 1)
        self.assertEqual(aborted, [])
        self.clock.advance(1)
        self.assertEqual(aborted, [None])

    def test_a_channel_of_tiny_packets_is_not_opened(self) -> None:
        """Nothing fits into one of 0 bytes, so that what is to be sent would never come to its end."""
        connection, client, pump = self.session()
        service: Any = client.service
        for size, opened in ((0, False), (LEAST_PACKET - 1, False), (LEAST_PACKET, True)):
            refused: list[str] = []
            channel = SessionChannel()
            channel.localMaxPacket = size
            channel.openFailed = lambda reason: refused.append(reason.args[0])  # type: ignore[method-assign] # noqa: B023
            service.openChannel(channel)
            pump.flush()
            said = [] if opened else [b"a channel takes packets of at least 256 bytes here"]
            self.assertEqual((refused, len(connection.service.channels)), (said, int(opened)))

    def test_a_key_that_is_withdrawn_opens_no_channel_any_more(self) -> None:
        """Whoever has logged in with it before: a connection may last for months."""
        connection, client, _ = session = self.open_channel(self.session())
        self.assertEqual(len(connection.service.channels), 1)
        self.authorize(new_key())
        self.assertFalse(client.lost)
        self.open_channel(session)
        self.assertTrue(client.lost)
        told = (
            f"Manhole ends the session of user 'me' from a unix socket with key {fingerprint(self.key.public().blob())}"
        )
        self.assertIn(f"{told}: it is not among the authorized keys", self.said)

    def test_a_key_that_is_withdrawn_starts_nothing_in_a_channel_that_is_open(self) -> None:
        """Nor runs a script that has yet to end."""
        for request, content in ((b"exec", NS(b"1 + 1")), (b"shell", b""), (b"subsystem", NS(b"sftp")), (b"", b"")):
            self.authorize(self.key)
            connection, client, pump = self.open_channel(self.session())
            service: Any = client.service
            (channel,) = service.channels.values()
            if not request:
                service.sendRequest(channel, b"shell", b"")
                channel.write(b"1 + 1")
                pump.flush()
            (theirs,) = connection.service.channels.values()
            self.authorize(new_key())
            service.sendRequest(channel, b"env", NS(b"LANG") + NS(b"C"))
            pump.flush()
            self.assertFalse(client.lost, request)
            with (
                mock.patch.object(theirs, "requestReceived") as started,
                mock.patch.object(theirs, "eofReceived") as ran,
            ):
                if request:
                    service.sendRequest(channel, request, content)
                else:
                    service.sendEOF(channel)
                pump.flush()
            self.assertEqual((client.lost, started.called, ran.called), (True, False, False), request)

    def logged(self) -> list[Any]:
        """Returns a list that takes what is logged from now on."""
        lines: list[Any] = []
        observe: Any = lines.append
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        return lines

    def test_a_command_that_is_run_is_not_in_the_log(self) -> None:
        """It may be a megabyte, and hold what is secret; nor is the name of the client's terminal."""
        lines = self.logged()
        _, client, pump = self.open_channel(self.session())
        service: Any = client.service
        (channel,) = service.channels.values()
        terminal = packRequest_pty_req(b"secret", (1, 1, 1, 1), b"")
        service.sendRequest(channel, b"pty-req", terminal)
        service.sendRequest(channel, b"exec", NS(b"'secret'"))
        pump.flush()
        self.assertNotIn("secret", repr(lines))

    def test_a_request_that_makes_no_sense_is_refused_without_a_traceback(self) -> None:
        """Whether or not its client wants a reply; conch would log one for each that wants none."""
        _, client, pump = self.open_channel(self.session())
        service: Any = client.service
        (channel,) = service.channels.values()
        kinds = (
            b"pty-req",
            b"window-change",
            b"exec",
            b"subsystem",
            b"signal",
            b"eow@openssh.com",
            b"\xff",
            b"_session",
        )
        for kind in kinds:
            replies: list[Any] = []
            service.sendRequest(channel, kind, b"\0\0\0\xff")
            service.sendRequest(channel, kind, b"\0\0\0\xff", wantReply=True).addBoth(replies.append)
            pump.flush()
            self.assertIn("request failed", str(replies), kind)
        gc.collect()  # a Deferred that failed, and that nobody asked, says so when it goes
        pump.flush()
        self.assertEqual((self.flushLoggedErrors(), client.lost), ([], False))

    def test_what_is_typed_at_a_prompt_is_not_in_the_log(self) -> None:
        lines = self.logged()
        _, client, pump = self.open_channel(self.session())
        service: Any = client.service
        (channel,) = service.channels.values()
        terminal = packRequest_pty_req(b"xterm", (25, 80, 0, 0), b"")
        service.sendRequest(channel, b"pty-req", terminal)
        service.sendRequest(channel, b"shell", b"")
        channel.write("schlüssel\x00".encode())
        pump.flush()
        self.assertNotIn("keyID", repr(lines))

    def test_nothing_of_a_session_is_left_to_the_garbage_collector(self) -> None:
        """Whether its client goes, or the prompt is left."""
        for typed in (b"1 + 1\n", b"\x04"):
            with garbage() as left:
                connection, client, pump = self.open_channel(self.session())
                gc.collect()  # tracebacks of conch's, of the login
                service: Any = client.service
                (channel,) = service.channels.values()
                service.sendRequest(channel, b"pty-req", packRequest_pty_req(b"xterm", (25, 80, 0, 0), b""))
                service.sendRequest(channel, b"shell", b"")
                channel.write(typed)
                pump.flush()
                connection.connectionLost(Failure(ConnectionDone()))
                for each in (pump, connection.transport, client.transport, client, service, channel):
                    vars(each).clear()
                del connection, client, pump, service, channel, each
            self.assertEqual(dict(left), {}, typed)

    def test_another_file_of_keys_counts_at_once(self) -> None:
        """Whoever is inside by a key of the one before is out, and new ones come in by the keys of the new one."""
        _, client, pump = self.session()
        other, key = self.directory / "others", new_key()
        self.write(other, key.public().toString("openssh") + b" another\n")
        self.assertEqual(self.manhole_.faults_of_keys(str(other)), ())
        self.manhole_.take_keys(str(other))
        self.clock.advance(6)
        pump.flush()
        self.assertTrue(client.lost)
        old, _, _ = self.client(lambda client: client.requestService(KeyHolder(self.key)))
        new, _, _ = self.client(lambda client: client.requestService(KeyHolder(key)))
        self.assertEqual((old.state == ADMITTED, new.state), (False, ADMITTED))
        self.write(other, b"no key\n")
        self.assertEqual(self.manhole_.faults_of_keys(str(other)), (), "it is the present one")
        missing = str(self.directory / "missing")
        self.assertIn("No such file", self.manhole_.faults_of_keys(missing)[0])

    def test_a_key_that_is_withdrawn_is_out_at_the_next_reload(self) -> None:
        self.authorize(self.key, new_key())
        (_, out, pump), (_, waiting) = self.session(), self.connect()
        self.manhole_.look_again()
        pump.flush()
        self.assertFalse(out.lost)
        stays = new_key()
        self.authorize(stays)
        self.key = stays
        _, inside, other = self.session()
        self.manhole_.look_again()
        pump.flush()
        other.flush()
        self.assertEqual((out.lost, inside.lost, waiting.disconnected), (True, False, False))
        self.keys.unlink()
        self.manhole_.look_again()
        other.flush()
        self.assertTrue(inside.lost)

    def test_a_session_ends_whatever_keeps_the_file_from_being_read(self) -> None:
        def fails(file: KeyFile, user: int) -> dict[bytes, Key]:
            raise NotImplementedError("that kind of file")

        self.authorize(self.key)
        _, client, pump = self.session()
        self.patch(KeyFile, "keys", fails)
        self.manhole_.look_again()
        pump.flush()
        self.assertTrue(client.lost)

    def test_a_prompt_that_is_open_ends_with_its_key(self) -> None:
        """At the next thing that is typed, or a few seconds later; not while the file is just being written."""
        typed: list[bytes] = []
        for types in (True, False):
            self.authorize(self.key)
            connection, client, pump = self.open_channel(self.session())
            service: Any = client.service
            (channel,) = service.channels.values()
            (theirs,) = connection.service.channels.values()
            theirs.dataReceived = typed.append
            channel.write(b"1")
            pump.flush()
            self.authorize(new_key())
            channel.write(b"2")  # it has changed just now
            pump.flush()
            self.assertFalse(client.lost)
            self.clock.advance(RESTED)
            if types:
                channel.write(b"3")
            else:
                self.clock.advance(LOOK_EVERY)
            pump.flush()
            self.assertTrue(client.lost)
            self.assertIn("it is not among the authorized keys", self.said[-2] + self.said[-1])
        self.assertEqual(b"".join(typed), b"1212")
        self.clock.advance(LOOK_EVERY)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_file_that_has_not_changed_is_not_read_for_what_is_typed(self) -> None:
        connection, client, pump = self.open_channel(self.session())
        service: Any = client.service
        (channel,) = service.channels.values()
        (theirs,) = connection.service.channels.values()
        self.patch(theirs, "dataReceived", lambda data: None)
        self.clock.pump([LOOK_EVERY] * 2)
        with mock.patch.object(KeyFile, "keys") as read:
            for _ in range(3):
                channel.write(b"x")
                pump.flush()
                self.clock.advance(LOOK_EVERY)
        self.assertEqual((read.call_count, client.lost), (0, False))

    def test_a_file_that_is_gone_for_a_moment_ends_nobody(self) -> None:
        """As where it is replaced by another; but it does if it stays away."""
        _, client, pump = self.session()
        self.clock.advance(LOOK_EVERY)
        content = self.keys.read_bytes()
        self.keys.unlink()
        self.factory.look_at_keys()
        self.clock.advance(RESTED / 2)
        self.factory.look_at_keys()
        self.keys.write_bytes(content)
        self.keys.chmod(0o600)
        self.clock.advance(LOOK_EVERY)
        pump.flush()
        self.assertFalse(client.lost)
        self.keys.unlink()
        self.clock.advance(LOOK_EVERY)
        self.clock.advance(LOOK_EVERY)
        pump.flush()
        self.assertTrue(client.lost)

    def test_whoever_does_not_log_in_is_closed_in_time(self) -> None:
        """Also who was told to go, and does not read it."""
        _, idle = self.connect()
        connection, told = self.connect()
        connection.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
        session = self.session()
        self.assertEqual((idle.disconnected, told.disconnecting, told.disconnected), (False, True, False))
        self.clock.advance(LOGIN_TIMEOUT)
        self.assertTrue(idle.disconnected and told.disconnected)
        self.assertEqual(self.said[-1], CLOSED + "it did not log in within 60 s")
        self.assertFalse(session[1].lost)

    def test_closing_the_manhole_is_no_fault_of_those_who_have_not_logged_in(self) -> None:
        _, transport = self.connect()
        _, client, pump = self.session()
        self.said.clear()
        self.stop()
        pump.flush()
        self.assertTrue(transport.disconnected and client.lost)
        self.assertEqual(self.said, ["Manhole has ended the session of user 'me' from a unix socket"])


class StartTests(FilesTestCase):
    def service(self) -> ProxyService:
        directory = temporary_directory(self)
        text = f"global\n\n manhole 127.0.0.1:0 authorized-keys {self.keys}\n"
        text += "defaults\n mode http\nfrontend clients\n bind 127.0.0.1:0\n"
        (directory / "proxy.cfg").write_text(text)
        return ProxyService(Clock(), [str(directory / "proxy.cfg")])

    def test_what_is_wrong_is_said_with_file_and_line(self) -> None:
        self.keys.unlink()
        error = self.assertRaises(Refused, self.service().assemble, bind=False)
        self.assertRegex(str(error), r"proxy\.cfg:3: .*cannot be read")

    def test_a_path_where_no_socket_can_be_is_found_by_a_check(self) -> None:
        (self.directory / "socket").write_text("")
        (fault,) = self.faults()
        self.assertIn(f"manhole: cannot listen on unix@{self.directory}/socket: Address already in use", fault)

    def test_without_conch_the_fault_says_what_to_install(self) -> None:
        with mock.patch.dict(sys.modules, {"reusedproxy.operators.shell.manhole": None}):
            error = self.assertRaises(Refused, self.service().assemble, bind=False)
        self.assertIn("pip install 'reusedproxy[manhole]'", str(error))

    def test_checking_a_configuration_makes_and_opens_nothing(self) -> None:
        self.service().assemble(bind=False)
        self.assertEqual({path.name for path in self.directory.iterdir()}, {"authorized_keys"})

    def test_many_who_come_at_once_leave_room_for_one_more(self) -> None:
        """Else he would wait for seconds, until TCP tries again."""
        manhole = self.manhole()
        manhole.bind()
        self.addCleanup(manhole.stop)
        for _ in range(100):
            client = socket.socket(socket.AF_UNIX)
            self.addCleanup(client.close)
            client.setblocking(False)
            client.connect(str(self.directory / "socket"))

    def test_a_client_whose_machine_is_gone_is_found_out(self) -> None:
        """It had its place for ever, though its key was withdrawn."""
        address = model.ListenAddress("tcp", host="127.0.0.1", port=0)
        settings = model.Manhole(PLACE, address, str(self.keys), str(self.host_key))
        manhole = Manhole(settings, mock.Mock(), Clock(), mock.Mock(), mock.Mock())
        manhole.bind()
        self.addCleanup(manhole.stop)
        assert manhole._listener is not None
        self.assertTrue(manhole._listener.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def test_an_address_that_others_could_reach_is_refused_though_it_came_as_an_open_socket(self) -> None:
        with socket.socket() as everybody:
            everybody.bind(("0.0.0.0", 0))
            address = model.ListenAddress("fd", fd=everybody.fileno())
            settings = model.Manhole(PLACE, address, str(self.keys), str(self.host_key))
            manhole = Manhole(settings, SimpleNamespace(proxy=None), Clock(), mock.Mock(), lambda level, text: None)
            error = self.assertRaises(ManholeError, manhole.bind)
        self.assertIn("is not a loopback address", str(error))


class CommandTests(SynchronousTestCase):
    def test_what_is_printed_and_what_expressions_give_is_its_output(self) -> None:
        ran = run("print('a')\nNone\n1 + 1\n'b'", {})
        self.assertEqual((ran.output, ran.errors, ran.status), ("a\n2\n'b'\n", "", 0))

    def test_blocks_of_many_lines_are_run(self) -> None:
        names: dict[str, Any] = {}
        self.assertEqual(run("def double(n):\n    return 2 * n\n\ndouble(4)\n", names).output, "8\n")
        self.assertEqual(names["double"](1), 2)

    def test_an_exception_goes_to_its_errors_without_our_own_frames(self) -> None:
        ran = run("print('a'); 1/0", {})
        self.assertEqual((ran.output, ran.status), ("a\n", 1))
        self.assertTrue(ran.errors.endswith("ZeroDivisionError: division by zero\n"))
        self.assertNotIn("session.py", ran.errors)

    def test_a_mistyped_line_goes_to_its_errors(self) -> None:
        ran = run("pools(", {})
        self.assertEqual((ran.output, ran.status), ("", 1))
        self.assertIn("SyntaxError", ran.errors)
        self.assertNotIn("session.py", ran.errors)

    def test_exit_gives_its_status_and_ends_nothing_else(self) -> None:
        for source, status in (("exit()", 0), ("raise SystemExit(4)", 4), ("import sys; sys.exit('why')", 1)):
            self.assertEqual(run(source, {"exit": sys.exit}).status, status)
        self.assertEqual(run("raise SystemExit('why')", {}).errors, "why\n")

    def test_even_a_keyboard_interrupt_is_its_users_business(self) -> None:
        self.assertEqual(run("raise KeyboardInterrupt", {}).status, 1)

    def test_closing_its_output_loses_nothing_of_it(self) -> None:
        ran = run("import sys\nprint(1)\nsys.stdout.close()\nsys.stderr.close()\n1/0", {})
        self.assertEqual((ran.output, ran.status), ("1\n", 1))
        self.assertIn("ZeroDivisionError", ran.errors)

    def test_one_that_takes_its_own_output_apart_ends_too(self) -> None:
        """Its client would wait for ever."""
        for source in (b"import sys; sys.stdout.getvalue = None", b"class C(int): __and__ = None\nexit(C())"):
            clock, process = Clock(), mock.Mock()
            Session({}, clock).execCommand(process, source)
            clock.advance(0)
            process.processEnded.assert_called_once()
            self.assertEqual(process.processEnded.call_args.args[0].value.exitCode, 1)
            self.assertIn(b"TypeError", process.errReceived.call_args.args[0])

    def test_reading_from_the_daemons_terminal_ends_at_once(self) -> None:
        self.assertIn("EOFError", run("input()", {}).errors)

    def test_nothing_of_it_stays_behind(self) -> None:
        before = sys.stdout, sys.stderr, sys.stdin, sys.displayhook
        run("41 + 1", {})
        self.assertEqual((sys.stdout, sys.stderr, sys.stdin, sys.displayhook), before)
        self.assertNotEqual(getattr(builtins, "_", None), 42)


class OverviewTests(SynchronousTestCase):
    def setUp(self) -> None:
        clock = Clock()
        dialer: Any = FakeDialer(clock)
        pool = HTTPConnectionPool(
            "Server web/one", dialer, PoolLimits(min_conn=4), clock, Random(1), lambda *said: None, Limits()
        )
        settings = model.Server("one", PLACE, "127.0.0.1", 443)
        self.server = Server("web", settings, pool, 0.0)
        traffic = Traffic()
        traffic.req_tot, traffic.hrsp = 7, [0, 0, 5, 1, 0, 1]
        self.announced: list[str] = []
        self.backend = Backend(
            model.Backend("web", PLACE), [self.server], clock.seconds, lambda level, text: self.announced.append(text)
        )
        self.backend.traffic = traffic
        self.frontend = SimpleNamespace(
            name="main",
            connections=set(),
            clients=0,
            connections_max=2,
            connections_total=7,
            maxconn=9,
            denied=0,
            denied_sessions=0,
            traffic=traffic,
            listeners=[],
            shut=False,
            handshakes=SimpleNamespace(certificates={}),
            settings=SimpleNamespace(binds=(), place=PLACE, session_rate=0, mode="http", description="", id=1),
            invalid=LastErrors("Proxy main", "request", clock.seconds, lambda text: None),
        )
        self.proxy = SimpleNamespace(
            frontends=[self.frontend],
            backends=[self.backend],
            standstills=Standstills(),
            list_fetches={},
            refused_files=[],
            places=SimpleNamespace(taken=0, maxconn=9, over_tls=0, maxsslconn=0, rates={}),
            before=(),
            began=0.0,
            deadlines=dialer.deadlines,
            order_log=OrderLog(clock, lambda level, text: self.announced.append(text)),
        )
        self.service: Any = SimpleNamespace(proxy=self.proxy)
        self.names = namespace(self.service, "user 'x' from a unix socket with key SHA256:y")

    def printed(self, helper: str, *arguments: Any) -> str:
        output = io.StringIO()
        with redirect_stdout(output):
            self.assertIs(self.names[helper](*arguments), None)
        return output.getvalue()

    def test_a_session_finds_everything_by_its_name(self) -> None:
        self.assertIs(self.names["proxy"], self.proxy)
        self.assertIs(self.names["service"], self.service)
        self.assertEqual(self.names["frontends"], {"main": self.frontend})
        self.assertEqual(self.names["backends"], {"web": self.backend})
        self.assertEqual(self.names["servers"], {"web/one": self.server})
        self.assertEqual(repr(self.names["servers"]), repr({"web/one": self.server}))

    def test_names_are_those_of_the_proxy_that_runs(self) -> None:
        """Whatever reloads there have been since the session began."""
        other = SimpleNamespace(full_name="web/two")
        self.service.proxy = SimpleNamespace(frontends=[], backends=[SimpleNamespace(name="web", servers=[other])])
        self.assertEqual(list(self.names["servers"]), ["web/two"])
        self.assertIs(self.names["servers"]["web/two"], other)
        self.assertEqual((dict(self.names["frontends"]), list(self.names["backends"])), ({}, ["web"]))
        self.service.proxy = None
        self.assertEqual(len(self.names["servers"]), 0)

    def test_pools_prints_a_line_for_each_server_under_headings(self) -> None:
        self.server.pool.counters.handshakes = 12
        headings, row = (line.split() for line in self.printed("pools").splitlines())
        told = dict(zip(headings, row, strict=True))
        self.assertEqual((told["server"], told["floor"], told["idle"], told["handshakes"]), ("web/one", "4", "0", "12"))
        self.assertEqual(told["on-request-path"], "0")

    def test_pools_says_why_connections_were_closed_and_what_troubles_it(self) -> None:
        self.server.pool.closed = {"life over": 2, "purged": 5}
        self.patch(HTTPConnectionPool, "trouble", "connect failed: Connection refused")
        self.assertEqual(
            [line.strip() for line in self.printed("pools").splitlines()[2:]],
            ["closed: purged: 5; life over: 2", "trouble: connect failed: Connection refused"],
        )

    def test_errors_prints_what_could_not_be_taken(self) -> None:
        self.assertEqual(self.printed("errors"), "none\n")
        self.server.pool.invalid.note("", "bare LF in the head", b"HTTP/1.1 200 OK\nA: b")
        self.frontend.invalid.note("192.0.2.7:4711", "no Host header", b"GET / HTTP/1.1\r\n\r\n")
        self.assertEqual(
            self.printed("errors").splitlines(),
            [
                "frontend main: 1 in all; the last from 192.0.2.7:4711 0 s ago: no Host header",
                r"    b'GET / HTTP/1.1\r\n\r\n'",
                "server web/one: 1 in all; the last 0 s ago: bare LF in the head",
                r"    b'HTTP/1.1 200 OK\nA: b'",
            ],
        )

    def test_what_a_terminal_would_obey_is_not_printed(self) -> None:
        """Servers may have chosen words of a message."""
        self.patch(HTTPConnectionPool, "trouble", "connect failed: \x1b[2J\x9b\u202e")
        self.assertIn("    trouble: connect failed: ?[2J??\n", self.printed("pools"))

    def test_show_prints_frontends_backends_and_servers(self) -> None:
        frontends, backends, servers = self.printed("show").split("\n\n")
        self.assertEqual(frontends.splitlines()[1].split(), ["main", "0", "2", "7", "7", "5", "1", "0", "1"])
        self.assertEqual(backends.splitlines()[1].split(), ["web", "1/1", "0", "7", "5", "1", "0", "1"])
        self.assertEqual(servers.splitlines()[1].split()[:4], ["web/one", "UP", "0", "0"])

    def test_show_prints_the_connections_of_one_server_by_any_of_its_names(self) -> None:
        for name in ("web/one", "one", self.server):
            self.assertIn("web/one is UP; its pool is suspended: floor 4, 0 idle, ", self.printed("show", name))
        error = self.assertRaises(LookupError, self.names["show"], "two")
        self.assertIn("there are web/one", str(error))

    def test_explain_tells_how_the_floor_stands_to_the_demand(self) -> None:
        """By name, or the server itself."""
        for name in ("web/one", "one", self.server):
            summary, *told = self.printed("explain", name).splitlines()
            self.assertIn("web/one is UP", summary)
            self.assertIn("No request was given a connection in the last hour.", told)

    def test_metrics_prints_all_that_is_counted_of_one_pool(self) -> None:
        counters = self.server.pool.counters
        counters.requests, counters.reuses = 1200, 1000
        counters.connects["floor", "ok"] += 4
        counters.connects["demand", "refused"] += 5
        for seconds in (0.0004, 0.003, 40):
            counters.connect_seconds.observe(seconds)
        for name in ("web/one", "one", self.server):
            lines = self.printed("metrics", name).splitlines()
            self.assertIn("Who asked for a connection", lines)
            told = [line.split(None, 1)[1] for line in lines if line.startswith(("  requests   ", "  connects "))]
            self.assertEqual(told, ["never used 200, reused 1,000, new dial 0", "demand refused 5, floor ok 4"])
            (connect,) = (line.split() for line in lines if line.startswith("  TCP connect"))
            self.assertEqual(connect[2:], ["3", "5", "ms", ">", "10", "s", ">", "10", "s", "13.3", "s"])
        error = self.assertRaises(LookupError, self.names["metrics"], "two")
        self.assertIn("there are web/one", str(error))

    def test_orders_print_what_is_so_now(self) -> None:
        """One line each."""
        rest = "0 requests under way, 0 wait for it; %d of 1 servers of web are UP\n"
        for order, state, up in (("drain", "DRAIN", 0), ("maint", "MAINT", 0), ("ready", "UP", 1), ("ready", "UP", 1)):
            self.assertEqual(self.printed(order, "web/one"), f"web/one is {state}; {rest % up}")
            self.assertEqual(self.server.state, state)
        self.assertIn("Server web/one enters drain state.", self.announced[0])

    def test_orders_say_in_the_log_who_gave_them(self) -> None:
        self.printed("drain", "web/one")
        who = "Order at the manhole by user 'x' from a unix socket with key SHA256:y"
        self.assertEqual(self.announced[-1], f"{who}: drain web/one")
        self.announced.clear()
        self.printed("run", "show version")
        self.printed("run", "set weight web/one 7;set weight web/two 7")
        self.assertEqual([each for each in self.announced if "Order" in each], [f"{who}: set weight web/one 7"])

    def test_orders_say_why_a_server_is_something_else(self) -> None:
        self.backend.server_changed(self.server, DOWN, "x")
        said = self.printed("drain", "web/one")
        self.assertTrue(said.startswith("web/one is DOWN, ordered DRAIN, but its checks fail; "), said)
        self.backend.server_changed(self.server, UP, "x")
        self.server.weight = 0
        said = self.printed("ready", "web/one")
        self.assertTrue(said.startswith("web/one is DRAIN, for its weight is 0; "), said)

    def test_an_order_for_a_server_that_nobody_knows_names_the_nearest(self) -> None:
        for name, meant in (("web/on", "web/one"), ("one", "web/one"), ("wbe/one", "web/one")):
            error = self.assertRaises(LookupError, self.names["drain"], name)
            self.assertEqual(str(error), f"no server '{name}': did you mean '{meant}'?")
        self.assertEqual(
            str(self.assertRaises(LookupError, self.names["maint"], "x")), "no server 'x'; there are web/one"
        )
        self.assertEqual((self.server.state, self.announced), ("UP", []))

    def test_an_old_session_orders_in_the_proxy_that_runs_now(self) -> None:
        """A reload has replaced the one it began with."""
        successor = Server("web", self.server.settings, self.server.pool, 0.0)
        backend = Backend(model.Backend("web", PLACE), [successor], lambda: 0.0, lambda level, text: None)
        self.service.proxy = SimpleNamespace(frontends=[], backends=[backend], order_log=self.proxy.order_log)
        self.printed("drain", "web/one")
        self.assertEqual((self.server.state, successor.state), ("UP", "DRAIN"))

    def test_help_says_what_is_there_and_never_waits_for_input(self) -> None:
        self.assertEqual(self.printed("help"), GUIDE + "\n")
        self.assertIn("Prints the pool of every server", self.printed("help", self.names["pools"]))

    def test_a_session_before_there_is_a_proxy_finds_none(self) -> None:
        self.names = namespace(SimpleNamespace(proxy=None), "x")
        self.assertEqual(len(self.printed("pools").splitlines()), 1)

    def test_tables_are_as_wide_as_what_is_in_them(self) -> None:
        self.assertEqual(table([["name", "n"], ["a", 1000]]), ["name     n", "a     1000"])
