"""
Rules of `mode tcp`, made up at random, beside HAProxy: whom they let in, what comes to which server, and when.

Each case is a section with some rules, and perhaps a backend with some of its own; a client whose bytes come in pieces,
below the rules' delay or beyond it. The cases are the same each time; others, and more of them, are made with
`RANDOM_STREAMS=<seed>,<number>` in the environment.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from tests.integration.beside import haproxy_version
from tests.integration.streams import BesideTestCase, Scenario
from tests.test_wire_client_hello import hello_of

SEED, CASES = (int(each) for each in os.environ.get("RANDOM_STREAMS", "11,90").split(","))
#: Cases that are played at once: as many as there are ports for.
AT_ONCE = 90
TABLE = "stick-table type string size 100 store conn_cur"
DELAY = "inspect-delay 800ms"
#: What a client may say; what rules look for is in it, or nearly.
CONTENTS = (
    b"hello",
    b"evil one",
    b"e",
    b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    b"GET /adm HTTP/1.1\r\nhost: b\r\n\r\n",
    b"GET /adm HTTP/1.1\r\nhost: b\r\n",
    b"POST /form HTTP/1.0\r\n\r\nabc",
    hello_of(b"a.example"),
    hello_of(b"b.example"),
    b"\0\5abcdefg",
)
#: {n} is a small number, {text} one of TEXTS.
CRITERIA = (
    "req.len gt {n}",
    "req.len lt {n}",
    "req.payload(0,4) -m str {text}",
    "req.payload(0,0) -m sub {text}",
    "req.payload({n},1) -m found",
    "req.payload(0,0),length ge {n}",
    "req.payload_lv(0,2) -m beg ab",
    "req.ssl_hello_type 1",
    "req.ssl_sni -i b.example",
    "path_beg /adm",
    "req.hdr(host) b",
    "method POST",
    "src 127.0.0.0/8",
    "src 192.0.2.1",
    "var(sess.n) -m int gt {n}",
    "var(sess.text) -m str {text}",
    "var(sess.text) -m found",
    "wait_end",
    "always_true",
)
TEXTS = ("hell", "evil", "GET", "e")
ACTIONS = (
    "accept",
    "reject",
    "accept",
    "reject",
    "set-var(sess.n) req.len",
    "set-var(sess.text) req.payload(0,4)",
    "set-var(sess.text) str(evil)",
    "unset-var(sess.text)",
    "track-sc1 req.payload(0,2)",
    "set-var(sess.n) sc1_conn_cur",
)


def _condition(random: Random) -> str:
    parts = []
    for number in range(random.choice((1, 1, 2, 3))):
        said = random.choice(CRITERIA).format(n=random.choice((0, 1, 3, 5, 9)), text=random.choice(TEXTS))
        parts += ["or"] if number and random.random() < 0.3 else []
        parts.append(f"{random.choice(('', '', '!'))}{{ {said} }}")
    return f"{random.choice(('if', 'if', 'unless'))} {' '.join(parts)}"


def _rules(random: Random) -> list[str]:
    """Returns the rules of one section. They have a delay: else what they see is a matter of chance."""
    lines = [f"tcp-request {DELAY}"]
    for _ in range(random.choice((1, 2, 3, 4))):
        condition = f" {_condition(random)}" if random.random() < 0.85 else ""
        lines.append(f"tcp-request content {random.choice(ACTIONS)}{condition}")
    return lines


def _steps(random: Random) -> str:
    """Returns what the client does: its pieces, well within the delay or behind it, and perhaps its end. How the proxy
    ends it is not noted: that is an end or a reset as its last bytes were read by then or not."""
    content = random.choice(CONTENTS)
    # A hello that has not come as a whole is refused here, and none in HAProxy (docs/differences.md).
    most = 0 if content[:1] == b"\x16" else random.choice((0, 1, 2))
    cuts = sorted(random.sample(range(1, len(content) + 1), min(len(content), most)))
    pieces = [content[a:b] for a, b in zip((0, *cuts), (*cuts, len(content)), strict=True)]
    steps, waited = ["c.open"], 0.0
    for piece in pieces:
        if random.random() < 0.7 and waited < 0.5:
            wait = 0.25 if random.random() < 0.8 else 1.2
            waited += wait
            steps.append(f"wait={wait}")
        if piece:
            steps.append("c~" + "".join(f"\\x{byte:02x}" for byte in piece))
    if random.random() < 0.2:
        steps += ["wait=0.1", "c.done"]
    return " ".join((*steps, "wait=1.2", "s.got", "t.got"))


def _case(random: Random, name: str) -> Scenario:
    lines, beside = _rules(random), ""
    lines.append(TABLE)
    if random.random() < 0.4:
        lines.append(f"use_backend {{name}}b {_condition(random)}".replace("{ ", "{{ ").replace(" }", " }}"))
        rules = [TABLE, *_rules(random)] if random.random() < 0.6 else []
        beside = "backend {name}b\n server t 127.0.0.1:{t}\n" + _escaped(rules).replace("track-sc1", "track-sc2")
    return Scenario(name, _escaped(lines), _steps(random), beside)


def _escaped(lines: list[str]) -> str:
    """Returns lines as a scenario has them, whose braces are doubled."""
    return "".join(
        f" {line}\n" if "{{" in line or "{name}" in line else f" {line.replace('{', '{{').replace('}', '}}')}\n"
        for line in lines
    )


@pytest.mark.alone
class RandomRulesTests(BesideTestCase):
    def test_both_decide_alike(self) -> None:
        random = Random(SEED)
        cases = {f"case {number}": _case(random, f"case {number}") for number in range(CASES)}
        different: dict[str, str] = {}
        for first in range(0, CASES, AT_ONCE):
            different |= self.differing([*cases.values()][first : first + AT_ONCE])
        said = "\n".join(
            f"{text}\n{cases[name].lines}{cases[name].beside}{cases[name].steps}" for name, text in different.items()
        )
        self.assertEqual(set(different), set(), f"HAProxy {haproxy_version()}:\n{said}")
