"""What the reader says of HAProxy's words that are not done: each has something to do instead. And those that are
taken, as what they ask for is done in any case, or is the kernel's."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language import haproxy_words
from reusedproxy.config.reader import ConfigurationError, Source, read_configuration
from reusedproxy.config.rules.actions import REQUEST_NOT_DONE, RESPONSE_NOT_DONE
from reusedproxy.config.rules.inspection import NOT_DONE as INSPECTION_NOT_DONE
from reusedproxy.rules.matching import condition

DEFAULTS = "defaults\n mode http\n timeout client 1s\n timeout server 1s\n timeout connect 1s\n"
NOT_DONE = "reusedproxy does not do yet"
#: Actions of rules for connections and sessions, and what stands behind them.
ARRIVALS = (
    *("attach-srv b/s", "capture src len 9", "do-log", "expect-netscaler-cip layer4", "set-dst src", "set-src src"),
    *("set-dst-port int(1)", "set-src-port int(1)"),
)


def section(line: str, bind: str = "", server: str = "") -> str:
    return f"{DEFAULTS}listen l\n bind :80 {bind}\n {line}\n server s 192.0.2.1:1 {server}\n"


def faults(text: str) -> list[str]:
    try:
        read_configuration([Source("t.cfg", text)], {})
    except ConfigurationError as error:
        return [fault.text for fault in error.faults]
    return []


def notices(text: str) -> list[str]:
    return [notice.text for notice in read_configuration([Source("t.cfg", text)], {}).notices]


def words() -> Iterator[str]:
    """Yields a file for each word, where it may stand."""
    yield from (f"global\n {word} 5\n" for word in haproxy_words.GLOBAL)
    yield from (section(f"{word} 5") for word in haproxy_words.PROXY)
    yield from (section(f"option {word}") for word in haproxy_words.OPTIONS)
    yield from (section("", bind=word + " x" * number) for word, number in haproxy_words.BIND.items())
    yield from (section("", server=word + " x" * number) for word, number in haproxy_words.SERVER.items())
    yield from (f"{DEFAULTS}{word} a\n" for word in haproxy_words.SECTIONS)
    yield from (section(f"http-request {action}") for action in REQUEST_NOT_DONE)
    yield from (section(f"http-response {action}") for action in RESPONSE_NOT_DONE)
    yield from (section(f"mode tcp\n tcp-request content {action}") for action in INSPECTION_NOT_DONE)
    yield from (section(f"tcp-request {stage} {action}") for stage in ("connection", "session") for action in ARRIVALS)


class NotDoneTests(SynchronousTestCase):
    def test_each_word_has_something_to_do_instead(self) -> None:
        refused = [fault for text in words() for fault in faults(text) if NOT_DONE in fault]
        self.assertGreater(len(refused), 130)
        self.assertEqual([fault for fault in refused if fault.endswith(NOT_DONE)], [])

    def test_words_of_the_newest_version_are_known(self) -> None:
        """Those that change nothing here are taken."""
        for word in (
            "acme.scheduler auto",
            "jwt.decrypt_alg_list ALL",
            "jwt.decrypt_enc_list ALL",
            "wurfl-patch-file x",
        ):
            self.assertIn(NOT_DONE, faults(f"global\n {word}\n")[0])
        for word in (
            "ssl-passphrase-cmd /bin/x",
            "tune.ssl.certificate-compression auto",
            "tune.ssl.keyupdate-rate-limit 1",
        ):
            self.assertIn(NOT_DONE, faults(f"global\n {word}\n")[0])
        for line in ("be-unpublished", "ssl-f-use crt x", "http-request wait-for-body time 1s use-large-buffer"):
            self.assertIn(NOT_DONE, faults(section(line))[0])
        for verb, rules in product(("add", "set", "del"), ("http-request", "http-response", "http-after-response")):
            self.assertIn(NOT_DONE, faults(section(f"{rules} {verb}-headers-bin x"))[0])
        self.assertIn(NOT_DONE, faults(section("", server="quic-cc-algo bbr"))[0])
        for word in ("cpu-affinity per-core", "debug.counters on", "noktls", "quick-exit", "stress-level 0"):
            self.assertIn("without effect", notices(f"global\n {word}\n")[0])
        for word in (
            "shm-stats-file-max-objects",
            "tune.bufsize.large",
            "tune.bufsize.small",
            "tune.h1.fe.glitches-threshold",
            "tune.streams-elasticity",
        ):
            self.assertIn("without effect", notices(f"global\n {word} 200\n")[0])

    def test_what_servers_are_spoken_to_in_may_be_said(self) -> None:
        for word in ("proto h1", "ws h1", "ws auto", "check-proto h1", "ktls off"):
            self.assertEqual(faults(section("", server=word)), [], word)
        for word in ("proto h2", "ws h2"):
            (fault,) = faults(section("", server=word))
            self.assertIn("servers are spoken to in HTTP/1.1", fault)

    def test_what_the_kernel_does_for_a_new_connection_is_told_to_be_without_effect(self) -> None:
        for word in ("tfo", "allow-0rtt"):
            for line, server in (("", word), (f"default-server {word}", "")):
                (notice,) = notices(section(line, server=server))
                self.assertIn(f"without effect in reusedproxy: 'server … {word}'", notice)

    def test_what_clients_may_do_or_do_in_http_2_alone_is_told_to_be_without_effect(self) -> None:
        """And what is not done may be switched off."""
        for word in ("allow-0rtt", "idle-ping 10s"):
            (notice,) = notices(section("", bind=f"ssl crt /c {word}"))
            self.assertIn(f"without effect in reusedproxy: 'bind … {word.split()[0]}'", notice)
        for word in ("ktls off", "ocsp-update off"):
            self.assertEqual(notices(section("", bind=f"ssl crt /c {word}")), [], word)

    def test_the_log_shows_whole_targets_whatever_its_limit(self) -> None:
        (notice,) = notices("global\n tune.http.logurilen 65535\n")
        self.assertIn("without effect in reusedproxy: 'tune.http.logurilen'", notice)

    def test_each_word_without_effect_is_told_with_its_line(self) -> None:
        """All in one notice, which has the first one's."""
        (notice,) = notices("global\n nbthread 4\nresolvers r\n nameserver n 192.0.2.1:53\n hold valid 10s\n")
        self.assertIn("'nbthread', 'resolvers … hold valid' (line ", notice)

    def test_settings_behind_a_sections_name_have_a_line_of_their_own(self) -> None:
        for said, todo in (("mode http", "write 'mode http' on a line of its own"), ("*:80", "on a 'bind' line")):
            (fault,) = faults(f"defaults d {said}\n timeout client 1s\n")
            self.assertIn(todo, fault)

    def test_a_condition_without_terms_is_told_of(self) -> None:
        for word, meaning in (("if", "it is never met"), ("unless", "the line always counts")):
            (fault,) = faults(section(f"http-request deny {word}"))
            self.assertIn(f"missing after '{word}' (to HAProxy that means that {meaning})", fault)
            for rule in ("tcp-request connection set-src src", "http-request redirect location /", "stats admin"):
                self.assertIn("a condition is missing", faults(section(f"{rule} {word}"))[0], rule)

    def test_where_it_lets_nobody_in_a_condition_without_terms_is_as_in_haproxy(self) -> None:
        """Even where an acl of the file is called FALSE."""
        for word, meaning, met in (("if", "it is never met", False), ("unless", "the line always counts", True)):
            text = section(f"acl FALSE src 0.0.0.0/0\n http-request set-header X a {word}")
            said = read_configuration([Source("t.cfg", text)], {})
            self.assertIn(
                f"'http-request set-header': nothing stands after '{word}', so {meaning}, as in HAProxy",
                str(said.notices),
            )
            (rule,) = said.frontends["l"].rules.request
            facts: Any = SimpleNamespace(compared=0)
            self.assertEqual(condition(rule.condition)(facts), met)
