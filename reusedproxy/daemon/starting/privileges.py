"""Decides at the start whom the process becomes, and becomes it when everything is bound.

twistd's options decide before the configuration (`account` has the rules). Warns of files that the account cannot read
when a reload reads them again, and of those that it can change. Must never know what the files contain.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from reusedproxy.build.assembly import Proxy
from reusedproxy.config.language.report import Fault
from reusedproxy.config.model.proxies import Global
from reusedproxy.config.model.values import Notice, Place
from reusedproxy.daemon.load import files_in
from reusedproxy.daemon.starting.account import (
    PROGRAM,
    Account,
    UnknownAccount,
    account_of,
    change_notices,
    judged,
    python_notice,
    reload_notice,
)


class Privileges:
    """Knows the account that a process of root's becomes."""

    def __init__(self, paths: list[str], options: Mapping[str, object]) -> None:
        """Takes the paths of the configuration, and twistd's options (`uid` and `gid` among them)."""
        self._paths = paths
        self._options = options
        #: The account that the configuration names; None if it names none, or does not count.
        self._account: Account | None = None

    @property
    def becoming(self) -> Account | None:
        """Returns the account that root becomes, by twistd's options or the configuration."""
        uid, gid = self._options.get("uid"), self._options.get("gid")
        if os.geteuid() == 0 and isinstance(uid, int):
            return Account.of(uid, gid if isinstance(gid, int) else None)
        return self._account

    @property
    def reads_program(self) -> bool:
        """Tells whether the process, when it has become its user, can still load what is not loaded yet."""
        account = self.becoming
        return account is None or not account.unreadable(PROGRAM)

    def decide(self, said: Global) -> tuple[list[Fault], list[Notice]]:
        """Decides by `user` and `group`. Returns faults and notices about these and `chroot`."""
        root = os.geteuid() == 0
        faults: list[Fault] = []
        notices = judged(said, root, self._options)
        try:
            self._account = account_of(said, self._options) if root else None
        except UnknownAccount as error:
            faults += [Fault(place, text) for place, text in error.faults]
        becoming = self.becoming
        if becoming is not None and (text := becoming.impediment()):
            line = None if self._options.get("uid") is not None else said.user or said.group
            faults.append(Fault(Place(self._paths[0], 1) if line is None else line.place, text))
        return faults, notices

    def warnings(self, proxy: Proxy) -> Iterator[Notice]:
        """Returns notices about files that root can read now, and a reload will not be able to; and about those of the
        configuration that the daemon's user can change."""
        account, global_ = self.becoming, proxy.configuration.global_
        if account is None or account.uid == 0:
            return
        paths = [*self._paths, *(name for path in self._paths for name in files_in(path))]
        place = global_.user.place if global_.user else Place(self._paths[0], 1)
        yield from change_notices(account, paths, place)
        paths += [*(stamp[0] for stamp in proxy.stamps), *proxy.answers, *proxy.patterns, *proxy.maps]
        if global_.manhole is not None:
            paths.append(global_.manhole.authorized_keys)
        yield from python_notice(account, place)
        yield from reload_notice(account, paths, place)

    def drop(self) -> None:
        """Becomes the account of the configuration, for good; that of twistd's options twistd itself sees to."""
        if self._account is not None:
            self._account.become()
