"""Cookies in Cookie and Set-Cookie headers: which are found, and what is left of a header that is edited.

The cases of HAProxy's are in `tests/integration/test_cookies_beside_haproxy.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.wire.cookies import edit_cookies, edit_set_cookie, read_date, write_date


def seen(edit: Callable[..., bytes | None], value: bytes) -> tuple[list[bytes], bytes | None]:
    """The values of the cookie S, and the header when they are kept."""
    values: list[bytes] = []

    def look(value: bytes) -> bytes:
        values.append(value)
        return value

    return values, edit(value, b"S", look)


def without(value: bytes) -> bytes | None:
    return edit_cookies(value, b"S", lambda value: None)


class CookieTests(SynchronousTestCase):
    """The value of a request's Cookie header."""

    def test_which_cookies_have_the_name(self) -> None:
        """Exactly this one, in its case, wherever it stands; a separator within quotes is none."""
        cases = {
            b"S=1": [b"1"],
            b"S=1; S=2": [b"1", b"2"],
            b"a=1,S=2": [b"2"],
            b"a=1; S=2 ; b=3": [b"2"],
            b"s=1; SS=2; S; xS=4": [],
            b"S=": [b""],
            b"S = 1": [b"1"],
            b'a="x; S=1"; S=2': [b"2"],
            b'a="x\\"; S=1"; S=2': [b"2"],
            b'a="x; S=1': [],
            b'S="x; y" z; b=1': [b'"x; y" z'],
            b"$S=1; S=2": [b"2"],
            b"S=a=b": [b"a=b"],
            b"": [],
            b";;": [],
        }
        for value, found in cases.items():
            self.assertEqual(seen(edit_cookies, value)[0], found, value)

    def test_blanks_around_equal_signs_are_taken_out(self) -> None:
        """Of all cookies; those around separators stay."""
        self.assertEqual(seen(edit_cookies, b"a = 1 ;S  =2 ; b=3")[1], b"a=1 ;S=2 ; b=3")

    def test_a_removed_cookie_leaves_a_valid_header(self) -> None:
        """Its separator goes with it, and so do its attributes; nothing is left of a header with nothing else."""
        cases = {
            b"S=1": None,
            b"S=1; S=2": None,
            b"S=1;": None,
            b"$Version=1; S=1; $Path=/": None,
            b"$Version=1; $S=1": b"$Version=1; $S=1",
            b"$Version = 1": b"$Version = 1",
            b"S=1; a=2": b"a=2",
            b"a=1; S=2": b"a=1",
            b"a=1;S=2;b=3": b"a=1; b=3",
            b"a=1;  S=2;  b=3": b"a=1; b=3",
            b"S=1,a=2": b"a=2",
            b"S=1; $Path=/; a=2; $Path=/": b"a=2; $Path=/",
            b"a=1; S=2; b; S=3": b"a=1; b",
        }
        for value, left in cases.items():
            self.assertEqual(without(value), left, value)

    def test_a_changed_value_keeps_its_place(self) -> None:
        self.assertEqual(edit_cookies(b"a=1; S=x~y ;b=2", b"S", lambda value: value[2:]), b"a=1; S=y ;b=2")

    @given(st.binary(max_size=40).map(lambda text: text.replace(b"\r", b"=").replace(b"\n", b";")))
    def test_nothing_is_lost_or_found_by_editing(self, value: bytes) -> None:
        """A header without its cookies has none, and its others are those that it had."""
        values, kept = seen(edit_cookies, value)
        left = without(value)
        if not values:
            self.assertEqual(left or b"", kept or b"")
        else:
            self.assertEqual(seen(edit_cookies, left or b"")[0], [])
        self.assertEqual(seen(edit_cookies, kept or b"")[0], values)

    def test_the_worst_header_takes_no_time(self) -> None:
        """As long as a head may be, of quotes, backslashes and separators."""
        for text in (b'"', b'"\\', b"\\", b"=", b";", b'=";', b"a=", b'="\\"', b" ="):
            value = b"S=" + text * (16000 // len(text))
            began = process_time()
            edit_cookies(value, b"S", lambda value: None)
            edit_set_cookie(value, b"S", lambda value: value)
            self.assertLess(process_time() - began, 0.5, text)


class SetCookieTests(SynchronousTestCase):
    """The value of a Set-Cookie header."""

    def test_only_its_first_pair_is_a_cookie(self) -> None:
        """What follows are attributes, whatever their names."""
        cases = {
            b"S=1": ([b"1"], b"S=1"),
            b"S = 1 ; Path=/": ([b"1"], b"S=1 ; Path=/"),
            b"a=1; S=2": ([], b"a=1; S=2"),
            b"S; a=1": ([], b"S; a=1"),
            b'S="a;b"; Path=/': ([b'"a;b"'], b'S="a;b"; Path=/'),
            b"S=a,b; Path=/": ([b"a"], b"S=a,b; Path=/"),
            b"s=1": ([], b"s=1"),
            b"": ([], b""),
        }
        for value, (values, made) in cases.items():
            self.assertEqual(seen(edit_set_cookie, value), (values, made), value)

    def test_it_is_removed_as_a_whole(self) -> None:
        self.assertIsNone(edit_set_cookie(b"S=1; Path=/", b"S", lambda value: None))

    def test_its_value_is_replaced_before_the_attributes(self) -> None:
        self.assertEqual(edit_set_cookie(b"S=1 ; Path=/", b"S", lambda value: b"x~" + value), b"S=x~1 ; Path=/")


class DateTests(SynchronousTestCase):
    """The dates in HAProxy's cookies, in units of 4 s."""

    @given(st.integers(4, (1 << 31) - 1))
    def test_what_is_written_is_read(self, seconds: int) -> None:
        self.assertEqual(read_date(write_date(seconds)), seconds // 4 * 4)

    def test_what_is_no_date(self) -> None:
        for text in (b"", b"AAAA", b"AAAA=", b"AAA|A", b"AAAAA"):
            self.assertEqual(read_date(text), 0, text)
        self.assertLess(read_date(b"/////"), 0)
