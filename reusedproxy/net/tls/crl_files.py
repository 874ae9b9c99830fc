"""Reads the files of HAProxy's `crl-file`: lists of revoked certificates, large ones in a thread of their own.

There is one `CRLFiles` for each reading of the configuration. What is in use by the reading before is read only as far
as it takes to see that it is the same. Must never know who trusts with the lists.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from functools import partial
from hashlib import sha256
from typing import Any, BinaryIO
from weakref import WeakValueDictionary

from OpenSSL import crypto

from reusedproxy.net.files import MEBIBYTE, open_bounded
from reusedproxy.net.slices import Steps
from reusedproxy.net.threads import Worker
from reusedproxy.net.tls.crl import BEGINS, Span
from reusedproxy.net.tls.files import TLSConfigurationError, blocks_in, content_of, naming
from reusedproxy.net.tls.revoked import SMALL, ListUnreadable, RevokedLists, read_lists

#: Most bytes of a file with lists: those of large CAs have tens of megabytes.
LARGEST_REVOCATIONS = 128 * MEBIBYTE

#: What OpenSSL takes for a certificate.
_CERTIFICATE = re.compile(rb"-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----[^-]*-----END \1-----")

#: The word in the line before a list, and the beginning of that line which all blocks have in common; as many bytes of
#: a line as are looked at on either side.
_WORD, _BARE, _NEAR = b"BEGIN", b"-----BEGIN ", 80

#: The name of a file of lists, and what is revoked by it; None: it has not been fetched yet.
Revoked = tuple[str, "RevokedLists | None"]


class CRLFiles:
    """Keeps what was read, each content once. The `worker` is the thread that reads, sorts and frees large lists."""

    def __init__(self, previous: CRLFiles | None = None) -> None:
        """Takes what the `previous` reading has read."""
        #: What was read last, by the paths that configurations have named, and from when to when the lists in it are
        #: valid.
        self.contents: dict[str, bytes] = {} if previous is None else {**previous.contents}
        self.spans: dict[str, tuple[Span, ...]] = {} if previous is None else {**previous.spans}
        self.worker: Worker = Worker("revocation lists") if previous is None else previous.worker
        #: The lists by their files, or what is wrong with one; and those in use, by the digests of their contents.
        self._lists: dict[str, RevokedLists | TLSConfigurationError] = {}
        self._known: WeakValueDictionary[bytes, RevokedLists] = (
            WeakValueDictionary() if previous is None else previous._known
        )
        #: Those that were read ahead of lists among CAs, by the digests of these files.
        self._within: dict[bytes, RevokedLists] = {}

    def know(self, lists: RevokedLists) -> None:
        """Takes these lists, as long as somebody keeps them, for a file that has the same content."""
        self._known[lists.digest] = lists

    def reading(self, paths: Iterable[str], in_memory: Mapping[str, bytes], reactor: Any) -> Steps[None]:
        """Reads those files in a thread, in steps, that would hold up the event loop, for `of`; of those that are held
        in memory, what is there."""
        for path in paths:
            if isinstance(self._lists.get(path), RevokedLists):
                continue
            try:
                found = yield from self._reading(path, in_memory.get(path), reactor)
            except TLSConfigurationError as error:
                self._lists[path] = error
            else:
                if found is not None:
                    self._lists[path] = found

    def _reading(self, path: str, content: bytes | None, reactor: Any) -> Steps[RevokedLists | None]:
        """Reads large lists in a thread; None: they are small. Raises TLSConfigurationError."""
        what = f"crl-file {path}"
        if content is None and _size_of(path) > SMALL:
            # Not in the thread: whoever opens a file as another user makes all threads that user.
            with naming(what, path):
                file = open_bounded(path, LARGEST_REVOCATIONS)
            content = yield self.worker.do(reactor, partial(_rest, what, path, file))
        if content is None or len(content) <= SMALL:
            return None
        digest = yield self.worker.do(reactor, partial(_digest, content))
        found = self._known.get(digest)
        if found is None:
            found = yield self.worker.do(reactor, partial(revoked_in, what, content, digest, self.worker))
            self.know(found)
        return found

    def of(self, path: str, held: bytes | None, *, fetched: bool) -> Revoked:
        """Returns what is revoked by a file, or by what is `held` in memory in its place; one that is `fetched` may not
        be there yet. Raises TLSConfigurationError."""
        found = self._lists.get(path)
        if isinstance(found, TLSConfigurationError):
            raise TLSConfigurationError(*found.args)
        if found is None and held is None and fetched and _size_of(path) == 0:
            self.contents[path], self.spans[path] = b"", ()
            return path, None
        if found is None:
            found = self._lists[path] = self._read(path, held)
        self.contents[path], self.spans[path] = found.content, found.spans
        return path, found

    def reading_within(self, what: str, content: bytes, reactor: Any) -> Steps[bytes]:
        """Reads the lists among the CAs of a file in a thread, in steps, for `within`. Returns the digest of its
        content. Raises TLSConfigurationError."""
        digest: bytes = yield self.worker.do(reactor, partial(_digest, content))
        if digest not in self._within:
            found = self._known.get(digest)
            if found is None:
                found = yield self.worker.do(reactor, partial(_lists_within, what, content, digest, self.worker))
                self.know(found)
            self._within[digest] = found
        return digest

    def within(self, what: str, content: bytes, digest: bytes) -> RevokedLists:
        """Returns the large lists among the CAs of a file. Raises TLSConfigurationError."""
        found = self._within.get(digest) or self._known.get(digest)
        if found is None:
            found = self.worker.wait_for(partial(_lists_within, what, content, digest, self.worker))
            self.know(found)
        return found

    def _read(self, path: str, held: bytes | None) -> RevokedLists:
        """Reads lists, large ones in the thread that will free them: where it did that with memory of another thread,
        glibc would lock this one out of its own for 0.3 s. Raises TLSConfigurationError."""
        what = f"crl-file {path}"
        content = held if held is not None else content_of(what, path, LARGEST_REVOCATIONS)
        digest = _digest(content)
        found = self._known.get(digest)
        if found is None:
            read = partial(revoked_in, what, content, digest, self.worker)
            found = read() if len(content) <= SMALL else self.worker.wait_for(read)
            self.know(found)
        return found


def revoked_in(what: str, content: bytes, digest: bytes | None = None, worker: Worker | None = None) -> RevokedLists:
    """Returns the lists of HAProxy's `crl-file`, at least one; for the rest see `read_lists`.

    Raises TLSConfigurationError; `what` begins the message.
    """
    if any(label.endswith(b"CERTIFICATE") for label in blocks_in(what, content)):
        _demand_certificates(what, content)
    try:
        found = read_lists(content, digest, worker)
    except ListUnreadable:
        raise TLSConfigurationError(f"{what}: cannot be decoded") from None
    if not found.spans:
        raise TLSConfigurationError(f"{what}: holds no list (no line says -----BEGIN X509 CRL-----)")
    if _passes_over_one(content):
        text = "a line in it nearly says -----BEGIN X509 CRL-----, and the list behind it would be passed over"
        raise TLSConfigurationError(f"{what}: {text}")
    return found


def _passes_over_one(content: bytes) -> bool:
    """Tells whether a line is meant to be the one before a list, and is not: OpenSSL passes over what is behind it."""
    at = content.find(_WORD)
    while at >= 0:
        start = content.rfind(b"\n", 0, at) + 1 if at else 0
        line = content[max(start, at - _NEAR) : at + _NEAR].split(b"\n")[0].strip()
        cut_off = len(line) > len(_BARE) and BEGINS.startswith(line) and line != BEGINS
        if BEGINS not in line and line.startswith(b"---") and (cut_off or b"CRL" in line.upper()):
            return True
        at = content.find(_WORD, at + len(_WORD))
    return False


def _demand_certificates(what: str, content: bytes) -> None:
    """Checks that what is called a certificate among lists is one, and no list whose certificates would not be revoked.
    Raises TLSConfigurationError."""
    for block in _CERTIFICATE.finditer(content):
        try:
            # What is trusted for is behind the certificate in a TRUSTED one (openssl-verification-options(1)).
            crypto.load_certificate(crypto.FILETYPE_PEM, block[0].replace(b"TRUSTED ", b""))
        except crypto.Error:
            text = "a block of it that is called a certificate is none; lists are called X509 CRL"
            raise TLSConfigurationError(f"{what}: {text}") from None


def _lists_within(what: str, content: bytes, digest: bytes, worker: Worker) -> RevokedLists:
    """Returns the lists among the CAs of a file. Raises TLSConfigurationError."""
    try:
        return read_lists(content, digest, worker)
    except ListUnreadable:
        raise TLSConfigurationError(f"{what}: a list of revoked certificates in it cannot be decoded") from None


def _rest(what: str, path: str, file: BinaryIO) -> bytes:
    """Reads an open file, and closes it. Raises TLSConfigurationError."""
    with naming(what, path), file:
        return file.read()


def _size_of(path: str) -> int:
    """Returns the size of a file: 0 if there is none, or an empty one, as a machine that lost its power may have left
    it; -1 where that cannot be said."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
    except OSError:
        return -1


def _digest(content: bytes) -> bytes:
    return sha256(content).digest()
