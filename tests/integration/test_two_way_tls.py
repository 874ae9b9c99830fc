"""TLS with certificates on both sides at once: a client that shows one, the proxy, a server that demands one.

Over TLS 1.2 and 1.3, with RSA and ECDSA keys, with new sessions and resumed ones; curl and `openssl s_client` in front,
nginx and `openssl s_server` behind.
"""

from __future__ import annotations

import subprocess
from itertools import product

from attrs import frozen
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.demo.certificates import Authority
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, Nginx, OpensslServer, missing, run_curl, temporary_directory, wait_for
from tests.ports import free_ports

NAME = "server.test"
KEYS = ("rsa", "ecdsa")
VERSIONS = ("1.2", "1.3")
SEEN = (
    'location /seen { return 200 "$ssl_protocol $ssl_cipher $ssl_session_reused $ssl_client_verify'
    ' $ssl_client_s_dn\\n"; }'
)


@frozen
class Way:
    """One way through the proxy: in at `port`, of a key; out by a version, to a server with a key."""

    port: int
    key_in: str
    version_out: str
    key_out: str


class TwoWayTests(SynchronousTestCase):
    skip = missing("nginx", "curl", "openssl") or None

    def setUp(self) -> None:
        self.directory = temporary_directory(self)
        self.authority = Authority("test CA")
        self.ca = self.authority.write(self.directory / "ca.pem")
        for key in KEYS:
            self.authority.issue(NAME, hosts=[NAME], key=key).write(self.directory / f"front-{key}.pem")
            self.authority.issue("visitor", client=True, key=key).write(self.directory / f"visitor-{key}.pem")
            self.authority.issue("proxy", client=True, key=key).write(self.directory / f"proxy-{key}.pem")

    def daemon(self, servers: dict[tuple[str, str], int]) -> list[Way]:
        """`servers`: the port of each version and key. For each request a new connection to the server, so that those
        after the first can resume its session."""
        kinds = list(product(KEYS, servers))
        ways = [Way(port, key, *server) for port, (key, server) in zip(free_ports(len(kinds)), kinds, strict=True)]
        text = ""
        for number, way in enumerate(ways):
            demand = f"verify required ca-file {self.ca}"
            crt = f"crt {self.directory}/front-{way.key_in}.pem"
            text += f"frontend f{number}\n    bind {LOOPBACK}:{way.port} ssl {crt} {demand}\n"
            text += f"    default_backend {way.version_out}-{way.key_out}\n"
        for (version, key), port in servers.items():
            text += f"backend {version}-{key}\n    http-reuse never\n    server one {LOOPBACK}:{port} ssl {demand}"
            text += f" crt {self.directory}/proxy-{key}.pem sni str({NAME}) force-tlsv{version.replace('.', '')}\n"
        text += "backend servers\n    server none 127.0.0.1:1\n"
        self.proxy = Daemon(self.directory / "daemon", text)
        self.addCleanup(self.proxy.stop)
        self.proxy.start()
        return ways

    def ask(self, way: Way, version: str, path: str, *more: str) -> str:
        """By curl, with a certificate of the same kind of key; what the server says, "" if nothing came."""
        shown = ["--cert", f"{self.directory}/visitor-{way.key_in}.pem"] if not more else []
        answer = run_curl(
            *("--cacert", str(self.ca), "--resolve", f"{NAME}:{way.port}:{LOOPBACK}", "--tlsv" + version),
            *("--tls-max", version, *shown, *more, f"https://{NAME}:{way.port}{path}"),
        )
        self.assertEqual(bool(answer.body), answer.status == 200, answer.error)
        return answer.body.decode()

    def nginxes(self) -> dict[tuple[str, str], int]:
        """One for each kind of key, which speaks both versions."""
        ports: dict[tuple[str, str], int] = {}
        for key in KEYS:
            credential = self.authority.issue(NAME, hosts=[NAME], key=key)
            where = self.directory / f"nginx-{key}"
            nginx = Nginx(where, self.authority, credential, session_cache=True, extra_server=SEEN)
            self.addCleanup(nginx.stop)
            nginx.start()
            ports |= {(version, key): nginx.port for version in VERSIONS}
        return ports

    def test_every_way_to_nginx(self) -> None:
        """Certificates of both sides are verified, new sessions and resumed ones."""
        known = set()
        for way in self.daemon(self.nginxes()):
            server = (way.version_out, way.key_out)
            for version in VERSIONS:
                protocol, cipher, reused, verified, subject = self.ask(way, version, "/seen").split()
                self.assertEqual((protocol, verified, subject), (f"TLSv{way.version_out}", "SUCCESS", "CN=proxy"), way)
                self.assertEqual(reused, "r" if server in known else ".", way)
                known.add(server)
                if way.version_out == "1.2":
                    self.assertIn(way.key_out.upper(), cipher)
                self.assertEqual(self.ask(way, version, "/seen").split()[2], "r", way)
            self.assertEqual(self.ask(way, "1.2", "/seen", "--http1.1"), "", "without a certificate")
        self.assertIn("which 'verify required' demands", self.proxy.output)

    def test_resumed_in_front(self) -> None:
        """A client resumes its session, with the certificate that it once showed."""
        ways = [way for way in self.daemon(self.nginxes()) if way.key_out == "rsa" and way.version_out == "1.3"]
        request = f"GET /seen HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n"
        session = str(self.directory / "session")
        for way, version in product(ways, VERSIONS):
            shown = f"{self.directory}/visitor-{way.key_in}.pem"
            for file, kind in ((("-sess_out", session), "New, "), (("-sess_in", session), "Reused, ")):
                command = ["openssl", "s_client", "-connect", f"{LOOPBACK}:{way.port}", "-servername", NAME, "-ign_eof"]
                command += ["-tls" + version.replace(".", "_"), "-cert", shown, "-key", shown, *file]
                done = subprocess.run(command, input=request, capture_output=True, text=True, timeout=20, check=False)
                self.assertIn(kind, done.stdout, (way, version))
                self.assertIn("SUCCESS CN=proxy", done.stdout)

    def test_openssl_behind(self) -> None:
        """`openssl s_server`, which ends the handshake of whom it does not trust, and tells what it has seen."""
        servers = {}
        for version, key in product(VERSIONS, KEYS):
            where = self.directory / f"openssl-{version}-{key}"
            credential = self.authority.issue(NAME, hosts=[NAME], key=key)
            server = OpensslServer(where, self.authority, credential, "-tls" + version.replace(".", "_"))
            self.addCleanup(server.stop)
            server.start()
            servers[version, key] = server.port
        for way in self.daemon(servers):
            for number in range(2):
                seen = self.ask(way, way.version_out, "/")
                self.assertRegex(seen, rf"(New|Reused), TLSv{way.version_out}, ", way)
                self.assertRegex(seen, r"Subject: CN ?= ?proxy")
                if number:
                    self.assertIn("Reused, ", seen, way)
        wait_for(lambda: self.proxy.output.count(" 200 ") >= 16, "the log")
