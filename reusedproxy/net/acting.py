"""Lets root open files as another user for a moment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


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
