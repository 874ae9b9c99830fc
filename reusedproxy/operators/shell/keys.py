"""Reads the manhole's files: the keys that may log in, and the host key, which is made if there is none.

Whoever can change these files can enter the daemon, so they are judged as sshd's StrictModes judges them. Must never
know sessions or the network.
"""

from __future__ import annotations

import os
import stat
from base64 import b64decode, b64encode
from collections.abc import Iterator
from errno import ELOOP
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.conch.ssh.common import getNS
from twisted.conch.ssh.keys import BadKeyError, EncryptedKeyError, Key
from twisted.conch.ssh.transport import SSHServerTransport

from reusedproxy.net.trusted_paths import parent_of

#: Algorithms by which clients may sign, whatever the host key's, and the proxy of what host keys can do; not those with
#: SHA-1 (RFC 9142).
SIGNATURES = (
    *(each for each in SSHServerTransport.supportedPublicKeys if each not in (b"ssh-rsa", b"ssh-dss")),
    b"sk-ssh-ed25519@openssh.com",
    b"sk-ecdsa-sha2-nistp256@openssh.com",
)
#: Fewest bits of an RSA key, as in sshd (RequiredRSASize).
SHORTEST_RSA = 1024
#: Most bytes of a file of keys: 1,600 keys of Ed25519, or 180 of RSA with 4096 bits. They are parsed within the event
#: loop, in some 20 ms (35 ms if all are of the curve P-384).
LONGEST_FILE = 2**17
#: Most symbolic links on the path to a file, as in Linux (path_resolution(7)).
MOST_LINKS = 40


class ManholeError(Exception):
    """Raised when the manhole cannot be opened as configured; `texts` are all faults."""

    def __init__(self, *texts: str) -> None:
        super().__init__("\n".join(texts))
        self.texts = texts


class KeyFile:
    """An OpenSSH authorized_keys file: read each time, and parsed when its content is another one than before.

    Content is compared, and no time stamp: two changes may have the same one.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._what = f"manhole: authorized-keys {path}"
        #: The content that was parsed last, and its outcome.
        self._content: bytes | None = None
        self._keys: dict[bytes, Key] = {}
        self._faults: list[str] = []

    def keys(self, user: int) -> dict[bytes, Key]:
        """Returns the keys of the file, which must be readable for `user`, by their public form. Raises ManholeError.

        A line that is not a key invalidates the file, and so do options before a key: they are restrictions that would
        not be enforced.
        """
        content = _read(self.path, self._what, user, stat.S_IWGRP | stat.S_IWOTH, "can be written by others")
        if content != self._content:
            self._content = None  # should it raise: nobody comes in by what was there before
            self._keys, self._faults = _parsed(content, self._what)
            self._content = content
        if self._faults:
            raise ManholeError(*self._faults)
        return self._keys


def _parsed(content: bytes, what: str) -> tuple[dict[bytes, Key], list[str]]:
    """Returns the keys of a file of this content by their public form, and all faults."""
    found, faults = {}, []
    for number, line in enumerate(content.split(b"\n"), 1):
        line = line.removesuffix(b"\r")
        words = [each for each in line.replace(b"\t", b" ").split(b" ") if each]
        if not words or words[0].startswith(b"#"):
            continue
        try:
            if b"\r" in line:
                raise BadKeyError("OpenSSH ends no line there")
            blob, key = _key_in(words)
            if key.type() == "DSA" or (key.type() == "RSA" and key.size() < SHORTEST_RSA):
                faults.append(
                    f"{what}, line {number}: a key of DSA, or of RSA with less than {SHORTEST_RSA} bits, can be forged:"
                    " ssh-keygen -t ed25519 makes another"
                )
            found[blob] = key
        except Exception:  # conch raises one or another for what is no key
            faults.append(
                f"{what}, line {number}: not a public key as OpenSSH writes it (options before it are not supported)"
            )
    if not found and not faults:
        faults.append(f"{what}: holds no key, so nobody could come in")
    return found, faults


def _key_in(words: list[bytes]) -> tuple[bytes, Key]:
    """Returns the key of a line, and its public form before it: a line is its type, then in base64 that type again and
    the rest. As sshd's, the line must be exact: who spoils a letter takes the key out of use. Raises any exception for
    what is no key."""
    kind, blob = words[0], b64decode(words[1], validate=True)
    if b64encode(blob) != words[1]:  # Python takes further padding, and bits that belong to no byte
        raise BadKeyError("the base64 is not as OpenSSH writes it")
    if not kind.startswith((b"ssh-", b"ecdsa-", b"sk-")) or getNS(blob)[0] != kind:
        raise BadKeyError("the type of the key does not stand first")
    key: Key = Key.fromString(b" ".join(words[:2]), type="public_openssh")
    if key.type() != "DSA" and key.blob() != blob:  # DSA is refused anyway
        raise BadKeyError("it is followed by something else")
    return blob, key


def host_key(path: str, user: int) -> Key | None:
    """Returns the host key; None when the file does not exist yet. Raises ManholeError."""
    what = f"manhole: host-key {path}"
    if not os.path.lexists(path):
        directory = os.path.dirname(path) or "."
        if not os.path.isdir(directory):
            raise ManholeError(f"{what}: cannot be made: there is no directory {directory}")
        if len(os.fsencode(_draft_of(os.path.basename(path)))) > os.pathconf(directory, "PC_NAME_MAX"):
            raise ManholeError(f"{what}: cannot be made: its name is too long")
        if os.statvfs(directory).f_flag & os.ST_RDONLY:
            raise ManholeError(f"{what}: cannot be made: {directory} is on a read-only file system")
        _check_directories(path, what, user)
        return None
    content = _read(path, what, user, 0o077, "must be for its owner only (chmod 600)")
    try:
        key: Key = Key.fromString(content)
    except EncryptedKeyError:
        raise ManholeError(f"{what}: is protected by a passphrase, which a daemon cannot be asked for") from None
    except Exception:
        raise ManholeError(f"{what}: is not a private key; remove it, and a new one will be made") from None
    if key.isPublic():
        raise ManholeError(f"{what}: is a public key; the private one is needed")
    if not _signs(key):
        raise ManholeError(
            f"{what}: no client takes a key of this kind: remove it, and a new one will be made, or make one by"
            " ssh-keygen -t ed25519"
        )
    return key


def _signs(key: Key) -> bool:
    """Tells whether a host key can sign by an algorithm that clients are offered. conch reads keys that SSH has no
    name for."""
    try:
        return not {*key.supportedSignatureAlgorithms()}.isdisjoint(SIGNATURES)
    except Exception:
        return False


def _read(path: str, what: str, user: int, forbidden: int, complaint: str) -> bytes:
    """Reads a file that nobody but `user` and root may control. Raises ManholeError.

    As with sshd's StrictModes, it must not have `forbidden` modes, and must be in directories that nobody else can
    change.
    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ManholeError(f"{what}: is no regular file")
            mode = stat.S_IMODE(status.st_mode)
            if mode & forbidden:
                raise ManholeError(f"{what}: {complaint}; its mode is {mode:04o}")
            if status.st_uid not in (0, user):
                raise ManholeError(f"{what}: belongs to another user ({status.st_uid}), who could change it")
            if status.st_uid != user and not mode & (stat.S_IRGRP | stat.S_IROTH):
                raise PermissionError  # it was opened as root, and will not be at a later login or reload
            _check_directories(path, what, user)
            content = file.read(LONGEST_FILE + 1)
    except PermissionError:
        if user == os.getuid() and user == os.geteuid():
            raise ManholeError(f"{what}: cannot be read: Permission denied") from None
        raise ManholeError(
            f"{what}: cannot be read by user {user}, whom the daemon becomes: chown {user} {path}"
        ) from None
    except OSError as error:
        raise ManholeError(f"{what}: cannot be read: {error.strerror}") from None
    if len(content) > LONGEST_FILE:
        raise ManholeError(f"{what}: is longer than {LONGEST_FILE} bytes")
    return content


def _open_without_waiting(path: str, flags: int) -> int:
    """Opens without blocking or getting a controlling terminal: a FIFO without a writer would block the whole daemon,
    at each login."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def _check_directories(path: str, what: str, user: int) -> None:
    """Checks all directories and links on the path to a file. Raises ManholeError.

    Whoever may write to a directory on the path, or owns a link, may put another file in its place. A sticky directory
    such as /tmp is accepted: only own files can be moved there. (sshd refuses sticky ones, too, and does not check
    links.)
    """
    try:
        for each, link in _way_to(os.path.join(os.getcwd(), path)):
            status = os.lstat(each)
            mode, kind = stat.S_IMODE(status.st_mode), "link" if link else "directory"
            if status.st_uid not in (0, user):
                raise ManholeError(f"{what}: the {kind} {each} belongs to another user ({status.st_uid})")
            if not link and mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
                raise ManholeError(f"{what}: the directory {each} can be written by others; its mode is {mode:04o}")
    except OSError as error:
        raise ManholeError(f"{what}: the directory {error.filename} cannot be looked at: {error.strerror}") from None


def _way_to(path: str) -> Iterator[tuple[str, bool]]:
    """Yields the directories, and links (True), by which the kernel resolves the absolute `path`. Raises OSError."""
    rest, at, links = path.split("/")[::-1], "/", 0
    yield at, False
    while rest:
        name = rest.pop()
        here = os.path.dirname(at) if name == ".." else os.path.join(at, name) if name not in ("", ".") else at
        if os.path.islink(here):
            links += 1
            if links > MOST_LINKS:
                raise OSError(ELOOP, os.strerror(ELOOP), path)
            yield here, True
            target = os.readlink(here)
            at = "/" if target.startswith("/") else at
            rest += target.split("/")[::-1]
        elif rest and here != at:
            at = here
            yield at, False


def _draft_of(name: str) -> str:
    """Returns the name under which a file is written before it is complete."""
    return f"{name}.{os.getpid()}.new"


def make_host_key(path: str, user: int) -> Key:
    """Creates an ed25519 key owned by `user`: never readable for others, never incomplete, and never in place of
    another one.

    Raises ManholeError.
    """
    content = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    try:
        # The directory may be root's, so root makes the key. It may be below one of `user`'s, too, who would be given a
        # file in any directory of root's if links of his were followed.
        with parent_of(path) as (parent, name):
            draft = _draft_of(name)
            made = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=parent)
            with os.fdopen(made, "wb") as file:
                try:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                    if user != os.geteuid():
                        os.fchown(file.fileno(), user, -1)
                    os.link(draft, name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
                finally:
                    os.unlink(draft, dir_fd=parent)
    except OSError as error:
        raise ManholeError(f"manhole: host-key {path}: cannot be made: {error.strerror}") from None
    key: Key = Key.fromString(content)
    return key


def fingerprint(blob: bytes) -> str:
    """Returns the fingerprint as `ssh-keygen -l` prints it."""
    return "SHA256:" + b64encode(sha256(blob).digest()).decode().rstrip("=")
