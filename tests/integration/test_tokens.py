"""A key that never leaves its token: SoftHSM by OpenSSL's provider for PKCS #11.

It needs softhsm2 and pkcs11-provider, which Debian has from 13 on; PKCS11_PROVIDER and SOFTHSM2_MODULE in the
environment say where else their shared objects are.
"""

from __future__ import annotations

import os
import subprocess
from glob import glob

from tests.integration.peers import missing, wait_for
from tests.integration.test_main_job import MainJobTestCase, ask
from tests.test_net_tokens import uri_block


def shared_object(variable: str, *patterns: str) -> str:
    """The path of a shared object, "" where there is none."""
    found = [path for pattern in patterns for path in sorted(glob(pattern))]
    return os.environ.get(variable) or (found[0] if found else "")


PROVIDER = shared_object("PKCS11_PROVIDER", "/usr/lib/*/ossl-modules/pkcs11.so", "/usr/lib*/ossl-modules/pkcs11.so")
MODULE = shared_object("SOFTHSM2_MODULE", "/usr/lib/softhsm/libsofthsm2.so", "/usr/lib*/pkcs11/libsofthsm2.so")


class TokenTests(MainJobTestCase):
    skip = missing("nginx", "softhsm2-util") or (None if PROVIDER and MODULE else "no pkcs11-provider, or no SoftHSM")

    def test_our_key_is_in_a_token(self) -> None:
        """nginx demands the certificate whose key is there; a reload and further handshakes find it again."""
        server = self.nginx(keepalive_requests=1)
        server.start()
        self.configure()
        client = self.authority.issue("test client", client=True)
        (self.directory / "key.pem").write_bytes(client.key_pem)
        self.softhsm("--init-token", "--free", "--label", "tests", "--so-pin", "1234")
        self.softhsm("--import", str(self.directory / "key.pem"), "--token", "tests", "--label", "client", "--id", "01")
        (self.directory / "key.pem").unlink()
        uri = uri_block("pkcs11:token=tests;object=client;type=private")
        self.client_pem.write_bytes(client.certificate_pem + uri)
        proxy = self.daemon("backend servers\n" + self.server_line(server.port, "pool-min-conn 2 no-ssl-reuse"))
        proxy.start()
        wait_for(lambda: proxy.pool("one", "idle") == [2], "two connections")
        self.assertEqual({ask(proxy.port) for _ in range(20)}, {200})
        self.assertEqual({line.verified for line in server.access_log()}, {"SUCCESS"})

    def configure(self) -> None:
        """Has OpenSSL, in processes that begin from now on, know the token."""
        tokens = self.directory / "tokens"
        tokens.mkdir()
        (self.directory / "softhsm.conf").write_text(f"directories.tokendir = {tokens}\nlog.level = ERROR\n")
        (self.directory / "openssl.cnf").write_text(
            "openssl_conf = init\n[init]\nproviders = providers\n[providers]\ndefault = usual\ntoken = token\n"
            f"[usual]\nactivate = 1\n[token]\nmodule = {PROVIDER}\npkcs11-module-path = {MODULE}\n"
            "pkcs11-module-token-pin = 1234\nactivate = 1\n"
        )
        for name, file in (("SOFTHSM2_CONF", "softhsm.conf"), ("OPENSSL_CONF", "openssl.cnf")):
            self.addCleanup(os.environ.__setitem__, name, os.environ.get(name, ""))
            os.environ[name] = str(self.directory / file)

    def softhsm(self, *arguments: str) -> None:
        command = ["softhsm2-util", "--module", MODULE, "--pin", "1234", *arguments]
        # SoftHSM uses OpenSSL itself, which must not look for a provider that leads to SoftHSM.
        environment = {name: value for name, value in os.environ.items() if name != "OPENSSL_CONF"}
        subprocess.run(command, check=True, capture_output=True, timeout=30, env=environment)
