"""`show|set|commit|abort ssl cert` of reusedproxy and of HAProxy: the same answers, and the same certificate shown."""

from __future__ import annotations

import re
import socket
import ssl
from pathlib import Path

from tests.integration.beside import HAProxy, haproxy_version
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK
from tests.integration.test_runtime_beside_haproxy import RuntimeTestCase, ask
from tests.ports import free_port
from tests.wire import certificates

#: In HAProxy 2.6 the names of some commands have no second quote; newer versions have it.
_NO_QUOTE = re.compile(r"^'((?:set|commit) ssl cert) expects")


class CertificatesBesideHAProxyTests(RuntimeTestCase):
    def setUp(self) -> None:
        super().setUp()
        if not haproxy_version():
            self.skipTest("needs haproxy")
        self.authority = certificates().authority
        self.first, self.second = self.write("a.pem"), self.write("b.pem")
        self.third = self.write("c.pem")
        self.list = self.directory / "list"
        self.list.write_text(
            f"# one\n{self.second} [ssl-max-ver TLSv1.3 verify optional ca-file {self.second} no-ca-names] b !x.b\n"
            f"{self.third}\n\n{self.first} [verify none curves X25519 ciphers ECDHE+AESGCM] *.a\n"
        )
        self.ports: dict[Path, int] = {}
        self.ours, self.theirs = self.both(Daemon, "ours"), self.both(HAProxy, "theirs")

    def both(self, kind: type[Daemon], name: str) -> Path:
        port = free_port()
        directory = self.proxy(
            kind,
            name,
            f"frontend tls\n    bind {{host}}:{port} ssl crt {self.first} crt {self.second}\n"
            f"    http-request return status 200\n"
            f"frontend listed\n    bind {{host}}:{free_port()} ssl crt-list {self.list}\n"
            f"    http-request return status 200\n"
            f"backend servers\n    server s {{host}}:1 ssl verify none crt {self.second}\n"
            "global\n    stats socket {d}/admin.sock level admin\n    stats socket {d}/operator.sock level operator\n",
        )
        self.ports[directory] = port
        return directory

    def write(self, name: str) -> Path:
        return self.authority.issue(name, key="ecdsa").write(self.directory / name)

    def alike(self, text: str, name: str = "admin") -> str:
        """The answer of both."""
        ours, theirs = (ask(each / f"{name}.sock", text, ended=False) for each in (self.ours, self.theirs))
        self.assertEqual(ours, _NO_QUOTE.sub(r"'\1' expects", theirs), text[:80])
        return ours

    def shown(self, port: int) -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection((LOOPBACK, port), 20.0) as connection,
            context.wrap_socket(connection, server_hostname="a.pem") as tls,
        ):
            return tls.getpeercert(True) or b""

    def test_a_certificate_is_replaced_alike(self) -> None:
        new = self.authority.issue("a.pem", key="ecdsa")
        for text in ("", f" {self.list}", f" -n {self.list}", " -n", " /no", f" {self.list}/"):
            self.alike(f"show ssl crt-list{text}")
            self.alike(f"show ssl crt-list{text}", "operator")
        pem, key = new.certificate_pem.decode(), new.key_pem.decode()
        a, b = self.first, self.second
        chain = self.authority.certificate_pem.decode()
        before = [self.shown(port) for port in self.ports.values()]
        self.assertEqual(before[0], before[1])
        for text in (
            *("show ssl cert", f"show ssl cert {a}", f"show ssl cert {b}", "show ssl cert /no", f"show ssl cert *{a}"),
            *("set ssl cert", f"set ssl cert {a}", f"set ssl cert {a} <<\n", f"set ssl cert {a} <<\nnothing\n"),
            f"set ssl cert /no <<\n{pem}{key}",
            f"set ssl cert {a} <<\n{key}",
            f"set ssl cert {a}.key <<\nnothing\n",
            *("commit ssl cert", f"commit ssl cert {a}", "abort ssl cert", f"abort ssl cert {a}"),
            f"set ssl cert {a} <<\n{pem}",
            f"commit ssl cert {a}",
            f"set ssl cert {a} <<\n{pem}{b.read_text()[b.read_text().index('-----BEGIN PRIV') :]}",
            *("show ssl cert", f"show ssl cert {a}", f"commit ssl cert {a}", f"commit ssl cert {b}"),
            *(f"abort ssl cert {b}", f"abort ssl cert {a}", f"abort ssl cert {a}"),
            f"set ssl cert {a}.key <<\n{key}",
            f"commit ssl cert {a}",
            f"set ssl cert {a} <<\n{pem}{chain}{key}",
        ):
            self.alike(text)
            self.assertEqual([self.shown(port) for port in self.ports.values()], before)
        for text in (f"set ssl cert {a} <<\n{pem}", f"commit ssl cert {a}", f"abort ssl cert {a}", "show ssl cert"):
            self.alike(text, "operator")
        self.assertIn("Success!", self.alike(f"commit ssl cert {a}"))
        self.assertIn("Chain Issuer", self.alike(f"show ssl cert {a}"))
        expected = ssl.PEM_cert_to_DER_cert(pem)
        self.assertEqual([self.shown(port) for port in self.ports.values()], [expected, expected])
        self.alike(f"set ssl cert {b} <<\n{pem}{key}")
        self.assertIn("..\nSuccess!", self.alike(f"commit ssl cert {b}"))
