"""Defines how the servers of a backend are chosen, as its section says it."""

from __future__ import annotations

from attrs import frozen

from reusedproxy.config.model.rules import Condition, Format
from reusedproxy.config.model.values import Expression, Place

#: The words of `balance` that are done; the first is the default.
BALANCE = ("roundrobin", "static-rr", "leastconn", "first", "random", "source", "uri", "url_param", "hdr", "hash")
#: Those that hash something of a request.
HASHES = frozenset(("source", "uri", "url_param", "hdr", "hash"))
#: Those of them that look at a request; in `mode tcp` there is none.
NEEDS_HTTP = frozenset(("uri", "url_param", "hdr"))


@frozen
class Balance:
    """Holds `balance`. `draws` belong to `random`; `length`, `depth` (0: no limit), `whole` and `path_only` to `uri`;
    `name` to `url_param` and `hdr`, `domain_only` to `hdr`; `expression` to `hash`."""

    algorithm: str = BALANCE[0]
    draws: int = 2
    length: int = 0
    depth: int = 0
    whole: bool = False
    path_only: bool = False
    name: str = ""
    domain_only: bool = False
    expression: Expression | None = None


@frozen
class HashType:
    """Holds `hash-type`, with `hash-balance-factor` (`factor`, in percent; 0: no limit) and `hash-preserve-affinity`
    ("always", "maxconn" or "maxqueue")."""

    consistent: bool = False
    function: str = "sdbm"
    avalanche: bool = False
    factor: int = 0
    affinity: str = "always"


@frozen
class UseServer:
    """Holds one `use-server` line. `name` is a format; a constant one is the name of a server of the backend."""

    place: Place
    name: Format
    condition: Condition
