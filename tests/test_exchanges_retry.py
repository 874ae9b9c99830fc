"""When a failed attempt is repeated: the whole table."""

from collections.abc import Iterator
from itertools import product
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.exchanges.retry import DIAL_FAILED, IDEMPOTENT, may_retry
from reusedproxy.pool.connection import REFUSED_LATE, SERVER_FAULT, SERVER_GONE, SERVER_SLOW, UNTOUCHED

DEFAULT = frozenset({"conn-failure"})
FAILURES = [DIAL_FAILED, REFUSED_LATE, UNTOUCHED, SERVER_GONE, SERVER_FAULT, SERVER_SLOW]

# (what failed, method, answered, held, retried, may it be tried again), with HAProxy's default words
TABLE = [
    (DIAL_FAILED, b"GET", False, True, False, True),
    (DIAL_FAILED, b"POST", False, True, False, True),
    (DIAL_FAILED, b"GET", False, True, True, True),  # the dial after a lost race; `retries` bounds it
    (REFUSED_LATE, b"POST", False, True, False, True),  # the server has processed nothing
    (REFUSED_LATE, b"POST", False, False, False, False),  # but we have not got it any more
    (UNTOUCHED, b"POST", False, True, False, True),  # it was never written to the server
    (UNTOUCHED, b"POST", False, False, False, False),
    (SERVER_GONE, b"GET", False, True, False, True),  # the idle-close race
    (SERVER_GONE, b"POST", False, True, False, False),  # may have been carried out
    (SERVER_GONE, b"PATCH", False, True, False, False),
    (SERVER_GONE, b"get", False, True, False, False),  # methods are case-sensitive
    (SERVER_GONE, b"GET", True, True, False, False),  # a byte of an answer had come
    (SERVER_GONE, b"PUT", False, False, False, False),  # too large to be held
    (SERVER_GONE, b"GET", False, True, True, False),  # RFC 9110 9.2.2: not twice
    (SERVER_FAULT, b"GET", False, True, False, False),
    (SERVER_SLOW, b"GET", False, True, False, False),
    ("503", b"GET", True, True, False, False),
]  # fmt: skip

# (the words of retry-on, what failed, answered, may it be tried again): any method, repeated before
WORDS_TABLE = [
    ("none", DIAL_FAILED, False, False),
    ("conn-failure", DIAL_FAILED, False, True),
    ("conn-failure", UNTOUCHED, False, True),
    ("conn-failure", SERVER_GONE, False, False),
    ("503", DIAL_FAILED, False, False),  # the words replace the default
    ("empty-response", SERVER_GONE, False, True),
    ("empty-response", SERVER_GONE, True, False),  # half a head is junk
    ("empty-response", SERVER_FAULT, True, False),
    ("junk-response", SERVER_GONE, True, True),
    ("junk-response", SERVER_GONE, False, False),
    ("junk-response", SERVER_FAULT, True, True),
    ("response-timeout", SERVER_SLOW, False, True),
    ("response-timeout", SERVER_SLOW, True, True),
    ("response-timeout", SERVER_GONE, False, False),
    ("503", "503", True, True),
    ("503", "502", True, False),
]


class MayRetryTests(SynchronousTestCase):
    """`may_retry`, row by row and as a whole."""

    def test_the_table(self) -> None:
        """Each case has the answer that the table gives it."""
        for failure, method, answered, held, retried, expected in TABLE:
            got = may_retry(
                failure,
                retry_on=DEFAULT,
                method=method,
                answered=answered,
                held=held,
                retried=retried,
            )
            self.assertEqual(got, expected, (failure, method, answered, held, retried))

    def every_case(self) -> Iterator[tuple[str, bytes, dict[str, bool], bool]]:
        bits = [True, False]
        for failure, method, *flags in product(FAILURES, [*IDEMPOTENT, b"POST", b"X"], bits, bits, bits):
            names = dict(zip(("answered", "held", "retried"), flags, strict=True))
            yield failure, method, names, may_retry(failure, retry_on=DEFAULT, method=method, **names)

    def test_the_words(self) -> None:
        """`retry-on` asks for more, or for less, whatever the method; never for what we do not hold."""
        for word, failure, answered, expected in WORDS_TABLE:
            for method in (b"GET", b"POST"):
                names: dict[str, Any] = {"retry_on": {word}, "method": method, "answered": answered}
                got = may_retry(failure, held=True, retried=True, **names)
                self.assertEqual(got, expected, (word, failure, answered, method))
                self.assertFalse(may_retry(failure, held=False, retried=True, **names))

    def test_no_word_but_none_gives_up_the_idle_close_race(self) -> None:
        """That race is ours, not the server's answer: whoever lists failures has not thought of it."""
        for word, expected in (("none", False), ("503", True), ("conn-failure", True)):
            names: dict[str, Any] = {"method": b"GET", "answered": False, "held": True, "retried": False}
            self.assertEqual(may_retry(SERVER_GONE, retry_on={word}, **names), expected, word)

    def test_never_once_answered_or_not_held(self) -> None:
        """No failure whatever repeats a request that was answered, or that we do not hold."""
        self.assertFalse(
            any(again for _, _, names, again in self.every_case() if names["answered"] or not names["held"])
        )

    def test_unsafe_requests_only_when_nothing_was_processed(self) -> None:
        """A request that is not idempotent is repeated only when no server can have seen it."""
        repeated = {failure for failure, method, _, again in self.every_case() if again and method not in IDEMPOTENT}
        self.assertEqual(repeated, {DIAL_FAILED, REFUSED_LATE, UNTOUCHED})

    def test_idempotent_methods_are_the_rfcs(self) -> None:
        """RFC 9110 section 9.2.2."""
        self.assertEqual(IDEMPOTENT, {b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"})
