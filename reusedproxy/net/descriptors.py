"""What a process has only so many of: file descriptors. How many there are, and which of them clients may not take.

The kernel gives out the lowest free number, so the number of a new descriptor tells how many are taken at least. It knows
limits and error numbers; it must never know what the descriptors are used for.
"""

from __future__ import annotations

import errno
import resource

#: How a system call says that we, or the machine, have no descriptor, port or memory left: no peer has to do with it.
EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL))

#: The last ones are not for clients, because what is accepted must be served: an eighth, between these two.
SERVERS_LEAST, SERVERS_MOST = 16, 128
#: The very last ones are not for servers either: an operator must get in and reload, and checks must go on.
OPERATORS = 6
#: For all that is neither a client's nor a server's connection: so many, or a quarter of few.
OTHERS = 100


def limit() -> int:
    """How many this process may have open, once it has raised its soft limit to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return hard if hard != resource.RLIM_INFINITY else max(soft, 65536)


def clients() -> int:
    """How many clients there may be where no `maxconn` says: HAProxy's rule, two for each, some kept for the rest."""
    most = min(limit(), 2**20)
    return max(1, (most - min(OTHERS, most // 4)) // 2)


def last_for_clients() -> int:
    """The descriptor with which clients have had their share."""
    most = limit()
    return most - min(SERVERS_MOST, max(SERVERS_LEAST, most // 8))


def last_for_servers() -> int:
    """The same for clients and servers together."""
    return limit() - OPERATORS
