"""Nothing of a reload holds the loop: 100 servers with new certificates, 145 CAs each,
and a name server that takes its time."""

from __future__ import annotations

import gc
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import TestCase

from reusedproxy.daemon.service import ProxyService
from reusedproxy.demo.certificates import Authority
from tests.integration.peers import LOOPBACK, temporary_directory

SERVERS = 100
AUTHORITIES = 145
#: Seconds that each name takes.
SLOW = 1.0
#: Seconds that one turn may take here, without those in which it waited for a processor that others had. On a machine
#: with nothing else to do the longest was 8 ms; before there were slices, 2 s.
MOST = 0.1


@pytest.mark.alone
class StallTests(TestCase):
    """The whole service in this process, with a call every millisecond that tells how late it is."""

    timeout = 60

    def setUp(self) -> Any:
        directory = temporary_directory(self)
        authority = Authority("stall test")
        self.client = authority.issue("client", client=True).write(directory / "client.pem")
        bundle = directory / "bundle.pem"
        made = [Authority(f"CA {number}", key="ecdsa") for number in range(AUTHORITIES - 1)]
        bundle.write_bytes(b"".join(each.certificate_pem for each in (authority, *made)))
        server = f"ssl verify required ca-file {bundle} crt {self.client} sni str(s.test)"
        lines = "".join(f" server s{number} host{number}.test:1 {server}\n" for number in range(SERVERS))
        self.config = directory / "proxy.cfg"
        self.config.write_text(
            "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
            f"frontend f\n bind {LOOPBACK}:0\n default_backend b\nbackend b\n balance roundrobin\n{lines}"
        )

    def test_the_longest_turn_of_the_loop(self) -> Any:
        reactor: Any = installed
        service = ProxyService(reactor, [str(self.config)])
        said: list[str] = []
        over: Deferred[None] = Deferred()

        def announce(level: str, text: str, section: str = "") -> None:
            said.append(text)
            if "reload" in text and not over.called:
                reactor.callLater(0.5, over.callback, None)

        self.addCleanup(service.stopService)
        # What other tests have left in this process is no part of the service: it would be collected with it.
        gc.collect()
        gc.freeze()
        self.addCleanup(gc.unfreeze)
        self.patch(service, "announce", announce)
        with mock.patch("socket.getaddrinfo", _at_once):
            service.assemble(bind=True)
        self.patch(socket, "getaddrinfo", _slowly)
        service.startService()
        longest = [0.0]
        last = [_own_time()]

        def look() -> None:
            now = _own_time()
            longest[0] = max(longest[0], now - last[0])
            last[0] = now

        def begin() -> None:
            last[0] = _own_time()
            looking.start(0.001)
            service.reload()

        looking = LoopingCall(look)
        stamp = os.stat(self.client)
        os.utime(self.client, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1_000_000_000))
        reactor.callLater(0.5, begin)

        def judge(_: None) -> Any:
            looking.stop()
            print(f"longest turn in a reload: {longest[0] * 1e3:.1f} ms", file=sys.stderr)
            self.assertIn(f"configuration reloaded: 0 of {SERVERS} pools kept as they are", said)
            self.assertLess(longest[0], MOST)

        return over.addCallback(judge)


def _own_time() -> float:
    """Returns a clock's seconds, without those in which this thread was ready to run and others ran."""
    try:
        waited = int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except OSError:
        waited = 0.0  # a kernel that does not say
    return time.perf_counter() - waited


def _slowly(host: str, port: int, *arguments: Any, **words: Any) -> list[Any]:
    time.sleep(SLOW)
    return _at_once(host, port)


def _at_once(host: str, port: int, *arguments: Any, **words: Any) -> list[Any]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (LOOPBACK, port))]
