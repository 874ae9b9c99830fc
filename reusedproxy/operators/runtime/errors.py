"""Writes `show errors`: the last invalid request of each frontend, and the last invalid answer of each server, as
HAProxy dumps them. Only the beginning of each was kept."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence

from reusedproxy.measures.last_errors import LastErrors
from reusedproxy.operators.runtime.proxy import Context, Refusal, Running
from reusedproxy.rules.samples.aliases import MONTHS

#: Characters of a line of the dump, with its number.
_WIDTH = 80
#: Servers that are looked at in one piece of an answer.
_AT_ONCE = 100
_ESCAPED = {ord("\t"): "\\t", ord("\n"): "\\n", ord("\r"): "\\r", 27: "\\e", ord("\\"): "\\\\"}
_KINDS = ("request", "response")


def show_errors(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Returns `show errors [<section>] [request|response]`; a section is a name or a number. Raises Refusal."""
    numbers = context.numbers
    names: Sequence[str] = [*numbers]
    if words:
        names = [name for name, number in numbers.items() if words[0] in (name, str(number))]
        if not names and not re.fullmatch("0*[1-9][0-9]*", words[0]):
            raise Refusal("No such proxy.")
    kinds = words[1:2] if words[1:2] and words[1] in _KINDS else _KINDS
    return _errors(context.proxy, numbers, names, kinds)


def _errors(proxy: Running, numbers: Mapping[str, int], names: Sequence[str], kinds: Sequence[str]) -> Iterator[str]:
    now = proxy.deadlines.now()
    total, found = 0, []
    for kind, kept in zip(_KINDS, (_requests(proxy, numbers), _responses(proxy, numbers)), strict=True):
        for at, (name, titles, errors) in enumerate(kept):
            total += errors.count
            if errors.last is not None and name in names and kind in kinds:
                found.append((numbers[name], kind, titles, errors))
            if at % _AT_ONCE == 0:
                yield ""
    yield f"Total events captured on [{_moment(0.0)}] : {total}\n"
    for _, _, titles, errors in sorted(found, key=lambda each: each[:2]):
        yield _dumped(titles, errors, now)


def _requests(proxy: Running, numbers: Mapping[str, int]) -> Iterator[tuple[str, str, LastErrors]]:
    """Returns what there is of each frontend: its name, the text that is shown before a dump, and what is kept."""
    for each in proxy.frontends:
        yield (
            each.name,
            f"frontend {each.name} (#{numbers[each.name]}): invalid request\n"
            "  backend <NONE> (#-1), server <NONE> (#-1)",
            each.invalid,
        )


def _responses(proxy: Running, numbers: Mapping[str, int]) -> Iterator[tuple[str, str, LastErrors]]:
    for backend in proxy.backends:
        for at, server in enumerate(backend.servers, 1):
            yield (
                backend.name,
                f"backend {backend.name} (#{numbers[backend.name]}): invalid response\n"
                f"  frontend <NONE> (#-1), server {server.name} (#{server.settings.id or at})",
                server.pool.invalid,
            )


def _dumped(titles: str, errors: LastErrors, now: float) -> str:
    last = errors.last
    assert last is not None
    source = f", src {last.source if ':' in last.source else f'{last.source}:0'}" if last.source else ""
    return (
        f" \n[{_moment(now - last.at)}] {titles}, event #{errors.count - 1}{source}\n"
        f"  len {len(last.data)}: {last.reason}\n"
        f"  \n{''.join(dump_lines(last.data))}"
    )


def dump_lines(data: bytes) -> Iterator[str]:
    """Returns lines of HAProxy's form: the place of their first byte, "+" if a line goes on, and the bytes, of which
    those that are not printable are written as in C."""
    at, begins = 0, 0
    while at < len(data):
        line = f"  {at:05}{' ' if at == begins else '+'} "
        while at < len(data):
            byte = data[at]
            shown = _ESCAPED.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02X}")
            if len(line) > _WIDTH - len(shown) - 1:
                break
            line += shown
            at += 1
            if byte == ord("\n"):
                begins = at
                break
        yield f"{line}\n"


def _moment(ago: float) -> str:
    """Returns the local time so many seconds ago, as HAProxy writes it."""
    seconds = time.time() - ago
    found = time.localtime(seconds)
    clock = f"{found.tm_hour:02}:{found.tm_min:02}:{found.tm_sec:02}.{int(seconds % 1 * 1000):03}"
    return f"{found.tm_mday:02}/{MONTHS[found.tm_mon - 1]}/{found.tm_year:04}:{clock}"
