"""Decides which user the daemon becomes when root has started it: that of `user` and `group`, unless twistd's
options name one.

The decision is made before anything is bound, carried out when everything is, and final. Reloads read all files as
that user, so files that it cannot read are named at the start. Knows users, groups and paths; must never know what the
files contain.
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from attrs import frozen

from reusedproxy.config.model.proxies import Global, Said
from reusedproxy.config.model.values import Notice, Place
from reusedproxy.net.acting import acting, groups_of
from reusedproxy.net.trusted_paths import MOST_LINKS

#: Number of unreadable files that are named.
NAMED = 4

#: Of prctl(2), and a bit of its answer.
_PR_GET_SECUREBITS = 27
_NO_SETUID_FIXUP = 1 << 2

INSTEAD = (
    "cannot be obeyed, because each reload reads the configuration, certificates and keys again, which are outside:"
    " remove the line, and confine the daemon where it is started (systemd: ProtectSystem=strict, ProtectHome=yes and"
    " PrivateTmp=yes, as in the unit that comes with reusedproxy)"
)


class UnknownAccount(Exception):
    """Reports a user, a group, or both that do not exist; `faults` are their lines, with the texts."""

    def __init__(self, *faults: tuple[Place, str]) -> None:
        Exception.__init__(self, "; ".join(text for _, text in faults))
        self.faults = faults


@frozen
class Account:
    """Describes a user, with its primary group and supplementary groups."""

    uid: int
    gid: int
    groups: tuple[int, ...]

    @classmethod
    def of(cls, uid: int, gid: int | None = None) -> Account:
        """Returns the account with these numbers. `gid` None means the user's own group; for an unknown uid see
        `groups_of`."""
        if gid is None:
            own, groups = groups_of(uid)
            return cls(uid, own, tuple(groups))
        try:
            return cls(uid, gid, tuple(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)))
        except KeyError:
            return cls(uid, gid, (gid,))

    @property
    def name(self) -> str:
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)

    def become(self) -> None:
        """Changes the process to this account for good. Raises OSError."""
        os.setgroups(self.groups)
        os.setgid(self.gid)
        os.setuid(self.uid)

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Opens files as this account within the context; only root can. Raises OSError."""
        with acting(self.uid, self.gid, self.groups):
            yield

    def impediment(self) -> str:
        """Returns the reason why root cannot become this account, "" if it can. Root in a container
        may lack the capabilities, or keep them whoever it becomes."""
        if self.uid != 0 and _keeps_capabilities():
            return (
                f"cannot become {self.name} without keeping root's capabilities, since the secure bit no_setuid_fixup"
                f" is set (capabilities(7)): take it out (systemd: SecureBits=), or start the daemon as {self.name}"
            )
        try:
            with self.acting():
                return ""
        except OSError as error:
            return (
                f"cannot become {self.name}: {error.strerror}: the capabilities CAP_SETUID and CAP_SETGID are missing;"
                f" grant them, or start the daemon as {self.name}"
            )

    def unreadable(self, paths: Iterable[str]) -> list[str]:
        """Returns those of the paths that exist and that this account cannot read."""
        existing = [path for path in dict.fromkeys(paths) if os.path.lexists(path)]
        with self.acting():
            return [path for path in existing if not os.access(path, _needed(path), effective_ids=True)]

    def changeable(self, paths: Iterable[str]) -> list[str]:
        """Returns those of the paths that this account can change, or put another file in place of."""
        with self.acting():
            return [path for path in dict.fromkeys(paths) if any(map(self._can_change, _ways(path)))]

    def _can_change(self, at: str) -> bool:
        sticky = False
        with suppress(OSError):
            while True:
                status = os.stat(at)
                if self.uid in (status.st_uid, os.lstat(at).st_uid) or (
                    os.access(at, os.W_OK, effective_ids=True) and not sticky
                ):
                    return True
                if at == os.path.dirname(at):
                    return False
                at = os.path.dirname(at)
                sticky = bool(os.stat(at).st_mode & stat.S_ISVTX)
        return False


def _keeps_capabilities() -> bool:
    """Tells whether this process keeps its capabilities when it changes its user (SECBIT_NO_SETUID_FIXUP)."""
    bits: int = ctypes.CDLL(None).prctl(_PR_GET_SECUREBITS, 0, 0, 0, 0)
    return bits > 0 and bool(bits & _NO_SETUID_FIXUP)


def _ways(path: str) -> Iterator[str]:
    """Yields a path, those to which its links lead, and the one without links."""
    for _ in range(MOST_LINKS):
        path = os.path.abspath(path)
        yield path
        try:
            path = os.path.join(os.path.dirname(path), os.readlink(path))
        except OSError:
            break
    yield os.path.realpath(path)


def _needed(path: str) -> int:
    return os.R_OK | os.X_OK if os.path.isdir(path) else os.R_OK


def account_of(said: Global, options: Mapping[str, object]) -> Account | None:
    """Returns the account that root becomes by the configuration. Raises UnknownAccount.

    Returns None if the configuration names nobody, or twistd's `options` do.
    """
    if options.get("uid") is not None:
        return None
    unknown: list[tuple[Place, str]] = []
    uid = _number(said.user, lambda name: pwd.getpwnam(name).pw_uid, unknown)
    gid = _number(said.group, lambda name: grp.getgrnam(name).gr_gid, unknown)
    if unknown:
        raise UnknownAccount(*unknown)
    given = options.get("gid")
    if isinstance(given, int):
        gid = given
    if uid is not None:
        return Account.of(uid, gid)
    return None if gid is None else Account(0, gid, (gid,))


def _number(said: Said | None, find: Callable[[str], int], unknown: list[tuple[Place, str]]) -> int | None:
    """Returns the number of a user or group; None if there is no line, or nobody of that name, who is added to the
    `unknown` ones."""
    if said is None:
        return None
    if said.word in ("uid", "gid"):
        return int(said.value)
    try:
        return find(said.value)
    except KeyError:
        kind = "user" if said.word == "user" else "group"
        hint = f"adduser --system --group {said.value}" if kind == "user" else f"addgroup --system {said.value}"
        unknown.append((said.place, f"'{said.word}': there is no {kind} '{said.value}': {hint}"))
        return None


def judged(said: Global, root: bool, options: Mapping[str, object]) -> list[Notice]:
    """Returns what is to be said of `user`, `group` and `chroot`, but for names that do not exist."""
    by_option = options.get("uid")
    notices: list[Notice] = []
    lines = [each for each in (said.user, said.group) if each is not None]
    if lines and not root:
        words = ", ".join(f"'{each.word}'" for each in lines)
        text = f"{words}: without effect, since the daemon is not started by root: it stays who it is"
        notices.append(Notice("notice", lines[0].place, text))
    elif lines and isinstance(by_option, int):
        words = ", ".join(f"'{each.word} {each.value}'" for each in lines)
        text = (
            f"{words}: without effect, since twistd's --uid says who the daemon becomes: {Account.of(by_option).name}"
        )
        notices.append(Notice("notice", lines[0].place, text))
    log = options.get("logfile")
    leaves_root = root and by_option is None and said.user is not None and said.user.value not in ("root", "0")
    if lines and leaves_root and isinstance(log, str) and log not in ("", "-"):
        text = (
            f"'{lines[0].word}': twistd has opened --logfile {log} as root before, so the file stays root's and is not"
            " rotated while the daemon runs: say the user to twistd (--uid and --gid, USER= of the init script) instead"
            " of here"
        )
        notices.append(Notice("warning", lines[0].place, text))
    chroot = said.chroot
    if chroot is not None:
        alone = root and said.user is None and by_option is None
        stays = ". Without 'user' the daemon stays root, who could leave a chroot, too: say 'user'" if alone else ""
        text = f"'chroot' {INSTEAD}{stays}"
        notices.append(Notice("warning" if root else "notice", chroot.place, text))
    return notices


#: A file of Python, and one of the program.
PROGRAM = (os.__file__, __file__)


def python_notice(account: Account, place: Place) -> Iterator[Notice]:
    """Returns a warning if the account cannot read Python itself, whose modules are partly loaded later."""
    for path in account.unreadable(PROGRAM):
        text = (
            f"user {account.name}, whom the daemon becomes, cannot read {path}, so what is loaded later will be"
            " missing: install Python and reusedproxy where everybody may read them"
        )
        yield Notice("warning", place, text)
        return


def change_notices(account: Account, configuration: Iterable[str], place: Place) -> Iterator[Notice]:
    """Returns a warning if the account can change files of the configuration, and one if it can change the program:
    root does what they say at each start."""
    # The script that was started, and where modules are looked for, too.
    program = [sys.executable, os.__file__, __file__, *filter(os.path.exists, (*sys.argv[:1], *sys.path))]
    for what, paths in (("configuration", configuration), ("program", program)):
        found = account.changeable(paths)
        if found:
            text = (
                f"user {account.name}, whom the daemon becomes, can change the {what}, or a directory on the way to it:"
                f" {_some_of(found)}; who takes over the daemon can have root do what he writes there at"
                " the next start: it, and all directories above, should be root's (chown root, chmod go-w)"
            )
            yield Notice("warning", place, text)


def reload_notice(account: Account, paths: Iterable[str], place: Place) -> Iterator[Notice]:
    """Returns one warning with the paths that the account cannot read, if there are any."""
    found = account.unreadable(paths)
    if found:
        text = (
            f"user {account.name}, whom the daemon becomes, cannot read what a reload reads again:"
            f" {_some_of(found)}; until that is changed (chgrp, chmod), a reload that reads one of them is refused"
        )
        yield Notice("warning", place, text)


def _some_of(paths: list[str]) -> str:
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return f"{', '.join(paths[:NAMED])}{more}"
