"""Parses a `log` line: target, format, facility, levels, and which of the lines it is sent. Opens nothing."""

from __future__ import annotations

import re
from itertools import pairwise

from reusedproxy.config.language import haproxy_words, units
from reusedproxy.config.language.addresses import server_address
from reusedproxy.config.language.report import Line, Wrong, not_done, one_of
from reusedproxy.config.model.logs import LogTarget
from reusedproxy.config.model.values import Place

_DESCRIPTORS = {"stdout": "stdout", "fd@1": "stdout", "stderr": "stderr", "fd@2": "stderr"}
_NOT_DONE = ("fd@", "backend@", "sockpair@", "abns@")
#: Prefixes of what lines are sent to as datagrams, and as a stream, with the prefix of the address itself.
_PREFIXES = {
    "udp@": ("udp", ""),
    "udp4@": ("udp", "ipv4@"),
    "udp6@": ("udp", "ipv6@"),
    "uxdg@": ("unix", "unix@"),
    "tcp@": ("tcp", ""),
    "tcp4@": ("tcp", "ipv4@"),
    "tcp6@": ("tcp", "ipv6@"),
    "uxst@": ("stream", "unix@"),
}
_SYSLOG = "514"
_USAGE = (
    "log <stdout|stderr|address[:port]|path|tcp@address[:port]|ring@name> [len <n>] [format <format>]"
    " [sample <ranges>:<n>] <facility> [<level> [<most severe level>]]"
)


def log_target(line: Line) -> LogTarget:
    """Parses `log <target> …`; `log global` and `no log` are left to the caller. Raises Wrong."""
    if len(line.words) < 3:
        raise Wrong(f"'log' needs a target and a facility: {_USAGE}")
    settings, rest = _settings(line.words[2:])
    if not rest:
        raise Wrong(f"'log' needs a facility after '{line.words[-1]}': {_USAGE}")
    if rest[0] in haproxy_words.LOG_FORMATS:
        raise Wrong(f"'log': write 'format {rest[0]}', and a facility such as 'local0' after it")
    if rest[0] not in (facilities := haproxy_words.LOG_FACILITIES) and line.words[1] in facilities:
        raise Wrong(f"'log': the target is missing before '{line.words[1]}': {_USAGE}")
    facility = one_of(rest[0], facilities, "'log': the facility")
    level = one_of(rest[1], haproxy_words.LOG_LEVELS, "'log': the level") if len(rest) > 1 else "debug"
    cap = one_of(rest[2], haproxy_words.LOG_LEVELS, "'log': the second level") if len(rest) > 2 else "emerg"
    if len(rest) > 3:
        raise Wrong(f"'log' takes two levels at most: '{rest[3]}' is too much")
    kind, host, port, path = _destination(line.words[1], line.place)
    sample, period = _sample(settings["sample"]) if "sample" in settings else ((), 0)
    return LogTarget(
        place=line.place,
        kind=kind,
        host=host,
        port=port,
        path=path,
        format=log_line_format(settings["format"]) if "format" in settings else "",
        facility=facility,
        level=level,
        cap=cap,
        length=units.integer(settings.get("len", "1024"), "'log len'", least=80, most=65535),
        sample=sample,
        period=period,
    )


def log_line_format(name: str) -> str:
    """Checks the name of the format of lines, and returns it. Raises Wrong."""
    return one_of(name, sorted(haproxy_words.LOG_FORMATS), "the log format")


def _settings(words: tuple[str, ...]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Splits off the pairs `len n`, `format f` and `sample s` at the beginning. Raises Wrong."""
    settings: dict[str, str] = {}
    while words and words[0] in ("len", "format", "sample"):
        if len(words) < 2:
            raise Wrong(f"'log {words[0]}' needs a value")
        settings[words[0]] = words[1]
        words = words[2:]
    return settings, words


def _sample(text: str) -> tuple[tuple[tuple[int, int], ...], int]:
    """Parses `2-3,8-11:11`: of each 11 lines, these are sent. Raises Wrong."""
    ranges_text, colon, period_text = text.partition(":")
    what = "'log sample'"
    if not colon:
        raise Wrong(f"{what}: '{text}' has no size: write 1:2 for every second line")
    ranges: list[tuple[int, int]] = []
    for each in ranges_text.split(","):
        found = re.match(r"([0-9]{1,9})(?:-([0-9]{1,9}))?\Z", each)
        low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if low < 1 or high < low or (found and found[2] and high == low):
            raise Wrong(f"{what}: '{each}' is no range of lines such as 2-3, counted from 1")
        ranges.append((low, high))
    ranges.sort()
    if any(before[1] >= behind[0] for before, behind in pairwise(ranges)):
        raise Wrong(f"{what}: ranges of '{ranges_text}' overlap")
    period = units.integer(period_text, what, least=ranges[-1][1])
    return tuple(ranges), period


def _destination(text: str, place: Place) -> tuple[str, str, int, str]:
    """Returns kind, host, port and path of the target; the host of a ring is its name. Raises Wrong."""
    if text in _DESCRIPTORS:
        return _DESCRIPTORS[text], "", 514, ""
    if text.startswith("ring@"):
        return "ring", text.removeprefix("ring@"), 514, ""
    if text.startswith(_NOT_DONE):
        raise Wrong(not_done(text.partition("@")[0] + "@", "log target"))
    kind, address = "udp", text
    for prefix, (its_kind, its_address) in _PREFIXES.items():
        if text.startswith(prefix):
            kind, address = its_kind, its_address + text.removeprefix(prefix)
    if address.startswith(("/", "unix@")):
        path = server_address(address, "'log'").host
        return "stream" if kind in ("tcp", "stream") else "unix", "", 514, path
    found = server_address(address if _has_port(address) else f"{address}:{_SYSLOG}", "'log'")
    return kind, found.host, found.port or 514, ""


def _has_port(text: str) -> bool:
    return ":" in text and not text.endswith("]")
