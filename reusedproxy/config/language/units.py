"""Numbers, times and sizes as HAProxy writes them, into integers, float seconds and bytes.

Knows the units and the limits; knows no keyword: the caller says in `what` whose value it is, for the message.
"""

from __future__ import annotations

import re

from reusedproxy.config.language.report import Wrong

TIME_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
SIZE_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
# HAProxy's timers are 31 bits of milliseconds; a longer time is refused there, and nobody means one.
LONGEST_TIME = 2147483.647
# HAProxy's shortest but none ("timer underflow"): what is done again and again would take a whole core.
SHORTEST_TIME = 0.001
# Of what is done to each idle connection at such intervals.
SHORTEST_LIFE = 0.1
LARGEST_INTEGER = 2147483647

_TIME = re.compile(r"([0-9]+)([a-zA-Z]*)\Z")
_SIZE = re.compile(r"([0-9]+)([a-zA-Z]?)\Z")


def seconds(text: str, what: str, default_unit: str = "ms") -> float:
    """A time such as `5s`, `250ms` or a bare number in `default_unit`, as float seconds."""
    found = _TIME.match(text)
    if not found:
        raise Wrong(f"{what} needs a time such as 500ms, 5s, 10m, 1h or 1d, not '{text}'{_why_not_a_time(text)}")
    unit = found[2] or default_unit
    if unit not in TIME_UNITS:
        raise Wrong(f"{what}: '{found[2]}' in '{text}' is no unit of time: write us, ms, s, m, h or d")
    # More than 18 digits are too long in any unit; said before int() can be asked for thousands of digits.
    value = int(found[1]) * TIME_UNITS[unit] if len(found[1].lstrip("0")) <= 18 else LONGEST_TIME * 2
    if value > LONGEST_TIME:
        raise Wrong(f"{what}: '{text}' is too long: the longest time is 2147483647ms, about 24.8 days")
    if 0 < value < SHORTEST_TIME:
        raise Wrong(f"{what}: '{text}' is too short: the shortest time is 1ms")
    return value


def _why_not_a_time(text: str) -> str:
    if text.startswith("-"):
        return ": a time is never negative"
    if re.match(r"[0-9]+\.[0-9]*[a-z]*\Z", text):
        return ": whole numbers only, so take the next smaller unit (1500ms for 1.5s)"
    if text in ("infinite", "infinity", "unlimited", "none", "never"):
        return ": 0 waits for ever"
    return ""


def positive_seconds(text: str, what: str) -> float:
    value = seconds(text, what)
    if value <= 0:
        raise Wrong(f"{what} has to be longer than 0")
    return value


def lasting_seconds(text: str, what: str) -> float:
    """A time after which a connection is asked or replaced, for all of a pool: never so short that nothing else is done."""
    value = positive_seconds(text, what)
    if value < SHORTEST_LIFE:
        raise Wrong(f"{what}: '{text}' is too short: at least {SHORTEST_LIFE * 1e3:.0f}ms")
    return value


def size(text: str, what: str) -> int:
    """A size such as `16384`, `16k`, `1m` or `1g` in bytes."""
    found = _SIZE.match(text)
    if not found or (found[2] and found[2].lower() not in SIZE_UNITS):
        raise Wrong(f"{what} needs a size in bytes, or with k, m or g after the number, not '{text}'")
    if len(found[1].lstrip("0")) > 10:
        raise Wrong(f"{what}: '{text}' is too large: at most {LARGEST_INTEGER} bytes")
    value = int(found[1]) * SIZE_UNITS.get(found[2].lower(), 1)
    if value > LARGEST_INTEGER:
        raise Wrong(f"{what}: '{text}' is too large: at most {LARGEST_INTEGER} bytes")
    return value


def integer(text: str, what: str, least: int = 0, most: int = LARGEST_INTEGER) -> int:
    """A whole number between `least` and `most`, both allowed."""
    if not re.match(r"[+-]?[0-9]{1,18}\Z", text):
        raise Wrong(f"{what} needs a whole number, not '{text}'")
    value = int(text)
    if value < least or value > most:
        wanted = f"between {least} and {most}" if most != LARGEST_INTEGER else f"at least {least}"
        if value > LARGEST_INTEGER:
            wanted = f"at most {LARGEST_INTEGER}"
        raise Wrong(f"{what}: {text} is out of range: it has to be {wanted}")
    return value


def within_64_bits(text: str) -> int | None:
    """The whole number that `text` is, digits behind a sign or none; None: 64 bits do not hold it, or there are more zeros
    before it than anybody writes. Python's int() refuses to look at more than 4300 digits, zeros among them."""
    if len(text) > 40:
        return None
    value = int(text)
    return value if -(2**63) <= value < 2**63 else None


def unlimited_or(text: str, what: str) -> int | None:
    """A count where -1 stands for "no limit" (None)."""
    value = integer(text, what, least=-1)
    return None if value == -1 else value


def port(text: str, what: str, least: int = 1) -> int:
    if not re.match(r"[0-9]{1,9}\Z", text):
        raise Wrong(f"{what}: '{text}' is not a port number")
    value = int(text)
    if value > 65535 or value < least:
        raise Wrong(f"{what}: port {text} does not exist: ports go from 1 to 65535")
    return value
