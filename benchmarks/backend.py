"""
The server behind every contender: nginx, which demands a client certificate (RSA, 2048 bits) and resumes no session,
so that every connection costs a whole handshake, and which never closes a connection by itself.
"""

from __future__ import annotations

import http.client
import os
import pwd
import re
from pathlib import Path

from attrs import frozen

from benchmarks import machine
from reusedproxy.demo.certificates import Authority
from tests.ports import free_ports

SERVER_NAME = "server.test"

#: The large body's size in bytes.
LARGE = 32_000_000


@frozen
class Site:
    """
    Where a contender finds what it needs: a directory, the CA's certificate, the client's certificate and key, and
    those that it may show its own clients.
    """

    directory: Path
    ca: Path
    client: Path
    front: Path


class Backend:
    """
    The running server.

    @ivar port: where it serves C{/tiny} and C{/large} over TLS...
    @ivar plain_port: ...and in plain HTTP.
    """

    def __init__(self, directory: Path, tls: str) -> None:
        """@param tls: the TLS version to insist on, C{"1.3"} for instance."""
        program = machine.program("nginx")
        if program is None:
            raise machine.Trouble("nginx is the server behind all contenders: apt-get install nginx-light")
        authority = Authority("benchmark CA", key="rsa")
        front = authority.issue(SERVER_NAME, hosts=[SERVER_NAME, "127.0.0.1"]).write(directory / "server.pem")
        client = authority.issue("benchmark client", client=True).write(directory / "client.pem")
        self.site = Site(directory, authority.write(directory / "ca.pem"), client, front)
        files = directory / "files"
        files.mkdir()
        with open(files / "large", "wb") as large:
            large.write(os.urandom(LARGE))
        self.port, self.plain_port, self._status_port = free_ports(3)
        configuration = directory / "backend.conf"
        configuration.write_text(
            _NGINX.format(
                directory=directory,
                user=nginx_user(),
                port=self.port,
                plain_port=self.plain_port,
                status_port=self._status_port,
                tls=tls,
            )
        )
        command = [program, "-c", str(configuration), "-e", "stderr"]
        self._daemon = machine.Daemon("backend", command, machine.LOAD_CORE, directory)
        self._daemon.wait_listening(self._status_port)

    def active(self) -> int:
        """Connections that are open now (nginx's stub_status, less the one that asks)."""
        connection = http.client.HTTPConnection(machine.LOOPBACK, self._status_port, timeout=5.0)
        try:
            connection.request("GET", "/")
            return int(re.findall(rb"\d+", connection.getresponse().read())[0]) - 1
        finally:
            connection.close()

    def stop(self) -> None:
        """End it."""
        self._daemon.stop()


def nginx_user() -> str:
    """nginx started by root would else give its workers to a user who cannot enter our directory."""
    return f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""


_NGINX = (
    """
daemon off;
{user}
pid {directory}/backend.pid;
worker_processes 1;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
"""
    + machine.NGINX_FILES
    + """    # A connection that has carried no request yet is under client_header_timeout, not under keepalive_timeout.
    client_header_timeout 24h;
    keepalive_requests 1000000000;
    keepalive_timeout 24h;
    keepalive_time 24h;
    server {{
        listen 127.0.0.1:{port} ssl backlog=4096;
        listen 127.0.0.1:{plain_port} backlog=4096;
        ssl_certificate {directory}/server.pem;
        ssl_certificate_key {directory}/server.pem;
        ssl_client_certificate {directory}/ca.pem;
        ssl_verify_client on;
        ssl_protocols TLSv{tls};
        ssl_session_cache off;
        ssl_session_tickets off;
        location = /tiny {{ default_type text/plain; return 200 "ok\\n"; }}
        location = /large {{ root {directory}/files; }}
    }}
    server {{
        listen 127.0.0.1:{status_port};
        location / {{ stub_status; }}
    }}
}}
"""
)
