"""Elements of DER, as lists of revoked certificates are taken apart."""

from __future__ import annotations

from datetime import datetime, timezone

from twisted.trial.unittest import SynchronousTestCase

from reusedproxy.net.tls.der import GENERALIZED_TIME, INTEGER, SEQUENCE, UTC_TIME, Element, elements, encoded, time_in


class ElementTests(SynchronousTestCase):
    def test_what_is_written_is_read(self) -> None:
        for size in (0, 1, 127, 128, 255, 256, 65_535, 65_536, 20_000_000):
            made = encoded(SEQUENCE, bytes(size))
            (found,) = elements(made)
            self.assertEqual((found.tag, found.end - found.content, found.end), (SEQUENCE, size, len(made)))

    def test_one_stands_behind_the_other(self) -> None:
        data = encoded(INTEGER, b"\1") + encoded(SEQUENCE, b"\2\3")
        self.assertEqual([*elements(data)], [Element(INTEGER, 0, 2, 3), Element(SEQUENCE, 3, 5, 7)])
        self.assertEqual([*elements(data, 3)], [Element(SEQUENCE, 3, 5, 7)])
        self.assertEqual([*elements(data, 0, 3)], [Element(INTEGER, 0, 2, 3)])

    def test_the_content_of_the_last_one_may_be_cut_off(self) -> None:
        """Unless it is known where the end is."""
        (found,) = elements(encoded(SEQUENCE, bytes(300))[:9])
        self.assertEqual(found.end, 304)
        self.assertRaises(ValueError, list, elements(encoded(SEQUENCE, bytes(300)), 0, 200))

    def test_what_is_no_der(self) -> None:
        for data in (b"\x30", b"\x30\x82\1", b"\x30\x80\0\0"):
            self.assertRaises(ValueError, list, elements(data))


class TimeTests(SynchronousTestCase):
    def test_times(self) -> None:
        for tag, text, year in (
            (UTC_TIME, b"491231235958Z", 2049),
            (UTC_TIME, b"501231235958Z", 1950),
            (GENERALIZED_TIME, b"20501231235958Z", 2050),
        ):
            data = encoded(tag, text)
            found = time_in(data, next(elements(data)))
            self.assertEqual(found, datetime(year, 12, 31, 23, 59, 58, tzinfo=timezone.utc))

    def test_what_is_no_time(self) -> None:
        for tag, text in (
            (UTC_TIME, b"4912312359Z"),
            (UTC_TIME, b"491231235958+0100"),
            (UTC_TIME, b"491331235958Z"),
            (GENERALIZED_TIME, b"20501231235958.5Z"),
            (INTEGER, b"491231235958Z"),
        ):
            data = encoded(tag, text)
            self.assertRaises(ValueError, time_in, data, next(elements(data)))
