"""The orders about files of TLS of reusedproxy and of HAProxy: the same answers, and the same certificates shown."""

from __future__ import annotations

import re
import signal
import socket
import ssl
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from reusedproxy.demo.certificates import Authority
from tests.integration.beside import HAProxy, haproxy_version
from tests.integration.daemon import Daemon
from tests.integration.peers import LOOPBACK, wait_for
from tests.integration.test_runtime_beside_haproxy import RuntimeTestCase, ask
from tests.ports import free_port
from tests.test_net_tls_server import revocations
from tests.wire import certificates

#: In HAProxy 2.6 the names of some commands have no second quote; newer versions have it.
_NO_QUOTE = re.compile(r"^'((?:new|set|commit|del|abort) ssl (?:cert|ca-file|crl-file|crtlist)) expects")


class BesideTestCase(RuntimeTestCase):
    ours: Path
    theirs: Path

    def setUp(self) -> None:
        super().setUp()
        if not haproxy_version():
            self.skipTest("needs haproxy")
        self.authority = certificates().authority
        self.ports: dict[Path, int] = {}

    def write(self, name: str) -> Path:
        return self.authority.issue(name, key="ecdsa").write(self.directory / name)

    def alike(self, text: str, name: str = "admin") -> str:
        """The answer of both."""
        ours, theirs = (ask(each / f"{name}.sock", text, ended=False) for each in (self.ours, self.theirs))
        self.assertEqual(ours, _NO_QUOTE.sub(r"'\1' expects", theirs), text[:80])
        return ours

    def connect(self, port: int, name: str) -> ssl.SSLSocket:
        """A client that asks for a name, with its handshake done."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(socket.create_connection((LOOPBACK, port), 20.0), server_hostname=name)

    def shown(self, port: int, name: str = "a.pem") -> bytes:
        with self.connect(port, name) as tls:
            return tls.getpeercert(True) or b""


class CertificatesBesideHAProxyTests(BesideTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.first, self.second = self.write("a.pem"), self.write("b.pem")
        self.third = self.write("c.pem")
        self.list = self.directory / "list"
        self.list.write_text(
            f"# one\n{self.second} [ssl-max-ver TLSv1.3 verify optional ca-file {self.second} no-ca-names] b !x.b\n"
            f"{self.third}\n\n{self.first} [verify none curves X25519 ciphers ECDHE+AESGCM] *.a\n"
        )
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


class FilesBesideHAProxyTests(BesideTestCase):
    """Files that are made in memory, and `crt-list` files and directories that are changed."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = self.directory / "certs"
        self.folder.mkdir()
        self.first, self.other = self.write("first.pem"), self.write("certs/other.pem")
        self.list = self.directory / "list"
        self.list.write_text(f"# one\n{self.first}\n{self.other} b.test\n{self.other} [ssl-min-ver TLSv1.3] c.test\n")
        self.ca_file, self.crl_file = self.directory / "ca.pem", self.directory / "crl.pem"
        self.ca_file.write_bytes(self.authority.certificate_pem)
        self.crl_file.write_bytes(revocations(self.authority))
        self.ours, self.theirs = self.both(Daemon, "ours"), self.both(HAProxy, "theirs")

    def both(self, kind: type[Daemon], name: str) -> Path:
        port = free_port()
        demand = f"verify required ca-file {self.ca_file} crl-file {self.crl_file}"
        directory = self.proxy(
            kind,
            name,
            f"frontend listed\n    bind {{host}}:{port} ssl crt-list {self.list}\n    http-request return status 200\n"
            f"frontend folder\n    bind {{host}}:{free_port()} ssl crt {self.folder}/ {demand}\n"
            f"    http-request return status 200\n"
            f"backend servers\n    server s {{host}}:1 ssl ca-file {self.ca_file} crt {self.first}\n"
            "global\n    stats socket {d}/admin.sock level admin\n    stats socket {d}/operator.sock level operator\n",
        )
        self.ports[directory] = port
        return directory

    def assert_shown(self, name: str, certificate: str) -> None:
        """Both show the certificate to clients that ask for the name."""
        expected = ssl.PEM_cert_to_DER_cert(certificate[: certificate.index("-----END CERTIFICATE-----") + 25])
        self.assertEqual([self.shown(port, name) for port in self.ports.values()], [expected, expected], name)

    def test_lists_are_changed_alike(self) -> None:
        """And clients of certificates that have not changed stay."""
        new = self.authority.issue("new", hosts=["new.test", "www.new.test"], key="ecdsa").pem.decode()
        clients = [self.connect(port, "b.test") for port in self.ports.values()]
        for each in clients:
            self.addCleanup(each.close)
        n = self.folder / "new.pem"  # HAProxy 2.6 wants it to be there for `add ssl crt-list` of a directory
        for text in (
            *("new ssl cert", f"new ssl cert {n}", f"new ssl cert {n}", f"new ssl cert {self.first}"),
            *("show ssl cert", f"add ssl crt-list {self.list} {n}", f"commit ssl cert {n}"),
            *(f"set ssl cert {n} <<\n{new}", f"del ssl cert {n}", f"commit ssl cert {n}", f"show ssl cert {n}"),
            *("add ssl crt-list", f"add ssl crt-list {self.list}", "add ssl crt-list /no x"),
            f"add ssl crt-list {self.list} /no",
            f"add ssl crt-list {self.list} <<\n{n}\n{n}\n",
            f"add ssl crt-list {self.list} <<\n{n} [verify required ca-file /no] x\n",
            f"add ssl crt-list {self.list} {n}",
            *(f"show ssl crt-list -n {self.list}", f"show ssl cert {n}", f"del ssl cert {n}"),
        ):
            self.alike(text)
            self.alike(text, "operator")
        for _ in range(2):
            for each in clients:
                each.sendall(b"GET / HTTP/1.1\r\nHost: b.test\r\n\r\n")
                said = each.recv(4096)
                self.assertTrue(said.startswith(b"HTTP/1.1 200"), said)
                self.assertNotIn(b"close", said.lower())
        for name in ("new.test", "www.new.test"):
            self.assert_shown(name, new)
        for text in (
            f"add ssl crt-list {self.list} <<\n{n} [verify optional ca-file {self.ca_file}] *.w.test !no.w.test\n",
            *("show ssl crt-list", f"show ssl crt-list -n {self.list}", "del ssl crt-list", "del ssl crt-list /no x"),
            *(f"del ssl crt-list {self.list} {each}" for each in ("/no", n, f"{n}:x", f"{n}:2", self.folder)),
            *(f"del ssl crt-list {self.list} {n}:{line}" for line in (5, 5)),
        ):
            self.alike(text)
        self.assert_shown("a.w.test", new)
        self.assert_shown("no.w.test", self.first.read_text())
        for text in (
            *(f"del ssl crt-list {self.list} {n}", f"del ssl crt-list {self.list} {n}", f"show ssl cert {n}"),
            *(f"show ssl crt-list -n {self.folder}", f"add ssl crt-list {self.folder} {n}"),
            *(f"add ssl crt-list {self.folder}/ {n}", f"show ssl crt-list -n {self.folder}/"),
            *(f"del ssl crt-list {self.folder} {n}", f"del ssl cert {n}", f"del ssl cert {n}", "del ssl cert"),
            "show ssl cert",
        ):
            self.alike(text)
        self.assert_shown("new.test", self.first.read_text())

    def test_authorities_and_revocation_lists_are_replaced_alike(self) -> None:
        stranger, c, r = certificates().stranger.certificate_pem.decode(), self.ca_file, self.crl_file
        revoked = revocations(self.authority, self.authority.issue("gone", key="ecdsa")).decode()
        for text in (
            *("new ssl ca-file", "new ssl ca-file mine", "new ssl ca-file mine"),
            *("set ssl ca-file", f"set ssl ca-file {c}", f"set ssl ca-file {c} <<\nnothing\n"),
            f"set ssl ca-file /no <<\n{stranger}",
            *("commit ssl ca-file", f"commit ssl ca-file {c}", "abort ssl ca-file", f"abort ssl ca-file {c}"),
            f"set ssl ca-file mine <<\n{stranger}",
            *(f"set ssl ca-file {c} <<\n{stranger}", f"commit ssl ca-file {c}", f"abort ssl ca-file {c}"),
            *("show ssl ca-file *no", "del ssl ca-file mine", "commit ssl ca-file mine"),
            *("show ssl ca-file mine", f"del ssl ca-file {c}", "del ssl ca-file", "del ssl ca-file /no"),
            *(f"set ssl ca-file {c} <<\n{stranger}", f"abort ssl ca-file {c}", f"show ssl ca-file {c}"),
            *(f"set ssl ca-file {c} <<\n{stranger}", f"commit ssl ca-file {c}", f"show ssl ca-file {c}"),
            *("del ssl ca-file mine", "show ssl ca-file mine"),
            *("new ssl crl-file", "new ssl crl-file mine", "new ssl crl-file mine", "show ssl crl-file"),
            *("set ssl crl-file", f"set ssl crl-file {r} <<\nnothing\n", f"set ssl crl-file /no <<\n{revoked}"),
            *(f"commit ssl crl-file {r}", f"set ssl crl-file {r} <<\n{revoked}", "commit ssl crl-file mine"),
            *("show ssl crl-file", f"del ssl crl-file {r}", f"commit ssl crl-file {r}", f"show ssl crl-file {r}"),
            *(f"del ssl crl-file {r}", "del ssl crl-file mine", "del ssl crl-file", "abort ssl crl-file x"),
        ):
            self.alike(text)
            self.alike(text, "operator")


class IssuersBesideHAProxyTests(BesideTestCase):
    def count(self, port: int) -> int:
        """How many certificates a client is shown."""
        with socket.create_connection((LOOPBACK, port), 20.0) as plain:
            tls = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), plain)
            tls.set_connect_state()
            plain.settimeout(None)
            tls.do_handshake()
            return len(tls.get_peer_cert_chain() or ())

    def test_chains_are_completed_alike(self) -> None:
        """Of a file without one; a reload takes what is in the directory then."""
        middle, root = Authority("middle", issuer=self.authority), self.authority
        alone, whole, issuers = self.directory / "alone.pem", self.directory / "whole.pem", self.directory / "issuers"
        issued = middle.issue("a", key="ecdsa")
        issued.write(whole)
        alone.write_bytes(issued.certificate.public_bytes(Encoding.PEM) + issued.key_pem)
        issuers.mkdir()
        (issuers / "middle").write_bytes(middle.certificate_pem + root.certificate_pem)
        (issuers / "junk").write_bytes(b"junk")
        found = []
        for make in (Daemon, HAProxy):
            ports = free_port(), free_port()
            text = f"backend servers\nglobal\n issuers-chain-path {issuers}/\n" + "".join(
                f"frontend f{port}\n bind {LOOPBACK}:{port} ssl crt {path}\n http-request return status 204\n"
                for port, path in zip(ports, (alone, whole), strict=True)
            )
            daemon = make(self.directory / make.__name__, text)
            self.addCleanup(daemon.stop)
            daemon.start()
            found.append([self.count(port) for port in ports])
            if make is Daemon:
                (issuers / "middle").write_bytes(middle.certificate_pem)
                daemon.signal(signal.SIGHUP)
                wait_for(lambda: self.count(ports[0]) == 2, "the other chain")  # noqa: B023
                (issuers / "middle").write_bytes(middle.certificate_pem + root.certificate_pem)
            daemon.stop()
        self.assertEqual(found, [[3, 2], [3, 2]])
