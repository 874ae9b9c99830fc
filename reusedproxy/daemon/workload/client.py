"""Keeps a stream of the SPIFFE Workload API open, and prints what comes from it: the program of a process of its own.

gRPC has threads of its own and does not survive a fork, so it is kept out of the daemon. A line of standard output is
an object in JSON: an SVID (see `messages`), or {"fault": why there is no stream}. It ends with its standard input, that
is, with the daemon. Must never know what an SVID is for.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from reusedproxy.daemon.workload.messages import Malformed, svid_in

METHOD = "/SpiffeWorkloadAPI/FetchX509SVID"
#: Agents refuse calls without it (SPIFFE Workload API, section 4): a browser's request forged by a page has none.
HEADER = ("workload.spiffe.io", "true")
#: Seconds until the next try after a first failure, and at most; each failure doubles them, until a stream has lasted
#: for as long as that.
AFTER_FAILURE = 0.5
MOST_AFTER_FAILURE = 30.0


def main(address: str) -> None:
    """Prints what comes from the agent at `address` (unix:/path), until standard input ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the service manager sends it to all, while the daemon still drains
    threading.Thread(target=_end_with_daemon, daemon=True).start()
    try:
        import grpc
    except ImportError as error:
        _say({"fault": f"gRPC cannot be loaded ({error})"})
        return
    pause = AFTER_FAILURE
    while True:
        began = time.monotonic()
        try:
            for answer in _answers(grpc, address):
                _say(svid_in(answer))
            fault = "the agent has ended the stream"
        except grpc.RpcError as error:
            fault = f"{error.details()} ({error.code().name})"
        except Malformed as error:
            fault = f"the agent's answer cannot be used: {error}"
        _say({"fault": fault})
        if time.monotonic() - began >= MOST_AFTER_FAILURE:
            pause = AFTER_FAILURE
        time.sleep(pause)
        pause = min(2 * pause, MOST_AFTER_FAILURE)


def _answers(grpc: Any, address: str) -> Iterator[bytes]:
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        yield from channel.unary_stream(METHOD)(b"", metadata=[HEADER])


def _say(said: dict[str, str]) -> None:
    try:
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os._exit(0)


def _end_with_daemon() -> None:
    while os.read(0, 1024):
        pass
    os._exit(0)
