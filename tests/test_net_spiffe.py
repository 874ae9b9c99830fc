"""Servers that are known by their SPIFFE ID: which certificates are theirs, and what is said of others."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL

from reusedproxy.config.model.tls import ServerTLS
from reusedproxy.demo.certificates import Authority, Credential, key_usage
from reusedproxy.net.tls.client import ClientContext
from reusedproxy.net.tls.spiffe import why_not_spiffe
from tests.test_net_dial import DialCase, Owner
from tests.wire import certificates, server_context

WEB = "spiffe://example.org/ns/prod/sa/web"


class SpiffeTests(DialCase):
    def svid(self, *names: str, **more: Any) -> Credential:
        """A certificate with these names, for both sides, as SPIRE makes them: without a common name that counts."""
        return certificates().authority.issue("workload", hosts=names, key="ecdsa", **more)

    def why(self, credential: Credential, *wanted: str) -> str:
        return why_not_spiffe(credential.certificate, wanted)

    def test_one_of_several_ids(self) -> None:
        self.assertEqual(self.why(self.svid(WEB), WEB), "")
        self.assertEqual(self.why(self.svid(WEB, "web.test"), "spiffe://example.org/other", WEB), "")

    def test_all_below(self) -> None:
        for wanted in ("spiffe://example.org/*", "spiffe://example.org/ns/prod/*"):
            self.assertEqual(self.why(self.svid(WEB), wanted), "")
        for found in ("spiffe://example.org/ns/production", "spiffe://example.org/ns/prod", "spiffe://example.org"):
            self.assertIn("it is for " + found, self.why(self.svid(found), "spiffe://example.org/ns/prod/*"))
        self.assertIn("it is for", self.why(self.svid("spiffe://example.org.evil/web"), "spiffe://example.org/*"))
        self.assertIn("it is for", self.why(self.svid("spiffe://example.org/"), "spiffe://example.org/*"))

    def test_an_id_has_one_spelling(self) -> None:
        for other in (WEB.upper(), WEB + "/", WEB.replace("example", "EXAMPLE"), "https" + WEB[6:], WEB + "%20"):
            said = self.why(self.svid(other), WEB)
            self.assertIn(f"the certificate is not for {WEB}, it is for {other} (CN=workload, issued by CN=", said)

    def test_there_is_exactly_one_uri(self) -> None:
        """Standard for X509-SVIDs, section 2: one with several must be refused."""
        said = self.why(self.svid(WEB, "spiffe://example.org/other"), WEB)
        self.assertIn("it has 2 URIs: spiffe://example.org/ns/prod/sa/web, spiffe://example.org/other among", said)
        for without in (self.svid(), self.svid("web.test")):
            self.assertIn("it has no URI among its names", self.why(without, WEB))

    def test_an_authority_is_no_workload(self) -> None:
        signing = self.svid(WEB, usage=key_usage("digital_signature", "key_cert_sign"))
        self.assertIn("the certificate is no workload's: it may sign others", self.why(signing, WEB))
        self.assertIn("no SPIFFE SVID: it has no URI", self.why(Authority("a CA").credential, WEB))

    def test_handshakes(self) -> None:
        """Whatever name is asked for; an impostor of the same CA is told in the handshake and not shown our
        certificate."""
        ours = certificates()
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            for sni in (None, "other.test"):
                settings = ServerTLS(ca_file=ours.ca_file, crt=ours.crt, sni=sni, spiffe=(WEB,))
                context = ClientContext(settings)
                self.assertFalse(context.refuses_nameless)
                for credential, right in ((self.svid(WEB), True), (certificates().server, False)):
                    self.owner = Owner()
                    server = self.loop.server(tls=server_context(credential, version=version))
                    dial = self.dial(server.target, context)
                    if right:
                        self.ready(dial).abort("over")
                        self.assertEqual(server.newest.server_name, sni and sni.encode())
                        continue
                    said = self.failed(dial)
                    self.assertIn("TLS handshake failed: the certificate is no SPIFFE SVID: it has no URI", said)
                    self.assertTrue(said.endswith("; alert bad certificate sent"), said)
                    self.assertEqual((self.owner.failures[0].unverified, server.newest.client_name), (True, None))

    def test_a_ca_vouches_for_it(self) -> None:
        ours = certificates()
        stranger = ours.stranger.issue("workload", hosts=[WEB], key="ecdsa")
        context = ClientContext(ServerTLS(ca_file=ours.ca_file, crt=ours.crt, spiffe=(WEB,)))
        server = self.loop.server(tls=server_context(stranger))
        self.assertIn("unable to get local issuer certificate", self.failed(self.dial(server.target, context)))
