"""Encrypted tokens (RFC 7516) and AES: what is decrypted, and that nothing is that was changed or is for other keys."""

from __future__ import annotations

import hmac
import json
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP, PKCS1v15
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.padding import PKCS7
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.rules.expressions import read_expression
from reusedproxy.config.rules.token_keys import read_jwk
from reusedproxy.rules.facts import Binary, Sample
from reusedproxy.rules.samples import encrypted_tokens
from reusedproxy.rules.samples.compile import compiled
from reusedproxy.rules.samples.encrypted_tokens import decrypted
from tests.integration.peers import temporary_directory
from tests.rulefakes import Seen

#: RFC 7516, appendix A.3.
KEY = b'{"kty":"oct","k":"GawgguFyGrWKav7AX4VKUg"}'
TOKEN = (
    b"eyJhbGciOiJBMTI4S1ciLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0.6KB707dM9YTIgHtLvtgWQ8mKwboJW3of9locizkDTHzBC2IlrT1oOQ"
    b".AxY8DCtDaGlsbGljb3RoZQ.KDlTtXchhZTGufMYmOYGS4HffxPSUrfmqCHXaI9wOGY.U0m_YmjN04DJvceFICbCVQ"
)
PROSPER = b"Live long and prosper."
#: RFC 7518, appendix C: Bob's key, what Alice sends, and the key that both derive of it.
BOB = {
    "kty": "EC",
    "crv": "P-256",
    "x": "weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ",
    "y": "e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck",
    "d": "VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw",
}
ALICE = {
    "alg": "ECDH-ES",
    "enc": "A128GCM",
    "apu": "QWxpY2U",
    "apv": "Qm9i",
    "epk": {
        "kty": "EC",
        "crv": "P-256",
        "x": "gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0",
        "y": "SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps",
    },
}
DERIVED = urlsafe_b64decode("VqqN6vgjbSBcIijNcacQGg==")
HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def encoded(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def token(header: Mapping[str, object], wrapped: bytes, key: bytes, plain: bytes = b"secret") -> bytes:
    """A token whose content is encrypted by `key` as its header says."""
    first, vector = encoded(json.dumps(header).encode()), b"v" * (12 if "GCM" in str(header["enc"]) else 16)
    if "GCM" in str(header["enc"]):
        sealed = AESGCM(key).encrypt(vector, plain, first)
        sealed, tag = sealed[:-16], sealed[-16:]
    else:
        half = len(key) // 2
        padder, cipher = PKCS7(128).padder(), Cipher(AES(key[half:]), CBC(vector)).encryptor()
        sealed = cipher.update(padder.update(plain) + padder.finalize()) + cipher.finalize()
        signed = first + vector + sealed + (8 * len(first)).to_bytes(8, "big")
        tag = hmac.new(key[:half], signed, f"sha{len(key) * 8}").digest()[:half]
    return b".".join((first, *map(encoded, (wrapped, vector, sealed, tag))))


def asked(text: str, sample: bytes, **variables: bytes) -> Sample:
    facts = Seen(HEAD)
    facts.variables["txn.t"] = sample
    facts.variables.update({f"txn.{name}": value for name, value in variables.items()})
    return compiled(read_expression(f"var(txn.t),{text}", "here"))(facts)


class DecryptionTests(SynchronousTestCase):
    def test_the_example_of_the_rfc(self) -> None:
        self.assertEqual(decrypted(TOKEN, read_jwk(KEY)), PROSPER)
        secret = b64encode(urlsafe_b64decode("GawgguFyGrWKav7AX4VKUg==")).decode()
        self.assertEqual(asked(f"jwt_decrypt_secret({secret})", TOKEN), PROSPER)
        self.assertIsInstance(asked("jwt_decrypt_secret(txn.k)", TOKEN, k=secret.encode()), Binary)
        self.assertEqual(asked("jwt_decrypt_jwk(txn.k)", TOKEN, k=KEY), PROSPER)
        self.assertIsNone(asked("jwt_decrypt_jwk(txn.k)", TOKEN, k=b"{"))
        self.assertIsNone(asked("jwt_decrypt_jwk(txn.none)", TOKEN))

    def test_a_key_in_a_variable_is_read_once(self) -> None:
        """To read one takes longer than some hundred requests, and only what may be a token is worth it."""
        read: list[bytes] = []
        self.patch(encrypted_tokens, "read_jwk", lambda text: read.append(text) or read_jwk(text))  # type: ignore[func-returns-value]
        convert = compiled(read_expression("var(txn.t),jwt_decrypt_jwk(txn.k)", "here"))
        facts = Seen(HEAD)
        for sample, key, found in (
            (b"a", KEY, None),
            (TOKEN, KEY, PROSPER),
            (TOKEN, b"{", None),
            (TOKEN, KEY, PROSPER),
            (TOKEN, b"{", None),
        ):
            facts.variables.update({"txn.t": sample, "txn.k": key})
            self.assertEqual(convert(facts), found)
        self.assertEqual(read, [KEY, b"{"])

    def test_nothing_that_was_changed_is_decrypted(self) -> None:
        key = read_jwk(KEY)
        for number, part in enumerate(parts := TOKEN.split(b".")):
            for changed in (part[:-2] + (b"AA" if part[-2:] != b"AA" else b"BB"), b"", part + b"AA", b"!"):
                self.assertIsNone(decrypted(b".".join([*parts[:number], changed, *parts[number + 1 :]]), key), changed)
        for text in (b"", b"a.b.c", TOKEN + b".x", b"." * 4, encoded(b"[" * 5000) + b"....", encoded(b"[]") + b"...."):
            self.assertIsNone(decrypted(text, key), text)

    def test_algorithms_of_secrets(self) -> None:
        for size in (16, 24, 32):
            secret, content = b"s" * size, b"c" * 32
            for enc, key in (("A128CBC-HS256", content), ("A256GCM", content), ("A192CBC-HS384", b"c" * 48)):
                wrapped = aes_key_wrap(secret, key)
                header: dict[str, object] = {"alg": f"A{size * 8}KW", "enc": enc}
                self.assertEqual(decrypted(token(header, wrapped, key), secret), b"secret")
                self.assertIsNone(decrypted(token(header, wrapped, key), b"s" * (size - 8)))
                self.assertIsNone(decrypted(token(header, wrapped, key), b"x" * size))
            sealed = AESGCM(secret).encrypt(b"i" * 12, content, None)
            header = {"alg": f"A{size * 8}GCMKW", "enc": "A256GCM", "iv": encoded(b"i" * 12).decode()}
            header["tag"] = encoded(sealed[-16:]).decode()
            self.assertEqual(decrypted(token(header, sealed[:-16], content), secret), b"secret")
            header["tag"] = encoded(sealed[-16:-8]).decode()  # a part of it would be easier to find
            self.assertIsNone(decrypted(token(header, sealed[:-16], content), secret))
            header["tag"] = 5
            self.assertIsNone(decrypted(token(header, sealed[:-16], content), secret))
        direct = token({"alg": "dir", "enc": "A128GCM"}, b"", b"s" * 16)
        self.assertEqual(decrypted(direct, b"s" * 16), b"secret")
        self.assertIsNone(decrypted(direct, b"s" * 32))
        self.assertIsNone(decrypted(token({"alg": "dir", "enc": "A128GCM"}, b"x", b"s" * 16), b"s" * 16))

    def test_what_a_header_asks_for_and_is_not_done_is_refused(self) -> None:
        for more in ({"crit": ["exp"]}, {"zip": "DEF"}, {"enc": "A128CTR"}, {"alg": "PBES2-HS256+A128KW"}, {"alg": 1}):
            said = {"alg": "dir", "enc": "A128GCM", **more}
            made = token({**said, "enc": "A128GCM"}, b"", b"s" * 16)
            first = encoded(json.dumps(said).encode())
            sealed = AESGCM(b"s" * 16).encrypt(b"v" * 12, b"secret", first)
            parts = [first, b"", encoded(b"v" * 12), encoded(sealed[:-16]), encoded(sealed[-16:])]
            self.assertIsNone(decrypted(b".".join(parts), b"s" * 16), more)
            self.assertEqual(made.count(b"."), 4)

    def test_an_agreement_derives_the_key_of_the_rfc(self) -> None:
        key = read_jwk(json.dumps(BOB).encode())
        self.assertEqual(decrypted(token(ALICE, b"", DERIVED), key), b"secret")
        for changed in ({"apu": "Qm9i"}, {"epk": None}, {"epk": {**BOB, "y": BOB["x"]}}, {"epk": {"crv": "P-521"}}):
            self.assertIsNone(decrypted(token({**ALICE, **changed}, b"", DERIVED), key), changed)
        self.assertIsNone(decrypted(token(ALICE, b"x", DERIVED), key))
        self.assertIsNone(decrypted(token({"alg": "dir", "enc": "A128GCM"}, b"", b"s" * 16), key))

    def test_an_agreement_may_wrap_the_key(self) -> None:
        key = ec.generate_private_key(ec.SECP384R1())
        theirs = ec.generate_private_key(ec.SECP384R1())
        point = theirs.public_key().public_numbers()
        x, y = (encoded(number.to_bytes(48, "big")).decode() for number in (point.x, point.y))
        header = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM", "epk": {"kty": "EC", "crv": "P-384", "x": x, "y": y}}
        more = b"\0\0\0\x0e" + b"ECDH-ES+A256KW" + b"\0" * 8 + (256).to_bytes(4, "big")
        shared = theirs.exchange(ec.ECDH(), key.public_key())
        digest = hashes.Hash(hashes.SHA256())
        digest.update(b"\0\0\0\1" + shared + more)
        made = token(header, aes_key_wrap(digest.finalize(), b"c" * 32), b"c" * 32)
        self.assertEqual(decrypted(made, key), b"secret")
        self.assertIsNone(decrypted(made, ec.generate_private_key(ec.SECP384R1())))

    def test_a_certificates_file(self) -> None:
        """Whose key opens what RSA-OAEP has encrypted; nothing of the older padding, whose faults tell too much."""
        key = rsa.generate_private_key(65537, 2048)
        path = Path(temporary_directory(self)) / "key.pem"
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        path.write_bytes(key.private_bytes(*form))
        for name, chosen in (("RSA-OAEP", hashes.SHA1()), ("RSA-OAEP-256", hashes.SHA256())):
            wrapped = key.public_key().encrypt(b"c" * 32, OAEP(MGF1(chosen), chosen, None))
            made = token({"alg": name, "enc": "A256GCM"}, wrapped, b"c" * 32)
            self.assertEqual(asked(f"jwt_decrypt_cert({path})", made), b"secret", name)
        old = token({"alg": "RSA1_5", "enc": "A256GCM"}, key.public_key().encrypt(b"c" * 32, PKCS1v15()), b"c" * 32)
        self.assertIsNone(asked(f"jwt_decrypt_cert({path})", old))
        numbers = key.private_numbers()
        said = {"n": numbers.public_numbers.n, "e": numbers.public_numbers.e, "d": numbers.d, "p": numbers.p}
        said |= {"q": numbers.q, "dp": numbers.dmp1, "dq": numbers.dmq1, "qi": numbers.iqmp}
        jwk = {name: encoded(value.to_bytes(256, "big")).decode() for name, value in said.items()}
        self.assertEqual(decrypted(made, read_jwk(json.dumps({"kty": "RSA", **jwk}).encode())), b"secret")

    def test_keys_that_are_none_are_refused(self) -> None:
        for text, why in (
            ("jwt_decrypt_cert(/none)", "'jwt_decrypt_cert': cannot read the private key /none: No such file"),
            ("jwt_decrypt_cert(/dev/null)", "it is no regular file"),
            ("jwt_decrypt_secret(?)", "takes a secret in base64, or a variable"),
            ("jwt_decrypt_jwk('{')", "the key is no JSON"),
            ("jwt_decrypt_jwk(5)", "the key is no JSON object"),
            ('jwt_decrypt_jwk(\'{"kty":"oct"}\')', "the key lacks numbers"),
            ('jwt_decrypt_jwk(\'{"kty":"OKP"}\')', "the key is none of oct, EC"),
            ('jwt_decrypt_jwk(\'{"kty":"EC","crv":"X"}\')', "the key is none of oct, EC"),
        ):
            with self.assertRaises(Wrong, msg=text) as raised:
                read_expression(f"str(x),{text}", "here")
            self.assertIn(why, str(raised.exception), text)


class AESTests(SynchronousTestCase):
    """`aes_cbc_…`, by an example of NIST (SP 800-38A, F.2.1), whose block has no padding: one more follows."""

    def test_it_is_aes_cbc(self) -> None:
        key, vector = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"), bytes(range(16))
        plain, sealed = "6bc1bee22e409f96e93d7e117393172a", "7649abac8119b246cee98e9b12e9197d"
        said = f"128,{b64encode(vector).decode()},{b64encode(key).decode()}"
        made = asked(f"aes_cbc_enc({said})", bytes.fromhex(plain))
        assert isinstance(made, Binary)
        self.assertEqual((len(made), made[:16].hex()), (32, sealed))
        self.assertEqual(asked(f"aes_cbc_dec({said})", made), bytes.fromhex(plain))

    def test_what_does_not_fit_has_no_result(self) -> None:
        vector, key = b64encode(b"v" * 16), b64encode(b"k" * 32)
        for bits, said in ((128, vector), (256, b"?")):
            self.assertIsNone(asked(f"aes_cbc_enc({bits},txn.v,txn.k)", b"x", v=said, k=key), (bits, said))
        filled, short = b64encode(b"v" * 8 + bytes(8)), b64encode(b"v" * 8)
        made = [asked("aes_cbc_enc(256,txn.v,txn.k)", b"x", v=each, k=key) for each in (filled, short)]
        self.assertEqual(made[0], made[1])
        for data in (b"", b"x" * 15, b"x" * 16):
            self.assertIsNone(asked("aes_cbc_dec(256,txn.v,txn.k)", data, v=vector, k=key), data)
        for text, why in (("64,a,b", "128, 192 or 256 bits"), ("128,?,b", "takes base64 or variables")):
            with self.assertRaisesRegex(Wrong, why):
                read_expression(f"str(x),aes_cbc_dec({text})", "here")
