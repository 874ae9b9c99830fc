"""Finds out whether a request's name and password are those of a user in a `userlist` section.

A password in clear is compared at once, in constant time. A hash takes long: a rule that asks for it is broken off, the
hash is checked elsewhere (`net.passwords`), and the rules go on with that one when the result is known. A name that no
user has costs the same as a wrong password of some user, always the same one, so that names cannot be found out by
the time, whatever the passwords of a list are. It must never know sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from hmac import compare_digest
from os import urandom

from reusedproxy.config.model.users import User, UserList
from reusedproxy.net.passwords import Passwords
from reusedproxy.rules.regular import Interruption, Unevaluated
from reusedproxy.rules.users import Member
from reusedproxy.wire.addresses import of_one_client, of_one_network
from reusedproxy.wire.credentials import Credentials


class Unverified(Interruption):
    """Breaks off the rules of a request: one has asked for a password that has not been checked."""

    def __init__(self, credentials: Credentials, hashed: bytes) -> None:
        super().__init__("a password is not checked")
        self.credentials = credentials
        self.hashed = hashed


class Authentication:
    """Knows all users of a configuration."""

    def __init__(self, lists: Mapping[str, UserList], passwords: Passwords) -> None:
        self.passwords = passwords
        self._lists = {name: _Users(each) for name, each in lists.items()}

    def hashing(self, names: Iterable[str]) -> tuple[str, ...]:
        """Returns those of these lists that have a hash, whose check takes long."""
        return tuple(name for name in names if name in self._lists and self._lists[name].hashing)

    def member(self, name: str, credentials: Credentials, may_wait: bool) -> Member | None:
        """Returns the user with this name and password; None if there is none. Where the password has to be checked
        against a hash first, raises Unverified if the request `may_wait` for that, and Unevaluated if not."""
        users = self._lists[name]
        user = users.named.get(credentials.user)
        asked = user or users.stand_in(credentials.user)
        if asked is None:
            return None
        said = (asked.password or "").encode()
        if asked.hashed:
            hashed = said
            right = self.passwords.known(credentials.password, hashed, credentials.user)
            if right is None:
                raise Unverified(credentials, hashed) if may_wait else Unevaluated("a password is not checked")
        else:
            right = users.same(credentials.password, said)
        return users.members[credentials.user] if right and user is not None else None

    def check(self, unverified: Unverified, host: str, then: Callable[[], None]) -> bool:
        """Has a password checked that has come from `host`, and calls `then` when the result is known. Returns False if
        too many wait."""
        said, source = unverified.credentials, of_one_client(host)
        return self.passwords.check(said.password, unverified.hashed, source, then, said.user, of_one_network(host))


class _Users:
    """Holds one list for look-ups: its users who have a password. `hashing` tells that one of these is a hash."""

    def __init__(self, said: UserList) -> None:
        self.named = {name.encode(): user for name, user in said.users.items() if user.password is not None}
        self.members = {
            name: Member(name, frozenset(group.encode() for group in user.groups)) for name, user in self.named.items()
        }
        self._users = list(self.named.values())
        self.hashing = any(user.hashed for user in self._users)
        self._key = urandom(32)
        #: As secret as the passwords, and the same after a reload that changes none.
        self._order = blake2b("\n".join(user.password or "" for user in self._users).encode()).digest()

    def stand_in(self, name: bytes) -> User | None:
        """Returns the user whose password is checked in place of that of a name that nobody has; None: there are no
        users."""
        if not self._users:
            return None
        number = int.from_bytes(blake2b(name, key=self._order, digest_size=8).digest(), "big")
        return self._users[number % len(self._users)]

    def same(self, one: bytes, other: bytes) -> bool:
        """Compares two passwords in a time that tells nothing of either, its length included."""
        first, second = (blake2b(each, key=self._key).digest() for each in (one, other))
        return compare_digest(first, second)


class _Nobody(Authentication):
    """Stands where a configuration has no lists."""

    def __init__(self) -> None:
        self._lists = {}


NOBODY = _Nobody()
