"""Why connections end, in a set of words that does not grow with servers and faults."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import reusedproxy
from reusedproxy.net.tls.transport import TLS_FAILED
from reusedproxy.net.tls.words import CertificateRefused
from reusedproxy.net.transport import BROKEN, PEER_CLOSED, PEER_RESET, PEER_TRUNCATED
from reusedproxy.pool import reasons, upkeep
from reusedproxy.pool.reasons import PROXY, SERVER, word_for

#: Said where the word depends on what the connection was at.
DEPENDING = {"timeout server"}


def word(reason: str, by: str = PROXY, idle: bool = False, pinged: bool = False) -> str:
    return word_for(reason, by, idle=idle, pinged=pinged)


class ReasonTests(SynchronousTestCase):
    """One word each."""

    def test_every_reason_in_the_source_has_its_word(self) -> None:
        """A new one is not an error by oversight."""
        found = set()
        package = Path(reusedproxy.__file__).parent
        for path in package.rglob("*.py"):
            if path.relative_to(package).parts[0] in {"pool", "backends", "exchanges", "clients", "daemon"}:
                calls = re.findall(r"(?:retire|give_up|_lose|take_back|drain|pool\.close)\((.*)\)", path.read_text())
                found |= {text for call in calls for text in re.findall(r'"([^"]+)"', call)}
        self.assertIn("purged", found)
        found.discard("pool ")  # and what it is
        self.assertEqual(found - set(reasons._ALWAYS) - DEPENDING, set())
        constants = (reasons.FULL, reasons.ORDERED_DRAIN, reasons.ORDERED_REPLACEMENT, upkeep.AHEAD, upkeep.LIFE_OVER)
        for each in (*constants, upkeep.STOOD, "pool suspended", "pool closed"):
            self.assertIn(each, reasons._ALWAYS)

    def test_every_word_is_one_of_the_set(self) -> None:
        self.assertEqual(set(reasons._ALWAYS.values()) - reasons.WORDS, set())

    def test_a_server_that_is_not_to_be_used(self) -> None:
        for state in ("DOWN", "MAINT", "DRAIN"):
            self.assertEqual(word(f"server {state}"), reasons.DRAIN)

    def test_the_peers_ends(self) -> None:
        """Of an idle connection, or under a request of a client's or of our own."""
        for reason in (PEER_CLOSED, PEER_RESET, PEER_TRUNCATED):
            self.assertEqual(word(reason, SERVER, idle=True), reasons.IDLE)
            self.assertEqual(word(reason, SERVER), reasons.ERROR)
            self.assertEqual(word(reason, SERVER, pinged=True), reasons.PING_FAIL)

    def test_a_refusal_after_the_handshake(self) -> None:
        """TLS 1.3; the same words for anything else are a fault."""
        words = TLS_FAILED + "tlsv1 alert unknown ca"
        for idle in (False, True):
            self.assertEqual(word(CertificateRefused(words), SERVER, idle=idle), reasons.REFUSED_LATE)
        self.assertEqual(word(words, SERVER), reasons.ERROR)

    def test_whatever_a_server_says(self) -> None:
        """Its words never become ours."""
        for reason in ("bad chunk size 'zz'", BROKEN, "timeout server"):
            self.assertEqual(word(reason), reasons.ERROR)
        self.assertEqual(word("timeout server", pinged=True), reasons.PING_FAIL)
