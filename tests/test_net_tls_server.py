"""TLS towards clients: the promises of every transport kept over it, the choice of a certificate,
files that are refused."""

from __future__ import annotations

import os
import re
from base64 import decodebytes, encodebytes
from datetime import datetime, timedelta, timezone
from unittest import mock

from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL, _util
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.model.tls import TLSOffer
from reusedproxy.demo.certificates import Authority, Credential
from reusedproxy.net.tls import dh_groups
from reusedproxy.net.tls import server as tls_server
from reusedproxy.net.tls.files import TLSConfigurationError
from reusedproxy.net.tls.hello import ClientHello
from reusedproxy.net.tls.openssl_server import set_groups
from reusedproxy.net.tls.server import Certificate, Certificates
from reusedproxy.net.transport import PEER_CLOSED, Transport
from tests.handshakes import Shaker, client_tls, offer, side_of
from tests.test_net_transport import PassingBehaviour
from tests.test_net_transport_ends import EndBehaviour
from tests.wire import Far, Loop, certificates, scratch

TLS12, TLS13 = SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION
MB = 1024 * 1024
#: RFC 7919, appendix A.1.
FFDHE2048 = int(
    "FFFFFFFFFFFFFFFFADF85458A2BB4A9AAFDC5620273D3CF1D8B9C583CE2D3695A9E13641146433FBCC939DCE249B3EF9"
    "7D2FE363630C75D8F681B202AEC4617AD3DF1ED5D5FD65612433F51F5F066ED0856365553DED1AF3B557135E7F57C935"
    "984F0C70E0E68B77E2A689DAF3EFE8721DF158A136ADE73530ACCA4F483A797ABC0AB182B324FB61D108A94BB2C8E3FB"
    "B96ADAB760D7F4681D4F42A3DE394DF4AE56EDE76372BB190B07A7C8EE0A6D709E02FCE1CDF7E2ECC03404CD28342F61"
    "9172FE9CE98583FF8E4F1232EEF28183C3FE3B1B4C6FAD733BB5FCBC2EC22005C58EF1837D1683B2C6F34A26C1B2EFFA"
    "886B423861285C97FFFFFFFFFFFFFFFF",
    16,
)


class ServerBehaviour(PassingBehaviour, EndBehaviour):
    """Every promise of a transport, and those of TLS."""

    OUR_END = "close_notify"
    VERSION = 0

    def setUp(self) -> None:
        super().setUp()
        self.shaker = Shaker(self, self.loop)

    def connect(self, tcp: bool, buffers: int | None) -> tuple[Transport, Far]:
        count = len(self.shaker.transports)
        far = self.shaker.client(client_tls(version=self.VERSION), tcp=tcp, buffers=buffers)
        self.loop.until(lambda: len(self.shaker.transports) > count and far.handshaken)
        transport = self.shaker.transport
        transport.owner = self.owner
        return transport, far

    def test_much_both_ways(self) -> None:
        """32 MB each way at once, and the same bytes come out."""
        transport, far = self.open()
        content = os.urandom(MB) * 32
        far.unsent = content
        transport.write(content)
        self.loop.until(lambda: len(far.received) == len(content) and sum(map(len, self.owner.chunks)) == len(content))
        self.assertTrue(far.received == content and self.owner.received == content)

    def test_an_end_without_close_notify_is_an_end(self) -> None:
        """As over plain TCP, where clients close as they like: what they asked can still be answered."""
        transport, far = self.open()
        far.send(b"question")
        far.truncate()  # type: ignore[attr-defined]
        self.loop.pump()
        self.assertEqual(self.owner.events, ["data", "eof"])
        transport.write(b"answer")
        self.loop.pump()
        transport.close("answered")
        self.loop.pump()
        self.assertEqual((far.received, far.end), (b"answer", "close_notify"))

    def test_close_notify_alone_is_an_end(self) -> None:
        """TCP may stay open behind it."""
        transport, far = self.open()
        far.close_notify()  # type: ignore[attr-defined]
        self.loop.pump()
        self.assertEqual(self.owner.events, ["eof"])
        transport.write(b"answer")
        transport.close("answered")
        self.loop.pump()
        self.assertEqual(far.received, b"answer")

    def test_garbage_is_a_tls_error(self) -> None:
        """OpenSSL's words are the reason."""
        transport, far = self.open()
        far.socket.send(b"GET / HTTP/1.1\r\n\r\n")
        self.loop.pump()
        self.assertIn("TLS: ", str(self.owner.lost))
        self.gone(transport, str(self.owner.lost))


class TLS12ServerTests(ServerBehaviour, SynchronousTestCase):
    """Over TLS 1.2."""

    VERSION = TLS12

    def test_a_renegotiation_is_refused(self) -> None:
        """It would let a client make us work as often as it likes; the connection goes on without."""
        transport, far = self.open()
        far.tls.renegotiate()  # type: ignore[attr-defined]
        far.send(b"x")
        self.loop.pump()
        self.assertEqual(transport._tls.total_renegotiations(), 0)  # type: ignore[attr-defined]
        self.assertNotIn(PEER_CLOSED, str(self.owner.lost))
        if self.owner.lost is None:
            transport.abort("over")


class TLS13ServerTests(ServerBehaviour, SynchronousTestCase):
    """Over TLS 1.3."""

    VERSION = TLS13


class ChoiceTests(SynchronousTestCase):
    """Which certificate is served for which name, as HAProxy 2.6 was seen to do."""

    def setUp(self) -> None:
        self.folder = scratch(self)
        self.authority = certificates().authority

    def certificate(
        self, name: str, *hosts: str, key: str = "ecdsa", names: tuple[str, ...] | None = None, default: bool = False
    ) -> Certificate:
        path = self.authority.issue(name, hosts=hosts, key=key).write(self.folder / f"{name}.{key}")
        return Certificate(str(path), TLSOffer(), names, str(self.folder / name), default)

    def chosen(self, *made: Certificate, strict: bool = False) -> Choice:
        return Choice(Certificates.load(made, strict))

    def test_exact_names_before_wildcards_of_one_label(self) -> None:
        """In lower case, by common names and alternatives alike; whoever asks for nothing of ours gets the first."""
        choice = self.chosen(
            self.certificate("first"),
            self.certificate("wild", "*.a.test"),
            self.certificate("exact", "X.a.test"),
        )
        for name, expected in (
            ("first", "first"),
            ("x.a.test", "exact"),
            ("y.a.test", "wild"),
            ("x.y.a.test", "first"),
            ("a.test", "first"),
            (".a.test", "wild"),
            ("other", "first"),
            (None, "first"),
        ):
            self.assertEqual(choice(name), f"{expected}.ecdsa", name)

    def test_the_first_that_has_a_name_keeps_it(self) -> None:
        """Another with the same name is for nobody."""
        choice = self.chosen(self.certificate("one", "a.test"), self.certificate("two", "a.test"))
        self.assertEqual(choice("a.test"), "one.ecdsa")

    def test_the_kind_of_key_that_the_client_takes(self) -> None:
        """ECDSA before RSA; and better the wrong one, which the handshake then says, than none."""
        choice = self.chosen(self.certificate("one", key="rsa"), self.certificate("one", key="ecdsa"))
        self.assertEqual(choice("one"), "one.ecdsa")
        self.assertEqual(choice("one", ecdsa=False), "one.rsa")
        self.assertEqual(choice("one", rsa=False), "one.ecdsa")
        only = self.chosen(self.certificate("only", key="rsa"))
        self.assertEqual(only("only", rsa=False), "only.rsa")

    def test_a_wildcard_of_the_better_kind_wins_over_an_exact_name(self) -> None:
        """So does HAProxy: the kind is looked at first."""
        choice = self.chosen(self.certificate("exact", "x.a.test", key="rsa"), self.certificate("wild", "*.a.test"))
        self.assertEqual(choice("x.a.test"), "wild.ecdsa")
        self.assertEqual(choice("x.a.test", ecdsa=False), "exact.rsa")

    def test_a_wildcard_of_other_settings_does_not(self) -> None:
        """Or a client would choose, by the kind of key that it takes, to be let in without a certificate."""
        guarded = offer(verify="required")
        exact = evolve(self.certificate("exact", "x.a.test", key="rsa"), offer=guarded)
        for made in (
            (exact, self.certificate("wild", "*.a.test")),
            (self.certificate("wild", "*.a.test"), exact),
        ):
            choice = self.chosen(*made, strict=True)
            for takes in ((True, True), (True, False), (False, True), (False, False)):
                self.assertEqual(choice("x.a.test", *takes), "exact.rsa")
            self.assertEqual(choice("y.a.test"), "wild.ecdsa")
        both = (exact, evolve(self.certificate("wild", "*.a.test"), offer=guarded))
        self.assertEqual(self.chosen(*both)("x.a.test"), "wild.ecdsa")

    def test_a_default_of_both_kinds(self) -> None:
        """The first one's bundle; HAProxy 2.6 has the first file only, newer ones the bundle."""
        choice = self.chosen(
            self.certificate("one", key="ecdsa"), self.certificate("one", key="rsa"), self.certificate("two", key="rsa")
        )
        self.assertEqual((choice(None), choice(None, ecdsa=False)), ("one.ecdsa", "one.rsa"))

    def test_a_default_that_is_said(self) -> None:
        """By default-crt, or by a lone * among the names."""
        choice = self.chosen(self.certificate("one"), self.certificate("two", default=True))
        self.assertEqual((choice(None), choice("one")), ("two.ecdsa", "one.ecdsa"))

    def test_names_that_are_given(self) -> None:
        """They stand in place of those in the certificate; a ! excepts from its line's wildcards, !* is nothing."""
        choice = self.chosen(
            self.certificate("first", "a.test", names=("!*",)),
            self.certificate("wild", names=("*.w.test", "!no.w.test")),
            self.certificate("other", names=("*.W.test", "z.test")),
        )
        for name, expected in (
            ("a.test", "first"),
            ("first", "first"),
            ("yes.w.test", "wild"),
            ("no.w.test", "other"),
            ("wild", "first"),
            ("z.test", "other"),
        ):
            self.assertEqual(choice(name), f"{expected}.ecdsa", name)

    def test_strict(self) -> None:
        """No default at all."""
        choice = self.chosen(self.certificate("one", "*.a.test"), strict=True)
        self.assertEqual((choice("x.a.test"), choice("b.test"), choice(None)), ("one.ecdsa", "", ""))


class Choice:
    """Asks `Certificates` for a name."""

    def __init__(self, made: Certificates) -> None:
        self.made = made

    def __call__(self, name: str | None, rsa: bool = True, ecdsa: bool = True) -> str:
        context = self.made.choose(ClientHello(name, rsa=rsa, ecdsa=ecdsa))
        return "" if context is None else os.path.basename(context.crt)


def revocations(authority: Authority, *revoked: Credential, until: timedelta = timedelta(days=1)) -> bytes:
    """A list of what `authority` takes back."""
    now = datetime.now(timezone.utc)
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.credential.certificate.subject)
    builder = builder.last_update(now - timedelta(days=2)).next_update(now + until)
    for credential in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(credential.certificate.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(now - timedelta(days=1)).build())
    return builder.sign(authority.credential.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


class RevocationTests(SynchronousTestCase):
    """`crl-file`."""

    def setUp(self) -> None:
        self.loop = Loop(self)

    def test_a_revoked_certificate(self) -> None:
        """Is refused, and the list is named; others are let in; without a list nobody is; let pass,
        it is remembered."""
        ours = certificates()
        shaker = Shaker(self, self.loop, offer(verify="required"))
        revoked = ours.authority.issue("revoked", client=True, key="ecdsa")
        path = str(shaker.folder / "crl.pem")
        with open(path, "wb") as file:
            file.write(revocations(ours.authority, revoked))
        shaker.offer(crl_file=path)
        shaker.client(client_tls(revoked, version=TLS12)).drop()
        self.loop.pump()
        self.assertIn("certificate revoked (certificate 0 of the chain, CN=revoked, ", shaker.failure)
        self.assertIn(f"crl-file {path}; alert certificate revoked sent", shaker.failure)
        self.assertTrue(shaker.client(client_tls(ours.client)).handshaken)
        stranger = Authority("another")
        with open(path, "wb") as file:
            file.write(revocations(stranger))
        shaker.offer(crl_file=path)
        shaker.client(client_tls(ours.client)).drop()
        self.loop.pump()
        self.assertIn("unable to get certificate CRL", shaker.failure)
        shaker.offer(ignored_crt_errors=frozenset({3}))
        self.assertTrue(shaker.client(client_tls(ours.client)).handshaken)
        self.assertEqual(side_of(shaker.transport).verify_result, 3)


class FileTests(SynchronousTestCase):
    """Files that cannot be served are named before anybody connects."""

    def setUp(self) -> None:
        self.folder = scratch(self)
        self.ours = certificates()
        self.crt = str(self.ours.server.write(self.folder / "ours.pem"))

    def fault(self, crt: str | None = None, **fields: object) -> str:
        with self.assertRaises(TLSConfigurationError) as caught:
            Certificates.load([Certificate(crt or self.crt, offer(**fields))], False)
        self.assertNotIn("\n", str(caught.exception))
        return str(caught.exception)

    def file(self, name: str, content: bytes) -> str:
        (self.folder / name).write_bytes(content)
        return str(self.folder / name)

    def test_certificates_and_keys(self) -> None:
        """Missing, mismatched, weak, without a key, with a passphrase, not a PEM file."""
        pem, key = self.ours.server.certificate_pem, self.ours.server.key
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
        weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
        weak_pem = (
            x509.CertificateBuilder()
            .subject_name(self.ours.server.certificate.subject)
            .issuer_name(self.ours.server.certificate.subject)
            .public_key(weak.public_key())
            .serial_number(1)
            .not_valid_before(datetime(2020, 1, 1))
            .not_valid_after(datetime(2040, 1, 1))
            .sign(weak, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )
        for content, words in (
            (b"", "is empty"),
            (pem, "holds no private key, and there is no"),
            (pem + self.ours.client.key_pem, "no usable private key: it does not belong to the first certificate"),
            (pem + secret, "is protected by a passphrase"),
            (weak_pem, "ee key too small (it has 1024 bits)"),
            (self.ours.server.key_pem, "no usable certificate: there is none in it"),
        ):
            path = self.file("bad.pem", content)
            if content == weak_pem:
                path = self.file("bad.pem", content + b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n")
            fault = self.fault(path)
            self.assertIn(f"crt {path}: ", fault)
            self.assertIn(words, fault)
        self.assertIn("cannot be read: No such file", self.fault("/none.pem"))

    def test_nothing_that_is_encrypted_has_openssl_ask_on_the_terminal(self) -> None:
        """It would wait for the answer, and the whole daemon with it: certificates and parameters can be encrypted."""
        headers = b"Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n"
        _, begin, rest = self.ours.server.certificate_pem.partition(b"-----BEGIN CERTIFICATE-----\n")
        locked = self.file("locked.pem", begin + headers + rest + self.ours.server.key_pem)
        self.assertIn(f"crt {locked}: no usable certificate: a block of one is encrypted", self.fault(locked))
        _, begin, rest = dh_groups.parameters(2048).partition(b"-----BEGIN DH PARAMETERS-----\n")
        for content in (begin + headers + rest, b"x" * 254 + begin + headers + rest):
            path = self.file("dh.pem", content)
            self.assertIn(f"{path}: no usable DH parameters: there is no block of them", self.fault(dh_file=path))
        path = self.file("dh.pem", b"x" * 254 + begin + headers + rest + begin + rest)
        Certificates.load([Certificate(self.crt, offer(dh_file=path))], False)  # the first one is none

    def test_a_key_in_a_file_of_its_own(self) -> None:
        """Beside the certificate, as HAProxy has it."""
        path = self.file("two.pem", self.ours.server.certificate_pem)
        self.file("two.pem.key", self.ours.server.key_pem)
        self.assertEqual(Certificates.load([Certificate(path, TLSOffer())], False).contexts[0].kind, "ecdsa")

    def test_authorities_and_revocations(self) -> None:
        """Missing, or not what they should be."""
        self.assertIn("ca-file /none: cannot be read", self.fault(verify="required", ca_file="/none"))
        fault = self.fault(verify="optional", ca_file=None, ca_verify_file="/none")
        self.assertIn("ca-verify-file /none: cannot be read", fault)
        self.assertIn("crl-file /none: cannot be read", self.fault(verify="required", crl_file="/none"))
        path = self.file("x.pem", self.ours.authority.certificate_pem)
        self.assertIn(f"crl-file {path}: holds no list", self.fault(verify="required", crl_file=path))
        path = self.file("y.pem", b"-----BEGIN X509 CRL-----\nhello\n-----END X509 CRL-----\n")
        self.assertIn(f"crl-file {path}: cannot be decoded", self.fault(verify="required", crl_file=path))
        self.assertIn("ca-file /none: cannot be read", self.fault(ca_file="/none"))  # though nobody asks for it

    def test_lists_for_openssl(self) -> None:
        """Ciphers, suites, curves and algorithms that it does not know."""
        self.assertIn("ciphers NONSENSE: no cipher match", self.fault(ciphers="NONSENSE"))
        self.assertIn("ciphersuites NONSENSE: ", self.fault(ciphersuites="NONSENSE"))
        self.assertIn("curves NONSENSE: OpenSSL does not know", self.fault(curves="NONSENSE"))
        self.assertIn("sigalgs NONSENSE: OpenSSL does not know", self.fault(sigalgs="NONSENSE"))
        self.assertIn("client-sigalgs NONSENSE: OpenSSL does not know", self.fault(client_sigalgs="NONSENSE"))
        self.assertIn("no usable DH parameters", self.fault(dh_file=self.crt))
        good = offer(
            ciphers="ECDHE+AES256", ciphersuites="TLS_AES_128_GCM_SHA256", curves="X25519:P-256", sigalgs="ECDSA+SHA256"
        )
        Certificates.load([Certificate(self.crt, good)], False)

    def test_algorithms_of_clients_are_those_of_both_sides(self) -> None:
        """OpenSSL's own list, and any for clients that are not asked for a certificate."""
        ours = {"ca_file": self.ours.ca_file, "client_sigalgs": "ECDSA+SHA256"}
        for verify in ("optional", "required"):
            for sigalgs in (None, "ECDSA+SHA384"):
                fault = self.fault(verify=verify, sigalgs=sigalgs, **ours)
                self.assertIn("client-sigalgs ECDSA+SHA256: reusedproxy has no algorithms for clients alone", fault)
            good = offer(verify=verify, sigalgs="ECDSA+SHA256", **ours)
            Certificates.load([Certificate(self.crt, good)], False)
        Certificates.load([Certificate(self.crt, offer(client_sigalgs="ECDSA+SHA256"))], False)

    def test_a_fault_leaves_nothing_in_openssls_queue(self) -> None:
        """It would be taken for an error of the next connection."""
        for fields in (
            {"curves": "X"},
            {"sigalgs": "X"},
            {"client_sigalgs": "X"},
            {"ciphers": "X"},
            {"ciphersuites": "X"},
        ):
            self.fault(**fields)
            self.assertEqual(_util.lib.ERR_peek_error(), 0, fields)


class CipherTests(SynchronousTestCase):
    """What is served of TLS 1.2 when nothing is said."""

    def accepted(self, offered: str, credential: Credential, parameters: bytes = b"", **fields: object) -> bool:
        shaker = Shaker(self, Loop(self), offer(**fields))
        path = shaker.folder / "crt.pem"
        path.write_bytes(credential.pem + parameters)
        shaker.certificates = Certificates.load([Certificate(str(path), shaker.terms)], False)
        far = shaker.client(client_tls(version=TLS12, ciphers=offered))
        far.drop()
        return far.handshaken

    def test_forward_secrecy_and_aead(self) -> None:
        """Neither RSA key exchange nor CBC; DHE where there are parameters; and what is said counts."""
        rsa_server = certificates().authority.issue("server.test", key="rsa")
        content = bytes.fromhex("3082010802820101") + FFDHE2048.to_bytes(257, "big") + b"\x02\x01\x02"
        pem = b"-----BEGIN DH PARAMETERS-----\n" + encodebytes(content) + b"-----END DH PARAMETERS-----\n"
        for ciphers in ("ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"):
            self.assertTrue(self.accepted(ciphers, rsa_server), ciphers)
            self.assertTrue(self.accepted(ciphers.replace("RSA", "ECDSA"), certificates().server), ciphers)
        for ciphers in ("AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256", "ECDHE-RSA-AES256-SHA"):
            self.assertFalse(self.accepted(ciphers, rsa_server), ciphers)
            self.assertTrue(self.accepted(ciphers, rsa_server, ciphers="DEFAULT"), ciphers)
        dhe = "DHE-RSA-AES128-GCM-SHA256"
        self.assertFalse(self.accepted(dhe, rsa_server))
        self.assertTrue(self.accepted(dhe, rsa_server, pem))
        self.assertFalse(self.accepted(dhe, rsa_server, pem, ciphers="ECDHE+AESGCM"))
        self.assertTrue(self.accepted(dhe, rsa_server, dh_size=4096))
        self.assertTrue(self.accepted(dhe, rsa_server, dh_size=1024, ciphers="DHE+AESGCM"))
        self.assertFalse(self.accepted(dhe, rsa_server, dh_size=2048, ciphers="ECDHE+AESGCM"))

    def group(self, offered: str, version: int, **fields: object) -> str:
        """By which keys were exchanged with a client that offers these; "" for none."""
        context = client_tls(version=version)
        self.assertTrue(set_groups(context, offered))
        far = Shaker(self, Loop(self), offer(**fields)).client(context)
        far.drop()
        return str(far.tls.get_group_name()).lower() if far.handshaken else ""

    def test_groups_are_mozillas_with_the_hybrid_first(self) -> None:
        """Unless `curves` says others. Without ML-KEM in OpenSSL, the same without it."""
        self.assertEqual(self.group("X25519MLKEM768:X25519", TLS13), "x25519mlkem768")
        # A client that has no key for it ready is not made to ask once more.
        self.assertEqual(self.group("X25519:X25519MLKEM768", TLS13), "x25519")
        for version in (TLS12, TLS13):
            self.assertEqual(self.group("X448:secp521r1:secp384r1:prime256v1", version)[:4], "secp")
            self.assertEqual(self.group("X448:secp521r1", version), "")
        self.assertEqual(self.group("prime256v1:X25519", TLS12), "x25519")
        self.assertEqual(self.group("X448", TLS13, curves="X448"), "x448")
        real = set_groups
        said: list[str] = []

        def old_openssl(context: SSL.Context, names: str) -> bool:
            said.append(names)
            return "MLKEM" not in names and real(context, names)

        self.patch(tls_server, "set_groups", old_openssl)
        self.assertEqual(self.group("X25519", TLS13), "x25519")
        self.assertEqual(said[1], "X25519:prime256v1:secp384r1")

    def test_clients_certificates_may_have_keys_of_p_521(self) -> None:
        """Which are on no list for the exchange, but in TLS 1.2 OpenSSL takes both from one."""
        authority = certificates().authority
        key = ec.generate_private_key(ec.SECP521R1())
        with mock.patch("cryptography.hazmat.primitives.asymmetric.ec.generate_private_key", lambda curve: key):
            credential = authority.issue("big", client=True, key="ecdsa")
        self.assertIs(credential.key, key)
        for version in (TLS12, TLS13):
            far = Shaker(self, Loop(self), offer(verify="required")).client(client_tls(credential, version=version))
            self.assertTrue(far.handshaken, version)

    def test_groups_for_dhe_are_those_of_rfc_7919(self) -> None:
        """The first is compared with its digits in appendix A.1; all are safe primes of their size."""
        for size in dh_groups.SIZES:
            (der,) = re.findall(rb"-----\n(.*?)-----", dh_groups.parameters(size), re.DOTALL)
            content = decodebytes(der)
            prime = int.from_bytes(content[-size // 8 - 3 : -3], "big")
            self.assertEqual((prime.bit_length(), content[-3:]), (size, b"\x02\x01\x02"))
            if size < 4096:
                self.assertEqual((pow(2, prime - 1, prime), pow(2, prime // 2 - 1, prime // 2)), (1, 1), size)
        self.assertIn(FFDHE2048.to_bytes(256, "big"), decodebytes(dh_groups.parameters(2048).split(b"-----")[2]))
        self.assertEqual([dh_groups.size_for(bits) for bits in (1, 2048, 2049, 9999)], [2048, 2048, 3072, 8192])
