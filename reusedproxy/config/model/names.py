"""Defines how host names of servers are resolved while the daemon runs: `resolvers` sections, and a server's own words.

Values only; times are in seconds.
"""

from __future__ import annotations

from attrs import frozen

from reusedproxy.config.model.values import Place

#: The section that exists though no line begins it: it has the name servers of /etc/resolv.conf, as in HAProxy.
DEFAULT = "default"
#: Families of addresses, as `resolve-prefer` and `dns-accept-family` name them.
IPV4, IPV6 = "ipv4", "ipv6"


@frozen
class NameServer:
    """Holds one `nameserver` line: a literal address or a host name, and whether it is asked over TCP (`stream`)."""

    place: Place
    name: str
    host: str
    port: int
    stream: bool = False


@frozen
class Holds:
    """Holds the `hold` words of a section: for how long after the last valid answer a name without one keeps its
    servers, by the kind of its last answer; `obsolete`: for how long an address is kept that valid answers no longer
    have. `valid` matters to `do-resolve` alone."""

    nx: float = 30.0
    refused: float = 30.0
    timeout: float = 30.0
    other: float = 30.0
    valid: float = 10.0
    obsolete: float = 0.0


@frozen
class Resolvers:
    """Holds one `resolvers` section.

    `resolv_conf` is the place of `parse-resolv-conf`, None without it. A name is asked for every `resolve` seconds, and
    again after `retry` seconds without a valid answer, `retries` times. `payload` is the largest answer over UDP in
    bytes.
    """

    name: str
    place: Place
    nameservers: tuple[NameServer, ...] = ()
    resolv_conf: Place | None = None
    holds: Holds = Holds()
    resolve: float = 1.0
    retry: float = 1.0
    retries: int = 3
    payload: int = 512


@frozen
class Resolution:
    """Holds the words of a `server` line about its name.

    `resolvers` names a section; None: the name is resolved at the start and at reloads only. `prefer` is the family
    that is asked for first; `networks` are preferred among its addresses. `duplicates`: servers of the same name may
    have the same address. `ignore_weight`: of SRV records. `init` has the words of `init-addr`; empty: HAProxy's
    default.
    """

    resolvers: str | None = None
    prefer: str = IPV6
    networks: tuple[str, ...] = ()
    duplicates: bool = False
    ignore_weight: bool = False
    init: tuple[str, ...] = ()

    @property
    def methods(self) -> tuple[str, ...]:
        """Returns what is tried in turn for the first address: "last", "libc", "none" or an address. With `resolvers`,
        a name that cannot be resolved yet keeps nothing from starting."""
        return self.init or (("last", "libc", "none") if self.resolvers is not None else ("last", "libc"))


#: What a line without a word about its name says.
AT_THE_START = Resolution()
