"""Admits clients by `tcp-request connection` rules, when a client has connected and has sent nothing yet.

Only the source and the destination of the connection are known then. It must never read from the client.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from socket import socket
from typing import TYPE_CHECKING

from attrs import frozen

from reusedproxy.config.model.rules import Receive
from reusedproxy.rules.facts import Sample

if TYPE_CHECKING:
    from reusedproxy.net.listener import Listener

# What becomes of a client.
ACCEPT = "accept"
REJECT = "reject"
EXPECT_PROXY = "expect-proxy"  # it is another proxy, and says for whom it comes


@frozen
class Arrival:
    """Holds the facts of a client that has just connected (`reusedproxy.rules.facts.Facts`): no request,
    no TLS and no variables."""

    accepted: socket
    source: tuple[str, int]
    listener: Listener
    frontend_name: str

    inspected = head = line = answer = client_tls = server_tls = backend_name = server_name = credentials = (
        auth_scheme
    ) = None
    asks_as_proxy = False
    first_request = True
    priority = 0, 0

    @property
    def destination(self) -> tuple[str, int]:
        found = self.accepted.getsockname()
        return (found[0], found[1]) if isinstance(found, tuple) else ("unix", 0)

    def usable_servers(self, backend: str) -> int | None:
        return None

    def member(self, users: str) -> bytes | None:
        return None

    @property
    def listener_name(self) -> str:
        return self.listener.bind.name

    def wall(self) -> float:
        return time.time()

    def variable(self, name: str) -> Sample:
        return None

    def set_variable(self, name: str, value: Sample) -> None:
        raise NotImplementedError("no connection rule sets any")

    def set_priority(self, priority: tuple[int, int]) -> None:
        raise NotImplementedError("no connection rule sets one")


@frozen
class Gate:
    """Holds a frontend's connection rules, in order: each a test and a decision. The first that accepts
    or rejects is the last."""

    rules: Sequence[tuple[Callable[[Arrival], bool], Receive]]

    def judge(self, arrival: Arrival) -> str:
        """Runs the rules. Returns ACCEPT, REJECT or EXPECT_PROXY."""
        verdict = ACCEPT
        for test, action in self.rules:
            if test(arrival):
                if action.verb == EXPECT_PROXY:
                    verdict = EXPECT_PROXY
                elif action.verb == REJECT:
                    return REJECT
                else:
                    break
        return verdict
