"""Compares what a proxy may need with the process's limit of file descriptors."""

from __future__ import annotations

import os
from collections.abc import Iterator

from reusedproxy.build.assembly import Proxy
from reusedproxy.net import descriptors
from reusedproxy.pool.constant import ConstantPool

_REMEDY = "raise it (ulimit -n, LimitNOFILE=)"


def shortages(proxy: Proxy) -> Iterator[str]:
    """Returns warnings where the limit is below what `maxconn` or the floors ask for."""
    limit = descriptors.limit()
    if proxy.maxconn > descriptors.clients():
        needed = 2 * proxy.maxconn + descriptors.OTHERS
        what = f"maxconn {proxy.maxconn} may need {needed} file descriptors, two for each client"
        yield f"{what}, and the limit is {limit}: {_REMEDY} or lower maxconn"
    yield from floors_too_high(proxy)


def floors_too_high(proxy: Proxy) -> Iterator[str]:
    """Returns the warning that the limit is below what the floors ask for, if it is: they are opened at once."""
    limit = descriptors.limit()
    floors = sum(pool.limits.min_conn for pool in proxy.pools)
    floors += sum(pool.names.floor_of_listed for pool in proxy.pools if isinstance(pool, ConstantPool))
    if floors and floors + descriptors.OTHERS > limit:
        what = f"pool-min-conn asks for {floors} connections in all"
        yield f"{what}, and the limit is {limit} file descriptors: {_REMEDY} or lower pool-min-conn"


def none_for_clients() -> str:
    """Returns the fault that no descriptor is left for clients after everything has been opened; "" if some are."""
    number = os.dup(2)
    os.close(number)
    if number < descriptors.last_for_clients():
        return ""
    return f"the limit of {descriptors.limit()} file descriptors leaves none for clients: {_REMEDY}"
