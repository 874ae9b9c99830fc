"""Checks passwords against hashes of crypt(3), in a thread of its own: a good hash takes a quarter of a second.

It calls the system's libcrypt, as HAProxy does, so that each hash is known here that is known there (yescrypt, bcrypt,
SHA-512, …). ctypes lets go of the interpreter's lock meanwhile, so the event loop goes on.

What was found out is kept by a keyed digest of hash, name and password, so that a client's next request costs nothing;
failures are kept apart, lest guesses push out those who have logged in. Whoever guesses waits behind their own guesses:
few may wait for each address, not all for one network, and a share of the places is for addresses from which a right
password has come before. It must never know users or requests.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from functools import cache
from hashlib import blake2b
from hmac import compare_digest
from queue import SimpleQueue
from threading import Thread
from typing import Any

from twisted.logger import Logger

#: Passwords that may wait for their check: of all clients, and of those with one address.
WAITING = 128
WAITING_OF_ONE = 4
#: Shares of these places, and of the time that one may have to wait, for all of whom nothing is known, and for those of
#: one network among them.
UNPROVEN = 0.75
OF_NETWORK = 0.5
#: Addresses that are kept of those from whom a right password has come.
PROVEN_KEPT = 4096
#: Seconds for which one may have to wait: no more wait than can be checked until then.
PATIENCE = 10.0
#: Results that are kept: of passwords that were right, and of those that were not.
RIGHT_KEPT = 4096
WRONG_KEPT = 512
#: Larger than any `struct crypt_data`: 32 KiB in libxcrypt, 128 KiB in glibc's own.
_DATA = 256 * 1024
#: What `crypt_checksalt` says of a hash that it does not know, or that its administrator has disabled.
_NOT_TAKEN = (1, 2)
#: libxcrypt takes no more.
_LONGEST = 511

Crypt = Callable[[bytes, bytes], "bytes | None"]


@cache
def _library() -> Any:
    """Returns the C library that has crypt(3); None if there is none."""
    for name in ("libcrypt.so.2", "libcrypt.so.1", None):  # None: musl has it in the C library itself
        try:
            library = ctypes.CDLL(name)
            crypt = library.crypt_r
        except (OSError, AttributeError):
            continue
        crypt.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
        crypt.restype = ctypes.c_char_p
        return library
    return None


def crypt(password: bytes, setting: bytes) -> bytes | None:
    """Returns the hash of a password with the method, cost and salt of `setting`, which may be a whole hash; None where
    there is none. It blocks for as long as the method is meant to take."""
    library = _library()
    if library is None or len(password) > _LONGEST or b"\0" in password + setting:
        return None
    data = ctypes.create_string_buffer(_DATA)
    made: bytes | None = library.crypt_r(password, setting, data)
    return None if made is None or made.startswith(b"*") else made


def trouble_with(hashed: str) -> str:
    """Returns why no password can be checked against this hash; "" if one can."""
    library = _library()
    if library is None:
        return "this machine has no libcrypt, so no hash can be checked"
    check = getattr(library, "crypt_checksalt", None)  # libxcrypt's
    if check is not None and check(ctypes.c_char_p(hashed.encode())) in _NOT_TAKEN:
        return "it is no hash that crypt(3) of this machine knows ('mkpasswd' makes one)"
    return ""


class Passwords:
    """Finds out whether passwords are those of hashes. `waiting` is the number that is being checked, or is to be.

    `reactor` takes the calls from the thread (callFromThread).
    """

    _log = Logger()

    def __init__(self, reactor: Any, crypt: Crypt = crypt, now: Callable[[], float] = time.monotonic) -> None:
        self._reactor = reactor
        self._now = now
        self._crypt = crypt
        self._key = os.urandom(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._wrong: OrderedDict[bytes, None] = OrderedDict()
        #: Who is told of each check that is under way.
        self._asking: dict[bytes, list[Callable[[], None]]] = {}
        #: How many wait of one source, and of one network.
        self._of: Counter[Hashable] = Counter()
        self._of_network: Counter[Hashable] = Counter()
        #: Sources from which a right password has come.
        self._proven: OrderedDict[Hashable, None] = OrderedDict()
        self._todo: SimpleQueue[tuple[bytes, bytes, bytes, Hashable, Hashable]] = SimpleQueue()
        self._thread: Thread | None = None
        #: Seconds that the last check took.
        self._took = 0.0

    @property
    def waiting(self) -> int:
        return len(self._asking)

    def known(self, password: bytes, hashed: bytes, name: bytes = b"") -> bool | None:
        """Returns what is known of a password already; None: it has to be checked. What was found out for one `name` is
        not known for another, lest the time tell that two names have one hash."""
        key = self._digest(password, hashed, name)
        for kept, found in ((self._right, True), (self._wrong, False)):
            if key in kept:
                kept.move_to_end(key)
                return found
        return None

    def check(
        self,
        password: bytes,
        hashed: bytes,
        source: Hashable,
        then: Callable[[], None],
        name: bytes = b"",
        network: Hashable = None,
    ) -> bool:
        """Checks a password for a client of this `source`, in this `network`, and calls `then` when it is known.
        Returns False if too many wait; then it is not checked, and nobody is called."""
        key = self._digest(password, hashed, name)
        asking = self._asking.get(key)
        if asking is not None:
            if len(asking) >= WAITING:
                return False
            asking.append(then)
            return True
        if self._of[source] >= WAITING_OF_ONE or not self._has_place(source, network):
            return False
        self._asking[key] = [then]
        self._of[source] += 1
        self._of_network[network] += 1
        if self._thread is None:
            # A daemon: the process must not wait at its exit for a password that nobody needs any more.
            self._thread = Thread(target=self._work, name="passwords", daemon=True)
            self._thread.start()
        self._todo.put((key, password, hashed, source, network))
        return True

    def _has_place(self, source: Hashable, network: Hashable) -> bool:
        """Tells whether one more may wait."""
        if source in self._proven:
            shares = [(len(self._asking), 1.0)]
        else:
            shares = [(len(self._asking), UNPROVEN), (self._of_network[network], OF_NETWORK)]
        return all(waiting < WAITING * share and waiting * self._took <= PATIENCE * share for waiting, share in shares)

    def _work(self) -> None:
        while True:
            key, password, hashed, source, network = self._todo.get()
            began = self._now()
            try:
                made = self._crypt(password, hashed)
                right = made is not None and compare_digest(made, hashed)
            except Exception:
                self._log.failure("a password could not be checked")
                right = False
            self._reactor.callFromThread(self._done, key, source, network, right, self._now() - began)

    def _done(self, key: bytes, source: Hashable, network: Hashable, right: bool, took: float) -> None:
        self._took = took
        kept, most = (self._right, RIGHT_KEPT) if right else (self._wrong, WRONG_KEPT)
        kept[key] = None
        if len(kept) > most:
            kept.popitem(last=False)
        if right:
            self._proven[source] = None
            self._proven.move_to_end(source)
            if len(self._proven) > PROVEN_KEPT:
                self._proven.popitem(last=False)
        for counted, each in ((self._of, source), (self._of_network, network)):
            counted[each] -= 1
            if not counted[each]:
                del counted[each]
        for then in self._asking.pop(key):
            then()

    def _digest(self, password: bytes, hashed: bytes, name: bytes) -> bytes:
        lengths = len(hashed).to_bytes(4, "big") + len(name).to_bytes(4, "big")
        return blake2b(lengths + hashed + name + password, key=self._key, digest_size=32).digest()
