"""Finds out whether a request's name and password are those of a user in a `userlist` section.

A password in clear is compared at once, in constant time. A hash takes long: a rule that asks for it is broken off, the
hash is checked elsewhere (`net.passwords`), and the request's rules are run again when the result is known. A name that
no user has costs the same as a wrong password, so that names cannot be found out by the time. It must never know
sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from hashlib import blake2b
from hmac import compare_digest
from os import urandom

from reusedproxy.config.model.users import User, UserList
from reusedproxy.net.passwords import Passwords
from reusedproxy.rules.regular import Unevaluated
from reusedproxy.rules.users import Member
from reusedproxy.wire.credentials import Credentials


class Unverified(Exception):
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
        return tuple(name for name in names if name in self._lists and self._lists[name].decoy is not None)

    def member(self, name: str, credentials: Credentials, may_wait: bool) -> Member | None:
        """Returns the user with this name and password; None if there is none. Where the password has to be checked
        against a hash first, raises Unverified if the request `may_wait` for that, and Unevaluated if not."""
        users = self._lists[name]
        user = users.named.get(credentials.user)
        hashed = users.hash_for(user)
        if hashed is not None:
            right = self.passwords.known(credentials.password, hashed, credentials.user)
            if right is None:
                raise Unverified(credentials, hashed) if may_wait else Unevaluated("a password is not checked")
        else:
            known = user is not None and user.password is not None
            said = user.password if user is not None and user.password is not None else ""
            right = users.same(credentials.password, said.encode()) and known  # a name that nobody has takes as long
        return users.members[credentials.user] if right and user is not None else None

    def check(self, unverified: Unverified, source: Hashable, then: Callable[[], None]) -> bool:
        """Has a password checked, and calls `then` when the result is known. Returns False if too many wait."""
        said = unverified.credentials
        return self.passwords.check(said.password, unverified.hashed, source, then, said.user)


class _Users:
    """Holds one list for look-ups. `decoy` is a hash that stands for those of users that do not exist; None: the list
    has none."""

    def __init__(self, said: UserList) -> None:
        self.named = {name.encode(): user for name, user in said.users.items()}
        self.members = {
            name: Member(name, frozenset(group.encode() for group in user.groups)) for name, user in self.named.items()
        }
        hashes = [user.password for user in said.users.values() if user.hashed and user.password is not None]
        self.decoy = hashes[0].encode() if hashes else None
        self._key = urandom(32)

    def hash_for(self, user: User | None) -> bytes | None:
        """Returns the hash that a password is checked against; None where it is compared as it is."""
        if user is None:
            return self.decoy
        return user.password.encode() if user.hashed and user.password is not None else None

    def same(self, one: bytes, other: bytes) -> bool:
        """Compares two passwords in a time that tells nothing of either, its length included."""
        first, second = (blake2b(each, key=self._key).digest() for each in (one, other))
        return compare_digest(first, second)


class _Nobody(Authentication):
    """Stands where a configuration has no lists."""

    def __init__(self) -> None:
        self._lists = {}


NOBODY = _Nobody()
