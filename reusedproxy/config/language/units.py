"""Converts numbers, times and sizes as HAProxy writes them into integers, float seconds and bytes.

Knows the units and the limits. Must never know a keyword: the caller passes in `what` whose value it is, for the
message.
"""

from __future__ import annotations

import re
from math import ceil, inf

from reusedproxy.config.language.report import Wrong

TIME_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SIZE_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
# HAProxy's timers have 31 bits of milliseconds; it refuses a longer time.
LONGEST_TIME = 2147483.647
# HAProxy's shortest time above 0 ("timer underflow"): anything repeated at shorter intervals would occupy a whole core.
SHORTEST_TIME = 0.001
# Shortest interval for work on each idle connection.
SHORTEST_LIFE = 0.1
LARGEST_INTEGER = 2147483647

_TIME = re.compile(r"([0-9]+)([a-zA-Z]*)\Z")
_SIZE = re.compile(r"([0-9]+)([a-zA-Z]?)\Z")


def seconds(text: str, what: str, default_unit: str = "ms") -> float:
    """Parses a time such as `5s`, `250ms` or a bare number in `default_unit`, and returns
    float seconds. Raises Wrong."""
    found = _TIME.match(text)
    if not found:
        raise Wrong(f"{what} needs a time such as 500ms, 5s, 10m, 1h or 1d, not '{text}'{_why_not_a_time(text)}")
    unit = found[2] or default_unit
    if unit not in TIME_UNITS:
        raise Wrong(f"{what}: '{found[2]}' in '{text}' is no unit of time: write us, ms, s, m, h or d")
    digits = _digits(found[1])
    # More than 18 digits are too long in any unit.
    value = int(digits) * TIME_UNITS[unit] if len(digits) <= 18 else LONGEST_TIME * 2
    if value > LONGEST_TIME:
        raise Wrong(f"{what}: '{text}' is too long: the longest time is 2147483647ms, about 24.8 days")
    if 0 < value < SHORTEST_TIME:
        raise Wrong(f"{what}: '{text}' is too short: the shortest time is 1ms")
    return value


def whole_seconds(text: str, what: str) -> int:
    """Parses a time in seconds, or with a unit, and returns whole seconds, rounded up. Raises Wrong."""
    found = _TIME.match(text)
    unit = found[2] or "s" if found else ""
    if found is None or unit not in TIME_UNITS:
        raise Wrong(f"{what} needs a time such as 30s, 10m, 1h or 1d, not '{text}'{_why_not_a_time(text)}")
    digits = _digits(found[1])
    value = int(digits) * TIME_UNITS[unit] if len(digits) <= 18 else inf
    if value > LARGEST_INTEGER:
        raise Wrong(f"{what}: '{text}' is too long: the longest time is 2147483647s, about 68 years")
    return ceil(value)


def _digits(text: str) -> str:
    """Returns a number without leading zeros: Python's int() refuses more than 4300 digits, zeros among them."""
    return text.lstrip("0") or "0"


def _why_not_a_time(text: str) -> str:
    if text.startswith("-"):
        return ": a time is never negative"
    if re.match(r"[0-9]+\.[0-9]*[a-z]*\Z", text):
        return ": whole numbers only, so take the next smaller unit (1500ms for 1.5s)"
    if text in ("infinite", "infinity", "unlimited", "none", "never"):
        return ": 0 waits for ever"
    # HAProxy reads so much of it, and nothing of the rest.
    begins = re.match(r"([0-9]+(?:us|ms|[smhd]))[^0-9A-Za-z]", text)
    return f": did you mean '{begins[1]}'?" if begins else ""


def positive_seconds(text: str, what: str) -> float:
    value = seconds(text, what)
    if value <= 0:
        raise Wrong(f"{what} has to be longer than 0")
    return value


def lasting_seconds(text: str, what: str) -> float:
    """Parses a time after which each idle connection of a pool is pinged or replaced; at least 0.1 s, so that other
    work gets done. Raises Wrong."""
    value = positive_seconds(text, what)
    if value < SHORTEST_LIFE:
        raise Wrong(f"{what}: '{text}' is too short: at least {SHORTEST_LIFE * 1e3:.0f}ms")
    return value


def size(text: str, what: str) -> int:
    """Parses a size such as `16384`, `16k`, `1m` or `1g`, and returns bytes. Raises Wrong."""
    found = _SIZE.match(text)
    if not found or (found[2] and found[2].lower() not in SIZE_UNITS):
        raise Wrong(f"{what} needs a size in bytes, or with k, m or g after the number, not '{text}'")
    digits = _digits(found[1])
    if len(digits) > 10:
        raise Wrong(f"{what}: '{text}' is too large: at most {LARGEST_INTEGER} bytes")
    value = int(digits) * SIZE_UNITS.get(found[2].lower(), 1)
    if value > LARGEST_INTEGER:
        raise Wrong(f"{what}: '{text}' is too large: at most {LARGEST_INTEGER} bytes")
    return value


def integer(text: str, what: str, least: int = 0, most: int = LARGEST_INTEGER) -> int:
    """Parses a whole number between `least` and `most`, both included. Raises Wrong."""
    if not re.match(r"[+-]?[0-9]{1,18}\Z", text):
        raise Wrong(f"{what} needs a whole number, not '{text}'")
    value = int(text)
    if value < least or value > most:
        wanted = f"between {least} and {most}" if most != LARGEST_INTEGER else f"at least {least}"
        if value > most == LARGEST_INTEGER:
            wanted = f"at most {most}"
        raise Wrong(f"{what}: {text} is out of range: it has to be {wanted}")
    return value


def within_64_bits(text: str) -> int | None:
    """Parses a whole number with an optional sign; None when it does not fit 64 bits or the text has more than 40
    characters.

    The limit on the text comes first: Python's int() refuses more than 4300 digits, leading zeros among them.
    """
    if len(text) > 40:
        return None
    value = int(text)
    return value if -(2**63) <= value < 2**63 else None


def unlimited_or(text: str, what: str) -> int | None:
    """Parses a count in which -1 stands for "no limit" (None). Raises Wrong."""
    value = integer(text, what, least=-1)
    return None if value == -1 else value


def port(text: str, what: str, least: int = 1) -> int:
    if not re.match(r"[0-9]{1,9}\Z", text):
        raise Wrong(f"{what}: '{text}' is not a port number")
    value = int(text)
    if value > 65535 or value < least:
        raise Wrong(f"{what}: port {text} does not exist: ports go from 1 to 65535")
    return value
