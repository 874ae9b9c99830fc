"""Writes `show sess`: the clients that are connected, a line each or with all that is known of them, as far as they are
asked for. The words are HAProxy's, and so is the beginning of each; what follows is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from time import localtime, strftime

from attrs import define

from reusedproxy.config.language import units
from reusedproxy.config.language.report import Wrong
from reusedproxy.operators.runtime.proxy import Context, Refusal
from reusedproxy.operators.view.sessions import SessionDetails, SessionView, SideView, details, living_sessions

#: Sessions that are looked at in one piece of an answer; of those whose every detail is shown, fewer.
SESSIONS_AT_ONCE = 50
DETAILED_AT_ONCE = 10

_HELP = """\
Usage: show sess [<id> | all | help] [<options>*]
Dumps active streams (formerly called 'sessions'). Available selectors:
   <id>         dump only this stream identifier (0x...)
   all          dump all matching streams in large format
   help         show this message
   susp         report streams considered suspicious
Available options: 
   show-uri     also display the transaction URI, if available
   older <age>  only display streams older than <age> seconds
   server <b/s> only show streams attached to this backend+server
   backend <b>  only show streams attached to this backend
   frontend <f> only show streams attached to this frontend
Without any argument, all streams are dumped in a shorter format."""  # noqa: W291


@define
class _Asked:
    """Holds what is asked for; `number` 0: all."""

    number: int = 0
    detailed: bool = False
    uri: bool = False
    suspicious: bool = False
    older: float = 0.0
    attached: Callable[[SessionView], bool] | None = None

    def wants(self, view: SessionView) -> bool:
        if self.number:
            return view.number == self.number
        return view.age >= self.older and (self.attached is None or self.attached(view))


def show_sess(context: Context, words: Sequence[str]) -> Iterator[str]:
    """Returns `show sess [<id> | all | help | older <age>] [<options>*]`, a few sessions in one piece.

    @raise Refusal: if a word means nothing.
    """
    asked = _asked(context, list(words))
    return _shown(context, asked)


def _shown(context: Context, asked: _Asked) -> Iterator[str]:
    found, any_found = living_sessions(lambda: context.proxy), False
    while some := [*islice(found, DETAILED_AT_ONCE if asked.detailed or asked.suspicious else SESSIONS_AT_ONCE)]:
        said = []
        for view, connection in some:
            if not asked.wants(view):
                continue
            now = context.proxy.deadlines.now()
            more = details(view, connection, now) if asked.detailed or asked.suspicious or asked.uri else None
            if more is None or not asked.suspicious or _is_suspicious(more):
                said.append(_session_line(view, more if asked.uri else None) if not asked.detailed else _whole(more))
        any_found = any_found or bool(said)
        yield "".join(said)
    if asked.number and not any_found:
        yield "Session not found.\n"


def _asked(context: Context, words: list[str]) -> _Asked:
    """Reads the words. As in HAProxy, a number, `all` and `older` come first, and have everything shown."""
    asked = _Asked()
    if words[:1] == ["help"]:
        raise Refusal(_HELP)
    if words[:1] == ["all"]:
        asked.detailed = True
        del words[0]
    elif words[:1] == ["older"]:
        asked.detailed = True
    elif words and (number := _number(words[0])):
        asked.number, asked.detailed = number, True
        del words[0]
    while words:
        word = words.pop(0)
        if word == "show-uri":
            asked.uri = True
        elif word == "susp":
            asked.suspicious = True
        elif word == "older":
            asked.older = _age(words)
        elif word in ("server", "backend", "frontend"):
            if asked.attached is not None:
                raise Refusal("Only one of backend, frontend or server may be set.")
            asked.attached = _attached(context, word, words.pop(0) if words else "")
        else:
            raise Refusal(f"Unsupported option '{word}', try 'help' for more info.")
    return asked


def _number(word: str) -> int:
    try:
        return int(word, 16 if word.lower().startswith("0x") else 10)
    except ValueError:
        return 0


def _age(words: list[str]) -> float:
    if not words:
        raise Refusal("Expects a minimum age (in seconds by default).")
    word = words.pop(0)
    try:
        return units.seconds(f"{word}s" if word.isdigit() else word, "")
    except Wrong:
        raise Refusal("Invalid age.") from None


def _attached(context: Context, kind: str, name: str) -> Callable[[SessionView], bool]:
    """Returns what tells sessions of this frontend, backend or server ("backend/server")."""
    if not name:
        path = " (<backend>/<server>)" if kind == "server" else ""
        raise Refusal(f"Missing {kind} name{path}.")
    if kind == "server":
        backend, server = context.server(name)
        wanted = (backend.name, server.name)
        return lambda view: (view.backend, view.server) == wanted
    if kind == "backend":
        wanted_backend = context.backend(name).name
        return lambda view: view.backend == wanted_backend
    wanted_frontend = context.frontend(name).name
    return lambda view: view.frontend == wanted_frontend


def _is_suspicious(session: SessionDetails) -> bool:
    """Tells whether no time-out bounds a session, or one has passed without having ended it."""
    return session.ends_in is None or session.ends_in < -1.0


def _session_line(session: SessionView, more: SessionDetails | None) -> str:
    request = f" request_age={session.request_age:.1f}s" if session.backend or session.state == "busy" else ""
    uri = f' uri="{_safe(more.request)}"' if more is not None and more.request else ""
    return (
        f"0x{session.number:x}: {_source(session)} fe={session.frontend} be={session.backend or '<NONE>'}"
        f" srv={session.server or '<none>'} age={session.age:.0f}s requests={session.requests}"
        f" ssl={int(session.tls)} state={session.state}{request}{uri}\n"
    )


def _source(session: SessionView) -> str:
    host, port = session.source
    if not host:
        return "proto=none src=-"
    if host == "unix":
        return "proto=unix_stream src=unix:1"
    return f"proto={'tcpv6' if ':' in host else 'tcpv4'} src={host}:{port}"


def _whole(more: SessionDetails | None) -> str:
    """Returns all that is known of a session, in indented lines below its number."""
    assert more is not None
    session, server = more.session, more.server
    moment = strftime("%d/%b/%Y:%H:%M:%S", localtime(more.began))
    source = _source(session).replace(" src=", " source=")
    lines = [
        f"0x{session.number:x}: [{moment}] {source}",
        f"  frontend={session.frontend} (mode={more.mode}), listener={more.listener}",
        f"  backend={session.backend or '<NONE>'}",
        f"  server={session.server or '<none>'}{'' if server is None else f' addr={server.address}'}",
        f"  age={session.age:.0f}s last_activity={_seconds(more.silent_for)} exp={_exp(more.ends_in)}"
        f" requests={session.requests} state={session.state}",
    ]
    if more.request or more.phase:
        request = f' request="{_safe(more.request)}"' if more.request else ""
        phase = f" phase={more.phase}" if more.phase else ""
        lines.append(
            f" {request} request_age={session.request_age:.1f}s{phase} status={more.status} retries={more.retries}"
        )
    lines.append(f"  client: {_side(more.client)}")
    lines.append(f"  server: {'none' if server is None else _side(server)}")
    return "".join(f"{line}\n" for line in lines)


def _side(side: SideView) -> str:
    return (
        f"state={side.state} addr={side.address} ssl={side.tls or '-'} in={side.bytes} unsent={side.unsent}"
        f" last_activity={_seconds(side.silent_for)} exp={_exp(side.ends_in)}"
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}s"


def _exp(value: float | None) -> str:
    """Returns the seconds to a time-out, in HAProxy's words."""
    return "<NEVER>" if value is None else "<PAST>" if value < 0 else f"{value:.1f}s"


def _safe(text: str) -> str:
    """Returns a text without what ends a quotation, a line, or is no ASCII."""
    return "".join(each if " " <= each < "\x7f" and each not in '"\\' else f"\\x{ord(each):02x}" for each in text)
