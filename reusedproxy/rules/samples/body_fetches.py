"""Implements the sample fetches that look at what has come of a request's body, or an answer's (manual, section 7.3.6).

As in HAProxy, that is all of it only where the rules have waited for it (`option http-buffer-request`,
`wait-for-body`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from reusedproxy.rules.facts import Binary, Facts, Sample

#: Between two fields of a form, as in a query (HAProxy's is_param_delimiter).
_DELIMITERS = re.compile(rb"[&;]")

Fetch = Callable[[Facts], Sample]
FetchAll = Callable[[Facts], Sequence[Sample]]


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


def _parameters(name: str = "", case: str = "") -> Callable[[Facts], Iterator[Sample]]:
    """Returns a function that finds the values of a form's field of this name ("": of all)."""
    ignore_case = case[:1] == "i"
    wanted = name.encode().lower() if ignore_case else name.encode()

    def values(facts: Facts) -> Iterator[Sample]:
        for pair in _DELIMITERS.split(facts.body or b""):
            own, equal, value = pair.partition(b"=")
            if equal and (not wanted or (own.lower() if ignore_case else own) == wanted):
                yield value

    return values


def _parameter(name: str = "", case: str = "") -> Fetch:
    """Makes `req.body_param([name[,i]])`, which gives the first value."""
    values = _parameters(name, case)
    return lambda facts: next(values(facts), None)


def _all_parameters(name: str = "", case: str = "") -> FetchAll:
    """Makes the same for an ACL, which tries each value, as in HAProxy."""
    values = _parameters(name, case)
    return lambda facts: [*values(facts)]


BODY_FETCHES: dict[str, Callable[..., Fetch]] = {
    "req.body": lambda: _body,
    "req.body_len": lambda: _length,
    "req.body_size": lambda: _size,
    "req.body_param": _parameter,
    "res.body": lambda: _answer_body,
    "res.body_len": lambda: _answer_length,
    "res.body_size": lambda: _answer_size,
}

#: Those of which an ACL tries every value.
ALL_BODY: dict[str, Callable[..., FetchAll]] = {"req.body_param": _all_parameters}
