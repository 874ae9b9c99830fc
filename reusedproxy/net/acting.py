"""Lets root open files as another user for a moment, or as somebody who has no rights but those of everybody."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

#: User and group that own nothing: Linux shows what it cannot express as theirs (user_namespaces(7), overflowuid).
NOBODY = 65534


def groups_of(uid: int) -> tuple[int, list[int]]:
    """Returns the primary group of a user, and all groups.

    For an unknown uid that is the group of the same number, unless others have that one: 42 is Debian's group shadow.
    """
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        own = NOBODY if _is_group(uid) else uid
        return own, [own]
    return user.pw_gid, os.getgrouplist(user.pw_name, user.pw_gid)


def _is_group(gid: int) -> bool:
    try:
        grp.getgrgid(gid)
    except KeyError:
        return False
    return True


def is_private_group(gid: int, uid: int) -> bool:
    """Tells whether a group is a user's own, with his name and without other members, as many systems give each."""
    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(uid)
    except KeyError:
        return False
    return user.pw_gid == gid and group.gr_name == user.pw_name and {*group.gr_mem} <= {user.pw_name}


@contextmanager
def acting(uid: int, gid: int, groups: Sequence[int]) -> Iterator[None]:
    """Opens files as this user within the context; only root can. Raises OSError.

    The process stays root's for all other users: they can neither trace it nor send it signals.
    """
    own_uid, own_gid, own_groups = os.geteuid(), os.getegid(), os.getgroups()
    os.setgroups(groups)
    try:
        os.setegid(gid)
        os.seteuid(uid)
        yield
    finally:
        os.seteuid(own_uid)
        os.setegid(own_gid)
        os.setgroups(own_groups)
