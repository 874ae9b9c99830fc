"""Defines what a `stick-table` line says, and what its entries can store. Values only."""

from __future__ import annotations

from attrs import frozen

from reusedproxy.config.model.values import Place

# What a value is.
ID, NUMBER, LARGE, RATE, NAME = "id", "number", "large", "rate", "name"

#: What can be stored, in the order in which HAProxy shows it, and what kind of value it is.
DATA_TYPES = {
    "server_id": ID,
    "gpt0": NUMBER,
    "gpc0": NUMBER,
    "gpc0_rate": RATE,
    "conn_cnt": NUMBER,
    "conn_rate": RATE,
    "conn_cur": NUMBER,
    "sess_cnt": NUMBER,
    "sess_rate": RATE,
    "http_req_cnt": NUMBER,
    "http_req_rate": RATE,
    "http_err_cnt": NUMBER,
    "http_err_rate": RATE,
    "bytes_in_cnt": LARGE,
    "bytes_in_rate": RATE,
    "bytes_out_cnt": LARGE,
    "bytes_out_rate": RATE,
    "gpc1": NUMBER,
    "gpc1_rate": RATE,
    "server_key": NAME,
    "http_fail_cnt": NUMBER,
    "http_fail_rate": RATE,
    "gpt": NUMBER,
    "gpc": NUMBER,
    "gpc_rate": RATE,
}
#: Those of which an entry has several, by number.
ARRAYS = ("gpt", "gpc", "gpc_rate")
#: The most of them.
MOST = 100
#: What `server_key` is made of.
BY_NAME, BY_ADDRESS = "name", "addr"


@frozen
class Stored:
    """Holds one word behind `store`. `period` is in milliseconds, 0 for what is no rate; `count` is that of an
    array."""

    type: str
    period: int = 0
    count: int = 1


@frozen
class Judged:
    """Holds which statuses of answers a client is to blame for (`http_err_cnt`), and which a server
    (`http_fail_cnt`)."""

    errors: frozenset[int] = frozenset(range(400, 500))
    failures: frozenset[int] = frozenset(range(500, 600)) - {501, 505}

    @property
    def least(self) -> int:
        """Returns the least of them; 600 where there is none."""
        return min(self.errors | self.failures, default=600)


@frozen
class StickTable:
    """Holds one table. `type` is that of its keys, "ip", "ipv6", "integer", "string" or "binary"; `length` the most
    bytes of the latter two. `size` are entries. `expire`: milliseconds after its last use in which an entry goes; 0:
    none does. `nopurge`: a full table takes no further keys, where the oldest would make room otherwise. `judged`: what
    counts as an error, and as a failure."""

    name: str
    place: Place
    type: str
    size: int
    length: int = 32
    expire: int = 0
    nopurge: bool = False
    stored: tuple[Stored, ...] = ()
    server_key: str = BY_NAME
    peers: str = ""
    judged: Judged = Judged()

    def fits(self, other: StickTable) -> bool:
        """Tells whether entries of the other table can go on in this one."""
        return (self.type, self.length, self.stored) == (other.type, other.length, other.stored)
