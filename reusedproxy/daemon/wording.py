"""Words parts of the daemon's messages that several of them have."""

from __future__ import annotations

from reusedproxy.net.listener import Listener

#: Number of names in a list of changed files or servers.
NAMED = 3


def listed(names: list[str]) -> str:
    """Returns the first of these names, and how many more there are."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def bound_to(listener: Listener) -> str:
    """Returns the address of a listener; for port 0 with the port that the kernel has chosen."""
    address = listener.bind.address
    if address.kind == "tcp" and address.port == 0:
        return f"{address.host or '*'}:{listener.port}"
    return str(address)
