"""Looks at this machine as far as warm connections depend on it. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reusedproxy.build.assembly import Proxy
from reusedproxy.daemon.limits import shortages
from reusedproxy.doctor.judge import ADVICE, FINE, TROUBLE, Finding
from reusedproxy.net import descriptors

SLOW_START = Path("/proc/sys/net/ipv4/tcp_slow_start_after_idle")


def findings_of_machine(proxy: Proxy, slow_start: Path = SLOW_START) -> Iterator[Finding]:
    """Returns what is found: the limit of descriptors against floors and `maxconn`, and a setting of TCP."""
    limit = descriptors.limit()
    short = [*shortages(proxy)]
    for text in short:
        remedy = "the daemon's own limit may be another: with systemd it is LimitNOFILE= of its unit"
        yield Finding(TROUBLE, "descriptors", text, remedy)
    floors = sum(pool.limits.min_conn for pool in proxy.pools)
    if not short:
        text = f"{limit} descriptors (of a process started here), and floors ask for {floors} in all"
        yield Finding(FINE, "descriptors", text)
    try:
        said = slow_start.read_text().strip()
    except OSError:
        return  # another system, or a container that hides it
    name = "net.ipv4.tcp_slow_start_after_idle"
    if said == "0":
        yield Finding(
            FINE, "slow-start", f"{name} is 0: what we send on connections that stood idle goes at full speed"
        )
    else:
        yield Finding(
            ADVICE,
            "slow-start",
            f"{name} is {said}: a connection that stood idle for longer than a moment begins slowly again, as a new one"
            " does, which large requests feel; for large answers the servers' own setting counts",
            f"sysctl -w {name}=0 (and in /etc/sysctl.d)",
        )
