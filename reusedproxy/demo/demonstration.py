"""Runs the demonstration: a server that demands client certificates, the proxy in front of it, and a text with commands
to try.

Certificates, configuration and their directory are removed at the end. The proxy is made from the configuration file
written here, like that of any configuration, so that the file explains the behaviour. Text for people is printed to
standard output; the log of `twist` is separate (JSON, unless its output is a terminal).
"""

from __future__ import annotations

import shlex
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred

from reusedproxy import __version__
from reusedproxy.daemon.load import Refused
from reusedproxy.daemon.service import ProxyService
from reusedproxy.demo.certificates import Authority
from reusedproxy.demo.server import EmbeddedServer
from reusedproxy.pool.counters import Counters
from reusedproxy.pool.pool import HTTPConnectionPool

FLOOR = 4
PORT = 8080
SERVER_NAME = "server.demo.internal"
CLIENT_NAME = "reusedproxy demonstration"
#: Seconds to wait for the first connections before the introduction is printed anyway, and seconds between two looks.
WARM_WITHIN = 5.0
LOOK_EVERY = 0.02


def make_demo(reactor: Any) -> IService:
    """Returns the service of `twist reusedproxy --demo`, with everything bound."""
    return Demonstration(reactor)


class Demonstration(Service):
    """Runs a server, a proxy, and their files.

    `state` is "prepared", "warming", "shown" (the introduction is printed) or "ended".
    """

    def __init__(self, reactor: Any) -> None:
        # Removed by `stopService`, or by its own finalizer if that is never called.
        self._temporary = tempfile.TemporaryDirectory(prefix="reusedproxy-demo-")
        self._reactor = reactor
        directory = self.directory = Path(self._temporary.name)
        authority = Authority()
        ca = authority.write(directory / "ca.pem")
        certificate = authority.issue(SERVER_NAME, hosts=[SERVER_NAME]).write(directory / "server.pem")
        authority.issue(CLIENT_NAME, client=True).write(directory / "client.pem")
        self._server = EmbeddedServer(reactor, certificate, ca)
        self.port = _free_port(PORT)
        self.configuration = directory / "reusedproxy.cfg"
        self.configuration.write_text(configuration(directory, self.port, self._server.port))
        self._proxy = ProxyService(reactor, [str(self.configuration)])
        try:
            self._proxy.assemble(bind=True)
        except Refused as error:
            raise SystemExit(str(error)) from None
        self.state = "prepared"
        self._give_up_at = 0.0
        self._stopped: Deferred[None] | None = None

    def startService(self) -> None:
        Service.startService(self)
        self.state = "warming"
        self._server.start()
        self._proxy.startService()
        self._give_up_at = self._reactor.seconds() + WARM_WITHIN
        self._look()

    def stopService(self) -> Deferred[None]:
        """Stops the proxy like any other, then prints the summary. A second signal only speeds up the first stop."""
        Service.stopService(self)
        if self._stopped is None:
            self.state = "ended"
            self._stopped = self._proxy.stopService().addCallback(self._end)
        return self._stopped

    @property
    def _pool(self) -> HTTPConnectionPool:
        assert self._proxy.proxy is not None
        return self._proxy.proxy.backends[0].servers[0].pool

    def _look(self) -> None:
        """Prints the introduction as soon as the pool is warm, so that even the first request finds it warm."""
        if self.state != "warming":
            return
        if len(self._pool.idle) < FLOOR and self._reactor.seconds() < self._give_up_at:
            self._reactor.callLater(LOOK_EVERY, self._look)
            return
        self.state = "shown"
        pool = self._pool
        _say(introduction(self.port, self._server.port, self.configuration, len(pool.idle), pool.trouble))

    def _end(self, result: None) -> None:
        self._server.stop()
        self._temporary.cleanup()
        _say(summary(self._pool.counters, self.directory))


INTRODUCTION = """
reusedproxy {version}: a demonstration

  A server on port {server_port} of this machine's loopback demands a client certificate. The proxy in front of it takes
  plain HTTP on port {port}, and keeps {warm} connections to it open, handshaken and verified, before anybody asks.

{trouble}  A request, from another terminal; say it a few times:

      {request}

  The statistics (for a browser: http://127.0.0.1:{port}/stats):

      {statistics}

  The configuration, with comments: {configuration}
  Ctrl-C ends it, says what it did, and removes that directory.
"""

SUMMARY = """
What the demonstration did

  requests carried to the server:      {requests}
  TLS handshakes on the request path:  {on_path}
  requests lost to an idle end:        {lost}
  connections opened to the server:    {opened}
  requests on a used connection:       {reused} ({ratio})

  Removed: {directory}
"""

CONFIGURATION = """\
# What the demonstration runs on. The language is HAProxy's; only the words that begin with "pool-" are not.
# This file is removed when the demonstration ends: copy it, if you want to keep it. To run it, or what you made of it:
#     twist reusedproxy --config FILE            (--check says what is wrong with it, and opens nothing)

global
    log stdout format raw local0        # one line for each request, on the terminal
    hard-stop-after 5s                  # when told to stop, wait no longer than this for requests under way

defaults
    mode http
    log global
    option httplog                      # those lines have HAProxy's format, its timers included
    timeout connect 5s                  # TCP and TLS together
    timeout client 30s
    timeout server 30s
    timeout http-request 10s            # for a client to send its request's head

# Where clients come in: plain HTTP. They may close after each request; the connections below do not care.
frontend demonstration
    bind 127.0.0.1:{port}
    stats enable                        # the numbers: /stats for a browser, /stats;csv for a program
    stats uri /stats
    default_backend servers

# Where requests go. One line for each server:
#   ssl verify required                 the server's certificate must be signed by ca-file ...
#   sni str(NAME)                       ... and be for this name, which the server is told, too
#   crt FILE                            our own certificate with its key: the server demands one
#   pool-min-conn {floor}                     so many idle connections, handshaken and verified, at all times
backend servers
    server embedded 127.0.0.1:{server_port} ssl verify required ca-file {ca} \
sni str({name}) crt {crt} pool-min-conn {floor}
"""


def configuration(directory: Path, port: int, server_port: int) -> str:
    """Returns the configuration file of the demonstration."""
    return CONFIGURATION.format(
        port=port,
        server_port=server_port,
        ca=_quoted(directory / "ca.pem"),
        crt=_quoted(directory / "client.pem"),
        name=SERVER_NAME,
        floor=FLOOR,
    )


def introduction(port: int, server_port: int, file: Path, warm: int, trouble: str) -> str:
    """Returns the text printed at the start. `warm` counts open connections; `trouble` says why there
    are no more ("" for none)."""
    return INTRODUCTION.format(
        version=__version__,
        warm=warm,
        port=port,
        server_port=server_port,
        trouble=f"  Trouble: {trouble}\n\n" if trouble else "",
        configuration=file,
        request=shlex.join(["curl", f"http://127.0.0.1:{port}/hello"]),
        statistics=shlex.join(["curl", f"http://127.0.0.1:{port}/stats;csv"]),
    )


def summary(counters: Counters, directory: Path) -> str:
    """Returns the text printed at the end."""
    ratio = f"reuse ratio {100 * counters.reuses / counters.requests:.0f} %" if counters.requests else "nobody asked"
    return SUMMARY.format(
        requests=counters.requests,
        on_path=counters.handshakes_on_request_path,
        lost=counters.races_lost,
        opened=counters.handshakes,
        reused=counters.reuses,
        ratio=ratio,
        directory=directory,
    )


def _quoted(path: Path) -> str:
    """Quotes a path as one word of the configuration, whatever characters TMPDIR has."""
    return shlex.quote(str(path))


def _free_port(wanted: int) -> int:
    """Returns the port if it is free, else one that the kernel picks. Raises SystemExit when there is none."""
    for port in (wanted, 0):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind(("127.0.0.1", port))
                # Binding is no proof: with SO_REUSEADDR, only listening shows that nobody else listens there.
                trial.listen()
            except OSError:
                continue
            return int(trial.getsockname()[1])
    raise SystemExit("[ALERT] there is no free port on 127.0.0.1")


def _say(text: str) -> None:
    # Not sys.stdout: `twist` redirects that to its log, which is JSON when it goes to a pipe or a file.
    print(text, file=sys.__stdout__, flush=True)
