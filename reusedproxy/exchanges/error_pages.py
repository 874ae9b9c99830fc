"""Chooses what a client is told in place of the proxy's own error pages (`errorfile`, `http-error`), and writes it.

The pages of the backend count before those of the frontend, once the request has come to a backend. An answer of a file
may be HTTP/1.0, or have no length; then the connection ends with it. It must never know files.
"""

from __future__ import annotations

from typing import Protocol

from reusedproxy.exchanges.own_answers import error_answer, reply
from reusedproxy.rules.actions import Act, Answer, ErrorPage, ErrorPages
from reusedproxy.rules.editing import Unusable
from reusedproxy.rules.facts import Facts
from reusedproxy.rules.regular import Interruption, Unevaluated
from reusedproxy.wire.whole_answers import WholeAnswer

#: As in HAProxy, the pages for these say that the connection ends.
_ENDING = (400, 408)


class Failed(Facts, Protocol):
    """Defines the exchange as its error page knows it."""

    method: bytes


def error_of(failed: Failed, page: ErrorPage | None, status: int, keeps: bool) -> tuple[bytes, bool]:
    """Returns the response with this `page`, and whether the connection goes on: never if not `keeps`. `page` None: the
    proxy's own."""
    if page is None:
        return error_answer(status, failed.method, close=not keeps), keeps
    if not isinstance(page, WholeAnswer):
        made = _made(page, failed, status)
        if made is None:
            return error_answer(status, failed.method, close=not keeps), keeps
        whole = reply(made.status, made.fields, made.content or b"", made.content_type, close=not keeps)
        return whole[: whole.index(b"\r\n\r\n") + 4] if failed.method == b"HEAD" else whole, keeps
    keeps = keeps and not page.ends
    return page.written(failed.method, close=not keeps), keeps


def _made(page: Act, failed: Failed, status: int) -> Answer | None:
    """Returns the answer made of the request; None if there is no request, or it cannot be made of this one: then the
    proxy's own page, which says nothing of the request, is in its place, and that is reported."""
    if failed.head is None:
        return None
    try:
        made = page(failed)
    except Unusable:
        return None
    except Interruption:  # a password is to be checked first
        raise
    except Exception as error:
        failed.not_done(f"the error page for {status} could not be made: {Unevaluated.by(error)}")
        return None
    return made if isinstance(made, Answer) else None


def unasked(pages: ErrorPages, status: int) -> bytes:
    """Returns the answer to a client that has sent nothing."""
    page = pages.get(status)
    return page.written(b"", close=True) if isinstance(page, WholeAnswer) else error_answer(status, b"")


def written(answer: Answer, page: ErrorPage | None, failed: Failed, keeps: bool) -> tuple[bytes, bool]:
    """Returns the whole response of a rule, and whether the connection goes on. `page` is that of its status, where the
    rule has no answer of its own."""
    whole, keeps = _without_challenge(answer, page, failed, keeps)
    if answer.challenge is not None and whole:
        whole = _challenging(whole, *answer.challenge)
    return whole, keeps


def _challenging(whole: bytes, name: bytes, value: bytes) -> bytes:
    """Returns the response with this field in place of all of its name: at the end but for Connection, as in
    HAProxy."""
    end = whole.index(b"\r\n\r\n")
    lines = [line for line in whole[:end].split(b"\r\n") if line.partition(b":")[0].lower() != name]
    at = len(lines) - lines[-1].startswith(b"connection:")
    lines.insert(at, b"%b: %b" % (name, value))
    return b"\r\n".join(lines) + whole[end:]


def _without_challenge(answer: Answer, page: ErrorPage | None, failed: Failed, keeps: bool) -> tuple[bytes, bool]:
    if answer.whole is not None:
        return error_of(failed, answer.whole, answer.status, keeps)
    if answer.content is None:
        if page is not None:
            return error_of(failed, page, answer.status, keeps)
        keeps = keeps and answer.status not in _ENDING
    whole = reply(answer.status, answer.fields, answer.content, answer.content_type, close=not keeps)
    return whole[: whole.index(b"\r\n\r\n") + 4] if failed.method == b"HEAD" else whole, keeps
