"""What many contexts share: the authorities that they trust."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.tls import ServerTLS
from reusedproxy.demo.certificates import Authority
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.tls.files import Trusts
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
