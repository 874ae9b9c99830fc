"""
The configurations of etc/kubernetes in a real daemon, with servers that demand a client certificate: what kubelet's
probes are answered before the floors stand, once they do, and when no server serves.

Changed are only the places of files, addresses, and the name that DNS would resolve.
"""

from __future__ import annotations

import re
import ssl
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.demo.certificates import Authority, Credential
from tests.kubernetes import Example
from tests.ports import free_port

from .daemon import Daemon, run_once
from .peers import LOOPBACK, temporary_directory, wait_for


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        host = (self.headers["Host"] or "").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(host)))
        self.end_headers()
        self.wfile.write(host)

    def log_message(self, format: str, *words: object) -> None:
        pass


class KubernetesTestCase(SynchronousTestCase):
    """One example at a time; its secrets are directories here, as kubelet makes them."""

    def setUp(self) -> None:
        self.directory = temporary_directory(self)
        self.authority = Authority("CA of the cluster")
        self.server_port = free_port()

    def secret(self, name: str, credential: Credential) -> Path:
        """What kubelet mounts: links to what is in `..data`, itself a link."""
        made = self.directory / name
        (made / "..2026").mkdir(parents=True)
        (made / "..2026/tls.crt").write_bytes(credential.certificate_pem)
        (made / "..2026/tls.key").write_bytes(credential.key_pem)
        (made / "..2026/ca.crt").write_bytes(self.authority.certificate_pem)
        (made / "..data").symlink_to("..2026")
        for file in ("tls.crt", "tls.key", "ca.crt"):
            (made / file).symlink_to(f"..data/{file}")
        return made

    def configured(self, name: str, secrets: dict[str, Path]) -> Daemon:
        """The daemon with the configuration of an example, checked, and not started; its ports are in `ports`."""
        text = Example.read(name).configuration
        for path, ours in secrets.items():
            self.assertIn(path, text)
            text = text.replace(path, str(ours))
        self.ports = {}
        for bind in re.findall(r"bind (\S*:\d+)", text):
            self.ports[bind] = free_port()
            text = text.replace(f"bind {bind}", f"bind {LOOPBACK}:{self.ports[bind]}")
        checked = self.directory / "example.cfg"
        checked.write_text(text)
        done = run_once("--check", "--config", str(checked))
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        for level in ("[WARNING]", "[NOTICE]"):
            self.assertNotIn(level, done.stdout + done.stderr)
        text, templates = re.subn(r"server-template .*", f"server one {LOOPBACK}:{self.server_port}", text)
        self.assertEqual(1, templates)
        daemon = Daemon(self.directory / "daemon", "")
        daemon.file.write_text(text)
        return daemon

    def serve(self, name: str) -> None:
        """Starts the server that demands a client certificate."""
        path = self.authority.issue(name, hosts=[name]).write(self.directory / "server.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        context.load_verify_locations(self.authority.write(self.directory / "ca.pem"))
        context.verify_mode = ssl.CERT_REQUIRED
        self.server = ThreadingHTTPServer((LOOPBACK, self.server_port), Handler)
        self.server.daemon_threads = True
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.end_server)

    def end_server(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def status(self, url: str, context: ssl.SSLContext | None = None) -> int | str:
        """The status of an answer, or what happened in its place, as kubelet asks: with a second's patience."""
        try:
            with urllib.request.urlopen(url, timeout=1, context=context) as answer:
                self.body = answer.read()
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError as error:
            return type(error).__name__


class DeploymentTests(KubernetesTestCase):
    """etc/kubernetes/deployment.yaml"""

    def test_it_is_ready_while_a_server_serves_and_lives_on_without(self) -> None:
        front = self.secret("front", self.authority.issue("shop.example", hosts=["shop.example", "localhost"]))
        client = self.secret("client", self.authority.issue("reusedproxy", client=True))
        daemon = self.configured(
            "deployment.yaml", {"/etc/reusedproxy/front": front, "/etc/reusedproxy/client": client}
        )
        operators = f"http://{LOOPBACK}:{self.ports[':8404']}"
        daemon.port = self.ports[":8404"]
        self.addCleanup(daemon.stop)
        daemon.start()
        wait_for(lambda: self.status(f"{operators}/live") == 200, f"life; {daemon.output}")
        self.assertEqual(503, self.status(f"{operators}/ready"))
        self.serve("app.shop.svc")
        wait_for(lambda: self.status(f"{operators}/ready") == 200, "a server that serves", seconds=20)
        wait_for(lambda: self.pooled(operators, 4), "the floor")
        self.assertEqual(403, self.status(f"{operators}/"))
        trusting = ssl.create_default_context(cafile=str(self.directory / "front/ca.crt"))
        self.assertEqual(200, self.status(f"https://localhost:{self.ports[':8443']}/", trusting))
        self.end_server()
        wait_for(lambda: self.status(f"{operators}/ready") == 503, "no server that serves", seconds=20)
        self.assertEqual(200, self.status(f"{operators}/live"))

    def pooled(self, operators: str, floor: int) -> bool:
        self.assertEqual(200, self.status(f"{operators}/metrics"))
        idle = b'reusedproxy_pool_connections{pool="app/one",server="app/one",state="idle"} %d'
        return idle % floor in self.body.splitlines()


class SidecarTests(KubernetesTestCase):
    """etc/kubernetes/sidecar.yaml"""

    def test_the_application_is_not_started_before_the_floor_stands(self) -> None:
        partner = self.secret("partner", self.authority.issue("application", client=True))
        daemon = self.configured("sidecar.yaml", {"/etc/partner": partner})
        operators = f"http://{LOOPBACK}:{self.ports[':8404']}"
        daemon.port = self.ports[":8404"]
        self.addCleanup(daemon.stop)
        daemon.start()
        self.assertEqual("TimeoutError", self.status(f"{operators}/live"))
        self.serve("api.partner.example")
        wait_for(lambda: self.status(f"{operators}/live") == 200, f"life; {daemon.output}", seconds=20)
        self.assertIn("all floors stand", daemon.output)
        self.assertEqual(200, self.status(f"http://{LOOPBACK}:{self.ports['127.0.0.1:8080']}/"))
        self.assertEqual(b"api.partner.example", self.body)
