"""Chains of converters that nobody has written: random ones, through reusedproxy and through HAProxy."""

from __future__ import annotations

import random

from reusedproxy.config.language.report import Wrong
from reusedproxy.config.rules.expressions import read_expression
from tests.integration.test_rules_beside_haproxy import EMPTY_BACKEND, BesideTestCase, escaped

REQUEST = b"GET /a/B:c?x=1%20&y=a+b HTTP/1.1\r\nHost: App.Example:8443\r\nCookie: c=v\r\nX: 1.2.3.4\r\n"
BEFORE = """\
    http-request set-var(txn.b) bin(61006200ff)
    http-request set-var(txn.s) str(12aBc)
    http-request set-var(txn.i) int(-5)
"""
VARIABLES = ("txn.b", "txn.s", "txn.i", "txn.none")
FETCHES = ("path", "query", "url", "req.hdr(host)", "req.hdr(x)", "url_param(x)", "urlp(y)", "req.cook(c)")
ADDRESSES = (
    "ipv4(10.1.2.3)",
    "ipv4(255.0.0.1)",
    "ipv6(::1)",
    "ipv6(::ffff:1.2.3.4)",
    "ipv6(2001:db8:0:0:1::)",
    "ipv6(1:0:0:2:0:0:0:3)",
)
NUMBERS = (0, 1, -1, 7, -300, 2**31, 2**32, 2**62, -(2**62), 1700000000)
PLAIN = [
    "hex",
    "base64",
    "ub64enc",
    "b64dec",
    "ub64dec",
    "hex2i",
    "lower",
    "upper",
    "host_only",
    "url_dec",
    "url_dec(1)",
    "url_enc",
    "length",
    "sha1",
    "crc32",
    "crc32(1)",
    "not",
    "bool",
    "odd",
    "even",
    "cpl",
    "neg",
]
PATTERNS = ("a", "[a-z]", "b*", "x?", ".", "^.", "(.)(.)", "[0-9]+", "a|B", " ", "[:/]")
REPLACEMENTS = ("", "-", r"<\0>", r"\2\1", r"\x41", r"\\", r"\-", r"a\9")
LETTERS = "aBc1290-+. ,/:;=%?&_~[]xFf"


class Chains:
    """Makes expressions. Left out is what HAProxy 2.x and 3.x see differently: words that are not there, the truth's
    bits after arithmetic (it stays a truth there), subtraction (2.6 overflows below 0),
    IPv6 addresses that ipmask takes for IPv4, and ports that are no number."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def text(self, most: int) -> str:
        return "'" + "".join(self.random.choice(LETTERS) for _ in range(self.random.randrange(most))) + "'"

    def sample(self) -> str:
        pick = self.random.choice
        kind = self.random.randrange(6)
        if kind == 0:
            return f"str({self.text(12)})"
        if kind == 1:
            return (
                f"bin({bytes(pick(bytes((0, 1, 65, 128, 255, 97))) for _ in range(self.random.randrange(1, 9))).hex()})"
            )
        if kind == 2:
            return f"int({pick(NUMBERS)})"
        if kind == 3:
            return pick(ADDRESSES)
        return f"var({pick(VARIABLES)})" if kind == 4 else pick(FETCHES)

    def converter(self) -> str:
        pick = self.random.choice
        operand = pick((pick(NUMBERS), pick(NUMBERS), pick(VARIABLES)))
        counted = f"{pick(('/', ':', '.', 'a', 'B', '_-', '1', '=&'))}{pick(('', ',0', ',2', ',3', ',-1'))}"
        return pick(
            (
                pick(PLAIN),
                pick(PLAIN),
                f"field({pick((1, 2, 3, -1, -2, -3))},{counted})",
                f"ltrim({self.text(5)})",
                f"rtrim({self.text(5)})",
                f"regsub('{pick(PATTERNS)}','{pick(REPLACEMENTS)}'{pick(('', ',g', ',i', ',gi'))})",
                f"concat({self.text(3)},{pick(('', *VARIABLES))},{self.text(3)})",
                f"strcmp({pick(VARIABLES)})",
                f"secure_memcmp({pick(VARIABLES)})",
                f"bytes({self.random.randrange(6)}{pick(('', ',1', ',3', ',20'))})",
                f"sha2({pick((224, 256, 384, 512))})",
                f"digest({pick(('md5', 'sha1', 'sha512'))})",
                f"{pick(('add', 'mul', 'div', 'mod', 'and', 'or', 'xor'))}({operand})",
                f"iif({self.text(4)},{self.text(4)})",
            )
        )

    def expression(self) -> str:
        """One that we take; what HAProxy refuses of these would keep it from starting."""
        while True:
            text = ",".join([self.sample(), *(self.converter() for _ in range(self.random.randrange(1, 5)))])
            text += self.random.choice(("", ",hex"))
            # A truth stays one in HAProxy's arithmetic, and a `#` in quotes is none of this test's affairs.
            truths = ("not", "bool", "odd", "even", "secure_memcmp")
            if any(f",{each}" in text for each in truths) and text.endswith(",hex"):
                continue
            try:
                read_expression(text, "here")
            except Wrong:
                continue
            return text


class ChainsBesideHAProxyTests(BesideTestCase):
    """The same chains every time."""

    def test_random_chains(self) -> None:
        """What comes out, and whether anything does."""
        chains = Chains(seed=11)
        texts = [chains.expression() for _ in range(400)]
        rules = "".join(
            f'    http-request return status 200 content-type text/plain lf-string "<%[{escaped(text)}]>"'
            f' if {{ req.hdr(x-case) -m str {number} }} {{ "{escaped(text)}" -m found }}\n'
            for number, text in enumerate(texts)
        )
        requests = [REQUEST + b"X-Case: %d\r\n\r\n" % number for number in range(len(texts))]
        outcomes = self.both(BEFORE + rules + EMPTY_BACKEND, requests)
        different = [(text, *pair) for text, pair in zip(texts, outcomes, strict=True) if pair[0] != pair[1]]
        self.assertEqual([], different, "ours | HAProxy's")
        self.assertGreater(sum(ours != b"no" for ours, _ in outcomes), 200)
