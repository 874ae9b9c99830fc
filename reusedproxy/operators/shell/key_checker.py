"""Decides who may log in at the manhole: clients that prove to hold an authorized key. Reads the file of keys each time
(`keys`). Must never know connections."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from twisted.conch.error import ValidPublicKey
from twisted.conch.ssh.common import getNS
from twisted.conch.ssh.keys import Key
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ISSHPrivateKey
from twisted.cred.error import UnauthorizedLogin
from zope.interface import implementer

from reusedproxy.config.language.printable import printable
from reusedproxy.operators.shell.keys import SIGNATURES, KeyFile, ManholeError

#: Seconds for which the file of keys has to have been left alone before sessions are ended by it: it may just be
#: written.
RESTED = 1.0
#: Most characters of a client's text in the log.
SHOWN = 200


@implementer(ICredentialsChecker)
class KeyChecker:
    """Admits clients that prove to hold one of the authorized keys, under any user name.

    conch's own SSHPublicKeyChecker accepts every key that is offered, and looks it up only when it is signed with. This
    one refuses at the offer, and reads the file each time: a key that has been removed is refused from then on.

    What is offered is compared byte by byte, and never read as a key: conch takes it in any format, a private key of
    any size included, whose primes are then tested for minutes.
    """

    credentialInterfaces = (ISSHPrivateKey,)

    def __init__(self, path: str, now: Callable[[], float] = time.monotonic) -> None:
        self.file = KeyFile(path)
        self._now = now
        #: The stamp of the file by which sessions were judged last, the last one that was seen, and since when.
        self._judged: object = self
        self._seen: object = self
        self._since = 0.0

    def take(self, path: str) -> None:
        """Takes another file from now on, by which nobody has been judged yet."""
        self.file = KeyFile(path)
        self._judged = self

    def has_changed(self) -> bool:
        """Tells whether the file is another one than sessions were `judged` by last, and has come to rest."""
        stamp: object = None
        age = 0.0
        try:
            status = os.stat(self.file.path)
            stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
            age = time.time() - status.st_ctime
        except OSError:
            pass  # it is gone, or just being replaced
        now = self._now()
        if stamp != self._seen:
            self._seen, self._since = stamp, now
        return stamp != self._judged and not (0 <= age < RESTED and now - self._since < RESTED)

    def judged(self) -> None:
        """Notes that all sessions have been judged by the file that was seen last."""
        self._judged = self._seen

    def requestAvatarId(self, credentials: Any) -> Any:
        """Returns the user name. Raises ValidPublicKey (the client must sign now) or UnauthorizedLogin."""
        key = self.known(credentials.blob)
        if not credentials.signature:
            raise ValidPublicKey
        try:
            algorithm, _ = getNS(credentials.signature)
            proven = key.verify(credentials.signature, credentials.sigData)
        except Exception as error:  # a forged signature may make conch raise anything; it is no login
            raise UnauthorizedLogin(f"its signature cannot be read: {error}") from None
        if not proven:
            raise UnauthorizedLogin("its signature is wrong")
        # conch takes whatever algorithm the signature itself names, whichever were announced or asked for.
        if algorithm not in SIGNATURES:
            raise UnauthorizedLogin(f"its signature is of the kind {shown(algorithm)}, which is not accepted")
        if key.sshType().startswith(b"sk-") and not _was_touched(credentials.signature):
            raise UnauthorizedLogin("its security key was not touched")
        return credentials.username

    def known(self, blob: bytes) -> Key:
        """Returns the key of this public form. Raises UnauthorizedLogin if it is not among the authorized ones."""
        try:
            known = self.file.keys(os.geteuid())
        except ManholeError as error:
            raise UnauthorizedLogin(str(error)) from None
        except Exception as error:  # nobody stays, or comes in, by a file that could not be read
            raise UnauthorizedLogin(f"the file of keys cannot be read: {error!r}") from None
        if (key := known.get(blob)) is not None:
            return key
        raise UnauthorizedLogin("it is not among the authorized keys")


def _was_touched(signature: bytes) -> bool:
    """Tells whether a FIDO signature proves that somebody was there (OpenSSH's PROTOCOL.u2f: the lowest flag). conch
    does not look; sshd demands it unless `no-touch-required` stands before the key, and options are refused here."""
    *_, rest = getNS(signature, 2)
    return bool(rest and rest[0] & 1)


def shown(said: bytes | str) -> str:
    """Returns a client's text in a form fit for the log: SHOWN characters at most, unprintable ones replaced by "?"."""
    text = said if isinstance(said, str) else said.decode("utf-8", "replace")
    return printable(text[:SHOWN])
