"""Computes how many file descriptors the process has and which of the last ones clients and servers may not take.

The kernel gives out the lowest free number, so the number of a new descriptor is a lower bound of how many are taken.
It knows limits and error numbers; it must never know what the descriptors are used for.
"""

from __future__ import annotations

import errno
import resource

#: Errors of system calls that say that this process, or the machine, has no descriptor, port or memory left; the peer
#: has no part in it.
EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL))

#: The last descriptors are reserved for connections to servers, because an accepted request must be served: an eighth
#: of all, between these two bounds.
SERVERS_LEAST, SERVERS_MOST = 16, 128
#: The very last ones are reserved for operators and checks: an operator must be able to connect and reload, and health
#: checks must go on.
OPERATORS = 6
#: Descriptors that are neither a client's nor a server's connection: this many, or a quarter of the limit where that is
#: less.
OTHERS = 100


def limit() -> int:
    """Returns how many descriptors this process may have open once its soft limit is raised to the hard one.

    Where the hard limit is infinite, it is the soft limit, at least 65536.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return hard if hard != resource.RLIM_INFINITY else max(soft, 65536)


def raise_limit() -> None:
    """Raises the process's limit to the hard one, as HAProxy does."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def clients() -> int:
    """Returns how many clients are allowed where no `maxconn` says.

    It is HAProxy's rule: two descriptors for each client, after some are kept for the rest.
    """
    most = min(limit(), 2**20)
    return max(1, (most - min(OTHERS, most // 4)) // 2)


def last_for_clients() -> int:
    """Returns the descriptor number at which clients have had their share.

    The client that gets this number, or a higher one, is served, but no further client is accepted for now.
    """
    most = limit()
    return most - min(SERVERS_MOST, max(SERVERS_LEAST, most // 8))


def last_for_servers() -> int:
    """Returns the descriptor number at which clients and servers together have had their share.

    A connection to a server that gets this number, or a higher one, is not made.
    """
    return limit() - OPERATORS
