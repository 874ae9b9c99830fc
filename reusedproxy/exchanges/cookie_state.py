"""Notes what becomes of the persistence cookie of one exchange, in HAProxy's letters for the log (its manual, section
8.5). It must never know how cookies are written."""

from __future__ import annotations

from attrs import define

from reusedproxy.backends.binding import Binding
from reusedproxy.backends.server import Server
from reusedproxy.config.model.persistence import NO_COOKIES

# What the client has sent.
NO_COOKIE, INVALID, DOWN, VALID, EXPIRED, OLD, UNUSED = "NIDVEOU"
# What the client gets: the server's own cookie (as it is, deleted, or rewritten), or one of the proxy's.
PROVIDED, DELETED, INSERTED, REWRITTEN, UPDATED = "PDIRU"


@define
class CookieState:
    """Holds the two letters, and what later steps need to know of the client's cookie.

    `named` is the server to which it has bound the request. `last_date` and `first_date` are the times in the cookie,
    in seconds since 1970, 0 without: when it was last sent to the client, and when first. `logged` tells whether the
    log says anything of it.
    """

    logged: bool
    found: str = NO_COOKIE
    sent: str = NO_COOKIE
    named: Server | None = None
    last_date: int = 0
    first_date: int = 0

    def letters(self, binding: Binding | None, server: Server | None) -> str:
        """Returns the third and fourth letter of HAProxy's termination state. `binding` is what is left of the
        request's binding, `server` where it has gone."""
        if not self.logged:
            return NO_COOKIES
        if self.found == VALID and binding is None and server is not self.named:
            return DOWN + self.sent  # the server was there, and the request was redispatched all the same
        return self.found + self.sent
