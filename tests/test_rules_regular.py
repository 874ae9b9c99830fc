"""Regular expressions: what they mean, that their time is bounded, and what comes of one that is not evaluated."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.config.language.regular import BACKTRACKING_BYTES, LONGEST_PROGRAM, read_regular, risk
from reusedproxy.config.language.report import Wrong
from reusedproxy.config.rules.expressions import read_expression
from reusedproxy.rules.regular import (
    _SIMPLE,
    _SPENT,
    LARGEST_WORK,
    MOST_REPLACEMENTS,
    MOST_SEARCHED,
    Unevaluated,
    begin,
    matching_one_of,
    replaced,
    replacing,
    searching,
)
from reusedproxy.rules.samples.compile import compiled, compiled_alone
from reusedproxy.rules.samples.converters import CONVERTERS
from tests.regularcases import FOUND, REPLACED
from tests.rulefakes import Seen

#: Expressions and what makes an engine that backtracks try for minutes.
CATASTROPHES = (
    (r".*/.*/.*\.php$", b"/" * 16384),
    (r"^(/[a-z0-9]+([-_.]?[a-z0-9]+)*)+/?$", b"/" + b"a" * 16384 + b"!"),
    (r"^(a+)+$", b"a" * 16384 + b"!"),
    (r"(x+x+)+y", b"x" * 16384),
    (r"(.*)*(.*)*=(.*)*", b"a" * 16384),
    (r"\s+$", b" " * 16384 + b"x"),
    (r"^(([a-z])+.)+[A-Z]([a-z])+$", b"a" * 16384),
)


def without_flag(pattern: str) -> tuple[str, bool]:
    return (pattern[3:], True) if pattern.startswith("-i ") else (pattern, False)


class MeaningTests(SynchronousTestCase):
    """They mean what they mean to HAProxy; an integration test asks the real one about the same tables."""

    def test_whether_they_are_found(self) -> None:
        """Alone, and beside others that are not."""
        wrong = []
        for said, text, expected in FOUND:
            pattern, ignore_case = without_flag(said)
            subject = unquote_to_bytes(text)
            alone = searching(pattern, ignore_case)(subject) is not None
            beside = matching_one_of([pattern, "never^", "(?!x)never^"], ignore_case)(subject)
            if (alone, beside) != (expected, expected):
                wrong.append((said, text, alone, beside))
        self.assertEqual(wrong, [])

    def test_what_is_put_in_their_place(self) -> None:
        """`regsub`, with groups, with and without g."""
        nowhere: Any = None
        for arguments, text, expected in REPLACED:
            pattern, instead, flags = ([each.strip("'") for each in arguments.split("',")] + ["", ""])[:3]
            if "'," not in arguments.partition("',")[2]:
                instead, flags = instead.rstrip("'"), ""
            convert = CONVERTERS["regsub"](pattern, instead, flags)
            self.assertEqual(convert(text.encode(), nowhere), expected.encode(), arguments)

    def test_what_nobody_can_read_is_refused(self) -> None:
        """With the reason."""
        for pattern in ("(", "a**", "[b-a]", "[[:nothing:]]", r"\y", r"/x\c", "(?#", "(?R)"):
            with self.assertRaises(Wrong) as caught:
                read_regular(pattern, "here")
            self.assertIn(f"here: the regular expression '{pattern}'", str(caught.exception))

    def test_numbers_of_any_length_are_refused_in_a_line(self) -> None:
        """By either engine; what Python does not look at any more, too."""
        for pattern in ("a{%s}", "(?!q)a{%s}", "(?!q)(?(%s)a)"):
            for digits in (12, 5000):
                with self.assertRaises(Wrong) as caught:
                    read_regular(pattern % ("9" * digits), "here")
                self.assertIn("here: the regular expression '", str(caught.exception))
                self.assertLess(len(str(caught.exception)), 400)

    def test_patterns_of_a_file_may_have_any_byte(self) -> None:
        """Files are read as bytes that need not be UTF-8."""
        pattern = b"^\xff$".decode("utf-8", "surrogateescape")
        self.assertTrue(matching_one_of([pattern])(b"\xff"))


class LinearTests(SynchronousTestCase):
    """A client cannot make one take long."""

    def test_catastrophes_take_no_time(self) -> None:
        """Sixteen thousand bytes each, which would take Python's engine years."""
        for pattern, text in CATASTROPHES:
            search = searching(pattern)
            began = time.process_time()
            self.assertIsNone(search(text), pattern)
            self.assertLess(time.process_time() - began, 0.5, pattern)

    def test_a_thousand_patterns_are_one(self) -> None:
        """What counts is that none is missed."""
        matches = matching_one_of([f"^/dir{number}/x+$" for number in range(3000)])
        self.assertTrue(matches(b"/dir2999/xxx"))
        self.assertTrue(matches(b"/dir0/x"))
        self.assertFalse(matches(b"/dir3000/x"))

    def test_what_is_too_large_is_refused_when_it_is_read(self) -> None:
        """Not when the first client comes, and not by falling back on the other engine."""
        for count in (LONGEST_PROGRAM // 1000 + 1, 1000):
            with self.assertRaises(Wrong) as caught:
                read_regular("[ab]{1000}" * count, "here")
            self.assertIn("is too large", str(caught.exception))
            self.assertLess(len(str(caught.exception)), 400)

    def test_a_large_one_looks_at_short_texts_only(self) -> None:
        """Its work is its size times the text's."""
        pattern = "[ab]{1000}" * 10
        search = searching(pattern)
        self.assertIsNone(search(b"a" * (LARGEST_WORK // 11000)))
        with self.assertRaises(Unevaluated):
            search(b"a" * (LARGEST_WORK // 10000))

    def test_replacements_are_counted(self) -> None:
        """Each costs a search, so there is a bound for them."""
        for pattern, most in (("a.*b|a", MOST_SEARCHED), ("a", MOST_REPLACEMENTS)):
            replace = replacing(pattern, lambda found: b"", False, True)
            text = b"a" * (most - 1)
            self.assertEqual(replace(text), b"")
            with self.assertRaises(Unevaluated):
                replace(text + b"a")

    def test_all_replacements_of_a_request_have_a_bound_of_time(self) -> None:
        """However many values there are; the next request has the whole of it."""
        replace = replacing("(a)", lambda found: b"", False, True)
        begin()
        with self.assertRaises(Unevaluated) as caught:
            for _ in range(1000):
                replace(b"a" * (MOST_SEARCHED - 1))
        self.assertIn("replacements took more than 50 ms for one request", str(caught.exception))
        begin()
        self.assertEqual(replace(b"aba"), b"b")

    def test_what_one_client_has_spent_is_not_missing_to_another_outside_of_rules(self) -> None:
        """Where a name, an identity or a hash comes of a request, no rule has begun a new sum."""
        facts = Seen(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        expression = read_expression('str(abc),regsub("b(?=c)",x)', "here")
        _SPENT.seconds, _SPENT.at = 60.0, time.thread_time()
        self.addCleanup(begin)
        with self.assertRaises(Unevaluated):
            compiled(expression)(facts)
        self.assertEqual(compiled_alone(expression)(facts), b"axc")
        self.assertEqual(compiled(expression)(facts), b"axc")

    def test_simple_expressions_mean_the_same_to_the_engine_that_replaces_them(self) -> None:
        """Characters and classes one behind the other, or one that is repeated."""
        text = b"/a-b/AB..c++d[e]\xe9%20 a,b;a=b\n/\x00z/aab"
        for pattern in (
            "a",
            "/",
            "ab",
            "[^a-z]",
            "[a-z]+",
            r"\.",
            r"\+",
            r"\[e\]",
            "%20",
            "a-b",
            "[a-c]b",
            " ",
            "a+",
            "[^/]+",
            "=",
            "é",
        ):
            for ignore_case in (False, True):
                self.assertIsNotNone(_SIMPLE.match(pattern) or pattern == "é")
                search = searching(pattern, ignore_case)
                for all_of_them in (False, True):
                    expected = replaced(search, lambda found: b"<%b>" % (found[0] or b""), text, all_of_them)
                    replace = replacing(pattern, lambda found: b"<%b>" % (found[0] or b""), ignore_case, all_of_them)
                    self.assertEqual(replace(text), expected, pattern)

    def test_what_may_take_more_than_linear_time_is_not_simple(self) -> None:
        for pattern in (
            r"\s+$",
            "a*",
            "a+b",
            "a|b",
            "(a)",
            "a{2}",
            ".",
            "^a",
            "a$",
            "a++",
            r"\d",
            r"\b",
            "[[:alpha:]]",
            r"[\d]",
            "a?",
            "",
        ):
            self.assertIsNone(_SIMPLE.match(pattern), pattern)


class BacktrackingTests(SynchronousTestCase):
    """What RE2 cannot say."""

    catastrophe = r"^(?!x)(a+)+$"

    def test_it_is_told_before_anybody_is_served(self) -> None:
        """With what it has that costs so much, and what to do."""
        said = risk(self.catastrophe)
        self.assertIn("is refused: with 500, by 'monitor fail' with 503", said)
        for part in (self.catastrophe, "(?!", "backtracking", "without look-around"):
            self.assertIn(part, said)
        self.assertEqual(risk("^(a+)+$"), "")

    def test_its_time_is_bounded(self) -> None:
        """No answer is not the answer no."""
        search = searching(self.catastrophe)
        began = time.process_time()
        with self.assertRaises(Unevaluated) as caught:
            search(b"a" * 40 + b"!")
        self.assertLess(time.process_time() - began, 1.0)
        self.assertIn("took more than 50 ms for 41 bytes", str(caught.exception))
        # And it works on, for another request.
        begin()
        self.assertIsNotNone(search(b"aaa"))
        self.assertIsNone(search(b"xaa"))

    def test_the_time_of_a_request_is_bounded(self) -> None:
        """A header may have hundreds of values, and each match may take nearly as long as it may."""
        search = searching(self.catastrophe)
        text = b"a" * 14 + b"!"
        begin()
        began = time.process_time()
        with self.assertRaises(Unevaluated) as caught:
            for _ in range(5000):  # a millisecond each
                search(text)
        self.assertLess(time.process_time() - began, 0.5)
        self.assertIn("took more than 50 ms", str(caught.exception))
        begin()
        self.assertIsNone(search(text))

    def test_its_text_is_bounded(self) -> None:
        """Before it begins."""
        search = searching(self.catastrophe)
        self.assertIsNotNone(search(b"a" * BACKTRACKING_BYTES))
        with self.assertRaises(Unevaluated):
            search(b"a" * (BACKTRACKING_BYTES + 1))

    def test_beside_linear_ones_it_comes_last(self) -> None:
        """What is found without it needs it not."""
        matches = matching_one_of([self.catastrophe, "!$"])
        self.assertTrue(matches(b"a" * 40 + b"!"))
