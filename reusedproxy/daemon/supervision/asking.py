"""Asks a running daemon to reload, and waits for the outcome in its status file (`--reload`). Must never know who
asks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress

from attrs import frozen

from reusedproxy.daemon.processes import has_ended, is_daemon, user_of
from reusedproxy.daemon.supervision.status_file import REFUSED, RELOADED, STARTING, STOPPING, read

#: Seconds that `ask_to_reload` waits (resolving names may take 15 s, new connections 5 s), and seconds between two
#: looks.
PATIENCE = 60.0
LOOK = 0.05
#: Seconds after the end of a process in which another one, that has taken its place, says so in the file.
TAKING_OVER = 2.0
#: Processes that are told to reload at most, each in the place of the one before.
MOST_TOLD = 4


@frozen
class Outcome:
    """Holds the result of a requested reload: success or failure, and messages."""

    well: bool
    lines: list[str]


def ask_to_reload(
    pid: int,
    path: str,
    kill: Callable[[int, int], None] = os.kill,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    ours: Callable[[int], bool | None] = is_daemon,
    ended: Callable[[int], bool] = has_ended,
    user: Callable[[int], int | None] = user_of,
) -> Outcome:
    """Makes process `pid`, whose `--status-file` is at `path`, reload, and waits for the outcome.

    No other process gets the signal, which would end most programs. The number of reloads is read first. A reload with
    a higher number began later, and so has read the present configuration, whoever asked for it; one that was running
    at that time may have read it before it was changed.

    Another process may take the place of this one meanwhile (`--replace`), and have read its files before they were
    changed. It is told to reload, too, since the old one passes on only what it was told before it left. It counts its
    reloads from 0, and each of them began after it had said that it is there. The daemon's user may write another
    number into the file: only a process that runs as the same user, whom he could tell himself, gets the signal, each
    once.
    """
    from signal import SIGHUP

    before = read(path)
    if before is None:
        text = (
            f"{path}: is not the status file of a daemon that runs, or that could write it (its log tells): start it"
            f" with --status-file {path}"
        )
        return Outcome(False, [text])
    if before.pid != pid:
        return Outcome(False, [f"not reloaded: {path} is the status file of process {before.pid}, not of {pid}"])
    if ended(pid):
        return _ended(pid, path)
    if ours(pid) is False:
        return Outcome(
            False, [f"not reloaded: process {pid} is another program; the daemon that wrote {path} has ended"]
        )
    told, its_user = {pid}, user(pid)
    try:
        kill(pid, SIGHUP)
    except ProcessLookupError:
        return _ended(pid, path)
    except OSError as error:
        return Outcome(False, [f"process {pid} cannot be told to reload: {error.strerror}"])
    asked, reloads = pid, before.reloads
    until = now() + PATIENCE
    ended_at: float | None = None
    while now() < until:
        found = read(path)
        if (
            (found is not None and found.pid not in told and found.state != STARTING and len(told) < MOST_TOLD)
            and ours(found.pid)
            and user(found.pid) == its_user
        ):
            asked, reloads, ended_at = found.pid, 0, None
            told.add(asked)
            with suppress(OSError):  # it has ended, which is seen below
                kill(asked, SIGHUP)
        if found is not None and found.pid == asked:
            if found.state == STOPPING:
                return Outcome(False, ["not reloaded: the daemon is stopping"])
            if found.reloads > reloads and found.state in (RELOADED, REFUSED):
                return Outcome(found.state == RELOADED, found.lines)
        if _is_gone(asked, kill, ended):
            ended_at = now() if ended_at is None else ended_at
            if now() - ended_at >= TAKING_OVER:
                return _ended(asked, path)
        sleep(LOOK)
    return Outcome(False, [f"the reload had not ended after {PATIENCE:g} s; the log tells how it goes on"])


def _is_gone(pid: int, kill: Callable[[int, int], None], ended: Callable[[int], bool]) -> bool:
    try:
        kill(pid, 0)
    except OSError:
        return True
    return ended(pid)


def _ended(pid: int, path: str) -> Outcome:
    return Outcome(False, [f"not reloaded: process {pid}, the daemon that wrote {path}, has ended"])
