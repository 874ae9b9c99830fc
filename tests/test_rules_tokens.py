"""Tokens, JSON and dates in converters. What HAProxy makes of them is beside it; here is what they refuse."""

from __future__ import annotations

import hmac
import json
import os
from base64 import b64decode, b64encode, urlsafe_b64encode
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.rules.expressions import read_expression
from reusedproxy.config.rules.json_paths import read_path
from reusedproxy.config.rules.token_keys import read_key
from reusedproxy.rules.samples.compile import compiled
from reusedproxy.rules.samples.json_paths import find
from reusedproxy.rules.samples.tokens import FAILED, INVALID_TOKEN, UNKNOWN_ALGORITHM, UNKNOWN_KEY, VERIFIED, verified
from tests.rulefakes import Seen

RSA, CURVE = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())
HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab.[\\", min_size=1), inner, max_size=4),
    max_leaves=12,
)


def encoded(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


MESSAGE = encoded(b'{"alg":"any"}') + b"." + encoded(b'{"sub":"me"}')


def by_curve(message: bytes) -> bytes:
    one, other = decode_dss_signature(CURVE.sign(message, ec.ECDSA(hashes.SHA256())))
    return one.to_bytes(32, "big") + other.to_bytes(32, "big")


SIGNATURES = {
    "HS256": hmac.new(b"secret", MESSAGE, "sha256").digest(),
    "RS256": RSA.sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256()),
    "PS256": RSA.sign(MESSAGE, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()),
    "ES256": by_curve(MESSAGE),
}
KEYS = {"HS256": None, "RS256": RSA.public_key(), "PS256": RSA.public_key(), "ES256": CURVE.public_key()}


class TokenTests(SynchronousTestCase):
    def test_a_signature_counts_for_its_own_algorithm_only(self) -> None:
        for signed, signature in SIGNATURES.items():
            for algorithm, key in KEYS.items():
                token = MESSAGE + b"." + encoded(signature)
                result = verified(token, algorithm, b"secret", key)
                self.assertEqual(result == VERIFIED, signed == algorithm, (signed, algorithm, result))

    def test_a_token_does_not_choose_to_need_no_key(self) -> None:
        """Where its algorithm is in a variable, it says `none`, or that a file's name is its secret."""
        for secret in (b"", b"/etc/key.pem"):
            self.assertEqual(verified(MESSAGE + b".", "none", secret, None), FAILED)
        signature = hmac.new(b"/etc/key.pem", MESSAGE, "sha256").digest()
        token = MESSAGE + b"." + encoded(signature)
        self.assertEqual(verified(token, "HS256", b"/etc/key.pem", KEYS["RS256"]), FAILED)
        self.assertEqual(verified(token, "HS256", b"/etc/key.pem", None), VERIFIED)

    def test_an_empty_secret_verifies_none(self) -> None:
        """As of a header, a map or the environment that says nothing: anybody could sign with it."""
        for secret, found in ((b"secret", VERIFIED), (b"", None), (None, None)):
            token = MESSAGE + b"." + encoded(hmac.new(secret or b"", MESSAGE, "sha256").digest())
            facts: Any = SimpleNamespace(variable=lambda name, secret=secret: secret)
            verify = compiled(read_expression(f"str({token.decode()}),jwt_verify(HS256,txn.k)", "here"))
            self.assertEqual(verify(facts), found, secret)

    def test_a_changed_message_is_not_verified(self) -> None:
        for algorithm, key in KEYS.items():
            token = MESSAGE.replace(b"e", b"f", 1) + b"." + encoded(SIGNATURES[algorithm])
            self.assertEqual(verified(token, algorithm, b"secret", key), FAILED, algorithm)

    def test_what_is_no_token_of_three_parts_or_has_no_key_says_so(self) -> None:
        good = MESSAGE + b"." + encoded(SIGNATURES["RS256"])
        for token, algorithm, key, result in (
            (b"", "HS256", None, INVALID_TOKEN),
            (MESSAGE, "HS256", None, INVALID_TOKEN),
            (MESSAGE + b".", "HS256", None, INVALID_TOKEN),
            (good + b".x", "RS256", KEYS["RS256"], INVALID_TOKEN),
            (MESSAGE + b".!", "RS256", KEYS["RS256"], INVALID_TOKEN),
            (good + b"=", "RS256", KEYS["RS256"], INVALID_TOKEN),  # RFC 7515 section 2: one token has one spelling
            (good + b"==", "RS256", KEYS["RS256"], INVALID_TOKEN),
            (MESSAGE + b"." + encoded(b"x" * 63), "ES256", KEYS["ES256"], INVALID_TOKEN),
            (good, "RS256", None, UNKNOWN_KEY),
            (good, "rs256", KEYS["RS256"], UNKNOWN_ALGORITHM),
        ):
            self.assertEqual(verified(token, algorithm, b"secret", key), result, (token, algorithm))

    def test_a_key_is_read_with_the_configuration_and_its_faults_have_words(self) -> None:
        with TemporaryDirectory() as directory:
            path = Path(directory) / "key.pem"
            path.write_bytes(RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
            self.assertEqual(read_key(str(path)), RSA.public_key())
            (Path(directory) / "other.pem").write_text("no key")
            os.mkfifo(Path(directory) / "pipe")
            for call, words in (
                (f"jwt_verify(RS256,{directory}/none.pem)", "cannot read the public key"),
                (f"jwt_verify(RS256,{directory}/pipe)", "it is no regular file"),
                (f"jwt_verify(RS256,{directory}/other.pem)", "no public key and no certificate"),
                ("jwt_verify(none,x)", "without a signature is let in"),
                ("jwt_verify(RS257,x)", "did you mean 'RS256'"),
                ("json_query(a)", "begins with '$'"),
                ("json_query('$.')", "is no JSON path"),
                ("json_query('$.a',str)", "gives a number with 'int'"),
                ("be2dec(:,9)", "1 to 8 bytes"),
                ("has_ctl(0x3ffffffff)", "mask of 33 bits"),
                ("aes_gcm_dec(127,AA==,AA==,AA==)", "128, 192 or 256"),
                ("aes_gcm_enc(128,AA==,AA==,AA==)", "sets a variable"),
                ("rfc7239_field(to)", "proto, host, for or by"),
                ("add_item(-)", "a variable or a text"),
                ("param(a,xy)", "one character"),
                ("language(;)", "needs languages"),
            ):
                with self.assertRaises(Wrong) as caught:
                    read_expression(f"str(x),{call}", "here")
                self.assertIn(words, str(caught.exception), call)

    def test_what_is_sealed_is_opened_again_and_nothing_else_is(self) -> None:
        facts = Seen(HEAD)
        nonce, key = b64encode(b"n" * 12).decode(), b64encode(b"k" * 16).decode()
        sealed = compiled(read_expression(f"str(hello),aes_gcm_enc(128,{nonce},{key},txn.tag)", "here"))(facts)
        assert isinstance(sealed, bytes)
        tag = facts.variable("txn.tag")
        assert isinstance(tag, bytes)
        self.assertEqual(len(b64decode(tag)), 16)
        opening = f"bin({sealed.hex()}),aes_gcm_dec(128,{nonce},{key},txn.tag)"
        self.assertEqual(compiled(read_expression(opening, "here"))(facts), b"hello")
        facts.set_variable("txn.tag", b64encode(b"x" * 16))
        self.assertIsNone(compiled(read_expression(opening, "here"))(facts))


class JSONTests(SynchronousTestCase):
    @given(VALUES, st.lists(st.text("ab.[\\", min_size=1) | st.integers(0, 4), max_size=3), st.sampled_from([None, 1]))
    def test_a_path_leads_where_it_leads_in_the_object(
        self, value: object, steps: list[str | int], indent: int | None
    ) -> None:
        path, expected = "$", value
        for step in steps:
            try:
                expected = None if isinstance(expected, str) else expected[step]  # type: ignore[index]
            except (TypeError, LookupError):
                expected = None
            if isinstance(step, int):
                path += f"[{step}]"
            else:  # keys are compared as they are written
                path += "." + "".join(f"\\{sign}" for sign in json.dumps(step)[1:-1])
        found = find(json.dumps(value, indent=indent).encode(), read_path(path))
        self.assertEqual(None if found is None else json.loads(found), expected, path)

    def test_of_equal_keys_the_first_counts(self) -> None:
        """Otherwise a rule and HAProxy's would see different roles in one token."""
        self.assertEqual(find(b'{"role":"guest","role":"admin"}', read_path("$.role")), b'"guest"')

    def test_a_deep_or_endless_text_has_nothing(self) -> None:
        """And that is known in one pass: with one for each quote, this would last for minutes."""
        quotes = (b'{"b":[' + b'"\\' * 200_000, b'{"b":[' + b'\\"' * 200_000 + b"]}")
        deep = (b"[" * 100_000, b'{"a":' * 50_000, b'{"b":' + b"[" * 21 + b"]" * 21 + b',"a":1}')
        for text in (*quotes, *deep, b'{"a":"', b"{"):
            self.assertIsNone(find(text, read_path("$.a")), text[:20])
