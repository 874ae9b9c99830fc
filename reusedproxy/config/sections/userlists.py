"""Parses `userlist` sections: `group` and `user` lines, and which user is in which group.

Groups may be named before they are defined, in both directions, so they are checked when the section is complete. Must
never compute a hash: whether crypt(3) of this machine knows one is found out by `build`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import Factory, define, evolve

from reusedproxy.config.language.report import Line, Report, Wrong, did_you_mean
from reusedproxy.config.model.users import User, UserList
from reusedproxy.config.model.values import Place

_WORDS = ("password", "insecure-password", "groups")


@define
class UserListDraft:
    """Holds one `userlist` section while it is read. `groups` has the users that each group names, `users` have the
    groups that each user names. `unreadable`: a line could not be read, so that missing names are not reported."""

    name: str
    place: Place
    users: dict[str, User] = Factory(dict)
    groups: dict[str, tuple[Place, tuple[str, ...]]] = Factory(dict)
    unreadable: bool = False

    def read(self, line: Line, report: Report) -> None:
        """Reads one line of the section. Raises Wrong."""
        try:
            if line.keyword not in ("user", "group"):
                hint = did_you_mean(line.keyword, ("user", "group"))
                raise Wrong(f"unknown keyword '{line.keyword}' in section 'userlist'{hint}")
            if line.prefix:
                raise Wrong(f"'{line.prefix}' cannot stand before '{line.keyword}' in section 'userlist'")
            if not line.arguments:
                raise Wrong(f"'{line.keyword}' needs a name")
            if line.keyword == "user":
                self._user(line, report)
            else:
                self._group(line)
        except Wrong:
            self.unreadable = True
            raise

    def _group(self, line: Line) -> None:
        name, *rest = line.arguments
        if name in self.groups:
            # HAProxy ignores the second line with a warning, and so the users that it names are kept out.
            raise Wrong(f"group '{name}' stands already at {self.groups[name][0]}")
        users: list[str] = []
        while rest:
            if rest[0] != "users":
                raise Wrong(f"group '{name}': after the name can follow 'users' and their names, not '{rest[0]}'")
            if len(rest) < 2:
                raise Wrong(f"group '{name}': 'users' needs names, separated by commas")
            users += _names(rest[1])
            del rest[:2]
        self.groups[name] = line.place, tuple(users)

    def _user(self, line: Line, report: Report) -> None:
        name, *rest = line.arguments
        if name in self.users:
            raise Wrong(f"user '{name}' stands already at {self.users[name].place}")
        said: dict[str, str] = {}
        while rest:
            word = rest.pop(0)
            if word not in _WORDS:
                # The word may be a password; so it is not shown.
                raise Wrong(f"user '{name}': a word is none of {', '.join(_WORDS)}{did_you_mean(word, _WORDS)}")
            if not rest:
                raise Wrong(f"user '{name}': '{word}' needs a value")
            value = rest.pop(0)
            if word == "groups":
                value = ",".join(filter(None, (said.get("groups", ""), value)))
            elif {"password", "insecure-password"} & said.keys():
                raise Wrong(f"user '{name}' has two passwords: one is enough")
            said[word] = value
        if ":" in name:
            raise Wrong(f"user '{name}': a client's name ends at its first colon, so nobody can log in as this user")
        password = said.get("password", said.get("insecure-password"))
        if password is None:
            report.warn(line.place, f"user '{name}' has no password, so nobody can log in as this user")
        groups = frozenset(_names(said.get("groups", "")))
        self.users[name] = User(name, line.place, password, "password" in said, groups)

    def check(self, report: Report) -> None:
        """Reports users and groups that are named and do not exist."""
        if self.unreadable:
            return
        for user in self.users.values():
            for group in sorted(user.groups.difference(self.groups)):
                hint = did_you_mean(group, self.groups)
                report.fault(user.place, f"userlist '{self.name}' has no group '{group}'{hint}")
        for place, names in self.groups.values():
            for name in names:
                if name not in self.users:
                    hint = did_you_mean(name, self.users)
                    report.fault(place, f"userlist '{self.name}' has no user '{name}'{hint}")

    def finished(self) -> UserList:
        users = {
            name: evolve(
                user,
                groups=user.groups.union(group for group, (_, names) in self.groups.items() if name in names),
            )
            for name, user in self.users.items()
        }
        return UserList(self.name, self.place, users, frozenset(self.groups))


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def check_user_lists(lists: Mapping[str, UserListDraft], report: Report) -> None:
    """Checks all sections."""
    for each in lists.values():
        each.check(report)


def finished_user_lists(lists: Iterable[UserListDraft]) -> dict[str, UserList]:
    """Returns the sections' values by name."""
    return {each.name: each.finished() for each in lists}
