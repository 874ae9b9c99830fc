"""Defines the values of `userlist` sections: who may log in, with which password, and to which groups they belong.

Passwords are as the configuration has them, in clear or as hashes of crypt(3); no message and no `repr` shows them.
"""

from __future__ import annotations

from attrs import Factory, field, frozen

from reusedproxy.config.model.values import Place


@frozen
class User:
    """Holds one `user` line. `hashed`: `password` is a hash of crypt(3); otherwise it is the password itself. None:
    there is none, and nobody can log in as this user. `groups` has those of `group` lines, too."""

    name: str
    place: Place
    password: str | None = field(default=None, repr=False)
    hashed: bool = False
    groups: frozenset[str] = frozenset()


@frozen
class UserList:
    """Holds one `userlist` section: its users by name, and the names of its groups."""

    name: str
    place: Place
    users: dict[str, User] = Factory(dict)
    groups: frozenset[str] = frozenset()
