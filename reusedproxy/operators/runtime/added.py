"""Adds servers to backends and deletes them (`add server`, `del server`), and waits until one can be deleted (`wait`).
Texts are HAProxy's; some have no line end of their own.

The service does both, since a reload may be under way, and files may have to be read. It must never know how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf

from reusedproxy.backends.backend import Backend
from reusedproxy.backends.joining import still_there
from reusedproxy.backends.server import MAINT, Server
from reusedproxy.config.added_servers import ADDED
from reusedproxy.config.language import units
from reusedproxy.config.language.addresses import is_service
from reusedproxy.config.language.report import Wrong
from reusedproxy.operators.runtime.messages import ERROR, INFO, Message
from reusedproxy.operators.runtime.proxy import BUSY, Context, Done, Refusal, Running

#: Seconds between two looks whether a server can be deleted.
LOOK = 0.05
_NO_NAME = "Require 'backend/server'."


def add_server(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `add server <backend>/<server> <address> [<word>…]`, and `add server help`, which lists the words."""
    if words[:1] == ["help"]:
        yield "".join(f"{line}\n" for line in ("List of keywords supported for dynamic server:", *ADDED))
        return
    section, _, name = (words[0] if words else "").partition("/")
    if not name:
        raise Refusal(_NO_NAME, "")
    try:
        backend = context.backend(section)
    except Refusal as refusal:
        raise Refusal(str(refusal), "") from None
    if not backend.dynamic:
        raise Refusal("Backend must use a dynamic load balancing to support dynamic servers.", "")
    yield from _when_done(context, lambda done: context.service.add_server(backend.name, name, words[1:], done))


def del_server(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `del server <backend>/<server>`."""
    path = words[0] if words else ""
    if not path.partition("/")[2]:
        raise Refusal(_NO_NAME, "")
    try:
        backend, server = context.server(path)
    except Refusal as refusal:
        raise Refusal(str(refusal), "") from None
    why_not, _ = removable(context.proxy, backend, server)
    if why_not:
        raise Refusal(why_not, "")
    full_name = f"{backend.name}/{server.name}"
    yield from _when_done(context, lambda done: context.service.delete_server(full_name, done))


_WAIT_USAGE = """\
Usage: wait {-h|<duration>} [condition [args...]]
  - '-h' displays this help
  - <duration> is the maximum wait time, optionally suffixed by the unit among
    'us', 'ms', 's', 'm', 'h', and 'd'. ; the default unit is milliseconds.
  - <condition> indicates what to wait for, no longer than the specified
    duration. Supported conditions are:
    - <none> : by default, just sleep for the specified duration.
    - srv-removable <px>/<sv> : wait for this server to become removable.
"""


def wait(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Does `wait <delay> [srv-removable <backend>/<server>]`."""
    if not words:
        raise Refusal("Expects a duration in milliseconds.")
    if "-h" in words[:2]:
        yield Message(_WAIT_USAGE, INFO)
        return
    try:
        seconds = units.seconds(words[0], "")
    except Wrong:
        seconds = 0.0
    if not seconds:
        raise Refusal("Invalid duration.")
    condition, path = [*words[1:3], "", ""][:2]
    if condition not in ("", "srv-removable"):
        raise Refusal(_WAIT_USAGE, "")
    if condition and not path:
        raise Refusal("Missing server name (<backend>/<server>).")
    if condition and not path.partition("/")[2]:
        raise Refusal(_NO_NAME)
    yield from _waiting(context, seconds, path)


def _waiting(context: Context, seconds: float, path: str) -> Iterator[str]:
    """Waits as long as it may, or until the server can be deleted; looks again and again, as HAProxy does."""
    deadlines = context.proxy.deadlines
    end, look = deadlines.now() + seconds, _Look(context.wake)
    try:
        while True:
            try:
                why_not, passes = removable(context.proxy, *context.server(path)) if path else ("", True)
            except Refusal as gone:
                why_not, passes = str(gone), False
            if path and not why_not:
                yield Message("Done.\n", INFO)
                return
            if not passes:
                raise Refusal(f"Failed. {why_not}")
            left = end - deadlines.now()
            if left <= 0.0:
                if path:
                    raise Refusal(f"Wait delay expired. {why_not}")
                yield Message("Done.\n", INFO)
                return
            deadlines.watch(look, min(end, deadlines.now() + LOOK) if path else end)
            yield BUSY  # whoever has closed his side still waits for the answer
    finally:
        deadlines.cancel(look)


class _Look:
    """Wakes a session at a time."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self.deadline = inf
        self.slot = 0.0
        self._wake = wake

    def deadline_passed(self) -> None:
        self._wake()


def _when_done(context: Context, order: Callable[[Done], None]) -> Iterator[str]:
    """Gives an order to the service, and returns what is said of it when it is done."""
    over: list[Message] = []

    def done(is_done: bool, said: str) -> None:
        over.append(Message(said, INFO if is_done else ERROR))
        context.statistics.forget()
        context.wake()

    order(done)
    while not over:
        yield BUSY
    yield over[0]


def removable(proxy: Running, backend: Backend, server: Server) -> tuple[str, bool]:
    """Returns why a server cannot be deleted, "" if it can be, and whether that may change by itself."""
    named = server.full_name in proxy.configuration.named_servers or is_service(server.settings.host)
    if server.trackers or named:
        return "This server cannot be removed at runtime due to other configuration elements pointing to it.", False
    if server.state != MAINT:
        return "Only servers in maintenance mode can be deleted.", False
    living = [one for proxy in (*proxy.before, proxy) for one in proxy.backends if one.name == backend.name]
    if any(still_there(one.named[server.name]) for one in living if server.name in one.named):
        return "Server still has connections attached to it, cannot remove it.", True
    return "", False
