"""Lets servers that have come up take traffic as their connections become warm.

A server that is UP again, or new, has no connection yet: with its full weight at once, its first requests would wait
for handshakes. So its weight counts as far as its floor stands (`Server.warmth`), and it is given nothing while nothing
stands, as long as another server is ready. It must never know why a server has come up, nor who asks for one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import define
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from reusedproxy.backends.server import FULL_WEIGHT, Server

#: Seconds between two looks at floors that fill; as often longer as there are so many servers, since choosing among a
#: thousand anew takes milliseconds.
TICK = 0.05
SERVERS_A_TICK = 50
#: Seconds without a request that found none idle after which a server with its floor has as many connections as its
#: share needs; and the most that is waited for that.
SETTLED = 1.0
SETTLED_AT_LAST = 5.0


@define(eq=False)
class Course:
    """Holds how far a server is that has come up at `began`. `ready_at` is when its floor stood, or the time for that
    was over (None: it fills); `passed_at` when another was last preferred to it since, because none was idle."""

    began: float
    ready_at: float | None = None
    passed_at: float = 0.0


class ComingUp:
    """Follows the servers of one backend that have come up, until they are warm. `courses` has them. Each of them

    fills      its floor does not stand yet; `warmth` is the part of it that does
    settles    its full weight counts; requests go to others still while it has no idle connection

    and is warm when none has found it without for a second: then it is gone from here.
    """

    def __init__(
        self,
        servers: Iterable[Server],
        clock: IReactorTime,
        changed: Callable[[list[Server]], None],
        announce: Callable[[str, str], None],
    ) -> None:
        """Calls `changed(ready)` when other parts of servers' weights count: those of `ready` do in full from now on.
        `announce(level, text)` takes messages for the operator."""
        self.courses: dict[Server, Course] = {}
        self._clock = clock
        self._changed = changed
        self._announce = announce
        self._call: IDelayedCall | None = None
        self._servers: list[Server] = []
        for server in servers:
            self.add(server)

    def add(self, server: Server) -> None:
        """Has a server, one that is new for example, take no more than its warm share whenever it comes up."""
        server.warms_up = server.settings.warm_up > 0
        self._servers.append(server)

    def forget(self, server: Server) -> None:
        """Lets go of a server that is gone for good."""
        self.courses.pop(server, None)
        if server in self._servers:
            self._servers.remove(server)

    def stop(self) -> None:
        """Follows nobody any more; leaves no timer. All weights count in full."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self.courses.clear()
        for server in self._servers:
            server.warms_up, server.warmth = False, FULL_WEIGHT

    def follow(self, server: Server) -> None:
        """Begins with a server that has come up, and ends with one that is gone."""
        if not server.serving:
            self.courses.pop(server, None)
        elif server.warmth < FULL_WEIGHT and server not in self.courses:
            self.courses[server] = Course(self._clock.seconds())
            ready: list[Server] = []
            if self._judge(server, self.courses[server], ready):
                self._changed(ready)
            self._plan()

    def _plan(self) -> None:
        if self.courses and self._call is None:
            self._call = self._clock.callLater(TICK * (1 + len(self.courses) // SERVERS_A_TICK), self._look)

    def _look(self) -> None:
        self._call = None
        ready: list[Server] = []
        changed = [each for each, course in [*self.courses.items()] if self._judge(each, course, ready)]
        self._plan()
        if changed:
            self._changed(ready)

    def _judge(self, server: Server, course: Course, ready: list[Server]) -> bool:
        """Looks at one server; adds it to `ready` when its floor stands. Returns whether another part of its weight
        counts."""
        now = self._clock.seconds()
        if course.ready_at is not None:
            if now - course.passed_at >= SETTLED or now - course.ready_at >= SETTLED_AT_LAST:
                del self.courses[server]
            return False
        standing, floor = standing_since(server, course.began), server.pool.floor
        late = now - course.began >= server.settings.warm_up
        if standing < floor and not late:
            warmth = max(int(standing > 0), FULL_WEIGHT * standing // floor)
        else:
            course.ready_at = course.passed_at = now
            ready.append(server)
            warmth = FULL_WEIGHT
        if standing < floor and late:
            self._announce(
                "warning",
                f"Server {server.full_name} takes its full share, though {standing} of the {floor} connections of its"
                f" floor stand: {server.settings.warm_up:g} s are over (pool-warm-up)",
            )
        before, server.warmth = server.warmth, warmth
        return warmth != before


def standing_since(server: Server, began: float) -> int:
    """Counts the server's connections that stand ready, and those in use that were opened since it came up: older ones
    may have broken with it."""
    pool = server.pool
    return len(pool.idle) + sum(each.born >= began for each in pool.in_use)
