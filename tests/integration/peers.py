"""
Real peers for integration tests: an nginx that demands client certificates, an OpenSSL server that refuses them in
the handshake, and curl as a client.

It knows programs, processes and the bounds put on waiting. It must not know reusedproxy beyond the certificates of
its demo, and it asserts nothing itself: what is true is for the tests to say.

A peer lives in one directory of its own, is one process (so that one pid is all there is to stop), and runs for root
and for an ordinary user alike.
"""

from __future__ import annotations

import http.client
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice, takewhile
from pathlib import Path
from typing import Literal, TypeVar
from unittest import TestCase

from attrs import define, field, frozen

from reusedproxy.demo.certificates import Authority, Credential
from tests.ports import free_port, free_ports

LOOPBACK = "127.0.0.1"

#: Programs and the Debian packages that bring them.
PACKAGES = {"nginx": "nginx-light", "curl": "curl", "openssl": "openssl", "ssh": "openssh-client", "haproxy": "haproxy"}

Answer = TypeVar("Answer")


def accept_each(listening: socket.socket, serve: Callable[[socket.socket], None]) -> None:
    """Accepts connections in a thread until this socket is closed, and serves each in a thread of its own."""

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def end_accepting(listening: socket.socket) -> None:
    """Closes a listening socket, so that a thread that waits there for a connection ends."""
    with suppress(OSError):
        listening.shutdown(socket.SHUT_RDWR)
    listening.close()


def missing(*programs: str) -> str:
    """
    Why a test that needs these programs cannot run, in words for C{skip}; empty when all are there.
    """
    absent = [program for program in programs if find_program(program) is None]
    if not absent:
        return ""
    packages = " ".join(PACKAGES.get(program, program) for program in absent)
    return f"{' and '.join(absent)} not installed: apt-get install {packages}"


def temporary_directory(test: TestCase) -> Path:
    """
    A directory that goes when C{test} is over. (trial's own mktemp would leave its directories in the checkout.)
    """
    # Peers may still be writing their last log line, if a test stops them late: not a reason to fail it.
    directory = tempfile.TemporaryDirectory(prefix="reusedproxy-", ignore_cleanup_errors=True)
    test.addCleanup(directory.cleanup)
    return Path(directory.name)


def wait_for(
    condition: Callable[[], Answer | Literal[False] | None], what: str, seconds: float = 30.0, every: float = 0.02
) -> Answer:
    """
    Ask C{condition} until its answer is true, and return that answer.

    The only place of the integration tests that sleeps. It blocks: never call it under a running reactor.

    @raise AssertionError: after C{seconds}, with the last answer.
    """
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}; last seen: {answer!r}")
        time.sleep(every)


def accepts_connections(port: int, host: str = LOOPBACK) -> bool:
    """Whether somebody listens there. Costs the listener one connection."""
    try:
        socket.create_connection((host, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def established(port: int) -> int:
    """
    How many connections the kernel holds established at the local C{port}, seen from the listener's side.
    """
    return sum(state == "01" and int(local.rpartition(":")[2], 16) == port for local, state in _sockets())


def listening() -> set[tuple[str, int]]:
    """
    Where the kernel has listeners: IPv4 addresses and ports. Costs nobody a connection.
    """
    found = set()
    with open("/proc/net/tcp") as table:
        # They come first. The connections behind them, closed ones included, are thousands, and a start asks often.
        for local, _ in takewhile(lambda each: each[1] == "0A", _in_table(table)):
            host, _, port = local.rpartition(":")
            found.add((socket.inet_ntoa(int(host, 16).to_bytes(4, sys.byteorder)), int(port, 16)))
    return found


def _sockets() -> Iterator[tuple[str, str]]:
    """
    The local end and the state of each of the kernel's TCP sockets, as /proc has them.
    """
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        if Path(path).exists():
            with open(path) as table:
                yield from _in_table(table)


def _in_table(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The same of one table, line by line."""
    for line in islice(lines, 1, None):
        _, local, _, state = line.split(maxsplit=4)[:4]
        yield local, state


@frozen
class Curl:
    """
    What curl did.

    @ivar exit: its exit status; 0 is success, 52 an empty reply, 56 a reset.
    @ivar status: the status code of the last response; 0 when there was none.
    @ivar connections: how many connections curl opened for the last transfer; 0 when it reused one.
    """

    exit: int
    status: int
    connections: int
    head: str
    body: bytes
    error: str


def run_curl(*arguments: str, seconds: float = 10.0) -> Curl:
    """
    Run curl with C{arguments}, Proxies and configuration of the user are ignored.

    The body and the head are those of the first URL. More URLs, for one connection that carries them all, need an
    C{-o} each; status and connections then are those of the last.
    """
    with tempfile.TemporaryDirectory(prefix="reusedproxy-curl-") as directory:
        body, head = Path(directory, "body"), Path(directory, "head")
        # -q has to be the first argument.
        command = ["curl", "-q", "--silent", "--show-error", "--noproxy", "*", "--max-time", f"{seconds:g}"]
        command += ["--output", str(body), "--dump-header", str(head), "--write-out", r"\n%{http_code} %{num_connects}"]
        done = subprocess.run([*command, *arguments], check=False, capture_output=True, text=True, timeout=seconds + 5)
        status, connections = done.stdout.splitlines()[-1].split()
        return Curl(
            exit=done.returncode,
            status=int(status),
            connections=int(connections),
            head=head.read_text("latin-1") if head.exists() else "",
            body=body.read_bytes() if body.exists() else b"",
            error=done.stderr.strip(),
        )


@frozen
class Logged:
    """
    One line of nginx's access log.

    @ivar connection: nginx's number of the connection.
    @ivar connection_requests: which request of that connection it was, from 1.
    @ivar verified: C{$ssl_client_verify}: C{SUCCESS}, C{NONE}, or C{FAILED:reason}.
    """

    connection: int
    connection_requests: int
    verified: str
    status: int
    request: str


@frozen
class Counts:
    """
    nginx's counters (stub_status), without the connections of those who asked for them.

    @ivar active: connections now open, idle ones included.
    @ivar accepted: connections accepted since it was started.
    @ivar requests: requests since it was started.
    """

    active: int
    accepted: int
    requests: int


@define
class Process:
    """
    A peer's process.

    States, by C{running}: None, not started or stopped; otherwise a process that was started by us and not yet reaped.
    """

    directory: Path
    running: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def output(self) -> str:
        """All that was printed since the first start."""
        path = self.directory / "output"
        return path.read_text(errors="replace") if path.exists() else ""

    def spawn(self, command: Sequence[str]) -> None:
        """Run C{command} in the directory, its output going to a file."""
        if self.running is not None:
            raise RuntimeError(f"already running: {command[0]}")
        with open(self.directory / "output", "ab") as output:
            self.running = subprocess.Popen(
                command, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def died(self) -> bool:
        """Whether it ended without having been told to."""
        return self.running is not None and self.running.poll() is not None

    def stop(self, how: int = signal.SIGTERM, seconds: float = 10.0) -> None:
        """Send C{how}, wait, and kill it if it takes too long. Nothing happens when it is not running."""
        running, self.running = self.running, None
        if running is None:
            return
        running.send_signal(how)
        try:
            running.wait(seconds)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
            raise AssertionError(f"{running.args!r} did not end within {seconds:g} s of signal {how}") from None


class Nginx:
    """
    nginx as a server over TLS that answers C{GET /} with C{ok} to whoever shows a certificate, and 400 to others.

    Note that nginx finishes the handshake with anybody, and says 400 to the request: to see a handshake refused for
    its client certificate, take L{OpensslServer}.

    @ivar port: where it serves TLS.
    @ivar status_port: where it serves C{stub_status}, in plain HTTP.
    @ivar documents: files here are served under C{/files/}.
    """

    def __init__(
        self,
        directory: Path,
        authority: Authority,
        server: Credential,
        *,
        port: int | None = None,
        session_cache: bool = False,
        keepalive_requests: int = 1000,
        keepalive_timeout: str = "75s",
        first_request_timeout: str = "60s",
        extra_server: str = "",
        debug: bool = False,
    ) -> None:
        """
        @param directory: where all its files go; made when missing.
        @param authority: who must have signed the clients' certificates.
        @param server: its own certificate; replace the file C{server.pem} and restart to change it.
        @param session_cache: allow TLS sessions to be resumed.
        @param keepalive_requests: requests after which nginx closes a connection.
        @param keepalive_timeout: how long nginx keeps an idle connection that has carried a request...
        @param first_request_timeout: ...and one that has carried none: another timer, easily overlooked.
        @param extra_server: more directives for the TLS server block, locations for instance.
        @param debug: log debug messages, which L{handshakes} needs; a build with C{--with-debug} (Debian's has it).
        """
        ports = free_ports(2)
        self.port = ports[0] if port is None else port
        self.status_port = ports[1]
        self.directory = directory
        self.documents = directory / "files"
        self.documents.mkdir(parents=True, exist_ok=True)
        self._process = Process(directory)
        self._asked = 0
        authority.write(directory / "ca.pem")
        server.write(directory / "server.pem")
        knobs = {"keepalive_requests": keepalive_requests, "keepalive_timeout": keepalive_timeout}
        knobs |= {"first_request_timeout": first_request_timeout, "extra_server": extra_server}
        knobs |= {"level": "debug" if debug else "info", "sessions": _SESSIONS if session_cache else _NO_SESSIONS}
        knobs |= {"directory": directory, "host": LOOPBACK, "port": self.port, "status_port": self.status_port}
        self._configuration = directory / "nginx.conf"
        self._configuration.write_text(_NGINX.format_map(knobs))

    def start(self) -> None:
        """Start, and return when it answers."""
        program = find_program("nginx")
        if program is None:
            raise AssertionError(missing("nginx"))
        self._asked = 0
        self._process.spawn([program, "-p", str(self.directory), "-c", str(self._configuration), "-e", "error.log"])

        def answers() -> bool:
            if self._process.died():
                raise AssertionError(f"nginx did not start: {self.errors or self._process.output}")
            try:
                self.counts()
            except OSError:
                return False
            return True

        try:
            wait_for(answers, "nginx to answer")
        except BaseException:
            self.stop()
            raise

    def stop(self, *, gracefully: bool = False) -> None:
        """
        Stop at once, or after the last response. Safe to call twice, so that it can be a test's cleanup.
        """
        self._process.stop(signal.SIGQUIT if gracefully else signal.SIGTERM)

    def restart(self) -> None:
        """Stop at once, closing all connections, and start on the same ports. Counters start from 0."""
        self.stop()
        self.start()

    def counts(self) -> Counts:
        """Ask nginx for its counters."""
        connection = http.client.HTTPConnection(LOOPBACK, self.status_port, timeout=5.0)
        try:
            connection.request("GET", "/", headers={"Connection": "close"})
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        self._asked += 1
        active, accepted, _, requests = map(int, re.findall(r"\d+", text)[:4])
        return Counts(active - 1, accepted - self._asked, requests - self._asked)

    def established(self) -> int:
        """Connections established at its TLS port, by the kernel's account."""
        return established(self.port)

    def handshakes(self) -> int:
        """TLS handshakes completed since the first start; only with C{debug}."""
        return len(re.findall(r" SSL: TLSv", self.errors))

    @property
    def errors(self) -> str:
        """Its error log since the first start."""
        path = self.directory / "error.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def access_log(self) -> list[Logged]:
        """
        What was asked of the TLS server since the first start. nginx writes a line after the response is sent: to
        count lines, L{wait_for} them.
        """
        path = self.directory / "access.log"
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return [_logged(line) for line in lines]


class OpensslServer:
    """
    C{openssl s_server}, which, unlike nginx, breaks the handshake of a client whose certificate it does not trust
    (in TLS 1.3 the client learns that only after it believed to be connected). It serves one connection at a time.

    @ivar port: where it serves.
    """

    def __init__(self, directory: Path, authority: Authority, server: Credential, *arguments: str) -> None:
        """
        @param directory: where all its files go; made when missing.
        @param authority: who must have signed the clients' certificates.
        @param server: its own certificate.
        @param arguments: more for C{s_server}, C{-tls1_2} for instance.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._process = Process(directory)
        files = ["-cert", str(server.write(directory / "server.pem"))]
        files += ["-CAfile", str(authority.write(directory / "ca.pem"))]
        self._command = ["openssl", "s_server", "-accept", f"{LOOPBACK}:{self.port}", *files]
        self._command += ["-Verify", "1", "-verify_return_error", "-www", *arguments]

    def start(self) -> None:
        """Start, and return when it listens."""
        self._process.spawn(self._command)
        # Its own word, not a trial connection: it would have to finish with that one before it served the next.
        wait_for(lambda: "ACCEPT" in self.output or self._process.died(), "openssl s_server to listen")
        if self._process.died():
            raise AssertionError(f"openssl s_server did not start: {self.output}")

    def stop(self) -> None:
        """Stop; safe to call twice."""
        self._process.stop(signal.SIGKILL)

    @property
    def output(self) -> str:
        """What it printed, refused handshakes included."""
        return self._process.output


def find_program(program: str) -> str | None:
    # The PATH of an ordinary user on Debian does not have sbin, where nginx is.
    return shutil.which(program) or shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin")


def _logged(line: str) -> Logged:
    connection, connection_requests, status, rest = line.split(" ", 3)
    verified, request = rest.split("\t", 1)
    return Logged(int(connection), int(connection_requests), verified, int(status), request)


_NO_SESSIONS = "ssl_session_cache off; ssl_session_tickets off;"
_SESSIONS = "ssl_session_cache builtin; ssl_session_tickets on;"

# One process: `master_process off` also means that root's nginx stays root, and can read a directory that only root
# can enter. TLS 1.3 is named because it is not in the default of nginx 1.22.
_NGINX = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log {level};
worker_rlimit_nofile 4096;
events {{ worker_connections 2048; }}
http {{
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    scgi_temp_path {directory}/scgi;
    uwsgi_temp_path {directory}/uwsgi;
    log_format reuse '$connection $connection_requests $status $ssl_client_verify\t$request';
    access_log off;
    keepalive_requests {keepalive_requests};
    keepalive_timeout {keepalive_timeout};
    client_header_timeout {first_request_timeout};
    client_max_body_size 0;
    server {{
        listen {host}:{port} ssl;
        access_log {directory}/access.log reuse;
        ssl_certificate {directory}/server.pem;
        ssl_certificate_key {directory}/server.pem;
        ssl_client_certificate {directory}/ca.pem;
        ssl_verify_client on;
        ssl_protocols TLSv1.2 TLSv1.3;
        {sessions}
        location / {{ return 200 "ok\\n"; }}
        location /files/ {{ root {directory}; }}
        {extra_server}
    }}
    server {{
        listen {host}:{status_port};
        location / {{ stub_status; }}
    }}
}}
"""
