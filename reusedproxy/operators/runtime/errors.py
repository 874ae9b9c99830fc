"""Writes `show errors`: the last invalid request of each frontend, and the last invalid answer of each server, as
HAProxy dumps them. Only the beginning of each was kept."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

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
    said = words[0] if words else ""
    if said and not re.fullmatch("0*[1-9][0-9]*", said) and said not in context.numbers:
        raise Refusal("No such proxy.")
    kinds = words[1:2] if words[1:2] and words[1] in _KINDS else _KINDS
    return _errors(context, said, kinds)


def _errors(context: Context, said: str, kinds: Sequence[str]) -> Iterator[str]:
    """Returns what is kept, as it is when all has been looked at. Where a reload replaces the proxy meanwhile, that
    begins again."""
    proxy: Running | None = None
    while (now_runs := context.proxy) is not proxy:
        proxy, numbers = now_runs, context.numbers
        total, found = 0, []
        for at, (kind, name, titles, errors) in enumerate(chain(_requests(proxy, numbers), _responses(proxy, numbers))):
            total += errors.count
            if errors.last is not None and said in ("", name, str(numbers[name])) and kind in kinds:
                found.append((numbers[name], kind, titles, errors))
            if at % _AT_ONCE == 0:
                yield ""
                if context.proxy is not proxy:
                    break
    assert proxy is not None
    now = proxy.deadlines.now()
    yield f"Total events captured on [{_moment(0.0)}] : {total}\n"
    for _, _, titles, errors in sorted(found, key=lambda each: each[:2]):
        yield _dumped(titles, errors, now)


def _requests(proxy: Running, numbers: Mapping[str, int]) -> Iterator[tuple[str, str, str, LastErrors]]:
    """Returns what there is of each frontend: of which kind it is, its name, the text that is shown before a dump, and
    what is kept."""
    for each in proxy.frontends:
        yield (
            "request",
            each.name,
            f"frontend {each.name} (#{numbers[each.name]}): invalid request\n"
            "  backend <NONE> (#-1), server <NONE> (#-1)",
            each.invalid,
        )


def _responses(proxy: Running, numbers: Mapping[str, int]) -> Iterator[tuple[str, str, str, LastErrors]]:
    for backend in proxy.backends:
        servers = [(at, each.name, each) for at, each in enumerate(backend.servers, 1)]
        for at, name, server in servers:
            if backend.named.get(name) is server:  # else it was deleted since
                yield (
                    "response",
                    backend.name,
                    f"backend {backend.name} (#{numbers[backend.name]}): invalid response\n"
                    f"  frontend <NONE> (#-1), server {name} (#{server.settings.id or at})",
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
