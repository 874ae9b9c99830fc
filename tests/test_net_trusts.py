"""What many contexts share: the authorities that they trust."""

from __future__ import annotations

import gc
import re
import weakref
from pathlib import Path

from cryptography import x509
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.tls import ServerTLS, TLSOffer
from reusedproxy.demo.certificates import Authority
from reusedproxy.net import files
from reusedproxy.net.files import unless_pipe
from reusedproxy.net.tls import dh_groups
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.tls.server import Certificate, ServerContext
from reusedproxy.net.tls.trusts import Trusts
from tests.test_net_tls_server import revocations
from tests.wire import certificates, scratch


class TrustTests(SynchronousTestCase):
    """Whom contexts trust is loaded once, by what is in the files."""

    def setUp(self) -> None:
        self.folder = scratch(self)
        self.authority = certificates().authority
        self.path = self.write("a.pem")

    def write(self, name: str, *more: bytes) -> str:
        path = self.folder / name
        path.write_bytes(self.authority.certificate_pem + b"".join(more))
        return str(path)

    def trust(self, trusts: Trusts, path: str | None, crl_file: str | None = None) -> object:
        return trusts.of((("ca-file", path),), crl_file)._trust

    def test_the_same_content_under_two_names_is_one(self) -> None:
        trusts = Trusts()
        first, second = self.trust(trusts, self.path), self.trust(trusts, self.write("b.pem"))
        self.assertIs(first, second)
        self.assertIsNot(first, self.trust(trusts, self.write("c.pem", Authority("another").certificate_pem)))

    def test_each_name_stands_in_its_own_message(self) -> None:
        trusts = Trusts()
        for path in (self.path, self.write("b.pem")):
            self.assertIn(f"ca-file {path} (", trusts.of((("ca-file", path),)).words)

    def test_a_later_reading_uses_it_again_until_its_content_changes(self) -> None:
        before = Trusts()
        kept = self.trust(before, self.path)
        self.assertIs(self.trust(Trusts(before), self.path), kept)
        self.write("a.pem", Authority("another").certificate_pem)
        self.assertIsNot(self.trust(Trusts(before), self.path), kept)

    def test_it_goes_with_the_last_context(self) -> None:
        before = Trusts()
        gone = weakref.ref(self.trust(before, self.path))
        context = ClientContext(ServerTLS(ca_file=self.path), before)
        before = Trusts(before)
        gc.collect()
        self.assertIsNotNone(gone())
        del context
        gc.collect()
        self.assertIsNone(gone())

    def test_with_a_list_of_revoked_certificates_it_is_another(self) -> None:
        """OpenSSL looks for lists wherever the store is used."""
        crl = str(self.folder / "crl.pem")
        Path(crl).write_bytes(revocations(self.authority))
        trusts = Trusts()
        self.assertIsNot(self.trust(trusts, self.path), self.trust(trusts, self.path, crl))


class OnceTests(SynchronousTestCase):
    """A file is opened once, by us: OpenSSL would open its path as root, through any link, and another file by then."""

    def setUp(self) -> None:
        self.folder = scratch(self)
        self.opened: list[str] = []

        def open_once(path: str, flags: int) -> int:
            descriptor = unless_pipe(path, flags)
            self.opened.append(Path(path).name)
            Path(path).unlink()
            return descriptor

        self.patch(files, "unless_pipe", open_once)

    def write(self, name: str, content: bytes) -> str:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return str(path)

    def test_what_is_shown_to_clients_and_asked_of_them(self) -> None:
        ours = certificates()
        authority = ours.authority.certificate_pem
        whole = Path(ours.crt).read_bytes() + dh_groups.parameters(2048)
        offer = TLSOffer(
            verify="required",
            ca_file=self.write("ca.pem", authority),
            ca_verify_file=self.write("all/more.pem", authority).rpartition("/")[0],
            crl_file=self.write("crl.pem", revocations(ours.authority)),
        )
        context = ServerContext(Certificate(self.write("crt.pem", whole), offer), Trusts())
        self.assertEqual(context.leaf.serial_number, x509.load_pem_x509_certificate(whole).serial_number)
        self.assertEqual(sorted(self.opened), ["ca.pem", "crl.pem", "crt.pem", "more.pem"])
        self.opened.clear()
        offer = TLSOffer(dh_file=self.write("dh.pem", dh_groups.parameters(2048)))
        self.write("alone.pem.key", _of_kind(whole, b"PRIVATE KEY"))
        ServerContext(Certificate(self.write("alone.pem", _of_kind(whole, b"CERTIFICATE")), offer), Trusts())
        self.assertEqual(sorted(self.opened), ["alone.pem", "alone.pem.key", "dh.pem"])

    def test_what_is_shown_to_servers_and_asked_of_them(self) -> None:
        ours = certificates()
        crt, ca_file = Path(ours.crt).read_bytes(), ours.authority.certificate_pem
        trusts = Trusts()
        for _ in range(2):
            settings = ServerTLS(crt=self.write("crt.pem", crt), ca_file=str(self.folder / "ca.pem"))
            if not self.opened:
                self.write("ca.pem", ca_file)
            ClientContext(settings, trusts)
        self.assertEqual(self.opened, ["crt.pem", "ca.pem", "crt.pem"])


def _of_kind(content: bytes, kind: bytes) -> bytes:
    """The blocks of a PEM file whose label ends so."""
    blocks = re.findall(rb"-----BEGIN ([A-Z ]+)-----(.*?)-----END", content, re.S)
    return b"".join(
        b"-----BEGIN %s-----%s-----END %s-----\n" % (label, text, label)
        for label, text in blocks
        if label.endswith(kind)
    )
