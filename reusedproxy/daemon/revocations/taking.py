"""Decides what a fetched list makes of its `crl-file`: by what has come, what is in the file, and what is known of both
from last time.

Nothing is written here, so it may be done in a thread, and given up at any moment. Must never know where a list comes
from, nor when.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import datetime
from hashlib import sha256
from typing import BinaryIO

from attrs import frozen
from cryptography.x509 import Certificate

from reusedproxy.net.threads import Worker
from reusedproxy.net.tls.revocations import List, ListRefused, checked_list, joined, lists_in
from reusedproxy.net.tls.revoked import ListUnreadable, RevokedLists, read_lists


@frozen
class Fetch:
    """Holds the `body` that has come, None: the server has no other than last time; and the open `file`, None: there is
    none. Of last time, it holds the digest of the body (`last`), the list in it (`held`), and the digest of the file
    when that was in it (`kept`)."""

    body: bytes | None
    file: BinaryIO | None
    last: bytes
    held: List | None
    kept: bytes


@frozen
class Outcome:
    """Holds the list that counts, with digests of its body and of the file as it is to be. `content` is what is to be
    written, None: the list is in the file; `lists` are those of the content as OpenSSL has read them."""

    found: List
    body: bytes
    file: bytes
    content: bytes | None = None
    lists: RevokedLists | None = None


def outcome_of(fetch: Fetch, authorities: Sequence[Certificate], now: datetime, worker: Worker) -> Outcome:
    """Looks at a list, and at the file, which it closes; the `worker` will free large lists.

    Raises ListRefused and OSError. What is the same as last time is not decoded again.
    """
    with fetch.file or nullcontext():
        body = fetch.last if fetch.body is None else _digest(fetch.body)
        if fetch.body is not None and body != fetch.last:
            found = checked_list(fetch.body, authorities, now)
        else:
            found = _still_valid(fetch.held, now)
        present = b"" if fetch.file is None else fetch.file.read()
    kept = _digest(present)
    if body == fetch.last and kept == fetch.kept:
        return Outcome(found, body, kept)
    lists = lists_in(present)
    if found in lists:
        return Outcome(found, body, kept)
    content = joined(lists, [found])
    kept = _digest(content)
    try:
        return Outcome(found, body, kept, content, read_lists(content, kept, worker))
    except ListUnreadable:
        raise ListRefused("OpenSSL cannot read it") from None


def _still_valid(held: List | None, now: datetime) -> List:
    """Returns the list of last time. Raises ListRefused where its time is over."""
    assert held is not None  # the server was told what there was last time
    end = held.bare.next_update_utc
    if end is not None and end <= now:
        raise ListRefused(f"the server has no newer one than that of which the next was due {due(held)}")
    return held


def due(found: List) -> str:
    """Returns when the next list is due, in words."""
    end = found.bare.next_update_utc
    return "at no time that it says" if end is None else f"{end:%d %b %Y %H:%M} UTC"


def _digest(content: bytes) -> bytes:
    return sha256(content).digest()
