"""The targets by name: what is checked, how many control bytes an input has, and its share of the time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import frozen

from tests.fuzz import clients, messages, servers
from tests.fuzz.streams import CONTROL

#: Where the fuzzer keeps what it grows and finds.
PLACE: Final = Path(".fuzz")


@frozen
class Target:
    check: Callable[[bytes], None]
    control: int
    share: int  # of a hundred
    max_len: int


TARGETS: Final = {
    "request": Target(messages.check_request_head, 0, 20, 1200),
    "response": Target(messages.check_response_head, 1, 15, 1200),
    "chunked": Target(messages.check_chunked_body, 1, 15, 1500),
    "client": Target(clients.check_client_stream, CONTROL, 30, 2000),
    "server": Target(servers.check_server_stream, CONTROL, 20, 2000),
}
