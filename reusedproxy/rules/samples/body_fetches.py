"""Implements the sample fetches that look at what has come of a request's body, or an answer's (manual, section 7.3.6).

As in HAProxy, that is all of it only where the rules have waited for it (`option http-buffer-request`,
`wait-for-body`).
"""

from __future__ import annotations

from collections.abc import Callable

from reusedproxy.rules.facts import Binary, Facts, Sample

Fetch = Callable[[Facts], Sample]


def _body(facts: Facts) -> Sample:
    return None if facts.body is None else Binary(facts.body)


def _length(facts: Facts) -> Sample:
    return None if facts.body is None else len(facts.body)


def _size(facts: Facts) -> Sample:
    """Returns the length that the request says; what has come where it says none."""
    head = facts.head
    if head is None or facts.body is None:
        return None
    return head.length if head.length > 0 else len(facts.body)


def _answer_body(facts: Facts) -> Sample:
    return None if facts.answer_body is None else Binary(facts.answer_body)


def _answer_length(facts: Facts) -> Sample:
    return None if facts.answer_body is None else len(facts.answer_body)


def _answer_size(facts: Facts) -> Sample:
    """Returns the length that the answer says; what has come where it says none."""
    head, body = facts.answer, facts.answer_body
    if head is None or body is None:
        return None
    return head.length if head.length > 0 else len(body)


def _parameter(name: str = "", case: str = "") -> Fetch:
    """Makes `req.body_param([name[,i]])`: the first value of a form's field of this name, or of all."""
    ignore_case = case[:1] == "i"
    wanted = name.encode().lower() if ignore_case else name.encode()

    def fetch(facts: Facts) -> Sample:
        for pair in (facts.body or b"").split(b"&"):
            own, equal, value = pair.partition(b"=")
            if equal and (not wanted or (own.lower() if ignore_case else own) == wanted):
                return Binary(value)
        return None

    return fetch


BODY_FETCHES: dict[str, Callable[..., Fetch]] = {
    "req.body": lambda: _body,
    "req.body_len": lambda: _length,
    "req.body_size": lambda: _size,
    "req.body_param": _parameter,
    "res.body": lambda: _answer_body,
    "res.body_len": lambda: _answer_length,
    "res.body_size": lambda: _answer_size,
}
