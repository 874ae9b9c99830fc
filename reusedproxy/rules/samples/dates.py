"""Writes dates: `http_date` (RFC 9110 section 5.6.7), and `ltime`, `utime` and their like in a form of strftime(3).

Reads those of HTTP, too (`date`)."""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Callable
from time import gmtime, localtime, strftime
from typing import Any

from reusedproxy.rules.facts import Facts, Sample
from reusedproxy.rules.samples.casts import wrapped

Convert = Callable[[Any, Facts], Sample]

#: Units of time: how many of each make a second.
UNITS = {"": 1, "s": 1, "ms": 1000, "us": 1000000}
#: HAProxy keeps only these bits of a date, so that one before 1970 is far in the future.
_DATES = 2**55 - 1
_DAYS = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"]
_MONTHS = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_TIME = rb"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_MONTH = b"(?P<month>" + b"|".join(_MONTHS) + b")"
_DAY = b"(?:" + b"|".join(_DAYS) + b")"
_LONG_DAY = b"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
#: The forms of dates in HTTP, the newest first: the next is of RFC 850, the last of asctime(3).
_FORMS = tuple(
    re.compile(form)
    for form in (
        _DAY + b", (?P<day>[0-9]{2}) " + _MONTH + b" (?P<year>[0-9]{4}) " + _TIME + b" GMT",
        _LONG_DAY + b", (?P<day>[0-9]{2})-" + _MONTH + b"-(?P<year>[0-9]{2}(?:[0-9]{2})?) " + _TIME + b" GMT",
        _DAY + b" " + _MONTH + b" (?P<day>[0-9]{2}| [0-9]) " + _TIME + b" (?P<year>[0-9]{4})",
    )
)
#: What a year of two digits is: HAProxy takes 61 for 1961, and 60 for 2060.
_LAST_OF_THIS_CENTURY = 60
#: %N, %3N: the nanoseconds, or their first digits. Two per cent signs are one of the text.
_NANOSECONDS = re.compile(r"%%|%([0-9]*)N")


def _http_date(offset: str = "0", unit: str = "s") -> Convert:
    """Makes `http_date` (RFC 9110 section 5.6.7).

    With a smaller unit the fraction of the second is added, as HAProxy writes it.
    """
    scale, moved = UNITS[unit], int(offset)

    def convert(sample: int, facts: Facts) -> Sample:
        whole = wrapped(sample + moved)
        seconds = (abs(whole) // scale * (-1 if whole < 0 else 1)) & _DATES
        rest = b".%d" % (abs(whole) % scale) if scale > 1 else b""
        days, second = divmod(seconds, 86400)
        year, month, day = _calendar(days)
        hour, minute, second = second // 3600, second // 60 % 60, second % 60
        weekday, month_name = _DAYS[(days + 3) % 7], _MONTHS[month - 1]
        return b"%b, %02d %b %04d %02d:%02d:%02d%b GMT" % (weekday, day, month_name, year, hour, minute, second, rest)

    return convert


def _date() -> Convert:
    """Makes `date`, which reads what `http_date` writes, and both older forms of RFC 9110 section 5.6.7.

    As in HAProxy, nobody asks whether a day of the week is the date's, and whether a month has so many days.
    """

    def convert(sample: bytes, facts: Facts) -> Sample:
        found = next((found for form in _FORMS if (found := form.match(sample)) is not None), None)
        if found is None:
            return None
        day, hour, minute, second, year = (int(found[part]) for part in ("day", "hour", "minute", "second", "year"))
        if len(found["year"]) == 2:
            year += 1900 if year > _LAST_OF_THIS_CENTURY else 2000
        return timegm((year, _MONTHS.index(found["month"]) + 1, day, hour, minute, second)) if year else None

    return convert


def _calendar(days: int) -> tuple[int, int, int]:
    """Returns year, month and day, that many days after 1970-01-01. (Python's own dates end with the year 9999.)"""
    # Years are counted from March here, so that a leap day is the last of its year; 400 years have 146097 days.
    era, day_of_era = divmod(days + 719468, 146097)
    year = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year + year // 4 - year // 100)
    month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    return year + era * 400 + (month <= 2), month, day


def _formatted(broken_down: Callable[[float], Any], unit: str) -> Callable[..., Convert]:
    """Makes a converter of a date, a number of such units since 1970; an offset is in seconds. With units finer than a
    second there is %N, too."""
    parts = UNITS[unit]

    def make(form: str, offset: str = "0") -> Convert:
        def convert(sample: int, facts: Facts) -> Sample:
            if parts == 1:
                seconds, text = sample & _DATES, form
            else:
                seconds, rest = divmod(sample, parts)
                nanoseconds = f"{rest * (10**9 // parts):09d}"
                text = _NANOSECONDS.sub(lambda found: _fraction(found, nanoseconds), form)
            try:
                return strftime(text, broken_down(seconds + int(offset))).encode("utf-8", "surrogateescape")
            except (OverflowError, OSError, ValueError):  # a year beyond 2**31
                return None

        return convert

    return make


def _fraction(found: re.Match[str], nanoseconds: str) -> str:
    return found[0] if found[1] is None else nanoseconds[: int(found[1] or 9)]


DATE_CONVERTERS: dict[str, Callable[..., Convert]] = {
    "http_date": _http_date,
    "date": _date,
    "ltime": _formatted(localtime, "s"),
    "utime": _formatted(gmtime, "s"),
    "ms_ltime": _formatted(localtime, "ms"),
    "ms_utime": _formatted(gmtime, "ms"),
    "us_ltime": _formatted(localtime, "us"),
    "us_utime": _formatted(gmtime, "us"),
}
