"""Words why something has to wait while one process is about to take another's place, for logs and for who has asked.

Must never know what is done about it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from reusedproxy.daemon.replacing.successor import Successor
from reusedproxy.daemon.replacing.takeover import Takeover
from reusedproxy.net.listener import Listener


def why_not_handed_over(state: str, successor: Successor, takeover: Takeover | None, reloads: bool) -> str:
    """Returns why the sockets of a service in this state cannot be handed over now, "" if they can."""
    if state != "running":
        return f"process {os.getpid()} is {state}"
    if successor.is_coming:
        return f"{successor.called} is about to get them"
    if takeover is not None:
        return f"process {os.getpid()} is about to get them from process {takeover.pid}"
    # A reload may bind others.
    return "a reload is under way" if reloads else ""


def why_not_reloaded(successor: Successor, takeover: Takeover | None) -> str:
    """Returns what a reload waits for, "" where that is another reload, of which the log tells."""
    if successor.is_coming:
        text = f"{successor.called} is about to take the place of this one"
        return f"waits, since {text}; for {successor.left:.0f} s, if it is silent"
    if takeover is not None:
        return f"waits until this process has taken the place of process {takeover.pid}"
    return ""


def gone_from_paths(listeners: Iterable[Listener]) -> list[str]:
    """Returns the addresses of unix sockets whose files are not at their paths any more: an older version of the
    program removes them when it is stopped before it has left."""
    return [str(each.bind.address) for each in listeners if not each.stands]
