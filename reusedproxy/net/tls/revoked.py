"""Reads lists of revoked certificates (`crl-file`) into OpenSSL's form, in which all who trust with them share them.

OpenSSL takes its time for a large list: of 420,000 entries in 15 MB, whose numbers are in no order, 130 ms to read it,
150 to sort it, which it does when the list is asked for the first time, and 270 to free it. Meanwhile it lets the
interpreter go on, so all of it may be done in a thread; freeing a large one always is. What is done in Python here is
done in small pieces for the same reason. Uses cryptography's binding; must never know who trusts, nor where a list
comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from hashlib import sha256
from typing import Any
from weakref import finalize

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL, crypto

from reusedproxy.net.threads import Worker, in_turns
from reusedproxy.net.tls.crl import Head, Span, blocks_of_lists, decoded, head_in
from reusedproxy.net.tls.der import INTEGER, SEQUENCE, UTC_TIME, encoded
from reusedproxy.net.tls.openssl_server import store_of

_library: Any = Binding().lib
_foreign: Any = Binding().ffi

#: Most bytes of lists that are handled in the event loop, in a few milliseconds: 4,000 certificates.
SMALL = 1 << 17
#: Bytes of a list within which the part before its entries has to end.
_HEAD = 1 << 16
#: Seconds until a large list is freed that nobody uses any more: by then OpenSSL has let go of it, too.
_FREED_AFTER = 1.0
#: A public key of Ed25519 (RFC 8410), for a certificate that nobody will show.
_SOME_KEY = bytes.fromhex("302a300506032b6570032100") + bytes(32)


class ListUnreadable(ValueError):
    """Says that a file of lists cannot be decoded."""


class RevokedLists:
    """Holds the lists of one file, with its `content` and the `digest` of that, and from when to when each is valid
    (`spans`)."""

    def __init__(
        self, content: bytes, digest: bytes, handles: Sequence[Any], heads: Sequence[Head], worker: Worker | None
    ) -> None:
        """Takes over the lists that OpenSSL has read, which the `worker` frees where they are large."""
        self.content = content
        self.digest = digest
        self.spans: tuple[Span, ...] = tuple(each.span for each in heads)
        self.is_large = len(content) > SMALL
        self._handles = handles
        self._heads = heads
        finalize(self, _let_go, handles, worker if self.is_large else None).atexit = False

    def add_to(self, context: SSL.Context) -> None:
        """Has the store of `context` refuse what is revoked, once it is told to look (CRL_CHECK). Raises
        ListUnreadable where OpenSSL does not take one."""
        store = store_of(context)
        for each in self._handles:
            if not _library.X509_STORE_add_crl(store, each):
                _library.ERR_clear_error()
                raise ListUnreadable
        self.outlive(context)

    def outlive(self, context: SSL.Context) -> None:
        """Sees to it that a context which has a store with large lists does not free them itself."""
        if self.is_large:
            finalize(context, _nothing, self).atexit = False

    def sort(self, context: SSL.Context) -> None:
        """Has OpenSSL sort the lists, so that the first handshake need not wait for it: asks the store of `context`,
        which has the CAs, about a certificate of each CA's. A list of a CA that is not there is not sorted yet."""
        store = context.get_cert_store()
        assert store is not None
        for each in self._heads:
            with suppress(crypto.Error, crypto.X509StoreContextError):
                asked = crypto.load_certificate(crypto.FILETYPE_ASN1, _certificate_by(each))
                crypto.X509StoreContext(store, asked).verify_certificate()


def has_large_lists(content: bytes) -> bool:
    """Tells whether the lists of a PEM file are too large for the event loop."""
    return len(content) > SMALL < sum(end - start for start, end in blocks_of_lists(content))


def without_lists(content: bytes) -> bytes:
    """Returns what is in a PEM file beside its lists."""
    pieces, at = [], 0
    for start, end in blocks_of_lists(content):
        pieces.append(content[at:start])
        at = end
    return b"".join((*pieces, content[at:]))


def read_lists(content: bytes, digest: bytes | None = None, worker: Worker | None = None) -> RevokedLists:
    """Returns the lists of a file in PEM, none if there is none. Large ones are freed by the `worker`, if there is one.
    Raises ListUnreadable."""
    handles: list[Any] = []
    heads = []
    try:
        for block in blocks_of_lists(content):
            handle, head = _read(content, block)
            handles.append(handle)
            heads.append(head)
    except ValueError:
        _free(handles)
        raise ListUnreadable from None
    return RevokedLists(content, digest or sha256(content).digest(), handles, heads, worker)


def _read(content: bytes, block: tuple[int, int]) -> tuple[Any, Head]:
    """Returns OpenSSL's list, and what stands before its entries. Raises ValueError."""
    memory = _foreign.gc(_library.BIO_new(_library.BIO_s_mem()), _library.BIO_free)
    first, size = b"", 0
    for piece in in_turns(decoded(content, block)):
        if len(first) < _HEAD:
            first += piece
        size += len(piece)
        if _library.BIO_write(memory, piece, len(piece)) != len(piece):
            raise ValueError("OpenSSL does not take it")
    head = head_in(first)
    if head.size != size:
        raise ValueError("something follows the list")
    found = _library.d2i_X509_CRL_bio(memory, _foreign.NULL)
    if found == _foreign.NULL:
        _library.ERR_clear_error()
        raise ValueError("it is no list")
    return found, head


def _certificate_by(list_: Head) -> bytes:
    """Returns a certificate in DER (RFC 5280 section 4.1) that the CA of a list seems to have issued, with a signature
    that is none. OpenSSL looks at that last, after the CA's list."""
    now = datetime.now(timezone.utc)
    year = b"".join(encoded(UTC_TIME, f"{each % 100:02}0101000000Z".encode()) for each in (now.year, now.year + 1))
    number = encoded(INTEGER, b"\1")
    signed = (number, list_.algorithm, list_.issuer, encoded(SEQUENCE, year), encoded(SEQUENCE, b""), _SOME_KEY)
    return encoded(SEQUENCE, encoded(SEQUENCE, b"".join(signed)) + list_.algorithm + encoded(0x03, b"\0\0"))


def _let_go(handles: Sequence[Any], worker: Worker | None) -> None:
    """Frees lists that nobody uses any more."""
    if worker is None:
        _free(handles)
    else:
        worker.leave(partial(_free, handles), _FREED_AFTER)


def _free(handles: Sequence[Any]) -> None:
    for each in handles:
        _library.X509_CRL_free(each)


def _nothing(lists: RevokedLists) -> None:
    """Does nothing; who waits to call it keeps the lists."""
