"""
Who is compared, each with its configuration: ours, HAProxy as it comes, HAProxy tuned, nginx, Squid.

It knows the programs and their words; it must not know what is measured. To add a contender, write a class with
the attributes of L{Contender} and put it into L{CONTENDERS}.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from attrs import frozen

from benchmarks import machine
from benchmarks.backend import SERVER_NAME, Site, nginx_user
from tests.ports import free_ports

ROOT = Path(__file__).resolve().parent.parent

#: More than the 50 clients that come at once.
FLOOR = 64


#: How clients come: in the clear; over TLS, resuming sessions; over TLS with whole handshakes.
PLAIN, RESUMED, WHOLE = "plain", "resumed", "whole"


@frozen
class Target:
    """The server as a contender sees it: a port (the backend's or a relay's), and whether TLS is spoken there."""

    port: int
    tls: bool = True


@frozen
class Contender:
    """
    A proxy that takes part.

    @cvar key: its short name on the command line.
    @cvar title: its name in the table.
    @cvar usual: whether it takes part where no contenders are named.
    """

    key = ""
    title = ""
    usual = True

    def missing(self) -> str:
        """Why it cannot take part and how to change that, or nothing."""
        raise NotImplementedError

    def configuration(self, site: Site, port: int, server: Target, floor: int, front: str = PLAIN) -> str:
        """Plain HTTP at C{port}, mutual TLS (or plain HTTP) to C{server}."""
        raise NotImplementedError

    def command(self, configuration: Path) -> list[str]:
        """How to run it in the foreground."""
        raise NotImplementedError


class Ours(Contender):
    """reusedproxy, from this checkout, run by this Python."""

    key = "ours"
    title = "reusedproxy"

    def missing(self) -> str:
        absent = [name for name in ("twisted", "OpenSSL", "service_identity") if find_spec(name) is None]
        return f"{', '.join(absent)} not importable by {sys.executable}: run `pip install .` first" if absent else ""

    def configuration(self, site: Site, port: int, server: Target, floor: int, front: str = PLAIN) -> str:
        return _HAPROXY.format(
            port=port,
            front=_FRONT[front].format(site=site),
            resumption="tune.ssl.cachesize 0" if front == WHOLE else "",
            server=server,
            tls=_TLS.format(site=site, name=SERVER_NAME) if server.tls else "",
            more_global="",
            more_backend="",
            more_server=f"pool-min-conn {floor}",
        )

    def command(self, configuration: Path) -> list[str]:
        return [sys.executable, "-m", "twisted", "reusedproxy", "--config", str(configuration)]


class HAProxy(Contender):
    """HAProxy with what a configuration must have to reach the server, and nothing else."""

    key = "haproxy"
    title = "HAProxy as it comes"
    more_global = more_backend = more_server = ""

    def missing(self) -> str:
        return "" if machine.program("haproxy") else "haproxy not installed: apt-get install haproxy"

    def configuration(self, site: Site, port: int, server: Target, floor: int, front: str = PLAIN) -> str:
        return _HAPROXY.format(
            port=port,
            front=_FRONT[front].format(site=site),
            resumption="tune.ssl.cachesize 0" if front == WHOLE else "",
            server=server,
            tls=_TLS.format(site=site, name=SERVER_NAME) if server.tls else "",
            more_global=self.more_global,
            more_backend=self.more_backend,
            more_server=self.more_server,
        )

    def command(self, configuration: Path) -> list[str]:
        return [machine.program("haproxy") or "haproxy", "-db", "-f", str(configuration)]


class HAProxyTuned(HAProxy):
    """
    HAProxy told to do our job as well as it can: any request may take any idle connection (`http-reuse always`),
    with the three words of `retry-on` under which it takes one for a first request even in `safe` mode, and idle
    connections are not thrown away. `check-reuse-pool` (3.2 and later) would add about one warm connection.
    """

    key = "tuned"
    title = "HAProxy tuned"
    more_global = "nbthread 1"
    more_backend = "http-reuse always\n    retry-on conn-failure empty-response response-timeout"
    more_server = "pool-purge-delay 1h"


class Nginx(Contender):
    """nginx with one worker, which keeps connections to servers and, as a proxy of bodies, writes no files."""

    key = "nginx"
    title = "nginx"

    def missing(self) -> str:
        return "" if machine.program("nginx") else "nginx not installed: apt-get install nginx-light"

    def configuration(self, site: Site, port: int, server: Target, floor: int, front: str = PLAIN) -> str:
        directory = site.directory / f"nginx-{port}"
        directory.mkdir(exist_ok=True)
        return _NGINX.format(
            site=site,
            name=SERVER_NAME,
            port=port,
            server=server,
            scheme="https" if server.tls else "http",
            directory=directory,
            user=nginx_user(),
            front="" if front == PLAIN else "ssl",
            certificate=_NGINX_FRONT[front].format(site=site),
        )

    def command(self, configuration: Path) -> list[str]:
        return [machine.program("nginx") or "nginx", "-c", str(configuration), "-e", "stderr"]


class Squid(Contender):
    """Squid as a reverse proxy that stores nothing: the one that has a floor, too (`standby` of `cache_peer`)."""

    key = "squid"
    title = "Squid"
    usual = False

    def missing(self) -> str:
        program = machine.program("squid")
        if program is None:
            return "squid not installed: apt-get install squid-openssl"
        said = subprocess.run([program, "-v"], capture_output=True, text=True, check=False, timeout=10)
        return "" if "--with-openssl" in said.stdout else "squid without OpenSSL: apt-get install squid-openssl"

    def configuration(self, site: Site, port: int, server: Target, floor: int, front: str = PLAIN) -> str:
        if os.geteuid() == 0:
            # It refuses to be root, and reads its files as somebody else. These keys open nothing but this benchmark.
            site.directory.chmod(0o711)
            for file in (site.client, site.ca, site.front):
                file.chmod(0o644)
        return _SQUID.format(
            site=site,
            port=port,
            server=server,
            floor=floor,
            user="cache_effective_user nobody" if os.geteuid() == 0 else "",
            tls=_SQUID_TLS.format(site=site, name=SERVER_NAME) if server.tls else "",
            front=_SQUID_FRONT[front].format(site=site, port=port),
            name=SERVER_NAME,
        )

    def command(self, configuration: Path) -> list[str]:
        # A name of its own for its shared memory, or a second one would not start.
        name = "".join(filter(str.isalnum, configuration.stem))
        return [machine.program("squid") or "squid", "-N", "-n", name, "-f", str(configuration)]


CONTENDERS: tuple[Contender, ...] = (Ours(), HAProxy(), HAProxyTuned(), Nginx(), Squid())


class Running:
    """
    A contender at work.

    @ivar port: where its clients come in.
    """

    def __init__(
        self, contender: Contender, site: Site, server: Target, floor: int = FLOOR, front: str = PLAIN
    ) -> None:
        self.key = contender.key
        self.tls = front != PLAIN
        (self.port,) = free_ports(1)
        configuration = site.directory / f"{contender.key}-{self.port}.cfg"
        configuration.write_text(contender.configuration(site, self.port, server, floor, front))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
        self.daemon = machine.Daemon(
            f"{contender.key}-{self.port}",
            contender.command(configuration),
            machine.PROXY_CORE,
            site.directory,
            environment,
        )
        try:
            self.daemon.wait_listening(self.port)
        except BaseException:
            self.daemon.stop()
            raise

    def cpu_seconds(self) -> float:
        """CPU time used so far."""
        return self.daemon.cpu_seconds()

    def memory(self) -> int:
        """Resident bytes."""
        return self.daemon.memory()

    def stop(self) -> None:
        """End it."""
        self.daemon.stop()


# One text for HAProxy and for ours: that is the point of the dialect.
_HAPROXY = """
global
    {more_global}
    {resumption}

defaults
    mode http
    timeout connect 10s
    timeout client 1h
    timeout server 1h

frontend clients
    bind 127.0.0.1:{port} {front}
    default_backend servers

backend servers
    {more_backend}
    server one 127.0.0.1:{server.port} {tls} {more_server}
"""
_FRONT = {PLAIN: "", RESUMED: "ssl crt {site.front}", WHOLE: "ssl crt {site.front} no-tls-tickets"}
_TLS = "ssl verify required ca-file {site.ca} crt {site.client} sni str({name}) verifyhost {name}"

_NGINX_FRONT = {
    PLAIN: "",
    RESUMED: "ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {site.front}; ssl_certificate_key {site.front};",
}
_NGINX_FRONT[WHOLE] = _NGINX_FRONT[RESUMED] + " ssl_session_tickets off; ssl_session_cache off;"

# keepalive 512 is more than any work here needs. Without proxy_max_temp_file_size 0, large bodies go through a file
# whenever the client is slower than the server. TLSv1.3 is not in the default of 1.22.
_NGINX = (
    """
daemon off;
{user}
pid {directory}/pid;
worker_processes 1;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
"""
    + machine.NGINX_FILES
    + """    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    keepalive_time 24h;
    upstream servers {{
        server 127.0.0.1:{server.port};
        keepalive 512;
        keepalive_requests 1000000000;
        keepalive_timeout 1h;
        keepalive_time 24h;
    }}
    server {{
        listen 127.0.0.1:{port} {front} backlog=4096;
        {certificate}
        location / {{
            proxy_pass {scheme}://servers;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_max_temp_file_size 0;
            proxy_read_timeout 1h;
            proxy_ssl_protocols TLSv1.2 TLSv1.3;
            proxy_ssl_certificate {site.client};
            proxy_ssl_certificate_key {site.client};
            proxy_ssl_trusted_certificate {site.ca};
            proxy_ssl_verify on;
            proxy_ssl_server_name on;
            proxy_ssl_name {name};
        }}
    }}
}}
"""
)

_SQUID_FRONT = {
    PLAIN: "http_port 127.0.0.1:{port}",
    RESUMED: "https_port 127.0.0.1:{port} tls-cert={site.front}",
    WHOLE: "sslproxy_session_cache_size 0\nhttps_port 127.0.0.1:{port} tls-cert={site.front} options=NO_TICKET",
}
_SQUID_TLS = "tls sslcert={site.client} tls-cafile={site.ca} tls-default-ca=off ssldomain={name}"
# A standby connection is under server_idle_pconn_timeout, too, whose default is a minute.
_SQUID = """
{user}
{front} accel defaultsite={name} no-vhost
cache_peer 127.0.0.1 parent {server.port} 0 no-query no-digest originserver {tls} standby={floor}
never_direct allow all
http_access allow all
cache deny all
cache_mem 0
access_log none
cache_log /dev/null
pid_filename none
pinger_enable off
via off
forwarded_for delete
server_idle_pconn_timeout 1 hour
client_idle_pconn_timeout 1 hour
shutdown_lifetime 1 second
max_filedescriptors 8192
"""
