"""Parses a `log` line: target, format, facility, levels. Opens nothing."""

from __future__ import annotations

from reusedproxy.config.language import haproxy_words, units
from reusedproxy.config.language.addresses import server_address
from reusedproxy.config.language.report import Line, Wrong, did_you_mean, not_done, one_of
from reusedproxy.config.model.logs import LogTarget
from reusedproxy.config.model.values import Place

_FORMATS = ("raw", "short", "rfc3164", "rfc5424")
_DESCRIPTORS = {"stdout": "stdout", "fd@1": "stdout", "stderr": "stderr", "fd@2": "stderr"}
_NOT_DONE = ("ring@", "tcp@", "tcp4@", "tcp6@", "uxst@", "fd@", "backend@", "sockpair@", "abns@", "udp6@")
_USAGE = (
    "log <stdout|stderr|address[:port]|path> [len <n>] [format <format>] <facility> [<level> [<most severe level>]]"
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
    return LogTarget(
        place=line.place,
        kind=kind,
        host=host,
        port=port,
        path=path,
        format=_format(settings.get("format", "rfc3164")),
        facility=facility,
        level=level,
        cap=cap,
        length=units.integer(settings.get("len", "1024"), "'log len'", least=80, most=65535),
    )


def _settings(words: tuple[str, ...]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Splits off the pairs `len n` and `format f` at the beginning. Raises Wrong."""
    settings: dict[str, str] = {}
    while words and words[0] in ("len", "format", "sample"):
        if words[0] == "sample":
            raise Wrong(not_done("sample", "log setting"))
        if len(words) < 2:
            raise Wrong(f"'log {words[0]}' needs a value")
        settings[words[0]] = words[1]
        words = words[2:]
    return settings, words


def _format(name: str) -> str:
    if name in _FORMATS:
        return name
    if name in haproxy_words.LOG_FORMATS:
        raise Wrong(not_done(name, "log format", f"write one of {', '.join(_FORMATS)}"))
    raise Wrong(f"unknown log format '{name}'{did_you_mean(name, _FORMATS)}")


def _destination(text: str, place: Place) -> tuple[str, str, int, str]:
    """Returns kind, host, port and path of the target. Raises Wrong."""
    if text in _DESCRIPTORS:
        return _DESCRIPTORS[text], "", 514, ""
    if text.startswith(_NOT_DONE):
        raise Wrong(not_done(text.partition("@")[0] + "@", "log target"))
    for prefix in ("udp@", "udp4@", "uxdg@"):
        text = text.removeprefix(prefix)
    if text.startswith(("/", "unix@")):
        address = server_address(text, "'log'")
        return "unix", "", 514, address.host
    address = server_address(text if _has_port(text) else f"{text}:514", "'log'")
    return "udp", address.host, address.port or 514, ""


def _has_port(text: str) -> bool:
    return ":" in text and not text.endswith("]")
